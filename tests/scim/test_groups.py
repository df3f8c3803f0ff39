"""Groups in full: made, renamed, filled, emptied, deleted; roles follow the mapped ones (chapter 3, 3.2)."""

from __future__ import annotations

import threading

import pytest

from tests.factories import unique

from .conftest import GROUP, refused


def members(directory, group):
    found = directory.get(f"/Groups/{group['id']}").json.get("members", [])
    return {m["value"] for m in found}


def test_a_group_lives(directory):
    a, b, c = (directory.user()["id"] for _ in range(3))
    name = unique("Engineering")
    response = directory.post(
        "/Groups",
        {
            "schemas": [GROUP],
            "displayName": name,
            "externalId": "g-1",
            "members": [{"value": a}, {"value": b}],
        },
    )
    assert response.status_code == 201
    group, path = response.json, f"/Groups/{response.json['id']}"
    assert group["displayName"] == name and group["externalId"] == "g-1"
    assert group["members"][0] == {
        "value": a,
        "$ref": f"http://console.test/scim/v2/Users/{a}",
        "type": "User",
    }
    assert response.headers["ETag"] == 'W/"1"' and response.headers["Location"] == group["meta"]["location"]
    assert directory.get(f"/Users/{a}").json["groups"] == [
        {"value": group["id"], "$ref": group["meta"]["location"], "display": name, "type": "direct"}
    ]
    refused(directory.post("/Groups", {"schemas": [GROUP], "displayName": name.upper()}), 409, "uniqueness")
    assert directory.patch(path, {"op": "Add", "path": "members", "value": [{"value": c}]}).status_code == 204
    assert members(directory, group) == {a, b, c}
    directory.patch(path, {"op": "remove", "path": f'members[value eq "{a}"]'})
    assert members(directory, group) == {b, c}
    directory.patch(path, {"op": "Remove", "path": "members", "value": [{"value": b}]})
    assert members(directory, group) == {c}
    directory.patch(path, {"op": "replace", "path": "members", "value": [{"value": a}, {"value": a}]})
    assert members(directory, group) == {a}
    directory.patch(path, {"op": "replace", "value": {"id": group["id"], "displayName": name + " 2"}})
    assert directory.get(path).json["displayName"] == name + " 2"
    put = directory.put(
        path, {"schemas": [GROUP], "displayName": name, "members": [{"value": b}, {"value": c}]}
    )
    assert put.status_code == 200 and members(directory, group) == {b, c} and put.json["externalId"] == "g-1"
    version = put.headers["ETag"]
    assert (
        directory.put(
            path, {"schemas": [GROUP], "displayName": name, "members": [{"value": c}, {"value": b}]}
        ).headers["ETag"]
        == version
    )
    directory.patch(path, {"op": "remove", "path": "members"})
    assert members(directory, group) == set()
    assert directory.delete(path).status_code == 204
    refused(directory.get(path), 404)
    assert "groups" not in directory.get(f"/Users/{b}").json


def test_unknown_members_are_refused_and_nothing_changes(directory):
    a = directory.user()["id"]
    group = directory.group(None, a)
    path = f"/Groups/{group['id']}"
    for value in (
        [{"value": "string id 1"}],
        [{"value": group["id"]}],
        [{"value": a}, {"value": "01a21665-0fa8-75e1-a729-d108ea84989a"}],
    ):
        refused(
            directory.patch(path, {"op": "replace", "path": "members", "value": value}), 400, "invalidValue"
        )
        refused(directory.put(path, {"displayName": "Else", "members": value}), 400, "invalidValue")
        refused(
            directory.post("/Groups", {"displayName": unique("G"), "members": value}), 400, "invalidValue"
        )
    refused(
        directory.patch(path, {"op": "add", "path": "members", "value": [{"value": a, "type": "Group"}]}),
        400,
        "invalidValue",
    )
    assert members(directory, group) == {a}
    assert directory.get(path).json["displayName"] == group["displayName"]
    assert directory.get("/Groups").json["totalResults"] == 1


