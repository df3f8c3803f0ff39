"""Bookings paid by card: the hold, the capture, what comes too late, and the wallet's part (chapter 2, 2.6, 2.7)."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.gateways import provider
from app.models import BillingAccount, FundingSource
from app.security import context
from app.services import gateway_events, settlement
from tests.factories import unique

from .conftest import slot
from .test_races import outcome, race


class Till:
    """The payer's card and the provider behind it, in job scope; webhooks come into the test client."""

    def __init__(self, world, session, settings):
        self.world, self.session, self.settings = world, session, settings

    def act(self):
        context.use(self.session, context.Ctx(scope="job"))

    def pay(self, order_id, **options):
        self.act()
        provider.pay(self.session, order_id, **options)
        self.session.commit()

    def webhooks(self):
        self.act()

        def post(url, body, headers):
            return self.world.client.post("/webhooks/gateway/sandbox", data=body, headers=headers).status_code

        provider.deliver(self.session, "http://ignored", self.settings.sandbox_webhook_secret, post=post)
        self.act()
        return gateway_events.process(self.session, self.settings)

    def settle(self, answer, **options):
        self.pay(answer["payment"]["order_id"], **options)
        self.webhooks()

    def expire(self):
        self.act()
        return settlement.expire_holds(self.session)

    def later(self, seconds):
        self.world.client.post("/api/test/clock", json={"offset_seconds": seconds})

    def state(self, answer):
        return tuple(
            self.world.make.rows(
                "SELECT p.status, a.status, p.provider_payment_id IS NOT NULL FROM payment p "
                "JOIN appointment a ON a.id = p.appointment_id WHERE p.public_id = :p",
                p=answer["payment"]["id"],
            )[0]
        )

    def legs(self, key):
        return sorted(
            (code.split("|")[0], side, paise)
            for code, side, paise in self.world.make.rows(
                "SELECT a.code, e.side, e.amount_paise FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id "
                "JOIN ledger_transaction t ON t.id = e.transaction_id WHERE t.key = :k",
                k=key,
            )
        )

    def claims(self, answer):
        return self.world.make.one(
            "SELECT count(*) FROM calendar_claim c JOIN appointment a ON a.id = c.appointment_id WHERE a.public_id = :a",
            a=answer["id"],
        )

    def unapplied(self, answer):
        return self.world.make.rows(
            "SELECT u.amount_paise, u.reason FROM unapplied_receipt u JOIN sandbox_order o "
            "ON o.payment_id = u.provider_payment_id WHERE o.order_id = :o",
            o=answer["payment"]["order_id"],
        )


@pytest.fixture
def till(world, app, web_engine, settings, owner_engine):
    with owner_engine.begin() as c:  # what other tests left waiting is not this one's
        c.execute(text("UPDATE sandbox_webhook SET next_at = NULL WHERE delivered_at IS NULL"))
        c.execute(text("UPDATE gateway_event SET status = 'IGNORED' WHERE status = 'RECEIVED'"))
        c.execute(text("UPDATE payment SET expires_at = NULL WHERE status = 'PENDING'"))
    with app.app_context(), Session(web_engine, expire_on_commit=False) as s:
        yield Till(world, s, settings)
        s.rollback()


def test_a_card_of_ones_own_holds_the_time_and_the_capture_books_it(world, till):
    person = world.make.user()
    plan = world.make.plan(world.expert, 500_000, tax_bps=1800)
    r = world.book(person, plan=plan, org=None)
    assert r.status_code == 201
    body = r.json
    assert body["status"] == body["appointment"]["status"] == "TENTATIVE" and body["receipt_url"] is None
    assert body["payment"]["legs"] == [{"source": "CARD", "amount_paise": 590_000, "covered_paise": 0}]
    assert body["payment"]["checkout_url"].endswith(f"/sandbox/checkout/{body['payment']['order_id']}")
    assert till.state(body) == ("PENDING", "TENTATIVE", False)
    assert till.legs(f"booking:{body['payment']['id']}") == []
    till.settle(body)
    assert till.state(body) == ("SUCCEEDED", "CONFIRMED", True)
    assert till.legs(f"booking:{body['payment']['id']}") == [
        ("CASH", "D", 590_000),
        ("CONSULTANT_PAYABLE", "C", 400_000),
        ("GST_PAYABLE", "C", 90_000),
        ("PLATFORM_FEE", "C", 100_000),
    ]
    mails = world.make.one(
        "SELECT count(*) FROM outbox_message WHERE dedupe_key LIKE :k", k=f"booking:{body['payment']['id']}:%"
    )
    assert mails == 2
    receipt = world.client.get(
        f"/api/payments/{body['payment']['id']}/receipt.pdf", headers=world.auth(person)
    )
    assert receipt.status_code == 200 and receipt.data.startswith(b"%PDF")
    before = world.make.one("SELECT count(*) FROM ledger_transaction")
    till.act()
    order = provider.find_order(till.session, body["payment"]["order_id"])
    event = gateway_events.open_gateway(till.settings, till.session).parse_event(
        till.session.scalar(
            text("SELECT body FROM sandbox_webhook WHERE order_row_id = :o LIMIT 1"), {"o": order.id}
        ).encode()
    )
    assert settlement.captured(till.session, event, "sandbox") == "repeated"
    assert world.make.one("SELECT count(*) FROM ledger_transaction") == before


