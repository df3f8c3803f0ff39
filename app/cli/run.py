"""Commands that run Consilium or bring its database up to date."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli import REPO

if TYPE_CHECKING:
    from flask import Flask


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8080, envvar="PORT", show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="DATA_DIR",
    help="Folder of the embedded servers and local files.  [default: .data beside app.py]",
)
@click.option("--demo/--no-demo", default=True, help="Seed the demonstration data (never in production).")
def up(port: int, host: str, data_dir: Path | None, demo: bool) -> None:
    """Run everything on this machine until Ctrl-C."""
    from app.runtime.up import Options, run

    sys.exit(run(Options(host=host, port=port, data_dir=data_dir or REPO / ".data", demo=demo)))


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def web(arguments: tuple[str, ...]) -> None:
    """Run gunicorn with gunicorn.conf.py; ARGUMENTS are passed on."""
    os.chdir(REPO)
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *arguments, "app:create_app()"])


@click.command()
@click.option("--burst", is_flag=True, help="End when the queues are empty.")
def worker(burst: bool) -> None:
    """Run background jobs until told to stop; a job under way is finished first."""
    from app.runtime.worker import run_worker

    run_worker(_application(), burst)


@click.command()
def cron() -> None:
    """Enqueue the jobs of app/jobs/cron.py when they are due. Run one of these per deployment."""
    from app.runtime.worker import run_scheduler

    run_scheduler(_application())


@click.command()
def migrate() -> None:
    """Bring the schema up to date, as the role of DATABASE_OWNER_URL."""
    upgrade_schema()


@click.command()
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), envvar="DATA_DIR", default=REPO / ".data"
)
def provision(data_dir: Path) -> None:
    """Make the database, its roles and the web's login from DATABASE_URL, and print the web's URL."""
    from app.runtime import RuntimeFailure
    from app.runtime.provision import web_url_for

    owner, web_url = os.environ.get("DATABASE_OWNER_URL", ""), os.environ.get("DATABASE_URL", "")
    if not owner and not web_url:
        raise RuntimeFailure("DATABASE_URL is not set.")
    click.echo(web_url_for(web_url, owner, data_dir)[0])


@click.command()
@click.option("--demo/--no-demo", default=False, help="Seed the demonstration data where it is missing.")
def prepare(demo: bool) -> None:
    """Migrate, sync roles and perhaps seed the demo, in one process."""
    from app.cli.roles import sync_roles

    upgrade_schema()
    app = _application()
    sync_roles(app)
    if demo:
        from app.cli.demo import seed_demo

        seed_demo(app)


def _application() -> Flask:
    from app import create_app

    return create_app()


def upgrade_schema() -> None:
    """Run the migrations up to the newest on the owner's connection."""
    from alembic import command

    from app.cli.database import alembic_config
    from config import load

    command.upgrade(alembic_config(load().owner_url), "head")
