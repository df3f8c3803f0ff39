"""Payments and refunds of an organisation, and the automatic top-up of its wallet."""

from __future__ import annotations

import uuid
from typing import Any

from flask import current_app, flash, redirect, request, url_for
from flask_appbuilder import expose

from app.api.http import check_gate
from app.extensions import db
from app.models import Dispute, Payment, Refund, TopUpRefund
from app.security import limits, matrix
from app.security.context import ctx
from app.services import auto_topup, idempotency, wallets
from app.views.base import Rows, TenantView
from app.views.base import register as add

from .billing import has_wallet, rupees_to_paise
from .pages import OrgPage, page


class Payments(TenantView):
    """What members booked and how it was paid."""

    datamodel = Rows(Payment)
    resource = "payments"
    title, one, icon, menu = "Payments", "payment", "receipt-indian-rupee", "Commerce"
    list_columns = ["created_at", "user_id", "description", "method", "status", "amount_paise"]
    show_fieldsets = [
        (
            "Payment",
            {
                "fields": [
                    "amount_paise",
                    "price_paise",
                    "discount_paise",
                    "tax_paise",
                    "description",
                    "user_id",
                    "method",
                    "receipt_number",
                ]
            },
        ),
        (
            "Provider",
            {
                "fields": ["status", "created_at", "captured_at", "gateway", "provider_payment_id"],
                "side": True,
            },
        ),
    ]
    kinds = {"method": "tag", "gateway": "tag", "provider_payment_id": "code", "receipt_number": "code"}
    labels = {
        "created_at": "When",
        "user_id": "Member",
        "description": "For",
        "amount_paise": "Amount",
        "price_paise": "Price",
        "discount_paise": "Discount",
        "tax_paise": "Tax",
        "provider_payment_id": "Provider's id",
    }
    search_columns = ["status", "method", "created_at", "amount_paise", "user_id"]
    quick_search = ("description", "receipt_number")
    saved = [("Succeeded", "_flt_0_status=SUCCEEDED"), ("Waiting", "_flt_0_status=PENDING")]
    related = [("Refunds", "Refunds", "payment_id"), ("Disputes", "Disputes", "payment_id")]
    phone = ["description", "amount_paise", "created_at", "status"]
    empty = ("No payments yet", "What members book appears here, with how it was paid.")
    when = staticmethod(lambda org: bool(org and org["can_sponsor"]))

    def links(self, item: Any) -> list[tuple[str, str, str]]:
        if item.receipt_number and item.status == "SUCCEEDED":
            return [("Receipt", f"/api/payments/{item.public_id}/receipt.pdf", "file-text")]
        return []


class Refunds(TenantView):
    """What went back of the organisation's bookings."""

    datamodel = Rows(Refund)
    resource, path = "payments", "refunds"
    title, one, icon, menu = "Refunds", "refund", "undo-2", "Commerce"
    list_columns = ["created_at", "payment_id", "reason", "status", "amount_paise"]
    show_columns = [
        "amount_paise",
        "gateway_paise",
        "status",
        "reason",
        "payment_id",
        "user_id",
        "created_at",
        "succeeded_at",
        "provider_refund_id",
    ]
    kinds = {"provider_refund_id": "code"}
    labels = {
        "created_at": "When",
        "payment_id": "Of",
        "amount_paise": "Amount",
        "gateway_paise": "Through the provider",
        "user_id": "Member",
        "provider_refund_id": "Provider's id",
    }
    search_columns = ["status", "created_at", "amount_paise"]
    quick_search = ("reason",)
    phone = ["reason", "amount_paise", "created_at", "status"]
    empty = ("No refunds", "Cancelled bookings that give money back appear here.")
    when = staticmethod(lambda org: bool(org and org["can_sponsor"]))


class TopUpRefunds(TenantView):
    """Credits that were paid back."""

    datamodel = Rows(TopUpRefund)
    resource, path = "top-ups", "top-up-refunds"
    title, one, icon, menu = "Refunds of credits", "refund of credits", "undo-2", ""
    list_columns = ["created_at", "top_up_id", "reason", "status", "amount_paise"]
    show_columns = [
        "amount_paise",
        "status",
        "reason",
        "top_up_id",
        "created_at",
        "succeeded_at",
        "provider_refund_id",
    ]
    kinds = {"provider_refund_id": "code"}
    labels = {"created_at": "When", "top_up_id": "Of", "amount_paise": "Amount"}
    search_columns = ["status", "created_at", "amount_paise"]
    phone = ["reason", "amount_paise", "created_at", "status"]
    empty = ("No refunds of credits", "Credits that are paid back appear here.")
    when = staticmethod(has_wallet)


