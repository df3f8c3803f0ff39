"""The journal against itself."""

from __future__ import annotations

from . import Check

_NET = "sum(CASE side WHEN 'D' THEN amount_paise ELSE -amount_paise END)::bigint AS net"

CHECKS = (
    Check(
        "LEDGER_TXN_IMBALANCE",
        "Debits and credits of every posting are equal.",
        "SELECT t.organization_id, 0 AS expected, s.net AS actual, t.public_id::text AS id FROM "
        f"(SELECT transaction_id, {_NET} FROM ledger_entry GROUP BY 1) s "
        "JOIN ledger_transaction t ON t.id = s.transaction_id WHERE s.net <> 0",
    ),
    Check(
        "LEDGER_BALANCE_SNAPSHOT_DRIFT",
        "Every stored balance is the sum of its entries.",
        "SELECT b.organization_id, coalesce(s.net, 0) AS expected, b.balance_paise AS actual, a.code AS id "
        "FROM ledger_balance b JOIN ledger_account a ON a.id = b.account_id LEFT JOIN "
        f"(SELECT account_id, {_NET} FROM ledger_entry GROUP BY 1) s ON s.account_id = b.account_id "
        "WHERE b.balance_paise <> coalesce(s.net, 0)",
    ),
    Check(
        "LEDGER_ACCOUNT_NON_INR",
        "Every account is kept in rupees.",
        "SELECT organization_id, 0 AS expected, 1 AS actual, code AS id FROM ledger_account WHERE currency <> 'INR'",
    ),
)
