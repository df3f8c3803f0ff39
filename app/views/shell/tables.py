"""/admin/data: every table, by domain, for ADMIN and STAFF."""

from __future__ import annotations

import re
from typing import Any

from flask import abort
from flask_appbuilder import BaseView, expose
from sqlalchemy import text

from app.extensions import db
from app.security.matrix import can
from app.views import format as f
from app.views.base.registry import registry


def about(model: Any) -> str:
    """What a table holds, from its docstring's first clause; nothing where that speaks to engineers."""
    clause = (
        re.split(r"[;:(]|\. |\.$", (model.__doc__ or "").split("\n")[0], maxsplit=1)[0]
        .replace("`", "")
        .strip()
    )
    return "" if re.search(r"[_<|=]", clause) else clause[:110]


class DataIndex(BaseView):  # type: ignore[misc]
    """The list of tables with their estimated size."""

    route_base = "/admin/data"
    class_permission_name = "platform-data"
    default_view = "index"

    @expose("/")
    def index(self) -> Any:
        from . import to_sign_in

        gone = to_sign_in()
        if gone is not None:
            return gone
        if not can("read", "platform-data"):
            abort(404)
        sizes = dict(
            db.session.execute(
                text(
                    "SELECT relname, greatest(reltuples, pg_stat_get_live_tuples(oid), 0)::bigint FROM pg_class "
                    "WHERE relkind IN ('r','p') AND relnamespace = 'public'::regnamespace"
                )
            ).all()
        )
        groups: dict[str, list[dict[str, Any]]] = {}
        for view in registry().views:
            if view.scope != "platform" or not view.may("read"):
                continue
            model = view.datamodel.obj
            domain = model.__module__.rsplit(".", 1)[-1]
            groups.setdefault("security" if domain == "models" else domain, []).append(
                {
                    "title": view.title,
                    "icon": view.icon,
                    "url": view.list_url(),
                    "table": model.__tablename__,
                    "about": about(model),
                    "rows": f.number(int(sizes.get(model.__tablename__, 0))),
                }
            )
        ordered = sorted(
            (f.words(name), sorted(items, key=lambda i: i["title"])) for name, items in groups.items()
        )
        return self.render_template("console/data.html", groups=ordered, title="All tables")
