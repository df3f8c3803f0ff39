"""Submitting documents to the portal (chapter 4, 4.3): claimed and committed first, asked outside any transaction, then the
answer is stored. A crash between the two asks again, and the portal's "duplicate" (2150) is adopted after comparison.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app import clock, faults
from app.errors import DomainError, Invalid
from app.gateways.irp import DUPLICATE, Irp, IrpRejected, IrpUnavailable, Registered
from app.logs import log
from app.models import (
    AuditCategory,
    CreditNote,
    CreditNoteLine,
    EInvoice,
    Invoice,
    InvoiceLine,
    InvoiceStatus,
    IrpStatus,
    Severity,
    SystemEvent,
)
from app.security.context import acting, ctx
from app.services import (
    audit,
    einvoice_map,
    einvoice_rules,
    invoice_facts,
    invoice_issue,
    invoice_void,
    invoices,
    tax_tables,
)
from app.services.einvoice_map import Unmappable
from app.services.text import one_line

BATCH, CUT_OFF = 50, dt.timedelta(days=30)
BACKOFF = (300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)  # seconds between attempts
DUE = (IrpStatus.PENDING, IrpStatus.RETRY, IrpStatus.SUBMITTED)


def run(session: Session, irp: Irp | None, environment: str) -> dict[str, int]:
    """Submit what waits, at most 50 a run. Wants job scope; commits document by document.

    Without credentials nothing is asked. Documents of the last 30 days that were issued while the flag was off are taken
    up first.
    """
    done = {"registered": 0, "retry": 0, "failed": 0, "skipped": 0}
    if irp is None:
        done["skipped"] = 1
        return done
    _take_up(session, environment)
    now = clock.now()
    keys = session.execute(
        select(EInvoice.organization_id, EInvoice.id)
        .where(
            EInvoice.irp_status.in_(DUE),
            or_(EInvoice.next_attempt_at.is_(None), EInvoice.next_attempt_at <= now),
        )
        .order_by(EInvoice.id)
        .limit(BATCH)
    ).all()
    session.commit()
    for org, key in keys:
        try:
            outcome = submit(session, org, key, irp)
        except Exception as error:
            session.rollback()
            log.warning("irp_submission_failed", einvoice=key, error=type(error).__name__)
            outcome = "retry"
        done[outcome] = done.get(outcome, 0) + 1
    return done


def _take_up(session: Session, environment: str) -> None:
    """Rows for in-scope invoices of the last 30 days that have none."""
    since = clock.today_ist() - CUT_OFF
    missing = session.execute(
        select(Invoice.organization_id, Invoice.id)
        .outerjoin(EInvoice, EInvoice.invoice_id == Invoice.id)
        .where(
            EInvoice.id.is_(None),
            Invoice.status.in_([*invoices.OPEN, InvoiceStatus.PAID]),
            Invoice.issue_date > since,
            Invoice.supply_type != "B2C",
            Invoice.nature != "BILL_OF_SUPPLY",
        )
        .order_by(Invoice.id)
        .limit(BATCH)
    ).all()
    session.commit()
    for org, key in missing:
        with acting(session, scope="org", org_id=org, user_id=None, role=None):
            row = invoices.fresh(session, key)
            einvoice_rules.enter(session, row, row.issue_date or clock.today_ist(), environment)
        session.commit()


def submit(session: Session, org: int, key: int, irp: Irp) -> str:
    """One document: registered, retry, failed or skipped. Commits before and after asking."""
    body = _claim(session, org, key)
    if body is None:
        return "skipped"
    if not body:
        return "failed"
    faults.trip("irp_claimed")
    try:
        answer = irp.register(body)
    except IrpRejected as error:
        return _rejected(session, org, key, body, error, irp)
    except IrpUnavailable as error:
        return _again(session, org, key, str(error))
    faults.trip("irp_answered")
    return _keep(session, org, key, answer)


def _claim(session: Session, org: int, key: int) -> dict[str, Any] | None:
    """Mark as SUBMITTED with the next attempt's time and commit; the request. None: not due any more; {}: given up."""
    with acting(session, scope="org", org_id=org, user_id=None, role=None):
        row = session.scalars(
            select(EInvoice)
            .where(EInvoice.id == key)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        ).one_or_none()
        now = clock.now()
        if (
            row is None
            or row.irp_status not in DUE
            or (row.next_attempt_at is not None and row.next_attempt_at > now)
        ):
            session.rollback()
            return None
        last = row.report_by or row.created_at.astimezone(clock.IST).date() + CUT_OFF
        if clock.today_ist() > last:
            _fail(session, row, "DEADLINE", f"The last day to report this document was {last:%d %B %Y}.")
            session.commit()
            return {}
        try:
            body = _body(session, row)
        except Unmappable as error:
            _fail(session, row, "UNMAPPABLE", str(error))
            session.commit()
            return {}
        wait = BACKOFF[min(row.attempts, len(BACKOFF) - 1)]
        row.irp_status = IrpStatus.SUBMITTED
        row.attempts += 1
        row.next_attempt_at = now + dt.timedelta(seconds=wait)
        row.request = body
        row.request_hash = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        session.flush()
    session.commit()
    return body


