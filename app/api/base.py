"""Generated REST resources: /api/v1/<resource>, one per registered organisation view, in public ids only.

The class is Flask-AppBuilder's ModelRestApi, so routes, permissions and OpenAPI are its own; the answers are ours:
scoped, keyset-paged, and without inner keys (design rule 12).
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from flask import Response, g, request, stream_with_context
from flask_appbuilder.api import ModelRestApi, expose
from flask_appbuilder.security.decorators import permission_name
from marshmallow import Schema, fields
from sqlalchemy import Enum, String, and_, false, or_

from app.errors import DomainError, Invalid
from app.views import format as f
from app.views.base import export as files
from app.views.base.exporting import keeping_identity
from app.views.base.filters import Unusable
from app.views.base.rows import Rows, is_secret, target_of
from app.views.base.scopes import TenantView

from .http import bad_cursor, check_gate, cursor_of, in_transaction, ok, page_args

RESERVED = frozenset({"cursor", "limit", "q", "format", "sort"})
OPERATIONS = {
    "": "eq",
    "ne": "ne",
    "gte": "gte",
    "lte": "lte",
    "contains": "contains",
    "starts": "starts",
    "empty": "empty",
    "set": "set",
}


def plain(value: Any) -> Any:
    """A column's value as JSON: enumerations by value, moments as ISO 8601 UTC, decimals as strings."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID | Decimal):
        return str(value)
    if isinstance(value, dt.timedelta):
        return int(value.total_seconds())
    if isinstance(value, str | int | float | bool | dict | list | type(None)):
        return value
    return str(value)


