"""Organisations, memberships, invitations, domain claims (chapter 1)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app import clock

from .base import Instant, Model, Row, Tenant, choice, tenant_fk, tenant_key
from .enums import (
    ApiAccess,
    InvitationStatus,
    MembershipStatus,
    OrgRole,
    OrgStatus,
    PayoutRecipient,
    RoleSource,
    SizeBucket,
)
from .people import Person

SLUG = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"


class Organization(Row, Model):
    """A customer, a host of experts, or both."""

    __tablename__ = "organization"

    name: Mapped[str] = mapped_column(String(200))
    slug: Mapped[str] = mapped_column(String(63), unique=True)
    description: Mapped[str] = mapped_column(Text, default="", server_default="")
    industry: Mapped[str | None] = mapped_column(String(120))
    website: Mapped[str | None] = mapped_column(String(300))
    size_bucket: Mapped[SizeBucket | None] = choice(SizeBucket)
    can_sponsor: Mapped[bool] = mapped_column(Boolean, default=True, server_default="true", index=True)
    can_host: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false", index=True)
    capabilities_extra: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    status: Mapped[OrgStatus] = choice(OrgStatus, default=OrgStatus.PENDING_VERIFICATION, index=True)
    verification_submitted_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    verification_reason: Mapped[str | None] = mapped_column(Text)
    verification_rejected_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    verification_info_requested_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    deleted_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    logo: Mapped[str | None] = mapped_column(String(400))
    banner_image: Mapped[str | None] = mapped_column(String(400))
    primary_color: Mapped[str | None] = mapped_column(String(7))
    secondary_color: Mapped[str | None] = mapped_column(String(7))
    is_public: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    billing_email: Mapped[str | None] = mapped_column(String(320))
    contacts: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    payment_terms_days: Mapped[int] = mapped_column(SmallInteger, default=30, server_default="30")
    requires_po: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    invoice_number_prefix: Mapped[str | None] = mapped_column(String(5), unique=True)
    seats_total: Mapped[int | None] = mapped_column(Integer)
    seats_used: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    gstin: Mapped[str | None] = mapped_column(String(15))
    gst_state_code: Mapped[str | None] = mapped_column(String(2))
    gst_reg_status: Mapped[str | None] = mapped_column(String(20))
    pan_encrypted: Mapped[str | None] = mapped_column(Text)
    pan_last4: Mapped[str | None] = mapped_column(String(4))
    hsn_default: Mapped[str | None] = mapped_column(String(8))
    msme_status: Mapped[str | None] = mapped_column(String(10))
    msme_agreement_on_file: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    default_cancellation_policy: Mapped[str] = mapped_column(Text, default="", server_default="")
    default_refund_policy: Mapped[str] = mapped_column(Text, default="", server_default="")
    data_residency_region: Mapped[str] = mapped_column(String(2), default="IN", server_default="IN")
    stream_recording_retention_days: Mapped[int] = mapped_column(Integer, default=90, server_default="90")
    people_owner_only: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    domain_cap_waived_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    parent_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("organization.id"))
    root_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("organization.id"))
    depth: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (
        CheckConstraint(f"slug ~ '{SLUG}'", name="ck_organization_slug"),
        CheckConstraint("char_length(name) BETWEEN 2 AND 200", name="ck_organization_name"),
        CheckConstraint("char_length(description) <= 5000", name="ck_organization_description"),
        CheckConstraint("can_sponsor OR can_host", name="ck_organization_not_inert"),
        CheckConstraint("payment_terms_days BETWEEN 0 AND 180", name="ck_organization_terms"),
        CheckConstraint(
            "seats_used >= 0 AND (seats_total IS NULL OR seats_total >= seats_used)",
            name="ck_organization_seats",
        ),
        CheckConstraint(
            "primary_color IS NULL OR primary_color ~ '^#[0-9A-Fa-f]{6}$'", name="ck_organization_primary"
        ),
        CheckConstraint(
            "secondary_color IS NULL OR secondary_color ~ '^#[0-9A-Fa-f]{6}$'",
            name="ck_organization_secondary",
        ),
        CheckConstraint(
            "invoice_number_prefix IS NULL OR invoice_number_prefix ~ '^[A-Z1-9][A-Z0-9]{1,4}$'",
            name="ck_organization_prefix",
        ),
        CheckConstraint("data_residency_region IN ('IN','US','EU')", name="ck_organization_region"),
        CheckConstraint(
            "(pan_encrypted IS NULL) = (pan_last4 IS NULL) AND pan_last4 ~ '^[0-9]{3}[A-Z]$'",
            name="ck_organization_pan",
        ),
        CheckConstraint("depth BETWEEN 0 AND 4", name="ck_organization_depth"),
        CheckConstraint(
            "(parent_id IS NULL) = (depth = 0) AND parent_id <> id", name="ck_organization_parent"
        ),
        Index("ix_organization_created", "created_at", "id"),
        Index(
            "ix_organization_public",
            text("lower(name)"),
            "id",
            postgresql_where=text("is_public AND can_host AND status = 'ACTIVE'"),
        ),
        Index("ix_organization_parent", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("ix_organization_root", "root_id"),
    )

    @property
    def pan_masked(self) -> str | None:
        """The PAN as it may be shown."""
        return f"••••••{self.pan_last4}" if self.pan_last4 else None

    @property
    def kind(self) -> str:
        """SPONSOR, HOST or HYBRID, from the capabilities (chapter 1, 1.2)."""
        return "HYBRID" if self.can_sponsor and self.can_host else "HOST" if self.can_host else "SPONSOR"

    def __repr__(self) -> str:
        return self.name


class Membership(Tenant, Model):
    """A person's place in an organisation; one row for life, reactivated rather than repeated."""

    __tablename__ = "membership"

    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    role: Mapped[OrgRole] = choice(OrgRole)
    status: Mapped[MembershipStatus] = choice(MembershipStatus, default=MembershipStatus.ACTIVE)
    department_label: Mapped[str | None] = mapped_column(String(100))
    seat_assigned_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    spend_limit_paise: Mapped[int | None] = mapped_column(BigInteger)
    payout_recipient: Mapped[PayoutRecipient] = choice(PayoutRecipient, default=PayoutRecipient.SELF)
    rate_card_override_id: Mapped[int | None] = mapped_column(BigInteger)
    external_scim_id: Mapped[str | None] = mapped_column(String(200))
    role_source: Mapped[RoleSource] = choice(RoleSource, default=RoleSource.MANUAL)
    # DELETE by a directory hides the row from it until it is posted again; a trigger forgets this when it turns ACTIVE
    scim_deleted_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    scim_visible: Mapped[bool] = mapped_column(
        Boolean,
        Computed("scim_deleted_at IS NULL AND status IN ('PENDING', 'ACTIVE', 'SUSPENDED')", persisted=True),
        deferred=True,
    )
    updated_at: Mapped[Instant] = mapped_column(default=clock.now, server_default=text("now()"))
    joined_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    # what lists of people are ordered and searched by: triggers copy it from ab_user (migrations/sql/people_keys.sql)
    name_key: Mapped[str] = mapped_column(String(200, "C"), server_default="", deferred=True)
    family_key: Mapped[str] = mapped_column(String(200, "C"), server_default="", deferred=True)
    email_key: Mapped[str] = mapped_column(String(320, "C"), server_default="", deferred=True)

    user: Mapped[Person] = relationship(lazy="raise", foreign_keys=[user_id])

    __table_args__ = (
        tenant_key("membership"),
        tenant_fk("membership", "rate_card_override_id", "rate_card", use_alter=True),
        UniqueConstraint("user_id", "organization_id", name="uq_membership_user_org"),
        CheckConstraint(
            "spend_limit_paise IS NULL OR spend_limit_paise >= 100", name="ck_membership_spend_limit"
        ),
        Index("ix_membership_list", "organization_id", "created_at", "id"),
        Index("ix_membership_role", "organization_id", "role", "status"),
        Index("ix_membership_department", "organization_id", "department_label"),
        Index("ix_membership_name", "organization_id", "name_key", "id"),
        Index("ix_membership_role_name", "organization_id", "role", "name_key", "id"),
        Index("ix_membership_family", "organization_id", "family_key", "id"),
        Index("ix_membership_email", "organization_id", "email_key", "id"),
        Index("ix_membership_scim", "organization_id", "id", postgresql_where=text("scim_visible")),
        Index("ix_membership_updated", "organization_id", "updated_at", "id"),
        Index(
            "uq_membership_external_scim",
            "organization_id",
            "external_scim_id",
            unique=True,
            postgresql_where=text("external_scim_id IS NOT NULL"),
        ),
    )

    def __repr__(self) -> str:
        user = self.__dict__.get("user")
        return str(user) if user is not None else f"Member {self.public_id}"


