"""The reconciler's checks, by domain (chapter 2, "Integrity"). A new one is a ``Check`` in its domain's ``CHECKS``.

    Check(
        "PO_BALANCE_DRIFT",                                     # the finding's kind
        "What is left of an order is its total less what invoices drew.",   # shown on the page Invariants
        "SELECT po.organization_id, po.total_paise - coalesce(d.paise, 0) AS expected, po.remaining_paise AS actual, "
        "po.public_id::text AS id FROM purchase_order po LEFT JOIN (…) d ON d.po_id = po.id",
    )

The query answers every row it looked at, or only suspicious ones: (organization_id or NULL, expected, actual, id). What
counts as a difference is decided here: expected IS DISTINCT FROM actual. *id* is a public id, or an account's code where
a row has none. One set-based statement per check, linear in the rows; it runs under job scope, in one read-only snapshot.

A new domain is a module with ``CHECKS`` and its name in ``MODULES``. What an organisation owes has many parents, so
``money.RECEIVABLE`` lists the parts of ORG_RECEIVABLE: add one instead of a check.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module

MODULES = ("journal", "money", "usage", "documents")


@dataclass(frozen=True)
class Check:
    """A finding's kind, the rule in a sentence, and the query of its rows."""

    kind: str
    rule: str
    sql: str


def net(kind: str, side: str) -> str:
    """SQL: balances of every account of *kind* on its normal *side*, as (organization_id, scope_id, code, paise)."""
    sign = f"CASE e.side WHEN '{side}' THEN e.amount_paise ELSE -e.amount_paise END"
    return (
        f"(SELECT a.organization_id, a.scope_id, a.code, sum({sign})::bigint AS paise FROM ledger_account a "
        f"JOIN ledger_entry e ON e.account_id = a.id WHERE a.kind = '{kind}' GROUP BY a.id)"
    )


@cache
def every() -> tuple[Check, ...]:
    """All checks in the order of the chapter."""
    return tuple(check for m in MODULES for check in import_module(f"{__name__}.{m}").CHECKS)
