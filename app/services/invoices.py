"""Invoices from draft to settled (chapter 2, 2.9): DRAFT→ISSUED→PAID→REFUNDED, ISSUED→OVERDUE→PAID, ISSUED or OVERDUE→VOID,
DRAFT→CANCELLED; anything else is 409.

A draft draws its purchase order when it is made. Its number, its parties and its tax are fixed at issue, where the journal
learns what bookings have not told it: the tax, and the lines that are no bookings.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import delete, exists, select, text, update
from sqlalchemy.orm import Session

from app import clock
from app.documents.words import rupees_in_words
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    Contract,
    ContractStatus,
    Currency,
    DocumentNature,
    EInvoice,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceLineKind,
    InvoiceStatus,
    IrpStatus,
    Organization,
    PurchaseOrder,
    PurchaseOrderStatus,
    TaxTreatment,
)
from app.security.context import ctx
from app.services import (
    audit,
    einvoice_rules,
    gst,
    invoice_notices,
    ledger,
    numbering,
    outbox,
    purchase_orders,
    tax_tables,
    wallets,
)
from app.services.invoice_facts import Assessment, Supplier, assess
from app.services.text import money, one_line, paragraphs

MAX_ITEMS, MAX_PAISE, MAX_DAYS = 500, 10**13, 365
OPEN = (InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE)
PLAIN: dict[str, Any] = {"synchronize_session": False}
REVENUE = {InvoiceLineKind.LICENSE: "LICENSE_REVENUE|platform|INR"}  # else PLATFORM_FEE
_OTHERS = text(
    "SELECT kind, sum(taxable_paise) FROM invoice_line WHERE organization_id = :org AND invoice_id = :inv "
    "AND kind <> 'BOOKING' GROUP BY kind"
)
_EXEMPT = text(
    "SELECT EXISTS (SELECT 1 FROM payment WHERE organization_id = :org AND invoice_id IS NULL AND method = ANY(:methods) "
    "AND status = 'SUCCEEDED' AND tax_bps = 0)"
)
_ITEM = frozenset({"description", "sac", "quantity", "unit_paise", "discount_paise", "tax_bps"})


# ---- looking ---------------------------------------------------------------------------------------------------------


def fresh(session: Session, invoice_id: int, *, lock: bool = False) -> Invoice:
    """The invoice by inner id, reread; locked if asked."""
    statement = select(Invoice).where(Invoice.id == invoice_id).execution_options(populate_existing=True)
    row = session.scalars(statement.with_for_update() if lock else statement).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def move(session: Session, row: Invoice, to: InvoiceStatus, *of: InvoiceStatus, **values: Any) -> None:
    """Compare-and-set of the status. Raises ILLEGAL_TRANSITION with the state found."""
    done = session.scalars(
        update(Invoice)
        .where(Invoice.id == row.id, Invoice.status.in_(of))
        .values(status=to, **values)
        .returning(Invoice)
        .execution_options(populate_existing=True, **PLAIN)
    ).one_or_none()
    if done is None:
        session.refresh(row)
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)


def lines_of(session: Session, row: Invoice, *, limit: int = 1000, after: int = 0) -> list[InvoiceLine]:
    """Lines in order, *limit* at a time."""
    return list(
        session.scalars(
            select(InvoiceLine)
            .where(InvoiceLine.invoice_id == row.id, InvoiceLine.position > after)
            .order_by(InvoiceLine.position)
            .limit(limit)
        )
    )


# ---- drafts ----------------------------------------------------------------------------------------------------------


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
        issue(session, row, by)
    return row


def change(session: Session, row: Invoice, values: dict[str, Any], by: Supplier) -> Invoice:
    """Replace what a manual draft says. Raises what ``create`` does, and ILLEGAL_TRANSITION for one that is no draft."""
    row = fresh(session, row.id, lock=True)
    if row.status != InvoiceStatus.DRAFT or row.kind != InvoiceKind.MANUAL:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)
    before = row.total_paise
    _give_back(session, row)
    session.execute(delete(InvoiceLine).where(InvoiceLine.invoice_id == row.id).execution_options(**PLAIN))
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
        issue(session, row, by)
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
    row.facts = {"round_total": bool(rounds)}
    if new:
        session.add(row)
    session.flush()
    session.add_all(_line(row, position, item, rate) for position, item in enumerate(items, 1))
    session.flush()
    assessed(session, row, how)
    if not row.total_paise:
        raise Invalid({"items": ["The total is zero: there is nothing to pay."]})
    _draw(session, row)


def _items(
    session: Session, raw: Any, today: dt.date, problems: dict[str, list[str]]
) -> list[dict[str, Any]]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_ITEMS:
        problems["items"] = [f"Enter 1 to {MAX_ITEMS} lines."]
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


def apart(session: Session, how: Assessment, methods: tuple[str, ...]) -> tuple[bool | None, ...]:
    """On which documents unbilled bookings go: (False, True) keeps exempt ones apart, as law wants for the registered;
    (False,) where none is exempt, (None,) for the unregistered, whose documents hold both."""
    if how.gstin is None:
        return (None,)
    exempt = session.scalar(_EXEMPT, {"org": how.organization.id, "methods": list(methods)})
    return (False, True) if exempt else (False,)


def assessed(
    session: Session, row: Invoice, how: Assessment, *, taxes: tuple[InvoiceLineKind, ...] | None = None
) -> None:
    """Tax the lines and add the draft up, in two statements whatever their number. *taxes* names the kinds of lines that
    still need their tax; None: all. Raises Invalid (mixed supplies)."""
    _tax(session, row, how, list(InvoiceLineKind) if taxes is None else list(taxes))
    sums = totals(session, row)
    _add_up(session, row, how, sums)


def _tax(session: Session, row: Invoice, how: Assessment, kinds: list[InvoiceLineKind]) -> None:
    if not kinds:
        return
    cgst, sgst, utgst, igst = gst.sql_heads("taxable_paise", "rate_bps", how.regime)
    session.execute(
        text(
            f"UPDATE invoice_line SET cgst_paise = {cgst}, sgst_paise = {sgst}, utgst_paise = {utgst}, "  # noqa: S608  (integers of this file)
            f"igst_paise = {igst}, total_paise = taxable_paise + {cgst} + {sgst} + {utgst} + {igst} "
            "WHERE organization_id = :org AND invoice_id = :inv AND kind = ANY(:kinds)"
        ),
        {"org": row.organization_id, "inv": row.id, "kinds": [k.value for k in kinds]},
    )


def _add_up(session: Session, row: Invoice, how: Assessment, sums: Any) -> None:
    kinds = {
        t
        for t, n in (
            (TaxTreatment.EXEMPT, sums.exempt_lines),
            (TaxTreatment.TAXABLE, sums.n - sums.exempt_lines),
        )
        if n
    }
    nature = gst.nature(kinds, registered=how.gstin is not None) if kinds else DocumentNature.TAX_INVOICE
    if nature is None:
        raise Invalid(
            {"items": ["Exempt and taxable lines go on separate documents for a registered recipient."]}
        )
    row.nature = nature
    if row.kind in (InvoiceKind.ROLL_UP, InvoiceKind.STATEMENT):
        row.period_start, row.period_end = sums.first_on, sums.last_on
    row.line_count, row.subtotal_paise = sums.n, int(sums.taxable)
    row.exempt_paise, row.booking_paise = int(sums.exempt), int(sums.booking)
    row.cgst_paise, row.sgst_paise = int(sums.cgst), int(sums.sgst)
    row.utgst_paise, row.igst_paise = int(sums.utgst), int(sums.igst)
    row.tax_paise = row.cgst_paise + row.sgst_paise + row.utgst_paise + row.igst_paise
    before = row.subtotal_paise + row.tax_paise
    row.round_off_paise = gst.to_rupee(before) if row.facts.get("round_total") else 0
    row.total_paise = before + row.round_off_paise
    row.supply_type, row.place_of_supply = how.regime.supply_type, how.regime.place
    row.lut_number, row.gstin = how.lut, how.gstin
    row.hsn_code, row.tax_rate_bps = sums.sac or row.hsn_code or "999293", sums.bps or 0
    if row.currency != Currency.INR:
        row.fc_total = int(sums.fc) + (
            sum(
                how.regime.heads(line.fc_amount or 0, line.rate_bps).total
                for line in lines_of(session, row, limit=MAX_ITEMS)
            )
            if row.tax_paise
            else 0
        )
    session.flush()


def totals(session: Session, row: Invoice) -> Any:
    """Sums of the lines: n, taxable, exempt, booking, heads, exempt_lines, fc, first and last day, SAC and
    rate of the largest one."""
    return session.execute(
        text(
            "SELECT count(*) AS n, coalesce(sum(taxable_paise), 0) AS taxable, "
            "coalesce(sum(taxable_paise) FILTER (WHERE treatment = 'EXEMPT'), 0) AS exempt, "
            "coalesce(sum(taxable_paise) FILTER (WHERE kind = 'BOOKING'), 0) AS booking, "
            "coalesce(sum(cgst_paise), 0) AS cgst, coalesce(sum(sgst_paise), 0) AS sgst, "
            "coalesce(sum(utgst_paise), 0) AS utgst, coalesce(sum(igst_paise), 0) AS igst, "
            "count(*) FILTER (WHERE treatment = 'EXEMPT') AS exempt_lines, coalesce(sum(fc_amount), 0) AS fc, "
            "min(supplied_on) AS first_on, max(supplied_on) AS last_on, "
            "max(rate_bps) AS bps, (array_agg(sac ORDER BY taxable_paise DESC))[1] AS sac "
            "FROM invoice_line WHERE organization_id = :org AND invoice_id = :inv"
        ),
        {"org": row.organization_id, "inv": row.id},
    ).one()


def _draw(session: Session, row: Invoice) -> None:
    if row.purchase_order_id is None:
        return
    amount = row.total_paise if row.currency == Currency.INR else row.fc_total or 0
    purchase_orders.draw(session, row.purchase_order_id, amount, row.currency)
    row.drawn_hundredths = amount
    session.flush()


def _give_back(session: Session, row: Invoice) -> None:
    if row.purchase_order_id is not None and row.drawn_hundredths:
        purchase_orders.restore(session, row.purchase_order_id, row.drawn_hundredths)
    row.drawn_hundredths = 0
    session.flush()


def draw_oldest(session: Session, row: Invoice) -> bool:
    """Draw a roll-up's total from the oldest purchase order that covers it; whether one did."""
    today = clock.today_ist()
    orders = session.scalars(
        select(PurchaseOrder.id)
        .where(
            PurchaseOrder.status == PurchaseOrderStatus.ACTIVE,
            PurchaseOrder.currency == row.currency,
            PurchaseOrder.remaining_paise >= row.total_paise,
            (PurchaseOrder.valid_until.is_(None)) | (PurchaseOrder.valid_until >= today),
        )
        .order_by(PurchaseOrder.created_at, PurchaseOrder.id)
        .limit(20)
    ).all()
    for order in orders:
        try:
            with session.begin_nested():
                purchase_orders.draw(session, order, row.total_paise, row.currency)
        except DomainError as error:
            if not error.code.startswith("PO_"):
                raise
            continue  # somebody else drew from it meanwhile
        row.purchase_order_id, row.drawn_hundredths = order, row.total_paise
        session.flush()
        return True
    return False


