"""Single sign-on: settings, providers, certificates, identities, recovery codes, replay store, attempts, set-up links"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.schema.policies import protect

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = (
    "sso_settings",
    "sso_provider",
    "sso_certificate",
    "sso_identity",
    "sso_recovery_code",
    "sso_seen",
    "sso_attempt",
    "sso_setup_link",
)
FUNCTIONS = (
    "sso_facts(text, timestamptz, boolean)",
    "sso_provider_door(text)",
    "domain_holder(text)",
    "sso_recovery_door(text, text)",
    "identify_session(text, text, timestamptz)",
)


def upgrade() -> None:
    op.create_table(
        "sso_provider",
        sa.Column("provider_id", sa.String(length=50), nullable=False),
        sa.Column(
            "protocol",
            sa.Enum(
                "SAML", "OIDC", name="sso_protocol", native_enum=False, create_constraint=True, length=40
            ),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=100), server_default="", nullable=False),
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("extra_domains", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("allow_idp_initiated", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("proven_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_test_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_test_result", postgresql.JSONB(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("idp_entity_id", sa.String(length=1024), nullable=True),
        sa.Column("sso_url", sa.String(length=2048), nullable=True),
        sa.Column("slo_url", sa.String(length=2048), nullable=True),
        sa.Column("name_id_format", sa.String(length=200), nullable=True),
        sa.Column("attribute_map", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("sign_requests", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("metadata_url", sa.String(length=2048), nullable=True),
        sa.Column("metadata_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("metadata_problem", sa.String(length=300), nullable=True),
        sa.Column("sp_certificate", sa.Text(), nullable=True),
        sa.Column("sp_key_encrypted", sa.Text(), nullable=True),
        sa.Column("issuer", sa.String(length=1024), nullable=True),
        sa.Column("discovery_url", sa.String(length=2048), nullable=True),
        sa.Column("discovery", postgresql.JSONB(), nullable=True),
        sa.Column("client_id", sa.String(length=400), nullable=True),
        sa.Column("client_secrets", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("scopes", sa.String(length=400), server_default="openid email profile", nullable=False),
        sa.Column(
            "token_auth_method", sa.String(length=40), server_default="client_secret_basic", nullable=False
        ),
        sa.Column("trust_email", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("provider_id ~ '^[a-z0-9-]{2,50}$'", name="ck_sso_provider_id"),
        sa.CheckConstraint("domain = lower(domain)", name="ck_sso_provider_domain"),
        sa.ForeignKeyConstraint(["created_by_user_id"], ["ab_user.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "domain", name="uq_sso_provider_domain"),
        sa.UniqueConstraint("organization_id", "id", name="uq_sso_provider_org_id"),
        sa.UniqueConstraint("provider_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_sso_provider_list", "sso_provider", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "sso_recovery_code",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(["user_id"], ["ab_user.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("code_hash"),
        sa.UniqueConstraint("organization_id", "id", name="uq_sso_recovery_code_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_sso_recovery_code_user", "sso_recovery_code", ["organization_id", "user_id"], unique=False
    )
    op.create_table(
        "sso_settings",
        sa.Column("allowed_email_domains", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("enforce_sso", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("enforced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "default_role_for_auto_join",
            sa.Enum(
                "OWNER",
                "MAINTAINER",
                "BILLING_ADMIN",
                "MANAGER",
                "EXPERT",
                "SUPPORT",
                "LEARNER",
                name="sso_default_role",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="LEARNER",
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("break_glass_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("break_glass_reason", sa.String(length=500), nullable=True),
        sa.Column("break_glass_opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("break_glass_by", sa.String(length=320), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("default_role_for_auto_join = 'LEARNER'", name="ck_sso_settings_role"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_sso_settings_org_id"),
        sa.UniqueConstraint("organization_id", name="uq_sso_settings_org"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_table(
        "sso_setup_link",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=100), server_default="", nullable=False),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("expires_at > created_at", name="ck_sso_setup_link_expiry"),
        sa.ForeignKeyConstraint(["created_by_user_id"], ["ab_user.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_sso_setup_link_org_id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_index(
        "ix_sso_setup_link_list", "sso_setup_link", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "sso_attempt",
        sa.Column("sso_provider_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("outcome", sa.String(length=60), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("checks", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("ip", sa.String(length=45), nullable=True),
        sa.Column("correlation_id", sa.String(length=64), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "sso_provider_id"],
            ["sso_provider.organization_id", "sso_provider.id"],
            name="fk_sso_attempt_sso_provider_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_sso_attempt_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_sso_attempt_list", "sso_attempt", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "sso_certificate",
        sa.Column("sso_provider_id", sa.BigInteger(), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=400), server_default="", nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("warned_level", sa.String(length=10), nullable=True),
        sa.Column("warned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "sso_provider_id"],
            ["sso_provider.organization_id", "sso_provider.id"],
            name="fk_sso_certificate_sso_provider_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_sso_certificate_org_id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("sso_provider_id", "fingerprint", name="uq_sso_certificate"),
    )
    op.create_index("ix_sso_certificate_expiry", "sso_certificate", ["not_after"], unique=False)
    op.create_table(
        "sso_identity",
        sa.Column("sso_provider_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(length=512), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "sso_provider_id"],
            ["sso_provider.organization_id", "sso_provider.id"],
            name="fk_sso_identity_sso_provider_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(["user_id"], ["ab_user.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_sso_identity_org_id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("sso_provider_id", "subject", name="uq_sso_identity_subject"),
        sa.UniqueConstraint("sso_provider_id", "user_id", name="uq_sso_identity_user"),
    )
    op.create_index("ix_sso_identity_user", "sso_identity", ["user_id"], unique=False)
    op.create_table(
        "sso_seen",
        sa.Column("sso_provider_id", sa.BigInteger(), nullable=False),
        sa.Column("token_id", sa.String(length=512), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "sso_provider_id"],
            ["sso_provider.organization_id", "sso_provider.id"],
            name="fk_sso_seen_sso_provider_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_sso_seen_org_id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("sso_provider_id", "token_id", name="uq_sso_seen"),
    )
    op.create_index("ix_sso_seen_expiry", "sso_seen", ["expires_at"], unique=False)
    op.add_column("domain_claim", sa.Column("last_passed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "domain_claim", sa.Column("warned_day", sa.SmallInteger(), server_default="0", nullable=False)
    )
    op.add_column(
        "user_session", sa.Column("sso_exempt", sa.Boolean(), server_default="false", nullable=False)
    )
    op.add_column("user_session", sa.Column("sso_subject", sa.String(length=512), nullable=True))
    op.add_column("user_session", sa.Column("sso_index", sa.String(length=512), nullable=True))
    op.add_column("user_session", sa.Column("sso_hint_encrypted", sa.Text(), nullable=True))
    op.create_index(
        "ix_user_session_provider",
        "user_session",
        ["provider_id", "sso_subject"],
        unique=False,
        postgresql_where=sa.text("provider_id IS NOT NULL"),
    )
    op.execute("UPDATE domain_claim SET last_passed_at = coalesce(last_checked_at, verified_at)")
    for name in ("sso.sql", "identity.sql"):
        sql = (Path(__file__).parent.parent / "sql" / name).read_text(encoding="utf-8")
        op.execute(sa.text(sql.replace(":", "\\:")))
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} OWNER TO consilium_owner")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO consilium_web")
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    protect(op, *TABLES)


def downgrade() -> None:
    raise RuntimeError("Restore the backup taken before the upgrade: linked identities must not vanish.")
