"""REST of a learner's side: events, the line for a seat, trials, sessions that move, referrals."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.models import PlanType
from app.services import appointments, booking_quote, catalogue, events, referrals, sessions, trials, waitlist

from .base import plain
from .checkout import CheckoutBody, appointment_json, payer, plan_session, sensible, settle
from .http import (
    Api,
    cursor_moment,
    cursor_of,
    ok,
    page_args,
    parse_id,
    payload,
    scope,
    signed_in,
)
from .marketplace import ReasonBody


class WaitBody(Schema):
    organization_id = fields.String(allow_none=True, load_default=None, validate=validate.Length(1, 80))


class PreferBody(Schema):
    priority = fields.Integer(required=True, strict=True, validate=validate.Range(-100, 100))


class TrialBody(Schema):
    plan_id = fields.UUID(required=True)
    starts_at = fields.AwareDateTime(required=True, validate=sensible)
    note = fields.String(load_default="", validate=validate.Length(max=500))
    organization_id = fields.String(allow_none=True, load_default=None, validate=validate.Length(1, 80))


class AnswerBody(Schema):
    answer = fields.String(load_default="", validate=validate.Length(max=500))


class MoveBody(Schema):
    starts_at = fields.AwareDateTime(required=True, validate=sensible)
    reason = fields.String(load_default="", validate=validate.Length(max=300))


class TimeBody(Schema):
    starts_at = fields.AwareDateTime(required=True, validate=sensible)


class CodeBody(Schema):
    code = fields.String(required=True, validate=validate.Length(1, 20))


class EventsApi(Api):
    """Webinars and classes."""

    route_base = "/api/events"
    resource_name = "events"
    openapi_spec_tag = "Booking"

    @expose("/<public_id>", methods=["GET"])
    @signed_in
    def detail(self, public_id: str) -> Any:
        """An event
        ---
        get:
          summary: An event with its sessions and seats; the caller's place in its line
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The event
            404:
              description: NOT_FOUND
        """
        event = events.one(db.session(), parse_id(public_id))
        used = events.taken(db.session(), [event]).get(event.id, 0)
        there = waitlist.mine(db.session(), event)
        return ok(
            {
                **events.view(event, used),
                "plan_id": str(event.plan.public_id),
                "waitlist": {"status": there.status.value, "position": waitlist.position(db.session(), there)}
                if there
                else None,
            }
        )

    @expose("/<public_id>/waitlist", methods=["POST"])
    @signed_in
    def wait(self, public_id: str) -> Any:
        """Join the waitlist
        ---
        post:
          summary: Wait for a seat of a full event
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    organization_id: {type: string, description: label only}
          responses:
            201:
              description: status and position
            404:
              description: NOT_FOUND
            409:
              description: EVENT_NOT_OPEN, ALREADY_REGISTERED, WAITLIST_NOT_NEEDED, SELF_BOOKING_FORBIDDEN
        """
        body = payload(WaitBody)
        event = events.one(db.session(), parse_id(public_id))
        row = waitlist.join(db.session(), event, payer(body["organization_id"]))
        return ok({"status": row.status.value, "position": waitlist.position(db.session(), row)}, 201)

    @expose("/<public_id>/waitlist", methods=["DELETE"])
    @signed_in
    def leave(self, public_id: str) -> Any:
        """Leave the waitlist
        ---
        delete:
          summary: Give up the place, or the seat that was offered
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            204:
              description: Left
            404:
              description: NOT_FOUND
        """
        waitlist.leave(db.session(), events.one(db.session(), parse_id(public_id)))
        return ok(status=204)

    @expose("/<public_id>/attendees", methods=["GET"])
    @signed_in
    def attendees(self, public_id: str) -> Any:
        """Who attends, and who waits
        ---
        get:
          summary: For the event's expert - who has a seat, and the line
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: attendees, waiting
            404:
              description: NOT_FOUND
        """
        event = events.one(db.session(), parse_id(public_id))
        people = events.attendees(db.session(), event)
        return ok(
            {
                "attendees": [
                    {"name": a.name, "status": a.status, "booked_at": plain(a.booked_at)} for a in people
                ],
                "waiting": [
                    {
                        "id": str(w.public_id),
                        "name": w.user.name,
                        "status": w.status.value,
                        "priority": w.priority,
                    }
                    for w in waitlist.line(db.session(), event)
                ],
            }
        )

    @expose("/<public_id>/waitlist/<entry_id>/priority", methods=["POST"])
    @signed_in
    def prefer(self, public_id: str, entry_id: str) -> Any:
        """Ask somebody earlier
        ---
        post:
          summary: For the event's expert - the priority of somebody who waits
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          - {in: path, name: entry_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema: {type: object, required: [priority]}
          responses:
            204:
              description: Done
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        body = payload(PreferBody)
        event = events.one(db.session(), parse_id(public_id))
        waitlist.prefer(db.session(), event, parse_id(entry_id), body["priority"])
        return ok(status=204)

    @expose("/<public_id>/cancel", methods=["POST"])
    @signed_in
    def call_off(self, public_id: str) -> Any:
        """Call an event off
        ---
        post:
          summary: For the event's expert - cancel it; everybody registered is refunded in full
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            content:
              application/json:
                schema: {type: object}
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


class WaitlistApi(Api):
    """The caller's places in lines."""

    route_base = "/api/waitlist"
    resource_name = "my_waitlist"
    openapi_spec_tag = "Booking"

    @expose("", methods=["GET"])
    @signed_in
    def get_list(self) -> Any:
        """The caller's waitlist places
        ---
        get:
          summary: Events the caller waits for, latest first
          parameters:
          - {in: query, name: org_scope, schema: {type: string}, description: "personal (default), org:<id> or all (ADMIN)"}
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
        rows = waitlist.listed(db.session(), within, limit=limit + 1, after=after)
        last = rows[limit - 1] if len(rows) > limit else None
        more = cursor_of({"at": last.joined_at.isoformat(), "n": last.id}) if last else None
        return ok({"result": [waitlist.view(r) for r in rows[:limit]], "next_cursor": more})


class TrialsApi(Api):
    """Trials of the caller, as learner and as expert."""

    route_base = "/api/trials"
    resource_name = "my_trials"
    openapi_spec_tag = "Booking"

    @expose("", methods=["GET"])
    @signed_in
    def get_list(self) -> Any:
        """The caller's trials
        ---
        get:
          summary: Trials of the caller on both sides, latest first
          parameters:
          - {in: query, name: org_scope, schema: {type: string}, description: "personal (default), org:<id> or all (ADMIN)"}
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
        rows = trials.listed(db.session(), within, limit=limit + 1, after=after)
        last = rows[limit - 1] if len(rows) > limit else None
        more = cursor_of({"at": last.created_at.isoformat(), "n": last.id}) if last else None
        return ok({"result": [trials.view(r) for r in rows[:limit]], "next_cursor": more})

    @expose("", methods=["POST"])
    @signed_in
    def post(self) -> Any:
        """Ask for a trial
        ---
        post:
          summary: Ask an expert for a trial; one for each learner and expert
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [plan_id, starts_at]
                  properties:
                    plan_id: {type: string, format: uuid}
                    starts_at: {type: string, format: date-time}
                    note: {type: string}
                    organization_id: {type: string, description: attribution only; the learner pays}
          responses:
            201:
              description: The trial, PENDING
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
            409:
              description: TRIAL_ALREADY_USED, SLOT_UNAVAILABLE, SLOT_TAKEN, LEARNER_DOUBLE_BOOKED, SELF_BOOKING_FORBIDDEN,
                EXPERT_NOT_BOOKABLE
        """
        body = payload(TrialBody)
        plan = catalogue.detail(db.session(), body["plan_id"])
        row = trials.request(
            db.session(), plan, body["starts_at"], body["note"], payer(body["organization_id"])
        )
        return ok(trials.view(row), 201)

    @expose("/<public_id>/accept", methods=["POST"])
    @signed_in
    def accept(self, public_id: str) -> Any:
        """Grant a trial
        ---
        post:
          summary: For the expert - grant it; the learner has 24 hours to pay
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The trial, AWAITING_PAYMENT
            403:
              description: INSUFFICIENT_ROLE
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION, SLOT_TAKEN, LEARNER_DOUBLE_BOOKED
        """
        row = trials.one(db.session(), parse_id(public_id))
        trials.accept(db.session(), row)
        return ok(trials.view(trials.one(db.session(), row.public_id)))

    @expose("/<public_id>/reject", methods=["POST"])
    @signed_in
    def reject(self, public_id: str) -> Any:
        """Decline a trial
        ---
        post:
          summary: For the expert - decline it; the learner may ask again
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            content:
              application/json:
                schema: {type: object, properties: {answer: {type: string}}}
          responses:
            200:
              description: The trial, REJECTED
            403:
              description: INSUFFICIENT_ROLE
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        row = trials.one(db.session(), parse_id(public_id))
        trials.reject(db.session(), row, payload(AnswerBody)["answer"])
        return ok(trials.view(row))

    @expose("/<public_id>/withdraw", methods=["POST"])
    @signed_in
    def withdraw(self, public_id: str) -> Any:
        """Take a request back
        ---
        post:
          summary: For the learner - take back a request or an unpaid grant
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The trial, CANCELLED
            403:
              description: INSUFFICIENT_ROLE
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        row = trials.one(db.session(), parse_id(public_id))
        trials.withdraw(db.session(), row)
        return ok(trials.view(row))

    @expose("/<public_id>/pay", methods=["POST"])
    @signed_in
    def pay(self, public_id: str) -> Any:
        """Pay for a trial
        ---
        post:
          summary: For the learner - pay (or confirm) a granted trial
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          - {in: header, name: Idempotency-Key, required: true, schema: {type: string, maxLength: 200}}
          responses:
            200:
              description: The stored answer of an earlier request with this key
            201:
              description: Booked, or held with payment.checkout_url
            403:
              description: INSUFFICIENT_ROLE
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION, SLOT_TAKEN, LEARNER_DOUBLE_BOOKED
        """
        result = pay_trial(public_id, request.headers.get("Idempotency-Key", ""))
        return ok(
            result.answer,
            200 if result.replayed else 201,
            {"Idempotent-Replay": "true"} if result.replayed else None,
        )


def pay_trial(public_id: str, key: str) -> Any:
    """Place a granted trial at checkout; the REST resource and the page share this."""
    row = trials.one(db.session(), parse_id(public_id))
    trial_id = row.public_id
    order = trials.order(db.session(), row, key)

    def booked(answer: dict[str, Any]) -> None:
        trials.placed(
            db.session(),
            trials.one(db.session(), trial_id),
            answer["id"],
            paid=answer["status"] == "CONFIRMED",
        )

    return settle(order, booked)


class SessionsApi(Api):
    """What happens to a booked session."""

    route_base = "/api/appointments"
    resource_name = "sessions"
    openapi_spec_tag = "Booking"

    @expose("/<public_id>", methods=["GET"])
    @signed_in
    def detail(self, public_id: str) -> Any:
        """One appointment
        ---
        get:
          summary: An appointment of the caller; a subscription with its sessions
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The appointment
            404:
              description: NOT_FOUND
        """
        row = appointments.one(db.session(), parse_id(public_id))
        paid = appointments.payments_of(db.session(), [row]).get(row.id)
        body = {**appointment_json(row, paid), "sequence": row.sequence}
        if row.plan.type == PlanType.SUBSCRIPTION and row.parent_id is None:
            below = sessions.children(db.session(), row)
            body["sessions"] = [
                {"id": str(s.public_id), "status": s.status.value, "starts_at": plain(s.starts_at)}
                for s in below
            ]
            body["counts"] = sessions.counts(below, row.plan.total_sessions or 0)
        return ok(body)

    @expose("/<public_id>/reschedule", methods=["POST"])
    @signed_in
    def reschedule(self, public_id: str) -> Any:
        """Move a session
        ---
        post:
          summary: Move a session - the learner within the expert's hours and with 24 hours' notice, the expert to any free time
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [starts_at]
                  properties:
                    starts_at: {type: string, format: date-time}
                    reason: {type: string}
          responses:
            200:
              description: The appointment
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION, SLOT_UNAVAILABLE, SLOT_TAKEN, LEARNER_DOUBLE_BOOKED
        """
        body = payload(MoveBody)
        row = appointments.one(db.session(), parse_id(public_id))
        sessions.reschedule(db.session(), row, body["starts_at"], body["reason"])
        return ok(appointment_json(row, None))

    @expose("/<public_id>/no-show", methods=["POST"])
    @signed_in
    def missed(self, public_id: str) -> Any:
        """Nobody came
        ---
        post:
          summary: For the expert - the learner did not come
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The appointment, NO_SHOW
            403:
              description: INSUFFICIENT_ROLE
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        row = appointments.one(db.session(), parse_id(public_id))
        sessions.missed(db.session(), row)
        return ok(appointment_json(row, None))

    @expose("/<public_id>/sessions", methods=["POST"])
    @signed_in
    def allocate(self, public_id: str) -> Any:
        """Plan a session of a subscription
        ---
        post:
          summary: For the expert - give a session of a subscription its time
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema: {type: object, required: [starts_at], properties: {starts_at: {type: string, format: date-time}}}
          responses:
            201:
              description: The session
            400:
              description: VALIDATION_FAILED
            403:
              description: INSUFFICIENT_ROLE
            404:
              description: NOT_FOUND
            402:
              description: On a licensed seat - PROGRAM_SESSION_CAP_REACHED, PROGRAM_CAP_EXHAUSTED, CREDIT_LIMIT_EXCEEDED, MEMBER_SPEND_LIMIT_EXCEEDED
            409:
              description: ILLEGAL_TRANSITION, SLOT_TAKEN, LEARNER_DOUBLE_BOOKED
        """
        body = payload(TimeBody)
        parent = appointments.one(db.session(), parse_id(public_id))
        child = plan_session(parent, body["starts_at"])
        return ok(appointment_json(appointments.one(db.session(), child.public_id), None), 201)


class QuoteApi(Api):
    """What a booking would cost."""

    route_base = "/api/checkout"
    resource_name = "checkout_quote"
    openapi_spec_tag = "Booking"

    @expose("/quote", methods=["POST"])
    @signed_in
    def quote(self) -> Any:
        """Price a booking
        ---
        post:
          summary: List price, discount, credit, tax and who pays what; writes nothing
          requestBody:
            required: true
            content:
              application/json:
                schema: {type: object, required: [plan_id]}
          responses:
            200:
              description: price_paise, discount_paise, tax_paise, amount_paise, credit_paise, card_paise
            400:
              description: VALIDATION_FAILED, DISCOUNT_INVALID
            404:
              description: NOT_FOUND
        """
        body = payload(CheckoutBody)
        plan = catalogue.detail(db.session(), body["plan_id"])
        sponsored = payer(body["organization_id"]) is not None
        found = booking_quote.of(
            db.session(), plan, body["discount_code"] or "", body["use_referral_credits"], sponsored=sponsored
        )
        return ok(found.view())


class ReferralsApi(Api):
    """Deliberately personal (chapter 1, 1.6)."""

    route_base = "/api/referrals"
    resource_name = "referrals"
    openapi_spec_tag = "Booking"

    @expose("", methods=["GET"])
    @signed_in
    def get(self) -> Any:
        """The caller's referrals and credit
        ---
        get:
          summary: The caller's code, credit and the people they brought; never in an organisation's scope
          responses:
            200:
              description: code, url, available_paise, credits, referrals
        """
        return ok(referrals.view(db.session(), current_app.config["SETTINGS"].base_url))

    @expose("", methods=["POST"])
    @signed_in
    def redeem(self) -> Any:
        """Say who brought you
        ---
        post:
          summary: Use somebody's code, once, before the first paid booking
          requestBody:
            required: true
            content:
              application/json:
                schema: {type: object, required: [code], properties: {code: {type: string}}}
          responses:
            201:
              description: Kept
            400:
              description: VALIDATION_FAILED
            409:
              description: REFERRAL_NOT_POSSIBLE
        """
        referrals.redeem(db.session(), payload(CodeBody)["code"])
        return ok({"status": "kept"}, 201)


def register(app: Flask, appbuilder: Any) -> None:
    """Register the domain's resources."""
    for api in (EventsApi, WaitlistApi, TrialsApi, SessionsApi, QuoteApi, ReferralsApi):
        appbuilder.add_api(api)
