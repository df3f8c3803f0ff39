"""The platform's books in the console: invariants, postings by hand, refunds of any payment (chapter 2, 2.2, 2.8)."""

from __future__ import annotations

import uuid
from typing import Any

from flask import current_app, flash, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import or_, select
from sqlalchemy.orm import aliased, joinedload

from app.api.books import PostingSchema, make_posting, organization_of
from app.api.http import number_arg, validate
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import (
    BillingAccount,
    GatewayReport,
    LedgerReconciliationReport,
    ManualPosting,
    ManualStatus,
    Organization,
    Payment,
    Refund,
    User,
)
from app.security import matrix
from app.security.context import acting, ctx
from app.services import (
    checks,
    gateway_books,
    idempotency,
    manual_postings,
    reconcile,
    refunds,
    wallet_freeze,
)
from app.services.text import money
from app.views.base import page as page_entry

from .billing import rupees_to_paise
from .format import words
from .pages import Page, platform_page

RUNS, PER_PAGE = 30, 50


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


class InvariantsPage(Page):
    """Every rule that must hold, what the last runs found, and the button to look again."""

    route_base = "/admin/invariants"
    resource = "ledger"

    @expose("/")
    @platform_page("ledger")
    def index(self) -> Any:
        with acting(db.session(), scope="platform"):
            runs = db.session.scalars(
                select(LedgerReconciliationReport).order_by(LedgerReconciliationReport.id.desc()).limit(RUNS)
            ).all()
            compared = db.session.scalars(
                select(GatewayReport).order_by(GatewayReport.id.desc()).limit(10)
            ).all()
            frozen = db.session.execute(
                select(Organization.name, Organization.public_id, BillingAccount.wallet_frozen_at)
                .join(BillingAccount, BillingAccount.organization_id == Organization.id)
                .where(BillingAccount.wallet_frozen_at.is_not(None))
                .order_by(BillingAccount.wallet_frozen_at)
                .limit(100)
            ).all()
        whole = next((r for r in runs if r.organization_id is None), None)
        found: dict[str, int] = {}
        for finding in whole.findings if whole else []:
            found[finding["kind"]] = found.get(finding["kind"], 0) + 1
        return self.render(
            "books/invariants.html",
            title="Invariants",
            rules=checks.every(),
            last=whole,
            found=found,
            runs=runs,
            compared=compared,
            frozen=frozen,
            gateways=gateway_books.configured(current_app.config["SETTINGS"]),
            writes=matrix.can("write", "ledger"),
        )

    @expose("/runs/<uuid:public_id>")
    @platform_page("ledger")
    def show(self, public_id: uuid.UUID) -> Any:
        with acting(db.session(), scope="platform"):
            row: Any = db.session.scalars(
                select(LedgerReconciliationReport).where(LedgerReconciliationReport.public_id == public_id)
            ).one_or_none()
            if row is None:
                row = db.session.scalars(
                    select(GatewayReport).where(GatewayReport.public_id == public_id)
                ).one_or_none()
        if row is None:
            raise DomainError("NOT_FOUND")
        checked = [(words(name), count, "number") for name, count in row.checked.items()]
        return self.render("books/run.html", title="Findings", row=row, checked=checked)

    @expose("/run", methods=["POST"])
    @platform_page("ledger", "write")
    def run(self) -> Any:
        with acting(db.session(), scope="job"):
            report = reconcile.run(db.session())
        if report.ok:
            flash(f"Everything agrees: {report.checked['entries']:,} entries checked.", "success")
        else:
            flash(f"{len(report.findings)} differences found.", "danger")
        return redirect(url_for("InvariantsPage.show", public_id=report.public_id))

    @expose("/compare/<gateway>", methods=["POST"])
    @platform_page("ledger", "write")
    def compare(self, gateway: str) -> Any:
        settings = current_app.config["SETTINGS"]
        if gateway not in gateway_books.configured(settings):
            raise DomainError("NOT_FOUND")
        with acting(db.session(), scope="job", org_id=None):
            report = gateway_books.compare(db.session(), gateway, settings)
        said = "The books agree." if report.ok else f"{len(report.findings)} differences found."
        flash(said, "success" if report.ok else "danger")
        return redirect(url_for("InvariantsPage.show", public_id=report.public_id))

    @expose("/wallets/<uuid:organization>/unfreeze", methods=["POST"])
    @platform_page("ledger", "write")
    def unfreeze(self, organization: uuid.UUID) -> Any:
        org = organization_of(str(organization))
        wallet_freeze.switch(db.session(), org.id, False, request.form.get("reason", "")[:400])
        flash(f"The wallet of {org.name} may be spent again.", "success")
        return redirect(url_for("InvariantsPage.index"))

    @expose("/wallets/freeze", methods=["POST"])
    @platform_page("ledger", "write")
    def freeze(self) -> Any:
        slug = request.form.get("slug", "").strip()[:63]
        with acting(db.session(), scope="platform"):
            org = db.session.scalars(select(Organization).where(Organization.slug == slug)).one_or_none()
        if org is None:
            raise Invalid({"organisation": ["There is none with this short name."]})
        wallet_freeze.switch(db.session(), org.id, True, request.form.get("reason", "")[:400])
        flash(f"Spending from the wallet of {org.name} is frozen.", "success")
        return redirect(url_for("InvariantsPage.index"))