@pytest.mark.scenario("M-46")
def test_notes_carry_public_ids_and_forged_ones_send_the_money_back(world, till):
    org = world.make.org(funding=FundingSource.PERSONAL)
    member = world.make.member(org, "LEARNER")
    body = world.book(member, org=org.public_id).json
    notes = world.make.one(
        "SELECT notes FROM sandbox_order WHERE order_id = :o", o=body["payment"]["order_id"]
    )
    assert notes == {
        "type": "booking",
        "payment_id": body["payment"]["id"],
        "user_id": str(member.user.public_id),
        "organization_id": str(org.public_id),
        "funding_source": "PERSONAL",
    }
    till.settle(body, notes={**notes, "organization_id": str(world.org.public_id)})
    assert till.state(body) == ("PENDING", "TENTATIVE", False)
    assert till.unapplied(body) == [(500_000, "ORG_MISMATCH")]


def test_another_amount_is_not_a_payment(world, till):
    body = world.book(world.make.user(), org=None).json
    till.settle(body, amount_paise=499_999)
    assert till.state(body)[0] == "PENDING" and till.unapplied(body) == [(499_999, "AMOUNT_MISMATCH")]


def test_the_same_key_asks_for_the_same_order_until_the_hold_is_over(world, till):
    person, at, key = world.make.user(), slot(), unique("key")
    first = world.book(person, at, org=None, key=key)
    again = world.book(person, at, org=None, key=key)
    assert (first.status_code, again.status_code) == (201, 200) and first.json == again.json
    assert world.book(person, slot(), org=None, key=key).json["code"] == "IDEMPOTENCY_KEY_REUSED"
    till.later(31 * 60)
    assert till.expire()["expired"] == 1
    over = world.book(person, at, org=None, key=key)
    assert (over.status_code, over.json["code"]) == (409, "IDEMPOTENT_REPLAY_TERMINAL")
    assert till.state(first.json) == ("EXPIRED", "EXPIRED", False) and till.claims(first.json) == 0


def test_a_paid_hold_answers_its_key_with_the_booking(world, till):
    person, at, key = world.make.user(), slot(), unique("key")
    body = world.book(person, at, org=None, key=key).json
    till.settle(body)
    again = world.book(person, at, org=None, key=key)
    assert (again.status_code, again.json["status"]) == (200, "CONFIRMED")
    assert again.json["payment"]["checkout_url"] is None and again.json["receipt_url"]


def test_a_hold_keeps_the_time_from_others_and_an_expired_one_does_not(world, till):
    at = slot()
    mine = world.book(world.make.user(), at, org=None).json
    taken = world.book(world.make.user(), at, org=None)
    assert (taken.status_code, taken.json["code"]) == (409, "SLOT_TAKEN")
    till.later(31 * 60)  # no job has run yet
    other = world.book(world.make.user(), at, org=None)
    assert other.status_code == 201
    till.settle(other.json)
    assert till.state(other.json)[1] == "CONFIRMED"
    till.settle(mine)  # too late: the time is somebody else's
    assert till.state(mine) == ("PENDING", "TENTATIVE", False)
    assert till.unapplied(mine) == [(500_000, "SLOT_TAKEN")]


def test_a_late_capture_books_where_the_time_is_still_free(world, till):
    body = world.book(world.make.user(), org=None).json
    till.later(31 * 60)
    till.expire()
    assert till.state(body)[0] == "EXPIRED"
    till.settle(body)
    assert till.state(body) == ("SUCCEEDED", "CONFIRMED", True) and till.claims(body) == 2


def test_an_organisation_that_reimburses_tags_the_booking_and_asks_for_no_program(world, till):
    org = world.make.org(funding=FundingSource.PERSONAL)
    member = world.make.member(org, "LEARNER")
    body = world.book(member, org=org.public_id).json
    assert body["appointment"]["organization_id"] == str(org.public_id)
    assert body["payment"]["method"] == "CARD"
    till.settle(body)
    row = world.make.rows(
        "SELECT organization_id, status FROM payment WHERE public_id = :p", p=body["payment"]["id"]
    )
    assert row == [(org.id, "SUCCEEDED")]
    audit = world.make.rows("SELECT action FROM org_audit_log WHERE organization_id = :o", o=org.id)
    assert ("BOOKING_CONFIRMED",) in audit


