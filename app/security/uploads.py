"""Uploads are measured before they are read: a body that says it is too long never enters the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, g, request

from app.errors import DomainError

F = TypeVar("F", bound=Callable[..., Any])
ENVELOPE = 64 * 1024  # bytes of a multipart body around its file


def limited(file_bytes: int, code: str) -> Callable[[F], F]:
    """Mark a view: bodies above *file_bytes* and their envelope are refused with *code* before they are read."""

    def decorate(fn: F) -> F:
        fn._upload = (file_bytes + ENVELOPE, code)  # type: ignore[attr-defined]
        return fn

    return decorate


def check() -> None:
    """Runs before anything reads the body, the CSRF check included. Raises the view's code."""
    view = current_app.view_functions.get(request.endpoint or "")
    limit = getattr(view, "_upload", None)
    if limit is None or request.method in ("GET", "HEAD", "OPTIONS"):
        return
    most, code = limit
    g.too_large = code
    if (request.content_length or 0) > most:
        raise DomainError(code)
    request.max_content_length = most  # also for a body that does not say how long it is
