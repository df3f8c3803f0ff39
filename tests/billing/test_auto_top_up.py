"""Automatic top-up: it charges the mandate, once in 24 hours, and says so (chapter 2, 2.4; chapter 4, 4.7)."""

from __future__ import annotations

import uuid

import pytest

from app.gateways import provider
from app.jobs import outbox as delivery
from app.services import auto_topup
from tests.factories import unique

from .test_top_up_refunds import spend


@pytest.fixture
def auto(shop, make, client, job):
    """A shop with 10,000 rupees of credits, a minimum, and a granted mandate."""

    class Auto:
        path = f"/api/organizations/{shop.org.slug}/billing-account"
        headers = make.bearer(shop.billing)

        def patch(self, **values):
            return client.patch(self.path, json=values, headers=self.headers)

        def mandate(self, grant="confirmed", max_paise=None):
            made = client.post(
                f"{self.path}/wallet/mandate",
                json={"max_paise": max_paise} if max_paise else {},
                headers={**self.headers, "Idempotency-Key": unique("mandate")},
            )
            assert made.status_code == 201, made.json
            if grant:
                shop.act()
                provider.decide_mandate(job, self.account().mandate_id, grant)
                job.commit()
                shop.webhooks()
            return made.json

        def account(self):
            return make.rows("select * from billing_account where organization_id = :o", o=shop.org.id)[0]

        def on(self, minimum=1_000_000, amount=1_400_000):
            answer = self.patch(
                min_balance_paise=minimum, auto_top_up_amount_paise=amount, auto_top_up_enabled=True
            )
            assert answer.status_code == 200, answer.json
            return answer

        def deliver(self):
            """What the worker does with the outbox of this organisation."""
            handlers = delivery.handlers()
            for _ in range(3):
                rows = make.rows(
                    "select id, topic from outbox_message where organization_id = :o and done_at is null "
                    "and topic in ('wallet_low', 'charge_mandate') order by id",
                    o=shop.org.id,
                )
                for row in rows:
                    shop.act()
                    message = job.get(delivery.OutboxMessage, row.id)
                    handlers[row.topic](job, message)
                    message.done_at = message.available_at
                    job.commit()

        def spend(self, paise):
            spend(make, shop.org, paise)
            self.deliver()

        def told(self, kind="wallet.low_balance"):
            return make.one(
                "select count(*) from notification where organization_id = :o and kind = :k and user_id = :u",
                o=shop.org.id,
                k=kind,
                u=shop.billing.user_id,
            )

        def top_ups(self):
            return [
                tuple(r)
                for r in make.rows(
                    "select kind, status, amount_paise from wallet_top_up where organization_id = :o order by id",
                    o=shop.org.id,
                )
            ]

    make.fund(shop.org, 2_000_000)
    return Auto()


@pytest.mark.scenario("M-6")
def test_a_dip_is_filled_from_the_mandate_and_a_second_one_only_told(auto, shop, make, client, job, settings):
    auto.mandate()
    auto.on()
    auto.spend(1_100_000)
    assert make.balance(shop.org) == 2_300_000
    assert auto.top_ups() == [("AUTO", "CONFIRMED", 1_400_000)] and auto.told() == 1
    auto.spend(1_500_000)
    assert make.balance(shop.org) == 800_000
    assert len(auto.top_ups()) == 1 and auto.told() == 2
    client.post("/api/test/clock", json={"offset_seconds": 24 * 3600 + 1})
    shop.act()
    auto_topup.sweep(job, settings)
    auto.deliver()
    assert make.balance(shop.org) == 2_200_000 and len(auto.top_ups()) == 2


def test_enabling_needs_minimum_amount_and_a_granted_mandate(auto, make, shop):
    r = auto.patch(auto_top_up_enabled=True)
    assert (r.status_code, r.json["code"]) == (400, "AUTO_TOP_UP_INCOMPLETE")
    full = {
        "min_balance_paise": 1_000_000,
        "auto_top_up_amount_paise": 1_400_000,
        "auto_top_up_enabled": True,
    }
    r = auto.patch(**full)
    assert (r.status_code, r.json["code"]) == (409, "MANDATE_REQUIRED")
    auto.mandate(grant=None)
    assert auto.patch(**full).json["code"] == "MANDATE_REQUIRED"  # asked for, not granted
    assert auto.account().auto_top_up_enabled is False and auto.account().min_balance_paise is None
    auto.mandate()
    assert auto.patch(**full).json["mandate_status"] == "CONFIRMED"
    assert auto.patch(auto_top_up_amount_paise=None).json["code"] == "AUTO_TOP_UP_INCOMPLETE"
    assert auto.patch(auto_top_up_amount_paise=9_999).status_code == 400


