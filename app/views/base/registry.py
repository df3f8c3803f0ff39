"""What the console consists of: views, sidebar entries, pages. One registry per application, filled at start-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import current_app, request, url_for
from sqlalchemy import Integer, Text
from werkzeug.routing import BuildError

from app.schema.base import MaybeTenant, Tenant
from app.security.matrix import NEEDS_HOST, NEEDS_SPONSOR, can
from app.views import format as f

from .core import ConsoleView
from .rows import Rows, is_secret, model_of, target_of
from .scopes import PlatformView, TenantView

# tables staff open every day: in the sidebar; the others are under "All tables" and in the palette
TITLES = {
    "ab_user": "People",
    "ab_role": "Roles",
    "ab_permission": "Permissions",
    "org_audit_log": "Audit log",
}
ONES = {"ab_user": "person", "ab_role": "role", "ab_permission": "permission", "org_audit_log": "audit entry"}
EVERYDAY = frozenset(
    {
        "organization",
        "ab_user",
        "membership",
        "payment",
        "appointment",
        "ledger_transaction",
        "org_audit_log",
        "mail_message",
    }
)
# what mails and waiting messages carry lets people in: links of invitations and of new passwords
CLOSED = {
    "mail_message": frozenset({"body_text", "body_html"}),
    "outbox_message": frozenset({"payload", "last_error"}),
}
GROUPS = ("", "Platform", "People", "Commerce", "Operations", "Insights", "Configuration", "Data")


@dataclass(frozen=True)
class Entry:
    """One line of the sidebar.

    *scope*: org, platform or personal; *when* asks the organisation (a dict); *also* are addresses of pages that lie
    beside the entry's own and belong to it.
    """

    group: str
    label: str
    endpoint: str
    resource: str
    icon: str = "file"
    verb: str = "read"
    scope: str = "org"
    when: Callable[[Any], bool] | None = None
    order: int = 0
    listed: bool = True
    keywords: str = ""
    also: tuple[str, ...] = ()

    def open(self, org: Any) -> bool:
        """Whether the reader sees it: right, kind of organisation, and its own condition."""
        if self.resource and not can(self.verb, self.resource):
            return False
        if self.scope == "org":
            if org is None or (self.resource in NEEDS_SPONSOR and not org["can_sponsor"]):
                return False
            if self.resource in NEEDS_HOST and not org["can_host"]:
                return False
        return self.when is None or bool(self.when(org))


@dataclass
class Registry:
    """Filled by ``register``, ``page`` and ``auto``; read by the sidebar, the palette and references."""

    entries: list[Entry] = field(default_factory=list)
    views: list[ConsoleView] = field(default_factory=list)

    def named(self, name: str, scope: str) -> ConsoleView | None:
        """The view declared as class *name*, in its variant for *scope*."""
        names = (name, f"{name}Data") if scope == "platform" else (name,)
        return next((v for v in self.views if v.scope == scope and type(v).__name__ in names), None)

    def of_model(self, model: Any, scope: str) -> ConsoleView | None:
        """The first view of a table in *scope*."""
        return next((v for v in self.views if v.scope == scope and v.datamodel.obj is model), None)

    def url_of(self, item: Any, scope: str) -> str | None:
        """Address of a row's page, when a view of its table is open to the reader."""
        view = self.of_model(type(item), scope)
        if view is None or not view.may("read"):
            return None
        try:
            return view.item_url(item)
        except (BuildError, KeyError):
            return None

    def url(self, entry: Entry) -> str | None:
        try:
            return url_for(entry.endpoint)
        except (BuildError, KeyError):
            return None

    def visible(self, scopes: tuple[str, ...], org: Any) -> list[tuple[Entry, str]]:
        """Entries open to the reader with their addresses, in sidebar order."""
        out = []
        for entry in sorted(
            self.entries, key=lambda e: (GROUPS.index(e.group) if e.group in GROUPS else 99, e.order)
        ):
            if entry.scope in scopes and entry.open(org):
                url = self.url(entry)
                if url:
                    out.append((entry, url))
        return out


