"""Reading the audit log: the feed for operators, the log for inspection (chapter 1, 1.5 and 1.7; chapter 3, 3.4)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select, tuple_
from sqlalchemy.orm import Session, joinedload

from app.models import AuditCategory, AuditLog, User

MONEY = (AuditCategory.WALLET, AuditCategory.INVOICE, AuditCategory.PAYOUT, AuditCategory.CONTRACT)
ECHOES = ("WALLET_DEBITED",)  # audited beside BOOKING_CONFIRMED; a feed tells one story once
Position = tuple[dt.datetime, int]


@dataclass(frozen=True)
class Wanted:
    """What a reader asks of the log; *until* is exclusive, *actor* part of a name or an address."""

    category: AuditCategory | None = None
    action: str = ""
    actor: str = ""
    q: str = ""
    since: dt.datetime | None = None
    until: dt.datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        out: list[ColumnElement[bool]] = []
        if self.category is not None:
            out.append(AuditLog.category == self.category)
        if self.action:
            out.append(AuditLog.action == self.action.upper())
        if self.actor:
            named = or_(
                User.first_name.icontains(self.actor, autoescape=True),
                User.last_name.icontains(self.actor, autoescape=True),
                (User.first_name + " " + User.last_name).icontains(self.actor, autoescape=True),
                User.email == self.actor.lower(),
            )
            out.append(AuditLog.actor_user_id.in_(select(User.id).where(named)))
        if self.q:
            out.append(
                or_(
                    AuditLog.description.icontains(self.q, autoescape=True),
                    AuditLog.action.icontains(self.q, autoescape=True),
                )
            )
        if self.since is not None:
            out.append(AuditLog.created_at >= self.since)
        if self.until is not None:
            out.append(AuditLog.created_at < self.until)
        return out


EVERYTHING = Wanted()


def _statement(wanted: Wanted, *, money: bool) -> Select[Any]:
    statement = select(AuditLog).options(joinedload(AuditLog.actor)).where(*wanted.conditions())
    if not money:
        statement = statement.where(AuditLog.category.not_in(MONEY))
    return statement.order_by(AuditLog.created_at.desc(), AuditLog.id.desc())


def log(
    session: Session,
    wanted: Wanted = EVERYTHING,
    *,
    money: bool,
    limit: int = 50,
    after: Position | None = None,
) -> list[AuditLog]:
    """Entries of the organisation acted for with their actors, latest first; *money* False leaves out its categories.

    *after* is (created_at, id) of the last one seen.
    """
    statement = _statement(wanted, money=money)
    if after is not None:
        statement = statement.where(tuple_(AuditLog.created_at, AuditLog.id) < after)
    return list(session.scalars(statement.limit(limit)))


def feed(
    session: Session,
    wanted: Wanted = EVERYTHING,
    *,
    money: bool,
    limit: int = 50,
    after: Position | None = None,
) -> list[AuditLog]:
    """The log as people tell it: a booking is one event, however many entries it wrote."""
    statement = _statement(wanted, money=money).where(AuditLog.action.not_in(ECHOES))
    if after is not None:
        statement = statement.where(tuple_(AuditLog.created_at, AuditLog.id) < after)
    return list(session.scalars(statement.limit(limit)))


def plain_details(row: AuditLog, *, money: bool) -> dict[str, Any]:
    """An entry's details; without *money* no amount, whatever the category."""
    return row.details if money else _without_amounts(row.details)


def _without_amounts(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_amounts(v) for k, v in value.items() if not str(k).endswith("_paise")}
    return value
