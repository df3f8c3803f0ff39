"""Who an identity provider's answer is, and what follows: trust, linking, joining (chapter 3, "Sign-in", "Auto-join").

Everything happens under the organisation's lock, so two answers at once make one account, one link and one membership.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.identity import oidc
from app.models import (
    AuditCategory,
    Invitation,
    InvitationStatus,
    Membership,
    MembershipStatus,
    OrgRole,
    OrgStatus,
    PlatformRole,
    Severity,
    SsoAttempt,
    SsoIdentity,
    SsoProtocol,
    SsoProvider,
    SsoSeen,
    SystemEvent,
    User,
    UserSession,
)
from app.security import sessions, sso_policy
from app.security.context import acting, ctx
from app.services import audit, domain_claims, joining, outbox, sso, users
from app.services.invitations import claim as claim_invitation
from app.services.member_rules import check_growth, lock_organization, membership_of, words

_DOOR = text("SELECT sso_provider_door(:provider)")
KEPT_ATTEMPTS = dt.timedelta(days=30)


@dataclass(frozen=True)
class Answer:
    """What a provider said of a person, whatever its protocol. *name_id*: SAML's, which may be an address too."""

    subject: str
    email: str
    email_verified: bool = True
    hosted_domain: str | None = None
    name_id: str | None = None
    name: str = ""
    session_index: str | None = None
    authenticated_at: dt.datetime | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


class SignedIn(NamedTuple):
    """Whom to open a session for; *joined* when they became a member by it; *problem* the code why not, if refused."""

    user: User
    joined: bool
    problem: str | None


def organization_of(session: Session, provider_id: str) -> int:
    """Inner id of the organisation of a provider. Raises NOT_FOUND."""
    found = session.scalar(_DOOR, {"provider": str(provider_id)[:60]})
    if found is None:
        raise DomainError("NOT_FOUND")
    return int(found)


# ---- trust ----------------------------------------------------------------------------------------------------------


def trust(session: Session, provider: SsoProvider, answer: Answer) -> str:
    """The address that *answer* stands for, normalised. Raises SSO_EMAIL_DOMAIN_MISMATCH, SSO_EMAIL_NOT_VERIFIED,
    SSO_HOSTED_DOMAIN_MISMATCH."""
    covered = set(provider.domains) & domain_claims.verified(session)
    try:
        email = users.normalise_email(answer.email)
    except Invalid:
        raise DomainError(
            "SSO_EMAIL_DOMAIN_MISMATCH", message="Your identity provider named no usable e-mail address."
        ) from None
    for address in (email, answer.name_id or ""):
        if "@" in address and sso_policy.domain_of(address) not in covered:
            raise DomainError("SSO_EMAIL_DOMAIN_MISMATCH", domain=sso_policy.domain_of(address))
    if provider.protocol == SsoProtocol.OIDC:
        if not answer.email_verified and not provider.trust_email:
            raise DomainError("SSO_EMAIL_NOT_VERIFIED")
        if (provider.issuer in oidc.GOOGLE or answer.hosted_domain is not None) and str(
            answer.hosted_domain or ""
        ).lower() not in covered:
            raise DomainError("SSO_HOSTED_DOMAIN_MISMATCH")
    return email


def seen_before(session: Session, provider: SsoProvider, token_id: str) -> bool:
    """Whether this assertion or token was accepted already."""
    return (
        session.scalar(
            select(SsoSeen.id).where(
                SsoSeen.sso_provider_id == provider.id, SsoSeen.token_id == token_id[:512]
            )
        )
        is not None
    )


def remember(
    session: Session, provider: SsoProvider, token_id: str, until: dt.datetime, *, code: str = "SAML_REPLAY"
) -> None:
    """Accept an assertion or token this once. Raises *code* when it was accepted before, also by a race."""
    try:
        with session.begin_nested():
            session.add(SsoSeen(sso_provider_id=provider.id, token_id=token_id[:512], expires_at=until))
    except IntegrityError:
        raise DomainError(code) from None


# ---- linking --------------------------------------------------------------------------------------------------------


