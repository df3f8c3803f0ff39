"""Figures of the organisation home and of a person's own dashboard (chapter 1, 1.7), in a constant number of queries."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import case, func, or_, select, text
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.models import (
    Appointment,
    Assignment,
    AssignmentStatus,
    BillingAccount,
    ConsultantEarning,
    ConsultantProfile,
    Contract,
    ContractStatus,
    EarningStatus,
    FundingSource,
    Invitation,
    InvitationStatus,
    Invoice,
    InvoiceReceipt,
    InvoiceStatus,
    LegSource,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    Payment,
    PaymentLeg,
    PaymentStatus,
    Plan,
    Program,
    ProgramStatus,
    ProgramType,
    TopUpStatus,
    WalletTopUp,
)
from app.security.context import ctx
from app.services import accruals, booking_figures, obligations, scopes
from app.services.scopes import MINE, OrgScope
from app.services.spending import BY_THE_ORGANIZATION

MONTH = dt.timedelta(days=30)
LOW_WALLET = 100_000  # paise


@dataclass(frozen=True)
class Receivables:
    """What the platform has billed the organisation, paise; *outstanding* includes what is *overdue*."""

    outstanding: int = 0
    overdue: int = 0
    paid_30d: int = 0


@dataclass
class Figures:
    """Counts and amounts (paise) of one organisation."""

    by_role: dict[str, int] = field(default_factory=dict)
    invited: int = 0
    programs: int = 0
    assignments: int = 0
    contract_ends: dt.date | None = None
    has_contract: bool = False
    spent_30d: int = 0
    reimburse_30d: int = 0
    bookings_30d: int = 0
    upcoming: int = 0
    topped_up: bool = False
    pending_top_ups: int = 0
    earnings: dict[str, int] = field(default_factory=dict)
    payouts_held: int = 0
    nearly_used: int = 0
    licences: int = 0
    overages: int = 0
    receivables: Receivables = field(default_factory=lambda: Receivables())

    @property
    def members(self) -> int:
        return sum(self.by_role.values())


def figures(session: Session, organization: Organization, account: BillingAccount | None) -> Figures:
    """All figures of the organisation acted for: four round trips whatever its size."""
    now = clock.now()
    out = Figures()
    out.by_role = {
        str(role): n
        for role, n in session.execute(
            text("SELECT role, members FROM members_by_role(:org)"), {"org": organization.id}
        )
    }
    live = (Assignment.status == AssignmentStatus.ACTIVE) & (Assignment.period_end >= clock.today_ist())
    scalars = session.execute(
        select(
            select(func.count(Invitation.id))
            .where(Invitation.status == InvitationStatus.PENDING, Invitation.expires_at > now)
            .scalar_subquery(),
            select(func.count(Program.id)).where(Program.status == ProgramStatus.ACTIVE).scalar_subquery(),
            select(func.count(Assignment.id)).where(live).scalar_subquery(),
            select(func.count(Contract.id)).where(Contract.status == ContractStatus.ACTIVE).scalar_subquery(),
            select(func.min(Contract.effective_to))
            .where(Contract.status == ContractStatus.ACTIVE)
            .scalar_subquery(),
            select(func.count(Appointment.id))
            .where(Appointment.status.in_(obligations.UPCOMING), Appointment.starts_at > now)
            .scalar_subquery(),
            select(func.count(WalletTopUp.id))
            .where(WalletTopUp.status == TopUpStatus.CONFIRMED)
            .scalar_subquery(),
            select(func.count(WalletTopUp.id))
            .where(WalletTopUp.status == TopUpStatus.PENDING)
            .scalar_subquery(),
            select(func.count(Assignment.id))
            .join(Program, Program.id == Assignment.program_id)
            .where(
                live,
                or_(
                    Assignment.consumed_paise * 5 >= Program.credits_per_cycle * 100 * 4,
                    Assignment.engagements_used * 5 >= Program.covered_engagements_per_cycle * 4,
                ),
            )
            .scalar_subquery(),
            select(func.count(Program.id))
            .where(Program.status == ProgramStatus.ACTIVE, Program.type == ProgramType.LICENSED_SEAT)
            .scalar_subquery(),
            select(func.count(PaymentLeg.id))
            .where(
                PaymentLeg.source == LegSource.OVERAGE_INVOICE_ACCRUAL, PaymentLeg.created_at > now - MONTH
            )
            .scalar_subquery(),
            *_receivables(),
        )
    ).one()
    (
        out.invited,
        out.programs,
        out.assignments,
        contracts,
        out.contract_ends,
        out.upcoming,
        confirmed,
        out.pending_top_ups,
        out.nearly_used,
        out.licences,
        out.overages,
        outstanding,
        overdue,
        paid,
    ) = scalars
    out.receivables = Receivables(int(outstanding), int(overdue), int(paid))
    out.has_contract, out.topped_up = bool(contracts), bool(confirmed)
    _money(session, out, organization, account, now - MONTH)
    return out


def _receivables() -> tuple[Any, Any, Any]:
    """Subqueries in paise: open on issued invoices, the part past its due date, and received in the last 30 days."""
    today = clock.today_ist()
    due = func.coalesce(func.sum(accruals.DUE), 0)
    unpaid = accruals.unpaid()
    late = (Invoice.status == InvoiceStatus.OVERDUE) | (Invoice.due_date < today)
    received = func.coalesce(func.sum(InvoiceReceipt.amount_paise - InvoiceReceipt.refunded_paise), 0)
    return (
        select(due).where(unpaid).scalar_subquery(),
        select(due).where(unpaid, late).scalar_subquery(),
        select(received).where(InvoiceReceipt.received_on > today - MONTH).scalar_subquery(),
    )


def _money(
    session: Session,
    out: Figures,
    organization: Organization,
    account: BillingAccount | None,
    since: dt.datetime,
) -> None:
    paid = booking_figures.settled(since)
    out.spent_30d, out.bookings_30d = session.execute(
        select(booking_figures.net(), func.count().filter(booking_figures.kept())).where(paid)
    ).one()
    if account is not None and account.funding_source == FundingSource.PERSONAL:
        out.reimburse_30d = (
            session.scalar(
                select(booking_figures.net()).where(paid, Payment.method.not_in(BY_THE_ORGANIZATION))
            )
            or 0
        )
    if organization.can_host:
        held = ConsultantEarning.status.in_(
            [EarningStatus.HELD, EarningStatus.PENDING, EarningStatus.PENDING_TRUST]
        )
        ready = ConsultantEarning.status.in_([EarningStatus.READY, EarningStatus.BATCHED])
        net = ConsultantEarning.share_paise - ConsultantEarning.refunded_paise
        row = session.execute(
            select(
                func.coalesce(func.sum(case((held, net), else_=0)), 0),
                func.coalesce(func.sum(case((ready, net), else_=0)), 0),
                func.coalesce(
                    func.sum(case((ConsultantEarning.status == EarningStatus.PAID, net), else_=0)), 0
                ),
                func.count().filter(ConsultantEarning.status == EarningStatus.HELD),
            )
        ).one()
        out.earnings, out.payouts_held = {"held": row[0], "ready": row[1], "paid": row[2]}, row[3]


def recent_bookings(session: Session, limit: int = 5) -> list[Payment]:
    """The latest successful payments of the organisation with person and appointment."""
    return list(
        session.scalars(
            select(Payment)
            .options(joinedload(Payment.user), joinedload(Payment.appointment))
            .where(Payment.status == PaymentStatus.SUCCEEDED)
            .order_by(Payment.created_at.desc(), Payment.id.desc())
            .limit(limit)
        )
    )


def coming_up(session: Session, limit: int = 8) -> list[Appointment]:
    """Upcoming appointments of the organisation, soonest first, with both people."""
    return list(
        session.scalars(
            select(Appointment)
            .options(joinedload(Appointment.learner), joinedload(Appointment.expert_user))
            .where(Appointment.status.in_(obligations.UPCOMING), Appointment.ends_at > clock.now())
            .order_by(Appointment.starts_at, Appointment.id)
            .limit(limit)
        )
    )


def own_appointments(
    session: Session, user_id: int, scope: OrgScope = MINE, *, limit: int = 6
) -> list[Appointment]:
    """A person's upcoming appointments as learner or expert, soonest first, in a scope."""
    statement = (
        select(Appointment)
        .options(
            joinedload(Appointment.learner),
            joinedload(Appointment.expert_user),
            joinedload(Appointment.organization),
        )
        .where(
            scope.clause(Appointment.organization_id),
            Appointment.status.in_(obligations.UPCOMING),
            Appointment.ends_at > clock.now(),
        )
        .order_by(Appointment.starts_at, Appointment.id)
        .limit(limit)
    )
    if not scope.everybody:
        statement = statement.where(
            or_(Appointment.learner_user_id == user_id, Appointment.expert_user_id == user_id)
        )
    return scopes.rows(session, statement, scope)


