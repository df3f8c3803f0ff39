"""Claims of domains: made, proven by DNS, checked again every day, released (chapter 3, "Domain claims")."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.identity import domains
from app.logs import log
from app.models import (
    AuditCategory,
    DomainClaim,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    SsoProvider,
    SsoSettings,
    User,
)
from app.security.context import acting, ctx
from app.services import audit, outbox
from app.services.member_rules import lock_organization

PENDING_FOR = dt.timedelta(days=14)
WARN_DAYS = (1, 7, 13)
LAPSE_DAY = 14
DAY = dt.timedelta(days=1)
MOST = 50
_HOLDER = text("SELECT domain_holder(:domain)")


class Verified(NamedTuple):
    """A verified claim, and whether it was before."""

    claim: DomainClaim
    already: bool


def state(claim: DomainClaim) -> str:
    """PENDING, VERIFIED, FAILING, LAPSED or EXPIRED."""
    if claim.lapsed_at is not None:
        return "LAPSED"
    if claim.verified_at is None:
        return "EXPIRED" if claim.claimed_at + PENDING_FOR <= clock.now() else "PENDING"
    return "FAILING" if claim.failing_since is not None else "VERIFIED"


def claims(session: Session) -> list[DomainClaim]:
    """The organisation's claims, verified first; expired ones are no more."""
    rows = session.scalars(
        select(DomainClaim).order_by(DomainClaim.verified_at.is_(None), DomainClaim.domain)
    ).all()
    return [row for row in rows if state(row) != "EXPIRED"]


def find(session: Session, domain: str) -> DomainClaim:
    """The organisation's claim of *domain*. Raises NOT_FOUND."""
    name = domains.to_ascii(str(domain).strip().rstrip(".").lower())
    row = session.scalars(select(DomainClaim).where(DomainClaim.domain == name)).one_or_none()
    if row is None or state(row) == "EXPIRED":
        raise DomainError("NOT_FOUND")
    return row


def verified(session: Session) -> set[str]:
    """The domains that count: verified and not lapsed."""
    return set(
        session.scalars(
            select(DomainClaim.domain).where(
                DomainClaim.verified_at.is_not(None), DomainClaim.lapsed_at.is_(None)
            )
        )
    )


def holder(session: Session, domain: str) -> int | None:
    """Inner id of the organisation that verified *domain*."""
    found = session.scalar(_HOLDER, {"domain": domain})
    return int(found) if found is not None else None


def claim(session: Session, domain: str) -> DomainClaim:
    """Claim a domain for the organisation acted for; claiming again answers the same claim.

    Raises Invalid, PUBLIC_DOMAIN, DOMAIN_ALREADY_CLAIMED.
    """
    name = domains.normalise(domain)
    organization = lock_organization(session)
    held = holder(session, name)
    if held is not None and held != organization.id:
        raise DomainError("DOMAIN_ALREADY_CLAIMED", domain=name)
    row = session.scalars(select(DomainClaim).where(DomainClaim.domain == name)).one_or_none()
    if row is not None and state(row) != "EXPIRED":
        return row
    if row is not None:
        session.delete(row)
        session.flush()
    if len(claims(session)) >= MOST:
        raise DomainError("CONFLICT", message=f"An organisation may claim {MOST} domains.")
    row = DomainClaim(domain=name, verification_token=secrets.token_hex(32), claimed_at=clock.now())
    session.add(row)
    session.flush()
    _record(session, row, "DOMAIN_CLAIMED", f"{name} was claimed.")
    return row


def verify(session: Session, domain: str, proves: Callable[[str, str], bool]) -> Verified:
    """Verify the claim of *domain*: *proves(domain, token)* asks DNS, before anything is locked.

    Rivals' pending claims end. Raises NOT_FOUND, DNS_VERIFICATION_FAILED, DNS_RESOLVE_ERROR, DOMAIN_ALREADY_CLAIMED.
    """
    row = find(session, domain)
    if state(row) == "VERIFIED":
        return Verified(row, True)
    if holder(session, row.domain) not in (None, row.organization_id):
        raise DomainError("DOMAIN_ALREADY_CLAIMED", domain=row.domain)
    found = proves(row.domain, row.verification_token)
    if not found:
        raise DomainError(
            "DNS_VERIFICATION_FAILED",
            txt_name=domains.txt_name(row.domain),
            txt_value=domains.txt_value(row.verification_token),
        )
    now, again = clock.now(), row.verified_at is not None and row.lapsed_at is None
    try:
        with session.begin_nested():
            done = session.execute(
                update(DomainClaim)
                .where(DomainClaim.id == row.id, DomainClaim.verification_token == row.verification_token)
                .values(
                    verified_at=row.verified_at if again else now,
                    last_checked_at=now,
                    last_passed_at=now,
                    failing_since=None,
                    lapsed_at=None,
                    warned_day=0,
                )
                .execution_options(synchronize_session=False)
            ).rowcount  # type: ignore[attr-defined]
    except IntegrityError:
        raise DomainError("DOMAIN_ALREADY_CLAIMED", domain=row.domain) from None
    if not done:
        raise DomainError("NOT_FOUND")  # released meanwhile
    session.refresh(row)
    if not again:
        _record(session, row, "DOMAIN_VERIFIED", f"{row.domain} is verified.")
    _end_rivals(session, row)
    return Verified(row, again)


