"""What members pay themselves because their program did not cover it (chapter 2, CHARGE_MEMBER).

A side payment hangs on its booking's payment and has no hold: the session takes place, the experts' shares wait. Fourteen
days, one reminder; then the platform writes the debt off, releases the shares and takes no more sponsored bookings of that
member until it is paid after all. Decision 0051 says why the shares are released then.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.gateways import Event, open_gateway
from app.logs import log
from app.models import (
    AuditCategory,
    ConsultantEarning,
    EarningStatus,
    Organization,
    OverageEvent,
    OverageStatus,
    Payment,
    PaymentStatus,
    User,
)
from app.security.context import ctx
from app.services import (
    audit,
    ledger,
    outbox,
    overages,
    refund_spread,
    refunds,
    settlement,
    terms_notices,
    unapplied,
)
from app.services.overages import BAD_DEBT
from app.services.settlement import EVERYWHERE
from app.services.text import money
from config import Settings

REMIND_BEFORE = dt.timedelta(days=7)


def receivable(user_id: int) -> str:
    """Code of what a member owes the platform."""
    return f"MEMBER_RECEIVABLE|user:{user_id}|INR"


def event_of(session: Session, payment: Payment) -> OverageEvent:
    """The overage that a side payment pays."""
    return session.scalars(
        select(OverageEvent).where(OverageEvent.side_payment_id == payment.id), execution_options=EVERYWHERE
    ).one()


def path(payment_id: Any) -> str:
    """The page where a member pays."""
    return f"/dashboard/payments/{payment_id}/pay"


# ---- paying ----------------------------------------------------------------------------------------------------------


def order(session: Session, public_id: uuid.UUID, settings: Settings) -> Payment:
    """The provider's order of a side payment, made once; also after it timed out. The caller commits.

    Acts for the payer's own session. Raises NOT_FOUND, IDEMPOTENT_REPLAY_TERMINAL (refunded with its booking), the
    gateway's codes.
    """
    payment = session.scalars(
        select(Payment).where(
            Payment.public_id == public_id,
            Payment.parent_payment_id.is_not(None),
            Payment.appointment_id.is_(None),
        ),
        execution_options=EVERYWHERE,
    ).one_or_none()
    if payment is None:
        raise DomainError("NOT_FOUND")
    with settlement.for_payer(session, payment):
        session.refresh(payment, with_for_update=True)
        if payment.status == PaymentStatus.EXPIRED:
            raise DomainError("IDEMPOTENT_REPLAY_TERMINAL", status=payment.status.value)
        if payment.status == PaymentStatus.SUCCEEDED or payment.gateway_order_id is not None:
            return payment
        made = open_gateway(settings, session, payment.gateway or settings.gateway).create_order(
            receipt=str(payment.public_id),
            amount_paise=payment.amount_paise,
            notes=_notes(session, payment),
            description=payment.description,
            return_url=f"{settings.base_url}{path(payment.public_id)}",
        )
        payment.gateway_order_id, payment.checkout_url = made.order_id, made.checkout_url
        session.flush()
    return payment


def resume(session: Session, public_id: uuid.UUID, settings: Settings) -> Payment:
    """The order of any payment of the caller's own that waits for a card: a member's overage or a booking's hold.

    Raises NOT_FOUND, IDEMPOTENT_REPLAY_TERMINAL, the gateway's codes.
    """
    found = session.scalars(
        select(Payment).where(Payment.public_id == public_id, Payment.user_id == (ctx().user_id or -1)),
        execution_options=EVERYWHERE,
    ).one_or_none()
    if found is None:
        raise DomainError("NOT_FOUND")
    make = settlement.order if not found.is_side else order
    return make(session, public_id, settings)


def _notes(session: Session, payment: Payment) -> dict[str, str]:
    return {**settlement.notes(session, payment), "type": "overage_member"}


def captured(session: Session, event: Event, gateway: str) -> str:
    """Apply a ``payment.captured`` of a member's overage, in time or late. Wants job scope and commits."""
    payment = session.scalars(select(Payment).where(Payment.gateway_order_id == event.order_id)).one_or_none()
    if payment is None or not event.payment_id or event.amount_paise is None:
        unapplied.receive(
            session, gateway, event.payment_id or "", event.amount_paise or 0, "UNKNOWN_ORDER", None
        )
        session.commit()
        return "unapplied"
    settlement.lock(session, payment)
    problem = _problem(session, payment, event)
    if problem == "repeated":
        session.rollback()
        return problem
    if problem:
        unapplied.receive(
            session, gateway, event.payment_id, event.amount_paise, problem, payment.organization_id
        )
        session.commit()
        return "unapplied"
    with settlement.for_payer(session, payment):
        _pay(session, payment, event.payment_id)
    session.commit()
    return "confirmed"


