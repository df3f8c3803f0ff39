"""Refunds in two phases: reserved under the payment's lock, sent back, then spread over what the booking posted
(chapter 2, 2.8).

How what was given back is spread over shares, tax and sources stands in ``refund_spread``.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import clock, faults
from app.errors import DomainError, Invalid
from app.gateways import open_gateway
from app.gateways.base import Gateway, RefundResult, Refused
from app.logs import log
from app.models import (
    LegSource,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
    Severity,
    SystemEvent,
)
from app.security.context import acting, ctx
from app.services import credit_notes as credit_notes  # registers what refunds of invoiced accruals do
from app.services import outbox, price_cuts, refund_spread, settlement
from app.services.text import money, paragraphs
from config import Settings

CARD_WINDOW = dt.timedelta(days=180)
COUNTED = (RefundStatus.PENDING, RefundStatus.SUCCEEDED)
WHOLE = 10_000  # bps
MAX_REASON = 300
refund_spread.EFFECTS[LegSource.REFERRAL_CREDIT] = price_cuts.refunded


def find(session: Session, public_id: uuid.UUID) -> Payment:
    """A payment anywhere, for ADMIN and STAFF. Raises INSUFFICIENT_ROLE, NOT_FOUND."""
    if not ctx().platform_role:
        raise DomainError("INSUFFICIENT_ROLE")
    with acting(session, scope="platform"):
        row = session.scalars(select(Payment).where(Payment.public_id == public_id)).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def refundable(session: Session, payment: Payment) -> int:
    """What can still be refunded, paise: the amount less refunds done or under way and less what lost disputes took."""
    return payment.amount_paise - _counted(session, payment) - refund_spread.lost(session, payment)


def _counted(session: Session, payment: Payment) -> int:
    return int(
        session.scalar(
            select(func.coalesce(func.sum(Refund.amount_paise), 0)).where(
                Refund.payment_id == payment.id, Refund.status.in_(COUNTED)
            ),
            execution_options=settlement.EVERYWHERE,
        )
        or 0
    )


def reserve(
    session: Session,
    payment: Payment,
    amount_paise: int | None,
    reason: str,
    *,
    force: bool = False,
    policy_bps: int | None = None,
) -> Refund:
    """Phase one, and the whole refund where no card is involved; the caller commits.

    *amount_paise* None is everything left. *force* takes back shares that were paid out (ADMIN). *policy_bps* stands for
    the amount of a booking that cost nothing. Raises PAYMENT_NOT_REFUNDABLE, REFUND_EXCEEDS_BALANCE,
    REFUND_WINDOW_CLOSED, EARNINGS_PAID_OUT, Invalid.
    """
    why = paragraphs(reason or "")
    if not 1 <= len(why) <= MAX_REASON:
        raise Invalid(
            {"reason": [f"Say why, in at most {MAX_REASON} characters: it is kept with the refund."]}
        )
    with settlement.for_payer(session, payment):
        settlement.lock(session, payment)
        if payment.status != PaymentStatus.SUCCEEDED:
            raise DomainError("PAYMENT_NOT_REFUNDABLE", state=payment.status.value)
        left = refundable(session, payment)
        amount = left if amount_paise is None else amount_paise
        if amount < 0 or (amount == 0 and payment.amount_paise):
            raise (
                Invalid({"amount_paise": ["Choose an amount of at least one paisa."]})
                if left
                else DomainError("REFUND_EXCEEDS_BALANCE", refundable_paise=left)
            )
        if amount > left or (not payment.amount_paise and _policy_spent(session, payment)):
            raise DomainError("REFUND_EXCEEDS_BALANCE", refundable_paise=left)
        back = _card_share(session, payment, amount)
        if back and payment.captured_at and clock.now() - payment.captured_at > CARD_WINDOW:
            raise DomainError("REFUND_WINDOW_CLOSED", captured_at=payment.captured_at.isoformat())
        if not force and refund_spread.paid_out(session, payment):
            raise DomainError("EARNINGS_PAID_OUT")
        row = Refund(
            organization_id=payment.organization_id,
            payment_id=payment.id,
            user_id=payment.user_id,
            amount_paise=amount,
            gateway_paise=back,
            policy_bps=policy_bps,
            reason=why,
            forced=force,
            requested_by_user_id=ctx().user_id,
            status=RefundStatus.PENDING if back else RefundStatus.SUCCEEDED,
            succeeded_at=None if back else clock.now(),
        )
        session.add(row)
        session.flush()
        if back:
            outbox.put(session, "refund_payment", {"refund_id": str(row.public_id)})
        else:
            refund_spread.cascade(session, row, payment)
    return row


def _policy_spent(session: Session, payment: Payment) -> bool:
    """Whether a booking that cost nothing was given back whole already."""
    given = session.scalar(
        select(func.coalesce(func.sum(func.coalesce(Refund.policy_bps, WHOLE)), 0)).where(
            Refund.payment_id == payment.id, Refund.status.in_(COUNTED)
        ),
        execution_options=settlement.EVERYWHERE,
    )
    return int(given or 0) >= WHOLE


def _card_share(session: Session, payment: Payment, amount: int) -> int:
    """What of *amount* goes back through the provider: the card's part, cumulatively prorated, within what is left of it."""
    card = sum(p.amount for p in settlement.parts_of(session, payment) if p.source == LegSource.CARD)
    whole = payment.amount_paise
    if not card or not whole:
        return 0
    before, sent = session.execute(
        select(
            func.coalesce(func.sum(Refund.amount_paise), 0), func.coalesce(func.sum(Refund.gateway_paise), 0)
        ).where(Refund.payment_id == payment.id, Refund.status.in_(COUNTED)),
        execution_options=settlement.EVERYWHERE,
    ).one()
    lost = refund_spread.lost(session, payment)
    card_left = card - int(sent) - lost
    other_left = (whole - card) - (int(before) - int(sent))
    fair = card * (int(before) + amount) // whole - card * int(before) // whole
    return max(amount - other_left, min(fair, card_left), 0)


