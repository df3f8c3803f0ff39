"""Invoices, their lines, money received for them, credit notes, vouchers, e-invoices (chapter 2, 2.9; chapter 4).

All ``*_paise`` are rupees; a document in another currency carries its own amounts beside them (``fc_*``, hundredths).
Triggers (migrations/sql/invoices.sql) freeze a document at issue and compare its totals with its lines.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship, remote

from .base import Instant, Model, Paise, Tenant, choice, tenant_fk, tenant_key
from .enums import (
    CreditNoteKind,
    Currency,
    DocumentNature,
    InvoiceKind,
    InvoiceLineKind,
    InvoiceRefundStatus,
    InvoiceStatus,
    IrpStatus,
    ItcReversal,
    ReceiptMethod,
    SupplyType,
    TaxTreatment,
    VoucherKind,
)
from .purchasing import PurchaseOrder

NUMBER = "^[A-Z1-9][A-Z0-9/-]{0,15}$"


def _zero() -> Any:
    return mapped_column(BigInteger, default=0, server_default="0")


class BillingProfile(Tenant, Model):
    """Who documents are made out to: legal name and address, and what the recipient's registration does not say."""

    __tablename__ = "billing_profile"

    legal_name: Mapped[str] = mapped_column(String(100), default="", server_default="")
    address_line1: Mapped[str] = mapped_column(String(100), default="", server_default="")
    address_line2: Mapped[str] = mapped_column(String(100), default="", server_default="")
    city: Mapped[str] = mapped_column(String(50), default="", server_default="")
    pin_code: Mapped[str | None] = mapped_column(String(10))
    country_code: Mapped[str] = mapped_column(String(2), default="IN", server_default="IN")
    authorised_operations: Mapped[bool] = mapped_column(Boolean, default=True, server_default="true")
    round_totals: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")

    __table_args__ = (
        tenant_key("billing_profile"),
        UniqueConstraint("organization_id", name="uq_billing_profile_org"),
        CheckConstraint("country_code ~ '^[A-Z]{2}$'", name="ck_billing_profile_country"),
        CheckConstraint(
            "country_code <> 'IN' OR pin_code IS NULL OR pin_code ~ '^[1-9][0-9]{5}$'",
            name="ck_billing_profile_pin",
        ),
    )


class DocumentCounter(Tenant, Model):
    """The last number of a series in a financial year. Its row is locked from allocation to commit: no gaps."""

    __tablename__ = "document_counter"

    series: Mapped[str] = mapped_column(String(3))  # of numbering.py: INV, CN, RC, RV, RF
    fiscal_year: Mapped[int] = mapped_column(Integer)  # the year it begins in: 2026 is 2026-27
    last_number: Mapped[int] = mapped_column(Integer, default=0, server_default="0")

    __table_args__ = (
        UniqueConstraint("organization_id", "series", "fiscal_year", name="uq_document_counter"),
        CheckConstraint("last_number >= 0", name="ck_document_counter"),
    )


