"""What the cycle of a licence billed last was billed for"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "billing_subscription",
        sa.Column("seats_billed", postgresql.JSONB(), server_default="{}", nullable=False),
    )
    op.add_column(
        "billing_subscription", sa.Column("cycle_paise", sa.BigInteger(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("billing_subscription", "cycle_paise")
    op.drop_column("billing_subscription", "seats_billed")
