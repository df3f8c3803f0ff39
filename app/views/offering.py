"""An expert's side of the marketplace: plans, events and hours of one's own."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any
from zoneinfo import available_timezones

from flask import flash, g, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import select
from wtforms.fields.choices import SelectChoice

from app import clock
from app.api.http import parse_id
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import ConsultantProfile, PlanType, Visibility
from app.services import availability, events, experts, owners, plans, waitlist
from app.services.availability import DAYS, Hours
from app.services.offers import EVENTS
from app.views.base import page as sidebar

from .booking import local_moment
from .explore import viewer_zone
from .pages import Page, field_errors, personal_page
from .plan_forms import SECTIONS, PlanForm, draft, fill, fixed_type, known_category
from .scoping import page_scope, scope_chips

STRETCHES = availability.PER_DAY  # of a day
AHEAD = 14  # days of the preview


def my_profile() -> ConsultantProfile | None:
    """The reader's expert profile."""
    return db.session.scalars(
        select(ConsultantProfile).where(ConsultantProfile.user_id == g.identity.user.id)
    ).one_or_none()


def offering_tabs(here: str) -> list[dict[str, Any]]:
    """The tabs of an expert's rooms."""
    rows = (
        ("Plans", "plans", url_for("OfferingPage.index")),
        ("Hours", "hours", url_for("OfferingPage.hours")),
        ("Profile", "profile", url_for("OfferingPage.profile")),
    )
    return [{"label": label, "url": url, "here": key == here} for label, key, url in rows]


