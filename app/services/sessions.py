"""What happens to a booked session: moved, missed, held; and the sessions of a subscription (chapter 2, 2.3).

A session's rows live with who pays. The learner and the expert act there by what stands in the appointment.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    Appointment,
    AppointmentStatus,
    AuditCategory,
    ConsultantEarning,
    Payment,
    PlanType,
)
from app.security.context import acting, ctx
from app.services import audit, availability, market_notes, offers, seat_sessions
from app.services.booking_mail import local_time
from app.services.seat_sessions import Desk
from app.services.slots import HORIZON, bookable

EVERYWHERE = {"skip_tenancy": True}  # with an explicit key; row-level security still stands
NOTICE = dt.timedelta(hours=24)  # of a learner who moves a session
MOVES = 3  # by the learner, of one session
MISSED_WITHIN = dt.timedelta(hours=48)  # an expert says that nobody came
WHOLE = 10_000  # bps
USED = (AppointmentStatus.CONFIRMED, AppointmentStatus.COMPLETED, AppointmentStatus.NO_SHOW)


@contextmanager
def at_home(session: Session, row: Appointment) -> Iterator[None]:
    """Act where the rows of *row* live: for the organisation that pays, or for the learner."""
    side: dict[str, Any] = {"org_id": row.organization_id, "role": None, "membership_id": None}
    if row.organization_id is None:
        side["user_id"] = row.learner_user_id
    with acting(session, scope="org", **side):
        yield


def _lock_calendars(session: Session, row: Appointment) -> None:
    """Both calendars in the order of user ids, as a booking does: deadlocks cannot arise."""
    session.execute(
        text(
            "SELECT pg_advisory_xact_lock(20261, u) FROM (SELECT unnest(CAST(:p AS int[])) AS u ORDER BY 1) x"
        ),
        {"p": [row.expert_user_id, row.learner_user_id]},
    )


# ---- moving ----------------------------------------------------------------------------------------------------------


def move_refusal(row: Appointment, now: dt.datetime) -> str:
    """Why the person acting cannot move *row*, in words; empty where they can."""
    if row.event_id is not None or (row.plan.type == PlanType.SUBSCRIPTION and row.parent_id is None):
        return "Only sessions between two people can be moved."
    if row.status != AppointmentStatus.CONFIRMED or row.starts_at <= now:
        return "Only a confirmed session that has not begun can be moved."
    if ctx().user_id == row.learner_user_id:
        if row.starts_at - now < NOTICE:
            return "Less than 24 hours are left: ask the expert to move it."
        if row.sequence >= MOVES:
            return f"This session was moved {MOVES} times already: ask the expert."
    return ""


def reschedule(session: Session, row: Appointment, starts_at: dt.datetime, reason: str = "") -> None:
    """Move *row* to *starts_at*: both calendars at once, or neither.

    A learner moves it within the expert's hours, with 24 hours' notice, at most three times. An expert moves it to any
    time that is free, after which the learner may cancel for everything. Raises ILLEGAL_TRANSITION, SLOT_UNAVAILABLE,
    SLOT_TAKEN, LEARNER_DOUBLE_BOOKED.
    """
    now = clock.now()
    refusal = move_refusal(row, now)
    if refusal:
        raise DomainError("ILLEGAL_TRANSITION", message=refusal)
    starts = starts_at.astimezone(dt.UTC)
    length = row.ends_at - row.starts_at
    by_learner = ctx().user_id == row.learner_user_id
    _check_time(session, row, starts, length, now, within_hours=by_learner)
    old = row.starts_at
    _lock_calendars(session, row)
    terms = row.cancellation_policy
    if not by_learner:
        terms = {**terms, "tiers": [{"hours": 0, "refund_bps": WHOLE}], "moved_by_expert": True}
    with at_home(session, row):
        if row.parent_id is not None:
            _check_term(session, _locked_parent(session, row.parent_id), starts, starts + length, but=row.id)
        done = session.execute(
            update(Appointment)
            .where(
                Appointment.id == row.id,
                Appointment.status == AppointmentStatus.CONFIRMED,
                Appointment.starts_at == old,
            )
            .values(
                starts_at=starts,
                ends_at=starts + length,
                sequence=Appointment.sequence + 1,
                cancellation_policy=terms,
            )
            .execution_options(synchronize_session=False, **EVERYWHERE)
        ).rowcount  # type: ignore[attr-defined]
        if not done:
            raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
        _move_claims(session, row, starts, starts + length, now)
        _move_earnings(session, row, starts + length)
        if row.organization_id is not None:
            audit.record(
                session,
                AuditCategory.MEMBER,
                "APPOINTMENT_RESCHEDULED_FOR_ORG",
                f"“{row.title[:200]}” was moved.",
                target_type="appointment",
                target_id=row.public_id,
                before=old.isoformat(),
                after=starts.isoformat(),
            )
    session.refresh(row, ["starts_at", "ends_at", "sequence", "cancellation_policy"])
    _tell_moved(session, row, old, by_learner, reason)


def _check_time(
    session: Session,
    row: Appointment,
    starts: dt.datetime,
    length: dt.timedelta,
    now: dt.datetime,
    *,
    within_hours: bool,
) -> None:
    if starts == row.starts_at:
        raise Invalid({"starts_at": ["That is the time it has now."]})
    if not now < starts < now + HORIZON:
        raise DomainError("SLOT_UNAVAILABLE")
    if within_hours:
        windows = availability.windows(session, [row.expert_id]).get(row.expert_id, [])
        dated = availability.overrides(session, [row.expert_id], starts, starts + length).get(
            row.expert_id, []
        )
        if not bookable(windows, starts, int(length.total_seconds() // 60), now, dated):
            raise DomainError("SLOT_UNAVAILABLE")


def _move_claims(
    session: Session, row: Appointment, starts: dt.datetime, ends: dt.datetime, now: dt.datetime
) -> None:
    """Both claims in one statement; the exclusion constraint judges the new time."""
    values = {
        "a": row.id,
        "x": row.expert_user_id,
        "l": row.learner_user_id,
        "s": starts,
        "e": ends,
        "now": now,
    }
    session.execute(
        text(
            "DELETE FROM calendar_claim WHERE user_id IN (:x, :l) AND expires_at < :now AND appointment_id <> :a "
            "AND span && tstzrange(:s, :e, '[)')"
        ),
        values,
    )
    try:
        with session.begin_nested():
            session.execute(
                text("UPDATE calendar_claim SET span = tstzrange(:s, :e, '[)') WHERE appointment_id = :a"),
                values,
            )
    except IntegrityError:
        mine = availability.busy(session, [row.learner_user_id], starts, ends).get(row.learner_user_id, [])
        others = [span for span in mine if span != (row.starts_at, row.ends_at)]
        raise DomainError("LEARNER_DOUBLE_BOOKED" if others else "SLOT_TAKEN") from None


def _move_earnings(session: Session, row: Appointment, ends: dt.datetime) -> None:
    """Shares of experts and hosts wait for the session where it is now."""
    payments = session.scalars(
        select(Payment.id).where(Payment.appointment_id == row.id), execution_options=EVERYWHERE
    ).all()
    hold = ends + offers.hold_after(row.plan.type)
    session.execute(
        update(ConsultantEarning)
        .where(
            ConsultantEarning.payment_id.in_(payments),
            ConsultantEarning.status.in_(("PENDING", "PENDING_TRUST", "HELD")),
        )
        .values(hold_until=hold)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    )
    for payment in payments:
        session.execute(
            text("SELECT organization_earning_wait(:payment, :hold)"), {"payment": payment, "hold": hold}
        )


def _tell_moved(session: Session, row: Appointment, old: dt.datetime, by_learner: bool, reason: str) -> None:
    mover, other = (row.learner, row.expert_user) if by_learner else (row.expert_user, row.learner)
    length = row.ends_at - row.starts_at
    lines = [
        f"{mover.name} moved “{row.title}” to {local_time(row.starts_at, row.ends_at, other.timezone)}.",
        f"Before, it was {local_time(old, old + length, other.timezone)}.",
    ]
    if not by_learner:
        lines.append("If the new time does not suit you, cancel before it begins: everything is refunded.")
    market_notes.tell(
        session,
        other.id,
        "booking.moved",
        f"Moved: {row.title}"[:200],
        lines,
        path=f"/dashboard/appointments/{row.public_id}",
        button="Open the booking",
        key=f"moved:{row.public_id}:{row.sequence}",
        quote=reason[:300],
    )


def tell_called_off(session: Session, row: Appointment, reason: str) -> None:
    """Tell the other one that a subscription's session was called off."""
    by_learner = ctx().user_id == row.learner_user_id
    other, who = (row.expert_user, row.learner) if by_learner else (row.learner, row.expert_user)
    then = "It counts as used." if row.forfeited else "It can be planned again."
    market_notes.tell(
        session,
        other.id,
        "booking.cancelled",
        f"Called off: {row.title}"[:200],
        [
            f"{who.name} called off “{row.title}”, {local_time(row.starts_at, row.ends_at, other.timezone)}. {then}"
        ],
        path=f"/dashboard/appointments/{row.public_id}",
        button="Open the session",
        key=f"called-off:{row.public_id}",
        quote=reason,
    )


