"""The operator's workspace: settings, routing of events, pages, landing (chapter 1, 1.1 and 1.7)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.models import AuditCategory, MembershipStatus, OrgStatus
from app.services import audit, org_notices, workspace
from tests.factories import unique

API = "/api/org-workspace"
DOOR = "/dashboard/org-workspace"


def open_workspace(browser: Any) -> str:
    """The address of the signed-in person's own workspace."""
    answer = browser.get(DOOR)
    assert answer.status_code == 302, answer.text
    return "/".join(str(answer.location).split("/")[:4])


def key_of(make: Any, user: Any) -> str:
    return str(make.one("SELECT public_id FROM org_workspace_profile WHERE user_id = :u", u=user.id))


@pytest.fixture
def mine(client: Any, make: Any) -> Any:
    """(owner, organisation, REST address of the settings, headers)."""
    org = make.org()
    owner = make.member(org)
    open_workspace(make.sign_in(client, owner))
    return owner, org, f"{API}/{key_of(make, owner.user)}/settings", make.bearer(owner)


@pytest.mark.scenario("P-34")
def test_landing_must_be_owned_and_one_key_changes_nothing_else(app: Any, make: Any, mine: Any) -> None:
    owner, org, url, headers = mine
    client = app.test_client()
    foreign, managed, quiet = make.org(), make.org(), make.org(status=OrgStatus.DEACTIVATED)
    make.member(managed, "MAINTAINER", owner.user)
    make.member(quiet, "OWNER", owner.user)
    gone = make.org()
    make.member(gone, "OWNER", owner.user, status=MembershipStatus.SUSPENDED)
    for bad in (foreign, managed, quiet, gone):
        answer = client.patch(
            url,
            json={"default_landing_organization_id": str(bad.public_id), "locale": "hi-IN"},
            headers=headers,
        )
        assert (answer.status_code, answer.json["code"]) == (400, "DEFAULT_LANDING_ORG_INVALID")
    for nonsense in ("x", str(org.id), str(uuid.uuid4())):
        answer = client.patch(url, json={"default_landing_organization_id": nonsense}, headers=headers)
        assert answer.json["code"] == "DEFAULT_LANDING_ORG_INVALID"
    chosen = {
        "default_landing_organization_id": str(org.public_id),
        "notification_routing_mode": "EMAIL_ONLY",
        "currency_display_code": "EUR",
        "locale": "en-GB",
    }
    assert client.patch(url, json=chosen, headers=headers).json["settings"].items() >= chosen.items()
    answer = client.patch(url, json={"locale": "fr-CA"}, headers=headers)
    assert answer.status_code == 200
    settings = client.get(url, headers=headers).json["settings"]
    assert settings == {**chosen, "locale": "fr-CA", "id": key_of(make, owner.user)}
    answer = client.patch(url, json=dict.fromkeys(chosen), headers=headers)
    assert answer.json["settings"] == {
        "id": settings["id"],
        "default_landing_organization_id": None,
        "notification_routing_mode": "BELL_AND_EMAIL",
        "currency_display_code": "INR",
        "locale": "en-IN",
    }


