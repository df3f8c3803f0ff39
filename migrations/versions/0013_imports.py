"""Why an import stopped, and the name of who is invited"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("import_batch", sa.Column("problem", sa.String(length=60), nullable=True))
    op.add_column("invitation", sa.Column("name", sa.String(length=100), nullable=True))


def downgrade() -> None:
    op.drop_column("invitation", "name")
    op.drop_column("import_batch", "problem")
