"""REST of contracts (chapter 2, 2.5), and the keyset page that its neighbours share."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from flask import request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select, tuple_

from app.errors import Invalid
from app.extensions import db
from app.models import BillingSubscription, Contract, PurchaseOrder, RateCard, SubscriptionStatus
from app.services import contract_ends, contracts, supersede

from .base import plain
from .http import Api, bad_cursor, cursor_of, find, gate, ok, page_args, payload


def _term(**kw: Any) -> dict[str, Any]:
    """Fields of a contract's terms; what the values may be is decided in app/services/contracts.py."""
    return {
        "title": fields.String(allow_none=True, validate=validate.Length(max=400)),
        "effective_from": fields.Date(required=kw.get("new", False)),
        "effective_to": fields.Date(allow_none=True),
        "payment_terms_days": fields.Integer(strict=True),
        "auto_renew": fields.Boolean(),
        "purchase_order_id": fields.String(allow_none=True, validate=validate.Length(max=80)),
        "rate_card_id": fields.String(allow_none=True, validate=validate.Length(max=80)),
        "license_model": fields.String(allow_none=True, validate=validate.Length(max=40)),
        "license_fee_paise": fields.Integer(strict=True, allow_none=True),
        "license_rate_per_seat_paise": fields.Integer(strict=True, allow_none=True),
        "license_cycle": fields.String(allow_none=True, validate=validate.Length(max=40)),
    }


ContractBody = Schema.from_dict(_term(new=True), name="ContractBody")
ContractPatch = Schema.from_dict(
    {
        **_term(),
        "status": fields.String(validate=validate.OneOf(["ACTIVE", "TERMINATED"])),
        "reason": fields.String(validate=validate.Length(max=300)),
    },
    name="ContractPatch",
)
SupersedeBody = Schema.from_dict(
    {**_term(), "reason": fields.String(required=True, validate=validate.Length(max=40))},
    name="SupersedeBody",
)


class TerminateBody(Schema):
    reason = fields.String(load_default="", validate=validate.Length(max=300))


def inner(body: dict[str, Any]) -> dict[str, Any]:
    """*body* with references as inner ids of the organisation's own rows. Raises NOT_FOUND."""
    out = dict(body)
    for name, model in (("purchase_order_id", PurchaseOrder), ("rate_card_id", RateCard)):
        if out.get(name):
            out[name] = find(model, out[name]).id  # type: ignore[type-var, attr-defined]
        elif name in out:
            out[name] = None
    return out


def contract_json(c: Contract) -> dict[str, Any]:
    """A contract outside, with its licence and its place in the chain."""
    return contracts_json([c])[0]


def contracts_json(rows: Sequence[Contract]) -> list[dict[str, Any]]:
    """Contracts outside; what they refer to is read once for all of them."""
    orders = _keys(PurchaseOrder, {c.purchase_order_id for c in rows})
    cards = _keys(RateCard, {c.rate_card_id for c in rows})
    before = _keys(Contract, {c.supersedes_contract_id for c in rows})
    ids = [c.id for c in rows]
    after: dict[int, str] = {
        old: str(key)
        for old, key in db.session.execute(
            select(Contract.supersedes_contract_id, Contract.public_id).where(
                Contract.supersedes_contract_id.in_(ids)
            )
        )
    }
    licences = {
        s.contract_id: s
        for s in db.session.scalars(
            select(BillingSubscription).where(
                BillingSubscription.contract_id.in_(ids),
                BillingSubscription.status == SubscriptionStatus.ACTIVE,
            )
        )
    }
    return [
        {
            "id": str(c.public_id),
            "title": c.title,
            "status": c.status.value,
            "effective_from": plain(c.effective_from),
            "effective_to": plain(c.effective_to),
            "payment_terms_days": c.payment_terms_days,
            "auto_renew": c.auto_renew,
            "signed_at": plain(c.signed_at),
            "ended_at": plain(c.ended_at),
            "ended_reason": c.ended_reason,
            "license_model": plain(c.license_model),
            "license_fee_paise": c.license_fee_paise,
            "license_rate_per_seat_paise": c.license_rate_per_seat_paise,
            "license_cycle": plain(c.license_cycle),
            "supersede_reason": plain(c.supersede_reason),
            "purchase_order_id": orders.get(c.purchase_order_id),
            "rate_card_id": cards.get(c.rate_card_id),
            "supersedes_contract_id": before.get(c.supersedes_contract_id),
            "superseded_by_contract_id": after.get(c.id),
            "subscription": subscription_json(licences[c.id]) if c.id in licences else None,
        }
        for c in rows
    ]


