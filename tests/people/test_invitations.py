"""Invitations: sending, answering in the chapter's order, races (chapter 1, 1.4)."""

from __future__ import annotations

from typing import Any

import pytest

from app import clock
from app.models import MembershipStatus, OrgStatus
from app.services.invitations import token_hash
from tests.factories import unique
from tests.organizations.test_creation import race

API = "/api/organizations"


def invite(client: Any, make: Any, org: Any, by: Any, email: str, role: str = "LEARNER", **more: Any) -> Any:
    return client.post(
        f"{API}/{org.slug}/invitations", json={"email": email, "role": role, **more}, headers=make.bearer(by)
    )


def accept(client: Any, make: Any, token: str, who: Any) -> Any:
    return client.post(f"{API}/invitations/accept", json={"token": token}, headers=make.bearer(who))


def status_of(make: Any, sent: Any) -> str:
    return str(
        make.one("SELECT status FROM invitation WHERE public_id = :i", i=sent.json["invitation"]["id"])
    )


@pytest.mark.scenario("P-22")
def test_only_the_invited_address_accepts(client: Any, make: Any) -> None:
    org = make.org()
    owner, a, b = make.member(org), make.user(f"{unique('a')}@x.test"), make.user(f"{unique('b')}@x.test")
    sent = invite(client, make, org, owner, a.email.upper())
    assert sent.status_code == 201 and sent.json["accept_url"].endswith(
        "/organizations/invite/" + sent.json["token"]
    )
    assert make.one(
        "SELECT token_hash FROM invitation WHERE public_id = :i", i=sent.json["invitation"]["id"]
    ) == token_hash(sent.json["token"])
    answer = accept(client, make, sent.json["token"], b)
    assert (answer.status_code, answer.json["code"]) == (403, "INVITATION_EMAIL_MISMATCH")
    answer = accept(client, make, sent.json["token"], a)
    assert answer.status_code == 201 and not answer.json["already_member"]
    assert answer.json["organization"]["slug"] == org.slug
    again = accept(client, make, sent.json["token"], a)
    assert again.status_code == 200 and again.json["already_member"] is True
    assert make.one("SELECT count(*) FROM membership WHERE organization_id = :o", o=org.id) == 2
    actions = [
        r[0]
        for r in make.rows(
            "SELECT action FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=org.id
        )
    ]
    assert actions == ["INVITE_SENT", "INVITE_ACCEPTED", "MEMBER_ADDED"]
    assert (
        make.one(
            "SELECT count(*) FROM outbox_message WHERE organization_id = :o AND payload->>'template' = "
            "'invitation_accepted' AND payload->>'to' = :e",
            o=org.id,
            e=owner.user.email,
        )
        == 1
    )


@pytest.mark.scenario("P-23")
def test_an_expired_link_is_renewed_by_resending(client: Any, make: Any) -> None:
    org = make.org()
    owner, person = make.member(org), make.user()
    sent = invite(client, make, org, owner, person.email)
    clock.set_offset(15 * 86_400)
    client.application.extensions["redis"].set("test:clock", 15 * 86_400)
    answer = accept(client, make, sent.json["token"], person)
    assert (answer.status_code, answer.json["code"]) == (410, "INVITATION_EXPIRED")
    path = f"{API}/{org.slug}/invitations/{sent.json['invitation']['id']}/resend"
    again = client.post(path, headers=make.bearer(owner))
    assert again.status_code == 200 and again.json["token"] != sent.json["token"]
    old = accept(client, make, sent.json["token"], person)
    assert (old.status_code, old.json["code"]) == (404, "INVITATION_NOT_FOUND")
    assert accept(client, make, again.json["token"], person).status_code == 201
    answer = client.post(path, headers=make.bearer(owner))
    assert (answer.status_code, answer.json["code"]) == (409, "INVITATION_NOT_PENDING")


