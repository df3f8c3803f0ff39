"""What is still open, in words and with a way to settle it; the capability cards, the danger zone, the verification."""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, redirect, request, url_for
from flask_appbuilder import expose

from app.errors import Invalid
from app.extensions import db
from app.models import Organization, OrgStatus
from app.security import matrix
from app.services import deletion, lifecycle, org_status, organizations, verification, wind_down
from app.views import format as f
from app.views.forms import confirmed

from .links import org_page
from .pages import OrgPage, page

# count -> (one, many, page that settles it); amounts in paise say "{}" once
LEFT: dict[str, tuple[str, str, str]] = {
    "wallet_balance_paise": ("{} in the wallet", "{} in the wallet", "wallet"),
    "live_assignments": ("1 member in a program", "{} members in programs", "programs"),
    "pending_top_ups": ("1 top-up on its way", "{} top-ups on their way", "wallet"),
    "pending_payments": ("1 payment on its way", "{} payments on their way", "appointments"),
    "experts": ("1 expert who is active or invited", "{} experts who are active or invited", "experts"),
    "unsettled_earnings": ("1 earning that is not paid out", "{} earnings that are not paid out", "earnings"),
    "open_contracts": ("1 active contract", "{} active contracts", "contracts"),
    "purchase_order_balance_paise": (
        "{} left on purchase orders",
        "{} left on purchase orders",
        "purchase-orders",
    ),
    "unbilled_accruals": ("1 booking that is not invoiced", "{} bookings that are not invoiced", "billing"),
    "unpaid_invoices": ("1 unpaid invoice", "{} unpaid invoices", "invoices"),
    "open_overages": ("1 overage that is not invoiced", "{} overages that are not invoiced", "billing"),
    "upcoming_sessions": ("1 booked session to come", "{} booked sessions to come", "appointments"),
    "open_balances": ("1 balance that is not settled", "{} balances that are not settled", "billing"),
}


def left(counts: dict[str, Any]) -> list[tuple[str, str | None]]:
    """What *counts* say in words, each with the page that settles it where the reader has it."""
    out = []
    for name, value in counts.items():
        one, many, where = LEFT.get(name, (f.label(name), f.label(name) + ": {}", ""))
        amount = f.fmt(value, "money") if name.endswith("_paise") else f.fmt(value, "number")
        out.append(
            (one.format(amount) if value == 1 else many.format(amount), org_page(where) if where else None)
        )
    return out


def hosting_on() -> bool:
    """The flag of hosting; pages never name it."""
    return bool(current_app.config["SETTINGS"].enable_host_orgs)


def settings_parts(row: Organization) -> dict[str, Any]:
    """What the capability cards and the danger zone of the settings show to this reader."""
    owner = matrix.can("delete", "organization")
    changes = owner and row.status == OrgStatus.ACTIVE
    return {
        "hosting": hosting_on(),
        "may_capability": changes,
        "left_sponsoring": left(wind_down.sponsoring(db.session())) if changes and row.can_sponsor else [],
        "left_hosting": left(wind_down.hosting(db.session())) if changes and row.can_host else [],
        "deletion": deletion.preview(db.session()) if owner and org_status.writable(row.status) else None,
        "left": left,
        "stage": verification.stage(row),
    }


class DeletionPage(OrgPage):
    """The danger zone's button."""

    route_base = "/dashboard/organization/<org_id>/settings/delete"
    resource = "organization"

    @expose("", methods=["POST"])
    @page("organization", "delete")
    def delete(self) -> Any:
        row = organizations.current(db.session())
        name = row.name
        if not confirmed(request.form, row.slug):
            raise Invalid({"confirm_word": [f"Type “{row.slug}” to confirm."]})
        done = deletion.delete_organization(db.session())
        flash(
            f"{name} is deleted. Its books are kept as the law requires."
            if done.outcome == "DEACTIVATED"
            else f"{name} is deleted, with everything it had set up.",
            "success",
        )
        return redirect("/dashboard/personal")


class VerificationThreadPage(OrgPage):
    """``…/settings/verification``: where the verification stands, the conversation, and the answer."""

    route_base = "/dashboard/organization/<org_id>/settings/verification"
    resource = "verification"

    @expose("")
    @expose("/")
    @page("verification")
    def index(self) -> Any:
        row = organizations.current(db.session())
        return self.render(
            "organizations/verification.html",
            title="Verification",
            organization=row,
            stage=verification.stage(row),
            thread=verification.thread(db.session(), row.id),
            may_write=matrix.can("write", "verification") and org_status.writable(row.status),
        )

    @expose("/answer", methods=["POST"])
    @page("verification", "write")
    def answer(self) -> Any:
        verification.answer(db.session(), request.form.get("message", ""))
        flash("Sent. You are back in the queue; a mail tells you as soon as it is decided.", "success")
        return redirect(url_for("VerificationThreadPage.index"))

    @expose("/resubmit", methods=["POST"])
    @page("verification", "write")
    def resubmit(self) -> Any:
        lifecycle.resubmit(db.session(), request.form.get("message", ""))
        flash("Sent for verification again. You will get a mail as soon as it is decided.", "success")
        return redirect(url_for("VerificationThreadPage.index"))


def register(appbuilder: Any) -> None:
    """Register the pages; they are reached from the settings."""
    for view in (VerificationThreadPage, DeletionPage):
        appbuilder.add_view_no_menu(view())
