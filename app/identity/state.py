"""What a sign-in under way must remember: in Redis, ten minutes, taken once (chapter 3, "Sign-in").

A record is bound to the browser that began: its cookie holds a random value of which the record keeps the hash. The cookie
is ``SameSite=None; Secure`` where the site is https, because a SAML answer arrives as a POST from another site; over plain
http (development) it is Lax and the answer takes one redirect on our own site to meet it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from typing import Any

import redis

from app.errors import DomainError
from app.logs import log

SECONDS = 600
COOKIE = "consilium_sso"
PATH = "/sso"


@dataclass(frozen=True)
class Pending:
    """A sign-in under way. *kind*: sign_in, test, confirm. *user_id* and *session_id* say who asked, where that matters."""

    provider_id: str
    kind: str
    binding: str  # hash of the browser's value
    next: str = "/"
    user_id: int | None = None
    session_id: int | None = None
    nonce: str = ""  # OIDC
    verifier: str = ""  # OIDC, PKCE
    back: str = ""  # where a test's result is shown


def new_binding() -> str:
    """A fresh value for a browser's cookie."""
    return secrets.token_urlsafe(32)


def bind(value: str) -> str:
    """What a record keeps of a browser's value."""
    return hashlib.sha256(f"sso:{value}".encode()).hexdigest()


def same_browser(record: Pending, value: str | None) -> bool:
    """Whether *value* is of the browser that began."""
    return bool(value) and hmac.compare_digest(record.binding, bind(str(value)))


class Store:
    """Records under random keys."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def put(self, key: str, record: Pending) -> None:
        """Keep *record*. Raises SSO_STATE_EXPIRED while Redis is away: nobody could finish."""
        try:
            self._redis.set(f"sso:{key}", json.dumps(asdict(record)), ex=SECONDS)
        except redis.RedisError as error:
            raise _away(error) from None

    def take(self, key: str) -> Pending | None:
        """The record of *key*, once."""
        if not key or len(key) > 200:
            return None
        try:
            raw = self._redis.getdel(f"sso:{key}")
        except redis.RedisError as error:
            raise _away(error) from None
        return Pending(**json.loads(raw)) if raw else None

    def park(self, text: str) -> str:
        """Keep a form field for one redirect; returns its key."""
        key = secrets.token_urlsafe(32)
        try:
            self._redis.set(f"sso:parked:{key}", text, ex=60)
        except redis.RedisError as error:
            raise _away(error) from None
        return key

    def unpark(self, key: str) -> str | None:
        """A parked field, once."""
        if not key or len(key) > 100:
            return None
        try:
            raw = self._redis.getdel(f"sso:parked:{key}")
        except redis.RedisError as error:
            raise _away(error) from None
        return raw.decode() if raw else None


def _away(error: Exception) -> DomainError:
    log.warning("sso_state_store_down", error=type(error).__name__)
    return DomainError("SSO_STATE_EXPIRED", message="We cannot sign you in at the moment. Please try again.")
