"""Rate cards of a host in the console."""

from __future__ import annotations

from typing import Any

from flask_appbuilder.forms import DynamicForm
from wtforms import DecimalField, validators

from app.extensions import db
from app.models import PlanType, RateCard
from app.services import rates
from app.views.base import Rows
from app.views.base import register as add
from app.views.forms import ChoiceField

from .service_view import REQUIRED, ServiceView

PERCENT = [REQUIRED, validators.NumberRange(0, 100, message="Between 0 and 100 %.")]


class RateCardForm(DynamicForm):
    plan_type = ChoiceField("For", PlanType, optional=True, description="Empty: every kind of session.")
    platform = DecimalField("Platform, %", PERCENT, default=10, description="At least 10 %.")
    org = DecimalField("Organisation, %", PERCENT, default=10)
    consultant = DecimalField("Expert, %", PERCENT, default=80, description="The three add up to 100 %.")


class RateCardsView(ServiceView):
    """Which share of a session's price goes to whom, now and before."""

    datamodel = Rows(RateCard)
    resource = "rate-cards"
    icon, menu, title, one = "percent", "Commerce", "Rate cards", "rate card"
    list_columns = [
        "plan_type",
        "platform_bps",
        "org_bps",
        "consultant_bps",
        "effective_from",
        "effective_to",
    ]
    show_fieldsets = [
        ("Shares", {"fields": ["plan_type", "platform_bps", "org_bps", "consultant_bps"]}),
        ("In force", {"fields": ["effective_from", "effective_to", "created_at"], "side": True}),
    ]
    search_columns = ["plan_type"]
    labels = {
        "plan_type": "Kind of session",
        "platform_bps": "Platform",
        "org_bps": "Organisation",
        "consultant_bps": "Expert",
        "effective_from": "From",
        "effective_to": "Until",
    }
    base_order = ("effective_from", "desc")
    empty = (
        "The platform's standard applies",
        "10 % to the platform, 10 % to the organisation, 80 % to the expert. A card of your own changes that for the "
        "bookings made from then on.",
    )
    add_columns = ["plan_type", "platform", "org", "consultant"]

    def _init_forms(self) -> None:
        self.add_form = self.edit_form = RateCardForm

    def create(self, form: Any) -> Any:
        self.open_gate()
        shares = rates.Shares(*(int(f.data * 100) for f in (form.platform, form.org, form.consultant)))
        chosen = form.plan_type.data
        return rates.put(db.session(), shares, plan_type=PlanType(chosen) if chosen else None)


def register(appbuilder: Any) -> None:
    """Put the list into the console."""
    add(appbuilder, RateCardsView)
