"""Sessions over REST: a bearer token for scripts, and who am I."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, g, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.security import limits, sessions
from app.services import images, users

from .http import Api, ok, payload, public, signed_in


class LoginSchema(Schema):
    username = fields.String(required=True, validate=validate.Length(1, 320))
    password = fields.String(required=True, validate=validate.Length(1, 200))
    provider = fields.String(load_default="db", validate=validate.OneOf(["db"]))
    refresh = fields.Boolean(load_default=False)


class SessionApi(Api):
    """``POST /api/v1/security/login`` keeps Flask-AppBuilder's address and shape; the token is a revocable session."""

    route_base = "/api/v1/security"
    resource_name = "security"
    openapi_spec_tag = "Session"

    @expose("/login", methods=["POST"])
    @public
    def login(self) -> Any:
        """Get a bearer token
        ---
        post:
          summary: Get a bearer token for scripts; send it as Authorization, Bearer
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [username, password]
                  properties:
                    username: {type: string}
                    password: {type: string}
          responses:
            200:
              description: access_token
            401:
              description: INVALID_CREDENTIALS
            429:
              description: RATE_LIMITED
        """
        limits.hit("auth", limits.client_ip())
        body = payload(LoginSchema)
        user = users.authenticate(db.session(), body["username"], body["password"])
        raw = sessions.start(
            db.session(),
            user,
            current_app.config["SETTINGS"],
            method="bearer",
            ip=limits.client_ip(),
            user_agent=request.user_agent.string,
        )
        return ok({"access_token": raw})

    @expose("/logout", methods=["POST"])
    @signed_in
    def logout(self) -> Any:
        """Revoke the token
        ---
        post:
          summary: Revoke the token of this request
          responses:
            204:
              description: Revoked
        """
        sessions.end(db.session(), request.headers.get("Authorization", "").partition(" ")[2].strip())
        return ok(status=204)

    @expose("/me", methods=["GET"])
    @signed_in
    def me(self) -> Any:
        """Who am I
        ---
        get:
          summary: The signed-in person and their memberships
          responses:
            200:
              description: Person and memberships
            401:
              description: UNAUTHENTICATED
        """
        user = g.identity.user
        return ok(
            {
                "id": user.public_id,
                "email": user.email,
                "name": user.name,
                "platform_role": user.platform_role,
                "timezone": user.timezone,
                "session_generation": users.generation(db.session(), user.id),
                "memberships": [
                    {
                        "id": m["public_id"],
                        "name": m["name"],
                        "slug": m["slug"],
                        "logo": images.address(m["logo"]),
                        "role": m["role"],
                        "status": m["membership_status"],
                        "department_label": m["department_label"],
                        "can_sponsor": m["can_sponsor"],
                        "can_host": m["can_host"],
                        "funding_source": m["funding_source"],
                        "wallet_balance_paise": m["wallet_balance_paise"],
                    }
                    for m in g.memberships
                ],
            }
        )


def register(app: Flask, appbuilder: Any) -> None:
    """Registered by the security manager, which Flask-AppBuilder asks for the sign-in resource."""
