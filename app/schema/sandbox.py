"""The sandbox payment provider's own books: what a real gateway would keep on its side (chapter 2, 2.7)."""

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
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from .base import BigId, Instant, Model, Paise


class SandboxOrder(Model):
    """An order at the provider: created, then paid, declined or abandoned on its hosted page."""

    __tablename__ = "sandbox_order"

    id: Mapped[BigId]
    order_id: Mapped[str] = mapped_column(String(80), unique=True)
    receipt: Mapped[str] = mapped_column(String(40), unique=True)
    amount_paise: Mapped[Paise]
    status: Mapped[str] = mapped_column(String(20), default="created", server_default="created")
    notes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    description: Mapped[str] = mapped_column(String(300), default="", server_default="")
    return_url: Mapped[str] = mapped_column(Text, default="", server_default="")
    payment_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    captured_paise: Mapped[int | None] = mapped_column(BigInteger)
    fee_paise: Mapped[int | None] = mapped_column(BigInteger)
    tax_paise: Mapped[int | None] = mapped_column(BigInteger)
    mandate_id: Mapped[str | None] = mapped_column(String(80))
    authenticate: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    created_at: Mapped[Instant]
    paid_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        CheckConstraint(
            "status IN ('created','attempted','authenticating','paid','cancelled')", name="ck_sandbox_order"
        ),
    )


class SandboxRefund(Model):
    """A refund at the provider, unique by the caller's idempotency key."""

    __tablename__ = "sandbox_refund"

    id: Mapped[BigId]
    refund_id: Mapped[str] = mapped_column(String(80), unique=True)
    idempotency_key: Mapped[str] = mapped_column(String(120), unique=True)
    payment_id: Mapped[str] = mapped_column(String(80))
    amount_paise: Mapped[Paise]
    status: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[Instant]


class SandboxMandate(Model):
    """A standing permission to charge, given on a hosted page."""

    __tablename__ = "sandbox_mandate"

    id: Mapped[BigId]
    mandate_id: Mapped[str] = mapped_column(String(80), unique=True)
    idempotency_key: Mapped[str] = mapped_column(String(120), unique=True)
    payer_name: Mapped[str] = mapped_column(String(200), default="", server_default="")
    max_paise: Mapped[Paise]
    status: Mapped[str] = mapped_column(String(20), default="pending", server_default="pending")
    notes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    description: Mapped[str] = mapped_column(String(300), default="", server_default="")
    return_url: Mapped[str] = mapped_column(Text, default="", server_default="")
    created_at: Mapped[Instant]

    __table_args__ = (
        CheckConstraint(
            "status IN ('pending','confirmed','rejected','paused','cancelled')", name="ck_sandbox_mandate"
        ),
    )


class SandboxPayee(Model):
    """Someone paid out to. The provider knows the account's number; these books keep its end and a fingerprint."""

    __tablename__ = "sandbox_payee"

    id: Mapped[BigId]
    payee_id: Mapped[str] = mapped_column(String(80), unique=True)
    idempotency_key: Mapped[str] = mapped_column(String(120), unique=True)
    holder_name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(10))
    last4: Mapped[str] = mapped_column(String(4), default="", server_default="")
    ifsc: Mapped[str] = mapped_column(String(11), default="", server_default="")
    validation_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    validation_status: Mapped[str | None] = mapped_column(String(20))
    created_at: Mapped[Instant]


class SandboxPayout(Model):
    """Money on its way to a payee, unique by the caller's idempotency key."""

    __tablename__ = "sandbox_payout"

    id: Mapped[BigId]
    payout_id: Mapped[str] = mapped_column(String(80), unique=True)
    idempotency_key: Mapped[str] = mapped_column(String(120), unique=True)
    payee_id: Mapped[str] = mapped_column(String(80))
    amount_paise: Mapped[Paise]
    status: Mapped[str] = mapped_column(String(20), default="processing", server_default="processing")
    utr: Mapped[str | None] = mapped_column(String(40))
    failure: Mapped[str | None] = mapped_column(String(120))
    notes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    description: Mapped[str] = mapped_column(String(300), default="", server_default="")
    created_at: Mapped[Instant]

    __table_args__ = (
        CheckConstraint(
            "status IN ('pending','processing','processed','reversed','failed','cancelled')",
            name="ck_sandbox_payout",
        ),
    )


class SandboxDispute(Model):
    """A payer's bank asks for the money back."""

    __tablename__ = "sandbox_dispute"

    id: Mapped[BigId]
    dispute_id: Mapped[str] = mapped_column(String(80), unique=True)
    payment_id: Mapped[str] = mapped_column(String(80), index=True)
    amount_paise: Mapped[Paise]
    phase: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20), default="open", server_default="open")
    reason: Mapped[str] = mapped_column(String(120), default="", server_default="")
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    due_by: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[Instant]

    __table_args__ = (
        CheckConstraint(
            "status IN ('open','action_required','under_review','won','lost','closed')",
            name="ck_sandbox_dispute",
        ),
    )


class SandboxEntry(Model):
    """A line of the provider's books: how our balance with it moved."""

    __tablename__ = "sandbox_entry"

    id: Mapped[BigId]
    entry_id: Mapped[str] = mapped_column(String(80), unique=True)
    kind: Mapped[str] = mapped_column(String(30))
    entity_id: Mapped[str] = mapped_column(String(80), index=True)
    payment_id: Mapped[str | None] = mapped_column(String(80))
    order_id: Mapped[str | None] = mapped_column(String(80))
    amount_paise: Mapped[Paise]
    fee_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    tax_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    notes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[Instant]

    __table_args__ = (Index("ix_sandbox_entry_created_at", "created_at"),)


class SandboxLever(Model):
    """What the next call of one kind meets, once: an outage, a refusal, an outcome."""

    __tablename__ = "sandbox_lever"

    id: Mapped[BigId]
    call: Mapped[str] = mapped_column(String(40), unique=True)
    outcome: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[Instant]


class SandboxWebhook(Model):
    """A webhook the provider owes us, retried until answered."""

    __tablename__ = "sandbox_webhook"

    id: Mapped[BigId]
    event_id: Mapped[str] = mapped_column(String(80), unique=True)
    event: Mapped[str] = mapped_column(String(60), default="", server_default="")
    entity_id: Mapped[str] = mapped_column(String(80), default="", server_default="")
    body: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    next_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    delivered_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    last_status: Mapped[str | None] = mapped_column(String(200))
    order_row_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("sandbox_order.id"))
    created_at: Mapped[Instant]

    __table_args__ = (Index("ix_sandbox_webhook_due", "next_at"),)
