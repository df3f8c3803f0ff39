"""The payer's telephone number before a provider's page opens (chapter 2, 2.7; chapter 4, 4.7)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateways.prefill import WARNING, clean_contact, prefill


@pytest.mark.scenario("M-46")
@pytest.mark.parametrize(
    ("given_contact", "cleaned"),
    [
        ("(+91) 98765-43210", "+919876543210"),
        ("98765 43210", "9876543210"),
        ("+1 415 555 2671", "+14155552671"),
        ("+919999999999", None),  # ten nines in a row
        ("9999999999", None),
        ("+91 999-999-9999", None),
        ("+919999999998", "+919999999998"),  # nine
        ("0987654321", None),  # begins with 0
        ("+0987654321", None),
        ("123456789", None),  # nine digits
        ("123456789012345", "123456789012345"),
        ("1234567890123456", None),
        ("++919876543210", None),
        ("91987654321x", None),
        ("٩٨٧٦٥٤٣٢١٠", None),  # digits, but not those
        ("+919876543210\n", "+919876543210"),
        ("", None),
        (None, None),
    ],
)
def test_contact(given_contact, cleaned):
    assert clean_contact(given_contact) == cleaned


@pytest.mark.scenario("M-46")
def test_what_cannot_be_used_is_left_out_with_a_warning():
    assert prefill("Asha Rao", "asha@acme.test", "+919999999999").values == {
        "name": "Asha Rao",
        "email": "asha@acme.test",
    }
    assert prefill("Asha Rao", "", "+919999999999").contact_warning == WARNING
    assert prefill(" ", None, None).values == {} and prefill("x", "y", None).contact_warning is None
    assert prefill("x", "y", "  ").contact_warning is None
    assert prefill("", "", "(+91) 98765-43210").values == {"contact": "+919876543210"}


@given(st.text(max_size=30))
def test_whatever_is_typed_comes_out_clean_or_not_at_all(contact):
    result = clean_contact(contact)
    assert result is None or (
        re.fullmatch(r"\+?[1-9][0-9]{9,14}", result) and not re.search(r"([0-9])\1{9}", result)
    )
