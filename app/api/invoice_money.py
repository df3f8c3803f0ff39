"""REST of an invoice's money: paying, bank transfers, receipts, credit notes, refunds (chapter 2, 2.9)."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.errors import DomainError
from app.extensions import db
from app.models import CreditNote, Invoice, InvoiceRefund
from app.services import (
    credit_notes,
    invoice_reads,
    invoice_receipts,
    invoices,
)

from .contracts import page_of
from .http import Api, find, gate, ok, payload
from .invoice_answers import keyed, pdf, receipt_of, require_admin, show


class ReceiptBody(Schema):
    amount_paise = fields.Integer(required=True, strict=True)
    utr = fields.String(required=True, validate=validate.Length(max=60))
    received_on = fields.Date(required=True)
    note = fields.String(load_default="", validate=validate.Length(max=300))


class CreditItem(Schema):
    line = fields.Integer(required=True, strict=True)
    amount_paise = fields.Integer(required=True, strict=True)


class CreditBody(Schema):
    items = fields.List(fields.Nested(CreditItem), allow_none=True, load_default=None)
    reason = fields.String(required=True, validate=validate.Length(max=300))


class UtrBody(Schema):
    utr = fields.String(required=True, validate=validate.Length(max=60))


class InvoiceMoneyApi(Api):
    """What is paid for invoices, and what is given back."""

    route_base = "/api/organizations/<org_id>/billing-account/invoices"
    resource_name = "org_invoice_money"
    openapi_spec_tag = "Invoices"

    @expose("/<public_id>/pay", methods=["POST"])
    @gate("invoices", "pay", sponsor=True)
    def pay(self, public_id: str) -> Any:
        """Pay
        ---
        post:
          summary: The provider's page for what is due; one order, reused until the amount changes
          responses:
            200:
              description: order_id, checkout_url, amount_paise
            403:
              description: BILLING_ADMIN_OR_OWNER_REQUIRED
            409:
              description: INVOICE_NOT_PAYABLE
            503:
              description: GATEWAY_UNAVAILABLE, GATEWAY_NOT_CONFIGURED
        """
        row = invoice_receipts.pay(db.session(), find(Invoice, public_id), current_app.config["SETTINGS"])
        return ok(
            {
                "invoice_id": str(row.public_id),
                "order_id": row.gateway_order_id,
                "checkout_url": row.checkout_url,
                "amount_paise": row.gateway_order_paise,
                "status": row.status.value,
            }
        )

    @expose("/<public_id>/receipts", methods=["POST"])
    @gate("invoices", "pay", sponsor=True)
    def receipt(self, public_id: str) -> Any:
        """Record a bank transfer
        ---
        post:
          summary: ADMIN enters a transfer from the bank statement; part of the due amount is allowed
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [amount_paise, utr, received_on]
                  properties:
                    amount_paise: {type: integer, minimum: 1}
                    utr: {type: string}
                    received_on: {type: string, format: date}
                    note: {type: string}
          responses:
            201:
              description: The invoice
            403:
              description: INSUFFICIENT_ROLE
            409:
              description: INVOICE_NOT_PAYABLE, UTR_ALREADY_RECORDED
        """
        require_admin()
        body = payload(ReceiptBody)

        def work() -> tuple[int, dict[str, Any]]:
            row = find(Invoice, public_id)
            invoice_receipts.record_bank(
                db.session(), row, body["amount_paise"], body["utr"], body["received_on"], body["note"]
            )
            return 201, show(row)

        return keyed("receipt", {**body, "invoice": public_id}, work)

    @expose("/<public_id>/credit-notes", methods=["POST"])
    @gate("credit-notes", "write", active=True, sponsor=True)
    def credit(self, public_id: str) -> Any:
        """Write a credit note
        ---
        post:
          summary: ADMIN takes back lines that are no bookings, in whole or in part; bookings are refunded instead
          responses:
            201:
              description: The credit note
            403:
              description: INSUFFICIENT_ROLE
            409:
              description: ILLEGAL_TRANSITION
        """
        require_admin()
        body = payload(CreditBody)

        def work() -> tuple[int, dict[str, Any]]:
            row = find(Invoice, public_id)
            note = credit_notes.create(db.session(), row, body["items"], body["reason"])
            return 201, invoice_reads.note_json(note, row)

        return keyed("credit-note", {**body, "invoice": public_id}, work)

    @expose("/<public_id>/refunds/<refund_id>/transfer", methods=["POST"])
    @gate("invoices", "pay", sponsor=True)
    def transfer(self, public_id: str, refund_id: str) -> Any:
        """Record the transfer of a refund
        ---
        post:
          summary: ADMIN enters the bank's reference of money returned
          responses:
            200:
              description: The invoice
            403:
              description: INSUFFICIENT_ROLE
            409:
              description: ILLEGAL_TRANSITION, UTR_ALREADY_RECORDED
        """
        require_admin()
        row, made = find(Invoice, public_id), find(InvoiceRefund, refund_id)
        if made.invoice_id != row.id:
            raise DomainError("NOT_FOUND")
        credit_notes.by_bank(db.session(), made, payload(UtrBody)["utr"])
        return ok(show(row))

    @expose("/<public_id>/receipts/<receipt_id>/pdf", methods=["GET"])
    @gate("invoices", "read", sponsor=True)
    def receipt_pdf(self, public_id: str, receipt_id: str) -> Any:
        """The receipt for money
        ---
        get:
          summary: The receipt for money that arrived for the invoice, as PDF
          responses:
            200:
              description: A PDF
              content:
                application/pdf: {}
            404:
              description: NOT_FOUND
        """
        return pdf(receipt_of(public_id, receipt_id))


class CreditNotesApi(Api):
    """Credit notes of an organisation."""

    route_base = "/api/organizations/<org_id>/billing-account/credit-notes"
    resource_name = "org_credit_notes"
    openapi_spec_tag = "Invoices"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("credit-notes", "read", sponsor=True)
    def get_list(self) -> Any:
        """Credit notes
        ---
        get:
          summary: Credit notes, newest first
          parameters:
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result and next_cursor
        """
        return page_of(
            invoice_reads.notes_page(), CreditNote, lambda n: invoice_reads.note_json(n, n.invoice)
        )

    @expose("/<public_id>", methods=["GET"])
    @gate("credit-notes", "read", sponsor=True)
    def get(self, public_id: str) -> Any:
        """One credit note
        ---
        get:
          summary: One credit note with its lines
          responses:
            200:
              description: The credit note
            404:
              description: NOT_FOUND
        """
        note = find(CreditNote, public_id)
        row = invoices.fresh(db.session(), note.invoice_id)
        shown = [
            {
                "position": n.position,
                "description": n.description,
                "sac": n.sac,
                "tax_bps": n.rate_bps,
                "taxable_paise": n.taxable_paise,
                "cgst_paise": n.cgst_paise,
                "sgst_paise": n.sgst_paise,
                "utgst_paise": n.utgst_paise,
                "igst_paise": n.igst_paise,
                "total_paise": n.total_paise,
            }
            for n in invoice_reads.note_lines(db.session(), note)
        ]
        return ok({**invoice_reads.note_json(note, row), "lines": shown})

    @expose("/<public_id>/confirm-itc", methods=["POST"])
    @gate("credit-notes", "write", sponsor=True)
    def confirm(self, public_id: str) -> Any:
        """Input tax credit reversed
        ---
        post:
          summary: Say that the input tax credit of a credit note was reversed in your books
          responses:
            200:
              description: The credit note
            409:
              description: ILLEGAL_TRANSITION
        """
        note = credit_notes.confirm_itc(db.session(), find(CreditNote, public_id))
        return ok(invoice_reads.note_json(note, invoices.fresh(db.session(), note.invoice_id)))

    @expose("/<public_id>/pdf", methods=["GET"])
    @gate("credit-notes", "read", sponsor=True)
    def pdf(self, public_id: str) -> Any:
        """The document
        ---
        get:
          summary: The credit note as PDF
          responses:
            200:
              description: A PDF
              content:
                application/pdf: {}
        """
        return pdf(find(CreditNote, public_id))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources."""
    appbuilder.add_api(InvoiceMoneyApi)
    appbuilder.add_api(CreditNotesApi)
