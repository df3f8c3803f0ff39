"""Giving back what a booking used of a program (chapter 2, "Metering" and 2.8, "LICENSE, pools")."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import clock
from app.models import Assignment, BookingUtilization, Payment, UsageLedgerEntry
from app.services import overages


def release(session: Session, payment: Payment, part: int, whole: int) -> None:
    """Let *part* of *whole* of a payment's usage be released in all, earlier releases included; floors to the paisa.

    Acts for the payer's organisation. Append-only entries carry the difference; the counters move with them.
    """
    used = session.scalars(
        select(BookingUtilization).where(BookingUtilization.payment_id == payment.id).with_for_update()
    ).one_or_none()
    if used is None:
        return
    kept = session.execute(
        select(
            func.coalesce(func.sum(UsageLedgerEntry.engagements), 0),
            func.coalesce(func.sum(UsageLedgerEntry.consumed_paise), 0),
        ).where(
            UsageLedgerEntry.payment_id == payment.id, UsageLedgerEntry.assignment_id == used.assignment_id
        )
    ).one()
    engagements = int(kept[0]) - (used.engagements - used.engagements * part // whole)
    paise = int(kept[1]) - (used.covered_paise - used.covered_paise * part // whole)
    if part == whole and used.reversed_at is None:
        used.reversed_at = clock.now()
    beyond = overages.released(session, payment, part, whole)
    if not engagements and not paise and not beyond:
        return
    if engagements or paise:
        session.add(
            UsageLedgerEntry(
                assignment_id=used.assignment_id,
                payment_id=payment.id,
                engagements=-engagements,
                consumed_paise=-paise,
                recorded_at=clock.now(),
            )
        )
    session.execute(
        update(Assignment)
        .where(Assignment.id == used.assignment_id)
        .values(
            consumed_paise=Assignment.consumed_paise - paise,
            engagements_used=Assignment.engagements_used - engagements,
            overage_paise=Assignment.overage_paise - beyond,
            overage_count=Assignment.overage_count - int(beyond > 0 and part == whole),
        )
        .execution_options(synchronize_session=False)
    )
    session.flush()
