"""Invitations whose date has passed (chapter 1, 1.4)."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import clock
from app.logs import log
from app.models import AuditCategory, Invitation, InvitationStatus
from app.security.context import acting
from app.services import audit


def expire_due(session: Session) -> dict[str, int]:
    """Flip every PENDING invitation past its date, one transaction each, and say so in the audit log.

    Counts real flips only: an acceptance that races wins, and a row that fails does not stop the others. Wants job
    scope and commits.
    """
    done = {"expired": 0, "failed": 0}
    due = session.execute(
        select(Invitation.id, Invitation.organization_id, Invitation.public_id, Invitation.email).where(
            Invitation.status == InvitationStatus.PENDING, Invitation.expires_at <= clock.now()
        )
    ).all()
    session.commit()
    for row in due:
        try:
            with acting(session, scope="org", org_id=row.organization_id, user_id=None):
                flipped = session.execute(
                    update(Invitation)
                    .where(
                        Invitation.id == row.id,
                        Invitation.status == InvitationStatus.PENDING,
                        Invitation.expires_at <= clock.now(),
                    )
                    .values(status=InvitationStatus.EXPIRED)
                ).rowcount  # type: ignore[attr-defined]
                if flipped:
                    audit.record(
                        session,
                        AuditCategory.MEMBER,
                        "INVITE_EXPIRED",
                        f"The invitation of {row.email} expired",
                        target_type="invitation",
                        target_id=row.public_id,
                    )
            session.commit()
            done["expired"] += int(flipped)
        except SQLAlchemyError as error:
            session.rollback()
            log.warning("invitation_expiry_failed", invitation=str(row.public_id), error=type(error).__name__)
            done["failed"] += 1
    return done
