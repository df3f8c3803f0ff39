"""Runs one job: a Redis lock, a ``job_run`` row, a context of its own, and a system event when it crashes (3.10)."""

from __future__ import annotations

import uuid
from typing import Any

import redis
import structlog
from flask import current_app, has_app_context
from sqlalchemy.orm import Session

from app import clock, metrics
from app.errors import DomainError
from app.extensions import db
from app.jobs import registry
from app.logs import log
from app.models import JobRun, RunStatus
from app.security import context
from app.services import system_events

LOCK_SECONDS = 1800
_app: Any = None


def run(name: str) -> dict[str, Any]:
    """Entry point of the RQ worker: run the job *name* inside an application of this process."""
    global _app
    if has_app_context():
        return execute(name)
    if _app is None:
        from app import create_app

        _app = create_app()
    with _app.app_context():
        try:
            return execute(name)
        finally:
            db.session.remove()


def execute(name: str, *, trigger: str = "schedule", actor_user_id: int | None = None) -> dict[str, Any]:
    """Run the job *name* now; returns its summary.

    Raises NOT_FOUND for an unknown name and JOB_RUNNING when another worker holds its lock (a run from the schedule
    returns {"skipped": true} instead).
    """
    job = registry.jobs().get(name)
    if job is None:
        raise DomainError("NOT_FOUND")
    if current_app.config["SETTINGS"].testing:
        offset = current_app.extensions["redis"].get("test:clock")
        clock.set_offset(float(offset or 0))
    if trigger == "schedule" and job.due is not None and not job.due():
        return {}
    token = uuid.uuid4().hex
    lock = current_app.extensions["redis"]
    key = f"job:{current_app.config['SETTINGS'].database_url.rsplit('/', 1)[-1]}:{name}"
    try:
        if not lock.set(key, token, nx=True, ex=LOCK_SECONDS):
            if trigger == "schedule":
                return {"skipped": True}
            raise DomainError("JOB_RUNNING")
    except redis.RedisError:
        log.warning(
            "job_lock_unavailable", job=name
        )  # rows are claimed by conditional updates; a double run is safe
    try:
        return _recorded(job, trigger, actor_user_id, token)
    finally:
        try:
            if lock.get(key) == token.encode():
                lock.delete(key)
        except redis.RedisError:
            pass


def _recorded(job: registry.Job, trigger: str, actor_user_id: int | None, correlation: str) -> dict[str, Any]:
    structlog.contextvars.bind_contextvars(job=job.name)
    engine = db.engine
    quiet = job.interval is not None and job.interval <= 300 and trigger == "schedule"
    before = context.ctx()
    context._current.set(context.Ctx(scope="job", correlation_id=correlation))
    started = clock.now()
    try:
        with Session(engine, expire_on_commit=False) as session:
            summary = job.function(session)
            session.commit()
        if not quiet or any(summary.values()):
            _keep(engine, job.name, RunStatus.SUCCEEDED, started, trigger, actor_user_id, summary)
        metrics.JOBS.labels(job.name, "succeeded").inc()
        return summary
    except Exception as error:
        log.exception("job_failed", job=job.name)
        metrics.JOBS.labels(job.name, "failed").inc()
        _keep(engine, job.name, RunStatus.FAILED, started, trigger, actor_user_id, {}, error, correlation)
        raise
    finally:
        context._current.set(before)
        structlog.contextvars.unbind_contextvars("job")


def _keep(
    engine: Any,
    name: str,
    status: RunStatus,
    started: Any,
    trigger: str,
    actor: int | None,
    summary: dict[str, Any],
    error: Exception | None = None,
    correlation: str | None = None,
) -> None:
    with Session(engine) as session:
        session.add(
            JobRun(
                name=name,
                status=status,
                started_at=started,
                finished_at=clock.now(),
                trigger=trigger,
                actor_user_id=actor,
                summary=summary,
                error=f"Correlation id {correlation}" if error else None,
            )
        )
        session.commit()
    if error is not None:
        system_events.record_crash(engine, "job", name, error, correlation_id=correlation)
