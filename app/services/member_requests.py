"""Requests with approval: a place in a program, another payout routing, more seats (chapter 1, "Beyond" 13).

Whoever decides locks the organisation first, then leaves PENDING by compare-and-set, then makes the change through the
service that owns it, all in one transaction: two approvals change things once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    Assignment,
    AuditCategory,
    Contract,
    ContractStatus,
    MemberRequest,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    OrgStatus,
    PayoutRecipient,
    Program,
    ProgramStatus,
    RequestKind,
    RequestStatus,
    User,
)
from app.security.context import ctx
from app.services import assignments, audit, members, obligations, organizations, outbox
from app.services.member_rules import is_owner, lock_organization
from app.services.text import paragraphs

MAX_NOTE, MAX_SEATS, MAX_TOLD = 1000, 100_000, 20
OPERATORS = frozenset({OrgRole.OWNER, OrgRole.MAINTAINER, OrgRole.MANAGER})
ASKED_BY = {
    RequestKind.PROGRAM_PLACE: frozenset({OrgRole.LEARNER}),
    RequestKind.PAYOUT_ROUTING: frozenset({OrgRole.EXPERT}),
    RequestKind.SEATS: OPERATORS,
}
DECIDED_BY = {
    RequestKind.PROGRAM_PLACE: (OrgRole.OWNER, OrgRole.MAINTAINER),
    RequestKind.PAYOUT_ROUTING: (OrgRole.OWNER, OrgRole.MAINTAINER),
    RequestKind.SEATS: (OrgRole.OWNER,),
}
PAGE = {
    RequestKind.PROGRAM_PLACE: "my-program",
    RequestKind.PAYOUT_ROUTING: "my-arrangement",
    RequestKind.SEATS: "learners",
}


# ---- asking --------------------------------------------------------------------------------------------------------


def ask_place(session: Session, program: Program, note: str = "") -> MemberRequest:
    """The acting LEARNER asks for a place in *program*.

    Raises INSUFFICIENT_ROLE, ORG_NOT_ACTIVE, ILLEGAL_TRANSITION (no such program is running, or they have a place),
    REQUEST_ALREADY_PENDING, Invalid.
    """
    me = _asker(session, RequestKind.PROGRAM_PLACE)
    if program.id not in {p.id for p in offered(session)}:
        raise DomainError(
            "ILLEGAL_TRANSITION", message="You have a place in this program, or it is not running."
        )
    return _ask(session, me, RequestKind.PROGRAM_PLACE, note, program=program.name, program_id=program.id)


def ask_routing(session: Session, recipient: PayoutRecipient, note: str = "") -> MemberRequest:
    """The acting EXPERT asks that earnings go to *recipient*.

    Raises INSUFFICIENT_ROLE, ORG_NOT_ACTIVE, ILLEGAL_TRANSITION (they go there already), REQUEST_ALREADY_PENDING.
    """
    me = _asker(session, RequestKind.PAYOUT_ROUTING)
    if me.payout_recipient == recipient:
        raise DomainError("ILLEGAL_TRANSITION", message="Your earnings go there already.")
    return _ask(session, me, RequestKind.PAYOUT_ROUTING, note, payout_recipient=recipient)


def ask_seats(session: Session, seats: int, note: str = "") -> MemberRequest:
    """An acting operator asks for *seats* more seats.

    Raises INSUFFICIENT_ROLE, ORG_NOT_ACTIVE, SPONSOR_CAPABILITY_REQUIRED, ILLEGAL_TRANSITION (seats are unlimited),
    REQUEST_ALREADY_PENDING, Invalid.
    """
    me = _asker(session, RequestKind.SEATS)
    organization = organizations.current(session)
    if not organization.can_sponsor:
        raise DomainError("SPONSOR_CAPABILITY_REQUIRED")
    if not 1 <= seats <= MAX_SEATS:
        raise Invalid({"seats": [f"From 1 to {MAX_SEATS}."]})
    if organization.seats_total is None:
        raise DomainError("ILLEGAL_TRANSITION", message="Seats are not limited here.")
    return _ask(session, me, RequestKind.SEATS, note, seats=seats)


def offered(session: Session) -> list[Program]:
    """Running programs in which the acting member has no live place: what a learner may ask for."""
    held = select(Assignment.program_id).where(
        Assignment.membership_id == (ctx().membership_id or -1),
        Assignment.status.in_(obligations.LIVE),
        Assignment.period_end >= clock.today_ist(),
    )
    today = clock.today_ist()
    return list(
        session.scalars(
            select(Program)
            .join(Contract, Contract.id == Program.contract_id)
            .where(
                Program.status == ProgramStatus.ACTIVE,
                Contract.status == ContractStatus.ACTIVE,
                or_(Contract.effective_to.is_(None), Contract.effective_to >= today),
                Program.id.not_in(held),
            )
            .order_by(Program.name, Program.id)
            .limit(100)
        )
    )


def _asker(session: Session, kind: RequestKind) -> Membership:
    """The acting member, who may ask for *kind*, in an organisation that is not read-only."""
    me = session.scalars(
        select(Membership)
        .where(Membership.id == (ctx().membership_id or -1))
        .options(joinedload(Membership.user))
        .execution_options(populate_existing=True)
    ).one_or_none()
    if me is None or me.status != MembershipStatus.ACTIVE or me.role not in ASKED_BY[kind]:
        raise DomainError("INSUFFICIENT_ROLE")
    if organizations.current(session).status in (OrgStatus.SUSPENDED, OrgStatus.DEACTIVATED):
        raise DomainError("ORG_NOT_ACTIVE")
    return me


def _ask(
    session: Session,
    me: Membership,
    kind: RequestKind,
    note: str,
    *,
    program: str | None = None,
    **values: Any,
) -> MemberRequest:
    row = MemberRequest(kind=kind, membership_id=me.id, note=_note(note), **values)
    wish = row.wish_for(program)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        if getattr(getattr(error.orig, "diag", None), "constraint_name", "") != "uq_member_request_pending":
            raise
        raise DomainError("REQUEST_ALREADY_PENDING") from None
    _record(session, row, "REQUEST_MADE", f"{me.user.name} asked for {wish}.")
    _tell_deciders(session, row, me, wish)
    return row


def _note(text: str) -> str:
    note = paragraphs(text or "")
    if len(note) > MAX_NOTE:
        raise Invalid({"note": [f"At most {MAX_NOTE} characters."]})
    return note


# ---- deciding ------------------------------------------------------------------------------------------------------


def may_decide(row: MemberRequest) -> bool:
    """Whether the acting person decides requests of this kind."""
    return is_owner() or ctx().role in DECIDED_BY[row.kind]


def cancel(session: Session, row: MemberRequest) -> MemberRequest:
    """The asker takes it back. Raises NOT_FOUND (somebody else's), REQUEST_NOT_PENDING."""
    if row.membership_id != ctx().membership_id:
        raise DomainError("NOT_FOUND")
    _leave_pending(session, row, RequestStatus.CANCELED)
    _record(session, row, "REQUEST_CANCELED", f"A request for {describe(session, row)} was withdrawn.")
    return row


def decline(session: Session, row: MemberRequest, note: str) -> MemberRequest:
    """Say no, and why. Raises OWNER_REQUIRED, INSUFFICIENT_ROLE, ORG_NOT_ACTIVE, REQUEST_NOT_PENDING, Invalid."""
    _decider(session, row)
    reason = _note(note)
    if not reason:
        raise Invalid({"note": ["Say why, so that the person knows."]})
    _leave_pending(session, row, RequestStatus.DECLINED, decision_note=reason)
    _answered(session, row, "REQUEST_DECLINED", "declined")
    return row


def approve(session: Session, row: MemberRequest, note: str = "") -> MemberRequest:
    """Say yes and make the change, once.

    Raises OWNER_REQUIRED, INSUFFICIENT_ROLE, ORG_NOT_ACTIVE, REQUEST_NOT_PENDING, MEMBERSHIP_NOT_ACTIVE, Invalid and
    what ``assignments.assign``, ``members.change_member`` and ``organizations.update_organization`` raise; a refusal
    leaves the request as it was.
    """
    organization = _decider(session, row)
    _leave_pending(session, row, RequestStatus.APPROVED, decision_note=_note(note))
    asker = session.scalars(
        select(Membership)
        .where(Membership.id == row.membership_id)
        .options(joinedload(Membership.user))
        .execution_options(populate_existing=True)
    ).one()
    if asker.status != MembershipStatus.ACTIVE or asker.role not in ASKED_BY[row.kind]:
        raise DomainError(
            "MEMBERSHIP_NOT_ACTIVE",
            message="The person who asked is suspended or has another role now. Decline the request instead.",
        )
    if row.kind == RequestKind.PROGRAM_PLACE:
        program = session.get(Program, row.program_id)
        if program is None:
            raise DomainError("NOT_FOUND")
        assignments.assign(session, program, asker)
    elif row.kind == RequestKind.PAYOUT_ROUTING:
        members.change_member(session, asker, payout_recipient=row.payout_recipient)
    elif organization.seats_total is not None:  # unlimited in the meantime: there is nothing left to raise
        organizations.update_organization(
            session,
            {"seats_total": organization.seats_total + (row.seats or 0)},
            expected_version=organization.version,
        )
    _answered(session, row, "REQUEST_APPROVED", "approved")
    return row


def _decider(session: Session, row: MemberRequest) -> Organization:
    """The organisation, locked, once the acting person turned out to decide *row*."""
    if not may_decide(row):
        raise DomainError("OWNER_REQUIRED" if row.kind == RequestKind.SEATS else "INSUFFICIENT_ROLE")
    organization = lock_organization(session)
    if organization.status in (OrgStatus.SUSPENDED, OrgStatus.DEACTIVATED):
        raise DomainError("ORG_NOT_ACTIVE")
    if row.kind == RequestKind.PAYOUT_ROUTING and organization.people_owner_only and not is_owner():
        raise DomainError("OWNER_REQUIRED")
    return organization


def _leave_pending(session: Session, row: MemberRequest, status: RequestStatus, **values: Any) -> None:
    """PENDING → *status*, once. Raises REQUEST_NOT_PENDING."""
    done = session.execute(
        update(MemberRequest)
        .where(MemberRequest.id == row.id, MemberRequest.status == RequestStatus.PENDING)
        .values(status=status, decided_at=clock.now(), decided_by_user_id=ctx().user_id, **values)
        .returning(MemberRequest.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    session.refresh(row, attribute_names=["status", "decided_at", "decided_by_user_id", "decision_note"])
    if done is None:
        raise DomainError("REQUEST_NOT_PENDING", state=row.status.value)


# ---- reading -------------------------------------------------------------------------------------------------------


def own(session: Session, kind: RequestKind | None = None, limit: int = 20) -> list[MemberRequest]:
    """The acting member's requests, newest first."""
    statement = select(MemberRequest).where(MemberRequest.membership_id == (ctx().membership_id or -1))
    if kind is not None:
        statement = statement.where(MemberRequest.kind == kind)
    return list(session.scalars(statement.order_by(MemberRequest.id.desc()).limit(limit)))


def wishes(session: Session, rows: Iterable[MemberRequest]) -> dict[int, str]:
    """What each request asks for, in words, by its inner key; one query whatever their number."""
    rows = list(rows)
    ids = {r.program_id for r in rows if r.program_id}
    names: dict[int, str] = {}
    if ids:
        found = session.execute(select(Program.id, Program.name).where(Program.id.in_(ids)))
        names = {row.id: row.name for row in found}
    return {r.id: r.wish_for(names.get(r.program_id or -1)) for r in rows}


def describe(session: Session, row: MemberRequest) -> str:
    """What *row* asks for, in words."""
    return wishes(session, [row])[row.id]


# ---- telling -------------------------------------------------------------------------------------------------------


def _record(session: Session, row: MemberRequest, action: str, text: str, **details: Any) -> None:
    category = AuditCategory.PAYOUT if row.kind == RequestKind.PAYOUT_ROUTING else AuditCategory.MEMBER
    audit.record(
        session,
        category,
        action,
        text,
        target_type="member_request",
        target_id=row.public_id,
        target_membership_id=row.membership_id,
        kind=row.kind.value,
        **details,
    )


def _tell_deciders(session: Session, row: MemberRequest, me: Membership, wish: str) -> None:
    organization = organizations.current(session)
    path = f"/dashboard/organization/{organization.slug}/requests/"
    people = session.scalars(
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.role.in_(DECIDED_BY[row.kind]),
            Membership.status == MembershipStatus.ACTIVE,
            User.id != me.user_id,
        )
        .order_by(Membership.id)
        .limit(MAX_TOLD)
    ).all()
    asked = f"{me.user.name} asks for {wish}"
    for person in people:
        outbox.notify(session, person.id, "request_made", asked, row.note[:200], url=path, routed=True)
        outbox.mail(
            session,
            person.email,
            "request_made",
            routed_for=person.id,
            name=person.name,
            organization=organization.name,
            asked=asked,
            note=row.note,
            path=path,
        )


def _answered(session: Session, row: MemberRequest, action: str, outcome: str) -> None:
    wish = describe(session, row)
    _record(session, row, action, f"The request for {wish} was {outcome}.", note=row.decision_note)
    organization = organizations.current(session)
    person = session.scalars(
        select(User).join(Membership, Membership.user_id == User.id).where(Membership.id == row.membership_id)
    ).one()
    path = f"/dashboard/organization/{organization.slug}/{PAGE[row.kind]}"
    outbox.notify(
        session,
        person.id,
        "request_answered",
        f"{organization.name} {outcome} your request",
        f"{wish[:1].upper()}{wish[1:]}. {row.decision_note}"[:500],
        url=path,
    )
    outbox.mail(
        session,
        person.email,
        "request_answered",
        name=person.name,
        organization=organization.name,
        outcome=outcome,
        wish=wish,
        note=row.decision_note,
        path=path,
    )
