"""Counters of programs against the usage ledger."""

from __future__ import annotations

from . import Check

# what went back of a payment: refunds that were spread and lost disputes, paise; bps of a booking that cost nothing
_BACK = (
    "(SELECT payment_id, sum(paise)::bigint AS paise, sum(bps)::bigint AS bps FROM (SELECT payment_id, amount_paise AS paise, "
    "coalesce(policy_bps, 10000) AS bps FROM refund WHERE cascaded_at IS NOT NULL UNION ALL "
    "SELECT payment_id, posted_paise, 0 FROM dispute WHERE posted_paise > 0) g GROUP BY 1)"
)
# an unpaid overage is owed; of a paid one what its booking took back and did not reach the member yet is owed to them
_OWED = (
    "SELECT v.organization_id, v.user_id, sum(CASE v.charge_status WHEN 'PENDING' THEN s.amount_paise ELSE "
    "least(0, coalesce(sb.paise, 0) - s.amount_paise + (v.marginal_paise + v.tax_paise) - "
    "div((v.marginal_paise + v.tax_paise)::numeric * CASE WHEN p.amount_paise > 0 THEN least(coalesce(pb.paise, 0), "
    "p.amount_paise) ELSE least(coalesce(pb.bps, 0), 10000) END, "
    "CASE WHEN p.amount_paise > 0 THEN p.amount_paise ELSE 10000 END)) END)::bigint AS paise "
    "FROM overage_event v JOIN payment p ON p.id = v.payment_id AND p.status = 'SUCCEEDED' "
    f"JOIN payment s ON s.id = v.side_payment_id LEFT JOIN {_BACK} pb ON pb.payment_id = p.id "
    f"LEFT JOIN {_BACK} sb ON sb.payment_id = s.id "
    "WHERE v.charge_to = 'MEMBER' AND v.charge_status IN ('PENDING', 'CHARGED') GROUP BY 1, 2"
)

