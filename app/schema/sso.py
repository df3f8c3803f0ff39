"""Single sign-on: settings, providers, certificates, linked identities and what guards them (chapter 3, 3.1)."""

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
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Instant, Model, Tenant, choice, tenant_fk, tenant_key
from .enums import OrgRole, SsoProtocol
from .people import Person


class SsoSettings(Tenant, Model):
    """How an organisation's people sign in; one row an organisation, made when first needed."""

    __tablename__ = "sso_settings"

    allowed_email_domains: Mapped[list[str]] = mapped_column(JSONB, default=list, server_default="[]")
    enforce_sso: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    enforced_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    default_role_for_auto_join: Mapped[OrgRole] = choice(
        OrgRole, default=OrgRole.LEARNER, check="sso_default_role"
    )
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    break_glass_until: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    break_glass_reason: Mapped[str | None] = mapped_column(String(500))
    break_glass_opened_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    break_glass_by: Mapped[str | None] = mapped_column(String(320))

    __table_args__ = (
        tenant_key("sso_settings"),
        UniqueConstraint("organization_id", name="uq_sso_settings_org"),
        CheckConstraint("default_role_for_auto_join = 'LEARNER'", name="ck_sso_settings_role"),
    )


class SsoProvider(Tenant, Model):
    """An identity provider of an organisation: SAML or OIDC. Outlives whoever made it."""

    __tablename__ = "sso_provider"

    provider_id: Mapped[str] = mapped_column(String(50), unique=True)
    protocol: Mapped[SsoProtocol] = choice(SsoProtocol)
    name: Mapped[str] = mapped_column(String(100), default="", server_default="")
    domain: Mapped[str] = mapped_column(String(253))
    extra_domains: Mapped[list[str]] = mapped_column(JSONB, default=list, server_default="[]")
    enabled: Mapped[bool] = mapped_column(Boolean, default=True, server_default="true")
    allow_idp_initiated: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    proven_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    last_test_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    last_test_result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id", ondelete="SET NULL"))
    # SAML
    idp_entity_id: Mapped[str | None] = mapped_column(String(1024))
    sso_url: Mapped[str | None] = mapped_column(String(2048))
    slo_url: Mapped[str | None] = mapped_column(String(2048))
    name_id_format: Mapped[str | None] = mapped_column(String(200))
    attribute_map: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    sign_requests: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    metadata_url: Mapped[str | None] = mapped_column(String(2048))
    metadata_read_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    metadata_problem: Mapped[str | None] = mapped_column(String(300))
    sp_certificate: Mapped[str | None] = mapped_column(Text)
    sp_key_encrypted: Mapped[str | None] = mapped_column(Text)
    # OIDC
    issuer: Mapped[str | None] = mapped_column(String(1024))
    discovery_url: Mapped[str | None] = mapped_column(String(2048))
    discovery: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    client_id: Mapped[str | None] = mapped_column(String(400))
    client_secrets: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list, server_default="[]")
    scopes: Mapped[str] = mapped_column(
        String(400), default="openid email profile", server_default="openid email profile"
    )
    token_auth_method: Mapped[str] = mapped_column(
        String(40), default="client_secret_basic", server_default="client_secret_basic"
    )
    trust_email: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")

    certificates: Mapped[list[SsoCertificate]] = relationship(
        lazy="raise",
        cascade="all, delete-orphan",
        order_by="SsoCertificate.id",
        primaryjoin="SsoProvider.id == foreign(SsoCertificate.sso_provider_id)",
    )

    __table_args__ = (
        tenant_key("sso_provider"),
        UniqueConstraint("organization_id", "domain", name="uq_sso_provider_domain"),
        CheckConstraint("provider_id ~ '^[a-z0-9-]{2,50}$'", name="ck_sso_provider_id"),
        CheckConstraint("domain = lower(domain)", name="ck_sso_provider_domain"),
        Index("ix_sso_provider_list", "organization_id", "created_at", "id"),
    )

    @property
    def domains(self) -> list[str]:
        """Every e-mail domain whose people it signs in."""
        return [self.domain, *self.extra_domains]

    def __repr__(self) -> str:
        return self.name or self.provider_id


