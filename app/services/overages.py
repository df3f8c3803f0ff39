"""What bookings cost beyond their programs, and what becomes of it (chapter 2, "Metering", overage_event).

An organisation's overage: PENDING → ACCRUED with its invoice → CHARGED when that is paid. A member's overage is a payment
of its own for fourteen days (``side_payments``). Refunds reverse what was not collected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session

from app import clock
from app.models import (
    AuditCategory,
    ChargeTo,
    LedgerAccount,
    LedgerEntry,
    LedgerTransaction,
    LegSource,
    OverageEvent,
    OverageStatus,
    Payment,
    PaymentLeg,
    PaymentStatus,
)
from app.security.context import acting, ctx
from app.services import audit, ledger, outbox
from app.services.sponsored import CapExhausted
from app.services.text import money

BAD_DEBT = "BAD_DEBT|platform|INR"
_PLAIN: dict[str, Any] = {"synchronize_session": False, "skip_tenancy": True}


def settled(session: Session, payment: Payment) -> None:
    """A booking that waited for a card is booked: a wallet's overage is paid with it."""
    session.execute(
        update(OverageEvent)
        .where(
            OverageEvent.payment_id == payment.id,
            OverageEvent.charge_to == ChargeTo.ORGANIZATION,
            OverageEvent.charge_status == OverageStatus.PENDING,
        )
        .values(charge_status=OverageStatus.CHARGED, charged_at=clock.now())
        .execution_options(**_PLAIN)
    )


def record_blocked(session: Session, refused: CapExhausted) -> None:
    """Keep a refusal by the ceiling of overage, in a transaction of its own after the refusal rolled back."""
    row, m = refused.row, refused.outcome.metered
    with acting(session, org_id=row["org_id"], membership_id=row["membership_id"], role=None):
        session.add(
            OverageEvent(
                assignment_id=row["assignment_id"],
                program_id=row["program_id"],
                membership_id=row["membership_id"],
                user_id=row.get("learner_user_id") or ctx().user_id,
                charge_to=refused.outcome.charge_to or ChargeTo.ORGANIZATION,
                charge_status=OverageStatus.BLOCKED,
                base_paise=m.base,
                surcharge_paise=m.surcharge,
                marginal_paise=m.marginal,
            )
        )


def released(session: Session, payment: Payment, part: int, whole: int) -> int:
    """A booking gave back *part* of *whole* in all; what its overage is reversed by now, paise, beyond what was before.

    Before collection a whole refund ends the event REVERSED, and a member's payment with it; a part makes that payment
    smaller. What a member paid already follows in a refund of its own; what an invoice holds is credited there.
    """
    row = of_payment(session, payment.id)
    if row is None or row.charge_status == OverageStatus.REVERSED:
        return 0
    back = row.marginal_paise * part // whole
    step = back - row.reversed_paise
    if step <= 0:
        return 0
    row.reversed_paise = back
    open_ = row.charge_status in (OverageStatus.PENDING, OverageStatus.FAILED)
    if row.side_payment_id is not None:
        side = session.get_one(Payment, row.side_payment_id, execution_options={"skip_tenancy": True})
        session.refresh(side, with_for_update=True)
        if not open_:
            outbox.put(
                session,
                "refund_side_payment",
                {"payment_id": str(side.public_id), "part": part, "whole": whole},
            )
        else:
            if row.written_off_at is not None:
                _write_on(session, row, side, part, whole)
            if part == whole:
                side.status = PaymentStatus.EXPIRED
            else:
                _shrink(session, row, side, part, whole)
    if part == whole and open_:
        row.charge_status = OverageStatus.REVERSED
    session.flush()
    return step


def _shrink(session: Session, row: OverageEvent, side: Payment, part: int, whole: int) -> None:
    """A member owes less; an order for more is forgotten, and money that still arrives on it goes back."""
    all_of_it = row.marginal_paise + row.tax_paise
    side.price_paise = row.marginal_paise - row.reversed_paise
    side.amount_paise = all_of_it - all_of_it * part // whole
    side.tax_paise = side.amount_paise - side.price_paise
    side.gateway_order_id = side.checkout_url = None
    session.execute(
        update(PaymentLeg)
        .where(PaymentLeg.payment_id == side.id, PaymentLeg.source == LegSource.CARD)
        .values(amount_paise=side.amount_paise)
        .execution_options(**_PLAIN)
    )