class Invoice(Tenant, Model):
    """What an organisation owes: rolled up from bookings, a licence's fee, or written by hand."""

    __tablename__ = "invoice"

    billing_account_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[InvoiceKind] = choice(InvoiceKind)
    status: Mapped[InvoiceStatus] = choice(InvoiceStatus, default=InvoiceStatus.DRAFT)
    nature: Mapped[DocumentNature] = choice(DocumentNature, default=DocumentNature.TAX_INVOICE)
    number: Mapped[str | None] = mapped_column(String(16))
    fiscal_year: Mapped[int | None] = mapped_column(Integer)
    sequence: Mapped[int | None] = mapped_column(Integer)
    issue_date: Mapped[dt.date | None] = mapped_column(Date)
    due_date: Mapped[dt.date | None] = mapped_column(Date)
    period_start: Mapped[dt.date | None] = mapped_column(Date)
    period_end: Mapped[dt.date | None] = mapped_column(Date)
    purchase_order_id: Mapped[int | None] = mapped_column(BigInteger)
    contract_id: Mapped[int | None] = mapped_column(BigInteger)
    subscription_id: Mapped[int | None] = mapped_column(BigInteger)
    drawn_hundredths: Mapped[int] = _zero()  # taken from the purchase order, in its currency
    note: Mapped[str] = mapped_column(Text, default="", server_default="")

    currency: Mapped[Currency] = choice(Currency, default=Currency.INR, check="invoice_currency")
    fx_rate_micros: Mapped[int | None] = mapped_column(BigInteger)
    fx_rate_on: Mapped[dt.date | None] = mapped_column(Date)
    fc_total: Mapped[int | None] = mapped_column(BigInteger)
    line_count: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    subtotal_paise: Mapped[int] = _zero()
    exempt_paise: Mapped[int] = _zero()  # part of the subtotal
    booking_paise: Mapped[int] = _zero()  # part of the subtotal that bookings have put into the receivable
    cgst_paise: Mapped[int] = _zero()
    sgst_paise: Mapped[int] = _zero()
    utgst_paise: Mapped[int] = _zero()
    igst_paise: Mapped[int] = _zero()
    tax_paise: Mapped[int] = _zero()
    round_off_paise: Mapped[int] = _zero()
    total_paise: Mapped[int] = _zero()
    credited_paise: Mapped[int] = _zero()
    paid_paise: Mapped[int] = _zero()
    refunded_paise: Mapped[int] = _zero()

    supply_type: Mapped[SupplyType] = choice(SupplyType, default=SupplyType.B2B)
    place_of_supply: Mapped[str | None] = mapped_column(String(2))
    reverse_charge: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    lut_number: Mapped[str | None] = mapped_column(String(40))
    gstin: Mapped[str | None] = mapped_column(String(15))  # the recipient's
    supplier_gstin: Mapped[str | None] = mapped_column(String(15))
    hsn_code: Mapped[str] = mapped_column(String(8), default="999293", server_default="999293")
    tax_rate_bps: Mapped[int] = mapped_column(Integer, default=1800, server_default="1800")
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")  # as printed

    issued_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    overdue_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    paid_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    closed_at: Mapped[dt.datetime | None] = mapped_column(
        DateTime(timezone=True)
    )  # VOID, CANCELLED, REFUNDED
    close_reason: Mapped[str] = mapped_column(String(300), default="", server_default="")
    sent_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    reminders_sent: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    last_reminder_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    gateway: Mapped[str | None] = mapped_column(String(20))
    gateway_order_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    gateway_order_paise: Mapped[int | None] = mapped_column(BigInteger)
    gateway_order_seq: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    checkout_url: Mapped[str | None] = mapped_column(Text)

    purchase_order: Mapped[PurchaseOrder | None] = relationship(
        primaryjoin=lambda: foreign(Invoice.purchase_order_id) == remote(PurchaseOrder.id),
        lazy="raise",
        viewonly=True,
    )

    __table_args__ = (
        tenant_key("invoice"),
        tenant_fk("invoice", "billing_account_id", "billing_account"),
        tenant_fk("invoice", "purchase_order_id", "purchase_order"),
        tenant_fk("invoice", "contract_id", "contract"),
        tenant_fk("invoice", "subscription_id", "billing_subscription"),
        CheckConstraint(f"number IS NULL OR number ~ '{NUMBER}'", name="ck_invoice_number"),
        CheckConstraint(
            "(status IN ('DRAFT','CANCELLED')) = (number IS NULL) AND (number IS NULL) = (issued_at IS NULL) "
            "AND (number IS NULL) = (issue_date IS NULL) AND (number IS NULL) = (sequence IS NULL)",
            name="ck_invoice_issued",
        ),
        CheckConstraint(
            "tax_paise = cgst_paise + sgst_paise + utgst_paise + igst_paise AND "
            "total_paise = subtotal_paise + tax_paise + round_off_paise",
            name="ck_invoice_sum",
        ),
        CheckConstraint(
            "subtotal_paise >= 0 AND cgst_paise >= 0 AND sgst_paise >= 0 AND utgst_paise >= 0 AND igst_paise >= 0 "
            "AND total_paise >= 0 AND exempt_paise BETWEEN 0 AND subtotal_paise "
            "AND booking_paise BETWEEN 0 AND subtotal_paise",
            name="ck_invoice_positive",
        ),
        CheckConstraint(
            "round_off_paise BETWEEN -99 AND 99 OR kind = 'STATEMENT'", name="ck_invoice_round_off"
        ),
        CheckConstraint(
            "igst_paise = 0 OR (cgst_paise = 0 AND sgst_paise = 0 AND utgst_paise = 0)",
            name="ck_invoice_heads",
        ),
        CheckConstraint(
            "paid_paise >= 0 AND refunded_paise >= 0 AND paid_paise - refunded_paise <= total_paise "
            "AND credited_paise BETWEEN 0 AND total_paise",
            name="ck_invoice_settled",
        ),
        CheckConstraint("drawn_hundredths >= 0 AND line_count >= 0", name="ck_invoice_counts"),
        CheckConstraint("(currency = 'INR') = (fx_rate_micros IS NULL)", name="ck_invoice_fx"),
        CheckConstraint("char_length(note) <= 2000", name="ck_invoice_note"),
        CheckConstraint("place_of_supply IS NULL OR place_of_supply ~ '^[0-9]{2}$'", name="ck_invoice_pos"),
        UniqueConstraint("supplier_gstin", "fiscal_year", "number", name="uq_invoice_number"),
        UniqueConstraint("organization_id", "fiscal_year", "sequence", name="uq_invoice_sequence"),
        Index("ix_invoice_list", "organization_id", "created_at", "id"),
        Index("ix_invoice_status", "organization_id", "status", "due_date"),
        Index("ix_invoice_due", "due_date", "id", postgresql_where=text("status IN ('ISSUED','OVERDUE')")),
        Index(
            "uq_invoice_cycle",
            "organization_id",
            "subscription_id",
            "period_start",
            unique=True,
            postgresql_where=text("subscription_id IS NOT NULL AND status NOT IN ('VOID','CANCELLED')"),
        ),
        Index("ix_invoice_po", "purchase_order_id", postgresql_where=text("purchase_order_id IS NOT NULL")),
    )

    @property
    def due_paise(self) -> int:
        """What is still to be paid: total less credit notes less money received."""
        return self.total_paise - self.credited_paise - self.paid_paise + self.refunded_paise

    def __repr__(self) -> str:
        return self.number or "Draft invoice"


