"""Counts of the staff console's first page, read under platform scope."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import clock
from app.models import (
    EventStatus,
    GatewayEvent,
    JobRun,
    Membership,
    MembershipStatus,
    Organization,
    OrgStatus,
    OutboxMessage,
    Payment,
    PaymentStatus,
    RunStatus,
    Severity,
    SystemEvent,
    TopUpStatus,
    User,
    WalletTopUp,
)
from app.security.context import acting
from app.services.home import MONTH

WEEK = dt.timedelta(days=7)


@dataclass(frozen=True)
class Overview:
    """What the platform looks like now; amounts in paise."""

    waiting: int
    rejected: int
    active: int
    suspended: int
    people: int
    members: int
    bookings_30d: int
    volume_30d: int
    top_ups_pending: int
    outbox_stuck: int
    events_stuck: int


@dataclass(frozen=True)
class Trouble:
    """Something that went wrong lately: *what* failed, *how* it was told, and when."""

    at: dt.datetime
    what: str
    how: str
    severity: str
    public_id: str | None = None  # of a system event, for who may open it


def trouble(session: Session, *, events: bool, most: int = 6) -> list[Trouble]:
    """Failed jobs of the last week and, for ADMIN, system events that are no mere notes; latest first."""
    since = clock.now() - WEEK
    with acting(session, scope="platform"):
        failed = session.scalars(
            select(JobRun)
            .where(JobRun.status == RunStatus.FAILED, JobRun.started_at > since)
            .order_by(JobRun.started_at.desc())
            .limit(most)
        ).all()
        told = (
            session.scalars(
                select(SystemEvent)
                .where(SystemEvent.severity != Severity.INFO, SystemEvent.created_at > since)
                .order_by(SystemEvent.created_at.desc(), SystemEvent.id.desc())
                .limit(most)
            ).all()
            if events
            else []
        )
    out = [
        Trouble(r.started_at, r.name.replace("_", " ").capitalize(), "The job failed.", "ERROR")
        for r in failed
    ]
    out += [
        Trouble(
            e.created_at,
            e.category.replace("_", " ").capitalize(),
            e.message[:160],
            e.severity.value,
            str(e.public_id),
        )
        for e in told
        if not (events and e.category == "job")  # its run is in the list
    ]
    return sorted(out, key=lambda t: t.at, reverse=True)[:most]


def overview(session: Session) -> Overview:
    """All counts in one round trip, across organisations; the caller is ADMIN or STAFF."""
    pending = Organization.status == OrgStatus.PENDING_VERIFICATION
    paid = (Payment.status == PaymentStatus.SUCCEEDED) & (Payment.created_at > clock.now() - MONTH)

    def count(model: Any, *where: Any) -> Any:
        return select(func.count(model.id)).where(*where).scalar_subquery()

    with acting(session, scope="platform"):
        row = session.execute(
            select(
                count(
                    Organization,
                    pending,
                    Organization.verification_rejected_at.is_(None),
                    Organization.verification_info_requested_at.is_(None),
                ),
                count(Organization, pending, Organization.verification_rejected_at.is_not(None)),
                count(Organization, Organization.status == OrgStatus.ACTIVE),
                count(Organization, Organization.status == OrgStatus.SUSPENDED),
                count(User, User.active),
                count(Membership, Membership.status == MembershipStatus.ACTIVE),
                count(Payment, paid),
                select(func.coalesce(func.sum(Payment.amount_paise), 0)).where(paid).scalar_subquery(),
                count(WalletTopUp, WalletTopUp.status == TopUpStatus.PENDING),
                count(OutboxMessage, OutboxMessage.failed_at.is_not(None)),
                count(GatewayEvent, GatewayEvent.status.in_([EventStatus.DEFERRED, EventStatus.ABANDONED])),
            )
        ).one()
    return Overview(*row)
