"""What happens to a top-up after it was bought, and the mandate that fills the wallet by itself (chapter 2, 2.4)."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.documents import topup_receipt
from app.errors import DomainError
from app.extensions import db
from app.models import TopUpRefund, WalletTopUp
from app.security import limits
from app.security.context import acting, ctx
from app.services import auto_topup, idempotency, topup_refunds, wallets
from app.services.text import money

from .billing import BASE
from .http import Api, find, gate, idempotent, ok, payload


class RefundSchema(Schema):
    amount_paise = fields.Integer(required=True, strict=True, validate=validate.Range(min=1, max=10**13))
    reason = fields.String(load_default="Credits are not needed any more", validate=validate.Length(max=400))


class MandateSchema(Schema):
    max_paise = fields.Integer(load_default=None, allow_none=True, strict=True)


class TopUpsApi(Api):
    """Refunds, receipts and the mandate of a wallet."""

    route_base = BASE
    resource_name = "wallet-top-ups"
    openapi_spec_tag = "Billing"

    @expose("/billing-account/wallet/top-ups/<top_up_id>/refund", methods=["POST"])
    @gate("top-ups", "write", active=True)
    def refund(self, top_up_id: str) -> Any:
        """Have credits paid back
        ---
        post:
          summary: Give part or all of a top-up back, as far as the wallet still holds it
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: top_up_id, required: true, schema: {type: string}}
          - {in: header, name: Idempotency-Key, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [amount_paise]
                  properties:
                    amount_paise: {type: integer, minimum: 1}
                    reason: {type: string, maxLength: 300}
          responses:
            201:
              description: refund_id, status (SUCCEEDED, or PENDING while the provider works)
            200:
              description: The same refund, for a repeated key
            409:
              description: WALLET_BALANCE_TOO_LOW, PAYMENT_NOT_REFUNDABLE, REFUND_WINDOW_CLOSED, WALLET_FROZEN
        """
        body = payload(RefundSchema)
        session = db.session()
        row = find(WalletTopUp, top_up_id)
        made: list[TopUpRefund] = []

        def work() -> tuple[int, dict[str, Any]]:
            refund = topup_refunds.reserve(session, row, body["amount_paise"], body["reason"])
            made.append(refund)
            return 201, topup_refunds.view(refund, row)

        scope = f"org:{ctx().org_id}"
        answer = idempotent(scope, {"refund": body, "top_up": str(row.public_id)}, work)
        if not made:
            return answer
        session.commit()  # reserved; whatever happens now, the outbox goes on with it
        return self._sent(made[0], row, scope)

    def _sent(self, refund: TopUpRefund, row: WalletTopUp, scope: str) -> Response:
        """Ask the provider at once; no answer is no failure, because the outbox asks again."""
        session = db.session()
        try:
            with acting(session, scope="job", org_id=None):
                topup_refunds.send(session, refund.public_id, current_app.config["SETTINGS"])
        except DomainError:
            session.rollback()
        session.refresh(refund)
        view = topup_refunds.view(refund, row)
        idempotency.store(session, scope, request.headers["Idempotency-Key"], 201, view)
        return ok(view, 201)

    @expose("/billing-account/wallet/top-ups/<top_up_id>/refunds", methods=["GET"])
    @gate("top-ups", "read")
    def refunds(self, top_up_id: str) -> Any:
        """Refunds of a top-up
        ---
        get:
          summary: What of a top-up was given back, and what still may be
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: top_up_id, required: true, schema: {type: string}}
          responses:
            200:
              description: refunds, refundable_paise
            404:
              description: NOT_FOUND
        """
        row = find(WalletTopUp, top_up_id)
        rows = db.session.scalars(
            select(TopUpRefund)
            .where(TopUpRefund.top_up_id == row.id)
            .order_by(TopUpRefund.id.desc())
            .limit(100)
        )
        most = topup_refunds.most(db.session(), row, wallets.account(db.session()))
        return ok({"refunds": [topup_refunds.view(r, row) for r in rows], "refundable_paise": most})

    @expose("/billing-account/wallet/top-ups/<top_up_id>/receipt.pdf", methods=["GET"])
    @gate("top-ups", "read")
    def receipt(self, top_up_id: str) -> Any:
        """The receipt of a top-up
        ---
        get:
          summary: The receipt of a credited top-up as PDF
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: top_up_id, required: true, schema: {type: string}}
          responses:
            200:
              description: application/pdf
            404:
              description: NOT_FOUND
        """
        return topup_receipt.response(find(WalletTopUp, top_up_id), money)

    @expose("/billing-account/wallet/mandate", methods=["POST"])
    @gate("wallet", "write", active=True)
    def mandate(self) -> Any:
        """Ask for a mandate
        ---
        post:
          summary: Ask the payer's bank for a mandate; it is granted on authorization_url
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: header, name: Idempotency-Key, required: true, schema: {type: string}}
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    max_paise: {type: integer, minimum: 10000, maximum: 1500000, description: most a charge may be}
          responses:
            201:
              description: authorization_url, mandate_status, mandate_max_paise
            200:
              description: The same mandate, for a repeated key
            409:
              description: FUNDING_SOURCE_MISMATCH
        """
        body = payload(MandateSchema)

        def work() -> tuple[int, dict[str, Any]]:
            limits.hit("top-up", str(ctx().org_id))
            row, url = auto_topup.request_mandate(
                db.session(), body["max_paise"], current_app.config["SETTINGS"]
            )
            return 201, {
                "authorization_url": url,
                "mandate_status": row.mandate_status.value if row.mandate_status else None,
                "mandate_max_paise": row.mandate_max_paise,
            }

        return idempotent(f"org:{ctx().org_id}", {"mandate": body}, work)

    @expose("/billing-account/wallet/mandate", methods=["DELETE"])
    @gate("wallet", "write", active=True)
    def forget(self) -> Any:
        """Remove the mandate
        ---
        delete:
          summary: Stop automatic charges; automatic top-up is off
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The account
            409:
              description: MANDATE_REQUIRED (there is none)
        """
        return ok(wallets.view(auto_topup.forget_mandate(db.session()), g.org["status"]))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(TopUpsApi)
