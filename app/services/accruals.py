"""What organisations owe and have not been billed: the predicates that checkout, jobs, pages and exports share
(chapter 2, 2.2 "One billing module owns shared predicates").

An accrual is a payment's INVOICE_ACCRUAL or OVERAGE_INVOICE_ACCRUAL leg; its reversals are negative. It is unbilled while
its payment stands on no invoice. Amounts are paise; tax comes with the invoice.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Invoice, InvoiceKind, InvoiceStatus, LegSource, Payment, PaymentLeg, PaymentStatus

SOURCES = (
    LegSource.INVOICE_ACCRUAL,
    LegSource.OVERAGE_INVOICE_ACCRUAL,
    LegSource.INVOICE_ACCRUAL_REVERSAL,
    LegSource.OVERAGE_INVOICE_ACCRUAL_REVERSAL,
)
OPEN = (InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE)
METHODS = ("INVOICE", "LICENSE")  # what the partial index ix_payment_unbilled holds
SQL_SOURCES = ", ".join(f"'{s.value}'" for s in SOURCES)


@dataclass(frozen=True)
class Pending:
    """Unbilled accruals net of reversals, paise, and how many bookings they come from."""

    paise: int
    bookings: int


def pending(session: Session) -> Pending:
    """The pending charges of the organisation acted for."""
    net = func.sum(PaymentLeg.amount_paise)
    per = (
        select(PaymentLeg.payment_id, net.label("paise"))
        .join(Payment, Payment.id == PaymentLeg.payment_id)
        .where(
            Payment.status == PaymentStatus.SUCCEEDED,
            Payment.invoice_id.is_(None),
            Payment.method.in_(METHODS),
            PaymentLeg.source.in_(SOURCES),
        )
        .group_by(PaymentLeg.payment_id)
        .having(net != 0)
        .subquery()
    )
    row = session.execute(
        select(func.coalesce(func.sum(per.c.paise), 0), func.count()).select_from(per)
    ).one()
    return Pending(int(row[0]), int(row[1]))


def outstanding(session: Session) -> int:
    """What issued invoices still ask for, paise: total less credited less paid, plus refunded."""
    due = Invoice.total_paise - Invoice.credited_paise - Invoice.paid_paise + Invoice.refunded_paise
    return int(
        session.scalar(
            select(func.coalesce(func.sum(due), 0)).where(
                Invoice.status.in_(OPEN), Invoice.kind != InvoiceKind.STATEMENT
            )
        )
        or 0
    )


def exposure(session: Session) -> int:
    """What counts against the credit limit: unbilled accruals and unpaid invoices, paise (2.6 step 8)."""
    return pending(session).paise + outstanding(session)
