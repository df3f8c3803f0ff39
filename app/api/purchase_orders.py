"""REST of purchase orders (chapter 2, 2.5). ``requires_po`` hides the page, never the resource (chapter 1, P-33)."""

from __future__ import annotations

import csv
import io
from typing import Any

from flask import Flask, Response, g, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.errors import Invalid
from app.extensions import db
from app.models import PurchaseOrder
from app.security import uploads
from app.services import po_documents, purchase_orders

from .base import plain
from .contracts import page_of
from .http import Api, find, gate, ok, payload
from .images import store

EXPORT = 10_000


class PurchaseOrderPatch(Schema):
    """What the values may be is decided in app/services/purchase_orders.py; remaining_paise is refused there."""

    po_number = fields.String(validate=validate.Length(max=200))
    total_paise = fields.Integer(strict=True)
    currency = fields.String(validate=validate.Length(max=3))
    valid_until = fields.Date(allow_none=True)
    description = fields.String(allow_none=True, validate=validate.Length(max=4000))


class PurchaseOrderBody(PurchaseOrderPatch):
    po_number = fields.String(required=True, validate=validate.Length(max=200))
    total_paise = fields.Integer(required=True, strict=True)


def po_json(row: PurchaseOrder) -> dict[str, Any]:
    """A purchase order outside; amounts in hundredths of its currency."""
    return {
        "id": str(row.public_id),
        "po_number": row.po_number,
        "status": row.status.value,
        "currency": row.currency.value,
        "total_paise": row.total_paise,
        "drawn_paise": row.total_paise - row.remaining_paise,
        "remaining_paise": row.remaining_paise,
        "valid_until": plain(row.valid_until),
        "description": row.description,
        "document": {"name": row.document_name, "bytes": row.document_size} if row.document else None,
        "created_at": plain(row.created_at),
    }


def po_csv(rows: list[PurchaseOrder]) -> Response:
    """*rows* as a file; cells that a spreadsheet would calculate are escaped."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    names = ("po_number", "status", "currency", "total", "drawn", "remaining", "valid_until", "description")
    writer.writerow(names)
    for row in rows:
        amounts = (row.total_paise, row.total_paise - row.remaining_paise, row.remaining_paise)
        cells = [
            row.po_number,
            row.status.value,
            row.currency.value,
            *(f"{a // 100}.{a % 100:02d}" for a in amounts),
            row.valid_until or "",
            row.description,
        ]
        writer.writerow([f"'{c}" if str(c)[:1] in ("=", "+", "-", "@", "\t", "\r") else c for c in cells])
    name = f"purchase-orders-{g.org['slug']}.csv"
    return Response(
        buffer.getvalue(),
        mimetype="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def posted_document() -> tuple[bytes, str]:
    """(bytes, name) of the multipart field ``file``. Raises Invalid."""
    file = request.files.get("file")
    if file is None or not file.filename:
        raise Invalid({"file": ["Choose a file."]})
    file.stream.seek(0)  # a transaction that lost a race reads it again
    return bytes(file.stream.read(po_documents.MAX_BYTES + 1)), file.filename[:300]


def document_response(row: PurchaseOrder) -> Response:
    """An order's document as a file that no browser opens in our origin."""
    data, media_type, name = po_documents.read(store(), row)
    return Response(
        data,
        mimetype=media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name.encode("ascii", "replace").decode()}"',
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )


