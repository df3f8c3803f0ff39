"""Concurrent bookings with real sessions: one wallet, one slot, one learner, one key, one pool, one limit."""

from __future__ import annotations

import threading

import pytest

from app.models import PoolScope, Program

from .conftest import slot


def race(world, *jobs):
    """Run the jobs at once, each with a client of its own; answers in their order."""
    gate, answers = threading.Barrier(len(jobs)), [None] * len(jobs)

    def run(i, job):
        client = world.client.application.test_client()
        gate.wait()
        answers[i] = job(client)

    threads = [threading.Thread(target=run, args=(i, j)) for i, j in enumerate(jobs)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


def outcome(answers):
    return sorted((r.status_code, r.json.get("code")) for r in answers)


@pytest.mark.scenario("M-7")
def test_two_bookings_one_wallet(world):
    a, b = world.learner(), world.learner()
    world.auth(a), world.auth(b)
    plan_a, plan_b = (
        world.make.plan(world.make.expert(), 5_000_000),
        world.make.plan(world.make.expert(), 5_000_000),
    )
    answers = race(
        world,
        lambda c: world.book(a, slot(), plan=plan_a, client=c),
        lambda c: world.book(b, slot(), plan=plan_b, client=c),
    )
    assert outcome(answers) == [(201, None), (402, "WALLET_INSUFFICIENT_FUNDS")]
    assert world.make.balance(world.org) == 0
    assert (
        world.make.one(
            "SELECT count(*) FROM ledger_transaction WHERE organization_id = :o AND kind = 'BOOKING'",
            o=world.org.id,
        )
        == 1
    )
    assert world.written()["payment"] == world.written()["appointment"] == 1


@pytest.mark.scenario("M-12")
def test_ten_posts_one_key(world):
    learner, at = world.learner(), slot()
    world.auth(learner)
    answers = race(world, *[lambda c: world.book(learner, at, key="ten", client=c)] * 10)
    assert sorted(r.status_code for r in answers) == [200] * 9 + [201]
    assert len({r.json["payment"]["id"] for r in answers}) == 1 and world.written()["payment"] == 1


@pytest.mark.scenario("M-14")
def test_two_learners_one_slot(world):
    at = slot()
    people = [world.learner() for _ in range(4)]
    for p in people:
        world.auth(p)
    answers = race(world, *[lambda c, p=p: world.book(p, at, client=c) for p in people])
    assert outcome(answers) == [(201, None)] + [(409, "SLOT_TAKEN")] * 3
    assert world.written()["payment"] == 1


@pytest.mark.scenario("M-14")
def test_one_learner_overlapping_experts(world):
    learner, at = world.learner(), slot()
    world.auth(learner)
    plans = [world.make.plan(world.make.expert(), 100_000) for _ in range(3)]
    answers = race(world, *[lambda c, p=p: world.book(learner, at, plan=p, client=c) for p in plans])
    assert outcome(answers) == [(201, None)] + [(409, "LEARNER_DOUBLE_BOOKED")] * 2
    assert world.written()["payment"] == 1


def test_crosswise_bookings_do_not_deadlock(world):
    """Two experts book each other at the same hour: one wins, and nobody waits for the deadlock detector."""
    at = slot()
    members = [world.learner(), world.learner()]
    plans = [world.make.plan(world.make.expert(m.user), 100_000) for m in members]
    for m in members:
        world.auth(m)
    answers = race(
        world,
        lambda c: world.book(members[0], at, plan=plans[1], client=c),
        lambda c: world.book(members[1], at, plan=plans[0], client=c),
    )
    codes = outcome(answers)
    assert codes[0] == (201, None) and codes[1][1] in ("SLOT_TAKEN", "LEARNER_DOUBLE_BOOKED")


def test_shared_pool_is_not_overdrawn(world):
    with world.make.session() as s:
        program = s.get(Program, world.program.id)
        program.credits_per_cycle, program.pool_scope = 10_000, PoolScope.SHARED
    people = [world.learner() for _ in range(4)]
    plans = [world.make.plan(world.make.expert(), 400_000) for _ in people]
    for p in people:
        world.auth(p)
    answers = race(
        world,
        *[
            lambda c, p=p, plan=plan: world.book(p, slot(), plan=plan, client=c)
            for p, plan in zip(people, plans, strict=True)
        ],
    )
    assert outcome(answers) == [(201, None)] * 2 + [(402, "PROGRAM_SESSION_CAP_REACHED")] * 2
    assert (
        world.make.one("SELECT sum(consumed_paise) FROM assignment WHERE program_id = :p", p=world.program.id)
        == 800_000
    )


def test_own_pool_is_not_overdrawn(world):
    with world.make.session() as s:
        s.get(Program, world.program.id).credits_per_cycle = 10_000
    learner = world.learner()
    world.auth(learner)
    plans = [world.make.plan(world.make.expert(), 600_000) for _ in range(3)]
    answers = race(world, *[lambda c, p=p: world.book(learner, slot(), plan=p, client=c) for p in plans])
    assert outcome(answers) == [(201, None)] + [(402, "PROGRAM_SESSION_CAP_REACHED")] * 2


@pytest.mark.scenario("P-36")
def test_spend_limit_under_concurrency(world):
    learner = world.learner(spend_limit_paise=50_000)
    world.auth(learner)
    plans = [world.make.plan(world.make.expert(), 30_000) for _ in range(3)]
    answers = race(world, *[lambda c, p=p: world.book(learner, slot(), plan=p, client=c) for p in plans])
    assert outcome(answers) == [(201, None)] + [(409, "MEMBER_SPEND_LIMIT_EXCEEDED")] * 2


def test_a_mixed_crowd_reconciles_clean(world):
    """Good, refused, repeated and free bookings at once: every cache equals its sum afterwards."""
    from app.security.context import Ctx, _current
    from app.services import reconcile

    people = [world.learner() for _ in range(4)]
    for p in people:
        world.auth(p)
    plans = [
        world.make.plan(world.make.expert(), price, tax_bps=1800) for price in (0, 99_999, 500_000, 4_000_000)
    ]
    at = [slot() for _ in range(3)]
    jobs = [
        lambda c, p=p, plan=plan, n=n: world.book(p, at[n % 3], plan=plan, key=f"mixed-{n % 7}", client=c)
        for n, (p, plan) in enumerate((p, plan) for p in people for plan in plans)
    ]
    answers = race(world, *jobs)
    assert {r.status_code for r in answers} <= {201, 200, 402, 409} and any(
        r.status_code == 201 for r in answers
    )
    with world.make.session() as session:
        before = _current.get()
        _current.set(Ctx(scope="job"))
        try:
            assert reconcile.run(session, world.org.id).findings == []
        finally:
            _current.set(before)
