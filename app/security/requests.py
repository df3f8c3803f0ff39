"""What happens before and after every request: correlation, identity, organisation, CSRF, errors.

Order matters: this runs before Flask-AppBuilder's own hooks, and every kind of credential (cookie, bearer) is resolved
here, so views, generated or not, meet one identity.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import structlog
from flask import (
    Flask,
    Response,
    current_app,
    g,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as BaseResponse

from app import clock, metrics
from app.errors import REGISTRY, DomainError
from app.extensions import csrf, db
from app.logs import log
from app.security import context, doors, limits, matrix, sessions, sso_policy, uploads
from app.security.cookies import COOKIELESS
from app.services import system_events

API_PREFIXES = ("/api/", "/scim/", "/webhooks/", "/sandbox/api/")
CSRF_FREE = (
    "/api/csp-report",
    "/webhooks/",
    "/scim/",
    "/api/test/",
    "/api/v1/security/login",
    "/sso/saml/",  # answers of identity providers come from their sites; the state's cookie binds them (app/identity/state.py)
    "/sso/oidc/",
    "/api/auth/sso/",
)
SSO_DOORS = ("/sso/", "/logout", "/api/auth/")
ANONYMOUS = COOKIELESS
_CORRELATION = re.compile(r"^[A-Za-z0-9._-]{8,64}$")
_SECRET = re.compile(r"(?<=/)[A-Za-z0-9_-]{40,}")  # what links of a mail carry; a public id has 36 characters
HTTP_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    501: "NOT_IMPLEMENTED",
    429: "RATE_LIMITED",
}


def wants_json() -> bool:
    """Whether the caller is a program: by path, or by what it accepts."""
    return request.path.startswith(API_PREFIXES) or request.accept_mimetypes.best == "application/json"


def shown_path() -> str:
    """The path as logs may keep it: without the secret of a link."""
    token = (request.view_args or {}).get("token")
    path = request.path.replace(str(token), "[redacted]") if token else request.path
    return _SECRET.sub("[redacted]", path)


def install(app: Flask) -> None:
    """Hook everything into *app*."""
    app.jinja_env.globals["can"] = matrix.can
    app.url_value_preprocessor(_take_org)
    app.url_defaults(_give_org)
    app.before_request(_begin)
    app.before_request(_identify)
    app.before_request(uploads.check)
    app.before_request(_csrf)
    app.after_request(_finish)
    app.teardown_request(lambda _: context.reset())
    app.register_error_handler(DomainError, domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(CSRFError, lambda e: domain_error(DomainError("CSRF_FAILED")))
    app.register_error_handler(DataError, _data_error)
    app.register_error_handler(IntegrityError, _integrity_error)
    app.register_error_handler(context.TenancyError, _tenancy_error)
    app.register_error_handler(Exception, _crash)


def _take_org(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """``<org_id>`` in a path names the organisation acted for; views never see it."""
    g.org_ref = (
        str(values.pop("org_id"))[:80].replace("\x00", "\ufffd") if values and "org_id" in values else ""
    )


def _give_org(endpoint: str, values: dict[str, Any]) -> None:
    """``url_for`` fills ``<org_id>`` with the current organisation's slug."""
    if "org_id" not in values and current_app.url_map.is_endpoint_expecting(endpoint, "org_id"):
        organization = g.get("org")
        values["org_id"] = organization["slug"] if organization else "-"


def _begin() -> None:
    given = request.headers.get("X-Correlation-Id", "")
    g.correlation_id = given if _CORRELATION.match(given) else str(uuid.uuid4())
    g.started = time.perf_counter()
    g.identity, g.memberships, g.org, g.credential = None, [], None, None
    context.reset()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(correlation_id=g.correlation_id)
    if current_app.config["SETTINGS"].testing:
        clock.set_offset(float(limits_redis_value("test:clock") or 0))


def limits_redis_value(key: str) -> str | None:
    """A value of the shared test switches in Redis; None when absent."""
    value = current_app.extensions["limits"].redis.get(key)
    return value.decode() if value is not None else None


