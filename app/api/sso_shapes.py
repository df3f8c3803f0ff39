"""What single sign-on looks like over REST: settings, providers, attempts, set-up links."""

from __future__ import annotations

from typing import Any

from flask import current_app

from app.extensions import db
from app.identity import saml_sp
from app.models import SsoAttempt, SsoProtocol, SsoProvider, SsoSettings, SsoSetupLink
from app.services import break_glass, sso, sso_providers, sso_setup


def moment(value: Any) -> str | None:
    return value.isoformat() if value else None


def settings_view(row: SsoSettings) -> dict[str, Any]:
    """The settings as REST shows them."""
    open_now = break_glass.is_open(row)
    return {
        "allowed_email_domains": row.allowed_email_domains,
        "enforce_sso": row.enforce_sso,
        "enforced_at": moment(row.enforced_at),
        "default_role_for_auto_join": row.default_role_for_auto_join.value,
        "covered_domains": sso.covered_domains(db.session(), row),
        "break_glass": {
            "open": open_now,
            "until": moment(row.break_glass_until) if open_now else None,
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
        "proven_at": moment(row.proven_at),
        "last_test_at": moment(row.last_test_at),
        "last_test_result": row.last_test_result,
        "created_at": moment(row.created_at),
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
            "metadata_read_at": moment(row.metadata_read_at),
            "metadata_problem": row.metadata_problem,
            "sp_certificate": row.sp_certificate,
            "certificates": [
                {
                    "fingerprint": c.fingerprint,
                    "subject": c.subject,
                    "not_after": moment(c.not_after),
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
        "at": moment(row.created_at),
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
        "created_at": moment(row.created_at),
        "expires_at": moment(row.expires_at),
        "last_used_at": moment(row.last_used_at),
    }
