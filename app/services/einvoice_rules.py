"""Which documents the Invoice Registration Portal wants, until when, and what waits for it (chapter 4, 4.3)."""

from __future__ import annotations

import datetime as dt
import hashlib

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.models import CreditNote, CreditNoteKind, DocumentNature, EInvoice, Invoice, IrpStatus, SupplyType
from app.services import einvoice_map, gst, tax_tables

TYPES = {"invoice": "INV", "credit_note": "CRN"}
WAITING = (IrpStatus.PENDING, IrpStatus.SUBMITTED, IrpStatus.RETRY, IrpStatus.FAILED_PERMANENT)
MAX_ATTEMPTS = 12


def irn(gstin: str, year: int, kind: str, number: str) -> str:
    """The Invoice Reference Number: SHA-256 of GSTIN, YYYY-YY, type and the upper-cased number. Only expected, until the
    portal acknowledges it."""
    return hashlib.sha256(f"{gstin}{gst.fiscal_label(year)}{kind}{number.upper()}".encode()).hexdigest()


def in_scope(session: Session, row: Invoice, on: dt.date) -> bool:
    """B2B, SEZ and export of a supplier above the turnover; not B2C, not all-exempt."""
    if row.supply_type == SupplyType.B2C or row.nature == DocumentNature.BILL_OF_SUPPLY:
        return False
    return tax_tables.number(session, "SUPPLIER_TURNOVER_PAISE", on) > tax_tables.number(
        session, "EINVOICE_TURNOVER_PAISE", on
    )


def report_by(session: Session, on: dt.date) -> dt.date | None:
    """The last day to report a document of *on* (30 days counting it: date + 29); None below the larger turnover."""
    if tax_tables.number(session, "SUPPLIER_TURNOVER_PAISE", on) < tax_tables.number(
        session, "EINVOICE_REPORTING_TURNOVER_PAISE", on
    ):
        return None
    return on + dt.timedelta(days=tax_tables.number(session, "EINVOICE_REPORTING_DAYS", on) - 1)


def enter(session: Session, row: Invoice, on: dt.date, environment: str) -> EInvoice | None:
    """Queue an issued invoice for the portal where the law wants it; *environment* empty: e-invoicing is off.

    What cannot be mapped, such as a recipient without an address, fails at once (2.9).
    """
    if not environment or not in_scope(session, row, on):
        return None
    made = _add(session, row, None, on, environment)
    try:
        einvoice_map.parties(row)
    except einvoice_map.Unmappable as error:
        made.irp_status = IrpStatus.FAILED_PERMANENT
        made.last_error_code, made.last_error = "UNMAPPABLE", str(error)
        session.flush()
    return made


def enter_note(session: Session, note: CreditNote, row: Invoice, on: dt.date) -> EInvoice | None:
    """Queue a credit note with GST for an invoice that went to the portal."""
    environment = session.scalar(select(EInvoice.environment).where(EInvoice.invoice_id == row.id))
    if environment is None or note.kind == CreditNoteKind.COMMERCIAL:
        return None
    return _add(session, row, note, on, environment)


def _add(session: Session, row: Invoice, note: CreditNote | None, on: dt.date, environment: str) -> EInvoice:
    gstin, year, number = (
        (note.supplier_gstin, note.fiscal_year, note.number)
        if note is not None
        else (row.supplier_gstin or "", row.fiscal_year or 0, row.number or "")
    )
    made = EInvoice(
        organization_id=row.organization_id,
        invoice_id=None if note is not None else row.id,
        credit_note_id=note.id if note is not None else None,
        irp_status=IrpStatus.PENDING,
        environment=environment,
        expected_irn=irn(gstin, year, TYPES["credit_note" if note is not None else "invoice"], number),
        report_by=report_by(session, on),
    )
    session.add(made)
    session.flush()
    return made


def waits(session: Session, row: Invoice) -> bool:
    """Whether the document may not go out yet: in scope and not registered."""
    status = session.scalar(select(EInvoice.irp_status).where(EInvoice.invoice_id == row.id))
    return status in WAITING


def drop(session: Session, row: Invoice) -> None:
    """A voided document that was never registered is not reported any more."""
    session.execute(
        update(EInvoice)
        .where(EInvoice.invoice_id == row.id, EInvoice.irp_status.in_(WAITING))
        .values(irp_status=IrpStatus.NOT_APPLICABLE, next_attempt_at=None)
        .execution_options(synchronize_session=False)
    )
