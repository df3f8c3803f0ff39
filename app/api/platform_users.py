"""Accounts over REST for the platform's own people (chapter 1, 1.1; ``/api/admin``)."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import PlatformRole, User
from app.security import confirm
from app.services import platform_users

from .http import Api, cursor_key, cursor_of, ok, page_args, parse_id, payload, platform


class RoleSchema(Schema):
    platform_role = fields.String(
        required=True, allow_none=True, validate=validate.OneOf([r.value for r in platform_users.HOUSE])
    )


def user_view(row: User) -> dict[str, Any]:
    """An account as staff read it."""
    return {
        "id": str(row.public_id),
        "email": row.email,
        "name": row.name,
        "platform_role": str(row.platform_role),
        "active": bool(row.active),
        "email_verified": row.email_verified_at is not None,
        "onboarding_completed": row.onboarding_completed,
        "erased": row.erased_at is not None,
    }


def found(key: str) -> User:
    """The account of this public id. Raises USER_NOT_FOUND."""
    try:
        return platform_users.found(db.session(), parse_id(key))
    except DomainError as error:
        raise DomainError("USER_NOT_FOUND", message="There is no such account.") from error


class PlatformUsersApi(Api):
    """Who has an account, who is of the platform's team."""

    route_base = "/api/admin/users"
    resource_name = "admin-users"
    openapi_spec_tag = "Platform"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @platform("users", "read")
    def list(self) -> Any:
        """Accounts
        ---
        get:
          summary: Accounts, newest first
          parameters:
          - {in: query, name: tab, schema: {type: string, enum: [all, team, experts, inactive]}}
          - {in: query, name: q, schema: {type: string}, description: part of an address, or how a name begins}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: users and next_cursor
            403:
              description: INSUFFICIENT_ROLE
        """
        cursor, limit = page_args()
        tab = request.args.get("tab", "all")
        if tab not in platform_users.TABS:
            raise Invalid({"tab": [f"Choose one of {', '.join(platform_users.TABS)}."]})
        rows = platform_users.listed(
            db.session(),
            tab,
            request.args.get("q", "").replace("\x00", ""),
            limit=limit + 1,
            before=cursor_key(cursor) if cursor is not None else None,
        )
        more = cursor_of({"id": rows[limit - 1].id}) if len(rows) > limit else None
        return ok({"users": [user_view(row) for row in rows[:limit]], "next_cursor": more})

    @expose("/<key>", methods=["GET"])
    @platform("users", "read")
    def one(self, key: str) -> Any:
        """One account
        ---
        get:
          summary: An account with its memberships
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: user, memberships and how many sessions are open
            404:
              description: USER_NOT_FOUND
        """
        known = platform_users.account(db.session(), found(key))
        return ok(
            {
                "user": user_view(known.user),
                "sessions": known.sessions,
                "memberships": [
                    {
                        "organization": o.slug,
                        "role": str(m.role),
                        "status": str(m.status),
                        "department_label": m.department_label,
                    }
                    for m, o in known.memberships
                ],
            }
        )

    @expose("/<key>/platform-role", methods=["PUT"])
    @platform("users", "write")
    def role(self, key: str) -> Any:
        """Grant or take a platform role
        ---
        put:
          summary: Make somebody ADMIN or STAFF, or neither (null); the session must be confirmed within ten minutes
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [platform_role]
                  properties:
                    platform_role: {type: string, nullable: true, enum: [ADMIN, STAFF]}
          responses:
            200:
              description: user
            403:
              description: INSUFFICIENT_ROLE, SELF_CHANGE, CONFIRMATION_REQUIRED
            410:
              description: USER_ERASED
        """
        wanted = payload(RoleSchema)["platform_role"]
        confirm.require()
        row = platform_users.set_platform_role(
            db.session(), found(key), PlatformRole(wanted) if wanted else None
        )
        return ok({"user": user_view(row)})

    @expose("/<key>/deactivate", methods=["POST"])
    @platform("users", "write")
    def deactivate(self, key: str) -> Any:
        """Switch an account off
        ---
        post:
          summary: Nobody signs in with it any more; every session ends at once
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: user
            403:
              description: INSUFFICIENT_ROLE, SELF_CHANGE
        """
        return ok({"user": user_view(platform_users.set_active(db.session(), found(key), False))})

    @expose("/<key>/reactivate", methods=["POST"])
    @platform("users", "write")
    def reactivate(self, key: str) -> Any:
        """Switch an account on
        ---
        post:
          summary: Its person may sign in again
          parameters:
          - {in: path, name: key, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: user
            403:
              description: INSUFFICIENT_ROLE, SELF_CHANGE
        """
        return ok({"user": user_view(platform_users.set_active(db.session(), found(key), True))})


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(PlatformUsersApi)
