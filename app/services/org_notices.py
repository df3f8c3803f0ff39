"""Who hears about an organisation's life: its owners and maintainers, all its members, the platform's administrators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.models import Membership, MembershipStatus, Organization, OrgRole, PlatformRole, User
from app.services import outbox

Person = Any  # a row with id, email, first_name, routing


def people(session: Session, *roles: OrgRole) -> Sequence[Person]:
    """ACTIVE members of the organisation acted for (id, email, first_name, routing: how they want to hear), of all roles when none is
    named."""
    statement = (
        select(User.id, User.email, User.first_name, func.notification_routing(User.id).label("routing"))
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.status == MembershipStatus.ACTIVE)
        .order_by(User.id)
    )
    return session.execute(statement.where(Membership.role.in_(roles)) if roles else statement).all()


def tell_operators(
    session: Session, row: Organization, template: str, title: str, text: str = "", *, page: str = "home"
) -> None:
    """Mail and bell for the owners and maintainers of the organisation acted for; *text* is the platform's reason."""
    path = f"/dashboard/organization/{row.slug}/{page}"
    for person in people(session, OrgRole.OWNER, OrgRole.MAINTAINER):
        outbox.mail(
            session,
            person.email,
            template,
            routed_for=person.id,
            name=person.first_name,
            organization=row.name,
            reason=text,
            path=path,
        )
        outbox.notify(session, person.id, template, title, text[:200], url=path, routed=True)


def tell_staff(session: Session, title: str, text: str = "", *, url: str, also: int | None = None) -> None:
    """A bell entry for every ADMIN, and for the person *also* (inner id), who asked."""
    ids = set(session.scalars(select(User.id).where(User.platform_role == PlatformRole.ADMIN, User.active)))
    for user_id in sorted(ids | ({also} if also else set())):
        outbox.notify(session, user_id, "verification", title, text[:200], url=url)


def bump_members(session: Session) -> None:
    """Sessions of every member of the organisation acted for notice the change on their next request (chapter 1, 1.1)."""
    session.execute(
        update(User)
        .where(User.id.in_(select(Membership.user_id).where(Membership.status == MembershipStatus.ACTIVE)))
        .values(session_generation=User.session_generation + 1)
        .execution_options(synchronize_session=False)
    )
