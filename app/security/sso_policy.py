"""Whether a sign-in must go through an identity provider: one decision for every door (chapter 3, "Enforcement").

``verdict`` reads what the database function ``sso_facts`` gathers about a domain and judges it; the address check before
anybody signs in, every session's beginning and every request ask this module and nobody else. It judges *this* sign-in: an
account that is linked to a provider but came with a password came with a password.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import text
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.identity.domains import to_ascii
from app.security import x509

METHOD = "sso"
_FACTS = text("SELECT sso_facts(:domain, :now, true)")


@dataclass(frozen=True)
class Verdict:
    """What holds for the addresses of one domain."""

    organization_id: int | None = None
    organization_name: str = ""
    enforced: bool = False  # another way in is refused
    wanted: bool = False  # the organisation switched it on, whether or not it can be enforced now
    in_scope: bool = False
    provider_id: str | None = None  # the first usable provider
    provider_name: str = ""
    protocol: str = ""
    usable: frozenset[str] = field(default_factory=frozenset)
    misconfigured: bool = False  # there are enabled providers, and none that can be read

    @property
    def available(self) -> bool:
        return self.provider_id is not None

    def sign_in_url(self, **args: str | None) -> str | None:
        """Path that begins the sign-in, or None without a usable provider."""
        if self.provider_id is None:
            return None
        given = urlencode({k: v for k, v in args.items() if v})
        return f"/sso/{self.protocol.lower()}/{self.provider_id}/login" + (f"?{given}" if given else "")


OPEN = Verdict()


def domain_of(email: str) -> str:
    """The domain of an address, lower-case and in punycode, as claims keep it; empty for what is none."""
    local, at, domain = str(email or "").strip().lower().rpartition("@")
    return to_ascii(domain) if at and local and 1 <= len(domain) <= 253 and "\x00" not in domain else ""


def judge(facts: dict[str, Any] | None, now: dt.datetime) -> Verdict:
    """The verdict over *facts* of ``sso_facts``; pure.

    No usable provider (enabled, readable, with an unexpired certificate): fails open, so nobody is locked out for ever.
    """
    if not facts:
        return OPEN
    readable = [p for p in facts["providers"] if _readable(p)]
    good = [p for p in readable if _current(p, now)]
    first = good[0] if good else None
    return Verdict(
        organization_id=facts["organization_id"],
        organization_name=facts["organization_name"],
        enforced=bool(facts["enforced"] and first),
        wanted=bool(facts["wanted"]),
        in_scope=bool(facts["in_scope"]),
        provider_id=first["provider_id"] if first else None,
        provider_name=(first["name"] or first["provider_id"]) if first else "",
        protocol=first["protocol"] if first else "",
        usable=frozenset(p["provider_id"] for p in good),
        misconfigured=bool(facts["providers"]) and not readable,
    )


def _readable(provider: dict[str, Any]) -> bool:
    if provider["protocol"] == "OIDC":
        needed = ("issuer", "client_id", "authorize", "token", "keys")
        return all(isinstance(provider[k], str) and provider[k] for k in needed)
    if not provider["sso_url"] or not provider["idp_entity_id"]:
        return False
    return any(_parses(pem) for pem in provider["certificates"])


def _current(provider: dict[str, Any], now: dt.datetime) -> bool:
    return provider["protocol"] == "OIDC" or any(x509.usable(pem, now) for pem in provider["certificates"])


def _parses(pem: str) -> bool:
    try:
        x509.read(pem)
    except x509.Unusable:
        return False
    return True


def verdict(session: Session, email: str) -> Verdict:
    """What holds for *email*; ``OPEN`` for addresses nobody claimed and for what is no address."""
    domain = domain_of(email)
    if not domain:
        return OPEN
    now = clock.now()
    return judge(session.scalar(_FACTS, {"domain": domain, "now": now}), now)


def permits(found: Verdict, method: str, provider_id: str | None) -> bool:
    """Whether a sign-in by *method* through *provider_id* is good enough."""
    return not found.enforced or (method == METHOD and provider_id in found.usable)


def refusal(found: Verdict) -> DomainError:
    """SSO_REQUIRED with where to sign in."""
    return DomainError(
        "SSO_REQUIRED",
        message=f"{found.organization_name} signs you in. Continue with single sign-on.",
        sign_in_url=found.sign_in_url(),
        organization_name=found.organization_name,
    )


def check_sign_in(session: Session, user: Any, method: str, provider_id: str | None) -> Verdict:
    """Judge a session that is about to begin. ADMIN and STAFF never link to providers and are free. Raises SSO_REQUIRED."""
    if str(user.platform_role) in ("ADMIN", "STAFF"):
        return OPEN
    found = verdict(session, user.email)
    if not permits(found, method, provider_id):
        raise refusal(found)
    return found


def check_request(facts: dict[str, Any] | None, method: str, provider_id: str | None) -> None:
    """Judge a request by the facts its session look-up brought along. Raises SSO_REQUIRED."""
    if facts:
        found = judge(facts, clock.now())
        if not permits(found, method, provider_id):
            raise refusal(found)