def sign_in(session: Session, provider: SsoProvider, answer: Answer) -> SignedIn:
    """The person of *answer*, linked, and joined where that is due. Acts for the provider's organisation, whose context must
    be set. Raises what ``trust`` raises, SSO_ACCOUNT_ALREADY_LINKED, SSO_PLATFORM_ACCOUNT, SSO_ACCOUNT_CLOSED."""
    email = trust(session, provider, answer)
    lock_organization(session)
    identity = session.scalars(
        select(SsoIdentity).where(
            SsoIdentity.sso_provider_id == provider.id, SsoIdentity.subject == answer.subject
        )
    ).one_or_none()
    user = (
        session.get(User, identity.user_id) if identity is not None else users.find_by_email(session, email)
    )
    if user is None:
        user = _create(session, email, answer.name)
    if user.platform_role in (PlatformRole.ADMIN, PlatformRole.STAFF):
        raise DomainError("SSO_PLATFORM_ACCOUNT")
    if user.erased_at is not None or not user.active:
        raise DomainError("SSO_ACCOUNT_CLOSED")
    if identity is None:
        identity = _link(session, provider, user, answer, email)
    elif identity.email != email:
        other = users.find_by_email(session, email)
        if other is not None and other.id != user.id:
            # the provider gave one person's subject another person's address: nobody is signed in by such an answer
            raise DomainError("SSO_ACCOUNT_ALREADY_LINKED")
    now = clock.now()
    identity.last_used_at, identity.email = now, email
    session.execute(
        update(User)
        .where(User.id == user.id)
        .values(last_login=now.replace(tzinfo=None), login_count=func.coalesce(User.login_count, 0) + 1)
        .execution_options(synchronize_session=False)
    )
    session.flush()
    joined, problem = _join(session, provider, user)
    return SignedIn(user, joined, problem)


