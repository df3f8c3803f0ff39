"""Learners of a sponsor and experts of a host, as operators look at them; and the two pages of one's own."""

from __future__ import annotations

from typing import Any

from flask import abort, flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app import clock
from app.api.members import find_member
from app.errors import Invalid
from app.extensions import db
from app.models import RequestKind, RequestStatus
from app.security import matrix
from app.security.context import ctx
from app.services import (
    assignments,
    departments,
    member_requests,
    members,
    metering,
    org_status,
    organizations,
    overages,
    rosters,
    spending,
)
from app.services.member_rules import is_owner
from app.views.base import page as page_entry

from .forms import parse_rupees
from .member_pages import after
from .member_requests import asks, own
from .pages import OrgPage, page, safe_next


def _asked() -> dict[str, Any]:
    """Search and department of the address, and the cursor."""
    return {
        "q": request.args.get("q", "").strip()[:100],
        "department": request.args.get("department", "").strip()[:100] or None,
        "after": after(),
    }


def _next(endpoint: str, found: rosters.Found, asked: dict[str, Any]) -> str:
    if not found.more:
        return ""
    kept = {k: asked[k] for k in ("q", "department") if asked[k]}
    return url_for(endpoint, **kept, after=found.rows[-1].member.public_id)


class LearnersPage(OrgPage):
    """Seats, departments, programs and usage."""

    route_base = "/dashboard/organization/<org_id>/learners"
    resource = "learners"

    @expose("/")
    @page("learners")
    def index(self) -> Any:
        asked = _asked()
        found = rosters.learners(db.session(), **asked)
        mine = own(RequestKind.SEATS)
        return self.render(
            "people/learners.html",
            title="Learners",
            organization=organizations.current(db.session()),
            found=found,
            asked=asked,
            departments=departments.labels(db.session()),
            more=_next("LearnersPage.index", found, asked),
            asks=asks(RequestKind.SEATS) and ctx().role != "OWNER" and not _waits(mine),
            mine=mine,
            settings=ctx().role == "OWNER" or ctx().is_admin,
            limits=matrix.can("read", "spend-limit"),
        )


class ExpertsPage(OrgPage):
    """Verification, payout routing and what is coming up."""

    route_base = "/dashboard/organization/<org_id>/experts"
    resource = "experts"

    @expose("/")
    @page("experts")
    def index(self) -> Any:
        asked = _asked()
        found = rosters.experts(db.session(), **asked)
        return self.render(
            "people/experts.html",
            title="Experts",
            found=found,
            asked=asked,
            departments=departments.labels(db.session()),
            more=_next("ExpertsPage.index", found, asked),
        )


class SpendLimitsPage(OrgPage):
    """Learners' limits and what is spent of them, for those who look after money (names as in the directory)."""

    route_base = "/dashboard/organization/<org_id>/spend-limits"
    resource = "spend-limit"

    @expose("/")
    @page("spend-limit", sponsor=True)
    def index(self) -> Any:
        asked = _asked()
        if not matrix.can("read", "members"):
            asked["department"] = None
        found = rosters.limits(db.session(), **asked, by_email=matrix.can("read", "members"))
        owners_only = organizations.current(db.session()).people_owner_only
        return self.render(
            "people/spend_limits.html",
            title="Spend limits",
            found=found,
            asked=asked,
            departments=departments.labels(db.session()) if matrix.can("read", "members") else [],
            more=_next("SpendLimitsPage.index", found, asked),
            open=matrix.can("write", "spend-limit")
            and org_status.writable(g.org["status"])
            and (is_owner() or not owners_only),
            members=matrix.can("read", "members"),
        )

    @expose("/<key>", methods=["POST"])
    @page("spend-limit", "write", sponsor=True)
    def save(self, key: str) -> Any:
        row, raw = find_member(key), request.form.get("amount", "").strip()
        try:
            paise = parse_rupees(raw) if raw else None
        except ValueError as error:
            raise Invalid({"limit": [f"{error}."]}) from None
        members.set_spend_limit(db.session(), row, paise)
        flash(f"Limit of {row.user.name} saved.", "success")
        return redirect(safe_next(request.form.get("_back"), url_for("SpendLimitsPage.index")))


