"""Every case of chapter 4, 4.2, against the published vectors and against itself."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from app.documents.words import rupees_in_words
from app.models import DocumentNature, SupplyType, TaxTreatment
from app.services import gst, tax

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "gst_vectors.json").read_text())
UNION = frozenset({"04", "26", "31", "35", "38", "97"})


def regime_of(context, *, under_lut=None):
    gstin = context.get("recipient_gstin")
    who = gst.Recipient(
        None if gstin == "URP" else gstin,
        gst.ABROAD if gstin == "URP" else context.get("recipient_state") or (gstin or "")[:2] or None,
        sez=context.get("recipient_category") == "SEZ",
        authorised_operations=context.get("authorised_operations", True),
    )
    place = gst.place_of_supply(context["supplier_state"], who)
    return gst.regime(
        context["supplier_state"],
        who,
        under_lut=bool(context.get("lut_arn")) if under_lut is None else under_lut,
        union_territory=place in UNION,
    )


@pytest.mark.parametrize("vector", VECTORS["invoices"], ids=lambda v: v["id"])
def test_vectors_of_invoices(vector):
    how = regime_of(vector["context"])
    assert how.place == vector["context"]["pos"]
    if "suptyp" in vector["context"]:
        assert how.supply_type == vector["context"]["suptyp"]
    else:
        assert how.supply_type == SupplyType.B2C
    if "endorsement" in vector:
        assert gst.ENDORSEMENTS[how.supply_type] == vector["endorsement"]
    total = gst.Heads()
    taxable = 0
    for line in vector["lines"]:
        assert line["qty"] * line["unit_price"] - line["discount"] == line["taxable"]
        heads = how.heads(line["taxable"], line["rate_bp"])
        assert (heads.cgst, heads.sgst, heads.utgst, heads.igst) == (
            line["cgst"],
            line["sgst"],
            line["utgst"],
            line["igst"],
        )
        total, taxable = total + heads, taxable + line["taxable"]
    expected = vector["expected"]
    assert (total.total, taxable + total.total) == (expected["tax_total"], expected["subtotal"])
    gross = vector["context"].get("gross_charged")
    round_off = gross - taxable - total.total if gross else 0
    assert (round_off, taxable + total.total + round_off) == (expected["round_off"], expected["total"])
    assert rupees_in_words(expected["total"]) == vector["total_in_words"]
    if gross:
        assert gst.inclusive(gross, 1800) == taxable


def test_vector_of_a_sez_without_lut():
    vector = next(v for v in VECTORS["invoices"] if "counterfactual_SEZWP" in v)
    how = regime_of(vector["context"], under_lut=False)
    line = vector["lines"][0]
    assert how.supply_type == SupplyType.SEZWP and how.inter_state
    assert how.heads(line["taxable"], line["rate_bp"]) == gst.Heads(
        igst=vector["counterfactual_SEZWP"]["igst"]
    )


def test_vector_of_credit_notes_by_parts():
    vector = next(v for v in VECTORS["invoices"] if "credit_notes" in v)
    how, line = regime_of(vector["context"]), vector["lines"][0]
    whole = how.heads(line["taxable"], line["rate_bp"])
    before = 0
    for note in vector["credit_notes"]:
        heads = gst.part(whole, how, line["rate_bp"], line["taxable"], before, note["taxable"])
        before += note["taxable"]
        assert (heads.igst, note["taxable"] + heads.total) == (note["igst"], note["total"])
        assert (line["taxable"] - before) == note["remaining_taxable"]
    assert gst.credit_deadline(dt.date(2026, 5, 10), "11-30").isoformat() == vector["context"]["s34_deadline"]


@pytest.mark.parametrize(("paise", "words"), VECTORS["words"])
def test_vectors_of_words(paise, words):
    assert rupees_in_words(paise) == words


@pytest.mark.parametrize("vector", VECTORS["fy"], ids=lambda v: v["utc"])
def test_vectors_of_the_financial_year(vector):
    moment = dt.datetime.fromisoformat(vector["utc"].replace("Z", "+00:00"))
    assert gst.fiscal_label(gst.fiscal_year(moment)) == vector["fy"]


@pytest.mark.scenario("M-35")
def test_each_line_and_each_head_is_rounded_for_itself():
    how = gst.regime("29", gst.Recipient("29AAZCB1234R1ZR", "29"), under_lut=True, union_territory=False)
    one = how.heads(100_003, 1800)
    assert (one, 100_003 + one.total) == (gst.Heads(9_000, 9_000), 118_003)
    three = [how.heads(33_334, 1800) for _ in range(3)]
    assert three == [gst.Heads(3_000, 3_000)] * 3
    assert 3 * 33_334 + sum(h.total for h in three) == 118_002


@pytest.mark.parametrize(
    ("who", "place"),
    [
        (gst.Recipient("27AAPFU0939F1ZV", "29"), "27"),  # registered: the registered state
        (gst.Recipient(None, "33"), "33"),  # unregistered: the state on record
        (gst.Recipient(None, None), "29"),  # else the supplier's
        (gst.Recipient(None, "96"), "96"),  # abroad
    ],
)
def test_place_of_supply(who, place):
    assert gst.place_of_supply("29", who) == place


def test_an_event_in_person_is_supplied_where_it_takes_place_to_the_unregistered_only():
    assert gst.place_of_supply("29", gst.Recipient(None, "33"), "30") == "30"
    assert gst.place_of_supply("29", gst.Recipient("27AAPFU0939F1ZV", "27"), "30") == "27"


@pytest.mark.parametrize(
    ("place", "gstin", "heads"),
    [
        ("29", "29AAZCB1234R1ZR", gst.Heads(9_000, 9_000)),
        ("27", "27AAPFU0939F1ZV", gst.Heads(igst=18_000)),
    ],
)
def test_same_state_or_another(place, gstin, heads):
    how = gst.regime("29", gst.Recipient(gstin, place), under_lut=True, union_territory=False)
    assert how.heads(100_000, 1800) == heads


@pytest.mark.parametrize(
    ("state", "local"), [("04", "utgst"), ("38", "utgst"), ("07", "sgst"), ("34", "sgst"), ("01", "sgst")]
)
def test_union_territories_levy_utgst_but_for_delhi_puducherry_and_jammu(state, local):
    how = gst.regime(state, gst.Recipient(None, state), under_lut=True, union_territory=state in UNION)
    assert getattr(how.heads(100_000, 1800), local) == 9_000


def test_exports_with_and_without_a_letter_of_undertaking():
    abroad = gst.Recipient(None, gst.ABROAD)
    free = gst.regime("29", abroad, under_lut=True, union_territory=False)
    taxed = gst.regime("29", abroad, under_lut=False, union_territory=False)
    assert (free.supply_type, free.heads(100_000, 1800)) == (SupplyType.EXPWOP, gst.Heads())
    assert (taxed.supply_type, taxed.heads(100_000, 1800)) == (SupplyType.EXPWP, gst.Heads(igst=18_000))


def test_a_sez_outside_its_authorised_operations_is_taxed_like_another_state():
    who = gst.Recipient("29AAZCS1234T1Z6", "29", sez=True, authorised_operations=False)
    how = gst.regime("29", who, under_lut=True, union_territory=False)
    assert (how.supply_type, how.heads(100_000, 1800)) == (SupplyType.B2B, gst.Heads(igst=18_000))


def test_reverse_charge_charges_nothing():
    who = gst.Recipient("29AAZCB1234R1ZR", "29")
    how = gst.regime("29", who, under_lut=True, union_territory=False, reverse_charge=True)
    assert how.heads(100_000, 1800) == gst.Heads() and how.supply_type == SupplyType.B2B


def test_exempt_supplies_go_on_a_bill_of_supply():
    taxable, exempt = TaxTreatment.TAXABLE, TaxTreatment.EXEMPT
    assert gst.nature([exempt], registered=True) == DocumentNature.BILL_OF_SUPPLY
    assert gst.nature([taxable], registered=True) == DocumentNature.TAX_INVOICE
    assert gst.nature([taxable, exempt], registered=True) is None
    assert gst.nature([taxable, exempt], registered=False) == DocumentNature.INVOICE_CUM_BILL


def test_negative_amounts_are_refused():
    how = gst.regime("29", gst.Recipient(None, "29"), under_lut=True, union_territory=False)
    with pytest.raises(ValueError, match="absolutes"):
        how.heads(-1, 1800)
    with pytest.raises(ValueError, match="within"):
        gst.part(gst.Heads(), how, 1800, 100, 60, 41)


REGIMES = st.sampled_from(
    [
        gst.regime("29", gst.Recipient(None, "29"), under_lut=True, union_territory=False),
        gst.regime("04", gst.Recipient(None, "04"), under_lut=True, union_territory=True),
        gst.regime("29", gst.Recipient(None, "27"), under_lut=True, union_territory=False),
        gst.regime("29", gst.Recipient(None, "96"), under_lut=True, union_territory=False),
    ]
)
RATES = st.sampled_from([0, 1, 250, 500, 1200, 1799, 1800, 2800])


@given(REGIMES, RATES, st.lists(st.integers(1, 10**9), min_size=1, max_size=12))
def test_notes_for_parts_of_a_line_add_up_to_it(how, bps, cuts):
    taxable = sum(cuts)
    whole = how.heads(taxable, bps)
    before, total = 0, gst.Heads()
    for cut in cuts:
        heads = gst.part(whole, how, bps, taxable, before, cut)
        assert min(heads.cgst, heads.sgst, heads.utgst, heads.igst) >= 0
        before, total = before + cut, total + heads
    assert total == whole


@given(REGIMES, RATES, st.integers(0, 10**12))
def test_tax_is_within_half_a_paisa_of_the_rate_on_each_head(how, bps, taxable):
    heads = how.heads(taxable, bps)
    if not how.charged:
        assert heads == gst.Heads()
        return
    if how.inter_state:
        assert abs(heads.igst * tax.BPS - taxable * bps) * 2 <= tax.BPS
    else:
        assert heads.cgst == heads.sgst + heads.utgst
        assert abs(heads.cgst * 2 * tax.BPS - taxable * bps) <= tax.BPS


@given(st.integers(1, 10**12), RATES)
def test_a_price_that_includes_tax_is_taken_apart_to_within_its_rounding(gross, bps):
    taxable = gst.inclusive(gross, bps)
    assert abs(gross - taxable - tax.tax(taxable, bps)) <= 1


@given(st.integers(0, 10**12))
def test_rounding_to_the_rupee_is_half_up(total):
    off = gst.to_rupee(total)
    assert (total + off) % 100 == 0 and -50 < off <= 50


@given(how=REGIMES, lines=st.lists(st.tuples(st.integers(0, 10**10), RATES), min_size=1, max_size=20))
def test_the_database_taxes_as_python_does(web_engine, how, lines):
    cgst, sgst, utgst, igst = gst.sql_heads("t", "b", how)
    with web_engine.connect() as c:
        rows = c.execute(
            text(
                f"select {cgst}, {sgst}, {utgst}, {igst} from unnest(cast(:t as bigint[]), cast(:b as bigint[])) "
                "with ordinality as x(t, b, n) order by n"
            ),
            {"t": [t for t, _ in lines], "b": [b for _, b in lines]},
        ).all()
    assert [gst.Heads(*map(int, r)) for r in rows] == [how.heads(t, b) for t, b in lines]
