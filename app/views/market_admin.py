"""The marketplace in an organisation's console, and the platform's own desk of it."""

from __future__ import annotations

import uuid
from typing import Any

from flask import flash, redirect, request, url_for
from flask_appbuilder import expose
from flask_appbuilder.forms import DynamicForm
from sqlalchemy import select
from sqlalchemy.orm import joinedload
from wtforms import IntegerField, SelectField, StringField, validators
from wtforms.fields.choices import SelectChoice

from app.api.http import find, parse_id
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import (
    ConsultantProfile,
    CreditKind,
    DiscountCode,
    DiscountKind,
    ExpertStatus,
    Trial,
    User,
    WaitlistEntry,
)
from app.security.context import acting
from app.services import cancellation_policies, discounts, experts, referrals
from app.views.base import Rows, TenantView, action
from app.views.base import page as sidebar
from app.views.base import register as add
from app.views.forms import LocalDateTimeField, MoneyField, parse_bps, parse_rupees

from .pages import OrgPage, Page, page, platform_page
from .service_view import REQUIRED, ServiceView, strip

OPTIONAL = validators.Optional()


class TrialsView(TenantView):
    """Trials that members asked for in the organisation's name; they pay themselves."""

    datamodel = Rows(Trial)
    resource = "trials"
    icon, menu, title, one = "hand-helping", "Operations", "Trials", "trial"
    list_columns = ["plan_id", "learner_user_id", "expert_user_id", "status", "starts_at", "price_paise"]
    show_fieldsets = [
        (
            "Trial",
            {
                "fields": [
                    "price_paise",
                    "plan_id",
                    "learner_user_id",
                    "expert_user_id",
                    "starts_at",
                    "ends_at",
                    "note",
                ]
            },
        ),
        ("About", {"fields": ["status", "pay_by", "decided_at", "created_at"], "side": True}),
    ]
    search_columns = ["status", "starts_at"]
    labels = {
        "plan_id": "Plan",
        "learner_user_id": "Learner",
        "expert_user_id": "Expert",
        "starts_at": "Begins",
        "ends_at": "Ends",
        "price_paise": "Price",
        "pay_by": "To be paid by",
        "decided_at": "Decided",
    }
    phone = ("plan_id", "status", "learner_user_id", "starts_at")
    empty = (
        "No trials yet",
        "Trials that members ask for in the organisation's name are listed here. They pay them themselves.",
    )


class WaitlistView(TenantView):
    """Members who wait for a seat at an event."""

    datamodel = Rows(WaitlistEntry)
    resource = "waitlist"
    icon, menu, title, one = "hourglass", "Operations", "Waitlist", "place in line"
    list_columns = ["event_id", "user_id", "status", "joined_at", "expires_at"]
    show_fieldsets = [
        ("Place in line", {"fields": ["event_id", "user_id", "joined_at", "notified_at", "expires_at"]}),
        ("About", {"fields": ["status", "priority"], "side": True}),
    ]
    search_columns = ["status", "joined_at"]
    labels = {
        "event_id": "Event",
        "user_id": "Person",
        "joined_at": "Waiting since",
        "notified_at": "Asked",
        "expires_at": "Kept until",
    }
    phone = ("event_id", "status", "user_id", "joined_at")
    empty = ("Nobody waits", "Members who wait for a seat at a full webinar or class are listed here.")


LIMITS = ("most_paise", "minimum_paise", "max_uses", "per_person", "expires_at")


def limit_values(form: Any) -> dict[str, Any]:
    """The limits a form asks for; no minimum is 0."""
    return {name: form[name].data for name in LIMITS} | {"minimum_paise": form.minimum_paise.data or 0}


class DiscountForm(DynamicForm):
    code = StringField(
        "Code",
        [REQUIRED, validators.Length(3, 32)],
        filters=[strip],
        render_kw={"maxlength": 32},
        description="Capital letters, digits and hyphens.",
    )
    kind = SelectField(
        "Takes off",
        choices=[SelectChoice("PERCENTAGE", "A share of the price"), SelectChoice("FLAT", "A fixed amount")],
    )
    value = StringField(
        "How much", [REQUIRED], description="Per cent of a share (12.5), rupees of an amount."
    )
    most_paise = MoneyField("At most", [OPTIONAL], description="Of a share; empty for no limit.")
    minimum_paise = MoneyField("Orders from", [OPTIONAL], description="The price before GST; empty for all.")
    max_uses = IntegerField(
        "Uses in all", [OPTIONAL, validators.NumberRange(1, 1_000_000)], description="Empty: no limit."
    )
    per_person = IntegerField(
        "Uses of one person", [OPTIONAL, validators.NumberRange(1, 1000)], description="Empty: no limit."
    )
    expires_at = LocalDateTimeField("Valid until", [OPTIONAL])


