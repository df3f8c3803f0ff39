"""Tokens of directories: made, listed, revoked, recognised (chapter 3, 3.2 "Tokens").

A token is ``scim_`` and 48 random bytes; its SHA-256 is stored. It also is the secret of an OAuth client whose id is the
token's public id (RFC 6749, 4.4): then short-lived access tokens are signed, and die with the token that made them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from typing import Any, NamedTuple

from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    DuplicatePolicy,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    OutboxMessage,
    ScimToken,
    ScimTokenStatus,
    User,
)
from app.security import context
from app.security.context import acting, ctx
from app.services import audit, outbox
from app.services.member_rules import check_authority, lock_organization
from app.services.text import one_line

PREFIX, ACCESS_PREFIX = "scim_", "scat_"
MOST_ACTIVE, MOST_DAYS, DEFAULT_DAYS = 5, 730, 365
MOST_PER_MINUTE, DEFAULT_PER_MINUTE = 3000, 60
ACCESS_SECONDS = 3600
SHOWN = 12  # characters of the secret that lists show
WARNINGS = (30, 7, 1)  # days before the end
_IDENTIFY = text("SELECT identify_scim_token(:hash, :id, :now)")
_SALT = "scim-access-token"


class NewToken(NamedTuple):
    """A fresh token and its secret, which is stored nowhere."""

    row: ScimToken
    secret: str


@dataclass(frozen=True)
class Caller:
    """The directory behind a request: its token, and the organisation the token fixes."""

    token_id: int
    token: str  # public id
    label: str
    token_hash: str
    state: str  # ACTIVE, EXPIRED or REVOKED
    note: bool  # the misuse of a dead token is to be written down now
    upsert: bool
    rate: int  # requests a minute
    organization_id: int
    organization: str
    slug: str
    organization_name: str
    organization_status: str


def digest(raw: str) -> str:
    """SHA-256 of a secret, hex."""
    return hashlib.sha256(raw.encode()).hexdigest()


def state(row: ScimToken) -> str:
    """ACTIVE, EXPIRED or REVOKED."""
    if row.status == ScimTokenStatus.REVOKED:
        return "REVOKED"
    return "ACTIVE" if row.expires_at > clock.now() else "EXPIRED"


def days_left(row: ScimToken) -> int:
    """Whole days until the token ends; 0 on the last one."""
    return max(0, (row.expires_at - clock.now()).days)


def create(
    session: Session,
    label: str,
    *,
    days: int = DEFAULT_DAYS,
    duplicate_policy: DuplicatePolicy = DuplicatePolicy.UPSERT,
    per_minute: int = DEFAULT_PER_MINUTE,
) -> NewToken:
    """A token for the organisation acted for, valid 1 to 730 *days*, of 1 to 3,000 requests *per_minute*.

    Raises Invalid, TOKEN_LIMIT_REACHED (five are ACTIVE), ORG_NOT_ACTIVE.
    """
    organization = lock_organization(session)
    check_authority(organization)
    name, problems = one_line(label or ""), {}
    if not 1 <= len(name) <= 100:
        problems["label"] = ["Name the directory that will use it, in at most 100 characters."]
    if not 1 <= days <= MOST_DAYS:
        problems["expires_in_days"] = [f"From 1 to {MOST_DAYS} days."]
    if not 1 <= per_minute <= MOST_PER_MINUTE:
        problems["rate_limit_per_minute"] = [f"From 1 to {MOST_PER_MINUTE} requests a minute."]
    if problems:
        raise Invalid(problems)
    if active_count(session) >= MOST_ACTIVE:
        raise DomainError("TOKEN_LIMIT_REACHED", limit=MOST_ACTIVE)
    raw, now = PREFIX + secrets.token_urlsafe(48), clock.now()
    row = ScimToken(
        label=name,
        token_hash=digest(raw),
        token_prefix=raw[:SHOWN],
        status=ScimTokenStatus.ACTIVE,
        duplicate_policy=duplicate_policy,
        rate_limit_per_minute=per_minute,
        expires_at=now + dt.timedelta(days=days),
        created_at=now,
        created_by_user_id=ctx().user_id,
    )
    session.add(row)
    session.flush()
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "SCIM_TOKEN_CREATED",
        f"The provisioning token {name} was made.",
        target_type="scim_token",
        target_id=row.public_id,
        prefix=row.token_prefix,
        duplicate_policy=duplicate_policy.value,
        rate_limit_per_minute=per_minute,
        expires_at=row.expires_at.isoformat(),
    )
    return NewToken(row, raw)


def active_count(session: Session) -> int:
    """Tokens of the organisation that are ACTIVE and not past their end."""
    return int(
        session.scalar(
            select(func.count(ScimToken.id)).where(
                ScimToken.status == ScimTokenStatus.ACTIVE, ScimToken.expires_at > clock.now()
            )
        )
        or 0
    )


def listed(session: Session, limit: int = 200) -> list[ScimToken]:
    """Every token of the organisation, newest first, with who made it."""
    return list(
        session.scalars(
            select(ScimToken)
            .options(joinedload(ScimToken.created_by))
            .order_by(ScimToken.created_at.desc(), ScimToken.id.desc())
            .limit(limit)
        )
    )


def find(session: Session, public_id: uuid.UUID) -> ScimToken:
    """A token of the organisation. Raises NOT_FOUND."""
    row = session.scalars(
        select(ScimToken).where(ScimToken.public_id == public_id).options(joinedload(ScimToken.created_by))
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def set_rate(session: Session, row: ScimToken, per_minute: int) -> ScimToken:
    """Another limit for a token that is in use. Raises Invalid, ILLEGAL_TRANSITION (it is revoked)."""
    check_authority(lock_organization(session))
    if not 1 <= per_minute <= MOST_PER_MINUTE:
        raise Invalid({"rate_limit_per_minute": [f"From 1 to {MOST_PER_MINUTE} requests a minute."]})
    if row.status == ScimTokenStatus.REVOKED:
        raise DomainError("ILLEGAL_TRANSITION", message="This token is revoked.")
    before, row.rate_limit_per_minute = row.rate_limit_per_minute, per_minute
    if before != per_minute:
        audit.record(
            session,
            AuditCategory.SYSTEM,
            "SCIM_TOKEN_UPDATED",
            f"The limit of the provisioning token {row.label} is now {per_minute} requests a minute.",
            target_type="scim_token",
            target_id=row.public_id,
            before={"rate_limit_per_minute": before},
            after={"rate_limit_per_minute": per_minute},
        )
    session.flush()
    return row


def revoke(session: Session, row: ScimToken) -> ScimToken:
    """End a token at once, for good; its row stays. Raises ILLEGAL_TRANSITION when it was revoked already."""
    check_authority(lock_organization(session))
    done = session.execute(
        update(ScimToken)
        .where(ScimToken.id == row.id, ScimToken.status == ScimTokenStatus.ACTIVE)
        .values(status=ScimTokenStatus.REVOKED, revoked_at=clock.now())
        .returning(ScimToken.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    if done is None:
        raise DomainError("ILLEGAL_TRANSITION", message="This token was revoked already.")
    session.refresh(row, ["status", "revoked_at"])
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "SCIM_TOKEN_REVOKED",
        f"The provisioning token {row.label} was revoked.",
        target_type="scim_token",
        target_id=row.public_id,
    )
    return row


# ---- recognising ----------------------------------------------------------------------------------------------------


def identify(session: Session, raw: str, secret_key: str) -> Caller | None:
    """The directory that holds *raw*, a token or an access token; None for anything else, and for a dead access token.

    Makes it the acting identity: the organisation's, with an owner's reach over people and nobody's face.
    """
    by_hash, by_id = "", ""
    if len(raw) > 400:
        return None
    if raw.startswith(ACCESS_PREFIX):
        by_id = _access_owner(raw, secret_key)
        if not by_id:
            return None
    else:
        by_hash = digest(raw)
    found = _lookup(session, by_hash, by_id)
    if found is None:
        return None
    c = ctx()
    context._current.set(
        context.Ctx(
            org_id=found.organization_id,
            role=OrgRole.OWNER.value,
            scim_token_id=found.token_id,
            scim_label=found.label,
            ip=c.ip,
            correlation_id=c.correlation_id,
        )
    )
    return found


def _lookup(session: Session, by_hash: str, by_id: str) -> Caller | None:
    session.info["arm_later"] = True
    try:
        row: dict[str, Any] | None = session.execute(
            _IDENTIFY, {"hash": by_hash, "id": by_id, "now": clock.now()}
        ).scalar()
    finally:
        session.info.pop("arm_later", None)
    if row is None:
        return None
    return Caller(
        token_id=row["id"],
        token=row["public_id"],
        label=row["label"],
        token_hash=row["hash"],
        state=row["state"],
        note=row["note"],
        upsert=row["duplicate_policy"] == DuplicatePolicy.UPSERT,
        rate=row["rate"],
        organization_id=row["organization_id"],
        organization=row["organization"],
        slug=row["slug"],
        organization_name=row["name"],
        organization_status=row["status"],
    )


def note_misuse(session: Session, caller: Caller) -> None:
    """A dead token was used: audit it and tell the owners, who may have a directory that is no longer in step."""
    revoked = caller.state == "REVOKED"
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "SCIM_TOKEN_USED_AFTER_REVOKE" if revoked else "SCIM_TOKEN_EXPIRED_USE",
        f"The provisioning token {caller.label} was used after it {'was revoked' if revoked else 'had ended'}.",
        target_type="scim_token",
        target_id=caller.token,
    )
    page = f"/dashboard/organization/{caller.slug}/integrations/scim"
    what = "was used after it was revoked" if revoked else "has ended, and is still being used"
    for person in _owners(session):
        outbox.mail(
            session,
            person.email,
            "scim_token_misused",
            name=person.first_name,
            organization=caller.organization_name,
            label=caller.label,
            what=what,
            path=page,
        )
        outbox.notify(
            session,
            person.id,
            "scim_token_misused",
            f"The provisioning token {caller.label} {what}",
            url=page,
        )


def _owners(session: Session) -> Any:
    return session.execute(
        select(User.id, User.email, User.first_name)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.status == MembershipStatus.ACTIVE, Membership.role == OrgRole.OWNER)
        .order_by(User.id)
    ).all()


# ---- OAuth client credentials (RFC 6749, 4.4) -----------------------------------------------------------------------


def issue_access(
    session: Session, client_id: str, client_secret: str, secret_key: str
) -> tuple[str, int] | None:
    """(access token, seconds it lives) for the client whose id is a token's and whose secret is that token; else None."""
    try:
        wanted = str(uuid.UUID(client_id))
    except ValueError:
        return None
    found = _lookup(session, "", wanted)
    given = digest(client_secret)
    if found is None or not hmac.compare_digest(found.token_hash, given) or found.state != "ACTIVE":
        return None
    ends = int(clock.now().timestamp()) + ACCESS_SECONDS
    body = [wanted, ends, secrets.token_urlsafe(9)]
    return ACCESS_PREFIX + str(URLSafeSerializer(secret_key, salt=_SALT).dumps(body)), ACCESS_SECONDS