class InvoiceLine(Tenant, Model):
    """One line with its tax by head. Quantities are whole; *credited* only grows, by credit notes."""

    __tablename__ = "invoice_line"

    invoice_id: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int] = mapped_column(Integer)
    kind: Mapped[InvoiceLineKind] = choice(InvoiceLineKind)
    payment_id: Mapped[int | None] = mapped_column(BigInteger)
    description: Mapped[str] = mapped_column(String(300))
    detail: Mapped[str] = mapped_column(String(300), default="", server_default="")
    supplied_on: Mapped[dt.date | None] = mapped_column(Date)
    sac: Mapped[str] = mapped_column(String(8))
    quantity: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    unit_paise: Mapped[Paise]
    discount_paise: Mapped[int] = _zero()
    taxable_paise: Mapped[Paise]
    fc_amount: Mapped[int | None] = mapped_column(BigInteger)
    treatment: Mapped[TaxTreatment] = choice(TaxTreatment, default=TaxTreatment.TAXABLE)
    rate_bps: Mapped[int] = mapped_column(Integer)
    cgst_paise: Mapped[int] = _zero()
    sgst_paise: Mapped[int] = _zero()
    utgst_paise: Mapped[int] = _zero()
    igst_paise: Mapped[int] = _zero()
    total_paise: Mapped[Paise]
    credited_paise: Mapped[int] = _zero()  # taxable value that credit notes have taken back

    __table_args__ = (
        tenant_key("invoice_line"),
        tenant_fk("invoice_line", "invoice_id", "invoice"),
        tenant_fk("invoice_line", "payment_id", "payment"),
        UniqueConstraint("invoice_id", "position", name="uq_invoice_line_position"),
        UniqueConstraint("invoice_id", "payment_id", name="uq_invoice_line_payment"),
        CheckConstraint("quantity BETWEEN 1 AND 1000000", name="ck_invoice_line_quantity"),
        CheckConstraint(
            "taxable_paise = unit_paise * quantity - discount_paise", name="ck_invoice_line_value"
        ),
        CheckConstraint(
            "unit_paise >= 0 AND discount_paise >= 0 AND taxable_paise >= 0", name="ck_invoice_line_positive"
        ),
        CheckConstraint(
            "total_paise = taxable_paise + cgst_paise + sgst_paise + utgst_paise + igst_paise",
            name="ck_invoice_line_sum",
        ),
        CheckConstraint("rate_bps BETWEEN 0 AND 10000", name="ck_invoice_line_rate"),
        CheckConstraint("credited_paise BETWEEN 0 AND taxable_paise", name="ck_invoice_line_credited"),
        CheckConstraint("(kind = 'BOOKING') = (payment_id IS NOT NULL)", name="ck_invoice_line_payment"),
        Index("ix_invoice_line_payment", "payment_id", postgresql_where=text("payment_id IS NOT NULL")),
    )


