"""Documents from rows, kept by the hash of everything that shaped them (chapter 2, 2.9 "PDF").

A status, a payment, a credit note or a registration changes the hash, so the old file is never served again. Support
access, which may write nothing, renders anew.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import (
    CreditNote,
    CreditNoteLine,
    DocumentFile,
    EInvoice,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceReceipt,
    InvoiceStatus,
    IrpStatus,
    Organization,
    TaxVoucher,
    VoucherKind,
)
from app.security.context import ctx
from app.services import accruals, gst, invoice_facts, invoice_issue, storage, tax_tables
from app.services.storage import Storage
from app.services.text import amount_in, money
from config import Settings

from . import money_receipt
from .tax_document import Document, Line, Party, Registration, render
from .words import rupees_in_words

VERSION = 3  # of the layout: a new one renders every document again when it is asked for
MOST_LINES = 2000  # beyond, the document sums up by month and service, and the lines are a file of their own
NATURES = {
    "TAX_INVOICE": "Tax invoice",
    "BILL_OF_SUPPLY": "Bill of supply",
    "INVOICE_CUM_BILL": "Invoice-cum-bill of supply",
}
Subject = Invoice | CreditNote | TaxVoucher | InvoiceReceipt


@dataclass(frozen=True)
class File:
    """A rendered document."""

    data: bytes
    pages: int
    filename: str
    content_hash: str


def fetch(session: Session, subject: Subject, settings: Settings) -> File:
    """The PDF of *subject*, from the store where it lies there under the same content. Raises STORAGE_UNAVAILABLE."""
    kind, name = subject.__tablename__, f"{_name(subject)}.pdf"
    digest = content_hash(session, subject)
    store = Storage(settings.files_url)
    known = session.scalars(
        select(DocumentFile).where(DocumentFile.subject_type == kind, DocumentFile.subject_id == subject.id)
    ).one_or_none()
    if known is not None and known.content_hash == digest:
        data = store.read(known.storage_key)
        if data is not None:
            return File(data, known.pages, name, digest)
    data, pages = _drawn(session, subject, settings)
    if not ctx().viewing:
        _keep(session, subject, kind, digest, data, pages, store, known.storage_key if known else None)
    return File(data, pages, name, digest)


def _keep(
    session: Session,
    subject: Subject,
    kind: str,
    digest: str,
    data: bytes,
    pages: int,
    store: Storage,
    old: str | None,
) -> None:
    owner = session.scalar(select(Organization.public_id).where(Organization.id == subject.organization_id))
    key = f"{owner}/document-{uuid.uuid4()}"
    storage.write_with(session, store, key, data, "application/pdf")
    values = {"content_hash": digest, "storage_key": key, "size_bytes": len(data), "pages": pages}
    session.execute(
        insert(DocumentFile)
        .values(
            organization_id=subject.organization_id,
            subject_type=kind,
            subject_id=subject.id,
            created_at=clock.now(),
            **values,
        )
        .on_conflict_do_update(index_elements=["organization_id", "subject_type", "subject_id"], set_=values)
    )
    storage.delete_later(session, old)


def content_hash(session: Session, subject: Subject) -> str:
    """SHA-256 of what the document says now: its row, its registration, its lines where they can still change."""
    hidden = {
        "checkout_url",
        "gateway_order_id",
        "gateway_order_paise",
        "gateway_order_seq",
        "gateway",
        "sent_at",
    }
    said: dict[str, Any] = {
        c.name: getattr(subject, c.name) for c in subject.__table__.columns if c.name not in hidden
    }
    if isinstance(subject, Invoice):
        made = session.scalars(select(EInvoice).where(EInvoice.invoice_id == subject.id)).one_or_none()
        said["irn"] = made.irn if made is not None and made.irp_status == IrpStatus.REGISTERED else None
        if subject.status == InvoiceStatus.DRAFT:
            said["lines"] = session.scalar(
                text(
                    "SELECT md5(string_agg(n::text, '|' ORDER BY position)) FROM invoice_line n "
                    "WHERE organization_id = :org AND invoice_id = :inv"
                ),
                {"org": subject.organization_id, "inv": subject.id},
            )
    body = json.dumps([VERSION, said], sort_keys=True, default=str)
    return hashlib.sha256(body.encode()).hexdigest()


def _name(subject: Subject) -> str:
    return (subject.number or f"draft-{str(subject.public_id)[-8:]}").replace("/", "-")


def _drawn(session: Session, subject: Subject, settings: Settings) -> tuple[bytes, int]:
    """The PDF and its pages, made anew."""
    if isinstance(subject, InvoiceReceipt):
        return money_receipt.render(subject, session.get_one(Invoice, subject.invoice_id), money), 1
    return render(model(session, subject, settings))


def model(session: Session, subject: Invoice | CreditNote | TaxVoucher, settings: Settings) -> Document:
    """What *subject* prints."""
    if isinstance(subject, Invoice):
        return _invoice(session, subject, settings)
    if isinstance(subject, CreditNote):
        return _credit_note(session, subject, settings)
    return _voucher(session, subject, settings)


def _day(day: dt.date | None) -> str:
    return f"{day.day} {day:%b %Y}" if day else "—"


def _place(code: str, name: str) -> str:
    return f"{name} ({code})" if name else code


def _supplier(facts: dict[str, Any]) -> Party:
    lines = [
        facts["address"],
        f"GSTIN {facts['gstin']}",
        f"State {_place(facts['state'], facts.get('state_name', ''))}",
    ]
    if facts.get("email"):
        lines.append(facts["email"])
    return Party("From", facts["name"], tuple(lines))


def _recipient(facts: dict[str, Any]) -> Party:
    lines = []
    if facts.get("trade_name") and facts["trade_name"] != facts["name"]:
        lines.append(facts["trade_name"])
    lines += [facts[k] for k in ("line1", "line2") if facts.get(k)]
    town = " ".join(str(v) for v in (facts.get("city"), facts.get("pin")) if v)
    if town:
        lines.append(town)
    if facts.get("country", "IN") != "IN":
        lines.append(f"Country {facts['country']}")
    lines.append(f"GSTIN {facts['gstin']}" if facts.get("gstin") else "GSTIN not registered")
    if facts.get("state"):
        lines.append(f"State {_place(facts['state'], facts.get('state_name', ''))}")
    return Party("Billed to", facts["name"], tuple(lines))


def _logo(facts: dict[str, Any], settings: Settings) -> bytes | None:
    key = (facts.get("brand") or {}).get("logo")
    if not key:
        return None
    try:
        return Storage(settings.files_url).read(str(key))
    except (DomainError, ValueError):
        return None


def _local(place: str, session: Session) -> str:
    found = tax_tables.states(session).get(place)
    return "UTGST" if found is not None and found.union_territory else "SGST"


def _lines(session: Session, row: Invoice) -> list[Line]:
    if row.line_count > MOST_LINES:
        return _summed(session, row)
    rows = session.scalars(
        select(InvoiceLine)
        .where(InvoiceLine.invoice_id == row.id)
        .order_by(InvoiceLine.position)
        .execution_options(yield_per=500)
    )
    return [
        Line(
            n.description,
            ", ".join(p for p in (n.detail, _day(n.supplied_on) if n.supplied_on else "") if p),
            n.sac,
            n.quantity,
            n.unit_paise,
            n.discount_paise,
            n.taxable_paise,
            n.rate_bps,
            (n.cgst_paise, n.sgst_paise + n.utgst_paise, n.igst_paise),
            n.total_paise,
            n.treatment == "EXEMPT",
        )
        for n in rows
    ]


def _summed(session: Session, row: Invoice) -> list[Line]:
    """One line a month, service and rate."""
    rows = session.execute(
        text(
            "SELECT date_trunc('month', supplied_on)::date AS month, sac, rate_bps, treatment, count(*) AS n, "
            "sum(taxable_paise) AS taxable, sum(cgst_paise) AS cgst, sum(sgst_paise + utgst_paise) AS local, "
            "sum(igst_paise) AS igst, sum(total_paise) AS total FROM invoice_line "
            "WHERE organization_id = :org AND invoice_id = :inv GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3"
        ),
        {"org": row.organization_id, "inv": row.id},
    )
    return [
        Line(
            f"{r.n:,} services" + (f" in {r.month:%B %Y}" if r.month else ""),
            "Each is listed in the file of lines beside this document",
            r.sac,
            1,
            int(r.taxable),
            0,
            int(r.taxable),
            r.rate_bps,
            (int(r.cgst), int(r.local), int(r.igst)),
            int(r.total),
            r.treatment == "EXEMPT",
        )
        for r in rows
    ]


def _invoice(session: Session, row: Invoice, settings: Settings) -> Document:
    facts = row.facts
    if "supplier" not in facts:  # a draft: as it would be issued today
        how = invoice_facts.assess(
            session,
            invoice_facts.supplier(settings),
            clock.today_ist(),
            reverse_charge=row.reverse_charge,
        )
        facts = {
            **how.facts,
            **invoice_issue.references(session, row),
            "words": rupees_in_words(row.total_paise),
            **row.facts,
        }
    statement = row.kind == InvoiceKind.STATEMENT
    place = facts["place"]
    intra = not facts["inter_state"]
    shown = [
        ("Date", _day(row.issue_date)),
        ("Paid from", "Wallet") if statement else ("Due", _day(row.due_date)),
        ("Place of supply", _place(place["code"], place["name"])),
        ("Reverse charge", "Yes" if row.reverse_charge else "No"),
    ]
    if facts.get("po_number"):
        shown.append(("Purchase order", facts["po_number"]))
    if facts.get("contract"):
        shown.append(("Contract", facts["contract"]))
    if row.period_start and row.period_end:
        shown.append(("Period", f"{_day(row.period_start)} – {_day(row.period_end)}"))
    if row.lut_number:
        shown.append(("LUT", row.lut_number))
    after: list[tuple[str, int, bool]] = []
    open_now = row.status in (
        InvoiceStatus.ISSUED,
        InvoiceStatus.OVERDUE,
        InvoiceStatus.PAID,
        InvoiceStatus.REFUNDED,
    )
    if open_now and not statement:
        if row.credited_paise:
            after.append(("Credit notes", -row.credited_paise, False))
        if row.paid_paise:
            after.append(("Received", -row.paid_paise, False))
        if row.refunded_paise:
            after.append(("Returned", row.refunded_paise, False))
        if after:
            after.append(("To pay", max(row.due_paise, 0), True))
    notes = []
    if facts.get("endorsement"):
        notes.append(("Endorsement", facts["endorsement"]))
    if row.reverse_charge:
        notes.append(("Reverse charge", facts.get("reverse_charge") or gst.REVERSE_CHARGE))
    if row.currency != "INR" and row.fc_total is not None:
        rate = f"{(row.fx_rate_micros or 0) / 1_000_000:.4f}".rstrip("0").rstrip(".")
        notes.append(
            (
                f"In {row.currency.value}",
                f"{amount_in(row.currency.value, row.fc_total)} at ₹{rate} for one {row.currency.value} "
                f"({_day(row.fx_rate_on)})",
            )
        )
    if row.note:
        notes.append(("Note", row.note))
    if statement:
        notes.append(
            (
                "Payment",
                "Paid from the organisation's wallet when each session was booked. Nothing is to be paid.",
            )
        )
    elif facts["supplier"].get("bank") and (row.status in accruals.OPEN or accruals.owed(row)):
        notes.append(("Transfer to", f"{facts['supplier']['bank']}. Reference {row.number}."))
    made = session.scalars(select(EInvoice).where(EInvoice.invoice_id == row.id)).one_or_none()
    title = NATURES[row.nature.value]
    if statement:
        title = "Tax statement" if row.nature != "BILL_OF_SUPPLY" else "Bill of supply, statement"
    return Document(
        title=title,
        number=row.number or "Draft",
        copy="Original for recipient" if row.number else "Not issued, not a tax document",
        supplier=_supplier(facts["supplier"]),
        recipient=_recipient(facts["recipient"]),
        facts=tuple(shown[:8]),
        lines=_lines(session, row),
        intra_state=intra,
        local_head=_local(place["code"], session),
        subtotal=row.subtotal_paise,
        heads=(row.cgst_paise, row.sgst_paise + row.utgst_paise, row.igst_paise),
        round_off=row.round_off_paise,
        total=row.total_paise,
        total_label="Total paid" if statement else "Total",
        words=facts.get("words") or rupees_in_words(row.total_paise),
        after=tuple(after),
        notes=tuple(notes),
        watermark=_watermark(row),
        color=(facts.get("brand") or {}).get("color"),
        logo=_logo(facts, settings),
        registration=_registration(made),
        signer=facts["supplier"]["name"],
        signatory=facts["supplier"].get("signatory") or "Authorised signatory",
        subject=f"{title} of {facts['supplier']['name']} for {facts['recipient']['name']}",
        bill_of_supply=row.nature == "BILL_OF_SUPPLY",
        keywords=("GST", title, row.number or "draft"),
    )


def _watermark(row: Invoice) -> str:
    if row.kind == InvoiceKind.STATEMENT:
        return "PAID"
    known = (
        InvoiceStatus.DRAFT,
        InvoiceStatus.PAID,
        InvoiceStatus.VOID,
        InvoiceStatus.CANCELLED,
        InvoiceStatus.REFUNDED,
    )
    return row.status.value if row.status in known and not accruals.owed(row) else ""


def _registration(made: EInvoice | None) -> Registration | None:
    if made is None or made.irp_status != IrpStatus.REGISTERED or not made.irn or not made.signed_qr_payload:
        return None
    at = made.ack_date.astimezone(clock.IST) if made.ack_date else None
    return Registration(
        made.irn,
        made.ack_number or "",
        f"{_day(at.date())}, {at:%H:%M} IST" if at else "",
        made.signed_qr_payload,
    )


def _credit_note(session: Session, note: CreditNote, settings: Settings) -> Document:
    facts = note.facts
    rows = session.scalars(
        select(CreditNoteLine)
        .where(CreditNoteLine.credit_note_id == note.id)
        .order_by(CreditNoteLine.position)
    )
    lines = [
        Line(
            n.description,
            "",
            n.sac,
            1,
            n.taxable_paise,
            0,
            n.taxable_paise,
            n.rate_bps,
            (n.cgst_paise, n.sgst_paise + n.utgst_paise, n.igst_paise),
            n.total_paise,
            n.treatment == "EXEMPT",
        )
        for n in rows
    ]
    made = session.scalars(select(EInvoice).where(EInvoice.credit_note_id == note.id)).one_or_none()
    place = facts["place"]
    commercial = note.kind == "COMMERCIAL"
    title = "Financial credit note" if commercial else "Credit note"
    notes = [("Reason", note.reason)]
    if commercial:
        notes.append(
            ("Tax", "Written after the last day for credit notes with GST: the tax of the invoice stands.")
        )
    elif note.tax_paise and facts["recipient"].get("gstin"):
        notes.append(
            (
                "Input tax credit",
                "Where credit was claimed on the invoice, reverse it by the tax of this note.",
            )
        )
    return Document(
        title=title,
        number=note.number,
        copy="Original for recipient",
        supplier=_supplier(facts["supplier"]),
        recipient=_recipient(facts["recipient"]),
        facts=(
            ("Date", _day(note.issue_date)),
            ("For invoice", facts["invoice"]["number"]),
            ("Invoice date", _day(dt.date.fromisoformat(facts["invoice"]["date"]))),
            ("Place of supply", _place(place["code"], place["name"])),
        ),
        lines=lines,
        intra_state=not facts["inter_state"],
        local_head=_local(place["code"], session),
        subtotal=note.subtotal_paise,
        heads=(note.cgst_paise, note.sgst_paise + note.utgst_paise, note.igst_paise),
        round_off=0,
        total=note.total_paise,
        total_label="Total credited",
        words=facts["words"],
        notes=tuple(notes),
        color=(facts.get("brand") or {}).get("color"),
        logo=_logo(facts, settings),
        registration=_registration(made),
        signer=facts["supplier"]["name"],
        signatory=facts["supplier"].get("signatory") or "Authorised signatory",
        subject=f"{title} for invoice {facts['invoice']['number']}",
        bill_of_supply=commercial or all(n.exempt for n in lines),
        keywords=("GST", title, note.number),
    )


def _voucher(session: Session, row: TaxVoucher, settings: Settings) -> Document:
    facts = row.facts
    refund = row.kind == VoucherKind.REFUND
    title = "Refund voucher" if refund else "Receipt voucher"
    line = Line(
        "Advance returned" if refund else "Advance received for services",
        facts.get("says", ""),
        row.sac,
        1,
        row.taxable_paise,
        0,
        row.taxable_paise,
        row.rate_bps,
        (row.cgst_paise, row.sgst_paise + row.utgst_paise, row.igst_paise),
        row.total_paise - row.round_off_paise,
        row.rate_bps == 0,
    )
    shown = [
        ("Date", _day(row.issue_date)),
        ("Place of supply", _place(row.place_of_supply, facts["place"]["name"])),
    ]
    if refund:
        shown.append(("For receipt voucher", facts["receipt"]))
    shown.append(("Reverse charge", "No"))
    return Document(
        title=title,
        number=row.number,
        copy="Original for recipient",
        supplier=_supplier(facts["supplier"]),
        recipient=_recipient(facts["recipient"]),
        facts=tuple(shown),
        lines=[line],
        intra_state=not facts["inter_state"],
        local_head=_local(row.place_of_supply, session),
        subtotal=row.taxable_paise,
        heads=(row.cgst_paise, row.sgst_paise + row.utgst_paise, row.igst_paise),
        round_off=row.round_off_paise,
        total=row.total_paise,
        total_label="Returned" if refund else "Received",
        words=rupees_in_words(row.total_paise),
        color=(facts.get("brand") or {}).get("color"),
        logo=_logo(facts, settings),
        signer=facts["supplier"]["name"],
        signatory=facts["supplier"].get("signatory") or "Authorised signatory",
        subject=title,
        keywords=("GST", title, row.number),
    )


def attachment(session: Session, wanted: dict[str, str], settings: Settings) -> File | None:
    """The file a mail carries: {"type": "invoice" or "receipt", "id": …}; None where the document is gone. Acts for its
    organisation."""
    kind: Any = {"invoice": Invoice, "receipt": InvoiceReceipt}.get(wanted.get("type", ""))
    if kind is None:
        return None
    row = session.scalars(select(kind).where(kind.public_id == uuid.UUID(wanted["id"]))).one_or_none()
    if row is None:
        return None
    data, pages = _drawn(session, row, settings)
    return File(data, pages, f"{_name(row)}.pdf", content_hash(session, row))
