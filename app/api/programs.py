"""REST of programs and assignments (chapter 2, 2.5)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Flask
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select
from sqlalchemy.orm import joinedload
from sqlalchemy.orm.attributes import set_committed_value

from app import clock
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import (
    Assignment,
    ConsultantProfile,
    Contract,
    Cycle,
    Membership,
    OverageBehavior,
    PoolScope,
    Program,
    ProgramType,
)
from app.security.context import ctx
from app.security.matrix import OPS, PLATFORM
from app.services import assignments, programs

from .base import plain
from .contracts import ContractsApi, page_of, uuid_of
from .http import Api, find, gate, ok, parse_id, payload
from .http import validate as validate_with


def _figures() -> dict[str, Any]:
    """Fields of a program; what the values may be is decided in app/services/programs.py."""
    number: dict[str, Any] = {"allow_none": True, "strict": True}
    return {
        "cycle": fields.Enum(Cycle, by_value=True),
        "credits_per_cycle": fields.Integer(**number),
        "minimum_credits_per_period": fields.Integer(**number),
        "pool_scope": fields.Enum(PoolScope, by_value=True),
        "rate_per_seat_paise": fields.Integer(**number),
        "covered_engagements_per_cycle": fields.Integer(**number),
        "price_cap_per_engagement_paise": fields.Integer(**number),
        "overage_behavior": fields.Enum(OverageBehavior, by_value=True),
        "overage_surcharge_bps": fields.Integer(**number),
        "max_overage_per_cycle_paise": fields.Integer(**number),
        "covered_plan_types": fields.List(
            fields.String(validate=validate.Length(max=20)), validate=validate.Length(max=10)
        ),
        "allowed_categories": fields.List(
            fields.String(validate=validate.Length(max=120)), validate=validate.Length(max=50)
        ),
        "expert_ids": fields.List(
            fields.String(validate=validate.Length(max=80)), validate=validate.Length(max=programs.MAX_PANEL)
        ),
        "auto_enroll": fields.Boolean(),
        # the chapter's names for the two tables of figures: the same fields, grouped
        "licensed_seat_config": fields.Dict(keys=fields.String()),
        "credit_pool_config": fields.Dict(keys=fields.String()),
    }


_CONFIG = ("licensed_seat_config", "credit_pool_config")
ProgramBody = Schema.from_dict(
    {
        **_figures(),
        "contract_id": fields.String(required=True, validate=validate.Length(max=80)),
        "name": fields.String(required=True, validate=validate.Length(max=400)),
        "type": fields.String(required=True, validate=validate.Length(max=40)),
        "force_overlap": fields.Boolean(load_default=False),
    },
    name="ProgramBody",
)
ProgramPatch = Schema.from_dict(
    {
        **_figures(),
        "name": fields.String(validate=validate.Length(max=400)),
        "status": fields.String(validate=validate.OneOf(["ACTIVE", "PAUSED", "ARCHIVED"])),
        "force_overlap": fields.Boolean(load_default=False),
    },
    name="ProgramPatch",
)
ConfigBody = Schema.from_dict({k: v for k, v in _figures().items() if k not in _CONFIG}, name="ConfigBody")


def figures(body: dict[str, Any]) -> dict[str, Any]:
    """*body* with its grouped figures taken apart and the panel as inner ids. Raises Invalid."""
    out = {k: v for k, v in body.items() if k not in _CONFIG}
    for group in _CONFIG:
        if body.get(group):
            out |= validate_with(ConfigBody, body[group])
    if "expert_ids" in out:
        asked = [k for k in map(uuid_of, out.pop("expert_ids")) if k]
        found = db.session.scalars(
            select(ConsultantProfile.id).where(ConsultantProfile.public_id.in_(asked))
        ).all()
        if len(set(asked)) != len(found) or len(asked) != len(body.get("expert_ids") or asked):
            raise Invalid({"expert_ids": ["There is no such expert."]})
        out["panel_expert_ids"] = list(found)
    if out.get("overage_surcharge_bps", 0) is None:
        out["overage_surcharge_bps"] = 0
    return out


class AssignmentBody(Schema):
    membership_id = fields.String(required=True, validate=validate.Length(max=80))
    period_start = fields.Date(allow_none=True, load_default=None)


class EnrolBody(Schema):
    membership_ids = fields.List(
        fields.String(validate=validate.Length(max=80)),
        required=True,
        validate=validate.Length(1, assignments.MAX_ENROL),
    )
    period = fields.Raw(allow_none=True, load_default=None)


class CancelBody(Schema):
    cancel = fields.Boolean(required=True, validate=validate.Equal(True))


def program_json(p: Program) -> dict[str, Any]:
    """A program with its contract, which must be loaded."""
    overage = {
        "overage_behavior": p.overage_behavior.value,
        "overage_surcharge_bps": p.overage_surcharge_bps,
        "max_overage_per_cycle_paise": p.max_overage_per_cycle_paise,
    }
    seat = {
        "rate_per_seat_paise": p.rate_per_seat_paise,
        "covered_engagements_per_cycle": p.covered_engagements_per_cycle,
        "price_cap_per_engagement_paise": p.price_cap_per_engagement_paise,
    }
    pool = {
        "credits_per_cycle": p.credits_per_cycle,
        "minimum_credits_per_period": p.minimum_credits_per_period,
        "pool_scope": p.pool_scope.value,
    }
    seats = p.type == ProgramType.LICENSED_SEAT
    return {
        "id": str(p.public_id),
        "contract_id": str(p.contract.public_id),
        "name": p.name,
        "type": p.type.value,
        "status": p.status.value,
        "cycle": p.cycle.value,
        **pool,
        **seat,
        **overage,
        "active_seat_count": p.active_seat_count,
        "covered_plan_types": p.covered_plan_types,
        "allowed_categories": p.allowed_categories,
        "expert_ids": [str(e.public_id) for e in programs.panel(db.session(), p)],
        "auto_enroll": p.auto_enroll,
        "config_locked_at": plain(p.config_locked_at),
        "licensed_seat_config": {
            "cycle": p.cycle.value,
            **seat,
            **overage,
            "active_seat_count": p.active_seat_count,
        }
        if seats
        else None,
        "credit_pool_config": None if seats else {"cycle": p.cycle.value, **pool, **overage},
    }


def assignment_json(a: Assignment) -> dict[str, Any]:
    """An assignment with program and membership, which must be loaded."""
    return {
        "id": str(a.public_id),
        "program_id": str(a.program.public_id),
        "membership_id": str(a.membership.public_id),
        "status": a.status.value,
        "label": assignments.label(a, clock.today_ist()),
        "period_start": plain(a.period_start),
        "period_end": plain(a.period_end),
        "consumed_paise": a.consumed_paise,
        "engagements_used": a.engagements_used,
        "overage_paise": a.overage_paise,
        "close_reason": plain(a.close_reason),
        "clamped": a.clamped,
    }


_WITH = (joinedload(Assignment.program, innerjoin=True), joinedload(Assignment.membership, innerjoin=True))


def day_of(period: Any) -> dt.date | None:
    """The first day of a period: a date, or an object that begins with one. Raises Invalid."""
    if isinstance(period, dict):
        period = period.get("period_start") or period.get("start") or period.get("from")
    if period in (None, ""):
        return None
    try:
        return dt.date.fromisoformat(str(period)[:10])
    except ValueError:
        raise Invalid({"period": ["Enter a date, such as 2026-04-01."]}) from None


class ProgramsApi(Api):
    """Programs and the members' places in them."""

    route_base = "/api/organizations/<org_id>/programs"
    resource_name = "org_programs"
    openapi_spec_tag = "Programs"

    def _visible(self) -> Any:
        """Operators see every program, others those they have a place in."""
        statement = select(Program).options(joinedload(Program.contract, innerjoin=True))
        if ctx().roles & (OPS | PLATFORM):
            return statement
        own = select(Assignment.program_id).where(Assignment.membership_id == (ctx().membership_id or -1))
        return statement.where(Program.id.in_(own))

    @expose("", methods=["GET"])
    @gate("programs", "read")
    def get_list(self) -> Any:
        """Programs
        ---
        get:
          summary: Programs; who is no operator sees those they have a place in
          responses:
            200:
              description: result and next_cursor
        """
        return page_of(self._visible(), Program, program_json)

    @expose("", methods=["POST"])
    @gate("programs", "write", active=True)
    def post(self) -> Any:
        """Create a program
        ---
        post:
          summary: Create a program; one credit of a pool is one rupee
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [contract_id, name, type]
                  properties:
                    contract_id: {type: string, format: uuid}
                    name: {type: string}
                    type: {type: string, enum: [CREDIT_POOL, LICENSED_SEAT]}
                    credits_per_cycle: {type: integer, minimum: 1}
                    cycle: {type: string, enum: [MONTHLY, QUARTERLY, ANNUAL]}
                    pool_scope: {type: string, enum: [PER_MEMBER, SHARED]}
                    covered_plan_types: {type: array, items: {type: string}}
                    allowed_categories: {type: array, items: {type: string}}
                    minimum_credits_per_period: {type: integer}
                    rate_per_seat_paise: {type: integer}
                    covered_engagements_per_cycle: {type: integer, nullable: true, description: none is unlimited}
                    price_cap_per_engagement_paise: {type: integer, nullable: true}
                    overage_behavior: {type: string, enum: [BLOCK, CHARGE_MEMBER, CHARGE_ORG]}
                    overage_surcharge_bps: {type: integer}
                    max_overage_per_cycle_paise: {type: integer}
                    expert_ids: {type: array, items: {type: string, format: uuid}}
                    auto_enroll: {type: boolean}
                    force_overlap: {type: boolean}
          responses:
            201:
              description: The program
            400:
              description: VALIDATION_FAILED, PROGRAM_TYPE_NOT_AVAILABLE, UNREACHABLE_FUNDING_PATH, INVALID_OVERAGE_CONFIG
            409:
              description: CONTRACT_NOT_ACTIVE, PROGRAM_COVERAGE_OVERLAP
        """
        body = payload(ProgramBody)
        contract = find(Contract, body.pop("contract_id"))
        program = programs.create_program(db.session(), contract, **figures(body))
        set_committed_value(program, "contract", contract)
        return ok(program_json(program), 201)

    @expose("/<public_id>", methods=["GET"])
    @gate("programs", "read")
    def get(self, public_id: str) -> Any:
        """One program
        ---
        get:
          summary: One program
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The program
            404:
              description: NOT_FOUND
        """
        return ok(program_json(self._one(public_id)))

    def _one(self, public_id: str) -> Program:
        row = db.session.scalars(
            self._visible().where(Program.public_id == parse_id(public_id)),
            execution_options={"populate_existing": True},
        ).one_or_none()
        if row is None:
            raise DomainError("NOT_FOUND")
        return row  # type: ignore[no-any-return]

    @expose("/<public_id>", methods=["PATCH"])
    @gate("programs", "write", active=True)
    def patch(self, public_id: str) -> Any:
        """Change a program
        ---
        patch:
          summary: Change name, status, cover and auto-enrolment; figures until the first place. ARCHIVED archives it
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The program
            400:
              description: VALIDATION_FAILED, INVALID_OVERAGE_CONFIG
            409:
              description: PROGRAM_CONFIG_LOCKED, PROGRAM_COVERAGE_OVERLAP, PROGRAM_HAS_ACTIVE_ASSIGNMENTS, ILLEGAL_TRANSITION
        """
        body = payload(ProgramPatch, partial=True)
        force, program, session = body.pop("force_overlap", False), find(Program, public_id), db.session()
        archive = body.get("status") == "ARCHIVED"
        if archive:
            body.pop("status")
        if body:
            programs.change(session, program, figures(body), force_overlap=force)
        if archive:
            programs.archive(session, program)
        return ok(program_json(self._one(public_id)))

    @expose("/<public_id>", methods=["DELETE"])
    @gate("programs", "write", active=True)
    def delete(self, public_id: str) -> Any:
        """Delete a program
        ---
        delete:
          summary: Delete a program nobody ever had a place in
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            204:
              description: Deleted
            409:
              description: PROGRAM_HAS_ACTIVE_ASSIGNMENTS
        """
        programs.remove(db.session(), find(Program, public_id))
        return ok(None, 204)

    @expose("/<public_id>/supersede", methods=["POST"])
    @gate("programs", "write", active=True)
    def supersede(self, public_id: str) -> Any:
        """Supersede a program
        ---
        post:
          summary: A copy with other figures takes its place; live places move with what they used
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            201:
              description: The new program, and assignments_moved
            400:
              description: VALIDATION_FAILED, INVALID_OVERAGE_CONFIG
            409:
              description: ILLEGAL_TRANSITION, PROGRAM_COVERAGE_OVERLAP
        """
        body = payload(ProgramPatch, partial=True)
        body.pop("force_overlap", None)
        new, moved = programs.supersede(db.session(), find(Program, public_id), figures(body))
        return ok({**program_json(self._one(str(new.public_id))), "assignments_moved": moved}, 201)

    @expose("/<public_id>/archive", methods=["POST"])
    @gate("programs", "write", active=True)
    def archive(self, public_id: str) -> Any:
        """Archive a program
        ---
        post:
          summary: Put a program away that has no live places
          parameters:
          - {in: path, name: public_id, required: true, schema: {type: string, format: uuid}}
          responses:
            200:
              description: The ARCHIVED program
            409:
              description: PROGRAM_HAS_ACTIVE_ASSIGNMENTS with count, ILLEGAL_TRANSITION
        """
        programs.archive(db.session(), find(Program, public_id))
        return ok(program_json(self._one(public_id)))

    @expose("/<public_id>/assignments", methods=["GET"])
    @gate("programs", "read")
    def assignments(self, public_id: str) -> Any:
        """Places in a program
        ---
        get:
          summary: Places in a program; who is no operator sees their own
          responses:
            200:
              description: result and next_cursor
            404:
              description: NOT_FOUND
        """
        program = find(Program, public_id)
        statement = select(Assignment).where(Assignment.program_id == program.id).options(*_WITH)
        if not ctx().roles & (OPS | PLATFORM):
            statement = statement.where(Assignment.membership_id == (ctx().membership_id or -1))
        return page_of(statement, Assignment, assignment_json)

    @expose("/<public_id>/assignments", methods=["POST"])
    @gate("assignments", "write", active=True)
    def assign(self, public_id: str) -> Any:
        """Assign a member
        ---
        post:
          summary: Give a member a place for one cycle; the same place again answers 200
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [membership_id]
                  properties:
                    membership_id: {type: string, format: uuid}
                    period_start: {type: string, format: date}
          responses:
            200:
              description: It existed already
            201:
              description: The new place
            409:
              description: CONTRACT_NOT_ACTIVE, MEMBERSHIP_NOT_ACTIVE, ASSIGNMENT_OVERLAP
        """
        body = payload(AssignmentBody)
        program = find(Program, public_id)
        membership = find(Membership, body["membership_id"], code="MEMBER_NOT_FOUND")
        row, created = assignments.assign(db.session(), program, membership, body["period_start"])
        set_committed_value(row, "program", program)
        set_committed_value(row, "membership", membership)
        return ok(assignment_json(row), 201 if created else 200)

    @expose("/<public_id>/auto-enroll", methods=["POST"])
    @gate("assignments", "write", active=True)
    def enrol(self, public_id: str) -> Any:
        """Assign many members
        ---
        post:
          summary: Assign up to 200 members; each has a result of its own
          responses:
            200:
              description: enrolled, skipped, failed, results
        """
        body = payload(EnrolBody)
        program = find(Program, public_id)
        known = {
            str(m.public_id): m
            for m in db.session.scalars(
                select(Membership).where(
                    Membership.public_id.in_([k for k in map(uuid_of, body["membership_ids"]) if k])
                )
            )
        }
        asked = list(dict.fromkeys(body["membership_ids"]))
        return ok(
            assignments.enrol(
                db.session(),
                program,
                [(a, known.get(str(uuid_of(a)))) for a in asked],
                day_of(body["period"]),
            )
        )


class AssignmentsApi(Api):
    """One member's place in a program."""

    route_base = "/api/organizations/<org_id>/assignments"
    resource_name = "org_assignments"
    openapi_spec_tag = "Programs"

    @expose("/<public_id>", methods=["POST", "PATCH"])
    @gate("assignments", "write", active=True)
    def cancel(self, public_id: str) -> Any:
        """Cancel a place
        ---
        post:
          summary: Cancel a live place
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [cancel]
                  properties:
                    cancel: {type: boolean, enum: [true]}
          responses:
            200:
              description: The cancelled place
            409:
              description: ASSIGNMENT_NOT_ACTIVE
        """
        payload(CancelBody)
        row = find(Assignment, public_id, *_WITH)
        assignments.cancel_assignment(db.session(), row)
        return ok(assignment_json(find(Assignment, public_id, *_WITH)))


def register(app: Flask, appbuilder: Any) -> None:
    """Register the domain's resources."""
    for api in (ContractsApi, ProgramsApi, AssignmentsApi):
        appbuilder.add_api(api)
