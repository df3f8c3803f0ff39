"""The public directory: who is listed, what is shown, and to whom (chapter 1, 1.2)."""

from __future__ import annotations

from typing import Any

import pytest

from app.models import OrgStatus, PlanType, Visibility
from tests.factories import unique

API = "/api/organizations/public"
PAGE = "/explore/enterprise/organisations"


def host(make: Any, **values: Any) -> Any:
    return make.org(**{"can_sponsor": False, "can_host": True, "funding": None, "is_public": True, **values})


def names(client: Any, word: str, **args: str) -> list[str]:
    answer = client.get(API, query_string={"q": word, **args})
    assert answer.status_code == 200
    return [row["name"] for row in answer.json["organizations"]]


@pytest.mark.scenario("P-32")
def test_only_active_public_hosts_and_never_a_sponsor(make, client):
    word = unique("dirword")
    listed = host(make, name=f"{word} listed")
    hybrid = make.org(name=f"{word} hybrid", can_host=True, is_public=True)
    unlisted = [
        make.org(name=f"{word} sponsor", is_public=True),
        host(make, name=f"{word} private", is_public=False),
        host(make, name=f"{word} pending", status=OrgStatus.PENDING_VERIFICATION),
        host(make, name=f"{word} suspended", status=OrgStatus.SUSPENDED),
        host(make, name=f"{word} gone", status=OrgStatus.DEACTIVATED),
    ]
    assert names(client, word.upper()) == [hybrid.name, listed.name]
    page = client.get(PAGE, query_string={"q": word}).text
    assert listed.name in page
    for org in unlisted:
        assert org.name not in page
        for key in (org.slug, org.public_id):
            assert client.get(f"{API}/{key}").status_code == 404
            assert client.get(f"{PAGE}/{key}").status_code == 404
    expert = make.expert()
    make.member(listed, "EXPERT", make_user(make, expert))
    make.plan(expert, organization_id=listed.id, visibility=Visibility.ORG_ONLY, title=f"{word} secret")
    for n in range(7):
        make.plan(expert, organization_id=listed.id, visibility=Visibility.PUBLIC, title=f"{word} open {n}")
    detail = client.get(f"{API}/{listed.slug}").json
    assert detail["organization"]["expert_count"] == 1
    assert [p["title"] for p in detail["plans"][PlanType.CONSULTATION.value]] == [
        f"{word} open {n}" for n in (6, 5, 4, 3, 2, 1)
    ]
    shown = client.get(f"{PAGE}/{listed.slug}").text
    assert f"{word} open 6" in shown
    assert "secret" not in str(detail) + shown


def make_user(make: Any, expert: Any) -> Any:
    from app.models import User

    with make.session() as session:
        return session.get(User, expert.user_id)


def test_a_member_of_another_organisation_sees_the_same_and_no_more(app, make, client):
    word = unique("dirsame")
    listed = host(make, name=f"{word} host", gstin=None, billing_email="private@host.test")
    viewer = make.member(make.org(), "OWNER")
    expert = make.expert()
    make.plan(expert, organization_id=listed.id, visibility=Visibility.ORG_ONLY, title="members only")
    mine = client.get(f"{API}/{listed.slug}", headers=make.bearer(viewer))
    open_ = app.test_client().get(f"{API}/{listed.slug}")
    assert mine.json == open_.json
    assert mine.json["plans"] == {}
    assert "private@host.test" not in mine.text
    assert set(mine.json["organization"]) == {
        "id", "name", "slug", "kind", "description", "industry", "website", "size_bucket", "logo",
        "banner_image", "primary_color", "secondary_color", "expert_count",
    }  # fmt: skip
    assert "max-age=60" in open_.headers["Cache-Control"]
    assert "public" in open_.headers["Cache-Control"]
    assert "private" in mine.headers["Cache-Control"]
    page = make.sign_in(client, viewer).get(f"{PAGE}/{listed.slug}")
    assert page.status_code == 200
    assert "members only" not in page.text


def test_pages_of_twelve_filters_and_bounds(make, client):
    word = unique("dirpage")
    for n in range(14):
        host(make, name=f"{word} {n:02d}", industry=f"{word} A" if n < 3 else f"{word} B")
    first = client.get(API, query_string={"q": word}).json
    assert len(first["organizations"]) == 12
    rest = client.get(API, query_string={"q": word, "cursor": first["next_cursor"]}).json
    assert [o["name"] for o in rest["organizations"]] == [f"{word} 12", f"{word} 13"]
    assert rest["next_cursor"] is None
    assert len(names(client, word, industry=f"{word} a")) == 3
    assert len(names(client, word, limit="50")) == 14
    for bad in ({"limit": "51"}, {"limit": "0"}, {"cursor": "x"}, {"q": "x" * 121}):
        assert client.get(API, query_string=bad).status_code == 400, bad
    assert names(client, "%") == [n for n in names(client, "%") if "%" in n]  # no pattern, only text
    page = client.get(PAGE, query_string={"q": word}).text
    assert "More organisations" in page
    assert "Nobody matches" in client.get(PAGE, query_string={"q": unique("nobody")}).text


def test_the_directory_is_rate_limited(client):
    from app.security.limits import LIMITS

    answers = [client.get(API) for _ in range(LIMITS["directory"].count + 1)]
    assert {a.status_code for a in answers[:-1]} == {200}
    assert (answers[-1].status_code, answers[-1].json["code"]) == (429, "RATE_LIMITED")


def test_only_listed_hosts_are_named_on_expert_cards(make, client):
    word = unique("badge")
    listed, hidden = host(make, name=f"{word} Academy"), host(make, name=f"{word} Quiet", is_public=False)
    expert = make.expert()
    shown = make.plan(expert, organization_id=listed.id, visibility=Visibility.PUBLIC, category=word)
    make.plan(expert, organization_id=hidden.id, visibility=Visibility.PUBLIC, category=word)
    make.sign_in(client, make.user())
    cards = client.get("/explore/experts", query_string={"category": word}).text
    assert f"Hosted by {word} Academy" in cards
    assert f"{word} Quiet" not in cards
    assert f"Hosted by {word} Academy" in client.get(f"/explore/plans/{shown.public_id}").text
