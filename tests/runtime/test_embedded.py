"""The embedded servers survive what happens to programs: kill -9, recycled process numbers, interrupted set-up."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.runtime.datadir import DataDir
from app.runtime.embedded import EmbeddedPostgres, EmbeddedValkey
from app.runtime.spawn import ServerAccount, preexec
from app.runtime.supervisor import Program

DEADLINE = 30.0


def launch(program: Program) -> subprocess.Popen[bytes]:
    """Start *program* as the supervisor would, as our child but without its death signal."""
    if program.before_start is not None:
        program.before_start()
    return subprocess.Popen(
        list(program.command),
        env=None if program.env is None else dict(program.env),
        cwd=program.cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=preexec(program.account, 0),
    )


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "not within the deadline"
        os.sched_yield()


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="consilium test ") as folder:
        data = DataDir(Path(folder) / ("long" * 30))
        data.create()
        server = EmbeddedPostgres(data, durable=False)
        server.prepare()
        yield server
        server.end_orphan()
        server.sockets.rmdir()


def query(server: EmbeddedPostgres, text: str) -> object:
    with psycopg.connect(
        host=str(server.sockets), port=5432, user="postgres", dbname="postgres"
    ) as connection:
        row = connection.execute(text.encode()).fetchone()
        return row[0] if row else None


def test_postgres_starts_again_after_kill_9_and_beside_an_orphan(postgres: EmbeddedPostgres) -> None:
    first = launch(postgres.program())
    until(postgres.ready)
    assert query(postgres, "SELECT pg_encoding_to_char(encoding) FROM pg_database LIMIT 1") == "UTF8"
    assert query(postgres, "SELECT lower('ÄÖ')") == "äö"
    with psycopg.connect(
        host=str(postgres.sockets), port=5432, user="postgres", dbname="postgres"
    ) as connection:
        connection.execute("SET synchronous_commit = on")
        connection.execute("CREATE TABLE kept (x int)")

    first.send_signal(signal.SIGKILL)
    first.wait()
    second: subprocess.Popen[bytes] = launch(postgres.program())
    while (
        not postgres.ready()
    ):  # old backends may still be attached: then it refuses once, as with a supervisor
        if second.poll() is not None:
            second = launch(postgres.program())
    assert query(postgres, "SELECT count(*) FROM kept") == 0

    third = launch(postgres.program())  # ends the second, which nobody supervises any more
    assert second.wait(DEADLINE) == 0
    until(postgres.ready)
    third.send_signal(signal.SIGINT)
    assert third.wait(DEADLINE) == 0


def test_a_recycled_process_number_in_the_pid_file_does_not_block(postgres: EmbeddedPostgres) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (postgres.cluster / "postmaster.pid").write_text(f"{stranger.pid}\n{postgres.cluster}\n1\n5432\n\n\n")
        server = launch(postgres.program())
        until(postgres.ready)
        assert stranger.poll() is None
        server.send_signal(signal.SIGINT)
        assert server.wait(DEADLINE) == 0
    finally:
        stranger.kill()
        stranger.wait()


def test_an_interrupted_initdb_is_begun_again(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.create()
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "half").write_text("")
    server = EmbeddedPostgres(data, durable=False)
    server.prepare()
    assert (server.cluster / "PG_VERSION").exists()
    assert not (tmp_path / "postgres.new").exists()


def test_where_namespaces_are_forbidden_root_lends_the_server_another_account() -> None:
    entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    with tempfile.TemporaryDirectory(prefix="consilium-test-") as folder:
        Path(folder).chmod(0o755)
        data = DataDir(folder)
        data.create()
        server = EmbeddedPostgres(data, durable=False)
        server.account = ServerAccount(entry.pw_uid, entry.pw_gid, namespace=False)
        server.prepare()
        process = launch(server.program())
        until(server.ready)
        assert Path(f"/proc/{process.pid}").stat().st_uid == entry.pw_uid
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0


def test_valkey_keeps_its_data_over_kill_9_and_ends_an_orphan(tmp_path: Path) -> None:
    import redis

    data = DataDir(tmp_path)
    data.create()
    server = EmbeddedValkey(data)
    server.prepare()
    first = launch(server.program())
    until(server.ready)
    redis.Redis.from_url(server.url()).set("key", "value")
    second = launch(server.program())  # ends the first in an orderly way
    assert first.wait(DEADLINE) == 0
    until(server.ready)
    second.send_signal(signal.SIGKILL)
    second.wait()
    third = launch(server.program())
    until(server.ready)
    assert redis.Redis.from_url(server.url()).get("key") == b"value"
    third.terminate()
    assert third.wait(DEADLINE) == 0
