"""An operator's workspace: settings across organisations, and what the own organisations add up to (chapter 1, 1.1).

``org_workspace_profile`` belongs to one person; everybody else meets NOT_FOUND.
"""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.numbers import get_territory_currencies
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.errors import DomainError, Invalid
from app.models import (
    AuditLog,
    BillingAccount,
    Membership,
    MembershipStatus,
    NotificationRouting,
    Organization,
    OrgRole,
    OrgStatus,
    OrgWorkspaceProfile,
)
from app.security import matrix
from app.security.context import acting, ctx
from app.services import activity, home

LOCALES = ("en-IN", "en-US", "en-GB", "hi-IN")  # presets; any other that is known may be typed
DEFAULTS: dict[str, Any] = {
    "default_landing_organization_id": None,
    "notification_routing_mode": NotificationRouting.BELL_AND_EMAIL,
    "locale": "en-IN",
    "currency_display_code": "INR",
}
MOST_ORGANIZATIONS = 20  # shown at once
_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
ACROSS = {"skip_tenancy": True}  # with an explicit user filter: row-level security still guards


@functools.cache
def currencies() -> frozenset[str]:
    """ISO 4217 codes of today's legal tender."""
    territories = [t for t in map(str, Locale("en").territories) if len(t) == 2]
    return frozenset(c for t in territories for c in get_territory_currencies(t, tender=True))


def ensure(session: Session) -> OrgWorkspaceProfile:
    """The acting person's profile, made at the first visit. Raises UNAUTHENTICATED."""
    user_id = ctx().user_id
    if user_id is None:
        raise DomainError("UNAUTHENTICATED")
    statement = select(OrgWorkspaceProfile).where(OrgWorkspaceProfile.user_id == user_id)
    row = session.scalars(statement).one_or_none()
    if row is None:
        session.execute(
            insert(OrgWorkspaceProfile)
            .values(user_id=user_id)
            .on_conflict_do_nothing(index_elements=["user_id"])
        )
        row = session.scalars(statement).one()
    return row