def cancel(session: Session, row: Invoice, reason: str = "") -> Invoice:
    """DRAFT → CANCELLED; its purchase order gets back what it drew. Raises ILLEGAL_TRANSITION."""
    row = fresh(session, row.id, lock=True)
    if row.status != InvoiceStatus.DRAFT:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)
    _give_back(session, row)
    move(
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


# ---- issue -----------------------------------------------------------------------------------------------------------


def issue(session: Session, row: Invoice, by: Supplier) -> Invoice:
    """DRAFT → ISSUED: taxed as of today, numbered, frozen, posted, announced. Raises ILLEGAL_TRANSITION, the PO's codes."""
    row = fresh(session, row.id, lock=True)
    if row.status != InvoiceStatus.DRAFT:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)
    how = assess(session, by, clock.today_ist(), reverse_charge=row.reverse_charge)
    before = (row.total_paise, row.fc_total)
    assessed(session, row, how)
    if before != (row.total_paise, row.fc_total):  # the recipient's tax status changed since it was drafted
        _give_back(session, row)
        _draw(session, row)
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
        "po_number": _po_number(session, row),
        "contract": _contract_title(session, row),
        "tax_rows": {**how.facts["tax_rows"], **_rate_rows(session, row, number.day)},
    }
    due = number.day if statement else row.due_date or number.day + dt.timedelta(days=_terms(session, row))
    move(
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


def _po_number(session: Session, row: Invoice) -> str | None:
    if row.purchase_order_id is None:
        return None
    return session.scalar(select(PurchaseOrder.po_number).where(PurchaseOrder.id == row.purchase_order_id))


def _contract_title(session: Session, row: Invoice) -> str | None:
    if row.contract_id is None:
        return None
    return session.scalar(select(Contract.title).where(Contract.id == row.contract_id))


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


# ---- void ------------------------------------------------------------------------------------------------------------


def by_contract(session: Session, row: Invoice) -> bool:
    """Whether it charges a licence or a commitment: no roll-up bills those again."""
    kinds = (InvoiceLineKind.LICENSE, InvoiceLineKind.COMMITMENT)
    lines = exists().where(InvoiceLine.invoice_id == row.id, InvoiceLine.kind.in_(kinds))
    return bool(session.scalar(select(lines)))


def voidable(session: Session, row: Invoice) -> Invoice:
    """*row* locked, if who acts may void it now: asked before anything outside is told. Raises ILLEGAL_TRANSITION,
    INSUFFICIENT_ROLE."""
    # payments before the invoice, as refunds lock them
    session.execute(
        text("SELECT count(*) FROM (SELECT id FROM payment WHERE invoice_id = :inv FOR UPDATE) p"),
        {"inv": row.id},
    )
    row = fresh(session, row.id, lock=True)
    if row.status not in OPEN or row.paid_paise or row.credited_paise:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value, paid_paise=row.paid_paise)
    if row.status == InvoiceStatus.OVERDUE and not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE", message="Only the platform voids an invoice that is past due.")
    if not ctx().is_admin and by_contract(session, row):
        raise DomainError("INSUFFICIENT_ROLE", message="Only the platform voids what it charges by contract.")
    return row


