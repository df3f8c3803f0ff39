"""The dialogs of the roster: adding somebody with an account, inviting everybody else."""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, redirect, request, url_for
from flask_appbuilder import expose

from app.errors import Invalid
from app.extensions import db
from app.models import OrgRole
from app.security import limits
from app.security.context import ctx
from app.services import invitations, joining
from app.services.member_rules import words
from app.services.text import split_addresses

from .pages import OrgPage, page


class MemberAddPage(OrgPage):
    """Adds somebody who has an account already."""

    route_base = "/dashboard/organization/<org_id>/members/add"
    resource = "members"

    @expose("", methods=["POST"])
    @page("members", "write")
    def add(self) -> Any:
        user = joining.find_person(db.session(), email=request.form.get("email", "")[:320])
        try:
            role = OrgRole(request.form.get("role", ""))
        except ValueError:
            raise Invalid({"role": ["Choose a role."]}) from None
        joined = joining.add_member(db.session(), user, role, request.form.get("department") or None)
        flash(f"{user.name} is now {words(role)}{'' if joined.created else ' again'}.", "success")
        return redirect(url_for("Members.list"))


class InvitePage(OrgPage):
    """Sends invitations: one address or up to 200, each with its own result and, now only, its link."""

    route_base = "/dashboard/organization/<org_id>/invitations/send"
    resource = "invitations"

    @expose("", methods=["POST"])
    @page("invitations", "write")
    def send(self) -> Any:
        form = request.form
        try:
            role, days = OrgRole(form.get("role", "")), int(form.get("days") or invitations.DEFAULT_DAYS)
        except ValueError:
            raise Invalid({"role": ["Choose a role, and from 1 to 30 days."]}) from None
        limits.hit("invitation-send", str(ctx().org_id))
        results = invitations.send_bulk(
            db.session(),
            split_addresses(form.get("emails", "")[:100_000]),
            role,
            form.get("department") or None,
            days=days,
        )
        return self.render(
            "people/invited.html",
            title="Invitations sent" if any(r.sent for r in results) else "Nobody invited",
            results=results,
            base=current_app.config["SETTINGS"].base_url,
        )
