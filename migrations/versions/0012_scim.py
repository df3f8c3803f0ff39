"""SCIM: tokens, groups, mappings, what a directory wrote, the request log, tombstones of erased people"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.schema.policies import protect

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = (
    "scim_token",
    "scim_profile",
    "scim_email",
    "scim_group",
    "scim_group_member",
    "scim_group_mapping",
    "scim_event",
    "scim_total",
    "erased_identity",
)
FUNCTIONS = (
    "identify_scim_token(text, text, timestamptz)",
    "membership_touch()",
    "scim_count()",
)


def upgrade() -> None:
    op.create_table(
        "scim_total",
        sa.Column("people", sa.Integer(), server_default="0", nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_scim_total_org_id"),
        sa.UniqueConstraint("organization_id", name="uq_scim_total_org"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_table(
        "erased_identity",
        sa.Column("email_hmac", sa.String(length=64), nullable=False),
        sa.Column("external_id_hmac", sa.String(length=64), nullable=True),
        sa.Column("membership_id", sa.BigInteger(), nullable=True),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_erased_identity_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_erased_identity_email", "erased_identity", ["organization_id", "email_hmac"], unique=False
    )
    op.create_index(
        "ix_erased_identity_external",
        "erased_identity",
        ["organization_id", "external_id_hmac"],
        unique=False,
    )
    op.create_table(
        "scim_event",
        sa.Column("scim_token_id", sa.BigInteger(), nullable=True),
        sa.Column("method", sa.String(length=8), nullable=False),
        sa.Column("path", sa.String(length=300), nullable=False),
        sa.Column("resource_type", sa.String(length=40), nullable=True),
        sa.Column("resource_id", sa.String(length=64), nullable=True),
        sa.Column("subject", sa.String(length=320), nullable=True),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("scim_type", sa.String(length=40), nullable=True),
        sa.Column("detail", sa.String(length=500), nullable=True),
        sa.Column("duration_ms", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ip", postgresql.INET(), nullable=True),
        sa.Column("correlation_id", sa.String(length=64), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_scim_event_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_scim_event_age", "scim_event", ["created_at"], unique=False)
    op.create_index(
        "ix_scim_event_failed",
        "scim_event",
        ["organization_id", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("status >= 400"),
    )
    op.create_index("ix_scim_event_list", "scim_event", ["organization_id", "created_at", "id"], unique=False)
    op.create_table(
        "scim_group",
        sa.Column("display_name", sa.String(length=255), nullable=False),
        sa.Column("display_key", sa.String(length=255, collation="C"), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "display_key", name="uq_scim_group_name"),
        sa.UniqueConstraint("organization_id", "id", name="uq_scim_group_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_scim_group_external", "scim_group", ["organization_id", "external_id"], unique=False)
    op.create_table(
        "scim_group_mapping",
        sa.Column("scim_group_name", sa.String(length=255), nullable=False),
        sa.Column("name_key", sa.String(length=255, collation="C"), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "OWNER",
                "MAINTAINER",
                "BILLING_ADMIN",
                "MANAGER",
                "EXPERT",
                "SUPPORT",
                "LEARNER",
                name="org_role",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role <> 'OWNER'", name="ck_scim_group_mapping_role"),
        sa.ForeignKeyConstraint(
            ["created_by_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_scim_group_mapping_org_id"),
        sa.UniqueConstraint("organization_id", "name_key", name="uq_scim_group_mapping_name"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_table(
        "scim_token",
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("token_prefix", sa.String(length=16), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "ACTIVE",
                "REVOKED",
                name="scim_token_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="ACTIVE",
            nullable=False,
        ),
        sa.Column(
            "duplicate_policy",
            sa.Enum(
                "UPSERT",
                "CONFLICT",
                name="duplicate_policy",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="UPSERT",
            nullable=False,
        ),
        sa.Column("rate_limit_per_minute", sa.Integer(), server_default="60", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("misuse_noted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("rate_limit_per_minute BETWEEN 1 AND 3000", name="ck_scim_token_rate"),
        sa.ForeignKeyConstraint(
            ["created_by_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_scim_token_org_id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_index("ix_scim_token_list", "scim_token", ["organization_id", "created_at", "id"], unique=False)
    op.create_table(
        "scim_email",
        sa.Column("membership_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("value", sa.String(length=320), nullable=False),
        sa.Column("value_key", sa.String(length=320, collation="C"), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=True),
        sa.Column("is_primary", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("display", sa.String(length=200), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "membership_id"],
            ["membership.organization_id", "membership.id"],
            name="fk_scim_email_membership_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_scim_email_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_scim_email_member", "scim_email", ["membership_id", "position"], unique=False)
    op.create_index("ix_scim_email_value", "scim_email", ["organization_id", "value_key"], unique=False)
    op.create_table(
        "scim_group_member",
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("membership_id", sa.BigInteger(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "group_id"],
            ["scim_group.organization_id", "scim_group.id"],
            name="fk_scim_group_member_group_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "membership_id"],
            ["membership.organization_id", "membership.id"],
            name="fk_scim_group_member_membership_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("group_id", "membership_id", name="uq_scim_group_member"),
        sa.UniqueConstraint("organization_id", "id", name="uq_scim_group_member_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_scim_group_member_membership", "scim_group_member", ["membership_id"], unique=False)
    op.create_table(
        "scim_profile",
        sa.Column("membership_id", sa.BigInteger(), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=True),
        sa.Column("display_key", sa.String(length=200, collation="C"), nullable=True),
        sa.Column("formatted_name", sa.String(length=200), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "membership_id"],
            ["membership.organization_id", "membership.id"],
            name="fk_scim_profile_membership_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("membership_id", name="uq_scim_profile_membership"),
        sa.UniqueConstraint("organization_id", "id", name="uq_scim_profile_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_scim_profile_display", "scim_profile", ["organization_id", "display_key"], unique=False
    )
    op.add_column(
        "membership",
        sa.Column(
            "role_source",
            sa.Enum(
                "MANUAL", "SCIM", name="role_source", native_enum=False, create_constraint=True, length=40
            ),
            server_default="MANUAL",
            nullable=False,
        ),
    )
    op.add_column("membership", sa.Column("scim_deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "membership",
        sa.Column(
            "scim_visible",
            sa.Boolean(),
            sa.Computed(
                "scim_deleted_at IS NULL AND status IN ('PENDING', 'ACTIVE', 'SUSPENDED')", persisted=True
            ),
            nullable=False,
        ),
    )
    op.add_column(
        "membership",
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.create_index(
        "ix_membership_scim",
        "membership",
        ["organization_id", "id"],
        unique=False,
        postgresql_where=sa.text("scim_visible"),
    )
    op.create_index(
        "ix_membership_updated", "membership", ["organization_id", "updated_at", "id"], unique=False
    )
    op.create_index(
        "uq_membership_external_scim",
        "membership",
        ["organization_id", "external_scim_id"],
        unique=True,
        postgresql_where=sa.text("external_scim_id IS NOT NULL"),
    )
    sql = (Path(__file__).parent.parent / "sql" / "scim.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} OWNER TO consilium_owner")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO consilium_web")
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    protect(op, *TABLES)


def downgrade() -> None:
    raise RuntimeError(
        "Restore the backup taken before the upgrade: tombstones of erased people must not vanish."
    )
