"""What the product asks of any payment provider, in our own words (chapter 2, 2.7).

Amounts are integer paise. Every call ends in time. A call that changes something takes a key (or a receipt) and happens
once however often it is repeated with it. It raises ``Refused`` when the provider said no, and ``Unknown`` when nobody
can say whether it happened: repeat it with the same key, or fetch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.errors import DomainError


class Refused(DomainError):
    """The provider said no (4xx): nothing happened. Code GATEWAY_ERROR, 502."""

    def __init__(self, reason: str = "refused") -> None:
        super().__init__("GATEWAY_ERROR", reason=reason)
        self.reason = reason


class Unknown(DomainError):
    """No answer, or one that makes no sense: it may have happened. Code GATEWAY_UNAVAILABLE, 503."""

    def __init__(self, reason: str = "no answer") -> None:
        super().__init__("GATEWAY_UNAVAILABLE", reason=reason)
        self.reason = reason


@dataclass(frozen=True)
class Order:
    """An order at the provider. status: created, paid, cancelled. ``fee_paise`` includes ``tax_paise``."""

    order_id: str
    checkout_url: str
    status: str
    payment_id: str | None = None
    captured_paise: int | None = None
    notes: dict[str, str] = field(default_factory=dict)
    amount_paise: int | None = None
    fee_paise: int | None = None
    tax_paise: int | None = None


@dataclass(frozen=True)
class RefundResult:
    """A refund at the provider. status: pending, processed, failed."""

    refund_id: str
    status: str
    payment_id: str | None = None
    amount_paise: int | None = None


@dataclass(frozen=True)
class Payer:
    """Who is asked for a mandate; contact as ``prefill.clean_contact`` leaves it."""

    name: str
    email: str
    contact: str | None = None


@dataclass(frozen=True)
class Mandate:
    """A standing permission to charge. status: pending, confirmed, rejected, paused, cancelled."""

    mandate_id: str
    status: str
    authorization_url: str | None = None
    max_paise: int | None = None


@dataclass(frozen=True)
class PayeeAccount:
    """Where a payee is paid: kind bank (account_number, ifsc) or upi (vpa). Never stored, never logged."""

    holder_name: str
    kind: str = "bank"
    account_number: str = field(default="", repr=False)
    ifsc: str = ""
    vpa: str = field(default="", repr=False)


@dataclass(frozen=True)
class Payee:
    """A payee at the provider; *last4* is all that we keep of the account number."""

    payee_id: str
    last4: str = ""


@dataclass(frozen=True)
class Validation:
    """A check that an account exists. status: pending, verified, failed."""

    validation_id: str
    status: str
    registered_name: str | None = None


@dataclass(frozen=True)
class Payout:
    """A payout at the provider. status: pending, processing, processed, reversed, failed, cancelled."""

    payout_id: str
    status: str
    utr: str | None = None
    failure: str | None = None
    fee_paise: int | None = None
    amount_paise: int | None = None


@dataclass(frozen=True)
class Dispute:
    """A dispute at the provider.

    phase: fraud, retrieval, chargeback, pre_arbitration, arbitration. status: open, action_required, under_review, won,
    lost, closed.
    """

    dispute_id: str
    payment_id: str
    amount_paise: int
    phase: str
    status: str
    reason: str = ""
    due_by: dt.datetime | None = None


@dataclass(frozen=True)
class Transaction:
    """A line of the provider's books, to reconcile against.

    kind: payment, refund, payout, payout_reversal, dispute, dispute_reversal, settlement, adjustment. ``amount_paise`` is
    signed as the provider's balance moved, before ``fee_paise`` (which includes ``tax_paise``).
    """

    transaction_id: str
    kind: str
    entity_id: str
    amount_paise: int
    at: dt.datetime
    fee_paise: int = 0
    tax_paise: int = 0
    status: str = ""
    order_id: str | None = None
    payment_id: str | None = None
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """A verified webhook in our words. Types we do not handle come as this class under the provider's own name."""

    key: str
    type: str
    order_id: str | None = None
    payment_id: str | None = None
    amount_paise: int | None = None
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PaymentCaptured(Event):
    """payment.captured or order.paid; ``mandate_id`` where a mandate was charged."""

    fee_paise: int | None = None
    tax_paise: int | None = None
    mandate_id: str | None = None


