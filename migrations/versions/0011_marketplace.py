"""Events, waitlists, trials, discounts, referrals, dated hours, published cancellation terms, text search of plans"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.models import Plan
from app.schema.policies import PROTECTED, protect

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

NEW = (
    "plan_collaborator",
    "availability_override",
    "event",
    "event_session",
    "waitlist_entry",
    "trial",
    "discount_code",
    "discount_use",
    "referral_code",
    "referral",
    "referral_credit",
    "referral_credit_use",
    "cancellation_policy",
)
FUNCTIONS = (
    "plan_words(text, text, text, bigint)",
    "plan_search_words()",
    "plan_expert_renamed()",
    "plan_search_rebuild()",
    "catalogue_query(text[])",
    "catalogue_ids(text[], text, text, bigint, bigint, int, bigint, bigint, text, timestamptz, bigint, bigint, int)",
    "catalogue_facets(text[], bigint, bigint, int, bigint, int)",
    "event_seats(bigint[], timestamptz, int)",
    "event_seat_take(bigint, int, text, text, boolean, timestamptz)",
    "plan_shares_whole()",
)


def upgrade() -> None:
    op.create_table(
        "referral",
        sa.Column("referrer_user_id", sa.Integer(), nullable=False),
        sa.Column("referee_user_id", sa.Integer(), nullable=False),
        sa.Column("rewarded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("referrer_user_id <> referee_user_id", name="ck_referral_two"),
        sa.ForeignKeyConstraint(
            ["referee_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["referrer_user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("referee_user_id"),
    )
    op.create_index(
        "ix_referral_open",
        "referral",
        ["referee_user_id"],
        unique=False,
        postgresql_where=sa.text("rewarded_at IS NULL"),
    )
    op.create_index("ix_referral_referrer", "referral", ["referrer_user_id", "id"], unique=False)
    op.create_table(
        "referral_code",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=12), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["ab_user.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id"),
        sa.UniqueConstraint("code"),
    )
    op.create_table(
        "availability_override",
        sa.Column("expert_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("starts", sa.Time(), nullable=True),
        sa.Column("ends", sa.Time(), nullable=True),
        sa.Column("zone", sa.String(length=64), server_default="Asia/Kolkata", nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(starts IS NULL AND ends IS NULL) OR (starts IS NOT NULL AND ends IS NOT NULL AND starts < ends)",
            name="ck_override_order",
        ),
        sa.ForeignKeyConstraint(["expert_id"], ["consultant_profile.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_override_expert", "availability_override", ["expert_id", "day"], unique=False)
    op.create_table(
        "cancellation_policy",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("tiers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("published_by_user_id", sa.Integer(), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_array_length(tiers) BETWEEN 1 AND 6", name="ck_policy_tiers"),
        sa.CheckConstraint("version >= 1", name="ck_policy_version"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["published_by_user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "version", name="uq_cancellation_policy"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_table(
        "referral_credit",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "REFERRAL_BONUS",
                "REFEREE_BONUS",
                "PROMOTION",
                "COMPENSATION",
                "MANUAL",
                name="credit_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("amount_paise", sa.BigInteger(), nullable=False),
        sa.Column("remaining_paise", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(length=300), server_default="", nullable=False),
        sa.Column("referral_id", sa.BigInteger(), nullable=True),
        sa.Column("granted_by_user_id", sa.Integer(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "amount_paise > 0 AND remaining_paise BETWEEN 0 AND amount_paise", name="ck_credit"
        ),
        sa.ForeignKeyConstraint(
            ["granted_by_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["referral_id"],
            ["referral.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("referral_id", "user_id", name="uq_credit_referral"),
    )
    op.create_index("ix_credit_user", "referral_credit", ["user_id", "expires_at", "id"], unique=False)
    op.create_table(
        "discount_code",
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "PERCENTAGE",
                "FLAT",
                name="discount_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("most_paise", sa.BigInteger(), nullable=True),
        sa.Column("minimum_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("max_uses", sa.Integer(), nullable=True),
        sa.Column("used_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("per_person", sa.Integer(), nullable=True),
        sa.Column("plan_id", sa.BigInteger(), nullable=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("code ~ '^[A-Z0-9][A-Z0-9-]{2,31}$'", name="ck_discount_code"),
        sa.CheckConstraint("value > 0 AND (kind = 'FLAT' OR value <= 10000)", name="ck_discount_value"),
        sa.CheckConstraint("max_uses > 0 AND per_person > 0", name="ck_discount_limits"),
        sa.CheckConstraint("minimum_paise >= 0 AND most_paise > 0", name="ck_discount_amounts"),
        sa.CheckConstraint(
            "used_count >= 0 AND (max_uses IS NULL OR used_count <= max_uses)", name="ck_discount_uses"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["plan_id"],
            ["plan.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("code"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_discount_list", "discount_code", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "event",
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("expert_user_id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "OPEN",
                "ENDED",
                "CANCELLED",
                name="event_state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="OPEN",
            nullable=False,
        ),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(starts_at IS NULL) = (ends_at IS NULL)", name="ck_event_scheduled"),
        sa.CheckConstraint("capacity BETWEEN 1 AND 100000", name="ck_event_capacity"),
        sa.CheckConstraint("starts_at < ends_at", name="ck_event_order"),
        sa.ForeignKeyConstraint(
            ["expert_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["plan_id"],
            ["plan.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_event_due", "event", ["ends_at"], unique=False, postgresql_where=sa.text("status = 'OPEN'")
    )
    op.create_index("ix_event_expert", "event", ["expert_user_id", "starts_at"], unique=False)
    op.create_index("ix_event_list", "event", ["organization_id", "created_at", "id"], unique=False)
    op.create_index("ix_event_plan", "event", ["plan_id", "starts_at"], unique=False)
    op.create_table(
        "plan_collaborator",
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("expert_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("revenue_share_bps", sa.Integer(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("revenue_share_bps BETWEEN 1 AND 10000", name="ck_collaborator_share"),
        sa.ForeignKeyConstraint(
            ["expert_id"],
            ["consultant_profile.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(["plan_id"], ["plan.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("plan_id", "expert_id", name="uq_plan_collaborator"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_table(
        "event_session",
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("starts_at < ends_at", name="ck_event_session_order"),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_event_session", "event_session", ["event_id", "starts_at"], unique=False)
    op.create_table(
        "waitlist_entry",
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "WAITING",
                "NOTIFIED",
                "BOOKED",
                "EXPIRED",
                name="waitlist_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="WAITING",
            nullable=False,
        ),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("notified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status <> 'NOTIFIED' OR expires_at IS NOT NULL", name="ck_waitlist_offer"),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["event.id"],
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
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_waitlist_head",
        "waitlist_entry",
        ["event_id", sa.literal_column("priority DESC"), "joined_at", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'WAITING'"),
    )
    op.create_index(
        "ix_waitlist_list", "waitlist_entry", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_waitlist_offers",
        "waitlist_entry",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'NOTIFIED'"),
    )
    op.create_index("ix_waitlist_user", "waitlist_entry", ["user_id", "joined_at"], unique=False)
    op.create_index(
        "uq_waitlist_live",
        "waitlist_entry",
        ["event_id", "user_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('WAITING','NOTIFIED')"),
    )
    op.create_table(
        "trial",
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("expert_id", sa.BigInteger(), nullable=False),
        sa.Column("expert_user_id", sa.Integer(), nullable=False),
        sa.Column("learner_user_id", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "PENDING",
                "AWAITING_PAYMENT",
                "SCHEDULED",
                "COMPLETED",
                "CONVERTED",
                "REJECTED",
                "CANCELLED",
                name="trial_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("price_paise", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.String(length=500), server_default="", nullable=False),
        sa.Column("answer", sa.String(length=500), server_default="", nullable=False),
        sa.Column("pay_by", sa.DateTime(timezone=True), nullable=True),
        sa.Column("appointment_id", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("learner_user_id <> expert_user_id", name="ck_trial_two"),
        sa.CheckConstraint("price_paise >= 0", name="ck_trial_price"),
        sa.CheckConstraint("starts_at < ends_at", name="ck_trial_order"),
        sa.ForeignKeyConstraint(
            ["appointment_id"],
            ["appointment.id"],
        ),
        sa.ForeignKeyConstraint(
            ["expert_id"],
            ["consultant_profile.id"],
        ),
        sa.ForeignKeyConstraint(
            ["expert_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["learner_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["plan_id"],
            ["plan.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_trial_due",
        "trial",
        ["pay_by"],
        unique=False,
        postgresql_where=sa.text("status = 'AWAITING_PAYMENT'"),
    )
    op.create_index("ix_trial_expert", "trial", ["expert_user_id", "created_at"], unique=False)
    op.create_index("ix_trial_list", "trial", ["organization_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_trial_pair",
        "trial",
        ["learner_user_id", "expert_id"],
        unique=True,
        postgresql_where=sa.text("status NOT IN ('REJECTED','CANCELLED')"),
    )
    op.create_table(
        "discount_use",
        sa.Column("code_id", sa.BigInteger(), nullable=False),
        sa.Column("payment_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("amount_paise", sa.BigInteger(), nullable=False),
        sa.Column("returned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["code_id"],
            ["discount_code.id"],
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payment.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("payment_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_discount_use", "discount_use", ["code_id", "user_id"], unique=False)
    op.create_table(
        "referral_credit_use",
        sa.Column("credit_id", sa.BigInteger(), nullable=False),
        sa.Column("payment_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("amount_paise", sa.BigInteger(), nullable=False),
        sa.Column("restored_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "amount_paise > 0 AND restored_paise BETWEEN 0 AND amount_paise", name="ck_credit_use"
        ),
        sa.ForeignKeyConstraint(
            ["credit_id"],
            ["referral_credit.id"],
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payment.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("payment_id", "credit_id", name="uq_credit_use"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_credit_use_credit", "referral_credit_use", ["credit_id"], unique=False)
    op.add_column("appointment", sa.Column("event_id", sa.BigInteger(), nullable=True))
    op.add_column("appointment", sa.Column("parent_id", sa.BigInteger(), nullable=True))
    op.add_column("appointment", sa.Column("sequence", sa.Integer(), server_default="0", nullable=False))
    op.add_column("appointment", sa.Column("forfeited", sa.Boolean(), server_default="false", nullable=False))
    op.create_index(
        "ix_appointment_due",
        "appointment",
        ["ends_at"],
        unique=False,
        postgresql_where=sa.text("status = 'CONFIRMED'"),
    )
    op.create_index(
        "ix_appointment_parent",
        "appointment",
        ["parent_id"],
        unique=False,
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index(
        "uq_appointment_seat",
        "appointment",
        ["event_id", "learner_user_id"],
        unique=True,
        postgresql_where=sa.text(
            "event_id IS NOT NULL AND status IN ('TENTATIVE','CONFIRMED','COMPLETED','NO_SHOW')"
        ),
    )
    op.create_foreign_key(None, "appointment", "event", ["event_id"], ["id"])
    op.create_foreign_key(None, "appointment", "appointment", ["parent_id"], ["id"])
    op.add_column("calendar_claim", sa.Column("event_session_id", sa.BigInteger(), nullable=True))
    op.alter_column("calendar_claim", "appointment_id", existing_type=sa.BIGINT(), nullable=True)
    op.create_index("ix_claim_event_session", "calendar_claim", ["event_session_id"], unique=False)
    op.create_foreign_key(
        None, "calendar_claim", "event_session", ["event_session_id"], ["id"], ondelete="CASCADE"
    )
    op.add_column("plan", sa.Column("total_sessions", sa.Integer(), nullable=True))
    op.add_column("plan", sa.Column("sessions_per_week", sa.Integer(), nullable=True))
    op.add_column("plan", sa.Column("max_participants", sa.Integer(), nullable=True))
    op.add_column("plan", sa.Column("trial_price_paise", sa.BigInteger(), nullable=True))
    op.add_column("plan", sa.Column("trial_minutes", sa.Integer(), nullable=True))
    op.add_column("plan", sa.Column("search", postgresql.TSVECTOR(), nullable=True))
    op.create_index(
        "ix_plan_cheapest", "plan", ["price_paise", "id"], unique=False, postgresql_where=sa.text("active")
    )
    op.create_index(
        "ix_plan_newest", "plan", ["created_at", "id"], unique=False, postgresql_where=sa.text("active")
    )
    op.create_index("ix_plan_search", "plan", ["search"], unique=False, postgresql_using="gin")
    op.create_check_constraint(
        "ck_claim_for", "calendar_claim", "appointment_id IS NOT NULL OR event_session_id IS NOT NULL"
    )
    for name in ("ck_plan_sessions", "ck_plan_trial"):
        op.create_check_constraint(
            name, "plan", next(str(c.sqltext) for c in Plan.__table__.constraints if c.name == name)
        )
    sql = (Path(__file__).parent.parent / "sql" / "marketplace.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} OWNER TO consilium_owner")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO consilium_web")
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    protect(op, *NEW)
    _, command, condition = next(r for r in PROTECTED["plan"] if r[0] == "expert_all")
    op.execute(
        "DROP POLICY IF EXISTS expert_all ON plan"
    )  # from an empty database the first revision made it
    op.execute(
        f"CREATE POLICY expert_all ON plan FOR {command} TO consilium_web USING ({condition}) WITH CHECK ({condition})"
    )
    op.execute("SELECT plan_search_rebuild()")


def downgrade() -> None:
    raise RuntimeError(
        "Restore the backup taken before the upgrade: bookings are history that must not vanish."
    )
