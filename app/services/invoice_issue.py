"""Issue of an invoice (chapter 2, 2.9): its number, its parties and its tax are fixed here, and the journal learns what bookings
have not told it: the tax, and the lines that are no bookings.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app import clock
from app.documents.words import rupees_in_words
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    Contract,
    ContractStatus,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceLineKind,
    InvoiceStatus,
    Organization,
    PurchaseOrder,
)
from app.services import (
    audit,
    einvoice_rules,
    invoice_notices,
    invoice_sums,
    invoices,
    ledger,
    numbering,
    outbox,
    tax_tables,
)
from app.services.invoice_facts import Assessment, Supplier, assess
from app.services.text import money

REVENUE = {InvoiceLineKind.LICENSE: "LICENSE_REVENUE|platform|INR"}  # else PLATFORM_FEE
_OTHERS = text(
    "SELECT kind, sum(taxable_paise) FROM invoice_line WHERE organization_id = :org AND invoice_id = :inv "
    "AND kind <> 'BOOKING' GROUP BY kind"
)


def issue(session: Session, row: Invoice, by: Supplier) -> Invoice:
    """DRAFT → ISSUED: taxed as of today, numbered, frozen, posted, announced. Raises ILLEGAL_TRANSITION, the PO's codes."""
    row = invoices.fresh(session, row.id, lock=True)
    if row.status != InvoiceStatus.DRAFT:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)
    how = assess(session, by, clock.today_ist(), reverse_charge=row.reverse_charge)
    before = (row.total_paise, row.fc_total)
    invoice_sums.assessed(session, row, how)
    if before != (row.total_paise, row.fc_total):  # the recipient's tax status changed since it was drafted
        invoice_sums.give_back(session, row)
        invoice_sums.draw(session, row)
    seal(session, row, how)
    return row


def seal(session: Session, row: Invoice, how: Assessment, *, quiet: bool = False) -> None:
    """Number, freeze, post and announce an assessed draft; a STATEMENT is PAID from its first moment and posts nothing."""
    now = clock.now()
    number = numbering.take(session, numbering.INVOICE, now)
    statement = row.kind == InvoiceKind.STATEMENT
    supplier = how.facts["supplier"]
    facts = {
        **how.facts,
        **row.facts,
        "words": rupees_in_words(row.total_paise),
        **references(session, row),
        "tax_rows": {**how.facts["tax_rows"], **_rate_rows(session, row, number.day)},
    }
    due = number.day if statement else row.due_date or number.day + dt.timedelta(days=_terms(session, row))
    invoices.move(
        session,
        row,
        InvoiceStatus.PAID if statement else InvoiceStatus.ISSUED,
        InvoiceStatus.DRAFT,
        number=number.text,
        fiscal_year=number.fiscal_year,
        sequence=number.sequence,
        issue_date=number.day,
        issued_at=now,
        due_date=max(due, number.day),
        supplier_gstin=supplier["gstin"],
        facts=facts,
        **({"paid_at": now, "paid_paise": row.total_paise} if statement else {}),
    )
    if not statement:
        post_issue(session, row)
    registered = einvoice_rules.enter(session, row, number.day, how.irp_environment)
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_ISSUED",
        f"{'Tax statement' if statement else 'Invoice'} {row.number} of {money(row.total_paise)} was issued",
        target_type="invoice",
        target_id=row.public_id,
        number=row.number,
        total_paise=row.total_paise,
        due_date=str(row.due_date),
    )
    outbox.event(
        session,
        "invoice.issued",
        invoice_id=str(row.public_id),
        invoice_number=row.number,
        total_paise=row.total_paise,
        display_currency=row.currency.value,
        due_date=str(row.due_date),
        purchase_order_id=_public(session, PurchaseOrder, row.purchase_order_id),
        contract_id=_public(session, Contract, row.contract_id),
    )
    if not quiet and registered is None:
        _send(session, row)


