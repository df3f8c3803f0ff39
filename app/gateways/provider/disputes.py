"""Disputes of the sandbox provider: the payer's bank asks for the money back."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.gateways.base import Refused
from app.models import SandboxDispute

from .books import enter, new_id
from .orders import find_payment
from .refunds import left_of
from .webhooks import owe

PHASES = ("fraud", "retrieval", "chargeback", "pre_arbitration", "arbitration")
NEXT = {
    "action_required": ("open", "under_review"),
    "under_review": ("open", "action_required"),
    "won": ("open", "action_required", "under_review"),
    "lost": ("open", "action_required", "under_review"),
    "closed": ("open", "action_required", "under_review"),
}
RESPOND_WITHIN = dt.timedelta(days=7)


def _owe(session: Session, row: SandboxDispute) -> None:
    values: dict[str, Any] = {
        "id": row.dispute_id,
        "payment_id": row.payment_id,
        "amount": row.amount_paise,
        "currency": "INR",
        "phase": row.phase,
        "status": row.status,
        "reason": row.reason,
        "respond_by": int(row.due_by.timestamp()) if row.due_by else None,
    }
    owe(
        session,
        f"payment.dispute.{'created' if row.status == 'open' else row.status}",
        "dispute",
        values,
        order=find_payment(session, row.payment_id),
    )


def open_dispute(
    session: Session,
    payment_id: str,
    amount_paise: int | None = None,
    phase: str = "chargeback",
    reason: str = "service_not_received",
) -> SandboxDispute:
    """Open a dispute about a captured payment, all of it by default. Raises NOT_FOUND, Invalid."""
    order = find_payment(session, payment_id, lock=True)
    if order is None:
        raise DomainError("NOT_FOUND")
    if phase not in PHASES:
        raise Invalid({"phase": [f"One of {', '.join(PHASES)}."]})
    captured = int(order.captured_paise or 0)
    if not 0 < (amount_paise or captured) <= captured:
        raise Invalid({"amount_paise": ["At most what was captured."]})
    row = SandboxDispute(
        dispute_id=new_id("disp"),
        payment_id=payment_id,
        amount_paise=amount_paise or captured,
        phase=phase,
        status="open",
        reason=reason[:120],
        due_by=clock.now() + RESPOND_WITHIN,
        created_at=clock.now(),
    )
    session.add(row)
    session.flush()
    _owe(session, row)
    session.flush()
    return row


def find_dispute(session: Session, dispute_id: str, *, lock: bool = False) -> SandboxDispute | None:
    """A dispute by its id."""
    query = select(SandboxDispute).where(SandboxDispute.dispute_id == dispute_id[:80])
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def settle_dispute(session: Session, dispute_id: str, status: str) -> SandboxDispute:
    """Move a dispute on: action_required, under_review, won, lost, closed. Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    row = find_dispute(session, dispute_id, lock=True)
    if row is None:
        raise DomainError("NOT_FOUND")
    if row.status not in NEXT.get(status, ()):
        raise DomainError("ILLEGAL_TRANSITION")
    row.status = status
    if status == "action_required":
        row.due_by = clock.now() + RESPOND_WITHIN
    if status == "lost":
        enter(session, "dispute", row.dispute_id, -_left(session, row), payment_id=row.payment_id)
    _owe(session, row)
    session.flush()
    return row


def _left(session: Session, row: SandboxDispute) -> int:
    """What a lost dispute takes: no more than refunds and other losses left of the payment, paise."""
    return max(0, min(row.amount_paise, left_of(session, row.payment_id)))


def accept_dispute(session: Session, dispute_id: str) -> SandboxDispute:
    """We give in; again, it is the same. Raises Refused."""
    row = find_dispute(session, dispute_id, lock=True)
    if row is None:
        raise Refused("dispute_unknown")
    if row.status == "lost":
        return row
    if row.status not in ("open", "action_required"):
        raise Refused("dispute_not_open")
    return settle_dispute(session, dispute_id, "lost")


def contest_dispute(
    session: Session, dispute_id: str, summary: str, evidence: dict[str, str]
) -> SandboxDispute:
    """We contest; the bank reviews. Raises Refused."""
    row = find_dispute(session, dispute_id, lock=True)
    if row is None:
        raise Refused("dispute_unknown")
    wanted = {"summary": summary, **evidence}
    if row.status == "under_review" and row.evidence == wanted:
        return row
    if row.status not in ("open", "action_required"):
        raise Refused("dispute_not_open")
    row.evidence = wanted
    return settle_dispute(session, dispute_id, "under_review")
