"""Metadata of SAML identity providers: what of it configures a provider."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from app.security import x509

from .safe_xml import Refused, children, parse, tag

MAX_BYTES = 512 * 1024
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"


@dataclass(frozen=True)
class IdpMetadata:
    """What a provider's metadata says: where it signs people in and with which certificates (at most three)."""

    entity_id: str
    sso_url: str
    slo_url: str | None
    certificates: list[x509.Facts] = field(default_factory=list)
    wants_signed_requests: bool = False
    name_id_formats: list[str] = field(default_factory=list)


def read(data: bytes, now: dt.datetime) -> IdpMetadata:
    """The one identity provider that *data* describes. Raises Refused with the reason."""
    root = parse(data, MAX_BYTES)
    if root.tag == tag("md", "EntityDescriptor"):
        entities = [root]
    elif root.tag == tag("md", "EntitiesDescriptor"):
        entities = list(root.iter(tag("md", "EntityDescriptor")))
    else:
        raise Refused("It is XML, but no SAML metadata.")
    found = [(e, d) for e in entities for d in children(e, "md", "IDPSSODescriptor")]
    if not found:
        raise Refused("It describes no identity provider. Is it the metadata of an application?")
    if len(found) > 1:
        raise Refused("It describes several identity providers. Export the one you mean.")
    entity, descriptor = found[0]
    for node in (root, entity, descriptor):
        until = node.get("validUntil")
        if until and _moment(until) <= now:
            raise Refused("It has expired (validUntil). Export it again.")
    entity_id = (entity.get("entityID") or "").strip()
    if not 1 <= len(entity_id) <= 1024:
        raise Refused("It has no entityID.")
    sso_url = _service(descriptor, "SingleSignOnService")
    if sso_url is None:
        raise Refused("It offers no sign-in by the HTTP-Redirect binding.")
    return IdpMetadata(
        entity_id,
        sso_url,
        _service(descriptor, "SingleLogoutService"),
        _certificates(descriptor, now),
        (descriptor.get("WantAuthnRequestsSigned") or "").strip() in ("true", "1"),
        [(n.text or "").strip() for n in children(descriptor, "md", "NameIDFormat")],
    )


def _service(descriptor: Any, name: str) -> str | None:
    for node in children(descriptor, "md", name):
        location = (node.get("Location") or "").strip()
        if node.get("Binding") == REDIRECT and location:
            return str(location)
    return None


def _certificates(descriptor: Any, now: dt.datetime) -> list[x509.Facts]:
    found: dict[str, x509.Facts] = {}
    problem = "It holds no signing certificate."
    for key in children(descriptor, "md", "KeyDescriptor"):
        if key.get("use") not in (None, "signing"):
            continue
        for node in key.iter(tag("ds", "X509Certificate")):
            try:
                facts = x509.read("".join(node.itertext()))
            except x509.Unusable as error:
                problem = f"Its signing certificate cannot be used. {error}"
                continue
            if facts.not_after <= now:
                problem = "Its signing certificate has expired."
                continue
            found[facts.fingerprint] = facts
    if not found:
        raise Refused(problem)
    return sorted(found.values(), key=lambda f: f.not_after, reverse=True)[:3]


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise Refused("It carries a date that cannot be read.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
