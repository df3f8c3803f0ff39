"""Purchase orders (chapter 2, 2.5)."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, CheckConstraint, Date, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Model, Paise, Tenant, choice, tenant_fk, tenant_key
from .enums import Currency, PurchaseOrderStatus


class PurchaseOrder(Tenant, Model):
    """What a customer's purchasing department has released. Amounts in the currency's hundredths.

    ``remaining_paise`` moves only by conditional draws of invoices and by a change of the total.
    """

    __tablename__ = "purchase_order"

    billing_account_id: Mapped[int] = mapped_column(BigInteger)
    po_number: Mapped[str] = mapped_column(String(60))
    status: Mapped[PurchaseOrderStatus] = choice(PurchaseOrderStatus, default=PurchaseOrderStatus.ACTIVE)
    currency: Mapped[Currency] = choice(Currency, default=Currency.INR)
    total_paise: Mapped[Paise]
    remaining_paise: Mapped[Paise]
    valid_until: Mapped[dt.date | None] = mapped_column(Date)
    description: Mapped[str] = mapped_column(Text, default="", server_default="")
    document: Mapped[str | None] = mapped_column(String(400))  # its key in the storage
    document_name: Mapped[str | None] = mapped_column(String(200))
    document_size: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        tenant_key("purchase_order"),
        tenant_fk("purchase_order", "billing_account_id", "billing_account"),
        UniqueConstraint("organization_id", "po_number", name="uq_purchase_order_number"),
        CheckConstraint("total_paise > 0", name="ck_purchase_order_total"),
        CheckConstraint("remaining_paise BETWEEN 0 AND total_paise", name="ck_purchase_order_remaining"),
        CheckConstraint("char_length(description) <= 2000", name="ck_purchase_order_description"),
        Index("ix_purchase_order_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.po_number
