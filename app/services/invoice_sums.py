"""What an invoice comes to, line by line and head by head, and what it draws from a purchase order (chapter 2, 2.5 and 2.9)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    Currency,
    DocumentNature,
    Invoice,
    InvoiceKind,
    InvoiceLineKind,
    PurchaseOrder,
    PurchaseOrderStatus,
    TaxTreatment,
)
from app.services import (
    gst,
    invoices,
    purchase_orders,
)
from app.services.invoice_facts import Assessment

_EXEMPT = text(
    "SELECT EXISTS (SELECT 1 FROM payment WHERE organization_id = :org AND invoice_id IS NULL AND method = ANY(:methods) "
    "AND status = 'SUCCEEDED' AND tax_bps = 0)"
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
                for line in invoices.lines_of(session, row, limit=invoices.MAX_ITEMS)
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


# ---- purchase orders ---------------------------------------------------------------------------------------------------


def draw(session: Session, row: Invoice) -> None:
    if row.purchase_order_id is None:
        return
    amount = row.total_paise if row.currency == Currency.INR else row.fc_total or 0
    purchase_orders.draw(session, row.purchase_order_id, amount, row.currency)
    row.drawn_hundredths = amount
    session.flush()


def give_back(session: Session, row: Invoice) -> None:
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
