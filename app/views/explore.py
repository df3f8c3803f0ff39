"""Finding and booking: the catalogue, experts, plans, events, and the step that pays."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from typing import Any
from zoneinfo import ZoneInfo

from flask import flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app import clock
from app.api.checkout import CheckoutBody, place
from app.api.http import cursor_key, cursor_moment, cursor_of, page_args, parse_id, validate
from app.errors import REGISTRY, DomainError
from app.extensions import db
from app.models import Event, Plan, PlanType
from app.services import (
    appointments,
    booking_mail,
    booking_quote,
    booking_record,
    catalogue,
    directory,
    events,
    plans,
    price_cuts,
    trials,
    waitlist,
)
from app.services.catalogue import Filters
from app.services.offers import EVENTS
from app.views.base import page as sidebar
from app.views.forms import parse_rupees

from .pages import Page, personal_page
from .payers import SELF, payers

PER_PAGE = 24
DAYS = 7  # of the slot picker
LENGTHS = ("30", "45", "60", "90")
TYPES = (
    ("CONSULTATION", "Consultations", "calendar-check"),
    ("SUBSCRIPTION", "Subscriptions", "repeat"),
    ("WEBINAR", "Webinars", "presentation"),
    ("CLASS", "Classes", "graduation-cap"),
)
ASKED = ("q", "category", "type", "max", "minutes", "on", "host", "order", "tz")
# refusals that another time or event mends; the others are mended by another payer
PICK_AGAIN = (
    "SLOT_TAKEN",
    "SLOT_UNAVAILABLE",
    "LEARNER_DOUBLE_BOOKED",
    "EXPERT_NOT_BOOKABLE",
    "SELF_BOOKING_FORBIDDEN",
    "EVENT_NOT_OPEN",
    "EVENT_FULL",
    "ALREADY_REGISTERED",
)


def viewer_zone() -> ZoneInfo:
    """The reader's zone: ``?tz=`` for a while, else the profile's."""
    for name in (request.args.get("tz", "")[:64], g.identity.user.timezone):
        try:
            if name:
                return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            continue
    return clock.IST


def moment(text: str) -> dt.datetime | None:
    """An aware moment from the query string, or None."""
    try:
        at = dt.datetime.fromisoformat(text.replace(" ", "+"))
        return at.astimezone(dt.UTC) if at.tzinfo and 2000 <= at.year <= 2200 else None
    except (ValueError, OverflowError):
        return None


def week(zone: ZoneInfo) -> tuple[dt.date, dt.date]:
    """(first day of the picker, today) in *zone*: ``?week=``, never past, at most a year ahead."""
    today = clock.now().astimezone(zone).date()
    try:
        first = max(today, dt.date.fromisoformat(request.args.get("week", "")))
    except ValueError:
        first = today
    return min(first, today + dt.timedelta(days=365)), today


def picker(plan: Plan, zone: ZoneInfo, minutes: int | None = None) -> dict[str, Any]:
    """What the slot picker shows of seven days: days with their free times, and where earlier and later are."""
    first, today = week(zone)
    start, end = (dt.datetime.combine(first + dt.timedelta(days=n), dt.time(), zone) for n in (0, DAYS))
    found = catalogue.offered_slots(
        db.session(), plan, start.astimezone(dt.UTC), end.astimezone(dt.UTC), minutes
    )
    by_day = {
        day: list(slots)
        for day, slots in itertools.groupby(found, lambda s: s.starts_at.astimezone(zone).date())
    }
    return {
        "days": [
            (first + dt.timedelta(days=n), by_day.get(first + dt.timedelta(days=n), [])) for n in range(DAYS)
        ],
        "first": first,
        "any_slots": bool(found),
        "earlier": first - dt.timedelta(days=DAYS) if first > today else None,
        "later": first + dt.timedelta(days=DAYS),
        "zone": zone,
        "minutes": minutes or plan.duration_minutes,
    }


class ExplorePage(Page):
    """The catalogue, an expert, a plan with its times or events, and the step that books."""

    route_base = "/explore"
    class_permission_name = "self"
    default_view = "index"

    @expose("/experts")
    @personal_page
    def index(self) -> Any:
        asked = {k: request.args.get(k, "").strip()[:120] for k in ASKED}
        wanted, host, problem = self._wanted(asked)
        after = self._after(wanted.order)
        rows = catalogue.search(db.session(), wanted, limit=PER_PAGE + 1, after=after)
        more = ""
        query: dict[str, Any] = {k: v for k, v in asked.items() if v}
        if len(rows) > PER_PAGE:
            last = rows[PER_PAGE - 1]
            cursor = cursor_of({"at": last.created_at.isoformat(), "p": last.price_paise, "n": last.id})
            more = url_for("ExplorePage.index", **{**query, "cursor": cursor})
        rows = rows[:PER_PAGE]
        found = catalogue.facets(db.session(), wanted)
        soon = {
            e.plan_id: e
            for e in reversed(events.upcoming(db.session(), [p.id for p in rows if p.type in EVENTS], 200))
        }
        counts = dict(found.types)
        return self.render(
            "booking/explore.html",
            title="Find an expert",
            plans=rows,
            hosts=directory.named(db.session(), (p.organization_id for p in rows)),
            asked=asked,
            problem=problem,
            types=[(value, label, icon, counts.get(value, 0)) for value, label, icon in TYPES],
            categories=_categories(found.categories, asked["category"]),
            without=lambda given, name: {k: v for k, v in given.items() if k != name},
            total=found.total,
            capped=found.more,
            soon=soon,
            host=host,
            query=query,
            more=more,
            paged=after is not None,
            today=clock.now().astimezone(viewer_zone()).date(),
        )

    def _wanted(self, asked: dict[str, str]) -> tuple[Filters, Any, str]:
        """The filters of the query string, the host it names, and what is wrong with its price."""
        price, problem, host = None, "", None
        if asked["max"]:
            try:
                price = max(0, min(parse_rupees(asked["max"]), plans.MAX_PRICE_PAISE))
            except ValueError as error:
                problem = str(error).capitalize() + "."
        try:
            on = dt.date.fromisoformat(asked["on"]) if asked["on"] else None
            on = on if on and 2000 <= on.year <= 2200 else None
        except ValueError:
            on = None
        if asked["host"]:
            try:
                host = directory.find(db.session(), asked["host"])
            except DomainError:
                asked["host"] = ""
        wanted = Filters(
            asked["q"][:100] or None,
            asked["category"] or None,
            price,
            int(asked["minutes"]) if asked["minutes"] in LENGTHS else None,
            type=asked["type"] if asked["type"] in {t.value for t in PlanType} else None,
            host_id=host.id if host else None,
            on=on,
            zone=str(viewer_zone()),
            order=asked["order"] if asked["order"] in catalogue.ORDERS else "newest",
        )
        return wanted, host, problem

    def _after(self, order: str) -> catalogue.After | None:
        try:
            cursor, _ = page_args()
            if cursor is None:
                return None
            return (
                (cursor_key(cursor, "p"), cursor_key(cursor, "n"))
                if order == "price"
                else cursor_moment(cursor)
            )
        except DomainError:  # an odd link begins at the beginning
            return None

    @expose("/experts/<public_id>")
    @personal_page
    def expert(self, public_id: str) -> Any:
        """A verified expert and what they offer."""
        person = catalogue.expert(db.session(), parse_id(public_id))
        rows = catalogue.search(db.session(), Filters(expert_id=person.id), limit=100)
        return self.render(
            "booking/expert.html",
            title=person.user.name,
            expert=person,
            plans=rows,
            hosts=directory.named(db.session(), (p.organization_id for p in rows)),
            soon={
                e.plan_id: e
                for e in reversed(
                    events.upcoming(db.session(), [p.id for p in rows if p.type in EVENTS], 200)
                )
            },
        )

    @expose("/plans/<public_id>")
    @personal_page
    def plan(self, public_id: str) -> Any:
        plan, zone = catalogue.detail(db.session(), parse_id(public_id)), viewer_zone()
        open_events = events.upcoming(db.session(), [plan.id]) if plan.type in EVENTS else []
        trial = plan.trial_minutes is not None
        return self.render(
            "booking/plan.html",
            title=plan.title,
            plan=plan,
            host=directory.named(db.session(), [plan.organization_id]).get(plan.organization_id or -1),
            **(picker(plan, zone) if plan.type == PlanType.CONSULTATION else {"zone": zone}),
            mine=plan.expert.user_id == g.identity.user.id,
            quote=booking_record.price(plan.price_paise, plan.tax_bps),
            events=open_events,
            seats=appointments.seats(db.session(), [e.id for e in open_events]),
            taken=events.taken(db.session(), open_events),
            shares=plans.shares(db.session(), plan) if plan.type != PlanType.CONSULTATION else [],
            trial_used=trials.with_expert(db.session(), plan.expert_id) if trial else None,
        )

    @expose("/plans/<public_id>/trial", methods=["GET", "POST"])
    @personal_page
    def trial(self, public_id: str) -> Any:
        """Ask for a trial at one of the expert's free times."""
        plan, zone = catalogue.detail(db.session(), parse_id(public_id)), viewer_zone()
        if plan.trial_minutes is None:
            raise DomainError("NOT_FOUND")
        if request.method == "POST":
            at = moment(request.form.get("at", ""))
            if at is None:
                flash("Pick a time.", "warning")
                return redirect(url_for("ExplorePage.trial", public_id=public_id))
            trials.request(db.session(), plan, at, request.form.get("note", "")[:500])
            flash(f"Asked. {plan.expert.user.name} answers, and you hear of it here and by mail.", "success")
            return redirect(url_for("AttendingPage.trials"))
        return self.render(
            "booking/trial.html",
            title=f"Trial: {plan.title}",
            plan=plan,
            quote=booking_record.price(plan.trial_price_paise or 0, plan.tax_bps),
            at=moment(request.args.get("at", "")),
            **picker(plan, zone, plan.trial_minutes),
        )

    @expose("/events/<public_id>")
    @personal_page
    def event(self, public_id: str) -> Any:
        """A webinar or class: when, how many seats, and the line where there is none."""
        event = events.one(db.session(), parse_id(public_id))
        place_in_line = waitlist.mine(db.session(), event)
        used = events.taken(db.session(), [event]).get(event.id, 0)
        return self.render(
            "booking/event.html",
            title=event.title,
            event=event,
            plan=event.plan,
            left=max(0, event.capacity - used),
            seat=appointments.seats(db.session(), [event.id]).get(event.id),
            entry=place_in_line,
            position=waitlist.position(db.session(), place_in_line) if place_in_line else 0,
            zone=viewer_zone(),
            mine=event.expert_user_id == g.identity.user.id,
            quote=booking_record.price(event.plan.price_paise, event.plan.tax_bps),
            orgs=[m for m in g.memberships if m["membership_status"] == "ACTIVE" and m["can_sponsor"]],
            over=event.starts_at is None or event.starts_at <= clock.now(),
        )

    @expose("/events/<public_id>/waitlist", methods=["POST"])
    @personal_page
    def wait(self, public_id: str) -> Any:
        event = events.one(db.session(), parse_id(public_id))
        if request.form.get("leave"):
            waitlist.leave(db.session(), event)
            flash("You are no longer waiting.", "success")
        else:
            row = waitlist.join(db.session(), event)
            flash(f"You are number {waitlist.position(db.session(), row)} in line.", "success")
        return redirect(url_for("ExplorePage.event", public_id=public_id))

    @expose("/plans/<public_id>/book", methods=["GET", "POST"])
    @personal_page
    def book(self, public_id: str) -> Any:
        plan, zone = catalogue.detail(db.session(), parse_id(public_id)), viewer_zone()
        back = url_for("ExplorePage.plan", public_id=public_id)
        what: dict[str, Any] = {}
        said, clash, sessions = "", False, 1
        if plan.type in EVENTS:
            event = self._event(plan)
            if event is None:
                return redirect(back)
            what, back = (
                {"event": str(event.public_id)},
                url_for("ExplorePage.event", public_id=event.public_id),
            )
            sessions = len(event.sessions)
            said = _when(event, zone)
        elif plan.type == PlanType.SUBSCRIPTION:
            said = f"{plan.total_sessions} sessions, at most {plan.sessions_per_week} a week; {plan.expert.user.name} suggests the times"
        else:
            at = moment(request.values.get("at", ""))
            if at is None:
                return redirect(back)
            what = {"at": at.isoformat()}
            ends = at + dt.timedelta(minutes=plan.duration_minutes)
            said = booking_mail.local_time(at, ends, str(zone))
            if request.method == "GET":
                slot = next(
                    (s for s in catalogue.offered_slots(db.session(), plan, at, ends) if s.starts_at == at),
                    None,
                )
                if slot is None:
                    flash(REGISTRY["SLOT_UNAVAILABLE"][1], "warning")
                    return redirect(back)
                clash = slot.clash
        if request.method == "POST" and "preview" not in request.form:
            return self._place(plan, what, back)
        return self._confirm(plan, what, back, said, clash, sessions, zone)

    def _event(self, plan: Plan) -> Event | None:
        raw = request.values.get("event", "")
        try:
            event = events.one(db.session(), parse_id(raw))
        except DomainError:
            return None
        return event if event.plan_id == plan.id else None

    def _confirm(
        self,
        plan: Plan,
        what: dict[str, Any],
        back: str,
        said: str,
        clash: bool,
        sessions: int,
        zone: ZoneInfo,
    ) -> Any:
        """Who can pay and what it costs each of them; a code or credit is priced here before anything is booked."""
        form = request.form
        code, credits = form.get("discount_code", "").strip()[:40], bool(form.get("use_referral_credits"))
        quote = booking_record.price(plan.price_paise, plan.tax_bps)
        problem, own = "", None
        try:
            own = booking_quote.of(db.session(), plan, code, credits, sponsored=False)
        except DomainError as error:
            reason = str(error.details.get("reason", ""))
            problem = f"{error.message[:-1]}: {reason}." if reason else error.message
            own = booking_quote.of(db.session(), plan, "", credits, sponsored=False)
        choices = payers(plan, quote, sessions)
        eligible = [p for p in choices if not p.refusal]
        wanted = form.get("payer") or request.args.get("payer")
        chosen = next((p for p in eligible if p.id == wanted), eligible[0] if eligible else None)
        if "preview" in form:  # who asks for a price of their own pays it
            chosen = next((p for p in eligible if p.id == SELF), chosen)
        return self.render(
            "booking/confirm.html",
            title="Confirm the booking",
            plan=plan,
            what=what,
            zone=zone,
            quote=quote,
            own=own,
            code=code,
            code_problem=problem,
            credits=credits,
            credit_there=price_cuts.available(db.session()),
            when=said,
            eligible=eligible,
            others=[p for p in choices if p.refusal],
            chosen=chosen,
            key=form.get("key") or str(uuid.uuid4()),
            clash=clash,
            back=back,
        )

    def _place(self, plan: Plan, what: dict[str, Any], back: str) -> Any:
        """Book what the form says. A refusal leads to where it can be mended: another time, or another payer."""
        form = request.form
        payer = form.get("payer", "")
        again = url_for("ExplorePage.book", public_id=plan.public_id, **what)
        if not payer:  # nobody's card is charged by omission
            flash("Choose who pays.", "warning")
            return redirect(again)
        own = payer == SELF
        body = validate(
            CheckoutBody,
            {
                "plan_id": str(plan.public_id),
                "starts_at": what.get("at"),
                "event_id": what.get("event"),
                "organization_id": None if own else payer,
                "discount_code": form.get("discount_code", "")[:40] if own else "",
                "use_referral_credits": own and bool(form.get("use_referral_credits")),
            },
        )
        try:
            result = place(body, form.get("key", ""))
        except DomainError as error:
            db.session.rollback()
            flash(error.message, "danger")
            if error.status >= 500:  # the hold stands: its page pays it as soon as the provider answers
                return redirect(url_for("BookingsPage.index"))
            return redirect(back if error.code in PICK_AGAIN else again)
        if result.answer["payment"].get("checkout_url"):
            return redirect(result.answer["payment"]["checkout_url"])
        return redirect(url_for("BookingsPage.show", public_id=result.answer["id"], booked=1))


def _categories(found: list[tuple[str, int]], chosen: str) -> list[tuple[str, str]]:
    """Choices of the category, each with its count; the chosen one stays even where nothing is left of it."""
    names = {name for name, _ in found}
    out = [(name, f"{name} ({n})") for name, n in sorted(found)]
    return out if not chosen or chosen in names else [(chosen, chosen), *out]


def _when(event: Event, zone: ZoneInfo) -> str:
    """An event's times in words."""
    if event.starts_at is None or event.ends_at is None:
        return "Not scheduled yet"
    if len(event.sessions) <= 1:
        return booking_mail.local_time(event.starts_at, event.ends_at, str(zone))
    first = booking_mail.local_time(event.sessions[0].starts_at, event.sessions[0].ends_at, str(zone))
    return f"{len(event.sessions)} sessions, the first {first}"


def register(appbuilder: Any) -> None:
    """Put the catalogue into the console."""
    sidebar(
        appbuilder,
        ExplorePage(),
        group="",
        label="Find an expert",
        resource="",
        icon="search",
        scope="personal",
        keywords="book session catalogue plan webinar class subscription trial",
        also=("/explore/plans", "/explore/events"),
    )
