"""Money received that matches nothing we asked for: kept apart, then sent back (chapter 2, 2.2 UNAPPLIED, 2.7)."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.gateways import open_gateway
from app.models import Severity, SystemEvent, UnappliedReceipt
from app.services import ledger, outbox
from config import Settings


def receive(
    session: Session, gateway: str, payment_id: str, paise: int, reason: str, organization_id: int | None
) -> None:
    """Keep money that matches nothing apart, once per payment, and send it back."""
    if not payment_id or paise <= 0:
        return
    known = session.scalar(
        select(UnappliedReceipt.id).where(UnappliedReceipt.provider_payment_id == payment_id)
    )
    if known is not None:
        return
    row = UnappliedReceipt(
        gateway=gateway,
        provider_payment_id=payment_id,
        amount_paise=paise,
        reason=reason,
        organization_id=organization_id,
        received_at=clock.now(),
    )
    session.add(row)
    ledger.post(
        session,
        f"unapplied:{payment_id}",
        "UNAPPLIED",
        [ledger.debit(ledger.CASH, paise), ledger.credit(ledger.UNAPPLIED_RECEIPT, paise)],
        reason=reason,
    )
    session.add(
        SystemEvent(
            category="gateway",
            severity=Severity.WARN,
            message=f"Unapplied receipt {payment_id}: {reason}",
            context={"amount_paise": paise, "gateway": gateway},
        )
    )
    outbox.put(
        session, "refund_unapplied", {"payment_id": payment_id}, dedupe_key=f"refund-unapplied:{payment_id}"
    )


def refund(session: Session, payment_id: str, settings: Settings) -> None:
    """Send unapplied money back, once; safe to repeat. Wants job scope. Raises the gateway's codes."""
    row = session.scalars(
        select(UnappliedReceipt).where(UnappliedReceipt.provider_payment_id == payment_id).with_for_update()
    ).one()
    if row.refunded_at is not None:
        return
    result = open_gateway(settings, session, row.gateway).refund(
        payment_id=payment_id, amount_paise=row.amount_paise, key=f"unapplied-{row.public_id}"
    )
    if result.status == "failed":
        raise DomainError("GATEWAY_ERROR", reason="refund failed")
    row.provider_refund_id, row.refunded_at = result.refund_id, clock.now()
    ledger.post(
        session,
        f"unapplied-refund:{row.public_id}",
        "UNAPPLIED_REFUND",
        [
            ledger.debit(ledger.UNAPPLIED_RECEIPT, row.amount_paise),
            ledger.credit(ledger.CASH, row.amount_paise),
        ],
    )
