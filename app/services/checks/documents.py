"""Invoices against their lines, their money and their numbers; what organisations owe (chapter 2, "Integrity")."""

from __future__ import annotations

from . import Check


def _sums(column: str, table: str, part: str, where: str = "true") -> str:
    """A total of invoices against the rows it stands for."""
    return (
        f"SELECT i.organization_id, coalesce(s.paise, 0) AS expected, i.{column} AS actual, i.public_id::text AS id "
        f"FROM invoice i LEFT JOIN (SELECT invoice_id, sum({part})::bigint AS paise FROM {table} GROUP BY 1) s "
        f"ON s.invoice_id = i.id WHERE {where}"
    )


def _gaps(table: str, series: str) -> str:
    """Numbers given by a counter against documents that carry one."""
    return (
        "SELECT c.organization_id, c.last_number::bigint AS expected, coalesce(d.n, 0) AS actual, "
        f"o.slug || ' {series} ' || c.fiscal_year AS id FROM document_counter c JOIN organization o "
        "ON o.id = c.organization_id LEFT JOIN (SELECT organization_id, fiscal_year, "
        f"CASE WHEN count(DISTINCT sequence) = max(sequence) THEN count(*) ELSE -1 END AS n FROM {table} "
        "WHERE sequence IS NOT NULL GROUP BY 1, 2) d ON d.organization_id = c.organization_id "
        f"AND d.fiscal_year = c.fiscal_year WHERE c.series = '{series}'"
    )


CHECKS = (
    Check(
        "INVOICE_TOTAL_MISMATCH",
        "An invoice totals its lines; what was paid, credited and went back are the sums of their own rows.",
        " UNION ALL ".join(
            (
                "SELECT i.organization_id, coalesce(s.paise, 0) + i.round_off_paise AS expected, i.total_paise AS actual, "
                "i.public_id::text AS id FROM invoice i LEFT JOIN (SELECT invoice_id, sum(total_paise)::bigint AS paise "
                "FROM invoice_line GROUP BY 1) s ON s.invoice_id = i.id",
                _sums("paid_paise", "invoice_receipt", "amount_paise", "i.kind <> 'STATEMENT'"),
                _sums("credited_paise", "credit_note", "total_paise"),
                _sums(
                    "refunded_paise",
                    "(SELECT invoice_id, amount_paise FROM invoice_refund WHERE status = 'SUCCEEDED' UNION ALL "
                    "SELECT r.invoice_id, d.posted_paise FROM dispute d JOIN invoice_receipt r "
                    "ON r.provider_payment_id = d.provider_payment_id WHERE d.posted_paise > 0) went",
                    "amount_paise",
                ),
            )
        ),
    ),
    Check(
        "INVOICE_NUMBER_GAP",
        "Invoices and credit notes of a year are numbered from one, without a gap.",
        f"{_gaps('invoice', 'INV')} UNION ALL {_gaps('credit_note', 'CN')}",
    ),
    Check(
        "PO_BALANCE_DRIFT",
        "What is left of a purchase order is its total less what standing documents drew.",
        "SELECT po.organization_id, po.total_paise - coalesce(d.drawn, 0) AS expected, po.remaining_paise AS actual, "
        "po.public_id::text AS id FROM purchase_order po LEFT JOIN (SELECT purchase_order_id, "
        "sum(drawn_hundredths)::bigint AS drawn FROM invoice WHERE purchase_order_id IS NOT NULL "
        "AND status NOT IN ('VOID', 'CANCELLED') GROUP BY 1) d ON d.purchase_order_id = po.id",
    ),
)
