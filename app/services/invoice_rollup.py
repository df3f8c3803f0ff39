"""The roll-up (chapter 2, 2.9): every unbilled accrual of an organisation onto one invoice, whatever their number.

Set-based and in constant memory: one statement stamps the payments and thereby locks them, the next reads them as they
are then, taxes them and inserts the lines. Why this needs no SERIALIZABLE: docs/decisions/0055.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app import clock, faults
from app.errors import DomainError
from app.logs import log
from app.models import (
    AuditCategory,
    BillingAccount,
    FundingSource,
    Invoice,
    InvoiceKind,
    InvoiceLineKind,
    InvoiceStatus,
    Organization,
    OrgStatus,
)
from app.security.context import acting, ctx
from app.services import (
    audit,
    gst,
    invoice_issue,
    invoice_notices,
    invoice_sums,
    invoice_void,
    tax_tables,
)
from app.services.accruals import SQL_SOURCES
from app.services.invoice_facts import Assessment, Supplier, assess
from app.services.text import money

ATTEMPTS = 4
_RETRY = frozenset({"40001", "40P01"})

# Payments leave the unbilled set. The row locks make refunds of them wait, and this wait for refunds under way.
_STAMP = text(
    "UPDATE payment p SET invoice_id = :inv WHERE p.organization_id = :org AND p.invoice_id IS NULL "
    "AND p.method IN ('INVOICE', 'LICENSE') AND p.status = 'SUCCEEDED' "
    "AND (CAST(:exempt AS boolean) IS NULL OR (p.tax_bps = 0) = :exempt) "
    "AND EXISTS (SELECT 1 FROM payment_leg l WHERE l.payment_id = p.id "
    "AND l.source IN ('INVOICE_ACCRUAL', 'OVERAGE_INVOICE_ACCRUAL'))"
)
# A new statement has a new snapshot: legs are summed as refunds that finished meanwhile left them. Fully refunded ones
# stay stamped and give no line.
_LINES = """
INSERT INTO invoice_line (organization_id, invoice_id, position, kind, payment_id, description, detail, supplied_on, sac,
                          quantity, unit_paise, discount_paise, taxable_paise, treatment, rate_bps, cgst_paise, sgst_paise,
                          utgst_paise, igst_paise, total_paise, created_at)
SELECT :org, :inv, row_number() OVER (ORDER BY b.captured_at, b.id), 'BOOKING', b.id,
       left(coalesce(nullif(b.description, ''), 'Booking'), 300),
       left(concat_ws(', ', b.snapshot->>'learner', 'with ' || nullif(b.snapshot->>'expert', '')), 300),
       (coalesce((b.snapshot->>'starts_at')::timestamptz, b.captured_at) AT TIME ZONE 'Asia/Kolkata')::date,
       coalesce(nullif(b.snapshot->>'sac', ''), :sac), 1, b.net, 0, b.net,
       CASE WHEN b.tax_bps = 0 THEN 'EXEMPT' ELSE 'TAXABLE' END, b.tax_bps, {cgst}, {sgst}, {utgst}, {igst},
       b.net + {cgst} + {sgst} + {utgst} + {igst}, :now
  FROM (SELECT p.id, p.captured_at, p.description, p.snapshot, p.tax_bps::bigint AS tax_bps,
               sum(l.amount_paise)::bigint AS net
          FROM payment p JOIN payment_leg l ON l.payment_id = p.id AND l.source IN ({sources})
         WHERE p.invoice_id = :inv GROUP BY p.id HAVING sum(l.amount_paise) > 0) b
"""
# What a SHARED or PER_MEMBER pool promised to use at least and did not (2.5, minimum_credits_per_period).
_SHORT = text("""
SELECT pr.id, pr.name, a.period_start, a.period_end, min(pr.minimum_credits_per_period) * 100 AS minimum,
       sum(a.consumed_paise)::bigint AS consumed, array_agg(a.id) AS assignments, count(*) AS places
  FROM assignment a JOIN program pr ON pr.id = a.program_id
 WHERE a.organization_id = :org AND a.minimum_invoiced_at IS NULL AND a.period_end < :today
   AND pr.minimum_credits_per_period > 0 AND a.status <> 'CANCELLED'
 GROUP BY pr.id, pr.name, a.period_start, a.period_end,
          CASE pr.pool_scope WHEN 'SHARED' THEN 0 ELSE a.id END
 ORDER BY a.period_end, pr.id
