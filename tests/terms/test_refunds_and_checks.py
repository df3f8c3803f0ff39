"""What refunds give back of programs and overage, and the reconciler's checks of usage (chapter 2, 2.8, "Integrity")."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.models import FundingSource, OverageBehavior
from app.security import context
from app.services import reconcile
from tests.booking.conftest import slot

from .conftest import POOL, SEAT

ORG = {
    "overage_behavior": OverageBehavior.CHARGE_ORG,
    "overage_surcharge_bps": 1000,
    "max_overage_per_cycle_paise": 10_000_000,
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


def cancel(w, who, answer):
    r = w.client.post(f"/api/appointments/{answer.json['id']}/cancel", json={}, headers=w.auth(who))
    assert r.status_code == 200, r.json
    return r


def test_a_licensed_session_that_is_cancelled_frees_its_engagement(sponsor, findings):
    w = sponsor(FundingSource.LICENSE, {**SEAT, "covered_engagements_per_cycle": 1})
    learner = w.learner()
    r = w.book(learner, slot(5))
    assert w.used(learner) == (500_000, 1, 0)
    assert w.book(learner, slot(6)).json["code"] == "PROGRAM_SESSION_CAP_REACHED"
    cancel(w, learner, r)
    assert w.used(learner) == (0, 0, 0)
    assert w.book(learner, slot(6)).status_code == 201
    assert findings(w) == []


def test_overage_on_invoice_is_reversed_with_its_booking(sponsor, findings):
    w = sponsor(program={**POOL, **ORG, "credits_per_cycle": 1000}, account={"trusted_at": "2026-01-01"})
    learner = w.learner()
    r = w.book(learner, slot(5))
    assert w.owes("ORG_RECEIVABLE", f"org:{w.org.id}") == 540_000
    cancel(w, learner, r)
    assert w.overage(r)[1] == "REVERSED"
    assert w.owes("ORG_RECEIVABLE", f"org:{w.org.id}") == 0
    assert w.used(learner) == (0, 0, 0)
    assert findings(w) == []


@pytest.mark.scenario("M-27")
def test_a_members_overage_ends_with_its_booking(sponsor, till, findings):
    w = sponsor(FundingSource.LICENSE, {**SEAT, **MEMBER, "covered_engagements_per_cycle": 1}, price=400_000)
    learner = w.learner()
    assert w.book(learner, slot(5)).status_code == 201
    unpaid, paid = w.book(learner, slot(5)), w.book(learner, slot(5))
    url = paid.json["overage"]["pay_url"]
    pay = w.client.post(url, headers=w.auth(learner)).json["payment"]
    box = till(w)
    box.settle({"payment": pay})
    cancel(w, learner, unpaid)
    assert w.overage(unpaid)[1] == "REVERSED"
    dead = w.client.post(unpaid.json["overage"]["pay_url"], headers=w.auth(learner))
    assert (dead.status_code, dead.json["code"]) == (409, "IDEMPOTENT_REPLAY_TERMINAL")
    cancel(w, learner, paid)
    w.client.get("/api/test/outbox")  # deliver: the side payment's refund, then the provider's
    w.client.get("/api/test/outbox")
    refunded = w.make.one(
        "SELECT r.amount_paise FROM refund r JOIN payment p ON p.id = r.payment_id WHERE p.public_id = :p AND r.cascaded_at IS NOT NULL",
        p=paid.json["overage"]["payment_id"],
    )
    assert refunded == 400_000
    assert w.owes("MEMBER_RECEIVABLE", f"user:{learner.user_id}") == 0
    assert w.used(learner)[2] == 0 and findings(w) == []


def test_half_a_refund_halves_what_the_member_owes(sponsor, findings):
    w = sponsor(FundingSource.LICENSE, {**SEAT, **MEMBER, "covered_engagements_per_cycle": 1}, price=400_000)
    learner = w.learner()
    w.book(learner, slot(5))
    r = w.book(learner, slot(5))
    with w.make.session() as s:  # the learner cancels with little notice: half comes back
        s.execute(
            text(
                'UPDATE appointment SET cancellation_policy = \'{"tiers": [{"hours": 0, "refund_bps": 5000}]}\' WHERE public_id = :a'
            ),
            {"a": r.json["id"]},
        )
    cancel(w, learner, r)
    assert w.overage(r)[1] == "PENDING"
    assert w.owes("MEMBER_RECEIVABLE", f"user:{learner.user_id}") == 200_000
    pay = w.client.post(r.json["overage"]["pay_url"], headers=w.auth(learner)).json["payment"]
    assert pay["amount_paise"] == 200_000
    assert findings(w) == []


def test_the_checks_find_what_was_skewed(sponsor, findings):
    w = sponsor(program={**POOL, **ORG, "credits_per_cycle": 1000}, account={"trusted_at": "2026-01-01"})
    learner = w.learner()
    w.book(learner)
    assert findings(w) == []
    with w.make.session() as s:
        s.execute(
            text("UPDATE assignment SET overage_paise = overage_paise + 1 WHERE membership_id = :m"),
            {"m": learner.id},
        )
        s.execute(text("UPDATE program SET active_seat_count = 5 WHERE id = :p"), {"p": w.program.id})
        s.execute(
            text("UPDATE overage_event SET charge_status = 'ACCRUED' WHERE organization_id = :o"),
            {"o": w.org.id},
        )
    assert findings(w) == ["ACTIVE_SEAT_COUNT_DRIFT", "OVERAGE_CHARGESTATUS_INTEGRITY", "OVERAGE_COUNT_DRIFT"]


def test_half_a_refund_halves_a_written_off_debt_too(sponsor, till, findings):
    w = sponsor(FundingSource.LICENSE, {**SEAT, **MEMBER, "covered_engagements_per_cycle": 1}, price=400_000)
    learner = w.learner()
    w.use(learner, engagements=1)
    r = w.book(learner, slot(20))
    with w.make.session() as s:
        s.execute(
            text(
                'UPDATE appointment SET cancellation_policy = \'{"tiers": [{"hours": 0, "refund_bps": 5000}]}\' WHERE public_id = :a'
            ),
            {"a": r.json["id"]},
        )
    w.later(days=14, minutes=1)
    w.run("timeout_overages")
    w.headers.clear()
    cancel(w, learner, r)
    assert (w.overage(r)[1], w.bad_debt()) == ("FAILED", 200_000)
    pay = w.client.post(r.json["overage"]["pay_url"], headers=w.auth(learner)).json["payment"]
    assert pay["amount_paise"] == 200_000
    till(w).settle({"payment": pay})
    assert (w.overage(r)[1], w.bad_debt()) == ("CHARGED", 0)
    assert w.owes("MEMBER_RECEIVABLE", f"user:{learner.user_id}") == 0
    assert findings(w) == []
