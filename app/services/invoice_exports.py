"""Files of invoices (chapter 2, 2.9 "Export"): the list, the GST register in the shape of GSTR-1, and its HSN summary.

Rows come in batches by key, so a file of any length is streamed in constant memory. Amounts are rupees.
"""

# ruff: noqa: S608  (statements are put together from constants of this file only)
from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.models import AuditCategory
from app.security.context import ctx
from app.services import audit

BATCH = 2000
LIST = (
    "number",
    "status",
    "currency",
    "subtotal",
    "igst",
    "cgst",
    "sgst",
    "total",
    "issue_date",
    "due_date",
    "paid_on",
    "purchase_order",
    "contract",
)
MONEY = frozenset(
    {"subtotal", "igst", "cgst", "sgst", "total", "taxable_value", "invoice_value", "sgst_utgst"}
)
REGISTER = (
    "section",
    "document_type",
    "number",
    "date",
    "original_number",
    "original_date",
    "gstin",
    "recipient",
    "place_of_supply",
    "reverse_charge",
    "invoice_type",
    "rate",
    "taxable_value",
    "igst",
    "cgst",
    "sgst_utgst",
    "invoice_value",
    "hsn",
    "irn",
    "irn_date",
    "lut",
    "itc_reversal_status",
)
HSN = ("hsn", "uqc", "quantity", "rate", "taxable_value", "igst", "cgst", "sgst_utgst", "invoice_value")

_WHERE = (
    "i.organization_id = :org AND i.id > :after AND (CAST(:since AS date) IS NULL OR i.issue_date >= :since) "
    "AND (CAST(:until AS date) IS NULL OR i.issue_date <= :until)"
)
_LIST = text(
    "SELECT i.id, i.number, i.status, i.currency, i.subtotal_paise AS subtotal, i.igst_paise AS igst, "
    "i.cgst_paise AS cgst, i.sgst_paise + i.utgst_paise AS sgst, i.total_paise AS total, i.issue_date, i.due_date, "
    "(i.paid_at AT TIME ZONE 'Asia/Kolkata')::date AS paid_on, po.po_number AS purchase_order, c.title AS contract "
    "FROM invoice i LEFT JOIN purchase_order po ON po.id = i.purchase_order_id LEFT JOIN contract c ON c.id = i.contract_id "
    f"WHERE {_WHERE} AND (CAST(:status AS text) IS NULL OR i.status = :status) ORDER BY i.id LIMIT :most"
)
# GSTR-1's sections: registered B2B, exports EXP, unregistered B2CS, exempt NIL; one row a document and rate.
_SECTION = (
    "CASE WHEN n.treatment = 'EXEMPT' THEN 'NIL' WHEN i.supply_type IN ('EXPWP','EXPWOP') THEN 'EXP' "
    "WHEN i.gstin IS NULL THEN 'B2CS' ELSE 'B2B' END"
)
_KIND = (
    "CASE i.supply_type WHEN 'SEZWP' THEN 'SEZ supplies with payment' WHEN 'SEZWOP' THEN 'SEZ supplies without payment' "
    "WHEN 'EXPWP' THEN 'WPAY' WHEN 'EXPWOP' THEN 'WOPAY' ELSE 'Regular' END"
)
_PLACE = "i.place_of_supply || '-' || coalesce(i.facts->'place'->>'name', '')"
_REGISTER = text(
    f"SELECT i.id, {_SECTION} AS section, i.nature AS document_type, i.number, i.issue_date AS date, "
    "NULL::text AS original_number, NULL::date AS original_date, i.gstin, "
    f"i.facts->'recipient'->>'name' AS recipient, {_PLACE} AS place_of_supply, "
    f"CASE WHEN i.reverse_charge THEN 'Y' ELSE 'N' END AS reverse_charge, {_KIND} AS invoice_type, n.rate_bps AS rate, "
    "sum(n.taxable_paise) AS taxable_value, sum(n.igst_paise) AS igst, sum(n.cgst_paise) AS cgst, "
    "sum(n.sgst_paise + n.utgst_paise) AS sgst_utgst, i.total_paise AS invoice_value, min(n.sac) AS hsn, e.irn, "
    "(e.ack_date AT TIME ZONE 'Asia/Kolkata')::date AS irn_date, i.lut_number AS lut, NULL::text AS itc_reversal_status "
    "FROM invoice i JOIN invoice_line n ON n.organization_id = i.organization_id AND n.invoice_id = i.id "
    "LEFT JOIN einvoice e ON e.invoice_id = i.id "
    f"WHERE {_WHERE} AND i.number IS NOT NULL AND i.status <> 'VOID' AND i.id <= :upto "
    "GROUP BY i.id, n.rate_bps, n.treatment, e.irn, e.ack_date ORDER BY i.id, n.rate_bps DESC"
)
_NOTES = text(
    "SELECT c.id, CASE WHEN i.supply_type IN ('EXPWP','EXPWOP') OR i.gstin IS NULL THEN 'CDNUR' ELSE 'CDNR' END AS section, "
    "CASE c.kind WHEN 'TAX' THEN 'CREDIT_NOTE' ELSE 'COMMERCIAL_CREDIT_NOTE' END AS document_type, c.number, "
    "c.issue_date AS date, i.number AS original_number, i.issue_date AS original_date, i.gstin, "
    f"i.facts->'recipient'->>'name' AS recipient, {_PLACE} AS place_of_supply, "
    f"CASE WHEN i.reverse_charge THEN 'Y' ELSE 'N' END AS reverse_charge, {_KIND} AS invoice_type, n.rate_bps AS rate, "
    "sum(n.taxable_paise) AS taxable_value, sum(n.igst_paise) AS igst, sum(n.cgst_paise) AS cgst, "
    "sum(n.sgst_paise + n.utgst_paise) AS sgst_utgst, c.total_paise AS invoice_value, min(n.sac) AS hsn, e.irn, "
    "(e.ack_date AT TIME ZONE 'Asia/Kolkata')::date AS irn_date, i.lut_number AS lut, c.itc_reversal_status "
    "FROM credit_note c JOIN invoice i ON i.id = c.invoice_id JOIN credit_note_line n ON n.credit_note_id = c.id "
    "LEFT JOIN einvoice e ON e.credit_note_id = c.id WHERE c.organization_id = :org AND c.id > :after AND c.id <= :upto "
    "AND (CAST(:since AS date) IS NULL OR c.issue_date >= :since) "
    "AND (CAST(:until AS date) IS NULL OR c.issue_date <= :until) "
    "GROUP BY c.id, i.id, n.rate_bps, e.irn, e.ack_date ORDER BY c.id, n.rate_bps DESC"
)
_HSN = text(
    "SELECT sac AS hsn, 'OTH' AS uqc, sum(quantity) AS quantity, rate_bps AS rate, sum(taxable) AS taxable_value, "
    "sum(igst) AS igst, sum(cgst) AS cgst, sum(sgst) AS sgst_utgst, sum(total) AS invoice_value FROM ("
    "SELECT n.sac, n.rate_bps, n.quantity, n.taxable_paise AS taxable, n.igst_paise AS igst, n.cgst_paise AS cgst, "
    "n.sgst_paise + n.utgst_paise AS sgst, n.total_paise AS total FROM invoice i JOIN invoice_line n "
    "ON n.organization_id = i.organization_id AND n.invoice_id = i.id WHERE i.organization_id = :org "
    "AND i.number IS NOT NULL AND i.status <> 'VOID' AND (CAST(:since AS date) IS NULL OR i.issue_date >= :since) "
    "AND (CAST(:until AS date) IS NULL OR i.issue_date <= :until) UNION ALL "
    "SELECT n.sac, n.rate_bps, 0, -n.taxable_paise, -n.igst_paise, -n.cgst_paise, -n.sgst_paise - n.utgst_paise, "
    "-n.total_paise FROM credit_note c JOIN credit_note_line n ON n.credit_note_id = c.id WHERE c.organization_id = :org "
    "AND c.kind = 'TAX' AND (CAST(:since AS date) IS NULL OR c.issue_date >= :since) "
    "AND (CAST(:until AS date) IS NULL OR c.issue_date <= :until)) x GROUP BY sac, rate_bps ORDER BY sac, rate_bps DESC"
)


