"""Prometheus metrics of this process, at /metrics."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

REQUESTS = Histogram(
    "consilium_request_seconds",
    "Time to answer a request",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
JOBS = Counter("consilium_job_runs_total", "Finished job runs", ["name", "status"])
OUTBOX = Counter("consilium_outbox_total", "Outbox messages by outcome", ["topic", "outcome"])


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Record one answered request; *route* is the rule, never the path, so that labels stay few."""
    REQUESTS.labels(method, route, str(status)).observe(seconds)
