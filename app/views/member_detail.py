"""What a member's page shows besides the facts, each part for those who may see it."""

from __future__ import annotations

from typing import Any

from flask import g
from sqlalchemy import or_, select
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.models import Appointment, Assignment, AuditLog, Membership, OrgRole
from app.security import matrix
from app.security.context import ctx
from app.services import assignments, obligations, rosters, spending
from app.services.activity import MONEY
from app.services.member_rules import is_owner
from app.views.base import event

SHOWN = 10


def of(session: Session, item: Membership, touchable: bool) -> dict[str, Any]:
    """The parts of *item*'s page; *touchable*: the reader's authority reaches the member."""
    out: dict[str, Any] = {"me": item.user_id == ctx().user_id, "touch": touchable}
    if matrix.can("read", "spend-limit") and item.role == OrgRole.LEARNER:
        spent = spending.this_month(session, [item.user_id]).get(item.user_id, 0)
        out["spend"] = {"limit": item.spend_limit_paise, "spent": spent}
    if item.role == OrgRole.EXPERT:
        out["payout"] = item.payout_recipient
    if matrix.can("read", "assignments") and g.org["can_sponsor"]:
        out["places"] = _places(session, item)
    if matrix.can("read", "appointments"):
        out["bookings"] = _bookings(session, item)
    if matrix.can("read", "audit"):
        out["activity"] = [event(row) for row in _activity(session, item)]
    if touchable and matrix.can("write", "members") and item.status in rosters.HERE:
        out["obligations"] = obligations.of(session, item)
        out["open"] = obligations.sentence(out["obligations"])
        out["may_force"] = is_owner()
    return out


def _places(session: Session, item: Membership) -> list[tuple[Assignment, str]]:
    rows = session.scalars(
        select(Assignment)
        .where(Assignment.membership_id == item.id)
        .options(joinedload(Assignment.program, innerjoin=True))
        .order_by(Assignment.period_start.desc(), Assignment.id.desc())
        .limit(SHOWN)
    )
    today = clock.today_ist()
    return [(a, assignments.label(a, today)) for a in rows]


def _bookings(session: Session, item: Membership) -> list[Appointment]:
    return list(
        session.scalars(
            select(Appointment)
            .where(
                Appointment.organization_id == item.organization_id,
                or_(Appointment.learner_user_id == item.user_id, Appointment.expert_user_id == item.user_id),
            )
            .options(joinedload(Appointment.learner), joinedload(Appointment.expert_user))
            .order_by(Appointment.starts_at.desc(), Appointment.id.desc())
            .limit(SHOWN)
        )
    )


def _activity(session: Session, item: Membership) -> list[AuditLog]:
    """What the member did and what was done to the membership; no money for who may not see it (1.5, "audit")."""
    statement = (
        select(AuditLog)
        .where(
            AuditLog.organization_id == item.organization_id,
            or_(AuditLog.actor_user_id == item.user_id, AuditLog.target_membership_id == item.id),
        )
        .options(joinedload(AuditLog.actor))
    )
    if not matrix.can("read", "payments"):
        statement = statement.where(AuditLog.category.not_in(MONEY))
    return list(session.scalars(statement.order_by(AuditLog.created_at.desc(), AuditLog.id.desc()).limit(25)))
