"""Webinars and classes: scheduled, registered for, called off (chapter 2, 2.3).

An event holds its expert's calendar from the moment it is scheduled; a learner's is claimed with the seat. How many seats
are taken is counted under the event's row by a database function, never kept.
"""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload, selectinload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    Appointment,
    AppointmentStatus,
    AuditCategory,
    CalendarClaim,
    ConsultantProfile,
    Event,
    EventSession,
    EventState,
    Plan,
    PlanCollaborator,
    PlanType,
    User,
    WaitlistEntry,
    WaitlistStatus,
)
from app.security.context import acting, ctx
from app.services import audit, outbox, owners
from app.services.offers import EVENTS, claim
from app.services.slots import HORIZON

EVERYWHERE = owners.EVERYWHERE
LIVE = (AppointmentStatus.TENTATIVE, AppointmentStatus.CONFIRMED)


def schedule(
    session: Session, plan: Plan, starts: Sequence[dt.datetime], capacity: int | None = None
) -> Event:
    """Put an event of *plan* into the calendar: one start for a webinar, all of a class's; *capacity* is the plan's by
    default and never more.

    Raises Invalid, EXPERT_NOT_BOOKABLE, SLOT_TAKEN (an expert is busy).
    """
    if plan.type not in EVENTS:
        raise Invalid({"plan_id": ["Only webinars and classes have events."]})
    if plan.expert.verification_status != "VERIFIED":
        raise DomainError("EXPERT_NOT_BOOKABLE")
    wanted = plan.total_sessions if plan.type == PlanType.CLASS else 1
    most = plan.max_participants or 1
    times = sorted(at.astimezone(dt.UTC) for at in starts)
    length = dt.timedelta(minutes=plan.duration_minutes)
    problems: dict[str, list[str]] = {}
    if len(times) != wanted:
        problems["starts"] = [
            f"This plan has {wanted} session{'s' if wanted != 1 else ''}; give the start of each."
        ]
    elif any(not clock.now() < at < clock.now() + HORIZON for at in times):
        problems["starts"] = ["Each session lies ahead, at most a year."]
    elif any(a + length > b for a, b in itertools.pairwise(times)):
        problems["starts"] = ["Sessions overlap each other."]
    elif (
        plan.sessions_per_week
        and (week := _fullest(times, plan.expert.user.timezone)) > plan.sessions_per_week
    ):
        problems["starts"] = [f"A week holds {week} sessions, the plan at most {plan.sessions_per_week}."]
    if capacity is not None and not 1 <= capacity <= most:
        problems["capacity"] = [f"From 1 to {most}, the plan's number of participants."]
    if problems:
        raise Invalid(problems)
    with owners.owning(session, plan):
        row = Event(
            organization_id=plan.organization_id,
            plan_id=plan.id,
            expert_user_id=plan.expert.user_id,
            title=plan.title,
            capacity=capacity or most,
            starts_at=times[0],
            ends_at=times[-1] + length,
        )
        session.add(row)
        session.flush()
        sessions = [
            EventSession(
                organization_id=plan.organization_id, event_id=row.id, starts_at=at, ends_at=at + length
            )
            for at in times
        ]
        session.add_all(sessions)
        session.flush()
        _claim_experts(session, plan, sessions)
        _log(
            session, plan, "CATALOG_EVENT_SCHEDULED", f"Scheduled “{plan.title}” for {times[0]:%d %b %Y}", row
        )
        session.flush()
    return row


def _fullest(times: Sequence[dt.datetime], zone: str) -> int:
    """The most sessions of one calendar week, in the expert's zone."""
    weeks: dict[tuple[int, int], int] = {}
    for at in times:
        key = at.astimezone(clock.zone(zone)).isocalendar()[:2]
        weeks[key] = weeks.get(key, 0) + 1
    return max(weeks.values())


def _claim_experts(session: Session, plan: Plan, sessions: Sequence[EventSession]) -> None:
    others = session.scalars(
        select(PlanCollaborator.user_id).where(PlanCollaborator.plan_id == plan.id),
        execution_options=EVERYWHERE,
    ).all()
    people = sorted({plan.expert.user_id, *others})
    session.execute(
        text("SELECT pg_advisory_xact_lock(20261, u) FROM unnest(CAST(:people AS int[])) u"),
        {"people": people},
    )
    for one in sessions:
        for user in people:
            values = {**claim(user, "EXPERT", one.starts_at, one.ends_at, one.id), "now": clock.now()}
            session.execute(
                text(
                    "DELETE FROM calendar_claim WHERE user_id = :u AND expires_at < :now "
                    "AND span && tstzrange(:starts, :ends, '[)')"
                ),
                values,
            )
            try:
                with session.begin_nested():
                    session.execute(
                        text(
                            "INSERT INTO calendar_claim (user_id, event_session_id, role, span) "
                            "VALUES (:u, :session, 'EXPERT', tstzrange(:starts, :ends, '[)'))"
                        ),
                        values,
                    )
            except IntegrityError:
                raise DomainError("SLOT_TAKEN", starts_at=one.starts_at.isoformat()) from None


def _log(session: Session, plan: Plan, action: str, said: str, row: Event) -> None:
    if plan.organization_id is not None:
        audit.record(
            session, AuditCategory.CATALOG, action, said, target_type="event", target_id=row.public_id
        )


def one(session: Session, public_id: uuid.UUID) -> Event:
    """An event the caller may see, with plan, expert and sessions. Raises NOT_FOUND."""
    row = session.scalars(
        select(Event)
        .where(Event.public_id == public_id)
        .options(
            joinedload(Event.plan).joinedload(Plan.expert).joinedload(ConsultantProfile.user),
            selectinload(Event.sessions),
        ),
        execution_options=EVERYWHERE,
    ).one_or_none()
    if row is None or row.plan is None:
        raise DomainError("NOT_FOUND")
    return row