def own_assignments(session: Session, membership_id: int) -> list[dict[str, Any]]:
    """A member's live places in programs: name, until when, used and total (total None: unlimited), and whether those are
    ``money`` (paise of a pool) or sessions of a seat (``number``)."""
    rows = session.execute(
        select(
            Program.name,
            Program.credits_per_cycle,
            Program.covered_engagements_per_cycle,
            Assignment.consumed_paise,
            Assignment.engagements_used,
            Assignment.period_end,
        )
        .join(Program, Program.id == Assignment.program_id)
        .where(
            Assignment.membership_id == membership_id,
            Assignment.status == AssignmentStatus.ACTIVE,
            Assignment.period_end >= clock.today_ist(),
        )
        .order_by(Assignment.period_end, Assignment.id)
    ).all()
    return [
        {
            "name": r.name,
            "used": r.consumed_paise if r.credits_per_cycle else r.engagements_used,
            "until": r.period_end,
            "total": r.credits_per_cycle * 100 if r.credits_per_cycle else r.covered_engagements_per_cycle,
            "kind": "money" if r.credits_per_cycle else "number",
        }
        for r in rows
    ]


def own_earnings(session: Session, organization_id: int) -> dict[str, int]:
    """The acting expert's earnings from plans of the organisation, whoever paid, paise by state (chapter 1, 1.7)."""
    rows = session.execute(
        text("SELECT status, net_paise FROM own_host_totals(:org)"), {"org": organization_id}
    )
    return {status: int(paise) for status, paise in rows}


