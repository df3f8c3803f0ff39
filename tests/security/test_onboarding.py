"""Onboarding with an organisation (chapter 1, 1.4): person, organisation and invitations, together or not at all."""

from __future__ import annotations

import threading
import uuid

import pytest

from app.models import PlatformRole
from tests.factories import unique

URL = "/api/onboarding"


def body(slug, **changes):
    return {
        "personal": {"name": "Nila Rao", "phone": "+91 98765 43210", "timezone": "Europe/Berlin"},
        "organization": {
            "name": "Rao Works",
            "slug": slug,
            "gst_state_code": "29",
            "funding_source": "WALLET",
        },
        "invitations": [
            {"email": f"{slug}-a@people.test", "role": "LEARNER"},
            {"email": f"{slug}-b@people.test", "role": "MANAGER"},
        ],
        **changes,
    }


def person(make, user):
    return tuple(
        make.rows(
            "select platform_role, onboarding_completed, first_name, phone, timezone from ab_user where id = :u",
            u=user.id,
        )[0]
    )


@pytest.fixture
def newcomer(make):
    return make.user(name="Somebody New", onboarded=False)


def test_everything_stands_at_once(client, make, newcomer):
    slug = unique("onboard")
    done = client.post(URL, headers=make.bearer(newcomer), json=body(slug))
    assert done.status_code == 201, done.json
    answer = done.json
    assert answer["organization"]["status"] == "PENDING_VERIFICATION" and len(answer["invitations"]) == 2
    assert answer["membership"]["role"] == "OWNER" and "token" not in done.text
    assert person(make, newcomer) == ("ORG_ADMIN", True, "Nila", "+91 98765 43210", "Europe/Berlin")
    org = make.one("select id from organization where slug = :s", s=slug)
    count = "select count(*) from {} where {} = :o"
    assert make.one(count.format("membership", "organization_id"), o=org) == 1
    assert make.one(count.format("invitation", "organization_id"), o=org) == 2
    assert make.one(count.format("org_workspace_profile", "user_id"), o=newcomer.id) == 1
    assert make.one(count.format("consultee_profile", "user_id"), o=newcomer.id) == 0
    mail = client.get(f"/api/test/outbox?to={slug}-a@people.test").json["mail"]
    assert len(mail) == 1


@pytest.mark.scenario("P-28")
def test_a_taken_slug_changes_nothing(client, make, newcomer):
    taken = make.org(slug=unique("taken"))
    before = person(make, newcomer)
    organizations = make.one("select count(*) from organization where created_by_user_id = :u", u=newcomer.id)
    refused = client.post(URL, headers=make.bearer(newcomer), json=body(taken.slug))
    assert (refused.status_code, refused.json["code"]) == (409, "SLUG_TAKEN")
    assert person(make, newcomer) == before == ("CONSULTEE", False, "Somebody", None, "Asia/Kolkata")
    assert (
        make.one("select count(*) from organization where created_by_user_id = :u", u=newcomer.id)
        == organizations
        == 0
    )
    assert make.one("select count(*) from membership where user_id = :u", u=newcomer.id) == 0
    assert make.one("select count(*) from org_workspace_profile where user_id = :u", u=newcomer.id) == 0
    assert make.one("select count(*) from invitation where email like :e", e=f"{taken.slug}-%") == 0
    assert client.get(f"/api/test/outbox?to={taken.slug}-a@people.test").json["mail"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"personal": {"name": ""}},
        {"personal": {"name": "N", "phone": "call me"}},
        {"personal": {"name": "N", "timezone": "Mars/Olympus"}},
        {"personal": {"name": "N", "platform_role": "ADMIN"}},
        {"organization": {"name": "X Corp"}},  # an Indian sponsor without a state
        {"organization": {"name": "X Corp", "gst_state_code": "29", "status": "ACTIVE"}},
        {"invitations": [{"email": "not an address", "role": "LEARNER"}]},
        {"invitations": [{"email": "a@people.test", "role": "KING"}]},
        {"invitations": [{"email": f"n{i}@people.test", "role": "LEARNER"} for i in range(5)]},  # growth cap
        {"extra": 1},
    ],
)
def test_one_wrong_part_refuses_all(client, make, newcomer, changes):
    slug = unique("refused")
    refused = client.post(URL, headers=make.bearer(newcomer), json=body(slug, **changes))
    assert refused.status_code in (400, 403), refused.json
    assert person(make, newcomer) == ("CONSULTEE", False, "Somebody", None, "Asia/Kolkata")
    assert make.one("select count(*) from organization where created_by_user_id = :u", u=newcomer.id) == 0
    assert make.one("select count(*) from org_workspace_profile where user_id = :u", u=newcomer.id) == 0


