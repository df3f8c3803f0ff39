"""Mandates of the sandbox provider: given on its page, charged by us."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.gateways.base import Refused
from app.models import SandboxMandate, SandboxOrder

from .books import new_id
from .orders import create_order, decline, pay
from .webhooks import owe

MANDATE_STATES = {
    "confirmed": ("pending", "paused"),
    "rejected": ("pending",),
    "paused": ("confirmed",),
    "cancelled": ("pending", "confirmed", "paused"),
}


def create_mandate(
    session: Session,
    *,
    key: str,
    payer_name: str,
    max_paise: int,
    notes: dict[str, str],
    description: str,
    return_url: str,
) -> SandboxMandate:
    """The mandate of *key*, made once; pending until its page is answered."""
    session.execute(
        insert(SandboxMandate)
        .values(
            mandate_id=new_id("mandate"),
            idempotency_key=key[:120],
            payer_name=payer_name[:200],
            max_paise=max_paise,
            notes=notes,
            description=description[:300],
            return_url=return_url,
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["idempotency_key"])
    )
    return session.scalars(select(SandboxMandate).where(SandboxMandate.idempotency_key == key[:120])).one()


def find_mandate(session: Session, mandate_id: str) -> SandboxMandate | None:
    """A mandate by its id."""
    return session.scalars(
        select(SandboxMandate).where(SandboxMandate.mandate_id == mandate_id[:80])
    ).one_or_none()


def decide_mandate(session: Session, mandate_id: str, status: str) -> SandboxMandate:
    """Confirm, reject, pause or cancel. Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    if find_mandate(session, mandate_id) is None:
        raise DomainError("NOT_FOUND")
    row = session.scalars(
        update(SandboxMandate)
        .where(
            SandboxMandate.mandate_id == mandate_id[:80],
            SandboxMandate.status.in_(MANDATE_STATES.get(status, ())),
        )
        .values(status=status)
        .returning(SandboxMandate)
    ).one_or_none()
    if row is None:
        raise DomainError("ILLEGAL_TRANSITION")
    owe(
        session,
        f"token.{status}",
        "token",
        {"id": row.mandate_id, "status": status, "max_amount": row.max_paise, "notes": row.notes},
    )
    session.flush()
    return row


def charge_mandate(
    session: Session,
    *,
    mandate_id: str,
    receipt: str,
    amount_paise: int,
    notes: dict[str, str],
    description: str,
    outcome: str = "paid",
) -> SandboxOrder:
    """Charge a confirmed mandate once per *receipt*. *outcome*: paid, decline, pending. Raises Refused."""
    mandate = find_mandate(session, mandate_id)
    if mandate is None or mandate.status != "confirmed":
        raise Refused("mandate_not_confirmed")
    if amount_paise > mandate.max_paise:
        raise Refused("above_mandate")
    order = create_order(
        session,
        receipt=receipt,
        amount_paise=amount_paise,
        notes=notes,
        description=description,
        return_url="",
        mandate_id=mandate_id,
    )
    if order.status == "created" and outcome == "paid":
        order = pay(session, order.order_id)
    elif order.status == "created" and outcome == "decline":
        order = decline(session, order.order_id, "insufficient_funds")
    return order
