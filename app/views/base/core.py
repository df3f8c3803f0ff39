"""The generated view: list, detail, forms, actions, export of one table. TenantView and PlatformView add the scope."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from flask import (
    abort,
    flash,
    g,
    jsonify,
    redirect,
    request,
    url_for,
)
from flask_appbuilder import ModelView, expose, has_access
from flask_appbuilder.forms import DynamicForm
from flask_appbuilder.security.decorators import permission_name
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from app.errors import DomainError, Invalid
from app.security.matrix import can
from app.views import format as f

from . import listing, related
from .actions import Action, collect
from .exporting import ExportMixin
from .refs import label_of, values
from .rows import Rows, is_secret, target_of
from .write import WriteMixin

READ_ROUTES = {"list", "show", "export", "options", "action", "action_post"}
WRITE_ROUTES = {"add", "edit", "delete"}
VERBS = {
    "list": "read",
    "show": "read",
    "options": "read",
    "export": "export",
    "add": "write",
    "edit": "write",
    "delete": "write",
}
HIDDEN = ("id", "organization_id", "organization")


class EmptyForm(DynamicForm):
    """Stands in where Flask-AppBuilder would build forms nobody can reach."""


class ConsoleView(WriteMixin, ExportMixin, ModelView):  # type: ignore[misc]
    """Declare ``datamodel``, ``resource`` and columns; docs/adding-a-model.md lists every attribute."""

    datamodel: Rows
    list_columns: Any = None
    show_columns: Any = None
    show_fieldsets: Any = None
    add_columns: Any = None
    edit_columns: Any = None
    search_columns: Any = None
    order_columns: Any = None
    include_route_methods: Any = None
    method_permission_name: Any = None
    previous_method_permission_name: Any = None
    route_base: Any = None
    scope: ClassVar[str] = "org"
    resource: str = ""  # row of the permission matrix, and the address
    icon: str = "table"
    menu: str = ""  # sidebar group; empty: reachable, not listed
    menu_label: str = ""
    title: str = ""  # "Purchase orders"
    one: str = ""  # "purchase order"
    when: Callable[[Any], bool] | None = None  # whether the organisation has this page at all
    writes: bool = False  # generated add, edit, delete: tables without a rule only
    kinds: ClassVar[dict[str, str]] = {}
    labels: ClassVar[dict[str, str]] = {}
    phone: Sequence[str] = ()  # up to four: title, right, below, below right
    quick_search: Sequence[str] = ()
    search_note = "Search looks through the latest 20,000 rows."
    saved: Sequence[tuple[str, str]] = ()
    related: Sequence[Any] = ()  # view class names or (label, name, foreign key)
    hints: ClassVar[dict[str, str]] = {}
    empty: tuple[str, str] = ("", "")  # title and text of the empty list
    subtitle: str | Callable[[Any], str] = ""  # under a detail page's name
    option_scope: ClassVar[dict[str, Callable[[], Any]]] = {}
    page_size = 25
    base_order: tuple[str, str] | None = None
    add_text: str = ""
    list_template = "console/list.html"
    show_template = "console/show.html"
    form_template = "console/form.html"
    search_form = EmptyForm
    add_form: Any = EmptyForm
    edit_form: Any = EmptyForm

    def __init__(self, **kwargs: Any) -> None:
        model = self.datamodel
        self.declared: dict[str, Action] = collect(type(self))
        self.class_permission_name = self.permission_resource
        self.method_permission_name = {
            **VERBS,
            **{a.func.__name__: a.verb for a in self.declared.values()},
            **(self.method_permission_name or {}),
        }
        self.previous_class_permission_name = type(self).__name__
        self.previous_method_permission_name = {}
        routes = READ_ROUTES | (WRITE_ROUTES if self.writes else set())
        self.include_route_methods = routes | set(self.include_route_methods or ()) | self._extra_routes()
        words = f.words(model.obj.__tablename__)
        self.title = self.title or f.plural(words)
        self.one = self.one or self.title.lower().removesuffix("s")
        own = [c for c in model.list_columns if not is_secret(c) and c not in HIDDEN]
        self.list_columns = list(self.list_columns or own[:6])
        if not self.show_fieldsets:
            self.show_columns = list(self.show_columns or own)
        if self.base_order is None:
            self.base_order = next(
                (
                    (c, "desc")
                    for c in ("created_at", "issued_at", "started_at", "sent_at")
                    if c in model.list_columns
                ),
                None,
            )
        self.order_columns = list(
            self.order_columns or [c for c in self.list_columns if c in model.list_columns]
        )
        self.filterable = [c for c in (self.search_columns or []) if model.filter_for(c)]
        self.quick_search = tuple(c for c in self.quick_search if c in model.list_columns)
        self.search_columns = self.filterable or [model.get_pk_name()]
        self.label_columns = dict(self.labels)
        self.list_title = self.show_title = self.title
        self.add_title, self.edit_title = f"New {self.one}", f"Edit {self.one}"
        self.add_columns = list(self.add_columns or [])
        self.edit_columns = list(self.edit_columns or self.add_columns)
        super().__init__(**kwargs)
        if not self.writes:
            self.add_columns = self.edit_columns = []

    def _extra_routes(self) -> set[str]:
        base = {n for n in dir(ConsoleView) if hasattr(getattr(ConsoleView, n), "_urls")}
        return {n for n in dir(type(self)) if hasattr(getattr(type(self), n), "_urls") and n not in base}

    def _init_forms(self) -> None:
        if self.writes:
            from app.views.forms import build_form

            self.add_form = build_form(self, self.add_columns)
            self.edit_form = build_form(self, self.edit_columns)

    # ---- scope: TenantView and PlatformView fill these in --------------------
    @property
    def permission_resource(self) -> str:
        return self.resource

    def base_query(self) -> Any:
        """Rows the reader may see at all. Layered on row-level security and ORM criteria, never instead of them."""
        raise NotImplementedError

    def enter(self) -> None:
        """Runs before every request of the view, after the identity is known. Aborts with 404 or 403."""
        raise NotImplementedError

    def create_blueprint(
        self, appbuilder: Any, endpoint: str | None = None, static_folder: str | None = None
    ) -> Any:
        self.previous_class_permission_name = ""
        blueprint = super().create_blueprint(appbuilder, endpoint, static_folder)
        blueprint.before_request(self.enter)
        return blueprint

    # ---- words and addresses -------------------------------------------------
    def label(self, name: str) -> str:
        return self.labels.get(name) or f.label(name)

    @property
    def search_hint(self) -> str:
        """What the quick search looks through, in words."""
        return ", ".join(self.label(n).lower() for n in self.quick_search)

    def kind(self, name: str) -> str | None:
        if name in self.kinds:
            return self.kinds[name]
        column = self.datamodel.list_columns.get(name)
        if column is not None and target_of(column) is not None:
            return None
        try:
            return f.kind_of(name, column.type.python_type if column is not None else None)
        except NotImplementedError:
            return f.kind_of(name)

    def _prettify_column(self, name: str) -> str:
        return f.label(name)

    def item_url(self, item: Any) -> str | None:
        return url_for(f"{self.endpoint}.show", pk=self.datamodel.public_key(item))

    def list_url(self) -> str:
        return url_for(f"{self.endpoint}.list")

    def options_url(self, column: str) -> str:
        return url_for(f"{self.endpoint}.options", column=column)

    def name_of(self, item: Any) -> str:
        return label_of(item)

    def may(self, verb: str) -> bool:
        """Whether the reader may *verb* here: the matrix, and a generated form only where one exists."""
        return can(verb, self.permission_resource)

    def update_redirect(self) -> None:
        """Flask-AppBuilder keeps a page history in the cookie; we return to where a form came from instead."""

    def back(self, item: Any = None) -> Any:
        """Redirect to the record, or to the list it was called from."""
        target = request.form.get("_back", "")
        if target.startswith("/") and not target.startswith(("//", "/\\")):
            return redirect(target)
        return redirect((self.item_url(item) if item is not None else None) or self.list_url())

    def get(self, pk: str) -> Any:
        """The row with public key *pk* within the reader's scope. Aborts with 404."""
        clauses = self.datamodel.key_clauses(pk)
        if clauses is None:
            abort(404)
        columns = [*self.show_columns, *self.list_columns]
        item = self.base_query().filter(*clauses).options(*self.datamodel.loads(columns)).one_or_none()
        if item is None:
            abort(404)
        return item

    def related_row(self, column: str, model: type[Any], public_id: str) -> Any:
        """What *column* may refer to, by public id; None outside the reader's scope, so that no name leaks."""
        clauses, query = Rows(model).key_clauses(str(public_id)), related.scoped_choice(self, column, model)
        if clauses is None or query is None:
            return None
        if "user" in model.__mapper__.relationships:
            query = query.options(joinedload(model.user))
        return query.filter(*clauses).one_or_none()

    def render_template(self, template: str, **values: Any) -> str:
        """A template with the organisation acted for as ``org``, as hand-written pages have it."""
        return str(super().render_template(template, org=g.get("org"), **values))

    # ---- list ----------------------------------------------------------------
    @expose("/")
    @has_access
    @permission_name("list")
    def list(self) -> Any:
        from app.views.shell.saved import default_query, saved_of

        if not request.query_string:
            default = default_query(self)
            if default:
                return redirect(f"{request.path}?{default}")
        page = listing.build(self, zone())
        return self.render_template(
            self.list_template,
            title=self.title,
            page=page,
            view=self,
            tabs=saved_of(self),
            filters=listing.filter_spec(self),
            actions=self.offered(multiple=True),
        )

    def offered(self, item: Any = None, multiple: bool = False) -> Sequence[Action]:
        """Actions the reader may use: on one item, or on the bulk bar."""
        out = []
        for a in self.declared.values():
            if (
                (a.multiple if multiple else a.single)
                and self.may(a.verb)
                and (item is None or a.possible(item))
            ):
                out.append(a)
        return out

    def links(self, item: Any) -> Sequence[tuple[str, str, str]]:
        """More of a row's menu: (text, address, icon) of pages that take further what no dialog holds."""
        return ()

    # ---- detail --------------------------------------------------------------
    @expose("/show/<pk>")
    @has_access
    @permission_name("show")
    def show(self, pk: str) -> Any:
        item = self.get(pk)
        names = self.show_columns
        shown = dict(zip(names, values(self.datamodel, [item], names, self.scope)[0], strict=True))
        sections = self.show_fieldsets or [("", {"fields": names})]
        tabs, active = related.tabs(self, item)
        subtitle = self.subtitle(item) if callable(self.subtitle) else self.subtitle
        return self.render_template(
            self.show_template,
            title=label_of(item),
            view=self,
            item=item,
            key=pk,
            shown=shown,
            sections=sections,
            columns={c.name: c for c in listing.columns(self, names, sortable=False)},
            actions=self.offered(item),
            may_edit=self.writes and self.may("write") and self.can_edit(item),
            tabs=tabs,
            active=active,
            timeline=related.timeline(self, item),
            subtitle=subtitle,
            extra=self.detail(item),
        )

    def detail(self, item: Any) -> dict[str, Any]:
        """More for the detail template of a subclass (``show_template``); reached there as ``extra``."""
        return {}

    def told_with(self, item: Any) -> Sequence[Any]:
        """Other records of the table whose history is told on *item*'s page too."""
        return ()

    def can_edit(self, item: Any) -> bool:
        """Whether the generated form may change *item* in its state."""
        return True

    # ---- remote selects --------------------------------------------------------
    @expose("/_options/<column>")
    @has_access
    @permission_name("options")
    def options(self, column: str) -> Any:
        spec = self.datamodel.filter_for(column)
        if (
            spec is None
            or spec[2] is None
            or column not in {*self.filterable, *self.add_columns, *self.edit_columns}
        ):
            abort(404)
        return jsonify(related.options(self, column, spec[2], request.args.get("q", "")))

    # ---- actions ---------------------------------------------------------------
    @expose("/action/<name>/<pk>", methods=["POST"])
    def action(self, name: str, pk: str) -> Any:
        return self.run(name, [pk], single=True)

    @expose("/action_post", methods=["POST"])
    def action_post(self) -> Any:
        return self.run(
            request.form.get("action", ""), request.form.getlist("rowid")[: listing.PAGE_SIZES[-1]]
        )

    def run(self, name: str, keys: Sequence[str], single: bool = False) -> Any:
        """Check right, scope, state and confirmation of an action, then do it in this request's transaction."""
        todo = self.declared.get(name)
        if todo is None or not keys or not (todo.single if single else todo.multiple):
            abort(404)
        if not self.may(todo.verb):
            abort(403)
        items = [self.get(k) for k in dict.fromkeys(keys)]
        first = items[0] if single else None
        session = self.datamodel.session
        try:
            stuck = [label_of(i) for i in items if not todo.possible(i)]
            if stuck:
                raise DomainError(
                    "ILLEGAL_TRANSITION",
                    message=f"“{todo.text}” is not possible for "
                    f"{', '.join(stuck[:3])}{'…' if len(stuck) > 3 else ''} in the current state.",
                )
            word = todo.word(first)
            if word and request.form.get("confirm_word", "").strip() != word:
                raise Invalid({"confirm_word": [f"Type “{word}” to confirm."]})
            answer = todo.func(self, items, **todo.answers(request.form))
            session.commit()
        except Invalid as error:
            session.rollback()
            for problems in error.fields.values():
                flash(" ".join(problems), "danger")
            return self.back(first)
        except DomainError as error:
            session.rollback()
            flash(error.message, "danger")
            return self.back(first)
        except IntegrityError:
            session.rollback()
            flash("This conflicts with something that already exists.", "danger")
            return self.back(first)
        if isinstance(answer, str) or answer is None:
            flash(answer or f"{todo.text}: done.", "success")
            return self.back(first)
        return answer


def zone() -> dt.tzinfo:
    """The reader's time zone."""
    from app.views.shell.context import zone as reader_zone

    return reader_zone()
