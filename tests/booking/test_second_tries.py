"""Repeats and latecomers of bookings: a replayed key, a second try, money for what was given up (2.6, 2.7)."""

from __future__ import annotations

import datetime as dt
import uuid

from app.models import Membership, MembershipStatus, OrgRole

from .conftest import slot
from .test_events import expert, run_job, schedule, shift
from .test_offers import code, credit, legs, monday, pay, post, posting
from .test_offers import subscription as subscription  # a fixture


def _trial(world, person, at=None):
    plan = world.make.plan(world.expert, 200_000, trial_price_paise=20_000, trial_minutes=30)
    ask = {"plan_id": str(plan.public_id), "starts_at": (at or slot(5)).isoformat()}
    asked = post(world, "/api/trials", person, ask).json
    assert post(world, f"/api/trials/{asked['id']}/accept", expert(world)).status_code == 200
    return asked["id"]


def _claims(world, appointment):
    return world.make.one(
        "SELECT count(*) FROM calendar_claim c JOIN appointment a ON a.id = c.appointment_id WHERE a.public_id = :a",
        a=appointment,
    )


def _status(world, payment):
    return world.make.one("SELECT status FROM payment WHERE public_id = :p", p=payment)


def test_credit_that_came_back_with_the_hold_is_taken_again_by_a_late_capture(world):
    person = world.make.user()
    given = credit(world, person, 50_000)
    left = "SELECT remaining_paise FROM referral_credit WHERE id = :i"
    plan = world.make.plan(world.expert, 300_000)
    letters = code(world, max_uses=1)
    held = world.book(person, plan=plan, org=None, use_referral_credits=True, discount_code=letters)
    assert legs(world, held.json["payment"]["id"])["REFERRAL_CREDIT"] == 50_000
    shift(world, 31 * 60)
    run_job(world, "expire_holds")
    used = "SELECT used_count FROM discount_code WHERE code = :c"
    assert (world.make.one(left, i=given.id), world.make.one(used, c=letters)) == (50_000, 0)
    pay(world, held.json)
    assert _status(world, held.json["payment"]["id"]) == "SUCCEEDED"
    assert (world.make.one(left, i=given.id), world.make.one(used, c=letters)) == (0, 1)


def test_a_late_capture_whose_credit_was_spent_meanwhile_goes_back(world):
    person = world.make.user()
    given = credit(world, person, 60_000)
    held = world.book(
        person, plan=world.make.plan(world.expert, 300_000), org=None, use_referral_credits=True
    )
    shift(world, 31 * 60)
    run_job(world, "expire_holds")
    other = world.book(
        person, plan=world.make.plan(world.make.expert(), 60_000), org=None, use_referral_credits=True
    )
    assert other.json["status"] == "CONFIRMED"
    pay(world, held.json)
    assert _status(world, held.json["payment"]["id"]) == "EXPIRED"
    assert posting(world, f"booking:{held.json['payment']['id']}") == {}
    assert world.make.one("SELECT remaining_paise FROM referral_credit WHERE id = :i", i=given.id) == 0
    assert _claims(world, held.json["id"]) == 0


def test_a_late_capture_whose_code_was_used_up_meanwhile_goes_back(world):
    letters = code(world, max_uses=1)
    plan = world.make.plan(world.expert, 300_000)
    first, second = world.make.user(), world.make.user()
    held = world.book(first, plan=plan, org=None, discount_code=letters)
    shift(world, 31 * 60)
    run_job(world, "expire_holds")
    assert world.book(second, plan=plan, org=None, discount_code=letters).status_code == 201
    pay(world, held.json)
    assert _status(world, held.json["payment"]["id"]) == "EXPIRED"
    assert world.make.one("SELECT used_count FROM discount_code WHERE code = :c", c=letters) == 1


def test_a_hold_that_was_called_off_is_not_revived_by_its_payment(world):
    person = world.make.user()
    held = world.book(person, plan=world.make.plan(world.expert, 300_000), org=None)
    assert post(world, f"/api/appointments/{held.json['id']}/cancel", person).status_code == 200
    pay(world, held.json)
    assert _status(world, held.json["payment"]["id"]) == "EXPIRED"
    assert (
        world.make.one("SELECT status FROM appointment WHERE public_id = :a", a=held.json["id"])
        == "CANCELLED"
    )
    assert _claims(world, held.json["id"]) == 0


def test_a_replayed_trial_payment_keeps_its_time(world):
    person = world.make.user()
    trial = _trial(world, person)
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = post(world, f"/api/trials/{trial}/pay", person, **key)
    assert first.status_code == 201 and _claims(world, first.json["id"]) == 2
    again = post(world, f"/api/trials/{trial}/pay", person, **key)
    assert again.status_code == 200 and again.json["id"] == first.json["id"]
    assert _claims(world, first.json["id"]) == 2
    assert (
        world.make.one("SELECT status FROM appointment WHERE public_id = :a", a=first.json["id"])
        == "TENTATIVE"
    )


