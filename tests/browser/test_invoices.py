"""The finance lead's journey: an overdue invoice is opened, paid on the hosted page, and its receipt is at hand."""

from __future__ import annotations

import pytest

from app import clock
from app.models import FundingSource
from app.security.context import acting
from app.services import dunning, invoice_drafts, invoice_facts, invoices
from tests.factories import unique

pytestmark = pytest.mark.browser


@pytest.fixture
def overdue(make, settings):
    """An organisation on account, its billing administrator, and an invoice of ₹11,800 past due."""
    org = make.org(
        name=unique("Kaveri Textiles"),
        funding=FundingSource.INVOICE,
        payment_terms_days=0,
    )
    finance = make.member(org, "BILLING_ADMIN")
    before = clock.offset_seconds()
    try:
        clock.set_offset(before - 40 * 86_400)
        with make.acting(finance) as s:
            row = invoice_drafts.create(
                s,
                {
                    "items": [{"description": "Workshop for managers", "unit_paise": 1_000_000}],
                    "issue_immediately": True,
                },
                invoice_facts.supplier(settings),
            )
            s.commit()
    finally:
        clock.set_offset(before)
    with make.acting(finance) as s:
        with acting(s, user_id=None, role=None, membership_id=None):
            dunning._overdue(s, invoices.fresh(s, row.id, lock=True))
        s.commit()
    return org, finance, row


@pytest.mark.parametrize(("width", "height", "dark"), [(1440, 900, False), (390, 844, True)])
def test_paying_an_overdue_invoice(browse, sign_in, axe, run_job, make, overdue, width, height, dark):
    org, finance, row = overdue
    page, findings = browse(width, height, dark), []

    def look():
        findings.extend(axe(page))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{page.url} scrolls sideways"
        )

    sign_in(page, finance.user.email)
    page.goto(f"/dashboard/organization/{org.slug}/invoices/?tab=overdue")
    look()
    page.get_by_role("link", name=row.number).first.click()
    page.get_by_role("heading", name=row.number).wait_for()
    assert page.get_by_text("days past due").is_visible()
    look()
    page.get_by_role("button", name="Pay ₹11,800.00").click()
    page.wait_for_url("**/sandbox/checkout/**")
    page.get_by_role("button", name="Pay ₹11,800.00").click()
    page.wait_for_url(f"**/invoices/{row.public_id}*")
    run_job("deliver_sandbox_webhooks")
    run_job("process_gateway_events")
    page.reload()
    number = make.one("SELECT number FROM invoice_receipt WHERE invoice_id = :i", i=row.id)
    assert make.one("SELECT status FROM invoice WHERE id = :i", i=row.id) == "PAID"
    assert page.get_by_text("Paid", exact=True).first.is_visible()
    assert page.get_by_role("button", name="Pay ₹11,800.00").count() == 0
    assert page.get_by_text(f"Receipt {number}").first.is_visible()
    look()
    link = page.get_by_role("link", name=f"Receipt {number}")
    answer = page.request.get(link.get_attribute("href"))
    assert answer.ok and answer.headers["content-type"] == "application/pdf"
    assert answer.body().startswith(b"%PDF")
    assert findings == []
