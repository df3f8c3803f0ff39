"""Billing accounts, top-ups, payments and gateway events (chapter 2, 2.3, 2.4, 2.7)."""

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
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Instant, MaybeTenant, Model, Paise, Row, Tenant, choice, tenant_fk, tenant_key
from .catalogue import Appointment
from .enums import (
    EarningStatus,
    EventStatus,
    FundingSource,
    GstMode,
    LegSource,
    MandateStatus,
    PaymentStatus,
    RefundStatus,
    TopUpKind,
    TopUpStatus,
)
from .people import Person


class BillingAccount(Tenant, Model):
    """How a sponsoring organisation pays. wallet_balance_paise is a cache of the journal, moved in its transaction."""

    __tablename__ = "billing_account"

    funding_source: Mapped[FundingSource] = choice(FundingSource)
    pending_funding_source: Mapped[FundingSource | None] = choice(
        FundingSource, check="pending_funding_source"
    )
    funding_changes_on: Mapped[dt.date | None] = mapped_column(Date)
    wallet_balance_paise: Mapped[int | None] = mapped_column(BigInteger)
    credit_limit_paise: Mapped[int | None] = mapped_column(BigInteger)
    min_balance_paise: Mapped[int | None] = mapped_column(BigInteger)
    shortfall_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    auto_top_up_enabled: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    auto_top_up_amount_paise: Mapped[int | None] = mapped_column(BigInteger)
    auto_top_up_last_fired_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    auto_top_up_failures: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    mandate_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    mandate_gateway: Mapped[str | None] = mapped_column(String(20))
    mandate_status: Mapped[MandateStatus | None] = choice(MandateStatus)
    mandate_max_paise: Mapped[int | None] = mapped_column(BigInteger)
    low_balance_told_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    wallet_frozen_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    wallet_gst_mode: Mapped[GstMode] = choice(GstMode, default=GstMode.VOUCHER)
    allow_member_top_up: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    dunning_suspended_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    trusted_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    first_invoice_paid_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("billing_account"),
        UniqueConstraint("organization_id", name="uq_billing_account_org"),
        CheckConstraint(
            "(pending_funding_source IS NULL) = (funding_changes_on IS NULL)", name="ck_funding_change"
        ),
        CheckConstraint("wallet_balance_paise >= 0", name="ck_wallet_not_negative"),
        CheckConstraint(
            "(funding_source = 'WALLET') = (wallet_balance_paise IS NOT NULL)", name="ck_wallet_iff_wallet"
        ),
        CheckConstraint("credit_limit_paise >= 0", name="ck_credit_limit"),
        CheckConstraint("shortfall_paise >= 0", name="ck_shortfall"),
        CheckConstraint(
            "(mandate_id IS NULL) = (mandate_status IS NULL) AND (mandate_id IS NULL) = (mandate_gateway IS NULL)",
            name="ck_mandate",
        ),
        CheckConstraint(
            "NOT auto_top_up_enabled OR (min_balance_paise IS NOT NULL AND auto_top_up_amount_paise IS NOT NULL)",
            name="ck_auto_top_up",
        ),
    )

    def __repr__(self) -> str:
        return f"{self.funding_source.value.title()} account"


