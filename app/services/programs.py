"""Programs (chapter 2, 2.4 matrix, 2.5): licensed seats and credit pools, what they cover, and their locked figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    Assignment,
    AuditCategory,
    ConsultantProfile,
    Contract,
    ContractStatus,
    Cycle,
    ExpertStatus,
    FundingSource,
    OverageBehavior,
    PlanType,
    PoolScope,
    Program,
    ProgramStatus,
    ProgramType,
)
from app.services import audit
from app.services.contracts import MAX_PAISE, account
from app.services.obligations import LIVE
from app.services.text import one_line

RESERVED_TYPES = frozenset({"PROJECT", "RETAINER", "RESELLER"})
POOL_FUNDING = frozenset({FundingSource.WALLET, FundingSource.INVOICE})
SEAT_FUNDING = frozenset({FundingSource.INVOICE, FundingSource.LICENSE})
MAX_CREDITS = 10**10
MAX_ENGAGEMENTS = 10_000
MAX_SURCHARGE = 100_000  # bps: ten times the price
MAX_PANEL = 200
# figures that the first place locks; the rest stays editable
MONEY = (
    "cycle",
    "credits_per_cycle",
    "minimum_credits_per_period",
    "pool_scope",
    "rate_per_seat_paise",
    "covered_engagements_per_cycle",
    "price_cap_per_engagement_paise",
    "overage_behavior",
    "overage_surcharge_bps",
    "max_overage_per_cycle_paise",
)
COVER = ("covered_plan_types", "allowed_categories", "panel_expert_ids")
OPEN = ("name", "status", "auto_enroll", *COVER)
DEFAULTS: dict[str, Any] = {
    "cycle": Cycle.MONTHLY,
    "credits_per_cycle": None,
    "minimum_credits_per_period": None,
    "pool_scope": PoolScope.PER_MEMBER,
    "rate_per_seat_paise": None,
    "covered_engagements_per_cycle": None,
    "price_cap_per_engagement_paise": None,
    "overage_behavior": OverageBehavior.BLOCK,
    "overage_surcharge_bps": 0,
    "max_overage_per_cycle_paise": None,
    "covered_plan_types": (),
    "allowed_categories": (),
    "panel_expert_ids": (),
    "auto_enroll": False,
}
_PLAIN: dict[str, Any] = {"synchronize_session": False}


# ---- rules -----------------------------------------------------------------------------------------------------------


def check_type(session: Session, kind: str, contract: Contract) -> ProgramType:
    """Raises PROGRAM_TYPE_NOT_AVAILABLE, Invalid, UNREACHABLE_FUNDING_PATH (2.4), LICENSE_ECONOMICS_REQUIRED."""
    if kind in RESERVED_TYPES:
        raise DomainError("PROGRAM_TYPE_NOT_AVAILABLE", type=kind)
    if kind not in ProgramType.__members__:
        raise Invalid({"type": ["Choose CREDIT_POOL or LICENSED_SEAT."]})
    funding = account(session).funding_source
    if funding not in (POOL_FUNDING if kind == ProgramType.CREDIT_POOL else SEAT_FUNDING):
        raise DomainError("UNREACHABLE_FUNDING_PATH", type=kind, funding_source=funding.value)
    if kind == ProgramType.LICENSED_SEAT and contract.license_model is None:
        raise DomainError("LICENSE_ECONOMICS_REQUIRED")
    return ProgramType(kind)


def check_figures(kind: ProgramType, v: dict[str, Any]) -> dict[str, list[str]]:
    """Problems of the figures *v* (MONEY) by field. Raises INVALID_OVERAGE_CONFIG."""
    problems: dict[str, list[str]] = {}

    def within(name: str, most: int, *, least: int = 1) -> None:
        if v[name] is not None and not least <= v[name] <= most:
            problems[name] = [f"Between {least:,} and {most:,}."]

    pool = kind == ProgramType.CREDIT_POOL
    if pool and v["credits_per_cycle"] is None:
        problems["credits_per_cycle"] = ["At least one credit a cycle."]
    within("credits_per_cycle", MAX_CREDITS)
    within("minimum_credits_per_period", MAX_CREDITS, least=0)
    within("rate_per_seat_paise", MAX_PAISE)
    within("covered_engagements_per_cycle", MAX_ENGAGEMENTS)
    within("price_cap_per_engagement_paise", MAX_PAISE)
    foreign = (
        ("rate_per_seat_paise", "covered_engagements_per_cycle", "price_cap_per_engagement_paise")
        if pool
        else ("credits_per_cycle", "minimum_credits_per_period")
    )
    for name in foreign:
        if v[name] is not None:
            problems[name] = ["This belongs to the other kind of program."]
    if not pool:
        v["pool_scope"] = PoolScope.PER_MEMBER
    if not problems:
        _check_overage(pool, v)
    return problems


def _check_overage(pool: bool, v: dict[str, Any]) -> None:
    """CHARGE_* needs a positive ceiling; BLOCK takes no surcharge; what cannot go over takes no overage at all."""
    behavior, bps, ceiling = (
        v["overage_behavior"],
        v["overage_surcharge_bps"] or 0,
        v["max_overage_per_cycle_paise"],
    )
    v["overage_surcharge_bps"] = bps
    unlimited = (
        not pool
        and v["covered_engagements_per_cycle"] is None
        and v["price_cap_per_engagement_paise"] is None
    )
    wrong = ""
    if not 0 <= bps <= MAX_SURCHARGE:
        wrong = f"The surcharge lies between 0 and {MAX_SURCHARGE} basis points."
    elif unlimited and (behavior != OverageBehavior.BLOCK or bps or ceiling):
        wrong = "An unlimited seat covers everything: it has no overage to charge."
    elif behavior == OverageBehavior.BLOCK and (bps or ceiling):
        wrong = "A program that blocks charges nothing: leave surcharge and ceiling empty."
    elif behavior != OverageBehavior.BLOCK and not 0 < (ceiling or 0) <= MAX_PAISE:
        wrong = "Charging overage needs a ceiling per cycle above zero."
    if wrong:
        raise DomainError("INVALID_OVERAGE_CONFIG", message=wrong)


def _cover(session: Session, v: dict[str, Any], problems: dict[str, list[str]]) -> None:
    """Bring what a program covers into order; problems by field."""
    v["covered_plan_types"] = sorted(set(v["covered_plan_types"] or ()))
    v["allowed_categories"] = sorted({one_line(c) for c in v["allowed_categories"] or () if c.strip()})
    v["panel_expert_ids"] = sorted(set(v["panel_expert_ids"] or ()))
    if any(k not in PlanType.__members__ for k in v["covered_plan_types"]):
        problems["covered_plan_types"] = ["Unknown plan type."]
    if len(v["allowed_categories"]) > 50 or any(len(c) > 120 for c in v["allowed_categories"]):
        problems["allowed_categories"] = ["At most 50 categories of 120 characters."]
    if len(v["panel_expert_ids"]) > MAX_PANEL:
        problems["panel_expert_ids"] = [f"At most {MAX_PANEL} experts."]
    elif v["panel_expert_ids"]:
        known = session.scalar(
            select(func.count())
            .select_from(ConsultantProfile)
            .where(
                ConsultantProfile.id.in_(v["panel_expert_ids"]),
                ConsultantProfile.verification_status == ExpertStatus.VERIFIED,
            )
        )
        if known != len(v["panel_expert_ids"]):
            problems["panel_expert_ids"] = ["Choose verified experts."]


def _refuse_overlap(
    session: Session, kinds: Sequence[str], wanted: Sequence[str], but: Iterable[int] = ()
) -> None:
    """Two active programs must not cover the same booking; an empty list covers everything."""
    others = session.scalars(
        select(Program)
        .join(Contract, Contract.id == Program.contract_id)
        .where(
            Program.status == ProgramStatus.ACTIVE,
            Contract.status.in_([ContractStatus.DRAFT, ContractStatus.ACTIVE]),
            Program.id.not_in(list(but)),
        )
    )

    def meet(a: Sequence[str], b: Sequence[str]) -> bool:
        return not a or not b or bool(set(a) & set(b))

    for other in others:
        if meet(kinds, other.covered_plan_types) and meet(wanted, other.allowed_categories):
            raise DomainError("PROGRAM_COVERAGE_OVERLAP", program_id=str(other.public_id), program=other.name)


def _widens(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether a list of what is covered lets more in than it did; an empty one lets everything in."""
    return bool(before) and (not after or not set(after) <= set(before))


