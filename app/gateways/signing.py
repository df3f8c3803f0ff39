"""HMAC signatures of webhooks."""

from __future__ import annotations

import hashlib
import hmac


def sign(secret: str, body: bytes) -> str:
    """HMAC-SHA256 of the raw body, hex."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def matches(secrets: str, body: bytes, signature: str) -> bool:
    """Whether *signature* fits any of the comma-separated *secrets* (current first, previous after it)."""
    given = signature.strip().encode("utf-8", "replace")
    found = False
    for secret in secrets.split(","):
        if secret.strip():
            found |= hmac.compare_digest(sign(secret.strip(), body).encode(), given)
    return found


def event_key(kind: str, entity: str, body: bytes) -> str:
    """type:entity:sha256(body)[:16], unique for one event however often it is sent."""
    return f"{kind}:{entity}:{hashlib.sha256(body).hexdigest()[:16]}"[:160]
