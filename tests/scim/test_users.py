"""People come, change and go (chapter 3, 3.2 "User")."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from app.models import User

from .conftest import ENTERPRISE, refused


def test_create_shows_what_was_sent(directory):
    email = directory.address()
    response = directory.post(
        "/Users",
        directory.body(
            email.upper(),
            externalId="ext-1",
            displayName="D. Rao",
            title="Engineer",
            **{ENTERPRISE: {"department": "Finance", "manager": {"value": "x"}}},
        ),
    )
    assert response.status_code == 201
    made = response.json
    assert made["userName"] == email
    assert made["name"] == {"givenName": "Dana", "familyName": "Rao", "formatted": "Dana Rao"}
    assert made["displayName"] == "D. Rao" and made["active"] is True and made["externalId"] == "ext-1"
    assert made[ENTERPRISE] == {"department": "Finance"}
    assert made["emails"] == [{"value": email, "type": "work", "primary": True}]
    assert made["meta"]["resourceType"] == "User"
    assert response.headers["Location"] == made["meta"]["location"]
    assert response.headers["ETag"] == made["meta"]["version"]
    assert "title" not in made
    assert directory.get(f"/Users/{made['id']}").json == made
    assert directory.seats() == 1
    assert directory.audits("SCIM_USER_CREATED") == 1
    (added,) = directory.events("member.added")
    assert added["membership_id"] == made["id"] and added["source"] == "scim" and added["role"] == "LEARNER"
    (row,) = directory.make.rows(
        "select actor_type, actor_user_id, details from org_audit_log where organization_id = :o "
        "and action = 'SCIM_USER_CREATED'",
        o=directory.org.id,
    )
    assert row.actor_type == "SCIM_TOKEN" and row.actor_user_id is None
    assert row.details["scim_token"] == "Directory"


@pytest.mark.scenario("I-13")
def test_groups_of_a_new_user_give_the_highest_role_and_a_repeat_changes_nothing(directory):
    assert directory.map("IT-Admins", "MAINTAINER").status_code == 201
    assert directory.map("Finance-Leads", "BILLING_ADMIN").status_code == 201
    body = directory.body(directory.address("d"), groups=["IT-Admins", "Finance-Leads"])
    first = directory.post("/Users", body)
    assert first.status_code == 201
    assert directory.member(first.json["id"]).role == "MAINTAINER"
    assert sorted(g["display"] for g in first.json["groups"]) == ["Finance-Leads", "IT-Admins"]
    audits = directory.audits()
    generation = directory.make.one(
        "select session_generation from ab_user where email = :e", e=body["userName"]
    )
    again = directory.post("/Users", body)
    assert again.status_code == 200 and again.json["id"] == first.json["id"]
    assert again.json["meta"] == first.json["meta"]
    assert directory.audits() == audits
    assert generation == directory.make.one(
        "select session_generation from ab_user where email = :e", e=body["userName"]
    )
    directory.raw, _ = directory.new_token(upsert=False)
    refused(directory.post("/Users", body), 409, "uniqueness")
    assert directory.audits() == audits


@pytest.mark.scenario("I-15")
def test_deactivate_delete_and_post_again(directory):
    made = directory.user()
    path = f"/Users/{made['id']}"
    assert directory.seats() == 1
    response = directory.patch(path, {"op": "Replace", "path": "active", "value": "False"})
    assert response.status_code == 200 and response.json["active"] is False
    assert directory.member(made["id"]).status == "SUSPENDED"
    assert directory.seats() == 0
    (removed,) = directory.events("member.removed")
    assert removed["source"] == "scim" and removed["previous_status"] == "ACTIVE"
    assert directory.get(path).json["active"] is False
    assert directory.delete(path).status_code == 204
    refused(directory.get(path), 404)
    refused(directory.patch(path, {"op": "replace", "path": "active", "value": True}), 404)
    refused(directory.put(path, directory.body(made["userName"])), 404)
    refused(directory.delete(path), 404)
    found = directory.get(f'/Users?filter=userName eq "{made["userName"]}"').json
    assert found["totalResults"] == 0 and found["Resources"] == []
    assert len(directory.events("member.removed")) == 1
    again = directory.post("/Users", directory.body(made["userName"]))
    assert again.status_code == 201 and again.json["id"] == made["id"]
    assert directory.member(made["id"]).status == "ACTIVE" and directory.seats() == 1
    assert [e["previous_status"] for e in directory.events("member.added")] == [None, "SUSPENDED"]


@pytest.mark.scenario("I-18")
def test_foreign_domains_and_the_last_owner_are_refused(directory, make):
    people = make.one("select count(*) from ab_user where email = 'x@gmail.com'")
    refused(directory.post("/Users", directory.body("x@gmail.com")), 400, "invalidValue")
    assert make.one("select count(*) from ab_user where email = 'x@gmail.com'") == people
    path = f"/Users/{directory.owner.public_id}"
    refused(directory.delete(path), 409)
    refused(directory.patch(path, {"op": "replace", "path": "active", "value": False}), 409)
    assert directory.member(str(directory.owner.public_id)).status == "ACTIVE"
    assert directory.get(path).json["active"] is True
    make.member(directory.org, "OWNER")
    assert directory.delete(path).status_code == 204


def test_a_removed_member_is_unknown_until_posted_again(directory, make):
    email = directory.address()
    member = make.member(directory.org, "LEARNER", make.user(email), status="REMOVED")
    refused(directory.get(f"/Users/{member.public_id}"), 404)
    assert directory.get(f'/Users?filter=userName eq "{email}"').json["totalResults"] == 0
    back = directory.post("/Users", directory.body(email))
    assert back.status_code == 201 and back.json["id"] == str(member.public_id)
    assert directory.audits("SCIM_USER_REPROVISIONED") == 1


def test_a_removed_owner_never_comes_back_as_one(directory, make):
    email = directory.address()
    member = make.member(directory.org, "OWNER", make.user(email), status="REMOVED")
    assert directory.post("/Users", directory.body(email)).status_code == 201
    assert directory.member(str(member.public_id)).role == "LEARNER"


def test_put_states_everything_but_what_clients_leave_out(directory):
    made = directory.user(externalId="e-9", displayName="Nick", **{ENTERPRISE: {"department": "Ops"}})
    path = f"/Users/{made['id']}"
    body = {**directory.body(made["userName"]), "id": made["id"], "groups": [], "active": True}
    body["name"] = {"givenName": "Dan", "familyName": "Rao"}
    after = directory.put(path, body)
    assert after.status_code == 200
    assert after.json["displayName"] == "Dan Rao" and after.json["externalId"] == "e-9"
    assert after.json[ENTERPRISE] == {"department": "Ops"}
    assert after.headers["ETag"] != made["meta"]["version"]
    audits = directory.audits()
    assert directory.put(path, body).json == after.json
    assert directory.audits() == audits
    assert directory.put(path, {**body, "active": "False"}).json["active"] is False
    assert directory.seats() == 0
    assert directory.put(path, body).json["active"] is True
    refused(directory.put(path, {**body, "id": str(directory.owner.public_id)}), 400, "mutability")
    refused(directory.put(path, {k: v for k, v in body.items() if k != "userName"}), 400, "invalidValue")


def test_renames_stay_on_a_verified_domain_and_free_the_old_name(directory):
    made = directory.user()
    path, fresh = f"/Users/{made['id']}", directory.address("renamed")
    refused(
        directory.patch(path, {"op": "replace", "path": "userName", "value": "x@gmail.com"}),
        400,
        "invalidValue",
    )
    renamed = directory.patch(path, {"op": "replace", "path": "userName", "value": fresh})
    assert renamed.json["userName"] == fresh
    other = directory.user(made["userName"])
    assert other["id"] != made["id"]
    refused(
        directory.patch(path, {"op": "replace", "path": "userName", "value": made["userName"]}),
        409,
        "uniqueness",
    )


def test_an_account_of_another_domain_keeps_its_name_and_address(directory, make):
    """Else a directory could take an outsider's account over by renaming it to an address of its own."""
    member = make.member(directory.org, "MANAGER")
    path = f"/Users/{member.public_id}"
    for op in (
        {"op": "replace", "path": "userName", "value": directory.address()},
        {"op": "replace", "path": "name.givenName", "value": "Else"},
    ):
        refused(directory.patch(path, op), 403)
    row = make.rows("select email, first_name from ab_user where id = :i", i=member.user_id)[0]
    assert row.email == member.user.email and row.first_name == member.user.first_name
    assert directory.patch(path, {"op": "replace", "path": "active", "value": False}).status_code == 200


