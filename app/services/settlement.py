"""Bookings that wait for a card: their order at the provider, the capture, the end of the hold (chapter 2, 2.6, 2.7).

A capture posts, confirms and pays out in one transaction of its own. Whoever is too late, pays another amount or comes
with foreign notes is not booked: the money goes to UNAPPLIED and back.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session, joinedload

from app import clock, faults
from app.errors import DomainError
from app.gateways import Event, open_gateway
from app.logs import log
from app.models import (
    Appointment,
    AppointmentStatus,
    AuditCategory,
    BillingAccount,
    CalendarClaim,
    ConsultantEarning,
    EarningStatus,
    LegSource,
    Membership,
    Organization,
    Payment,
    PaymentLeg,
    PaymentStatus,
    User,
)
from app.security.context import acting, ctx
from app.services import (
    audit,
    booking_mail,
    ledger,
    offers,
    outbox,
    overages,
    price_cuts,
    trials,
    unapplied,
    usage,
)
from app.services.booking_record import Part, booking_legs, hold_legs
from config import Settings

EVERYWHERE = {"skip_tenancy": True}  # with an explicit key; row-level security still stands


@contextmanager
def for_payer(session: Session, payment: Payment) -> Iterator[None]:
    """Act where the rows of *payment* live: for its organisation, or for the person who pays it alone."""
    changes: dict[str, Any] = {"user_id": payment.user_id}
    if payment.organization_id is not None:
        mine = (Membership.user_id == ctx().user_id) & (Membership.organization_id == payment.organization_id)
        changes = {
            "membership_id": session.scalar(select(Membership.id).where(mine), execution_options=EVERYWHERE)
        }
    with acting(session, scope="org", org_id=payment.organization_id, role=None, **changes):
        yield


def lock(session: Session, payment: Payment) -> None:
    """Lock and reread a payment. Row-level security lets only its payer's side lock it, not a job's scope."""
    with for_payer(session, payment):
        session.refresh(payment, with_for_update=True)


# ---- the order -------------------------------------------------------------------------------------------------------


def order(session: Session, payment_id: uuid.UUID, settings: Settings) -> Payment:
    """The provider's order of a payment that waits for its payer's card, made once; the caller commits.

    Call after the hold is committed: an outage loses nothing, and the same key tries again. Raises NOT_FOUND,
    IDEMPOTENT_REPLAY_TERMINAL (the hold is over), the gateway's codes.
    """
    payment = session.scalars(
        select(Payment).where(Payment.public_id == payment_id), execution_options=EVERYWHERE
    ).one_or_none()
    if payment is None:
        raise DomainError("NOT_FOUND")
    if payment.status in (PaymentStatus.EXPIRED, PaymentStatus.FAILED):
        raise DomainError("IDEMPOTENT_REPLAY_TERMINAL", status=payment.status.value)
    if payment.status == PaymentStatus.SUCCEEDED or payment.gateway_order_id is not None:
        return payment
    with for_payer(session, payment):
        made = open_gateway(settings, session, payment.gateway or settings.gateway).create_order(
            receipt=str(payment.public_id),
            amount_paise=card_part(session, payment),
            notes=notes(session, payment),
            description=payment.description,
            return_url=f"{settings.base_url}/dashboard/appointments/{_appointment(session, payment).public_id}",
        )
        payment.gateway_order_id, payment.checkout_url = made.order_id, made.checkout_url
        session.flush()
    return payment


def card_part(session: Session, payment: Payment) -> int:
    """What a payment asks of its payer's card, paise; a wallet or credit may pay the rest."""
    return sum(p.amount for p in parts_of(session, payment) if p.source == LegSource.CARD)


def parts_of(session: Session, payment: Payment) -> list[Part]:
    """What a payment was put together from; reversals left out."""
    rows = session.scalars(
        select(PaymentLeg).where(PaymentLeg.payment_id == payment.id, PaymentLeg.source.not_in(REVERSALS)),
        execution_options=EVERYWHERE,
    )
    return [Part(row.source, row.amount_paise, row.covered_paise) for row in rows]


REVERSALS = tuple(source for source in LegSource if source.value.endswith("_REVERSAL"))


