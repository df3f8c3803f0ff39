"""bin/bench books: the reconciler over a million entries, and the credit ledger's page at a million entries.

Entries are written in bulk, as postings of two legs: credits bought, then spent, in one organisation and in a thousand
others. Ratios compare a database of a tenth with the whole: a linear reconciler takes ten times as long, a flat page as
long. Same process, same tables, in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from benchmarks.ground import Ground, ground, machine, write

ORGS, BIG = 1_000, 5_000_000  # inner ids of the organisations start at BIG
PRICE = 100


def seed(base: Ground) -> None:
    """A thousand organisations with wallets and accounts; nothing posted yet."""
    with base.owner() as c:
        c.execute(
            "INSERT INTO organization (id, name, slug, status, gst_state_code, can_sponsor) OVERRIDING SYSTEM VALUE "
            f"SELECT {BIG} + n, 'Books ' || n, 'books-' || n, 'ACTIVE', '29', true FROM generate_series(0, {ORGS}) AS n"
        )
        c.execute(
            "INSERT INTO billing_account (organization_id, funding_source, wallet_balance_paise) "
            f"SELECT {BIG} + n, 'WALLET', 0 FROM generate_series(0, {ORGS}) AS n"
        )
        c.execute(
            "SELECT ledger_open_account(k || '|platform|INR') FROM unnest(ARRAY['CASH', 'PLATFORM_FEE']) AS k"
        )
        c.execute(
            f"SELECT ledger_open_account('WALLET|org:' || {BIG} + n || '|INR') FROM generate_series(0, {ORGS}) AS n"
        )


def grow(base: Ground, first: int, last: int) -> None:
    """Postings *first* to *last*: half of them of organisation 0, the rest spread; balances and caches with them."""
    with base.owner() as c:
        c.execute("SET LOCAL synchronous_commit = off")
        c.execute("ALTER TABLE ledger_entry DISABLE TRIGGER ledger_entry_balanced")
        c.execute(
            "CREATE TEMP TABLE p ON COMMIT DROP AS SELECT n, CASE n %% 2 WHEN 0 THEN 0 ELSE 1 + n %% 1000 END AS org, "
            "CASE n %% 2 WHEN 0 THEN n %% 4 = 0 ELSE (n / 1000) %% 2 = 0 END AS buys FROM generate_series(CAST(%s AS int), CAST(%s AS int)) AS n",
            (first, last),
        )
        c.execute(
            "INSERT INTO ledger_transaction (organization_id, key, kind, legs_hash, details, posted_at, created_at) "
            f"SELECT {BIG} + org, 'books:' || n, CASE WHEN buys THEN 'TOPUP' ELSE 'BOOKING' END, '', "
            "'{\"description\": \"Benchmark\"}', now() - interval '1 day' + n * interval '1 ms', now() FROM p ORDER BY n"
        )
        c.execute(
            "INSERT INTO ledger_entry (transaction_id, account_id, organization_id, side, amount_paise, "
            "balance_after_paise, posted_at) SELECT t.id, a.id, a.organization_id, "
            f"CASE a.kind WHEN 'CASH' THEN 'D' WHEN 'PLATFORM_FEE' THEN 'C' WHEN 'WALLET' THEN CASE WHEN p.buys THEN 'C' ELSE 'D' END END, {PRICE}, "
            "CASE WHEN a.kind = 'WALLET' THEN 0 END, t.posted_at FROM p JOIN ledger_transaction t ON t.key = 'books:' || p.n "
            f"JOIN ledger_account a ON a.code = 'WALLET|org:' || ({BIG} + p.org) || '|INR' "
            "OR a.code = CASE WHEN p.buys THEN 'CASH|platform|INR' ELSE 'PLATFORM_FEE|platform|INR' END ORDER BY p.n"
        )
        c.execute("ALTER TABLE ledger_entry ENABLE TRIGGER ledger_entry_balanced")
        c.execute(
            "UPDATE ledger_balance b SET balance_paise = s.net FROM (SELECT account_id, sum(CASE side WHEN 'D' THEN "
            "amount_paise ELSE -amount_paise END) AS net FROM ledger_entry GROUP BY 1) s WHERE s.account_id = b.account_id"
        )
        c.execute(
            "UPDATE billing_account ba SET wallet_balance_paise = -b.balance_paise FROM ledger_balance b "
            "JOIN ledger_account a ON a.id = b.account_id AND a.kind = 'WALLET' "
            "WHERE a.organization_id = ba.organization_id AND b.balance_paise <= 0"
        )
    with base.owner(autocommit=True) as c:
        c.execute("VACUUM ANALYZE ledger_entry, ledger_transaction, ledger_balance, billing_account")


def measure(base: Ground, rounds: int) -> dict[str, Any]:
    """Seconds of the reconciler and milliseconds of the ledger's pages, medians."""
    from sqlalchemy import text
    from sqlalchemy.orm import Session

    from app import create_app
    from app.security import context
    from app.services import checks, reconcile, wallets
    from config import load

    app = create_app(
        load(
            {},
            app_env="development",
            database_url=base.web_url,
            redis_url=base.redis_url,
            secret_key="benchmark-secret-of-more-than-32-characters",
            data_dir=str(base.folder),
        )
    )
    out: dict[str, Any] = {}
    with app.app_context():
        from app.extensions import db

        context._current.set(context.Ctx(scope="job"))
        took, slowest = [], {}
        for _ in range(max(1, rounds // 3)):
            with Session(db.engine) as session:
                began = time.perf_counter()
                found = reconcile.run(session)
                took.append(time.perf_counter() - began)
                assert found.ok, found.findings[:5]
                out["entries"] = found.checked["entries"]
                session.rollback()
        with Session(db.engine) as session:
            session.execute(
                text(
                    "SELECT set_config('enable_nestloop', 'off', true), set_config('statement_timeout', '900s', true)"
                )
            )
            for check in checks.every():
                began = time.perf_counter()
                session.execute(
                    text(f"SELECT count(*) FROM ({check.sql}) f WHERE expected IS DISTINCT FROM actual")
                )
                slowest[check.kind] = round(time.perf_counter() - began, 3)
        out["reconcile_s"] = statistics.median(took)
        out["slowest"] = sorted(slowest.items(), key=lambda kv: -kv[1])[:4]
        context._current.set(context.Ctx(org_id=BIG))
        for name, page in (("first page", 1), ("page 40", 40)):
            times = []
            for _ in range(rounds):
                with Session(db.engine) as session:
                    began = time.perf_counter()
                    rows, _ = wallets.entries(session, page=page, per_page=25)
                    times.append(time.perf_counter() - began)
                    assert len(rows) == 25
            out[name] = statistics.median(times) * 1000
        for name, chosen in (("of one kind", wallets.Filter(kind="BOOKING")),):
            times = []
            for _ in range(rounds):
                with Session(db.engine) as session:
                    began = time.perf_counter()
                    wallets.entries(session, page=1, per_page=25, chosen=chosen)
                    times.append(time.perf_counter() - began)
            out[name] = statistics.median(times) * 1000
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    postings = options.entries // 2
    with ground("books") as base:
        on = machine(base)
        seed(base)
        grow(base, 0, postings // 10 - 1)
        small = measure(base, options.rounds)
        grow(base, postings // 10, postings - 1)
        big = measure(base, options.rounds)
    print(f"\n{'':24} {small['entries']:>12,} {big['entries']:>12,} {'ratio':>8}")
    names = ("reconcile_s", "first page", "page 40", "of one kind")
    for name in names:
        print(f"{name:24} {small[name]:12.2f} {big[name]:12.2f} {big[name] / small[name]:8.2f}")
    print("slowest checks, s:", ", ".join(f"{k} {v}" for k, v in big["slowest"]))
    write(
        "books", {"machine": on, "small": small, "big": big, "ratios": {n: big[n] / small[n] for n in names}}
    )


if __name__ == "__main__":
    main()
