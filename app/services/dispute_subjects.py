"""What a disputed payment paid for, and what losing it takes back (chapter 2, 2.2 CHARGEBACK).

A new kind of order adds a ``Subject``: *find* gets the provider's payment id under job scope, *lose* posts
``chargeback:<dispute>`` for what the bank took and returns it in paise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import clock
from app.models import (
    Dispute,
    Invoice,
    InvoiceReceipt,
    LegSource,
    Payment,
    Refund,
    RefundStatus,
    UnappliedReceipt,
    WalletTopUp,
)
from app.security.context import acting
from app.services import ledger, refund_spread, settlement, topup_refunds


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
    lose: Callable[[Session, Dispute], int]


def key_of(row: Dispute) -> str:
    """The posting key of a loss."""
    return f"chargeback:{row.public_id}"


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


def _lose_booking(session: Session, row: Dispute) -> int:
    """Disputed minus already refunded, of the card's part; refunds under way count, for their money leaves too."""
    payment = session.get_one(Payment, row.payment_id)
    settlement.lock(session, payment)
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
    took = max(0, min(row.amount_paise, card - gone))
    row.posted_paise = took
    session.flush()
    if took:
        with settlement.for_payer(session, payment):
            refund_spread.charge_back(session, key_of(row), payment, took, dispute=row.provider_dispute_id)
    return took


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


def _lose_top_up(session: Session, row: Dispute) -> int:
    with acting(session, scope="org", org_id=row.organization_id):
        top_up = session.scalars(
            select(WalletTopUp)
            .where(WalletTopUp.gateway_payment_id == row.provider_payment_id)
            .with_for_update()
        ).one()
        left = topup_refunds.refundable(session, top_up)
        took = max(0, min(row.amount_paise, left))
        if took:
            topup_refunds.take_back(
                session, top_up, key_of(row), "CHARGEBACK", took, description="Chargeback of credits bought"
            )
    return took


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


def _lose_invoice(session: Session, row: Dispute) -> int:
    """The money goes back, so the organisation owes it again."""
    with acting(session, scope="org", org_id=row.organization_id):
        receipt = session.scalars(
            select(InvoiceReceipt)
            .where(InvoiceReceipt.provider_payment_id == row.provider_payment_id)
            .with_for_update()
        ).one()
        invoice = session.scalars(
            select(Invoice).where(Invoice.id == receipt.invoice_id).with_for_update()
        ).one()
        took = max(0, min(row.amount_paise, receipt.amount_paise - receipt.refunded_paise))
        if took:
            receipt.refunded_paise += took
            invoice.refunded_paise += took
            ledger.post(
                session,
                key_of(row),
                "CHARGEBACK",
                [
                    ledger.debit(ledger.org_account("ORG_RECEIVABLE", invoice.organization_id), took),
                    ledger.credit(ledger.CASH, took),
                ],
                organization_id=invoice.organization_id,
                description=f"Chargeback of invoice {invoice.number}",
                invoice=str(invoice.public_id),
            )
    return took


# ---- money that matched nothing --------------------------------------------------------------------------------------


def _unapplied(session: Session, provider_payment_id: str) -> Found | None:
    row = session.scalars(
        select(UnappliedReceipt).where(UnappliedReceipt.provider_payment_id == provider_payment_id)
    ).one_or_none()
    if row is None:
        return None
    return Found(str(row.public_id), row.organization_id, None, "Money that matched nothing", "")


def _lose_unapplied(session: Session, row: Dispute) -> int:
    receipt = session.scalars(
        select(UnappliedReceipt)
        .where(UnappliedReceipt.provider_payment_id == row.provider_payment_id)
        .with_for_update()
    ).one()
    if receipt.refunded_at is not None:
        return 0
    receipt.refunded_at = clock.now()  # the bank was faster than our refund: nothing is left to send
    session.flush()
    ledger.post(
        session,
        key_of(row),
        "CHARGEBACK",
        [
            ledger.debit(ledger.UNAPPLIED_RECEIPT, receipt.amount_paise),
            ledger.credit(ledger.CASH, receipt.amount_paise),
        ],
    )
    return receipt.amount_paise


SUBJECTS: dict[str, Subject] = {
    "booking": Subject(_booking, _lose_booking),
    "top_up": Subject(_top_up, _lose_top_up),
    "invoice": Subject(_invoice, _lose_invoice),
    "unapplied": Subject(_unapplied, _lose_unapplied),
}


def find(session: Session, provider_payment_id: str) -> tuple[str, Found] | None:
    """What a provider's payment paid for, or None while nothing of ours knows it. Wants job scope."""
    for name, subject in SUBJECTS.items():
        found = subject.find(session, provider_payment_id)
        if found is not None:
            return name, found
    return None