def _create(session: Session, email: str, name: str) -> User:
    """An account without a password: its provider signs it in."""
    first, last = users.split_name(name or email.partition("@")[0])
    now = clock.now()
    user = User(
        email=email,
        username=email,
        first_name=first,
        last_name=last,
        active=True,
        password=None,
        platform_role=PlatformRole.CONSULTEE,
        timezone="Asia/Kolkata",
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
    except IntegrityError:  # they signed up at this very moment
        found = users.find_by_email(session, email)
        if found is None:
            raise
        return found
    return user


def _link(session: Session, provider: SsoProvider, user: User, answer: Answer, email: str) -> SsoIdentity:
    taken = session.scalar(
        select(SsoIdentity.id).where(
            SsoIdentity.sso_provider_id == provider.id, SsoIdentity.user_id == user.id
        )
    )
    if taken is not None:
        raise DomainError("SSO_ACCOUNT_ALREADY_LINKED")
    if user.email_verified_at is None:
        # whoever signed up with this address never proved that it is theirs: what they set must not survive
        user.password = None
        user.email_verified_at = clock.now()
        sessions.revoke_all(session, user.id)
    identity = SsoIdentity(sso_provider_id=provider.id, user_id=user.id, subject=answer.subject, email=email)
    try:
        with session.begin_nested():
            session.add(identity)
    except IntegrityError:
        raise DomainError("SSO_ACCOUNT_ALREADY_LINKED") from None
    return identity


# ---- joining --------------------------------------------------------------------------------------------------------


def _join(session: Session, provider: SsoProvider, user: User) -> tuple[bool, str | None]:
    """(became a member, code of what refused it). Never revives SUSPENDED, REMOVED or ERASED members."""
    domain = sso_policy.domain_of(user.email)
    with acting(session, user_id=user.id, membership_id=None, role=None):
        organization = lock_organization(session)
        existing = membership_of(session, user.id)
        if existing is not None and existing.status != MembershipStatus.PENDING:
            return False, None
        if domain not in sso.covered_domains(session, sso.settings_of(session)):
            return False, None
        invitation = session.scalars(
            select(Invitation)
            .where(
                Invitation.email == user.email.lower(),
                Invitation.status == InvitationStatus.PENDING,
                Invitation.expires_at > clock.now(),
            )
            .with_for_update()
        ).one_or_none()
        role = invitation.role if invitation is not None else OrgRole.LEARNER
        try:
            with session.begin_nested():
                if organization.status not in (OrgStatus.ACTIVE, OrgStatus.PENDING_VERIFICATION):
                    raise DomainError("ORG_NOT_ACCEPTING_MEMBERS")
                check_growth(session, organization, adding=0 if invitation is not None else 1)
                joined = joining.activate(
                    session,
                    organization,
                    user,
                    role,
                    invitation.department_label if invitation is not None else None,
                    source="sso_jit",
                )
                if invitation is not None:
                    claim_invitation(
                        session,
                        invitation,
                        InvitationStatus.ACCEPTED,
                        accepted_by_user_id=user.id,
                        accepted_at=clock.now(),
                    )
        except DomainError as refused:
            _warn(session, provider, refused.code)
            return False, refused.code
        audit.record(
            session,
            AuditCategory.MEMBER,
            "MEMBER_ADDED",
            f"{user.name} joined as {words(role)} by single sign-on.",
            target_type="membership",
            target_id=joined.membership.public_id,
            target_membership_id=joined.membership.id,
            role=role.value,
            source="sso_jit",
            provider_id=provider.provider_id,
        )
        for person in session.scalars(
            select(User)
            .join(Membership, Membership.user_id == User.id)
            .where(
                Membership.role.in_([OrgRole.OWNER, OrgRole.MAINTAINER]),
                Membership.status == MembershipStatus.ACTIVE,
                User.id != user.id,
            )
        ):
            outbox.notify(
                session,
                person.id,
                "member_added",
                f"{user.name} joined {organization.name}",
                f"By single sign-on, as {words(role)}.",
                url=f"/dashboard/organization/{organization.slug}/members/",
                routed=True,
            )
    return True, None


def _warn(session: Session, provider: SsoProvider, code: str) -> None:
    """The person is signed in without a membership; engineers and owners can see why."""
    c = ctx()
    outbox._write(
        session,
        SystemEvent,
        organization_id=c.org_id,
        category="sso",
        severity=Severity.WARN,
        message=f"Automatic joining through {provider.provider_id} was refused: {code}",
        context={"provider_id": provider.provider_id, "code": code},
        correlation_id=c.correlation_id,
    )


# ---- attempts -------------------------------------------------------------------------------------------------------


def note(
    session: Session,
    provider: SsoProvider,
    kind: str,
    outcome: str,
    checks: list[dict[str, Any]],
    email: str | None = None,
    *,
    authentic: bool = False,
) -> None:
    """Keep an attempt for the owners' trace viewer; never a token, an assertion or a secret.

    A refusal is audited too when the answer was *authentic*: forgeries of strangers do not fill the log.
    """
    c = ctx()
    session.add(
        SsoAttempt(
            sso_provider_id=provider.id,
            kind=kind,
            outcome=outcome[:60],
            email=(email or "")[:320] or None,
            checks=checks[:40],
            ip=c.ip,
            correlation_id=(c.correlation_id or "")[:64] or None,
        )
    )
    if outcome != "OK" and authentic and kind in ("sign_in", "unsolicited", "confirm"):
        audit.record(
            session,
            AuditCategory.SETTINGS,
            "SSO_SIGN_IN_REFUSED",
            f"A sign-in through {provider} was refused: {outcome}.",
            target_type="sso_provider",
            target_id=provider.public_id,
            code=outcome,
        )
    session.flush()


def proven_by(session: Session, user_id: int | None) -> bool:
    """Whether *user_id* may prove a provider of the organisation acted for: its ACTIVE OWNER, or ADMIN."""
    if user_id is None:
        return False
    user = session.get(User, user_id)
    if user is None or not user.active:
        return False
    if user.platform_role == PlatformRole.ADMIN:
        return True
    return (
        session.scalar(
            select(Membership.id).where(
                Membership.user_id == user_id,
                Membership.role == OrgRole.OWNER,
                Membership.status == MembershipStatus.ACTIVE,
            )
        )
        is not None
    )


def test_result(
    session: Session,
    provider: SsoProvider,
    answer: Answer | None,
    error: DomainError | None,
    by: int | None,
    shown: list[dict[str, Any]],
) -> dict[str, Any]:
    """Keep how an interactive test ended; an owner who completes one proves the provider."""
    now = clock.now()
    checks = list(shown)
    if error is not None:
        checks.append({"name": "Sign-in", "ok": False, "message": error.message})
    elif answer is not None:
        checks.append({"name": "Sign-in", "ok": True, "message": f"{answer.email} would be signed in."})
    result = {
        "ok": error is None,
        "interactive": True,
        "checks": checks,
        "claims": dict(answer.raw) if answer is not None else {},
    }
    provider.last_test_at, provider.last_test_result = now, result
    if error is None and proven_by(session, by):
        if provider.proven_at is None:
            audit.record(
                session,
                AuditCategory.SETTINGS,
                "SSO_PROVIDER_UPDATED",
                f"A test sign-in proved the identity provider {provider}.",
                target_type="sso_provider",
                target_id=provider.public_id,
                provider_id=provider.provider_id,
            )
        provider.proven_at = now
    session.flush()
    return result


# ---- single logout --------------------------------------------------------------------------------------------------


def end_sessions(
    session: Session, provider: SsoProvider, *, subject: str | None, indexes: list[str] | None
) -> int:
    """End the sessions that *provider* opened for *subject*, or only those of the named indexes. Returns how many."""
    if subject is None and not indexes:
        return 0
    clauses = [UserSession.provider_id == provider.provider_id, UserSession.revoked_at.is_(None)]
    if subject is not None:
        clauses.append(UserSession.sso_subject == subject)
    if indexes:
        clauses.append(UserSession.sso_index.in_(indexes))
    return int(
        session.execute(
            update(UserSession)
            .where(*clauses)
            .values(revoked_at=clock.now())
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
    )
