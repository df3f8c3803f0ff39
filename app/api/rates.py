"""REST of rate cards (chapter 2, 2.10)."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.errors import Invalid
from app.extensions import db
from app.models import Plan, PlanType, RateCard
from app.services import rates

from .base import plain
from .contracts import page_of
from .http import Api, gate, ok, payload

BPS = validate.Range(0, rates.WHOLE)


class RateCardBody(Schema):
    platform_bps = fields.Integer(required=True, strict=True, validate=BPS)
    org_bps = fields.Integer(required=True, strict=True, validate=BPS)
    consultant_bps = fields.Integer(required=True, strict=True, validate=BPS)
    plan_type = fields.Enum(PlanType, by_value=True, load_default=None, allow_none=True)
    plan_id = fields.UUID(load_default=None, allow_none=True)


def rate_card_json(row: RateCard, plan: Plan | None = None) -> dict[str, Any]:
    """A card as the API shows it; shares in basis points."""
    return {
        "id": str(row.public_id),
        "platform_bps": row.platform_bps,
        "org_bps": row.org_bps,
        "consultant_bps": row.consultant_bps,
        "plan_type": row.plan_type.value if row.plan_type else None,
        "plan_id": str(plan.public_id) if plan else None,
        "effective_from": plain(row.effective_from),
        "effective_to": plain(row.effective_to),
    }


class RateCardsApi(Api):
    """How the prices of a host's sessions are shared."""

    route_base = "/api/organizations/<org_id>/rate-cards"
    resource_name = "rate_cards"
    openapi_spec_tag = "Billing"

    @expose("", methods=["GET"])
    @gate("rate-cards", "read", host=True)
    def get_list(self) -> Any:
        """Rate cards
        ---
        get:
          summary: Rate cards, newest first, closed ones included
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result and next_cursor
            409:
              description: HOST_CAPABILITY_REQUIRED
        """
        plans = {p.id: p for p in db.session.scalars(select(Plan))}
        return page_of(
            select(RateCard),
            RateCard,
            lambda r: rate_card_json(r, plans.get(r.plan_id) if r.plan_id else None),
        )

    @expose("", methods=["POST"])
    @gate("rate-cards", "write", active=True, host=True)
    def post(self) -> Any:
        """Put a rate card in force
        ---
        post:
          summary: A card from now on; the one it replaces is closed, bookings made keep their shares
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [platform_bps, org_bps, consultant_bps]
                  properties:
                    platform_bps: {type: integer, minimum: 1000}
                    org_bps: {type: integer}
                    consultant_bps: {type: integer}
                    plan_type: {type: string, enum: [CONSULTATION, SUBSCRIPTION, WEBINAR, CLASS]}
                    plan_id: {type: string, format: uuid}
          responses:
            201:
              description: rate_card
            400:
              description: VALIDATION_FAILED, RATE_CARD_BPS_SUM, RATE_CARD_PLATFORM_MINIMUM
            403:
              description: BILLING_ADMIN_OR_OWNER_REQUIRED
        """
        body = payload(RateCardBody)
        plan = None
        if body["plan_id"] is not None:
            plan = db.session.scalars(select(Plan).where(Plan.public_id == body["plan_id"])).one_or_none()
            if plan is None:
                raise Invalid({"plan_id": ["No plan of this organisation."]})
        row = rates.put(
            db.session(),
            rates.Shares(body["platform_bps"], body["org_bps"], body["consultant_bps"]),
            plan_type=body["plan_type"],
            plan_id=plan.id if plan else None,
        )
        return ok({"rate_card": rate_card_json(row, plan)}, 201)


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(RateCardsApi)