def _name(raw: str, problems: dict[str, list[str]]) -> str:
    name = one_line(raw)
    if not 2 <= len(name) <= 200:
        problems["name"] = ["Between 2 and 200 characters."]
    return name


# ---- programs --------------------------------------------------------------------------------------------------------


def create_program(
    session: Session,
    contract: Contract,
    *,
    name: str,
    type: str = ProgramType.CREDIT_POOL,
    force_overlap: bool = False,
    **figures: Any,
) -> Program:
    """A program under a contract that is drafted or active. *figures*: MONEY, COVER and auto_enroll; one credit is one
    rupee, the panel names experts by inner id.

    Raises what ``check_type`` and ``check_figures`` raise, CONTRACT_NOT_ACTIVE, Invalid, PROGRAM_COVERAGE_OVERLAP.
    """
    kind = check_type(session, type, contract)
    unknown = sorted(set(figures) - set(DEFAULTS))
    if unknown:
        raise Invalid({n: ["There is no such field."] for n in unknown})
    session.refresh(
        contract, with_for_update=True
    )  # one program at a time, and none under a contract that ends now
    if contract.status not in (ContractStatus.DRAFT, ContractStatus.ACTIVE):
        raise DomainError("CONTRACT_NOT_ACTIVE")
    v = {**DEFAULTS, **figures}
    problems = check_figures(kind, v)
    name = _name(name, problems)
    _cover(session, v, problems)
    if problems:
        raise Invalid(problems)
    if not force_overlap:
        _refuse_overlap(session, v["covered_plan_types"], v["allowed_categories"])
    program = Program(contract_id=contract.id, name=name, type=kind, status=ProgramStatus.ACTIVE, **v)
    session.add(program)
    session.flush()
    record(session, program, "PROGRAM_CREATED", f"Created program “{name}”", after=shown(program))
    return program