def test_launching_twice_makes_one_organisation_even_at_once(app, make, newcomer):
    slug = unique("twice")
    headers = make.bearer(newcomer, **{"Idempotency-Key": uuid.uuid4().hex})
    barrier, answers = threading.Barrier(2), []

    def launch():
        client = app.test_client()
        barrier.wait(timeout=10)
        answers.append(client.post(URL, headers=headers, json=body(slug)))

    threads = [threading.Thread(target=launch) for _ in range(2)]
    [t.start() for t in threads]
    [t.join(20) for t in threads]
    assert sorted(a.status_code for a in answers) == [200, 201]
    assert answers[0].json == answers[1].json
    assert make.one("select count(*) from organization where created_by_user_id = :u", u=newcomer.id) == 1
    other = app.test_client().post(URL, headers=headers, json=body(unique("other")))
    assert other.json["code"] == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    ("before", "after"),
    [("CONSULTEE", "ORG_ADMIN"), ("CONSULTANT", "CONSULTANT"), ("STAFF", "STAFF"), ("ADMIN", "ADMIN")],
)
def test_what_becomes_of_the_platform_role(client, make, before, after):
    user = make.user(platform_role=PlatformRole(before), onboarded=False)
    assert client.post(URL, headers=make.bearer(user), json=body(unique("role"))).status_code == 201
    assert make.one("select platform_role from ab_user where id = :u", u=user.id) == after


def test_the_signed_out_are_refused(client):
    assert client.post(URL, json=body("x")).status_code == 401


def test_sign_up_personal_organisation_review_launch(app, client, make):
    browser, slug = app.test_client(), unique("pages")
    email = f"{slug}@founders.test"
    form = {"name": "Fay Founder", "email": email, "password": "Correct-Horse-9"}
    joined = browser.form("/signup?for=organisation", form)
    assert joined.status_code == 302 and joined.location == "/onboarding"
    assert "Finish setting up." in browser.get("/dashboard").text
    assert browser.get("/onboarding").location.endswith("/personal")
    assert browser.get("/onboarding/review").location.endswith("/personal")  # nothing is skipped
    personal = {"name": "Fay Founder", "phone": "+91 98765 43210", "timezone": "Asia/Kolkata"}
    assert browser.form("/onboarding/personal", {**personal, "phone": "x"}).status_code == 400
    assert browser.form("/onboarding/personal", personal).location.endswith("/organisation")
    organisation = {
        "name": f"Founders {slug}",
        "slug": slug,
        "funding_source": "WALLET",
        "gst_state_code": "29",
        "emails": f"{slug}-a@people.test; {slug}-A@people.test\n{slug}-b@people.test",
        "role": "LEARNER",
    }
    refused = browser.form("/onboarding/organisation", {**organisation, "emails": "nobody"})
    assert refused.status_code == 400 and "Not an address" in refused.text
    assert browser.form("/onboarding/organisation", organisation).location.endswith("/review")
    review = browser.get("/onboarding/review").text
    assert f"Founders {slug}" in review and f"{slug}-b@people.test" in review and "Fay Founder" in review
    assert 'href="/onboarding/personal"' in review and 'href="/onboarding/organisation"' in review
    assert make.one("select count(*) from organization where slug = :s", s=slug) == 0
    edited = browser.form("/onboarding/personal", {**personal, "name": "Fay F. Founder"})
    assert edited.location.endswith("/review")  # an edit returns to the review
    launched = browser.form("/onboarding/launch")
    assert launched.location == f"/dashboard/organization/{slug}/home"
    assert browser.form("/onboarding/launch").location == launched.location
    assert browser.get(launched.location).status_code == 200
    assert make.one("select count(*) from organization where slug = :s", s=slug) == 1
    row = make.rows("select platform_role, last_name from ab_user where email = :e", e=email)[0]
    assert tuple(row) == ("ORG_ADMIN", "F. Founder")
    invited = make.rows("select email from invitation where email like :e order by email", e=f"{slug}-%")
    assert [r[0] for r in invited] == [f"{slug}-a@people.test", f"{slug}-b@people.test"]


