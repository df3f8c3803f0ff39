"""Events, waitlists, trials, discounts, referrals, dated hours and published cancellation terms (chapter 2, 2.3, 2.8)."""

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
    Text,
    Time,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Instant, MaybeTenant, Model, Paise, Row, Tenant, choice
from .catalogue import Appointment, Plan
from .enums import CreditKind, DiscountKind, EventState, TrialStatus, WaitlistStatus
from .people import ConsultantProfile, Person


class PlanCollaborator(MaybeTenant, Model):
    """An expert who shares a plan's revenue; the shares of a plan, its owner's included, add up to 10000 bps."""

    __tablename__ = "plan_collaborator"

    plan_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("plan.id", ondelete="CASCADE"))
    expert_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("consultant_profile.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    revenue_share_bps: Mapped[int] = mapped_column(Integer)

    expert: Mapped[ConsultantProfile] = relationship(lazy="raise")

    __table_args__ = (
        UniqueConstraint("plan_id", "expert_id", name="uq_plan_collaborator"),
        CheckConstraint("revenue_share_bps BETWEEN 1 AND 10000", name="ck_collaborator_share"),
    )


class AvailabilityOverride(Row, Model):
    """Hours of one date, which replace the weekly windows of that date; without times the date is closed."""

    __tablename__ = "availability_override"

    expert_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("consultant_profile.id", ondelete="CASCADE")
    )
    day: Mapped[dt.date] = mapped_column(Date)
    starts: Mapped[dt.time | None] = mapped_column(Time)
    ends: Mapped[dt.time | None] = mapped_column(Time)
    zone: Mapped[str] = mapped_column(String(64), default="Asia/Kolkata", server_default="Asia/Kolkata")

    __table_args__ = (
        CheckConstraint(
            "(starts IS NULL AND ends IS NULL) OR (starts IS NOT NULL AND ends IS NOT NULL AND starts < ends)",
            name="ck_override_order",
        ),
        Index("ix_override_expert", "expert_id", "day"),
    )


class Event(MaybeTenant, Model):
    """A webinar, or a class with all its sessions, that people register for. organization_id is the plan's host."""

    __tablename__ = "event"

    plan_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("plan.id"))
    expert_user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    title: Mapped[str] = mapped_column(String(200))
    capacity: Mapped[int] = mapped_column(Integer)
    status: Mapped[EventState] = choice(EventState, default=EventState.OPEN)
    starts_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    ends_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    plan: Mapped[Plan] = relationship(lazy="raise")
    sessions: Mapped[list[EventSession]] = relationship(lazy="raise", order_by="EventSession.starts_at")

    __table_args__ = (
        CheckConstraint("capacity BETWEEN 1 AND 100000", name="ck_event_capacity"),
        CheckConstraint("(starts_at IS NULL) = (ends_at IS NULL)", name="ck_event_scheduled"),
        CheckConstraint("starts_at < ends_at", name="ck_event_order"),
        Index("ix_event_plan", "plan_id", "starts_at"),
        Index("ix_event_list", "organization_id", "created_at", "id"),
        Index("ix_event_expert", "expert_user_id", "starts_at"),
        Index("ix_event_due", "ends_at", postgresql_where=text("status = 'OPEN'")),
    )

    def __repr__(self) -> str:
        return self.title


class EventSession(MaybeTenant, Model):
    """One occurrence of an event."""

    __tablename__ = "event_session"

    event_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("event.id", ondelete="CASCADE"))
    starts_at: Mapped[Instant]
    ends_at: Mapped[Instant]

    __table_args__ = (
        CheckConstraint("starts_at < ends_at", name="ck_event_session_order"),
        Index("ix_event_session", "event_id", "starts_at"),
    )


class WaitlistEntry(MaybeTenant, Model):
    """Somebody waiting for a seat. NOTIFIED keeps one for two hours. organization_id is the learner's, a label."""

    __tablename__ = "waitlist_entry"

    event_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("event.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    status: Mapped[WaitlistStatus] = choice(WaitlistStatus, default=WaitlistStatus.WAITING)
    priority: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    joined_at: Mapped[Instant]
    notified_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    event: Mapped[Event] = relationship(lazy="raise")
    user: Mapped[Person] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("status <> 'NOTIFIED' OR expires_at IS NOT NULL", name="ck_waitlist_offer"),
        Index(
            "uq_waitlist_live",
            "event_id",
            "user_id",
            unique=True,
            postgresql_where=text("status IN ('WAITING','NOTIFIED')"),
        ),
        Index(
            "ix_waitlist_head",
            "event_id",
            text("priority DESC"),
            "joined_at",
            "id",
            postgresql_where=text("status = 'WAITING'"),
        ),
        Index("ix_waitlist_offers", "expires_at", postgresql_where=text("status = 'NOTIFIED'")),
        Index("ix_waitlist_user", "user_id", "joined_at"),
        Index("ix_waitlist_list", "organization_id", "created_at", "id"),
    )


