"""Invoices taken back whole, and billed again (chapter 2, 2.9); what their bookings and overages become."""

from __future__ import annotations

from sqlalchemy import exists, select, text
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    EInvoice,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceLineKind,
    InvoiceStatus,
    IrpStatus,
)
from app.security.context import ctx
from app.services import (
    audit,
    einvoice_rules,
    invoice_issue,
    invoice_notices,
    invoice_sums,
    invoices,
    ledger,
    outbox,
)
from app.services.invoice_facts import Supplier, assess
from app.services.text import money, one_line


def by_contract(session: Session, row: Invoice) -> bool:
    """Whether it charges a licence or a commitment: no roll-up bills those again."""
    kinds = (InvoiceLineKind.LICENSE, InvoiceLineKind.COMMITMENT)
    lines = exists().where(InvoiceLine.invoice_id == row.id, InvoiceLine.kind.in_(kinds))
    return bool(session.scalar(select(lines)))


def voidable(session: Session, row: Invoice) -> Invoice:
    """*row* locked, if who acts may void it now: asked before anything outside is told. Raises ILLEGAL_TRANSITION,
    INSUFFICIENT_ROLE."""
    # payments before the invoice, as refunds lock them
    session.execute(
        text("SELECT count(*) FROM (SELECT id FROM payment WHERE invoice_id = :inv FOR UPDATE) p"),
        {"inv": row.id},
    )
    row = invoices.fresh(session, row.id, lock=True)
    if row.status not in invoices.OPEN or row.paid_paise or row.credited_paise:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value, paid_paise=row.paid_paise)
    if row.status == InvoiceStatus.OVERDUE and not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE", message="Only the platform voids an invoice that is past due.")
    if not ctx().is_admin and by_contract(session, row):
        raise DomainError("INSUFFICIENT_ROLE", message="Only the platform voids what it charges by contract.")
    return row


def void(session: Session, row: Invoice, reason: str) -> Invoice:
    """ISSUED or OVERDUE, nothing paid or credited → VOID: posted back, the order restored, bookings billable again.

    A registered e-invoice is cancelled at the portal first (``einvoices.cancel``), within its 24 hours. An OVERDUE one is
    ADMIN's to void: nobody ends dunning by billing themselves anew. So is one with a licence or a commitment, which no
    roll-up bills again. Raises Invalid, ILLEGAL_TRANSITION, INSUFFICIENT_ROLE, IRP_CANCEL_FIRST.
    """
    why = one_line(reason or "")
    if not 3 <= len(why) <= 300:
        raise Invalid(
            {"reason": ["Say why, in 3 to 300 characters: it is printed on the document's record."]}
        )
    row = voidable(session, row)
    registered = session.scalars(select(EInvoice).where(EInvoice.invoice_id == row.id)).one_or_none()
    if registered is not None and registered.irp_status == IrpStatus.REGISTERED:
        raise DomainError("IRP_CANCEL_FIRST")
    invoices.move(session, row, InvoiceStatus.VOID, *invoices.OPEN, closed_at=clock.now(), close_reason=why)
    legs = [
        ledger.Leg(leg.code, "C" if leg.side == "D" else "D", leg.paise)
        for leg in invoice_issue.issue_legs(session, row)
    ]
    if legs:
        ledger.post(
            session,
            f"invoice-void:{row.public_id}",
            "INVOICE_VOID",
            legs,
            organization_id=row.organization_id,
            description=f"Void: invoice {row.number}",
            invoice_id=str(row.public_id),
        )
    invoice_sums.give_back(session, row)
    release(session, row)
    einvoice_rules.drop(session, row)
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_VOIDED",
        f"Invoice {row.number} was voided: {why}",
        target_type="invoice",
        target_id=row.public_id,
        total_paise=row.total_paise,
        reason=why,
    )
    outbox.event(
        session,
        "invoice.voided",
        invoice_id=str(row.public_id),
        invoice_number=row.number,
        total_paise=row.total_paise,
        reason=why,
    )
    invoice_notices.voided(session, row)
    return row


def again(session: Session, row: Invoice) -> Invoice | None:
    """The invoice that bills the void *row* again, a draft or issued; None where there is none that stands."""
    return session.scalars(
        select(Invoice)
        .where(
            Invoice.facts["again_of"].astext == str(row.public_id),
            Invoice.status.not_in((InvoiceStatus.VOID, InvoiceStatus.CANCELLED)),
        )
        .limit(1)
    ).one_or_none()


