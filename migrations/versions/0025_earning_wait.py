"""A host's share waits for its session where it was moved to"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None
FUNCTION = "organization_earning_wait(bigint, timestamptz)"


def upgrade() -> None:
    sql = (Path(__file__).parent.parent / "sql" / "earning_wait.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))
    op.execute(f"ALTER FUNCTION {FUNCTION} OWNER TO consilium_owner")
    op.execute(f"REVOKE ALL ON FUNCTION {FUNCTION} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO consilium_web")


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {FUNCTION}")
