"""Set-up links: an owner hands single sign-on's set-up to the IT department (the console's own; no chapter).

A link is a secret of 32 random bytes, kept as a hash. It opens one organisation's set-up and nothing else, for some days,
until somebody revokes it; it shows no member, enforces nothing and proves nothing.
"""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import AuditCategory, Organization, OrgStatus, SsoSetupLink
from app.security.context import acting, ctx
from app.security.sessions import hash_key
from app.services import audit
from config import Settings

DAYS, MOST_DAYS, MOST_OPEN = 7, 30, 10


def state(row: SsoSetupLink) -> str:
    """OPEN, REVOKED or EXPIRED."""
    if row.revoked_at is not None:
        return "REVOKED"
    return "OPEN" if row.expires_at > clock.now() else "EXPIRED"


def links(session: Session) -> list[SsoSetupLink]:
    """The organisation's latest links, newest first."""
    return list(
        session.scalars(
            select(SsoSetupLink)
            .options(joinedload(SsoSetupLink.created_by))
            .order_by(SsoSetupLink.id.desc())
            .limit(50)
        )
    )


def create(session: Session, label: Any, days: Any) -> tuple[SsoSetupLink, str]:
    """A new link and its secret, shown once. Raises Invalid, CONFLICT for an eleventh open one."""
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MOST_DAYS:
        raise Invalid({"days": [f"From 1 to {MOST_DAYS} days."]})
    if sum(state(row) == "OPEN" for row in links(session)) >= MOST_OPEN:
        raise DomainError("CONFLICT", message="Ten links are open already. Revoke one first.")
    secret, now = secrets.token_urlsafe(32), clock.now()
    row = SsoSetupLink(
        token_hash=hash_key(secret),
        label=" ".join(str(label or "").split())[:100],
        created_by_user_id=ctx().user_id,
        created_at=now,
        expires_at=now + dt.timedelta(days=days),
    )
    session.add(row)
    session.flush()
    session.refresh(row, ["created_by"])
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "SETTINGS_CHANGED",
        f"A set-up link for single sign-on was made, for {days} day{'' if days == 1 else 's'}.",
        target_type="sso_setup_link",
        target_id=row.public_id,
        label=row.label,
    )
    return row, secret


def address(settings: Settings, secret: str) -> str:
    """What is sent to the IT department."""
    return f"{settings.base_url}/sso/setup/{secret}"


def revoke(session: Session, public_id: uuid.UUID) -> SsoSetupLink:
    """End a link; ending it again changes nothing. Raises NOT_FOUND."""
    row = session.scalars(
        select(SsoSetupLink)
        .where(SsoSetupLink.public_id == public_id)
        .options(joinedload(SsoSetupLink.created_by))
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    if row.revoked_at is None:
        row.revoked_at = clock.now()
        audit.record(
            session,
            AuditCategory.SETTINGS,
            "SETTINGS_CHANGED",
            "A set-up link for single sign-on was revoked.",
            target_type="sso_setup_link",
            target_id=row.public_id,
        )
        session.flush()
    return row


@contextmanager
def by_secret(session: Session, secret: str) -> Iterator[tuple[Organization, SsoSetupLink]]:
    """Act for the organisation of a link, as nobody. Raises LINK_EXPIRED for what is unknown, over or revoked, and for an
    organisation that is deactivated."""
    digest = hash_key(str(secret)[:200])
    with acting(session, token=digest, org_id=None, user_id=None, membership_id=None, role=None):
        row = session.scalars(
            select(SsoSetupLink).where(SsoSetupLink.token_hash == digest).execution_options(skip_tenancy=True)
        ).one_or_none()
    if row is None or state(row) != "OPEN":
        raise DomainError("LINK_EXPIRED")
    with acting(
        session, org_id=row.organization_id, user_id=None, membership_id=None, role=None, platform_role=None
    ):
        organization = session.get_one(Organization, row.organization_id)
        if organization.status not in (OrgStatus.ACTIVE, OrgStatus.PENDING_VERIFICATION):
            raise DomainError("LINK_EXPIRED")
        row.last_used_at = clock.now()
        yield organization, row
