"""What REST and pages show of invoices: lists, one invoice with its timeline, the three-way match, billing summary."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Select, func, or_, select, text
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.models import (
    AuditLog,
    BillingAccount,
    Contract,
    CreditNote,
    CreditNoteLine,
    Currency,
    Dispute,
    EInvoice,
    FundingSource,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceReceipt,
    InvoiceRefund,
    InvoiceStatus,
    PurchaseOrder,
)
from app.services import accruals, einvoices, gst, subscriptions

TABS: dict[str, tuple[str, tuple[InvoiceStatus, ...]]] = {
    "open": ("To pay", (InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE)),
    "overdue": ("Overdue", (InvoiceStatus.OVERDUE,)),
    "paid": ("Paid", (InvoiceStatus.PAID, InvoiceStatus.REFUNDED)),
    "draft": ("Drafts", (InvoiceStatus.DRAFT,)),
    "void": ("Void", (InvoiceStatus.VOID, InvoiceStatus.CANCELLED)),
}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date | dt.datetime) else value


def selection(filters: dict[str, Any]) -> Select[Any]:
    """Invoices of the organisation acted for by tab or status, kind, text and dates of issue."""
    statement = select(Invoice)
    tab = filters.get("tab") or ""
    if tab == "statements":
        statement = statement.where(Invoice.kind == InvoiceKind.STATEMENT)
    elif tab == "open":
        statement = statement.where(accruals.unpaid())
    elif tab in TABS:
        statement = statement.where(Invoice.status.in_(TABS[tab][1]))
        if tab == "paid":
            statement = statement.where(Invoice.kind != InvoiceKind.STATEMENT)
    if filters.get("status") in InvoiceStatus.__members__:
        statement = statement.where(Invoice.status == InvoiceStatus(filters["status"]))
    if filters.get("kind") in InvoiceKind.__members__:
        statement = statement.where(Invoice.kind == InvoiceKind(filters["kind"]))
    if filters.get("q"):
        plain = str(filters["q"]).strip().lower()[:100]
        statement = statement.where(
            or_(
                func.strpos(func.lower(func.coalesce(Invoice.number, "")), plain) > 0,
                Invoice.purchase_order_id.in_(
                    select(PurchaseOrder.id).where(
                        func.strpos(func.lower(PurchaseOrder.po_number), plain) > 0
                    )
                ),
            )
        )
    if filters.get("from"):
        statement = statement.where(Invoice.issue_date >= filters["from"])
    if filters.get("to"):
        statement = statement.where(Invoice.issue_date <= filters["to"])
    return statement


def counts(session: Session) -> dict[str, int]:
    """How many invoices each tab holds."""
    found = session.execute(
        select(Invoice.status, Invoice.kind, func.count(), func.count().filter(accruals.unpaid())).group_by(
            Invoice.status, Invoice.kind
        )
    ).all()
    rows = [(status, kind == InvoiceKind.STATEMENT, n) for status, kind, n, _ in found]
    out = {name: sum(n for s, st, n in rows if s in states and not st) for name, (_, states) in TABS.items()}
    out["open"] = sum(unpaid for _, _, _, unpaid in found)
    out["statements"] = sum(n for _, st, n in rows if st)
    out[""] = sum(n for _, _, n in rows)
    return out


def brief(row: Invoice, *, order: str | None = None, contract: str | None = None) -> dict[str, Any]:
    """An invoice as the API lists it; amounts in rupees' paise, tax_rate in basis points."""
    return {
        "id": str(row.public_id),
        "number": row.number,
        "status": row.status.value,
        "kind": row.kind.value,
        "nature": row.nature.value,
        "currency": row.currency.value,
        "issue_date": _plain(row.issue_date),
        "due_date": _plain(row.due_date),
        "period_start": _plain(row.period_start),
        "period_end": _plain(row.period_end),
        "line_count": row.line_count,
        "subtotal_paise": row.subtotal_paise,
        "exempt_paise": row.exempt_paise,
        "cgst_paise": row.cgst_paise,
        "sgst_paise": row.sgst_paise,
        "utgst_paise": row.utgst_paise,
        "igst_paise": row.igst_paise,
        "tax_paise": row.tax_paise,
        "round_off_paise": row.round_off_paise,
        "total_paise": row.total_paise,
        "credited_paise": row.credited_paise,
        "paid_paise": row.paid_paise,
        "refunded_paise": row.refunded_paise,
        "due_paise": accruals.owed(row),
        "purchase_order_id": order,
        "contract_id": contract,
        "supply_type": row.supply_type.value,
        "place_of_supply": row.place_of_supply,
        "gstin": row.gstin,
        "hsn_code": row.hsn_code,
        "tax_rate": row.tax_rate_bps,
        "reverse_charge": row.reverse_charge,
        "lut_number": row.lut_number,
        "fx_rate_used": row.fx_rate_micros / 1_000_000 if row.fx_rate_micros else None,
        "inr_equivalent_paise": row.total_paise if row.currency != Currency.INR else None,
        "display_total": row.fc_total if row.currency != Currency.INR else row.total_paise,
        "created_at": _plain(row.created_at),
        "issued_at": _plain(row.issued_at),
        "paid_at": _plain(row.paid_at),
        "closed_at": _plain(row.closed_at),
        "close_reason": row.close_reason,
        "reminders_sent": row.reminders_sent,
    }


