"""The platform's books over REST: reconciliation, comparison with providers, postings by hand, frozen wallets."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import GatewayReport, LedgerReconciliationReport, ManualKind, ManualPosting, Organization
from app.security.context import acting, ctx
from app.services import gateway_books, manual_postings, reconcile, wallet_freeze, wallets

from .http import Api, idempotent, ok, parse_id, payload, platform

REASON = validate.Length(max=400)


class ReconcileSchema(Schema):
    organization_id = fields.String(load_default=None, allow_none=True)


class LegSchema(Schema):
    code = fields.String(required=True, validate=validate.Length(max=80))
    side = fields.String(required=True, validate=validate.OneOf(["D", "C"]))
    amount_paise = fields.Integer(required=True, strict=True)


class PostingSchema(Schema):
    kind = fields.Enum(ManualKind, by_value=True, required=True)
    reason = fields.String(required=True, validate=REASON)
    organization_id = fields.String(load_default=None, allow_none=True)
    amount_paise = fields.Integer(load_default=None, allow_none=True, strict=True)
    tax = fields.String(load_default="", validate=validate.Length(max=3))
    challan = fields.String(load_default="", validate=validate.Length(max=60))
    legs = fields.List(fields.Nested(LegSchema), load_default=list, validate=validate.Length(max=20))


class FreezeSchema(Schema):
    reason = fields.String(required=True, validate=REASON)


class GatewaySchema(Schema):
    gateway = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=20))


def organization_of(public_id: str | None) -> Organization:
    """An organisation anywhere by its public id. Raises NOT_FOUND."""
    with acting(db.session(), scope="platform"):
        found = db.session.scalars(
            select(Organization).where(Organization.public_id == parse_id(public_id))
        ).one_or_none()
    if found is None:
        raise DomainError("NOT_FOUND")
    return found


def make_posting(body: dict[str, Any]) -> ManualPosting:
    """A posting by hand as *body* (of PostingSchema) asks. Raises what the service raises."""
    session = db.session()
    if body["kind"] == ManualKind.ADJUSTMENT:
        return manual_postings.propose(session, body["legs"], body["reason"])
    if body["amount_paise"] is None:
        raise Invalid({"amount_paise": ["Choose an amount."]})
    if body["kind"] == ManualKind.TAX_REMITTED:
        return manual_postings.remit(
            session, body["tax"], body["amount_paise"], body["challan"], body["reason"]
        )
    if body["organization_id"] is None:
        raise Invalid({"organization_id": ["Say which organisation gets the credits."]})
    org = organization_of(body["organization_id"])
    return manual_postings.grant(session, org.id, body["amount_paise"], body["reason"])


class BooksApi(Api):
    """What keeps the books right."""

    route_base = "/api/admin"
    resource_name = "admin-books"
    openapi_spec_tag = "Billing"

    @expose("/reconcile", methods=["POST"])
    @platform("ledger", "write")
    def run(self) -> Any:
        """Reconcile
        ---
        post:
          summary: Compare every cache with the journal; findings are stored, nothing is repaired
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    organization_id: {type: string, description: one organisation only}
          responses:
            200:
              description: ok and findings [{kind, expected, actual, delta, ids}]
            404:
              description: NOT_FOUND
        """
        body = payload(ReconcileSchema) if request.get_data() else {"organization_id": None}
        org = organization_of(body["organization_id"]) if body["organization_id"] else None
        with acting(db.session(), scope="job"):
            report = reconcile.run(db.session(), org.id if org else None)
            answer = reconcile.view(report, org)
        return ok(answer)

    @expose("/reconcile", methods=["GET"])
    @platform("ledger", "read")
    def reports(self) -> Any:
        """Reconciliation reports
        ---
        get:
          summary: The last fifty runs with their findings
          responses:
            200:
              description: reports
        """
        with acting(db.session(), scope="platform"):
            rows = db.session.scalars(
                select(LedgerReconciliationReport).order_by(LedgerReconciliationReport.id.desc()).limit(50)
            ).all()
            return ok({"reports": [reconcile.view(r) for r in rows]})

    @expose("/gateway-reports", methods=["GET"])
    @platform("ledger", "read")
    def gateway_reports(self) -> Any:
        """Comparisons with gateways
        ---
        get:
          summary: The last fifty comparisons with the books of gateways
          responses:
            200:
              description: reports
        """
        with acting(db.session(), scope="platform"):
            rows = db.session.scalars(select(GatewayReport).order_by(GatewayReport.id.desc()).limit(50)).all()
            return ok({"reports": [gateway_books.view(r) for r in rows]})

    @expose("/gateway-reports", methods=["POST"])
    @platform("ledger", "write")
    def gateway_compare(self) -> Any:
        """Compare with a gateway
        ---
        post:
          summary: Compare the last three days with a gateway's books, and post its fees
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    gateway: {type: string, enum: [sandbox, razorpay, stripe]}
          responses:
            200:
              description: ok and findings
            503:
              description: GATEWAY_NOT_CONFIGURED, GATEWAY_UNAVAILABLE
        """
        body = payload(GatewaySchema) if request.get_data() else {"gateway": None}
        settings = current_app.config["SETTINGS"]
        with acting(db.session(), scope="job", org_id=None):
            report = gateway_books.compare(db.session(), body["gateway"] or settings.gateway, settings)
            answer = gateway_books.view(report)
        return ok(answer)

    @expose("/postings", methods=["GET"])
    @platform("ledger", "read")
    def postings(self) -> Any:
        """Postings by hand
        ---
        get:
          summary: The newest hundred grants, adjustments and remittances
          responses:
            200:
              description: postings
        """
        with acting(db.session(), scope="platform"):
            rows = manual_postings.listed(db.session())
            return ok({"postings": [manual_postings.view(r) for r in rows]})

    @expose("/postings", methods=["POST"])
    @platform("ledger", "write")
    def post(self) -> Any:
        """Make a posting by hand
        ---
        post:
          summary: A GRANT (organization_id, amount_paise), TAX_REMITTED (tax, amount_paise, challan), or ADJUSTMENT (legs)
          parameters:
          - {in: header, name: Idempotency-Key, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [kind, reason]
                  properties:
                    kind: {type: string, enum: [GRANT, ADJUSTMENT, TAX_REMITTED]}
                    reason: {type: string, minLength: 10, maxLength: 300}
                    organization_id: {type: string}
                    amount_paise: {type: integer}
                    tax: {type: string, enum: [TDS, GST]}
                    challan: {type: string}
                    legs:
                      type: array
                      items:
                        type: object
                        properties:
                          code: {type: string}
                          side: {type: string, enum: [D, C]}
                          amount_paise: {type: integer}
          responses:
            201:
              description: POSTED; an adjustment is PROPOSED until another administrator approves it
            400:
              description: VALIDATION_FAILED
            409:
              description: FUNDING_SOURCE_MISMATCH
        """
        body = payload(PostingSchema)
        return idempotent(
            f"user:{ctx().user_id}:posting", body, lambda: (201, manual_postings.view(make_posting(body)))
        )

    @expose("/postings/<posting_id>/approve", methods=["POST"])
    @platform("ledger", "write")
    def approve(self, posting_id: str) -> Any:
        """Approve an adjustment
        ---
        post:
          summary: Post an adjustment that another administrator proposed
          parameters:
          - {in: path, name: posting_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The posting
            402:
              description: WALLET_INSUFFICIENT_FUNDS
            409:
              description: SECOND_ADMIN_REQUIRED, ILLEGAL_TRANSITION
        """
        return ok(manual_postings.view(manual_postings.approve(db.session(), parse_id(posting_id))))

    @expose("/postings/<posting_id>/reject", methods=["POST"])
    @platform("ledger", "write")
    def reject(self, posting_id: str) -> Any:
        """Reject an adjustment
        ---
        post:
          summary: Turn a proposed adjustment down
          parameters:
          - {in: path, name: posting_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The posting
            409:
              description: ILLEGAL_TRANSITION
        """
        return ok(manual_postings.view(manual_postings.reject(db.session(), parse_id(posting_id))))

    @expose("/organizations/<organization_id>/wallet/freeze", methods=["POST"])
    @platform("ledger", "write")
    def freeze(self, organization_id: str) -> Any:
        """Freeze a wallet
        ---
        post:
          summary: Refuse spending from a wallet; top-ups still arrive
          parameters:
          - {in: path, name: organization_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The billing account
            409:
              description: ILLEGAL_TRANSITION, FUNDING_SOURCE_MISMATCH
        """
        return self._switch(organization_id, True)

    @expose("/organizations/<organization_id>/wallet/unfreeze", methods=["POST"])
    @platform("ledger", "write")
    def unfreeze(self, organization_id: str) -> Any:
        """Unfreeze a wallet
        ---
        post:
          summary: Let a wallet be spent again
          parameters:
          - {in: path, name: organization_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The billing account
            409:
              description: ILLEGAL_TRANSITION, FUNDING_SOURCE_MISMATCH
        """
        return self._switch(organization_id, False)

    def _switch(self, organization_id: str, frozen: bool) -> Any:
        reason = payload(FreezeSchema)["reason"]
        org = organization_of(organization_id)
        account = wallet_freeze.switch(db.session(), org.id, frozen, reason)
        return ok(wallets.view(account, org.status))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(BooksApi)
