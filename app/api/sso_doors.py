"""Single sign-on before signing in: whom it covers, and the ways in when it is broken."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.errors import DomainError
from app.extensions import db
from app.security import limits, sso_policy
from app.security.context import acting
from app.services import break_glass

from .http import Api, ok, payload, platform, public
from .platform_organizations import found
from .sso import GlassSchema
from .sso_shapes import moment, settings_view


class RecoverySchema(Schema):
    email = fields.String(required=True, validate=validate.Length(1, 320))
    recovery_code = fields.String(required=True, validate=validate.Length(1, 64))
    reason = fields.String(required=True, validate=validate.Length(max=500))


class SsoDoorApi(Api):
    """What anybody may ask before signing in."""

    route_base = "/api/auth/sso"
    resource_name = "auth-sso"
    openapi_spec_tag = "Session"

    @expose("/domain-check", methods=["GET"])
    @public
    def domain_check(self) -> Any:
        """How an address signs in
        ---
        get:
          summary: Whether an address must or may use single sign-on, and where
          parameters:
          - {in: query, name: email, required: true, schema: {type: string}}
          responses:
            200:
              description: enforce_sso and, for claimed domains, sso_available, organization_name, provider_id, sign_in_url
            422:
              description: SSO_PROVIDER_MISCONFIGURED
            429:
              description: RATE_LIMITED
        """
        limits.hit("domain-check", limits.client_ip())
        email = request.args.get("email", "")[:400]
        rule = sso_policy.verdict(db.session(), email)
        if rule.organization_id is None:
            return ok({"enforce_sso": False})
        if rule.misconfigured:
            raise DomainError("SSO_PROVIDER_MISCONFIGURED")
        return ok(
            {
                "enforce_sso": rule.enforced,
                "sso_available": rule.available,
                "organization_name": rule.organization_name,
                "provider_id": rule.provider_id,
                "sign_in_url": rule.sign_in_url(),
            }
        )

    @expose("/break-glass", methods=["POST"])
    @public
    def open_glass(self) -> Any:
        """Open break-glass with a recovery code
        ---
        post:
          summary: Signed out, an owner's one-time code lets passwords in again for four hours
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [email, recovery_code, reason]
                  properties:
                    email: {type: string}
                    recovery_code: {type: string}
                    reason: {type: string, minLength: 5}
          responses:
            200:
              description: open and until
            401:
              description: INVALID_CREDENTIALS
            404:
              description: SSO_NOT_ENFORCED
            429:
              description: RATE_LIMITED
        """
        limits.hit("auth", limits.client_ip())
        body = payload(RecoverySchema)
        row = break_glass.open_with_code(db.session(), body["email"], body["recovery_code"], body["reason"])
        return ok({"open": True, "until": moment(row.break_glass_until)})


class PlatformGlassApi(Api):
    """Break-glass by the platform, for an organisation that locked itself out."""

    route_base = "/api/admin/organizations/<key>/sso/break-glass"
    resource_name = "admin-break-glass"
    openapi_spec_tag = "Operations"

    @expose("", methods=["POST"])
    @platform("sso-emergency", "write")
    def open_glass(self, key: str) -> Any:
        """Open break-glass for an organisation
        ---
        post:
          summary: Let passwords of an organisation in again for some hours; its owners are mailed
          parameters:
          - {in: path, name: key, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [reason]
                  properties:
                    hours: {type: integer, minimum: 1, maximum: 72, default: 4}
                    reason: {type: string, minLength: 5}
          responses:
            200:
              description: The settings
            404:
              description: NOT_FOUND, SSO_NOT_ENFORCED
        """
        body = payload(GlassSchema)
        with acting(db.session(), org_id=found(key).id, membership_id=None):
            return ok(settings_view(break_glass.open_glass(db.session(), body["hours"], body["reason"])))

    @expose("", methods=["DELETE"])
    @platform("sso-emergency", "write")
    def close_glass(self, key: str) -> Any:
        """Close break-glass of an organisation
        ---
        delete:
          summary: Only the identity provider signs people of the organisation in again
          parameters:
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: The settings
            404:
              description: NOT_FOUND, SSO_NOT_ENFORCED
        """
        with acting(db.session(), org_id=found(key).id, membership_id=None):
            return ok(settings_view(break_glass.close(db.session())))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources."""
    for resource in (SsoDoorApi, PlatformGlassApi):
        appbuilder.add_api(resource)
