"""Stripe: Checkout, refunds, saved payment methods as mandates, disputes; Connect transfers as payouts (chapter 4, 4.7).

An order is a Checkout session, its payment the session's intent. A mandate's id is the customer's. Idempotency keys are
sent with every change, and the rules they stand for (once per key, never more than was paid) are kept here as well: a key
lives a day at Stripe and not at all at some doubles.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Mapping
from typing import Any

import stripe

from app.errors import DomainError
from app.gateways import parsing
from app.gateways.base import (
    Dispute,
    Event,
    Mandate,
    Order,
    Payee,
    PayeeAccount,
    Payer,
    Payout,
    RefundResult,
    Refused,
    Transaction,
    Unknown,
    Validation,
)
from app.gateways.stripe_events import (
    DISPUTE_STATES,
    PAYOUT_EVENTS,
    REFUND_STATES,
    VIA_CHECKOUT,
    account_state,
    dispute_phase,
    due_by,
    kind_of,
    parse,
    reference,
    signature_fits,
)
from app.gateways.webhook_secrets import header, secrets_for
from app.logs import log
from config import Settings

KINDS = {
    "charge": "payment",
    "payment": "payment",
    "refund": "refund",
    "payment_refund": "refund",
    "transfer": "payout",
    "transfer_refund": "payout_reversal",
    "payout": "settlement",
}
MOST_LINES = 100_000


class StripeGateway:
    """The adapter of Stripe on its official client."""

    name = "stripe"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.api = stripe.StripeClient(
            settings.stripe_secret_key,
            base_addresses={"api": settings.stripe_base_url.rstrip("/")},
            http_client=stripe.RequestsClient(timeout=settings.gateway_timeout_seconds),
            max_network_retries=0,
        ).v1

    # ---- orders

    def _order(self, data: dict[str, Any]) -> Order:
        intent = data.get("payment_intent")
        paid = data.get("payment_status") == "paid"
        return Order(
            _id(data, "cs_"),
            str(data.get("url") or ""),
            "paid" if paid else "cancelled" if data.get("status") == "expired" else "created",
            reference(intent) if paid else None,
            _amount(data, "amount_total") if paid else None,
            parsing.notes(data.get("metadata")),
            _amount(data, "amount_total"),
        )

    def create_order(
        self, *, receipt: str, amount_paise: int, notes: dict[str, str], description: str, return_url: str
    ) -> Order:
        product = {"name": description[:200] or "Payment"}
        params: Any = {
            "mode": "payment",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {"currency": "inr", "unit_amount": amount_paise, "product_data": product},
                }
            ],
            "client_reference_id": receipt,
            "metadata": notes,
            "payment_intent_data": {"metadata": {**notes, VIA_CHECKOUT: "checkout"}},
            "success_url": return_url or self.settings.base_url,
            "cancel_url": return_url or self.settings.base_url,
        }
        return self._order(
            ask(lambda: self.api.checkout.sessions.create(params, {"idempotency_key": f"order-{receipt}"}))
        )

    def fetch_order(self, order_id: str) -> Order | None:
        if order_id.startswith("pi_"):  # a mandate charged without a page
            intent = find(lambda: self.api.payment_intents.retrieve(order_id))
            return _charged(intent) if intent is not None else None
        data = find(lambda: self.api.checkout.sessions.retrieve(order_id))
        return self._order(data) if data is not None else None

    # ---- refunds

    def refund(self, *, payment_id: str, amount_paise: int, key: str) -> RefundResult:
        intent = find(lambda: self.api.payment_intents.retrieve(payment_id))
        if intent is None:
            raise Refused("payment_unknown")
        captured = _amount(intent, "amount_received" if "amount_received" in intent else "amount")
        before = items(lambda: self.api.refunds.list({"payment_intent": payment_id, "limit": 100}))
        mine = [r for r in before if parsing.notes(r.get("metadata")).get("key") == key]
        if mine:
            if _amount(mine[0]) != amount_paise:
                raise Refused("key_reused")
            return _refund(mine[0])
        spent = sum(_amount(r) for r in before if REFUND_STATES.get(str(r.get("status"))) != "failed")
        if amount_paise <= 0 or spent + amount_paise > captured:
            raise Refused("refund_exceeds_payment")
        params: Any = {"payment_intent": payment_id, "amount": amount_paise, "metadata": {"key": key}}
        return _refund(ask(lambda: self.api.refunds.create(params, {"idempotency_key": f"refund-{key}"})))

    def fetch_refund(self, refund_id: str) -> RefundResult | None:
        data = find(lambda: self.api.refunds.retrieve(refund_id))
        return _refund(data) if data is not None else None

    # ---- mandates

    def create_mandate(
        self,
        *,
        key: str,
        payer: Payer,
        max_paise: int,
        notes: dict[str, str],
        description: str,
        return_url: str,
    ) -> Mandate:
        person: Any = {"name": payer.name, "email": payer.email, "metadata": {"key": key}}
        customer = ask(lambda: self.api.customers.create(person, {"idempotency_key": f"payer-{key}"}))
        mandate_id = _id(customer, "cus_")
        params: Any = {
            "mode": "setup",
            "currency": "inr",
            "customer": mandate_id,
            "metadata": notes,
            "success_url": return_url or self.settings.base_url,
            "cancel_url": return_url or self.settings.base_url,
        }
        page = ask(lambda: self.api.checkout.sessions.create(params, {"idempotency_key": f"mandate-{key}"}))
        return Mandate(mandate_id, "pending", str(page.get("url") or ""), max_paise)

    def _methods(self, mandate_id: str) -> list[dict[str, Any]]:
        return items(lambda: self.api.payment_methods.list({"customer": mandate_id, "type": "card"}))

    def fetch_mandate(self, mandate_id: str) -> Mandate | None:
        if find(lambda: self.api.customers.retrieve(mandate_id)) is None:
            return None
        return Mandate(mandate_id, "confirmed" if self._methods(mandate_id) else "pending")

    def charge_mandate(
        self, *, mandate_id: str, receipt: str, amount_paise: int, notes: dict[str, str], description: str
    ) -> Order:
        methods = self._methods(mandate_id)
        if not methods:
            raise Refused("mandate_not_confirmed")
        known = items(lambda: self.api.payment_intents.list({"customer": mandate_id, "limit": 100}))
        for intent in known:
            if parsing.notes(intent.get("metadata")).get("receipt") == receipt:
                return _charged(intent)
        params: Any = {
            "amount": amount_paise,
            "currency": "inr",
            "customer": mandate_id,
            "payment_method": _id(methods[0], ""),
            "off_session": True,
            "confirm": True,
            "metadata": {**notes, "receipt": receipt},
        }
        return _charged(
            ask(lambda: self.api.payment_intents.create(params, {"idempotency_key": f"charge-{receipt}"}))
        )

    # ---- payees and payouts (Connect)

    def _payouts_on(self) -> None:
        if not self.settings.enable_live_payouts:
            raise DomainError("GATEWAY_NOT_CONFIGURED", gateway=self.name, part="payouts")

    def create_payee(self, *, key: str, account: PayeeAccount, email: str = "", contact: str = "") -> Payee:
        if account.kind != "bank":
            raise Refused("bank_account_needed")
        params: Any = {
            "type": "custom",
            "country": "IN",
            "capabilities": {"transfers": {"requested": True}},
            "metadata": {"key": key},
            "external_account": {
                "object": "bank_account",
                "country": "IN",
                "currency": "inr",
                "account_holder_name": account.holder_name,
                "routing_number": account.ifsc,
                "account_number": account.account_number,
            },
            **({"email": email} if email else {}),
        }
        made = ask(lambda: self.api.accounts.create(params, {"idempotency_key": f"payee-{key}"}))
        return Payee(_id(made, "acct_"), account.account_number[-4:])

    def validate_account(self, *, payee_id: str, key: str) -> Validation:
        data = ask(lambda: self.api.accounts.retrieve(payee_id))
        return Validation(_id(data, "acct_"), account_state(data))

    def create_payout(
        self, *, key: str, payee_id: str, amount_paise: int, notes: dict[str, str], description: str = ""
    ) -> Payout:
        self._payouts_on()
        if not 4 <= len(key) <= 36:
            raise Refused("key_invalid")
        before = items(lambda: self.api.transfers.list({"transfer_group": key, "limit": 10}))
        if before:
            return _transfer(before[0])
        params: Any = {
            "amount": amount_paise,
            "currency": "inr",
            "destination": payee_id,
            "transfer_group": key,
            "metadata": notes,
            "description": description[:200],
        }
        return _transfer(ask(lambda: self.api.transfers.create(params, {"idempotency_key": f"payout-{key}"})))

    def fetch_payout(self, payout_id: str) -> Payout | None:
        data = find(lambda: self.api.transfers.retrieve(payout_id))
        return _transfer(data) if data is not None else None

    # ---- books

    def list_transactions(self, since: dt.datetime, until: dt.datetime) -> list[Transaction]:
        window = {"gte": int(since.timestamp()), "lt": int(until.timestamp())}
        lines: list[Transaction] = []
        after: dict[str, str] = {}
        while len(lines) < MOST_LINES:
            params: Any = {"created": window, "limit": 100, "expand": ["data.source"], **after}
            page = ask(functools.partial(self.api.balance_transactions.list, params))
            found = _data(page)
            lines += [_line(item) for item in found]
            if not page.get("has_more") or not found:
                return sorted(lines, key=lambda t: t.at)
            after = {"starting_after": _id(found[-1], "")}
        raise Unknown("too_many")

    # ---- disputes

    def fetch_dispute(self, dispute_id: str) -> Dispute | None:
        data = find(lambda: self.api.disputes.retrieve(dispute_id))
        return _dispute(data) if data is not None else None

    def accept_dispute(self, dispute_id: str) -> Dispute:
        now = self.fetch_dispute(dispute_id)
        if now is not None and now.status == "lost":
            return now
        return _dispute(ask(lambda: self.api.disputes.close(dispute_id)))

    def contest_dispute(self, dispute_id: str, *, summary: str, evidence: dict[str, str]) -> Dispute:
        params: Any = {"evidence": {"uncategorized_text": summary[:20_000], **evidence}, "submit": True}
        return _dispute(ask(lambda: self.api.disputes.update(dispute_id, params)))

    # ---- webhooks

    def verify_webhook(self, body: bytes, headers: Mapping[str, str]) -> bool:
        try:
            kind = kind_of(body)
        except (ValueError, RecursionError):
            kind = ""
        secrets = secrets_for(
            kind,
            PAYOUT_EVENTS,
            self.settings.stripe_webhook_secret,
            self.settings.stripe_payout_webhook_secret,
        )
        return signature_fits(secrets, body, header(headers, "Stripe-Signature"))

    def parse_event(self, body: bytes) -> Event:
        return parse(body)


def ask(work: Callable[[], Any]) -> dict[str, Any]:
    """What *work* answers, as an object. Raises Refused, Unknown."""
    try:
        answer = work()
        data = answer.to_dict() if hasattr(answer, "to_dict") else answer
    except stripe.StripeError as error:
        status = error.http_status or 0
        log.warning("stripe_answered", status=status, error=type(error).__name__, code=error.code)
        if 400 <= status < 500 and status not in (408, 409, 429):
            if status == 404 or error.code == "resource_missing":
                raise Refused("not_found") from None
            raise Refused(
                "credentials" if status in (401, 403) else str(error.code or "refused")[:60]
            ) from None
        raise Unknown(f"http_{status}" if status else "no_answer") from None
    except Exception as error:  # an answer that makes no sense: nobody knows what happened
        log.warning("stripe_failed", error=type(error).__name__)
        raise Unknown("malformed") from None
    if not isinstance(data, dict):
        raise Unknown("malformed")
    return data


def find(work: Callable[[], Any]) -> dict[str, Any] | None:
    """Like ``ask``; None for what does not exist."""
    try:
        return ask(work)
    except Refused as error:
        if error.reason == "not_found":
            return None
        raise


def _data(page: dict[str, Any]) -> list[dict[str, Any]]:
    found = page.get("data")
    if not isinstance(found, list) or not all(isinstance(i, dict) for i in found):
        raise Unknown("malformed")
    return found


def items(work: Callable[[], Any]) -> list[dict[str, Any]]:
    """One page of a list."""
    return _data(ask(work))


def _id(data: dict[str, Any], prefix: str) -> str:
    value = data.get("id")
    if not isinstance(value, str) or not value.startswith(prefix) or not 0 < len(value) <= 80:
        raise Unknown("malformed")
    return value


def _amount(data: dict[str, Any], name: str = "amount") -> int:
    try:
        amount = parsing.paise(data.get(name))
    except (ValueError, TypeError):
        amount = None
    if amount is None:
        raise Unknown("malformed")
    return amount


def _charged(intent: dict[str, Any]) -> Order:
    """An intent without a page, as an order of its own."""
    intent_id = _id(intent, "pi_")
    paid = intent.get("status") == "succeeded"
    amount = _amount(intent)
    return Order(
        intent_id,
        "",
        "paid" if paid else "cancelled" if intent.get("status") == "canceled" else "created",
        intent_id if paid else None,
        amount if paid else None,
        parsing.notes(intent.get("metadata")),
        amount,
    )


def _refund(data: dict[str, Any]) -> RefundResult:
    return RefundResult(
        _id(data, "re_"),
        REFUND_STATES.get(str(data.get("status")), "pending"),
        reference(data.get("payment_intent")),
        _amount(data),
    )


def _transfer(data: dict[str, Any]) -> Payout:
    return Payout(
        _id(data, "tr_"),
        "reversed" if data.get("reversed") is True else "processed",
        reference(data.get("balance_transaction")),
        amount_paise=_amount(data),
    )


def _dispute(data: dict[str, Any]) -> Dispute:
    return Dispute(
        _id(data, ""),
        reference(data.get("payment_intent")) or "",
        _amount(data),
        dispute_phase(data),
        DISPUTE_STATES.get(str(data.get("status")), "under_review"),
        parsing.short(data.get("reason"), 120),
        due_by(data),
    )


def _line(data: dict[str, Any]) -> Transaction:
    source = data.get("source")
    inner = source if isinstance(source, dict) else {}
    kind = KINDS.get(str(data.get("type")), "adjustment")
    payment = reference(inner.get("payment_intent"))
    entity = payment if kind == "payment" and payment else reference(source)
    tax = sum(
        parsing.paise(f.get("amount")) or 0
        for f in data.get("fee_details") or []
        if isinstance(f, dict) and f.get("type") == "tax"
    )
    return Transaction(
        _id(data, ""),
        kind,
        entity or "",
        _amount(data),
        parsing.instant(data.get("created")) or dt.datetime.fromtimestamp(0, dt.UTC),
        parsing.paise(data.get("fee")) or 0,
        tax,
        parsing.short(data.get("status"), 20),
        None,
        payment,
        parsing.notes(inner.get("metadata")),
    )
