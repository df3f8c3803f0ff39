"""Contracts end: terminated by an owner, or expired with their term; what stood under them ends with them (2.5)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.logs import log
from app.models import (
    Assignment,
    AssignmentStatus,
    AuditCategory,
    CloseReason,
    Contract,
    ContractStatus,
    Invoice,
    Organization,
    OrgRole,
    OrgStatus,
    Program,
    ProgramStatus,
)
from app.security.context import acting, ctx
from app.services import accruals, audit, contracts, outbox, subscriptions, terms_notices
from app.services.obligations import LIVE
from app.services.text import paragraphs

NOTICE = dt.timedelta(days=30)  # before a term ends
_PLAIN: dict[str, Any] = {"synchronize_session": False}
_READERS = (OrgRole.OWNER, OrgRole.MAINTAINER, OrgRole.BILLING_ADMIN)


def standing(session: Session, contract: Contract) -> dict[str, Any]:
    """What keeps *contract* from being terminated: live assignments and unpaid invoices, as counts."""
    row = session.execute(
        select(
            select(func.count(Assignment.id))
            .join(Program, Program.id == Assignment.program_id)
            .where(Program.contract_id == contract.id, Assignment.status.in_(LIVE))
            .scalar_subquery(),
            select(func.count(Invoice.id))
            .where(
                Invoice.contract_id == contract.id,
                accruals.unpaid(),
            )
            .scalar_subquery(),
        )
    ).one()
    return {"live_assignments": int(row[0]), "outstanding_invoices": int(row[1])}


def terminate(session: Session, contract: Contract, reason: str = "") -> Contract:
    """ACTIVE → TERMINATED, with everything under it. Raises ILLEGAL_TRANSITION, Invalid, CONTRACT_HAS_LIVE_ASSIGNMENTS
    and CONTRACT_HAS_OUTSTANDING_INVOICES with ``count``."""
    why = paragraphs(reason or "")
    if len(why) > 300:
        raise Invalid({"reason": ["At most 300 characters."]})
    contract = contracts.locked(session, contract)
    if contract.status != ContractStatus.ACTIVE:
        raise DomainError("ILLEGAL_TRANSITION", state=contract.status.value)
    left = standing(session, contract)
    if left["live_assignments"]:
        raise DomainError("CONTRACT_HAS_LIVE_ASSIGNMENTS", count=left["live_assignments"], **left)
    if left["outstanding_invoices"]:
        raise DomainError("CONTRACT_HAS_OUTSTANDING_INVOICES", count=left["outstanding_invoices"], **left)
    ended = _end(session, contract, ContractStatus.TERMINATED, why or "Terminated")
    contracts.record(
        session,
        contract,
        "CONTRACT_TERMINATED",
        f"Terminated contract “{contract.title}”",
        reason=why,
        **ended,
    )
    return contract


def _end(session: Session, contract: Contract, status: ContractStatus, reason: str) -> dict[str, int]:
    """Programs EXPIRED, their places CLOSED now, the licence ended; returns how many."""
    now = clock.now()
    contract.status, contract.ended_at, contract.ended_reason = status, now, reason
    session.flush()
    names = session.execute(
        update(Program)
        .where(
            Program.contract_id == contract.id,
            Program.status.in_((ProgramStatus.ACTIVE, ProgramStatus.PAUSED)),
        )
        .values(status=ProgramStatus.EXPIRED, ended_at=now)
        .returning(Program.id, Program.public_id, Program.name)
        .execution_options(**_PLAIN)
    ).all()
    closed = 0
    for program_id, public_id, name in names:
        places = close_places(session, [program_id], CloseReason.CONTRACT_INACTIVE)
        closed += places
        audit.record(
            session,
            AuditCategory.PROGRAM,
            "PROGRAM_EXPIRED",
            f"“{name}” ended with its contract",
            target_type="program",
            target_id=public_id,
            contract=str(contract.public_id),
        )
        if places:
            audit.record(
                session,
                AuditCategory.PROGRAM,
                "ASSIGNMENT_CLOSED_BY_CONTRACT",
                f"{places} {'place' if places == 1 else 'places'} in “{name}” closed with the contract",
                target_type="program",
                target_id=public_id,
                count=places,
            )
    subscriptions.end(session, contract)
    return {"programs": len(names), "assignments": closed}


def close_places(session: Session, program_ids: list[int], reason: CloseReason) -> int:
    """End the live places of these programs now."""
    return int(
        session.execute(
            update(Assignment)
            .where(Assignment.program_id.in_(program_ids), Assignment.status.in_(LIVE))
            .values(status=AssignmentStatus.CLOSED, closed_at=clock.now(), close_reason=reason)
            .execution_options(**_PLAIN)
        ).rowcount  # type: ignore[attr-defined]
    )


# ---- unattended ------------------------------------------------------------------------------------------------------


def expire(session: Session) -> dict[str, int]:
    """Expire contracts whose term is over, and say once that a term ends within thirty days. Wants job scope, commits.

    What renews by itself is left to ``auto_renew``, and a suspended organisation's contracts wait for it.
    """
    today = clock.today_ist()
    done = {"expired": 0, "expiring": 0, "failed": 0}
    over = (
        select(Contract.id, Contract.organization_id)
        .join(Organization, Organization.id == Contract.organization_id)
        .where(Contract.status == ContractStatus.ACTIVE)
        .order_by(Contract.id)
    )
    ended = session.execute(
        over.where(
            Contract.effective_to < today,
            (~Contract.auto_renew & (Organization.status != OrgStatus.SUSPENDED))
            | (Organization.status == OrgStatus.DEACTIVATED),
        )
    ).all()
    soon = session.execute(
        over.where(
            Contract.effective_to >= today,
            Contract.effective_to <= today + NOTICE,
            Contract.expiring_notified_at.is_(None),
        )
    ).all()
    session.commit()
    for rows, work, name in ((ended, _expire, "expired"), (soon, _warn, "expiring")):
        for contract_id, organization_id in rows:
            try:
                with acting(session, scope="org", org_id=organization_id, user_id=None, membership_id=None):
                    done[name] += work(session, contract_id)
                session.commit()
            except (DomainError, SQLAlchemyError) as error:
                session.rollback()
                log.warning("expire_failed", contract=contract_id, error=type(error).__name__)
                done["failed"] += 1
    return done


def _expire(session: Session, contract_id: int) -> int:
    contract = contracts.locked(session, session.get_one(Contract, contract_id))
    if contract.status != ContractStatus.ACTIVE or contract.effective_to is None:
        return 0
    ended = _end(session, contract, ContractStatus.EXPIRED, "The term is over")
    contracts.record(session, contract, "CONTRACT_EXPIRED", f"“{contract.title}” expired", **ended)
    _tell(
        session,
        contract,
        "contract.expired",
        f"“{contract.title}” has expired",
        [
            f"its term ended on {contract.effective_to.day} {contract.effective_to:%B %Y}. {ended['programs']} programs "
            f"and {ended['assignments']} places ended with it; members can no longer book on them.",
            "To go on, sign a new contract and create programs under it.",
        ],
    )
    return 1


def _warn(session: Session, contract_id: int) -> int:
    done = session.execute(
        update(Contract)
        .where(Contract.id == contract_id, Contract.expiring_notified_at.is_(None))
        .values(expiring_notified_at=clock.now())
        .returning(Contract.id)
        .execution_options(**_PLAIN)
    ).scalar()
    if done is None:
        return 0
    contract = session.get_one(Contract, contract_id, populate_existing=True)
    end = contract.effective_to
    assert end is not None
    days = (end - clock.today_ist()).days
    outbox.event(
        session,
        "contract.expiring",
        contract_id=str(contract.public_id),
        effective_to=end.isoformat(),
        auto_renew=contract.auto_renew,
        days=days,
    )
    _tell(
        session,
        contract,
        "contract.expiring",
        f"“{contract.title}” ends on {end.day} {end:%B %Y}",
        [
            f"the term ends in {days} {'day' if days == 1 else 'days'}.",
            "It renews itself on the same terms. Switch that off, or amend the contract, if it should not."
            if contract.auto_renew
            else "It does not renew itself: its programs and places end with it. Renew it now, or switch renewal on.",
        ],
    )
    return 1


def _tell(session: Session, contract: Contract, kind: str, title: str, lines: list[str]) -> None:
    slug = session.scalar(select(Organization.slug).where(Organization.id == ctx().org_id))
    terms_notices.tell(
        session,
        _READERS,
        kind,
        title,
        lines,
        path=f"/dashboard/organization/{slug}/contracts/show/{contract.public_id}",
        button="Open the contract",
    )
