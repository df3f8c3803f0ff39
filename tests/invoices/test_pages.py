"""The pages of finance and staff: what they show, who may act, what a form does."""

from __future__ import annotations

import pytest

from app import clock
from app.gateways.signing import sign
from app.models import FundingSource, InvoiceStatus, PlatformRole


def url(c, *more):
    return "/".join([f"/dashboard/organization/{c.org.slug}", *map(str, more)])


def open_page(client, path):
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.get_data(as_text=True)


@pytest.fixture
def finance(client, make):
    """A browser signed in as a customer's billing administrator."""
    return lambda c: make.sign_in(client, c.billing)


def test_the_list_has_tabs_filters_and_amounts(customer, finance, make):
    c = customer(requires_po=False)
    browser = finance(c)
    assert "No invoices yet" in open_page(browser, url(c, "invoices/"))
    c.booking(200_000)
    assert "Bill now" in open_page(browser, url(c, "invoices/"))
    row, draft = c.manual(1_000_000), c.manual(50_000, issue=False)
    page = open_page(browser, url(c, "invoices/"))
    assert row.number in page and "Draft" in page and "₹11,800.00" in page
    drafts = open_page(browser, url(c, "invoices/?tab=draft"))
    assert row.number not in drafts and str(draft.public_id) in drafts
    assert row.number in open_page(
        browser, url(c, f"invoices/?q={row.number[-4:]}&kind=MANUAL&from=2020-01-01")
    )
    assert "Nothing here" in open_page(browser, url(c, "invoices/?q=zzz"))
    for bad in ("?page=999999999", "?from=x", "?kind=%00", "?tab=nope"):
        assert browser.get(url(c, f"invoices/{bad}")).status_code in (200, 400)


def test_rolling_up_from_the_page(customer, finance):
    c = customer()
    c.booking(200_000)
    browser = finance(c)
    answer = browser.form(url(c, "invoices/roll-up"))
    assert answer.status_code == 302
    page = open_page(browser, answer.location)
    assert "Strategy session" in page and "₹2,360.00" in page and "Pay ₹2,360.00" in page


def test_writing_issuing_and_voiding_by_forms(customer, finance, make):
    c = customer()
    order = c.order(100_000_000)
    browser = finance(c)
    assert order.po_number in open_page(browser, url(c, "invoices/new"))
    body = {
        "description": ["Workshop for managers", ""],
        "sac": ["999293", "999293"],
        "quantity": ["2", "1"],
        "unit": ["1,500.50", ""],
        "discount": ["1", ""],
        "currency": "INR",
        "purchase_order_id": str(order.public_id),
        "round_total": "y",
    }
    bad = browser.form(url(c, "invoices/new"), {**body, "unit": ["abc", ""]})
    assert bad.status_code == 200 and "Line 1: Enter an amount." in bad.get_data(as_text=True)
    made = browser.form(url(c, "invoices/new"), body)
    assert made.status_code == 302
    page = open_page(browser, made.location)
    assert "A draft." in page and "₹3,540.00" in page
    assert "Workshop for managers" in open_page(browser, made.location + "/edit")
    changed = browser.form(made.location + "/edit", {**body, "quantity": ["1", "1"], "discount": ["", ""]})
    assert changed.status_code == 302
    browser.form(made.location + "/issue")
    page = open_page(browser, made.location)
    assert "₹1,771.00" in page and "Purchase order" in page and order.po_number in page
    browser.form(made.location + "/void", {"reason": "Wrong cost centre"})
    page = open_page(browser, made.location)
    assert "Void: not to be paid." in page and "Bill again" in page
    again = browser.form(made.location + "/rebill")
    assert again.status_code == 302 and again.location != made.location
    browser.form(again.location + "/cancel")
    assert c.again(order).remaining_paise == 100_000_000


def test_paying_leads_to_the_providers_page(customer, finance):
    c = customer()
    row = c.manual(100_000)
    answer = finance(c).form(url(c, "invoices", row.public_id, "pay"))
    assert answer.status_code == 302 and "/sandbox/checkout/" in answer.location


def test_a_manager_reads_and_sees_no_button(customer, client, make):
    c = customer()
    row = c.manual(100_000)
    browser = make.sign_in(client, make.member(c.org, "MANAGER"))
    page = open_page(browser, url(c, "invoices", row.public_id))
    assert "Pay ₹" not in page and "Void" not in page and "Record a transfer" not in page
    assert browser.form(url(c, "invoices", row.public_id, "void"), {"reason": "Because"}).status_code in (
        302,
        403,
    )
    assert c.again(row).status == InvoiceStatus.ISSUED


