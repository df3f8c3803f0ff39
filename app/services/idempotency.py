"""Stored answers of money requests (design rule 9; chapter 2, 2.6 step 1)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import IdempotencyKey
from app.security.context import ctx

MAX_KEY = 200


def fingerprint(body: Any) -> str:
    """SHA-256 of the canonical JSON of a request body."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()


def checkout_scope(user_id: int | None) -> str:
    """Where the keys of a person's bookings live."""
    return f"user:{user_id}:checkout"


def seen(session: Session, scope: str, key: str) -> bool:
    """Whether a request with this key was answered before."""
    found = select(IdempotencyKey.id).where(IdempotencyKey.scope == scope, IdempotencyKey.key == key)
    return session.scalar(found) is not None


def claim(session: Session, scope: str, key: str | None, body: Any) -> tuple[int, dict[str, Any]] | None:
    """Claim *key* in *scope* for this request, or return the stored (status, response) of the first one.

    A concurrent request with the same key waits here until the first one commits or rolls back. Raises
    IDEMPOTENCY_KEY_REQUIRED, IDEMPOTENCY_KEY_REUSED (other body).
    """
    if not key or len(key) > MAX_KEY:
        raise DomainError("IDEMPOTENCY_KEY_REQUIRED")
    c = ctx()
    if c.user_id is None:
        raise DomainError("UNAUTHENTICATED")
    digest = fingerprint(body)
    org = c.org_id if scope.startswith("org:") else None
    claimed = session.execute(
        insert(IdempotencyKey)
        .values(
            scope=scope,
            key=key,
            user_id=c.user_id,
            organization_id=org,
            request_hash=digest,
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["scope", "key"])
        .returning(IdempotencyKey.id)
    ).scalar()
    if claimed is not None:
        return None
    row = session.execute(
        select(IdempotencyKey.request_hash, IdempotencyKey.status, IdempotencyKey.response).where(
            IdempotencyKey.scope == scope, IdempotencyKey.key == key
        )
    ).one_or_none()
    if row is None or row.request_hash != digest:
        raise DomainError("IDEMPOTENCY_KEY_REUSED")
    if row.status is None:
        raise DomainError("IDEMPOTENT_REPLAY_TERMINAL")
    return row.status, row.response


def store(session: Session, scope: str, key: str, status: int, response: dict[str, Any]) -> None:
    """Keep the answer of the claimed *key*, in the transaction that did the work."""
    session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.scope == scope, IdempotencyKey.key == key)
        .values(status=status, response=response)
    )
