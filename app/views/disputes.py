"""The platform's desk for disputes: what must be answered, and the answers (chapter 2, 2.8)."""

from __future__ import annotations

import uuid
from typing import Any

from flask import current_app, flash, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from app.api.http import number_arg
from app.errors import DomainError
from app.extensions import db
from app.models import Dispute, Organization
from app.security import matrix
from app.security.context import acting
from app.services import disputes
from app.services.text import money
from app.views.base import page as page_entry

from .pages import Page, platform_page

PER_PAGE = 50
TABS: dict[str, tuple[str, Any]] = {
    "answer": ("To answer", disputes.ANSWERABLE),
    "open": ("Open", disputes.OPEN),
    "closed": ("Closed", None),
    "all": ("All", ()),
}


def _where(tab: str) -> list[Any]:
    states = TABS[tab][1]
    if states is None:
        return [Dispute.status.not_in(disputes.OPEN)]
    return [Dispute.status.in_(states)] if states else []


class DisputesDesk(Page):
    """Every dispute, the most urgent first, with the answer."""

    route_base = "/admin/disputes"
    resource = "disputes-desk"

    @expose("/")
    @platform_page("disputes-desk")
    def index(self) -> Any:
        here = request.args.get("status", "answer")
        if here not in TABS:
            raise DomainError("NOT_FOUND")
        number = number_arg("page", 1, 10_000)
        order = (
            [Dispute.due_by.nulls_last(), Dispute.id] if here in ("answer", "open") else [Dispute.id.desc()]
        )
        with acting(db.session(), scope="platform"):
            rows = db.session.execute(
                select(Dispute, Organization.name)
                .outerjoin(Organization, Organization.id == Dispute.organization_id)
                .where(*_where(here))
                .order_by(*order)
                .limit(PER_PAGE + 1)
                .offset(PER_PAGE * (number - 1))
            ).all()
            counts = {
                tab: db.session.scalar(
                    select(func.count()).select_from(
                        select(Dispute.id).where(*_where(tab)).limit(1_000).subquery()
                    )
                )
                for tab in TABS
            }
        return self.render(
            "books/disputes.html",
            title="Disputes",
            rows=rows[:PER_PAGE],
            more=len(rows) > PER_PAGE,
            number=number,
            here=here,
            tabs=[
                {
                    "label": label,
                    "url": url_for("DisputesDesk.index", status=tab),
                    "here": tab == here,
                    "count": counts[tab],
                }
                for tab, (label, _) in TABS.items()
            ],
        )

    @expose("/<uuid:public_id>")
    @platform_page("disputes-desk")
    def show(self, public_id: uuid.UUID) -> Any:
        with acting(db.session(), scope="platform"):
            row = db.session.scalars(
                select(Dispute).options(joinedload(Dispute.payment)).where(Dispute.public_id == public_id)
            ).one_or_none()
            if row is None:
                raise DomainError("NOT_FOUND")
            org = db.session.get(Organization, row.organization_id) if row.organization_id else None
            title = disputes.title_of(db.session(), row)
        return self.render(
            "books/dispute.html",
            title=f"Dispute about {money(row.amount_paise)}",
            row=row,
            organization=org,
            about=title,
            kinds=disputes.EVIDENCE,
            answers=row.status in disputes.ANSWERABLE and matrix.can("write", "disputes-desk"),
        )

    @expose("/<uuid:public_id>/accept", methods=["POST"])
    @platform_page("disputes-desk", "write")
    def accept(self, public_id: uuid.UUID) -> Any:
        row = disputes.accept(db.session(), public_id, current_app.config["SETTINGS"])
        flash(f"Accepted. {money(row.posted_paise or 0)} went back and were posted.", "success")
        return redirect(url_for("DisputesDesk.show", public_id=public_id))

    @expose("/<uuid:public_id>/contest", methods=["POST"])
    @platform_page("disputes-desk", "write")
    def contest(self, public_id: uuid.UUID) -> Any:
        evidence = {k: request.form.get(k, "")[:2_000] for k in disputes.EVIDENCE}
        disputes.contest(
            db.session(),
            public_id,
            request.form.get("summary", "")[:2_000],
            evidence,
            current_app.config["SETTINGS"],
        )
        flash("Contested. The bank reviews it; the outcome arrives by webhook.", "success")
        return redirect(url_for("DisputesDesk.show", public_id=public_id))


def register(appbuilder: Any) -> None:
    """Put the page into the staff's sidebar."""
    page_entry(
        appbuilder,
        DisputesDesk(),
        group="Commerce",
        label="Disputes",
        resource="disputes-desk",
        icon="gavel",
        scope="platform",
        keywords="chargeback contest accept evidence",
    )
