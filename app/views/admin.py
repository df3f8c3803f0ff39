"""The staff console: first page and verification queue."""

from __future__ import annotations

from typing import Any

from flask import request, url_for
from flask_appbuilder import expose

from app.api.http import number_arg
from app.api.platform_organizations import found
from app.errors import DomainError
from app.extensions import db
from app.security import matrix
from app.security.context import acting
from app.services import operations, staff, verification, verification_queue
from app.views.base import page as page_entry

from .links import existing
from .pages import Page, platform_page
from .staff_organization import StaffOrganizationPage, decide

QUEUE = (
    ("waiting", "Waiting"),
    ("info", "Information requested"),
    ("rejected", "Rejected"),
    ("all", "All"),
)
EVERY = (
    ("all", "All"),
    ("active", "Active"),
    ("suspended", "Suspended"),
    ("deactivated", "Deactivated"),
)


class StaffHomePage(Page):
    """``/admin``: what needs a hand."""

    route_base = "/admin"
    resource = "platform-home"

    @expose("")
    @expose("/")
    @platform_page("platform-home")
    def index(self) -> Any:
        events = matrix.can("read", "system-events")
        with acting(db.session(), scope="platform"):
            backup = operations.last_backup(db.session())
        return self.render(
            "admin/home.html",
            title="Staff console",
            o=staff.overview(db.session()),
            waiting=verification_queue.listed(db.session(), "waiting", "", 5, 0),
            trouble=staff.trouble(db.session(), events=events),
            backup=backup,
            backup_old=operations.too_old(backup),
            link_to=existing,
        )


class VerificationPage(Page):
    """``/admin/verification``: the queue; a decision is made on the organisation's page."""

    route_base = "/admin/verification"
    resource = "verification-queue"

    @expose("")
    @expose("/")
    @platform_page("verification-queue")
    def index(self) -> Any:
        sub = "Every organisation is looked at by a person before money moves."
        return _list(self, "Verification", sub, QUEUE, "waiting")

    @expose("/<key>", methods=["POST"])
    @platform_page("verification-queue", "write")
    def decide(self, key: str) -> Any:
        return decide(found(key), request.form.get("action", "")[:40])


class OrganizationsPage(Page):
    """``/admin/organizations``: all of them, in whatever state."""

    route_base = "/admin/organizations"
    resource = "verification-queue"

    @expose("/")
    @platform_page("verification-queue")
    def index(self) -> Any:
        return _list(self, "Organisations", "Everybody on the platform, the newest first.", EVERY, "all")


def _list(view: Page, title: str, sub: str, wanted: tuple[tuple[str, str], ...], default: str) -> str:
    """Organisations under tabs, searched and paged. Raises NOT_FOUND for a tab nobody offers."""
    here, endpoint = request.args.get("status", default), f"{type(view).__name__}.index"
    if here not in verification_queue.TABS:
        raise DomainError("NOT_FOUND")
    search, number = request.args.get("q", "").strip()[:100], number_arg("page", 1, 10_000)
    counts, size = verification_queue.counts(db.session()), verification_queue.PAGE
    rows = verification_queue.listed(db.session(), here, search, size + 1, size * (number - 1))
    return view.render(
        "admin/verification.html",
        title=title,
        sub=sub,
        endpoint=endpoint,
        tabs=[
            {
                "label": label,
                "url": url_for(endpoint, status=name, q=search or None),
                "here": name == here,
                "count": counts[name],
            }
            for name, label in wanted
        ],
        here=here,
        search=search,
        rows=rows[:size],
        number=number,
        more=len(rows) > size,
        stage=verification.stage,
        first=rows[0].organization if rows and here == "waiting" and not search else None,
    )


def register(appbuilder: Any) -> None:
    """Register the staff pages."""
    appbuilder.add_view_no_menu(StaffOrganizationPage())
    page_entry(
        appbuilder,
        StaffHomePage(),
        group="",
        label="Staff home",
        resource="platform-home",
        icon="layout-dashboard",
        scope="platform",
        order=-90,
    )
    page_entry(
        appbuilder,
        VerificationPage(),
        group="Platform",
        label="Verification",
        resource="verification-queue",
        icon="badge-check",
        scope="platform",
        order=-10,
        keywords="queue approve reject information",
    )
    page_entry(
        appbuilder,
        OrganizationsPage(),
        group="Platform",
        label="Organisations",
        resource="verification-queue",
        icon="building-2",
        scope="platform",
        order=-9,
        keywords="suspend reactivate deactivate members notes",
    )
