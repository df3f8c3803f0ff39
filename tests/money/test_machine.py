"""A state machine over money: top-ups, bookings, refunds, disputes, expiry, retries and crashes in random order, for two
organisations and people who pay themselves. After every step the books agree; at the end nothing is lost.

What is checked after each step, for both organisations: every finding of the reconciler, balances that are not negative,
and that a repeated request changes nothing. At the end the provider's books and our CASH moved by the same amount, and
every captured payment is booked, credited, or went back.
"""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.gateways import provider
from app.models import PlatformRole
from app.services import disputes, reconcile, refunds, settlement, topup_refunds, topups
from tests.booking.conftest import build, slot
from tests.booking.test_cards import Till

PRICES = (1, 99_999, 300_000, 500_003, 1_250_000)
CASH = (
    "SELECT coalesce(sum(CASE e.side WHEN 'D' THEN e.amount_paise ELSE -e.amount_paise END), 0) FROM ledger_entry e "
    "JOIN ledger_account a ON a.id = e.account_id JOIN ledger_transaction t ON t.id = e.transaction_id "
    "WHERE a.kind = 'CASH' AND t.kind NOT IN ('SETTLEMENT_FEE', 'PAYOUT', 'ORG_PAYOUT')"
)
BOOKS = (
    "SELECT coalesce(sum(amount_paise), 0) FROM sandbox_entry WHERE kind IN ('payment', 'refund', 'dispute')"
)


