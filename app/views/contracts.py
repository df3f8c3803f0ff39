"""Contracts: drafted, signed, amended, renewed and ended, with the chain they form."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import flash, g, has_request_context, redirect
from flask_appbuilder.forms import DynamicForm
from sqlalchemy import select
from wtforms import BooleanField, DateField, IntegerField, SelectField, StringField, validators
from wtforms.fields.choices import SelectChoice

from app import clock
from app.extensions import db
from app.models import Contract, ContractStatus, Cycle, LicenseModel, PurchaseOrder
from app.services import contract_ends, contracts, subscriptions, supersede
from app.services.text import amount_in
from app.views.base import Ask, Rows, action
from app.views.base import register as add
from app.views.forms import ChoiceField, MoneyField
from app.views.service_view import REQUIRED, ServiceView, strip

LICENSE = ("license_model", "license_fee_paise", "license_rate_per_seat_paise", "license_cycle")
CYCLES = [(c.value, c.value.title()) for c in Cycle]


class ContractForm(DynamicForm):
    title = StringField(
        "Title",
        [validators.Optional(), validators.Length(3, 200)],
        filters=[strip],
        render_kw={"maxlength": 200},
        description="How people call it. Empty: named after its first day.",
    )
    effective_from = DateField("First day", [REQUIRED])
    effective_to = DateField("Last day", [validators.Optional()], description="Empty: until it is ended.")
    payment_terms_days = IntegerField(
        "Payment terms", [REQUIRED, validators.NumberRange(1, 120)], default=30, description="Days, 1 to 120."
    )
    auto_renew = BooleanField(
        "Renew by itself at the end", default=True, description="As long again, on the same terms."
    )
    purchase_order_id = SelectField("Purchase order", [validators.Optional()], coerce=str, default="")
    license_model = ChoiceField(
        "Licence", LicenseModel, optional=True, description="A flat fee, or a price for each seat."
    )
    license_fee_paise = MoneyField(
        "Fee a cycle", [validators.Optional()], description="Of a flat fee, before GST."
    )
    license_rate_per_seat_paise = MoneyField(
        "Price a seat and cycle",
        [validators.Optional()],
        description="Of a price for each seat, before GST. A program may set its own.",
    )
    license_cycle = ChoiceField(
        "Licence cycle", Cycle, optional=True, description="Invoiced in advance, on its first day."
    )


def contract_form(**kw: Any) -> ContractForm:
    """The form as the organisation's way of paying needs it."""
    form = ContractForm(**kw)
    orders = db.session.scalars(
        select(PurchaseOrder)
        .where(PurchaseOrder.status == "ACTIVE")
        .order_by(PurchaseOrder.id.desc())
        .limit(100)
    )
    form.purchase_order_id.choices = [
        SelectChoice("", "None"),
        *(
            SelectChoice(str(p.id), f"{p.po_number}, {amount_in(p.currency.value, p.remaining_paise)} left")
            for p in orders
        ),
    ]
    return form


def _funding() -> str:
    return str((g.get("org") or {}).get("funding_source") or "")


def _licensed(item: Any) -> bool:
    return item.license_model is not None


