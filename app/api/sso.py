"""Single sign-on over REST: settings, providers, tests, break-glass, recovery codes, set-up links, address check."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, g, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.errors import DomainError
from app.extensions import db
from app.identity import saml_sp
from app.models import SsoAttempt, SsoProtocol, SsoProvider, SsoSettings, SsoSetupLink
from app.security import limits, sso_policy
from app.security.context import acting
from app.services import break_glass, sso, sso_providers, sso_setup

from .http import Api, gate, ok, parse_id, payload, platform, public
from .platform_organizations import found


class SettingsSchema(Schema):
    allowed_email_domains = fields.List(
        fields.String(validate=validate.Length(1, 300)), validate=validate.Length(max=50)
    )
    enforce_sso = fields.Boolean()
    default_role_for_auto_join = fields.String(validate=validate.Length(1, 40))
    expected_version = fields.Integer(strict=True)


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


class GlassSchema(Schema):
    hours = fields.Integer(strict=True, load_default=break_glass.HOURS)
    reason = fields.String(required=True, validate=validate.Length(max=500))


class RecoverySchema(Schema):
    email = fields.String(required=True, validate=validate.Length(1, 320))
    recovery_code = fields.String(required=True, validate=validate.Length(1, 64))
    reason = fields.String(required=True, validate=validate.Length(max=500))


class LinkSchema(Schema):
    label = fields.String(load_default="", validate=validate.Length(max=100))
    days = fields.Integer(strict=True, load_default=sso_setup.DAYS)


def _moment(value: Any) -> str | None:
    return value.isoformat() if value else None


def settings_view(row: SsoSettings) -> dict[str, Any]:
    """The settings as REST shows them."""
    open_now = break_glass.is_open(row)
    return {
        "allowed_email_domains": row.allowed_email_domains,
        "enforce_sso": row.enforce_sso,
        "enforced_at": _moment(row.enforced_at),
        "default_role_for_auto_join": row.default_role_for_auto_join.value,
        "covered_domains": sso.covered_domains(db.session(), row),
        "break_glass": {
            "open": open_now,
            "until": _moment(row.break_glass_until) if open_now else None,
            "reason": row.break_glass_reason if open_now else None,
            "opened_by": row.break_glass_by if open_now else None,
        },
        "version": row.version,
    }


def urls_view(provider_id: str, protocol: str) -> dict[str, str]:
    """What is copied into the identity provider: derived by the server from the provider's id alone."""
    base = current_app.config["SETTINGS"].base_url
    if protocol == SsoProtocol.SAML.value:
        ours = saml_sp.urls(base, provider_id)
        return {"acs": ours.acs, "entity_id": ours.entity_id, "metadata": ours.metadata, "sls": ours.sls}
    root = f"{base}/sso/oidc/{provider_id}"
    return {
        "callback": f"{root}/callback",
        "initiate": f"{root}/initiate",
        "backchannel_logout": f"{root}/backchannel-logout",
        "post_logout": f"{base}/login",
    }


def provider_view(row: SsoProvider) -> dict[str, Any]:
    """A provider as REST shows one: never a key or a secret."""
    view: dict[str, Any] = {
        "id": str(row.public_id),
        "provider_id": row.provider_id,
        "protocol": row.protocol.value,
        "name": row.name,
        "domain": row.domain,
        "extra_domains": row.extra_domains,
        "enabled": row.enabled,
        "usable": row.enabled and sso.is_usable(row, row.certificates),
        "allow_idp_initiated": row.allow_idp_initiated,
        "proven_at": _moment(row.proven_at),
        "last_test_at": _moment(row.last_test_at),
        "last_test_result": row.last_test_result,
        "created_at": _moment(row.created_at),
        "urls": urls_view(row.provider_id, row.protocol.value),
        "version": row.version,
    }
    if row.protocol == SsoProtocol.SAML:
        view |= {
            "idp_entity_id": row.idp_entity_id,
            "sso_url": row.sso_url,
            "slo_url": row.slo_url,
            "name_id_format": row.name_id_format,
            "attribute_map": row.attribute_map,
            "sign_requests": row.sign_requests,
            "metadata_url": row.metadata_url,
            "metadata_read_at": _moment(row.metadata_read_at),
            "metadata_problem": row.metadata_problem,
            "sp_certificate": row.sp_certificate,
            "certificates": [
                {
                    "fingerprint": c.fingerprint,
                    "subject": c.subject,
                    "not_after": _moment(c.not_after),
                    "level": sso_providers.level(c),
                }
                for c in row.certificates
            ],
        }
    else:
        view |= {
            "issuer": row.issuer,
            "discovery_url": row.discovery_url,
            "client_id": row.client_id,
            "client_secrets": [
                {"id": s["id"], "added_at": s["added_at"], "ends_with": s["ends_with"]}
                for s in row.client_secrets
            ],
            "scopes": row.scopes,
            "token_auth_method": row.token_auth_method,
            "trust_email": row.trust_email,
            "pkce": "S256",
            "metadata_problem": row.metadata_problem,
        }
    return view


def attempt_view(row: SsoAttempt) -> dict[str, Any]:
    """An attempt as the trace shows one."""
    return {
        "id": str(row.public_id),
        "at": _moment(row.created_at),
        "kind": row.kind,
        "outcome": row.outcome,
        "email": row.email,
        "ip": row.ip,
        "checks": row.checks,
        "correlation_id": row.correlation_id,
    }


def link_view(row: SsoSetupLink) -> dict[str, Any]:
    """A set-up link as REST shows one: never its secret."""
    return {
        "id": str(row.public_id),
        "label": row.label,
        "state": sso_setup.state(row),
        "created_by": row.created_by.name if row.created_by else None,
        "created_at": _moment(row.created_at),
        "expires_at": _moment(row.expires_at),
        "last_used_at": _moment(row.last_used_at),
    }


def interactive_url(row: SsoProvider, back: str, *, user_id: int | None, session_id: int | None) -> str:
    """An address that begins a test sign-in in whatever browser opens it, once, within a minute."""
    from app.views import sso_common

    key = sso_common.ticket("test", row.provider_id, user_id=user_id, session_id=session_id, back=back)
    return f"/sso/{row.protocol.value.lower()}/{row.provider_id}/login?ticket={key}"


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
        return ok({"open": True, "until": _moment(row.break_glass_until)})


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
    for resource in (SsoApi, ProvidersApi, SsoDoorApi, PlatformGlassApi):
        appbuilder.add_api(resource)
