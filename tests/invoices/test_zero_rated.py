"""Whole invoices of SEZ units and exports, with and without a letter of undertaking (chapter 4, 4.2 "Zero rate")."""

from __future__ import annotations

import datetime as dt

import pytest

from app.services import gst
from tests.invoices.conftest import base
from tests.invoices.test_documents import text_of

WITHOUT = dt.date(2034, 5, 10)  # a day of its own on which exports are made with payment of tax


@pytest.fixture
def without_letter(at, api, admin, make):
    """The platform has no letter of undertaking on one day far ahead; the clock stands there."""
    at(WITHOUT.year, WITHOUT.month, WITHOUT.day)
    if not make.one("select count(*) from tax_parameter where valid_from = :d", d=WITHOUT):
        for day, value in ((WITHOUT, "0"), (WITHOUT + dt.timedelta(days=1), "1")):
            body = {"key": "EXPORT_UNDER_LUT", "value": value, "reason": "The letter lapsed for a day"}
            status, answer = api(
                admin, "POST", "/api/admin/tax-tables/PARAMETER", {**body, "valid_from": str(day)}
            )
            assert status == 201, answer


def sez(customer, **values):
    """A SEZ unit in the supplier's own state: inter-state all the same."""
    return customer(gst_reg_status="SEZ", **values)


def abroad(customer):
    return customer(state="96", registered=False)


def bill(c, api, client, make):
    """Two bookings and a manual line, over HTTP: the roll-up, a manual invoice, and the text of the roll-up's PDF."""
    c.booking(100_003)
    c.booking(200_000)
    status, made = api(c.billing, "POST", base(c, "roll-up"))
    assert status == 201, made
    body = {
        "items": [{"description": "Workshop for managers", "unit_paise": 50_000}],
        "issue_immediately": True,
    }
    status, manual = api(c.billing, "POST", base(c), body)
    assert status == 201, manual
    document = client.get(base(c, made["id"], "pdf"), headers=make.bearer(c.billing)).data
    return made, manual, text_of(document)


def heads(shown):
    return tuple(shown[k] for k in ("cgst_paise", "sgst_paise", "utgst_paise", "igst_paise"))


def test_a_sez_unit_under_a_letter_is_charged_nothing(customer, api, client, make):
    c = sez(customer)
    made, manual, printed = bill(c, api, client, make)
    for shown, total in ((made, 300_003), (manual, 50_000)):
        assert (shown["supply_type"], heads(shown), shown["total_paise"]) == ("SEZWOP", (0, 0, 0, 0), total)
        assert shown["lut_number"] == make.one("select value from tax_parameter where key = 'LUT_ARN'")
        assert shown["place_of_supply"] == "29"
    assert "".join(gst.ENDORSEMENTS["SEZWOP"].split()) in "".join(printed.split())
    assert made["lut_number"] in printed and "IGST" in printed and "CGST" not in printed
    assert c.posted(f"invoice:{made['id']}") == {} and c.balance("ORG_RECEIVABLE") == 350_003
    assert c.findings() == []


@pytest.mark.usefixtures("without_letter")
def test_a_sez_unit_without_a_letter_pays_integrated_tax_even_in_the_same_state(customer, api, client, make):
    c = sez(customer)
    made, manual, printed = bill(c, api, client, make)
    assert (made["supply_type"], heads(made)) == ("SEZWP", (0, 0, 0, 18_001 + 36_000))
    assert (manual["supply_type"], heads(manual)) == ("SEZWP", (0, 0, 0, 9_000))
    assert made["total_paise"] == 354_004 and made["lut_number"] is None
    assert "".join(gst.ENDORSEMENTS["SEZWP"].split()) in "".join(printed.split())
    assert c.posted(f"invoice:{made['id']}")["GST_PAYABLE", "C"] == 54_001
    assert c.balance("ORG_RECEIVABLE") == 354_004 + 59_000 and c.findings() == []


def test_a_sez_unit_buys_outside_its_authorised_operations_as_from_another_state(customer, api, client, make):
    c = sez(customer)
    path = f"/api/organizations/{c.org.slug}/billing/profile"
    assert api(c.billing, "PATCH", path, {"authorised_operations": False})[0] == 200
    made, _, printed = bill(c, api, client, make)
    assert (made["supply_type"], heads(made), made["lut_number"]) == ("B2B", (0, 0, 0, 54_001), None)
    assert "SUPPLY MEANT FOR EXPORT" not in printed and c.findings() == []


def test_an_export_under_a_letter_is_charged_nothing(customer, api, client, make):
    c = abroad(customer)
    made, manual, printed = bill(c, api, client, make)
    for shown in (made, manual):
        assert (shown["supply_type"], heads(shown), shown["place_of_supply"]) == (
            "EXPWOP",
            (0, 0, 0, 0),
            "96",
        )
        assert shown["lut_number"] and shown["gstin"] is None
    assert "".join(gst.ENDORSEMENTS["EXPWOP"].split()) in "".join(printed.split())
    assert c.findings() == []


@pytest.mark.usefixtures("without_letter")
def test_an_export_without_a_letter_pays_integrated_tax(customer, api, client, make):
    c = abroad(customer)
    made, manual, printed = bill(c, api, client, make)
    assert (made["supply_type"], heads(made), made["total_paise"]) == ("EXPWP", (0, 0, 0, 54_001), 354_004)
    assert (manual["supply_type"], heads(manual)) == ("EXPWP", (0, 0, 0, 9_000))
    assert made["lut_number"] is None and made["place_of_supply"] == "96"
    assert "".join(gst.ENDORSEMENTS["EXPWP"].split()) in "".join(printed.split())
    assert c.balance("ORG_RECEIVABLE") == 354_004 + 59_000 and c.findings() == []


@pytest.mark.parametrize("day", ["02-30", "02-29", "04-31", "13-01", "1-1"])
def test_a_yearly_day_exists_in_every_year(api, admin, make, day):
    counted = "select count(*) from tax_parameter"
    before = make.one(counted)
    body = {"key": "CREDIT_NOTE_LAST_DAY", "value": day, "reason": "The law changed"}
    status, answer = api(
        admin, "POST", "/api/admin/tax-tables/PARAMETER", {**body, "valid_from": "2035-01-01"}
    )
    assert (status, answer["code"]) == (400, "VALIDATION_FAILED"), answer
    assert make.one(counted) == before
