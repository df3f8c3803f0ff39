"""How long an application takes to stand, and what a process of it weighs: ``bin/bench startup``.

Each figure is the median of five fresh interpreters; the baseline of the ratio is ``import flask_appbuilder`` alone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from benchmarks.ground import REPO, RESULTS

RUNS = 5
SNIPPET = """
import json, resource, time
begun = time.perf_counter()
import flask_appbuilder
base = time.perf_counter() - begun
from app import create_app
from config import load
settings = load({}, app_env="test", database_url="postgresql://nobody@127.0.0.1:1/none", secret_key="x" * 40)
create_app(settings)
first = time.perf_counter() - begun - base
begun = time.perf_counter()
create_app(settings)
again = time.perf_counter() - begun
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"import_fab_s": base, "import_and_first_create_app_s": first, "create_app_s": again,
                  "memory_mib": memory}))
"""


def main() -> None:
    """Measure, print, keep."""
    runs = []
    for number in range(RUNS):
        done = subprocess.run(
            [sys.executable, "-c", SNIPPET], cwd=REPO, capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"run {number + 1} of {RUNS}: {runs[-1]['create_app_s']:.2f} s", flush=True)
    medians = {name: round(statistics.median(r[name] for r in runs), 2) for name in runs[0]}
    medians["create_app_of_import_fab"] = round(medians["create_app_s"] / medians["import_fab_s"], 2)
    for name, value in medians.items():
        print(f"{name:32} {value}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "startup.json").write_text(json.dumps(medians, indent=1) + "\n")


if __name__ == "__main__":
    main()