def test_a_free_plan_is_booked_at_once(world):
    plan = world.make.plan(world.make.expert(), 0)
    r = world.book(world.make.user(), plan=plan, org=None)
    assert (r.status_code, r.json["status"], r.json["payment"]["amount_paise"]) == (201, "CONFIRMED", 0)


@pytest.fixture
def shared(world):
    """The wallet holds 200000 and lets members pay the rest."""
    with world.make.session() as s:
        account = s.query(BillingAccount).filter_by(organization_id=world.org.id).one()
        account.allow_member_top_up = True
    plan = world.make.plan(world.make.expert(), 4_800_000)
    assert world.book(world.learner(), plan=plan).status_code == 201
    assert world.make.balance(world.org) == 200_000
    return world.make.plan(world.make.expert(), 300_000)


@pytest.mark.scenario("M-11")
def test_a_wallet_and_a_card_share_a_booking_and_an_unpaid_one_gives_it_back(world, till, shared):
    learner = world.learner()
    body = world.book(learner, plan=shared).json
    legs = {leg["source"]: leg["amount_paise"] for leg in body["payment"]["legs"]}
    assert legs == {"WALLET": 200_000, "CARD": 100_000} and world.make.balance(world.org) == 0
    payment = body["payment"]["id"]
    assert till.legs(f"wallet-hold:{payment}") == [("WALLET", "D", 200_000), ("WALLET_HOLD", "C", 200_000)]
    assert till.expire()["expired"] == 0
    till.later(31 * 60)
    assert till.expire() == {"expired": 1, "failed": 0}
    assert till.state(body) == ("EXPIRED", "EXPIRED", False)
    assert world.make.balance(world.org) == 200_000 and till.claims(body) == 0
    used = world.make.rows(
        "SELECT consumed_paise, engagements_used FROM assignment WHERE membership_id = :m", m=learner.id
    )
    assert used == [(0, 0)]
    assert till.expire()["expired"] == 0  # once
    till.settle(body)  # the wallet's part was given back: too late to book
    assert till.unapplied(body) == [(100_000, "SLOT_TAKEN")] and world.make.balance(world.org) == 200_000


def test_the_capture_of_a_shared_booking_takes_the_hold(world, till, shared):
    body = world.book(world.learner(), plan=shared).json
    till.settle(body)
    assert till.state(body) == ("SUCCEEDED", "CONFIRMED", True)
    assert till.legs(f"booking:{body['payment']['id']}") == [
        ("CASH", "D", 100_000),
        ("CONSULTANT_PAYABLE", "C", 240_000),
        ("PLATFORM_FEE", "C", 60_000),
        ("WALLET_HOLD", "D", 200_000),
    ]
    assert world.make.balance(world.org) == 0


def test_capture_against_expiry(world, till, app, web_engine, settings):
    """Whoever is first wins; never both, never neither."""
    body = world.book(world.make.user(), org=None).json
    till.pay(body["payment"]["order_id"])
    till.later(31 * 60)

    def expiring(client):
        with app.app_context(), Session(web_engine) as s:
            context.use(s, context.Ctx(scope="job"))
            return settlement.expire_holds(s)

    def capturing(client):
        till.webhooks()

    race(world, expiring, capturing)
    till.webhooks()
    assert till.state(body) == ("SUCCEEDED", "CONFIRMED", True) and till.claims(body) == 2


def test_a_crash_after_the_posting_books_once(world, till):
    body = world.book(world.make.user(), org=None).json
    world.client.post("/api/test/fault", json={"point": "booking_captured"})
    till.settle(body)
    assert till.state(body)[0] == "PENDING" and till.legs(f"booking:{body['payment']['id']}") == []
    till.later(7 * 60)
    till.webhooks()
    assert till.state(body) == ("SUCCEEDED", "CONFIRMED", True)
    assert (
        world.make.one(
            "SELECT count(*) FROM ledger_transaction WHERE key = :k", k=f"booking:{body['payment']['id']}"
        )
        == 1
    )


def test_two_people_one_slot_by_card(world):
    at, a, b = slot(), world.make.user(), world.make.user()
    world.auth(a), world.auth(b)
    answers = race(
        world,
        lambda c: world.book(a, at, org=None, client=c),
        lambda c: world.book(b, at, org=None, client=c),
    )
    assert outcome(answers) == [(201, None), (409, "SLOT_TAKEN")]


def test_a_foreign_payer_neither_reads_nor_pays(world, till):
    body = world.book(world.make.user(), org=None).json
    stranger = world.auth(world.make.user())
    for path in ("receipt.pdf", "refunds"):
        assert (
            world.client.get(f"/api/payments/{body['payment']['id']}/{path}", headers=stranger).status_code
            == 404
        )
    assert (
        world.client.post(f"/api/appointments/{body['id']}/cancel", json={}, headers=stranger).status_code
        == 404
    )
    assert till.state(body) == ("PENDING", "TENTATIVE", False)