class InvoiceReceipt(Tenant, Model):
    """Money that arrived for an invoice, by gateway or bank. Append-only but for what was sent back."""

    __tablename__ = "invoice_receipt"

    invoice_id: Mapped[int] = mapped_column(BigInteger)
    number: Mapped[str] = mapped_column(String(16))
    fiscal_year: Mapped[int] = mapped_column(Integer)
    sequence: Mapped[int] = mapped_column(Integer)
    due_after_paise: Mapped[int] = mapped_column(BigInteger)  # what it left to pay, then
    method: Mapped[ReceiptMethod] = choice(ReceiptMethod)
    amount_paise: Mapped[Paise]
    utr: Mapped[str | None] = mapped_column(String(40), unique=True)
    gateway: Mapped[str | None] = mapped_column(String(20))
    provider_payment_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    received_on: Mapped[dt.date] = mapped_column(Date)
    note: Mapped[str] = mapped_column(String(300), default="", server_default="")
    refunded_paise: Mapped[int] = _zero()
    recorded_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (
        tenant_key("invoice_receipt"),
        tenant_fk("invoice_receipt", "invoice_id", "invoice"),
        UniqueConstraint("organization_id", "fiscal_year", "sequence", name="uq_invoice_receipt_sequence"),
        CheckConstraint("due_after_paise >= 0", name="ck_invoice_receipt_due"),
        CheckConstraint("amount_paise > 0", name="ck_invoice_receipt_amount"),
        CheckConstraint("refunded_paise BETWEEN 0 AND amount_paise", name="ck_invoice_receipt_refunded"),
        CheckConstraint(
            "CASE method WHEN 'BANK' THEN utr IS NOT NULL ELSE provider_payment_id IS NOT NULL END",
            name="ck_invoice_receipt_reference",
        ),
        Index("ix_invoice_receipt_invoice", "organization_id", "invoice_id"),
    )


class CreditNote(Tenant, Model):
    """What of an invoice is taken back, with its tax; COMMERCIAL ones (after the year's last day for it) carry none."""

    __tablename__ = "credit_note"

    invoice_id: Mapped[int] = mapped_column(BigInteger)
    refund_id: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[CreditNoteKind] = choice(CreditNoteKind, default=CreditNoteKind.TAX)
    number: Mapped[str] = mapped_column(String(16))
    fiscal_year: Mapped[int] = mapped_column(Integer)
    sequence: Mapped[int] = mapped_column(Integer)
    issue_date: Mapped[dt.date] = mapped_column(Date)
    issued_at: Mapped[Instant]
    reason: Mapped[str] = mapped_column(String(300))
    booking_paise: Mapped[int] = _zero()  # part that a refund of a booking has posted itself
    subtotal_paise: Mapped[Paise]
    cgst_paise: Mapped[int] = _zero()
    sgst_paise: Mapped[int] = _zero()
    utgst_paise: Mapped[int] = _zero()
    igst_paise: Mapped[int] = _zero()
    tax_paise: Mapped[int] = _zero()
    total_paise: Mapped[Paise]
    place_of_supply: Mapped[str | None] = mapped_column(String(2))
    supplier_gstin: Mapped[str] = mapped_column(String(15))
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    itc_reversal_status: Mapped[ItcReversal] = choice(ItcReversal, default=ItcReversal.NOT_APPLICABLE)
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    invoice: Mapped[Invoice] = relationship(
        primaryjoin=lambda: foreign(CreditNote.invoice_id) == remote(Invoice.id), lazy="raise", viewonly=True
    )

    __table_args__ = (
        tenant_key("credit_note"),
        tenant_fk("credit_note", "invoice_id", "invoice"),
        tenant_fk("credit_note", "refund_id", "refund"),
        CheckConstraint(f"number ~ '{NUMBER}'", name="ck_credit_note_number"),
        CheckConstraint(
            "tax_paise = cgst_paise + sgst_paise + utgst_paise + igst_paise "
            "AND total_paise = subtotal_paise + tax_paise AND subtotal_paise > 0",
            name="ck_credit_note_sum",
        ),
        CheckConstraint("kind = 'TAX' OR tax_paise = 0", name="ck_credit_note_commercial"),
        UniqueConstraint("supplier_gstin", "fiscal_year", "number", name="uq_credit_note_number"),
        UniqueConstraint("organization_id", "fiscal_year", "sequence", name="uq_credit_note_sequence"),
        UniqueConstraint("refund_id", name="uq_credit_note_refund"),
        Index("ix_credit_note_list", "organization_id", "created_at", "id"),
        Index("ix_credit_note_invoice", "organization_id", "invoice_id"),
    )

    def __repr__(self) -> str:
        return self.number


