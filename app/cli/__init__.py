"""The command line. A command's module is imported when the command runs, so that ``--help`` and ``up`` stay light."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import click

REPO = Path(__file__).resolve().parents[2]

# name, "module:attribute" of a click command or group, one line for --help (the module is not imported for it)
COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("up", "app.cli.run:up", "Run everything on this machine: servers, web, worker, scheduler."),
    ("web", "app.cli.run:web", "Run the web server only."),
    ("worker", "app.cli.run:worker", "Run background jobs."),
    ("cron", "app.cli.run:cron", "Enqueue scheduled jobs when they are due."),
    ("migrate", "app.cli.run:migrate", "Bring the database schema up to date."),
    ("provision", "app.cli.run:provision", "Make the database, its roles and the login of the web."),
    ("prepare", "app.cli.run:prepare", "Migrate, sync roles and seed the demo, as up does at its start."),
    ("outbox", "app.cli.outbox:outbox", "Deliver what waits in the outbox."),
    ("backup", "app.cli.backup:backup", "Write the database to a file."),
    ("restore", "app.cli.backup:restore", "Read a backup into an empty database."),
    ("ledger", "app.cli.ledger:ledger", "Verify the journal."),
    ("audit", "app.cli.audit:audit", "Verify the chain of the audit log."),
    ("seed-demo", "app.cli.demo:seed_demo_command", "Seed the demonstration data where it is missing."),
    ("roles", "app.cli.roles:roles", "Compare or sync the permission tables with the matrix."),
)


class LazyGroup(click.Group):
    """A group over ``COMMANDS``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, _, _ in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for name, target, _ in COMMANDS:
            if name == cmd_name:
                module, _, attribute = target.partition(":")
                command = getattr(importlib.import_module(module), attribute)
                assert isinstance(command, click.Command)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, _, text in COMMANDS])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Consilium. Settings come from the environment; beside a running bin/run its servers are used."""


def local_environment_file(data_dir: Path) -> Path:
    """Where ``up`` leaves the URLs and secrets of the servers it runs (mode 0600) for other commands."""
    return data_dir / "environment.json"


def adopt_local_environment() -> None:
    """Without DATABASE_URL, work on what ``up`` runs on the data folder right now, if anything."""
    if os.environ.get("DATABASE_URL") or os.environ.get("APP_ENV") == "production":
        return
    path = local_environment_file(Path(os.environ.get("DATA_DIR") or REPO / ".data"))
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return
    for name, value in values.items():
        os.environ.setdefault(name, value)


def main() -> None:
    """Entry point of app.py."""
    import sys

    from app.runtime import RuntimeFailure
    from config import SettingsError

    if sys.argv[1:2] != ["up"]:
        adopt_local_environment()
    try:
        cli(prog_name="app.py")
    except (RuntimeFailure, SettingsError) as error:
        print(f"consilium: {error}", file=sys.stderr)
        sys.exit(1)
