"""The page where a member pays what their program did not cover; it may be left and opened again (chapter 2, CHARGE_MEMBER)."""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, g, redirect, url_for
from flask_appbuilder import expose
from sqlalchemy import select

from app.api.http import parse_id
from app.errors import DomainError
from app.extensions import db
from app.models import Appointment, Payment, PaymentStatus
from app.services import side_payments
from app.services.settlement import EVERYWHERE

from .pages import Page, personal_page


class SidePaymentPage(Page):
    """One overage of the reader's own."""

    route_base = "/dashboard/payments"
    class_permission_name = "self"
    default_view = "show"

    def _own(self, public_id: str) -> Payment:
        row = db.session.scalars(
            select(Payment).where(
                Payment.public_id == parse_id(public_id),
                Payment.user_id == g.identity.user.id,
                Payment.parent_payment_id.is_not(None),
                Payment.appointment_id.is_(None),
            ),
            execution_options=EVERYWHERE,
        ).one_or_none()
        if row is None:
            raise DomainError("NOT_FOUND")
        return row

    @expose("/<public_id>/pay", methods=["GET"])
    @personal_page
    def show(self, public_id: str) -> Any:
        payment = self._own(public_id)
        session = db.session()
        booking = session.scalars(
            select(Payment).where(Payment.id == payment.parent_payment_id), execution_options=EVERYWHERE
        ).one()
        appointment = session.scalars(
            select(Appointment).where(Appointment.id == booking.appointment_id), execution_options=EVERYWHERE
        ).one_or_none()
        names = {m["organization_id"]: m["name"] for m in g.memberships}
        return self.render(
            "booking/side_payment.html",
            title="Pay your part",
            payment=payment,
            overage=side_payments.event_of(session, payment),
            booking=booking,
            appointment=appointment,
            organization=names.get(payment.organization_id, "Your organisation"),
            open=payment.status in (PaymentStatus.PENDING, PaymentStatus.FAILED),
            late=payment.status == PaymentStatus.FAILED,
            paid=payment.status == PaymentStatus.SUCCEEDED,
        )

    @expose("/<public_id>/pay", methods=["POST"])
    @personal_page
    def pay(self, public_id: str) -> Any:
        payment = side_payments.order(
            db.session(), self._own(public_id).public_id, current_app.config["SETTINGS"]
        )
        if payment.status == PaymentStatus.SUCCEEDED or not payment.checkout_url:
            flash("This is paid already.", "info")
            return redirect(url_for("SidePaymentPage.show", public_id=public_id))
        return redirect(payment.checkout_url)


def register(appbuilder: Any) -> None:
    """Register the page; bookings, mails and the list of payments lead to it."""
    appbuilder.add_view_no_menu(SidePaymentPage())
