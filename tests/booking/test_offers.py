"""Subscriptions, trials, discount codes, referral credit, moving and missing sessions, published terms (2.3, 2.6, 2.8)."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace

import pytest
from sqlalchemy import text

from app import clock
from app.models import CreditKind, DiscountCode, DiscountKind, OrgRole, ReferralCredit

from .conftest import slot
from .test_events import expert, run_job, shift


def post(world, path, who, body=None, **headers):
    return world.client.post(path, json=body or {}, headers={**world.auth(who), **headers})


def pay(world, answer):
    """Pay a hold at the sandbox and let its webhook arrive."""
    from app.gateways import open_gateway, provider
    from app.models import SandboxWebhook
    from app.services import gateway_events

    app = world.client.application
    with app.app_context(), world.make.session() as s:
        order_id = answer["payment"]["order_id"]
        provider.pay(s, order_id)
        s.commit()
        order = provider.find_order(s, order_id)
        hook = s.query(SandboxWebhook).filter_by(order_row_id=order.id).one()
        body = hook.body.encode()
        settings = app.config["SETTINGS"]
        gateway_events.store(s, "sandbox", open_gateway(settings, s, "sandbox").parse_event(body), body)
    run_job(world, "process_gateway_events")


def legs(world, payment):
    rows = world.make.rows(
        "SELECT l.source, l.amount_paise FROM payment_leg l JOIN payment p ON p.id = l.payment_id WHERE p.public_id = :p",
        p=payment,
    )
    return {r[0]: r[1] for r in rows}


def posting(world, key):
    rows = world.make.rows(
        "SELECT split_part(a.code, '|', 1), e.side, sum(e.amount_paise)::bigint FROM ledger_entry e JOIN ledger_account a "
        "ON a.id = e.account_id JOIN ledger_transaction t ON t.id = e.transaction_id WHERE t.key = :k GROUP BY 1, 2",
        k=key,
    )
    return {(r[0], r[1]): r[2] for r in rows}


def credit(world, user, paise, days=30, kind=CreditKind.MANUAL):
    return world.make.add(
        ReferralCredit(
            user_id=user.id,
            kind=kind,
            amount_paise=paise,
            remaining_paise=paise,
            expires_at=clock.now() + dt.timedelta(days=days) if days else None,
        )
    )


# ---- credit and codes ------------------------------------------------------------------------------------------------


@pytest.mark.scenario("M-49")
def test_credit_pays_a_part_of_a_personal_booking_and_nothing_of_a_sponsored_one(world):
    plan = world.make.plan(world.expert, 300_000)
    person = world.make.user()
    credit(world, person, 50_000)
    r = world.book(person, plan=plan, org=None, use_referral_credits=True)
    assert r.status_code == 201 and legs(world, r.json["payment"]["id"]) == {
        "REFERRAL_CREDIT": 50_000,
        "CARD": 250_000,
    }
    learner = world.learner()
    credit(world, learner.user, 50_000)
    r = world.book(learner, plan=plan, use_referral_credits=True)
    assert r.status_code == 201 and legs(world, r.json["payment"]["id"]) == {"WALLET": 300_000}
    assert (
        world.make.one("SELECT remaining_paise FROM referral_credit WHERE user_id = :u", u=learner.user_id)
        == 50_000
    )


def test_credit_is_spent_by_expiry_and_comes_back_with_the_hold_and_with_a_refund(world):
    plan = world.make.plan(world.expert, 100_000)
    person = world.make.user()
    late, soon, never = (credit(world, person, 30_000, d) for d in (90, 10, None))

    def left():
        return [
            world.make.one("SELECT remaining_paise FROM referral_credit WHERE id = :i", i=c.id)
            for c in (soon, late, never)
        ]

    with world.make.session() as s:
        s.get(ReferralCredit, never.id).remaining_paise = 5_000
    held = world.book(person, plan=plan, org=None, use_referral_credits=True)
    assert legs(world, held.json["payment"]["id"]) == {"REFERRAL_CREDIT": 65_000, "CARD": 35_000}
    assert left() == [0, 0, 0]
    shift(world, 31 * 60)
    run_job(world, "expire_holds")
    assert left() == [30_000, 30_000, 5_000]
    small = world.book(
        person, plan=world.make.plan(world.expert, 40_000), org=None, use_referral_credits=True
    )
    assert legs(world, small.json["payment"]["id"]) == {"CARD": 40_000}  # below 500 rupees
    whole = world.book(
        person, plan=world.make.plan(world.expert, 60_000), org=None, use_referral_credits=True
    )
    assert whole.json["status"] == "CONFIRMED" and whole.json["payment"]["method"] == "CREDITS"
    assert left() == [0, 0, 5_000]
    assert posting(world, f"booking:{whole.json['payment']['id']}") == {
        ("PLATFORM_PROMO", "D"): 60_000,
        ("PLATFORM_FEE", "C"): 12_000,
        ("CONSULTANT_PAYABLE", "C"): 48_000,
    }
    assert post(world, f"/api/appointments/{whole.json['id']}/cancel", person).status_code == 200
    assert left() == [30_000, 30_000, 5_000]


def test_two_bookings_never_spend_the_same_credit(world):
    person = world.make.user()
    credit(world, person, 50_000)
    for _ in range(2):
        r = world.book(
            person, plan=world.make.plan(world.make.expert(), 300_000), org=None, use_referral_credits=True
        )
        assert r.status_code == 201
    assert (
        world.make.one("SELECT sum(amount_paise) FROM referral_credit_use WHERE user_id = :u", u=person.id)
        == 50_000
    )


def code(world, **values):
    letters = f"SAVE-{uuid.uuid4().hex[:8].upper()}"
    world.make.add(
        DiscountCode(**{"code": letters, "kind": DiscountKind.PERCENTAGE, "value": 1_000, **values})
    )
    return letters


def test_a_code_lowers_price_and_tax_but_not_what_the_expert_earns(world):
    plan = world.make.plan(world.expert, 300_000, tax_bps=1800)
    person = world.make.user()
    letters = code(world)
    quote = post(
        world,
        "/api/checkout/quote",
        person,
        {"plan_id": str(plan.public_id), "discount_code": letters.lower()},
    ).json
    assert (quote["discount_paise"], quote["tax_paise"], quote["amount_paise"]) == (30_000, 48_600, 318_600)
    r = world.book(person, plan=plan, org=None, discount_code=letters)
    assert r.json["payment"]["amount_paise"] == 318_600
    pay(world, r.json)
    payment = r.json["payment"]["id"]
    assert posting(world, f"booking:{payment}") == {
        ("CASH", "D"): 318_600,
        ("DISCOUNT", "D"): 30_000,
        ("PLATFORM_FEE", "C"): 60_000,
        ("CONSULTANT_PAYABLE", "C"): 240_000,
        ("GST_PAYABLE", "C"): 48_600,
    }
    receipt = world.client.get(f"/api/payments/{payment}/receipt.pdf", headers=world.auth(person))
    assert receipt.mimetype == "application/pdf"
    assert world.make.one("SELECT used_count FROM discount_code WHERE code = :c", c=letters) == 1
    post(world, f"/api/appointments/{r.json['id']}/cancel", person)
    run_job(world, "deliver_outbox")
    run_job(world, "reconcile_refunds")
    refund = world.make.one(
        "SELECT r.public_id FROM refund r JOIN payment p ON p.id = r.payment_id WHERE p.public_id = :p AND r.status = 'SUCCEEDED'",
        p=payment,
    )
    assert refund and posting(world, f"refund:{refund}")[("DISCOUNT", "C")] == 30_000


def test_codes_that_cannot_be_used(world):
    plan = world.make.plan(world.expert, 100_000)
    other = world.make.plan(world.expert, 100_000)
    host = world.make.org(can_host=True)
    past = clock.now() - dt.timedelta(days=1)
    person = world.make.user()
    bad = [
        "NOSUCHCODE",
        "x",
        code(world, active=False),
        code(world, expires_at=past),
        code(world, starts_at=clock.now() + dt.timedelta(days=1)),
        code(world, max_uses=1, used_count=1),
        code(world, plan_id=other.id),
        code(world, organization_id=host.id),
        code(world, minimum_paise=200_000),
    ]
    for letters in bad:
        r = world.book(person, plan=plan, org=None, discount_code=letters)
        assert (r.status_code, r.json["code"]) == (400, "DISCOUNT_INVALID"), letters
    sponsored = world.book(world.learner(), plan=plan, discount_code=code(world))
    assert sponsored.json["code"] == "DISCOUNT_INVALID"
    assert world.written()["payment"] == 0
    once = code(world, per_person=1, max_uses=10)
    assert world.book(person, plan=plan, org=None, discount_code=once).status_code == 201
    again = world.book(person, plan=plan, org=None, discount_code=once)
    assert again.json["code"] == "DISCOUNT_INVALID"
    shift(world, 31 * 60)
    run_job(world, "expire_holds")  # a hold that ends gives the use back
    assert world.make.one("SELECT used_count FROM discount_code WHERE code = :c", c=once) == 0
    assert world.book(person, plan=plan, org=None, discount_code=once).status_code == 201


def test_the_last_use_of_a_code_goes_to_one(world):
    from .test_events import race

    letters = code(world, max_uses=1)
    people = [world.make.user() for _ in range(4)]
    plans = [world.make.plan(world.make.expert(), 100_000) for _ in people]
    for p in people:
        world.auth(p)
    answers = race(
        world,
        *[
            lambda c, p=p, plan=plan: world.book(
                p, slot(), plan=plan, org=None, discount_code=letters, client=c
            )
            for p, plan in zip(people, plans, strict=True)
        ],
    )
    assert answers == [(201, None)] + [(400, "DISCOUNT_INVALID")] * 3


def test_hosts_and_the_platform_give_codes_out(world):
    from app.models import PlatformRole

    host = world.make.org(can_host=True, can_sponsor=False)
    owner = world.make.member(host, OrgRole.OWNER)
    manager = world.make.member(host, OrgRole.MANAGER)
    world.client.application.config["SETTINGS"]
    path = f"/api/organizations/{host.slug}/discount-codes"
    body = {"code": f"host-{uuid.uuid4().hex[:6]}", "kind": "FLAT", "value": 10_000}
    refused = post(world, path, manager, body)
    assert refused.status_code == 403
    admin = world.make.user(platform_role=PlatformRole.ADMIN)
    staff = world.make.user(platform_role=PlatformRole.STAFF)
    assert post(world, "/api/admin/discount-codes", staff, body).status_code == 403
    made = post(world, "/api/admin/discount-codes", admin, body)
    assert made.status_code == 201 and made.json["code"] == body["code"].upper()
    assert post(world, "/api/admin/discount-codes", admin, body).status_code == 400
    assert owner


@pytest.fixture
def hosting_on(app):
    before = app.config["SETTINGS"]
    app.config["SETTINGS"] = replace(before, enable_host_orgs=True)
    yield
    app.config["SETTINGS"] = before


def test_a_codes_limits_change_and_what_it_takes_off_stays(world, hosting_on):
    host = world.make.org(can_host=True, can_sponsor=False)
    owner = world.make.member(host, OrgRole.OWNER)
    manager = world.make.member(host, OrgRole.MANAGER)
    path = f"/api/organizations/{host.slug}/discount-codes"
    body = {"code": f"host-{uuid.uuid4().hex[:6]}", "kind": "FLAT", "value": 10_000, "max_uses": 5}
    made = post(world, path, owner, body).json

    def patch(who, **limits):
        return world.client.patch(f"{path}/{made['id']}", json=limits, headers=world.auth(who))

    assert patch(manager, max_uses=9).status_code == 403
    changed = patch(owner, max_uses=9, minimum_paise=50_000)
    assert changed.status_code == 200, changed.text
    assert changed.json == {**made, "max_uses": 9, "minimum_paise": 50_000}
    assert patch(owner, value=99).status_code == 400  # people were told
    past = (clock.now() - dt.timedelta(days=1)).isoformat()
    assert patch(owner, expires_at=past).json["details"]["fields"]["expires_at"]
    with world.make.session() as s:
        s.execute(text("UPDATE discount_code SET used_count = 3 WHERE public_id = :p"), {"p": made["id"]})
    assert "3 times" in str(patch(owner, max_uses=2).json["details"])
    assert patch(owner, max_uses=3).json["max_uses"] == 3
    browser = world.make.sign_in(world.client.application.test_client(), owner)
    key = world.make.one("SELECT id FROM discount_code WHERE public_id = :p", p=made["id"])
    form = f"/dashboard/organization/{host.slug}/discount-codes/edit/{made['id']}"
    assert "What it takes off stays" in browser.get(form).text
    assert browser.form(form, {"max_uses": "4", "minimum_paise": "700"}).status_code == 302
    assert world.make.rows(
        "SELECT code, value, max_uses, minimum_paise FROM discount_code WHERE id = :i", i=key
    ) == [(made["code"], 10_000, 4, 70_000)]
    assert (
        world.make.one(
            "SELECT count(*) FROM org_audit_log WHERE organization_id = :o AND action = 'CATALOG_DISCOUNT_CHANGED'",
            o=host.id,
        )
        == 3
    )
    assert post(world, f"{path}/{made['id']}/end", owner, {}).status_code == 200
    assert patch(owner, max_uses=8).json["code"] == "ILLEGAL_TRANSITION"


# ---- referrals -------------------------------------------------------------------------------------------------------


def test_both_earn_at_the_first_paid_booking_once(world):
    from app.services import referrals

    bringer, brought = world.make.user(), world.make.user()
    letters = world.client.get("/api/referrals", headers=world.auth(bringer)).json["code"]
    assert post(world, "/api/referrals", bringer, {"code": letters}).status_code == 400
    assert post(world, "/api/referrals", brought, {"code": "XXXXXXXX"}).status_code == 400
    assert post(world, "/api/referrals", brought, {"code": letters}).status_code == 201
    assert post(world, "/api/referrals", brought, {"code": letters}).json["code"] == "REFERRAL_NOT_POSSIBLE"
    back = world.client.get("/api/referrals", headers=world.auth(brought)).json["code"]
    assert post(world, "/api/referrals", bringer, {"code": back}).json["code"] == "REFERRAL_NOT_POSSIBLE"
    run_job(world, "reward_referrals")
    assert not world.client.get("/api/referrals", headers=world.auth(bringer)).json["available_paise"]
    held = world.book(brought, plan=world.make.plan(world.expert, 100_000), org=None)
    pay(world, held.json)
    for _ in range(2):
        run_job(world, "reward_referrals")
    for who, paise in ((bringer, referrals.REFERRER_BONUS), (brought, referrals.REFEREE_BONUS)):
        assert world.client.get("/api/referrals", headers=world.auth(who)).json["available_paise"] == paise
    late = world.make.user()
    booked = world.book(late, plan=world.make.plan(world.expert, 100_000), org=None)
    pay(world, booked.json)
    assert post(world, "/api/referrals", late, {"code": letters}).json["code"] == "REFERRAL_NOT_POSSIBLE"


def brought_by(world, bringer, brought):
    letters = world.client.get("/api/referrals", headers=world.auth(bringer)).json["code"]
    assert post(world, "/api/referrals", brought, {"code": letters}).status_code == 201


def credit_of(world, who):
    return world.client.get("/api/referrals", headers=world.auth(who)).json["available_paise"]


def test_a_booking_that_an_organisation_pays_earns_nothing(world):
    from app.services import referrals

    bringer, learner = world.make.user(), world.learner()
    assert world.book(learner).status_code == 201
    brought_by(world, bringer, learner.user)  # nor is it a first booking of their own
    assert world.book(learner).status_code == 201
    run_job(world, "reward_referrals")
    assert (credit_of(world, bringer), credit_of(world, learner)) == (0, 0)
    pay(world, world.book(learner, plan=world.make.plan(world.expert, 100_000), org=None).json)
    run_job(world, "reward_referrals")
    assert credit_of(world, bringer) == referrals.REFERRER_BONUS


def test_a_booking_paid_by_credit_alone_earns_nothing(world):
    bringer, brought = world.make.user(), world.make.user()
    brought_by(world, bringer, brought)
    credit(world, brought, 100_000)
    free = world.book(
        brought, plan=world.make.plan(world.expert, 60_000), org=None, use_referral_credits=True
    )
    assert (free.status_code, free.json["status"]) == (201, "CONFIRMED")
    run_job(world, "reward_referrals")
    assert credit_of(world, bringer) == 0


def test_a_first_booking_refunded_in_full_takes_the_rest_of_the_credit_until_another_earns_it(world):
    from app.services import referrals

    bringer, brought = world.make.user(), world.make.user()
    brought_by(world, bringer, brought)
    first = world.book(brought, plan=world.make.plan(world.expert, 100_000), org=None).json
    pay(world, first)
    run_job(world, "reward_referrals")
    assert credit_of(world, bringer) == referrals.REFERRER_BONUS
    spent = world.book(
        bringer, plan=world.make.plan(world.expert, 300_000), org=None, use_referral_credits=True
    ).json
    assert spent["payment"]["amount_paise"] == 300_000 and credit_of(world, bringer) == 0
    back = world.client.post(f"/api/appointments/{first['id']}/cancel", json={}, headers=world.auth(brought))
    assert back.json["refund"]["amount_paise"] == 100_000
    for _ in range(2):
        run_job(world, "reward_referrals")
    assert (credit_of(world, bringer), credit_of(world, brought)) == (0, 0)
    told = "SELECT count(*) FROM notification WHERE user_id = :u AND kind = 'referral.revoked'"
    assert world.make.one(told, u=bringer.id) == world.make.one(told, u=brought.id) == 1
    assert [r["rewarded"] for r in seen(world, bringer)["referrals"]] == [False]
    pay(world, world.book(brought, plan=world.make.plan(world.expert, 100_000), org=None).json)
    for _ in range(2):
        run_job(world, "reward_referrals")
    assert credit_of(world, brought) == referrals.REFEREE_BONUS  # given back, not given twice
    assert credit_of(world, bringer) == 0  # it was spent
    assert [r["rewarded"] for r in seen(world, bringer)["referrals"]] == [True]


def test_a_part_refunded_or_another_booking_keeps_the_credit(world):
    from app.services import referrals

    bringer, brought = world.make.user(), world.make.user()
    brought_by(world, bringer, brought)
    bookings = [
        world.book(brought, plan=world.make.plan(world.expert, 100_000), org=None).json for _ in range(2)
    ]
    for body in bookings:
        pay(world, body)
    run_job(world, "reward_referrals")
    world.client.post(f"/api/appointments/{bookings[0]['id']}/cancel", json={}, headers=world.auth(brought))
    for _ in range(2):
        run_job(world, "reward_referrals")
    assert credit_of(world, bringer) == referrals.REFERRER_BONUS


def seen(world, who):
    return world.client.get("/api/referrals", headers=world.auth(who)).json


# ---- subscriptions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def subscription(world):
    plan = world.make.plan(
        world.expert,
        400_000,
        type="SUBSCRIPTION",
        total_sessions=4,
        sessions_per_week=2,
        title="Four sessions",
    )
    learner = world.learner()
    r = world.client.post(
        "/api/checkout",
        json={"plan_id": str(plan.public_id), "organization_id": world.org.slug},
        headers={**world.auth(learner), "Idempotency-Key": uuid.uuid4().hex},
    )
    assert r.status_code == 201 and r.json["status"] == "CONFIRMED"
    return plan, learner, r.json


def monday(weeks=1, hour=9):
    at = (clock.now() + dt.timedelta(weeks=weeks)).replace(hour=hour, minute=0, second=0, microsecond=0)
    return at - dt.timedelta(days=at.weekday() - 7)


def test_the_expert_allocates_within_the_weekly_pace(world, subscription):
    _plan, learner, booking = subscription
    owner, path = expert(world), f"/api/appointments/{booking['id']}/sessions"
    week = monday()
    assert post(world, path, learner, {"starts_at": week.isoformat()}).status_code == 403
    for at in (week, week + dt.timedelta(days=1)):
        assert post(world, path, owner, {"starts_at": at.isoformat()}).status_code == 201
    full = post(world, path, owner, {"starts_at": (week + dt.timedelta(days=2)).isoformat()})
    assert full.status_code == 400 and "starts_at" in full.json["details"]["fields"]
    busy = world.book(world.learner(), week + dt.timedelta(days=7))
    assert busy.status_code == 201
    taken = post(world, path, owner, {"starts_at": (week + dt.timedelta(days=7)).isoformat()})
    assert taken.json["code"] == "SLOT_TAKEN"
    for days in (8, 9):
        at = week + dt.timedelta(days=days)
        assert post(world, path, owner, {"starts_at": at.isoformat()}).status_code == 201
    over = post(world, path, owner, {"starts_at": (week + dt.timedelta(days=15)).isoformat()})
    assert over.json["code"] == "ILLEGAL_TRANSITION"
    shown = world.client.get(f"/api/appointments/{booking['id']}", headers=world.auth(learner)).json
    assert shown["counts"] == {"total": 4, "planned": 4, "held": 0, "left": 0}
    late = post(world, path, owner, {"starts_at": (clock.now() + dt.timedelta(weeks=20)).isoformat()})
    assert late.status_code == 400


def test_cancelling_a_subscription_gives_back_its_unused_sessions(world, subscription):
    _plan, learner, booking = subscription
    owner, path = expert(world), f"/api/appointments/{booking['id']}/sessions"
    first = post(world, path, owner, {"starts_at": monday().isoformat()}).json["id"]
    second = post(world, path, owner, {"starts_at": (monday() + dt.timedelta(days=1)).isoformat()}).json["id"]
    soon = post(world, f"/api/appointments/{second}/cancel", learner)
    assert soon.status_code == 200  # a day's notice: it can be planned again
    shift(world, (monday() - clock.now()).total_seconds() + 3 * 3600)
    run_job(world, "complete_appointments")
    assert world.make.one("SELECT status FROM appointment WHERE public_id = :a", a=first) == "COMPLETED"
    before = world.make.balance(world.org)
    seen = world.client.get(f"/api/appointments/{booking['id']}/cancel", headers=world.auth(learner)).json
    assert (seen["unused_sessions"], seen["sessions"], seen["refund_paise"]) == (3, 4, 300_000)
    assert post(world, f"/api/appointments/{booking['id']}/cancel", learner).status_code == 200
    assert world.make.balance(world.org) == before + 300_000


# ---- trials ----------------------------------------------------------------------------------------------------------


def test_a_trial_from_request_to_conversion(world):
    plan = world.make.plan(world.expert, 200_000, trial_price_paise=20_000, trial_minutes=30)
    person, owner, at = world.make.user(), expert(world), slot(5)
    ask = {"plan_id": str(plan.public_id), "starts_at": at.isoformat(), "note": "Hello"}
    asked = post(world, "/api/trials", person, ask)
    assert (asked.status_code, asked.json["status"]) == (201, "PENDING")
    assert post(world, "/api/trials", person, ask).json["code"] == "TRIAL_ALREADY_USED"
    assert post(world, "/api/trials", owner, ask).json["code"] == "SELF_BOOKING_FORBIDDEN"
    path = f"/api/trials/{asked.json['id']}"
    assert post(world, f"{path}/accept", person).status_code == 403
    assert (
        post(world, f"{path}/pay", person, **{"Idempotency-Key": "early"}).json["code"]
        == "ILLEGAL_TRANSITION"
    )
    granted = post(world, f"{path}/accept", owner)
    assert granted.json["status"] == "AWAITING_PAYMENT" and granted.json["pay_by"]
    assert world.book(world.learner(), at).json["code"] == "SLOT_TAKEN"  # the time is kept
    paid = post(world, f"{path}/pay", person, **{"Idempotency-Key": uuid.uuid4().hex})
    assert paid.status_code == 201 and paid.json["payment"]["amount_paise"] == 20_000
    assert paid.json["appointment"]["ends_at"] > paid.json["appointment"]["starts_at"]
    pay(world, paid.json)
    listed = world.client.get("/api/trials", headers=world.auth(person)).json["result"]
    assert [t["status"] for t in listed] == ["SCHEDULED"]
    shift(world, (at - clock.now()).total_seconds() + 3600)
    run_job(world, "complete_appointments")
    state = "SELECT status FROM trial WHERE public_id = :t"
    assert world.make.one(state, t=asked.json["id"]) == "COMPLETED"
    world.headers.clear()
    assert (
        post(world, "/api/trials", person, {**ask, "starts_at": slot(60).isoformat()}).json["code"]
        == "TRIAL_ALREADY_USED"
    )
    booked = world.book(person, slot(60), plan=plan, org=None)
    pay(world, booked.json)
    assert world.make.one(state, t=asked.json["id"]) == "CONVERTED"


def test_a_declined_or_unpaid_trial_frees_the_pair(world):
    plan = world.make.plan(world.expert, 200_000, trial_price_paise=0, trial_minutes=30)
    person, owner = world.make.user(), expert(world)

    def ask():
        return post(
            world, "/api/trials", person, {"plan_id": str(plan.public_id), "starts_at": slot(5).isoformat()}
        ).json

    first = ask()
    assert (
        post(world, f"/api/trials/{first['id']}/reject", owner, {"answer": "Full"}).json["status"]
        == "REJECTED"
    )
    second = ask()
    post(world, f"/api/trials/{second['id']}/accept", owner)
    shift(world, 25 * 3600)
    run_job(world, "expire_trials")
    assert world.make.one("SELECT status FROM trial WHERE public_id = :t", t=second["id"]) == "CANCELLED"
    shift(world, 0)
    third = ask()
    post(world, f"/api/trials/{third['id']}/accept", owner)
    free = post(world, f"/api/trials/{third['id']}/pay", person, **{"Idempotency-Key": uuid.uuid4().hex})
    assert free.json["status"] == "CONFIRMED"
    assert world.make.one("SELECT status FROM trial WHERE public_id = :t", t=third["id"]) == "SCHEDULED"
    assert post(world, f"/api/appointments/{free.json['id']}/cancel", person).status_code == 200
    assert world.make.one("SELECT status FROM trial WHERE public_id = :t", t=third["id"]) == "CANCELLED"
    assert ask()["status"] == "PENDING"


# ---- moving, missing, terms ------------------------------------------------------------------------------------------


def test_moving_a_session_moves_both_calendars_or_neither(world):
    learner, at = world.learner(), slot(5)
    booking = world.book(learner, at).json["id"]
    path, to = f"/api/appointments/{booking}/reschedule", slot(6)
    assert post(world, path, learner, {"starts_at": to.isoformat()}).status_code == 200
    assert world.book(world.learner(), to).json["code"] == "SLOT_TAKEN"
    assert world.book(world.learner(), at).status_code == 201
    taken = post(world, path, learner, {"starts_at": at.isoformat()})
    assert taken.json["code"] == "SLOT_TAKEN"
    other = slot(6)
    world.book(learner, other, plan=world.make.plan(world.make.expert(), 100_000))
    busy = post(world, path, learner, {"starts_at": other.isoformat()})
    assert busy.json["code"] == "LEARNER_DOUBLE_BOOKED"
    claims = world.make.rows(
        "SELECT DISTINCT lower(c.span) FROM calendar_claim c JOIN appointment a ON a.id = c.appointment_id "
        "WHERE a.public_id = :a",
        a=booking,
    )
    assert [r[0] for r in claims] == [to]
    ics = world.client.get(f"/dashboard/appointments/{booking}/calendar.ics", headers=world.auth(learner))
    assert b"SEQUENCE:1\r\n" in ics.data and b"METHOD:PUBLISH\r\n" in ics.data
    stranger = post(world, path, world.make.user(), {"starts_at": slot(7).isoformat()})
    assert stranger.status_code == 404


def test_a_learner_moves_with_notice_and_an_expert_owes_a_way_out(world):
    learner, at = world.learner(), slot(5)
    booking = world.book(learner, at).json["id"]
    path = f"/api/appointments/{booking}/reschedule"
    shift(world, (at - clock.now()).total_seconds() - 3 * 3600)
    world.headers.clear()
    late = post(world, path, learner, {"starts_at": slot(8).isoformat()})
    assert late.status_code == 409, late.text
    assert late.json["code"] == "ILLEGAL_TRANSITION" and "24 hours" in late.json["message"]
    moved = post(world, path, expert(world), {"starts_at": slot(8).isoformat(), "reason": "Ill"})
    assert moved.status_code == 200
    seen = world.client.get(f"/api/appointments/{booking}/cancel", headers=world.auth(learner)).json
    assert seen["refund_bps"] == 10_000
    assert world.make.one(
        "SELECT count(*) FROM notification WHERE user_id = :u AND kind = 'booking.moved'", u=learner.user_id
    )


def test_a_missed_session(world):
    learner, at = world.learner(), slot(5)
    booking = world.book(learner, at).json["id"]
    path = f"/api/appointments/{booking}/no-show"
    assert post(world, path, expert(world)).json["code"] == "ILLEGAL_TRANSITION"
    shift(world, (at - clock.now()).total_seconds() + 600)
    world.headers.clear()
    assert post(world, path, learner).status_code == 403
    done = post(world, path, expert(world))
    assert done.status_code == 200, done.text
    assert done.json["status"] == "NO_SHOW"
    assert post(world, path, expert(world)).json["code"] == "ILLEGAL_TRANSITION"


def test_published_terms_hold_for_bookings_made_after(world):
    owner, learner = world.make.member(world.org, OrgRole.OWNER), world.learner()
    before = world.book(learner).json["id"]
    path = f"/api/organizations/{world.org.slug}/cancellation-policies"
    for tiers in (
        [],
        [{"hours": 24, "refund_bps": 10_000}],
        [{"hours": 2, "refund_bps": 10_000}, {"hours": 24, "refund_bps": 0}, {"hours": 0, "refund_bps": 0}],
        [{"hours": 24, "refund_bps": 0}, {"hours": 0, "refund_bps": 100}],
        [{"hours": 24 - n, "refund_bps": 0} for n in range(6)] + [{"hours": 0, "refund_bps": 0}],
    ):
        assert post(world, path, owner, {"tiers": tiers}).status_code == 400
    good = [{"hours": 72, "refund_bps": 10_000}, {"hours": 0, "refund_bps": 2_500}]
    assert post(world, path, learner, {"tiers": good}).status_code == 403
    made = post(world, path, owner, {"tiers": good})
    assert (made.status_code, made.json["version"]) == (201, 1)
    assert post(world, path, owner, {"tiers": good}).json["version"] == 2
    after = world.book(learner, slot(1)).json["id"]
    headers = world.auth(learner)
    assert (
        world.client.get(f"/api/appointments/{before}/cancel", headers=headers).json["tiers"][0]["hours"]
        == 24
    )
    seen = world.client.get(f"/api/appointments/{after}/cancel", headers=headers).json
    assert seen["tiers"] == good
    assert (
        world.make.one(
            "SELECT count(*) FROM org_audit_log WHERE organization_id = :o AND action = 'CANCELLATION_POLICY_PUBLISHED'",
            o=world.org.id,
        )
        == 2
    )
