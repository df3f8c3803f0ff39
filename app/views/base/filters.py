"""What a list can be filtered by: per kind of column a row of operations, safe against any value a URL may carry."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from flask_appbuilder.models.filters import BaseFilterConverter
from sqlalchemy import (
    Boolean,
    Date,
    DateTime,
    Enum,
    Integer,
    Numeric,
    String,
    Text,
    Uuid,
    cast,
    false,
    select,
)
from sqlalchemy.sql import ColumnElement

from app import clock

BIGINT_MAX = 2**63 - 1
Clause = ColumnElement[bool]


class Unusable(ValueError):
    """The value cannot mean anything for this column; the filter then matches nothing."""


@dataclass(frozen=True)
class Op:
    """One operation: *key* for REST, *label* for people, *clause* of a column and a converted value."""

    key: str
    label: str
    clause: Callable[[Any, Any], Clause]
    valued: bool = True


def like(text: str) -> str:
    """*text* with LIKE's wildcards escaped (escape character: backslash)."""
    return text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


_EQ = Op("eq", "is", lambda c, v: c == v)
_NE = Op("ne", "is not", lambda c, v: c.is_distinct_from(v))
_EMPTY = Op("empty", "is empty", lambda c, v: c.is_(None), valued=False)
_SET = Op("set", "is filled in", lambda c, v: c.is_not(None), valued=False)
_TEXT = (
    Op("contains", "contains", lambda c, v: cast(c, String).ilike(f"%{like(v)}%")),
    _EQ,
    Op("starts", "starts with", lambda c, v: cast(c, String).ilike(f"{like(v)}%")),
    _NE,
    _EMPTY,
    _SET,
)
_NUMBER = (
    _EQ,
    Op("gte", "is at least", lambda c, v: c >= v),
    Op("lte", "is at most", lambda c, v: c <= v),
    _NE,
    _EMPTY,
    _SET,
)
_DATE = (Op("gte", "from", lambda c, v: c >= v), Op("lte", "to", lambda c, v: c <= v), _EQ, _EMPTY, _SET)
_DAY = dt.timedelta(days=1)
_MOMENT = (
    Op("gte", "from", lambda c, v: c >= v),
    Op("lte", "to", lambda c, v: c < v + _DAY),
    Op("eq", "on", lambda c, v: (c >= v) & (c < v + _DAY)),
    _EMPTY,
    _SET,
)
_CHOICE = (_EQ, _NE, _EMPTY, _SET)

OPS: dict[str, tuple[Op, ...]] = {
    "text": _TEXT,
    "number": _NUMBER,
    "money": _NUMBER,
    "bps": _NUMBER,
    "date": _DATE,
    "datetime": _MOMENT,
    "choice": _CHOICE,
    "bool": (_EQ,),
    "uuid": (_EQ,),
    "relation": _CHOICE,
}


def input_kind(name: str, column: Any) -> str | None:
    """Which row of OPS a mapped column takes; None when it cannot be filtered (JSON, arrays, bytes)."""
    kind = column.type
    if name.endswith("_paise"):
        return "money"
    if name.endswith("_bps"):
        return "bps"
    for sql, found in (
        (Boolean, "bool"),
        (Enum, "choice"),
        (DateTime, "datetime"),
        (Date, "date"),
        (Integer, "number"),
        (Numeric, "number"),
        (Uuid, "uuid"),
        (Text, "text"),
        (String, "text"),
    ):
        if isinstance(kind, sql):
            return found
    return None


def convert(kind: str, column: Any, raw: str, zone: dt.tzinfo = clock.IST) -> Any:
    """*raw* from a URL as a value for *column*; days mean days in *zone*.

    Raises Unusable when it cannot be one.
    """
    raw = raw.strip()
    try:
        if kind == "money":
            return bounded(int((Decimal(raw.replace(",", "").replace("₹", "")) * 100).to_integral_value()))
        if kind == "bps":
            return bounded(int((Decimal(raw.replace("%", "")) * 100).to_integral_value()))
        if kind == "number":
            return bounded(int(raw)) if isinstance(column.type, Integer) else Decimal(raw)
        if kind == "date":
            return dt.date.fromisoformat(raw[:10])
        if kind == "datetime":
            return dt.datetime.combine(dt.date.fromisoformat(raw[:10]), dt.time(), zone)
        if kind == "uuid":
            return uuid.UUID(raw)
    except (ValueError, InvalidOperation, OverflowError) as error:
        raise Unusable(raw) from error
    if kind == "bool":
        if raw.lower() in ("y", "yes", "true", "1"):
            return True
        if raw.lower() in ("n", "no", "false", "0"):
            return False
        raise Unusable(raw)
    if kind == "choice":
        if isinstance(column.type, Enum):
            for member in column.type.enum_class or ():
                if raw in (member.name, str(member.value)):
                    return member
            if column.type.enum_class is not None or raw not in column.type.enums:
                raise Unusable(raw)
        return raw
    if "\x00" in raw:
        raise Unusable(raw)
    return raw[:500]


def bounded(n: int) -> int:
    """*n* if a BIGINT holds it. Raises Unusable."""
    if abs(n) > BIGINT_MAX:
        raise Unusable(str(n))
    return n


def key_clause(model: Any, column: Any, op: Op, raw: str) -> Clause:
    """A relation filter: *column* of the filtering model against the row of *model* whose public id is *raw*."""
    if not op.valued:
        return op.clause(column, None)
    try:
        found = select(model.id).where(model.public_id == uuid.UUID(raw.strip())).scalar_subquery()
    except (ValueError, AttributeError):
        return false()
    return op.clause(column, found)


class NoFilters(BaseFilterConverter):
    """Flask-AppBuilder's own filters stay out of our lists: they raise on bad values and live on the shared view."""

    def convert(self, col_name: str) -> list[Any]:
        return []
