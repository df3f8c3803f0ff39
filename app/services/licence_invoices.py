"""Licence invoices, in advance, and the notices before them (chapter 2, 2.5 "Licence fee", 2.9, M-20).

``subscriptions.claim`` says what a cycle costs and moves the subscription on; the invoice is made in its transaction, so a
cycle is billed once whoever runs how often.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.logs import log
from app.models import (
    BillingSubscription,
    Currency,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceLineKind,
    InvoiceStatus,
    TaxTreatment,
)
from app.security.context import acting
from app.services import (
    invoice_issue,
    invoice_notices,
    invoice_sums,
    purchase_orders,
    subscriptions,
    tax_tables,
)
from app.services.invoice_facts import Supplier, assess
from app.services.subscriptions import Bill, Line

MAX_CYCLES = 60  # missed cycles of one subscription in one run


def run(session: Session, by: Supplier) -> dict[str, int]:
    """Invoice every cycle that is due and send the seven-day notices. Wants job scope; commits cycle by cycle."""
    done = {"invoices": 0, "notices": 0, "failed": 0}
    due = subscriptions.due(session)
    notices = subscriptions.reminders(session)
    session.commit()
    with tax_tables.read_once(session):
        for org, subscription in due:
            for _ in range(MAX_CYCLES):
                outcome = _cycle(session, org, subscription, by)
                if outcome is None:
                    done["failed"] += 1
                if not outcome:
                    break
                done["invoices"] += outcome == "invoice"
    for org, subscription in notices:
        try:
            with acting(session, scope="org", org_id=org, user_id=None, role=None):
                done["notices"] += subscriptions.remind(session, subscription)
            session.commit()
        except Exception as error:
            session.rollback()
            log.warning("licence_notice_failed", subscription=subscription, error=type(error).__name__)
            done["failed"] += 1
    return done


def _cycle(session: Session, org: int, subscription: int, by: Supplier) -> str | None:
    """ "invoice", "free" (a cycle that costs nothing), "" (nothing is due), or None when it failed."""
    try:
        with acting(session, scope="org", org_id=org, user_id=None, role=None):
            bill = subscriptions.claim(session, subscription)
            if bill is None:
                session.rollback()
                return ""
            row = make(session, subscription, bill, by)
        session.commit()
        return "invoice" if row is not None else "free"
    except Exception as error:
        session.rollback()
        log.warning("licence_invoice_failed", subscription=subscription, error=type(error).__name__)
        return None


def make(session: Session, subscription_id: int, bill: Bill, by: Supplier) -> Invoice | None:
    """The issued invoice of *bill*; None where it totals nothing. Acts for the organisation; the caller commits."""
    today = clock.today_ist()
    parts = spread(bill.lines)
    if not parts:
        return None
    account = session.scalar(
        select(BillingSubscription.billing_account_id).where(BillingSubscription.id == subscription_id)
    )
    assert account is not None
    rate = tax_tables.rate(session, tax_tables.parameter(session, "LICENSE_SAC", today), today)
    first = session.scalar(
        select(Invoice.id).where(
            Invoice.subscription_id == subscription_id,
            Invoice.period_start == bill.period_start,
            Invoice.status.not_in([InvoiceStatus.VOID, InvoiceStatus.CANCELLED]),
        )
    )
    row = Invoice(
        billing_account_id=account,
        kind=InvoiceKind.LICENSE,
        status=InvoiceStatus.DRAFT,
        contract_id=bill.contract_id,
        # added seats of a cycle that has its invoice already stand on one of their own
        subscription_id=subscription_id if first is None else None,
        period_start=bill.period_start,
        period_end=bill.period_end,
    )
    session.add(row)
    session.flush()
    period = f"{bill.period_start:%d %b %Y} to {bill.period_end:%d %b %Y}"
    for position, (line, discount) in enumerate(parts, 1):
        whole = line.quantity * line.unit_paise - discount
        session.add(
            InvoiceLine(
                organization_id=row.organization_id,
                invoice_id=row.id,
                position=position,
                kind=InvoiceLineKind.LICENSE,
                description=line.description[:300],
                detail=period,
                supplied_on=bill.period_start,
                sac=rate.sac,
                quantity=line.quantity,
                unit_paise=line.unit_paise,
                discount_paise=discount,
                taxable_paise=whole,
                treatment=TaxTreatment.EXEMPT if rate.exempt else TaxTreatment.TAXABLE,
                rate_bps=rate.bps,
                total_paise=whole,
            )
        )
    session.flush()
    how = assess(session, by, today)
    invoice_sums.assessed(session, row, how)
    covered = _draw(session, row, bill.purchase_order_id)
    invoice_issue.seal(session, row, how)
    if not covered and how.organization.requires_po:
        invoice_notices.order_missing(session, row)
    return row


def spread(lines: Sequence[Line]) -> list[tuple[Line, int]]:
    """Lines with their discounts, paise: by days a line is less than quantity × unit, and credits (negative lines) reduce
    the others in order. Empty where nothing is left to pay."""
    credit = -sum(line.amount_paise for line in lines if line.amount_paise < 0)
    out = []
    for line in lines:
        if line.amount_paise <= 0:
            continue
        unit = line
        if (
            line.quantity * line.unit_paise < line.amount_paise
        ):  # an amount by days of several rates: one unit of it
            unit = Line(line.description, 1, line.amount_paise, line.amount_paise)
        less = min(credit, unit.amount_paise)
        credit -= less
        out.append((unit, unit.quantity * unit.unit_paise - unit.amount_paise + less))
    payable = [(line, off) for line, off in out if line.quantity * line.unit_paise > off]
    return payable


def _draw(session: Session, row: Invoice, order: int | None) -> bool:
    """The contract's purchase order first, else the oldest that covers it; whether one does."""
    if order is not None:
        try:
            with session.begin_nested():
                purchase_orders.draw(session, order, row.total_paise, Currency.INR)
            row.purchase_order_id, row.drawn_hundredths = order, row.total_paise
            session.flush()
            return True
        except DomainError as error:
            if not error.code.startswith("PO_"):
                raise
    return invoice_sums.draw_oldest(session, row)
