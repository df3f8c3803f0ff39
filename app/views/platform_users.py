"""Accounts in the staff console: find somebody, see where they belong, grant a platform role, switch an account off."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from flask_appbuilder import expose

from app.api.platform_users import found
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import PlatformRole
from app.security import confirm, matrix
from app.security.context import ctx
from app.services import platform_users
from app.views.base import page as page_entry

from .account import to_confirm
from .links import existing
from .pages import Page, platform_page

TABS = (("all", "All"), ("team", "Platform team"), ("experts", "Experts"), ("inactive", "Switched off"))
ROLES = (
    ("", "None", "An ordinary account: what organisations and profiles make of it."),
    ("STAFF", "Staff", "Reads every table, answers, looks in with a reason; decides nothing."),
    (
        "ADMIN",
        "Administrator",
        "Verifies, suspends, runs jobs, acts as an owner anywhere, grants these roles.",
    ),
)


class UsersPage(Page):
    """``/admin/users``."""

    route_base = "/admin/users"
    resource = "users"

    @expose("/")
    @platform_page("users")
    def index(self) -> Any:
        here, search = request.args.get("tab", "all"), request.args.get("q", "").strip()[:100]
        before = request.args.get("before", "")
        if here not in platform_users.TABS:
            raise DomainError("NOT_FOUND")
        size = platform_users.PAGE
        rows = platform_users.listed(
            db.session(),
            here,
            search.replace("\x00", ""),
            limit=size + 1,
            before=found(before).id if before else None,
        )
        counts = platform_users.counts(db.session())
        return self.render(
            "admin/users.html",
            title="Users",
            tabs=[
                {
                    "label": label,
                    "url": url_for("UsersPage.index", tab=name, q=search or None),
                    "here": name == here,
                    "count": counts[name],
                }
                for name, label in TABS
            ],
            here=here,
            search=search,
            rows=rows[:size],
            more=rows[size - 1].public_id if len(rows) > size else None,
        )

    @expose("/<key>")
    @platform_page("users")
    def show(self, key: str) -> Any:
        known = platform_users.account(db.session(), found(key))
        return self.render(
            "admin/user.html",
            title=known.user.name,
            u=known.user,
            known=known,
            roles=ROLES,
            role=known.user.platform_role.value if known.user.platform_role in platform_users.HOUSE else "",
            may=matrix.can("write", "users")
            and known.user.id != ctx().user_id
            and known.user.erased_at is None,
            me=known.user.id == ctx().user_id,
            organization_url=lambda o: existing(f"/admin/organizations/{o.public_id}"),
        )

    @expose("/<key>/platform-role", methods=["POST"])
    @platform_page("users", "write")
    def role(self, key: str) -> Any:
        here = url_for("UsersPage.show", key=key)
        if not confirm.is_confirmed():
            return to_confirm(here)
        wanted = request.form.get("role", "")
        if wanted not in [value for value, _, _ in ROLES]:
            raise Invalid({"role": ["Choose a role."]})
        row = platform_users.set_platform_role(
            db.session(), found(key), PlatformRole(wanted) if wanted else None
        )
        flash(f"{row.name} is now {row.platform_role.value.replace('_', ' ').lower()}.", "success")
        return redirect(here)

    @expose("/<key>/active", methods=["POST"])
    @platform_page("users", "write")
    def active(self, key: str) -> Any:
        on = request.form.get("on") == "y"
        row = platform_users.set_active(db.session(), found(key), on)
        flash(
            f"{row.name} may sign in again." if on else f"{row.name} is signed out and cannot sign in.",
            "success",
        )
        return redirect(url_for("UsersPage.show", key=key))


def register(appbuilder: Any) -> None:
    """Register the page."""
    page_entry(
        appbuilder,
        UsersPage(),
        group="Platform",
        label="Users",
        resource="users",
        icon="users",
        scope="platform",
        order=-8,
        keywords="accounts people staff administrators roles switch off",
    )
