"""Waiting for a seat (chapter 2, 2.3): WAITING→NOTIFIED→BOOKED|EXPIRED, by priority, then by who came first.

An offer keeps the seat for two hours. Offers are made under the event's row, so that two freed seats never go to one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError
from app.logs import log
from app.models import Event, EventState, Plan, User, WaitlistEntry, WaitlistStatus
from app.security.context import acting, ctx
from app.services import market_notes, owners, scopes
from app.services.booking_mail import local_time
from app.services.scopes import OrgScope

OFFER = dt.timedelta(hours=2)
LIVE = (WaitlistStatus.WAITING, WaitlistStatus.NOTIFIED)
EVERYWHERE = owners.EVERYWHERE


def mine(session: Session, event: Event) -> WaitlistEntry | None:
    """The caller's live place in the line of *event*."""
    return session.scalars(
        select(WaitlistEntry).where(
            WaitlistEntry.event_id == event.id,
            WaitlistEntry.user_id == ctx().user_id,
            WaitlistEntry.status.in_(LIVE),
        ),
        execution_options=EVERYWHERE,
    ).one_or_none()


def join(session: Session, event: Event, organization_id: int | None = None) -> WaitlistEntry:
    """Wait for a seat of a full event; repeated, the place that was there. *organization_id* only labels it.

    Raises EVENT_NOT_OPEN, ALREADY_REGISTERED, SELF_BOOKING_FORBIDDEN, WAITLIST_NOT_NEEDED (a seat is free).
    """
    user = ctx().user_id
    assert user is not None
    if event.status != EventState.OPEN or event.starts_at is None or event.starts_at <= clock.now():
        raise DomainError("EVENT_NOT_OPEN")
    if event.expert_user_id == user:
        raise DomainError("SELF_BOOKING_FORBIDDEN")
    session.execute(text("SELECT pg_advisory_xact_lock(20262, :e)"), {"e": event.id % 2**31})
    there = mine(session, event)
    if there is not None:
        return there
    seat = session.execute(
        text(
            "SELECT count(*) FROM appointment WHERE event_id = :e AND learner_user_id = :u "
            "AND status IN ('CONFIRMED', 'COMPLETED', 'NO_SHOW')"
        ),
        {"e": event.id, "u": user},
    ).scalar_one()
    if seat:
        raise DomainError("ALREADY_REGISTERED")
    used = session.execute(
        text("SELECT taken FROM event_seats(:ids, :at)"), {"ids": [event.id], "at": clock.now()}
    ).scalar_one()
    if used < event.capacity:
        raise DomainError("WAITLIST_NOT_NEEDED")
    with acting(session, org_id=organization_id):
        row = WaitlistEntry(
            organization_id=organization_id, event_id=event.id, user_id=user, joined_at=clock.now()
        )
        session.add(row)
        session.flush()
    return row


def leave(session: Session, event: Event) -> None:
    """Give up the caller's place; an offered seat goes to the next. Raises NOT_FOUND."""
    there = mine(session, event)
    if there is None:
        raise DomainError("NOT_FOUND")
    session.execute(
        update(WaitlistEntry)
        .where(WaitlistEntry.id == there.id, WaitlistEntry.status.in_(LIVE))
        .values(status=WaitlistStatus.EXPIRED)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    )
    offer_next(session, event.id)


def position(session: Session, entry: WaitlistEntry) -> int:
    """How many people are served before *entry*, plus one."""
    with acting(session, scope="platform"):
        ahead = session.execute(
            text(
                "SELECT count(*) FROM waitlist_entry w WHERE w.event_id = :e AND w.status = 'WAITING' "
                "AND (-w.priority, w.joined_at, w.id) < (-CAST(:p AS int), CAST(:j AS timestamptz), CAST(:i AS bigint))"
            ),
            {"e": entry.event_id, "p": entry.priority, "j": entry.joined_at, "i": entry.id},
        ).scalar_one()
    return int(ahead) + 1


def offer_next(session: Session, event_id: int) -> int:
    """Offer every free seat of an event to the head of its line; returns how many offers were made."""
    made = 0
    with acting(session, scope="job", org_id=None):
        event = session.scalars(
            select(Event)
            .where(Event.id == event_id)
            .options(joinedload(Event.plan))
            .with_for_update(of=Event, key_share=True)
            .execution_options(populate_existing=True)
        ).one_or_none()
        now = clock.now()
        if (
            event is None
            or event.status != EventState.OPEN
            or event.starts_at is None
            or event.starts_at <= now
        ):
            return 0
        free = event.capacity - int(
            session.execute(
                text("SELECT taken FROM event_seats(:ids, :at)"), {"ids": [event.id], "at": now}
            ).scalar_one()
        )
        while free > 0:
            head = session.scalars(
                select(WaitlistEntry)
                .where(WaitlistEntry.event_id == event.id, WaitlistEntry.status == WaitlistStatus.WAITING)
                .order_by(WaitlistEntry.priority.desc(), WaitlistEntry.joined_at, WaitlistEntry.id)
                .limit(1)
            ).one_or_none()
            if head is None:
                break
            head.status, head.notified_at = WaitlistStatus.NOTIFIED, now
            head.expires_at = min(now + OFFER, event.starts_at)
            session.flush()
            _tell(session, event, head)
            free, made = free - 1, made + 1
    return made


