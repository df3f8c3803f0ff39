"""The protocol's frame: envelopes, media types, discovery, what is not offered, what is too much."""

from __future__ import annotations

import json

import pytest

from .conftest import PATCH, USER, refused


def test_every_refusal_is_in_the_envelope(directory):
    refused(directory.get("/Nothing"), 404)
    refused(directory.get("/Users/none"), 404)
    refused(directory.get("/Users/00919288221112222"), 404)
    refused(directory.send("DELETE", "/Users"), 405)
    refused(directory.post("/Users", "not json"), 400, "invalidSyntax")
    refused(directory.post("/Users", "[1]"), 400, "invalidSyntax")
    refused(directory.post("/Users", json.dumps({"a": 1}), **{"Content-Type": "text/plain"}), 415)
    refused(directory.post("/Users", {"schemas": ["urn:x"], "userName": "x"}), 400, "invalidSyntax")
    refused(directory.post("/Users", {"schemas": [USER]}), 400, "invalidValue")
    for path in ("/Bulk", "/Me"):
        for method in ("GET", "POST"):
            refused(directory.send(method, path), 501)


def test_who_is_not_known_learns_nothing(directory, client):
    for headers in ({}, {"Authorization": "non-token"}, {"Authorization": "Bearer scim_wrong"}):
        response = client.get("/scim/v2/Users", headers=headers)
        assert response.status_code == 401 and response.json["status"] == "401"
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_session_is_no_way_in_and_a_token_no_way_elsewhere(app, directory, make):
    browser = make.sign_in(app.test_client(), directory.owner)
    assert browser.get("/scim/v2/Users").status_code == 401
    assert app.test_client().get("/scim/v2/Users", headers=make.bearer(directory.owner)).status_code == 401
    headers = {"Authorization": f"Bearer {directory.raw}"}
    for path in (
        f"/api/organizations/{directory.org.slug}",
        f"/dashboard/organization/{directory.org.slug}/home",
        "/api/v1/_openapi",
    ):
        assert app.test_client().get(path, headers=headers).status_code in (302, 401, 403)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/scim+json", "application/scim+json"),
        ("application/json", "application/json"),
        ("application/json, application/scim+json", "application/scim+json"),
        ("*/*", "application/scim+json"),
        ("text/html", "application/scim+json"),
        ("application/scim+json;q=0.5, application/json", "application/json"),
    ],
)
def test_the_type_follows_accept(directory, accept, expected):
    assert directory.get("/Users?count=1", Accept=accept).mimetype == expected
    assert directory.get("/Nothing", Accept=accept).mimetype == expected


def test_json_bodies_are_taken_with_and_without_charset(directory):
    for kind in (
        "application/json",
        "application/json; charset=utf-8",
        "application/scim+json;charset=UTF-8",
    ):
        made = directory.post("/Users", directory.body(), **{"Content-Type": kind})
        assert made.status_code == 201


def test_large_and_deep_bodies_are_refused(directory):
    refused(directory.post("/Users", json.dumps({"x": "y" * 10_000_000})), 413)
    refused(directory.post("/Users", "[" * 100_000), 400, "invalidSyntax")
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    refused(directory.post("/Users", deep), 400, "invalidSyntax")
    refused(directory.post("/Users", {**directory.body(), "x": "\u0000"}), 400, "invalidSyntax")
    many = [{"op": "add", "path": "displayName", "value": "x"}] * 1001
    refused(
        directory.send(
            "PATCH", f"/Users/{directory.owner.public_id}", {"schemas": [PATCH], "Operations": many}
        ),
        413,
        "tooMany",
    )


def test_discovery_is_honest(directory):
    config = directory.get("/ServiceProviderConfig").json
    assert config["patch"] == {"supported": True} and config["bulk"]["supported"] is False
    assert config["filter"] == {"supported": True, "maxResults": 200}
    assert config["etag"]["supported"] and config["sort"]["supported"]
    assert {s["type"] for s in config["authenticationSchemes"]} == {"oauthbearertoken", "oauth2"}
    types = directory.get("/ResourceTypes").json
    assert [t["endpoint"] for t in types["Resources"]] == ["/Users", "/Groups"]
    schemas = directory.get("/Schemas").json["Resources"]
    assert len(schemas) == 3
    user = directory.get(f"/Schemas/{USER}").json
    names = [a["name"] for a in user["attributes"]]
    assert "userName" in names and "title" not in names
    assert directory.get("/ResourceTypes/User").json["schema"] == USER
    refused(directory.get("/Schemas/urn:none"), 404)
    refused(directory.get('/Schemas?filter=id eq "x"'), 403)


def test_other_organisations_do_not_exist(new_directory):
    mine, theirs = new_directory(), new_directory()
    person, group = theirs.user(), theirs.group("Theirs")
    for method in ("GET", "DELETE"):
        refused(mine.send(method, f"/Users/{person['id']}"), 404)
        refused(mine.send(method, f"/Groups/{group['id']}"), 404)
    refused(mine.put(f"/Users/{person['id']}", mine.body()), 404)
    refused(mine.patch(f"/Groups/{group['id']}", {"op": "replace", "path": "displayName", "value": "x"}), 404)
    refused(
        mine.post("/Groups", {"displayName": "G", "members": [{"value": person["id"]}]}), 400, "invalidValue"
    )
    refused(mine.post("/Users", mine.body(theirs.address())), 400, "invalidValue")
    assert mine.get("/Users").json["totalResults"] == 1
    assert theirs.get(f"/Users/{person['id']}").json == person
    assert theirs.get(f"/Groups/{group['id']}").json["displayName"] == "Theirs"


def test_a_suspended_organisation_is_read_only(new_directory):
    directory = new_directory(status="SUSPENDED")
    assert directory.get("/Users").status_code == 200
    refused(directory.post("/Users", directory.body()), 409)
    closed = new_directory(status="DEACTIVATED")
    refused(closed.get("/Users"), 403)


def test_requests_are_kept_with_their_outcome(directory, make):
    made = directory.user()
    directory.get(f"/Users/{made['id']}")
    refused(directory.post("/Users", directory.body("x@gmail.com")), 400, "invalidValue")
    rows = make.rows(
        "select method, path, status, scim_type, detail, subject, resource_id, scim_token_id from scim_event "
        "where organization_id = :o order by id",
        o=directory.org.id,
    )
    assert [(r.method, r.status, r.scim_type) for r in rows] == [
        ("POST", 201, None),
        ("GET", 200, None),
        ("POST", 400, "invalidValue"),
    ]
    assert rows[0].resource_id == made["id"] and rows[0].subject == made["userName"]
    assert rows[2].subject == "x@gmail.com" and "verified domain" in rows[2].detail
    assert all(r.scim_token_id == directory.token.id for r in rows)
    assert all(directory.raw not in str(r) for r in rows)
