"""Refunds in two phases and cancellations by the frozen policy (chapter 2, 2.8)."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from app import clock
from app.models import FundingSource, PlatformRole, SandboxRefund, User
from app.services import refunds
from tests.factories import unique

from .conftest import slot
from .test_cards import till as till
from .test_races import outcome, race

DAY = 24 * 3600


@pytest.fixture
def admin(world):
    return world.make.user(platform_role=PlatformRole.ADMIN)


def ask(world, who, payment, amount=None, *, key="k", client=None, **extra):
    body = {"reason": "The session did not happen", **extra}
    if amount is not None:
        body["amount_paise"] = amount
    return (client or world.client).post(
        f"/api/payments/{payment}/refunds", json=body, headers={**world.auth(who), "Idempotency-Key": key}
    )


def send(till, refund_id):
    till.act()
    return refunds.send(till.session, refund_id, till.settings)


def paid_by_card(world, till, price=500_000, tax_bps=1800):
    person = world.make.user()
    body = world.book(
        person, plan=world.make.plan(world.make.expert(), price, tax_bps=tax_bps), org=None
    ).json
    till.settle(body)
    return person, body["payment"]["id"], body["id"]


def rows(world, payment):
    return world.make.rows(
        "SELECT r.status, r.amount_paise, r.public_id FROM refund r JOIN payment p ON p.id = r.payment_id "
        "WHERE p.public_id = :p ORDER BY r.id",
        p=payment,
    )


def earning(world, payment):
    return world.make.rows(
        "SELECT e.refunded_paise, e.status FROM consultant_earnings e JOIN payment p ON p.id = e.payment_id "
        "WHERE p.public_id = :p",
        p=payment,
    )[0]


@pytest.mark.scenario("M-38")
def test_half_of_a_card_payment_then_too_much_then_a_rejected_one(world, till, admin):
    _, payment, _ = paid_by_card(world, till)
    made = ask(world, admin, payment, 295_000)
    assert made.status_code == 201 and made.json["refund"]["status"] == "PENDING"
    assert made.json["refund"]["gateway_paise"] == 295_000
    ((_, _, first),) = rows(world, payment)
    assert till.legs(f"refund:{first}") == []  # nothing moves before the provider has moved it
    assert send(till, first) == "SUCCEEDED"
    assert till.legs(f"refund:{first}") == [
        ("CASH", "C", 295_000),
        ("CONSULTANT_PAYABLE", "D", 200_000),
        ("GST_PAYABLE", "D", 45_000),
        ("PLATFORM_FEE", "D", 50_000),
    ]
    assert tuple(earning(world, payment)) == (200_000, "PENDING")
    over = ask(world, admin, payment, 295_001, key="over")
    assert (over.status_code, over.json["code"]) == (409, "REFUND_EXCEEDS_BALANCE")
    assert over.json["details"] == {"refundable_paise": 295_000}
    ask(world, admin, payment, 295_000, key="rest")
    second = rows(world, payment)[1][2]
    blocked = ask(world, admin, payment, 1, key="more")
    assert blocked.json["code"] == "REFUND_EXCEEDS_BALANCE"  # a pending one counts
    reject(till, second, payment)
    assert send(till, second) == "FAILED"
    listed = world.client.get(f"/api/payments/{payment}/refunds", headers=world.auth(admin)).json
    assert listed["refundable_paise"] == 295_000
    assert [r["status"] for r in listed["refunds"]] == ["FAILED", "SUCCEEDED"]
    bells = world.make.one("SELECT count(*) FROM notification WHERE kind = 'refund.failed'")
    send(till, second)
    assert bells and world.make.one("SELECT count(*) FROM notification WHERE kind = 'refund.failed'") == bells


def reject(till, refund_id, payment):
    """The provider turns a refund down: what it answers to its key is a failed refund."""
    provider_payment = till.world.make.one(
        "SELECT provider_payment_id FROM payment WHERE public_id = :p", p=payment
    )
    till.act()
    till.session.add(
        SandboxRefund(
            refund_id=unique("rfnd"),
            idempotency_key=f"refund-{refund_id}",
            payment_id=provider_payment,
            amount_paise=295_000,
            status="failed",
            created_at=clock.now(),
        )
    )
    till.session.commit()


def test_a_wallet_booking_is_refunded_at_once_and_gives_its_credits_back(world, till, admin):
    learner = world.learner()
    plan = world.make.plan(world.make.expert(), 500_000, tax_bps=1800)
    payment = world.book(learner, plan=plan).json["payment"]["id"]
    balance = world.make.balance(world.org)
    r = ask(world, admin, payment, 100_001)
    assert r.status_code == 201 and r.json["refund"]["status"] == "SUCCEEDED"
    assert world.make.balance(world.org) == balance + 100_001
    assert ask(world, admin, payment, 100_001).status_code == 200  # the same key
    assert len(rows(world, payment)) == 1
    assert ask(world, admin, payment, key="rest").status_code == 201
    assert world.make.balance(world.org) == balance + 590_000
    assert tuple(earning(world, payment)) == (400_000, "REFUNDED")
    for kind, back in (("CONSULTANT_PAYABLE", 400_000), ("GST_PAYABLE", 90_000), ("PLATFORM_FEE", 100_000)):
        moved = sum(
            p for _, _, ref in rows(world, payment) for k, side, p in till.legs(f"refund:{ref}") if k == kind
        )
        assert moved == back  # any number of partial refunds ends where one would
    used = world.make.rows(
        "SELECT consumed_paise, engagements_used FROM assignment WHERE membership_id = :m", m=learner.id
    )
    assert used == [(0, 0)]
    done = ask(world, admin, payment, key="again")
    assert (done.status_code, done.json["code"]) == (409, "REFUND_EXCEEDS_BALANCE")
    audit = world.make.one(
        "SELECT count(*) FROM org_audit_log WHERE organization_id = :o AND action = 'WALLET_REFUND'",
        o=world.org.id,
    )
    assert audit == 2


@pytest.mark.scenario("M-39")
def test_what_was_paid_out_is_only_taken_back_by_force(world, till, admin):
    payment = world.book(world.learner()).json["payment"]["id"]
    with world.make.session() as s:
        s.execute(
            text(
                "UPDATE consultant_earnings SET status = 'PAID' WHERE payment_id = "
                "(SELECT id FROM payment WHERE public_id = :p)"
            ),
            {"p": payment},
        )
    r = ask(world, admin, payment)
    assert (r.status_code, r.json["code"]) == (409, "EARNINGS_PAID_OUT") and rows(world, payment) == []
    assert ask(world, admin, payment, key="force", force=True).status_code == 201
    ((_, _, ref),) = rows(world, payment)
    assert ("CONSULTANT_RECEIVABLE", "D", 400_000) in till.legs(f"refund:{ref}")


def test_a_pending_payment_and_an_old_card_are_not_refunded(world, till, admin):
    held = world.book(world.make.user(), org=None).json["payment"]["id"]
    assert ask(world, admin, held).json["code"] == "PAYMENT_NOT_REFUNDABLE"
    _, payment, _ = paid_by_card(world, till)
    till.later(181 * DAY)
    fresh = world.make.user(platform_role=PlatformRole.ADMIN)
    assert ask(world, fresh, payment, key="late").json["code"] == "REFUND_WINDOW_CLOSED"
    assert rows(world, held) == rows(world, payment) == []


def test_only_admin_refunds(world, till):
    person, payment, _ = paid_by_card(world, till)
    staff = world.make.user(platform_role=PlatformRole.STAFF)
    for who in (person, staff, world.make.member(world.org, "OWNER")):
        r = ask(world, who, payment)
        assert (r.status_code, r.json["code"]) == (403, "INSUFFICIENT_ROLE")
    assert rows(world, payment) == []


@pytest.mark.parametrize(
    "body", [{"reason": ""}, {}, {"reason": "x", "amount_paise": 0}, {"reason": "x", "amount_paise": "5"}]
)
def test_bad_requests_change_nothing(world, till, admin, body):
    _, payment, _ = paid_by_card(world, till)
    r = world.client.post(
        f"/api/payments/{payment}/refunds", json=body, headers={**world.auth(admin), "Idempotency-Key": "k"}
    )
    assert (r.status_code, r.json["code"]) == (400, "VALIDATION_FAILED") and rows(world, payment) == []


def test_two_refunds_at_once_never_exceed_the_payment(world, till, admin):
    payment = world.book(world.learner()).json["payment"]["id"]
    world.auth(admin)
    answers = race(
        world,
        lambda c: ask(world, admin, payment, 300_000, key="a", client=c),
        lambda c: ask(world, admin, payment, 300_000, key="b", client=c),
    )
    assert outcome(answers) == [(201, None), (409, "REFUND_EXCEEDS_BALANCE")]
    assert [tuple(r)[:2] for r in rows(world, payment)] == [("SUCCEEDED", 300_000)]


def test_a_crash_before_the_spread_is_finished_by_the_job(world, till, admin):
    _, payment, _ = paid_by_card(world, till)
    ask(world, admin, payment, 590_000)
    ((_, _, ref),) = rows(world, payment)
    world.client.post("/api/test/fault", json={"point": "refund_succeeded"})
    till.act()
    with pytest.raises(RuntimeError):
        refunds.send(till.session, ref, till.settings)
    till.session.rollback()
    assert till.legs(f"refund:{ref}") == []
    till.later(3700)
    till.act()
    assert refunds.sweep(till.session, till.settings)["settled"] >= 1
    till.act()
    refunds.sweep(till.session, till.settings)
    assert ("CASH", "C", 590_000) in till.legs(f"refund:{ref}")
    sent = world.make.one("SELECT count(*) FROM sandbox_refund WHERE idempotency_key = :k", k=f"refund-{ref}")
    assert sent == 1


def cancel(world, who, appointment, **body):
    return world.client.post(f"/api/appointments/{appointment}/cancel", json=body, headers=world.auth(who))


@pytest.mark.parametrize(("before", "bps"), [(25, 10_000), (23, 5_000), (1, 0)])
def test_the_learner_gets_back_what_the_notice_earns(world, till, before, bps):
    learner, at = world.learner(), slot()
    body = world.book(learner, at).json
    balance = world.make.balance(world.org)
    till.later(int((at - clock.now()).total_seconds()) - before * 3600)
    fresh = world.make.bearer(learner)
    seen = world.client.get(f"/api/appointments/{body['id']}/cancel", headers=fresh).json
    back = 500_000 * bps // 10_000
    assert (seen["possible"], seen["by"], seen["refund_bps"], seen["refund_paise"]) == (
        True,
        "LEARNER",
        bps,
        back,
    )
    r = world.client.post(f"/api/appointments/{body['id']}/cancel", json={"reason": "Ill"}, headers=fresh)
    assert r.status_code == 200 and r.json["status"] == "CANCELLED"
    assert (r.json["refund"] or {}).get("amount_paise", 0) == back
    assert world.make.balance(world.org) == balance + back and till.claims(body) == 0
    twice = world.client.post(f"/api/appointments/{body['id']}/cancel", json={}, headers=fresh)
    assert (twice.status_code, twice.json["code"]) == (409, "ILLEGAL_TRANSITION")
    assert world.make.balance(world.org) == balance + back


def test_the_expert_gives_everything_back_and_both_are_told(world, till):
    learner, at = world.learner(), slot()
    body = world.book(learner, at).json
    balance = world.make.balance(world.org)
    till.later(int((at - clock.now()).total_seconds()) - 600)
    expert = world.make.one("SELECT user_id FROM consultant_profile WHERE id = :i", i=world.expert.id)
    with world.make.session() as s:
        person = s.get(User, expert)
    r = world.client.post(
        f"/api/appointments/{body['id']}/cancel",
        json={"reason": "A train"},
        headers=world.make.bearer(person),
    )
    assert r.status_code == 200, r.json
    assert world.make.balance(world.org) == balance + 500_000
    told = world.make.one(
        "SELECT count(*) FROM outbox_message WHERE dedupe_key LIKE :k", k=f"cancelled:{body['id']}:%"
    )
    assert told == 2
    logged = world.make.rows(
        "SELECT actor_type, actor_user_id FROM org_audit_log WHERE organization_id = :o "
        "AND action = 'APPOINTMENT_CANCELLED_FOR_ORG'",
        o=world.org.id,
    )
    assert logged == [("MEMBER", expert)]


def test_a_hold_is_dropped_without_a_refund(world, till):
    person = world.make.user()
    body = world.book(person, org=None).json
    r = cancel(world, person, body["id"])
    assert r.status_code == 200 and r.json == {"status": "CANCELLED", "refund": None}
    assert till.state(body) == ("EXPIRED", "CANCELLED", False) and till.claims(body) == 0


def test_a_cancelled_slot_is_free_again(world):
    a, b, at = world.learner(), world.learner(), slot()
    body = world.book(a, at).json
    assert world.book(b, at).json["code"] == "SLOT_TAKEN"
    assert cancel(world, a, body["id"]).status_code == 200
    assert world.book(b, at).status_code == 201


def test_cancelling_twice_at_once_refunds_once(world):
    learner = world.learner()
    body = world.book(learner).json
    balance = world.make.balance(world.org)
    auth = world.auth(learner)
    path = f"/api/appointments/{body['id']}/cancel"
    answers = race(world, *([lambda c: c.post(path, json={}, headers=auth)] * 2))
    assert outcome(answers) == [(200, None), (409, "ILLEGAL_TRANSITION")]
    assert world.make.balance(world.org) == balance + 500_000


def test_the_spend_limit_counts_what_was_kept(world, admin):
    learner = world.learner(spend_limit_paise=500_000)
    first = world.book(learner).json
    assert world.book(learner).json["code"] == "MEMBER_SPEND_LIMIT_EXCEEDED"
    assert ask(world, admin, first["payment"]["id"]).status_code == 201
    assert world.book(learner).status_code == 201


def test_a_reimbursed_card_booking_goes_back_to_the_card(world, till, admin):
    org = world.make.org(funding=FundingSource.PERSONAL)
    member = world.make.member(org, "LEARNER")
    body = world.book(member, org=org.public_id).json
    till.settle(body)
    r = cancel(world, member, body["id"], reason="Ill")
    assert r.json["refund"]["status"] == "PENDING"
    owner = world.auth(world.make.member(org, "OWNER"))
    open_ = world.client.get(
        f"/api/organizations/{org.slug}/members/{member.public_id}/obligations", headers=owner
    )
    assert open_.json["obligations"]["pending_refunds"] == 1
    assert send(till, rows(world, body["payment"]["id"])[0][2]) == "SUCCEEDED"


def test_a_preview_shows_every_source_and_share_and_writes_nothing(world, till, admin, app):
    _, payment, _ = paid_by_card(world, till)
    staff = world.make.user(platform_role=PlatformRole.STAFF)
    path = f"/api/payments/{payment}/refunds/preview"
    seen = world.client.get(f"{path}?amount_paise=295000", headers=world.auth(staff)).json
    assert (seen["refundable_paise"], seen["gateway_paise"], seen["refused"]) == (590_000, 295_000, None)
    assert seen["sources"] == [{"source": "CARD", "paise": 295_000}]
    assert sorted((s["account"].split("|")[0], s["paise"]) for s in seen["shares"]) == [
        ("CONSULTANT_PAYABLE", 200_000),
        ("GST_PAYABLE", 45_000),
        ("PLATFORM_FEE", 50_000),
    ]
    assert rows(world, payment) == []
    over = world.client.get(f"{path}?amount_paise=590001", headers=world.auth(staff))
    assert (over.status_code, over.json["code"]) == (409, "REFUND_EXCEEDS_BALANCE")
    assert world.client.get(path, headers=world.auth(world.learner())).status_code == 403
    browser = world.make.sign_in(app.test_client(), admin)
    assert str(payment) in browser.get(f"/admin/refunds/?q={payment}").text
    page = browser.get(f"/admin/refunds/payments/{payment}?amount=2950").text
    assert "₹2,000.00" in page and "Refund ₹2,950.00" in page
    browser.form(
        f"/admin/refunds/payments/{payment}",
        {"amount": "2950", "reason": "Ended early", "key": unique("page")},
    )
    assert [(r[0], r[1]) for r in rows(world, payment)] == [("PENDING", 295_000)]
