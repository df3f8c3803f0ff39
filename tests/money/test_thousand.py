"""M-51: the demo, then a thousand operations of all kinds from many hands at once; the books agree."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.cli.demo import seed_demo
from app.gateways import provider
from app.models import Organization, User
from app.security import context
from app.services import (
    disputes,
    gateway_events,
    reconcile,
    refunds,
    settlement,
    topup_refunds,
    topups,
    unapplied,
)
from tests.booking.conftest import slot
from tests.demo import demo_database
from tests.factories import Factory

HANDS, EACH = 8, 125
SLUGS = ("acme", "northwind", "globex", "initech", "iitm")


@pytest.mark.scenario("M-51")
def test_a_thousand_operations_after_the_demo_reconcile(owner_url, settings, tmp_path):
    with demo_database(owner_url, settings, tmp_path, "thousand") as (app, owner):
        seed_demo(app)
        with app.app_context():
            from app.extensions import db

            web = db.engine
        crowd = Crowd(app, owner, web, settings)
        with ThreadPoolExecutor(HANDS) as pool:
            list(pool.map(crowd.work, range(HANDS)))
        crowd.settle()
        done = crowd.done
        assert done["asked"] >= HANDS * EACH
        for kind in ("wallet booking", "card booking", "payment", "refund", "cancellation", "top-up"):
            assert done[kind] > 0, done
        report = crowd.reconcile()
        assert (report.ok, report.findings) == (True, []), (report.findings, done)


class Crowd:
    """People, providers and workers of the demo, acting at random."""

    def __init__(self, app, owner, web, settings):
        self.app, self.web, self.settings = app, web, settings
        self.make = Factory(app, owner, web)
        self.lock, self.done = threading.Lock(), Counter()
        self.payments, self.appointments, self.orders, self.top_ups = [], [], [], []
        with self.make.session() as s:
            self.orgs = {
                o.slug: o for o in s.scalars(select(Organization).where(Organization.slug.in_(SLUGS)))
            }
            people = {u.email: u for u in s.scalars(select(User))}
        wanted = [f"{role}@{slug}.test" for slug in SLUGS for role in ("learner", "billing")]
        self.tokens = {
            email: self.make.bearer(people[email])
            for email in (*wanted, "admin@consilium.test")
            if email in people
        }
        self.plans = [
            self.make.plan(self.make.expert(), price, tax_bps=bps)
            for price, bps in ((1_000, 0), (99_999, 1800), (250_000, 1800), (400_003, 0))
        ]
        self.slots = [slot(4) for _ in range(HANDS * EACH + 50)]

    def act(self, session):
        context.use(session, context.Ctx(scope="job"))

    def ask(self, client, path, email, body, key=None):
        headers = {**self.tokens[email], "Idempotency-Key": key or uuid.uuid4().hex}
        answer = client.post(path, json=body, headers=headers)
        assert answer.status_code < 500, (path, answer.json)
        return answer

    def count(self, what):
        with self.lock:
            self.done[what] += 1

    def work(self, hand):
        dice, client = random.Random(hand), self.app.test_client()
        moves = [
            *[self.book_for_organization] * 5,
            *[self.book_by_card] * 2,
            *[self.pay] * 4,
            self.refund,
            self.cancel,
            self.buy,
            self.refund_credits,
            self.background,
        ]
        with self.app.app_context(), Session(self.web, expire_on_commit=False) as session:
            for _ in range(EACH):
                self.count("asked")
                dice.choice(moves)(dice, client, session)

    def _booked(self, answer, what):
        if answer.status_code in (200, 201):
            self.count(what)
            with self.lock:
                self.payments.append(answer.json["payment"]["id"])
                self.appointments.append(answer.json["id"])
                if answer.json["payment"].get("order_id"):
                    self.orders.append(answer.json["payment"]["order_id"])

    def _body(self, dice):
        with self.lock:
            at = self.slots.pop()
        return {"plan_id": str(dice.choice(self.plans).public_id), "starts_at": at.isoformat()}

    def book_for_organization(self, dice, client, session):
        slug = dice.choice(("acme", "acme", "iitm", *SLUGS))
        body = {**self._body(dice), "organization_id": str(self.orgs[slug].public_id)}
        key = uuid.uuid4().hex
        first = self.ask(client, "/api/checkout", f"learner@{slug}.test", body, key)
        self._booked(first, "wallet booking" if slug in ("acme", "iitm") else f"{slug} booking")
        if dice.random() < 0.2 and first.status_code == 201:
            again = self.ask(client, "/api/checkout", f"learner@{slug}.test", body, key)
            assert (again.status_code, again.json["id"]) == (200, first.json["id"])

    def book_by_card(self, dice, client, session):
        email = f"learner@{dice.choice(SLUGS)}.test"
        self._booked(self.ask(client, "/api/checkout", email, self._body(dice)), "card booking")

    def pay(self, dice, client, session):
        with self.lock:
            if not self.orders:
                return
            order = self.orders.pop(dice.randrange(len(self.orders)))
        self.act(session)
        try:
            provider.pay(session, order)
            session.commit()
            self.count("payment")
        except Exception:
            session.rollback()

    def _any(self, dice, rows):
        with self.lock:
            return dice.choice(rows) if rows else None

    def refund(self, dice, client, session):
        payment = self._any(dice, self.payments)
        if payment:
            body = {
                "reason": "Crowd",
                **({"amount_paise": dice.randrange(1, 900)} if dice.random() < 0.7 else {}),
            }
            answer = self.ask(client, f"/api/payments/{payment}/refunds", "admin@consilium.test", body)
            if answer.status_code == 201:
                self.count("refund")

    def cancel(self, dice, client, session):
        appointment = self._any(dice, self.appointments)
        for slug in SLUGS if appointment else ():
            answer = self.ask(client, f"/api/appointments/{appointment}/cancel", f"learner@{slug}.test", {})
            if answer.status_code == 200:
                self.count("cancellation")
                return

    def buy(self, dice, client, session):
        slug = dice.choice(("acme", "iitm"))
        path = f"/api/organizations/{slug}/billing-account/wallet/top-ups"
        answer = self.ask(
            client, path, f"billing@{slug}.test", {"amount_paise": dice.choice((10_000, 700_000))}
        )
        if answer.status_code == 201:
            self.count("top-up")
            with self.lock:
                self.orders.append(answer.json["order_id"])
                self.top_ups.append((slug, answer.json["top_up_id"]))

    def refund_credits(self, dice, client, session):
        found = self._any(dice, self.top_ups)
        if found:
            slug, top_up = found
            path = f"/api/organizations/{slug}/billing-account/wallet/top-ups/{top_up}/refund"
            self.ask(client, path, f"billing@{slug}.test", {"amount_paise": dice.randrange(1, 5_000)})

    def background(self, dice, client, session):
        """A worker's turn."""

        def post(url, body, headers):
            return client.post("/webhooks/gateway/sandbox", data=body, headers=headers).status_code

        for turn in (
            lambda: provider.deliver(
                session, "http://ignored", self.settings.sandbox_webhook_secret, post=post
            ),
            lambda: gateway_events.process(session, self.settings),
            lambda: settlement.expire_holds(session),
        ):
            self.act(session)
            turn()
            session.commit()

    def settle(self):
        """Everything that waits is done, by one worker."""
        dice, client = random.Random(0), self.app.test_client()
        with self.app.app_context(), Session(self.web, expire_on_commit=False) as session:
            for _ in range(3):
                self.background(dice, client, session)
                for table, send in (
                    ("refund", refunds.send),
                    ("wallet_top_up_refund", topup_refunds.send),
                ):
                    for row in self.make.rows(f"SELECT public_id FROM {table} WHERE status = 'PENDING'"):
                        self.act(session)
                        send(session, row.public_id, self.settings)
                for row in self.make.rows(
                    "SELECT provider_payment_id FROM unapplied_receipt WHERE refunded_at IS NULL"
                ):
                    self.act(session)
                    with suppress(Exception):
                        unapplied.refund(session, row.provider_payment_id, self.settings)
                        session.commit()
                for job in (topups.sweep, refunds.sweep, disputes.watch):
                    self.act(session)
                    job(session, self.settings)
                    session.commit()

    def reconcile(self):
        with self.app.app_context(), Session(self.web, expire_on_commit=False) as session:
            self.act(session)
            report = reconcile.run(session)
            session.commit()
            return report
