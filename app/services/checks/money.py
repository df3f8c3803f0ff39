"""Wallets, receivables, payments, refunds and earnings against the journal."""

from __future__ import annotations

from . import Check, net

# The parts of what organisations owe us, each (organization_id, paise), added up. ORG_RECEIVABLE must equal their sum.
RECEIVABLE: tuple[str, ...] = (
    # bookings not invoiced yet, less what refunds took back
    "SELECT p.organization_id, l.amount_paise AS paise FROM payment p JOIN payment_leg l ON l.payment_id = p.id "
    "WHERE p.status = 'SUCCEEDED' AND p.invoice_id IS NULL AND l.source IN ('INVOICE_ACCRUAL', 'OVERAGE_INVOICE_ACCRUAL', "
    "'INVOICE_ACCRUAL_REVERSAL', 'OVERAGE_INVOICE_ACCRUAL_REVERSAL')",
    # what issued invoices ask for, less credit notes and money; a wallet's statement asks for nothing
    "SELECT organization_id, total_paise - credited_paise - paid_paise + refunded_paise AS paise FROM invoice "
    "WHERE status IN ('ISSUED', 'OVERDUE', 'PAID', 'REFUNDED') AND kind <> 'STATEMENT'",
    # what refunds and chargebacks of top-ups took beyond the wallet
    "SELECT organization_id, shortfall_paise AS paise FROM billing_account WHERE shortfall_paise <> 0",
)

_SPREAD = "(SELECT payment_id, sum(amount_paise)::bigint AS paise FROM refund WHERE cascaded_at IS NOT NULL GROUP BY 1)"


def _earnings(table: str, owner: str, kind: str, place: str) -> str:
    """Shares not paid out against the payable of each owner."""
    return (
        f"SELECT {'x.owner' if place == 'org' else 'NULL'}::bigint AS organization_id, coalesce(s.paise, 0) AS expected, "
        f"coalesce(x.share, 0) AS actual, '{kind}|{place}:' || coalesce(x.owner, s.scope_id) AS id FROM "
        f"(SELECT {owner}::bigint AS owner, sum(share_paise - refunded_paise)::bigint AS share FROM {table} "
        f"WHERE status <> 'PAID' GROUP BY 1) x FULL JOIN {net(kind, 'C')} s ON s.scope_id = x.owner "
        "WHERE coalesce(x.share, 0) <> coalesce(s.paise, 0)"
    )


