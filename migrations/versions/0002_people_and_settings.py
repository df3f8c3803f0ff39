"""People and settings: verification talk, support access, requests, imports, keys, channels, purchase orders, rates"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.schema.policies import protect

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


NEW = (
    "import_batch",
    "org_api_key",
    "staff_note",
    "support_access",
    "verification_message",
    "import_row",
    "purchase_order",
    "chat_channel",
    "rate_card",
    "chat_message",
    "member_request",
)


def upgrade() -> None:
    op.create_table(
        "import_batch",
        sa.Column("filename", sa.String(length=200), server_default="", nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "CHECKED",
                "QUEUED",
                "RUNNING",
                "DONE",
                "CANCELED",
                "FAILED",
                name="import_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="CHECKED",
            nullable=False,
        ),
        sa.Column("total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("done BETWEEN 0 AND total", name="ck_import_batch_progress"),
        sa.ForeignKeyConstraint(
            ["created_by_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_import_batch_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_import_batch_list", "import_batch", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "org_api_key",
        sa.Column("api_key_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column(
            "access",
            sa.Enum("READ", "WRITE", name="api_access", native_enum=False, create_constraint=True, length=40),
            server_default="READ",
            nullable=False,
        ),
        sa.Column("resources", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("key_prefix", sa.String(length=16), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["api_key_id"], ["ab_api_key.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("api_key_id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_org_api_key_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_org_api_key_list", "org_api_key", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_index("ix_org_api_key_user", "org_api_key", ["user_id"], unique=False)
    op.create_table(
        "staff_note",
        sa.Column("about_organization_id", sa.BigInteger(), nullable=False),
        sa.Column("author_user_id", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("pinned", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("char_length(body) BETWEEN 1 AND 5000", name="ck_staff_note_body"),
        sa.ForeignKeyConstraint(
            ["about_organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["author_user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_staff_note_list", "staff_note", ["about_organization_id", "created_at"], unique=False)
    op.create_table(
        "support_access",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by_user_id", sa.Integer(), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "expires_at > created_at AND expires_at <= created_at + interval '60 minutes'",
            name="ck_support_access_hour",
        ),
        sa.CheckConstraint("char_length(reason) BETWEEN 3 AND 500", name="ck_support_access_reason"),
        sa.ForeignKeyConstraint(
            ["ended_by_user_id"],
            ["ab_user.id"],
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
        sa.UniqueConstraint("organization_id", "id", name="uq_support_access_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_support_access_list", "support_access", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_index("ix_support_access_user", "support_access", ["user_id", "expires_at"], unique=False)
    op.create_table(
        "verification_message",
        sa.Column(
            "kind",
            sa.Enum(
                "INFO_REQUESTED",
                "ANSWER",
                "REJECTED",
                "RESUBMITTED",
                "VERIFIED",
                name="message_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("author_user_id", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("char_length(body) BETWEEN 1 AND 2000", name="ck_verification_message_body"),
        sa.ForeignKeyConstraint(
            ["author_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_verification_message_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_verification_message_list",
        "verification_message",
        ["organization_id", "created_at", "id"],
        unique=False,
    )
    op.create_table(
        "import_row",
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("department_label", sa.String(length=100), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "READY",
                "INVALID",
                "DUPLICATE",
                "SENT",
                "REFRESHED",
                "SKIPPED",
                "FAILED",
                name="import_row_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="READY",
            nullable=False,
        ),
        sa.Column("code", sa.String(length=60), nullable=True),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("invitation_id", sa.BigInteger(), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "batch_id"],
            ["import_batch.organization_id", "import_batch.id"],
            name="fk_import_row_batch_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "invitation_id"],
            ["invitation.organization_id", "invitation.id"],
            name="fk_import_row_invitation_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_import_row_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_import_row_batch", "import_row", ["batch_id", "line"], unique=True)
    op.create_table(
        "purchase_order",
        sa.Column("billing_account_id", sa.BigInteger(), nullable=False),
        sa.Column("po_number", sa.String(length=60), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "ACTIVE",
                "CLOSED",
                "CANCELLED",
                name="purchase_order_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="ACTIVE",
            nullable=False,
        ),
        sa.Column(
            "currency",
            sa.Enum(
                "INR",
                "USD",
                "EUR",
                "GBP",
                name="currency",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="INR",
            nullable=False,
        ),
        sa.Column("total_paise", sa.BigInteger(), nullable=False),
        sa.Column("remaining_paise", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("document", sa.String(length=400), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("char_length(description) <= 2000", name="ck_purchase_order_description"),
        sa.CheckConstraint("remaining_paise BETWEEN 0 AND total_paise", name="ck_purchase_order_remaining"),
        sa.CheckConstraint("total_paise > 0", name="ck_purchase_order_total"),
        sa.ForeignKeyConstraint(
            ["organization_id", "billing_account_id"],
            ["billing_account.organization_id", "billing_account.id"],
            name="fk_purchase_order_billing_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_purchase_order_org_id"),
        sa.UniqueConstraint("organization_id", "po_number", name="uq_purchase_order_number"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_purchase_order_list", "purchase_order", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "chat_channel",
        sa.Column(
            "kind",
            sa.Enum(
                "APPOINTMENT",
                "PLAN",
                "ORGANIZATION",
                "DIRECT",
                name="channel_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("plan_id", sa.BigInteger(), nullable=True),
        sa.Column("appointment_id", sa.BigInteger(), nullable=True),
        sa.Column("created_by_user_id", sa.Integer(), nullable=False),
        sa.Column(
            "member_user_ids", postgresql.ARRAY(sa.Integer()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column(
            "last_message_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "read_marks",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind <> 'DIRECT' OR organization_id IS NULL", name="ck_chat_direct_untagged"),
        sa.CheckConstraint("cardinality(member_user_ids) <= 200", name="ck_chat_channel_members"),
        sa.ForeignKeyConstraint(
            ["appointment_id"],
            ["appointment.id"],
        ),
        sa.ForeignKeyConstraint(
            ["created_by_user_id"],
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
        sa.UniqueConstraint("appointment_id", name="uq_chat_channel_appointment"),
        sa.UniqueConstraint("organization_id", "id", name="uq_chat_channel_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_chat_channel_list", "chat_channel", ["organization_id", "last_message_at", "id"], unique=False
    )
    op.create_index(
        "ix_chat_channel_members", "chat_channel", ["member_user_ids"], unique=False, postgresql_using="gin"
    )
    op.create_table(
        "rate_card",
        sa.Column("platform_bps", sa.Integer(), nullable=False),
        sa.Column("org_bps", sa.Integer(), nullable=False),
        sa.Column("consultant_bps", sa.Integer(), nullable=False),
        sa.Column("contract_id", sa.BigInteger(), nullable=True),
        sa.Column("plan_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "plan_type",
            sa.Enum(
                "CONSULTATION",
                "SUBSCRIPTION",
                "WEBINAR",
                "CLASS",
                name="plan_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("min_gross_paise", sa.BigInteger(), nullable=True),
        sa.Column("max_gross_paise", sa.BigInteger(), nullable=True),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("effective_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "effective_to IS NULL OR effective_to > effective_from", name="ck_rate_card_period"
        ),
        sa.CheckConstraint("platform_bps + org_bps + consultant_bps = 10000", name="ck_rate_card_sum"),
        sa.CheckConstraint(
            "platform_bps >= 0 AND org_bps >= 0 AND consultant_bps >= 0", name="ck_rate_card_shares"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "contract_id"],
            ["contract.organization_id", "contract.id"],
            name="fk_rate_card_contract_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "plan_id"], ["plan.organization_id", "plan.id"], name="fk_rate_card_plan_id"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_rate_card_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_rate_card_list", "rate_card", ["organization_id", "effective_from", "id"], unique=False
    )
    op.create_table(
        "chat_message",
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("author_user_id", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("char_length(body) BETWEEN 1 AND 5000", name="ck_chat_message_body"),
        sa.ForeignKeyConstraint(
            ["author_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(["channel_id"], ["chat_channel.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_chat_message_list", "chat_message", ["channel_id", "id"], unique=False)
    op.create_table(
        "member_request",
        sa.Column(
            "kind",
            sa.Enum(
                "PROGRAM_PLACE",
                "SEATS",
                "PAYOUT_ROUTING",
                name="request_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "PENDING",
                "APPROVED",
                "DECLINED",
                "CANCELED",
                name="request_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("membership_id", sa.BigInteger(), nullable=False),
        sa.Column("program_id", sa.BigInteger(), nullable=True),
        sa.Column("seats", sa.Integer(), nullable=True),
        sa.Column(
            "payout_recipient",
            sa.Enum(
                "SELF",
                "ORGANIZATION",
                name="payout_recipient",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("decided_by_user_id", sa.Integer(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision_note", sa.Text(), server_default="", nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(kind = 'PAYOUT_ROUTING') = (payout_recipient IS NOT NULL)", name="ck_request_routing"
        ),
        sa.CheckConstraint("(kind = 'PROGRAM_PLACE') = (program_id IS NOT NULL)", name="ck_request_program"),
        sa.CheckConstraint("(kind = 'SEATS') = (seats IS NOT NULL)", name="ck_request_seats"),
        sa.CheckConstraint(
            "char_length(note) <= 1000 AND char_length(decision_note) <= 1000", name="ck_request_notes"
        ),
        sa.CheckConstraint("seats BETWEEN 1 AND 100000", name="ck_request_seat_count"),
        sa.ForeignKeyConstraint(
            ["decided_by_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "membership_id"],
            ["membership.organization_id", "membership.id"],
            name="fk_member_request_membership_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "program_id"],
            ["program.organization_id", "program.id"],
            name="fk_member_request_program_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_member_request_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_member_request_list", "member_request", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "uq_member_request_pending",
        "member_request",
        ["membership_id", "kind", sa.literal_column("coalesce(program_id, 0)")],
        unique=True,
        postgresql_where=sa.text("status = 'PENDING'"),
    )
    op.add_column(
        "billing_account",
        sa.Column(
            "pending_funding_source",
            sa.Enum(
                "PERSONAL",
                "WALLET",
                "INVOICE",
                "LICENSE",
                name="pending_funding_source",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
    )
    op.add_column("billing_account", sa.Column("funding_changes_on", sa.Date(), nullable=True))
    op.create_index(
        "ix_membership_department", "membership", ["organization_id", "department_label"], unique=False
    )
    for name, length in (("name_key", 200), ("family_key", 200), ("email_key", 320)):
        kind = sa.String(length, collation="C")
        op.add_column("membership", sa.Column(name, kind, server_default="", nullable=False))
    op.create_index("ix_membership_name", "membership", ["organization_id", "name_key", "id"])
    op.create_index("ix_membership_role_name", "membership", ["organization_id", "role", "name_key", "id"])
    op.create_index("ix_membership_family", "membership", ["organization_id", "family_key", "id"])
    op.create_index("ix_membership_email", "membership", ["organization_id", "email_key", "id"])
    op.add_column(
        "organization", sa.Column("verification_info_requested_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.execute("UPDATE organization SET root_id = id WHERE root_id IS NULL AND parent_id IS NULL")
    op.create_check_constraint(
        "ck_organization_parent", "organization", "(parent_id IS NULL) = (depth = 0) AND parent_id <> id"
    )
    op.create_index(
        "ix_organization_parent",
        "organization",
        ["parent_id"],
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index(
        "ix_organization_public",
        "organization",
        [sa.text("lower(name)"), "id"],
        postgresql_where=sa.text("is_public AND can_host AND status = 'ACTIVE'"),
    )
    op.drop_constraint("org_audit_log_organization_id_fkey", "org_audit_log", type_="foreignkey")
    op.create_check_constraint(
        "ck_funding_change",
        "billing_account",
        "(pending_funding_source IS NULL) = (funding_changes_on IS NULL)",
    )
    op.add_column("user_session", sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True))
    for name in (
        "identity.sql",
        "api_keys.sql",
        "arrangement.sql",
        "routing.sql",
        "hierarchy.sql",
        "directory.sql",
        "people_keys.sql",
    ):
        sql = (Path(__file__).parent.parent / "sql" / name).read_text(encoding="utf-8")
        op.execute(sa.text(sql.replace(":", "\\:")))
    for function in (
        "identify_session(text, text, timestamptz)",
        "identify_api_key(text, timestamptz)",
        "own_host_earnings(bigint, integer)",
        "host_upcoming(integer[], timestamptz)",
        "notification_routing(integer)",
        "group_seat(bigint, text[])",
        "group_rollup(bigint, timestamptz)",
        "group_parent(bigint)",
        "public_hosts(text, text, text, bigint[], text, bigint, integer)",
        "public_industries()",
        "membership_keys()",
        "person_renamed()",
        "members_by_role(bigint)",
    ):
        op.execute(f"ALTER FUNCTION {function} OWNER TO consilium_owner")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO consilium_web")
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    # the trigger fills the keys of those who are here already
    op.execute("UPDATE membership SET name_key = ''")
    protect(op, *NEW)


def downgrade() -> None:
    raise RuntimeError(
        "Restore the backup taken before the upgrade: the tables of this revision hold people's data."
    )
