"""The journal posts in sets; a wallet that falls below its minimum says so; fewer foreign-key checks per entry"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # An entry's organisation is its account's: ledger_post copies it, and nobody else may write here. Checking it again
    # for each of a booking's entries would cost more than the balance trigger.
    op.drop_constraint("ledger_entry_organization_id_fkey", "ledger_entry", type_="foreignkey")
    sql = (Path(__file__).parent.parent / "sql" / "ledger_set.sql").read_text(encoding="utf-8")
    op.execute(sa.text(sql.replace(":", "\\:")))


def downgrade() -> None:
    raise RuntimeError("Restore the backup taken before the upgrade.")
