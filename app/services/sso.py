"""An organisation's single sign-on settings: who it covers and whether it is the only way in (chapter 3, "Settings")."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.identity import domains
from app.models import (
    AuditCategory,
    DomainClaim,
    Membership,
    MembershipStatus,
    OrgRole,
    PlatformRole,
    SsoCertificate,
    SsoProvider,
    SsoRecoveryCode,
    SsoSettings,
    User,
    UserSession,
)
from app.security import sso_policy
from app.security.context import ctx
from app.security.sessions import hash_key
from app.services import audit, domain_claims
from app.services.member_rules import lock_organization

CODES = 10
_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"  # nothing that looks like something else
EDITABLE = ("allowed_email_domains", "enforce_sso", "default_role_for_auto_join")


class Changed(NamedTuple):
    """The settings after a change; *codes* are the acting owner's new recovery codes, shown once; *revoked* sessions."""

    settings: SsoSettings
    codes: list[str]
    revoked: int


def settings_of(session: Session) -> SsoSettings:
    """The organisation's settings; the defaults, not yet kept, where nobody chose anything."""
    row = session.scalars(select(SsoSettings)).one_or_none()
    return row or SsoSettings(
        allowed_email_domains=[],
        enforce_sso=False,
        default_role_for_auto_join=OrgRole.LEARNER,
        version=1,
    )


def kept(session: Session) -> SsoSettings:
    """The settings as a row, locked; made when there is none. Call with the organisation locked."""
    row = session.scalars(
        select(SsoSettings).with_for_update().execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        row = settings_of(session)
        session.add(row)
        session.flush()
    return row


def covered_domains(session: Session, row: SsoSettings) -> list[str]:
    """The verified domains whose people enforcement and auto-join concern."""
    live = domain_claims.verified(session)
    return sorted(live & set(row.allowed_email_domains) if row.allowed_email_domains else live)


def change(session: Session, values: dict[str, Any], expected_version: int | None) -> Changed:
    """Change the settings. Raises Invalid, VERSION_CONFLICT, INVALID_DEFAULT_ROLE, DOMAIN_NOT_OWNED, DOMAIN_NOT_VERIFIED,
    DOMAIN_VERIFICATION_REQUIRED, SSO_NOT_PROVEN, LAST_DOMAIN_GUARD."""
    role = values.get("default_role_for_auto_join")
    if role is not None and str(role) != OrgRole.LEARNER.value:
        raise DomainError("INVALID_DEFAULT_ROLE")
    lock_organization(session)
    row = kept(session)
    if expected_version is None:
        raise Invalid({"expected_version": ["Send the version that you read."]})
    if expected_version != row.version:
        raise DomainError("VERSION_CONFLICT", version=row.version)
    wanted: dict[str, Any] = {}
    if "allowed_email_domains" in values:
        wanted["allowed_email_domains"] = _own_domains(session, values["allowed_email_domains"])
    if "enforce_sso" in values:
        wanted["enforce_sso"] = bool(values["enforce_sso"])
    difference = audit.changes(row, wanted)
    if not difference["after"]:
        return Changed(row, [], 0)
    was = row.enforce_sso
    for name, value in wanted.items():
        setattr(row, name, value)
    if row.enforce_sso:
        _check_enforceable(session, row)
    row.version += 1
    codes: list[str] = []
    revoked = 0
    if row.enforce_sso and not was:
        row.enforced_at = clock.now()
        codes, revoked = _switch_on(session, row)
    elif was and not row.enforce_sso:
        row.enforced_at = None
        row.break_glass_until = row.break_glass_reason = row.break_glass_by = None
        row.break_glass_opened_at = None
        _record(session, row, "SSO_DISABLED", "Single sign-on is no longer enforced.", difference)
    else:
        if row.enforce_sso:
            revoked = revoke_others(session, row)
        _record(session, row, "SETTINGS_CHANGED", "The settings of single sign-on changed.", difference)
    session.flush()
    return Changed(row, codes, revoked)


def _own_domains(session: Session, raw: Any) -> list[str]:
    if not isinstance(raw, list) or len(raw) > domain_claims.MOST:
        raise Invalid({"allowed_email_domains": ["A list of domains."]})
    found = []
    for given in raw:
        name = domains.to_ascii(str(given).strip().rstrip(".").lower())
        check_domain(session, name)
        if name not in found:
            found.append(name)
    return sorted(found)


def check_domain(session: Session, domain: str) -> None:
    """Raises DOMAIN_NOT_OWNED unless the organisation claimed *domain*, DOMAIN_NOT_VERIFIED unless it is verified."""
    row = session.scalars(select(DomainClaim).where(DomainClaim.domain == domain)).one_or_none()
    if row is None or domain_claims.state(row) == "EXPIRED":
        raise DomainError("DOMAIN_NOT_OWNED", domain=domain)
    if row.verified_at is None or row.lapsed_at is not None:
        raise DomainError("DOMAIN_NOT_VERIFIED", domain=domain)


def _check_enforceable(session: Session, row: SsoSettings) -> None:
    covered = covered_domains(session, row)
    if not covered:
        raise DomainError(
            "DOMAIN_VERIFICATION_REQUIRED", message="Verify a domain first: single sign-on covers its people."
        )
    proven = [p for p in usable_providers(session) if p.proven_at is not None]
    if not any(set(p.domains) & set(covered) for p in proven):
        raise DomainError("SSO_NOT_PROVEN")


def usable_providers(session: Session) -> list[SsoProvider]:
    """Enabled providers that can sign somebody in now: readable, with an unexpired certificate."""
    from sqlalchemy.orm import selectinload

    rows = session.scalars(
        select(SsoProvider)
        .where(SsoProvider.enabled)
        .options(selectinload(SsoProvider.certificates))
        .order_by(SsoProvider.id)
        .execution_options(populate_existing=True)
    ).all()
    return [p for p in rows if is_usable(p, p.certificates)]


def is_usable(provider: SsoProvider, certificates: list[SsoCertificate]) -> bool:
    """Whether *provider* could sign somebody in now, whether or not it is enabled."""
    facts = {
        "protocol": provider.protocol.value,
        "sso_url": provider.sso_url,
        "idp_entity_id": provider.idp_entity_id,
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "authorize": (provider.discovery or {}).get("authorization_endpoint"),
        "token": (provider.discovery or {}).get("token_endpoint"),
        "keys": (provider.discovery or {}).get("jwks_uri"),
        "certificates": [c.pem for c in certificates],
    }
    return sso_policy._readable(facts) and sso_policy._current(facts, clock.now())


def guard_last_provider(session: Session, leaving: SsoProvider | None = None) -> None:
    """While enforced, some domain that had a usable provider must not lose it. Call with the change flushed, or name who
    is *leaving*. Raises LAST_PROVIDER_GUARD."""
    row = settings_of(session)
    if not row.enforce_sso:
        return
    covered = set(covered_domains(session, row))
    left = {d for p in usable_providers(session) if p is not leaving for d in p.domains}
    if covered and not covered & left:
        raise DomainError("LAST_PROVIDER_GUARD")


def _switch_on(session: Session, row: SsoSettings) -> tuple[list[str], int]:
    """Enforcement begins: who came otherwise is out, except who switches it on; owners get recovery codes."""
    acting = ctx()
    _record(
        session, row, "SSO_ENABLED", "Single sign-on is enforced.", {"covers": covered_domains(session, row)}
    )
    revoked = revoke_others(session, row, keep_user=acting.user_id)
    codes: list[str] = []
    if acting.user_id is not None and acting.role == OrgRole.OWNER:
        codes = new_codes(session)
    domain_claims.tell_owners(
        session,
        "sso_enforced",
        "Single sign-on is now required",
        "Make your recovery codes: they let an owner back in when the identity provider is down.",
        but=acting.user_id,
        who=_who(session),
    )
    return codes, revoked


def revoke_others(session: Session, row: SsoSettings, *, keep_user: int | None = None) -> int:
    """End the covered sessions that did not come through a provider of the organisation; *keep_user*'s are marked exempt.

    Returns how many ended.
    """
    covered = covered_domains(session, row)
    good = [p.provider_id for p in usable_providers(session)]
    if not covered or not good:
        return 0
    mine = keep_user if keep_user is not None else -1
    people = select(User.id).where(
        func.split_part(func.lower(User.email), "@", 2).in_(covered),
        User.platform_role.not_in([PlatformRole.ADMIN, PlatformRole.STAFF]),
    )
    other_way = (
        UserSession.user_id.in_(people),
        UserSession.revoked_at.is_(None),
        UserSession.sso_exempt.is_(False),
        (UserSession.method != sso_policy.METHOD) | UserSession.provider_id.not_in(good),
    )
    session.execute(
        update(UserSession)
        .where(*other_way, UserSession.user_id == mine)
        .values(sso_exempt=True)
        .execution_options(synchronize_session=False)
    )
    return int(
        session.execute(
            update(UserSession)
            .where(*other_way, UserSession.user_id != mine)
            .values(revoked_at=clock.now())
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
    )


# ---- recovery codes -------------------------------------------------------------------------------------------------


def new_codes(session: Session) -> list[str]:
    """Ten fresh recovery codes of the acting owner; the former ones stop working. Raises OWNER_REQUIRED."""
    acting = ctx()
    if acting.role != OrgRole.OWNER or acting.user_id is None:
        raise DomainError("OWNER_REQUIRED")
    session.execute(
        delete(SsoRecoveryCode)
        .where(SsoRecoveryCode.user_id == acting.user_id)
        .execution_options(synchronize_session=False)
    )
    codes = [
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4)) for _ in range(CODES)
    ]
    session.add_all(SsoRecoveryCode(user_id=acting.user_id, code_hash=code_hash(c)) for c in codes)
    session.flush()
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "SETTINGS_CHANGED",
        "An owner made new recovery codes.",
        target_type="sso",
    )
    return codes


