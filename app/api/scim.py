"""Directory provisioning over REST: tokens, group mappings, groups and the log of requests (chapter 3, 3.2)."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.models import DuplicatePolicy, OrgRole, ScimEvent, ScimGroupMapping, ScimToken
from app.services import scim_events, scim_roles, scim_tokens

from .http import Api, cursor_moment, cursor_of, gate, ok, page_args, parse_id, payload, query


class TokenSchema(Schema):
    label = fields.String(required=True, validate=validate.Length(1, 100))
    expires_in_days = fields.Integer(strict=True, load_default=scim_tokens.DEFAULT_DAYS)
    duplicate_policy = fields.Enum(DuplicatePolicy, by_value=True, load_default=DuplicatePolicy.UPSERT)
    rate_limit_per_minute = fields.Integer(strict=True, load_default=scim_tokens.DEFAULT_PER_MINUTE)


class RateSchema(Schema):
    rate_limit_per_minute = fields.Integer(strict=True, required=True)


class MappingSchema(Schema):
    scim_group_name = fields.String(required=True, validate=validate.Length(1, 255))
    role = fields.Enum(OrgRole, by_value=True, required=True)


class PreviewSchema(Schema):
    scim_group_name = fields.String(required=True, validate=validate.Length(1, 255))
    role = fields.Enum(OrgRole, by_value=True, load_default=None)


class RoleSchema(Schema):
    role = fields.Enum(OrgRole, by_value=True, required=True)


class EventsSchema(Schema):
    outcome = fields.String(load_default="", validate=validate.OneOf(["", "ok", "failed"]))
    kind = fields.String(load_default="", validate=validate.OneOf(["", "reads", "writes", "Users", "Groups"]))
    token = fields.UUID(load_default=None)
    q = fields.String(load_default="", validate=validate.Length(max=200))


def base_url() -> str:
    """What a directory is given as the service's address."""
    return f"{current_app.config['SETTINGS'].base_url}/scim/v2"


def token_view(row: ScimToken) -> dict[str, Any]:
    """A token as REST shows one: never its secret."""
    return {
        "id": str(row.public_id),
        "label": row.label,
        "token_prefix": row.token_prefix,
        "status": row.status.value,
        "state": scim_tokens.state(row),
        "duplicate_policy": row.duplicate_policy.value,
        "rate_limit_per_minute": row.rate_limit_per_minute,
        "created_by": row.created_by.name if row.created_by else None,
        "created_at": row.created_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "last_used_at": row.last_used_at.isoformat() if row.last_used_at else None,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
    }


def mapping_view(row: ScimGroupMapping) -> dict[str, Any]:
    """A mapping as REST shows one."""
    return {
        "id": str(row.public_id),
        "scim_group_name": row.scim_group_name,
        "role": row.role.value,
        "created_at": row.created_at.isoformat(),
    }


def change_view(change: scim_roles.Change) -> dict[str, Any]:
    """What a mapping does to one member; ``problem`` is the code of what forbids it."""
    return {
        "membership_id": str(change.membership_id),
        "name": change.name,
        "email": change.email,
        "before": change.before.value,
        "after": change.after.value,
        "problem": change.problem,
    }


def event_view(row: ScimEvent, tokens: dict[int, ScimToken]) -> dict[str, Any]:
    """A logged request as REST shows one."""
    token = tokens.get(row.scim_token_id or 0)
    return {
        "id": str(row.public_id),
        "at": row.created_at.isoformat(),
        "token": token.label if token else None,
        "method": row.method,
        "path": row.path,
        "subject": row.subject,
        "resource_id": row.resource_id,
        "status": row.status,
        "scim_type": row.scim_type,
        "detail": row.detail,
        "duration_ms": row.duration_ms,
        "ip": str(row.ip) if row.ip else None,
        "correlation_id": row.correlation_id,
    }


