"""“Confirm that it is you”: the password once more, for ten minutes, for this session only."""

from __future__ import annotations

from tests.factories import PASSWORD

CONFIRM = "/api/v1/security/confirm"


def test_a_confirmation_holds_ten_minutes_and_only_for_its_session(app, client, make):
    org = make.org()
    owner, other = make.member(org), make.member(org, "MANAGER")
    headers, elsewhere = make.bearer(owner), make.bearer(owner)
    url = f"/api/organizations/{org.slug}/ownership-transfer"
    body = {"member_id": str(other.public_id), "confirm": "wrong", "afterwards": "OWNER"}
    assert client.post(url, headers=headers, json=body).json["code"] == "CONFIRMATION_REQUIRED"
    assert client.post(CONFIRM, headers=headers, json={"password": PASSWORD}).status_code == 200
    assert client.post(url, headers=headers, json=body).json["code"] == "VALIDATION_FAILED"
    assert client.post(url, headers=elsewhere, json=body).json["code"] == "CONFIRMATION_REQUIRED"
    app.extensions["redis"].set("test:clock", 599)
    assert client.post(url, headers=headers, json=body).json["code"] == "VALIDATION_FAILED"
    app.extensions["redis"].set("test:clock", 601)
    assert client.post(url, headers=headers, json=body).json["code"] == "CONFIRMATION_REQUIRED"


def test_a_wrong_password_confirms_nothing_and_is_limited(client, make):
    owner = make.member(make.org())
    headers = make.bearer(owner)
    for wrong in ("wrong", "nul\x00", "x" * 200, PASSWORD.lower()):
        assert client.post(CONFIRM, headers=headers, json={"password": wrong}).status_code in (400, 401)
    assert client.post(CONFIRM, headers=headers, json={"password": "again"}).status_code == 401
    client.post(CONFIRM, headers=headers, json={"password": "again"})
    limited = client.post(CONFIRM, headers=make.bearer(owner), json={"password": PASSWORD})
    assert (
        limited.status_code == 429 and limited.json["code"] == "RATE_LIMITED"
    )  # another session of theirs too
    assert (
        make.one(
            "select count(*) from user_session where user_id = :u and confirmed_at is not null",
            u=owner.user_id,
        )
        == 0
    )
    assert client.post(CONFIRM, json={"password": PASSWORD}).status_code == 401


def test_a_session_of_single_sign_on_does_not_confirm_with_a_password(app, client, make):
    owner = make.member(make.org())
    raw = make.token(owner.user)
    with make.session() as s:
        from app.models import UserSession

        s.query(UserSession).filter_by(user_id=owner.user_id).update({"method": "saml"})
    refused = client.post(CONFIRM, headers={"Authorization": f"Bearer {raw}"}, json={"password": PASSWORD})
    assert refused.status_code == 403 and refused.json["code"] == "CONFIRMATION_REQUIRED"
    browser = app.test_client()
    with browser.session_transaction() as cookie:
        cookie["sid"] = raw
    assert "Sign in again" in browser.get("/confirm").text


def test_the_page_asks_and_returns_to_where_it_was_needed(app, make):
    org = make.org()
    owner = make.member(org)
    make.member(org, "MANAGER")
    browser = make.sign_in(app.test_client(), owner)
    page = f"/dashboard/organization/{org.slug}/settings/ownership"
    asked = browser.get(page)
    assert asked.status_code == 302 and asked.location.startswith("/confirm?next=")
    assert browser.form(asked.location, {"password": "wrong"}).status_code == 401
    done = browser.form(asked.location, {"password": PASSWORD})
    assert done.status_code == 302 and done.location == page
    assert browser.get(page).status_code == 200
    evil = browser.form("/confirm?next=https://evil.test/", {"password": PASSWORD})
    assert evil.location == "/"
