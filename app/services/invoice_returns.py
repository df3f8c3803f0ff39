"""Money of invoices that went back without a credit note: a chargeback, or a refund made at the provider by hand
(chapter 2, 2.2 CHARGEBACK and INVOICE_REFUND, 2.8).

What went back is owed again. The invoice stays PAID, as 2.9 says, and asks for it: it is paid as before, by card or bank,
counts as outstanding, and a credit note settles it too (decision 0069).
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import clock
from app.models import (
    AuditCategory,
    Dispute,
    Invoice,
    InvoiceReceipt,
    InvoiceRefund,
    InvoiceRefundStatus,
)
from app.security.context import acting
from app.services import audit, invoice_notices, invoices, ledger
from app.services.text import money


def lock(session: Session, receipt: InvoiceReceipt) -> Invoice:
    """Lock and reread a receipt behind its invoice, for the organisation acted for: whatever takes of it queues here."""
    row = invoices.fresh(session, receipt.invoice_id, lock=True)
    session.refresh(receipt, with_for_update=True)
    return row


def at_provider(session: Session, receipt: InvoiceReceipt) -> int:
    """What the provider still holds of a receipt, paise: less refunds through it, done or under way, and lost disputes.

    A transfer that our bank sent back instead of a rejected refund has left the provider's books alone.
    """
    sent = session.scalar(
        select(func.coalesce(func.sum(InvoiceRefund.amount_paise), 0)).where(
            InvoiceRefund.receipt_id == receipt.id,
            InvoiceRefund.status.in_((InvoiceRefundStatus.PENDING, InvoiceRefundStatus.SUCCEEDED)),
            InvoiceRefund.utr.is_(None),
        )
    )
    with acting(session, scope="job", org_id=None):
        lost = session.scalar(
            select(func.coalesce(func.sum(Dispute.posted_paise), 0)).where(
                Dispute.provider_payment_id == receipt.provider_payment_id
            )
        )
    return receipt.amount_paise - int(sent or 0) - int(lost or 0)


def charged_back(session: Session, receipt: InvoiceReceipt, key: str, paise: int) -> None:
    """CHARGEBACK: Dr ORG_RECEIVABLE, Cr CASH. The receipt is locked."""
    row = _went(session, receipt, key, "CHARGEBACK", paise)
    _tell(session, row, "INVOICE_CHARGED_BACK", paise, "was taken back by the payer's bank")


def by_hand(session: Session, receipt: InvoiceReceipt, provider_refund_id: str, paise: int) -> InvoiceRefund:
    """INVOICE_REFUND of what somebody returned at the provider; written down as a refund. The receipt is locked."""
    made = InvoiceRefund(
        organization_id=receipt.organization_id,
        invoice_id=receipt.invoice_id,
        receipt_id=receipt.id,
        refund_key=provider_refund_id,
        amount_paise=paise,
        status=InvoiceRefundStatus.SUCCEEDED,
        provider_refund_id=provider_refund_id,
        succeeded_at=clock.now(),
    )
    session.add(made)
    session.flush()
    row = _went(session, receipt, f"invoice-refund:{provider_refund_id}", "INVOICE_REFUND", paise)
    _tell(session, row, "INVOICE_RETURNED", paise, "was returned at the payment provider")
    return made


def _went(session: Session, receipt: InvoiceReceipt, key: str, kind: str, paise: int) -> Invoice:
    row = invoices.fresh(session, receipt.invoice_id, lock=True)
    receipt.refunded_paise = min(receipt.amount_paise, receipt.refunded_paise + paise)
    row.refunded_paise += paise
    row.gateway_order_id = row.gateway_order_paise = row.checkout_url = None  # it was paid: another is made
    ledger.post(
        session,
        key,
        kind,
        [
            ledger.debit(ledger.org_account("ORG_RECEIVABLE", row.organization_id), paise),
            ledger.credit(ledger.CASH, paise),
        ],
        organization_id=row.organization_id,
        description=f"Returned of invoice {row.number}",
        invoice_id=str(row.public_id),
        receipt_id=str(receipt.public_id),
    )
    return row


def _tell(session: Session, row: Invoice, action: str, paise: int, happened: str) -> None:
    audit.record(
        session,
        AuditCategory.INVOICE,
        action,
        f"{money(paise)} of invoice {row.number} {happened}",
        target_type="invoice",
        target_id=row.public_id,
        amount_paise=paise,
        due_paise=max(row.due_paise, 0),
    )
    invoice_notices.went_back(session, row, paise, happened)
