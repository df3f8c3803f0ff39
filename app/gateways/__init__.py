"""Payment gateways behind one interface: the sandbox, Razorpay and Stripe (docs/gateways.md)."""

from __future__ import annotations

import dataclasses

from sqlalchemy.orm import Session

from app.errors import DomainError
from app.gateways.base import (
    AccountValidated,
    Dispute,
    DisputeChanged,
    Event,
    Gateway,
    Mandate,
    MandateChanged,
    Order,
    Payee,
    PayeeAccount,
    Payer,
    PaymentCaptured,
    PaymentFailed,
    Payout,
    PayoutChanged,
    RefundChanged,
    RefundResult,
    Refused,
    Transaction,
    Unknown,
    Validation,
)
from app.gateways.sandbox import SandboxGateway
from config import Settings

__all__ = [
    "AccountValidated",
    "Dispute",
    "DisputeChanged",
    "Event",
    "Gateway",
    "Mandate",
    "MandateChanged",
    "Order",
    "Payee",
    "PayeeAccount",
    "Payer",
    "PaymentCaptured",
    "PaymentFailed",
    "Payout",
    "PayoutChanged",
    "RefundChanged",
    "RefundResult",
    "Refused",
    "Transaction",
    "Unknown",
    "Validation",
    "complete",
    "open_gateway",
]


def open_gateway(settings: Settings, session: Session, name: str | None = None) -> Gateway:
    """The adapter called *name* (default: the one for new orders). Raises GATEWAY_NOT_CONFIGURED."""
    chosen = name or settings.gateway
    if chosen == "sandbox" and not settings.production:
        return SandboxGateway(settings, session)
    if chosen == "razorpay" and settings.razorpay_key_id and settings.razorpay_key_secret:
        from app.gateways.razorpay import RazorpayGateway

        return RazorpayGateway(settings)
    if chosen == "stripe" and settings.stripe_secret_key:
        from app.gateways.stripe import StripeGateway

        return StripeGateway(settings)
    raise DomainError("GATEWAY_NOT_CONFIGURED", gateway=chosen)


def complete(gateway: Gateway, event: Event) -> Event:
    """A capture with the notes of its order where the provider's webhook left them out.

    Razorpay copies what the checkout was opened with, not what the order holds. Raises the gateway's codes.
    """
    if event.type not in ("payment.captured", "order.paid") or event.notes or not event.order_id:
        return event
    order = gateway.fetch_order(event.order_id)
    return dataclasses.replace(event, notes=order.notes) if order else event