@pytest.mark.scenario("P-28")
def test_the_pages_lead_back_to_a_taken_slug_with_everything_kept(app, make, newcomer):
    taken = make.org(slug=unique("taken"))
    browser = make.sign_in(app.test_client(), newcomer)
    browser.form("/onboarding/personal", {"name": "Nila Rao", "phone": "", "timezone": "Asia/Kolkata"})
    form = {"name": "Mine", "slug": taken.slug, "funding_source": "WALLET", "gst_state_code": "29"}
    assert browser.form("/onboarding/organisation", form).location.endswith("/review")
    assert browser.form("/onboarding/launch").location.endswith("/organisation")
    page = browser.get("/onboarding/organisation").text
    assert "This address is already taken" in page and 'value="Mine"' in page
    assert person(make, newcomer) == ("CONSULTEE", False, "Somebody", None, "Asia/Kolkata")
    assert make.one("select count(*) from organization where created_by_user_id = :u", u=newcomer.id) == 0
    browser.form("/onboarding/organisation", {**form, "slug": unique("free")})
    assert "/home" in browser.form("/onboarding/launch").location


@pytest.mark.scenario("P-40")
def test_who_sees_the_switcher(app, make):
    def dashboard(user):
        return make.sign_in(app.test_client(), user).get("/dashboard").text

    plain = dashboard(make.user())
    assert 'aria-label="Switch organisation' not in plain and "Create or manage organisations" not in plain
    founder = dashboard(make.user(platform_role=PlatformRole.ORG_ADMIN))
    assert 'aria-label="Switch organisation' in founder and "Create or manage organisations" in founder
    staff = dashboard(make.user(platform_role=PlatformRole.STAFF))
    assert 'aria-label="Switch organisation' not in staff
    member = dashboard(make.member(make.org(), "LEARNER").user)
    assert 'aria-label="Switch organisation' in member and "Create or manage organisations" in member


def test_profiles_are_made_when_they_are_needed(app, client, make):
    browser, email = app.test_client(), f"{unique('lazy')}@signup.test"
    browser.form("/signup", {"name": "Lazy Lee", "email": email, "password": "Correct-Horse-9"})
    browser.get("/dashboard")
    user = make.one("select id from ab_user where email = :e", e=email)

    def profiles():
        return [
            make.one(f"select count(*) from {t} where user_id = :u", u=user)
            for t in ("consultee_profile", "org_workspace_profile", "consultant_profile")
        ]

    assert profiles() == [0, 0, 0]
    token = client.post(
        "/api/v1/security/login", json={"username": email, "password": "Correct-Horse-9"}
    ).json["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    for n in range(2):
        made = client.post(
            "/api/organizations",
            headers=headers,
            json={"name": f"Lazy {unique('o')}", "gst_state_code": "29"},
        )
        assert made.status_code == 201, n
    assert profiles() == [0, 1, 0]
