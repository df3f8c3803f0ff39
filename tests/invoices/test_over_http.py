"""The roll-up and the numbers as a customer's system meets them: M-34 and M-36 through HTTP."""

from __future__ import annotations

import threading

import pytest

from tests.invoices.conftest import base


def together(app, make, who, paths):
    """POST each of *paths* at the same moment, each from a client of its own -> [(status, body)] in order."""
    start, answers = threading.Barrier(len(paths)), [None] * len(paths)
    headers = make.bearer(who)

    def work(n, path):
        client = app.test_client()
        start.wait()
        answer = client.post(path, headers=headers)
        answers[n] = (answer.status_code, answer.get_json(silent=True))

    threads = [threading.Thread(target=work, args=(n, path)) for n, path in enumerate(paths)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


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
