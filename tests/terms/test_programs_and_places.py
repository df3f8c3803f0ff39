"""Programs and places over REST, and the cycle engine (M-22, M-23, M-30, M-31)."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import clock
from app.models import Cycle, FundingSource, MembershipStatus, OrgRole
from app.services import periods

from .conftest import POOL, SEAT

POOL_BODY = {"type": "CREDIT_POOL", "credits_per_cycle": 1000}


def create(w, status=201, **body):
    r = w.post(
        w.owner, "programs", {"contract_id": str(w.contract.public_id), "name": "Second", **POOL_BODY, **body}
    )
    assert r.status_code == status, r.json
    return r.json


@pytest.mark.scenario("M-22")
def test_what_a_program_may_not_be(sponsor):
    w = sponsor()
    before = w.make.one("SELECT count(*) FROM program")
    for kind in ("PROJECT", "RETAINER", "RESELLER"):
        assert create(w, 400, type=kind)["code"] == "PROGRAM_TYPE_NOT_AVAILABLE"
    assert (
        create(w, 400, overage_behavior="CHARGE_ORG", force_overlap=True)["code"] == "INVALID_OVERAGE_CONFIG"
    )
    assert create(w, 400, overage_surcharge_bps=100)["code"] == "INVALID_OVERAGE_CONFIG"
    licence = sponsor(
        FundingSource.LICENSE,
        SEAT,
        {"license_model": "FLAT_FEE", "license_fee_paise": 1, "license_cycle": "ANNUAL"},
    )
    assert create(licence, 400)["code"] == "UNREACHABLE_FUNDING_PATH"
    unlimited = {
        "type": "LICENSED_SEAT",
        "credits_per_cycle": None,
        "overage_behavior": "CHARGE_ORG",
        "max_overage_per_cycle_paise": 100,
    }
    assert create(licence, 400, force_overlap=True, **unlimited)["code"] == "INVALID_OVERAGE_CONFIG"
    assert w.make.one("SELECT count(*) FROM program") == before + 1  # the second sponsor's own
    assert (
        sponsor(FundingSource.WALLET)
        and create(sponsor(FundingSource.WALLET), 400, type="LICENSED_SEAT")["code"]
        == "UNREACHABLE_FUNDING_PATH"
    )


@pytest.mark.scenario("M-23")
def test_overlap_is_refused_and_figures_lock_with_the_first_place(sponsor):
    w = sponsor()
    assert create(w, 409)["code"] == "PROGRAM_COVERAGE_OVERLAP"
    second = create(w, force_overlap=True)
    patch = lambda body: w.post(w.owner, f"programs/{second['id']}", body, "patch")  # noqa: E731
    assert patch({"credits_per_cycle": 2000}).json["credits_per_cycle"] == 2000
    learner = w.learner(assigned=False)
    assert (
        w.post(
            w.owner, f"programs/{second['id']}/assignments", {"membership_id": str(learner.public_id)}
        ).status_code
        == 201
    )
    r = patch({"credits_per_cycle": 3000})
    assert (r.status_code, r.json["code"], r.json["details"]["fields"]) == (
        409,
        "PROGRAM_CONFIG_LOCKED",
        ["credits_per_cycle"],
    )
    assert patch({"name": "Renamed"}).json["name"] == "Renamed"
    assert patch({"allowed_categories": ["Finance"]}).status_code == 200
    assert w.get(w.owner, f"programs/{second['id']}").json["credits_per_cycle"] == 2000


def test_a_program_pauses_resumes_is_superseded_and_archived(sponsor):
    w = sponsor()
    learner = w.learner()
    w.use(learner, paise=70_000, engagements=1)
    key = w.program.public_id
    assert w.post(w.owner, f"programs/{key}", {"status": "PAUSED"}, "patch").json["status"] == "PAUSED"
    assert w.book(learner).json["code"] == "PROGRAM_ASSIGNMENT_INACTIVE"
    assert w.post(w.owner, f"programs/{key}", {"status": "ACTIVE"}, "patch").json["status"] == "ACTIVE"
    held = w.post(w.owner, f"programs/{key}/archive")
    assert (held.json["code"], held.json["details"]["count"]) == ("PROGRAM_HAS_ACTIVE_ASSIGNMENTS", 1)
    new = w.post(w.owner, f"programs/{key}/supersede", {"credits_per_cycle": 60_000})
    assert (
        new.status_code == 201 and new.json["assignments_moved"] == 1 and new.json["active_seat_count"] == 1
    )
    assert w.get(w.owner, f"programs/{key}").json["status"] == "ARCHIVED"
    assert w.used(learner) == (70_000, 1, 0)
    assert (
        w.make.one("SELECT program_id FROM assignment WHERE membership_id = :m", m=learner.id) != w.program.id
    )
    assert w.book(learner).status_code == 201
    assert w.post(w.owner, f"programs/{key}/supersede", {}).json["code"] == "ILLEGAL_TRANSITION"
    assert (
        w.post(w.owner, f"programs/{new.json['id']}", None, "delete").json["code"]
        == "PROGRAM_HAS_ACTIVE_ASSIGNMENTS"
    )
    unused = create(w, force_overlap=True)
    assert w.post(w.owner, f"programs/{unused['id']}", None, "delete").status_code == 204
    assert {"PROGRAM_PAUSED", "PROGRAM_RESUMED", "PROGRAM_SUPERSEDED", "PROGRAM_DELETED"} <= set(w.audit())


def test_a_panel_is_given_by_public_ids(sponsor):
    w = sponsor()
    other = w.make.expert()
    made = create(
        w, force_overlap=True, expert_ids=[str(other.public_id)], credit_pool_config={"pool_scope": "SHARED"}
    )
    assert made["expert_ids"] == [str(other.public_id)] and made["pool_scope"] == "SHARED"
    assert made["credit_pool_config"]["credits_per_cycle"] == 1000
    assert create(w, 400, force_overlap=True, expert_ids=["x"])["code"] == "VALIDATION_FAILED"


@pytest.mark.scenario("M-30")
def test_three_at_once_one_is_gone(sponsor):
    w = sponsor()
    a, b = w.learner(assigned=False), w.learner(assigned=False)
    gone = w.learner(assigned=False, status=MembershipStatus.REMOVED)
    body = {
        "membership_ids": [str(m.public_id) for m in (a, b, gone)],
        "period": clock.today_ist().isoformat(),
    }
    first = w.post(w.owner, f"programs/{w.program.public_id}/auto-enroll", body).json
    assert (first["enrolled"], first["skipped"], first["failed"]) == (2, 0, 1)
    assert [r.get("code") for r in first["results"]] == [None, None, "MEMBERSHIP_NOT_ACTIVE"]
    again = w.post(w.owner, f"programs/{w.program.public_id}/auto-enroll", body).json
    assert (again["enrolled"], again["skipped"], again["failed"]) == (0, 2, 1)
    assert len(w.events("program.assigned")) == 2


def test_joiners_are_enrolled(sponsor):
    w = sponsor(program={**POOL, "auto_enroll": True})
    person = w.make.user()
    r = w.post(w.owner, "members", {"email": person.email, "role": "LEARNER"})
    assert r.status_code == 201, r.json
    assert (
        w.make.one(
            "SELECT count(*) FROM assignment WHERE program_id = :p AND status = 'ACTIVE'", p=w.program.id
        )
        == 1
    )
    manager = w.make.user()
    assert w.post(w.owner, "members", {"email": manager.email, "role": "MANAGER"}).status_code == 201
    assert w.make.one("SELECT active_seat_count FROM program WHERE id = :p", p=w.program.id) == 1


@pytest.mark.scenario("M-31")
def test_months_pin_to_the_anchor_or_the_end_of_the_month(sponsor):
    """A place from 31 January rolls to 28 February and 31 March; once, with counters at zero, also without auto-renewal."""
    start = dt.date(2027, 1, 31)
    w = sponsor(
        contract={
            "effective_from": dt.date(2026, 1, 1),
            "effective_to": dt.date(2028, 1, 1),
            "auto_renew": False,
        }
    )
    learner = w.learner(assigned=False)
    made = w.post(
        w.owner,
        f"programs/{w.program.public_id}/assignments",
        {"membership_id": str(learner.public_id), "period_start": start.isoformat()},
    )
    assert made.status_code == 201 and made.json["period_end"] == "2027-02-27"
    w.use(learner, paise=500, engagements=3)

    def at(day):
        w.later(days=(day - clock.today_ist()).days + clock.offset_seconds() // 86_400)
        for _ in range(2):
            w.run("advance_program_cycles")
        return w.make.rows(
            "SELECT status, period_start, consumed_paise, engagements_used FROM assignment WHERE membership_id = :m ORDER BY id",
            m=learner.id,
        )

    rows = at(dt.date(2027, 2, 28))
    assert [(r[0], r[1]) for r in rows] == [("ROLLED", start), ("ACTIVE", dt.date(2027, 2, 28))]
    assert tuple(rows[1][2:]) == (0, 0)
    rows = at(dt.date(2027, 3, 31))
    assert [(r[0], r[1].isoformat()) for r in rows] == [
        ("ROLLED", "2027-01-31"),
        ("ROLLED", "2027-02-28"),
        ("ACTIVE", "2027-03-31"),
    ]
    rows = at(dt.date(2027, 7, 15))  # missed cycles replay
    assert [r[1].isoformat() for r in rows[3:]] == ["2027-04-30", "2027-05-31", "2027-06-30"]
    assert [r[0] for r in rows] == ["ROLLED"] * 5 + ["ACTIVE"]


@given(
    start=st.dates(dt.date(2020, 1, 1), dt.date(2060, 1, 1)),
    cycle=st.sampled_from(list(Cycle)),
    n=st.integers(1, 40),
)
def test_cycles_follow_each_other_without_gap_and_come_back_to_the_anchor(start, cycle, n):
    day = start
    for _ in range(n):
        end, _ = periods.last_day(day, cycle, start.day)
        following = periods.next_start(day, cycle, start.day)
        assert following == end + dt.timedelta(days=1) and (end - day).days >= 27
        day = following
    months = periods.MONTHS[cycle] * n
    assert day == periods.add_months(start, months, start.day)


@given(start=st.dates(dt.date(2020, 1, 1), dt.date(2060, 1, 1)), length=st.integers(1, 2000))
def test_a_renewed_term_begins_the_day_after_and_is_as_long(start, length):
    end = start + dt.timedelta(days=length)
    first, last = periods.same_length(start, end)
    assert first == end + dt.timedelta(days=1)
    months = (first.year - start.year) * 12 + first.month - start.month
    whole = periods.add_months(start, months, start.day) == first
    after = last + dt.timedelta(days=1)
    assert (
        after == periods.add_months(first, months, first.day)
        if whole and months
        else (last - first).days == length
    )


def test_suspension_pauses_places_and_reactivation_resumes_them(sponsor):
    w = sponsor()
    learner = w.learner()
    admin = w.make.bearer(w.make.user(platform_role="ADMIN"))

    def decide(action):
        r = w.client.post(
            f"/api/admin/organizations/{w.org.public_id}/verify",
            json={"action": action, "reason": "Terms"},
            headers=admin,
        )
        assert r.status_code == 200, r.json

    decide("SUSPEND")
    assert w.make.one("SELECT status FROM assignment WHERE membership_id = :m", m=learner.id) == "PAUSED"
    w.later(days=200)
    w.run("advance_program_cycles")
    assert w.make.one("SELECT count(*) FROM assignment WHERE membership_id = :m", m=learner.id) == 1
    w.later(days=0)
    decide("REACTIVATE")
    assert w.make.one("SELECT status FROM assignment WHERE membership_id = :m", m=learner.id) == "ACTIVE"
    assert w.book(learner).status_code == 201


def test_removing_a_member_frees_the_seat(sponsor):
    w = sponsor()
    learner = w.learner()
    assert w.make.one("SELECT active_seat_count FROM program WHERE id = :p", p=w.program.id) == 1
    r = w.client.delete(
        f"/api/organizations/{w.org.public_id}/members/{learner.public_id}?force=true",
        headers=w.auth(w.owner),
    )
    assert r.status_code in (200, 204), r.json
    assert w.make.one("SELECT active_seat_count FROM program WHERE id = :p", p=w.program.id) == 0


def test_fifty_places_at_once_are_fifty_seats(sponsor):
    """The count is taken under the program's lock, whoever else adds a place."""
    w = sponsor()
    people = [w.learner(assigned=False) for _ in range(8)]
    w.auth(w.owner)
    gate, out = threading.Barrier(8), []

    def give(member):
        client = w.client.application.test_client()
        gate.wait()
        r = client.post(
            f"/api/organizations/{w.org.public_id}/programs/{w.program.public_id}/assignments",
            json={"membership_id": str(member.public_id)},
            headers=w.auth(w.owner),
        )
        out.append(r.status_code)

    threads = [threading.Thread(target=give, args=(m,)) for m in people]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert out == [201] * 8
    assert w.make.one("SELECT active_seat_count FROM program WHERE id = :p", p=w.program.id) == 8


def test_a_learner_sees_their_own_program(sponsor):
    w = sponsor()
    learner, other = w.learner(), w.learner(assigned=False)
    assert w.get(learner, f"programs/{w.program.public_id}").status_code == 200
    assert w.get(other, f"programs/{w.program.public_id}").status_code == 404
    assert w.post(learner, f"programs/{w.program.public_id}", {"name": "Mine"}, "patch").status_code == 403
    assert w.make.member(w.org, OrgRole.MANAGER)
