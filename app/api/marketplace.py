"""REST of an expert's and a host's side: plans, events, hours, discount codes, cancellation terms."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Flask
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app import clock
from app.errors import DomainError
from app.extensions import db
from app.models import CreditKind, DiscountCode, DiscountKind, PlanType, Visibility
from app.services import (
    availability,
    cancellation_policies,
    discounts,
    events,
    owners,
    plans,
    referrals,
)
from app.services.availability import Hours

from .base import plain
from .catalogue import plan_json
from .checkout import sensible
from .http import Api, find, gate, idempotent, ok, parse_id, payload, platform, scope, signed_in

BIG = 2**31 - 1


class ShareBody(Schema):
    expert_id = fields.UUID(required=True)
    revenue_share_bps = fields.Integer(required=True, strict=True, validate=validate.Range(1, 9_999))


class PlanBody(Schema):
    title = fields.String(required=True, validate=validate.Length(3, 200))
    price_paise = fields.Integer(
        required=True, strict=True, validate=validate.Range(0, plans.MAX_PRICE_PAISE)
    )
    description = fields.String(load_default="", validate=validate.Length(max=5000))
    category = fields.String(load_default="General", validate=validate.Length(max=120))
    tax_bps = fields.Integer(load_default=1800, strict=True, validate=validate.Range(0, 10_000))
    duration_minutes = fields.Integer(load_default=60, strict=True, validate=validate.Range(5, 1440))
    visibility = fields.Enum(Visibility, load_default=Visibility.PUBLIC)
    type = fields.Enum(PlanType, load_default=PlanType.CONSULTATION)
    total_sessions = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(1, 500)
    )
    sessions_per_week = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(1, 21)
    )
    max_participants = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(1, 100_000)
    )
    trial_price_paise = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(0, plans.MAX_PRICE_PAISE)
    )
    trial_minutes = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(5, 240)
    )
    collaborators = fields.List(fields.Nested(ShareBody), load_default=[], validate=validate.Length(max=10))


class OrgPlanBody(PlanBody):
    expert_id = fields.UUID(load_default=None, allow_none=True)


class EventBody(Schema):
    starts = fields.List(
        fields.AwareDateTime(validate=sensible), required=True, validate=validate.Length(1, 200)
    )
    capacity = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(1, 100_000)
    )


class ReasonBody(Schema):
    reason = fields.String(load_default="", validate=validate.Length(max=300))


class StretchBody(Schema):
    starts = fields.Time(required=True)
    ends = fields.Time(required=True)


class WindowBody(StretchBody):
    weekday = fields.Integer(required=True, strict=True, validate=validate.Range(0, 6))


class WeekBody(Schema):
    zone = fields.String(required=True, validate=validate.Length(max=64))
    windows = fields.List(fields.Nested(WindowBody), required=True, validate=validate.Length(max=56))


class DatesBody(Schema):
    zone = fields.String(required=True, validate=validate.Length(max=64))
    first = fields.Date(required=True)
    last = fields.Date(load_default=None, allow_none=True)
    hours = fields.List(fields.Nested(StretchBody), load_default=[], validate=validate.Length(max=8))


class DiscountBody(Schema):
    code = fields.String(required=True, validate=validate.Length(3, 32))
    kind = fields.Enum(DiscountKind, required=True)
    value = fields.Integer(required=True, strict=True, validate=validate.Range(1, discounts.MAX_PAISE))
    most_paise = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(1, discounts.MAX_PAISE)
    )
    minimum_paise = fields.Integer(
        load_default=0, strict=True, validate=validate.Range(0, discounts.MAX_PAISE)
    )
    max_uses = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(1, 1_000_000)
    )
    per_person = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(1, 1_000)
    )
    plan_id = fields.UUID(load_default=None, allow_none=True)
    expires_at = fields.AwareDateTime(load_default=None, allow_none=True, validate=sensible)


class DiscountChange(Schema):
    """Limits to change; those that are not named stay."""

    most_paise = fields.Integer(allow_none=True, strict=True, validate=validate.Range(1, discounts.MAX_PAISE))
    minimum_paise = fields.Integer(strict=True, validate=validate.Range(0, discounts.MAX_PAISE))
    max_uses = fields.Integer(allow_none=True, strict=True, validate=validate.Range(1, 1_000_000))
    per_person = fields.Integer(allow_none=True, strict=True, validate=validate.Range(1, 1_000))
    expires_at = fields.AwareDateTime(allow_none=True, validate=sensible)


class TierBody(Schema):
    hours = fields.Integer(required=True, strict=True, validate=validate.Range(0, 10_000))
    refund_bps = fields.Integer(required=True, strict=True, validate=validate.Range(0, 10_000))


class PolicyBody(Schema):
    tiers = fields.List(fields.Nested(TierBody), required=True, validate=validate.Length(1, 20))
    note = fields.String(load_default="", validate=validate.Length(max=2000))


class CreditBody(Schema):
    user_id = fields.UUID(required=True)
    kind = fields.Enum(CreditKind, required=True)
    amount_paise = fields.Integer(required=True, strict=True, validate=validate.Range(1, BIG))
    reason = fields.String(required=True, validate=validate.Length(1, 300))
    days = fields.Integer(load_default=180, allow_none=True, strict=True, validate=validate.Range(1, 1825))


def draft_of(body: dict[str, Any]) -> plans.Draft:
    """A validated body as the service takes it."""
    values = {k: v for k, v in body.items() if k not in ("collaborators", "expert_id")}
    shares = [(c["expert_id"], c["revenue_share_bps"]) for c in body["collaborators"]]
    return plans.Draft(**values, collaborators=shares)


def own_plan_json(row: Any) -> dict[str, Any]:
    """A plan as its owner sees it."""
    return {**plan_json(row), "active": row.active, "created_at": plain(row.created_at)}


def hours_of(rows: list[dict[str, Any]]) -> list[Hours]:
    return [Hours(r["starts"].replace(tzinfo=None), r["ends"].replace(tzinfo=None)) for r in rows]


class MyPlansApi(Api):
    """The plans an expert delivers."""

    route_base = "/api/my-plans"
    resource_name = "my_plans"
    openapi_spec_tag = "Offering"

    @expose("", methods=["GET"])
    @signed_in
    def get_list(self) -> Any:
        """The caller's plans
        ---
        get:
          summary: Plans the caller delivers, hosted and independent
          parameters:
          - {in: query, name: org_scope, schema: {type: string}, description: "personal (default), org:<id> or all (ADMIN)"}
          responses:
            200:
              description: result
            400:
              description: INVALID_SCOPE
            403:
              description: ORG_MEMBERSHIP_REQUIRED, ALL_REQUIRES_PRIVILEGED_ROLE
        """
        return ok({"result": [own_plan_json(p) for p in plans.mine(db.session(), scope())]})

    @expose("", methods=["POST"])
    @signed_in
    def post(self) -> Any:
        """Offer a plan of one's own
        ---
        post:
          summary: A plan of the calling expert on the open marketplace
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [title, price_paise]
                  properties:
                    title: {type: string}
                    price_paise: {type: integer}
                    type: {type: string, enum: [CONSULTATION, SUBSCRIPTION, WEBINAR, CLASS]}
                    total_sessions: {type: integer, description: of a subscription or class}
                    sessions_per_week: {type: integer, description: of a subscription; the most of a class}
                    max_participants: {type: integer, description: of a webinar or class}
                    trial_price_paise: {type: integer}
                    trial_minutes: {type: integer}
                    collaborators: {type: array, items: {type: object}, description: "expert_id and revenue_share_bps; the owner keeps the rest"}
          responses:
            201:
              description: The plan
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND, without an expert profile
        """
        row = plans.create(db.session(), draft_of(payload(PlanBody)))
        return ok(own_plan_json(owners.plan(db.session(), row.public_id)), 201)

    @expose("/<public_id>", methods=["PUT"])
    @signed_in
    def put(self, public_id: str) -> Any:
        """Change a plan of one's own
        ---
        put:
          summary: Change a plan on the open marketplace; bookings made stay as they are
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema: {type: object}
          responses:
            200:
              description: The plan
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
        """
        plan = _independent(public_id)
        plans.change(db.session(), plan, draft_of(payload(PlanBody)))
        return ok(own_plan_json(plan))

    @expose("/<public_id>/withdraw", methods=["POST"])
    @signed_in
    def withdraw(self, public_id: str) -> Any:
        """Take a plan off the catalogue
        ---
        post:
          summary: Take a plan of one's own off the catalogue
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The plan
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        plan = _independent(public_id)
        plans.set_active(db.session(), plan, False)
        return ok(own_plan_json(plan))

    @expose("/<public_id>/offer", methods=["POST"])
    @signed_in
    def offer(self, public_id: str) -> Any:
        """Put a plan back into the catalogue
        ---
        post:
          summary: Put a plan of one's own back into the catalogue
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The plan
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        plan = _independent(public_id)
        plans.set_active(db.session(), plan, True)
        return ok(own_plan_json(plan))

    @expose("/<public_id>/events", methods=["POST"])
    @signed_in
    def schedule(self, public_id: str) -> Any:
        """Schedule an event
        ---
        post:
          summary: Put a webinar, or a class with all its sessions, into the calendar of a plan the caller delivers
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [starts]
                  properties:
                    starts: {type: array, items: {type: string, format: date-time}}
                    capacity: {type: integer}
          responses:
            201:
              description: The event
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
            409:
              description: SLOT_TAKEN, EXPERT_NOT_BOOKABLE
        """
        return _schedule(owners.plan(db.session(), parse_id(public_id)))


def _independent(public_id: str) -> Any:
    """A plan of the caller's own; a hosted one is its host's to change. Raises NOT_FOUND."""
    plan = owners.plan(db.session(), parse_id(public_id))
    if plan.organization_id is not None:
        raise DomainError("NOT_FOUND")
    return plan


def _schedule(plan: Any) -> Any:
    body = payload(EventBody)
    made = events.schedule(db.session(), plan, body["starts"], body["capacity"])
    return ok(events.view(events.one(db.session(), made.public_id), 0), 201)


class OrgPlansApi(Api):
    """The plans of an organisation."""

    route_base = "/api/organizations/<org_id>/plans"
    resource_name = "org_plans"
    openapi_spec_tag = "Offering"

    @expose("", methods=["POST"])
    @gate("plans", "write", active=True)
    def post(self) -> Any:
        """Create a plan
        ---
        post:
          summary: A plan of the organisation, delivered by one of its experts
          requestBody:
            required: true
            content:
              application/json:
                schema: {type: object, required: [title, price_paise, expert_id]}
          responses:
            201:
              description: The plan
            400:
              description: VALIDATION_FAILED
            403:
              description: INSUFFICIENT_ROLE
            409:
              description: HOST_CAPABILITY_REQUIRED, ORG_NOT_ACTIVE
        """
        body = payload(OrgPlanBody)
        row = plans.create(db.session(), draft_of(body), body["expert_id"])
        return ok(own_plan_json(owners.plan(db.session(), row.public_id)), 201)

    @expose("/<public_id>", methods=["PUT"])
    @gate("plans", "write", active=True)
    def put(self, public_id: str) -> Any:
        """Change a plan
        ---
        put:
          summary: Change a plan of the organisation; bookings made stay as they are
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema: {type: object}
          responses:
            200:
              description: The plan
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
        """
        plan = owners.plan(db.session(), parse_id(public_id))
        plans.change(db.session(), plan, draft_of(payload(OrgPlanBody)))
        return ok(own_plan_json(plan))

    @expose("/<public_id>/events", methods=["POST"])
    @gate("plans", "write", active=True)
    def schedule(self, public_id: str) -> Any:
        """Schedule an event
        ---
        post:
          summary: Put a webinar, or a class with all its sessions, into the calendar
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema: {type: object, required: [starts]}
          responses:
            201:
              description: The event
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
            409:
              description: SLOT_TAKEN, EXPERT_NOT_BOOKABLE
        """
        return _schedule(owners.plan(db.session(), parse_id(public_id)))

    @expose("/events/<public_id>/cancel", methods=["POST"])
    @gate("plans", "write")
    def call_off(self, public_id: str) -> Any:
        """Call an event off
        ---
        post:
          summary: Cancel an event of the organisation; everybody registered is refunded in full
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    reason: {type: string}
          responses:
            200:
              description: The event
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        event = events.one(db.session(), parse_id(public_id))
        events.call_off(db.session(), event, payload(ReasonBody)["reason"])
        return ok(events.view(event, 0))


