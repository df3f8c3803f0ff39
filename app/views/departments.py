"""Departments: people and this month's spending, spellings to merge, a preview before anything moves."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from flask_appbuilder import expose

from app.errors import DomainError, Invalid
from app.extensions import db
from app.security import matrix
from app.services import departments
from app.views.base import page as page_entry

from .pages import OrgPage, page
from .people import may_write


class DepartmentsPage(OrgPage):
    """The list, and the way from chosen departments over a preview to one."""

    route_base = "/dashboard/organization/<org_id>/departments"
    resource = "departments"

    @expose("/")
    @page("departments")
    def index(self) -> Any:
        rows = departments.summary(db.session())
        return self.render(
            "people/departments.html",
            title="Departments",
            rows=rows,
            groups=departments.duplicates(rows),
            money=matrix.can("read", "payments"),
            open=may_write() and matrix.can("write", "departments"),
            members=matrix.can("read", "members"),
        )

    @expose("/merge", methods=["GET"])
    @page("departments", "write")
    def preview(self) -> Any:
        """What would move; nothing is written."""
        sources = request.args.getlist("source")[: departments.MAX_SOURCES + 1]
        target = request.args.get("target", "")[:200]
        known = departments.labels(db.session())
        move, problem = None, ""
        if sources and target.strip():
            try:
                move = departments.preview(db.session(), sources, target)
            except Invalid as error:
                problem = " ".join(" ".join(texts) for texts in error.fields.values())
        if not sources:
            flash("Choose the departments to merge first.", "info")
            return redirect(url_for("DepartmentsPage.index"))
        return self.render(
            "people/departments_merge.html",
            title="Merge departments" if len(sources) > 1 else f"Rename {sources[0]}",
            sources=sources,
            target=target,
            known=known,
            move=move,
            problem=problem,
        )

    @expose("/merge", methods=["POST"])
    @page("departments", "write")
    def merge(self) -> Any:
        sources, target = request.form.getlist("source"), request.form.get("target", "")
        back = url_for("DepartmentsPage.index")
        try:
            move = departments.merge(db.session(), sources, target)
        except DomainError as error:
            db.session.rollback()
            text = error.message
            if isinstance(error, Invalid):
                text = " ".join(" ".join(texts) for texts in error.fields.values())
            flash(text, "danger")
            return redirect(back)
        people = "One person is" if move.people == 1 else f"{move.people} people are"
        flash(f"{people} in {move.target} now.", "success")
        return redirect(back)


def register(appbuilder: Any) -> None:
    """Register the page."""
    page_entry(
        appbuilder,
        DepartmentsPage(),
        group="People",
        label="Departments",
        resource="departments",
        icon="tags",
        order=15,
        keywords="teams merge rename spending cost centre",
    )
