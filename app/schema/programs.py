"""Contracts, programs, assignments and usage (chapter 2, 2.5)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship, remote

from .base import Instant, Model, Tenant, choice, tenant_fk, tenant_key
from .enums import (
    AssignmentStatus,
    ChargeTo,
    CloseReason,
    ContractStatus,
    Cycle,
    LicenseModel,
    OverageBehavior,
    OverageStatus,
    PoolScope,
    ProgramStatus,
    ProgramType,
    SubscriptionStatus,
    SupersedeReason,
)
from .organizations import Membership


class Contract(Tenant, Model):
    """The agreement that stands behind programs. One ACTIVE a billing account.

    ``effective_to`` is the last day of the term. A contract that takes another's place points back at it; the unique
    link is what makes superseding happen once.
    """

    __tablename__ = "contract"

    billing_account_id: Mapped[int] = mapped_column(BigInteger)
    title: Mapped[str] = mapped_column(String(200))
    status: Mapped[ContractStatus] = choice(ContractStatus, default=ContractStatus.DRAFT)
    effective_from: Mapped[dt.date] = mapped_column(Date)
    effective_to: Mapped[dt.date | None] = mapped_column(Date)
    payment_terms_days: Mapped[int] = mapped_column(Integer, default=30, server_default="30")
    auto_renew: Mapped[bool] = mapped_column(Boolean, default=True, server_default="true")
    signed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    signed_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    purchase_order_id: Mapped[int | None] = mapped_column(BigInteger)
    rate_card_id: Mapped[int | None] = mapped_column(BigInteger)
    license_model: Mapped[LicenseModel | None] = choice(LicenseModel)
    license_fee_paise: Mapped[int | None] = mapped_column(BigInteger)
    license_rate_per_seat_paise: Mapped[int | None] = mapped_column(BigInteger)
    license_cycle: Mapped[Cycle | None] = choice(Cycle, check="license_cycle")
    supersedes_contract_id: Mapped[int | None] = mapped_column(BigInteger)
    supersede_reason: Mapped[SupersedeReason | None] = choice(SupersedeReason)
    auto_renewed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    expiring_notified_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    ended_reason: Mapped[str | None] = mapped_column(String(300))

    __table_args__ = (
        tenant_key("contract"),
        tenant_fk("contract", "billing_account_id", "billing_account"),
        tenant_fk("contract", "purchase_order_id", "purchase_order"),
        tenant_fk("contract", "rate_card_id", "rate_card", use_alter=True),  # a card may name its contract
        tenant_fk("contract", "supersedes_contract_id", "contract"),
        UniqueConstraint("supersedes_contract_id", name="uq_contract_supersedes"),
        CheckConstraint(
            "(supersedes_contract_id IS NULL) = (supersede_reason IS NULL)", name="ck_contract_superseding"
        ),
        CheckConstraint(
            "CASE license_model WHEN 'FLAT_FEE' THEN license_fee_paise > 0 AND license_rate_per_seat_paise IS NULL "
            "AND license_cycle IS NOT NULL WHEN 'PER_SEAT' THEN license_rate_per_seat_paise > 0 "
            "AND license_fee_paise IS NULL AND license_cycle IS NOT NULL ELSE license_fee_paise IS NULL "
            "AND license_rate_per_seat_paise IS NULL AND license_cycle IS NULL END",
            name="ck_contract_license",
        ),
        CheckConstraint("effective_to IS NULL OR effective_to > effective_from", name="ck_contract_period"),
        CheckConstraint("payment_terms_days BETWEEN 1 AND 120", name="ck_contract_terms"),
        Index(
            "uq_contract_active",
            "billing_account_id",
            unique=True,
            postgresql_where=text("status = 'ACTIVE'"),
        ),
        Index("ix_contract_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.title


class BillingSubscription(Tenant, Model):
    """The licence of a contract as it is billed: in advance, cycle by cycle. One ACTIVE a contract.

    ``credit_paise`` is what an earlier contract's unused days are worth: the next invoice is reduced by it.
    ``seats_billed`` holds the seats by program (inner id) that the current cycle was billed for, ``cycle_paise`` its amount.
    ``owed_lines`` are lines of an earlier contract for the next invoice: description, quantity, unit and amount (paise).
    """

    __tablename__ = "billing_subscription"

    billing_account_id: Mapped[int] = mapped_column(BigInteger)
    contract_id: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[SubscriptionStatus] = choice(SubscriptionStatus, default=SubscriptionStatus.ACTIVE)
    model: Mapped[LicenseModel] = choice(LicenseModel)
    cycle: Mapped[Cycle] = choice(Cycle)
    anchor_day: Mapped[int] = mapped_column(Integer)
    current_cycle_start: Mapped[dt.date] = mapped_column(Date)
    current_cycle_end: Mapped[dt.date] = mapped_column(Date)  # its last day
    next_invoice_date: Mapped[dt.date | None] = mapped_column(Date)  # none once the term is billed
    billed_seats: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    seats_billed: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    cycle_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    billed_through: Mapped[dt.date | None] = mapped_column(Date)
    owed_lines: Mapped[list[list[Any]]] = mapped_column(JSONB, default=list, server_default="[]")
    credit_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    renewal_reminder_sent_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    contract: Mapped[Contract] = relationship(
        primaryjoin=lambda: foreign(BillingSubscription.contract_id) == remote(Contract.id),
        lazy="raise",
        viewonly=True,
    )

    __table_args__ = (
        tenant_key("billing_subscription"),
        tenant_fk("billing_subscription", "billing_account_id", "billing_account"),
        tenant_fk("billing_subscription", "contract_id", "contract"),
        CheckConstraint("current_cycle_end >= current_cycle_start", name="ck_subscription_cycle"),
        CheckConstraint("anchor_day BETWEEN 1 AND 31", name="ck_subscription_anchor"),
        CheckConstraint("credit_paise >= 0 AND billed_seats >= 0", name="ck_subscription_amounts"),
        Index(
            "uq_subscription_contract",
            "contract_id",
            unique=True,
            postgresql_where=text("status = 'ACTIVE'"),
        ),
        Index(
            "ix_subscription_due",
            "next_invoice_date",
            postgresql_where=text("status = 'ACTIVE'"),
        ),
        Index("ix_billing_subscription_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return f"{self.cycle.value.title()} licence"


class Program(Tenant, Model):
    """What a contract lets members book, with the economics of its type in the row itself: the checkout reads one row.

    LICENSED_SEAT: rate, covered engagements (NULL: unlimited), price cap. CREDIT_POOL: credits, minimum, scope.
    ``panel_expert_ids`` empty: every expert.
    """

    __tablename__ = "program"

    contract_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(String(200))
    type: Mapped[ProgramType] = choice(ProgramType)
    status: Mapped[ProgramStatus] = choice(ProgramStatus, default=ProgramStatus.ACTIVE)
    covered_plan_types: Mapped[list[str]] = mapped_column(
        ARRAY(String(20)), default=list, server_default="{}"
    )
    allowed_categories: Mapped[list[str]] = mapped_column(
        ARRAY(String(120)), default=list, server_default="{}"
    )
    cycle: Mapped[Cycle] = choice(Cycle, default=Cycle.MONTHLY)
    credits_per_cycle: Mapped[int | None] = mapped_column(BigInteger)
    pool_scope: Mapped[PoolScope] = choice(PoolScope, default=PoolScope.PER_MEMBER)
    overage_behavior: Mapped[OverageBehavior] = choice(OverageBehavior, default=OverageBehavior.BLOCK)
    config_locked_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    minimum_credits_per_period: Mapped[int | None] = mapped_column(BigInteger)
    rate_per_seat_paise: Mapped[int | None] = mapped_column(BigInteger)
    covered_engagements_per_cycle: Mapped[int | None] = mapped_column(Integer)
    price_cap_per_engagement_paise: Mapped[int | None] = mapped_column(BigInteger)
    active_seat_count: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    overage_surcharge_bps: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    max_overage_per_cycle_paise: Mapped[int | None] = mapped_column(BigInteger)
    panel_expert_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), default=list, server_default="{}")
    auto_enroll: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    supersedes_program_id: Mapped[int | None] = mapped_column(BigInteger)
    ended_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    contract: Mapped[Contract] = relationship(
        primaryjoin=lambda: foreign(Program.contract_id) == remote(Contract.id), lazy="raise", viewonly=True
    )

    __table_args__ = (
        tenant_key("program"),
        tenant_fk("program", "contract_id", "contract"),
        tenant_fk("program", "supersedes_program_id", "program"),
        UniqueConstraint("supersedes_program_id", name="uq_program_supersedes"),
        CheckConstraint("type <> 'CREDIT_POOL' OR credits_per_cycle > 0", name="ck_program_pool"),
        CheckConstraint(
            "type <> 'CREDIT_POOL' OR (rate_per_seat_paise IS NULL AND covered_engagements_per_cycle IS NULL "
            "AND price_cap_per_engagement_paise IS NULL)",
            name="ck_program_pool_only",
        ),
        CheckConstraint(
            "type <> 'LICENSED_SEAT' OR (credits_per_cycle IS NULL AND minimum_credits_per_period IS NULL)",
            name="ck_program_seat_only",
        ),
        CheckConstraint(
            "coalesce(minimum_credits_per_period, 0) >= 0 AND coalesce(rate_per_seat_paise, 1) > 0 "
            "AND coalesce(covered_engagements_per_cycle, 1) > 0 AND coalesce(price_cap_per_engagement_paise, 1) > 0 "
            "AND active_seat_count >= 0",
            name="ck_program_amounts",
        ),
        CheckConstraint(
            "CASE overage_behavior WHEN 'BLOCK' THEN overage_surcharge_bps = 0 AND max_overage_per_cycle_paise IS NULL "
            "ELSE max_overage_per_cycle_paise > 0 AND overage_surcharge_bps BETWEEN 0 AND 100000 END",
            name="ck_program_overage",
        ),
        Index("ix_program_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.name


class Assignment(Tenant, Model):
    """A member's place in a program for one period, with its guarded counters."""

    __tablename__ = "assignment"

    program_id: Mapped[int] = mapped_column(BigInteger)
    membership_id: Mapped[int] = mapped_column(BigInteger)
    period_start: Mapped[dt.date] = mapped_column(Date)
    period_end: Mapped[dt.date] = mapped_column(Date)
    status: Mapped[AssignmentStatus] = choice(AssignmentStatus, default=AssignmentStatus.ACTIVE)
    consumed_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    engagements_used: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    overage_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    overage_count: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    anchor_day: Mapped[int | None] = mapped_column(Integer)  # of the first period; months pin to it
    clamped: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    rolled_to_id: Mapped[int | None] = mapped_column(BigInteger)
    rolled_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    closed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    close_reason: Mapped[CloseReason | None] = choice(CloseReason)
    warned_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))  # 80 % used
    exhausted_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    minimum_invoiced_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    program: Mapped[Program] = relationship(
        primaryjoin=lambda: foreign(Assignment.program_id) == remote(Program.id), lazy="raise", viewonly=True
    )
    membership: Mapped[Membership] = relationship(
        primaryjoin=lambda: foreign(Assignment.membership_id) == remote(Membership.id),
        lazy="raise",
        viewonly=True,
    )

    __table_args__ = (
        tenant_key("assignment"),
        tenant_fk("assignment", "program_id", "program"),
        tenant_fk("assignment", "membership_id", "membership"),
        tenant_fk("assignment", "rolled_to_id", "assignment"),
        UniqueConstraint("program_id", "membership_id", "period_start", name="uq_assignment_period"),
        UniqueConstraint("rolled_to_id", name="uq_assignment_rolled_to"),
        CheckConstraint("(status = 'ROLLED') = (rolled_to_id IS NOT NULL)", name="ck_assignment_rolled"),
        CheckConstraint("anchor_day BETWEEN 1 AND 31", name="ck_assignment_anchor"),
        CheckConstraint("overage_paise >= 0 AND overage_count >= 0", name="ck_assignment_overage"),
        Index("ix_assignment_cycle", "status", "period_end"),
        CheckConstraint("period_end >= period_start", name="ck_assignment_period"),
        CheckConstraint("consumed_paise >= 0 AND engagements_used >= 0", name="ck_assignment_counters"),
        Index("ix_assignment_list", "organization_id", "created_at", "id"),
        Index("ix_assignment_member", "membership_id", "status"),
    )

    def __str__(self) -> str:
        """Who is in what, where both are loaded; else nothing, and lists fall back to the id."""
        program, member = self.__dict__.get("program"), self.__dict__.get("membership")
        return f"{member} in {program}" if program is not None and member is not None else ""


