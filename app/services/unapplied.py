"""Money received that matches nothing we asked for: kept apart, then sent back (chapter 2, 2.2 UNAPPLIED, 2.7)."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.gateways import open_gateway
from app.models import LedgerTransaction, Severity, SystemEvent, UnappliedReceipt
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


def lock(session: Session, payment_id: str) -> UnappliedReceipt:
    """The receipt of a provider's payment, locked and reread. Wants job scope."""
    return session.scalars(
        select(UnappliedReceipt)
        .where(UnappliedReceipt.provider_payment_id == payment_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def refund(session: Session, payment_id: str, settings: Settings) -> None:
    """Send back what is left of unapplied money, once; safe to repeat. Wants job scope. Raises the gateway's codes."""
    row = lock(session, payment_id)
    paise = row.left_paise
    if not paise:
        return
    # a part has a key of its own: the whole may have been asked for before the rest went another way
    key = f"unapplied-{row.public_id}" + (f"-{paise}" if paise < row.amount_paise else "")
    result = open_gateway(settings, session, row.gateway).refund(
        payment_id=payment_id, amount_paise=paise, key=key
    )
    if result.status == "failed":
        raise DomainError("GATEWAY_ERROR", reason="refund failed")
    sent_back(session, row, result.refund_id, paise)


def sent_back(
    session: Session, row: UnappliedReceipt, refund_id: str, paise: int, by_hand: bool = False
) -> None:
    """UNAPPLIED_REFUND of what the provider returned. The receipt is locked. Repeating a refund does nothing."""
    key = f"unapplied-refund:{row.public_id}" + (f":{refund_id}" if by_hand else "")
    posted = ledger.post(session, key, "UNAPPLIED_REFUND", _legs(paise), refund_id=refund_id)
    if posted is None:
        return
    row.provider_refund_id = row.provider_refund_id or refund_id
    row.refunded_paise += paise
    _done(session, row)


def knows(session: Session, row: UnappliedReceipt, refund_id: str) -> bool:
    """Whether a provider's refund of the receipt is booked already."""
    key = f"unapplied-refund:{row.public_id}:{refund_id}"
    booked = session.scalar(select(LedgerTransaction.id).where(LedgerTransaction.key == key))
    return row.provider_refund_id == refund_id or booked is not None


def charged_back(session: Session, row: UnappliedReceipt, key: str, paise: int) -> None:
    """CHARGEBACK of what the payer's bank took. The receipt is locked; what is left of it is still sent back."""
    row.charged_back_paise += paise
    _done(session, row)
    ledger.post(
        session, key, "CHARGEBACK", _legs(paise), description="Chargeback of money that matched nothing"
    )


def _legs(paise: int) -> list[ledger.Leg]:
    return [ledger.debit(ledger.UNAPPLIED_RECEIPT, paise), ledger.credit(ledger.CASH, paise)]


def _done(session: Session, row: UnappliedReceipt) -> None:
    if not row.left_paise:
        row.refunded_at = clock.now()
    session.flush()


def try_again(session: Session, payment_id: str, after: str) -> None:
    """What is left is sent back after all: the provider may have refused it while *after*, a dispute, was open."""
    if lock(session, payment_id).left_paise:
        outbox.put(
            session,
            "refund_unapplied",
            {"payment_id": payment_id},
            dedupe_key=f"refund-unapplied:{payment_id}:{after}",
        )
