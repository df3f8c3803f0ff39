"""The command palette: pages and records the reader may open, as JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import abort, current_app, g, jsonify, request
from flask_appbuilder import BaseView, expose

from app.security import limits
from app.security.context import ctx, use
from app.views.base.refs import label_of
from app.views.base.registry import registry

from .context import link, organization

PER_VIEW, MAX_VIEWS = 4, 14


def pages(text: str) -> list[dict[str, Any]]:
    """Pages whose name holds every word of *text*, those of the sidebar first."""
    org = organization()
    scopes = (
        ("org", "personal")
        if org is not None
        else ("platform", "personal")
        if ctx().platform_role
        else ("personal",)
    )
    words = text.lower().split()
    found = []
    for entry, url in registry().visible(scopes, org):
        name = f"{entry.label} {entry.group} {entry.keywords}".lower()
        if all(w in name for w in words):
            found.append(
                (
                    not entry.label.lower().startswith(text.lower()),
                    not entry.listed,
                    {"label": entry.label, "url": url, "icon": entry.icon, "note": entry.group},
                )
            )
    return [item for *_, item in sorted(found, key=lambda f: f[:2])][: 12 if text else 60]


def records(text: str, scope: str) -> list[dict[str, Any]]:
    """A few rows of every searchable view open to the reader, in its scope."""
    groups, seen = [], 0
    for view in registry().views:
        if view.scope != scope or not view.quick_search or not view.may("read"):
            continue
        if scope == "org" and not view.open_to(organization()):  # type: ignore[attr-defined]
            continue
        seen += 1
        if seen > MAX_VIEWS:
            break
        order = view.datamodel.order_by(*(view.base_order or ("", "desc")))
        query = view.datamodel.searched(view.base_query(), text, view.quick_search, order)
        rows = query.options(*view.datamodel.loads(view.quick_search)).order_by(*order).limit(PER_VIEW).all()
        if rows:
            groups.append(
                {
                    "label": view.title,
                    "items": [
                        {
                            "label": label_of(r),
                            "url": view.item_url(r),
                            "icon": view.icon,
                            "note": _note(view, r),
                        }
                        for r in rows
                    ],
                }
            )
    return groups


def _note(view: Any, item: Any) -> str:
    from app.views import format as f

    status = getattr(item, "status", None)
    return f.words(status) if status is not None else view.one.capitalize()


class ConsoleSearch(BaseView):  # type: ignore[misc]
    """Two addresses, one answer: inside an organisation, and outside."""

    route_base = ""
    class_permission_name = "self"
    default_view = "search"

    @expose("/console/search")
    def search(self) -> Any:
        return self._answer()

    @expose("/dashboard/organization/<org_id>/_search")
    def org_search(self) -> Any:
        return self._answer()

    def _answer(self) -> Any:
        if g.get("identity") is None:
            abort(401)
        limits.hit("search", str(g.identity.user.id))
        text = " ".join(request.args.get("q", "").split())[:80]
        groups = []
        found = pages(text)
        if found:
            groups.append({"label": "Pages", "items": found})
        if len(text) >= 2:
            if organization() is not None:
                groups += records(text, "org")
            elif ctx().platform_role:
                use(current_app.appbuilder.session(), replace(ctx(), scope="platform"))  # type: ignore[attr-defined]
                groups += records(text, "platform")
        return jsonify(groups=groups)


def search_url() -> str:
    """Where the palette of this page asks."""
    return (link("ConsoleSearch.org_search") if organization() is not None else None) or "/console/search"