class WalletTopUp(Tenant, Model):
    """Money on its way into a wallet. Only a gateway event or a sweep confirms it."""

    __tablename__ = "wallet_top_up"

    billing_account_id: Mapped[int] = mapped_column(BigInteger)
    amount_paise: Mapped[Paise]
    captured_paise: Mapped[int | None] = mapped_column(BigInteger)
    refunded_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    kind: Mapped[TopUpKind] = choice(TopUpKind, default=TopUpKind.MANUAL)
    status: Mapped[TopUpStatus] = choice(TopUpStatus, default=TopUpStatus.PENDING)
    failure_code: Mapped[str | None] = mapped_column(String(40))
    gst_mode: Mapped[GstMode] = choice(GstMode, default=GstMode.VOUCHER)
    gateway: Mapped[str] = mapped_column(String(20))
    gateway_order_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    gateway_payment_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    checkout_url: Mapped[str | None] = mapped_column(Text)
    requested_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    receipt_number: Mapped[str | None] = mapped_column(String(30), unique=True)
    snapshot: Mapped[dict[str, Any]] = mapped_column(
        JSONB, default=dict, server_default="{}"
    )  # facts documents print
    captured_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    confirmed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("wallet_top_up"),
        CheckConstraint("refunded_paise BETWEEN 0 AND amount_paise", name="ck_top_up_refunded"),
        tenant_fk("wallet_top_up", "billing_account_id", "billing_account"),
        CheckConstraint("amount_paise >= 10000", name="ck_top_up_minimum"),
        Index("ix_wallet_top_up_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return f"Top-up {str(self.public_id)[-8:]}"


class TopUpRefund(Tenant, Model):
    """Credits given back as money, one row a refund: reserved, sent, then posted under the provider's own id."""

    __tablename__ = "wallet_top_up_refund"

    top_up_id: Mapped[int] = mapped_column(BigInteger)
    amount_paise: Mapped[Paise]
    status: Mapped[RefundStatus] = choice(RefundStatus, default=RefundStatus.PENDING)
    reason: Mapped[str] = mapped_column(String(300))
    requested_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    provider_refund_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    succeeded_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("wallet_top_up_refund"),
        tenant_fk("wallet_top_up_refund", "top_up_id", "wallet_top_up"),
        CheckConstraint("amount_paise > 0", name="ck_top_up_refund_amount"),
        Index("ix_wallet_top_up_refund_list", "organization_id", "created_at", "id"),
        Index("ix_wallet_top_up_refund_top_up", "top_up_id"),
        Index("ix_wallet_top_up_refund_open", "created_at", postgresql_where=text("status = 'PENDING'")),
    )

    def __repr__(self) -> str:
        return f"Refund {str(self.public_id)[-8:]} of a top-up"


class Payment(MaybeTenant, Model):
    """What a booking cost and who paid it.

    amount = price + surcharge − discount − what a licence covers − what the member owes apart + tax. A member's overage is
    a payment of its own with ``parent_payment_id`` and no appointment; a planned session of a subscription on a seat has
    both.
    """

    __tablename__ = "payment"

    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    billing_account_id: Mapped[int | None] = mapped_column(BigInteger)
    appointment_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("appointment.id"))
    plan_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("plan.id"))
    status: Mapped[PaymentStatus] = choice(PaymentStatus, default=PaymentStatus.PENDING)
    method: Mapped[str] = mapped_column(String(20))
    description: Mapped[str] = mapped_column(String(300), default="", server_default="")
    price_paise: Mapped[Paise]
    discount_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    surcharge_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    license_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    member_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    parent_payment_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("payment.id"))
    invoice_id: Mapped[int | None] = mapped_column(BigInteger)
    tax_paise: Mapped[Paise]
    tax_bps: Mapped[int] = mapped_column(Integer)
    amount_paise: Mapped[Paise]
    gateway: Mapped[str | None] = mapped_column(String(20))
    gateway_order_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    checkout_url: Mapped[str | None] = mapped_column(Text)
    provider_payment_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    receipt_number: Mapped[str | None] = mapped_column(String(30), unique=True)
    snapshot: Mapped[dict[str, Any]] = mapped_column(
        JSONB, default=dict, server_default="{}"
    )  # facts documents print
    captured_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    user: Mapped[Person] = relationship(lazy="raise")
    appointment: Mapped[Appointment | None] = relationship(lazy="raise")

    @property
    def is_side(self) -> bool:
        """Whether a member's overage is paid with it."""
        return self.parent_payment_id is not None and self.appointment_id is None

    __table_args__ = (
        tenant_key("payment"),
        tenant_fk("payment", "billing_account_id", "billing_account"),
        tenant_fk("payment", "invoice_id", "invoice", use_alter=True),
        CheckConstraint(
            "amount_paise = price_paise + surcharge_paise - discount_paise - license_paise - member_paise + tax_paise",
            name="ck_payment_sum",
        ),
        CheckConstraint(
            "amount_paise >= 0 AND tax_paise >= 0 AND discount_paise >= 0 AND surcharge_paise >= 0 "
            "AND license_paise >= 0 AND member_paise >= 0",
            name="ck_payment_positive",
        ),
        Index("ix_payment_list", "organization_id", "created_at", "id"),
        Index("ix_payment_user", "user_id", "created_at"),
        Index("ix_payment_appointment", "appointment_id"),
        Index("ix_payment_invoice", "invoice_id", postgresql_where=text("invoice_id IS NOT NULL")),
        Index(
            "ix_payment_unstated",
            "organization_id",
            "captured_at",
            postgresql_where=text("invoice_id IS NULL AND method IN ('WALLET', 'CARD')"),
        ),
        Index("ix_payment_holds", "expires_at", postgresql_where=text("status = 'PENDING'")),
        Index(
            "ix_payment_parent", "parent_payment_id", postgresql_where=text("parent_payment_id IS NOT NULL")
        ),
        Index(
            "ix_payment_unbilled",
            "organization_id",
            "captured_at",
            postgresql_where=text("invoice_id IS NULL AND method IN ('INVOICE', 'LICENSE')"),
        ),
    )

    def __repr__(self) -> str:
        return self.description or f"Payment {self.public_id}"