def own(session: Session, key: uuid.UUID) -> OrgWorkspaceProfile:
    """The profile with the public id *key*, of the acting person only. Raises NOT_FOUND."""
    row = session.scalars(
        select(OrgWorkspaceProfile).where(
            OrgWorkspaceProfile.public_id == key, OrgWorkspaceProfile.user_id == (ctx().user_id or -1)
        )
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def owned(session: Session) -> Sequence[Organization]:
    """Organisations the acting person owns now: ACTIVE OWNER membership, not deactivated; by name."""
    return session.scalars(
        select(Organization)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(
            Membership.user_id == (ctx().user_id or -1),
            Membership.role == OrgRole.OWNER,
            Membership.status == MembershipStatus.ACTIVE,
            Organization.status != OrgStatus.DEACTIVATED,
        )
        .order_by(Organization.name, Organization.id),
        execution_options=ACROSS,
    ).all()


def landing(session: Session, row: OrgWorkspaceProfile | None) -> Organization | None:
    """The default landing organisation while its reader still owns it: a soft reference, checked at every reading."""
    if row is None or row.default_landing_organization_id is None:
        return None
    return next((o for o in owned(session) if o.id == row.default_landing_organization_id), None)


def view(session: Session, row: OrgWorkspaceProfile) -> dict[str, Any]:
    """The settings as REST shows them; organisations by public id."""
    place = landing(session, row)
    return {
        "id": str(row.public_id),
        "default_landing_organization_id": str(place.public_id) if place else None,
        "notification_routing_mode": str(row.notification_routing_mode),
        "locale": row.locale,
        "currency_display_code": row.currency_display_code,
    }


def update(session: Session, row: OrgWorkspaceProfile, values: dict[str, Any]) -> OrgWorkspaceProfile:
    """Change what *values* names: an absent key stays, None goes back to its default (chapter 1, 1.1).

    Raises DEFAULT_LANDING_ORG_INVALID, and Invalid naming every field.
    """
    changed: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for name, value in values.items():
        if name not in DEFAULTS:
            problems[name] = ["There is no such field."]
            continue
        if value is None:
            changed[name] = DEFAULTS[name]
            continue
        try:
            changed[name] = _CHECKS[name](session, value)
        except ValueError as error:
            problems[name] = [str(error)]
    if problems:
        raise Invalid(problems)
    for name, value in changed.items():
        setattr(row, name, value)
    session.flush()
    return row


def _landing(session: Session, value: Any) -> int:
    wanted = str(value)
    for organization in owned(session):
        if wanted in (str(organization.public_id), organization.slug):
            return organization.id
    raise DomainError("DEFAULT_LANDING_ORG_INVALID")


def _routing(session: Session, value: Any) -> NotificationRouting:
    if value not in set(NotificationRouting):
        raise ValueError(f"Choose one of {', '.join(NotificationRouting)}.")
    return NotificationRouting(value)


def _locale(session: Session, value: Any) -> str:
    tag = str(value).strip()
    try:
        if not _TAG.fullmatch(tag):
            raise ValueError
        return str(Locale.parse(tag, sep="-")).replace("_", "-")
    except (ValueError, UnknownLocaleError):
        raise ValueError("Enter a language and region, such as en-IN or fr-CA.") from None


def _currency(session: Session, value: Any) -> str:
    code = str(value).strip().upper()
    if code not in currencies():
        raise ValueError("Enter a currency of three letters, such as INR or EUR.")
    return code


_CHECKS: dict[str, Any] = {
    "default_landing_organization_id": _landing,
    "notification_routing_mode": _routing,
    "locale": _locale,
    "currency_display_code": _currency,
}


# ---- across organisations --------------------------------------------------------------------------------------------
@dataclass
class Standing:
    """One organisation of the acting person; what the role there may not read is None. Amounts in paise."""

    organization: Organization
    role: str
    members: int | None = None
    funding_source: str | None = None
    wallet: int | None = None
    outstanding: int | None = None
    overdue: int | None = None
    events: list[AuditLog] = field(default_factory=list)

    @property
    def finance(self) -> bool:
        return self.role in matrix.FIN_READ


def standings(session: Session, *, numbers: bool = True, events: int = 0) -> list[Standing]:
    """The organisations the acting person helps to run, each read with the role held there.

    *numbers*: members and money as far as the role reads them; *events*: how many latest audit entries of each, where
    the role reads activity. At most MOST_ORGANIZATIONS, by rank and name.
    """
    out = []
    for membership_id, role, organization in _memberships(session)[:MOST_ORGANIZATIONS]:
        standing = Standing(organization, role)
        # the role's own identity, never the platform's: a workspace shows what a member sees
        with acting(
            session, org_id=organization.id, role=role, membership_id=membership_id, platform_role=None
        ):
            if numbers:
                _numbers(session, standing)
            if events and role in matrix.OPS:
                standing.events = activity.feed(session, money=role in matrix.FIN_READ, limit=events)
        out.append(standing)
    return out


def _memberships(session: Session) -> list[tuple[int, str, Organization]]:
    rows = session.execute(
        select(Membership.id, Membership.role, Organization)
        .join(Organization, Membership.organization_id == Organization.id)
        .where(
            Membership.user_id == (ctx().user_id or -1),
            Membership.role.in_(sorted(matrix.OPS_READ | matrix.FIN_READ)),
            Membership.status == MembershipStatus.ACTIVE,
            Organization.status != OrgStatus.DEACTIVATED,
        ),
        execution_options=ACROSS,
    ).all()
    found = [(r[0], str(r[1]), r[2]) for r in rows]
    return sorted(found, key=lambda r: (-matrix.RANK[r[1]], r[2].name.lower(), r[2].id))


def _numbers(session: Session, standing: Standing) -> None:
    account = session.scalars(select(BillingAccount)).one_or_none() if standing.finance else None
    figures = home.figures(session, standing.organization, account)
    if standing.role in matrix.OPS_READ:
        standing.members = figures.members
    if standing.finance:
        standing.outstanding, standing.overdue = figures.receivables.outstanding, figures.receivables.overdue
        if account is not None:
            standing.funding_source, standing.wallet = (
                str(account.funding_source),
                account.wallet_balance_paise,
            )
