"""The form of a plan, for hosts and for independent experts."""

from __future__ import annotations

import re
import uuid
from typing import Any

from flask_appbuilder.forms import DynamicForm
from sqlalchemy import func, select
from wtforms import IntegerField, SelectField, StringField, TextAreaField, validators
from wtforms.fields.choices import SelectChoice

from app.errors import Invalid
from app.extensions import db
from app.models import ConsultantProfile, Plan, PlanType, User, Visibility
from app.services import plans
from app.views.forms import MoneyField, parse_bps
from app.views.service_view import REQUIRED, strip

TYPES = [
    SelectChoice("CONSULTATION", "Consultation"),
    SelectChoice("SUBSCRIPTION", "Subscription"),
    SelectChoice("WEBINAR", "Webinar"),
    SelectChoice("CLASS", "Class"),
]
OPTIONAL = validators.Optional()
SECTIONS: list[tuple[str, dict[str, Any]]] = [
    ("What it is", {"fields": ["type", "title", "category", "description"]}),
    (
        "Price and length",
        {
            "fields": ["price_paise", "tax_bps", "duration_minutes", "visibility"],
            "help": "Bookings made keep the price and terms they were made with.",
        },
    ),
    (
        "Sessions and seats",
        {
            "fields": ["total_sessions", "sessions_per_week", "max_participants"],
            "help": "Subscriptions have sessions, webinars have seats, classes have both.",
        },
    ),
    (
        "Trial",
        {
            "fields": ["trial_minutes", "trial_price_paise"],
            "help": "A first session once for each learner, of consultations and subscriptions. Leave empty for none.",
        },
    ),
    (
        "Shared with",
        {
            "fields": ["collaborators"],
            "help": "Other experts who deliver it with you. They take their share of the price; you keep the rest.",
        },
    ),
]
COLUMNS = [name for _, o in SECTIONS for name in o["fields"]]


class PlanForm(DynamicForm):
    """What every plan says; fields that do not belong to its type are ignored."""

    type = SelectField(
        "Type",
        choices=TYPES,
        default="CONSULTATION",
        description="One session at a time the learner picks; several, planned by the expert; one for many; several for many.",
    )
    title = StringField(
        "Title", [REQUIRED, validators.Length(3, 200)], filters=[strip], render_kw={"maxlength": 200}
    )
    category = SelectField(
        "Category", choices=[SelectChoice(c, c) for c in plans.CATEGORIES], default="General"
    )
    description = TextAreaField("Description", [validators.Length(max=5000)])
    price_paise = MoneyField("Price", [REQUIRED], description="Before GST.")
    tax_bps = SelectField(
        "GST",
        choices=[SelectChoice("1800", "18 %"), SelectChoice("500", "5 %"), SelectChoice("0", "Exempt")],
        coerce=int,
        default=1800,
    )
    duration_minutes = IntegerField(
        "Length",
        [REQUIRED, validators.NumberRange(5, 1440)],
        default=60,
        description="Minutes of one session.",
    )
    visibility = SelectField(
        "Seen by", choices=[SelectChoice(Visibility.ORG_ONLY.value, "Members of this organisation")]
    )
    total_sessions = IntegerField(
        "Sessions",
        [OPTIONAL, validators.NumberRange(1, 500)],
        description="In all, of a subscription or class.",
    )
    sessions_per_week = IntegerField(
        "A week at most", [OPTIONAL, validators.NumberRange(1, 21)], description="Of a subscription or class."
    )
    max_participants = IntegerField(
        "Seats", [OPTIONAL, validators.NumberRange(1, 100_000)], description="Of a webinar or class."
    )
    trial_minutes = IntegerField(
        "Length of the trial", [OPTIONAL, validators.NumberRange(5, 240)], description="Minutes."
    )
    trial_price_paise = MoneyField(
        "Price of the trial", [OPTIONAL], description="Before GST; 0 for a free trial."
    )
    collaborators = TextAreaField(
        "Collaborators",
        [validators.Length(max=1000)],
        description="One a line: the expert's address and their share, such as dev@experts.test 30 %.",
    )


def draft(form: Any) -> plans.Draft:
    """What *form* asks for. Raises Invalid for lines that name nobody."""
    kind = PlanType(form.type.data)
    return plans.Draft(
        title=form.title.data or "",
        price_paise=form.price_paise.data,
        description=form.description.data or "",
        category=form.category.data or "General",
        tax_bps=form.tax_bps.data,
        duration_minutes=form.duration_minutes.data,
        visibility=Visibility(form.visibility.data),
        type=kind,
        total_sessions=form.total_sessions.data,
        sessions_per_week=form.sessions_per_week.data,
        max_participants=form.max_participants.data,
        trial_price_paise=form.trial_price_paise.data,
        trial_minutes=form.trial_minutes.data,
        collaborators=_shares(form.collaborators.data or ""),
    )


def _shares(raw: str) -> list[tuple[uuid.UUID, int]]:
    """Lines of "address share" as (profile, bps). Raises Invalid."""
    out: list[tuple[uuid.UUID, int]] = []
    for line in raw.splitlines():
        if not line.strip():
            continue
        found = re.fullmatch(r"\s*(\S+@\S+?)[\s,:;]+([\d.]+)\s*%?\s*", line)
        try:
            bps = parse_bps(found[2]) if found else 0
        except ValueError:
            bps = 0
        key = None
        if found and bps:
            key = db.session.scalar(
                select(ConsultantProfile.public_id)
                .join(User, User.id == ConsultantProfile.user_id)
                .where(func.lower(User.email) == found[1].lower())
            )
        if key is None:
            raise Invalid({"collaborators": [f"“{line.strip()[:80]}” names no expert with a share."]})
        out.append((key, bps))
    return out


def fill(form: Any, plan: Plan) -> None:
    """Put what *plan* is into an unsent form; its type is fixed."""
    for name in (
        "title",
        "description",
        "price_paise",
        "tax_bps",
        "duration_minutes",
        "total_sessions",
        "sessions_per_week",
        "max_participants",
        "trial_minutes",
        "trial_price_paise",
        "category",
    ):
        form[name].data = getattr(plan, name)
    form.type.data, form.visibility.data = plan.type.value, plan.visibility.value
    others = [(e, bps) for e, bps in plans.shares(db.session(), plan) if e.id != plan.expert_id]
    form.collaborators.data = "\n".join(f"{e.user.email} {bps / 100:g} %" for e, bps in others)


def known_category(form: Any, plan: Plan | None) -> None:
    """A category from before the list stays possible."""
    if plan is not None and plan.category not in plans.CATEGORIES:
        form.category.choices = [SelectChoice(plan.category, plan.category), *form.category.choices]


def fixed_type(form: Any, plan: Plan) -> None:
    """The type of a plan stays."""
    form.type.choices = [c for c in TYPES if c.value == plan.type.value]
