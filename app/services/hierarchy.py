"""Groups of organisations: parents, children and figures of a whole group (chapter 1, "Beyond the original" 1).

A root stands below nobody: root_id is its own id, depth 0. Every move takes one lock for the platform (moves are rare,
and two that cross must not both pass), then rewrites the moved subtree, each row in its own organisation's scope.
What a parent may read of its children is decided in the database: migrations/sql/hierarchy.sql, docs/decisions/0007.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.errors import DomainError
from app.models import AuditCategory, Membership, MembershipStatus, Organization, OrgRole, OrgStatus
from app.security.context import acting, ctx
from app.services import audit, org_status
from app.services.spending import month_start

MAX_DEPTH = 4
_ACROSS = {"skip_tenancy": True}  # with the acting person's id: row-level security still guards
_ROLLUP = text("SELECT * FROM group_rollup(:org, :since)")
_PARENT = text("SELECT * FROM group_parent(:org)")
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('consilium.hierarchy'))")


@dataclass(frozen=True)
class Node:
    """One organisation of a group with its figures; paise. ``wallet_paise`` is None without a wallet."""

    id: int
    public_id: uuid.UUID
    parent_id: int | None
    level: int  # below the organisation asked about
    depth: int  # below the root
    name: str
    slug: str
    status: str
    can_sponsor: bool
    can_host: bool
    funding_source: str | None
    members: int
    seats_used: int
    seats_total: int | None
    wallet_paise: int | None
    spend_paise: int  # of the organisation's money, this calendar month in India


@dataclass(frozen=True)
class Totals:
    """Sums over a group. ``seats_total`` is None when one organisation has no limit."""

    organizations: int
    members: int
    seats_used: int
    seats_total: int | None
    wallet_paise: int
    spend_paise: int


@dataclass(frozen=True)
class Seat:
    """An organisation in which the acting person is an OWNER (or acts as one)."""

    id: int
    name: str
    slug: str
    public_id: uuid.UUID
    status: str
    membership_id: int | None


def lock(session: Session) -> None:
    """Hold the platform's one lock on group moves until the transaction ends."""
    session.flush()
    session.execute(_LOCK)


def subtree(session: Session, organization_id: int) -> list[Node]:
    """The organisation and all below it, each parent before its children, children by name.

    Empty unless the acting person is an ACTIVE OWNER or BILLING_ADMIN of it, or ADMIN: the database decides.
    """
    session.flush()
    rows = session.execute(_ROLLUP, {"org": organization_id, "since": month_start()}).mappings()
    return [Node(**row) for row in rows]


def group(session: Session) -> tuple[list[Node], Totals]:
    """The subtree of the organisation acted for with its sums. Raises INSUFFICIENT_ROLE."""
    nodes = subtree(session, ctx().org_id or -1)
    if not nodes:
        raise DomainError("INSUFFICIENT_ROLE")
    return nodes, totals(nodes)


def totals(nodes: Sequence[Node]) -> Totals:
    """The sums of *nodes*; seats are counted where learners are sponsored."""
    seats = [n.seats_total for n in nodes if n.can_sponsor]
    return Totals(
        organizations=len(nodes),
        members=sum(n.members for n in nodes),
        seats_used=sum(n.seats_used for n in nodes if n.can_sponsor),
        seats_total=None if any(s is None for s in seats) else sum(s or 0 for s in seats),
        wallet_paise=sum(n.wallet_paise or 0 for n in nodes),
        spend_paise=sum(n.spend_paise for n in nodes),
    )


def parent(session: Session) -> Any:
    """The parent of the organisation acted for (id, public_id, name, slug, status, root_public_id), or None."""
    session.flush()
    return session.execute(_PARENT, {"org": ctx().org_id or -1}).one_or_none()


def possible_parents(session: Session) -> list[Seat]:
    """Organisations the acting person may put the one acted for under: ACTIVE, owned, outside its subtree."""
    below = {node.id for node in subtree(session, ctx().org_id or -1)}
    return [seat for seat in _seats(session) if seat.id not in below]


def possible_children(session: Session) -> list[Seat]:
    """Organisations the acting person may put under the one acted for: ACTIVE, owned, not above it."""
    own = session.get_one(Organization, ctx().org_id)
    found = []
    for seat in _seats(session):
        with acting(session, org_id=seat.id):
            row = session.get(Organization, seat.id)
        if row is not None and seat.id not in (own.id, own.root_id) and row.parent_id is None:
            found.append(seat)
    return found


def _seats(session: Session) -> list[Seat]:
    rows = session.execute(
        _owned().where(
            Membership.role == OrgRole.OWNER,
            Membership.status == MembershipStatus.ACTIVE,
            Organization.status == OrgStatus.ACTIVE,
        ),
        execution_options=_ACROSS,
    )
    return [Seat(r.id, r.name, r.slug, r.public_id, r.status, r.membership_id) for r in rows]


def _owned() -> Any:
    return (
        select(
            Organization.id,
            Organization.name,
            Organization.slug,
            Organization.public_id,
            Organization.status,
            Membership.id.label("membership_id"),
            Membership.role,
            Membership.status.label("membership_status"),
        )
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == (ctx().user_id or -1))
        .order_by(Organization.name, Organization.id)
    )


