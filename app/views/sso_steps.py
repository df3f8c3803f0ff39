"""The steps of setting single sign-on up, as forms: an owner's pages and the set-up link share them."""

from __future__ import annotations

from typing import Any

from flask import current_app, request

from app.api.sso_shapes import urls_view
from app.errors import DomainError, Invalid
from app.extensions import db
from app.identity import domains, saml_sp
from app.models import SsoProtocol, SsoProvider
from app.services import domain_claims, sso, sso_providers
from app.views import sso_common as common

SAML_FIELDS = ("metadata_xml", "metadata_url", "idp_entity_id", "sso_url", "slo_url")
OIDC_FIELDS = ("issuer", "discovery_url", "client_id", "client_secret")
METHODS = [
    ("client_secret_basic", "In the header (client_secret_basic)"),
    ("client_secret_post", "In the form (client_secret_post)"),
]
FORMATS = [
    ("", "Whatever the provider sends"),
    *[(f, f.rpartition(":")[2]) for f in saml_sp.NAME_ID_FORMATS[:3]],
]


def state_of_claims() -> list[dict[str, Any]]:
    """The organisation's domains as the page shows them."""
    return [
        {
            "row": row,
            "domain": row.domain,
            "state": domain_claims.state(row),
            "txt_name": domains.txt_name(row.domain),
            "txt_value": domains.txt_value(row.verification_token),
            "days_left": max(0, domain_claims.LAPSE_DAY - domain_claims.days_failing(row, _now())),
        }
        for row in domain_claims.claims(db.session())
    ]


def _now() -> Any:
    from app import clock

    return clock.now()


def free_domains(*, but: SsoProvider | None = None) -> list[str]:
    """Verified domains without a provider."""
    taken = {d for p in sso_providers.providers(db.session()) if p is not but for d in p.domains}
    return sorted(domain_claims.verified(db.session()) - taken)


def draft(slug: str) -> dict[str, Any]:
    """The first step of a provider, from the query: protocol, identifier and domain, and what is copied because of them.

    ``ready`` says whether the second step can be shown; ``errors`` what is wrong with the first.
    """
    protocol = request.values.get("protocol", "").upper()
    protocol = protocol if protocol in ("SAML", "OIDC") else "SAML"
    free = free_domains()
    provider_id = request.values.get("provider_id", "").strip() or sso_providers.suggested_id(slug, protocol)
    domain = request.values.get("domain", "").strip() or (free[0] if free else "")
    errors: dict[str, list[str]] = {}
    if "provider_id" in request.values:
        if not sso_providers.PROVIDER_ID.match(provider_id):
            errors["provider_id"] = ["2 to 50 small letters, digits and hyphens."]
        elif provider_id in sso_providers.RESERVED:
            errors["provider_id"] = [DomainError("PROVIDERID_RESERVED").message]
        if domain not in free:
            errors["domain"] = ["Choose a verified domain that no provider signs in yet."]
    return {
        "protocol": protocol,
        "provider_id": provider_id,
        "domain": domain,
        "free": free,
        "errors": errors,
        "ready": "provider_id" in request.values and not errors,
        "urls": urls_view(provider_id, protocol) if not errors else {},
    }


def create(*, enabled: bool = True) -> SsoProvider:
    """A provider out of the form. Raises what ``sso_providers.create`` raises."""
    form = request.form
    values: dict[str, Any] = {
        "provider_id": form.get("provider_id", ""),
        "protocol": form.get("protocol", ""),
        "domain": form.get("domain", ""),
        "name": form.get("name", ""),
        "enabled": enabled,
    }
    names = OIDC_FIELDS if values["protocol"] == SsoProtocol.OIDC.value else SAML_FIELDS
    values |= {n: form[n].strip() for n in names if form.get(n, "").strip()}
    if form.get("certificate", "").strip():
        values["certificates"] = [form["certificate"]]
    if values["protocol"] == SsoProtocol.OIDC.value:
        values["token_auth_method"] = form.get("token_auth_method") or METHODS[0][0]
    return sso_providers.create(db.session(), current_app.config["SETTINGS"], values)


def changes(row: SsoProvider) -> dict[str, Any]:
    """What the settings form of a provider asks for: every box it shows, ticked or not."""
    form = request.form
    values: dict[str, Any] = {
        "name": form.get("name", ""),
        "allow_idp_initiated": "allow_idp_initiated" in form,
    }
    if "extra_shown" in form:
        values["extra_domains"] = form.getlist("extra_domains")
    if row.protocol == SsoProtocol.SAML:
        values["sign_requests"] = "sign_requests" in form
        values["name_id_format"] = form.get("name_id_format", "")
        values["attribute_map"] = {
            k: form[f"map_{k}"].strip() for k in sso_providers.MAP_KEYS if form.get(f"map_{k}", "").strip()
        }
        for name in ("idp_entity_id", "sso_url", "slo_url", "metadata_url"):
            if name in form and form[name].strip() != (getattr(row, name) or ""):
                values[name] = form[name].strip()
    else:
        values["trust_email"] = "trust_email" in form
        values["scopes"] = form.get("scopes", row.scopes)
        values["token_auth_method"] = form.get("token_auth_method", row.token_auth_method)
        for name in ("issuer", "client_id"):
            if name in form and form[name].strip() != (getattr(row, name) or ""):
                values[name] = form[name].strip()
    return values


def test_address(row: SsoProvider, back: str, *, user_id: int | None, session_id: int | None) -> str:
    """Where an interactive test begins."""
    key = common.ticket("test", row.provider_id, user_id=user_id, session_id=session_id, back=back)
    return f"/sso/{row.protocol.value.lower()}/{row.provider_id}/login?ticket={key}"


def to_test(row: SsoProvider, back: str, *, user_id: int | None, session_id: int | None) -> Any:
    """Lead on to an interactive test."""
    return common.interstitial(
        test_address(row, back, user_id=user_id, session_id=session_id),
        f"Testing {row}",
        "Sign in at your identity provider. You come back here, with the result.",
        "Go to the identity provider",
    )


def provider_facts(row: SsoProvider) -> dict[str, Any]:
    """What a provider's page needs besides the row."""
    return {
        "urls": urls_view(row.provider_id, row.protocol.value),
        "usable": sso.is_usable(row, row.certificates),
        "certificates": [(c, sso_providers.level(c)) for c in row.certificates],
        "extra_choices": sorted(set(free_domains(but=row)) - {row.domain} | set(row.extra_domains)),
    }


def problems_of(error: DomainError) -> tuple[dict[str, list[str]], str | None]:
    """(problems at fields, a problem above the form)."""
    if isinstance(error, Invalid):
        return error.fields, None
    field = {
        "INVALID_X509_CERT": "certificate",
        "SAML_METADATA_INVALID": "metadata_xml",
        "OIDC_DISCOVERY_FAILED": "issuer",
        "PROVIDERID_TAKEN": "provider_id",
        "PROVIDERID_RESERVED": "provider_id",
        "DOMAIN_ALREADY_REGISTERED": "domain",
    }.get(error.code)
    if field == "metadata_xml" and request.form.get("metadata_url") and not request.form.get("metadata_xml"):
        field = "metadata_url"
    return ({field: [error.message]}, None) if field else ({}, error.message)
