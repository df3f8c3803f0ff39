"""Members' places in programs (chapter 2, 2.5 "Assignment"): given one by one, in bulk, to joiners; cancelled, paused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    Assignment,
    AssignmentStatus,
    AuditCategory,
    Contract,
    ContractStatus,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    PoolScope,
    Program,
    ProgramStatus,
    User,
)
from app.security.context import ctx
from app.services import audit, outbox, periods, terms_notices

MAX_ENROL = 200
LAST_YEAR = 2200  # of a place; beyond lies the end of the calendar
_PLAIN: dict[str, Any] = {"synchronize_session": False}


def assign(
    session: Session, program: Program, membership: Membership, period_start: dt.date | None = None
) -> tuple[Assignment, bool]:
    """Give a member a place in *program* from *period_start* (default: today in India) for one cycle.

    Returns (assignment, created); the same place again is not created twice. Raises CONTRACT_NOT_ACTIVE,
    ILLEGAL_TRANSITION (program not active), MEMBERSHIP_NOT_ACTIVE, ASSIGNMENT_OVERLAP, Invalid.
    """
    locked = session.scalars(
        select(Program)
        .where(Program.id == program.id)
        .options(joinedload(Program.contract, innerjoin=True))
        .with_for_update(of=Program)
        .execution_options(populate_existing=True)
    ).one()
    contract = locked.contract
    if contract.status != ContractStatus.ACTIVE:
        raise DomainError("CONTRACT_NOT_ACTIVE")
    if locked.status != ProgramStatus.ACTIVE:
        raise DomainError("ILLEGAL_TRANSITION", message="The program is not active.")
    if membership.status != MembershipStatus.ACTIVE:
        raise DomainError("MEMBERSHIP_NOT_ACTIVE")
    # renewed ahead of its time, an agreement goes on
    first_day = contract.effective_from if contract.supersedes_contract_id is None else clock.today_ist()
    start = period_start or max(clock.today_ist(), first_day)
    if (
        start < min(first_day, contract.effective_from)
        or (contract.effective_to and start > contract.effective_to)
        or start.year > LAST_YEAR
    ):
        raise Invalid({"period_start": ["Must lie within the contract's term."]})
    end, clamped = periods.last_day(start, locked.cycle, start.day, contract.effective_to)
    clashing = session.scalars(
        select(Assignment)
        .where(
            Assignment.program_id == locked.id,
            Assignment.membership_id == membership.id,
            Assignment.period_start <= end,
            Assignment.period_end >= start,
        )
        .order_by(Assignment.period_start)
    ).all()
    live = [a for a in clashing if a.status in (AssignmentStatus.ACTIVE, AssignmentStatus.PAUSED)]
    same = next((a for a in live if period_start is None or a.period_start == start), None)
    if same is not None:
        return same, False
    if live:
        raise DomainError("ASSIGNMENT_OVERLAP", assignment_id=str(live[0].public_id))
    if any(a.period_start == start for a in clashing):
        raise DomainError(
            "ASSIGNMENT_NOT_ACTIVE",
            message="This member's place was closed today. Start a new one from another day.",
        )
    row = Assignment(
        program_id=locked.id,
        membership_id=membership.id,
        period_start=start,
        period_end=end,
        anchor_day=start.day,
        clamped=clamped,
        status=AssignmentStatus.ACTIVE,
        consumed_paise=0,
        engagements_used=0,
        overage_paise=0,
        overage_count=0,
    )
    session.add(row)
    if locked.config_locked_at is None:
        locked.config_locked_at = clock.now()
    session.flush()
    person = membership.__dict__.get("user") or session.get(User, membership.user_id)
    audit.record(
        session,
        AuditCategory.PROGRAM,
        "PROGRAM_ASSIGNED",
        f"Assigned {person.name if person else 'a member'} to “{locked.name}”",
        target_type="assignment",
        target_id=row.public_id,
        target_membership_id=membership.id,
        period_start=str(start),
        period_end=str(end),
    )
    outbox.event(
        session,
        "program.assigned",
        program_id=str(locked.public_id),
        membership_id=str(membership.public_id),
        period_start=start.isoformat(),
        period_end=end.isoformat(),
    )
    if person is not None:
        _welcome(session, locked, row, person)
    return row, True


def _welcome(session: Session, program: Program, row: Assignment, person: User) -> None:
    organization = session.get_one(Organization, ctx().org_id)
    begins = (
        "from today"
        if row.period_start <= clock.today_ist()
        else f"from {row.period_start.day} {row.period_start:%B %Y}"
    )
    terms_notices.tell_one(
        session,
        person,
        "program.assigned",
        f"You have a place in “{program.name}”",
        [
            f"{organization.name} pays for your sessions through the program “{program.name}”, {begins}.",
            "Choose an expert and a time, and the organisation as who pays. What is left stands under My program.",
        ],
        path=f"/dashboard/organization/{organization.slug}/my-program/",
        button="Open my program",
        routed=True,
    )


def enrol(
    session: Session,
    program: Program,
    memberships: Sequence[tuple[str, Membership | None]],
    period_start: dt.date | None = None,
) -> dict[str, Any]:
    """Assign many: (id as asked, membership or None when unknown). One refusal never stops the others (M-30)."""
    if not 1 <= len(memberships) <= MAX_ENROL:
        raise Invalid({"membership_ids": [f"Between 1 and {MAX_ENROL} members."]})
    results: list[dict[str, Any]] = []
    for asked, membership in memberships:
        try:
            if membership is None:
                raise DomainError("MEMBER_NOT_FOUND")
            row, created = assign(session, program, membership, period_start)
            results.append(
                {
                    "membership_id": asked,
                    "result": "enrolled" if created else "skipped",
                    "assignment_id": str(row.public_id),
                }
            )
        except DomainError as error:
            results.append(
                {"membership_id": asked, "result": "failed", "code": error.code, "message": error.message}
            )
    return {
        **{name: sum(r["result"] == name for r in results) for name in ("enrolled", "skipped", "failed")},
        "results": results,
    }


def cancel_assignment(session: Session, assignment: Assignment) -> None:
    """ACTIVE or PAUSED → CANCELLED: the seat is free, what was used stays used. Raises ASSIGNMENT_NOT_ACTIVE."""
    done = session.execute(
        update(Assignment)
        .where(
            Assignment.id == assignment.id,
            Assignment.status.in_([AssignmentStatus.ACTIVE, AssignmentStatus.PAUSED]),
        )
        .values(status=AssignmentStatus.CANCELLED, closed_at=clock.now())
        .execution_options(**_PLAIN)
    )
    if not done.rowcount:  # type: ignore[attr-defined]
        raise DomainError("ASSIGNMENT_NOT_ACTIVE")
    session.refresh(assignment)
    audit.record(
        session,
        AuditCategory.PROGRAM,
        "PROGRAM_UNASSIGNED",
        "Cancelled a member's place in a program",
        target_type="assignment",
        target_id=assignment.public_id,
        target_membership_id=assignment.membership_id,
    )


def enrol_joiner(session: Session, membership: Membership) -> int:
    """Give a learner who joined a place in every program that enrols by itself; a program that refuses is passed by.

    Returns how many places were made.
    """
    if membership.role != OrgRole.LEARNER or membership.status != MembershipStatus.ACTIVE:
        return 0
    programs = session.scalars(
        select(Program)
        .join(Contract, Contract.id == Program.contract_id)
        .where(
            Program.auto_enroll,
            Program.status == ProgramStatus.ACTIVE,
            Contract.status == ContractStatus.ACTIVE,
        )
        .order_by(Program.id)
    ).all()
    made = 0
    for program in programs:
        try:
            made += assign(session, program, membership)[1]
        except DomainError:
            continue
    return made


def pause_all(session: Session) -> int:
    """The organisation acted for is suspended: its live places pause. Returns how many."""
    return _all(
        session, AssignmentStatus.ACTIVE, AssignmentStatus.PAUSED, "paused: the organisation is suspended"
    )


def resume_all(session: Session) -> int:
    """It is active again: paused places go on; cycles missed meanwhile are replayed by the cycle engine."""
    return _all(
        session, AssignmentStatus.PAUSED, AssignmentStatus.ACTIVE, "go on: the organisation is active again"
    )


def _all(session: Session, before: AssignmentStatus, after: AssignmentStatus, says: str) -> int:
    count = int(
        session.execute(
            update(Assignment)
            .where(Assignment.status == before)
            .values(status=after)
            .execution_options(**_PLAIN)
        ).rowcount  # type: ignore[attr-defined]
    )
    if count:
        audit.record(
            session,
            AuditCategory.PROGRAM,
            "PROGRAM_ASSIGNMENT_UPDATED",
            f"{count} {'place' if count == 1 else 'places'} in programs {says}",
            target_type="assignment",
            count=count,
            status=after.value,
        )
    return count


def label(assignment: Assignment, today: dt.date) -> str:
    """Active, Upcoming or Expired from the dates; the state itself once it is over."""
    if assignment.status != AssignmentStatus.ACTIVE:
        return assignment.status.value.capitalize()
    if today < assignment.period_start:
        return "Upcoming"
    return "Active" if today <= assignment.period_end else "Expired"


def mine(session: Session) -> list[Assignment]:
    """The caller's assignments in the organisation acted for, latest period first, with program and contract."""
    return list(
        session.scalars(
            select(Assignment)
            .where(Assignment.membership_id == (ctx().membership_id or -1))
            .options(
                joinedload(Assignment.program, innerjoin=True).joinedload(Program.contract, innerjoin=True)
            )
            .order_by(Assignment.period_start.desc(), Assignment.id.desc())
            .limit(100)
        )
    )


def shared_use(session: Session, assignments: Sequence[Assignment]) -> dict[int, int]:
    """Paise used by everybody in the period of each assignment whose pool is shared, by assignment id."""
    out: dict[int, int] = {}
    for a in assignments:
        if a.program.pool_scope == PoolScope.SHARED:
            out[a.id] = int(
                session.scalar(
                    select(func.coalesce(func.sum(Assignment.consumed_paise), 0)).where(
                        Assignment.program_id == a.program_id,
                        Assignment.status == AssignmentStatus.ACTIVE,
                        Assignment.period_start <= a.period_end,
                        Assignment.period_end >= a.period_start,
                    )
                )
                or 0
            )
    return out
