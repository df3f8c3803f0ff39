"""The platform's rooms over REST: jobs and system events (chapter 3, 3.4, 3.10)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Flask, g
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.extensions import db
from app.jobs import registry, runner
from app.models import Organization, Severity, SystemEvent
from app.security.context import acting
from app.services import operations

from .http import Api, cursor_key, cursor_of, ok, page_args, platform, query


class EventsQuery(Schema):
    severity = fields.Enum(Severity, by_value=True, load_default=None)
    category = fields.String(load_default="", validate=validate.Length(max=40))
    correlation_id = fields.String(load_default="", validate=validate.Length(max=64))
    organization_id = fields.UUID(load_default=None)
    since = fields.AwareDateTime(load_default=None, default_timezone=dt.UTC)


class JobsApi(Api):
    """List and run jobs."""

    route_base = "/api/admin"
    resource_name = "admin-jobs"
    openapi_spec_tag = "Operations"

    @expose("/jobs", methods=["GET"])
    @platform("jobs", "read")
    def list(self) -> Any:
        """Jobs with their last run
        ---
        get:
          summary: Every job, its cadence and its last run
          responses:
            200:
              description: jobs
            403:
              description: INSUFFICIENT_ROLE
        """
        with acting(db.session(), scope="platform"):
            last = operations.last_runs(db.session())
            backup = operations.last_backup(db.session())
        return ok(
            {
                "backup": operations.run_view(backup),
                "jobs": [
                    {
                        "name": j.name,
                        "title": j.title,
                        "cadence": j.cadence,
                        "purpose": j.purpose,
                        "last_run": operations.run_view(last.get(j.name)),
                    }
                    for j in registry.jobs().values()
                ],
            }
        )

    @expose("/jobs/<name>/run", methods=["POST"])
    @platform("jobs", "write")
    def run(self, name: str) -> Any:
        """Run a job now
        ---
        post:
          summary: Run a job now and wait for its summary
          parameters:
          - {in: path, name: name, required: true, schema: {type: string}}
          responses:
            200:
              description: summary
            404:
              description: NOT_FOUND
            409:
              description: JOB_RUNNING
        """
        return ok({"summary": runner.execute(name[:60], trigger="manual", actor_user_id=g.identity.user.id)})


class SystemEventsApi(Api):
    """Engineering detail of failures, ADMIN only."""

    route_base = "/api/admin"
    resource_name = "admin-system-events"
    openapi_spec_tag = "Operations"

    @expose("/system-events", methods=["GET"])
    @platform("system-events", "read")
    def list(self) -> Any:
        """System events
        ---
        get:
          summary: System events, newest first
          parameters:
          - {in: query, name: severity, schema: {type: string}}
          - {in: query, name: category, schema: {type: string}}
          - {in: query, name: correlation_id, schema: {type: string}}
          - {in: query, name: organization_id, schema: {type: string, format: uuid}}
          - {in: query, name: since, schema: {type: string, format: date-time}}
          - {in: query, name: limit, schema: {type: integer, maximum: 500}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: events and next_cursor
        """
        cursor, limit = page_args(100, 500)
        statement = select(SystemEvent).order_by(SystemEvent.id.desc()).limit(limit + 1)
        wanted = query(EventsQuery)
        for name in ("severity", "category", "correlation_id"):
            if wanted[name]:
                statement = statement.where(getattr(SystemEvent, name) == wanted[name])
        if wanted["organization_id"]:
            named = select(Organization.id).where(Organization.public_id == wanted["organization_id"])
            statement = statement.where(SystemEvent.organization_id == named.scalar_subquery())
        if wanted["since"]:
            statement = statement.where(SystemEvent.created_at >= wanted["since"])
        if cursor is not None:
            statement = statement.where(SystemEvent.id < cursor_key(cursor))
        with acting(db.session(), scope="platform"):
            rows = db.session.scalars(statement).all()
        more = rows[limit - 1].id if len(rows) > limit else None
        return ok(
            {
                "events": [
                    {
                        "id": str(e.public_id),
                        "category": e.category,
                        "severity": e.severity,
                        "message": e.message,
                        "context": e.context,
                        "correlation_id": e.correlation_id,
                        "created_at": e.created_at.isoformat(),
                    }
                    for e in rows[:limit]
                ],
                "next_cursor": cursor_of({"id": more}) if more else None,
            }
        )


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources."""
    appbuilder.add_api(JobsApi)
    appbuilder.add_api(SystemEventsApi)
