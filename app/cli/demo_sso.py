"""The demo's identity provider: entered, switched off, so that the page shows what comes next."""

from __future__ import annotations

from flask import current_app
from sqlalchemy.orm import Session

from app import clock
from app.identity import saml_sp
from app.services import domain_claims, sso_providers


def seed(session: Session, domain: str) -> None:
    """A SAML provider of the organisation acted for, and a domain that waits for its proof."""
    _, certificate = saml_sp.new_key_pair("demo-idp", clock.now())
    sso_providers.create(
        session,
        current_app.config["SETTINGS"],
        {
            "provider_id": "acme-okta",
            "protocol": "SAML",
            "name": "Acme Okta",
            "domain": domain,
            "enabled": False,
            "idp_entity_id": "http://www.okta.com/exk1demo",
            "sso_url": "https://acme.okta.example/app/consilium/exk1demo/sso/saml",
            "slo_url": "https://acme.okta.example/app/consilium/exk1demo/slo/saml",
            "certificates": [certificate],
        },
    )
    domain_claims.claim(session, "acme-learning.test")
