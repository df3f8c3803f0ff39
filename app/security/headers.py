"""Security headers of every response (chapter 3, 3.7)."""

from __future__ import annotations

import secrets

from flask import Flask, Response, current_app, g, request

CSP = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "media-src": "'self' blob:",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "manifest-src": "'self'",
    "object-src": "'none'",
    "report-uri": "/api/csp-report",
}
STATIC = {
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains; preload",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_POLICY = "; ".join(f"{k} {v}" for k, v in CSP.items())


def csp_nonce() -> str:
    """Flask-AppBuilder's templates ask for a nonce; ours never need one."""
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(12)
    return str(g.csp_nonce)


def install(app: Flask) -> None:
    """Add the headers to every response of *app*."""
    app.jinja_env.globals["csp_nonce"] = csp_nonce
    enforce = app.config["SETTINGS"].enable_csp_enforce
    name = "Content-Security-Policy" if enforce else "Content-Security-Policy-Report-Only"

    @app.after_request
    def _headers(response: Response) -> Response:
        for key, value in STATIC.items():
            response.headers.setdefault(key, value)
        response.headers.setdefault(name, _POLICY)
        if request.endpoint != "static" and "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        elif request.endpoint == "static" and request.args.get("v"):
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        if g.get("correlation_id"):
            response.headers["X-Correlation-Id"] = g.correlation_id
        if current_app.config["SETTINGS"].testing is False and "Server" in response.headers:
            del response.headers["Server"]
        return response
