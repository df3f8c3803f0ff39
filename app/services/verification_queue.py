"""The platform's verification queue: who waits, for how long, and who is next. Read under platform scope."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from app.models import DomainClaim, Membership, MembershipStatus, Organization, OrgStatus, User
from app.security.context import acting
from app.services.text import one_line

PENDING = Organization.status == OrgStatus.PENDING_VERIFICATION
REJECTED = Organization.verification_rejected_at.is_not(None)
ASKED = Organization.verification_info_requested_at.is_not(None)
TABS: dict[str, ColumnElement[bool]] = {
    "waiting": and_(PENDING, ~REJECTED, ~ASKED),
    "info": and_(PENDING, ~REJECTED, ASKED),
    "rejected": and_(PENDING, REJECTED),
    "active": Organization.status == OrgStatus.ACTIVE,
    "suspended": Organization.status == OrgStatus.SUSPENDED,
    "deactivated": Organization.status == OrgStatus.DEACTIVATED,
    "all": Organization.id.is_not(None),
}
AGE = func.coalesce(Organization.verification_submitted_at, Organization.created_at)
PAGE = 50


@dataclass(frozen=True)
class Queued:
    """One line of the queue."""

    organization: Organization
    founder: User | None
    members: int
    domain: str | None  # a verified one
    since: dt.datetime


def counts(session: Session) -> dict[str, int]:
    """How many organisations stand under each tab, in one round trip."""
    with acting(session, scope="platform"):
        row = session.execute(
            select(*[func.count(Organization.id).filter(condition) for condition in TABS.values()])
        ).one()
    return dict(zip(TABS, row, strict=True))


def _matching(statement: Select[Any], text: str) -> Select[Any]:
    """Only organisations whose name, short name, GSTIN, domain or founder's address contains *text*."""
    wanted = one_line(text)[:100]
    if not wanted:
        return statement
    escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    like = f"%{escaped}%"
    domains = select(DomainClaim.organization_id).where(DomainClaim.domain.ilike(like))
    return statement.where(
        or_(
            Organization.name.ilike(like),
            Organization.slug.ilike(like),
            Organization.gstin.ilike(like),
            User.email.ilike(like),
            Organization.id.in_(domains),
        )
    )


def listed(session: Session, tab: str, search: str = "", limit: int = PAGE, skip: int = 0) -> list[Queued]:
    """The organisations of *tab*, those that wait longest first; other tabs show the newest first."""
    members = (
        select(func.count(Membership.id))
        .where(Membership.organization_id == Organization.id, Membership.status == MembershipStatus.ACTIVE)
        .scalar_subquery()
    )
    domain = (
        select(func.min(DomainClaim.domain))
        .where(
            DomainClaim.organization_id == Organization.id,
            DomainClaim.verified_at.is_not(None),
            DomainClaim.lapsed_at.is_(None),
        )
        .scalar_subquery()
    )
    statement = (
        select(Organization, User, members, domain, AGE)
        .outerjoin(User, User.id == Organization.created_by_user_id)
        .where(TABS[tab])
    )
    order = (
        (AGE, Organization.id)
        if tab in ("waiting", "info", "rejected")
        else (AGE.desc(), Organization.id.desc())
    )
    statement = _matching(statement, search).order_by(*order).limit(limit).offset(skip)
    with acting(session, scope="platform"):
        return [Queued(*row) for row in session.execute(statement)]


def next_after(session: Session, organization: Organization | None = None) -> Organization | None:
    """Who waits next behind *organization*, or first of all; None when nobody else waits."""
    statement = select(Organization).where(TABS["waiting"]).order_by(AGE, Organization.id).limit(1)
    with acting(session, scope="platform"):
        if organization is not None:
            statement = statement.where(Organization.id != organization.id)
            since = organization.verification_submitted_at or organization.created_at
            behind = session.scalar(
                statement.where(tuple_(AGE, Organization.id) > tuple_(since, organization.id))
            )
            if behind is not None:
                return behind
        return session.scalar(statement)
