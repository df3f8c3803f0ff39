"""Disputes: an organisation reads its own, ADMIN answers them (chapter 2, 2.8)."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.errors import Invalid
from app.extensions import db
from app.models import Dispute, DisputeStatus
from app.security.context import acting
from app.services import disputes

from .billing import BASE
from .http import Api, cursor_key, cursor_of, find, gate, ok, page_args, parse_id, payload, platform


class ContestSchema(Schema):
    summary = fields.String(required=True, validate=validate.Length(max=2_000))
    evidence = fields.Dict(
        keys=fields.String(validate=validate.Length(max=40)),
        values=fields.String(validate=validate.Length(max=2_000)),
        load_default=dict,
        validate=validate.Length(max=10),
    )


def _page() -> dict[str, Any]:
    """A page of disputes in the present scope, newest first, narrowed by ``?status=``. Raises Invalid."""
    cursor, limit = page_args()
    statement = select(Dispute).order_by(Dispute.id.desc()).limit(limit + 1)
    wanted = request.args.get("status", "")
    if wanted:
        if wanted not in list(DisputeStatus):
            raise Invalid({"status": [f"One of {', '.join(DisputeStatus)}."]})
        statement = statement.where(Dispute.status == wanted)
    if cursor is not None:
        statement = statement.where(Dispute.id < cursor_key(cursor))
    rows = db.session.scalars(statement).all()
    more = rows[limit - 1].id if len(rows) > limit else None
    return {
        "disputes": [disputes.view(r) for r in rows[:limit]],
        "next_cursor": cursor_of({"id": more}) if more else None,
    }


class OrgDisputesApi(Api):
    """Disputes about an organisation's payments."""

    route_base = BASE
    resource_name = "disputes"
    openapi_spec_tag = "Billing"

    @expose("/disputes", methods=["GET"])
    @gate("disputes", "read")
    def list(self) -> Any:
        """Disputes
        ---
        get:
          summary: Disputes about the organisation's payments, newest first
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: status, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: disputes, next_cursor
            403:
              description: NOT_A_MEMBER, INSUFFICIENT_ROLE
        """
        return ok(_page())

    @expose("/disputes/<dispute_id>", methods=["GET"])
    @gate("disputes", "read")
    def show(self, dispute_id: str) -> Any:
        """One dispute
        ---
        get:
          summary: One dispute
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: dispute_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The dispute
            404:
              description: NOT_FOUND
        """
        return ok(disputes.view(find(Dispute, dispute_id)))


class AdminDisputesApi(Api):
    """The platform's answers to disputes."""

    route_base = "/api/admin"
    resource_name = "admin-disputes"
    openapi_spec_tag = "Billing"

    @expose("/disputes", methods=["GET"])
    @platform("disputes-desk", "read")
    def list(self) -> Any:
        """Every dispute
        ---
        get:
          summary: Disputes of the platform, newest first
          parameters:
          - {in: query, name: status, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: disputes, next_cursor
        """
        with acting(db.session(), scope="platform"):
            return ok(_page())

    @expose("/disputes/<dispute_id>/accept", methods=["POST"])
    @platform("disputes-desk", "write")
    def accept(self, dispute_id: str) -> Any:
        """Accept a dispute
        ---
        post:
          summary: Give in; what the loss takes is posted
          parameters:
          - {in: path, name: dispute_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The dispute
            409:
              description: ILLEGAL_TRANSITION
            502:
              description: GATEWAY_ERROR
        """
        row = disputes.accept(db.session(), parse_id(dispute_id), current_app.config["SETTINGS"])
        return ok(disputes.view(row))

    @expose("/disputes/<dispute_id>/contest", methods=["POST"])
    @platform("disputes-desk", "write")
    def contest(self, dispute_id: str) -> Any:
        """Contest a dispute
        ---
        post:
          summary: Contest with a summary and evidence
          parameters:
          - {in: path, name: dispute_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [summary]
                  properties:
                    summary: {type: string, minLength: 10, maxLength: 1000}
                    evidence:
                      type: object
                      additionalProperties: {type: string, maxLength: 1000}
          responses:
            200:
              description: The dispute, under review
            400:
              description: VALIDATION_FAILED
            409:
              description: ILLEGAL_TRANSITION
            502:
              description: GATEWAY_ERROR
        """
        body = payload(ContestSchema)
        row = disputes.contest(
            db.session(),
            parse_id(dispute_id),
            body["summary"],
            body["evidence"],
            current_app.config["SETTINGS"],
        )
        return ok(disputes.view(row))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources."""
    appbuilder.add_api(OrgDisputesApi)
    appbuilder.add_api(AdminDisputesApi)
