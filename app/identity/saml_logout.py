"""Single logout by SAML: what the provider asks of us, and what it answers (SAML profiles 4.4)."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_plus, urlencode

from . import saml_signature as sig
from .safe_xml import Refused, children, only_child, parse, tag, words
from .saml_response import SKEW, SUCCESS, moment

ALGORITHM = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


@dataclass(frozen=True)
class LogoutRequest:
    """Who is to be signed out: every session of the subject, or those named."""

    request_id: str
    name_id: str
    session_indexes: list[str]


def inflate(text: str) -> bytes:
    """The document of a query argument. Raises Refused."""
    try:
        raw = base64.b64decode(text, validate=True)
        opener = zlib.decompressobj(-15)
        data = opener.decompress(raw, sig.MAX_BYTES)
    except (binascii.Error, ValueError, zlib.error):
        raise Refused("It cannot be read.") from None
    if opener.unconsumed_tail:
        raise Refused("It is too large.")
    return data


class SignedQuery(NamedTuple):
    """A message of the HTTP-Redirect binding, read from the very bytes its signature covers."""

    field: str  # SAMLRequest or SAMLResponse
    document: str  # base64
    relay: str | None
    signed: str
    algorithm: str
    signature: str


def signed_query(raw_query: str) -> SignedQuery:
    """The parts of a raw query string, in the binding's order. Only these may be read afterwards: a form parser would also
    find a part whose name is spelt with escapes, which nobody signed.

    Raises Refused when it is not signed, a part comes twice, or it is request and answer at once.
    """
    parts: dict[str, str] = {}
    for piece in raw_query.split("&"):
        name, _, value = piece.partition("=")
        if name in ("SAMLRequest", "SAMLResponse", "RelayState", "SigAlg", "Signature"):
            if name in parts:
                raise Refused("It repeats a part.")
            parts[name] = value
    fields = [n for n in ("SAMLRequest", "SAMLResponse") if n in parts]
    if len(fields) != 1 or not {"SigAlg", "Signature"} <= parts.keys():
        raise Refused("It is not signed.")
    signed = "&".join(f"{n}={parts[n]}" for n in (fields[0], "RelayState", "SigAlg") if n in parts)
    return SignedQuery(
        fields[0],
        unquote(parts[fields[0]]),
        unquote_plus(parts["RelayState"]) if "RelayState" in parts else None,
        signed,
        unquote(parts["SigAlg"]),
        unquote(parts["Signature"]).replace("\n", ""),
    )


def _root(data: bytes, name: str, destination: str, issuer: str) -> Any:
    root = parse(data, sig.MAX_BYTES)
    if root.tag != tag("samlp", name) or root.get("Version") != "2.0" or not root.get("ID"):
        raise Refused(f"It is no SAML {name}.")
    if root.get("Destination") != destination:
        raise Refused("Its Destination is not our logout address.")
    if words(only_child(root, "saml", "Issuer")) != issuer:
        raise Refused("Another identity provider issued it.")
    return root


def read_request(
    *,
    data: bytes,
    destination: str,
    issuer: str,
    certificates: Sequence[str],
    now: dt.datetime,
    query_signed: bool,
) -> LogoutRequest:
    """A logout request; *query_signed* when the binding's signature was checked already, else its own XML signature is.

    Raises Refused.
    """
    root = _root(data, "LogoutRequest", destination, issuer)
    if not query_signed:
        sig.check_ids(root)
        identifier = root.get("ID")
        root = sig.verified(root, certificates)
        if root.get("ID") != identifier:
            raise Refused("Its signature covers something else.")
    issued = root.get("IssueInstant")
    until = root.get("NotOnOrAfter")
    if not issued or abs(moment(issued) - now) > dt.timedelta(minutes=10):
        raise Refused("It is too old, or from the future.")
    if until and moment(until) + SKEW <= now:
        raise Refused("It is not valid any more.")
    name = only_child(root, "saml", "NameID")
    if name is None or not words(name):
        raise Refused("It names nobody.")
    return LogoutRequest(
        str(root.get("ID")), words(name), [words(i) for i in children(root, "samlp", "SessionIndex")][:50]
    )


def read_response(*, data: bytes, destination: str, issuer: str) -> bool:
    """Whether a logout response (its signature checked already) reports success. Raises Refused."""
    root = _root(data, "LogoutResponse", destination, issuer)
    code = only_child(only_child(root, "samlp", "Status"), "samlp", "StatusCode")
    return code is not None and code.get("Value") == SUCCESS


def response_url(
    slo_url: str,
    entity_id: str,
    in_response_to: str,
    relay: str | None,
    key_pem: str | None,
    now: dt.datetime,
) -> str:
    """Where to send the browser with our answer: success, signed when we have a key."""
    from xml.sax.saxutils import quoteattr

    body = (
        '<samlp:LogoutResponse xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" '
        'xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" '
        f'ID="_{secrets.token_hex(20)}" Version="2.0" IssueInstant="{now:%Y-%m-%dT%H:%M:%SZ}" '
        f"Destination={quoteattr(slo_url)} InResponseTo={quoteattr(in_response_to)}>"
        f"<saml:Issuer>{entity_id}</saml:Issuer><samlp:Status>"
        f'<samlp:StatusCode Value="{SUCCESS}"/></samlp:Status></samlp:LogoutResponse>'
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = base64.b64encode(packer.compress(body.encode()) + packer.flush()).decode()
    query = urlencode({"SAMLResponse": packed, **({"RelayState": relay} if relay else {})}, quote_via=quote)
    if key_pem:
        query += "&" + urlencode({"SigAlg": ALGORITHM}, quote_via=quote, safe="")
        query += "&Signature=" + quote(sig.sign_query(query, ALGORITHM, key_pem), safe="")
    return slo_url + ("&" if "?" in slo_url else "?") + query
