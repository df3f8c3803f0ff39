"""The schedule as ``rq cron`` loads it."""

from __future__ import annotations

from rq import cron

from app.jobs.queue import QUEUE
from app.jobs.registry import jobs
from app.jobs.runner import run

for job in jobs().values():
    if job.interval is not None:
        cron.register(run, QUEUE, args=(job.name,), interval=job.interval, result_ttl=60)
    else:
        cron.register(run, QUEUE, args=(job.name,), cron=job.cron, result_ttl=60)
