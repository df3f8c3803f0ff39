"""Trials (chapter 2, 2.3): a first session at the trial's price, once for each learner and expert.

PENDING→AWAITING_PAYMENT→SCHEDULED→COMPLETED→CONVERTED; REJECTED and CANCELLED free the pair. The learner pays; an
organisation on the row is attribution. What the expert grants keeps the time until the payment is due.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    Appointment,
    AppointmentStatus,
    CalendarClaim,
    Payment,
    PaymentStatus,
    Plan,
    Trial,
    TrialStatus,
)
from app.security.context import acting, ctx
from app.services import availability, idempotency, market_notes, offers, scopes
from app.services.booking_mail import local_time
from app.services.booking_record import Order, TrialTerms
from app.services.scopes import OrgScope
from app.services.slots import bookable
from app.services.text import money

TO_PAY = dt.timedelta(hours=24)
MAX_NOTE = 500
EVERYWHERE = {"skip_tenancy": True}  # one's own, with an explicit key; row-level security still stands
_PEOPLE = (
    joinedload(Trial.plan),
    joinedload(Trial.learner),
    joinedload(Trial.expert_user),
    joinedload(Trial.appointment),
)


def one(session: Session, public_id: uuid.UUID) -> Trial:
    """A trial of the caller, on either side. Raises NOT_FOUND."""
    me = ctx().user_id
    row = session.scalars(
        select(Trial)
        .where(Trial.public_id == public_id, (Trial.learner_user_id == me) | (Trial.expert_user_id == me))
        .options(*_PEOPLE),
        execution_options=EVERYWHERE,
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def with_expert(session: Session, expert_id: int) -> Trial | None:
    """The caller's live or used trial with an expert; None where one may still be asked for."""
    return session.scalars(
        select(Trial)
        .where(
            Trial.learner_user_id == ctx().user_id,
            Trial.expert_id == expert_id,
            Trial.status.not_in((TrialStatus.REJECTED, TrialStatus.CANCELLED)),
        )
        .options(*_PEOPLE),
        execution_options=EVERYWHERE,
    ).one_or_none()


def request(
    session: Session, plan: Plan, starts_at: dt.datetime, note: str = "", organization_id: int | None = None
) -> Trial:
    """Ask *plan*'s expert for a trial at a time of theirs.

    Raises TRIAL_ALREADY_USED, SELF_BOOKING_FORBIDDEN, EXPERT_NOT_BOOKABLE, SLOT_UNAVAILABLE, Invalid (no trial offered).
    """
    user, now = ctx().user_id, clock.now()
    assert user is not None
    if plan.expert.user_id == user:
        raise DomainError("SELF_BOOKING_FORBIDDEN")
    if plan.trial_minutes is None or plan.trial_price_paise is None:
        raise Invalid({"plan_id": ["This plan offers no trial."]})
    if plan.expert.verification_status != "VERIFIED":
        raise DomainError("EXPERT_NOT_BOOKABLE")
    if len(note) > MAX_NOTE:
        raise Invalid({"note": [f"At most {MAX_NOTE} characters."]})
    starts = starts_at.astimezone(dt.UTC)
    ends = starts + dt.timedelta(minutes=plan.trial_minutes)
    windows = availability.windows(session, [plan.expert_id]).get(plan.expert_id, [])
    dated = availability.overrides(session, [plan.expert_id], starts, ends).get(plan.expert_id, [])
    if not bookable(windows, starts, plan.trial_minutes, now, dated):
        raise DomainError("SLOT_UNAVAILABLE")
    taken = availability.busy(session, [plan.expert.user_id, user], starts, ends)
    if taken.get(plan.expert.user_id):
        raise DomainError("SLOT_TAKEN")
    if taken.get(user):
        raise DomainError("LEARNER_DOUBLE_BOOKED")
    try:
        with acting(session, org_id=organization_id), session.begin_nested():
            row = Trial(
                organization_id=organization_id,
                plan_id=plan.id,
                expert_id=plan.expert_id,
                expert_user_id=plan.expert.user_id,
                learner_user_id=user,
                starts_at=starts,
                ends_at=ends,
                price_paise=plan.trial_price_paise,
                note=note.strip(),
            )
            session.add(row)
            session.flush()
    except IntegrityError:
        raise DomainError("TRIAL_ALREADY_USED") from None
    row = one(session, row.public_id)
    _tell(
        session,
        row,
        row.expert_user_id,
        "asked",
        f"Trial requested: {plan.title}",
        [f"{row.learner.name} asks for a trial of “{plan.title}”, {_when(row, row.expert_user.timezone)}."],
        quote=row.note,
    )
    return row