class ContractsView(ServiceView):
    """The agreement behind programs; one is active at a time."""

    datamodel = Rows(Contract)
    resource = "contracts"
    icon, menu, title, one = "file-signature", "Commerce", "Contracts", "contract"
    list_columns = ["title", "status", "effective_from", "effective_to", "auto_renew", "signed_at"]
    show_template = "programs/contract.html"
    show_fieldsets = [
        ("Signature", {"fields": ["signed_at", "signed_by_user_id", "created_at"], "side": True}),
    ]
    search_columns = ["status", "effective_from", "effective_to", "license_model"]
    quick_search = ("title",)
    labels = {
        "effective_from": "First day",
        "effective_to": "Last day",
        "payment_terms_days": "Payment terms, days",
        "auto_renew": "Renews by itself",
        "purchase_order_id": "Purchase order",
        "signed_by_user_id": "Signed by",
        "ended_reason": "Why it ended",
        "license_model": "Licence",
    }
    saved = [("Active", "_flt_0_status=ACTIVE"), ("Drafts", "_flt_0_status=DRAFT")]
    phone = ("title", "status", "effective_from", "effective_to")
    related = ("ProgramsView",)
    base_order = ("created_at", "desc")
    empty = (
        "No contract yet",
        "A signed contract stands behind every program. Draft one, sign it, then create programs.",
    )
    add_columns = edit_columns = [
        "title",
        "effective_from",
        "effective_to",
        "payment_terms_days",
        "auto_renew",
        "purchase_order_id",
        *LICENSE,
    ]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include_route_methods |= {"edit"}

    def _init_forms(self) -> None:
        self.add_form = self.edit_form = contract_form

    @property
    def add_fieldsets(self) -> Any:
        """Payment terms are no matter of a licence account; licence fees only of those that are invoiced."""
        if not has_request_context():
            return None
        funding, terms = _funding(), ["auto_renew"]
        if funding != "LICENSE":
            terms.insert(0, "payment_terms_days")
        if (g.get("org") or {}).get("requires_po"):
            terms.append("purchase_order_id")
        out = [
            ("Contract", {"fields": ["title", "effective_from", "effective_to"]}),
            ("Terms", {"fields": terms, "help": "They lock when the contract is signed."}),
        ]
        if funding in ("LICENSE", "INVOICE"):
            needed = (
                "A licence account needs one." if funding == "LICENSE" else "Needed for programs of seats."
            )
            out.append(("Licence", {"fields": list(LICENSE), "help": f"What seats cost. {needed}"}))
        return out

    @add_fieldsets.setter
    def add_fieldsets(self, value: Any) -> None:
        """Flask-AppBuilder sets a default when it starts; ours is asked per request."""

    @property
    def edit_fieldsets(self) -> Any:
        return self.add_fieldsets

    @edit_fieldsets.setter
    def edit_fieldsets(self, value: Any) -> None:
        """See ``add_fieldsets``."""

    def prefill(self) -> dict[str, Any]:
        return {"effective_from": clock.today_ist()}

    def can_edit(self, item: Any) -> bool:
        return bool(item.status == ContractStatus.DRAFT)

    def _values(self, form: Any) -> dict[str, Any]:
        order = form.purchase_order_id.data
        return {
            "title": form.title.data or "",
            "effective_from": form.effective_from.data,
            "effective_to": form.effective_to.data,
            "payment_terms_days": form.payment_terms_days.data or 30,
            "auto_renew": form.auto_renew.data,
            "purchase_order_id": int(order) if order else None,
            "license_model": form.license_model.data,
            "license_fee_paise": form.license_fee_paise.data,
            "license_rate_per_seat_paise": form.license_rate_per_seat_paise.data,
            "license_cycle": form.license_cycle.data,
        }

    def create(self, form: Any) -> Any:
        self.open_gate()
        return contracts.create_contract(db.session(), **self._values(form))

    def update(self, item: Any, form: Any) -> None:
        self.open_gate()
        contracts.change(db.session(), item, self._values(form))

    def detail(self, item: Any) -> dict[str, Any]:
        """The chain, the licence, and what each step would do."""
        session, active = db.session(), item.status == ContractStatus.ACTIVE
        reasons = ["AMENDMENT", *(["RENEWAL"] if item.effective_to else [])]
        return {
            "chain": contracts.chain(session, item),
            "licence": subscriptions.of_contract(session, item),
            "standing": contract_ends.standing(session, item),
            "previews": {r: _dated(supersede.preview(session, item, r)) for r in reasons} if active else {},
            "today": clock.today_ist(),
            "order": session.get(PurchaseOrder, item.purchase_order_id) if item.purchase_order_id else None,
            "funding": _funding(),
        }

    def told_with(self, item: Any) -> list[Contract]:
        """A contract's history begins with the first of its chain."""
        return [c for c in contracts.chain(db.session(), item) if c.id != item.id]

    # ---- actions ---------------------------------------------------------------------------------------------------
    @action(
        "sign",
        "Sign",
        icon="file-check",
        primary=True,
        confirm="Its terms lock, its licence begins, and programs under it can pay for bookings.",
        when=lambda c: c.status == ContractStatus.DRAFT,
    )
    def sign(self, items: list[Any]) -> str:
        self.open_gate()
        for item in items:
            contracts.sign_contract(db.session(), item)
        return "Contract signed."

    @action(
        "renew",
        "Renew",
        icon="refresh-cw",
        confirm="A new contract, as long and on the same terms, follows the day after this one ends. Programs, places and "
        "the licence move to it; invoices stay here.",
        confirm_word="RENEW",
        when=lambda c: c.status == ContractStatus.ACTIVE and c.effective_to is not None,
    )
    def renew(self, items: list[Any]) -> Any:
        self.open_gate()
        new = [supersede.supersede(db.session(), item, "RENEWAL") for item in items]
        return f"Renewed: “{new[0].title}” runs to {new[0].effective_to:%d %B %Y}."

    @action(
        "amend",
        "Amend",
        icon="pencil",
        confirm="A new contract begins today and this one ends. Programs, places and the licence move to it; invoices stay "
        "here, and days of the licence that are paid but not used are credited on its first invoice. Empty: unchanged.",
        confirm_word="AMEND",
        asks=[
            Ask("effective_to", "New last day", "date"),
            Ask(
                "payment_terms_days", "Payment terms, days", "number", when=lambda c: _funding() != "LICENSE"
            ),
            Ask(
                "license_price",
                "Licence fee, or price a seat",
                "money",
                hint="A cycle, before GST.",
                when=_licensed,
            ),
            Ask(
                "license_cycle",
                "Licence cycle",
                "select",
                options=[("", "Unchanged"), *CYCLES],
                when=_licensed,
            ),
        ],
        when=lambda c: c.status == ContractStatus.ACTIVE,
    )
    def amend(
        self,
        items: list[Any],
        effective_to: Any,
        payment_terms_days: Any,
        license_price: Any,
        license_cycle: Any,
    ) -> str:
        self.open_gate()
        for item in items:
            price = (
                "license_fee_paise"
                if item.license_model == LicenseModel.FLAT_FEE
                else "license_rate_per_seat_paise"
            )
            asked = {
                "effective_to": effective_to,
                "payment_terms_days": payment_terms_days,
                price: license_price,
                "license_cycle": license_cycle,
            }
            changes = {k: v for k, v in asked.items() if v not in (None, "")}
            supersede.supersede(db.session(), item, "AMENDMENT", changes)
        return "Amended: a new contract is active from today."

    @action(
        "renewal_off",
        "Stop renewing",
        icon="calendar-x",
        confirm="The contract ends with its last day: programs expire and places close. You can switch renewal on again.",
        when=lambda c: (
            c.status in (ContractStatus.DRAFT, ContractStatus.ACTIVE) and c.auto_renew and c.effective_to
        ),
    )
    def renewal_off(self, items: list[Any]) -> str:
        return self._renewal(items, False)

    @action(
        "renewal_on",
        "Renew by itself",
        icon="calendar-check",
        when=lambda c: c.status in (ContractStatus.DRAFT, ContractStatus.ACTIVE) and not c.auto_renew,
    )
    def renewal_on(self, items: list[Any]) -> str:
        return self._renewal(items, True)

    def _renewal(self, items: list[Any], on: bool) -> str:
        self.open_gate()
        for item in items:
            contracts.change(db.session(), item, {"auto_renew": on})
        return "It renews by itself." if on else "It ends with its last day."

    @action(
        "terminate",
        "Terminate",
        icon="ban",
        danger=True,
        confirm="The contract ends now for good: its programs expire and its licence ends. Places must be cancelled and "
        "invoices settled before.",
        confirm_word="TERMINATE",
        asks=[Ask("reason", "Reason", "textarea", max_length=300)],
        when=lambda c: c.status == ContractStatus.ACTIVE,
    )
    def terminate(self, items: list[Any], reason: Any) -> str:
        self.open_gate()
        for item in items:
            contract_ends.terminate(db.session(), item, reason or "")
        return "Contract terminated."

    @action(
        "delete",
        "Delete draft",
        icon="trash-2",
        danger=True,
        confirm="The draft is removed for good. No program stands under it.",
        when=lambda c: c.status == ContractStatus.DRAFT,
    )
    def discard(self, items: list[Any]) -> Any:
        self.open_gate()
        for item in items:
            contracts.remove(db.session(), item)
        flash("Draft deleted.", "success")
        return redirect(self.list_url())


def _dated(preview: dict[str, Any]) -> dict[str, Any]:
    """A preview with its days as dates, for the page."""
    days = ("effective_from", "effective_to")
    return {**preview, **{n: dt.date.fromisoformat(preview[n]) for n in days if preview[n]}}


def register(appbuilder: Any) -> None:
    """Put contracts into the console."""
    add(appbuilder, ContractsView)
