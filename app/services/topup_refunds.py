"""Credits given back as money (chapter 2, 2.2 TOPUP_REFUND, 2.4): reserved, sent, posted under the provider's own id.

What was spent between reserving and sending is owed by the organisation: the excess goes to its receivable and to
``shortfall_paise``, and the next top-up pays it first.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import clock, faults
from app.errors import DomainError, Invalid
from app.gateways import open_gateway
from app.gateways.base import RefundResult, Refused
from app.logs import log
from app.models import (
    AuditCategory,
    BillingAccount,
    Organization,
    RefundStatus,
    Severity,
    SystemEvent,
    TopUpRefund,
    TopUpStatus,
    WalletTopUp,
)
from app.security.context import acting, ctx
from app.services import advances, audit, ledger, outbox, wallet_notices, wallets
from app.services.text import money, paragraphs
from config import Settings

MAX_REASON = 300
REFUNDABLE = (TopUpStatus.CONFIRMED,)


def _pending(session: Session, top_up_id: int | None = None) -> int:
    """Refunds under way of one top-up, or of all of the organisation acted for, paise."""
    where = [TopUpRefund.status == RefundStatus.PENDING]
    if top_up_id is not None:
        where.append(TopUpRefund.top_up_id == top_up_id)
    return int(
        session.scalar(select(func.coalesce(func.sum(TopUpRefund.amount_paise), 0)).where(*where)) or 0
    )


def refundable(session: Session, row: WalletTopUp) -> int:
    """What of a confirmed top-up was not given back yet, paise; refunds under way count as given."""
    if row.status not in REFUNDABLE:
        return 0
    return row.amount_paise - row.refunded_paise - _pending(session, row.id)


def most(session: Session, row: WalletTopUp, account: BillingAccount) -> int:
    """What may be refunded now, paise: unrefunded, and covered by the balance beside other refunds under way."""
    free = (account.wallet_balance_paise or 0) - _pending(session)
    return max(0, min(refundable(session, row), free))


def lock(session: Session, row: WalletTopUp) -> BillingAccount:
    """Lock and reread a top-up behind its account, for the organisation acted for: what takes of it queues here."""
    account = session.scalars(
        select(BillingAccount).where(BillingAccount.id == row.billing_account_id).with_for_update()
    ).one()
    session.refresh(account)
    session.refresh(row, with_for_update=True)
    return account


def reserve(session: Session, row: WalletTopUp, amount_paise: int, reason: str) -> TopUpRefund:
    """Phase one, for the organisation acted for; the caller commits and the outbox sends.

    Raises Invalid, FUNDING_SOURCE_MISMATCH, PAYMENT_NOT_REFUNDABLE (not confirmed), REFUND_WINDOW_CLOSED (180 days),
    WALLET_FROZEN, WALLET_BALANCE_TOO_LOW with what may be refunded.
    """
    why = paragraphs(reason or "")
    if not 1 <= len(why) <= MAX_REASON:
        raise Invalid(
            {"reason": [f"Say why, in at most {MAX_REASON} characters: it is kept with the refund."]}
        )
    account = wallets.wallet_of(session)
    session.refresh(account, with_for_update=True)  # refunds of one wallet queue here
    session.refresh(row, with_for_update=True)
    if row.status not in REFUNDABLE:
        raise DomainError("PAYMENT_NOT_REFUNDABLE", state=row.status.value)
    if row.captured_at and clock.now() - row.captured_at > dt.timedelta(days=180):
        raise DomainError("REFUND_WINDOW_CLOSED", captured_at=row.captured_at.isoformat())
    if amount_paise < 1:
        raise Invalid({"amount_paise": ["Choose an amount of at least one paisa."]})
    if account.wallet_frozen_at is not None:
        raise DomainError("WALLET_FROZEN")
    if amount_paise > most(session, row, account):
        raise DomainError("WALLET_BALANCE_TOO_LOW", refundable_paise=most(session, row, account))
    refund = TopUpRefund(
        top_up_id=row.id, amount_paise=amount_paise, reason=why, requested_by_user_id=ctx().user_id
    )
    session.add(refund)
    session.flush()
    audit.record(
        session,
        AuditCategory.WALLET,
        "WALLET_REFUND_REQUESTED",
        f"A refund of {money(amount_paise)} of credits was asked for",
        target_type="wallet_top_up",
        target_id=row.public_id,
        amount_paise=amount_paise,
        refund_id=str(refund.public_id),
        reason=why,
    )
    outbox.put(session, "refund_top_up", {"refund_id": str(refund.public_id)})
    return refund


def send(session: Session, public_id: uuid.UUID, settings: Settings) -> str:
    """Give the money back through the provider, then take the credits. Wants job scope and commits; safe to repeat.

    Returns the refund's status. Raises the gateway's codes, to be tried again.
    """
    refund = session.scalars(select(TopUpRefund).where(TopUpRefund.public_id == public_id)).one()
    with acting(session, scope="org", org_id=refund.organization_id):
        session.refresh(refund, with_for_update=True)  # one sender at a time
        if refund.status != RefundStatus.PENDING:
            return refund.status.value
        row = session.get_one(WalletTopUp, refund.top_up_id)
        gateway = open_gateway(settings, session, row.gateway)
        if refund.provider_refund_id:
            result = gateway.fetch_refund(refund.provider_refund_id)
        else:
            try:
                result = gateway.refund(
                    payment_id=row.gateway_payment_id or "",
                    amount_paise=refund.amount_paise,
                    key=f"topup-refund-{refund.public_id}",
                )
            except Refused as error:
                log.warning("top_up_refund_refused", refund=str(refund.public_id), reason=error.reason)
                result = RefundResult("", "failed")
        if result is None:
            raise DomainError("GATEWAY_ERROR", reason="the provider does not know its refund")
        faults.trip("topup_refund_sent")
        refund.provider_refund_id = result.refund_id or None
        session.flush()
        outcome = _settle(session, refund, row, result.status)
    session.commit()
    return outcome


def _settle(session: Session, refund: TopUpRefund, row: WalletTopUp, status: str) -> str:
    if status == "processed":
        refund.status, refund.succeeded_at = RefundStatus.SUCCEEDED, clock.now()
        session.flush()
        went_back(session, refund, row, "Credits given back")
    elif status == "failed":
        refund.status = RefundStatus.FAILED
        session.flush()
        from app.services import disputes  # late: a loss is told to whom refunds are told to

        lock(session, row)
        disputes.refund_failed(session, "top_up", row.gateway_payment_id or "", str(refund.public_id))
        wallet_notices.tell(
            session,
            row.organization_id,
            "wallet.refund_failed",
            f"A refund of {money(refund.amount_paise)} was rejected by the provider",
        )
        with acting(session, scope="job", org_id=None):
            session.add(
                SystemEvent(
                    category="gateway",
                    severity=Severity.WARN,
                    message=f"Refund {refund.public_id} of a top-up was rejected by the provider",
                    context={"amount_paise": refund.amount_paise},
                )
            )
    return refund.status.value


def went_back(session: Session, refund: TopUpRefund, row: WalletTopUp, description: str) -> None:
    """Book a refund that the provider made: the credits, the voucher's counterpart, the audit row, the notice to finance."""
    take_back(
        session,
        row,
        f"topup-refund:{refund.provider_refund_id}",
        "TOPUP_REFUND",
        refund.amount_paise,
        description=description,
        refund_id=str(refund.public_id),
    )
    advances.returned(session, row, refund)
    rupees = money(refund.amount_paise)
    audit.record(
        session,
        AuditCategory.WALLET,
        "WALLET_REFUND",
        f"{rupees} of credits went back to where they were paid from",
        target_type="wallet_top_up",
        target_id=row.public_id,
        amount_paise=refund.amount_paise,
        refund_id=str(refund.public_id),
    )
    wallet_notices.tell(session, row.organization_id, "wallet.refunded", f"{rupees} of credits were refunded")


