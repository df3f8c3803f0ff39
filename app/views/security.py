"""An organisation's locks as pages: ownership, API keys, and who of the platform team looked in."""

from __future__ import annotations

from typing import Any

from flask import flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app.api.http import find, parse_id, validate
from app.api.security import KeySchema, new_key, own_access
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import ApiAccess, Membership, OrgRole
from app.security import confirm, doors, matrix
from app.security.context import ctx
from app.services import api_keys, ownership, support_access
from app.services.member_rules import words
from app.views import format as f
from app.views.base import page as page_entry

from .account import to_confirm
from .pages import OrgPage, page

LIFETIMES = [("30", "30 days"), ("90", "90 days"), ("180", "180 days"), ("365", "A year")]


class OwnershipPage(OrgPage):
    """``settings/ownership``: hand the organisation over. Confirmed, typed, at once."""

    route_base = "/dashboard/organization/<org_id>/settings/ownership"
    resource = "ownership"

    @expose("", methods=["GET"])
    @page("ownership")
    def index(self) -> Any:
        if ctx().role != OrgRole.OWNER:
            raise DomainError("OWNER_REQUIRED")
        if not ctx().viewing and not confirm.is_confirmed():
            return to_confirm(url_for("OwnershipPage.index"))
        return self._page()

    @expose("", methods=["POST"])
    @page("ownership", "write")
    def transfer(self) -> Any:
        if not confirm.is_confirmed():
            return to_confirm(url_for("OwnershipPage.index"))
        slug, errors = g.org["slug"], {}
        try:
            target = find(Membership, request.form.get("member", ""))
            afterwards = ownership.Afterwards(request.form.get("afterwards", ""))
            done = ownership.transfer(db.session(), target, afterwards, request.form.get("confirm_word", ""))
            name = done.owner.user.name
        except ValueError:
            errors = {"afterwards": ["Choose what you do next."]}
        except Invalid as error:
            errors = error.fields
        except DomainError as error:
            errors = {"member": [error.message if error.code != "NOT_FOUND" else "Choose a member."]}
        if errors:
            db.session.rollback()
            return self._page({k.replace("member_id", "member"): v for k, v in errors.items()}), 400
        flash(f"{name} is now an owner.", "success")
        gone = afterwards == ownership.Afterwards.LEAVE
        return redirect("/dashboard" if gone else f"/dashboard/organization/{slug}/home")

    def _page(self, errors: dict[str, list[str]] | None = None) -> str:
        people = ownership.candidates(db.session())
        return self.render(
            "security/ownership.html",
            title="Transfer ownership",
            errors=errors or {},
            given=request.form,
            people=[(str(m.public_id), f"{m.user.name} · {m.user.email} · {words(m.role)}") for m in people],
            suspended=g.org["status"] == "SUSPENDED",
            viewing=ctx().viewing,
        )


class ApiKeysPage(OrgPage):
    """``settings/api-keys``: an owner sees every key, a maintainer their own."""

    route_base = "/dashboard/organization/<org_id>/settings/api-keys"
    resource = "api-keys"

    @expose("")
    @page("api-keys")
    def index(self) -> Any:
        return self._page()

    @expose("", methods=["POST"])
    @page("api-keys", "write")
    def create(self) -> Any:
        """Make a key; its secret is on the answer's page and nowhere else."""
        given = {
            "name": request.form.get("name", ""),
            "access": request.form.get("access", ""),
            "resources": request.form.getlist("resources"),
            "days": int(d)
            if (d := request.form.get("days", "")).isascii() and d.isdigit() and len(d) < 5
            else 0,
        }
        try:
            made = new_key(validate(KeySchema, given))
        except Invalid as error:
            db.session.rollback()
            return self._page(error.fields), 400
        return self._page(made=made), 201

    @expose("/<key>/revoke", methods=["POST"])
    @page("api-keys", "write")
    def revoke(self, key: str) -> Any:
        row = api_keys.revoke(db.session(), api_keys.find(db.session(), parse_id(key)))
        flash(f"{row.name} is revoked. Whatever used it is refused from now on.", "success")
        return redirect(url_for("ApiKeysPage.index"))

    def _page(self, errors: dict[str, list[str]] | None = None, made: api_keys.NewKey | None = None) -> str:
        rows = api_keys.visible(db.session())
        may_make = (
            ctx().membership_id is not None
            and matrix.can("write", "api-keys")
            and g.org["status"] in ("ACTIVE", "PENDING_VERIFICATION")
        )
        return self.render(
            "security/api_keys.html",
            title="API keys",
            keys=[(row, api_keys.state(row)) for row in rows],
            all_keys=ctx().role != OrgRole.MAINTAINER,
            made=made,
            may_make=may_make,
            may_revoke=matrix.can("write", "api-keys"),
            errors=errors or {},
            given=request.form,
            chosen=request.form.getlist("resources") if errors else [],
            accesses=[
                (ApiAccess.READ.value, "Reads only", "Lists and details, nothing changes."),
                (ApiAccess.WRITE.value, "Reads and writes", "Whatever your role may change too."),
            ],
            resources=[(r, f.words(r.replace("-", "_"))) for r in _grantable()],
            lifetimes=LIFETIMES,
        )


def _grantable() -> list[str]:
    """The resources a key of the acting person could use at all."""
    return [
        r
        for r in doors.KEY_RESOURCES
        if r == doors.CHECKOUT or any(matrix.can(verb, r) for verb in matrix.MATRIX[r])
    ]


class SupportAccessPage(OrgPage):
    """``settings/support-access``: who of the platform team looked in; an owner sends them out."""

    route_base = "/dashboard/organization/<org_id>/settings/support-access"
    resource = "support-access"

    @expose("")
    @page("support-access")
    def index(self) -> Any:
        rows = support_access.of_organization(db.session())
        return self.render(
            "security/support_access.html",
            title="Support access",
            rows=[(row, support_access.is_open(row)) for row in rows],
            may_end=matrix.can("write", "support-access") and g.org["status"] != "SUSPENDED",
        )

    @expose("/<key>/end", methods=["POST"])
    @page("support-access", "write")
    def end(self, key: str) -> Any:
        support_access.end_access(db.session(), own_access(key))
        flash("The support access has ended.", "success")
        return redirect(url_for("SupportAccessPage.index"))


def register(appbuilder: Any) -> None:
    """Register the pages."""
    appbuilder.add_view_no_menu(OwnershipPage())
    page_entry(
        appbuilder,
        ApiKeysPage(),
        group="Configuration",
        label="API keys",
        resource="api-keys",
        icon="key-round",
        order=20,
        keywords="token secret rest automation",
    )
    page_entry(
        appbuilder,
        SupportAccessPage(),
        group="Configuration",
        label="Support access",
        resource="support-access",
        icon="life-buoy",
        order=30,
        keywords="staff platform look read-only",
    )
