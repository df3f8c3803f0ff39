"""Onboarding over REST: one request for person, organisation and invitations (chapter 1, 1.4)."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.security.context import ctx
from app.services import onboarding
from app.services.invitations import NewInvitation

from .http import Api, idempotent, ok, payload, signed_in
from .organizations import CreateSchema, InviteSchema, allow_host, created_view


class PersonalSchema(Schema):
    name = fields.String(required=True, validate=validate.Length(1, 200))
    phone = fields.String(allow_none=True, validate=validate.Length(max=40))
    timezone = fields.String(validate=validate.Length(1, 64))


class OnboardedOrganizationSchema(CreateSchema):
    class Meta:
        exclude = ("invitations",)


class OnboardingSchema(Schema):
    personal = fields.Nested(PersonalSchema, required=True)
    organization = fields.Nested(OnboardedOrganizationSchema, required=True)
    invitations = fields.List(
        fields.Nested(InviteSchema), validate=validate.Length(max=200), load_default=list
    )


def onboard(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Do what *body* (validated by OnboardingSchema) asks; REST and the pages share this."""
    organization = dict(body["organization"])
    made = onboarding.complete(
        db.session(),
        body["personal"],
        organization,
        funding_source=organization.pop("funding_source", None),
        invite=[NewInvitation(**one) for one in body["invitations"]],
        allow_host=allow_host(),
    )
    return 201, created_view(made)


def scope() -> str:
    """Under which the Idempotency-Keys of the acting person's onboarding are kept."""
    return f"user:{ctx().user_id}:onboarding"


class OnboardingApi(Api):
    """``POST /api/onboarding``."""

    route_base = "/api/onboarding"
    resource_name = "onboarding"
    openapi_spec_tag = "Organisations"

    @expose("", methods=["POST"])
    @signed_in
    def post(self) -> Any:
        """Onboard with an organisation
        ---
        post:
          summary: Update the person, create the organisation and invite its people, together or not at all
          parameters:
          - {in: header, name: Idempotency-Key, schema: {type: string, maxLength: 200}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [personal, organization]
                  properties:
                    personal:
                      type: object
                      required: [name]
                      properties:
                        name: {type: string}
                        phone: {type: string}
                        timezone: {type: string}
                    organization: {type: object, description: as POST /api/organizations}
                    invitations: {type: array, items: {type: object}}
          responses:
            201:
              description: organization, billing_account_id, membership, org_workspace_profile_id, invitations
            200:
              description: The stored answer of the same Idempotency-Key
            400:
              description: VALIDATION_FAILED, GST_STATE_REQUIRED, INVALID_GSTIN_FORMAT, INERT_ORG, HOST_ORGS_GATED
            403:
              description: ORG_LIMIT_REACHED, DOMAIN_VERIFICATION_REQUIRED
            409:
              description: SLUG_TAKEN
        """
        body = payload(OnboardingSchema)
        if not request.headers.get("Idempotency-Key"):
            status, answer = onboard(body)
            return ok(answer, status)
        return idempotent(scope(), body, lambda: onboard(body))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(OnboardingApi)