CHECKS = (
    Check(
        "PROGRAM_ASSIGNMENT_ENGAGEMENTS_DRIFT",
        "Sessions counted against a member's allowance are those in the usage ledger.",
        "SELECT a.organization_id, coalesce(u.n, 0) AS expected, a.engagements_used AS actual, a.public_id::text AS id "
        "FROM assignment a LEFT JOIN (SELECT assignment_id, sum(engagements)::bigint AS n FROM usage_ledger_entry "
        "GROUP BY 1) u ON u.assignment_id = a.id WHERE a.engagements_used <> coalesce(u.n, 0)",
    ),
    Check(
        "CREDIT_POOL_CONSUMED_DRIFT",
        "Credits taken from a pool are those in the usage ledger.",
        "SELECT a.organization_id, coalesce(u.paise, 0) AS expected, a.consumed_paise AS actual, "
        "a.public_id::text AS id FROM assignment a LEFT JOIN (SELECT assignment_id, "
        "sum(consumed_paise)::bigint AS paise FROM usage_ledger_entry GROUP BY 1) u "
        "ON u.assignment_id = a.id WHERE a.consumed_paise <> coalesce(u.paise, 0)",
    ),
    Check(
        "SEATS_USED_DRIFT",
        "Seats counted as taken are the active learners.",
        "SELECT o.id AS organization_id, coalesce(m.n, 0) AS expected, o.seats_used AS actual, o.public_id::text AS id "
        "FROM organization o LEFT JOIN (SELECT organization_id, count(*) AS n FROM membership "
        "WHERE role = 'LEARNER' AND status = 'ACTIVE' GROUP BY 1) m ON m.organization_id = o.id "
        "WHERE o.seats_used <> coalesce(m.n, 0)",
    ),
    Check(
        "OVERAGE_COUNT_DRIFT",
        "What a place was charged beyond its program is the sum of its overage events, and their number.",
        "SELECT a.organization_id, coalesce(v.paise, 0) * 1000 + coalesce(v.n, 0) AS expected, "
        "a.overage_paise * 1000 + a.overage_count AS actual, a.public_id::text AS id FROM assignment a LEFT JOIN "
        "(SELECT assignment_id, sum(marginal_paise - reversed_paise)::bigint AS paise, "
        "count(*) FILTER (WHERE reversed_paise < marginal_paise) AS n FROM overage_event "
        "WHERE charge_status <> 'BLOCKED' GROUP BY 1) v ON v.assignment_id = a.id "
        "WHERE a.overage_paise <> coalesce(v.paise, 0) OR a.overage_count <> coalesce(v.n, 0)",
    ),
    Check(
        "OVERAGE_CHARGESTATUS_INTEGRITY",
        "The state of an overage is that of the payment or invoice that pays it.",
        "SELECT v.organization_id, 1 AS expected, 0 AS actual, v.public_id::text AS id FROM overage_event v "
        "JOIN payment p ON p.id = v.payment_id LEFT JOIN payment s ON s.id = v.side_payment_id WHERE NOT CASE "
        "WHEN v.charge_to = 'MEMBER' THEN CASE v.charge_status WHEN 'PENDING' THEN s.status = 'PENDING' "
        "WHEN 'CHARGED' THEN s.status = 'SUCCEEDED' WHEN 'FAILED' THEN s.status = 'FAILED' AND v.written_off_at IS NOT NULL "
        "WHEN 'REVERSED' THEN s.status = 'EXPIRED' ELSE false END "
        "WHEN p.method IN ('INVOICE', 'LICENSE') THEN CASE v.charge_status WHEN 'PENDING' THEN p.invoice_id IS NULL "
        "WHEN 'ACCRUED' THEN p.invoice_id IS NOT NULL WHEN 'CHARGED' THEN p.invoice_id IS NOT NULL ELSE true END "
        "ELSE v.charge_status IN ('CHARGED', 'REVERSED') OR (v.charge_status = 'PENDING' AND p.status = 'PENDING') END",
    ),
    Check(
        "MEMBER_RECEIVABLE_DRIFT",
        "What members owe is their unpaid overages; what they paid and got back with a booking cancels out.",
        "SELECT coalesce(x.organization_id, s.organization_id) AS organization_id, coalesce(x.paise, 0) AS expected, "
        "coalesce(s.paise, 0) AS actual, 'MEMBER_RECEIVABLE|user:' || coalesce(x.user_id, s.user_id) AS id "
        f"FROM ({_OWED}) x FULL JOIN (SELECT t.organization_id, a.scope_id AS user_id, "
        "sum(CASE e.side WHEN 'D' THEN e.amount_paise ELSE -e.amount_paise END)::bigint AS paise FROM ledger_account a "
        "JOIN ledger_entry e ON e.account_id = a.id JOIN ledger_transaction t ON t.id = e.transaction_id "
        "WHERE a.kind = 'MEMBER_RECEIVABLE' GROUP BY 1, 2) s ON s.organization_id = x.organization_id "
        "AND s.user_id = x.user_id WHERE coalesce(x.paise, 0) <> coalesce(s.paise, 0)",
    ),
    Check(
        "ACTIVE_SEAT_COUNT_DRIFT",
        "The seats of a program are the members with a live place in it.",
        "SELECT p.organization_id, coalesce(a.n, 0) AS expected, p.active_seat_count AS actual, p.public_id::text AS id "
        "FROM program p LEFT JOIN (SELECT program_id, count(DISTINCT membership_id) AS n FROM assignment "
        "WHERE status IN ('ACTIVE', 'PAUSED') GROUP BY 1) a ON a.program_id = p.id "
        "WHERE p.active_seat_count <> coalesce(a.n, 0)",
    ),
    Check(
        "ASSIGNMENT_PERIOD_GAP",
        "A place that rolled is followed by one that begins the day after, for the same member.",
        "SELECT a.organization_id, 1 AS expected, coalesce(n.period_start - a.period_end, 0) AS actual, "
        "a.public_id::text AS id FROM assignment a LEFT JOIN assignment n ON n.id = a.rolled_to_id "
        "AND n.membership_id = a.membership_id WHERE a.status = 'ROLLED'",
    ),
)
