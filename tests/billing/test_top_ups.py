"""Top-ups through the sandbox gateway and its signed webhooks (chapter 2, 2.4, 2.7)."""

from __future__ import annotations

import json

import pytest

from app.faults import FaultInjected
from app.gateways import provider
from app.gateways.signing import matches, sign
from app.models import FundingSource, OrgStatus, PlatformRole
from app.services import topups
from app.services import unapplied as refunds
from tests.factories import unique

from .conftest import unapplied


def cash(make, org):
    """What CASH gained by postings of this organisation, paise."""
    return make.one(
        "select coalesce(sum(case e.side when 'D' then e.amount_paise else -e.amount_paise end), 0) from ledger_entry e "
        "join ledger_account a on a.id = e.account_id join ledger_transaction t on t.id = e.transaction_id "
        "where a.kind = 'CASH' and t.organization_id = :o",
        o=org.id,
    )


@pytest.mark.smoke
@pytest.mark.scenario("M-1")
def test_paid_top_up_is_credited_once_however_often_the_webhook_comes(shop, make, job):
    created = shop.buy()
    assert created.status_code == 201 and created.json["status"] == "PENDING"
    assert created.json["checkout_url"].endswith(created.json["order_id"])
    assert make.balance(shop.org) == 0  # nothing before the money is there
    shop.pay(created.json["order_id"])
    shop.webhooks()
    assert make.balance(shop.org) == 20_000_000 and cash(make, shop.org) == 20_000_000
    assert shop.status(created.json["top_up_id"]).status == "CONFIRMED"
    provider.resend(job, created.json["order_id"])
    job.commit()
    shop.webhooks()
    assert make.balance(shop.org) == 20_000_000 and cash(make, shop.org) == 20_000_000
    audit = [
        r[0]
        for r in make.rows(
            "select action from org_audit_log where organization_id = :o order by id", o=shop.org.id
        )
    ]
    assert audit == ["WALLET_TOPUP", "WALLET_TOPUP_CONFIRMED"]
    mails = make.one(
        "select count(*) from outbox_message where payload->>'template' = 'top_up_confirmed' "
        "and organization_id = :o",
        o=shop.org.id,
    )
    assert mails == 2  # owner and billing administrator


