"""One contract takes another's place: amended now, or renewed when its term ends (chapter 2, 2.5).

Programs, their places and the licence move to the new contract; invoices stay with the old one, and what it accrued is
rolled up as before. The unique link from new to old makes it happen once. Decision 0050 says when a renewal begins.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.logs import log
from app.models import (
    Assignment,
    Contract,
    ContractStatus,
    Organization,
    OrgRole,
    OrgStatus,
    Program,
    ProgramStatus,
    RateCard,
    SupersedeReason,
)
from app.security.context import acting, ctx
from app.services import contracts, periods, subscriptions, terms_notices
from app.services.obligations import LIVE

_PLAIN: dict[str, Any] = {"synchronize_session": False}
MOVING = (ProgramStatus.ACTIVE, ProgramStatus.PAUSED)


def supersede(
    session: Session, contract: Contract, reason: str, changes: dict[str, Any] | None = None
) -> Contract:
    """The contract that follows *contract*, signed, with *changes* of its terms.

    AMENDMENT begins today and ends the old one TERMINATED; RENEWAL begins the day after the old term, is as long, and
    ends the old one EXPIRED. Raises Invalid (reason, a renewal of an open-ended contract), CONTRACT_NOT_ACTIVE,
    CONTRACT_ALREADY_SUPERSEDED, PO_REQUIRED, and what ``contracts.checked`` raises.
    """
    if reason not in (SupersedeReason.AMENDMENT, SupersedeReason.RENEWAL):
        raise Invalid({"reason": ["Choose AMENDMENT or RENEWAL."]})
    old = contracts.locked(session, contract)
    _refuse(session, old)
    wanted = changes or {}
    unknown = sorted(set(wanted) - contracts.FIELDS - {"effective_from"})
    if unknown or "effective_from" in wanted:
        raise Invalid(
            {n: ["There is no such field."] for n in unknown}
            or {"effective_from": ["It follows from the reason: today, or the day after the term."]}
        )
    start, end = _term(old, SupersedeReason(reason))
    values = contracts.checked(
        session,
        contracts.account(session),
        {
            **contracts.terms_of(old),
            **_still_usable(session, old),
            "effective_to": end,
            **wanted,
            "effective_from": start,
        },
    )
    return _replace(session, old, SupersedeReason(reason), values)


def _refuse(session: Session, old: Contract) -> None:
    if session.scalar(select(Contract.id).where(Contract.supersedes_contract_id == old.id)) is not None:
        raise DomainError("CONTRACT_ALREADY_SUPERSEDED")
    if old.status != ContractStatus.ACTIVE:
        raise DomainError("CONTRACT_NOT_ACTIVE", status=old.status.value)


def _still_usable(session: Session, old: Contract) -> dict[str, Any]:
    """A purchase order that is spent or past its date does not go along."""
    if old.purchase_order_id is not None and contracts.usable_po(session, old.purchase_order_id) is None:
        return {"purchase_order_id": None}
    return {}


def _term(old: Contract, reason: SupersedeReason) -> tuple[dt.date, dt.date | None]:
    if reason == SupersedeReason.AMENDMENT:
        return max(clock.today_ist(), old.effective_from), old.effective_to
    if old.effective_to is None:
        raise Invalid({"reason": ["A contract without an end is not renewed; amend it."]})
    return periods.same_length(old.effective_from, old.effective_to)


def preview(session: Session, contract: Contract, reason: str) -> dict[str, Any]:
    """What superseding would do, writing nothing: the new term, what moves, the credit of unused days."""
    start, end = _term(contract, SupersedeReason(reason))
    programs = session.scalars(
        select(Program.name).where(Program.contract_id == contract.id, Program.status.in_(MOVING))
    ).all()
    places = len(
        session.scalars(
            select(Assignment.id)
            .join(Program, Program.id == Assignment.program_id)
            .where(Program.contract_id == contract.id, Assignment.status.in_(LIVE))
        ).all()
    )
    licence = subscriptions.of_contract(session, contract)
    credit = subscriptions.unused(licence, start) if licence and reason == SupersedeReason.AMENDMENT else 0
    return {
        "effective_from": start.isoformat(),
        "effective_to": end.isoformat() if end else None,
        "old_becomes": "TERMINATED" if reason == SupersedeReason.AMENDMENT else "EXPIRED",
        "programs": list(programs),
        "live_assignments": places,
        "credit_paise": credit,
    }


def _replace(session: Session, old: Contract, reason: SupersedeReason, values: dict[str, Any]) -> Contract:
    now = clock.now()
    amended = reason == SupersedeReason.AMENDMENT
    automatic = ctx().user_id is None
    if not automatic:  # by the clock it goes on: an invoice without an order still issues and alerts (2.9)
        contracts.check_po(session, old)
    old.status = ContractStatus.TERMINATED if amended else ContractStatus.EXPIRED
    old.ended_at, old.ended_reason = now, f"Superseded: {reason.value.lower()}"
    session.flush()
    new = Contract(
        billing_account_id=old.billing_account_id,
        status=ContractStatus.ACTIVE,
        signed_at=now,
        signed_by_user_id=ctx().user_id,
        supersedes_contract_id=old.id,
        supersede_reason=reason,
        **values,
    )
    try:
        with session.begin_nested():
            session.add(new)
    except IntegrityError as error:
        if getattr(getattr(error.orig, "diag", None), "constraint_name", "") == "uq_contract_supersedes":
            raise DomainError("CONTRACT_ALREADY_SUPERSEDED") from None
        raise contracts.already_active(error) from None
    subscriptions.move(session, old, new, now=amended)
    moved = _move(session, old, new)
    contracts.record(
        session,
        old,
        "CONTRACT_AUTO_RENEWED" if automatic else "CONTRACT_SUPERSEDED",
        f"“{old.title}” was {'amended' if amended else 'renewed'} from {new.effective_from:%d %B %Y}",
        reason=reason.value,
        successor=str(new.public_id),
        programs=moved,
        before=contracts.shown(contracts.terms_of(old)),
        after=contracts.shown(contracts.terms_of(new)),
    )
    contracts.announce(session, new)
    return new


def _move(session: Session, old: Contract, new: Contract) -> int:
    """Programs and the contract's own rate cards go along; places end with the new term at the latest."""
    moved = (
        session.execute(
            update(Program)
            .where(Program.contract_id == old.id, Program.status.in_(MOVING))
            .values(contract_id=new.id)
            .returning(Program.id)
            .execution_options(**_PLAIN)
        )
        .scalars()
        .all()
    )
    session.execute(
        update(RateCard)
        .where(RateCard.contract_id == old.id, RateCard.effective_to.is_(None))
        .values(contract_id=new.id)
        .execution_options(**_PLAIN)
    )
    if new.effective_to is not None and moved:
        session.execute(
            update(Assignment)
            .where(
                Assignment.program_id.in_(moved),
                Assignment.status.in_(LIVE),
                Assignment.period_end > new.effective_to,
                Assignment.period_start <= new.effective_to,
            )
            .values(period_end=new.effective_to, clamped=True)
            .execution_options(**_PLAIN)
        )
    session.expire_all()
    return len(moved)