class MyProgramPage(OrgPage):
    """A learner's places in programs and what is left of them."""

    route_base = "/dashboard/organization/<org_id>/my-program"
    resource = "my-program"

    @expose("/")
    @page("my-program")
    def index(self) -> Any:
        if g.org.get("membership_id") is None:
            abort(404)
        today, session = clock.today_ist(), db.session()
        mine = assignments.mine(session)
        shared = assignments.shared_use(session, mine)
        groups: dict[str, list[Any]] = {"active": [], "upcoming": [], "expired": []}
        for a in mine:
            label = assignments.label(a, today)
            group = {"Active": "active", "Upcoming": "upcoming"}.get(label, "expired")
            if label == "Paused" and today <= a.period_end:
                group = "active"
            groups[group].append((a, label, shared.get(a.id, a.consumed_paise)))
        wanted_places = own(RequestKind.PROGRAM_PLACE)
        asked = {r.program_id for r, _ in wanted_places if r.status == RequestStatus.PENDING}
        wanted = request.args.get("show", "")
        shown = wanted if wanted in groups else "active"
        return self.render(
            "people/my_program.html",
            title="My program",
            rows=groups[shown],
            shown=shown,
            tabs=[
                {
                    "label": name.capitalize(),
                    "url": f"{request.path}?show={name}" if name != "active" else request.path,
                    "here": name == shown,
                    "count": len(rows),
                }
                for name, rows in groups.items()
            ],
            credit=metering.CREDIT_PAISE,
            spend=_own_spend(),
            offered=[
                p
                for p in (member_requests.offered(session) if asks(RequestKind.PROGRAM_PLACE) else [])
                if p.id not in asked
            ],
            mine=wanted_places,
            owed=overages.owed_by(session),
        )


def _waits(mine: list[Any]) -> bool:
    """Whether one of the reader's requests is still open."""
    return any(row.status == RequestStatus.PENDING for row, _ in mine)


def _own_spend() -> dict[str, Any] | None:
    """The reader's own limit of the month and what is spent of it; None without a limit."""
    me = rosters.own_membership(db.session())
    if me is None or me.spend_limit_paise is None:
        return None
    spent = spending.this_month(db.session(), [me.user_id]).get(me.user_id, 0)
    return {"limit": me.spend_limit_paise, "spent": spent}


class MyArrangementPage(OrgPage):
    """An expert's terms at a host: who is paid, which share, what was earned."""

    route_base = "/dashboard/organization/<org_id>/my-arrangement"
    resource = "my-arrangement"

    @expose("/")
    @page("my-arrangement")
    def index(self) -> Any:
        session = db.session()
        me = rosters.own_membership(session)
        if me is None:
            abort(404)
        return self.render(
            "people/my_arrangement.html",
            title="My arrangement",
            me=me,
            card=rosters.default_card(session),
            earnings=rosters.own_earnings(session),
            asks=asks(RequestKind.PAYOUT_ROUTING),
            mine=own(RequestKind.PAYOUT_ROUTING),
        )


def register(appbuilder: Any) -> None:
    """Register the pages."""
    for view, label, icon, order, keywords in (
        (LearnersPage, "Learners", "graduation-cap", 13, "seats usage programs"),
        (ExpertsPage, "Experts", "presentation", 14, "verification payout"),
    ):
        page_entry(
            appbuilder,
            view(),
            group="People",
            label=label,
            resource=view.resource,
            icon=icon,
            order=order,
            keywords=keywords,
        )
    page_entry(
        appbuilder,
        SpendLimitsPage(),
        group="Commerce",
        label="Spend limits",
        resource="spend-limit",
        icon="gauge",
        when=lambda org: org["can_sponsor"],
        order=900,
        keywords="budget monthly limit learners",
    )
    for mine, label, icon in (
        (MyProgramPage, "My program", "graduation-cap"),
        (MyArrangementPage, "My arrangement", "handshake"),
    ):
        page_entry(appbuilder, mine(), group="", label=label, resource=mine.resource, icon=icon)
