"""Certificates that identity providers sign with: read, judged, summed up."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

MAX_PEM = 20_000
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Facts:
    """A certificate that can be used: its PEM in canonical form, SHA-256 fingerprint, subject and end."""

    pem: str
    fingerprint: str
    subject: str
    not_after: dt.datetime


class Unusable(ValueError):
    """The certificate cannot be used; the message says why, to a person."""


@lru_cache(maxsize=512)
def read(text: str) -> Facts:
    """The certificate in *text*: PEM, or the bare base64 that metadata carries. Raises Unusable.

    Exactly one certificate; RSA keys from 2,048 bits, elliptic ones from 256. Expiry is not judged here.
    """
    body = text.strip()
    if not body or len(body) > MAX_PEM:
        raise Unusable("Paste the PEM text of one certificate.")
    if "PRIVATE KEY" in body:
        raise Unusable("This is a private key. Never paste it anywhere; paste the certificate.")
    if _BEGIN in body:
        if body.count(_BEGIN) != 1:
            raise Unusable("Paste one certificate at a time.")
        body = body.partition(_BEGIN)[2].partition(_END)[0]
    try:
        der = base64.b64decode(re.sub(r"\s+", "", body), validate=True)
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        subject = certificate.subject.rfc4514_string()[:400]
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        raise Unusable("This is not a certificate. Paste its PEM text.") from None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048:
            raise Unusable(f"Its RSA key has {key.key_size} bits; 2,048 are needed.")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.key_size < 256:
            raise Unusable("Its elliptic-curve key is too short.")
    else:
        raise Unusable("Only RSA and elliptic-curve keys are supported.")
    return Facts(
        certificate.public_bytes(Encoding.PEM).decode(),
        certificate.fingerprint(hashes.SHA256()).hex(),
        subject,
        certificate.not_valid_after_utc,
    )


def usable(pem: str, now: dt.datetime) -> bool:
    """Whether *pem* parses and has not expired."""
    try:
        return read(pem).not_after > now
    except Unusable:
        return False
