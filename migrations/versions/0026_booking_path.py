"""A booking's statements do less: an index for expired holds, kept plans, no foreign key that another implies"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_claim_expiring",
        "calendar_claim",
        ["user_id"],
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    # (organization_id, assignment_id) points at an assignment of that organisation, and both are NOT NULL
    for table in ("booking_utilization", "usage_ledger_entry"):
        op.drop_constraint(f"{table}_organization_id_fkey", table, type_="foreignkey")
    for name in ("booking_terms.sql", "identify_session.sql"):
        sql = (Path(__file__).parent.parent / "sql" / name).read_text(encoding="utf-8")
        op.execute(sa.text(sql.replace(":", "\\:")))


def downgrade() -> None:
    for table in ("booking_utilization", "usage_ledger_entry"):
        op.create_foreign_key(
            f"{table}_organization_id_fkey", table, "organization", ["organization_id"], ["id"]
        )
    op.drop_index("ix_claim_expiring", "calendar_claim")
