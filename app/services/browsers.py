"""The browsers and scripts a person is signed in with (chapter 3, "Sessions")."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import UserSession

_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_PROGRAMS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)


@dataclass(frozen=True)
class Browser:
    """One open session as its owner sees it; ``key`` names it outside."""

    key: str
    name: str
    ip: str | None
    since: dt.datetime
    seen: dt.datetime
    here: bool
    method: str


def outer_key(row: UserSession) -> str:
    """A name for a session outside the database: neither its inner key nor anything that opens it."""
    return hashlib.sha256(b"session:" + row.key_hash.encode()).hexdigest()[:24]


def name_of(user_agent: str | None) -> str:
    """A browser as people call it: Firefox on Windows."""
    text = user_agent or ""
    program = next((name for mark, name in _PROGRAMS if mark in text), None)
    system = next((name for mark, name in _SYSTEMS if mark in text), None)
    if program and system:
        return f"{program} on {system}"
    word = re.match(r"[A-Za-z][A-Za-z0-9_.-]{1,30}", text)
    return program or system or (word.group(0) if word else "Unknown browser")


def _open(session: Session, user_id: int) -> list[UserSession]:
    now = clock.now()
    rows = session.scalars(
        select(UserSession)
        .where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None), UserSession.expires_at > now)
        .order_by(UserSession.last_seen_at.desc(), UserSession.id.desc())
        .limit(200)
    )
    return [
        r
        for r in rows
        if r.idle_seconds is None or r.last_seen_at + dt.timedelta(seconds=r.idle_seconds) > now
    ]


def of_person(session: Session, user_id: int, here: int) -> list[Browser]:
    """The open sessions of *user_id*, the one with inner key *here* first, then the latest used."""
    rows = sorted(_open(session, user_id), key=lambda r: r.id != here)
    return [
        Browser(
            outer_key(r),
            name_of(r.user_agent) if r.method != "bearer" else f"Script ({name_of(r.user_agent)})",
            str(r.ip) if r.ip else None,
            r.created_at,
            r.last_seen_at,
            r.id == here,
            r.method,
        )
        for r in rows
    ]


def end(session: Session, user_id: int, key: str) -> None:
    """Sign one of the person's own browsers out. Raises NOT_FOUND for a key that names none of theirs."""
    row = next((r for r in _open(session, user_id) if outer_key(r) == key), None)
    if row is None:
        raise DomainError("NOT_FOUND")
    session.execute(update(UserSession).where(UserSession.id == row.id).values(revoked_at=clock.now()))


def end_others(session: Session, user_id: int, here: int) -> int:
    """Sign every other browser and script of the person out; returns how many."""
    rows = session.scalars(
        update(UserSession)
        .where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None), UserSession.id != here)
        .values(revoked_at=clock.now())
        .returning(UserSession.id)
        .execution_options(synchronize_session=False)
    )
    return len(rows.all())