def void(session: Session, row: Invoice, reason: str) -> Invoice:
    """ISSUED or OVERDUE, nothing paid or credited → VOID: posted back, the order restored, bookings billable again.

    A registered e-invoice is cancelled at the portal first (``einvoices.cancel``), within its 24 hours. An OVERDUE one is
    ADMIN's to void: nobody ends dunning by billing themselves anew. So is one with a licence or a commitment, which no
    roll-up bills again. Raises Invalid, ILLEGAL_TRANSITION, INSUFFICIENT_ROLE, IRP_CANCEL_FIRST.
    """
    why = one_line(reason or "")
    if not 3 <= len(why) <= 300:
        raise Invalid(
            {"reason": ["Say why, in 3 to 300 characters: it is printed on the document's record."]}
        )
    row = voidable(session, row)
    registered = session.scalars(select(EInvoice).where(EInvoice.invoice_id == row.id)).one_or_none()
    if registered is not None and registered.irp_status == IrpStatus.REGISTERED:
        raise DomainError("IRP_CANCEL_FIRST")
    move(session, row, InvoiceStatus.VOID, *OPEN, closed_at=clock.now(), close_reason=why)
    legs = [
        ledger.Leg(leg.code, "C" if leg.side == "D" else "D", leg.paise) for leg in issue_legs(session, row)
    ]
    if legs:
        ledger.post(
            session,
            f"invoice-void:{row.public_id}",
            "INVOICE_VOID",
            legs,
            organization_id=row.organization_id,
            description=f"Void: invoice {row.number}",
            invoice_id=str(row.public_id),
        )
    _give_back(session, row)
    release(session, row)
    einvoice_rules.drop(session, row)
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_VOIDED",
        f"Invoice {row.number} was voided: {why}",
        target_type="invoice",
        target_id=row.public_id,
        total_paise=row.total_paise,
        reason=why,
    )
    outbox.event(
        session,
        "invoice.voided",
        invoice_id=str(row.public_id),
        invoice_number=row.number,
        total_paise=row.total_paise,
        reason=why,
    )
    invoice_notices.voided(session, row)
    return row


