"""Periods that follow one another: cycles of places and licences (chapter 2, "Cycle engine"). Pure dates, ends inclusive."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterator

from app.models import Cycle

MONTHS = {Cycle.MONTHLY: 1, Cycle.QUARTERLY: 3, Cycle.ANNUAL: 12}
LAST = dt.date(2300, 1, 1)  # beyond lies the end of the calendar


def add_months(day: dt.date, months: int, anchor_day: int) -> dt.date:
    """The day *months* after *day*'s month that pins to *anchor_day* or, where a month is shorter, its last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return dt.date(year, month + 1, min(anchor_day, calendar.monthrange(year, month + 1)[1]))


def next_start(start: dt.date, cycle: Cycle, anchor_day: int) -> dt.date:
    """First day of the cycle after the one that begins on *start*: 31 January, 28 February, 31 March with anchor 31."""
    return add_months(start, MONTHS[cycle], anchor_day)


def last_day(
    start: dt.date, cycle: Cycle, anchor_day: int, until: dt.date | None = None
) -> tuple[dt.date, bool]:
    """(last day of the cycle that begins on *start*, whether *until* cut it short)."""
    end = next_start(start, cycle, anchor_day) - dt.timedelta(days=1)
    return (until, True) if until is not None and until < end else (end, False)


def days(start: dt.date, end: dt.date) -> int:
    """How many days a period has, both ends included."""
    return (end - start).days + 1


def by_days(amount: int, part: int, whole: int) -> int:
    """The share of *amount* (paise) that falls on *part* of *whole* days, floored."""
    return amount * part // whole


def same_length(start: dt.date, end: dt.date) -> tuple[dt.date, dt.date]:
    """The period that follows *start* to *end* and is as long: in whole months where it is so many, else in days."""
    follows = end + dt.timedelta(days=1)
    months = (follows.year - start.year) * 12 + follows.month - start.month
    if months > 0 and add_months(start, months, start.day) == follows:
        return follows, add_months(follows, months, start.day) - dt.timedelta(days=1)
    return follows, follows + dt.timedelta(days=days(start, end) - 1)


def each_day(start: dt.date, end: dt.date) -> Iterator[dt.date]:
    """Every day of a period."""
    return (start + dt.timedelta(days=n) for n in range(days(start, end)))
