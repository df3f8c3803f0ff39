"""People pages of 50,000 members against 500: bin/bench people [--members 50000] [--requests 30].

Two organisations in one database; the same owner opens the same pages of each, in turn, over the real application.
Prints the ratio of the medians and the number of statements, which must not depend on the members.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from typing import Any

from benchmarks import ground as g

SMALL, BIG, PERSON = 1_000_001, 1_000_002, 1_000_000
FEW = 500
TOKEN = "bench-people"
ROSTER, REST = "/dashboard/organization/{slug}/members/", "/api/organizations/{slug}/members"
PAGES = {
    "roster": ROSTER,
    "roster, newest page 5": ROSTER + "?page=4",
    "roster, name, rare": ROSTER + "?q=rare{slug}",
    "roster, name, common": ROSTER + "?q=asha",
    "roster, e-mail, rare": ROSTER + "?q=m77.{slug}@",
    "roster, nobody": ROSTER + "?q=zzqx",
    "REST": REST,
    "REST, name, rare": REST + "?q=rare{slug}",
    "REST, name, common": REST + "?q=asha",
    "REST, e-mail, rare": REST + "?q=m77.{slug}@",
    "REST, e-mail, common": REST + "?q=m1",
    "REST, nobody": REST + "?q=zzqx",
    "learners": "/dashboard/organization/{slug}/learners/",
    "learners, name, common": "/dashboard/organization/{slug}/learners/?q=asha",
    "directory": "/dashboard/organization/{slug}/directory/",
    "directory, name, common": "/dashboard/organization/{slug}/directory/?q=asha",
    "home": "/dashboard/organization/{slug}/home/",
}


def seed(base: g.Ground, many: int) -> None:
    """One owner of two organisations: *many* members in the big one and FEW in the small one, nobody in both but the owner.

    Of each: one in ten is called Asha, one is called Rare<slug>, nine in ten are learners, in 20 departments.
    """
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
        first = PERSON
        for org, slug, count in ((SMALL, "small", FEW), (BIG, "big", many)):
            c.execute(
                "INSERT INTO organization (id, name, slug, status, gst_state_code, can_sponsor, can_host) OVERRIDING SYSTEM VALUE"
                " VALUES (%s, %s, %s, 'ACTIVE', '29', true, true)",
                [org, slug.title(), slug],
            )
            c.execute(
                "INSERT INTO billing_account (organization_id, funding_source, wallet_balance_paise) VALUES (%s, 'WALLET', 0)",
                [org],
            )
            c.execute(
                "INSERT INTO ab_user (id, first_name, last_name, username, email, password, active, onboarding_completed, session_generation)"
                " SELECT %s + n, CASE WHEN n = 100 THEN 'Rare' || %s WHEN n %% 10 = 0 THEN 'Asha'"
                " ELSE (ARRAY['Meera', 'Ravi', 'Kiran', 'Vikram', 'Leela', 'Nikhil', 'Divya'])[1 + n %% 7] END,"
                " (ARRAY['Rao', 'Iyer', 'Khan', 'Das', 'Shah', 'Menon', 'Nair', 'Bose', 'Gill', 'Sen', 'Jain'])[1 + n %% 11]"
                " || 'a' || n %% 500, 'm' || n || '.' || %s || '@bench.test', 'm' || n || '.' || %s || '@bench.test', 'x', true, true, 0"
                " FROM generate_series(1, %s) AS n",
                [first, slug, slug, slug, count - 1],
            )
            c.execute(
                "INSERT INTO membership (organization_id, user_id, role, status, created_at, joined_at)"
                " VALUES (%s, %s, 'OWNER', 'ACTIVE', now(), now())",
                [org, PERSON],
            )
            c.execute(
                "INSERT INTO membership (organization_id, user_id, role, status, department_label, seat_assigned_at, created_at, joined_at)"
                " SELECT %s, %s + n, CASE WHEN n %% 10 < 9 THEN 'LEARNER' ELSE 'EXPERT' END, 'ACTIVE', 'Department ' || n %% 20,"
                " CASE WHEN n %% 10 < 9 THEN now() END, now() - n * interval '1 minute', now() - n * interval '1 minute'"
                " FROM generate_series(1, %s) AS n",
                [org, first, count - 1],
            )
            first += count
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
    parser = argparse.ArgumentParser(prog="bin/bench people", description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=50_000)
    parser.add_argument("--requests", type=int, default=30)
    options = parser.parse_args()
    with g.ground("people") as base:
        about = g.machine(base)
        print(f"seeding {options.members} members", flush=True)
        seed(base, options.members)
        pages = measure(base, options.requests)
    for label, row in pages.items():
        print(
            f"{label:24} {row['small_ms']:7.1f} ms   {row['big_ms']:7.1f} ms   x {row['ratio']:.2f}   statements "
            f"{row['statements_small']} and {row['statements_big']}"
        )
    path = g.write("people", {"machine": about, "members": [FEW, options.members], "pages": pages})
    print(f"written to {path.relative_to(g.REPO)}")


if __name__ == "__main__":
    main()
