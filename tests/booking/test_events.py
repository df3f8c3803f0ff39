"""Webinars and classes: seats under the event's row, waitlists, collaborators, calling off (2.3, 2.6, 2.8)."""

from __future__ import annotations

import datetime as dt
import threading
import uuid

import pytest
from sqlalchemy.orm import Session

from app import clock
from app.models import AppointmentStatus, Event, PlanCollaborator
from app.security import context

from .conftest import slot


@pytest.fixture
def webinar(world):
    """A webinar plan of the world's expert with as many seats as wanted, scheduled."""

    def build(seats=1, *, price=100_000, tax_bps=0, **values):
        plan = world.make.plan(
            world.expert,
            price,
            tax_bps=tax_bps,
            type="WEBINAR",
            max_participants=seats,
            title="Open webinar",
            **values,
        )
        made = schedule(world, plan, [slot(10)])
        assert made.status_code == 201, made.text
        return plan, made.json["id"]

    return build


def expert(world, profile=None):
    from app.models import User

    with world.make.session() as s:
        return s.get(User, (profile or world.expert).user_id)


def schedule(world, plan, starts, **extra):
    return world.client.post(
        f"/api/my-plans/{plan.public_id}/events",
        json={"starts": [at.isoformat() for at in starts], **extra},
        headers=world.auth(expert(world)),
    )


def seat(world, who, plan, event, *, org="own", client=None, key=None, **extra):
    body = {"plan_id": str(plan.public_id), "event_id": event, **extra}
    if org == "own":
        body["organization_id"] = str(world.org.public_id)
    return (client or world.client).post(
        "/api/checkout", json=body, headers={**world.auth(who), "Idempotency-Key": key or uuid.uuid4().hex}
    )


