"""My bookings: what was booked, when it is, and what can be done with it."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Response, current_app, flash, g, jsonify, redirect, request, url_for
from flask_appbuilder import expose

from app import clock
from app.api.checkout import plan_session
from app.api.http import parse_id
from app.errors import DomainError
from app.extensions import db
from app.models import PaymentStatus, PlanType
from app.services import (
    appointments,
    booking_mail,
    calendar_file,
    cancellations,
    catalogue,
    overages,
    refunds,
    sessions,
    settlement,
)
from app.services.text import money
from app.views.base import page as sidebar

from .explore import moment, picker, viewer_zone
from .pages import Page, personal_page
from .scoping import page_scope, scope_chips

PER_PAGE = 24


def booking_tabs(here: str, scope: str) -> list[dict[str, Any]]:
    """The tabs over everything one books."""
    kept = scope or None
    rows = (
        ("Upcoming", "upcoming", url_for("BookingsPage.index", org_scope=kept)),
        ("Past", "past", url_for("BookingsPage.index", when="past", org_scope=kept)),
        ("Trials", "trials", url_for("AttendingPage.trials", org_scope=kept)),
        ("Waitlist", "waitlist", url_for("AttendingPage.waitlist", org_scope=kept)),
    )
    return [{"label": label, "url": url, "here": key == here} for label, key, url in rows]


class BookingsPage(Page):
    """My bookings, as learner and as expert."""

    route_base = "/dashboard/appointments"
    class_permission_name = "self"

    @expose("/")
    @personal_page
    def index(self) -> Any:
        when = "past" if request.args.get("when") == "past" else "upcoming"
        scope = page_scope()
        before = request.args.get("before", "").partition("_")
        at = moment(before[0])
        after = (
            (at, int(before[2]))
            if at and before[2].isascii() and before[2].isdigit() and len(before[2]) < 18
            else None
        )
        rows = appointments.listed(
            db.session(),
            scope,
            when=when,
            limit=PER_PAGE + 1,
            after=after,
            now=clock.now(),
        )
        more = (
            f"{rows[PER_PAGE - 1].starts_at.isoformat()}_{rows[PER_PAGE - 1].id}"
            if len(rows) > PER_PAGE
            else ""
        )
        query: dict[str, Any] = {"when": when, **({"org_scope": scope.value} if scope.value else {})}
        return self.render(
            "booking/appointments.html",
            title="My bookings",
            rows=rows[:PER_PAGE],
            when=when,
            scope=scope,
            tabs=booking_tabs(when, scope.value),
            chips=scope_chips(scope, when=when),
            paid=appointments.payments_of(db.session(), rows),
            me=g.identity.user.id,
            orgs=_own_names(),
            more=url_for("BookingsPage.index", **{**query, "before": more}) if more else "",
        )

    @expose("/<public_id>")
    @personal_page
    def show(self, public_id: str) -> Any:
        row, zone, now = appointments.one(db.session(), parse_id(public_id)), viewer_zone(), clock.now()
        payment = appointments.payments_of(db.session(), [row]).get(row.id)
        given_back = refunds.of(db.session(), payment)[0] if payment else []
        whole = row.plan.type == PlanType.SUBSCRIPTION and row.parent_id is None
        below = sessions.children(db.session(), row) if whole else []
        expert_side = row.expert_user_id == g.identity.user.id
        waiting, card = payment is not None and payment.status == PaymentStatus.PENDING, 0
        if payment is not None and waiting:
            with settlement.for_payer(db.session(), payment):
                card = settlement.card_part(db.session(), payment)
        return self.render(
            "booking/appointment.html",
            cancellation=cancellations.preview(db.session(), row),
            refunds=given_back,
            overage=overages.view(db.session(), payment) if payment else None,
            waiting=waiting,
            card=card,
            title=row.title,
            row=row,
            payment=payment,
            me=g.identity.user.id,
            orgs=_own_names(),
            booked=bool(request.args.get("booked")),
            when=self._when(row, zone, whole),
            zone=zone,
            whole=whole,
            children=below,
            counts=sessions.counts(below, row.plan.total_sessions or 0) if whole else None,
            times=appointments.times(db.session(), row) if row.event_id else [],
            move_refusal=sessions.move_refusal(row, now),
            may_miss=expert_side
            and not whole
            and row.status in ("CONFIRMED", "COMPLETED")
            and row.starts_at <= now <= row.ends_at + sessions.MISSED_WITHIN,
            parent=appointments.parent(db.session(), row),
        )

    @expose("/<public_id>/state")
    @personal_page
    def state(self, public_id: str) -> Any:
        """Whether the provider has answered for the hold; its page asks every second."""
        row = appointments.one(db.session(), parse_id(public_id))
        payment = appointments.payments_of(db.session(), [row]).get(row.id)
        waiting = payment is not None and payment.status == PaymentStatus.PENDING
        paid = payment is not None and payment.status == PaymentStatus.SUCCEEDED
        return jsonify(
            done=not waiting,
            label="Waiting for the bank",
            url=url_for("BookingsPage.show", public_id=public_id, booked=1 if paid else None),
        )

    def _when(self, row: Any, zone: Any, whole: bool) -> str:
        if whole:
            return f"Until {row.ends_at.astimezone(zone):%d %b %Y}"
        return booking_mail.local_time(row.starts_at, row.ends_at, str(zone))

    @expose("/<public_id>/move", methods=["GET", "POST"])
    @personal_page
    def move(self, public_id: str) -> Any:
        """Another time: learners pick among the expert's free ones, experts may also type one."""
        row, zone = appointments.one(db.session(), parse_id(public_id)), viewer_zone()
        here = url_for("BookingsPage.show", public_id=public_id)
        refusal = sessions.move_refusal(row, clock.now())
        if refusal:
            flash(refusal, "warning")
            return redirect(here)
        if request.method == "POST":
            at = moment(request.form.get("at", "")) or local_moment(request.form.get("local", ""), zone)
            if at is None:
                flash("Pick a time.", "warning")
                return redirect(url_for("BookingsPage.move", public_id=public_id))
            sessions.reschedule(db.session(), row, at, request.form.get("reason", "")[:300])
            flash("Moved. The other one hears of it now.", "success")
            return redirect(here)
        plan = catalogue.any_plan(db.session(), row.plan_id)
        minutes = int((row.ends_at - row.starts_at).total_seconds() // 60)
        return self.render(
            "booking/move.html",
            title="Another time",
            row=row,
            when=booking_mail.local_time(row.starts_at, row.ends_at, str(zone)),
            expert_side=row.expert_user_id == g.identity.user.id,
            **picker(plan, zone, minutes),
        )

    @expose("/<public_id>/sessions", methods=["GET", "POST"])
    @personal_page
    def allocate(self, public_id: str) -> Any:
        """The expert plans a session of a subscription."""
        row, zone = appointments.one(db.session(), parse_id(public_id)), viewer_zone()
        here = url_for("BookingsPage.show", public_id=public_id)
        if (
            row.plan.type != PlanType.SUBSCRIPTION
            or row.parent_id
            or row.expert_user_id != g.identity.user.id
        ):
            raise DomainError("NOT_FOUND")
        if request.method == "POST":
            at = moment(request.form.get("at", "")) or local_moment(request.form.get("local", ""), zone)
            if at is None:
                flash("Pick a time.", "warning")
                return redirect(url_for("BookingsPage.allocate", public_id=public_id))
            plan_session(row, at)
            flash("Planned. The learner hears of it now.", "success")
            return redirect(here)
        below = sessions.children(db.session(), row)
        refusal = sessions.plan_refusal(db.session(), row, below)
        return self.render(
            "booking/allocate.html",
            title="Plan a session",
            row=row,
            refusal=refusal,
            counts=sessions.counts(below, row.plan.total_sessions or 0),
            **picker(catalogue.any_plan(db.session(), row.plan_id), zone),
        )

    @expose("/<public_id>/no-show", methods=["POST"])
    @personal_page
    def missed(self, public_id: str) -> Any:
        sessions.missed(db.session(), appointments.one(db.session(), parse_id(public_id)))
        flash("Noted.", "success")
        return redirect(url_for("BookingsPage.show", public_id=public_id))

    @expose("/<public_id>/pay", methods=["POST"])
    @personal_page
    def pay(self, public_id: str) -> Any:
        """On to the provider's page of a hold; makes the order where an outage left none."""
        row = appointments.one(db.session(), parse_id(public_id))
        payment = appointments.payments_of(db.session(), [row]).get(row.id)
        if payment is None:
            raise DomainError("NOT_FOUND")
        payment = settlement.order(db.session(), payment.public_id, current_app.config["SETTINGS"])
        if payment.status != PaymentStatus.PENDING or not payment.checkout_url:
            return redirect(url_for("BookingsPage.show", public_id=public_id))
        return redirect(payment.checkout_url)

    @expose("/<public_id>/cancel", methods=["POST"])
    @personal_page
    def cancel(self, public_id: str) -> Any:
        row = appointments.one(db.session(), parse_id(public_id))
        refund = cancellations.cancel(db.session(), row, request.form.get("reason", "")[:300])
        flash(
            f"Cancelled. {money(refund.amount_paise)} goes back to where it came from."
            if refund and refund.amount_paise
            else "Cancelled.",
            "success",
        )
        return redirect(url_for("BookingsPage.show", public_id=public_id))

    @expose("/<public_id>/calendar.ics")
    @personal_page
    def calendar(self, public_id: str) -> Any:
        row = appointments.one(db.session(), parse_id(public_id))
        text = calendar_file.ics(
            row, appointments.times(db.session(), row), current_app.config["SETTINGS"].base_url, clock.now()
        )
        return Response(
            text,
            mimetype="text/calendar",
            headers={"Content-Disposition": "attachment; filename=booking.ics"},
        )


def local_moment(text: str, zone: Any) -> dt.datetime | None:
    """A local date and time as browsers send it, in *zone*; or None."""
    try:
        at = dt.datetime.fromisoformat(text.strip())
        if at.tzinfo is not None or not 2000 <= at.year <= 2200:
            return None
        return at.replace(tzinfo=zone).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def _own_names() -> dict[int, str]:
    return {m["organization_id"]: m["name"] for m in g.memberships}


def register(appbuilder: Any) -> None:
    """Put the domain's pages into the console."""
    sidebar(
        appbuilder,
        BookingsPage(),
        group="",
        label="My bookings",
        resource="",
        icon="calendar-check",
        scope="personal",
        keywords="appointments receipts calendar trial waitlist",
        also=("/dashboard/trials", "/dashboard/waitlist"),
    )
