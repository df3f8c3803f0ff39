"""The growth cap of organisations without a domain, waived by ADMIN (chapter 1, 1.3 and "Beyond the original" 10)."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import AuditCategory, Organization, OrgStatus
from app.security.context import acting, ctx
from app.services import audit, org_notices
from app.services.verification import words


def waive(session: Session, organization_id: int, reason: str) -> Organization:
    """Let the organisation grow past five people without a verified domain; its owners are told.

    Raises INSUFFICIENT_ROLE, Invalid (no reason), NOT_FOUND, ILLEGAL_TRANSITION (waived already, or deactivated).
    """
    return _set(session, organization_id, reason, waived=True)


def restore(session: Session, organization_id: int, reason: str) -> Organization:
    """Put the growth cap back; people who are there stay. Raises what ``waive`` raises."""
    return _set(session, organization_id, reason, waived=False)


def _set(session: Session, organization_id: int, reason: str, *, waived: bool) -> Organization:
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    text = words(reason, "reason")
    column = Organization.domain_cap_waived_at
    with acting(session, org_id=organization_id, membership_id=None, role=None):
        row = session.get(Organization, organization_id)
        if row is None:
            raise DomainError("NOT_FOUND")
        done = session.execute(
            update(Organization)
            .where(
                Organization.id == row.id,
                Organization.status != OrgStatus.DEACTIVATED,
                column.is_(None) if waived else column.is_not(None),
            )
            .values(domain_cap_waived_at=clock.now() if waived else None)
            .returning(Organization.id)
            .execution_options(synchronize_session=False)
        ).scalar()
        session.refresh(row)
        if done is None:
            raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
        audit.record(
            session,
            AuditCategory.SYSTEM,
            "DOMAIN_CAP_WAIVED" if waived else "DOMAIN_CAP_RESTORED",
            "The platform lifted the limit of five people without a domain."
            if waived
            else "The limit of five people without a domain applies again.",
            target_type="organization",
            target_id=row.public_id,
            reason=text,
        )
        template = "domain_cap_waived" if waived else "domain_cap_restored"
        title = (
            f"{row.name} may grow past five people"
            if waived
            else f"{row.name} may have five people without a domain"
        )
        org_notices.tell_operators(session, row, template, title, page="members/")
    return row
