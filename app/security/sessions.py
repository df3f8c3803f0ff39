"""Server-side sessions: rows keyed by the hash of a random secret (chapter 3, "Sessions").

The cookie (or a bearer header) carries the secret. One database function checks it, slides or expires the session,
reads the person and every membership, and arms the transaction's tenancy settings: one round trip a request.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from flask_login import UserMixin
from sqlalchemy import text, update
from sqlalchemy.orm import Session
from werkzeug.security import check_password_hash

from app import clock
from app.models import PlatformRole, User, UserSession
from app.security import context, sso_policy
from config import Settings

_IDENTIFY = text("SELECT identify_session(:hash, :org, :now)")
_IDENTIFY_KEY = text("SELECT identify_api_key(:lookup, :now)")
KEY_PREFIX = "csk_"  # of API keys; no session's secret begins so
STAFF_ROLES = frozenset({PlatformRole.ADMIN, PlatformRole.STAFF})


def hash_key(raw: str) -> str:
    """SHA-256, hex: what is stored of any secret that is itself 32 random bytes."""
    return hashlib.sha256(raw.encode()).hexdigest()


@dataclass
class CurrentUser(UserMixin):  # type: ignore[misc]
    """The signed-in person as views see them; Flask-Login's and Flask-AppBuilder's user interface."""

    id: int
    public_id: str
    email: str
    first_name: str
    last_name: str
    platform_role: str
    timezone: str
    image: str | None
    onboarding_completed: bool
    email_verified: bool
    roles: list[Any] = field(default_factory=list)
    is_active: bool = True

    @property
    def username(self) -> str:
        return self.email

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.email

    def get_full_name(self) -> str:
        return self.name

    @property
    def is_staff(self) -> bool:
        return self.platform_role in STAFF_ROLES


@dataclass(frozen=True)
class Identity:
    """What one session key proves: the person, the session, every membership, and the organisation asked for."""

    user: CurrentUser
    session_id: int
    method: str
    memberships: list[dict[str, Any]]
    organization: dict[str, Any] | None
    confirmed_at: dt.datetime | None = None  # when this session last proved who sits there
    provider_id: str | None = None  # the identity provider that signed this session in
    sso: dict[str, Any] | None = None  # what enforces single sign-on on this person, if anything (sso_policy)
    support: dict[str, Any] | None = None  # the open support access that lets ADMIN or STAFF look in
    key_id: int | None = None  # org_api_key.id, when an API key acts


def start(
    session: Session,
    user: User,
    settings: Settings,
    *,
    method: str = "password",
    ip: str | None = None,
    user_agent: str | None = None,
    confirmed: bool = False,
    provider_id: str | None = None,
    sso: dict[str, str | None] | None = None,
) -> str:
    """Open a session for *user* and return its secret, which is stored nowhere.

    *confirmed*: this sign-in was asked for as proof of who it is (single sign-on, which has no password to ask). *sso*:
    ``subject``, ``index`` and ``hint_encrypted`` of a sign-in through *provider_id*, for single logout. Lifetimes: ADMIN
    and STAFF 12 h absolute and 2 h idle, enforced single sign-on 24 h absolute, others 30 days sliding. Raises
    SSO_REQUIRED: every way in ends here, so none passes enforcement by.
    """
    rule = sso_policy.check_sign_in(session, user, method, provider_id)
    raw, now = secrets.token_urlsafe(32), clock.now()
    while raw.startswith(KEY_PREFIX):
        raw = secrets.token_urlsafe(32)
    staff = user.platform_role in STAFF_ROLES
    hours = settings.session_staff_absolute_hours if staff else settings.session_absolute_hours
    if rule.enforced:
        hours = min(hours, settings.session_sso_absolute_hours)
    through = sso or {}
    session.add(
        UserSession(
            key_hash=hash_key(raw),
            user_id=user.id,
            method=method,
            generation=user.session_generation,
            ip=ip,
            user_agent=(user_agent or "")[:300],
            created_at=now,
            last_seen_at=now,
            expires_at=now + dt.timedelta(hours=hours),
            idle_seconds=settings.session_staff_idle_minutes * 60 if staff else None,
            sliding=not staff and not rule.enforced,
            confirmed_at=now if confirmed else None,
            provider_id=provider_id,
            sso_subject=through.get("subject"),
            sso_index=through.get("index"),
            sso_hint_encrypted=through.get("hint_encrypted"),
        )
    )
    session.flush()
    return raw


def identify(
    session: Session, raw: str, org_ref: str = "", *, ip: str | None = None, correlation_id: str | None = None
) -> Identity | None:
    """The identity behind *raw*, acting for *org_ref* (slug or public id) where the person may; None if not valid.

    Also makes that identity the current ``Ctx``. ADMIN reaches every organisation, others their own.
    """
    session.info["arm_later"] = True  # identify_session arms the transaction itself
    try:
        found = session.execute(
            _IDENTIFY, {"hash": hash_key(raw), "org": org_ref, "now": clock.now()}
        ).scalar()
    finally:
        session.info.pop("arm_later", None)
    if found is None:
        context.use(session, context.Ctx(ip=ip, correlation_id=correlation_id))
        return None
    user, org = CurrentUser(**found["user"]), found["organization"]
    active = org is not None and org.get("membership_status") == "ACTIVE"
    acting = context.Ctx(
        org_id=org["organization_id"] if org else None,
        user_id=user.id,
        membership_id=org["membership_id"] if active and org else None,
        role=org["role"] if active and org else None,
        platform_role=user.platform_role if user.is_staff else None,
        ip=ip,
        correlation_id=correlation_id,
    )
    support = found["support"]
    if (
        support and org
    ):  # whoever looks in sees what an owner sees, and may not even do what an administrator may
        acting = replace(acting, role="OWNER", platform_role=PlatformRole.STAFF.value, viewing=True)
        support = {
            **support,
            "started_at": dt.datetime.fromisoformat(support["started_at"]),
            "expires_at": dt.datetime.fromisoformat(support["expires_at"]),
        }
        session.execute(context.READ_ONLY)
    context._current.set(acting)
    confirmed = found["session"]["confirmed_at"]
    return Identity(
        user,
        found["session"]["id"],
        found["session"]["method"],
        found["memberships"],
        org,
        confirmed_at=dt.datetime.fromisoformat(confirmed) if confirmed else None,
        provider_id=found["session"]["provider_id"],
        sso=found["sso"],
        support=support,
    )


def identify_key(
    session: Session, raw: str, lookup: str, *, ip: str | None = None, correlation_id: str | None = None
) -> Identity | None:
    """The identity behind the API key *raw* (*lookup* its keyed hash): its maker, in one organisation; None if dead.

    Also makes that identity the current ``Ctx``: the maker's present role there, narrowed by the key, and never the
    platform's.
    """
    session.info["arm_later"] = True
    try:
        found = session.execute(_IDENTIFY_KEY, {"lookup": lookup, "now": clock.now()}).scalar()
    finally:
        session.info.pop("arm_later", None)
    if found is None or not check_password_hash(found["key"]["hash"], raw):
        context.use(session, context.Ctx(ip=ip, correlation_id=correlation_id))
        return None
    user, org, key = CurrentUser(**found["user"]), found["organization"], found["key"]
    context._current.set(
        context.Ctx(
            org_id=org["organization_id"],
            user_id=user.id,
            membership_id=org["membership_id"],
            role=org["role"],
            ip=ip,
            correlation_id=correlation_id,
            key_id=key["id"],
            key_access=key["access"],
            key_resources=frozenset(key["resources"]),
        )
    )
    return Identity(user, 0, "api_key", found["memberships"], org, key_id=key["id"])


def end(session: Session, raw: str) -> None:
    """Revoke the session of this secret."""
    session.execute(
        update(UserSession)
        .where(UserSession.key_hash == hash_key(raw), UserSession.revoked_at.is_(None))
        .values(revoked_at=clock.now())
    )


def revoke_all(session: Session, user_id: int, *, keep: str | None = None) -> int:
    """Revoke every session of *user_id* except the one of the secret *keep*; returns how many."""
    statement = update(UserSession).where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None))
    if keep:
        statement = statement.where(UserSession.key_hash != hash_key(keep))
    return int(session.execute(statement.values(revoked_at=clock.now())).rowcount)  # type: ignore[attr-defined]


def bump_generation(session: Session, user_id: int) -> None:
    """Memberships of *user_id* changed: sessions notice on their next request (chapter 1, 1.1)."""
    session.execute(
        update(User).where(User.id == user_id).values(session_generation=User.session_generation + 1)
    )
