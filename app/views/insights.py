"""What happened and how much: activity, audit log and analytics of an organisation (chapter 1, 1.7)."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from flask import Response, abort, flash, redirect, request, url_for
from flask_appbuilder import expose

from app import clock
from app.api.http import cursor_moment, cursor_of, page_args
from app.api.insights import csv_of, sees_money, sees_people
from app.extensions import db
from app.models import AuditCategory, AuditLog
from app.security.context import ctx
from app.services import activity, analytics, audit_chain, organizations
from app.services.activity import MONEY, Wanted
from app.views import format as f
from app.views.base import Rows, TenantView, event
from app.views.base import page as page_entry
from app.views.base import register as register_view

from .pages import OrgPage, page

PER_PAGE = 50
PERIODS = (3, 6, 12, 24)


class ActivityPage(OrgPage):
    """The organisation's days, told once each."""

    route_base = "/dashboard/organization/<org_id>/activity"
    resource = "activity"

    @expose("/")
    @page("activity")
    def index(self) -> Any:
        raw = request.args.get("category", "")
        category = AuditCategory(raw) if raw in set(AuditCategory) else None
        actor = request.args.get("actor", "").replace("\x00", "").strip()[:100]
        cursor, _ = page_args()
        after = cursor_moment(cursor) if cursor is not None else None
        rows = activity.feed(
            db.session(), Wanted(category, actor=actor), money=True, limit=PER_PAGE + 1, after=after
        )
        more, rows = rows[PER_PAGE:], rows[:PER_PAGE]
        kept = {k: v for k, v in (("category", raw if category else ""), ("actor", actor)) if v}
        zone = self._zone()
        days = [
            (day, [event(r) for r in group])
            for day, group in itertools.groupby(rows, key=lambda r: r.created_at.astimezone(zone).date())
        ]
        last = cursor_of({"at": rows[-1].created_at.isoformat(), "n": rows[-1].id}) if more else ""
        here = {**kept, "cursor": last}
        return self.render(
            "insights/activity.html",
            title="Activity",
            days=days,
            today=clock.now().astimezone(zone).date(),
            category=raw if category else "",
            categories=[("", "Everything"), *[(c.value, f.words(c)) for c in AuditCategory]],
            actor=actor,
            more=url_for("ActivityPage.index", **here) if last else "",  # type: ignore[arg-type]
            filtered=bool(kept),
            paged=after is not None,
        )

    @staticmethod
    def _zone() -> dt.tzinfo:
        from app.views.shell.context import zone

        return zone()


class AnalyticsPage(OrgPage):
    """Rollups as far as the reader's role and the organisation's capabilities go."""

    route_base = "/dashboard/organization/<org_id>/analytics"
    resource = "analytics"

    def _report(self) -> analytics.Report:
        raw = request.args.get("months", "6")
        months = int(raw) if raw in {str(p) for p in PERIODS} else 6
        return analytics.report(
            db.session(),
            organizations.current(db.session()),
            months=months,
            people=sees_people(),
            money=sees_money(),
        )

    @expose("/")
    @page("analytics")
    def index(self) -> Any:
        report = self._report()
        return self.render(
            "insights/analytics.html",
            title="Analytics",
            report=report,
            periods=[
                {
                    "label": f"{p} months",
                    "url": url_for("AnalyticsPage.index", months=p),
                    "here": p == report.months,
                }
                for p in PERIODS
            ],
            charts=[s for s in report.sections if s.shape != "table"],
            tables=[s for s in report.sections if s.shape == "table"],
            people=sees_people(),
            money=sees_money(),
        )

    @expose("/<key>.csv")
    @page("analytics")
    def export(self, key: str) -> Any:
        section = next((s for s in self._report().sections if s.key == key), None)
        if section is None:
            abort(404)
        return Response(
            csv_of(section),
            mimetype="text/csv",
            headers={"Content-Disposition": f"attachment; filename={section.key}.csv"},
        )


