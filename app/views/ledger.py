"""The platform's journal for staff: accounts, statements, postings, reconciliation (chapter 2, 2.2)."""

from __future__ import annotations

import uuid
from typing import Any

from flask import flash, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import select

from app.extensions import db
from app.models import LedgerReconciliationReport, LedgerTransaction
from app.security.context import acting
from app.services import ledger, reconcile
from app.views.base import page as page_entry

from .format import words
from .pages import Page, platform_page

PER_PAGE = 50


class LedgerPage(Page):
    """Every account, what moved it, and whether the caches agree."""

    route_base = "/admin/ledger"
    resource = "ledger"

    @expose("/")
    @platform_page("ledger")
    def index(self) -> Any:
        search = request.args.get("q", "").replace("\x00", "")[:80]
        with acting(db.session(), scope="platform"):
            accounts = ledger.accounts(db.session(), search)
            reports = db.session.scalars(
                select(LedgerReconciliationReport).order_by(LedgerReconciliationReport.id.desc()).limit(10)
            ).all()
            recent = db.session.scalars(
                select(LedgerTransaction)
                .order_by(LedgerTransaction.posted_at.desc(), LedgerTransaction.id.desc())
                .limit(15)
            ).all()
        return self.render(
            "ledger/index.html",
            title="Ledger",
            accounts=accounts,
            reports=reports,
            recent=recent,
            search=search,
        )

    @expose("/accounts/<code>")
    @platform_page("ledger")
    def account(self, code: str) -> Any:
        before = request.args.get("before", "")
        last = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
        with acting(db.session(), scope="platform"):
            account, rows = ledger.statement(db.session(), code, last, PER_PAGE)
        older = rows[-1]["row"] if len(rows) == PER_PAGE else None
        return self.render(
            "ledger/account.html",
            title=f"{words(account['kind'])} of {account['owner']}",
            account=account,
            rows=rows,
            older=older,
            first=not last,
        )

    @expose("/transactions/<uuid:public_id>")
    @platform_page("ledger")
    def transaction(self, public_id: uuid.UUID) -> Any:
        with acting(db.session(), scope="platform"):
            posting, legs = ledger.transaction(db.session(), public_id)
        return self.render("ledger/transaction.html", title=posting.key, posting=posting, legs=legs)

    @expose("/reconcile", methods=["POST"])
    @platform_page("ledger", "write")
    def run(self) -> Any:
        with acting(db.session(), scope="job"):
            report = reconcile.run(db.session())
        if report.ok:
            flash(f"Everything agrees: {report.checked['entries']:,} entries checked.", "success")
        else:
            flash(f"{len(report.findings)} differences found; they are listed below.", "danger")
        return redirect(url_for("LedgerPage.index"))


def register(appbuilder: Any) -> None:
    """Put the page into the staff's sidebar."""
    page_entry(
        appbuilder,
        LedgerPage(),
        group="Commerce",
        label="Ledger",
        resource="ledger",
        icon="scale",
        scope="platform",
        keywords="journal reconcile accounts invariants",
    )
