"""Bookings paid by card, and refunds"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.schema.policies import PROTECTED, protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refund",
        sa.Column("payment_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "PENDING",
                "SUCCEEDED",
                "FAILED",
                "CANCELLED",
                name="refund_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("amount_paise", sa.BigInteger(), nullable=False),
        sa.Column("gateway_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("policy_bps", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("forced", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("requested_by_user_id", sa.Integer(), nullable=True),
        sa.Column("provider_refund_id", sa.String(length=80), nullable=True),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cascaded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("cascaded_at IS NULL OR status = 'SUCCEEDED'", name="ck_refund_cascade"),
        sa.CheckConstraint(
            "amount_paise >= 0 AND gateway_paise BETWEEN 0 AND amount_paise", name="ck_refund_amount"
        ),
        sa.CheckConstraint("policy_bps BETWEEN 0 AND 10000", name="ck_refund_policy"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payment.id"],
        ),
        sa.ForeignKeyConstraint(
            ["requested_by_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_refund_org_id"),
        sa.UniqueConstraint("provider_refund_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_refund_list", "refund", ["organization_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_refund_open",
        "refund",
        ["status", "created_at"],
        unique=False,
        postgresql_where=sa.text("cascaded_at IS NULL"),
    )
    op.create_index("ix_refund_payment", "refund", ["payment_id"], unique=False)
    op.add_column("payment", sa.Column("gateway", sa.String(length=20), nullable=True))
    op.add_column("payment", sa.Column("gateway_order_id", sa.String(length=80), nullable=True))
    op.add_column("payment", sa.Column("checkout_url", sa.Text(), nullable=True))
    op.create_index(
        "ix_payment_holds",
        "payment",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'PENDING'"),
    )
    op.create_unique_constraint(None, "payment", ["gateway_order_id"])
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    protect(op, "refund")
    for table, name in (("payment_leg", "personal_insert"), ("consultant_earnings", "payer_all")):
        _, command, condition = next(r for r in PROTECTED[table] if r[0] == name)
        using = "" if command == "INSERT" else f" USING ({condition})"
        op.execute(
            f"DROP POLICY IF EXISTS {name} ON {table}"
        )  # from an empty database the first revision made it
        op.execute(
            f"CREATE POLICY {name} ON {table} FOR {command} TO consilium_web{using} WITH CHECK ({condition})"
        )


def downgrade() -> None:
    raise RuntimeError(
        "Restore the backup taken before the upgrade: refunds are history that must not vanish."
    )
