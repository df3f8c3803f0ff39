"""That nobody has a trial with themselves is the service's rule, as for every booking"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("ck_trial_two", "trial")


def downgrade() -> None:
    op.create_check_constraint("ck_trial_two", "trial", "learner_user_id <> expert_user_id")
