"""Identity providers over REST, with their tests and attempts."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, g, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.models import SsoProvider
from app.security import limits
from app.services import sso_providers

from .http import Api, gate, ok, payload
from .sso_shapes import attempt_view, provider_view


class _ProviderFields(Schema):
    name = fields.String(validate=validate.Length(max=100))
    enabled = fields.Boolean()
    allow_idp_initiated = fields.Boolean()
    extra_domains = fields.List(
        fields.String(validate=validate.Length(1, 300)), validate=validate.Length(max=50)
    )
    idp_entity_id = fields.String(validate=validate.Length(max=1024))
    sso_url = fields.String(validate=validate.Length(max=2048))
    slo_url = fields.String(validate=validate.Length(max=2048))
    certificates = fields.List(
        fields.String(validate=validate.Length(1, 20_000)), validate=validate.Length(1, 3)
    )
    name_id_format = fields.String(validate=validate.Length(max=200))
    attribute_map = fields.Dict(keys=fields.String(), values=fields.String(validate=validate.Length(max=300)))
    sign_requests = fields.Boolean()
    metadata_xml = fields.String(validate=validate.Length(max=600_000))
    metadata_url = fields.String(validate=validate.Length(max=2048))
    issuer = fields.String(validate=validate.Length(max=1024))
    discovery_url = fields.String(validate=validate.Length(max=2048))
    client_id = fields.String(validate=validate.Length(max=400))
    client_secret = fields.String(validate=validate.Length(1, 1000))
    scopes = fields.String(validate=validate.Length(max=400))
    token_auth_method = fields.String(validate=validate.Length(max=40))
    trust_email = fields.Boolean()


class NewProviderSchema(_ProviderFields):
    provider_id = fields.String(required=True, validate=validate.Length(max=60))
    protocol = fields.String(required=True, validate=validate.Length(max=10))
    domain = fields.String(required=True, validate=validate.Length(max=300))


class ProviderSchema(_ProviderFields):
    add_certificate = fields.String(validate=validate.Length(1, 20_000))
    remove_certificate = fields.String(validate=validate.Length(1, 64))
    remove_client_secret = fields.String(validate=validate.Length(1, 16))
    expected_version = fields.Integer(strict=True)


def interactive_url(row: SsoProvider, back: str, *, user_id: int | None, session_id: int | None) -> str:
    """An address that begins a test sign-in in whatever browser opens it, once, within a minute."""
    from app.views import sso_common

    key = sso_common.ticket("test", row.provider_id, user_id=user_id, session_id=session_id, back=back)
    return f"/sso/{row.protocol.value.lower()}/{row.provider_id}/login?ticket={key}"


class ProvidersApi(Api):
    """Identity providers."""

    route_base = "/api/organizations/<org_id>/sso/providers"
    resource_name = "sso-providers"
    openapi_spec_tag = "Single sign-on"

    @expose("", methods=["GET"])
    @gate("sso", "read")
    def list(self) -> Any:
        """Identity providers
        ---
        get:
          summary: The organisation's identity providers, without secrets
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: providers
        """
        return ok({"providers": [provider_view(p) for p in sso_providers.providers(db.session())]})

    @expose("", methods=["POST"])
    @gate("sso", "write")
    def create(self) -> Any:
        """Add an identity provider
        ---
        post:
          summary: Add a SAML or OIDC provider for a verified domain
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [provider_id, protocol, domain]
                  properties:
                    provider_id: {type: string, pattern: "^[a-z0-9-]{2,50}$"}
                    protocol: {type: string, enum: [SAML, OIDC]}
                    domain: {type: string}
                    metadata_xml: {type: string}
                    metadata_url: {type: string}
                    idp_entity_id: {type: string}
                    sso_url: {type: string}
                    certificates: {type: array, items: {type: string}, maxItems: 3}
                    issuer: {type: string}
                    client_id: {type: string}
                    client_secret: {type: string}
          responses:
            201:
              description: The provider
            400:
              description: VALIDATION_FAILED, PROVIDERID_RESERVED, INVALID_X509_CERT, SAML_METADATA_INVALID
            409:
              description: PROVIDERID_TAKEN, DOMAIN_ALREADY_REGISTERED
            422:
              description: DOMAIN_NOT_OWNED, DOMAIN_NOT_VERIFIED, OIDC_DISCOVERY_FAILED
            500:
              description: SSO_ENCRYPTION_KEY_MISSING
        """
        row = sso_providers.create(db.session(), current_app.config["SETTINGS"], payload(NewProviderSchema))
        return ok(provider_view(row), 201)

    @expose("/<provider_id>", methods=["GET"])
    @gate("sso", "read")
    def get(self, provider_id: str) -> Any:
        """An identity provider
        ---
        get:
          summary: One identity provider, without secrets
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: provider_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The provider
            404:
              description: NOT_FOUND
        """
        return ok(provider_view(sso_providers.find(db.session(), provider_id)))

    @expose("/<provider_id>", methods=["PATCH"])
    @gate("sso", "write")
    def patch(self, provider_id: str) -> Any:
        """Change an identity provider
        ---
        patch:
          summary: Change it in place; add_certificate and client_secret add one beside the old, which is removed by name
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: provider_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema: {type: object}
          responses:
            200:
              description: The provider
            404:
              description: NOT_FOUND
            409:
              description: VERSION_CONFLICT, LAST_PROVIDER_GUARD, DOMAIN_ALREADY_REGISTERED
        """
        body = payload(ProviderSchema)
        version = body.pop("expected_version", None)
        row = sso_providers.update(db.session(), current_app.config["SETTINGS"], provider_id, body, version)
        return ok(provider_view(row))

    @expose("/<provider_id>", methods=["DELETE"])
    @gate("sso", "write")
    def delete(self, provider_id: str) -> Any:
        """Remove an identity provider
        ---
        delete:
          summary: Remove it and the identities linked through it
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: provider_id, required: true, schema: {type: string}}
          responses:
            204:
              description: Removed
            404:
              description: NOT_FOUND
            409:
              description: LAST_PROVIDER_GUARD
        """
        sso_providers.remove(db.session(), provider_id)
        return ok(status=204)

    @expose("/<provider_id>/test", methods=["POST"])
    @gate("sso", "write")
    def test(self, provider_id: str) -> Any:
        """Test an identity provider
        ---
        post:
          summary: Check what can be checked; with interactive=1 get an address at which an owner proves it by signing in
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: provider_id, required: true, schema: {type: string}}
          - {in: query, name: interactive, schema: {type: string, enum: ["1"]}}
          responses:
            200:
              description: ok and checks, or sign_in_url
            404:
              description: NOT_FOUND
            429:
              description: RATE_LIMITED
        """
        limits.hit("provider-test", str(g.org["organization_id"]))
        row = sso_providers.find(db.session(), provider_id)
        if request.args.get("interactive") == "1":
            back = f"/dashboard/organization/{g.org['slug']}/sso/providers/{row.provider_id}"
            url = interactive_url(row, back, user_id=g.identity.user.id, session_id=g.identity.session_id)
            return ok({"sign_in_url": url})
        return ok(sso_providers.check(db.session(), current_app.config["SETTINGS"], row))

    @expose("/<provider_id>/attempts", methods=["GET"])
    @gate("sso", "write")
    def attempts(self, provider_id: str) -> Any:
        """Attempts to sign in
        ---
        get:
          summary: The latest fifty attempts through a provider, with what was checked and why one was refused
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: provider_id, required: true, schema: {type: string}}
          responses:
            200:
              description: attempts
            403:
              description: OWNER_REQUIRED
            404:
              description: NOT_FOUND
        """
        row = sso_providers.find(db.session(), provider_id)
        return ok({"attempts": [attempt_view(a) for a in sso_providers.attempts(db.session(), row)]})


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(ProvidersApi)
