"""Roll-ups and documents: bin/bench invoices [--payments 100000] [--organizations 5000].

* a quarter, a half and all of --payments into one organisation's invoice: milliseconds a thousand, and how much memory the
  process grew; beside it a plain SQL aggregation of the same legs on the same server;
* --payments into the invoices of --organizations, by the monthly job;
* an invoice's PDF of 1, 50 and 1,000 lines: time and size.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

from benchmarks import ground as g

PERSON, FIRST = 4_000_000, 4_000_000


def _org(c: Any, org: int) -> None:
    prefix = "B" + _base36(org - FIRST).rjust(4, "0")
    c.execute(
        "INSERT INTO organization (id, name, slug, status, gst_state_code, invoice_number_prefix) OVERRIDING SYSTEM VALUE "
        "VALUES (%s, %s, %s, 'ACTIVE', '27', %s)",
        [org, f"Bench {org}", f"bench-{org}", prefix],
    )
    c.execute(
        "INSERT INTO billing_account (id, organization_id, funding_source) OVERRIDING SYSTEM VALUE VALUES (%s, %s, 'INVOICE')",
        [org, org],
    )


def _base36(n: int) -> str:
    digits = ""
    while True:
        n, rest = divmod(n, 36)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest] + digits
        if not n:
            return digits


def seed(base: g.Ground, parts: list[tuple[int, int]]) -> None:
    """(organisation, payments) each: succeeded, accrued, not invoiced."""
    with base.owner(autocommit=True) as c:
        c.execute(
            "INSERT INTO ab_user (id, first_name, last_name, username, email, password, active, onboarding_completed, session_generation)"
            f" VALUES ({PERSON}, 'Olga', 'Owner', 'o@bench.test', 'o@bench.test', 'x', true, true, 0)"
        )
        c.execute(
            "INSERT INTO consultant_profile (id, user_id, verification_status) OVERRIDING SYSTEM VALUE "
            f"VALUES ({PERSON}, {PERSON}, 'VERIFIED')"
        )
        c.execute(
            "INSERT INTO plan (id, expert_id, title, price_paise) OVERRIDING SYSTEM VALUE "
            f"VALUES ({PERSON}, {PERSON}, 'Strategy session', 500000)"
        )
        for org, _ in parts:
            _org(c, org)
        for org, payments in parts:
            c.execute(
                "INSERT INTO payment (organization_id, user_id, billing_account_id, plan_id, status, method, description, "
                "price_paise, tax_paise, tax_bps, amount_paise, captured_at, snapshot) SELECT %s, %s, %s, %s, 'SUCCEEDED', "
                "'INVOICE', 'Strategy session', 200000 + n, 0, 1800, 200000 + n, now(), "
                '\'{"learner": "Nikhil Pawar", "expert": "Asha Rao", "sac": "999293"}\' FROM generate_series(1, %s) n',
                [org, PERSON, org, PERSON, payments],
            )
        c.execute(
            "INSERT INTO payment_leg (organization_id, payment_id, source, amount_paise) "
            "SELECT organization_id, id, 'INVOICE_ACCRUAL', amount_paise FROM payment"
        )
        c.execute("ANALYZE")


def _aggregation(base: g.Ground, org: int) -> float:
    """Seconds of the plain question: what do these bookings add up to, with tax."""
    with base.owner() as c:
        started = time.perf_counter()
        c.execute(
            "SELECT count(*), sum(net), sum((net * 1800 + 5000) / 10000) FROM (SELECT p.id, sum(l.amount_paise)::bigint AS net "
            "FROM payment p JOIN payment_leg l ON l.payment_id = p.id WHERE p.organization_id = %s AND p.status = 'SUCCEEDED' "
            "GROUP BY p.id) b",
            [org],
        ).fetchone()
        return time.perf_counter() - started


def _rss() -> int:
    """The most memory this process ever held, kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def roll_ups(base: g.Ground, sizes: list[int], many: int, organizations: int) -> dict[str, Any]:
    """Seconds and memory growth of each roll-up."""
    from app import create_app
    from app.extensions import db
    from app.security import context
    from app.services import invoice_facts, invoice_rollup, tax_statements
    from config import load

    settings = load(base.environment())
    app, one = create_app(settings), []
    by = invoice_facts.supplier(settings)
    with app.app_context():
        session = db.session()
        for n, size in enumerate(sizes):
            org = FIRST + n
            plain = min(_aggregation(base, org) for _ in range(3))
            context.use(session, context.Ctx(org_id=org, user_id=PERSON, role="OWNER"))
            before, started = _rss(), time.perf_counter()
            rows = invoice_rollup.roll_up(session, by)
            session.commit()
            took = time.perf_counter() - started
            assert rows[0].line_count == size
            one.append(
                {
                    "payments": size,
                    "seconds": round(took, 2),
                    "ms_per_thousand": round(took / size * 1e6, 1),
                    "aggregation_seconds": round(plain, 3),
                    "memory_kb": _rss() - before,
                }
            )
            session.rollback()
            session.expunge_all()
        context._current.set(context.Ctx(scope="job"))
        wanted = list(range(FIRST + len(sizes), FIRST + len(sizes) + organizations))
        before, started = _rss(), time.perf_counter()
        done = invoice_rollup.monthly(session, by, tax_statements.write, only=wanted)
        took = time.perf_counter() - started
        assert done["invoices"] == organizations and not done["failed"], done
    each = {
        "organizations": organizations,
        "payments": many,
        "seconds": round(took, 1),
        "ms_per_invoice": round(took / organizations * 1000, 1),
        "ms_per_thousand": round(took / many * 1e6, 1),
        "memory_kb": _rss() - before,
    }
    return {"one_organisation": one, "many_organisations": each}


