"""What hangs on booking: trials, places in lines, credit and the people one brought."""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, g, redirect, request, session, url_for
from flask_appbuilder import expose

from app import clock
from app.api.attending import pay_trial
from app.api.http import cursor_moment, cursor_of, page_args, parse_id
from app.errors import DomainError
from app.extensions import db
from app.services import referrals, trials, waitlist
from app.services.booking_record import price
from app.views.base import page as sidebar

from .booking import booking_tabs
from .pages import Page, open_page, personal_page
from .scoping import page_scope, scope_chips

PER_PAGE = 25


class AttendingPage(Page):
    """Trials and waitlists of the reader, on both sides."""

    route_base = "/dashboard"
    class_permission_name = "self"
    default_view = "trials"

    @expose("/trials")
    @personal_page
    def trials(self) -> Any:
        scope = page_scope()
        cursor, _ = page_args()
        after = cursor_moment(cursor) if cursor is not None else None
        rows = trials.listed(db.session(), scope, limit=PER_PAGE + 1, after=after)
        more, rows = rows[PER_PAGE:], rows[:PER_PAGE]
        query: dict[str, Any] = {"org_scope": scope.value} if scope.value else {}
        if more:
            query["cursor"] = cursor_of({"at": rows[-1].created_at.isoformat(), "n": rows[-1].id})
        return self.render(
            "booking/trials.html",
            title="Trials",
            rows=rows,
            tabs=booking_tabs("trials", scope.value),
            chips=scope_chips(scope),
            me=g.identity.user.id,
            now=clock.now(),
            amount={r.id: price(r.price_paise, r.plan.tax_bps if r.plan else 0).amount for r in rows},
            more=url_for("AttendingPage.trials", **query) if more else "",
        )

    @expose("/trials/<public_id>/<step>", methods=["POST"])
    @personal_page
    def trial_step(self, public_id: str, step: str) -> Any:
        """Grant, decline, take back or pay."""
        row = trials.one(db.session(), parse_id(public_id))
        if step == "accept":
            trials.accept(db.session(), row)
            flash("Granted. The time is kept until the learner has paid.", "success")
        elif step == "reject":
            trials.reject(db.session(), row, request.form.get("answer", "")[:500])
            flash("Declined.", "success")
        elif step == "withdraw":
            trials.withdraw(db.session(), row)
            flash("Taken back.", "success")
        elif step == "pay":
            result = pay_trial(public_id, f"trial:{public_id}:{request.form.get('key', '')[:80]}")
            return redirect(
                result.answer["payment"].get("checkout_url")
                or url_for("BookingsPage.show", public_id=result.answer["id"], booked=1)
            )
        else:
            raise DomainError("NOT_FOUND")
        return redirect(url_for("AttendingPage.trials"))

    @expose("/waitlist")
    @personal_page
    def waitlist(self) -> Any:
        scope = page_scope()
        cursor, _ = page_args()
        after = cursor_moment(cursor) if cursor is not None else None
        rows = waitlist.listed(db.session(), scope, limit=PER_PAGE + 1, after=after)
        more, rows = rows[PER_PAGE:], rows[:PER_PAGE]
        query: dict[str, Any] = {"org_scope": scope.value} if scope.value else {}
        if more:
            query["cursor"] = cursor_of({"at": rows[-1].joined_at.isoformat(), "n": rows[-1].id})
        return self.render(
            "booking/waitlist.html",
            title="Waitlist",
            rows=rows,
            tabs=booking_tabs("waitlist", scope.value),
            chips=scope_chips(scope),
            more=url_for("AttendingPage.waitlist", **query) if more else "",
        )


class ReferralsPage(Page):
    """One's code, credit and the people one brought: personal, never in an organisation's scope."""

    route_base = ""
    class_permission_name = "self"

    @expose("/dashboard/referrals", methods=["GET", "POST"])
    @personal_page
    def index(self) -> Any:
        if request.method == "POST":
            referrals.redeem(db.session(), request.form.get("code", "")[:20])
            session.pop("referral", None)
            flash("Kept. You both get credit once you have paid for a booking.", "success")
            return redirect(url_for("ReferralsPage.index"))
        view = referrals.view(db.session(), current_app.config["SETTINGS"].base_url)
        return self.render(
            "booking/referrals.html",
            title="Credit and referrals",
            seen=view,
            credits=referrals.credits(db.session()),
            may_redeem=referrals.may_redeem(db.session()),
            brought=referrals.brought(db.session()),
            offered=str(session.get("referral", ""))[:20],
            now=clock.now(),
        )

    @expose("/refer/<code>")
    @open_page
    def refer(self, code: str) -> Any:
        """Somebody's link: the code waits in this browser until its owner has an account."""
        session["referral"] = code[:20]
        if g.get("identity") is None:
            return redirect("/signup")
        return redirect(url_for("ReferralsPage.index"))


def register(appbuilder: Any) -> None:
    """Put the pages onto the personal dashboard."""
    appbuilder.add_view_no_menu(AttendingPage())
    sidebar(
        appbuilder,
        ReferralsPage(),
        group="",
        label="Credit and referrals",
        resource="",
        icon="gift",
        scope="personal",
        keywords="bonus invite friend code discount",
    )
