"""Groups: linking, re-rooting, figures of a parent, and two links that cross (chapter 1, "Beyond the original" 1)."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.errors import DomainError
from app.models import OrgStatus
from app.security import context
from app.services import hierarchy
from tests.factories import unique


def place(make: Any, org: Any) -> tuple[Any, Any, int]:
    row = make.rows("select parent_id, root_id, depth from organization where id = :i", i=org.id)[0]
    return row.parent_id, row.root_id, row.depth


def owned(make: Any, count: int, user: Any = None, **values: Any) -> tuple[Any, list[Any]]:
    """(user, organisations) all owned by one person."""
    user = user or make.user()
    orgs = [make.org(**values) for _ in range(count)]
    for org in orgs:
        make.member(org, "OWNER", user)
    return user, orgs


def put(client: Any, make: Any, who: Any, child: Any, parent: Any) -> Any:
    body = {"parent_id": str(parent.public_id) if parent is not None else None}
    return client.put(f"/api/organizations/{child.slug}/parent", json=body, headers=make.bearer(who))


def audits(make: Any, org: Any) -> list[Any]:
    return make.rows(
        "select description, actor_type, details from org_audit_log"
        " where organization_id = :o and action = 'HIERARCHY_CHANGED' order by id",
        o=org.id,
    )


@pytest.mark.scenario("P-38")
def test_no_cycle_and_deleting_the_parent_leaves_the_child_a_root(make, client):
    user, (a, b, c) = owned(make, 3)
    assert put(client, make, user, b, a).status_code == 200
    assert put(client, make, user, c, b).status_code == 200
    assert place(make, b) == (a.id, a.id, 1)
    assert place(make, c) == (b.id, a.id, 2)
    for high, low in ((a, b), (a, c), (a, a), (b, c)):
        refused = put(client, make, user, high, low)
        assert (refused.status_code, refused.json["code"]) == (409, "HIERARCHY_CYCLE")
    assert place(make, a) == (None, a.id, 0)
    assert place(make, b) == (a.id, a.id, 1)
    gone = client.delete(f"/api/organizations/{a.slug}", headers=make.bearer(user), json={"confirm": a.slug})
    assert gone.status_code in (200, 204), gone.json
    assert place(make, b) == (None, b.id, 0)
    assert place(make, c) == (b.id, b.id, 1)
    assert "was deleted" in audits(make, b)[-1].description
    assert audits(make, b)[-1].actor_type == "SYSTEM"


def test_a_move_takes_the_whole_subtree_and_writes_on_every_organisation(make, client):
    user, (a, b, c, d) = owned(make, 4)
    for child, parent in ((b, a), (c, b)):
        put(client, make, user, child, parent)
    moved = put(client, make, user, b, d)
    assert moved.status_code == 200
    assert moved.json["parent"]["slug"] == d.slug
    assert place(make, b) == (d.id, d.id, 1)
    assert place(make, c) == (b.id, d.id, 2)
    for org, says in ((b, "joined"), (a, "left"), (d, "joined")):
        last = audits(make, org)[-1]
        assert says in last.description
        assert last.actor_type == "MEMBER"
        assert last.details["after"] == {"parent": d.name}
    assert put(client, make, user, b, d).status_code == 200  # again: nothing happens
    assert len(audits(make, d)) == 1
    assert put(client, make, user, b, None).json["parent"] is None
    assert place(make, c) == (b.id, b.id, 1)
    assert put(client, make, user, b, None).status_code == 200


def test_five_levels_and_no_more(make, client):
    user, orgs = owned(make, 6)
    for parent, child in itertools.pairwise(orgs[:5]):
        assert put(client, make, user, child, parent).status_code == 200
    assert place(make, orgs[4])[2] == 4
    for child, parent in ((orgs[5], orgs[4]), (orgs[0], orgs[5])):
        refused = put(client, make, user, child, parent)
        assert (refused.status_code, refused.json["code"]) == (409, "HIERARCHY_TOO_DEEP")
    assert place(make, orgs[5]) == (None, orgs[5].id, 0)
    assert place(make, orgs[4])[2] == 4


def test_only_an_owner_of_both_links_and_unlinks(make, client):
    user, (child,) = owned(make, 1)
    parent, foreign, suspended = make.org(), make.org(), make.org(status=OrgStatus.SUSPENDED)
    seat = make.member(parent, "MAINTAINER", user)
    make.member(suspended, "OWNER", user)
    head = make.member(parent, "OWNER")
    outsider = make.member(foreign, "OWNER")

    def refused(who: Any, org: Any, above: Any, status: int, code: str) -> None:
        answer = put(client, make, who, org, above)
        assert (answer.status_code, answer.json["code"]) == (status, code)
        assert place(make, child) == (None, child.id, 0)

    refused(user, child, parent, 403, "OWNER_REQUIRED")
    refused(user, child, foreign, 403, "NOT_A_MEMBER")
    refused(user, child, suspended, 409, "ORG_NOT_ACTIVE")
    refused(head, child, parent, 403, "NOT_A_MEMBER")
    refused(outsider, child, foreign, 403, "NOT_A_MEMBER")
    answer = client.put(
        f"/api/organizations/{child.slug}/parent",
        json={"parent_id": "no-such-organisation"},
        headers=make.bearer(user),
    )
    assert (answer.status_code, answer.json["code"]) == (403, "NOT_A_MEMBER")
    refused(make.member(child, "MAINTAINER"), child, parent, 403, "OWNER_REQUIRED")
    assert audits(make, parent) == []
    with make.session() as session:
        session.get(type(seat), seat.id).role = "OWNER"
    assert put(client, make, user, child, parent).status_code == 200
    other = make.member(child, "OWNER")
    assert put(client, make, other, child, None).json["code"] == "NOT_A_MEMBER"
    assert place(make, child)[0] == parent.id


def test_an_administrator_links_as_the_platform(make, client):
    child, parent = make.org(), make.org()
    admin = make.user(platform_role="ADMIN")
    assert put(client, make, admin, child, parent).status_code == 200
    assert {audits(make, org)[-1].actor_type for org in (child, parent)} == {"ADMIN"}


def test_the_parents_finance_reads_sums_and_nothing_of_the_children(make, client):
    user, (a, b) = owned(make, 2, seats_total=10)
    put(client, make, user, b, a)
    make.member(b, "LEARNER")
    make.fund(a, 30_000)
    make.fund(b, 50_000)
    lead = make.member(a, "BILLING_ADMIN")
    answer = client.get(f"/api/organizations/{a.slug}/hierarchy", headers=make.bearer(lead))
    assert answer.status_code == 200
    tree = answer.json["tree"]
    assert [(n["slug"], n["level"]) for n in tree] == [(a.slug, 0), (b.slug, 1)]
    assert tree[1]["parent_id"] == str(a.public_id)
    assert (tree[1]["members"], tree[1]["seats_used"], tree[1]["wallet_paise"]) == (2, 1, 50_000)
    assert answer.json["totals"] == {
        "organizations": 2,
        "members": 4,
        "seats_used": 1,
        "seats_total": 20,
        "wallet_paise": 80_000,
        "spend_paise": 0,
    }
    for path in ("", "/members", "/hierarchy", "/billing-account"):
        inside = client.get(f"/api/organizations/{b.slug}{path}", headers=make.bearer(lead))
        assert (inside.status_code, inside.json["code"]) == (403, "NOT_A_MEMBER"), path
    for role in ("MAINTAINER", "MANAGER", "SUPPORT", "LEARNER"):
        member = make.member(a, role)
        assert (
            client.get(f"/api/organizations/{a.slug}/hierarchy", headers=make.bearer(member)).status_code
            == 403
        )
    with make.acting(make.member(a, "MANAGER")) as session:  # the database refuses too
        assert hierarchy.subtree(session, a.id) == []
        assert hierarchy.subtree(session, b.id) == []
    with make.acting(lead) as session:
        assert hierarchy.subtree(session, b.id) == []  # only from where one has the right


def test_the_child_sees_its_parents_name_and_no_more(make, client):
    user, (a, b) = owned(make, 2)
    put(client, make, user, b, a)
    manager = make.member(b, "MANAGER")
    answer = client.get(f"/api/organizations/{b.slug}/parent", headers=make.bearer(manager))
    assert answer.json == {
        "parent": {"id": str(a.public_id), "name": a.name, "slug": a.slug},
        "root_id": str(a.public_id),
        "depth": 1,
    }
    assert (
        client.get(f"/api/organizations/{a.slug}/hierarchy", headers=make.bearer(manager)).status_code == 403
    )
    billing = make.member(b, "BILLING_ADMIN")
    assert client.get(f"/api/organizations/{b.slug}/parent", headers=make.bearer(billing)).status_code == 403
    lone = client.get(f"/api/organizations/{a.slug}/parent", headers=make.bearer(user)).json
    assert lone == {"parent": None, "root_id": str(a.public_id), "depth": 0}


def race(make: Any, web_engine: Any, moves: list[tuple[Any, str]]) -> list[str]:
    """What each of *moves* (member of the child, slug of the parent) ended with, all at once."""
    barrier, results = threading.Barrier(len(moves)), []

    def move(member: Any, parent: str) -> None:
        context._current.set(make.ctx(member))
        with Session(web_engine) as session:
            barrier.wait(10)
            try:
                hierarchy.set_parent(session, parent)
                session.commit()
                results.append("moved")
            except DomainError as error:
                session.rollback()
                results.append(error.code)

    threads = [threading.Thread(target=move, args=one) for one in moves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return sorted(results)


def test_two_links_that_cross_yield_one_success(make, web_engine):
    for _ in range(5):
        user = make.user()
        a, b = make.org(), make.org()
        in_a, in_b = make.member(a, "OWNER", user), make.member(b, "OWNER", user)
        assert race(make, web_engine, [(in_a, b.slug), (in_b, a.slug)]) == ["HIERARCHY_CYCLE", "moved"]
        assert sorted([place(make, a)[2], place(make, b)[2]]) == [0, 1]
        assert place(make, a)[1] == place(make, b)[1]


def test_links_that_would_together_be_too_deep(make, web_engine):
    user = make.user()
    orgs = [make.org(slug=unique("deep")) for _ in range(6)]
    seats = [make.member(org, "OWNER", user) for org in orgs]
    for child, parent in ((1, 0), (2, 1), (4, 3), (5, 4)):
        context._current.set(make.ctx(seats[child]))
        with Session(web_engine) as session:
            hierarchy.set_parent(session, orgs[parent].slug)
            session.commit()
    found = race(make, web_engine, [(seats[3], orgs[2].slug), (seats[0], orgs[5].slug)])
    assert "moved" not in found  # three levels under three levels are five below the root
    assert all(place(make, org)[2] <= 4 for org in orgs)


def test_the_group_page_links_shows_and_unlinks(make, client):
    user, (top, low) = owned(make, 2)
    make.sign_in(client, user)
    page = f"/dashboard/organization/{top.slug}/group"
    assert "No organisations below this one" in client.get(page).text
    client.form(f"{page}/child", {"child": low.slug})
    assert place(make, low) == (top.id, top.id, 1)
    assert low.name in client.get(page).text
    below = client.get(f"/dashboard/organization/{low.slug}/group").text
    assert f"belongs to {top.name}" in below
    client.form(f"{page}/child", {"child": low.slug, "leave": "y"})
    assert place(make, low) == (None, low.id, 0)
    client.form(f"/dashboard/organization/{low.slug}/group/parent", {"parent": top.slug})
    client.form(f"/dashboard/organization/{low.slug}/group/parent", {"parent": ""})
    assert place(make, low) == (None, low.id, 0)
    stranger = make.org()
    refused = client.form(f"{page}/child", {"child": stranger.slug})
    assert refused.status_code in (302, 403)
    assert place(make, stranger) == (None, stranger.id, 0)
    assert "Open the group" in client.get(f"/dashboard/organization/{top.slug}/settings").text
    for role, status in (("BILLING_ADMIN", 200), ("MAINTAINER", 403), ("MANAGER", 403)):
        reader = make.sign_in(client.application.test_client(), make.member(top, role))
        answer = reader.get(page)
        assert answer.status_code == status, role
        assert "Add an organisation" not in answer.text
