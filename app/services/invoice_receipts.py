"""Money for invoices: by the gateway, for the exact amount, or by bank, recorded by ADMIN with its UTR (chapter 2, 2.9).

INVOICE_PAID is posted per receipt, and each has a number of its own series (``ACME-RC-26-0001``) and a document. What settles an invoice also charges its overages, earns the account's trust and opens
what dunning had closed, in the same transaction.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock, faults
from app.errors import DomainError, Invalid
from app.gateways import Event, open_gateway
from app.models import (
    AuditCategory,
    BillingAccount,
    Invoice,
    InvoiceKind,
    InvoiceReceipt,
    InvoiceStatus,
    Organization,
    ReceiptMethod,
    User,
)
from app.security.context import acting, ctx
from app.services import (
    accruals,
    audit,
    invoice_notices,
    invoice_void,
    invoices,
    ledger,
    numbering,
    outbox,
    unapplied,
)
from app.services.text import money, one_line
from config import Settings

PAYABLE = (InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE)
_PLAIN: dict[str, Any] = {"synchronize_session": False}


# ---- by the gateway --------------------------------------------------------------------------------------------------


def pay(session: Session, row: Invoice, settings: Settings) -> Invoice:
    """The provider's order for what is due: one, reused until the amount changes. The row carries the page's address.

    Raises INVOICE_NOT_PAYABLE, the gateway's codes.
    """
    row = invoices.fresh(session, row.id, lock=True)
    if not accruals.owed(row):
        raise DomainError("INVOICE_NOT_PAYABLE", status=row.status.value)
    if (
        row.gateway_order_id is not None
        and row.gateway_order_paise == row.due_paise
        and row.gateway == settings.gateway
    ):
        return row
    org = session.get_one(Organization, row.organization_id)
    sequence = row.gateway_order_seq + 1
    order = open_gateway(settings, session).create_order(
        receipt=f"{row.public_id.hex}-{sequence}",
        amount_paise=row.due_paise,
        notes=_notes(session, row, org),
        description=f"Invoice {row.number}",
        return_url=f"{settings.base_url}/dashboard/organization/{org.slug}/invoices/{row.public_id}",
    )
    row.gateway, row.gateway_order_id = settings.gateway, order.order_id
    row.gateway_order_paise, row.gateway_order_seq = row.due_paise, sequence
    row.checkout_url = order.checkout_url
    session.flush()
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_PAYMENT_INITIATED",
        f"Paying {money(row.due_paise)} for invoice {row.number} was started",
        target_type="invoice",
        target_id=row.public_id,
        amount_paise=row.due_paise,
    )
    return row


def arriving(session: Session, row: Invoice, settings: Settings) -> bool:
    """Whether the provider has the money of the invoice's order while its webhook has not settled the invoice yet. False
    where the provider does not answer: then nothing is known."""
    if not accruals.owed(row) or not row.gateway_order_id or row.gateway_order_paise != row.due_paise:
        return False
    try:
        order = open_gateway(settings, session, row.gateway).fetch_order(row.gateway_order_id)
    except DomainError:
        return False
    return order is not None and order.status == "paid"


def _notes(session: Session, row: Invoice, org: Organization) -> dict[str, str]:
    """What the provider keeps beside the order (2.7): public ids only, compared when money arrives."""
    return {
        "type": "invoice_payment",
        "invoice_id": str(row.public_id),
        "organization_id": str(org.public_id),
        "user_id": str(session.scalar(select(User.public_id).where(User.id == (ctx().user_id or 0))) or ""),
        "funding_source": str(
            session.scalar(
                select(BillingAccount.funding_source).where(BillingAccount.id == row.billing_account_id)
            )
        ),
    }


def captured(session: Session, event: Event, gateway: str) -> str:
    """Apply a ``payment.captured`` of an invoice: settled, repeated or unapplied. Wants job scope and commits.

    Only the exact amount that the order asked for, still due, settles; everything else goes to UNAPPLIED and back.
    """
    known = select(InvoiceReceipt.id).where(InvoiceReceipt.provider_payment_id == event.payment_id)
    if session.scalar(known) is not None:  # also of an order that was replaced since
        return "repeated"
    found = session.execute(
        select(Invoice.id, Invoice.organization_id).where(Invoice.gateway_order_id == event.order_id)
    ).one_or_none()
    if found is None or not event.payment_id or event.amount_paise is None:
        owner = _of_notes(session, event)
        unapplied.receive(
            session, gateway, event.payment_id or "", event.amount_paise or 0, "UNKNOWN_ORDER", owner
        )
        session.commit()
        return "unapplied"
    with acting(session, scope="org", org_id=found.organization_id, user_id=None, role=None):
        row = invoices.fresh(session, found.id, lock=True)
        problem = _problem(session, row, event)
        if problem == "repeated":
            session.rollback()
            return problem
        if not problem:
            settle(
                session,
                row,
                InvoiceReceipt(
                    method=ReceiptMethod.GATEWAY,
                    amount_paise=event.amount_paise,
                    gateway=gateway,
                    provider_payment_id=event.payment_id,
                    received_on=clock.today_ist(),
                ),
            )
    if problem:
        unapplied.receive(
            session, gateway, event.payment_id, event.amount_paise, problem, found.organization_id
        )
        session.commit()
        return "unapplied"
    faults.trip("invoice_captured")
    session.commit()
    return "settled"


def _of_notes(session: Session, event: Event) -> int | None:
    """The organisation that the notes of a replaced order name."""
    try:
        key = uuid.UUID(str(event.notes.get("organization_id", "")))
    except ValueError:
        return None
    return session.scalar(select(Organization.id).where(Organization.public_id == key))


def _problem(session: Session, row: Invoice, event: Event) -> str:
    known = select(InvoiceReceipt.id).where(InvoiceReceipt.provider_payment_id == event.payment_id)
    if session.scalar(known) is not None:
        return "repeated"
    org = session.get_one(Organization, row.organization_id)
    expected = _notes(session, row, org)
    expected.pop("user_id")  # whoever opened the page first
    differing = [name for name, value in expected.items() if event.notes.get(name) != value]
    if differing:
        return "ORG_MISMATCH" if "organization_id" in differing else "NOTES_MISMATCH"
    if not accruals.owed(row):
        return "PAID_TWICE" if row.status == InvoiceStatus.PAID else "INVOICE_NOT_PAYABLE"
    exact = event.amount_paise == row.gateway_order_paise == row.due_paise
    return "" if exact else "AMOUNT_MISMATCH"


# ---- by bank ---------------------------------------------------------------------------------------------------------


def record_bank(
    session: Session, row: Invoice, amount_paise: int, utr: str, received_on: dt.date, note: str = ""
) -> InvoiceReceipt:
    """A transfer that arrived, as ADMIN read it from the bank statement; part of what is due is allowed.

    Raises INSUFFICIENT_ROLE, Invalid, INVOICE_NOT_PAYABLE, UTR_ALREADY_RECORDED.
    """
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    reference = one_line(utr or "").upper().replace(" ", "")
    problems: dict[str, list[str]] = {}
    if not 6 <= len(reference) <= 40 or not reference.isascii() or not reference.isalnum():
        problems["utr"] = ["The bank's reference: 6 to 40 letters and digits."]
    if not isinstance(amount_paise, int) or isinstance(amount_paise, bool) or amount_paise <= 0:
        problems["amount_paise"] = ["Enter an amount above zero."]
    if received_on > clock.today_ist():
        problems["received_on"] = ["This day has not come yet."]
    if problems:
        raise Invalid(problems)
    row = invoices.fresh(session, row.id, lock=True)
    if not accruals.owed(row):
        raise DomainError("INVOICE_NOT_PAYABLE", status=row.status.value)
    if amount_paise > row.due_paise:
        raise Invalid(
            {"amount_paise": [f"Only {money(row.due_paise)} is due. Return the rest to the payer."]}
        )
    receipt = InvoiceReceipt(
        method=ReceiptMethod.BANK,
        amount_paise=amount_paise,
        utr=reference,
        received_on=received_on,
        note=one_line(note)[:300],
        recorded_by_user_id=ctx().user_id,
    )
    try:
        with session.begin_nested():
            _enter(session, row, receipt)
    except IntegrityError:
        raise DomainError("UTR_ALREADY_RECORDED", utr=reference) from None
    settle(session, row, receipt)
    return receipt


# ---- both ------------------------------------------------------------------------------------------------------------


def settle(session: Session, row: Invoice, receipt: InvoiceReceipt) -> None:
    """Book *receipt* on the locked invoice: posted, counted, and PAID when nothing is left. Acts for the organisation.

    An invoice that was PAID before its money was taken back stays PAID.
    """
    if receipt.id is None:
        _enter(session, row, receipt)
    row.paid_paise += receipt.amount_paise
    session.flush()
    ledger.post(
        session,
        f"invoicepaid:{receipt.public_id}",
        "INVOICE_PAID",
        [
            ledger.debit(ledger.CASH, receipt.amount_paise),
            ledger.credit(ledger.org_account("ORG_RECEIVABLE", row.organization_id), receipt.amount_paise),
        ],
        organization_id=row.organization_id,
        description=f"Invoice {row.number}",
        invoice_id=str(row.public_id),
        receipt_id=str(receipt.public_id),
    )
    settled = row.due_paise <= 0
    audit.record(
        session,
        AuditCategory.INVOICE,
        "INVOICE_PAID" if settled else "INVOICE_PART_PAID",
        f"{money(receipt.amount_paise)} arrived for invoice {row.number}",
        target_type="invoice",
        target_id=row.public_id,
        amount_paise=receipt.amount_paise,
        receipt=receipt.number,
        method=receipt.method.value,
        reference=receipt.utr or receipt.provider_payment_id,
    )
    if settled and row.status in PAYABLE:
        close(session, row, payment_id=str(receipt.public_id))
    invoice_notices.paid(session, row, receipt, settled=settled)


def _enter(session: Session, row: Invoice, receipt: InvoiceReceipt) -> None:
    """Insert *receipt* of the locked invoice with the next number of its series."""
    number = numbering.take(session, numbering.RECEIPT)
    receipt.organization_id, receipt.invoice_id = row.organization_id, row.id
    receipt.number, receipt.fiscal_year, receipt.sequence = number.text, number.fiscal_year, number.sequence
    receipt.due_after_paise = max(row.due_paise - receipt.amount_paise, 0)
    session.add(receipt)
    session.flush()


def close(session: Session, row: Invoice, *, payment_id: str) -> None:
    """Nothing is due any more: PAID, with everything that hangs on it."""
    now = clock.now()
    invoices.move(session, row, InvoiceStatus.PAID, *PAYABLE, paid_at=now)
    invoice_void.overages(session, row, "ACCRUED", "CHARGED")
    if row.paid_paise and row.kind != InvoiceKind.STATEMENT:
        session.execute(
            update(BillingAccount)
            .where(
                BillingAccount.id == row.billing_account_id, BillingAccount.first_invoice_paid_at.is_(None)
            )
            .values(first_invoice_paid_at=now)
            .execution_options(**_PLAIN)
        )
    restore(session, row)
    outbox.event(
        session,
        "invoice.paid",
        invoice_id=str(row.public_id),
        invoice_number=row.number,
        total_paise=row.total_paise,
        display_currency=row.currency.value,
        due_date=str(row.due_date),
        paid_paise=row.paid_paise,
        payment_id=payment_id,
        settled_at=now.isoformat(),
    )


def restore(session: Session, row: Invoice) -> None:
    """Open what dunning closed once no invoice is left that has had its three reminders."""
    left = exists().where(
        Invoice.organization_id == row.organization_id,
        Invoice.status == InvoiceStatus.OVERDUE,
        Invoice.reminders_sent >= 3,
    )
    done = session.execute(
        update(BillingAccount)
        .where(
            BillingAccount.id == row.billing_account_id,
            BillingAccount.dunning_suspended_at.is_not(None),
            ~left,
        )
        .values(dunning_suspended_at=None)
        .returning(BillingAccount.id)
        .execution_options(**_PLAIN)
    ).scalar()
    if done is not None:
        audit.record(
            session,
            AuditCategory.INVOICE,
            "INVOICE_DUNNING_RESTORED",
            "Bookings on account are open again: overdue invoices are paid",
            target_type="invoice",
            target_id=row.public_id,
        )
        invoice_notices.restored(session, row)