class BookingUtilization(Tenant, Model):
    """What one payment used of an assignment; one row a payment."""

    __tablename__ = "booking_utilization"

    # without a key of its own: the assignment's says the organisation (migration 0026)
    organization_id: Mapped[int] = mapped_column(BigInteger, nullable=False)
    payment_id: Mapped[int] = mapped_column(BigInteger)
    assignment_id: Mapped[int] = mapped_column(BigInteger)
    engagements: Mapped[int] = mapped_column(Integer)
    covered_paise: Mapped[int] = mapped_column(BigInteger)
    snapshot: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    reversed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_fk("booking_utilization", "payment_id", "payment"),
        tenant_fk("booking_utilization", "assignment_id", "assignment"),
        UniqueConstraint("payment_id", name="uq_utilization_payment"),
    )


class UsageLedgerEntry(Tenant, Model):
    """Append-only usage: counters of an assignment are the sums of its entries."""

    __tablename__ = "usage_ledger_entry"

    # without a key of its own: the assignment's says the organisation (migration 0026)
    organization_id: Mapped[int] = mapped_column(BigInteger, nullable=False)
    assignment_id: Mapped[int] = mapped_column(BigInteger)
    payment_id: Mapped[int | None] = mapped_column(BigInteger)
    engagements: Mapped[int] = mapped_column(Integer)
    consumed_paise: Mapped[int] = mapped_column(BigInteger)
    recorded_at: Mapped[Instant]

    __table_args__ = (
        tenant_fk("usage_ledger_entry", "assignment_id", "assignment"),
        Index("ix_usage_assignment", "assignment_id"),
    )


