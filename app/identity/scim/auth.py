"""The way in: a bearer token that fixes the organisation, its limit, and the log of what it asked (chapter 3, 3.2)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from flask import Response, current_app, g, request

from app.api.http import in_transaction
from app.extensions import db
from app.logs import log
from app.security import context, limits
from app.security.limits import Limit
from app.services import scim_events, scim_tokens
from app.services.scim_events import Entry
from app.services.scim_tokens import Caller

from .errors import Refused


def caller() -> Caller:
    """The directory of this request."""
    found: Caller = g.scim_caller
    return found


def _authenticate() -> Caller:
    """Raises Refused (401, 403) and RATE_LIMITED. A dead token's use is written down, at most once an hour."""
    scheme, _, raw = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not raw.strip():
        raise Refused(401, "Send the organisation's provisioning token as a bearer token.")
    session = db.session()
    found = scim_tokens.identify(session, raw.strip(), current_app.config["SETTINGS"].secret_key)
    if found is None:
        db.session.rollback()
        limits.hit("scim-wrong", limits.client_ip())
        raise Refused(401, "This token is not known.")
    if found.state != "ACTIVE":
        if found.note:
            scim_tokens.note_misuse(session, found)
        db.session.commit()
        g.scim_caller = found
        raise Refused(401, f"This token {'was revoked' if found.state == 'REVOKED' else 'has expired'}.")
    g.scim_caller = found
    db.session.commit()  # nothing of it is held while the limit is asked
    limits.hit("scim", found.token_hash, Limit(found.rate, 60, guard=True))
    if found.organization_status == "DEACTIVATED":
        raise Refused(403, "This organisation has been deactivated.")
    return found


def endpoint(fn: Callable[..., Response]) -> Callable[..., Response]:
    """Guard a route by the token; owns the transaction and the entry in the log."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Response:
        _authenticate()

        def work() -> Response:
            g.scim_about = {}
            response = fn(*args, **kwargs)
            scim_events.record(db.session(), _entry(response.status_code))
            return response

        answer: Response = in_transaction(work)
        g.scim_logged = True
        return answer

    wrapper._gate = ("scim", "directory")  # type: ignore[attr-defined]
    return wrapper


def about(**facts: Any) -> None:
    """Say whom or what the request is about: ``subject`` as it was named, ``resource_id``."""
    g.setdefault("scim_about", {}).update(facts)


def _entry(status: int) -> Entry:
    facts = g.get("scim_about") or {}
    scim_type, detail = g.get("scim_refusal") or (None, None)
    path = request.path.replace("\x00", "\ufffd").removeprefix("/scim/v2")
    parts = path.removeprefix("/").split("/")
    query = request.query_string.decode("utf-8", "replace")
    return Entry(
        method=request.method,
        path=path + (f"?{query}" if query else ""),
        status=status,
        resource_type=parts[0][:40] or None,
        resource_id=facts.get("resource_id") or (parts[1][:64] if len(parts) > 1 else None),
        subject=facts.get("subject"),
        scim_type=scim_type if status >= 400 else None,
        detail=detail if status >= 400 else None,
        duration_ms=int((time.perf_counter() - g.get("started", time.perf_counter())) * 1000),
    )


def _first_this_minute(found: Caller, status: int) -> bool:
    """A dead token or one beyond its limit is written down once a minute: knocking fills no table."""
    try:
        key = f"scim:knock:{found.token_id}:{status}"
        return bool(current_app.extensions["limits"].redis.set(key, 1, nx=True, ex=60))
    except Exception:  # without Redis the log is merely longer
        return True


def log_refusal(response: Response) -> Response:
    """After a request that was refused or broke: its entry, in a transaction of its own."""
    found: Caller | None = g.get("scim_caller")
    if found is None or g.get("scim_logged") or not request.path.startswith("/scim/v2"):
        return response
    if response.status_code in (401, 429) and not _first_this_minute(found, response.status_code):
        return response
    try:
        db.session.rollback()
        context._current.set(
            context.Ctx(
                org_id=found.organization_id,
                scim_token_id=found.token_id,
                scim_label=found.label,
                ip=limits.client_ip(),
                correlation_id=g.correlation_id,
            )
        )
        scim_events.record(db.session(), _entry(response.status_code))
        db.session.commit()
    except Exception as error:  # the answer stands, whatever becomes of its entry
        db.session.rollback()
        log.warning("scim_event_lost", error=type(error).__name__)
    return response