@pytest.mark.parametrize(
    "bad",
    [
        {"locale": "klingon!"},
        {"locale": "xx-YY"},
        {"locale": ""},
        {"locale": "../../etc"},
        {"currency_display_code": "ZZZ"},
        {"currency_display_code": "RUPEES"},
        {"notification_routing_mode": "PIGEON"},
        {"theme": "dark"},
    ],
)
def test_what_is_no_setting_is_refused(app: Any, make: Any, mine: Any, bad: dict[str, str]) -> None:
    _, _, url, headers = mine
    client = app.test_client()
    before = client.get(url, headers=headers).json
    answer = client.patch(url, json={"currency_display_code": "USD", **bad}, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (400, "VALIDATION_FAILED")
    assert client.get(url, headers=headers).json == before


def test_nobody_else_finds_it(app: Any, make: Any, mine: Any) -> None:
    owner, org, url, _ = mine
    from app.models import PlatformRole

    colleague = make.member(org)
    admin = make.user(platform_role=PlatformRole.ADMIN)
    client = app.test_client()
    for other in (colleague, make.user(), admin):
        headers = make.bearer(other)
        assert client.get(url, headers=headers).status_code == 404
        assert client.patch(url, json={"locale": "en-US"}, headers=headers).status_code == 404
        browser = make.sign_in(app.test_client(), other)
        page = f"{DOOR}/{key_of(make, owner.user)}"
        for path in ("", "/", "/home", "/activity", "/billing", "/settings", "/create"):
            assert browser.get(page + path).status_code == 404, path
        answer = browser.form(f"{page}/settings/format", {"locale": "en-US"})
        assert answer.status_code in (302, 404)
    assert client.get(url).status_code == 401
    assert client.get(f"{API}/{uuid.uuid4()}/settings", headers=make.bearer(owner)).status_code == 404
    assert make.one("SELECT locale FROM org_workspace_profile WHERE user_id = :u", u=owner.user_id) == "en-IN"


@pytest.mark.parametrize(
    ("mode", "mails", "bells"),
    [("BELL_AND_EMAIL", 1, 1), ("BELL_ONLY", 0, 1), ("EMAIL_ONLY", 1, 0), ("NEITHER", 0, 0)],
)
def test_routing_steers_organisation_events(
    app: Any, make: Any, mine: Any, mode: str, mails: int, bells: int
) -> None:
    owner, org, url, headers = mine
    other = make.member(org)  # has no workspace: bell and mail
    client = app.test_client()
    assert client.patch(url, json={"notification_routing_mode": mode}, headers=headers).status_code == 200
    with make.acting(other) as session:
        from app.services import organizations

        org_notices.tell_operators(session, organizations.current(session), "org_verified", "It is verified")
        session.commit()

    def mailed(member: Any) -> int:
        return int(
            make.one(
                "SELECT count(*) FROM outbox_message WHERE topic = 'mail' AND payload->>'to' = :e",
                e=member.user.email,
            )
        )

    def rung(member: Any) -> int:
        return int(make.one("SELECT count(*) FROM notification WHERE user_id = :u", u=member.user_id))

    assert (mailed(owner), rung(owner)) == (mails, bells)
    assert (mailed(other), rung(other)) == (1, 1)


def test_account_mails_ignore_the_routing(app: Any, make: Any, mine: Any) -> None:
    owner, _, url, headers = mine
    client = app.test_client()
    client.patch(url, json={"notification_routing_mode": "NEITHER"}, headers=headers)
    client.form("/forgot-password", {"email": owner.user.email})
    assert make.one(
        "SELECT count(*) FROM outbox_message WHERE topic = 'mail' AND payload->>'to' = :e", e=owner.user.email
    )


def test_pages_add_up_what_the_role_reads(client: Any, make: Any) -> None:
    person = make.user()
    name = unique("Zebra")
    first, second, third = make.org(name=name, seats_total=40), make.org(), make.org()
    owner = make.member(first, "OWNER", person)
    make.member(second, "SUPPORT", person)
    make.member(third, "LEARNER", person)
    foreign = make.org(name=unique("Foreign"))
    make.member(first, "LEARNER")
    make.fund(first, 11_800_000)
    make.fund(second, 99_900)
    with make.acting(owner) as session:
        audit.record(session, AuditCategory.SETTINGS, "SETTINGS_CHANGED", "Changed the secret sauce.")
        session.commit()
    browser = make.sign_in(client, person)
    base = open_workspace(browser)
    home = browser.get(f"{base}/").text
    assert "₹1,18,000.00" in home and "Changed the secret sauce." in home
    assert name in home and second.name in home
    assert third.name not in home.split("<main")[1] and foreign.name not in home
    assert "999.00" not in home  # support reads no money
    billing = browser.get(f"{base}/billing").text.split("<main")[1]
    assert name in billing and second.name not in billing and "₹1,18,000.00" in billing
    assert "secret sauce" in browser.get(f"{base}/activity?organisation={first.slug}").text
    assert "secret sauce" not in browser.get(f"{base}/activity?organisation=nothing").text
    assert browser.get(f"{base}/create").location.rstrip("/") == f"{DOOR}/create"


def test_three_sections_are_saved_by_themselves(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    make.fund(org, 11_800_000)
    browser = make.sign_in(client, owner)
    base = open_workspace(browser)
    page = browser.get(f"{base}/settings").text
    assert page.count('<button class="btn primary">Save ') == 3
    browser.form(
        f"{base}/settings/landing", {"default_landing_organization_id": str(org.public_id), "locale": "hi-IN"}
    )
    browser.form(f"{base}/settings/notifications", {"notification_routing_mode": "NEITHER"})
    answer = browser.form(
        f"{base}/settings/format",
        {"locale": "custom", "custom_locale": "de-DE", "currency_display_code": "EUR"},
    )
    assert answer.status_code == 302
    row = make.rows(
        "SELECT default_landing_organization_id, notification_routing_mode, locale, currency_display_code "
        "FROM org_workspace_profile WHERE user_id = :u",
        u=owner.user_id,
    )
    assert row == [(org.id, "NEITHER", "de-DE", "EUR")]
    assert "You hear of nothing." in browser.get(f"{base}/settings").text
    text = browser.get(f"{base}/billing").text
    assert "118.000,00\xa0€" in text and "not converted" in text
    wallet = browser.get(f"/dashboard/organization/{org.slug}/wallet").text
    assert "₹1,18,000.00" in wallet and "€" not in wallet  # workspace pages only
    for section, data in (
        ("landing", {"default_landing_organization_id": str(make.org().public_id)}),
        ("format", {"locale": "custom", "custom_locale": "nonsense", "currency_display_code": "EUR"}),
        ("notifications", {"notification_routing_mode": "X"}),
    ):
        assert browser.form(f"{base}/settings/{section}", data).status_code == 400, section
    assert browser.form(f"{base}/settings/other", {}).status_code in (302, 404)


def test_where_one_lands(client: Any, app: Any, make: Any) -> None:
    person = make.user()
    first, second = make.org(slug=unique("aaa")), make.org(slug=unique("bbb"))
    make.member(first, "OWNER", person)
    seat = make.member(second, "OWNER", person)
    browser = make.sign_in(client, person)
    base = open_workspace(browser)
    assert browser.get("/dashboard/organization").location.rstrip("/") == DOOR
    assert browser.get("/").location == f"/dashboard/organization/{first.slug}"
    browser.form(f"{base}/settings/landing", {"default_landing_organization_id": str(second.public_id)})
    assert browser.get("/").location == f"/dashboard/organization/{second.slug}"
    with make.session() as session:  # lost in the meantime: checked again at every reading
        session.get(type(seat), seat.id).role = "MANAGER"
    assert browser.get("/").location == f"/dashboard/organization/{first.slug}"
    assert "not yours any more" in browser.get(f"{base}/settings").text
    learner = make.sign_in(app.test_client(), make.member(first, "LEARNER"))
    assert learner.get("/dashboard/organization").location == "/dashboard"
    assert learner.get("/").location == f"/dashboard/organization/{first.slug}"
    stranger = make.sign_in(app.test_client(), make.user())
    assert stranger.get("/").location == "/dashboard" and stranger.get(DOOR).location.startswith(
        f"{DOOR}/create"
    )


def test_a_soft_reference_is_never_shown_once_lost(make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    with make.acting(owner) as session:
        row = workspace.update(
            session, workspace.ensure(session), {"default_landing_organization_id": org.slug}
        )
        assert workspace.view(session, row)["default_landing_organization_id"] == str(org.public_id)
        session.commit()
    with make.session() as session:
        session.get(type(owner), owner.id).status = MembershipStatus.SUSPENDED
    with make.acting(owner) as session:
        assert workspace.view(session, workspace.ensure(session))["default_landing_organization_id"] is None
