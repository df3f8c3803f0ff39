"""Structured logs: one JSON line an event in production, readable lines in development; never a secret."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from config import Settings

SECRET_WORDS = ("password", "token", "secret", "authorization", "cookie", "signature", "pan", "key_hash")


def _redact(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    for name in event:
        if any(word in name.lower() for word in SECRET_WORDS):
            event[name] = "[redacted]"
    return event


def configure(settings: Settings) -> None:
    """Set up structlog and the standard library's root logger; safe to call again."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.production
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.WARNING if settings.testing else logging.INFO
        ),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("flask_appbuilder", "rq.worker", "flask_limiter"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


log = structlog.get_logger("consilium")
