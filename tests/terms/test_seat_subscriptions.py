"""Subscriptions on licensed seats: each session counts when the expert plans it (chapter 2, 2.5 "Metering")."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import clock
from app.models import FundingSource, OverageBehavior, User
from app.security import context
from app.services import reconcile
from tests.booking.test_races import outcome, race

from .conftest import POOL, SEAT

ORG = {
    "overage_behavior": OverageBehavior.CHARGE_ORG,
    "overage_surcharge_bps": 1000,
    "max_overage_per_cycle_paise": 150_000,
}
MEMBER = {"overage_behavior": OverageBehavior.CHARGE_MEMBER, "max_overage_per_cycle_paise": 10_000_000}


@pytest.fixture
def findings(web_engine, app):
    """Kinds found in one organisation."""

    def run(world):
        with app.app_context(), Session(web_engine) as s:
            context.use(s, context.Ctx(scope="job"))
            report = reconcile.run(s, world.org.id)
            s.rollback()
        context.reset()
        return sorted({f["kind"] for f in report.findings})

    return run


def day(n):
    """The n-th hour to plan, far enough ahead to be called off with notice."""
    at = clock.now().replace(hour=9, minute=0, second=0, microsecond=0)
    return (at + dt.timedelta(days=7 + 7 * n)).isoformat()


def subscribe(w, learner, expert=None, price=400_000, sessions=4, **values):
    """(the plan, the answer of its checkout)."""
    plan = w.make.plan(
        expert or w.expert,
        price,
        type="SUBSCRIPTION",
        total_sessions=sessions,
        sessions_per_week=1,
        title="Four sessions",
        **values,
    )
    r = w.client.post(
        "/api/checkout",
        json={"plan_id": str(plan.public_id), "organization_id": w.org.slug},
        headers={**w.auth(learner), "Idempotency-Key": uuid.uuid4().hex},
    )
    return plan, r


def teacher(w, profile=None):
    """The person behind an expert's profile."""
    with w.make.session() as s:
        return s.get(User, (profile or w.expert).user_id)


def allot(w, r, n, expert=None, client=None):
    """The expert plans a session of the booking *r* answered."""
    return (client or w.client).post(
        f"/api/appointments/{r.json['id']}/sessions",
        json={"starts_at": day(n)},
        headers=w.auth(teacher(w, expert)),
    )


def paid(w, session):
    """(price, surcharge, by licence, by the member, total, method, the parent's public id) of a planned session."""
    return tuple(
        w.make.rows(
            "SELECT p.price_paise, p.surcharge_paise, p.license_paise, p.member_paise, p.amount_paise, p.method, "
            "b.public_id::text FROM payment p JOIN appointment a ON a.id = p.appointment_id "
            "JOIN payment b ON b.id = p.parent_payment_id WHERE a.public_id = :a",
            a=session.json["id"],
        )[0]
    )


def call_off(w, who, appointment):
    r = w.client.post(f"/api/appointments/{appointment}/cancel", json={}, headers=w.auth(who))
    assert r.status_code == 200, r.json


def test_nothing_counts_until_the_expert_plans_and_a_blocked_seat_refuses(sponsor, findings):
    w = sponsor(FundingSource.LICENSE, {**SEAT, "covered_engagements_per_cycle": 2})
    learner = w.learner()
    _, r = subscribe(w, learner)
    assert r.status_code == 201 and r.json["status"] == "CONFIRMED"
    assert (r.json["payment"]["amount_paise"], r.json["payment"]["method"]) == (0, "LICENSE")
    assert w.used(learner) == (0, 0, 0) and w.legs(f"booking:{r.json['payment']['id']}") == {}
    first, second = allot(w, r, 0), allot(w, r, 1)
    assert (first.status_code, second.status_code) == (201, 201), (first.json, second.json)
    assert w.used(learner) == (200_000, 2, 0)
    assert paid(w, first) == (100_000, 0, 100_000, 0, 0, "LICENSE", r.json["payment"]["id"])
    before = w.written()
    refused = allot(w, r, 2)
    assert (refused.status_code, refused.json["code"]) == (402, "PROGRAM_SESSION_CAP_REACHED")
    assert refused.json.get("details") in (None, {})  # the organisation's figures are none of the expert's
    assert w.written() == before and w.used(learner) == (200_000, 2, 0)
    assert findings(w) == []
    call_off(w, learner, first.json["id"])
    assert w.used(learner) == (100_000, 1, 0)
    assert allot(w, r, 2).status_code == 201
    assert w.used(learner) == (200_000, 2, 0) and findings(w) == []