class OverageEvent(Tenant, Model):
    """What one booking cost beyond its program, paise: base + surcharge = marginal, and the tax a member pays on it.

    PENDING → ACCRUED (invoiced) → CHARGED; a member's PENDING → CHARGED or FAILED, FAILED → CHARGED; REVERSED by a refund;
    BLOCKED records a refusal by the ceiling and has no payment.
    """

    __tablename__ = "overage_event"

    assignment_id: Mapped[int] = mapped_column(BigInteger)
    program_id: Mapped[int] = mapped_column(BigInteger)
    membership_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    payment_id: Mapped[int | None] = mapped_column(BigInteger)
    side_payment_id: Mapped[int | None] = mapped_column(BigInteger)
    charge_to: Mapped[ChargeTo] = choice(ChargeTo)
    charge_status: Mapped[OverageStatus] = choice(OverageStatus, default=OverageStatus.PENDING)
    base_paise: Mapped[int] = mapped_column(BigInteger)
    surcharge_paise: Mapped[int] = mapped_column(BigInteger)
    marginal_paise: Mapped[int] = mapped_column(BigInteger)
    tax_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    reversed_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    due_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    reminded_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    timed_out_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    written_off_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    charged_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    assignment: Mapped[Assignment] = relationship(
        primaryjoin=lambda: foreign(OverageEvent.assignment_id) == remote(Assignment.id),
        lazy="raise",
        viewonly=True,
    )
    program: Mapped[Program] = relationship(
        primaryjoin=lambda: foreign(OverageEvent.program_id) == remote(Program.id),
        lazy="raise",
        viewonly=True,
    )
    membership: Mapped[Membership] = relationship(
        primaryjoin=lambda: foreign(OverageEvent.membership_id) == remote(Membership.id),
        lazy="raise",
        viewonly=True,
    )

    __table_args__ = (
        tenant_key("overage_event"),
        tenant_fk("overage_event", "assignment_id", "assignment"),
        tenant_fk("overage_event", "program_id", "program"),
        tenant_fk("overage_event", "membership_id", "membership"),
        tenant_fk("overage_event", "payment_id", "payment"),
        tenant_fk("overage_event", "side_payment_id", "payment"),
        UniqueConstraint("payment_id", name="uq_overage_payment"),
        UniqueConstraint("side_payment_id", name="uq_overage_side_payment"),
        CheckConstraint(
            "marginal_paise = base_paise + surcharge_paise AND base_paise >= 0", name="ck_overage_sum"
        ),
        CheckConstraint("marginal_paise > 0 AND tax_paise >= 0", name="ck_overage_positive"),
        CheckConstraint("reversed_paise BETWEEN 0 AND marginal_paise", name="ck_overage_reversed"),
        CheckConstraint("(charge_status = 'BLOCKED') = (payment_id IS NULL)", name="ck_overage_blocked"),
        CheckConstraint("charge_to = 'MEMBER' OR side_payment_id IS NULL", name="ck_overage_side_payment"),
        Index("ix_overage_list", "organization_id", "created_at", "id"),
        Index("ix_overage_assignment", "assignment_id"),
        Index(
            "ix_overage_unpaid",
            "membership_id",
            postgresql_where=text("charge_to = 'MEMBER' AND charge_status = 'FAILED'"),
        ),
        Index(
            "ix_overage_due",
            "due_at",
            postgresql_where=text("charge_to = 'MEMBER' AND charge_status = 'PENDING'"),
        ),
    )

    def __repr__(self) -> str:
        return f"Overage {str(self.public_id)[-8:]}"
