"""REST of invoices: the list, drafts, roll-up, issue, void (chapter 2, 2.9). Their money: ``invoice_money``."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.errors import Invalid
from app.extensions import db
from app.gateways.irp import open_irp
from app.models import Invoice
from app.services import (
    einvoices,
    invoice_drafts,
    invoice_exports,
    invoice_issue,
    invoice_reads,
    invoice_rollup,
    invoice_void,
    invoices,
)

from .contracts import page_of
from .http import Api, find, gate, ok, payload
from .invoice_answers import LINES, exported, filters, keyed, pdf, show, supplier


class ItemBody(Schema):
    """What values may be is decided in app/services/invoice_drafts.py."""

    description = fields.String(required=True, validate=validate.Length(max=300))
    sac = fields.String(allow_none=True, validate=validate.Length(max=8))
    quantity = fields.Integer(strict=True, load_default=1)
    unit_paise = fields.Integer(required=True, strict=True)
    discount_paise = fields.Integer(strict=True, load_default=0)
    tax_bps = fields.Integer(strict=True, allow_none=True, load_default=None)


class InvoiceBody(Schema):
    items = fields.List(fields.Nested(ItemBody), required=True, validate=validate.Length(min=1, max=500))
    due_date = fields.Date(allow_none=True)
    purchase_order_id = fields.String(allow_none=True, validate=validate.Length(max=40))
    contract_id = fields.String(allow_none=True, validate=validate.Length(max=40))
    currency = fields.String(validate=validate.Length(max=3))
    note = fields.String(allow_none=True, validate=validate.Length(max=2000))
    reverse_charge = fields.Boolean()
    round_total = fields.Boolean(allow_none=True)
    issue_immediately = fields.Boolean()


class ReasonBody(Schema):
    reason = fields.String(required=True, validate=validate.Length(max=300))


class OptionalReasonBody(Schema):
    reason = fields.String(load_default="", validate=validate.Length(max=300))


class InvoicesApi(Api):
    """Invoices of an organisation."""

    route_base = "/api/organizations/<org_id>/billing-account/invoices"
    resource_name = "org_invoices"
    openapi_spec_tag = "Invoices"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("invoices", "read", sponsor=True)
    def get_list(self) -> Any:
        """Invoices
        ---
        get:
          summary: Invoices, newest first; format=csv the list, gst the GSTR-1 register, hsn its HSN summary
          parameters:
          - {in: query, name: status, schema: {type: string}}
          - {in: query, name: kind, schema: {type: string, enum: [ROLL_UP, MANUAL, LICENSE, STATEMENT]}}
          - {in: query, name: q, schema: {type: string}, description: number of the invoice or its purchase order}
          - {in: query, name: from, schema: {type: string, format: date}}
          - {in: query, name: to, schema: {type: string, format: date}}
          - {in: query, name: format, schema: {type: string, enum: [json, csv, gst, hsn]}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result and next_cursor, or a file
            403:
              description: NOT_A_MEMBER, INSUFFICIENT_ROLE
        """
        what = request.args.get("format", "json")
        if what in invoice_exports.FORMATS:
            return exported(what)
        return page_of(invoice_reads.selection(filters()), Invoice, invoice_reads.brief)

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @gate("invoices", "write", active=True, sponsor=True)
    def post(self) -> Any:
        """Write an invoice
        ---
        post:
          summary: A manual invoice, as a draft or issued at once; it draws its purchase order now
          parameters:
          - {in: header, name: Idempotency-Key, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [items]
                  properties:
                    items:
                      type: array
                      items:
                        type: object
                        required: [description, unit_paise]
                        properties:
                          description: {type: string}
                          quantity: {type: integer, minimum: 1}
                          unit_paise: {type: integer, description: hundredths of the currency}
                          discount_paise: {type: integer}
                          sac: {type: string}
                          tax_bps: {type: integer}
                    due_date: {type: string, format: date}
                    purchase_order_id: {type: string, format: uuid}
                    contract_id: {type: string, format: uuid}
                    currency: {type: string, enum: [INR, USD, EUR, GBP]}
                    note: {type: string}
                    reverse_charge: {type: boolean}
                    round_total: {type: boolean}
                    issue_immediately: {type: boolean}
          responses:
            201:
              description: The invoice
            400:
              description: VALIDATION_FAILED
            403:
              description: BILLING_ADMIN_OR_OWNER_REQUIRED
            409:
              description: PO_REQUIRED, PO_BALANCE_EXCEEDED, PO_CURRENCY_MISMATCH, PO_NOT_ACTIVE, FX_RATE_MISSING
        """
        body = payload(InvoiceBody)
        return keyed(
            "invoice", body, lambda: (201, show(invoice_drafts.create(db.session(), body, supplier())))
        )

    @expose("/roll-up", methods=["GET"])
    @gate("invoices", "read", sponsor=True)
    def pending(self) -> Any:
        """What a roll-up would bill
        ---
        get:
          summary: Bookings and unused minimums that no invoice holds yet, with the tax they will carry
          responses:
            200:
              description: bookings, commitments, subtotal_paise, tax_paise, total_paise
        """
        return ok(invoice_rollup.preview(db.session(), supplier()))

    @expose("/roll-up", methods=["POST"])
    @gate("invoices", "write", active=True, sponsor=True)
    def roll_up(self) -> Any:
        """Roll up
        ---
        post:
          summary: Bill everything that no invoice holds yet; usually one invoice
          parameters:
          - {in: header, name: Idempotency-Key, schema: {type: string}}
          responses:
            201:
              description: The invoice, and all of them under invoices
            403:
              description: BILLING_ADMIN_OR_OWNER_REQUIRED
            409:
              description: NOTHING_TO_BILL, FUNDING_SOURCE_MISMATCH
        """

        def work() -> tuple[int, dict[str, Any]]:
            rows = invoice_rollup.roll_up(db.session(), supplier())
            return 201, {**show(rows[0]), "invoices": [invoice_reads.brief(r) for r in rows]}

        return keyed("roll-up", {}, work)

    @expose("/<public_id>", methods=["GET"])
    @gate("invoices", "read", sponsor=True)
    def get(self, public_id: str) -> Any:
        """One invoice
        ---
        get:
          summary: One invoice with lines, receipts, credit notes, match and registration
          responses:
            200:
              description: The invoice; its first 500 lines
            404:
              description: NOT_FOUND
        """
        return ok(show(find(Invoice, public_id)))

    @expose("/<public_id>/lines", methods=["GET"])
    @gate("invoices", "read", sponsor=True)
    def lines(self, public_id: str) -> Any:
        """Lines
        ---
        get:
          summary: Lines of an invoice, 500 at a time, after a position
          parameters:
          - {in: query, name: after, schema: {type: integer, minimum: 0}}
          responses:
            200:
              description: lines and next_after (null at the end)
        """
        raw = request.args.get("after", "0")
        if not raw.isascii() or not raw.isdigit() or len(raw) > 9:
            raise Invalid({"after": ["A position: 0 or more."]})
        rows = invoices.lines_of(db.session(), find(Invoice, public_id), limit=LINES + 1, after=int(raw))
        more = rows[LINES - 1].position if len(rows) > LINES else None
        return ok({"lines": [invoice_reads.line_json(n) for n in rows[:LINES]], "next_after": more})

    @expose("/<public_id>", methods=["PATCH"])
    @gate("invoices", "write", active=True, sponsor=True)
    def patch(self, public_id: str) -> Any:
        """Change a draft
        ---
        patch:
          summary: Replace what a manual draft says
          responses:
            200:
              description: The draft
            409:
              description: ILLEGAL_TRANSITION, PO_REQUIRED, PO_BALANCE_EXCEEDED
        """
        row = invoice_drafts.change(db.session(), find(Invoice, public_id), payload(InvoiceBody), supplier())
        return ok(show(row))

    @expose("/<public_id>/issue", methods=["POST"])
    @gate("invoices", "write", active=True, sponsor=True)
    def issue(self, public_id: str) -> Any:
        """Issue
        ---
        post:
          summary: Number a draft, freeze it and send it
          responses:
            200:
              description: The ISSUED invoice
            409:
              description: ILLEGAL_TRANSITION
        """
        return ok(show(invoice_issue.issue(db.session(), find(Invoice, public_id), supplier())))

    @expose("/<public_id>/cancel", methods=["POST"])
    @gate("invoices", "write", active=True, sponsor=True)
    def cancel(self, public_id: str) -> Any:
        """Cancel a draft
        ---
        post:
          summary: Drop a draft; its purchase order gets back what it drew
          responses:
            200:
              description: The CANCELLED draft
            409:
              description: ILLEGAL_TRANSITION
        """
        body = payload(OptionalReasonBody) if request.get_data() else {"reason": ""}
        return ok(show(invoice_drafts.cancel(db.session(), find(Invoice, public_id), body["reason"])))

    @expose("/<public_id>/void", methods=["POST"])
    @gate("invoices", "write", active=True, sponsor=True)
    def void(self, public_id: str) -> Any:
        """Void
        ---
        post:
          summary: Take back an invoice of which nothing is paid; bookings are billable again
          responses:
            200:
              description: The VOID invoice
            409:
              description: ILLEGAL_TRANSITION, IRP_CANCEL_WINDOW_CLOSED, IRP_REJECTED
            503:
              description: IRP_UNAVAILABLE
        """
        body = payload(ReasonBody)
        row = find(Invoice, public_id)
        einvoices.cancel(db.session(), row, body["reason"], open_irp(current_app.config["SETTINGS"]))
        return ok(show(invoice_void.void(db.session(), row, body["reason"])))

    @expose("/<public_id>/rebill", methods=["POST"])
    @gate("invoices", "write", active=True, sponsor=True)
    def rebill(self, public_id: str) -> Any:
        """Bill again
        ---
        post:
          summary: A draft with the lines of a void invoice that are no bookings
          responses:
            201:
              description: The draft
            409:
              description: ILLEGAL_TRANSITION, NOTHING_TO_BILL
        """
        return ok(show(invoice_void.rebill(db.session(), find(Invoice, public_id), supplier())), 201)

    @expose("/<public_id>/pdf", methods=["GET"])
    @gate("invoices", "read", sponsor=True)
    def pdf(self, public_id: str) -> Any:
        """The document
        ---
        get:
          summary: The invoice as PDF
          responses:
            200:
              description: A PDF
              content:
                application/pdf: {}
        """
        return pdf(find(Invoice, public_id))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(InvoicesApi)
