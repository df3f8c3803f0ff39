"""Billing account, wallet and top-ups of an organisation (chapter 2, 2.4)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, current_app, g, request, stream_with_context
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.extensions import db
from app.models import GstMode, WalletTopUp
from app.security import limits
from app.security.context import ctx
from app.services import funding, topups, wallets
from app.views.base.exporting import keeping_identity

from .http import Api, find, gate, idempotent, number_arg, ok, payload

BASE = "/api/organizations/<org_id>"
EXPORT_BATCH = 500


class AccountSchema(Schema):
    credit_limit_paise = fields.Integer(
        allow_none=True, strict=True, validate=validate.Range(min=0, max=10**13)
    )
    min_balance_paise = fields.Integer(
        allow_none=True, strict=True, validate=validate.Range(min=0, max=10**13)
    )
    allow_member_top_up = fields.Boolean()
    auto_top_up_enabled = fields.Boolean()
    auto_top_up_amount_paise = fields.Integer(allow_none=True, strict=True)
    wallet_gst_mode = fields.Enum(GstMode, by_value=True)


class FundingSchema(Schema):
    to = fields.String(required=True, validate=validate.Length(max=20))


class TopUpSchema(Schema):
    amount_paise = fields.Integer(required=True, strict=True)


class BillingAccountApi(Api):
    """How the organisation pays."""

    route_base = BASE
    resource_name = "billing-account"
    openapi_spec_tag = "Billing"

    @expose("/billing-account", methods=["GET"])
    @gate("billing-account", "read", sponsor=True)
    def read(self) -> Any:
        """The billing account
        ---
        get:
          summary: Funding source, balance and limits
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The account
            403:
              description: NOT_A_MEMBER, INSUFFICIENT_ROLE
        """
        return ok(wallets.view(wallets.account(db.session()), g.org["status"]))

    @expose("/billing-account", methods=["PATCH"])
    @gate("billing-account", "write", active=True, sponsor=True)
    def change(self) -> Any:
        """Change the billing account
        ---
        patch:
          summary: Change limits; fields of another funding source are refused
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The account
            403:
              description: BILLING_ADMIN_OR_OWNER_REQUIRED, INSUFFICIENT_ROLE (raising the credit limit)
            409:
              description: FUNDING_SOURCE_MISMATCH
        """
        return ok(
            wallets.view(wallets.change(db.session(), payload(AccountSchema, partial=True)), g.org["status"])
        )

    @expose("/billing-account/funding-source", methods=["POST"])
    @gate("billing-account", "write", active=True, sponsor=True)
    def request_funding(self) -> Any:
        """Pay another way
        ---
        post:
          summary: Change the funding source, at once if nothing is open, else as soon as nothing is
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [to]
                  properties:
                    to: {type: string, enum: [PERSONAL, WALLET, INVOICE, LICENSE]}
          responses:
            200:
              description: Changed; the account
            202:
              description: Scheduled; the account with pending_funding_source, and open (counts)
            400:
              description: VALIDATION_FAILED
            403:
              description: BILLING_ADMIN_OR_OWNER_REQUIRED, DOMAIN_VERIFICATION_REQUIRED
            409:
              description: ORG_NOT_VERIFIED, ORG_NOT_ACTIVE, SPONSOR_CAPABILITY_REQUIRED
        """
        row, left = funding.request(db.session(), payload(FundingSchema)["to"])
        return ok({**wallets.view(row, g.org["status"]), "open": left}, 202 if left else 200)

    @expose("/billing-account/funding-source", methods=["DELETE"])
    @gate("billing-account", "write", active=True, sponsor=True)
    def cancel_funding(self) -> Any:
        """Take the scheduled change back
        ---
        delete:
          summary: Take a scheduled change of the funding source back
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The account
            409:
              description: FUNDING_CHANGE_NOT_PENDING
        """
        return ok(wallets.view(funding.cancel(db.session()), g.org["status"]))

    @expose("/billing-account/wallet", methods=["GET"])
    @gate("wallet", "read")
    def wallet(self) -> Any:
        """The credit ledger
        ---
        get:
          summary: Balance and ledger, newest first; format=csv streams all of it
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: page, schema: {type: integer, minimum: 1}}
          - {in: query, name: per_page, schema: {type: integer, maximum: 100}}
          - {in: query, name: kind, schema: {type: string}}
          - {in: query, name: from, schema: {type: string, format: date}, description: "day in India"}
          - {in: query, name: to, schema: {type: string, format: date}, description: "day in India, inclusive"}
          - {in: query, name: format, schema: {type: string, enum: [json, csv]}}
          responses:
            200:
              description: balance_paise, entries, total, pending top-ups
            409:
              description: FUNDING_SOURCE_MISMATCH
        """
        account = wallets.wallet_of(db.session())
        if request.args.get("format") == "csv":
            return ledger_csv()
        page, per_page = number_arg("page", 1, 100_000), number_arg("per_page", 25, wallets.MAX_PAGE)
        chosen = wallets.Filter.of(request.args)
        rows, total = wallets.entries(db.session(), page=page, per_page=per_page, chosen=chosen)
        return ok(
            {
                "balance_paise": account.wallet_balance_paise,
                "frozen": account.wallet_frozen_at is not None,
                "page": page,
                "per_page": per_page,
                "total": total,
                "entries": [
                    {k: (v.isoformat() if k == "posted_at" else v) for k, v in row.items() if k != "row"}
                    for row in rows
                ],
                "pending_top_ups": [topups.view(t) for t in wallets.pending_top_ups(db.session())],
            }
        )

    @expose("/billing-account/wallet/top-ups", methods=["GET"])
    @gate("top-ups", "read")
    def list_top_ups(self) -> Any:
        """Top-ups
        ---
        get:
          summary: The newest hundred top-ups
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: top_ups
        """
        rows = db.session.scalars(select(WalletTopUp).order_by(WalletTopUp.id.desc()).limit(100))
        return ok({"top_ups": [topups.view(row) for row in rows]})

    @expose("/billing-account/wallet/top-ups/<top_up_id>", methods=["GET"])
    @gate("top-ups", "read")
    def show_top_up(self, top_up_id: str) -> Any:
        """One top-up
        ---
        get:
          summary: One top-up and its state
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: top_up_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The top-up
            404:
              description: NOT_FOUND
        """
        return ok(topups.view(find(WalletTopUp, top_up_id)))

    @expose("/billing-account/wallet/top-ups", methods=["POST"])
    @gate("top-ups", "write", active=True)
    def create_top_up(self) -> Any:
        """Buy credits
        ---
        post:
          summary: Order a top-up of at least 10000 paise; pay on checkout_url
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: header, name: Idempotency-Key, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [amount_paise]
                  properties:
                    amount_paise: {type: integer, minimum: 10000}
          responses:
            201:
              description: top_up_id, order_id, checkout_url, amount_paise, status
            200:
              description: The same top-up, for a repeated key
            400:
              description: VALIDATION_FAILED, IDEMPOTENCY_KEY_REQUIRED
            403:
              description: BILLING_ADMIN_OR_OWNER_REQUIRED
            409:
              description: ORG_NOT_VERIFIED, FUNDING_SOURCE_MISMATCH, IDEMPOTENCY_KEY_REUSED
        """
        body = payload(TopUpSchema)
        session, settings = db.session(), current_app.config["SETTINGS"]

        def work() -> tuple[int, dict[str, Any]]:
            limits.hit("top-up", str(ctx().org_id))
            return 201, topups.view(topups.create(session, body["amount_paise"], settings))

        return idempotent(f"org:{ctx().org_id}", {"top_up": body}, work)


def ledger_csv() -> Response:
    """The credit ledger as CSV, streamed, with the list's filters; cells that a spreadsheet would calculate are escaped."""

    session, chosen = db.session(), wallets.Filter.of(request.args)

    def lines() -> Iterator[str]:
        buffer, last = io.StringIO(), 2**62
        writer = csv.writer(buffer)
        writer.writerow(["posted_at", "kind", "description", "reference", "delta_paise", "balance_paise"])
        while True:
            rows, _ = wallets.entries(session, before_id=last, per_page=EXPORT_BATCH, chosen=chosen)
            for row in rows:
                text = str(row["description"])
                writer.writerow(
                    [
                        row["posted_at"].isoformat(),
                        row["kind"],
                        f"'{text}" if text[:1] in "=+-@\t\r" else text,
                        row["reference"],
                        row["delta_paise"],
                        row["balance_paise"],
                    ]
                )
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
            if len(rows) < EXPORT_BATCH:
                return
            last = rows[-1]["row"]

    name = f"credit-ledger-{g.org['slug']}.csv"
    return Response(
        stream_with_context(keeping_identity(lines())),
        mimetype="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(BillingAccountApi)
