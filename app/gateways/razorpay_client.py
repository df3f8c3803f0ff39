"""The official Razorpay client, made to end in time and to tell a refusal from an unknown outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import razorpay
import requests
from requests.adapters import HTTPAdapter

from app.gateways.base import Refused, Unknown
from app.logs import log
from config import Settings

MAX_ANSWER = 8 * 1024 * 1024
NO_REDIRECTS = 0


class _Timed(HTTPAdapter):
    """Every request of the session ends, whatever the caller forgot."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(max_retries=0)

    def send(self, request: Any, **kw: Any) -> Any:  # type: ignore[override]
        kw["timeout"] = self.seconds
        return super().send(request, **kw)


def _judge(response: requests.Response, *_: Any, **__: Any) -> None:
    """Turn what is no success into our words before the client, which forgets the status, sees it."""
    status = response.status_code
    if 200 <= status < 300:
        return
    log.warning("razorpay_answered", status=status, method=response.request.method)
    if status >= 500 or status in (408, 409, 429) or status < 400:
        raise Unknown(f"http_{status}")
    try:
        error = response.json()["error"]
        text, field = str(error.get("description", "")).lower(), str(error.get("field", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        text = field = ""
    if status == 404 or "does not exist" in text or "not a valid id" in text:
        raise Refused("not_found")
    if field == "contact" or "contact" in text:
        raise Refused("contact_refused")
    raise Refused("credentials" if status in (401, 403) else "refused")


def connect(settings: Settings) -> razorpay.Client:
    """A client for the configured account: no retries of its own, no redirects, every call timed."""
    session = requests.Session()
    session.max_redirects = NO_REDIRECTS
    session.hooks["response"].append(_judge)
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Timed(settings.gateway_timeout_seconds))
    return razorpay.Client(
        session=session,
        auth=(settings.razorpay_key_id, settings.razorpay_key_secret),
        base_url=settings.razorpay_base_url.rstrip("/"),
    )


def ask(work: Callable[[], Any]) -> dict[str, Any]:
    """What *work* answers, as an object. Raises Refused, Unknown."""
    try:
        answer = work()
    except (Refused, Unknown):
        raise
    except Exception as error:  # transport, or an answer that is no JSON: nobody knows what happened
        log.warning("razorpay_failed", error=type(error).__name__)
        raise Unknown("no_answer") from None
    if not isinstance(answer, dict):
        raise Unknown("malformed")
    return answer