class PaymentLeg(MaybeTenant, Model):
    """Where the money of a payment came from; non-reversal legs add up to the amount."""

    __tablename__ = "payment_leg"

    payment_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("payment.id"))
    source: Mapped[LegSource] = choice(LegSource)
    source_ref: Mapped[str] = mapped_column(String(80), default="", server_default="")
    amount_paise: Mapped[Paise]
    covered_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")

    payment: Mapped[Payment] = relationship(lazy="raise")

    __table_args__ = (
        UniqueConstraint("payment_id", "source", "source_ref", name="uq_payment_leg_source"),
        Index("ix_payment_leg_list", "organization_id", "created_at", "id"),
    )


class Refund(MaybeTenant, Model):
    """Money on its way back: reserved under the payment's lock, sent, then spread over what the booking posted.

    ``gateway_paise`` is the part that goes back through the provider; ``policy_bps`` stands for the amount where the
    booking cost nothing.
    """

    __tablename__ = "refund"

    payment_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("payment.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    status: Mapped[RefundStatus] = choice(RefundStatus, default=RefundStatus.PENDING)
    amount_paise: Mapped[Paise]
    gateway_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    policy_bps: Mapped[int | None] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(String(300))
    forced: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    requested_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    provider_refund_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    succeeded_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    cascaded_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    payment: Mapped[Payment] = relationship(lazy="raise")

    __table_args__ = (
        tenant_key("refund"),
        CheckConstraint(
            "amount_paise >= 0 AND gateway_paise BETWEEN 0 AND amount_paise", name="ck_refund_amount"
        ),
        CheckConstraint("policy_bps BETWEEN 0 AND 10000", name="ck_refund_policy"),
        CheckConstraint("cascaded_at IS NULL OR status = 'SUCCEEDED'", name="ck_refund_cascade"),
        Index("ix_refund_payment", "payment_id"),
        Index("ix_refund_list", "organization_id", "created_at", "id"),
        Index("ix_refund_open", "status", "created_at", postgresql_where=text("cascaded_at IS NULL")),
    )

    def __repr__(self) -> str:
        return f"Refund {str(self.public_id)[-8:]}"


class ConsultantEarning(MaybeTenant, Model):
    """The expert's share of one booking, with the rate card as it was."""

    __tablename__ = "consultant_earnings"

    payment_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("payment.id"))
    consultant_user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    gross_paise: Mapped[Paise]
    platform_bps: Mapped[int] = mapped_column(Integer)
    org_bps: Mapped[int] = mapped_column(Integer)
    consultant_bps: Mapped[int] = mapped_column(Integer)
    share_paise: Mapped[Paise]
    refunded_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    status: Mapped[EarningStatus] = choice(EarningStatus, default=EarningStatus.PENDING)
    held_from: Mapped[str | None] = mapped_column(String(40))  # the status a dispute interrupted
    hold_until: Mapped[Instant]

    payment: Mapped[Payment] = relationship(lazy="raise")

    __table_args__ = (
        UniqueConstraint("payment_id", "consultant_user_id", name="uq_earning_payment_consultant"),
        CheckConstraint("platform_bps + org_bps + consultant_bps = 10000", name="ck_earning_bps"),
        CheckConstraint("refunded_paise BETWEEN 0 AND share_paise", name="ck_earning_refunded"),
        Index("ix_earning_consultant", "consultant_user_id", "created_at"),
    )


