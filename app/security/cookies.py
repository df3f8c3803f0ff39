"""The session cookie: not sent with what has no session."""

from __future__ import annotations

from flask import Flask, Response, request
from flask.sessions import SecureCookieSessionInterface, SessionMixin

COOKIELESS = frozenset({"static", "media", "healthz", "readyz", "version", "metrics"})


class ConsoleCookies(SecureCookieSessionInterface):
    """Flask renews a permanent session's cookie with every answer; files that caches keep must not carry one."""

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if request.endpoint not in COOKIELESS:
            super().save_session(app, session, response)
