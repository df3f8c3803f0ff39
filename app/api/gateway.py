"""Webhooks of payment gateways (chapter 2, 2.7)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Flask, current_app, redirect, request
from flask_appbuilder.api import expose

from app.errors import DomainError
from app.extensions import db
from app.gateways import open_gateway
from app.gateways.razorpay import RazorpayGateway
from app.jobs import queue
from app.security.context import acting
from app.services import gateway_events

from . import sandbox
from .http import Api, ok, public

MAX_BODY = 256 * 1024


class GatewayWebhooks(Api):
    """Where providers report. The signature is the identity."""

    route_base = "/webhooks/gateway"
    resource_name = "gateway-webhooks"
    openapi_spec_tag = "Gateways"

    @expose("/<name>", methods=["POST"])
    @public
    def receive(self, name: str) -> Any:
        """Receive a webhook
        ---
        post:
          summary: A payment provider's webhook; HMAC over the raw body
          parameters:
          - {in: path, name: name, required: true, schema: {type: string, enum: [sandbox, razorpay, stripe]}}
          responses:
            200:
              description: Stored; duplicate is true for one that came before
            400:
              description: WEBHOOK_SIGNATURE_INVALID
        """
        if (request.content_length or 0) > MAX_BODY:
            raise DomainError("PAYLOAD_TOO_LARGE")
        body = request.stream.read(MAX_BODY + 1)  # a body may come without its length
        if name not in ("sandbox", "razorpay", "stripe"):
            raise DomainError("NOT_FOUND")
        gateway = open_gateway(current_app.config["SETTINGS"], db.session(), name)
        if len(body) > MAX_BODY:
            raise DomainError("PAYLOAD_TOO_LARGE")
        if not gateway.verify_webhook(body, dict(request.headers)):
            raise DomainError("WEBHOOK_SIGNATURE_INVALID")
        try:
            if b"\\u0000" in body:
                raise ValueError("NUL characters")  # PostgreSQL keeps none
            event = gateway.parse_event(body)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise DomainError("BAD_REQUEST") from None
        with acting(db.session(), scope="job"):
            new = gateway_events.store(db.session(), name, event, body)
        queue.after_commit(db.session(), "process_gateway_events")
        return ok({"received": True, "duplicate": not new})


class RazorpayReturn(Api):
    """Where Razorpay's page sends the payer: a form from another site, so its signature stands for a token."""

    route_base = "/webhooks/gateway/razorpay/return"
    resource_name = "razorpay-return"
    openapi_spec_tag = "Gateways"

    @expose("/<order_id>", methods=["POST"])
    @public
    def come_back(self, order_id: str) -> Any:
        """Come back from Razorpay
        ---
        post:
          summary: The payer comes back from Razorpay's page; confirms nothing, only redirects within this site
          parameters:
          - {in: path, name: order_id, required: true, schema: {type: string}}
          - {in: query, name: next, schema: {type: string}}
          responses:
            303:
              description: To next
            400:
              description: WEBHOOK_SIGNATURE_INVALID
        """
        target = urlsplit(request.args.get("next", "/"))
        inside = not target.scheme and not target.netloc and target.path.startswith("/")
        path = target.geturl() if inside and not target.path.startswith(("//", "/\\")) else "/"
        signature = request.form.get("razorpay_signature", "")[:200]
        if signature:
            gateway = open_gateway(current_app.config["SETTINGS"], db.session(), "razorpay")
            payment_id = request.form.get("razorpay_payment_id", "")[:80]
            if not isinstance(gateway, RazorpayGateway) or not gateway.checkout_signature_fits(
                order_id[:80], payment_id, signature
            ):
                raise DomainError("WEBHOOK_SIGNATURE_INVALID")
        return redirect(path, code=303)


def register(app: Flask, appbuilder: Any) -> None:
    """Register the webhook's address, and the sandbox's levers beside it."""
    appbuilder.add_api(GatewayWebhooks)
    appbuilder.add_api(RazorpayReturn)
    sandbox.register(app, appbuilder)