def code_hash(code: str) -> str:
    """What is kept of a recovery code; case, spaces and hyphens do not matter."""
    return hash_key("recovery:" + "".join(c for c in str(code).upper() if c.isalnum())[:64])


def codes_left(session: Session) -> int:
    """Unused recovery codes of the acting person here."""
    return int(
        session.scalar(
            select(func.count(SsoRecoveryCode.id)).where(
                SsoRecoveryCode.user_id == (ctx().user_id or -1), SsoRecoveryCode.used_at.is_(None)
            )
        )
        or 0
    )


def owners_without_codes(session: Session) -> list[str]:
    """Names of ACTIVE owners who hold no unused recovery code."""
    have = select(SsoRecoveryCode.user_id).where(SsoRecoveryCode.used_at.is_(None))
    rows = session.scalars(
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.role == OrgRole.OWNER,
            Membership.status == MembershipStatus.ACTIVE,
            User.id.not_in(have),
        )
    )
    return [u.name for u in rows]


def _who(session: Session) -> str:
    user = session.get(User, ctx().user_id) if ctx().user_id else None
    return user.name if user is not None else "The platform team"


def _record(session: Session, row: SsoSettings, action: str, sentence: str, details: dict[str, Any]) -> None:
    audit.record(
        session,
        AuditCategory.SETTINGS,
        action,
        sentence,
        target_type="sso",
        target_id=row.public_id,
        **details,
    )
