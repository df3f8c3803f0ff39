"""Invoices written by hand: made, changed and dropped while they are drafts (chapter 2, 2.9).

A draft draws its purchase order when it is made.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    Contract,
    ContractStatus,
    Currency,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceLineKind,
    InvoiceStatus,
    Organization,
    PurchaseOrder,
    TaxTreatment,
)
from app.security.context import ctx
from app.services import (
    audit,
    invoice_issue,
    invoice_sums,
    invoices,
    tax_tables,
    wallets,
)
from app.services.invoice_facts import Supplier, assess
from app.services.text import money, one_line, paragraphs

MAX_PAISE, MAX_DAYS = 10**13, 365
_ITEM = frozenset({"description", "sac", "quantity", "unit_paise", "discount_paise", "tax_bps"})


def create(session: Session, values: dict[str, Any], by: Supplier) -> Invoice:
    """A manual invoice: DRAFT, or issued at once with ``issue_immediately``.

    *values*: items (description, quantity, unit_paise in hundredths of the currency, discount_paise, sac, tax_bps),
    due_date, purchase_order_id and contract_id (public), currency, note, reverse_charge, round_total, issue_immediately.
    Raises Invalid, PO_REQUIRED, the PO's codes, FX_RATE_MISSING, SPONSOR_CAPABILITY_REQUIRED.
    """
    account = wallets.account(session)
    row = Invoice(
        billing_account_id=account.id,
        kind=InvoiceKind.MANUAL,
        status=InvoiceStatus.DRAFT,
        created_by_user_id=ctx().user_id,
    )
    _fill(session, row, values, by, new=True)
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_GENERATED",
        f"An invoice of {money(row.total_paise)} was drafted",
        target_type="invoice",
        target_id=row.public_id,
        total_paise=row.total_paise,
    )
    if values.get("issue_immediately"):
        invoice_issue.issue(session, row, by)
    return row


def change(session: Session, row: Invoice, values: dict[str, Any], by: Supplier) -> Invoice:
    """Replace what a manual draft says. Raises what ``create`` does, and ILLEGAL_TRANSITION for one that is no draft."""
    row = invoices.fresh(session, row.id, lock=True)
    if row.status != InvoiceStatus.DRAFT or row.kind != InvoiceKind.MANUAL:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)
    before = row.total_paise
    invoice_sums.give_back(session, row)
    session.execute(
        delete(InvoiceLine).where(InvoiceLine.invoice_id == row.id).execution_options(**invoices.PLAIN)
    )
    _fill(session, row, values, by, new=False)
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_UPDATED",
        f"A draft of {money(row.total_paise)} was changed",
        target_type="invoice",
        target_id=row.public_id,
        before={"total_paise": before},
        after={"total_paise": row.total_paise},
    )
    if values.get("issue_immediately"):
        invoice_issue.issue(session, row, by)
    return row


def _fill(session: Session, row: Invoice, values: dict[str, Any], by: Supplier, *, new: bool) -> None:
    today = clock.today_ist()
    problems: dict[str, list[str]] = {}
    items = _items(session, values.get("items"), today, problems)
    currency = _currency(values.get("currency"), problems)
    due = values.get("due_date")
    if due is not None and not today <= due <= today + dt.timedelta(days=MAX_DAYS):
        problems["due_date"] = ["Choose a day from today to a year ahead."]
    note = paragraphs(str(values.get("note") or ""))
    if len(note) > 2000:
        problems["note"] = ["At most 2000 characters."]
    contract = _named(session, Contract, values.get("contract_id"), "contract_id", problems)
    order = _named(session, PurchaseOrder, values.get("purchase_order_id"), "purchase_order_id", problems)
    if problems:
        raise Invalid(problems)
    organization = session.get_one(Organization, ctx().org_id)
    if organization.requires_po and order is None:
        raise DomainError("PO_REQUIRED")
    row.due_date, row.note, row.currency = due, note, currency
    row.contract_id = contract.id if contract else None
    row.purchase_order_id = order.id if order else None
    row.reverse_charge = bool(values.get("reverse_charge"))
    rate = tax_tables.fx(session, currency, today) if currency != Currency.INR else None
    row.fx_rate_micros, row.fx_rate_on = (rate.micros, rate.on) if rate else (None, None)
    rounds = values.get("round_total")
    how = assess(session, by, today, reverse_charge=row.reverse_charge)
    if rounds is None:
        rounds = bool(how.profile and how.profile.round_totals)
    row.facts = {**({} if new else row.facts), "round_total": bool(rounds)}
    if new:
        session.add(row)
    session.flush()
    session.add_all(_line(row, position, item, rate) for position, item in enumerate(items, 1))
    session.flush()
    invoice_sums.assessed(session, row, how)
    if not row.total_paise:
        raise Invalid({"items": ["The total is zero: there is nothing to pay."]})
    invoice_sums.draw(session, row)


def _items(
    session: Session, raw: Any, today: dt.date, problems: dict[str, list[str]]
) -> list[dict[str, Any]]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= invoices.MAX_ITEMS:
        problems["items"] = [f"Enter 1 to {invoices.MAX_ITEMS} lines."]
        return []
    out = []
    for n, item in enumerate(raw):
        at = f"items.{n}"
        unknown = sorted(set(item) - _ITEM)
        if unknown:
            problems[f"{at}.{unknown[0]}"] = ["There is no such field."]
            continue
        description = one_line(str(item.get("description") or ""))
        if not 3 <= len(description) <= 300:
            problems[f"{at}.description"] = ["Use 3 to 300 characters."]
        quantity, unit, discount = (
            item.get("quantity", 1),
            item.get("unit_paise"),
            item.get("discount_paise") or 0,
        )
        if not _whole(quantity) or not 1 <= quantity <= 1_000_000:
            problems[f"{at}.quantity"] = ["A whole number from 1 to 1,000,000."]
        if not _whole(unit) or not 0 <= unit <= MAX_PAISE:
            problems[f"{at}.unit_paise"] = ["Enter an amount of zero or more."]
        if not _whole(discount) or discount < 0:
            problems[f"{at}.discount_paise"] = ["Enter an amount of zero or more."]
        if any(name.startswith(f"{at}.") for name in problems):
            continue
        if discount > quantity * unit or quantity * unit > MAX_PAISE:
            problems[f"{at}.discount_paise" if discount > quantity * unit else f"{at}.unit_paise"] = [
                "The discount is more than the line."
                if discount > quantity * unit
                else "The line is too large."
            ]
            continue
        try:
            known = tax_tables.rate(session, str(item.get("sac") or "") or None, today)
        except Invalid as error:
            problems[f"{at}.sac"] = error.fields["sac"]
            continue
        bps = item.get("tax_bps")
        if bps is not None and (not _whole(bps) or bps not in (0, known.bps)):
            problems[f"{at}.tax_bps"] = [f"{known.sac} is taxed at {known.bps} basis points, or exempt at 0."]
            continue
        out.append(
            {
                "description": description,
                "quantity": quantity,
                "unit": unit,
                "discount": discount,
                "sac": known.sac,
                "bps": known.bps if bps is None else bps,
                "row": known.row,
            }
        )
    return out


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _currency(raw: Any, problems: dict[str, list[str]]) -> Currency:
    try:
        return Currency(raw or "INR")
    except ValueError:
        problems["currency"] = [f"Choose one of {', '.join(Currency)}."]
        return Currency.INR


def _named(session: Session, model: Any, key: Any, field: str, problems: dict[str, list[str]]) -> Any:
    if not key:
        return None
    try:
        found = session.scalars(select(model).where(model.public_id == uuid.UUID(str(key)))).one_or_none()
    except ValueError:
        found = None
    if found is None:
        problems[field] = ["There is no such row."]
    elif model is Contract and found.status not in (ContractStatus.ACTIVE, ContractStatus.EXPIRED):
        problems[field] = ["This contract was never signed, or it was terminated."]
    return found


def _line(row: Invoice, position: int, item: dict[str, Any], rate: tax_tables.Fx | None) -> InvoiceLine:
    """A line in rupees; of a foreign document each amount is converted, half-up, and the total kept beside it."""
    unit, discount = item["unit"], item["discount"]
    fc = None
    if rate is not None:
        fc = item["quantity"] * unit - discount
        unit, whole = rate.paise(unit), rate.paise(fc)
        discount = item["quantity"] * unit - whole
        if discount < 0:  # rounding of the unit went below the line: carry the line as one unit
            return _line(row, position, {**item, "quantity": 1, "unit": fc, "discount": 0}, rate)
    return InvoiceLine(
        organization_id=row.organization_id,
        invoice_id=row.id,
        position=position,
        kind=InvoiceLineKind.MANUAL,
        description=item["description"],
        sac=item["sac"],
        quantity=item["quantity"],
        unit_paise=unit,
        discount_paise=discount,
        taxable_paise=item["quantity"] * unit - discount,
        fc_amount=fc,
        treatment=TaxTreatment.TAXABLE if item["bps"] else TaxTreatment.EXEMPT,
        rate_bps=item["bps"],
        total_paise=item["quantity"] * unit - discount,
    )


def cancel(session: Session, row: Invoice, reason: str = "") -> Invoice:
    """DRAFT → CANCELLED; its purchase order gets back what it drew. Raises ILLEGAL_TRANSITION."""
    row = invoices.fresh(session, row.id, lock=True)
    if row.status != InvoiceStatus.DRAFT:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)
    invoice_sums.give_back(session, row)
    invoices.move(
        session,
        row,
        InvoiceStatus.CANCELLED,
        InvoiceStatus.DRAFT,
        closed_at=clock.now(),
        close_reason=one_line(reason)[:300],
    )
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_CANCELLED",
        f"A draft of {money(row.total_paise)} was cancelled",
        target_type="invoice",
        target_id=row.public_id,
        reason=row.close_reason,
    )
    return row
