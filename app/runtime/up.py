"""``python app.py up``: everything Consilium needs, on this machine, under one supervisor."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.cli import local_environment_file
from app.runtime import RuntimeFailure
from app.runtime.datadir import DataDir, local_secrets
from app.runtime.embedded import EmbeddedPostgres, EmbeddedValkey
from app.runtime.provision import web_url_for
from app.runtime.supervisor import Program, StopRequested, Supervisor

REPO = Path(__file__).resolve().parents[2]
SERVER_START_SECONDS = 120  # recovery after a crash may read much
WEB_START_SECONDS = 120
BACKGROUND_START_SECONDS = 300  # pages are served meanwhile: a busy machine is no reason to stop
DEMO_ACCOUNTS = (
    "admin@consilium.test (ADMIN)",
    "staff@consilium.test (STAFF)",
    "owner@acme.test",
    "learner@acme.test",
    "owner@northwind.test",
    "owner@learnpro.test",
    "expert@learnpro.test",
    "maya@consilium.test (three organisations)",
)
DEMO_PASSWORD = "Demo-Pass-2026!"  # noqa: S105 - public, and refused in production


@dataclass(frozen=True)
class Options:
    """What the command line chose."""

    host: str = "127.0.0.1"
    port: int = 8080
    data_dir: Path = REPO / ".data"
    demo: bool = True


def check_port(host: str, port: int, patience: float = 0.0) -> None:
    """See that nobody listens there; after a crash wait *patience* seconds for our own dying children.

    Raises RuntimeFailure when the port is taken or the address is not this machine's.
    """
    deadline = time.monotonic() + patience
    while True:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                return
            except PermissionError:
                raise RuntimeFailure(
                    f"Port {port} needs more rights than this user has; choose one above 1023 with --port."
                ) from None
            except OSError as error:
                if error.errno != 98 and "in use" not in str(error):
                    raise RuntimeFailure(
                        f"The address {host}:{port} cannot be used: {error.strerror or error}."
                    ) from None
        if time.monotonic() >= deadline:
            raise RuntimeFailure(f"Port {port} is in use by another program; choose another with --port.")
        time.sleep(0.1)


def run(options: Options) -> int:
    """Run until told to stop. Returns the exit status: 0 after SIGTERM or Ctrl-C, 1 with one sentence otherwise."""
    data = DataDir(options.data_dir)
    locked = False
    try:
        data.lock()
        locked = True
        check_port(options.host, options.port, 5.0 if data.unclean else 0.0)
        with Supervisor() as supervisor:
            with contextlib.suppress(StopRequested):
                _run(options, data, supervisor)
            supervisor.say("stopping")
        return 0
    except StopRequested:
        return 0
    except RuntimeFailure as error:
        sys.stdout.flush()
        print(f"consilium: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder whose permissions somebody changed
        print(f"consilium: {error.filename or 'system'}: {error.strerror or error}.", file=sys.stderr)
        return 1
    finally:
        if locked:
            _environment_file(data).unlink(missing_ok=True)
            data.release()


def _environment_file(data: DataDir) -> Path:
    return local_environment_file(data.path)


def _run(options: Options, data: DataDir, supervisor: Supervisor) -> None:
    began = time.monotonic()
    production = os.environ.get("APP_ENV") == "production"
    demo = options.demo and not production
    owner_env = start_servers(data, supervisor)
    owner_env.setdefault("DATA_DIR", str(data.path))
    owner_env.setdefault("BASE_URL", f"http://{_visitor_host(options.host)}:{options.port}")
    if not production:
        for name, value in local_secrets(data.path).items():
            owner_env.setdefault(name, value)
    _leave_environment(data, owner_env)

    environment = {**os.environ, **owner_env, "PYTHONUNBUFFERED": "1", "DATA_DIR": str(data.path)}
    environment.setdefault("TZ", "UTC")  # RQ reads cron fields in local time
    app = [sys.executable, str(REPO / "app.py")]
    supervisor.run_once(
        Program("prepare", [*app, "prepare", "--demo" if demo else "--no-demo"], env=environment, cwd=REPO)
    )

    environment.pop("DATABASE_OWNER_URL", None)  # what serves requests must not know the owner's password
    bind = f"[{options.host}]:{options.port}" if ":" in options.host else f"{options.host}:{options.port}"
    web_env = {"WEB_GRACEFUL_TIMEOUT": "8", "WEB_LOG_LEVEL": "warning", **environment, "WEB_BIND": bind}
    host = _visitor_host(options.host)
    ready = False
    # until then /readyz says, at each of our questions, what it is still waiting for
    quiet = lambda line: not ready and " not_ready " in line  # noqa: E731
    supervisor.start(Program("web", [*app, "web"], env=web_env, cwd=REPO, quiet=quiet))
    # importing the application takes seconds of processor: the page first, then the background
    supervisor.wait_for(
        _seldom(lambda: _status(host, options.port, "/healthz") is not None, 0.1),
        WEB_START_SECONDS,
        "The web server",
    )
    supervisor.start(Program("worker", [*app, "worker"], env=environment, cwd=REPO))
    supervisor.start(Program("cron", [*app, "cron"], env=environment, cwd=REPO))
    supervisor.wait_for(
        _seldom(lambda: _ready(host, options.port), 0.5),
        BACKGROUND_START_SECONDS,
        "The worker or the scheduler",
    )
    ready = True
    supervisor.say(f"ready after {time.monotonic() - began:.1f} s: {owner_env['BASE_URL']}")
    if demo:
        supervisor.say(f"demo accounts, password {DEMO_PASSWORD}")
        for account in DEMO_ACCOUNTS:
            supervisor.say(f"  {account}")
    supervisor.say("Ctrl-C stops everything")
    supervisor.run()


def start_servers(data: DataDir, supervisor: Supervisor, durable: bool = True) -> dict[str, str]:
    """Start the embedded servers whose URLs are not set and provision the database.

    Returns DATABASE_URL (the web's role), DATABASE_OWNER_URL and REDIS_URL.
    """
    database_url, owner_url = os.environ.get("DATABASE_URL", ""), os.environ.get("DATABASE_OWNER_URL", "")
    redis_url = os.environ.get("REDIS_URL", "")
    if not redis_url:
        valkey = EmbeddedValkey(data, durable)
        valkey.prepare()
        supervisor.start(valkey.program())
        redis_url = valkey.url()
    if not database_url and not owner_url:
        postgres = EmbeddedPostgres(data, durable)
        if not postgres.cluster.exists():
            supervisor.say("making the database (first start only)")
        postgres.prepare()
        supervisor.start(postgres.program())
        supervisor.wait_for(postgres.ready, SERVER_START_SECONDS, "The embedded PostgreSQL")
        owner_url = postgres.url()
    if not os.environ.get("REDIS_URL"):
        supervisor.wait_for(valkey.ready, SERVER_START_SECONDS, "The embedded Valkey")
    web_url, owner_url = web_url_for(database_url, owner_url, data.path)
    return {"DATABASE_URL": web_url, "DATABASE_OWNER_URL": owner_url, "REDIS_URL": redis_url}


def _leave_environment(data: DataDir, values: dict[str, str]) -> None:
    """Let other commands (``python app.py roles sync``) find the servers while we run."""
    with open(os.open(_environment_file(data), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        json.dump(values, handle)


def _visitor_host(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - a comparison


def _status(host: str, port: int, path: str) -> int | None:
    """Status of a GET, or None where nobody answers."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _seldom(condition: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """*condition*, asked again only after *seconds* (False meanwhile): the loop turns with every line of output."""
    next_time = 0.0

    def ask() -> bool:
        nonlocal next_time
        if time.monotonic() < next_time:
            return False
        next_time = time.monotonic() + seconds
        return condition()

    return ask


def _ready(host: str, port: int) -> bool:
    """Whether /readyz (or, where there is none, /healthz) answers 200."""
    status = _status(host, port, "/readyz")
    return (_status(host, port, "/healthz") if status == 404 else status) == 200
