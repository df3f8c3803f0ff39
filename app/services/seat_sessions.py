"""Sessions of a subscription that a licensed seat pays (chapter 2, 2.5 "Metering": 1 per allocation).

The subscription's own payment is of nothing and keeps its price. A session that the expert plans is metered and posted by
the checkout's own functions and statement, as a payment below the subscription's: LICENSE within the cap; beyond it the
organisation's overage, or the member's own. Decision 0054.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb
from psycopg.types.numeric import Int8
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import Appointment, AppointmentStatus, Payment
from app.schema.base import new_public_id
from app.security.context import acting
from app.services import checkout, offers, refunds, sponsored, usage_notices
from app.services.booking_record import Booking, Funding, Order, Quote, Supplier, price
from app.services.tax import Card
from app.services.text import money

USED_UP = frozenset({"PROGRAM_SESSION_CAP_REACHED", "PROGRAM_CAP_EXHAUSTED"})
EVERYWHERE = {"skip_tenancy": True}  # with an explicit key; row-level security still stands
WHOLE = 10_000  # bps


@dataclass(frozen=True)
class Desk:
    """What a booking needs beside its rules: the platform as documents name it, and the provider of side payments."""

    supplier: Supplier
    gateway: str


def paid_by_session(session: Session, parent: Appointment) -> Payment | None:
    """The payment of a subscription whose sessions a seat pays one by one; None for one that was paid up front."""
    if parent.organization_id is None:
        return None
    row = session.scalars(
        select(Payment).where(Payment.appointment_id == parent.id), execution_options=EVERYWHERE
    ).one_or_none()
    return row if row is not None and "per_session_paise" in row.snapshot else None


def plan(
    session: Session,
    parent: Appointment,
    whole: Payment,
    starts: dt.datetime,
    ends: dt.datetime,
    planned: int,
    desk: Desk,
) -> tuple[Appointment, list[str]]:
    """Book one session of *parent*, *planned* were before it: (the session, what the learner is told of money).

    Acts for the paying organisation, under both calendars' locks and the subscription's. Raises the payer's codes of
    chapter 2, 2.6, without their figures: the expert who plans is not to read them. PROGRAM_CAP_EXHAUSTED is a
    ``CapExhausted``, to be recorded once it has rolled back.
    """
    with acting(session, user_id=parent.learner_user_id):
        try:
            return _plan(session, parent, whole, starts, ends, planned, desk)
        except sponsored.CapExhausted as error:
            error.details = {}
            raise
        except DomainError as error:
            raise DomainError(error.code) from None


def refusal(session: Session, parent: Appointment, whole: Payment, planned: int) -> str:
    """Why the next session of *parent* would be refused now, in words for the expert; empty where it would not. Writes
    nothing, and tells no figure and no reason that is the organisation's own."""
    with acting(session, user_id=parent.learner_user_id):
        try:
            _judged(session, parent, whole, clock.now(), planned, str(new_public_id()))
        except DomainError as error:
            if error.code in USED_UP:
                return "The learner's program has no session left in this cycle. It can be planned once the next cycle begins."
            return "The learner's organisation does not pay for another session at present. Ask the learner to talk to it."
    return ""


def _judged(
    session: Session, parent: Appointment, whole: Payment, starts: dt.datetime, planned: int, key: str
) -> tuple[dict[str, Any], Quote, Funding, int | None]:
    """(what checkout read, price and shares, who pays, the organisation's credit limit) of the next session. Raises
    what refuses it."""
    now, user_id = clock.now(), parent.learner_user_id
    raw = checkout.driver(session)
    row = checkout.read(
        raw,
        {
            "org": str(parent.organization_id),
            "user": Int8(user_id),
            "plan": parent.plan.public_id,
            "today": now.astimezone(clock.IST).date(),
            "now": now,
            "starts": starts,
            "scope": _scope(parent),
            "key": key,
        },
    )
    if row is None:
        raise DomainError("NOT_FOUND")
    row["learner_user_id"] = user_id
    checkout.check_payer(row)
    quote = price(
        _worth(session, parent, whole, planned),
        row["tax_bps"],
        Card(row["platform_bps"], row["org_bps"], row["consultant_bps"]),
        hosted=row["host_id"] is not None,
        to_organization=row["to_organization"],
        others=offers.collaborators(raw, row),
    )
    funding = sponsored.fund(row, quote, planned=True)
    if funding.waits:  # a wallet that is short: nobody is there to pay the rest by card
        raise DomainError("WALLET_INSUFFICIENT_FUNDS")
    if funding.organization:
        checkout.check_spend_limit(raw, row, user_id, funding.organization, now)
    return row, funding.quote or quote, funding, sponsored.within_limit(row, funding)


