"""A booking as an iCalendar file (RFC 5545): one VEVENT for each time, UTC, folded lines, CRLF.

Each VEVENT keeps its UID for ever; SEQUENCE counts how often the booking was moved, so that a calendar replaces what it
has (RFC 5546, 2.1.5). A cancelled booking is a CANCEL, which takes it out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from app.models import Appointment, AppointmentStatus

Times = Sequence[tuple[str, dt.datetime, dt.datetime]]  # (part of the UID, start, end)
GONE = (AppointmentStatus.CANCELLED, AppointmentStatus.EXPIRED)


def ics(row: Appointment, times: Times, base_url: str, now: dt.datetime) -> str:
    """The file of *row*, whose people are loaded, at *times* (its own where empty)."""
    gone = row.status in GONE
    head = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Consilium//Bookings//EN",
        "CALSCALE:GREGORIAN",
        f"METHOD:{'CANCEL' if gone else 'PUBLISH'}",
    ]
    status = (
        "CANCELLED" if gone else "TENTATIVE" if row.status == AppointmentStatus.TENTATIVE else "CONFIRMED"
    )
    lines = list(head)
    for part, starts, ends in times or [("", row.starts_at, row.ends_at)]:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{row.public_id}{'-' + part if part else ''}@consilium",
            f"DTSTAMP:{_stamp(now)}",
            f"SEQUENCE:{row.sequence + (1 if gone else 0)}",
            f"DTSTART:{_stamp(starts)}",
            f"DTEND:{_stamp(ends)}",
            f"SUMMARY:{_escape(row.title)}",
            f"DESCRIPTION:{_escape(f'{row.expert_user.name} with {row.learner.name}')}",
            f"URL:{base_url}/dashboard/appointments/{row.public_id}",
            f"STATUS:{status}",
            "END:VEVENT",
        ]
    lines.append("END:VCALENDAR")
    return "".join(_fold(line) + "\r\n" for line in lines)


def _stamp(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ")


def _escape(value: str) -> str:
    """TEXT of RFC 5545, 3.3.11."""
    return (
        value.replace("\\", "\\\\")
        .replace(";", "\\;")
        .replace(",", "\\,")
        .replace("\r", "")
        .replace("\n", "\\n")
    )


def _fold(line: str) -> str:
    """Lines longer than 75 octets continue on the next, after a space (RFC 5545, 3.1)."""
    out, octets = "", 0
    for char in line:
        size = len(char.encode())
        if octets + size > 75:
            out, octets = out + "\r\n ", 1
        out, octets = out + char, octets + size
    return out
