"""Stripe's webhooks in our words. What we do not handle keeps its name behind ``stripe.``, so that no name collides."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from app import clock
from app.gateways import parsing
from app.gateways.base import (
    AccountValidated,
    DisputeChanged,
    Event,
    MandateChanged,
    PaymentCaptured,
    PaymentFailed,
    PayoutChanged,
    RefundChanged,
)
from app.gateways.signing import event_key

TOLERANCE = 300  # seconds
PAYOUT_EVENTS = ("transfer.", "account.", "payout.")
VIA_CHECKOUT = (
    "via"  # marks the intent behind a Checkout session: the session's own event counts, not the intent's
)
REFUND_STATES = {"succeeded": "processed", "failed": "failed", "canceled": "failed"}
DISPUTE_STATES = {
    "needs_response": "action_required",
    "warning_needs_response": "action_required",
    "under_review": "under_review",
    "warning_under_review": "under_review",
    "won": "won",
    "lost": "lost",
    "warning_closed": "closed",
    "prevented": "closed",
}


def signature_fits(secrets: str, body: bytes, given: str) -> bool:
    """Whether the header ``t=,v1=`` was made with one of the comma-separated *secrets* within the last five minutes."""
    parts = [p.partition("=") for p in given.split(",")[:20]]
    moments = [v for k, _, v in parts if k.strip() == "t"]
    if len(moments) != 1 or not (moments[0].isascii() and moments[0].isdigit() and len(moments[0]) <= 12):
        return False
    if abs(clock.now().timestamp() - int(moments[0])) > TOLERANCE:
        return False
    signed = moments[0].encode() + b"." + body
    found = False
    for secret in secrets.split(","):
        if secret.strip():
            own = hmac.new(secret.strip().encode(), signed, hashlib.sha256).hexdigest().encode()
            for name, _, value in parts:
                if name.strip() == "v1":
                    found |= hmac.compare_digest(own, value.strip().encode("utf-8", "replace"))
    return found


def kind_of(body: bytes) -> str:
    """The event's name, without trusting the rest. Raises ValueError."""
    return parsing.short(parsing.load(body).get("type"), 60)


def parse(body: bytes) -> Event:
    """The event in a verified body. Raises ValueError."""
    data = parsing.load(body)
    kind = data.get("type")
    if not isinstance(kind, str) or not kind:
        raise ValueError("not an event of Stripe")
    item = parsing.mapping(parsing.mapping(data.get("data"), "data").get("object"), "object")
    key = event_key(kind[:60], parsing.short(item.get("id"), 60), body)
    parser = _PARSERS.get(kind)
    event = parser(key, item) if parser else None
    return event or Event(key, f"stripe.{kind}"[:60])


def _rupees(item: dict[str, Any]) -> None:
    if str(item.get("currency", "inr")).lower() != "inr":
        raise ValueError("not in rupees")


def reference(value: Any) -> str | None:
    """The id of something that may have been expanded."""
    return parsing.short(value.get("id") if isinstance(value, dict) else value) or None


def _session(key: str, item: dict[str, Any]) -> Event | None:
    if item.get("mode") == "setup":
        return MandateChanged(
            key,
            "token.confirmed",
            notes=parsing.notes(item.get("metadata")),
            mandate_id=reference(item.get("customer")) or "",
            status="confirmed",
        )
    if item.get("payment_status") != "paid":
        return None
    _rupees(item)
    return PaymentCaptured(
        key,
        "payment.captured",
        parsing.short(item.get("id")),
        reference(item.get("payment_intent")),
        parsing.paise(item.get("amount_total")),
        parsing.notes(item.get("metadata")),
    )


def _session_failed(key: str, item: dict[str, Any]) -> Event:
    return PaymentFailed(
        key,
        "payment.failed",
        parsing.short(item.get("id")),
        reference(item.get("payment_intent")),
        parsing.paise(item.get("amount_total")),
        parsing.notes(item.get("metadata")),
        reason="async_payment_failed",
    )


def _intent(key: str, item: dict[str, Any]) -> Event | None:
    notes = parsing.notes(item.get("metadata"))
    if notes.get(VIA_CHECKOUT) == "checkout" or "type" not in notes:
        return None
    _rupees(item)
    intent = parsing.short(item.get("id"))
    return PaymentCaptured(
        key,
        "payment.captured",
        intent,
        intent,
        parsing.paise(item.get("amount_received", item.get("amount"))),
        notes,
        mandate_id=reference(item.get("customer")),
    )


