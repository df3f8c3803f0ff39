"""Saved views: a list's filters under a name, kept by one person for one organisation."""

from __future__ import annotations

import uuid
from typing import Any

from flask import abort, flash, g, redirect, request
from flask_appbuilder import BaseView, expose
from sqlalchemy import select, update

from app.extensions import db
from app.models import SavedView
from app.security.context import ctx
from app.views.base.listing import clean_query
from app.views.base.registry import registry

LIMIT = 30  # saved views of one person on one list


def _mine(view_name: str) -> Any:
    c = ctx()
    return (
        select(SavedView)
        .where(
            SavedView.user_id == (c.user_id or -1),
            SavedView.view == view_name,
            SavedView.organization_id.is_not_distinct_from(c.org_id),
        )
        .order_by(SavedView.id)
    )


def _rows(view: Any) -> list[SavedView]:
    key = f"_saved_{view.endpoint}"
    if key not in g:
        setattr(g, key, list(db.session.scalars(_mine(view.endpoint))))
    return getattr(g, key)  # type: ignore[no-any-return]


def default_query(view: Any) -> str | None:
    """The query of the reader's default view of this list, if they chose one."""
    return next((row.query for row in _rows(view) if row.is_default), None)


def saved_of(view: Any) -> list[dict[str, Any]]:
    """Tabs over a list: All, the declared ones, the reader's own."""
    rows = _rows(view)
    declared = [("All", ""), *view.saved]
    if len(declared) == 1 and not rows:
        return []
    now = clean_query(request.query_string.decode("utf-8", "replace"))
    tabs = [
        {
            "label": name,
            "url": f"{request.path}?{query or 'view=all'}",
            "here": now == clean_query(query),
            "id": None,
        }
        for name, query in declared
    ]
    tabs += [
        {
            "label": r.name,
            "url": f"{request.path}?{r.query}",
            "here": now == r.query,
            "id": str(r.public_id),
            "default": r.is_default,
        }
        for r in rows
    ]
    return tabs


class SavedViews(BaseView):  # type: ignore[misc]
    """Save, rename, make default, delete. Everybody manages their own."""

    route_base = ""
    class_permission_name = "self"
    default_view = "save"

    def _back(self, query: str = "") -> Any:
        target = request.form.get("_back", "/").split("?")[0]
        if not target.startswith("/") or target.startswith(("//", "/\\")):
            target = "/"
        return redirect(target + (f"?{query}" if query else "?view=all"))

    def _own(self, key: str) -> SavedView:
        try:
            row = db.session.scalars(
                select(SavedView).where(
                    SavedView.public_id == uuid.UUID(key), SavedView.user_id == (ctx().user_id or -1)
                )
            ).one_or_none()
        except ValueError:
            row = None
        if row is None:
            abort(404)
        return row

    @expose("/console/views/save", methods=["POST"])
    def save(self) -> Any:
        return self._save()

    @expose("/dashboard/organization/<org_id>/_views/save", methods=["POST"])
    def org_save(self) -> Any:
        return self._save()

    def _save(self) -> Any:
        if not ctx().user_id:
            abort(401)
        view = next((v for v in registry().views if v.endpoint == request.form.get("view")), None)
        name = " ".join(request.form.get("name", "").split())[:80]
        query = clean_query(request.form.get("query", ""))[:1000]
        if view is None or not view.may("read"):
            abort(404)
        org_id = self._organization(view)
        mine = list(
            db.session.scalars(
                select(SavedView).where(
                    SavedView.user_id == ctx().user_id,
                    SavedView.view == view.endpoint,
                    SavedView.organization_id.is_not_distinct_from(org_id),
                )
            )
        )
        if not name or not query:
            flash("A saved view needs a name and at least one filter.", "warning")
        elif len(mine) >= LIMIT:
            flash(f"You have {LIMIT} saved views on this list. Delete one first.", "warning")
        else:
            row = next((r for r in mine if r.name.lower() == name.lower()), None)
            if row is None:
                row = SavedView(
                    user_id=ctx().user_id, organization_id=org_id, view=view.endpoint, name=name, query=query
                )
                db.session.add(row)
            row.query = query
            db.session.commit()
            flash(f"View “{name}” saved.", "success")
        return self._back(query)

    def _organization(self, view: Any) -> int | None:
        return ctx().org_id if view.scope == "org" else None

    @expose("/console/views/<key>/rename", methods=["POST"])
    def rename(self, key: str) -> Any:
        row = self._own(key)
        name = " ".join(request.form.get("name", "").split())[:80]
        if name:
            row.name = name
            db.session.commit()
            flash(f"View renamed to “{name}”.", "success")
        return self._back(row.query)

    @expose("/console/views/<key>/default", methods=["POST"])
    def default(self, key: str) -> Any:
        row = self._own(key)
        on = not row.is_default
        db.session.execute(
            update(SavedView)
            .where(
                SavedView.user_id == row.user_id,
                SavedView.view == row.view,
                SavedView.organization_id.is_not_distinct_from(row.organization_id),
            )
            .values(is_default=False)
        )
        row.is_default = on
        db.session.commit()
        flash(f"“{row.name}” {'opens first from now on' if on else 'no longer opens first'}.", "success")
        return self._back(row.query)

    @expose("/console/views/<key>/delete", methods=["POST"])
    def delete(self, key: str) -> Any:
        row = self._own(key)
        name = row.name
        db.session.delete(row)
        db.session.commit()
        flash(f"View “{name}” deleted.", "success")
        return self._back()
