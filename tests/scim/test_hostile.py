"""Requests nobody honest sends, and a few that honest directories do: answered in the envelope, soon, and never by 500."""

from __future__ import annotations

import json
import time

import pytest

from tests.scim.conftest import ENTERPRISE, GROUP, PATCH, USER, refused

SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
GROWS = "\u0130"  # two characters in lower case


@pytest.fixture
def person(directory):
    return directory.user()


@pytest.mark.parametrize(
    ("wants", "kind"),
    [
        ({"sortBy": 5}, "invalidValue"),
        ({"sortBy": ["userName"]}, "invalidValue"),
        ({"sortOrder": True}, "invalidValue"),
        ({"attributes": 5}, "invalidValue"),
        ({"attributes": {"a": 1}}, "invalidValue"),
        ({"attributes": ["id", 1]}, "invalidValue"),
        ({"excludedAttributes": 7}, "invalidValue"),
        ({"filter": {"a": 1}}, "invalidFilter"),
        ({"filter": 5}, "invalidFilter"),
        ({"startIndex": True}, "invalidValue"),
        ({"count": [1]}, "invalidValue"),
    ],
)
def test_a_search_of_wrong_types(directory, wants, kind):
    for path in ("/Users/.search", "/Groups/.search", "/.search"):
        refused(directory.post(path, {"schemas": [SEARCH], **wants}), 400, kind)


@pytest.mark.parametrize("value", [5, True, "x", [1], None, 1.5])
def test_without_a_path_the_value_is_an_object(directory, person, value):
    group = directory.group()
    for path in (f"/Users/{person['id']}", f"/Groups/{group['id']}"):
        for op in ("add", "replace"):
            refused(directory.patch(path, {"op": op, "value": value}), 400, "invalidValue")


def test_paths_are_bounded(directory, person):
    """A long filter in a path once held the organisation's lock for minutes."""
    group = directory.group()
    long = 'emails[type eq "a"' + ' or type eq "a"' * 50_000 + "].value"
    many = 'members[value eq "a"' + ' or value eq "a"' * 50_000 + "]"
    began = time.perf_counter()
    for path, operation in (
        (f"/Users/{person['id']}", {"op": "replace", "path": long, "value": "x"}),
        (f"/Users/{person['id']}", {"op": "replace", "value": {long: "x"}}),
        (f"/Groups/{group['id']}", {"op": "remove", "path": many}),
    ):
        refused(directory.patch(path, operation), 400, "invalidPath")
    assert time.perf_counter() - began < 5


def test_halves_of_characters(directory, person):
    path = f"/Users/{person['id']}"
    refused(directory.get(r'/Users?filter=userName eq "\ud800"'), 400, "invalidFilter")
    made = {"op": "replace", "path": r'emails[value eq "\ud800"].type', "value": "work"}
    refused(directory.patch(path, made), 400, "invalidValue")
    body = json.dumps(
        {"schemas": [PATCH], "Operations": [{"op": "add", "path": "displayName", "value": "\ud800"}]}
    )
    refused(directory.send("PATCH", path, body), 400, "invalidSyntax")
    assert directory.get(path).json == person


def test_letters_that_grow_in_lower_case(directory, person):
    for values in (
        {"displayName": GROWS * 200},
        {"emails": [{"value": GROWS * 254, "type": "work"}]},
        {"groups": [{"display": GROWS * 255}]},
    ):
        refused(directory.post("/Users", directory.body(**values)), 400, "invalidValue")
    refused(directory.post("/Groups", {"schemas": [GROUP], "displayName": GROWS * 255}), 400, "invalidValue")
    assert directory.map(GROWS * 255, "MANAGER").status_code == 400
    assert directory.user(displayName=GROWS * 100)["displayName"] == GROWS * 100


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("active", [{"$ref": None, "value": "False"}]),
        ("active", [False]),
        ("active", {"value": "false"}),
        (f"{USER}:active", [{"value": "False"}]),
        (None, {"active": [{"value": "False"}]}),
    ],
)
def test_entra_wraps_single_values(directory, person, path, value):
    operation = {"op": "Replace", "value": value} | ({"path": path} if path else {})
    answer = directory.patch(f"/Users/{person['id']}", operation)
    assert answer.status_code == 200 and answer.json["active"] is False


def test_addresses_as_texts(directory, person):
    path = f"/Users/{person['id']}"
    for value in ("a@b.test", ["a@b.test"], {"value": "a@b.test"}):
        answer = directory.patch(path, {"op": "replace", "path": "emails", "value": value})
        assert [m["value"] for m in answer.json["emails"]] == ["a@b.test"], value


def test_a_resource_sent_back_as_it_was_read(directory):
    """Replacing the whole resource states its id, meta and groups too; another id is refused."""
    person = directory.user(**{ENTERPRISE: {"department": "Design"}})
    directory.group(None, person["id"])
    read = directory.get(f"/Users/{person['id']}").json
    answer = directory.patch(
        f"/Users/{person['id']}", {"op": "replace", "value": {**read, "displayName": "D. Rao"}}
    )
    assert answer.status_code == 200 and answer.json["displayName"] == "D. Rao"
    assert answer.json["groups"] == read["groups"]
    other = directory.user()["id"]
    refused(
        directory.patch(f"/Users/{person['id']}", {"op": "replace", "value": {**read, "id": other}}),
        400,
        "mutability",
    )


def test_details_are_sentences(directory, person):
    answer = directory.patch(f"/Users/{person['id']}", {"op": "replace", "path": "name", "value": "x"})
    refused(answer, 400, "invalidValue")
    assert "\n" not in answer.json["detail"] and "EnterpriseUser" not in answer.json["detail"]


def test_a_nul_in_an_address_is_logged_like_any_other(directory, make):
    refused(directory.get("/Users/%00"), 404)
    count = "select count(*) from scim_event where organization_id = :o and status = 404"
    assert make.one(count, o=directory.org.id) == 1