# ---- unattended ------------------------------------------------------------------------------------------------------


def auto_renew(session: Session) -> dict[str, int]:
    """Renew every contract whose term is over and that renews by itself; wants job scope, commits one by one.

    ``auto_renewed_at`` claims a contract, so that a run on another machine passes it by. A suspended organisation waits.
    Terms that ended while nobody ran are renewed until the last one reaches today.
    """
    done = {"renewed": 0, "failed": 0}
    today = clock.today_ist()
    while True:
        due = session.execute(
            select(Contract.id, Contract.organization_id)
            .join(Organization, Organization.id == Contract.organization_id)
            .where(
                Contract.status == ContractStatus.ACTIVE,
                Contract.auto_renew,
                Contract.effective_to < today,
                Contract.auto_renewed_at.is_(None),
                Organization.status == OrgStatus.ACTIVE,
            )
            .order_by(Contract.id)
            .limit(200)
        ).all()
        session.commit()
        renewed = 0
        for contract_id, organization_id in due:
            try:
                with acting(session, scope="org", org_id=organization_id, user_id=None, membership_id=None):
                    renewed += _renew(session, contract_id)
                session.commit()
            except (DomainError, SQLAlchemyError) as error:
                session.rollback()
                log.warning("auto_renew_failed", contract=contract_id, error=type(error).__name__)
                done["failed"] += 1
        done["renewed"] += renewed
        if not renewed:
            return done


def _renew(session: Session, contract_id: int) -> int:
    claimed = session.execute(
        update(Contract)
        .where(
            Contract.id == contract_id,
            Contract.status == ContractStatus.ACTIVE,
            Contract.auto_renew,
            Contract.auto_renewed_at.is_(None),
        )
        .values(auto_renewed_at=clock.now())
        .returning(Contract.id)
        .execution_options(**_PLAIN)
    ).scalar()
    if claimed is None:
        return 0
    old = session.get_one(Contract, contract_id, populate_existing=True)
    start, end = _term(old, SupersedeReason.RENEWAL)
    values = {
        **contracts.terms_of(old),
        **_still_usable(session, old),
        "effective_from": start,
        "effective_to": end,
    }
    new = _replace(session, old, SupersedeReason.RENEWAL, values)
    organization = session.get_one(Organization, ctx().org_id)
    path = f"/dashboard/organization/{organization.slug}/contracts/show/{new.public_id}"
    lines = [
        f"the term of “{old.title}” ended, and the contract renewed itself: it now runs from {start.day} {start:%B %Y} "
        f"to {end.day} {end:%B %Y} on the same terms."
        if end
        else "the contract renewed itself.",
        "Programs and places go on as before. To let it end instead, switch off its renewal before the new term ends.",
    ]
    if organization.requires_po and new.purchase_order_id is None and contracts.usable_po(session) is None:
        lines.append(
            "There is no active purchase order behind it: enter one, so that its invoices can draw on it."
        )
    terms_notices.tell(
        session,
        (OrgRole.OWNER, OrgRole.MAINTAINER, OrgRole.BILLING_ADMIN),
        "contract.renewed",
        f"“{old.title}” was renewed",
        lines,
        path=path,
        button="Open the contract",
    )
    return 1