class OrganizationEarning(Tenant, Model):
    """The host's share of one booking, with the rate card as it was. Written by a database function: the booking acts
    for its payer, the row belongs to the host."""

    __tablename__ = "organization_earnings"

    payment_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("payment.id"))
    gross_paise: Mapped[Paise]
    platform_bps: Mapped[int] = mapped_column(Integer)
    org_bps: Mapped[int] = mapped_column(Integer)
    consultant_bps: Mapped[int] = mapped_column(Integer)
    share_paise: Mapped[Paise]
    refunded_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    status: Mapped[EarningStatus] = choice(EarningStatus, default=EarningStatus.PENDING)
    held_from: Mapped[str | None] = mapped_column(String(40))  # the status a dispute interrupted
    hold_until: Mapped[Instant]

    __table_args__ = (
        tenant_key("organization_earnings"),
        UniqueConstraint("payment_id", "organization_id", name="uq_org_earning_payment"),
        CheckConstraint("platform_bps + org_bps + consultant_bps = 10000", name="ck_org_earning_bps"),
        CheckConstraint("refunded_paise BETWEEN 0 AND share_paise", name="ck_org_earning_refunded"),
        Index("ix_org_earning_list", "organization_id", "created_at", "id"),
    )


class GatewayEvent(Row, Model):
    """A webhook as it came, once: the unique event_key makes duplicates harmless."""

    __tablename__ = "gateway_event"

    gateway: Mapped[str] = mapped_column(String(20))
    event_key: Mapped[str] = mapped_column(String(160), unique=True)
    type: Mapped[str] = mapped_column(String(60))
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[EventStatus] = choice(EventStatus, default=EventStatus.RECEIVED)
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    last_error: Mapped[str | None] = mapped_column(Text)
    processed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (Index("ix_gateway_event_status", "status", "created_at"),)


class UnappliedReceipt(Row, Model):
    """Money received that matches nothing we asked for; kept apart until all of it went back, by refund or chargeback."""

    __tablename__ = "unapplied_receipt"

    gateway: Mapped[str] = mapped_column(String(20))
    provider_payment_id: Mapped[str] = mapped_column(String(80), unique=True)
    provider_refund_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    amount_paise: Mapped[Paise]
    refunded_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    charged_back_paise: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    reason: Mapped[str] = mapped_column(String(60))
    organization_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("organization.id"))
    received_at: Mapped[Instant]
    refunded_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))  # nothing is left

    __table_args__ = (
        CheckConstraint(
            "refunded_paise >= 0 AND charged_back_paise >= 0 AND refunded_paise + charged_back_paise <= amount_paise",
            name="ck_unapplied_receipt_left",
        ),
    )

    @property
    def left_paise(self) -> int:
        """What neither went back nor was taken by a bank."""
        return self.amount_paise - self.refunded_paise - self.charged_back_paise
