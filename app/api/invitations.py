"""Invitations over REST (chapter 1, 1.4)."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Invitation, InvitationStatus, OrgRole
from app.security import limits
from app.security.context import ctx
from app.services import invitation_answers, invitations

from .http import Api, cursor_key, cursor_of, find, gate, ok, page_args, payload, signed_in
from .members import member_view


class SendSchema(Schema):
    email = fields.String(required=True, validate=validate.Length(1, 400))
    role = fields.Enum(OrgRole, required=True, by_value=True)
    name = fields.String(allow_none=True, load_default=None, validate=validate.Length(max=100))
    department_label = fields.String(allow_none=True, load_default=None, validate=validate.Length(max=100))
    expires_in_days = fields.Integer(
        strict=True, load_default=invitations.DEFAULT_DAYS, validate=validate.Range(1, 30)
    )


class BulkSchema(Schema):
    emails = fields.List(
        fields.String(validate=validate.Length(max=400)),
        required=True,
        validate=validate.Length(1, invitations.MAX_BULK),
    )
    role = fields.Enum(OrgRole, load_default=OrgRole.LEARNER, by_value=True)
    department_label = fields.String(allow_none=True, load_default=None, validate=validate.Length(max=100))
    expires_in_days = fields.Integer(
        strict=True, load_default=invitations.DEFAULT_DAYS, validate=validate.Range(1, 30)
    )


class TokenSchema(Schema):
    token = fields.String(required=True, validate=validate.Length(1, 200))


def invitation_view(row: Invitation) -> dict[str, Any]:
    """An invitation as REST shows it; never its link."""
    return {
        "id": str(row.public_id),
        "email": row.email,
        "name": row.name,
        "role": str(row.role),
        "status": str(row.status),
        "department_label": row.department_label,
        "sent_at": row.sent_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "resend_count": row.resend_count,
        "accepted_at": row.accepted_at.isoformat() if row.accepted_at else None,
    }


def sent_view(sent: invitations.Sent) -> dict[str, Any]:
    """An invitation just sent, with its link: shown now and never again."""
    base = current_app.config["SETTINGS"].base_url
    return {
        "invitation": invitation_view(sent.invitation),
        "accept_url": base + sent.path,
        "token": sent.token,
    }


def find_invitation(key: str) -> Invitation:
    """The invitation of this public id. Raises INVITATION_NOT_FOUND."""
    try:
        return find(Invitation, key)
    except DomainError as error:
        raise DomainError("INVITATION_NOT_FOUND") from error


def count_request() -> None:
    """One invite request of the organisation acted for. Raises RATE_LIMITED."""
    limits.hit("invitation-send", str(ctx().org_id))


class InvitationsApi(Api):
    """Invitations of an organisation."""

    route_base = "/api/organizations/<org_id>/invitations"
    resource_name = "invitations"
    openapi_spec_tag = "People"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("invitations", "read")
    def list(self) -> Any:
        """Invitations
        ---
        get:
          summary: Invitations, newest first
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: status, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: invitations and next_cursor
        """
        cursor, limit = page_args()
        statement = select(Invitation).order_by(Invitation.id.desc()).limit(limit + 1)
        if value := request.args.get("status"):
            if value not in set(InvitationStatus):
                raise Invalid({"status": [f"Choose one of {', '.join(InvitationStatus)}."]})
            statement = statement.where(Invitation.status == value)
        if cursor is not None:
            statement = statement.where(Invitation.id < cursor_key(cursor))
        rows = db.session.scalars(statement).all()
        more = rows[limit - 1].id if len(rows) > limit else None
        return ok(
            {
                "invitations": [invitation_view(row) for row in rows[:limit]],
                "next_cursor": cursor_of({"id": more}) if more else None,
            }
        )

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @gate("invitations", "write")
    def send(self) -> Any:
        """Invite
        ---
        post:
          summary: Invite an address; an open invitation is refreshed with a new link (200)
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [email, role]
                  properties:
                    email: {type: string}
                    role: {type: string}
                    name: {type: string}
                    department_label: {type: string}
                    expires_in_days: {type: integer, minimum: 1, maximum: 30}
          responses:
            201:
              description: invitation and accept_url
            200:
              description: invitation and accept_url, refreshed
            403:
              description: ROLE_REQUIRES_OWNER, DOMAIN_VERIFICATION_REQUIRED
            409:
              description: ALREADY_MEMBER
            429:
              description: RATE_LIMITED
        """
        body = payload(SendSchema)
        count_request()
        sent = invitations.send(
            db.session(),
            body["email"],
            body["role"],
            body["department_label"],
            name=body["name"],
            days=body["expires_in_days"],
        )
        return ok(sent_view(sent), 201 if sent.created else 200)

    @expose("/bulk", methods=["POST"])
    @gate("invitations", "write")
    def bulk(self) -> Any:
        """Invite many
        ---
        post:
          summary: Invite up to 200 addresses to one role; each has its own result
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: counts and results
        """
        body = payload(BulkSchema)
        count_request()
        results = invitations.send_bulk(
            db.session(), body["emails"], body["role"], body["department_label"], days=body["expires_in_days"]
        )
        counts = {
            kind: sum(r.result == kind for r in results)
            for kind in ("sent", "refreshed", "invalid", "duplicate", "refused")
        }
        return ok(
            {
                **counts,
                "results": [
                    {
                        "email": r.email,
                        "result": r.result,
                        **({"code": r.code, "message": r.message} if r.code else {}),
                        **({"id": str(r.sent.invitation.public_id)} if r.sent else {}),
                    }
                    for r in results
                ],
            }
        )

    @expose("/<key>/resend", methods=["POST"])
    @gate("invitations", "write")
    def resend(self, key: str) -> Any:
        """Resend
        ---
        post:
          summary: Send a new link; the old one is dead. At most three a day
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: invitation and accept_url
            409:
              description: INVITATION_NOT_PENDING
            429:
              description: RATE_LIMITED
        """
        row = find_invitation(key)
        count_request()
        return ok(sent_view(invitations.resend(db.session(), row)))

    @expose("/<key>", methods=["DELETE"])
    @gate("invitations", "write")
    def revoke(self, key: str) -> Any:
        """Withdraw
        ---
        delete:
          summary: Withdraw an open invitation
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: invitation
            409:
              description: INVITATION_NOT_PENDING
        """
        return ok({"invitation": invitation_view(invitations.revoke(db.session(), find_invitation(key)))})


class InvitationAnswersApi(Api):
    """What the invited person does with a link."""

    route_base = "/api/organizations/invitations"
    resource_name = "invitation-answers"
    openapi_spec_tag = "People"

    @expose("/accept", methods=["POST"])
    @signed_in
    def accept(self) -> Any:
        """Accept
        ---
        post:
          summary: Redeem an invitation's token for the signed-in person
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [token]
                  properties:
                    token: {type: string}
          responses:
            201:
              description: member
            200:
              description: already_member
            403:
              description: INVITATION_EMAIL_MISMATCH, MEMBERSHIP_SUSPENDED, ORG_NOT_ACCEPTING_MEMBERS, SEAT_LIMIT_REACHED
            404:
              description: INVITATION_NOT_FOUND
            409:
              description: INVITATION_NOT_PENDING
            410:
              description: INVITATION_EXPIRED, USER_ERASED
        """
        limits.hit("invitation-accept", limits.client_ip())
        done = invitation_answers.accept(db.session(), invitations.token_hash(payload(TokenSchema)["token"]))
        return ok(
            {
                "already_member": done.already_member,
                "member": member_view(done.membership),
                "organization": {
                    "id": str(done.organization.public_id),
                    "slug": done.organization.slug,
                    "name": done.organization.name,
                },
            },
            200 if done.already_member else 201,
        )

    @expose("/decline", methods=["POST"])
    @signed_in
    def decline(self) -> Any:
        """Decline
        ---
        post:
          summary: Decline an invitation by its token
          responses:
            200:
              description: Declined
            409:
              description: INVITATION_NOT_PENDING
        """
        limits.hit("invitation-accept", limits.client_ip())
        organization = invitation_answers.decline(
            db.session(), invitations.token_hash(payload(TokenSchema)["token"])
        )
        return ok({"organization": {"slug": organization.slug, "name": organization.name}})


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources."""
    appbuilder.add_api(InvitationsApi)
    appbuilder.add_api(InvitationAnswersApi)
