"""Razorpay's webhooks in our words."""

from __future__ import annotations

from typing import Any

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

PAYOUT_EVENTS = ("payout.", "fund_account.", "transaction.", "payout_link.")
PAYOUT_STATES = {
    "pending": "pending",
    "queued": "processing",
    "scheduled": "processing",
    "processing": "processing",
    "processed": "processed",
    "reversed": "reversed",
    "cancelled": "cancelled",
    "rejected": "failed",
    "failed": "failed",
}
TOKEN_STATES = {
    "initiated": "pending",
    "confirmed": "confirmed",
    "rejected": "rejected",
    "paused": "paused",
    "cancelled": "cancelled",
    "cancellation_initiated": "cancelled",
}


def _entity(payload: dict[str, Any], name: str) -> dict[str, Any]:
    return parsing.mapping(parsing.mapping(payload.get(name), name).get("entity"), name)


def kind_of(body: bytes) -> str:
    """The event's name, without trusting the rest. Raises ValueError."""
    return parsing.short(parsing.load(body).get("event"), 60)


def parse(body: bytes) -> Event:
    """The event in a verified body. Raises ValueError."""
    data = parsing.load(body)
    kind = data.get("event")
    payload = data.get("payload")
    if not isinstance(kind, str) or not kind or not isinstance(payload, dict):
        raise ValueError("not an event of Razorpay")
    kind = kind[:60]
    if kind in ("payment.captured", "order.paid", "payment.failed"):
        return _payment(kind, payload, body)
    if kind.startswith("payment.dispute."):
        return _dispute(kind, payload, body)
    if kind.startswith("refund."):
        return _refund(kind, payload, body)
    if kind.startswith("payout."):
        return _payout(kind, payload, body)
    if kind.startswith("fund_account.validation."):
        return _validation(kind, payload, body)
    if kind.startswith("token."):
        return _token(kind, payload, body)
    first = next(iter(payload), "")
    item = payload.get(first)
    inner = item.get("entity") if isinstance(item, dict) else None
    subject = parsing.short(inner.get("id"), 60) if isinstance(inner, dict) else ""
    return Event(event_key(kind, subject, body), kind)


def _payment(kind: str, payload: dict[str, Any], body: bytes) -> Event:
    item = _entity(payload, "payment")
    order = _entity(payload, "order") if isinstance(payload.get("order"), dict) else {}
    payment_id = parsing.short(item.get("id")) or None
    values: dict[str, Any] = {
        "key": event_key(kind, (payment_id or "")[:60], body),
        "type": kind,
        "order_id": parsing.short(item.get("order_id")) or None,
        "payment_id": payment_id,
        "amount_paise": parsing.paise(item.get("amount")),
        # what the order holds is ours; what the checkout was opened with may differ, and then it must be seen
        "notes": {**parsing.notes(order.get("notes")), **parsing.notes(item.get("notes"))},
    }
    if item.get("currency") not in (None, "INR"):
        raise ValueError("not in rupees")
    if kind == "payment.failed":
        return PaymentFailed(**values, reason=parsing.short(item.get("error_code")))
    return PaymentCaptured(
        **values,
        fee_paise=parsing.paise(item.get("fee")),
        tax_paise=parsing.paise(item.get("tax")),
        mandate_id=parsing.short(item.get("customer_id")) or None if item.get("token_id") else None,
    )


def _refund(kind: str, payload: dict[str, Any], body: bytes) -> Event:
    item = _entity(payload, "refund")
    refund_id = parsing.short(item.get("id"))
    status = parsing.short(item.get("status"), 20)
    return RefundChanged(
        event_key(kind, refund_id[:60], body),
        kind,
        None,
        parsing.short(item.get("payment_id")) or None,
        parsing.paise(item.get("amount")),
        parsing.notes(item.get("notes")),
        refund_id=refund_id,
        status=status if status in ("pending", "processed", "failed") else "pending",
    )


def _payout(kind: str, payload: dict[str, Any], body: bytes) -> Event:
    item = _entity(payload, "payout")
    payout_id = parsing.short(item.get("id"))
    return PayoutChanged(
        event_key(kind, payout_id[:60], body),
        kind,
        amount_paise=parsing.paise(item.get("amount")),
        notes=parsing.notes(item.get("notes")),
        payout_id=payout_id,
        status=PAYOUT_STATES.get(str(item.get("status")), "processing"),
        utr=parsing.short(item.get("utr"), 40) or None,
        reference=parsing.short(item.get("reference_id")) or None,
        failure=failure_of(item),
    )


def failure_of(item: dict[str, Any]) -> str | None:
    """Why a payout failed, as the provider's code."""
    details = item.get("status_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return parsing.short(reason or item.get("failure_reason"), 120) or None


def validation_state(item: dict[str, Any]) -> tuple[str, str | None]:
    """(pending, verified or failed; the name the bank knows)."""
    results = item.get("results") if isinstance(item.get("results"), dict) else item.get("validation_results")
    results = results if isinstance(results, dict) else {}
    if item.get("status") == "created":
        return "pending", None
    if item.get("status") == "completed" and results.get("account_status") == "active":
        return "verified", parsing.short(results.get("registered_name"), 200) or None
    return "failed", None


def _validation(kind: str, payload: dict[str, Any], body: bytes) -> Event:
    item = _entity(payload, "fund_account.validation")
    account = item.get("fund_account")
    status, name = validation_state(item)
    return AccountValidated(
        event_key(kind, parsing.short(item.get("id"), 60), body),
        kind,
        notes=parsing.notes(item.get("notes")),
        payee_id=parsing.short(account.get("id")) if isinstance(account, dict) else "",
        validation_id=parsing.short(item.get("id")),
        status=status,
        registered_name=name,
    )


def _token(kind: str, payload: dict[str, Any], body: bytes) -> Event:
    item = _entity(payload, "token")
    details = item.get("recurring_details")
    told = details.get("status") if isinstance(details, dict) else None
    return MandateChanged(
        event_key(kind, parsing.short(item.get("id"), 60), body),
        kind,
        notes=parsing.notes(item.get("notes")),
        mandate_id=parsing.short(item.get("customer_id")) or parsing.short(item.get("id")),
        status=TOKEN_STATES.get(kind.removeprefix("token."), TOKEN_STATES.get(str(told), "pending")),
    )


def _dispute(kind: str, payload: dict[str, Any], body: bytes) -> Event:
    item = _entity(payload, "dispute")
    told = kind.removeprefix("payment.dispute.")
    return DisputeChanged(
        event_key(kind, parsing.short(item.get("id"), 60), body),
        kind,
        None,
        parsing.short(item.get("payment_id")) or None,
        parsing.paise(item.get("amount")),
        dispute_id=parsing.short(item.get("id")),
        phase=parsing.short(item.get("phase"), 20) or "chargeback",
        status="open" if told == "created" else told[:20],
        reason=parsing.short(item.get("reason_code"), 120),
        due_by=parsing.instant(item.get("respond_by")),
    )
