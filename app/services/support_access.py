"""Support access: ADMIN or STAFF look at one organisation, read-only, for at most an hour, and its owners know.

The look itself is decided by the clock on every request (migrations/sql/identity.sql) and kept read-only in
app/security/doors.py and by the database; here it is opened, ended and listed.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    OrgStatus,
    PlatformRole,
    SupportAccess,
    User,
)
from app.security.context import acting, ctx
from app.services import audit, outbox
from app.services.text import one_line

MOST_MINUTES = 60
MIN_REASON, MAX_REASON = 3, 500


def is_open(row: SupportAccess) -> bool:
    """Whether *row* lets anybody look in now."""
    return row.ended_at is None and row.expires_at > clock.now()


def open_access(
    session: Session, organization_id: int, reason: str, minutes: int = MOST_MINUTES
) -> SupportAccess:
    """Let the acting ADMIN or STAFF look at an organisation for *minutes* (1 to 60); its owners get mail and bell.

    Raises INSUFFICIENT_ROLE, Invalid, NOT_FOUND, ORG_DEACTIVATED, SUPPORT_ACCESS_OPEN (one at a time).
    """
    user = session.scalars(
        select(User)
        .where(User.id == (ctx().user_id or -1))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if user is None or user.platform_role not in (PlatformRole.ADMIN, PlatformRole.STAFF):
        raise DomainError("INSUFFICIENT_ROLE")
    text = one_line(reason or "")
    problems: dict[str, list[str]] = {}
    if not MIN_REASON <= len(text) <= MAX_REASON:
        problems["reason"] = [f"Say why, in {MIN_REASON} to {MAX_REASON} characters: the owners read it."]
    if not 1 <= minutes <= MOST_MINUTES:
        problems["minutes"] = [f"From 1 to {MOST_MINUTES} minutes."]
    if problems:
        raise Invalid(problems)
    now = clock.now()
    with acting(session, scope="platform"):
        running = session.scalar(
            select(SupportAccess.id)
            .where(
                SupportAccess.user_id == user.id,
                SupportAccess.ended_at.is_(None),
                SupportAccess.expires_at > now,
            )
            .limit(1)
        )
    if running is not None:
        raise DomainError("SUPPORT_ACCESS_OPEN")
    with acting(session, scope="org", org_id=organization_id, membership_id=None, role=None):
        organization = session.get(Organization, organization_id)
        if organization is None:
            raise DomainError("NOT_FOUND")
        if organization.status == OrgStatus.DEACTIVATED:
            raise DomainError("ORG_DEACTIVATED")
        row = SupportAccess(
            user_id=user.id, reason=text, created_at=now, expires_at=now + dt.timedelta(minutes=minutes)
        )
        session.add(row)
        session.flush()
        audit.record(
            session,
            AuditCategory.SYSTEM,
            "SUPPORT_ACCESS_STARTED",
            f"{user.name} of the platform team looks at the organisation, read-only: {text}",
            target_type="support_access",
            target_id=row.public_id,
            reason=text,
            expires_at=row.expires_at.isoformat(),
        )
        _tell_owners(session, organization, user, row)
    return row


def _tell_owners(session: Session, organization: Organization, user: User, row: SupportAccess) -> None:
    page = f"/dashboard/organization/{organization.slug}/settings/support-access"
    until = row.expires_at.astimezone(clock.IST).strftime("%-d %B %Y, %H:%M IST")
    owners = session.execute(
        select(User.id, User.email, User.first_name)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.role == OrgRole.OWNER, Membership.status == MembershipStatus.ACTIVE)
    ).all()
    for owner in owners:
        outbox.mail(
            session,
            owner.email,
            "support_access",
            name=owner.first_name,
            who=user.name,
            organization=organization.name,
            reason=row.reason,
            until=until,
            path=page,
        )
        outbox.notify(
            session,
            owner.id,
            "support_access",
            f"The platform team looks at {organization.name}",
            f"{user.name}: {row.reason}"[:300],
            url=page,
        )


def locate(session: Session, public_id: Any) -> SupportAccess:
    """An access by public id, wherever it is: for the platform's side. Raises NOT_FOUND."""
    with acting(session, scope="platform"):
        row = session.scalars(
            select(SupportAccess)
            .where(SupportAccess.public_id == public_id)
            .execution_options(populate_existing=True)
        ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def end_access(session: Session, row: SupportAccess) -> SupportAccess:
    """End an open access at once: whoever looks, an ADMIN, or an owner of the organisation.

    The caller checked that the acting person may. Raises ILLEGAL_TRANSITION when it has ended already.
    """
    c, now = ctx(), clock.now()
    if c.platform_role and not c.is_admin and c.membership_id is None and row.user_id != c.user_id:
        raise DomainError("INSUFFICIENT_ROLE")
    inside = {} if c.org_id == row.organization_id else {"membership_id": None, "role": None}
    with acting(session, scope="org", org_id=row.organization_id, **inside):
        if not _close(session, row, now, c.user_id):
            raise DomainError("ILLEGAL_TRANSITION", message="This support access has ended already.")
        session.refresh(row)
        audit.record(
            session,
            AuditCategory.SYSTEM,
            "SUPPORT_ACCESS_ENDED",
            "Support access of the platform team ended.",
            target_type="support_access",
            target_id=row.public_id,
            reason=row.reason,
        )
        if c.user_id != row.user_id:
            outbox.notify(
                session, row.user_id, "support_access", "Your support access was ended", url="/admin"
            )
    return row


def _close(session: Session, row: SupportAccess, at: dt.datetime, by: int | None) -> bool:
    done = session.execute(
        update(SupportAccess)
        .where(
            SupportAccess.id == row.id,
            SupportAccess.ended_at.is_(None),
            SupportAccess.expires_at > at,
        )
        .values(ended_at=at, ended_by_user_id=by)
        .returning(SupportAccess.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    return done is not None


def tidy(session: Session) -> dict[str, int]:
    """Write down the end of every access whose hour has passed; nothing waits for it. Wants job scope and commits."""
    now, done = clock.now(), 0
    due = session.execute(
        select(SupportAccess.id, SupportAccess.organization_id, SupportAccess.public_id).where(
            SupportAccess.ended_at.is_(None), SupportAccess.expires_at <= now
        )
    ).all()
    session.commit()
    for one in due:
        with acting(session, scope="org", org_id=one.organization_id, user_id=None):
            closed = session.execute(
                update(SupportAccess)
                .where(SupportAccess.id == one.id, SupportAccess.ended_at.is_(None))
                .values(ended_at=SupportAccess.expires_at)
                .returning(SupportAccess.id)
                .execution_options(synchronize_session=False)
            ).scalar()
            if closed is not None:
                audit.record(
                    session,
                    AuditCategory.SYSTEM,
                    "SUPPORT_ACCESS_ENDED",
                    "Support access of the platform team ran out.",
                    target_type="support_access",
                    target_id=one.public_id,
                )
                done += 1
        session.commit()
    return {"ended": done}


def of_organization(session: Session, limit: int = 100) -> list[SupportAccess]:
    """Accesses to the organisation acted for, newest first, with the person who looked."""
    return list(
        session.scalars(
            select(SupportAccess)
            .options(joinedload(SupportAccess.user))
            .order_by(SupportAccess.created_at.desc(), SupportAccess.id.desc())
            .limit(limit)
        )
    )


def of_platform(session: Session, limit: int = 100) -> list[tuple[SupportAccess, Organization]]:
    """Accesses across organisations, newest first; the caller is ADMIN or STAFF."""
    with acting(session, scope="platform"):
        rows = session.execute(
            select(SupportAccess, Organization)
            .join(Organization, Organization.id == SupportAccess.organization_id)
            .options(joinedload(SupportAccess.user))
            .order_by(SupportAccess.id.desc())
            .limit(limit)
        ).all()
    return [(row, organization) for row, organization in rows]
