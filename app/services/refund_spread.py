"""Giving back what a booking posted, by a refund or a lost dispute (chapter 2, 2.2 REFUND and CHARGEBACK, 2.8 step 3).

The spread mirrors the BOOKING posting. Every share is ⌊share × given back so far / amount⌋ in all, so that any number of
partial refunds ends where one whole refund would; PLATFORM_FEE takes the residual.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app import clock
from app.models import (
    AuditCategory,
    ConsultantEarning,
    Dispute,
    EarningStatus,
    LedgerAccount,
    LedgerEntry,
    LedgerTransaction,
    LegSource,
    OrganizationEarning,
    Payment,
    PaymentLeg,
    Refund,
    RefundStatus,
)
from app.security.context import acting
from app.services import audit, ledger, overages, settlement, usage
from app.services.booking_record import Part
from app.services.text import money

# What a refund does beyond its reversal leg and its posting, by the source the money came from (2.8, table of legs).
# An effect gets (session, refund, payment, paise of this source given back now), acts for the payer in the refund's
# transaction, writes its own rows (a credit note) and returns extra legs that balance among themselves; they join the
# REFUND posting (the tax of an invoiced accrual: Dr GST_PAYABLE, Cr ORG_RECEIVABLE). A posting of its own, such as
# INVOICE_REFUND, it posts itself. Runs once per refund: the cascade is claimed by a conditional update.
Effect = Callable[[Session, Refund, Payment, int], Sequence[ledger.Leg]]
EFFECTS: dict[LegSource, Effect] = {}

WHOLE = 10_000  # bps
# debits of a BOOKING that no source of the payment stands for: given back beside the amount
BEYOND = frozenset({"DISCOUNT", "LICENSE_COST", "MEMBER_RECEIVABLE"})
_ACCOUNTS = {
    LegSource.CARD: "CASH|platform|INR",
    LegSource.WALLET: "WALLET|org:{org}|INR",
    LegSource.REFERRAL_CREDIT: "PLATFORM_PROMO|platform|INR",
    LegSource.INVOICE_ACCRUAL: "ORG_RECEIVABLE|org:{org}|INR",
    LegSource.OVERAGE_INVOICE_ACCRUAL: "ORG_RECEIVABLE|org:{org}|INR",
}


@dataclass(frozen=True)
class Step:
    """From *before* to *after* of *whole* given back in all: paise, or bps for a booking that cost nothing."""

    before: int
    after: int
    whole: int

    def of(self, paise: int) -> int:
        """The part of *paise* that this step gives back."""
        return paise * self.after // self.whole - paise * self.before // self.whole


def lost(session: Session, payment: Payment) -> int:
    """What lost disputes took of a payment, paise."""
    return int(
        session.scalar(
            select(func.coalesce(func.sum(Dispute.posted_paise), 0)).where(Dispute.payment_id == payment.id),
            execution_options=settlement.EVERYWHERE,
        )
        or 0
    )


def paid_out(session: Session, payment: Payment) -> set[str]:
    """The payable accounts of this booking whose share was paid out already."""
    codes = {
        ledger.consultant_account("CONSULTANT_PAYABLE", e.consultant_user_id)
        for e in _earnings(session, payment)
        if e.status == EarningStatus.PAID
    }
    with acting(session, scope="platform"):  # the host's books are not the payer's
        hosts = session.scalars(
            select(OrganizationEarning.organization_id).where(
                OrganizationEarning.payment_id == payment.id, OrganizationEarning.status == EarningStatus.PAID
            )
        ).all()
    return codes | {ledger.org_account("ORG_PAYABLE", h) for h in hosts}


def _earnings(session: Session, payment: Payment) -> list[ConsultantEarning]:
    return list(
        session.scalars(
            select(ConsultantEarning).where(ConsultantEarning.payment_id == payment.id),
            execution_options=settlement.EVERYWHERE,
        )
    )


def given_back(session: Session, payment: Payment, but: int | None = None) -> int:
    """What refunds that were spread and lost disputes gave back so far, paise; bps where the booking cost nothing."""
    part = Refund.amount_paise if payment.amount_paise else func.coalesce(Refund.policy_bps, WHOLE)
    refunded = session.scalar(
        select(func.coalesce(func.sum(part), 0)).where(
            Refund.payment_id == payment.id, Refund.cascaded_at.is_not(None), Refund.id != (but or 0)
        ),
        execution_options=settlement.EVERYWHERE,
    )
    return int(refunded or 0) + lost(session, payment)


def cascade(session: Session, row: Refund, payment: Payment) -> None:
    """Spread a succeeded refund over shares, tax, sources and program usage, once. Acts for the payer."""
    settlement.lock(session, payment)
    claimed = session.execute(
        update(Refund)
        .where(Refund.id == row.id, Refund.cascaded_at.is_(None), Refund.status == RefundStatus.SUCCEEDED)
        .values(cascaded_at=clock.now())
        .execution_options(synchronize_session=False, **settlement.EVERYWHERE)
    ).rowcount  # type: ignore[attr-defined]
    if not claimed:
        return
    session.refresh(row)
    before = given_back(session, payment, but=row.id)
    if payment.amount_paise:
        step = Step(before, before + row.amount_paise, payment.amount_paise)
    else:
        bps = row.policy_bps if row.policy_bps is not None else WHOLE
        step = Step(before, min(before + bps, WHOLE), WHOLE)
    took = paid_out(session, payment)
    _earnings_back(session, payment, step)
    _post(session, row, payment, step, took)
    _apart(session, payment, str(row.public_id))
    if payment.organization_id is not None:
        usage.release(session, payment, step.after, step.whole)
        audit.record(
            session,
            AuditCategory.WALLET,
            "WALLET_REFUND",
            f"{money(row.amount_paise)} refunded for “{payment.description[:200]}”",
            target_type="payment",
            target_id=payment.public_id,
            amount_paise=row.amount_paise,
            refund_id=str(row.public_id),
            reason=row.reason,
            **({"forced": True} if row.forced else {}),
        )
    session.flush()


def _earnings_back(session: Session, payment: Payment, step: Step) -> None:
    for earning in _earnings(session, payment):
        earning.refunded_paise = earning.share_paise * step.after // step.whole
        if earning.refunded_paise == earning.share_paise and earning.status != EarningStatus.PAID:
            earning.status = EarningStatus.REFUNDED
    session.flush()
    session.execute(text("SELECT organization_earning_refund(:payment)"), {"payment": payment.public_id})


def shared(
    session: Session, payment: Payment, step: Step, amount: int, took: set[str]
) -> tuple[list[ledger.Leg], list[ledger.Leg]]:
    """What the shares and the tax give back of *amount* paise (debits), and what discounts and licences get beside it.

    Shares in *took* were paid out already: their owners owe them. PLATFORM_FEE takes the residual.
    """
    if payment.is_side:  # a member's overage: its booking's own refund gave the shares back
        return [ledger.debit(f"MEMBER_RECEIVABLE|user:{payment.user_id}|INR", amount)], []
    debits: list[ledger.Leg] = []
    beyond: list[ledger.Leg] = []
    for code, side, paise in _booking_legs(session, payment):
        kind, _, owner = code.partition("|")
        if side == "D":
            if kind in BEYOND:
                beyond.append(ledger.credit(code, step.of(paise)))
            continue
        if code == ledger.PLATFORM_FEE:
            continue
        if code in took:
            code = f"{'HOST' if kind == 'ORG_PAYABLE' else 'CONSULTANT'}_RECEIVABLE|{owner}"
        debits.append(ledger.debit(code, step.of(paise)))
    rest = amount + sum(leg.paise for leg in beyond) - sum(leg.paise for leg in debits)
    if rest >= 0:
        debits.append(ledger.debit(ledger.PLATFORM_FEE, rest))
    else:  # a paisa that earlier steps rounded away from us
        debits.append(ledger.credit(ledger.PLATFORM_FEE, -rest))
    return [leg for leg in debits if leg.paise], [leg for leg in beyond if leg.paise]


def preview(session: Session, payment: Payment, amount: int, card: int) -> dict[str, Any]:
    """What a refund of *amount* paise, *card* of it through the provider, would do; nothing is written.

    {sources: [{source, paise}], shares: [{account, side, paise}], paid_out: bool}. Acts for the payer.
    """
    before = given_back(session, payment)
    step = (
        Step(before, before + amount, payment.amount_paise)
        if payment.amount_paise
        else Step(before, WHOLE, WHOLE)
    )
    took = paid_out(session, payment)
    debits, beyond = shared(session, payment, step, amount, took)
    wanted = Refund(amount_paise=amount, gateway_paise=card)
    sources = _returned(session, wanted, payment, settlement.parts_of(session, payment))
    return {
        "sources": [{"source": s.value, "paise": p} for s, p in sources.items() if p],
        "shares": [{"account": leg.code, "side": leg.side, "paise": leg.paise} for leg in (*debits, *beyond)],
        "paid_out": bool(took),
    }


def _post(session: Session, row: Refund, payment: Payment, step: Step, took: set[str]) -> None:
    """REFUND ``refund:<id>``: the BOOKING's credits give back their share, its debits receive it."""
    debits, beyond = shared(session, payment, step, row.amount_paise, took)
    parts = settlement.parts_of(session, payment)
    credits: list[ledger.Leg] = []
    for source, paise in _returned(session, row, payment, parts).items():
        if paise:
            credits.append(ledger.credit(_ACCOUNTS[source].format(org=payment.organization_id), paise))
            session.add(_reversal(payment, row, source, paise))
            if source in EFFECTS:
                beyond.extend(EFFECTS[source](session, row, payment, paise))
    for part in parts:
        if part.source == LegSource.LICENSE and step.of(part.covered):
            session.add(_reversal(payment, row, part.source, 0, step.of(part.covered)))
    legs = [*debits, *credits, *beyond]
    if legs:
        ledger.post(
            session,
            f"refund:{row.public_id}",
            "REFUND",
            _merged(legs),
            organization_id=payment.organization_id,
            description=f"Refund: {payment.description}",
            payment_id=str(payment.public_id),
            refund_id=str(row.public_id),
            beyond_paise=sum(leg.paise for leg in _merged(legs) if leg.side == "C") - row.amount_paise,
        )


