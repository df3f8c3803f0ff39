"""``audit verify``: the chain of the audit log from the command line."""

from __future__ import annotations

import click
from sqlalchemy import select
from sqlalchemy.orm import Session


@click.group()
def audit() -> None:
    """The audit log."""


@audit.command("verify")
@click.option("--organization", "slug", help="Short name of one organisation; all of them otherwise.")
def verify(slug: str | None) -> None:
    """Check that no audit entry was changed or removed since it was sealed; exit 1 if one was."""
    from app import create_app
    from app.extensions import db
    from app.models import Organization
    from app.security import context
    from app.services import audit_chain

    with create_app().app_context(), Session(db.engine) as session:
        context._current.set(context.Ctx(scope="job"))
        names = dict(session.execute(select(Organization.id, Organization.slug)).tuples().all())
        if slug is not None and slug not in names.values():
            raise click.ClickException(f"There is no organisation {slug}.")
        checked = waiting = broken = 0
        for organization_id, verdict in audit_chain.verify_all(session):
            name = names.get(organization_id, f"organisation {organization_id} (deleted)")
            if slug is not None and name != slug:
                continue
            checked, waiting = checked + verdict.checked, waiting + verdict.unsealed
            if verdict.intact:
                click.echo(f"{name}: {verdict.checked:,} entries, intact.")
            else:
                broken += 1
                click.echo(f"{name}: BROKEN at number {verdict.first_bad_seq:,}.")
    click.echo(f"Checked {checked:,} sealed entries; {waiting:,} wait for their seal.")
    if broken:
        raise SystemExit(1)
