"""Requests with approval: who asks, who decides, and that a yes changes things once (chapter 1, "Beyond" 13)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from app import clock
from app.models import Contract, Program
from tests.organizations.test_creation import race

API = "/api/organizations"


def url(org: Any, row: str = "", tail: str = "") -> str:
    return f"{API}/{org.slug}/requests" + (f"/{row}" if row else "") + tail


def program(make: Any, org: Any, name: str = "Growth", status: str = "ACTIVE", **values: Any) -> Program:
    """A running program under a contract of its own kind."""
    account = make.one("SELECT id FROM billing_account WHERE organization_id = :o", o=org.id)
    contract = make.one("SELECT id FROM contract WHERE organization_id = :o AND status = 'ACTIVE'", o=org.id)
    if contract is None:
        contract = make.add(
            Contract(
                organization_id=org.id,
                billing_account_id=account,
                title="Terms",
                effective_from=clock.today_ist() - dt.timedelta(days=1),
                payment_terms_days=30,
                status="ACTIVE",
            )
        ).id
    return make.add(
        Program(
            organization_id=org.id,
            contract_id=contract,
            name=name,
            type="CREDIT_POOL",
            credits_per_cycle=1000,
            status=status,
            **values,
        )
    )


def ask(client: Any, org: Any, who: Any, **body: Any) -> Any:
    return client.post(url(org), json=body, headers=who)


def states(make: Any, org: Any) -> list[tuple[str, str]]:
    rows = make.rows(
        "SELECT kind, status FROM member_request WHERE organization_id = :o ORDER BY id", o=org.id
    )
    return [tuple(r) for r in rows]


def told(make: Any, kind: str, member: Any) -> tuple[int, int]:
    """(bells, mails) of *kind* that reached a member."""
    bells = make.one(
        "SELECT count(*) FROM notification WHERE user_id = :u AND kind = :k", u=member.user_id, k=kind
    )
    mails = make.one(
        "SELECT count(*) FROM outbox_message WHERE payload->>'to' = :e AND payload->>'template' = :k",
        e=member.user.email,
        k=kind,
    )
    return bells, mails


def actions(make: Any, org: Any) -> list[str]:
    rows = make.rows("SELECT action FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=org.id)
    return [r[0] for r in rows]


def test_a_learner_gets_a_place_by_asking(client: Any, make: Any) -> None:
    org = make.org()
    owner, maintainer, manager = make.member(org), make.member(org, "MAINTAINER"), make.member(org, "MANAGER")
    learner, p = make.member(org, "LEARNER"), program(make, org)
    mine = make.bearer(learner)
    answer = ask(client, org, mine, kind="PROGRAM_PLACE", program_id=str(p.public_id), note="For my new role")
    assert answer.status_code == 201, answer.json
    body = answer.json["request"]
    assert body["wish"] == "a place in “Growth”" and body["status"] == "PENDING"
    assert told(make, "request_made", owner) == told(make, "request_made", maintainer) == (1, 1)
    assert told(make, "request_made", manager) == (0, 0)
    again = ask(client, org, mine, kind="PROGRAM_PLACE", program_id=str(p.public_id))
    assert (again.status_code, again.json["code"]) == (409, "REQUEST_ALREADY_PENDING")
    assert states(make, org) == [("PROGRAM_PLACE", "PENDING")]
    listed = client.get(url(org, tail="?status=PENDING"), headers=make.bearer(manager)).json["requests"]
    assert [r["id"] for r in listed] == [body["id"]] and listed[0]["member"]["name"] == learner.user.name
    refused = client.post(url(org, body["id"], "/approve"), json={}, headers=make.bearer(manager))
    assert (refused.status_code, refused.json["code"]) == (403, "INSUFFICIENT_ROLE")
    yes = client.post(
        url(org, body["id"], "/approve"), json={"note": "Enjoy"}, headers=make.bearer(maintainer)
    )
    assert yes.status_code == 200 and yes.json["request"]["status"] == "APPROVED"
    assert make.rows("SELECT program_id, status FROM assignment WHERE membership_id = :m", m=learner.id) == [
        (p.id, "ACTIVE")
    ]
    assert told(make, "request_answered", learner) == (1, 1)
    assert actions(make, org) == ["REQUEST_MADE", "PROGRAM_ASSIGNED", "REQUEST_APPROVED"]
    held = ask(client, org, mine, kind="PROGRAM_PLACE", program_id=str(p.public_id))
    assert (held.status_code, held.json["code"]) == (409, "ILLEGAL_TRANSITION")


def test_an_expert_gets_another_routing_by_asking(client: Any, make: Any) -> None:
    org = make.org(can_host=True)
    owner, expert = make.bearer(make.member(org)), make.member(org, "EXPERT")
    make.expert(expert.user)
    mine = make.bearer(expert)
    same = ask(client, org, mine, kind="PAYOUT_ROUTING", payout_recipient="SELF")
    assert (same.status_code, same.json["code"]) == (409, "ILLEGAL_TRANSITION")
    key = ask(client, org, mine, kind="PAYOUT_ROUTING", payout_recipient="ORGANIZATION").json["request"]["id"]
    no = client.post(url(org, key, "/decline"), json={}, headers=owner)
    assert (no.status_code, no.json["code"]) == (400, "VALIDATION_FAILED")
    no = client.post(url(org, key, "/decline"), json={"note": "Not this year."}, headers=owner)
    assert no.status_code == 200 and no.json["request"]["decision_note"] == "Not this year."
    assert make.one("SELECT payout_recipient FROM membership WHERE id = :m", m=expert.id) == "SELF"
    key = ask(client, org, mine, kind="PAYOUT_ROUTING", payout_recipient="ORGANIZATION").json["request"]["id"]
    assert client.post(url(org, key, "/approve"), json={}, headers=owner).status_code == 200
    assert make.one("SELECT payout_recipient FROM membership WHERE id = :m", m=expert.id) == "ORGANIZATION"
    assert "PAYOUT_RECIPIENT_CHANGED" in actions(make, org)
    late = client.post(url(org, key, "/decline"), json={"note": "No"}, headers=owner)
    assert (late.status_code, late.json["code"]) == (409, "REQUEST_NOT_PENDING")


def test_more_seats_need_an_owner(client: Any, make: Any) -> None:
    org = make.org(seats_total=2)
    owner, maintainer, manager = make.member(org), make.member(org, "MAINTAINER"), make.member(org, "MANAGER")
    key = ask(client, org, make.bearer(manager), kind="SEATS", seats=3).json["request"]["id"]
    assert told(make, "request_made", owner) == (1, 1) and told(make, "request_made", maintainer) == (0, 0)
    no = client.post(url(org, key, "/approve"), json={}, headers=make.bearer(maintainer))
    assert (no.status_code, no.json["code"]) == (403, "OWNER_REQUIRED")
    assert make.one("SELECT seats_total FROM organization WHERE id = :o", o=org.id) == 2
    assert client.post(url(org, key, "/approve"), json={}, headers=make.bearer(owner)).status_code == 200
    assert make.one("SELECT seats_total FROM organization WHERE id = :o", o=org.id) == 5
    unlimited = make.org()
    answer = ask(client, unlimited, make.bearer(make.member(unlimited, "MANAGER")), kind="SEATS", seats=1)
    assert (answer.status_code, answer.json["code"]) == (409, "ILLEGAL_TRANSITION")


@pytest.mark.parametrize(("first", "second"), [("approve", "approve"), ("approve", "decline")])
def test_two_decisions_at_once_count_once(app: Any, client: Any, make: Any, first: str, second: str) -> None:
    for _ in range(4):
        org = make.org(seats_total=1)
        owners = [make.bearer(make.member(org)) for _ in range(2)]
        key = ask(client, org, make.bearer(make.member(org, "MANAGER")), kind="SEATS", seats=4).json[
            "request"
        ]["id"]
        answers = race(
            app,
            [
                lambda c, o=owners[0], key=key, org=org: c.post(
                    url(org, key, f"/{first}"), json={"note": "a"}, headers=o
                ),
                lambda c, o=owners[1], key=key, org=org: c.post(
                    url(org, key, f"/{second}"), json={"note": "b"}, headers=o
                ),
            ],
        )
        assert sorted(a.status_code for a in answers) == [200, 409]
        assert {a.json["code"] for a in answers if a.status_code == 409} == {"REQUEST_NOT_PENDING"}
        ((_, status),) = states(make, org)
        total = make.one("SELECT seats_total FROM organization WHERE id = :o", o=org.id)
        assert total == (5 if status == "APPROVED" else 1)


def test_a_yes_that_cannot_be_kept_leaves_the_request_open(client: Any, make: Any) -> None:
    org = make.org()
    owner, learner, p = make.bearer(make.member(org)), make.member(org, "LEARNER"), program(make, org)
    key = ask(client, org, make.bearer(learner), kind="PROGRAM_PLACE", program_id=str(p.public_id)).json[
        "request"
    ]["id"]
    with make.session() as session:
        session.get(Program, p.id).status = "PAUSED"
    answer = client.post(url(org, key, "/approve"), json={}, headers=owner)
    assert (answer.status_code, answer.json["code"]) == (409, "ILLEGAL_TRANSITION")
    assert states(make, org) == [("PROGRAM_PLACE", "PENDING")] and actions(make, org) == ["REQUEST_MADE"]
    client.patch(f"{API}/{org.slug}/members/{learner.public_id}", json={"status": "SUSPENDED"}, headers=owner)
    answer = client.post(url(org, key, "/approve"), json={}, headers=owner)
    assert (answer.status_code, answer.json["code"]) == (409, "MEMBERSHIP_NOT_ACTIVE")
    assert client.delete(f"{API}/{org.slug}/members/{learner.public_id}", headers=owner).status_code == 200
    assert states(make, org) == [("PROGRAM_PLACE", "CANCELED")]


def test_only_the_asker_withdraws_and_sees_their_own(client: Any, make: Any) -> None:
    org = make.org()
    p = program(make, org)
    a, b = make.bearer(make.member(org, "LEARNER")), make.bearer(make.member(org, "LEARNER"))
    key = ask(client, org, a, kind="PROGRAM_PLACE", program_id=str(p.public_id)).json["request"]["id"]
    assert client.get(url(org), headers=b).json["requests"] == []
    assert [r["id"] for r in client.get(url(org), headers=a).json["requests"]] == [key]
    for who in (b, make.bearer(make.member(org))):
        answer = client.post(url(org, key, "/cancel"), headers=who)
        assert (answer.status_code, answer.json["code"]) == (404, "NOT_FOUND")
    assert client.post(url(org, key, "/cancel"), headers=a).json["request"]["status"] == "CANCELED"
    assert client.post(url(org, key, "/cancel"), headers=a).json["code"] == "REQUEST_NOT_PENDING"
    assert ask(client, org, a, kind="PROGRAM_PLACE", program_id=str(p.public_id)).status_code == 201


def test_who_asks_for_what(client: Any, make: Any) -> None:
    org, other = make.org(can_host=True, seats_total=5), make.org()
    p, foreign, paused = program(make, org), program(make, other), program(make, org, "Old", status="PAUSED")
    bodies = {
        "PROGRAM_PLACE": {"program_id": str(p.public_id)},
        "PAYOUT_ROUTING": {"payout_recipient": "ORGANIZATION"},
        "SEATS": {"seats": 2},
    }
    may = {
        "OWNER": {"SEATS"},
        "MAINTAINER": {"SEATS"},
        "MANAGER": {"SEATS"},
        "EXPERT": {"PAYOUT_ROUTING"},
        "LEARNER": {"PROGRAM_PLACE"},
        "SUPPORT": set(),
        "BILLING_ADMIN": set(),
    }
    for role, kinds in may.items():
        who = make.bearer(make.member(org, role))
        for kind, body in bodies.items():
            answer = ask(client, org, who, kind=kind, **body)
            assert answer.status_code == (201 if kind in kinds else 403), (role, kind, answer.json)
    learner = make.bearer(make.member(org, "LEARNER"))
    for body, code in (
        ({"kind": "PROGRAM_PLACE", "program_id": str(foreign.public_id)}, "NOT_FOUND"),
        ({"kind": "PROGRAM_PLACE", "program_id": str(paused.public_id)}, "ILLEGAL_TRANSITION"),
        ({"kind": "PROGRAM_PLACE"}, "VALIDATION_FAILED"),
        ({"kind": "PROGRAM_PLACE", "program_id": str(p.public_id), "seats": 1}, "VALIDATION_FAILED"),
        ({"kind": "SEATS", "seats": 0}, "VALIDATION_FAILED"),
        ({"kind": "X"}, "VALIDATION_FAILED"),
        ({"kind": "PROGRAM_PLACE", "program_id": str(p.public_id), "note": "x" * 1001}, "VALIDATION_FAILED"),
    ):
        assert ask(client, org, learner, **body).json["code"] == code, body
    key = client.get(url(org), headers=make.bearer(make.member(org))).json["requests"][0]["id"]
    for tail in ("/approve", "/decline", "/cancel"):
        answer = client.post(
            url(other, key, tail), json={"note": "x"}, headers=make.bearer(make.member(other))
        )
        assert (answer.status_code, answer.json["code"]) == (404, "NOT_FOUND")
