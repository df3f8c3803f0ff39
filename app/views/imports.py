"""Files of people in the console: upload and check, look, send, see how far it has come."""

from __future__ import annotations

from typing import Any

from flask import Response, flash, jsonify, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import select

from app.api.http import find
from app.api.imports import uploaded
from app.api.invitations import count_request
from app.errors import REGISTRY, DomainError, Invalid
from app.extensions import db
from app.models import ImportBatch, ImportRowStatus, ImportStatus
from app.security import matrix
from app.services import imports
from app.views.base import export as files

from .pages import OrgPage, page
from .people import may_write

HISTORY, SHOWN = 25, 100  # imports listed; rows a page shows
HEAD = ["email", "name", "department"]


class ImportsPage(OrgPage):
    """From a file over its check to the invitations."""

    route_base = "/dashboard/organization/<org_id>/invitations/import"
    resource = "invitations"

    @expose("/")
    @page("invitations")
    def index(self) -> Any:
        rows = db.session.scalars(select(ImportBatch).order_by(ImportBatch.id.desc()).limit(HISTORY)).all()
        return self.render(
            "people/imports.html",
            title="Import people",
            rows=rows,
            open=may_write() and matrix.can("write", "invitations"),
            most=imports.MAX_ROWS,
        )

    @expose("/", methods=["POST"])
    @page("invitations", "write")
    def upload(self) -> Any:
        try:
            lines, filename = uploaded()
            count_request()
            batch = imports.check(db.session(), lines, filename)
        except Invalid as error:
            db.session.rollback()
            flash(" ".join(" ".join(texts) for texts in error.fields.values()), "danger")
            return redirect(url_for("ImportsPage.index"))
        return redirect(url_for("ImportsPage.show", key=batch.public_id))

    @expose("/template.csv")
    @page("invitations")
    def template(self) -> Any:
        example = [["asha@example.com", "Asha Rao", "Sales"]]
        return _file("people.csv", files.csv_lines(HEAD, example))

    @expose("/<key>")
    @page("invitations")
    def show(self, key: str) -> Any:
        batch = find(ImportBatch, key)
        wanted = request.args.get("status", "")
        status = ImportRowStatus(wanted) if wanted in set(ImportRowStatus) else None
        after = request.args.get("after", "0")
        line = int(after) if after.isascii() and after.isdigit() and len(after) < 7 else 0
        rows = imports.rows_of(db.session(), batch, after=line, limit=SHOWN + 1, status=status)
        known = imports.summary(db.session(), batch)
        problem = known["growth_problem"]
        return self.render(
            "people/import.html",
            title=batch.filename or "Import",
            batch=batch,
            rows=rows[:SHOWN],
            more=rows[SHOWN - 1].line if len(rows) > SHOWN else None,
            status=status.value if status else "",
            counts=known["counts"],
            refresh=known["will_refresh"],
            problem=REGISTRY[problem][1] if problem else "",
            stopped=imports.why_stopped(batch),
            running=batch.status in (ImportStatus.QUEUED, ImportStatus.RUNNING),
            open=may_write() and matrix.can("write", "invitations"),
        )

    @expose("/<key>/progress")
    @page("invitations")
    def progress(self, key: str) -> Any:
        batch = find(ImportBatch, key)
        return jsonify(
            value=batch.done,
            max=batch.total,
            label=f"{batch.sent} sent, {batch.failed} not sent",
            done=batch.status in (ImportStatus.DONE, ImportStatus.CANCELED),
            failed=batch.status == ImportStatus.FAILED,
            error=imports.why_stopped(batch),
        )

    @expose("/<key>/confirm", methods=["POST"])
    @page("invitations", "write")
    def confirm(self, key: str) -> Any:
        batch = imports.confirm(db.session(), find(ImportBatch, key))
        if batch.status == ImportStatus.DONE:
            rest = f" {batch.failed} of {batch.total} rows were not sent." if batch.failed else ""
            flash(f"{batch.sent} {'invitation' if batch.sent == 1 else 'invitations'} sent.{rest}", "success")
        return redirect(url_for("ImportsPage.show", key=key))

    @expose("/<key>/cancel", methods=["POST"])
    @page("invitations", "write")
    def cancel(self, key: str) -> Any:
        try:
            imports.cancel(db.session(), find(ImportBatch, key))
            flash("Stopped. Invitations that were sent stay valid.", "success")
        except DomainError as error:
            if error.code != "CONFLICT":
                raise
            db.session.rollback()
            flash("It has ended already.", "info")
        return redirect(url_for("ImportsPage.show", key=key))

    @expose("/<key>/failures.csv")
    @page("invitations", "export")
    def failures(self, key: str) -> Any:
        rows = imports.failures(db.session(), find(ImportBatch, key))
        lines = [[r.email, r.name, r.department_label or "", r.message] for r in rows]
        return _file("not-sent.csv", files.csv_lines([*HEAD, "problem"], lines))


def _file(name: str, lines: Any) -> Response:
    return Response(
        "".join(lines),
        mimetype="text/csv",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "private, no-store",
        },
    )


def register(appbuilder: Any) -> None:
    """Put the page into the console; the way there is a button beside invitations."""
    appbuilder.add_view_no_menu(ImportsPage())
