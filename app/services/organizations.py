"""Organisations: creation in one transaction and field-gated changes (chapter 1, 1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    BillingAccount,
    FundingSource,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    OrgStatus,
    OrgWorkspaceProfile,
    PlatformRole,
    User,
)
from app.security.context import acting, ctx
from app.security.sessions import bump_generation
from app.services import audit, gstin, invitations, org_fields, org_status, outbox, pan, rates, wind_down
from app.services.invitations import NewInvitation, Sent
from app.services.text import slugify
from config import Settings

MAX_OWNED = 5
_WORDS = {"pan_last4": "the PAN"}
ACROSS = {"skip_tenancy": True}  # with an explicit user filter: row-level security still guards


@dataclass(frozen=True)
class Created:
    """What one Launch made."""

    organization: Organization
    membership: Membership
    account: BillingAccount | None  # None for a host
    org_workspace_profile_id: Any
    invitations: list[Sent]

    @property
    def billing_account_id(self) -> Any:
        """The account's public id."""
        return self.account.public_id if self.account else None


def create_organization(
    session: Session,
    values: dict[str, Any],
    *,
    funding_source: str | None = None,
    invite: Sequence[NewInvitation] = (),
    rate_card: dict[str, int] | None = None,
    allow_host: bool = False,
    settings: Settings | None = None,
) -> Created:
    """Create an organisation owned by the acting person, with everything that belongs to it (chapter 1, "Creation").

    *values* are fields of ``org_fields.FIELDS``; without a slug one is derived from the name. *allow_host* is the flag
    ENABLE_HOST_ORGS; *settings* hold the keys a PAN is kept with; *rate_card* the shares in bps a hosting organisation begins with. Raises UNAUTHENTICATED,
    ONBOARDING_REQUIRED, HOST_ORGS_GATED, INERT_ORG (400), Invalid, GST_STATE_REQUIRED, INVALID_GSTIN_FORMAT,
    INVALID_PAN_FORMAT, RATE_CARD_BPS_SUM, RATE_CARD_PLATFORM_MINIMUM, ORG_LIMIT_REACHED, SLUG_TAKEN, and what invitations raise.
    """
    owner = _creator(session)
    check_capabilities(
        values.get("can_sponsor", True), values.get("can_host", False), allow_host=allow_host, status=400
    )
    fields = _creation_fields(values)
    source = _funding(fields["can_sponsor"], funding_source)
    if rate_card is not None:
        if not fields["can_host"]:
            raise Invalid({"rate_card": ["Only an organisation that hosts shares prices."]})
        rates.Shares(**rate_card).check()
    if _owned(session, owner.id) >= MAX_OWNED:
        raise DomainError("ORG_LIMIT_REACHED", limit=MAX_OWNED)
    new_id = session.execute(
        text("SELECT nextval(pg_get_serial_sequence('organization', 'id'))")
    ).scalar_one()
    pan.take(fields, int(new_id), settings, gstin=fields.get("gstin"))
    with acting(session, org_id=int(new_id), role=OrgRole.OWNER.value, membership_id=None):
        organization = _insert(session, int(new_id), fields, owner)
        account = None
        if source is not None:
            account = BillingAccount(
                funding_source=source, wallet_balance_paise=0 if source == FundingSource.WALLET else None
            )
            session.add(account)
        membership = Membership(
            user_id=owner.id, role=OrgRole.OWNER, status=MembershipStatus.ACTIVE, joined_at=clock.now()
        )
        session.add(membership)
        session.flush()
        with acting(session, membership_id=membership.id):
            audit.record(
                session,
                AuditCategory.MEMBER,
                "MEMBER_ADDED",
                f"{owner.name} founded {organization.name}.",
                target_type="membership",
                target_id=membership.public_id,
                target_membership_id=membership.id,
                role=OrgRole.OWNER.value,
                source="creation",
            )
            if fields["can_host"]:
                rates.put(session, rates.Shares(**rate_card) if rate_card else rates.DEFAULT)
            sent = [invitations.send(session, one.email, one.role, one.department_label) for one in invite]
            _tell_staff(session, organization)
        profile = _workspace(session, owner.id, organization.id)
    bump_generation(session, owner.id)
    return Created(organization, membership, account, profile, sent)


