"""Journeys of owners and finance: a contract superseded, people assigned in bulk, an invoice from its lines to its end."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import update

from app import clock
from app.models import (
    Assignment,
    AssignmentStatus,
    Contract,
    ContractStatus,
    Cycle,
    FundingSource,
    LicenseModel,
    Membership,
    MembershipStatus,
    OrgRole,
    PlatformRole,
    Program,
    ProgramType,
)
from tests.factories import unique

pytestmark = pytest.mark.browser
SCREENS = pytest.mark.parametrize(("width", "height", "dark"), [(1440, 900, False), (390, 844, True)])


@pytest.fixture
def look(axe):
    """Note what is wrong with a page: ``look(page)``; nothing may be, at the end."""
    findings = []

    def check(page):
        findings.extend(axe(page))
        if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            findings.append(f"{page.url} scrolls sideways")

    yield check
    assert findings == []


@pytest.fixture
def licensed(make):
    """(organisation, its owner, a signed contract with a licence, a program under it) of a sponsor by licence."""
    org = make.org(funding=FundingSource.LICENSE)
    owner, learner = make.member(org, OrgRole.OWNER), make.member(org, OrgRole.LEARNER)
    today = clock.today_ist()
    contract = make.add(
        Contract(
            organization_id=org.id,
            billing_account_id=make.one(
                "SELECT id FROM billing_account WHERE organization_id = :o", o=org.id
            ),
            title="Leadership coaching",
            status=ContractStatus.ACTIVE,
            signed_at=clock.now(),
            signed_by_user_id=owner.user_id,
            effective_from=today - dt.timedelta(days=30),
            effective_to=today + dt.timedelta(days=335),
            license_model=LicenseModel.FLAT_FEE,
            license_fee_paise=12_000_000,
            license_cycle=Cycle.ANNUAL,
        )
    )
    program = make.add(
        Program(
            organization_id=org.id,
            contract_id=contract.id,
            name="Two sessions a month",
            type=ProgramType.LICENSED_SEAT,
            covered_engagements_per_cycle=2,
        )
    )
    make.add(
        Assignment(
            organization_id=org.id,
            program_id=program.id,
            membership_id=learner.id,
            period_start=today,
            period_end=today + dt.timedelta(days=29),
            status=AssignmentStatus.ACTIVE,
        )
    )
    return org, owner, contract, program


@SCREENS
def test_amending_a_contract(browse, sign_in, look, make, licensed, width, height, dark):
    org, owner, _, _ = licensed
    page = browse(width, height, dark)
    sign_in(page, owner.user.email)
    page.goto(f"/dashboard/organization/{org.slug}/contracts/")
    page.get_by_role("link", name="Leadership coaching").click()
    row = page.get_by_role("row").filter(has_text="Amend today")
    assert "1 move" in row.inner_text() and "Terminated" in row.inner_text()
    assert page.get_by_text("Payment terms").count() == 0  # no matter of a licence account
    look(page)
    page.get_by_role("button", name="Amend").click()
    dialog = page.get_by_role("dialog", name="Amend")
    look(page)
    dialog.get_by_label("Licence fee, or price a seat").fill("90,000")
    dialog.get_by_role("button", name="Amend").click()
    assert dialog.is_visible() and dialog.locator("[name=confirm_word]:invalid").count() == 1
    dialog.get_by_label("Type AMEND to confirm").fill("AMEND")
    dialog.get_by_role("button", name="Amend").click()
    page.get_by_text("Amended: a new contract is active from today.").wait_for()
    old, new = make.rows(
        "SELECT status, license_fee_paise AS fee, public_id FROM contract WHERE organization_id = :o ORDER BY id",
        o=org.id,
    )
    assert (old.status, old.fee, new.status, new.fee) == ("TERMINATED", 12_000_000, "ACTIVE", 9_000_000)
    assert page.get_by_role("button", name="Amend").count() == 0
    look(page)
    chain = page.locator("section").filter(has=page.get_by_role("heading", name="Chain"))
    chain.get_by_role("link").click()
    page.wait_for_url(f"**/contracts/show/{new.public_id}")
    assert page.get_by_text("₹90,000.00").first.is_visible()
    assert page.get_by_role("link", name="Two sessions a month").is_visible()  # moved along
    timeline = page.locator("section").filter(has=page.get_by_role("heading", name="Timeline"))
    assert "Leadership coaching" in timeline.inner_text()
    look(page)


@SCREENS
def test_assigning_people_in_bulk(browse, sign_in, look, make, licensed, width, height, dark):
    org, owner, _, program = licensed
    first, second, leaver = (
        make.member(org, OrgRole.LEARNER, make.user(name=n)) for n in ("Asha Rao", "Binod Das", "Chitra Sen")
    )
    page = browse(width, height, dark)
    sign_in(page, owner.user.email)
    page.goto(f"/dashboard/organization/{org.slug}/programs/show/{program.public_id}")
    assert page.get_by_text("Every category").is_visible()
    page.get_by_role("link", name="Assign members").click()
    for member in (first, second, leaver):
        page.get_by_role("checkbox", name=member.user.name).check()
    look(page)
    with make.session() as s:
        meanwhile = (
            update(Membership).where(Membership.id == leaver.id).values(status=MembershipStatus.REMOVED)
        )
        s.execute(meanwhile)
    page.get_by_role("button", name="Assign the chosen").click()
    page.get_by_role("heading", name="2 assigned, 0 had a place, 1 could not be").wait_for()
    rows = page.get_by_role("region", name="Results").get_by_role("row")
    assert "Assigned" in rows.filter(has_text="Asha Rao").inner_text()
    assert "Assigned" in rows.filter(has_text="Binod Das").inner_text()
    refused = rows.filter(has_text="Chitra Sen").inner_text()
    assert "Not assigned" in refused and "active" in refused
    look(page)
    live = "SELECT count(*) FROM assignment WHERE program_id = :p AND status = 'ACTIVE'"
    assert make.one(live, p=program.id) == 3


def write(page, org, *lines):
    """Type a manual invoice of (description, rate) lines and save its draft."""
    page.goto(f"/dashboard/organization/{org.slug}/invoices/new")
    for n, (what, rate) in enumerate(lines, 1):
        page.get_by_label(f"Description of line {n}", exact=True).fill(what)
        page.get_by_label(f"Rate of line {n}", exact=True).fill(rate)
    page.get_by_role("button", name="More lines").click()
    page.get_by_label("Description of line 10", exact=True).wait_for()  # and nothing typed is lost
    page.get_by_label("Note").fill("Cost centre 4711")
    page.get_by_role("button", name="Save draft").click()
    page.get_by_role("heading", name="Draft invoice").wait_for()


def issue(page):
    """Issue the draft on *page*; returns its number."""
    page.get_by_role("button", name="Issue").click()
    page.get_by_role("dialog").get_by_role("button", name="Issue").click()
    page.get_by_text("The invoice is issued and on its way.").wait_for()
    return page.get_by_role("heading", level=1).inner_text().split()[0]


def more(page, label):
    """Open a dialog from the page's menu."""
    page.get_by_label("More", exact=True).click()
    page.get_by_role("button", name=label).click()
    return page.locator("dialog[open]")


