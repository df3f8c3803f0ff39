"""Refunds that the provider tells us about: ours, or made at the provider by hand (chapter 2, 2.7, 2.8)."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.gateways import RefundChanged, open_gateway
from app.models import (
    InvoiceReceipt,
    InvoiceRefund,
    InvoiceRefundStatus,
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
from app.services import (
    credit_notes,
    invoice_returns,
    refund_spread,
    refunds,
    settlement,
    topup_refunds,
    unapplied,
)
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
    invoiced = session.scalars(
        select(InvoiceRefund.public_id).where(
            InvoiceRefund.provider_refund_id == event.refund_id, InvoiceRefund.credit_note_id.is_not(None)
        )
    ).one_or_none()
    if invoiced is not None:
        return credit_notes.send(session, invoiced, settings)
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
    receipt = session.scalars(
        select(InvoiceReceipt).where(InvoiceReceipt.provider_payment_id == event.payment_id)
    ).one_or_none()
    if receipt is not None:
        return _of_invoice(session, event, receipt, gateway, settings)
    apart = select(UnappliedReceipt.id).where(UnappliedReceipt.provider_payment_id == event.payment_id)
    if session.scalar(apart) is not None:
        return _of_unapplied(session, event, gateway, settings)
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
        topup_refunds.lock(session, row)
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
            topup_refunds.went_back(session, refund, row, BY_HAND)
    _note(session, event, paise, taken)
    session.commit()
    return "by_hand"


def _of_invoice(
    session: Session, event: RefundChanged, receipt: InvoiceReceipt, gateway: str, settings: Settings
) -> str:
    """Returned without a credit note: the invoice asks for it again, and finance and ADMIN are told."""
    waiting = session.scalars(
        select(InvoiceRefund.public_id).where(
            InvoiceRefund.receipt_id == receipt.id,
            InvoiceRefund.status == InvoiceRefundStatus.PENDING,
            InvoiceRefund.provider_refund_id.is_(None),
        )
    ).all()
    for public_id in waiting:
        credit_notes.send(session, public_id, settings)
    known = select(InvoiceRefund.id).where(InvoiceRefund.provider_refund_id == event.refund_id)
    if session.scalar(known) is not None:
        return "repeated"
    status, paise = _told(event, session, gateway, settings)
    if status != "processed":
        return "ignored"
    with acting(session, scope="org", org_id=receipt.organization_id, user_id=None, role=None):
        invoice_returns.lock(session, receipt)
        if session.scalar(known) is not None:
            return "repeated"
        taken = max(0, min(paise, invoice_returns.at_provider(session, receipt)))
        if taken:
            invoice_returns.by_hand(session, receipt, event.refund_id, taken)
    _note(session, event, paise, taken)
    session.commit()
    return "by_hand"


def _of_unapplied(session: Session, event: RefundChanged, gateway: str, settings: Settings) -> str:
    """Ours, or somebody was faster than ours: what left is left out of what we send back."""
    status, paise = _told(event, session, gateway, settings)
    row = unapplied.lock(session, event.payment_id or "")
    if unapplied.knows(session, row, event.refund_id):
        return "repeated"
    taken = min(paise, row.left_paise) if status == "processed" else 0
    if not taken:
        return "ignored"
    unapplied.sent_back(session, row, event.refund_id, taken, by_hand=True)
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
