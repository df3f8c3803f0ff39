"""Providers to test against: the sandbox, a Razorpay-shaped process, localstripe; and servers that misbehave.

Every peer is a process or a socket of its own on loopback; nothing of ours is replaced.
"""

from __future__ import annotations

import dataclasses
import json
import queue
import socket
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.gateways import open_gateway, provider
from app.gateways.signing import sign
from app.models import SandboxOrder, SandboxWebhook
from app.security import context

PEERS = Path(__file__).parent / "peers"


def http(url, body=None, headers=None):
    """A JSON request to a peer."""
    data = json.dumps(body or {}).encode()
    request = urllib.request.Request(
        url, data=data, headers={"Content-Type": "application/json", **(headers or {})}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        raw = response.read()
    return json.loads(raw) if raw else {}


def start(script):
    """A peer's process and the address it listens on."""
    process = subprocess.Popen(
        [sys.executable, str(PEERS / script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return process, f"http://127.0.0.1:{int(process.stdout.readline())}"


@pytest.fixture(scope="session")
def razorpay_url():
    process, url = start("razorpay_peer.py")
    yield url
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="session")
def stripe_url():
    process, url = start("stripe_peer.py")
    yield url
    process.terminate()
    process.wait(10)


class Inbox:
    """A server that keeps what is posted to it."""

    def __init__(self):
        self.kept = queue.Queue()
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                inbox.kept.put((body, dict(self.headers)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 100  # whoever sends many at once finds room

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, wanted, timeout=10):
        """The next delivery for which *wanted(body)*; others are passed over."""
        while True:
            body, headers = self.kept.get(timeout=timeout)
            if wanted(json.loads(body)):
                return body, headers


@pytest.fixture
def inbox():
    made = Inbox()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Misbehaving:
    """A provider that answers whatever it is told, to every request; ``asked`` counts them."""

    def __init__(self):
        self.status, self.body, self.asked = 200, b"{}", 0
        me = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self):
                me.asked += 1
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(me.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(me.body)))
                if 300 <= me.status < 400:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()
                self.wfile.write(me.body)

            do_GET = do_POST = do_PATCH = _answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def misbehaving():
    made = Misbehaving()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def silent_url():
    """A socket that accepts and never answers."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(20)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


@pytest.fixture
def job(app, web_engine):
    with app.app_context(), Session(web_engine, expire_on_commit=False) as s:
        context._current.set(context.Ctx(scope="job"))
        yield s
        s.rollback()


@pytest.fixture
def configured(settings):
    """Settings with every gateway configured; addresses are put in by the tests."""
    return dataclasses.replace(
        settings,
        razorpay_key_id="rzp_test_key",
        razorpay_key_secret="secret",
        razorpay_webhook_secret="whsec,older",
        razorpay_payout_webhook_secret="xsec",
        razorpay_account_number="2323230041626905",
        stripe_secret_key="sk_test_12345",
        stripe_webhook_secret="whsec_stripe",
        enable_live_payouts=True,
    )


class SandboxWorld:
    """The embedded provider, driven as its page and levers drive it."""

    pages = True

    def __init__(self, settings, job):
        self.job, self.gateway = job, open_gateway(settings, job, "sandbox")
        self.secret = settings.sandbox_webhook_secret

    def hook(self, row):
        return row.body.encode(), {"X-Sandbox-Signature": sign(self.secret, row.body.encode())}

    def pay(self, order):
        provider.pay(self.job, order.order_id)
        self.job.commit()
        query = select(SandboxWebhook).join(SandboxOrder, SandboxOrder.id == SandboxWebhook.order_row_id)
        return self.hook(self.job.scalars(query.where(SandboxOrder.order_id == order.order_id)).one())

    def refunded(self, refund):
        row = select(SandboxWebhook).where(SandboxWebhook.entity_id == refund.refund_id)
        return self.hook(self.job.scalars(row).one())

    def give_mandate(self, mandate):
        provider.decide_mandate(self.job, mandate.mandate_id, "confirmed")
        self.job.commit()
        row = select(SandboxWebhook).where(SandboxWebhook.entity_id == mandate.mandate_id)
        return self.hook(self.job.scalars(row).one())

    def close(self):  # what is owed here is read by this test only
        self.job.execute(text("update sandbox_webhook set next_at = null where delivered_at is null"))
        self.job.commit()


class RazorpayWorld:
    """The Razorpay-shaped process; its levers answer with the webhook it would send."""

    def __init__(self, settings, url):
        self.url = url
        self.gateway = open_gateway(dataclasses.replace(settings, razorpay_base_url=url), None, "razorpay")

    def lever(self, path, **body):
        answer = http(f"{self.url}/_peer/{path}", body)
        return answer["body"].encode(), answer["headers"]

    def pay(self, order):
        return self.lever(f"pay/{order.order_id}")

    def refunded(self, refund):
        return self.lever(f"refund/{refund.refund_id}")

    def give_mandate(self, mandate):
        return self.lever(f"confirm/{mandate.mandate_id}")

    def close(self):
        pass


class StripeWorld:
    """localstripe with Checkout sessions; it posts its own signed webhooks."""

    def __init__(self, settings, url, inbox):
        self.url, self.inbox = url, inbox
        self.gateway = open_gateway(dataclasses.replace(settings, stripe_base_url=url), None, "stripe")
        self.sessions = {}
        http(f"{url}/_config/webhooks/tests", {"url": inbox.url, "secret": "whsec_stripe"})

    def pay(self, order):
        http(f"{self.url}/_config/complete/{order.order_id}")
        return self.inbox.take(lambda e: e["data"]["object"]["id"] == order.order_id)

    def give_mandate(self, mandate):
        session = mandate.authorization_url.rpartition("/")[2]
        http(f"{self.url}/_config/complete/{session}")
        return self.inbox.take(lambda e: e["data"]["object"]["id"] == session)

    def close(self):
        pass


@pytest.fixture(params=["sandbox", "razorpay", "stripe"])
def world(request, configured):
    """One provider with the means to pay at it."""
    if request.param == "sandbox":
        made = SandboxWorld(configured, request.getfixturevalue("job"))
    elif request.param == "razorpay":
        made = RazorpayWorld(configured, request.getfixturevalue("razorpay_url"))
    else:
        made = StripeWorld(
            configured, request.getfixturevalue("stripe_url"), request.getfixturevalue("inbox")
        )
    yield made
    made.close()
