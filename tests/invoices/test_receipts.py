"""Receipts for money that arrived for an invoice: their numbers, what they say, who may open them."""

from __future__ import annotations

import pytest

from app import clock
from app.models import InvoiceStatus
from tests.factories import unique
from tests.invoices.conftest import base
from tests.invoices.test_documents import text_of


def transfer(c, api, admin, row, paise, **values):
    """Record a bank transfer over HTTP -> (status, body)."""
    body = {
        "amount_paise": paise,
        "utr": unique("UTR").replace("-", ""),
        "received_on": str(clock.today_ist()),
    }
    return api(admin, "POST", base(c, row.public_id, "receipts"), {**body, **values})


def receipts(c, api, row):
    return api(c.billing, "GET", base(c, row.public_id))[1]["receipts"]


@pytest.fixture
def printed(client, make):
    """The text of a receipt's PDF as the billing administrator downloads it."""

    def go(c, row, shown):
        path = base(c, row.public_id, "receipts", shown["id"], "pdf")
        answer = client.get(path, headers=make.bearer(c.billing))
        assert answer.status_code == 200 and answer.mimetype == "application/pdf"
        assert f'filename="{shown["number"]}.pdf"' in answer.headers["Content-Disposition"]
        return " ".join(text_of(answer.data).split())

    return go


def test_parts_are_numbered_and_say_what_is_left(customer, api, admin, pay, printed):
    c = customer(name="Kaveri Textiles")
    row = c.manual(1_000_000)
    assert transfer(c, api, admin, row, 500_000, note="NEFT")[0] == 201
    pay(api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["order_id"])
    first, second = receipts(c, api, row)
    prefix, year = c.org.invoice_number_prefix, str(row.fiscal_year)[2:]
    assert [first["number"], second["number"]] == [f"{prefix}-RC-{year}-{n:04d}" for n in (1, 2)]
    assert [first["due_after_paise"], second["due_after_paise"]] == [680_000, 0]
    text = printed(c, row, first)
    for said in (
        f"Invoice {row.number}",
        "₹11,800.00",
        "₹5,000.00",
        "Rupees Five Thousand Only",
        "Left to pay ₹6,800.00",
        "By bank transfer",
        first["utr"],
        "NEFT",
        "Kaveri Textiles",
        c.org.gstin,
    ):
        assert said in text, said
    text = printed(c, row, second)
    for said in (
        "Settled before, by receipts and credit notes",
        "Rupees Six Thousand Eight Hundred Only",
        "The invoice is paid in full ₹0.00",
        "Online",
        second["provider_payment_id"],
    ):
        assert said in text, said
    assert c.again(row).status == InvoiceStatus.PAID and c.findings() == []


def test_a_refused_transfer_takes_no_number(customer, api, admin):
    c = customer()
    row, other = c.manual(1_000_000), c.manual(1_000_000)
    utr = unique("UTR").replace("-", "")
    assert transfer(c, api, admin, row, 100_000, utr=utr)[0] == 201
    assert transfer(c, api, admin, other, 100_000, utr=utr)[1]["code"] == "UTR_ALREADY_RECORDED"
    assert transfer(c, api, admin, row, 99_999_999)[0] == 400
    assert transfer(c, api, admin, other, 100_000)[0] == 201
    assert [r["number"][-4:] for r in receipts(c, api, row) + receipts(c, api, other)] == ["0001", "0002"]
    assert c.findings() == []


def test_a_credit_note_before_counts_as_settled(customer, api, admin, printed):
    c = customer()
    row = c.manual(1_000_000)
    body = {"items": [{"line": 1, "amount_paise": 400_000}], "reason": "One trainer instead of two"}
    assert api(admin, "POST", base(c, row.public_id, "credit-notes"), body)[0] == 201
    assert transfer(c, api, admin, row, 708_000)[1]["status"] == "PAID"
    text = printed(c, row, receipts(c, api, row)[0])
    assert "-₹4,720.00" in text.replace("−", "-") and "paid in full" in text


def test_the_mail_carries_the_receipt(customer, api, admin, make, app):
    c = customer()
    row = c.manual(1_000_000)
    transfer(c, api, admin, row, 1_180_000)
    (shown,) = receipts(c, api, row)
    mails = make.rows(
        "select payload from outbox_message where organization_id = :o and topic = 'mail' "
        "and payload->>'template' = 'invoice_paid'",
        o=c.org.id,
    )
    assert {m.payload["to"] for m in mails} == {c.owner.user.email, c.billing.user.email}
    assert all(m.payload["attach"] == {"type": "receipt", "id": shown["id"]} for m in mails)
    assert all(m.payload["values"]["receipt"] == shown["number"] for m in mails)
    from app.documents import store

    with make.acting(c.billing) as s:
        made = store.attachment(s, mails[0].payload["attach"], app.config["SETTINGS"])
    assert made is not None and made.filename == f"{shown['number']}.pdf" and made.data.startswith(b"%PDF")


def test_a_receipt_is_found_under_its_own_invoice_by_its_readers_only(customer, api, admin, make, client):
    c, stranger = customer(), customer()
    row, other = c.manual(1_000_000), c.manual(1_000_000)
    transfer(c, api, admin, row, 1_180_000)
    (shown,) = receipts(c, api, row)
    mine = base(c, row.public_id, "receipts", shown["id"], "pdf")
    assert client.get(mine, headers=make.bearer(make.member(c.org, "MANAGER"))).status_code == 200
    assert client.get(mine, headers=make.bearer(c.learner)).status_code == 403
    wrong = base(c, other.public_id, "receipts", shown["id"], "pdf")
    assert client.get(wrong, headers=make.bearer(c.billing)).status_code == 404
    status, answer = api(stranger.owner, "GET", mine)
    assert (status, answer["code"]) == (403, "NOT_A_MEMBER")
    foreign = base(stranger, row.public_id, "receipts", shown["id"], "pdf")
    assert api(stranger.owner, "GET", foreign)[0] == 404


def test_the_invoices_page_links_it(customer, api, admin, client, make):
    c = customer()
    row = c.manual(1_000_000)
    transfer(c, api, admin, row, 1_180_000)
    (shown,) = receipts(c, api, row)
    browser = make.sign_in(client, c.billing)
    page = browser.get(f"/dashboard/organization/{c.org.slug}/invoices/{row.public_id}")
    link = f"/dashboard/organization/{c.org.slug}/invoices/{row.public_id}/receipts/{shown['id']}/pdf"
    assert link in page.get_data(as_text=True) and f"Receipt {shown['number']}" in page.get_data(as_text=True)
    assert browser.get(link).data.startswith(b"%PDF")