def locked(session: Session, program: Program) -> Program:
    """*program* read again under its lock."""
    session.refresh(program, with_for_update=True)
    return program


def change(
    session: Session, program: Program, values: dict[str, Any], *, force_overlap: bool = False
) -> Program:
    """Change a program: name, state (ACTIVE and PAUSED), cover and auto-enrolment always, figures until the first place.

    Raises PROGRAM_CONFIG_LOCKED naming the fields, ILLEGAL_TRANSITION (it has ended), and what creating raises.
    """
    unknown = sorted(set(values) - set(MONEY) - set(OPEN))
    if unknown:
        raise Invalid({n: ["This cannot be changed."] for n in unknown})
    program = locked(session, program)
    if program.status not in (ProgramStatus.ACTIVE, ProgramStatus.PAUSED):
        raise DomainError("ILLEGAL_TRANSITION", state=program.status.value)
    v = {**{n: getattr(program, n) for n in (*MONEY, *OPEN)}, **values}
    money = sorted(n for n in MONEY if n in values and values[n] != getattr(program, n))
    if money and program.config_locked_at is not None:
        raise DomainError("PROGRAM_CONFIG_LOCKED", fields=money)
    problems = check_figures(program.type, v) if money else {}
    v["name"] = _name(v["name"], problems)
    _cover(session, v, problems)
    if v["status"] not in (ProgramStatus.ACTIVE, ProgramStatus.PAUSED):
        problems["status"] = ["Choose ACTIVE or PAUSED; archive and supersede have ways of their own."]
    if problems:
        raise Invalid(problems)
    v["status"] = ProgramStatus(v["status"])
    covering = any(_widens(getattr(program, n), v[n]) for n in ("covered_plan_types", "allowed_categories"))
    resumed = v["status"] == ProgramStatus.ACTIVE and program.status == ProgramStatus.PAUSED
    if (covering or resumed) and v["status"] == ProgramStatus.ACTIVE and not force_overlap:
        _refuse_overlap(session, v["covered_plan_types"], v["allowed_categories"], [program.id])
    details: dict[str, Any] = audit.changes(program, v)
    if not details["after"]:
        return program
    action = "PROGRAM_UPDATED"
    if v["status"] != program.status:
        action = "PROGRAM_RESUMED" if resumed else "PROGRAM_PAUSED"
    for name, value in v.items():
        setattr(program, name, value)
    session.flush()
    word = {"PROGRAM_RESUMED": "Resumed", "PROGRAM_PAUSED": "Paused"}.get(action, "Changed")
    record(session, program, action, f"{word} program “{program.name}”", **details)
    return program


def live_places(session: Session, program: Program) -> int:
    """How many places of *program* are live."""
    return int(
        session.scalar(
            select(func.count(Assignment.id)).where(
                Assignment.program_id == program.id, Assignment.status.in_(LIVE)
            )
        )
        or 0
    )


def archive(session: Session, program: Program) -> Program:
    """Put a program away. Raises PROGRAM_HAS_ACTIVE_ASSIGNMENTS with ``count``, ILLEGAL_TRANSITION."""
    program = locked(session, program)
    if program.status == ProgramStatus.ARCHIVED:
        raise DomainError("ILLEGAL_TRANSITION", state=program.status.value)
    count = live_places(session, program)
    if count:
        raise DomainError("PROGRAM_HAS_ACTIVE_ASSIGNMENTS", count=count)
    program.status, program.ended_at = ProgramStatus.ARCHIVED, program.ended_at or clock.now()
    session.flush()
    record(session, program, "PROGRAM_ARCHIVED", f"Archived program “{program.name}”")
    return program


