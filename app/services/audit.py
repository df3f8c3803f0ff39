"""Audit rows, written in the mutating transaction (chapter 3, 3.4)."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.models import ActorType, AuditCategory, AuditLog
from app.security.context import ctx


def actor_type() -> ActorType:
    """How the acting identity appears in the log: a member, the platform's ADMIN, a directory's token, or the system."""
    c = ctx()
    if c.scim_token_id is not None:
        return ActorType.SCIM_TOKEN
    if c.user_id is None or c.scope == "job":
        return ActorType.SYSTEM
    return ActorType.MEMBER if c.membership_id or not c.platform_role else ActorType.ADMIN


def record(
    session: Session,
    category: AuditCategory,
    action: str,
    description: str,
    *,
    organization_id: int | None = None,
    target_type: str | None = None,
    target_id: Any = None,
    target_membership_id: int | None = None,
    **details: Any,
) -> AuditLog:
    """Add one audit row for the organisation acted for.

    *details* hold the change (``before``, ``after`` or plain values); secrets never belong there.
    """
    c = ctx()
    if c.scim_token_id is not None:
        details.setdefault("scim_token", c.scim_label)
    row = AuditLog(
        organization_id=organization_id or c.org_id,
        category=category,
        action=action,
        description=description[:500],
        details=details,
        actor_type=actor_type(),
        actor_membership_id=c.membership_id,
        actor_user_id=c.user_id,
        target_membership_id=target_membership_id,
        target_type=target_type,
        target_id=str(target_id) if target_id is not None else None,
        ip=c.ip,
        correlation_id=c.correlation_id,
    )
    session.add(row)
    return row


def changes(row: Any, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{"before": …, "after": …} for the fields of *values* that differ from *row*; apply them afterwards."""
    differing = {k: v for k, v in values.items() if getattr(row, k) != v}
    return {
        "before": {k: _plain(getattr(row, k)) for k in differing},
        "after": {k: _plain(v) for k, v in differing.items()},
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
