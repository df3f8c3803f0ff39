"""REST of what happened and how much: activity, audit, analytics, appointments and invoices of an organisation."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select, tuple_
from sqlalchemy.orm import joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Appointment, AppointmentStatus, AuditCategory, AuditLog
from app.security import matrix
from app.services import activity, analytics, audit_chain, organizations
from app.services.activity import Wanted
from app.views.base.export import csv_lines
from app.views.base.export import plain as file_value

from .base import plain
from .http import Api, cursor_moment, cursor_of, gate, number_arg, ok, page_args, query

EXPORT, CHUNK = 100_000, 2000  # audit entries in one file, and at a time
LOG_HEAD = ["When", "What happened", "Category", "Action", "Who", "Correlation id"]


def sees_money() -> bool:
    """FIN_READ: SUPPORT reads operations without amounts (chapter 1, 1.5)."""
    return matrix.can("read", "payments")


def sees_people() -> bool:
    """OPS_READ: BILLING_ADMIN reads finance alone (chapter 1, 1.5)."""
    return matrix.can("read", "members")


def csv_of(section: analytics.Section) -> Iterator[str]:
    """A section as a file: amounts in rupees, shares in per cent, no formulas."""
    head = [section.heading, *[name for name, _ in section.series]]
    rows = (
        [label, *[file_value(values[i], section.kind_of(n)) for n, (_, values) in enumerate(section.series)]]
        for i, label in enumerate(section.labels)
    )
    return csv_lines(head, rows)


class LogQuery(Schema):
    category = fields.Enum(AuditCategory, by_value=True, load_default=None)
    action = fields.String(load_default="", validate=validate.Length(max=60))
    actor = fields.String(load_default="", validate=validate.Length(max=100))
    q = fields.String(load_default="", validate=validate.Length(max=100))
    since = fields.Date(load_default=None, data_key="from")
    until = fields.Date(load_default=None, data_key="to")


class AnalyticsQuery(Schema):
    format = fields.String(load_default="json", validate=validate.OneOf(["json", "csv"]))
    section = fields.String(load_default="", validate=validate.Length(max=40))


class AppointmentsQuery(Schema):
    status = fields.Enum(AppointmentStatus, by_value=True, load_default=None)


def wanted() -> Wanted:
    """The filters of the query string; dates are days in India, both inclusive. Raises Invalid."""
    args = query(LogQuery)
    since, until = args["since"], args["until"]
    for name, day in (("from", since), ("to", until)):
        if day is not None and not 2000 <= day.year <= 2200:
            raise Invalid({name: ["Not a sensible date."]})
    return Wanted(
        args["category"],
        args["action"],
        args["actor"].strip(),
        args["q"].strip(),
        dt.datetime.combine(since, dt.time(), clock.IST) if since else None,
        dt.datetime.combine(until + dt.timedelta(days=1), dt.time(), clock.IST) if until else None,
    )


def entry_json(row: AuditLog, *, money: bool) -> dict[str, Any]:
    """An audit entry; *money* False leaves amounts out of the details."""
    return {
        "id": str(row.public_id),
        "created_at": plain(row.created_at),
        "category": row.category.value,
        "action": row.action,
        "description": row.description,
        "actor": {"id": str(row.actor.public_id), "name": row.actor.name} if row.actor else None,
        "actor_type": row.actor_type.value,
        "target_type": row.target_type,
        "target_id": row.target_id,
        "details": activity.plain_details(row, money=money),
        "correlation_id": row.correlation_id,
        "seq": row.seq,
        "row_hash": row.row_hash,
    }


def _log_lines(filters: Wanted, money: bool) -> Iterator[list[Any]]:
    """Lines of the log's file, latest first; a chunk at a time, so that no long log is held as objects."""
    after, count = None, 0
    while count < EXPORT:
        rows = activity.log(db.session(), filters, money=money, limit=CHUNK, after=after)
        for r in rows:
            who = r.actor.name if r.actor else "System"
            yield [
                plain(r.created_at),
                r.description,
                r.category.value,
                r.action,
                who,
                r.correlation_id or "",
            ]
        if len(rows) < CHUNK:
            return
        count, after = count + len(rows), (rows[-1].created_at, rows[-1].id)
        db.session.expunge_all()