class OfferingPage(Page):
    """Plans, events, hours and profile of the reader."""

    route_base = "/dashboard/offering"
    class_permission_name = "self"

    @expose("/")
    @personal_page
    def index(self) -> Any:
        scope = page_scope()
        profile = my_profile()
        if profile is None:
            return redirect(url_for("OfferingPage.profile", org_scope=request.args.get("org_scope")))
        return self.render(
            "offering/plans.html",
            title="Offer sessions",
            tabs=offering_tabs("plans"),
            chips=scope_chips(scope),
            rows=plans.mine(db.session(), scope),
            profile=profile,
            orgs={m["organization_id"]: m["name"] for m in g.memberships},
        )

    @expose("/profile", methods=["GET", "POST"])
    @personal_page
    def profile(self) -> Any:
        """What learners read of the reader; made here by whoever wants to offer something."""
        page_scope()
        row = my_profile()
        values = {k: getattr(row, k) if row else "" for k in ("headline", "domain", "bio")}
        errors: dict[str, list[str]] = {}
        if request.method == "POST":
            values = {k: request.form.get(k, "") for k in values}
            try:
                experts.describe(db.session(), **values)
            except Invalid as error:
                db.session.rollback()
                errors = error.fields
            else:
                flash(
                    "Saved." if row else "Your profile is there. It is shown once our team has verified it.",
                    "success",
                )
                return redirect(url_for("OfferingPage.profile"))
        return self.render(
            "offering/profile.html",
            title="Expert profile",
            tabs=offering_tabs("profile") if row else [],
            profile=row,
            values=values,
            errors=errors,
            domains=plans.CATEGORIES,
        )

    # ---- plans -------------------------------------------------------------------------------------------------------

    @expose("/plans/new", methods=["GET", "POST"])
    @personal_page
    def new(self) -> Any:
        page_scope()
        if my_profile() is None:
            return redirect(url_for("OfferingPage.profile"))
        form = self._form(None)
        if request.method == "POST" and form.validate():
            try:
                row = plans.create(db.session(), draft(form))
            except Invalid as error:
                field_errors(form, error)
            else:
                flash(f"“{row.title}” is offered.", "success")
                return redirect(url_for("OfferingPage.plan", public_id=row.public_id))
        return self._show_form(form, None, "New plan", "Offer it")

    @expose("/plans/<public_id>")
    @personal_page
    def plan(self, public_id: str) -> Any:
        row = owners.plan(db.session(), parse_id(public_id))
        found = events.of_plan(db.session(), row) if row.type in EVENTS else []
        return self.render(
            "offering/plan.html",
            title=row.title,
            plan=row,
            own=row.organization_id is None,
            host=next(
                (m["name"] for m in g.memberships if m["organization_id"] == row.organization_id), "Hosted"
            ),
            events=found,
            taken=events.taken(db.session(), found),
            shares=plans.shares(db.session(), row),
            booked=plans.booked(db.session(), row),
        )

    @expose("/plans/<public_id>/edit", methods=["GET", "POST"])
    @personal_page
    def edit(self, public_id: str) -> Any:
        row = self._own(public_id)
        form = self._form(row)
        if request.method == "POST" and form.validate():
            try:
                plans.change(db.session(), row, draft(form))
            except Invalid as error:
                field_errors(form, error)
                row = self._own(public_id)
            else:
                flash("Saved.", "success")
                return redirect(url_for("OfferingPage.plan", public_id=public_id))
        return self._show_form(form, row, f"Edit {row.title}", "Save changes")

    @expose("/plans/<public_id>/<step>", methods=["POST"])
    @personal_page
    def plan_step(self, public_id: str, step: str) -> Any:
        if step not in ("withdraw", "offer"):
            raise DomainError("NOT_FOUND")
        plans.set_active(db.session(), self._own(public_id), step == "offer")
        flash(
            "Offered again." if step == "offer" else "Withdrawn from the catalogue. Bookings made stay.",
            "success",
        )
        return redirect(url_for("OfferingPage.plan", public_id=public_id))

    def _own(self, public_id: str) -> Any:
        row = owners.plan(db.session(), parse_id(public_id))
        if row.organization_id is not None:  # a hosted plan is its host's to change
            raise DomainError("NOT_FOUND")
        return row

    def _form(self, row: Any) -> PlanForm:
        form = PlanForm(formdata=request.form if request.method == "POST" else None)
        form.visibility.choices = [SelectChoice(Visibility.PUBLIC.value, "Everybody")]
        if row is not None:
            known_category(form, row)
            fixed_type(form, row)
            if request.method == "GET":
                fill(form, row)
        return form

    def _show_form(self, form: PlanForm, row: Any, title: str, submit: str) -> Any:
        back = url_for("OfferingPage.plan", public_id=row.public_id) if row else url_for("OfferingPage.index")
        page = self.render(
            "offering/plan_form.html",
            title=title,
            form=form,
            sections=SECTIONS,
            item=None,
            problems=[],
            submit=submit,
            back=back,
        )
        return page, 422 if form.errors else 200

    # ---- events ------------------------------------------------------------------------------------------------------

    @expose("/plans/<public_id>/schedule", methods=["GET", "POST"])
    @personal_page
    def schedule(self, public_id: str) -> Any:
        """Put an event into the calendar: one start for each session."""
        row, zone = owners.plan(db.session(), parse_id(public_id)), viewer_zone()
        if row.type not in EVENTS:
            raise DomainError("NOT_FOUND")
        wanted = row.total_sessions or 1 if row.type == PlanType.CLASS else 1
        given = [request.form.get(f"start{n}", "") for n in range(wanted)]
        problem = ""
        if request.method == "POST":
            times = [local_moment(raw, zone) for raw in given]
            seats = request.form.get("capacity", "")
            try:
                if None in times:
                    raise Invalid({"starts": ["Give the start of each session."]})
                made = events.schedule(
                    db.session(),
                    row,
                    [t for t in times if t],
                    int(seats) if seats.isascii() and seats.isdigit() and len(seats) < 7 else None,
                )
            except DomainError as error:
                db.session.rollback()
                problem = (
                    " ".join(itertools.chain(*error.fields.values()))
                    if isinstance(error, Invalid)
                    else error.message
                )
                if error.code == "SLOT_TAKEN":
                    problem = "One of the experts is busy at one of these times."
                row = owners.plan(db.session(), parse_id(public_id))
            else:
                flash("It is in the calendar, and people can book a seat.", "success")
                return redirect(url_for("OfferingPage.event", public_id=made.public_id))
        page = self.render(
            "offering/schedule.html",
            title="Schedule an event",
            plan=row,
            zone=zone,
            given=given,
            problem=problem,
            capacity=request.form.get("capacity", row.max_participants),
        )
        return page, 422 if problem else 200

    @expose("/events/<public_id>")
    @personal_page
    def event(self, public_id: str) -> Any:
        """Who comes, and who waits."""
        event = events.one(db.session(), parse_id(public_id))
        people = events.attendees(db.session(), event)
        return self.render(
            "offering/event.html",
            title=event.title,
            event=event,
            plan=event.plan,
            people=people,
            waiting=waitlist.line(db.session(), event),
            taken=events.taken(db.session(), [event]).get(event.id, 0),
            zone=viewer_zone(),
        )

    @expose("/events/<public_id>/cancel", methods=["POST"])
    @personal_page
    def call_off(self, public_id: str) -> Any:
        event = events.one(db.session(), parse_id(public_id))
        events.call_off(db.session(), event, request.form.get("reason", "")[:300])
        flash("Called off. Everybody who has a seat is told and refunded in full.", "success")
        return redirect(url_for("OfferingPage.event", public_id=public_id))

    @expose("/events/<public_id>/prefer/<entry_id>", methods=["POST"])
    @personal_page
    def prefer(self, public_id: str, entry_id: str) -> Any:
        event = events.one(db.session(), parse_id(public_id))
        raw = request.form.get("priority", "0")
        try:
            priority = int(raw[:5])
        except ValueError:
            raise Invalid({"priority": ["A number from -100 to 100."]}) from None
        waitlist.prefer(db.session(), event, parse_id(entry_id), priority)
        flash("The line has changed.", "success")
        return redirect(url_for("OfferingPage.event", public_id=public_id))

    # ---- hours -------------------------------------------------------------------------------------------------------

    @expose("/hours", methods=["GET", "POST"])
    @personal_page
    def hours(self) -> Any:
        """Weekly windows, dates that differ, and what others can book of it."""
        page_scope()
        mine = my_profile()
        if mine is None:
            return redirect(url_for("OfferingPage.profile"))
        errors: dict[str, list[str]] = {}
        zone = viewer_zone()
        if request.method == "POST":
            try:
                week = {day: self._stretches(day) for day in range(7)}
                availability.set_week(db.session(), week, request.form.get("zone", "")[:64])
            except Invalid as error:
                db.session.rollback()
                errors = error.fields
            else:
                flash("Your hours hold from now on. Bookings made stay.", "success")
                return redirect(url_for("OfferingPage.hours"))
        stored = availability.windows(db.session(), [mine.id]).get(mine.id, [])
        set_zone = request.form.get("zone") or (stored[0].zone if stored else str(zone))
        now = clock.now()
        dated = availability.overrides(db.session(), [mine.id], now, now + dt.timedelta(days=400)).get(
            mine.id, []
        )
        today = now.astimezone(zone).date()
        return self.render(
            "offering/hours.html",
            title="Hours",
            tabs=offering_tabs("hours"),
            days=[(n, name, self._shown(n, stored)) for n, name in enumerate(DAYS)],
            zone=set_zone,
            zones=sorted(
                z for z in available_timezones() if "/" in z and not z.startswith(("Etc/", "SystemV/"))
            ),
            errors=errors,
            dates=[
                (day, list(rows))
                for day, rows in itertools.groupby((o for o in dated if o.day >= today), lambda o: o.day)
            ],
            preview=availability.preview(db.session(), today, AHEAD, zone),
            own_zone=zone,
            today=today,
            profile=mine,
        ), 422 if errors else 200

    def _stretches(self, day: int) -> list[Hours]:
        """The hours the form gives for a weekday. Raises Invalid for half a stretch."""
        out = []
        for n in range(STRETCHES):
            a, b = (request.form.get(f"{side}{day}_{n}", "").strip() for side in ("from", "to"))
            if not a and not b:
                continue
            try:
                out.append(Hours(dt.time.fromisoformat(a), dt.time.fromisoformat(b)))
            except ValueError:
                raise Invalid({DAYS[day].lower(): ["Give both times, such as 09:00 and 17:00."]}) from None
        return out

    def _shown(self, day: int, stored: list[Any]) -> list[tuple[str, str]]:
        """The rows of a weekday in the editor: what there is, and one more."""
        if request.method == "POST":
            given = [
                (request.form.get(f"from{day}_{n}", ""), request.form.get(f"to{day}_{n}", ""))
                for n in range(STRETCHES)
            ]
            rows = [pair for pair in given if any(pair)]
        else:
            rows = [(f"{w.starts:%H:%M}", f"{w.ends:%H:%M}") for w in stored if w.weekday == day]
        return [*rows[:STRETCHES], *([("", "")] if len(rows) < STRETCHES else [])]

    @expose("/hours/dates", methods=["POST"])
    @personal_page
    def dates(self) -> Any:
        """Close dates, or give them hours of their own; or let the week hold again."""
        form = request.form
        try:
            if form.get("clear"):
                availability.clear_date(db.session(), dt.date.fromisoformat(form["clear"][:10]))
                flash("The weekly hours hold again on that date.", "success")
                return redirect(url_for("OfferingPage.hours"))
            first = dt.date.fromisoformat(form.get("first", ""))
            last = dt.date.fromisoformat(form.get("last") or form.get("first", ""))
            a, b = form.get("from", "").strip(), form.get("to", "").strip()
            open_hours = [Hours(dt.time.fromisoformat(a), dt.time.fromisoformat(b))] if a or b else []
        except ValueError:
            raise Invalid({"dates": ["Give a date, and both times or neither."]}) from None
        count = availability.set_dates(db.session(), first, last, open_hours, form.get("zone", "")[:64])
        flash(f"{count} date{'s' if count != 1 else ''} changed.", "success")
        return redirect(url_for("OfferingPage.hours"))


def register(appbuilder: Any) -> None:
    """Put an expert's rooms onto the personal dashboard."""
    sidebar(
        appbuilder,
        OfferingPage(),
        group="",
        label="Offer sessions",
        resource="",
        icon="store",
        scope="personal",
        keywords="expert plans availability hours events webinar class teach",
    )
