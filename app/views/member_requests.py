"""The queue of requests: what members ask for, decided by those who may."""

from __future__ import annotations

from typing import Any, ClassVar

from flask import flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app.api.http import find
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import MemberRequest, OrgRole, PayoutRecipient, Program, RequestKind, RequestStatus
from app.security.context import ctx
from app.services import member_requests, org_status
from app.views.base import Ask, Rows, TenantView, action
from app.views.base import register as register_view

from .pages import OrgPage, page, safe_next
from .people import may_write


def decidable(row: MemberRequest) -> bool:
    """Whether the reader decides this request now."""
    if g.get("org") is None or row.status != RequestStatus.PENDING or not member_requests.may_decide(row):
        return False
    return row.kind != RequestKind.PAYOUT_ROUTING or may_write()


class Requests(TenantView):
    """Places in programs, payout routings and seats that somebody waits for."""

    datamodel = Rows(MemberRequest, eager=("membership", "program", "decided_by"))
    resource = "requests"
    menu, icon, title, one = "People", "inbox", "Requests", "request"
    list_columns = ["wish", "membership_id", "kind", "status", "created_at"]
    order_columns = ["kind", "status", "created_at"]
    show_columns = [
        "membership_id",
        "kind",
        "status",
        "program_id",
        "payout_recipient",
        "seats",
        "created_at",
        "note",
        "decided_by_user_id",
        "decided_at",
        "decision_note",
    ]
    search_columns = ["kind", "status", "membership_id", "created_at"]
    labels: ClassVar[dict[str, str]] = {
        "wish": "Request",
        "membership_id": "Asked by",
        "created_at": "Asked",
        "program_id": "Program",
        "payout_recipient": "Earnings to",
        "note": "Why",
        "decided_by_user_id": "Answered by",
        "decided_at": "Answered",
        "decision_note": "Answer",
    }
    kinds: ClassVar[dict[str, str]] = {
        "kind": "tag",
        "payout_recipient": "tag",
        "created_at": "ago",
        "decided_at": "datetime",
        "note": "long",
        "decision_note": "long",
    }
    saved = [
        ("Open", "_flt_0_status=PENDING"),
        ("Approved", "_flt_0_status=APPROVED"),
        ("Declined", "_flt_0_status=DECLINED"),
        ("Withdrawn", "_flt_0_status=CANCELED"),
    ]
    base_order = ("created_at", "desc")
    phone = ("wish", "status", "membership_id", "created_at")
    empty = (
        "No requests",
        "Learners ask for places in programs, experts for another payout routing, managers for more seats.",
    )

    @action(
        "approve",
        "Approve",
        icon="check",
        verb="decide",
        primary=True,
        confirm="The change is made at once, and the person is told.",
        when=decidable,
        asks=[Ask("note", "A word to the person", "textarea", max_length=member_requests.MAX_NOTE)],
    )
    def approve(self, items: list[MemberRequest], note: str | None) -> str:
        for row in items:
            member_requests.approve(self.datamodel.session, row, note or "")
        return "Approved. The change is made."

    @action(
        "decline",
        "Decline",
        icon="x",
        verb="decide",
        danger=True,
        confirm="Nothing changes, and the person is told why.",
        when=decidable,
        asks=[Ask("note", "Why", "textarea", required=True, max_length=member_requests.MAX_NOTE)],
    )
    def decline(self, items: list[MemberRequest], note: str) -> str:
        for row in items:
            member_requests.decline(self.datamodel.session, row, note)
        return "Declined. The person is told."

    @action(
        "withdraw",
        "Withdraw",
        icon="undo-2",
        verb="read",
        when=lambda r: r.status == RequestStatus.PENDING and r.membership_id == ctx().membership_id,
    )
    def withdraw(self, items: list[MemberRequest]) -> str:
        for row in items:
            member_requests.cancel(self.datamodel.session, row)
        return "Withdrawn."


class OwnRequestsPage(OrgPage):
    """Asking, and taking back, from the pages where people need something."""

    route_base = "/dashboard/organization/<org_id>/own-requests"
    resource = "own-requests"

    @expose("/ask", methods=["POST"])
    @page("own-requests", "write")
    def ask(self) -> Any:
        form, session = request.form, db.session()
        note = form.get("note", "")
        kind = form.get("kind", "")
        if kind == RequestKind.PROGRAM_PLACE:
            member_requests.ask_place(session, find(Program, form.get("program")), note)
        elif kind == RequestKind.PAYOUT_ROUTING and form.get("recipient") in set(PayoutRecipient):
            member_requests.ask_routing(session, PayoutRecipient(form["recipient"]), note)
        elif kind == RequestKind.SEATS:
            raw = form.get("seats", "").strip()
            if not (raw.isascii() and raw.isdigit() and len(raw) < 7):
                raise Invalid({"seats": ["Enter a number."]})
            member_requests.ask_seats(session, int(raw), note)
        else:
            raise DomainError("BAD_REQUEST")
        flash("Your request is on its way. You hear of the answer here and by mail.", "success")
        return redirect(safe_next(form.get("_back"), url_for("HomePage.index")))

    @expose("/<key>/withdraw", methods=["POST"])
    @page("own-requests", "write")
    def withdraw(self, key: str) -> Any:
        member_requests.cancel(db.session(), find(MemberRequest, key))
        flash("Withdrawn.", "success")
        return redirect(safe_next(request.form.get("_back"), url_for("HomePage.index")))


def own(kind: RequestKind) -> list[tuple[MemberRequest, str]]:
    """The reader's latest requests of a kind with what they ask for."""
    rows = member_requests.own(db.session(), kind, limit=5)
    wishes = member_requests.wishes(db.session(), rows)
    return [(row, wishes[row.id]) for row in rows]


def asks(kind: RequestKind) -> bool:
    """Whether the reader may ask for this kind here, as the organisation stands."""
    role = ctx().role
    if role is None or not org_status.writable(g.org["status"]):
        return False
    return OrgRole(role) in member_requests.ASKED_BY[kind]


def register(appbuilder: Any) -> None:
    """Register the queue and the forms."""
    register_view(appbuilder, Requests, order=16)
    appbuilder.add_view_no_menu(OwnRequestsPage())
