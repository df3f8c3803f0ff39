"""Housekeeping: rows that have served their time."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app import clock
from app.models import IdempotencyKey, JobRun, OneTimeToken, OutboxMessage, UserSession


def tidy(session: Session) -> dict[str, Any]:
    """Delete expired sessions, used links, delivered outbox rows and old job runs."""
    now, out = clock.now(), {}
    for name, model, condition in (
        (
            "sessions",
            UserSession,
            (UserSession.expires_at < now - dt.timedelta(days=7))
            | (UserSession.revoked_at < now - dt.timedelta(days=7)),
        ),
        ("links", OneTimeToken, OneTimeToken.expires_at < now - dt.timedelta(days=7)),
        ("outbox", OutboxMessage, OutboxMessage.done_at < now - dt.timedelta(days=30)),
        ("job_runs", JobRun, JobRun.started_at < now - dt.timedelta(days=30)),
        ("idempotency_keys", IdempotencyKey, IdempotencyKey.created_at < now - dt.timedelta(days=30)),
    ):
        out[name] = session.execute(delete(model).where(condition)).rowcount  # type: ignore[attr-defined]
        session.commit()
    return out


JOBS = [("tidy", "40 2 * * *", tidy)]
