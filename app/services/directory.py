"""The public directory of hosts: ACTIVE, hosting, public by choice; nobody else (chapter 1, 1.2, "directory").

What may be shown, and of whom, is decided in migrations/sql/directory.sql (docs/decisions/0008), not here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, joinedload

from app.errors import DomainError
from app.models import ConsultantProfile, ExpertStatus, Plan, Visibility

PER_TYPE = 6
MAX_PAGE = 50
_HOSTS = text(
    "SELECT * FROM public_hosts(:slug, :industry, :search, CAST(:ids AS bigint[]), :name, :id, :limit)"
)
_NONE = {"slug": None, "industry": None, "search": None, "ids": None, "name": None, "id": None, "limit": 101}
_EVERYWHERE = {"skip_tenancy": True}  # public plans: row-level security shows them to everybody


@dataclass(frozen=True)
class Host:
    """One host as everybody may see it."""

    id: int
    public_id: uuid.UUID
    name: str
    slug: str
    description: str
    industry: str | None
    website: str | None
    size_bucket: str | None
    logo: str | None
    banner_image: str | None
    primary_color: str | None
    secondary_color: str | None
    can_sponsor: bool
    experts: int
    sort_name: str

    @property
    def kind(self) -> str:
        """HOST or HYBRID."""
        return "HYBRID" if self.can_sponsor else "HOST"


def _hosts(session: Session, **given: object) -> list[Host]:
    session.flush()
    return [Host(**row) for row in session.execute(_HOSTS, {**_NONE, **given}).mappings()]


def search(
    session: Session,
    *,
    text_: str | None = None,
    industry: str | None = None,
    limit: int = 12,
    after: tuple[str, int] | None = None,
) -> tuple[list[Host], tuple[str, int] | None]:
    """(hosts by name, where the next page starts); *limit* 1 to 50, *after* what a page before answered."""
    size = max(1, min(limit, MAX_PAGE))
    name, key = after or (None, None)
    rows = _hosts(session, search=text_ or None, industry=industry or None, name=name, id=key, limit=size + 1)
    more = (rows[size - 1].sort_name, rows[size - 1].id) if len(rows) > size else None
    return rows[:size], more


def industries(session: Session) -> list[tuple[str, int]]:
    """Industries of listed hosts with their number, at most twelve."""
    return [(row.industry, row.hosts) for row in session.execute(text("SELECT * FROM public_industries()"))]


def find(session: Session, slug: str) -> Host:
    """A listed host by slug or public id. Raises NOT_FOUND, the same for unknown and unlisted ones."""
    rows = _hosts(session, slug=slug[:63], limit=1)
    if not rows:
        raise DomainError("NOT_FOUND")
    return rows[0]


def named(session: Session, ids: Iterable[int | None]) -> dict[int, Host]:
    """Listed hosts among *ids* by inner id: whom a "Hosted by" badge may name."""
    wanted = sorted({i for i in ids if i is not None})[:100]
    return {host.id: host for host in _hosts(session, ids=wanted)} if wanted else {}


def plans(session: Session, host: Host) -> dict[str, Sequence[Plan]]:
    """At most six offered plans of each type, PUBLIC ones only, newest first."""
    place = func.row_number().over(partition_by=Plan.type, order_by=(Plan.created_at.desc(), Plan.id.desc()))
    ranked = (
        select(Plan.id, place.label("place"))
        .join(ConsultantProfile, ConsultantProfile.id == Plan.expert_id)
        .where(
            Plan.organization_id == host.id,
            Plan.active,
            Plan.visibility == Visibility.PUBLIC,
            ConsultantProfile.verification_status == ExpertStatus.VERIFIED,
        )
        .subquery()
    )
    rows = session.scalars(
        select(Plan)
        .join(ranked, ranked.c.id == Plan.id)
        .where(ranked.c.place <= PER_TYPE)
        .options(joinedload(Plan.expert).joinedload(ConsultantProfile.user))
        .order_by(Plan.type, Plan.created_at.desc(), Plan.id.desc()),
        execution_options=_EVERYWHERE,
    ).all()
    out: dict[str, list[Plan]] = {}
    for plan in rows:
        out.setdefault(plan.type.value, []).append(plan)
    return dict(out)
