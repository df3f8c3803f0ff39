"""Our page before Razorpay's: what will be paid, and a form that opens the provider's hosted checkout.

Nothing of theirs runs on our pages: the browser goes to them with a form and comes back with another, which
``/webhooks/gateway/razorpay/return`` checks. Neither confirms anything; only a webhook or the sweep does.
"""

from __future__ import annotations

from typing import Any

from flask import abort, current_app, g, make_response, render_template, request, url_for
from flask_appbuilder import BaseView, expose

from app.errors import DomainError
from app.extensions import db
from app.gateways import open_gateway
from app.gateways.prefill import Prefill, prefill
from app.gateways.razorpay import RazorpayGateway
from app.security.headers import CSP

from .pages import open_page, safe_next


def _gateway() -> RazorpayGateway:
    gateway = open_gateway(current_app.config["SETTINGS"], db.session(), "razorpay")
    assert isinstance(gateway, RazorpayGateway)
    return gateway


class RazorpayPage(BaseView):  # type: ignore[misc]
    """An order at Razorpay. Whoever holds its address may pay it; only its own payer's details are filled in."""

    route_base = "/pay/razorpay"
    default_view = "checkout"
    class_permission_name = "razorpay-page"

    @expose("/<order_id>")
    @open_page
    def checkout(self, order_id: str) -> Any:
        try:
            order = _gateway().fetch_order(order_id[:80])
        except DomainError as error:
            if error.code == "GATEWAY_NOT_CONFIGURED":
                abort(404)
            raise
        if order is None:
            abort(404)
        settings = current_app.config["SETTINGS"]
        target = safe_next(request.args.get("next"), "/")
        identity = g.get("identity")
        user = identity.user if identity else None
        known = Prefill()
        if user is not None and str(user.public_id) == order.notes.get("user_id"):
            known = prefill(f"{user.first_name} {user.last_name}", user.email, user.phone)
        base = settings.razorpay_base_url.rstrip("/")
        page = render_template(
            "sandbox/razorpay.html",
            order=order,
            action=f"{base}/v1/checkout/embedded",
            key_id=settings.razorpay_key_id,
            name=settings.supplier_name,
            prefill=known,
            target=target,
            callback=f"{settings.base_url}{url_for('RazorpayReturn.come_back', order_id=order.order_id, next=target)}",
            cancel=f"{settings.base_url}{target}",
        )
        response = make_response(page)
        policy = {**CSP, "form-action": f"'self' {base}"}
        name = "Content-Security-Policy" + ("" if settings.enable_csp_enforce else "-Report-Only")
        response.headers[name] = "; ".join(f"{k} {v}" for k, v in policy.items())
        return response


def register(appbuilder: Any) -> None:
    """Register the page; without keys it answers 404."""
    appbuilder.add_view_no_menu(RazorpayPage())