def preview(session: Session, payment: Payment, amount_paise: int | None) -> dict[str, Any]:
    """What a refund would do, per source and per share, and why it would be refused; nothing is written.

    *amount_paise* None is everything left. Raises PAYMENT_NOT_REFUNDABLE, REFUND_EXCEEDS_BALANCE, Invalid.
    """
    with settlement.for_payer(session, payment):
        if payment.status != PaymentStatus.SUCCEEDED:
            raise DomainError("PAYMENT_NOT_REFUNDABLE", state=payment.status.value)
        left = refundable(session, payment)
        amount = left if amount_paise is None else amount_paise
        if amount < 0 or amount > left:
            raise DomainError("REFUND_EXCEEDS_BALANCE", refundable_paise=left)
        card = _card_share(session, payment, amount)
        found = refund_spread.preview(session, payment, amount, card)
        late = bool(card and payment.captured_at and clock.now() - payment.captured_at > CARD_WINDOW)
    return {
        "amount_paise": amount,
        "refundable_paise": left,
        "gateway_paise": card,
        **found,
        "refused": "REFUND_WINDOW_CLOSED" if late else "EARNINGS_PAID_OUT" if found["paid_out"] else None,
    }


# ---- phase two -------------------------------------------------------------------------------------------------------


def send(session: Session, public_id: uuid.UUID, settings: Settings) -> str:
    """Give the card's part back through the provider, then spread it. Wants job scope and commits; safe to repeat.

    Returns SUCCEEDED, PENDING (the provider takes its time) or FAILED. Raises the gateway's codes, to be tried again.
    """
    row = session.scalars(select(Refund).where(Refund.public_id == public_id)).one()
    payment = session.get_one(Payment, row.payment_id)
    settlement.lock(session, payment)  # one sender at a time
    session.refresh(row)
    if row.status != RefundStatus.PENDING:
        session.rollback()
        return row.status.value
    gateway = open_gateway(settings, session, payment.gateway or settings.gateway)
    if row.provider_refund_id:
        result = gateway.fetch_refund(row.provider_refund_id)
    else:
        result = _ask(gateway, payment, row)
    if result is None:
        raise DomainError("GATEWAY_ERROR", reason="the provider does not know its refund")
    with settlement.for_payer(session, payment):
        row.provider_refund_id = result.refund_id or None
        session.flush()
        outcome = _settle(session, row, payment, result.status)
    session.commit()
    return outcome