class AvailabilityApi(Api):
    """An expert's hours."""

    route_base = "/api/availability"
    resource_name = "availability"
    openapi_spec_tag = "Offering"

    @expose("", methods=["GET"])
    @signed_in
    def get(self) -> Any:
        """The caller's hours
        ---
        get:
          summary: Weekly windows and dates that differ, of the calling expert
          responses:
            200:
              description: windows, dates
            404:
              description: NOT_FOUND, without an expert profile
        """
        return ok(_hours())

    @expose("", methods=["PUT"])
    @signed_in
    def put(self) -> Any:
        """Set the weekly windows
        ---
        put:
          summary: Replace the weekly windows, local times of an IANA zone
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [zone, windows]
                  properties:
                    zone: {type: string}
                    windows: {type: array, items: {type: object}, description: "weekday (0 Monday), starts, ends"}
          responses:
            200:
              description: windows, dates
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
        """
        body = payload(WeekBody)
        week: dict[int, list[Hours]] = {}
        for w in body["windows"]:
            week.setdefault(w["weekday"], []).extend(hours_of([w]))
        availability.set_week(db.session(), week, body["zone"])
        return ok(_hours())

    @expose("/dates", methods=["PUT"])
    @signed_in
    def put_dates(self) -> Any:
        """Set dates that differ
        ---
        put:
          summary: Give dates hours of their own, none to close them
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [zone, first]
                  properties:
                    zone: {type: string}
                    first: {type: string, format: date}
                    last: {type: string, format: date}
                    hours: {type: array, items: {type: object}}
          responses:
            200:
              description: windows, dates
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
        """
        body = payload(DatesBody)
        availability.set_dates(
            db.session(), body["first"], body["last"] or body["first"], hours_of(body["hours"]), body["zone"]
        )
        return ok(_hours())

    @expose("/dates/<day>", methods=["DELETE"])
    @signed_in
    def delete_date(self, day: str) -> Any:
        """Let the weekly windows hold again
        ---
        delete:
          summary: Forget what differs on a date
          parameters:
          - {in: path, name: day, required: true, schema: {type: string, format: date}}
          responses:
            204:
              description: The weekly windows hold on that date
            404:
              description: NOT_FOUND
        """
        try:
            wanted = dt.date.fromisoformat(day)
        except ValueError:
            raise DomainError("NOT_FOUND") from None
        availability.clear_date(db.session(), wanted)
        return ok(status=204)