def _problem(session: Session, payment: Payment, event: Event) -> str:
    if payment.provider_payment_id == event.payment_id:
        return "repeated"
    if payment.status == PaymentStatus.SUCCEEDED:
        return "PAID_TWICE"
    if payment.status == PaymentStatus.EXPIRED:
        return "OVERAGE_REVERSED"
    with settlement.for_payer(session, payment):
        expected = _notes(session, payment)
    differing = [name for name, value in expected.items() if event.notes.get(name) != value]
    if differing:
        return "ORG_MISMATCH" if "organization_id" in differing else "NOTES_MISMATCH"
    return "" if event.amount_paise == payment.amount_paise else "AMOUNT_MISMATCH"


def _pay(session: Session, payment: Payment, provider_payment_id: str) -> None:
    """Post OVERAGE_MEMBER against what the member owes, or against the bad debt it became. The payment is locked."""
    now, row = clock.now(), event_of(session, payment)
    owed = BAD_DEBT if row.written_off_at is not None else receivable(payment.user_id)
    ledger.post(
        session,
        f"overage:{payment.public_id}",
        "OVERAGE_MEMBER",
        [ledger.debit(ledger.CASH, payment.amount_paise), ledger.credit(owed, payment.amount_paise)],
        organization_id=payment.organization_id,
        description=payment.description,
        payment_id=str(payment.public_id),
    )
    payment.status, payment.provider_payment_id = PaymentStatus.SUCCEEDED, provider_payment_id
    payment.captured_at = now
    row.charge_status, row.charged_at = OverageStatus.CHARGED, now
    session.flush()
    release_earnings(session, payment.parent_payment_id)
    audit.record(
        session,
        AuditCategory.PROGRAM,
        "OVERAGE_CHARGED",
        f"A member paid {money(payment.amount_paise)} beyond their program.",
        target_type="payment",
        target_id=payment.public_id,
        target_membership_id=row.membership_id,
        amount_paise=payment.amount_paise,
        late=row.timed_out_at is not None,
    )
    outbox.notify(
        session,
        payment.user_id,
        "overage.paid",
        f"{money(payment.amount_paise)} received. Thank you.",
        payment.description,
        url="/dashboard/payments",
    )


def release_earnings(session: Session, booking_payment_id: int | None) -> None:
    """The shares of a booking no longer wait for the member: HELD → PENDING, or PENDING_TRUST as its funding says."""
    booking = session.get(Payment, booking_payment_id, execution_options=EVERYWHERE)
    if booking is None:
        return
    after = EarningStatus(booking.snapshot["split"].get("earnings_after", "PENDING"))
    session.execute(
        update(ConsultantEarning)
        .where(ConsultantEarning.payment_id == booking.id, ConsultantEarning.status == EarningStatus.HELD)
        .values(status=after)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    )
    session.execute(text("SELECT organization_earning_unhold(:payment)"), {"payment": booking.id})


def refund(session: Session, public_id: uuid.UUID, part: int, whole: int) -> None:
    """Give back *part* of *whole* of a paid overage in all, with its booking. Wants job scope; safe to repeat."""
    payment = session.scalars(select(Payment).where(Payment.public_id == public_id)).one()
    settlement.lock(session, payment)
    if payment.status != PaymentStatus.SUCCEEDED:
        return
    with settlement.for_payer(session, payment):
        due = overages.back_of(event_of(session, payment), payment, part, whole)
    back = due - (payment.amount_paise - refunds.refundable(session, payment))
    if back > 0:
        refunds.reserve(session, payment, back, "Refunded with its booking", force=True)
    with settlement.for_payer(session, payment):
        returned = refund_spread.given_back(session, payment)
        overages.level(session, payment, returned, part, whole, f"booking:{part}:{whole}")


# ---- time ------------------------------------------------------------------------------------------------------------


