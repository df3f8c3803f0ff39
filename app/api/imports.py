"""Bulk import of learners over REST (chapter 1, "Bulk import")."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.errors import Invalid
from app.extensions import db
from app.models import ImportBatch, ImportRow, ImportRowStatus
from app.services import imports

from .http import Api, cursor_key, cursor_of, find, gate, ok, page_args, payload
from .invitations import count_request


class LineSchema(Schema):
    email = fields.String(required=True, validate=validate.Length(max=400))
    name = fields.String(load_default="", validate=validate.Length(max=400))
    department = fields.String(load_default="", validate=validate.Length(max=400))


class ImportSchema(Schema):
    rows = fields.List(
        fields.Nested(LineSchema), required=True, validate=validate.Length(1, imports.MAX_ROWS)
    )


def batch_view(row: ImportBatch) -> dict[str, Any]:
    """A batch as REST shows it."""
    return {
        "id": str(row.public_id),
        "filename": row.filename,
        "status": str(row.status),
        "total": row.total,
        "done": row.done,
        "sent": row.sent,
        "failed": row.failed,
        "problem": row.problem,
        "created_at": row.created_at.isoformat(),
        "finished_at": row.finished_at.isoformat() if row.finished_at else None,
    }


def row_view(row: ImportRow) -> dict[str, Any]:
    """A line and what became of it."""
    return {
        "line": row.line,
        "email": row.email,
        "name": row.name,
        "department": row.department_label,
        "status": str(row.status),
        "code": row.code,
        "message": row.message,
    }


def uploaded() -> tuple[list[imports.Line], str]:
    """The lines sent (multipart file, text/csv or JSON) and the file's name. Raises Invalid, UPLOAD_TOO_LARGE."""
    if request.mimetype == "multipart/form-data":
        file = request.files.get("file")
        if file is None:
            raise Invalid({"file": ["Choose a CSV file."]})
        return imports.read(file.stream.read(imports.MAX_BYTES + 1)), file.filename or ""
    if request.mimetype == "text/csv":
        return imports.read(request.get_data()), ""
    return [imports.Line(**line) for line in payload(ImportSchema)["rows"]], ""


def whole(batch: ImportBatch) -> dict[str, Any]:
    """A batch with a page of its rows."""
    cursor, limit = page_args()
    after = cursor_key(cursor) if cursor is not None else 0
    wanted = request.args.get("status", "")
    if wanted and wanted not in set(ImportRowStatus):
        raise Invalid({"status": [f"Choose one of {', '.join(ImportRowStatus)}."]})
    status = ImportRowStatus(wanted) if wanted else None
    rows = imports.rows_of(db.session(), batch, after=after, limit=limit + 1, status=status)
    more = cursor_of({"id": rows[limit - 1].line}) if len(rows) > limit else None
    return {
        "import": batch_view(batch),
        **imports.summary(db.session(), batch),
        "rows": [row_view(row) for row in rows[:limit]],
        "next_cursor": more,
    }


class ImportsApi(Api):
    """Files of people to invite."""

    route_base = "/api/organizations/<org_id>/members/bulk-import"
    resource_name = "imports"
    openapi_spec_tag = "People"

    @expose("", methods=["POST"])
    @gate("invitations", "write")
    def upload(self) -> Any:
        """Import
        ---
        post:
          summary: Invite up to 10,000 people as learners from a CSV file or rows; dry_run=1 only checks, more than 200 go out in the background
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: dry_run, schema: {type: string}}
          responses:
            201:
              description: import, counts and rows
            400:
              description: VALIDATION_FAILED
            413:
              description: UPLOAD_TOO_LARGE
            429:
              description: RATE_LIMITED
        """
        lines, filename = uploaded()
        dry = request.args.get("dry_run", "").lower() in ("1", "true", "yes")
        count_request()
        batch = imports.check(db.session(), lines, filename)
        return ok(whole(batch if dry else imports.confirm(db.session(), batch)), 201)

    @expose("", methods=["GET"])
    @gate("invitations", "read")
    def list(self) -> Any:
        """Imports
        ---
        get:
          summary: Imports, newest first
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: imports and next_cursor
        """
        cursor, limit = page_args()
        statement = select(ImportBatch).order_by(ImportBatch.id.desc()).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(ImportBatch.id < cursor_key(cursor))
        rows = db.session.scalars(statement).all()
        more = rows[limit - 1].id if len(rows) > limit else None
        return ok(
            {
                "imports": [batch_view(row) for row in rows[:limit]],
                "next_cursor": cursor_of({"id": more}) if more else None,
            }
        )

    @expose("/<key>", methods=["GET"])
    @gate("invitations", "read")
    def one(self, key: str) -> Any:
        """One import
        ---
        get:
          summary: An import with a page of its rows, and how far it has come
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          - {in: query, name: status, schema: {type: string, enum: [READY, SENT, REFRESHED, INVALID, DUPLICATE, FAILED]}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: import, counts and rows
        """
        return ok(whole(find(ImportBatch, key)))

    @expose("/<key>/confirm", methods=["POST"])
    @gate("invitations", "write")
    def confirm(self, key: str) -> Any:
        """Confirm
        ---
        post:
          summary: Send the invitations of a checked import, once; or the rest of one that failed
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: import, counts and rows
            409:
              description: CONFLICT
            429:
              description: RATE_LIMITED
        """
        batch = find(ImportBatch, key)
        count_request()
        return ok(whole(imports.confirm(db.session(), batch)))

    @expose("/<key>/cancel", methods=["POST"])
    @gate("invitations", "write")
    def cancel(self, key: str) -> Any:
        """Cancel
        ---
        post:
          summary: Give up a checked import; nothing of it is sent
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: import, counts and rows
            409:
              description: CONFLICT
        """
        return ok(whole(imports.cancel(db.session(), find(ImportBatch, key))))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(ImportsApi)
