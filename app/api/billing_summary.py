"""REST of what an organisation is charged and owes, and who its documents are made out to (chapter 2, 2.11)."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.models import TaxVoucher
from app.services import (
    invoice_facts,
    invoice_reads,
    wallets,
)

from .http import Api, find, gate, ok, payload
from .invoice_answers import pdf


class ProfileBody(Schema):
    legal_name = fields.String(validate=validate.Length(max=200))
    address_line1 = fields.String(validate=validate.Length(max=200))
    address_line2 = fields.String(validate=validate.Length(max=200))
    city = fields.String(validate=validate.Length(max=100))
    pin_code = fields.String(allow_none=True, validate=validate.Length(max=20))
    country_code = fields.String(validate=validate.Length(max=2))
    authorised_operations = fields.Boolean()
    round_totals = fields.Boolean()


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


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(BillingSummaryApi)