def test_a_second_try_at_a_trial_ends_the_first_ones_hold(world):
    person = world.make.user()
    trial = _trial(world, person)
    first = post(world, f"/api/trials/{trial}/pay", person, **{"Idempotency-Key": uuid.uuid4().hex})
    second = post(world, f"/api/trials/{trial}/pay", person, **{"Idempotency-Key": uuid.uuid4().hex})
    assert second.status_code == 201 and second.json["id"] != first.json["id"]
    assert _status(world, first.json["payment"]["id"]) == "EXPIRED"
    pay(world, second.json)
    pay(world, first.json)
    assert [_status(world, x.json["payment"]["id"]) for x in (first, second)] == ["EXPIRED", "SUCCEEDED"]
    assert world.make.one("SELECT status FROM trial WHERE public_id = :t", t=trial) == "SCHEDULED"


def test_a_withdrawn_trial_is_not_booked_by_its_payment(world):
    person = world.make.user()
    trial = _trial(world, person)
    held = post(world, f"/api/trials/{trial}/pay", person, **{"Idempotency-Key": uuid.uuid4().hex})
    assert post(world, f"/api/trials/{trial}/withdraw", person).json["status"] == "CANCELLED"
    pay(world, held.json)
    assert _status(world, held.json["payment"]["id"]) == "EXPIRED"
    assert world.make.one("SELECT status FROM trial WHERE public_id = :t", t=trial) == "CANCELLED"
    assert _claims(world, held.json["id"]) == 0


def test_moving_a_planned_session_keeps_the_subscriptions_pace_and_term(world, subscription):
    _plan, learner, booking = subscription
    owner, path = expert(world), f"/api/appointments/{booking['id']}/sessions"
    week = monday()
    for days in (0, 1):
        at = week + dt.timedelta(days=days)
        assert post(world, path, owner, {"starts_at": at.isoformat()}).status_code == 201
    third = post(world, path, owner, {"starts_at": (week + dt.timedelta(days=8)).isoformat()}).json["id"]
    move = f"/api/appointments/{third}/reschedule"
    for who in (owner, learner):
        full = post(world, move, who, {"starts_at": (week + dt.timedelta(days=2)).isoformat()})
        assert full.status_code == 400 and "starts_at" in full.json["details"]["fields"]
        late = post(world, move, who, {"starts_at": (week + dt.timedelta(weeks=20)).isoformat()})
        assert late.status_code == 400 and "ends on" in late.json["details"]["fields"]["starts_at"][0]
    assert (
        post(world, move, owner, {"starts_at": (week + dt.timedelta(days=9)).isoformat()}).status_code == 200
    )


def test_a_hosts_share_waits_where_its_session_moved(world):
    host = world.make.org(can_host=True)
    world.make.member(host, OrgRole.EXPERT, expert(world))
    plan = world.make.plan(world.expert, 500_000, organization_id=host.id)
    booked = world.book(world.learner(), slot(5), plan=plan)
    assert booked.status_code == 201, booked.text
    to = slot(30)
    moved = post(
        world,
        f"/api/appointments/{booked.json['id']}/reschedule",
        expert(world),
        {"starts_at": to.isoformat()},
    )
    assert moved.status_code == 200, moved.text
    for table in ("organization_earnings", "consultant_earnings"):
        hold = world.make.one(
            f"SELECT hold_until FROM {table} e JOIN payment p ON p.id = e.payment_id WHERE p.public_id = :p",
            p=booked.json["payment"]["id"],
        )
        assert hold == to + dt.timedelta(hours=25), table


def test_an_expert_who_left_the_host_has_no_say_over_its_events(world):
    host = world.make.org(can_host=True)
    member = world.make.member(host, OrgRole.EXPERT, expert(world))
    plan = world.make.plan(world.expert, 100_000, organization_id=host.id, type="WEBINAR", max_participants=3)
    event = schedule(world, plan, [slot(9)]).json["id"]
    path, owner = f"/api/events/{event}", expert(world)
    assert world.client.get(f"{path}/attendees", headers=world.auth(owner)).status_code == 200
    with world.make.session() as s:
        s.get(Membership, member.id).status = MembershipStatus.REMOVED
    assert world.client.get(f"{path}/attendees", headers=world.auth(owner)).status_code == 404
    assert post(world, f"{path}/cancel", owner).status_code == 404
    assert schedule(world, plan, [slot(12)]).status_code == 404
    assert world.make.rows("SELECT status FROM event WHERE plan_id = :p", p=plan.id) == [("OPEN",)]
