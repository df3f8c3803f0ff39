"""Razorpay: orders, refunds, mandates (recurring tokens), disputes; RazorpayX: payees and payouts (chapter 4, 4.7).

A mandate's id is the customer's: the token under it appears only once the payer has authorised, and may be renewed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

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
from app.gateways.prefill import clean_contact
from app.gateways.razorpay_client import ask, connect
from app.gateways.razorpay_events import (
    PAYOUT_EVENTS,
    PAYOUT_STATES,
    TOKEN_STATES,
    failure_of,
    kind_of,
    parse,
    validation_state,
)
from app.gateways.signing import matches, sign
from app.gateways.webhook_secrets import header, secrets_for
from config import Settings

MIN_ORDER, PAGE, MOST_PAGES = 100, 100, 500
TAKEN = ("captured", "refunded")


class RazorpayGateway:
    """The adapter of Razorpay on its official client."""

    name = "razorpay"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = connect(settings)

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        return ask(lambda: self.client.get(f"/v1/{path}", params))

    def _find(self, path: str) -> dict[str, Any] | None:
        try:
            return self._get(path)
        except Refused as error:
            if error.reason == "not_found":
                return None
            raise

    def _items(self, path: str, **params: Any) -> list[dict[str, Any]]:
        items = self._get(path, **params).get("items")
        if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
            raise Unknown("malformed")
        return items

    # ---- orders

    def _order(self, data: dict[str, Any], return_url: str = "") -> Order:
        order_id = _id(data, "order_")
        next_path = return_url.removeprefix(self.settings.base_url)
        query = f"?{urlencode({'next': next_path})}" if next_path else ""
        paid = data.get("status") == "paid"
        order = Order(
            order_id,
            f"{self.settings.base_url}/pay/razorpay/{order_id}{query}",
            "paid" if paid else "created",
            notes=parsing.notes(data.get("notes")),
            amount_paise=_amount(data),
        )
        return self._with_payment(order) if paid else order

    def _with_payment(self, order: Order) -> Order:
        taken = [
            p for p in self._items(f"orders/{quote(order.order_id)}/payments") if p.get("status") in TAKEN
        ]
        if not taken:
            raise Unknown("malformed")  # paid, and no payment to show
        payment = taken[0]
        return Order(
            order.order_id,
            order.checkout_url,
            "paid",
            _id(payment, "pay_"),
            _amount(payment),
            order.notes,
            order.amount_paise,
            parsing.paise(payment.get("fee")),
            parsing.paise(payment.get("tax")),
        )

    def _by_receipt(self, receipt: str) -> dict[str, Any] | None:
        found = self._items("orders", receipt=receipt, count=10)
        return next((o for o in found if o.get("receipt") == receipt), None)

    def _make_order(self, receipt: str, values: dict[str, Any]) -> dict[str, Any]:
        """The order of *receipt*. Razorpay makes a second one for a repeated receipt, so it is looked for first."""
        if len(receipt) > 40 or values["amount"] < MIN_ORDER:
            raise Refused("order_invalid")
        known = self._by_receipt(receipt)
        if known is not None:
            if known.get("amount") != values["amount"]:
                raise Refused("key_reused")
            return known
        body = {
            **values,
            "currency": "INR",
            "receipt": receipt,
            "partial_payment": False,
            "payment": {"capture": "automatic", "capture_options": {"refund_speed": "normal"}},
        }
        try:
            return ask(lambda: self.client.order.create(body))
        except Unknown:
            made = self._by_receipt(receipt)
            if made is None:
                raise
            return made

    def create_order(
        self, *, receipt: str, amount_paise: int, notes: dict[str, str], description: str, return_url: str
    ) -> Order:
        return self._order(self._make_order(receipt, {"amount": amount_paise, "notes": notes}), return_url)

    def fetch_order(self, order_id: str) -> Order | None:
        data = self._find(f"orders/{quote(order_id, safe='')}")
        return self._order(data) if data is not None else None

    def checkout_signature_fits(self, order_id: str, payment_id: str, signature: str) -> bool:
        """Whether Razorpay's page signed this payment of *order_id*, which must come from our own store."""
        return matches(self.settings.razorpay_key_secret, f"{order_id}|{payment_id}".encode(), signature)

    # ---- refunds

    def refund(self, *, payment_id: str, amount_paise: int, key: str) -> RefundResult:
        receipt = key if len(key) <= 40 else hashlib.sha256(key.encode()).hexdigest()[:40]
        path = f"payments/{quote(payment_id, safe='')}/refunds"

        def known() -> RefundResult | None:
            mine = [r for r in self._items(path, count=PAGE) if r.get("receipt") == receipt]
            if mine and mine[0].get("amount") != amount_paise:
                raise Refused("key_reused")
            return _refund(mine[0]) if mine else None

        before = known()
        if before is not None:
            return before
        body = {"amount": amount_paise, "speed": "normal", "receipt": receipt}
        try:
            made = ask(
                lambda: self.client.payment.refund(
                    payment_id, body, headers={"X-Refund-Idempotency": receipt}
                )
            )
        except Unknown:
            after = known()
            if after is None:
                raise
            return after
        return _refund(made)

    def fetch_refund(self, refund_id: str) -> RefundResult | None:
        data = self._find(f"refunds/{quote(refund_id, safe='')}")
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
        known = self._by_receipt(key)
        if known is None:
            customer = self._customer(payer, clean_contact(payer.contact))
            known = self._make_order(
                key,
                {
                    "amount": MIN_ORDER,  # a rupee proves the account; it is refunded
                    "notes": notes,
                    "customer_id": _id(customer, "cust_"),
                    "token": {"max_amount": max_paise, "frequency": "as_presented"},
                },
            )
        order = self._order(known, return_url)
        return Mandate(
            _id({"id": known.get("customer_id")}, "cust_"), "pending", order.checkout_url, max_paise
        )

    def _customer(self, payer: Payer, contact: str | None) -> dict[str, Any]:
        body = {"name": payer.name[:50], "email": payer.email, "fail_existing": "0"}
        try:
            return ask(
                lambda: self.client.customer.create({**body, **({"contact": contact} if contact else {})})
            )
        except Refused as error:
            if error.reason == "contact_refused" and contact:  # chapter 4: omit it and try once more
                return self._customer(payer, None)
            raise

    def _tokens(self, mandate_id: str) -> list[dict[str, Any]]:
        return self._items(f"customers/{quote(mandate_id, safe='')}/tokens")

    def fetch_mandate(self, mandate_id: str) -> Mandate | None:
        if self._find(f"customers/{quote(mandate_id, safe='')}") is None:
            return None
        states = [_token_state(t) for t in self._tokens(mandate_id)]
        for state in ("confirmed", "paused", "pending", "cancelled", "rejected"):
            if state in states:
                return Mandate(mandate_id, state)
        return Mandate(mandate_id, "pending")

    def charge_mandate(
        self, *, mandate_id: str, receipt: str, amount_paise: int, notes: dict[str, str], description: str
    ) -> Order:
        token = next((t for t in self._tokens(mandate_id) if _token_state(t) == "confirmed"), None)
        if token is None:
            raise Refused("mandate_not_confirmed")
        customer = self._get(f"customers/{quote(mandate_id, safe='')}")
        order = self._order(
            self._make_order(receipt, {"amount": amount_paise, "notes": notes, "customer_id": mandate_id})
        )
        if order.status == "paid" or self._items(f"orders/{quote(order.order_id)}/payments"):
            return order  # charged under this receipt before; the webhook or a fetch says how it went
        body = {
            "email": customer.get("email"),
            "contact": customer.get("contact"),
            "amount": amount_paise,
            "currency": "INR",
            "order_id": order.order_id,
            "customer_id": mandate_id,
            "token": _id(token, "token_"),
            "recurring": "1",
            "description": description[:255],
            "notes": notes,
        }
        ask(lambda: self.client.payment.createRecurring(body))
        return self.fetch_order(order.order_id) or order

    # ---- payees and payouts (RazorpayX)

    def _payouts_on(self) -> None:
        if not self.settings.enable_live_payouts or not self.settings.razorpay_account_number:
            raise DomainError("GATEWAY_NOT_CONFIGURED", gateway=self.name, part="payouts")

    def create_payee(self, *, key: str, account: PayeeAccount, email: str = "", contact: str = "") -> Payee:
        usable = clean_contact(contact)
        person = {
            "name": account.holder_name[:50],
            "type": "vendor",
            "reference_id": key[:40],
            **({"email": email} if email else {}),
            **({"contact": usable} if usable else {}),
        }
        who = _id(ask(lambda: self.client.post("/v1/contacts", person)), "cont_")
        bank = account.kind == "bank"
        details = (
            {
                "name": account.holder_name[:120],
                "ifsc": account.ifsc,
                "account_number": account.account_number,
            }
            if bank
            else {"address": account.vpa}
        )
        kind = "bank_account" if bank else "vpa"
        body = {"contact_id": who, "account_type": kind, kind: details}
        made = ask(lambda: self.client.post("/v1/fund_accounts", body))
        return Payee(_id(made, "fa_"), account.account_number[-4:] if bank else "")

    def validate_account(self, *, payee_id: str, key: str) -> Validation:
        self._payouts_on()
        body = {
            "account_number": self.settings.razorpay_account_number,
            "fund_account": {"id": payee_id},
            "amount": 100,
            "currency": "INR",
            "notes": {"key": key[:40]},
        }
        made = ask(lambda: self.client.post("/v1/fund_accounts/validations", body))
        status, name = validation_state(made)
        return Validation(_id(made, "fav_"), status, name)

    def create_payout(
        self, *, key: str, payee_id: str, amount_paise: int, notes: dict[str, str], description: str = ""
    ) -> Payout:
        self._payouts_on()
        if not 4 <= len(key) <= 36:
            raise Refused("key_invalid")
        body = {
            "account_number": self.settings.razorpay_account_number,
            "fund_account_id": payee_id,
            "amount": amount_paise,
            "currency": "INR",
            "mode": "IMPS" if amount_paise <= 50_000_000 else "NEFT",
            "purpose": "payout",
            "queue_if_low_balance": True,
            "reference_id": key,
            "narration": _narration(description),
            "notes": notes,
        }
        return _payout(
            ask(lambda: self.client.post("/v1/payouts", body, headers={"X-Payout-Idempotency": key}))
        )

    def fetch_payout(self, payout_id: str) -> Payout | None:
        data = self._find(f"payouts/{quote(payout_id, safe='')}")
        return _payout(data) if data is not None else None

    # ---- books

    def _pages(self, path: str, since: dt.datetime, until: dt.datetime, **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in range(MOST_PAGES):
            items = self._items(
                path,
                **{"from": int(since.timestamp()), "to": int(until.timestamp()) - 1},
                count=PAGE,
                skip=page * PAGE,
                **more,
            )
            found += items
            if len(items) < PAGE:
                return found
        raise Unknown("too_many")

    def list_transactions(self, since: dt.datetime, until: dt.datetime) -> list[Transaction]:
        lines = [
            _line("payment", p, 1) for p in self._pages("payments", since, until) if p.get("status") in TAKEN
        ]
        lines += [
            _line("refund", r, -1)
            for r in self._pages("refunds", since, until)
            if r.get("status") != "failed"
        ]
        lines += [_line("settlement", s, -1) for s in self._pages("settlements", since, until)]
        if self.settings.razorpay_account_number:
            account = self.settings.razorpay_account_number
            for payout in self._pages("payouts", since, until, account_number=account):
                if payout.get("status") in ("processed", "reversed"):
                    lines.append(_line("payout", payout, -1))
                if payout.get("status") == "reversed":
                    lines.append(_line("payout_reversal", payout, 1))
        return sorted(lines, key=lambda t: t.at)

    # ---- disputes

    def fetch_dispute(self, dispute_id: str) -> Dispute | None:
        data = self._find(f"disputes/{quote(dispute_id, safe='')}")
        return _dispute(data) if data is not None else None

    def _decide(self, dispute_id: str, done: str, work: Callable[[], Any]) -> Dispute:
        try:
            return _dispute(ask(work))
        except (Refused, Unknown):
            now = self.fetch_dispute(dispute_id)  # done before, or done and the answer lost
            if now is None or now.status != done:
                raise
            return now

    def accept_dispute(self, dispute_id: str) -> Dispute:
        return self._decide(
            dispute_id, "lost", lambda: self.client.dispute.accept(quote(dispute_id, safe=""))
        )

    def contest_dispute(self, dispute_id: str, *, summary: str, evidence: dict[str, str]) -> Dispute:
        body = {"summary": summary[:1000], "action": "submit", **{k: [v] for k, v in evidence.items()}}
        return self._decide(
            dispute_id, "under_review", lambda: self.client.dispute.contest(quote(dispute_id, safe=""), body)
        )

    # ---- webhooks

    def verify_webhook(self, body: bytes, headers: Mapping[str, str]) -> bool:
        try:
            kind = kind_of(body)
        except (ValueError, RecursionError):
            kind = ""
        secrets = secrets_for(
            kind,
            PAYOUT_EVENTS,
            self.settings.razorpay_webhook_secret,
            self.settings.razorpay_payout_webhook_secret,
        )
        return matches(secrets, body, header(headers, "X-Razorpay-Signature"))

    def parse_event(self, body: bytes) -> Event:
        return parse(body)


def checkout_signature(key_secret: str, order_id: str, payment_id: str) -> str:
    """HMAC-SHA256 of ``order_id|payment_id``, hex, as Razorpay's checkout signs."""
    return sign(key_secret, f"{order_id}|{payment_id}".encode())


def _id(data: dict[str, Any], prefix: str) -> str:
    value = data.get("id")
    if not isinstance(value, str) or not value.startswith(prefix) or len(value) > 80:
        raise Unknown("malformed")
    return value


def _amount(data: dict[str, Any]) -> int:
    try:
        amount = parsing.paise(data.get("amount"))
    except (ValueError, TypeError):
        amount = None
    if amount is None:
        raise Unknown("malformed")
    return amount


def _refund(data: dict[str, Any]) -> RefundResult:
    status = str(data.get("status"))
    return RefundResult(
        _id(data, "rfnd_"),
        status if status in ("processed", "failed") else "pending",
        parsing.short(data.get("payment_id")) or None,
        _amount(data),
    )


def _payout(data: dict[str, Any]) -> Payout:
    return Payout(
        _id(data, "pout_"),
        PAYOUT_STATES.get(str(data.get("status")), "processing"),
        parsing.short(data.get("utr"), 40) or None,
        failure_of(data),
        parsing.paise(data.get("fees")),
        _amount(data),
    )


def _token_state(data: dict[str, Any]) -> str:
    details = data.get("recurring_details")
    return TOKEN_STATES.get(str(details.get("status")) if isinstance(details, dict) else "", "pending")


def _dispute(data: dict[str, Any]) -> Dispute:
    return Dispute(
        _id(data, "disp_"),
        parsing.short(data.get("payment_id")),
        _amount(data),
        parsing.short(data.get("phase"), 20) or "chargeback",
        parsing.short(data.get("status"), 20),
        parsing.short(data.get("reason_code"), 120),
        parsing.instant(data.get("respond_by")),
    )


def _line(kind: str, data: dict[str, Any], sign_: int) -> Transaction:
    entity = parsing.short(data.get("id"))
    return Transaction(
        f"{kind}:{entity}",
        kind,
        entity,
        sign_ * _amount(data),
        parsing.instant(data.get("created_at")) or dt.datetime.fromtimestamp(0, dt.UTC),
        parsing.paise(data.get("fee") if kind == "payment" else data.get("fees")) or 0,
        parsing.paise(data.get("tax")) or 0,
        parsing.short(data.get("status"), 20),
        parsing.short(data.get("order_id")) or None,
        entity if kind == "payment" else parsing.short(data.get("payment_id")) or None,
        parsing.notes(data.get("notes")),
    )


def _narration(text: str) -> str:
    """What the payee's statement shows: letters, digits and spaces, at most 30."""
    return "".join(c for c in text if c.isascii() and (c.isalnum() or c == " "))[:30] or "Payout"
