"""The conversation about a verification: the platform asks, the organisation answers (chapter 1, 1.2).

A question takes the organisation out of the waiting queue until it answers; the place in the queue stays its own. Both
sides read the same thread. What staff write for each other is kept apart (app/services/staff_notes.py).
"""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    MessageKind,
    Organization,
    OrgStatus,
    PlatformRole,
    VerificationMessage,
)
from app.security.context import acting, ctx
from app.services import audit, org_notices
from app.services.text import paragraphs

MAX_TEXT = 2000
MAX_THREAD = 200
STAFF = frozenset({PlatformRole.ADMIN.value, PlatformRole.STAFF.value})


def require_staff() -> None:
    """Raises INSUFFICIENT_ROLE for anybody but ADMIN and STAFF."""
    if not ctx().roles & STAFF:
        raise DomainError("INSUFFICIENT_ROLE")


def words(text: str | None, field: str = "message", longest: int = MAX_TEXT) -> str:
    """*text* trimmed. Raises Invalid when it is empty or too long."""
    clean = paragraphs(text or "")
    if not clean:
        raise Invalid({field: ["Write something first."]})
    if len(clean) > longest:
        raise Invalid({field: [f"At most {longest} characters."]})
    return clean


def say(session: Session, kind: MessageKind, body: str) -> VerificationMessage:
    """Add an entry to the thread of the organisation acted for."""
    row = VerificationMessage(kind=kind, author_user_id=ctx().user_id, body=body)
    session.add(row)
    session.flush()
    return row


def thread(session: Session, organization_id: int) -> list[VerificationMessage]:
    """The latest entries of an organisation's thread, oldest first, with their authors; the caller's scope decides."""
    rows = session.scalars(
        select(VerificationMessage)
        .options(joinedload(VerificationMessage.author))
        .where(VerificationMessage.organization_id == organization_id)
        .order_by(VerificationMessage.created_at.desc(), VerificationMessage.id.desc())
        .limit(MAX_THREAD)
    )
    return list(rows)[::-1]


def ask(session: Session, organization_id: int, text: str) -> Organization:
    """Ask the organisation's owners and maintainers for information; ADMIN or STAFF (chapter 1, 1.2).

    Raises INSUFFICIENT_ROLE, Invalid, NOT_FOUND, ILLEGAL_TRANSITION (it is not waiting, or was rejected).
    """
    require_staff()
    question = words(text)
    with acting(session, org_id=organization_id, membership_id=None, role=None):
        row = session.get(Organization, organization_id)
        if row is None:
            raise DomainError("NOT_FOUND")
        done = session.execute(
            update(Organization)
            .where(
                Organization.id == row.id,
                Organization.status == OrgStatus.PENDING_VERIFICATION,
                Organization.verification_rejected_at.is_(None),
            )
            .values(verification_info_requested_at=clock.now())
            .returning(Organization.id)
            .execution_options(synchronize_session=False)
        ).scalar()
        session.refresh(row)
        if done is None:
            raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
        say(session, MessageKind.INFO_REQUESTED, question)
        audit.record(
            session,
            AuditCategory.SYSTEM,
            "VERIFICATION_INFO_REQUESTED",
            "The platform team asked for information before it verifies.",
            target_type="organization",
            target_id=row.public_id,
        )
        org_notices.tell_operators(
            session,
            row,
            "verification_question",
            f"{row.name}: a question about the verification",
            question,
            page="settings/verification",
        )
    return row


def answer(session: Session, text: str) -> Organization:
    """Answer the platform's question for the organisation acted for, which puts it back into the queue.

    Raises Invalid, NOT_FOUND, NOTHING_TO_ANSWER (nobody asked, or a colleague answered first).
    """
    reply = words(text)
    row = session.get(Organization, ctx().org_id or -1)
    if row is None:
        raise DomainError("NOT_FOUND")
    done = session.execute(
        update(Organization)
        .where(
            Organization.id == row.id,
            Organization.status == OrgStatus.PENDING_VERIFICATION,
            Organization.verification_info_requested_at.is_not(None),
        )
        .values(verification_info_requested_at=None)
        .returning(Organization.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    session.refresh(row)
    if done is None:
        raise DomainError("NOTHING_TO_ANSWER")
    asker = session.execute(
        select(VerificationMessage.author_user_id)
        .where(
            VerificationMessage.organization_id == row.id,
            VerificationMessage.kind == MessageKind.INFO_REQUESTED,
        )
        .order_by(VerificationMessage.id.desc())
        .limit(1)
    ).scalar()
    say(session, MessageKind.ANSWER, reply)
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "VERIFICATION_ANSWERED",
        f"{row.name} answered the platform's question.",
        target_type="organization",
        target_id=row.public_id,
    )
    org_notices.tell_staff(
        session, f"{row.name} answered your question", reply, url=staff_page(row), also=asker
    )
    return row


def staff_page(row: Organization) -> str:
    """Address of the organisation's page in the staff console."""
    return f"/admin/organizations/{row.public_id}"


def stage(row: Organization) -> str:
    """Where a verification stands: waiting, info, rejected, or done."""
    if row.status != OrgStatus.PENDING_VERIFICATION:
        return "done"
    if row.verification_rejected_at is not None:
        return "rejected"
    return "info" if row.verification_info_requested_at is not None else "waiting"
