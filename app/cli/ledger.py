"""``ledger verify``: the reconciler from the command line."""

from __future__ import annotations

import click
from sqlalchemy.orm import Session


@click.group()
def ledger() -> None:
    """The journal."""


@ledger.command("verify")
def verify() -> None:
    """Compare every cached balance with the journal; exit 1 if anything differs."""
    from app import create_app
    from app.extensions import db
    from app.security import context
    from app.services import reconcile

    with create_app().app_context(), Session(db.engine) as session:
        context._current.set(context.Ctx(scope="job"))
        report = reconcile.run(session)
        session.commit()
        n = report.checked
        counted = (
            f"{n['entries']:,} entries of {n['transactions']:,} transactions with {n['checks']} comparisons"
        )
        findings = report.findings
    click.echo(f"Checked {counted}.")
    for finding in findings:
        click.echo(
            f"{finding['kind']}: expected {finding['expected']}, found {finding['actual']} "
            f"(delta {finding['delta']}) {', '.join(finding['ids'])}"
        )
    if findings:
        raise SystemExit(1)
    click.echo("No differences.")
