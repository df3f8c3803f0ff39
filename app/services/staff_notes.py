"""Notes that staff keep about an organisation for each other. Its members never see them, not even in the database.

Rows live under platform scope only (app/schema/policies.py, ``staff_note``), and no audit row of the organisation
mentions them: the note itself says who wrote it and when.
"""

from __future__ import annotations

import uuid

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from app.errors import DomainError
from app.models import StaffNote
from app.security.context import acting, ctx
from app.services.verification import require_staff, words

MAX_NOTE = 5000
MAX_NOTES = 200
MAX_PINNED = 5


def notes(session: Session, organization_id: int) -> list[StaffNote]:
    """The notes about an organisation with their authors, pinned ones first, then the newest. Raises INSUFFICIENT_ROLE."""
    require_staff()
    with acting(session, scope="platform"):
        return list(
            session.scalars(
                select(StaffNote)
                .options(joinedload(StaffNote.author))
                .where(StaffNote.about_organization_id == organization_id)
                .order_by(StaffNote.pinned.desc(), StaffNote.created_at.desc(), StaffNote.id.desc())
                .limit(MAX_NOTES)
            )
        )


def add(session: Session, organization_id: int, text: str, *, pinned: bool = False) -> StaffNote:
    """Write a note. Raises INSUFFICIENT_ROLE, Invalid, NOTE_LIMIT_REACHED."""
    require_staff()
    body = words(text, "body", MAX_NOTE)
    with acting(session, scope="platform"):
        if pinned:
            _room_to_pin(session, organization_id)
        row = StaffNote(
            about_organization_id=organization_id, author_user_id=ctx().user_id, body=body, pinned=pinned
        )
        session.add(row)
        session.flush()
        session.refresh(row, ["author"])
    return row


def pin(session: Session, organization_id: int, note_id: uuid.UUID, pinned: bool) -> StaffNote:
    """Pin a note to the top, or take it off. Raises INSUFFICIENT_ROLE, NOT_FOUND, NOTE_LIMIT_REACHED."""
    require_staff()
    with acting(session, scope="platform"):
        row = _get(session, organization_id, note_id)
        if pinned and not row.pinned:
            _room_to_pin(session, organization_id)
        row.pinned = pinned
        session.flush()
    return row


def remove(session: Session, organization_id: int, note_id: uuid.UUID) -> None:
    """Delete one's own note; ADMIN deletes any. Raises INSUFFICIENT_ROLE, NOT_FOUND."""
    require_staff()
    with acting(session, scope="platform"):
        row = _get(session, organization_id, note_id)
        if row.author_user_id != ctx().user_id and not ctx().is_admin:
            raise DomainError("INSUFFICIENT_ROLE")
        session.delete(row)
        session.flush()


def _get(session: Session, organization_id: int, note_id: uuid.UUID) -> StaffNote:
    row = session.scalars(
        select(StaffNote)
        .options(joinedload(StaffNote.author))
        .where(StaffNote.public_id == note_id, StaffNote.about_organization_id == organization_id)
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def _room_to_pin(session: Session, organization_id: int) -> None:
    """A handful stays on top, or nothing does."""
    pinned = session.scalar(
        select(func.count(StaffNote.id)).where(
            StaffNote.about_organization_id == organization_id, StaffNote.pinned
        )
    )
    if (pinned or 0) >= MAX_PINNED:
        raise DomainError("NOTE_LIMIT_REACHED", limit=MAX_PINNED)
