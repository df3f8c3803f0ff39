"""REST of chats: the caller's channels and messages, and an organisation's own channels (chapter 1, 1.6)."""

from __future__ import annotations

from typing import Any

from flask import Flask, g
from flask_appbuilder.api import expose
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.extensions import db
from app.models import ChatChannel, ChatMessage
from app.security import limits
from app.security.context import ctx
from app.services import chats, scopes

from .base import plain
from .http import (
    Api,
    cursor_key,
    cursor_moment,
    cursor_of,
    gate,
    ok,
    page_args,
    parse_id,
    payload,
    scope,
    signed_in,
)


class OpenBody(Schema):
    """Exactly one of appointment, plan and the address of a person; the organisation is explicit where given."""

    appointment_id = fields.UUID(load_default=None)
    plan_id = fields.UUID(load_default=None)
    email = fields.String(load_default=None, validate=validate.Length(3, 320))
    organization_id = fields.String(load_default=None, validate=validate.Length(1, 80))

    @validates_schema
    def one_subject(self, data: dict[str, Any], **_: Any) -> None:
        if sum(data.get(k) is not None for k in ("appointment_id", "plan_id", "email")) != 1:
            raise ValidationError("Name one of appointment_id, plan_id and email.", "body")
        if data.get("email") and data.get("organization_id"):
            raise ValidationError("A direct conversation carries no organisation.", "organization_id")


class MessageBody(Schema):
    body = fields.String(required=True, validate=validate.Length(max=chats.MAX_BODY + 200))


class OrgChannelBody(Schema):
    title = fields.String(required=True, validate=validate.Length(2, 100))
    department = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=100))


def message_json(row: ChatMessage) -> dict[str, Any]:
    """A message as the channel's members read it."""
    return {
        "id": str(row.public_id),
        "body": row.body,
        "author": {"name": row.author.name, "me": row.author_user_id == ctx().user_id}
        if row.author
        else None,
        "created_at": plain(row.created_at),
    }


def channels_json(rows: list[ChatChannel], *, talk: bool = True) -> list[dict[str, Any]]:
    """Channels with members and, for those who are in them, the last message; three statements however many."""
    last = chats.latest(db.session(), rows) if talk and rows else {}
    people = chats.people(db.session(), rows)
    own = {m["organization_id"]: m for m in g.memberships}
    out = []
    for row in rows:
        org = own.get(row.organization_id) if row.organization_id else None
        newest = last.get(row.id)
        out.append(
            {
                "id": str(row.public_id),
                "kind": row.kind.value,
                "title": row.title,
                "organization": {"id": org["public_id"], "name": org["name"]} if org else None,
                "tagged": row.organization_id is not None,
                "members": [
                    {"name": people[i].name, "me": i == ctx().user_id}
                    for i in row.member_user_ids[:20]
                    if i in people
                ],
                "member_count": len(row.member_user_ids),
                "unread": chats.unread(row, newest),
                "last_message": message_json(newest) if newest else None,
                "last_message_at": plain(row.last_message_at),
            }
        )
    return out


def opened(body: dict[str, Any]) -> ChatChannel:
    """The channel that *body* (by OpenBody) asks for; REST and the page share this."""
    limits.hit("chat-open", str(ctx().user_id))
    session = db.session()
    if body["email"] is not None:
        return chats.direct(session, body["email"], g.memberships)
    explicit = body["organization_id"]
    within = scopes.parse(f"org:{explicit}", g.memberships).organization_id if explicit else None
    if body["appointment_id"] is not None:
        return chats.for_appointment(session, body["appointment_id"], organization_id=within)
    return chats.for_plan(session, body["plan_id"], organization_id=within)


