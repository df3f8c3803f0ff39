"""Refunds of the sandbox provider: pending, then processed or failed."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.gateways.base import Refused
from app.models import SandboxDispute, SandboxEntry, SandboxRefund

from .books import enter, new_id
from .orders import find_payment
from .webhooks import owe


def _owe(session: Session, row: SandboxRefund) -> None:
    owe(
        session,
        f"refund.{'created' if row.status == 'pending' else row.status}",
        "refund",
        {
            "id": row.refund_id,
            "payment_id": row.payment_id,
            "amount": row.amount_paise,
            "currency": "INR",
            "status": row.status,
        },
        order=find_payment(session, row.payment_id),
    )


def refund(
    session: Session, *, payment_id: str, amount_paise: int, key: str, outcome: str = "processed"
) -> SandboxRefund:
    """Refund once per *key*, never more than was captured. *outcome*: processed, pending, failed. Raises Refused."""
    order = find_payment(session, payment_id, lock=True)
    known = session.scalars(
        select(SandboxRefund).where(SandboxRefund.idempotency_key == key[:120])
    ).one_or_none()
    if known is not None:
        if (known.payment_id, known.amount_paise) != (payment_id, amount_paise):
            raise Refused("key_reused")
        return known
    pending = session.scalar(
        select(func.coalesce(func.sum(SandboxRefund.amount_paise), 0)).where(
            SandboxRefund.payment_id == payment_id, SandboxRefund.status == "pending"
        )
    )
    if order is None or amount_paise <= 0 or amount_paise > left_of(session, payment_id) - int(pending or 0):
        raise Refused("refund_exceeds_payment")
    row = SandboxRefund(
        refund_id=new_id("rfnd"),
        idempotency_key=key[:120],
        payment_id=payment_id,
        amount_paise=amount_paise,
        status=outcome,
        created_at=clock.now(),
    )
    session.add(row)
    if outcome == "processed":
        enter(session, "refund", row.refund_id, -amount_paise, payment_id=payment_id, order_id=order.order_id)
    _owe(session, row)
    session.flush()
    return row


def left_of(session: Session, payment_id: str) -> int:
    """What of a captured payment neither a refund that left nor a lost dispute took, paise."""
    order = find_payment(session, payment_id)
    refunded = select(func.coalesce(func.sum(SandboxRefund.amount_paise), 0)).where(
        SandboxRefund.payment_id == payment_id, SandboxRefund.status == "processed"
    )
    lost = select(func.coalesce(func.sum(-SandboxEntry.amount_paise), 0)).where(
        SandboxEntry.kind == "dispute",
        SandboxEntry.entity_id.in_(
            select(SandboxDispute.dispute_id).where(SandboxDispute.payment_id == payment_id)
        ),
    )
    captured = int(order.captured_paise or 0) if order else 0
    return captured - int(session.scalar(refunded) or 0) - int(session.scalar(lost) or 0)


def settle_refund(session: Session, refund_id: str, status: str) -> SandboxRefund:
    """Decide a pending refund: processed or failed; it fails when a lost dispute left too little to send.

    Raises NOT_FOUND, ILLEGAL_TRANSITION.
    """
    found = find_refund(session, refund_id)
    if found is None:
        raise DomainError("NOT_FOUND")
    if status == "processed" and left_of(session, found.payment_id) < found.amount_paise:
        status = "failed"
    row = session.scalars(
        update(SandboxRefund)
        .where(SandboxRefund.refund_id == refund_id[:80], SandboxRefund.status == "pending")
        .values(status=status)
        .returning(SandboxRefund)
    ).one_or_none()
    if row is None or status not in ("processed", "failed"):
        raise DomainError("ILLEGAL_TRANSITION")
    if status == "processed":
        enter(session, "refund", row.refund_id, -row.amount_paise, payment_id=row.payment_id)
    _owe(session, row)
    session.flush()
    return row


def find_refund(session: Session, refund_id: str) -> SandboxRefund | None:
    """A refund by its id."""
    return session.scalars(
        select(SandboxRefund).where(SandboxRefund.refund_id == refund_id[:80])
    ).one_or_none()
