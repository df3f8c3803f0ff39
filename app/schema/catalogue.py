"""Plans, experts' availability, calendar claims and appointments (chapter 2, 2.3)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    Time,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSTZRANGE, TSVECTOR, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Instant, MaybeTenant, Model, Paise, Row, choice, tenant_key
from .enums import AppointmentStatus, PlanType, SupplyModel, Visibility
from .organizations import Organization
from .people import ConsultantProfile, Person


class Plan(MaybeTenant, Model):
    """Something bookable. organization_id is the host or NULL (marketplace)."""

    __tablename__ = "plan"

    expert_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("consultant_profile.id"))
    type: Mapped[PlanType] = choice(PlanType, default=PlanType.CONSULTATION)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(Text, default="", server_default="")
    category: Mapped[str] = mapped_column(String(120), default="General", server_default="General")
    price_paise: Mapped[Paise]
    tax_bps: Mapped[int] = mapped_column(Integer, default=1800, server_default="1800")
    sac_code: Mapped[str] = mapped_column(String(6), default="999293", server_default="999293")
    supply_model: Mapped[SupplyModel] = choice(SupplyModel, default=SupplyModel.PRINCIPAL)
    duration_minutes: Mapped[int] = mapped_column(Integer, default=60, server_default="60")
    visibility: Mapped[Visibility] = choice(Visibility, default=Visibility.PUBLIC)
    active: Mapped[bool] = mapped_column(Boolean, default=True, server_default="true")
    total_sessions: Mapped[int | None] = mapped_column(Integer)
    sessions_per_week: Mapped[int | None] = mapped_column(Integer)
    max_participants: Mapped[int | None] = mapped_column(Integer)
    trial_price_paise: Mapped[int | None] = mapped_column(BigInteger)  # NULL: no trial is offered
    trial_minutes: Mapped[int | None] = mapped_column(Integer)
    search: Mapped[Any] = mapped_column(TSVECTOR, deferred=True, nullable=True)  # a trigger fills it

    expert: Mapped[ConsultantProfile] = relationship(lazy="raise")

    __table_args__ = (
        tenant_key("plan"),
        CheckConstraint("price_paise >= 0", name="ck_plan_price"),
        CheckConstraint("tax_bps BETWEEN 0 AND 10000", name="ck_plan_tax"),
        CheckConstraint("duration_minutes BETWEEN 5 AND 1440", name="ck_plan_duration"),
        CheckConstraint(
            "CASE type WHEN 'SUBSCRIPTION' THEN total_sessions BETWEEN 1 AND 500 AND sessions_per_week BETWEEN 1 AND 21 "
            "AND max_participants IS NULL "
            "WHEN 'CLASS' THEN total_sessions BETWEEN 1 AND 200 AND max_participants BETWEEN 1 AND 100000 "
            "WHEN 'WEBINAR' THEN max_participants BETWEEN 1 AND 100000 AND total_sessions IS NULL "
            "ELSE total_sessions IS NULL AND sessions_per_week IS NULL AND max_participants IS NULL END IS TRUE",
            name="ck_plan_sessions",
        ),
        CheckConstraint(
            "(trial_price_paise IS NULL AND trial_minutes IS NULL) OR (type IN ('CONSULTATION','SUBSCRIPTION') "
            "AND trial_price_paise >= 0 AND trial_minutes BETWEEN 5 AND 240)",
            name="ck_plan_trial",
        ),
        Index("ix_plan_newest", "created_at", "id", postgresql_where=text("active")),
        Index("ix_plan_cheapest", "price_paise", "id", postgresql_where=text("active")),
        Index("ix_plan_search", "search", postgresql_using="gin"),
        Index("ix_plan_expert", "expert_id"),
        Index("ix_plan_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.title


class AvailabilityWindow(Row, Model):
    """A weekly window in the expert's own zone; a slot is bookable inside a window and outside every claim."""

    __tablename__ = "availability_window"

    expert_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("consultant_profile.id", ondelete="CASCADE")
    )
    weekday: Mapped[int] = mapped_column(SmallInteger)
    starts: Mapped[dt.time] = mapped_column(Time)
    ends: Mapped[dt.time] = mapped_column(Time)
    zone: Mapped[str] = mapped_column(String(64), default="Asia/Kolkata", server_default="Asia/Kolkata")

    __table_args__ = (
        CheckConstraint("weekday BETWEEN 0 AND 6", name="ck_window_weekday"),
        CheckConstraint("starts < ends", name="ck_window_order"),
        Index("ix_window_expert", "expert_id", "weekday"),
    )