def _creator(session: Session) -> User:
    """The acting person, locked: two creations of one person count each other."""
    user_id = ctx().user_id
    if user_id is None:
        raise DomainError("UNAUTHENTICATED")
    user = session.scalars(
        select(User)
        .where(User.id == user_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if user is None:
        raise DomainError("UNAUTHENTICATED")
    if not user.onboarding_completed:
        raise DomainError("ONBOARDING_REQUIRED")
    return user


def check_capabilities(can_sponsor: Any, can_host: Any, *, allow_host: bool, status: int) -> None:
    """Raises HOST_ORGS_GATED when hosting is asked for while its flag is off, INERT_ORG (*status*) for neither."""
    if can_host and not allow_host:
        raise DomainError("HOST_ORGS_GATED")
    if can_sponsor is False and not can_host:
        raise DomainError("INERT_ORG", http_status=status)


def _creation_fields(values: dict[str, Any]) -> dict[str, Any]:
    given = {"can_sponsor": True, "can_host": False, "name": "", **values}
    problems: dict[str, list[str]] = {}
    if not given.get("slug"):
        given["slug"] = slugify(str(given["name"]))
        if not given["slug"] and str(given["name"]).strip():
            problems["slug"] = ["This name gives no short name in Latin letters. Enter one."]
        if not given["slug"]:
            del given["slug"]
    try:
        fields = org_fields.clean(given)
    except Invalid as error:
        problems = {**error.fields, **problems}
    if problems:
        raise Invalid(problems)
    tax_identity(fields)
    if (
        fields["can_sponsor"]
        and fields.get("data_residency_region", "IN") == "IN"
        and not fields.get("gst_state_code")
    ):
        raise DomainError("GST_STATE_REQUIRED")
    return fields


def tax_identity(fields: dict[str, Any]) -> None:
    """Check ``gstin`` in *fields*; its prefix decides the state. Raises INVALID_GSTIN_FORMAT."""
    if fields.get("gstin"):
        fields["gstin"] = gstin.normalise(fields["gstin"])
        fields["gst_state_code"] = fields["gstin"][:2]


def _funding(can_sponsor: bool, source: str | None) -> FundingSource | None:
    if not can_sponsor:
        return None
    try:
        return FundingSource(source or FundingSource.PERSONAL)
    except ValueError:
        raise Invalid({"funding_source": [f"Choose one of {', '.join(FundingSource)}."]}) from None


def _owned(session: Session, user_id: int) -> int:
    return (
        session.scalar(
            select(func.count())
            .select_from(Membership)
            .join(Organization, Organization.id == Membership.organization_id)
            .where(
                Membership.user_id == user_id,
                Membership.role == OrgRole.OWNER,
                Membership.status == MembershipStatus.ACTIVE,
                Organization.status != OrgStatus.DEACTIVATED,
            ),
            execution_options=ACROSS,
        )
        or 0
    )


def _insert(session: Session, new_id: int, fields: dict[str, Any], owner: User) -> Organization:
    organization = Organization(
        id=new_id,
        root_id=new_id,
        status=OrgStatus.PENDING_VERIFICATION,
        verification_submitted_at=clock.now(),
        created_by_user_id=owner.id,
        **{"billing_email": owner.email, **{k: v for k, v in fields.items() if v is not None}},
    )
    try:
        with session.begin_nested():
            session.add(organization)
    except IntegrityError as error:
        raise _taken(error, fields) from None
    return organization


def _taken(error: IntegrityError, fields: dict[str, Any]) -> Exception:
    """Which unique value of an organisation another one holds already."""
    constraint = str(getattr(getattr(error.orig, "diag", None), "constraint_name", ""))
    if "slug" in constraint:
        return DomainError("SLUG_TAKEN", slug=fields.get("slug"))
    if "invoice_number_prefix" in constraint:
        return Invalid({"invoice_number_prefix": ["Another organisation uses this prefix. Choose another."]})
    return error


def _workspace(session: Session, user_id: int, organization_id: int) -> Any:
    """The person's workspace profile, made at the first organisation; returns its public id."""
    session.execute(
        insert(OrgWorkspaceProfile)
        .values(user_id=user_id, default_landing_organization_id=organization_id)
        .on_conflict_do_nothing(index_elements=["user_id"])
    )
    return session.scalar(select(OrgWorkspaceProfile.public_id).where(OrgWorkspaceProfile.user_id == user_id))


def _tell_staff(session: Session, organization: Organization) -> None:
    for admin_id in session.scalars(
        select(User.id).where(User.platform_role == PlatformRole.ADMIN, User.active)
    ):
        outbox.notify(
            session,
            admin_id,
            "verification",
            f"{organization.name} waits for verification",
            url=f"/admin/organizations/{organization.public_id}",
        )


def current(session: Session) -> Organization:
    """The organisation acted for. Raises NOT_FOUND."""
    row = session.get(Organization, ctx().org_id or -1)
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def update_organization(
    session: Session,
    values: dict[str, Any],
    *,
    expected_version: int | None = None,
    allow_host: bool = False,
    settings: Settings | None = None,
) -> Organization:
    """Change fields of the organisation acted for, as far as the acting role may (chapter 1, "PATCH fields").

    Raises FIELD_RBAC_FORBIDDEN (``fields``), ORG_NOT_VERIFIED, ORG_NOT_ACTIVE, Invalid, HOST_ORGS_GATED, INERT_ORG
    (409), VERSION_CONFLICT, SLUG_TAKEN, SEATS_BELOW_USAGE, INVALID_GSTIN_FORMAT, INVALID_PAN_FORMAT, GST_STATE_REQUIRED and the
    wind-down refusals of capabilities.
    """
    forbidden = sorted(set(values) - org_fields.editable(ctx().roles))
    if forbidden:
        raise DomainError("FIELD_RBAC_FORBIDDEN", fields=forbidden)
    row = current(session)
    _writable(row, values)
    if values.get("can_host"):
        check_capabilities(True, True, allow_host=allow_host, status=409)
    fields = org_fields.clean(values)
    tax_identity(fields)
    _keep_state(row, fields)
    pan.take(fields, row.id, settings, gstin=fields.get("gstin", row.gstin))
    pan.check_gstin(fields.get("gstin"), fields.get("pan_last4", row.pan_last4))
    if expected_version is not None and expected_version != row.version:
        raise DomainError("VERSION_CONFLICT", version=row.version)
    changed_capabilities = {
        k for k in ("can_sponsor", "can_host") if k in fields and fields[k] != getattr(row, k)
    }
    if changed_capabilities:
        _capabilities(session, row, fields, expected_version)
    change: dict[str, Any] = audit.changes(row, fields)
    if not change["after"]:
        return row
    _apply(session, row, {k: fields[k] for k in change["after"]})
    for side in change.values():  # the log knows the last four characters
        side.pop("pan_encrypted", None)
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "SETTINGS_CHANGED",
        f"Changed {', '.join(_WORDS.get(k, k.replace('_', ' ')) for k in change['after']) or 'the PAN'}.",
        target_type="organization",
        target_id=row.public_id,
        **change,
    )
    if changed_capabilities:
        _after_capabilities(session, row)
    return row


def _writable(row: Organization, values: dict[str, Any]) -> None:
    """What the status lets be changed (chapter 1, 1.2, "Status")."""
    org_status.require(row.status)
    early = sorted(set(values) & org_fields.VERIFIED_ONLY)
    if row.status == OrgStatus.PENDING_VERIFICATION and early and not _inert(row, values):
        raise DomainError("ORG_NOT_VERIFIED", fields=early)


def _inert(row: Organization, values: dict[str, Any]) -> bool:
    """Both capabilities off is refused as such in every state."""
    return (
        values.get("can_sponsor", row.can_sponsor) is False and values.get("can_host", row.can_host) is False
    )


def _keep_state(row: Organization, fields: dict[str, Any]) -> None:
    """A registered organisation's state is its GSTIN's; an Indian sponsor always has one."""
    registered = fields.get("gstin", row.gstin)
    if registered and "gst_state_code" in fields:
        fields["gst_state_code"] = registered[:2]
    state = fields.get("gst_state_code", row.gst_state_code)
    sponsor = fields.get("can_sponsor", row.can_sponsor)
    if (
        sponsor
        and not state
        and fields.get("data_residency_region", row.data_residency_region) == "IN"
        and {"gst_state_code", "can_sponsor", "data_residency_region"} & set(fields)
    ):
        raise DomainError("GST_STATE_REQUIRED")


def _capabilities(
    session: Session, row: Organization, fields: dict[str, Any], expected_version: int | None
) -> None:
    """Turning a capability off needs its affairs wound up; every flip names the version it saw."""
    if fields.get("can_sponsor") is False and row.can_sponsor:
        wind_down.end_sponsoring(session)
    if fields.get("can_host") is False and row.can_host:
        wind_down.end_hosting(session)
    if _inert(row, fields):
        raise DomainError("INERT_ORG", http_status=409)
    if expected_version is None:
        raise Invalid({"expected_version": ["Send the version you saw, so that nobody's change is lost."]})


def _apply(session: Session, row: Organization, changes: dict[str, Any]) -> None:
    statement = update(Organization).where(Organization.id == row.id, Organization.version == row.version)
    if changes.get("seats_total") is not None:
        statement = statement.where(Organization.seats_used <= changes["seats_total"])
    try:
        with session.begin_nested():
            done = session.execute(
                statement.values(**changes, version=Organization.version + 1)
                .returning(Organization.id)
                .execution_options(synchronize_session=False)
            ).scalar()
    except IntegrityError as error:
        raise _taken(error, changes) from None
    seen = row.version
    session.refresh(row)
    if done is None and row.version == seen:
        raise DomainError("SEATS_BELOW_USAGE", seats_used=row.seats_used)
    if done is None:
        raise DomainError("VERSION_CONFLICT", version=row.version)


def _after_capabilities(session: Session, row: Organization) -> None:
    """A new sponsor needs a billing account; everybody's session shows the new kind."""
    if row.can_sponsor and session.scalar(select(BillingAccount.id)) is None:
        session.add(BillingAccount(funding_source=FundingSource.PERSONAL))
    session.execute(
        update(User)
        .where(User.id.in_(select(Membership.user_id).where(Membership.status == MembershipStatus.ACTIVE)))
        .values(session_generation=User.session_generation + 1)
        .execution_options(synchronize_session=False)
    )