# ---- held, missed ----------------------------------------------------------------------------------------------------


def missed(session: Session, row: Appointment) -> None:
    """The expert says that the learner did not come: from the start until two days after the end.

    Raises INSUFFICIENT_ROLE (not the expert), ILLEGAL_TRANSITION.
    """
    if ctx().user_id != row.expert_user_id:
        raise DomainError("INSUFFICIENT_ROLE")
    now = clock.now()
    whole = row.plan.type == PlanType.SUBSCRIPTION and row.parent_id is None
    if whole or not row.starts_at <= now <= row.ends_at + MISSED_WITHIN:
        raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
    with at_home(session, row):
        done = session.execute(
            update(Appointment)
            .where(
                Appointment.id == row.id,
                Appointment.status.in_((AppointmentStatus.CONFIRMED, AppointmentStatus.COMPLETED)),
            )
            .values(status=AppointmentStatus.NO_SHOW)
            .execution_options(synchronize_session=False, **EVERYWHERE)
        ).rowcount  # type: ignore[attr-defined]
        if not done:
            raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
        if row.organization_id is not None:
            audit.record(
                session,
                AuditCategory.MEMBER,
                "APPOINTMENT_MISSED_FOR_ORG",
                f"{row.learner.name} did not come to “{row.title[:200]}”.",
                target_type="appointment",
                target_id=row.public_id,
            )
    session.refresh(row, ["status"])
    market_notes.tell(
        session,
        row.learner_user_id,
        "booking.missed",
        f"Missed: {row.title}"[:200],
        [
            f"{row.expert_user.name} reports that you did not come to “{row.title}”. Answer them if that is not so."
        ],
        path=f"/dashboard/appointments/{row.public_id}",
        button="Open the booking",
        key=f"missed:{row.public_id}",
    )


