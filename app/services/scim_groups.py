"""Groups of a directory: made, renamed, filled and emptied (chapter 3, 3.2; RFC 7643, 4.2).

Every write locks the organisation, so that two edits of one group both count. What a mapped group gives is computed in
the same transaction (``scim_roles``): a member whose role may not change refuses the whole edit.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import AuditCategory, Membership, MembershipStatus, Organization, ScimGroup, ScimGroupMember
from app.security.context import ctx
from app.services import audit, scim_roles
from app.services.member_rules import check_authority, lock_organization
from app.services.text import one_line

UNSET: Any = object()
MOST_MEMBERS = 20_000  # named in one request


def lock(session: Session) -> Organization:
    """The organisation, locked and open for changes. Raises ORG_NOT_ACTIVE."""
    organization = lock_organization(session)
    check_authority(organization)
    return organization


def create(session: Session, name: Any, external_id: Any = None, members: Sequence[str] = ()) -> ScimGroup:
    """A new group with these members (public ids). Raises Invalid, CONFLICT (the name is taken), USER_ERASED and role
    refusals."""
    organization = lock(session)
    text = _name(name)
    _check_free(session, text)
    row = ScimGroup(display_name=text, display_key=scim_roles.key(text), external_id=_external(external_id))
    session.add(row)
    session.flush()
    ids = resolve(session, members)
    _insert(session, row, ids)
    _settle(session, organization, [row.display_key], ids)
    _record(session, row, f"The directory made the group {text}.", added=len(ids))
    return row


def change(
    session: Session,
    organization: Organization,
    row: ScimGroup,
    *,
    name: Any = UNSET,
    external_id: Any = UNSET,
    members: set[int] | None = None,
    add: Iterable[int] = (),
    take: Iterable[int] = (),
) -> bool:
    """Rename *row*, give it the directory's id, replace its members or add and take some; returns whether it changed.

    Members are inner keys. Call with the organisation locked (``lock``) and the row read afterwards. Raises Invalid,
    CONFLICT and role refusals.
    """
    old_key, facts = row.display_key, {}
    if name is not UNSET:
        text = _name(name)
        if text != row.display_name:
            if scim_roles.key(text) != row.display_key:
                _check_free(session, text)
            facts["renamed_from"] = row.display_name
            row.display_name, row.display_key = text, scim_roles.key(text)
    changed = bool(facts)
    if external_id is not UNSET and _external(external_id) != row.external_id:
        row.external_id, changed = _external(external_id), True
    present = set(
        session.scalars(select(ScimGroupMember.membership_id).where(ScimGroupMember.group_id == row.id))
    )
    target = (set(members) if members is not None else set(present)) - set(take) | set(add)
    added, taken = target - present, present - target
    session.flush()
    _insert(session, row, sorted(added))
    if taken:
        session.execute(
            delete(ScimGroupMember)
            .where(ScimGroupMember.group_id == row.id, ScimGroupMember.membership_id.in_(taken))
            .execution_options(synchronize_session=False)
        )
    moved = added | taken
    if old_key != row.display_key:
        moved |= target
    if not (changed or moved):
        return False
    row.version, row.updated_at = row.version + 1, clock.now()
    session.flush()
    _touch(session, moved)
    _settle(session, organization, {old_key, row.display_key}, sorted(moved))
    _record(
        session,
        row,
        f"The directory changed the group {row.display_name}.",
        added=len(added),
        taken=len(taken),
        **facts,
    )
    return True


def remove(session: Session, organization: Organization, row: ScimGroup) -> None:
    """A directory deletes a group; what it gave is taken back. Call with the organisation locked. Role refusals."""
    ids = list(
        session.scalars(
            delete(ScimGroupMember)
            .where(ScimGroupMember.group_id == row.id)
            .returning(ScimGroupMember.membership_id)
            .execution_options(synchronize_session=False)
        )
    )
    name_key = row.display_key
    _record(session, row, f"The directory deleted the group {row.display_name}.", taken=len(ids))
    session.delete(row)
    session.flush()
    _touch(session, ids)
    _settle(session, organization, [name_key], sorted(ids))


def resolve(session: Session, public_ids: Sequence[str]) -> list[int]:
    """Inner keys of members by public id. Raises Invalid naming who is unknown, USER_ERASED."""
    if len(public_ids) > MOST_MEMBERS:
        raise Invalid({"members": [f"At most {MOST_MEMBERS} members in one request."]})
    wanted: dict[uuid.UUID, str] = {}
    unknown = []
    for text in public_ids:
        try:
            wanted[uuid.UUID(str(text))] = str(text)
        except ValueError:
            unknown.append(str(text)[:60])
    found: dict[uuid.UUID, int] = {}
    if wanted:
        rows = session.execute(
            select(Membership.id, Membership.public_id, Membership.status, Membership.scim_visible).where(
                Membership.public_id.in_(list(wanted))
            )
        )
        for r in rows:
            if r.status == MembershipStatus.ERASED:
                raise DomainError("USER_ERASED")
            if r.scim_visible:
                found[r.public_id] = r.id
    unknown += [text for key, text in wanted.items() if key not in found]
    if unknown:
        raise Invalid({"members": [f"No such member: {', '.join(unknown[:5])}."]})
    return sorted(found.values())


def known(session: Session, public_ids: Sequence[str]) -> list[int]:
    """As ``resolve``, passing over who is unknown: taking somebody out who is not there takes nobody out."""
    keys = []
    for text in public_ids[:MOST_MEMBERS]:
        try:
            keys.append(uuid.UUID(str(text)))
        except ValueError:
            continue
    return list(session.scalars(select(Membership.id).where(Membership.public_id.in_(keys)))) if keys else []


def holds(session: Session, row: ScimGroup, public_ids: Sequence[str]) -> bool:
    """Whether one of these members is in the group."""
    ids = known(session, public_ids)
    return bool(ids) and (
        session.scalar(
            select(ScimGroupMember.id)
            .where(ScimGroupMember.group_id == row.id, ScimGroupMember.membership_id.in_(ids))
            .limit(1)
        )
        is not None
    )


def put_in(session: Session, member: Membership, name: str) -> None:
    """Put *member* into the group of this name, which is made where it is missing. The caller sees to the role."""
    row = _by_name(session, name)
    if row is None:
        row = ScimGroup(display_name=_name(name), display_key=scim_roles.key(name))
        session.add(row)
        session.flush()
    if _insert(session, row, [member.id]):
        row.version, row.updated_at = row.version + 1, clock.now()


def set_groups_of(
    session: Session, organization: Organization, member: Membership, names: Sequence[str]
) -> None:
    """Make *names* the groups of *member*; the role follows when a mapped one came or went."""
    wanted = {scim_roles.key(n): n for n in names}
    rows = session.execute(
        select(ScimGroup.display_key, ScimGroup.id)
        .join(ScimGroupMember, ScimGroupMember.group_id == ScimGroup.id)
        .where(ScimGroupMember.membership_id == member.id)
    )
    present: dict[str, int] = {r.display_key: r.id for r in rows}
    for name_key in sorted(wanted.keys() - present.keys()):
        put_in(session, member, wanted[name_key])
    gone = sorted(present.keys() - wanted.keys())
    if gone:
        ids = [present[k] for k in gone]
        session.execute(
            delete(ScimGroupMember)
            .where(ScimGroupMember.membership_id == member.id, ScimGroupMember.group_id.in_(ids))
            .execution_options(synchronize_session=False)
        )
        session.execute(
            update(ScimGroup)
            .where(ScimGroup.id.in_(ids))
            .values(version=ScimGroup.version + 1, updated_at=clock.now())
            .execution_options(synchronize_session=False)
        )
    touched = set(gone) | (wanted.keys() - present.keys())
    if touched:
        _touch(session, [member.id])
        _settle(session, organization, touched, [member.id])


def _settle(
    session: Session, organization: Organization, name_keys: Iterable[str], membership_ids: Sequence[int]
) -> None:
    """Roles follow where one of these names is mapped."""
    if membership_ids and not scim_roles.mapped_roles(session).keys().isdisjoint(name_keys):
        scim_roles.recompute(session, organization, membership_ids)


def _insert(session: Session, row: ScimGroup, membership_ids: Sequence[int]) -> int:
    if not membership_ids:
        return 0
    done = session.execute(
        insert(ScimGroupMember)
        .values(
            [
                {"organization_id": ctx().org_id, "group_id": row.id, "membership_id": m}
                for m in membership_ids
            ]
        )
        .on_conflict_do_nothing(constraint="uq_scim_group_member")
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def _touch(session: Session, membership_ids: Iterable[int]) -> None:
    """meta.lastModified of members whose groups changed."""
    ids = list(membership_ids)
    if ids:
        session.execute(
            update(Membership)
            .where(Membership.id.in_(ids))
            .values(updated_at=clock.now())
            .execution_options(synchronize_session=False)
        )


def _by_name(session: Session, name: str) -> ScimGroup | None:
    return session.scalars(
        select(ScimGroup).where(ScimGroup.display_key == scim_roles.key(name))
    ).one_or_none()


def _check_free(session: Session, name: str) -> None:
    if _by_name(session, name) is not None:
        raise DomainError("CONFLICT", message="A group of this name exists already.")


def _name(value: Any) -> str:
    text = one_line(str(value or ""))
    if not 1 <= len(text) <= 255 or len(scim_roles.key(text)) > 255:
        raise Invalid({"displayName": ["A group needs a name of at most 255 characters."]})
    return text


def _external(value: Any) -> str | None:
    text = one_line(str(value)) if value is not None else ""
    if len(text) > 200:
        raise Invalid({"externalId": ["At most 200 characters."]})
    return text or None


def _record(session: Session, row: ScimGroup, text: str, **facts: Any) -> None:
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "SCIM_GROUP_CHANGED",
        text,
        target_type="scim_group",
        target_id=row.public_id,
        group=row.display_name,
        **facts,
    )
