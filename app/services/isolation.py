"""Proof that the database keeps tenants apart (chapter 3, "Tenant isolation")."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.schema.policies import PROTECTED, is_global
from app.security.context import acting

_TABLES = text("""
    SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (
             SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname <> 'owner_all') AS guarded
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') ORDER BY c.relname""")


def _public(table: str) -> str:
    """Condition of the rows of *table* that anybody may see by decision, such as public plans."""
    return " OR ".join(
        f"({condition})" for name, _, condition in PROTECTED.get(table, []) if name == "public_read"
    )


def check(session: Session) -> dict[str, Any]:
    """{tables, missing_policies, unset_context_rows}: the protected tables, those without forced row-level security,
    and how many private rows are visible while nobody acts (must be 0).
    """
    found = {name: guarded for name, guarded in session.execute(_TABLES) if not is_global(name)}
    visible = 0
    with acting(
        session,
        org_id=None,
        user_id=None,
        membership_id=None,
        role=None,
        platform_role=None,
        scope="org",
        token=None,
    ):
        for table in found:  # names come from the catalogue, conditions from policies.py
            public = _public(table)
            where = f" WHERE NOT coalesce({public}, false)" if public else ""
            visible += session.execute(text(f'SELECT count(*) FROM "{table}"{where}')).scalar_one()  # noqa: S608
    return {
        "tables": sorted(found),
        "missing_policies": sorted(name for name, guarded in found.items() if not guarded),
        "unset_context_rows": visible,
    }
