"""Credits, billing, the hosted page and the staff's ledger: accessible, on a phone too, and quick amounts fill in."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("width", "height", "dark"), [(1440, 900, False), (390, 844, True)])
def test_money_pages_are_accessible(browse, sign_in, axe, make, width, height, dark):
    org = make.org(billing_email="ap@acme.example")
    owner = make.member(org)
    make.fund(org, 12_345_600)
    home, findings = f"/dashboard/organization/{org.slug}", []

    def look(page, path=None):
        if path:
            page.goto(path)
        findings.extend(axe(page))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{page.url} scrolls sideways"
        )

    page = browse(width, height, dark)
    sign_in(page, owner.user.email)
    for path in ("/wallet", "/billing"):
        look(page, home + path)
    page.goto(f"{home}/wallet")
    page.get_by_role("button", name="Buy credits").click()
    dialog = page.get_by_role("dialog", name="Buy credits")
    dialog.get_by_role("button", name="₹5,00,000").click()
    assert dialog.get_by_role("textbox", name="Amount").input_value() == "5,00,000.00"
    look(page)
    dialog.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url("**/sandbox/checkout/**")
    look(page)
    page.get_by_role("button", name="Decline").click()
    page.get_by_text("The bank declined the payment").wait_for()
    page.get_by_role("button", name="Pay ₹5,00,000.00").click()
    page.wait_for_url("**/wallet/top-ups/**")
    look(page)
    staff = browse(width, height, dark)
    sign_in(staff, make.user(platform_role="STAFF").email)
    look(staff, f"/admin/ledger/?q={org.name.replace(' ', '+')}")
    staff.get_by_text(f"WALLET|org:{org.id}|INR", exact=True).wait_for()
    look(staff, f"/admin/ledger/accounts/WALLET%7Corg:{org.id}%7CINR")
    staff.locator("table a.code").first.click()
    staff.get_by_role("heading", name="Legs").wait_for()
    look(staff)
    assert findings == []
