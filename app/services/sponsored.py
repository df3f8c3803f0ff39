"""How an organisation pays a booking: from which source, how far its program covers it, who owes the rest (2.4, 2.5, 2.6).

Pure: a row that the checkout read goes in, parts and shares come out. Funding decides the legs:

| Funding | Program | Covered | Overage of the organisation |
|---|---|---|---|
| WALLET | credit pool | WALLET, taxed | the same leg |
| INVOICE | credit pool | INVOICE_ACCRUAL | OVERAGE_INVOICE_ACCRUAL |
| INVOICE, LICENSE | licensed seat | LICENSE, 0 paise with what it covered | OVERAGE_INVOICE_ACCRUAL |

What a member owes is a payment of its own, with its tax; the booking's payment keeps the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.errors import DomainError
from app.models import ChargeTo, LegSource, OverageStatus, PlanType, ProgramType
from app.services import metering, tax
from app.services.booking_record import Funding, Overage, Part, Quote, division
from app.services.metering import Outcome

TRUST_CAP = 5_000_000  # paise an organisation may owe before its first paid invoice (2.6 step 8)
_PROGRAMS = {
    "WALLET": (ProgramType.CREDIT_POOL,),
    "INVOICE": (ProgramType.CREDIT_POOL, ProgramType.LICENSED_SEAT),
    "LICENSE": (ProgramType.LICENSED_SEAT,),
}


class CapExhausted(DomainError):
    """PROGRAM_CAP_EXHAUSTED, with what ``overages.record_blocked`` writes once the refusal has rolled back."""

    def __init__(self, row: Mapping[str, Any], outcome: Outcome) -> None:
        m = outcome.metered
        super().__init__(
            "PROGRAM_CAP_EXHAUSTED",
            program=row["program_name"],
            marginal_paise=m.marginal,
            spent_paise=int(row["pool_overage_paise"]),
            ceiling_paise=row["max_overage_per_cycle_paise"],
        )
        self.row, self.outcome = dict(row), outcome


def meter(row: Mapping[str, Any], price_paise: int, engagements: int = 1) -> Outcome:
    """Steps 4 and 6: the place that covers the booking, and how far.

    Raises PROGRAM_ASSIGNMENT_INACTIVE, EXPERT_NOT_ON_PANEL, PROGRAM_SESSION_CAP_REACHED, PROGRAM_CAP_EXHAUSTED.
    """
    if row["assignment_id"] is None or row["program_type"] not in _PROGRAMS.get(row["funding_source"], ()):
        raise DomainError("PROGRAM_ASSIGNMENT_INACTIVE")
    if not row["on_panel"]:
        raise DomainError("EXPERT_NOT_ON_PANEL", program=row["program_name"])
    outcome = decided(row, price_paise, engagements)
    if outcome.refusal == "PROGRAM_CAP_EXHAUSTED":
        raise CapExhausted(row, outcome)
    if outcome.refusal is not None:
        raise DomainError(
            outcome.refusal,
            program=row["program_name"],
            covered_paise=outcome.metered.covered,
            missing_paise=outcome.metered.marginal,
        )
    return outcome


def decided(row: Mapping[str, Any], price_paise: int, engagements: int = 1) -> Outcome:
    """What metering says of a place that was read, refusals included."""
    return metering.decide(*metering.of_row(row), price_paise, engagements)


def engagements(row: Mapping[str, Any], sessions: int) -> int:
    """How many engagements a booking is: 1, or the sessions of a class."""
    return max(1, sessions) if row["type"] == PlanType.CLASS else 1


def by_session(row: Mapping[str, Any]) -> bool:
    """Whether the booking is a subscription on a seat: its sessions count one by one when the expert plans them, as
    ``seat_sessions`` says. A pool pays a subscription whole (2.5)."""
    return bool(row["type"] == PlanType.SUBSCRIPTION and row["program_type"] == ProgramType.LICENSED_SEAT)


def session_price(row: Mapping[str, Any], price_paise: int) -> int:
    """What one session of a subscription is worth, paise: floored, the last one takes the rest."""
    return price_paise // max(1, int(row["total_sessions"] or 1))


def fund(row: Mapping[str, Any], quote: Quote, engagements: int = 1, *, planned: bool = False) -> Funding:
    """Where the money of a sponsored booking comes from; its ``quote`` has surcharge, shares and tax put right.

    *planned*: a session of a subscription that gets its time, where otherwise the subscription itself is booked.
    A member may add to a wallet that is short (allow_member_top_up), but not where they owe an overage already. Raises
    what ``meter`` raises.
    """
    if by_session(row) and not planned:
        return _to_be_planned(row, quote)
    outcome = meter(row, quote.price, engagements)
    quote = _priced(row, quote, outcome)
    m, to = outcome.metered, outcome.charge_to
    method = "LICENSE" if row["program_type"] == ProgramType.LICENSED_SEAT else row["funding_source"]
    parts = _parts(row, quote, outcome)
    wallet = sum(p.amount for p in parts if p.source == LegSource.WALLET)
    balance = row["wallet_balance_paise"] or 0
    short = method == "WALLET" and wallet > balance > 0 and row["wallet_frozen_at"] is None
    if short and row["allow_member_top_up"] and to != ChargeTo.MEMBER:
        parts = (Part(LegSource.WALLET, balance, m.covered), Part(LegSource.CARD, wallet - balance))
        method = "CARD"
    waits = method == "CARD"
    overage = None
    if m.marginal and to is not None:
        at_once = to == ChargeTo.ORGANIZATION and row["funding_source"] == "WALLET" and not waits
        status = OverageStatus.CHARGED if at_once else OverageStatus.PENDING
        overage = Overage(to, status, m.base, m.surcharge)
    return Funding(method, parts, quote, overage, m.engagements, m.covered, _earnings(row, quote, parts))


def _to_be_planned(row: Mapping[str, Any], quote: Quote) -> Funding:
    """A subscription on a seat costs nothing until its sessions are planned; refused where the first one would be."""
    meter(row, session_price(row, quote.price))
    nothing = replace(quote, price=0, tax=0, discount=0, shares=tax.Split(0, 0, 0), others=())
    return Funding("LICENSE", (Part(LegSource.LICENSE, 0),), nothing, engagements=0, per_session=quote.price)


def _priced(row: Mapping[str, Any], quote: Quote, outcome: Outcome) -> Quote:
    """The shares are of price and surcharge; wallets and members pay tax now, invoices and licences on their invoice."""
    m, member = outcome.metered, outcome.charge_to == ChargeTo.MEMBER
    seat, wallet = row["program_type"] == ProgramType.LICENSED_SEAT, row["funding_source"] == "WALLET"
    theirs = m.marginal if member else 0
    shares, others = division(
        quote.price + m.surcharge,
        quote.card,
        hosted=row["host_id"] is not None,
        to_organization=bool(row["to_organization"]),
        others=[(s.user_id, s.bps) for s in quote.others],
    )
    return replace(
        quote,
        shares=shares,
        others=others,
        tax=tax.tax(quote.price + m.surcharge - theirs, quote.tax_bps) if wallet else 0,
        surcharge=m.surcharge,
        license=m.covered if seat else 0,
        member=theirs,
        member_tax=tax.tax(theirs, quote.tax_bps),
    )


def _parts(row: Mapping[str, Any], quote: Quote, outcome: Outcome) -> tuple[Part, ...]:
    m = outcome.metered
    if row["funding_source"] == "WALLET":
        return (Part(LegSource.WALLET, quote.amount, m.covered),)
    overage = quote.surcharge + m.base - quote.member
    beyond = (Part(LegSource.OVERAGE_INVOICE_ACCRUAL, overage),) if overage else ()
    if row["program_type"] == ProgramType.LICENSED_SEAT:
        return (Part(LegSource.LICENSE, 0, m.covered), *beyond)
    return (Part(LegSource.INVOICE_ACCRUAL, m.covered, m.covered), *beyond)


def _earnings(row: Mapping[str, Any], quote: Quote, parts: tuple[Part, ...]) -> tuple[str, str]:
    """(state of the shares now, state once nothing holds them): HELD for a member's overage; PENDING_TRUST where an
    invoice has to pay and none ever was (2.10)."""
    invoiced = any(
        p.source not in (LegSource.WALLET, LegSource.CARD) and (p.amount or p.covered) for p in parts
    )
    waits = row["funding_source"] == "INVOICE" and invoiced and not row["trusted"]
    after = "PENDING_TRUST" if waits else "PENDING"
    return ("HELD" if quote.member else after), after


def credit_limit(credit_limit_paise: int | None, trusted: bool) -> int | None:
    """What an organisation that pays by invoice may owe, paise; None is unlimited. Until it is trusted at most 5,000,000."""
    if trusted:
        return credit_limit_paise
    return TRUST_CAP if credit_limit_paise is None else min(credit_limit_paise, TRUST_CAP)


def within_limit(row: Mapping[str, Any], funding: Funding) -> int | None:
    """Step 8: refuse early what the posting would refuse; the limit the posting is held to, None without one.

    Raises CREDIT_LIMIT_EXCEEDED.
    """
    if row["funding_source"] != "INVOICE" or not funding.accrued:
        return None
    limit = credit_limit(row["credit_limit_paise"], row["trusted"])
    owed = int(row["owed_paise"] or 0)
    if limit is not None and owed + funding.accrued > limit:
        raise DomainError(
            "CREDIT_LIMIT_EXCEEDED", limit_paise=limit, exposure_paise=owed, amount_paise=funding.accrued
        )
    return limit
