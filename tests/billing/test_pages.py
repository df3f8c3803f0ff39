"""The credits and billing pages and the provider's hosted page, as people click through them."""

from __future__ import annotations

import html
import re

import pytest

from app.models import FundingSource, OrgStatus, PlatformRole


@pytest.fixture
def browser(make, app):
    """A signed-in browser of a member or a person."""

    def open_for(who):
        return make.sign_in(app.test_client(), who)

    return open_for


def page(client, path, status=200):
    r = client.get(path)
    assert r.status_code == status, (path, r.status_code, r.data[:300])
    return html.unescape(r.get_data(as_text=True))


def home(org):
    return f"/dashboard/organization/{org.slug}"


def buy(client, org, amount="2,00,000.00"):
    """The dialog's form, key and all; returns the answer."""
    shown = page(client, f"{home(org)}/wallet")
    key = re.search(r'name="key" value="([^"]+)"', shown)[1]
    return client.form(f"{home(org)}/wallet/top-ups", {"amount": amount, "key": key}), key


@pytest.mark.scenario("M-1")
def test_buy_pay_wait_and_see_the_credits(shop, make, browser, app):
    """From the button to the balance: hosted page, webhook, return page, ledger row, export."""
    client = browser(shop.billing)
    empty = page(client, f"{home(shop.org)}/wallet")
    assert "₹0.00" in empty and "No movements yet" in empty and 'data-value="50000.00"' in empty
    answer, key = buy(client, shop.org)
    assert answer.status_code == 302 and "/sandbox/checkout/order_" in answer.location
    again = client.form(f"{home(shop.org)}/wallet/top-ups", {"amount": "2,00,000.00", "key": key})
    assert again.location == answer.location  # a double click orders once
    assert make.one("select count(*) from wallet_top_up where organization_id = :o", o=shop.org.id) == 1
    hosted = answer.location.removeprefix("http://console.test")
    payer = app.test_client()  # whoever holds the address; no session of the console
    assert "Sandbox Pay" in page(payer, hosted) and "Pay ₹2,00,000.00" in page(payer, hosted)
    assert payer.post(f"{hosted}/pay").status_code == 400  # no CSRF token, no payment
    declined = payer.form(f"{hosted}/decline")
    assert "declined" in page(payer, declined.location)
    waiting = page(client, f"{home(shop.org)}/wallet")
    assert "Waiting for payment" in waiting and "Continue paying" in waiting
    paid = payer.form(f"{hosted}/pay")
    assert re.fullmatch(rf"{home(shop.org)}/wallet/top-ups/[0-9a-f-]{{36}}", paid.location)
    assert "Waiting for the bank" in page(client, paid.location)
    assert client.get(f"{paid.location}/state").json["done"] is False
    shop.webhooks()
    assert client.get(f"{paid.location}/state").json["done"] is True
    assert "The wallet now holds ₹2,00,000.00." in page(client, paid.location)
    done = page(client, f"{home(shop.org)}/wallet")
    assert "Top-up" in done and "+₹2,00,000.00" in done and "Waiting for payment" not in done
    lines = client.get(f"{home(shop.org)}/wallet/export").text.splitlines()
    assert len(lines) == 2 and lines[1].endswith(",20000000,20000000")
    twice = payer.form(f"{hosted}/pay")
    assert "already settled" in page(payer, twice.location) and "Paid" in page(payer, hosted)
    shop.webhooks()
    assert make.balance(shop.org) == 20_000_000


def test_the_ledger_filters_pages_and_redirects(shop, make, browser):
    for _ in range(27):
        make.fund(shop.org, 10_000)
    client = browser(shop.owner)
    first, second = (page(client, f"{home(shop.org)}/wallet?page={n}") for n in (1, 2))
    assert "1 to 25 of 27" in first and "26 to 27 of 27" in second
    assert "Nothing matches" in page(client, f"{home(shop.org)}/wallet?kind=REFUND")
    for odd in ("page=0", "page=-1", "page=x", "page=99999999999", "page=%C2%B2", "kind=%00"):
        page(client, f"{home(shop.org)}/wallet?{odd}")
    assert client.get(f"{home(shop.org)}/credits").location == f"{home(shop.org)}/wallet"


@pytest.mark.parametrize(
    "amount", ["", "abc", "99.99", "1.001", "1e5", "NaN", "Infinity", "-5000", "9" * 40, "²"]
)
def test_odd_amounts_are_explained_and_order_nothing(shop, make, browser, amount):
    client = browser(shop.billing)
    answer, _ = buy(client, shop.org, amount)
    assert answer.status_code == 302 and "/sandbox/" not in answer.location
    assert make.one("select count(*) from wallet_top_up where organization_id = :o", o=shop.org.id) == 0


def test_only_finance_is_offered_the_button_and_may_press_it(shop, make, browser):
    for role, reads, buys in (
        ("OWNER", True, True),
        ("BILLING_ADMIN", True, True),
        ("MAINTAINER", True, False),
        ("MANAGER", True, False),
        ("SUPPORT", False, False),
        ("LEARNER", False, False),
    ):
        client = browser(make.member(shop.org, role))
        shown = page(client, f"{home(shop.org)}/wallet", 200 if reads else 403)
        assert ("Buy credits" in shown) is buys, role
        if not buys:
            refused = client.form(f"{home(shop.org)}/wallet/top-ups", {"amount": "500", "key": "k"})
            assert refused.status_code == 403, role
    assert make.one("select count(*) from wallet_top_up where organization_id = :o", o=shop.org.id) == 0