def take_back(session: Session, row: WalletTopUp, key: str, kind: str, paise: int, **details: Any) -> None:
    """Take credits for money that has left: Dr WALLET as far as it goes, the excess Dr ORG_RECEIVABLE, Cr CASH.

    Acts for the top-up's organisation; the excess is remembered in ``shortfall_paise``. Repeating *key* does nothing.
    """
    account = lock(session, row)
    from_wallet = min(account.wallet_balance_paise or 0, paise)
    owed = paise - from_wallet
    legs = [
        ledger.debit(ledger.org_account("WALLET", row.organization_id), from_wallet),
        ledger.debit(ledger.org_account("ORG_RECEIVABLE", row.organization_id), owed),
        ledger.credit(ledger.CASH, paise),
    ]
    posted = ledger.post(
        session,
        key,
        kind,
        [leg for leg in legs if leg.paise],
        organization_id=row.organization_id,
        top_up=str(row.public_id),
        **details,
    )
    if posted is None:
        return
    session.execute(
        update(WalletTopUp)
        .where(WalletTopUp.id == row.id)
        .values(refunded_paise=WalletTopUp.refunded_paise + paise)
    )
    if owed:
        session.execute(
            update(BillingAccount)
            .where(BillingAccount.id == account.id)
            .values(shortfall_paise=BillingAccount.shortfall_paise + owed)
        )
        name = session.get_one(Organization, row.organization_id).name
        wallet_notices.tell(
            session,
            row.organization_id,
            "wallet.shortfall",
            f"{name} owes {money(owed)}: the wallet did not hold what went back",
        )
    session.refresh(account)
    session.refresh(row)


def sweep(session: Session, settings: Settings) -> dict[str, int]:
    """Ask again after refunds of top-ups that nobody answered for ten minutes. Wants job scope and commits each."""
    done = {"settled": 0, "failed": 0}
    ids = session.scalars(
        select(TopUpRefund.public_id)
        .where(
            TopUpRefund.status == RefundStatus.PENDING,
            TopUpRefund.created_at <= clock.now() - dt.timedelta(minutes=10),
        )
        .order_by(TopUpRefund.id)
        .limit(500)
    ).all()
    session.commit()
    for public_id in ids:
        try:
            done["settled"] += send(session, public_id, settings) != "PENDING"
        except Exception as error:
            session.rollback()
            log.warning("top_up_refund_sweep_failed", refund=str(public_id), error=type(error).__name__)
            done["failed"] += 1
    return done


def view(refund: TopUpRefund, row: WalletTopUp) -> dict[str, Any]:
    """A refund of a top-up as the API shows it."""
    return {
        "refund_id": str(refund.public_id),
        "top_up_id": str(row.public_id),
        "amount_paise": refund.amount_paise,
        "status": refund.status.value,
        "reason": refund.reason,
        "created_at": refund.created_at.isoformat(),
        "succeeded_at": refund.succeeded_at.isoformat() if refund.succeeded_at else None,
    }
