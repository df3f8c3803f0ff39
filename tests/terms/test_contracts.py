"""Contracts over REST: licences, purchase orders, superseding, renewing, ending (M-19, M-20, M-32, M-33)."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import text

from app import clock
from app.models import FundingSource, OrgRole, OrgStatus, ProgramType
from tests.booking.test_races import race

from .conftest import SEAT


def iso(days=0):
    return (clock.today_ist() + dt.timedelta(days=days)).isoformat()


class Desk:
    """An organisation's own REST, by role."""

    def __init__(self, make, client, funding=FundingSource.INVOICE, **org):
        self.make, self.client = make, client
        self.org = make.org(funding=funding, **org)
        self.owner = make.member(self.org, OrgRole.OWNER)
        self.headers = {OrgRole.OWNER: make.bearer(self.owner)}

    def call(self, method, path, body=None, role=OrgRole.OWNER, client=None):
        if role not in self.headers:
            self.headers[role] = self.make.bearer(self.make.member(self.org, role))
        kw = {"json": body} if body is not None else {}
        return (client or self.client).open(
            f"/api/organizations/{self.org.slug}/{path}", method=method, headers=self.headers[role], **kw
        )

    def draft(self, status=201, **body):
        r = self.call("POST", "contracts", {"effective_from": iso(-10), **body})
        assert r.status_code == status, r.json
        return r.json

    def sign(self, contract, status=200):
        r = self.call("PATCH", f"contracts/{contract['id']}", {"status": "ACTIVE"})
        assert r.status_code == status, r.json
        return r.json

    def events(self, name):
        return self.make.rows(
            "SELECT payload->'data' FROM outbox_message WHERE organization_id = :o AND topic = 'event' "
            "AND payload->>'event' = :n",
            o=self.org.id,
            n=name,
        )

    def count(self, table):
        return self.make.one(f"SELECT count(*) FROM {table} WHERE organization_id = :o", o=self.org.id)

    def audit(self):
        return [
            r[0]
            for r in self.make.rows(
                "SELECT action FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=self.org.id
            )
        ]


@pytest.mark.scenario("M-19")
def test_a_purchase_order_stands_behind_the_signature(make, client):
    desk = Desk(make, client, requires_po=True)
    draft = desk.draft()
    assert desk.sign(draft, 409)["code"] == "PO_REQUIRED"
    assert desk.call("GET", f"contracts/{draft['id']}").json["status"] == "DRAFT" and not desk.events(
        "contract.signed"
    )
    po = desk.call(
        "POST", "purchase-orders", {"po_number": "PO-1", "total_paise": 10_000_000}, OrgRole.BILLING_ADMIN
    ).json
    linked = desk.call("PATCH", f"contracts/{draft['id']}", {"purchase_order_id": po["id"]})
    assert linked.json["purchase_order_id"] == po["id"]
    signed = desk.sign(draft)
    assert signed["status"] == "ACTIVE" and signed["signed_at"]
    (event,) = desk.events("contract.signed")
    assert event[0] == {
        "contract_id": draft["id"],
        "status": "ACTIVE",
        "effective_from": iso(-10),
        "total_amount_paise": 0,
    }
    assert (
        desk.call("DELETE", f"purchase-orders/{po['id']}", role=OrgRole.BILLING_ADMIN).json["code"]
        == "PO_REFERENCED"
    )


def test_an_expired_or_cancelled_order_is_none(make, client):
    desk = Desk(make, client, requires_po=True)
    desk.call("POST", "purchase-orders", {"po_number": "PO-1", "total_paise": 100, "valid_until": iso()})
    po = desk.call("POST", "purchase-orders", {"po_number": "PO-2", "total_paise": 100}).json
    desk.call("POST", f"purchase-orders/{po['id']}/cancel", {})
    client.post("/api/test/clock", json={"offset_seconds": 2 * 86_400})
    assert desk.sign(desk.draft(), 409)["code"] == "PO_REQUIRED"


