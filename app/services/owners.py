"""Acting for the owner of a plan: its expert, or the organisation that hosts it (chapter 2, 2.3)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app.errors import DomainError
from app.models import ConsultantProfile, Membership, MembershipStatus, Plan
from app.security.context import acting, ctx

EVERYWHERE = {"skip_tenancy": True}  # with an explicit key; row-level security still stands


def plan(session: Session, public_id: uuid.UUID) -> Plan:
    """A plan of the person acting, or of the organisation acted for (its gate was passed). Raises NOT_FOUND."""
    row = session.scalars(
        select(Plan)
        .where(Plan.public_id == public_id)
        .options(joinedload(Plan.expert).joinedload(ConsultantProfile.user)),
        execution_options=EVERYWHERE,
    ).one_or_none()
    if row is None or not _may(session, row):
        raise DomainError("NOT_FOUND")
    return row


def _may(session: Session, row: Plan) -> bool:
    """Whoever acts for the host; the plan's expert, as long as the host counts them among its members."""
    c = ctx()
    if row.organization_id is not None and row.organization_id == c.org_id:
        return True
    if row.expert.user_id != c.user_id:
        return False
    if row.organization_id is None:
        return True
    return (
        session.scalar(
            select(Membership.id).where(
                Membership.organization_id == row.organization_id,
                Membership.user_id == c.user_id,
                Membership.status == MembershipStatus.ACTIVE,
            ),
            execution_options=EVERYWHERE,
        )
        is not None
    )


@contextmanager
def owning(session: Session, row: Plan) -> Iterator[None]:
    """Act where *row* lives: for its host, or for its independent expert. Raises NOT_FOUND for everybody else."""
    if not _may(session, row):
        raise DomainError("NOT_FOUND")
    if row.organization_id == ctx().org_id:
        yield
        return
    with acting(session, scope="org", org_id=row.organization_id, role=None, membership_id=None):
        yield
