"""How values are shown: rupees, shares, dates as people in India say them. Pure functions, no Flask."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import re
import uuid
from typing import Any
from zoneinfo import ZoneInfo

from app import clock
from app.schema import enums
from app.services.text import group, money

MINUS = "\u2212"
NONE = "—"
ACRONYMS = {
    "po": "PO",
    "gst": "GST",
    "gstin": "GSTIN",
    "tds": "TDS",
    "sso": "SSO",
    "scim": "SCIM",
    "saml": "SAML",
    "oidc": "OIDC",
    "id": "ID",
    "url": "URL",
    "api": "API",
    "irn": "IRN",
    "org": "organisation",
    "license": "licence",  # the noun, as India spells it
    "hsn": "HSN",
    "msme": "MSME",
    "pan": "PAN",
    "kyb": "KYB",
    "csv": "CSV",
    "pdf": "PDF",
    "dns": "DNS",
    "ip": "IP",
    "utr": "UTR",
    "topup": "top-up",
}


def short_money(paise: int | None) -> str:
    """Paise for a tile: ₹950, ₹24,500, ₹2.4 L, ₹1.18 Cr (rounded half up, never a float)."""
    if paise is None:
        return NONE
    lead, p = (MINUS if paise < 0 else ""), abs(int(paise))
    if p >= 10**9:  # one crore rupees is 10^9 paise
        return f"{lead}₹{_trim(p, 10**9, 2)} Cr"
    if p >= 10**7:  # one lakh rupees is 10^7 paise
        if _scaled(p, 10**7, 1) >= 1000:
            return f"{lead}₹1 Cr"
        return f"{lead}₹{_trim(p, 10**7, 1)} L"
    return f"{lead}₹{group((p + 50) // 100)}"


def _scaled(value: int, unit: int, digits: int) -> int:
    return (value * 10**digits + unit // 2) // unit


def _trim(value: int, unit: int, digits: int) -> str:
    whole, rest = divmod(_scaled(value, unit, digits), 10**digits)
    tail = f"{rest:0{digits}d}".rstrip("0")
    return group(whole) + (f".{tail}" if tail else "")


def rupees(paise: int | None) -> str:
    """Paise as a plain decimal for files and inputs: 11800050 -> 118000.50; None -> empty."""
    if paise is None:
        return ""
    whole, rest = divmod(abs(int(paise)), 100)
    return f"{'-' if paise < 0 else ''}{whole}.{rest:02d}"


def bps(value: int | None) -> str:
    """Basis points as a share: 1000 -> 10 %, 1250 -> 12.5 %."""
    if value is None:
        return NONE
    whole, rest = divmod(abs(int(value)), 100)
    tail = f"{rest:02d}".rstrip("0")
    return f"{MINUS if value < 0 else ''}{whole}{'.' + tail if tail else ''} %"


def number(value: int | None) -> str:
    """A whole number in Indian grouping, with U+2212 when negative."""
    return NONE if value is None else (MINUS if value < 0 else "") + group(abs(int(value)))


SPECIAL = {  # what spelling alone would garble
    "SMALL_1_50": "1–50 people",
    "MEDIUM_51_200": "51–200 people",
    "LARGE_201_1000": "201–1,000 people",
    "ENTERPRISE_1000_PLUS": "More than 1,000 people",
    "LICENSE": "Licence",
    "LICENSED_SEAT": "Licensed seat",
}


def words(value: Any) -> str:
    """PENDING_VERIFICATION -> Pending verification; known acronyms stay upper case."""
    s = str(value.value if isinstance(value, enum.Enum) else value)
    if s in SPECIAL:
        return SPECIAL[s]
    s = s.replace("_", " ").replace(".", " ").replace("rganization", "rganisation").strip()
    if not s:
        return NONE
    parts = [ACRONYMS.get(w.lower(), w.lower()) for w in s.split()]
    return parts[0][:1].upper() + parts[0][1:] + "".join(" " + p for p in parts[1:])


def plural(noun: str) -> str:
    """Several of a noun: Program -> Programs, Ledger entry -> Ledger entries; already plural stays."""
    if noun.endswith("s"):
        return noun
    if noun.endswith(("ch", "sh", "x")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else noun + "s"


def label(column: str) -> str:
    """A column's heading: total_paise -> Total, fee_bps -> Fee, created_at -> Created, user_id -> User."""
    if column in ("id", "public_id"):
        return "ID"
    return words(re.sub(r"_(paise|bps|at|on|id)$", "", column.replace(".", " ")) or column)