class PostingsPage(Page):
    """Grants, remittances, and adjustments that take two administrators."""

    route_base = "/admin/postings"
    resource = "ledger"

    @expose("/")
    @platform_page("ledger")
    def index(self) -> Any:
        decider = aliased(User)
        with acting(db.session(), scope="platform"):
            rows = db.session.execute(
                select(ManualPosting, Organization.name, User.email, decider.email)
                .outerjoin(Organization, Organization.id == ManualPosting.organization_id)
                .join(User, User.id == ManualPosting.proposed_by_user_id)
                .outerjoin(decider, decider.id == ManualPosting.decided_by_user_id)
                .order_by(ManualPosting.id.desc())
                .limit(100)
            ).all()
        return self.render(
            "books/postings.html",
            title="Postings by hand",
            rows=rows,
            me=ctx().user_id,
            proposed=ManualStatus.PROPOSED,
            writes=matrix.can("write", "ledger"),
            key=str(uuid.uuid4()),
        )

    @expose("/", methods=["POST"])
    @platform_page("ledger", "write")
    def make(self) -> Any:
        form = request.form
        body: dict[str, Any] = {"kind": form.get("kind", ""), "reason": form.get("reason", "")}
        if body["kind"] == "ADJUSTMENT":
            body["legs"] = _legs(form.get("legs", ""))
        else:
            body["amount_paise"] = rupees_to_paise(form.get("amount", ""))
        if body["kind"] == "TAX_REMITTED":
            body |= {"tax": form.get("tax", ""), "challan": form.get("challan", "")}
        if body["kind"] == "GRANT":
            with acting(db.session(), scope="platform"):
                found = db.session.scalar(
                    select(Organization.public_id).where(Organization.slug == form.get("slug", "")[:63])
                )
            if found is None:
                raise Invalid({"organisation": ["There is none with this short name."]})
            body["organization_id"] = str(found)
        session, scope = db.session(), f"user:{ctx().user_id}:posting"
        cleaned = validate(PostingSchema, body)
        if idempotency.claim(session, scope, form.get("key"), body) is None:
            row = make_posting(cleaned)
            idempotency.store(session, scope, form["key"], 201, manual_postings.view(row))
            flash(
                "Proposed: another administrator posts it."
                if row.status == ManualStatus.PROPOSED
                else f"{money(row.amount_paise)} posted.",
                "success",
            )
        return redirect(url_for("PostingsPage.index"))

    @expose("/<uuid:public_id>/approve", methods=["POST"])
    @platform_page("ledger", "write")
    def approve(self, public_id: uuid.UUID) -> Any:
        manual_postings.approve(db.session(), public_id)
        flash("Posted.", "success")
        return redirect(url_for("PostingsPage.index"))

    @expose("/<uuid:public_id>/reject", methods=["POST"])
    @platform_page("ledger", "write")
    def reject(self, public_id: uuid.UUID) -> Any:
        manual_postings.reject(db.session(), public_id)
        flash("Turned down. Nothing was posted.", "success")
        return redirect(url_for("PostingsPage.index"))