def _scope(parent: Appointment) -> str:
    return f"appointment:{parent.public_id}:session"


def _plan(
    session: Session,
    parent: Appointment,
    whole: Payment,
    starts: dt.datetime,
    ends: dt.datetime,
    planned: int,
    desk: Desk,
) -> tuple[Appointment, list[str]]:
    now, user_id = clock.now(), parent.learner_user_id
    today = now.astimezone(clock.IST).date()
    raw = checkout.driver(session)
    own = {"scope": _scope(parent), "key": str(new_public_id())}
    row, quote, funding, limit = _judged(session, parent, whole, starts, planned, own["key"])
    what = offers.Occurrence(
        starts,
        ends,
        offers.pair(parent.expert_user_id, user_id, starts, ends),
        hold_after=offers.hold_after(parent.plan.type),
    )
    order = Order(parent.plan.public_id, starts, parent.organization_id, own["key"], {})
    booking = Booking(row, order, quote, funding, desk.supplier, now, today, user_id, desk.gateway, what)
    values = {
        **booking.values(),
        **own,
        "hash": "",
        "ip": None,
        "correlation": None,
        "limit": None if limit is None else Int8(limit),
        **dict.fromkeys(
            ("audit", "mails", "bells"), Jsonb([])
        ),  # the expert's act, told in the subscription's words
    }
    if not checkout.write(raw, values, row)["metered"]:
        checkout.lost_place(row)
    if quote.others:
        offers.share_earnings(raw, booking.payment, values)
    session.execute(
        update(Appointment)
        .where(Appointment.public_id == booking.appointment)
        .values(parent_id=parent.id, cancellation_policy=parent.cancellation_policy)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    )
    session.execute(
        update(Payment)
        .where(Payment.public_id == booking.payment)
        .values(parent_payment_id=whole.id)
        .execution_options(synchronize_session=False, **EVERYWHERE)
    )
    usage_notices.after_booking(session, row, funding, now, today)
    child = session.scalars(
        select(Appointment).where(Appointment.public_id == booking.appointment), execution_options=EVERYWHERE
    ).one()
    return child, _said(booking)


def _worth(session: Session, parent: Appointment, whole: Payment, planned: int) -> int:
    """The price of the next session, paise; the last one takes what the others left, so that they add up to the whole."""
    price_paise, total = int(whole.snapshot["per_session_paise"]), max(1, parent.plan.total_sessions or 1)
    if planned + 1 < total:
        return price_paise // total
    standing = (Appointment.status != AppointmentStatus.CANCELLED) | Appointment.forfeited
    others = session.scalar(
        select(func.coalesce(func.sum(Payment.price_paise), 0))
        .join(Appointment, Appointment.id == Payment.appointment_id)
        .where(Appointment.parent_id == parent.id, standing),
        execution_options=EVERYWHERE,
    )
    return max(0, price_paise - int(others or 0))


def _said(booking: Booking) -> list[str]:
    """What the learner hears of the money: nothing where the seat covers the session."""
    over, q = booking.funding.overage, booking.quote
    if over is None:
        return []
    if booking.due is None:
        return ["It lies beyond your program; your organisation pays what is beyond it."]
    day = booking.due.astimezone(clock.IST)
    return [
        f"It lies beyond your program: {money(q.member + q.member_tax)} is yours to pay until "
        f"{day.day} {day:%B %Y}. The session's page says how."
    ]


def give_back(session: Session, appointment_ids: list[int], reason: str) -> None:
    """Sessions that were called off in time free their engagements and end their overage. Acts for nobody in particular;
    sessions that a subscription paid up front have no payment of their own."""
    payments = session.scalars(
        select(Payment)
        .where(Payment.appointment_id.in_(appointment_ids), Payment.parent_payment_id.is_not(None))
        .order_by(Payment.id),
        execution_options=EVERYWHERE,
    ).all()
    for payment in payments:
        refunds.reserve(
            session,
            payment,
            None,
            reason or "The session was called off",
            policy_bps=None if payment.amount_paise else WHOLE,
        )
