"""Ending a booking before it begins: what the frozen policy gives back, and giving it back (chapter 2, 2.8)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import (
    Appointment,
    AppointmentStatus,
    AuditCategory,
    CalendarClaim,
    LegSource,
    Organization,
    Payment,
    PaymentStatus,
    PlanType,
    Refund,
)
from app.security.context import acting, ctx
from app.services import audit, booking_mail, refunds, seat_sessions, sessions, settlement, trials, waitlist
from app.services.text import paragraphs

WHOLE = 10_000  # bps
OPEN = (AppointmentStatus.CONFIRMED, AppointmentStatus.TENTATIVE)


@dataclass(frozen=True)
class Preview:
    """What a cancellation now would do; paise, bps and hours of notice."""

    possible: bool
    by: str  # LEARNER, EXPERT or PLATFORM
    notice_hours: float
    refund_bps: int
    refund_paise: int
    paid_paise: int
    back_to: str
    tiers: list[dict[str, int]]
    sessions: tuple[int, int] | None = None  # of a subscription: unused, all
    returns_session: bool | None = None  # of a subscription's session: whether it can be planned again

    def view(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "possible": self.possible,
            "by": self.by,
            "notice_hours": round(self.notice_hours, 2),
            "refund_bps": self.refund_bps,
            "refund_paise": self.refund_paise,
            "paid_paise": self.paid_paise,
            "refund_to": self.back_to,
            "tiers": self.tiers,
            **({"unused_sessions": self.sessions[0], "sessions": self.sessions[1]} if self.sessions else {}),
            **({} if self.returns_session is None else {"returns_session": self.returns_session}),
        }


def refund_bps(tiers: list[dict[str, int]], notice: dt.timedelta) -> int:
    """The share of the first tier whose hours of notice are kept; 0 when none is."""
    for tier in sorted(tiers, key=lambda t: -t["hours"]):
        if notice >= dt.timedelta(hours=tier["hours"]):
            return tier["refund_bps"]
    return 0


def preview(session: Session, row: Appointment) -> Preview:
    """What cancelling *row* now would give back. The expert, and the platform, give everything back."""
    now = clock.now()
    payment = _payment(session, row)
    by = "EXPERT" if ctx().user_id == row.expert_user_id else "LEARNER"
    if ctx().user_id not in (row.expert_user_id, row.learner_user_id):
        by = "PLATFORM"
    tiers = list(row.cancellation_policy.get("tiers", []))
    notice = row.starts_at - now
    bps = WHOLE if by != "LEARNER" else refund_bps(tiers, notice)
    paid = (
        refunds.refundable(session, payment) if payment and payment.status == PaymentStatus.SUCCEEDED else 0
    )
    possible = row.status in OPEN and notice > dt.timedelta(0)
    left: tuple[int, int] | None = None
    if row.parent_id is None and row.plan.type == PlanType.SUBSCRIPTION:  # by unused sessions (2.8)
        total = row.plan.total_sessions or 1
        left = (max(0, total - sessions.used_sessions(session, row)), total)
        possible, bps = row.status in OPEN and row.ends_at > now, WHOLE * left[0] // total
    amount = min(paid, payment.amount_paise * bps // WHOLE) if payment else 0
    if payment and left:
        amount = min(paid, payment.amount_paise * left[0] // left[1])
    return Preview(
        possible,
        by,
        notice.total_seconds() / 3600,
        bps,
        amount,
        paid,
        _destination(session, payment),
        tiers,
        left,
        None if row.parent_id is None else bps > 0,
    )


def _payment(session: Session, row: Appointment) -> Payment | None:
    """The payment behind *row*, read where it lives: the expert's own scope does not hold it."""
    side: dict[str, Any] = {"org_id": row.organization_id, "role": None, "membership_id": None}
    if row.organization_id is None:
        side["user_id"] = row.learner_user_id
    with acting(session, scope="org", **side):
        return session.scalars(
            select(Payment).where(Payment.appointment_id == row.id), execution_options=settlement.EVERYWHERE
        ).one_or_none()


def _destination(session: Session, payment: Payment | None) -> str:
    if payment is None:
        return ""
    with settlement.for_payer(session, payment):
        sources = {p.source for p in settlement.parts_of(session, payment)}
        name = session.scalar(
            select(Organization.name).where(Organization.id == payment.organization_id),
            execution_options=settlement.EVERYWHERE,
        )
    if sources == {LegSource.CARD}:
        return "the card it was paid with"
    wallet = f"the wallet of {name}"
    return f"{wallet} and the card, as it was paid" if LegSource.CARD in sources else wallet