def _write_on(session: Session, row: OverageEvent, side: Payment, part: int, whole: int) -> None:
    """What was written off is owed no longer: the loss is taken back by as much as the booking was refunded."""
    owed = f"MEMBER_RECEIVABLE|user:{side.user_id}|INR"
    before = session.scalar(
        select(func.coalesce(func.sum(LedgerEntry.amount_paise), 0))
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .where(
            LedgerTransaction.key.startswith(f"overage-writeoff:{row.public_id}:", autoescape=True),
            LedgerAccount.code == owed,
        )
    )
    paise = (row.marginal_paise + row.tax_paise) * part // whole - int(before or 0)
    if paise <= 0:
        return
    ledger.post(
        session,
        f"overage-writeoff:{row.public_id}:{part}:{whole}",
        "OVERAGE_WRITE_OFF",
        [ledger.debit(owed, paise), ledger.credit(BAD_DEBT, paise)],
        organization_id=side.organization_id,
        description=f"Refunded: {side.description}",
        payment_id=str(side.public_id),
    )


def back_of(row: OverageEvent, side: Payment, part: int, whole: int) -> int:
    """What of a member's payment goes back with *part* of *whole* of its booking, paise."""
    all_of_it = row.marginal_paise + row.tax_paise
    return side.amount_paise - (all_of_it - all_of_it * part // whole)


def level(session: Session, side: Payment, returned: int, part: int, whole: int, ref: str) -> None:
    """What a member got back apart from the booking, by hand or through their bank, is the platform's loss: they are not
    asked twice for it (OVERAGE_WRITE_OFF ``overage-returned:<event>:<ref>``). A refund of the booking takes it back.

    *returned* of the paid overage went back so far, paise; *part* of *whole* of its booking did. Acts for the payer.
    """
    row = session.scalars(
        select(OverageEvent).where(OverageEvent.side_payment_id == side.id),
        execution_options={"skip_tenancy": True},
    ).one()
    owed = f"MEMBER_RECEIVABLE|user:{side.user_id}|INR"
    with acting(session, scope="platform"):  # a person's account is nobody's organisation's
        signed = case((LedgerEntry.side == "C", LedgerEntry.amount_paise), else_=-LedgerEntry.amount_paise)
        have = session.scalar(
            select(func.coalesce(func.sum(signed), 0))
            .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
            .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
            .where(
                LedgerTransaction.key.startswith(f"overage-returned:{row.public_id}:", autoescape=True),
                LedgerAccount.code == owed,
            )
        )
    more = max(0, returned - back_of(row, side, part, whole)) - int(have or 0)
    if not more:
        return
    lost, gone = ledger.debit(BAD_DEBT, more), ledger.credit(owed, more)
    if more < 0:
        lost, gone = ledger.debit(owed, -more), ledger.credit(BAD_DEBT, -more)
    ledger.post(
        session,
        f"overage-returned:{row.public_id}:{ref}",
        "OVERAGE_WRITE_OFF",
        [lost, gone],
        organization_id=side.organization_id,
        description=f"Returned apart from its booking: {side.description}",
        payment_id=str(side.public_id),
    )
    audit.record(
        session,
        AuditCategory.PROGRAM,
        "OVERAGE_RETURNED",
        f"{money(abs(more))} that a member had paid beyond their program "
        + ("went back apart from the booking" if more > 0 else "now went back with the booking"),
        target_type="payment",
        target_id=side.public_id,
        target_membership_id=row.membership_id,
        amount_paise=abs(more),
    )


def of_payment(session: Session, payment_id: int) -> OverageEvent | None:
    """The overage of a booking's payment (inner id)."""
    return session.scalars(
        select(OverageEvent).where(OverageEvent.payment_id == payment_id),
        execution_options={"skip_tenancy": True},
    ).one_or_none()


@dataclass(frozen=True)
class OverageView:
    """An overage as its booking's page shows it, with the member's payment where there is one."""

    event: OverageEvent
    side: Payment | None


def view(session: Session, payment: Payment) -> OverageView | None:
    """The overage of a booking's payment for who may see that payment."""
    row = of_payment(session, payment.id)
    if row is None:
        return None
    side = session.get(Payment, row.side_payment_id or -1, execution_options={"skip_tenancy": True})
    return OverageView(row, side)


def owed_by(session: Session) -> list[Payment]:
    """What the caller still owes apart in the organisation acted for, oldest first."""
    return list(
        session.scalars(
            select(Payment)
            .where(
                Payment.user_id == (ctx().user_id or -1),
                Payment.organization_id == (ctx().org_id or -1),
                Payment.parent_payment_id.is_not(None),
                Payment.appointment_id.is_(None),
                Payment.status.in_((PaymentStatus.PENDING, PaymentStatus.FAILED)),
            )
            .order_by(Payment.id)
        )
    )
