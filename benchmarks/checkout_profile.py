"""Where one checkout spends its time: the real application in this process, one client, timers around the steps."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks.checkout_seed import PAIRS, plan_id, token
from benchmarks.ground import Ground

WARM = 30


def profile(base: Ground, requests: int, first: dt.datetime) -> dict[str, float]:
    """Mean microseconds per request, by step."""
    from sqlalchemy.orm import Session

    from app import create_app
    from app.jobs import queue
    from app.security import sessions
    from app.services import checkout
    from config import load

    app = create_app(load(base.environment()))
    spent: dict[str, float] = defaultdict(float)

    def timed(owner: Any, name: str, label: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def wrapper(*args: Any, **kw: Any) -> Any:
            started = time.perf_counter()
            try:
                return inner(*args, **kw)
            finally:
                spent[label] += time.perf_counter() - started

        setattr(owner, name, wrapper)

    timed(sessions, "identify", "session and memberships")
    timed(checkout, "book", "checkout service")
    timed(checkout, "read", "  of it: read (round trip)")
    timed(checkout, "write", "  of it: write and post (round trip)")
    timed(Session, "commit", "commit")
    timed(queue, "kick_outbox", "  of it: tell the worker")
    total = 0.0
    client = app.test_client()
    for n in range(WARM + requests):
        if n == WARM:
            spent.clear()
            total = 0.0
        pair = n % PAIRS
        at = first + dt.timedelta(hours=n // PAIRS)
        started = time.perf_counter()
        answer = client.post(
            "/api/checkout",
            json={"plan_id": plan_id(pair), "starts_at": at.isoformat(), "organization_id": f"bench-{pair}"},
            headers={"Authorization": f"Bearer {token('many', pair)}", "Idempotency-Key": uuid.uuid4().hex},
        )
        total += time.perf_counter() - started
        if answer.status_code != 201:
            raise SystemExit(f"A booking of the profile was refused: {answer.json}")
    out = {label: value / requests * 1e6 for label, value in spent.items()}
    rest = total / requests * 1e6 - sum(v for k, v in out.items() if not k.startswith("  "))
    return {
        "whole request (test client)": total / requests * 1e6,
        **out,
        "Flask, routing, JSON, logging, test client": rest,
    }