class Money(RuleBasedStateMachine):
    """Rules are what people, providers and workers do; *self.x* is set by the test."""

    make = client = app = session = config = owner = None
    turns = True  # one organisation after the other: each is looked at every second step

    @initialize()
    def begin(self):
        make = self.make
        self.hours = 0.0
        self.client.post("/api/test/clock", json={"offset_seconds": 0})
        self.worlds = [build(make, self.client, 0), build(make, self.client, 0)]
        self.admin = make.user(platform_role=PlatformRole.ADMIN)
        self.people = [make.user(), make.user()]
        self.billing = [make.member(w.org, "BILLING_ADMIN") for w in self.worlds]
        self.learners = [[w.learner(), w.learner()] for w in self.worlds]
        expert = make.expert()
        self.plans = [make.plan(expert, p, tax_bps=bps) for p in PRICES for bps in (0, 1800)]
        self.till = Till(self.worlds[0], self.session, self.config)
        self.orders: list[str] = []
        self.paid: list[str] = []
        self.top_ups: list[tuple[int, str]] = []
        self.payments: list[str] = []
        self.asked: list[tuple] = []  # (function, its first answer): what is repeated must answer alike
        self.cash, self.books = make.one(CASH), make.one(BOOKS)
        for n in (0, 1):  # credits to spend, bought like any others
            self.buy_credits(n, 2_000_000)
            self.pay(len(self.orders) - 1, 0)
        self.till.webhooks()

    # ---- what people do ----------------------------------------------------------------------------------------------

    def _post(self, path, body, who, key, client=None):
        headers = {**self.worlds[0].auth(who), "Idempotency-Key": key}
        return (client or self.client).post(path, json=body, headers=headers)

    def _remember(self, path, body, who, key, answer):
        if answer.status_code == 201:
            self.asked.append((path, body, who, key, answer.json))

    @rule(n=st.sampled_from([0, 1]), paise=st.sampled_from([10_000, 600_000, 2_000_000]))
    def buy_credits(self, n, paise):
        key = uuid.uuid4().hex
        path = f"/api/organizations/{self.worlds[n].org.slug}/billing-account/wallet/top-ups"
        answer = self._post(path, {"amount_paise": paise}, self.billing[n], key)
        assert answer.status_code in (201, 429), answer.json
        if answer.status_code == 201:
            self._remember(path, {"amount_paise": paise}, self.billing[n], key, answer)
            self.orders.append(answer.json["order_id"])
            self.top_ups.append((n, answer.json["top_up_id"]))

    def _booking(self, who, plan, org):
        body = {"plan_id": str(plan.public_id), "starts_at": slot(10).isoformat()}
        if org is not None:
            body["organization_id"] = str(org.public_id)
        return body

    def _book(self, who, plan, org):
        body, key = self._booking(who, plan, org), uuid.uuid4().hex
        answer = self._post("/api/checkout", body, who, key)
        self._booked("/api/checkout", body, who, key, answer)

    def _booked(self, path, body, who, key, answer):
        assert answer.status_code in (201, 402, 409), answer.json
        if answer.status_code == 201:
            self._remember(path, body, who, key, answer)
            self.payments.append(answer.json["payment"]["id"])
            if answer.json["payment"].get("order_id"):
                self.orders.append(answer.json["payment"]["order_id"])

    @rule(n=st.sampled_from([0, 1]), m=st.sampled_from([0, 1]), plan=st.integers(0, len(PRICES) * 2 - 1))
    def book_on_the_wallet(self, n, m, plan):
        self._book(self.learners[n][m], self.plans[plan], self.worlds[n].org)
        self._book(self.learners[n][1 - m], self.plans[0], self.worlds[n].org)

    @rule(m=st.sampled_from([0, 1]), plan=st.integers(2, len(PRICES) * 2 - 1))
    def book_by_card(self, m, plan):
        self._book(self.people[m], self.plans[plan], None)

    @rule(n=st.sampled_from([0, 1]), plan=st.integers(2, len(PRICES) * 2 - 1))
    def book_at_once(self, n, plan):
        """Both learners of one organisation, with sessions of their own; and one of them twice under one key."""
        one, two = self.learners[n]
        asks = [
            (who, self._booking(who, self.plans[plan], self.worlds[n].org), uuid.uuid4().hex)
            for who in (one, two)
        ]
        asks.append(asks[0])
        for who, _, _ in asks:
            self.worlds[0].auth(who)

        def go(item):
            who, body, key = item
            return self._post("/api/checkout", body, who, key, self.app.test_client())

        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(go, asks))
        first = [a for a, ask in zip(answers, asks, strict=True) if ask is asks[0]]
        made = [a for a in first if a.status_code == 201]
        assert len(made) <= 1
        for answer, (who, body, key) in zip(answers, asks, strict=True):
            if answer.status_code != 200:
                self._booked("/api/checkout", body, who, key, answer)

    @precondition(lambda self: self.asked)
    @rule(i=st.integers(0, 999))
    def repeat(self, i):
        """The same request under the same key: the same payment or top-up, and nothing written."""
        path, body, who, key, first = self.asked[i % len(self.asked)]
        before = self._written()
        again = self._post(path, body, who, key)
        assert again.status_code in (200, 409), again.json
        if again.status_code == 409:
            assert again.json["code"] == "IDEMPOTENT_REPLAY_TERMINAL"
        else:
            name = "top_up_id" if "top_up_id" in first else "id"
            assert again.json[name] == first[name]
        assert self._written() == before

    def _written(self):
        return self.make.rows(
            "SELECT (SELECT count(*) FROM payment), (SELECT count(*) FROM wallet_top_up), "
            "(SELECT count(*) FROM ledger_transaction), (SELECT count(*) FROM sandbox_order)"
        )

    @precondition(lambda self: self.payments)
    @rule(i=st.integers(0, 999), part=st.sampled_from([1, 33_333, 100_000, None]), force=st.booleans())
    def refund(self, i, part, force):
        settled = self.make.rows(
            "SELECT public_id FROM payment WHERE public_id = ANY(CAST(:p AS uuid[])) AND status = 'SUCCEEDED' ORDER BY id",
            p=self.payments,
        )
        payment = settled[i % len(settled)].public_id if settled else self.payments[0]
        body = {"reason": "Machine", "force": force, **({"amount_paise": part} if part else {})}
        key = uuid.uuid4().hex
        answer = self._post(f"/api/payments/{payment}/refunds", body, self.admin, key)
        assert answer.status_code in (201, 409), answer.json

    @precondition(lambda self: self.top_ups)
    @rule(i=st.integers(0, 999), part=st.sampled_from([1, 5_000, 600_000]))
    def refund_credits(self, i, part):
        n, top_up = self.top_ups[i % len(self.top_ups)]
        path = f"/api/organizations/{self.worlds[n].org.slug}/billing-account/wallet/top-ups/{top_up}/refund"
        answer = self._post(path, {"amount_paise": part}, self.billing[n], uuid.uuid4().hex)
        assert answer.status_code in (201, 409), answer.json

    # ---- what the provider and the bank do ---------------------------------------------------------------------------

    def _provider(self, work):
        self.till.act()
        try:
            work()
            self.session.commit()
            return True
        except Exception:
            self.session.rollback()
            return False

    @precondition(lambda self: self.orders)
    @rule(i=st.integers(0, 999), short=st.sampled_from([0, 0, 0, 1]))
    def pay(self, i, short):
        order = self.orders[i % len(self.orders)]
        amount = self.make.one("SELECT amount_paise FROM sandbox_order WHERE order_id = :o", o=order)
        options = {"amount_paise": amount - 1} if short and amount > 1 else {}
        if self._provider(lambda: provider.pay(self.session, order, **options)):
            self.paid.append(order)

    @precondition(lambda self: self.orders)
    @rule(i=st.integers(0, 999))
    def pay_and_hear(self, i):
        """The usual way: the newest orders are paid and their webhooks come at once."""
        self.pay(len(self.orders) - 1 - i % 3, 0)
        self.till.webhooks()

    def _captured(self, i):
        order = self.paid[i % len(self.paid)]
        return self.make.one("SELECT payment_id FROM sandbox_order WHERE order_id = :o", o=order)

    @precondition(lambda self: self.paid)
    @rule(i=st.integers(0, 999), phase=st.sampled_from(["chargeback", "retrieval"]), part=st.booleans())
    def dispute(self, i, phase, part):
        payment = self._captured(i)
        options = {"amount_paise": 1} if part else {}
        self._provider(lambda: provider.open_dispute(self.session, payment, phase=phase, **options))

    @precondition(lambda self: self.paid)
    @rule(i=st.integers(0, 999), to=st.sampled_from(["under_review", "won", "lost", "closed"]))
    def decide(self, i, to):
        found = self.make.rows(
            "SELECT dispute_id FROM sandbox_dispute WHERE payment_id = :p ORDER BY id", p=self._captured(i)
        )
        if found:
            self._provider(lambda: provider.settle_dispute(self.session, found[-1].dispute_id, to))

    @precondition(lambda self: self.paid)
    @rule(i=st.integers(0, 999), part=st.sampled_from([1, 50_000, None]))
    def refund_by_hand(self, i, part):
        """Somebody returns money at the provider's own console."""
        payment = self._captured(i)
        captured = self.make.one("SELECT captured_paise FROM sandbox_order WHERE payment_id = :p", p=payment)
        self._provider(
            lambda: provider.refund(
                self.session, payment_id=payment, amount_paise=part or captured, key=uuid.uuid4().hex
            )
        )

    @rule(i=st.integers(0, 999), to=st.sampled_from(["processed", "failed"]))
    def decide_refund(self, i, to):
        pending = self.make.rows("SELECT refund_id FROM sandbox_refund WHERE status = 'pending' ORDER BY id")
        if pending:
            self._provider(
                lambda: provider.settle_refund(self.session, pending[i % len(pending)].refund_id, to)
            )

    @rule(
        armed=st.sampled_from(
            [
                ("refund", "timeout"),
                ("refund", "lose_answer"),
                ("refund", "failed"),
                ("refund", "pending"),
                ("create_order", "timeout"),
                ("fetch_order", "timeout"),
            ]
        )
    )
    def outage(self, armed):
        call, outcome = armed
        if call == "create_order":
            return  # answered at once by 503: exercised by the tests of checkout
        self._provider(lambda: provider.arm(self.session, call, outcome))

    # ---- what the worker does, and how it dies -----------------------------------------------------------------------

    @rule(
        crash=st.sampled_from(
            [
                None,
                None,
                "topup_captured",
                "booking_captured",
                "refund_succeeded",
                "topup_refund_sent",
                "dispute_lost",
            ]
        )
    )
    def webhooks(self, crash):
        if crash:
            self.client.post("/api/test/fault", json={"point": crash})
        self.till.webhooks()
        self._disarm()

    def _disarm(self):
        for key in self.app.extensions["redis"].scan_iter("test:fault:*"):
            self.app.extensions["redis"].delete(key)

    @rule(crash=st.sampled_from([None, None, "refund_succeeded", "topup_refund_sent"]))
    def worker(self, crash):
        """The outbox's calls to the provider; one that dies is repeated by a later step."""
        if crash:
            self.client.post("/api/test/fault", json={"point": crash})
        self._send()
        self._disarm()

    def _send(self):
        for table, send in (("refund", refunds.send), ("wallet_top_up_refund", topup_refunds.send)):
            for row in self.make.rows(f"SELECT public_id FROM {table} WHERE status = 'PENDING' ORDER BY id"):
                self.till.act()
                with suppress(Exception):
                    send(self.session, row.public_id, self.config)
                self.session.rollback()

    @rule(minutes=st.sampled_from([7, 31, 400]))
    def time_passes(self, minutes):
        self.hours += minutes / 60
        self.till.later(self.hours * 3600)
        self.worlds[0].headers.clear()  # who was away signs in again

    @rule()
    def jobs(self):
        for job in (
            lambda: settlement.expire_holds(self.session),
            lambda: topups.sweep(self.session, self.config),
            lambda: refunds.sweep(self.session, self.config),
            lambda: topup_refunds.sweep(self.session, self.config),
            lambda: disputes.watch(self.session, self.config),
        ):
            self.till.act()
            job()
            self.session.commit()

    # ---- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def the_books_agree(self):
        if not hasattr(self, "worlds"):
            return
        self.turn = 1 - getattr(self, "turn", 0)
        for world in [self.worlds[self.turn]] if self.turns else self.worlds:
            self.till.act()
            report = reconcile.run(self.session, world.org.id)
            findings = report.findings
            self.session.rollback()
            assert findings == [], findings
            assert self.make.balance(world.org) >= 0

    def teardown(self):
        if not hasattr(self, "worlds"):
            return
        self._disarm()
        with self.owner.begin() as c:
            c.execute(text("DELETE FROM sandbox_lever"))
        for _ in range(4):  # until everything that waits is done
            self.hours += 8
            self.till.later(self.hours * 3600)
            self.till.webhooks()
            self._send()
            self._unapplied()
            self.jobs()
            self._settle_refunds()
        self.turns = False
        self.the_books_agree()
        self.till.act()
        report = reconcile.run(self.session)
        ours = {str(w.org.public_id) for w in self.worlds} | set(self.payments)
        assert not [f for f in report.findings if set(f["ids"]) & ours]
        self.session.rollback()
        lost = self.make.rows(
            "SELECT o.order_id FROM sandbox_order o WHERE o.order_id = ANY(:orders) AND o.payment_id IS NOT NULL "
            "AND NOT EXISTS (SELECT FROM payment p WHERE p.provider_payment_id = o.payment_id AND p.status = 'SUCCEEDED') "
            "AND NOT EXISTS (SELECT FROM wallet_top_up t WHERE t.gateway_payment_id = o.payment_id "
            "AND t.status = 'CONFIRMED') AND NOT EXISTS (SELECT FROM unapplied_receipt u "
            "WHERE u.provider_payment_id = o.payment_id AND u.refunded_at IS NOT NULL)",
            orders=self.paid,
        )
        assert lost == []
        assert self.make.one(CASH) - self.cash == self.make.one(BOOKS) - self.books

    def _settle_refunds(self):
        """Refunds that the provider left pending end."""
        for row in self.make.rows("SELECT refund_id FROM sandbox_refund WHERE status = 'pending'"):
            self._provider(lambda row=row: provider.settle_refund(self.session, row.refund_id, "processed"))

    def _unapplied(self):
        from app.services import unapplied

        for row in self.make.rows(
            "SELECT provider_payment_id FROM unapplied_receipt WHERE refunded_at IS NULL"
        ):
            self.till.act()
            with suppress(Exception):
                unapplied.refund(self.session, row.provider_payment_id, self.config)
                self.session.commit()
            self.session.rollback()