@pytest.mark.scenario("M-20")
def test_a_licence_needs_its_fee_and_begins_with_the_signature(make, client):
    desk = Desk(make, client, FundingSource.LICENSE)
    assert desk.draft(400)["code"] == "LICENSE_ECONOMICS_REQUIRED"
    assert (
        desk.draft(400, license_model="FLAT_FEE", license_cycle="ANNUAL")["code"]
        == "LICENSE_ECONOMICS_REQUIRED"
    )
    assert desk.count("contract") == 0
    draft = desk.draft(
        license_model="FLAT_FEE", license_fee_paise=12_000_000, license_cycle="ANNUAL", payment_terms_days=900
    )
    assert desk.count("billing_subscription") == 0
    signed = desk.sign(draft)
    sub = signed["subscription"]
    assert (sub["model"], sub["cycle"], sub["next_invoice_date"]) == ("FLAT_FEE", "ANNUAL", iso(-10))
    assert desk.events("contract.signed")[0][0]["total_amount_paise"] == 12_000_000


@pytest.mark.parametrize("funding", [FundingSource.WALLET, FundingSource.PERSONAL])
def test_other_sources_have_no_licence(make, client, funding):
    desk = Desk(make, client, funding)
    r = desk.draft(409, license_model="FLAT_FEE", license_fee_paise=1, license_cycle="MONTHLY")
    assert r["code"] == "FUNDING_SOURCE_MISMATCH"


def test_seats_need_a_licence_first(make, client):
    desk = Desk(make, client)
    contract = desk.sign(desk.draft())
    body = {"contract_id": contract["id"], "name": "Seats", "type": "LICENSED_SEAT"}
    assert desk.call("POST", "programs", body).json["code"] == "LICENSE_ECONOMICS_REQUIRED"


def test_terms_lock_with_the_signature(make, client):
    desk = Desk(make, client)
    draft = desk.draft(effective_to=iso(300))
    assert (
        desk.call("PATCH", f"contracts/{draft['id']}", {"payment_terms_days": 60}).json["payment_terms_days"]
        == 60
    )
    assert (
        desk.call("PATCH", f"contracts/{draft['id']}", {"payment_terms_days": 121}).json["code"]
        == "VALIDATION_FAILED"
    )
    desk.sign(draft)
    r = desk.call("PATCH", f"contracts/{draft['id']}", {"payment_terms_days": 10})
    assert (r.status_code, r.json["code"]) == (409, "CONTRACT_TERMS_LOCKED")
    assert desk.call("PATCH", f"contracts/{draft['id']}", {"auto_renew": False}).json["auto_renew"] is False
    assert desk.call("DELETE", f"contracts/{draft['id']}").json["code"] == "CONTRACT_NOT_DELETABLE"
    other = desk.draft()
    assert desk.call("DELETE", f"contracts/{other['id']}").status_code == 204
    assert (
        desk.call("PATCH", f"contracts/{draft['id']}", {"status": "ACTIVE"}, OrgRole.MAINTAINER).json["code"]
        == "OWNER_REQUIRED"
    )


@pytest.mark.scenario("M-33")
def test_two_supersede_at_once_and_one_does(make, client):
    desk = Desk(make, client)
    contract = desk.sign(desk.draft(effective_to=iso(300)))
    answers = race(
        type("W", (), {"client": client}),
        *[
            lambda c: desk.call(
                "POST", f"contracts/{contract['id']}/supersede", {"reason": "AMENDMENT"}, client=c
            )
        ]
        * 2,
    )
    assert sorted((r.status_code, r.json.get("code")) for r in answers) == [
        (201, None),
        (409, "CONTRACT_ALREADY_SUPERSEDED"),
    ]
    states = sorted(c["status"] for c in desk.call("GET", "contracts").json["result"])
    assert states == ["ACTIVE", "TERMINATED"]


@pytest.mark.scenario("M-33")
def test_live_places_keep_a_contract_from_being_terminated(sponsor):
    w = sponsor()
    w.learner(), w.learner()
    r = w.post(w.owner, f"contracts/{w.contract.public_id}/terminate", {"reason": "Budget"})
    assert (r.status_code, r.json["code"], r.json["details"]["count"]) == (
        409,
        "CONTRACT_HAS_LIVE_ASSIGNMENTS",
        2,
    )
    assert w.get(w.owner, f"contracts/{w.contract.public_id}").json["status"] == "ACTIVE"
    assert w.make.one("SELECT status FROM program WHERE id = :p", p=w.program.id) == "ACTIVE"
    for (key,) in w.make.rows("SELECT public_id FROM assignment WHERE organization_id = :o", o=w.org.id):
        assert w.post(w.owner, f"assignments/{key}", {"cancel": True}).status_code == 200
    done = w.post(w.owner, f"contracts/{w.contract.public_id}/terminate", {"reason": "Budget"})
    assert done.json["status"] == "TERMINATED" and done.json["ended_reason"] == "Budget"
    assert w.make.one("SELECT status FROM program WHERE id = :p", p=w.program.id) == "EXPIRED"
    assert "CONTRACT_TERMINATED" in w.audit() and "PROGRAM_EXPIRED" in w.audit()


