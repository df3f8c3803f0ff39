"""Invoices: lines, receipts, credit notes, vouchers, e-invoices, gapless counters, dated tax tables"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.schema.policies import protect

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

NEW = (
    "tax_state",
    "tax_rate",
    "tax_parameter",
    "fx_rate",
    "tax_change",
    "billing_profile",
    "document_counter",
    "invoice",
    "invoice_line",
    "invoice_receipt",
    "credit_note",
    "credit_note_line",
    "invoice_refund",
    "tax_voucher",
    "einvoice",
    "document_file",
)
FUNCTIONS = (
    "invoice_guard()",
    "invoice_check_lines()",
    "invoice_line_guard()",
    "frozen_but()",
    "document_counter_guard()",
)
SINCE = dt.date(2017, 7, 1)  # the day GST began
YEAR = dt.date(2026, 4, 1)
UNION = {"04", "26", "31", "35", "38", "97"}  # UTGST; 01, 07 and 34 levy SGST
STATES = (
    "01 Jammu and Kashmir|02 Himachal Pradesh|03 Punjab|04 Chandigarh|05 Uttarakhand|06 Haryana|07 Delhi|08 Rajasthan|"
    "09 Uttar Pradesh|10 Bihar|11 Sikkim|12 Arunachal Pradesh|13 Nagaland|14 Manipur|15 Mizoram|16 Tripura|17 Meghalaya|"
    "18 Assam|19 West Bengal|20 Jharkhand|21 Odisha|22 Chhattisgarh|23 Madhya Pradesh|24 Gujarat|"
    "26 Dadra and Nagar Haveli and Daman and Diu|27 Maharashtra|29 Karnataka|30 Goa|31 Lakshadweep|32 Kerala|"
    "33 Tamil Nadu|34 Puducherry|35 Andaman and Nicobar Islands|36 Telangana|37 Andhra Pradesh|38 Ladakh|"
    "96 Outside India|97 Other Territory"
)
RATES = (  # SAC, description, bps, exempt, input credit, note
    ("998311", "Management consulting", 1800, False, True, ""),
    (
        "999293",
        "Coaching and training",
        1800,
        False,
        True,
        "Default for services without a code of their own.",
    ),
    ("998433", "Online content, text", 1800, False, True, "Secondary source."),
    ("998439", "Online content, other", 1800, False, True, "Secondary source."),
    ("999723", "Fitness and yoga", 500, False, False, "5 % without input tax credit."),
    ("999294", "Education exempt by notification", 0, True, False, "Exempt: bill of supply."),
)
PARAMETERS = (  # key, value, unit, since, note
    (
        "EINVOICE_TURNOVER_PAISE",
        "5000000000",
        "paise",
        SINCE,
        "E-invoices from 5 crore rupees in any year since 2017-18.",
    ),
    (
        "EINVOICE_REPORTING_TURNOVER_PAISE",
        "10000000000",
        "paise",
        SINCE,
        "From 10 crore rupees within the reporting days.",
    ),
    ("EINVOICE_REPORTING_DAYS", "30", "days", SINCE, "Counting the date of the invoice."),
    ("EINVOICE_CANCEL_HOURS", "24", "hours", SINCE, "From the acknowledgement, the whole document."),
    (
        "SUPPLIER_TURNOVER_PAISE",
        "12000000000",
        "paise",
        SINCE,
        "The platform's highest year. Enter the audited figure.",
    ),
    (
        "CREDIT_NOTE_LAST_DAY",
        "11-30",
        "month-day",
        SINCE,
        "After the financial year; later notes carry no GST.",
    ),
    ("INVOICE_WITHIN_DAYS", "30", "days", SINCE, "Issue within this time of the supply."),
    ("DEFAULT_SAC", "999293", "SAC", SINCE, "Of lines that name none."),
    ("LICENSE_SAC", "999293", "SAC", SINCE, "Of licence fees."),
    (
        "EXPORT_UNDER_LUT",
        "1",
        "flag",
        SINCE,
        "1: zero tax under the letter of undertaking; 0: IGST is charged.",
    ),
    ("LUT_ARN", "AD290426000001X", "ARN", YEAR, "Letter of undertaking of the financial year 2026-27."),
)


def upgrade() -> None:
    op.create_table(
        "tax_state",
        sa.Column("code", sa.String(length=2), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("union_territory", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("note", sa.String(length=300), server_default="", nullable=False),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("code ~ '^[0-9]{2}$'", name="ck_tax_state_code"),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="ck_tax_state_period"),
        sa.ForeignKeyConstraint(
            ["created_by_user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("code", "valid_from", name="uq_tax_state"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_table(
        "tax_rate",
        sa.Column("sac", sa.String(length=6), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=False),
        sa.Column("rate_bps", sa.Integer(), nullable=False),
        sa.Column("exempt", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("input_credit", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("note", sa.String(length=300), server_default="", nullable=False),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("sac ~ '^[0-9]{6}$'", name="ck_tax_rate_sac"),
        sa.CheckConstraint("NOT exempt OR rate_bps = 0", name="ck_tax_rate_exempt"),
        sa.CheckConstraint("rate_bps BETWEEN 0 AND 10000", name="ck_tax_rate_bps"),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="ck_tax_rate_period"),
        sa.ForeignKeyConstraint(
            ["created_by_user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("sac", "valid_from", name="uq_tax_rate"),
    )
    op.create_table(
        "tax_parameter",
        sa.Column("key", sa.String(length=60), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.String(length=20), server_default="", nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("note", sa.String(length=300), server_default="", nullable=False),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="ck_tax_parameter_period"),
        sa.ForeignKeyConstraint(
            ["created_by_user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key", "valid_from", name="uq_tax_parameter"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_table(
        "fx_rate",
        sa.Column(
            "currency",
            sa.Enum(
                "INR",
                "USD",
                "EUR",
                "GBP",
                name="fx_currency",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("on_date", sa.Date(), nullable=False),
        sa.Column("rate_micros", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=100), server_default="", nullable=False),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("currency <> 'INR'", name="ck_fx_rate_foreign"),
        sa.CheckConstraint("rate_micros > 0", name="ck_fx_rate_positive"),
        sa.ForeignKeyConstraint(
            ["created_by_user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("currency", "on_date", name="uq_fx_rate"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_table(
        "tax_change",
        sa.Column(
            "tax_table",
            sa.Enum(
                "STATE",
                "RATE",
                "PARAMETER",
                "FX",
                name="tax_table",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("key", sa.String(length=60), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("changed_by_user_id", sa.Integer(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["changed_by_user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index("ix_tax_change_list", "tax_change", ["created_at", "id"], unique=False)
    op.create_table(
        "billing_profile",
        sa.Column("legal_name", sa.String(length=100), server_default="", nullable=False),
        sa.Column("address_line1", sa.String(length=100), server_default="", nullable=False),
        sa.Column("address_line2", sa.String(length=100), server_default="", nullable=False),
        sa.Column("city", sa.String(length=50), server_default="", nullable=False),
        sa.Column("pin_code", sa.String(length=10), nullable=True),
        sa.Column("country_code", sa.String(length=2), server_default="IN", nullable=False),
        sa.Column("authorised_operations", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("round_totals", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "country_code <> 'IN' OR pin_code IS NULL OR pin_code ~ '^[1-9][0-9]{5}$'",
            name="ck_billing_profile_pin",
        ),
        sa.CheckConstraint("country_code ~ '^[A-Z]{2}$'", name="ck_billing_profile_country"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_billing_profile_org_id"),
        sa.UniqueConstraint("organization_id", name="uq_billing_profile_org"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_table(
        "document_counter",
        sa.Column("series", sa.String(length=3), nullable=False),
        sa.Column("fiscal_year", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("last_number >= 0", name="ck_document_counter"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "series", "fiscal_year", name="uq_document_counter"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_table(
        "invoice",
        sa.Column("billing_account_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "ROLL_UP",
                "MANUAL",
                "LICENSE",
                "STATEMENT",
                name="invoice_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "DRAFT",
                "ISSUED",
                "OVERDUE",
                "PAID",
                "REFUNDED",
                "VOID",
                "CANCELLED",
                name="invoice_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="DRAFT",
            nullable=False,
        ),
        sa.Column(
            "nature",
            sa.Enum(
                "TAX_INVOICE",
                "BILL_OF_SUPPLY",
                "INVOICE_CUM_BILL",
                name="document_nature",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="TAX_INVOICE",
            nullable=False,
        ),
        sa.Column("number", sa.String(length=16), nullable=True),
        sa.Column("fiscal_year", sa.Integer(), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=True),
        sa.Column("issue_date", sa.Date(), nullable=True),
        sa.Column("due_date", sa.Date(), nullable=True),
        sa.Column("period_start", sa.Date(), nullable=True),
        sa.Column("period_end", sa.Date(), nullable=True),
        sa.Column("purchase_order_id", sa.BigInteger(), nullable=True),
        sa.Column("contract_id", sa.BigInteger(), nullable=True),
        sa.Column("subscription_id", sa.BigInteger(), nullable=True),
        sa.Column("drawn_hundredths", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "currency",
            sa.Enum(
                "INR",
                "USD",
                "EUR",
                "GBP",
                name="invoice_currency",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="INR",
            nullable=False,
        ),
        sa.Column("fx_rate_micros", sa.BigInteger(), nullable=True),
        sa.Column("fx_rate_on", sa.Date(), nullable=True),
        sa.Column("fc_total", sa.BigInteger(), nullable=True),
        sa.Column("line_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("subtotal_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("exempt_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("booking_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("utgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("igst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tax_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("round_off_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("credited_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("paid_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refunded_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "supply_type",
            sa.Enum(
                "B2B",
                "B2C",
                "SEZWP",
                "SEZWOP",
                "EXPWP",
                "EXPWOP",
                name="supply_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="B2B",
            nullable=False,
        ),
        sa.Column("place_of_supply", sa.String(length=2), nullable=True),
        sa.Column("reverse_charge", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("lut_number", sa.String(length=40), nullable=True),
        sa.Column("gstin", sa.String(length=15), nullable=True),
        sa.Column("supplier_gstin", sa.String(length=15), nullable=True),
        sa.Column("hsn_code", sa.String(length=8), server_default="999293", nullable=False),
        sa.Column("tax_rate_bps", sa.Integer(), server_default="1800", nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("overdue_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("close_reason", sa.String(length=300), server_default="", nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminders_sent", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("last_reminder_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("gateway", sa.String(length=20), nullable=True),
        sa.Column("gateway_order_id", sa.String(length=80), nullable=True),
        sa.Column("gateway_order_paise", sa.BigInteger(), nullable=True),
        sa.Column("gateway_order_seq", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("checkout_url", sa.Text(), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(currency = 'INR') = (fx_rate_micros IS NULL)", name="ck_invoice_fx"),
        sa.CheckConstraint(
            "(status IN ('DRAFT','CANCELLED')) = (number IS NULL) AND (number IS NULL) = (issued_at IS NULL) AND (number IS NULL) = (issue_date IS NULL) AND (number IS NULL) = (sequence IS NULL)",
            name="ck_invoice_issued",
        ),
        sa.CheckConstraint(
            "number IS NULL OR number ~ '^[A-Z1-9][A-Z0-9/-]{0,15}$'", name="ck_invoice_number"
        ),
        sa.CheckConstraint(
            "place_of_supply IS NULL OR place_of_supply ~ '^[0-9]{2}$'", name="ck_invoice_pos"
        ),
        sa.CheckConstraint(
            "round_off_paise BETWEEN -99 AND 99 OR kind = 'STATEMENT'", name="ck_invoice_round_off"
        ),
        sa.CheckConstraint("char_length(note) <= 2000", name="ck_invoice_note"),
        sa.CheckConstraint("drawn_hundredths >= 0 AND line_count >= 0", name="ck_invoice_counts"),
        sa.CheckConstraint(
            "igst_paise = 0 OR (cgst_paise = 0 AND sgst_paise = 0 AND utgst_paise = 0)",
            name="ck_invoice_heads",
        ),
        sa.CheckConstraint(
            "paid_paise BETWEEN 0 AND total_paise AND credited_paise BETWEEN 0 AND total_paise AND refunded_paise BETWEEN 0 AND paid_paise",
            name="ck_invoice_settled",
        ),
        sa.CheckConstraint(
            "subtotal_paise >= 0 AND cgst_paise >= 0 AND sgst_paise >= 0 AND utgst_paise >= 0 AND igst_paise >= 0 AND total_paise >= 0 AND exempt_paise BETWEEN 0 AND subtotal_paise AND booking_paise BETWEEN 0 AND subtotal_paise",
            name="ck_invoice_positive",
        ),
        sa.CheckConstraint(
            "tax_paise = cgst_paise + sgst_paise + utgst_paise + igst_paise AND total_paise = subtotal_paise + tax_paise + round_off_paise",
            name="ck_invoice_sum",
        ),
        sa.ForeignKeyConstraint(
            ["created_by_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "billing_account_id"],
            ["billing_account.organization_id", "billing_account.id"],
            name="fk_invoice_billing_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "contract_id"],
            ["contract.organization_id", "contract.id"],
            name="fk_invoice_contract_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "subscription_id"],
            ["billing_subscription.organization_id", "billing_subscription.id"],
            name="fk_invoice_subscription_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "purchase_order_id"],
            ["purchase_order.organization_id", "purchase_order.id"],
            name="fk_invoice_purchase_order_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("gateway_order_id"),
        sa.UniqueConstraint("organization_id", "fiscal_year", "sequence", name="uq_invoice_sequence"),
        sa.UniqueConstraint("organization_id", "id", name="uq_invoice_org_id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("supplier_gstin", "fiscal_year", "number", name="uq_invoice_number"),
    )
    op.create_index(
        "ix_invoice_due",
        "invoice",
        ["due_date", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('ISSUED','OVERDUE')"),
    )
    op.create_index("ix_invoice_list", "invoice", ["organization_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_invoice_po",
        "invoice",
        ["purchase_order_id"],
        unique=False,
        postgresql_where=sa.text("purchase_order_id IS NOT NULL"),
    )
    op.create_index("ix_invoice_status", "invoice", ["organization_id", "status", "due_date"], unique=False)
    op.create_index(
        "uq_invoice_cycle",
        "invoice",
        ["organization_id", "subscription_id", "period_start"],
        unique=True,
        postgresql_where=sa.text("subscription_id IS NOT NULL AND status NOT IN ('VOID','CANCELLED')"),
    )
    op.create_table(
        "invoice_line",
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "BOOKING",
                "LICENSE",
                "MANUAL",
                "COMMITMENT",
                name="invoice_line_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("payment_id", sa.BigInteger(), nullable=True),
        sa.Column("description", sa.String(length=300), nullable=False),
        sa.Column("detail", sa.String(length=300), server_default="", nullable=False),
        sa.Column("supplied_on", sa.Date(), nullable=True),
        sa.Column("sac", sa.String(length=8), nullable=False),
        sa.Column("quantity", sa.Integer(), server_default="1", nullable=False),
        sa.Column("unit_paise", sa.BigInteger(), nullable=False),
        sa.Column("discount_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("taxable_paise", sa.BigInteger(), nullable=False),
        sa.Column("fc_amount", sa.BigInteger(), nullable=True),
        sa.Column(
            "treatment",
            sa.Enum(
                "TAXABLE",
                "EXEMPT",
                name="tax_treatment",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="TAXABLE",
            nullable=False,
        ),
        sa.Column("rate_bps", sa.Integer(), nullable=False),
        sa.Column("cgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("utgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("igst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_paise", sa.BigInteger(), nullable=False),
        sa.Column("credited_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(kind = 'BOOKING') = (payment_id IS NOT NULL)", name="ck_invoice_line_payment"),
        sa.CheckConstraint("credited_paise BETWEEN 0 AND taxable_paise", name="ck_invoice_line_credited"),
        sa.CheckConstraint("quantity BETWEEN 1 AND 1000000", name="ck_invoice_line_quantity"),
        sa.CheckConstraint("rate_bps BETWEEN 0 AND 10000", name="ck_invoice_line_rate"),
        sa.CheckConstraint(
            "taxable_paise = unit_paise * quantity - discount_paise", name="ck_invoice_line_value"
        ),
        sa.CheckConstraint(
            "total_paise = taxable_paise + cgst_paise + sgst_paise + utgst_paise + igst_paise",
            name="ck_invoice_line_sum",
        ),
        sa.CheckConstraint(
            "unit_paise >= 0 AND discount_paise >= 0 AND taxable_paise >= 0", name="ck_invoice_line_positive"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoice.organization_id", "invoice.id"],
            name="fk_invoice_line_invoice_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "payment_id"],
            ["payment.organization_id", "payment.id"],
            name="fk_invoice_line_payment_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("invoice_id", "payment_id", name="uq_invoice_line_payment"),
        sa.UniqueConstraint("invoice_id", "position", name="uq_invoice_line_position"),
        sa.UniqueConstraint("organization_id", "id", name="uq_invoice_line_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_invoice_line_payment",
        "invoice_line",
        ["payment_id"],
        unique=False,
        postgresql_where=sa.text("payment_id IS NOT NULL"),
    )
    op.create_table(
        "invoice_receipt",
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "method",
            sa.Enum(
                "GATEWAY", "BANK", name="receipt_method", native_enum=False, create_constraint=True, length=40
            ),
            nullable=False,
        ),
        sa.Column("amount_paise", sa.BigInteger(), nullable=False),
        sa.Column("utr", sa.String(length=40), nullable=True),
        sa.Column("gateway", sa.String(length=20), nullable=True),
        sa.Column("provider_payment_id", sa.String(length=80), nullable=True),
        sa.Column("received_on", sa.Date(), nullable=False),
        sa.Column("note", sa.String(length=300), server_default="", nullable=False),
        sa.Column("refunded_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("recorded_by_user_id", sa.Integer(), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "CASE method WHEN 'BANK' THEN utr IS NOT NULL ELSE provider_payment_id IS NOT NULL END",
            name="ck_invoice_receipt_reference",
        ),
        sa.CheckConstraint("amount_paise > 0", name="ck_invoice_receipt_amount"),
        sa.CheckConstraint("refunded_paise BETWEEN 0 AND amount_paise", name="ck_invoice_receipt_refunded"),
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoice.organization_id", "invoice.id"],
            name="fk_invoice_receipt_invoice_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["recorded_by_user_id"],
            ["ab_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_invoice_receipt_org_id"),
        sa.UniqueConstraint("provider_payment_id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("utr"),
    )
    op.create_index(
        "ix_invoice_receipt_invoice", "invoice_receipt", ["organization_id", "invoice_id"], unique=False
    )
    op.create_table(
        "credit_note",
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("refund_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "kind",
            sa.Enum(
                "TAX",
                "COMMERCIAL",
                name="credit_note_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="TAX",
            nullable=False,
        ),
        sa.Column("number", sa.String(length=16), nullable=False),
        sa.Column("fiscal_year", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("issue_date", sa.Date(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("booking_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("subtotal_paise", sa.BigInteger(), nullable=False),
        sa.Column("cgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("utgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("igst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tax_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_paise", sa.BigInteger(), nullable=False),
        sa.Column("place_of_supply", sa.String(length=2), nullable=True),
        sa.Column("supplier_gstin", sa.String(length=15), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column(
            "itc_reversal_status",
            sa.Enum(
                "NOT_APPLICABLE",
                "PENDING",
                "CONFIRMED",
                name="itc_reversal",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="NOT_APPLICABLE",
            nullable=False,
        ),
        sa.Column("created_by_user_id", sa.Integer(), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind = 'TAX' OR tax_paise = 0", name="ck_credit_note_commercial"),
        sa.CheckConstraint("number ~ '^[A-Z1-9][A-Z0-9/-]{0,15}$'", name="ck_credit_note_number"),
        sa.CheckConstraint(
            "tax_paise = cgst_paise + sgst_paise + utgst_paise + igst_paise AND total_paise = subtotal_paise + tax_paise AND subtotal_paise > 0",
            name="ck_credit_note_sum",
        ),
        sa.ForeignKeyConstraint(
            ["created_by_user_id"],
            ["ab_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoice.organization_id", "invoice.id"],
            name="fk_credit_note_invoice_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "refund_id"],
            ["refund.organization_id", "refund.id"],
            name="fk_credit_note_refund_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "fiscal_year", "sequence", name="uq_credit_note_sequence"),
        sa.UniqueConstraint("organization_id", "id", name="uq_credit_note_org_id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("refund_id", name="uq_credit_note_refund"),
        sa.UniqueConstraint("supplier_gstin", "fiscal_year", "number", name="uq_credit_note_number"),
    )
    op.create_index("ix_credit_note_invoice", "credit_note", ["organization_id", "invoice_id"], unique=False)
    op.create_index(
        "ix_credit_note_list", "credit_note", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "credit_note_line",
        sa.Column("credit_note_id", sa.BigInteger(), nullable=False),
        sa.Column("invoice_line_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("description", sa.String(length=300), nullable=False),
        sa.Column("sac", sa.String(length=8), nullable=False),
        sa.Column(
            "treatment",
            sa.Enum(
                "TAXABLE", "EXEMPT", name="cn_treatment", native_enum=False, create_constraint=True, length=40
            ),
            server_default="TAXABLE",
            nullable=False,
        ),
        sa.Column("rate_bps", sa.Integer(), nullable=False),
        sa.Column("taxable_paise", sa.BigInteger(), nullable=False),
        sa.Column("cgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("utgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("igst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_paise", sa.BigInteger(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("taxable_paise > 0", name="ck_credit_note_line_positive"),
        sa.CheckConstraint(
            "total_paise = taxable_paise + cgst_paise + sgst_paise + utgst_paise + igst_paise",
            name="ck_credit_note_line_sum",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "credit_note_id"],
            ["credit_note.organization_id", "credit_note.id"],
            name="fk_credit_note_line_credit_note_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_line_id"],
            ["invoice_line.organization_id", "invoice_line.id"],
            name="fk_credit_note_line_invoice_line_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("credit_note_id", "position", name="uq_credit_note_line_position"),
        sa.UniqueConstraint("organization_id", "id", name="uq_credit_note_line_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_credit_note_line_line", "credit_note_line", ["organization_id", "invoice_line_id"], unique=False
    )
    op.create_table(
        "invoice_refund",
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("receipt_id", sa.BigInteger(), nullable=False),
        sa.Column("credit_note_id", sa.BigInteger(), nullable=False),
        sa.Column("refund_key", sa.String(length=80), nullable=False),
        sa.Column("amount_paise", sa.BigInteger(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "PENDING",
                "SUCCEEDED",
                "FAILED",
                name="invoice_refund_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("provider_refund_id", sa.String(length=80), nullable=True),
        sa.Column("utr", sa.String(length=40), nullable=True),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("amount_paise > 0", name="ck_invoice_refund_amount"),
        sa.ForeignKeyConstraint(
            ["organization_id", "credit_note_id"],
            ["credit_note.organization_id", "credit_note.id"],
            name="fk_invoice_refund_credit_note_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoice.organization_id", "invoice.id"],
            name="fk_invoice_refund_invoice_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "receipt_id"],
            ["invoice_receipt.organization_id", "invoice_receipt.id"],
            name="fk_invoice_refund_receipt_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_invoice_refund_org_id"),
        sa.UniqueConstraint("provider_refund_id"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("refund_key"),
        sa.UniqueConstraint("utr"),
    )
    op.create_index(
        "ix_invoice_refund_invoice", "invoice_refund", ["organization_id", "invoice_id"], unique=False
    )
    op.create_index(
        "ix_invoice_refund_open",
        "invoice_refund",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("status = 'PENDING'"),
    )
    op.create_table(
        "tax_voucher",
        sa.Column(
            "kind",
            sa.Enum(
                "RECEIPT", "REFUND", name="voucher_kind", native_enum=False, create_constraint=True, length=40
            ),
            nullable=False,
        ),
        sa.Column("top_up_id", sa.BigInteger(), nullable=False),
        sa.Column("receipt_voucher_id", sa.BigInteger(), nullable=True),
        sa.Column("source_ref", sa.String(length=80), nullable=False),
        sa.Column("number", sa.String(length=16), nullable=False),
        sa.Column("fiscal_year", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("issue_date", sa.Date(), nullable=False),
        sa.Column("sac", sa.String(length=8), nullable=False),
        sa.Column("rate_bps", sa.Integer(), nullable=False),
        sa.Column("taxable_paise", sa.BigInteger(), nullable=False),
        sa.Column("cgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("utgst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("igst_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("round_off_paise", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_paise", sa.BigInteger(), nullable=False),
        sa.Column("place_of_supply", sa.String(length=2), nullable=False),
        sa.Column("supplier_gstin", sa.String(length=15), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(kind = 'REFUND') = (receipt_voucher_id IS NOT NULL)", name="ck_tax_voucher_refund"
        ),
        sa.CheckConstraint("number ~ '^[A-Z1-9][A-Z0-9/-]{0,15}$'", name="ck_tax_voucher_number"),
        sa.CheckConstraint(
            "total_paise = taxable_paise + cgst_paise + sgst_paise + utgst_paise + igst_paise + round_off_paise AND taxable_paise > 0",
            name="ck_tax_voucher_sum",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "receipt_voucher_id"],
            ["tax_voucher.organization_id", "tax_voucher.id"],
            name="fk_tax_voucher_receipt_voucher_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "top_up_id"],
            ["wallet_top_up.organization_id", "wallet_top_up.id"],
            name="fk_tax_voucher_top_up_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_tax_voucher_org_id"),
        sa.UniqueConstraint(
            "organization_id", "kind", "fiscal_year", "sequence", name="uq_tax_voucher_sequence"
        ),
        sa.UniqueConstraint("organization_id", "kind", "source_ref", name="uq_tax_voucher_source"),
        sa.UniqueConstraint("public_id"),
        sa.UniqueConstraint("supplier_gstin", "fiscal_year", "number", name="uq_tax_voucher_number"),
    )
    op.create_index(
        "ix_tax_voucher_list", "tax_voucher", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "einvoice",
        sa.Column("invoice_id", sa.BigInteger(), nullable=True),
        sa.Column("credit_note_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "irp_status",
            sa.Enum(
                "NOT_APPLICABLE",
                "PENDING",
                "SUBMITTED",
                "RETRY",
                "REGISTERED",
                "FAILED_PERMANENT",
                "CANCELLED",
                name="irp_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("environment", sa.String(length=20), nullable=False),
        sa.Column("expected_irn", sa.String(length=64), nullable=False),
        sa.Column("irn", sa.String(length=64), nullable=True),
        sa.Column("ack_number", sa.String(length=40), nullable=True),
        sa.Column("ack_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("signed_qr_payload", sa.Text(), nullable=True),
        sa.Column("signed_document", sa.Text(), nullable=True),
        sa.Column("request", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error_code", sa.String(length=40), nullable=True),
        sa.Column("last_error", sa.String(length=500), nullable=True),
        sa.Column("report_by", sa.Date(), nullable=True),
        sa.Column("cancel_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "irp_status NOT IN ('REGISTERED','CANCELLED') OR (irn IS NOT NULL AND ack_number IS NOT NULL AND ack_date IS NOT NULL AND signed_document IS NOT NULL)",
            name="ck_einvoice_registered",
        ),
        sa.CheckConstraint("num_nonnulls(invoice_id, credit_note_id) = 1", name="ck_einvoice_subject"),
        sa.ForeignKeyConstraint(
            ["organization_id", "credit_note_id"],
            ["credit_note.organization_id", "credit_note.id"],
            name="fk_einvoice_credit_note_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoice.organization_id", "invoice.id"],
            name="fk_einvoice_invoice_id",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("credit_note_id", name="uq_einvoice_credit_note"),
        sa.UniqueConstraint("invoice_id", name="uq_einvoice_invoice"),
        sa.UniqueConstraint("irn"),
        sa.UniqueConstraint("organization_id", "id", name="uq_einvoice_org_id"),
        sa.UniqueConstraint("public_id"),
    )
    op.create_index(
        "ix_einvoice_due",
        "einvoice",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("irp_status IN ('PENDING','SUBMITTED','RETRY')"),
    )
    op.create_index("ix_einvoice_list", "einvoice", ["organization_id", "created_at", "id"], unique=False)
    op.create_index("ix_einvoice_status", "einvoice", ["irp_status", "id"], unique=False)
    op.create_table(
        "document_file",
        sa.Column("subject_type", sa.String(length=20), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("storage_key", sa.String(length=120), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "id", name="uq_document_file_org_id"),
        sa.UniqueConstraint("organization_id", "subject_type", "subject_id", name="uq_document_file_subject"),
        sa.UniqueConstraint("public_id"),
    )

    op.create_foreign_key(
        "fk_payment_invoice_id",
        "payment",
        "invoice",
        ["organization_id", "invoice_id"],
        ["organization_id", "id"],
    )
    op.create_index(
        "ix_payment_invoice", "payment", ["invoice_id"], postgresql_where=sa.text("invoice_id IS NOT NULL")
    )
    op.create_index(
        "ix_payment_unstated",
        "payment",
        ["organization_id", "captured_at"],
        postgresql_where=sa.text("invoice_id IS NULL AND method IN ('WALLET', 'CARD')"),
    )
    # one row of a key at a time
    for table, key in (("tax_state", "code::int"), ("tax_rate", "sac::int")):
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT ex_{table} EXCLUDE USING gist "
            f"(int4range({key}, {key}, '[]') WITH &&, daterange(valid_from, valid_to) WITH &&)"
        )
    op.execute("CREATE UNIQUE INDEX uq_tax_parameter_open ON tax_parameter (key) WHERE valid_to IS NULL")
    sql = (Path(__file__).parent.parent / "sql" / "invoices.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} OWNER TO consilium_owner")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    _seed()
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    protect(op, *NEW)


def _seed() -> None:
    """The tables as they stand in November 2026 (chapter 4)."""
    since = {"valid_from": SINCE}
    op.bulk_insert(
        sa.table(
            "tax_state",
            *(sa.column(c) for c in ("code", "name", "union_territory")),
            sa.column("valid_from", sa.Date),
        ),
        [
            {"code": s[:2], "name": s[3:], "union_territory": s[:2] in UNION, **since}
            for s in STATES.split("|")
        ],
    )
    names = ("sac", "description", "rate_bps", "exempt", "input_credit", "note")
    op.bulk_insert(
        sa.table("tax_rate", *(sa.column(c) for c in names), sa.column("valid_from", sa.Date)),
        [{**dict(zip(names, row, strict=True)), **since} for row in RATES],
    )
    names = ("key", "value", "unit", "valid_from", "note")
    op.bulk_insert(
        sa.table(
            "tax_parameter", *(sa.column(c, sa.Date if c == "valid_from" else sa.String) for c in names)
        ),
        [dict(zip(names, row, strict=True)) for row in PARAMETERS],
    )


def downgrade() -> None:
    raise RuntimeError(
        "Restore the backup taken before the upgrade: invoices are history that must not vanish."
    )
