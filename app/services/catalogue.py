"""Plans, experts and their bookable times (chapter 2, 2.3). Row-level security decides which plans a person sees; how they come about: plans.py."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import and_, select, text
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    ConsultantProfile,
    Event,
    EventState,
    ExpertStatus,
    Membership,
    MembershipStatus,
    Plan,
    User,
)
from app.security.context import ctx
from app.services import availability
from app.services.offers import EVENTS
from app.services.slots import slots

MAX_DAYS = 31  # one request for slots spans at most this many days
FACET_MOST = 10_000  # plans that facets count
_EVERYWHERE = {"skip_tenancy": True}  # personal reads across organisations; row-level security still stands
_WORD = re.compile(r"\w+")
ORDERS = ("newest", "price")


@dataclass(frozen=True)
class Filters:
    """What a visitor looks for; None means any. *on* with *zone* is a date on which a session can be had."""

    text: str | None = None
    category: str | None = None
    max_price_paise: int | None = None
    max_minutes: int | None = None
    type: str | None = None
    min_price_paise: int | None = None
    expert_id: int | None = None
    host_id: int | None = None
    on: dt.date | None = None
    zone: str = "UTC"
    order: str = "newest"

    @property
    def words(self) -> list[str] | None:
        """The words of the text, at most ten; None without any.

        PostgreSQL keeps the 27 of "2026-27" as the number -27, so a number is looked for with either sign.
        """
        found = [w[:60] for w in _WORD.findall(self.text or "")][:10]
        return [f"{w}:*|-{w}" if w.isdecimal() else w for w in found] or None


After = tuple[dt.datetime | int, int]  # (created_at or price, id) of the last one seen, by the order

_IDS = text(
    "SELECT id FROM catalogue_ids(CAST(:words AS text[]), CAST(:type AS text), CAST(:category AS text), "
    "CAST(:low AS bigint), CAST(:high AS bigint), CAST(:minutes AS int), CAST(:expert AS bigint), CAST(:host AS bigint), "
    "CAST(:order AS text), CAST(:at AS timestamptz), CAST(:price AS bigint), CAST(:id AS bigint), CAST(:limit AS int)) AS id"
)


def search(session: Session, wanted: Filters, *, limit: int = 24, after: After | None = None) -> list[Plan]:
    """Bookable plans the caller may see, in the order wanted, at most *limit*, beyond *after*.

    A database function finds their ids with its indexes; the rows themselves pass row-level security. A date is judged
    page by page, at most ten of them.
    """
    if wanted.text and wanted.words is None:
        return []
    session.flush()
    if wanted.on is None:
        return _rows(session, _ids(session, wanted, limit, after))
    found: list[Plan] = []
    for _ in range(10):
        ids = _ids(session, wanted, 100, after)
        rows = _rows(session, ids)
        found += free_on(session, rows, wanted.on, clock.zone(wanted.zone))
        if len(found) >= limit or len(ids) < 100 or not rows:
            break
        after = (rows[-1].price_paise if wanted.order == "price" else rows[-1].created_at, rows[-1].id)
    return found[:limit]


def _ids(session: Session, wanted: Filters, limit: int, after: After | None) -> list[int]:
    values = {
        "words": wanted.words,
        "type": wanted.type,
        "category": wanted.category,
        "low": wanted.min_price_paise,
        "high": wanted.max_price_paise,
        "minutes": wanted.max_minutes,
        "expert": wanted.expert_id,
        "host": wanted.host_id,
        "order": wanted.order,
        "at": after[0] if after and wanted.order != "price" else None,
        "price": after[0] if after and wanted.order == "price" else None,
        "id": after[1] if after else None,
        "limit": limit,
    }
    return list(session.scalars(_IDS, values))


def _rows(session: Session, ids: Sequence[int]) -> list[Plan]:
    rows = session.scalars(
        select(Plan)
        .where(Plan.id.in_(ids), Plan.active)
        .options(joinedload(Plan.expert).joinedload(ConsultantProfile.user)),
        execution_options=_EVERYWHERE,
    )
    by_id = {p.id: p for p in rows}
    return [by_id[i] for i in ids if i in by_id]


def free_on(session: Session, plans: Sequence[Plan], day: dt.date, zone: ZoneInfo) -> list[Plan]:
    """Those of *plans* that can be had on *day* (of *zone*): a free time, or an event that begins then; subscriptions
    where the expert works on it."""
    if not plans:
        return []
    start = dt.datetime.combine(day, dt.time(), zone).astimezone(dt.UTC)
    end = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), zone).astimezone(dt.UTC)
    experts = {p.expert_id for p in plans}
    weekly = availability.windows(session, experts)
    dated = availability.overrides(session, experts, start, end)
    taken = availability.busy(session, [p.expert.user_id for p in plans], start, end)
    begins = set(
        session.scalars(
            select(Event.plan_id).where(
                Event.plan_id.in_([p.id for p in plans if p.type in EVENTS]),
                Event.status == EventState.OPEN,
                Event.starts_at >= start,
                Event.starts_at < end,
            ),
            execution_options=_EVERYWHERE,
        )
    )
    now = clock.now()

    def can(plan: Plan) -> bool:
        if plan.type in EVENTS:
            return plan.id in begins
        return bool(
            slots(
                weekly.get(plan.expert_id, []),
                taken.get(plan.expert.user_id, []),
                start,
                end,
                plan.duration_minutes,
                now,
                dated.get(plan.expert_id, []),
            )
        )

    return [p for p in plans if can(p)]


@dataclass(frozen=True)
class Facets:
    """How many plans of a search fall into each type and category, the largest first; *more* beyond what was counted."""

    types: list[tuple[str, int]]
    categories: list[tuple[str, int]]
    total: int
    more: bool


def facets(session: Session, wanted: Filters) -> Facets:
    """Counts by type (within the category chosen) and by category (within the type chosen)."""
    if wanted.text and wanted.words is None:
        return Facets([], [], 0, False)
    rows = session.execute(
        text(
            "SELECT type, category, plans FROM catalogue_facets(CAST(:words AS text[]), CAST(:low AS bigint), "
            "CAST(:high AS bigint), CAST(:minutes AS int), CAST(:host AS bigint), :most)"
        ),
        {
            "words": wanted.words,
            "low": wanted.min_price_paise,
            "high": wanted.max_price_paise,
            "minutes": wanted.max_minutes,
            "host": wanted.host_id,
            "most": FACET_MOST,
        },
    ).all()
    types: dict[str, int] = {}
    kinds: dict[str, int] = {}
    total = 0
    for kind, category, n in rows:
        if wanted.category in (None, category):
            types[kind] = types.get(kind, 0) + n
        if wanted.type in (None, kind):
            kinds[category] = kinds.get(category, 0) + n
        if wanted.category in (None, category) and wanted.type in (None, kind):
            total += n

    def ranked(counts: dict[str, int]) -> list[tuple[str, int]]:
        return sorted(counts.items(), key=lambda x: (-x[1], x[0]))

    return Facets(ranked(types), ranked(kinds)[:100], total, sum(r.plans for r in rows) >= FACET_MOST)


def categories(session: Session) -> list[str]:
    """Categories that hold at least one bookable plan."""
    return sorted(name for name, _ in facets(session, Filters()).categories)


def expert(session: Session, public_id: uuid.UUID) -> ConsultantProfile:
    """A VERIFIED expert's public face. Raises NOT_FOUND for others."""
    row = session.scalars(
        select(ConsultantProfile)
        .where(
            ConsultantProfile.public_id == public_id,
            ConsultantProfile.verification_status == ExpertStatus.VERIFIED,
        )
        .options(joinedload(ConsultantProfile.user))
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def detail(session: Session, public_id: uuid.UUID) -> Plan:
    """One active plan with its expert. Raises NOT_FOUND, also for an ORG_ONLY plan of somebody else's organisation."""
    statement = (
        select(Plan)
        .where(Plan.public_id == public_id, Plan.active)
        .options(joinedload(Plan.expert).joinedload(ConsultantProfile.user))
    )
    plan = session.scalars(statement, execution_options=_EVERYWHERE).one_or_none()
    if plan is None:
        raise DomainError("NOT_FOUND")
    return plan


def any_plan(session: Session, plan_id: int) -> Plan:
    """The plan of a booking, with its expert, offered or not. Raises NOT_FOUND where the caller may not see it."""
    plan = session.scalars(
        select(Plan)
        .where(Plan.id == plan_id)
        .options(joinedload(Plan.expert).joinedload(ConsultantProfile.user)),
        execution_options=_EVERYWHERE,
    ).one_or_none()
    if plan is None:
        raise DomainError("NOT_FOUND")
    return plan


@dataclass(frozen=True)
class Slot:
    """An offered session, UTC. *clash*: the viewer has another appointment then."""

    starts_at: dt.datetime
    ends_at: dt.datetime
    clash: bool


def offered_slots(
    session: Session, plan: Plan, start: dt.datetime, end: dt.datetime, minutes: int | None = None
) -> list[Slot]:
    """Sessions of *plan* between *start* and *end*: the expert's hours minus claims, *minutes* long where given (a trial).

    Raises Invalid for the period.
    """
    if end <= start or end - start > dt.timedelta(days=MAX_DAYS):
        raise Invalid({"to": [f"Must be after “from”, at most {MAX_DAYS} days later."]})
    if plan.expert.verification_status != ExpertStatus.VERIFIED or plan.type in EVENTS:
        return []
    now, viewer = clock.now(), ctx().user_id
    taken = availability.busy(session, [plan.expert.user_id, *([viewer] if viewer else [])], start, end)
    found = slots(
        availability.windows(session, [plan.expert_id]).get(plan.expert_id, []),
        taken.get(plan.expert.user_id, []),
        start,
        end,
        minutes or plan.duration_minutes,
        now,
        availability.overrides(session, [plan.expert_id], start, end).get(plan.expert_id, []),
    )
    mine = taken.get(viewer, []) if viewer else []
    return [Slot(a, b, any(x < b and y > a for x, y in mine)) for a, b in found]


def organization_experts(session: Session) -> Sequence[tuple[uuid.UUID, str, ExpertStatus]]:
    """Active members of the organisation who have an expert profile: (profile's public id, name, status)."""
    rows = session.execute(
        select(ConsultantProfile.public_id, User, ConsultantProfile.verification_status)
        .join(User, User.id == ConsultantProfile.user_id)
        .join(Membership, and_(Membership.user_id == User.id, Membership.organization_id == ctx().org_id))
        .where(Membership.status == MembershipStatus.ACTIVE)
        .order_by(User.first_name, User.last_name)
        .limit(500)
    )
    return [(public, user.name, status) for public, user, status in rows]
