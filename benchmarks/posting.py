"""bin/bench posting: a booking's posting by ``ledger_post`` against its former versions: a loop over all legs, and sets.

One client, one database, calls in turn; the medians' ratio travels, the microseconds do not.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
import uuid

from benchmarks.checkout_seed import BASE, EXPERTS, PAIRS, seed
from benchmarks.ground import REPO, ground, machine, write

FORMER = {"loop": "ledger.sql", "sets": "ledger_set.sql"}  # how it was, by the file of its migration


def former(name: str) -> str:
    """A former version under another name."""
    text = (REPO / "migrations" / "sql" / FORMER[name]).read_text(encoding="utf-8")
    start = re.search(r"CREATE (OR REPLACE )?FUNCTION ledger_post\(", text)
    assert start is not None
    end = text.index("END $$;", start.start()) + len("END $$;")
    return text[start.start() : end].replace("FUNCTION ledger_post(", f"FUNCTION ledger_post_{name}(", 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_500)
    options = parser.parse_args()
    with ground("posting") as base:
        on = machine(base)
        seed(base)
        took: dict[str, list[float]] = {"ledger_post": [], **{f"ledger_post_{n}": [] for n in FORMER}}
        with base.owner(autocommit=True) as c:
            for name in FORMER:
                c.execute(former(name))  # type: ignore[call-overload]
            c.execute("SET synchronous_commit = off")
            for n in range(options.calls):
                org, expert = BASE + n % PAIRS, EXPERTS + n % PAIRS
                codes = [
                    f"WALLET|org:{org}|INR",
                    "PLATFORM_FEE|platform|INR",
                    f"CONSULTANT_PAYABLE|consultant:{expert}|INR",
                    "GST_PAYABLE|platform|INR",
                ]
                names = list(took)
                for name in names[n % 3 :] + names[: n % 3]:  # nobody is always the first
                    times = took[name]
                    with c.transaction():
                        c.execute("SELECT set_config('app.org_id', %s, true)", (str(org),))
                        began = time.perf_counter()
                        c.execute(
                            f"SELECT {name}(%s, 'BOOKING', %s, %s, ARRAY['D','C','C','C'], "
                            "ARRAY[590000, 100000, 400000, 90000]::bigint[], '{}', now())",
                            (f"booking:{uuid.uuid4()}", org, codes),
                        )
                        times.append((time.perf_counter() - began) * 1e6)
        medians = {name: statistics.median(times[100:]) for name, times in took.items()}
    now = medians["ledger_post"]
    for name, us in medians.items():
        print(f"{name:18} {us:8,.0f} µs {us / now:6.2f}")
    write("posting", {"machine": on, "us": medians})


if __name__ == "__main__":
    main()
