"""/admin/style-guide: every building block of the console, alive."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import abort, flash, jsonify, redirect, request
from flask_appbuilder import BaseView, expose
from flask_wtf import FlaskForm
from wtforms import BooleanField, DateField, FileField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import Email, InputRequired, Length

from app import clock
from app.security.matrix import can
from app.views.forms import BpsField, JSONField, LocalDateTimeField, MoneyField


class SampleForm(FlaskForm):  # type: ignore[misc]
    """One field of each kind."""

    title = StringField(
        "Title", [InputRequired("Please give it a title."), Length(max=80)], description="Shown on documents."
    )
    email = StringField(
        "Billing e-mail", [InputRequired("Please fill this in."), Email("This is not an e-mail address.")]
    )
    amount = MoneyField("Amount", [InputRequired("Enter an amount.")], description="In rupees, GST included.")
    fee = BpsField("Platform fee", description="Share of the amount before GST.")
    starts_on = DateField("Starts on")
    closes_at = LocalDateTimeField("Closes at", description="In your own time zone.")
    kind = SelectField(
        "Kind", choices=[SelectChoice("credit", "Credit pool"), SelectChoice("seat", "Licensed seat")]
    )
    state = SelectField(
        "GST state", choices=[SelectChoice(f"{n:02d}", f"State {n:02d}") for n in range(1, 30)]
    )
    notify = BooleanField("Tell the finance leads", description="One mail, at once.")
    details = JSONField("Details")
    notes = TextAreaField("Notes")
    file = FileField("Attachment")


class StyleGuide(BaseView):  # type: ignore[misc]
    """The living catalogue."""

    route_base = "/admin/style-guide"
    class_permission_name = "style-guide"
    default_view = "index"

    def _gate(self) -> Any:
        from . import to_sign_in

        gone = to_sign_in()
        if gone is None and not can("read", "style-guide"):
            abort(404)
        return gone

    @expose("/", methods=["GET", "POST"])
    def index(self) -> Any:
        gone = self._gate()
        if gone is not None:
            return gone
        form = SampleForm(
            data=None
            if request.method == "POST"
            else {
                "title": "Mentoring for team leads",
                "amount": 11800000,
                "fee": 1250,
                "starts_on": clock.today_ist(),
                "details": {"seats": 12},
            }
        )
        if form.validate_on_submit():
            flash("The form was fine. Nothing was stored.", "success")
            return redirect(request.path)
        now = clock.now()
        events = [
            {
                "text": "Purchase order approved",
                "actor": "Maya Iyer",
                "at": now - dt.timedelta(minutes=4),
                "changes": [("Status", "Draft", "Active"), ("Total", "₹1,00,000.00", "₹1,18,000.00")],
            },
            {"text": "Reminder sent", "actor": None, "at": now - dt.timedelta(days=1), "changes": []},
            {
                "text": "Purchase order created",
                "actor": "Arjun Rao",
                "at": now - dt.timedelta(days=40),
                "changes": [],
            },
        ]
        return self.render_template(
            "console/style_guide.html", title="Style guide", form=form, events=events, now=now
        )

    @expose("/state.json")
    def state(self) -> Any:
        if self._gate() is not None:
            abort(401)
        second = int(clock.now().timestamp()) % 20
        return jsonify(
            value=second * 5, max=100, label=f"Rolling up payment {second * 12} of 240", done=second >= 19
        )

    @expose("/toast", methods=["POST"])
    def toast(self) -> Any:
        from . import flash_undo

        gone = self._gate()
        if gone is not None:
            return gone
        if request.form.get("confirm_word", "acme") != "acme":
            flash("The confirmation did not match; nothing was done.", "danger")
        elif request.form.get("kind") == "undo":
            flash_undo("Program archived.", "/admin/style-guide/toast")
        else:
            flash("Done. (Nothing was changed.)", "success")
        return redirect("/admin/style-guide/")