class CreditNoteLine(Tenant, Model):
    """The part of one invoice line that a credit note takes back; over all notes they add up to the line."""

    __tablename__ = "credit_note_line"

    credit_note_id: Mapped[int] = mapped_column(BigInteger)
    invoice_line_id: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int] = mapped_column(Integer)
    description: Mapped[str] = mapped_column(String(300))
    sac: Mapped[str] = mapped_column(String(8))
    treatment: Mapped[TaxTreatment] = choice(TaxTreatment, default=TaxTreatment.TAXABLE, check="cn_treatment")
    rate_bps: Mapped[int] = mapped_column(Integer)
    taxable_paise: Mapped[Paise]
    cgst_paise: Mapped[int] = _zero()
    sgst_paise: Mapped[int] = _zero()
    utgst_paise: Mapped[int] = _zero()
    igst_paise: Mapped[int] = _zero()
    total_paise: Mapped[Paise]

    __table_args__ = (
        tenant_key("credit_note_line"),
        tenant_fk("credit_note_line", "credit_note_id", "credit_note"),
        tenant_fk("credit_note_line", "invoice_line_id", "invoice_line"),
        UniqueConstraint("credit_note_id", "position", name="uq_credit_note_line_position"),
        CheckConstraint("taxable_paise > 0", name="ck_credit_note_line_positive"),
        CheckConstraint(
            "total_paise = taxable_paise + cgst_paise + sgst_paise + utgst_paise + igst_paise",
            name="ck_credit_note_line_sum",
        ),
        Index("ix_credit_note_line_line", "organization_id", "invoice_line_id"),
    )


class InvoiceRefund(Tenant, Model):
    """Money of a paid invoice on its way back, one receipt at a time; posted when it has left. Without a credit note it was
    returned at the provider by hand, and is owed again."""

    __tablename__ = "invoice_refund"

    invoice_id: Mapped[int] = mapped_column(BigInteger)
    receipt_id: Mapped[int] = mapped_column(BigInteger)
    credit_note_id: Mapped[int | None] = mapped_column(BigInteger)
    refund_key: Mapped[str] = mapped_column(String(80), unique=True)  # of the posting: refund and receipt
    amount_paise: Mapped[Paise]
    status: Mapped[InvoiceRefundStatus] = choice(InvoiceRefundStatus, default=InvoiceRefundStatus.PENDING)
    provider_refund_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    utr: Mapped[str | None] = mapped_column(String(40), unique=True)  # of a bank transfer back
    succeeded_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("invoice_refund"),
        tenant_fk("invoice_refund", "invoice_id", "invoice"),
        tenant_fk("invoice_refund", "receipt_id", "invoice_receipt"),
        tenant_fk("invoice_refund", "credit_note_id", "credit_note"),
        CheckConstraint("amount_paise > 0", name="ck_invoice_refund_amount"),
        Index("ix_invoice_refund_invoice", "organization_id", "invoice_id"),
        Index("ix_invoice_refund_open", "created_at", postgresql_where=text("status = 'PENDING'")),
    )


