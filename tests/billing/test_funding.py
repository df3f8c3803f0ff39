"""Billing for everybody who reads finance, its form, and the change of how one pays (chapter 1, "Beyond the original")."""

from __future__ import annotations

from typing import Any

import pytest

from app.models import FundingSource, OrgStatus, PlatformRole
from app.security import context
from app.services import funding
from tests.billing.test_top_up_refunds import spend

SOURCES = list(FundingSource)


def change(client: Any, make: Any, member: Any, org: Any, to: str) -> Any:
    return client.post(
        f"/api/organizations/{org.slug}/billing-account/funding-source",
        json={"to": to},
        headers=make.bearer(member),
    )


def account(make: Any, org: Any) -> Any:
    return make.rows(
        "select funding_source, pending_funding_source, funding_changes_on, wallet_balance_paise, min_balance_paise"
        " from billing_account where organization_id = :o",
        o=org.id,
    )[0]


def actions(make: Any, org: Any) -> list[str]:
    return [
        r.action
        for r in make.rows(
            "select action from org_audit_log where organization_id = :o and action like 'FUNDING%' order by id",
            o=org.id,
        )
    ]


def look(make: Any) -> None:
    """The job runs."""
    context._current.set(context.Ctx(scope="job"))
    from sqlalchemy.orm import Session

    with make.app.app_context(), Session(make.web) as session:
        funding.apply_due(session)
    context.reset()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("role", ["OWNER", "MAINTAINER", "BILLING_ADMIN", "MANAGER"])
def test_billing_opens_for_every_source_and_reader(make, client, source, role):
    org = make.org(funding=source)
    page = make.sign_in(client, make.member(org, role)).get(f"/dashboard/organization/{org.slug}/billing")
    assert page.status_code == 200
    writes = role in ("OWNER", "BILLING_ADMIN")
    assert ('name="billing_email"' in page.text) is writes
    assert ("Change how you pay" in page.text) is writes


def test_a_billing_administrator_saves_terms_and_a_maintainer_does_not(app, make, client):
    org = make.org(billing_email="old@org.test")
    base = f"/dashboard/organization/{org.slug}/billing"
    lead = make.sign_in(client, make.member(org, "BILLING_ADMIN"))
    saved = lead.form(f"{base}/terms", {"billing_email": "new@org.test", "payment_terms_days": "45"})
    assert saved.status_code == 302
    row = make.rows("select billing_email, payment_terms_days from organization where id = :o", o=org.id)[0]
    assert tuple(row) == ("new@org.test", 45)
    lead.form(f"{base}/terms", {"billing_email": "not an address", "payment_terms_days": "999"})
    other = make.sign_in(app.test_client(), make.member(org, "MAINTAINER"))
    assert other.form(f"{base}/terms", {"billing_email": "mine@org.test"}).status_code == 403
    again = make.rows("select billing_email, payment_terms_days from organization where id = :o", o=org.id)[0]
    assert tuple(again) == ("new@org.test", 45)


def test_a_pending_organisation_has_its_billing_email_and_waits_with_terms(make, client):
    org = make.org(status=OrgStatus.PENDING_VERIFICATION)
    page = make.sign_in(client, make.member(org, "OWNER")).get(f"/dashboard/organization/{org.slug}/billing")
    assert page.status_code == 200
    assert 'name="billing_email"' in page.text
    assert 'name="payment_terms_days"' not in page.text
    assert "Change how you pay" not in page.text


def test_only_finance_schedules_and_only_what_is_possible(make, client):
    org = make.org(funding=FundingSource.WALLET, domain=False)
    for role, code in (
        ("MAINTAINER", "BILLING_ADMIN_OR_OWNER_REQUIRED"),
        ("SUPPORT", "BILLING_ADMIN_OR_OWNER_REQUIRED"),
    ):
        refused = change(client, make, make.member(org, role), org, "PERSONAL")
        assert (refused.status_code, refused.json["code"]) == (403, code)
    owner = make.member(org, "OWNER")
    for to, status, code in (
        ("WALLET", 400, "VALIDATION_FAILED"),
        ("BARTER", 400, "VALIDATION_FAILED"),
        ("INVOICE", 403, "DOMAIN_VERIFICATION_REQUIRED"),
    ):
        refused = change(client, make, owner, org, to)
        assert (refused.status_code, refused.json["code"]) == (status, code)
    assert account(make, org).pending_funding_source is None
    assert actions(make, org) == []