@dataclass(frozen=True)
class PaymentFailed(Event):
    """payment.failed: an attempt, not the order."""

    reason: str = ""


@dataclass(frozen=True)
class RefundChanged(Event):
    """refund.created, refund.processed, refund.failed. status: pending, processed, failed."""

    refund_id: str = ""
    status: str = "pending"


@dataclass(frozen=True)
class PayoutChanged(Event):
    """payout.*; status as ``Payout``; ``reference`` is the key the payout was made under."""

    payout_id: str = ""
    status: str = "processing"
    utr: str | None = None
    reference: str | None = None
    failure: str | None = None


@dataclass(frozen=True)
class AccountValidated(Event):
    """fund_account.validation.completed or .failed. status: verified, failed."""

    payee_id: str = ""
    validation_id: str = ""
    status: str = "failed"
    registered_name: str | None = None


@dataclass(frozen=True)
class MandateChanged(Event):
    """token.*; status as ``Mandate``."""

    mandate_id: str = ""
    status: str = "pending"


@dataclass(frozen=True)
class DisputeChanged(Event):
    """payment.dispute.*; phase and status as ``Dispute``."""

    dispute_id: str = ""
    phase: str = "chargeback"
    status: str = "open"
    reason: str = ""
    due_by: dt.datetime | None = None


class Gateway(Protocol):
    """One provider. Every call raises Refused (GATEWAY_ERROR) or Unknown (GATEWAY_UNAVAILABLE)."""

    name: str

    def create_order(
        self, *, receipt: str, amount_paise: int, notes: dict[str, str], description: str, return_url: str
    ) -> Order:
        """The order of *receipt* (at most 40 characters), made once whatever happens. Notes hold public ids only."""
        ...

    def fetch_order(self, order_id: str) -> Order | None:
        """The order as the provider sees it now, or None if it never existed."""
        ...

    def refund(self, *, payment_id: str, amount_paise: int, key: str) -> RefundResult:
        """Refund part or all of a captured payment, once per *key*."""
        ...

    def fetch_refund(self, refund_id: str) -> RefundResult | None:
        """The refund as the provider sees it now, or None if it never existed."""
        ...

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
        """Ask *payer* for permission to charge up to *max_paise* at a time; they give it at ``authorization_url``."""
        ...

    def fetch_mandate(self, mandate_id: str) -> Mandate | None:
        """The mandate as the provider sees it now, or None if it never existed."""
        ...

    def charge_mandate(
        self, *, mandate_id: str, receipt: str, amount_paise: int, notes: dict[str, str], description: str
    ) -> Order:
        """Charge a confirmed mandate once per *receipt*; status paid, or created while the bank works on it."""
        ...

    def create_payee(self, *, key: str, account: PayeeAccount, email: str = "", contact: str = "") -> Payee:
        """The payee of *key* (at most 40 characters), made once."""
        ...

    def validate_account(self, *, payee_id: str, key: str) -> Validation:
        """Have the bank confirm that the payee's account exists and whose it is."""
        ...

    def create_payout(
        self, *, key: str, payee_id: str, amount_paise: int, notes: dict[str, str], description: str = ""
    ) -> Payout:
        """Pay out once per *key* (4 to 36 characters). GATEWAY_NOT_CONFIGURED while live payouts are off."""
        ...

    def fetch_payout(self, payout_id: str) -> Payout | None:
        """The payout as the provider sees it now, or None if it never existed."""
        ...

    def list_transactions(self, since: dt.datetime, until: dt.datetime) -> list[Transaction]:
        """The provider's books from *since* up to, not including, *until*; oldest first."""
        ...

    def fetch_dispute(self, dispute_id: str) -> Dispute | None:
        """The dispute as the provider sees it now, or None if it never existed."""
        ...

    def accept_dispute(self, dispute_id: str) -> Dispute:
        """Give in; safe to repeat."""
        ...

    def contest_dispute(self, dispute_id: str, *, summary: str, evidence: dict[str, str]) -> Dispute:
        """Contest with *summary* and *evidence* (kind: document id or text)."""
        ...

    def verify_webhook(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Whether the provider signed these raw bytes (constant time; current and previous secrets)."""
        ...

    def parse_event(self, body: bytes) -> Event:
        """The event in a verified body. Raises ValueError for a body that holds none."""
        ...
