"""The main job, in a browser from sign-up to receipt: real rows, real mail, the real journal (issue 2, section 4)."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from sqlalchemy.orm import Session

from app.security import context
from app.services import reconcile
from tests.factories import PASSWORD, unique

pytestmark = pytest.mark.browser

TOP_UP = 20_000_000  # paise: ₹2,00,000
PRICE, TOTAL = 500_000, 590_000  # ₹5,000, and with 18 % GST


def sign_up(page, name, email):
    page.goto("/signup")
    page.get_by_label("Full name").fill(name)
    page.get_by_label("Work e-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url("**/dashboard**")


def up_to_branding(page, name):
    """The wizard's first two pages."""
    page.goto("/dashboard/org-workspace/create")
    page.get_by_label("Name", exact=False).first.fill(name)
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/create/billing")
    page.get_by_label(re.compile("^Wallet")).check()
    choose(page, "GST state", "Karnataka")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/create/branding")


def choose(page, label, text):
    """Pick from a searchable select by typing, as a person does."""
    wrapper = page.locator(".ts-wrapper", has=page.get_by_role("combobox", name=label, include_hidden=True))
    wrapper.locator(".ts-control").click()
    page.keyboard.type(text)
    wrapper.locator("[data-selectable]", has_text=text).first.click()


def mail_of(page, server, address, subject):
    """The newest mail to *address* whose subject holds *subject*."""
    found = page.request.get(f"{server.url}/api/test/outbox?to={address}").json()["mail"]
    return next(m for m in found if subject in m["subject"])


def heading(page):
    return page.locator("h1").inner_text()


