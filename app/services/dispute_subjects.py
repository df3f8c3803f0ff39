"""What a disputed payment paid for, and what losing it takes back (chapter 2, 2.2 CHARGEBACK).

A new kind of order adds a ``Subject``. *find* gets the provider's payment id under job scope. *lock* locks the money's row
(before the dispute's, everywhere: refunds and losses queue there). *lose* posts under the key it is given what the bank took
and this dispute has not posted yet, adds it to ``posted_paise`` and returns it in paise. *returned* says whether any of the
money was given back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import (
    Dispute,
    Invoice,
    InvoiceReceipt,
    InvoiceRefund,
    InvoiceRefundStatus,
    LegSource,
    Payment,
    Refund,
    RefundStatus,
    TopUpRefund,
    UnappliedReceipt,
    WalletTopUp,
)
from app.security.context import acting
from app.services import invoice_returns, refund_spread, settlement, topup_refunds, unapplied


@dataclass(frozen=True)
class Found:
    """The row behind a provider's payment: public id, organisation, who paid, what for."""

    subject_id: str
    organization_id: int | None
    user_id: int | None
    title: str
    path: str  # of the organisation's page about it, below its dashboard
    payment_id: int | None = None


@dataclass(frozen=True)
class Subject:
    """How one kind of money is found and lost."""

    find: Callable[[Session, str], Found | None]
    lock: Callable[[Session, str], None]
    lose: Callable[[Session, Dispute, str], int]
    returned: Callable[[Session, Dispute], bool]


def key_of(row: Dispute, failed_refund: str = "") -> str:
    """The posting key of a loss, or of what is added to it when a refund under way failed after it."""
    return f"chargeback:{row.public_id}" + (f":{failed_refund}" if failed_refund else "")


def _take(session: Session, row: Dispute, left: int) -> int:
    """Count what the bank took: the disputed amount not posted yet, within what was *left* of the money."""
    took = max(0, min(row.amount_paise - (row.posted_paise or 0), left))
    row.posted_paise = (row.posted_paise or 0) + took
    session.flush()
    return took


# ---- a booking -------------------------------------------------------------------------------------------------------


def _booking(session: Session, provider_payment_id: str) -> Found | None:
    row = session.scalars(
        select(Payment).where(Payment.provider_payment_id == provider_payment_id)
    ).one_or_none()
    if row is None:
        return None
    return Found(
        str(row.public_id), row.organization_id, row.user_id, row.description, "disputes", payment_id=row.id
    )


def _lock_booking(session: Session, provider_payment_id: str) -> None:
    settlement.lock(
        session,
        session.scalars(select(Payment).where(Payment.provider_payment_id == provider_payment_id)).one(),
    )


def _lose_booking(session: Session, row: Dispute, key: str) -> int:
    """Disputed minus already refunded, of the card's part. A refund under way counts: its money leaves too, or else
    ``disputes.refund_failed`` posts what it left out."""
    payment = session.get_one(Payment, row.payment_id)
    with settlement.for_payer(session, payment):
        card = sum(p.amount for p in settlement.parts_of(session, payment) if p.source == LegSource.CARD)
        gone = int(
            session.scalar(
                select(func.coalesce(func.sum(Refund.gateway_paise), 0)).where(
                    Refund.payment_id == payment.id,
                    Refund.status.in_((RefundStatus.PENDING, RefundStatus.SUCCEEDED)),
                ),
                execution_options=settlement.EVERYWHERE,
            )
            or 0
        ) + refund_spread.lost(session, payment)
    took = _take(session, row, card - gone)
    if took:
        with settlement.for_payer(session, payment):
            refund_spread.charge_back(session, key, payment, took, dispute=row.provider_dispute_id)
    return took


def _returned_booking(session: Session, row: Dispute) -> bool:
    found = select(Refund.id).where(
        Refund.payment_id == row.payment_id, Refund.status == RefundStatus.SUCCEEDED
    )
    return session.scalar(found.limit(1)) is not None


# ---- a top-up --------------------------------------------------------------------------------------------------------


def _top_up(session: Session, provider_payment_id: str) -> Found | None:
    row = session.scalars(
        select(WalletTopUp).where(WalletTopUp.gateway_payment_id == provider_payment_id)
    ).one_or_none()
    if row is None or row.confirmed_at is None:  # uncredited money is an unapplied receipt
        return None
    return Found(
        str(row.public_id), row.organization_id, row.requested_by_user_id, "Credits bought", "wallet"
    )


def _lock_top_up(session: Session, provider_payment_id: str) -> None:
    row = session.scalars(
        select(WalletTopUp).where(WalletTopUp.gateway_payment_id == provider_payment_id)
    ).one()
    with acting(session, scope="org", org_id=row.organization_id):
        topup_refunds.lock(session, row)


