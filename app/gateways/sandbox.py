"""Our side of the sandbox gateway; its own side is ``provider``.

Every call is a transaction of the provider's own, as it would be at a company elsewhere: what our transaction rolls back
stays done there, and its levers can do a thing and lose the answer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import TypeVar

from sqlalchemy.orm import Session

from app.gateways import parsing, provider
from app.gateways.base import (
    AccountValidated,
    Dispute,
    DisputeChanged,
    Event,
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
from app.gateways.provider.payouts import payout_fee
from app.gateways.signing import event_key, matches
from app.models import (
    SandboxDispute,
    SandboxMandate,
    SandboxOrder,
    SandboxPayee,
    SandboxPayout,
)
from config import Settings

T = TypeVar("T")


class SandboxGateway:
    """The adapter of the embedded provider. Refused in production by ``open_gateway``."""

    name = "sandbox"

    def __init__(self, settings: Settings, session: Session) -> None:
        self.settings, self.session = settings, session

    def _call(self, call: str, work: Callable[[Session, str | None], T]) -> T:
        """Run *work* in the provider's own transaction, under what was armed for *call*."""
        with Session(self.session.get_bind(), expire_on_commit=False) as own:
            lever = provider.take_lever(own, call)
            own.commit()
            if lever == "refuse":
                raise Refused("refused_by_lever")
            if lever == "timeout":
                raise Unknown("timeout")
            result = work(own, lever if lever != "lose_answer" else None)
            own.commit()
        if lever == "lose_answer":
            raise Unknown("timeout")
        return result

    # ---- orders and refunds

    def _order(self, row: SandboxOrder) -> Order:
        return Order(
            row.order_id,
            f"{self.settings.base_url}/sandbox/checkout/{row.order_id}",
            row.status if row.status in ("paid", "cancelled") else "created",
            row.payment_id,
            row.captured_paise,
            dict(row.notes),
            row.amount_paise,
            row.fee_paise,
            row.tax_paise,
        )

    def create_order(
        self, *, receipt: str, amount_paise: int, notes: dict[str, str], description: str, return_url: str
    ) -> Order:
        return self._call(
            "create_order",
            lambda own, _: self._order(
                provider.create_order(
                    own,
                    receipt=receipt,
                    amount_paise=amount_paise,
                    notes=notes,
                    description=description,
                    return_url=return_url,
                )
            ),
        )

    def fetch_order(self, order_id: str) -> Order | None:
        def work(own: Session, _: str | None) -> Order | None:
            row = provider.find_order(own, order_id)
            return self._order(row) if row else None

        return self._call("fetch_order", work)

    def refund(self, *, payment_id: str, amount_paise: int, key: str) -> RefundResult:
        def work(own: Session, lever: str | None) -> RefundResult:
            row = provider.refund(
                own, payment_id=payment_id, amount_paise=amount_paise, key=key, outcome=lever or "processed"
            )
            return RefundResult(row.refund_id, row.status, row.payment_id, row.amount_paise)

        return self._call("refund", work)

    def fetch_refund(self, refund_id: str) -> RefundResult | None:
        def work(own: Session, _: str | None) -> RefundResult | None:
            row = provider.find_refund(own, refund_id)
            return RefundResult(row.refund_id, row.status, row.payment_id, row.amount_paise) if row else None

        return self._call("fetch_refund", work)

    # ---- mandates

    def _mandate(self, row: SandboxMandate) -> Mandate:
        url = f"{self.settings.base_url}/sandbox/mandate/{row.mandate_id}"
        return Mandate(row.mandate_id, row.status, url, row.max_paise)

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
        return self._call(
            "create_mandate",
            lambda own, _: self._mandate(
                provider.create_mandate(
                    own,
                    key=key,
                    payer_name=payer.name,
                    max_paise=max_paise,
                    notes=notes,
                    description=description,
                    return_url=return_url,
                )
            ),
        )

    def fetch_mandate(self, mandate_id: str) -> Mandate | None:
        with Session(self.session.get_bind()) as own:
            row = provider.find_mandate(own, mandate_id)
            return self._mandate(row) if row else None

    def charge_mandate(
        self, *, mandate_id: str, receipt: str, amount_paise: int, notes: dict[str, str], description: str
    ) -> Order:
        return self._call(
            "charge_mandate",
            lambda own, lever: self._order(
                provider.charge_mandate(
                    own,
                    mandate_id=mandate_id,
                    receipt=receipt,
                    amount_paise=amount_paise,
                    notes=notes,
                    description=description,
                    outcome=lever or "paid",
                )
            ),
        )

    # ---- payees and payouts

    def create_payee(self, *, key: str, account: PayeeAccount, email: str = "", contact: str = "") -> Payee:
        def work(own: Session, _: str | None) -> Payee:
            row = provider.create_payee(own, key=key, account=account)
            return Payee(row.payee_id, row.last4)

        return self._call("create_payee", work)

    def _validation(self, row: SandboxPayee) -> Validation:
        name = row.holder_name if row.validation_status == "verified" else None
        return Validation(row.validation_id or "", row.validation_status or "pending", name)

    def validate_account(self, *, payee_id: str, key: str) -> Validation:
        return self._call(
            "validate_account",
            lambda own, lever: self._validation(
                provider.validate_account(own, payee_id, lever or "verified")
            ),
        )

    def _payout(self, row: SandboxPayout) -> Payout:
        return Payout(row.payout_id, row.status, row.utr, row.failure, payout_fee(row), row.amount_paise)

    def create_payout(
        self, *, key: str, payee_id: str, amount_paise: int, notes: dict[str, str], description: str = ""
    ) -> Payout:
        return self._call(
            "create_payout",
            lambda own, lever: self._payout(
                provider.create_payout(
                    own,
                    key=key,
                    payee_id=payee_id,
                    amount_paise=amount_paise,
                    notes=notes,
                    description=description,
                    outcome=lever or "processed",
                )
            ),
        )

    def fetch_payout(self, payout_id: str) -> Payout | None:
        def work(own: Session, _: str | None) -> Payout | None:
            row = provider.find_payout(own, payout_id)
            return self._payout(row) if row else None

        return self._call("fetch_payout", work)

    # ---- books and disputes

    def list_transactions(self, since: dt.datetime, until: dt.datetime) -> list[Transaction]:
        def work(own: Session, _: str | None) -> list[Transaction]:
            return [
                Transaction(
                    row.entry_id,
                    row.kind,
                    row.entity_id,
                    row.amount_paise,
                    row.created_at,
                    row.fee_paise,
                    row.tax_paise,
                    "processed",
                    row.order_id,
                    row.payment_id,
                    dict(row.notes),
                )
                for row in provider.entries(own, since, until)
            ]

        return self._call("list_transactions", work)

    def _dispute(self, row: SandboxDispute) -> Dispute:
        return Dispute(
            row.dispute_id, row.payment_id, row.amount_paise, row.phase, row.status, row.reason, row.due_by
        )

    def fetch_dispute(self, dispute_id: str) -> Dispute | None:
        with Session(self.session.get_bind()) as own:
            row = provider.find_dispute(own, dispute_id)
            return self._dispute(row) if row else None

    def accept_dispute(self, dispute_id: str) -> Dispute:
        return self._call(
            "accept_dispute", lambda own, _: self._dispute(provider.accept_dispute(own, dispute_id))
        )

    def contest_dispute(self, dispute_id: str, *, summary: str, evidence: dict[str, str]) -> Dispute:
        return self._call(
            "contest_dispute",
            lambda own, _: self._dispute(provider.contest_dispute(own, dispute_id, summary, evidence)),
        )

    # ---- webhooks

    def verify_webhook(self, body: bytes, headers: Mapping[str, str]) -> bool:
        return matches(self.settings.sandbox_webhook_secret, body, headers.get("X-Sandbox-Signature", ""))

    def parse_event(self, body: bytes) -> Event:
        data = parsing.load(body)
        kind = data.get("event")
        if not isinstance(kind, str) or not kind:
            raise ValueError("not an event of the sandbox")
        kind = kind[:60]
        for entity, parse in _PARSERS.items():
            if entity in data:
                item = parsing.mapping(data[entity], entity)
                subject = parsing.short(item.get("id") or item.get("order_id"), 60)
                return parse(event_key(kind, subject, body), kind, item)
        raise ValueError("not an event of the sandbox")


