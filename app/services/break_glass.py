"""Break-glass: for some hours passwords work again where single sign-on is enforced (chapter 3, "Break-glass")."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import AuditCategory, SsoRecoveryCode, SsoSettings, User
from app.security.context import acting, ctx
from app.services import audit, domain_claims, sso
from app.services.member_rules import lock_organization

HOURS, MOST_HOURS, LEAST_REASON, MOST_REASON = 4, 72, 5, 500
_DOOR = text("SELECT sso_recovery_door(:email, :hash)")


def is_open(row: SsoSettings) -> bool:
    """Whether passwords work now because of it."""
    return row.break_glass_until is not None and row.break_glass_until > clock.now()


def open_glass(session: Session, hours: Any, reason: Any, *, by: str | None = None) -> SsoSettings:
    """Open for *hours*; opening again moves the end. Raises Invalid, SSO_NOT_ENFORCED. Owners are mailed at once."""
    clean = " ".join(str(reason or "").split())
    problems: dict[str, list[str]] = {}
    if isinstance(hours, bool) or not isinstance(hours, int) or not 1 <= hours <= MOST_HOURS:
        problems["hours"] = [f"From 1 to {MOST_HOURS} hours."]
    if not LEAST_REASON <= len(clean) <= MOST_REASON:
        problems["reason"] = [f"Say why, in {LEAST_REASON} to {MOST_REASON} characters."]
    if problems:
        raise Invalid(problems)
    lock_organization(session)
    row = sso.kept(session)
    if not row.enforce_sso:
        raise DomainError("SSO_NOT_ENFORCED")
    now = clock.now()
    row.break_glass_until = now + dt.timedelta(hours=hours)
    row.break_glass_opened_at, row.break_glass_reason = now, clean
    row.break_glass_by = by or _who(session)
    row.version += 1
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "SSO_BREAK_GLASS_OPENED",
        f"Break-glass was opened for {hours} hour{'' if hours == 1 else 's'}: {clean}",
        target_type="sso",
        target_id=row.public_id,
        hours=hours,
        reason=clean,
        until=row.break_glass_until.isoformat(),
    )
    domain_claims.tell_owners(
        session,
        "sso_break_glass_opened",
        "Break-glass is open",
        f"Passwords work again for {hours} hour{'' if hours == 1 else 's'}: {clean}",
        until=f"{row.break_glass_until:%d %b %Y, %H:%M} UTC",
        who=row.break_glass_by,
        reason=clean,
    )
    session.flush()
    return row


def close(session: Session, *, note: str = "") -> SsoSettings:
    """Close it now; sessions that used it end. Raises SSO_NOT_ENFORCED when it is not enforced or nothing is open."""
    lock_organization(session)
    row = sso.kept(session)
    if not row.enforce_sso or not is_open(row):
        raise DomainError("SSO_NOT_ENFORCED", message="Break-glass is not open.")
    _end(session, row, note or "It was closed by hand.")
    row.version += 1
    domain_claims.tell_owners(
        session,
        "sso_break_glass_closed",
        "Break-glass is closed",
        "Only your identity provider signs people in again.",
        reason=f"Closed by {_who(session)}.",
    )
    session.flush()
    return row


def _end(session: Session, row: SsoSettings, sentence: str) -> None:
    row.break_glass_until = row.break_glass_opened_at = row.break_glass_reason = row.break_glass_by = None
    sso.revoke_others(session, row)
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "SSO_BREAK_GLASS_CLOSED",
        f"Break-glass was closed. {sentence}",
        target_type="sso",
        target_id=row.public_id,
    )


def open_with_code(session: Session, email: str, code: str, reason: Any) -> SsoSettings:
    """Signed out: an owner's one-time code opens it for four hours. Raises INVALID_CREDENTIALS for every doubt, Invalid,
    SSO_NOT_ENFORCED; a refused attempt uses no code up."""
    door = session.scalar(_DOOR, {"email": str(email).strip()[:320], "hash": sso.code_hash(code)})
    if door is None:
        raise DomainError("INVALID_CREDENTIALS", message="The address or the recovery code is wrong.")
    with acting(
        session, org_id=door["organization_id"], user_id=door["user_id"], membership_id=door["membership_id"]
    ):
        used = session.execute(
            update(SsoRecoveryCode)
            .where(SsoRecoveryCode.code_hash == sso.code_hash(code), SsoRecoveryCode.used_at.is_(None))
            .values(used_at=clock.now())
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
        if not used:
            raise DomainError("INVALID_CREDENTIALS", message="The address or the recovery code is wrong.")
        owner = session.get_one(User, door["user_id"])
        return open_glass(session, HOURS, reason, by=f"{owner.name} with a recovery code")


def tidy(session: Session) -> int:
    """Write down the end of break-glasses whose time is over; they stopped working by themselves. Returns how many."""
    due = session.scalars(
        select(SsoSettings.organization_id).where(SsoSettings.break_glass_until <= clock.now())
    ).all()
    session.commit()
    for organization_id in due:
        with acting(session, scope="org", org_id=organization_id):
            lock_organization(session)
            row = sso.kept(session)
            if row.break_glass_until is not None and row.break_glass_until <= clock.now():
                _end(session, row, "Its time was over.")
        session.commit()
    return len(due)


def _who(session: Session) -> str:
    user = session.get(User, ctx().user_id) if ctx().user_id else None
    return user.name if user is not None else "The platform team"
