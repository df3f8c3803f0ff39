"""Reading an organisation's people and groups as its directory sees them: pages, one row, members (chapter 3, 3.2).

Conditions and orders come from the caller (``app/identity/scim/filters.py`` compiles them); row-level security and the
ORM's criteria keep to the organisation acted for. A page costs a constant number of statements.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sqlalchemy import and_, func, select, text, true
from sqlalchemy.orm import Session

from app.errors import DomainError
from app.models import (
    Membership,
    MembershipStatus,
    ScimEmail,
    ScimGroup,
    ScimGroupMember,
    ScimProfile,
    ScimTotal,
    User,
)
from app.security.context import ctx

_IDS = text("SELECT * FROM scim_member_ids(:org, :after, :skip, :limit)")


class Mail(NamedTuple):
    """An address as the directory listed it."""

    value: str
    type: str | None
    primary: bool
    display: str | None = None


class GroupRef(NamedTuple):
    """A group of a member."""

    public_id: uuid.UUID
    name: str


class MemberRef(NamedTuple):
    """A member of a group."""

    public_id: uuid.UUID
    name: str


@dataclass
class Person:
    """A member as a directory sees one."""

    id: int
    public_id: uuid.UUID
    user_id: int
    status: MembershipStatus
    department: str | None
    external_id: str | None
    created_at: dt.datetime
    updated_at: dt.datetime
    email: str
    given: str
    family: str
    display_name: str | None
    formatted: str | None
    no_emails: bool = False
    emails: list[Mail] = field(default_factory=list)
    groups: list[GroupRef] = field(default_factory=list)

    @property
    def active(self) -> bool:
        return self.status == MembershipStatus.ACTIVE

    @property
    def full_name(self) -> str:
        """First and last name; empty while both are."""
        return f"{self.given} {self.family}".strip()

    @property
    def shown(self) -> str:
        """displayName: what the directory gave, else the name, else the address; empty when it took it away."""
        if self.display_name is not None:
            return self.display_name
        return self.full_name or self.email

    @property
    def addresses(self) -> list[Mail]:
        """What the directory listed; while it listed nothing, the account's own as the work address."""
        return self.emails or ([] if self.no_emails else [Mail(self.email, "work", True)])


@dataclass
class GroupView:
    """A group as a directory sees one; ``members`` is None when nobody asked for them."""

    id: int
    public_id: uuid.UUID
    name: str
    external_id: str | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime
    members: list[MemberRef] | None = None


class Anchors(Protocol):
    """Remembers where pages began, so that one neither counts through all before it nor shifts with deletions."""

    def nearest(self, start: int) -> tuple[int, int] | None:
        """(position, inner key before it) of the nearest remembered position up to *start*."""

    def put(self, start: int, before_id: int) -> None:
        """The row at position *start* is the first after the inner key *before_id*."""


class Page(NamedTuple):
    """One page and the total that its filter matches."""

    total: int
    rows: list[Any]


_COLUMNS = (
    Membership.id,
    Membership.public_id,
    Membership.user_id,
    Membership.status,
    Membership.department_label,
    Membership.external_scim_id,
    Membership.created_at,
    Membership.updated_at,
    User.email,
    User.first_name,
    User.last_name,
    ScimProfile.display_name,
    ScimProfile.formatted_name,
    ScimProfile.no_emails,
)


def joined(statement: Any) -> Any:
    """*statement* over memberships with their accounts and profiles."""
    return statement.join(User, User.id == Membership.user_id).outerjoin(
        ScimProfile, ScimProfile.membership_id == Membership.id
    )


def load(session: Session, ids: Sequence[int]) -> list[Person]:
    """The members of these inner keys, in this order, with their addresses and groups: three statements."""
    if not ids:
        return []
    found: dict[int, Person] = {}
    for r in session.execute(joined(select(*_COLUMNS)).where(Membership.id.in_(ids))):
        found[r.id] = Person(
            id=r.id,
            public_id=r.public_id,
            user_id=r.user_id,
            status=r.status,
            department=r.department_label,
            external_id=r.external_scim_id,
            created_at=r.created_at,
            updated_at=r.updated_at,
            email=r.email,
            given=r.first_name or "",
            family=r.last_name or "",
            display_name=r.display_name,
            formatted=r.formatted_name,
            no_emails=bool(r.no_emails),
        )
    mails = (
        select(
            ScimEmail.membership_id, ScimEmail.value, ScimEmail.type, ScimEmail.is_primary, ScimEmail.display
        )
        .where(ScimEmail.membership_id.in_(ids))
        .order_by(ScimEmail.membership_id, ScimEmail.position, ScimEmail.id)
    )
    for m in session.execute(mails):
        found[m.membership_id].emails.append(Mail(m.value, m.type, m.is_primary, m.display))
    groups = (
        select(ScimGroupMember.membership_id, ScimGroup.public_id, ScimGroup.display_name)
        .join(ScimGroup, ScimGroup.id == ScimGroupMember.group_id)
        .where(ScimGroupMember.membership_id.in_(ids))
        .order_by(ScimGroup.display_key)
    )
    for g in session.execute(groups):
        found[g.membership_id].groups.append(GroupRef(g.public_id, g.display_name))
    return [found[i] for i in ids if i in found]