def _payment(key: str, kind: str, item: dict[str, object]) -> Event:
    order_id, payment_id = item.get("order_id"), item.get("id")
    order = parsing.short(order_id) or None
    payment = parsing.short(payment_id) or None
    amount, notes = parsing.paise(item.get("amount")), parsing.notes(item.get("notes"))
    if kind in ("payment.captured", "order.paid"):
        return PaymentCaptured(
            key,
            kind,
            order,
            payment,
            amount,
            notes,
            fee_paise=parsing.paise(item.get("fee")),
            tax_paise=parsing.paise(item.get("tax")),
            mandate_id=parsing.short(item.get("mandate_id")) or None,
        )
    if kind == "payment.failed":
        return PaymentFailed(
            key, kind, order, payment, amount, notes, reason=parsing.short(item.get("error"))
        )
    return Event(key, kind, order, payment, amount, notes)


def _refund(key: str, kind: str, item: dict[str, object]) -> Event:
    return RefundChanged(
        key,
        kind,
        None,
        parsing.short(item.get("payment_id")) or None,
        parsing.paise(item.get("amount")),
        refund_id=parsing.short(item.get("id")),
        status=parsing.short(item.get("status"), 20),
    )


def _payout_event(key: str, kind: str, item: dict[str, object]) -> Event:
    return PayoutChanged(
        key,
        kind,
        amount_paise=parsing.paise(item.get("amount")),
        notes=parsing.notes(item.get("notes")),
        payout_id=parsing.short(item.get("id")),
        status=parsing.short(item.get("status"), 20),
        utr=parsing.short(item.get("utr"), 40) or None,
        reference=parsing.short(item.get("reference_id")) or None,
        failure=parsing.short(item.get("failure"), 120) or None,
    )