class ScimTokensApi(Api):
    """Tokens that directories provision with."""

    route_base = "/api/organizations/<org_id>/scim/tokens"
    resource_name = "scim-tokens"
    openapi_spec_tag = "Configuration"

    def _token(self, key: str) -> ScimToken:
        return scim_tokens.find(db.session(), parse_id(key))

    @expose("", methods=["GET"])
    @gate("scim", "read")
    def list(self) -> Any:
        """Provisioning tokens
        ---
        get:
          summary: Tokens of directories, newest first, without their secrets
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: base_url and tokens
            403:
              description: INSUFFICIENT_ROLE
        """
        rows = scim_tokens.listed(db.session())
        return ok({"base_url": base_url(), "tokens": [token_view(r) for r in rows]})

    @expose("", methods=["POST"])
    @gate("scim", "write")
    def create(self) -> Any:
        """Make a provisioning token
        ---
        post:
          summary: Make a token; raw_token is answered once and stored nowhere
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [label]
                  properties:
                    label: {type: string, maxLength: 100}
                    expires_in_days: {type: integer, minimum: 1, maximum: 730, default: 365}
                    duplicate_policy: {type: string, enum: [UPSERT, CONFLICT], default: UPSERT}
                    rate_limit_per_minute: {type: integer, minimum: 1, maximum: 3000, default: 60}
          responses:
            201:
              description: token, raw_token and base_url
            400:
              description: VALIDATION_FAILED
            403:
              description: OWNER_REQUIRED
            409:
              description: TOKEN_LIMIT_REACHED, ORG_NOT_ACTIVE
        """
        values = payload(TokenSchema)
        made = scim_tokens.create(
            db.session(),
            values["label"],
            days=values["expires_in_days"],
            duplicate_policy=values["duplicate_policy"],
            per_minute=values["rate_limit_per_minute"],
        )
        row = scim_tokens.find(db.session(), made.row.public_id)
        return ok({**token_view(row), "raw_token": made.secret, "base_url": base_url()}, 201)

    @expose("/<key>", methods=["PATCH"])
    @gate("scim", "write")
    def change(self, key: str) -> Any:
        """Change a token's limit
        ---
        patch:
          summary: Another number of requests a minute, such as 1500 for an initial cycle
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [rate_limit_per_minute]
                  properties:
                    rate_limit_per_minute: {type: integer, minimum: 1, maximum: 3000}
          responses:
            200:
              description: the token
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION (it is revoked)
        """
        row = scim_tokens.set_rate(
            db.session(), self._token(key), payload(RateSchema)["rate_limit_per_minute"]
        )
        return ok(token_view(row))

    @expose("/<key>", methods=["DELETE"])
    @gate("scim", "write")
    def revoke(self, key: str) -> Any:
        """Revoke a provisioning token
        ---
        delete:
          summary: End a token at once, for good; its row stays
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: the token
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION (it was revoked already)
        """
        return ok(token_view(scim_tokens.revoke(db.session(), self._token(key))))