def test_an_amendment_takes_programs_and_places_along(sponsor):
    w = sponsor(contract={"effective_to": clock.today_ist() + dt.timedelta(days=200)})
    learner = w.learner()
    new_end = iso(20)
    seen = w.get(w.owner, f"contracts/{w.contract.public_id}/supersede?reason=AMENDMENT").json
    assert (seen["old_becomes"], seen["live_assignments"], seen["programs"]) == (
        "TERMINATED",
        1,
        ["Coaching"],
    )
    r = w.post(
        w.owner,
        f"contracts/{w.contract.public_id}/supersede",
        {"reason": "AMENDMENT", "effective_to": new_end},
    )
    assert r.status_code == 201, r.json
    assert (r.json["effective_from"], r.json["effective_to"], r.json["status"]) == (iso(), new_end, "ACTIVE")
    assert r.json["supersedes_contract_id"] == str(w.contract.public_id)
    old = w.get(w.owner, f"contracts/{w.contract.public_id}").json
    assert (old["status"], old["superseded_by_contract_id"]) == ("TERMINATED", r.json["id"])
    assert w.book(learner).status_code == 201  # the place goes on, cut off at the new end
    assert (
        w.make.one("SELECT period_end FROM assignment WHERE membership_id = :m", m=learner.id).isoformat()
        == new_end
    )
    chain = w.get(w.owner, f"contracts/{r.json['id']}/chain").json["result"]
    assert [c["id"] for c in chain] == [old["id"], r.json["id"]]
    again = w.post(w.owner, f"contracts/{w.contract.public_id}/supersede", {"reason": "RENEWAL"})
    assert again.json["code"] == "CONTRACT_ALREADY_SUPERSEDED"
    assert (
        w.post(
            w.owner, f"contracts/{w.contract.public_id}/supersede", {"reason": "TERMINATION_REPLACEMENT"}
        ).json["code"]
        == "VALIDATION_FAILED"
    )


def test_a_renewal_ahead_of_time_leaves_no_gap(sponsor):
    start = clock.today_ist().replace(day=1) - dt.timedelta(days=60)
    start = start.replace(day=1)
    end = (start.replace(year=start.year + 1)) - dt.timedelta(days=1)
    w = sponsor(contract={"effective_from": start, "effective_to": end})
    learner = w.learner()
    r = w.post(w.owner, f"contracts/{w.contract.public_id}/supersede", {"reason": "RENEWAL"})
    assert r.json["effective_from"] == (end + dt.timedelta(days=1)).isoformat()
    assert r.json["effective_to"] == (start.replace(year=start.year + 2) - dt.timedelta(days=1)).isoformat()
    assert w.get(w.owner, f"contracts/{w.contract.public_id}").json["status"] == "EXPIRED"
    assert w.book(learner).status_code == 201
    fresh = w.learner(assigned=False)
    assert (
        w.post(
            w.owner, f"programs/{w.program.public_id}/assignments", {"membership_id": str(fresh.public_id)}
        ).status_code
        == 201
    )


@pytest.mark.scenario("M-32")
def test_at_the_end_of_the_term_a_contract_renews_and_its_places_roll(sponsor):
    today = clock.today_ist()
    w = sponsor(contract={"effective_from": today - dt.timedelta(days=29), "effective_to": today})
    learner = w.learner(assigned=False)
    made = w.post(
        w.owner, f"programs/{w.program.public_id}/assignments", {"membership_id": str(learner.public_id)}
    ).json
    assert (made["period_end"], made["clamped"]) == (today.isoformat(), True)
    w.later(days=1)
    w.run("auto_renew_contracts"), w.run("auto_renew_contracts")
    w.run("advance_program_cycles"), w.run("advance_program_cycles")
    w.run("expire_contracts")
    rows = w.get(w.owner, "contracts").json["result"]
    assert [(c["status"], c["supersede_reason"]) for c in rows] == [("ACTIVE", "RENEWAL"), ("EXPIRED", None)]
    assert rows[0]["effective_from"] == (today + dt.timedelta(days=1)).isoformat()
    states = w.make.rows(
        "SELECT status, consumed_paise, period_start FROM assignment WHERE membership_id = :m ORDER BY id",
        m=learner.id,
    )
    assert [(s, c) for s, c, _ in states] == [("ROLLED", 0), ("ACTIVE", 0)]
    assert states[1][2] == today + dt.timedelta(days=1)
    assert "CONTRACT_AUTO_RENEWED" in w.audit() and "PROGRAM_ASSIGNMENT_ROLLED" in w.audit()
    assert w.book(learner).status_code == 201


