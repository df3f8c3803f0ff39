"""What a booking is of: a time of the expert's, a seat at an event, or a subscription (chapter 2, 2.3).

Checkout asks ``occurrence`` what will be claimed in whose calendar; a capture asks ``keep`` whether that still stands.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.numeric import Int8
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import REGISTRY, DomainError, Invalid
from app.models import (
    Appointment,
    CalendarClaim,
    EventSession,
    Payment,
    PaymentStatus,
    PlanType,
    WaitlistEntry,
    WaitlistStatus,
)
from app.services.slots import Override, Window, bookable

EVENTS = (PlanType.WEBINAR, PlanType.CLASS)
# until shares are released: after the session's end, or the capture if that is later (2.10)
HOLD_AFTER = {
    PlanType.CONSULTATION: dt.timedelta(hours=24),
    PlanType.CLASS: dt.timedelta(hours=24),
    PlanType.WEBINAR: dt.timedelta(hours=48),
    PlanType.SUBSCRIPTION: dt.timedelta(hours=168),
}
SLACK_WEEKS = 4  # a subscription runs for the weeks its sessions need and these


@dataclass(frozen=True)
class Occurrence:
    """When a booking takes place and whose time it claims; *said* stands in mails for a time nobody chose yet."""

    starts: dt.datetime
    ends: dt.datetime
    claims: tuple[dict[str, Any], ...] = ()
    event_id: int | None = None
    hold_after: dt.timedelta = HOLD_AFTER[PlanType.CONSULTATION]
    said: str = field(default="", compare=False)


def claim(
    user: int, role: str, starts: dt.datetime, ends: dt.datetime, session: int | None = None
) -> dict[str, Any]:
    """A claim as the writing statement takes it."""
    return {
        "u": user,
        "role": role,
        "starts": starts.isoformat(),
        "ends": ends.isoformat(),
        "session": session,
    }


def pair(expert: int, learner: int, starts: dt.datetime, ends: dt.datetime) -> tuple[dict[str, Any], ...]:
    """Both calendars of a session between two."""
    return claim(expert, "EXPERT", starts, ends), claim(learner, "LEARNER", starts, ends)


def hold_after(kind: str) -> dt.timedelta:
    """How long shares of a plan of *kind* wait after the session's end."""
    return HOLD_AFTER[PlanType(kind)]


