"""Learners and experts of an organisation with what operators look at (chapter 1, 1.7), and one's own arrangement.

Every list is one page: a bounded number of queries whatever its length.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import or_, select, text, tuple_
from sqlalchemy.orm import Session, contains_eager, joinedload

from app import clock
from app.models import (
    Assignment,
    AssignmentStatus,
    ConsultantProfile,
    Membership,
    MembershipStatus,
    OrgRole,
    PoolScope,
    RateCard,
)
from app.security.context import ctx, current_org_id
from app.services import metering, people_search, spending, tax
from app.services.assignments import shared_use
from app.services.text import one_line

HERE = (MembershipStatus.PENDING, MembershipStatus.ACTIVE, MembershipStatus.SUSPENDED)


@dataclass(frozen=True)
class Place:
    """A place in a program: its name, until when, what is used and what there is, paise (None: no cap)."""

    program: str
    until: dt.date
    used_paise: int
    budget_paise: int | None


@dataclass(frozen=True)
class Learner:
    """A learner with live places and this month's spending, paise."""

    member: Membership
    places: list[Place]
    spent_paise: int


@dataclass(frozen=True)
class Expert:
    """An expert with the public profile and the coming sessions from this organisation's plans or money."""

    member: Membership
    profile: ConsultantProfile | None
    upcoming: int
    next_at: dt.datetime | None


@dataclass
class Found:
    """One page of a roster and whether more follow."""

    rows: list[Any] = field(default_factory=list)
    more: bool = False


def people(
    session: Session,
    *,
    role: OrgRole | None = None,
    statuses: Sequence[MembershipStatus] = HERE,
    q: str = "",
    department: str | None = None,
    by_email: bool = True,
    after: Any = None,
    limit: int = 25,
) -> tuple[list[Membership], bool]:
    """Members in alphabetical order, with the person, and whether more follow.

    *after* is the public id that closed the page before; *by_email* lets *q* look through addresses too.
    """
    among: list[Any] = [Membership.status.in_(statuses)]
    if role is not None:
        among.append(Membership.role == role)
    if department:
        among.append(Membership.department_label == department.replace("\x00", "")[:100])
    statement = (
        select(Membership)
        .join(Membership.user)
        .options(contains_eager(Membership.user))
        .where(*among)
        .order_by(Membership.name_key, Membership.id)
        .limit(limit + 1)
    )
    if wanted := one_line(q)[:100]:
        hits = people_search.matching(wanted, by_email=by_email, among=among)
        statement = statement.where(Membership.id.in_(hits))
    if after is not None:
        last = session.execute(
            select(Membership.name_key, Membership.id).where(Membership.public_id == after)
        ).one_or_none()
        if last is not None:
            statement = statement.where(tuple_(Membership.name_key, Membership.id) > tuple(last))
    rows = list(session.scalars(statement))
    return rows[:limit], len(rows) > limit


def learners(session: Session, **wanted: Any) -> Found:
    """A page of learners (arguments of ``people``) with their places and this month's spending."""
    members, more = people(session, role=OrgRole.LEARNER, **wanted)
    places = places_of(session, [m.id for m in members])
    spent = spending.this_month(session, [m.user_id for m in members])
    return Found([Learner(m, places.get(m.id, []), spent.get(m.user_id, 0)) for m in members], more)


def places_of(session: Session, membership_ids: Sequence[int]) -> dict[int, list[Place]]:
    """Live places in programs by membership, the one that ends first in front."""
    rows = session.scalars(
        select(Assignment)
        .where(
            Assignment.membership_id.in_(membership_ids),
            Assignment.status == AssignmentStatus.ACTIVE,
            Assignment.period_start <= clock.today_ist(),
            Assignment.period_end >= clock.today_ist(),
        )
        .options(joinedload(Assignment.program, innerjoin=True))
        .order_by(Assignment.period_end, Assignment.id)
    ).all()
    first = {a.program_id: a for a in rows if a.program.pool_scope == PoolScope.SHARED}
    shared = shared_use(session, list(first.values()))  # one sum a shared program, not one a member
    out: dict[int, list[Place]] = {}
    for a in rows:
        cap = a.program.credits_per_cycle
        pool = first.get(a.program_id)
        used = a.consumed_paise if pool is None else shared.get(pool.id, a.consumed_paise)
        place = Place(a.program.name, a.period_end, used, cap * metering.CREDIT_PAISE if cap else None)
        out.setdefault(a.membership_id, []).append(place)
    return out


