"""The guard of memberships: authority, transitions, seats, last owner, removal (chapter 1, 1.3)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from app import clock
from app.models import Appointment, MembershipStatus, OrgRole, OrgStatus, PlatformRole
from tests.factories import unique
from tests.organizations.test_creation import race

API = "/api/organizations"


def url(org: Any, member: Any = None, tail: str = "") -> str:
    return f"{API}/{org.slug}/members" + (f"/{member.public_id}" if member else "") + tail


def state(make: Any, member: Any) -> tuple[str, str]:
    return tuple(make.rows("SELECT role, status FROM membership WHERE id = :i", i=member.id)[0])


def used(make: Any, org: Any) -> int:
    return int(make.one("SELECT seats_used FROM organization WHERE id = :o", o=org.id))


def audits(make: Any, org: Any) -> list[str]:
    return [
        r[0]
        for r in make.rows(
            "SELECT action FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=org.id
        )
    ]


@pytest.mark.scenario("P-18")
def test_only_owners_grant_power_and_nobody_their_own(client: Any, make: Any) -> None:
    org = make.org()
    owner, maintainer, manager = make.member(org), make.member(org, "MAINTAINER"), make.member(org, "MANAGER")
    by_m, by_o = make.bearer(maintainer), make.bearer(owner)
    for role in ("BILLING_ADMIN", "MAINTAINER", "OWNER"):
        answer = client.patch(url(org, manager), json={"role": role}, headers=by_m)
        assert (answer.status_code, answer.json["code"]) == (403, "ROLE_REQUIRES_OWNER")
    for target, change in ((owner, {"role": "MANAGER"}), (owner, {"status": "SUSPENDED"})):
        assert client.patch(url(org, target), json=change, headers=by_m).json["code"] == "ROLE_REQUIRES_OWNER"
    assert client.delete(url(org, owner), headers=by_m).json["code"] == "ROLE_REQUIRES_OWNER"
    for who, me, change in (
        (by_m, maintainer, {"role": "OWNER"}),
        (by_o, owner, {"role": "MANAGER"}),
        (by_o, owner, {"status": "SUSPENDED"}),
    ):
        answer = client.patch(url(org, me), json=change, headers=who)
        assert (answer.status_code, answer.json["code"]) == (403, "SELF_CHANGE")
    assert client.delete(url(org, maintainer), headers=by_m).json["code"] == "SELF_CHANGE"
    assert state(make, manager) == ("MANAGER", "ACTIVE") and state(make, owner) == ("OWNER", "ACTIVE")
    assert audits(make, org) == []
    assert client.patch(url(org, manager), json={"role": "BILLING_ADMIN"}, headers=by_o).status_code == 200
    assert audits(make, org) == ["ROLE_CHANGE"]


@pytest.mark.scenario("P-16")
def test_operator_roles_interchange_and_clients_do_not(client: Any, make: Any) -> None:
    org = make.org(can_host=True)
    owner = make.bearer(make.member(org))
    learner, manager = make.member(org, "LEARNER"), make.member(org, "MANAGER")
    make.expert(learner.user)
    answer = client.patch(url(org, learner), json={"role": "EXPERT"}, headers=owner)
    assert (answer.status_code, answer.json["code"]) == (409, "ROLE_TRANSITION_BLOCKED")
    assert client.patch(url(org, manager), json={"role": "SUPPORT"}, headers=owner).status_code == 200
    assert state(make, manager) == ("SUPPORT", "ACTIVE") and state(make, learner) == ("LEARNER", "ACTIVE")
    answer = client.patch(url(org, manager), json={"role": "EXPERT"}, headers=owner)
    assert (answer.status_code, answer.json["code"]) == (400, "NOT_A_CONSULTANT")
    sponsor = make.org()
    boss = make.bearer(make.member(sponsor))
    answer = client.patch(
        url(sponsor, make.member(sponsor, "LEARNER")), json={"role": "EXPERT"}, headers=boss
    )
    assert (answer.status_code, answer.json["code"]) == (409, "ROLE_TRANSITION_BLOCKED")
    member = make.member(sponsor, "MANAGER")
    answer = client.patch(
        url(sponsor, member), json={"role": "EXPERT"}, headers=make.bearer(make.member(sponsor))
    )
    assert (answer.status_code, answer.json["code"]) == (400, "EXPERT_REQUIRES_CANHOST")


def test_a_learner_with_history_is_removed_and_invited_again(client: Any, make: Any) -> None:
    org = make.org()
    owner, learner = make.bearer(make.member(org)), make.member(org, "LEARNER")
    book(make, org, learner.user, days=-2)
    answer = client.patch(url(org, learner), json={"role": "MANAGER"}, headers=owner)
    assert (answer.status_code, answer.json["code"]) == (409, "REMOVE_AND_REINVITE")


def book(make: Any, org: Any, learner: Any, days: int) -> None:
    expert = make.expert()
    plan = make.plan(expert)
    start = clock.now() + dt.timedelta(days=days)
    make.add(
        Appointment(
            organization_id=org.id,
            plan_id=plan.id,
            expert_id=expert.id,
            expert_user_id=expert.user_id,
            learner_user_id=learner.id,
            status="CONFIRMED",
            title="Session",
            starts_at=start,
            ends_at=start + dt.timedelta(hours=1),
        )
    )


@pytest.mark.scenario("P-15")
def test_a_seat_is_released_exactly_once(client: Any, make: Any) -> None:
    org = make.org(seats_total=5)
    owner, learner = make.bearer(make.member(org)), make.member(org, "LEARNER")
    make.member(org, "LEARNER")
    assert used(make, org) == 2
    assert client.patch(url(org, learner), json={"status": "SUSPENDED"}, headers=owner).status_code == 200
    assert used(make, org) == 1
    assert client.delete(url(org, learner), headers=owner).status_code == 200
    assert used(make, org) == 1 and state(make, learner) == ("LEARNER", "REMOVED")
    assert client.delete(url(org, learner), headers=owner).json["code"] == "ILLEGAL_TRANSITION"
    assert used(make, org) == 1


def test_the_last_seat_is_taken_once(app: Any, make: Any) -> None:
    org = make.org(seats_total=2)
    owner = make.bearer(make.member(org))
    make.member(org, "LEARNER")
    people = [make.user() for _ in range(3)]
    statuses = race(
        app,
        [
            lambda c, p=p: (
                c.post(url(org), json={"email": p.email, "role": "LEARNER"}, headers=owner).status_code
            )
            for p in people
        ],
    )
    assert sorted(statuses) == [201, 403, 403] and used(make, org) == 2


@pytest.mark.scenario("P-17")
def test_two_owners_cannot_demote_each_other(client: Any, app: Any, make: Any) -> None:
    for _ in range(5):
        org = make.org()
        a, b = make.member(org), make.member(org)
        answers = race(
            app,
            [
                lambda c, x=x, y=y, org=org: c.patch(
                    url(org, y), json={"role": "MANAGER"}, headers=make.bearer(x)
                )
                for x, y in ((a, b), (b, a))
            ],
        )
        assert sorted(x.status_code for x in answers) in ([200, 403], [200, 409])
        assert (
            make.one(
                "SELECT count(*) FROM membership WHERE organization_id = :o AND role = 'OWNER' AND "
                "status = 'ACTIVE'",
                o=org.id,
            )
            == 1
        )
    lonely = make.member(make.org())
    slug = make.one("SELECT slug FROM organization WHERE id = :o", o=lonely.organization_id)
    answer = client.post(f"{API}/{slug}/members/leave", headers=make.bearer(lonely))
    assert (answer.status_code, answer.json["code"]) == (409, "LAST_OWNER")
    assert state(make, lonely) == ("OWNER", "ACTIVE")


def test_owners_leaving_at_once_leave_one(app: Any, make: Any) -> None:
    org = make.org()
    owners = [make.member(org) for _ in range(3)]
    statuses = race(
        app,
        [lambda c, o=o: c.post(url(org, tail="/leave"), headers=make.bearer(o)).status_code for o in owners],
    )
    assert sorted(statuses) == [200, 200, 409]


def test_an_admin_acts_as_owner_and_never_strands_an_organisation(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    admin = make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    for call in (
        lambda: client.patch(url(org, owner), json={"role": "MANAGER"}, headers=admin),
        lambda: client.patch(url(org, owner), json={"status": "SUSPENDED"}, headers=admin),
        lambda: client.delete(url(org, owner), headers=admin),
    ):
        assert call().json["code"] == "LAST_OWNER"
    second = make.member(org, "MANAGER")
    assert client.patch(url(org, second), json={"role": "OWNER"}, headers=admin).status_code == 200


@pytest.mark.scenario("P-20")
def test_a_removed_member_comes_back_in_the_same_row(client: Any, make: Any) -> None:
    org = make.org(can_host=True)
    owner = make.bearer(make.member(org))
    gone = make.member(org, "LEARNER", status=MembershipStatus.REMOVED)
    answer = client.post(url(org), json={"email": gone.user.email.upper(), "role": "LEARNER"}, headers=owner)
    assert answer.status_code == 200 and answer.json["member"]["id"] == str(gone.public_id)
    assert state(make, gone) == ("LEARNER", "ACTIVE") and used(make, org) == 1
    assert audits(make, org) == ["MEMBER_ADDED"]
    erased = make.member(org, "LEARNER", status=MembershipStatus.ERASED)
    answer = client.post(
        url(org), json={"user_id": str(erased.user.public_id), "role": "LEARNER"}, headers=owner
    )
    assert (answer.status_code, answer.json["code"]) == (410, "USER_ERASED")
    expert = make.member(org, "EXPERT", status=MembershipStatus.REMOVED)
    make.expert(expert.user)
    answer = client.post(url(org), json={"email": expert.user.email, "role": "LEARNER"}, headers=owner)
    assert answer.json["code"] == "ROLE_TRANSITION_BLOCKED"


def test_direct_add(client: Any, make: Any) -> None:
    org, person = make.org(), make.user()
    owner = make.bearer(make.member(org))
    answer = client.post(
        url(org),
        json={"email": person.email, "role": "MANAGER", "department_label": " Sales "},
        headers=owner,
    )
    assert answer.status_code == 201 and answer.json["member"]["department_label"] == "Sales"
    assert make.one("SELECT session_generation FROM ab_user WHERE id = :u", u=person.id) == 1
    assert make.one("SELECT count(*) FROM notification WHERE user_id = :u", u=person.id) == 1
    assert make.one("SELECT count(*) FROM outbox_message WHERE payload->>'to' = :e", e=person.email) == 1
    for data, code in (
        ({"email": person.email, "role": "MANAGER"}, "ALREADY_MEMBER"),
        ({"email": f"{unique('none')}@x.test", "role": "MANAGER"}, "USER_NOT_FOUND"),
        ({"email": "x@x.in", "user_id": str(person.public_id), "role": "MANAGER"}, "VALIDATION_FAILED"),
        ({"role": "MANAGER"}, "VALIDATION_FAILED"),
        ({"email": person.email, "role": "KING"}, "VALIDATION_FAILED"),
        ({"email": make.user().email, "role": "EXPERT"}, "EXPERT_REQUIRES_CANHOST"),
    ):
        assert client.post(url(org), json=data, headers=owner).json["code"] == code
    host = make.org(can_sponsor=False, can_host=True)
    answer = client.post(
        url(host),
        json={"email": make.user().email, "role": "LEARNER"},
        headers=make.bearer(make.member(host)),
    )
    assert answer.json["code"] == "LEARNER_REQUIRES_CANSPONSOR"


@pytest.mark.scenario("P-21")
def test_a_promotion_counts_from_the_next_request(client: Any, make: Any) -> None:
    org = make.org()
    owner, learner = make.bearer(make.member(org)), make.member(org, "LEARNER")
    mine = make.bearer(learner)
    assert client.get(url(org), headers=mine).json["code"] == "INSUFFICIENT_ROLE"
    assert client.patch(url(org, learner), json={"role": "MANAGER"}, headers=owner).status_code == 200
    assert client.get(url(org), headers=mine).status_code == 200
    assert used(make, org) == 0


@pytest.mark.scenario("P-19")
def test_obligations_hold_a_member(client: Any, make: Any) -> None:
    org = make.org()
    owner, maintainer, learner = (
        make.bearer(make.member(org)),
        make.bearer(make.member(org, "MAINTAINER")),
        make.member(org, "LEARNER"),
    )
    for days in (1, 2):
        book(make, org, learner.user, days)
    book(make, org, learner.user, -1)
    assert (
        client.get(url(org, learner, "/obligations"), headers=owner).json["obligations"]["upcoming_sessions"]
        == 2
    )
    for who, query in ((owner, ""), (maintainer, "?force=true")):
        answer = client.delete(url(org, learner) + query, headers=who)
        assert (answer.status_code, answer.json["code"]) == (409, "MEMBER_HAS_OBLIGATIONS")
        assert answer.json["details"] == {"upcoming_sessions": 2}
    assert client.delete(url(org, learner) + "?force=true", headers=owner).status_code == 200
    assert make.rows(
        "SELECT action, details->>'forced' FROM org_audit_log WHERE organization_id = :o", o=org.id
    ) == [("MEMBER_REMOVED", "true")]


@pytest.mark.scenario("P-37")
def test_there_is_no_bulk_removal(client: Any, make: Any) -> None:
    org = make.org()
    answer = client.post(url(org, tail="/bulk"), json={}, headers=make.bearer(make.member(org)))
    assert (answer.status_code, answer.json["code"]) == (405, "BULK_REMOVAL_NOT_SUPPORTED")


def test_support_reads_people_and_changes_nobody(client: Any, make: Any) -> None:
    org = make.org()
    support, learner = make.bearer(make.member(org, "SUPPORT")), make.member(org, "LEARNER")
    assert client.get(url(org), headers=support).status_code == 200
    answer = client.patch(url(org, learner), json={"role": "MANAGER"}, headers=support)
    assert (answer.status_code, answer.json["code"]) == (403, "INSUFFICIENT_ROLE")


READ = {
    "OWNER": 200,
    "MAINTAINER": 200,
    "BILLING_ADMIN": 403,
    "MANAGER": 200,
    "EXPERT": 403,
    "SUPPORT": 200,
    "LEARNER": 403,
}


@pytest.mark.parametrize("role", list(OrgRole))
def test_who_reads_the_roster_and_who_the_directory(client: Any, make: Any, role: str) -> None:
    org = make.org(can_host=True)
    me, other = make.member(org, role), make.member(org, "MANAGER")
    mine = make.bearer(me)
    answer = client.get(url(org), headers=mine)
    assert answer.status_code == READ[role]
    if role == "BILLING_ADMIN":
        assert answer.json["code"] == "INSUFFICIENT_ROLE"
    directory = client.get(url(org, tail="/directory"), headers=mine)
    assert directory.status_code == 200 and other.user.email not in directory.text
    assert {m["name"] for m in directory.json["members"]} == {me.user.name, other.user.name}
    assert client.get(url(org, me), headers=mine).status_code == 200
    assert client.get(url(org, other), headers=mine).status_code == READ[role]
    writes = client.patch(url(org, other), json={"department_label": "X"}, headers=mine)
    assert writes.status_code == (200 if role in ("OWNER", "MAINTAINER") else 403)


def test_members_of_others_do_not_exist_here(client: Any, make: Any) -> None:
    org, foreign = make.org(), make.member(make.org(), "LEARNER")
    owner = make.bearer(make.member(org))
    for key in (foreign.public_id, "nonsense", "0198c0de-0000-7000-8000-000000000000"):
        for call in (
            client.get,
            client.delete,
            lambda p, headers: client.patch(p, json={"role": "MANAGER"}, headers=headers),
        ):
            answer = call(f"{API}/{org.slug}/members/{key}", headers=owner)
            assert (answer.status_code, answer.json["code"]) == (404, "MEMBER_NOT_FOUND")
    assert state(make, foreign) == ("LEARNER", "ACTIVE")


def test_owner_only_people(client: Any, make: Any) -> None:
    org = make.org(people_owner_only=True)
    owner, maintainer, member = (
        make.bearer(make.member(org)),
        make.bearer(make.member(org, "MAINTAINER")),
        make.member(org, "MANAGER"),
    )
    for call in (
        lambda h: client.patch(url(org, member), json={"role": "SUPPORT"}, headers=h),
        lambda h: client.post(url(org), json={"email": make.user().email, "role": "SUPPORT"}, headers=h),
        lambda h: client.post(
            f"{API}/{org.slug}/invitations",
            json={"email": f"{unique('x')}@x.test", "role": "SUPPORT"},
            headers=h,
        ),
        lambda h: client.delete(url(org, member), headers=h),
    ):
        assert call(maintainer).json["code"] == "OWNER_REQUIRED"
        assert call(owner).status_code in (200, 201)


def test_suspension_reaches_the_member_at_once(client: Any, make: Any) -> None:
    org = make.org()
    owner, member = make.bearer(make.member(org)), make.member(org, "MANAGER")
    mine = make.bearer(member)
    assert client.patch(url(org, member), json={"status": "SUSPENDED"}, headers=owner).status_code == 200
    answer = client.get(url(org), headers=mine)
    assert (answer.status_code, answer.json["code"]) == (403, "MEMBERSHIP_SUSPENDED")
    assert (
        client.patch(url(org, member), json={"status": "PENDING"}, headers=owner).json["code"]
        == "ILLEGAL_TRANSITION"
    )
    assert client.patch(url(org, member), json={"status": "ACTIVE"}, headers=owner).status_code == 200
    assert client.get(url(org), headers=mine).status_code == 200
    own = make.member(org, "MANAGER", make.user(f"{unique('p')}@{org.slug}.test"))
    token = make.bearer(own)
    assert client.patch(url(org, own), json={"status": "SUSPENDED"}, headers=owner).status_code == 200
    answer = client.get(
        "/api/organizations", headers=token
    )  # the address is on a verified domain: signed out
    assert (answer.status_code, answer.json["code"]) == (401, "SESSION_REVOKED")


def test_experts_lose_their_independence_with_a_host(client: Any, make: Any) -> None:
    org = make.org(can_host=True)
    owner, profile = make.bearer(make.member(org)), make.expert()
    person = make.one("SELECT email FROM ab_user WHERE id = :u", u=profile.user_id)
    added = client.post(url(org), json={"email": person, "role": "EXPERT"}, headers=owner)
    assert added.status_code == 201

    def independent() -> bool:
        return bool(make.one("SELECT is_independent FROM consultant_profile WHERE id = :p", p=profile.id))

    assert not independent()
    path = f"{url(org)}/{added.json['member']['id']}"
    assert (
        client.patch(path, json={"payout_recipient": "ORGANIZATION"}, headers=owner).json["member"][
            "payout_recipient"
        ]
        == "ORGANIZATION"
    )
    assert client.delete(path, headers=owner).status_code == 200 and independent()


def test_spend_limits(client: Any, make: Any) -> None:
    org = make.org()
    billing, learner = make.bearer(make.member(org, "BILLING_ADMIN")), make.member(org, "LEARNER")
    path = url(org, learner, "/spend-limit")
    assert client.patch(path, json={"spend_limit_paise": 50_000}, headers=billing).status_code == 200
    assert client.get(path, headers=billing).json == {"spend_limit_paise": 50_000}
    for bad in (99, -1, "x", 1.5):
        assert (
            client.patch(path, json={"spend_limit_paise": bad}, headers=billing).json["code"]
            == "VALIDATION_FAILED"
        )
    assert (
        client.patch(
            path, json={"spend_limit_paise": None}, headers=make.bearer(make.member(org, "MANAGER"))
        ).status_code
        == 403
    )
    assert client.get(path, headers=billing).json == {"spend_limit_paise": 50_000}


def test_the_roster_pages_filters_and_searches(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.bearer(make.member(org))
    people = [make.member(org, "LEARNER", make.user(name=f"Learner Number{i}")) for i in range(5)]
    make.member(org, "MANAGER", status=MembershipStatus.REMOVED)
    names, cursor = [], ""
    while True:
        page = client.get(url(org) + f"?limit=2&cursor={cursor}", headers=owner).json
        names += [m["name"] for m in page["members"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert len(names) == 6 and len(set(names)) == 6
    assert len(client.get(url(org) + "?role=LEARNER", headers=owner).json["members"]) == 5
    assert [m["id"] for m in client.get(url(org) + "?q=number3", headers=owner).json["members"]] == [
        str(people[3].public_id)
    ]
    assert len(client.get(url(org) + "?status=REMOVED", headers=owner).json["members"]) == 1
    for bad in ("?limit=0", "?limit=101", "?cursor=!!", "?role=KING", "?status=x"):
        assert client.get(url(org) + bad, headers=owner).json["code"] == "VALIDATION_FAILED"


@pytest.mark.scenario("P-26")
def test_direct_adds_count_towards_the_cap(client: Any, make: Any) -> None:
    org = make.org(domain=False)
    owner = make.bearer(make.member(org))
    [make.member(org, "MANAGER") for _ in range(4)]
    answer = client.post(url(org), json={"email": make.user().email, "role": "SUPPORT"}, headers=owner)
    assert (answer.status_code, answer.json["code"]) == (403, "DOMAIN_VERIFICATION_REQUIRED")
    pending = make.org(status=OrgStatus.PENDING_VERIFICATION)
    assert (
        client.post(
            url(pending),
            json={"email": make.user().email, "role": "SUPPORT"},
            headers=make.bearer(make.member(pending)),
        ).status_code
        == 201
    )