def _lose_top_up(session: Session, row: Dispute, key: str) -> int:
    with acting(session, scope="org", org_id=row.organization_id):
        top_up = session.scalars(
            select(WalletTopUp).where(WalletTopUp.gateway_payment_id == row.provider_payment_id)
        ).one()
        left = topup_refunds.refundable(session, top_up)
    took = _take(session, row, left)
    if took:
        with acting(session, scope="org", org_id=row.organization_id):
            topup_refunds.take_back(
                session, top_up, key, "CHARGEBACK", took, description="Chargeback of credits bought"
            )
    return took


def _returned_top_up(session: Session, row: Dispute) -> bool:
    found = (
        select(TopUpRefund.id)
        .join(WalletTopUp, WalletTopUp.id == TopUpRefund.top_up_id)
        .where(
            WalletTopUp.gateway_payment_id == row.provider_payment_id,
            TopUpRefund.status == RefundStatus.SUCCEEDED,
        )
    )
    return session.scalar(found.limit(1)) is not None


# ---- an invoice ------------------------------------------------------------------------------------------------------


def _invoice(session: Session, provider_payment_id: str) -> Found | None:
    receipt = session.scalars(
        select(InvoiceReceipt).where(InvoiceReceipt.provider_payment_id == provider_payment_id)
    ).one_or_none()
    if receipt is None:
        return None
    invoice = session.get_one(Invoice, receipt.invoice_id)
    return Found(
        str(invoice.public_id), invoice.organization_id, None, f"Invoice {invoice.number}", "invoices"
    )


def _lock_invoice(session: Session, provider_payment_id: str) -> None:
    receipt = session.scalars(
        select(InvoiceReceipt).where(InvoiceReceipt.provider_payment_id == provider_payment_id)
    ).one()
    with acting(session, scope="org", org_id=receipt.organization_id):
        invoice_returns.lock(session, receipt)


def _lose_invoice(session: Session, row: Dispute, key: str) -> int:
    """The money goes back, so the organisation owes it again."""
    with acting(session, scope="org", org_id=row.organization_id):
        receipt = session.scalars(
            select(InvoiceReceipt).where(InvoiceReceipt.provider_payment_id == row.provider_payment_id)
        ).one()
        left = invoice_returns.at_provider(session, receipt)
    took = _take(session, row, left)
    if took:
        with acting(session, scope="org", org_id=row.organization_id):
            invoice_returns.charged_back(session, receipt, key, took)
    return took


def _returned_invoice(session: Session, row: Dispute) -> bool:
    found = (
        select(InvoiceRefund.id)
        .join(InvoiceReceipt, InvoiceReceipt.id == InvoiceRefund.receipt_id)
        .where(
            InvoiceReceipt.provider_payment_id == row.provider_payment_id,
            InvoiceRefund.status == InvoiceRefundStatus.SUCCEEDED,
        )
    )
    return session.scalar(found.limit(1)) is not None


# ---- money that matched nothing --------------------------------------------------------------------------------------


def _unapplied(session: Session, provider_payment_id: str) -> Found | None:
    row = session.scalars(
        select(UnappliedReceipt).where(UnappliedReceipt.provider_payment_id == provider_payment_id)
    ).one_or_none()
    if row is None:
        return None
    return Found(str(row.public_id), row.organization_id, None, "Money that matched nothing", "")


def _lock_unapplied(session: Session, provider_payment_id: str) -> None:
    unapplied.lock(session, provider_payment_id)


def _lose_unapplied(session: Session, row: Dispute, key: str) -> int:
    receipt = unapplied.lock(session, row.provider_payment_id)
    took = _take(session, row, receipt.left_paise)
    if took:
        unapplied.charged_back(session, receipt, key, took)
    return took


def _returned_unapplied(session: Session, row: Dispute) -> bool:
    return unapplied.lock(session, row.provider_payment_id).refunded_paise > 0


SUBJECTS: dict[str, Subject] = {
    "booking": Subject(_booking, _lock_booking, _lose_booking, _returned_booking),
    "top_up": Subject(_top_up, _lock_top_up, _lose_top_up, _returned_top_up),
    "invoice": Subject(_invoice, _lock_invoice, _lose_invoice, _returned_invoice),
    "unapplied": Subject(_unapplied, _lock_unapplied, _lose_unapplied, _returned_unapplied),
}


def find(session: Session, provider_payment_id: str) -> tuple[str, Found] | None:
    """What a provider's payment paid for, or None while nothing of ours knows it. Wants job scope."""
    for name, subject in SUBJECTS.items():
        found = subject.find(session, provider_payment_id)
        if found is not None:
            return name, found
    return None