CHECKS = (
    Check(
        "WALLET_BALANCE_DRIFT",
        "The balance that bookings are checked against is the wallet's balance in the journal.",
        "SELECT ba.organization_id, coalesce(s.paise, 0) AS expected, coalesce(ba.wallet_balance_paise, 0) AS actual, "
        f"ba.public_id::text AS id FROM billing_account ba LEFT JOIN {net('WALLET', 'C')} s "
        "ON s.organization_id = ba.organization_id "
        "WHERE coalesce(ba.wallet_balance_paise, 0) <> coalesce(s.paise, 0)",
    ),
    Check(
        "WALLET_HOLD_DRIFT",
        "What is on hold belongs to bookings that wait for a card.",
        "SELECT coalesce(h.organization_id, s.organization_id) AS organization_id, coalesce(h.paise, 0) AS expected, "
        "coalesce(s.paise, 0) AS actual, 'WALLET_HOLD|org:' || coalesce(h.organization_id, s.organization_id) AS id "
        "FROM (SELECT p.organization_id, sum(l.amount_paise)::bigint AS paise FROM payment p JOIN payment_leg l "
        "ON l.payment_id = p.id AND l.source = 'WALLET' WHERE p.status = 'PENDING' GROUP BY 1) h "
        f"FULL JOIN {net('WALLET_HOLD', 'C')} s ON s.organization_id = h.organization_id "
        "WHERE coalesce(h.paise, 0) <> coalesce(s.paise, 0)",
    ),
    Check(
        "ORG_RECEIVABLE_DRIFT",
        "What an organisation owes is its unbilled bookings, unpaid invoices and the shortfall of its wallet.",
        "SELECT coalesce(x.organization_id, s.organization_id) AS organization_id, coalesce(x.paise, 0) AS expected, "
        "coalesce(s.paise, 0) AS actual, 'ORG_RECEIVABLE|org:' || coalesce(x.organization_id, s.organization_id) AS id "
        f"FROM (SELECT organization_id, sum(paise)::bigint AS paise FROM ({' UNION ALL '.join(RECEIVABLE)}) parts "
        f"GROUP BY 1) x FULL JOIN {net('ORG_RECEIVABLE', 'D')} s ON s.organization_id = x.organization_id "
        "WHERE coalesce(x.paise, 0) <> coalesce(s.paise, 0)",
    ),
    Check(
        "PAYMENT_LEG_SUM_MISMATCH",
        "The sources of a payment add up to its amount.",
        "SELECT p.organization_id, p.amount_paise AS expected, sum(l.amount_paise)::bigint AS actual, "
        "p.public_id::text AS id FROM payment p JOIN payment_leg l ON l.payment_id = p.id "
        "AND l.source NOT LIKE '%\\_REVERSAL' GROUP BY p.id HAVING sum(l.amount_paise) <> p.amount_paise",
    ),
    Check(
        "PAYMENT_WITHOUT_LEGS",
        "Every settled payment says where its money came from.",
        "SELECT p.organization_id, 1 AS expected, 0 AS actual, p.public_id::text AS id FROM payment p "
        "WHERE p.status = 'SUCCEEDED' AND NOT EXISTS (SELECT 1 FROM payment_leg l WHERE l.payment_id = p.id)",
    ),
    Check(
        "EARNINGS_LEDGER_DRIFT",
        "What experts and hosts earned and were not paid is what we owe them in the journal.",
        _earnings("consultant_earnings", "consultant_user_id", "CONSULTANT_PAYABLE", "consultant")
        + " UNION ALL "
        + _earnings("organization_earnings", "organization_id", "ORG_PAYABLE", "org"),
    ),
    Check(
        "EARNINGS_WITHOUT_BOOKING_TXN",
        "Every share belongs to a booking that was posted.",
        "SELECT e.organization_id, 1 AS expected, 0 AS actual, e.public_id::text AS id FROM (SELECT organization_id, "
        "payment_id, public_id FROM consultant_earnings UNION ALL SELECT organization_id, payment_id, public_id "
        "FROM organization_earnings) e JOIN payment p ON p.id = e.payment_id "
        "LEFT JOIN ledger_transaction t ON t.key = 'booking:' || p.public_id WHERE t.id IS NULL",
    ),
    Check(
        "REFUND_BOOKING_COHERENCE",
        "Every refund that was spread is posted once, for its amount; no payment gave back more than it took.",
        "SELECT r.organization_id, CASE WHEN r.cascaded_at IS NULL THEN 0 ELSE r.amount_paise END AS expected, "
        "coalesce(s.paise, 0) AS actual, r.public_id::text AS id FROM refund r LEFT JOIN (SELECT t.key, "
        "sum(e.amount_paise)::bigint - coalesce((t.details->>'beyond_paise')::bigint, 0) AS paise "
        "FROM ledger_transaction t JOIN ledger_entry e ON e.transaction_id = t.id AND e.side = 'C' "
        "WHERE t.kind = 'REFUND' GROUP BY t.id) s ON s.key = 'refund:' || r.public_id "
        "WHERE CASE WHEN r.cascaded_at IS NULL THEN 0 ELSE r.amount_paise END <> coalesce(s.paise, 0) "
        "UNION ALL SELECT p.organization_id, p.amount_paise, f.paise + coalesce(d.paise, 0), p.public_id::text "
        f"FROM payment p JOIN {_SPREAD} f ON f.payment_id = p.id LEFT JOIN (SELECT payment_id, "
        "sum(posted_paise)::bigint AS paise FROM dispute GROUP BY 1) d ON d.payment_id = p.id "
        "WHERE f.paise + coalesce(d.paise, 0) > p.amount_paise",
    ),
    Check(
        "TOPUP_LEDGER_DRIFT",
        "Every confirmed top-up and every refund of one is posted once, for its amount.",
        "SELECT u.organization_id, u.amount_paise AS expected, coalesce(s.paise, 0) AS actual, u.id FROM "
        "(SELECT organization_id, amount_paise, public_id::text AS id, 'topup:' || gateway_order_id AS key "
        "FROM wallet_top_up WHERE status = 'CONFIRMED' UNION ALL SELECT organization_id, amount_paise, "
        "public_id::text, 'topup-refund:' || provider_refund_id FROM wallet_top_up_refund "
        "WHERE status = 'SUCCEEDED') u LEFT JOIN (SELECT t.key, sum(e.amount_paise)::bigint AS paise "
        "FROM ledger_transaction t JOIN ledger_entry e ON e.transaction_id = t.id AND e.side = 'D' "
        "WHERE t.kind IN ('TOPUP', 'TOPUP_REFUND') GROUP BY t.id) s ON s.key = u.key "
        "WHERE u.amount_paise <> coalesce(s.paise, 0)",
    ),
    Check(
        "CHARGEBACK_WITHOUT_LEDGER_TXN",
        "What a lost dispute took is posted, and nothing else is a chargeback.",
        "SELECT coalesce(d.organization_id, s.organization_id) AS organization_id, coalesce(d.posted_paise, 0) AS expected, "
        "coalesce(s.paise, 0) AS actual, coalesce(d.public_id::text, s.id) AS id FROM dispute d FULL JOIN "
        "(SELECT split_part(t.key, ':', 2) AS id, min(t.organization_id) AS organization_id, "
        "sum(e.amount_paise)::bigint AS paise FROM ledger_transaction t JOIN ledger_entry e ON e.transaction_id = t.id "
        "AND e.side = 'C' JOIN ledger_account a ON a.id = e.account_id AND a.kind = 'CASH' WHERE t.kind = 'CHARGEBACK' "
        "GROUP BY 1) s ON s.id = d.public_id::text WHERE coalesce(d.posted_paise, 0) <> coalesce(s.paise, 0)",
    ),
    Check(
        "UNAPPLIED_RECEIPT_DRIFT",
        "Money that matched nothing is what came less what went back or was taken by a bank.",
        "SELECT NULL::bigint AS organization_id, coalesce(u.paise, 0) AS expected, coalesce(s.paise, 0) AS actual, "
        "'UNAPPLIED_RECEIPT|platform|INR' AS id FROM (SELECT sum(amount_paise - refunded_paise - charged_back_paise)::bigint "
        f"AS paise FROM unapplied_receipt) u LEFT JOIN {net('UNAPPLIED_RECEIPT', 'C')} s ON true",
    ),
)