def upcoming(session: Session, plan_ids: Sequence[int], limit: int = 20) -> list[Event]:
    """Open events of plans the caller sees, soonest first."""
    return list(
        session.scalars(
            select(Event)
            .where(
                Event.plan_id.in_(list(plan_ids)),
                Event.status == EventState.OPEN,
                Event.starts_at > clock.now(),
            )
            .options(selectinload(Event.sessions))
            .order_by(Event.starts_at, Event.id)
            .limit(limit),
            execution_options=EVERYWHERE,
        )
    )


def of_plan(session: Session, plan: Plan, limit: int = 100) -> list[Event]:
    """Every event of a plan, latest first, for its owner."""
    with owners.owning(session, plan):
        return list(
            session.scalars(
                select(Event)
                .where(Event.plan_id == plan.id)
                .options(selectinload(Event.sessions))
                .order_by(Event.starts_at.desc(), Event.id.desc())
                .limit(limit),
                execution_options=EVERYWHERE,
            )
        )


def taken(session: Session, events: Sequence[Event]) -> dict[int, int]:
    """Seats taken, by event."""
    if not events:
        return {}
    rows = session.execute(
        text("SELECT event_id, taken FROM event_seats(:ids, :at)"),
        {"ids": [e.id for e in events], "at": clock.now()},
    )
    return {int(r.event_id): int(r.taken) for r in rows}


@dataclass(frozen=True)
class Attendee:
    """Somebody with a seat, as the event's owner sees them."""

    name: str
    status: str
    booked_at: dt.datetime


def attendees(session: Session, event: Event) -> list[Attendee]:
    """Who has a seat, for the event's owner: the bookings belong to those who pay."""
    with owners.owning(session, event.plan), acting(session, scope="platform"):
        rows = session.execute(
            select(Appointment.status, Appointment.created_at, User)
            .join(User, User.id == Appointment.learner_user_id)
            .where(Appointment.event_id == event.id, Appointment.status.not_in(("EXPIRED", "CANCELLED")))
            .order_by(Appointment.created_at, Appointment.id)
            .limit(1000)
        ).all()
    return [Attendee(user.name, status.value, at) for status, at, user in rows]


def call_off(session: Session, event: Event, reason: str = "") -> None:
    """Cancel an open event: nobody registers any more, and everybody who did gets everything back (2.8, expert cancels).

    The refunds are made after commit, one by one. Raises ILLEGAL_TRANSITION, NOT_FOUND.
    """
    with owners.owning(session, event.plan):
        done = session.execute(
            update(Event)
            .where(Event.id == event.id, Event.status == EventState.OPEN)
            .values(status=EventState.CANCELLED)
            .execution_options(synchronize_session=False, **EVERYWHERE)
        ).rowcount  # type: ignore[attr-defined]
        if not done:
            raise DomainError("ILLEGAL_TRANSITION", state=event.status.value)
        sessions = select(EventSession.id).where(EventSession.event_id == event.id)
        session.execute(
            delete(CalendarClaim).where(
                CalendarClaim.event_session_id.in_(sessions), CalendarClaim.appointment_id.is_(None)
            ),
            execution_options=EVERYWHERE,
        )
        _log(session, event.plan, "CATALOG_EVENT_CANCELLED", f"Called off “{event.title}”", event)
        outbox.put(
            session,
            "event_called_off",
            {"event_id": str(event.public_id), "reason": reason[:300], "by": ctx().user_id},
            dedupe_key=f"event-called-off:{event.public_id}",
        )
    session.refresh(event, ["status"])


def give_seats_back(session: Session, public_id: uuid.UUID, reason: str) -> int:
    """Cancel every registration of a cancelled event with a full refund. Wants job scope and commits one by one."""
    from app.services import cancellations  # it offers seats to the waitlist, which stands below

    event = session.scalars(select(Event).where(Event.public_id == public_id)).one()
    ids = session.scalars(
        select(Appointment.id).where(Appointment.event_id == event.id, Appointment.status.in_(LIVE))
    ).all()
    session.execute(
        update(WaitlistEntry)
        .where(
            WaitlistEntry.event_id == event.id,
            WaitlistEntry.status.in_((WaitlistStatus.WAITING, WaitlistStatus.NOTIFIED)),
        )
        .values(status=WaitlistStatus.EXPIRED)
    )
    session.commit()
    for key in ids:
        row = session.scalars(
            select(Appointment)
            .where(Appointment.id == key)
            .options(
                joinedload(Appointment.learner),
                joinedload(Appointment.expert_user),
                joinedload(Appointment.plan),
            )
        ).one()
        with acting(
            session, scope="org", user_id=row.expert_user_id, org_id=None, role=None, membership_id=None
        ):
            cancellations.cancel(session, row, reason or "The event was called off.")
            session.commit()
    return len(ids)


def seats_left(session: Session, event: Event) -> int:
    """How many seats nobody has or is offered."""
    return max(0, event.capacity - taken(session, [event]).get(event.id, 0))


def view(event: Event, used: int) -> dict[str, Any]:
    """An event as the API shows it."""
    return {
        "id": str(event.public_id),
        "title": event.title,
        "status": event.status.value,
        "capacity": event.capacity,
        "seats_left": max(0, event.capacity - used),
        "starts_at": _iso(event.starts_at),
        "ends_at": _iso(event.ends_at),
        "sessions": [{"starts_at": _iso(s.starts_at), "ends_at": _iso(s.ends_at)} for s in event.sessions],
    }


def _iso(at: dt.datetime | None) -> str | None:
    return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z") if at else None
