"""REST: the settings of one's own workspace."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Flask
from flask_appbuilder import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.services import workspace

from .http import Api, ok, payload, signed_in


class SettingsSchema(Schema):
    default_landing_organization_id = fields.String(allow_none=True, validate=validate.Length(max=80))
    notification_routing_mode = fields.String(allow_none=True, validate=validate.Length(max=40))
    locale = fields.String(allow_none=True, validate=validate.Length(max=35))
    currency_display_code = fields.String(allow_none=True, validate=validate.Length(max=3))


class WorkspaceApi(Api):
    """One's own workspace; others do not learn that it exists."""

    route_base = "/api/org-workspace"
    resource_name = "org-workspace"
    openapi_spec_tag = "Workspace"

    @expose("/<uuid:key>/settings", methods=["GET"])
    @signed_in
    def show(self, key: uuid.UUID) -> Any:
        """Settings of my workspace
        ---
        get:
          summary: Landing organisation, notification routing, locale and display currency
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: settings
            404:
              description: NOT_FOUND, also for another person's
        """
        return ok({"settings": workspace.view(db.session(), workspace.own(db.session(), key))})

    @expose("/<uuid:key>/settings", methods=["PATCH"])
    @signed_in
    def change(self, key: uuid.UUID) -> Any:
        """Change settings of my workspace
        ---
        patch:
          summary: An absent key stays as it is, null goes back to the default
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    default_landing_organization_id: {type: string, nullable: true}
                    notification_routing_mode: {type: string, nullable: true, enum: [BELL_AND_EMAIL, BELL_ONLY, EMAIL_ONLY, NEITHER]}
                    locale: {type: string, nullable: true}
                    currency_display_code: {type: string, nullable: true}
          responses:
            200:
              description: settings
            400:
              description: DEFAULT_LANDING_ORG_INVALID, VALIDATION_FAILED
            404:
              description: NOT_FOUND, also for another person's
        """
        row = workspace.own(db.session(), key)
        return ok(
            {
                "settings": workspace.view(
                    db.session(), workspace.update(db.session(), row, payload(SettingsSchema))
                )
            }
        )


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(WorkspaceApi)
