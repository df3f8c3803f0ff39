"""Single sign-on over REST: settings, break-glass, recovery codes, set-up links."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.services import break_glass, sso, sso_setup

from .http import Api, gate, ok, parse_id, payload
from .sso_shapes import link_view, settings_view


class SettingsSchema(Schema):
    allowed_email_domains = fields.List(
        fields.String(validate=validate.Length(1, 300)), validate=validate.Length(max=50)
    )
    enforce_sso = fields.Boolean()
    default_role_for_auto_join = fields.String(validate=validate.Length(1, 40))
    expected_version = fields.Integer(strict=True)


class GlassSchema(Schema):
    hours = fields.Integer(strict=True, load_default=break_glass.HOURS)
    reason = fields.String(required=True, validate=validate.Length(max=500))


class LinkSchema(Schema):
    label = fields.String(load_default="", validate=validate.Length(max=100))
    days = fields.Integer(strict=True, load_default=sso_setup.DAYS)


class SsoApi(Api):
    """Settings of single sign-on, and its emergency exit."""

    route_base = "/api/organizations/<org_id>/sso"
    resource_name = "sso"
    openapi_spec_tag = "Single sign-on"

    @expose("", methods=["GET"])
    @gate("sso", "read")
    def get(self) -> Any:
        """Settings
        ---
        get:
          summary: Whom single sign-on covers, and whether it is the only way in
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The settings with their version
        """
        return ok(settings_view(sso.settings_of(db.session())))

    @expose("", methods=["PATCH"])
    @gate("sso", "write")
    def patch(self) -> Any:
        """Change the settings
        ---
        patch:
          summary: Change the settings; switching enforcement on ends other sessions and answers your recovery codes once
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [expected_version]
                  properties:
                    allowed_email_domains: {type: array, items: {type: string}}
                    enforce_sso: {type: boolean}
                    default_role_for_auto_join: {type: string, enum: [LEARNER]}
                    expected_version: {type: integer}
          responses:
            200:
              description: The settings; recovery_codes and sessions_ended when enforcement began
            400:
              description: VALIDATION_FAILED, INVALID_DEFAULT_ROLE
            403:
              description: OWNER_REQUIRED, DOMAIN_VERIFICATION_REQUIRED
            409:
              description: VERSION_CONFLICT, SSO_NOT_PROVEN
            422:
              description: DOMAIN_NOT_OWNED, DOMAIN_NOT_VERIFIED
        """
        body = payload(SettingsSchema)
        done = sso.change(db.session(), body, body.pop("expected_version", None))
        answer = settings_view(done.settings)
        if done.codes:
            answer["recovery_codes"] = done.codes
        answer["sessions_ended"] = done.revoked
        return ok(answer)

    @expose("/recovery-codes", methods=["POST"])
    @gate("sso", "write")
    def recovery_codes(self) -> Any:
        """Make recovery codes
        ---
        post:
          summary: Ten fresh one-time codes of the acting owner, answered once; the former ones stop working
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            201:
              description: recovery_codes
            403:
              description: OWNER_REQUIRED
        """
        return ok({"recovery_codes": sso.new_codes(db.session())}, 201)

    @expose("/break-glass", methods=["POST"])
    @gate("sso", "write")
    def open_glass(self) -> Any:
        """Open break-glass
        ---
        post:
          summary: Let passwords in again for some hours; owners are mailed
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
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
            400:
              description: VALIDATION_FAILED
            404:
              description: SSO_NOT_ENFORCED
        """
        body = payload(GlassSchema)
        return ok(settings_view(break_glass.open_glass(db.session(), body["hours"], body["reason"])))

    @expose("/break-glass", methods=["DELETE"])
    @gate("sso", "write")
    def close_glass(self) -> Any:
        """Close break-glass
        ---
        delete:
          summary: Only the identity provider signs people in again, at once
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The settings
            404:
              description: SSO_NOT_ENFORCED
        """
        return ok(settings_view(break_glass.close(db.session())))

    @expose("/setup-links", methods=["GET"])
    @gate("sso", "write")
    def links(self) -> Any:
        """Set-up links
        ---
        get:
          summary: Links that let an IT department set single sign-on up without an account
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: setup_links
        """
        return ok({"setup_links": [link_view(row) for row in sso_setup.links(db.session())]})

    @expose("/setup-links", methods=["POST"])
    @gate("sso", "write")
    def new_link(self) -> Any:
        """Make a set-up link
        ---
        post:
          summary: A link for your IT department, for this organisation alone; its address is answered once
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    label: {type: string, maxLength: 100}
                    days: {type: integer, minimum: 1, maximum: 30, default: 7}
          responses:
            201:
              description: setup_link and url
            409:
              description: CONFLICT, too many open links
        """
        body = payload(LinkSchema)
        row, secret = sso_setup.create(db.session(), body["label"], body["days"])
        return ok(
            {"setup_link": link_view(row), "url": sso_setup.address(current_app.config["SETTINGS"], secret)},
            201,
        )

    @expose("/setup-links/<link>", methods=["DELETE"])
    @gate("sso", "write")
    def end_link(self, link: str) -> Any:
        """End a set-up link
        ---
        delete:
          summary: The link stops working at once
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: link, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: setup_link
            404:
              description: NOT_FOUND
        """
        return ok({"setup_link": link_view(sso_setup.revoke(db.session(), parse_id(link)))})


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(SsoApi)