def _identify() -> None:
    """Resolve the credential and the organisation acted for. Raises NOT_A_MEMBER and its kin."""
    if request.endpoint in ANONYMOUS:
        return
    if request.path.startswith("/scim/"):  # its token alone says who acts (app/identity/scim/auth.py)
        context._current.set(context.Ctx(ip=limits.client_ip(), correlation_id=g.correlation_id))
        return
    raw = ""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        raw, g.credential = value.strip(), "bearer"
    elif session.get("sid"):
        raw, g.credential = str(session["sid"]), "cookie"
    org_ref = g.org_ref or request.headers.get("X-Organization", "")[:80]
    if g.credential == "bearer" and raw.startswith(sessions.KEY_PREFIX):
        _identify_key(raw, org_ref)
        return
    if not raw or len(raw) > 200:
        db.session().info.pop("arm_later", None)
        context._current.set(context.Ctx(ip=limits.client_ip(), correlation_id=g.correlation_id))
        return
    identity = _look_up(raw, org_ref)
    if identity is None:
        if g.credential == "cookie":
            session.clear()
        if g.credential == "bearer" or request.path.startswith("/api/"):
            raise DomainError("SESSION_REVOKED")
        return
    g.identity, g.memberships, g.org = identity, identity.memberships, identity.organization
    _judge_sso(identity)
    g._login_user = g.user = identity.user
    structlog.contextvars.bind_contextvars(user=identity.user.public_id)
    if org_ref:
        require_organization()
    doors.check_viewer()


def _judge_sso(identity: sessions.Identity) -> None:
    """A session that enforcement no longer permits (break-glass is over, say) is nobody's. Raises SSO_REQUIRED."""
    try:
        if not identity.user.email.isascii():  # the look-up's function knows domains as claims keep them
            sso_policy.check_sign_in(db.session(), identity.user, identity.method, identity.provider_id)
        sso_policy.check_request(identity.sso, identity.method, identity.provider_id)
    except DomainError:
        g.identity, g.memberships, g.org = None, [], None
        context.use(db.session(), context.Ctx(ip=limits.client_ip(), correlation_id=g.correlation_id))
        if request.path.startswith(SSO_DOORS):
            return  # signing out, or signing in again: these doors know nobody anyway
        if g.credential == "cookie":
            session.clear()
        raise


def _identify_key(raw: str, org_ref: str) -> None:
    """An API key acts for its own organisation only. Raises API_KEY_INVALID, NOT_A_MEMBER, API_KEY_NOT_ALLOWED."""
    identity = _look_up(raw, org_ref) if len(raw) <= 200 else None
    if identity is None or identity.organization is None:
        limits.hit("api-key-wrong", limits.client_ip())
        raise DomainError("API_KEY_INVALID")
    own = identity.organization
    g.identity, g.memberships, g.org = identity, identity.memberships, own
    g._login_user = g.user = identity.user
    structlog.contextvars.bind_contextvars(user=identity.user.public_id, api_key=identity.key_id)
    limits.hit("api-key", str(identity.key_id))
    if org_ref and org_ref not in (own["slug"], own["public_id"]):
        raise DomainError("NOT_A_MEMBER")
    require_organization()
    doors.check_key()


def _look_up(raw: str, org_ref: str) -> sessions.Identity | None:
    """The identity of a key. A connection that died with a restarted database is replaced once.

    Raises SESSION_LOOKUP_FAILED.
    """
    as_key = raw.startswith(sessions.KEY_PREFIX)
    lookup = current_app.appbuilder.sm._compute_lookup_hash(raw) if as_key else ""  # type: ignore[attr-defined]
    known = {"ip": limits.client_ip(), "correlation_id": g.correlation_id}
    for attempt in (1, 2):
        try:
            if as_key:
                return sessions.identify_key(db.session(), raw, lookup, **known)
            return sessions.identify(db.session(), raw, org_ref, **known)
        except SQLAlchemyError as error:
            db.session.rollback()
            if attempt == 1 and isinstance(error, DBAPIError) and error.connection_invalidated:
                continue
            log.error("session_lookup_failed", error=type(error).__name__)
            break
    raise DomainError("SESSION_LOOKUP_FAILED")


def require_organization() -> None:
    """The caller must act for an organisation that lets them in.

    Unknown and foreign organisations answer alike: NOT_A_MEMBER. Raises MEMBERSHIP_SUSPENDED, ORG_DEACTIVATED.
    """
    organization, c = g.org, context.ctx()
    if organization is None or (
        c.role is None and not c.is_admin and organization.get("membership_status") != "SUSPENDED"
    ):
        raise DomainError("NOT_A_MEMBER")
    if c.role is None and not c.is_admin:
        raise DomainError("MEMBERSHIP_SUSPENDED")
    if organization["status"] == "DEACTIVATED" and not c.is_admin:
        raise DomainError("ORG_DEACTIVATED")


