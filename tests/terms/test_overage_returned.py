"""What a member paid beyond their program goes back without the booking: by hand at the provider, by ADMIN, by their bank
(chapter 2, 2.2 OVERAGE_WRITE_OFF, 2.8)."""

from __future__ import annotations

import uuid

import pytest

from app.gateways import provider
from app.models import FundingSource, OverageBehavior, PlatformRole
from tests.booking.conftest import slot

from .conftest import SEAT
from .test_refunds_and_checks import cancel
from .test_refunds_and_checks import findings as findings

MEMBER = {"overage_behavior": OverageBehavior.CHARGE_MEMBER, "max_overage_per_cycle_paise": 10_000_000}


@pytest.fixture
def paid(sponsor, till):
    """A member who paid ₹4,000 beyond their program: (world, till, learner, booking, side payment's id, provider's)."""
    w = sponsor(FundingSource.LICENSE, {**SEAT, **MEMBER, "covered_engagements_per_cycle": 1}, price=400_000)
    learner = w.learner()
    w.use(learner, engagements=1)
    booking = w.book(learner, slot(20))
    box = till(w)
    box.settle(
        {
            "payment": w.client.post(booking.json["overage"]["pay_url"], headers=w.auth(learner)).json[
                "payment"
            ]
        }
    )
    side = booking.json["overage"]["payment_id"]
    theirs = w.make.one("SELECT provider_payment_id FROM payment WHERE public_id = :p", p=side)
    assert w.overage(booking)[1] == "CHARGED"
    return w, box, learner, booking, side, theirs


def by_hand(box, theirs, paise):
    box.act()
    provider.refund(box.session, payment_id=theirs, amount_paise=paise, key=uuid.uuid4().hex)
    box.session.commit()
    box.webhooks()


def lose(w, box, theirs, **options):
    box.act()
    dispute = provider.open_dispute(box.session, theirs, **options).dispute_id
    box.session.commit()
    box.webhooks()
    box.act()
    provider.settle_dispute(box.session, dispute, "lost")
    box.session.commit()
    box.webhooks()
    return w.make.rows("SELECT * FROM dispute WHERE provider_dispute_id = :d", d=dispute)[0]


def deliver(w):
    for _ in range(2):  # the side payment's refund, then the provider's
        w.client.get("/api/test/outbox")


def owed(w, learner):
    return w.owes("MEMBER_RECEIVABLE", f"user:{learner.user_id}")


def test_a_refund_by_hand_is_the_platforms_loss_and_the_member_is_not_asked_again(paid, findings):
    w, box, learner, booking, _, theirs = paid
    by_hand(box, theirs, 150_000)
    assert (owed(w, learner), w.bad_debt()) == (0, 150_000)
    by_hand(box, theirs, 250_000)
    assert (owed(w, learner), w.bad_debt()) == (0, 400_000)
    assert w.overage(booking)[1] == "CHARGED" and findings(w) == []
    assert w.audit().count("OVERAGE_RETURNED") == 2
    assert w.book(learner, slot(25)).status_code == 201  # and may book on


def test_the_booking_refunded_after_a_refund_by_hand_takes_the_loss_back(paid, findings):
    w, box, learner, booking, side, theirs = paid
    by_hand(box, theirs, 150_000)
    cancel(w, learner, booking)
    deliver(w)
    assert (owed(w, learner), w.bad_debt()) == (0, 0)
    given = w.make.one(
        "SELECT sum(r.amount_paise) FROM refund r JOIN payment p ON p.id = r.payment_id "
        "WHERE p.public_id = :p AND r.status = 'SUCCEEDED'",
        p=side,
    )
    assert given == 400_000 and findings(w) == []


def test_a_lost_dispute_about_an_overage_is_the_platforms_loss(paid, findings):
    w, box, learner, booking, _, theirs = paid
    dispute = lose(w, box, theirs, amount_paise=300_000)
    assert (dispute.subject, dispute.posted_paise) == ("booking", 300_000)
    assert (owed(w, learner), w.bad_debt()) == (0, 300_000)
    box.webhooks()
    assert w.bad_debt() == 300_000 and findings(w) == []
    cancel(w, learner, booking)
    deliver(w)
    assert (owed(w, learner), w.bad_debt()) == (0, 0) and findings(w) == []


def test_administrators_refund_an_overage_alone(paid, findings):
    w, box, learner, booking, side, _ = paid
    admin = w.make.user(platform_role=PlatformRole.ADMIN)
    made = w.client.post(
        f"/api/payments/{side}/refunds",
        json={"amount_paise": 100_000, "reason": "For the trouble"},
        headers={**w.auth(admin), "Idempotency-Key": uuid.uuid4().hex},
    )
    assert made.status_code == 201, made.json
    deliver(w)
    assert (owed(w, learner), w.bad_debt()) == (0, 100_000) and findings(w) == []
    cancel(w, learner, booking)
    deliver(w)
    box.webhooks()
    assert (owed(w, learner), w.bad_debt()) == (0, 0) and findings(w) == []


def test_a_debt_that_nothing_stands_for_is_found(paid, findings):
    w, _, learner, _, _, _ = paid
    from app.services import ledger

    with w.make.acting(w.owner) as s:
        ledger.post(
            s,
            f"overage-returned:nobody:{learner.user_id}",
            "OVERAGE_WRITE_OFF",
            [
                ledger.debit(f"MEMBER_RECEIVABLE|user:{learner.user_id}|INR", 5),
                ledger.credit("BAD_DEBT|platform|INR", 5),
            ],
            organization_id=w.org.id,
        )
        s.commit()
    assert findings(w) == ["MEMBER_RECEIVABLE_DRIFT"]