@pytest.fixture
def config(request):
    """The application's settings (Hypothesis has the name)."""
    return request.getfixturevalue("settings")


def test_money_survives_any_order_of_events(make, client, app, web_engine, owner_engine, config):
    with owner_engine.begin() as c:  # what other tests left waiting is not this one's
        c.execute(text("UPDATE sandbox_webhook SET next_at = NULL WHERE delivered_at IS NULL"))
        c.execute(
            text("UPDATE gateway_event SET status = 'IGNORED' WHERE status IN ('RECEIVED', 'DEFERRED')")
        )
        c.execute(text("UPDATE payment SET expires_at = NULL WHERE status = 'PENDING'"))
        c.execute(text("UPDATE wallet_top_up SET status = 'FAILED' WHERE status = 'PENDING'"))
        c.execute(text("UPDATE refund SET status = 'CANCELLED' WHERE status = 'PENDING'"))
        c.execute(text("UPDATE wallet_top_up_refund SET status = 'CANCELLED' WHERE status = 'PENDING'"))
        c.execute(text("UPDATE sandbox_refund SET status = 'failed' WHERE status = 'pending'"))
        c.execute(text("UPDATE unapplied_receipt SET refunded_at = now() WHERE refunded_at IS NULL"))
    with app.app_context(), Session(web_engine, expire_on_commit=False) as session:
        members = {
            "make": make,
            "client": client,
            "app": app,
            "session": session,
            "config": config,
            "owner": owner_engine,
        }
        machine = type("MoneyMachine", (Money,), members)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=int(os.environ.get("MONEY_EXAMPLES", "5")),  # more for a long look
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