def _csrf() -> None:
    """Cookies ride along by themselves, so a write with one needs a token; bearer credentials do not."""
    if request.method in ("GET", "HEAD", "OPTIONS", "TRACE") or request.path.startswith(CSRF_FREE):
        return
    if g.credential == "bearer" or (request.path.startswith(API_PREFIXES) and g.credential is None):
        return
    csrf.protect()


def _finish(response: Response) -> Response:
    if doors.carries_away(response):
        response = current_app.make_response(domain_error(DomainError("SUPPORT_ACCESS_READ_ONLY")))
    seconds = time.perf_counter() - g.get("started", time.perf_counter())
    route = request.url_rule.rule if request.url_rule else "unmatched"
    metrics.observe_request(request.method, route, response.status_code, seconds)
    if g.get("retry_after"):
        response.headers["Retry-After"] = str(g.retry_after)
        response.headers["X-RateLimit-Remaining"] = "0"
    elif "rate_remaining" in g:
        response.headers["X-RateLimit-Remaining"] = str(g.rate_remaining)
    if request.endpoint not in ANONYMOUS:
        log.info(
            "request",
            method=request.method,
            path=shown_path(),
            status=response.status_code,
            ms=round(seconds * 1000, 1),
        )
    return response


def answer(code: str, status: int, message: str, details: dict[str, Any] | None = None) -> Any:
    """An error as the caller can read it: JSON for programs, a page for people."""
    if request.path.startswith("/scim/"):
        from app.identity.scim.errors import (
            answer as scim_answer,
        )  # late: it needs the request's own error first

        return scim_answer(code, status, message, details)
    if wants_json():
        return jsonify(code=code, message=message, details=details or {}), status
    if code == "SSO_REQUIRED" and request.method == "GET":
        return redirect(url_for("AuthView.login", error=code, next=request.full_path.rstrip("?")))
    if status == 401 and request.method == "GET":
        return redirect(url_for("AuthView.login", next=request.full_path.rstrip("?")))
    appbuilder = current_app.appbuilder  # type: ignore[attr-defined]
    try:
        return render_template(
            "console/error.html",
            code=status,
            error_code=code,
            title=TITLES.get(status, "Not possible"),
            text=message,
            appbuilder=appbuilder,
            base_template=appbuilder.base_template,
        ), status
    except Exception:  # an error page must never fail: the template itself may be what broke
        log.exception("error_page_failed")
        return Response(f"{message}\n", status, mimetype="text/plain")


TITLES = {
    400: "That request could not be read",
    403: "You don't have access to this page",
    404: "Page not found",
    405: "That is not possible here",
    409: "That is not possible right now",
    413: "That is too large",
    429: "Too many attempts",
    500: "Something went wrong",
    503: "Briefly unavailable",
}


def domain_error(error: DomainError) -> Any:
    """A rule said no: roll back and say why."""
    db.session.rollback()
    g.scim_type = getattr(error, "scim_type", None)
    return answer(error.code, error.status, error.message, error.details)


def _http_error(error: HTTPException) -> Any:
    if isinstance(error.response, BaseResponse):
        return error.response
    status = error.code or 500
    if status in (301, 302, 303, 307, 308):
        return error
    db.session.rollback()
    code = HTTP_CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
    if status == 413:
        code = g.get("too_large", code)
    return answer(code, status, REGISTRY[code][1])


def _data_error(error: DataError) -> Any:
    """Keys that no column can hold (too large, malformed) mean: no such row."""
    return _http_error(NotFound())


def _integrity_error(error: IntegrityError) -> Any:
    log.warning(
        "integrity_conflict", constraint=getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    )
    return domain_error(DomainError("CONFLICT"))


def _tenancy_error(error: context.TenancyError) -> Any:
    log.error("tenancy_guard", error=str(error))
    return domain_error(DomainError("NOT_FOUND"))


def _crash(error: Exception) -> Any:
    """Anything unexpected: logged with its trace, answered without."""
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == "25006":
        return domain_error(
            DomainError("SUPPORT_ACCESS_READ_ONLY")
        )  # the database refused a write while viewing
    if isinstance(error, OperationalError):
        log.error("database_error", error=str(error.orig)[:200])
        return domain_error(DomainError("DATABASE_UNAVAILABLE"))
    log.exception("unhandled_error", path=shown_path())
    db.session.rollback()
    system_events.record_crash(
        db.engine,
        "request",
        f"{request.method} {shown_path()}",
        error,
        correlation_id=g.get("correlation_id"),
        endpoint=request.endpoint,
    )
    if current_app.config["SETTINGS"].testing and current_app.config.get("RAISE_CRASHES"):
        raise error
    return domain_error(DomainError("INTERNAL_ERROR"))