def _keys(model: Any, ids: set[int | None]) -> dict[int | None, str]:
    """Public ids of rows of *model* by inner id; no query where there is nothing to look up."""
    wanted = ids - {None}
    if not wanted:
        return {}
    rows = db.session.execute(select(model.id, model.public_id).where(model.id.in_(wanted)))
    return {key: str(public) for key, public in rows}


def subscription_json(s: BillingSubscription) -> dict[str, Any]:
    """How a licence is billed."""
    return {
        "id": str(s.public_id),
        "status": s.status.value,
        "model": s.model.value,
        "cycle": s.cycle.value,
        "current_cycle_start": plain(s.current_cycle_start),
        "current_cycle_end": plain(s.current_cycle_end),
        "next_invoice_date": plain(s.next_invoice_date),
        "billed_seats": s.billed_seats,
        "credit_paise": s.credit_paise,
    }


def page_of(statement: Any, model: Any, show: Any, *, together: bool = False) -> Any:
    """Newest first, keyset-paged; *show* makes JSON of a row, or of all rows *together*."""
    cursor, limit = page_args()
    statement = statement.order_by(model.created_at.desc(), model.id.desc()).limit(limit + 1)
    if cursor is not None:
        last = db.session.execute(
            select(model.created_at, model.id).where(model.public_id == _key(cursor))
        ).one_or_none()
        if last is None:
            raise bad_cursor()
        statement = statement.where(tuple_(model.created_at, model.id) < tuple(last))
    rows = db.session.scalars(statement).all()
    more = cursor_of({"id": str(rows[limit - 1].public_id)}) if len(rows) > limit else None
    shown = show(rows[:limit]) if together else [show(r) for r in rows[:limit]]
    return ok({"result": shown, "next_cursor": more})


def _key(cursor: dict[str, Any]) -> Any:
    key = uuid_of(str(cursor.get("id")))
    if key is None:
        raise bad_cursor()
    return key