def complete(session: Session) -> dict[str, int]:
    """End what took place: appointments, events, the trials among them. Wants job scope and commits."""
    now = clock.now()
    done = {}
    for name, statement in _COMPLETE.items():
        done[name] = int(session.execute(text(statement), {"now": now}).rowcount)  # type: ignore[attr-defined]
        session.commit()
    return done


_COMPLETE = {
    "completed": "UPDATE appointment SET status = 'COMPLETED' WHERE id IN (SELECT id FROM appointment "
    "WHERE status = 'CONFIRMED' AND ends_at <= :now ORDER BY ends_at LIMIT 5000 FOR UPDATE SKIP LOCKED)",
    "events": "UPDATE event SET status = 'ENDED' WHERE status = 'OPEN' AND ends_at <= :now",
    "trials": "UPDATE trial t SET status = 'COMPLETED' FROM appointment a WHERE a.id = t.appointment_id "
    "AND t.status = 'SCHEDULED' AND a.status IN ('COMPLETED', 'NO_SHOW')",
    "waiting": "UPDATE waitlist_entry w SET status = 'EXPIRED' FROM event e WHERE e.id = w.event_id "
    "AND w.status IN ('WAITING', 'NOTIFIED') AND (e.status <> 'OPEN' OR e.starts_at <= :now)",
}


