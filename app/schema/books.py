"""The books beside the journal: postings by hand, comparisons with providers (chapter 2, 2.2, 2.7)."""

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
    String,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from .base import Instant, Model, Paise, Row, choice
from .enums import ManualKind, ManualStatus


class ManualPosting(Row, Model):
    """A posting that people make: a grant, an adjustment (two administrators), tax handed to the state.

    ``legs`` are [code, side, paise] as they will be posted; ``reference`` is the challan of a remittance.
    """

    __tablename__ = "manual_posting"

    kind: Mapped[ManualKind] = choice(ManualKind)
    status: Mapped[ManualStatus] = choice(ManualStatus, default=ManualStatus.PROPOSED)
    organization_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("organization.id"))
    amount_paise: Mapped[Paise]
    legs: Mapped[list[list[Any]]] = mapped_column(JSONB)
    reason: Mapped[str] = mapped_column(String(300))
    reference: Mapped[str | None] = mapped_column(String(60), unique=True)
    proposed_by_user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    decided_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    decided_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        CheckConstraint("amount_paise > 0", name="ck_manual_posting_amount"),
        CheckConstraint(
            "kind <> 'ADJUSTMENT' OR status <> 'POSTED' OR decided_by_user_id <> proposed_by_user_id",
            name="ck_manual_posting_two_people",
        ),
        CheckConstraint("(status = 'PROPOSED') = (decided_at IS NULL)", name="ck_manual_posting_decided"),
        Index("ix_manual_posting_list", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return f"{self.kind.value.replace('_', ' ').capitalize()} {str(self.public_id)[-8:]}"


class GatewayReport(Row, Model):
    """What one comparison of our books with a provider's found."""

    __tablename__ = "gateway_report"

    gateway: Mapped[str] = mapped_column(String(20))
    since: Mapped[Instant]
    until: Mapped[Instant]
    ok: Mapped[bool] = mapped_column(Boolean)
    findings: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    checked: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    finished_at: Mapped[Instant]

    __table_args__ = (Index("ix_gateway_report_list", "gateway", "finished_at", "id"),)

    def __repr__(self) -> str:
        return f"Comparison with {self.gateway}"
