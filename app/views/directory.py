"""Explore: organisations that host experts, for everybody, signed in or not (chapter 1, 1.2, "directory")."""

from __future__ import annotations

from typing import Any

from flask import abort, g, request, url_for
from flask_appbuilder import expose

from app.api.directory import asked, counted, start
from app.api.http import cursor_of, page_args
from app.errors import DomainError
from app.extensions import db
from app.services import directory, images
from app.views.base import page as page_entry

from .pages import Page, open_page

PER_PAGE = 12


class HostsPage(Page):
    """Cards of hosts, and a host's own page."""

    route_base = "/explore/enterprise/organisations"
    class_permission_name = "self"

    def _frame(self) -> str:
        return "appbuilder/base.html" if g.get("identity") else "explore/public.html"

    @expose("/")
    @expose("")
    @open_page
    def index(self) -> Any:
        counted()
        wanted = asked()
        cursor, _ = page_args()
        rows, more = directory.search(db.session(), **wanted, limit=PER_PAGE, after=start(cursor))
        kept: dict[str, Any] = {k: request.args[k] for k in ("q", "industry") if request.args.get(k)}
        here = "HostsPage.index"
        return self.render(
            "explore/organisations.html",
            around=self._frame(),
            title="Organisations with experts",
            hosts=rows,
            q=wanted["text_"] or "",
            industry=wanted["industry"] or "",
            chips=[
                (name, count, url_for(here, **{**kept, "industry": name}))
                for name, count in directory.industries(db.session())
            ],
            everywhere=url_for(here, **{k: v for k, v in kept.items() if k != "industry"}),
            more=url_for(here, **kept, cursor=cursor_of({"name": more[0], "id": more[1]})) if more else "",
            paged=cursor is not None,
            address=images.address,
        )

    @expose("/<slug>")
    @open_page
    def show(self, slug: str) -> Any:
        counted()
        try:
            host = directory.find(db.session(), slug)
        except DomainError:
            abort(404)
        return self.render(
            "explore/organisation.html",
            around=self._frame(),
            title=host.name,
            host=host,
            plans=directory.plans(db.session(), host),
            address=images.address,
            signed_in=bool(g.get("identity")),
        )


def register(appbuilder: Any) -> None:
    """Register the pages, and the entry of the personal sidebar."""
    page_entry(
        appbuilder,
        HostsPage(),
        group="",
        label="Organisations with experts",
        resource="",
        icon="building-2",
        scope="personal",
        keywords="directory hosts academies",
    )