def _appointment(session: Session, payment: Payment) -> Appointment:
    return session.scalars(
        select(Appointment)
        .where(Appointment.id == payment.appointment_id)
        .options(
            joinedload(Appointment.learner), joinedload(Appointment.expert_user), joinedload(Appointment.plan)
        ),
        execution_options=EVERYWHERE,
    ).one()


def notes(session: Session, payment: Payment) -> dict[str, str]:
    """What the provider keeps beside the order (2.7): public ids only, compared when money arrives."""
    payer = session.scalar(select(User.public_id).where(User.id == payment.user_id))
    notes = {"type": "booking", "payment_id": str(payment.public_id), "user_id": str(payer)}
    if payment.organization_id is not None:
        notes["organization_id"] = str(
            session.scalar(select(Organization.public_id).where(Organization.id == payment.organization_id))
        )
        notes["funding_source"] = str(session.scalar(select(BillingAccount.funding_source)))
    return notes


# ---- the capture -----------------------------------------------------------------------------------------------------


def captured(session: Session, event: Event, gateway: str) -> str:
    """Apply a ``payment.captured`` of a booking: confirmed, repeated or unapplied. Wants job scope and commits."""
    payment = session.scalars(select(Payment).where(Payment.gateway_order_id == event.order_id)).one_or_none()
    if payment is None or not event.payment_id or event.amount_paise is None:
        unapplied.receive(
            session, gateway, event.payment_id or "", event.amount_paise or 0, "UNKNOWN_ORDER", None
        )
        session.commit()
        return "unapplied"
    lock(session, payment)
    problem = _problem(session, payment, event)
    if problem == "repeated":
        session.rollback()
        return problem
    if not problem:
        try:
            with session.begin_nested(), for_payer(session, payment):
                _confirm(session, payment, event.payment_id)
        except DomainError as error:  # the time is taken, the wallet's part is gone
            problem = error.code
    if problem:
        unapplied.receive(
            session, gateway, event.payment_id, event.amount_paise, problem, payment.organization_id
        )
        with for_payer(session, payment):
            outbox.notify(
                session,
                payment.user_id,
                "booking.unapplied",
                "A payment could not be used and is on its way back",
                payment.description,
                url="/dashboard/appointments",
            )
        session.commit()
        return "unapplied"
    faults.trip("booking_captured")
    session.commit()
    return "confirmed"


def _problem(session: Session, payment: Payment, event: Event) -> str:
    if payment.provider_payment_id == event.payment_id:
        return "repeated"
    if payment.status == PaymentStatus.SUCCEEDED:
        return "PAID_TWICE"
    with for_payer(session, payment):
        expected = notes(session, payment)
        differing = [name for name, value in expected.items() if event.notes.get(name) != value]
        if differing:
            return "ORG_MISMATCH" if "organization_id" in differing else "NOTES_MISMATCH"
        return "" if event.amount_paise == card_part(session, payment) else "AMOUNT_MISMATCH"