def test_strangers_and_other_organisations_see_nothing(shop, make, browser, app):
    stranger = browser(make.member(make.org()))
    top_up = shop.buy().json["top_up_id"]
    for path in (
        "/wallet",
        "/billing",
        "/wallet/export",
        f"/wallet/top-ups/{top_up}",
        f"/wallet/top-ups/{top_up}/state",
    ):
        assert stranger.get(home(shop.org) + path).status_code in (403, 404), path
        assert app.test_client().get(home(shop.org) + path).status_code == 302
    mine = make.member(make.org())
    other = browser(mine)
    org = make.one("select slug from organization where id = :i", i=mine.organization_id)
    assert other.get(f"/dashboard/organization/{org}/wallet/top-ups/{top_up}").status_code == 404


def test_unverified_and_other_funding(make, browser):
    org = make.org(status=OrgStatus.PENDING_VERIFICATION)
    client = browser(make.member(org))
    shown = page(client, f"{home(org)}/wallet")
    assert "Not verified yet" in shown and "Buy credits" not in shown
    client.form(f"{home(org)}/wallet/top-ups", {"amount": "500", "key": "k"})
    assert make.one("select count(*) from wallet_top_up where organization_id = :o", o=org.id) == 0
    invoiced = make.org(funding=FundingSource.INVOICE)
    assert browser(make.member(invoiced)).get(f"{home(invoiced)}/wallet").status_code == 409


def test_billing_shows_terms_and_saves_the_minimum(make, browser):
    org = make.org(
        billing_email="ap@acme.example",
        contacts={"billing": {"name": "Asha Rao", "phone": "+919812345678"}},
        payment_terms_days=45,
    )
    owner, manager = browser(make.member(org)), browser(make.member(org, "MANAGER"))
    shown = page(owner, f"{home(org)}/billing")
    for text in (
        "Wallet",
        "ap@acme.example",
        "Asha Rao",
        'value="45"',
        "Minimum balance",
        "Change in settings",
    ):
        assert text in shown, text
    owner.form(f"{home(org)}/billing", {"minimum": "10,000"})
    assert "10000.00" in page(owner, f"{home(org)}/billing")
    assert "Low balance." in page(owner, f"{home(org)}/wallet")
    assert "Save changes" not in page(manager, f"{home(org)}/billing")
    assert manager.form(f"{home(org)}/billing", {"minimum": "1"}).status_code in (302, 403)
    for odd in ("-1", "x"):
        owner.form(f"{home(org)}/billing", {"minimum": odd})
    minimum = make.one("select min_balance_paise from billing_account where organization_id = :o", o=org.id)
    assert minimum == 1_000_000
    actions = make.rows("select action from org_audit_log where organization_id = :o", o=org.id)
    assert [r[0] for r in actions] == ["BILLING_ACCOUNT_UPDATED"]


def test_the_hosted_page_sends_nobody_elsewhere(shop, app, owner_engine, make):
    from sqlalchemy import text

    order = shop.buy().json["order_id"]
    with owner_engine.begin() as c:
        c.execute(
            text("update sandbox_order set return_url = 'https://elsewhere.example/x' where order_id = :o"),
            {"o": order},
        )
    payer = app.test_client()
    assert payer.form(f"/sandbox/checkout/{order}/abandon").location == "/"
    assert payer.get("/sandbox/checkout/order_none").status_code == 404
    assert payer.form("/sandbox/checkout/order_none/pay").status_code == 404
    assert payer.form(f"/sandbox/checkout/{order}/steal").status_code == 404


def test_staff_follow_money_from_account_to_posting(shop, make, browser):
    make.fund(shop.org, 12_300)
    admin, staff = (browser(make.user(platform_role=r)) for r in (PlatformRole.ADMIN, PlatformRole.STAFF))
    code = f"WALLET|org:{shop.org.id}|INR"
    listed = page(staff, f"/admin/ledger/?q={shop.org.name.replace(' ', '+')}")
    assert code in listed and shop.org.name in listed and "Run reconciliation" not in listed
    assert "No such account" in page(staff, "/admin/ledger/?q=%25nothing_")
    account = page(staff, "/admin/ledger/accounts/" + code.replace("|", "%7C"))
    assert "₹123.00" in account and "Credit" in account
    posting = re.search(r'href="(/admin/ledger/transactions/[^"]+)"', account)[1]
    shown = page(staff, posting)
    assert "CASH|platform|INR" in shown and code in shown and shown.count("₹123.00") == 4
    for path in ("accounts/NONSENSE", "transactions/00000000-0000-0000-0000-000000000000", "transactions/x"):
        assert staff.get(f"/admin/ledger/{path}").status_code == 404
    page(staff, f"/admin/ledger/accounts/{code.replace('|', '%7C')}?before=%C2%B2")
    assert staff.form("/admin/ledger/reconcile").status_code == 403
    before = make.one("select count(*) from ledger_reconciliation_report")
    assert admin.form("/admin/ledger/reconcile").status_code == 302
    assert make.one("select count(*) from ledger_reconciliation_report") == before + 1
    assert "entries" in page(admin, "/admin/ledger/")
    owner = browser(shop.owner)
    for path in ("", "accounts/CASH%7Cplatform%7CINR", posting.removeprefix("/admin/ledger/")):
        assert owner.get(f"/admin/ledger/{path}").status_code == 404
