"""Jobs of contracts, places and overage (chapter 2, 2.12)."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy.orm import Session

from app.models import OutboxMessage
from app.services import contract_ends, cycles, side_payments, supersede


def auto_renew_contracts(session: Session) -> dict[str, Any]:
    """Renew contracts whose term is over and that renew by themselves."""
    return dict(supersede.auto_renew(session))


def advance_program_cycles(session: Session) -> dict[str, Any]:
    """Roll places whose cycle is over into the next one, or close them."""
    return dict(cycles.advance(session))


def expire_contracts(session: Session) -> dict[str, Any]:
    """Expire contracts whose term is over, with what stands under them; warn thirty days before."""
    return dict(contract_ends.expire(session))


def timeout_overages(session: Session) -> dict[str, Any]:
    """Remind members of unpaid overage after seven days, write it off after fourteen."""
    return dict(side_payments.time_out(session))


def refund_side_payment(session: Session, message: OutboxMessage) -> None:
    """Give a member back what they paid beyond a program, with the booking it belongs to."""
    data = message.payload
    side_payments.refund(session, uuid.UUID(data["payment_id"]), int(data["part"]), int(data["whole"]))


TOPICS = {"refund_side_payment": refund_side_payment}
JOBS = [
    ("auto_renew_contracts", "0 2 * * *", auto_renew_contracts),
    ("advance_program_cycles", "15 2 * * *", advance_program_cycles),
    ("expire_contracts", "0 3 * * *", expire_contracts),
    ("timeout_overages", "0 23 * * *", timeout_overages),
]
