"""Integer tax, place of supply, shares (chapter 2, 2.3 and 2.10; chapter 4, 4.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from num2words import num2words

from app.documents.words import rupees_in_words
from app.services import metering, tax


@pytest.mark.parametrize(
    ("taxable", "bps", "expected"),
    [
        (500_000, 1800, 90_000),
        (100_003, 1800, 18_001),
        (100_002, 1800, 18_000),
        (1, 1800, 0),
        (3, 1800, 1),
        (25, 200, 1),
        (24, 200, 0),
        (0, 1800, 0),
        (999, 0, 0),
        (10**15, 1800, 18 * 10**13),
    ],
)
def test_tax_is_half_up_to_the_paisa(taxable, bps, expected):
    assert tax.tax(taxable, bps) == expected


def test_tax_refuses_negative_amounts():
    with pytest.raises(ValueError, match="negative"):
        tax.tax(-1, 1800)


@given(st.integers(0, 10**14), st.integers(0, 10_000))
def test_tax_agrees_with_exact_fractions(taxable, bps):
    from fractions import Fraction

    exact = Fraction(taxable * bps, 10_000)
    got = tax.tax(taxable, bps)
    assert abs(got - exact) <= Fraction(1, 2) and exact - got != Fraction(1, 2)


def test_heads_are_rounded_one_by_one():
    assert [(h.name, h.paise) for h in tax.heads(100_003, 1800, "29", "29")] == [
        ("CGST", 9000),
        ("SGST", 9000),
    ]
    lines = [tax.heads(33_334, 1800, "29", "29") for _ in range(3)]
    assert [[h.paise for h in line] for line in lines] == [[3000, 3000]] * 3
    assert 3 * 33_334 + sum(h.paise for line in lines for h in line) == 118_002


@pytest.mark.parametrize(
    ("supplier", "recipient", "names"),
    [
        ("29", "29", ["CGST", "SGST"]),
        ("29", "27", ["IGST"]),
        ("38", "38", ["CGST", "UTGST"]),
        ("07", "07", ["CGST", "SGST"]),
        ("34", "34", ["CGST", "SGST"]),
        ("01", "01", ["CGST", "SGST"]),
        ("04", "04", ["CGST", "UTGST"]),
    ],
)
def test_heads_follow_the_place_of_supply(supplier, recipient, names):
    heads = tax.heads(118_000, 1800, supplier, recipient)
    assert (
        [h.name for h in heads] == names and [h.rate for h in heads] == ["9 %"] * 2
        if len(names) == 2
        else ["18 %"]
    )


def test_exempt_supply_has_no_heads():
    assert tax.heads(1000, 0, "29", "29") == []


def test_odd_rate_is_halved_exactly():
    assert [h.paise for h in tax.heads(100_000, 25, "29", "29")] == [125, 125]


@pytest.mark.parametrize(
    ("gross", "card", "hosted", "to_org", "expected"),
    [
        (800_000, tax.NO_HOST, False, False, (160_000, 0, 640_000)),
        (800_100, tax.HOSTED, True, False, (80_010, 80_010, 640_080)),
        (99_999, tax.Card(1500, 1000, 7500), True, False, (14_999, 10_001, 74_999)),
        (1_000_000, tax.Card(1500, 1000, 7500), True, True, (150_000, 850_000, 0)),
        (500_000, tax.HOSTED, True, False, (50_000, 50_000, 400_000)),
        (1, tax.NO_HOST, False, False, (0, 0, 1)),
    ],
)
def test_splits_of_the_specification(gross, card, hosted, to_org, expected):
    s = tax.split(gross, card, hosted=hosted, to_organization=to_org)
    assert (s.platform, s.org, s.consultant) == expected


@given(st.integers(0, 10**13), st.integers(0, 10_000), st.integers(0, 10_000), st.booleans(), st.booleans())
def test_splits_lose_nothing(gross, a, b, hosted, to_org):
    platform, org = min(a, b), abs(a - b)
    card = tax.Card(platform, org, 10_000 - platform - org)
    s = tax.split(gross, card, hosted=hosted, to_organization=to_org)
    assert s.platform + s.org + s.consultant == gross and min(s.platform, s.org, s.consultant) >= 0


def test_split_needs_a_whole():
    with pytest.raises(ValueError, match="10000"):
        tax.split(100, tax.Card(1000, 1000, 7999), hosted=True)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 5000))
def test_pool_covers_what_is_left(price, budget, consumed, surcharge):
    m = metering.pool(price, budget, consumed, surcharge)
    assert m.covered == min(price, max(0, budget - consumed)) and m.covered + m.base == price
    assert m.marginal == m.base + m.base * surcharge // 10_000


def test_pool_example_of_the_specification():
    m = metering.pool(500_000, 5_000_000, 4_900_000, 1000)
    assert (m.covered, m.base, m.surcharge, m.marginal) == (100_000, 400_000, 40_000, 440_000)


@pytest.mark.parametrize(
    ("paise", "text"),
    [
        (11_800_000, "Rupees One Lakh Eighteen Thousand Only"),
        (0, "Rupees Zero Only"),
        (59_000_000, "Rupees Five Lakh Ninety Thousand Only"),
        (10_050, "Rupees One Hundred and Fifty Paise Only"),
        (10**9, "Rupees One Crore Only"),
        (
            12_345_678_901,
            "Rupees Twelve Crore Thirty-Four Lakh Fifty-Six Thousand Seven Hundred Eighty-Nine and One Paise Only",
        ),
        (10**12, "Rupees One Thousand Crore Only"),
    ],
)
def test_amounts_in_words(paise, text):
    assert rupees_in_words(paise) == text


_UNITS = {
    **{num2words(n).capitalize(): n for n in range(20)},
    **{num2words(n).capitalize(): n for n in range(20, 100, 10)},
}


@given(st.integers(0, 10**16))
def test_words_say_the_number(paise):
    """Read the words back with an independent little parser."""

    def value(text):
        total = current = 0
        for word in text.replace("-", " ").split():
            if word == "Hundred":
                current *= 100
            elif word in ("Thousand", "Lakh"):
                total, current = total + current * {"Thousand": 1000, "Lakh": 100_000}[word], 0
            elif word == "Crore":
                total, current = (total + current) * 10**7, 0
            else:
                current += _UNITS[word]
        return total + current

    said = rupees_in_words(paise).removeprefix("Rupees ").removesuffix(" Only")
    rupees, _, rest = said.partition(" and ")
    assert value(rupees) * 100 + (value(rest.removesuffix(" Paise")) if rest else 0) == paise
