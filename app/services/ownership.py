"""Handing an organisation over: another member becomes its owner in one step (chapter 1, 1.3, "Last owner").

Everything happens under the organisation's lock, so that an owner stands at every moment and of two transfers, or a
transfer and a demotion, the second meets what the first left.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app.errors import DomainError, Invalid
from app.models import AuditCategory, Membership, MembershipStatus, Organization, OrgRole, User
from app.security.context import ctx
from app.services import audit, members, outbox
from app.services.member_rules import (
    check_authority,
    check_last_owner,
    lock_organization,
    membership_of,
    move,
)


class Afterwards(StrEnum):
    """What the one who hands over does next."""

    MAINTAINER = "MAINTAINER"
    OWNER = "OWNER"
    LEAVE = "LEAVE"


class Transfer(NamedTuple):
    """The new owner's membership, and the former one's as it is now."""

    owner: Membership
    former: Membership


def candidates(session: Session) -> list[Membership]:
    """ACTIVE members who could take over: everybody but owners. Names loaded, at most 500."""
    statement = (
        select(Membership)
        .where(
            Membership.status == MembershipStatus.ACTIVE,
            Membership.role != OrgRole.OWNER,
            Membership.user_id != (ctx().user_id or -1),
        )
        .options(joinedload(Membership.user))
        .order_by(Membership.id)
        .limit(500)
    )
    return list(session.scalars(statement))


def transfer(session: Session, target: Membership, afterwards: Afterwards, typed_slug: str) -> Transfer:
    """Make *target* an OWNER; the acting OWNER becomes MAINTAINER, stays OWNER, or leaves. All of it or nothing.

    The caller has confirmed who it is (app/security/confirm.py). Raises OWNER_REQUIRED (also for a platform
    administrator, who owns nothing to hand over), ORG_NOT_ACTIVE, Invalid (slug not typed, target is an owner already),
    SELF_CHANGE, MEMBERSHIP_NOT_ACTIVE, and what role changes and leaving raise.
    """
    organization = lock_organization(session)
    check_authority(organization, OrgRole.OWNER)
    mine = membership_of(session, ctx().user_id or -1)
    if mine is None or mine.role != OrgRole.OWNER or mine.status != MembershipStatus.ACTIVE:
        raise DomainError("OWNER_REQUIRED")
    if typed_slug.strip() != organization.slug:
        raise Invalid({"confirm_word": [f"Type “{organization.slug}” to confirm."]})
    if target.user_id == mine.user_id:
        raise DomainError("SELF_CHANGE")
    row = membership_of(session, target.user_id)
    if row is None or row.status != MembershipStatus.ACTIVE:
        raise DomainError("MEMBERSHIP_NOT_ACTIVE")
    if row.role == OrgRole.OWNER:
        raise Invalid({"member_id": ["This member is an owner already."]})
    row = members.change_member(session, row, role=OrgRole.OWNER)
    audit.record(
        session,
        AuditCategory.MEMBER,
        "OWNERSHIP_TRANSFERRED",
        f"{mine.user.name} handed the organisation over to {row.user.name}.",
        target_type="membership",
        target_id=row.public_id,
        target_membership_id=row.id,
        former_owner=afterwards.value,
    )
    _step_back(session, mine, afterwards)
    _tell(session, organization, row.user, mine.user, afterwards)
    return Transfer(row, mine)


def _step_back(session: Session, mine: Membership, afterwards: Afterwards) -> None:
    if afterwards == Afterwards.OWNER:
        return
    check_last_owner(session, mine)  # never: there is a new one. It is asked all the same
    if afterwards == Afterwards.LEAVE:
        members.leave(session)
        return
    move(session, mine, OrgRole.MAINTAINER, MembershipStatus.ACTIVE)
    audit.record(
        session,
        AuditCategory.MEMBER,
        "ROLE_CHANGE",
        f"{mine.user.name} changed from owner to maintainer.",
        target_type="membership",
        target_id=mine.public_id,
        target_membership_id=mine.id,
        before={"role": "OWNER"},
        after={"role": "MAINTAINER"},
    )


def _tell(
    session: Session, organization: Organization, owner: User, former: User, afterwards: Afterwards
) -> None:
    page = f"/dashboard/organization/{organization.slug}"
    shared: dict[str, Any] = {
        "organization": organization.name,
        "owner": owner.name,
        "former": former.name,
        "path": page,
    }
    outbox.mail(session, owner.email, "ownership_received", name=owner.name, **shared)
    outbox.mail(
        session, former.email, "ownership_given", name=former.name, afterwards=afterwards.value, **shared
    )
    outbox.notify(
        session,
        owner.id,
        "ownership_received",
        f"You are now an owner of {organization.name}",
        f"{former.name} handed it over to you.",
        url=page,
    )
    outbox.notify(
        session,
        former.id,
        "ownership_given",
        f"You handed {organization.name} over to {owner.name}",
        url=None if afterwards == Afterwards.LEAVE else page,
    )