def _intent_failed(key: str, item: dict[str, Any]) -> Event | None:
    notes = parsing.notes(item.get("metadata"))
    if notes.get(VIA_CHECKOUT) == "checkout" or "type" not in notes:
        return None
    problem = item.get("last_payment_error")
    intent = parsing.short(item.get("id"))
    return PaymentFailed(
        key,
        "payment.failed",
        intent,
        intent,
        parsing.paise(item.get("amount")),
        notes,
        reason=parsing.short(problem.get("code")) if isinstance(problem, dict) else "",
    )


def _refund(key: str, item: dict[str, Any]) -> Event:
    status = REFUND_STATES.get(str(item.get("status")), "pending")
    return RefundChanged(
        key,
        f"refund.{'created' if status == 'pending' else status}",
        None,
        reference(item.get("payment_intent")),
        parsing.paise(item.get("amount")),
        parsing.notes(item.get("metadata")),
        refund_id=parsing.short(item.get("id")),
        status=status,
    )


def _transfer(key: str, item: dict[str, Any]) -> Event:
    status = "reversed" if item.get("reversed") is True else "processed"
    return PayoutChanged(
        key,
        f"payout.{status}",
        amount_paise=parsing.paise(item.get("amount")),
        notes=parsing.notes(item.get("metadata")),
        payout_id=parsing.short(item.get("id")),
        status=status,
        utr=reference(item.get("balance_transaction")),
        reference=parsing.short(item.get("transfer_group")) or None,
    )


def _account(key: str, item: dict[str, Any]) -> Event | None:
    status = account_state(item)
    if status == "pending":
        return None
    return AccountValidated(
        key,
        f"fund_account.validation.{'completed' if status == 'verified' else 'failed'}",
        payee_id=parsing.short(item.get("id")),
        validation_id=parsing.short(item.get("id")),
        status=status,
    )


def account_state(item: dict[str, Any]) -> str:
    """pending, verified or failed, from what a connected account may do."""
    if item.get("payouts_enabled") is True:
        return "verified"
    wants = item.get("requirements")
    reason = wants.get("disabled_reason") if isinstance(wants, dict) else None
    return "failed" if str(reason or "").startswith("rejected") else "pending"


def dispute_phase(item: dict[str, Any]) -> str:
    """Inquiries (warning_*) take no money yet; our word for them is retrieval."""
    return "retrieval" if str(item.get("status", "")).startswith("warning_") else "chargeback"


def due_by(item: dict[str, Any]) -> Any:
    """By when an answer is due."""
    details = item.get("evidence_details")
    return parsing.instant(details.get("due_by")) if isinstance(details, dict) else None


def _dispute(name: str | None) -> Callable[[str, dict[str, Any]], Event]:
    def made(key: str, item: dict[str, Any]) -> Event:
        status = name or DISPUTE_STATES.get(str(item.get("status")), "under_review")
        return DisputeChanged(
            key,
            f"payment.dispute.{'created' if status == 'open' else status}",
            None,
            reference(item.get("payment_intent")),
            parsing.paise(item.get("amount")),
            parsing.notes(item.get("metadata")),
            dispute_id=parsing.short(item.get("id")),
            phase=dispute_phase(item),
            status=status,
            reason=parsing.short(item.get("reason"), 120),
            due_by=due_by(item),
        )

    return made


_PARSERS: dict[str, Callable[[str, dict[str, Any]], Event | None]] = {
    "checkout.session.completed": _session,
    "checkout.session.async_payment_succeeded": _session,
    "checkout.session.async_payment_failed": _session_failed,
    "payment_intent.succeeded": _intent,
    "payment_intent.payment_failed": _intent_failed,
    "refund.created": _refund,
    "refund.updated": _refund,
    "refund.failed": _refund,
    "charge.refund.updated": _refund,
    "transfer.created": _transfer,
    "transfer.reversed": _transfer,
    "account.updated": _account,
    "charge.dispute.created": _dispute("open"),
    "charge.dispute.updated": _dispute(None),
    "charge.dispute.closed": _dispute(None),
}