def test_platform_people_are_never_renamed(directory, make):
    email = directory.address("staff")
    member = make.member(directory.org, "MANAGER", make.user(email, platform_role="ADMIN"))
    refused(
        directory.patch(
            f"/Users/{member.public_id}",
            {"op": "replace", "path": "userName", "value": directory.address()},
        ),
        403,
    )


def test_seats_and_growth_cap(new_directory, make):
    full = new_directory(seats_total=1)
    full.user()
    refused(full.post("/Users", full.body()), 403)
    assert full.seats() == 1
    pending = new_directory(status="PENDING_VERIFICATION")
    for _ in range(4):
        pending.user()
    email = pending.address()
    refused(pending.post("/Users", pending.body(email)), 403)
    assert make.one("select count(*) from ab_user where email = :e", e=email) == 0


def test_external_ids_are_unique_and_can_be_given_again(directory):
    first, second = directory.user(externalId="same"), directory.user()
    refused(
        directory.patch(f"/Users/{second['id']}", {"op": "add", "path": "externalId", "value": "same"}),
        409,
        "uniqueness",
    )
    directory.delete(f"/Users/{first['id']}")
    given = directory.patch(f"/Users/{second['id']}", {"op": "add", "path": "externalId", "value": "same"})
    assert given.json["externalId"] == "same"


