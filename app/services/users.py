"""People's accounts: sign-up, passwords, one-time links (chapter 1, 1.1)."""

from __future__ import annotations

import datetime as dt
import re
import secrets

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from werkzeug.security import check_password_hash, generate_password_hash

from app import clock
from app.errors import DomainError, Invalid
from app.models import OneTimeToken, PlatformRole, User
from app.security import sessions
from app.services import outbox

MIN_PASSWORD, MAX_PASSWORD, MAX_NAME = 8, 200, 100
RESET_VALID = dt.timedelta(hours=1)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DUMMY_HASH = generate_password_hash(
    secrets.token_hex(8)
)  # a failed look-up takes as long as a wrong password


def normalise_email(raw: object) -> str:
    """The address trimmed and lower-cased. Raises Invalid with one friendly sentence; nothing of the validator shows."""
    text = str(raw or "").strip()
    try:
        if len(text) > 254:
            raise EmailNotValidError
        return str(validate_email(text, check_deliverability=False, test_environment=True).normalized).lower()
    except EmailNotValidError:
        raise Invalid({"email": ["Enter a valid e-mail address, like name@company.com."]}) from None


def _check_password(password: str) -> None:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD or "\x00" in password:
        raise Invalid({"password": [f"Use {MIN_PASSWORD} to {MAX_PASSWORD} characters."]})


def split_name(name: str) -> tuple[str, str]:
    """First and last name of a full name; the last may be empty."""
    first, _, last = name.strip().partition(" ")
    return first[:64], last.strip()[:64]


def find_by_email(session: Session, email: str) -> User | None:
    """The account of an address, any case, or None."""
    return session.scalars(select(User).where(User.email == email.strip().lower())).one_or_none()


def create_user(
    session: Session,
    email: str,
    password: str,
    name: str,
    *,
    platform_role: PlatformRole = PlatformRole.CONSULTEE,
    email_verified: bool = False,
    onboarded: bool = True,
    timezone: str = "Asia/Kolkata",
) -> User:
    """Create an account. Raises Invalid for a bad address, password or name, EMAIL_TAKEN for a known address."""
    problems: dict[str, list[str]] = {}
    address = ""
    for check in (lambda: normalise_email(email), lambda: _check_password(password)):
        try:
            address = check() or address
        except Invalid as error:
            problems.update(error.fields)
    clean = _CONTROL.sub("", name or "").strip()
    if not 1 <= len(clean) <= MAX_NAME:
        problems["name"] = [f"Enter your name, at most {MAX_NAME} characters."]
    if problems:
        raise Invalid(problems)
    if find_by_email(session, address):
        raise DomainError("EMAIL_TAKEN")
    first, last = split_name(clean)
    now = clock.now()
    user = User(
        email=address,
        username=address,
        first_name=first,
        last_name=last,
        active=True,
        password=generate_password_hash(password),
        platform_role=platform_role,
        timezone=timezone,
        email_verified_at=now if email_verified else None,
        onboarding_completed=onboarded,
        created_on=now.replace(tzinfo=None),
        changed_on=now.replace(tzinfo=None),
        login_count=0,
        fail_login_count=0,
    )
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError:
        raise DomainError("EMAIL_TAKEN") from None
    return user


def authenticate(session: Session, email: str, password: str) -> User:
    """The account of a correct address and password. Raises INVALID_CREDENTIALS, the same for every cause."""
    user = find_by_email(session, str(email or ""))
    stored = user.password if user and user.password else _DUMMY_HASH
    correct = "\x00" not in str(password) and check_password_hash(stored, str(password or "")[:MAX_PASSWORD])
    if user is None or not correct or not user.active or user.erased_at is not None:
        raise DomainError("INVALID_CREDENTIALS")
    session.execute(
        update(User)
        .where(User.id == user.id)
        .values(
            last_login=clock.now().replace(tzinfo=None), login_count=func.coalesce(User.login_count, 0) + 1
        )
    )
    return user


def generation(session: Session, user_id: int) -> int:
    """How often the memberships of this person changed: a session compares it (chapter 1, 1.1)."""
    return int(session.scalar(select(User.session_generation).where(User.id == user_id)) or 0)


def request_reset(session: Session, email: str) -> None:
    """Mail a reset link if the address has an account; the caller answers the same either way."""
    user = find_by_email(session, str(email or "")[:320])
    if user is None or user.erased_at is not None or not user.active:
        return
    raw, now = secrets.token_urlsafe(32), clock.now()
    session.add(
        OneTimeToken(
            token_hash=sessions.hash_key(raw),
            purpose="password_reset",
            user_id=user.id,
            created_at=now,
            expires_at=now + RESET_VALID,
        )
    )
    outbox.mail(session, user.email, "password_reset", name=user.name, path=f"/reset-password/{raw}")


def reset_user(session: Session, token: str) -> User:
    """Whose unused, unexpired reset link this is. Raises LINK_EXPIRED."""
    row = session.scalars(
        select(OneTimeToken).where(
            OneTimeToken.token_hash == sessions.hash_key(token),
            OneTimeToken.purpose == "password_reset",
            OneTimeToken.used_at.is_(None),
            OneTimeToken.expires_at > clock.now(),
        )
    ).one_or_none()
    user = session.get(User, row.user_id) if row else None
    if user is None:
        raise DomainError("LINK_EXPIRED")
    return user


def reset_password(session: Session, token: str, password: str) -> User:
    """Set a new password by a reset link, once; signs out every session. Raises LINK_EXPIRED, Invalid."""
    user = reset_user(session, token)
    _check_password(password)
    claimed = session.execute(
        update(OneTimeToken)
        .where(OneTimeToken.token_hash == sessions.hash_key(token), OneTimeToken.used_at.is_(None))
        .values(used_at=clock.now())
    ).rowcount  # type: ignore[attr-defined]
    if not claimed:
        raise DomainError("LINK_EXPIRED")
    user.password = generate_password_hash(password)
    user.email_verified_at = user.email_verified_at or clock.now()
    session.execute(
        update(OneTimeToken)
        .where(OneTimeToken.user_id == user.id, OneTimeToken.used_at.is_(None))
        .values(used_at=clock.now())
    )
    sessions.revoke_all(session, user.id)
    outbox.mail(session, user.email, "password_changed", name=user.name)
    session.flush()
    return user


def check_password(session: Session, user_id: int, password: str) -> User:
    """The person, if *password* is theirs. Raises INVALID_CREDENTIALS."""
    user = session.get(User, user_id)
    given = str(password or "")[:MAX_PASSWORD]
    correct = check_password_hash(user.password if user and user.password else _DUMMY_HASH, given)
    if user is None or not user.password or not correct:
        raise DomainError("INVALID_CREDENTIALS", message="The password is wrong.")
    return user


def change_password(
    session: Session, user_id: int, current: str, new: str, *, keep_session: str | None
) -> None:
    """Change one's own password, knowing the current one; other sessions end. Raises INVALID_CREDENTIALS, Invalid."""
    user = session.get(User, user_id)
    if user is None or not check_password_hash(user.password or _DUMMY_HASH, current[:MAX_PASSWORD]):
        raise DomainError("INVALID_CREDENTIALS", message="The current password is wrong.")
    _check_password(new)
    user.password = generate_password_hash(new)
    sessions.revoke_all(session, user_id, keep=keep_session)
    outbox.mail(session, user.email, "password_changed", name=user.name)