def accept(session: Session, row: Trial) -> None:
    """The expert grants the trial: the time is kept until the learner has paid, at most 24 hours and not past the start.

    A free trial is scheduled at once. Raises INSUFFICIENT_ROLE, ILLEGAL_TRANSITION, SLOT_TAKEN, LEARNER_DOUBLE_BOOKED.
    """
    _expert_only(row)
    now = clock.now()
    if row.starts_at <= now:
        raise DomainError("ILLEGAL_TRANSITION", message="Its time has passed.")
    pay_by = min(now + TO_PAY, row.starts_at)
    _become(session, row, TrialStatus.PENDING, TrialStatus.AWAITING_PAYMENT, pay_by=pay_by, decided_at=now)
    _keep_time(session, row, pay_by)
    price = (
        "It is free: confirm it." if not row.price_paise else f"It costs {money(row.price_paise)} and GST."
    )
    _tell(
        session,
        row,
        row.learner_user_id,
        "granted",
        f"Trial granted: {row.plan.title}",
        [
            f"{row.expert_user.name} grants you the trial, {_when(row, row.learner.timezone)}. {price}",
            "The time is kept for you until "
            + local_time(pay_by, pay_by, row.learner.timezone).rpartition(" to ")[0]
            + ".",
        ],
    )


def _keep_time(session: Session, row: Trial, until: dt.datetime) -> None:
    """A tentative appointment of the learner's holds both calendars."""
    with acting(
        session, scope="org", org_id=None, user_id=row.learner_user_id, role=None, membership_id=None
    ):
        held = Appointment(
            plan_id=row.plan_id,
            expert_id=row.expert_id,
            expert_user_id=row.expert_user_id,
            learner_user_id=row.learner_user_id,
            status=AppointmentStatus.TENTATIVE,
            title=f"Trial: {row.plan.title}"[:200],
            starts_at=row.starts_at,
            ends_at=row.ends_at,
        )
        session.add(held)
        session.flush()
        offers.write_claims(
            session,
            held.id,
            offers.pair(row.expert_user_id, row.learner_user_id, row.starts_at, row.ends_at),
            {"EXPERT": "SLOT_TAKEN", "LEARNER": "LEARNER_DOUBLE_BOOKED"},
        )
        session.execute(
            update(CalendarClaim).where(CalendarClaim.appointment_id == held.id).values(expires_at=until)
        )
        held_id = held.id
    session.execute(
        update(Trial)
        .where(Trial.id == row.id)
        .values(appointment_id=held_id)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    )
    session.refresh(row, ["appointment_id"])


def _let_go(session: Session, row: Trial, status: AppointmentStatus) -> None:
    """The time that was kept is free again; a hold that waits for its card ends. Raises ILLEGAL_TRANSITION (just paid)."""
    from app.services import settlement  # it tells trials of captures

    if row.appointment_id is None:
        return
    held = session.scalars(
        select(Payment).where(
            Payment.appointment_id == row.appointment_id, Payment.status == PaymentStatus.PENDING
        ),
        execution_options=EVERYWHERE,
    ).one_or_none()
    if held is not None:
        settlement.lock(session, held)
        if held.status != PaymentStatus.PENDING:
            raise DomainError("ILLEGAL_TRANSITION")
        with settlement.for_payer(session, held):
            settlement.release(session, held, PaymentStatus.EXPIRED, status)
        return
    with acting(
        session, scope="org", org_id=None, user_id=row.learner_user_id, role=None, membership_id=None
    ):
        gone = session.execute(
            update(Appointment)
            .where(Appointment.id == row.appointment_id, Appointment.status == AppointmentStatus.TENTATIVE)
            .values(status=status)
            .execution_options(synchronize_session=False, **EVERYWHERE)
        ).rowcount  # type: ignore[attr-defined]
        if gone:
            session.execute(delete(CalendarClaim).where(CalendarClaim.appointment_id == row.appointment_id))