def rebill(session: Session, row: Invoice, by: Supplier) -> Invoice:
    """A draft with the lines of a VOID invoice that are no bookings, to be put right and issued again.

    Bookings come back with the next roll-up. Raises ILLEGAL_TRANSITION (also for one that is billed again already),
    NOTHING_TO_BILL.
    """
    row = invoices.fresh(session, row.id, lock=True)
    if row.status != InvoiceStatus.VOID:
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)
    copy = again(session, row)
    if copy is not None:
        raise DomainError(
            "ILLEGAL_TRANSITION", message=f"It is billed again already: {copy.number or 'a draft'}."
        )
    old = session.scalars(
        select(InvoiceLine)
        .where(InvoiceLine.invoice_id == row.id, InvoiceLine.kind != InvoiceLineKind.BOOKING)
        .order_by(InvoiceLine.position)
    ).all()
    if not old:
        raise DomainError("NOTHING_TO_BILL")
    copied = ("billing_account_id", "currency", "fx_rate_micros", "fx_rate_on", "note", "reverse_charge")
    made = Invoice(
        kind=InvoiceKind.MANUAL if row.kind == InvoiceKind.ROLL_UP else row.kind,
        status=InvoiceStatus.DRAFT,
        contract_id=row.contract_id,
        subscription_id=row.subscription_id,
        period_start=row.period_start,
        period_end=row.period_end,
        facts={"round_total": bool(row.facts.get("round_total")), "again_of": str(row.public_id)},
        created_by_user_id=ctx().user_id,
        **{name: getattr(row, name) for name in copied},
    )
    session.add(made)
    session.flush()
    kept = (
        *("kind", "description", "detail", "supplied_on", "sac", "quantity", "unit_paise", "discount_paise"),
        *("taxable_paise", "fc_amount", "treatment", "rate_bps"),
    )
    for position, line in enumerate(old, 1):
        session.add(
            InvoiceLine(
                organization_id=row.organization_id,
                invoice_id=made.id,
                position=position,
                total_paise=line.taxable_paise,
                **{name: getattr(line, name) for name in kept},
            )
        )
    session.flush()
    invoice_sums.assessed(
        session, made, assess(session, by, clock.today_ist(), reverse_charge=made.reverse_charge)
    )
    made.purchase_order_id = row.purchase_order_id
    try:
        with session.begin_nested():
            invoice_sums.draw(session, made)
    except DomainError as error:
        if not error.code.startswith("PO_"):
            raise
        session.refresh(made)
        made.purchase_order_id = None  # used up or closed meanwhile: chosen again before it is issued
        session.flush()
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_GENERATED",
        f"Void invoice {row.number} was copied to a draft of {money(made.total_paise)}",
        target_type="invoice",
        target_id=made.public_id,
        total_paise=made.total_paise,
    )
    return made


def release(session: Session, row: Invoice) -> None:
    """Bookings and overages of *row* wait to be billed again; so do the cycles it charged for."""
    values = {"inv": row.id, "org": row.organization_id}
    session.execute(
        text(
            "UPDATE overage_event o SET charge_status = 'PENDING' FROM payment p WHERE p.invoice_id = :inv "
            "AND o.payment_id = p.id AND o.charge_to = 'ORGANIZATION' AND o.charge_status = 'ACCRUED'"
        ),
        values,
    )
    session.execute(text("UPDATE payment SET invoice_id = NULL WHERE invoice_id = :inv"), values)


def overages(session: Session, row: Invoice, before: str, after: str) -> None:
    """Move the organisation's overages of an invoice's bookings, set-based (2.5: PENDING→ACCRUED→CHARGED)."""
    session.execute(
        text(
            "UPDATE overage_event o SET charge_status = :after, charged_at = CAST(:at AS timestamptz) FROM payment p "
            "WHERE p.invoice_id = :inv AND o.payment_id = p.id AND o.charge_to = 'ORGANIZATION' "
            "AND o.charge_status = :before"
        ),
        {"inv": row.id, "before": before, "after": after, "at": clock.now() if after == "CHARGED" else None},
    )
