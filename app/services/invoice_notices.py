"""Who hears of invoices: owners and billing administrators by bell and mail, the billing address by mail (chapter 3, 3.9)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy.orm import Session

from app import clock
from app.models import CreditNote, Invoice, InvoiceKind, InvoiceReceipt, Organization, OrgRole
from app.services import org_notices, outbox
from app.services.text import money

FINANCE = (OrgRole.OWNER, OrgRole.BILLING_ADMIN)


def day(value: dt.date | None) -> str:
    """A date as mails say it: 26 November 2026."""
    return f"{value.day} {value:%B %Y}" if value else ""


def _organization(session: Session, row: Invoice) -> Organization:
    return session.get_one(Organization, row.organization_id)


def _path(org: Organization, row: Invoice) -> str:
    return f"/dashboard/organization/{org.slug}/invoices/{row.public_id}"


def values_of(org: Organization, row: Invoice) -> dict[str, Any]:
    """What every mail about an invoice may say; JSON."""
    return {
        "organization": org.name,
        "number": row.number or "draft",
        "total": money(row.total_paise),
        "due": money(row.due_paise),
        "due_date": day(row.due_date),
        "issue_date": day(row.issue_date),
        "bookings": row.line_count if row.kind == InvoiceKind.ROLL_UP else 0,
        "period": f"{day(row.period_start)} to {day(row.period_end)}" if row.period_start else "",
        "path": _path(org, row),
    }


def _tell(
    session: Session,
    row: Invoice,
    template: str,
    kind: str,
    title: str,
    *,
    mailbox: bool = False,
    attach: bool = False,
    file: dict[str, str] | None = None,
    **more: Any,
) -> None:
    """Bell and mail to finance, with the invoice (*attach*) or another *file*; with *mailbox* the billing address too, which belongs to no person and has no choice."""
    org = _organization(session, row)
    values = {**values_of(org, row), **more}
    if attach:
        file = {"type": "invoice", "id": str(row.public_id)}
    people = org_notices.people(session, *FINANCE)
    outbox.notify_all(
        session,
        [p.id for p in people if p.routing in outbox.BY_BELL],
        kind,
        title,
        org.name,
        values["path"],
    )
    to = {p.email: {"name": p.first_name} for p in people if p.routing in outbox.BY_MAIL}
    told = {p.email.lower() for p in people}
    if mailbox and org.billing_email and org.billing_email.lower() not in told:
        to[org.billing_email] = {"name": ""}
    outbox.mails(session, template, to, attach=file, **values)


def issued(session: Session, row: Invoice) -> None:
    """A new invoice, or the tax statement of a wallet's month."""
    if row.kind == InvoiceKind.STATEMENT:
        _tell(session, row, "tax_statement", "invoice.statement", f"Tax statement {row.number}", attach=True)
        return
    _tell(
        session,
        row,
        "invoice_issued",
        "invoice.issued",
        f"Invoice {row.number}: {money(row.total_paise)} by {day(row.due_date)}",
        mailbox=True,
        attach=True,
    )


def paid(session: Session, row: Invoice, receipt: InvoiceReceipt, *, settled: bool) -> None:
    """Money arrived: the receipt goes along. *settled*: nothing is left to pay."""
    paise = receipt.amount_paise
    _tell(
        session,
        row,
        "invoice_paid",
        "invoice.paid",
        f"Invoice {row.number} is paid" if settled else f"{money(paise)} arrived for invoice {row.number}",
        file={"type": "receipt", "id": str(receipt.public_id)},
        received=money(paise),
        receipt=receipt.number,
        settled=settled,
    )


def overdue(session: Session, row: Invoice) -> None:
    """The due date has passed."""
    _tell(
        session,
        row,
        "invoice_overdue",
        "invoice.overdue",
        f"Invoice {row.number} is past due",
        mailbox=True,
        attach=True,
    )


def reminder(session: Session, row: Invoice, nth: int, *, suspends_on: dt.date | None) -> None:
    """The *nth* of three reminders; the last ones say when billing is suspended, where it will be."""
    late = (clock.today_ist() - (row.due_date or clock.today_ist())).days
    _tell(
        session,
        row,
        "invoice_reminder",
        "invoice.reminder",
        f"Reminder {nth} of 3: invoice {row.number}, {money(row.due_paise)}",
        mailbox=True,
        attach=True,
        nth=nth,
        late=late,
        suspends_on=day(suspends_on),
    )


def suspended(session: Session, row: Invoice) -> None:
    """Bookings on the organisation's account have stopped."""
    _tell(
        session,
        row,
        "billing_suspended",
        "billing.suspended",
        "Bookings on account are suspended until overdue invoices are paid",
        mailbox=True,
    )


def restored(session: Session, row: Invoice) -> None:
    """Bookings are open again."""
    _tell(session, row, "billing_restored", "billing.restored", "Bookings on account are open again")


def voided(session: Session, row: Invoice) -> None:
    """An invoice that was sent is void: whoever has it must not pay it."""
    if row.sent_at is not None:
        _tell(
            session,
            row,
            "invoice_voided",
            "invoice.voided",
            f"Invoice {row.number} is void",
            mailbox=True,
            reason=row.close_reason,
        )


def went_back(session: Session, row: Invoice, paise: int, happened: str) -> None:
    """Money of a paid invoice went back without a credit note; *happened* says how. What is due again is asked for."""
    _tell(
        session,
        row,
        "invoice_went_back",
        "invoice.went_back",
        f"{money(paise)} of invoice {row.number} {happened}",
        mailbox=True,
        attach=True,
        went=money(paise),
        happened=happened,
        owed=row.due_paise > 0,
    )


def order_missing(session: Session, row: Invoice) -> None:
    """The organisation works with purchase orders and none covers this invoice, which was issued all the same."""
    _tell(
        session,
        row,
        "invoice_po_missing",
        "invoice.po_missing",
        f"Invoice {row.number} has no purchase order that covers it",
    )


def credited(session: Session, row: Invoice, note: CreditNote, back_paise: int) -> None:
    """A credit note, and what goes back of money already received. A statement's only follows a refund they know of."""
    if row.kind == InvoiceKind.STATEMENT:
        return
    _tell(
        session,
        row,
        "credit_note_issued",
        "invoice.credited",
        f"Credit note {note.number} of {money(note.total_paise)} for invoice {row.number}",
        note=note.number,
        amount=money(note.total_paise),
        tax=money(note.tax_paise),
        back=money(back_paise) if back_paise else "",
        reason=note.reason,
    )