def subject(session: Session, row: EInvoice) -> tuple[Invoice, CreditNote | None]:
    """The invoice behind an e-invoice, and the credit note if it is one's."""
    note = session.get(CreditNote, row.credit_note_id) if row.credit_note_id else None
    return invoices.fresh(session, note.invoice_id if note is not None else row.invoice_id or 0), note


def _body(session: Session, row: EInvoice) -> dict[str, Any]:
    invoice, note = subject(session, row)
    lines: Any
    if note is not None:
        lines = session.scalars(
            select(CreditNoteLine)
            .where(CreditNoteLine.credit_note_id == note.id)
            .order_by(CreditNoteLine.position)
            .execution_options(yield_per=500)
        )
    else:
        lines = session.scalars(
            select(InvoiceLine)
            .where(InvoiceLine.invoice_id == invoice.id)
            .order_by(InvoiceLine.position)
            .execution_options(yield_per=500)
        )
    return einvoice_map.document(invoice, lines, note, _address(session))


def _address(session: Session) -> dict[str, Any]:
    """The address on the billing profile now, for documents issued before it was entered."""
    profile = invoice_facts.profile_of(session)
    if profile is None:
        return {}
    return {
        "line1": profile.address_line1,
        "line2": profile.address_line2,
        "city": profile.city,
        "pin": profile.pin_code,
    }


def _locked(session: Session, key: int) -> EInvoice:
    return session.scalars(
        select(EInvoice).where(EInvoice.id == key).with_for_update().execution_options(populate_existing=True)
    ).one()


def _keep(session: Session, org: int, key: int, answer: Registered) -> str:
    with acting(session, scope="org", org_id=org, user_id=None, role=None):
        row = _locked(session, key)
        if row.irp_status == IrpStatus.REGISTERED:
            session.rollback()
            return "registered"
        if answer.irn != row.expected_irn:
            _fail(session, row, "IRN_MISMATCH", "The portal answered with the number of another document.")
            session.commit()
            return "failed"
        row.irp_status, row.next_attempt_at = IrpStatus.REGISTERED, None
        row.irn, row.ack_number, row.ack_date = answer.irn, answer.ack_number, answer.ack_date
        row.signed_document, row.signed_qr_payload = answer.signed_document, answer.signed_qr
        row.last_error = row.last_error_code = None
        row.cancel_until = answer.ack_date + dt.timedelta(
            hours=tax_tables.number(session, "EINVOICE_CANCEL_HOURS")
        )
        session.flush()
        invoice, note = subject(session, row)
        name = note.number if note is not None else invoice.number
        audit.record(
            session,
            AuditCategory.INVOICE,
            "INVOICE_IRN_GENERATED",
            f"{name} was registered at the portal",
            target_type="invoice",
            target_id=invoice.public_id,
            irn=answer.irn,
            ack_number=answer.ack_number,
        )
        if note is None and invoice.status in (*invoices.OPEN, InvoiceStatus.PAID):
            invoice_issue.announce(session, invoice)
    session.commit()
    return "registered"


def _again(session: Session, org: int, key: int, problem: str) -> str:
    with acting(session, scope="org", org_id=org, user_id=None, role=None):
        row = _locked(session, key)
        if row.irp_status == IrpStatus.SUBMITTED:
            row.last_error_code, row.last_error = "UNAVAILABLE", problem[:500]
            if row.attempts >= einvoice_rules.MAX_ATTEMPTS:
                _fail(session, row, "ATTEMPTS", f"No answer after {row.attempts} attempts: {problem}")
                session.commit()
                return "failed"
            row.irp_status = IrpStatus.RETRY
            session.flush()
    session.commit()
    return "retry"