def _hours() -> dict[str, Any]:
    mine = availability.profile(db.session())
    now = clock.now()
    weekly = availability.windows(db.session(), [mine.id]).get(mine.id, [])
    dated = availability.overrides(db.session(), [mine.id], now, now + dt.timedelta(days=400)).get(
        mine.id, []
    )
    return {
        "windows": [
            {"weekday": w.weekday, "starts": f"{w.starts:%H:%M}", "ends": f"{w.ends:%H:%M}", "zone": w.zone}
            for w in weekly
        ],
        "dates": [
            {
                "day": o.day.isoformat(),
                "starts": f"{o.starts:%H:%M}" if o.starts else None,
                "ends": f"{o.ends:%H:%M}" if o.ends else None,
                "zone": o.zone,
            }
            for o in dated
        ],
    }


class DiscountsApi(Api):
    """Discount codes of a host."""

    route_base = "/api/organizations/<org_id>/discount-codes"
    resource_name = "discount_codes"
    openapi_spec_tag = "Offering"

    @expose("", methods=["GET"])
    @gate("discount-codes", "read", host=True)
    def get_list(self) -> Any:
        """Discount codes
        ---
        get:
          summary: The organisation's discount codes, newest first
          responses:
            200:
              description: result
            403:
              description: INSUFFICIENT_ROLE
        """
        return ok({"result": [discounts.view(r) for r in discounts.listed(db.session())]})

    @expose("", methods=["POST"])
    @gate("discount-codes", "write", host=True, active=True)
    def post(self) -> Any:
        """Create a discount code
        ---
        post:
          summary: A code for the organisation's own plans
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [code, kind, value]
                  properties:
                    code: {type: string}
                    kind: {type: string, enum: [PERCENTAGE, FLAT]}
                    value: {type: integer, description: basis points or paise}
                    max_uses: {type: integer}
                    per_person: {type: integer}
          responses:
            201:
              description: The code
            400:
              description: VALIDATION_FAILED
            403:
              description: BILLING_ADMIN_OR_OWNER_REQUIRED
        """
        return ok(discounts.view(discounts.create(db.session(), **payload(DiscountBody))), 201)

    @expose("/<public_id>", methods=["PATCH"])
    @gate("discount-codes", "write", host=True, active=True)
    def patch(self, public_id: str) -> Any:
        """Change the limits of a discount code
        ---
        patch:
          summary: Change the limits of a code; what it takes off stays
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    most_paise: {type: integer, nullable: true}
                    minimum_paise: {type: integer}
                    max_uses: {type: integer, nullable: true}
                    per_person: {type: integer, nullable: true}
                    expires_at: {type: string, format: date-time, nullable: true}
          responses:
            200:
              description: The code
            400:
              description: VALIDATION_FAILED (also for fewer uses than were made)
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION (the code was ended)
        """
        row, given = find(DiscountCode, public_id), payload(DiscountChange)
        limits = {name: given.get(name, getattr(row, name)) for name in DiscountChange._declared_fields}
        return ok(discounts.view(discounts.change(db.session(), row, **limits)))

    @expose("/<public_id>/end", methods=["POST"])
    @gate("discount-codes", "write", host=True)
    def end(self, public_id: str) -> Any:
        """End a discount code
        ---
        post:
          summary: Nobody can use the code any more
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The code
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        row = find(DiscountCode, public_id)
        discounts.switch(db.session(), row, False)
        return ok(discounts.view(row))


class PlatformDiscountsApi(Api):
    """The platform's own codes and the credit it grants."""

    route_base = "/api/admin"
    resource_name = "platform_discounts"
    openapi_spec_tag = "Platform"

    @expose("/discount-codes", methods=["GET"])
    @platform("promotions", "read")
    def get_list(self) -> Any:
        """The platform's discount codes
        ---
        get:
          summary: The platform's discount codes, newest first
          responses:
            200:
              description: result
            403:
              description: INSUFFICIENT_ROLE
        """
        return ok({"result": [discounts.view(r) for r in discounts.listed(db.session())]})

    @expose("/discount-codes", methods=["POST"])
    @platform("promotions", "write")
    def post(self) -> Any:
        """Create a platform code
        ---
        post:
          summary: A code for every plan
          requestBody:
            required: true
            content:
              application/json:
                schema: {type: object, required: [code, kind, value]}
          responses:
            201:
              description: The code
            400:
              description: VALIDATION_FAILED
            403:
              description: INSUFFICIENT_ROLE
        """
        return ok(discounts.view(discounts.create(db.session(), **payload(DiscountBody))), 201)

    @expose("/credits", methods=["POST"])
    @platform("promotions", "write")
    def grant(self) -> Any:
        """Grant credit
        ---
        post:
          summary: Give a person credit for bookings of their own. An Idempotency-Key makes a repetition harmless
          parameters:
          - {in: header, name: Idempotency-Key, required: true, schema: {type: string, maxLength: 200}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [user_id, kind, amount_paise, reason]
                  properties:
                    user_id: {type: string, format: uuid}
                    kind: {type: string, enum: [PROMOTION, COMPENSATION, MANUAL]}
                    amount_paise: {type: integer}
                    reason: {type: string}
                    days: {type: integer}
          responses:
            201:
              description: The credit
            400:
              description: VALIDATION_FAILED, IDEMPOTENCY_KEY_REQUIRED
            403:
              description: INSUFFICIENT_ROLE
            404:
              description: USER_NOT_FOUND
        """
        body = payload(CreditBody)

        def work() -> tuple[int, dict[str, Any]]:
            row = referrals.grant(
                db.session(),
                body["user_id"],
                body["kind"],
                body["amount_paise"],
                body["reason"],
                body["days"],
            )
            return 201, {"id": str(row.public_id), "amount_paise": row.amount_paise}

        shown = {**body, "user_id": str(body["user_id"]), "kind": body["kind"].value}
        return idempotent("credits", shown, work)