def announce(session: Session, row: Invoice) -> None:
    """Send the document out, once; one that waits for its registration is sent when that has come."""
    if row.sent_at is None and not einvoice_rules.waits(session, row):
        _send(session, row)


def _send(session: Session, row: Invoice) -> None:
    row.sent_at = clock.now()
    session.flush()
    invoice_notices.issued(session, row)


def _public(session: Session, model: Any, key: int | None) -> str | None:
    return str(session.scalar(select(model.public_id).where(model.id == key))) if key else None


def references(session: Session, row: Invoice) -> dict[str, str | None]:
    """What the document names: its purchase order's number and its contract's title."""
    order = select(PurchaseOrder.po_number).where(PurchaseOrder.id == row.purchase_order_id)
    contract = select(Contract.title).where(Contract.id == row.contract_id)
    return {
        "po_number": session.scalar(order) if row.purchase_order_id else None,
        "contract": session.scalar(contract) if row.contract_id else None,
    }


def _rate_rows(session: Session, row: Invoice, on: dt.date) -> dict[str, str]:
    """Which rows of the rate table stood behind the lines' SACs on the day."""
    sacs = session.scalars(
        select(InvoiceLine.sac).where(InvoiceLine.invoice_id == row.id).distinct().limit(50)
    )
    out = {}
    for sac in sacs:
        try:
            out[sac] = tax_tables.rate(session, sac, on).row
        except Invalid:
            continue  # a booking's own rate, frozen when it was made
    return out


def _terms(session: Session, row: Invoice) -> int:
    """Days to pay: the named contract's, else the active one's, else the organisation's."""
    days = session.scalar(
        select(Contract.payment_terms_days)
        .where(
            Contract.id == row.contract_id if row.contract_id else Contract.status == ContractStatus.ACTIVE
        )
        .limit(1)
    )
    if days is None:
        days = session.get_one(Organization, row.organization_id).payment_terms_days
    return int(days if days is not None else 30)


def issue_legs(session: Session, row: Invoice) -> list[ledger.Leg]:
    """INVOICE_ISSUED: Dr ORG_RECEIVABLE tax and lines that are no bookings, Cr GST_PAYABLE and the revenue of each kind.

    A rounding to the rupee joins PLATFORM_FEE. Empty where bookings without tax are all there is.
    """
    legs: list[ledger.Leg] = []
    revenue: dict[str, int] = {}
    others = row.subtotal_paise != row.booking_paise
    for kind, paise in (
        session.execute(_OTHERS, {"org": row.organization_id, "inv": row.id}) if others else ()
    ):
        code = REVENUE.get(InvoiceLineKind(kind), ledger.PLATFORM_FEE)
        revenue[code] = revenue.get(code, 0) + int(paise)
    owed = row.tax_paise + sum(revenue.values()) + row.round_off_paise
    if row.tax_paise:
        legs.append(ledger.credit(ledger.GST_PAYABLE, row.tax_paise))
    legs += [ledger.credit(code, paise) for code, paise in sorted(revenue.items()) if paise]
    if row.round_off_paise > 0:
        legs.append(ledger.credit(ledger.PLATFORM_FEE, row.round_off_paise))
    elif row.round_off_paise < 0:
        legs.append(ledger.debit(ledger.PLATFORM_FEE, -row.round_off_paise))
    receivable = ledger.org_account("ORG_RECEIVABLE", row.organization_id)
    if owed > 0:
        legs.insert(0, ledger.debit(receivable, owed))
    elif owed < 0:
        legs.insert(0, ledger.credit(receivable, -owed))
    return legs


def post_issue(session: Session, row: Invoice) -> None:
    """Post INVOICE_ISSUED ``invoice:<id>``."""
    legs = issue_legs(session, row)
    if legs:
        ledger.post(
            session,
            f"invoice:{row.public_id}",
            "INVOICE_ISSUED",
            legs,
            organization_id=row.organization_id,
            description=f"Invoice {row.number}",
            invoice_id=str(row.public_id),
        )
