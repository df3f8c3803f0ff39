"""What of unapplied money went back; invoices whose money was taken back are paid again"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("refunded_paise", "charged_back_paise"):
        op.add_column("unapplied_receipt", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.execute(
        "UPDATE unapplied_receipt u SET charged_back_paise = coalesce(d.paise, 0), "
        "refunded_paise = CASE WHEN d.paise > 0 THEN 0 ELSE u.amount_paise END "
        "FROM unapplied_receipt x LEFT JOIN (SELECT provider_payment_id, sum(posted_paise)::bigint AS paise FROM dispute "
        "WHERE subject = 'unapplied' GROUP BY 1) d ON d.provider_payment_id = x.provider_payment_id "
        "WHERE x.id = u.id AND u.refunded_at IS NOT NULL"
    )
    op.create_check_constraint(
        "ck_unapplied_receipt_left",
        "unapplied_receipt",
        "refunded_paise >= 0 AND charged_back_paise >= 0 AND refunded_paise + charged_back_paise <= amount_paise",
    )
    op.drop_constraint("ck_invoice_settled", "invoice")
    op.create_check_constraint(
        "ck_invoice_settled",
        "invoice",
        "paid_paise >= 0 AND refunded_paise >= 0 AND paid_paise - refunded_paise <= total_paise "
        "AND credited_paise BETWEEN 0 AND total_paise",
    )
    op.alter_column("invoice_refund", "credit_note_id", nullable=True)


def downgrade() -> None:
    raise RuntimeError("Restore the backup taken before the upgrade.")
