"""Support access from the platform's side: open it, see who looks where, end it."""

from __future__ import annotations

from typing import Any

from flask import flash, g, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import or_, select

from app.api.http import parse_id
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Organization, OrgStatus
from app.security.context import acting, ctx
from app.services import lifecycle, support_access
from app.views.base import page as page_entry

from .pages import Page, platform_page

MINUTES = [("15", "15 minutes"), ("30", "30 minutes"), ("60", "60 minutes")]


class SupportDeskPage(Page):
    """``/admin/support-access``."""

    route_base = "/admin/support-access"
    resource = "look-in"

    @expose("")
    @expose("/")
    @platform_page("look-in")
    def index(self) -> Any:
        return self._page()

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @platform_page("look-in", "write")
    def open(self) -> Any:
        minutes = request.form.get("minutes", "")
        try:
            where = self._named(request.form.get("organization", ""))
            support_access.open_access(
                db.session(),
                where.id,
                request.form.get("reason", ""),
                int(minutes) if minutes in dict(MINUTES) else 0,
            )
        except Invalid as error:
            db.session.rollback()
            return self._page(error.fields), 400
        except DomainError as error:
            db.session.rollback()
            field = "reason" if error.code == "SUPPORT_ACCESS_OPEN" else "organization"
            return self._page({field: [error.message]}), error.status
        flash(f"You look at {where.name} for {minutes} minutes. Its owners are told.", "success")
        return redirect(f"/dashboard/organization/{where.slug}/home")

    @expose("/<key>/end", methods=["POST"])
    @platform_page("look-in", "write")
    def end(self, key: str) -> Any:
        support_access.end_access(db.session(), support_access.locate(db.session(), parse_id(key)))
        flash("The support access has ended.", "success")
        return redirect(url_for("SupportDeskPage.index"))

    @staticmethod
    def _named(text: str) -> Organization:
        """The organisation of this slug, public id or exact name. Raises Invalid."""
        wanted = text.strip()[:200].replace("\x00", "")
        clause = or_(Organization.slug == wanted.lower(), Organization.name == wanted)
        try:
            found = lifecycle.locate(db.session(), parse_id(wanted))
            clause = Organization.id == found
        except DomainError:
            pass
        with acting(db.session(), scope="platform"):
            rows = db.session.scalars(select(Organization).where(clause).limit(2)).all()
        if len(rows) != 1:
            raise Invalid({"organization": ["Enter the short name of an organisation, such as acme."]})
        return rows[0]

    def _page(self, errors: dict[str, list[str]] | None = None) -> str:
        with acting(db.session(), scope="platform"):
            some = db.session.execute(
                select(Organization.slug, Organization.name)
                .where(Organization.status != OrgStatus.DEACTIVATED)
                .order_by(Organization.slug)
                .limit(300)
            ).all()
        me = g.identity.user.id
        rows = [
            (
                row,
                organization,
                support_access.is_open(row),
                support_access.is_open(row) and (row.user_id == me or ctx().is_admin),
            )
            for row, organization in support_access.of_platform(db.session())
        ]
        return self.render(
            "security/support_desk.html",
            title="Support access",
            rows=rows,
            mine=next((r for r in rows if r[2] and r[0].user_id == me), None),
            organizations=some,
            minutes=MINUTES,
            errors=errors or {},
            given=request.form,
            wanted=request.args.get("organization", "")[:63],
        )


def register(appbuilder: Any) -> None:
    """Register the page."""
    page_entry(
        appbuilder,
        SupportDeskPage(),
        group="Platform",
        label="Support access",
        resource="look-in",
        icon="life-buoy",
        scope="platform",
        keywords="look organisation read-only impersonate",
    )
