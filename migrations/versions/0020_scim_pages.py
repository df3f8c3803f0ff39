"""Deep pages of a directory's people, by a function that checks the organisation once"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

FUNCTION = "scim_member_ids(bigint, bigint, bigint, integer)"


def upgrade() -> None:
    sql = (Path(__file__).parent.parent / "sql" / "scim_pages.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))
    op.execute(f"ALTER FUNCTION {FUNCTION} OWNER TO consilium_owner")
    op.execute(f"REVOKE ALL ON FUNCTION {FUNCTION} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO consilium_web")


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {FUNCTION}")
