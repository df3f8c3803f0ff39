"""What must be settled before an organisation gives up sponsoring or hosting (chapter 1, 1.2).

The previews feed the settings page; the checks behind them lock the organisation's row first. Every row that could
become an obligation references it, so nothing new begins between the count and the change.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import (
    Appointment,
    Assignment,
    BillingAccount,
    ConsultantEarning,
    EarningStatus,
    Invoice,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    Payment,
    Plan,
    TopUpStatus,
    WalletTopUp,
)
from app.security.context import acting, current_org_id
from app.services import accruals
from app.services.obligations import LIVE, UPCOMING

SETTLED = (EarningStatus.PAID, EarningStatus.REFUNDED)


def lock(session: Session) -> Organization:
    """The organisation acted for, locked against new rows that refer to it. Raises NOT_FOUND."""
    row = session.scalars(
        select(Organization)
        .where(Organization.id == current_org_id())
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def amount(model: Any, *where: Any) -> Any:
    """How many rows of *model* meet *where*, as part of a larger SELECT."""
    return select(func.count(model.id)).where(*where).scalar_subquery()


def counted(session: Session, parts: dict[str, Any]) -> dict[str, Any]:
    """The named numbers that are not zero, in one round trip."""
    row = session.execute(select(*parts.values())).one()
    return {name: int(value) for name, value in zip(parts, row, strict=True) if value}


def sponsoring(session: Session) -> dict[str, Any]:
    """What keeps the organisation acted for from giving up sponsoring: counts, and the wallet in paise."""
    return counted(
        session,
        {
            "wallet_balance_paise": select(
                func.coalesce(func.sum(BillingAccount.wallet_balance_paise), 0)
            ).scalar_subquery(),
            "live_assignments": amount(Assignment, Assignment.status.in_(LIVE)),
            "pending_top_ups": amount(WalletTopUp, WalletTopUp.status == TopUpStatus.PENDING),
            "unpaid_invoices": amount(Invoice, accruals.unpaid()),
        },
    )


def hosting(session: Session) -> dict[str, Any]:
    """What keeps the organisation acted for from giving up hosting, as counts."""
    left = counted(
        session,
        {
            "experts": amount(
                Membership,
                Membership.role == OrgRole.EXPERT,
                Membership.status.in_([MembershipStatus.ACTIVE, MembershipStatus.PENDING]),
            )
        },
    )
    unsettled = unsettled_earnings(session, paid=False)
    return {**left, **({"unsettled_earnings": unsettled} if unsettled else {})}


def unsettled_earnings(session: Session, *, paid: bool) -> int:
    """Earnings not paid out from bookings of the plans of the organisation acted for, whoever paid them.

    An earning carries the payer's organisation, so a host's are found through its plans, across organisations.
    *paid* also counts those of bookings the organisation paid for itself.
    """
    org = current_org_id()
    whose = Plan.organization_id == org
    with acting(session, scope="platform"):
        return int(
            session.scalar(
                select(func.count(ConsultantEarning.id))
                .join(Payment, Payment.id == ConsultantEarning.payment_id)
                .join(Plan, Plan.id == Payment.plan_id)
                .where(
                    ConsultantEarning.status.not_in(SETTLED),
                    or_(whose, ConsultantEarning.organization_id == org) if paid else whose,
                )
            )
            or 0
        )


def upcoming_sessions() -> Any:
    """Booked sessions still to come, as part of a larger SELECT."""
    return amount(Appointment, Appointment.status.in_(UPCOMING), Appointment.ends_at > clock.now())


def end_sponsoring(session: Session) -> None:
    """Raises WALLET_NOT_EMPTY, CANSPONSOR_WINDDOWN_REQUIRED with every count."""
    lock(session)
    left = sponsoring(session)
    if left.get("wallet_balance_paise"):
        raise DomainError("WALLET_NOT_EMPTY", **left)
    if left:
        raise DomainError("CANSPONSOR_WINDDOWN_REQUIRED", **left)


def end_hosting(session: Session) -> None:
    """Raises CANHOST_WINDDOWN_REQUIRED with every count."""
    lock(session)
    left = hosting(session)
    if left:
        raise DomainError("CANHOST_WINDDOWN_REQUIRED", **left)
