"""Staff's notes about an organisation, over REST. No route of the organisation knows them."""

from __future__ import annotations

from typing import Any

from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.models import StaffNote
from app.services import staff_notes

from .http import Api, ok, parse_id, payload, platform
from .platform_organizations import found


class NoteSchema(Schema):
    body = fields.String(required=True, validate=validate.Length(1, staff_notes.MAX_NOTE))
    pinned = fields.Boolean(load_default=False)


class PinSchema(Schema):
    pinned = fields.Boolean(required=True)


def note_view(row: StaffNote) -> dict[str, Any]:
    """A note as staff read it."""
    return {
        "id": str(row.public_id),
        "author": row.author.name if row.author else None,
        "body": row.body,
        "pinned": row.pinned,
        "created_at": row.created_at.isoformat(),
    }


class PlatformNotesApi(Api):
    """Notes for ADMIN and STAFF only."""

    route_base = "/api/admin/organizations/<key>/notes"
    resource_name = "admin-organization-notes"
    openapi_spec_tag = "Platform"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @platform("staff-notes", "read")
    def list(self, key: str) -> Any:
        """Notes
        ---
        get:
          summary: Staff's notes about an organisation, pinned ones first
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: notes
        """
        return ok({"notes": [note_view(n) for n in staff_notes.notes(db.session(), found(key).id)]})

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @platform("staff-notes", "write")
    def add(self, key: str) -> Any:
        """Write a note
        ---
        post:
          summary: Write a note that the organisation never sees
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [body]
                  properties:
                    body: {type: string, maxLength: 5000}
                    pinned: {type: boolean}
          responses:
            201:
              description: note
            409:
              description: NOTE_LIMIT_REACHED (five are pinned)
        """
        body = payload(NoteSchema)
        row = staff_notes.add(db.session(), found(key).id, body["body"], pinned=body["pinned"])
        return ok({"note": note_view(row)}, 201)

    @expose("/<note_id>", methods=["PATCH"])
    @platform("staff-notes", "write")
    def pin(self, key: str, note_id: str) -> Any:
        """Pin or unpin
        ---
        patch:
          summary: Keep a note on top, or take it off
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          - {in: path, name: note_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: note
            404:
              description: NOT_FOUND
        """
        pinned = payload(PinSchema)["pinned"]
        row = staff_notes.pin(db.session(), found(key).id, parse_id(note_id), pinned)
        return ok({"note": note_view(row)})

    @expose("/<note_id>", methods=["DELETE"])
    @platform("staff-notes", "write")
    def delete(self, key: str, note_id: str) -> Any:
        """Delete a note
        ---
        delete:
          summary: Delete one's own note; ADMIN deletes any
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          - {in: path, name: note_id, required: true, schema: {type: string, format: uuid}}
          responses:
            204:
              description: Deleted
            403:
              description: INSUFFICIENT_ROLE (somebody else wrote it)
        """
        staff_notes.remove(db.session(), found(key).id, parse_id(note_id))
        return ok(status=204)