def hosted_appointments(session: Session, user_id: int, *, limit: int = 6) -> list[Appointment]:
    """The acting expert's upcoming sessions of plans of the organisation acted for, whoever paid, soonest first."""
    plans = session.scalars(
        select(Plan.id)
        .join(ConsultantProfile, ConsultantProfile.id == Plan.expert_id)
        .where(ConsultantProfile.user_id == user_id, Plan.organization_id == ctx().org_id)
    ).all()
    statement = (
        select(Appointment)
        .options(
            joinedload(Appointment.learner),
            joinedload(Appointment.expert_user),
            joinedload(Appointment.organization),
        )
        .where(
            Appointment.plan_id.in_(plans),
            Appointment.expert_user_id == user_id,
            Appointment.status.in_(obligations.UPCOMING),
            Appointment.ends_at > clock.now(),
        )
        .order_by(Appointment.starts_at, Appointment.id)
        .limit(limit)
    )
    return scopes.rows(session, statement, MINE)


def owners(session: Session) -> list[str]:
    """Names of the organisation's owners, for people who need to ask one."""
    found = session.scalars(
        select(Membership)
        .options(joinedload(Membership.user))
        .where(Membership.role == OrgRole.OWNER, Membership.status == MembershipStatus.ACTIVE)
        .limit(3)
    )
    return [m.user.name for m in found]
