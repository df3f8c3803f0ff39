"""The one source of "now": UTC, timezone-aware, movable in tests (chapter 3, test clock)."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

UTC = dt.UTC
IST = ZoneInfo("Asia/Kolkata")  # the business zone: months, financial years and invoice dates are Indian

_offset = dt.timedelta(0)


def now() -> dt.datetime:
    """Current time in UTC, plus the test clock's offset."""
    return dt.datetime.now(UTC) + _offset


def today_ist() -> dt.date:
    """Today's date in the business zone."""
    return now().astimezone(IST).date()


def zone(name: str) -> ZoneInfo:
    """The zone called *name*; India's where nobody knows it."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return IST


def set_offset(seconds: float) -> None:
    """Move the clock of this process by *seconds* against real time. Only the test endpoints call it."""
    global _offset
    _offset = dt.timedelta(seconds=seconds)


def offset_seconds() -> float:
    """The offset in force, seconds."""
    return _offset.total_seconds()
