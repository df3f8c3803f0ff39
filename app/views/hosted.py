"""Page of the sessions a host's experts deliver to others' learners."""

from __future__ import annotations

from typing import Any

from flask import request, url_for
from flask_appbuilder import expose

from app.api.hosted import after_of, hosted_csv, next_of
from app.api.http import page_args
from app.extensions import db
from app.services import hosted
from app.views.base import page as sidebar

from .pages import OrgPage, page

PER_PAGE = 50


class HostedPage(OrgPage):
    """When, what, by whom and for whom; who pays stays with who pays."""

    route_base = "/dashboard/organization/<org_id>/hosted-sessions"
    resource = "hosted-sessions"

    @expose("/")
    @page("hosted-sessions")
    def index(self) -> Any:
        past = request.args.get("when") == "past"
        cursor, _ = page_args()
        rows = hosted.listed(db.session(), past=past, limit=PER_PAGE + 1, after=after_of(cursor))
        return self.render(
            "operations/hosted.html",
            title="Hosted sessions",
            rows=rows[:PER_PAGE],
            past=past,
            first=cursor is None,
            more=next_of(rows, PER_PAGE),
            tabs=[
                {"label": "Upcoming", "url": url_for("HostedPage.index"), "here": not past},
                {"label": "Past", "url": url_for("HostedPage.index", when="past"), "here": past},
            ],
        )

    @expose("/export")
    @page("hosted-sessions")
    def export(self) -> Any:
        return hosted_csv(request.args.get("when") == "past")


def register(appbuilder: Any) -> None:
    """Put the page into the sidebar."""
    sidebar(
        appbuilder,
        HostedPage(),
        group="Operations",
        label="Hosted sessions",
        resource="hosted-sessions",
        icon="presentation",
        keywords="delivered experts host other organisations sessions",
    )
