"""Jobs end appointments that took place"""

from __future__ import annotations

from alembic import op

from app.schema.policies import PROTECTED

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _, command, condition = next(r for r in PROTECTED["appointment"] if r[0] == "job_all")
    op.execute(
        "DROP POLICY IF EXISTS job_all ON appointment"
    )  # from an empty database the first revision made it
    op.execute(
        f"CREATE POLICY job_all ON appointment FOR {command} TO consilium_web USING ({condition}) WITH CHECK ({condition})"
    )


def downgrade() -> None:
    op.execute("DROP POLICY job_all ON appointment")
