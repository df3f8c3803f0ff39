"""Receipts of invoices have a number of their own and say what was left to pay"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

COLUMNS = ("number", "fiscal_year", "sequence", "due_after_paise")


def upgrade() -> None:
    op.add_column("invoice_receipt", sa.Column("number", sa.String(length=16), nullable=True))
    op.add_column("invoice_receipt", sa.Column("fiscal_year", sa.Integer(), nullable=True))
    op.add_column("invoice_receipt", sa.Column("sequence", sa.Integer(), nullable=True))
    op.add_column("invoice_receipt", sa.Column("due_after_paise", sa.BigInteger(), nullable=True))
    op.execute("ALTER TABLE invoice_receipt DISABLE TRIGGER invoice_receipt_frozen")
    # what arrived before is numbered in the order it came, by the financial year of its day in India
    op.execute("""
        WITH n AS (
            SELECT r.id, y.year, row_number() OVER (PARTITION BY r.organization_id, y.year ORDER BY r.id) AS seq,
                   split_part(i.number, '-', 1) AS prefix,
                   greatest(i.total_paise - sum(r.amount_paise) OVER (PARTITION BY i.id ORDER BY r.id)
                            - coalesce((SELECT sum(c.total_paise) FROM credit_note c
                                         WHERE c.invoice_id = i.id AND c.issued_at < r.created_at), 0), 0) AS due
              FROM invoice_receipt r JOIN invoice i ON i.id = r.invoice_id
             CROSS JOIN LATERAL (SELECT extract(year FROM (r.created_at AT TIME ZONE 'Asia/Kolkata')
                                                - interval '3 months')::int AS year) y
        )
        UPDATE invoice_receipt r
           SET number = n.prefix || '-RC-' || lpad((n.year % 100)::text, 2, '0') || '-' || lpad(n.seq::text, 4, '0'),
               fiscal_year = n.year, sequence = n.seq, due_after_paise = n.due
          FROM n WHERE n.id = r.id
    """)
    op.execute("ALTER TABLE invoice_receipt ENABLE TRIGGER invoice_receipt_frozen")
    op.execute("""
        INSERT INTO document_counter (organization_id, series, fiscal_year, last_number)
        SELECT organization_id, 'RC', fiscal_year, max(sequence) FROM invoice_receipt GROUP BY 1, 2, 3
    """)
    for name in COLUMNS:
        op.alter_column("invoice_receipt", name, nullable=False)
    op.create_unique_constraint(
        "uq_invoice_receipt_sequence", "invoice_receipt", ["organization_id", "fiscal_year", "sequence"]
    )
    op.create_check_constraint("ck_invoice_receipt_due", "invoice_receipt", "due_after_paise >= 0")


def downgrade() -> None:
    op.execute("DELETE FROM document_counter WHERE series = 'RC'")
    for name in COLUMNS:
        op.drop_column("invoice_receipt", name)