def time_out(session: Session) -> dict[str, int]:
    """Remind after seven days, give up after fourteen. Wants job scope; commits one by one, and may be repeated."""
    done = {"reminded": 0, "failed": 0, "errors": 0}
    now = clock.now()
    waiting = session.execute(
        select(OverageEvent.id, OverageEvent.due_at)
        .where(
            OverageEvent.charge_status == OverageStatus.PENDING,
            OverageEvent.side_payment_id.is_not(None),
            (OverageEvent.due_at <= now)
            | ((OverageEvent.due_at <= now + REMIND_BEFORE) & OverageEvent.reminded_at.is_(None)),
        )
        .order_by(OverageEvent.due_at)
        .limit(1000)
    ).all()
    session.commit()
    for event_id, due_at in waiting:
        late = due_at is not None and due_at <= now
        try:
            moved = _end(session, event_id) if late else _remind(session, event_id)
            session.commit()
            done["failed" if late else "reminded"] += moved
        except Exception as error:
            session.rollback()
            log.warning("overage_timeout_failed", overage=event_id, error=type(error).__name__)
            done["errors"] += 1
    return done


def _open(session: Session, event_id: int) -> tuple[OverageEvent, Payment, User]:
    row = session.get_one(OverageEvent, event_id)
    payment = session.get_one(Payment, row.side_payment_id)
    settlement.lock(session, payment)
    session.refresh(row)
    return row, payment, session.get_one(User, row.user_id)


def _remind(session: Session, event_id: int) -> int:
    row, payment, person = _open(session, event_id)
    if row.charge_status != OverageStatus.PENDING or row.reminded_at is not None:
        return 0
    with settlement.for_payer(session, payment):
        row.reminded_at = clock.now()
        session.flush()
        day = (row.due_at or clock.now()).astimezone(clock.IST)
        _say(
            session,
            payment,
            person,
            "overage.due",
            f"{money(payment.amount_paise)} for a session is due on {day.day} {day:%B}",
            [
                f"{payment.description.removeprefix('Overage: ')}: your program did not cover all of it, "
                f"{money(payment.amount_paise)} is yours to pay until {day.day} {day:%B %Y}.",
                "Until it is paid the expert waits for their share. After that day you cannot book on your "
                "organisation's money.",
            ],
        )
    return 1


def _end(session: Session, event_id: int) -> int:
    """PENDING → FAILED: written off, the shares released, the member told."""
    row, payment, person = _open(session, event_id)
    if row.charge_status != OverageStatus.PENDING or payment.status != PaymentStatus.PENDING:
        return 0
    now = clock.now()
    with settlement.for_payer(session, payment):
        ledger.post(
            session,
            f"overage-writeoff:{row.public_id}",
            "OVERAGE_WRITE_OFF",
            [
                ledger.debit(BAD_DEBT, payment.amount_paise),
                ledger.credit(receivable(payment.user_id), payment.amount_paise),
            ],
            organization_id=payment.organization_id,
            description=payment.description,
            payment_id=str(payment.public_id),
        )
        row.charge_status, row.timed_out_at, row.written_off_at = OverageStatus.FAILED, now, now
        payment.status = PaymentStatus.FAILED
        session.flush()
        release_earnings(session, payment.parent_payment_id)
        audit.record(
            session,
            AuditCategory.PROGRAM,
            "OVERAGE_TIMED_OUT",
            f"{person.name} did not pay {money(payment.amount_paise)} beyond their program in fourteen days.",
            target_type="payment",
            target_id=payment.public_id,
            target_membership_id=row.membership_id,
            amount_paise=payment.amount_paise,
        )
        name = session.scalar(select(Organization.name).where(Organization.id == payment.organization_id))
        _say(
            session,
            payment,
            person,
            "overage.timed_out",
            f"{money(payment.amount_paise)} was not paid in time",
            [
                f"{payment.description.removeprefix('Overage: ')}: the fourteen days for your part of "
                f"{money(payment.amount_paise)} are over.",
                f"You cannot book on the money of {name} until it is paid. Paying it opens that again at once.",
            ],
        )
    return 1


def _say(session: Session, payment: Payment, person: User, kind: str, title: str, lines: list[str]) -> None:
    terms_notices.tell_one(
        session, person, kind, title, lines, path=path(payment.public_id), button="Pay now"
    )
