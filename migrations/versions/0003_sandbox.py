"""The sandbox provider becomes a whole one: mandates, payees, payouts, disputes, books, levers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.schema.policies import protect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NEW = (
    "sandbox_mandate",
    "sandbox_payee",
    "sandbox_payout",
    "sandbox_dispute",
    "sandbox_entry",
    "sandbox_lever",
)


def _id() -> sa.Column:  # type: ignore[type-arg]
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False)


def _text(name: str, length: int, *, default: str | None = None, null: bool = False) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.String(length), server_default=default, nullable=null)


def _paise(name: str, *, default: str | None = None) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.BigInteger(), server_default=default, nullable=False)


def _notes() -> sa.Column:  # type: ignore[type-arg]
    return sa.Column("notes", postgresql.JSONB(astext_type=sa.Text()), nullable=False)


def _at(name: str = "created_at", *, null: bool = False) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)


def upgrade() -> None:
    for name in ("fee_paise", "tax_paise"):
        op.add_column("sandbox_order", sa.Column(name, sa.BigInteger()))
    op.add_column("sandbox_order", sa.Column("mandate_id", sa.String(80)))
    op.add_column(
        "sandbox_order", sa.Column("authenticate", sa.Boolean(), server_default="false", nullable=False)
    )
    op.drop_constraint("ck_sandbox_order", "sandbox_order", type_="check")
    op.create_check_constraint(
        "ck_sandbox_order",
        "sandbox_order",
        "status IN ('created','attempted','authenticating','paid','cancelled')",
    )
    op.add_column("sandbox_webhook", _text("event", 60, default=""))
    op.add_column("sandbox_webhook", _text("entity_id", 80, default=""))
    op.create_table(
        "sandbox_mandate",
        _id(),
        _text("mandate_id", 80),
        _text("idempotency_key", 120),
        _text("payer_name", 200, default=""),
        _paise("max_paise"),
        _text("status", 20, default="pending"),
        _notes(),
        _text("description", 300, default=""),
        sa.Column("return_url", sa.Text(), server_default="", nullable=False),
        _at(),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("mandate_id"),
        sa.UniqueConstraint("idempotency_key"),
        sa.CheckConstraint(
            "status IN ('pending','confirmed','rejected','paused','cancelled')", name="ck_sandbox_mandate"
        ),
    )
    op.create_table(
        "sandbox_payee",
        _id(),
        _text("payee_id", 80),
        _text("idempotency_key", 120),
        _text("holder_name", 200),
        _text("kind", 10),
        _text("last4", 4, default=""),
        _text("ifsc", 11, default=""),
        _text("validation_id", 80, null=True),
        _text("validation_status", 20, null=True),
        _at(),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("payee_id"),
        sa.UniqueConstraint("idempotency_key"),
        sa.UniqueConstraint("validation_id"),
    )
    op.create_table(
        "sandbox_payout",
        _id(),
        _text("payout_id", 80),
        _text("idempotency_key", 120),
        _text("payee_id", 80),
        _paise("amount_paise"),
        _text("status", 20, default="processing"),
        _text("utr", 40, null=True),
        _text("failure", 120, null=True),
        _notes(),
        _text("description", 300, default=""),
        _at(),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("payout_id"),
        sa.UniqueConstraint("idempotency_key"),
        sa.CheckConstraint(
            "status IN ('pending','processing','processed','reversed','failed','cancelled')",
            name="ck_sandbox_payout",
        ),
    )
    op.create_table(
        "sandbox_dispute",
        _id(),
        _text("dispute_id", 80),
        _text("payment_id", 80),
        _paise("amount_paise"),
        _text("phase", 20),
        _text("status", 20, default="open"),
        _text("reason", 120, default=""),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text())),
        _at("due_by", null=True),
        _at(),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dispute_id"),
        sa.CheckConstraint(
            "status IN ('open','action_required','under_review','won','lost','closed')",
            name="ck_sandbox_dispute",
        ),
    )
    op.create_index("ix_sandbox_dispute_payment_id", "sandbox_dispute", ["payment_id"])
    op.create_table(
        "sandbox_entry",
        _id(),
        _text("entry_id", 80),
        _text("kind", 30),
        _text("entity_id", 80),
        _text("payment_id", 80, null=True),
        _text("order_id", 80, null=True),
        _paise("amount_paise"),
        _paise("fee_paise", default="0"),
        _paise("tax_paise", default="0"),
        _notes(),
        _at(),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("entry_id"),
    )
    op.create_index("ix_sandbox_entry_entity_id", "sandbox_entry", ["entity_id"])
    op.create_index("ix_sandbox_entry_created_at", "sandbox_entry", ["created_at"])
    op.create_table(
        "sandbox_lever",
        _id(),
        _text("call", 40),
        _text("outcome", 40),
        _at(),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("call"),
    )
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    protect(op, *NEW)


def downgrade() -> None:
    for table in reversed(NEW):
        op.drop_table(table)
    op.drop_column("sandbox_webhook", "entity_id")
    op.drop_column("sandbox_webhook", "event")
    op.execute("UPDATE sandbox_order SET status = 'attempted' WHERE status = 'authenticating'")
    op.drop_constraint("ck_sandbox_order", "sandbox_order", type_="check")
    op.create_check_constraint(
        "ck_sandbox_order", "sandbox_order", "status IN ('created','attempted','paid','cancelled')"
    )
    for name in ("authenticate", "mandate_id", "tax_paise", "fee_paise"):
        op.drop_column("sandbox_order", name)