def recorded(session: Session, what: str, since: dt.date | None, until: dt.date | None) -> None:
    """The audit row of an export, written before the first byte leaves."""
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_EXPORTED",
        f"Invoices were exported ({what})",
        target_type="invoice",
        format=what,
        since=str(since or ""),
        until=str(until or ""),
    )


def _values(since: dt.date | None, until: dt.date | None) -> dict[str, Any]:
    return {"org": ctx().org_id, "since": since, "until": until}


def listed(
    session: Session, since: dt.date | None, until: dt.date | None, status: str | None = None
) -> Iterator[dict[str, Any]]:
    """The invoices of the organisation acted for, oldest first."""
    after = 0
    values = {**_values(since, until), "status": status, "most": BATCH}
    while rows := session.execute(_LIST, {**values, "after": after}).mappings().all():
        yield from (dict(r) for r in rows)
        after = rows[-1]["id"]


def register(session: Session, since: dt.date | None, until: dt.date | None) -> Iterator[dict[str, Any]]:
    """One row a document and rate: invoices, then credit notes. Void and draft documents report nothing."""
    for statement, table in ((_REGISTER, "invoice"), (_NOTES, "credit_note")):
        last = session.scalar(
            text(f"SELECT max(id) FROM {table} WHERE organization_id = :org"), _values(None, None)
        )
        after, top = 0, int(last or 0)
        while after < top:
            upto = session.scalar(
                text(
                    f"SELECT max(id) FROM (SELECT id FROM {table} WHERE organization_id = :org AND id > :after "
                    "ORDER BY id LIMIT :most) b"
                ),
                {**_values(None, None), "after": after, "most": BATCH},
            )
            if upto is None:
                break
            values = {**_values(since, until), "after": after, "upto": upto}
            yield from (dict(r) for r in session.execute(statement, values).mappings())
            after = int(upto)


def hsn(session: Session, since: dt.date | None, until: dt.date | None) -> Iterator[dict[str, Any]]:
    """The summary by HSN and rate, credit notes subtracted."""
    yield from (dict(r) for r in session.execute(_HSN, _values(since, until)).mappings())


FORMATS = {"csv": (LIST, listed), "gst": (REGISTER, register), "hsn": (HSN, hsn)}
