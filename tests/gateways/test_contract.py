"""What every provider does, whoever it is (chapter 2, 2.7): one suite for the sandbox, Razorpay and Stripe."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
import uuid

import pytest

from app.errors import DomainError
from app.gateways import (
    MandateChanged,
    Payer,
    PaymentCaptured,
    RefundChanged,
    Refused,
    Unknown,
    open_gateway,
)
from tests.factories import unique

NOTES = {
    "type": "credit_purchase",
    "top_up_id": "0190",
    "organization_id": "0191",
    "funding_source": "WALLET",
}


def ordered(gateway, receipt=None, paise=500_000):
    return gateway.create_order(
        receipt=receipt or str(uuid.uuid4()),
        amount_paise=paise,
        notes=NOTES,
        description="Credits for Acme",
        return_url="http://console.test/wallet",
    )


@pytest.mark.scenario("M-1")
def test_create_pay_fetch_webhook_refund(world):
    gateway = world.gateway
    order = ordered(gateway)
    assert order.status == "created" and order.payment_id is None and order.checkout_url.startswith("http")
    assert gateway.fetch_order(order.order_id).status == "created"
    body, headers = world.pay(order)

    now = gateway.fetch_order(order.order_id)
    assert (now.status, now.captured_paise, now.amount_paise) == ("paid", 500_000, 500_000)
    assert now.payment_id and now.notes == NOTES

    assert gateway.verify_webhook(body, headers)
    assert not gateway.verify_webhook(body + b" ", headers) and not gateway.verify_webhook(body, {})
    event = gateway.parse_event(body)
    assert isinstance(event, PaymentCaptured) and event.type == "payment.captured"
    assert (event.order_id, event.payment_id, event.amount_paise) == (order.order_id, now.payment_id, 500_000)
    assert event.key == gateway.parse_event(body).key and len(event.key) <= 160

    key = unique("refund")
    part = gateway.refund(payment_id=now.payment_id, amount_paise=200_000, key=key)
    assert part.status in ("pending", "processed") and part.amount_paise == 200_000
    assert (
        gateway.refund(payment_id=now.payment_id, amount_paise=200_000, key=key).refund_id == part.refund_id
    )
    assert gateway.fetch_refund(part.refund_id).amount_paise == 200_000
    with pytest.raises(Refused):
        gateway.refund(
            payment_id=now.payment_id, amount_paise=100_000, key=key
        )  # the key is another refund's
    with pytest.raises(Refused):
        gateway.refund(payment_id=now.payment_id, amount_paise=300_001, key=unique("refund"))
    rest = gateway.refund(payment_id=now.payment_id, amount_paise=300_000, key=unique("refund"))
    assert rest.refund_id != part.refund_id


def test_an_order_is_made_once_a_receipt(world):
    receipt = str(uuid.uuid4())
    first = ordered(world.gateway, receipt)
    assert ordered(world.gateway, receipt).order_id == first.order_id
    assert ordered(world.gateway).order_id != first.order_id


def test_what_never_existed_is_none(world):
    gateway = world.gateway
    assert gateway.fetch_order("order_nothing_here") is None
    assert gateway.fetch_refund("rfnd_nothing_here") is None
    assert gateway.fetch_mandate("cust_nothing_here") is None
    with pytest.raises(Refused):
        gateway.refund(payment_id="pay_nothing_here", amount_paise=100, key=unique("refund"))


@pytest.mark.scenario("M-6")
def test_a_mandate_is_given_and_charged_once_a_receipt(world):
    gateway = world.gateway
    mandate = gateway.create_mandate(
        key=uuid.uuid4().hex,
        payer=Payer("Asha Rao", "asha@acme.test", "+919876543210"),
        max_paise=1_500_000,
        notes={"type": "mandate"},
        description="Automatic credits",
        return_url="http://console.test/wallet",
    )
    assert mandate.status == "pending" and mandate.authorization_url
    with pytest.raises(Refused):
        gateway.charge_mandate(
            mandate_id=mandate.mandate_id, receipt="early", amount_paise=100_000, notes=NOTES, description=""
        )
    body, headers = world.give_mandate(mandate)
    assert gateway.verify_webhook(body, headers)
    event = gateway.parse_event(body)
    assert isinstance(event, MandateChanged)
    assert (event.type, event.status, event.mandate_id) == (
        "token.confirmed",
        "confirmed",
        mandate.mandate_id,
    )
    assert gateway.fetch_mandate(mandate.mandate_id).status == "confirmed"
    values = {
        "mandate_id": mandate.mandate_id,
        "receipt": uuid.uuid4().hex,
        "amount_paise": 1_400_000,
        "notes": NOTES,
        "description": "Automatic credits",
    }
    charged = gateway.charge_mandate(**values)
    assert (charged.status, charged.captured_paise) == ("paid", 1_400_000) and charged.payment_id
    assert gateway.charge_mandate(**values).payment_id == charged.payment_id
    assert gateway.fetch_order(charged.order_id).payment_id == charged.payment_id


def test_the_books_show_payment_and_refund(world):
    gateway = world.gateway
    since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=2)
    order = ordered(gateway)
    world.pay(order)
    payment = gateway.fetch_order(order.order_id).payment_id
    refund = gateway.refund(payment_id=payment, amount_paise=200_000, key=unique("refund"))
    lines = gateway.list_transactions(since, dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2))
    mine = {t.entity_id: (t.kind, t.amount_paise) for t in lines}
    assert mine[payment] == ("payment", 500_000) and mine[refund.refund_id] == ("refund", -200_000)
    assert gateway.list_transactions(since - dt.timedelta(days=2), since - dt.timedelta(days=1)) == []


@pytest.mark.parametrize("world", ["sandbox", "razorpay"], indirect=True)
def test_a_refund_reports_itself(world):
    """localstripe reports no refunds; test_events.py reads Stripe's in the format of its reference."""
    gateway = world.gateway
    order = ordered(gateway)
    world.pay(order)
    payment = gateway.fetch_order(order.order_id).payment_id
    refund = gateway.refund(payment_id=payment, amount_paise=1_000, key=unique("refund"))
    body, headers = world.refunded(refund)
    assert gateway.verify_webhook(body, headers)
    event = gateway.parse_event(body)
    assert isinstance(event, RefundChanged) and event.type == "refund.processed"
    assert (event.refund_id, event.payment_id, event.amount_paise, event.status) == (
        refund.refund_id,
        payment,
        1_000,
        "processed",
    )


