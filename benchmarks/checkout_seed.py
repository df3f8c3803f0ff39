"""Rows for the checkout benchmark, with keys that pgbench can compute: pair n is learner n, expert n, plan n."""

from __future__ import annotations

import hashlib

from benchmarks.ground import Ground

PAIRS = 256
BASE = 1_000_000  # inner keys of seeded rows start here
EXPERTS = 2_000_000
HOT = 500_000  # learners of the one organisation: BASE + HOT + n
BUDGET = 10**12  # credits of every pool
FUNDS = 10**15  # paise in every wallet


def plan_id(pair: int) -> str:
    """Public id of plan *pair*."""
    return f"00000000-0000-7000-8000-{BASE + pair:012d}"


def token(shape: str, pair: int) -> str:
    """The session secret of a learner."""
    return f"bench-{shape}-{pair}"


def seed(base: Ground) -> None:
    """256 organisations with one learner each, one organisation with 256, 256 experts with a plan each."""
    people = [(BASE + n, f"many{n}") for n in range(PAIRS)] + [
        (BASE + HOT + n, f"hot{n}") for n in range(PAIRS)
    ]
    with base.owner() as c:

        def run(sql: str, *args: object) -> None:
            c.execute(sql, args or None)  # type: ignore[arg-type]

        with c.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO ab_user (id, first_name, last_name, username, email, password, active, onboarding_completed, session_generation)"
                " VALUES (%s, 'Lea', %s, %s, %s, 'x', true, true, 0)",
                [(i, name, f"{name}@bench.test", f"{name}@bench.test") for i, name in people]
                + [
                    (EXPERTS + n, f"expert{n}", f"expert{n}@bench.test", f"expert{n}@bench.test")
                    for n in range(PAIRS)
                ],
            )
            cursor.executemany(
                "INSERT INTO user_session (key_hash, user_id, method, generation, created_at, last_seen_at, expires_at)"
                " VALUES (%s, %s, 'bearer', 0, now(), now(), now() + interval '30 days')",
                [(hashlib.sha256(token("many", n).encode()).hexdigest(), BASE + n) for n in range(PAIRS)]
                + [
                    (hashlib.sha256(token("hot", n).encode()).hexdigest(), BASE + HOT + n)
                    for n in range(PAIRS)
                ],
            )
        orgs = f"generate_series(0, {PAIRS}) AS n"  # the last one is the hot one
        run(
            f"INSERT INTO organization (id, name, slug, status, gst_state_code, can_sponsor) OVERRIDING SYSTEM VALUE "
            f"SELECT {BASE} + n, 'Bench ' || n, 'bench-' || n, 'ACTIVE', '29', true FROM {orgs}"
        )
        run(
            f"INSERT INTO billing_account (id, organization_id, funding_source, wallet_balance_paise) OVERRIDING SYSTEM VALUE "
            f"SELECT {BASE} + n, {BASE} + n, 'WALLET', 0 FROM {orgs}"
        )
        run(
            f"INSERT INTO contract (id, organization_id, billing_account_id, title, status, effective_from) OVERRIDING SYSTEM VALUE "
            f"SELECT {BASE} + n, {BASE} + n, {BASE} + n, 'Bench', 'ACTIVE', current_date - 1 FROM {orgs}"
        )
        run(
            f"INSERT INTO program (id, organization_id, contract_id, name, type, credits_per_cycle) OVERRIDING SYSTEM VALUE "
            f"SELECT {BASE} + n, {BASE} + n, {BASE} + n, 'Coaching', 'CREDIT_POOL', {BUDGET} FROM {orgs}"
        )
        members = (
            f"(SELECT {BASE} + n AS id, {BASE} + n AS org FROM generate_series(0, {PAIRS - 1}) AS n UNION ALL "
            f"SELECT {BASE + HOT} + n, {BASE + PAIRS} FROM generate_series(0, {PAIRS - 1}) AS n) AS m"
        )
        run(
            f"INSERT INTO membership (id, organization_id, user_id, role, status) OVERRIDING SYSTEM VALUE "
            f"SELECT id, org, id, 'LEARNER', 'ACTIVE' FROM {members}"
        )
        run(
            "UPDATE organization o SET seats_used = m.n FROM (SELECT organization_id, count(*) AS n FROM membership "
            "WHERE role = 'LEARNER' GROUP BY 1) m WHERE m.organization_id = o.id"
        )
        run(
            f"INSERT INTO assignment (id, organization_id, program_id, membership_id, period_start, period_end, status) OVERRIDING SYSTEM VALUE "
            f"SELECT id, org, org, id, current_date - 1, current_date + 3000, 'ACTIVE' FROM {members}"
        )
        experts = f"generate_series(0, {PAIRS - 1}) AS n"
        run(
            f"INSERT INTO consultant_profile (id, user_id, verification_status) OVERRIDING SYSTEM VALUE "
            f"SELECT {EXPERTS} + n, {EXPERTS} + n, 'VERIFIED' FROM {experts}"
        )
        run(
            f"INSERT INTO availability_window (expert_id, weekday, starts, ends, zone) "
            f"SELECT {EXPERTS} + n, d, '00:00', '23:59', 'UTC' FROM {experts}, generate_series(0, 6) AS d"
        )
        run(
            f"INSERT INTO plan (id, public_id, expert_id, type, title, price_paise, tax_bps) OVERRIDING SYSTEM VALUE "
            f"SELECT {BASE} + n, ('00000000-0000-7000-8000-' || lpad(({BASE} + n)::text, 12, '0'))::uuid, {EXPERTS} + n, 'CONSULTATION', "
            f"'Strategy session', 500000, 1800 FROM {experts}"
        )
        for org in range(PAIRS + 1):
            run("SELECT set_config('app.org_id', %s, true)", str(BASE + org))
            run(
                "SELECT ledger_post('topup:bench-' || %s, 'TOPUP', %s, ARRAY['CASH|platform|INR', %s], ARRAY['D', 'C'], "
                "ARRAY[%s, %s]::bigint[], '{}', now())",
                str(org),
                BASE + org,
                f"WALLET|org:{BASE + org}|INR",
                FUNDS,
                FUNDS,
            )
    with base.owner(autocommit=True) as c:
        c.execute("VACUUM ANALYZE")