def remove(session: Session, program: Program) -> None:
    """Delete a program nobody ever had a place in. Raises PROGRAM_HAS_ACTIVE_ASSIGNMENTS (archive it instead)."""
    name, key = program.name, program.public_id
    try:
        with session.begin_nested():
            done = session.execute(
                delete(Program)
                .where(Program.id == program.id, ~exists().where(Assignment.program_id == program.id))
                .returning(Program.id)
                .execution_options(**_PLAIN)
            ).scalar()
    except IntegrityError:
        done = None
    if done is None:
        raise DomainError(
            "PROGRAM_HAS_ACTIVE_ASSIGNMENTS",
            message="Members held places in this program, so it is kept. Archive it instead.",
            count=live_places(session, program),
        )
    session.expunge(program)
    audit.record(
        session,
        AuditCategory.PROGRAM,
        "PROGRAM_DELETED",
        f"Deleted program “{name}”",
        target_type="program",
        target_id=key,
    )


def supersede(session: Session, program: Program, changes: dict[str, Any]) -> tuple[Program, int]:
    """A copy of *program* with *changes* takes its place; live places move to it with what they used.

    Returns (the new program, places moved). Raises ILLEGAL_TRANSITION (it is not live, or superseded already), Invalid,
    and what creating raises.
    """
    unknown = sorted(set(changes) - set(MONEY) - set(OPEN) | ({"status"} & set(changes)))
    if unknown:
        raise Invalid({n: ["This cannot be changed."] for n in unknown})
    old = locked(session, program)
    if old.status not in (ProgramStatus.ACTIVE, ProgramStatus.PAUSED):
        raise DomainError("ILLEGAL_TRANSITION", state=old.status.value)
    contract = session.get_one(Contract, old.contract_id)
    kind = check_type(session, old.type, contract)
    v = {**{n: getattr(old, n) for n in DEFAULTS}, "name": old.name, **changes}
    problems = check_figures(kind, v)
    v["name"] = _name(v["name"], problems)
    _cover(session, v, problems)
    if problems:
        raise Invalid(problems)
    _refuse_overlap_unless_kept(session, old, v)
    now, before = clock.now(), old.status
    old.status, old.ended_at = ProgramStatus.ARCHIVED, now
    session.flush()
    new = Program(
        contract_id=old.contract_id, type=old.type, status=before, supersedes_program_id=old.id, **v
    )
    session.add(new)
    session.flush()
    moved = int(
        session.execute(
            update(Assignment)
            .where(Assignment.program_id == old.id, Assignment.status.in_(LIVE))
            .values(program_id=new.id)
            .execution_options(**_PLAIN)
        ).rowcount  # type: ignore[attr-defined]
    )
    if moved:
        new.config_locked_at = now
    session.flush()
    session.expire_all()
    record(
        session,
        old,
        "PROGRAM_SUPERSEDED",
        f"“{old.name}” was superseded; {moved} {'place' if moved == 1 else 'places'} moved",
        successor=str(new.public_id),
        count=moved,
        before=shown(old),
        after=shown(new),
    )
    return new, moved


def _refuse_overlap_unless_kept(session: Session, old: Program, v: dict[str, Any]) -> None:
    """A copy with the same cover overlaps nothing that the old one did not overlap already."""
    if (v["covered_plan_types"], v["allowed_categories"]) != (
        sorted(old.covered_plan_types),
        sorted(old.allowed_categories),
    ):
        _refuse_overlap(session, v["covered_plan_types"], v["allowed_categories"], [old.id])


def shown(program: Program) -> dict[str, Any]:
    """A program's figures for an audit row."""
    out = {}
    for name in (*MONEY, "covered_plan_types", "allowed_categories"):
        value = getattr(program, name)
        out[name] = value if isinstance(value, str | int | list | None) else str(value)
    return {**out, "panel": len(program.panel_expert_ids)}


def record(session: Session, program: Program, action: str, says: str, **details: Any) -> None:
    """An audit row about *program*."""
    audit.record(
        session,
        AuditCategory.PROGRAM,
        action,
        says,
        target_type="program",
        target_id=program.public_id,
        **details,
    )


def panel(session: Session, program: Program) -> list[ConsultantProfile]:
    """The experts of a program's panel."""
    if not program.panel_expert_ids:
        return []
    return list(
        session.scalars(
            select(ConsultantProfile)
            .where(ConsultantProfile.id.in_(program.panel_expert_ids))
            .order_by(ConsultantProfile.id)
        )
    )