def uuid_of(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


class ContractsApi(Api):
    """Contracts of an organisation."""

    route_base = "/api/organizations/<org_id>/contracts"
    resource_name = "org_contracts"
    openapi_spec_tag = "Programs"

    @expose("", methods=["GET"])
    @gate("contracts", "read")
    def get_list(self) -> Any:
        """Contracts
        ---
        get:
          summary: Contracts, newest first
          responses:
            200:
              description: result and next_cursor
        """
        return page_of(select(Contract), Contract, contracts_json, together=True)

    @expose("", methods=["POST"])
    @gate("contracts", "write", active=True)
    def post(self) -> Any:
        """Draft a contract
        ---
        post:
          summary: Draft a contract
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [effective_from]
                  properties:
                    title: {type: string}
                    effective_from: {type: string, format: date}
                    effective_to: {type: string, format: date, nullable: true}
                    payment_terms_days: {type: integer, minimum: 1, maximum: 120}
                    auto_renew: {type: boolean}
                    purchase_order_id: {type: string, format: uuid, nullable: true}
                    rate_card_id: {type: string, format: uuid, nullable: true}
                    license_model: {type: string, enum: [FLAT_FEE, PER_SEAT], nullable: true}
                    license_fee_paise: {type: integer, description: of a FLAT_FEE, a cycle}
                    license_rate_per_seat_paise: {type: integer, description: of PER_SEAT, a cycle}
                    license_cycle: {type: string, enum: [MONTHLY, QUARTERLY, ANNUAL], nullable: true}
          responses:
            201:
              description: The DRAFT contract
            400:
              description: VALIDATION_FAILED, LICENSE_ECONOMICS_REQUIRED
            409:
              description: FUNDING_SOURCE_MISMATCH, ORG_NOT_VERIFIED, ORG_NOT_ACTIVE
        """
        body = inner(payload(ContractBody))
        body["title"] = body.get("title") or ""
        return ok(contract_json(contracts.create_contract(db.session(), **body)), 201)

    @expose("/<public_id>", methods=["GET"])
    @gate("contracts", "read")
    def get(self, public_id: str) -> Any:
        """One contract
        ---
        get:
          summary: One contract
          responses:
            200:
              description: The contract
            404:
              description: NOT_FOUND
        """
        return ok(contract_json(find(Contract, public_id)))

    @expose("/<public_id>", methods=["PATCH"])
    @gate("contracts", "write", active=True)
    def patch(self, public_id: str) -> Any:
        """Change, sign or terminate a contract
        ---
        patch:
          summary: Sign with status ACTIVE, terminate with status TERMINATED; terms of a DRAFT, auto_renew also later
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    status: {type: string, enum: [ACTIVE, TERMINATED]}
                    reason: {type: string}
                    auto_renew: {type: boolean}
                    effective_to: {type: string, format: date, nullable: true}
          responses:
            200:
              description: The contract
            400:
              description: VALIDATION_FAILED, LICENSE_ECONOMICS_REQUIRED
            409:
              description: ILLEGAL_TRANSITION, CONTRACT_ALREADY_ACTIVE, PO_REQUIRED, CONTRACT_TERMS_LOCKED,
                CONTRACT_NOT_ACTIVE, CONTRACT_HAS_LIVE_ASSIGNMENTS, CONTRACT_HAS_OUTSTANDING_INVOICES
        """
        body = inner(payload(ContractPatch, partial=True))
        status, reason = body.pop("status", None), body.pop("reason", "")
        contract, session = find(Contract, public_id), db.session()
        if body:
            contracts.change(session, contract, body)
        if status == "ACTIVE":
            contracts.sign_contract(session, contract)
        elif status == "TERMINATED":
            contract_ends.terminate(session, contract, reason)
        return ok(contract_json(contract))

    @expose("/<public_id>", methods=["DELETE"])
    @gate("contracts", "write", active=True)
    def delete(self, public_id: str) -> Any:
        """Delete a draft
        ---
        delete:
          summary: Delete a DRAFT that no program stands under
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            204:
              description: Deleted
            409:
              description: CONTRACT_NOT_DELETABLE
        """
        contracts.remove(db.session(), find(Contract, public_id))
        return ok(None, 204)

    @expose("/<public_id>/supersede", methods=["POST"])
    @gate("contracts", "write", active=True)
    def supersede(self, public_id: str) -> Any:
        """Amend or renew a contract
        ---
        post:
          summary: A signed contract takes this one's place; programs, places and licence move to it
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [reason]
                  properties:
                    reason: {type: string, enum: [AMENDMENT, RENEWAL]}
                    effective_to: {type: string, format: date, nullable: true}
                    license_fee_paise: {type: integer}
          responses:
            201:
              description: The new contract
            400:
              description: VALIDATION_FAILED, LICENSE_ECONOMICS_REQUIRED
            409:
              description: CONTRACT_NOT_ACTIVE, CONTRACT_ALREADY_SUPERSEDED, PO_REQUIRED
        """
        body = inner(payload(SupersedeBody))
        reason = body.pop("reason")
        return ok(
            contract_json(supersede.supersede(db.session(), find(Contract, public_id), reason, body)), 201
        )

    @expose("/<public_id>/supersede", methods=["GET"])
    @gate("contracts", "read")
    def preview_supersede(self, public_id: str) -> Any:
        """What superseding would do
        ---
        get:
          summary: The new term, what moves and the credit of unused days; changes nothing
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          - {in: query, name: reason, schema: {type: string, enum: [AMENDMENT, RENEWAL]}}
          responses:
            200:
              description: effective_from, effective_to, old_becomes, programs, live_assignments, credit_paise
            404:
              description: NOT_FOUND
        """
        reason = request.args.get("reason", "AMENDMENT")
        if reason not in ("AMENDMENT", "RENEWAL"):
            raise Invalid({"reason": ["Choose AMENDMENT or RENEWAL."]})
        return ok(supersede.preview(db.session(), find(Contract, public_id), reason))

    @expose("/<public_id>/terminate", methods=["POST"])
    @gate("contracts", "write", active=True)
    def terminate(self, public_id: str) -> Any:
        """Terminate a contract
        ---
        post:
          summary: End a contract now; its programs expire and its licence ends
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          requestBody:
            content:
              application/json:
                schema:
                  type: object
                  properties:
                    reason: {type: string, maxLength: 300}
          responses:
            200:
              description: The TERMINATED contract
            409:
              description: ILLEGAL_TRANSITION, CONTRACT_HAS_LIVE_ASSIGNMENTS, CONTRACT_HAS_OUTSTANDING_INVOICES, with count
        """
        contract = find(Contract, public_id)
        contract_ends.terminate(db.session(), contract, payload(TerminateBody)["reason"])
        return ok(contract_json(contract))

    @expose("/<public_id>/chain", methods=["GET"])
    @gate("contracts", "read")
    def chain(self, public_id: str) -> Any:
        """The chain of a contract
        ---
        get:
          summary: Every contract this one came from and that came from it, the oldest first
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: result
            404:
              description: NOT_FOUND
        """
        rows = contracts.chain(db.session(), find(Contract, public_id))
        return ok({"result": contracts_json(rows)})