@pytest.mark.scenario("M-32")
def test_without_renewal_the_term_ends_with_everything_under_it(sponsor):
    today = clock.today_ist()
    w = sponsor(
        contract={"effective_from": today - dt.timedelta(days=29), "effective_to": today, "auto_renew": False}
    )
    learner = w.learner()  # a place that outlasts the term
    w.run("expire_contracts"), w.run("expire_contracts")
    assert len(w.events("contract.expiring")) == 1
    w.later(days=1)
    for job in ("auto_renew_contracts", "advance_program_cycles", "expire_contracts", "expire_contracts"):
        w.run(job)
    assert w.get(w.owner, f"contracts/{w.contract.public_id}").json["status"] == "EXPIRED"
    row = w.make.rows(
        "SELECT status, close_reason, closed_at IS NOT NULL FROM assignment WHERE membership_id = :m",
        m=learner.id,
    )
    assert [tuple(r) for r in row] == [("CLOSED", "CONTRACT_INACTIVE", True)]
    assert w.make.one("SELECT status FROM program WHERE id = :p", p=w.program.id) == "EXPIRED"
    assert "ASSIGNMENT_CLOSED_BY_CONTRACT" in w.audit()
    assert w.book(learner).json["code"] == "PROGRAM_ASSIGNMENT_INACTIVE"
    mails = [m["subject"] for m in w.client.get(f"/api/test/outbox?to={w.billing.user.email}").json["mail"]]
    assert any("has expired" in s for s in mails) and any("ends on" in s for s in mails)


def test_terms_that_ended_while_nobody_ran_are_renewed_until_today(sponsor):
    today = clock.today_ist()
    w = sponsor(
        contract={
            "effective_from": today - dt.timedelta(days=100),
            "effective_to": today - dt.timedelta(days=71),
        }
    )
    w.run("auto_renew_contracts")
    rows = w.get(w.owner, "contracts").json["result"]
    assert [c["status"] for c in rows] == ["ACTIVE", "EXPIRED", "EXPIRED", "EXPIRED"]
    assert rows[0]["effective_to"] >= today.isoformat()


def test_a_suspended_organisation_waits(sponsor):
    today = clock.today_ist()
    w = sponsor(
        contract={"effective_to": today - dt.timedelta(days=1), "auto_renew": False},
        status=OrgStatus.SUSPENDED,
    )
    w.run("expire_contracts")
    assert w.make.one("SELECT status FROM contract WHERE id = :c", c=w.contract.id) == "ACTIVE"


