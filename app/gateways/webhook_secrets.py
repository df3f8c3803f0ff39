"""Which secret may sign which webhook (chapter 2, 2.7)."""

from __future__ import annotations

from collections.abc import Mapping


def header(headers: Mapping[str, str], name: str) -> str:
    """A header whatever its case."""
    low = name.lower()
    return next((value for key, value in headers.items() if key.lower() == low), "")


def secrets_for(kind: str, payout_prefixes: tuple[str, ...], payments: str, payouts: str) -> str:
    """The comma-separated secrets for an event called *kind*: the payout secret signs payout events and nothing else.

    Where no payout secret is set, both kinds come under the one that is.
    """
    return payouts if payouts and kind.startswith(payout_prefixes) else payments