@pytest.mark.scenario("P-6", "P-27")
def test_from_sign_up_to_receipt(browse, sign_in, run_job, server, make):
    plan = make.plan(make.expert(), PRICE, tax_bps=1800)
    name, owner_email, learner_email = (
        unique("Main Job Works"),
        f"{unique('o')}@main.test",
        f"{unique('l')}@main.test",
    )

    # 1. an organisation by the wizard: abandoned, resumed, launched
    owner = browse()
    sign_up(owner, "Asha Owner", owner_email)
    up_to_branding(owner, name)
    assert make.one("SELECT count(*) FROM organization WHERE name = :n", n=name) == 0
    owner.goto("/dashboard/org-workspace/create")  # back later: the draft stands where it was left
    owner.wait_for_url("**/create/branding")
    owner.get_by_role("button", name="Continue").click()
    owner.wait_for_url("**/create/invite")
    owner.get_by_role("link", name="Skip", exact=True).click()
    owner.wait_for_url("**/create/review")
    assert owner.get_by_text(name).count() and owner.get_by_text("29 · Karnataka").count()
    twin = owner.context.new_page()  # the same page in another tab
    twin.goto(owner.url)
    for tab in (owner, twin):
        tab.get_by_role("button", name="Launch").click()
        tab.wait_for_url("**/home*")
    assert twin.url == owner.url
    assert make.one("SELECT count(*) FROM organization WHERE name = :n", n=name) == 1
    twin.close()
    home = urlsplit(owner.url).path
    base, slug = home.removesuffix("/home"), home.split("/")[3]
    org = make.rows("SELECT id, status FROM organization WHERE slug = :s", s=slug)[0]
    assert org.status == "PENDING_VERIFICATION"
    assert owner.get_by_role("region", name="Status").get_by_text("Verification is pending").is_visible()

    # the platform verifies it
    admin = browse()
    sign_in(admin, make.user(platform_role="ADMIN", name="Platform Admin").email)
    admin.goto("/admin/verification")
    admin.get_by_role("link", name=name).click()
    admin.get_by_role("heading", name="What to check").wait_for()
    admin.wait_for_load_state("load")
    admin.keyboard.press("v")
    admin.get_by_role("dialog").get_by_role("button", name="Verify").click()
    admin.get_by_role("status").get_by_text("is verified").wait_for()
    assert make.one("SELECT status FROM organization WHERE id = :i", i=org.id) == "ACTIVE"
    assert mail_of(admin, server, owner_email, "verified")

    # 2. an invitation; the learner signs up from the mail's link
    owner.goto(f"{base}/invitations")
    owner.get_by_role("button", name="Invite people").first.click()
    dialog = owner.get_by_role("dialog", name="Invite people")
    dialog.get_by_label("E-mail addresses").fill(learner_email)
    dialog.get_by_role("button", name="Send").click()
    owner.get_by_text(learner_email).first.wait_for()
    link = re.search(
        r"https?://\S+/organizations/invite/\S+", mail_of(owner, server, learner_email, name)["text"]
    )
    learner = browse()
    learner.goto(urlsplit(link.group()).path)
    assert heading(learner) == f"Join {name}"
    learner.get_by_label("Full name").fill("Lila Learner")
    learner.get_by_label("password").fill(PASSWORD)
    learner.get_by_role("button", name="Create account and join").click()
    learner.wait_for_url(f"**{base}/my-program/")
    assert learner.get_by_text(f"Welcome to {name}").count()
    assert make.rows(
        "SELECT m.role, m.status, u.onboarding_completed FROM membership m JOIN ab_user u ON u.id = m.user_id WHERE u.email = :e",
        e=learner_email,
    ) == [("LEARNER", "ACTIVE", True)]

    # 3. credits: hosted page, signed webhook
    owner.goto(f"{base}/wallet")
    owner.get_by_role("button", name="Buy credits").click()
    dialog = owner.get_by_role("dialog", name="Buy credits")
    dialog.get_by_role("textbox", name="Amount").fill("200000")
    dialog.get_by_role("button", name="Continue to payment").click()
    owner.wait_for_url("**/sandbox/checkout/**")
    assert heading(owner) == "₹2,00,000.00"
    owner.get_by_role("button", name="Pay ₹2,00,000.00").click()
    owner.wait_for_url("**/wallet/top-ups/**")
    assert (
        make.one("SELECT wallet_balance_paise FROM billing_account WHERE organization_id = :i", i=org.id) == 0
    )
    run_job("deliver_sandbox_webhooks")
    run_job("process_gateway_events")
    owner.get_by_text("The wallet now holds ₹2,00,000.00").wait_for()  # the page follows by itself
    assert (
        make.one("SELECT wallet_balance_paise FROM billing_account WHERE organization_id = :i", i=org.id)
        == TOP_UP
    )

    assert mail_of(owner, server, owner_email, "₹2,00,000.00 arrived in the wallet")

    # 4. contract, program, assignment
    owner.goto(f"{base}/contracts")
    owner.get_by_role("link", name="New contract").first.click()
    owner.get_by_label("Title").fill("Framework agreement")
    owner.get_by_role("button", name="Create contract").click()
    owner.get_by_role("button", name="Sign").click()
    owner.get_by_role("dialog").get_by_role("button", name="Sign").click()
    owner.get_by_text("Contract signed.").wait_for()
    owner.goto(f"{base}/programs")
    owner.get_by_role("link", name="New program").first.click()
    owner.get_by_label("Contract").select_option(label="Framework agreement (active)")
    owner.get_by_label("Name", exact=False).first.fill("Coaching")
    owner.get_by_label("Credits per cycle", exact=True).fill("20000")
    owner.get_by_role("button", name="Create program").click()
    owner.get_by_role("heading", name="Coaching", level=1).wait_for()
    owner.goto(f"{base}/assignments")
    owner.get_by_role("link", name="Assign a member").first.click()
    owner.get_by_label("Program").select_option(label="Coaching")
    choose(owner, "Member", "Lila Learner")
    owner.locator("main form button.primary").click()
    owner.locator("h1", has_text="Lila Learner").wait_for()

    # 5. the learner books, and takes receipt and calendar file along
    learner.goto(f"/explore/plans/{plan.public_id}")
    learner.locator("a.slot").nth(30).click()
    learner.wait_for_url("**/book?**")
    assert learner.get_by_label(re.compile(f"^{name}")).is_checked()
    learner.get_by_role("button", name="Book and pay ₹5,900.00").click()
    learner.wait_for_url("**/dashboard/appointments/**")
    assert learner.get_by_text("Booked and paid.").is_visible()
    booking = urlsplit(learner.url).path
    receipt_url = learner.get_by_role("link", name="Receipt").get_attribute("href")
    receipt = learner.request.get(f"{server.url}{receipt_url}")
    assert receipt.headers["content-type"] == "application/pdf" and receipt.body().startswith(b"%PDF")
    with learner.expect_download() as download:
        learner.get_by_role("link", name="Add to calendar").click()
    assert b"BEGIN:VEVENT" in download.value.path().read_bytes()
    expert_email = make.one(
        "SELECT u.email FROM ab_user u JOIN consultant_profile p ON p.user_id = u.id WHERE p.id = :i",
        i=plan.expert_id,
    )
    assert mail_of(learner, server, learner_email, "Strategy session")
    assert "Lila Learner" in mail_of(learner, server, expert_email, "Strategy session")["text"]
    learner.goto(f"{base}/my-program/")
    assert learner.get_by_text("₹15,000.00").count()

    # 6. the owner sees balance, ledger, booking and audit; the books reconcile
    owner.goto(home)
    assert "₹1.9 L" in owner.locator(".stat", has_text="Wallet").inner_text()
    booked = owner.get_by_role("table", name="Recent bookings").get_by_role("row", name="Strategy session")
    assert "Lila Learner" in booked.inner_text() and "₹5,900.00" in booked.inner_text()
    activity = owner.locator("section.card", has=owner.get_by_role("heading", name="Recent activity"))
    assert "Lila Learner" in activity.inner_text()
    owner.goto(f"{base}/wallet")
    assert owner.locator(".balance").inner_text() == "₹1,94,100.00"
    ledger = owner.get_by_role("table").last.inner_text()
    assert "₹2,00,000.00" in ledger and "₹5,900.00" in ledger and "Strategy session" in ledger
    owner.goto(f"{base}/audit/")
    assert owner.get_by_role("table").get_by_text("Lila Learner").count()
    assert make.balance(org) == (TOP_UP - TOTAL)
    run_job("reconcile_ledgers")  # the whole platform; what it says of this organisation:
    before = context.ctx()
    context._current.set(context.Ctx(scope="job"))
    try:
        with Session(make.web) as session:
            report = reconcile.run(session, org.id)
            assert report.findings == [] and report.checked["entries"] > 0
            session.rollback()
    finally:
        context._current.set(before)

    # 7. an owner elsewhere sees none of it
    stranger = browse()
    sign_in(stranger, make.member(make.org()).user.email)
    owner.goto(home)
    paths = owner.eval_on_selector_all("#sidebar nav a", "all => all.map(a => a.getAttribute('href'))")
    assert len(paths) > 8
    for path in (home, *paths):
        answer = stranger.goto(path)
        assert answer.status == 403, path
        assert name not in stranger.content() and "Lila" not in stranger.content(), path
    for path in (booking, f"{booking}/calendar.ics", receipt_url):
        assert stranger.request.get(f"{server.url}{path}").status in (403, 404), path
    assert make.balance(org) == TOP_UP - TOTAL
