"""Members over REST (chapter 1, 1.3)."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select
from sqlalchemy.orm import contains_eager, joinedload

from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Membership, MembershipStatus, OrgRole, PayoutRecipient
from app.security import matrix
from app.security.context import ctx
from app.services import joining, members, obligations, people_search

from .http import Api, cursor_key, cursor_of, find, gate, ok, page_args, payload

GONE = (MembershipStatus.REMOVED, MembershipStatus.ERASED)


class AddSchema(Schema):
    email = fields.String(validate=validate.Length(1, 320))
    user_id = fields.UUID()
    role = fields.Enum(OrgRole, required=True, by_value=True)
    department_label = fields.String(allow_none=True, load_default=None, validate=validate.Length(max=100))


class ChangeSchema(Schema):
    role = fields.Enum(OrgRole, by_value=True)
    status = fields.Enum(MembershipStatus, by_value=True)
    department_label = fields.String(allow_none=True, validate=validate.Length(max=100))
    payout_recipient = fields.Enum(PayoutRecipient, by_value=True)


class SpendLimitSchema(Schema):
    spend_limit_paise = fields.Integer(
        required=True, strict=True, allow_none=True, validate=validate.Range(max=10**15)
    )


def member_view(row: Membership) -> dict[str, Any]:
    """A member as REST shows one; the limit only to those who may see it, and to oneself."""
    money = row.user_id == ctx().user_id or matrix.can("read", "spend-limit")
    return {
        "id": str(row.public_id),
        "user_id": str(row.user.public_id),
        "name": row.user.name,
        "email": row.user.email,
        "role": str(row.role),
        "status": str(row.status),
        "department_label": row.department_label,
        "seat_assigned_at": row.seat_assigned_at.isoformat() if row.seat_assigned_at else None,
        "payout_recipient": str(row.payout_recipient),
        **({"spend_limit_paise": row.spend_limit_paise} if money else {}),
        "joined_at": row.joined_at.isoformat() if row.joined_at else None,
    }


def find_member(key: str) -> Membership:
    """The member of this public id, with the person. Raises MEMBER_NOT_FOUND."""
    try:
        row = find(Membership, key, joinedload(Membership.user), code="MEMBER_NOT_FOUND")
    except DomainError as error:
        raise DomainError("MEMBER_NOT_FOUND") from error
    if row.status == MembershipStatus.ERASED:
        raise DomainError("MEMBER_NOT_FOUND")
    return row


class MembersApi(Api):
    """The people of an organisation."""

    route_base = "/api/organizations/<org_id>/members"
    resource_name = "members"
    openapi_spec_tag = "People"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("members", "read")
    def list(self) -> Any:
        """Members
        ---
        get:
          summary: Members, oldest first; without ?status= those who left are absent
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: role, schema: {type: string}}
          - {in: query, name: status, schema: {type: string}}
          - {in: query, name: department, schema: {type: string}, description: a department's exact name}
          - {in: query, name: q, schema: {type: string}, description: "first name, last name or address begins with; the first 200 matches of each"}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: members and next_cursor
            403:
              description: INSUFFICIENT_ROLE
        """
        among: list[Any] = [Membership.status != MembershipStatus.ERASED]
        if not request.args.get("status"):
            among.append(Membership.status.not_in(GONE))
        for name, kind in (("role", OrgRole), ("status", MembershipStatus)):
            if value := request.args.get(name):
                if value not in set(kind):
                    raise Invalid({name: [f"Choose one of {', '.join(kind)}."]})
                among.append(getattr(Membership, name) == value)
        if department := request.args.get("department", "").strip()[:100].replace("\x00", ""):
            among.append(Membership.department_label == department)
        statement = (
            select(Membership).join(Membership.user).options(contains_eager(Membership.user)).where(*among)
        )
        q = request.args.get("q", "").strip()[:100].replace("\x00", "")
        rows, more = self._page(statement, people_search.matching(q, among=among) if q else None)
        return ok({"members": [member_view(row) for row in rows], "next_cursor": more})

    def _page(self, statement: Any, found: Any = None) -> tuple[Any, str | None]:
        """A page of *statement* by inner id; of those only whose ids *found* selects, cut before people are joined."""
        cursor, limit = page_args()
        after = cursor_key(cursor) if cursor is not None else 0
        if found is None:
            statement = statement.where(Membership.id > after)
        else:
            ids = found.subquery()
            page = select(ids.c.id).where(ids.c.id > after).order_by(ids.c.id).limit(limit + 1)
            statement = statement.where(Membership.id.in_(page))
        rows = db.session.scalars(statement.order_by(Membership.id).limit(limit + 1)).all()
        return rows[:limit], cursor_of({"id": rows[limit - 1].id}) if len(rows) > limit else None

    @expose("/directory", methods=["GET"])
    @gate("directory", "read")
    def directory(self) -> Any:
        """Directory
        ---
        get:
          summary: Names and roles of active members, for every member
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: members and next_cursor
        """
        rows, more = self._page(
            select(Membership)
            .join(Membership.user)
            .options(contains_eager(Membership.user))
            .where(Membership.status == MembershipStatus.ACTIVE)
        )
        return ok(
            {
                "members": [{"id": str(r.public_id), "name": r.user.name, "role": str(r.role)} for r in rows],
                "next_cursor": more,
            }
        )

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @gate("members", "write")
    def add(self) -> Any:
        """Add a member
        ---
        post:
          summary: Add somebody who has an account; a removed member is reactivated (200)
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [role]
                  properties:
                    email: {type: string}
                    user_id: {type: string}
                    role: {type: string}
                    department_label: {type: string}
          responses:
            201:
              description: member
            200:
              description: member, reactivated
            404:
              description: USER_NOT_FOUND
            409:
              description: ALREADY_MEMBER, ROLE_TRANSITION_BLOCKED
        """
        body = payload(AddSchema)
        if ("email" in body) == ("user_id" in body):
            raise Invalid({"email": ["Send either email or user_id."]})
        user = joining.find_person(db.session(), email=body.get("email"), user_public_id=body.get("user_id"))
        joined = joining.add_member(db.session(), user, body["role"], body["department_label"])
        return ok({"member": member_view(joined.membership)}, 201 if joined.created else 200)

    @expose("/bulk", methods=["POST", "DELETE"])
    @gate("members", "write")
    def bulk(self) -> Any:
        """No bulk removal
        ---
        post:
          summary: Always refused, so that nobody is removed by accident
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            405:
              description: BULK_REMOVAL_NOT_SUPPORTED
        """
        raise DomainError("BULK_REMOVAL_NOT_SUPPORTED")

    @expose("/leave", methods=["POST"])
    @gate("leave", "write")
    def leave(self) -> Any:
        """Leave
        ---
        post:
          summary: Leave the organisation; live seats are given back
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: member
            409:
              description: LAST_OWNER, MEMBER_HAS_OBLIGATIONS
        """
        return ok({"member": member_view(members.leave(db.session()))})

    @expose("/<key>", methods=["GET"])
    @gate("directory", "read")
    def show(self, key: str) -> Any:
        """A member
        ---
        get:
          summary: A member; oneself, or anybody for OPS_READ
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: member
            403:
              description: INSUFFICIENT_ROLE
            404:
              description: MEMBER_NOT_FOUND
        """
        row = find_member(key)
        if row.user_id != ctx().user_id and not matrix.can("read", "members"):
            raise DomainError("INSUFFICIENT_ROLE")
        return ok({"member": member_view(row)})

    @expose("/<key>", methods=["PATCH"])
    @gate("members", "write")
    def change(self, key: str) -> Any:
        """Change a member
        ---
        patch:
          summary: Change role, status, department or payout routing
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: member
            403:
              description: SELF_CHANGE, ROLE_REQUIRES_OWNER, OWNER_REQUIRED, SEAT_LIMIT_REACHED
            409:
              description: LAST_OWNER, ROLE_TRANSITION_BLOCKED, REMOVE_AND_REINVITE, ILLEGAL_TRANSITION
        """
        body = payload(ChangeSchema)
        row = members.change_member(
            db.session(),
            find_member(key),
            role=body.get("role"),
            status=body.get("status"),
            department_label=body.get("department_label", members.UNSET),
            payout_recipient=body.get("payout_recipient"),
        )
        return ok({"member": member_view(row)})

    @expose("/<key>", methods=["DELETE"])
    @gate("members", "write")
    def remove(self, key: str) -> Any:
        """Remove a member
        ---
        delete:
          summary: Remove a member; open obligations refuse it, an owner may force it
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          - {in: query, name: force, schema: {type: boolean}}
          responses:
            200:
              description: member
            409:
              description: MEMBER_HAS_OBLIGATIONS with counts, LAST_OWNER
        """
        data = request.get_json(silent=True)
        force = request.args.get("force", str(data.get("force", "")) if isinstance(data, dict) else "")
        row = members.remove_member(db.session(), find_member(key), force=force.lower() in ("1", "true"))
        return ok({"member": member_view(row)})

    @expose("/<key>/obligations", methods=["GET"])
    @gate("members", "write")
    def obligations(self, key: str) -> Any:
        """Obligations
        ---
        get:
          summary: What a removal would meet, as counts
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: obligations
        """
        return ok({"obligations": obligations.of(db.session(), find_member(key))})

    @expose("/<key>/spend-limit", methods=["GET"])
    @gate("spend-limit", "read")
    def spend_limit(self, key: str) -> Any:
        """Spend limit
        ---
        get:
          summary: A member's monthly spend limit, paise
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: spend_limit_paise
        """
        return ok({"spend_limit_paise": find_member(key).spend_limit_paise})

    @expose("/<key>/spend-limit", methods=["PATCH", "PUT"])
    @gate("spend-limit", "write")
    def set_spend_limit(self, key: str) -> Any:
        """Set the spend limit
        ---
        patch:
          summary: Set a member's monthly spend limit; null for none
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: key, required: true, schema: {type: string}}
          responses:
            200:
              description: member
        """
        row = members.set_spend_limit(
            db.session(), find_member(key), payload(SpendLimitSchema)["spend_limit_paise"]
        )
        return ok({"member": member_view(row)})
