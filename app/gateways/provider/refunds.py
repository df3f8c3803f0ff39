"""Refunds of the sandbox provider: pending, then processed or failed."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.gateways.base import Refused
from app.models import SandboxDispute, SandboxRefund

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
    spent = session.scalar(
        select(func.coalesce(func.sum(SandboxRefund.amount_paise), 0)).where(
            SandboxRefund.payment_id == payment_id, SandboxRefund.status != "failed"
        )
    )
    lost = session.scalar(
        select(func.coalesce(func.sum(SandboxDispute.amount_paise), 0)).where(
            SandboxDispute.payment_id == payment_id, SandboxDispute.status == "lost"
        )
    )
    taken = int(spent or 0) + int(lost or 0)
    if order is None or amount_paise <= 0 or taken + amount_paise > int(order.captured_paise or 0):
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


def settle_refund(session: Session, refund_id: str, status: str) -> SandboxRefund:
    """Decide a pending refund: processed or failed. Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    if find_refund(session, refund_id) is None:
        raise DomainError("NOT_FOUND")
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