@SCREENS
def test_an_invoice_from_its_lines_to_its_last_rupee(
    browse, sign_in, look, make, run_job, width, height, dark
):
    org = make.org(name=unique("Kaveri Textiles"), funding=FundingSource.INVOICE)
    finance, admin = make.member(org, "BILLING_ADMIN"), make.user(platform_role=PlatformRole.ADMIN)
    page, desk = browse(width, height, dark), browse(width, height, dark)
    sign_in(page, finance.user.email)
    sign_in(desk, admin.email)

    write(page, org, ("Workshop for managers", "10,000"), ("Travel of the trainer", "5,000"))
    assert (
        page.get_by_text("Cost centre 4711").is_visible()
        and page.get_by_text("₹17,700.00").first.is_visible()
    )
    look(page)
    number, address = issue(page), page.url
    look(page)

    desk.goto(address)
    dialog = more(desk, "Record a transfer")
    look(desk)
    dialog.get_by_label("Amount").fill("7,700")
    dialog.get_by_label("UTR").fill(unique("HDFC").replace("-", ""))
    dialog.get_by_role("button", name="Record").click()
    desk.get_by_text("The transfer was recorded.").wait_for()
    assert desk.get_by_text("₹10,000.00 left to pay").is_visible()
    dialog = more(desk, "Credit lines")
    look(desk)
    dialog.get_by_label("Travel of the trainer").fill("5,000")
    dialog.get_by_label("Reason").fill("The trainer came by herself")
    dialog.get_by_role("button", name="Write the credit note").click()
    desk.get_by_text("The credit note is written.").wait_for()
    look(desk)

    page.reload()
    assert page.get_by_text("The trainer came by herself").first.is_visible()
    page.get_by_role("button", name="Pay ₹4,100.00").click()
    page.wait_for_url("**/sandbox/checkout/**")
    look(page)
    page.get_by_role("button", name="Pay ₹4,100.00").click()
    page.wait_for_url(f"{address}*")
    page.get_by_text("A payment is being confirmed.").wait_for()
    assert page.get_by_role("button", name="Pay ₹4,100.00").count() == 0
    look(page)
    run_job("deliver_sandbox_webhooks")
    run_job("process_gateway_events")
    page.reload()
    assert page.get_by_text("Paid", exact=True).first.is_visible()
    assert page.get_by_text("A payment is being confirmed.").count() == 0
    assert make.one("SELECT status FROM invoice WHERE number = :n", n=number) == "PAID"
    page.goto(f"/dashboard/organization/{org.slug}/credit-notes/")
    assert page.get_by_role("link", name=number).is_visible()
    look(page)


@SCREENS
def test_voiding_an_invoice_and_billing_again(browse, sign_in, look, make, width, height, dark):
    org = make.org(name=unique("Kaveri Textiles"), funding=FundingSource.INVOICE)
    finance = make.member(org, "BILLING_ADMIN")
    page = browse(width, height, dark)
    sign_in(page, finance.user.email)
    write(page, org, ("Workshop for managers", "10,000"))
    first = issue(page)
    dialog = more(page, "Void")
    look(page)
    dialog.get_by_label("Reason").fill("The cost centre is missing")
    dialog.get_by_role("button", name="Void the invoice").click()
    page.get_by_text("Void: not to be paid.").wait_for()
    assert page.get_by_text("The cost centre is missing").first.is_visible()
    look(page)
    page.get_by_role("button", name="Bill again").click()
    page.get_by_role("dialog").get_by_role("button", name="Bill again").click()
    page.get_by_text("A draft with the same lines stands.").wait_for()
    look(page)
    second = issue(page)
    assert second != first and second[:-1] == first[:-1]
    rows = make.rows(
        "SELECT number, status, total_paise AS total FROM invoice WHERE organization_id = :o ORDER BY id",
        o=org.id,
    )
    assert [tuple(r) for r in rows] == [(first, "VOID", 1_180_000), (second, "ISSUED", 1_180_000)]
