"""Races for a moved session's new time; seats that a card held too long (chapter 2, 2.3, 2.6, 2.7)."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from app.services import unapplied

from .conftest import slot
from .test_cards import till  # noqa: F401 - a fixture
from .test_events import expert, run_job, seat, shift, states, webinar  # noqa: F401 - webinar is a fixture


@contextmanager
def calendar_held(world, owner_engine, user_id, waiting):
    """Hold a calendar's turn until *waiting* transactions stand in line for it: all have read what is there now."""
    with owner_engine.connect() as c, owner_engine.connect() as watch:
        c.execute(text("SELECT pg_advisory_xact_lock(20261, :u)"), {"u": user_id})
        yield lambda: until_in_line(watch, user_id, waiting)
        c.rollback()


def until_in_line(watch, user_id, waiting):
    sql = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 20261 AND objid = :u "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND NOT granted"
    )
    for _ in range(100_000):
        if watch.execute(sql, {"u": user_id}).scalar_one() >= waiting:
            return
        watch.rollback()
    raise AssertionError("they never came to the lock")


def together(world, owner_engine, user_id, *jobs):
    """Answers of *jobs*, none of which saw what another did."""
    answers = [None] * len(jobs)

    def run(i, job):
        answers[i] = job(world.client.application.test_client())

    threads = [threading.Thread(target=run, args=(i, j)) for i, j in enumerate(jobs)]
    with calendar_held(world, owner_engine, user_id, len(jobs)) as all_wait:
        [t.start() for t in threads]
        all_wait()
    [t.join() for t in threads]
    return answers


def move(world, who, booking, to):
    headers = world.auth(who)
    return lambda client: client.post(
        f"/api/appointments/{booking}/reschedule", json={"starts_at": to.isoformat()}, headers=headers
    )


def times(world, booking):
    """(begin by the booking, begin by each claim, how often it was moved)."""
    row = world.make.rows("SELECT id, starts_at, sequence FROM appointment WHERE public_id = :a", a=booking)[
        0
    ]
    claims = world.make.rows(
        "SELECT lower(span) FROM calendar_claim WHERE appointment_id = :a ORDER BY role", a=row.id
    )
    return row.starts_at, [c[0] for c in claims], row.sequence


def codes(answers):
    return sorted((r.status_code, r.json.get("code")) for r in answers)


def test_two_learners_move_to_one_time(world, owner_engine):
    people, before, to = [world.learner(), world.learner()], [slot(5), slot(5)], slot(6)
    booked = [world.book(p, at).json["id"] for p, at in zip(people, before, strict=True)]
    answers = together(
        world,
        owner_engine,
        world.expert.user_id,
        *[move(world, p, b, to) for p, b in zip(people, booked, strict=True)],
    )
    assert codes(answers) == [(200, None), (409, "SLOT_TAKEN")]
    for answer, booking, at in zip(answers, booked, before, strict=True):
        moved = answer.status_code == 200
        assert times(world, booking) == ((to, [to] * 2, 1) if moved else (at, [at] * 2, 0))
    told = world.make.one(
        "SELECT count(*) FROM notification WHERE user_id = :u AND kind = 'booking.moved'",
        u=world.expert.user_id,
    )
    assert told == 1


def test_a_move_against_a_new_booking_of_the_time(world, owner_engine):
    mover, newcomer, at, to = world.learner(), world.learner(), slot(5), slot(6)
    booking = world.book(mover, at).json["id"]
    world.auth(newcomer)
    before = world.make.balance(world.org)
    moved, booked = together(
        world,
        owner_engine,
        world.expert.user_id,
        move(world, mover, booking, to),
        lambda c: world.book(newcomer, to, client=c),
    )
    assert sorted((moved.status_code, booked.status_code)) in ([200, 409], [201, 409])
    if moved.status_code == 200:
        assert booked.json["code"] == "SLOT_TAKEN" and world.make.balance(world.org) == before
        assert times(world, booking) == (to, [to] * 2, 1)
        assert world.written()["payment"] == 1
    else:
        assert moved.json["code"] == "SLOT_TAKEN" and world.make.balance(world.org) == before - 500_000
        assert times(world, booking) == (at, [at] * 2, 0)
        assert times(world, booked.json["id"]) == (to, [to] * 2, 0)
    # whoever lost finds the time taken, and the old one free only if it was left
    again = world.book(world.learner(), at)
    assert (again.status_code == 201) == (moved.status_code == 200)