def _confirm(session: Session, payment: Payment, provider_payment_id: str) -> None:
    """Post the booking, confirm the appointment, accrue the expert's share. The payment's row is locked.

    A hold that is over is revived if its time is still free, nobody called it off, no wallet's part was given back, and its
    code and credits can be taken once more. Raises SLOT_TAKEN, DISCOUNT_INVALID.
    """
    now = clock.now()
    appointment = _appointment(session, payment)
    parts = parts_of(session, payment)
    if payment.status == PaymentStatus.EXPIRED:
        session.refresh(appointment, ["status"])
        if (
            any(p.source == LegSource.WALLET for p in parts)
            or appointment.status == AppointmentStatus.CANCELLED
            or trials.over(session, appointment)
        ):
            raise DomainError("SLOT_TAKEN")
        price_cuts.take_again(session, payment)
    offers.keep(session, payment, appointment)
    hold_until = max(now, appointment.ends_at) + offers.hold_after(appointment.plan.type)
    payment.status, payment.provider_payment_id = PaymentStatus.SUCCEEDED, provider_payment_id
    payment.captured_at, payment.expires_at = now, None
    appointment.status = AppointmentStatus.CONFIRMED
    session.flush()
    trials.captured(session, appointment)
    split: dict[str, Any] = payment.snapshot["split"]
    legs = booking_legs(parts, split, payment.organization_id, held=True)
    ledger.post(
        session,
        f"booking:{payment.public_id}",
        "BOOKING",
        [ledger.Leg(*leg) for leg in legs],
        organization_id=payment.organization_id,
        description=payment.description,
        payment_id=str(payment.public_id),
        appointment_id=str(appointment.public_id),
    )
    if split["consultant"]:
        session.add(
            ConsultantEarning(
                organization_id=payment.organization_id,
                payment_id=payment.id,
                consultant_user_id=split["expert_user_id"],
                gross_paise=payment.price_paise + payment.surcharge_paise,
                platform_bps=split["platform_bps"],
                org_bps=split["org_bps"],
                consultant_bps=split["consultant_bps"],
                share_paise=split["consultant"],
                status=EarningStatus.PENDING,
                hold_until=hold_until,
            )
        )
    session.add_all(
        ConsultantEarning(
            organization_id=payment.organization_id,
            payment_id=payment.id,
            consultant_user_id=user,
            gross_paise=gross,
            platform_bps=split["platform_bps"],
            org_bps=split["org_bps"],
            consultant_bps=split["consultant_bps"],
            share_paise=share,
            status=EarningStatus.PENDING,
            hold_until=hold_until,
        )
        for user, gross, share in split.get("others", ())
        if share
    )
    session.flush()
    if split["org"]:
        session.execute(
            text("SELECT organization_earning_record(:payment, :hold, :at)"),
            {
                "payment": payment.public_id,
                "hold": hold_until,
                "at": now,
            },
        )
    if payment.organization_id is not None:
        audit.record(
            session,
            AuditCategory.PROGRAM,
            "BOOKING_CONFIRMED",
            f"{appointment.learner.name} booked “{appointment.title[:200]}”",
            target_type="appointment",
            target_id=appointment.public_id,
            amount_paise=payment.amount_paise,
        )
    session.flush()
    overages.settled(session, payment)
    booking_mail.confirmed(session, payment, appointment)


# ---- the end of a hold -----------------------------------------------------------------------------------------------


def expire_holds(session: Session) -> dict[str, int]:
    """End what was not paid in time: the slot, the wallet's part and the program's place are free again.

    Wants job scope and commits payment by payment; one that fails does not stop the others.
    """
    done = {"expired": 0, "failed": 0}
    due = session.scalars(
        select(Payment.id)
        .where(Payment.status == PaymentStatus.PENDING, Payment.expires_at <= clock.now())
        .order_by(Payment.expires_at)
        .limit(500)
    ).all()
    session.commit()
    for payment_id in due:
        try:
            done["expired"] += _expire(session, payment_id)
            session.commit()
        except Exception as error:
            session.rollback()
            log.warning("hold_expiry_failed", payment=payment_id, error=type(error).__name__)
            done["failed"] += 1
    return done


def _expire(session: Session, payment_id: int) -> int:
    payment = session.get_one(Payment, payment_id)
    lock(session, payment)
    if payment.status != PaymentStatus.PENDING:  # captured in the meantime
        return 0
    with for_payer(session, payment):
        release(session, payment, PaymentStatus.EXPIRED, AppointmentStatus.EXPIRED)
    return 1


def release(
    session: Session, payment: Payment, status: PaymentStatus, appointment: AppointmentStatus
) -> None:
    """Give back everything a hold kept. The payment's row is locked; acts for its payer."""
    payment.status = status
    session.execute(
        update(Appointment)
        .where(Appointment.id == payment.appointment_id, Appointment.status == AppointmentStatus.TENTATIVE)
        .values(status=appointment)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    )
    session.execute(delete(CalendarClaim).where(CalendarClaim.appointment_id == payment.appointment_id))
    wallet = sum(p.amount for p in parts_of(session, payment) if p.source == LegSource.WALLET)
    if wallet:
        ledger.post(
            session,
            f"wallet-release:{payment.public_id}",
            "WALLET_RELEASE",
            [
                ledger.Leg(code, "C" if side == "D" else "D", paise)
                for code, side, paise in hold_legs(payment.organization_id, wallet)
            ],
            organization_id=payment.organization_id,
            description=f"Released: {payment.description}",
            payment_id=str(payment.public_id),
        )
    usage.release(session, payment, 1, 1)
    price_cuts.give_back(session, payment)
    session.flush()
