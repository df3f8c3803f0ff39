"""The provider's books, its fees, and the levers that a tester arms for the next call."""

from __future__ import annotations

import datetime as dt
import secrets

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock
from app.errors import Invalid
from app.models import SandboxEntry, SandboxLever

FEE_BPS, FEE_TAX_BPS, PAYOUT_FEE = 200, 1800, 590  # 2 % and GST on it; ₹5 and GST on it
OUTAGES = ("refuse", "timeout", "lose_answer")  # says no; never hears of it; does it and the answer is lost
OUTCOMES: dict[str, tuple[str, ...]] = {
    "create_order": OUTAGES,
    "fetch_order": OUTAGES[:2],
    "refund": (*OUTAGES, "pending", "failed"),
    "fetch_refund": OUTAGES[:2],
    "create_mandate": OUTAGES,
    "charge_mandate": (*OUTAGES, "decline", "pending"),
    "create_payee": OUTAGES,
    "validate_account": (*OUTAGES, "pending", "failed"),
    "create_payout": (*OUTAGES, "pending", "processing", "failed", "reversed"),
    "fetch_payout": OUTAGES[:2],
    "list_transactions": OUTAGES[:2],
    "accept_dispute": OUTAGES,
    "contest_dispute": OUTAGES,
}


def new_id(prefix: str) -> str:
    """An id as providers make them."""
    return f"{prefix}_{secrets.token_hex(10)}"


def fee_of(paise: int) -> tuple[int, int]:
    """(fee including its tax, the tax) for a captured payment, paise, rounded half up."""
    fee = (paise * FEE_BPS + 5_000) // 10_000
    tax = (fee * FEE_TAX_BPS + 5_000) // 10_000
    return fee + tax, tax


def enter(
    session: Session,
    kind: str,
    entity_id: str,
    amount_paise: int,
    *,
    fee_paise: int = 0,
    tax_paise: int = 0,
    payment_id: str | None = None,
    order_id: str | None = None,
    notes: dict[str, str] | None = None,
) -> None:
    """Write a line of the books; amounts are signed as our balance with the provider moves."""
    session.add(
        SandboxEntry(
            entry_id=new_id("txn"),
            kind=kind,
            entity_id=entity_id,
            amount_paise=amount_paise,
            fee_paise=fee_paise,
            tax_paise=tax_paise,
            payment_id=payment_id,
            order_id=order_id,
            notes=notes or {},
            created_at=clock.now(),
        )
    )


def entries(session: Session, since: dt.datetime, until: dt.datetime) -> list[SandboxEntry]:
    """Lines from *since* up to, not including, *until*; oldest first."""
    return list(
        session.scalars(
            select(SandboxEntry)
            .where(SandboxEntry.created_at >= since, SandboxEntry.created_at < until)
            .order_by(SandboxEntry.id)
        )
    )


def arm(session: Session, call: str, outcome: str) -> None:
    """The next *call* meets *outcome*, once. Raises Invalid for a call or an outcome that does not exist."""
    if call not in OUTCOMES:
        raise Invalid({"call": [f"One of {', '.join(OUTCOMES)}."]})
    if outcome not in OUTCOMES[call]:
        raise Invalid({"outcome": [f"One of {', '.join(OUTCOMES[call])}."]})
    values = {"outcome": outcome, "created_at": clock.now()}
    session.execute(
        insert(SandboxLever)
        .values(call=call, **values)
        .on_conflict_do_update(index_elements=["call"], set_=values)
    )


def take_lever(session: Session, call: str) -> str | None:
    """What was armed for *call*; disarms it."""
    return session.scalar(
        delete(SandboxLever).where(SandboxLever.call == call).returning(SandboxLever.outcome)
    )