def _legs(text: str) -> list[dict[str, Any]]:
    """Legs typed a line each: ``D CASH|platform|INR 1,000.00``. Raises Invalid."""
    legs: list[dict[str, Any]] = []
    for line in text.strip().splitlines()[:20]:
        side, _, rest = line.strip().partition(" ")
        code, _, amount = rest.strip().rpartition(" ")
        if not code:
            raise Invalid({"legs": [f"“{line.strip()[:60]}”: write D or C, the account, and rupees."]})
        legs.append({"side": side.upper(), "code": code.strip(), "amount_paise": rupees_to_paise(amount)})
    return legs


class RefundsDesk(Page):
    """Find a payment, see what a refund would do to each source and share, and make it."""

    route_base = "/admin/refunds"
    resource = "refunds"

    @expose("/")
    @platform_page("refunds")
    def index(self) -> Any:
        search = request.args.get("q", "").strip()[:80]
        number = number_arg("page", 1, 10_000)
        with acting(db.session(), scope="platform"):
            found = self._found(search) if search else []
            rows = db.session.scalars(
                select(Refund)
                .options(joinedload(Refund.payment))
                .order_by(Refund.id.desc())
                .limit(PER_PAGE + 1)
                .offset(PER_PAGE * (number - 1))
            ).all()
        return self.render(
            "books/refunds.html",
            title="Refunds",
            rows=rows[:PER_PAGE],
            more=len(rows) > PER_PAGE,
            number=number,
            found=found,
            search=search,
        )

    def _found(self, search: str) -> Any:
        wanted = _uuid(search)
        where = (
            Payment.public_id == wanted
            if wanted
            else or_(
                Payment.receipt_number == search.upper(),
                Payment.provider_payment_id == search,
                Payment.gateway_order_id == search,
                Payment.user_id.in_(select(User.id).where(User.email == search.lower())),
            )
        )
        return db.session.execute(
            select(Payment, User.email)
            .join(User, User.id == Payment.user_id)
            .where(where)
            .order_by(Payment.id.desc())
            .limit(50)
        ).all()

    @expose("/payments/<uuid:public_id>")
    @platform_page("refunds")
    def show(self, public_id: uuid.UUID) -> Any:
        payment = refunds.find(db.session(), public_id)
        typed, preview, problem = request.args.get("amount", "").strip(), None, ""
        try:
            preview = refunds.preview(db.session(), payment, rupees_to_paise(typed) if typed else None)
        except DomainError as error:
            problem = error.message
        rows, _ = refunds.of(db.session(), payment)
        with acting(db.session(), scope="platform"):
            payer = db.session.get_one(User, payment.user_id).email
            org = db.session.get(Organization, payment.organization_id) if payment.organization_id else None
        return self.render(
            "books/payment.html",
            title=payment.description or "Payment",
            payment=payment,
            payer=payer,
            organization=org,
            rows=rows,
            preview=preview,
            problem=problem,
            typed=typed,
            writes=matrix.can("write", "refunds"),
            key=str(uuid.uuid4()),
        )

    @expose("/payments/<uuid:public_id>", methods=["POST"])
    @platform_page("refunds", "write")
    def refund(self, public_id: uuid.UUID) -> Any:
        payment, session = refunds.find(db.session(), public_id), db.session()
        paise, force = rupees_to_paise(request.form.get("amount", "")), "force" in request.form
        body = {"amount_paise": paise, "force": force}
        scope = f"user:{ctx().user_id}:refund:{public_id}"
        if idempotency.claim(session, scope, request.form.get("key"), body) is None:
            made = refunds.reserve(session, payment, paise, request.form.get("reason", ""), force=force)
            idempotency.store(session, scope, request.form["key"], 201, {"refund": refunds.view(made)})
            flash(f"{money(paise)}: {made.status.value.lower()}.", "success")
        return redirect(url_for("RefundsDesk.show", public_id=public_id))


def register(appbuilder: Any) -> None:
    """Put the pages into the staff's sidebar."""
    for view, label, resource, icon, keywords in (
        (
            InvariantsPage(),
            "Invariants",
            "ledger",
            "shield-check",
            "reconcile findings drift gateway frozen wallets",
        ),
        (PostingsPage(), "Postings", "ledger", "notebook-pen", "grant adjustment remit tax challan"),
        (RefundsDesk(), "Refunds", "refunds", "undo-2", "payment refund force preview"),
    ):
        page_entry(
            appbuilder,
            view,
            group="Commerce",
            label=label,
            resource=resource,
            icon=icon,
            scope="platform",
            keywords=keywords,
        )