@pytest.fixture(params=["razorpay", "stripe"])
def pointed(request, configured):
    """A gateway of a real provider, pointed at *url*."""

    def at(url, seconds=10):
        changed = dataclasses.replace(
            configured,
            gateway_timeout_seconds=seconds,
            **{f"{request.param}_base_url": url},
        )
        return open_gateway(changed, None, request.param)

    return at


def every_call(gateway):
    """Each way of asking a provider, as something to call."""
    yield lambda: ordered(gateway)
    yield lambda: gateway.fetch_order("order_1")
    yield lambda: gateway.refund(payment_id="pay_1", amount_paise=100, key="refund-key")
    yield lambda: gateway.fetch_refund("rfnd_1")
    yield lambda: gateway.fetch_mandate("cust_1")
    yield lambda: gateway.charge_mandate(
        mandate_id="cust_1", receipt="r", amount_paise=100, notes={}, description=""
    )
    yield lambda: gateway.validate_account(payee_id="fa_1", key="key-1")
    yield lambda: gateway.create_payout(key="payout_1", payee_id="fa_1", amount_paise=100, notes={})
    yield lambda: gateway.fetch_payout("pout_1")
    yield lambda: gateway.list_transactions(
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    )
    yield lambda: gateway.fetch_dispute("disp_1")
    yield lambda: gateway.accept_dispute("disp_1")
    yield lambda: gateway.contest_dispute("disp_1", summary="", evidence={})


@pytest.mark.scenario("M-43")
def test_a_provider_that_never_answers_ends_in_unavailable(pointed, silent_url):
    gateway = pointed(silent_url, seconds=0.05)
    for call in every_call(gateway):
        began = time.monotonic()
        with pytest.raises(Unknown) as caught:
            call()
        assert (caught.value.code, caught.value.status) == ("GATEWAY_UNAVAILABLE", 503)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b'{"error":{"code":"SERVER_ERROR","description":"x"}}'),
        (502, b"<html>Bad gateway</html>"),
        (503, b""),
        (429, b'{"error":{"code":"BAD_REQUEST_ERROR","description":"slow down"}}'),
        (302, b"{}"),
        (200, b"not json"),
        (200, b""),
        (200, b"[]"),
        (200, b"null"),
        (200, b"{}"),
        (200, b'{"id": 7, "amount": "x", "items": 3, "data": 3}'),
        (200, b"\xff\xfe"),
    ],
)
def test_an_answer_without_sense_is_unknown_never_a_refusal(pointed, misbehaving, status, body):
    misbehaving.status, misbehaving.body = status, body
    for call in every_call(pointed(misbehaving.url)):
        with pytest.raises(Unknown) as caught:
            call()
        assert caught.value.code == "GATEWAY_UNAVAILABLE"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 422])
def test_a_refusal_is_an_error_without_the_providers_words(pointed, misbehaving, status, capfd):
    misbehaving.status = status
    misbehaving.body = b'{"error":{"code":"BAD_REQUEST_ERROR","message":"PRIVATE","description":"PRIVATE"}}'
    for call in every_call(pointed(misbehaving.url)):
        with pytest.raises(Refused) as caught:
            call()
        assert (caught.value.code, caught.value.status) == ("GATEWAY_ERROR", 502)
        assert "PRIVATE" not in str(caught.value.body())
    said = "".join(capfd.readouterr())
    for secret in ("PRIVATE", "sk_test_12345", "rzp_test_key", "whsec"):
        assert secret not in said


def test_nobody_there_is_unknown(pointed):
    with pytest.raises(Unknown):
        ordered(pointed("http://127.0.0.1:1"))


def test_unset_keys_answer_not_configured(settings, job):
    for name in ("razorpay", "stripe"):
        with pytest.raises(DomainError) as caught:
            open_gateway(settings, job, name)
        assert (caught.value.code, caught.value.status) == ("GATEWAY_NOT_CONFIGURED", 503)


def test_payouts_stay_off_until_the_platform_enables_them(configured, misbehaving):
    off = dataclasses.replace(
        configured,
        enable_live_payouts=False,
        razorpay_base_url=misbehaving.url,
        stripe_base_url=misbehaving.url,
    )
    for name in ("razorpay", "stripe"):
        with pytest.raises(DomainError, match="GATEWAY_NOT_CONFIGURED"):
            open_gateway(off, None, name).create_payout(
                key="payout_1", payee_id="fa_1", amount_paise=100, notes={}
            )
    assert misbehaving.asked == 0
