"""Rate cards at booking: the host's earnings, a member's own card, one card a scope and moment"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from app.schema.policies import protect

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "booking_terms(bigint, bigint, timestamptz)",
    "organization_earning_record(uuid, timestamptz, timestamptz)",
    "organization_earning_refund(uuid)",
)


def upgrade() -> None:
    op.create_table(
        "organization_earnings",
        sa.Column("payment_id", sa.BigInteger(), nullable=False),
        sa.Column("gross_paise", sa.BigInteger(), nullable=False),
        sa.Column("platform_bps", sa.Integer(), nullable=False),
        sa.Column("org_bps", sa.Integer(), nullable=False),
        sa.Column("consultant_bps", sa.Integer(), nullable=False),
        sa.Column("share_paise", sa.BigInteger(), nullable=False),
        sa.Column("refunded_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "PENDING_TRUST",
                "PENDING",
                "READY",
                "BATCHED",
                "PAID",
                "HELD",
                "REFUNDED",
                name="earning_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("hold_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("platform_bps + org_bps + consultant_bps = 10000", name="ck_org_earning_bps"),
        sa.CheckConstraint("refunded_paise BETWEEN 0 AND share_paise", name="ck_org_earning_refunded"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"]),
        sa.ForeignKeyConstraint(["payment_id"], ["payment.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_organization_earnings_org_id"),
        sa.UniqueConstraint("payment_id", "organization_id", name="uq_org_earning_payment"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_org_earning_list", "organization_earnings", ["organization_id", "created_at", "id"], unique=False
    )
    op.add_column("membership", sa.Column("rate_card_override_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        "fk_membership_rate_card_override_id",
        "membership",
        "rate_card",
        ["organization_id", "rate_card_override_id"],
        ["organization_id", "id"],
    )
    kind = (
        "coalesce(array_position(ARRAY['CONSULTATION','SUBSCRIPTION','WEBINAR','CLASS'], plan_type::text), 0)"
    )
    op.execute(
        "ALTER TABLE rate_card ADD CONSTRAINT ex_rate_card EXCLUDE USING gist ("
        "int8range(organization_id, organization_id, '[]') WITH &&, "
        "int8range(coalesce(contract_id, 0), coalesce(contract_id, 0), '[]') WITH &&, "
        "int8range(coalesce(plan_id, 0), coalesce(plan_id, 0), '[]') WITH &&, "
        f"int4range({kind}, {kind}, '[]') WITH &&, "
        "int8range(coalesce(min_gross_paise, 0), max_gross_paise, '[]') WITH &&, "
        "tstzrange(effective_from, effective_to) WITH &&)"
    )
    sql = (Path(__file__).parent.parent / "sql" / "terms.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} OWNER TO consilium_owner")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO consilium_web")
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    protect(op, "organization_earnings")


def downgrade() -> None:
    raise RuntimeError(
        "Restore the backup taken before the upgrade: earnings are history that must not vanish."
    )
