"""The operator's workspace: every organisation one helps to run, side by side (chapter 1, 1.7)."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from babel import Locale, dates, numbers
from flask import flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app import clock
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import NotificationRouting, OrgWorkspaceProfile
from app.security.matrix import FIN_READ, OPS_READ
from app.services import images, workspace
from app.views.base import event
from app.views.base import page as page_entry

from .pages import Page, personal_page
from .shell.context import kind, tone_number, zone

ROLES = OPS_READ | FIN_READ
SECTIONS = {
    "landing": ("default_landing_organization_id",),
    "notifications": ("notification_routing_mode",),
    "format": ("locale", "currency_display_code"),
}
SAVED = {"landing": "Landing", "notifications": "Notifications", "format": "Language and currency"}
ROUTING = [
    (NotificationRouting.BELL_AND_EMAIL, "Bell and e-mail", "Nothing is missed."),
    (NotificationRouting.BELL_ONLY, "Bell only", "Events wait in the console; your inbox stays quiet."),
    (NotificationRouting.EMAIL_ONLY, "E-mail only", "For those who seldom open the console."),
    (
        NotificationRouting.NEITHER,
        "Neither",
        "You hear of nothing, overdue invoices and suspensions included.",
    ),
]
PER_ORGANIZATION, MOST_EVENTS = 25, 60
RECENT = dt.timedelta(hours=24)  # told as an age, older moments by their date


@dataclass(frozen=True)
class Words:
    """Formats of the workspace's pages, by the person's locale and display currency."""

    locale: Locale
    currency: str

    def money(self, paise: int | None) -> str:
        """Paise as an amount. Nothing is converted: the books are kept in rupees."""
        if paise is None:
            return "—"
        return str(numbers.format_currency(paise / 100, self.currency, locale=self.locale))

    def number(self, value: int | None) -> str:
        return "—" if value is None else str(numbers.format_decimal(value, locale=self.locale))

    def moment(self, value: dt.datetime) -> str:
        past = value - clock.now()
        if abs(past) < RECENT:
            return str(dates.format_timedelta(past, add_direction=True, locale=self.locale))
        return str(dates.format_datetime(value, "short", tzinfo=zone(), locale=self.locale))


def words_of(row: OrgWorkspaceProfile) -> Words:
    """The formats of *row*."""
    return Words(Locale.parse(row.locale, sep="-"), row.currency_display_code)


def runs_something() -> bool:
    """Whether the reader helps to run an organisation, or came to found one."""
    return any(
        m["membership_status"] == "ACTIVE" and m["role"] in ROLES for m in g.get("memberships") or []
    ) or (g.get("identity") is not None and g.identity.user.platform_role == "ORG_ADMIN")


class WorkspaceDoor(Page):
    """``/dashboard/org-workspace``: to one's own workspace."""

    route_base = "/dashboard/org-workspace"

    @expose("")
    @expose("/")
    @personal_page
    def index(self) -> Any:
        if not runs_something():
            return redirect(url_for("WizardPage.index"))
        return redirect(url_for("OrgWorkspacePage.index", key=workspace.ensure(db.session()).public_id))


