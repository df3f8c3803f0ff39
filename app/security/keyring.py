"""Secrets at rest: AES-256-GCM under a ring of keys (``AUTH_CONFIG_ENCRYPTION_KEY``, chapter 3, 3.1).

The setting lists ``id:base64`` of 32 bytes, newest first: the first key seals, any key opens, so that a new key is put
in front and the old ones stay until what they sealed is sealed anew. A sealed text is bound to where it belongs (*about*):
moved to another row or column it does not open.
"""

from __future__ import annotations

import base64
import binascii
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import DomainError
from config import Settings

PREFIX, NONCE = "v1", 12


@lru_cache(maxsize=8)
def _ring(setting: str) -> dict[str, bytes]:
    ring: dict[str, bytes] = {}
    for part in filter(None, (p.strip() for p in setting.split(","))):
        name, _, encoded = part.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise DomainError("SSO_ENCRYPTION_KEY_MISSING") from None
        if not name or "." in name or len(key) != 32:
            raise DomainError("SSO_ENCRYPTION_KEY_MISSING")
        ring[name] = key
    return ring


def available(settings: Settings) -> bool:
    """Whether there is a usable key."""
    try:
        return bool(_ring(settings.auth_config_encryption_key))
    except DomainError:
        return False


def seal(settings: Settings, text: str, about: str) -> str:
    """*text* encrypted and bound to *about*. Raises SSO_ENCRYPTION_KEY_MISSING without a usable key."""
    ring = _ring(settings.auth_config_encryption_key)
    if not ring:
        raise DomainError("SSO_ENCRYPTION_KEY_MISSING")
    name, key = next(iter(ring.items()))
    nonce = os.urandom(NONCE)
    box = nonce + AESGCM(key).encrypt(nonce, text.encode(), about.encode())
    return f"{PREFIX}.{name}.{base64.b64encode(box).decode()}"


def unseal(settings: Settings, sealed: str, about: str) -> str:
    """What ``seal`` was given. Raises SSO_ENCRYPTION_KEY_MISSING when its key is gone or it was tampered with."""
    ring = _ring(settings.auth_config_encryption_key)
    version, _, rest = sealed.partition(".")
    name, _, encoded = rest.partition(".")
    if version != PREFIX or name not in ring:
        raise DomainError("SSO_ENCRYPTION_KEY_MISSING")
    try:
        box = base64.b64decode(encoded, validate=True)
        return AESGCM(ring[name]).decrypt(box[:NONCE], box[NONCE:], about.encode()).decode()
    except (InvalidTag, binascii.Error, ValueError):
        raise DomainError("SSO_ENCRYPTION_KEY_MISSING") from None