def term(total_sessions: int, per_week: int) -> dt.timedelta:
    """How long a subscription runs: the weeks its sessions need at their weekly pace, and four more."""
    return dt.timedelta(weeks=-(-total_sessions // per_week) + SLACK_WEEKS)


def occurrence(
    raw: psycopg.Connection[Any],
    row: dict[str, Any],
    starts_at: dt.datetime | None,
    event: uuid.UUID | None,
    user_id: int,
    now: dt.datetime,
) -> Occurrence:
    """What *row*'s plan gives the person who books it. *row* is checkout's reading.

    Raises SLOT_UNAVAILABLE, EVENT_NOT_OPEN, NOT_FOUND (no such event), Invalid (a time is missing).
    """
    kind = row["type"]
    if kind in EVENTS:
        return _seat(raw, row, starts_at, event, user_id)
    if event is not None:
        raise Invalid({"event_id": ["This plan has no events."]})
    if kind == PlanType.SUBSCRIPTION:
        total, week = row["total_sessions"], row["sessions_per_week"]
        said = f"{total} sessions, at most {week} a week; {row['expert_name']} suggests the times"
        return Occurrence(
            now, now + term(total, week), hold_after=HOLD_AFTER[PlanType.SUBSCRIPTION], said=said
        )
    if starts_at is None:
        raise Invalid({"starts_at": ["Choose a time."]})
    starts = starts_at.astimezone(dt.UTC)
    minutes = row.get("minutes") or row["duration_minutes"]  # a trial has a length of its own
    if not bookable(windows_of(row["windows"]), starts, minutes, now, overrides_of(row["overrides"])):
        raise DomainError("SLOT_UNAVAILABLE")
    ends = starts + dt.timedelta(minutes=minutes)
    return Occurrence(starts, ends, pair(row["expert_user_id"], user_id, starts, ends))


_EVENT = """
SELECT e.id, e.status, e.starts_at, e.ends_at,
       (SELECT json_agg(json_build_array(s.id, s.starts_at, s.ends_at) ORDER BY s.starts_at) FROM event_session s
         WHERE s.event_id = e.id) AS sessions
  FROM event e
 WHERE e.plan_id = %(plan)s::bigint
   AND CASE WHEN %(event)s::uuid IS NULL THEN e.starts_at = %(starts)s::timestamptz AND e.status = 'OPEN'
            ELSE e.public_id = %(event)s::uuid END
 ORDER BY e.id LIMIT 1"""


def _seat(
    raw: psycopg.Connection[Any],
    row: dict[str, Any],
    starts_at: dt.datetime | None,
    event: uuid.UUID | None,
    user_id: int,
) -> Occurrence:
    values = {"plan": Int8(row["plan_id"]), "event": event, "starts": starts_at}
    with raw.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_EVENT, values).fetchone()
    if found is None:
        raise DomainError("NOT_FOUND" if event is not None else "EVENT_NOT_OPEN")
    if found["status"] != "OPEN" or found["starts_at"] is None or not found["sessions"]:
        raise DomainError("EVENT_NOT_OPEN")
    claims = tuple(
        claim(user_id, "LEARNER", dt.datetime.fromisoformat(a), dt.datetime.fromisoformat(b), key)
        for key, a, b in found["sessions"]
    )
    many = len(claims)
    return Occurrence(
        found["starts_at"].astimezone(dt.UTC),
        found["ends_at"].astimezone(dt.UTC),
        claims,
        found["id"],
        HOLD_AFTER[PlanType(row["type"])],
        f"{many} sessions, the first on {found['starts_at'].astimezone(clock.IST):%d %b %Y, %H:%M} IST"
        if many > 1
        else "",
    )


def windows_of(rows: list[list[Any]] | None) -> list[Window]:
    """Availability windows as checkout's reading returns them."""
    return [
        Window(day, dt.time.fromisoformat(opens), dt.time.fromisoformat(closes), zone)
        for day, opens, closes, zone in rows or []
    ]


def overrides_of(rows: list[list[Any]] | None) -> list[Override]:
    """Dated hours as checkout's reading returns them."""
    return [
        Override(
            dt.date.fromisoformat(day),
            dt.time.fromisoformat(opens) if opens else None,
            dt.time.fromisoformat(closes) if closes else None,
            zone,
        )
        for day, opens, closes, zone in rows or []
    ]


_OTHERS = """
SELECT c.user_id, c.revenue_share_bps FROM plan_collaborator c
 WHERE c.plan_id = %(plan)s::bigint AND c.expert_id <> %(expert)s::bigint ORDER BY c.id"""


def collaborators(raw: psycopg.Connection[Any], row: dict[str, Any]) -> list[tuple[int, int]]:
    """Who shares the price with the plan's owner: (user id, bps). A consultation has one expert, so nothing is asked."""
    if row["type"] == PlanType.CONSULTATION:
        return []
    values = {"plan": Int8(row["plan_id"]), "expert": Int8(row["expert_id"])}
    return [(int(u), int(bps)) for u, bps in raw.execute(_OTHERS, values).fetchall()]


_EARN = """
INSERT INTO consultant_earnings (organization_id, payment_id, consultant_user_id, gross_paise, platform_bps, org_bps,
                                 consultant_bps, share_paise, status, hold_until, created_at)
SELECT p.organization_id, p.id, (o->>0)::int, (o->>1)::bigint, %(platform_bps)s::int, %(org_bps)s::int,
       %(consultant_bps)s::int, (o->>2)::bigint, %(earnings)s::text, %(hold_until)s::timestamptz, %(now)s::timestamptz
  FROM payment p, jsonb_array_elements(p.snapshot->'split'->'others') AS o
 WHERE p.public_id = %(payment)s::uuid AND (o->>2)::bigint > 0"""


def share_earnings(raw: psycopg.Connection[Any], payment: uuid.UUID, values: dict[str, Any]) -> None:
    """The shares of a plan's collaborators beside its owner's, as the payment's snapshot says."""
    raw.execute(_EARN, {"earnings": "PENDING", **values, "payment": payment})


# ---- a capture -------------------------------------------------------------------------------------------------------

SEAT = "SELECT event_seat_take(:event, :user, :scope, :key, :final, :at)"


def take_seat(session: Session, event_id: int, user_id: int, *, final: bool) -> None:
    """A seat under the event's row. Raises EVENT_NOT_OPEN, ALREADY_REGISTERED, EVENT_FULL; the transaction goes on."""
    values = {"event": event_id, "user": user_id, "scope": "", "key": "", "final": final, "at": clock.now()}
    session.flush()
    try:
        with session.begin_nested():
            session.execute(text(SEAT), values)
    except DBAPIError as error:
        code = str(getattr(getattr(error.orig, "diag", None), "message_primary", "") or "")
        if getattr(error.orig, "sqlstate", "") != "CL001" or code not in REGISTRY:
            raise
        raise DomainError(code) from None


def keep(session: Session, payment: Payment, appointment: Appointment) -> None:
    """A hold becomes the booking's; one whose time or seat was given up is taken again. Acts for the payer.

    Raises SLOT_TAKEN, and for a seat EVENT_FULL, EVENT_NOT_OPEN, ALREADY_REGISTERED.
    """
    over = payment.status != PaymentStatus.PENDING or (payment.expires_at or clock.now()) <= clock.now()
    if appointment.event_id is not None:
        if over:
            take_seat(session, appointment.event_id, appointment.learner_user_id, final=True)
        else:
            booked_from_waitlist(session, appointment.event_id, appointment.learner_user_id)
    wanted = _claims(session, appointment)
    kept = session.execute(
        update(CalendarClaim).where(CalendarClaim.appointment_id == appointment.id).values(expires_at=None)
    ).rowcount  # type: ignore[attr-defined]
    if kept == len(wanted):
        return
    session.execute(delete(CalendarClaim).where(CalendarClaim.appointment_id == appointment.id))
    if appointment.starts_at <= clock.now():
        raise DomainError("SLOT_TAKEN")
    write_claims(session, appointment.id, wanted, {"EXPERT": "SLOT_TAKEN", "LEARNER": "SLOT_TAKEN"})


def write_claims(
    session: Session, appointment_id: int, claims: tuple[dict[str, Any], ...], codes: dict[str, str]
) -> None:
    """Claim time for an appointment; whoever is busy decides the code. Expired holds in the way are removed first."""
    for one in claims:
        values = {**one, "appointment": appointment_id, "now": clock.now()}
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
                        "INSERT INTO calendar_claim (user_id, appointment_id, event_session_id, role, span) "
                        "VALUES (:u, :appointment, :session, :role, tstzrange(:starts, :ends, '[)'))"
                    ),
                    values,
                )
        except IntegrityError:
            raise DomainError(codes[one["role"]]) from None


