"""The catalogue's search starts from its matches where they are few"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql = (Path(__file__).parent.parent / "sql" / "marketplace_search.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))


def downgrade() -> None:
    raise RuntimeError("Restore the backup taken before the upgrade.")
