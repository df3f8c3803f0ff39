"""Alembic environment: migrates with the owner's connection, never with the web role's."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import create_engine, pool, text

import app.models  # noqa: F401  (fills the metadata)
from app.schema.base import Model
from config import normalise_database_url

target_metadata = Model.metadata


def owner_url() -> str:
    """The URL given by the caller, else DATABASE_OWNER_URL, else DATABASE_URL."""
    url = context.config.attributes.get("owner_url")
    return normalise_database_url(url or os.environ.get("DATABASE_OWNER_URL") or os.environ["DATABASE_URL"])


def run() -> None:
    """Run migrations under an advisory lock, so that two nodes starting at once do not race."""
    engine = create_engine(owner_url(), poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(7263001)"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=target_metadata,
            transaction_per_migration=True,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(7263001)"))
        connection.commit()
    engine.dispose()


run()
