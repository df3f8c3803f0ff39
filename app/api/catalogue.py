"""REST of the marketplace: plans and their bookable times."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app import clock
from app.errors import Invalid
from app.extensions import db
from app.models import Plan, PlanType
from app.services import catalogue, directory, events, plans
from app.services.plans import MAX_PRICE_PAISE

from .base import plain
from .http import Api, cursor_key, cursor_moment, cursor_of, ok, page_args, parse_id, query, signed_in


class SearchArgs(Schema):
    q = fields.String(validate=validate.Length(max=100))
    category = fields.String(validate=validate.Length(max=120))
    max_price_paise = fields.Integer(validate=validate.Range(0, MAX_PRICE_PAISE))
    min_price_paise = fields.Integer(validate=validate.Range(0, MAX_PRICE_PAISE))
    max_minutes = fields.Integer(validate=validate.Range(5, 1440))
    type = fields.String(validate=validate.OneOf([t.value for t in PlanType]))
    expert = fields.UUID()
    host = fields.String(validate=validate.Length(max=80))
    on = fields.Date()
    tz = fields.String(validate=validate.Length(max=64))
    order = fields.String(load_default="newest", validate=validate.OneOf(catalogue.ORDERS))


class SlotArgs(Schema):
    start = fields.String(data_key="from", validate=validate.Length(max=40))
    end = fields.String(data_key="to", validate=validate.Length(max=40))
    tz = fields.String(validate=validate.Length(max=64))


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan as REST shows it; prices are before tax."""
    return {
        "id": str(plan.public_id),
        "title": plan.title,
        "description": plan.description,
        "type": plan.type.value,
        "category": plan.category,
        "price_paise": plan.price_paise,
        "tax_bps": plan.tax_bps,
        "currency": "INR",
        "duration_minutes": plan.duration_minutes,
        "visibility": plan.visibility.value,
        "total_sessions": plan.total_sessions,
        "sessions_per_week": plan.sessions_per_week,
        "max_participants": plan.max_participants,
        "trial": None
        if plan.trial_minutes is None
        else {"minutes": plan.trial_minutes, "price_paise": plan.trial_price_paise},
        "expert": {
            "id": str(plan.expert.public_id),
            "name": plan.expert.user.name,
            "headline": plan.expert.headline,
            "domain": plan.expert.domain,
            "verified": plan.expert.verification_status == "VERIFIED",
        },
    }


def moment(
    value: str | None, name: str, zone: ZoneInfo, problems: dict[str, list[str]]
) -> dt.datetime | None:
    """An ISO 8601 moment; a date or a moment without offset is read in *zone*."""
    if not value:
        return None
    try:
        parsed = dt.datetime.fromisoformat(value.replace(" ", "+"))
        if not 2000 <= parsed.year <= 2200:
            raise ValueError
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        problems[name] = ["Must be a date or moment in ISO 8601."]
        return None


