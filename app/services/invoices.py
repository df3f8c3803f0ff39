"""An invoice's row (chapter 2, 2.9): DRAFT→ISSUED→PAID→REFUNDED, ISSUED→OVERDUE→PAID, ISSUED or OVERDUE→VOID, DRAFT→CANCELLED;
anything else is 409. What is done with it: ``invoice_drafts``, ``invoice_sums``, ``invoice_issue``, ``invoice_void``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.errors import DomainError
from app.models import (
    Invoice,
    InvoiceLine,
    InvoiceStatus,
)

MAX_ITEMS = 500  # lines that are written by hand
OPEN = (InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE)
PLAIN: dict[str, Any] = {"synchronize_session": False}


def fresh(session: Session, invoice_id: int, *, lock: bool = False) -> Invoice:
    """The invoice by inner id, reread; locked if asked."""
    statement = select(Invoice).where(Invoice.id == invoice_id).execution_options(populate_existing=True)
    row = session.scalars(statement.with_for_update() if lock else statement).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def move(session: Session, row: Invoice, to: InvoiceStatus, *of: InvoiceStatus, **values: Any) -> None:
    """Compare-and-set of the status. Raises ILLEGAL_TRANSITION with the state found."""
    done = session.scalars(
        update(Invoice)
        .where(Invoice.id == row.id, Invoice.status.in_(of))
        .values(status=to, **values)
        .returning(Invoice)
        .execution_options(populate_existing=True, **PLAIN)
    ).one_or_none()
    if done is None:
        session.refresh(row)
        raise DomainError("ILLEGAL_TRANSITION", status=row.status.value)


def lines_of(session: Session, row: Invoice, *, limit: int = 1000, after: int = 0) -> list[InvoiceLine]:
    """Lines in order, *limit* at a time."""
    return list(
        session.scalars(
            select(InvoiceLine)
            .where(InvoiceLine.invoice_id == row.id, InvoiceLine.position > after)
            .order_by(InvoiceLine.position)
            .limit(limit)
        )
    )
