"""Jobs of single sign-on (chapter 3, 3.10)."""

from __future__ import annotations

from typing import Any

from flask import current_app
from sqlalchemy.orm import Session

from app.identity import domains
from app.services import break_glass, domain_claims, sso_expiry


def reverify_domains(session: Session) -> dict[str, Any]:
    """Look at the DNS of every verified domain again; lapse those without a record for 14 days, end old claims."""
    settings = current_app.config["SETTINGS"]

    def proves(name: str, token: str) -> bool:
        if settings.app_env == "development" and name.endswith(".test"):
            return True  # the demo's domains: a name reserved for tests (RFC 2606) has no DNS that could fail
        return domains.proves(settings, name, token)

    return dict(domain_claims.reverify(session, proves))


def sso_cert_expiry(session: Session) -> dict[str, Any]:
    """Warn owners of identity providers' certificates that end within 30 or 7 days, or have ended."""
    return sso_expiry.warn(session)


def refresh_sso_metadata(session: Session) -> dict[str, Any]:
    """Read the metadata and discovery documents of identity providers again."""
    return sso_expiry.refresh(session, current_app.config["SETTINGS"])


def tidy_sso(session: Session) -> dict[str, Any]:
    """Close break-glasses whose time is over; forget assertions, attempts and links that no longer matter."""
    return {"break_glass": break_glass.tidy(session), **sso_expiry.tidy(session)}


JOBS = [
    ("reverify_domains", "0 2 * * *", reverify_domains),
    ("refresh_sso_metadata", "30 2 * * *", refresh_sso_metadata),
    ("sso_cert_expiry", "0 3 * * *", sso_cert_expiry),
    ("tidy_sso", 900, tidy_sso),
]