class Invitation(Tenant, Model):
    """An offer of a role to an address; the token is stored hashed."""

    __tablename__ = "invitation"

    email: Mapped[str] = mapped_column(String(320))
    name: Mapped[str | None] = mapped_column(String(100))
    role: Mapped[OrgRole] = choice(OrgRole)
    department_label: Mapped[str | None] = mapped_column(String(100))
    status: Mapped[InvitationStatus] = choice(InvitationStatus, default=InvitationStatus.PENDING)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[Instant]
    sent_at: Mapped[Instant]
    resend_count: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    invited_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    accepted_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    accepted_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("invitation"),
        CheckConstraint("email = lower(email)", name="ck_invitation_email_lower"),
        Index(
            "uq_invitation_pending",
            "organization_id",
            "email",
            unique=True,
            postgresql_where=text("status = 'PENDING'"),
        ),
        Index("ix_invitation_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.email


class DomainClaim(Tenant, Model):
    """A DNS domain claimed by an organisation; verified by one organisation at a time."""

    __tablename__ = "domain_claim"

    domain: Mapped[str] = mapped_column(String(253))
    verification_token: Mapped[str] = mapped_column(String(64))
    claimed_at: Mapped[Instant]
    verified_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    last_checked_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    failing_since: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    lapsed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    last_passed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    warned_day: Mapped[int] = mapped_column(
        SmallInteger, default=0, server_default="0"
    )  # of failing, last told

    __table_args__ = (
        tenant_key("domain_claim"),
        CheckConstraint("domain = lower(domain)", name="ck_domain_claim_lower"),
        UniqueConstraint("organization_id", "domain", name="uq_domain_claim_org"),
        Index(
            "uq_domain_claim_verified",
            "domain",
            unique=True,
            postgresql_where=text("verified_at IS NOT NULL AND lapsed_at IS NULL"),
        ),
    )

    def __repr__(self) -> str:
        return self.domain


class OrgApiKey(Tenant, Model):
    """Which organisation a key of Flask-AppBuilder's (``ab_api_key``) acts for, on whose authority, and how far."""

    __tablename__ = "org_api_key"

    api_key_id: Mapped[int] = mapped_column(ForeignKey("ab_api_key.id", ondelete="CASCADE"), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    name: Mapped[str] = mapped_column(String(100))
    access: Mapped[ApiAccess] = choice(ApiAccess, default=ApiAccess.READ)
    resources: Mapped[list[str]] = mapped_column(JSONB, default=list, server_default="[]")
    key_prefix: Mapped[str] = mapped_column(String(16))
    expires_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    user: Mapped[Person] = relationship(lazy="raise", foreign_keys=[user_id])

    __table_args__ = (
        tenant_key("org_api_key"),
        Index("ix_org_api_key_list", "organization_id", "created_at", "id"),
        Index("ix_org_api_key_user", "user_id"),
    )

    def __repr__(self) -> str:
        return self.name
