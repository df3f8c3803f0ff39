"""Puts the application together: settings, extensions, security, views, REST."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from werkzeug.middleware.proxy_fix import ProxyFix

from app import logs
from app.extensions import csrf, db
from app.routing import LateRule
from app.security.cookies import ConsoleCookies
from app.security.sessions import KEY_PREFIX
from app.services import erased_identities
from config import Settings

MAX_BODY = 8 * 1024 * 1024  # bytes; single endpoints set tighter limits


def flask_config(s: Settings) -> dict[str, Any]:
    """The settings as Flask, Flask-AppBuilder and the extensions want to read them."""
    secure = s.base_url.startswith("https://")
    connect_args: dict[str, Any] = {"prepare_threshold": 3, "options": "-c timezone=UTC"}
    if s.database_statement_timeout_ms:
        connect_args["options"] += f" -c statement_timeout={s.database_statement_timeout_ms}"
    return {
        "APP_NAME": "Consilium",
        "SECRET_KEY": s.secret_key,
        "SETTINGS": s,
        "SQLALCHEMY_DATABASE_URI": s.database_url,
        "SQLALCHEMY_ENGINE_OPTIONS": {
            "pool_size": s.database_pool_size,
            "max_overflow": s.database_max_overflow,
            "pool_pre_ping": False,
            "pool_recycle": 1800,
            "connect_args": connect_args,
        },
        "MAX_CONTENT_LENGTH": MAX_BODY,
        "MAX_FORM_MEMORY_SIZE": 2 * 1024 * 1024,
        "SESSION_COOKIE_NAME": "consilium_session",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": secure,
        "PERMANENT_SESSION_LIFETIME": dt.timedelta(days=30),
        "WTF_CSRF_CHECK_DEFAULT": False,  # checked in app/security/requests.py, by kind of credential
        "WTF_CSRF_TIME_LIMIT": None,
        "WTF_CSRF_SSL_STRICT": False,
        "FAB_CREATE_DB": False,
        "FAB_UPDATE_PERMS": False,
        "FAB_BASE_TEMPLATE": "console/base.html",
        "FAB_SECURITY_MANAGER_CLASS": "app.security.manager.ConsoleSecurityManager",
        "FAB_INDEX_VIEW": "app.views.index.ConsoleIndexView",
        "FAB_ADD_SECURITY_VIEWS": True,
        "FAB_ADD_SECURITY_PERMISSION_VIEW": False,
        "FAB_ADD_SECURITY_API": False,  # roles and users are not edited over REST, and neither are API keys
        "FAB_API_KEY_ENABLED": True,
        "FAB_API_KEY_PREFIXES": [KEY_PREFIX],
        # a key is 32 random bytes: nothing to guess, so a slow hash would only slow every request down
        "FAB_API_KEY_HASH_METHOD": "pbkdf2:sha256:1000",
        "FAB_ADD_SECURITY_VIEW_MENU_VIEW": False,
        "FAB_ADD_SECURITY_PERMISSION_VIEWS_VIEW": False,
        "FAB_API_SWAGGER_UI": False,
        "FAB_ADD_OPENAPI_VIEWS": False,
        "FAB_API_MAX_PAGE_SIZE": 100,
        "RATELIMIT_ENABLED": False,  # ours: app/security/limits.py
        "AUTH_RATE_LIMITED": False,
        "COUNT_CAP": 10_000,
        "TESTING": s.testing,
        "PROPAGATE_EXCEPTIONS": False,
    }


class StrictJson(DefaultJSONProvider):
    """JSON in and out; a body nested beyond the interpreter's stack is malformed, not a crash."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return super().loads(s, **kwargs)
        except RecursionError:
            raise ValueError("nested too deep") from None


def build(settings: Settings) -> Flask:
    """The application of *settings*; several may live in one process."""
    logs.configure(settings)
    erased_identities.configure(settings.erasure_salt, settings.secret_key)
    app = Flask("app")
    app.url_rule_class = LateRule
    app.config.update(flask_config(settings))
    if settings.trusted_proxies:
        n = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=n, x_proto=n, x_host=n)  # type: ignore[method-assign]
    app.session_interface = ConsoleCookies()
    app.json = StrictJson(app)
    db.init_app(app)
    csrf.init_app(app)
    with app.app_context():
        from app.jobs import queue
        from app.security import headers, limits, requests

        queue.install(app)
        limits.install(app)
        requests.install(app)
        headers.install(app)
        _console(app)
    return app


def _console(app: Flask) -> None:
    from flask_appbuilder import AppBuilder

    from app import api, views
    from app.identity.scim import routes as scim
    from app.views import shell

    appbuilder = AppBuilder()
    appbuilder.init_app(app, db.session)
    api.register(app, appbuilder)
    scim.register(app)
    views.register(app, appbuilder)
    shell.install(app)
