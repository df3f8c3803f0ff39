"""Disputes with their holds, refunds of top-ups, mandates, postings by hand, comparisons with providers"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.schema.policies import protect

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
NOW = sa.text("now()")


def _choice(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def _row() -> list[sa.Column]:
    return [
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
    ]


def _keys() -> list[sa.Constraint]:
    return [sa.PrimaryKeyConstraint("id"), sa.UniqueConstraint("public_id")]


REFUND = ("PENDING", "SUCCEEDED", "FAILED", "CANCELLED")
DISPUTE = (
    "WARNING_NEEDS_RESPONSE",
    "WARNING_UNDER_REVIEW",
    "WARNING_CLOSED",
    "NEEDS_RESPONSE",
    "UNDER_REVIEW",
    "WON",
    "LOST",
    "CHARGE_REFUNDED",
)


def upgrade() -> None:
    _account()
    _top_ups()
    _disputes()
    _books()
    for table in ("consultant_earnings", "organization_earnings"):
        op.add_column(table, sa.Column("held_from", sa.String(length=40), nullable=True))
    sql = (Path(__file__).parent.parent / "sql" / "holds.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))
    for function in ("earnings_hold(bigint)", "earnings_release(bigint)"):
        op.execute(f"ALTER FUNCTION {function} OWNER TO consilium_owner")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO consilium_web")
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    protect(op, "wallet_top_up_refund", "dispute", "manual_posting", "gateway_report")


def _account() -> None:
    for column in (
        sa.Column("auto_top_up_last_fired_at", TIME, nullable=True),
        sa.Column("auto_top_up_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("mandate_id", sa.String(length=80), nullable=True),
        sa.Column("mandate_gateway", sa.String(length=20), nullable=True),
        sa.Column(
            "mandate_status",
            _choice("mandate_status", "PENDING", "CONFIRMED", "REJECTED", "PAUSED", "CANCELLED"),
            nullable=True,
        ),
        sa.Column("mandate_max_paise", sa.BigInteger(), nullable=True),
        sa.Column("low_balance_told_at", TIME, nullable=True),
    ):
        op.add_column("billing_account", column)
    op.create_unique_constraint(None, "billing_account", ["mandate_id"])
    op.execute("UPDATE billing_account SET auto_top_up_enabled = false WHERE auto_top_up_enabled")
    op.create_check_constraint("ck_shortfall", "billing_account", "shortfall_paise >= 0")
    op.create_check_constraint(
        "ck_mandate",
        "billing_account",
        "(mandate_id IS NULL) = (mandate_status IS NULL) AND (mandate_id IS NULL) = (mandate_gateway IS NULL)",
    )
    op.create_check_constraint(
        "ck_auto_top_up",
        "billing_account",
        "NOT auto_top_up_enabled OR (min_balance_paise IS NOT NULL AND auto_top_up_amount_paise IS NOT NULL)",
    )


def _top_ups() -> None:
    for column in (
        sa.Column("refunded_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("kind", _choice("top_up_kind", "MANUAL", "AUTO"), server_default="MANUAL", nullable=False),
        sa.Column("receipt_number", sa.String(length=30), nullable=True),
        sa.Column("snapshot", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
    ):
        op.add_column("wallet_top_up", column)
    op.create_unique_constraint(None, "wallet_top_up", ["receipt_number"])
    op.create_check_constraint(
        "ck_top_up_refunded", "wallet_top_up", "refunded_paise BETWEEN 0 AND amount_paise"
    )
    op.create_table(
        "wallet_top_up_refund",
        sa.Column("top_up_id", sa.BigInteger(), nullable=False),
        sa.Column("amount_paise", sa.BigInteger(), nullable=False),
        sa.Column("status", _choice("refund_status", *REFUND), server_default="PENDING", nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("requested_by_user_id", sa.Integer(), nullable=True),
        sa.Column("provider_refund_id", sa.String(length=80), nullable=True),
        sa.Column("succeeded_at", TIME, nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        *_row(),
        *_keys(),
        sa.UniqueConstraint("organization_id", "id", name="uq_wallet_top_up_refund_org_id"),
        sa.UniqueConstraint("provider_refund_id"),
        sa.CheckConstraint("amount_paise > 0", name="ck_top_up_refund_amount"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"]),
        sa.ForeignKeyConstraint(
            ["organization_id", "top_up_id"],
            ["wallet_top_up.organization_id", "wallet_top_up.id"],
            name="fk_wallet_top_up_refund_top_up_id",
        ),
        sa.ForeignKeyConstraint(["requested_by_user_id"], ["ab_user.id"]),
    )
    name = "wallet_top_up_refund"
    op.create_index("ix_wallet_top_up_refund_list", name, ["organization_id", "created_at", "id"])
    op.create_index("ix_wallet_top_up_refund_top_up", name, ["top_up_id"])
    op.create_index(
        "ix_wallet_top_up_refund_open", name, ["created_at"], postgresql_where=sa.text("status = 'PENDING'")
    )


def _disputes() -> None:
    op.create_table(
        "dispute",
        sa.Column("subject", sa.String(length=20), nullable=False),
        sa.Column("subject_id", sa.String(length=40), nullable=True),
        sa.Column("payment_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("gateway", sa.String(length=20), nullable=False),
        sa.Column("provider_dispute_id", sa.String(length=80), nullable=False),
        sa.Column("provider_payment_id", sa.String(length=80), nullable=False),
        sa.Column("amount_paise", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.String(length=20), nullable=False),
        sa.Column("status", _choice("dispute_status", *DISPUTE), nullable=False),
        sa.Column("reason", sa.String(length=120), server_default="", nullable=False),
        sa.Column("due_by", TIME, nullable=True),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("closed_at", TIME, nullable=True),
        sa.Column("posted_paise", sa.BigInteger(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("answered_at", TIME, nullable=True),
        sa.Column("answered_by_user_id", sa.Integer(), nullable=True),
        sa.Column("alerted_48_at", TIME, nullable=True),
        sa.Column("alerted_12_at", TIME, nullable=True),
        sa.Column("synced_at", TIME, nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        *_row(),
        *_keys(),
        sa.UniqueConstraint("provider_dispute_id"),
        sa.CheckConstraint("amount_paise > 0", name="ck_dispute_amount"),
        sa.CheckConstraint("posted_paise >= 0", name="ck_dispute_posted"),
        sa.CheckConstraint("posted_paise IS NULL OR status = 'LOST'", name="ck_dispute_lost"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"]),
        sa.ForeignKeyConstraint(["payment_id"], ["payment.id"]),
        sa.ForeignKeyConstraint(["user_id"], ["ab_user.id"]),
        sa.ForeignKeyConstraint(["answered_by_user_id"], ["ab_user.id"]),
    )
    op.create_index("ix_dispute_list", "dispute", ["organization_id", "created_at", "id"])
    op.create_index("ix_dispute_payment", "dispute", ["payment_id"])
    op.create_index("ix_dispute_open", "dispute", ["due_by"], postgresql_where=sa.text("closed_at IS NULL"))


def _books() -> None:
    op.create_table(
        "manual_posting",
        sa.Column("kind", _choice("manual_kind", "GRANT", "ADJUSTMENT", "TAX_REMITTED"), nullable=False),
        sa.Column(
            "status",
            _choice("manual_status", "PROPOSED", "POSTED", "REJECTED"),
            server_default="PROPOSED",
            nullable=False,
        ),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("amount_paise", sa.BigInteger(), nullable=False),
        sa.Column("legs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("reference", sa.String(length=60), nullable=True),
        sa.Column("proposed_by_user_id", sa.Integer(), nullable=False),
        sa.Column("decided_by_user_id", sa.Integer(), nullable=True),
        sa.Column("decided_at", TIME, nullable=True),
        *_row(),
        *_keys(),
        sa.UniqueConstraint("reference"),
        sa.CheckConstraint("amount_paise > 0", name="ck_manual_posting_amount"),
        sa.CheckConstraint(
            "kind <> 'ADJUSTMENT' OR status <> 'POSTED' OR decided_by_user_id <> proposed_by_user_id",
            name="ck_manual_posting_two_people",
        ),
        sa.CheckConstraint("(status = 'PROPOSED') = (decided_at IS NULL)", name="ck_manual_posting_decided"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"]),
        sa.ForeignKeyConstraint(["proposed_by_user_id"], ["ab_user.id"]),
        sa.ForeignKeyConstraint(["decided_by_user_id"], ["ab_user.id"]),
    )
    op.create_index("ix_manual_posting_list", "manual_posting", ["created_at", "id"])
    op.create_table(
        "gateway_report",
        sa.Column("gateway", sa.String(length=20), nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("findings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("checked", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("finished_at", TIME, nullable=False),
        *_row(),
        *_keys(),
    )
    op.create_index("ix_gateway_report_list", "gateway_report", ["gateway", "finished_at", "id"])


def downgrade() -> None:
    raise RuntimeError(
        "Restore the backup taken before the upgrade: disputes and postings are history that must not vanish."
    )
