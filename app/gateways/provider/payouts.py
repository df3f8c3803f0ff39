"""Payees, checks of their accounts, and payouts of the sandbox provider."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.gateways.base import PayeeAccount, Refused
from app.models import SandboxPayee, SandboxPayout

from .books import FEE_TAX_BPS, PAYOUT_FEE, enter, new_id
from .webhooks import owe

NEXT = {
    "processing": ("pending",),
    "processed": ("pending", "processing"),
    "failed": ("pending", "processing"),
    "cancelled": ("pending",),
    "reversed": ("processed",),
}


def create_payee(session: Session, *, key: str, account: PayeeAccount) -> SandboxPayee:
    """The payee of *key*, made once. Only the end of the account's number is kept. Raises Refused."""
    bank = account.kind == "bank"
    if bank and not (account.account_number.isalnum() and 5 <= len(account.account_number) <= 35):
        raise Refused("account_number_invalid")
    if not bank and "@" not in account.vpa:
        raise Refused("vpa_invalid")
    session.execute(
        insert(SandboxPayee)
        .values(
            payee_id=new_id("fa"),
            idempotency_key=key[:120],
            holder_name=account.holder_name[:200],
            kind=account.kind,
            last4=account.account_number[-4:] if bank else "",
            ifsc=account.ifsc[:11],
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["idempotency_key"])
    )
    return session.scalars(select(SandboxPayee).where(SandboxPayee.idempotency_key == key[:120])).one()


def find_payee(session: Session, payee_id: str) -> SandboxPayee | None:
    """A payee by id."""
    return session.scalars(select(SandboxPayee).where(SandboxPayee.payee_id == payee_id[:80])).one_or_none()


def validate_account(session: Session, payee_id: str, outcome: str = "verified") -> SandboxPayee:
    """Ask the bank; repeated while an answer stands, it is the same answer.

    An account that ends in 0000 does not exist. *outcome*: verified, pending, failed. Raises Refused.
    """
    row = session.scalars(
        select(SandboxPayee).where(SandboxPayee.payee_id == payee_id[:80]).with_for_update()
    ).one_or_none()
    if row is None:
        raise Refused("payee_unknown")
    if row.validation_status in ("pending", "verified"):
        return row
    row.validation_id, row.validation_status = new_id("fav"), "pending"
    if outcome != "pending":
        _validated(session, row, "failed" if row.last4 == "0000" else outcome)
    session.flush()
    return row


def settle_validation(session: Session, payee_id: str, status: str) -> SandboxPayee:
    """The bank answers a pending check: verified or failed. Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    row = session.scalars(
        select(SandboxPayee).where(SandboxPayee.payee_id == payee_id[:80]).with_for_update()
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    if row.validation_status != "pending" or status not in ("verified", "failed"):
        raise DomainError("ILLEGAL_TRANSITION")
    _validated(session, row, status)
    session.flush()
    return row


def _validated(session: Session, row: SandboxPayee, status: str) -> None:
    row.validation_status = status
    owe(
        session,
        f"fund_account.validation.{'completed' if status == 'verified' else 'failed'}",
        "validation",
        {
            "id": row.validation_id,
            "payee_id": row.payee_id,
            "status": status,
            "registered_name": row.holder_name if status == "verified" else None,
        },
    )


def _values(row: SandboxPayout) -> dict[str, Any]:
    return {
        "id": row.payout_id,
        "payee_id": row.payee_id,
        "amount": row.amount_paise,
        "currency": "INR",
        "status": row.status,
        "utr": row.utr,
        "reference_id": row.idempotency_key,
        "failure": row.failure,
        "fee": payout_fee(row),
        "notes": row.notes,
    }


def payout_fee(row: SandboxPayout) -> int | None:
    """What the provider takes for a payout that left, tax included, paise."""
    return PAYOUT_FEE if row.status in ("processed", "reversed") else None


def create_payout(
    session: Session,
    *,
    key: str,
    payee_id: str,
    amount_paise: int,
    notes: dict[str, str],
    description: str = "",
    outcome: str = "processed",
) -> SandboxPayout:
    """Pay out once per *key* (4 to 36 characters).

    *outcome*: processed (at once), pending, processing, failed, reversed. Raises Refused.
    """
    if not 4 <= len(key) <= 36:
        raise Refused("key_invalid")
    if find_payee(session, payee_id) is None:
        raise Refused("payee_unknown")
    if amount_paise < 100:
        raise Refused("amount_too_small")
    made = session.scalar(
        insert(SandboxPayout)
        .values(
            payout_id=new_id("pout"),
            idempotency_key=key,
            payee_id=payee_id,
            amount_paise=amount_paise,
            status="pending",
            notes=notes,
            description=description[:300],
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["idempotency_key"])
        .returning(SandboxPayout.id)
    )
    row = session.scalars(select(SandboxPayout).where(SandboxPayout.idempotency_key == key)).one()
    if (row.payee_id, row.amount_paise) != (payee_id, amount_paise):
        raise Refused("key_reused")
    if made is not None and outcome != "pending":
        for status in ("processing", *({"processing": (), "reversed": ("processed",)}.get(outcome, ()))):
            settle_payout(session, row.payout_id, status)
        if outcome != "processing":
            settle_payout(session, row.payout_id, outcome)
        session.refresh(row)
    return row


def settle_payout(
    session: Session, payout_id: str, status: str, failure: str = "beneficiary_bank_offline"
) -> SandboxPayout:
    """Move a payout on: processing, processed, failed, cancelled, reversed. Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    if find_payout(session, payout_id) is None:
        raise DomainError("NOT_FOUND")
    row = session.scalars(
        update(SandboxPayout)
        .where(SandboxPayout.payout_id == payout_id[:80], SandboxPayout.status.in_(NEXT.get(status, ())))
        .values(status=status)
        .returning(SandboxPayout)
    ).one_or_none()
    if row is None:
        raise DomainError("ILLEGAL_TRANSITION")
    if status == "processed":
        row.utr = f"SBX{secrets.randbelow(10**13):013d}"
        tax = PAYOUT_FEE * FEE_TAX_BPS // (10_000 + FEE_TAX_BPS)
        enter(
            session,
            "payout",
            row.payout_id,
            -row.amount_paise,
            fee_paise=PAYOUT_FEE,
            tax_paise=tax,
            notes=row.notes,
        )
    elif status == "reversed":
        row.failure = failure
        enter(session, "payout_reversal", row.payout_id, row.amount_paise, notes=row.notes)
    elif status == "failed":
        row.failure = failure
    session.flush()
    owe(session, f"payout.{status}", "payout", _values(row))
    session.flush()
    return row


def find_payout(session: Session, payout_id: str) -> SandboxPayout | None:
    """A payout by its id."""
    return session.scalars(
        select(SandboxPayout).where(SandboxPayout.payout_id == payout_id[:80])
    ).one_or_none()