class LimitsForm(DiscountForm):
    """What may change of a code that people know."""

    code = kind = value = None


def discount_values(form: Any) -> dict[str, Any]:
    """What a discount form asks for. Raises Invalid for an amount that is none."""
    kind = DiscountKind(form.kind.data)
    try:
        value = (
            parse_bps(form.value.data) if kind == DiscountKind.PERCENTAGE else parse_rupees(form.value.data)
        )
    except ValueError as error:
        raise Invalid({"value": [str(error).capitalize() + "."]}) from None
    return {
        "code": form.code.data or "",
        "kind": kind,
        "value": value,
        **limit_values(form),
    }


class DiscountsView(ServiceView):
    """Codes a host gives out for its own plans."""

    datamodel = Rows(DiscountCode)
    resource = "discount-codes"
    icon, menu, title, one = "tag", "Commerce", "Discount codes", "discount code"
    when = staticmethod(lambda org: org["can_host"])
    list_columns = ["code", "kind", "value", "used_count", "max_uses", "expires_at", "active"]
    show_fieldsets = [
        (
            "Code",
            {
                "fields": [
                    "code",
                    "kind",
                    "value",
                    "most_paise",
                    "minimum_paise",
                    "max_uses",
                    "used_count",
                    "per_person",
                ]
            },
        ),
        ("About", {"fields": ["active", "expires_at", "created_at"], "side": True}),
    ]
    search_columns = ["kind", "active"]
    quick_search = ("code",)
    labels = {
        "used_count": "Used",
        "max_uses": "Of",
        "per_person": "A person at most",
        "most_paise": "At most",
        "minimum_paise": "Orders from",
        "expires_at": "Valid until",
        "active": "In use",
        "value": "Basis points or paise",
    }
    phone = ("code", "used_count", "kind", "active")
    base_order = ("created_at", "desc")
    empty = (
        "No codes yet",
        "A code lowers the price for people who book for themselves. You give up no share of it.",
    )
    add_columns = [
        "code",
        "kind",
        "value",
        "most_paise",
        "minimum_paise",
        "max_uses",
        "per_person",
        "expires_at",
    ]
    add_fieldsets = [
        ("Code", {"fields": ["code", "kind", "value", "most_paise"]}),
        ("Limits", {"fields": ["minimum_paise", "max_uses", "per_person", "expires_at"]}),
    ]

    edit_columns = list(LIMITS)
    edit_fieldsets = [
        (
            "Limits",
            {"fields": list(LIMITS), "help": "What it takes off stays as people were told."},
        )
    ]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include_route_methods |= {"edit"}

    def _init_forms(self) -> None:
        self.add_form, self.edit_form = DiscountForm, LimitsForm

    def can_edit(self, item: Any) -> bool:
        return self.may("write") and bool(item.active)

    def update(self, item: Any, form: Any) -> None:
        self.open_gate()
        discounts.change(db.session(), item, **limit_values(form))

    def create(self, form: Any) -> Any:
        self.open_gate()
        return discounts.create(db.session(), **discount_values(form))

    @action(
        "end",
        "End",
        icon="ban",
        multiple=True,
        confirm="Nobody can use it any more.",
        when=lambda c: c.active,
    )
    def end(self, items: list[Any]) -> str:
        self.open_gate()
        for item in items:
            discounts.switch(db.session(), item, False)
        return "Ended."


class PoliciesPage(OrgPage):
    """Cancellation terms: the version in force, what it means, and the next one."""

    route_base = "/dashboard/organization/<org_id>/cancellation-terms"
    resource = "cancellation-policies"

    @expose("/", methods=["GET"])
    @page("cancellation-policies", "read")
    def index(self) -> Any:
        rows = cancellation_policies.versions(db.session())
        tiers = rows[0].tiers if rows else list(cancellation_policies.STANDARD)
        return self._show(rows, [(str(t["hours"]), f"{t['refund_bps'] / 100:g}") for t in tiers], "", "")

    @expose("/publish", methods=["POST"])
    @page("cancellation-policies", "write", active=True)
    def publish(self) -> Any:
        form = request.form
        given = [(form.get(f"hours{n}", "").strip(), form.get(f"share{n}", "").strip()) for n in range(6)]
        try:
            tiers = [_tier(hours, share) for hours, share in given if hours or share]
            row = cancellation_policies.publish(db.session(), tiers, form.get("note", ""))
        except Invalid as error:
            db.session.rollback()
            problem = " ".join(p for problems in error.fields.values() for p in problems)
            return self._show(
                cancellation_policies.versions(db.session()), given, form.get("note", ""), problem
            ), 422
        flash(f"Version {row.version} is published. It holds for bookings made from now on.", "success")
        return redirect(url_for("PoliciesPage.index"))

    def _show(self, rows: Any, given: list[tuple[str, str]], note: str, problem: str) -> Any:
        return self.render(
            "offering/policies.html",
            title="Cancellation terms",
            rows=rows,
            given=[*given, *[("", "")] * (6 - len(given))],
            note=note,
            problem=problem,
            standard=cancellation_policies.STANDARD,
        )


