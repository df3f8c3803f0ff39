"""Refunds that the provider tells us about: ours, or made at the provider by hand (chapter 2, 2.7, 2.8)."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.gateways import RefundChanged, open_gateway
from app.models import (
    InvoiceReceipt,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
    Severity,
    SystemEvent,
    TopUpRefund,
    UnappliedReceipt,
    WalletTopUp,
)
from app.security.context import acting
from app.services import refund_spread, refunds, settlement, topup_refunds
from app.services.disputes import NotYet
from config import Settings

BY_HAND = "Refunded at the payment provider"


def changed(session: Session, event: RefundChanged, gateway: str, settings: Settings) -> str:
    """Apply a ``refund.*``: what the provider says now counts, not the event's copy of it. Wants job scope and commits.

    A refund of ours is asked about; one we never made is written down and spread. Raises NotYet while the payment it
    belongs to is not captured here, and the gateway's codes.
    """
    ours = session.scalars(
        select(Refund.public_id).where(Refund.provider_refund_id == event.refund_id)
    ).one_or_none()
    if ours is not None:
        return refunds.send(session, ours, settings)
    top_up = session.scalars(
        select(TopUpRefund.public_id).where(TopUpRefund.provider_refund_id == event.refund_id)
    ).one_or_none()
    if top_up is not None:
        return topup_refunds.send(session, top_up, settings)
    payment = session.scalars(
        select(Payment).where(Payment.provider_payment_id == event.payment_id)
    ).one_or_none()
    if payment is not None and payment.status == PaymentStatus.SUCCEEDED:
        return _of_booking(session, event, payment, gateway, settings)
    bought = session.scalars(
        select(WalletTopUp).where(WalletTopUp.gateway_payment_id == event.payment_id)
    ).one_or_none()
    if bought is not None and bought.confirmed_at is not None:
        return _of_top_up(session, event, bought, gateway, settings)
    for table in (UnappliedReceipt, InvoiceReceipt):  # sent back by their own hand, under their own keys
        if session.scalar(select(table.id).where(table.provider_payment_id == event.payment_id)) is not None:
            return "ignored"
    raise NotYet(f"payment {event.payment_id}")


def _told(event: RefundChanged, session: Session, gateway: str, settings: Settings) -> tuple[str, int]:
    now = open_gateway(settings, session, gateway).fetch_refund(event.refund_id)
    if now is None:
        return event.status, event.amount_paise or 0
    return now.status, now.amount_paise or event.amount_paise or 0


def _of_booking(
    session: Session, event: RefundChanged, payment: Payment, gateway: str, settings: Settings
) -> str:
    waiting = session.scalars(
        select(Refund.public_id).where(
            Refund.payment_id == payment.id,
            Refund.status == RefundStatus.PENDING,
            Refund.provider_refund_id.is_(None),
        )
    ).all()
    for public_id in waiting:  # ours, its answer lost: asking again under its key names it
        refunds.send(session, public_id, settings)
    known = select(Refund.id).where(Refund.provider_refund_id == event.refund_id)
    if session.scalar(known) is not None:
        return "repeated"
    status, paise = _told(event, session, gateway, settings)
    if status != "processed":
        return "ignored"
    settlement.lock(session, payment)
    with settlement.for_payer(session, payment):
        if session.scalar(known, execution_options=settlement.EVERYWHERE) is not None:
            return "repeated"
        taken = min(paise, refunds.refundable(session, payment))
        if taken:
            row = Refund(
                organization_id=payment.organization_id,
                payment_id=payment.id,
                user_id=payment.user_id,
                amount_paise=taken,
                gateway_paise=taken,
                reason=BY_HAND,
                forced=True,
                provider_refund_id=event.refund_id,
                status=RefundStatus.SUCCEEDED,
                succeeded_at=clock.now(),
            )
            session.add(row)
            session.flush()
            refund_spread.cascade(session, row, payment)
    _note(session, event, paise, taken)
    session.commit()
    return "by_hand"


def _of_top_up(
    session: Session, event: RefundChanged, row: WalletTopUp, gateway: str, settings: Settings
) -> str:
    organization_id = row.organization_id
    with acting(session, scope="org", org_id=organization_id, user_id=None):
        waiting = session.scalars(
            select(TopUpRefund.public_id).where(
                TopUpRefund.top_up_id == row.id,
                TopUpRefund.status == RefundStatus.PENDING,
                TopUpRefund.provider_refund_id.is_(None),
            )
        ).all()
    for public_id in waiting:
        topup_refunds.send(session, public_id, settings)
    known = select(TopUpRefund.id).where(TopUpRefund.provider_refund_id == event.refund_id)
    if session.scalar(known) is not None:
        return "repeated"
    status, paise = _told(event, session, gateway, settings)
    if status != "processed":
        return "ignored"
    with acting(session, scope="org", org_id=organization_id, user_id=None):
        session.refresh(row, with_for_update=True)
        if session.scalar(known) is not None:
            return "repeated"
        taken = min(paise, topup_refunds.refundable(session, row))
        if taken:
            refund = TopUpRefund(
                organization_id=organization_id,
                top_up_id=row.id,
                amount_paise=taken,
                reason=BY_HAND,
                provider_refund_id=event.refund_id,
                status=RefundStatus.SUCCEEDED,
                succeeded_at=clock.now(),
            )
            session.add(refund)
            session.flush()
            topup_refunds.take_back(
                session,
                row,
                f"topup-refund:{event.refund_id}",
                "TOPUP_REFUND",
                taken,
                description=BY_HAND,
                refund_id=str(refund.public_id),
            )
    _note(session, event, paise, taken)
    session.commit()
    return "by_hand"


def _note(session: Session, event: RefundChanged, paise: int, taken: int) -> None:
    session.add(
        SystemEvent(
            category="gateway",
            severity=Severity.WARN if taken == paise else Severity.ERROR,
            message=f"Refund {event.refund_id} was made at the provider, not here",
            context={"amount_paise": paise, "booked_paise": taken, "payment": event.payment_id},
        )
    )
