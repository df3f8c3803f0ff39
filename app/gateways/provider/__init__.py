"""The sandbox as a little payment provider: a company of its own that happens to live in our process.

It knows nothing of organisations or wallets: notes are opaque to it, as to any provider. It keeps its books, charges
fees, and owes us a signed webhook for everything that happens. Its levers (``arm`` and the forced outcomes) exist
outside production only.
"""

from .books import arm, entries, fee_of, take_lever
from .disputes import accept_dispute, contest_dispute, find_dispute, open_dispute, settle_dispute
from .mandates import (
    MANDATE_STATES,
    charge_mandate,
    create_mandate,
    decide_mandate,
    find_mandate,
)
from .orders import ask_authentication, create_order, decline, find_order, find_payment, pay
from .payouts import (
    create_payee,
    create_payout,
    find_payee,
    find_payout,
    settle_payout,
    settle_validation,
    validate_account,
)
from .refunds import find_refund, refund, settle_refund
from .webhooks import BACKOFF, Post, deliver, http_post, now_due, resend, resend_event, reverse_due

__all__ = [
    "BACKOFF",
    "MANDATE_STATES",
    "Post",
    "accept_dispute",
    "arm",
    "ask_authentication",
    "charge_mandate",
    "contest_dispute",
    "create_mandate",
    "create_order",
    "create_payee",
    "create_payout",
    "decide_mandate",
    "decline",
    "deliver",
    "entries",
    "fee_of",
    "find_dispute",
    "find_mandate",
    "find_order",
    "find_payee",
    "find_payment",
    "find_payout",
    "find_refund",
    "http_post",
    "now_due",
    "open_dispute",
    "pay",
    "refund",
    "resend",
    "resend_event",
    "reverse_due",
    "settle_dispute",
    "settle_payout",
    "settle_refund",
    "settle_validation",
    "take_lever",
    "validate_account",
]