class SsoCertificate(Tenant, Model):
    """A certificate an identity provider signs with: one to three at a time, so that a rotation overlaps."""

    __tablename__ = "sso_certificate"

    sso_provider_id: Mapped[int] = mapped_column(BigInteger)
    pem: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(400), default="", server_default="")
    not_after: Mapped[Instant]
    warned_level: Mapped[str | None] = mapped_column(String(10))
    warned_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("sso_certificate"),
        tenant_fk("sso_certificate", "sso_provider_id", "sso_provider", ondelete="CASCADE"),
        UniqueConstraint("sso_provider_id", "fingerprint", name="uq_sso_certificate"),
        Index("ix_sso_certificate_expiry", "not_after"),
    )

    def __repr__(self) -> str:
        return self.subject or self.fingerprint[:16]


class SsoIdentity(Tenant, Model):
    """Which subject of a provider is which person: one subject a person, one person a subject."""

    __tablename__ = "sso_identity"

    sso_provider_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id", ondelete="CASCADE"))
    subject: Mapped[str] = mapped_column(String(512))
    email: Mapped[str] = mapped_column(String(320))
    last_used_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("sso_identity"),
        tenant_fk("sso_identity", "sso_provider_id", "sso_provider", ondelete="CASCADE"),
        UniqueConstraint("sso_provider_id", "subject", name="uq_sso_identity_subject"),
        UniqueConstraint("sso_provider_id", "user_id", name="uq_sso_identity_user"),
        Index("ix_sso_identity_user", "user_id"),
    )

    def __repr__(self) -> str:
        return self.email


class SsoRecoveryCode(Tenant, Model):
    """A one-time code that opens break-glass for an owner who cannot sign in; only its hash is kept."""

    __tablename__ = "sso_recovery_code"

    user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id", ondelete="CASCADE"))
    code_hash: Mapped[str] = mapped_column(String(64), unique=True)
    used_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("sso_recovery_code"),
        Index("ix_sso_recovery_code_user", "organization_id", "user_id"),
    )


class SsoSeen(Tenant, Model):
    """An assertion or logout token that was accepted once and never again (replay store)."""

    __tablename__ = "sso_seen"

    sso_provider_id: Mapped[int] = mapped_column(BigInteger)
    token_id: Mapped[str] = mapped_column(String(512))
    expires_at: Mapped[Instant]

    __table_args__ = (
        tenant_key("sso_seen"),
        tenant_fk("sso_seen", "sso_provider_id", "sso_provider", ondelete="CASCADE"),
        UniqueConstraint("sso_provider_id", "token_id", name="uq_sso_seen"),
        Index("ix_sso_seen_expiry", "expires_at"),
    )


class SsoAttempt(Tenant, Model):
    """One attempt to sign in through a provider: what was checked and how it ended; never a secret or a token."""

    __tablename__ = "sso_attempt"

    sso_provider_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(20))  # sign_in, test, unsolicited, confirm, logout
    outcome: Mapped[str] = mapped_column(String(60))  # OK or the code of the refusal
    email: Mapped[str | None] = mapped_column(String(320))
    checks: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list, server_default="[]")
    ip: Mapped[str | None] = mapped_column(String(45))
    correlation_id: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (
        tenant_key("sso_attempt"),
        tenant_fk("sso_attempt", "sso_provider_id", "sso_provider", ondelete="CASCADE"),
        Index("ix_sso_attempt_list", "organization_id", "created_at", "id"),
    )


class SsoSetupLink(Tenant, Model):
    """A link that lets an IT department set single sign-on up for one organisation, without an account."""

    __tablename__ = "sso_setup_link"

    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    label: Mapped[str] = mapped_column(String(100), default="", server_default="")
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id", ondelete="SET NULL"))
    expires_at: Mapped[Instant]
    revoked_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    created_by: Mapped[Person | None] = relationship(lazy="raise", foreign_keys=[created_by_user_id])

    __table_args__ = (
        tenant_key("sso_setup_link"),
        CheckConstraint("expires_at > created_at", name="ck_sso_setup_link_expiry"),
        Index("ix_sso_setup_link_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.label or "Set-up link"