def _end_rivals(session: Session, winner: DomainClaim) -> None:
    """Who claimed the domain without proving it has lost it (chapter 3: pending rivals until one verifies)."""
    with acting(session, scope="platform"):
        rivals = session.execute(
            select(DomainClaim.organization_id, Organization.name, Organization.slug)
            .join(Organization, Organization.id == DomainClaim.organization_id)
            .where(
                DomainClaim.domain == winner.domain,
                DomainClaim.organization_id != winner.organization_id,
                (DomainClaim.verified_at.is_(None)) | (DomainClaim.lapsed_at.is_not(None)),
            )
        ).all()
    for rival in rivals:
        with acting(session, org_id=rival.organization_id, membership_id=None, role=None, user_id=None):
            gone = session.execute(
                delete(DomainClaim)
                .where(DomainClaim.domain == winner.domain)
                .execution_options(synchronize_session=False)
            ).rowcount  # type: ignore[attr-defined]
            if gone:
                audit.record(
                    session,
                    AuditCategory.SETTINGS,
                    "DOMAIN_RELEASED",
                    f"The claim of {winner.domain} ended: another organisation proved that it holds it.",
                    target_type="domain_claim",
                    domain=winner.domain,
                )
                for owner in owners(session):
                    outbox.notify(
                        session,
                        owner.id,
                        "domain_released",
                        f"{winner.domain} belongs to another organisation",
                        "Your claim has ended, because somebody else proved that they hold the domain.",
                        url=f"/dashboard/organization/{rival.slug}/sso",
                    )


def release(session: Session, domain: str) -> None:
    """Give a domain up. Raises NOT_FOUND, LAST_DOMAIN_GUARD while single sign-on is enforced on it,
    CONFLICT while a provider signs it in."""
    lock_organization(session)
    row = find(session, domain)
    settings = session.scalars(select(SsoSettings)).one_or_none()
    live = row.verified_at is not None and row.lapsed_at is None
    scoped = settings is not None and (
        not settings.allowed_email_domains or row.domain in settings.allowed_email_domains
    )
    if live and scoped and settings is not None and settings.enforce_sso:
        raise DomainError("LAST_DOMAIN_GUARD", domain=row.domain)
    for provider in session.scalars(select(SsoProvider)):
        if row.domain in provider.domains:
            raise DomainError(
                "CONFLICT",
                message=f"{provider} signs in people of {row.domain}. Remove it first.",
                provider_id=provider.provider_id,
            )
    if settings is not None and row.domain in settings.allowed_email_domains:
        settings.allowed_email_domains = [d for d in settings.allowed_email_domains if d != row.domain]
        settings.version += 1
    _record(session, row, "DOMAIN_RELEASED", f"{row.domain} was released.")
    session.delete(row)
    session.flush()


# ---- every day ------------------------------------------------------------------------------------------------------


def days_failing(row: DomainClaim, now: dt.datetime) -> int:
    """Days since the proof was last seen, to the nearest: the job runs daily, give or take some seconds."""
    last = row.last_passed_at or row.verified_at or row.claimed_at
    return round((now - last) / DAY)


def reverify(session: Session, proves: Callable[[str, str], bool]) -> dict[str, int]:
    """Look at every verified claim again, and end pending ones after 14 days; one transaction a claim.

    A miss is a definite answer without the proof. Silent or failing name servers are no miss, unless the proof has not
    been seen for two weeks. Returns counts.
    """
    counts = {"passed": 0, "failing": 0, "unknown": 0, "lapsed": 0, "expired": 0}
    rows = session.execute(
        select(
            DomainClaim.id, DomainClaim.organization_id, DomainClaim.domain, DomainClaim.verification_token
        )
        .where(DomainClaim.verified_at.is_not(None), DomainClaim.lapsed_at.is_(None))
        .order_by(DomainClaim.last_checked_at.nulls_first(), DomainClaim.id)
    ).all()
    session.commit()
    for one in rows:
        try:
            passed: bool | None = proves(one.domain, one.verification_token)
        except DomainError:
            passed = None
        try:
            with acting(session, scope="org", org_id=one.organization_id):
                counts[_look(session, one.id, passed)] += 1
            session.commit()
        except Exception as error:  # one claim's trouble is not the others'
            session.rollback()
            log.warning("reverify_failed", claim=one.id, error=type(error).__name__)
    counts["expired"] = _expire(session)
    return counts


