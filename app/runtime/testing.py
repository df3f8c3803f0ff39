"""``bin/test``: private servers in a temporary folder, pytest against them, everything gone afterwards.

python -m app.runtime.testing [--browser] [pytest arguments]
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from app.runtime import RuntimeFailure
from app.runtime.datadir import DataDir
from app.runtime.embedded import EmbeddedPostgres, EmbeddedValkey
from app.runtime.supervisor import Program, StopRequested, Supervisor

REPO = Path(__file__).resolve().parents[2]
# settings of whoever calls must not steer the tests
FOREIGN = (
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "REDIS_URL",
    "DATA_DIR",
    "BASE_URL",
    "APP_ENV",
    "SECRET_KEY",
    "STORAGE_URL",
    "MAIL_URL",
    "GATEWAY",
    "PORT",
)


def pytest_command(arguments: list[str]) -> list[str]:
    """The pytest command line for bin/test's *arguments*; what is given there wins over the defaults."""
    browser = "--browser" in arguments
    rest = [a for a in arguments if a != "--browser"]
    command = [sys.executable, "-m", "pytest"]
    if not any(a.startswith(("-n", "--numprocesses")) or a == "--pdb" for a in rest):
        command += ["-n", "2", "--dist", "loadfile"]
    if not browser and not any(a == "-m" or a.startswith("-m=") for a in rest):
        command += ["-m", "not browser"]
    return command + rest


def main(arguments: list[str]) -> int:
    """Run the tests; returns pytest's exit status (130 after Ctrl-C)."""
    environment = {k: v for k, v in os.environ.items() if k not in FOREIGN}
    folder = Path(tempfile.mkdtemp(prefix="consilium-test-"))
    data = DataDir(folder)
    try:
        with Supervisor() as supervisor:
            try:
                data.create()
                valkey = EmbeddedValkey(data, durable=False)
                if not environment.get("TEST_REDIS_URL"):
                    valkey.prepare()
                    supervisor.start(valkey.program())
                    environment["TEST_REDIS_URL"] = valkey.url()
                if not environment.get("TEST_OWNER_DATABASE_URL"):
                    postgres = EmbeddedPostgres(data, durable=False)
                    postgres.prepare()
                    supervisor.start(postgres.program())
                    supervisor.wait_for(postgres.ready, 60, "The embedded PostgreSQL")
                    environment["TEST_OWNER_DATABASE_URL"] = postgres.url("postgres")
                if "valkey" in supervisor.children:
                    supervisor.wait_for(valkey.ready, 60, "The embedded Valkey")
                tests = Program(
                    "pytest",
                    pytest_command(arguments),
                    env=environment,
                    cwd=REPO,
                    own_group=False,
                    pipe=False,
                )
                return supervisor.run_once(tests, check=False)
            except StopRequested:
                return 130
    except RuntimeFailure as error:
        print(f"consilium: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
