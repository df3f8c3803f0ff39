"""Learners, experts and one's own arrangement over REST (chapter 1, 1.5 and 1.7)."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_appbuilder.api import expose

from app.errors import DomainError
from app.extensions import db
from app.security import matrix
from app.services import organizations, rosters

from .http import Api, bad_cursor, cursor_of, gate, ok, page_args, parse_id
from .members import member_view


def _page() -> dict[str, Any]:
    """Search, department, limit and cursor of the query string, as ``rosters.people`` takes them."""
    cursor, limit = page_args()
    after = None
    if cursor is not None:
        try:
            after = parse_id(cursor.get("id"))
        except DomainError:
            raise bad_cursor() from None
    return {
        "q": request.args.get("q", ""),
        "department": request.args.get("department", "").strip() or None,
        "limit": limit,
        "after": after,
    }


def _more(found: rosters.Found) -> str | None:
    return cursor_of({"id": str(found.rows[-1].member.public_id)}) if found.more else None


class LearnersApi(Api):
    """Learners with seats, places and spending."""

    route_base = "/api/organizations/<org_id>/learners"
    resource_name = "learners"
    openapi_spec_tag = "People"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("learners", "read")
    def list(self) -> Any:
        """Learners
        ---
        get:
          summary: Learners by name with places in programs and this month's spending; seats used and in all
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: q, schema: {type: string}}
          - {in: query, name: department, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: seats, learners, next_cursor
            409:
              description: SPONSOR_CAPABILITY_REQUIRED
        """
        found = rosters.learners(db.session(), **_page())
        organization = organizations.current(db.session())
        money = matrix.can("read", "spend-limit")
        rows = [
            {
                **member_view(row.member),
                **({"spent_this_month_paise": row.spent_paise} if money else {}),
                "places": [
                    {
                        "program": p.program,
                        "until": p.until.isoformat(),
                        "used_paise": p.used_paise,
                        "budget_paise": p.budget_paise,
                    }
                    for p in row.places
                ],
            }
            for row in found.rows
        ]
        seats = {"used": organization.seats_used, "total": organization.seats_total}
        return ok({"seats": seats, "learners": rows, "next_cursor": _more(found)})


class ExpertsApi(Api):
    """Experts with verification, routing and what is coming."""

    route_base = "/api/organizations/<org_id>/experts"
    resource_name = "experts"
    openapi_spec_tag = "People"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("experts", "read")
    def list(self) -> Any:
        """Experts
        ---
        get:
          summary: Experts by name with verification, payout routing and coming sessions
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: query, name: q, schema: {type: string}}
          - {in: query, name: department, schema: {type: string}}
          - {in: query, name: limit, schema: {type: integer, maximum: 100}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: experts, next_cursor
            409:
              description: HOST_CAPABILITY_REQUIRED
        """
        found = rosters.experts(db.session(), **_page())
        rows = [
            {
                **member_view(row.member),
                "verification_status": str(row.profile.verification_status) if row.profile else None,
                "headline": row.profile.headline if row.profile else None,
                "upcoming_sessions": row.upcoming,
                "next_session_at": row.next_at.isoformat() if row.next_at else None,
            }
            for row in found.rows
        ]
        return ok({"experts": rows, "next_cursor": _more(found)})


class MyArrangementApi(Api):
    """An expert's own terms at a host."""

    route_base = "/api/organizations/<org_id>/my-arrangement"
    resource_name = "my-arrangement"
    openapi_spec_tag = "People"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("my-arrangement", "read")
    def show(self) -> Any:
        """My arrangement
        ---
        get:
          summary: The acting expert's payout routing, the default split and the latest earnings here, whoever paid
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: payout_recipient, split, earnings
        """
        me = rosters.own_membership(db.session())
        if me is None:
            raise DomainError("MEMBER_NOT_FOUND")
        card = rosters.default_card(db.session())
        return ok(
            {
                "payout_recipient": str(me.payout_recipient),
                "split": {
                    "platform_bps": card.platform_bps,
                    "org_bps": card.org_bps,
                    "consultant_bps": card.consultant_bps,
                },
                "earnings": [
                    {
                        "id": e.id,
                        "title": e.title,
                        "starts_at": e.starts_at.isoformat() if e.starts_at else None,
                        "status": e.status,
                        "gross_paise": e.gross_paise,
                        "share_paise": e.share_paise,
                        "refunded_paise": e.refunded_paise,
                        "consultant_bps": e.consultant_bps,
                        "hold_until": e.hold_until.isoformat(),
                    }
                    for e in rosters.own_earnings(db.session())
                ],
            }
        )


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources."""
    for resource in (LearnersApi, ExpertsApi, MyArrangementApi):
        appbuilder.add_api(resource)
