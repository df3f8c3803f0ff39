"""The sandbox as a whole provider: payouts, disputes, lost answers, disorder, its back office (chapter 2, 2.7)."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid

import pytest
from sqlalchemy import select

from app import create_app
from app.gateways import DisputeChanged, PayeeAccount, PayoutChanged, Refused, Unknown, provider
from app.models import PlatformRole, SandboxPayout, SandboxWebhook
from config import SettingsError, load
from tests.factories import unique

from .conftest import SandboxWorld
from .test_contract import ordered


@pytest.fixture
def world(configured, job):
    made = SandboxWorld(configured, job)
    yield made
    made.close()


def payee(world, number="123456789012"):
    return world.gateway.create_payee(
        key=unique("payee"), account=PayeeAccount("Asha Rao", "bank", number, "HDFC0000001")
    )


def events(world, entity):
    rows = world.job.scalars(
        select(SandboxWebhook).where(SandboxWebhook.entity_id == entity).order_by(SandboxWebhook.id)
    )
    return [world.gateway.parse_event(r.body.encode()) for r in rows]


@pytest.mark.scenario("M-43")
def test_a_payout_whose_answer_is_lost_is_made_once(world):
    to, key = payee(world), f"payout_{uuid.uuid4().hex[:20]}"
    values = {"key": key, "payee_id": to.payee_id, "amount_paise": 3_996_000, "notes": {}}
    provider.arm(world.job, "create_payout", "lose_answer")
    world.job.commit()
    with pytest.raises(Unknown):
        world.gateway.create_payout(**values)
    world.job.rollback()  # what we roll back stays done there
    done = world.gateway.create_payout(**values)
    assert done.status == "processed" and done.utr and world.gateway.fetch_payout(done.payout_id) == done
    made = world.job.scalars(select(SandboxPayout).where(SandboxPayout.idempotency_key == key)).all()
    assert len(made) == 1
    with pytest.raises(Refused):
        world.gateway.create_payout(**{**values, "amount_paise": 1_000})
    provider.settle_payout(world.job, done.payout_id, "reversed")
    world.job.commit()
    told = events(world, done.payout_id)
    assert all(isinstance(e, PayoutChanged) for e in told)
    assert [e.status for e in told] == ["processing", "processed", "reversed"] and told[-1].reference == key


def test_an_account_is_checked_and_its_number_forgotten(world, make):
    good, bad = payee(world, "998877665544"), payee(world, "998877660000")
    assert good.last4 == "5544"
    assert world.gateway.validate_account(payee_id=good.payee_id, key="k1").registered_name == "Asha Rao"
    assert world.gateway.validate_account(payee_id=bad.payee_id, key="k2").status == "failed"
    assert "998877665544" not in str(
        make.rows("select * from sandbox_payee where payee_id = :p", p=good.payee_id)
    )
    assert "998877665544" not in repr(PayeeAccount("A", "bank", "998877665544", "X"))
    for account in (PayeeAccount("A", "bank", "12 34"), PayeeAccount("A", "upi", vpa="nobody")):
        with pytest.raises(Refused):
            world.gateway.create_payee(key=unique("p"), account=account)


@pytest.mark.scenario("M-44")
def test_a_dispute_is_opened_contested_lost_and_in_the_books(world):
    order = ordered(world.gateway)
    world.pay(order)
    payment = world.gateway.fetch_order(order.order_id).payment_id
    world.gateway.refund(payment_id=payment, amount_paise=200_000, key=unique("r"))
    row = provider.open_dispute(world.job, payment)
    world.job.commit()
    contested = world.gateway.contest_dispute(
        row.dispute_id, summary="Held on Monday", evidence={"other": "doc_1"}
    )
    assert contested.status == "under_review"
    again = world.gateway.contest_dispute(
        row.dispute_id, summary="Held on Monday", evidence={"other": "doc_1"}
    )
    assert again.status == "under_review"
    world.job.expire_all()
    provider.settle_dispute(world.job, row.dispute_id, "lost")
    world.job.commit()
    assert world.gateway.fetch_dispute(row.dispute_id).status == "lost"
    with pytest.raises(Refused):  # nothing is left to refund
        world.gateway.refund(payment_id=payment, amount_paise=300_000, key=unique("r"))
    now = dt.datetime.now(dt.UTC)
    books = world.gateway.list_transactions(now - dt.timedelta(minutes=5), now + dt.timedelta(minutes=5))
    assert [t.amount_paise for t in books if t.entity_id == row.dispute_id] == [-300_000]
    told = events(world, row.dispute_id)
    assert all(isinstance(e, DisputeChanged) for e in told)
    assert [e.status for e in told] == ["open", "under_review", "lost"]


@pytest.mark.scenario("M-38")
def test_a_refund_is_pending_then_fails_and_frees_its_amount(world):
    order = ordered(world.gateway)
    world.pay(order)
    payment = world.gateway.fetch_order(order.order_id).payment_id
    provider.arm(world.job, "refund", "pending")
    world.job.commit()
    row = world.gateway.refund(payment_id=payment, amount_paise=500_000, key=unique("r"))
    assert row.status == "pending"
    with pytest.raises(Refused):
        world.gateway.refund(payment_id=payment, amount_paise=1, key=unique("r"))
    provider.settle_refund(world.job, row.refund_id, "failed")
    world.job.commit()
    assert world.gateway.fetch_refund(row.refund_id).status == "failed"
    assert (
        world.gateway.refund(payment_id=payment, amount_paise=500_000, key=unique("r")).status == "processed"
    )


@pytest.mark.scenario("M-45")
def test_webhooks_come_in_reverse(world, configured):
    order = ordered(world.gateway)
    provider.decline(world.job, order.order_id)
    provider.pay(world.job, order.order_id, delay_seconds=600)
    assert provider.reverse_due(world.job, order.order_id) == 2
    world.job.commit()
    seen = []
    provider.deliver(world.job, "x", "s", post=lambda _, body, __: seen.append(body.decode()) or 200)
    mine = [b for b in seen if order.order_id in b]
    assert ["payment.captured" in b for b in mine] == [True, False]


def test_a_fee_is_taken_and_told(world):
    order = ordered(world.gateway)
    body, _ = world.pay(order)
    event = world.gateway.parse_event(body)
    assert (event.fee_paise, event.tax_paise) == (11_800, 1_800)  # 2 % of 500000, and 18 % on it


def test_levers_over_rest(world, make, client):
    admin = make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    staff = make.bearer(make.user(platform_role=PlatformRole.STAFF))
    order = ordered(world.gateway)
    base = "/sandbox/api"
    for path, body in (
        (f"orders/{order.order_id}/authenticate", None),
        ("levers", {"call": "refund", "outcome": "failed"}),
        ("webhooks", {"order": "reverse"}),
    ):
        assert client.post(f"{base}/{path}", json=body, headers=staff).status_code == 403
        assert client.post(f"{base}/{path}", json=body).status_code == 401
    answer = client.post(f"{base}/orders/{order.order_id}/authenticate", headers=admin)
    assert answer.json["status"] == "authenticating"
    assert (
        client.post(f"{base}/orders/{order.order_id}/capture", headers={"X-Sandbox-Test": "1"}).status_code
        == 200
    )
    payment = world.gateway.fetch_order(order.order_id).payment_id
    opened = client.post(f"{base}/payments/{payment}/dispute", json={"amount_paise": 100}, headers=admin)
    assert (opened.status_code, opened.json["amount_paise"]) == (201, 100)
    path = f"{base}/disputes/{opened.json['dispute_id']}"
    assert client.post(path, json={"status": "won"}, headers=admin).json["status"] == "won"
    assert client.post(path, json={"status": "lost"}, headers=admin).json["code"] == "ILLEGAL_TRANSITION"
    for bad in ({"call": "x", "outcome": "y"}, {"call": "refund", "outcome": "y"}, {}):
        assert client.post(f"{base}/levers", json=bad, headers=admin).status_code == 400


def test_the_back_office_shows_every_book_and_acts(world, make, app):
    order = ordered(world.gateway)
    payee(world)
    admin, staff = app.test_client(), app.test_client()
    make.sign_in(admin, make.user(platform_role=PlatformRole.ADMIN))
    make.sign_in(staff, make.user(platform_role=PlatformRole.STAFF))
    for tab in ("orders", "refunds", "disputes", "payouts", "payees", "mandates", "webhooks", "books"):
        assert admin.get(f"/admin/sandbox/?tab={tab}").status_code == 200, tab
    found = admin.get(f"/admin/sandbox/?q={order.order_id}").text
    assert order.order_id in found and "Capture, tell twice" in found
    assert "Capture, tell twice" not in staff.get(f"/admin/sandbox/?q={order.order_id}").text
    assert staff.form(f"/admin/sandbox/orders/{order.order_id}", {"action": "capture"}).status_code == 403
    assert world.gateway.fetch_order(order.order_id).status == "created"
    assert admin.form(f"/admin/sandbox/orders/{order.order_id}", {"action": "less"}).status_code == 302
    assert world.gateway.fetch_order(order.order_id).captured_paise == 499_900
    assert admin.get("/admin/sandbox/?tab=none").status_code == 404


def test_production_has_neither_page_nor_lever(settings):
    with pytest.raises(SettingsError) as caught:
        load({"APP_ENV": "production", "GATEWAY": "sandbox", "RAZORPAY_KEY_ID": "x"})
    assert "sandbox gateway is refused" in str(caught.value) and "set both or neither" in str(caught.value)
    production = create_app(
        dataclasses.replace(settings, app_env="production", base_url="https://console.test")
    )
    paths = {r.rule for r in production.url_map.iter_rules()}
    assert not [p for p in paths if p.startswith(("/sandbox", "/admin/sandbox"))]
