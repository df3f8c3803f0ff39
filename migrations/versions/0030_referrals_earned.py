"""Which booking earned a referral's credit, and whether its money went back"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("referral", sa.Column("payment_id", sa.BigInteger, sa.ForeignKey("payment.id")))
    op.add_column("referral", sa.Column("revoked_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    raise RuntimeError("Restore the backup taken before the upgrade.")
