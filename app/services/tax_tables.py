"""The dated tables of chapter 4: what was in force on a day, and how ADMIN changes them.

A change never overwrites: it closes the row in force and inserts the next one, with a reason in ``tax_change``. What a
document used stays frozen on the document.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import Currency, FxRate, TaxChange, TaxParameter, TaxRate, TaxState, TaxTable
from app.security.context import ctx
from app.services.text import one_line

FX_AGE = dt.timedelta(days=7)  # an older rate is no rate
MICROS = 1_000_000
_PATTERNS = {
    "paise": r"\d{1,18}",
    "days": r"\d{1,4}",
    "hours": r"\d{1,4}",
    # a day of every year: 29 February would be missing in most
    "month-day": r"(0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8])",
    "SAC": r"\d{6}",
    "flag": r"[01]",
    "bps": r"\d{1,5}",
}


@dataclass(frozen=True)
class Rate:
    """A service's rate as a document freezes it. *row* is the table's public id."""

    sac: str
    bps: int
    exempt: bool
    input_credit: bool
    description: str
    row: str


@dataclass(frozen=True)
class State:
    """A state or territory. *row* is the table's public id."""

    code: str
    name: str
    union_territory: bool
    row: str


@dataclass(frozen=True)
class Fx:
    """Rupees for one unit, millionths, and the day they were published for."""

    micros: int
    on: dt.date
    row: str

    def paise(self, hundredths: int) -> int:
        """*hundredths* of the currency in paise, half-up."""
        return (hundredths * self.micros + MICROS // 2) // MICROS


_RUN = "tax_tables"
_T = TypeVar("_T")


@contextmanager
def read_once(session: Session) -> Iterator[None]:
    """Inside it parameters, rates and states are read once a day and key: for a run that writes many documents, all of which
    then use what was in force when the run first asked."""
    session.info[_RUN] = {}
    try:
        yield
    finally:
        session.info.pop(_RUN, None)


def _once(session: Session, key: tuple[str, str, dt.date], read: Callable[[], _T]) -> _T:
    known: dict[Any, _T] | None = session.info.get(_RUN)
    if known is None:
        return read()
    if key not in known:
        known[key] = read()
    return known[key]


def _in_force(model: Any, on: dt.date) -> Any:
    return (model.valid_from <= on) & or_(model.valid_to.is_(None), model.valid_to > on)


def parameter(session: Session, key: str, on: dt.date | None = None) -> str:
    """The value of *key* on a day. Raises KeyError for a key that the tables do not hold: a defect."""
    day = on or clock.today_ist()
    value = _once(
        session,
        ("parameter", key, day),
        lambda: session.scalar(
            select(TaxParameter.value).where(TaxParameter.key == key, _in_force(TaxParameter, day))
        ),
    )
    if value is None:
        raise KeyError(key)
    return str(value)


def number(session: Session, key: str, on: dt.date | None = None) -> int:
    """A parameter that is a number."""
    return int(parameter(session, key, on))


def lut(session: Session, on: dt.date) -> str | None:
    """The letter of undertaking in force on a day; None where exports are made with payment of IGST."""
    if parameter(session, "EXPORT_UNDER_LUT", on) != "1":
        return None
    try:
        return parameter(session, "LUT_ARN", on) or None
    except KeyError:
        return None


def rate(session: Session, sac: str | None, on: dt.date) -> Rate:
    """The rate of *sac* (default: the default service) on a day. Raises Invalid for a SAC the table does not hold."""
    code = sac or parameter(session, "DEFAULT_SAC", on)
    found = _once(session, ("rate", code, on), lambda: _rate(session, code, on))
    if found is None:
        raise Invalid({"sac": [f"There is no rate for {code} on {on:%d %B %Y}."]})
    return found


def _rate(session: Session, code: str, on: dt.date) -> Rate | None:
    row = session.scalars(select(TaxRate).where(TaxRate.sac == code, _in_force(TaxRate, on))).one_or_none()
    if row is None:
        return None
    return Rate(row.sac, row.rate_bps, row.exempt, row.input_credit, row.description, str(row.public_id))


def states(session: Session, on: dt.date | None = None) -> dict[str, State]:
    """States and territories in force on a day, by code."""
    day = on or clock.today_ist()
    return _once(session, ("states", "", day), lambda: _states(session, day))


def _states(session: Session, on: dt.date) -> dict[str, State]:
    rows = session.execute(
        select(TaxState.code, TaxState.name, TaxState.union_territory, TaxState.public_id)
        .where(_in_force(TaxState, on))
        .order_by(TaxState.code)
    )
    return {r.code: State(r.code, r.name, r.union_territory, str(r.public_id)) for r in rows}


def fx(session: Session, currency: Currency, on: dt.date) -> Fx:
    """The exchange rate for a document of a day: the latest of the last seven days. Raises FX_RATE_MISSING."""
    row = session.scalars(
        select(FxRate)
        .where(FxRate.currency == currency, FxRate.on_date <= on, FxRate.on_date > on - FX_AGE)
        .order_by(FxRate.on_date.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        raise DomainError("FX_RATE_MISSING", currency=currency.value, on=on.isoformat())
    return Fx(row.rate_micros, row.on_date, str(row.public_id))


# ---- changes ---------------------------------------------------------------------------------------------------------


def _reason(text_: str) -> str:
    why = one_line(text_ or "")
    if not 3 <= len(why) <= 300:
        raise Invalid({"reason": ["Say why, in 3 to 300 characters: it is kept with the change."]})
    return why


def _admin() -> int | None:
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    return ctx().user_id


def _from(day: dt.date | None) -> dt.date:
    start = day or clock.today_ist()
    if not dt.date(2017, 7, 1) <= start <= clock.today_ist() + dt.timedelta(days=3650):
        raise Invalid({"valid_from": ["Choose a day from 1 July 2017 to ten years ahead."]})
    return start


def _shown(row: Any) -> dict[str, Any]:
    hidden = {"id", "public_id", "created_at", "created_by_user_id"}
    return {
        c.name: v.isoformat() if isinstance(v := getattr(row, c.name), dt.date) else v
        for c in row.__table__.columns
        if c.name not in hidden
    }


def _replace(session: Session, table: TaxTable, key: str, column: Any, new: Any, reason: str) -> Any:
    """Close the row of *key* that is in force when *new* begins, insert *new* until the next one begins."""
    model = type(new)
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:k))"), {"k": f"tax:{table.value}:{key}"})
    day = new.valid_from
    current = session.scalars(select(model).where(column == key, _in_force(model, day))).one_or_none()
    following = session.scalar(
        select(model.valid_from)
        .where(column == key, model.valid_from > day)
        .order_by(model.valid_from)
        .limit(1)
    )
    before = _shown(current) if current is not None else {}
    if current is not None and current.valid_from == day:
        raise Invalid(
            {"valid_from": ["A row of that day exists already; choose the next day, or a later one."]}
        )
    if current is not None:
        session.execute(
            update(model)
            .where(model.id == current.id)
            .values(valid_to=day)
            .execution_options(synchronize_session=False)
        )
    new.valid_to = following
    session.add(new)
    try:
        session.flush()
    except IntegrityError:
        raise DomainError("CONFLICT") from None
    _log(session, table, key, before, _shown(new), reason)
    return new


def _log(
    session: Session, table: TaxTable, key: str, before: dict[str, Any], after: dict[str, Any], reason: str
) -> None:
    session.add(
        TaxChange(
            tax_table=table,
            key=key,
            before=before,
            after=after,
            reason=reason,
            changed_by_user_id=ctx().user_id,
        )
    )
    session.flush()


def set_rate(session: Session, values: dict[str, Any], reason: str) -> TaxRate:
    """A new rate of a SAC from a day on. Raises INSUFFICIENT_ROLE, Invalid."""
    who, why = _admin(), _reason(reason)
    problems: dict[str, list[str]] = {}
    sac, bps = str(values.get("sac", "")).strip(), values.get("rate_bps")
    if not re.fullmatch(r"\d{6}", sac):
        problems["sac"] = ["A SAC has six digits."]
    if not isinstance(bps, int) or isinstance(bps, bool) or not 0 <= bps <= 10_000:
        problems["rate_bps"] = ["Between 0 and 10000 basis points."]
    description = one_line(str(values.get("description", "")))
    if not 3 <= len(description) <= 200:
        problems["description"] = ["Use 3 to 200 characters."]
    exempt = bool(values.get("exempt"))
    if exempt and bps:
        problems["exempt"] = ["An exempt service has no rate."]
    if problems:
        raise Invalid(problems)
    new = TaxRate(
        sac=sac,
        description=description,
        rate_bps=bps,
        exempt=exempt,
        input_credit=bool(values.get("input_credit", True)),
        valid_from=_from(values.get("valid_from")),
        note=one_line(str(values.get("note", "")))[:300],
        created_by_user_id=who,
    )
    return _replace(session, TaxTable.RATE, sac, TaxRate.sac, new, why)  # type: ignore[no-any-return]


def set_parameter(session: Session, values: dict[str, Any], reason: str) -> TaxParameter:
    """A new value of a known parameter from a day on. Raises INSUFFICIENT_ROLE, Invalid."""
    who, why = _admin(), _reason(reason)
    key, value = str(values.get("key", "")), one_line(str(values.get("value", "")))
    known = session.scalars(
        select(TaxParameter).where(TaxParameter.key == key).order_by(TaxParameter.valid_from.desc()).limit(1)
    ).one_or_none()
    if known is None:
        raise Invalid({"key": ["There is no such parameter."]})
    pattern = _PATTERNS.get(known.unit, r".{1,200}")
    if not re.fullmatch(pattern, value):
        raise Invalid({"value": [f"This is not a value in {known.unit}."]})
    new = TaxParameter(
        key=key,
        value=value,
        unit=known.unit,
        valid_from=_from(values.get("valid_from")),
        note=one_line(str(values.get("note", "") or known.note))[:300],
        created_by_user_id=who,
    )
    return _replace(session, TaxTable.PARAMETER, key, TaxParameter.key, new, why)  # type: ignore[no-any-return]


def set_state(session: Session, values: dict[str, Any], reason: str) -> TaxState:
    """A state's name and local head from a day on (a new code, a merger, a renaming). Raises INSUFFICIENT_ROLE, Invalid."""
    who, why = _admin(), _reason(reason)
    code, name = str(values.get("code", "")), one_line(str(values.get("name", "")))
    problems = {}
    if not re.fullmatch(r"\d{2}", code):
        problems["code"] = ["A state's code has two digits."]
    if not 2 <= len(name) <= 80:
        problems["name"] = ["Use 2 to 80 characters."]
    if problems:
        raise Invalid(problems)
    new = TaxState(
        code=code,
        name=name,
        union_territory=bool(values.get("union_territory")),
        valid_from=_from(values.get("valid_from")),
        note=one_line(str(values.get("note", "")))[:300],
        created_by_user_id=who,
    )
    return _replace(session, TaxTable.STATE, code, TaxState.code, new, why)  # type: ignore[no-any-return]


def add_fx(session: Session, values: dict[str, Any], reason: str) -> FxRate:
    """The exchange rate of a day, once. Raises INSUFFICIENT_ROLE, Invalid, CONFLICT (the day has one)."""
    who, why = _admin(), _reason(reason)
    problems: dict[str, list[str]] = {}
    try:
        currency = Currency(str(values.get("currency", "")))
        if currency == Currency.INR:
            raise ValueError
    except ValueError:
        currency, problems["currency"] = Currency.USD, ["Choose USD, EUR or GBP."]
    micros = values.get("rate_micros")
    if not isinstance(micros, int) or isinstance(micros, bool) or not 0 < micros <= 10**12:
        problems["rate_micros"] = ["Rupees for one unit in millionths: 84.5 is 84500000."]
    day = values.get("on_date") or clock.today_ist()
    if day > clock.today_ist():
        problems["on_date"] = ["Rates are known for today and earlier days."]
    if problems:
        raise Invalid(problems)
    made = session.execute(
        insert(FxRate)
        .values(
            currency=currency,
            on_date=day,
            rate_micros=micros,
            source=one_line(str(values.get("source", "")))[:100],
            created_by_user_id=who,
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["currency", "on_date"])
        .returning(FxRate.id)
    ).scalar()
    if made is None:
        raise DomainError("CONFLICT", message="This day has a rate already.")
    row = session.get_one(FxRate, made)
    _log(session, TaxTable.FX, f"{currency.value} {day}", {}, _shown(row) | {"currency": currency.value}, why)
    return row


def listed(session: Session) -> dict[str, list[Any]]:
    """Everything for ADMIN's page: every table, the row in force first, and the latest changes."""
    return {
        "rates": list(session.scalars(select(TaxRate).order_by(TaxRate.sac, TaxRate.valid_from.desc()))),
        "parameters": list(
            session.scalars(select(TaxParameter).order_by(TaxParameter.key, TaxParameter.valid_from.desc()))
        ),
        "states": list(session.scalars(select(TaxState).order_by(TaxState.code, TaxState.valid_from.desc()))),
        "fx": list(
            session.scalars(select(FxRate).order_by(FxRate.on_date.desc(), FxRate.currency).limit(60))
        ),
        "changes": list(session.scalars(select(TaxChange).order_by(TaxChange.id.desc()).limit(100))),
    }
