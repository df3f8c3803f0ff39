"""An organisation's PAN, encrypted; an expert's earnings at a host, summed"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("organization", sa.Column("pan_encrypted", sa.Text(), nullable=True))
    op.add_column("organization", sa.Column("pan_last4", sa.String(length=4), nullable=True))
    op.create_check_constraint(
        "ck_organization_pan",
        "organization",
        "(pan_encrypted IS NULL) = (pan_last4 IS NULL) AND pan_last4 ~ '^[0-9]{3}[A-Z]$'",
    )
    sql = (Path(__file__).parent.parent / "sql" / "host_totals.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))
    op.execute("ALTER FUNCTION own_host_totals(bigint) OWNER TO consilium_owner")
    op.execute("REVOKE ALL ON FUNCTION own_host_totals(bigint) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION own_host_totals(bigint) TO consilium_web")


def downgrade() -> None:
    op.execute("DROP FUNCTION own_host_totals(bigint)")
    op.drop_column("organization", "pan_last4")
    op.drop_column("organization", "pan_encrypted")
