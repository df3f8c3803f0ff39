"""Points where a test may crash the product once (chapter 2, acceptance scenarios: ``POST /api/test/fault``)."""

from __future__ import annotations

from typing import Any

_store: Any = None


class FaultInjected(RuntimeError):
    """A test asked for a crash here."""


def enable(store: Any) -> None:
    """Arm the switchboard; only an application under APP_ENV=test calls this."""
    global _store
    _store = store


def trip(point: str) -> None:
    """Crash if a test armed *point*; disarms it. Does nothing outside tests."""
    if _store is not None and _store.delete(f"test:fault:{point}"):
        raise FaultInjected(point)