def test_above_fifteen_thousand_rupees_it_is_a_payment_request(auto, shop, make):
    auto.mandate()
    auto.on(amount=1_500_001)
    auto.spend(1_100_000)
    assert make.balance(shop.org) == 900_000
    assert auto.top_ups() == [("AUTO", "PENDING", 1_500_001)]
    order = make.one("select gateway_order_id from wallet_top_up where organization_id = :o", o=shop.org.id)
    url = make.one(
        "select url from notification where organization_id = :o and kind = 'wallet.low_balance' limit 1",
        o=shop.org.id,
    )
    assert "/wallet/top-ups/" in url
    shop.pay(order)
    shop.webhooks()
    assert make.balance(shop.org) == 2_400_001


def test_three_declined_charges_switch_it_off(auto, shop, make, client, job):
    auto.mandate()
    auto.on()
    for n in range(3):
        client.post("/api/test/clock", json={"offset_seconds": n * 25 * 3600})
        make.fund(shop.org, 1_200_000) if n else None
        shop.act()
        provider.arm(job, "charge_mandate", "decline")
        job.commit()
        auto.spend(make.balance(shop.org) - 900_000)
        shop.webhooks()
        assert auto.account().auto_top_up_failures == n + 1
    assert auto.account().auto_top_up_enabled is False
    assert [s for _, s, _ in auto.top_ups()] == ["FAILED"] * 3
    assert make.balance(shop.org) == 900_000
    assert auto.told("wallet.auto_top_up_failed") == 2 and auto.told("wallet.auto_top_up_off") == 1
    assert auto.on().json["auto_top_up_enabled"] is True
    assert auto.account().auto_top_up_failures == 0


def test_a_lost_answer_and_a_crash_charge_once(auto, shop, make, job, settings, client):
    auto.mandate()
    auto.on()
    shop.act()
    provider.arm(job, "charge_mandate", "lose_answer")
    job.commit()
    spend(make, shop.org, 1_100_000)
    with pytest.raises(Exception, match="GATEWAY_UNAVAILABLE"):
        auto.deliver()
    job.rollback()
    shop.webhooks()  # the webhook is faster than our second question
    assert make.balance(shop.org) == 2_300_000
    top_up = make.one("select public_id from wallet_top_up where organization_id = :o", o=shop.org.id)
    shop.act()
    assert auto_topup.charge(job, uuid.UUID(str(top_up)), settings) == "paid"
    assert make.balance(shop.org) == 2_300_000 and len(auto.top_ups()) == 1


def test_a_mandate_that_ends_switches_it_off_and_only_tells(auto, shop, make, job):
    auto.mandate()
    auto.on()
    shop.act()
    provider.decide_mandate(job, auto.account().mandate_id, "cancelled")
    job.commit()
    shop.webhooks()
    assert (auto.account().mandate_status, auto.account().auto_top_up_enabled) == ("CANCELLED", False)
    auto.spend(1_100_000)
    assert auto.top_ups() == [] and auto.told() == 1 and make.balance(shop.org) == 900_000


def test_the_page_sets_it_up(auto, shop, make, client):
    make.sign_in(client, shop.billing)
    base = f"/dashboard/organization/{shop.org.slug}/wallet"
    assert "Set up a mandate" in client.get(f"{base}/automatic").text
    went = client.form(f"{base}/mandate", {"max": "15,000", "key": unique("page")})
    assert "/sandbox/mandate/" in went.location
    client.form(f"{base}/automatic", {"minimum": "10,000", "amount": "14,000"})
    assert (auto.account().min_balance_paise, auto.account().auto_top_up_amount_paise) == (
        1_000_000,
        1_400_000,
    )
    client.form(f"{base}/mandate/remove")
    assert auto.account().mandate_id is None
    reader = make.sign_in(client, make.member(shop.org, "MANAGER"))
    assert "Save changes" not in reader.get(f"{base}/automatic").text