def order(session: Session, row: Trial, key: str) -> Order:
    """What the learner places at checkout to pay (or confirm) a granted trial; the kept time is handed over, unless *key*
    only asks for an answer again.

    Raises INSUFFICIENT_ROLE, ILLEGAL_TRANSITION (not granted, too late, or just paid).
    """
    if ctx().user_id != row.learner_user_id:
        raise DomainError("INSUFFICIENT_ROLE")
    if idempotency.seen(session, idempotency.checkout_scope(ctx().user_id), key):
        pass
    elif row.status == TrialStatus.AWAITING_PAYMENT and row.pay_by is not None and row.pay_by > clock.now():
        _let_go(session, row, AppointmentStatus.EXPIRED)
    elif row.status not in (TrialStatus.AWAITING_PAYMENT, TrialStatus.SCHEDULED):
        raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
    minutes = int((row.ends_at - row.starts_at).total_seconds() // 60)
    return Order(
        row.plan.public_id,
        row.starts_at,
        None,
        key,
        {"trial_id": str(row.public_id)},
        trial=TrialTerms(row.price_paise, minutes),
    )


def placed(session: Session, row: Trial, appointment: str, *, paid: bool) -> None:
    """Checkout took the trial's order: the trial hangs on its appointment, and is scheduled where nothing is to be paid."""
    session.execute(
        text(
            "UPDATE trial SET appointment_id = a.id, status = CASE WHEN :paid THEN 'SCHEDULED' ELSE trial.status END "
            "FROM appointment a WHERE a.public_id = CAST(:a AS uuid) AND trial.id = :t AND trial.status = 'AWAITING_PAYMENT'"
        ),
        {"a": appointment, "t": row.id, "paid": paid},
    )
    session.expire(row)


def captured(session: Session, appointment: Appointment) -> None:
    """A card paid: the trial behind *appointment* is scheduled; any other paid booking converts a completed trial."""
    is_trial = session.execute(
        update(Trial)
        .where(Trial.appointment_id == appointment.id, Trial.status == TrialStatus.AWAITING_PAYMENT)
        .values(status=TrialStatus.SCHEDULED)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    ).rowcount  # type: ignore[attr-defined]
    if is_trial:
        return
    session.execute(
        update(Trial)
        .where(
            Trial.learner_user_id == appointment.learner_user_id,
            Trial.expert_id == appointment.expert_id,
            Trial.status == TrialStatus.COMPLETED,
        )
        .values(status=TrialStatus.CONVERTED)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    )


def over(session: Session, appointment: Appointment) -> bool:
    """Whether *appointment* was the hold of a trial that ended unpaid."""
    ended = select(Trial.id).where(
        Trial.appointment_id == appointment.id, Trial.status == TrialStatus.CANCELLED
    )
    return session.scalar(ended.limit(1), execution_options=EVERYWHERE) is not None


def called_off(session: Session, appointment: Appointment) -> None:
    """A trial's session was cancelled: the pair is free again."""
    session.execute(
        update(Trial)
        .where(
            Trial.appointment_id == appointment.id,
            Trial.status.in_((TrialStatus.AWAITING_PAYMENT, TrialStatus.SCHEDULED)),
        )
        .values(status=TrialStatus.CANCELLED)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    )


def reject(session: Session, row: Trial, answer: str = "") -> None:
    """The expert says no. Raises INSUFFICIENT_ROLE, ILLEGAL_TRANSITION."""
    _expert_only(row)
    said = answer.strip()[:MAX_NOTE]
    _become(session, row, TrialStatus.PENDING, TrialStatus.REJECTED, decided_at=clock.now(), answer=said)
    _tell(
        session,
        row,
        row.learner_user_id,
        "declined",
        f"Trial declined: {row.plan.title}",
        [f"{row.expert_user.name} cannot give you this trial. You may ask again for another time."],
        quote=said,
    )


def withdraw(session: Session, row: Trial) -> None:
    """The learner takes a request or an unpaid grant back. Raises INSUFFICIENT_ROLE, ILLEGAL_TRANSITION."""
    if ctx().user_id != row.learner_user_id:
        raise DomainError("INSUFFICIENT_ROLE")
    if row.status == TrialStatus.AWAITING_PAYMENT:
        _let_go(session, row, AppointmentStatus.CANCELLED)
        _become(session, row, TrialStatus.AWAITING_PAYMENT, TrialStatus.CANCELLED)
    else:
        _become(session, row, TrialStatus.PENDING, TrialStatus.CANCELLED)


def _expert_only(row: Trial) -> None:
    if ctx().user_id != row.expert_user_id:
        raise DomainError("INSUFFICIENT_ROLE")


def _become(session: Session, row: Trial, before: TrialStatus, after: TrialStatus, **values: Any) -> None:
    done = session.execute(
        update(Trial)
        .where(Trial.id == row.id, Trial.status == before)
        .values(status=after, **values)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    ).rowcount  # type: ignore[attr-defined]
    if not done:
        raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
    session.refresh(row, ["status", *values])


def expire(session: Session) -> dict[str, int]:
    """End grants that were not paid in time and requests whose time has come. Wants job scope and commits."""
    done = session.execute(
        text(
            "UPDATE trial SET status = 'CANCELLED' WHERE (status = 'AWAITING_PAYMENT' AND pay_by <= :now "
            "AND NOT EXISTS (SELECT FROM payment p WHERE p.appointment_id = trial.appointment_id AND p.status = 'PENDING' "
            "AND p.expires_at > :now)) OR (status = 'PENDING' AND starts_at <= :now) RETURNING appointment_id"
        ),
        {"now": clock.now()},
    ).all()
    held = [r.appointment_id for r in done if r.appointment_id is not None]
    if held:
        session.execute(
            text("UPDATE appointment SET status = 'EXPIRED' WHERE id = ANY (:ids) AND status = 'TENTATIVE'"),
            {"ids": held},
        )
        session.execute(
            text("DELETE FROM calendar_claim WHERE appointment_id = ANY (:ids) AND expires_at IS NOT NULL"),
            {"ids": held},
        )
    session.commit()
    return {"ended": len(done)}


def listed(
    session: Session, scope: OrgScope, *, limit: int = 25, after: tuple[dt.datetime, int] | None = None
) -> list[Trial]:
    """The caller's trials on both sides in a scope, latest first; *after* is (created_at, id) of the last one seen."""
    statement = select(Trial).options(*_PEOPLE).where(scope.clause(Trial.organization_id))
    me = ctx().user_id
    if not scope.everybody:
        statement = statement.where((Trial.learner_user_id == me) | (Trial.expert_user_id == me))
    if after is not None:
        statement = statement.where(
            (Trial.created_at < after[0]) | ((Trial.created_at == after[0]) & (Trial.id < after[1]))
        )
    return scopes.rows(
        session, statement.order_by(Trial.created_at.desc(), Trial.id.desc()).limit(limit), scope
    )


def _when(row: Trial, zone: str) -> str:
    return local_time(row.starts_at, row.ends_at, zone)


def _tell(
    session: Session, row: Trial, user: int, step: str, title: str, lines: list[str], quote: str = ""
) -> None:
    market_notes.tell(
        session,
        user,
        f"trial.{step}",
        title[:200],
        lines,
        path="/dashboard/trials",
        button="Open your trials",
        key=f"trial:{row.public_id}:{step}",
        quote=quote,
    )


def view(row: Trial) -> dict[str, Any]:
    """A trial as its two people's API shows it."""

    def iso(at: dt.datetime | None) -> str | None:
        return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z") if at else None

    return {
        "id": str(row.public_id),
        "plan_id": str(row.plan.public_id) if row.plan else None,
        "title": row.plan.title if row.plan else "",
        "status": row.status.value,
        "role": "EXPERT" if row.expert_user_id == ctx().user_id else "LEARNER",
        "expert": {"name": row.expert_user.name},
        "learner": {"name": row.learner.name},
        "starts_at": iso(row.starts_at),
        "ends_at": iso(row.ends_at),
        "price_paise": row.price_paise,
        "note": row.note,
        "answer": row.answer,
        "pay_by": iso(row.pay_by),
        "appointment_id": str(row.appointment.public_id) if row.appointment else None,
    }
