"""Invoices as a customer's system meets them: M-20, M-21 and M-34 to M-36 through HTTP."""

from __future__ import annotations

import threading

import pytest

from app import clock
from app.models import Currency, FundingSource, FxRate
from tests.invoices.conftest import base


def together(app, make, who, paths, body=None):
    """POST each of *paths* at the same moment, each from a client of its own -> [(status, body)] in order."""
    start, answers = threading.Barrier(len(paths)), [None] * len(paths)
    headers = make.bearer(who)

    def work(n, path):
        client = app.test_client()
        start.wait()
        answer = client.post(path, headers=headers, json=body)
        answers[n] = (answer.status_code, answer.get_json(silent=True))

    threads = [threading.Thread(target=work, args=(n, path)) for n, path in enumerate(paths)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


def run(api, admin, job):
    """Run a job as an administrator does, and wait for it."""
    status, body = api(admin, "POST", f"/api/admin/jobs/{job}/run")
    assert status == 200, body


def sheet(*amounts, bps=None, **values):
    """The body of a manual invoice issued at once, one line an amount."""
    items = [{"description": "Workshop", "unit_paise": a, "tax_bps": bps} for a in amounts]
    return {"items": items, "issue_immediately": True, **values}


@pytest.mark.scenario("M-20")
def test_a_licence_from_its_fee_to_its_invoice(customer, api, admin, make):
    c = customer(funding=FundingSource.LICENSE, state="07")
    home = f"/api/organizations/{c.org.slug}"
    terms = {"title": "Coaching for everybody", "effective_from": clock.today_ist().isoformat()}
    status, refused = api(c.owner, "POST", f"{home}/contracts", terms)
    assert (status, refused["code"]) == (400, "LICENSE_ECONOMICS_REQUIRED")
    fee = {"license_model": "FLAT_FEE", "license_fee_paise": 12_000_000, "license_cycle": "ANNUAL"}
    status, draft = api(c.owner, "POST", f"{home}/contracts", {**terms, **fee})
    assert (status, draft["status"]) == (201, "DRAFT")
    status, signed = api(c.owner, "PATCH", f"{home}/contracts/{draft['id']}", {"status": "ACTIVE"})
    assert (status, signed["subscription"]["next_invoice_date"]) == (200, terms["effective_from"])
    for _ in range(2):
        run(api, admin, "generate_subscription_invoices")
    (shown,) = api(c.billing, "GET", base(c))[1]["result"]
    assert (shown["kind"], shown["status"], shown["subtotal_paise"]) == ("LICENSE", "ISSUED", 12_000_000)
    assert (shown["cgst_paise"], shown["sgst_paise"], shown["igst_paise"]) == (0, 0, 2_160_000)
    assert shown["total_paise"] == 14_160_000
    assert c.posted(f"invoice:{shown['id']}")["LICENSE_REVENUE", "C"] == 12_000_000
    again = api(c.owner, "GET", f"{home}/contracts/{draft['id']}")[1]["subscription"]
    assert again["next_invoice_date"] > terms["effective_from"]
    assert c.balance("ORG_RECEIVABLE") == 14_160_000 and c.findings() == []


@pytest.mark.scenario("M-21")
def test_invoices_draw_from_an_order_and_give_back(customer, api, app, make):
    c = customer()
    orders = f"/api/organizations/{c.org.slug}/billing-account/purchase-orders"
    status, order = api(c.billing, "POST", orders, {"po_number": "4500-77", "total_paise": 10_000_000})
    assert (status, order["remaining_paise"]) == (201, 10_000_000)
    one = f"{orders}/{order['id']}"
    body = sheet(6_000_000, bps=0, purchase_order_id=order["id"])
    answers = together(app, make, c.billing, [base(c)] * 2, body)
    assert sorted(status for status, _ in answers) == [201, 409]
    made = next(body for status, body in answers if status == 201)
    assert next(body["code"] for status, body in answers if status == 409) == "PO_BALANCE_EXCEEDED"
    assert api(c.billing, "GET", one)[1]["remaining_paise"] == 4_000_000
    assert len(api(c.billing, "GET", base(c))[1]["result"]) == 1

    today = clock.today_ist()
    if not make.one("SELECT count(*) FROM fx_rate WHERE currency = 'USD' AND on_date = :d", d=today):
        make.add(FxRate(currency=Currency.USD, on_date=today, rate_micros=84_500_000))
    dollars = sheet(1_000, bps=0, purchase_order_id=order["id"], currency="USD")
    status, refused = api(c.billing, "POST", base(c), dollars)
    assert (status, refused["code"]) == (409, "PO_CURRENCY_MISMATCH")
    assert api(c.billing, "GET", one)[1]["remaining_paise"] == 4_000_000

    why = {"reason": "For the wrong department"}
    assert api(c.billing, "POST", base(c, made["id"], "void"), why)[1]["status"] == "VOID"
    assert api(c.billing, "GET", one)[1]["remaining_paise"] == 10_000_000
    status, whole = api(c.billing, "POST", base(c), sheet(10_000_000, bps=0, purchase_order_id=order["id"]))
    assert (status, whole["total_paise"]) == (201, 10_000_000)
    shown = api(c.billing, "GET", one)[1]
    assert (shown["status"], shown["remaining_paise"]) == ("CLOSED", 0)
    status, refused = api(c.billing, "DELETE", one)
    assert (status, refused["code"]) == (409, "PO_REFERENCED")
    assert api(c.billing, "GET", one)[1] == shown and c.findings() == []


@pytest.mark.scenario("M-34")
def test_the_roll_up(customer, api, admin, app, make, pay):
    c = customer()
    c.booking(200_000)
    part, gone = c.booking(300_000)[0], c.booking(150_000)[0]
    waiting = c.booking(500_000, status="PENDING")[0]
    for payment, body in ((part, {"amount_paise": 100_000}), (gone, {})):
        path = f"/api/payments/{payment.public_id}/refunds"
        assert api(admin, "POST", path, {"reason": "It did not take place", **body})[0] == 201
    answers = together(app, make, c.billing, [base(c, "roll-up")] * 2)
    assert sorted(status for status, _ in answers) == [201, 409]
    assert next(body["code"] for status, body in answers if status == 409) == "NOTHING_TO_BILL"
    (shown,) = api(c.billing, "GET", base(c))[1]["result"]
    assert (shown["status"], shown["line_count"], shown["subtotal_paise"]) == ("ISSUED", 2, 400_000)
    assert (shown["cgst_paise"], shown["sgst_paise"], shown["igst_paise"]) == (36_000, 36_000, 0)
    assert shown["total_paise"] == 472_000 and c.balance("ORG_RECEIVABLE") == 472_000
    assert c.again(waiting).invoice_id is None
    pay(api(c.billing, "POST", base(c, shown["id"], "pay"))[1]["order_id"])
    shown = api(c.billing, "GET", base(c, shown["id"]))[1]
    assert (shown["status"], shown["due_paise"]) == ("PAID", 0) and c.balance("ORG_RECEIVABLE") == 0
    events = make.rows(
        "select payload->'data' as data from outbox_message where organization_id = :o and topic = 'event' "
        "and payload->>'event' = 'invoice.paid'",
        o=c.org.id,
    )
    assert [e.data["invoice_number"] for e in events] == [shown["number"]]
    assert c.findings() == []


@pytest.mark.scenario("M-35")
def test_each_line_and_each_head_is_rounded_for_itself(customer, api):
    c = customer()
    status, one = api(c.billing, "POST", base(c), sheet(100_003))
    assert (status, one["cgst_paise"], one["sgst_paise"], one["igst_paise"]) == (201, 9_000, 9_000, 0)
    assert one["total_paise"] == 118_003
    status, three = api(c.billing, "POST", base(c), sheet(33_334, 33_334, 33_334))
    heads = [(n["cgst_paise"], n["sgst_paise"], n["igst_paise"]) for n in three["lines"]]
    assert (status, heads) == (201, [(3_000, 3_000, 0)] * 3)
    assert (three["cgst_paise"], three["sgst_paise"], three["total_paise"]) == (9_000, 9_000, 118_002)
    assert c.posted(f"invoice:{three['id']}")["GST_PAYABLE", "C"] == 18_000
    assert c.balance("ORG_RECEIVABLE") == 118_003 + 118_002 and c.findings() == []


@pytest.mark.scenario("M-36")
def test_the_financial_year_turns_at_midnight_in_india(customer, api, at):
    c = customer()
    prefix, body = (
        c.org.invoice_number_prefix,
        {"items": [{"description": "Workshop", "unit_paise": 1000}], "issue_immediately": True},
    )
    at(2027, 3, 31, 23, 59)
    status, first = api(c.billing, "POST", base(c), body)
    assert (status, first["number"], first["issue_date"]) == (201, f"{prefix}-2026-0001", "2027-03-31")
    at(2027, 4, 1, 0, 0)
    status, second = api(c.billing, "POST", base(c), body)
    assert (status, second["number"], second["issue_date"]) == (201, f"{prefix}-2027-0001", "2027-04-01")
    status, third = api(c.billing, "POST", base(c), body)
    assert (status, third["number"]) == (201, f"{prefix}-2027-0002")


@pytest.mark.scenario("M-36")
def test_twenty_issues_at_once_are_numbered_without_a_gap(customer, api, app, make):
    c = customer()
    body = {"items": [{"description": "Workshop", "unit_paise": 1000}]}
    drafts = [api(c.billing, "POST", base(c), body)[1]["id"] for _ in range(20)]
    answers = together(app, make, c.billing, [base(c, key, "issue") for key in drafts])
    assert [status for status, _ in answers] == [200] * 20
    year = answers[0][1]["number"].split("-")[1]
    assert sorted(body["number"] for _, body in answers) == [
        f"{c.org.invoice_number_prefix}-{year}-{n:04d}" for n in range(1, 21)
    ]
    again = together(app, make, c.billing, [base(c, drafts[0], "issue")] * 2)
    assert [(status, body["code"]) for status, body in again] == [(409, "ILLEGAL_TRANSITION")] * 2
    assert c.findings() == []
