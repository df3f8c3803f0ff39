"""Accounts as the platform's own people look after them: who is staff, who may sign in (chapter 1, 1.1).

``platform_role`` ADMIN and STAFF are granted only by an ADMIN. Nobody changes their own, so an ADMIN always remains; two
who take it from each other at once are kept apart by the lock of all ADMIN rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    ConsultantProfile,
    Membership,
    MembershipStatus,
    Organization,
    OrgWorkspaceProfile,
    PlatformRole,
    Severity,
    SystemEvent,
    User,
    UserSession,
)
from app.security import sessions
from app.security.context import acting, ctx
from app.services import outbox
from app.services.text import one_line

PAGE = 50
HOUSE = (PlatformRole.ADMIN, PlatformRole.STAFF)
TABS: dict[str, Any] = {
    "all": User.erased_at.is_(None),
    "team": User.platform_role.in_(HOUSE),
    "experts": User.id.in_(select(ConsultantProfile.user_id)),
    "inactive": User.active.is_not(True) & User.erased_at.is_(None),
}


@dataclass(frozen=True)
class Account:
    """A person with the memberships they hold and how many browsers are signed in."""

    user: User
    memberships: list[tuple[Membership, Organization]]
    sessions: int


def counts(session: Session) -> dict[str, int]:
    """How many accounts stand under each tab, in one round trip."""
    with acting(session, scope="platform"):
        row = session.execute(select(*[func.count(User.id).filter(where) for where in TABS.values()])).one()
    return dict(zip(TABS, row, strict=True))


def _matching(statement: Select[Any], text: str) -> Select[Any]:
    """Only people whose address, or first or last name begins with *text*, or whose address contains it."""
    wanted = one_line(text)[:100]
    if not wanted:
        return statement
    escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    full = User.first_name.concat(" ").concat(func.coalesce(User.last_name, ""))
    return statement.where(
        or_(User.email.ilike(f"%{escaped}%"), full.ilike(f"{escaped}%"), User.last_name.ilike(f"{escaped}%"))
    )


def listed(
    session: Session, tab: str = "all", search: str = "", *, limit: int = PAGE, before: int | None = None
) -> list[User]:
    """Accounts of *tab*, the newest first, from the one before the inner id *before* on."""
    statement = select(User).where(TABS[tab])
    if before is not None:
        statement = statement.where(User.id < before)
    statement = _matching(statement, search).order_by(User.id.desc()).limit(limit)
    with acting(session, scope="platform"):
        return list(session.scalars(statement))


def found(session: Session, public_id: Any) -> User:
    """The account of this public id. Raises USER_NOT_FOUND."""
    with acting(session, scope="platform"):
        row = session.scalars(select(User).where(User.public_id == public_id)).one_or_none()
    if row is None:
        raise DomainError("USER_NOT_FOUND", message="There is no such account.")
    return row


def account(session: Session, user: User) -> Account:
    """What staff see of one person."""
    with acting(session, scope="platform"):
        memberships = session.execute(
            select(Membership, Organization)
            .join(Organization, Organization.id == Membership.organization_id)
            .where(Membership.user_id == user.id, Membership.status != MembershipStatus.ERASED)
            .order_by(Membership.status, Membership.id)
        ).all()
        signed_in = session.scalar(
            select(func.count(UserSession.id)).where(
                UserSession.user_id == user.id,
                UserSession.revoked_at.is_(None),
                UserSession.expires_at > clock.now(),
            )
        )
    return Account(user, [(m, o) for m, o in memberships], int(signed_in or 0))


def _claim(session: Session, user: User) -> User:
    """The account under its lock; the actor is an ADMIN still and somebody else.

    Raises INSUFFICIENT_ROLE, SELF_CHANGE, USER_ERASED.
    """
    if not ctx().is_admin or ctx().viewing:
        raise DomainError("INSUFFICIENT_ROLE")
    if user.id == ctx().user_id:
        raise DomainError("SELF_CHANGE", message="You cannot change your own account here.")
    with acting(session, scope="platform"):
        rows = session.scalars(
            select(User)
            .where(or_(User.platform_role == PlatformRole.ADMIN, User.id == user.id))
            .order_by(User.id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        ).all()
    actor = next((row for row in rows if row.id == ctx().user_id), None)
    if actor is None or actor.platform_role != PlatformRole.ADMIN or not actor.active:
        raise DomainError("INSUFFICIENT_ROLE")
    row = next((row for row in rows if row.id == user.id), None)
    if row is None or row.erased_at is not None:
        raise DomainError("USER_ERASED")
    return row


def set_platform_role(session: Session, user: User, role: PlatformRole | None) -> User:
    """Make *user* ADMIN or STAFF, or (None) neither: then what their profiles make them.

    They are told, and so is every other ADMIN. Raises Invalid, INSUFFICIENT_ROLE, SELF_CHANGE, USER_ERASED.
    """
    if role is not None and role not in HOUSE:
        raise Invalid({"platform_role": ["Choose ADMIN, STAFF or nothing."]})
    row = _claim(session, user)
    if role is not None and not row.active:
        raise Invalid({"platform_role": ["This account is switched off. Switch it on first."]})
    before, after = row.platform_role, role or _ordinary(session, row)
    if before == after or (role is None and before not in HOUSE):
        return row
    row.platform_role = after
    session.flush()
    sessions.bump_generation(session, row.id)
    words = after.value if after in HOUSE else "no longer part of the platform team"
    _record(session, f"{row.email} is {words}", before=before.value, after=after.value, user=row)
    outbox.mail(
        session,
        row.email,
        "platform_role",
        name=row.first_name,
        role={PlatformRole.ADMIN: "an administrator", PlatformRole.STAFF: "a member of staff"}.get(after),
        by=_actor_name(session),
        path="/admin" if after in HOUSE else "/dashboard",
    )
    outbox.notify(
        session,
        row.id,
        "platform_role",
        f"You are now {after.value} of the platform" if after in HOUSE else "You left the platform team",
        url="/admin" if after in HOUSE else "/dashboard",
    )
    return row


def set_active(session: Session, user: User, active: bool) -> User:
    """Let *user* sign in, or not: switched off, every session ends at once and API keys answer 401.

    Raises INSUFFICIENT_ROLE, SELF_CHANGE, USER_ERASED.
    """
    row = _claim(session, user)
    if bool(row.active) == active:
        return row
    row.active = active
    session.flush()
    if not active:
        sessions.revoke_all(session, row.id)
    _record(
        session,
        f"{row.email} was switched {'on' if active else 'off'}",
        before=not active,
        after=active,
        user=row,
    )
    return row


def _ordinary(session: Session, user: User) -> PlatformRole:
    """What somebody outside the platform's team is, from the profiles they have."""
    with acting(session, scope="platform"):
        if session.scalar(select(OrgWorkspaceProfile.id).where(OrgWorkspaceProfile.user_id == user.id)):
            return PlatformRole.ORG_ADMIN
        if session.scalar(select(ConsultantProfile.id).where(ConsultantProfile.user_id == user.id)):
            return PlatformRole.CONSULTANT
    return PlatformRole.CONSULTEE


def _actor_name(session: Session) -> str:
    actor = session.get(User, ctx().user_id)
    return actor.name if actor is not None else "An administrator"


def _record(session: Session, text: str, *, before: Any, after: Any, user: User) -> None:
    """A system event, as the platform's own people have no organisation's log; every other ADMIN hears of it."""
    who = _actor_name(session)
    with acting(session, scope="job", org_id=None):
        session.add(
            SystemEvent(
                category="access",
                severity=Severity.INFO,
                message=f"{text}, by {who}.",
                context={
                    "user": str(user.public_id),
                    "actor_user_id": ctx().user_id,
                    "before": before,
                    "after": after,
                },
                correlation_id=ctx().correlation_id,
            )
        )
        session.flush()
    others = session.scalars(
        select(User.id).where(
            User.platform_role == PlatformRole.ADMIN,
            User.active,
            User.id.not_in([ctx().user_id or -1, user.id]),
        )
    ).all()
    for other in others:
        outbox.notify(
            session, other, "access", f"{text}.", f"By {who}.", url=f"/admin/users/{user.public_id}"
        )
