"""Programs and places of an organisation: generated views that call services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import flash, g, has_request_context, redirect, request
from flask_appbuilder import expose, has_access
from flask_appbuilder.forms import DynamicForm
from flask_appbuilder.security.decorators import permission_name
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload
from sqlalchemy.orm.attributes import set_committed_value
from wtforms import (
    BooleanField,
    DateField,
    IntegerField,
    SelectField,
    SelectMultipleField,
    StringField,
    validators,
)
from wtforms.fields.choices import SelectChoice

from app.api.contracts import uuid_of
from app.api.http import check_gate
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import (
    Assignment,
    AssignmentStatus,
    ConsultantProfile,
    Contract,
    ContractStatus,
    Cycle,
    ExpertStatus,
    Membership,
    MembershipStatus,
    OrgRole,
    OverageBehavior,
    PlanType,
    PoolScope,
    Program,
    ProgramStatus,
    ProgramType,
    User,
)
from app.services import assignments, metering, programs
from app.views import contracts as contract_views
from app.views import format as f
from app.views.base import Rows, action
from app.views.base import register as add
from app.views.forms import BpsField, ChoiceField, MoneyField, RemoteSelectField, parse_date
from app.views.plans import AppointmentsView, PlansView
from app.views.service_view import REQUIRED, ServiceView, strip

MONEY_SECTIONS = {
    ProgramType.CREDIT_POOL: (
        "Credits",
        ["credits_per_cycle", "cycle", "pool_scope", "minimum_credits_per_period"],
    ),
    ProgramType.LICENSED_SEAT: (
        "Seats",
        ["covered_engagements_per_cycle", "cycle", "price_cap_per_engagement_paise", "rate_per_seat_paise"],
    ),
}
OVERAGE = ["overage_behavior", "overage_surcharge_bps", "max_overage_per_cycle_paise"]
COVER = ["covered_plan_types", "allowed_categories", "panel_expert_ids"]


class ProgramForm(DynamicForm):
    contract_id = SelectField("Contract", [validators.Optional()], coerce=int)
    type = SelectField(
        "Kind",
        choices=[
            SelectChoice(ProgramType.CREDIT_POOL.value, "Credit pool: credits to book with"),
            SelectChoice(ProgramType.LICENSED_SEAT.value, "Licensed seats: sessions to book"),
        ],
    )
    name = StringField(
        "Name", [REQUIRED, validators.Length(2, 200)], filters=[strip], render_kw={"maxlength": 200}
    )
    credits_per_cycle = IntegerField(
        "Credits per cycle",
        [validators.Optional(), validators.NumberRange(1, programs.MAX_CREDITS)],
        description="Of a credit pool. One credit is one rupee of price, before GST.",
    )
    minimum_credits_per_period = IntegerField(
        "Minimum credits per cycle",
        [validators.Optional(), validators.NumberRange(0, programs.MAX_CREDITS)],
        description="On invoice: what stays unused below it is billed when the cycle ends.",
    )
    cycle = ChoiceField("Cycle", Cycle)
    pool_scope = SelectField(
        "Pool",
        choices=[
            SelectChoice(PoolScope.PER_MEMBER.value, "Each member has these credits"),
            SelectChoice(PoolScope.SHARED.value, "All members share them"),
        ],
    )
    covered_engagements_per_cycle = IntegerField(
        "Sessions per cycle",
        [validators.Optional(), validators.NumberRange(1, programs.MAX_ENGAGEMENTS)],
        description="Of a seat. Empty: unlimited.",
    )
    price_cap_per_engagement_paise = MoneyField(
        "Most a session may cost",
        [validators.Optional()],
        description="What a seat absorbs of one session; the rest lies beyond the program. Empty: any price.",
    )
    rate_per_seat_paise = MoneyField(
        "Price a seat and cycle", [validators.Optional()], description="Empty: as the contract says."
    )
    overage_behavior = SelectField(
        "Beyond the program",
        default=OverageBehavior.BLOCK.value,
        validate_choice=False,
        choices=[
            SelectChoice(OverageBehavior.BLOCK.value, "Refuse the booking"),
            SelectChoice(OverageBehavior.CHARGE_ORG.value, "Charge the organisation"),
            SelectChoice(OverageBehavior.CHARGE_MEMBER.value, "Charge the member's card"),
        ],
    )
    overage_surcharge_bps = BpsField(
        "Surcharge, %", [validators.Optional()], description="On what lies beyond. Only where it is charged."
    )
    max_overage_per_cycle_paise = MoneyField(
        "Ceiling per cycle",
        [validators.Optional()],
        description="Most that is charged beyond the program in a cycle. Needed where it is charged.",
    )
    covered_plan_types = SelectMultipleField(
        "Kinds of session",
        [validators.Optional()],
        choices=[SelectChoice(p.value, f.words(p)) for p in PlanType],
        description="None chosen: every kind.",
    )
    allowed_categories = StringField(
        "Categories",
        [validators.Length(max=2000)],
        filters=[strip],
        description="Separated by commas. Empty: every category.",
    )
    panel_expert_ids = SelectMultipleField(
        "Experts",
        [validators.Optional()],
        coerce=int,
        description="The panel members may book from. None chosen: every expert.",
    )
    auto_enroll = BooleanField(
        "Give learners who join a place", description="Whoever joins as a learner is assigned at once."
    )
    force_overlap = BooleanField(
        "Allow it to overlap another program", description="The more specific program pays first."
    )


class ProgramsView(ServiceView):
    """What members may book on the organisation's money."""

    datamodel = Rows(Program)
    resource, path, gate = "programs-page", "programs", "programs"
    icon, menu, title, one = "layers", "Commerce", "Programs", "program"
    list_columns = ["name", "type", "status", "active_seat_count", "cycle", "overage_behavior"]
    show_template = "programs/program.html"
    method_permission_name = {"supersede": "write", "enrol": "write"}
    show_fieldsets = [
        (
            "About",
            {
                "fields": ["type", "status", "contract_id", "auto_enroll", "config_locked_at", "created_at"],
                "side": True,
            },
        ),
    ]
    search_columns = ["status", "type", "cycle", "contract_id"]
    quick_search = ("name",)
    labels = {
        "active_seat_count": "Members",
        "overage_behavior": "Beyond it",
        "covered_plan_types": "Kinds of session",
        "allowed_categories": "Categories",
        "contract_id": "Contract",
        "auto_enroll": "Enrols joiners",
        "config_locked_at": "Figures locked",
    }
    kinds = {"overage_behavior": "tag"}
    saved = [("Active", "_flt_0_status=ACTIVE")]
    phone = ("name", "status", "type", "active_seat_count")
    related = ("AssignmentsView",)
    base_order = ("created_at", "desc")
    empty = (
        "No program yet",
        "A program gives members credits or sessions to book with. Create one under a contract, then assign members.",
    )
    add_columns = [
        "contract_id",
        "type",
        "name",
        *(n for _, names in MONEY_SECTIONS.values() for n in names if n != "cycle"),
        "cycle",
        *OVERAGE,
        *COVER,
        "auto_enroll",
        "force_overlap",
    ]
    edit_columns = add_columns

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include_route_methods |= {"edit"}

    def _init_forms(self) -> None:
        self.add_form = self.edit_form = program_form

    @property
    def add_fieldsets(self) -> Any:
        """What the organisation's way of paying allows."""
        if not has_request_context():
            return None
        kinds = kinds_offered()
        out: list[tuple[str, dict[str, Any]]] = [
            (
                "Program",
                {"fields": ["contract_id", *(["type"] if len(kinds) > 1 else []), "name", "auto_enroll"]},
            )
        ]
        out += self._money(kinds)
        return [*out, ("Cover", {"fields": [*COVER, "force_overlap"]})]

    @add_fieldsets.setter
    def add_fieldsets(self, value: Any) -> None:
        """Flask-AppBuilder sets a default when it starts; ours is asked per request."""

    @property
    def edit_fieldsets(self) -> Any:
        """Figures only until the first place; what is covered always."""
        if not has_request_context():
            return None
        item = self._item()
        out: list[tuple[str, dict[str, Any]]] = [("Program", {"fields": ["name", "auto_enroll"]})]
        if item is not None and item.config_locked_at is None:
            out += self._money([item.type])
        return [*out, ("Cover", {"fields": [*COVER, "force_overlap"]})]

    @edit_fieldsets.setter
    def edit_fieldsets(self, value: Any) -> None:
        """See ``add_fieldsets``."""

    def _money(self, kinds: Sequence[ProgramType]) -> list[tuple[str, dict[str, Any]]]:
        out: list[tuple[str, dict[str, Any]]] = []
        for n, kind in enumerate(kinds):
            title, names = MONEY_SECTIONS[kind]
            help_ = f"Only for programs of {title.lower()}." if len(kinds) > 1 else ""
            out.append((title, {"fields": [x for x in names if x != "cycle" or n == 0], "help": help_}))
        charged = "What happens to a booking that the program does not cover whole."
        return [*out, ("Beyond the program", {"fields": OVERAGE, "help": charged})]

    def _item(self) -> Any:
        key = (request.view_args or {}).get("pk")
        return self.get(key) if key else None

    def prefill(self) -> dict[str, Any]:
        return {"cycle": Cycle.MONTHLY, "type": kinds_offered()[0].value}

    def can_edit(self, item: Any) -> bool:
        return item.status in (ProgramStatus.ACTIVE, ProgramStatus.PAUSED)

    def _figures(self, form: Any, kind: ProgramType) -> dict[str, Any]:
        names = MONEY_SECTIONS[kind][1]
        out = {n: form[n].data for n in (*names, *OVERAGE)}
        out["cycle"] = Cycle(out["cycle"])
        behavior = str(out["overage_behavior"] or OverageBehavior.BLOCK.value)
        if behavior not in OverageBehavior.__members__:
            raise Invalid({"overage_behavior": ["Choose one of the list."]})
        out["overage_behavior"] = OverageBehavior(behavior)
        out["overage_surcharge_bps"] = out["overage_surcharge_bps"] or 0
        if "pool_scope" in out:
            out["pool_scope"] = PoolScope(out["pool_scope"])
        return out

    def _covered(self, form: Any) -> dict[str, Any]:
        return {
            "covered_plan_types": form.covered_plan_types.data or [],
            "allowed_categories": (form.allowed_categories.data or "").split(","),
            "panel_expert_ids": form.panel_expert_ids.data or [],
            "auto_enroll": form.auto_enroll.data,
        }

    def create(self, form: Any) -> Any:
        self.open_gate()
        contract = db.session.scalars(
            select(Contract).where(Contract.id == (form.contract_id.data or -1))
        ).one_or_none()
        if contract is None:
            raise Invalid({"contract_id": ["Choose a contract; draft one first if there is none."]})
        kinds = kinds_offered()
        kind = ProgramType(form.type.data) if "type" in form else kinds[0]
        return programs.create_program(
            db.session(),
            contract,
            name=form.name.data,
            type=kind,
            force_overlap=form.force_overlap.data,
            **self._figures(form, kind),
            **self._covered(form),
        )

    def update(self, item: Any, form: Any) -> None:
        self.open_gate()
        figures = self._figures(form, item.type) if item.config_locked_at is None else {}
        programs.change(
            db.session(),
            item,
            {"name": form.name.data, **figures, **self._covered(form)},
            force_overlap=form.force_overlap.data,
        )

    def detail(self, item: Any) -> dict[str, Any]:
        session = db.session()
        used = session.execute(
            select(
                func.coalesce(func.sum(Assignment.consumed_paise), 0),
                func.coalesce(func.sum(Assignment.engagements_used), 0),
                func.coalesce(func.sum(Assignment.overage_paise), 0),
                func.coalesce(func.sum(Assignment.overage_count), 0),
            ).where(Assignment.program_id == item.id, Assignment.status == AssignmentStatus.ACTIVE)
        ).one()
        return {
            "used": used,
            "places": programs.live_places(session, item),
            "panel": [e.user.name for e in programs.panel(session, item)],
            "credit": metering.CREDIT_PAISE,
        }

    # ---- actions ---------------------------------------------------------------------------------------------------
    @action(
        "pause",
        "Pause",
        icon="ban",
        confirm="Nobody can book with it until it is resumed. Places and what was used stay.",
        when=lambda p: p.status == ProgramStatus.ACTIVE,
    )
    def pause(self, items: list[Any]) -> str:
        return self._status(items, ProgramStatus.PAUSED)

    @action(
        "resume",
        "Resume",
        icon="refresh-cw",
        primary=True,
        when=lambda p: p.status == ProgramStatus.PAUSED,
    )
    def resume(self, items: list[Any]) -> str:
        return self._status(items, ProgramStatus.ACTIVE)

    def _status(self, items: list[Any], status: ProgramStatus) -> str:
        self.open_gate()
        for item in items:
            programs.change(db.session(), item, {"status": status})
        return "Paused." if status == ProgramStatus.PAUSED else "Resumed."

    @action(
        "archive",
        "Archive",
        icon="archive",
        danger=True,
        confirm="It is put away for good. Members who hold places must be taken out before.",
        when=lambda p: p.status != ProgramStatus.ARCHIVED,
    )
    def archive(self, items: list[Any]) -> str:
        self.open_gate()
        for item in items:
            programs.archive(db.session(), item)
        return "Program archived."

    @expose("/supersede/<pk>", methods=["GET", "POST"])
    @has_access
    @permission_name("add")
    def supersede(self, pk: str) -> Any:
        """A copy with other figures takes the program's place; the form shows what stands now."""
        item = self.get(pk)
        if not self.can_edit(item):
            flash("Only a program that is active or paused can be superseded.", "warning")
            return redirect(self.item_url(item) or self.list_url())
        form = self.edit_form(formdata=request.form if request.method == "POST" else None, obj=item)
        problems: list[str] = []
        if request.method == "POST" and form.validate():
            try:
                check_gate(self.gate, "write", active=True)
                new, moved = programs.supersede(
                    db.session(),
                    item,
                    {"name": form.name.data, **self._figures(form, item.type), **self._covered(form)},
                )
                target = self.item_url(new)
                db.session.commit()
            except DomainError as error:
                db.session.rollback()
                named = error.details.get("fields", {}) if isinstance(error, Invalid) else {}
                for name, texts in named.items():
                    if name in form:
                        form[name].errors = [*form[name].errors, *texts]
                problems += [] if named else [error.message]
                item = self.get(pk)
            else:
                flash(f"{moved} {'place' if moved == 1 else 'places'} moved to the new program.", "success")
                return redirect(target or self.list_url())
        places = programs.live_places(db.session(), item)
        says = (
            f"A new program with these figures takes its place. {places} live "
            f"{'place moves' if places == 1 else 'places move'} to it with what was used; this one is archived."
        )
        sections = [
            ("Program", {"fields": ["name", "auto_enroll"], "help": says}),
            *self._money([item.type]),
            ("Cover", {"fields": COVER}),
        ]
        return self.render_template(
            self.form_template,
            title="Supersede the program",
            view=self,
            form=form,
            sections=sections,
            item=item,
            problems=problems,
            submit="Supersede",
            back=self.item_url(item),
        ), (422 if form.errors or problems else 200)

    @expose("/enrol/<pk>", methods=["GET", "POST"])
    @has_access
    @permission_name("add")
    def enrol(self, pk: str) -> Any:
        """Assign many members, each with a result of its own."""
        program, session = self.get(pk), db.session()
        results: dict[str, Any] | None = None
        if request.method == "POST":
            check_gate("assignments", "write", active=True)
            keys = list(dict.fromkeys(request.form.getlist("member")))[: assignments.MAX_ENROL]
            known = {str(m.public_id): m for m in self._members(keys)}
            names = {key: m.user.name for key, m in known.items()}
            day = request.form.get("period_start", "").strip()
            try:
                start = parse_date(day[:20]) if day else None
                results = assignments.enrol(session, program, [(k, known.get(k)) for k in keys], start)
                session.commit()
                program = self.get(pk)
            except (ValueError, DomainError) as error:
                session.rollback()
                flash(
                    "Choose at least one member." if not keys else str(getattr(error, "message", error)),
                    "danger",
                )
                program = self.get(pk)
            if results is not None:
                for row in results["results"]:
                    row["name"] = names.get(row["membership_id"], "Unknown")
        q = request.args.get("q", "").strip()[:100]
        return self.render_template(
            "programs/enrol.html",
            title="Assign members",
            view=self,
            program=program,
            results=results,
            q=q,
            candidates=self._candidates(program, q),
            most=assignments.MAX_ENROL,
            back=self.item_url(program),
        )

    def _members(self, keys: Sequence[str]) -> list[Membership]:
        wanted = [k for k in map(uuid_of, keys) if k]
        return list(
            db.session.scalars(
                select(Membership)
                .where(Membership.public_id.in_(wanted))
                .options(joinedload(Membership.user))
            )
        )

    def _candidates(self, program: Program, q: str) -> list[Membership]:
        """ACTIVE members without a live place in it, by name; learners first."""
        placed = select(Assignment.membership_id).where(
            Assignment.program_id == program.id,
            Assignment.status.in_((AssignmentStatus.ACTIVE, AssignmentStatus.PAUSED)),
        )
        statement = (
            select(Membership)
            .where(
                Membership.status == MembershipStatus.ACTIVE,
                Membership.role != OrgRole.EXPERT,
                Membership.id.not_in(placed),
            )
            .options(joinedload(Membership.user))
            .order_by((Membership.role != OrgRole.LEARNER), Membership.name_key, Membership.id)
            .limit(assignments.MAX_ENROL)
        )
        if q:
            like = q.lower()
            statement = statement.where(
                (func.strpos(Membership.name_key, like) > 0) | (func.strpos(Membership.email_key, like) > 0)
            )
        return list(db.session.scalars(statement))