class OrgWorkspacePage(Page):
    """Home, activity, billing, settings of one's own workspace; another person's is not found."""

    route_base = "/dashboard/org-workspace/<uuid:key>"

    @expose("")
    @expose("/")
    @expose("/home")
    @personal_page
    def index(self, key: uuid.UUID) -> Any:
        row = workspace.own(db.session(), key)
        standings = workspace.standings(db.session(), events=4)
        return self._show(
            "home", row, standings=standings, total=_totals(standings), events=_events(standings, 8)
        )

    @expose("/activity")
    @personal_page
    def activity(self, key: uuid.UUID) -> Any:
        row = workspace.own(db.session(), key)
        standings = workspace.standings(db.session(), numbers=False, events=PER_ORGANIZATION)
        chosen = request.args.get("organisation", "")[:80]
        shown = [s for s in standings if not chosen or s.organization.slug == chosen]
        return self._show(
            "activity", row, standings=standings, chosen=chosen, events=_events(shown, MOST_EVENTS)
        )

    @expose("/billing")
    @personal_page
    def billing(self, key: uuid.UUID) -> Any:
        row = workspace.own(db.session(), key)
        standings = [s for s in workspace.standings(db.session()) if s.finance and s.organization.can_sponsor]
        return self._show("billing", row, standings=standings, total=_totals(standings))

    @expose("/create")
    @personal_page
    def create(self, key: uuid.UUID) -> Any:
        workspace.own(db.session(), key)
        return redirect(url_for("WizardPage.index"))

    @expose("/settings")
    @personal_page
    def settings(self, key: uuid.UUID) -> Any:
        return self._settings(workspace.own(db.session(), key))

    @expose("/settings/<section>", methods=["POST"])
    @personal_page
    def save(self, key: uuid.UUID, section: str) -> Any:
        row = workspace.own(db.session(), key)
        if section not in SECTIONS:
            raise DomainError("NOT_FOUND")
        given = {name: request.form.get(name, "").strip() or None for name in SECTIONS[section]}
        if section == "format" and given["locale"] == "custom":
            given["locale"] = request.form.get("custom_locale", "").strip()[:35]
        try:
            workspace.update(db.session(), row, given)
        except Invalid as error:
            problems = error.fields
        except DomainError as error:
            problems = {"default_landing_organization_id": [error.message]}
        else:
            flash(f"{SAVED[section]} saved.", "success")
            return redirect(url_for("OrgWorkspacePage.settings", key=key, _anchor=section))
        db.session.rollback()
        return self._settings(workspace.own(db.session(), key), problems, given), 400

    def _settings(
        self,
        row: OrgWorkspaceProfile,
        errors: dict[str, list[str]] | None = None,
        given: dict[str, Any] | None = None,
    ) -> str:
        place = workspace.landing(db.session(), row)
        locale = (given or {}).get("locale", row.locale)
        return self._show(
            "settings",
            row,
            errors=errors or {},
            place=str(place.public_id) if place else "",
            lost=row.default_landing_organization_id is not None and place is None,
            owned=[("", "No preference")]
            + [(str(o.public_id), o.name) for o in workspace.owned(db.session())],
            routing=ROUTING,
            mode=str(row.notification_routing_mode),
            locales=[
                (tag, f"{Locale.parse(tag, sep='-').get_display_name('en')} ({tag})")
                for tag in workspace.LOCALES
            ]
            + [("custom", "Another one")],
            locale=locale if locale in workspace.LOCALES else "custom",
            custom="" if locale in workspace.LOCALES else locale,
            currency=(given or {}).get("currency_display_code", row.currency_display_code),
            currencies=[
                (c, f"{c} · {numbers.get_currency_name(c, locale='en')}")
                for c in sorted(workspace.currencies())
            ],
            example=words_of(row).money(11_800_000),
            today=words_of(row).moment(dt.datetime.now(dt.UTC)),
        )

    def _show(self, name: str, row: OrgWorkspaceProfile, **values: Any) -> str:
        here = {n: url_for(f"OrgWorkspacePage.{e}", key=row.public_id) for n, e in TABS}
        return self.render(
            f"workspace/{name}.html",
            title="Workspace",
            tabs=[{"label": n, "url": url, "here": n.lower() == name} for n, url in here.items()],
            key=row.public_id,
            profile=row,
            say=words_of(row),
            tone=tone_number,
            address=images.address,
            kind_of=lambda o: kind({"can_sponsor": o.can_sponsor, "can_host": o.can_host}),
            **values,
        )


TABS = (("Home", "index"), ("Activity", "activity"), ("Billing", "billing"), ("Settings", "settings"))


def _totals(standings: list[workspace.Standing]) -> dict[str, int | None]:
    """Sums over what the reader may see; None where there is nothing to add up."""

    def add(values: list[int | None]) -> int | None:
        known = [v for v in values if v is not None]
        return sum(known) if known else None

    sponsors = [s.organization for s in standings if s.organization.can_sponsor]
    limits = [o.seats_total for o in sponsors]
    return {
        "organizations": len(standings),
        "members": add([s.members for s in standings]),
        "seats_used": sum(o.seats_used for o in sponsors),
        "seats_total": None if None in limits else add(limits),
        "wallet": add([s.wallet for s in standings]),
        "outstanding": add([s.outstanding for s in standings]),
        "overdue": add([s.overdue for s in standings]),
    }


def _events(standings: list[workspace.Standing], limit: int) -> list[dict[str, Any]]:
    """The latest entries of all of them, each with its organisation."""
    rows = [{**event(e), "organization": s.organization} for s in standings for e in s.events]
    return sorted(rows, key=lambda e: e["at"], reverse=True)[:limit]


def register(appbuilder: Any) -> None:
    """Register the workspace; its entry stands in the personal sidebar of who runs something."""
    appbuilder.add_view_no_menu(OrgWorkspacePage())
    page_entry(
        appbuilder,
        WorkspaceDoor(),
        group="",
        label="Workspace",
        resource="",
        icon="building-2",
        scope="personal",
        order=-90,
        when=lambda _: runs_something(),
        keywords="organisations operator across outstanding landing notifications locale",
    )
