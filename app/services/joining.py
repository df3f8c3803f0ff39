"""Joining an organisation: the one way a person becomes an ACTIVE member (chapter 1, 1.3, "Direct add")."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import (
    AuditCategory,
    ConsultantProfile,
    ExpertStatus,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    User,
)
from app.services import assignments, audit, outbox
from app.services.member_rules import (
    a_role,
    check_authority,
    check_clients,
    check_growth,
    check_role,
    check_still_in_charge,
    clean_department,
    lock_organization,
    membership_of,
    move,
    words,
)


class Joined(NamedTuple):
    """A membership that became ACTIVE, and whether its row is new."""

    membership: Membership
    created: bool


def find_person(session: Session, *, email: str | None = None, user_public_id: Any = None) -> User:
    """The account to add. Raises USER_NOT_FOUND, USER_ERASED."""
    clause = User.email == email.strip().lower() if email is not None else User.public_id == user_public_id
    user = session.scalars(select(User).where(clause)).one_or_none()
    if user is None:
        raise DomainError("USER_NOT_FOUND")
    if user.erased_at is not None:
        raise DomainError("USER_ERASED")
    return user


def activate(
    session: Session,
    organization: Organization,
    user: User,
    role: OrgRole,
    department_label: str | None,
    *,
    source: str = "in_app",
) -> Joined:
    """Make *user* an ACTIVE member: a new row, or the one for life reactivated. Emits ``member.added``.

    Call with the organisation locked. Raises USER_ERASED, ALREADY_MEMBER, MEMBERSHIP_SUSPENDED,
    ROLE_TRANSITION_BLOCKED, SEAT_LIMIT_REACHED.
    """
    check_role(organization, role)
    row = membership_of(session, user.id)
    before = row.status.value if row is not None else None
    if row is None:
        row = Membership(user_id=user.id, role=role, status=MembershipStatus.PENDING, user=user)
        session.add(row)
        created = True
    else:
        created = False
        if row.status == MembershipStatus.ERASED or user.erased_at is not None:
            raise DomainError("USER_ERASED")
        if row.status == MembershipStatus.ACTIVE:
            raise DomainError("ALREADY_MEMBER")
        if row.status == MembershipStatus.SUSPENDED:
            raise DomainError("ALREADY_MEMBER", state=row.status.value)
        check_clients(row.role, role)
    if role == OrgRole.EXPERT:
        _placeholder_profile(session, user.id)
    row.department_label = (
        clean_department(department_label) if department_label is not None else row.department_label
    )
    row.joined_at = clock.now()
    session.flush()
    move(session, row, role, MembershipStatus.ACTIVE)
    assignments.enrol_joiner(session, row)
    emit(session, "member.added", row, user, before, source)
    return Joined(row, created)


def emit(
    session: Session, event: str, row: Membership, user: User, previous_status: str | None, source: str
) -> None:
    """Queue ``member.added`` or ``member.removed`` with the payload of chapter 3, "Events".

    Of an erased person only the pseudonym leaves (chapter 3, "Erasure").
    """
    outbox.event(session, event, **told(row, user, previous_status, source))


def told(row: Membership, user: User, previous_status: str | None, source: str) -> dict[str, Any]:
    """What an event about a member says."""
    erased = row.status == MembershipStatus.ERASED
    return {
        "membership_id": str(row.public_id),
        **({"pseudonymous_id": user.pseudonymous_id} if erased else {"user_id": str(user.public_id)}),
        "role": row.role.value,
        "department_label": row.department_label,
        "previous_status": previous_status,
        "source": source,
    }


def _placeholder_profile(session: Session, user_id: int) -> None:
    """An expert's profile to begin with: General, WEEKLY, unverified, hence hidden (chapter 1, "Roles")."""
    if session.scalar(select(ConsultantProfile.id).where(ConsultantProfile.user_id == user_id)) is None:
        session.add(
            ConsultantProfile(
                user_id=user_id,
                domain="General",
                schedule_type="WEEKLY",
                verification_status=ExpertStatus.UNVERIFIED,
            )
        )
        session.flush()


def add_member(session: Session, user: User, role: OrgRole, department_label: str | None = None) -> Joined:
    """Add somebody who has an account already; a REMOVED row is reactivated (chapter 1, "Direct add").

    Raises OWNER_REQUIRED, ROLE_REQUIRES_OWNER, NOT_A_CONSULTANT, DOMAIN_VERIFICATION_REQUIRED and what ``activate``
    raises.
    """
    organization = lock_organization(session)
    check_authority(organization, role)
    check_role(organization, role)
    if (
        role == OrgRole.EXPERT
        and session.scalar(select(ConsultantProfile.id).where(ConsultantProfile.user_id == user.id)) is None
    ):
        raise DomainError("NOT_A_CONSULTANT")
    existing = membership_of(session, user.id)
    if existing is None or existing.status not in (MembershipStatus.ACTIVE, MembershipStatus.ERASED):
        check_growth(session, organization)
    check_still_in_charge(session, role)
    joined = activate(session, organization, user, role, department_label)
    row = joined.membership
    audit.record(
        session,
        AuditCategory.MEMBER,
        "MEMBER_ADDED",
        f"{user.name} was added {'' if joined.created else 'again '}as {words(role)}.",
        target_type="membership",
        target_id=row.public_id,
        target_membership_id=row.id,
        role=role,
        source="direct",
        reactivated=not joined.created,
    )
    outbox.notify(
        session,
        user.id,
        "member_added",
        f"You are now a member of {organization.name}",
        f"Role: {words(role)}.",
        url=f"/dashboard/organization/{organization.slug}",
    )
    outbox.mail(
        session,
        user.email,
        "member_added",
        name=user.name,
        organization=organization.name,
        role=a_role(role),
        path=f"/dashboard/organization/{organization.slug}",
        leave_path="/dashboard#leave",
    )
    return joined
