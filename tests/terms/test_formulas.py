"""The exact formulas of metering (chapter 2, "Metering")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models import ChargeTo, OverageBehavior
from app.services.metering import Metered, Outcome, Terms, Usage, decide, pool, seat

paise = st.integers(0, 10**9)
bps = st.integers(0, 100_000)


@given(
    price=paise,
    n=st.integers(1, 60),
    cap=st.integers(1, 80) | st.none(),
    used=st.integers(0, 90),
    most=st.integers(1, 10**8) | st.none(),
    surcharge=bps,
)
def test_a_seat_covers_engagement_by_engagement(price, n, cap, used, most, surcharge):
    """C = Σ min(u, price cap) over the first max(0, cap − used); u = ⌊P / n⌋ and the last takes the rest."""
    units = [price // n] * (n - 1)
    units.append(price - sum(units))
    inside = n if cap is None else min(n, max(0, cap - used))
    covered = sum(min(u, most if most is not None else u) for u in units[:inside])
    m = seat(price, n, cap, used, most, surcharge)
    assert m == Metered(covered, price - covered, (price - covered) * surcharge // 10_000, inside)
    assert m.marginal == m.base + m.surcharge and 0 <= m.covered <= price


@given(price=paise, budget=paise, consumed=paise, surcharge=bps)
def test_a_pool_covers_what_is_left(price, budget, consumed, surcharge):
    m = pool(price, budget, consumed, surcharge)
    assert m.covered == min(price, max(0, budget - consumed)) and m.covered + m.base == price
    assert m.surcharge == m.base * surcharge // 10_000


@given(
    price=paise,
    n=st.integers(1, 20),
    used=st.integers(0, 20),
    spent=paise,
    ceiling=st.integers(1, 10**9),
    surcharge=bps,
    behavior=st.sampled_from(["CHARGE_ORG", "CHARGE_MEMBER"]),
)
def test_a_ceiling_is_never_passed_and_never_refuses_what_fits(
    price, n, used, spent, ceiling, surcharge, behavior
):
    terms = Terms(cap=10, behavior=behavior, surcharge_bps=surcharge, ceiling=ceiling)
    got = decide(terms, Usage(used, 0, spent), price, n)
    m = got.metered
    if not m.base:
        assert got == Outcome(m)
    elif spent + m.marginal > ceiling:
        assert got.refusal == "PROGRAM_CAP_EXHAUSTED"
    else:
        assert got.refusal is None
        assert got.charge_to == (ChargeTo.ORGANIZATION if behavior == "CHARGE_ORG" else ChargeTo.MEMBER)


@given(price=st.integers(1, 10**9), n=st.integers(1, 20), used=st.integers(0, 40))
def test_block_refuses_whatever_is_not_covered_whole(price, n, used):
    got = decide(Terms(cap=20, behavior=OverageBehavior.BLOCK), Usage(used), price, n)
    assert (got.refusal == "PROGRAM_SESSION_CAP_REACHED") == (got.metered.covered < price)


@given(price=paise, n=st.integers(1, 50), used=st.integers(0, 10**6))
def test_unlimited_covers_everything(price, n, used):
    assert decide(Terms(), Usage(used), price, n).metered == Metered(price, 0, 0, n)


def test_figures_of_the_chapter():
    """M-25's preview, M-28's price cap, and a class of three at a cap of two."""
    assert pool(500_000, 5_000_000, 4_900_000, 1000) == Metered(100_000, 400_000, 40_000)
    assert seat(500_000, 1, 12, 0, 300_000) == Metered(300_000, 200_000, 0)
    assert seat(100_001, 3, 2, 0) == Metered(66_666, 33_335, 0, 2)
    with pytest.raises(ValueError, match="at least one"):
        seat(1, 0, None, 0)
