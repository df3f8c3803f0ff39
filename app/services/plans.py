"""Making and changing plans (chapter 2, 2.3): an organisation's own, or an independent expert's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    Appointment,
    AppointmentStatus,
    AuditCategory,
    ConsultantProfile,
    Event,
    EventState,
    Membership,
    MembershipStatus,
    Organization,
    Plan,
    PlanCollaborator,
    PlanType,
    Visibility,
)
from app.security.context import acting, ctx
from app.services import audit, owners
from app.services.offers import EVENTS
from app.services.scopes import MINE, OrgScope

MAX_PRICE_PAISE = 10**12
MAX_COLLABORATORS = 10
WHOLE = 10_000  # bps
EVERYWHERE = owners.EVERYWHERE
CATEGORIES = (
    "Coaching",
    "Career",
    "Design",
    "Finance",
    "General",
    "Health",
    "Leadership",
    "Legal",
    "Marketing",
    "Operations",
    "People",
    "Product",
    "Sales",
    "Strategy",
    "Technology",
)


@dataclass(frozen=True)
class Draft:
    """What somebody wants a plan to be. *collaborators* are (profile's public id, bps) beside the owner, who keeps the
    rest; amounts in paise."""

    title: str
    price_paise: int
    description: str = ""
    category: str = "General"
    tax_bps: int = 1800
    duration_minutes: int = 60
    visibility: Visibility = Visibility.ORG_ONLY
    type: PlanType = PlanType.CONSULTATION
    total_sessions: int | None = None
    sessions_per_week: int | None = None
    max_participants: int | None = None
    trial_price_paise: int | None = None
    trial_minutes: int | None = None
    collaborators: Sequence[tuple[uuid.UUID, int]] = field(default=())

    def problems(self) -> dict[str, list[str]]:
        """What is wrong with each field, without looking at anything else."""
        out: dict[str, list[str]] = {}
        if not 3 <= len(self.title.strip()) <= 200:
            out["title"] = ["Between 3 and 200 characters."]
        if len(self.description) > 5000:
            out["description"] = ["At most 5,000 characters."]
        if len(self.category.strip()) > 120:
            out["category"] = ["At most 120 characters."]
        if not 0 <= self.price_paise <= MAX_PRICE_PAISE:
            out["price_paise"] = ["Must not be negative or absurdly large."]
        if not 0 <= self.tax_bps <= WHOLE:
            out["tax_bps"] = ["Between 0 and 100 %."]
        if not 5 <= self.duration_minutes <= 1440:
            out["duration_minutes"] = ["Between 5 minutes and 24 hours."]
        for name, low, high in _NEEDS[self.type]:
            value = getattr(self, name)
            if value is None or not low <= value <= high:
                out[name] = [f"From {low} to {high}."]
        if (
            self.type == PlanType.CLASS
            and self.sessions_per_week is not None
            and not 1 <= self.sessions_per_week <= 21
        ):
            out["sessions_per_week"] = ["From 1 to 21."]
        if (self.trial_minutes is None) != (self.trial_price_paise is None):
            out["trial_minutes"] = ["A trial has a length and a price (0 for free)."]
        elif self.trial_minutes is not None and self.trial_price_paise is not None:
            if self.type in EVENTS:
                out["trial_minutes"] = ["Webinars and classes have no trials."]
            elif not 5 <= self.trial_minutes <= 240 or not 0 <= self.trial_price_paise <= MAX_PRICE_PAISE:
                out["trial_minutes"] = ["Between 5 and 240 minutes, at a price that is not negative."]
        return out

    def columns(self) -> dict[str, Any]:
        """The plan's columns; what does not belong to its type is left out."""
        mine = {name for name, _, _ in _NEEDS[self.type]} | (
            {"sessions_per_week"} if self.type == PlanType.CLASS else set()
        )
        return {
            "title": self.title.strip(),
            "description": self.description.strip(),
            "category": self.category.strip() or "General",
            "price_paise": self.price_paise,
            "tax_bps": self.tax_bps,
            "duration_minutes": self.duration_minutes,
            "visibility": self.visibility,
            "type": self.type,
            **{
                name: getattr(self, name) if name in mine else None
                for name in ("total_sessions", "sessions_per_week", "max_participants")
            },
            "trial_price_paise": self.trial_price_paise,
            "trial_minutes": self.trial_minutes,
        }


_NEEDS: dict[PlanType, tuple[tuple[str, int, int], ...]] = {
    PlanType.CONSULTATION: (),
    PlanType.SUBSCRIPTION: (("total_sessions", 1, 500), ("sessions_per_week", 1, 21)),
    PlanType.WEBINAR: (("max_participants", 1, 100_000),),
    PlanType.CLASS: (("total_sessions", 1, 200), ("max_participants", 1, 100_000)),
}


def create(session: Session, draft: Draft, expert_id: uuid.UUID | None = None) -> Plan:
    """A plan of the organisation acted for, delivered by one of its active members (*expert_id*); without an
    organisation, the acting expert's own on the open marketplace.

    PUBLIC plans of an organisation are the host's trade: they need can_host. Raises Invalid, HOST_CAPABILITY_REQUIRED,
    NOT_FOUND (no expert profile).
    """
    org = ctx().org_id
    problems = draft.problems()
    owner = _owner(session, expert_id, problems)
    others = _collaborators(session, draft, owner, problems)
    if problems or owner is None:
        raise Invalid(problems)
    if org is None and draft.visibility != Visibility.PUBLIC:
        raise Invalid({"visibility": ["A plan without an organisation is for everybody."]})
    _check_public(session, draft)
    plan = Plan(organization_id=org, expert_id=owner.id, **draft.columns())
    session.add(plan)
    session.flush()
    _set_collaborators(session, plan, owner, others)
    _log(
        session,
        plan,
        "CATALOG_PLAN_CREATED",
        f"Created plan “{plan.title}”",
        visibility=plan.visibility.value,
    )
    return plan


def change(session: Session, plan: Plan, draft: Draft) -> Plan:
    """Change a plan. Its type stays, and bookings made keep their price and terms.

    A class's number of sessions and a webinar's participants may not fall below what open events have. Raises Invalid,
    HOST_CAPABILITY_REQUIRED, NOT_FOUND (not the caller's).
    """
    problems = draft.problems()
    if draft.type != plan.type:
        problems["type"] = ["The type of a plan stays as it is. Make another plan."]
    owner = session.get_one(ConsultantProfile, plan.expert_id)
    others = _collaborators(session, draft, owner, problems)
    if plan.type in EVENTS:
        open_events = session.scalars(
            select(func.max(Event.capacity)).where(
                Event.plan_id == plan.id, Event.status == EventState.OPEN, Event.starts_at > clock.now()
            ),
            execution_options=EVERYWHERE,
        ).one()
        if open_events is not None:
            if draft.total_sessions != plan.total_sessions:
                problems["total_sessions"] = ["An event is open. Call it off, or wait until it has ended."]
            if (draft.max_participants or 0) < open_events:
                problems["max_participants"] = [f"An open event has {open_events} seats."]
    if problems:
        raise Invalid(problems)
    with owners.owning(session, plan):
        if plan.organization_id is None and draft.visibility != Visibility.PUBLIC:
            raise Invalid({"visibility": ["A plan without an organisation is for everybody."]})
        _check_public(session, draft)
        columns = draft.columns()
        differing = audit.changes(plan, columns)
        session.execute(
            update(Plan)
            .where(Plan.id == plan.id)
            .values(**columns)
            .execution_options(synchronize_session=False, **EVERYWHERE)
        )
        _set_collaborators(session, plan, owner, others)
        session.refresh(plan)
        _log(session, plan, "CATALOG_PLAN_UPDATED", f"Changed plan “{plan.title}”", **differing)
        session.flush()
    return plan


def set_active(session: Session, plan: Plan, active: bool) -> None:
    """Take a plan off the catalogue or put it back. Bookings made stay. Raises ILLEGAL_TRANSITION on repetition."""
    with owners.owning(session, plan):
        done = session.execute(
            update(Plan)
            .where(Plan.id == plan.id, Plan.active.is_(not active))
            .values(active=active)
            .execution_options(synchronize_session=False, **EVERYWHERE)
        )
        if not done.rowcount:  # type: ignore[attr-defined]
            raise DomainError("ILLEGAL_TRANSITION")
        session.refresh(plan)
        _log(
            session,
            plan,
            "CATALOG_PLAN_RESTORED" if active else "CATALOG_PLAN_DEACTIVATED",
            f"{'Restored' if active else 'Deactivated'} plan “{plan.title}”",
        )
        session.flush()


def mine(session: Session, scope: OrgScope = MINE) -> list[Plan]:
    """The plans the acting expert delivers in a scope (hosted in an organisation, or their own), newest first."""
    if scope.everybody:
        scope = MINE
    return list(
        session.scalars(
            select(Plan)
            .join(ConsultantProfile, ConsultantProfile.id == Plan.expert_id)
            .where(ConsultantProfile.user_id == ctx().user_id, scope.clause(Plan.organization_id))
            .options(joinedload(Plan.expert).joinedload(ConsultantProfile.user))
            .order_by(Plan.active.desc(), Plan.created_at.desc(), Plan.id.desc())
            .limit(200),
            execution_options=EVERYWHERE,
        )
    )


def shares(session: Session, plan: Plan) -> list[tuple[ConsultantProfile, int]]:
    """Who shares a plan's price, its owner first: (profile with its user, bps); empty where one delivers it alone."""
    rows = session.scalars(
        select(PlanCollaborator)
        .where(PlanCollaborator.plan_id == plan.id)
        .options(joinedload(PlanCollaborator.expert).joinedload(ConsultantProfile.user))
        .order_by(PlanCollaborator.id),
        execution_options=EVERYWHERE,
    ).all()
    return sorted(((c.expert, c.revenue_share_bps) for c in rows), key=lambda x: x[0].id != plan.expert_id)


def booked(session: Session, plan: Plan) -> int:
    """How many live bookings a plan has, for its owner."""
    with owners.owning(session, plan), acting(session, scope="platform"):
        return int(
            session.scalar(
                select(func.count())
                .select_from(Appointment)
                .where(Appointment.plan_id == plan.id, Appointment.status == AppointmentStatus.CONFIRMED)
            )
            or 0
        )


def _owner(
    session: Session, expert_id: uuid.UUID | None, problems: dict[str, list[str]]
) -> ConsultantProfile | None:
    c = ctx()
    if c.org_id is None:
        row = session.scalars(
            select(ConsultantProfile).where(ConsultantProfile.user_id == c.user_id)
        ).one_or_none()
        if row is None:
            raise DomainError("NOT_FOUND")
        return row
    row = session.scalars(
        select(ConsultantProfile)
        .join(Membership, Membership.user_id == ConsultantProfile.user_id)
        .where(
            ConsultantProfile.public_id == expert_id,
            Membership.organization_id == c.org_id,
            Membership.status == MembershipStatus.ACTIVE,
        )
    ).one_or_none()
    if row is None:
        problems["expert_id"] = ["Choose an active member with an expert profile."]
    return row


def _collaborators(
    session: Session, draft: Draft, owner: ConsultantProfile | None, problems: dict[str, list[str]]
) -> list[tuple[ConsultantProfile, int]]:
    """The others of a draft with their shares; what is wrong with them is noted."""
    wanted = list(draft.collaborators)
    if not wanted:
        return []
    if draft.type == PlanType.CONSULTATION:
        problems["collaborators"] = ["A consultation has one expert."]
        return []
    if len(wanted) > MAX_COLLABORATORS or len({k for k, _ in wanted}) != len(wanted):
        problems["collaborators"] = [f"At most {MAX_COLLABORATORS}, each of them once."]
        return []
    found = {
        p.public_id: p
        for p in session.scalars(
            select(ConsultantProfile).where(ConsultantProfile.public_id.in_([k for k, _ in wanted]))
        )
    }
    if len(found) != len(wanted) or (owner is not None and owner.public_id in found):
        problems["collaborators"] = ["Each is an expert other than the plan's own."]
    elif any(p.verification_status != "VERIFIED" for p in found.values()):
        problems["collaborators"] = ["Only verified experts share a plan."]
    elif any(not 1 <= bps < WHOLE for _, bps in wanted) or sum(bps for _, bps in wanted) >= WHOLE:
        problems["collaborators"] = ["Their shares leave the plan's own expert a part."]
    if "collaborators" in problems:
        return []
    return [(found[key], bps) for key, bps in wanted]


def _set_collaborators(
    session: Session, plan: Plan, owner: ConsultantProfile, others: Sequence[tuple[ConsultantProfile, int]]
) -> None:
    session.execute(
        delete(PlanCollaborator).where(PlanCollaborator.plan_id == plan.id), execution_options=EVERYWHERE
    )
    if not others:
        return
    rest = WHOLE - sum(bps for _, bps in others)
    session.add_all(
        PlanCollaborator(
            organization_id=plan.organization_id,
            plan_id=plan.id,
            expert_id=person.id,
            user_id=person.user_id,
            revenue_share_bps=bps,
        )
        for person, bps in [(owner, rest), *others]
    )
    session.flush()


def _check_public(session: Session, draft: Draft) -> None:
    org = ctx().org_id
    if org is None or draft.visibility != Visibility.PUBLIC:
        return
    if not session.scalar(select(Organization.can_host).where(Organization.id == org)):
        raise DomainError("HOST_CAPABILITY_REQUIRED")


def _log(session: Session, plan: Plan, action: str, said: str, **details: Any) -> None:
    if plan.organization_id is not None:
        audit.record(
            session,
            AuditCategory.CATALOG,
            action,
            said,
            target_type="plan",
            target_id=plan.public_id,
            price_paise=plan.price_paise,
            **details,
        )
