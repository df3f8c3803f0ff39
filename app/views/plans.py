"""An organisation's own catalogue, and the sessions it pays for."""

from __future__ import annotations

import uuid
from typing import Any

from flask import g
from wtforms import SelectField
from wtforms.fields.choices import SelectChoice

from app.extensions import db
from app.models import Appointment, Plan, Visibility
from app.services import catalogue, events, owners, plans
from app.services.offers import EVENTS
from app.views.base import Rows, TenantView, action
from app.views.service_view import REQUIRED, ServiceView

from .plan_forms import COLUMNS, SECTIONS, PlanForm, draft, fill, fixed_type, known_category


class OrgPlanForm(PlanForm):
    """A plan of an organisation names its expert."""

    expert_id = SelectField("Expert", [REQUIRED])


class PlansView(ServiceView):
    """The organisation's own catalogue."""

    datamodel = Rows(Plan)
    resource = "plans"
    icon, menu, title, one = "store", "Commerce", "Plans", "plan"
    list_columns = ["title", "type", "category", "price_paise", "duration_minutes", "visibility", "active"]
    show_fieldsets = [
        (
            "Session",
            {
                "fields": [
                    "type",
                    "price_paise",
                    "tax_bps",
                    "duration_minutes",
                    "total_sessions",
                    "sessions_per_week",
                    "max_participants",
                    "trial_minutes",
                    "trial_price_paise",
                    "category",
                    "description",
                ]
            },
        ),
        (
            "About",
            {
                "fields": ["visibility", "active", "expert_id", "sac_code", "supply_model", "created_at"],
                "side": True,
            },
        ),
    ]
    search_columns = ["type", "category", "visibility", "active", "price_paise"]
    quick_search = ("title", "category")
    labels = {
        "tax_bps": "GST",
        "duration_minutes": "Minutes",
        "visibility": "Seen by",
        "active": "Offered",
        "expert_id": "Expert",
        "sac_code": "SAC",
        "total_sessions": "Sessions",
        "sessions_per_week": "A week at most",
        "max_participants": "Seats",
        "trial_minutes": "Trial, minutes",
        "trial_price_paise": "Price of the trial",
    }
    kinds = {"description": "long"}
    phone = ("title", "price_paise", "category", "active")
    base_order = ("created_at", "desc")
    empty = ("No plans yet", "A plan is what members can book: an expert, a length and a price.")
    form_template = "offering/plan_form.html"
    show_template = "offering/plan_show.html"
    add_columns = ["expert_id", *COLUMNS]
    edit_columns = COLUMNS
    add_fieldsets = [
        (
            "Expert",
            {"fields": ["expert_id"], "help": "An active member with an expert profile delivers it."},
        ),
        *SECTIONS,
    ]
    edit_fieldsets = SECTIONS

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include_route_methods |= {"edit"}

    def _init_forms(self) -> None:
        self.add_form, self.edit_form = plan_choices, changed_plan

    def can_edit(self, item: Any) -> bool:
        return self.may("write")

    def create(self, form: Any) -> Any:
        self.open_gate()
        return plans.create(db.session(), draft(form), uuid.UUID(form.expert_id.data))

    def update(self, item: Any, form: Any) -> None:
        self.open_gate()
        plans.change(db.session(), owners.plan(db.session(), item.public_id), draft(form))

    def detail(self, item: Any) -> dict[str, Any]:
        """What the plan's page shows beside its columns."""
        plan = owners.plan(db.session(), item.public_id)
        found = events.of_plan(db.session(), plan) if plan.type in EVENTS else []
        return {
            "plan": plan,
            "events": found,
            "taken": events.taken(db.session(), found),
            "shares": plans.shares(db.session(), plan),
            "booked": plans.booked(db.session(), plan),
        }

    @action(
        "withdraw",
        "Withdraw",
        icon="eye-off",
        multiple=True,
        confirm="Nobody can book it any more. Bookings made stay.",
        when=lambda p: p.active,
    )
    def withdraw(self, items: list[Any]) -> str:
        self.open_gate()
        for item in items:
            plans.set_active(db.session(), owners.plan(db.session(), item.public_id), False)
        return "Withdrawn from the catalogue."

    @action("offer", "Offer again", icon="eye", multiple=True, when=lambda p: not p.active)
    def offer(self, items: list[Any]) -> str:
        self.open_gate()
        for item in items:
            plans.set_active(db.session(), owners.plan(db.session(), item.public_id), True)
        return "Offered again."


def plan_choices(**kw: Any) -> OrgPlanForm:
    """The plan form with the organisation's experts, and the public choice for hosts only."""
    form = OrgPlanForm(**kw)
    form.expert_id.choices = [
        SelectChoice(str(key), name if status == "VERIFIED" else f"{name} (not verified yet)")
        for key, name, status in catalogue.organization_experts(db.session())
    ]
    _public(form)
    return form


def changed_plan(formdata: Any = None, obj: Any = None, **kw: Any) -> PlanForm:
    """The plan form of a plan that stands; expert and type stay."""
    form = PlanForm(formdata=formdata, **kw)
    known_category(form, obj)
    fixed_type(form, obj)
    _public(form)
    if formdata is None:
        fill(form, obj)
    return form


def _public(form: Any) -> None:
    if (g.get("org") or {}).get("can_host"):
        form.visibility.choices = [
            *form.visibility.choices,
            SelectChoice(Visibility.PUBLIC.value, "Everybody"),
        ]


class AppointmentsView(TenantView):
    """Sessions that the organisation pays for."""

    datamodel = Rows(Appointment)
    resource = "appointments"
    icon, menu, title, one = "calendar-days", "Operations", "Appointments", "appointment"
    list_columns = ["title", "learner_user_id", "expert_user_id", "status", "starts_at"]
    show_fieldsets = [
        ("Session", {"fields": ["starts_at", "ends_at", "learner_user_id", "expert_user_id", "plan_id"]}),
        ("About", {"fields": ["status", "created_at"], "side": True}),
    ]
    search_columns = ["status", "starts_at"]
    quick_search = ("title",)
    labels = {
        "learner_user_id": "Learner",
        "expert_user_id": "Expert",
        "starts_at": "Starts",
        "ends_at": "Ends",
        "plan_id": "Plan",
    }
    phone = ("title", "status", "learner_user_id", "starts_at")
    base_order = ("starts_at", "desc")
    empty = (
        "No appointments yet",
        "Sessions appear here as soon as a member books one on the organisation's money.",
    )
