"""Reading what jobs did."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app import clock
from app.models import JobRun, RunStatus

BACKUP = "backup"  # the name its runs carry
BACKUP_AGE = dt.timedelta(hours=26)  # a day, and two hours of grace


def last_runs(session: Session) -> dict[str, JobRun]:
    """The newest recorded run of every job, by name. Wants platform scope."""
    rows = session.scalars(
        select(JobRun).ext(distinct_on(JobRun.name)).order_by(JobRun.name, JobRun.started_at.desc())
    )
    return {row.name: row for row in rows}


def last_backup(session: Session) -> JobRun | None:
    """The newest backup that succeeded (``python app.py backup``). Wants platform scope."""
    return session.scalars(
        select(JobRun)
        .where(JobRun.name == BACKUP, JobRun.status == RunStatus.SUCCEEDED)
        .order_by(JobRun.started_at.desc())
        .limit(1)
    ).one_or_none()


def too_old(run: JobRun | None) -> bool:
    """Whether the books lack their daily backup (chapter 4, 4.8)."""
    return run is None or clock.now() - run.started_at > BACKUP_AGE


def run_view(row: JobRun | None) -> dict[str, Any] | None:
    """A run as the API shows it."""
    if row is None:
        return None
    return {
        "id": str(row.public_id),
        "status": row.status,
        "trigger": row.trigger,
        "summary": row.summary,
        "started_at": row.started_at.isoformat(),
        "error": row.error,
        "finished_at": row.finished_at.isoformat() if row.finished_at else None,
    }
