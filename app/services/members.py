"""Changing and ending memberships: one module decides, whoever asks (chapter 1, 1.3).

The guards stand in member_rules.py, joining in joining.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.identity.domains import to_ascii
from app.models import (
    Assignment,
    AuditCategory,
    ConsultantProfile,
    DomainClaim,
    MemberRequest,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    PayoutRecipient,
    RequestStatus,
    RoleSource,
    SsoIdentity,
)
from app.security import sessions
from app.security.context import ctx
from app.services import api_keys, audit, chats, erased_identities, obligations, outbox
from app.services.joining import emit
from app.services.member_rules import (
    CLIENTS,
    check_authority,
    check_clients,
    check_growth,
    check_last_owner,
    check_role,
    check_still_in_charge,
    clean_department,
    is_owner,
    lock_organization,
    membership_of,
    move,
    words,
)

ALLOWED_FROM = {
    MembershipStatus.ACTIVE: {MembershipStatus.PENDING, MembershipStatus.SUSPENDED},
    MembershipStatus.SUSPENDED: {MembershipStatus.PENDING, MembershipStatus.ACTIVE},
    MembershipStatus.REMOVED: {MembershipStatus.PENDING, MembershipStatus.ACTIVE, MembershipStatus.SUSPENDED},
}
UNSET: Any = object()
MAX_LIMIT = 10**15  # paise


# ---- changing -------------------------------------------------------------------------------------------------------


def change_member(
    session: Session,
    membership: Membership,
    *,
    role: OrgRole | None = None,
    status: MembershipStatus | None = None,
    department_label: Any = UNSET,
    payout_recipient: PayoutRecipient | None = None,
) -> Membership:
    """Change a member's role, status, department or payout routing; each change has its own audit row.

    Raises SELF_CHANGE, OWNER_REQUIRED, ROLE_REQUIRES_OWNER, LAST_OWNER, ILLEGAL_TRANSITION, ROLE_TRANSITION_BLOCKED,
    REMOVE_AND_REINVITE, NOT_A_CONSULTANT, SEAT_LIMIT_REACHED, DOMAIN_VERIFICATION_REQUIRED (who comes back counts
    towards the growth cap), Invalid and the capability refusals.
    """
    role, status = role or membership.role, status or membership.status
    moves = role != membership.role or status != membership.status
    if moves and membership.user_id == ctx().user_id:
        raise DomainError("SELF_CHANGE")
    organization = lock_organization(session)
    check_authority(organization, membership.role, role)
    row = _reload(session, membership)
    moves = role != row.role or status != row.status
    if moves and (role != OrgRole.OWNER or status != MembershipStatus.ACTIVE):
        check_last_owner(session, row)
    check_still_in_charge(session, row.role, role)
    if status != row.status and (
        status not in ALLOWED_FROM
        or row.status not in ALLOWED_FROM[status]
        or status == MembershipStatus.REMOVED
    ):
        raise DomainError("ILLEGAL_TRANSITION", before=row.status.value, after=status.value)
    if status == MembershipStatus.ACTIVE and row.status != status:
        check_growth(session, organization)
    if role != row.role:
        check_role_change(session, organization, row, role)
    before = (row.role, row.status)
    if moves:
        if role != row.role:
            row.role_source = RoleSource.MANUAL  # stands until the directory's groups or their mapping change
        move(session, row, role, status)
        _record_move(session, row, *before)
        if status == MembershipStatus.SUSPENDED and before[1] != status:
            end_sessions(session, row)
    _details(session, row, department_label, payout_recipient)
    return row


def _reload(session: Session, membership: Membership) -> Membership:
    """The row as it is under the lock. Raises ILLEGAL_TRANSITION for a member who is gone."""
    row = membership_of(session, membership.user_id)
    if row is None:
        raise DomainError("MEMBER_NOT_FOUND")
    if row.status in (MembershipStatus.REMOVED, MembershipStatus.ERASED):
        raise DomainError("ILLEGAL_TRANSITION", before=row.status.value)
    return row


class Facts(NamedTuple):
    """What decides whether roles may change, read for many at once."""

    with_history: set[int]  # memberships
    consultants: set[int]  # users


def facts_of(session: Session, rows: Sequence[Membership]) -> Facts:
    """The facts of *rows*, members of the organisation acted for: a constant number of statements."""
    people = select(ConsultantProfile.user_id).where(
        ConsultantProfile.user_id.in_([row.user_id for row in rows])
    )
    clients = [row for row in rows if row.role in CLIENTS]
    return Facts(obligations.with_history(session, clients), set(session.scalars(people)))


def check_role_change(
    session: Session, organization: Organization, row: Membership, role: OrgRole, facts: Facts | None = None
) -> None:
    facts = facts or facts_of(session, [row])
    check_clients(row.role, role)
    check_role(organization, role)
    if row.role in CLIENTS and row.id in facts.with_history:
        raise DomainError("REMOVE_AND_REINVITE")
    if role == OrgRole.EXPERT and row.user_id not in facts.consultants:
        raise DomainError("NOT_A_CONSULTANT")


def _record_move(session: Session, row: Membership, role: OrgRole, status: MembershipStatus) -> None:
    target: dict[str, Any] = {
        "target_type": "membership",
        "target_id": row.public_id,
        "target_membership_id": row.id,
    }
    if row.role != role:
        audit.record(
            session,
            AuditCategory.MEMBER,
            "ROLE_CHANGE",
            f"{row.user.name} changed from {words(role)} to {words(row.role)}.",
            **target,
            before={"role": role.value},
            after={"role": row.role.value},
        )
    if row.status != status:
        audit.record(
            session,
            AuditCategory.MEMBER,
            "STATUS_CHANGE",
            f"{row.user.name} is now {row.status.value.lower()}.",
            **target,
            before={"status": status.value},
            after={"status": row.status.value},
        )


def _details(
    session: Session, row: Membership, department_label: Any, payout_recipient: PayoutRecipient | None
) -> None:
    target: dict[str, Any] = {
        "target_type": "membership",
        "target_id": row.public_id,
        "target_membership_id": row.id,
    }
    if department_label is not UNSET and clean_department(department_label) != row.department_label:
        before, row.department_label = row.department_label, clean_department(department_label)
        audit.record(
            session,
            AuditCategory.MEMBER,
            "MEMBER_DEPARTMENT_CHANGED",
            f"{row.user.name} moved to {row.department_label or 'no department'}.",
            **target,
            before={"department_label": before},
            after={"department_label": row.department_label},
        )
        sessions.bump_generation(session, row.user_id)
    if payout_recipient is not None and payout_recipient != row.payout_recipient:
        if row.role != OrgRole.EXPERT:
            raise Invalid({"payout_recipient": ["Only experts are paid out."]})
        previous, row.payout_recipient = row.payout_recipient, payout_recipient
        audit.record(
            session,
            AuditCategory.PAYOUT,
            "PAYOUT_RECIPIENT_CHANGED",
            f"Earnings of {row.user.name} now go to {words(payout_recipient)}.",
            **target,
            before={"payout_recipient": previous.value},
            after={"payout_recipient": payout_recipient.value},
        )
    session.flush()


def end_sessions(session: Session, row: Membership) -> None:
    """Somebody whose address is on a verified domain of the organisation, or whom its provider signs in, is signed out at
    once (chapter 3, Sessions)."""
    domain = to_ascii(str(row.user.email).rpartition("@")[2])
    ours = session.scalar(
        select(DomainClaim.id).where(
            DomainClaim.domain == domain,
            DomainClaim.verified_at.is_not(None),
            DomainClaim.lapsed_at.is_(None),
        )
    )
    if ours or session.scalar(select(SsoIdentity.id).where(SsoIdentity.user_id == row.user_id).limit(1)):
        sessions.revoke_all(session, row.user_id)


def set_spend_limit(session: Session, membership: Membership, paise: int | None) -> Membership:
    """A member's monthly limit in paise, at least 100, or None for no limit.

    Raises Invalid, ORG_NOT_ACTIVE, OWNER_REQUIRED, ROLE_REQUIRES_OWNER, ILLEGAL_TRANSITION (the member is gone).
    """
    if paise is not None and not 100 <= paise <= MAX_LIMIT:
        raise Invalid({"spend_limit_paise": ["At least ₹1.00 (100 paise), or nothing for no limit."]})
    organization = lock_organization(session)
    membership = _reload(session, membership)
    check_authority(organization, membership.role)
    before, membership.spend_limit_paise = membership.spend_limit_paise, paise
    if before != paise:
        audit.record(
            session,
            AuditCategory.MEMBER,
            "SPEND_LIMIT_CHANGED",
            f"Spend limit of {membership.user.name} changed.",
            target_type="membership",
            target_id=membership.public_id,
            target_membership_id=membership.id,
            before={"spend_limit_paise": before},
            after={"spend_limit_paise": paise},
        )
    session.flush()
    return membership


# ---- leaving --------------------------------------------------------------------------------------------------------


def remove_member(session: Session, membership: Membership, *, force: bool = False) -> Membership:
    """End a membership. Obligations refuse it, unless an owner forces it (chapter 1, "Removal").

    Raises SELF_CHANGE, OWNER_REQUIRED, ROLE_REQUIRES_OWNER, LAST_OWNER, ILLEGAL_TRANSITION, MEMBER_HAS_OBLIGATIONS.
    """
    if membership.user_id == ctx().user_id:
        raise DomainError("SELF_CHANGE")
    organization = lock_organization(session)
    check_authority(organization, membership.role)
    row = _reload(session, membership)
    check_last_owner(session, row)
    check_still_in_charge(session, row.role)
    open_counts: dict[str, Any] = {k: v for k, v in obligations.of(session, row).items() if v}
    if open_counts and not (force and is_owner()):
        raise held(open_counts)
    _end(
        session,
        organization,
        row,
        f"{row.user.name} was removed.",
        details={"forced": bool(force and open_counts), "obligations": open_counts},
    )
    outbox.mail(session, row.user.email, "member_removed", name=row.user.name, organization=organization.name)
    outbox.notify(
        session,
        row.user_id,
        "member_removed",
        f"You are no longer a member of {organization.name}",
        "Your own account and your personal bookings stay.",
    )
    return row


def held(open_counts: dict[str, int], own: bool = False) -> DomainError:
    """The refusal that says what is still open."""
    who = "You still have" if own else "This member still has"
    return DomainError(
        "MEMBER_HAS_OBLIGATIONS", message=f"{who} {obligations.sentence(open_counts)} here.", **open_counts
    )


def leave(session: Session) -> Membership:
    """The acting person leaves the organisation acted for; their live seats are given back.

    Raises NOT_A_MEMBER, LAST_OWNER, MEMBER_HAS_OBLIGATIONS.
    """
    organization = lock_organization(session)
    row = membership_of(session, ctx().user_id or -1)
    if row is None or row.status != MembershipStatus.ACTIVE:
        raise DomainError("NOT_A_MEMBER")
    check_last_owner(session, row)
    open_counts: dict[str, Any] = {
        k: v for k, v in obligations.of(session, row).items() if v and k != "live_seats"
    }
    if open_counts:
        raise held(open_counts, own=True)
    _end(session, organization, row, f"{row.user.name} left.", details={"left": True})
    for owner in session.scalars(
        select(Membership.user_id).where(
            Membership.role == OrgRole.OWNER, Membership.status == MembershipStatus.ACTIVE
        )
    ):
        outbox.notify(
            session,
            owner,
            "member_left",
            f"{row.user.name} left {organization.name}",
            url=f"/dashboard/organization/{organization.slug}/members/",
            routed=True,
        )
    return row


def erase_member(session: Session, membership: Membership) -> Membership:
    """The person's data is being erased: the membership ends for ever (chapter 1, 1.3: ERASED is irreversible).

    For the erasure of a person, before the account's address is scrubbed: the tombstone that answers their directory
    is made of it. The last owner is refused there as here. Raises LAST_OWNER, ILLEGAL_TRANSITION.
    """
    organization = lock_organization(session)
    row = membership_of(session, membership.user_id)
    if row is None or row.status == MembershipStatus.ERASED:
        raise DomainError("ILLEGAL_TRANSITION")
    check_last_owner(session, row)
    erased_identities.bury(session, row, row.user.email)
    _end(
        session,
        organization,
        row,
        "A membership was erased.",
        to=MembershipStatus.ERASED,
        source="dpdp_erasure",
    )
    return row


def _end(
    session: Session,
    organization: Organization,
    row: Membership,
    text: str,
    *,
    to: MembershipStatus = MembershipStatus.REMOVED,
    source: str = "in_app",
    details: dict[str, Any] | None = None,
) -> None:
    """What every end of a membership has in common: seat, places, channels, open requests, sessions, event, audit."""
    cancelled = session.execute(
        update(Assignment)
        .where(Assignment.membership_id == row.id, Assignment.status.in_(obligations.LIVE))
        .values(status="CANCELLED", closed_at=clock.now())
        .returning(Assignment.id)
        .execution_options(synchronize_session=False)
    ).all()
    session.execute(
        update(MemberRequest)
        .where(MemberRequest.membership_id == row.id, MemberRequest.status == RequestStatus.PENDING)
        .values(status=RequestStatus.CANCELED, decided_at=clock.now())
        .execution_options(synchronize_session=False)
    )
    left = chats.revoke(session, organization.id, row.user_id)
    before = row.status
    end_sessions(session, row)
    api_keys.revoke_all_of(session, row.user_id)
    move(session, row, row.role, to)
    emit(session, "member.removed", row, row.user, before.value, source)
    audit.record(
        session,
        AuditCategory.MEMBER,
        "MEMBER_REMOVED",
        text,
        target_type="membership",
        target_id=row.public_id,
        target_membership_id=row.id,
        before={"status": before.value},
        after={"status": to.value},
        role=row.role.value,
        assignments_cancelled=len(cancelled),
        channels_left=left,
        **(details or {}),
    )