# ---- subscriptions ---------------------------------------------------------------------------------------------------


def children(session: Session, parent: Appointment) -> list[Appointment]:
    """The sessions of a subscription, in order of time."""
    with at_home(session, parent):
        return list(
            session.scalars(
                select(Appointment)
                .where(Appointment.parent_id == parent.id)
                .order_by(Appointment.starts_at, Appointment.id),
                execution_options=EVERYWHERE,
            )
        )


def counts(rows: Sequence[Appointment], total: int) -> dict[str, int]:
    """A subscription's sessions: total, planned, held, left to plan. A session called off too late was used."""
    planned = sum(r.status == AppointmentStatus.CONFIRMED for r in rows)
    held = sum(
        r.status in (AppointmentStatus.COMPLETED, AppointmentStatus.NO_SHOW)
        or (r.status == AppointmentStatus.CANCELLED and r.forfeited)
        for r in rows
    )
    return {"total": total, "planned": planned, "held": held, "left": max(0, total - planned - held)}


def allocate(session: Session, parent: Appointment, starts_at: dt.datetime, desk: Desk) -> Appointment:
    """The expert gives a session of a subscription its time.

    Within the subscription's term, at most ``sessions_per_week`` in a calendar week of the expert's zone. On a licensed
    seat it counts, and is paid, now (``seat_sessions``). Raises INSUFFICIENT_ROLE, ILLEGAL_TRANSITION (over, or none
    left), Invalid (the week is full, out of the term), SLOT_TAKEN, LEARNER_DOUBLE_BOOKED, what ``seat_sessions`` raises.
    """
    if ctx().user_id != parent.expert_user_id:
        raise DomainError("INSUFFICIENT_ROLE")
    plan, now = parent.plan, clock.now()
    starts = starts_at.astimezone(dt.UTC)
    ends = starts + dt.timedelta(minutes=plan.duration_minutes)
    if plan.type != PlanType.SUBSCRIPTION or parent.parent_id is not None:
        raise DomainError("ILLEGAL_TRANSITION", message="Only a subscription has sessions to plan.")
    if starts <= now:
        raise Invalid({"starts_at": ["Choose a time that lies ahead."]})
    _lock_calendars(session, parent)
    with at_home(session, parent):
        planned = _check_term(session, _locked_parent(session, parent.id), starts, ends)
        said: list[str] = []
        whole = seat_sessions.paid_by_session(session, parent)
        if whole is not None:
            child, said = seat_sessions.plan(session, parent, whole, starts, ends, planned, desk)
        else:
            child = _planned(session, parent, starts, ends)
        if parent.organization_id is not None:
            audit.record(
                session,
                AuditCategory.MEMBER,
                "APPOINTMENT_ALLOCATED_FOR_ORG",
                f"A session of “{parent.title[:200]}” was planned.",
                target_type="appointment",
                target_id=child.public_id,
                starts_at=starts.isoformat(),
            )
    market_notes.tell(
        session,
        parent.learner_user_id,
        "booking.allocated",
        f"Planned: {parent.title}"[:200],
        [
            f"{parent.expert_user.name} planned a session of “{parent.title}” for "
            f"{local_time(starts, ends, parent.learner.timezone)}.",
            *said,
        ],
        path=f"/dashboard/appointments/{child.public_id}",
        button="Open the session",
        key=f"allocated:{child.public_id}",
    )
    return child


