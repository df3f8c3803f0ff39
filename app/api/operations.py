"""Health, version, metrics and the CSP sink (chapter 3, 3.7)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.errors import DomainError
from app.extensions import db
from app.jobs import heartbeats
from app.logs import log
from app.security import limits

MAX_REPORT = 64 * 1024
STARTED = time.time()


def _database() -> None:
    try:
        db.session.execute(text("SELECT 1"))
    except OperationalError:  # a pooled connection that a restarted server left behind
        db.session.rollback()
        db.session.execute(text("SELECT 1"))


def _migrations() -> None:
    from alembic.script import ScriptDirectory

    from app.cli.database import alembic_config

    head = ScriptDirectory.from_config(alembic_config("")).get_current_head()
    found = db.session.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found != head:
        raise RuntimeError(f"at {found}, want {head}")


def _redis() -> None:
    current_app.extensions["redis"].ping()


def _alive(who: str) -> Callable[[], None]:
    def check() -> None:
        if not heartbeats.alive(current_app.extensions["redis"], who):
            raise RuntimeError("no heartbeat")

    return check


CHECKS: dict[str, Callable[[], None]] = {
    "database": _database,
    "migrations": _migrations,
    "redis": _redis,
    "worker": _alive(heartbeats.WORKER),
    "scheduler": _alive(heartbeats.SCHEDULER),
}


def register(app: Flask, appbuilder: Any) -> None:
    """Plain routes: they answer without identity and without Flask-AppBuilder."""

    @app.get("/healthz")
    def healthz() -> Any:
        return jsonify(status="ok")

    @app.get("/readyz")
    def readyz() -> Any:
        failing = []
        for name, check in CHECKS.items():
            try:
                check()
            except Exception as error:
                db.session.rollback()
                log.warning("not_ready", check=name, error=type(error).__name__)
                failing.append(name)
        if failing:
            return jsonify(status="unavailable", failing=failing), 503
        return jsonify(status="ok", failing=[])

    @app.get("/version")
    def version() -> Any:
        s = current_app.config["SETTINGS"]
        return jsonify(name="consilium", version=s.app_version, environment=s.app_env)

    @app.get("/metrics")
    def metrics() -> Any:
        if request.headers.get("X-Forwarded-For"):
            raise DomainError("NOT_FOUND")  # for scrapers inside the network, never through the proxy
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    @app.post("/api/csp-report")
    def csp_report() -> Any:
        limits.hit("csp-report", limits.client_ip())
        request.max_content_length = MAX_REPORT  # also for a body that does not say how long it is
        body = request.get_json(silent=True, force=True)
        report = body.get("csp-report", body) if isinstance(body, dict) else {}
        log.warning(
            "csp_violation",
            **{
                k.replace("-", "_"): str(report[k])[:200]
                for k in ("document-uri", "violated-directive", "blocked-uri", "source-file")
                if k in report
            },
        )
        return Response(status=204)