def _rejected(
    session: Session, org: int, key: int, body: dict[str, Any], error: IrpRejected, irp: Irp
) -> str:
    if error.code == DUPLICATE:
        with acting(session, scope="org", org_id=org, user_id=None, role=None):
            expected = session.scalar(select(EInvoice.expected_irn).where(EInvoice.id == key)) or ""
        session.commit()
        try:
            found = irp.fetch(error.irn or expected)
        except IrpUnavailable as problem:
            return _again(session, org, key, str(problem))
        except IrpRejected as problem:
            error = problem
        else:
            if same(body, found.document):
                return _keep(session, org, key, found)
            error = IrpRejected(DUPLICATE, "Another document is registered under this number.")
    with acting(session, scope="org", org_id=org, user_id=None, role=None):
        _fail(session, _locked(session, key), error.code, error.message)
    session.commit()
    return "failed"


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether a registered document is ours: buyer's GSTIN and total agree (chapter 4, 4.3)."""

    def key(body: dict[str, Any]) -> tuple[str, str]:
        buyer, sums = body.get("BuyerDtls") or {}, body.get("ValDtls") or {}
        return str(buyer.get("Gstin", "")), f"{float(sums.get('TotInvVal', -1)):.2f}"

    try:
        return key(ours) == key(theirs)
    except (TypeError, ValueError, AttributeError):
        return False


def _fail(session: Session, row: EInvoice, code: str, message: str) -> None:
    row.irp_status, row.next_attempt_at = IrpStatus.FAILED_PERMANENT, None
    row.last_error_code, row.last_error = code[:40], message[:500]
    session.flush()
    invoice, note = subject(session, row)
    name = note.number if note is not None else invoice.number
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_IRN_FAILED",
        f"{name} was not registered at the portal: {message}",
        target_type="invoice",
        target_id=invoice.public_id,
        code=code,
    )
    with acting(session, scope="job", org_id=None):
        session.add(
            SystemEvent(
                category="einvoice",
                severity=Severity.ERROR,
                message=f"{name} was not registered at the portal: {code}",
                context={"invoice": str(invoice.public_id), "code": code, "message": message[:300]},
            )
        )


def retry(session: Session, public_id: uuid.UUID) -> EInvoice:
    """Queue a failed document again, once what it lacked is mended. ADMIN; acts for its organisation.

    The recipient of an issued document is frozen; an address that was missing is taken from the billing profile now.
    Raises INSUFFICIENT_ROLE, NOT_FOUND, ILLEGAL_TRANSITION.
    """
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    done = session.execute(
        update(EInvoice)
        .where(
            EInvoice.public_id == public_id,
            EInvoice.irp_status.in_([IrpStatus.FAILED_PERMANENT, IrpStatus.RETRY]),
        )
        .values(irp_status=IrpStatus.PENDING, attempts=0, next_attempt_at=None)
        .returning(EInvoice.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    row = session.scalars(
        select(EInvoice).where(EInvoice.public_id == public_id).execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    if done is None:
        raise DomainError("ILLEGAL_TRANSITION", status=row.irp_status.value)
    return row


def cancel(session: Session, invoice: Invoice, reason: str, irp: Irp | None) -> None:
    """Cancel a registration within 24 hours of its acknowledgement, the whole document; before the invoice is voided.

    Nothing to do where it is not registered. What may not be voided is not cancelled at the portal either. Raises Invalid,
    IRP_CANCEL_WINDOW_CLOSED (write a credit note), IRP_UNAVAILABLE, IRP_REJECTED and what ``invoice_void.voidable`` raises.
    """
    why = one_line(reason or "")
    if not 3 <= len(why) <= 300:
        raise Invalid(
            {"reason": ["Say why, in 3 to 300 characters: it is printed on the document's record."]}
        )
    invoice_void.voidable(session, invoice)
    row = session.scalars(
        select(EInvoice)
        .where(EInvoice.invoice_id == invoice.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None or row.irp_status != IrpStatus.REGISTERED:
        return
    if row.cancel_until is None or clock.now() > row.cancel_until:
        raise DomainError("IRP_CANCEL_WINDOW_CLOSED", acknowledged_at=str(row.ack_date))
    if irp is None:
        raise DomainError("IRP_UNAVAILABLE")
    try:
        at = irp.cancel(row.irn or "", why)
    except IrpUnavailable:
        raise DomainError("IRP_UNAVAILABLE") from None
    except IrpRejected as error:
        raise DomainError("IRP_REJECTED", portal_code=error.code, portal_message=error.message) from None
    row.irp_status, row.cancelled_at = IrpStatus.CANCELLED, at
    session.flush()


def view(row: EInvoice | None) -> dict[str, Any]:
    """The e-invoice fields of a document as the API shows them."""
    if row is None:
        return {
            "irp_status": IrpStatus.NOT_APPLICABLE.value,
            "irn": None,
            "ack_number": None,
            "ack_date": None,
        }
    return {
        "irp_status": row.irp_status.value,
        "irn": row.irn,
        "ack_number": row.ack_number,
        "ack_date": row.ack_date.isoformat() if row.ack_date else None,
        "signed_qr_payload": row.signed_qr_payload,
        "irp_report_by": row.report_by.isoformat() if row.report_by else None,
        "irp_cancel_until": row.cancel_until.isoformat() if row.cancel_until else None,
        "irp_error": row.last_error,
    }
