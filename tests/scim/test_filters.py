"""Filters, pages, orders and parts of resources (RFC 7644, 3.4.2; chapter 3, 3.2 "Filters")."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.factories import unique

from .conftest import ENTERPRISE, USER, refused


def found(directory, text, kind="Users"):
    response = directory.get(f"/{kind}?filter={quote(text)}")
    assert response.status_code == 200, response.text
    body = response.json
    assert body["totalResults"] == len(body["Resources"])
    return {r["id"] for r in body["Resources"]}


@pytest.mark.scenario("I-16")
def test_user_name_finds_one_and_unknown_attributes_are_refused(directory):
    made = directory.user(directory.address("d"))
    response = directory.get(f'/Users?filter=userName eq "{made["userName"]}"')
    assert response.json["totalResults"] == 1 and response.json["Resources"][0] == made
    refused(directory.get('/Users?filter=nickName eq "x"'), 400, "invalidFilter")


def test_every_attribute_and_operator(directory):
    a = directory.user(
        externalId="Ext-A", displayName="Alpha One", name={"givenName": "Asha", "familyName": "Iyer"}
    )
    b = directory.user(
        externalId="Ext-B",
        name={"givenName": "Bela", "familyName": "Iyengar", "formatted": "Dr Bela"},
        emails=[
            {"value": "Private@Else.example", "type": "home"},
            {"value": "b@work.example", "type": "work", "primary": True},
        ],
        **{ENTERPRISE: {"department": "Ops"}},
    )
    c = directory.user(active=False)
    owner = str(directory.owner.public_id)
    everybody = {a["id"], b["id"], c["id"], owner}
    cases = {
        f'id eq "{a["id"]}"': {a["id"]},
        f'id eq "{a["id"].upper()}"': {a["id"]},
        'id eq "none"': set(),
        f'id ne "{a["id"]}"': everybody - {a["id"]},
        f'userName eq "{a["userName"].upper()}"': {a["id"]},
        f'USERNAME Eq "{a["userName"]}"': {a["id"]},
        f'{USER}:userName eq "{a["userName"]}"': {a["id"]},
        f'userName sw "{a["userName"][:-5]}"': {a["id"]},
        f'userName ew "@{directory.domain}"': {a["id"], b["id"], c["id"]},
        "userName pr": everybody,
        'externalId eq "Ext-A"': {a["id"]},
        'externalId eq "ext-a"': set(),
        "externalId pr": {a["id"], b["id"]},
        "not (externalId pr)": {c["id"], owner},
        'externalId ne "Ext-A"': everybody - {a["id"]},
        'not (externalId eq "Ext-A")': everybody - {a["id"]},
        "externalId eq null": {c["id"], owner},
        "active eq true": {a["id"], b["id"], owner},
        'active eq "False"': {c["id"]},
        "active ne true": {c["id"]},
        'displayName eq "ALPHA one"': {a["id"]},
        'displayName eq "bela iyengar"': {b["id"]},
        'displayName co "lph"': {a["id"]},
        'name.givenName eq "asha"': {a["id"]},
        'name.familyName sw "iye"': {a["id"], b["id"]},
        'name.familyName gt "iyengar" and name.familyName lt "iyes"': {a["id"]},
        'name.formatted eq "dr bela"': {b["id"]},
        'emails.value eq "private@else.example"': {b["id"]},
        'emails eq "b@work.example"': {b["id"]},
        f'emails.value eq "{a["userName"]}"': {a["id"]},
        f'emails.value eq "{b["userName"]}"': set(),
        'emails[type eq "home"]': {b["id"]},
        'emails[type eq "work" and value co "else"]': set(),
        'emails[type eq "home" and value co "else"]': {b["id"]},
        'emails[type eq "work"].value eq "b@work.example"': {b["id"]},
        'emails[primary eq true and value ew "work.example"]': {b["id"]},
        'meta.created gt "2011-05-13T04:42:34Z"': everybody,
        'meta.lastModified ge "0001-01-03T00:00:00.0000000Z" and (active eq true)': {a["id"], b["id"], owner},
        'meta.lastModified lt "2011-05-13T04:42:34.1234567-07:00"': set(),
        'meta.resourceType eq "User"': everybody,
        f'(externalId eq "Ext-A" or externalId eq "Ext-B") and not (id eq "{b["id"]}")': {a["id"]},
        'externalId eq "Ext-A" or externalId eq "Ext-B" and displayName eq "none"': {a["id"]},
        "userName eq " + a["userName"]: {a["id"]},
        'displayName eq "\\u0041lpha One"': {a["id"]},
        'displayName eq "x\\" or userName pr or displayName eq \\"y"': set(),
        "displayName eq \"x' OR '1'='1\"": set(),
        'displayName co "%"': set(),
        'displayName co "_"': set(),
    }
    for text, expected in cases.items():
        assert found(directory, text) == expected, text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "userName",
        "userName eq",
        'userName like "x"',
        'password eq "x"',
        "title pr",
        'groups.value eq "x"',
        'name.nothing eq "x"',
        'emails.display eq "x"',
        "active gt true",
        'active eq "maybe"',
        'id co "x"',
        'meta.created eq "yesterday"',
        "meta.created gt 5",
        'meta.version eq "x"',
        'userName eq "x',
        '(userName eq "x"',
        'userName eq "x" and',
        'userName eq "x"; drop table membership',
        "userName eq true",
        'urn:else:userName eq "x"',
        "(" * 50 + "userName pr" + ")" * 50,
        " or ".join(['userName eq "x"'] * 61),
        'userName eq "' + "x" * 5000 + '"',
        "not " * 30 + "(userName pr)",
        "1 eq 1",
        "userName pr or 1=1",
    ],
)
def test_what_is_not_understood_is_refused_and_never_everybody(directory, text):
    refused(directory.get(f"/Users?filter={quote(text)}"), 400, "invalidFilter")


def test_encodings_of_the_query(directory):
    made = directory.user()
    name = made["userName"]
    for query in (
        f"filter=userName+eq+%22{name}%22",
        f"filter=userName%20eq%20%22{name}%22&",
        f'filter=userName eq "{name}" and active eq true&startIndex=1&count=1&',
        f'startindex=0&COUNT=5&filter=userName eq "{name}"',
    ):
        body = directory.get(f"/Users?{query}").json
        assert body["totalResults"] == 1, query
    refused(directory.get(f'/Users?filter=userName eq "{name}"&filter=active eq true'), 400, "invalidValue")


def test_pages_are_stable_and_complete(directory):
    made = [directory.user()["id"] for _ in range(7)]
    seen, start = [], 1
    while True:
        body = directory.get(f"/Users?startIndex={start}&count=3").json
        assert body["totalResults"] == 8 and body["startIndex"] == start
        assert body["itemsPerPage"] == len(body["Resources"])
        if not body["Resources"]:
            break
        seen += [r["id"] for r in body["Resources"]]
        start += 3
    assert seen == [str(directory.owner.public_id), *made]
    assert [r["id"] for r in directory.get("/Users?startIndex=6&count=2").json["Resources"]] == made[4:6]
    only = directory.get("/Users?count=0").json
    assert only["totalResults"] == 8 and only["Resources"] == [] and only["itemsPerPage"] == 0
    assert directory.get("/Users?count=-5").json["itemsPerPage"] == 0
    assert directory.get("/Users?count=100000").json["itemsPerPage"] == 8
    refused(directory.get("/Users?count=many"), 400, "invalidValue")


def test_nobody_is_skipped_when_people_are_deleted_between_pages(directory):
    made = [directory.user()["id"] for _ in range(6)]
    first = directory.get("/Users?startIndex=1&count=3").json["Resources"]
    directory.delete(f"/Users/{made[0]}")
    second = directory.get("/Users?startIndex=4&count=3").json["Resources"]
    third = directory.get("/Users?startIndex=7&count=3").json["Resources"]
    seen = [r["id"] for r in [*first, *second, *third]]
    assert set(made) <= set(seen) and len(seen) == len(set(seen))


def test_orders(directory):
    names = ["Charu", "asha", "Bela"]
    for n in names:
        directory.user(name={"givenName": n, "familyName": "Z"}, displayName=n)
    ordered = directory.get('/Users?sortBy=displayName&filter=name.familyName eq "z"').json["Resources"]
    assert [r["displayName"] for r in ordered] == ["asha", "Bela", "Charu"]
    down = directory.get(
        f'/Users?sortBy={USER}:name.givenName&sortOrder=descending&filter=name.familyName eq "z"&count=2'
    ).json["Resources"]
    assert [r["displayName"] for r in down] == ["Charu", "Bela"]
    refused(directory.get("/Users?sortBy=password"), 400, "invalidPath")
    refused(directory.get("/Users?sortBy=userName&sortOrder=up"), 400, "invalidValue")


def test_parts_of_a_resource(directory):
    made = directory.user(displayName="Parts", **{ENTERPRISE: {"department": "Ops"}})
    path = f"/Users/{made['id']}"
    some = directory.get(f"{path}?attributes=userName,name.givenName").json
    assert some == {
        "schemas": made["schemas"],
        "id": made["id"],
        "userName": made["userName"],
        "name": {"givenName": "Dana"},
    }
    less = directory.get(f"{path}?excludedAttributes=emails,name.formatted,{ENTERPRISE}").json
    assert "emails" not in less and "formatted" not in less["name"] and ENTERPRISE not in less
    assert "id" in directory.get(f"{path}?excludedAttributes=id,userName").json
    listed = directory.get('/Users?attributes=emails[type eq "work"]').json["Resources"]
    assert all(set(r) == {"schemas", "id", "emails"} for r in listed)


def test_search_by_post(directory):
    made, group = directory.user(), directory.group(unique("Searched"))
    request = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "attributes": ["userName"]}
    body = directory.post("/Users/.search", {**request, "filter": f'userName eq "{made["userName"]}"'}).json
    assert body["totalResults"] == 1 and set(body["Resources"][0]) == {"schemas", "id", "userName"}
    assert (
        directory.post("/Groups/.search", {**request, "filter": "displayName pr", "count": 0}).json[
            "totalResults"
        ]
        == 1
    )
    both = directory.post("/.search", {**request, "filter": "displayName pr"}).json
    assert {r["id"] for r in both["Resources"]} >= {made["id"], group["id"]} and both["totalResults"] == 3
    second = directory.post("/.search", {**request, "startIndex": 3, "count": 1}).json
    assert [r["id"] for r in second["Resources"]] == [group["id"]]
    refused(directory.post("/.search", {**request, "filter": 'nothing eq "x"'}), 400, "invalidFilter")
    refused(directory.post("/.search", {"filter": "id pr"}), 400, "invalidSyntax")


def test_filters_of_groups(directory):
    person = directory.user()
    group, other = directory.group(unique("Alpha"), person["id"]), directory.group(unique("Beta"))
    assert found(directory, f'displayName eq "{group["displayName"].upper()}"', "Groups") == {group["id"]}
    assert found(directory, f'members.value eq "{person["id"]}"', "Groups") == {group["id"]}
    assert found(directory, f'id eq "{group["id"]}" and members eq "{person["id"]}"', "Groups") == {
        group["id"]
    }
    assert found(directory, f'members[value eq "{person["id"]}"]', "Groups") == {group["id"]}
    assert found(directory, "not (members pr)", "Groups") == {other["id"]}
    refused(directory.get("/Groups?filter=" + quote('members.display eq "x"')), 400, "invalidFilter")
    refused(directory.get("/Groups?filter=" + quote('userName eq "x"')), 400, "invalidFilter")


def test_a_page_costs_a_constant_number_of_statements(directory, web_engine):
    from sqlalchemy import event

    counts = []
    for people in (2, 20):
        for _ in range(people):
            directory.user(groups=["Team"], emails=[{"value": "x@y.example", "type": "home"}])
        statements = []

        def listener(*given, kept=statements):
            kept.append(given[2])

        event.listen(web_engine, "before_cursor_execute", listener)
        directory.get("/Users?count=200")
        event.remove(web_engine, "before_cursor_execute", listener)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 12, counts
