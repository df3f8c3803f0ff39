"""A contract's own rate card decides how its bookings are shared"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql = (Path(__file__).parent.parent / "sql" / "contract_card.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))


def downgrade() -> None:
    raise RuntimeError("Restore the backup taken before the upgrade: bookings were shared by these cards.")