class Disputes(TenantView):
    """Payments whose payer's bank asks for the money back. The platform answers; the organisation sees how it goes."""

    datamodel = Rows(Dispute)
    resource = "disputes"
    title, one, icon, menu = "Disputes", "dispute", "gavel", "Operations"
    list_columns = ["opened_at", "reason", "phase", "status", "due_by", "amount_paise"]
    show_fieldsets = [
        (
            "Dispute",
            {
                "fields": [
                    "amount_paise",
                    "posted_paise",
                    "reason",
                    "phase",
                    "payment_id",
                    "provider_dispute_id",
                ]
            },
        ),
        (
            "Course",
            {"fields": ["status", "opened_at", "due_by", "answered_at", "closed_at"], "side": True},
        ),
    ]
    kinds = {"phase": "tag", "reason": "tag", "provider_dispute_id": "code"}
    labels = {
        "opened_at": "Opened",
        "due_by": "Answer by",
        "amount_paise": "Amount",
        "posted_paise": "Taken",
        "payment_id": "Payment",
        "answered_at": "Answered",
        "provider_dispute_id": "Provider's id",
    }
    search_columns = ["status", "opened_at", "amount_paise"]
    saved = [
        ("To answer", "_flt_0_status=NEEDS_RESPONSE"),
        ("Under review", "_flt_0_status=UNDER_REVIEW"),
        ("Lost", "_flt_0_status=LOST"),
    ]
    phone = ["reason", "amount_paise", "opened_at", "status"]
    empty = ("No disputes", "If a payer's bank asks for money back, it appears here and the earnings wait.")


class AutomaticPage(OrgPage):
    """The mandate, and when it is charged."""

    route_base = "/dashboard/organization/<org_id>"
    resource = "wallet"

    @expose("/wallet/automatic", methods=["GET", "POST"])
    @page("wallet")
    def index(self) -> Any:
        account = wallets.wallet_of(db.session())
        if request.method == "POST":
            check_gate("wallet", "write", active=True)
            amount, minimum = (request.form.get(n, "").strip() for n in ("amount", "minimum"))
            wallets.change(
                db.session(),
                {
                    "auto_top_up_enabled": "enabled" in request.form,
                    "auto_top_up_amount_paise": rupees_to_paise(amount) if amount else None,
                    "min_balance_paise": rupees_to_paise(minimum) if minimum else None,
                },
            )
            flash("Automatic top-up saved.", "success")
            return redirect(url_for("AutomaticPage.index"))
        return self.render(
            "billing/automatic.html",
            title="Automatic top-up",
            account=account,
            limit=auto_topup.WITHOUT_AUTHENTICATION,
            most_failures=auto_topup.MOST_FAILURES,
            writes=matrix.can("write", "wallet"),
            key=str(uuid.uuid4()),
        )

    @expose("/wallet/mandate", methods=["POST"])
    @page("wallet", "write", active=True)
    def mandate(self) -> Any:
        session, scope = db.session(), f"org:{ctx().org_id}"
        typed = request.form.get("max", "").strip()
        body = {"max_paise": rupees_to_paise(typed) if typed else None}
        stored = idempotency.claim(session, scope, request.form.get("key"), {"mandate": body})
        if stored is not None:
            return redirect(stored[1]["authorization_url"])
        limits.hit("top-up", str(ctx().org_id))
        _, url = auto_topup.request_mandate(session, body["max_paise"], current_app.config["SETTINGS"])
        idempotency.store(session, scope, request.form["key"], 201, {"authorization_url": url})
        return redirect(url)

    @expose("/wallet/mandate/remove", methods=["POST"])
    @page("wallet", "write", active=True)
    def forget(self) -> Any:
        auto_topup.forget_mandate(db.session())
        flash("The mandate is removed and automatic top-up is off.", "success")
        return redirect(url_for("AutomaticPage.index"))


def register(appbuilder: Any) -> None:
    """Put the lists into the console."""
    add(appbuilder, Payments)
    add(appbuilder, Refunds)
    add(appbuilder, TopUpRefunds)
    add(appbuilder, Disputes)
    appbuilder.add_view_no_menu(AutomaticPage())
