"""An expert's bookable hours: weekly windows in their own zone and dates that differ (chapter 2, 2.3)."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import delete, func, or_, select, text
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import AvailabilityOverride, AvailabilityWindow, CalendarClaim, ConsultantProfile
from app.security.context import ctx
from app.services.slots import Override, Span, Window, open_spans

PER_DAY = 8  # windows
MAX_DATES = 366  # dates that differ, ahead
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Hours:
    """A stretch of one day, local times."""

    starts: dt.time
    ends: dt.time


def profile(session: Session) -> ConsultantProfile:
    """The expert profile of the person acting. Raises NOT_FOUND."""
    row = session.scalars(
        select(ConsultantProfile).where(ConsultantProfile.user_id == ctx().user_id)
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def windows(session: Session, expert_ids: Iterable[int]) -> dict[int, list[Window]]:
    """Weekly windows of experts, by profile, in the order of the week."""
    rows = session.scalars(
        select(AvailabilityWindow)
        .where(AvailabilityWindow.expert_id.in_(list(expert_ids)))
        .order_by(AvailabilityWindow.weekday, AvailabilityWindow.starts)
    )
    out: dict[int, list[Window]] = {}
    for w in rows:
        out.setdefault(w.expert_id, []).append(Window(w.weekday, w.starts, w.ends, w.zone))
    return out


def overrides(
    session: Session, expert_ids: Iterable[int], start: dt.datetime, end: dt.datetime
) -> dict[int, list[Override]]:
    """Dates that differ around a period, by profile."""
    margin = dt.timedelta(days=2)  # whatever the zone
    rows = session.scalars(
        select(AvailabilityOverride)
        .where(
            AvailabilityOverride.expert_id.in_(list(expert_ids)),
            AvailabilityOverride.day.between((start - margin).date(), (end + margin).date()),
        )
        .order_by(AvailabilityOverride.day, AvailabilityOverride.starts)
    )
    out: dict[int, list[Override]] = {}
    for o in rows:
        out.setdefault(o.expert_id, []).append(Override(o.day, o.starts, o.ends, o.zone))
    return out


def busy(
    session: Session, user_ids: Sequence[int], start: dt.datetime, end: dt.datetime
) -> dict[int, list[Span]]:
    """Claimed time of people in any organisation; expired holds do not count."""
    rows = session.execute(
        select(CalendarClaim.user_id, func.lower(CalendarClaim.span), func.upper(CalendarClaim.span)).where(
            text(
                "int8range(user_id, user_id, '[]') && ANY (SELECT int8range(u, u, '[]') FROM unnest(CAST(:people AS int[])) u)"
            ),
            CalendarClaim.span.op("&&")(func.tstzrange(start, end, "[)")),
            or_(CalendarClaim.expires_at.is_(None), CalendarClaim.expires_at > clock.now()),
        ),
        {"people": list(user_ids)},
    )
    out: dict[int, list[Span]] = {}
    for user, a, b in rows:
        out.setdefault(user, []).append((a, b))
    return out


# ---- the expert's editor ---------------------------------------------------------------------------------------------


def zone_of(name: str, problems: dict[str, list[str]]) -> str:
    """*name* if it is an IANA zone; else a problem is noted."""
    if name not in available_timezones():
        problems["zone"] = ["Choose an IANA time zone such as Asia/Kolkata."]
        return "UTC"
    return name


def _checked(hours: Sequence[Hours], name: str, problems: dict[str, list[str]]) -> list[Hours]:
    """Hours of one day in order; overlaps and too many are problems."""
    out = sorted(hours, key=lambda h: h.starts)
    if len(out) > PER_DAY:
        problems[name] = [f"At most {PER_DAY} stretches a day."]
    if any(h.starts >= h.ends for h in out):
        problems[name] = ["The end must be after the start."]
    elif any(a.ends > b.starts for a, b in itertools.pairwise(out)):
        problems[name] = ["These stretches overlap."]
    return out


def set_week(session: Session, week: Mapping[int, Sequence[Hours]], zone: str) -> None:
    """Replace the weekly windows of the person acting; *week* maps weekday (0 Monday) to hours. Raises Invalid, NOT_FOUND."""
    problems: dict[str, list[str]] = {}
    zone_of(zone, problems)
    days = {
        day: _checked(hours, DAYS[day].lower() if 0 <= day <= 6 else "week", problems)
        for day, hours in week.items()
    }
    if any(not 0 <= day <= 6 for day in week):
        problems["week"] = ["A weekday is a number from 0 (Monday) to 6."]
    if problems:
        raise Invalid(problems)
    mine = profile(session)
    session.execute(select(ConsultantProfile.id).where(ConsultantProfile.id == mine.id).with_for_update())
    session.execute(delete(AvailabilityWindow).where(AvailabilityWindow.expert_id == mine.id))
    session.add_all(
        AvailabilityWindow(expert_id=mine.id, weekday=day, starts=h.starts, ends=h.ends, zone=zone)
        for day, hours in days.items()
        for h in hours
    )
    session.flush()


def set_dates(session: Session, first: dt.date, last: dt.date, hours: Sequence[Hours], zone: str) -> int:
    """Give the dates from *first* to *last* hours of their own, none to close them; returns how many dates.

    Raises Invalid, NOT_FOUND.
    """
    problems: dict[str, list[str]] = {}
    zone_of(zone, problems)
    checked = _checked(hours, "hours", problems)
    today = clock.now().date()
    if not today - dt.timedelta(days=1) <= first <= last <= today + dt.timedelta(days=MAX_DATES):
        problems["day"] = ["Choose dates from today, at most a year ahead, the first before the last."]
    if problems:
        raise Invalid(problems)
    mine = profile(session)
    days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    session.execute(select(ConsultantProfile.id).where(ConsultantProfile.id == mine.id).with_for_update())
    session.execute(
        delete(AvailabilityOverride).where(
            AvailabilityOverride.expert_id == mine.id, AvailabilityOverride.day.in_(days)
        )
    )
    for day in days:
        session.add_all(
            [
                AvailabilityOverride(expert_id=mine.id, day=day, starts=h.starts, ends=h.ends, zone=zone)
                for h in checked
            ]
            or [AvailabilityOverride(expert_id=mine.id, day=day, zone=zone)]
        )
    session.flush()
    return len(days)


def clear_date(session: Session, day: dt.date) -> None:
    """Let the weekly windows hold again on *day*. Raises NOT_FOUND when nothing differed."""
    done = session.execute(
        delete(AvailabilityOverride).where(
            AvailabilityOverride.expert_id == profile(session).id, AvailabilityOverride.day == day
        )
    ).rowcount  # type: ignore[attr-defined]
    if not done:
        raise DomainError("NOT_FOUND")


@dataclass(frozen=True)
class Day:
    """A date as the expert's preview shows it: open stretches and claims within it, local."""

    day: dt.date
    open: list[Span]
    busy: list[Span]
    differs: bool


def preview(session: Session, first: dt.date, days: int, zone: ZoneInfo) -> list[Day]:
    """The next *days* dates of the person acting as others can book them, in *zone*."""
    mine = profile(session)
    start = dt.datetime.combine(first, dt.time(), zone).astimezone(dt.UTC)
    end = dt.datetime.combine(first + dt.timedelta(days=days), dt.time(), zone).astimezone(dt.UTC)
    dated = overrides(session, [mine.id], start, end).get(mine.id, [])
    spans = open_spans(windows(session, [mine.id]).get(mine.id, []), start, end, dated)
    taken = busy(session, [mine.user_id], start, end).get(mine.user_id, [])
    out = []
    for n in range(days):
        day = first + dt.timedelta(days=n)
        a = dt.datetime.combine(day, dt.time(), zone)
        b = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), zone)
        out.append(
            Day(day, _within(spans, a, b, zone), _within(taken, a, b, zone), any(o.day == day for o in dated))
        )
    return out


def _within(spans: Iterable[Span], a: dt.datetime, b: dt.datetime, zone: ZoneInfo) -> list[Span]:
    return [
        (max(x, a).astimezone(zone), min(y, b).astimezone(zone)) for x, y in sorted(spans) if x < b and y > a
    ]