def find(session: Session, public_id: str) -> Person:
    """The member with this id. Raises NOT_FOUND (nobody, removed, or deleted by the directory), USER_ERASED."""
    row = key_of(session, public_id)
    return load(session, [row])[0]


def key_of(session: Session, public_id: str) -> int:
    """Inner key of a member the directory may see. Raises NOT_FOUND, USER_ERASED."""
    try:
        wanted = uuid.UUID(public_id)
    except ValueError:
        raise DomainError("NOT_FOUND") from None
    row = session.execute(
        select(Membership.id, Membership.status, Membership.scim_visible).where(
            Membership.public_id == wanted
        )
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    if row.status == MembershipStatus.ERASED:
        raise DomainError("USER_ERASED")
    if not row.scim_visible:
        raise DomainError("NOT_FOUND")
    return int(row.id)


def people(
    session: Session,
    where: Any | None,
    order: Sequence[Any],
    start: int,
    count: int,
    anchors: Anchors | None = None,
) -> Page:
    """The page of *count* members from position *start* (1 is the first) that match *where*, ordered by *order*.

    Without *order* by inner key, which never changes.
    """
    narrowed = select(Membership.id).where(Membership.scim_visible)
    if where is not None or order:
        narrowed = joined(narrowed)
    if where is not None:
        narrowed = narrowed.where(where)
    ids: list[int] = []
    if count:
        statement = narrowed.order_by(*order, Membership.id).limit(count)
        plain = where is None and not order
        known = anchors.nearest(start) if anchors is not None and not order and start > 1 else None
        skip, after = (start - known[0], known[1]) if known is not None else (start - 1, 0)
        if plain:
            ids = list(
                session.scalars(_IDS, {"org": ctx().org_id, "after": after, "skip": skip, "limit": count})
            )
        else:
            statement = statement.where(Membership.id > after) if after else statement
            ids = list(session.scalars(statement.offset(skip) if skip else statement))
        if anchors is not None and not order and ids:
            if skip:
                anchors.put(start, ids[0] - 1)
            anchors.put(start + len(ids), ids[-1])
    if where is None:
        total = session.scalar(select(ScimTotal.people)) or 0
    elif start == 1 and 0 < len(ids) < count:
        total = len(ids)
    else:
        total = session.scalar(select(func.count()).select_from(narrowed.subquery())) or 0
    return Page(int(total), load(session, ids))


# ---- groups ---------------------------------------------------------------------------------------------------------


def _group(row: ScimGroup) -> GroupView:
    return GroupView(
        id=row.id,
        public_id=row.public_id,
        name=row.display_name,
        external_id=row.external_id,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def find_group(session: Session, public_id: str, *, lock: bool = False) -> ScimGroup:
    """A group of the organisation. Raises NOT_FOUND."""
    try:
        wanted = uuid.UUID(public_id)
    except ValueError:
        raise DomainError("NOT_FOUND") from None
    statement = select(ScimGroup).where(ScimGroup.public_id == wanted)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    row = session.scalars(statement).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def view_group(session: Session, row: ScimGroup, *, members: bool) -> GroupView:
    """*row* as a directory sees it, with its members or without."""
    view = _group(row)
    if members:
        view.members = _members(session, [row.id])[row.id]
    return view


def groups(
    session: Session, where: Any | None, order: Sequence[Any], start: int, count: int, *, members: bool
) -> Page:
    """The page of *count* groups from position *start* that match *where*; with their members when asked for."""
    narrowed = select(ScimGroup) if where is None else select(ScimGroup).where(where)
    rows: list[ScimGroup] = []
    if count:
        rows = list(session.scalars(narrowed.order_by(*order, ScimGroup.id).offset(start - 1).limit(count)))
    total = session.scalar(select(func.count()).select_from(narrowed.subquery())) or 0
    views = [_group(row) for row in rows]
    if members and views:
        found = _members(session, [v.id for v in views])
        for view in views:
            view.members = found[view.id]
    return Page(int(total), views)


def _members(session: Session, group_ids: Sequence[int]) -> dict[int, list[MemberRef]]:
    out: dict[int, list[MemberRef]] = defaultdict(list)
    statement = (
        select(
            ScimGroupMember.group_id,
            Membership.public_id,
            User.first_name,
            User.last_name,
            User.email,
            ScimProfile.display_name,
        )
        .join(Membership, Membership.id == ScimGroupMember.membership_id)
        .join(User, User.id == Membership.user_id)
        .outerjoin(ScimProfile, ScimProfile.membership_id == Membership.id)
        .where(and_(ScimGroupMember.group_id.in_(group_ids), Membership.scim_visible.is_(true())))
        .order_by(ScimGroupMember.group_id, ScimGroupMember.id)
    )
    for r in session.execute(statement):
        name = r.display_name or f"{r.first_name or ''} {r.last_name or ''}".strip() or r.email
        out[r.group_id].append(MemberRef(r.public_id, name))
    return out
