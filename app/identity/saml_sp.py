"""Our side of SAML: one service provider for each configured provider, on python3-saml.

The toolkit writes requests, signatures of the HTTP-Redirect binding and our metadata. What comes in is judged by
``saml_response`` and ``saml_logout``, which demand more than it does.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.settings import OneLogin_Saml2_Settings

REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
UNSPECIFIED = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
NAME_ID_FORMATS = (
    "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress",
    "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
    "urn:oasis:names:tc:SAML:2.0:nameid-format:transient",
    UNSPECIFIED,
)
KEY_YEARS = 10


@dataclass(frozen=True)
class Urls:
    """Addresses of our side, derived from the provider's id alone."""

    acs: str
    metadata: str
    sls: str

    @property
    def entity_id(self) -> str:
        return self.metadata


def urls(base_url: str, provider_id: str) -> Urls:
    """Where the identity provider finds us."""
    root = f"{base_url}/sso/saml/{provider_id}"
    return Urls(f"{root}/acs", f"{root}/metadata", f"{root}/sls")


def new_key_pair(provider_id: str, now: dt.datetime) -> tuple[str, str]:
    """(key PEM, certificate PEM) with which we sign requests and read encrypted assertions: RSA 2048."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Consilium {provider_id}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365 * KEY_YEARS))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()


def toolkit_settings(
    provider: Any, base_url: str, idp_pem: str | None, key_pem: str | None
) -> dict[str, Any]:
    """What python3-saml wants to know of *provider* (columns of SsoProvider)."""
    ours = urls(base_url, provider.provider_id)
    sp: dict[str, Any] = {
        "entityId": ours.entity_id,
        "assertionConsumerService": {"url": ours.acs, "binding": POST},
        "singleLogoutService": {"url": ours.sls, "binding": REDIRECT},
        "NameIDFormat": provider.name_id_format or UNSPECIFIED,
    }
    if key_pem and provider.sp_certificate:
        sp["x509cert"], sp["privateKey"] = provider.sp_certificate, key_pem
    signs = bool(key_pem)
    idp: dict[str, Any] = {
        "entityId": provider.idp_entity_id or ours.entity_id,
        "singleSignOnService": {"url": provider.sso_url or ours.acs, "binding": REDIRECT},
    }
    if provider.slo_url:
        idp["singleLogoutService"] = {"url": provider.slo_url, "binding": REDIRECT}
    if idp_pem:
        idp["x509cert"] = idp_pem
    return {
        "strict": True,
        "sp": sp,
        "idp": idp,
        "security": {
            "authnRequestsSigned": bool(provider.sign_requests and signs),
            "logoutRequestSigned": signs,
            "logoutResponseSigned": signs,
            "wantAssertionsSigned": True,
            "requestedAuthnContext": False,
            "signatureAlgorithm": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "digestAlgorithm": "http://www.w3.org/2001/04/xmlenc#sha256",
        },
    }


def _auth(provider: Any, base_url: str, idp_pem: str | None, key_pem: str | None) -> Any:
    parts = urlsplit(base_url)
    request: dict[str, Any] = {
        "http_host": parts.netloc,
        "script_name": "/",
        "https": "on" if parts.scheme == "https" else "off",
        "get_data": {},
        "post_data": {},
    }
    return OneLogin_Saml2_Auth(request, toolkit_settings(provider, base_url, idp_pem, key_pem))


def request_url(
    provider: Any, base_url: str, idp_pem: str | None, key_pem: str | None, *, relay: str, force: bool = False
) -> tuple[str, str]:
    """(where to send the browser, id of the request). *force*: the provider must ask the person again."""
    auth = _auth(provider, base_url, idp_pem, key_pem)
    address = auth.login(return_to=relay, force_authn=force)
    return str(address), str(auth.get_last_request_id())


def logout_url(
    provider: Any,
    base_url: str,
    idp_pem: str | None,
    key_pem: str | None,
    *,
    name_id: str,
    name_id_format: str | None,
    session_index: str | None,
    relay: str,
) -> str:
    """Where to send the browser so that the provider ends its session too."""
    auth = _auth(provider, base_url, idp_pem, key_pem)
    return str(
        auth.logout(
            return_to=relay,
            name_id=name_id,
            session_index=session_index,
            name_id_format=name_id_format or None,
        )
    )


def metadata(
    provider: Any, base_url: str, idp_pem: str | None, key_pem: str | None, now: dt.datetime
) -> bytes:
    """Our metadata for this provider, as its administrator imports it."""
    wanted = toolkit_settings(provider, base_url, idp_pem, key_pem)
    wanted["security"] |= {
        "wantAssertionsEncrypted": bool(
            key_pem
        ),  # names our key for it; plain assertions are welcome all the same
        "metadataValidUntil": f"{now + dt.timedelta(days=365):%Y-%m-%dT%H:%M:%SZ}",
        "metadataCacheDuration": "PT24H",
    }
    settings = OneLogin_Saml2_Settings(wanted, sp_validation_only=True)
    text = settings.get_sp_metadata()
    return text if isinstance(text, bytes) else str(text).encode()
