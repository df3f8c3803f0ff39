"""Users, their sessions and profiles (chapter 1, 1.1)."""

from __future__ import annotations

import datetime as dt
import uuid

from flask_appbuilder.security.sqla.models import User as FabUser
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Instant, Model, Row, choice, new_public_id
from .enums import ExpertStatus, NotificationRouting, PlatformRole


class Person(FabUser):
    """A person. Flask-AppBuilder's ``ab_user`` with our columns; username is the lower-cased e-mail address.

    The class has a name of its own because Flask-AppBuilder's registry already holds a ``User``.
    """

    __tablename__ = "ab_user"
    __table_args__ = {"extend_existing": True}

    public_id: Mapped[uuid.UUID] = mapped_column(
        Uuid, default=new_public_id, server_default=text("gen_random_uuid()"), unique=True
    )
    image: Mapped[str | None] = mapped_column(String(400))
    phone: Mapped[str | None] = mapped_column(String(40))
    timezone: Mapped[str] = mapped_column(String(64), default="Asia/Kolkata", server_default="Asia/Kolkata")
    email_verified_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    platform_role: Mapped[PlatformRole] = choice(PlatformRole, default=PlatformRole.CONSULTEE)
    onboarding_completed: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    session_generation: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    erased_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    pseudonymous_id: Mapped[str | None] = mapped_column(String(64))

    @property
    def name(self) -> str:
        """First and last name, or the address while the name is unknown."""
        return f"{self.first_name or ''} {self.last_name or ''}".strip() or str(self.email)

    @property
    def signed_in_at(self) -> dt.datetime | None:
        """When they last signed in with the password; Flask-AppBuilder keeps it without a zone, in UTC."""
        return self.last_login.replace(tzinfo=dt.UTC) if self.last_login is not None else None

    def __repr__(self) -> str:
        return self.name


User = Person


class UserSession(Model):
    """A signed-in browser. The cookie carries a random key; only its SHA-256 is stored (chapter 3, Sessions)."""

    __tablename__ = "user_session"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id", ondelete="CASCADE"))
    method: Mapped[str] = mapped_column(String(20))
    provider_id: Mapped[str | None] = mapped_column(String(50))
    generation: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    ip: Mapped[str | None] = mapped_column(INET)
    user_agent: Mapped[str | None] = mapped_column(String(300))
    created_at: Mapped[Instant]
    last_seen_at: Mapped[Instant]
    expires_at: Mapped[Instant]
    idle_seconds: Mapped[int | None] = mapped_column(Integer)
    sliding: Mapped[bool] = mapped_column(Boolean, default=True, server_default="true")
    revoked_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    confirmed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))  # "it is you", lately
    sso_exempt: Mapped[bool] = mapped_column(
        Boolean, default=False, server_default="false"
    )  # who enforced it
    sso_subject: Mapped[str | None] = mapped_column(String(512))
    sso_index: Mapped[str | None] = mapped_column(String(512))  # SAML SessionIndex, OIDC sid
    sso_hint_encrypted: Mapped[str | None] = mapped_column(Text)  # what a single logout must quote

    __table_args__ = (
        Index("ix_user_session_user", "user_id"),
        Index(
            "ix_user_session_provider",
            "provider_id",
            "sso_subject",
            postgresql_where=text("provider_id IS NOT NULL"),
        ),
    )


class OneTimeToken(Model):
    """A hashed single-use link: password reset, e-mail verification."""

    __tablename__ = "one_time_token"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    purpose: Mapped[str] = mapped_column(String(30))
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id", ondelete="CASCADE"))
    created_at: Mapped[Instant]
    expires_at: Mapped[Instant]
    used_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (Index("ix_one_time_token_user", "user_id", "purpose"),)


class ConsultantProfile(Row, Model):
    """What an expert shows; one per user, whatever the number of organisations."""

    __tablename__ = "consultant_profile"

    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"), unique=True)
    headline: Mapped[str] = mapped_column(String(200), default="", server_default="")
    bio: Mapped[str] = mapped_column(Text, default="", server_default="")
    domain: Mapped[str] = mapped_column(String(120), default="General", server_default="General")
    schedule_type: Mapped[str] = mapped_column(String(20), default="WEEKLY", server_default="WEEKLY")
    verification_status: Mapped[ExpertStatus] = choice(ExpertStatus, default=ExpertStatus.UNVERIFIED)
    is_independent: Mapped[bool] = mapped_column(Boolean, default=True, server_default="true")

    user: Mapped[Person] = relationship(lazy="raise")

    def __repr__(self) -> str:
        return self.headline or f"Expert {self.public_id}"


class ConsulteeProfile(Row, Model):
    """Made at the first learner action, never at sign-up."""

    __tablename__ = "consultee_profile"

    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"), unique=True)
    goals: Mapped[str | None] = mapped_column(Text)


class OrgWorkspaceProfile(Row, Model):
    """An operator's own settings across organisations."""

    __tablename__ = "org_workspace_profile"

    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"), unique=True)
    default_landing_organization_id: Mapped[int | None] = mapped_column(BigInteger)
    notification_routing_mode: Mapped[NotificationRouting] = choice(
        NotificationRouting, default=NotificationRouting.BELL_AND_EMAIL
    )
    locale: Mapped[str] = mapped_column(String(35), default="en-IN", server_default="en-IN")
    currency_display_code: Mapped[str] = mapped_column(String(3), default="INR", server_default="INR")

    __table_args__ = (CheckConstraint("currency_display_code ~ '^[A-Z]{3}$'", name="ck_workspace_currency"),)
