"""The sizes of the demo: a small one grows into a large one (chapter 1, "Demo seed")."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from alembic import command
from sqlalchemy import create_engine, make_url, text

from app import create_app
from app.cli.database import alembic_config
from app.cli.demo import SMALL, seed_demo
from app.runtime.provision import provision


@pytest.fixture
def empty(owner_url: str, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An application on an empty, migrated database of its own."""
    url = make_url(owner_url)
    name = f"{url.database}_sizes"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    own = url.set(database=name).render_as_string(hide_password=False)
    web = provision(own, tmp_path_factory.mktemp("sizes"))
    command.upgrade(alembic_config(own), "head")
    app = create_app(replace(settings, database_url=web, database_owner_url=own))
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


def test_a_small_demo_grows_into_a_large_one(empty: Any) -> None:
    app, engine = empty

    def rows(sql: str) -> list[Any]:
        with engine.connect() as connection:
            return list(connection.execute(text(sql)))

    inhabited = "SELECT o.slug, count(m.id) FROM organization o JOIN membership m ON m.organization_id = o.id GROUP BY 1"
    assert seed_demo(app, "small") is True
    small = dict(rows(inhabited))
    assert set(small) == set(SMALL) and all(3 <= n <= 10 for n in small.values())
    assert {r[0] for r in rows("SELECT funding_source FROM billing_account")} == {
        "WALLET",
        "INVOICE",
        "LICENSE",
        "PERSONAL",
    }
    assert seed_demo(app, "small") is False
    assert seed_demo(app, "large") is True
    large = dict(rows(inhabited))
    assert len(large) == 15 and all(n <= 10 for n in large.values())
    assert (
        len({slug for slug, n in large.items() if n >= 3}) == 12
    )  # three are waiting for verification, founder only
    assert rows("SELECT count(*) FROM organization")[0][0] == 16  # and one without members
    assert {(r[0], r[1]) for r in rows("SELECT DISTINCT can_sponsor, can_host FROM organization")} == {
        (True, False),
        (False, True),
        (True, True),
    }
    assert rows("SELECT count(DISTINCT organization_id) FROM invitation WHERE status = 'PENDING'")[0][0] >= 10
    assert seed_demo(app, "large") is False
