"""Wallet, credit ledger and billing terms of an organisation."""

from __future__ import annotations

import re
import uuid
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from flask import current_app, flash, g, jsonify, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import select

from app.api.billing import ledger_csv
from app.documents import topup_receipt
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import (
    FundingSource,
    GstMode,
    Organization,
    OrgStatus,
    TopUpRefund,
    TopUpStatus,
    WalletTopUp,
)
from app.security import limits, matrix
from app.security.context import ctx
from app.services import (
    funding,
    idempotency,
    invoice_reads,
    org_fields,
    org_status,
    organizations,
    topup_refunds,
    topups,
    wallets,
)
from app.services.tax import STATES
from app.services.text import money
from app.services.wallets import KINDS
from app.views.base import Rows, TenantView
from app.views.base import page as page_entry
from app.views.base import register as register_view

from .links import org_page
from .pages import OrgPage, page

PER_PAGE = 25
QUICK = (5_000_000, 10_000_000, 20_000_000, 50_000_000)  # paise: ₹50,000 to ₹5,00,000
SOURCES = {
    FundingSource.PERSONAL: ("Personal payment", "People pay by themselves and are paid back."),
    FundingSource.WALLET: ("Wallet", "Credits bought in advance pay for bookings at once."),
    FundingSource.INVOICE: ("Invoice", "Bookings are gathered and invoiced every month."),
    FundingSource.LICENSE: ("Licence", "A fee for each cycle covers the licensed seats."),
}
_RUPEES = re.compile(r"-?[0-9]{1,13}(\.[0-9]{1,2})?")


def has_wallet(org: Any) -> bool:
    """Whether the organisation pays from a wallet."""
    return bool(org and org["funding_source"] == "WALLET")


def rupees_to_paise(text: str) -> int:
    """Paise of an amount typed in rupees, with or without Indian grouping. Raises Invalid."""
    plain = text.replace(",", "").replace("₹", "").strip()
    if not _RUPEES.fullmatch(plain):
        raise Invalid({"amount": ["Enter rupees, with at most two decimals."]})
    return int(Decimal(plain) * 100)