class ScimMappingsApi(Api):
    """Which role a directory's group gives."""

    route_base = "/api/organizations/<org_id>/scim/group-mappings"
    resource_name = "scim-group-mappings"
    openapi_spec_tag = "Configuration"

    @expose("", methods=["GET"])
    @gate("scim", "read")
    def list(self) -> Any:
        """Group mappings
        ---
        get:
          summary: Which role the members of a directory's group get, by name
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: group_mappings
        """
        return ok({"group_mappings": [mapping_view(r) for r in scim_roles.mappings(db.session())]})

    @expose("", methods=["POST"])
    @gate("scim", "write")
    def create(self) -> Any:
        """Map a group
        ---
        post:
          summary: Give the members of a group a role, any but OWNER; who is in it already changes now
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [scim_group_name, role]
                  properties:
                    scim_group_name: {type: string, maxLength: 255}
                    role: {type: string, enum: [MAINTAINER, BILLING_ADMIN, MANAGER, EXPERT, SUPPORT, LEARNER]}
          responses:
            201:
              description: the mapping and changes; a change with a problem did not happen
            400:
              description: VALIDATION_FAILED, SCIM_ROLE_NOT_ALLOWED
            403:
              description: OWNER_REQUIRED, SEAT_LIMIT_REACHED
            409:
              description: SCIM_GROUP_DUPLICATE, ROLE_TRANSITION_BLOCKED
        """
        values = payload(MappingSchema)
        row, changes = scim_roles.map_group(db.session(), values["scim_group_name"], values["role"])
        return ok({**mapping_view(row), "changes": [change_view(c) for c in changes]}, 201)

    @expose("/preview", methods=["POST"])
    @gate("scim", "read")
    def preview(self) -> Any:
        """Preview a mapping
        ---
        post:
          summary: Whose role would change, and who cannot; nothing is changed. Without role, the mapping is taken away
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [scim_group_name]
                  properties:
                    scim_group_name: {type: string, maxLength: 255}
                    role: {type: string, enum: [MAINTAINER, BILLING_ADMIN, MANAGER, EXPERT, SUPPORT, LEARNER]}
          responses:
            200:
              description: changes
            400:
              description: VALIDATION_FAILED, SCIM_ROLE_NOT_ALLOWED
        """
        values = payload(PreviewSchema)
        changes = scim_roles.preview(db.session(), values["scim_group_name"], values["role"])
        return ok({"changes": [change_view(c) for c in changes]})

    @expose("/<key>", methods=["PATCH"])
    @gate("scim", "write")
    def change(self, key: str) -> Any:
        """Change a mapping
        ---
        patch:
          summary: Another role for a mapped group
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [role]
                  properties:
                    role: {type: string, enum: [MAINTAINER, BILLING_ADMIN, MANAGER, EXPERT, SUPPORT, LEARNER]}
          responses:
            200:
              description: the mapping and changes
            400:
              description: SCIM_ROLE_NOT_ALLOWED
            404:
              description: NOT_FOUND
            409:
              description: ROLE_TRANSITION_BLOCKED
        """
        row = scim_roles.find_mapping(db.session(), parse_id(key))
        changes = scim_roles.change_mapping(db.session(), row, payload(RoleSchema)["role"])
        return ok({**mapping_view(row), "changes": [change_view(c) for c in changes]})

    @expose("/<key>", methods=["DELETE"])
    @gate("scim", "write")
    def remove(self, key: str) -> Any:
        """Take a mapping away
        ---
        delete:
          summary: The group gives no role any more; its members become what their other groups say, or learners
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: changes
            404:
              description: NOT_FOUND
            409:
              description: ROLE_TRANSITION_BLOCKED
        """
        row = scim_roles.find_mapping(db.session(), parse_id(key))
        return ok({"changes": [change_view(c) for c in scim_roles.unmap(db.session(), row)]})


class ScimEventsApi(Api):
    """What directories asked for, and how it ended."""

    route_base = "/api/organizations/<org_id>/scim/events"
    resource_name = "scim-events"
    openapi_spec_tag = "Configuration"

    @expose("", methods=["GET"])
    @gate("scim", "read")
    def list(self) -> Any:
        """Requests of directories
        ---
        get:
          summary: Requests of the last thirty days, newest first
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: outcome, schema: {type: string, enum: [ok, failed]}}
          - {in: query, name: kind, schema: {type: string, enum: [reads, writes, Users, Groups]}}
          - {in: query, name: token, schema: {type: string, format: uuid}}
          - {in: query, name: q, schema: {type: string}, description: part of the subject, or an id}
          - {in: query, name: cursor, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          responses:
            200:
              description: events and next_cursor
        """
        wants = query(EventsSchema)
        cursor, limit = page_args(50)
        tokens = {t.id: t for t in scim_tokens.listed(db.session())}
        wanted = next((t.id for t in tokens.values() if t.public_id == wants["token"]), -1)
        rows = scim_events.listed(
            db.session(),
            outcome=wants["outcome"],
            kind=wants["kind"],
            token_id=wanted if wants["token"] else None,
            q=wants["q"].strip(),
            before=cursor_moment(cursor) if cursor else None,
            limit=limit + 1,
        )
        more = (
            cursor_of({"at": rows[limit - 1].created_at.isoformat(), "n": rows[limit - 1].id})
            if len(rows) > limit
            else None
        )
        return ok({"events": [event_view(r, tokens) for r in rows[:limit]], "next_cursor": more})


def register(app: Flask, appbuilder: Any) -> None:
    """Add the resources."""
    for resource in (ScimTokensApi, ScimMappingsApi, ScimEventsApi):
        appbuilder.add_api(resource)
