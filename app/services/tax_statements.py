"""Monthly tax statements of wallets (chapter 2, 2.9): bookings were taxed and paid when they were made; the statement is
their tax invoice, PAID from its first moment, and posts nothing.

Heads are rounded each for itself, the charge was rounded once: what they differ by is the statement's round_off.
"""

from __future__ import annotations

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app import clock
from app.models import BillingAccount, FundingSource, Invoice, InvoiceKind, InvoiceStatus
from app.security.context import ctx
from app.services import gst, invoice_issue, invoice_sums
from app.services.invoice_facts import Supplier, assess

_STAMP = text(
    "UPDATE payment p SET invoice_id = :inv WHERE p.organization_id = :org AND p.invoice_id IS NULL "
    "AND p.method IN ('WALLET', 'CARD') AND p.status = 'SUCCEEDED' AND p.parent_payment_id IS NULL "
    "AND (CAST(:exempt AS boolean) IS NULL OR (p.tax_bps = 0) = :exempt) "
    "AND EXISTS (SELECT 1 FROM payment_leg l WHERE l.payment_id = p.id AND l.source = 'WALLET')"
)
# The taxable part of what was not refunded: refunds give back price and tax alike, in proportion.
_LINES = """
INSERT INTO invoice_line (organization_id, invoice_id, position, kind, payment_id, description, detail, supplied_on, sac,
                          quantity, unit_paise, discount_paise, taxable_paise, treatment, rate_bps, cgst_paise, sgst_paise,
                          utgst_paise, igst_paise, total_paise, created_at)
SELECT :org, :inv, row_number() OVER (ORDER BY b.captured_at, b.id), 'BOOKING', b.id,
       left(coalesce(nullif(b.description, ''), 'Booking'), 300),
       left(concat_ws(', ', b.snapshot->>'learner', 'with ' || nullif(b.snapshot->>'expert', '')), 300),
       (b.captured_at AT TIME ZONE 'Asia/Kolkata')::date, coalesce(nullif(b.snapshot->>'sac', ''), '999293'),
       1, b.net, 0, b.net, CASE WHEN b.tax_bps = 0 THEN 'EXEMPT' ELSE 'TAXABLE' END, b.tax_bps,
       {cgst}, {sgst}, {utgst}, {igst}, b.net + {cgst} + {sgst} + {utgst} + {igst}, :now
  FROM (SELECT p.id, p.captured_at, p.description, p.snapshot, p.tax_bps::bigint AS tax_bps,
               p.amount_paise - p.tax_paise - (2 * coalesce(r.paise, 0) * (p.amount_paise - p.tax_paise) + p.amount_paise)
               / (2 * greatest(p.amount_paise, 1)) AS net
          FROM payment p
          LEFT JOIN LATERAL (SELECT sum(f.amount_paise)::bigint AS paise FROM refund f
                              WHERE f.payment_id = p.id AND f.cascaded_at IS NOT NULL) r ON true
         WHERE p.invoice_id = :inv AND p.amount_paise > 0) b
 WHERE b.net > 0
"""
_CHARGED = text(
    "SELECT coalesce(sum(p.amount_paise - coalesce(r.paise, 0)), 0) FROM invoice_line n JOIN payment p ON p.id = n.payment_id "
    "LEFT JOIN LATERAL (SELECT sum(f.amount_paise)::bigint AS paise FROM refund f WHERE f.payment_id = p.id "
    "AND f.cascaded_at IS NOT NULL) r ON true WHERE n.organization_id = :org AND n.invoice_id = :inv"
)


def write(session: Session, by: Supplier) -> Invoice | None:
    """The statement of everything a wallet paid that no statement holds yet; None where there is nothing.

    Acts for the organisation; the caller commits. For a registered recipient exempt bookings get one of their own, first.
    """
    account = session.scalars(
        select(BillingAccount)
        .where(BillingAccount.organization_id == ctx().org_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if account.funding_source != FundingSource.WALLET:
        return None
    how = assess(session, by, clock.today_ist())
    made = None
    for exempt in reversed(invoice_sums.apart(session, how, ("WALLET", "CARD"))):
        point = session.begin_nested()
        row = Invoice(
            organization_id=account.organization_id,
            billing_account_id=account.id,
            kind=InvoiceKind.STATEMENT,
            status=InvoiceStatus.DRAFT,
        )
        session.add(row)
        session.flush()
        values = {"org": row.organization_id, "inv": row.id, "now": clock.now()}
        session.execute(_STAMP, {**values, "exempt": exempt})
        cgst, sgst, utgst, igst = gst.sql_heads("b.net", "b.tax_bps", how.regime)
        session.execute(text(_LINES.format(cgst=cgst, sgst=sgst, utgst=utgst, igst=igst)), values)
        invoice_sums.assessed(session, row, how, taxes=())
        if not row.total_paise:
            point.rollback()
            continue
        point.commit()
        charged = int(session.scalar(_CHARGED, values) or 0)
        row.round_off_paise = charged - row.subtotal_paise - row.tax_paise
        row.total_paise = charged
        session.flush()
        invoice_issue.seal(session, row, how)
        made = row
    return made
