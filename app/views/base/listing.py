"""A list page as data: read from the query string, clamped, filtered, counted, ready for the template."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from flask import current_app, request
from sqlalchemy import Enum as SqlEnum
from sqlalchemy import false

from app.views import format as f

from .filters import Unusable
from .refs import label_of, values

if TYPE_CHECKING:
    from .core import ConsoleView

PAGE_SIZES = (25, 50, 100)
FILTER = re.compile(r"_flt_(\d)_([A-Za-z_][A-Za-z0-9_]*)\Z")


@dataclass(frozen=True)
class Column:
    """One column of a list or one fact of a detail page."""

    name: str
    label: str
    kind: str | None
    numeric: bool = False
    sort_url: str | None = None
    direction: str = ""
    phone: int = 0


@dataclass(frozen=True)
class Chip:
    """A filter in force: what it says and the address without it."""

    label: str
    op: str
    value: str
    remove: str


@dataclass
class Line:
    """One row: its key, address, name and cells."""

    key: str
    item: Any
    url: str | None
    name: str
    cells: list[Any]


@dataclass
class Listing:
    """Everything the list template needs."""

    view: Any
    columns: list[Column]
    lines: list[Line]
    count: int
    page: int
    size: int
    chips: list[Chip] = field(default_factory=list)
    query: str = ""
    windowed: bool = False
    capped: bool = False
    compact: bool = False

    @property
    def first(self) -> int:
        return self.page * self.size + 1 if self.lines else 0

    @property
    def last(self) -> int:
        return self.page * self.size + len(self.lines)

    @property
    def count_text(self) -> str:
        cap = int(current_app.config.get("COUNT_CAP", 10_000))
        return f"{f.number(cap)}+" if self.count > cap else f.number(self.count)

    @property
    def pages(self) -> int:
        cap = int(current_app.config.get("COUNT_CAP", 10_000))
        return max(1, -(-min(self.count, cap) // self.size))

    @property
    def filtered(self) -> bool:
        return bool(self.chips or self.query)

    def url(self, **changes: Any) -> str:
        return here(**changes)


def here(**changes: Any) -> str:
    """This page's address with some arguments changed (None removes one)."""
    args = [(k, v) for k, v in request.args.items(multi=True) if k not in changes and k != "view"]
    args += [(k, str(v)) for k, v in changes.items() if v is not None]
    return request.path + (f"?{urlencode(args)}" if args else "")


def whole(name: str, default: int, low: int, high: int) -> int:
    """An integer argument within bounds; anything unreadable is the default."""
    raw = request.args.get(name, "")
    return min(max(int(raw), low), high) if raw.isascii() and raw.isdigit() and len(raw) < 10 else default


def active_filters(args: Iterable[tuple[str, str]]) -> Iterator[tuple[str, int, str, str]]:
    """(argument, operation index, column, value) of every filter argument, empty values left out."""
    for key, value in args:
        match = FILTER.match(key)
        if match and value.strip():
            yield key, int(match[1]), match[2], value


def clean_query(query: str) -> str:
    """A query string reduced to filters, search and order: what a saved view may keep."""
    kept = [(k, v) for k, v in parse_qsl(query.lstrip("?")) if FILTER.match(k) or k in ("q", "sort", "rows")]
    return urlencode(kept)


def narrowed(view: ConsoleView, query: Any, zone: dt.tzinfo) -> tuple[Any, list[Chip]]:
    """*query* with the request's filters applied, and a chip for each."""
    chips: list[Chip] = []
    for key, index, name, raw in active_filters(request.args.items(multi=True)):
        if name not in view.filterable:
            continue
        try:
            clause = view.datamodel.filter_clause(name, index, raw, zone)
        except Unusable:
            clause = false()
        if clause is None:
            continue
        query = query.filter(clause)
        spec = view.datamodel.filter_for(name)
        assert spec is not None
        op = spec[1][index]
        rest = [
            (k, v)
            for k, v in request.args.items(multi=True)
            if (k, v) != (key, raw) and k not in ("page", "view")
        ]
        remove = request.path + "?" + (urlencode(rest) or "view=all")
        chips.append(
            Chip(view.label(name), op.label, chip_value(view, name, spec, raw) if op.valued else "", remove)
        )
    return query, chips


