"""What metering adds to a checkout: bin/bench metering [--requests 3000].

One client, the real application in this process. Every other booking is written without what metering writes: the
assignment's counters and their guard, the booking's utilization, the usage ledger. Both read the same, since which
program covers a booking must be known anyhow; the arithmetic is timed by itself and counts as metering's.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

from benchmarks import ground as g
from benchmarks.checkout_seed import PAIRS, plan_id, seed, token

WARM = 200
METERS = ("others", "counted", "utilization", "usage")  # parts of WRITE


def unmetered(statement: str) -> str:
    """WRITE without the parts that meter; the appointment hangs on the calendars' turn instead."""
    for part in METERS:
        statement, found = re.subn(rf"\b{part} AS \(\n.*?\n\), ", "", statement, flags=re.DOTALL)
        assert found == 1, part
    statement, found = re.subn(
        r"(used AS \(\n).*?\n\)", r"\1  SELECT 1 FROM turn WHERE turn.n = 2\n)", statement, flags=re.DOTALL
    )
    assert found == 1
    return statement


def measure(base: g.Ground, requests: int, first: dt.datetime) -> dict[str, list[float]]:
    """Microseconds of each booking, metered and not, and of the arithmetic of each metered one."""
    from app import create_app
    from app.services import checkout, metering, sponsored
    from app.services import checkout_sql as sql
    from app.services.statement import Statement
    from config import load

    app = create_app(load(base.environment()))
    bare = {
        key: Statement(unmetered(sql.write(beyond=key[0], first=key[1]).replace("){beyond}, ", "), ")))
        for key in checkout._WRITES
    }
    whole = dict(checkout._WRITES)
    sums: list[float] = []
    decide: Callable[..., Any] = sponsored.metering.decide

    def timed(*args: Any, **kw: Any) -> Any:
        began = time.perf_counter()
        try:
            return decide(*args, **kw)
        finally:
            sums.append((time.perf_counter() - began) * 1e6)

    metering.decide = timed
    took: dict[str, list[float]] = {"metered": [], "bare": []}
    client = app.test_client()
    for n in range(WARM + requests):
        # pairs of bookings for the same learner and expert; which of the two is metered changes from pair to pair
        turn, pair = divmod(n, 2)[0], n // 2 % PAIRS
        name = "metered" if (n + turn) % 2 else "bare"
        checkout._WRITES.update(whole if name == "metered" else bare)
        at = first + dt.timedelta(hours=n // 2 // PAIRS * 2 + n % 2)
        began = time.perf_counter()
        answer = client.post(
            "/api/checkout",
            json={"plan_id": plan_id(pair), "starts_at": at.isoformat(), "organization_id": f"bench-{pair}"},
            headers={"Authorization": f"Bearer {token('many', pair)}", "Idempotency-Key": uuid.uuid4().hex},
        )
        spent = (time.perf_counter() - began) * 1e6
        if answer.status_code != 201:
            raise SystemExit(f"A booking was refused: {answer.json}")
        if n >= WARM:
            took[name].append(spent)
    return {**took, "arithmetic": sums}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000)
    options = parser.parse_args()
    with g.ground("metering") as base:
        about = g.machine(base)
        seed(base)
        start = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        took = measure(base, options.requests, start + dt.timedelta(days=2))
        with base.owner() as c:
            counted = c.execute(
                "SELECT sum(engagements_used), count(*) FILTER (WHERE engagements_used > 0) FROM assignment"
            )
            rows = counted.fetchone()
            usage = c.execute("SELECT count(*) FROM usage_ledger_entry").fetchone()
    expected = len(took["metered"]) + WARM // 2
    if rows is None or usage is None or int(rows[0]) != expected or usage[0] != expected:
        raise SystemExit(
            f"Metered {rows} {usage}, expected {expected}: the two sides were not what they claim"
        )
    median = {name: statistics.median(values) for name, values in took.items()}
    result = {
        "machine": about,
        "bookings": {name: len(values) for name, values in took.items()},
        "median_us": {name: round(value, 1) for name, value in median.items()},
        "mean_us": {name: round(statistics.fmean(values), 1) for name, values in took.items()},
        "metered_of_bare": round(median["metered"] / (median["bare"] - median["arithmetic"]), 3),
    }
    print(
        f"metered/bare {result['metered_of_bare']}   medians, µs: {result['median_us']}   means: {result['mean_us']}"
    )
    print(f"written to {g.write('metering', result).relative_to(g.REPO)}")


if __name__ == "__main__":
    main()