def _tell(session: Session, event: Event, entry: WaitlistEntry) -> None:
    person = session.scalars(select(User).where(User.id == entry.user_id)).one()
    assert event.starts_at and event.ends_at and entry.expires_at
    until = local_time(entry.expires_at, entry.expires_at, person.timezone).rpartition(" to ")[0]
    market_notes.tell(
        session,
        entry.user_id,
        "waitlist.offer",
        f"A seat is free: {event.title}"[:200],
        [
            f"A seat at “{event.title}”, {local_time(event.starts_at, event.ends_at, person.timezone)}, is free.",
            f"It is kept for you until {until}; then the next person is asked.",
        ],
        path=f"/explore/events/{event.public_id}",
        button="Take the seat",
        key=f"waitlist:{entry.public_id}:{entry.notified_at}",
    )


def sweep(session: Session) -> dict[str, int]:
    """End offers whose two hours are over and offer what is free. Wants job scope, commits event by event."""
    now = clock.now()
    expired = session.scalars(
        update(WaitlistEntry)
        .where(WaitlistEntry.status == WaitlistStatus.NOTIFIED, WaitlistEntry.expires_at <= now)
        .values(status=WaitlistStatus.EXPIRED)
        .returning(WaitlistEntry.id)
    ).all()
    session.commit()
    waiting = session.scalars(
        select(WaitlistEntry.event_id)
        .where(WaitlistEntry.status == WaitlistStatus.WAITING)
        .distinct()
        .limit(1000)
    ).all()
    session.commit()
    done = {"expired": len(expired), "offered": 0, "failed": 0}
    for event_id in waiting:
        try:
            done["offered"] += offer_next(session, event_id)
            session.commit()
        except Exception as error:
            session.rollback()
            log.warning("waitlist_offer_failed", event_id=event_id, error=type(error).__name__)
            done["failed"] += 1
    return done


# ---- lists -----------------------------------------------------------------------------------------------------------


def listed(
    session: Session, scope: OrgScope, *, limit: int = 25, after: tuple[dt.datetime, int] | None = None
) -> list[WaitlistEntry]:
    """The caller's places in lines in a scope, latest first; *after* is (joined_at, id) of the last one seen."""
    statement = (
        select(WaitlistEntry)
        .options(joinedload(WaitlistEntry.event).joinedload(Event.plan), joinedload(WaitlistEntry.user))
        .where(scope.clause(WaitlistEntry.organization_id))
        .order_by(WaitlistEntry.joined_at.desc(), WaitlistEntry.id.desc())
    )
    if not scope.everybody:
        statement = statement.where(WaitlistEntry.user_id == ctx().user_id)
    if after is not None:
        statement = statement.where(
            (WaitlistEntry.joined_at < after[0])
            | ((WaitlistEntry.joined_at == after[0]) & (WaitlistEntry.id < after[1]))
        )
    return scopes.rows(session, statement.limit(limit), scope)


def line(session: Session, event: Event) -> Sequence[WaitlistEntry]:
    """Who waits, in order, for the event's owner. Raises NOT_FOUND."""
    plan: Plan = event.plan
    with owners.owning(session, plan), acting(session, scope="platform"):
        return session.scalars(
            select(WaitlistEntry)
            .where(WaitlistEntry.event_id == event.id, WaitlistEntry.status.in_(LIVE))
            .options(joinedload(WaitlistEntry.user))
            .order_by(
                WaitlistEntry.status, WaitlistEntry.priority.desc(), WaitlistEntry.joined_at, WaitlistEntry.id
            )
            .limit(1000)
        ).all()


def prefer(session: Session, event: Event, entry_id: Any, priority: int) -> None:
    """Let somebody who waits be asked earlier or later (priority -100 to 100), for the event's owner.

    Raises NOT_FOUND, ILLEGAL_TRANSITION (no longer waiting).
    """
    with owners.owning(session, event.plan), acting(session, scope="job"):
        done = session.execute(
            update(WaitlistEntry)
            .where(
                WaitlistEntry.public_id == entry_id,
                WaitlistEntry.event_id == event.id,
                WaitlistEntry.status == WaitlistStatus.WAITING,
            )
            .values(priority=max(-100, min(100, priority)))
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
    if not done:
        raise DomainError("ILLEGAL_TRANSITION")


def view(entry: WaitlistEntry) -> dict[str, Any]:
    """A place in a line as its owner's API shows it."""

    def iso(at: dt.datetime | None) -> str | None:
        return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z") if at else None

    return {
        "id": str(entry.public_id),
        "event_id": str(entry.event.public_id),
        "title": entry.event.title,
        "status": entry.status.value,
        "joined_at": iso(entry.joined_at),
        "expires_at": iso(entry.expires_at),
    }
