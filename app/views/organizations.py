"""The organisation's own pages: landing, home, settings, verification."""

from __future__ import annotations

from typing import Any

from flask import g, redirect, url_for
from flask_appbuilder import expose
from sqlalchemy import select

from app.api.http import hosting
from app.extensions import db
from app.models import OrgRole, OrgWorkspaceProfile
from app.security.context import ctx
from app.views.base import page as page_entry

from .links import org_page
from .pages import OrgPage, Page, page, personal_page
from .workspace import runs_something

OPERATORS = frozenset({OrgRole.OWNER, OrgRole.MAINTAINER, OrgRole.MANAGER})
LANDING = {OrgRole.LEARNER: "my-program", OrgRole.EXPERT: "my-arrangement"}


class WorkspacePage(Page):
    """``/dashboard/organization``: to the workspace of who runs organisations, or to the personal dashboard."""

    route_base = "/dashboard/organization"

    @expose("")
    @expose("/")
    @personal_page
    def index(self) -> Any:
        if runs_something():
            return redirect(url_for("WorkspaceDoor.index"))
        return redirect("/dashboard")


def landing_address() -> str:
    """Where a member lands after signing in: the default landing organisation while it is the person's own, else the
    first organisation by rank, else the personal dashboard (chapter 1, 1.7)."""
    rows = [m for m in g.memberships if m["membership_status"] == "ACTIVE" and m["status"] != "DEACTIVATED"]
    if not rows:
        return "/dashboard"
    chosen = db.session.scalar(
        select(OrgWorkspaceProfile.default_landing_organization_id).where(
            OrgWorkspaceProfile.user_id == ctx().user_id
        )
    )
    place = next((m for m in rows if m["organization_id"] == chosen and m["role"] == OrgRole.OWNER), rows[0])
    return f"/dashboard/organization/{place['slug']}"


class LandingPage(OrgPage):
    """The organisation without a page named: where the role works."""

    route_base = "/dashboard/organization/<org_id>"

    @expose("")
    @expose("/")
    @page("home")
    def index(self) -> Any:
        role = ctx().role
        name = LANDING.get(OrgRole(role)) if role else None
        if name == "my-arrangement" and not hosting():
            name = None  # a locked card is no place to arrive at
        return redirect((org_page(name) if name else None) or url_for("HomePage.index"))


def register(appbuilder: Any) -> None:
    """Register the pages of this domain, the wizard and the personal dashboard with it."""
    from .home import HomePage
    from .org_settings import SettingsPage
    from .personal import DashboardPage, LeavePage
    from .wizard import WizardPage

    for view in (WorkspacePage, LandingPage, WizardPage, LeavePage):
        appbuilder.add_view_no_menu(view())
    page_entry(
        appbuilder,
        HomePage(),
        group="",
        label="Home",
        resource="home",
        icon="house",
        order=-100,
        keywords="overview dashboard",
    )
    page_entry(
        appbuilder,
        SettingsPage(),
        group="Configuration",
        label="Settings",
        resource="settings",
        icon="settings",
        order=-10,
        keywords="profile branding gstin tax policies verification",
    )
    page_entry(
        appbuilder,
        DashboardPage(),
        group="",
        label="My dashboard",
        resource="",
        icon="layout-dashboard",
        scope="personal",
        order=-100,
        keywords="bookings organisations",
    )
