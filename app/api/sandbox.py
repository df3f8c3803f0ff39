"""The levers of the sandbox: what a tester asks of the provider (chapter 2, 2.7). They exist outside production only.

ADMIN works them; in the test environment a caller without any credential may as well. A cookie needs its CSRF token.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app, g
from flask import request as http_request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.errors import DomainError
from app.extensions import db
from app.gateways import provider
from app.gateways.provider.books import OUTCOMES
from app.gateways.provider.disputes import PHASES
from app.jobs.money import kick_gateway
from app.models import SandboxDispute, SandboxOrder, SandboxPayee, SandboxPayout, SandboxRefund

from .http import Api, in_transaction, ok, payload, platform

PAISE = validate.Range(min=1, max=10**12)


def lever(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Guard a lever: ADMIN; in the test environment also nobody in particular. Owns the transaction."""
    guarded = platform("sandbox", "write")(fn)

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if current_app.config["SETTINGS"].testing and g.get("identity") is None and trusted():
            return in_transaction(lambda: fn(*args, **kwargs))
        return guarded(*args, **kwargs)

    wrapper._gate = ("sandbox", "write")  # type: ignore[attr-defined]
    return wrapper


def trusted() -> bool:
    """Whether a caller without a credential says that it is a test: browsers cannot send this header across sites."""
    return http_request.headers.get("X-Sandbox-Test") == "1"


class CaptureSchema(Schema):
    amount_paise = fields.Integer(load_default=None, validate=PAISE)
    notes = fields.Dict(keys=fields.String(), values=fields.String(), load_default=None)
    delay_seconds = fields.Integer(load_default=0, validate=validate.Range(min=0, max=7 * 86_400))
    duplicate = fields.Boolean(load_default=False)


class DisputeSchema(Schema):
    amount_paise = fields.Integer(load_default=None, validate=PAISE)
    phase = fields.String(load_default="chargeback", validate=validate.OneOf(PHASES))
    reason = fields.String(load_default="service_not_received", validate=validate.Length(max=120))


class StatusSchema(Schema):
    status = fields.String(required=True, validate=validate.Length(max=20))


class ArmSchema(Schema):
    call = fields.String(required=True, validate=validate.OneOf(tuple(OUTCOMES)))
    outcome = fields.String(required=True, validate=validate.Length(max=40))


class WebhooksSchema(Schema):
    order = fields.String(load_default="due", validate=validate.OneOf(("due", "reverse")))
    entity_id = fields.String(load_default=None, validate=validate.Length(max=80))


def _order(row: SandboxOrder) -> dict[str, Any]:
    return {
        "order_id": row.order_id,
        "status": row.status,
        "payment_id": row.payment_id,
        "captured_paise": row.captured_paise,
    }


def _refund(row: SandboxRefund) -> dict[str, Any]:
    return {"refund_id": row.refund_id, "status": row.status, "amount_paise": row.amount_paise}


def _dispute(row: SandboxDispute) -> dict[str, Any]:
    return {
        "dispute_id": row.dispute_id,
        "payment_id": row.payment_id,
        "amount_paise": row.amount_paise,
        "phase": row.phase,
        "status": row.status,
    }


def _payout(row: SandboxPayout) -> dict[str, Any]:
    return {"payout_id": row.payout_id, "status": row.status, "utr": row.utr, "failure": row.failure}


def _payee(row: SandboxPayee) -> dict[str, Any]:
    return {"payee_id": row.payee_id, "validation_status": row.validation_status}


