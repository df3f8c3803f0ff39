"""The application on a database of its own with the demo seeded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from alembic import command
from flask import Flask
from sqlalchemy import Engine, create_engine, make_url, text

from app import create_app
from app.cli.database import alembic_config
from app.runtime.provision import provision
from tests.conftest import ConsoleClient


@contextmanager
def demo_database(owner_url: str, settings: Any, folder: Path, suffix: str) -> Iterator[tuple[Flask, Engine]]:
    """(application, owner's engine) on an empty, migrated database beside the tests' own; gone afterwards."""
    url = make_url(owner_url)
    name = f"{url.database}_{suffix}"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    own = url.set(database=name).render_as_string(hide_password=False)
    web = provision(own, folder)
    command.upgrade(alembic_config(own), "head")
    app = create_app(replace(settings, database_url=web, database_owner_url=own))
    app.test_client_class = ConsoleClient
    engine = create_engine(own)
    yield app, engine
    engine.dispose()
    with app.app_context():
        from app.extensions import db

        db.engine.dispose()
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"DROP ROLE IF EXISTS consilium_app_{name}"))
    server.dispose()
