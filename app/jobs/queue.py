"""The RQ queue: one connection an application; queuing never fails a request."""

from __future__ import annotations

import threading
import time

import redis
from flask import Flask, current_app, has_app_context, has_request_context
from rq import Queue
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.logs import log

QUEUE = "consilium"
KICK_PAUSE = 0.2  # seconds between two calls to the worker


def install(app: Flask) -> None:
    """Give *app* its queue and the heartbeat's connection."""
    connection = redis.Redis.from_url(app.config["SETTINGS"].redis_url, socket_connect_timeout=1)
    app.extensions["redis"] = connection
    app.extensions["queue"] = Queue(QUEUE, connection=connection)
    app.extensions["kicker"] = Kicker(app.extensions["queue"])


def get_queue() -> Queue:
    """The current application's queue."""
    queue: Queue = current_app.extensions["queue"]
    return queue


def _enqueue(queue: Queue, name: str, **kwargs: object) -> None:
    queue.enqueue("app.jobs.runner.run", name, job_timeout=900, result_ttl=300, failure_ttl=86_400, **kwargs)


def enqueue(name: str, **kwargs: object) -> bool:
    """Ask the worker to run the job *name* now. False when Redis is away: the schedule will come by."""
    if not has_app_context():
        return False
    try:
        _enqueue(get_queue(), name, **kwargs)
        return True
    except redis.RedisError as error:
        log.warning("enqueue_failed", job=name, error=type(error).__name__)
        return False


def after_commit(session: Session, name: str) -> None:
    """Ask the worker to run the job *name* once *session* has committed; it would find nothing before that."""
    session.info.setdefault("jobs_after_commit", set()).add(name)


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    if not session.in_nested_transaction():  # a released savepoint is no commit
        for name in sorted(session.info.pop("jobs_after_commit", ())):
            enqueue(name)


@event.listens_for(Session, "after_rollback")
def _rolled_back(session: Session) -> None:
    session.info.pop("jobs_after_commit", None)


class Kicker:
    """Calls the worker to the outbox from a thread, for all requests of the process together.

    Queuing a job costs a request about a millisecond, and a hundred bookings a second need one job, not a hundred. The
    first call goes out at once, those of the next 0.2 s together after it; none is forgotten while the process lives,
    and the schedule looks in anyway.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue, self._due, self._lock = queue, threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self) -> None:
        self._due.set()
        if self._thread is None or not self._thread.is_alive():  # also after a fork
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="outbox-kicker", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while self._due.wait():
            self._due.clear()
            try:
                _enqueue(self._queue, "deliver_outbox")
            except redis.RedisError as error:
                log.warning("enqueue_failed", job="deliver_outbox", error=type(error).__name__)
            time.sleep(KICK_PAUSE)


def kick_outbox() -> None:
    """Deliver the outbox soon; called after a commit that queued something. Requests do not wait for Redis."""
    if has_request_context():
        current_app.extensions["kicker"]()
    else:
        enqueue("deliver_outbox")