def test_inactive_from_the_start_takes_no_seat(directory):
    made = directory.user(active=False)
    assert made["active"] is False and directory.seats() == 0
    assert directory.member(made["id"]).status == "PENDING"
    assert directory.events("member.added") == []
    on = directory.patch(f"/Users/{made['id']}", {"op": "replace", "value": {"active": "True"}})
    assert on.json["active"] is True and directory.seats() == 1
    assert directory.events("member.added")[0]["previous_status"] == "PENDING"


def test_suspension_signs_out(directory, make, client):
    email = directory.address()
    user = make.user(email)
    made = directory.user(email)
    headers = make.bearer(user)
    assert client.get(f"/api/organizations/{directory.org.slug}", headers=headers).status_code == 200
    directory.patch(f"/Users/{made['id']}", {"op": "replace", "path": "active", "value": False})
    refused_now = client.get(f"/api/organizations/{directory.org.slug}", headers=headers)
    assert refused_now.status_code == 401 and refused_now.json["code"] == "SESSION_REVOKED"


def test_versions_guard_writes_and_spare_reads(directory):
    made = directory.user()
    path, version = f"/Users/{made['id']}", made["meta"]["version"]
    unchanged = directory.get(path, **{"If-None-Match": version})
    assert unchanged.status_code == 304 and not unchanged.data
    done = directory.patch(
        path, {"op": "replace", "path": "displayName", "value": "Once"}, **{"If-Match": version}
    )
    assert done.status_code == 200
    refused(
        directory.patch(
            path, {"op": "replace", "path": "displayName", "value": "Twice"}, **{"If-Match": version}
        ),
        412,
    )
    assert directory.get(path).json["displayName"] == "Once"
    refused(directory.delete(path, **{"If-Match": version}), 412)
    assert directory.delete(path, **{"If-Match": "*"}).status_code == 204


def test_erased_people_answer_gone(directory, make):
    """The SCIM part of I-30."""
    from app.models import Membership
    from app.services import members

    email = directory.address("gone")
    made = directory.user(email, externalId="ext-gone")
    with make.acting(directory.owner) as session:
        row = session.get(
            Membership, make.one("select id from membership where public_id = cast(:i as uuid)", i=made["id"])
        )
        members.erase_member(session, row)
        session.commit()
    path = f"/Users/{made['id']}"
    for response in (
        directory.get(path),
        directory.put(path, directory.body(email)),
        directory.patch(path, {"op": "replace", "path": "active", "value": True}),
        directory.delete(path),
        directory.post("/Users", directory.body(email.upper())),
        directory.post("/Users", directory.body(externalId="ext-gone")),
    ):
        refused(response, 410)
    stored = make.rows(
        "select email_hmac, external_id_hmac from erased_identity where organization_id = :o",
        o=directory.org.id,
    )
    assert len(stored) == 1 and email not in str(stored) and "ext-gone" not in str(stored)
    assert (
        make.one(
            "select count(*) from scim_event where organization_id = :o and subject = :e and status < 400",
            o=directory.org.id,
            e=email,
        )
        == 0
    )


def test_only_an_accepted_invitation_lifts_a_tombstone(directory, make):
    from app.models import Membership
    from app.services import members

    email = directory.address("back")
    made = directory.user(email)
    with make.acting(directory.owner) as session:
        key = make.one("select id from membership where public_id = cast(:i as uuid)", i=made["id"])
        members.erase_member(session, session.get(Membership, key))
        session.commit()
    with make.session() as session:  # what the erasure of the account does afterwards
        user = session.scalars(select(User).where(User.email == email)).one()
        user.email = user.username = f"erased-{user.id}@erased.invalid"
    refused(directory.post("/Users", directory.body(email)), 410)
    client, again = directory.app.test_client(), make.user(email)
    refused(directory.post("/Users", directory.body(email)), 410)
    invited = client.post(
        f"/api/organizations/{directory.org.slug}/invitations",
        json={"email": email, "role": "LEARNER"},
        headers=make.bearer(directory.owner),
    )
    assert invited.status_code == 201, invited.text
    accepted = client.post(
        "/api/organizations/invitations/accept",
        json={"token": invited.json["token"]},
        headers=make.bearer(again),
    )
    assert accepted.status_code == 201, accepted.text
    answer = directory.post("/Users", directory.body(email))
    assert answer.status_code == 200 and answer.json["id"] != made["id"]
