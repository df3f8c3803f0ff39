"""Credit notes (chapter 2, 2.8 and 2.9; chapter 4, "Credit notes"): parts of lines, with their tax, adding up to the line.

Two roads lead here. A refund of an invoiced booking spreads over the booking's own posting (REFUND); its note adds the tax
to that posting. A note written by hand takes back lines that are no bookings and posts CREDIT_NOTE. What a paid invoice
then no longer asks for goes back by the way it came (INVOICE_REFUND). After 30 November following the year a note is
commercial: no tax.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import clock
from app.documents.words import rupees_in_words
from app.errors import DomainError, Invalid
from app.gateways import open_gateway
from app.gateways.base import RefundResult, Refused
from app.logs import log
from app.models import (
    AuditCategory,
    CreditNote,
    CreditNoteKind,
    CreditNoteLine,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceLineKind,
    InvoiceReceipt,
    InvoiceRefund,
    InvoiceRefundStatus,
    InvoiceStatus,
    ItcReversal,
    LegSource,
    Payment,
    ReceiptMethod,
    Refund,
    Severity,
    SupplyType,
    SystemEvent,
    TaxTreatment,
)
from app.security.context import acting, ctx
from app.services import (
    audit,
    einvoice_rules,
    gst,
    invoice_issue,
    invoice_notices,
    invoices,
    ledger,
    numbering,
    outbox,
    refund_spread,
    tax_tables,
)
from app.services.text import money, one_line
from config import Settings

CREDITABLE = (InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE, InvoiceStatus.PAID)
TOPIC = "refund_invoice"


@dataclass(frozen=True)
class Part:
    """*paise* of the taxable value of *line* taken back."""

    line: InvoiceLine
    paise: int


def regime_of(row: Invoice, union_territory: bool) -> gst.Regime:
    """How an issued invoice was taxed, from what is frozen on it: credit notes follow it, whatever changed since."""
    kind = SupplyType(row.supply_type)
    return gst.Regime(
        kind,
        row.place_of_supply or "",
        bool(row.facts.get("inter_state")),
        union_territory,
        charged=kind not in gst.ZERO_RATED and not row.reverse_charge,
    )


def write(
    session: Session, row: Invoice, parts: Sequence[Part], reason: str, *, refund: Refund | None = None
) -> CreditNote:
    """A credit note for *parts* of the locked invoice *row*; numbered, counted, posted where bookings do not post themselves.

    With *refund* the caller posts (the REFUND of the booking). Raises Invalid, ILLEGAL_TRANSITION.
    """
    if row.status not in CREDITABLE:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)
    now = clock.now()
    states = tax_tables.states(session)
    place = row.place_of_supply or ""
    how = regime_of(
        row, place in states and states[place].union_territory and not row.facts.get("inter_state")
    )
    last = gst.credit_deadline(
        row.issue_date or clock.today_ist(), tax_tables.parameter(session, "CREDIT_NOTE_LAST_DAY")
    )
    commercial = clock.today_ist() > last
    number = numbering.take(session, numbering.CREDIT_NOTE, now)
    lines, total = [], gst.Heads()
    for position, part in enumerate(parts, 1):
        line, whole = part.line, _heads(part.line)
        heads = (
            gst.Heads()
            if commercial
            else gst.part(whole, how, line.rate_bps, line.taxable_paise, line.credited_paise, part.paise)
        )
        total += heads
        lines.append(
            CreditNoteLine(
                organization_id=row.organization_id,
                invoice_line_id=line.id,
                position=position,
                description=line.description,
                sac=line.sac,
                treatment=line.treatment,
                rate_bps=line.rate_bps,
                taxable_paise=part.paise,
                cgst_paise=heads.cgst,
                sgst_paise=heads.sgst,
                utgst_paise=heads.utgst,
                igst_paise=heads.igst,
                total_paise=part.paise + heads.total,
            )
        )
        line.credited_paise += part.paise
    subtotal = sum(p.paise for p in parts)
    registered = bool(row.gstin) and not commercial and total.total > 0
    note = CreditNote(
        organization_id=row.organization_id,
        invoice_id=row.id,
        refund_id=refund.id if refund is not None else None,
        kind=CreditNoteKind.COMMERCIAL if commercial else CreditNoteKind.TAX,
        number=number.text,
        fiscal_year=number.fiscal_year,
        sequence=number.sequence,
        issue_date=number.day,
        issued_at=now,
        reason=reason[:300],
        booking_paise=sum(p.paise for p in parts if p.line.kind == InvoiceLineKind.BOOKING),
        subtotal_paise=subtotal,
        cgst_paise=total.cgst,
        sgst_paise=total.sgst,
        utgst_paise=total.utgst,
        igst_paise=total.igst,
        tax_paise=total.total,
        total_paise=subtotal + total.total,
        place_of_supply=row.place_of_supply,
        supplier_gstin=row.supplier_gstin or "",
        facts={
            **{
                k: row.facts[k]
                for k in ("supplier", "recipient", "place", "brand", "inter_state")
                if k in row.facts
            },
            "words": rupees_in_words(subtotal + total.total),
            "invoice": {"number": row.number, "date": str(row.issue_date)},
        },
        itc_reversal_status=ItcReversal.PENDING if registered else ItcReversal.NOT_APPLICABLE,
        created_by_user_id=ctx().user_id,
    )
    session.add(note)
    session.flush()
    for made in lines:
        made.credit_note_id = note.id
    session.add_all(lines)
    row.credited_paise += note.total_paise
    session.flush()
    if row.kind != InvoiceKind.STATEMENT and refund is None:
        _post(session, row, note, parts)
    einvoice_rules.enter_note(session, note, row, number.day)
    audit.record(
        session,
        AuditCategory.INVOICE,
        "CREDIT_NOTE_ISSUED",
        f"Credit note {note.number} of {money(note.total_paise)} for invoice {row.number}",
        target_type="invoice",
        target_id=row.public_id,
        credit_note=note.number,
        total_paise=note.total_paise,
        reason=note.reason,
    )
    back = 0 if row.kind == InvoiceKind.STATEMENT else _send_back(session, row, note, refund)
    _settle(session, row)
    invoice_notices.credited(session, row, note, back)
    return note


def _heads(line: InvoiceLine) -> gst.Heads:
    return gst.Heads(line.cgst_paise, line.sgst_paise, line.utgst_paise, line.igst_paise)


def _post(session: Session, row: Invoice, note: CreditNote, parts: Sequence[Part]) -> None:
    """CREDIT_NOTE ``creditnote:<id>``: Dr revenue and GST_PAYABLE, Cr ORG_RECEIVABLE."""
    revenue: dict[str, int] = {}
    for part in parts:
        code = invoice_issue.REVENUE.get(part.line.kind, ledger.PLATFORM_FEE)
        revenue[code] = revenue.get(code, 0) + part.paise
    legs = [ledger.debit(code, paise) for code, paise in sorted(revenue.items())]
    if note.tax_paise:
        legs.append(ledger.debit(ledger.GST_PAYABLE, note.tax_paise))
    legs.append(ledger.credit(ledger.org_account("ORG_RECEIVABLE", row.organization_id), note.total_paise))
    ledger.post(
        session,
        f"creditnote:{note.public_id}",
        "CREDIT_NOTE",
        legs,
        organization_id=row.organization_id,
        description=f"Credit note {note.number}",
        invoice_id=str(row.public_id),
    )


def _settle(session: Session, row: Invoice) -> None:
    """What is wholly credited after payment is REFUNDED; what the note leaves nothing of is PAID."""
    from app.services import invoice_receipts  # late: it imports the gateway's side

    session.refresh(row)
    if row.status in invoices.OPEN and row.due_paise <= 0:
        invoice_receipts.close(session, row, payment_id="")
    whole = row.credited_paise >= row.total_paise - max(row.round_off_paise, 0)
    if row.status == InvoiceStatus.PAID and whole and row.paid_paise:
        invoices.move(session, row, InvoiceStatus.REFUNDED, InvoiceStatus.PAID, closed_at=clock.now())
        audit.record(
            session,
            AuditCategory.INVOICE,
            "INVOICE_REFUNDED",
            f"Invoice {row.number} was credited and refunded in full",
            target_type="invoice",
            target_id=row.public_id,
            total_paise=row.total_paise,
        )


# ---- money back ------------------------------------------------------------------------------------------------------


def _send_back(session: Session, row: Invoice, note: CreditNote, refund: Refund | None) -> int:
    """Return what a credited invoice holds beyond what it asks for, newest receipt first; paise."""
    before = -(row.due_paise + note.total_paise)  # what it held too much already
    pending, rejected = _promised(session, row)
    left = -row.due_paise - pending - min(rejected, max(0, before - pending))
    if left <= 0:
        return 0
    total = left
    receipts = session.scalars(
        select(InvoiceReceipt)
        .where(
            InvoiceReceipt.invoice_id == row.id, InvoiceReceipt.refunded_paise < InvoiceReceipt.amount_paise
        )
        .order_by((InvoiceReceipt.method == ReceiptMethod.GATEWAY).desc(), InvoiceReceipt.id.desc())
        .with_for_update()
    ).all()
    key = str(refund.public_id if refund is not None else note.public_id)
    for n, receipt in enumerate(receipts):
        paise = min(left, receipt.amount_paise - receipt.refunded_paise)
        receipt.refunded_paise += paise
        made = InvoiceRefund(
            organization_id=row.organization_id,
            invoice_id=row.id,
            receipt_id=receipt.id,
            credit_note_id=note.id,
            refund_key=key if n == 0 else f"{key}:{n + 1}",
            amount_paise=paise,
        )
        session.add(made)
        session.flush()
        if receipt.method == ReceiptMethod.GATEWAY:
            outbox.put(session, TOPIC, {"refund_id": str(made.public_id)})
        else:  # a transfer by our bank: owed from now on, its reference follows
            _done(session, row, made)
        left -= paise
        if not left:
            break
    return total - left


def _promised(session: Session, row: Invoice) -> tuple[int, int]:
    """(refunds under way, refunds the provider rejected that a bank transfer is to return) of an invoice, paise."""
    rows = session.execute(
        select(InvoiceRefund.status, InvoiceRefund.amount_paise).where(
            InvoiceRefund.invoice_id == row.id,
            InvoiceRefund.status.in_((InvoiceRefundStatus.PENDING, InvoiceRefundStatus.FAILED)),
        )
    ).all()
    pending = sum(r.amount_paise for r in rows if r.status == InvoiceRefundStatus.PENDING)
    return pending, sum(r.amount_paise for r in rows) - pending


def _done(session: Session, row: Invoice, made: InvoiceRefund) -> None:
    """INVOICE_REFUND ``invoice-refund:<refund>``: Dr ORG_RECEIVABLE, Cr CASH."""
    made.status, made.succeeded_at = InvoiceRefundStatus.SUCCEEDED, clock.now()
    row.refunded_paise += made.amount_paise
    session.flush()
    ledger.post(
        session,
        f"invoice-refund:{made.refund_key}",
        "INVOICE_REFUND",
        [
            ledger.debit(ledger.org_account("ORG_RECEIVABLE", row.organization_id), made.amount_paise),
            ledger.credit(ledger.CASH, made.amount_paise),
        ],
        organization_id=row.organization_id,
        description=f"Refund of invoice {row.number}",
        invoice_id=str(row.public_id),
    )


def send(session: Session, public_id: uuid.UUID, settings: Settings) -> str:
    """Give a gateway's receipt back; safe to repeat. Wants job scope and commits. Raises the gateway's codes."""
    made = session.scalars(select(InvoiceRefund).where(InvoiceRefund.public_id == public_id)).one()
    with acting(session, scope="org", org_id=made.organization_id, user_id=None, role=None):
        row = invoices.fresh(session, made.invoice_id, lock=True)  # one sender at a time
        session.refresh(made)
        if made.status != InvoiceRefundStatus.PENDING:
            session.rollback()
            return made.status.value
        receipt = session.get_one(InvoiceReceipt, made.receipt_id)
        result = _ask(session, receipt, made, settings)
        made.provider_refund_id = result.refund_id or None
        if result.status == "processed":
            _done(session, row, made)
        elif result.status == "failed":
            made.status = InvoiceRefundStatus.FAILED
            session.flush()
            from app.services import disputes  # late: disputes spread their losses as refunds do

            disputes.refund_failed(session, "invoice", receipt.provider_payment_id or "", str(made.public_id))
            with acting(session, scope="job", org_id=None):
                session.add(
                    SystemEvent(
                        category="gateway",
                        severity=Severity.ERROR if row.due_paise < 0 else Severity.WARN,
                        message=f"The refund of invoice {row.number} was rejected: "
                        + (
                            f"return {money(min(made.amount_paise, -row.due_paise))} by bank"
                            if row.due_paise < 0
                            else "the payer's bank took it"
                        ),
                        context={"amount_paise": made.amount_paise, "invoice": str(row.public_id)},
                    )
                )
    session.commit()
    return made.status.value


def _ask(session: Session, receipt: InvoiceReceipt, made: InvoiceRefund, settings: Settings) -> RefundResult:
    gateway = open_gateway(settings, session, receipt.gateway or settings.gateway)
    if made.provider_refund_id:
        known = gateway.fetch_refund(made.provider_refund_id)
        if known is None:
            raise DomainError("GATEWAY_ERROR", reason="the provider does not know its refund")
        return known
    try:
        return gateway.refund(
            payment_id=receipt.provider_payment_id or "",
            amount_paise=made.amount_paise,
            key=f"invoice-refund-{made.public_id}",
        )
    except Refused as error:
        log.warning("invoice_refund_refused", refund=str(made.public_id), reason=error.reason)
        return RefundResult("", "failed")


def sweep(session: Session, settings: Settings) -> dict[str, int]:
    """Ask again after refunds of invoices that nobody answered for an hour. Wants job scope, commits."""
    done = {"settled": 0, "failed": 0}
    late = clock.now() - dt.timedelta(hours=1)
    ids = session.scalars(
        select(InvoiceRefund.public_id)
        .where(InvoiceRefund.status == InvoiceRefundStatus.PENDING, InvoiceRefund.created_at <= late)
        .order_by(InvoiceRefund.id)
        .limit(500)
    ).all()
    session.commit()
    for public_id in ids:
        try:
            done["settled"] += send(session, public_id, settings) == "SUCCEEDED"
        except Exception as error:
            session.rollback()
            log.warning("invoice_refund_sweep_failed", refund=str(public_id), error=type(error).__name__)
            done["failed"] += 1
    return done


def by_transfer(session: Session, row: Invoice, made: InvoiceRefund) -> int:
    """What of a refund our bank returns and whose reference is still to be entered, paise: all of one that never went
    through a provider; of a rejected one no more than the invoice holds too much."""
    if made.utr is not None or made.status == InvoiceRefundStatus.PENDING:
        return 0
    if made.status == InvoiceRefundStatus.SUCCEEDED:
        return made.amount_paise if made.provider_refund_id is None else 0
    return max(0, min(made.amount_paise, -row.due_paise - _promised(session, row)[0]))


def by_bank(session: Session, made: InvoiceRefund, utr: str) -> InvoiceRefund:
    """The reference of the transfer that returned money; a rejected gateway refund is settled by one. ADMIN.

    Of a rejected refund no more is returned than the invoice still holds too much: the payer's bank may have taken it.
    Raises INSUFFICIENT_ROLE, Invalid, ILLEGAL_TRANSITION, UTR_ALREADY_RECORDED.
    """
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    reference = one_line(utr or "").upper().replace(" ", "")
    if not 6 <= len(reference) <= 40 or not reference.isascii() or not reference.isalnum():
        raise Invalid({"utr": ["The bank's reference: 6 to 40 letters and digits."]})
    row = invoices.fresh(session, made.invoice_id, lock=True)
    session.refresh(made)
    back = by_transfer(session, row, made)
    if not back:
        raise DomainError("ILLEGAL_TRANSITION", status=made.status.value)
    taken = session.execute(
        update(InvoiceRefund)
        .where(
            InvoiceRefund.id == made.id,
            ~select(InvoiceRefund.id).where(InvoiceRefund.utr == reference).exists(),
        )
        .values(utr=reference)
        .returning(InvoiceRefund.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    if taken is None:
        raise DomainError("UTR_ALREADY_RECORDED", utr=reference)
    session.refresh(made)
    if made.status == InvoiceRefundStatus.FAILED:
        made.amount_paise = back
        _done(session, row, made)
    return made


# ---- by hand ---------------------------------------------------------------------------------------------------------


def create(session: Session, row: Invoice, items: Any, reason: str) -> CreditNote:
    """A note for lines that are no bookings: *items* [{line: position, amount_paise: taxable}]; none: everything left.

    Bookings are credited by refunding them. Raises Invalid, ILLEGAL_TRANSITION.
    """
    why = one_line(reason or "")
    if not 3 <= len(why) <= 300:
        raise Invalid({"reason": ["Say why, in 3 to 300 characters: it is printed on the credit note."]})
    row = invoices.fresh(session, row.id, lock=True)
    if row.status not in CREDITABLE or row.kind == InvoiceKind.STATEMENT:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)
    lines = {
        line.position: line
        for line in session.scalars(
            select(InvoiceLine)
            .where(InvoiceLine.invoice_id == row.id, InvoiceLine.kind != InvoiceLineKind.BOOKING)
            .order_by(InvoiceLine.position)
            .with_for_update()
        )
    }
    if items is None:
        wanted = {
            p: n.taxable_paise - n.credited_paise
            for p, n in lines.items()
            if n.taxable_paise > n.credited_paise
        }
    else:
        wanted = _wanted(items, lines)
    if not wanted:
        raise Invalid({"items": ["Nothing is left to credit. A booking is credited by refunding it."]})
    return write(session, row, [Part(lines[p], paise) for p, paise in sorted(wanted.items())], why)


def _wanted(items: Any, lines: dict[int, InvoiceLine]) -> dict[int, int]:
    problems: dict[str, list[str]] = {}
    wanted: dict[int, int] = {}
    for n, item in enumerate(items if isinstance(items, list) else []):
        position, paise = item.get("line"), item.get("amount_paise")
        line = lines.get(position) if isinstance(position, int) else None
        if line is None or position in wanted:
            problems[f"items.{n}.line"] = ["There is no such line, or it is a booking: refund that instead."]
        elif not isinstance(paise, int) or isinstance(paise, bool) or paise <= 0:
            problems[f"items.{n}.amount_paise"] = ["Enter an amount above zero."]
        elif paise > line.taxable_paise - line.credited_paise:
            problems[f"items.{n}.amount_paise"] = [
                f"Only {money(line.taxable_paise - line.credited_paise)} of this line is left to credit."
            ]
        else:
            wanted[position] = paise
    if problems:
        raise Invalid(problems)
    return wanted


# ---- refunds of bookings -----------------------------------------------------------------------------------------------


def of_refund(session: Session, refund: Refund, payment: Payment, paise: int) -> Sequence[ledger.Leg]:
    """The effect of refunding an accrual (2.8, table of legs): nothing more while it is unbilled; once invoiced a credit
    note, whose tax joins the REFUND posting: Dr GST_PAYABLE, Cr ORG_RECEIVABLE. One note a refund."""
    if payment.invoice_id is None:
        return ()
    known = session.scalar(select(CreditNote.id).where(CreditNote.refund_id == refund.id))
    if known is not None:  # base and overage of one booking share its line
        return ()
    row = invoices.fresh(session, payment.invoice_id, lock=True)
    line = _line_of(session, row, payment)
    if line is None:  # it was wholly refunded before it was billed
        return ()
    amount = min(refund.amount_paise - refund.gateway_paise, line.taxable_paise - line.credited_paise)
    if amount <= 0:
        return ()
    note = write(session, row, [Part(line, amount)], _why(refund), refund=refund)
    if not note.tax_paise:
        return ()
    return (
        ledger.debit(ledger.GST_PAYABLE, note.tax_paise),
        ledger.credit(ledger.org_account("ORG_RECEIVABLE", row.organization_id), note.tax_paise),
    )


def of_wallet_refund(session: Session, refund: Refund, payment: Payment, paise: int) -> Sequence[ledger.Leg]:
    """A wallet's booking that a monthly statement has told the tax of: a note corrects it and posts nothing, because the
    refund itself returns tax and price to the wallet."""
    if payment.invoice_id is None:
        return ()
    row = invoices.fresh(session, payment.invoice_id, lock=True)
    line = _line_of(session, row, payment)
    if line is None or row.kind != InvoiceKind.STATEMENT or not payment.amount_paise:
        return ()
    so_far = refund_spread.given_back(session, payment)  # this refund included: its cascade is claimed
    after = (2 * so_far * line.taxable_paise + payment.amount_paise) // (2 * payment.amount_paise)
    amount = min(after, line.taxable_paise) - line.credited_paise
    if amount > 0 and session.scalar(select(CreditNote.id).where(CreditNote.refund_id == refund.id)) is None:
        write(session, row, [Part(line, amount)], _why(refund), refund=refund)
    return ()


def _why(refund: Refund) -> str:
    return one_line(refund.reason)[:300] or "Refund"


def _line_of(session: Session, row: Invoice, payment: Payment) -> InvoiceLine | None:
    return session.scalars(
        select(InvoiceLine)
        .where(InvoiceLine.invoice_id == row.id, InvoiceLine.payment_id == payment.id)
        .with_for_update()
    ).one_or_none()


def confirm_itc(session: Session, note: CreditNote) -> CreditNote:
    """The recipient says that the input tax credit was reversed. Raises ILLEGAL_TRANSITION."""
    done = session.execute(
        update(CreditNote)
        .where(CreditNote.id == note.id, CreditNote.itc_reversal_status == ItcReversal.PENDING)
        .values(itc_reversal_status=ItcReversal.CONFIRMED)
        .returning(CreditNote.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    session.refresh(note)
    if done is None:
        raise DomainError("ILLEGAL_TRANSITION", status=note.itc_reversal_status.value)
    audit.record(
        session,
        AuditCategory.INVOICE,
        "CREDIT_NOTE_ITC_CONFIRMED",
        f"The input tax credit of credit note {note.number} was reversed",
        target_type="credit_note",
        target_id=note.public_id,
    )
    return note


def exempt(line: InvoiceLine) -> bool:
    """Whether a line carries no tax by law."""
    return line.treatment == TaxTreatment.EXEMPT


refund_spread.EFFECTS[LegSource.INVOICE_ACCRUAL] = of_refund
refund_spread.EFFECTS[LegSource.OVERAGE_INVOICE_ACCRUAL] = of_refund
refund_spread.EFFECTS[LegSource.WALLET] = of_wallet_refund
