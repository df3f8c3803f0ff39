"""Which role a directory's groups give: the highest rank among the mapped ones (chapter 3, 3.2 "Group mapping").

Roles are computed when a mapped group or its mapping changes, and for its members only. A group nobody mapped says
nothing about roles, so pushing one demotes nobody. Owners stay owners; a role set by hand stands until then.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, joinedload

from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    RoleSource,
    ScimGroup,
    ScimGroupMapping,
    ScimGroupMember,
)
from app.security.context import ctx
from app.security.matrix import RANK
from app.services import audit, outbox
from app.services.joining import told
from app.services.member_rules import check_authority, lock_organization, move_roles, words
from app.services.members import check_role_change, facts_of
from app.services.text import one_line

DEFAULT = OrgRole.LEARNER
KEPT_REASONS = frozenset(
    {"REMOVE_AND_REINVITE", "NOT_A_CONSULTANT"}
)  # a mapping passes over these and says so


class Change(NamedTuple):
    """What a mapping does to one member. *problem* is the code of what forbids it, else None."""

    membership_id: uuid.UUID
    name: str
    email: str
    before: OrgRole
    after: OrgRole
    problem: str | None
    sentence: str | None


def key(name: str) -> str:
    """A group's name as it is compared: case ignored."""
    return one_line(name).lower()


def mapped_roles(session: Session) -> dict[str, OrgRole]:
    """Every mapping of the organisation acted for: name in lower case -> role."""
    rows = session.execute(select(ScimGroupMapping.name_key, ScimGroupMapping.role))
    return {r.name_key: r.role for r in rows}


def highest(roles: Iterable[OrgRole]) -> OrgRole | None:
    """The role of the highest rank, or None of none."""
    return max(roles, key=lambda r: RANK[r.value], default=None)


def wanted(
    session: Session, membership_ids: Sequence[int], mapping: dict[str, OrgRole] | None = None
) -> dict[int, OrgRole | None]:
    """What the groups of these members give them under *mapping* (the present one); None where nothing is mapped."""
    mapping = mapped_roles(session) if mapping is None else mapping
    held: dict[int, list[OrgRole]] = {i: [] for i in membership_ids}
    rows = session.execute(
        select(ScimGroupMember.membership_id, ScimGroup.display_key)
        .join(ScimGroup, ScimGroup.id == ScimGroupMember.group_id)
        .where(ScimGroupMember.membership_id.in_(membership_ids))
    )
    for r in rows:
        if r.display_key in mapping:
            held[r.membership_id].append(mapping[r.display_key])
    return {i: highest(roles) for i, roles in held.items()}


def recompute(
    session: Session, organization: Organization, membership_ids: Sequence[int], *, lenient: bool = False
) -> list[Change]:
    """Give these members the role their groups give. Call with the organisation locked; returns what changed.

    *lenient* passes over members whose role may not change for what they did before, and reports them. Raises
    ROLE_TRANSITION_BLOCKED, SEAT_LIMIT_REACHED, EXPERT_REQUIRES_CANHOST and, unless lenient, REMOVE_AND_REINVITE and
    NOT_A_CONSULTANT.
    """
    if not membership_ids:
        return []
    roles, out = wanted(session, membership_ids), []
    rows, kept = _rows(session, membership_ids, lock=True), []
    facts, moves = facts_of(session, rows), []
    for row in rows:
        after = roles[row.id] or DEFAULT
        if row.role == OrgRole.OWNER or row.status == MembershipStatus.ERASED:
            continue
        if after == row.role:
            if row.role_source != RoleSource.SCIM:
                kept.append(row.id)
            continue
        before = row.role
        try:
            check_role_change(session, organization, row, after, facts)
        except DomainError as error:
            if not lenient or error.code not in KEPT_REASONS:
                raise
            out.append(_change(row, before, after, error))
            continue
        moves.append((row, after))
        out.append(_change(row, before, after, None))
    befores = [row.role for row, _ in moves]
    move_roles(session, moves, RoleSource.SCIM)
    if kept:
        session.execute(
            update(Membership)
            .where(Membership.id.in_(kept))
            .values(role_source=RoleSource.SCIM)
            .execution_options(synchronize_session="fetch")
        )
    for (row, _), held in zip(moves, befores, strict=True):
        _record_role(session, row, held)
    outbox.events(
        session, "member.updated", [told(row, row.user, row.status.value, "scim") for row, _ in moves]
    )
    return out


def _record_role(session: Session, row: Membership, before: OrgRole) -> None:
    """Audit of a role that a directory's groups gave."""
    audit.record(
        session,
        AuditCategory.MEMBER,
        "ROLE_CHANGE",
        f"{row.user.name} changed from {words(before)} to {words(row.role)}, as the directory's groups say.",
        target_type="membership",
        target_id=row.public_id,
        target_membership_id=row.id,
        before={"role": before.value},
        after={"role": row.role.value},
        source="scim",
    )


def _rows(session: Session, membership_ids: Sequence[int], *, lock: bool) -> Sequence[Membership]:
    statement = (
        select(Membership)
        .where(Membership.id.in_(membership_ids))
        .options(joinedload(Membership.user))
        .order_by(Membership.id)
    )
    if lock:
        statement = statement.with_for_update(of=Membership).execution_options(populate_existing=True)
    return session.scalars(statement).unique().all()


def _change(row: Membership, before: OrgRole, after: OrgRole, error: DomainError | None) -> Change:
    return Change(
        row.public_id,
        row.user.name,
        row.user.email,
        before,
        after,
        error.code if error else None,
        error.message if error else None,
    )


# ---- mappings -------------------------------------------------------------------------------------------------------