def test_a_patch_is_applied_as_a_whole_or_not_at_all(directory):
    a, b = directory.user()["id"], directory.user()["id"]
    group = directory.group(None, a)
    path = f"/Groups/{group['id']}"
    for wrong, kind in (
        ({"op": "add", "path": "members[", "value": []}, "invalidPath"),
        ({"op": "add", "path": "nothing", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "id", "value": "x"}, "mutability"),
        ({"op": "remove", "path": "displayName"}, "mutability"),
        ({"op": "remove"}, "noTarget"),
        ({"op": "replace", "path": f'members[value eq "{b}"]', "value": {"value": b}}, None),
        ({"op": "replace", "path": 'members[value eq "none"]', "value": {"value": a}}, "noTarget"),
        ({"op": "remove", "path": 'members[display co "x"]'}, "invalidFilter"),
        ({"op": "mend", "path": "members"}, "invalidSyntax"),
    ):
        response = directory.patch(path, {"op": "add", "path": "members", "value": [{"value": b}]}, wrong)
        if kind is None:
            assert response.status_code in (204, 400)
            directory.patch(path, {"op": "remove", "path": "members", "value": [{"value": b}]})
            continue
        refused(response, 400, kind)
        assert members(directory, group) == {a}, wrong


def test_members_are_left_out_when_nobody_wants_them(directory):
    a = directory.user()["id"]
    group = directory.group(None, a)
    plain = directory.get(f"/Groups/{group['id']}?excludedAttributes=members").json
    assert "members" not in plain and plain["displayName"] == group["displayName"]
    listed = directory.get(
        f'/Groups?excludedAttributes=members&filter=displayName eq "{group["displayName"].upper()}"'
    ).json
    assert listed["totalResults"] == 1 and "members" not in listed["Resources"][0]
    named = directory.get(f"/Groups/{group['id']}?attributes=members.value,members.display").json
    assert named["members"] == [{"value": a, "display": "Dana Rao"}] and "displayName" not in named
    answer = directory.patch(
        f"/Groups/{group['id']}?attributes=displayName",
        {"op": "replace", "path": "displayName", "value": "New"},
    )
    assert answer.status_code == 200 and answer.json["displayName"] == "New"


@pytest.mark.scenario("I-17")
def test_leaving_the_mapped_groups_makes_a_learner(directory):
    directory.map("IT-Admins", "MAINTAINER")
    directory.map("Finance-Leads", "BILLING_ADMIN")
    made = directory.user(groups=["IT-Admins", "Finance-Leads"])
    groups = {g["display"]: f"/Groups/{g['value']}" for g in made["groups"]}
    removal = {"op": "remove", "path": f'members[value eq "{made["id"]}"]'}
    assert directory.patch(groups["IT-Admins"], removal).status_code == 204
    assert directory.member(made["id"]).role == "BILLING_ADMIN"
    refused(
        directory.patch(groups["Finance-Leads"], {"op": "remove", "path": "members["}), 400, "invalidPath"
    )
    assert directory.member(made["id"]).role == "BILLING_ADMIN"
    seats = directory.seats()
    assert directory.patch(groups["Finance-Leads"], removal).status_code == 204
    assert directory.member(made["id"]).role == "LEARNER"
    assert directory.seats() == seats + 1
    assert [e["role"] for e in directory.events("member.updated")] == ["BILLING_ADMIN", "LEARNER"]


def test_roles_set_by_hand_stand_until_a_mapped_group_changes(directory, client):
    directory.map("Managers", "MANAGER")
    made = directory.user()
    response = client.patch(
        f"/api/organizations/{directory.org.slug}/members/{made['id']}",
        json={"role": "SUPPORT"},
        headers=directory.make.bearer(directory.owner),
    )
    assert response.status_code == 200, response.text
    assert directory.member(made["id"]).role_source == "MANUAL"
    directory.post("/Users", directory.body(made["userName"], displayName="Else"))
    directory.group("Everybody", made["id"])  # nobody mapped it
    assert directory.member(made["id"]).role == "SUPPORT"
    directory.group("managers", made["id"])
    assert tuple(directory.member(made["id"]))[:3] == ("MANAGER", "ACTIVE", "SCIM")


def test_owners_stay_owners(directory):
    directory.map("Managers", "MANAGER")
    directory.group("Managers", str(directory.owner.public_id))
    assert directory.member(str(directory.owner.public_id)).role == "OWNER"


def test_renaming_and_deleting_a_mapped_group_moves_its_members(directory):
    directory.map("Leads", "MANAGER")
    made = directory.user()
    group = directory.group("Staff", made["id"])
    path = f"/Groups/{group['id']}"
    directory.patch(path, {"op": "replace", "path": "displayName", "value": "LEADS"})
    assert directory.member(made["id"]).role == "MANAGER"
    directory.delete(path)
    assert directory.member(made["id"]).role == "LEARNER"