def kinds_offered() -> list[ProgramType]:
    """The kinds of program that the organisation's way of paying reaches (2.4)."""
    funding = str((g.get("org") or {}).get("funding_source") or "")
    allowed = [
        kind
        for kind, sources in (
            (ProgramType.CREDIT_POOL, programs.POOL_FUNDING),
            (ProgramType.LICENSED_SEAT, programs.SEAT_FUNDING),
        )
        if funding in sources
    ]
    return allowed or [ProgramType.CREDIT_POOL]


def program_form(**kw: Any) -> ProgramForm:
    """The program form with the organisation's open contracts and the verified experts to choose from."""
    item = kw.get("obj")
    form = ProgramForm(**kw)
    kinds = [item.type] if item is not None else kinds_offered()
    if len(kinds) == 1:
        del form.type
    if ProgramType.CREDIT_POOL not in kinds:
        del form.pool_scope
    if (
        item is not None
        and item.config_locked_at is not None
        and not str(request.endpoint).endswith(".supersede")
    ):
        for name in ("cycle", "pool_scope", "overage_behavior"):
            if name in form:
                del form[name]
    rows = db.session.scalars(
        select(Contract)
        .where(Contract.status.in_([ContractStatus.ACTIVE, ContractStatus.DRAFT]))
        .order_by(Contract.status, Contract.created_at.desc())
        .limit(100)
    )
    form.contract_id.choices = [(c.id, f"{c.title} ({f.words(c.status).lower()})") for c in rows]
    experts = db.session.execute(
        select(ConsultantProfile.id, User.first_name, User.last_name, ConsultantProfile.domain)
        .join(User, User.id == ConsultantProfile.user_id)
        .where(
            (ConsultantProfile.verification_status == ExpertStatus.VERIFIED)
            | ConsultantProfile.id.in_(item.panel_expert_ids if item is not None else [])
        )
        .order_by(User.first_name, User.last_name, ConsultantProfile.id)
        .limit(500)
    )
    form.panel_expert_ids.choices = [
        SelectChoice(e.id, f"{e.first_name} {e.last_name}, {e.domain}") for e in experts
    ]
    if item is not None and kw.get("formdata") is None:
        form.allowed_categories.data = ", ".join(item.allowed_categories)
    return form


