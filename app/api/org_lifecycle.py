"""The life of an organisation as its own people see it: verification, winding down, deletion (chapter 1, 1.2)."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.models import Organization, VerificationMessage
from app.services import deletion, lifecycle, organizations, verification, wind_down

from .http import Api, gate, ok, payload
from .organizations import organization_view


class AnswerSchema(Schema):
    message = fields.String(required=True, validate=validate.Length(1, verification.MAX_TEXT))


class ResubmitSchema(Schema):
    message = fields.String(
        load_default="", allow_none=True, validate=validate.Length(max=verification.MAX_TEXT)
    )


def message_view(row: VerificationMessage, *, outside: bool = True) -> dict[str, Any]:
    """An entry of the thread. *outside*: members read "the platform team", not who of it wrote."""
    ours = row.kind in ("INFO_REQUESTED", "REJECTED", "VERIFIED")
    named = row.author is not None and not (outside and ours)
    return {
        "id": str(row.public_id),
        "kind": str(row.kind),
        "by": "PLATFORM" if ours else "ORGANIZATION",
        "author": row.author.name if named and row.author is not None else None,
        "body": row.body,
        "created_at": row.created_at.isoformat(),
    }


def verification_view(row: Organization, entries: list[VerificationMessage]) -> dict[str, Any]:
    """Where the verification stands, and what was said."""
    asked = row.verification_info_requested_at
    return {
        "status": str(row.status),
        "stage": verification.stage(row),
        "submitted_at": row.verification_submitted_at.isoformat() if row.verification_submitted_at else None,
        "info_requested_at": asked.isoformat() if asked else None,
        "reason": row.verification_reason,
        "messages": [message_view(entry) for entry in entries],
    }


class OrganizationLifecycleApi(Api):
    """Verification, winding down and deletion of one organisation."""

    route_base = "/api/organizations/<org_id>"
    resource_name = "organization-lifecycle"
    openapi_spec_tag = "Organisations"

    @expose("/verification", methods=["GET"])
    @gate("verification", "read")
    def verification(self) -> Any:
        """The verification
        ---
        get:
          summary: Where the verification stands, and the conversation with the platform team
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: verification
        """
        return self._answer(organizations.current(db.session()))

    @expose("/verification/answer", methods=["POST"])
    @gate("verification", "write")
    def answer(self) -> Any:
        """Answer a question
        ---
        post:
          summary: Answer the platform team's question; the organisation is back in the queue
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [message]
                  properties:
                    message: {type: string, maxLength: 2000}
          responses:
            200:
              description: verification
            409:
              description: NOTHING_TO_ANSWER, ORG_NOT_ACTIVE
        """
        return self._answer(verification.answer(db.session(), payload(AnswerSchema)["message"]))

    @expose("/verification/resubmit", methods=["POST"])
    @gate("verification", "write")
    def resubmit(self) -> Any:
        """Resubmit verification
        ---
        post:
          summary: Ask for verification again after a rejection; a message may say what was corrected
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: organization
            409:
              description: NOTHING_TO_RESUBMIT, ORG_NOT_ACTIVE
        """
        given = payload(ResubmitSchema) if request.get_data(cache=True) else {}
        row = lifecycle.resubmit(db.session(), given.get("message") or "")
        return ok({"organization": organization_view(row)})

    @expose("/wind-down", methods=["GET"])
    @gate("organization", "delete")
    def wind_down(self) -> Any:
        """What is still open
        ---
        get:
          summary: What keeps the organisation from ending sponsoring or hosting, and what a deletion would do
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: sponsoring, hosting (counts, empty when nothing is left) and deletion (outcome, counts)
            403:
              description: OWNER_REQUIRED
        """
        found = deletion.preview(db.session())
        return ok(
            {
                "sponsoring": wind_down.sponsoring(db.session()),
                "hosting": wind_down.hosting(db.session()),
                "deletion": {
                    "outcome": found.outcome,
                    "obligations": found.obligations,
                    "history": sorted(found.history),
                    "members": found.members,
                    "invitations": found.invitations,
                    "children": found.children,
                },
            }
        )

    @expose("", methods=["DELETE"])
    @expose("/", methods=["DELETE"])
    @gate("organization", "delete")
    def delete(self) -> Any:
        """Delete the organisation
        ---
        delete:
          summary: Delete it; with a settled history it is kept, deactivated and without contacts
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: organization, DEACTIVATED; its books and tax identity are kept
            204:
              description: Untouched, and removed
            403:
              description: OWNER_REQUIRED
            409:
              description: WIND_DOWN_REQUIRED with counts, ORG_NOT_ACTIVE
        """
        done = deletion.delete_organization(db.session())
        if done.outcome == "DELETED":
            return ok(status=204)
        return ok({"organization": organization_view(organizations.current(db.session()))})

    def _answer(self, row: Organization) -> Any:
        return ok({"verification": verification_view(row, verification.thread(db.session(), row.id))})
