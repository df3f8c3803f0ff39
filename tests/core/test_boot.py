"""The database stands and the web role is what it should be."""

from __future__ import annotations

from sqlalchemy import text


def test_web_role_cannot_bypass(web_url, make, web_engine):
    with web_engine.connect() as c:
        row = c.execute(
            text("select rolsuper, rolbypassrls from pg_roles where rolname = current_user")
        ).one()
    assert tuple(row) == (False, False)