def plan_refusal(session: Session, parent: Appointment, rows: Sequence[Appointment]) -> str:
    """Why no further session of *parent*, whose sessions are *rows*, can be planned now, in words for the expert; empty
    where one can."""
    have = counts(rows, parent.plan.total_sessions or 0)
    if parent.status != AppointmentStatus.CONFIRMED or parent.ends_at <= clock.now():
        return "This subscription is over."
    if not have["left"]:
        return "Every session of this subscription has its time."
    with at_home(session, parent):
        whole = seat_sessions.paid_by_session(session, parent)
        if whole is None:
            return ""
        return seat_sessions.refusal(session, parent, whole, have["planned"] + have["held"])


def _locked_parent(session: Session, key: int) -> Appointment:
    return session.scalars(
        select(Appointment)
        .where(Appointment.id == key)
        .options(
            joinedload(Appointment.plan), joinedload(Appointment.expert_user), joinedload(Appointment.learner)
        )
        .with_for_update(of=Appointment)
        .execution_options(populate_existing=True, **EVERYWHERE)
    ).one()


def _check_term(
    session: Session, parent: Appointment, starts: dt.datetime, ends: dt.datetime, but: int | None = None
) -> int:
    """How many sessions a live subscription has planned; refused where another may not stand there: out of its term, none
    left, or the week full.

    *but* is the session that moves there itself. Raises Invalid, ILLEGAL_TRANSITION.
    """
    plan = parent.plan
    if parent.status != AppointmentStatus.CONFIRMED:
        raise DomainError("ILLEGAL_TRANSITION", state=parent.status.value)
    if ends > parent.ends_at:
        raise Invalid({"starts_at": [f"The subscription ends on {parent.ends_at:%d %b %Y}."]})
    used = Appointment.status.in_(USED) | Appointment.forfeited
    there = session.scalars(
        select(Appointment.starts_at).where(
            Appointment.parent_id == parent.id, Appointment.id != (but or 0), used
        ),
        execution_options=EVERYWHERE,
    ).all()
    if len(there) >= (plan.total_sessions or 0):
        raise DomainError("ILLEGAL_TRANSITION", message="Every session of this subscription has its time.")
    zone = clock.zone(parent.expert_user.timezone)
    week = starts.astimezone(zone).isocalendar()[:2]
    if sum(at.astimezone(zone).isocalendar()[:2] == week for at in there) >= (plan.sessions_per_week or 1):
        raise Invalid({"starts_at": [f"That week has its {plan.sessions_per_week} sessions already."]})
    return len(there)


def _planned(session: Session, parent: Appointment, starts: dt.datetime, ends: dt.datetime) -> Appointment:
    """A session of a subscription that was paid up front, with both calendars' claims."""
    child = Appointment(
        organization_id=parent.organization_id,
        plan_id=parent.plan_id,
        expert_id=parent.expert_id,
        expert_user_id=parent.expert_user_id,
        learner_user_id=parent.learner_user_id,
        status=AppointmentStatus.CONFIRMED,
        title=parent.title,
        starts_at=starts,
        ends_at=ends,
        cancellation_policy=parent.cancellation_policy,
        parent_id=parent.id,
    )
    session.add(child)
    session.flush()
    offers.write_claims(
        session,
        child.id,
        offers.pair(parent.expert_user_id, parent.learner_user_id, starts, ends),
        {"EXPERT": "SLOT_TAKEN", "LEARNER": "LEARNER_DOUBLE_BOOKED"},
    )
    return child


def used_sessions(session: Session, parent: Appointment) -> int:
    """Sessions of a subscription that were held, missed or called off too late."""
    used = (
        Appointment.status.in_((AppointmentStatus.COMPLETED, AppointmentStatus.NO_SHOW))
        | Appointment.forfeited
    )
    begun = (Appointment.status == AppointmentStatus.CONFIRMED) & (Appointment.starts_at <= clock.now())
    return int(
        session.scalar(
            select(func.count())
            .select_from(Appointment)
            .where(Appointment.parent_id == parent.id, used | begun),
            execution_options=EVERYWHERE,
        )
        or 0
    )