def test_the_expert_reads_before_planning_that_the_seat_has_no_session_left(sponsor, findings):
    w = sponsor(FundingSource.LICENSE, {**SEAT, "covered_engagements_per_cycle": 1})
    learner = w.learner()
    _, r = subscribe(w, learner)
    path = f"/dashboard/appointments/{r.json['id']}/sessions"

    def page():
        w.make.sign_in(w.client, teacher(w))
        return w.client.get(path).get_data(as_text=True)

    assert "Pick a time" in page() and "No session can be planned now." not in page()
    first = allot(w, r, 0)
    before = w.written()
    shown = page()
    assert "no session left in this cycle" in shown and "Pick a time" not in shown
    assert "4,000" not in shown and "1,000" not in shown and w.program.name not in shown
    assert w.written() == before and findings(w) == []
    call_off(w, learner, first.json["id"])
    assert "Pick a time" in page()
    with w.make.session() as s:
        s.execute(
            text("UPDATE billing_account SET dunning_suspended_at = now() WHERE organization_id = :o"),
            {"o": w.org.id},
        )
    shown = page()
    assert "does not pay for another session at present" in shown and "dunning" not in shown.lower()


def test_a_seat_without_a_session_left_takes_no_subscription(sponsor):
    w = sponsor(FundingSource.LICENSE, {**SEAT, "covered_engagements_per_cycle": 1})
    learner = w.learner()
    w.use(learner, engagements=1)
    before = w.written()
    _, r = subscribe(w, learner)
    assert (r.status_code, r.json["code"]) == (402, "PROGRAM_SESSION_CAP_REACHED")
    assert w.written() == before


def test_the_last_session_takes_the_rest_of_the_price(sponsor, findings):
    w = sponsor(FundingSource.LICENSE, SEAT)
    learner = w.learner()
    _, r = subscribe(w, learner, price=100_001, sessions=3)
    planned = [allot(w, r, n) for n in range(3)]
    assert [paid(w, p)[0] for p in planned] == [33_333, 33_333, 33_335]
    call_off(w, learner, planned[0].json["id"])
    assert paid(w, allot(w, r, 3))[0] == 33_333  # again 100,001 in all
    assert w.used(learner) == (100_001, 3, 0) and findings(w) == []


def test_beyond_the_cap_the_organisation_owes_each_session(sponsor, findings):
    w = sponsor(
        program={**SEAT, **ORG, "covered_engagements_per_cycle": 1}, account={"trusted_at": "2026-01-01"}
    )
    learner = w.learner()
    _, r = subscribe(w, learner)
    allot(w, r, 0)
    over = allot(w, r, 1)
    assert over.status_code == 201, over.json
    assert paid(w, over) == (100_000, 10_000, 0, 0, 110_000, "LICENSE", r.json["payment"]["id"])
    assert w.owes("ORG_RECEIVABLE", f"org:{w.org.id}") == 110_000
    assert w.used(learner) == (100_000, 1, 110_000)
    before = w.written()
    refused = allot(w, r, 2)  # the ceiling is 150,000
    assert (refused.status_code, refused.json["code"]) == (402, "PROGRAM_CAP_EXHAUSTED")
    assert w.written() == before
    blocked = w.make.rows(
        "SELECT user_id, marginal_paise FROM overage_event WHERE organization_id = :o AND charge_status = 'BLOCKED'",
        o=w.org.id,
    )
    assert [tuple(b) for b in blocked] == [(learner.user_id, 110_000)]
    assert findings(w) == []
    call_off(w, learner, r.json["id"])  # the whole subscription: its planned sessions go with it
    assert w.used(learner) == (0, 0, 0)
    assert w.owes("ORG_RECEIVABLE", f"org:{w.org.id}") == 0 and findings(w) == []