def _seat(session: Session, condition: Any) -> Seat:
    """The organisation of *condition*, owned by the acting person. Raises NOT_A_MEMBER, MEMBERSHIP_SUSPENDED,
    OWNER_REQUIRED, API_KEY_NOT_ALLOWED: a key acts for the organisation it was made in, and no other.
    """
    c = ctx()
    if c.key_id is not None:
        raise DomainError("API_KEY_NOT_ALLOWED")
    found = session.execute(_owned().where(condition), execution_options=_ACROSS).one_or_none()
    if found is not None and found.role == OrgRole.OWNER:
        if found.membership_status == MembershipStatus.ACTIVE:
            return Seat(found.id, found.name, found.slug, found.public_id, found.status, found.membership_id)
        if found.membership_status == MembershipStatus.SUSPENDED and not c.is_admin:
            raise DomainError("MEMBERSHIP_SUSPENDED")
    if c.is_admin:
        with acting(session, scope="platform"):
            row = session.scalars(select(Organization).where(condition)).one_or_none()
        if row is not None:
            return Seat(row.id, row.name, row.slug, row.public_id, row.status, None)
    if found is None or found.membership_status != MembershipStatus.ACTIVE:
        raise DomainError("NOT_A_MEMBER")
    raise DomainError("OWNER_REQUIRED")


def _named(reference: str) -> Any:
    try:
        return Organization.public_id == uuid.UUID(reference)
    except ValueError:
        return Organization.slug == reference


def set_parent(session: Session, reference: str | None) -> Organization:
    """Put the organisation acted for under the parent *reference* (public id or slug); None makes it a root.

    The acting person is an OWNER of it, of the new parent and of the parent it leaves (chapter 1, 1.5, "O of both"); a
    deactivated parent keeps nobody. Repeating a link changes nothing. Raises OWNER_REQUIRED, NOT_A_MEMBER,
    MEMBERSHIP_SUSPENDED, API_KEY_NOT_ALLOWED, ORG_NOT_ACTIVE, ORG_NOT_VERIFIED, HIERARCHY_CYCLE, HIERARCHY_TOO_DEEP.
    """
    if ctx().role != OrgRole.OWNER and not ctx().is_admin:
        raise DomainError("OWNER_REQUIRED")
    lock(session)
    child = session.get_one(Organization, ctx().org_id, populate_existing=True)
    org_status.require(child.status, "hierarchy", active=reference is not None)
    above = _seat(session, _named(reference)) if reference is not None else None
    if (above.id if above else None) == child.parent_id:
        return child
    before = _leaving(session, child) if child.parent_id is not None else None
    nodes = subtree(session, child.id)
    if above is None:
        _rewrite(session, nodes, None, child.id, 0)
    else:
        org_status.require(above.status, "hierarchy", active=True)
        if above.id in {node.id for node in nodes}:
            raise DomainError("HIERARCHY_CYCLE")
        with acting(session, org_id=above.id):
            top = session.get_one(Organization, above.id, populate_existing=True)
        if top.depth + 1 + max(node.level for node in nodes) > MAX_DEPTH:
            raise DomainError("HIERARCHY_TOO_DEEP", most=MAX_DEPTH)
        _rewrite(session, nodes, above.id, top.root_id or above.id, top.depth + 1)
    _record(session, child, before, above)
    session.refresh(child)
    return child


def _leaving(session: Session, child: Organization) -> Seat | None:
    """The parent that *child* leaves; None for one that is deactivated, of which nobody is asked."""
    row = parent(session)
    if row is None or row.status == OrgStatus.DEACTIVATED:
        return None
    return _seat(session, Organization.id == row.id)


def _rewrite(
    session: Session, nodes: Sequence[Node], parent_id: int | None, root_id: int, depth: int
) -> None:
    """Move the subtree *nodes* (its top first) under *parent_id*: every row in its own organisation's scope."""
    for node in nodes:
        values: dict[str, Any] = {"root_id": root_id, "depth": depth + node.level - nodes[0].level}
        if node.id == nodes[0].id:
            values["parent_id"] = parent_id
        with acting(session, org_id=node.id, membership_id=None, role=None):
            session.execute(
                update(Organization)
                .where(Organization.id == node.id)
                .values(**values)
                .execution_options(synchronize_session=False)
            )


def _record(session: Session, child: Organization, before: Seat | None, after: Seat | None) -> None:
    """One audit row on every organisation concerned: the child, the parent it leaves, the one it joins."""
    details = {
        "before": {"parent": before.name if before else None},
        "after": {"parent": after.name if after else None},
    }
    says = f"{child.name} {f'joined the group of {after.name}' if after else 'left its group'}."
    _audit(session, says, child, **details)
    for seat, text_ in (
        (before, f"{child.name} left the group."),
        (after, f"{child.name} joined the group."),
    ):
        if seat is not None:
            with acting(session, org_id=seat.id, membership_id=seat.membership_id, role=OrgRole.OWNER.value):
                _audit(session, text_, child, **details)


def _audit(session: Session, says: str, about: Organization, **details: Any) -> None:
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "HIERARCHY_CHANGED",
        says,
        target_type="organization",
        target_id=about.public_id,
        **details,
    )


def orphan_children(session: Session, organization_id: int) -> int:
    """Make every child of *organization_id* a root of its own, with its subtree; returns how many. It is being deleted.

    Called by an OWNER of it or ADMIN, in the deleting transaction. Each child gets an audit row of the system.
    """
    lock(session)
    nodes = subtree(session, organization_id)
    children = [node for node in nodes if node.parent_id == organization_id]
    for child in children:
        start = nodes.index(child)
        end = next((i for i in range(start + 1, len(nodes)) if nodes[i].level <= child.level), len(nodes))
        _rewrite(session, nodes[start:end], None, child.id, 0)
        with acting(session, org_id=child.id, membership_id=None, role=None, user_id=None):
            audit.record(
                session,
                AuditCategory.SETTINGS,
                "HIERARCHY_CHANGED",
                f"{child.name} stands on its own: its parent {nodes[0].name} was deleted.",
                target_type="organization",
                target_id=child.public_id,
                before={"parent": nodes[0].name},
                after={"parent": None},
            )
    return len(children)