def _tier(hours: str, share: str) -> dict[str, int]:
    """One step as typed. Raises Invalid."""
    try:
        if not (hours.isascii() and hours.isdigit() and len(hours) < 6):
            raise ValueError
        return {"hours": int(hours), "refund_bps": parse_bps(share)}
    except ValueError:
        raise Invalid({"tiers": ["Each step has hours of notice and a share in per cent."]}) from None


class PromotionsPage(Page):
    """The platform's codes, the credit it gives, and the experts it verifies."""

    route_base = "/admin/marketplace"
    resource = "promotions"

    @expose("/")
    @platform_page("promotions", "read")
    def index(self) -> Any:
        return self._show(DiscountForm(formdata=None))

    @expose("/codes", methods=["POST"])
    @platform_page("promotions", "write")
    def create(self) -> Any:
        form = DiscountForm(formdata=request.form)
        if form.validate():
            try:
                row = discounts.create(db.session(), **discount_values(form))
            except Invalid as error:
                db.session.rollback()
                for name, problems in error.fields.items():
                    form[name].errors = [*form[name].errors, *problems]
            else:
                flash(f"{row.code} can be used: {discounts.said(row)}.", "success")
                return redirect(url_for("PromotionsPage.index"))
        return self._show(form), 422

    @expose("/codes/<public_id>/end", methods=["POST"])
    @platform_page("promotions", "write")
    def end(self, public_id: str) -> Any:
        with acting(db.session(), scope="platform"):
            row = find(DiscountCode, public_id)
        if row.organization_id is not None:
            raise DomainError("NOT_FOUND")
        discounts.switch(db.session(), row, False)
        flash(f"{row.code} is ended.", "success")
        return redirect(url_for("PromotionsPage.index"))

    @expose("/credit", methods=["POST"])
    @platform_page("promotions", "write")
    def credit(self) -> Any:
        form = request.form
        person = db.session.scalars(
            select(User).where(User.email == form.get("email", "").strip().lower()[:200])
        ).one_or_none()
        if person is None:
            raise DomainError("USER_NOT_FOUND")
        try:
            kind, paise = CreditKind(form.get("kind", "")), parse_rupees(form.get("amount", ""))
        except ValueError:
            raise Invalid({"amount": ["Enter an amount in rupees."]}) from None
        row = referrals.grant(db.session(), person.public_id, kind, paise, form.get("reason", ""))
        flash(f"{person.name} has {row.amount_paise / 100:,.2f} rupees of credit more.", "success")
        return redirect(url_for("PromotionsPage.index"))

    @expose("/experts/<public_id>/<step>", methods=["POST"])
    @platform_page("promotions", "write")
    def expert(self, public_id: str, step: str) -> Any:
        """Verify an expert, or take the verification back."""
        if step not in ("verify", "unverify"):
            raise DomainError("NOT_FOUND")
        row = experts.decide(db.session(), parse_id(public_id), step == "verify")
        flash(f"{row.user.name} is {'verified' if step == 'verify' else 'no longer verified'}.", "success")
        return redirect(url_for("PromotionsPage.index"))

    def _show(self, form: DiscountForm) -> Any:
        waiting = db.session.scalars(
            select(ConsultantProfile)
            .where(ConsultantProfile.verification_status == ExpertStatus.UNVERIFIED)
            .options(joinedload(ConsultantProfile.user))
            .order_by(ConsultantProfile.created_at, ConsultantProfile.id)
            .limit(50)
        ).all()
        with acting(db.session(), org_id=None):
            codes = discounts.listed(db.session())
        return self.render(
            "offering/promotions.html",
            title="Marketplace",
            form=form,
            codes=codes,
            said={c.id: discounts.said(c) for c in codes},
            waiting=waiting,
            kinds=[
                (k.value, k.value.title())
                for k in (CreditKind.COMPENSATION, CreditKind.PROMOTION, CreditKind.MANUAL)
            ],
            key=str(uuid.uuid4()),
        )


def register(appbuilder: Any) -> None:
    """Put the lists into the console, the desk into the staff's."""
    for view in (TrialsView, WaitlistView, DiscountsView):
        add(appbuilder, view)
    sidebar(
        appbuilder,
        PoliciesPage(),
        group="Configuration",
        label="Cancellation terms",
        resource="cancellation-policies",
        icon="calendar-x",
        keywords="refund policy notice",
    )
    sidebar(
        appbuilder,
        PromotionsPage(),
        group="Platform",
        label="Marketplace",
        resource="promotions",
        icon="store",
        scope="platform",
        keywords="discount codes credit experts verify promotion",
    )