class TenantApi(ModelRestApi):  # type: ignore[misc]
    """List and get of one organisation's rows; ``view`` is the declaration it was derived from."""

    view: type[TenantView]
    page: TenantView  # the registered view: its scope is this resource's scope
    datamodel: Rows
    resource = ""
    allow_browser_login = True
    include_route_methods = {"get_list", "get"}
    max_page_size = 100
    openapi_spec_tag = "Generated"
    csrf_exempt = False

    def __init__(self) -> None:
        model = self.datamodel
        self.class_permission_name = self.resource
        self.method_permission_name = {"get_list": "read", "get": "read", "info": "read"}
        self.previous_class_permission_name = type(self).__name__
        self.previous_method_permission_name: dict[str, str] = {}
        wanted = [*(self.view.list_columns or []), *(self.view.show_columns or [])]
        for _, section in self.view.show_fieldsets or []:
            wanted += list(section["fields"])
        if not wanted:
            wanted = list(model.list_columns)
        self.answer = [
            c
            for c in dict.fromkeys(self._column(n) for n in wanted)
            if c and c not in ("id", "public_id", "organization_id") and not is_secret(c)
        ]
        if "created_at" in model.list_columns and "created_at" not in self.answer:
            self.answer.append("created_at")
        self.filterable = [self._column(c) or c for c in (self.view.search_columns or [])]
        self.list_columns = self.show_columns = self.answer or [model.get_pk_name()]
        self.add_columns = self.edit_columns = self.search_columns = [model.get_pk_name()]
        schema = self.schema()
        self.list_model_schema = self.show_model_schema = schema
        self.add_model_schema = self.edit_model_schema = Schema()
        super().__init__()

    def _column(self, name: str) -> str | None:
        """The plain column behind a shown name: a relation counts by its foreign key, properties are left out."""
        if name in self.datamodel.list_columns:
            return name
        prop = self.datamodel.obj.__mapper__.relationships.get(name)
        if prop is None or prop.uselist:
            return None
        return next(
            (
                c.name
                for c in prop.local_columns
                if c.name in self.datamodel.list_columns and c.name != "organization_id"
            ),
            None,
        )

    def outer(self, column: str) -> str:
        """A column's name outside: program_id stays program_id and carries the public id."""
        return column

    def schema(self) -> Schema:
        """What OpenAPI says about a row."""
        shape: dict[str, Any] = {"id": fields.UUID()}
        for name in self.answer:
            column = self.datamodel.list_columns[name]
            if target_of(column) is not None:
                shape[name] = fields.UUID(allow_none=True)
                continue
            try:
                kind = column.type.python_type
            except NotImplementedError:
                kind = str
            made: Any = fields.Raw()
            for python, field in (
                (bool, fields.Boolean),
                (int, fields.Integer),
                (dt.datetime, fields.DateTime),
                (dt.date, fields.Date),
                (enum.Enum, fields.String),
                (str, fields.String),
            ):
                if issubclass(kind, python):
                    made = field(allow_none=bool(column.nullable))
                    break
            shape[name] = made
        made_class = Schema.from_dict(shape, name=f"{type(self).__name__}Row")
        return made_class()

    # ---- gate and scope --------------------------------------------------------
    def _enter(self, verb: str = "read") -> None:
        check_gate(self.resource, verb)
        if not self.page.open_to(g.org):
            raise DomainError("NOT_FOUND")

    def _query(self) -> Any:
        return self.page.base_query()  # the page's own rule of who sees which row holds here too

    # ---- answers ----------------------------------------------------------------
    def dump(self, items: list[Any]) -> list[dict[str, Any]]:
        """Rows as JSON; foreign keys become public ids, one query per target table."""
        model = self.datamodel
        outer: dict[tuple[str, Any], str] = {}
        for name in self.answer:
            target: Any = target_of(model.list_columns[name])
            keys = {getattr(i, name) for i in items} - {None} if target is not None else set()
            if keys and hasattr(target, "public_id"):
                pairs = model.session.query(target.id, target.public_id).filter(target.id.in_(keys))
                outer.update({(name, key): str(public) for key, public in pairs})
        out = []
        for item in items:
            row: dict[str, Any] = {"id": model.public_key(item)}
            for name in self.answer:
                value = getattr(item, name)
                linked = target_of(model.list_columns[name]) is not None
                row[name] = outer.get((name, value)) if linked else plain(value)
            out.append(row)
        return out

    def _filtered(self, query: Any) -> Any:
        problems: dict[str, list[str]] = {}
        for key, raw in request.args.items(multi=True):
            if key in RESERVED:
                continue
            name, _, suffix = key.partition("__")
            spec = self.datamodel.filter_for(name) if name in self.filterable else None
            index = (
                next((i for i, op in enumerate(spec[1]) if op.key == OPERATIONS.get(suffix)), None)
                if spec
                else None
            )
            if index is None:
                problems[key] = [f"Unknown filter. Possible: {', '.join(self.filterable) or 'none'}."]
                continue
            try:
                query = query.filter(self.datamodel.filter_clause(name, index, raw, dt.UTC))
            except Unusable:
                problems[key] = ["This value is not valid here."]
        if problems:
            raise Invalid(problems)
        text = request.args.get("q", "").strip()[:200]
        if text:
            names = [c for c in self.view.quick_search if c in self.datamodel.list_columns]
            query = (
                self.datamodel.searched(query, text, names, self._order()) if names else query.filter(false())
            )
        return query

    def _order_column(self) -> str | None:
        column, _ = self.view.base_order or ("", "")
        if column in self.datamodel.list_columns and not self.datamodel.list_columns[column].nullable:
            return column
        return "created_at" if "created_at" in self.datamodel.list_columns else None

    def _order(self) -> list[Any]:
        return self.datamodel.order_by(self._order_column() or "", "desc")

    def _after(self, query: Any, cursor: dict[str, Any] | None) -> Any:
        """*query* behind the cursor's row: (order column, public key) descending, served by an index."""
        if cursor is None:
            return query
        last = (
            self._query()
            .filter(*(self.datamodel.key_clauses(str(cursor.get("id", ""))) or [false()]))
            .one_or_none()
        )
        if last is None:
            raise bad_cursor()
        pk = self.datamodel.obj.__mapper__.primary_key[0]
        name = self._order_column()
        if name is None:
            return query.filter(pk < getattr(last, pk.key))
        column, value = getattr(self.datamodel.obj, name), getattr(last, name)
        if isinstance(column.type, Enum | String):
            return query.filter(or_(column < value, and_(column == value, pk < getattr(last, pk.key))))
        return query.filter(column <= value, or_(column < value, pk < getattr(last, pk.key)))

    @expose("/", methods=["GET"])
    @permission_name("get_list")
    def get_list(self, **kwargs: Any) -> Any:
        """Rows of the organisation, newest first
        ---
        get:
          parameters:
          - {in: header, name: X-Organization, required: true, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          - {in: query, name: q, schema: {type: string}}
          - {in: query, name: format, schema: {type: string, enum: [json, csv]}}
          responses:
            200:
              description: rows and next_cursor
              content:
                application/json:
                  schema:
                    type: object
                    properties:
                      result:
                        type: array
                        items:
                          $ref: '#/components/schemas/{{self.__class__.__name__}}.get_list'
                      next_cursor: {type: string, nullable: true}
            401:
              $ref: '#/components/responses/401'
        """
        self._enter()
        if request.args.get("format") == "csv":
            return self._csv()
        return in_transaction(self._page)

    def _page(self) -> Any:
        cursor, limit = page_args(25, self.max_page_size)
        query = self._after(self._filtered(self._query()), cursor).order_by(*self._order())
        rows = query.limit(limit + 1).all()
        more = cursor_of({"id": self.datamodel.public_key(rows[limit - 1])}) if len(rows) > limit else None
        return ok({"result": self.dump(rows[:limit]), "next_cursor": more})

    def _csv(self) -> Response:
        check_gate(self.resource, "export")
        self._filtered(self._query())  # refuses unknown filters before the first byte is sent
        head = ["id", *self.answer]
        kinds = [None, *[f.kind_of(n) for n in self.answer]]

        def lines() -> Iterator[list[Any]]:
            batch: list[Any] = []
            query = self._filtered(self._query()).order_by(*self._order())
            for item in query.yield_per(500):
                batch.append(item)
                if len(batch) == 500:
                    yield from self._csv_rows(batch, head, kinds)
                    batch.clear()
            yield from self._csv_rows(batch, head, kinds)

        name = f'attachment; filename="{self.resource_name}.csv"'
        return Response(
            stream_with_context(keeping_identity(files.csv_lines(head, lines()))),
            mimetype="text/csv",
            headers={"Content-Disposition": name},
        )

    def _csv_rows(self, batch: list[Any], head: list[str], kinds: list[str | None]) -> Iterator[list[Any]]:
        for row in self.dump(batch):
            yield [files.plain(row[n], k) for n, k in zip(head, kinds, strict=True)]

    @expose("/<pk>", methods=["GET"])
    @permission_name("get")
    def get(self, pk: str, **kwargs: Any) -> Any:
        """One row by public id
        ---
        get:
          parameters:
          - {in: header, name: X-Organization, required: true, schema: {type: string}}
          - {in: path, name: pk, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: the row
              content:
                application/json:
                  schema:
                    type: object
                    properties:
                      result:
                        $ref: '#/components/schemas/{{self.__class__.__name__}}.get'
            404:
              $ref: '#/components/responses/404'
        """
        self._enter()

        def work() -> Any:
            clauses = self.datamodel.key_clauses(pk)
            item = self._query().filter(*clauses).one_or_none() if clauses is not None else None
            if item is None:
                raise DomainError("NOT_FOUND")
            return ok({"id": self.datamodel.public_key(item), "result": self.dump([item])[0]})

        return in_transaction(work)


def resource_for(view: type[TenantView], page: TenantView) -> type[TenantApi]:
    """The REST resource of an organisation view."""
    name = view.path or view.resource
    return type(
        f"{view.__name__}Generated",
        (TenantApi,),
        {
            "view": view,
            "page": page,
            "datamodel": view.datamodel,
            "resource": view.resource,
            "resource_name": name,
            "__module__": view.__module__,
            "__doc__": view.__doc__,
        },
    )
