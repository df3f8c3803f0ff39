"""Contracts, programs, places, purchase orders and side payments in a browser: axe, and both screens."""

from __future__ import annotations

import datetime as dt

import pytest

from app import clock
from app.models import (
    Assignment,
    AssignmentStatus,
    Contract,
    ContractStatus,
    Cycle,
    FundingSource,
    LicenseModel,
    OrgRole,
    OverageBehavior,
    Program,
    ProgramType,
    PurchaseOrder,
)
from tests.booking.conftest import World, slot

pytestmark = pytest.mark.browser


@pytest.fixture
def place(make, app):
    """A sponsor by licence: a signed contract, a seat of one session, an order, a learner who owes for a second."""
    org = make.org(funding=FundingSource.LICENSE, requires_po=True)
    owner, learner = make.member(org, OrgRole.OWNER), make.member(org, OrgRole.LEARNER)
    account = make.one("SELECT id FROM billing_account WHERE organization_id = :o", o=org.id)
    today = clock.today_ist()
    contract = make.add(
        Contract(
            organization_id=org.id,
            billing_account_id=account,
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
            name="One session a month",
            type=ProgramType.LICENSED_SEAT,
            covered_engagements_per_cycle=1,
            overage_behavior=OverageBehavior.CHARGE_MEMBER,
            max_overage_per_cycle_paise=10_000_000,
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
    make.add(
        PurchaseOrder(
            organization_id=org.id,
            billing_account_id=account,
            po_number="4500012345",
            total_paise=50_000_000,
            remaining_paise=50_000_000,
            valid_until=today + dt.timedelta(days=20),
        )
    )
    expert = make.expert()
    world = World(make, app.test_client(), org, contract, program, expert, make.plan(expert, 500_000))
    world.book(learner, slot(5))
    over = world.book(learner, slot(5)).json["overage"]["payment_id"]
    return org, owner, learner, contract, program, over


@pytest.mark.parametrize(("width", "height", "dark"), [(1440, 900, False), (390, 844, True)])
def test_the_pages_of_terms_are_accessible(browse, sign_in, axe, place, width, height, dark):
    org, owner, learner, contract, program, over = place
    home, findings = f"/dashboard/organization/{org.slug}", []

    def look(page, path):
        answer = page.goto(path)
        assert answer is not None and answer.ok, page.url
        assert page.locator("h1").count() == 1, page.url
        findings.extend(axe(page))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{page.url} scrolls sideways"
        )

    page = browse(width, height, dark)
    sign_in(page, owner.user.email)
    for path in (
        "contracts/",
        "contracts/add",
        f"contracts/show/{contract.public_id}",
        "programs/",
        "programs/add",
        f"programs/show/{program.public_id}",
        f"programs/edit/{program.public_id}",
        f"programs/supersede/{program.public_id}",
        f"programs/enrol/{program.public_id}",
        "purchase-orders/",
    ):
        look(page, f"{home}/{path}")
    page.get_by_role("button", name="New purchase order").first.click()
    findings.extend(axe(page))
    page = browse(width, height, dark)
    sign_in(page, learner.user.email)
    look(page, f"{home}/my-program/")
    look(page, f"/dashboard/payments/{over}/pay")
    assert findings == []