def rebill(session: Session, row: Invoice, by: Supplier) -> Invoice:
    """A draft with the lines of a VOID invoice that are no bookings, to be put right and issued again.

    Bookings come back with the next roll-up. Raises ILLEGAL_TRANSITION, NOTHING_TO_BILL.
    """
    row = fresh(session, row.id)
    if row.status != InvoiceStatus.VOID:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)
    old = session.scalars(
        select(InvoiceLine)
        .where(InvoiceLine.invoice_id == row.id, InvoiceLine.kind != InvoiceLineKind.BOOKING)
        .order_by(InvoiceLine.position)
    ).all()
    if not old:
        raise DomainError("NOTHING_TO_BILL")
    copied = ("billing_account_id", "currency", "fx_rate_micros", "fx_rate_on", "note", "reverse_charge")
    made = Invoice(
        kind=InvoiceKind.MANUAL if row.kind == InvoiceKind.ROLL_UP else row.kind,
        status=InvoiceStatus.DRAFT,
        contract_id=row.contract_id,
        subscription_id=row.subscription_id,
        period_start=row.period_start,
        period_end=row.period_end,
        facts={"round_total": bool(row.facts.get("round_total"))},
        created_by_user_id=ctx().user_id,
        **{name: getattr(row, name) for name in copied},
    )
    session.add(made)
    session.flush()
    kept = (
        *("kind", "description", "detail", "supplied_on", "sac", "quantity", "unit_paise", "discount_paise"),
        *("taxable_paise", "fc_amount", "treatment", "rate_bps"),
    )
    for position, line in enumerate(old, 1):
        session.add(
            InvoiceLine(
                organization_id=row.organization_id,
                invoice_id=made.id,
                position=position,
                total_paise=line.taxable_paise,
                **{name: getattr(line, name) for name in kept},
            )
        )
    session.flush()
    assessed(session, made, assess(session, by, clock.today_ist(), reverse_charge=made.reverse_charge))
    made.purchase_order_id = row.purchase_order_id
    try:
        with session.begin_nested():
            _draw(session, made)
    except DomainError as error:
        if not error.code.startswith("PO_"):
            raise
        session.refresh(made)
        made.purchase_order_id = None  # used up or closed meanwhile: chosen again before it is issued
        session.flush()
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_GENERATED",
        f"Void invoice {row.number} was copied to a draft of {money(made.total_paise)}",
        target_type="invoice",
        target_id=made.public_id,
        total_paise=made.total_paise,
    )
    return made


def release(session: Session, row: Invoice) -> None:
    """Bookings and overages of *row* wait to be billed again; so do the cycles it charged for."""
    values = {"inv": row.id, "org": row.organization_id}
    session.execute(
        text(
            "UPDATE overage_event o SET charge_status = 'PENDING' FROM payment p WHERE p.invoice_id = :inv "
            "AND o.payment_id = p.id AND o.charge_to = 'ORGANIZATION' AND o.charge_status = 'ACCRUED'"
        ),
        values,
    )
    session.execute(text("UPDATE payment SET invoice_id = NULL WHERE invoice_id = :inv"), values)


def overages(session: Session, row: Invoice, before: str, after: str) -> None:
    """Move the organisation's overages of an invoice's bookings, set-based (2.5: PENDING→ACCRUED→CHARGED)."""
    session.execute(
        text(
            "UPDATE overage_event o SET charge_status = :after, charged_at = CAST(:at AS timestamptz) FROM payment p "
            "WHERE p.invoice_id = :inv AND o.payment_id = p.id AND o.charge_to = 'ORGANIZATION' "
            "AND o.charge_status = :before"
        ),
        {"inv": row.id, "before": before, "after": after, "at": clock.now() if after == "CHARGED" else None},
    )