def test_per_seat_bills_seats_and_their_days(sponsor):
    """1,000 a seat and month; two seats when it is billed, one more on the eleventh of thirty-one days: 21 of 31 days."""
    from app.services import subscriptions
    from app.services.subscriptions import Stay, added

    days = [dt.date(2026, 7, 1) + dt.timedelta(days=n) for n in range(31)]
    stays = [Stay(1, days[0], days[30]), Stay(2, days[0], days[30]), Stay(3, days[10], days[30])]
    assert added(stays, 2, days[0], days[30]) == [(days[10], 1)]
    # a seat that was freed and given to somebody else costs nothing again
    swapped = [Stay(1, days[0], days[4]), Stay(2, days[0], days[30]), Stay(3, days[10], days[30])]
    assert added(swapped, 2, days[0], days[30]) == []
    assert added(stays, 2, days[0], days[30], until=days[5]) == []
    today = clock.today_ist()
    w = sponsor(
        FundingSource.LICENSE,
        {"type": ProgramType.LICENSED_SEAT, "rate_per_seat_paise": 100_000},
        {
            "license_model": "PER_SEAT",
            "license_rate_per_seat_paise": 200_000,
            "license_cycle": "MONTHLY",
            "effective_from": today,
        },
    )
    w.learner(), w.learner()
    with w.make.acting(w.owner) as s:
        from app.models import Contract

        subscription = subscriptions.begin(s, s.get(Contract, w.contract.id))
        first = subscriptions.claim(s, subscription.id, today)
        assert (first.total_paise, first.lines[0].quantity) == (200_000, 2)
        assert subscriptions.claim(s, subscription.id, today) is None  # once
        s.commit()
    assert w.make.one("SELECT active_seat_count FROM program WHERE id = :p", p=w.program.id) == 2
    w.later(days=10)
    third = w.learner(assigned=False)
    w.post(w.owner, f"programs/{w.program.public_id}/assignments", {"membership_id": str(third.public_id)})
    end = subscription.current_cycle_end
    whole, left = (end - today).days + 1, (end - today).days + 1 - 10
    with w.make.acting(w.owner) as s:
        second = subscriptions.claim(s, subscription.id, end + dt.timedelta(days=1))
        assert [line.amount_paise for line in second.lines] == [100_000 * left // whole, 300_000]
        s.rollback()


def test_an_amended_licence_credits_the_days_that_were_paid(sponsor):
    from app.models import BillingSubscription, Contract
    from app.services import subscriptions, supersede

    today = clock.today_ist()
    w = sponsor(
        FundingSource.LICENSE,
        SEAT,
        {
            "license_model": "FLAT_FEE",
            "license_fee_paise": 3_100_000,
            "license_cycle": "MONTHLY",
            "effective_from": today - dt.timedelta(days=5),
        },
    )
    with w.make.acting(w.owner) as s:
        old = s.get(Contract, w.contract.id)
        row = subscriptions.begin(s, old)
        bill = subscriptions.claim(s, row.id, today)
        whole = (bill.period_end - bill.period_start).days + 1
        assert bill.total_paise == 3_100_000
        new = supersede.supersede(s, old, "AMENDMENT", {"license_fee_paise": 6_200_000})
        row = s.get(BillingSubscription, row.id, populate_existing=True)
        credit = 3_100_000 * (whole - 5) // whole
        assert (row.contract_id, row.credit_paise, row.next_invoice_date) == (new.id, credit, today)
        again = subscriptions.claim(s, row.id, today)
        assert again.total_paise == 6_200_000 - credit and again.lines[-1].amount_paise == -credit
        s.rollback()


@pytest.fixture
def seats(sponsor):
    """A licence by the seat, 2,000 each and month, two seats billed ten days ago and one more since yesterday."""
    from app.models import Contract
    from app.services import subscriptions

    today = clock.today_ist()
    w = sponsor(
        FundingSource.INVOICE,
        {"type": ProgramType.LICENSED_SEAT},
        {
            "license_model": "PER_SEAT",
            "license_rate_per_seat_paise": 200_000,
            "license_cycle": "MONTHLY",
            "effective_from": today - dt.timedelta(days=10),
            "effective_to": today + dt.timedelta(days=200),
        },
    )
    w.learner(), w.learner()
    with w.make.acting(w.owner) as s:
        row = subscriptions.begin(s, s.get(Contract, w.contract.id))
        assert subscriptions.claim(s, row.id, today - dt.timedelta(days=10)).total_paise == 400_000
        s.commit()
    w.learner()
    with w.make.session() as s:
        s.execute(
            text(
                "UPDATE assignment SET period_start = :d "
                "WHERE id = (SELECT max(id) FROM assignment WHERE program_id = :p)"
            ),
            {"d": today - dt.timedelta(days=1), "p": w.program.id},
        )
    w.subscription, w.whole = row.id, (row.current_cycle_end - row.current_cycle_start).days + 1
    return w


def amounts(bill):
    return [line.amount_paise for line in bill.lines]


def test_an_amendment_owes_the_seats_that_were_added_before_it(seats):
    """One day of the third seat at the old rate, then three at the new one, less the days of two that were paid."""
    from app.models import Contract
    from app.services import subscriptions, supersede

    today = clock.today_ist()
    with seats.make.acting(seats.owner) as s:
        old = s.get(Contract, seats.contract.id)
        supersede.supersede(s, old, "AMENDMENT", {"license_rate_per_seat_paise": 300_000})
        bill = subscriptions.claim(s, seats.subscription, today)
        credit = 400_000 * (seats.whole - 10) // seats.whole
        assert amounts(bill) == [200_000 // seats.whole, 900_000, -credit]
        assert subscriptions.claim(s, seats.subscription, today) is None
        s.rollback()


def test_an_amendment_without_a_licence_still_owes_added_seats(seats):
    from app.models import BillingSubscription, Contract
    from app.services import subscriptions, supersede

    today = clock.today_ist()
    with seats.make.acting(seats.owner) as s:
        old = s.get(Contract, seats.contract.id)
        none = dict.fromkeys(("license_model", "license_rate_per_seat_paise", "license_cycle"))
        supersede.supersede(s, old, "AMENDMENT", none)
        left = seats.whole - 9
        assert amounts(subscriptions.claim(s, seats.subscription, today)) == [200_000 * left // seats.whole]
        assert subscriptions.claim(s, seats.subscription, today) is None
        assert s.get(BillingSubscription, seats.subscription).next_invoice_date is None
        s.rollback()


@pytest.mark.parametrize("model", ["PER_SEAT", "FLAT_FEE", None])
def test_a_renewal_ahead_of_time_bills_the_rest_of_the_term_as_before(seats, model):
    """Renewed to a quarter's terms six months early: the added seat and the months until then at the old rate."""
    from app.models import BillingSubscription, Contract
    from app.services import subscriptions, supersede

    wanted = {
        "license_model": model,
        "license_cycle": "QUARTERLY" if model else None,
        "license_rate_per_seat_paise": 700_000 if model == "PER_SEAT" else None,
        "license_fee_paise": 5_000_000 if model == "FLAT_FEE" else None,
    }
    with seats.make.acting(seats.owner) as s:
        old = s.get(Contract, seats.contract.id)
        new = supersede.supersede(s, old, "RENEWAL", wanted)
        bills = []
        while (due := s.get(BillingSubscription, seats.subscription).next_invoice_date) and len(bills) < 12:
            bills.append(subscriptions.claim(s, seats.subscription, due))
        first = bills[0]
        assert amounts(first) == [200_000 * (seats.whole - 9) // seats.whole, 600_000]
        before = [b for b in bills if b.contract_id == old.id]
        assert len(before) >= 5 and all(amounts(b) == [600_000] for b in before[1:-1])
        assert before[-1].period_end == old.effective_to and 0 < before[-1].total_paise <= 600_000
        after = [b for b in bills if b.contract_id == new.id]
        if model is None:
            row = s.get(BillingSubscription, seats.subscription)
            assert [b.lines for b in after] == [()] and row.status == "ENDED"
        else:
            assert after[0].period_start == new.effective_from == old.effective_to + dt.timedelta(days=1)
            assert after[0].total_paise == (2_100_000 if model == "PER_SEAT" else 5_000_000)
            assert (after[0].period_end - after[0].period_start).days in range(88, 93)
        s.rollback()


def test_cycles_nobody_billed_are_owed_before_an_amendment(seats):
    """The job did not run for a month and more: that month is billed at the old rate, its unused days are credited."""
    from app.models import Contract
    from app.services import subscriptions, supersede

    seats.later(days=35)
    with seats.make.acting(seats.owner) as s:
        old = s.get(Contract, seats.contract.id)
        supersede.supersede(s, old, "AMENDMENT", {"license_rate_per_seat_paise": 300_000})
        bill = subscriptions.claim(s, seats.subscription, clock.today_ist())
        added, month, fresh, credit = amounts(bill)
        assert (added, month, fresh) == (200_000 * (seats.whole - 9) // seats.whole, 600_000, 900_000)
        assert -600_000 < credit < 0
        s.rollback()


def test_a_contracts_own_card_shares_its_bookings(sponsor):
    """Without a host the organisation's share goes to the expert; the card counts also after it was replaced."""
    from app.models import RateCard

    w = sponsor(account={"trusted_at": "2026-01-01"})
    card = w.make.add(
        RateCard(
            organization_id=w.org.id,
            platform_bps=1_500,
            org_bps=500,
            consultant_bps=8_000,
            effective_from=clock.now() - dt.timedelta(days=9),
            effective_to=clock.now() - dt.timedelta(days=1),
        )
    )
    learner = w.learner()
    assert w.earning(w.book(learner)) == (400_000, "PENDING")
    with w.make.session() as s:
        s.execute(
            text("UPDATE contract SET rate_card_id = :r WHERE id = :c"), {"r": card.id, "c": w.contract.id}
        )
    assert w.earning(w.book(learner)) == (425_000, "PENDING")
    assert w.get(w.owner, f"contracts/{w.contract.public_id}").json["rate_card_id"] == str(card.public_id)