class SandboxApi(Api):
    """Orders, payments, refunds, mandates, payouts, disputes and webhooks, forced."""

    route_base = "/sandbox/api"
    resource_name = "sandbox"
    openapi_spec_tag = "Gateways"

    @expose("/orders/<order_id>/capture", methods=["POST"])
    @lever
    def capture(self, order_id: str) -> Any:
        """Capture an order
        ---
        post:
          summary: Capture a sandbox order; another amount, other notes, a late or doubled webhook if wanted
          parameters:
          - {in: path, name: order_id, required: true, schema: {type: string}}
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    amount_paise: {type: integer, minimum: 1}
                    notes: {type: object, additionalProperties: {type: string}}
                    delay_seconds: {type: integer, minimum: 0, maximum: 604800}
                    duplicate: {type: boolean}
          responses:
            200:
              description: The order
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        order = provider.pay(db.session(), order_id, **_body(CaptureSchema))
        return _done(_order(order))

    @expose("/orders/<order_id>/<what>", methods=["POST"])
    @lever
    def order_lever(self, order_id: str, what: str) -> Any:
        """Fail an order, or ask for authentication
        ---
        post:
          summary: Let the bank say no, or ask the payer to authenticate first
          parameters:
          - {in: path, name: order_id, required: true, schema: {type: string}}
          - {in: path, name: what, required: true, schema: {type: string, enum: [fail, authenticate]}}
          responses:
            200:
              description: The order
        """
        acts = {"fail": provider.decline, "authenticate": provider.ask_authentication}
        if what not in acts:
            raise DomainError("NOT_FOUND")
        act = acts[what]
        return _done(_order(act(db.session(), order_id)))

    @expose("/orders/<order_id>/resend", methods=["POST"])
    @lever
    def resend(self, order_id: str) -> Any:
        """Send the last webhook again
        ---
        post:
          summary: Send the order's last webhook again, byte for byte
          parameters:
          - {in: path, name: order_id, required: true, schema: {type: string}}
          responses:
            204:
              description: It will come
        """
        provider.resend(db.session(), order_id)
        return _done()

    @expose("/payments/<payment_id>/dispute", methods=["POST"])
    @lever
    def dispute(self, payment_id: str) -> Any:
        """Open a dispute
        ---
        post:
          summary: The payer's bank disputes a captured payment, all of it or amount_paise
          parameters:
          - {in: path, name: payment_id, required: true, schema: {type: string}}
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    amount_paise: {type: integer, minimum: 1}
                    phase: {type: string, enum: [fraud, retrieval, chargeback, pre_arbitration, arbitration]}
                    reason: {type: string, maxLength: 120}
          responses:
            201:
              description: The dispute
            404:
              description: NOT_FOUND
        """
        row = provider.open_dispute(db.session(), payment_id, **_body(DisputeSchema))
        return _done(_dispute(row), 201)

    @expose("/<kind>/<key>", methods=["POST"])
    @lever
    def settle(self, kind: str, key: str) -> Any:
        """Decide what is open
        ---
        post:
          summary: Move a refund, dispute, payout, account validation or mandate to a status
          parameters:
          - {in: path, name: kind, required: true,
             schema: {type: string, enum: [refunds, disputes, payouts, payees, mandates]}}
          - {in: path, name: key, required: true, schema: {type: string}}
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  required: [status]
                  properties:
                    status:
                      type: string
                      description: >-
                        refunds processed, failed; disputes action_required, under_review, won, lost, closed; payouts
                        processing, processed, failed, cancelled, reversed; payees verified, failed; mandates confirmed,
                        rejected, paused, cancelled
          responses:
            200:
              description: The row
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        return _done(settle(kind, key, payload(StatusSchema)["status"]))

    @expose("/levers", methods=["POST"])
    @lever
    def arm(self) -> Any:
        """Arm the next call
        ---
        post:
          summary: What the product's next call of one kind meets, once
          description: >-
            refuse says no, timeout never hears of it, lose_answer does it and loses the answer; the rest are outcomes of
            that call.
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  required: [call, outcome]
                  properties:
                    call: {type: string}
                    outcome: {type: string}
          responses:
            204:
              description: Armed
            400:
              description: VALIDATION_FAILED
        """
        provider.arm(db.session(), **payload(ArmSchema))
        return _done()

    @expose("/webhooks", methods=["POST"])
    @lever
    def webhooks(self) -> Any:
        """Send what waits
        ---
        post:
          summary: Deliver waiting webhooks at once, in order or in reverse; entity_id narrows
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    order: {type: string, enum: [due, reverse]}
                    entity_id: {type: string}
          responses:
            200:
              description: How many
        """
        body = _body(WebhooksSchema)
        act = provider.reverse_due if body["order"] == "reverse" else provider.now_due
        return _done({"webhooks": act(db.session(), body["entity_id"])})


def settle(kind: str, key: str, status: str) -> dict[str, Any]:
    """Move one thing at the provider to *status*. Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    session = db.session()
    if kind == "refunds":
        return _refund(provider.settle_refund(session, key, status))
    if kind == "disputes":
        return _dispute(provider.settle_dispute(session, key, status))
    if kind == "payouts":
        return _payout(provider.settle_payout(session, key, status))
    if kind == "payees":
        return _payee(provider.settle_validation(session, key, status))
    if kind == "mandates":
        row = provider.decide_mandate(session, key, status)
        return {"mandate_id": row.mandate_id, "status": row.status}
    raise DomainError("NOT_FOUND")


def _body(schema: type[Schema]) -> dict[str, Any]:
    return payload(schema) if http_request.get_data() else dict(schema().load({}))


def _done(body: dict[str, Any] | None = None, status: int = 200) -> Any:
    kick_gateway(db.session())
    return ok(body, status) if body is not None else ok(status=204)


def register(app: Flask, appbuilder: Any) -> None:
    """The levers exist outside production only."""
    if not app.config["SETTINGS"].production:
        appbuilder.add_api(SandboxApi)
