"""What every benchmark stands on: a server, a database of its own, the application as a real process."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

REPO = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Ground:
    """Where a benchmark runs: owner's and web role's URLs of a fresh, migrated database, and Redis."""

    owner_url: str
    web_url: str
    redis_url: str
    folder: Path

    def owner(self, **kw: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(plain(self.owner_url), **kw)

    def environment(self, **extra: str) -> dict[str, str]:
        """Settings of the application's process: production's defaults, no test endpoints."""
        kept = {
            k: v
            for k, v in os.environ.items()
            if k in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH")
        }
        return {
            **kept,
            "APP_ENV": "development",
            "DATABASE_URL": self.web_url,
            "REDIS_URL": self.redis_url,
            "SECRET_KEY": "benchmark-secret-of-more-than-32-characters",
            "DATA_DIR": str(self.folder),
            "RATE_LIMITS": "false",
            **extra,
        }


def plain(url: str) -> str:
    """A SQLAlchemy URL as libpq reads it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def ground(name: str) -> Iterator[Ground]:
    """A database called consilium_bench_<name>_<pid>, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"consilium-bench-{name}-"))
    try:
        with _servers(folder) as (admin, redis_url):
            yield from _database(name, admin, redis_url, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[str, str]]:
    admin, redis_url = os.environ.get("TEST_OWNER_DATABASE_URL"), os.environ.get("TEST_REDIS_URL")
    if admin and redis_url:
        yield admin, redis_url
        import redis

        redis.Redis.from_url(redis_url).flushdb()  # a test server by its name; the tests empty it likewise
        return
    from app.runtime.datadir import DataDir
    from app.runtime.embedded import EmbeddedPostgres, EmbeddedValkey
    from app.runtime.supervisor import Supervisor

    data = DataDir(folder / "servers")
    with Supervisor() as supervisor:
        data.create()
        if not redis_url:
            valkey = EmbeddedValkey(data, durable=False)
            valkey.prepare()
            supervisor.start(valkey.program())
            supervisor.wait_for(valkey.ready, 60, "The embedded Valkey")
            redis_url = valkey.url()
        if not admin:
            postgres = EmbeddedPostgres(data, durable=True)
            postgres.prepare()
            supervisor.start(postgres.program())
            supervisor.wait_for(postgres.ready, 60, "The embedded PostgreSQL")
            admin = postgres.url("postgres")
        yield admin, redis_url


def _database(name: str, admin: str, redis_url: str, folder: Path) -> Iterator[Ground]:
    from alembic import command

    from app.cli.database import alembic_config
    from app.runtime.provision import provision
    from config import normalise_database_url

    url = make_url(normalise_database_url(admin))
    database = f"consilium_bench_{name}_{os.getpid()}"
    with psycopg.connect(plain(url.render_as_string(hide_password=False)), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {database}")
    owner_url = url.set(database=database).render_as_string(hide_password=False)
    try:
        web_url = provision(owner_url, folder)
        command.upgrade(alembic_config(owner_url), "head")
        yield Ground(owner_url, web_url, redis_url, folder)
    finally:
        with psycopg.connect(plain(url.render_as_string(hide_password=False)), autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
            server.execute(f"DROP ROLE IF EXISTS consilium_app_{database}")


@contextmanager
def web(base: Ground, *, workers: int = 2, threads: int = 4) -> Iterator[int]:
    """gunicorn with the real application; yields its port. Its log goes to web.log of the benchmark's folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (base.folder / "web.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", str(REPO / "gunicorn.conf.py"), "app:create_app()"],
        cwd=REPO,
        stdout=log,
        stderr=log,
        env=base.environment(
            WEB_BIND=f"127.0.0.1:{port}",
            WEB_WORKERS=str(workers),
            WEB_THREADS=str(threads),
            WEB_MAX_REQUESTS="0",
            DATABASE_POOL_SIZE=str(threads),
        ),
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(
                        "The web server did not start:\n" + (base.folder / "web.log").read_text()[-3000:]
                    ) from None
                time.sleep(0.1)
        yield port
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        log.close()


def machine(base: Ground) -> dict[str, Any]:
    """What the figures were measured on."""
    with base.owner() as c:
        row = c.execute(
            "SELECT current_setting('server_version'), current_setting('synchronous_commit'), current_setting('fsync')"
        ).fetchone()
    assert row is not None
    return {
        "cpus": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "postgresql": row[0],
        "synchronous_commit": row[1],
        "fsync": row[2],
        "at": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
    }


def write(name: str, result: dict[str, Any]) -> Path:
    """Keep a result as results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path
