"""Who may touch whom, last owners, growth and seats: the guards every change of people passes (chapter 1, 1.3).

Locking: a change first locks the organisation's row, then the membership's; so counts of owners and people are exact
and two changes of one organisation never deadlock. (The chapter asks for a SERIALIZABLE transaction around the count
of owners; the lock gives the same guarantee without retries.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, joinedload
from sqlalchemy.orm.attributes import set_committed_value

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    ConsultantProfile,
    DomainClaim,
    Invitation,
    InvitationStatus,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    OrgStatus,
    PayoutRecipient,
    RoleSource,
    User,
)
from app.security.context import acting, ctx
from app.security.sessions import bump_generation
from app.services import org_status
from app.services.text import one_line

PRIVILEGED = frozenset({OrgRole.OWNER, OrgRole.MAINTAINER, OrgRole.BILLING_ADMIN})
CLIENTS = frozenset({OrgRole.LEARNER, OrgRole.EXPERT})
GROWTH_CAP = 5


def words(role: OrgRole | str) -> str:
    """A role as people read it: billing admin."""
    return str(role).replace("_", " ").lower()


def a_role(role: OrgRole | str) -> str:
    """A role in a sentence: a learner, an owner."""
    name = words(role)
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def is_owner() -> bool:
    """Whether the acting identity has an owner's authority; ADMIN acts as OWNER."""
    return ctx().is_admin or ctx().role == OrgRole.OWNER


