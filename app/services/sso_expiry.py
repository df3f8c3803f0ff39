"""What runs out: certificates of providers, metadata that moves on, things kept for a while (chapter 3, 3.10)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, selectinload

from app import clock
from app.logs import log
from app.models import (
    AuditCategory,
    SsoAttempt,
    SsoCertificate,
    SsoProtocol,
    SsoProvider,
    SsoSeen,
    SsoSetupLink,
)
from app.security.context import acting
from app.services import audit, domain_claims, sso_providers
from config import Settings

AGAIN = dt.timedelta(hours=20)
MOST_ATTEMPTS = 500  # of an organisation
WORDS = {
    "WARN": "expires within 30 days",
    "CRITICAL": "expires within 7 days",
    "EXPIRED": "has expired: nobody can sign in with it any more",
}


def warn(session: Session) -> dict[str, Any]:
    """Tell owners of certificates with 30, 7 or no days left. Returns counts.

    Each level is audited and rung at most once in 20 hours; it is mailed once, because a month of equal mails is read by
    nobody.
    """
    counts = {"WARN": 0, "CRITICAL": 0, "EXPIRED": 0}
    due = session.execute(
        select(SsoCertificate.id, SsoCertificate.organization_id)
        .where(SsoCertificate.not_after <= clock.now() + dt.timedelta(days=30))
        .order_by(SsoCertificate.id)
    ).all()
    session.commit()
    for one in due:
        try:
            with acting(session, scope="org", org_id=one.organization_id):
                told = _warn_one(session, one.id)
            session.commit()
        except Exception as error:  # one certificate's trouble is not the others'
            session.rollback()
            log.warning("certificate_warning_failed", certificate=one.id, error=type(error).__name__)
            continue
        if told:
            counts[told] += 1
    return {k.lower(): v for k, v in counts.items()}


def _warn_one(session: Session, certificate_id: int) -> str | None:
    row = session.scalars(
        select(SsoCertificate)
        .where(SsoCertificate.id == certificate_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        return None
    now, level = clock.now(), sso_providers.level(row)
    if level == "OK" or (row.warned_level == level and row.warned_at and now - row.warned_at < AGAIN):
        return None
    provider = session.get_one(SsoProvider, row.sso_provider_id)
    first = row.warned_level != level
    row.warned_level, row.warned_at = level, now
    sentence = f"A certificate of {provider} {WORDS[level]} ({row.not_after:%d %b %Y})."
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "SSO_CERT_EXPIRING",
        sentence,
        target_type="sso_provider",
        target_id=provider.public_id,
        level=level,
        fingerprint=row.fingerprint,
        not_after=row.not_after.isoformat(),
    )
    title = f"A certificate of {provider} " + ("has expired" if level == "EXPIRED" else "expires soon")
    domain_claims.tell_owners(
        session,
        "sso_certificate_expiring",
        title,
        sentence,
        mail=first,
        headline=title,
        sentence=sentence,
        subject=row.subject or "unnamed",
        fingerprint=row.fingerprint[:32],
    )
    return level


def refresh(session: Session, settings: Settings) -> dict[str, Any]:
    """Read every provider's metadata or discovery again; one transaction a provider. Returns counts."""
    counts = {"read": 0, "failed": 0}
    rows = session.execute(
        select(SsoProvider.id, SsoProvider.organization_id)
        .where((SsoProvider.metadata_url.is_not(None)) | (SsoProvider.protocol == SsoProtocol.OIDC))
        .order_by(SsoProvider.id)
    ).all()
    session.commit()
    for one in rows:
        try:
            with acting(session, scope="org", org_id=one.organization_id):
                row = session.scalars(
                    select(SsoProvider)
                    .where(SsoProvider.id == one.id)
                    .options(selectinload(SsoProvider.certificates))
                    .execution_options(populate_existing=True)
                ).one_or_none()
                if row is not None:
                    done = sso_providers.refresh_metadata(session, settings, row)
                    counts["read" if done else "failed"] += 1
            session.commit()
        except Exception as error:  # one provider's trouble is not the others'
            session.rollback()
            counts["failed"] += 1
            log.warning("metadata_refresh_failed", provider=one.id, error=type(error).__name__)
    return counts


def tidy(session: Session) -> dict[str, Any]:
    """Forget what is over: ids of assertions that are no longer valid, attempts older than 30 days or beyond the latest 500,
    set-up links that ended 30 days ago. Returns counts."""
    now = clock.now()
    month = now - dt.timedelta(days=30)
    counts = {"seen": 0, "attempts": 0, "links": 0}
    organizations = set(
        session.scalars(select(SsoSeen.organization_id).where(SsoSeen.expires_at <= now).distinct())
    )
    organizations |= set(
        session.scalars(select(SsoAttempt.organization_id).where(SsoAttempt.created_at <= month).distinct())
    )
    organizations |= set(
        session.scalars(
            select(SsoAttempt.organization_id)
            .group_by(SsoAttempt.organization_id)
            .having(func.count(SsoAttempt.id) > MOST_ATTEMPTS)
        )
    )
    organizations |= set(
        session.scalars(
            select(SsoSetupLink.organization_id).where(SsoSetupLink.expires_at <= month).distinct()
        )
    )
    session.commit()
    for organization_id in sorted(organizations):
        with acting(session, scope="org", org_id=organization_id):
            newest = select(SsoAttempt.id).order_by(SsoAttempt.id.desc()).limit(1).offset(MOST_ATTEMPTS)
            beyond = session.scalar(newest) or 0
            for name, statement in (
                ("seen", delete(SsoSeen).where(SsoSeen.expires_at <= now)),
                (
                    "attempts",
                    delete(SsoAttempt).where((SsoAttempt.created_at <= month) | (SsoAttempt.id <= beyond)),
                ),
                ("links", delete(SsoSetupLink).where(SsoSetupLink.expires_at <= month)),
            ):
                done = session.execute(statement.execution_options(synchronize_session=False))
                counts[name] += done.rowcount  # type: ignore[attr-defined]
        session.commit()
    return counts
