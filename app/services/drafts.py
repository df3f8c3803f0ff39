"""Drafts of the creation wizard and of onboarding: kept outside the database until Launch (chapter 1, "Wizard").

A draft belongs to one person, lives a week in Redis, and carries the Idempotency-Key of its Launch.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

import redis

from app.errors import DomainError

LIFETIME = 7 * 86_400  # seconds


def _name(user_id: int, kind: str) -> str:
    return f"draft:{kind}:{user_id}"


def load(store: redis.Redis, user_id: int, kind: str = "organization") -> dict[str, Any]:
    """The person's draft of *kind*, a fresh one if there is none. Raises DATABASE_UNAVAILABLE while the store is away."""
    try:
        raw: Any = store.get(_name(user_id, kind))
    except redis.RedisError:
        raise DomainError("DATABASE_UNAVAILABLE") from None
    if raw:
        return dict(json.loads(raw))
    return {"key": secrets.token_urlsafe(24), "values": {}, "invitations": [], "seen": []}


def save(store: redis.Redis, user_id: int, draft: dict[str, Any], kind: str = "organization") -> None:
    """Keep *draft*. Raises DATABASE_UNAVAILABLE."""
    try:
        store.set(_name(user_id, kind), json.dumps(draft, default=str), ex=LIFETIME)
    except redis.RedisError:
        raise DomainError("DATABASE_UNAVAILABLE") from None


def discard(store: redis.Redis, user_id: int, kind: str = "organization") -> None:
    """Forget the person's draft of *kind*."""
    try:
        store.delete(_name(user_id, kind))
    except redis.RedisError:
        raise DomainError("DATABASE_UNAVAILABLE") from None
