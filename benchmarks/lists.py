"""A list page of a million rows against one of a thousand: bin/bench lists [--rows 1000000] [--requests 40].

Two organisations in one table; the same owner opens the same generated list of each, in turn. Prints the ratio of the
medians and the number of statements, which must not depend on the rows.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from typing import Any

from benchmarks import ground as g

SMALL, BIG, PERSON = 1_000_001, 1_000_002, 1_000_000
TOKEN = "bench-lists"
PAGES = {
    "first page": "/dashboard/organization/{slug}/appointments/",
    "page 40 of it": "/dashboard/organization/{slug}/appointments/?page=40",
    "filtered by status": "/dashboard/organization/{slug}/appointments/?_flt_0_status=CONFIRMED",
    "rest, first page": "/api/v1/appointments/?limit=25",
}


def seed(base: g.Ground, rows: int) -> None:
    """One owner of two organisations, *rows* appointments in the big one and a thousand in the small one."""
    with base.owner() as c:
        c.execute(
            "INSERT INTO ab_user (id, first_name, last_name, username, email, password, active, onboarding_completed, session_generation)"
            f" VALUES ({PERSON}, 'Olga', 'Owner', 'o@bench.test', 'o@bench.test', 'x', true, true, 0)"
        )
        c.execute(
            "INSERT INTO user_session (key_hash, user_id, method, generation, created_at, last_seen_at, expires_at)"
            " VALUES (%s, %s, 'bearer', 0, now(), now(), now() + interval '30 days')",
            [hashlib.sha256(TOKEN.encode()).hexdigest(), PERSON],
        )
        c.execute(
            f"INSERT INTO consultant_profile (id, user_id) OVERRIDING SYSTEM VALUE VALUES ({PERSON}, {PERSON})"
        )
        c.execute(
            f"INSERT INTO plan (id, expert_id, title, price_paise) OVERRIDING SYSTEM VALUE VALUES ({PERSON}, {PERSON}, 'Session', 100)"
        )
        for org, slug, count in ((SMALL, "small", 1000), (BIG, "big", rows)):
            c.execute(
                "INSERT INTO organization (id, name, slug, status, gst_state_code) OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, 'ACTIVE', '29')",
                [org, slug.title(), slug],
            )
            c.execute(
                "INSERT INTO billing_account (organization_id, funding_source, wallet_balance_paise) VALUES (%s, 'WALLET', 0)",
                [org],
            )
            c.execute(
                "INSERT INTO membership (organization_id, user_id, role, status) VALUES (%s, %s, 'OWNER', 'ACTIVE')",
                [org, PERSON],
            )
            c.execute(
                "INSERT INTO appointment (organization_id, plan_id, expert_id, expert_user_id, learner_user_id, status, title, starts_at, ends_at)"
                f" SELECT %s, {PERSON}, {PERSON}, {PERSON}, {PERSON}, (ARRAY['CONFIRMED', 'COMPLETED', 'CANCELLED'])[1 + n %% 3],"
                " 'Session ' || n, now() - n * interval '10 minutes', now() - n * interval '10 minutes' + interval '5 minutes'"
                " FROM generate_series(1, %s) AS n",
                [org, count],
            )
    with base.owner(autocommit=True) as c:
        c.execute("VACUUM ANALYZE")


def measure(base: g.Ground, requests: int) -> dict[str, Any]:
    """Median milliseconds and statements of every page, small and big in turn."""
    from sqlalchemy import event

    from app import create_app
    from app.extensions import db
    from config import load

    app = create_app(load(base.environment()))
    statements: list[str] = []
    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    client = app.test_client()
    out: dict[str, Any] = {}
    for label, path in PAGES.items():
        times: dict[str, list[float]] = {"small": [], "big": []}
        counts: dict[str, set[int]] = {"small": set(), "big": set()}
        for n in range(requests + 3):
            for slug in times:
                statements.clear()
                started = time.perf_counter()
                answer = client.get(
                    path.format(slug=slug),
                    headers={"Authorization": f"Bearer {TOKEN}", "X-Organization": slug},
                )
                taken = (time.perf_counter() - started) * 1000
                if answer.status_code != 200:
                    raise SystemExit(f"{path} answered {answer.status_code}: {answer.data[:500]!r}")
                if n >= 3:
                    times[slug].append(taken)
                    counts[slug].add(len(statements))
        median = {slug: statistics.median(values) for slug, values in times.items()}
        out[label] = {
            "small_ms": round(median["small"], 1),
            "big_ms": round(median["big"], 1),
            "ratio": round(median["big"] / median["small"], 2),
            "statements_small": sorted(counts["small"]),
            "statements_big": sorted(counts["big"]),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="bin/bench lists", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=40)
    options = parser.parse_args()
    with g.ground("lists") as base:
        about = g.machine(base)
        print(f"seeding {options.rows} rows", flush=True)
        seed(base, options.rows)
        pages = measure(base, options.requests)
    for label, row in pages.items():
        print(
            f"{label:20} {row['small_ms']:7.1f} ms   {row['big_ms']:7.1f} ms   x {row['ratio']:.2f}   statements "
            f"{row['statements_small']} and {row['statements_big']}"
        )
    path = g.write("lists", {"machine": about, "rows": options.rows, "pages": pages})
    print(f"written to {path.relative_to(g.REPO)}")


if __name__ == "__main__":
    main()
