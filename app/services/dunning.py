"""Dunning (chapter 2, 2.9): past due → OVERDUE; three reminders, a week apart; a week later bookings on account stop.

Suspension needs ENABLE_DUNNING_SUSPEND and touches at most 20 organisations a run. Paying opens them again at once
(``invoice_receipts.restore``). Days count in India.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import clock
from app.logs import log
from app.models import AuditCategory, BillingAccount, Invoice, InvoiceStatus
from app.security.context import acting
from app.services import audit, invoice_notices, invoices, outbox

WEEK = dt.timedelta(days=7)
REMINDERS, MAX_SUSPENDED, BATCH = 3, 20, 500
_PLAIN: dict[str, Any] = {"synchronize_session": False}


def run(session: Session, *, suspends: bool) -> dict[str, int]:
    """One day's dunning. Wants job scope; commits invoice by invoice, so that a crash repeats nothing."""
    done = {"overdue": 0, "reminded": 0, "suspended": 0, "failed": 0}
    today = clock.today_ist()
    for org, key in _rows(session, Invoice.status == InvoiceStatus.ISSUED, Invoice.due_date < today):
        _one(session, org, key, done, "overdue", lambda row: _overdue(session, row))
    ripe = (
        (Invoice.status == InvoiceStatus.OVERDUE)
        & (Invoice.reminders_sent < REMINDERS)
        & (Invoice.due_date <= today - WEEK)
    )
    for org, key in _rows(session, ripe):
        _one(session, org, key, done, "reminded", lambda row: _remind(session, row, suspends))
    if suspends:
        _suspend(session, done)
    return done


def _rows(session: Session, *where: Any) -> list[tuple[int, int]]:
    rows = session.execute(
        select(Invoice.organization_id, Invoice.id)
        .where(*where)
        .order_by(Invoice.due_date, Invoice.id)
        .limit(BATCH * 20)
    ).all()
    session.commit()
    return [(r.organization_id, r.id) for r in rows]


def _one(session: Session, org: int, key: int, done: dict[str, int], name: str, work: Any) -> None:
    try:
        with acting(session, scope="org", org_id=org, user_id=None, role=None):
            done[name] += bool(work(invoices.fresh(session, key, lock=True)))
        session.commit()
        session.expunge_all()
    except Exception as error:
        session.rollback()
        log.warning("dunning_failed", invoice=key, step=name, error=type(error).__name__)
        done["failed"] += 1


def _overdue(session: Session, row: Invoice) -> bool:
    if row.status != InvoiceStatus.ISSUED or row.due_paise <= 0:
        return False
    invoices.move(session, row, InvoiceStatus.OVERDUE, InvoiceStatus.ISSUED, overdue_at=clock.now())
    _record(session, row, "INVOICE_OVERDUE", f"Invoice {row.number} is past due")
    outbox.event(
        session,
        "invoice.overdue",
        invoice_id=str(row.public_id),
        invoice_number=row.number,
        due_paise=row.due_paise,
        due_date=str(row.due_date),
    )
    invoice_notices.overdue(session, row)
    return True


def _remind(session: Session, row: Invoice, suspends: bool) -> bool:
    today = clock.today_ist()
    if row.status != InvoiceStatus.OVERDUE or row.reminders_sent >= REMINDERS:
        return False
    if row.last_reminder_at is not None and today - row.last_reminder_at.astimezone(clock.IST).date() < WEEK:
        return False
    row.reminders_sent += 1
    row.last_reminder_at = clock.now()
    session.flush()
    _record(
        session,
        row,
        "INVOICE_REMINDED",
        f"Reminder {row.reminders_sent} of {REMINDERS} for invoice {row.number}",
    )
    stops = today + WEEK * (REMINDERS - row.reminders_sent + 1) if suspends else None
    invoice_notices.reminder(session, row, row.reminders_sent, suspends_on=stops)
    return True


def _suspend(session: Session, done: dict[str, int]) -> None:
    """Close the accounts whose invoice had its last reminder a week ago; at most MAX_SUSPENDED a run."""
    edge = dt.datetime.combine(clock.today_ist() - WEEK + dt.timedelta(days=1), dt.time(), clock.IST)
    rows = session.execute(
        select(Invoice.organization_id, Invoice.id)
        .join(BillingAccount, BillingAccount.id == Invoice.billing_account_id)
        .where(
            Invoice.status == InvoiceStatus.OVERDUE,
            Invoice.reminders_sent >= REMINDERS,
            Invoice.last_reminder_at < edge,
            BillingAccount.dunning_suspended_at.is_(None),
        )
        .order_by(Invoice.due_date, Invoice.id)
    ).all()
    session.commit()
    seen: set[int] = set()
    for org, key in rows:
        if org in seen or len(seen) >= MAX_SUSPENDED:
            continue
        seen.add(org)
        _one(session, org, key, done, "suspended", lambda row: _close(session, row))


def _close(session: Session, row: Invoice) -> bool:
    if row.status != InvoiceStatus.OVERDUE:
        return False
    closed = session.execute(
        update(BillingAccount)
        .where(BillingAccount.id == row.billing_account_id, BillingAccount.dunning_suspended_at.is_(None))
        .values(dunning_suspended_at=clock.now())
        .returning(BillingAccount.id)
        .execution_options(**_PLAIN)
    ).scalar()
    if closed is None:
        return False
    _record(
        session,
        row,
        "INVOICE_DUNNING_SUSPENDED",
        f"Bookings on account were suspended: invoice {row.number} is unpaid after {REMINDERS} reminders",
    )
    invoice_notices.suspended(session, row)
    return True


def _record(session: Session, row: Invoice, action: str, says: str) -> None:
    audit.record(
        session,
        AuditCategory.INVOICE,
        action,
        says,
        target_type="invoice",
        target_id=row.public_id,
        due_paise=row.due_paise,
        due_date=str(row.due_date),
    )
