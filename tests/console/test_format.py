"""Amounts, shares, dates and files as people in India read them."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import clock
from app.views import format as f
from app.views.base import export
from app.views.forms import parse_bps, parse_rupees


@pytest.mark.parametrize(
    ("paise", "text"),
    [
        (11800000, "₹1,18,000.00"),
        (0, "₹0.00"),
        (5, "₹0.05"),
        (-59000, "\u2212₹590.00"),
        (99999, "₹999.99"),
        (1_00_00_00_000_00, "₹1,00,00,00,000.00"),
        (None, "—"),
    ],
)
def test_money_is_grouped_the_indian_way(paise, text):
    assert f.money(paise) == text


@pytest.mark.parametrize(
    ("paise", "text"),
    [
        (95000, "₹950"),
        (2450000, "₹24,500"),
        (24000000, "₹2.4 L"),
        (1180000000, "₹1.18 Cr"),
        (999996000, "₹1 Cr"),
        (-24000000, "\u2212₹2.4 L"),
        (0, "₹0"),
    ],
)
def test_short_money_uses_lakh_and_crore(paise, text):
    assert f.short_money(paise) == text


@given(st.integers(-(10**15), 10**15))
def test_rupees_survive_showing_and_typing(paise):
    assert parse_rupees(f.money(paise)) == paise
    assert parse_rupees(f.rupees(paise)) == paise


@pytest.mark.parametrize("bad", ["", "abc", "1.234", "1e400", "NaN", "99999999999999999", "--5", "१२x"])
def test_amounts_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="amount"):
        parse_rupees(bad)


def test_shares():
    assert [f.bps(v) for v in (1000, 1250, 1, 0, None)] == ["10 %", "12.5 %", "0.01 %", "0 %", "—"]
    assert parse_bps("12.5 %") == 1250


def test_moments_read_like_speech_in_the_readers_zone(monkeypatch):
    now = dt.datetime(2026, 11, 23, 8, 35, tzinfo=dt.UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    assert f.moment(now) == "today 14:05"
    assert f.moment(now - dt.timedelta(hours=15)) == "yesterday 23:05"
    assert f.moment(now, dt.UTC) == "today 08:35"
    assert f.moment(dt.datetime(2025, 3, 3, tzinfo=dt.UTC)) == "3 Mar 2025"
    assert f.exact(now) == "2026-11-23 14:05:00+05:30"
    assert f.date(dt.date(2026, 11, 23)) == "23 Nov 2026"


def test_words_keep_acronyms():
    assert f.words("PENDING_VERIFICATION") == "Pending verification"
    assert f.label("organization_id") == "Organisation" and f.plural("Ledger entry") == "Ledger entries"
    assert f.label("total_paise") == "Total" and f.label("po_number") == "PO number"


@given(st.text(max_size=40))
def test_no_text_reaches_a_spreadsheet_as_a_formula(text):
    assert not export.guard(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_our_own_negative_numbers_stay_numbers():
    assert export.guard(export.plain(-59000, "money")) == "-590.00"
    assert export.guard("-590.00") == "'-590.00"
    assert (
        "".join(export.csv_lines(["A"], [["=1+1"], [export.Number("2.50")]]))
        == "\ufeffA\r\n'=1+1\r\n2.50\r\n"
    )


def test_a_workbook_opens_and_holds_text_as_text():
    import openpyxl

    book = openpyxl.load_workbook(
        export.xlsx_file(["Name", "Total (₹)"], [["=cmd|'x'!A1", export.Number("118000.50")]])
    )
    rows = list(book.active.iter_rows())
    assert rows[1][0].value == "=cmd|'x'!A1" and rows[1][0].data_type == "s" and rows[1][0].quotePrefix
    assert rows[1][1].value == 118000.5


def test_what_json_kept_reads_like_the_page_it_came_from():
    assert f.kept("overage_behavior", "CHARGE_MEMBER") == "Charge member"
    assert f.kept("license_cycle", "ANNUAL") == "Annual"
    assert f.kept("effective_from", "2026-11-26") == "26 Nov 2026"
    assert f.kept("signed_at", "2026-01-26T10:00:00+00:00") == "26 Jan 15:30"
    assert f.kept("currency", "INR") == "INR" and f.kept("invoice_number_prefix", "ACME") == "ACME"
    assert (
        f.kept("pin_code", "560058") == "560058" and f.kept("license_fee_paise", 12_000_000) == "₹1,20,000.00"
    )
    assert f.kept("auto_renew", True) == "Yes" and f.kept("name", "Growth 2026-27") == "Growth 2026-27"
