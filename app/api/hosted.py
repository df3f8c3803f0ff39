"""REST of the sessions a host's experts deliver to others' learners (chapter 2, 2.3)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, g, stream_with_context
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.services import hosted
from app.views.base.export import csv_lines
from app.views.base.exporting import keeping_identity

from .base import plain
from .http import Api, cursor_moment, cursor_of, gate, ok, page_args, query


class HostedQuery(Schema):
    when = fields.String(load_default="upcoming", validate=validate.OneOf(["upcoming", "past"]))
    format = fields.String(load_default="json", validate=validate.OneOf(["json", "csv"]))


HEAD = ("starts_at", "ends_at", "minutes", "plan", "expert", "learner")
BATCH = 500


def after_of(cursor: dict[str, Any] | None) -> Any:
    """Where a page of the list begins."""
    return cursor_moment(cursor) if cursor is not None else None


def next_of(rows: list[hosted.Hosted], limit: int) -> str | None:
    """The cursor behind the first *limit* of *rows*, if there are more."""
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    return cursor_of({"at": last.starts_at.isoformat(), "n": last.id})


def hosted_csv(past: bool) -> Response:
    """Every hosted session, past or to come, as a CSV file, streamed; what the list shows and no more."""
    session = db.session()

    def rows() -> Iterator[list[Any]]:
        after = None
        while True:
            batch = hosted.listed(session, past=past, limit=BATCH, after=after)
            for r in batch:
                minutes = int((r.ends_at - r.starts_at).total_seconds() // 60)
                yield [plain(r.starts_at), plain(r.ends_at), minutes, r.plan, r.expert, r.learner]
            if len(batch) < BATCH:
                return
            after = (batch[-1].starts_at, batch[-1].id)

    read = rows()
    first = list(itertools.islice(read, 1))  # a refusal comes before the first byte
    name = f"{'delivered' if past else 'planned'}-sessions-{g.org['slug']}.csv"
    return Response(
        stream_with_context(keeping_identity(csv_lines(list(HEAD), itertools.chain(first, read)))),
        mimetype="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


class HostedApi(Api):
    """Sessions delivered to people who do not book through the host."""

    route_base = "/api/organizations/<org_id>/hosted-sessions"
    resource_name = "hosted-sessions"
    openapi_spec_tag = "Marketplace"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("hosted-sessions", "read")
    def list(self) -> Any:
        """Hosted sessions
        ---
        get:
          summary: Sessions the host's experts deliver to others' learners; nothing of who pays
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: when, schema: {type: string, enum: [upcoming, past]}}
          - {in: query, name: format, schema: {type: string, enum: [json, csv]}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result (starts_at, ends_at, plan, expert, learner's first name) and next_cursor; or a file of all
            403:
              description: INSUFFICIENT_ROLE, NOT_A_MEMBER
            409:
              description: HOST_CAPABILITY_REQUIRED
        """
        asked = query(HostedQuery)
        past = asked["when"] == "past"
        if asked["format"] == "csv":
            return hosted_csv(past)
        cursor, limit = page_args(50)
        rows = hosted.listed(db.session(), past=past, limit=limit + 1, after=after_of(cursor))
        result = [
            {
                "starts_at": plain(r.starts_at),
                "ends_at": plain(r.ends_at),
                "plan": r.plan,
                "expert": r.expert,
                "learner": r.learner,
            }
            for r in rows[:limit]
        ]
        return ok({"result": result, "next_cursor": next_of(rows, limit)})


def register(app: Flask, appbuilder: Any) -> None:
    """Register the domain's resources."""
    appbuilder.add_api(HostedApi)
