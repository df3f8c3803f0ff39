"""Domain claims over REST (chapter 3, "Domain claims")."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, g
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.identity import domains
from app.models import DomainClaim
from app.security import limits
from app.services import domain_claims

from .http import Api, gate, ok, payload


class ClaimSchema(Schema):
    domain = fields.String(required=True, validate=validate.Length(1, 300))


def claim_view(row: DomainClaim) -> dict[str, Any]:
    """A claim as REST shows one. The token is no secret: it belongs into public DNS."""

    def moment(value: Any) -> str | None:
        return value.isoformat() if value else None

    return {
        "id": str(row.public_id),
        "domain": row.domain,
        "state": domain_claims.state(row),
        "txt_name": domains.txt_name(row.domain),
        "txt_value": domains.txt_value(row.verification_token),
        "claimed_at": moment(row.claimed_at),
        "expires_at": None if row.verified_at else moment(row.claimed_at + domain_claims.PENDING_FOR),
        "verified_at": moment(row.verified_at),
        "last_checked_at": moment(row.last_checked_at),
        "failing_since": moment(row.failing_since),
        "lapsed_at": moment(row.lapsed_at),
    }


def verify_now(domain: str) -> domain_claims.Verified:
    """Verify a claim of the organisation acted for, ten times a minute at most; pages and REST share this."""
    limits.hit("domain-verify", str(g.org["organization_id"]) if g.get("org") else limits.client_ip())
    settings = current_app.config["SETTINGS"]
    return domain_claims.verify(
        db.session(), domain, lambda name, token: domains.proves(settings, name, token)
    )


class DomainClaimsApi(Api):
    """The organisation's domains."""

    route_base = "/api/organizations/<org_id>/domain-claims"
    resource_name = "domain-claims"
    openapi_spec_tag = "Single sign-on"

    @expose("", methods=["GET"])
    @gate("domain-claims", "read")
    def list(self) -> Any:
        """Domain claims
        ---
        get:
          summary: The organisation's domains, verified first, with the TXT record each needs
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: domain_claims
            403:
              description: INSUFFICIENT_ROLE
        """
        return ok({"domain_claims": [claim_view(row) for row in domain_claims.claims(db.session())]})

    @expose("", methods=["POST"])
    @gate("domain-claims", "write")
    def create(self) -> Any:
        """Claim a domain
        ---
        post:
          summary: Claim a domain; publish txt_value as a TXT record at txt_name, then verify
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [domain]
                  properties:
                    domain: {type: string, example: acme.com}
          responses:
            201:
              description: The claim
            400:
              description: VALIDATION_FAILED, PUBLIC_DOMAIN
            403:
              description: OWNER_REQUIRED
            409:
              description: DOMAIN_ALREADY_CLAIMED
        """
        return ok(claim_view(domain_claims.claim(db.session(), payload(ClaimSchema)["domain"])), 201)

    @expose("/<domain>/verify", methods=["POST"])
    @gate("domain-claims", "write")
    def verify(self, domain: str) -> Any:
        """Verify a domain
        ---
        post:
          summary: Look for the TXT record now; ten times a minute at most
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: domain, required: true, schema: {type: string}}
          responses:
            200:
              description: verified_at, already_verified
            404:
              description: NOT_FOUND
            409:
              description: DOMAIN_ALREADY_CLAIMED
            422:
              description: DNS_VERIFICATION_FAILED
            429:
              description: RATE_LIMITED
            502:
              description: DNS_RESOLVE_ERROR
        """
        done = verify_now(domain)
        return ok({**claim_view(done.claim), "already_verified": done.already})

    @expose("/<domain>", methods=["DELETE"])
    @gate("domain-claims", "write")
    def delete(self, domain: str) -> Any:
        """Release a domain
        ---
        delete:
          summary: Give a domain up
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: domain, required: true, schema: {type: string}}
          responses:
            204:
              description: Released
            404:
              description: NOT_FOUND
            409:
              description: LAST_DOMAIN_GUARD, CONFLICT while a provider signs it in
        """
        domain_claims.release(db.session(), domain)
        return ok(status=204)


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(DomainClaimsApi)
