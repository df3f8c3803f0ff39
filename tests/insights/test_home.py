"""The activation checklist, the notices and quick actions of the home page (chapter 1, 1.7 "Home")."""

from __future__ import annotations

import datetime as dt

import pytest

from app import clock
from app.models import BillingAccount, FundingSource, Organization, OrgStatus
from app.services import activation
from app.services.home import Figures, Receivables


def organization(**values):
    plain = {"status": OrgStatus.ACTIVE, "can_sponsor": True, "can_host": False, "seats_used": 0}
    return Organization(name="Acme", slug="acme", **{**plain, **values})


def account(funding=FundingSource.WALLET, **values):
    balance = 0 if funding == FundingSource.WALLET else None
    return BillingAccount(funding_source=funding, **{"wallet_balance_paise": balance, **values})


def labels(org, billing, figures):
    return [s.label for s in activation.checklist(org, billing, figures)]


COVERED = ["Sign a contract", "Create a program", "Invite people", "Assign members to a program"]


@pytest.mark.parametrize(
    ("funding", "expected"),
    [
        (FundingSource.WALLET, ["Verification", "Buy credits", *COVERED]),
        (FundingSource.INVOICE, ["Verification", "Business identity", "Billing contact", *COVERED]),
        (FundingSource.LICENSE, ["Verification", "Billing contact", *COVERED]),
        (FundingSource.PERSONAL, ["Verification", "Billing contact", "Invite people"]),
    ],
)
def test_the_checklist_of_a_sponsor(funding, expected):
    pending = organization(status=OrgStatus.PENDING_VERIFICATION)
    assert labels(pending, account(funding), Figures()) == expected


def test_the_checklist_of_a_host_and_its_end():
    host = organization(status=OrgStatus.PENDING_VERIFICATION, can_sponsor=False, can_host=True)
    assert labels(host, None, Figures()) == ["Verification", "Invite people"]
    done = Figures(
        by_role={"OWNER": 1, "LEARNER": 3}, programs=1, assignments=3, has_contract=True, topped_up=True
    )
    assert labels(organization(), account(), done) == []
    assert labels(organization(), account(), Figures()) != []


def test_a_licence_counts_as_billing():
    steps = {
        s.label: s.done
        for s in activation.checklist(organization(), account(FundingSource.LICENSE), Figures(licences=1))
    }
    assert steps["Billing contact"] is True
    steps = {
        s.label: s.done
        for s in activation.checklist(organization(), account(FundingSource.LICENSE), Figures())
    }
    assert steps["Billing contact"] is False


def test_notices_stand_by_severity():
    everything = Figures(
        nearly_used=2,
        contract_ends=clock.today_ist() + dt.timedelta(days=30),
        overages=1,
        payouts_held=3,
        receivables=Receivables(overdue=100),
    )
    org = organization(seats_total=10, seats_used=8, can_host=True)
    titles = [b.title for b in activation.banners(org, account(wallet_balance_paise=99_999), everything)]
    assert titles == [
        "An invoice is overdue.",
        "Seats are running low.",
        "Budgets are running low.",
        "The contract ends soon.",
        "The wallet is nearly empty.",
        "Overages.",
        "Payouts are held.",
    ]
    quiet = Figures(contract_ends=clock.today_ist() + dt.timedelta(days=31))
    calm = organization(seats_total=10, seats_used=7)
    assert activation.banners(calm, account(wallet_balance_paise=100_000), quiet) == []


def test_support_meets_no_notice_about_money():
    figures = Figures(nearly_used=1, overages=1, payouts_held=1, receivables=Receivables(overdue=1))
    titles = [b.title for b in activation.banners(organization(), None, figures)]
    assert titles == ["Budgets are running low."]


def test_no_quick_action_refuses(app, make, busy):
    """Each role's quick actions open; a suspended organisation offers none that write."""
    import re

    for role in ("OWNER", "MAINTAINER", "MANAGER"):
        browser = make.sign_in(app.test_client(), busy.people[role])
        home = f"/dashboard/organization/{busy.org.slug}/home/"
        page = browser.get(home).text
        urls = re.findall(
            r'class="pop-a" href="([^"]+)"', page.split('class="quicklist"')[1].split("</ul>")[0]
        )
        assert urls, role
        for url in urls:
            assert browser.get(url, follow_redirects=True).status_code == 200, f"{role}: {url}"
    with make.session() as s:
        s.get(Organization, busy.org.id).status = OrgStatus.SUSPENDED
    page = make.sign_in(app.test_client(), busy.people["OWNER"]).get(home).text
    assert "Assign a program" not in page and "This organisation is suspended" in page
    assert "Invite people</a>" not in page and "Buy credits</a>" not in page
