"""Audit, outbox, mail, jobs, idempotency, notifications and saved views."""

from __future__ import annotations

import datetime as dt
from typing import Any

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
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Instant, MaybeTenant, Model, Owned, Row, Tenant, choice
from .enums import ActorType, AuditCategory, RunStatus, Severity
from .people import Person


class AuditLog(Tenant, Model):
    """Who did what to whom, written in the mutating transaction; triggers refuse UPDATE and DELETE (3.4).

    ``seq`` and the hashes are the seal, added once by ``audit_seal`` soon after the commit; without them an entry says so.
    No foreign key to the organisation: the log outlives one that is deleted (docs/decisions/0006).
    """

    __tablename__ = "org_audit_log"

    organization_id: Mapped[int] = mapped_column(BigInteger)  # type: ignore[assignment]
    category: Mapped[AuditCategory] = choice(AuditCategory)
    action: Mapped[str] = mapped_column(String(60))
    description: Mapped[str] = mapped_column(String(500))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    actor_type: Mapped[ActorType] = choice(ActorType)
    actor_membership_id: Mapped[int | None] = mapped_column(BigInteger)
    actor_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    target_membership_id: Mapped[int | None] = mapped_column(BigInteger)
    target_type: Mapped[str | None] = mapped_column(String(40))
    target_id: Mapped[str | None] = mapped_column(String(60))
    ip: Mapped[str | None] = mapped_column(INET)
    correlation_id: Mapped[str | None] = mapped_column(String(64))
    seq: Mapped[int | None] = mapped_column(BigInteger)
    prev_hash: Mapped[str | None] = mapped_column(String(64))
    row_hash: Mapped[str | None] = mapped_column(String(64))

    actor: Mapped[Person | None] = relationship(lazy="raise")

    __table_args__ = (
        Index("ix_audit_list", "organization_id", "created_at", "id"),
        Index("ix_audit_target", "organization_id", "target_type", "target_id"),
        Index(
            "uq_audit_seq", "organization_id", "seq", unique=True, postgresql_where=text("seq IS NOT NULL")
        ),
        Index("ix_audit_unsealed", "organization_id", "id", postgresql_where=text("seq IS NULL")),
        CheckConstraint(
            "(seq IS NULL) = (row_hash IS NULL) AND (seq IS NULL) = (prev_hash IS NULL)", name="ck_audit_seal"
        ),
    )

    def __repr__(self) -> str:
        return self.description


class AuditChain(Tenant, Model):
    """The head of an organisation's audit chain: the last sealed number and its hash. No foreign key, as the log."""

    __tablename__ = "audit_chain"

    organization_id: Mapped[int] = mapped_column(BigInteger)  # type: ignore[assignment]
    seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    row_hash: Mapped[str] = mapped_column(String(64), default="0" * 64, server_default="0" * 64)
    sealed_at: Mapped[Instant]

    __table_args__ = (UniqueConstraint("organization_id", name="uq_audit_chain_organization"),)


class SystemEvent(MaybeTenant, Model):
    """Engineering detail of failures; ADMIN only (3.4)."""

    __tablename__ = "system_event"

    category: Mapped[str] = mapped_column(String(40))
    severity: Mapped[Severity] = choice(Severity)
    message: Mapped[str] = mapped_column(Text)
    context: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    correlation_id: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (
        Index("ix_system_event_list", "created_at", "id"),
        Index("ix_system_event_correlation", "correlation_id"),
    )


class OutboxMessage(MaybeTenant, Model):
    """Work that leaves the database after commit: mail, webhooks, gateway calls. At least once, keyed."""

    __tablename__ = "outbox_message"

    topic: Mapped[str] = mapped_column(String(40))
    dedupe_key: Mapped[str | None] = mapped_column(String(160), unique=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    available_at: Mapped[Instant]
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    leased_until: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    done_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    failed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    last_error: Mapped[str | None] = mapped_column(Text)
    correlation_id: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (
        Index(
            "ix_outbox_due",
            "available_at",
            "id",
            postgresql_where=text("done_at IS NULL AND failed_at IS NULL"),
        ),
    )


class MailMessage(MaybeTenant, Model):
    """A mail as it was sent; the development mailbox shows these."""

    __tablename__ = "mail_message"

    outbox_id: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    to_address: Mapped[str] = mapped_column(String(320))
    subject: Mapped[str] = mapped_column(String(300))
    body_text: Mapped[str] = mapped_column(Text)
    body_html: Mapped[str] = mapped_column(Text, default="", server_default="")
    sent_at: Mapped[Instant]
    transport: Mapped[str] = mapped_column(String(20))

    __table_args__ = (Index("ix_mail_list", "sent_at", "id"), Index("ix_mail_to", "to_address", "sent_at"))

    def __repr__(self) -> str:
        return self.subject


class Notification(Owned, Model):
    """A bell entry of one person."""

    __tablename__ = "notification"

    kind: Mapped[str] = mapped_column(String(60))
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(String(500), default="", server_default="")
    url: Mapped[str | None] = mapped_column(String(400))
    read_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (Index("ix_notification_user", "user_id", "created_at"),)


class SavedView(Owned, Model):
    """A list's filters under a name, kept by one person."""

    __tablename__ = "saved_view"

    view: Mapped[str] = mapped_column(String(80))
    name: Mapped[str] = mapped_column(String(80))
    query: Mapped[str] = mapped_column(String(1000))
    is_default: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")

    __table_args__ = (
        UniqueConstraint("user_id", "organization_id", "view", "name", name="uq_saved_view_name"),
    )


class IdempotencyKey(Model):
    """A money request under its key: the same body gets the stored answer, another body is refused."""

    __tablename__ = "idempotency_key"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    scope: Mapped[str] = mapped_column(String(60))
    key: Mapped[str] = mapped_column(String(200))
    user_id: Mapped[int] = mapped_column(Integer)
    organization_id: Mapped[int | None] = mapped_column(BigInteger)
    request_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None] = mapped_column(Integer)
    response: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[Instant]

    __table_args__ = (UniqueConstraint("scope", "key", name="uq_idempotency_scope_key"),)


class JobRun(Row, Model):
    """One run of a named job."""

    __tablename__ = "job_run"

    name: Mapped[str] = mapped_column(String(60))
    status: Mapped[RunStatus] = choice(RunStatus, default=RunStatus.RUNNING)
    trigger: Mapped[str] = mapped_column(String(20), default="schedule", server_default="schedule")
    started_at: Mapped[Instant]
    finished_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    summary: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    error: Mapped[str | None] = mapped_column(Text)
    actor_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (
        Index("ix_job_run_list", "started_at", "id"),
        Index("ix_job_run_name", "name", "started_at"),
    )

    def __repr__(self) -> str:
        return self.name
