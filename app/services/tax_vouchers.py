"""Receipt and refund vouchers of advances (chapter 4, "Advances"): a top-up tied to one service is taxed when it arrives.

Only under ``wallet_gst_mode`` ADVANCE, which is fixed per top-up. The tax is inside the amount: taken apart half-up, what
the heads leave over is round_off. Vouchers post nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import clock
from app.models import GstMode, TaxVoucher, TopUpRefund, VoucherKind, WalletTopUp
from app.services import advances, gst, numbering, outbox, tax_tables
from app.services.invoice_facts import Supplier, assess
from app.services.text import money

TOPIC = "tax_voucher"


def receipt(session: Session, top_up: WalletTopUp, by: Supplier) -> TaxVoucher | None:
    """The receipt voucher of a confirmed ADVANCE top-up, once; None for a VOUCHER one. Acts for the organisation."""
    if top_up.gst_mode != GstMode.ADVANCE or top_up.confirmed_at is None:
        return None
    return _write(session, VoucherKind.RECEIPT, top_up, top_up.amount_paise, f"topup:{top_up.public_id}", by)


def refund(session: Session, top_up: WalletTopUp, paise: int, ref: str, by: Supplier) -> TaxVoucher | None:
    """The refund voucher of *paise* of an advance that were not spent, once a *ref*; None where there is no receipt.

    Vouchers of parts add up to the receipt: the last one takes the remainder.
    """
    made = session.scalars(
        select(TaxVoucher).where(TaxVoucher.kind == VoucherKind.RECEIPT, TaxVoucher.top_up_id == top_up.id)
    ).one_or_none()
    if made is None:
        return None
    return _write(session, VoucherKind.REFUND, top_up, paise, ref, by, receipt_of=made)


def _write(
    session: Session,
    kind: VoucherKind,
    top_up: WalletTopUp,
    paise: int,
    ref: str,
    by: Supplier,
    receipt_of: TaxVoucher | None = None,
) -> TaxVoucher:
    known = session.scalars(
        select(TaxVoucher).where(TaxVoucher.kind == kind, TaxVoucher.source_ref == ref)
    ).one_or_none()
    if known is not None:
        return known
    number = numbering.take(
        session, numbering.REFUND_VOUCHER if receipt_of is not None else numbering.RECEIPT_VOUCHER
    )
    how = assess(session, by, clock.today_ist())
    if receipt_of is None:
        rate = tax_tables.rate(session, None, number.day)
        sac, bps = rate.sac, rate.bps if how.regime.charged else 0
        taxable = gst.inclusive(paise, bps)
        heads = how.regime.heads(taxable, bps)
        facts = {**how.facts, "says": f"Credits of {money(paise)}, GST included"}
        place = how.regime.place
    else:
        sac, bps, facts = (
            receipt_of.sac,
            receipt_of.rate_bps,
            {**receipt_of.facts, "receipt": receipt_of.number},
        )
        place = receipt_of.place_of_supply
        taxable, heads = _share(session, receipt_of, paise)
        facts["says"] = f"{money(paise)} of the advance of {money(receipt_of.total_paise)}"
    row = TaxVoucher(
        organization_id=top_up.organization_id,
        kind=kind,
        top_up_id=top_up.id,
        receipt_voucher_id=receipt_of.id if receipt_of is not None else None,
        source_ref=ref,
        number=number.text,
        fiscal_year=number.fiscal_year,
        sequence=number.sequence,
        issue_date=number.day,
        sac=sac,
        rate_bps=bps,
        taxable_paise=taxable,
        cgst_paise=heads.cgst,
        sgst_paise=heads.sgst,
        utgst_paise=heads.utgst,
        igst_paise=heads.igst,
        round_off_paise=paise - taxable - heads.total,
        total_paise=paise,
        place_of_supply=place,
        supplier_gstin=by.gstin,
        facts=facts,
    )
    session.add(row)
    session.flush()
    return row


def _share(session: Session, made: TaxVoucher, paise: int) -> tuple[int, gst.Heads]:
    """(taxable, heads) of *paise* of a receipt, cumulatively: what completes it takes what is left."""
    before = session.execute(
        select(
            func.coalesce(func.sum(TaxVoucher.total_paise), 0),
            func.coalesce(func.sum(TaxVoucher.taxable_paise), 0),
            func.coalesce(func.sum(TaxVoucher.cgst_paise), 0),
            func.coalesce(func.sum(TaxVoucher.sgst_paise), 0),
            func.coalesce(func.sum(TaxVoucher.utgst_paise), 0),
            func.coalesce(func.sum(TaxVoucher.igst_paise), 0),
        ).where(TaxVoucher.receipt_voucher_id == made.id)
    ).one()
    after = int(before[0]) + paise

    def until(whole: int) -> int:
        return (2 * whole * after + made.total_paise) // (2 * made.total_paise)

    taxable = max(until(made.taxable_paise) - int(before[1]), 1)
    return taxable, gst.Heads(
        until(made.cgst_paise) - int(before[2]),
        until(made.sgst_paise) - int(before[3]),
        until(made.utgst_paise) - int(before[4]),
        until(made.igst_paise) - int(before[5]),
    )


# ---- as money moves: written after the commit, where the supplier's settings are at hand -------------------------------


def _arrived(session: Session, top_up: WalletTopUp) -> None:
    outbox.put(
        session, TOPIC, {"top_up": str(top_up.public_id)}, dedupe_key=f"tax-voucher:{top_up.public_id}"
    )


def _returned(session: Session, top_up: WalletTopUp, made: TopUpRefund) -> None:
    outbox.put(
        session,
        TOPIC,
        {"top_up": str(top_up.public_id), "paise": made.amount_paise, "ref": f"refund:{made.public_id}"},
        dedupe_key=f"tax-voucher:{made.public_id}",
    )


def deliver(
    session: Session, top_up: WalletTopUp, payload: dict[str, Any], by: Supplier
) -> TaxVoucher | None:
    """Write what a message asks for; safe to repeat. Acts for the organisation."""
    made = receipt(session, top_up, by)
    if "paise" not in payload:
        return made
    return refund(session, top_up, int(payload["paise"]), str(payload["ref"]), by)


advances.ARRIVED.append(_arrived)
advances.RETURNED.append(_returned)
