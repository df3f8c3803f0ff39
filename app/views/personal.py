"""A person's own dashboard: bookings, organisations, an invitation that waits."""

from __future__ import annotations

from typing import Any

from flask import flash, g, redirect, request, session
from flask_appbuilder import expose

from app.errors import DomainError, Invalid
from app.extensions import db
from app.services import home, invitation_answers, members
from app.views.forms import confirmed

from .links import existing
from .pages import OrgPage, Page, page, personal_page
from .scoping import page_scope, scope_chips


class DashboardPage(Page):
    """``/dashboard``: everything of mine, across organisations."""

    route_base = "/dashboard"

    @expose("")
    @expose("/")
    @expose("/personal")
    @personal_page
    def index(self) -> Any:
        user, scope = g.identity.user, page_scope()
        return self.render(
            "organizations/personal.html",
            title="My dashboard",
            me=user,
            coming=home.own_appointments(db.session(), user.id, scope),
            chips=scope_chips(scope),
            memberships=g.memberships,
            waiting=pending_offer(),
            book=existing("/explore/experts"),
        )


def pending_offer() -> invitation_answers.Offer | None:
    """The invitation whose link this browser opened, while it can still be accepted."""
    digest = session.get("invite_token")
    if not digest:
        return None
    try:
        found = invitation_answers.offer(db.session(), str(digest))
    except DomainError:
        session.pop("invite_token", None)
        return None
    return None if found.problem else found


class LeavePage(OrgPage):
    """Leaving an organisation, from the personal dashboard."""

    route_base = "/dashboard/organization/<org_id>/leave"
    resource = "leave"

    @expose("", methods=["POST"])
    @page("leave", "write")
    def leave(self) -> Any:
        name = g.org["name"]
        if not confirmed(request.form, g.org["slug"]):
            raise Invalid({"confirm_word": [f"Type “{g.org['slug']}” to confirm."]})
        members.leave(db.session())
        flash(f"You left {name}.", "success")
        return redirect("/dashboard")
