"""Signs of life: worker and scheduler each leave a stamp that ends by itself; /readyz looks for both (chapter 3, 3.7).

The processes stamp from their own loops, also while a long job runs, so that a busy worker is not taken for a dead one.
"""

from __future__ import annotations

from typing import Any

SECONDS = 120
WORKER, SCHEDULER = "worker", "scheduler"


def stamp(connection: Any, who: str) -> None:
    """Say that *who* is alive now."""
    connection.set(f"heartbeat:{who}", "1", ex=SECONDS)


def alive(connection: Any, who: str) -> bool:
    """Whether *who* gave a sign of life in the last ``SECONDS``."""
    return bool(connection.exists(f"heartbeat:{who}"))
