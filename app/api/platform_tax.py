"""The platform's tax tables and e-invoices over REST (chapter 4)."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.errors import DomainError
from app.extensions import db
from app.models import EInvoice, IrpStatus, TaxTable
from app.security.context import acting
from app.services import einvoices, tax_tables

from .http import Api, cursor_key, cursor_of, ok, page_args, parse_id, payload, platform


class RateBody(Schema):
    sac = fields.String(required=True, validate=validate.Length(max=6))
    description = fields.String(required=True, validate=validate.Length(max=200))
    rate_bps = fields.Integer(required=True, strict=True)
    exempt = fields.Boolean(load_default=False)
    input_credit = fields.Boolean(load_default=True)
    valid_from = fields.Date(allow_none=True, load_default=None)
    note = fields.String(load_default="", validate=validate.Length(max=300))
    reason = fields.String(required=True, validate=validate.Length(max=300))


class ParameterBody(Schema):
    key = fields.String(required=True, validate=validate.Length(max=60))
    value = fields.String(required=True, validate=validate.Length(max=200))
    valid_from = fields.Date(allow_none=True, load_default=None)
    note = fields.String(load_default="", validate=validate.Length(max=300))
    reason = fields.String(required=True, validate=validate.Length(max=300))


class StateBody(Schema):
    code = fields.String(required=True, validate=validate.Length(max=2))
    name = fields.String(required=True, validate=validate.Length(max=80))
    union_territory = fields.Boolean(load_default=False)
    valid_from = fields.Date(allow_none=True, load_default=None)
    note = fields.String(load_default="", validate=validate.Length(max=300))
    reason = fields.String(required=True, validate=validate.Length(max=300))


class FxBody(Schema):
    currency = fields.String(required=True, validate=validate.Length(max=3))
    rate_micros = fields.Integer(required=True, strict=True)
    on_date = fields.Date(allow_none=True, load_default=None)
    source = fields.String(load_default="", validate=validate.Length(max=100))
    reason = fields.String(required=True, validate=validate.Length(max=300))


BODIES: dict[TaxTable, tuple[type[Schema], Any]] = {
    TaxTable.RATE: (RateBody, tax_tables.set_rate),
    TaxTable.PARAMETER: (ParameterBody, tax_tables.set_parameter),
    TaxTable.STATE: (StateBody, tax_tables.set_state),
    TaxTable.FX: (FxBody, tax_tables.add_fx),
}


def row_json(row: Any) -> dict[str, Any]:
    """A row of a tax table as it stands."""
    hidden = {"id", "created_by_user_id", "changed_by_user_id"}
    out = {}
    for column in row.__table__.columns:
        if column.name not in hidden:
            value = getattr(row, column.name)
            plain = (
                value if isinstance(value, int | bool | dict | None) else str(getattr(value, "value", value))
            )
            out["id" if column.name == "public_id" else column.name] = plain
    return out


class TaxTablesApi(Api):
    """Dated tables of tax: read by staff, changed by ADMIN."""

    route_base = "/api/admin/tax-tables"
    resource_name = "admin-tax-tables"
    openapi_spec_tag = "Tax"

    @expose("", methods=["GET"])
    @platform("tax-tables", "read")
    def get_list(self) -> Any:
        """Tax tables
        ---
        get:
          summary: Rates, parameters, states, exchange rates, and who changed what
          responses:
            200:
              description: rates, parameters, states, fx, changes
        """
        return ok({k: [row_json(r) for r in rows] for k, rows in tax_tables.listed(db.session()).items()})

    @expose("/<table>", methods=["POST"])
    @platform("tax-tables", "write")
    def post(self, table: str) -> Any:
        """Change a tax table
        ---
        post:
          summary: A new dated row; the one in force ends the day before. Documents keep what they used
          parameters:
          - {in: path, name: table, required: true, schema: {type: string, enum: [RATE, PARAMETER, STATE, FX]}}
          responses:
            201:
              description: The new row
            400:
              description: VALIDATION_FAILED
            404:
              description: NOT_FOUND
            409:
              description: CONFLICT
        """
        if table not in TaxTable.__members__:
            raise DomainError("NOT_FOUND")
        schema, change = BODIES[TaxTable(table)]
        body = payload(schema)
        reason = body.pop("reason")
        return ok(row_json(change(db.session(), body, reason)), 201)


def einvoice_json(row: EInvoice) -> dict[str, Any]:
    """An e-invoice as staff see it."""
    return {
        "id": str(row.public_id),
        **einvoices.view(row),
        "environment": row.environment,
        "attempts": row.attempts,
        "next_attempt_at": row.next_attempt_at.isoformat() if row.next_attempt_at else None,
        "error_code": row.last_error_code,
        "request_hash": row.request_hash,
    }


class EInvoicesApi(Api):
    """E-invoices of every organisation: what failed and why."""

    route_base = "/api/admin/einvoices"
    resource_name = "admin-einvoices"
    openapi_spec_tag = "Tax"

    @expose("", methods=["GET"])
    @platform("einvoices", "read")
    def get_list(self) -> Any:
        """E-invoices
        ---
        get:
          summary: E-invoices by status, newest first
          parameters:
          - {in: query, name: status, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: result and next_cursor
        """
        cursor, limit = page_args()
        statement = select(EInvoice).order_by(EInvoice.id.desc()).limit(limit + 1)
        status = request.args.get("status", "")
        if status in IrpStatus.__members__:
            statement = statement.where(EInvoice.irp_status == IrpStatus(status))
        if cursor is not None:
            statement = statement.where(EInvoice.id < cursor_key(cursor))
        with acting(db.session(), scope="platform"):
            rows = db.session.scalars(statement).all()
        more = cursor_of({"id": rows[limit - 1].id}) if len(rows) > limit else None
        return ok({"result": [einvoice_json(r) for r in rows[:limit]], "next_cursor": more})

    @expose("/<public_id>/retry", methods=["POST"])
    @platform("einvoices", "write")
    def retry(self, public_id: str) -> Any:
        """Submit again
        ---
        post:
          summary: Queue a failed document again, once what it lacked is mended
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The e-invoice, PENDING
            404:
              description: NOT_FOUND
            409:
              description: ILLEGAL_TRANSITION
        """
        return ok(einvoice_json(retry(public_id)))


def retry(public_id: str) -> EInvoice:
    """Queue a failed e-invoice again, acting for the organisation it belongs to. Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    key = parse_id(public_id)
    session = db.session()
    with acting(session, scope="platform"):
        org = session.scalar(select(EInvoice.organization_id).where(EInvoice.public_id == key))
    if org is None:
        raise DomainError("NOT_FOUND")
    with acting(session, scope="org", org_id=org):
        return einvoices.retry(session, key)


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources."""
    appbuilder.add_api(TaxTablesApi)
    appbuilder.add_api(EInvoicesApi)
