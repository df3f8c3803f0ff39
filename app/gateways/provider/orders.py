"""Orders and payments of the sandbox provider."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import SandboxOrder

from .books import enter, fee_of, new_id
from .webhooks import owe

PAYABLE = ("created", "attempted", "authenticating")


def create_order(
    session: Session,
    *,
    receipt: str,
    amount_paise: int,
    notes: dict[str, str],
    description: str,
    return_url: str,
    mandate_id: str | None = None,
) -> SandboxOrder:
    """The order of *receipt*: a second call with the same receipt returns the first order."""
    session.execute(
        insert(SandboxOrder)
        .values(
            order_id=new_id("order"),
            receipt=receipt[:40],
            amount_paise=amount_paise,
            notes=notes,
            description=description[:300],
            return_url=return_url,
            mandate_id=mandate_id,
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["receipt"])
    )
    return session.scalars(select(SandboxOrder).where(SandboxOrder.receipt == receipt[:40])).one()


def find_order(session: Session, order_id: str) -> SandboxOrder | None:
    """An order by its id."""
    return session.scalars(select(SandboxOrder).where(SandboxOrder.order_id == order_id[:80])).one_or_none()


def find_payment(session: Session, payment_id: str, *, lock: bool = False) -> SandboxOrder | None:
    """The order that *payment_id* paid."""
    query = select(SandboxOrder).where(SandboxOrder.payment_id == payment_id[:80])
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def payment_values(order: SandboxOrder, **extra: Any) -> dict[str, Any]:
    """A payment as webhooks show it."""
    return {
        "id": order.payment_id,
        "order_id": order.order_id,
        "amount": order.captured_paise,
        "currency": "INR",
        "fee": order.fee_paise,
        "tax": order.tax_paise,
        "mandate_id": order.mandate_id,
        "notes": order.notes,
        **extra,
    }


def _claim(session: Session, order_id: str, **values: Any) -> SandboxOrder:
    order = find_order(session, order_id)
    if order is None:
        raise DomainError("NOT_FOUND")
    claimed = session.scalar(
        update(SandboxOrder)
        .where(SandboxOrder.id == order.id, SandboxOrder.status.in_(PAYABLE))
        .values(**values)
        .returning(SandboxOrder.id)
    )
    if claimed is None:
        raise DomainError("ILLEGAL_TRANSITION")
    session.refresh(order)
    return order


def pay(
    session: Session,
    order_id: str,
    amount_paise: int | None = None,
    notes: dict[str, str] | None = None,
    delay_seconds: int = 0,
    duplicate: bool = False,
) -> SandboxOrder:
    """Capture an order.

    All of it with its own notes and one webhook at once; the options play a provider that captures another amount,
    changes the notes, or sends its webhook late or twice.

    Raises NOT_FOUND, ILLEGAL_TRANSITION for an order that is paid or cancelled already.
    """
    order = _claim(
        session, order_id, status="paid", payment_id=new_id("pay"), paid_at=clock.now(), authenticate=False
    )
    order.captured_paise = amount_paise or order.amount_paise
    order.fee_paise, order.tax_paise = fee_of(order.captured_paise)
    if notes is not None:
        order.notes = {**order.notes, **notes}
    enter(
        session,
        "payment",
        order.payment_id or "",
        order.captured_paise,
        fee_paise=order.fee_paise,
        tax_paise=order.tax_paise,
        payment_id=order.payment_id,
        order_id=order.order_id,
        notes=order.notes,
    )
    owe(
        session,
        "payment.captured",
        "payment",
        payment_values(order),
        order=order,
        delay=delay_seconds,
        times=2 if duplicate else 1,
    )
    session.flush()
    return order


def ask_authentication(session: Session, order_id: str) -> SandboxOrder:
    """The bank wants to know that it is the payer (as with 3-D Secure). Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    return _claim(session, order_id, status="authenticating", authenticate=True)


def decline(session: Session, order_id: str, reason: str = "card_declined") -> SandboxOrder:
    """The bank says no; the order stays payable. Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    order = _claim(session, order_id, status="attempted", authenticate=False)
    owe(session, "payment.failed", "payment", payment_values(order, error=reason), order=order)
    session.flush()
    return order
