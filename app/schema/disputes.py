"""Disputes: a payer's bank asks for its money back (chapter 2, 2.8)."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Instant, MaybeTenant, Model, Paise, choice
from .billing import Payment
from .enums import DisputeStatus


class Dispute(MaybeTenant, Model):
    """One dispute at a provider. ``subject`` says what was paid (booking, top_up, invoice, unapplied), ``subject_id`` is
    its public id. ``posted_paise`` is what a loss took, written with its CHARGEBACK; it grows when a refund under way then
    fails."""

    __tablename__ = "dispute"

    subject: Mapped[str] = mapped_column(String(20))
    subject_id: Mapped[str | None] = mapped_column(String(40))
    payment_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("payment.id"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    gateway: Mapped[str] = mapped_column(String(20))
    provider_dispute_id: Mapped[str] = mapped_column(String(80), unique=True)
    provider_payment_id: Mapped[str] = mapped_column(String(80))
    amount_paise: Mapped[Paise]
    phase: Mapped[str] = mapped_column(String(20))
    status: Mapped[DisputeStatus] = choice(DisputeStatus)
    reason: Mapped[str] = mapped_column(String(120), default="", server_default="")
    due_by: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    opened_at: Mapped[Instant]
    closed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    posted_paise: Mapped[int | None] = mapped_column(BigInteger)
    evidence: Mapped[dict[str, str]] = mapped_column(JSONB, default=dict, server_default="{}")
    answered_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    answered_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    alerted_48_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    alerted_12_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    synced_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    payment: Mapped[Payment | None] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("amount_paise > 0", name="ck_dispute_amount"),
        CheckConstraint("posted_paise >= 0", name="ck_dispute_posted"),
        CheckConstraint("posted_paise IS NULL OR status = 'LOST'", name="ck_dispute_lost"),
        Index("ix_dispute_list", "organization_id", "created_at", "id"),
        Index("ix_dispute_payment", "payment_id"),
        Index("ix_dispute_open", "due_by", postgresql_where=text("closed_at IS NULL")),
    )

    def __repr__(self) -> str:
        return f"Dispute {self.provider_dispute_id}"
