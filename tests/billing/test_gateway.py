"""What happens between the provider and us when things are late, forged, doubled or broken (chapter 2, 2.7)."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import text

from app.errors import DomainError
from app.gateways import open_gateway, provider
from app.jobs import money
from app.models import PlatformRole
from app.services import topups

from .conftest import unapplied


def test_the_worker_is_called_after_the_commit_and_not_after_a_rollback(shop, job, app):
    """A job that starts before its rows are committed finds nothing and the payer waits for the schedule."""
    queue = app.extensions["queue"]

    def called():
        return [j.args[0] for j in queue.get_jobs() if j.args[0] != "deliver_outbox"]

    created = shop.buy().json
    queue.empty()
    shop.act()
    provider.pay(job, created["order_id"])
    money.kick_gateway(job)
    assert called() == []
    job.rollback()
    job.commit()
    assert called() == []
    shop.act()
    provider.pay(job, created["order_id"])
    with job.begin_nested():
        money.kick_gateway(job)
    assert called() == []  # a released savepoint is no commit
    job.commit()
    assert called() == ["deliver_sandbox_webhooks"]
    shop.deliver()
    assert called() == ["deliver_sandbox_webhooks", "process_gateway_events"]


@pytest.mark.scenario("M-46")
@pytest.mark.parametrize("note", ["type", "top_up_id", "user_id", "funding_source"])
def test_every_note_is_compared(shop, make, note):
    created = shop.buy().json
    shop.pay(created["order_id"], notes={note: "forged"})
    shop.webhooks()
    assert make.balance(shop.org) == 0 and shop.status(created["top_up_id"]).status == "PENDING"
    payment = make.one("select payment_id from sandbox_order where order_id = :o", o=created["order_id"])
    reason = make.one("select reason from unapplied_receipt where provider_payment_id = :p", p=payment)
    assert reason == "NOTES_MISMATCH"


def test_notes_carry_public_ids_only(shop, make):
    created = shop.buy().json
    notes = make.one("select notes from sandbox_order where order_id = :o", o=created["order_id"])
    assert notes == {
        "type": "credit_purchase",
        "top_up_id": created["top_up_id"],
        "organization_id": str(shop.org.public_id),
        "user_id": str(shop.billing.user.public_id),
        "funding_source": "WALLET",
    }


@pytest.mark.scenario("M-4")
def test_a_late_capture_that_crashed_is_swept_up(shop, make, job, settings, client):
    created = shop.buy().json
    client.post("/api/test/clock", json={"offset_seconds": 6 * 3600 + 60})
    shop.act()
    topups.sweep(job, settings)
    shop.pay(created["order_id"])
    client.post("/api/test/fault", json={"point": "topup_captured"})
    shop.webhooks()
    assert tuple(shop.status(created["top_up_id"])) == ("FAILED", "UNPAID") and make.balance(shop.org) == 0
    shop.act()
    for _ in range(2):
        topups.sweep(job, settings)
    assert shop.status(created["top_up_id"]).status == "CONFIRMED" and make.balance(shop.org) == 20_000_000


def test_a_wallet_that_is_no_wallet_any_more_sends_the_money_back(shop, make, owner_engine):
    created = shop.buy().json
    with owner_engine.begin() as c:
        c.execute(
            text(
                "update billing_account set funding_source = 'INVOICE', wallet_balance_paise = null "
                "where organization_id = :o"
            ),
            {"o": shop.org.id},
        )
    shop.pay(created["order_id"])
    shop.webhooks()
    assert tuple(shop.status(created["top_up_id"])) == ("FAILED", "FUNDING_SOURCE_MISMATCH")
    assert unapplied(make, shop.org) == 20_000_000
    payment = make.one("select payment_id from sandbox_order where order_id = :o", o=created["order_id"])
    queued = make.one(
        "select count(*) from outbox_message where topic = 'refund_unapplied' and payload->>'payment_id' = :p",
        p=payment,
    )
    assert queued == 1


def test_a_failing_event_is_driven_again_and_given_up_with_an_alert(shop, make, client, owner_engine):
    created = shop.buy().json
    shop.pay(created["order_id"])
    shop.deliver()
    key = make.one(
        "select event_key from gateway_event where payload->'payment'->>'order_id' = :o",
        o=created["order_id"],
    )
    with owner_engine.begin() as c:  # what no processing can digest
        c.execute(
            text("update gateway_event set payload = '{\"event\": 1}' where event_key = :k"), {"k": key}
        )

    def seen():
        return tuple(make.rows("select status, attempts from gateway_event where event_key = :k", k=key)[0])

    shop.process()
    shop.process()
    assert seen() == ("RECEIVED", 1)  # not again at once
    client.post("/api/test/clock", json={"offset_seconds": 361})
    shop.process()
    assert seen() == ("RECEIVED", 2)
    client.post("/api/test/clock", json={"offset_seconds": 7 * 86_400 + 1})
    shop.process()
    shop.process()
    assert seen() == ("ABANDONED", 3)
    alerts = make.one("select count(*) from system_event where position(:k in message) > 0", k=key)
    assert alerts == 1


def test_levers_of_the_sandbox(shop, make, client):
    """Force a failure, a delay and a duplicate; nobody but ADMIN may."""
    admin = make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    staff = make.bearer(make.user(platform_role=PlatformRole.STAFF))
    created = shop.buy().json
    path = f"/sandbox/api/orders/{created['order_id']}"
    for who in (staff, make.bearer(shop.owner)):
        for lever in ("capture", "fail", "resend"):
            assert client.post(f"{path}/{lever}", headers=who).status_code == 403
    assert client.post(f"{path}/capture").status_code == 401
    assert client.post(f"{path}/capture", json={"amount": 1}, headers=admin).status_code == 400
    assert client.post(f"{path}/fail", headers=admin).json["status"] == "attempted"
    late = client.post(f"{path}/capture", json={"delay_seconds": 60, "duplicate": True}, headers=admin)
    assert late.status_code == 200 and late.json["captured_paise"] == 20_000_000
    assert client.post(f"{path}/capture", headers=admin).json["code"] == "ILLEGAL_TRANSITION"
    shop.webhooks()
    assert make.balance(shop.org) == 0
    client.post("/api/test/clock", json={"offset_seconds": 61})
    assert shop.webhooks()["sent"] == 2
    assert make.balance(shop.org) == 20_000_000
    events = make.one(
        "select count(*) from gateway_event where type = 'payment.captured' "
        "and payload->'payment'->>'order_id' = :o",
        o=created["order_id"],
    )
    assert events == 1
    assert client.post("/sandbox/api/orders/order_none/capture", headers=admin).status_code == 404


def test_refunds_at_the_provider_happen_once_and_never_exceed_the_payment(shop, job, settings):
    created = shop.buy().json
    shop.pay(created["order_id"])
    gateway = open_gateway(settings, job)
    payment = gateway.fetch_order(created["order_id"]).payment_id
    done = gateway.refund(payment_id=payment, amount_paise=15_000_000, key=f"one-{payment}")
    assert gateway.refund(payment_id=payment, amount_paise=15_000_000, key=f"one-{payment}") == done
    assert gateway.fetch_refund(done.refund_id) == done and gateway.fetch_refund("rfnd_none") is None
    with pytest.raises(DomainError, match="GATEWAY_ERROR"):
        gateway.refund(payment_id=payment, amount_paise=5_000_001, key=f"two-{payment}")


def test_an_order_is_made_once_a_receipt(job, settings):
    gateway = open_gateway(settings, job)
    values = {"amount_paise": 10_000, "notes": {}, "description": "x", "return_url": ""}
    first = gateway.create_order(receipt="receipt-once", **values)
    assert gateway.create_order(receipt="receipt-once", **values) == first
    assert gateway.fetch_order("order_none") is None


def test_there_is_no_sandbox_in_production(settings, job):
    production = dataclasses.replace(settings, app_env="production")
    for name in ("sandbox", None):
        with pytest.raises(DomainError, match="GATEWAY_NOT_CONFIGURED"):
            open_gateway(production, job, name)
