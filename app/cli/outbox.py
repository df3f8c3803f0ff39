"""``outbox drain``: deliver what waits, without a worker."""

from __future__ import annotations

import click


@click.group()
def outbox() -> None:
    """What waits to leave the database."""


@outbox.command("drain")
def drain() -> None:
    """Deliver everything that is due; exit 1 if something failed."""
    from app import create_app
    from app.jobs import runner

    with create_app().app_context():
        summary = runner.execute("deliver_outbox", trigger="manual")
    click.echo(f"{summary['sent']} sent, {summary['failed']} failed.")
    if summary["failed"]:
        raise SystemExit(1)