def test_both_people_move_one_session_at_once(world, owner_engine):
    learner, at = world.learner(), slot(5)
    booking, one, other = world.book(learner, at).json["id"], slot(6), slot(7)
    answers = together(
        world,
        owner_engine,
        world.expert.user_id,
        move(world, learner, booking, one),
        move(world, expert(world), booking, other),
    )
    assert codes(answers) == [(200, None), (409, "ILLEGAL_TRANSITION")]
    to = one if answers[0].status_code == 200 else other
    assert times(world, booking) == (to, [to] * 2, 1)
    lost = other if to == one else one
    assert world.book(world.learner(), lost).status_code == 201  # nothing is left of the refused one
    terms = world.make.one("SELECT cancellation_policy FROM appointment WHERE public_id = :a", a=booking)
    assert bool(terms.get("moved_by_expert")) == (to == other)


def test_a_learner_moves_to_a_time_they_book_elsewhere_meanwhile(world, owner_engine):
    learner, at, to = world.learner(), slot(5), slot(6)
    booking = world.book(learner, at).json["id"]
    elsewhere = world.make.plan(world.make.expert(), 100_000)
    world.auth(learner)
    moved, booked = together(
        world,
        owner_engine,
        learner.user_id,
        move(world, learner, booking, to),
        lambda c: world.book(learner, to, plan=elsewhere, client=c),
    )
    assert sorted((moved.status_code, booked.status_code)) in ([200, 409], [201, 409])
    loser = booked if moved.status_code == 200 else moved
    assert loser.json["code"] == "LEARNER_DOUBLE_BOOKED"
    assert times(world, booking)[1] == ([to] * 2 if moved.status_code == 200 else [at] * 2)


# ---- seats -----------------------------------------------------------------------------------------------------------


def wait_for(world, who, event):
    r = world.client.post(f"/api/events/{event}/waitlist", json={}, headers=world.auth(who))
    assert r.status_code == 201, r.text


@pytest.fixture
def offered(world, webinar):  # noqa: F811
    """A webinar of one seat, given back and offered to the first of two who waited: (plan, event, first, second)."""
    plan, event = webinar(1)
    holder, first, second = world.learner(), world.make.user(), world.make.user()
    booking = seat(world, holder, plan, event).json["id"]
    for who in (first, second):
        wait_for(world, who, event)
    world.client.post(f"/api/appointments/{booking}/cancel", json={}, headers=world.auth(holder))
    assert states(world, event) == {first.id: "NOTIFIED", second.id: "WAITING"}
    return plan, event, first, second


def jobs(world):
    run_job(world, "expire_holds")
    run_job(world, "waitlist_offers")


def test_an_unpaid_hold_of_an_offered_seat_ends_with_the_offer_and_the_next_is_asked(world, till, offered):  # noqa: F811
    plan, event, first, second = offered
    held = seat(world, first, plan, event, org=None).json
    assert held["status"] == "TENTATIVE"
    shift(world, 31 * 60)
    jobs(world)
    assert till.state(held) == ("EXPIRED", "EXPIRED", False) and till.claims(held) == 0
    # the offer stands for its two hours: it may be taken again, by nobody else
    assert states(world, event) == {first.id: "NOTIFIED", second.id: "WAITING"}
    world.headers.clear()
    assert seat(world, second, plan, event, org=None).json["code"] == "EVENT_FULL"
    shift(world, 2 * 3600 + 1)
    jobs(world)
    assert states(world, event) == {first.id: "EXPIRED", second.id: "NOTIFIED"}
    world.headers.clear()
    assert seat(world, first, plan, event, org=None).json["code"] == "EVENT_FULL"
    till.settle(seat(world, second, plan, event, org=None).json)
    assert states(world, event)[second.id] == "BOOKED"


def test_a_hold_outlives_its_offer_and_then_the_next_is_asked(world, till, offered):  # noqa: F811
    plan, event, first, second = offered
    shift(world, 110 * 60)
    world.headers.clear()
    held = seat(world, first, plan, event, org=None).json
    shift(world, 121 * 60)
    jobs(world)
    assert states(world, event) == {first.id: "EXPIRED", second.id: "WAITING"}  # the hold still has the seat
    shift(world, 141 * 60)
    jobs(world)
    assert till.state(held)[0] == "EXPIRED"
    assert states(world, event) == {first.id: "EXPIRED", second.id: "NOTIFIED"}
    told = "SELECT count(*) FROM notification WHERE user_id = :u AND kind = 'waitlist.offer'"
    assert [world.make.one(told, u=u.id) for u in (first, second)] == [1, 1]


