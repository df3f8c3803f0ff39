"""The one search of members: by first name, last name and address, in pages and REST alike; never of others."""

from __future__ import annotations

from typing import Any

import pytest


def found(client: Any, org: Any, bearer: Any, q: str) -> set[str]:
    """Names REST, and addresses the roster's export, find."""
    answer = client.get(f"/api/organizations/{org.slug}/members", query_string={"q": q}, headers=bearer)
    assert answer.status_code == 200, answer.text
    return {m["name"] for m in answer.json["members"]}


@pytest.mark.parametrize(
    "q",
    ["Ann_a", "ann_a", "ANN_A O'", "o'hara", "O'HARA ann_a", "50%", "O'Hara 50%", 'Qu"ote', "ann_a o'hara"],
)
def test_names_are_found_from_either_end_in_any_case(client: Any, make: Any, q: str) -> None:
    org = make.org()
    owner = make.bearer(make.member(org, "OWNER"))
    wanted = {
        make.member(org, "LEARNER", make.user(name=name)).user.name
        for name in ("Ann_a O'Hara", "Vera 50%", 'Ravi Qu"ote')
        if q.lower().split()[0] in name.lower() and (len(q.split()) == 1 or "Ann" in name)
    }
    make.member(org, "LEARNER", make.user(name="AnnXa Ohara"))
    assert found(client, org, owner, q) == ({*wanted} if q != "O'Hara 50%" else set())


def test_wildcards_and_quotes_mean_themselves(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.bearer(make.member(org, "OWNER"))
    make.member(org, "LEARNER", make.user(name="Plain Person"))
    for q in ("%", "_", "%lain", "P_ain", "'", '"', "\\", "' OR 1=1 --", "\U0010ffff"):
        assert found(client, org, owner, q) == set(), q


def test_an_address_is_found_by_its_beginning(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.bearer(make.member(org, "OWNER"))
    wanted = make.member(org, "LEARNER")
    assert found(client, org, owner, wanted.user.email.upper()) == {wanted.user.name}
    assert wanted.user.name in found(client, org, owner, wanted.user.email[:-3])


def test_people_of_other_organisations_are_never_found(client: Any, make: Any) -> None:
    mine, theirs = make.org(), make.org()
    owner = make.member(mine, "OWNER")
    make.member(theirs, "OWNER", owner.user)  # even where the reader is a member as well
    other = make.member(theirs, "LEARNER", make.user(name="Quillon Farquharson"))
    bearer = make.bearer(owner)
    for q in ("quillon", "farquharson", other.user.email):
        assert found(client, mine, bearer, q) == set()
        assert found(client, theirs, bearer, q) == {"Quillon Farquharson"}


def test_a_new_name_is_found_and_the_old_one_is_not(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.bearer(make.member(org, "OWNER"))
    person = make.user(name="Wilhelmina Before")
    make.member(org, "LEARNER", person)
    assert found(client, org, owner, "wilhelmina") == {"Wilhelmina Before"}
    with make.session() as session:
        person = session.merge(person)
        person.first_name, person.last_name = "Xanthippe", "After"
        session.commit()
    assert found(client, org, owner, "wilhelmina") == set()
    assert found(client, org, owner, "after") == {"Xanthippe After"}


@pytest.mark.parametrize("path", ["members/?q=sam", "learners/?q=sam", "directory/?q=sam", "home/"])
def test_pages_of_people_ask_as_often_for_many_as_for_few(
    client: Any, make: Any, web_engine: Any, path: str
) -> None:
    from sqlalchemy import event

    few, many = make.org(), make.org()
    counts = []
    for org, people in ((few, 2), (many, 12)):
        browser = make.sign_in(client, make.member(org, "OWNER"))
        for n in range(people):
            make.member(org, "LEARNER", make.user(name=f"Sam Sample{n}"), department_label=f"Team {n}")
        browser.get(f"/dashboard/organization/{org.slug}/{path}")  # warm
        seen: list[str] = []

        def note(_c: Any, _cur: Any, statement: str, *_: Any, seen: list[str] = seen) -> None:
            seen.append(statement)

        event.listen(web_engine, "before_cursor_execute", note)
        try:
            assert browser.get(f"/dashboard/organization/{org.slug}/{path}").status_code == 200
        finally:
            event.remove(web_engine, "before_cursor_execute", note)
        counts.append(len(seen))
    assert counts[0] == counts[1]