def _apart(session: Session, payment: Payment, ref: str) -> None:
    """A member's overage that went back without its booking, or with it."""
    if not payment.is_side:
        return
    booking = session.get_one(Payment, payment.parent_payment_id, execution_options=settlement.EVERYWHERE)
    part, whole = given_back(session, booking), booking.amount_paise or WHOLE
    overages.level(session, payment, given_back(session, payment), min(part, whole), whole, ref)


def _merged(legs: Sequence[ledger.Leg]) -> list[ledger.Leg]:
    """One leg per account and side."""
    sums: dict[tuple[str, str], int] = {}
    for leg in legs:
        sums[leg.code, leg.side] = sums.get((leg.code, leg.side), 0) + leg.paise
    return [ledger.Leg(code, side, paise) for (code, side), paise in sums.items() if paise]


def _reversal(payment: Payment, row: Refund, source: LegSource, paise: int, covered: int = 0) -> PaymentLeg:
    return PaymentLeg(
        organization_id=payment.organization_id,
        payment_id=payment.id,
        source=source.reversal,
        source_ref=str(row.public_id),
        amount_paise=-paise,
        covered_paise=-covered,
    )


def _returned(session: Session, row: Refund, payment: Payment, parts: Sequence[Part]) -> dict[LegSource, int]:
    """What each source gets back: the card what the provider sent, the others the rest, cumulatively prorated."""
    out: dict[LegSource, int] = {LegSource.CARD: row.gateway_paise} if row.gateway_paise else {}
    others = [p for p in parts if p.source != LegSource.CARD and p.amount]
    if not others:
        return out
    before = -int(
        session.scalar(
            select(func.coalesce(func.sum(PaymentLeg.amount_paise), 0)).where(
                PaymentLeg.payment_id == payment.id,
                PaymentLeg.source.in_([p.source.reversal for p in others]),
            ),
            execution_options=settlement.EVERYWHERE,
        )
        or 0
    )
    rest = row.amount_paise - row.gateway_paise
    step = Step(before, before + rest, sum(p.amount for p in others))
    for part in others[:-1]:
        out[part.source] = step.of(part.amount)
    out[others[-1].source] = rest - sum(step.of(p.amount) for p in others[:-1])
    return out