class TaxVoucher(Tenant, Model):
    """A receipt voucher for an advance (a top-up under ADVANCE) or its refund voucher; tax is inside the amount."""

    __tablename__ = "tax_voucher"

    kind: Mapped[VoucherKind] = choice(VoucherKind)
    top_up_id: Mapped[int] = mapped_column(BigInteger)
    receipt_voucher_id: Mapped[int | None] = mapped_column(BigInteger)
    source_ref: Mapped[str] = mapped_column(String(80))  # what it was made for: once
    number: Mapped[str] = mapped_column(String(16))
    fiscal_year: Mapped[int] = mapped_column(Integer)
    sequence: Mapped[int] = mapped_column(Integer)
    issue_date: Mapped[dt.date] = mapped_column(Date)
    sac: Mapped[str] = mapped_column(String(8))
    rate_bps: Mapped[int] = mapped_column(Integer)
    taxable_paise: Mapped[Paise]
    cgst_paise: Mapped[int] = _zero()
    sgst_paise: Mapped[int] = _zero()
    utgst_paise: Mapped[int] = _zero()
    igst_paise: Mapped[int] = _zero()
    round_off_paise: Mapped[int] = _zero()
    total_paise: Mapped[Paise]
    place_of_supply: Mapped[str] = mapped_column(String(2))
    supplier_gstin: Mapped[str] = mapped_column(String(15))
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")

    __table_args__ = (
        tenant_key("tax_voucher"),
        tenant_fk("tax_voucher", "top_up_id", "wallet_top_up"),
        tenant_fk("tax_voucher", "receipt_voucher_id", "tax_voucher"),
        CheckConstraint(f"number ~ '{NUMBER}'", name="ck_tax_voucher_number"),
        CheckConstraint(
            "total_paise = taxable_paise + cgst_paise + sgst_paise + utgst_paise + igst_paise + round_off_paise "
            "AND taxable_paise > 0",
            name="ck_tax_voucher_sum",
        ),
        CheckConstraint("(kind = 'REFUND') = (receipt_voucher_id IS NOT NULL)", name="ck_tax_voucher_refund"),
        UniqueConstraint("supplier_gstin", "fiscal_year", "number", name="uq_tax_voucher_number"),
        UniqueConstraint(
            "organization_id", "kind", "fiscal_year", "sequence", name="uq_tax_voucher_sequence"
        ),
        UniqueConstraint("organization_id", "kind", "source_ref", name="uq_tax_voucher_source"),
        Index("ix_tax_voucher_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.number


class EInvoice(Tenant, Model):
    """An invoice or credit note on its way to the Invoice Registration Portal (chapter 4, 4.3)."""

    __tablename__ = "einvoice"

    invoice_id: Mapped[int | None] = mapped_column(BigInteger)
    credit_note_id: Mapped[int | None] = mapped_column(BigInteger)
    irp_status: Mapped[IrpStatus] = choice(IrpStatus, default=IrpStatus.PENDING)
    environment: Mapped[str] = mapped_column(String(20))
    expected_irn: Mapped[str] = mapped_column(String(64))
    irn: Mapped[str | None] = mapped_column(String(64), unique=True)
    ack_number: Mapped[str | None] = mapped_column(String(40))
    ack_date: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    signed_qr_payload: Mapped[str | None] = mapped_column(Text)
    signed_document: Mapped[str | None] = mapped_column(Text)
    request: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    request_hash: Mapped[str | None] = mapped_column(String(64))
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    next_attempt_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    last_error_code: Mapped[str | None] = mapped_column(String(40))
    last_error: Mapped[str | None] = mapped_column(String(500))
    report_by: Mapped[dt.date | None] = mapped_column(Date)
    cancel_until: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    cancelled_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("einvoice"),
        tenant_fk("einvoice", "invoice_id", "invoice"),
        tenant_fk("einvoice", "credit_note_id", "credit_note"),
        CheckConstraint("num_nonnulls(invoice_id, credit_note_id) = 1", name="ck_einvoice_subject"),
        CheckConstraint(
            "irp_status NOT IN ('REGISTERED','CANCELLED') OR (irn IS NOT NULL AND ack_number IS NOT NULL "
            "AND ack_date IS NOT NULL AND signed_document IS NOT NULL)",
            name="ck_einvoice_registered",
        ),
        UniqueConstraint("invoice_id", name="uq_einvoice_invoice"),
        UniqueConstraint("credit_note_id", name="uq_einvoice_credit_note"),
        Index("ix_einvoice_list", "organization_id", "created_at", "id"),
        Index(
            "ix_einvoice_due",
            "next_attempt_at",
            postgresql_where=text("irp_status IN ('PENDING','SUBMITTED','RETRY')"),
        ),
        Index("ix_einvoice_status", "irp_status", "id"),
    )


class DocumentFile(Tenant, Model):
    """A rendered document by the hash of everything that shaped it; another hash is another file."""

    __tablename__ = "document_file"

    subject_type: Mapped[str] = mapped_column(String(20))  # invoice, credit_note, voucher, statement
    subject_id: Mapped[int] = mapped_column(BigInteger)
    content_hash: Mapped[str] = mapped_column(String(64))
    storage_key: Mapped[str] = mapped_column(String(120))
    size_bytes: Mapped[int] = mapped_column(Integer)
    pages: Mapped[int] = mapped_column(Integer)

    __table_args__ = (
        tenant_key("document_file"),
        UniqueConstraint("organization_id", "subject_type", "subject_id", name="uq_document_file_subject"),
    )