@pytest.mark.scenario("M-2")
def test_minimum_key_and_role(shop, make):
    assert shop.buy(9_999).status_code == 400
    key = unique("key")
    first, again = shop.buy(key=key), shop.buy(key=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json["top_up_id"] == again.json["top_up_id"]
    assert shop.buy(50_000, key=key).json["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert shop.buy(key="").json["code"] == "IDEMPOTENCY_KEY_REQUIRED"
    refused = shop.buy(who=make.member(shop.org, "MANAGER"))
    assert refused.status_code == 403 and refused.json["code"] == "BILLING_ADMIN_OR_OWNER_REQUIRED"
    assert make.one("select count(*) from wallet_top_up where organization_id = :o", o=shop.org.id) == 1


@pytest.mark.parametrize("amount", [0, -1, 10_000_000_001, "20000", 1.5, None, True, 10**30])
def test_odd_amounts_change_nothing(shop, make, amount):
    assert shop.buy(amount).status_code == 400
    assert make.one("select count(*) from wallet_top_up where organization_id = :o", o=shop.org.id) == 0


@pytest.mark.scenario("M-3")
def test_another_amount_fails_is_kept_apart_and_goes_back(shop, make, job, settings):
    created = shop.buy().json
    shop.pay(created["order_id"], amount_paise=19_999_999)
    shop.webhooks()
    assert tuple(shop.status(created["top_up_id"])) == ("FAILED", "AMOUNT_MISMATCH")
    assert make.balance(shop.org) == 0 and unapplied(make, shop.org) == 19_999_999
    payment = make.one(
        "select gateway_payment_id from wallet_top_up where public_id = :i", i=created["top_up_id"]
    )
    shop.act()
    for _ in range(2):  # the outbox delivers at least once
        refunds.refund(job, payment, settings)
        job.commit()
    assert unapplied(make, shop.org) == 0
    assert make.one("select count(*) from sandbox_refund where payment_id = :p", p=payment) == 1


@pytest.mark.scenario("M-4")
def test_a_crash_after_the_capture_is_swept_up_once(shop, make, job, settings, client):
    created = shop.buy().json
    shop.pay(created["order_id"])
    client.post("/api/test/fault", json={"point": "topup_captured"})
    shop.webhooks()
    assert make.balance(shop.org) == 0
    assert make.one(
        "select captured_at is not null from wallet_top_up where public_id = :i", i=created["top_up_id"]
    )
    shop.act()
    for _ in range(2):
        topups.sweep(job, settings)
    assert make.balance(shop.org) == 20_000_000
    assert shop.status(created["top_up_id"]).status == "CONFIRMED"


@pytest.mark.scenario("M-4")
def test_unpaid_for_six_hours_fails_and_a_late_capture_revives(shop, make, job, settings, client):
    created = shop.buy().json
    client.post("/api/test/clock", json={"offset_seconds": 6 * 3600 + 60})
    shop.act()
    topups.sweep(job, settings)
    assert tuple(shop.status(created["top_up_id"])) == ("FAILED", "UNPAID")
    shop.pay(created["order_id"])
    shop.webhooks()
    assert shop.status(created["top_up_id"]).status == "CONFIRMED" and make.balance(shop.org) == 20_000_000


def test_a_lost_webhook_is_fetched_by_the_sweep(shop, make, job, settings, client):
    created = shop.buy().json
    shop.pay(created["order_id"])
    client.post("/api/test/clock", json={"offset_seconds": 660})
    shop.act()
    topups.sweep(job, settings)
    assert make.balance(shop.org) == 20_000_000
    shop.webhooks()
    assert make.balance(shop.org) == 20_000_000


@pytest.mark.scenario("M-46")
def test_forged_notes_are_not_credited(shop, make, job):
    other = make.org()
    created = shop.buy().json
    shop.pay(created["order_id"], notes={"organization_id": str(other.public_id)})
    shop.webhooks()
    assert make.balance(shop.org) == make.balance(other) == 0 and unapplied(make, shop.org) == 20_000_000
    assert make.one("select count(*) from system_event where message like '%ORG_MISMATCH%'") >= 1


@pytest.mark.scenario("M-45")
def test_webhooks_are_signed_and_counted_once(client, make, settings):
    body = json.dumps(
        {
            "event": "payment.captured",
            "payment": {"id": unique("pay"), "order_id": "order_x", "amount": 5, "notes": {}},
        }
    ).encode()
    good = {"X-Sandbox-Signature": sign(settings.sandbox_webhook_secret, body)}
    for headers in (
        {},
        {"X-Sandbox-Signature": "0" * 64},
        {"X-Sandbox-Signature": sign("other", body)},
        {"X-Sandbox-Signature": "ünïcode"},
    ):
        refused = client.post("/webhooks/gateway/sandbox", data=body, headers=headers)
        assert refused.status_code == 400 and refused.json["code"] == "WEBHOOK_SIGNATURE_INVALID"
    assert client.post("/webhooks/gateway/sandbox", data=body + b" ", headers=good).status_code == 400
    first, second = (client.post("/webhooks/gateway/sandbox", data=body, headers=good) for _ in range(2))
    assert first.json == {"received": True, "duplicate": False} and second.json == {
        "received": True,
        "duplicate": True,
    }
    assert client.post("/webhooks/gateway/nobody", data=body, headers=good).status_code == 404
    assert (
        client.post("/webhooks/gateway/stripe", data=body, headers=good).json["code"]
        == "GATEWAY_NOT_CONFIGURED"
    )
    assert client.post("/webhooks/gateway/sandbox", data=b"x" * 300_000, headers=good).status_code == 413


def test_signed_rubbish_is_refused_without_a_trace(client, settings):
    for body in (
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"event": 1, "payment": 2}',
        b"\xff\xfe",
        b'{"event":"x","payment":{"amount":"y"}}',
    ):
        response = client.post(
            "/webhooks/gateway/sandbox",
            data=body,
            headers={"X-Sandbox-Signature": sign(settings.sandbox_webhook_secret, body)},
        )
        assert response.status_code == 400 and "Traceback" not in response.text


def test_signatures_accept_the_previous_secret_and_vectors_of_the_chapter():
    body = b'{"event":"payment.captured"}'
    vector = "4673dd707ef4c41b987cb7fefe1583142dc702388c93145b7814b9ad3d3c183e"
    assert sign("whsec", body) == vector
    assert (
        matches("new,whsec", body, vector)
        and not matches("new,other", body, vector)
        and not matches("", body, vector)
    )


def test_a_webhook_that_is_not_answered_comes_again(shop, make, job, settings, client):
    created = shop.buy().json
    shop.pay(created["order_id"])
    assert provider.deliver(job, "x", "s", post=lambda *_: 0)["failed"] == 1
    assert provider.deliver(job, "x", "s", post=lambda *_: 500) == {"sent": 0, "failed": 0}  # not due yet
    client.post("/api/test/clock", json={"offset_seconds": 6})
    shop.webhooks()
    assert make.balance(shop.org) == 20_000_000


def test_declined_and_paid_twice(shop, make, job):
    created = shop.buy().json
    shop.act()
    provider.decline(job, created["order_id"])
    job.commit()
    shop.webhooks()
    assert shop.status(created["top_up_id"]).status == "PENDING"  # the payer may try another card
    shop.pay(created["order_id"])
    with pytest.raises(topups.DomainError, match="ILLEGAL_TRANSITION"):
        provider.pay(job, created["order_id"])


def test_an_unverified_organisation_and_another_funding_source_cannot_buy(make, client):
    for values, code in (
        ({"status": OrgStatus.PENDING_VERIFICATION}, "ORG_NOT_VERIFIED"),
        ({"status": OrgStatus.SUSPENDED}, "ORG_NOT_ACTIVE"),
        ({"funding": FundingSource.INVOICE}, "FUNDING_SOURCE_MISMATCH"),
    ):
        org = make.org(**values)
        owner = make.member(org)
        response = client.post(
            f"/api/organizations/{org.slug}/billing-account/wallet/top-ups",
            json={"amount_paise": 10_000},
            headers=make.bearer(owner, **{"Idempotency-Key": unique("k")}),
        )
        assert response.status_code == 409 and response.json["code"] == code


def test_ledger_pages_and_export_agree_with_the_balance(shop, make, client):
    for paise in (10_000, 20_000, 30_000):
        make.fund(shop.org, paise)
    headers = make.bearer(shop.billing)
    base = f"/api/organizations/{shop.org.slug}/billing-account/wallet"
    first = client.get(f"{base}?per_page=2", headers=headers).json
    second = client.get(f"{base}?per_page=2&page=2", headers=headers).json
    rows = first["entries"] + second["entries"]
    assert first["total"] == 3 and [r["delta_paise"] for r in rows] == [30_000, 20_000, 10_000]
    assert [r["balance_paise"] for r in rows] == [60_000, 30_000, 10_000] and first["balance_paise"] == 60_000
    lines = client.get(f"{base}?format=csv", headers=headers).text.splitlines()
    assert len(lines) == 4 and lines[1].endswith(",30000,60000")
    assert client.get(f"{base}?per_page=101", headers=headers).status_code == 400
    assert client.get(base, headers=make.bearer(make.member(shop.org, "LEARNER"))).status_code == 403


@pytest.mark.scenario("M-17")
def test_credit_limit_is_lowered_by_finance_and_raised_by_the_platform(make, client):
    org = make.org(funding=FundingSource.INVOICE)
    billing = make.bearer(make.member(org, "BILLING_ADMIN"))
    admin = make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    path = f"/api/organizations/{org.slug}/billing-account"
    assert client.patch(path, json={"credit_limit_paise": 1_000_000}, headers=admin).status_code == 200
    refused = client.patch(path, json={"credit_limit_paise": 1_000_001}, headers=billing)
    assert refused.status_code == 403 and refused.json["code"] == "INSUFFICIENT_ROLE"
    assert (
        client.patch(path, json={"credit_limit_paise": 900_000}, headers=billing).json["credit_limit_paise"]
        == 900_000
    )
    assert (
        client.patch(path, json={"min_balance_paise": 1}, headers=billing).json["code"]
        == "FUNDING_SOURCE_MISMATCH"
    )


def test_faults_crash_once(client):
    from app import faults

    client.post("/api/test/fault", json={"point": "here"})
    with pytest.raises(FaultInjected):
        faults.trip("here")
    faults.trip("here")
