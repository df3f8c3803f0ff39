"""What a change of people brings with it: seats, places, channels, events, notices, sessions (chapter 1, 1.3)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from app import clock
from app.errors import DomainError
from app.models import Assignment, ChatChannel, ConsultantEarning, MembershipStatus, OrgRole, Payment
from app.services import members
from tests.organizations.test_creation import race
from tests.people.test_member_requests import program
from tests.people.test_members import API, audits, book, state, url, used


def events(make: Any, org: Any) -> list[dict[str, Any]]:
    rows = make.rows(
        "SELECT payload FROM outbox_message WHERE organization_id = :o AND topic = 'event' ORDER BY id",
        o=org.id,
    )
    return [{"event": r[0]["event"], **r[0]["data"]} for r in rows]


def place(make: Any, org: Any, member: Any) -> Assignment:
    today = clock.today_ist()
    return make.add(
        Assignment(
            organization_id=org.id,
            program_id=program(make, org).id,
            membership_id=member.id,
            period_start=today - dt.timedelta(days=2),
            period_end=today + dt.timedelta(days=20),
        )
    )


def channel(make: Any, org: Any | None, *people: Any) -> ChatChannel:
    return make.add(
        ChatChannel(
            organization_id=org.id if org else None,
            kind="ORGANIZATION" if org else "DIRECT",
            title="Talk",
            created_by_user_id=people[0].user_id,
            member_user_ids=[p.user_id for p in people],
        )
    )


def earn(make: Any, org: Any, member: Any) -> None:
    plan = make.plan(make.expert(member.user))
    payment = make.add(
        Payment(
            organization_id=org.id,
            user_id=member.user_id,
            plan_id=plan.id,
            status="SUCCEEDED",
            method="WALLET",
            price_paise=100,
            tax_paise=0,
            tax_bps=0,
            amount_paise=100,
        )
    )
    make.add(
        ConsultantEarning(
            organization_id=org.id,
            payment_id=payment.id,
            consultant_user_id=member.user_id,
            gross_paise=100,
            platform_bps=1000,
            org_bps=1000,
            consultant_bps=8000,
            share_paise=80,
            status="HELD",
            hold_until=clock.now(),
        )
    )


@pytest.mark.scenario("P-19")
def test_a_forced_removal_does_everything_at_once(client: Any, make: Any) -> None:
    org, other = make.org(), make.org()
    owner_row, learner = make.member(org), make.member(org, "LEARNER", department_label="Sales")
    owner = make.bearer(owner_row)
    for days in (1, 2):
        book(make, org, learner.user, days)
    seat = place(make, org, learner)
    ours, direct = channel(make, org, learner, owner_row), channel(make, None, learner, owner_row)
    theirs = channel(make, other, learner, owner_row)
    path = url(org, learner)
    assert client.get(path + "/obligations", headers=owner).json["obligations"] == {
        "upcoming_sessions": 2,
        "live_seats": 1,
        "overage_inflight": 0,
        "unpaid_earnings": 0,
        "pending_refunds": 0,
        "open_disputes": 0,
    }
    no = client.delete(path, headers=owner)
    assert (no.status_code, no.json["code"]) == (409, "MEMBER_HAS_OBLIGATIONS")
    assert no.json["details"] == {"upcoming_sessions": 2, "live_seats": 1}
    assert "2 upcoming sessions and 1 place in a program" in no.json["message"]
    assert state(make, learner) == ("LEARNER", "ACTIVE") and events(make, org) == [] and used(make, org) == 1
    assert client.delete(path + "?force=true", headers=owner).status_code == 200
    assert state(make, learner) == ("LEARNER", "REMOVED") and used(make, org) == 0
    assert make.one("SELECT status FROM assignment WHERE id = :i", i=seat.id) == "CANCELLED"
    there = {
        c: make.one("SELECT member_user_ids FROM chat_channel WHERE id = :i", i=c.id)
        for c in (ours, direct, theirs)
    }
    assert there[ours] == [owner_row.user_id]
    assert there[direct] == there[theirs] == [learner.user_id, owner_row.user_id]
    assert events(make, org) == [
        {
            "event": "member.removed",
            "membership_id": str(learner.public_id),
            "user_id": str(learner.user.public_id),
            "role": "LEARNER",
            "department_label": "Sales",
            "previous_status": "ACTIVE",
            "source": "in_app",
        }
    ]
    details = make.one("SELECT details FROM org_audit_log WHERE organization_id = :o", o=org.id)
    assert details["forced"] is True and details["obligations"] == {"upcoming_sessions": 2, "live_seats": 1}
    assert make.one("SELECT count(*) FROM notification WHERE user_id = :u", u=learner.user_id) == 1
    assert (
        make.one("SELECT count(*) FROM outbox_message WHERE payload->>'to' = :e", e=learner.user.email) == 1
    )


def test_unpaid_earnings_hold_an_expert_and_independence_returns(client: Any, make: Any) -> None:
    org = make.org(can_host=True)
    owner, expert = make.bearer(make.member(org)), make.member(org, "EXPERT")
    earn(make, org, expert)
    no = client.delete(url(org, expert), headers=owner)
    assert no.json["details"] == {"unpaid_earnings": 1}
    assert client.delete(url(org, expert) + "?force=true", headers=owner).status_code == 200
    assert make.one("SELECT is_independent FROM consultant_profile WHERE user_id = :u", u=expert.user_id)


def test_leaving_gives_live_seats_back_and_tells_the_owners(client: Any, make: Any) -> None:
    org = make.org()
    owner, learner = make.member(org), make.member(org, "LEARNER")
    seat, talk = place(make, org, learner), channel(make, org, learner, owner)
    book(make, org, learner.user, 1)
    mine = make.bearer(learner)
    no = client.post(url(org, tail="/leave"), headers=mine)
    assert (no.status_code, no.json["details"]) == (409, {"upcoming_sessions": 1})
    assert no.json["message"].startswith("You still have 1 upcoming session")
    with make.owner.begin() as connection:
        from sqlalchemy import text

        connection.execute(
            text("UPDATE appointment SET status = 'COMPLETED' WHERE organization_id = :o"), {"o": org.id}
        )
    assert client.post(url(org, tail="/leave"), headers=mine).status_code == 200
    assert make.one("SELECT status FROM assignment WHERE id = :i", i=seat.id) == "CANCELLED"
    assert make.one("SELECT member_user_ids FROM chat_channel WHERE id = :i", i=talk.id) == [owner.user_id]
    assert used(make, org) == 0 and [e["event"] for e in events(make, org)] == ["member.removed"]
    assert audits(make, org) == ["MEMBER_REMOVED"]
    assert make.one("SELECT kind FROM notification WHERE user_id = :u", u=owner.user_id) == "member_left"


@pytest.mark.scenario("P-20")
def test_adding_again_says_so_and_offers_the_way_out(client: Any, make: Any) -> None:
    org = make.org()
    owner, gone = make.bearer(make.member(org)), make.member(org, "LEARNER", status=MembershipStatus.REMOVED)
    added = client.post(url(org), json={"email": gone.user.email, "role": "LEARNER"}, headers=owner)
    assert added.status_code == 200
    (event,) = events(make, org)
    assert (event["event"], event["previous_status"], event["source"]) == (
        "member.added",
        "REMOVED",
        "in_app",
    )
    values = make.one(
        "SELECT payload->'values' FROM outbox_message WHERE payload->>'to' = :e", e=gone.user.email
    )
    assert values["leave_path"] == "/dashboard#leave"
    page = make.sign_in(client, gone).get("/dashboard").text
    assert 'id="leave"' in page and f"/dashboard/organization/{org.slug}/leave" in page


@pytest.mark.scenario("P-20")
def test_erasure_is_final(app: Any, client: Any, make: Any) -> None:
    org = make.org()
    owner, learner = make.member(org), make.member(org, "LEARNER")
    with make.acting(owner) as session:
        row = members.erase_member(session, session.get(type(learner), learner.id))
        session.commit()
        assert row.status == MembershipStatus.ERASED
        with pytest.raises(DomainError, match="ILLEGAL_TRANSITION"):
            members.erase_member(session, row)
        session.rollback()
        with pytest.raises(DomainError, match="LAST_OWNER"):
            members.erase_member(session, session.get(type(owner), owner.id))
        session.rollback()
    assert used(make, org) == 0 and "user_id" not in events(make, org)[0]
    headers = make.bearer(owner)
    for call in (
        lambda: client.patch(url(org, learner), json={"status": "ACTIVE"}, headers=headers),
        lambda: client.delete(url(org, learner), headers=headers),
    ):
        assert call().json["code"] == "MEMBER_NOT_FOUND"
    again = client.post(url(org), json={"email": learner.user.email, "role": "LEARNER"}, headers=headers)
    assert (again.status_code, again.json["code"]) == (410, "USER_ERASED")
    assert state(make, learner) == ("LEARNER", "ERASED")


@pytest.mark.scenario("P-21")
def test_a_browser_notices_a_promotion_without_signing_in_again(client: Any, make: Any) -> None:
    org = make.org()
    owner, learner = make.bearer(make.member(org)), make.member(org, "LEARNER")
    browser = make.sign_in(client, learner)
    page = f"/dashboard/organization/{org.slug}/members/"
    assert browser.get(page).status_code == 403
    before = make.one("SELECT session_generation FROM ab_user WHERE id = :u", u=learner.user_id)
    other = client.application.test_client()
    assert other.patch(url(org, learner), json={"role": "MANAGER"}, headers=owner).status_code == 200
    assert make.one("SELECT session_generation FROM ab_user WHERE id = :u", u=learner.user_id) == before + 1
    assert browser.get(page).status_code == 200
    assert other.patch(url(org, learner), json={"status": "SUSPENDED"}, headers=owner).status_code == 200
    assert browser.get(page).status_code == 403
    assert browser.get("/dashboard").status_code == 200


@pytest.mark.scenario("P-15")
def test_racing_removals_release_one_seat(app: Any, client: Any, make: Any) -> None:
    org = make.org(seats_total=9)
    owners = [make.bearer(make.member(org)) for _ in range(3)]
    learner = make.member(org, "LEARNER")
    make.member(org, "LEARNER")
    calls = [
        lambda c: c.patch(url(org, learner), json={"status": "SUSPENDED"}, headers=owners[0]),
        lambda c: c.delete(url(org, learner), headers=owners[1]),
        lambda c: c.patch(url(org, learner), json={"role": "MANAGER"}, headers=owners[2]),
    ]
    assert 200 in {a.status_code for a in race(app, calls)}
    assert used(make, org) == 1
    assert (
        make.one(
            "SELECT count(*) FROM membership WHERE organization_id = :o AND role = 'LEARNER' "
            "AND status = 'ACTIVE'",
            o=org.id,
        )
        == 1
    )


@pytest.mark.scenario("P-14")
def test_seats_fill_exactly_when_people_come_back_at_once(app: Any, client: Any, make: Any) -> None:
    org = make.org(seats_total=2)
    owner = make.bearer(make.member(org))
    waiting = [make.member(org, "LEARNER", status=MembershipStatus.SUSPENDED) for _ in range(4)]
    calls = [lambda c, m=m: c.patch(url(org, m), json={"status": "ACTIVE"}, headers=owner) for m in waiting]
    answers = race(app, calls)
    assert sorted(a.status_code for a in answers) == [200, 200, 403, 403] and used(make, org) == 2
    assert {a.json["code"] for a in answers if a.status_code == 403} == {"SEAT_LIMIT_REACHED"}
    lower = client.patch(f"{API}/{org.slug}", json={"seats_total": 1}, headers=owner)
    assert (lower.status_code, lower.json["code"]) == (409, "SEATS_BELOW_USAGE")
    assert make.one("SELECT seats_total FROM organization WHERE id = :o", o=org.id) == 2


def test_who_comes_back_counts_towards_the_cap(client: Any, make: Any) -> None:
    org = make.org(domain=False)
    owner = make.bearer(make.member(org))
    away = make.member(org, "MANAGER", status=MembershipStatus.SUSPENDED)
    [make.member(org, "MANAGER") for _ in range(4)]
    no = client.patch(url(org, away), json={"status": "ACTIVE"}, headers=owner)
    assert (no.status_code, no.json["code"]) == (403, "DOMAIN_VERIFICATION_REQUIRED")
    assert state(make, away) == ("MANAGER", "SUSPENDED")


def test_limits_keep_to_authority_and_to_those_who_see_money(client: Any, make: Any) -> None:
    org, strict = make.org(), make.org(people_owner_only=True)
    owner, learner = make.member(org), make.member(org, "LEARNER", spend_limit_paise=70_000)
    maintainer = make.bearer(make.member(org, "MAINTAINER"))
    body = {"spend_limit_paise": 100}
    no = client.patch(url(org, owner, "/spend-limit"), json=body, headers=maintainer)
    assert (no.status_code, no.json["code"]) == (403, "ROLE_REQUIRES_OWNER")
    assert client.patch(url(org, learner, "/spend-limit"), json=body, headers=maintainer).status_code == 200
    for role in ("MAINTAINER", "BILLING_ADMIN"):
        who, target = make.bearer(make.member(strict, role)), make.member(strict, "LEARNER")
        no = client.patch(url(strict, target, "/spend-limit"), json=body, headers=who)
        assert (no.status_code, no.json["code"]) == (403, "OWNER_REQUIRED")
    gone = make.member(org, "LEARNER", status=MembershipStatus.REMOVED)
    assert client.patch(url(org, gone, "/spend-limit"), json=body, headers=maintainer).status_code == 409
    support = client.get(url(org, learner), headers=make.bearer(make.member(org, "SUPPORT"))).json["member"]
    own = client.get(url(org, learner), headers=make.bearer(learner)).json["member"]
    assert "spend_limit_paise" not in support and own["spend_limit_paise"] == 100


@pytest.mark.parametrize("role", [r for r in OrgRole if r not in ("LEARNER", "EXPERT")])
def test_pending_and_suspended_follow_the_status_map(client: Any, make: Any, role: str) -> None:
    """Every move of the table that PATCH and DELETE may make, and none besides."""
    org = make.org()
    owner = make.bearer(make.member(org))
    allowed = {
        "ACTIVE": {"PENDING", "SUSPENDED"},
        "SUSPENDED": {"PENDING", "ACTIVE"},
        "PENDING": set(),
        "REMOVED": set(),
        "ERASED": set(),
    }
    for before in ("PENDING", "ACTIVE", "SUSPENDED", "REMOVED"):
        for after, sources in allowed.items():
            row = make.member(org, role, status=MembershipStatus(before))
            answer = client.patch(url(org, row), json={"status": after}, headers=owner)
            fine = before in sources or (before == after and before != "REMOVED")
            assert answer.status_code == (200 if fine else 409), (before, after, answer.json)
            assert state(make, row)[1] == (after if fine else before)
        row = make.member(org, role, status=MembershipStatus(before))
        assert client.delete(url(org, row), headers=owner).status_code == (
            409 if before == "REMOVED" else 200
        )


def test_accepting_an_invitation_is_an_event_of_its_own_source(client: Any, make: Any) -> None:
    org, person = make.org(), make.user()
    owner = make.bearer(make.member(org))
    sent = client.post(
        f"{API}/{org.slug}/invitations", json={"email": person.email, "role": "LEARNER"}, headers=owner
    )
    token = sent.json["token"]
    assert (
        client.post(
            f"{API}/invitations/accept", json={"token": token}, headers=make.bearer(person)
        ).status_code
        == 201
    )
    (event,) = events(make, org)
    assert (event["event"], event["previous_status"], event["source"]) == ("member.added", None, "invitation")
    assert event["user_id"] == str(person.public_id)


def test_events_are_delivered_before_anybody_subscribes(app: Any, client: Any, make: Any) -> None:
    from app.jobs.outbox import handlers

    org = make.org()
    added = client.post(
        url(org), json={"email": make.user().email, "role": "MANAGER"}, headers=make.bearer(make.member(org))
    )
    assert added.status_code == 201
    topics = make.rows(
        "SELECT DISTINCT topic FROM outbox_message WHERE organization_id = :o ORDER BY topic", o=org.id
    )
    assert [t[0] for t in topics] == ["event", "mail"] and {"event", "mail"} <= set(handlers())


def test_suspended_members_keep_their_booked_sessions_and_nothing_else(client: Any, make: Any) -> None:
    org = make.org()
    learner = make.member(org, "LEARNER", status=MembershipStatus.SUSPENDED)
    book(make, org, learner.user, 1)
    key = make.one("SELECT public_id FROM appointment WHERE organization_id = :o", o=org.id)
    mine = make.bearer(learner)
    for path in ("", "/members/directory", "/requests", "/programs"):
        answer = client.get(f"{API}/{org.slug}{path}", headers=mine)
        assert (answer.status_code, answer.json["code"]) == (403, "MEMBERSHIP_SUSPENDED")
    browser = make.sign_in(client, learner)
    assert browser.get(f"/dashboard/appointments/{key}").status_code == 200
    assert browser.get(f"/dashboard/organization/{org.slug}/my-program/").status_code == 403
