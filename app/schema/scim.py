"""SCIM provisioning: tokens, groups, group mappings, what a directory wrote, the request log, erased people (chapter 3, 3.2)."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app import clock

from .base import Instant, Model, Tenant, choice, tenant_fk, tenant_key
from .enums import DuplicatePolicy, OrgRole, ScimTokenStatus
from .people import Person


class ScimToken(Tenant, Model):
    """A directory's credential; it alone fixes the organisation. Only the SHA-256 of the secret is stored."""

    __tablename__ = "scim_token"

    label: Mapped[str] = mapped_column(String(100))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    token_prefix: Mapped[str] = mapped_column(String(16))
    status: Mapped[ScimTokenStatus] = choice(ScimTokenStatus, default=ScimTokenStatus.ACTIVE)
    duplicate_policy: Mapped[DuplicatePolicy] = choice(DuplicatePolicy, default=DuplicatePolicy.UPSERT)
    rate_limit_per_minute: Mapped[int] = mapped_column(Integer, default=60, server_default="60")
    expires_at: Mapped[Instant]
    last_used_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    misuse_noted_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    created_by: Mapped[Person | None] = relationship(lazy="raise", foreign_keys=[created_by_user_id])

    __table_args__ = (
        tenant_key("scim_token"),
        CheckConstraint("rate_limit_per_minute BETWEEN 1 AND 3000", name="ck_scim_token_rate"),
        Index("ix_scim_token_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.label


class ScimProfile(Tenant, Model):
    """What a directory wrote about a member that the account itself has no place for."""

    __tablename__ = "scim_profile"

    membership_id: Mapped[int] = mapped_column(BigInteger)
    display_name: Mapped[str | None] = mapped_column(String(200))  # "": the directory took it away
    display_key: Mapped[str | None] = mapped_column(String(200, "C"))  # lower case: displayName ignores it
    formatted_name: Mapped[str | None] = mapped_column(String(200))
    no_emails: Mapped[bool] = mapped_column(
        Boolean, default=False, server_default="false"
    )  # it took them away

    __table_args__ = (
        tenant_key("scim_profile"),
        tenant_fk("scim_profile", "membership_id", "membership", ondelete="CASCADE"),
        UniqueConstraint("membership_id", name="uq_scim_profile_membership"),
        Index("ix_scim_profile_display", "organization_id", "display_key"),
    )


class ScimEmail(Tenant, Model):
    """An address a directory listed for a member; without any, the account's own is shown as the work address."""

    __tablename__ = "scim_email"

    membership_id: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    value: Mapped[str] = mapped_column(String(320))
    value_key: Mapped[str] = mapped_column(String(320, "C"))
    type: Mapped[str | None] = mapped_column(String(40))
    is_primary: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    display: Mapped[str | None] = mapped_column(String(200))

    __table_args__ = (
        tenant_key("scim_email"),
        tenant_fk("scim_email", "membership_id", "membership", ondelete="CASCADE"),
        Index("ix_scim_email_member", "membership_id", "position"),
        Index("ix_scim_email_value", "organization_id", "value_key"),
    )


class ScimGroup(Tenant, Model):
    """A group of the directory. Its name may be mapped to a role; members are memberships."""

    __tablename__ = "scim_group"

    display_name: Mapped[str] = mapped_column(String(255))
    display_key: Mapped[str] = mapped_column(String(255, "C"))
    external_id: Mapped[str | None] = mapped_column(String(200))
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    updated_at: Mapped[Instant] = mapped_column(default=clock.now, server_default=text("now()"))

    __table_args__ = (
        tenant_key("scim_group"),
        UniqueConstraint("organization_id", "display_key", name="uq_scim_group_name"),
        Index("ix_scim_group_external", "organization_id", "external_id"),
    )

    def __repr__(self) -> str:
        return self.display_name


class ScimGroupMember(Tenant, Model):
    """A member of a directory's group."""

    __tablename__ = "scim_group_member"

    group_id: Mapped[int] = mapped_column(BigInteger)
    membership_id: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        tenant_key("scim_group_member"),
        tenant_fk("scim_group_member", "group_id", "scim_group", ondelete="CASCADE"),
        tenant_fk("scim_group_member", "membership_id", "membership", ondelete="CASCADE"),
        UniqueConstraint("group_id", "membership_id", name="uq_scim_group_member"),
        Index("ix_scim_group_member_membership", "membership_id"),
    )


class ScimGroupMapping(Tenant, Model):
    """Which role the members of a group of this name get; any but OWNER, the highest rank wins."""

    __tablename__ = "scim_group_mapping"

    scim_group_name: Mapped[str] = mapped_column(String(255))
    name_key: Mapped[str] = mapped_column(String(255, "C"))
    role: Mapped[OrgRole] = choice(OrgRole)
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (
        tenant_key("scim_group_mapping"),
        UniqueConstraint("organization_id", "name_key", name="uq_scim_group_mapping_name"),
        CheckConstraint("role <> 'OWNER'", name="ck_scim_group_mapping_role"),
    )

    def __repr__(self) -> str:
        return f"{self.scim_group_name} → {self.role.value}"


class ScimEvent(Tenant, Model):
    """A request a directory made and how it ended; kept for thirty days."""

    __tablename__ = "scim_event"

    scim_token_id: Mapped[int | None] = mapped_column(BigInteger)
    method: Mapped[str] = mapped_column(String(8))
    path: Mapped[str] = mapped_column(String(300))
    resource_type: Mapped[str | None] = mapped_column(String(40))
    resource_id: Mapped[str | None] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(
        String(320)
    )  # who or which group it was about, as it was named
    status: Mapped[int] = mapped_column(SmallInteger)
    scim_type: Mapped[str | None] = mapped_column(String(40))
    detail: Mapped[str | None] = mapped_column(String(500))
    duration_ms: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    ip: Mapped[str | None] = mapped_column(INET)
    correlation_id: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (
        tenant_key("scim_event"),
        Index("ix_scim_event_list", "organization_id", "created_at", "id"),
        Index("ix_scim_event_age", "created_at"),
        Index(
            "ix_scim_event_failed",
            "organization_id",
            "created_at",
            "id",
            postgresql_where=text("status >= 400"),
        ),
    )

    def __repr__(self) -> str:
        return f"{self.method} {self.path}"


class ErasedIdentity(Tenant, Model):
    """A tombstone: this address or directory id belonged to somebody whose data was erased (chapter 3, 3.2).

    Keyed hashes only, so that the tombstone itself names nobody. A newly accepted invitation lifts it.
    """

    __tablename__ = "erased_identity"

    email_hmac: Mapped[str] = mapped_column(String(64))
    external_id_hmac: Mapped[str | None] = mapped_column(String(64))
    membership_id: Mapped[int | None] = mapped_column(BigInteger)
    lifted_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("erased_identity"),
        Index("ix_erased_identity_email", "organization_id", "email_hmac"),
        Index("ix_erased_identity_external", "organization_id", "external_id_hmac"),
    )


class ScimTotal(Tenant, Model):
    """How many people an organisation's directory sees; triggers on membership keep it (migrations/sql/scim.sql)."""

    __tablename__ = "scim_total"

    people: Mapped[int] = mapped_column(Integer, default=0, server_default="0")

    __table_args__ = (tenant_key("scim_total"), UniqueConstraint("organization_id", name="uq_scim_total_org"))
