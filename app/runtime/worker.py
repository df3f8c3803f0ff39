"""RQ's worker and scheduler with additions: jobs die with their worker, none inherits a database connection, and both
give signs of life."""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING, Any

from rq import Worker
from rq.cron import CronScheduler

from app.jobs import heartbeats
from app.runtime.spawn import set_death_signal

if TYPE_CHECKING:
    from flask import Flask


IDLE_SECONDS = 60  # an idle worker gives a sign of life this often


class BoundWorker(Worker):
    """A worker whose work horses (one process per job, in a process group of its own) end when it is killed."""

    def main_work_horse(self, job: Any, queue: Any) -> None:
        """Entry point of the forked process."""
        from app.extensions import db

        set_death_signal(signal.SIGKILL, os.getppid())
        os.environ["RQ_HORSE"] = "1"
        db.engine.dispose(close=False)  # the parent's connections are the parent's
        super().main_work_horse(job, queue)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """RQ calls this when idle and every half minute of a job."""
        super().heartbeat(timeout, pipeline)
        heartbeats.stamp(self.connection, heartbeats.WORKER)


class BoundScheduler(CronScheduler):
    """RQ's cron loop, which stamps each turn."""

    def heartbeat(self) -> None:
        super().heartbeat()
        heartbeats.stamp(self.connection, heartbeats.SCHEDULER)


def run_scheduler(app: Flask) -> None:
    """Enqueue the jobs of app/jobs/cron.py when they are due, until told to stop."""
    from app.jobs.queue import get_queue

    level = os.environ.get("WORKER_LOG_LEVEL", "WARNING")
    with app.app_context():
        scheduler = BoundScheduler(connection=get_queue().connection, logging_level=level)
        logging.getLogger("rq.cron").setLevel(level)
        scheduler.load_config_from_file("app.jobs.cron")
        heartbeats.stamp(scheduler.connection, heartbeats.SCHEDULER)
        scheduler.start()  # type: ignore[no-untyped-call]


def run_worker(app: Flask, burst: bool) -> None:
    """Work on the queue until told to stop, or with *burst* until it is empty. Scheduled retries are moved in time."""
    from app.jobs.queue import get_queue

    with app.app_context():
        queue = get_queue()
        heartbeats.stamp(queue.connection, heartbeats.WORKER)
        BoundWorker([queue], connection=queue.connection, worker_ttl=IDLE_SECONDS).work(
            burst=burst, with_scheduler=True, logging_level=os.environ.get("WORKER_LOG_LEVEL", "WARNING")
        )