def test_an_expired_row_is_revived_and_three_resends_a_day_are_enough(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    sent = invite(client, make, org, owner, f"{unique('a')}@x.test")
    with make.owner.begin() as connection:
        from sqlalchemy import text

        connection.execute(
            text("UPDATE invitation SET status = 'EXPIRED' WHERE public_id = :i"),
            {"i": sent.json["invitation"]["id"]},
        )
    path = f"{API}/{org.slug}/invitations/{sent.json['invitation']['id']}/resend"
    assert [client.post(path, headers=make.bearer(owner)).status_code for _ in range(4)] == [
        200,
        200,
        200,
        429,
    ]
    assert status_of(make, sent) == "PENDING"


@pytest.mark.scenario("P-24")
def test_bulk_results_are_independent(client: Any, make: Any) -> None:
    org = make.org()
    owner, name = make.member(org), unique("a")
    answer = client.post(
        f"{API}/{org.slug}/invitations/bulk",
        headers=make.bearer(owner),
        json={"emails": [f"{name}@x.com", "bad", f"{name.upper()}@x.com", owner.user.email]},
    )
    assert answer.status_code == 200
    assert (
        answer.json["sent"],
        answer.json["invalid"],
        answer.json["duplicate"],
        answer.json["refused"],
    ) == (1, 1, 1, 1)
    assert [r["result"] for r in answer.json["results"]] == ["sent", "invalid", "duplicate", "refused"]
    assert answer.json["results"][3]["code"] == "ALREADY_MEMBER"
    assert make.rows("SELECT email, role FROM invitation WHERE organization_id = :o", o=org.id) == [
        (f"{name}@x.com", "LEARNER")
    ]
    for emails in ([], ["a@x.com"] * 201):
        answer = client.post(
            f"{API}/{org.slug}/invitations/bulk", headers=make.bearer(owner), json={"emails": emails}
        )
        assert answer.json["code"] == "VALIDATION_FAILED"


@pytest.mark.scenario("P-26")
def test_without_a_domain_five_people_are_enough(client: Any, make: Any) -> None:
    org = make.org(domain=False)
    owner = make.member(org)
    [make.member(org, "MANAGER") for _ in range(2)]
    first = f"{unique('i')}@x.test"
    assert invite(client, make, org, owner, first).status_code == 201
    assert invite(client, make, org, owner, f"{unique('i')}@x.test").status_code == 201
    answer = invite(client, make, org, owner, f"{unique('i')}@x.test")
    assert (answer.status_code, answer.json["code"]) == (403, "DOMAIN_VERIFICATION_REQUIRED")
    assert invite(client, make, org, owner, first).status_code == 200  # refreshing adds nobody
    bulk = client.post(
        f"{API}/{org.slug}/invitations/bulk",
        json={"emails": [f"{unique('i')}@x.test"]},
        headers=make.bearer(owner),
    )
    assert bulk.json["refused"] == 1 and bulk.json["results"][0]["code"] == "DOMAIN_VERIFICATION_REQUIRED"
    waived = make.org(domain=False, domain_cap_waived_at=clock.now())
    boss = make.member(waived)
    assert [invite(client, make, waived, boss, f"{unique('i')}@x.test").status_code for _ in range(6)] == [
        201
    ] * 6


def test_inviting_again_refreshes_the_one_open_invitation(client: Any, app: Any, make: Any) -> None:
    org = make.org()
    owner, person = make.member(org), make.user()
    first = invite(client, make, org, owner, person.email, "LEARNER")
    second = invite(
        client, make, org, owner, person.email, "SUPPORT", department_label="Desk", expires_in_days=30
    )
    assert second.status_code == 200 and second.json["invitation"]["id"] == first.json["invitation"]["id"]
    assert accept(client, make, first.json["token"], person).status_code == 404
    joined = accept(client, make, second.json["token"], person)
    assert joined.json["member"]["role"] == "SUPPORT" and joined.json["member"]["department_label"] == "Desk"
    email = f"{unique('r')}@x.test"
    statuses = race(app, [lambda c: invite(c, make, org, owner, email).status_code for _ in range(3)])
    assert sorted(statuses) == [200, 200, 201]
    assert make.one("SELECT count(*) FROM invitation WHERE email = :e", e=email) == 1


@pytest.mark.scenario("P-14")
def test_the_last_seat_goes_to_one_of_two_accepting(app: Any, client: Any, make: Any) -> None:
    org = make.org(seats_total=10)
    owner = make.member(org)
    [make.member(org, "LEARNER") for _ in range(9)]
    people = [make.user(), make.user()]
    sent = [invite(client, make, org, owner, p.email) for p in people]
    answers = race(
        app,
        [
            lambda c, s=s, p=p: (s, accept(c, make, s.json["token"], p))
            for s, p in zip(sent, people, strict=True)
        ],
    )
    by_status = {a.status_code: (s, a) for s, a in answers}
    assert set(by_status) == {201, 403} and by_status[403][1].json["code"] == "SEAT_LIMIT_REACHED"
    assert (
        status_of(make, by_status[403][0]) == "PENDING" and status_of(make, by_status[201][0]) == "ACCEPTED"
    )
    assert make.one("SELECT seats_used FROM organization WHERE id = :o", o=org.id) == 10


def test_a_double_click_joins_once(app: Any, client: Any, make: Any) -> None:
    org = make.org()
    person = make.user()
    token = invite(client, make, org, make.member(org), person.email).json["token"]
    statuses = race(app, [lambda c: accept(c, make, token, person).status_code for _ in range(4)])
    assert sorted(statuses) == [200, 200, 200, 201]
    assert make.one("SELECT seats_used FROM organization WHERE id = :o", o=org.id) == 1
    assert (
        make.one(
            "SELECT count(*) FROM org_audit_log WHERE organization_id = :o AND action = 'INVITE_ACCEPTED'",
            o=org.id,
        )
        == 1
    )


def test_the_order_of_refusals(client: Any, make: Any) -> None:
    person = make.user()
    assert accept(client, make, "no-such-token", person).json["code"] == "INVITATION_NOT_FOUND"
    assert client.post(f"{API}/invitations/accept", json={"token": "x"}).json["code"] == "UNAUTHENTICATED"
    assert accept(client, make, "x\x00", person).json["code"] == "VALIDATION_FAILED"

    org = make.org()
    owner = make.member(org)
    sent = invite(client, make, org, owner, person.email, "SUPPORT")
    token, path = sent.json["token"], f"{API}/{org.slug}/invitations/{sent.json['invitation']['id']}"
    for status, code in (
        (OrgStatus.SUSPENDED, "ORG_NOT_ACCEPTING_MEMBERS"),
        (OrgStatus.DEACTIVATED, "ORG_NOT_ACCEPTING_MEMBERS"),
    ):
        set_status(make, org, status)
        answer = accept(client, make, token, person)
        assert (answer.status_code, answer.json["code"]) == (403, code)
    set_status(make, org, OrgStatus.ACTIVE)
    assert client.delete(path, headers=make.bearer(owner)).status_code == 200
    answer = accept(client, make, token, person)
    assert (answer.status_code, answer.json["code"]) == (409, "INVITATION_NOT_PENDING")
    assert client.delete(path, headers=make.bearer(owner)).json["code"] == "INVITATION_NOT_PENDING"

    suspended = make.member(org, "SUPPORT", status=MembershipStatus.SUSPENDED)
    row = pending_for(client, make, org, owner, suspended)
    assert accept(client, make, row, suspended).json["code"] == "MEMBERSHIP_SUSPENDED"
    removed = make.member(org, "SUPPORT", status=MembershipStatus.REMOVED)
    row = pending_for(client, make, org, owner, removed)
    answer = accept(client, make, row, removed)
    assert answer.status_code == 201 and answer.json["member"]["id"] == str(removed.public_id)
    erased = make.member(org, "SUPPORT", status=MembershipStatus.ERASED)
    row = pending_for(client, make, org, owner, erased)
    answer = accept(client, make, row, erased)
    assert (answer.status_code, answer.json["code"]) == (410, "USER_ERASED")


def pending_for(client: Any, make: Any, org: Any, owner: Any, member: Any) -> str:
    """A link for somebody who has a membership row of some kind already."""
    from sqlalchemy import text

    sent = invite(client, make, org, owner, f"{unique('swap')}@x.test", "SUPPORT")
    with make.owner.begin() as connection:
        connection.execute(
            text("UPDATE invitation SET email = :e WHERE public_id = :i"),
            {"e": member.user.email, "i": sent.json["invitation"]["id"]},
        )
    return str(sent.json["token"])


def set_status(make: Any, org: Any, status: OrgStatus) -> None:
    from sqlalchemy import text

    with make.owner.begin() as connection:
        connection.execute(
            text("UPDATE organization SET status = :s WHERE id = :o"), {"s": status.value, "o": org.id}
        )


def test_declining(client: Any, make: Any) -> None:
    org, person = make.org(), make.user()
    sent = invite(client, make, org, make.member(org), person.email)
    body = {"token": sent.json["token"]}
    assert (
        client.post(f"{API}/invitations/decline", json=body, headers=make.bearer(make.user())).status_code
        == 403
    )
    assert (
        client.post(f"{API}/invitations/decline", json=body, headers=make.bearer(person)).status_code == 200
    )
    assert status_of(make, sent) == "DECLINED"
    assert accept(client, make, sent.json["token"], person).json["code"] == "INVITATION_NOT_PENDING"


def test_who_may_offer_which_role(client: Any, make: Any) -> None:
    org = make.org()
    owner, maintainer, manager = make.member(org), make.member(org, "MAINTAINER"), make.member(org, "MANAGER")
    expected = {
        "OWNER": "ROLE_REQUIRES_OWNER",
        "MAINTAINER": "ROLE_REQUIRES_OWNER",
        "BILLING_ADMIN": "ROLE_REQUIRES_OWNER",
        "MANAGER": None,
        "SUPPORT": None,
        "LEARNER": None,
        "EXPERT": "EXPERT_REQUIRES_CANHOST",
    }
    for role, code in expected.items():
        answer = invite(client, make, org, maintainer, f"{unique('r')}@x.test", role)
        assert (answer.json.get("code"), answer.status_code) == (code, answer.status_code if code else 201)
    assert invite(client, make, org, owner, f"{unique('r')}@x.test", "OWNER").status_code == 201
    assert (
        invite(client, make, org, manager, f"{unique('r')}@x.test", "SUPPORT").json["code"]
        == "INSUFFICIENT_ROLE"
    )
    host = make.org(can_sponsor=False, can_host=True)
    assert (
        invite(client, make, host, make.member(host), f"{unique('r')}@x.test").json["code"]
        == "LEARNER_REQUIRES_CANSPONSOR"
    )


def test_accepting_as_an_expert_begins_a_profile(client: Any, make: Any) -> None:
    org, person = make.org(can_host=True), make.user()
    token = invite(client, make, org, make.member(org), person.email, "EXPERT").json["token"]
    assert accept(client, make, token, person).status_code == 201
    assert make.rows(
        "SELECT domain, schedule_type, verification_status, is_independent FROM consultant_profile WHERE "
        "user_id = :u",
        u=person.id,
    ) == [("General", "WEEKLY", "UNVERIFIED", False)]


def test_requests_are_counted_per_organisation(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.bearer(make.member(org))
    path = f"{API}/{org.slug}/invitations"
    statuses = [
        client.post(
            path, json={"email": f"{unique('l')}@x.test", "role": "SUPPORT"}, headers=owner
        ).status_code
        for _ in range(21)
    ]
    assert statuses == [201] * 20 + [429]
    other = make.org()
    assert invite(client, make, other, make.member(other), f"{unique('l')}@x.test").status_code == 201


def test_links_and_hashes_are_never_listed(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    sent = invite(client, make, org, owner, f"{unique('x')}@x.test")
    listed = client.get(f"{API}/{org.slug}/invitations", headers=make.bearer(owner))
    assert listed.status_code == 200 and len(listed.json["invitations"]) == 1
    assert sent.json["token"] not in listed.text and token_hash(sent.json["token"]) not in listed.text
    foreign = make.bearer(make.member(make.org()))
    assert client.get(f"{API}/{org.slug}/invitations", headers=foreign).json["code"] == "NOT_A_MEMBER"
    mine = make.org()
    boss = make.bearer(make.member(mine))
    for call in (
        lambda p: client.post(p + "/resend", headers=boss),
        lambda p: client.delete(p, headers=boss),
    ):
        assert (
            call(f"{API}/{mine.slug}/invitations/{sent.json['invitation']['id']}").json["code"]
            == "INVITATION_NOT_FOUND"
        )
    assert status_of(make, sent) == "PENDING"


def test_the_token_proves_the_mailbox(client: Any, make: Any) -> None:
    org, person = make.org(), make.user()
    from sqlalchemy import text

    with make.owner.begin() as connection:
        connection.execute(
            text("UPDATE ab_user SET email_verified_at = NULL WHERE id = :u"), {"u": person.id}
        )
    token = invite(client, make, org, make.member(org), person.email).json["token"]
    assert accept(client, make, token, person).status_code == 201
    assert make.one("SELECT email_verified_at IS NOT NULL FROM ab_user WHERE id = :u", u=person.id)
