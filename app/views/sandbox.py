"""The sandbox provider's hosted pages: a stranger's pages, with their own brand and no console session."""

from __future__ import annotations

from typing import Any

from flask import abort, current_app, flash, redirect, render_template, url_for
from flask_appbuilder import BaseView, expose

from app.errors import DomainError
from app.extensions import db
from app.gateways import provider
from app.jobs.money import kick_gateway
from app.models import SandboxMandate, SandboxOrder

from . import pay, sandbox_staff
from .pages import open_page, safe_next


def _back(return_url: str) -> Any:
    base = current_app.config["SETTINGS"].base_url
    path = return_url.removeprefix(base) if return_url.startswith(base) else ""
    return redirect(safe_next(path, "/"))


class SandboxPage(BaseView):  # type: ignore[misc]
    """Pay, authenticate, decline or leave an order. Whoever holds its address may pay it, as at any provider."""

    route_base = "/sandbox/checkout"
    default_view = "checkout"
    class_permission_name = "sandbox-page"

    def _order(self, order_id: str) -> SandboxOrder:
        order = provider.find_order(db.session(), order_id)
        if order is None:
            abort(404)
        return order

    @expose("/<order_id>")
    @open_page
    def checkout(self, order_id: str) -> Any:
        return render_template("sandbox/checkout.html", order=self._order(order_id))

    @expose("/<order_id>/<any(pay, authenticate, decline, abandon):choice>", methods=["POST"])
    @open_page
    def choose(self, order_id: str, choice: str) -> Any:
        order = self._order(order_id)
        if choice == "abandon":
            return _back(order.return_url)
        acts = {"pay": provider.pay, "authenticate": provider.ask_authentication, "decline": provider.decline}
        try:
            acts[choice](db.session(), order_id)
            kick_gateway(db.session())
        except DomainError:
            flash("This order is already settled.", "info")
            return redirect(url_for("SandboxPage.checkout", order_id=order_id))
        if choice == "decline":
            flash("The bank declined the payment. Try another way of paying.", "danger")
        if choice != "pay":
            return redirect(url_for("SandboxPage.checkout", order_id=order_id))
        return _back(order.return_url)


class SandboxMandatePage(BaseView):  # type: ignore[misc]
    """Give or refuse a mandate. Whoever holds its address may, as at any provider."""

    route_base = "/sandbox/mandate"
    default_view = "mandate"
    class_permission_name = "sandbox-page"

    def _mandate(self, mandate_id: str) -> SandboxMandate:
        row = provider.find_mandate(db.session(), mandate_id)
        if row is None:
            abort(404)
        return row

    @expose("/<mandate_id>")
    @open_page
    def mandate(self, mandate_id: str) -> Any:
        return render_template("sandbox/mandate.html", mandate=self._mandate(mandate_id))

    @expose("/<mandate_id>/<any(confirm, reject, abandon):choice>", methods=["POST"])
    @open_page
    def choose(self, mandate_id: str, choice: str) -> Any:
        row = self._mandate(mandate_id)
        if choice != "abandon":
            try:
                provider.decide_mandate(
                    db.session(), mandate_id, "confirmed" if choice == "confirm" else "rejected"
                )
                kick_gateway(db.session())
            except DomainError:
                flash("This mandate is already decided.", "info")
                return redirect(url_for("SandboxMandatePage.mandate", mandate_id=mandate_id))
        return _back(row.return_url)


def register(appbuilder: Any) -> None:
    """The pages before a provider's; the sandbox's own exist outside production only."""
    pay.register(appbuilder)
    if not current_app.config["SETTINGS"].production:
        appbuilder.add_view_no_menu(SandboxPage())
        appbuilder.add_view_no_menu(SandboxMandatePage())
        sandbox_staff.register(appbuilder)