def chip_value(view: ConsoleView, name: str, spec: Any, raw: str) -> str:
    """A filter's value for people: a choice in words, rupees as ₹, a related row by its name."""
    kind, _, model = spec
    if model is not None:
        row = view.related_row(name, model, raw)
        return label_of(row) if row is not None else "unknown"
    if kind == "choice":
        return f.words(raw)
    if kind == "bool":
        return "yes" if raw.lower() in ("y", "yes", "true", "1") else "no"
    if kind == "money":
        return f"₹{raw}"
    if kind in ("date", "datetime"):
        try:
            return f.date(dt.date.fromisoformat(raw[:10]))
        except ValueError:
            return raw
    return raw


def columns(
    view: ConsoleView, names: Iterable[str], sort: str = "", direction: str = "", sortable: bool = True
) -> list[Column]:
    """The headings of *names*, with links that sort where an order is allowed."""
    out = []
    for name in names:
        kind = view.kind(name)
        url = None
        if sortable and name in view.order_columns:
            turned = name if name == sort and direction == "desc" else f"-{name}"
            url = here(sort=turned, page=None)
        phone = view.phone.index(name) + 1 if name in view.phone[:4] else 0
        out.append(
            Column(
                name,
                view.label(name),
                kind,
                kind in f.NUMERIC_KINDS,
                url,
                direction if name == sort else "",
                phone,
            )
        )
    return out


def order_of(view: ConsoleView) -> tuple[str, str, bool]:
    """(column, asc|desc, whether the reader chose it) from ``?sort=-created_at``; unknown columns are ignored."""
    raw = request.args.get("sort", "")
    name = raw.removeprefix("-")
    if name and name in view.order_columns:
        return name, "desc" if raw.startswith("-") else "asc", True
    column, direction = view.base_order or ("", "desc")
    return column, direction, False


def build(view: ConsoleView, zone: dt.tzinfo) -> Listing:
    """The list the request asks for: at most two queries plus one per loaded relation or foreign key."""
    model = view.datamodel
    query, chips = narrowed(view, view.base_query(), zone)
    sort, direction, chosen = order_of(view)
    order = model.order_by(sort, direction)
    text = request.args.get("q", "").strip()[:200]
    if text and view.quick_search:
        query = model.searched(
            query, text, view.quick_search, model.order_by(*(view.base_order or ("", "desc")))
        )
    size = whole("rows", view.page_size, 1, max(PAGE_SIZES))
    cap = int(current_app.config.get("COUNT_CAP", 10_000))
    page = whole("page", 1, 1, max(1, -(-cap // size))) - 1
    rows = (
        query.options(*model.loads(view.list_columns)).order_by(*order).offset(page * size).limit(size).all()
    )
    count = len(rows) if page == 0 and len(rows) < size else model.count_capped(query)
    shown = columns(view, view.list_columns, sort if chosen else "", direction)
    return Listing(view, shown, lines(view, rows), count, page, size, chips, text, windowed=bool(text))


def lines(view: ConsoleView, rows: list[Any], names: list[str] | None = None) -> list[Line]:
    """Rows with their cells, names and addresses."""
    cells = values(view.datamodel, rows, names or view.list_columns, view.scope)
    return [
        Line(view.datamodel.public_key(item), item, view.item_url(item), label_of(item), line)
        for item, line in zip(rows, cells, strict=True)
    ]


def filter_spec(view: ConsoleView) -> list[dict[str, Any]]:
    """What the filter builder offers, as JSON: columns, operations, the control each value takes."""
    out = []
    for name in view.filterable:
        spec = view.datamodel.filter_for(name)
        if spec is None:
            continue
        kind, ops, model = spec
        entry: dict[str, Any] = {
            "name": name,
            "label": view.label(name),
            "kind": kind,
            "ops": [[i, o.label, o.valued] for i, o in enumerate(ops)],
        }
        if kind == "choice":
            column = view.datamodel.list_columns[name]
            assert isinstance(column.type, SqlEnum)
            entry["options"] = [[e, f.words(e)] for e in column.type.enums]
        elif kind == "bool":
            entry["options"] = [["y", "Yes"], ["n", "No"]]
        elif model is not None:
            entry["remote"] = view.options_url(name)
        out.append(entry)
    return out