def _access_owner(raw: str, secret_key: str) -> str:
    try:
        wanted, ends, _ = URLSafeSerializer(secret_key, salt=_SALT).loads(raw.removeprefix(ACCESS_PREFIX))
    except (BadSignature, ValueError, TypeError):
        return ""
    return str(wanted) if isinstance(ends, int) and ends > clock.now().timestamp() else ""


# ---- the job --------------------------------------------------------------------------------------------------------


def warn_expiring(session: Session) -> dict[str, int]:
    """Tell owners of tokens that end within 30, 7 and 1 days, once for each threshold. Wants job scope."""
    now, sent = clock.now(), 0
    for index, days in enumerate(WARNINGS):
        after = now + dt.timedelta(days=WARNINGS[index + 1] if index + 1 < len(WARNINGS) else 0)
        due = session.execute(
            select(ScimToken, Organization)
            .join(Organization, Organization.id == ScimToken.organization_id)
            .where(
                ScimToken.status == ScimTokenStatus.ACTIVE,
                ScimToken.expires_at > after,
                ScimToken.expires_at <= now + dt.timedelta(days=days),
                ScimToken.created_at < ScimToken.expires_at - dt.timedelta(days=days),
            )
        ).all()
        for row, organization in due:
            with acting(session, org_id=organization.id):
                sent += _warn(session, row, organization, days)
    return {"warned": sent}


def _warn(session: Session, row: ScimToken, organization: Organization, days: int) -> int:
    page, sent = f"/dashboard/organization/{organization.slug}/integrations/scim", 0
    ends = row.expires_at.astimezone(clock.IST).strftime("%-d %B %Y")
    owners = session.execute(
        select(User.id, User.email, User.first_name)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.organization_id == organization.id,
            Membership.status == MembershipStatus.ACTIVE,
            Membership.role == OrgRole.OWNER,
        )
    ).all()
    for person in owners:
        key = f"scim-token-expiry:{row.public_id}:{days}:{person.id}"
        if session.scalar(select(OutboxMessage.id).where(OutboxMessage.dedupe_key == key)) is not None:
            continue
        outbox.mail(
            session,
            person.email,
            "scim_token_expiring",
            dedupe_key=key,
            name=person.first_name,
            organization=organization.name,
            label=row.label,
            ends=ends,
            path=page,
        )
        outbox.notify(
            session,
            person.id,
            "scim_token_expiring",
            f"The provisioning token {row.label} ends soon",
            f"On {ends}. Make a new one and exchange it in the directory before that day.",
            url=page,
        )
        sent += 1
    return 1 if sent else 0
