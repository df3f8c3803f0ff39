"""``Rows``: Flask-AppBuilder's data interface over one table, with public keys, eager loading and bounded counting."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from flask import current_app
from flask_appbuilder.models.sqla.interface import SQLAInterface
from sqlalchemy import String, Text, cast, false, func, or_, select, union
from sqlalchemy.orm import Query, joinedload, selectinload
from sqlalchemy.orm.interfaces import MANYTOONE
from sqlalchemy.sql import ColumnElement

from app.schema.base import Model

from .filters import BIGINT_MAX, OPS, NoFilters, Op, Unusable, convert, input_kind, key_clause, like

SECRET = (
    "password",
    "secret",
    "token",
    "_hash",
    "encrypted",
    "ciphertext",
    "private_key",
    "session_key",
    "key_hash",
    "certificate_key",
    "recovery",
)
NAME_COLUMNS = (
    "number",
    "name",
    "title",
    "email",
    "reference",
    "code",
    "slug",
    "domain",
    "label",
    "subject",
    "action",
    "description",
    "message",
    "first_name",
    "last_name",
)


def is_secret(column: str) -> bool:
    """Whether a column holds a credential or its hash: never listed, never exported."""
    return any(part in column for part in SECRET)


@lru_cache(maxsize=1)
def _models() -> dict[str, type[Any]]:
    found: dict[str, type[Any]] = {}
    for mapper in Model.registry.mappers:
        table = str(mapper.local_table)
        if table not in found or issubclass(mapper.class_, found[table]):
            found[table] = mapper.class_
    return found


def model_of(table: Any) -> type[Any] | None:
    """The mapped class of a table: the most derived one (Person, not Flask-AppBuilder's User)."""
    return _models().get(str(table))


def target_of(column: Any) -> type[Any] | None:
    """The model a foreign-key column points at; composite tenant keys count by their ``id`` part.

    ``organization_id`` names the organisation also where the row outlives it and no foreign key holds it.
    """
    if column.name == "organization_id" and not column.foreign_keys:
        return model_of("organization")
    for fk in column.foreign_keys:
        if fk.column.name == "id" and (
            column.name != "organization_id" or fk.column.table.name == "organization"
        ):
            return model_of(fk.column.table)
    return None


class Rows(SQLAInterface):
    """``datamodel = Rows(PurchaseOrder)``. *eager* names relations to load besides those the columns mention."""

    filter_converter_class = NoFilters

    def __init__(self, obj: type[Any], session: Any = None, eager: Sequence[str] = ()) -> None:
        super().__init__(obj, session)
        self.eager = tuple(eager)

    # ---- keys ---------------------------------------------------------------
    @property
    def has_public_id(self) -> bool:
        return "public_id" in self.list_columns

    def public_key(self, item: Any) -> str:
        """The key of *item* in URLs: its public id, or the inner key of a table without one."""
        if self.has_public_id:
            return str(item.public_id)
        keys = [getattr(item, c.key) for c in self.obj.__mapper__.primary_key]
        return "~".join(str(k) for k in keys)

    def get_keys(self, lst: Iterable[Any]) -> list[str]:
        return [self.public_key(i) for i in lst]

    def key_clauses(self, key: Any) -> list[ColumnElement[bool]] | None:
        """Conditions that find *key* (as ``public_key`` wrote it); None when it cannot exist."""
        if self.has_public_id and not isinstance(key, int):
            try:
                return [self.obj.public_id == uuid.UUID(str(key))]
            except ValueError:
                return None
        columns = self.obj.__mapper__.primary_key
        parts = [str(key)] if len(columns) == 1 else str(key).split("~")
        if len(parts) != len(columns):
            return None
        clauses = []
        for column, part in zip(columns, parts, strict=True):
            kind = input_kind(column.key, column)
            try:
                value = convert(kind, column, part) if kind else part
            except Unusable:
                return None
            if isinstance(value, int) and abs(value) > (
                BIGINT_MAX if "BIG" in str(column.type) else 2**31 - 1
            ):
                return None
            clauses.append(column == value)
        return clauses

    def get(
        self,
        id: Any,
        filters: Any = None,
        select_columns: list[str] | None = None,
        outer_default_load: bool = False,
    ) -> Any:
        """The row with this key, or None; a malformed or impossible key is None, never an error."""
        clauses = self.key_clauses(id)
        if clauses is None:
            return None
        query = self.apply_filters(self.session.query(self.obj), filters).filter(*clauses)
        return query.options(*self.loads(select_columns or ())).one_or_none()

    # ---- loading ------------------------------------------------------------
    def loads(self, columns: Iterable[str]) -> list[Any]:
        """Loader options for the relations *columns* (and ``eager``) mention; dotted names load the whole path."""
        options, seen = [], set()
        for name in [*columns, *self.eager]:
            option, model, path = None, self.obj, []
            for part in name.split("."):
                prop = model.__mapper__.relationships.get(part)
                if prop is None:
                    break
                path.append(part)
                how = joinedload if prop.direction is MANYTOONE else selectinload
                attr = getattr(model, part)
                option = how(attr) if option is None else getattr(option, how.__name__)(attr)
                model = prop.mapper.class_
            if option is not None and tuple(path) not in seen:
                seen.add(tuple(path))
                options.append(option)
                if "user" in model.__mapper__.relationships and path[-1] != "user":
                    options.append(_extend(self.obj, path, "user"))
        return options

    # ---- counting and searching ---------------------------------------------
    def count_capped(self, query: Query[Any]) -> int:
        """Rows of *query*, counted no further than COUNT_CAP + 1: a list says "10,000+" and stays fast."""
        cap = int(current_app.config.get("COUNT_CAP", 10_000))
        keys = query.with_entities(*self.obj.__mapper__.primary_key).order_by(None).limit(cap + 1).subquery()
        return int(self.session.query(func.count()).select_from(keys).scalar() or 0)

    def query_count(self, query: Any, filters: Any = None, select_columns: Any = None) -> int:
        return self.count_capped(self.apply_filters(query, filters))

    def searched(
        self, query: Query[Any], text: str, columns: Sequence[str], order: Sequence[Any]
    ) -> Query[Any]:
        """*query* limited to rows where one of *columns* contains *text*.

        Without trigram indexes a substring search reads every row, so it reads the latest SEARCH_WINDOW rows only;
        an exact match in an indexed column is found however old it is.
        """
        window = int(current_app.config.get("SEARCH_WINDOW", 20_000))
        pk = self.obj.__mapper__.primary_key[0]
        fields = [self.column(c) for c in columns]
        fields = [f for f in fields if f is not None]
        text = text.replace("\x00", "")[:200]
        if not fields:
            return query.filter(false())
        recent = query.with_entities(
            pk.label("k"), *[cast(f, String).label(f"f{i}") for i, f in enumerate(fields)]
        )
        recent = recent.order_by(None).order_by(*order).limit(window).subquery()
        found: Any = select(recent.c.k).where(
            or_(*[recent.c[f"f{i}"].ilike(f"%{like(text)}%") for i in range(len(fields))])
        )
        exact = [f for f in fields if isinstance(f.type, (String, Text)) and self.indexed(f)]
        if exact:
            found = union(
                found, *[query.with_entities(pk).order_by(None).filter(f == text).statement for f in exact]
            )
        return query.filter(pk.in_(found.subquery().select()) if exact else pk.in_(found))

    def column(self, name: str) -> Any:
        """The attribute *name*, following one relation is not supported here: plain columns only, else None."""
        return getattr(self.obj, name) if name in self.list_columns else None

    def indexed(self, attribute: Any) -> bool:
        """Whether equality on the column is served by an index (first, or right after organization_id)."""
        column = attribute.property.columns[0]
        if column.unique or column.index or column.primary_key:
            return True
        for index in column.table.indexes:
            names = [getattr(c, "name", None) for c in index.expressions]
            if column.name in names[:1] or (names[:1] == ["organization_id"] and column.name in names[1:2]):
                return True
        return False

    def leads_index(self, attribute: Any) -> bool:
        """Whether an index begins with the column, so that it can serve an order over the whole table."""
        column = attribute.property.columns[0]
        firsts = [getattr(next(iter(i.expressions), None), "name", None) for i in column.table.indexes]
        return bool(column.unique or column.primary_key or column.name in firsts)

    def order_by(self, name: str, direction: str) -> list[Any]:
        """Ordering by a column with the key as tie-break, so that pages never overlap."""
        pk = self.obj.__mapper__.primary_key
        attr = self.column(name)
        first = [] if attr is None else [attr.desc() if direction == "desc" else attr.asc()]
        return first + [c.desc() if direction == "desc" else c.asc() for c in pk if c.key != name]

    # ---- filters ------------------------------------------------------------
    def filter_for(self, name: str) -> tuple[str, tuple[Op, ...], type[Any] | None] | None:
        """(input kind, operations, related model) of a filterable column or relation; None when it is not one."""
        prop = self.obj.__mapper__.relationships.get(name)
        if prop is not None:
            model = prop.mapper.class_
            return ("relation", OPS["relation"], model) if prop.direction is MANYTOONE else None
        column = self.list_columns.get(name)
        if column is None or is_secret(name):
            return None
        target = target_of(column)
        if target is not None and hasattr(target, "public_id"):
            return "relation", OPS["relation"], target
        kind = input_kind(name, column)
        return None if kind is None else (kind, OPS[kind], None)

    def filter_clause(self, name: str, index: int, raw: str, zone: Any) -> ColumnElement[bool] | None:
        """The condition of operation *index* on *name*; None when column or operation does not exist.

        Raises Unusable when the value means nothing here (the list is then empty, which is the honest answer).
        """
        found = self.filter_for(name)
        if found is None or not 0 <= index < len(found[1]):
            return None
        kind, ops, model = found
        op = ops[index]
        if model is not None:
            prop = self.obj.__mapper__.relationships.get(name)
            column = next(iter(prop.local_columns)) if prop is not None else self.list_columns[name]
            if prop is not None and len(prop.local_columns) > 1:
                column = next(c for c in prop.local_columns if c.name != "organization_id")
            return key_clause(model, column, op, raw)
        column = getattr(self.obj, name)
        return op.clause(column, convert(kind, self.list_columns[name], raw, zone) if op.valued else None)

    def name_columns(self) -> tuple[str, ...]:
        """Text columns people recognise a row by: the default of quick search and remote selects."""
        mine = [
            c
            for c in NAME_COLUMNS
            if c in self.list_columns and isinstance(self.list_columns[c].type, (String, Text))
        ]
        return tuple(mine[:3])


def _extend(model: type[Any], path: list[str], last: str) -> Any:
    option = None
    for part in [*path, last]:
        attr = getattr(model, part)
        option = joinedload(attr) if option is None else option.joinedload(attr)
        model = attr.property.mapper.class_
    return option
