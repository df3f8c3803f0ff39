"""Jobs of directory provisioning (chapter 3, 3.10)."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.services import scim_events, scim_tokens


def scim_token_expiry(session: Session) -> dict[str, Any]:
    """Tell owners of provisioning tokens that end within 30, 7 and 1 days."""
    return dict(scim_tokens.warn_expiring(session))


def prune_scim_events(session: Session) -> dict[str, Any]:
    """Forget requests of directories that are older than thirty days."""
    return dict(scim_events.prune(session))


JOBS = [
    ("scim_token_expiry", "30 3 * * *", scim_token_expiry),
    ("prune_scim_events", "50 3 * * *", prune_scim_events),
]
