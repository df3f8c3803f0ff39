"""Departments over REST (chapter 1, "Beyond the original" 14)."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.security import matrix
from app.services import departments

from .http import Api, gate, number_arg, ok, payload

_NAME = validate.Length(1, 200)


class MergeSchema(Schema):
    sources = fields.List(
        fields.String(validate=_NAME), required=True, validate=validate.Length(1, departments.MAX_SOURCES)
    )
    target = fields.String(required=True, validate=_NAME)


def move_view(move: departments.Move) -> dict[str, Any]:
    """What a merge moves or moved."""
    return {
        "sources": list(move.sources),
        "target": move.target,
        "people": move.people,
        "invitations": move.invited,
        "needs_owner": move.privileged > 0,
    }


class DepartmentsApi(Api):
    """The departments of an organisation: labels of its members."""

    route_base = "/api/organizations/<org_id>/departments"
    resource_name = "departments"
    openapi_spec_tag = "People"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("departments", "read")
    def list(self) -> Any:
        """Departments
        ---
        get:
          summary: Departments with people and, for those who see money, this month's spending; ?q= for suggestions
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: q, schema: {type: string}, description: name contains; case and white space do not count}
          - {in: query, name: limit, schema: {type: integer, maximum: 500}}
          responses:
            200:
              description: departments, and duplicates (spellings that differ in case or white space only)
        """
        q, limit = request.args.get("q", ""), number_arg("limit", 100, departments.MOST)
        money = matrix.can("read", "payments")
        if q.strip() or not money:
            found = departments.search(db.session(), q, limit)
        else:
            found = [d for d in departments.summary(db.session()) if d.label][:limit]
        rows = [
            {
                "label": d.label,
                "people": d.people,
                **({"spent_this_month_paise": d.spent_paise} if money and not q.strip() else {}),
            }
            for d in found
        ]
        groups = [[d.label for d in group] for group in departments.duplicates(found)]
        return ok({"departments": rows, "duplicates": groups})

    @expose("/preview", methods=["POST"])
    @gate("departments", "write")
    def preview(self) -> Any:
        """Preview a merge
        ---
        post:
          summary: How many people and invitations a merge or a new name would move; writes nothing
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: people, invitations, needs_owner
        """
        body = payload(MergeSchema)
        return ok(move_view(departments.preview(db.session(), body["sources"], body["target"])))

    @expose("/merge", methods=["POST"])
    @gate("departments", "write")
    def merge(self) -> Any:
        """Merge or rename
        ---
        post:
          summary: Give everybody of the sources the target department; one source is a new name
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [sources, target]
                  properties:
                    sources: {type: array, items: {type: string}}
                    target: {type: string}
          responses:
            200:
              description: people and invitations moved
            403:
              description: OWNER_REQUIRED, ROLE_REQUIRES_OWNER
            404:
              description: NOT_FOUND, nobody to move
        """
        body = payload(MergeSchema)
        return ok(move_view(departments.merge(db.session(), body["sources"], body["target"])))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(DepartmentsApi)