def _page(rows: list[Any], limit: int, column: str = "created_at") -> str | None:
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    return cursor_of({"at": getattr(last, column).isoformat(), "n": last.id})


class InsightsApi(Api):
    """What happened in an organisation, and its rollups."""

    route_base = "/api/organizations/<org_id>"
    resource_name = "insights"
    openapi_spec_tag = "Insights"

    @expose("/activity", methods=["GET"])
    @gate("activity", "read")
    def activity(self) -> Any:
        """Activity
        ---
        get:
          summary: What happened, latest first, each event once
          parameters:
          - {in: query, name: category, schema: {type: string}}
          - {in: query, name: actor, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result and next_cursor
            403:
              description: INSUFFICIENT_ROLE
        """
        cursor, limit = page_args(50)
        after = cursor_moment(cursor) if cursor is not None else None
        money = sees_money()
        rows = activity.feed(db.session(), wanted(), money=money, limit=limit + 1, after=after)
        result = [entry_json(r, money=money) for r in rows[:limit]]
        return ok({"result": result, "next_cursor": _page(rows, limit)})

    @expose("/audit/verify", methods=["GET"])
    @gate("audit", "verify")
    def verify(self) -> Any:
        """Tamper check
        ---
        get:
          summary: Whether every sealed audit entry still fits its hash and its neighbours
          responses:
            200:
              description: intact, checked, first_bad_seq, unsealed
            403:
              description: INSUFFICIENT_ROLE
        """
        verdict = audit_chain.verify(db.session(), organizations.current(db.session()).id)
        return ok(
            {
                "intact": verdict.intact,
                "checked": verdict.checked,
                "first_bad_seq": verdict.first_bad_seq,
                "unsealed": verdict.unsealed,
            }
        )

    @expose("/audit", methods=["GET"])
    @gate("audit", "read")
    def audit(self) -> Any:
        """Audit log
        ---
        get:
          summary: The audit log, latest first; SUPPORT reads it without the categories of money
          parameters:
          - {in: query, name: category, schema: {type: string}}
          - {in: query, name: action, schema: {type: string}}
          - {in: query, name: actor, schema: {type: string}, description: part of a name or a whole address}
          - {in: query, name: q, schema: {type: string}}
          - {in: query, name: from, schema: {type: string, format: date}}
          - {in: query, name: to, schema: {type: string, format: date}}
          - {in: query, name: format, schema: {type: string, enum: [json, csv]}, description: csv for GOV}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result and next_cursor
            400:
              description: VALIDATION_FAILED
            403:
              description: INSUFFICIENT_ROLE
        """
        money, filters = sees_money(), wanted()
        kind = request.args.get("format", "json")
        if kind not in ("json", "csv"):
            raise Invalid({"format": ["Must be json or csv."]})
        if kind == "csv":
            if not matrix.can("export", "audit"):
                raise DomainError("INSUFFICIENT_ROLE")
            return Response(
                "".join(csv_lines(LOG_HEAD, _log_lines(filters, money))),
                mimetype="text/csv",
                headers={"Content-Disposition": "attachment; filename=audit.csv"},
            )
        cursor, limit = page_args(50)
        after = cursor_moment(cursor) if cursor is not None else None
        rows = activity.log(db.session(), filters, money=money, limit=limit + 1, after=after)
        result = [entry_json(r, money=money) for r in rows[:limit]]
        return ok({"result": result, "next_cursor": _page(rows, limit)})

    @expose("/analytics", methods=["GET"])
    @gate("analytics", "read")
    def analytics(self) -> Any:
        """Analytics
        ---
        get:
          summary: Rollups by role and capability; SUPPORT without money, BILLING_ADMIN money alone
          parameters:
          - {in: query, name: months, schema: {type: integer, minimum: 1, maximum: 24}}
          - {in: query, name: section, schema: {type: string}, description: one section, required for csv}
          - {in: query, name: format, schema: {type: string, enum: [json, csv]}}
          responses:
            200:
              description: >-
                months, since, seats, month (gross and net in paise, bookings, bookings_before; null without money), and
                sections with labels and series (amounts in paise)
            403:
              description: INSUFFICIENT_ROLE
            404:
              description: NOT_FOUND, no such section for this reader
        """
        args, months = query(AnalyticsQuery), number_arg("months", 6, analytics.MOST)
        report = analytics.report(
            db.session(),
            organizations.current(db.session()),
            months=months,
            people=sees_people(),
            money=sees_money(),
        )
        sections = [s for s in report.sections if not args["section"] or s.key == args["section"]]
        if args["section"] and not sections:
            raise DomainError("NOT_FOUND")
        if args["format"] == "csv":
            if len(sections) != 1:
                raise Invalid({"section": ["Name one section for a file."]})
            return Response(
                csv_of(sections[0]),
                mimetype="text/csv",
                headers={"Content-Disposition": f"attachment; filename={sections[0].key}.csv"},
            )
        return ok(
            {
                "months": report.months,
                "since": plain(report.since),
                "seats": {"used": report.seats_used, "total": report.seats_total}
                if report.seats_used is not None
                else None,
                "month": dataclasses.asdict(report.month) if report.month else None,
                "sections": [
                    {
                        "key": s.key,
                        "title": s.title,
                        "labels": s.labels,
                        "series": [
                            {"name": name, "kind": s.kind_of(i), "values": values}
                            for i, (name, values) in enumerate(s.series)
                        ],
                    }
                    for s in sections
                ],
            }
        )

    @expose("/appointments", methods=["GET"])
    @gate("appointments", "read")
    def appointments(self) -> Any:
        """Appointments of the organisation
        ---
        get:
          summary: Sessions the organisation pays for, latest first, without amounts
          parameters:
          - {in: query, name: status, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result and next_cursor
            403:
              description: INSUFFICIENT_ROLE
        """
        status = query(AppointmentsQuery)["status"]
        cursor, limit = page_args(50)
        statement = (
            select(Appointment)
            .options(joinedload(Appointment.learner), joinedload(Appointment.expert_user))
            .order_by(Appointment.starts_at.desc(), Appointment.id.desc())
        )
        if status is not None:
            statement = statement.where(Appointment.status == status)
        if cursor is not None:
            statement = statement.where(tuple_(Appointment.starts_at, Appointment.id) < cursor_moment(cursor))
        rows = list(db.session.scalars(statement.limit(limit + 1)))
        result = [
            {
                "id": str(r.public_id),
                "title": r.title,
                "status": r.status.value,
                "starts_at": plain(r.starts_at),
                "ends_at": plain(r.ends_at),
                "learner": {"id": str(r.learner.public_id), "name": r.learner.name},
                "expert": {"id": str(r.expert_user.public_id), "name": r.expert_user.name},
            }
            for r in rows[:limit]
        ]
        return ok({"result": result, "next_cursor": _page(rows, limit, "starts_at")})

    @expose("/invoices", methods=["GET"])
    @gate("invoices", "read")
    def invoices(self) -> Any:
        """Invoices of the organisation
        ---
        get:
          summary: Issued invoices, latest first; empty until the platform has billed something
          responses:
            200:
              description: result and next_cursor
            403:
              description: INSUFFICIENT_ROLE
            409:
              description: SPONSOR_CAPABILITY_REQUIRED
        """
        page_args()
        return ok({"result": [], "next_cursor": None})


def register(app: Flask, appbuilder: Any) -> None:
    """Register the domain's resources."""
    appbuilder.add_api(InsightsApi)