def test_beyond_the_cap_a_member_gets_a_payment_of_their_own(sponsor, till, findings):
    w = sponsor(FundingSource.LICENSE, {**SEAT, **MEMBER, "covered_engagements_per_cycle": 1})
    learner = w.learner()
    _, r = subscribe(w, learner, tax_bps=1800)
    allot(w, r, 0)
    over, later = allot(w, r, 1), allot(w, r, 2)
    assert paid(w, over)[3:6] == (100_000, 0, "LICENSE")
    side = w.make.rows(
        "SELECT s.public_id::text, s.amount_paise, s.status FROM payment s JOIN payment p ON p.id = s.parent_payment_id "
        "JOIN appointment a ON a.id = p.appointment_id WHERE a.public_id = :a",
        a=over.json["id"],
    )
    assert [tuple(s)[1:] for s in side] == [(118_000, "PENDING")]
    told = w.make.one(
        "SELECT body FROM notification WHERE user_id = :u AND kind = 'booking.allocated' ORDER BY id DESC LIMIT 1",
        u=learner.user_id,
    )
    assert "₹1,180" in told and "yours to pay" in told
    page = w.client.post(f"/api/payments/{side[0][0]}/pay", headers=w.auth(learner))
    assert page.status_code == 200, page.json
    till(w).settle({"payment": page.json["payment"]})
    status = "SELECT e.status FROM consultant_earnings e JOIN payment p ON p.id = e.payment_id JOIN appointment a ON a.id = p.appointment_id WHERE a.public_id = :a"
    assert w.make.one(status, a=over.json["id"]) == "PENDING"
    assert w.make.one(status, a=later.json["id"]) == "HELD"
    call_off(w, learner, later.json["id"])
    assert w.owes("MEMBER_RECEIVABLE", f"user:{learner.user_id}") == 0
    assert w.used(learner) == (100_000, 1, 100_000) and findings(w) == []


def test_of_two_experts_who_plan_at_once_one_gets_the_last_session(sponsor, findings):
    w = sponsor(FundingSource.LICENSE, {**SEAT, "covered_engagements_per_cycle": 12})
    learner, other = w.learner(), w.make.expert()
    w.use(learner, engagements=11)
    (_, a), (_, b) = subscribe(w, learner), subscribe(w, learner, other)
    w.auth(teacher(w)), w.auth(teacher(w, other))
    answers = race(
        w,
        lambda c: allot(w, a, 0, client=c),
        lambda c: allot(w, b, 1, expert=other, client=c),
    )
    assert outcome(answers) == [(201, None), (402, "PROGRAM_SESSION_CAP_REACHED")]
    assert w.used(learner)[1] == 12 and findings(w) == []


def test_a_session_called_off_too_late_stays_used(sponsor, findings):
    w = sponsor(FundingSource.LICENSE, {**SEAT, "covered_engagements_per_cycle": 2})
    learner = w.learner()
    _, r = subscribe(w, learner)
    session = allot(w, r, 0)
    with w.make.session() as s:
        s.execute(
            text(
                "UPDATE appointment SET cancellation_policy = "
                '\'{"tiers": [{"hours": 0, "refund_bps": 0}]}\' WHERE public_id = :a'
            ),
            {"a": session.json["id"]},
        )
    call_off(w, learner, session.json["id"])
    assert w.used(learner) == (100_000, 1, 0) and findings(w) == []


def test_a_member_who_may_not_spend_gets_no_session(sponsor):
    w = sponsor(FundingSource.LICENSE, SEAT)
    learner = w.learner()
    _, r = subscribe(w, learner)
    with w.make.session() as s:
        s.execute(text("UPDATE membership SET status = 'SUSPENDED' WHERE id = :m"), {"m": learner.id})
    before = w.written()
    refused = allot(w, r, 0)
    assert (refused.status_code, refused.json["code"]) == (403, "MEMBERSHIP_SUSPENDED")
    assert w.written() == before


def test_a_pool_pays_a_subscription_whole_at_checkout(sponsor, findings):
    w = sponsor(program=POOL, account={"trusted_at": "2026-01-01"})
    learner = w.learner()
    _, r = subscribe(w, learner)
    assert w.used(learner) == (400_000, 1, 0)
    assert allot(w, r, 0).status_code == 201
    assert w.used(learner) == (400_000, 1, 0) and findings(w) == []


def test_the_preview_meters_sessions(sponsor):
    w = sponsor(program={**SEAT, **ORG, "covered_engagements_per_cycle": 1})
    learner = w.learner()
    plan, _ = subscribe(w, learner)
    one = w.preview(learner, plan_id=str(plan.public_id)).json
    assert (one["covered_paise"], one["marginal_paise"]) == (100_000, 0)
    two = w.preview(learner, plan_id=str(plan.public_id), engagements=2).json
    assert (two["covered_paise"], two["base_paise"], two["surcharge_paise"]) == (100_000, 100_000, 10_000)
