"""How directories really write: Entra ID's two PATCH dialects, Okta's PUT, OneLogin, JumpCloud."""

from __future__ import annotations

import pytest

from tests.factories import unique

from .conftest import ENTERPRISE, GROUP, USER, refused


@pytest.fixture
def person(directory):
    return directory.user(externalId="58342554-38d6-4ec8-948c-50044d0a33fd")


def test_entra_writes_paths_with_capital_verbs(directory, person):
    path = f"/Users/{person['id']}"
    response = directory.patch(
        path,
        {"op": "Add", "path": "displayName", "value": "Dana from Entra"},
        {"op": "Add", "path": 'emails[type eq "home"].value', "value": "home@else.example"},
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "work@else.example"},
        {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "Platform"},
        {"op": "Replace", "path": f"{ENTERPRISE}:manager", "value": "someone"},
        {"op": "Add", "path": 'phoneNumbers[type eq "work"].value', "value": "+91 80 1234"},
        {"op": "Add", "path": 'addresses[type eq "work"].country', "value": "IN"},
        {"op": "Replace", "path": "name.familyName", "value": "Iyer"},
        {"op": "Replace", "path": "preferredLanguage", "value": "en-IN"},
    )
    assert response.status_code == 200
    after = response.json
    assert after["displayName"] == "Dana from Entra" and after["name"]["familyName"] == "Iyer"
    assert {(m["type"], m["value"]) for m in after["emails"]} == {
        ("home", "home@else.example"),
        ("work", "work@else.example"),
    }
    assert after[ENTERPRISE] == {"department": "Platform"} and "phoneNumbers" not in after
    assert directory.audits("SCIM_USER_UPDATED") == 1


def test_entra_writes_objects_without_a_path(directory, person):
    response = directory.patch(
        f"/Users/{person['id']}",
        {
            "op": "Replace",
            "value": {
                "active": "False",
                "displayName": "Bulk",
                "name.givenName": "New",
                f"{ENTERPRISE}:department": "Ops",
                f"{ENTERPRISE}:employeeNumber": "7",
                "title": "Lead",
                "urn:ietf:params:scim:schemas:extension:CustomExtensionName:2.0:User:tag": "x",
            },
        },
    )
    assert response.status_code == 200, response.text
    assert response.json["active"] is False and response.json["displayName"] == "Bulk"
    assert response.json["name"]["givenName"] == "New" and response.json[ENTERPRISE] == {"department": "Ops"}
    nested = directory.patch(
        f"/Users/{person['id']}",
        {"op": "add", "value": {ENTERPRISE: {"department": "Law"}, "name": {"givenName": "Deep"}}},
    )
    assert nested.json[ENTERPRISE] == {"department": "Law"} and nested.json["name"]["givenName"] == "Deep"
    assert nested.json["name"]["familyName"] == "Rao"
    dotted = directory.patch(
        f"/Users/{person['id']}",
        {"op": "Replace", "path": f"{ENTERPRISE}.department", "value": "Dotted"},
        {"op": "Replace", "path": f"{ENTERPRISE}.manager", "value": "x"},
    )
    assert dotted.json[ENTERPRISE] == {"department": "Dotted"}


@pytest.mark.parametrize("value", [False, "False", "false", "FALSE"])
def test_false_in_every_spelling(directory, person, value):
    path = f"/Users/{person['id']}"
    assert directory.patch(path, {"op": "Replace", "path": "active", "value": value}).json["active"] is False
    assert (
        directory.patch(path, {"op": "replace", "value": {"active": str(not False)}}).json["active"] is True
    )


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ({"op": "replace", "path": "active[", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "no.such", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "noSuch", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "name.noSuch", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "urn:else:2.0:User:x", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "id", "value": "x"}, "mutability"),
        ({"op": "replace", "path": "groups", "value": [{"value": "x"}]}, "mutability"),
        ({"op": "replace", "path": "meta.created", "value": "2020-01-01T00:00:00Z"}, "mutability"),
        ({"op": "remove", "path": "userName"}, "mutability"),
        ({"op": "remove", "path": "active"}, "mutability"),
        ({"op": "remove"}, "noTarget"),
        ({"op": "replace", "path": 'emails[type eq "x" or type eq "y"].value', "value": "x"}, "noTarget"),
        ({"op": "replace", "path": "active", "value": "maybe"}, "invalidValue"),
        ({"op": "replace", "path": "userName", "value": "no address"}, "invalidValue"),
        ({"op": "replace", "path": "name.givenName", "value": "x" * 65}, "invalidValue"),
        ({"op": "replace", "path": f"{ENTERPRISE}:department", "value": "x" * 101}, "invalidValue"),
        ({"op": "replace", "path": "displayName"}, "invalidValue"),
        ({"op": "swap", "path": "displayName", "value": "x"}, "invalidSyntax"),
        ("displayName", "invalidSyntax"),
    ],
)
def test_a_patch_changes_all_or_nothing(directory, person, operation, kind):
    path = f"/Users/{person['id']}"
    refused(
        directory.patch(path, {"op": "replace", "path": "displayName", "value": "Changed"}, operation),
        400,
        kind,
    )
    assert directory.get(path).json == person


