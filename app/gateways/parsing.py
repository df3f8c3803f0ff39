"""Reading what a provider sends: whole amounts, short texts, flat notes. Anything else is a ValueError."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any


def load(body: bytes) -> dict[str, Any]:
    """The JSON object in *body*. Raises ValueError."""
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("not an object")
    return data


def mapping(value: Any, what: str) -> dict[str, Any]:
    """*value* as an object. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is missing")
    return value


def paise(value: Any) -> int | None:
    """A whole amount or None. Raises ValueError for a fraction, a truth value or a text that is no number."""
    if value is None:
        return None
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("not an amount")
    return int(value)


def short(value: Any, length: int = 80) -> str:
    """A text of at most *length* characters; nothing becomes the empty text."""
    return str(value)[:length] if value is not None else ""


def notes(value: Any) -> dict[str, str]:
    """Notes as texts; providers send an empty list where there are none."""
    if not isinstance(value, dict):
        return {}
    return {str(k)[:60]: str(v)[:300] for k, v in list(value.items())[:30]}


def instant(value: Any) -> dt.datetime | None:
    """Seconds since 1970 as a moment, or None."""
    seconds = paise(value)
    return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds else None