def local(value: dt.datetime, zone: dt.tzinfo = clock.IST) -> dt.datetime:
    """*value* in *zone*; a naive value is taken as UTC."""
    return (value if value.tzinfo else value.replace(tzinfo=clock.UTC)).astimezone(zone)


def date(value: dt.date | None) -> str:
    """23 Nov 2026."""
    return NONE if value is None else f"{value.day} {value:%b %Y}"


def moment(value: dt.datetime | None, zone: dt.tzinfo = clock.IST) -> str:
    """today 14:05, yesterday 09:10, 21 Nov 18:30 (this year), 3 Mar 2025."""
    if value is None:
        return NONE
    here, today = local(value, zone), local(clock.now(), zone).date()
    days = (today - here.date()).days
    if days == 0:
        return f"today {here:%H:%M}"
    if days == 1:
        return f"yesterday {here:%H:%M}"
    if days == -1:
        return f"tomorrow {here:%H:%M}"
    return f"{here.day} {here:%b %H:%M}" if here.year == today.year else date(here.date())


def exact(value: dt.datetime, zone: dt.tzinfo = clock.IST) -> str:
    """ISO 8601 with offset, to the second: the title of every shown moment."""
    return local(value, zone).isoformat(sep=" ", timespec="seconds")


def ago(value: dt.datetime | None) -> str:
    """just now, 5 min ago, 3 h ago, 2 days ago; in 3 h for the future."""
    if value is None:
        return NONE
    seconds = int(
        (clock.now() - (value if value.tzinfo else value.replace(tzinfo=clock.UTC))).total_seconds()
    )
    future, seconds = seconds < 0, abs(seconds)
    for size, one, many in ((86400, "day", "days"), (3600, "h", "h"), (60, "min", "min")):
        if seconds >= size:
            n = seconds // size
            text = f"{n} {one if n == 1 else many}"
            return f"in {text}" if future else f"{text} ago"
    return "just now"


def size(value: int | None) -> str:
    """Bytes for people: 900 B, 12 kB, 3.4 MB."""
    if value is None:
        return NONE
    for unit, power in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= power:
            return f"{_trim(value, power, 1)} {unit}"
    return f"{value} B"


def initials(name: Any) -> str:
    """Up to two letters for a tile or an avatar."""
    p = [w for w in re.split(r"[\s\-_.@]+", str(name or "")) if w]
    return (p[0][0] + (p[1][0] if len(p) > 1 else "")).upper() if p else "?"


# columns of plain text that hold one of a few words
SPOKEN = frozenset({"kind", "trigger", "transport", "topic", "gateway", "method", "scope", "platform_role"})


def kind_of(column: str, python_type: Any = None) -> str | None:
    """The kind a column has when nobody says: from its name first, then its type."""
    if column.endswith("_paise"):
        return "money"
    if column.endswith("_bps"):
        return "bps"
    if column in ("status", "state", "severity"):
        return "status"
    if column in SPOKEN:
        return "tag"
    if column == "public_id":
        return "id"
    if column.endswith("_bytes"):
        return "size"
    if isinstance(python_type, type):
        if issubclass(python_type, enum.Enum):
            return "tag"
        if issubclass(python_type, bool):
            return "bool"
        if issubclass(python_type, dt.datetime):
            return "datetime"
        if issubclass(python_type, dt.date):
            return "date"
        if issubclass(python_type, int):
            return "number"
        if issubclass(python_type, uuid.UUID):
            return "id"
        if issubclass(python_type, (dict, list)):
            return "json"
    return None


NUMERIC_KINDS = frozenset({"money", "signed_money", "number", "bps", "size"})