def _validated(key: str, kind: str, item: dict[str, object]) -> Event:
    return AccountValidated(
        key,
        kind,
        payee_id=parsing.short(item.get("payee_id")),
        validation_id=parsing.short(item.get("id")),
        status=parsing.short(item.get("status"), 20),
        registered_name=parsing.short(item.get("registered_name"), 200) or None,
    )


def _token(key: str, kind: str, item: dict[str, object]) -> Event:
    return MandateChanged(
        key,
        kind,
        notes=parsing.notes(item.get("notes")),
        mandate_id=parsing.short(item.get("id")),
        status=parsing.short(item.get("status"), 20),
    )


def _disputed(key: str, kind: str, item: dict[str, object]) -> Event:
    return DisputeChanged(
        key,
        kind,
        None,
        parsing.short(item.get("payment_id")) or None,
        parsing.paise(item.get("amount")),
        dispute_id=parsing.short(item.get("id")),
        phase=parsing.short(item.get("phase"), 20),
        status=parsing.short(item.get("status"), 20),
        reason=parsing.short(item.get("reason"), 120),
        due_by=parsing.instant(item.get("respond_by")),
    )


_PARSERS: dict[str, Callable[[str, str, dict[str, object]], Event]] = {
    "payment": _payment,
    "refund": _refund,
    "payout": _payout_event,
    "validation": _validated,
    "token": _token,
    "dispute": _disputed,
}
