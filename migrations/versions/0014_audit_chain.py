"""The audit log's chain: numbers and hashes of its entries, the head of each organisation's chain"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from app.schema.policies import protect

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "audit_canonical(org_audit_log)",
    "audit_hash(text, org_audit_log)",
    "audit_seal(integer, timestamptz)",
    "audit_verify(bigint)",
)


def upgrade() -> None:
    op.add_column("org_audit_log", sa.Column("seq", sa.BigInteger(), nullable=True))
    op.add_column("org_audit_log", sa.Column("prev_hash", sa.String(length=64), nullable=True))
    op.add_column("org_audit_log", sa.Column("row_hash", sa.String(length=64), nullable=True))
    op.create_check_constraint(
        "ck_audit_seal",
        "org_audit_log",
        "(seq IS NULL) = (row_hash IS NULL) AND (seq IS NULL) = (prev_hash IS NULL)",
    )
    op.create_index(
        "uq_audit_seq",
        "org_audit_log",
        ["organization_id", "seq"],
        unique=True,
        postgresql_where=sa.text("seq IS NOT NULL"),
    )
    op.create_index(
        "ix_audit_unsealed",
        "org_audit_log",
        ["organization_id", "id"],
        unique=False,
        postgresql_where=sa.text("seq IS NULL"),
    )
    op.create_table(
        "audit_chain",
        sa.Column("seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("row_hash", sa.String(length=64), server_default="0" * 64, nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", name="uq_audit_chain_organization"),
        sa.UniqueConstraint("public_id"),
    )
    sql = (Path(__file__).parent.parent / "sql" / "audit.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))
    op.execute("DROP TRIGGER org_audit_log_append_only ON org_audit_log")
    op.execute(
        "CREATE TRIGGER org_audit_log_append_only BEFORE DELETE ON org_audit_log "
        "FOR EACH ROW EXECUTE FUNCTION consilium_refuse()"
    )
    op.execute(
        "CREATE TRIGGER org_audit_log_sealed_once BEFORE UPDATE ON org_audit_log "
        "FOR EACH ROW EXECUTE FUNCTION audit_seal_once()"
    )
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} OWNER TO consilium_owner")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO consilium_web")
    op.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO consilium_web, consilium_owner")
    op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO consilium_owner")
    protect(op, "audit_chain")


def downgrade() -> None:
    raise RuntimeError(
        "Restore the backup taken before the upgrade: a chain must not be cut off its entries."
    )
