"""Organisations as the platform's staff handles them, and the proof of isolation."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Organization, OrgStatus
from app.security.context import acting
from app.services import isolation, lifecycle, verification, verification_checks, verification_queue, waivers

from .http import Api, cursor_key, cursor_of, number_arg, ok, page_args, parse_id, payload, platform
from .org_lifecycle import message_view, verification_view
from .organizations import organization_view


class DecisionSchema(Schema):
    action = fields.String(required=True, validate=validate.Length(max=40))
    reason = fields.String(
        load_default="", allow_none=True, validate=validate.Length(max=lifecycle.MAX_REASON)
    )


class QuestionSchema(Schema):
    message = fields.String(required=True, validate=validate.Length(1, verification.MAX_TEXT))


class ReasonSchema(Schema):
    reason = fields.String(required=True, validate=validate.Length(1, verification.MAX_TEXT))


def found(key: str) -> Organization:
    """The organisation of a public id, read under platform scope. Raises NOT_FOUND."""
    with acting(db.session(), scope="platform"):
        row = db.session.get(Organization, lifecycle.locate(db.session(), parse_id(key)))
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def platform_view(row: Organization) -> dict[str, Any]:
    """An organisation as staff see it."""
    waived = row.domain_cap_waived_at
    return {
        **organization_view(row),
        "stage": verification.stage(row),
        "domain_cap_waived_at": waived.isoformat() if waived else None,
        "deleted_at": row.deleted_at.isoformat() if row.deleted_at else None,
    }


class PlatformOrganizationsApi(Api):
    """The verification queue and every organisation's life."""

    route_base = "/api/admin/organizations"
    resource_name = "admin-organizations"
    openapi_spec_tag = "Platform"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @platform("verification-queue", "read")
    def list(self) -> Any:
        """Organisations of the platform
        ---
        get:
          summary: Organisations, oldest first; status filters
          parameters:
          - {in: query, name: status, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: organizations and next_cursor
        """
        cursor, limit = page_args()
        statement = select(Organization).order_by(Organization.id).limit(limit + 1)
        if request.args.get("status"):
            if request.args["status"] not in set(OrgStatus):
                raise Invalid({"status": [f"Choose one of {', '.join(OrgStatus)}."]})
            statement = statement.where(Organization.status == request.args["status"])
        if cursor is not None:
            statement = statement.where(Organization.id > cursor_key(cursor))
        with acting(db.session(), scope="platform"):
            rows = db.session.scalars(statement).all()
        more = rows[limit - 1].id if len(rows) > limit else None
        return ok(
            {
                "organizations": [platform_view(row) for row in rows[:limit]],
                "next_cursor": cursor_of({"id": more}) if more else None,
            }
        )

    @expose("/queue", methods=["GET"])
    @platform("verification-queue", "read")
    def queue(self) -> Any:
        """The verification queue
        ---
        get:
          summary: Who waits for verification, longest first; tab waiting, info, rejected, active, suspended, deactivated or all
          parameters:
          - {in: query, name: tab, schema: {type: string}}
          - {in: query, name: q, schema: {type: string}}
          - {in: query, name: page, schema: {type: integer, minimum: 1}}
          responses:
            200:
              description: counts by tab, and organizations with founder, members, domain and since
        """
        tab = request.args.get("tab", "waiting")
        if tab not in verification_queue.TABS:
            raise Invalid({"tab": [f"Choose one of {', '.join(verification_queue.TABS)}."]})
        page = number_arg("page", 1, 10_000)
        rows = verification_queue.listed(
            db.session(), tab, request.args.get("q", ""), skip=verification_queue.PAGE * (page - 1)
        )
        return ok(
            {
                "counts": verification_queue.counts(db.session()),
                "organizations": [
                    {
                        **platform_view(line.organization),
                        "founder": line.founder.email if line.founder else None,
                        "members": line.members,
                        "domain": line.domain,
                        "since": line.since.isoformat(),
                    }
                    for line in rows
                ],
            }
        )

    @expose("/<key>", methods=["GET"])
    @platform("verification-queue", "read")
    def show(self, key: str) -> Any:
        """One organisation
        ---
        get:
          summary: Facts, what to check before it is verified, and its owners
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: organization, checks, owners
            404:
              description: NOT_FOUND
        """
        row = found(key)
        checks, owners = verification_checks.checks(db.session(), row)
        return ok(
            {
                "organization": platform_view(row),
                "checks": verification_checks.view(checks),
                "owners": [
                    {"name": o.name, "email": o.email, "email_verified": o.email_verified, "owns": o.owns}
                    for o in owners
                ],
            }
        )

    @expose("/<key>/verify", methods=["POST"])
    @platform("verification-queue", "write")
    def verify(self, key: str) -> Any:
        """Decide
        ---
        post:
          summary: VERIFY, REJECT, SUSPEND, REACTIVATE or DEACTIVATE an organisation
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [action]
                  properties:
                    action: {type: string, enum: [VERIFY, REJECT, SUSPEND, REACTIVATE, DEACTIVATE]}
                    reason: {type: string}
          responses:
            200:
              description: organization
            400:
              description: VALIDATION_FAILED
            409:
              description: ILLEGAL_TRANSITION
        """
        body = payload(DecisionSchema)
        row = lifecycle.decide(db.session(), found(key).id, body["action"], body["reason"] or "")
        return ok({"organization": platform_view(row)})

    @expose("/<key>/verification", methods=["GET"])
    @platform("verification-queue", "read")
    def thread(self, key: str) -> Any:
        """The conversation
        ---
        get:
          summary: What the platform and the organisation said to each other about the verification
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: verification, with the names of staff
        """
        return self._conversation(found(key))

    @expose("/<key>/information-requests", methods=["POST"])
    @platform("verification-queue", "ask")
    def ask(self, key: str) -> Any:
        """Ask for information
        ---
        post:
          summary: Ask its owners and maintainers; it leaves the waiting queue until they answer
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [message]
                  properties:
                    message: {type: string, maxLength: 2000}
          responses:
            201:
              description: verification
            409:
              description: ILLEGAL_TRANSITION (not pending, or rejected)
        """
        return self._conversation(
            verification.ask(db.session(), found(key).id, payload(QuestionSchema)["message"]), 201
        )

    @expose("/<key>/domain-cap-waiver", methods=["POST"])
    @platform("verification-queue", "write")
    def waive(self, key: str) -> Any:
        """Waive the growth cap
        ---
        post:
          summary: Let it grow past five people without a verified domain
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [reason]
                  properties:
                    reason: {type: string, maxLength: 2000}
          responses:
            200:
              description: organization
            409:
              description: ILLEGAL_TRANSITION (waived already)
        """
        row = waivers.waive(db.session(), found(key).id, payload(ReasonSchema)["reason"])
        return ok({"organization": platform_view(row)})

    @expose("/<key>/domain-cap-waiver", methods=["DELETE"])
    @platform("verification-queue", "write")
    def restore(self, key: str) -> Any:
        """Put the growth cap back
        ---
        delete:
          summary: Undo the waiver; people who are there stay
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [reason]
                  properties:
                    reason: {type: string, maxLength: 2000}
          responses:
            200:
              description: organization
            409:
              description: ILLEGAL_TRANSITION (not waived)
        """
        row = waivers.restore(db.session(), found(key).id, payload(ReasonSchema)["reason"])
        return ok({"organization": platform_view(row)})

    def _conversation(self, row: Organization, status: int = 200) -> Any:
        with acting(db.session(), scope="platform"):
            entries = verification.thread(db.session(), row.id)
        view = verification_view(row, entries)
        view["messages"] = [message_view(entry, outside=False) for entry in entries]
        return ok({"verification": view}, status)


class IsolationApi(Api):
    """Proof that tenants are kept apart; ADMIN only."""

    route_base = "/api/admin/isolation-check"
    resource_name = "admin-isolation"
    openapi_spec_tag = "Platform"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @platform("system-events", "read")
    def show(self) -> Any:
        """Isolation check
        ---
        get:
          summary: Protected tables, tables without a forced policy, private rows visible to nobody in particular
          responses:
            200:
              description: tables, missing_policies, unset_context_rows
            403:
              description: INSUFFICIENT_ROLE
        """
        return ok(isolation.check(db.session()))