def cancel(session: Session, row: Appointment, reason: str = "") -> Refund | None:
    """Cancel a booking that has not begun and refund by its policy; returns the refund, None where nothing comes back.

    A session of a subscription only loses its time: with notice it can be planned again, without it counts as used. A
    subscription's planned sessions go with it, a seat goes to who waits for it.

    Raises ILLEGAL_TRANSITION (begun, ended or cancelled already) and what a refund raises.
    """
    seen = preview(session, row)
    payment = _payment(session, row)
    text = paragraphs(reason or "")[:300]
    if seen.possible and row.parent_id is not None:
        _call_off_session(session, row, seen, text)
        return None
    if not seen.possible or payment is None:
        raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
    with settlement.for_payer(session, payment):
        settlement.lock(session, payment)
        if payment.status == PaymentStatus.PENDING:  # a hold: nothing was paid yet
            settlement.release(session, payment, PaymentStatus.EXPIRED, AppointmentStatus.CANCELLED)
            session.refresh(row)
            _freed(session, row)
            return None
        done = session.execute(
            update(Appointment)
            .where(Appointment.id == row.id, Appointment.status == AppointmentStatus.CONFIRMED)
            .values(status=AppointmentStatus.CANCELLED)
            .execution_options(synchronize_session=False, **settlement.EVERYWHERE)
        ).rowcount  # type: ignore[attr-defined]
        if not done:
            raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
        session.execute(delete(CalendarClaim).where(CalendarClaim.appointment_id == row.id))
        dropped = _drop_children(session, row) if seen.sessions else []
        session.expire(row, ["status"])
        seat_sessions.give_back(session, dropped, text)
    _freed(session, row)
    refund = None
    if seen.refund_paise or (not payment.amount_paise and seen.refund_bps):
        refund = refunds.reserve(
            session,
            payment,
            seen.refund_paise,
            text or f"Cancelled by the {seen.by.lower()}",
            policy_bps=None if payment.amount_paise else seen.refund_bps,
        )
    by = {"EXPERT": row.expert_user.name, "LEARNER": row.learner.name}.get(seen.by, "the platform")
    with settlement.for_payer(session, payment):
        if payment.organization_id is not None:
            audit.record(
                session,
                AuditCategory.MEMBER,
                "APPOINTMENT_CANCELLED_FOR_ORG",
                f"“{row.title[:200]}” of {row.learner.name} was cancelled by {by}.",
                target_type="appointment",
                target_id=row.public_id,
                refund_paise=seen.refund_paise,
                refund_bps=seen.refund_bps,
                reason=text,
            )
        booking_mail.cancelled(
            session,
            payment,
            row,
            by=by,
            reason=text,
            refund_paise=seen.refund_paise,
            back_to=seen.back_to,
        )
    return refund


def _freed(session: Session, row: Appointment) -> None:
    """What hangs on a booking that ended: its trial, the seat for whoever waits."""
    with sessions.at_home(session, row):
        trials.called_off(session, row)
    if row.event_id is not None:
        waitlist.offer_next(session, row.event_id)


def _drop_children(session: Session, row: Appointment) -> list[int]:
    """The planned sessions of a subscription end with it; their ids."""
    planned = session.scalars(
        update(Appointment)
        .where(
            Appointment.parent_id == row.id,
            Appointment.status == AppointmentStatus.CONFIRMED,
            Appointment.starts_at > clock.now(),
        )
        .values(status=AppointmentStatus.CANCELLED)
        .returning(Appointment.id)
        .execution_options(synchronize_session=False, **settlement.EVERYWHERE)
    ).all()
    if planned:
        session.execute(delete(CalendarClaim).where(CalendarClaim.appointment_id.in_(planned)))
    return list(planned)


def _call_off_session(session: Session, row: Appointment, seen: Preview, reason: str) -> None:
    """A session of a subscription: its time is free, and the session too where notice was given."""
    with sessions.at_home(session, row):
        done = session.execute(
            update(Appointment)
            .where(Appointment.id == row.id, Appointment.status == AppointmentStatus.CONFIRMED)
            .values(status=AppointmentStatus.CANCELLED, forfeited=not seen.returns_session)
            .execution_options(synchronize_session=False, **settlement.EVERYWHERE)
        ).rowcount  # type: ignore[attr-defined]
        if not done:
            raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
        session.execute(delete(CalendarClaim).where(CalendarClaim.appointment_id == row.id))
        if seen.returns_session:
            seat_sessions.give_back(session, [row.id], reason)
    session.refresh(row, ["status", "forfeited"])
    sessions.tell_called_off(session, row, reason)