def _booking_legs(session: Session, payment: Payment) -> list[tuple[str, str, int]]:
    """The legs of the BOOKING in the order they were posted; read across organisations, because shares belong to
    others than the payer."""
    with acting(session, scope="platform"):
        rows = session.execute(
            select(LedgerAccount.code, LedgerEntry.side, LedgerEntry.amount_paise)
            .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
            .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
            .where(LedgerTransaction.key == f"booking:{payment.public_id}")
            .order_by(LedgerEntry.id)
        ).all()
    return [(r.code, r.side, r.amount_paise) for r in rows]


def charge_back(session: Session, key: str, payment: Payment, amount: int, **details: Any) -> None:
    """CHARGEBACK ``chargeback:<dispute>`` of a booking: as a refund of *amount* paise, all of it out of CASH.

    The dispute's ``posted_paise`` is written before, so that what was given back so far includes this loss.
    """
    after = given_back(session, payment)
    step = Step(after - amount, after, payment.amount_paise)
    took = paid_out(session, payment)
    _earnings_back(session, payment, step)
    debits, beyond = shared(session, payment, step, amount, took)
    ledger.post(
        session,
        key,
        "CHARGEBACK",
        _merged([*debits, ledger.credit(ledger.CASH, amount), *beyond]),
        organization_id=payment.organization_id,
        description=f"Chargeback: {payment.description}",
        payment_id=str(payment.public_id),
        **details,
    )
    _apart(session, payment, key)