def _ask(gateway: Gateway, payment: Payment, row: Refund) -> RefundResult:
    """The provider's answer; its no is a failed refund, and only an answer that nobody understands is asked again."""
    try:
        return gateway.refund(
            payment_id=payment.provider_payment_id or "",
            amount_paise=row.gateway_paise,
            key=f"refund-{row.public_id}",
        )
    except Refused as error:
        log.warning("refund_refused", refund=str(row.public_id), reason=error.reason)
        return RefundResult("", "failed")


def _settle(session: Session, row: Refund, payment: Payment, status: str) -> str:
    if status == "processed":
        row.status, row.succeeded_at = RefundStatus.SUCCEEDED, clock.now()
        session.flush()
        faults.trip("refund_succeeded")
        refund_spread.cascade(session, row, payment)
    elif status == "failed":
        row.status = RefundStatus.FAILED
        session.flush()
        from app.services import disputes  # late: disputes spread their losses as refunds do

        disputes.refund_failed(session, "booking", payment.provider_payment_id or "", str(row.public_id))
        outbox.notify(
            session,
            row.user_id,
            "refund.failed",
            f"A refund of {money(row.amount_paise)} was rejected",
            "The provider could not return it. We look after it and come back to you.",
            url="/dashboard/appointments",
        )
        with acting(session, scope="job", org_id=None):
            session.add(
                SystemEvent(
                    category="gateway",
                    severity=Severity.WARN,
                    message=f"Refund {row.public_id} was rejected by the provider",
                    context={"amount_paise": row.gateway_paise, "payment": str(payment.public_id)},
                )
            )
    return row.status.value


def sweep(session: Session, settings: Settings) -> dict[str, int]:
    """Ask again after refunds nobody answered for an hour, and spread those a crash left. Wants job scope, commits."""
    done = {"settled": 0, "failed": 0}
    late = clock.now() - dt.timedelta(hours=1)
    ids = session.execute(
        select(Refund.public_id, Refund.status)
        .where(
            Refund.cascaded_at.is_(None),
            (Refund.status == RefundStatus.SUCCEEDED)
            | ((Refund.status == RefundStatus.PENDING) & (Refund.created_at <= late)),
        )
        .order_by(Refund.id)
        .limit(500)
    ).all()
    session.commit()
    for public_id, status in ids:
        try:
            if status == RefundStatus.PENDING:
                send(session, public_id, settings)
            else:
                row = session.scalars(select(Refund).where(Refund.public_id == public_id)).one()
                payment = session.get_one(Payment, row.payment_id)
                with settlement.for_payer(session, payment):
                    refund_spread.cascade(session, row, payment)
                session.commit()
            done["settled"] += 1
        except Exception as error:
            session.rollback()
            log.warning("refund_sweep_failed", refund=str(public_id), error=type(error).__name__)
            done["failed"] += 1
    return done


def of(session: Session, payment: Payment) -> tuple[list[Refund], int]:
    """The refunds of a payment, newest first, and what is left to refund (paise)."""
    with settlement.for_payer(session, payment):
        rows = session.scalars(
            select(Refund).where(Refund.payment_id == payment.id).order_by(Refund.id.desc()),
            execution_options=settlement.EVERYWHERE,
        ).all()
        return list(rows), refundable(session, payment)


def view(row: Refund) -> dict[str, Any]:
    """A refund as the API shows it."""
    return {
        "id": str(row.public_id),
        "status": row.status.value,
        "amount_paise": row.amount_paise,
        "gateway_paise": row.gateway_paise,
        "reason": row.reason,
        "forced": row.forced,
        "created_at": row.created_at.isoformat(),
        "succeeded_at": row.succeeded_at.isoformat() if row.succeeded_at else None,
    }
