"""Licences, overage, the chain of contracts and places; payments that a licence or a member shares"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from app.schema.policies import protect

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "program_seats_count()",
    "organization_earning_record(uuid, timestamptz, timestamptz)",
    "organization_earning_unhold(bigint)",
    "credit_limit_check(bigint, bigint)",
)
LEG_SOURCES = (
    "CARD",
    "WALLET",
    "REFERRAL_CREDIT",
    "INVOICE_ACCRUAL",
    "OVERAGE_INVOICE_ACCRUAL",
    "LICENSE",
    "CARD_REVERSAL",
    "WALLET_REVERSAL",
    "REFERRAL_CREDIT_REVERSAL",
    "INVOICE_ACCRUAL_REVERSAL",
    "OVERAGE_INVOICE_ACCRUAL_REVERSAL",
    "LICENSE_REVERSAL",
)


def _kind(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, length=40, create_constraint=False)


def _paise(name: str, *, counted: bool = False) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.BigInteger(), server_default="0" if counted else None, nullable=not counted)


def _moment(name: str) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _number(name: str, default: str | None = None) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.Integer(), server_default=default, nullable=default is None)


def _flag(name: str) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.Boolean(), server_default="false", nullable=False)


def _add(table: str, *columns: sa.Column) -> None:  # type: ignore[type-arg]
    for column in columns:
        op.add_column(table, column)


def _one_of(table: str, name: str, column: str, *values: str) -> None:
    op.create_check_constraint(name, table, f"{column} IN ({', '.join(repr(v) for v in values)})")


def _within(table: str, column: str, target: str) -> None:
    op.create_foreign_key(
        f"fk_{table}_{column}", table, target, ["organization_id", column], ["organization_id", "id"]
    )


def upgrade() -> None:
    _contracts()
    _programs()
    _payments()
    _tables()
    sql = (Path(__file__).parent.parent / "sql" / "seats.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} OWNER TO consilium_owner")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO consilium_web")
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    protect(op, "billing_subscription", "overage_event")
    op.execute(
        "UPDATE program p SET active_seat_count = c.n FROM (SELECT program_id, count(DISTINCT membership_id) AS n "
        "FROM assignment WHERE status IN ('ACTIVE', 'PAUSED') GROUP BY 1) c WHERE c.program_id = p.id"
    )
    op.execute("UPDATE assignment SET anchor_day = extract(day FROM period_start) WHERE anchor_day IS NULL")


def _contracts() -> None:
    _add(
        "contract",
        _paise("purchase_order_id"),
        _paise("rate_card_id"),
        sa.Column("license_model", _kind("license_model", "FLAT_FEE", "PER_SEAT"), nullable=True),
        _paise("license_fee_paise"),
        _paise("license_rate_per_seat_paise"),
        sa.Column("license_cycle", _kind("license_cycle", "MONTHLY", "QUARTERLY", "ANNUAL"), nullable=True),
        _paise("supersedes_contract_id"),
        sa.Column(
            "supersede_reason",
            _kind("supersede_reason", "AMENDMENT", "RENEWAL", "TERMINATION_REPLACEMENT"),
            nullable=True,
        ),
        _moment("auto_renewed_at"),
        _moment("expiring_notified_at"),
        _moment("ended_at"),
        sa.Column("ended_reason", sa.String(300), nullable=True),
    )
    _one_of("contract", "license_model", "license_model", "FLAT_FEE", "PER_SEAT")
    _one_of("contract", "license_cycle", "license_cycle", "MONTHLY", "QUARTERLY", "ANNUAL")
    _one_of(
        "contract", "supersede_reason", "supersede_reason", "AMENDMENT", "RENEWAL", "TERMINATION_REPLACEMENT"
    )
    for column, target in (
        ("purchase_order_id", "purchase_order"),
        ("rate_card_id", "rate_card"),
        ("supersedes_contract_id", "contract"),
    ):
        _within("contract", column, target)
    op.create_unique_constraint("uq_contract_supersedes", "contract", ["supersedes_contract_id"])
    op.create_check_constraint(
        "ck_contract_superseding",
        "contract",
        "(supersedes_contract_id IS NULL) = (supersede_reason IS NULL)",
    )
    op.create_check_constraint(
        "ck_contract_license",
        "contract",
        "CASE license_model WHEN 'FLAT_FEE' THEN license_fee_paise > 0 AND license_rate_per_seat_paise IS NULL "
        "AND license_cycle IS NOT NULL WHEN 'PER_SEAT' THEN license_rate_per_seat_paise > 0 "
        "AND license_fee_paise IS NULL AND license_cycle IS NOT NULL ELSE license_fee_paise IS NULL "
        "AND license_rate_per_seat_paise IS NULL AND license_cycle IS NULL END",
    )
    _add(
        "purchase_order",
        sa.Column("document_name", sa.String(200), nullable=True),
        _paise("document_size"),
    )
    _add("billing_account", _moment("first_invoice_paid_at"))


def _programs() -> None:
    _add(
        "program",
        _paise("minimum_credits_per_period"),
        _paise("rate_per_seat_paise"),
        _number("covered_engagements_per_cycle"),
        _paise("price_cap_per_engagement_paise"),
        _number("active_seat_count", "0"),
        _number("overage_surcharge_bps", "0"),
        _paise("max_overage_per_cycle_paise"),
        sa.Column("panel_expert_ids", sa.ARRAY(sa.BigInteger()), server_default="{}", nullable=False),
        _flag("auto_enroll"),
        _paise("supersedes_program_id"),
        _moment("ended_at"),
    )
    _within("program", "supersedes_program_id", "program")
    op.create_unique_constraint("uq_program_supersedes", "program", ["supersedes_program_id"])
    for name, condition in (
        (
            "ck_program_pool_only",
            "type <> 'CREDIT_POOL' OR (rate_per_seat_paise IS NULL AND covered_engagements_per_cycle IS NULL "
            "AND price_cap_per_engagement_paise IS NULL)",
        ),
        (
            "ck_program_seat_only",
            "type <> 'LICENSED_SEAT' OR (credits_per_cycle IS NULL AND minimum_credits_per_period IS NULL)",
        ),
        (
            "ck_program_amounts",
            "coalesce(minimum_credits_per_period, 0) >= 0 AND coalesce(rate_per_seat_paise, 1) > 0 "
            "AND coalesce(covered_engagements_per_cycle, 1) > 0 AND coalesce(price_cap_per_engagement_paise, 1) > 0 "
            "AND active_seat_count >= 0",
        ),
        (
            "ck_program_overage",
            "CASE overage_behavior WHEN 'BLOCK' THEN overage_surcharge_bps = 0 AND max_overage_per_cycle_paise IS NULL "
            "ELSE max_overage_per_cycle_paise > 0 AND overage_surcharge_bps BETWEEN 0 AND 100000 END",
        ),
    ):
        op.create_check_constraint(name, "program", condition)
    _add(
        "assignment",
        _paise("overage_paise", counted=True),
        _number("overage_count", "0"),
        _number("anchor_day"),
        _flag("clamped"),
        _paise("rolled_to_id"),
        _moment("rolled_at"),
        _moment("closed_at"),
        sa.Column("close_reason", _kind("close_reason", "CONTRACT_INACTIVE", "AUTORENEW_OFF"), nullable=True),
        _moment("warned_at"),
        _moment("exhausted_at"),
        _moment("minimum_invoiced_at"),
    )
    _one_of("assignment", "close_reason", "close_reason", "CONTRACT_INACTIVE", "AUTORENEW_OFF")
    _within("assignment", "rolled_to_id", "assignment")
    op.create_unique_constraint("uq_assignment_rolled_to", "assignment", ["rolled_to_id"])
    op.create_index("ix_assignment_cycle", "assignment", ["status", "period_end"])
    for name, condition in (
        ("ck_assignment_rolled", "(status = 'ROLLED') = (rolled_to_id IS NOT NULL)"),
        ("ck_assignment_anchor", "anchor_day BETWEEN 1 AND 31"),
        ("ck_assignment_overage", "overage_paise >= 0 AND overage_count >= 0"),
    ):
        op.create_check_constraint(name, "assignment", condition)


def _payments() -> None:
    _add(
        "payment",
        _paise("surcharge_paise", counted=True),
        _paise("license_paise", counted=True),
        _paise("member_paise", counted=True),
        sa.Column("parent_payment_id", sa.BigInteger(), sa.ForeignKey("payment.id"), nullable=True),
        _paise("invoice_id"),
    )
    op.drop_constraint("ck_payment_sum", "payment")
    op.drop_constraint("ck_payment_positive", "payment")
    op.create_check_constraint(
        "ck_payment_sum",
        "payment",
        "amount_paise = price_paise + surcharge_paise - discount_paise - license_paise - member_paise + tax_paise",
    )
    op.create_check_constraint(
        "ck_payment_positive",
        "payment",
        "amount_paise >= 0 AND tax_paise >= 0 AND discount_paise >= 0 AND surcharge_paise >= 0 "
        "AND license_paise >= 0 AND member_paise >= 0",
    )
    op.create_index(
        "ix_payment_parent",
        "payment",
        ["parent_payment_id"],
        postgresql_where=sa.text("parent_payment_id IS NOT NULL"),
    )
    op.create_index(
        "ix_payment_unbilled",
        "payment",
        ["organization_id", "captured_at"],
        postgresql_where=sa.text("invoice_id IS NULL AND method IN ('INVOICE', 'LICENSE')"),
    )
    op.drop_constraint("leg_source", "payment_leg")
    _one_of("payment_leg", "leg_source", "source", *LEG_SOURCES)


def _tables() -> None:
    op.create_table(
        "billing_subscription",
        sa.Column("billing_account_id", sa.BigInteger(), nullable=False),
        sa.Column("contract_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "ACTIVE",
                "ENDED",
                name="subscription_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="ACTIVE",
            nullable=False,
        ),
        sa.Column(
            "model",
            sa.Enum(
                "FLAT_FEE",
                "PER_SEAT",
                name="license_model",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "cycle",
            sa.Enum(
                "MONTHLY",
                "QUARTERLY",
                "ANNUAL",
                name="cycle",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("anchor_day", sa.Integer(), nullable=False),
        sa.Column("current_cycle_start", sa.Date(), nullable=False),
        sa.Column("current_cycle_end", sa.Date(), nullable=False),
        sa.Column("next_invoice_date", sa.Date(), nullable=True),
        sa.Column("billed_seats", sa.Integer(), server_default="0", nullable=False),
        sa.Column("billed_through", sa.Date(), nullable=True),
        sa.Column("credit_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("renewal_reminder_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("anchor_day BETWEEN 1 AND 31", name="ck_subscription_anchor"),
        sa.CheckConstraint("credit_paise >= 0 AND billed_seats >= 0", name="ck_subscription_amounts"),
        sa.CheckConstraint("current_cycle_end >= current_cycle_start", name="ck_subscription_cycle"),
        sa.ForeignKeyConstraint(
            ["organization_id", "billing_account_id"],
            ["billing_account.organization_id", "billing_account.id"],
            name="fk_billing_subscription_billing_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "contract_id"],
            ["contract.organization_id", "contract.id"],
            name="fk_billing_subscription_contract_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_billing_subscription_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_billing_subscription_list",
        "billing_subscription",
        ["organization_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_subscription_due",
        "billing_subscription",
        ["next_invoice_date"],
        unique=False,
        postgresql_where=sa.text("status = 'ACTIVE'"),
    )
    op.create_index(
        "uq_subscription_contract",
        "billing_subscription",
        ["contract_id"],
        unique=True,
        postgresql_where=sa.text("status = 'ACTIVE'"),
    )
    op.create_table(
        "overage_event",
        sa.Column("assignment_id", sa.BigInteger(), nullable=False),
        sa.Column("program_id", sa.BigInteger(), nullable=False),
        sa.Column("membership_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("payment_id", sa.BigInteger(), nullable=True),
        sa.Column("side_payment_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "charge_to",
            sa.Enum(
                "ORGANIZATION",
                "MEMBER",
                name="charge_to",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "charge_status",
            sa.Enum(
                "PENDING",
                "ACCRUED",
                "CHARGED",
                "FAILED",
                "REVERSED",
                "BLOCKED",
                name="overage_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("base_paise", sa.BigInteger(), nullable=False),
        sa.Column("surcharge_paise", sa.BigInteger(), nullable=False),
        sa.Column("marginal_paise", sa.BigInteger(), nullable=False),
        sa.Column("tax_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reversed_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("timed_out_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("written_off_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("charged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(charge_status = 'BLOCKED') = (payment_id IS NULL)", name="ck_overage_blocked"),
        sa.CheckConstraint("charge_to = 'MEMBER' OR side_payment_id IS NULL", name="ck_overage_side_payment"),
        sa.CheckConstraint(
            "marginal_paise = base_paise + surcharge_paise AND base_paise >= 0", name="ck_overage_sum"
        ),
        sa.CheckConstraint("marginal_paise > 0 AND tax_paise >= 0", name="ck_overage_positive"),
        sa.CheckConstraint("reversed_paise BETWEEN 0 AND marginal_paise", name="ck_overage_reversed"),
        sa.ForeignKeyConstraint(
            ["organization_id", "assignment_id"],
            ["assignment.organization_id", "assignment.id"],
            name="fk_overage_event_assignment_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "membership_id"],
            ["membership.organization_id", "membership.id"],
            name="fk_overage_event_membership_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "payment_id"],
            ["payment.organization_id", "payment.id"],
            name="fk_overage_event_payment_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "program_id"],
            ["program.organization_id", "program.id"],
            name="fk_overage_event_program_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "side_payment_id"],
            ["payment.organization_id", "payment.id"],
            name="fk_overage_event_side_payment_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_overage_event_org_id"),
        sa.UniqueConstraint("payment_id", name="uq_overage_payment"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("side_payment_id", name="uq_overage_side_payment"),
    )
    op.create_index("ix_overage_assignment", "overage_event", ["assignment_id"], unique=False)
    op.create_index(
        "ix_overage_due",
        "overage_event",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("charge_to = 'MEMBER' AND charge_status = 'PENDING'"),
    )
    op.create_index("ix_overage_list", "overage_event", ["organization_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_overage_unpaid",
        "overage_event",
        ["membership_id"],
        unique=False,
        postgresql_where=sa.text("charge_to = 'MEMBER' AND charge_status = 'FAILED'"),
    )


def downgrade() -> None:
    raise RuntimeError(
        "Restore the backup taken before the upgrade: what was used and charged must not vanish."
    )