def fmt(value: Any, kind: str | None = None, zone: dt.tzinfo = clock.IST) -> str:
    """Any value as text, by *kind* (money, short_money, bps, number, date, datetime, ago, status, tag, size, bool)."""
    if value is None or value == "":
        return NONE
    if kind == "money":
        return money(value)
    if kind == "signed_money":
        return money(value, sign=True)
    if kind == "short_money":
        return short_money(value)
    if kind == "bps":
        return bps(value)
    if kind == "size":
        return size(value)
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if kind == "number" and isinstance(value, int):
        return number(value)
    if kind == "date" and isinstance(value, str):
        value = dt.datetime.fromisoformat(value)  # as services and JSON write it
    if kind in ("tag", "status", "words") or isinstance(value, enum.Enum):
        return words(value)
    if isinstance(value, dt.datetime):
        return (
            ago(value)
            if kind == "ago"
            else date(local(value, zone).date())
            if kind == "date"
            else moment(value, zone)
        )
    if isinstance(value, dt.date):
        return date(value)
    if isinstance(value, dt.timedelta):
        minutes = int(value.total_seconds() // 60)
        return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(str(v) for v in value) or NONE
    return str(value)


def kept(name: str, value: Any) -> str:
    """A value kept in JSON under a column's name, as its page would show it.

    JSON has no dates and no enumerations: texts that are a day, a moment or a state's name become that again.
    """
    if isinstance(value, list):
        return ", ".join(kept(name, one) for one in value) or NONE
    kind = kind_of(name)
    if isinstance(value, str) and not value.isdigit():
        if value in spoken():
            return words(value)
        try:
            return fmt(dt.date.fromisoformat(value) if len(value) == 10 else dt.datetime.fromisoformat(value))
        except ValueError:
            return fmt(value, kind if kind in ("status", "tag") else None)
    return fmt(value, kind)


@functools.cache
def spoken() -> frozenset[str]:
    """Every name of a state or kind; currencies stay as people write them."""
    return frozenset(
        member.value
        for group in vars(enums).values()
        if isinstance(group, type)
        and issubclass(group, enum.StrEnum)
        and group not in (enums.Currency, enum.StrEnum)
        for member in group
    )


def zone_named(name: str | None) -> dt.tzinfo:
    """The zone called *name*, or Asia/Kolkata when it is unknown or empty."""
    try:
        return ZoneInfo(name) if name else clock.IST
    except (KeyError, ValueError, OSError):
        return clock.IST


TONES = {
    "ok": [
        "ACTIVE",
        "PAID",
        "VERIFIED",
        "SUCCEEDED",
        "SUCCESS",
        "COMPLETED",
        "ACCEPTED",
        "DELIVERED",
        "SETTLED",
        "READY",
        "APPROVED",
        "CAPTURED",
        "MATCHED",
        "ENABLED",
        "SENT",
        "CLEAN",
        "DONE",
        "FINISHED",
        "POSTED",
        "AVAILABLE",
        "CREDITED",
        "RELEASED",
        "HEALTHY",
        "RESOLVED",
        "WON",
        "ISSUED",
    ],
    "warn": [
        "PENDING",
        "PENDING_VERIFICATION",
        "HELD",
        "EXPIRING",
        "PAUSED",
        "PARTIAL",
        "PARTIALLY_PAID",
        "RETRYING",
        "ON_HOLD",
        "WARNING",
        "DUE",
        "UNVERIFIED",
        "REQUESTED",
        "AWAITING_PAYMENT",
        "PENDING_APPROVAL",
        "UNDER_REVIEW",
        "DEGRADED",
        "QUEUED",
        "DEFERRED",
    ],
    "bad": [
        "SUSPENDED",
        "REJECTED",
        "FAILED",
        "OVERDUE",
        "ERROR",
        "DEAD",
        "DISPUTED",
        "CRITICAL",
        "BLOCKED",
        "UNCOLLECTIBLE",
        "LOST",
        "BREACHED",
        "MISMATCHED",
        "HIGH",
        "EXHAUSTED",
        "BOUNCED",
        "DEAD_LETTER",
    ],
    "info": [
        "OPEN",
        "SCHEDULED",
        "CONFIRMED",
        "RUNNING",
        "PROCESSING",
        "IN_PROGRESS",
        "INVITED",
        "STARTED",
        "INFO",
        "TRIAL",
        "NEW",
        "SUBMITTED",
        "CREATED",
        "AUTHORIZED",
        "BOOKED",
    ],
}
TONE_OF = {status: tone for tone, names in TONES.items() for status in names}


def tone(value: Any) -> str:
    """Colour family of a status: ok, warn, bad, info or mute."""
    return TONE_OF.get(str(value.value if isinstance(value, enum.Enum) else value).upper(), "mute")