def registry() -> Registry:
    """The registry of the current application."""
    return current_app.extensions.setdefault("console", Registry())


def here(url: str) -> bool:
    """Whether the request's page lies at or below *url*."""
    path = request.path.rstrip("/")
    path = "/dashboard/personal" if path == "/dashboard" else path  # two addresses of one page
    base = url.split("?")[0].rstrip("/")
    return path == base or (len(base) > 1 and path.startswith(base + "/"))


def register(
    appbuilder: Any, view: type[TenantView], *, api: bool = True, data: bool = True, order: int | None = None
) -> ConsoleView:
    """Register an organisation view and derive from it the platform's Data view and the REST resource.

    Returns the registered view. *order* places it within its sidebar group (default: order of registration).
    """
    reg = registry()
    made: Any = appbuilder.add_view_no_menu(view)
    reg.views.append(made)
    reg.entries.append(
        Entry(
            made.menu,
            made.menu_label or made.title,
            f"{made.endpoint}.list",
            made.permission_resource,
            made.icon,
            scope=made.scope,
            when=type(made).when,
            order=len(reg.entries) if order is None else order,
            listed=bool(made.menu),
        )
    )
    if data and made.scope == "org" and reg.of_model(made.datamodel.obj, "platform") is None:
        _add_platform(appbuilder, data_view(view))
    if api:
        from app.api.base import resource_for

        appbuilder.add_api(resource_for(view, made))
    return made


def data_view(view: type[TenantView]) -> type[PlatformView]:
    """The Data variant of an organisation view: the same columns with the organisation first, read-only."""
    model = view.datamodel.obj
    owned = issubclass(model, (Tenant, MaybeTenant))
    listed = list(view.list_columns or [])
    rows = view.datamodel
    plain = [c for c in rows.list_columns if c not in ("id", "organization_id") and not is_secret(c)]
    sections = view.show_fieldsets
    if owned and sections:
        head, *rest = sections
        sections = [(head[0], {**head[1], "fields": ["organization_id", *head[1]["fields"]]}), *rest]
    shown = None if sections else [*(["organization_id"] if owned else []), *(view.show_columns or plain)]
    attrs: dict[str, Any] = {
        "datamodel": view.datamodel,
        "__module__": view.__module__,
        "__doc__": f"Every organisation's {view.title}.",
        "list_columns": ([*listed[:1], "organization_id", *listed[1:]] if owned and listed else listed)
        or None,
        "search_columns": [
            *(["organization_id"] if owned else []),
            *(view.search_columns or [c for c in plain if rows.filter_for(c)][:12]),
        ],
        "quick_search": view.quick_search or rows.name_columns(),
        "show_fieldsets": sections,
        "show_columns": shown,
        "labels": {"organization_id": "Organisation", **view.labels},
        **{
            name: getattr(view, name)
            for name in (
                "icon",
                "title",
                "one",
                "kinds",
                "saved",
                "related",
                "base_order",
                "subtitle",
                "order_columns",
                "phone",
                "export_columns",
            )
        },
    }
    return type(f"{view.__name__}Data", (PlatformView,), attrs)


def _add_platform(appbuilder: Any, view: type[PlatformView]) -> ConsoleView:
    reg = registry()
    made: ConsoleView = appbuilder.add_view_no_menu(view)
    reg.views.append(made)
    reg.entries.append(
        Entry(
            "Data",
            made.menu_label or made.title,
            f"{made.endpoint}.list",
            made.permission_resource,
            made.icon,
            scope="platform",
            order=len(reg.entries),
            listed=made.menu == "Data" or made.datamodel.obj.__tablename__ in EVERYDAY,
        )
    )
    return made