class AssignmentForm(DynamicForm):
    program_id = SelectField("Program", [REQUIRED], coerce=int)
    period_start = DateField("From", [validators.Optional()], description="Empty: from today, for one cycle.")


class AssignmentsView(ServiceView):
    """Members' places in programs, with what they used."""

    datamodel = Rows(Assignment, eager=("program", "membership"))
    resource = "assignments"
    icon, menu, title, one = "clipboard-check", "Commerce", "Assignments", "assignment"
    list_columns = [
        "membership_id",
        "program_id",
        "status",
        "period_start",
        "period_end",
        "consumed_paise",
        "engagements_used",
    ]
    show_fieldsets = [
        ("Use", {"fields": ["consumed_paise", "engagements_used", "overage_paise", "overage_count"]}),
        (
            "Place",
            {
                "fields": [
                    "membership_id",
                    "program_id",
                    "status",
                    "period_start",
                    "period_end",
                    "clamped",
                    "close_reason",
                    "rolled_to_id",
                    "created_at",
                ],
                "side": True,
            },
        ),
    ]
    search_columns = ["status", "program_id", "period_start", "period_end"]
    labels = {
        "membership_id": "Member",
        "program_id": "Program",
        "period_start": "From",
        "period_end": "Until",
        "consumed_paise": "Used",
        "engagements_used": "Sessions",
        "overage_paise": "Beyond the program",
        "overage_count": "Sessions beyond it",
        "clamped": "Cut off at the end of the term",
        "close_reason": "Why it closed",
        "rolled_to_id": "Next cycle",
    }
    phone = ("membership_id", "consumed_paise", "program_id", "status")
    base_order = ("created_at", "desc")
    empty = (
        "Nobody assigned yet",
        "Give members a place in a program, and the organisation pays for what they book.",
    )
    add_text = "Assign a member"
    add_columns = ["program_id", "membership_id", "period_start"]

    def _init_forms(self) -> None:
        member = RemoteSelectField(
            "Member", view=self, column="membership_id", model=Membership, validators=[REQUIRED]
        )
        self.form_class = type("AssignForm", (AssignmentForm,), {"membership_id": member})
        self.add_form = self.edit_form = self.program_choices

    def program_choices(self, **kw: Any) -> Any:
        """The form with the programs that take members now."""
        form = self.form_class(**kw)
        rows = db.session.scalars(
            select(Program)
            .join(Contract, Contract.id == Program.contract_id)
            .where(Program.status == "ACTIVE", Contract.status == ContractStatus.ACTIVE)
            .order_by(Program.name)
            .limit(200)
        )
        form.program_id.choices = [(p.id, p.name) for p in rows]
        return form

    def create(self, form: Any) -> Any:
        self.open_gate()
        program = db.session.scalars(select(Program).where(Program.id == form.program_id.data)).one_or_none()
        member = db.session.scalars(
            select(Membership)
            .where(Membership.id == form.membership_id.data)
            .options(joinedload(Membership.user))
        ).one_or_none()
        if program is None or member is None:
            raise DomainError("NOT_FOUND")
        row = assignments.assign(db.session(), program, member, form.period_start.data)[0]
        set_committed_value(row, "program", program)  # they name the row
        set_committed_value(row, "membership", member)
        return row

    @action(
        "cancel",
        "Cancel place",
        icon="user-minus",
        danger=True,
        multiple=True,
        confirm="The member can no longer book with this program. What was used stays used.",
        when=lambda a: a.status in (AssignmentStatus.ACTIVE, AssignmentStatus.PAUSED),
    )
    def cancel(self, items: list[Any]) -> str:
        self.open_gate()
        for item in items:
            assignments.cancel_assignment(db.session(), item)
        return "Place cancelled." if len(items) == 1 else f"{len(items)} places cancelled."


def register(appbuilder: Any) -> None:
    """Put the domain's views into the console."""
    contract_views.register(appbuilder)
    for view in (ProgramsView, AssignmentsView, PlansView, AppointmentsView):
        add(appbuilder, view)
