"""What still ties a member to an organisation (chapter 1, "Removal").

Counts are of the organisation acted for.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from app import clock
from app.models import (
    Appointment,
    AppointmentStatus,
    Assignment,
    AssignmentStatus,
    ChargeTo,
    ConsultantEarning,
    Dispute,
    DisputeStatus,
    EarningStatus,
    Membership,
    OverageEvent,
    OverageStatus,
    Payment,
    Refund,
    RefundStatus,
)

LIVE = (AssignmentStatus.ACTIVE, AssignmentStatus.PAUSED)
UPCOMING = (AppointmentStatus.TENTATIVE, AppointmentStatus.CONFIRMED)
UNPAID = (
    EarningStatus.PENDING_TRUST,
    EarningStatus.PENDING,
    EarningStatus.READY,
    EarningStatus.BATCHED,
    EarningStatus.HELD,
)
DISPUTED = (
    DisputeStatus.WARNING_NEEDS_RESPONSE,
    DisputeStatus.WARNING_UNDER_REVIEW,
    DisputeStatus.NEEDS_RESPONSE,
    DisputeStatus.UNDER_REVIEW,
)
WORDS = {
    "upcoming_sessions": ("upcoming session", "upcoming sessions"),
    "live_seats": ("place in a program", "places in programs"),
    "overage_inflight": ("overage being charged", "overages being charged"),
    "unpaid_earnings": ("unpaid earning", "unpaid earnings"),
    "pending_refunds": ("pending refund", "pending refunds"),
    "open_disputes": ("open dispute", "open disputes"),
}


def sentence(counts: dict[str, int]) -> str:
    """The counts for people: "2 upcoming sessions and 1 place in a program"; empty when nothing is open."""
    parts = [f"{n} {WORDS[kind][n != 1]}" for kind, n in counts.items() if n]
    return " and ".join(p for p in (", ".join(parts[:-1]), parts[-1] if parts else "") if p)


def of(session: Session, membership: Membership) -> dict[str, int]:
    """Open obligations of *membership* in its organisation: the chapter's six counts, in one round trip."""
    person = membership.user_id
    upcoming = select(func.count(Appointment.id)).where(
        or_(Appointment.learner_user_id == person, Appointment.expert_user_id == person),
        Appointment.organization_id == membership.organization_id,
        Appointment.status.in_(UPCOMING),
        Appointment.ends_at > clock.now(),
    )
    seats = select(func.count(Assignment.id)).where(
        Assignment.membership_id == membership.id,
        Assignment.status.in_(LIVE),
        Assignment.period_end >= clock.today_ist(),
    )
    earnings = select(func.count(ConsultantEarning.id)).where(
        ConsultantEarning.consultant_user_id == person,
        ConsultantEarning.status.in_(UNPAID),
        ConsultantEarning.organization_id == membership.organization_id,
    )
    refunds = select(func.count(Refund.id)).where(
        Refund.user_id == person,
        Refund.organization_id == membership.organization_id,
        Refund.status == RefundStatus.PENDING,
    )
    overages = select(func.count(OverageEvent.id)).where(
        OverageEvent.membership_id == membership.id,
        OverageEvent.charge_to == ChargeTo.MEMBER,
        OverageEvent.charge_status.in_((OverageStatus.PENDING, OverageStatus.FAILED)),
    )
    disputes = select(func.count(Dispute.id)).where(
        Dispute.user_id == person,
        Dispute.organization_id == membership.organization_id,
        Dispute.status.in_(DISPUTED),
    )
    parts = (upcoming, seats, earnings, refunds, overages, disputes)
    row = session.execute(select(*(q.scalar_subquery() for q in parts))).one()
    return {
        "upcoming_sessions": row[0],
        "live_seats": row[1],
        "overage_inflight": row[4],
        "unpaid_earnings": row[2],
        "pending_refunds": row[3],
        "open_disputes": row[-1],
    }


def with_history(session: Session, members: Sequence[Membership]) -> set[int]:
    """Inner keys of those of *members*, all of the organisation acted for, of whom ``has_history`` holds."""
    if not members:
        return set()
    by_user, org = {m.user_id: m.id for m in members}, members[0].organization_id
    found = set(
        session.scalars(
            select(Assignment.membership_id).where(
                Assignment.organization_id == org, Assignment.membership_id.in_(by_user.values())
            )
        )
    )
    for owner, person in (
        (Appointment, Appointment.learner_user_id),
        (Appointment, Appointment.expert_user_id),
        (Payment, Payment.user_id),
    ):
        people = select(person).where(owner.organization_id == org, person.in_(by_user)).distinct()
        found |= {by_user[user] for user in session.scalars(people)}
    return {key for key in found if key is not None}


def has_history(session: Session, membership: Membership) -> bool:
    """Whether the member booked, was booked, or held a place in a program here."""
    person, org = membership.user_id, membership.organization_id
    return bool(
        session.scalar(
            select(
                or_(
                    exists().where(
                        Appointment.organization_id == org,
                        or_(Appointment.learner_user_id == person, Appointment.expert_user_id == person),
                    ),
                    exists().where(Payment.organization_id == org, Payment.user_id == person),
                    exists().where(
                        Assignment.organization_id == org, Assignment.membership_id == membership.id
                    ),
                )
            )
        )
    )