def line_json(line: InvoiceLine) -> dict[str, Any]:
    """A line as the API shows it."""
    return {
        "position": line.position,
        "kind": line.kind.value,
        "description": line.description,
        "detail": line.detail,
        "supplied_on": _plain(line.supplied_on),
        "sac": line.sac,
        "quantity": line.quantity,
        "unit_paise": line.unit_paise,
        "discount_paise": line.discount_paise,
        "taxable_paise": line.taxable_paise,
        "treatment": line.treatment.value,
        "tax_bps": line.rate_bps,
        "cgst_paise": line.cgst_paise,
        "sgst_paise": line.sgst_paise,
        "utgst_paise": line.utgst_paise,
        "igst_paise": line.igst_paise,
        "total_paise": line.total_paise,
        "credited_paise": line.credited_paise,
    }


def receipts_of(session: Session, row: Invoice) -> list[InvoiceReceipt]:
    """Money that arrived, in order."""
    return list(
        session.scalars(
            select(InvoiceReceipt).where(InvoiceReceipt.invoice_id == row.id).order_by(InvoiceReceipt.id)
        )
    )


def receipt_json(row: InvoiceReceipt) -> dict[str, Any]:
    """A receipt as the API shows it."""
    return {
        "id": str(row.public_id),
        "number": row.number,
        "due_after_paise": row.due_after_paise,
        "method": row.method.value,
        "amount_paise": row.amount_paise,
        "refunded_paise": row.refunded_paise,
        "utr": row.utr,
        "provider_payment_id": row.provider_payment_id,
        "received_on": _plain(row.received_on),
        "note": row.note,
        "created_at": _plain(row.created_at),
    }


def notes_of(session: Session, row: Invoice) -> list[CreditNote]:
    """Credit notes of an invoice, in order."""
    return list(
        session.scalars(select(CreditNote).where(CreditNote.invoice_id == row.id).order_by(CreditNote.id))
    )


def note_json(note: CreditNote, invoice: Invoice) -> dict[str, Any]:
    """A credit note as the API shows it."""
    return {
        "id": str(note.public_id),
        "number": note.number,
        "kind": note.kind.value,
        "issue_date": _plain(note.issue_date),
        "invoice_id": str(invoice.public_id),
        "invoice_number": invoice.number,
        "invoice_date": _plain(invoice.issue_date),
        "reason": note.reason,
        "subtotal_paise": note.subtotal_paise,
        "cgst_paise": note.cgst_paise,
        "sgst_paise": note.sgst_paise,
        "utgst_paise": note.utgst_paise,
        "igst_paise": note.igst_paise,
        "tax_paise": note.tax_paise,
        "total_paise": note.total_paise,
        "place_of_supply": note.place_of_supply,
        "itc_reversal_status": note.itc_reversal_status.value,
    }


def note_lines(session: Session, note: CreditNote) -> list[CreditNoteLine]:
    """The lines of a credit note."""
    return list(
        session.scalars(
            select(CreditNoteLine)
            .where(CreditNoteLine.credit_note_id == note.id)
            .order_by(CreditNoteLine.position)
        )
    )