class WalletPage(OrgPage):
    """Balance, buying credits, and the ledger that explains the balance."""

    route_base = "/dashboard/organization/<org_id>"
    resource = "wallet"

    @expose("/wallet")
    @page("wallet")
    def index(self) -> Any:
        account = wallets.wallet_of(db.session())
        try:
            chosen = wallets.Filter.of(request.args)
        except Invalid:
            chosen = wallets.Filter()
        number = request.args.get("page", "1")
        current = (
            min(int(number), 100_000)
            if number.isascii() and number.isdigit() and len(number) < 8 and int(number)
            else 1
        )
        rows, total = wallets.entries(db.session(), page=current, per_page=PER_PAGE, chosen=chosen)
        return self.render(
            "billing/wallet.html",
            title="Credits",
            account=account,
            rows=rows,
            total=total,
            most=(wallets.MOST_OF_KIND if chosen.kind else wallets.MOST) - 1,
            page_number=current,
            per_page=PER_PAGE,
            chosen=chosen,
            query=urlencode({k: v for k, v in request.args.items() if k in ("kind", "from", "to") and v}),
            kinds=KINDS,
            quick=QUICK,
            pending=wallets.pending_top_ups(db.session()),
            key=str(uuid.uuid4()),
        )

    @expose("/credits")
    @page("wallet")
    def credits(self) -> Any:
        return redirect(url_for("WalletPage.index"))

    @expose("/wallet/export")
    @page("wallet", "export")
    def export(self) -> Any:
        wallets.wallet_of(db.session())
        return ledger_csv()

    @expose("/wallet/top-ups", methods=["POST"])
    @page("top-ups", "write", active=True)
    def buy(self) -> Any:
        paise = rupees_to_paise(request.form.get("amount", ""))
        session, scope = db.session(), f"org:{ctx().org_id}"
        stored = idempotency.claim(
            session, scope, request.form.get("key"), {"top_up": {"amount_paise": paise}}
        )
        if stored is not None:
            return redirect(stored[1]["checkout_url"])
        limits.hit("top-up", str(ctx().org_id))
        answer = topups.view(topups.create(session, paise, current_app.config["SETTINGS"]))
        idempotency.store(session, scope, request.form["key"], 201, answer)
        return redirect(answer["checkout_url"])

    def _top_up(self, public_id: uuid.UUID) -> WalletTopUp:
        row = db.session.scalars(select(WalletTopUp).where(WalletTopUp.public_id == public_id)).one_or_none()
        if row is None:
            raise DomainError("NOT_FOUND")
        return row

    @expose("/wallet/top-ups/<uuid:public_id>")
    @page("top-ups")
    def top_up(self, public_id: uuid.UUID) -> Any:
        account = wallets.wallet_of(db.session())
        row = self._top_up(public_id)
        return self.render(
            "billing/top_up.html",
            title="Top-up",
            row=row,
            account=account,
            refundable=topup_refunds.most(db.session(), row, account),
            may_refund=matrix.can("write", "top-ups")
            and g.org["status"] == OrgStatus.ACTIVE
            and account.wallet_frozen_at is None,
            refunds=db.session.scalars(
                select(TopUpRefund)
                .where(TopUpRefund.top_up_id == row.id)
                .order_by(TopUpRefund.id.desc())
                .limit(50)
            ).all(),
            key=str(uuid.uuid4()),
        )

    @expose("/wallet/top-ups/<uuid:public_id>/receipt.pdf")
    @page("top-ups")
    def receipt(self, public_id: uuid.UUID) -> Any:
        return topup_receipt.response(self._top_up(public_id), money)

    @expose("/wallet/top-ups/<uuid:public_id>/refund", methods=["POST"])
    @page("top-ups", "write", active=True)
    def refund(self, public_id: uuid.UUID) -> Any:
        row, paise = self._top_up(public_id), rupees_to_paise(request.form.get("amount", ""))
        session, scope = db.session(), f"org:{ctx().org_id}"
        body = {"refund": paise, "top_up": str(public_id)}
        if idempotency.claim(session, scope, request.form.get("key"), body) is None:
            made = topup_refunds.reserve(session, row, paise, request.form.get("reason", ""))
            idempotency.store(session, scope, request.form["key"], 201, topup_refunds.view(made, row))
        flash(
            f"{money(paise)} are on their way back. The credits leave the wallet when the provider confirms.",
            "success",
        )
        return redirect(url_for("WalletPage.top_up", public_id=public_id))

    @expose("/wallet/top-ups/<uuid:public_id>/state")
    @page("top-ups")
    def state(self, public_id: uuid.UUID) -> Any:
        row = self._top_up(public_id)
        return jsonify(
            done=row.status != TopUpStatus.PENDING,
            label="The payment arrived, crediting the wallet" if row.captured_at else "Waiting for the bank",
            url=url_for("WalletPage.top_up", public_id=public_id),
        )


