"""Jobs of the audit log's chain (chapter 3, 3.10)."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.services import audit_chain


def seal_audit_log(session: Session) -> dict[str, Any]:
    """Number and hash the audit entries written since the last run."""
    return {"sealed": audit_chain.seal(session)}


def verify_audit_chain(session: Session) -> dict[str, Any]:
    """Check every organisation's audit chain; raise an alarm where an entry was changed or removed."""
    return audit_chain.alarm(session)


JOBS = [("seal_audit_log", 30, seal_audit_log), ("verify_audit_chain", "30 4 * * *", verify_audit_chain)]