def _claims(session: Session, appointment: Appointment) -> tuple[dict[str, Any], ...]:
    """What a booking claims, from its rows."""
    if appointment.event_id is not None:
        rows = session.execute(
            select(EventSession.id, EventSession.starts_at, EventSession.ends_at)
            .where(EventSession.event_id == appointment.event_id)
            .order_by(EventSession.starts_at),
            execution_options={"skip_tenancy": True},
        ).all()
        return tuple(
            claim(appointment.learner_user_id, "LEARNER", r.starts_at, r.ends_at, r.id) for r in rows
        )
    if appointment.plan.type == PlanType.SUBSCRIPTION and appointment.parent_id is None:
        return ()
    return pair(
        appointment.expert_user_id, appointment.learner_user_id, appointment.starts_at, appointment.ends_at
    )


def booked_from_waitlist(session: Session, event_id: int, user_id: int) -> None:
    """Whoever waited for a seat and has one now waits no longer."""
    session.execute(
        update(WaitlistEntry)
        .where(
            WaitlistEntry.event_id == event_id,
            WaitlistEntry.user_id == user_id,
            WaitlistEntry.status.in_((WaitlistStatus.WAITING, WaitlistStatus.NOTIFIED)),
        )
        .values(status=WaitlistStatus.BOOKED)
        .execution_options(synchronize_session=False, skip_tenancy=True)
    )
