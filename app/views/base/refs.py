"""Shown references: a foreign key becomes the name of the row it points at, in one query per target table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import current_app
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from app.schema.policies import PROTECTED
from app.security.context import current_org_id

from .rows import Rows, target_of

# tables with rows that everybody may read, by decision (policies.py)
PUBLIC = frozenset(t for t, rules in PROTECTED.items() if any(name == "public_read" for name, _, _ in rules))


@dataclass(frozen=True)
class Ref:
    """A row as others show it: its name, its public id, and its page where the reader may open it."""

    label: str
    id: str | None = None
    url: str | None = None
    is_ref: bool = True

    def __str__(self) -> str:
        return self.label


def label_of(item: Any) -> str:
    """The name of a row: its own __repr__ or __str__; else type and the end of its public id."""
    try:
        text = str(item)
    except Exception:
        text = ""
    if text and not text.startswith("<"):
        return text
    for name in ("number", "name", "title", "reference", "slug", "email"):
        value = item.__dict__.get(name)
        if value:
            return str(value)
    tail = str(getattr(item, "public_id", None) or getattr(item, "id", "?"))[-6:]
    return f"{_spaced(type(item).__name__)} …{tail}"


def _spaced(name: str) -> str:
    return "".join((" " + c.lower()) if c.isupper() and i else c for i, c in enumerate(name))


def to_ref(item: Any, scope: str) -> Ref:
    """*item* as a reference, linked when a view of its table is open to the reader in *scope*."""
    registry = current_app.extensions["console"]
    elsewhere = scope == "org" and getattr(item, "organization_id", current_org_id()) != current_org_id()
    url = None if elsewhere else registry.url_of(item, scope)
    return Ref(label_of(item), str(getattr(item, "public_id", "")) or None, url)


def load_refs(
    datamodel: Rows, items: Sequence[Any], columns: Iterable[str], scope: str
) -> dict[tuple[str, Any], Ref]:
    """References of the foreign-key *columns* of *items*: {(column, inner key): Ref}. One query per target table."""
    wanted: dict[type[Any], dict[str, set[Any]]] = {}
    for name in columns:
        column = datamodel.list_columns.get(name)
        model = target_of(column) if column is not None else None
        if model is not None:
            keys = {getattr(i, name) for i in items} - {None}
            wanted.setdefault(model, {})[name] = keys
    found: dict[tuple[str, Any], Ref] = {}
    for model, by_column in wanted.items():
        keys = set().union(*by_column.values())
        if not keys:
            continue
        # a public plan of another organisation has a name for everybody who may read it: the database decides
        public = model.__tablename__ in PUBLIC
        query = select(model).where(model.id.in_(keys)).execution_options(skip_tenancy=public)
        if "user" in model.__mapper__.relationships:
            query = query.options(joinedload(model.user))
        rows = {row.id: to_ref(row, scope) for row in datamodel.session.scalars(query)}
        for name, wants in by_column.items():
            for key in wants:
                found[name, key] = rows.get(key) or Ref("Not visible to you")
    return found


def read(item: Any, name: str) -> Any:
    """The value of a column, property, method or dotted path; None where the path ends early."""
    value = item
    for part in name.split("."):
        if value is None:
            return None
        value = getattr(value, part)
        if callable(value) and not hasattr(value, "is_ref"):
            value = value()
    return value


def values(datamodel: Rows, items: Sequence[Any], columns: Sequence[str], scope: str) -> list[list[Any]]:
    """What to show of each item: plain values, and Ref for relations and foreign keys."""
    refs = load_refs(datamodel, items, columns, scope)
    relations = datamodel.obj.__mapper__.relationships
    out = []
    for item in items:
        line = []
        for name in columns:
            value = read(item, name)
            if isinstance(value, int) and (name, value) in refs:
                value = refs[name, value]
            elif hasattr(value, "__mapper__"):
                value = to_ref(value, scope)
            elif name in relations and isinstance(value, list):
                value = [label_of(v) for v in value]
            line.append(value)
        out.append(line)
    return out