def test_learners_and_experts_never_interchange(new_directory):
    directory = new_directory(can_host=True)
    directory.map("Experts", "EXPERT")
    learner = directory.user()
    group = directory.group("Experts")
    path = f"/Groups/{group['id']}"
    refused(directory.patch(path, {"op": "add", "path": "members", "value": [{"value": learner["id"]}]}), 409)
    assert directory.member(learner["id"]).role == "LEARNER" and members(directory, group) == set()
    expert = directory.user(groups=["Experts"])
    assert directory.member(expert["id"]).role == "EXPERT"
    refused(directory.patch(path, {"op": "remove", "path": "members"}), 409)
    assert members(directory, group) == {expert["id"]}


def test_two_edits_of_one_group_both_count(directory):
    people = [directory.user()["id"] for _ in range(8)]
    group = directory.group()
    barrier, statuses = threading.Barrier(len(people)), []

    def add(person):
        client = directory.app.test_client()
        barrier.wait()
        response = client.patch(
            f"/scim/v2/Groups/{group['id']}",
            json={
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [{"op": "add", "path": "members", "value": [{"value": person}]}],
            },
            headers={"Authorization": f"Bearer {directory.raw}"},
        )
        statuses.append(response.status_code)

    threads = [threading.Thread(target=add, args=(p,)) for p in people]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert statuses == [204] * len(people)
    assert members(directory, group) == set(people)
    assert directory.get(f"/Groups/{group['id']}").json["meta"]["version"] == f'W/"{1 + len(people)}"'


def test_two_posts_of_one_person_make_one_member(directory, make):
    for upsert, expected in ((True, [200, 201]), (False, [201, 409])):
        directory.raw, _ = directory.new_token(upsert=upsert)
        email, barrier, statuses = directory.address("twin"), threading.Barrier(4), []

        def post(email=email, barrier=barrier, statuses=statuses):
            client = directory.app.test_client()
            barrier.wait()
            response = client.post(
                "/scim/v2/Users",
                json=directory.body(email),
                headers={"Authorization": f"Bearer {directory.raw}"},
            )
            statuses.append(response.status_code)

        threads = [threading.Thread(target=post) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert statuses.count(201) == 1 and sorted(set(statuses)) == sorted(expected), statuses
        assert (
            make.one(
                "select count(*) from membership m join ab_user u on u.id = m.user_id where u.email = :e",
                e=email,
            )
            == 1
        )


def test_the_last_seat_is_taken_once(new_directory):
    directory = new_directory(seats_total=2)
    directory.user()
    barrier, statuses = threading.Barrier(4), []

    def post():
        client = directory.app.test_client()
        barrier.wait()
        response = client.post(
            "/scim/v2/Users", json=directory.body(), headers={"Authorization": f"Bearer {directory.raw}"}
        )
        statuses.append(response.status_code)

    threads = [threading.Thread(target=post) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(statuses) == [201, 403, 403, 403] and directory.seats() == 2


def test_a_mapped_group_costs_a_constant_number_of_statements(directory, web_engine):
    """Thousands of members follow their mapping within one request: nothing is asked or written for each of them."""
    from sqlalchemy import event

    counts = []
    for people in (3, 30):
        members = [directory.user()["id"] for _ in range(people)]
        name = unique("Crowd")
        group = directory.group(name, *members)
        seats, announced = directory.seats(), len(directory.events("member.updated"))
        statements = []

        def listener(*given, kept=statements):
            kept.append(given[2])

        event.listen(web_engine, "before_cursor_execute", listener)
        answer = directory.map(name, "MANAGER")
        event.remove(web_engine, "before_cursor_execute", listener)
        counts.append(len(statements))
        assert answer.status_code == 201 and len(answer.json["changes"]) == people
        assert {directory.member(m).role for m in members} == {"MANAGER"}
        assert directory.seats() == seats - people
        assert len(directory.events("member.updated")) == announced + people
        directory.delete(f"/Groups/{group['id']}")
        assert {directory.member(m).role for m in members} == {"LEARNER"}
        assert directory.seats() == seats
    assert counts[0] == counts[1] <= 40, counts
