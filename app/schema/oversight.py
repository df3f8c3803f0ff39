"""What the platform team and an organisation say to each other, and how staff look in (chapter 1, 1.2)."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, Boolean, CheckConstraint, DateTime, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Instant, Model, Row, Tenant, choice, tenant_key
from .enums import MessageKind
from .people import Person


class VerificationMessage(Tenant, Model):
    """One entry of the conversation about an organisation's verification; both sides read it."""

    __tablename__ = "verification_message"

    kind: Mapped[MessageKind] = choice(MessageKind)
    author_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    body: Mapped[str] = mapped_column(Text)

    author: Mapped[Person | None] = relationship(lazy="raise", foreign_keys=[author_user_id])

    __table_args__ = (
        tenant_key("verification_message"),
        CheckConstraint("char_length(body) BETWEEN 1 AND 2000", name="ck_verification_message_body"),
        Index("ix_verification_message_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.body[:60]


class StaffNote(Row, Model):
    """What staff write down about an organisation for each other; never shown to its members.

    No tenant row on purpose: row-level security lets only platform scope read it, whoever acts for the organisation.
    """

    __tablename__ = "staff_note"

    about_organization_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("organization.id"))
    author_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    body: Mapped[str] = mapped_column(Text)
    pinned: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")

    author: Mapped[Person | None] = relationship(lazy="raise", foreign_keys=[author_user_id])

    __table_args__ = (
        CheckConstraint("char_length(body) BETWEEN 1 AND 5000", name="ck_staff_note_body"),
        Index("ix_staff_note_list", "about_organization_id", "created_at"),
    )

    def __repr__(self) -> str:
        return self.body[:60]


class SupportAccess(Tenant, Model):
    """A member of staff views one organisation, read-only, for at most an hour; its owners see the row."""

    __tablename__ = "support_access"

    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    reason: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[Instant]
    ended_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    ended_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    user: Mapped[Person] = relationship(lazy="raise", foreign_keys=[user_id])

    __table_args__ = (
        tenant_key("support_access"),
        CheckConstraint("char_length(reason) BETWEEN 3 AND 500", name="ck_support_access_reason"),
        CheckConstraint(
            "expires_at > created_at AND expires_at <= created_at + interval '60 minutes'",
            name="ck_support_access_hour",
        ),
        Index("ix_support_access_user", "user_id", "expires_at"),
        Index("ix_support_access_list", "organization_id", "created_at", "id"),
    )
