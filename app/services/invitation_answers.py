"""What the holder of an invitation's link may do with it (chapter 1, 1.4, "Accept")."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import (
    AuditCategory,
    Invitation,
    InvitationStatus,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    User,
)
from app.security.context import acting, ctx
from app.services import audit, erased_identities, joining, org_status, outbox
from app.services.invitations import claim
from app.services.member_rules import a_role, lock_organization, membership_of, words


class Accepted(NamedTuple):
    """The outcome of a link: the membership and whether it stood already."""

    membership: Membership
    organization: Organization
    already_member: bool


class Offer(NamedTuple):
    """What the invitation page says before anybody signs in."""

    organization: Organization
    invitation: Invitation
    inviter: str | None
    problem: str | None  # the code the link would be refused with now


def by_digest(session: Session, digest: str) -> Invitation:
    """The invitation of a link (``token_hash`` of its secret), in whatever state. Raises INVITATION_NOT_FOUND."""
    with acting(session, token=digest, org_id=None, membership_id=None, role=None):
        row = session.scalars(
            select(Invitation)
            .where(Invitation.token_hash == digest)
            .execution_options(skip_tenancy=True, populate_existing=True)
        ).one_or_none()
    if row is None:
        raise DomainError("INVITATION_NOT_FOUND")
    return row


def offer(session: Session, digest: str) -> Offer:
    """What the link offers, for the page that explains it. Raises INVITATION_NOT_FOUND."""
    row = by_digest(session, digest)
    with acting(session, org_id=row.organization_id, membership_id=None, role=None):
        organization = session.get_one(Organization, row.organization_id)
        inviter = session.get(User, row.invited_by_user_id) if row.invited_by_user_id else None
    problem = None
    if row.status == InvitationStatus.EXPIRED or (
        row.status == InvitationStatus.PENDING and row.expires_at <= clock.now()
    ):
        problem = "INVITATION_EXPIRED"
    elif row.status != InvitationStatus.PENDING:
        problem = "INVITATION_NOT_PENDING"
    elif not org_status.accepts_members(organization.status):
        problem = "ORG_NOT_ACCEPTING_MEMBERS"
    return Offer(organization, row, inviter.name if inviter else None, problem)


def accept(session: Session, digest: str) -> Accepted:
    """Redeem the link of this ``token_hash`` for the acting person; the refusals come in the chapter's order (1.4, "Accept").

    Raises INVITATION_NOT_FOUND, INVITATION_EMAIL_MISMATCH, MEMBERSHIP_SUSPENDED, INVITATION_EXPIRED,
    INVITATION_NOT_PENDING, ORG_NOT_ACCEPTING_MEMBERS, USER_ERASED, SEAT_LIMIT_REACHED and role refusals.
    """
    user = session.get(User, ctx().user_id or -1)
    if user is None:
        raise DomainError("UNAUTHENTICATED")
    found = by_digest(session, digest)
    if found.email != user.email.lower():
        raise DomainError("INVITATION_EMAIL_MISMATCH")
    with acting(session, org_id=found.organization_id, membership_id=None, role=None):
        organization = lock_organization(session)
        row = session.scalars(
            select(Invitation).where(Invitation.id == found.id).execution_options(populate_existing=True)
        ).one()
        existing = membership_of(session, user.id)
        if existing is not None and existing.status == MembershipStatus.SUSPENDED:
            raise DomainError("MEMBERSHIP_SUSPENDED")
        if existing is not None and existing.status == MembershipStatus.ACTIVE:
            return Accepted(existing, organization, True)
        _acceptable(row, organization, user, existing)
        joined = joining.activate(
            session, organization, user, row.role, row.department_label, source="invitation"
        )
        claim(session, row, InvitationStatus.ACCEPTED, accepted_by_user_id=user.id, accepted_at=clock.now())
        user.email_verified_at = user.email_verified_at or clock.now()  # holding the token proves the mailbox
        erased_identities.lift(session, user.email)
        session.flush()
        with acting(session, membership_id=joined.membership.id, role=row.role.value):
            _welcome(session, organization, row, user, joined)
        return Accepted(joined.membership, organization, False)


def _acceptable(row: Invitation, organization: Organization, user: User, existing: Membership | None) -> None:
    expired = row.status == InvitationStatus.PENDING and row.expires_at <= clock.now()
    if row.status == InvitationStatus.EXPIRED or expired:
        raise DomainError("INVITATION_EXPIRED")
    if row.status != InvitationStatus.PENDING:
        raise DomainError("INVITATION_NOT_PENDING", state=row.status.value)
    if not org_status.accepts_members(organization.status):
        raise DomainError("ORG_NOT_ACCEPTING_MEMBERS")
    if user.erased_at is not None or (existing is not None and existing.status == MembershipStatus.ERASED):
        raise DomainError("USER_ERASED")


def _welcome(
    session: Session, organization: Organization, row: Invitation, user: User, joined: joining.Joined
) -> None:
    audit.record(
        session,
        AuditCategory.MEMBER,
        "INVITE_ACCEPTED",
        f"{user.name} joined as {words(row.role)}.",
        target_type="invitation",
        target_id=row.public_id,
        target_membership_id=joined.membership.id,
        role=row.role.value,
        reactivated=not joined.created,
    )
    audit.record(
        session,
        AuditCategory.MEMBER,
        "MEMBER_ADDED",
        f"{user.name} joined as {words(row.role)}.",
        target_type="membership",
        target_id=joined.membership.public_id,
        target_membership_id=joined.membership.id,
        role=row.role.value,
        source="invitation",
        reactivated=not joined.created,
    )
    page = f"/dashboard/organization/{organization.slug}/members/"
    people = session.execute(
        select(User.id, User.email, User.first_name, User.last_name)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.role.in_([OrgRole.OWNER, OrgRole.MAINTAINER]),
            Membership.status == MembershipStatus.ACTIVE,
            User.id != user.id,
        )
    ).all()
    for person in people:
        outbox.notify(
            session,
            person.id,
            "member_added",
            f"{user.name} joined {organization.name}",
            f"Role: {words(row.role)}.",
            url=page,
            routed=True,
        )
        if person.id == row.invited_by_user_id:
            outbox.mail(
                session,
                person.email,
                "invitation_accepted",
                routed_for=person.id,
                organization=organization.name,
                member=user.name,
                email=user.email,
                role=a_role(row.role),
                path=page,
            )


def decline(session: Session, digest: str) -> Organization:
    """The invited person says no. Raises INVITATION_NOT_FOUND, INVITATION_EMAIL_MISMATCH, INVITATION_NOT_PENDING."""
    user = session.get(User, ctx().user_id or -1)
    if user is None:
        raise DomainError("UNAUTHENTICATED")
    row = by_digest(session, digest)
    if row.email != user.email.lower():
        raise DomainError("INVITATION_EMAIL_MISMATCH")
    with acting(session, org_id=row.organization_id, membership_id=None, role=None):
        claim(session, row, InvitationStatus.DECLINED)
        audit.record(
            session,
            AuditCategory.MEMBER,
            "INVITE_DECLINED",
            f"{row.email} declined the invitation.",
            target_type="invitation",
            target_id=row.public_id,
        )
        return session.get_one(Organization, row.organization_id)
