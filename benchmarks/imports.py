"""A large file of people against a small one: bin/bench imports [--rows 10000].

The check and the background work of imports of a tenth, a quarter and all of --rows, each in an organisation of its own.
Prints the time a row against the smallest file's: linear work stays near 1.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks import ground as g

PERSON = 3_000_000


def seed(base: g.Ground, organizations: int) -> None:
    """One owner of several verified organisations without a limit of seats."""
    with base.owner(autocommit=True) as c:
        c.execute(
            "INSERT INTO ab_user (id, first_name, last_name, username, email, password, active, onboarding_completed, session_generation)"
            f" VALUES ({PERSON}, 'Olga', 'Owner', 'o@bench.test', 'o@bench.test', 'x', true, true, 0)"
        )
        for n in range(organizations):
            org = PERSON + n
            c.execute(
                "INSERT INTO organization (id, name, slug, status, gst_state_code) OVERRIDING SYSTEM VALUE"
                " VALUES (%s, %s, %s, 'ACTIVE', '29')",
                [org, f"Bench {n}", f"bench-{n}"],
            )
            c.execute(
                "INSERT INTO domain_claim (organization_id, domain, verification_token, claimed_at, verified_at)"
                " VALUES (%s, %s, 'x', now(), now())",
                [org, f"bench{n}.test"],
            )
            c.execute(
                "INSERT INTO membership (organization_id, user_id, role, status, created_at, joined_at)"
                " VALUES (%s, %s, 'OWNER', 'ACTIVE', now(), now())",
                [org, PERSON],
            )


def measure(base: g.Ground, sizes: list[int]) -> list[dict[str, Any]]:
    """Milliseconds a row of checking and of sending, by size."""
    from sqlalchemy import select

    from app import create_app
    from app.extensions import db
    from app.models import ImportBatch, Membership
    from app.security import context
    from app.services import imports
    from config import load

    app, out = create_app(load(base.environment())), []
    with app.app_context():
        session = db.session()
        for n, rows in enumerate(sizes):
            org = PERSON + n
            context.use(session, context.Ctx(org_id=org, user_id=PERSON, role="OWNER"))
            member = session.scalars(select(Membership)).one()
            context.use(
                session, context.Ctx(org_id=org, user_id=PERSON, role="OWNER", membership_id=member.id)
            )
            lines = [
                imports.Line(f"p{i}@bench{n}.test", f"Person {i}", f"Team {i % 20}") for i in range(rows)
            ]
            started = time.perf_counter()
            batch = imports.check(session, lines, "people.csv")
            imports.confirm(session, batch)
            session.commit()
            checked = time.perf_counter() - started
            public_id, batch_id = batch.public_id, batch.id
            context.use(session, context.Ctx(scope="job"))
            started = time.perf_counter()
            imports.work(session, public_id)
            sent = time.perf_counter() - started
            context.use(session, context.Ctx(scope="job"))
            session.expire_all()
            done = session.get_one(ImportBatch, batch_id)
            if done.sent != rows:
                raise SystemExit(f"{done.sent} of {rows} were sent")
            session.commit()
            out.append(
                {
                    "rows": rows,
                    "check_ms_a_row": round(1000 * checked / rows, 3),
                    "send_ms_a_row": round(1000 * sent / rows, 3),
                }
            )
    for row in out:
        row["check_ratio"] = round(row["check_ms_a_row"] / out[0]["check_ms_a_row"], 2)
        row["send_ratio"] = round(row["send_ms_a_row"] / out[0]["send_ms_a_row"], 2)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="bin/bench imports", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    rows = parser.parse_args().rows
    sizes = [rows // 10, rows // 4, rows]
    with g.ground("imports") as base:
        about = g.machine(base)
        seed(base, len(sizes))
        found = measure(base, sizes)
    for row in found:
        print(
            f"{row['rows']:6} rows: check {row['check_ms_a_row']:.2f} ms a row (x {row['check_ratio']:.2f}), "
            f"send {row['send_ms_a_row']:.2f} ms a row (x {row['send_ratio']:.2f})"
        )
    path = g.write("imports", {"machine": about, "sizes": found})
    print(f"written to {path.relative_to(g.REPO)}")


if __name__ == "__main__":
    main()