class Appointment(MaybeTenant, Model):
    """A booked occurrence; organisation and policy are frozen at booking.

    A seat at an event names it in ``event_id``. A subscription is one row that spans its time, and each session the expert
    allocates is a row below it (``parent_id``); ``forfeited`` marks a session that was called off too late and counts as used.
    """

    __tablename__ = "appointment"

    plan_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("plan.id"))
    expert_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("consultant_profile.id"))
    expert_user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    learner_user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    status: Mapped[AppointmentStatus] = choice(AppointmentStatus, default=AppointmentStatus.TENTATIVE)
    title: Mapped[str] = mapped_column(String(200))
    starts_at: Mapped[Instant]
    ends_at: Mapped[Instant]
    cancellation_policy: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    event_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("event.id"))
    parent_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("appointment.id"))
    sequence: Mapped[int] = mapped_column(Integer, default=0, server_default="0")  # of the calendar file
    forfeited: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")

    plan: Mapped[Plan] = relationship(lazy="raise")
    learner: Mapped[Person] = relationship(lazy="raise", foreign_keys=[learner_user_id])
    expert_user: Mapped[Person] = relationship(lazy="raise", foreign_keys=[expert_user_id])
    organization: Mapped[Organization | None] = relationship(lazy="raise", viewonly=True)

    __table_args__ = (
        tenant_key("appointment"),
        CheckConstraint("starts_at < ends_at", name="ck_appointment_order"),
        Index("ix_appointment_list", "organization_id", "starts_at", "id"),
        Index("ix_appointment_learner", "learner_user_id", "starts_at"),
        Index("ix_appointment_expert", "expert_user_id", "starts_at"),
        Index(
            "uq_appointment_seat",
            "event_id",
            "learner_user_id",
            unique=True,
            postgresql_where=text(
                "event_id IS NOT NULL AND status IN ('TENTATIVE','CONFIRMED','COMPLETED','NO_SHOW')"
            ),
        ),
        Index("ix_appointment_parent", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("ix_appointment_due", "ends_at", postgresql_where=text("status = 'CONFIRMED'")),
    )

    def __repr__(self) -> str:
        return self.title


class CalendarClaim(Model):
    """Busy time of one person, platform-wide: two claims of a person never overlap.

    The exclusion needs no btree_gist: the person is a one-element integer range.
    """

    __tablename__ = "calendar_claim"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    appointment_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("appointment.id", ondelete="CASCADE")
    )
    event_session_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("event_session.id", ondelete="CASCADE")
    )
    role: Mapped[str] = mapped_column(String(10))
    span: Mapped[Any] = mapped_column(TSTZRANGE)
    expires_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        CheckConstraint("role IN ('EXPERT','LEARNER')", name="ck_claim_role"),
        CheckConstraint("appointment_id IS NOT NULL OR event_session_id IS NOT NULL", name="ck_claim_for"),
        ExcludeConstraint(
            (text("int8range(user_id, user_id, '[]')"), "&&"),
            ("span", "&&"),
            name="ex_calendar_claim",
            using="gist",
        ),
        Index("ix_claim_appointment", "appointment_id"),
        Index("ix_claim_event_session", "event_session_id"),
        Index("ix_claim_expiring", "user_id", postgresql_where=text("expires_at IS NOT NULL")),
    )
