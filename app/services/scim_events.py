"""The log of what directories asked for and how it ended; thirty days (chapter 3, 3.2; the console's event log)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, text
from sqlalchemy.orm import Session

from app import clock
from app.models import ScimEvent
from app.security.context import ctx

KEEP = dt.timedelta(days=30)
CHUNK = 5000
WRITES = ("POST", "PUT", "PATCH", "DELETE")


@dataclass
class Entry:
    """One request as the log keeps it."""

    method: str
    path: str
    status: int
    resource_type: str | None = None
    resource_id: str | None = None
    subject: str | None = None
    scim_type: str | None = None
    detail: str | None = None
    duration_ms: int = 0


def record(session: Session, entry: Entry) -> None:
    """Keep *entry* for the organisation and token acting now. A read is kept without waiting for the disk."""
    c = ctx()
    if entry.method == "GET":
        session.execute(text("SET LOCAL synchronous_commit = off"))
    session.execute(
        insert(ScimEvent.__table__).values(  # type: ignore[arg-type]
            organization_id=c.org_id,
            scim_token_id=c.scim_token_id,
            method=entry.method,
            path=entry.path[:300],
            resource_type=entry.resource_type,
            resource_id=entry.resource_id,
            subject=(entry.subject or "")[:320] or None,
            status=entry.status,
            scim_type=entry.scim_type,
            detail=(entry.detail or "")[:500] or None,
            duration_ms=entry.duration_ms,
            ip=c.ip if c.ip and c.ip != "unknown" else None,
            correlation_id=c.correlation_id,
            created_at=clock.now(),
        )
    )


def listed(
    session: Session,
    *,
    outcome: str = "",
    kind: str = "",
    token_id: int | None = None,
    q: str = "",
    before: tuple[dt.datetime, int] | None = None,
    limit: int = 50,
) -> Sequence[ScimEvent]:
    """Newest first. *outcome* ok or failed, *kind* reads, writes, Users or Groups, *q* part of the subject or an id."""
    statement = select(ScimEvent).order_by(ScimEvent.created_at.desc(), ScimEvent.id.desc()).limit(limit)
    if outcome == "failed":
        statement = statement.where(ScimEvent.status >= 400)
    elif outcome == "ok":
        statement = statement.where(ScimEvent.status < 400)
    if kind == "reads":
        statement = statement.where(ScimEvent.method == "GET")
    elif kind == "writes":
        statement = statement.where(ScimEvent.method.in_(WRITES))
    elif kind in ("Users", "Groups"):
        statement = statement.where(ScimEvent.resource_type == kind)
    if token_id is not None:
        statement = statement.where(ScimEvent.scim_token_id == token_id)
    if q:
        statement = statement.where(
            or_(
                func.lower(ScimEvent.subject).contains(q.lower(), autoescape=True),
                ScimEvent.resource_id == q,
                ScimEvent.correlation_id == q,
            )
        )
    if before is not None:
        at, key = before
        statement = statement.where(
            or_(ScimEvent.created_at < at, (ScimEvent.created_at == at) & (ScimEvent.id < key))
        )
    return session.scalars(statement).all()


def summary(session: Session, hours: int = 24) -> dict[str, Any]:
    """{requests, failed, last_at} of the last *hours*."""
    since = clock.now() - dt.timedelta(hours=hours)
    row = session.execute(
        select(
            func.count(ScimEvent.id),
            func.count(ScimEvent.id).filter(ScimEvent.status >= 400),
            func.max(ScimEvent.created_at),
        ).where(ScimEvent.created_at >= since)
    ).one()
    return {"requests": row[0], "failed": row[1], "last_at": row[2]}


def prune(session: Session) -> dict[str, int]:
    """Forget what is older than thirty days, in pieces. Wants job scope."""
    gone, limit = 0, clock.now() - KEEP
    while True:
        some = select(ScimEvent.id).where(ScimEvent.created_at < limit).limit(CHUNK)
        n = session.execute(
            delete(ScimEvent)
            .where(ScimEvent.id.in_(some.scalar_subquery()))
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
        session.commit()
        gone += int(n)
        if n < CHUNK:
            return {"deleted": gone}
