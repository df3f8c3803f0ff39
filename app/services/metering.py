"""What a program covers of a booking, and what lies beyond: pure arithmetic in paise (chapter 2, 2.5 "Metering").

The checkout and its preview both call ``decide`` with what ``of_row`` read, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.models import ChargeTo, OverageBehavior, ProgramType

CREDIT_PAISE = 100  # one credit is one rupee
WHOLE = 10_000  # bps


@dataclass(frozen=True)
class Metered:
    """The price of a booking divided into what the program covers and what it does not, paise.

    ``engagements`` of it count against the program's cap.
    """

    covered: int
    base: int
    surcharge: int
    engagements: int = 1

    @property
    def marginal(self) -> int:
        """What somebody pays beyond the program: base and surcharge."""
        return self.base + self.surcharge


@dataclass(frozen=True)
class Terms:
    """How a program meters. *cap* None: unlimited engagements; *budget* None: a seat; *ceiling* None: none is needed."""

    cap: int | None = None
    price_cap: int | None = None
    budget: int | None = None
    behavior: str = OverageBehavior.BLOCK
    surcharge_bps: int = 0
    ceiling: int | None = None


@dataclass(frozen=True)
class Usage:
    """What was used in the cycle before this booking; paise but for the engagements."""

    engagements: int = 0
    consumed: int = 0
    overage: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a booking would mean: its division, who pays the marginal, and the code that refuses it."""

    metered: Metered
    charge_to: ChargeTo | None = None
    refusal: str | None = None


def _over(price: int, covered: int, surcharge_bps: int, engagements: int) -> Metered:
    base = price - covered
    return Metered(covered, base, base * surcharge_bps // WHOLE, engagements)


def pool(
    price_paise: int, budget_paise: int, consumed_paise: int, surcharge_bps: int = 0, engagements: int = 1
) -> Metered:
    """A credit pool's cover: C = min(P, budget − consumed), base = P − C, surcharge = ⌊base × bps / 10000⌋."""
    left = max(0, budget_paise - consumed_paise)
    return _over(price_paise, min(price_paise, left), surcharge_bps, engagements)


def seat(
    price_paise: int,
    engagements: int,
    cap: int | None,
    used: int,
    price_cap_paise: int | None = None,
    surcharge_bps: int = 0,
) -> Metered:
    """A licensed seat's cover: C = Σ min(u, price cap) over the first max(0, cap − used) of n engagements.

    u = ⌊P / n⌋, the last engagement takes the rest. Only covered engagements count against the cap.
    """
    if engagements < 1:
        raise ValueError("a booking has at least one engagement")
    unit = price_paise // engagements
    rest = price_paise - unit * (engagements - 1)
    inside = engagements if cap is None else min(engagements, max(0, cap - used))
    most = price_paise if price_cap_paise is None else price_cap_paise
    covered = min(unit, most) * min(inside, engagements - 1)
    if inside == engagements:
        covered += min(rest, most)
    return _over(price_paise, covered, surcharge_bps, inside)


def decide(terms: Terms, usage: Usage, price_paise: int, engagements: int = 1) -> Outcome:
    """What becomes of a booking: covered whole, charged beyond the program, or refused.

    Refusals: PROGRAM_SESSION_CAP_REACHED (BLOCK), PROGRAM_CAP_EXHAUSTED (the cycle's ceiling of overage).
    """
    if terms.budget is not None:
        m = pool(price_paise, terms.budget, usage.consumed, terms.surcharge_bps, engagements)
    else:
        m = seat(price_paise, engagements, terms.cap, usage.engagements, terms.price_cap, terms.surcharge_bps)
    if m.marginal == 0 and m.base == 0:
        return Outcome(m)
    if terms.behavior == OverageBehavior.BLOCK:
        return Outcome(m, None, "PROGRAM_SESSION_CAP_REACHED")
    to = ChargeTo.ORGANIZATION if terms.behavior == OverageBehavior.CHARGE_ORG else ChargeTo.MEMBER
    if usage.overage + m.marginal > (terms.ceiling or 0):
        return Outcome(m, to, "PROGRAM_CAP_EXHAUSTED")
    return Outcome(m, to)


def of_row(row: Mapping[str, Any]) -> tuple[Terms, Usage]:
    """Terms and usage of a row of ``checkout_sql.COVERING``; a shared pool's usage is everybody's."""
    seats = row["program_type"] == ProgramType.LICENSED_SEAT
    terms = Terms(
        cap=row["covered_engagements_per_cycle"] if seats else None,
        price_cap=row["price_cap_per_engagement_paise"] if seats else None,
        budget=None if seats else int(row["credits_per_cycle"]) * CREDIT_PAISE,
        behavior=row["overage_behavior"],
        surcharge_bps=row["overage_surcharge_bps"],
        ceiling=row["max_overage_per_cycle_paise"],
    )
    return terms, Usage(
        row["engagements_used"], int(row["pool_consumed_paise"]), int(row["pool_overage_paise"])
    )
