"""API keys: Flask-AppBuilder's, bound to one organisation (``org_api_key``).

A key acts with its maker's present role in that organisation, narrowed by READ or WRITE and by a list of resources;
what it reaches at all is decided in app/security/doors.py. An owner sees and revokes every key of the organisation, a
maintainer their own; nobody else makes any, so that a key never outlives the trust in the people who govern.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flask_appbuilder.security.sqla.models import ApiKey
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    ApiAccess,
    AuditCategory,
    MembershipStatus,
    Organization,
    OrgApiKey,
    OrgRole,
    OrgStatus,
    OutboxMessage,
    User,
)
from app.security.context import acting, ctx
from app.services import audit, outbox
from app.services.member_rules import is_owner, lock_organization, membership_of
from app.services.text import one_line

MOST_DAYS, DEFAULT_DAYS = 365, 90
MOST_KEYS = 50  # live ones of an organisation
WARNINGS = (14, 3)  # days before the end
SHOWN = 10  # characters of the secret that lists show, its prefix included
Issue = Callable[[User, str, dt.datetime], dict[str, Any]]  # Flask-AppBuilder's maker of keys


class NewKey(NamedTuple):
    """A fresh key and its secret, which is stored nowhere."""

    row: OrgApiKey
    secret: str


def state(row: OrgApiKey) -> str:
    """ACTIVE, EXPIRED or REVOKED."""
    if row.revoked_at is not None:
        return "REVOKED"
    return "ACTIVE" if row.expires_at is not None and row.expires_at > clock.now() else "EXPIRED"


def create(
    session: Session,
    issue: Issue,
    name: str,
    access: ApiAccess,
    *,
    resources: Sequence[str] = (),
    known: Sequence[str] = (),
    days: int = DEFAULT_DAYS,
) -> NewKey:
    """A key of the acting member for the organisation acted for, valid 1 to 365 *days*.

    *resources* narrow it to some of *known* (none: whatever the role may). Raises Invalid, OWNER_REQUIRED or
    INSUFFICIENT_ROLE (only owners and maintainers who are members), ORG_NOT_ACTIVE, API_KEY_LIMIT_REACHED.
    """
    organization = lock_organization(session)
    if organization.status in (OrgStatus.SUSPENDED, OrgStatus.DEACTIVATED):
        raise DomainError("ORG_NOT_ACTIVE")
    mine = membership_of(session, ctx().user_id or -1)
    if (
        mine is None
        or mine.status != MembershipStatus.ACTIVE
        or mine.role not in (OrgRole.OWNER, OrgRole.MAINTAINER)
    ):
        raise DomainError("INSUFFICIENT_ROLE")
    label, chosen = one_line(name or ""), sorted(set(resources))
    problems: dict[str, list[str]] = {}
    if not 1 <= len(label) <= 100:
        problems["name"] = ["Name what will use the key, in at most 100 characters."]
    if not 1 <= days <= MOST_DAYS:
        problems["days"] = [f"From 1 to {MOST_DAYS} days."]
    unknown = [r for r in chosen if r not in known]
    if unknown:
        problems["resources"] = [f"Not for keys: {', '.join(unknown[:5])}."]
    if problems:
        raise Invalid(problems)
    now = clock.now()
    live = session.scalar(
        select(func.count(OrgApiKey.id)).where(OrgApiKey.revoked_at.is_(None), OrgApiKey.expires_at > now)
    )
    if (live or 0) >= MOST_KEYS:
        raise DomainError("API_KEY_LIMIT_REACHED", limit=MOST_KEYS)
    expires = now + dt.timedelta(days=days)
    made = issue(mine.user, label, expires)
    row = OrgApiKey(
        api_key_id=made["id"],
        user_id=mine.user_id,
        user=mine.user,
        name=label,
        access=access,
        resources=chosen,
        key_prefix=str(made["key"])[:SHOWN],
        expires_at=expires,
        created_at=now,
    )
    session.add(row)
    session.flush()
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "API_KEY_CREATED",
        f"{mine.user.name} made the API key {label}.",
        target_type="api_key",
        target_id=row.public_id,
        access=access.value,
        resources=chosen,
        expires_at=expires.isoformat(),
        prefix=row.key_prefix,
    )
    return NewKey(row, str(made["key"]))


def visible(session: Session, limit: int = 200) -> list[OrgApiKey]:
    """The keys the acting person sees, newest first, with their makers: an owner all, others their own."""
    statement = (
        select(OrgApiKey)
        .options(joinedload(OrgApiKey.user))
        .order_by(OrgApiKey.created_at.desc(), OrgApiKey.id.desc())
        .limit(limit)
    )
    if not is_owner():
        statement = statement.where(OrgApiKey.user_id == (ctx().user_id or -1))
    return list(session.scalars(statement))


def find(session: Session, public_id: Any) -> OrgApiKey:
    """A key the acting person sees. Raises NOT_FOUND."""
    statement = select(OrgApiKey).where(OrgApiKey.public_id == public_id).options(joinedload(OrgApiKey.user))
    if not is_owner():
        statement = statement.where(OrgApiKey.user_id == (ctx().user_id or -1))
    row = session.scalars(statement).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def revoke(session: Session, row: OrgApiKey) -> OrgApiKey:
    """End a key at once, for good. Raises ILLEGAL_TRANSITION when it was revoked already."""
    if not _revoke(session, OrgApiKey.id == row.id):
        raise DomainError("ILLEGAL_TRANSITION", message="This key was revoked already.")
    session.refresh(row, ["revoked_at"])
    _record_revoked(session, row.public_id, row.name)
    if row.user_id != ctx().user_id:
        outbox.notify(session, row.user_id, "api_key_revoked", f"Your API key {row.name} was revoked")
    return row


def revoke_all_of(session: Session, user_id: int) -> int:
    """End every live key of a person in the organisation acted for, whose membership ends; returns how many."""
    ended = _revoke(session, OrgApiKey.user_id == user_id)
    for public_id, name in ended:
        _record_revoked(session, public_id, name)
    return len(ended)


def _revoke(session: Session, which: Any) -> list[tuple[Any, str]]:
    now = clock.now()
    rows = session.execute(
        update(OrgApiKey)
        .where(which, OrgApiKey.revoked_at.is_(None), OrgApiKey.organization_id == (ctx().org_id or -1))
        .values(revoked_at=now)
        .returning(OrgApiKey.api_key_id, OrgApiKey.public_id, OrgApiKey.name)
        .execution_options(synchronize_session=False)
    ).all()
    if rows:
        session.execute(
            update(ApiKey)
            .where(ApiKey.id.in_([r.api_key_id for r in rows]))
            .values(active=False, revoked_on=now.replace(tzinfo=None))
            .execution_options(synchronize_session=False)
        )
    return [(r.public_id, r.name) for r in rows]


def _record_revoked(session: Session, public_id: Any, name: str) -> None:
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "API_KEY_REVOKED",
        f"The API key {name} was revoked.",
        target_type="api_key",
        target_id=public_id,
    )


def warn(session: Session) -> dict[str, int]:
    """Mail the makers of keys that end within 14 and within 3 days, once each. Wants job scope."""
    now, sent = clock.now(), 0
    for index, days in enumerate(WARNINGS):
        after = now + dt.timedelta(days=WARNINGS[index + 1] if index + 1 < len(WARNINGS) else 0)
        due = session.execute(
            select(OrgApiKey, User, Organization)
            .join(User, User.id == OrgApiKey.user_id)
            .join(Organization, Organization.id == OrgApiKey.organization_id)
            .where(
                OrgApiKey.revoked_at.is_(None),
                OrgApiKey.expires_at > after,
                OrgApiKey.expires_at <= now + dt.timedelta(days=days),
                OrgApiKey.created_at < OrgApiKey.expires_at - dt.timedelta(days=days),
                User.active,
            )
        ).all()
        for row, user, organization in due:
            sent += _warn(session, row, user, organization, days)
    return {"warned": sent}


def _warn(session: Session, row: OrgApiKey, user: User, organization: Organization, days: int) -> int:
    key = f"api-key-expiry:{row.public_id}:{days}"
    sent = session.scalar(select(OutboxMessage.id).where(OutboxMessage.dedupe_key == key))
    if sent is not None or row.expires_at is None:
        return 0
    page = f"/dashboard/organization/{organization.slug}/settings/api-keys"
    with acting(session, org_id=organization.id):
        outbox.mail(
            session,
            user.email,
            "api_key_expiring",
            dedupe_key=key,
            name=user.name,
            key=row.name,
            organization=organization.name,
            ends=row.expires_at.astimezone(clock.IST).strftime("%-d %B %Y"),
            path=page,
        )
        outbox.notify(
            session,
            user.id,
            "api_key_expiring",
            f"The API key {row.name} ends soon",
            f"On {row.expires_at.astimezone(clock.IST):%-d %B %Y}. Make a new one in time.",
            url=page,
        )
    return 1