""")


def roll_up(session: Session, by: Supplier) -> list[Invoice]:
    """Bill everything unbilled of the organisation acted for; usually one invoice. The caller commits.

    A registered recipient with exempt and taxable bookings gets a bill of supply beside the tax invoice, because law keeps
    them apart. Raises FUNDING_SOURCE_MISMATCH (nothing accrues), NOTHING_TO_BILL.
    """
    account = session.scalars(
        select(BillingAccount)
        .where(BillingAccount.organization_id == ctx().org_id)
        .with_for_update()  # one roll-up at a time: the second finds nothing
        .execution_options(populate_existing=True)
    ).one_or_none()
    if account is None:
        raise DomainError("SPONSOR_CAPABILITY_REQUIRED")
    if account.funding_source not in (FundingSource.INVOICE, FundingSource.LICENSE):
        raise DomainError("FUNDING_SOURCE_MISMATCH", funding_source=account.funding_source.value)
    how = assess(session, by, clock.today_ist())
    made = []
    for exempt in invoice_sums.apart(session, how, ("INVOICE", "LICENSE")):
        row = _document(session, account, how, exempt)
        if row is not None:
            made.append(row)
    if not made:
        raise DomainError("NOTHING_TO_BILL")
    return made


def _document(
    session: Session, account: BillingAccount, how: Assessment, exempt: bool | None
) -> Invoice | None:
    """One invoice of the bookings that are (or are not) exempt; None and nothing changed where there are none."""
    point = session.begin_nested()
    row = Invoice(
        organization_id=account.organization_id,
        billing_account_id=account.id,
        kind=InvoiceKind.ROLL_UP,
        status=InvoiceStatus.DRAFT,
        created_by_user_id=ctx().user_id,
    )
    session.add(row)
    session.flush()
    values = {"org": row.organization_id, "inv": row.id, "now": clock.now()}
    session.execute(_STAMP, {**values, "exempt": exempt})
    cgst, sgst, utgst, igst = gst.sql_heads("b.net", "b.tax_bps", how.regime)
    session.execute(
        text(_LINES.format(cgst=cgst, sgst=sgst, utgst=utgst, igst=igst, sources=SQL_SOURCES)),
        {**values, "sac": row.hsn_code or "999293"},
    )
    short = exempt is not True and _commitments(session, row, by_sac=row.hsn_code or "999293")
    invoice_sums.assessed(session, row, how, taxes=(InvoiceLineKind.COMMITMENT,) if short else ())
    if not row.total_paise:
        point.rollback()
        return None
    point.commit()
    drawn = invoice_sums.draw_oldest(session, row)
    faults.trip("rolled_up")
    invoice_issue.seal(session, row, how)
    invoice_void.overages(session, row, "PENDING", "ACCRUED")
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_ROLLED_UP",
        f"{row.line_count} lines of {money(row.subtotal_paise)} were rolled up into invoice {row.number}",
        target_type="invoice",
        target_id=row.public_id,
        lines=row.line_count,
        subtotal_paise=row.subtotal_paise,
    )
    if not drawn and how.organization.requires_po:
        invoice_notices.order_missing(session, row)
    return row


def _commitments(session: Session, row: Invoice, *, by_sac: str) -> bool:
    """Lines for what ended pools left unused of their minimum, each period once; whether a period ended."""
    ended = session.execute(_SHORT, {"org": row.organization_id, "today": clock.today_ist()}).all()
    if not ended:
        return False
    position = int(
        session.scalar(
            text(
                "SELECT coalesce(max(position), 0) FROM invoice_line WHERE organization_id = :org AND invoice_id = :inv"
            ),
            {"org": row.organization_id, "inv": row.id},
        )
        or 0
    )
    for short in ended:
        missing = int(short.minimum) - int(short.consumed)
        session.execute(
            text(
                "UPDATE assignment SET minimum_invoiced_at = :now WHERE organization_id = :org AND id = ANY(:ids)"
            ),
            {"now": clock.now(), "org": row.organization_id, "ids": list(short.assignments)},
        )
        if missing <= 0:
            continue
        position += 1
        session.execute(
            text(
                "INSERT INTO invoice_line (organization_id, invoice_id, position, kind, description, detail, supplied_on, "
                "sac, quantity, unit_paise, discount_paise, taxable_paise, treatment, rate_bps, total_paise, created_at) "
                "SELECT :org, :inv, :position, 'COMMITMENT', :description, :detail, :on, r.sac, 1, :paise, 0, :paise, "
                "CASE WHEN r.exempt THEN 'EXEMPT' ELSE 'TAXABLE' END, r.rate_bps, :paise, :now FROM tax_rate r "
                "WHERE r.sac = :sac AND r.valid_from <= :today AND (r.valid_to IS NULL OR r.valid_to > :today)"
            ),
            {
                "org": row.organization_id,
                "inv": row.id,
                "position": position,
                "description": f"Unused minimum of “{short.name}”"[:300],
                "detail": f"{short.period_start:%d %b %Y} to {short.period_end:%d %b %Y}",
                "on": short.period_end,
                "paise": missing,
                "sac": by_sac,
                "now": clock.now(),
                "today": clock.today_ist(),
            },
        )
    return True


# ---- the monthly job ---------------------------------------------------------------------------------------------------


def monthly(
    session: Session,
    by: Supplier,
    statement: Callable[[Session, Supplier], Invoice | None],
    *,
    only: list[int] | None = None,
) -> dict[str, int]:
    """Roll up every accruing account and write the tax statement of every wallet, one transaction each.

    Wants job scope and commits. Safe to run twice and to be killed anywhere: what was billed is stamped.
    """
    done = {"invoices": 0, "statements": 0, "failed": 0}
    # who has something to bill: a handful of index reads, whatever the number of organisations
    accruing = session.execute(
        text(
            "SELECT ba.organization_id, ba.funding_source FROM billing_account ba "
            "JOIN organization o ON o.id = ba.organization_id AND o.status IN ('ACTIVE', 'SUSPENDED') "
            "WHERE (ba.funding_source IN ('INVOICE', 'LICENSE') AND (EXISTS (SELECT 1 FROM payment p "
            "WHERE p.organization_id = ba.organization_id AND p.invoice_id IS NULL AND p.method IN ('INVOICE', 'LICENSE') "
            "AND p.status = 'SUCCEEDED' AND p.amount_paise > 0) OR EXISTS (SELECT 1 FROM assignment a JOIN program pr "
            "ON pr.id = a.program_id WHERE a.organization_id = ba.organization_id AND a.minimum_invoiced_at IS NULL "
            "AND a.period_end < :today AND pr.minimum_credits_per_period > 0))) "
            "OR (ba.funding_source = 'WALLET' AND EXISTS (SELECT 1 FROM payment p WHERE p.organization_id = "
            "ba.organization_id AND p.invoice_id IS NULL AND p.method IN ('WALLET', 'CARD') AND p.status = 'SUCCEEDED')) "
            "ORDER BY ba.organization_id"
        ),
        {"today": clock.today_ist()},
    ).all()
    session.commit()
    with tax_tables.read_once(session):
        for org, source in accruing:
            if only is not None and org not in only:
                continue
            wallet = source == FundingSource.WALLET.value
            outcome = _one(
                session, org, (lambda s: statement(s, by)) if wallet else (lambda s: roll_up(s, by))
            )
            if outcome is None:
                done["failed"] += 1
            elif outcome:
                done["statements" if wallet else "invoices"] += 1
    return done


def _one(session: Session, org: int, work: Callable[[Session], Any]) -> bool | None:
    """One organisation in one transaction, tried again when it lost a race; None when it failed, False for nothing."""
    for attempt in range(ATTEMPTS):
        try:
            with acting(session, scope="org", org_id=org, user_id=None, role=None):
                made = work(session)
            session.commit()
            session.expunge_all()
            return bool(made)
        except DomainError as error:
            session.rollback()
            if error.code == "NOTHING_TO_BILL":
                return False
            log.warning("roll_up_refused", organization=org, code=error.code)
            return None
        except OperationalError as error:
            session.rollback()
            if getattr(error.orig, "sqlstate", None) not in _RETRY or attempt == ATTEMPTS - 1:
                log.warning("roll_up_failed", organization=org, error=type(error).__name__)
                return None
        except Exception as error:
            session.rollback()
            log.warning("roll_up_failed", organization=org, error=type(error).__name__)
            return None
    return None


def preview(session: Session, by: Supplier) -> dict[str, Any]:
    """What a roll-up would bill now, without doing it: bookings and commitments counted, subtotal and tax in paise."""
    how = assess(session, by, clock.today_ist())
    cgst, sgst, utgst, igst = gst.sql_heads("b.net", "b.tax_bps", how.regime)
    row = session.execute(
        text(
            f"SELECT count(*) AS n, coalesce(sum(b.net), 0) AS subtotal, "  # noqa: S608  (integers and constants)
            f"coalesce(sum({cgst} + {sgst} + {utgst} + {igst}), 0) AS tax FROM (SELECT p.tax_bps::bigint AS tax_bps, "
            "sum(l.amount_paise)::bigint AS net FROM payment p JOIN payment_leg l ON l.payment_id = p.id "
            "WHERE p.organization_id = :org AND p.invoice_id IS NULL AND p.status = 'SUCCEEDED' "
            f"AND p.method IN ('INVOICE', 'LICENSE') AND l.source IN ({SQL_SOURCES}) GROUP BY p.id HAVING sum(l.amount_paise) > 0) b"
        ),
        {"org": ctx().org_id},
    ).one()
    today = clock.today_ist()
    short = [
        missing
        for r in session.execute(_SHORT, {"org": ctx().org_id, "today": today})
        if (missing := int(r.minimum) - int(r.consumed)) > 0
    ]
    bps = tax_tables.rate(session, "999293", today).bps if short else 0
    subtotal = int(row.subtotal) + sum(short)
    tax = int(row.tax) + sum(how.regime.heads(paise, bps).total for paise in short)
    return {
        "bookings": int(row.n),
        "commitments": len(short),
        "subtotal_paise": subtotal,
        "tax_paise": tax,
        "total_paise": subtotal + tax,
    }


def open_for_billing(org: Organization) -> bool:
    """Whether an organisation is billed at all: closed ones have settled."""
    return org.status in (OrgStatus.ACTIVE, OrgStatus.SUSPENDED)
