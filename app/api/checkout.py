"""REST of bookings: checkout, its preview, the caller's appointments, receipts."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_appbuilder.api import expose
from marshmallow import Schema, ValidationError, fields, validate

from app import clock
from app.documents import receipt
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Appointment, Payment, PaymentStatus
from app.security.context import ctx
from app.services import (
    appointments,
    cancellations,
    catalogue,
    checkout,
    cover,
    overages,
    payments,
    refunds,
    seat_sessions,
    sessions,
    settlement,
    side_payments,
)
from app.services.booking_record import Order, Supplier
from app.services.sponsored import CapExhausted
from app.views.format import money

from .base import plain
from .http import (
    Api,
    cursor_moment,
    cursor_of,
    gate,
    idempotent,
    number_arg,
    ok,
    page_args,
    parse_id,
    payload,
    platform,
    scope,
    signed_in,
)


def sensible(at: dt.datetime) -> None:
    """Moments at the ends of the calendar overflow in time zones; nobody means them. Raises ValidationError."""
    if not 2000 <= at.year <= 2200:
        raise ValidationError("Not a sensible moment.")


class CheckoutBody(Schema):
    plan_id = fields.UUID(required=True)
    starts_at = fields.AwareDateTime(allow_none=True, load_default=None, validate=sensible)
    event_id = fields.UUID(allow_none=True, load_default=None)
    use_referral_credits = fields.Boolean(load_default=False)
    discount_code = fields.String(allow_none=True, load_default="", validate=validate.Length(max=40))
    organization_id = fields.String(allow_none=True, load_default=None, validate=validate.Length(1, 80))


class CancelBody(Schema):
    reason = fields.String(load_default="", validate=validate.Length(max=300))


class RefundBody(Schema):
    amount_paise = fields.Integer(load_default=None, strict=True, validate=validate.Range(1, 10**12))
    reason = fields.String(required=True, validate=validate.Length(1, 300))
    force = fields.Boolean(load_default=False)


class PreviewBody(Schema):
    plan_id = fields.UUID(required=True)
    engagements = fields.Integer(load_default=1, strict=True, validate=validate.Range(1, 100))


def supplier() -> Supplier:
    """The platform as documents name it, from the settings."""
    s = current_app.config["SETTINGS"]
    return Supplier(s.supplier_name, s.supplier_address, s.supplier_gstin)


def payer(reference: str | None) -> int | None:
    """The inner id of the organisation *reference* (public id or slug) among the caller's own; None for oneself.

    Unknown and foreign organisations answer alike: NOT_A_MEMBER. Suspended members: MEMBERSHIP_SUSPENDED.
    """
    if not reference:
        if ctx().key_id is not None:
            raise DomainError("NOT_A_MEMBER")  # an API key books for its organisation, never for its maker
        return None
    found = next((m for m in g.memberships if reference in (m["public_id"], m["slug"])), None)
    checkout.check_membership(found["membership_status"] if found else None)
    return int(found["organization_id"]) if found else None


def place(body: dict[str, Any], key: str) -> checkout.Result:
    """Book *body* (validated by CheckoutBody) under *key*; the REST resource and the page share this."""
    starts = body["starts_at"].astimezone(dt.UTC) if body["starts_at"] else None
    asked = {
        "plan_id": str(body["plan_id"]),
        "starts_at": starts.isoformat() if starts else None,
        "organization_id": body["organization_id"],
        **({"event_id": str(body["event_id"])} if body["event_id"] else {}),
        **({"use_referral_credits": True} if body["use_referral_credits"] else {}),
        **({"discount_code": body["discount_code"].upper()} if body["discount_code"] else {}),
    }
    order = Order(
        body["plan_id"],
        starts,
        payer(body["organization_id"]),
        key,
        asked,
        event=body["event_id"],
        discount_code=body["discount_code"] or "",
        use_credits=body["use_referral_credits"],
    )
    return settle(order)


def settle(order: Order, booked: Callable[[dict[str, Any]], None] | None = None) -> checkout.Result:
    """Book *order*; where a card has to pay, with the provider's page. *booked* joins the booking's transaction."""
    settings = current_app.config["SETTINGS"]
    try:
        result = checkout.book(db.session(), order, supplier(), settings.gateway)
    except CapExhausted as refused:  # nothing was booked; that it was refused is kept (chapter 2, BLOCKED)
        db.session.rollback()
        overages.record_blocked(db.session(), refused)
        db.session.commit()
        raise
    if booked is not None and not result.replayed:
        booked(result.answer)
    if not result.waits:
        return result
    db.session.commit()  # the hold stands, whatever becomes of the provider; the same key asks it again
    payment = settlement.order(db.session(), uuid.UUID(result.answer["payment"]["id"]), settings)
    return replace(result, answer=_with_order(result.answer, payment))


def plan_session(parent: Appointment, starts_at: dt.datetime) -> Appointment:
    """The expert plans a session of a subscription; the REST resource and the page share this."""
    gateway = current_app.config["SETTINGS"].gateway
    try:
        return sessions.allocate(db.session(), parent, starts_at, seat_sessions.Desk(supplier(), gateway))
    except CapExhausted as refused:  # nothing was planned; that it was refused is kept (chapter 2, BLOCKED)
        db.session.rollback()
        overages.record_blocked(db.session(), refused)
        db.session.commit()
        raise


def _with_order(answer: dict[str, Any], payment: Payment) -> dict[str, Any]:
    """The answer of a hold as things stand now: where to pay, or that it is paid."""
    paid = payment.status == PaymentStatus.SUCCEEDED
    status = "CONFIRMED" if paid else answer["status"]
    return {
        **answer,
        "status": status,
        "appointment": {**answer["appointment"], "status": status},
        "payment": {
            **answer["payment"],
            "status": payment.status.value,
            "order_id": payment.gateway_order_id,
            "checkout_url": None if paid else payment.checkout_url,
        },
        "receipt_url": f"/api/payments/{payment.public_id}/receipt.pdf" if paid else None,
    }


def appointment_json(row: Appointment, payment: Payment | None) -> dict[str, Any]:
    """An appointment as its people see it."""
    own = {m["organization_id"]: m for m in g.memberships}
    org = own.get(row.organization_id) if row.organization_id else None
    return {
        "id": str(row.public_id),
        "status": row.status.value,
        "title": row.title,
        "starts_at": plain(row.starts_at),
        "ends_at": plain(row.ends_at),
        "plan_id": str(row.plan.public_id) if row.plan else None,
        "role": "EXPERT" if row.expert_user_id == ctx().user_id else "LEARNER",
        "expert": {"name": row.expert_user.name},
        "learner": {"name": row.learner.name},
        "organization": {"id": org["public_id"], "name": org["name"]} if org else None,
        "payment_id": str(payment.public_id) if payment else None,
        "receipt_url": f"/api/payments/{payment.public_id}/receipt.pdf" if payment else None,
    }


class CheckoutApi(Api):
    """``POST /api/checkout``."""

    route_base = "/api/checkout"
    resource_name = "checkout"
    openapi_spec_tag = "Booking"

    @expose("", methods=["POST"])
    @signed_in
    def post(self) -> Any:
        """Book a session, a seat or a subscription
        ---
        post:
          summary: Book on an organisation's money, or hold it until your card has paid
          parameters:
          - {in: header, name: Idempotency-Key, required: true, schema: {type: string, maxLength: 200}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [plan_id]
                  properties:
                    plan_id: {type: string, format: uuid}
                    starts_at: {type: string, format: date-time, description: "with an offset; of a consultation, or of an event"}
                    event_id: {type: string, format: uuid, description: the webinar or class to take a seat at}
                    use_referral_credits: {type: boolean, description: personal bookings from 500 rupees}
                    discount_code: {type: string, description: personal bookings only}
                    organization_id: {type: string, description: public id or slug of the paying organisation}
          responses:
            200:
              description: The stored answer of an earlier request with this key
            201:
              description: Booked, CONFIRMED and paid; or TENTATIVE for 30 minutes with payment.checkout_url
            400:
              description: VALIDATION_FAILED, IDEMPOTENCY_KEY_REQUIRED, DISCOUNT_INVALID
            402:
              description: WALLET_INSUFFICIENT_FUNDS, PROGRAM_SESSION_CAP_REACHED, BILLING_SUSPENDED_DUNNING
            403:
              description: NOT_A_MEMBER, MEMBERSHIP_SUSPENDED
            404:
              description: NOT_FOUND
            409:
              description: EVENT_FULL, ALREADY_REGISTERED, EVENT_NOT_OPEN, SLOT_TAKEN, SLOT_UNAVAILABLE, LEARNER_DOUBLE_BOOKED, SELF_BOOKING_FORBIDDEN, EXPERT_NOT_BOOKABLE,
                PROGRAM_ASSIGNMENT_INACTIVE, MEMBER_SPEND_LIMIT_EXCEEDED, PAYER_NOT_AVAILABLE, IDEMPOTENCY_KEY_REUSED,
                IDEMPOTENT_REPLAY_TERMINAL
            502:
              description: GATEWAY_ERROR; the hold stands and the same key tries again
            503:
              description: GATEWAY_UNAVAILABLE, GATEWAY_NOT_CONFIGURED; the hold stands and the same key tries again
        """
        result = place(payload(CheckoutBody), request.headers.get("Idempotency-Key", ""))
        return ok(
            result.answer,
            200 if result.replayed else 201,
            {"Idempotent-Replay": "true"} if result.replayed else None,
        )


class PreviewApi(Api):
    """What a program would cover, before anybody pays."""

    route_base = "/api/organizations/<org_id>/checkout"
    resource_name = "checkout_preview"
    openapi_spec_tag = "Booking"

    @expose("/overage-preview", methods=["POST"])
    @gate("checkout-preview", "read", sponsor=True)
    def preview(self) -> Any:
        """Preview cover and overage
        ---
        post:
          summary: What the caller's program covers of a booking; writes nothing
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [plan_id]
                  properties:
                    plan_id: {type: string, format: uuid}
                    engagements: {type: integer, minimum: 1, maximum: 100}
          responses:
            200:
              description: applicable, covered_paise, base_paise, surcharge_paise, marginal_paise, will_block, reason
            404:
              description: NOT_FOUND
        """
        body = payload(PreviewBody)
        plan = catalogue.detail(db.session(), body["plan_id"])
        return ok(cover.preview(db.session(), ctx().membership_id, plan, body["engagements"]))


class AppointmentsApi(Api):
    """The caller's appointments on both sides."""

    route_base = "/api/appointments"
    resource_name = "my_appointments"
    openapi_spec_tag = "Booking"

    @expose("", methods=["GET"])
    @signed_in
    def get_list(self) -> Any:
        """The caller's appointments
        ---
        get:
          summary: Appointments of the caller as learner and as expert
          parameters:
          - {in: query, name: org_scope, schema: {type: string}, description: "personal (default), org:<id> or all (ADMIN)"}
          - {in: query, name: when, schema: {type: string, enum: [upcoming, past]}}
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
        when = request.args.get("when", "")
        if when not in ("", "upcoming", "past"):
            raise Invalid({"when": ["Must be upcoming or past."]})
        cursor, limit = page_args()
        after = cursor_moment(cursor) if cursor is not None else None
        rows = appointments.listed(
            db.session(),
            within,
            when=when,
            limit=limit + 1,
            after=after,
            now=clock.now(),
        )
        paid = appointments.payments_of(db.session(), rows)
        more = (
            cursor_of({"at": rows[limit - 1].starts_at.isoformat(), "n": rows[limit - 1].id})
            if len(rows) > limit
            else None
        )
        return ok(
            {"result": [appointment_json(r, paid.get(r.id)) for r in rows[:limit]], "next_cursor": more}
        )

    @expose("/<public_id>/cancel", methods=["GET"])
    @signed_in
    def preview_cancel(self, public_id: str) -> Any:
        """What a cancellation would give back
        ---
        get:
          summary: What cancelling now would refund, by the policy frozen at booking; changes nothing
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: possible, by, notice_hours, refund_bps, refund_paise, paid_paise, refund_to, tiers
            404:
              description: NOT_FOUND
        """
        row = appointments.one(db.session(), parse_id(public_id))
        return ok(cancellations.preview(db.session(), row).view())

    @expose("/<public_id>/cancel", methods=["POST"])
    @signed_in
    def cancel(self, public_id: str) -> Any:
        """Cancel a booking
        ---
        post:
          summary: Cancel a booking of yours that has not begun; refunds by its policy, an expert's cancellation in full
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    reason: {type: string, maxLength: 300}
          responses:
            200:
              description: status and refund (null where nothing comes back)
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION, EARNINGS_PAID_OUT, REFUND_WINDOW_CLOSED
        """
        body = payload(CancelBody)
        row = appointments.one(db.session(), parse_id(public_id))
        refund = cancellations.cancel(db.session(), row, body["reason"])
        return ok({"status": row.status.value, "refund": refunds.view(refund) if refund else None})


def payment_json(row: Payment) -> dict[str, Any]:
    """A payment as its payer sees it."""
    own = {m["organization_id"]: m for m in g.memberships}
    org = own.get(row.organization_id) if row.organization_id else None
    settled = row.status == PaymentStatus.SUCCEEDED and row.receipt_number is not None
    return {
        "id": str(row.public_id),
        "status": row.status.value,
        "method": row.method,
        "description": row.description or (row.appointment.title if row.appointment else ""),
        "currency": "INR",
        "price_paise": row.price_paise,
        "discount_paise": row.discount_paise,
        "tax_paise": row.tax_paise,
        "amount_paise": row.amount_paise,
        "organization": {"id": org["public_id"], "name": org["name"]} if org else None,
        "appointment_id": str(row.appointment.public_id) if row.appointment else None,
        "receipt_number": row.receipt_number,
        "receipt_url": f"/api/payments/{row.public_id}/receipt.pdf" if settled else None,
        "created_at": plain(row.created_at),
    }


class PaymentsApi(Api):
    """The caller's payments, their receipts and refunds."""

    route_base = "/api/payments"
    resource_name = "my_payments"
    openapi_spec_tag = "Booking"

    @expose("", methods=["GET"])
    @signed_in
    def get_list(self) -> Any:
        """The caller's payments
        ---
        get:
          summary: Payments of the caller with links to their receipts, latest first
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
        rows = payments.listed(db.session(), within, limit=limit + 1, after=after)
        more = None
        if len(rows) > limit:
            more = cursor_of({"at": rows[limit - 1].created_at.isoformat(), "n": rows[limit - 1].id})
        return ok({"result": [payment_json(r) for r in rows[:limit]], "next_cursor": more})

    @expose("/<public_id>/pay", methods=["POST"])
    @signed_in
    def pay(self, public_id: str) -> Any:
        """Resume a payment
        ---
        post:
          summary: Where to pay a payment of yours that waits, such as a member's overage; the same order until it is paid
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: payment with status, amount_paise, order_id and checkout_url (none once it is paid)
            404:
              description: NOT_FOUND
            409:
              description: IDEMPOTENT_REPLAY_TERMINAL
            502:
              description: GATEWAY_ERROR
            503:
              description: GATEWAY_UNAVAILABLE, GATEWAY_NOT_CONFIGURED
        """
        payment = side_payments.resume(db.session(), parse_id(public_id), current_app.config["SETTINGS"])
        paid = payment.status == PaymentStatus.SUCCEEDED
        return ok(
            {
                "payment": {
                    "id": str(payment.public_id),
                    "status": payment.status.value,
                    "amount_paise": payment.amount_paise,
                    "order_id": payment.gateway_order_id,
                    "checkout_url": None if paid else payment.checkout_url,
                }
            }
        )

    @expose("/<public_id>/receipt.pdf", methods=["GET"])
    @signed_in
    def receipt(self, public_id: str) -> Any:
        """The receipt of a payment
        ---
        get:
          summary: The receipt as PDF, for who booked and who reads the payer's finances
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: application/pdf
            404:
              description: NOT_FOUND
        """
        payment = appointments.receipt_payment(db.session(), parse_id(public_id), g.memberships)
        if not payment.snapshot or payment.receipt_number is None:
            raise DomainError("NOT_FOUND")
        return Response(
            receipt.render(payment, money),
            mimetype="application/pdf",
            headers={
                "Content-Disposition": f'inline; filename="{payment.receipt_number}.pdf"',
                "Cache-Control": "private, no-store",
            },
        )

    @expose("/<public_id>/refunds", methods=["GET"])
    @signed_in
    def refunds(self, public_id: str) -> Any:
        """Refunds of a payment
        ---
        get:
          summary: Refunds of a payment and what is left to refund; for who paid, who reads the payer's finances, ADMIN
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: refunds, refundable_paise
            404:
              description: NOT_FOUND
        """
        payment = appointments.receipt_payment(db.session(), parse_id(public_id), g.memberships)
        rows, left = refunds.of(db.session(), payment)
        return ok({"refunds": [refunds.view(r) for r in rows], "refundable_paise": left})

    @expose("/<public_id>/refunds/preview", methods=["GET"])
    @platform("refunds", "read")
    def refund_preview(self, public_id: str) -> Any:
        """What a refund would do
        ---
        get:
          summary: Each source's and each share's part of a refund, before it is made; for ADMIN and STAFF
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          - {in: query, name: amount_paise, schema: {type: integer, minimum: 1}, description: everything left when absent}
          responses:
            200:
              description: amount_paise, refundable_paise, gateway_paise, sources, shares, refused (a code or null)
            404:
              description: NOT_FOUND
            409:
              description: PAYMENT_NOT_REFUNDABLE, REFUND_EXCEEDS_BALANCE
        """
        amount = number_arg("amount_paise", 1, 10**13) if request.args.get("amount_paise") else None
        return ok(refunds.preview(db.session(), refunds.find(db.session(), parse_id(public_id)), amount))

    @expose("/<public_id>/refunds", methods=["POST"])
    @platform("refunds", "write")
    def refund(self, public_id: str) -> Any:
        """Refund a payment
        ---
        post:
          summary: Refund part or all of a payment, for ADMIN. An Idempotency-Key makes a repetition harmless
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          - {in: header, name: Idempotency-Key, required: true, schema: {type: string, maxLength: 200}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [reason]
                  properties:
                    amount_paise: {type: integer, minimum: 1, description: everything left when absent}
                    reason: {type: string, maxLength: 300}
                    force: {type: boolean, description: also take back shares that were paid out}
          responses:
            200:
              description: The stored answer of an earlier request with this key
            201:
              description: refund; PENDING while the provider works, SUCCEEDED where no card is involved
            403:
              description: INSUFFICIENT_ROLE
            409:
              description: PAYMENT_NOT_REFUNDABLE, REFUND_EXCEEDS_BALANCE, REFUND_WINDOW_CLOSED, EARNINGS_PAID_OUT
        """
        body = payload(RefundBody)
        key = parse_id(public_id)

        def work() -> tuple[int, dict[str, Any]]:
            payment = refunds.find(db.session(), key)
            made = refunds.reserve(
                db.session(), payment, body["amount_paise"], body["reason"], force=body["force"]
            )
            return 201, {"refund": refunds.view(made)}

        return idempotent(f"user:{ctx().user_id}:refund:{key}", body, work)


def register(app: Flask, appbuilder: Any) -> None:
    """Register the domain's resources."""
    for api in (CheckoutApi, PreviewApi, AppointmentsApi, PaymentsApi):
        appbuilder.add_api(api)