class BillingPage(OrgPage):
    """Terms and funding source."""

    route_base = "/dashboard/organization/<org_id>"
    resource = "billing-account"

    @expose("/billing", methods=["GET", "POST"])
    @page("billing-account", sponsor=True)
    def index(self) -> Any:
        account = wallets.account(db.session())
        if request.method == "POST":
            from app.api.http import check_gate

            check_gate("billing-account", "write", active=True)
            typed = request.form.get("minimum", "").strip()
            minimum = rupees_to_paise(typed) if typed else None
            if minimum is not None and minimum < 0:
                raise Invalid({"minimum": ["Enter an amount of zero or more."]})
            wallets.change(
                db.session(),
                {
                    "min_balance_paise": minimum,
                    "allow_member_top_up": "member_top_up" in request.form,
                    "wallet_gst_mode": GstMode.ADVANCE
                    if request.form.get("gst_mode") == "ADVANCE"
                    else GstMode.VOUCHER,
                },
            )
            flash("Billing settings saved.", "success")
            return redirect(url_for("BillingPage.index"))
        organization = db.session.get_one(Organization, account.organization_id)
        pending = account.pending_funding_source
        left = funding.blockers(db.session(), account, pending) if pending else {}
        open_here = matrix.can("write", "billing-account") and org_status.writable(organization.status)
        editable = org_fields.editable(ctx().roles) if open_here else frozenset()
        if organization.status == OrgStatus.PENDING_VERIFICATION:
            editable -= org_fields.VERIFIED_ONLY
        return self.render(
            "billing/billing.html",
            title="Billing",
            sums=invoice_reads.summary(db.session(), account),
            invoices_url=org_page("invoices"),
            account=account,
            organization=organization,
            contact=(organization.contacts or {}).get("billing") or {},
            states=STATES,
            settings_url=org_page("settings"),
            editable=editable & {"billing_email", "payment_terms_days"},
            left=funding.open_words(left),
            sources=[(s.value, *SOURCES[s]) for s in FundingSource if s != account.funding_source],
            may_change=open_here and organization.status == OrgStatus.ACTIVE,
        )

    @expose("/billing/terms", methods=["POST"])
    @page("billing-account", "write", sponsor=True)
    def terms(self) -> Any:
        """Billing e-mail and terms: the fields a BILLING_ADMIN may change (chapter 1, "Beyond the original" 9)."""
        values: dict[str, Any] = {
            name: request.form[name][:400]
            for name in ("billing_email", "payment_terms_days")
            if name in request.form
        }
        row = organizations.current(db.session())
        cleaned = org_fields.clean(values)
        changed = {k: values[k] for k, v in cleaned.items() if v != getattr(row, k)}
        organizations.update_organization(db.session(), changed)
        flash(
            "Terms and contact saved." if changed else "Nothing to save: everything is as it was.", "success"
        )
        return redirect(url_for("BillingPage.index"))

    @expose("/billing/funding-change", methods=["POST"])
    @page("billing-account", "write", active=True, sponsor=True)
    def funding_change(self) -> Any:
        _, left = funding.request(db.session(), request.form.get("funding_source", "")[:20])
        if left:
            flash(f"Scheduled. Still open: {', '.join(funding.open_words(left))}.", "info")
        else:
            flash("Done: the organisation pays the new way from now on.", "success")
        return redirect(url_for("BillingPage.index"))

    @expose("/billing/funding-change/cancel", methods=["POST"])
    @page("billing-account", "write", active=True, sponsor=True)
    def funding_cancel(self) -> Any:
        funding.cancel(db.session())
        flash("The change was taken back. Everything stays as it is.", "success")
        return redirect(url_for("BillingPage.index"))


class TopUps(TenantView):
    """Every top-up, with its state."""

    datamodel = Rows(WalletTopUp)
    resource = "top-ups"
    title, one, icon, menu = "Top-ups", "top-up", "banknote", ""
    list_columns = ["created_at", "amount_paise", "status", "failure_code", "gateway", "confirmed_at"]
    show_columns = [
        "amount_paise",
        "status",
        "failure_code",
        "created_at",
        "captured_paise",
        "captured_at",
        "confirmed_at",
        "gateway",
        "gateway_order_id",
        "gateway_payment_id",
    ]
    kinds = {
        "gateway": "tag",
        "failure_code": "code",
        "gateway_order_id": "code",
        "gateway_payment_id": "code",
    }
    labels = {
        "created_at": "Ordered",
        "amount_paise": "Amount",
        "confirmed_at": "Credited",
        "failure_code": "Reason",
    }
    search_columns = ["status", "created_at", "amount_paise"]
    saved = [("Pending", "_flt_0_status=PENDING"), ("Failed", "_flt_0_status=FAILED")]
    phone = ["created_at", "amount_paise", "gateway", "status"]
    empty = ("No top-ups yet", "Credits bought for the wallet appear here.")
    when = staticmethod(has_wallet)


def register(appbuilder: Any) -> None:
    """Put the pages into the sidebar."""
    page_entry(
        appbuilder,
        WalletPage(),
        group="Commerce",
        label="Credits",
        resource="wallet",
        icon="wallet",
        when=has_wallet,
        keywords="wallet balance top-up ledger",
    )
    page_entry(
        appbuilder,
        BillingPage(),
        group="Commerce",
        label="Billing",
        resource="billing-account",
        icon="receipt",
        when=lambda org: bool(org and org["can_sponsor"]),
        keywords="funding terms",
    )
    register_view(appbuilder, TopUps)
