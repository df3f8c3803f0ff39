"""The organisation at a glance, for each role its own (chapter 1, 1.7 "Home")."""

from __future__ import annotations

from typing import Any

from flask import g
from flask_appbuilder import expose
from sqlalchemy import select

from app.extensions import db
from app.models import BillingAccount, Organization, OrgRole
from app.security import matrix
from app.security.context import ctx
from app.services import activation, activity, organizations, scopes
from app.services import home as figures
from app.services.member_rules import words
from app.views.base import event

from .links import existing, org_page
from .pages import OrgPage, page

# (label, page, verb, icon, state of the organisation it needs)
QUICK = (
    ("Invite people", "invitations", "write", "user-plus", ("ACTIVE", "PENDING_VERIFICATION")),
    ("Assign a program", "programs", "write", "layers", ("ACTIVE",)),
    ("Sign a contract", "contracts", "write", "file-signature", ("ACTIVE",)),
    ("Offer a plan", "plans", "write", "presentation", ("ACTIVE",)),
    ("Look up a member", "members", "read", "users", ()),
    ("See appointments", "appointments", "read", "calendar-days", ()),
    ("Read analytics", "analytics", "read", "chart-column", ()),
)


class HomePage(OrgPage):
    """Figures, what to do next, and what happened."""

    route_base = "/dashboard/organization/<org_id>/home"

    @expose("")
    @expose("/")
    @page("home")
    def index(self) -> Any:
        organization = organizations.current(db.session())
        account = db.session.scalars(select(BillingAccount)).one_or_none()
        role = OrgRole(ctx().role or OrgRole.OWNER)
        shared = {
            "title": "Home",
            "organization": organization,
            "account": account,
            "role": role,
            "page": org_page,
        }
        if role in (OrgRole.LEARNER, OrgRole.EXPERT):
            return self.render("organizations/home_member.html", **shared, **_member_view(organization, role))
        numbers = figures.figures(db.session(), organization, account)
        if role == OrgRole.SUPPORT:
            return self.render(
                "organizations/home_support.html",
                **shared,
                f=numbers,
                coming=figures.coming_up(db.session()),
                banners=_banners(organization, None, numbers),
                events=[event(e) for e in activity.feed(db.session(), money=False, limit=5)],
            )
        if role == OrgRole.BILLING_ADMIN:
            return self.render(
                "organizations/home_finance.html",
                **shared,
                f=numbers,
                banners=_banners(organization, account, numbers),
                bookings=figures.recent_bookings(db.session(), 8),
            )
        return self.render(
            "organizations/home.html",
            **shared,
            f=numbers,
            steps=_steps(organization, account, numbers),
            banners=_banners(organization, account, numbers),
            quick=_quick(organization),
            roles=_roles(numbers),
            events=[event(e) for e in activity.feed(db.session(), money=True, limit=5)],
            bookings=figures.recent_bookings(db.session()),
        )


def _roles(f: figures.Figures) -> list[tuple[str, int]]:
    """Members by role in order of rank."""
    return [
        (words(role).capitalize(), n)
        for role, n in sorted(f.by_role.items(), key=lambda item: -matrix.RANK[item[0]])
    ]


def _quick(organization: Organization) -> list[tuple[str, str, str]]:
    """(label, address, icon) of what the reader may do here now."""
    out = []
    for label, name, verb, icon, states in QUICK:
        url = org_page(name, verb=verb) if not states or organization.status in states else None
        if url and not (name == "plans" and not organization.can_host):
            out.append((label, url + "#invite" if name == "invitations" else url, icon))
    return out[:5]


def _member_view(organization: Organization, role: OrgRole) -> dict[str, Any]:
    mine = ctx()
    expert = role == OrgRole.EXPERT
    earned = figures.own_earnings(db.session(), organization.id) if expert else {}
    scope = scopes.OrgScope("org", organization.id)
    return {
        "coming": figures.hosted_appointments(db.session(), mine.user_id or -1)
        if expert
        else figures.own_appointments(db.session(), mine.user_id or -1, scope),
        "assignments": figures.own_assignments(db.session(), mine.membership_id or -1)
        if role == OrgRole.LEARNER
        else [],
        "earnings": earned,
        "earning_rows": [(words(state).capitalize(), paise, "money") for state, paise in earned.items()],
        "owners": figures.owners(db.session()),
        "book": existing("/explore/experts"),
        "mine": f"/dashboard/appointments/?org_scope=org:{g.org['slug']}",
        "chats": f"/dashboard/chats/?org_scope=org:{g.org['slug']}",
    }


def _steps(
    organization: Organization, account: BillingAccount | None, f: figures.Figures
) -> list[dict[str, Any]]:
    return [
        {"label": s.label, "done": s.done, "hint": s.hint, "url": org_page(s.page), "action": s.action}
        for s in activation.checklist(organization, account, f)
    ]


def _banners(
    organization: Organization, account: BillingAccount | None, f: figures.Figures
) -> list[tuple[str, str, str, str | None, str]]:
    """(tone, title, text, link, its label), worst first; a link only where the reader may follow it."""
    return [
        (b.tone, b.title, b.text, org_page(b.page, verb=b.verb) if b.page else None, b.action)
        for b in activation.banners(organization, account, f)
    ]
