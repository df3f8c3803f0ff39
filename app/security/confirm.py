"""“Confirm that it is you”: what cannot be undone asks for the password again, and the session remembers it briefly.

A session that came from a password confirms with the password. One of single sign-on will confirm by signing in again
there: its door opens the new session with ``sessions.start(…, confirmed=True)``.
"""

from __future__ import annotations

import datetime as dt

from flask import g
from sqlalchemy import update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import UserSession
from app.security import limits
from app.services import users

VALID = dt.timedelta(minutes=10)
BY_PASSWORD = frozenset({"password", "bearer"})


def is_confirmed() -> bool:
    """Whether this session proved who it is within the last ten minutes."""
    at = g.identity.confirmed_at if g.get("identity") is not None else None
    return at is not None and clock.now() - at < VALID


def require() -> None:
    """Raises CONFIRMATION_REQUIRED unless this session proved who it is lately."""
    if not is_confirmed():
        raise DomainError("CONFIRMATION_REQUIRED", minutes=int(VALID.total_seconds() // 60))


def can_use_password() -> bool:
    """Whether this session confirms with a password; sessions of single sign-on sign in again instead."""
    return g.identity.method in BY_PASSWORD


def with_password(session: Session, password: str) -> dt.datetime:
    """Stamp this session; returns until when it counts. Raises RATE_LIMITED, INVALID_CREDENTIALS."""
    limits.hit("confirm", str(g.identity.user.id))
    if not can_use_password():
        raise DomainError("CONFIRMATION_REQUIRED")
    users.check_password(session, g.identity.user.id, password)
    now = clock.now()
    session.execute(
        update(UserSession)
        .where(UserSession.id == g.identity.session_id, UserSession.user_id == g.identity.user.id)
        .values(confirmed_at=now)
    )
    return now + VALID
