"""REST of invoices and credit notes (chapter 2, 2.9)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, Response, current_app, g, request, stream_with_context
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy.orm import Session

from app.documents import store as documents
from app.errors import DomainError, Invalid
from app.extensions import db
from app.gateways.irp import open_irp
from app.models import CreditNote, Invoice, InvoiceReceipt, InvoiceRefund, TaxVoucher
from app.security.context import ctx
from app.services import (
    credit_notes,
    einvoices,
    idempotency,
    invoice_exports,
    invoice_facts,
    invoice_reads,
    invoice_receipts,
    invoice_rollup,
    invoices,
    wallets,
)
from app.views.base.export import Number, csv_lines
from app.views.format import rupees

from .contracts import page_of
from .http import Api, find, gate, idempotent, ok, payload

LINES = 500


class ItemBody(Schema):
    """What values may be is decided in app/services/invoices.py."""

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


class ProfileBody(Schema):
    legal_name = fields.String(validate=validate.Length(max=200))
    address_line1 = fields.String(validate=validate.Length(max=200))
    address_line2 = fields.String(validate=validate.Length(max=200))
    city = fields.String(validate=validate.Length(max=100))
    pin_code = fields.String(allow_none=True, validate=validate.Length(max=20))
    country_code = fields.String(validate=validate.Length(max=2))
    authorised_operations = fields.Boolean()
    round_totals = fields.Boolean()


def supplier() -> invoice_facts.Supplier:
    """The platform as documents print it."""
    return invoice_facts.supplier(current_app.config["SETTINGS"])


def keyed(name: str, body: Any, work: Callable[[], tuple[int, dict[str, Any]]]) -> Response:
    """*work*, once per Idempotency-Key where the caller sends one."""
    if request.headers.get("Idempotency-Key"):
        return idempotent(f"org:{ctx().org_id}", {name: idempotency.fingerprint(body)}, work)
    status, answer = work()
    return ok(answer, status)


def date_arg(name: str) -> dt.date | None:
    """A date of the query string. Raises Invalid."""
    raw = request.args.get(name, "").strip()
    if not raw:
        return None
    try:
        return dt.date.fromisoformat(raw[:10])
    except ValueError:
        raise Invalid({name: ["Use a date such as 2026-11-26."]}) from None


def filters() -> dict[str, Any]:
    """The list's filters as REST and the page take them."""
    return {
        "tab": request.args.get("tab", "")[:20],
        "status": request.args.get("status", "")[:20],
        "kind": request.args.get("kind", "")[:20],
        "q": request.args.get("q", "")[:100],
        "from": date_arg("from"),
        "to": date_arg("to"),
    }


def exported(what: str) -> Response:
    """A file of invoices, streamed; what a spreadsheet would calculate is escaped."""
    names, rows = invoice_exports.FORMATS[what]
    since, until = date_arg("from"), date_arg("to")
    session = db.session()
    invoice_exports.recorded(session, what, since, until)
    session.commit()
    identity = ctx()

    def cells() -> Iterator[list[Any]]:
        from app.security import context

        with Session(db.engine) as own:
            before = context.ctx()
            context.use(own, identity)
            try:
                for row in rows(own, since, until):
                    yield [cell(name, row[name]) for name in names]
            finally:
                context._current.set(before)

    name = {"csv": "invoices", "gst": "gst-register", "hsn": "hsn-summary"}[what]
    return Response(
        stream_with_context(csv_lines(list(names), cells())),
        mimetype="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}-{g.org["slug"]}.csv"'},
    )


def cell(name: str, value: Any) -> Any:
    """A value as the file holds it: rupees with two decimals, rates in per cent."""
    if value is None:
        return ""
    if name in invoice_exports.MONEY:
        return Number(rupees(int(value)))
    if name == "rate":
        return Number(f"{int(value) / 100:g}")
    return Number(str(value)) if isinstance(value, int) else str(value)


def pdf(subject: Any) -> Response:
    """A document as a file."""
    made = documents.fetch(db.session(), subject, current_app.config["SETTINGS"])
    return Response(
        made.data,
        mimetype="application/pdf",
        headers={
            "Content-Disposition": f'inline; filename="{made.filename}"',
            "X-Content-Hash": made.content_hash,
            "Cache-Control": "private, no-cache",
        },
    )


def receipt_of(public_id: Any, receipt_id: Any) -> InvoiceReceipt:
    """A receipt of the invoice named, both public ids. Raises NOT_FOUND, for another invoice's too."""
    row, made = find(Invoice, public_id), find(InvoiceReceipt, receipt_id)
    if made.invoice_id != row.id:
        raise DomainError("NOT_FOUND")
    return made