def test_a_patch_needs_its_schema_and_operations(directory, person):
    path = f"/Users/{person['id']}"
    for body in (
        {"Operations": []},
        {"schemas": [USER], "Operations": [{"op": "add"}]},
        {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": []},
    ):
        refused(directory.send("PATCH", path, body), 400, "invalidSyntax")


def test_removing_clears(directory, person):
    path = f"/Users/{person['id']}"
    directory.patch(
        path,
        {
            "op": "add",
            "value": {"displayName": "Shown", "emails": [{"value": "a@b.example", "type": "other"}]},
        },
        {"op": "add", "path": f"{ENTERPRISE}:department", "value": "Ops"},
    )
    cleared = directory.patch(
        path,
        {"op": "Remove", "path": "displayName"},
        {"op": "Remove", "path": "emails"},
        {"op": "Remove", "path": f"{ENTERPRISE}:department"},
        {"op": "Remove", "path": "externalId"},
        {"op": "Remove", "path": "name.familyName"},
    ).json
    for gone in ("displayName", "emails", "externalId", ENTERPRISE):
        assert gone not in cleared
    assert cleared["name"] == {"givenName": "Dana", "formatted": "Dana"}
    assert directory.get(f'/Users?filter=emails.value eq "{person["userName"]}"').json["totalResults"] == 0


def test_okta_sends_every_change_by_put(directory):
    """Its custom apps read, change and write the whole resource back, groups, meta and all."""
    made = directory.user(
        externalId="00u1", displayName="Okta Person", locale="en-US", password="Secret-1", groups=[]
    )
    path = f"/Users/{made['id']}"
    body = {
        **made,
        "name": {"givenName": "Second", "familyName": "Person"},
        "emails": [{"primary": True, "value": made["userName"], "type": "work"}],
    }
    after = directory.put(path, body, **{"Content-Type": "application/scim+json; charset=utf-8"})
    assert after.status_code == 200 and after.json["name"]["givenName"] == "Second"
    assert after.json["externalId"] == "00u1" and "password" not in after.text
    assert directory.put(path, {**body, "active": False}).json["active"] is False
    assert directory.get(path).json["active"] is False
    assert directory.put(path, {**body, "active": True}).json["active"] is True
    pushed = directory.group(unique("Okta Push"), made["id"])
    renamed = directory.patch(
        f"/Groups/{pushed['id']}", {"op": "replace", "value": {"id": pushed["id"], "displayName": "Renamed"}}
    )
    assert renamed.status_code == 204
    again = directory.put(path, {**body, "groups": []})
    assert [g["display"] for g in again.json["groups"]] == ["Renamed"]


def test_jumpcloud_and_onelogin(directory):
    email = directory.address()
    made = directory.post(
        "/Users",
        {
            "schemas": [USER, ENTERPRISE, "urn:jumpcloud:x"],
            "userName": email,
            "externalId": "jc-1",
            "name": {"familyName": "Jump", "givenName": "Cloud"},
            "displayName": None,
            "nickName": "",
            "emails": [{"value": email, "type": "work", "primary": True}],
            "phoneNumbers": [],
            "addresses": [],
            "active": True,
            ENTERPRISE: {"employeeNumber": "", "department": "", "manager": {"displayName": ""}},
        },
        **{"Content-Type": "application/json"},
    )
    assert made.status_code == 201, made.text
    assert made.json["displayName"] == "Cloud Jump"
    path = f"/Users/{made.json['id']}"
    one = directory.patch(path, {"op": "replace", "path": "", "value": {"active": False}})
    assert one.status_code == 200 and one.json["active"] is False
    group = directory.post(
        "/Groups", {"schemas": [GROUP], "displayName": unique("OneLogin"), "members": []}
    ).json
    assert (
        directory.patch(
            f"/Groups/{group['id']}", {"op": "add", "path": "members", "value": {"value": made.json["id"]}}
        ).status_code
        == 204
    )
    assert (
        directory.patch(
            f"/Groups/{group['id']}", {"op": "add", "path": "members", "value": made.json["id"]}
        ).status_code
        == 204
    )
    assert [m["value"] for m in directory.get(f"/Groups/{group['id']}").json["members"]] == [made.json["id"]]
    assert (
        directory.patch(f"/Groups/{group['id']}", {"op": "replace", "value": {"members": []}}).status_code
        == 204
    )
    assert "members" not in directory.get(f"/Groups/{group['id']}").json


def test_keys_in_any_case(directory):
    email = directory.address()
    made = directory.post(
        "/Users",
        {
            "Schemas": [USER.upper().replace("URN", "urn")],
            "UserName": email,
            "Name": {"GivenName": "Any", "FamilyName": "Case"},
            "Active": "True",
            "Emails": [{"Primary": True, "Value": email, "Type": "work"}],
        },
    )
    assert made.status_code == 201 and made.json["name"]["givenName"] == "Any"