def test_an_expired_hold_asks_who_waited_for_it(world, till, webinar):  # noqa: F811
    plan, event = webinar(1)
    holder, waiter = world.make.user(), world.make.user()
    held = seat(world, holder, plan, event, org=None).json
    wait_for(world, waiter, event)
    shift(world, 31 * 60)
    jobs(world)
    assert till.state(held)[0] == "EXPIRED" and states(world, event) == {waiter.id: "NOTIFIED"}
    till.settle(held)  # too late: the seat is kept for who was asked
    assert till.state(held) == ("EXPIRED", "EXPIRED", False)
    assert till.unapplied(held) == [(100_000, "EVENT_FULL")]
    assert states(world, event) == {waiter.id: "NOTIFIED"}


def test_a_late_capture_takes_a_seat_that_is_still_free(world, till, webinar):  # noqa: F811
    for swept in (True, False):  # whether the hold was ended by the job before the money came
        plan, event = webinar(1)
        held = seat(world, world.make.user(), plan, event, org=None).json
        shift(world, 31 * 60)
        if swept:
            jobs(world)
        till.settle(held)
        assert till.state(held) == ("SUCCEEDED", "CONFIRMED", True) and till.claims(held) == 1
        assert till.legs(f"booking:{held['payment']['id']}")
        world.headers.clear()
        assert seat(world, world.make.user(), plan, event, org=None).json["code"] == "EVENT_FULL"
        shift(world, 0)
        world.headers.clear()


def test_a_late_capture_of_a_taken_seat_goes_back(world, till, webinar):  # noqa: F811
    plan, event = webinar(1)
    held = seat(world, world.make.user(), plan, event, org=None).json
    shift(world, 31 * 60)
    taken = seat(world, world.learner(), plan, event)  # no job has run yet
    assert taken.status_code == 201, taken.text
    till.settle(held)
    assert till.state(held)[1:] == ("TENTATIVE", False)
    assert till.legs(f"booking:{held['payment']['id']}") == []
    assert till.unapplied(held) == [(100_000, "EVENT_FULL")]
    went = world.make.rows(
        "SELECT u.public_id, u.provider_payment_id AS pay FROM unapplied_receipt u JOIN sandbox_order o "
        "ON o.payment_id = u.provider_payment_id WHERE o.order_id = :o",
        o=held["payment"]["order_id"],
    )[0]
    kept = [("CASH", "D", 100_000), ("UNAPPLIED_RECEIPT", "C", 100_000)]
    assert till.legs(f"unapplied:{went.pay}") == kept
    queued = (
        "SELECT count(*) FROM outbox_message WHERE topic = 'refund_unapplied' AND payload->>'payment_id' = :p"
    )
    assert world.make.one(queued, p=went.pay) == 1
    for _ in range(2):  # a repeated delivery sends nothing twice
        till.act()
        unapplied.refund(till.session, went.pay, till.settings)
        till.session.commit()
    back = [("CASH", "C", 100_000), ("UNAPPLIED_RECEIPT", "D", 100_000)]
    assert till.legs(f"unapplied-refund:{went.public_id}") == back
    assert world.make.one("SELECT count(*) FROM sandbox_refund WHERE payment_id = :p", p=went.pay) == 1
    seats = world.make.one(
        "SELECT count(*) FROM appointment a JOIN event e ON e.id = a.event_id "
        "WHERE e.public_id = :e AND a.status = 'CONFIRMED'",
        e=event,
    )
    assert seats == 1
    jobs(world)
    assert till.state(held) == ("EXPIRED", "EXPIRED", False)


def test_a_late_capture_after_the_event_was_called_off_goes_back(world, till, webinar):  # noqa: F811
    plan, event = webinar(2)
    held = seat(world, world.make.user(), plan, event, org=None).json
    shift(world, 31 * 60)
    jobs(world)
    world.headers.clear()
    r = world.client.post(
        f"/api/events/{event}/cancel", json={"reason": "Ill"}, headers=world.auth(expert(world))
    )
    assert r.status_code == 200
    till.settle(held)
    assert till.state(held) == ("EXPIRED", "EXPIRED", False)
    assert till.unapplied(held) == [(100_000, "EVENT_NOT_OPEN")]