def platform(appbuilder: Any, view: type[PlatformView]) -> ConsoleView:
    """Register a platform view written by hand (it replaces the derived one if it comes first)."""
    made = _add_platform(appbuilder, view)
    reg = registry()
    if made.menu and made.menu != "Data":
        old = reg.entries.pop()
        reg.entries.append(
            Entry(
                made.menu, old.label, old.endpoint, old.resource, old.icon, scope="platform", order=old.order
            )
        )
    return made


def _bulky(rows: Rows, name: str) -> bool:
    """Whether a column holds whole texts, which a list has no room for."""
    return isinstance(getattr(rows.list_columns[name], "type", None), Text)


def _inner(rows: Rows, name: str) -> bool:
    """Whether a column holds an inner key that no foreign key turns into a name: nobody ever sees those (rule 12)."""
    column = rows.list_columns[name]
    number = isinstance(getattr(column, "type", None), Integer)
    return number and name != "id" and name.endswith("_id") and target_of(column) is None


def auto(model: type[Any]) -> type[PlatformView]:
    """A read-only Data view for a table that nobody described: every column but the secret ones."""
    rows = Rows(model)
    closed = CLOSED.get(model.__tablename__, frozenset())
    names = [c for c in rows.list_columns if not is_secret(c) and c not in closed and not _inner(rows, c)]
    owned = [c for c in names if c == "organization_id"]
    rest = [c for c in names if c not in ("id", "public_id", "organization_id")]
    first = [c for c in rows.name_columns() if c in rest] or rest[:1] or names[:1]
    short = [c for c in rest if c not in first and rows.filter_for(c) is not None and not _bulky(rows, c)][:5]
    if "created_at" in rest and "created_at" not in short:
        short.append("created_at")
    keys = [c.key for c in model.__mapper__.primary_key]
    return type(
        f"{model.__name__}AutoData",
        (PlatformView,),
        {
            "datamodel": rows,
            "list_columns": [*first, *owned, *short] or keys,
            "__doc__": f"Rows of {model.__tablename__}.",
            "show_columns": [c for c in names if c != "id"] or keys,
            "title": TITLES.get(model.__tablename__) or f.plural(f.words(model.__tablename__)),
            "one": ONES.get(model.__tablename__) or f.words(model.__tablename__).lower(),
            "labels": {"organization_id": "Organisation"},
            "search_columns": [c for c in [*owned, *rest] if rows.filter_for(c)][:12],
            "quick_search": rows.name_columns(),
            "icon": "database",
        },
    )


def finish(appbuilder: Any, narrow: dict[str, str] | None = None) -> None:
    """Give every mapped table that has no Data view an automatic one. Call after all other views are registered.

    *narrow* maps a table to the matrix row that opens it instead of ``platform-data`` (system_event: system-events).
    """
    from app.schema.base import Model

    reg = registry()
    tables = sorted({str(m.local_table) for m in Model.registry.mappers})
    for table in tables:
        model = model_of(table)
        if model is None or reg.of_model(model, "platform") is not None:
            continue
        view = auto(model)
        view.data_resource = (narrow or {}).get(table, "")
        _add_platform(appbuilder, view)


def page(
    appbuilder: Any,
    view: type[Any] | None,
    *,
    group: str,
    label: str,
    resource: str,
    endpoint: str = "",
    icon: str = "file",
    scope: str = "org",
    verb: str = "read",
    order: int | None = None,
    when: Callable[[Any], bool] | None = None,
    keywords: str = "",
    also: tuple[str, ...] = (),
) -> Any:
    """Register a hand-written FAB view (or an existing *endpoint*) as a page of the sidebar and the palette."""
    made: Any = appbuilder.add_view_no_menu(view) if view is not None else None
    target = endpoint or f"{made.endpoint}.{made.default_view}"
    reg = registry()
    reg.entries.append(
        Entry(
            group,
            label,
            target,
            resource,
            icon,
            verb,
            scope,
            when,
            len(reg.entries) if order is None else order,
            True,
            keywords,
            also,
        )
    )
    return made
