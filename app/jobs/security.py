"""Jobs of keys and support access (chapter 1, 1.2; the console's own security)."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.services import api_keys, support_access


def warn_expiring_api_keys(session: Session) -> dict[str, Any]:
    """Mail the makers of API keys that end within fourteen and within three days."""
    return dict(api_keys.warn(session))


def tidy_support_access(session: Session) -> dict[str, Any]:
    """Write down the end of support accesses whose hour has passed."""
    return dict(support_access.tidy(session))


JOBS = [
    ("warn_expiring_api_keys", "0 3 * * *", warn_expiring_api_keys),
    ("tidy_support_access", 300, tidy_support_access),
]