class CatalogueApi(Api):
    """Plans a person may book."""

    route_base = "/api/plans"
    resource_name = "plans_public"
    openapi_spec_tag = "Catalogue"

    @expose("", methods=["GET"])
    @signed_in
    def search(self) -> Any:
        """Bookable plans
        ---
        get:
          summary: Plans the caller may book, newest first
          parameters:
          - {in: query, name: q, schema: {type: string}}
          - {in: query, name: category, schema: {type: string}}
          - {in: query, name: max_price_paise, schema: {type: integer}}
          - {in: query, name: min_price_paise, schema: {type: integer}}
          - {in: query, name: max_minutes, schema: {type: integer}}
          - {in: query, name: type, schema: {type: string, enum: [CONSULTATION, SUBSCRIPTION, WEBINAR, CLASS]}}
          - {in: query, name: expert, schema: {type: string, format: uuid}}
          - {in: query, name: host, schema: {type: string}, description: slug of a public host}
          - {in: query, name: on, schema: {type: string, format: date}, description: a date with a free time or an event}
          - {in: query, name: tz, schema: {type: string}, description: IANA zone of the date}
          - {in: query, name: order, schema: {type: string, enum: [newest, price]}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result and next_cursor
            400:
              description: VALIDATION_FAILED
        """
        args = query(SearchArgs)
        cursor, limit = page_args()
        wanted = catalogue.Filters(
            args.get("q"),
            args.get("category"),
            args.get("max_price_paise"),
            args.get("max_minutes"),
            type=args.get("type"),
            min_price_paise=args.get("min_price_paise"),
            expert_id=catalogue.expert(db.session(), args["expert"]).id if args.get("expert") else None,
            host_id=_host(args.get("host")),
            on=args.get("on"),
            zone=args.get("tz") or "UTC",
            order=args["order"],
        )
        after: catalogue.After | None = None
        if cursor is not None:
            cheap = wanted.order == "price"
            after = (cursor_key(cursor, "p"), cursor_key(cursor, "n")) if cheap else cursor_moment(cursor)
        rows = catalogue.search(db.session(), wanted, limit=limit + 1, after=after)
        more = (
            cursor_of(
                {
                    "at": rows[limit - 1].created_at.isoformat(),
                    "p": rows[limit - 1].price_paise,
                    "n": rows[limit - 1].id,
                }
            )
            if len(rows) > limit
            else None
        )
        return ok({"result": [plan_json(p) for p in rows[:limit]], "next_cursor": more})

    @expose("/facets", methods=["GET"])
    @signed_in
    def facets(self) -> Any:
        """What a search holds
        ---
        get:
          summary: How many plans of a search fall into each type and category, of the first 10,000
          parameters:
          - {in: query, name: q, schema: {type: string}}
          - {in: query, name: type, schema: {type: string}}
          - {in: query, name: category, schema: {type: string}}
          - {in: query, name: max_price_paise, schema: {type: integer}}
          responses:
            200:
              description: types, categories, total, more
            400:
              description: VALIDATION_FAILED
        """
        args = query(SearchArgs)
        found = catalogue.facets(
            db.session(),
            catalogue.Filters(
                args.get("q"),
                args.get("category"),
                args.get("max_price_paise"),
                args.get("max_minutes"),
                type=args.get("type"),
                min_price_paise=args.get("min_price_paise"),
                host_id=_host(args.get("host")),
            ),
        )
        return ok(
            {
                "types": [{"type": t, "plans": n} for t, n in found.types],
                "categories": [{"category": c, "plans": n} for c, n in found.categories],
                "total": found.total,
                "more": found.more,
            }
        )

    @expose("/<public_id>", methods=["GET"])
    @signed_in
    def detail(self, public_id: str) -> Any:
        """One plan
        ---
        get:
          summary: One plan
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The plan
            404:
              description: NOT_FOUND
        """
        plan = catalogue.detail(db.session(), parse_id(public_id))
        open_events = events.upcoming(db.session(), [plan.id])
        used = events.taken(db.session(), open_events)
        return ok(
            {
                **plan_json(plan),
                "collaborators": [
                    {"id": str(e.public_id), "name": e.user.name}
                    for e, _ in plans.shares(db.session(), plan)
                    if e.id != plan.expert_id
                ],
                "events": [events.view(e, used.get(e.id, 0)) for e in open_events],
            }
        )

    @expose("/<public_id>/slots", methods=["GET"])
    @signed_in
    def slots(self, public_id: str) -> Any:
        """Bookable times of a plan
        ---
        get:
          summary: Sessions offered in a period of at most 31 days, seven days from now by default
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          - {in: query, name: from, schema: {type: string}}
          - {in: query, name: to, schema: {type: string}}
          - {in: query, name: tz, schema: {type: string}, description: IANA zone of dates without an offset and of local times}
          responses:
            200:
              description: slots, each with UTC and local start; clash marks times at which the caller is busy
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
        """
        args = query(SlotArgs)
        problems: dict[str, list[str]] = {}
        try:
            zone = ZoneInfo(args.get("tz") or "UTC")
        except (KeyError, ValueError, OSError):
            raise Invalid({"tz": ["Must be an IANA time zone such as Asia/Kolkata."]}) from None
        start = moment(args.get("start"), "from", zone, problems) or clock.now()
        end = moment(args.get("end"), "to", zone, problems)
        if problems:
            raise Invalid(problems)
        plan = catalogue.detail(db.session(), parse_id(public_id))
        found = catalogue.offered_slots(db.session(), plan, start, end or start + dt.timedelta(days=7))
        return ok(
            {
                "plan_id": str(plan.public_id),
                "duration_minutes": plan.duration_minutes,
                "tz": str(zone),
                "slots": [
                    {
                        "starts_at": plain(s.starts_at),
                        "ends_at": plain(s.ends_at),
                        "clash": s.clash,
                        "local_start": s.starts_at.astimezone(zone).isoformat(),
                    }
                    for s in found
                ],
            }
        )


def _host(slug: str | None) -> int | None:
    """The inner id of a public host. Raises NOT_FOUND."""
    return directory.find(db.session(), slug).id if slug else None


class ExpertFacesApi(Api):
    """Verified experts."""

    route_base = "/api/experts"
    resource_name = "experts_public"
    openapi_spec_tag = "Catalogue"

    @expose("/<public_id>", methods=["GET"])
    @signed_in
    def detail(self, public_id: str) -> Any:
        """A verified expert
        ---
        get:
          summary: The public face of a verified expert and the plans the caller may book
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The expert and their plans
            404:
              description: NOT_FOUND, also for an expert who is not verified
        """
        expert = catalogue.expert(db.session(), parse_id(public_id))
        rows = catalogue.search(db.session(), catalogue.Filters(expert_id=expert.id), limit=100)
        return ok(
            {
                "id": str(expert.public_id),
                "name": expert.user.name,
                "headline": expert.headline,
                "bio": expert.bio,
                "domain": expert.domain,
                "plans": [plan_json(p) for p in rows],
            }
        )


def register(app: Flask, appbuilder: Any) -> None:
    """Register the domain's resources."""
    appbuilder.add_api(CatalogueApi)
    appbuilder.add_api(ExpertFacesApi)