class PurchaseOrdersApi(Api):
    """Purchase orders of an organisation."""

    route_base = "/api/organizations/<org_id>/billing-account/purchase-orders"
    resource_name = "org_account_purchase_orders"
    openapi_spec_tag = "Billing"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("purchase-orders", "read", sponsor=True)
    def get_list(self) -> Any:
        """Purchase orders
        ---
        get:
          summary: Purchase orders, newest first; format=csv answers a file
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          - {in: query, name: format, schema: {type: string, enum: [json, csv]}}
          responses:
            200:
              description: result and next_cursor
            403:
              description: NOT_A_MEMBER, INSUFFICIENT_ROLE
        """
        if request.args.get("format") == "csv":
            return po_csv(purchase_orders.search(db.session(), limit=EXPORT))
        return page_of(select(PurchaseOrder), PurchaseOrder, po_json)

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @gate("purchase-orders", "write", active=True, sponsor=True)
    def post(self) -> Any:
        """Enter a purchase order
        ---
        post:
          summary: Enter a purchase order; all of it remains
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [po_number, total_paise]
                  properties:
                    po_number: {type: string, maxLength: 60}
                    total_paise: {type: integer, minimum: 1, description: hundredths of the currency}
                    currency: {type: string, enum: [INR, USD, EUR, GBP]}
                    valid_until: {type: string, format: date, nullable: true}
                    description: {type: string}
          responses:
            201:
              description: The ACTIVE purchase order
            400:
              description: VALIDATION_FAILED
            403:
              description: BILLING_ADMIN_OR_OWNER_REQUIRED
            409:
              description: PO_NUMBER_TAKEN, ORG_NOT_VERIFIED, ORG_NOT_ACTIVE
        """
        return ok(po_json(purchase_orders.create(db.session(), payload(PurchaseOrderBody))), 201)

    @expose("/<public_id>", methods=["GET"])
    @gate("purchase-orders", "read", sponsor=True)
    def get(self, public_id: str) -> Any:
        """One purchase order
        ---
        get:
          summary: One purchase order
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The purchase order
            404:
              description: NOT_FOUND
        """
        return ok(po_json(find(PurchaseOrder, public_id)))

    @expose("/<public_id>", methods=["PATCH"])
    @gate("purchase-orders", "write", active=True, sponsor=True)
    def patch(self, public_id: str) -> Any:
        """Change a purchase order
        ---
        patch:
          summary: Change number, total, currency, date or text of an ACTIVE order; remaining is not editable
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The purchase order
            400:
              description: VALIDATION_FAILED
            409:
              description: PO_BELOW_DRAWN, PO_NUMBER_TAKEN, PO_NOT_ACTIVE
        """
        values = payload(PurchaseOrderPatch, partial=True)
        return ok(po_json(purchase_orders.change(db.session(), find(PurchaseOrder, public_id), values)))

    @expose("/<public_id>/document", methods=["PUT", "POST"])
    @uploads.limited(po_documents.MAX_BYTES, "UPLOAD_TOO_LARGE")
    @gate("purchase-orders", "write", active=True, sponsor=True)
    def attach(self, public_id: str) -> Any:
        """Attach the document
        ---
        put:
          summary: Attach the order's document, a PDF, JPEG or PNG of at most 10 MB; it replaces the one before
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              multipart/form-data:
                schema:
                  type: object
                  required: [file]
                  properties:
                    file: {type: string, format: binary}
          responses:
            200:
              description: The purchase order
            413:
              description: UPLOAD_TOO_LARGE
            415:
              description: UPLOAD_TYPE_NOT_ALLOWED
        """
        row, (data, name) = find(PurchaseOrder, public_id), posted_document()
        return ok(po_json(po_documents.attach(db.session(), store(), row, data, name)))

    @expose("/<public_id>/document", methods=["GET"])
    @gate("purchase-orders", "read", sponsor=True)
    def document(self, public_id: str) -> Any:
        """The document
        ---
        get:
          summary: The order's document as an attachment
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: application/pdf or image/jpeg
            404:
              description: NOT_FOUND
        """
        return document_response(find(PurchaseOrder, public_id))

    @expose("/<public_id>/document", methods=["DELETE"])
    @gate("purchase-orders", "write", active=True, sponsor=True)
    def detach(self, public_id: str) -> Any:
        """Remove the document
        ---
        delete:
          summary: Remove the order's document
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            204:
              description: Removed
            404:
              description: NOT_FOUND
        """
        po_documents.detach(db.session(), find(PurchaseOrder, public_id))
        return ok(None, 204)

    @expose("/<public_id>/cancel", methods=["POST"])
    @gate("purchase-orders", "write", active=True, sponsor=True)
    def cancel(self, public_id: str) -> Any:
        """Cancel a purchase order
        ---
        post:
          summary: Nothing is drawn from it any more; what was drawn stays
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The CANCELLED purchase order
            409:
              description: PO_NOT_ACTIVE
        """
        return ok(po_json(purchase_orders.cancel(db.session(), find(PurchaseOrder, public_id))))

    @expose("/<public_id>", methods=["DELETE"])
    @gate("purchase-orders", "write", active=True, sponsor=True)
    def delete(self, public_id: str) -> Any:
        """Delete a purchase order
        ---
        delete:
          summary: Delete a purchase order from which nothing was drawn
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            204:
              description: Deleted
            409:
              description: PO_REFERENCED
        """
        purchase_orders.remove(db.session(), find(PurchaseOrder, public_id))
        return ok(None, 204)


class PurchaseOrdersByOrganizationApi(PurchaseOrdersApi):
    """The same, at the shorter address that chapter 1 names them by."""

    route_base = "/api/organizations/<org_id>/purchase-orders"
    resource_name = "org_purchase_orders"


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource under both addresses."""
    appbuilder.add_api(PurchaseOrdersApi)
    appbuilder.add_api(PurchaseOrdersByOrganizationApi)