def members_of(session: Session, name: str) -> list[int]:
    """Inner keys of the members of the group of this name, whatever its case."""
    return list(
        session.scalars(
            select(ScimGroupMember.membership_id)
            .join(ScimGroup, ScimGroup.id == ScimGroupMember.group_id)
            .where(ScimGroup.display_key == key(name))
            .order_by(ScimGroupMember.membership_id)
        )
    )


def preview(session: Session, name: str, role: OrgRole | None) -> list[Change]:
    """Whose role would change if *name* were mapped to *role* (None: no longer mapped), and who cannot. Changes nothing.

    Raises Invalid, SCIM_ROLE_NOT_ALLOWED.
    """
    check_mapping(name, role)
    organization = session.get_one(Organization, ctx().org_id)
    mapping = mapped_roles(session)
    mapping.pop(key(name), None)
    if role is not None:
        mapping[key(name)] = role
    ids = members_of(session, name)
    roles, out = wanted(session, ids, mapping), []
    rows = _rows(session, ids, lock=False)
    facts = facts_of(session, rows)
    for row in rows:
        after = roles[row.id] or DEFAULT
        if row.role == OrgRole.OWNER or after == row.role or row.status == MembershipStatus.ERASED:
            continue
        problem = None
        try:
            check_role_change(session, organization, row, after, facts)
        except DomainError as error:
            problem = error
        out.append(_change(row, row.role, after, problem))
    return out


def check_mapping(name: str, role: OrgRole | None) -> None:
    """Raises Invalid for a name that is none, SCIM_ROLE_NOT_ALLOWED for OWNER."""
    if not 1 <= len(one_line(name or "")) <= 255 or len(key(name)) > 255:
        raise Invalid({"scim_group_name": ["Enter the group's name as the directory spells it."]})
    if role == OrgRole.OWNER:
        raise DomainError("SCIM_ROLE_NOT_ALLOWED")


def map_group(session: Session, name: str, role: OrgRole) -> tuple[ScimGroupMapping, list[Change]]:
    """Map the group *name* to *role* and give its members what they now have; returns the mapping and who changed.

    Raises Invalid, SCIM_ROLE_NOT_ALLOWED, SCIM_GROUP_DUPLICATE, ROLE_TRANSITION_BLOCKED, SEAT_LIMIT_REACHED.
    """
    organization = lock_organization(session)
    check_authority(organization, role)
    check_mapping(name, role)
    taken = session.scalar(select(ScimGroupMapping.id).where(ScimGroupMapping.name_key == key(name)))
    if taken is not None:
        raise DomainError("SCIM_GROUP_DUPLICATE")
    row = ScimGroupMapping(
        scim_group_name=one_line(name), name_key=key(name), role=role, created_by_user_id=ctx().user_id
    )
    session.add(row)
    session.flush()
    changed = recompute(session, organization, members_of(session, name), lenient=True)
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "SCIM_GROUP_MAPPED",
        f"Members of the group {row.scim_group_name} become {words(role)}.",
        target_type="scim_group_mapping",
        target_id=row.public_id,
        group=row.scim_group_name,
        role=role.value,
        changed=sum(c.problem is None for c in changed),
    )
    return row, changed


def change_mapping(session: Session, row: ScimGroupMapping, role: OrgRole) -> list[Change]:
    """Another role for a mapped group. Raises as ``map_group`` does."""
    organization = lock_organization(session)
    check_authority(organization, role)
    check_mapping(row.scim_group_name, role)
    if row.role == role:
        return []
    before, row.role = row.role, role
    session.flush()
    changed = recompute(session, organization, members_of(session, row.scim_group_name), lenient=True)
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "SCIM_GROUP_MAPPED",
        f"Members of the group {row.scim_group_name} become {words(role)} instead of {words(before)}.",
        target_type="scim_group_mapping",
        target_id=row.public_id,
        group=row.scim_group_name,
        before={"role": before.value},
        after={"role": role.value},
        changed=sum(c.problem is None for c in changed),
    )
    return changed


def unmap(session: Session, row: ScimGroupMapping) -> list[Change]:
    """The group of *row* gives no role any more. Raises as ``map_group`` does."""
    organization = lock_organization(session)
    check_authority(organization)
    name, public_id = row.scim_group_name, row.public_id
    session.delete(row)
    session.flush()
    changed = recompute(session, organization, members_of(session, name), lenient=True)
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "SCIM_GROUP_UNMAPPED",
        f"The group {name} no longer gives a role.",
        target_type="scim_group_mapping",
        target_id=public_id,
        group=name,
        changed=sum(c.problem is None for c in changed),
    )
    return changed


def mappings(session: Session) -> Sequence[ScimGroupMapping]:
    """Every mapping of the organisation, by name."""
    return session.scalars(select(ScimGroupMapping).order_by(ScimGroupMapping.name_key)).all()


class GroupSize(NamedTuple):
    """A group the directory made, and how many are in it."""

    name: str
    members: int


def group_sizes(session: Session, limit: int = 1000) -> dict[str, GroupSize]:
    """Groups of the directory by lower-case name."""
    rows = session.execute(
        select(ScimGroup.display_key, ScimGroup.display_name, func.count(ScimGroupMember.id))
        .outerjoin(ScimGroupMember, ScimGroupMember.group_id == ScimGroup.id)
        .group_by(ScimGroup.id, ScimGroup.display_key, ScimGroup.display_name)
        .order_by(ScimGroup.display_key)
        .limit(limit)
    )
    return {r[0]: GroupSize(r[1], r[2]) for r in rows}


def find_mapping(session: Session, public_id: uuid.UUID) -> ScimGroupMapping:
    """A mapping of the organisation. Raises NOT_FOUND."""
    row = session.scalars(
        select(ScimGroupMapping).where(ScimGroupMapping.public_id == public_id)
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row