def lock_organization(session: Session) -> Organization:
    """The organisation acted for, locked against other changes of its people; reads its row afresh."""
    row = session.scalars(
        select(Organization)
        .where(Organization.id == (ctx().org_id or -1))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def check_authority(organization: Organization, *roles: OrgRole) -> None:
    """Only an owner touches OWNER, MAINTAINER and BILLING_ADMIN rows or grants those roles.

    Raises ORG_NOT_ACTIVE (suspended organisations are read-only), OWNER_REQUIRED (people_owner_only),
    ROLE_REQUIRES_OWNER.
    """
    org_status.require(organization.status)
    if is_owner():
        return
    if organization.people_owner_only:
        raise DomainError("OWNER_REQUIRED")
    if PRIVILEGED & set(roles):
        raise DomainError("ROLE_REQUIRES_OWNER")


def check_role(organization: Organization, role: OrgRole) -> None:
    """Raises LEARNER_REQUIRES_CANSPONSOR, EXPERT_REQUIRES_CANHOST."""
    if role == OrgRole.LEARNER and not organization.can_sponsor:
        raise DomainError("LEARNER_REQUIRES_CANSPONSOR")
    if role == OrgRole.EXPERT and not organization.can_host:
        raise DomainError("EXPERT_REQUIRES_CANHOST")


@dataclass
class Growth:
    """How many people there are against the growth cap; *limit* is None where none stands."""

    limit: int | None
    active: int = 0
    invited: int = 0

    def check(self, adding: int = 1) -> None:
        """Raises DOMAIN_VERIFICATION_REQUIRED."""
        if self.limit is not None and self.active + self.invited + adding > self.limit:
            raise DomainError(
                "DOMAIN_VERIFICATION_REQUIRED", limit=self.limit, active=self.active, invited=self.invited
            )


def growth(session: Session, organization: Organization) -> Growth:
    """Without a verified domain: ACTIVE members and open invitations together at most five.

    Call with the organisation locked.
    """
    if organization.domain_cap_waived_at is not None:
        return Growth(None)
    verified = session.scalar(
        select(DomainClaim.id)
        .where(DomainClaim.verified_at.is_not(None), DomainClaim.lapsed_at.is_(None))
        .limit(1)
    )
    if verified is not None and organization.status != OrgStatus.PENDING_VERIFICATION:
        return Growth(None)
    people = session.scalar(
        select(func.count(Membership.id)).where(Membership.status == MembershipStatus.ACTIVE)
    )
    invited = session.scalar(
        select(func.count(Invitation.id)).where(
            Invitation.status == InvitationStatus.PENDING, Invitation.expires_at > clock.now()
        )
    )
    return Growth(GROWTH_CAP, people or 0, invited or 0)


def check_growth(session: Session, organization: Organization, adding: int = 1) -> None:
    """Whether *adding* people stay within ``growth``. Raises DOMAIN_VERIFICATION_REQUIRED."""
    growth(session, organization).check(adding)


def check_last_owner(session: Session, membership: Membership) -> None:
    """Raises LAST_OWNER if *membership* is the only ACTIVE OWNER. Call with the organisation locked."""
    if membership.role != OrgRole.OWNER or membership.status != MembershipStatus.ACTIVE:
        return
    others = session.scalar(
        select(func.count(Membership.id)).where(
            Membership.role == OrgRole.OWNER,
            Membership.status == MembershipStatus.ACTIVE,
            Membership.id != membership.id,
        )
    )
    if not others:
        raise DomainError("LAST_OWNER")


def check_still_in_charge(session: Session, *roles: OrgRole) -> None:
    """The actor's authority, read again under the lock: a demotion may have won the race.

    Raises NOT_A_MEMBER, ROLE_REQUIRES_OWNER, OWNER_REQUIRED, INSUFFICIENT_ROLE.
    """
    c = ctx()
    if c.membership_id is None or c.is_admin:
        return
    row = session.execute(
        select(Membership.role, Membership.status).where(Membership.id == c.membership_id)
    ).one()
    if row.status != MembershipStatus.ACTIVE:
        raise DomainError("NOT_A_MEMBER")
    if row.role != OrgRole.OWNER and PRIVILEGED & set(roles):
        raise DomainError("ROLE_REQUIRES_OWNER")
    if row.role not in (OrgRole.OWNER, OrgRole.MAINTAINER):
        raise DomainError("INSUFFICIENT_ROLE")
    organization = session.get(Organization, c.org_id)
    if row.role != OrgRole.OWNER and organization is not None and organization.people_owner_only:
        raise DomainError("OWNER_REQUIRED")


def occupies(role: OrgRole, status: MembershipStatus) -> bool:
    """An ACTIVE LEARNER occupies one seat."""
    return role == OrgRole.LEARNER and status == MembershipStatus.ACTIVE


def acquire_seat(session: Session, organization_id: int, seats: int = 1) -> None:
    """Take a seat, or several, by conditional UPDATE. Raises SEAT_LIMIT_REACHED."""
    done = session.execute(
        update(Organization)
        .where(
            Organization.id == organization_id,
            (Organization.seats_total.is_(None))
            | (Organization.seats_used + seats <= Organization.seats_total),
        )
        .values(seats_used=Organization.seats_used + seats)
        .returning(Organization.seats_used)
        .execution_options(synchronize_session=False)
    ).scalar()
    if done is None:
        raise DomainError("SEAT_LIMIT_REACHED")


def release_seat(session: Session, organization_id: int, seats: int = 1) -> None:
    """Give a seat back, or several; call only for memberships that occupied one."""
    session.execute(
        update(Organization)
        .where(Organization.id == organization_id)
        .values(seats_used=func.greatest(Organization.seats_used - seats, 0))
        .execution_options(synchronize_session=False)
    )


def move(session: Session, membership: Membership, role: OrgRole, status: MembershipStatus) -> None:
    """Give *membership* its new role and status, and the seat that follows."""
    before, after = occupies(membership.role, membership.status), occupies(role, status)
    if after and not before:
        acquire_seat(session, membership.organization_id)
        membership.seat_assigned_at = clock.now()
    elif before and not after:
        release_seat(session, membership.organization_id)
        membership.seat_assigned_at = None
    if role != membership.role:
        membership.payout_recipient = PayoutRecipient.SELF
    membership.role, membership.status = role, status
    session.flush()
    bump_generation(session, membership.user_id)
    recompute_independence(session, membership.user_id)


def move_roles(session: Session, roles: Sequence[tuple[Membership, OrgRole]], source: RoleSource) -> None:
    """``move`` for many whose status stays: as many statements for thousands as for one. All are of one organisation.

    Raises SEAT_LIMIT_REACHED when more seats are needed than are free and given back.
    """
    if not roles:
        return
    session.flush()
    need = sum(occupies(role, m.status) - occupies(m.role, m.status) for m, role in roles)
    if need > 0:
        acquire_seat(session, roles[0][0].organization_id, need)
    elif need < 0:
        release_seat(session, roles[0][0].organization_id, -need)
    alike: dict[tuple[OrgRole, bool, bool], list[Membership]] = {}
    for m, role in roles:
        alike.setdefault((role, occupies(m.role, m.status), occupies(role, m.status)), []).append(m)
    for (role, before, after), members in alike.items():
        values: dict[str, Any] = {
            "role": role,
            "role_source": source,
            "payout_recipient": PayoutRecipient.SELF,
        }
        if before != after:
            values["seat_assigned_at"] = clock.now() if after else None
        session.execute(
            update(Membership)
            .where(Membership.id.in_([m.id for m in members]))
            .values(**values)
            .execution_options(synchronize_session=False)
        )
        for m in members:
            for name, value in values.items():
                set_committed_value(m, name, value)
    people = [m.user_id for m, _ in roles]
    session.execute(
        update(User)
        .where(User.id.in_(people))
        .values(session_generation=User.session_generation + 1)
        .execution_options(synchronize_session=False)
    )
    experts = select(ConsultantProfile.user_id).where(ConsultantProfile.user_id.in_(people))
    for user_id in session.scalars(experts).all():
        recompute_independence(session, user_id)


def recompute_independence(session: Session, user_id: int) -> None:
    """consultant_profile.is_independent: true iff no ACTIVE EXPERT membership in a hosting organisation (1.1)."""
    if session.scalar(select(ConsultantProfile.id).where(ConsultantProfile.user_id == user_id)) is None:
        return
    with acting(
        session, user_id=user_id, org_id=None, membership_id=None, role=None
    ):  # that person's own rows
        hosted = session.scalar(
            select(func.count())
            .select_from(Membership)
            .join(Organization, Organization.id == Membership.organization_id)
            .where(
                Membership.user_id == user_id,
                Membership.role == OrgRole.EXPERT,
                Membership.status == MembershipStatus.ACTIVE,
                Organization.can_host,
            ),
            execution_options={"skip_tenancy": True},
        )
    session.execute(
        update(ConsultantProfile)
        .where(ConsultantProfile.user_id == user_id)
        .values(is_independent=not hosted)
        .execution_options(synchronize_session=False)
    )


def membership_of(session: Session, user_id: int) -> Membership | None:
    """That person's row in the organisation acted for, locked."""
    return (
        session.scalars(
            select(Membership)
            .where(Membership.user_id == user_id)
            .with_for_update(of=Membership)
            .options(joinedload(Membership.user))
            .execution_options(populate_existing=True)
        )
        .unique()
        .one_or_none()
    )


def check_clients(before: OrgRole, after: OrgRole) -> None:
    if before in CLIENTS and after in CLIENTS and before != after:
        raise DomainError("ROLE_TRANSITION_BLOCKED", before=before.value, after=after.value)


def clean_department(value: Any) -> str | None:
    text = one_line(str(value or ""))
    if len(text) > 100:
        raise Invalid({"department_label": ["At most 100 characters."]})
    return text or None
