"""An organisation's locks over REST: confirmation, ownership, API keys, support access."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Flask, current_app
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.errors import DomainError
from app.extensions import db
from app.models import ApiAccess, Organization, OrgApiKey, SupportAccess
from app.security import confirm, doors
from app.services import api_keys, lifecycle, ownership, support_access

from .http import Api, gate, ok, parse_id, payload, platform, signed_in
from .members import find_member, member_view


class ConfirmSchema(Schema):
    password = fields.String(required=True, validate=validate.Length(1, 200))


class TransferSchema(Schema):
    member_id = fields.UUID(required=True)
    afterwards = fields.Enum(
        ownership.Afterwards, by_value=True, load_default=ownership.Afterwards.MAINTAINER
    )
    confirm = fields.String(required=True, validate=validate.Length(1, 63))


class KeySchema(Schema):
    name = fields.String(required=True, validate=validate.Length(1, 100))
    access = fields.Enum(ApiAccess, by_value=True, load_default=ApiAccess.READ)
    resources = fields.List(fields.String(validate=validate.Length(1, 40)), validate=validate.Length(max=60))
    days = fields.Integer(strict=True, load_default=api_keys.DEFAULT_DAYS)


class AccessSchema(Schema):
    organization_id = fields.UUID(required=True)
    reason = fields.String(required=True, validate=validate.Length(1, 500))
    minutes = fields.Integer(strict=True, load_default=support_access.MOST_MINUTES)


class ConfirmApi(Api):
    """Confirm that it is you."""

    route_base = "/api/v1/security/confirm"
    resource_name = "confirm"
    openapi_spec_tag = "Session"

    @expose("", methods=["POST"])
    @signed_in
    def post(self) -> Any:
        """Confirm that it is you
        ---
        post:
          summary: Enter the password again; for ten minutes this session may do what cannot be undone
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [password]
                  properties:
                    password: {type: string}
          responses:
            200:
              description: confirmed_until
            401:
              description: INVALID_CREDENTIALS
            429:
              description: RATE_LIMITED
        """
        until = confirm.with_password(db.session(), payload(ConfirmSchema)["password"])
        return ok({"confirmed_until": until.isoformat()})


class OwnershipApi(Api):
    """Handing the organisation over."""

    route_base = "/api/organizations/<org_id>/ownership-transfer"
    resource_name = "ownership"
    openapi_spec_tag = "Organisations"

    @expose("", methods=["POST"])
    @gate("ownership", "write")
    def post(self) -> Any:
        """Transfer ownership
        ---
        post:
          summary: Make an ACTIVE member an owner and step back; the session must be confirmed within ten minutes
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [member_id, confirm]
                  properties:
                    member_id: {type: string, format: uuid}
                    afterwards: {type: string, enum: [MAINTAINER, OWNER, LEAVE]}
                    confirm: {type: string, description: the organisation's slug}
          responses:
            200:
              description: owner and former
            400:
              description: VALIDATION_FAILED
            403:
              description: OWNER_REQUIRED, CONFIRMATION_REQUIRED, SELF_CHANGE
            404:
              description: MEMBER_NOT_FOUND
            409:
              description: MEMBERSHIP_NOT_ACTIVE, ORG_NOT_ACTIVE, REMOVE_AND_REINVITE, MEMBER_HAS_OBLIGATIONS
        """
        confirm.require()
        body = payload(TransferSchema)
        target = find_member(str(body["member_id"]))
        done = ownership.transfer(db.session(), target, body["afterwards"], body["confirm"])
        return ok({"owner": member_view(done.owner), "former": member_view(done.former)})


def key_view(row: OrgApiKey) -> dict[str, Any]:
    """An API key as REST shows one: never its secret."""
    return {
        "id": str(row.public_id),
        "name": row.name,
        "prefix": row.key_prefix,
        "access": row.access.value,
        "resources": row.resources,
        "state": api_keys.state(row),
        "made_by": row.user.name,
        "created_at": row.created_at.isoformat(),
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "last_used_at": row.last_used_at.isoformat() if row.last_used_at else None,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
    }


def new_key(body: dict[str, Any]) -> api_keys.NewKey:
    """Make the key *body* asks for; REST and the page share this."""
    return api_keys.create(
        db.session(),
        lambda user, name, until: current_app.appbuilder.sm.create_api_key(  # type: ignore[attr-defined]
            user, name, expires_on=until
        ),
        body["name"],
        body["access"],
        resources=body.get("resources", ()),
        known=doors.KEY_RESOURCES,
        days=body["days"],
    )


class ApiKeysApi(Api):
    """The organisation's API keys."""

    route_base = "/api/organizations/<org_id>/api-keys"
    resource_name = "api-keys"
    openapi_spec_tag = "Configuration"

    @expose("", methods=["GET"])
    @gate("api-keys", "read")
    def list(self) -> Any:
        """API keys
        ---
        get:
          summary: API keys, newest first; an owner sees all, a maintainer their own
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: api_keys
            403:
              description: INSUFFICIENT_ROLE
        """
        return ok({"api_keys": [key_view(row) for row in api_keys.visible(db.session())]})

    @expose("", methods=["POST"])
    @gate("api-keys", "write")
    def create(self) -> Any:
        """Make an API key
        ---
        post:
          summary: Make a key that acts with your present role here, narrowed; its secret is answered once
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string, maxLength: 100}
                    access: {type: string, enum: [READ, WRITE]}
                    resources: {type: array, items: {type: string}, description: empty means all of your role}
                    days: {type: integer, minimum: 1, maximum: 365, default: 90}
          responses:
            201:
              description: api_key and secret
            400:
              description: VALIDATION_FAILED
            409:
              description: API_KEY_LIMIT_REACHED, ORG_NOT_ACTIVE
        """
        made = new_key(payload(KeySchema))
        return ok({"api_key": key_view(made.row), "secret": made.secret}, 201)

    @expose("/<key>", methods=["DELETE"])
    @gate("api-keys", "write")
    def revoke(self, key: str) -> Any:
        """Revoke an API key
        ---
        delete:
          summary: End a key at once, for good; an owner any, a maintainer their own
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: api_key
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        row = api_keys.find(db.session(), parse_id(key))
        return ok({"api_key": key_view(api_keys.revoke(db.session(), row))})


def access_view(row: SupportAccess, organization: Organization | None = None) -> dict[str, Any]:
    """A support access as REST shows one."""
    view = {
        "id": str(row.public_id),
        "who": row.user.name,
        "reason": row.reason,
        "open": support_access.is_open(row),
        "started_at": row.created_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
    }
    if organization is not None:
        view["organization"] = {
            "id": str(organization.public_id),
            "slug": organization.slug,
            "name": organization.name,
        }
    return view


class SupportAccessApi(Api):
    """Who of the platform team looked at the organisation."""

    route_base = "/api/organizations/<org_id>/support-access"
    resource_name = "support-access"
    openapi_spec_tag = "Configuration"

    @expose("", methods=["GET"])
    @gate("support-access", "read")
    def list(self) -> Any:
        """Support accesses
        ---
        get:
          summary: Who of the platform team looked at this organisation, when and why; the latest hundred
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: support_accesses
        """
        rows = support_access.of_organization(db.session())
        return ok({"support_accesses": [access_view(row) for row in rows]})

    @expose("/<key>/end", methods=["POST"])
    @gate("support-access", "write")
    def end(self, key: str) -> Any:
        """End a support access
        ---
        post:
          summary: Send the platform team out at once
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: ended
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        support_access.end_access(db.session(), own_access(key))
        return ok({"ended": True})


def own_access(key: str) -> SupportAccess:
    """An access to the organisation acted for. Raises NOT_FOUND."""
    public_id = parse_id(key)
    row = next((r for r in support_access.of_organization(db.session()) if r.public_id == public_id), None)
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


class PlatformSupportApi(Api):
    """Support access from the platform's side."""

    route_base = "/api/admin/support-access"
    resource_name = "admin-support-access"
    openapi_spec_tag = "Operations"

    @expose("", methods=["GET"])
    @platform("look-in", "read")
    def list(self) -> Any:
        """Support accesses everywhere
        ---
        get:
          summary: The latest hundred support accesses
          responses:
            200:
              description: support_accesses
        """
        found = support_access.of_platform(db.session())
        return ok({"support_accesses": [access_view(row, organization) for row, organization in found]})

    @expose("", methods=["POST"])
    @platform("look-in", "write")
    def open(self) -> Any:
        """Open support access
        ---
        post:
          summary: Look at one organisation, read-only, for at most sixty minutes; its owners are told
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [organization_id, reason]
                  properties:
                    organization_id: {type: string, format: uuid}
                    reason: {type: string, maxLength: 500}
                    minutes: {type: integer, minimum: 1, maximum: 60}
          responses:
            201:
              description: id and expires_at
            400:
              description: VALIDATION_FAILED
            403:
              description: INSUFFICIENT_ROLE, ORG_DEACTIVATED
            404:
              description: NOT_FOUND
            409:
              description: SUPPORT_ACCESS_OPEN
        """
        body = payload(AccessSchema)
        found = lifecycle.locate(db.session(), uuid.UUID(str(body["organization_id"])))
        row = support_access.open_access(db.session(), found, body["reason"], body["minutes"])
        return ok({"id": str(row.public_id), "expires_at": row.expires_at.isoformat()}, 201)

    @expose("/<key>/end", methods=["POST"])
    @platform("look-in", "write")
    def end(self, key: str) -> Any:
        """End a support access
        ---
        post:
          summary: End one's own access; an ADMIN ends anybody's
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: ended
            403:
              description: INSUFFICIENT_ROLE
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        support_access.end_access(db.session(), support_access.locate(db.session(), parse_id(key)))
        return ok({"ended": True})


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources."""
    for resource in (ConfirmApi, OwnershipApi, ApiKeysApi, SupportAccessApi, PlatformSupportApi):
        appbuilder.add_api(resource)