def test_the_platform_records_transfers_and_credits_lines(customer, client, make):
    c = customer()
    row = c.manual(100_000, 200_000)
    browser = make.sign_in(client, make.user(platform_role=PlatformRole.ADMIN))
    page = open_page(browser, url(c, "invoices", row.public_id))
    assert "Record a transfer" in page and "Credit lines" in page
    browser.form(
        url(c, "invoices", row.public_id, "receipts"),
        {"amount": "1,180.00", "utr": f"UTR{row.id}X9999", "received_on": str(clock.today_ist())},
    )
    assert c.again(row).paid_paise == 118_000
    browser.form(
        url(c, "invoices", row.public_id, "credit"), {"line-1": "500", "line-2": "", "reason": "Half a day"}
    )
    page = open_page(browser, url(c, "invoices", row.public_id))
    assert "Bank transfer" in page and "Credit note" in page and "₹500.00 credited" in page
    notes = open_page(browser, url(c, "credit-notes/"))
    assert "To reverse" in notes
    assert c.findings() == []


def test_files_documents_and_the_address(customer, finance):
    c = customer()
    row = c.manual(100_000)
    browser = finance(c)
    assert browser.get(url(c, "invoices", row.public_id, "pdf")).mimetype == "application/pdf"
    lines = browser.get(url(c, "invoices", row.public_id, "lines.csv")).get_data(as_text=True)
    assert "Workshop for managers" in lines and "1000.00" in lines
    for what in ("csv", "gst", "hsn"):
        assert browser.get(url(c, "invoices/export", what)).mimetype == "text/csv"
    assert browser.get(url(c, "invoices/export/xml")).status_code == 404
    assert "The address is incomplete" in open_page(browser, url(c, "billing-profile/"))
    browser.form(
        url(c, "billing-profile/"),
        {
            "legal_name": "Customer Limited",
            "city": "Pune",
            "pin_code": "411001",
            "address_line1": "1 MG Road",
            "country_code": "IN",
        },
    )
    assert "Customer Limited" in open_page(browser, url(c, "billing-profile/"))
    assert c.manual(1000).facts["recipient"]["city"] == "Pune"


def test_a_wallets_organisation_has_the_pages_too(customer, finance):
    c = customer(funding=FundingSource.WALLET)
    assert "Tax statements of the wallet" in open_page(finance(c), url(c, "invoices/"))


def test_staff_read_the_tax_tables_and_admin_changes_them(client, make):
    staff = make.sign_in(client, make.user(platform_role=PlatformRole.STAFF))
    page = open_page(staff, "/admin/tax-tables/")
    assert "Change a parameter" not in page and "999293" in page and "Letter of undertaking, ARN" in page
    assert staff.form("/admin/tax-tables/RATE", {"sac": "998399", "percent": "12"}).status_code == 403
    assert "E-invoices" in open_page(staff, "/admin/einvoices/")


def test_the_list_costs_a_constant_number_of_queries(customer, finance, app, web_engine):
    from sqlalchemy import event

    c = customer()
    browser = finance(c)
    c.manual(1000)

    def count():
        seen = []

        def note(*args):
            seen.append(args[2])

        event.listen(web_engine, "before_cursor_execute", note)
        try:
            open_page(browser, url(c, "invoices/"))
        finally:
            event.remove(web_engine, "before_cursor_execute", note)
        return len(seen)

    count()
    few = count()
    for _ in range(6):
        c.manual(1000)
    assert count() == few


def test_a_payment_that_arrived_and_waits_for_its_confirmation_is_not_asked_for_again(
    customer, finance, client, run_job, make, settings
):
    c = customer()
    row = c.manual(1_000_000)
    browser, path = finance(c), url(c, f"invoices/{row.public_id}")
    assert "A payment is being confirmed" not in open_page(browser, path)
    browser.form(path + "/pay")
    order = c.again(row).gateway_order_id
    shown = open_page(browser, path)
    assert "A payment is being confirmed" not in shown and "Pay ₹11,800.00" in shown
    assert browser.form(f"/sandbox/checkout/{order}/pay").status_code == 302
    shown = open_page(browser, path)
    assert "A payment is being confirmed" in shown and "Pay ₹11,800.00" not in shown
    body = make.one(
        "SELECT w.body FROM sandbox_webhook w JOIN sandbox_order o ON o.id = w.order_row_id WHERE o.order_id = :o "
        "ORDER BY w.id DESC LIMIT 1",
        o=order,
    ).encode()
    signed = {"X-Sandbox-Signature": sign(settings.sandbox_webhook_secret, body)}
    assert client.post("/webhooks/gateway/sandbox", data=body, headers=signed).status_code == 200
    run_job("process_gateway_events")
    shown = open_page(browser, path)
    assert "A payment is being confirmed" not in shown and c.again(row).status == InvoiceStatus.PAID
