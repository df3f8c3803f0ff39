"""The cycle engine: what becomes of a place when its period is over (chapter 2, 2.5 "Cycle engine").

* contract or program gone: CLOSED, CONTRACT_INACTIVE
* the term is over and nobody renewed it: CLOSED, AUTORENEW_OFF
* else ROLLED into a successor whose counters are zero, cut off at the end of the term

Months pin to the day of the first period, or to the month's end. Cycles missed while nobody ran are replayed one by one.
A paused program and a contract that is about to renew itself wait; so does a suspended organisation, whose places are
PAUSED and never looked at.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError
from app.logs import log
from app.models import (
    Assignment,
    AssignmentStatus,
    AuditCategory,
    CloseReason,
    Contract,
    ContractStatus,
    Program,
    ProgramStatus,
)
from app.security.context import acting
from app.services import audit, periods
from app.services.obligations import LIVE

BATCH = 200


def advance(session: Session) -> dict[str, int]:
    """Move every ended ACTIVE place on; wants job scope, commits place by place, and may run twice or be killed anywhere."""
    done = {"rolled": 0, "closed": 0, "waiting": 0, "failed": 0}
    today, seen = clock.today_ist(), 0
    while True:
        due = session.execute(
            select(Assignment.id, Assignment.organization_id)
            .where(
                Assignment.status == AssignmentStatus.ACTIVE,
                Assignment.period_end < today,
                Assignment.id > seen,
            )
            .order_by(Assignment.id)
            .limit(BATCH)
        ).all()
        session.commit()
        if not due:
            return done
        for assignment_id, organization_id in due:
            seen = assignment_id
            try:
                with acting(session, scope="org", org_id=organization_id, user_id=None, membership_id=None):
                    for outcome, times in _replay(session, assignment_id, today).items():
                        done[outcome] += times
                session.commit()
            except (DomainError, SQLAlchemyError) as error:
                session.rollback()
                log.warning("cycle_failed", assignment=assignment_id, error=type(error).__name__)
                done["failed"] += 1


def _replay(session: Session, assignment_id: int, today: dt.date) -> dict[str, int]:
    """Roll until the present is reached."""
    out: dict[str, int] = {}
    following: int | None = assignment_id
    while following is not None:
        outcome, following = _step(session, following, today)
        if outcome:
            out[outcome] = out.get(outcome, 0) + 1
    return out


def _step(session: Session, assignment_id: int, today: dt.date) -> tuple[str, int | None]:
    """(what happened, the successor that may have to move on too)."""
    row = session.scalars(
        select(Assignment)
        .where(Assignment.id == assignment_id)
        .options(joinedload(Assignment.program, innerjoin=True).joinedload(Program.contract, innerjoin=True))
        .with_for_update(of=Assignment)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None or row.status != AssignmentStatus.ACTIVE or row.period_end >= today:
        return "", None
    program, contract = row.program, row.program.contract
    if contract.status != ContractStatus.ACTIVE or program.status in (
        ProgramStatus.EXPIRED,
        ProgramStatus.ARCHIVED,
    ):
        return _close(session, row, CloseReason.CONTRACT_INACTIVE)
    if program.status == ProgramStatus.PAUSED:
        return "waiting", None
    start = row.period_end + dt.timedelta(days=1)
    if contract.effective_to is not None and start > contract.effective_to:
        if contract.auto_renew:
            return "waiting", None  # auto_renew_contracts runs before; this one failed or waits
        return _close(session, row, CloseReason.AUTORENEW_OFF)
    return _roll(session, row, program, contract, start)


def _close(session: Session, row: Assignment, reason: CloseReason | None) -> tuple[str, int | None]:
    row.status, row.closed_at, row.close_reason = AssignmentStatus.CLOSED, clock.now(), reason
    session.flush()
    _record(
        session,
        row,
        "PROGRAM_ASSIGNMENT_UPDATED",
        "A place in a program closed",
        status="CLOSED",
        reason=reason,
    )
    return "closed", None


def _roll(
    session: Session, row: Assignment, program: Program, contract: Contract, start: dt.date
) -> tuple[str, int | None]:
    # a cycle that the term cut short is followed by a whole one, with a day of its own
    anchor = start.day if row.clamped else (row.anchor_day or row.period_start.day)
    following = session.scalars(
        select(Assignment).where(
            Assignment.program_id == program.id,
            Assignment.membership_id == row.membership_id,
            Assignment.period_start == start,
        )
    ).one_or_none()
    if following is not None and following.status not in LIVE:  # the member's next cycle was cancelled
        return _close(session, row, None)
    if following is None:
        end, clamped = periods.last_day(start, program.cycle, anchor, contract.effective_to)
        following = Assignment(
            program_id=program.id,
            membership_id=row.membership_id,
            period_start=start,
            period_end=end,
            anchor_day=anchor,
            clamped=clamped,
            status=AssignmentStatus.ACTIVE,
            consumed_paise=0,
            engagements_used=0,
            overage_paise=0,
            overage_count=0,
        )
        session.add(following)
        session.flush()
    row.status, row.rolled_to_id, row.rolled_at = AssignmentStatus.ROLLED, following.id, clock.now()
    session.flush()
    _record(
        session,
        row,
        "PROGRAM_ASSIGNMENT_ROLLED",
        "A place in a program rolled into its next cycle",
        successor=str(following.public_id),
        period_start=str(following.period_start),
        period_end=str(following.period_end),
        clamped=following.clamped,
    )
    return "rolled", following.id


def _record(session: Session, row: Assignment, action: str, says: str, **details: Any) -> None:
    audit.record(
        session,
        AuditCategory.PROGRAM,
        action,
        says,
        target_type="assignment",
        target_id=row.public_id,
        target_membership_id=row.membership_id,
        **details,
    )
