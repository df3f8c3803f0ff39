"""My payments and receipts, under a scope (chapter 1, 1.6)."""

from __future__ import annotations

from typing import Any

from flask import g, url_for
from flask_appbuilder import expose

from app.api.http import cursor_moment, cursor_of, page_args
from app.extensions import db
from app.models import PaymentStatus
from app.services import payments
from app.views.base import page as sidebar

from .pages import Page, personal_page
from .scoping import page_scope, scope_chips

PER_PAGE = 25


class PaymentsPage(Page):
    """What I paid, or what was paid for me, with receipts."""

    route_base = "/dashboard/payments"
    class_permission_name = "self"

    @expose("/")
    @personal_page
    def index(self) -> Any:
        scope = page_scope()
        cursor, _ = page_args()
        after = cursor_moment(cursor) if cursor is not None else None
        rows = payments.listed(db.session(), scope, limit=PER_PAGE + 1, after=after)
        more, rows = rows[PER_PAGE:], rows[:PER_PAGE]
        query: dict[str, Any] = {"org_scope": scope.value} if scope.value else {}
        if more:
            query["cursor"] = cursor_of({"at": rows[-1].created_at.isoformat(), "n": rows[-1].id})
        return self.render(
            "booking/payments.html",
            title="Payments",
            rows=rows,
            chips=scope_chips(scope),
            orgs={m["organization_id"]: m["name"] for m in g.memberships},
            settled=PaymentStatus.SUCCEEDED,
            everybody=scope.everybody,
            more=url_for("PaymentsPage.index", **query) if more else "",
        )


def register(appbuilder: Any) -> None:
    """Put the page onto the personal dashboard."""
    sidebar(
        appbuilder,
        PaymentsPage(),
        group="",
        label="Payments",
        resource="",
        icon="receipt-indian-rupee",
        scope="personal",
        keywords="receipts invoices paid",
    )
