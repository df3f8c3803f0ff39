"""What a host sees of the sessions its experts deliver to others' learners (chapter 2, 2.3; rule 5)."""

from __future__ import annotations

import csv
import html
import io
import json

import pytest
from sqlalchemy import text

from app.models import OrgRole

from .conftest import slot
from .test_events import shift
from .test_rates import hosting  # noqa: F401 - switched on for every test here


@pytest.fixture
def hosted(world):
    """A host whose expert Acme's learner Asha Payer and a person of their own booked, and one of its own members."""
    make = world.make
    host = make.org(can_host=True, funding="PERSONAL")
    expert = make.member(host, OrgRole.EXPERT, user=make.user(name="Ravi Iyer"))
    profile = make.expert(expert.user)
    plan = make.plan(profile, 0, title="Pricing clinic")
    paid = make.plan(profile, 500_000, title="Strategy day")
    learner = world.learner(user=make.user(name="Asha Payer"))
    later, sooner = slot(6), slot(4)
    assert world.book(learner, later, plan=paid).status_code == 201
    alone = make.user(name="Bela Solo")
    assert world.book(alone, sooner, plan=plan, org=None).json["status"] == "CONFIRMED"
    return host, paid, learner


def read(world, host, who, **args):
    return world.client.get(
        f"/api/organizations/{host.slug}/hosted-sessions", query_string=args, headers=world.auth(who)
    )


def test_a_host_sees_time_plan_expert_and_first_name(world, hosted):
    host, _, _ = hosted
    manager = world.make.member(host, OrgRole.MANAGER)
    answer = read(world, host, manager)
    assert answer.status_code == 200, answer.text
    rows = answer.json["result"]
    assert [(r["plan"], r["expert"], r["learner"]) for r in rows] == [
        ("Pricing clinic", "Ravi Iyer", "Bela"),
        ("Strategy day", "Ravi Iyer", "Asha"),
    ]
    assert all(set(r) == {"starts_at", "ends_at", "plan", "expert", "learner"} for r in rows)
    told = json.dumps(answer.json)
    for secret in (
        "Payer",
        "Solo",
        world.org.name,
        world.org.slug,
        str(world.org.public_id),
        "500000",
        "5000",
    ):
        assert secret not in told, secret
    assert read(world, host, manager, when="past").json["result"] == []
    file = read(world, host, manager, format="csv")
    lines = list(csv.reader(io.StringIO(file.text.lstrip("\ufeff"))))
    assert file.mimetype == "text/csv" and "planned-sessions" in file.headers["Content-Disposition"]
    assert lines[0] == ["starts_at", "ends_at", "minutes", "plan", "expert", "learner"]
    assert [line[2:] for line in lines[1:]] == [
        ["60", "Pricing clinic", "Ravi Iyer", "Bela"],
        ["60", "Strategy day", "Ravi Iyer", "Asha"],
    ]
    assert read(world, host, manager, format="xml").status_code == 400
    first = read(world, host, manager, limit=1).json
    second = read(world, host, manager, limit=1, cursor=first["next_cursor"]).json
    assert [first["result"], second["result"], second["next_cursor"]] == [rows[:1], rows[1:], None]
    browser = world.make.sign_in(world.client.application.test_client(), manager)
    page = browser.get(f"/dashboard/organization/{host.slug}/hosted-sessions/")
    body = html.unescape(page.text)
    assert page.status_code == 200 and "Strategy day" in body and "Asha" in body
    for secret in ("Payer", "Solo", world.org.name, "5,000"):
        assert secret not in body, secret
    exported = browser.get(f"/dashboard/organization/{host.slug}/hosted-sessions/export")
    assert exported.text == file.text
    assert "Payer" not in exported.text and "Solo" not in exported.text
    assert "/hosted-sessions/" in browser.get(f"/dashboard/organization/{host.slug}/home").text
    shift(world, 200 * 86_400)  # slots lie further ahead the more tests took one before
    world.headers.clear()
    past = read(world, host, manager, when="past").json["result"]
    assert [r["plan"] for r in past] == ["Strategy day", "Pricing clinic"]
    assert read(world, host, manager).json["result"] == []


def test_what_a_host_does_not_see(world, hosted):
    """Its own bookings (they are its appointments), cancelled and unpaid ones, and what another host delivers."""
    host, paid, learner = hosted
    manager = world.make.member(host, OrgRole.MANAGER)
    held = world.book(world.make.user(), slot(7), plan=paid, org=None)
    assert held.json["status"] == "TENTATIVE"
    own = world.make.member(host, OrgRole.LEARNER)
    free = world.make.rows(
        "SELECT public_id FROM plan WHERE title = 'Pricing clinic' AND expert_id = :e", e=paid.expert_id
    )
    mine = world.client.post(
        "/api/checkout",
        json={
            "plan_id": str(free[0].public_id),
            "starts_at": slot(8).isoformat(),
            "organization_id": str(host.public_id),
        },
        headers={**world.auth(own), "Idempotency-Key": "own-booking"},
    )
    assert mine.status_code == 201, mine.text
    assert len(read(world, host, manager).json["result"]) == 2
    other = world.make.org(can_host=True)
    stranger = world.make.member(other)
    assert read(world, other, stranger).json["result"] == []
    assert read(world, host, stranger).status_code == 403
    booking = world.make.one(
        "SELECT public_id FROM appointment WHERE learner_user_id = :u", u=learner.user_id
    )
    done = world.client.post(f"/api/appointments/{booking}/cancel", json={}, headers=world.auth(learner))
    assert done.status_code == 200
    assert [r["plan"] for r in read(world, host, manager).json["result"]] == ["Pricing clinic"]


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (OrgRole.OWNER, 200),
        (OrgRole.MAINTAINER, 200),
        (OrgRole.MANAGER, 200),
        (OrgRole.SUPPORT, 200),
        (OrgRole.BILLING_ADMIN, 403),
        (OrgRole.EXPERT, 403),
        (OrgRole.LEARNER, 403),
    ],
)
def test_who_reads_it(world, role, status):
    host = world.make.org(can_host=True)
    member = world.make.member(host, role)
    assert read(world, host, member).status_code == status
    page = world.make.sign_in(world.client.application.test_client(), member).get(
        f"/dashboard/organization/{host.slug}/hosted-sessions/"
    )
    assert page.status_code == status


def test_a_sponsor_has_no_such_page(world):
    owner = world.make.member(world.org, OrgRole.OWNER)
    answer = read(world, world.org, owner)
    assert (answer.status_code, answer.json["code"]) == (409, "HOST_CAPABILITY_REQUIRED")
    browser = world.make.sign_in(world.client.application.test_client(), owner)
    assert browser.get(f"/dashboard/organization/{world.org.slug}/hosted-sessions/").status_code == 404


def test_the_function_answers_only_for_the_organisation_acted_for(world, hosted):
    host, _, _ = hosted
    mine = world.make.member(world.org, OrgRole.OWNER)
    call = text("SELECT count(*) FROM hosted_sessions(:o, false, now(), NULL, NULL, 10)")
    with world.make.acting(mine) as s:
        assert s.execute(call, {"o": host.id}).scalar_one() == 0
    with world.make.acting(world.make.member(host, OrgRole.OWNER)) as s:
        assert s.execute(call, {"o": host.id}).scalar_one() == 2
        assert (
            s.execute(
                text("SELECT count(*) FROM appointment WHERE organization_id IS DISTINCT FROM :o"),
                {"o": host.id},
            ).scalar_one()
            == 0
        )  # the rows themselves stay with who pays