def show(row: Invoice) -> dict[str, Any]:
    """One invoice in full."""
    return invoice_reads.full(db.session(), row, invoices.lines_of(db.session(), row, limit=LINES))


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
          - {in: path, name: org_id, required: true, schema: {type: string}}
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
          - {in: path, name: org_id, required: true, schema: {type: string}}
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
        return keyed("invoice", body, lambda: (201, show(invoices.create(db.session(), body, supplier()))))

    @expose("/roll-up", methods=["GET"])
    @gate("invoices", "read", sponsor=True)
    def pending(self) -> Any:
        """What a roll-up would bill
        ---
        get:
          summary: Bookings and unused minimums that no invoice holds yet, with the tax they will carry
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
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
          - {in: path, name: org_id, required: true, schema: {type: string}}
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
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
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
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
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
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The draft
            409:
              description: ILLEGAL_TRANSITION, PO_REQUIRED, PO_BALANCE_EXCEEDED
        """
        row = invoices.change(db.session(), find(Invoice, public_id), payload(InvoiceBody), supplier())
        return ok(show(row))

    @expose("/<public_id>/issue", methods=["POST"])
    @gate("invoices", "write", active=True, sponsor=True)
    def issue(self, public_id: str) -> Any:
        """Issue
        ---
        post:
          summary: Number a draft, freeze it and send it
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The ISSUED invoice
            409:
              description: ILLEGAL_TRANSITION
        """
        return ok(show(invoices.issue(db.session(), find(Invoice, public_id), supplier())))

    @expose("/<public_id>/cancel", methods=["POST"])
    @gate("invoices", "write", active=True, sponsor=True)
    def cancel(self, public_id: str) -> Any:
        """Cancel a draft
        ---
        post:
          summary: Drop a draft; its purchase order gets back what it drew
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The CANCELLED draft
            409:
              description: ILLEGAL_TRANSITION
        """
        body = payload(OptionalReasonBody) if request.get_data() else {"reason": ""}
        return ok(show(invoices.cancel(db.session(), find(Invoice, public_id), body["reason"])))

    @expose("/<public_id>/void", methods=["POST"])
    @gate("invoices", "write", active=True, sponsor=True)
    def void(self, public_id: str) -> Any:
        """Void
        ---
        post:
          summary: Take back an invoice of which nothing is paid; bookings are billable again
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
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
        return ok(show(invoices.void(db.session(), row, body["reason"])))

    @expose("/<public_id>/rebill", methods=["POST"])
    @gate("invoices", "write", active=True, sponsor=True)
    def rebill(self, public_id: str) -> Any:
        """Bill again
        ---
        post:
          summary: A draft with the lines of a void invoice that are no bookings
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            201:
              description: The draft
            409:
              description: ILLEGAL_TRANSITION, NOTHING_TO_BILL
        """
        return ok(show(invoices.rebill(db.session(), find(Invoice, public_id), supplier())), 201)

    @expose("/<public_id>/pay", methods=["POST"])
    @gate("invoices", "pay", sponsor=True)
    def pay(self, public_id: str) -> Any:
        """Pay
        ---
        post:
          summary: The provider's page for what is due; one order, reused until the amount changes
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
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
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
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
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
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
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          - {in: path, name: refund_id, required: true, schema: {type: string, format: uuid}}
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

    @expose("/<public_id>/pdf", methods=["GET"])
    @gate("invoices", "read", sponsor=True)
    def pdf(self, public_id: str) -> Any:
        """The document
        ---
        get:
          summary: The invoice as PDF
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: A PDF
              content:
                application/pdf: {}
        """
        return pdf(find(Invoice, public_id))

    @expose("/<public_id>/receipts/<receipt_id>/pdf", methods=["GET"])
    @gate("invoices", "read", sponsor=True)
    def receipt_pdf(self, public_id: str, receipt_id: str) -> Any:
        """The receipt for money
        ---
        get:
          summary: The receipt for money that arrived for the invoice, as PDF
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          - {in: path, name: receipt_id, required: true, schema: {type: string, format: uuid}}
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
          - {in: path, name: org_id, required: true, schema: {type: string}}
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
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
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
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
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
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: A PDF
              content:
                application/pdf: {}
        """
        return pdf(find(CreditNote, public_id))


class BillingSummaryApi(Api):
    """What an organisation is charged and owes."""

    route_base = "/api/organizations/<org_id>/billing"
    resource_name = "org_billing"
    openapi_spec_tag = "Invoices"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("billing-account", "read", sponsor=True)
    def get(self) -> Any:
        """Billing summary
        ---
        get:
          summary: Pending charges, outstanding and past due invoices, licences, who documents are made out to
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The summary; amounts in paise
        """
        session = db.session()
        return ok(
            {
                **invoice_reads.summary(session, wallets.account(session)),
                "profile": profile_json(invoice_facts.profile_of(session)),
            }
        )

    @expose("/profile", methods=["PATCH"])
    @gate("billing-account", "write", sponsor=True)
    def profile(self) -> Any:
        """Who documents are made out to
        ---
        patch:
          summary: Legal name and address of coming documents
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: The profile
            400:
              description: VALIDATION_FAILED
        """
        values = payload(ProfileBody, partial=True)
        return ok(profile_json(invoice_facts.save_profile(db.session(), values)))

    @expose("/vouchers/<public_id>/pdf", methods=["GET"])
    @gate("invoices", "read", sponsor=True)
    def voucher(self, public_id: str) -> Any:
        """A receipt or refund voucher
        ---
        get:
          summary: The voucher of an advance as PDF
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: A PDF
              content:
                application/pdf: {}
        """
        return pdf(find(TaxVoucher, public_id))


def profile_json(row: Any) -> dict[str, Any]:
    """A billing profile as the API shows it; empty before it was entered."""
    names = ("legal_name", "address_line1", "address_line2", "city", "pin_code", "country_code")
    flags = ("authorised_operations", "round_totals")
    return {n: getattr(row, n) if row is not None else "" for n in names} | {
        n: getattr(row, n) if row is not None else n == "authorised_operations" for n in flags
    }


def require_admin() -> None:
    """Raises INSUFFICIENT_ROLE: money and notes of the supplier are entered by the platform."""
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources."""
    appbuilder.add_api(InvoicesApi)
    appbuilder.add_api(CreditNotesApi)
    appbuilder.add_api(BillingSummaryApi)
