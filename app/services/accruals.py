"""What organisations owe and have not been billed: the predicates that checkout, jobs, pages and exports share
(chapter 2, 2.2 "One billing module owns shared predicates").

An accrual is a payment's INVOICE_ACCRUAL or OVERAGE_INVOICE_ACCRUAL leg; its reversals are negative. It is unbilled while
its payment stands on no invoice. Amounts are paise; tax comes with the invoice.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from app.models import Invoice, InvoiceKind, InvoiceStatus, LegSource, Payment, PaymentLeg, PaymentStatus

SOURCES = (
    LegSource.INVOICE_ACCRUAL,
    LegSource.OVERAGE_INVOICE_ACCRUAL,
    LegSource.INVOICE_ACCRUAL_REVERSAL,
    LegSource.OVERAGE_INVOICE_ACCRUAL_REVERSAL,
)
OPEN = (InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE)
SETTLED = (InvoiceStatus.PAID, InvoiceStatus.REFUNDED)
DUE = Invoice.total_paise - Invoice.credited_paise - Invoice.paid_paise + Invoice.refunded_paise
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


def unpaid() -> ColumnElement[bool]:
    """Invoices that ask for money: open ones, and settled ones whose money was taken back without a credit note."""
    taken_back = and_(Invoice.status.in_(SETTLED), Invoice.refunded_paise > 0, DUE > 0)
    return and_(Invoice.kind != InvoiceKind.STATEMENT, or_(Invoice.status.in_(OPEN), taken_back))


def owed(row: Invoice) -> int:
    """What may be paid of an invoice now, paise: the same rule for one row."""
    if row.kind == InvoiceKind.STATEMENT or row.status not in (*OPEN, *SETTLED):
        return 0
    return max(row.due_paise, 0) if row.status in OPEN or row.refunded_paise else 0


def outstanding(session: Session) -> int:
    """What invoices still ask for, paise: total less credited less paid, plus what went back."""
    return int(session.scalar(select(func.coalesce(func.sum(DUE), 0)).where(unpaid())) or 0)


def exposure(session: Session) -> int:
    """What counts against the credit limit: unbilled accruals and unpaid invoices, paise (2.6 step 8)."""
    return pending(session).paise + outstanding(session)