def _look(session: Session, claim_id: int, passed: bool | None) -> str:
    row = session.scalars(
        select(DomainClaim)
        .where(DomainClaim.id == claim_id, DomainClaim.lapsed_at.is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None or row.verified_at is None:
        return "unknown"  # released meanwhile
    now = clock.now()
    row.last_checked_at = now
    days = days_failing(row, now)
    if passed:
        row.last_passed_at, row.failing_since, row.warned_day = now, None, 0
        return "passed"
    if passed is None and row.failing_since is None and days <= LAPSE_DAY:
        return "unknown"
    row.failing_since = row.failing_since or now
    # after an outage of the job itself the days are many at once: a claim is always told of, and given its time
    if passed is False and days >= LAPSE_DAY and now - row.failing_since >= (LAPSE_DAY - 1.5) * DAY:
        row.lapsed_at = now
        _record(
            session, row, "DOMAIN_LAPSED", f"{row.domain} lapsed: its DNS record was missing for {days} days."
        )
        _warn(session, row, "domain_lapsed", days)
        return "lapsed"
    due = max((d for d in WARN_DAYS if d <= days), default=0)
    if due > row.warned_day:
        row.warned_day = due
        _warn(session, row, "domain_failing", days)
    return "failing"


def _expire(session: Session) -> int:
    due = session.execute(
        select(DomainClaim.id, DomainClaim.organization_id).where(
            DomainClaim.verified_at.is_(None), DomainClaim.claimed_at <= clock.now() - PENDING_FOR
        )
    ).all()
    session.commit()
    gone = 0
    for one in due:
        with acting(session, scope="org", org_id=one.organization_id):
            gone += session.execute(
                delete(DomainClaim)
                .where(DomainClaim.id == one.id, DomainClaim.verified_at.is_(None))
                .execution_options(synchronize_session=False)
            ).rowcount  # type: ignore[attr-defined]
        session.commit()
    return gone


def owners(session: Session) -> list[Any]:
    """(id, email, name) of the ACTIVE owners of the organisation acted for."""
    return list(
        session.scalars(
            select(User)
            .join(Membership, Membership.user_id == User.id)
            .where(Membership.role == OrgRole.OWNER, Membership.status == MembershipStatus.ACTIVE)
            .order_by(User.id)
        )
    )


def tell_owners(
    session: Session,
    template: str,
    title: str,
    body: str,
    *,
    but: int | None = None,
    mail: bool = True,
    **values: Any,
) -> None:
    """Security mail to every owner at once, whatever they chose to hear, and a bell beside it (chapter 3, 3.9).

    Without *mail* the bell alone: what they were mailed of before still holds.
    """
    organization = session.get_one(Organization, ctx().org_id)
    path = f"/dashboard/organization/{organization.slug}/sso"
    for person in owners(session):
        if person.id == but:
            continue
        outbox.notify(session, person.id, template, title, body, url=path)
        if mail:
            outbox.mail(
                session,
                person.email,
                template,
                name=person.name,
                organization=organization.name,
                path=path,
                **values,
            )


def _warn(session: Session, row: DomainClaim, template: str, days: int) -> None:
    left = max(LAPSE_DAY - days, 0)
    title = (
        f"{row.domain} has lapsed"
        if template == "domain_lapsed"
        else f"The DNS record of {row.domain} is missing"
    )
    body = (
        "Single sign-on and automatic joining have ended for its people."
        if template == "domain_lapsed"
        else f"Put it back within {left} day{'' if left == 1 else 's'}, or the domain lapses."
    )
    tell_owners(
        session,
        template,
        title,
        body,
        domain=row.domain,
        days=days,
        left=left,
        txt_name=domains.txt_name(row.domain),
        txt_value=domains.txt_value(row.verification_token),
    )


def _record(session: Session, row: DomainClaim, action: str, sentence: str) -> None:
    audit.record(
        session,
        AuditCategory.SETTINGS,
        action,
        sentence,
        target_type="domain_claim",
        target_id=row.public_id,
        domain=row.domain,
    )