class Trial(MaybeTenant, Model):
    """A first session at the trial price, once for each learner and expert. organization_id is attribution only."""

    __tablename__ = "trial"

    plan_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("plan.id"))
    expert_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("consultant_profile.id"))
    expert_user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    learner_user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    status: Mapped[TrialStatus] = choice(TrialStatus, default=TrialStatus.PENDING)
    starts_at: Mapped[Instant]
    ends_at: Mapped[Instant]
    price_paise: Mapped[Paise]
    note: Mapped[str] = mapped_column(String(500), default="", server_default="")
    answer: Mapped[str] = mapped_column(String(500), default="", server_default="")
    pay_by: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    appointment_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("appointment.id"))
    decided_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    plan: Mapped[Plan] = relationship(lazy="raise")
    learner: Mapped[Person] = relationship(lazy="raise", foreign_keys=[learner_user_id])
    expert_user: Mapped[Person] = relationship(lazy="raise", foreign_keys=[expert_user_id])
    appointment: Mapped[Appointment | None] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("price_paise >= 0", name="ck_trial_price"),
        CheckConstraint("starts_at < ends_at", name="ck_trial_order"),
        Index(
            "uq_trial_pair",
            "learner_user_id",
            "expert_id",
            unique=True,
            postgresql_where=text("status NOT IN ('REJECTED','CANCELLED')"),
        ),
        Index("ix_trial_list", "organization_id", "created_at", "id"),
        Index("ix_trial_expert", "expert_user_id", "created_at"),
        Index("ix_trial_due", "pay_by", postgresql_where=text("status = 'AWAITING_PAYMENT'")),
    )


class DiscountCode(MaybeTenant, Model):
    """A code that lowers the price of a personal booking: PERCENTAGE in bps, FLAT in paise. Without organisation it is the
    platform's; a host's is for its own plans."""

    __tablename__ = "discount_code"

    code: Mapped[str] = mapped_column(String(32), unique=True)
    kind: Mapped[DiscountKind] = choice(DiscountKind)
    value: Mapped[int] = mapped_column(BigInteger)
    most_paise: Mapped[int | None] = mapped_column(BigInteger)
    minimum_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    max_uses: Mapped[int | None] = mapped_column(Integer)
    used_count: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    per_person: Mapped[int | None] = mapped_column(Integer)
    plan_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("plan.id"))
    starts_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = mapped_column(Boolean, default=True, server_default="true")

    plan: Mapped[Plan | None] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("code ~ '^[A-Z0-9][A-Z0-9-]{2,31}$'", name="ck_discount_code"),
        CheckConstraint("value > 0 AND (kind = 'FLAT' OR value <= 10000)", name="ck_discount_value"),
        CheckConstraint(
            "used_count >= 0 AND (max_uses IS NULL OR used_count <= max_uses)", name="ck_discount_uses"
        ),
        CheckConstraint("max_uses > 0 AND per_person > 0", name="ck_discount_limits"),
        CheckConstraint("minimum_paise >= 0 AND most_paise > 0", name="ck_discount_amounts"),
        Index("ix_discount_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.code


class DiscountUse(Row, Model):
    """A code used by a payment; given back when the payment never came."""

    __tablename__ = "discount_use"

    code_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("discount_code.id"))
    payment_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("payment.id"), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    amount_paise: Mapped[Paise]
    returned_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (Index("ix_discount_use", "code_id", "user_id"),)


class ReferralCode(Model):
    """The code that names a person to those they bring."""

    __tablename__ = "referral_code"

    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id", ondelete="CASCADE"), primary_key=True)
    code: Mapped[str] = mapped_column(String(12), unique=True)
    created_at: Mapped[Instant] = mapped_column(server_default=text("now()"))


class Referral(Row, Model):
    """Who brought whom, once for each person brought; rewarded at their first paid booking. ``payment_id`` is the booking that
    earned it; ``revoked_at`` says that its money went back and the credit with it."""

    __tablename__ = "referral"

    referrer_user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    referee_user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"), unique=True)
    rewarded_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    payment_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("payment.id"))
    revoked_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    referee: Mapped[Person] = relationship(lazy="raise", foreign_keys=[referee_user_id])

    __table_args__ = (
        CheckConstraint("referrer_user_id <> referee_user_id", name="ck_referral_two"),
        Index("ix_referral_referrer", "referrer_user_id", "id"),
        Index("ix_referral_open", "referee_user_id", postgresql_where=text("rewarded_at IS NULL")),
    )


class ReferralCredit(Row, Model):
    """Credit of one person for bookings they pay themselves; spent earliest expiry first."""

    __tablename__ = "referral_credit"

    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    kind: Mapped[CreditKind] = choice(CreditKind)
    amount_paise: Mapped[Paise]
    remaining_paise: Mapped[Paise]
    expires_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    reason: Mapped[str] = mapped_column(String(300), default="", server_default="")
    referral_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("referral.id"))
    granted_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (
        CheckConstraint("amount_paise > 0 AND remaining_paise BETWEEN 0 AND amount_paise", name="ck_credit"),
        UniqueConstraint("referral_id", "user_id", name="uq_credit_referral"),
        Index("ix_credit_user", "user_id", "expires_at", "id"),
    )


class ReferralCreditUse(Row, Model):
    """What a payment took of one credit, and what came back."""

    __tablename__ = "referral_credit_use"

    credit_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("referral_credit.id"))
    payment_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("payment.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    amount_paise: Mapped[Paise]
    restored_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")

    __table_args__ = (
        CheckConstraint(
            "amount_paise > 0 AND restored_paise BETWEEN 0 AND amount_paise", name="ck_credit_use"
        ),
        UniqueConstraint("payment_id", "credit_id", name="uq_credit_use"),
        Index("ix_credit_use_credit", "credit_id"),
    )


class CancellationPolicy(Tenant, Model):
    """A published version of an organisation's cancellation terms; never changed, only followed by the next."""

    __tablename__ = "cancellation_policy"

    version: Mapped[int] = mapped_column(Integer)
    tiers: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    note: Mapped[str] = mapped_column(Text, default="", server_default="")
    published_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (
        UniqueConstraint("organization_id", "version", name="uq_cancellation_policy"),
        CheckConstraint("version >= 1", name="ck_policy_version"),
        CheckConstraint("jsonb_array_length(tiers) BETWEEN 1 AND 6", name="ck_policy_tiers"),
    )

    def __repr__(self) -> str:
        return f"Version {self.version}"