def refunds_of(session: Session, row: Invoice) -> list[InvoiceRefund]:
    """Money that went back, in order."""
    return list(
        session.scalars(
            select(InvoiceRefund).where(InvoiceRefund.invoice_id == row.id).order_by(InvoiceRefund.id)
        )
    )


def chargebacks_of(session: Session, row: Invoice) -> list[Dispute]:
    """Lost disputes about money that had arrived for an invoice, in order."""
    return list(
        session.scalars(
            select(Dispute)
            .join(InvoiceReceipt, InvoiceReceipt.provider_payment_id == Dispute.provider_payment_id)
            .where(InvoiceReceipt.invoice_id == row.id, Dispute.posted_paise > 0)
            .order_by(Dispute.id)
        )
    )


def einvoice_of(session: Session, row: Invoice) -> EInvoice | None:
    """The registration of an invoice, if it was queued for one."""
    return session.scalars(select(EInvoice).where(EInvoice.invoice_id == row.id)).one_or_none()


def notes_page() -> Select[Any]:
    """Credit notes of the organisation acted for, with their invoices."""
    return select(CreditNote).options(joinedload(CreditNote.invoice))


def full(session: Session, row: Invoice, lines: list[InvoiceLine]) -> dict[str, Any]:
    """One invoice with its first lines, receipts, credit notes, match and registration."""
    order = session.get(PurchaseOrder, row.purchase_order_id) if row.purchase_order_id else None
    contract = session.get(Contract, row.contract_id) if row.contract_id else None
    return {
        **brief(
            row,
            order=str(order.public_id) if order else None,
            contract=str(contract.public_id) if contract else None,
        ),
        **einvoices.view(einvoice_of(session, row)),
        "note": row.note,
        "endorsement": row.facts.get("endorsement", ""),
        "total_in_words": row.facts.get("words", ""),
        "lines": [line_json(line) for line in lines],
        "receipts": [receipt_json(r) for r in receipts_of(session, row)],
        "credit_notes": [note_json(n, row) for n in notes_of(session, row)],
        "chargebacks": [
            {"id": str(d.public_id), "amount_paise": d.posted_paise, "closed_at": _plain(d.closed_at)}
            for d in chargebacks_of(session, row)
        ],
        "refunds": [
            {
                "id": str(r.public_id),
                "amount_paise": r.amount_paise,
                "status": r.status.value,
                "utr": r.utr,
                "succeeded_at": _plain(r.succeeded_at),
            }
            for r in refunds_of(session, row)
        ],
        "match": match(session, row, order, contract),
        "gateway_order_id": row.gateway_order_id,
        "checkout_url": row.checkout_url,
    }


def match(
    session: Session, row: Invoice, order: PurchaseOrder | None, contract: Contract | None
) -> list[dict[str, Any]]:
    """The three-way match: what was ordered, what was delivered, what is billed; each with whether it agrees."""
    delivered = int(
        session.scalar(
            text(
                "SELECT count(*) FROM invoice_line n JOIN payment p ON p.id = n.payment_id LEFT JOIN appointment a "
                "ON a.id = p.appointment_id WHERE n.organization_id = :org AND n.invoice_id = :inv "
                "AND (a.id IS NULL OR a.status = 'COMPLETED')"
            ),
            {"org": row.organization_id, "inv": row.id},
        )
        or 0
    )
    bookings = int(
        session.scalar(
            text(
                "SELECT count(*) FROM invoice_line WHERE organization_id = :org AND invoice_id = :inv AND kind = 'BOOKING'"
            ),
            {"org": row.organization_id, "inv": row.id},
        )
        or 0
    )
    out: list[dict[str, Any]] = []
    if order is not None:
        covered = row.drawn_hundredths == (row.total_paise if row.currency == Currency.INR else row.fc_total)
        closed = row.status in (InvoiceStatus.VOID, InvoiceStatus.CANCELLED)
        out.append(
            {
                "what": "Ordered",
                "ok": None if closed else covered and order.currency == row.currency,
                "reference": order.po_number,
                "id": str(order.public_id),
                "amount": row.drawn_hundredths,
                "currency": order.currency.value,
                "says": "The purchase order has back what was drawn from it."
                if closed
                else "The purchase order released the whole total."
                if covered
                else "The purchase order did not release the total.",
            }
        )
    else:
        out.append(
            {"what": "Ordered", "ok": None, "reference": None, "says": "No purchase order stands behind it."}
        )
    if bookings:
        out.append(
            {
                "what": "Delivered",
                "ok": delivered == bookings,
                "reference": f"{delivered} of {bookings}",
                "says": "Every session has taken place."
                if delivered == bookings
                else f"{bookings - delivered} of {bookings} sessions are still to come or were not closed.",
            }
        )
    elif contract is not None:
        out.append(
            {
                "what": "Agreed",
                "ok": True,
                "reference": contract.title,
                "says": "The contract names what is billed.",
            }
        )
    out.append(
        {
            "what": "Billed",
            "ok": True,
            "reference": row.number or "Draft",
            "says": "The total equals the lines and their tax.",
        }
    )
    return out


