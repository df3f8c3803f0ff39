"""Departments: suggestions, counts, a new name, a merge (chapter 1, "Beyond" 14)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from app import clock
from app.models import Invitation, MembershipStatus, Payment
from tests.factories import unique

API = "/api/organizations"


def url(org: Any, tail: str = "") -> str:
    return f"{API}/{org.slug}/departments{tail}"


def labels(make: Any, org: Any) -> list[str | None]:
    return [
        r[0]
        for r in make.rows(
            "SELECT department_label FROM membership WHERE organization_id = :o ORDER BY id", o=org.id
        )
    ]


def invite(make: Any, org: Any, label: str, status: str = "PENDING") -> Invitation:
    now = clock.now()
    return make.add(
        Invitation(
            organization_id=org.id,
            email=f"{unique('i')}@x.test",
            role="LEARNER",
            status=status,
            department_label=label,
            token_hash=unique("hash"),
            sent_at=now,
            expires_at=now + dt.timedelta(days=3),
        )
    )


def pay(make: Any, org: Any, member: Any, paise: int, **values: Any) -> None:
    plan = make.plan(make.expert())
    make.add(
        Payment(
            organization_id=org.id,
            user_id=member.user_id,
            plan_id=plan.id,
            price_paise=paise,
            tax_paise=0,
            tax_bps=0,
            amount_paise=paise,
            **{"status": "SUCCEEDED", "method": "WALLET", "captured_at": clock.now(), **values},
        )
    )


def test_departments_are_suggested_counted_and_summed(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.bearer(make.member(org))
    sales = [make.member(org, "LEARNER", department_label="Sales Desk") for _ in range(2)]
    make.member(org, "LEARNER", department_label="sales  desk")
    make.member(org, "LEARNER", department_label="Finance")
    make.member(org, "LEARNER", department_label="Left", status=MembershipStatus.REMOVED)
    make.member(make.org(), "LEARNER", department_label="Foreign")
    pay(make, org, sales[0], 50_000)
    pay(make, org, sales[1], 10_000)
    pay(make, org, sales[1], 99_000, captured_at=clock.now() - dt.timedelta(days=40))
    pay(make, org, sales[1], 99_000, method="CARD")
    pay(make, org, sales[1], 99_000, status="FAILED")
    body = client.get(url(org), headers=owner).json
    assert body["departments"] == [
        {"label": "Sales Desk", "people": 2, "spent_this_month_paise": 60_000},
        {"label": "Finance", "people": 1, "spent_this_month_paise": 0},
        {"label": "sales  desk", "people": 1, "spent_this_month_paise": 0},
    ]
    assert body["duplicates"] == [["Sales Desk", "sales  desk"]]
    found = client.get(url(org, "?q=SALESd"), headers=owner).json["departments"]
    assert [d["label"] for d in found] == ["Sales Desk", "sales  desk"]
    support = client.get(url(org), headers=make.bearer(make.member(org, "SUPPORT")))
    assert support.status_code == 200 and "spent" not in support.text
    for role in ("LEARNER", "BILLING_ADMIN"):
        answer = client.get(url(org), headers=make.bearer(make.member(org, role)))
        assert (answer.status_code, answer.json["code"]) == (403, "INSUFFICIENT_ROLE")


def test_a_merge_moves_people_and_invitations_at_once(client: Any, make: Any) -> None:
    org, other = make.org(), make.org()
    owner = make.bearer(make.member(org, department_label="sales"))
    for label in ("Sales", "SALES", "Ops"):
        make.member(org, "LEARNER", department_label=label)
    gone = make.member(org, "LEARNER", department_label="SALES", status=MembershipStatus.REMOVED)
    make.member(other, "LEARNER", department_label="SALES")
    open_one, done = invite(make, org, "sales"), invite(make, org, "sales", "ACCEPTED")
    body = {"sources": ["sales", "SALES", "Sales"], "target": " Sales "}
    preview = client.post(url(org, "/preview"), json=body, headers=owner).json
    assert (preview["people"], preview["invitations"], preview["needs_owner"]) == (2, 1, True)
    assert labels(make, org) == ["sales", "Sales", "SALES", "Ops", "SALES"]
    answer = client.post(url(org, "/merge"), json=body, headers=owner)
    assert answer.status_code == 200 and (answer.json["people"], answer.json["invitations"]) == (2, 1)
    assert labels(make, org) == ["Sales", "Sales", "Sales", "Ops", "Sales"] and labels(make, other) == [
        "SALES"
    ]
    for row, label in ((open_one, "Sales"), (done, "sales")):
        assert make.one("SELECT department_label FROM invitation WHERE id = :i", i=row.id) == label
    assert make.rows(
        "SELECT action, details->'before'->'departments', (details->>'people')::int FROM org_audit_log "
        "WHERE organization_id = :o",
        o=org.id,
    ) == [("DEPARTMENTS_MERGED", ["sales", "SALES"], 2)]
    generations = make.rows(
        "SELECT u.session_generation FROM membership m JOIN ab_user u ON u.id = m.user_id "
        "WHERE m.organization_id = :o ORDER BY m.id",
        o=org.id,
    )
    assert [g[0] for g in generations] == [1, 0, 1, 0, 0]
    assert make.one("SELECT status FROM membership WHERE id = :i", i=gone.id) == "REMOVED"
    again = client.post(url(org, "/merge"), json=body, headers=owner)
    assert (again.status_code, again.json["code"]) == (404, "NOT_FOUND")


def test_a_new_name_for_a_department(client: Any, make: Any) -> None:
    org = make.org()
    maintainer = make.bearer(make.member(org, "MAINTAINER"))
    make.member(org, "LEARNER", department_label="Peple")
    answer = client.post(
        url(org, "/merge"), json={"sources": ["Peple"], "target": "People"}, headers=maintainer
    )
    assert answer.status_code == 200 and labels(make, org) == [None, "People"]
    assert (
        make.one("SELECT action FROM org_audit_log WHERE organization_id = :o", o=org.id)
        == "DEPARTMENT_RENAMED"
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"sources": [], "target": "A"}, "sources"),
        ({"sources": ["A"] * 51, "target": "A"}, "sources"),
        ({"sources": ["A"], "target": "  "}, "target"),
        ({"sources": ["A"], "target": "x" * 101}, "target"),
        ({"sources": ["A\x00"], "target": "B"}, "body"),
    ],
)
def test_merges_are_bounded(client: Any, make: Any, body: Any, field: str) -> None:
    org = make.org()
    answer = client.post(url(org, "/merge"), json=body, headers=make.bearer(make.member(org)))
    assert (answer.status_code, answer.json["code"]) == (400, "VALIDATION_FAILED")
    assert field in answer.json["details"]["fields"]


def test_a_merge_keeps_to_the_authority_of_who_asks(client: Any, make: Any) -> None:
    org, strict = make.org(), make.org(people_owner_only=True)
    make.member(org, "BILLING_ADMIN", department_label="Money")
    make.member(strict, "LEARNER", department_label="Money")
    body = {"sources": ["Money"], "target": "Finance"}
    for where, role, code in (
        (org, "MAINTAINER", "ROLE_REQUIRES_OWNER"),
        (strict, "MAINTAINER", "OWNER_REQUIRED"),
        (org, "MANAGER", "INSUFFICIENT_ROLE"),
        (org, "SUPPORT", "INSUFFICIENT_ROLE"),
    ):
        answer = client.post(url(where, "/merge"), json=body, headers=make.bearer(make.member(where, role)))
        assert (answer.status_code, answer.json["code"]) == (403, code)
    foreign = client.post(url(org, "/merge"), json=body, headers=make.bearer(make.member(make.org())))
    assert (foreign.status_code, foreign.json["code"]) == (403, "NOT_A_MEMBER")
    assert "Finance" not in labels(make, org) + labels(make, strict)
    assert (
        client.post(url(strict, "/merge"), json=body, headers=make.bearer(make.member(strict))).status_code
        == 200
    )