def test_scheduled_replaced_and_taken_back(make, client):
    org = make.org(funding=FundingSource.WALLET)
    make.fund(org, 500)
    lead = make.member(org, "BILLING_ADMIN")
    asked = change(client, make, lead, org, "INVOICE")
    assert asked.status_code == 202
    assert asked.json["funding_source"] == "WALLET"
    assert change(client, make, lead, org, "INVOICE").status_code == 202
    assert change(client, make, lead, org, "PERSONAL").json["pending_funding_source"] == "PERSONAL"
    mails = make.rows(
        "select payload from outbox_message where organization_id = :o and topic = 'mail'", o=org.id
    )
    assert len([m for m in mails if m.payload["template"] == "funding_change"]) == 2
    page = make.sign_in(client, lead).get(f"/dashboard/organization/{org.slug}/billing").text
    assert "Take it back" in page and "credits in the wallet" in page
    url = f"/api/organizations/{org.slug}/billing-account/funding-source"
    assert client.delete(url, headers=make.bearer(lead)).json["pending_funding_source"] is None
    gone = client.delete(url, headers=make.bearer(lead))
    assert (gone.status_code, gone.json["code"]) == (409, "FUNDING_CHANGE_NOT_PENDING")
    assert actions(make, org) == [
        "FUNDING_CHANGE_SCHEDULED",
        "FUNDING_CHANGE_SCHEDULED",
        "FUNDING_CHANGE_CANCELLED",
    ]


@pytest.mark.scenario("M-18")
def test_a_balance_of_one_paisa_waits_and_a_drained_wallet_changes(make, client):
    org = make.org(funding=FundingSource.WALLET)
    owner = make.member(org, "OWNER")
    make.fund(org, 1)
    asked = change(client, make, owner, org, "INVOICE")
    assert (asked.status_code, asked.json["open"]) == (202, {"wallet_balance_paise": 1})
    look(make)
    waits = account(make, org)
    assert (waits.funding_source, waits.pending_funding_source) == ("WALLET", "INVOICE")
    assert waits.wallet_balance_paise == 1
    spend(make, org, 1)
    admin = make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    ran = client.post("/api/admin/jobs/apply_funding_changes/run", headers=admin)
    assert ran.status_code == 200 and ran.json["summary"]["applied"] >= 1
    now = account(make, org)
    assert (now.funding_source, now.pending_funding_source, now.wallet_balance_paise) == (
        "INVOICE",
        None,
        None,
    )
    assert actions(make, org) == ["FUNDING_CHANGE_SCHEDULED", "FUNDING_CHANGED"]
    look(make)
    assert account(make, org) == now


@pytest.mark.scenario("M-18")
def test_nothing_open_changes_at_once(make, client):
    org = make.org(funding=FundingSource.WALLET)
    asked = change(client, make, make.member(org, "BILLING_ADMIN"), org, "INVOICE")
    assert (asked.status_code, asked.json["funding_source"], asked.json["open"]) == (200, "INVOICE", {})
    assert asked.json["wallet_balance_paise"] is None


def test_a_suspended_organisation_waits(make, client):
    org = make.org(funding=FundingSource.WALLET)
    make.fund(org, 1)
    change(client, make, make.member(org, "OWNER"), org, "PERSONAL")
    spend(make, org, 1)
    with make.session() as session:
        session.get(type(org), org.id).status = OrgStatus.SUSPENDED
    look(make)
    assert account(make, org).funding_source == "WALLET"
    with make.session() as session:
        session.get(type(org), org.id).status = OrgStatus.ACTIVE
    look(make)
    assert (account(make, org).funding_source, account(make, org).wallet_balance_paise) == ("PERSONAL", None)
