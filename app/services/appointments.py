"""Booked sessions as their two people and their organisation see them (chapter 1, 1.6; chapter 2, 2.3)."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, tuple_
from sqlalchemy.orm import Session, joinedload

from app.errors import DomainError
from app.models import (
    Appointment,
    AppointmentStatus,
    EventSession,
    Payment,
    PaymentStatus,
    PlanType,
    PlatformRole,
)
from app.security import matrix
from app.security.context import acting, ctx
from app.services import scopes
from app.services.scopes import EVERYWHERE, OrgScope

_PEOPLE = (
    joinedload(Appointment.learner),
    joinedload(Appointment.expert_user),
    joinedload(Appointment.organization),
    joinedload(Appointment.plan),
)


OVER = (AppointmentStatus.CANCELLED, AppointmentStatus.EXPIRED)


def listed(
    session: Session,
    scope: OrgScope,
    *,
    when: str = "",
    limit: int = 25,
    after: tuple[dt.datetime, int] | None = None,
    now: dt.datetime | None = None,
) -> list[Appointment]:
    """The caller's appointments, on either side, in a scope; *when* is upcoming, past or empty.

    What was called off, or never paid, is past whatever its time was.
    Upcoming come soonest first, others latest first. *after* is (starts_at, id) of the last one seen. Scope ``all``
    (ADMIN) reads everybody's.
    """
    statement = select(Appointment).options(*_PEOPLE).where(scope.clause(Appointment.organization_id))
    if not scope.everybody:
        statement = statement.where(_mine())
    key = tuple_(Appointment.starts_at, Appointment.id)
    if when == "upcoming":
        statement = statement.where(Appointment.ends_at > now, Appointment.status.not_in(OVER))
        statement = statement.order_by(Appointment.starts_at, Appointment.id)
        statement = statement.where(key > after) if after else statement
    else:
        over = or_(Appointment.ends_at <= now, Appointment.status.in_(OVER))
        statement = statement.where(over) if when == "past" else statement
        statement = statement.order_by(Appointment.starts_at.desc(), Appointment.id.desc())
        statement = statement.where(key < after) if after else statement
    return scopes.rows(session, statement.limit(limit), scope)


def _mine() -> ColumnElement[bool]:
    me = ctx().user_id
    return or_(Appointment.learner_user_id == me, Appointment.expert_user_id == me)


def one(session: Session, public_id: uuid.UUID) -> Appointment:
    """An appointment of the caller, on either side. Raises NOT_FOUND."""
    row = session.scalars(
        select(Appointment).options(*_PEOPLE).where(Appointment.public_id == public_id, _mine()),
        execution_options=EVERYWHERE,
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def payments_of(session: Session, appointments: Sequence[Appointment]) -> dict[int, Payment]:
    """The caller's own payments of these appointments, by appointment id."""
    rows = session.scalars(
        select(Payment).where(
            Payment.appointment_id.in_([a.id for a in appointments]), Payment.user_id == ctx().user_id
        ),
        execution_options=EVERYWHERE,
    )
    return {int(p.appointment_id): p for p in rows if p.appointment_id is not None}


def receipt_payment(session: Session, public_id: uuid.UUID, memberships: Sequence[dict[str, Any]]) -> Payment:
    """A settled payment whose receipt the caller may read: who booked, who reads the payer's finances, ADMIN.

    *memberships* are the caller's own (the session's). Raises NOT_FOUND for everything else.
    """
    wanted = and_(Payment.public_id == public_id, Payment.status == PaymentStatus.SUCCEEDED)
    own = session.scalars(
        select(Payment).where(wanted, Payment.user_id == ctx().user_id), execution_options=EVERYWHERE
    ).one_or_none()
    if own is not None:
        return own
    if ctx().platform_role == PlatformRole.ADMIN:
        with acting(session, scope="platform"):
            found = session.scalars(select(Payment).where(wanted)).one_or_none()
        if found is not None:
            return found
    for m in memberships:
        if m["membership_status"] == "ACTIVE" and matrix.allowed([m["role"]], "payments", "read"):
            with acting(
                session, org_id=m["organization_id"], role=m["role"], membership_id=m["membership_id"]
            ):
                found = session.scalars(select(Payment).where(wanted)).one_or_none()
            if found is not None:
                return found
    raise DomainError("NOT_FOUND")


def times(session: Session, row: Appointment) -> list[tuple[str, dt.datetime, dt.datetime]]:
    """The times of a booking with a key each: an event's sessions, a subscription's planned ones; else none but its own."""
    if row.event_id is not None:
        found = session.execute(
            select(EventSession.public_id, EventSession.starts_at, EventSession.ends_at)
            .where(EventSession.event_id == row.event_id)
            .order_by(EventSession.starts_at),
            execution_options=EVERYWHERE,
        ).all()
        return [(str(key)[-12:], a, b) for key, a, b in found]
    if row.plan.type == PlanType.SUBSCRIPTION and row.parent_id is None:
        below = session.execute(
            select(Appointment.public_id, Appointment.starts_at, Appointment.ends_at)
            .where(
                Appointment.parent_id == row.id, Appointment.status == AppointmentStatus.CONFIRMED, _mine()
            )
            .order_by(Appointment.starts_at),
            execution_options=EVERYWHERE,
        ).all()
        return [(str(key)[-12:], a, b) for key, a, b in below]
    return []


def parent(session: Session, row: Appointment) -> Appointment | None:
    """The subscription a session belongs to, if it does and the caller sees it."""
    if row.parent_id is None:
        return None
    return session.scalars(
        select(Appointment).where(Appointment.id == row.parent_id, _mine()), execution_options=EVERYWHERE
    ).one_or_none()


def seats(session: Session, event_ids: Sequence[int]) -> dict[int, Appointment]:
    """The caller's live registrations of these events, by event."""
    rows = session.scalars(
        select(Appointment).where(
            Appointment.event_id.in_(list(event_ids)),
            Appointment.learner_user_id == ctx().user_id,
            Appointment.status.in_((AppointmentStatus.TENTATIVE, AppointmentStatus.CONFIRMED)),
        ),
        execution_options=EVERYWHERE,
    )
    return {int(a.event_id): a for a in rows if a.event_id is not None}