class ChatApi(Api):
    """The caller's channels."""

    route_base = "/api/chat/channels"
    resource_name = "chat_channels"
    openapi_spec_tag = "Chats"

    @expose("", methods=["GET"])
    @signed_in
    def get_list(self) -> Any:
        """The caller's channels
        ---
        get:
          summary: Channels of the caller in a scope, latest message first
          parameters:
          - {in: query, name: org_scope, schema: {type: string}, description: "personal (default), org:<id> or all (ADMIN: without messages)"}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result and next_cursor
            400:
              description: INVALID_SCOPE
            403:
              description: ORG_MEMBERSHIP_REQUIRED, ALL_REQUIRES_PRIVILEGED_ROLE
        """
        within = scope()
        cursor, limit = page_args()
        after = cursor_moment(cursor) if cursor is not None else None
        rows = chats.listed(db.session(), within, limit=limit + 1, after=after)
        more = None
        if len(rows) > limit:
            more = cursor_of({"at": rows[limit - 1].last_message_at.isoformat(), "n": rows[limit - 1].id})
        return ok({"result": channels_json(rows[:limit], talk=not within.everybody), "next_cursor": more})

    @expose("", methods=["POST"])
    @signed_in
    def post(self) -> Any:
        """Open a channel
        ---
        post:
          summary: Open the channel of an appointment or a plan, or a direct conversation; an existing one is answered
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    appointment_id: {type: string, format: uuid}
                    plan_id: {type: string, format: uuid}
                    email: {type: string, description: somebody the caller works with}
                    organization_id: {type: string, description: public id or slug; explicit tag of the channel}
          responses:
            200:
              description: The channel
            403:
              description: ORG_MEMBERSHIP_REQUIRED
            404:
              description: NOT_FOUND, USER_NOT_FOUND
            429:
              description: RATE_LIMITED
        """
        return ok(channels_json([opened(payload(OpenBody))])[0])

    @expose("/<public_id>", methods=["GET"])
    @signed_in
    def get(self, public_id: str) -> Any:
        """A channel
        ---
        get:
          summary: A channel the caller is in
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The channel
            404:
              description: NOT_FOUND
        """
        return ok(channels_json([chats.one(db.session(), parse_id(public_id))])[0])

    @expose("/<public_id>/messages", methods=["GET"])
    @signed_in
    def messages(self, public_id: str) -> Any:
        """Messages
        ---
        get:
          summary: Messages of a channel, latest first
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result and next_cursor
            404:
              description: NOT_FOUND
        """
        channel = chats.one(db.session(), parse_id(public_id))
        cursor, limit = page_args(50)
        before = cursor_key(cursor) if cursor is not None else None
        rows = chats.messages(db.session(), channel, before=before, limit=limit + 1)
        if rows and before is None:
            chats.mark_read(db.session(), channel, rows[0].id)
        more = cursor_of({"id": rows[limit - 1].id}) if len(rows) > limit else None
        return ok({"result": [message_json(r) for r in rows[:limit]], "next_cursor": more})

    @expose("/<public_id>/messages", methods=["POST"])
    @signed_in
    def write(self, public_id: str) -> Any:
        """Write
        ---
        post:
          summary: Write a message into a channel
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [body]
                  properties:
                    body: {type: string, maxLength: 5000}
          responses:
            201:
              description: The message
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
            409:
              description: CHAT_CLOSED, ORG_NOT_ACTIVE
            429:
              description: RATE_LIMITED
        """
        channel = chats.one(db.session(), parse_id(public_id))
        body = payload(MessageBody)["body"]
        limits.hit("chat-message", str(ctx().user_id))
        row = chats.post(db.session(), channel, body)
        db.session.refresh(row, ["author"])
        return ok(message_json(row), 201)


class OrgChannelApi(Api):
    """Channels an organisation opens for its members."""

    route_base = "/api/organizations/<org_id>/chat/channels"
    resource_name = "org_chat_channels"
    openapi_spec_tag = "Chats"

    @expose("", methods=["POST"])
    @gate("channels", "write", active=True)
    def post(self) -> Any:
        """Open a channel of the organisation
        ---
        post:
          summary: Open a channel for the active members, or one department; the same title again brings newcomers in
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [title]
                  properties:
                    title: {type: string, maxLength: 100}
                    department: {type: string, maxLength: 100}
          responses:
            200:
              description: The channel
            403:
              description: INSUFFICIENT_ROLE
        """
        body = payload(OrgChannelBody)
        limits.hit("chat-open", str(ctx().user_id))
        row = chats.for_organization(db.session(), body["title"], department=body["department"])
        return ok(channels_json([row])[0])


def register(app: Flask, appbuilder: Any) -> None:
    """Register the domain's resources."""
    for api in (ChatApi, OrgChannelApi):
        appbuilder.add_api(api)