def history(session: Session, row: Invoice) -> list[AuditLog]:
    """What happened to an invoice, newest first."""
    return list(
        session.scalars(
            select(AuditLog)
            .options(joinedload(AuditLog.actor))
            .where(AuditLog.target_type == "invoice", AuditLog.target_id == str(row.public_id))
            .order_by(AuditLog.id.desc())
            .limit(60)
        )
    )


def month(day: dt.date) -> dt.date:
    """The first day of the next month."""
    return dt.date(day.year + day.month // 12, day.month % 12 + 1, 1)


def receivables(session: Session) -> tuple[int, int, int]:
    """(outstanding paise, number past due, received in 30 days paise) of the organisation acted for: two statements."""
    outstanding, late = session.execute(
        select(
            func.coalesce(func.sum(accruals.DUE), 0),
            func.count().filter(Invoice.status == InvoiceStatus.OVERDUE),
        ).where(accruals.unpaid())
    ).one()
    received = session.scalar(
        select(func.coalesce(func.sum(InvoiceReceipt.amount_paise), 0)).where(
            InvoiceReceipt.received_on > clock.today_ist() - dt.timedelta(days=30)
        )
    )
    return int(outstanding), int(late), int(received or 0)


def licences(session: Session) -> list[dict[str, Any]]:
    """The licence panel: cycle, what it costs, when the next invoice comes."""
    return [
        {
            "contract_id": str(row.contract.public_id),
            "contract": row.contract.title,
            "model": row.model.value,
            "cycle": row.cycle.value,
            "current_cycle_start": _plain(row.current_cycle_start),
            "current_cycle_end": _plain(row.current_cycle_end),
            "next_invoice_date": _plain(row.next_invoice_date),
            "billed_seats": row.billed_seats,
            "fee_paise": row.contract.license_fee_paise,
            "rate_per_seat_paise": row.contract.license_rate_per_seat_paise,
            "cycle_paise": row.cycle_paise,
        }
        for row in subscriptions.live(session)
    ]


def summary(session: Session, account: BillingAccount) -> dict[str, Any]:
    """What ``…/billing`` says: pending charges, what is outstanding, the licence panel (2.9, 2.11)."""
    accrues = account.funding_source in (FundingSource.INVOICE, FundingSource.LICENSE)
    waiting = accruals.pending(session) if accrues else None
    outstanding, late, received = receivables(session)
    return {
        "funding_source": account.funding_source.value,
        "pending_paise": waiting.paise if waiting else None,
        "pending_bookings": waiting.bookings if waiting else None,
        "next_roll_up": _plain(month(clock.today_ist())) if accrues else None,
        "outstanding_paise": outstanding,
        "past_due": late,
        "paid_30d_paise": received,
        "credit_limit_paise": account.credit_limit_paise,
        "exposure_paise": outstanding + waiting.paise if waiting else None,
        "dunning_suspended": account.dunning_suspended_at is not None,
        "licences": licences(session),
    }


def fiscal_years(session: Session) -> list[tuple[int, str]]:
    """Financial years with issued invoices, newest first, for the register's menu."""
    years = session.scalars(
        select(Invoice.fiscal_year)
        .where(Invoice.fiscal_year.is_not(None))
        .distinct()
        .order_by(Invoice.fiscal_year.desc())
    )
    return [(y, gst.fiscal_label(y)) for y in years if y is not None]