class AuditTrail(TenantView):
    """What happened in the organisation, and who did it; rows never change."""

    datamodel = Rows(AuditLog, eager=("actor",))
    resource = "audit"
    title, one, icon, menu = "Audit log", "audit entry", "history", "Insights"
    list_columns = ["created_at", "description", "category", "action", "actor"]
    show_fieldsets = [
        ("Entry", {"fields": ["created_at", "category", "action", "target_type"]}),
        (
            "Who",
            {
                "fields": ["actor", "actor_type", "ip", "correlation_id"],
                "side": True,
            },
        ),
    ]
    show_template = "insights/audit_entry.html"
    list_template = "insights/audit.html"
    kinds = {
        "created_at": "datetime",
        "category": "tag",
        "action": "words",
        "correlation_id": "code",
        "ip": "code",
        "actor_type": "tag",
        "target_type": "tag",
    }
    labels = {
        "created_at": "When",
        "description": "What happened",
        "actor": "Who",
        "actor_user_id": "Who",
        "actor_type": "Acting as",
        "target_type": "About",
        "ip": "IP address",
        "correlation_id": "Correlation id",
    }
    search_columns = ["category", "actor_user_id", "action", "created_at", "target_type"]
    quick_search = ("description", "action")
    phone = ["description", "created_at", "actor", "category"]
    saved = [
        ("People", "_flt_0_category=MEMBER"),
        ("Programs", "_flt_0_category=PROGRAM"),
        ("Settings", "_flt_0_category=SETTINGS"),
    ]
    empty = (
        "Nothing has happened yet",
        "Every change to the organisation, its people and its money appears here.",
    )

    def base_query(self) -> Any:
        """SUPPORT reads the log without its money (chapter 1, 1.5)."""
        query = super().base_query()
        return query if sees_money() else query.filter(AuditLog.category.not_in(MONEY))

    def detail(self, item: Any) -> dict[str, Any]:
        """Before and after side by side, and what else was kept."""
        details = activity.plain_details(item, money=sees_money())
        before, after = details.get("before") or {}, details.get("after") or {}
        if not (isinstance(before, dict) and isinstance(after, dict)):
            before, after = {}, {}
        rest = [(f.label(k), k, v) for k, v in details.items() if k not in ("before", "after")]
        return {
            "diff": [(f.label(k), k, before.get(k), after.get(k)) for k in {**before, **after}],
            "rest": [(name, value, _kind(key, value)) for name, key, value in rest],
            "kind": _kind,
            "acting": ctx().role,
        }


class AuditCheckPage(OrgPage):
    """Whether the log still is what was written."""

    route_base = "/dashboard/organization/<org_id>/audit/verify"
    resource = "audit"

    @expose("/", methods=["POST"])
    @page("audit", "verify")
    def check(self) -> Any:
        verdict = audit_chain.verify(db.session(), organizations.current(db.session()).id)
        waiting = f" {f.number(verdict.unsealed)} wait for their seal." if verdict.unsealed else ""
        if verdict.intact:
            flash(
                f"{f.number(verdict.checked)} sealed entries, all as they were written.{waiting}", "success"
            )
        else:
            flash(
                f"Entry number {f.number(verdict.first_bad_seq)} is not what was written. "
                "The platform team is told every night; tell them now.",
                "danger",
            )
        return redirect(url_for("AuditTrail.list"))


def _kind(name: str, value: Any) -> str | None:
    """How a value kept in JSON is shown: amounts as money, states as badges, lists and objects as code."""
    if isinstance(value, dict | list):
        return "json"
    kind = f.kind_of(name)
    return kind if isinstance(value, int) and not isinstance(value, bool) else None


def register(appbuilder: Any) -> None:
    """Put the pages into the sidebar."""
    page_entry(
        appbuilder,
        AnalyticsPage(),
        group="Insights",
        label="Analytics",
        resource="analytics",
        icon="chart-column",
        keywords="spend members seats departments experts charts",
    )
    page_entry(
        appbuilder,
        ActivityPage(),
        group="Insights",
        label="Activity",
        resource="activity",
        icon="activity",
        keywords="feed events what happened",
    )
    register_view(appbuilder, AuditTrail)
    appbuilder.add_view_no_menu(AuditCheckPage())
