"""Requests with approval over REST (chapter 1, "Beyond the original" 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Flask, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from app.errors import Invalid
from app.extensions import db
from app.models import MemberRequest, Membership, PayoutRecipient, Program, RequestKind, RequestStatus
from app.security import matrix
from app.security.context import ctx
from app.services import member_requests

from .http import Api, cursor_key, cursor_of, find, gate, ok, page_args, payload

_NOTE = validate.Length(max=member_requests.MAX_NOTE)


class AskSchema(Schema):
    kind = fields.Enum(RequestKind, required=True, by_value=True)
    program_id = fields.UUID()
    payout_recipient = fields.Enum(PayoutRecipient, by_value=True)
    seats = fields.Integer(strict=True, validate=validate.Range(1, member_requests.MAX_SEATS))
    note = fields.String(load_default="", validate=_NOTE)


class DecisionSchema(Schema):
    note = fields.String(load_default="", validate=_NOTE)


NEEDS = {
    RequestKind.PROGRAM_PLACE: "program_id",
    RequestKind.PAYOUT_ROUTING: "payout_recipient",
    RequestKind.SEATS: "seats",
}


def request_views(rows: Sequence[MemberRequest]) -> list[dict[str, Any]]:
    """Requests as REST shows them, with what they ask for in words."""
    wishes = member_requests.wishes(db.session(), rows)
    programs = {
        i: str(p)
        for i, p in db.session.execute(
            select(Program.id, Program.public_id).where(Program.id.in_({r.program_id for r in rows} - {None}))
        )
    }
    people = {
        m.id: m
        for m in db.session.scalars(
            select(Membership)
            .where(Membership.id.in_({r.membership_id for r in rows}))
            .options(joinedload(Membership.user))
        )
    }
    return [
        {
            "id": str(r.public_id),
            "kind": str(r.kind),
            "status": str(r.status),
            "wish": wishes[r.id],
            "member": {
                "id": str(people[r.membership_id].public_id),
                "name": people[r.membership_id].user.name,
                "role": str(people[r.membership_id].role),
            },
            "program_id": programs.get(r.program_id or -1),
            "payout_recipient": str(r.payout_recipient) if r.payout_recipient else None,
            "seats": r.seats,
            "note": r.note,
            "created_at": r.created_at.isoformat(),
            "decided_at": r.decided_at.isoformat() if r.decided_at else None,
            "decision_note": r.decision_note,
        }
        for r in rows
    ]


def one(row: MemberRequest) -> dict[str, Any]:
    return {"request": request_views([row])[0]}


class RequestsApi(Api):
    """What members ask for and operators decide."""

    route_base = "/api/organizations/<org_id>/requests"
    resource_name = "requests"
    openapi_spec_tag = "People"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("own-requests", "read")
    def list(self) -> Any:
        """Requests
        ---
        get:
          summary: Requests, newest first; operators see all of the organisation, others their own
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: status, schema: {type: string}}
          - {in: query, name: kind, schema: {type: string}}
          - {in: query, name: mine, schema: {type: boolean}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: requests and next_cursor
        """
        cursor, limit = page_args()
        statement = select(MemberRequest).order_by(MemberRequest.id.desc()).limit(limit + 1)
        mine = request.args.get("mine", "").lower() in ("1", "true")
        if mine or not matrix.can("read", "requests"):
            statement = statement.where(MemberRequest.membership_id == (ctx().membership_id or -1))
        for name, kind in (("status", RequestStatus), ("kind", RequestKind)):
            if value := request.args.get(name):
                if value not in set(kind):
                    raise Invalid({name: [f"Choose one of {', '.join(kind)}."]})
                statement = statement.where(getattr(MemberRequest, name) == value)
        if cursor is not None:
            statement = statement.where(MemberRequest.id < cursor_key(cursor))
        rows = db.session.scalars(statement).all()
        more = cursor_of({"id": rows[limit - 1].id}) if len(rows) > limit else None
        return ok({"requests": request_views(rows[:limit]), "next_cursor": more})

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @gate("own-requests", "write")
    def ask(self) -> Any:
        """Ask
        ---
        post:
          summary: A learner asks for a place in a program, an expert for another routing, an operator for seats
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [kind]
                  properties:
                    kind: {type: string}
                    program_id: {type: string}
                    payout_recipient: {type: string}
                    seats: {type: integer, minimum: 1}
                    note: {type: string, maxLength: 1000}
          responses:
            201:
              description: request
            403:
              description: INSUFFICIENT_ROLE, only this kind's role asks
            409:
              description: REQUEST_ALREADY_PENDING, ILLEGAL_TRANSITION
        """
        body, session = payload(AskSchema), db.session()
        kind: RequestKind = body["kind"]
        given = {name for name in NEEDS.values() if name in body}
        if given != {NEEDS[kind]}:
            raise Invalid({NEEDS[kind]: [f"A request of this kind carries {NEEDS[kind]} and nothing else."]})
        if kind == RequestKind.PROGRAM_PLACE:
            row = member_requests.ask_place(session, find(Program, body["program_id"]), body["note"])
        elif kind == RequestKind.PAYOUT_ROUTING:
            row = member_requests.ask_routing(session, body["payout_recipient"], body["note"])
        else:
            row = member_requests.ask_seats(session, body["seats"], body["note"])
        return ok(one(row), 201)

    @expose("/<key>/cancel", methods=["POST"])
    @gate("own-requests", "write")
    def cancel(self, key: str) -> Any:
        """Withdraw
        ---
        post:
          summary: Take back one's own request while it is open
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: request
            409:
              description: REQUEST_NOT_PENDING
        """
        return ok(one(member_requests.cancel(db.session(), find(MemberRequest, key))))

    @expose("/<key>/approve", methods=["POST"])
    @gate("requests", "decide")
    def approve(self, key: str) -> Any:
        """Approve
        ---
        post:
          summary: Say yes and make the change; more seats need an owner
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: request
            403:
              description: OWNER_REQUIRED
            409:
              description: REQUEST_NOT_PENDING, MEMBERSHIP_NOT_ACTIVE, CONTRACT_NOT_ACTIVE
        """
        row = find(MemberRequest, key)
        return ok(one(member_requests.approve(db.session(), row, payload(DecisionSchema)["note"])))

    @expose("/<key>/decline", methods=["POST"])
    @gate("requests", "decide")
    def decline(self, key: str) -> Any:
        """Decline
        ---
        post:
          summary: Say no; the note says why
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: request
            409:
              description: REQUEST_NOT_PENDING
        """
        row = find(MemberRequest, key)
        return ok(one(member_requests.decline(db.session(), row, payload(DecisionSchema)["note"])))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(RequestsApi)