_UPCOMING = text("SELECT user_id, sessions, next_at FROM host_upcoming(:users, :now)")


def experts(session: Session, **wanted: Any) -> Found:
    """A page of experts (arguments of ``people``) with profile and coming sessions."""
    members, more = people(session, role=OrgRole.EXPERT, **wanted)
    ids = [m.user_id for m in members]
    profiles = {
        p.user_id: p
        for p in session.scalars(select(ConsultantProfile).where(ConsultantProfile.user_id.in_(ids)))
    }
    found = session.execute(_UPCOMING, {"users": ids, "now": clock.now()})
    coming = {r.user_id: (int(r.sessions), r.next_at) for r in found}
    rows = [Expert(m, profiles.get(m.user_id), *coming.get(m.user_id, (0, None))) for m in members]
    return Found(rows, more)


def has_profile(session: Session, user_id: int) -> bool:
    """Whether the person has an expert's profile, whatever its state."""
    found = session.scalar(select(ConsultantProfile.id).where(ConsultantProfile.user_id == user_id))
    return found is not None


@dataclass(frozen=True)
class Limit:
    """A learner's limit of the month and what is spent of it, paise."""

    member: Membership
    spent_paise: int


def limits(session: Session, **wanted: Any) -> Found:
    """A page of learners (arguments of ``people``) with this month's spending."""
    members, more = people(session, role=OrgRole.LEARNER, **wanted)
    spent = spending.this_month(session, [m.user_id for m in members])
    return Found([Limit(m, spent.get(m.user_id, 0)) for m in members], more)


# ---- an expert's own arrangement -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Earning:
    """A share of one session here: what it was, when, and its parts in paise and bps."""

    id: str
    title: str
    starts_at: dt.datetime | None
    status: str
    gross_paise: int
    share_paise: int
    refunded_paise: int
    consultant_bps: int
    hold_until: dt.datetime

    @property
    def net_paise(self) -> int:
        return self.share_paise - self.refunded_paise


_EARNINGS = text(
    "SELECT public_id, title, starts_at, status, gross_paise, share_paise, refunded_paise, consultant_bps, hold_until "
    "FROM own_host_earnings(:org, :most)"
)


def own_membership(session: Session) -> Membership | None:
    """The acting member's row, with the person."""
    return session.scalars(
        select(Membership)
        .where(Membership.id == (ctx().membership_id or -1))
        .options(joinedload(Membership.user))
    ).one_or_none()


def own_earnings(session: Session, limit: int = 25) -> list[Earning]:
    """The acting expert's latest earnings from plans of the organisation acted for, whoever paid (chapter 1, 1.7)."""
    rows = session.execute(_EARNINGS, {"org": current_org_id(), "most": limit})
    return [Earning(str(r.public_id), *r[1:]) for r in rows]


def default_card(session: Session) -> tax.Card:
    """The split of the organisation acted for where no narrower rate card applies, as of now."""
    now = clock.now()
    row = session.scalars(
        select(RateCard)
        .where(
            RateCard.contract_id.is_(None),
            RateCard.plan_id.is_(None),
            RateCard.plan_type.is_(None),
            RateCard.min_gross_paise.is_(None),
            RateCard.max_gross_paise.is_(None),
            RateCard.effective_from <= now,
            or_(RateCard.effective_to.is_(None), RateCard.effective_to > now),
        )
        .order_by(RateCard.effective_from.desc(), RateCard.id.desc())
        .limit(1)
    ).one_or_none()
    return tax.HOSTED if row is None else tax.Card(row.platform_bps, row.org_bps, row.consultant_bps)