class PoliciesApi(Api):
    """An organisation's cancellation terms."""

    route_base = "/api/organizations/<org_id>/cancellation-policies"
    resource_name = "cancellation_policies"
    openapi_spec_tag = "Offering"

    @expose("", methods=["GET"])
    @gate("cancellation-policies", "read")
    def get_list(self) -> Any:
        """Published cancellation terms
        ---
        get:
          summary: Every version, latest first, and the standard that holds without one
          responses:
            200:
              description: result, standard
            403:
              description: INSUFFICIENT_ROLE
        """
        rows = cancellation_policies.versions(db.session())
        return ok(
            {
                "result": [cancellation_policies.view(r) for r in rows],
                "standard": list(cancellation_policies.STANDARD),
            }
        )

    @expose("", methods=["POST"])
    @gate("cancellation-policies", "write", active=True)
    def post(self) -> Any:
        """Publish cancellation terms
        ---
        post:
          summary: Publish the next version; bookings made keep theirs
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [tiers]
                  properties:
                    tiers: {type: array, items: {type: object}, description: "hours of notice and refund_bps, the last at 0 hours, at most six"}
                    note: {type: string}
          responses:
            201:
              description: The version
            400:
              description: VALIDATION_FAILED
            403:
              description: INSUFFICIENT_ROLE
        """
        body = payload(PolicyBody)
        row = cancellation_policies.publish(db.session(), body["tiers"], body["note"])
        return ok(cancellation_policies.view(row), 201)


def register(app: Flask, appbuilder: Any) -> None:
    """Register the domain's resources."""
    for api in (
        MyPlansApi,
        OrgPlansApi,
        AvailabilityApi,
        DiscountsApi,
        PlatformDiscountsApi,
        PoliciesApi,
    ):
        appbuilder.add_api(api)
