"""Bookable times: weekly windows in the expert's zone, dates that differ, minus claims. Pure functions (chapter 2, 2.3)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

UTC = dt.UTC
Span = tuple[dt.datetime, dt.datetime]
HORIZON = dt.timedelta(days=366)  # nobody books further ahead


@dataclass(frozen=True)
class Window:
    """A weekly window: weekday 0 is Monday, local times of *zone* (IANA)."""

    weekday: int
    starts: dt.time
    ends: dt.time
    zone: str


@dataclass(frozen=True)
class Override:
    """Hours of one date of *zone*, instead of that date's weekly windows; without times the date is closed."""

    day: dt.date
    starts: dt.time | None
    ends: dt.time | None
    zone: str


def instant(day: dt.date, at: dt.time, zone: ZoneInfo) -> dt.datetime:
    """The moment (UTC) at which clocks in *zone* show *at* on *day*.

    An hour that comes twice is its first time; one that clocks skip is the moment they skip it, so that a window is
    never longer on the clock than it was written.
    """
    local = dt.datetime.combine(day, at, zone)
    found = local.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return found
    before, after = local.replace(fold=1).astimezone(UTC), found  # around the gap
    offset = after.astimezone(zone).utcoffset()
    while after - before > dt.timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return (after + dt.timedelta(microseconds=999_999)).replace(microsecond=0)


def open_spans(
    windows: Iterable[Window], start: dt.datetime, end: dt.datetime, overrides: Iterable[Override] = ()
) -> list[Span]:
    """The windows as instants between *start* and *end*, sorted, touching ones joined.

    Local times are resolved per date, so a window keeps its wall-clock hours through daylight-saving changes. A date
    with overrides has their hours and no others.
    """
    spans: list[Span] = []

    def add(day: dt.date, starts: dt.time, ends: dt.time, zone: ZoneInfo) -> None:
        opens, closes = instant(day, starts, zone), instant(day, ends, zone)
        if opens < closes and opens < end and closes > start:
            spans.append((opens, closes))

    dated = list(overrides)
    replaced = {o.day for o in dated}
    for window in windows:
        zone = ZoneInfo(window.zone)
        day = start.astimezone(zone).date()
        last = end.astimezone(zone).date()
        while day <= last:
            if day.weekday() == window.weekday and day not in replaced:
                add(day, window.starts, window.ends, zone)
            day += dt.timedelta(days=1)
    for one in dated:
        if one.starts is not None and one.ends is not None:
            add(one.day, one.starts, one.ends, ZoneInfo(one.zone))
    joined: list[Span] = []
    for opens, closes in sorted(spans):
        if joined and opens <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], closes))
        else:
            joined.append((opens, closes))
    return joined


def bookable(
    windows: Sequence[Window],
    start: dt.datetime,
    minutes: int,
    now: dt.datetime,
    overrides: Sequence[Override] = (),
) -> bool:
    """Whether a session of *minutes* may start at *start*: on a full minute, inside the windows, within a year from now."""
    if not now < start < now + HORIZON or start.second or start.microsecond:
        return False
    end = start + dt.timedelta(minutes=minutes)
    return any(
        opens <= start and end <= closes for opens, closes in open_spans(windows, start, end, overrides)
    )


def slots(
    windows: Sequence[Window],
    busy: Sequence[Span],
    start: dt.datetime,
    end: dt.datetime,
    minutes: int,
    now: dt.datetime,
    overrides: Sequence[Override] = (),
) -> list[Span]:
    """Sessions of *minutes* offered between *start* and *end*: back to back in each window, leaving out *busy*."""
    length = dt.timedelta(minutes=minutes)
    taken = sorted(busy)
    found: list[Span] = []
    for opens, closes in open_spans(windows, start, end, overrides):
        at = opens
        while at + length <= closes:
            clash = next((b for b in taken if b[0] < at + length and b[1] > at), None)
            if clash is None:
                if now < at < now + HORIZON and start <= at < end:
                    found.append((at, at + length))
                at += length
            else:  # stay on the window's grid: skip the sessions that the claim touches
                steps = max(1, -(-(clash[1] - at) // length))
                at += steps * length
    return found
