"""Signatures and the providers' own formats (chapter 4, 4.7): vectors, secrets, and every event that is handled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.gateways import (
    AccountValidated,
    DisputeChanged,
    Event,
    PaymentCaptured,
    PaymentFailed,
    PayoutChanged,
    RefundChanged,
    complete,
    open_gateway,
)
from app.gateways.razorpay import checkout_signature
from app.gateways.signing import matches, sign
from app.gateways.stripe_events import signature_fits

from .conftest import PEERS

CHECKOUT = "081fc8fde373f57b53486b9595ec23c66840fe0b387cf75043285a76ae40983c"
WEBHOOK = "4673dd707ef4c41b987cb7fefe1583142dc702388c93145b7814b9ad3d3c183e"


@pytest.mark.scenario("M-45")
def test_vectors_of_the_chapter(configured):
    gateway = open_gateway(configured, None, "razorpay")
    assert checkout_signature("secret", "order_9A33XWu170gUtm", "pay_29QQoUBi66xm2f") == CHECKOUT
    assert gateway.checkout_signature_fits("order_9A33XWu170gUtm", "pay_29QQoUBi66xm2f", CHECKOUT)
    assert not gateway.checkout_signature_fits("order_9A33XWu170gUtn", "pay_29QQoUBi66xm2f", CHECKOUT)
    body = b'{"event":"payment.captured"}'
    assert matches("whsec", body, WEBHOOK)
    assert gateway.verify_webhook(body, {"x-razorpay-signature": WEBHOOK})
    assert not gateway.verify_webhook(body, {"X-Razorpay-Signature": WEBHOOK[:-1] + "f"})


@pytest.mark.scenario("M-45")
def test_each_secret_signs_its_own_events(configured):
    gateway = open_gateway(configured, None, "razorpay")
    for kind, secret, good in (
        ("payment.captured", "whsec", True),
        ("payment.captured", "older", True),  # the previous one, after a rotation
        ("payment.captured", "xsec", False),
        ("payout.processed", "xsec", True),
        ("fund_account.validation.completed", "xsec", True),
        ("payout.processed", "whsec", False),
        ("payment.captured", "", False),
    ):
        body = json.dumps({"event": kind, "payload": {}}).encode()
        assert gateway.verify_webhook(body, {"X-Razorpay-Signature": sign(secret, body)}) is good, (
            kind,
            secret,
        )
    for body in (b"", b"[]", b"\xff", b"[" * 100_000):
        assert not gateway.verify_webhook(body, {"X-Razorpay-Signature": "ünïcode"})


def test_stripe_signatures_age_and_rotate():
    body, now = b'{"type":"x"}', int(time.time())

    def header(at, *secrets):
        return f"t={at}," + ",".join(f"v1={sign(s, f'{at}.'.encode() + body)}" for s in secrets)

    assert signature_fits("new,old", body, header(now, "old")) and signature_fits(
        "new", body, header(now, "a", "new")
    )
    assert signature_fits("s", body, header(now - 290, "s")) and not signature_fits(
        "s", body, header(now - 310, "s")
    )
    assert not signature_fits("s", body, header(now + 310, "s"))
    for bad in (
        "",
        "t=",
        "v1=x",
        f"t={now}",
        f"t={now},v0={'0' * 64}",
        f"t=²,v1={'0' * 64}",
        f"t={now},t=1,v1=x",
    ):
        assert not signature_fits("s", body, bad), bad
    assert not signature_fits("s", body + b" ", header(now, "s")) and not signature_fits(
        "", body, header(now, "")
    )


def razorpay(kind, **entities):
    return json.dumps(
        {"event": kind, "payload": {k.replace("__", "."): {"entity": v} for k, v in entities.items()}}
    ).encode()


def stripe(kind, **item):
    return json.dumps({"type": kind, "data": {"object": item}}).encode()


PAID = {"id": "pay_1", "order_id": "order_1", "amount": 500, "currency": "INR", "fee": 12, "tax": 2}
CASES = [
    ("razorpay", razorpay("payment.captured", payment={**PAID, "notes": {"type": "booking"}}), PaymentCaptured,
     {"payment_id": "pay_1", "order_id": "order_1", "amount_paise": 500, "fee_paise": 12, "tax_paise": 2}),
    ("razorpay", razorpay("order.paid", payment={**PAID, "notes": []}, order={"notes": {"type": "booking"}}),
     PaymentCaptured, {"type": "order.paid", "notes": {"type": "booking"}}),
    ("razorpay", razorpay("payment.failed", payment={**PAID, "error_code": "BAD_REQUEST_ERROR"}), PaymentFailed,
     {"reason": "BAD_REQUEST_ERROR"}),
    ("razorpay", razorpay("refund.failed", refund={"id": "rfnd_1", "payment_id": "pay_1", "amount": 5, "status": "failed"}),
     RefundChanged, {"refund_id": "rfnd_1", "status": "failed"}),
    ("razorpay", razorpay("payout.reversed", payout={"id": "pout_1", "amount": 5, "status": "reversed", "utr": "U1",
     "reference_id": "payout_7", "status_details": {"reason": "beneficiary_bank_offline"}}), PayoutChanged,
     {"status": "reversed", "utr": "U1", "reference": "payout_7", "failure": "beneficiary_bank_offline"}),
    ("razorpay", razorpay("payout.rejected", payout={"id": "pout_1", "amount": 5, "status": "rejected"}), PayoutChanged,
     {"status": "failed"}),
    ("razorpay", razorpay("fund_account.validation.completed", fund_account__validation={"id": "fav_1",
     "status": "completed", "fund_account": {"id": "fa_1"},
     "results": {"account_status": "active", "registered_name": "ASHA"}}), AccountValidated,
     {"status": "verified", "payee_id": "fa_1", "registered_name": "ASHA"}),
    ("razorpay", razorpay("fund_account.validation.completed", fund_account__validation={"id": "fav_1",
     "status": "completed", "fund_account": {"id": "fa_1"}, "results": {"account_status": "invalid"}}),
     AccountValidated, {"status": "failed"}),
    ("razorpay", razorpay("payment.dispute.action_required", dispute={"id": "disp_1", "payment_id": "pay_1", "amount": 5,
     "phase": "fraud", "status": "open", "respond_by": 1_800_000_000}), DisputeChanged,
     {"status": "action_required", "phase": "fraud", "payment_id": "pay_1"}),
    ("razorpay", razorpay("subscription.charged", subscription={"id": "sub_1"}), Event, {"type": "subscription.charged"}),
    ("stripe", stripe("checkout.session.completed", id="cs_1", mode="payment", payment_status="paid", currency="inr",
     payment_intent="pi_1", amount_total=500, metadata={"type": "booking"}), PaymentCaptured,
     {"order_id": "cs_1", "payment_id": "pi_1", "amount_paise": 500, "notes": {"type": "booking"}}),
    ("stripe", stripe("checkout.session.completed", id="cs_1", mode="payment", payment_status="unpaid"), Event,
     {"type": "stripe.checkout.session.completed"}),
    ("stripe", stripe("payment_intent.succeeded", id="pi_1", amount=5, currency="inr",
     metadata={"type": "x", "via": "checkout"}), Event, {"type": "stripe.payment_intent.succeeded"}),
    ("stripe", stripe("refund.updated", id="re_1", payment_intent="pi_1", amount=5, status="failed"), RefundChanged,
     {"type": "refund.failed", "refund_id": "re_1", "payment_id": "pi_1"}),
    ("stripe", stripe("transfer.reversed", id="tr_1", amount=5, reversed=True, transfer_group="payout_7"), PayoutChanged,
     {"type": "payout.reversed", "reference": "payout_7"}),
    ("stripe", stripe("payout.paid", id="po_1", amount=5), Event, {"type": "stripe.payout.paid"}),
    ("stripe", stripe("account.updated", id="acct_1", payouts_enabled=True), AccountValidated, {"status": "verified"}),
    ("stripe", stripe("charge.dispute.created", id="dp_1", payment_intent="pi_1", amount=5,
     status="warning_needs_response"), DisputeChanged, {"type": "payment.dispute.created", "phase": "retrieval"}),
    ("stripe", stripe("charge.dispute.closed", id="dp_1", payment_intent="pi_1", amount=5, status="lost"), DisputeChanged,
     {"type": "payment.dispute.lost", "status": "lost"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "kind", "values"), CASES)
def test_events_in_our_words(configured, name, body, kind, values):
    event = open_gateway(configured, None, name).parse_event(body)
    assert type(event) is kind
    assert {k: getattr(event, k) for k in values} == values
    assert len(event.key) <= 160


@pytest.mark.parametrize("name", ["razorpay", "stripe"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"event": 1, "type": 1}',
        razorpay("payment.captured"),
        razorpay("payment.captured", payment={**PAID, "amount": 1.5}),
        razorpay("payment.captured", payment={**PAID, "amount": True}),
        razorpay("payment.captured", payment={**PAID, "currency": "USD"}),
        b'{"event": "payment.captured", "payload": {"payment": {"entity": []}}}',
    ],
)
def test_rubbish_is_no_event(configured, name, body):
    with pytest.raises(ValueError):
        open_gateway(configured, None, name).parse_event(body)


def test_a_capture_without_notes_takes_its_orders(configured, razorpay_url):
    """Razorpay gives a payment the notes of the checkout, which may be none; what we asked for stands on the order."""
    import dataclasses
    import uuid

    gateway = open_gateway(dataclasses.replace(configured, razorpay_base_url=razorpay_url), None, "razorpay")
    order = gateway.create_order(
        receipt=str(uuid.uuid4()), amount_paise=500, notes={"type": "booking"}, description="", return_url=""
    )
    bare = gateway.parse_event(
        razorpay("payment.captured", payment={**PAID, "order_id": order.order_id, "notes": []})
    )
    assert bare.notes == {} and complete(gateway, bare).notes == {"type": "booking"}
    told = gateway.parse_event(
        razorpay(
            "payment.captured", payment={**PAID, "order_id": order.order_id, "notes": {"type": "forged"}}
        )
    )
    assert complete(gateway, told).notes == {"type": "forged"}  # a difference is kept, and refused later


def carbon(tmp_path, url, *more):
    """Run carbon-layer, a stranger's simulator of Razorpay's webhooks, as a process."""
    env = {
        **os.environ,
        "HOME": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path}/carbon.db",
        "CARBON_SCENARIOS_DIR": str(PEERS / "scenarios"),
    }
    program = Path(sys.executable).with_name("carbon")
    done = subprocess.run(
        [
            program,
            "run",
            "lifecycle",
            "--webhook-url",
            url,
            "--webhook-secret",
            "whsec",
            "--output",
            "json",
            *more,
        ],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.scenario("M-45")
def test_a_strangers_webhooks_are_read_and_the_corrupted_refused(configured, inbox, tmp_path):
    gateway = open_gateway(configured, None, "razorpay")
    carbon(tmp_path, inbox.url, "--webhook-repeat", "2", "--webhook-order", "reverse")
    keys, kinds = [], set()
    while not inbox.kept.empty():
        body, headers = inbox.kept.get()
        assert gateway.verify_webhook(body, headers)
        event = gateway.parse_event(body)
        keys.append(event.key)
        kinds.add((type(event), event.type))
        if isinstance(event, PaymentCaptured):
            assert event.payment_id and event.order_id and event.amount_paise
    assert (PaymentCaptured, "payment.captured") in kinds and (RefundChanged, "refund.processed") in kinds
    assert (DisputeChanged, "payment.dispute.created") in kinds
    assert len(keys) == 2 * len(set(keys))  # whatever is sent twice has one key

    for mode in ("corrupted", "missing", "wrong_secret"):
        carbon(tmp_path, inbox.url, "--webhook-signature", mode)
        assert not inbox.kept.empty()
        while not inbox.kept.empty():
            assert not gateway.verify_webhook(*inbox.kept.get())
