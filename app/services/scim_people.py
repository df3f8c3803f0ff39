"""Provisioning by a directory: people come, change and go through the one guard of memberships (chapter 3, 3.2 "User").

Every write locks the organisation first (``member_rules``), so that seats, the growth cap and owners are counted exactly
and two requests about one person never cross. Nothing is audited or announced when nothing changed.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    DomainClaim,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    PlatformRole,
    RoleSource,
    ScimEmail,
    ScimGroup,
    ScimGroupMember,
    ScimProfile,
    User,
)
from app.security.context import ctx
from app.security.sessions import STAFF_ROLES, bump_generation
from app.services import audit, erased_identities, joining, scim_groups, scim_roles, users
from app.services.joining import emit
from app.services.member_rules import (
    CLIENTS,
    check_authority,
    check_clients,
    check_growth,
    check_last_owner,
    check_role,
    clean_department,
    lock_organization,
    membership_of,
    move,
)
from app.services.members import end_sessions
from app.services.scim_directory import Mail
from app.services.text import one_line

UNSET: Any = object()
SOURCE = "scim"
MOST_EMAILS, MOST_USER_NAME, MOST_NAME = 20, 128, 64


@dataclass
class Wanted:
    """What a directory wants of a person; UNSET leaves as it is, None clears."""

    user_name: Any = UNSET
    given: Any = UNSET
    family: Any = UNSET
    formatted: Any = UNSET
    display_name: Any = UNSET  # "": none is shown; None: the account's name is
    external_id: Any = UNSET
    department: Any = UNSET
    emails: Any = UNSET  # list[Mail]; empty: none are shown; None: the account's own is
    active: Any = UNSET
    groups: Any = UNSET  # names, at creation only

    def given_fields(self) -> set[str]:
        """Names of the fields that are not UNSET."""
        return {f.name for f in fields(self) if getattr(self, f.name) is not UNSET}


class Provisioned(NamedTuple):
    """Inner key of the membership, and whether the answer is 201."""

    membership_id: int
    created: bool


# ---- coming ---------------------------------------------------------------------------------------------------------


def provision(session: Session, wanted: Wanted, *, upsert: bool) -> Provisioned:
    """A directory posts a person: a new member, one who comes back, or (*upsert*) the ACTIVE one changed in place.

    Raises Invalid, USER_ERASED, CONFLICT, EMAIL_TAKEN, SEAT_LIMIT_REACHED, DOMAIN_VERIFICATION_REQUIRED,
    ROLE_TRANSITION_BLOCKED, ORG_NOT_ACTIVE and role refusals.
    """
    email = _user_name(wanted.user_name)
    external = _text(wanted.external_id, "externalId", 200)
    if erased_identities.is_erased(session, email, external):
        raise DomainError("USER_ERASED")
    _check_domain(session, email)
    # the account comes before the lock, which everybody else of the organisation waits for; a refusal takes it back
    user = users.find_by_email(session, email) or _account(session, email, wanted)
    organization = lock_organization(session)
    check_authority(organization)
    row = membership_of(session, user.id)
    if user.erased_at is not None or (row is not None and row.status == MembershipStatus.ERASED):
        raise DomainError("USER_ERASED")
    if row is not None and row.status == MembershipStatus.ACTIVE:
        if not upsert:
            raise DomainError("CONFLICT", message="A member with this userName exists already.")
        change_row(session, organization, row, wanted)
        if wanted.groups is not UNSET and wanted.groups:
            scim_groups.set_groups_of(session, organization, row, wanted.groups)
        return Provisioned(row.id, False)
    return Provisioned(_bring_in(session, organization, user, row, wanted).id, True)


def _bring_in(
    session: Session, organization: Organization, user: User, row: Membership | None, wanted: Wanted
) -> Membership:
    """A new row, or the one for life again: ACTIVE, or waiting when the directory says so."""
    before, known = (row.status if row is not None else None), row is not None
    names = wanted.groups if wanted.groups is not UNSET and wanted.groups else []
    mapped = scim_roles.highest(
        [r for n, r in scim_roles.mapped_roles(session).items() if n in {scim_roles.key(x) for x in names}]
    )
    if row is not None:
        kept = scim_roles.wanted(session, [row.id])[row.id]
        mapped = scim_roles.highest([r for r in (mapped, kept) if r is not None])
    role = _role(row, mapped)
    waits = wanted.active is not UNSET and wanted.active is False
    check_role(organization, role)
    if waits:
        row = _waiting(session, user, row, role)
    else:
        check_growth(session, organization)
        if row is not None and row.status == MembershipStatus.SUSPENDED:
            check_clients(row.role, role)
            row.joined_at = clock.now()
            move(session, row, role, MembershipStatus.ACTIVE)
            emit(session, "member.added", row, user, MembershipStatus.SUSPENDED.value, SOURCE)
        else:
            row = joining.activate(session, organization, user, role, None, source=SOURCE).membership
    row.role_source = (
        RoleSource.MANUAL if known and mapped is None and role != scim_roles.DEFAULT else RoleSource.SCIM
    )
    row.scim_deleted_at = None
    with session.no_autoflush:  # one UPDATE for all of it
        changed = _apply(session, row, wanted, fresh=not known)
    for name in names:
        scim_groups.put_in(session, row, name)
    session.flush()
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "SCIM_USER_REPROVISIONED" if known else "SCIM_USER_CREATED",
        f"{user.name} was {'provisioned again' if known else 'provisioned'} by the directory.",
        target_type="membership",
        target_id=row.public_id,
        target_membership_id=row.id,
        role=row.role.value,
        before={"status": before.value if before else None, **changed["before"]},
        after={"status": row.status.value, **changed["after"]},
    )
    return row


def _role(row: Membership | None, mapped: OrgRole | None) -> OrgRole:
    """The role of somebody who comes (back). Who owns and was only suspended still owns; nobody becomes an owner."""
    if row is None:
        return mapped or scim_roles.DEFAULT
    if row.status == MembershipStatus.SUSPENDED and row.role == OrgRole.OWNER:
        return row.role
    if mapped is not None:
        return mapped
    by_hand = row.role_source == RoleSource.MANUAL and row.status != MembershipStatus.REMOVED
    if row.role != OrgRole.OWNER and (by_hand or row.role in CLIENTS):
        return row.role
    return scim_roles.DEFAULT


def _waiting(session: Session, user: User, row: Membership | None, role: OrgRole) -> Membership:
    """Provisioned, not yet active: PENDING takes no seat (chapter 1, 1.3). Who was suspended stays so."""
    if row is None:
        row = Membership(user_id=user.id, role=role, status=MembershipStatus.PENDING, user=user)
        session.add(row)
        session.flush()
        return row
    check_clients(row.role, role)
    status = MembershipStatus.PENDING if row.status == MembershipStatus.REMOVED else row.status
    move(session, row, role, status)
    return row


def _account(session: Session, email: str, wanted: Wanted) -> User:
    """A new account without a password: it signs in through the organisation's provider, or sets one by mail.

    The address stands on a domain the organisation has proven, so it counts as verified.
    """
    given = _text(wanted.given, "name.givenName", MOST_NAME)
    family = _text(wanted.family, "name.familyName", MOST_NAME)
    if given is None and family is None:
        shown = _text(wanted.formatted, "name.formatted", 200) or _text(
            wanted.display_name, "displayName", 200
        )
        given, family = users.split_name(shown) if shown else (None, None)
    now = clock.now()
    user = User(
        email=email,
        username=email,
        first_name=given or "",
        last_name=family or "",
        active=True,
        password="!" + secrets.token_hex(16),  # no hash is spelled so: nothing matches it
        platform_role=PlatformRole.CONSULTEE,
        email_verified_at=now,
        onboarding_completed=True,
        created_on=now.replace(tzinfo=None),
        changed_on=now.replace(tzinfo=None),
        login_count=0,
        fail_login_count=0,
    )
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError:  # signed up in this moment
        found = users.find_by_email(session, email)
        if found is None:
            raise
        return found
    return user


# ---- changing -------------------------------------------------------------------------------------------------------


def change(session: Session, membership_id: int, wanted: Wanted) -> None:
    """Change a member. Call with the organisation locked. Raises as ``change_row`` does."""
    organization = lock_organization(session)
    check_authority(organization)
    change_row(session, organization, _locked(session, membership_id), wanted)


def change_row(session: Session, organization: Organization, row: Membership, wanted: Wanted) -> bool:
    """Write the differences of *wanted* to *row*; returns whether there were any.

    Raises Invalid, EMAIL_TAKEN, FORBIDDEN (the account is not the organisation's to rename), CONFLICT (externalId),
    LAST_OWNER, SEAT_LIMIT_REACHED, DOMAIN_VERIFICATION_REQUIRED, USER_ERASED.
    """
    changed = _apply(session, row, wanted)
    if changed["after"]:
        audit.record(
            session,
            AuditCategory.SYSTEM,
            "SCIM_USER_UPDATED",
            f"{row.user.name} was changed by the directory.",
            target_type="membership",
            target_id=row.public_id,
            target_membership_id=row.id,
            before=changed["before"],
            after=changed["after"],
        )
        emit(session, "member.updated", row, row.user, row.status.value, SOURCE)
    moved = False
    if wanted.active is True and row.status in (MembershipStatus.SUSPENDED, MembershipStatus.PENDING):
        _resume(session, organization, row)
        moved = True
    elif wanted.active is False and row.status == MembershipStatus.ACTIVE:
        _suspend(session, row)
        moved = True
    session.flush()
    return bool(changed["after"]) or moved


def _resume(session: Session, organization: Organization, row: Membership) -> None:
    before = row.status
    check_role(organization, row.role)
    check_growth(session, organization)
    row.joined_at = clock.now() if before == MembershipStatus.PENDING else row.joined_at
    move(session, row, row.role, MembershipStatus.ACTIVE)
    emit(session, "member.added", row, row.user, before.value, SOURCE)
    _record(session, row, "SCIM_USER_REPROVISIONED", "is active again, as the directory says", before)


def _suspend(session: Session, row: Membership) -> None:
    check_last_owner(session, row)
    before = row.status
    end_sessions(session, row)
    move(session, row, row.role, MembershipStatus.SUSPENDED)
    emit(session, "member.removed", row, row.user, before.value, SOURCE)
    _record(session, row, "SCIM_USER_DEPROVISIONED", "was suspended by the directory", before)


def _record(session: Session, row: Membership, action: str, text: str, before: MembershipStatus) -> None:
    audit.record(
        session,
        AuditCategory.SYSTEM,
        action,
        f"{row.user.name} {text}.",
        target_type="membership",
        target_id=row.public_id,
        target_membership_id=row.id,
        before={"status": before.value},
        after={"status": row.status.value},
    )


def remove(session: Session, membership_id: int) -> None:
    """A directory deletes a person: suspended, out of every group and hidden from it until posted again; data stays.

    Raises LAST_OWNER, ORG_NOT_ACTIVE, NOT_FOUND, USER_ERASED.
    """
    organization = lock_organization(session)
    check_authority(organization)
    row = _locked(session, membership_id)
    if row.status == MembershipStatus.ACTIVE:
        _suspend(session, row)
    else:
        before = row.status
        move(session, row, row.role, MembershipStatus.SUSPENDED)
        _record(session, row, "SCIM_USER_DEPROVISIONED", "was deleted by the directory", before)
    row.scim_deleted_at = clock.now()
    left = list(
        session.scalars(
            delete(ScimGroupMember)
            .where(ScimGroupMember.membership_id == row.id)
            .returning(ScimGroupMember.group_id)
            .execution_options(synchronize_session=False)
        )
    )
    if left:
        session.execute(
            update(ScimGroup)
            .where(ScimGroup.id.in_(left))
            .values(version=ScimGroup.version + 1, updated_at=clock.now())
            .execution_options(synchronize_session=False)
        )
    session.flush()


def _locked(session: Session, membership_id: int) -> Membership:
    row = (
        session.scalars(
            select(Membership)
            .where(Membership.id == membership_id)
            .with_for_update(of=Membership)
            .options(joinedload(Membership.user))
            .execution_options(populate_existing=True)
        )
        .unique()
        .one_or_none()
    )
    if row is None or row.status == MembershipStatus.REMOVED:
        raise DomainError("NOT_FOUND")
    if row.status == MembershipStatus.ERASED:
        raise DomainError("USER_ERASED")
    if row.scim_deleted_at is not None:
        raise DomainError("NOT_FOUND")
    return row


# ---- fields ---------------------------------------------------------------------------------------------------------


def _apply(
    session: Session, row: Membership, wanted: Wanted, *, fresh: bool = False
) -> dict[str, dict[str, Any]]:
    """Write what differs; {"before": …, "after": …} by SCIM's names. *fresh*: no directory wrote about the row before."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def note(name: str, old: Any, new: Any) -> None:
        before[name], after[name] = old, new

    _account_fields(session, row, wanted, note)
    if wanted.external_id is not UNSET:
        external = _text(wanted.external_id, "externalId", 200)
        if external != row.external_scim_id:
            if external is not None:
                _free_external_id(session, row, external)
            note("externalId", row.external_scim_id, external)
            row.external_scim_id = external
    if wanted.department is not UNSET:
        try:
            department = clean_department(wanted.department)
        except Invalid:
            raise Invalid({"department": ["At most 100 characters."]}) from None
        if department != row.department_label:
            note("department", row.department_label, department)
            row.department_label = department
            bump_generation(session, row.user_id)
    _profile_fields(session, row, wanted, note, fresh)
    if wanted.emails is not UNSET and _emails(session, row, wanted.emails, fresh):
        note("emails", None, f"{len(wanted.emails or [])} listed")
    if after:
        row.updated_at = clock.now()
        session.flush()
    return {"before": before, "after": after}


def _account_fields(session: Session, row: Membership, wanted: Wanted, note: Any) -> None:
    """userName and name belong to the account: the organisation's to change only on a domain it has proven."""
    user = row.user
    new = {
        "email": _user_name(wanted.user_name) if wanted.user_name is not UNSET else user.email,
        "first_name": user.first_name
        if wanted.given is UNSET
        else _text(wanted.given, "name.givenName", MOST_NAME) or "",
        "last_name": user.last_name
        if wanted.family is UNSET
        else _text(wanted.family, "name.familyName", MOST_NAME) or "",
    }
    differing = {k: v for k, v in new.items() if (getattr(user, k) or "") != v}
    if not differing:
        return
    if user.platform_role in STAFF_ROLES or not _domain_verified(session, user.email):
        raise DomainError(
            "FORBIDDEN",
            message="This account is not on a verified domain of the organisation: its name and address are its own.",
        )
    if "email" in differing:
        _check_domain(session, new["email"])
        if erased_identities.is_erased(session, new["email"], None):
            raise DomainError("USER_ERASED")
        if users.find_by_email(session, new["email"]) is not None:
            raise DomainError("EMAIL_TAKEN", message="Another account has this userName.")
        note("userName", user.email, new["email"])
    names = {"first_name": "name.givenName", "last_name": "name.familyName"}
    for field, scim in names.items():
        if field in differing:
            note(scim, getattr(user, field), new[field])
    for field, value in differing.items():
        setattr(user, field, value)
    user.username = new["email"]
    try:
        with session.begin_nested():
            session.flush()
    except IntegrityError:
        raise DomainError("EMAIL_TAKEN", message="Another account has this userName.") from None
    session.refresh(row, ["updated_at"])


def _free_external_id(session: Session, row: Membership, external: str) -> None:
    """An id of somebody who is gone may be given again; of somebody who is there it may not."""
    holder = session.scalars(
        select(Membership)
        .where(Membership.external_scim_id == external, Membership.id != row.id)
        .with_for_update()
    ).one_or_none()
    if holder is None:
        return
    if holder.scim_deleted_at is None and holder.status not in (
        MembershipStatus.REMOVED,
        MembershipStatus.ERASED,
    ):
        raise DomainError("CONFLICT", message="Another member has this externalId.")
    holder.external_scim_id = None
    session.flush()


def _profile_fields(session: Session, row: Membership, wanted: Wanted, note: Any, fresh: bool) -> None:
    if wanted.display_name is UNSET and wanted.formatted is UNSET:
        return
    profile = None if fresh else _profile(session, row)
    shown = profile.display_name if profile else None
    formatted = profile.formatted_name if profile else None
    new_shown = shown
    if wanted.display_name is not UNSET:
        new_shown = "" if wanted.display_name == "" else _text(wanted.display_name, "displayName", 200)
    new_formatted = formatted if wanted.formatted is UNSET else _text(wanted.formatted, "name.formatted", 200)
    full = f"{row.user.first_name or ''} {row.user.last_name or ''}".strip()
    if new_shown and new_shown == full:
        new_shown = None  # says nothing the name does not say: it follows the name when that changes
    if new_formatted == full:
        new_formatted = None
    if (new_shown, new_formatted) == (shown, formatted):
        return
    profile = profile or _new_profile(session, row)
    if new_shown != shown:
        note("displayName", shown, new_shown)
    if new_formatted != formatted:
        note("name.formatted", formatted, new_formatted)
    profile.display_name, profile.formatted_name = new_shown, new_formatted
    profile.display_key = new_shown.lower() if new_shown is not None else None


def _profile(session: Session, row: Membership) -> ScimProfile | None:
    return session.scalars(select(ScimProfile).where(ScimProfile.membership_id == row.id)).one_or_none()


def _new_profile(session: Session, row: Membership) -> ScimProfile:
    profile = ScimProfile(membership_id=row.id, no_emails=False)
    session.add(profile)
    return profile


def _emails(session: Session, row: Membership, listed: list[Mail] | None, fresh: bool) -> bool:
    """Keep the addresses a directory lists; one that only repeats userName as the work address is not kept."""
    clean = []
    for mail in (listed or [])[: MOST_EMAILS + 1]:
        value = _text(mail.value, "emails.value", 254)
        if value is not None:
            clean.append(
                Mail(
                    value,
                    _text(mail.type, "emails.type", 40),
                    bool(mail.primary),
                    _text(mail.display, "emails.display", 200),
                )
            )
    if len(clean) > MOST_EMAILS:
        raise Invalid({"emails": [f"At most {MOST_EMAILS} addresses."]})
    if [(m.value.lower(), m.type, m.primary, m.display) for m in clean] == [
        (row.user.email, "work", True, None)
    ]:
        clean = []
    if fresh and not clean and listed:
        return False
    old = session.scalars(
        select(ScimEmail).where(ScimEmail.membership_id == row.id).order_by(ScimEmail.position, ScimEmail.id)
    ).all()
    session.flush()  # a profile that was begun a moment ago is found again
    profile, none = _profile(session, row), listed is not None and not listed
    if [Mail(m.value, m.type, m.is_primary, m.display) for m in old] == clean and none == bool(
        profile and profile.no_emails
    ):
        return False
    if none or profile is not None:
        (profile or _new_profile(session, row)).no_emails = none
    session.execute(
        delete(ScimEmail)
        .where(ScimEmail.membership_id == row.id)
        .execution_options(synchronize_session=False)
    )
    for m in old:
        session.expunge(m)
    session.add_all(
        [
            ScimEmail(
                membership_id=row.id,
                position=i,
                value=m.value,
                value_key=m.value.lower(),
                type=m.type,
                is_primary=m.primary,
                display=m.display,
            )
            for i, m in enumerate(clean)
        ]
    )
    session.flush()
    return True


def _text(value: Any, name: str, most: int) -> str | None:
    """One line of text, None for nothing. Raises Invalid for what is longer than *most* characters."""
    if value is UNSET or value is None:
        return None
    text = one_line(str(value))
    if (
        max(len(text), len(text.lower())) > most
    ):  # a few letters grow in lower case, as which they are looked up
        raise Invalid({name: [f"At most {most} characters."]})
    if any("\ud800" <= c <= "\udfff" for c in text):  # half of a pair, by an escape in a path's filter
        raise Invalid({name: ["It must be valid Unicode."]})
    return text or None


def _user_name(value: Any) -> str:
    if value is UNSET or value is None or not str(value).strip():
        raise Invalid({"userName": ["userName is required: the member's e-mail address."]})
    try:
        email = users.normalise_email(value)
    except Invalid:
        raise Invalid({"userName": ["userName must be an e-mail address."]}) from None
    if len(email) > MOST_USER_NAME:
        raise Invalid({"userName": [f"At most {MOST_USER_NAME} characters."]})
    return email


def _domain_verified(session: Session, email: str) -> bool:
    return (
        session.scalar(
            select(func.count(DomainClaim.id)).where(
                DomainClaim.domain == email.rpartition("@")[2].lower(),
                DomainClaim.verified_at.is_not(None),
                DomainClaim.lapsed_at.is_(None),
                DomainClaim.organization_id == ctx().org_id,
            )
        )
        or 0
    ) > 0


def _check_domain(session: Session, email: str) -> None:
    """Raises Invalid for an address on no verified domain of the organisation."""
    if not _domain_verified(session, email):
        raise Invalid({"userName": ["userName must be on a verified domain of the organisation."]})