def documents() -> list[dict[str, Any]]:
    """Seconds and bytes of a PDF by its lines, the best of three."""
    from app.documents.tax_document import Document, Line, Party, render

    out = []
    for n in (1, 50, 1000):
        line = Line(
            "Strategy session",
            "Nikhil Pawar, with Asha Rao",
            "999293",
            1,
            200_000,
            0,
            200_000,
            1800,
            (18_000, 18_000, 0),
            236_000,
        )
        doc = Document(
            "Tax invoice",
            "BENCH-2026-0001",
            "Original for recipient",
            Party(
                "From", "Consilium Experts Private Limited", ("14 Residency Road", "GSTIN 29AAZCE4321Q1ZO")
            ),
            Party("Billed to", "Bench Private Limited", ("1 MG Road", "Pune 411001")),
            (("Date", "26 Nov 2026"), ("Due", "26 Dec 2026")),
            [line] * n,
            True,
            "SGST",
            200_000 * n,
            (18_000 * n, 18_000 * n, 0),
            0,
            236_000 * n,
            "Total",
            "Rupees",
        )
        best, size, pages = 9.0, 0, 0
        for _ in range(3):
            started = time.perf_counter()
            data, pages = render(doc)
            best, size = min(best, time.perf_counter() - started), len(data)
        out.append(
            {"lines": n, "pages": pages, "seconds": round(best, 3), "kilobytes": round(size / 1024, 1)}
        )
    return out


def main() -> None:
    """Run and print; the figures go to benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, default=100_000)
    parser.add_argument("--organizations", type=int, default=5_000)
    wanted = parser.parse_args()
    sizes = [wanted.payments // 4, wanted.payments // 2, wanted.payments]
    each = wanted.payments // wanted.organizations
    with g.ground("invoices") as base:
        parts = [(FIRST + n, size) for n, size in enumerate(sizes)]
        parts += [(FIRST + len(sizes) + n, each) for n in range(wanted.organizations)]
        seed(base, parts)
        found = roll_ups(base, sizes, each * wanted.organizations, wanted.organizations)
    found["documents"] = documents()
    for row in found["one_organisation"]:
        print("one organisation:", row)
    print("many organisations:", found["many_organisations"])
    for row in found["documents"]:
        print("document:", row)
    g.write("invoices", found)


if __name__ == "__main__":
    main()