def race(world, *calls):
    gate, answers = threading.Barrier(len(calls)), [None] * len(calls)

    def run(i, call):
        client = world.client.application.test_client()
        gate.wait()
        answers[i] = call(client)

    threads = [threading.Thread(target=run, args=(i, c)) for i, c in enumerate(calls)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return sorted((r.status_code, r.json.get("code")) for r in answers)


def shift(world, seconds):
    """Move the test clock by *seconds* against real time."""
    assert world.client.post("/api/test/clock", json={"offset_seconds": seconds}).status_code == 200


def run_job(world, name):
    from app.jobs import registry

    with world.client.application.app_context(), Session(world.make.web, expire_on_commit=False) as s:
        before = context.ctx()
        context._current.set(context.Ctx(scope="job"))
        try:
            return registry.jobs()[name].function(s)
        finally:
            context._current.set(before)


@pytest.mark.scenario("M-50")
def test_the_last_seat_goes_to_one_and_a_cancellation_asks_the_head_of_the_line(world, webinar):
    plan, event = webinar(1)
    people = [world.learner() for _ in range(2)]
    for p in people:
        world.auth(p)
    assert race(world, *[lambda c, p=p: seat(world, p, plan, event, client=c) for p in people]) == [
        (201, None),
        (409, "EVENT_FULL"),
    ]
    winner, loser = people
    if not world.make.one("SELECT count(*) FROM appointment WHERE learner_user_id = :u", u=winner.user_id):
        winner, loser = loser, winner
    late = world.learner()
    for who in (loser, late):
        r = world.client.post(
            f"/api/events/{event}/waitlist", json={"organization_id": world.org.slug}, headers=world.auth(who)
        )
        assert (r.status_code, r.json["status"]) == (201, "WAITING")
    booking = world.make.one("SELECT public_id FROM appointment WHERE learner_user_id = :u", u=winner.user_id)
    done = world.client.post(f"/api/appointments/{booking}/cancel", json={}, headers=world.auth(winner))
    assert done.status_code == 200
    assert states(world, event) == {loser.user_id: "NOTIFIED", late.user_id: "WAITING"}
    assert world.make.one(
        "SELECT count(*) FROM notification WHERE user_id = :u AND kind = 'waitlist.offer'", u=loser.user_id
    )
    # the seat is kept for the head
    assert seat(world, late, plan, event).json["code"] == "EVENT_FULL"
    assert seat(world, loser, plan, event).status_code == 201
    assert states(world, event)[loser.user_id] == "BOOKED"


def states(world, event):
    rows = world.make.rows(
        "SELECT w.user_id, w.status FROM waitlist_entry w JOIN event e ON e.id = w.event_id WHERE e.public_id = :e",
        e=event,
    )
    return {r[0]: r[1] for r in rows}


def test_an_offer_lasts_two_hours_and_goes_on_by_priority(world, webinar):
    plan, event = webinar(1)
    first = world.learner()
    booking = seat(world, first, plan, event).json["id"]
    waiting = [world.learner() for _ in range(3)]
    for who in waiting:
        world.client.post(f"/api/events/{event}/waitlist", json={}, headers=world.auth(who))
    owner = world.auth(expert(world))
    line = world.client.get(f"/api/events/{event}/attendees", headers=owner).json
    assert len(line["attendees"]) == 1 and len(line["waiting"]) == 3
    vip = line["waiting"][2]["id"]
    r = world.client.post(f"/api/events/{event}/waitlist/{vip}/priority", json={"priority": 5}, headers=owner)
    assert r.status_code == 204
    stranger = world.client.get(f"/api/events/{event}/attendees", headers=world.auth(first))
    assert stranger.status_code == 404
    world.client.post(f"/api/appointments/{booking}/cancel", json={}, headers=world.auth(first))
    ids = [w.user_id for w in waiting]
    assert [states(world, event)[i] for i in ids] == ["WAITING", "WAITING", "NOTIFIED"]
    shift(world, 2 * 3600 + 1)
    run_job(world, "waitlist_offers")
    assert [states(world, event)[i] for i in ids] == ["NOTIFIED", "WAITING", "EXPIRED"]
    run_job(world, "waitlist_offers")
    assert [states(world, event)[i] for i in ids] == ["NOTIFIED", "WAITING", "EXPIRED"]
    left = world.client.delete(f"/api/events/{event}/waitlist", headers=world.auth(waiting[0]))
    assert left.status_code == 204
    assert [states(world, event)[i] for i in ids] == ["EXPIRED", "NOTIFIED", "EXPIRED"]


def test_nobody_waits_for_a_free_seat_or_for_one_they_have(world, webinar):
    plan, event = webinar(2)
    who = world.learner()
    r = world.client.post(f"/api/events/{event}/waitlist", json={}, headers=world.auth(who))
    assert r.json["code"] == "WAITLIST_NOT_NEEDED"
    assert seat(world, who, plan, event).status_code == 201
    r = world.client.post(f"/api/events/{event}/waitlist", json={}, headers=world.auth(who))
    assert r.json["code"] == "ALREADY_REGISTERED"
    assert seat(world, who, plan, event).json["code"] == "ALREADY_REGISTERED"
    r = world.client.post(f"/api/events/{event}/waitlist", json={}, headers=world.auth(expert(world)))
    assert r.json["code"] == "SELF_BOOKING_FORBIDDEN"
    assert world.written()["payment"] == 1


@pytest.mark.scenario("M-12")
def test_ten_posts_one_key_one_seat(world, webinar):
    plan, event = webinar(5)
    who = world.learner()
    world.auth(who)
    answers = race(world, *[lambda c: seat(world, who, plan, event, client=c, key="same")] * 10)
    assert answers == [(200, None)] * 9 + [(201, None)] and world.written()["payment"] == 1
    other = seat(world, who, plan, event, key="same", discount_code="X99")
    assert other.json["code"] == "IDEMPOTENCY_KEY_REUSED"


def test_a_hold_keeps_a_seat_for_half_an_hour(world, webinar):
    plan, event = webinar(1)
    person, next_one = world.make.user(), world.make.user()
    held = seat(world, person, plan, event, org=None)
    assert held.status_code == 201 and held.json["status"] == "TENTATIVE"
    assert seat(world, next_one, plan, event, org=None).json["code"] == "EVENT_FULL"
    shift(world, 31 * 60)
    run_job(world, "expire_holds")
    assert (
        world.make.one("SELECT status FROM appointment WHERE public_id = :a", a=held.json["id"]) == "EXPIRED"
    )
    assert seat(world, next_one, plan, event, org=None).status_code == 201


def test_events_that_are_not_open(world, webinar):
    plan, event = webinar(3)
    who = world.learner()
    assert seat(world, who, plan, str(uuid.uuid4())).status_code == 404
    other, _ = webinar(3)
    assert seat(world, who, other, event).status_code == 404
    assert world.book(who, slot(), plan=plan).json["code"] == "EVENT_NOT_OPEN"
    with world.make.session() as s:
        at = s.query(Event).filter_by(public_id=event).one().starts_at
    assert world.book(who, at, plan=plan).status_code == 201  # an event is also named by its start
    r = world.client.post(
        f"/api/events/{event}/cancel", json={"reason": "Ill"}, headers=world.auth(expert(world))
    )
    assert (r.status_code, r.json["status"]) == (200, "CANCELLED")
    assert seat(world, world.learner(), plan, event).json["code"] == "EVENT_NOT_OPEN"
    again = world.client.post(f"/api/events/{event}/cancel", json={}, headers=world.auth(expert(world)))
    assert again.json["code"] == "ILLEGAL_TRANSITION"
    stranger = world.client.post(f"/api/events/{event}/cancel", json={}, headers=world.auth(who))
    assert stranger.status_code == 404


def test_calling_off_refunds_everybody_in_full(world, webinar):
    plan, event = webinar(3, price=200_000)
    people = [world.learner() for _ in range(2)]
    for p in people:
        assert seat(world, p, plan, event).status_code == 201
    assert world.make.balance(world.org) == 5_000_000 - 400_000
    world.client.post(
        f"/api/events/{event}/cancel", json={"reason": "Ill"}, headers=world.auth(expert(world))
    )
    run_job(world, "deliver_outbox")
    assert world.make.balance(world.org) == 5_000_000
    assert world.make.rows(
        "SELECT DISTINCT a.status FROM appointment a JOIN event e ON e.id = a.event_id WHERE e.public_id = :e",
        e=event,
    ) == [("CANCELLED",)]
    assert not world.make.one(
        "SELECT count(*) FROM calendar_claim c JOIN event_session s ON s.id = c.event_session_id "
        "JOIN event e ON e.id = s.event_id WHERE e.public_id = :e",
        e=event,
    )


def test_a_class_needs_all_its_sessions_and_claims_each(world):
    plan = world.make.plan(
        world.expert,
        300_000,
        type="CLASS",
        total_sessions=3,
        sessions_per_week=2,
        max_participants=5,
        title="Class",
    )
    base = (clock.now() + dt.timedelta(days=20)).replace(hour=9, minute=0, second=0, microsecond=0)
    base -= dt.timedelta(days=base.weekday())
    starts = [base, base + dt.timedelta(days=1), base + dt.timedelta(days=8)]
    for wrong in (
        starts[:2],
        [*starts[:2], starts[1]],
        [base, base + dt.timedelta(days=1), base + dt.timedelta(days=2)],
    ):
        assert schedule(world, plan, wrong).status_code == 400
    assert schedule(world, plan, starts, capacity=6).status_code == 400
    made = schedule(world, plan, starts)
    assert made.status_code == 201 and len(made.json["sessions"]) == 3
    assert schedule(world, plan, starts).json["code"] == "SLOT_TAKEN"  # the expert is busy then
    who = world.learner()
    assert seat(world, who, plan, made.json["id"]).status_code == 201
    taken = world.make.rows(
        "SELECT lower(span) FROM calendar_claim WHERE user_id = :u ORDER BY 1", u=who.user_id
    )
    assert [r[0] for r in taken] == starts
    clash = world.book(who, starts[2], plan=world.make.plan(world.make.expert(), 100_000))
    assert clash.json["code"] == "LEARNER_DOUBLE_BOOKED"
    with world.make.session() as s:  # a class that lost a session takes nobody
        event = s.query(Event).filter_by(public_id=made.json["id"]).one()
        s.delete(s.query(type(event).sessions.property.mapper.class_).filter_by(event_id=event.id).first())
    assert seat(world, world.learner(), plan, made.json["id"]).json["code"] == "EVENT_NOT_OPEN"


def test_collaborators_share_one_booking(world, webinar):
    """Two experts at 70:30 of 100001, no host: gross first, floors, the owner takes the rest; all in one BOOKING."""
    other = world.make.expert()
    plan = world.make.plan(world.expert, 100_001, type="WEBINAR", max_participants=4, title="Two experts")
    world.make.add(
        *[
            PlanCollaborator(plan_id=plan.id, expert_id=e.id, user_id=e.user_id, revenue_share_bps=bps)
            for e, bps in ((world.expert, 7_000), (other, 3_000))
        ]
    )
    event = schedule(world, plan, [slot(12)]).json["id"]
    booked = seat(world, world.learner(), plan, event)
    assert booked.status_code == 201
    legs = world.make.rows(
        "SELECT a.code, e.side, e.amount_paise FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id "
        "JOIN ledger_transaction t ON t.id = e.transaction_id WHERE t.key = :k",
        k=f"booking:{booked.json['payment']['id']}",
    )
    # 30000 and 70001: platform 6000 + 14000, experts 24000 and 56001
    assert {(c.split("|")[0], c.split(":")[-1].split("|")[0], side): paise for c, side, paise in legs} == {
        ("WALLET", str(world.org.id), "D"): 100_001,
        ("PLATFORM_FEE", legs_owner("PLATFORM_FEE|platform|INR"), "C"): 20_000,
        ("CONSULTANT_PAYABLE", str(world.expert.user_id), "C"): 56_001,
        ("CONSULTANT_PAYABLE", str(other.user_id), "C"): 24_000,
    }
    shares = world.make.rows(
        "SELECT consultant_user_id, share_paise FROM consultant_earnings e JOIN payment p ON p.id = e.payment_id "
        "WHERE p.public_id = :p",
        p=booked.json["payment"]["id"],
    )
    assert {r[0]: r[1] for r in shares} == {world.expert.user_id: 56_001, other.user_id: 24_000}
    cancelled = world.client.post(
        f"/api/appointments/{booked.json['id']}/cancel",
        json={},
        headers=world.auth(expert(world)),
    )
    assert cancelled.status_code == 200 and world.make.balance(world.org) == 5_000_000


def legs_owner(code):
    return code.split(":")[-1].split("|")[0]


def test_done_events_end(world, webinar):
    plan, event = webinar(2)
    booked = seat(world, world.learner(), plan, event).json["id"]
    shift(world, 40 * 86_400)
    run_job(world, "complete_appointments")
    assert world.make.one("SELECT status FROM event WHERE public_id = :e", e=event) == "ENDED"
    assert (
        world.make.one("SELECT status FROM appointment WHERE public_id = :a", a=booked)
        == AppointmentStatus.COMPLETED
    )
