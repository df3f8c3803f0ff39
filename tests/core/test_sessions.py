"""Signing in over REST and in the browser; sessions as rows (chapter 1, 1.1; chapter 3, "Sessions")."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from app.models import PlatformRole
from app.services import users
from tests.factories import PASSWORD


def login(client, email, password=PASSWORD):
    return client.post("/api/v1/security/login", json={"username": email, "password": password})


def me(client, token):
    return client.get("/api/v1/security/me", headers={"Authorization": f"Bearer {token}"})


def test_login_answers_a_bearer_token_for_any_case_of_the_address(client, make):
    user = make.user()
    token = login(client, user.email.upper()).json["access_token"]
    answer = me(client, token).json
    assert answer["email"] == user.email and answer["memberships"] == []
    assert (
        make.one("select count(*) from user_session where key_hash = :t", t=token) == 0
    )  # stored hashed only


@pytest.mark.parametrize("password", ["wrong", "", "x" * 500, "nul\x00byte", "पासवर्ड🙂"])
def test_bad_credentials_get_one_answer(client, make, password):
    user = make.user()
    for email in (user.email, "nobody@nowhere.test"):
        response = login(client, email, password)
        assert response.status_code in (400, 401)
        assert response.json["code"] in ("INVALID_CREDENTIALS", "VALIDATION_FAILED")
    assert make.one("select count(*) from user_session where user_id = :u", u=user.id) == 0


@pytest.mark.scenario("I-35")
def test_eleventh_sign_in_in_a_quarter_of_an_hour_is_refused(client, make):
    user = make.user()
    for _ in range(10):
        assert login(client, user.email, "wrong-password").status_code == 401
    refused = login(client, user.email)
    assert refused.status_code == 429 and refused.json["code"] == "RATE_LIMITED"
    assert 0 < int(refused.headers["Retry-After"]) <= 900 and refused.headers["X-RateLimit-Remaining"] == "0"
    assert (
        client.post(
            "/api/v1/security/login",
            json={"username": user.email, "password": PASSWORD},
            environ_base={"REMOTE_ADDR": "10.9.9.9"},
        ).status_code
        == 200
    )  # another address is not affected


def test_logout_revokes_at_once(client, make):
    token = login(client, make.user().email).json["access_token"]
    assert (
        client.post("/api/v1/security/logout", headers={"Authorization": f"Bearer {token}"}).status_code
        == 204
    )
    refused = me(client, token)
    assert refused.status_code == 401 and refused.json["code"] == "SESSION_REVOKED"


def test_member_sessions_slide_for_thirty_days(client, make, app):
    token = login(client, make.user().email).json["access_token"]
    store = app.extensions["redis"]
    store.set("test:clock", 29 * 86400)
    assert me(client, token).status_code == 200
    store.set("test:clock", 58 * 86400)
    assert me(client, token).status_code == 200
    store.set("test:clock", 89 * 86400)
    assert me(client, token).status_code == 401


def test_staff_sessions_end_after_two_idle_hours_and_after_twelve_in_all(client, make, app):
    store = app.extensions["redis"]
    token = login(client, make.user(platform_role=PlatformRole.STAFF).email).json["access_token"]
    for hour in (1.5, 3, 4.5, 6, 7.5, 9, 10.5):
        store.set("test:clock", hour * 3600)
        assert me(client, token).status_code == 200
    store.set("test:clock", 12.1 * 3600)
    assert me(client, token).status_code == 401
    store.set("test:clock", 0)
    token = login(client, make.user(platform_role=PlatformRole.ADMIN).email).json["access_token"]
    store.set("test:clock", 2.1 * 3600)
    assert me(client, token).status_code == 401


def test_memberships_are_read_on_every_request(client, make):
    user = make.user()
    headers = make.bearer(user)
    org = make.org()
    assert client.get("/api/v1/security/me", headers=headers).json["memberships"] == []
    make.member(org, "MANAGER", user)
    assert [m["role"] for m in client.get("/api/v1/security/me", headers=headers).json["memberships"]] == [
        "MANAGER"
    ]
    with make.session() as s:
        s.execute(text("update membership set status = 'REMOVED' where user_id = :u"), {"u": user.id})
    assert client.get("/api/v1/security/me", headers=headers).json["memberships"] == []


def test_header_names_the_organisation_and_a_foreign_one_is_refused(client, make):
    member, other = make.member(make.org()), make.org()
    headers = make.bearer(member)
    assert (
        client.get("/api/v1/security/me", headers={**headers, "X-Organization": other.slug}).status_code
        == 403
    )
    unknown = client.get("/api/v1/security/me", headers={**headers, "X-Organization": "no-such-organisation"})
    foreign = client.get("/api/v1/security/me", headers={**headers, "X-Organization": str(other.public_id)})
    assert unknown.json["code"] == foreign.json["code"] == "NOT_A_MEMBER"
    assert unknown.json["message"] == foreign.json["message"]


def test_password_reset_by_mail_signs_out_everywhere_and_works_once(app, client, make, db_session):
    user = make.user()
    old = make.token(user)
    assert client.form("/forgot-password", {"email": user.email}).status_code == 200
    mail = client.get(f"/api/test/outbox?to={user.email}").json["mail"]
    path = mail[0]["text"].split("http://console.test")[1].split()[0]
    assert client.form(path, {"password": "short"}).status_code == 400
    assert client.form(path, {"password": "A-new-password-7"}).status_code == 302
    assert me(app.test_client(), old).status_code == 401
    assert login(app.test_client(), user.email, "A-new-password-7").status_code == 200
    assert app.test_client().form(path, {"password": "Another-one-88"}).status_code == 410
    subjects = [m["subject"] for m in client.get(f"/api/test/outbox?to={user.email}").json["mail"]]
    assert "Your Consilium password was changed" in subjects


def test_forgot_password_does_not_tell_who_has_an_account(client, make):
    known = client.form("/forgot-password", {"email": make.user().email})
    unknown = client.form("/forgot-password", {"email": "nobody@nowhere.test"})
    assert known.status_code == unknown.status_code == 200
    assert client.get("/api/test/outbox?to=nobody@nowhere.test").json["mail"] == []


def test_browser_sign_up_sign_in_and_out(app, make):
    client = app.test_client()
    email = f"new.{make.one('select count(*) from ab_user')}@signup.test"
    form = {"name": "Nila <b>Rao</b> 🙂", "email": email.upper(), "password": "Correct-Horse-9"}
    assert client.form("/signup", form).status_code == 302
    assert client.get("/account/").status_code == 200
    assert "<b>Rao</b>" not in client.get("/account/").text
    assert client.form("/logout").status_code == 302
    assert client.get("/account/").status_code == 302
    again = app.test_client().form("/signup", form)
    assert again.status_code == 409 and "already exists" in again.text
    assert (
        client.form("/login?next=//evil.test/x", {"email": email, "password": "Correct-Horse-9"}).location
        == "/"
    )


def test_sign_up_reports_every_field_at_once_and_creates_nobody(client, make):
    before = make.one("select count(*) from ab_user")
    page = client.form("/signup", {"name": "\x07", "email": "not-an-address", "password": "short"})
    assert page.status_code == 400
    assert page.text.count('class="err"') == 3
    assert make.one("select count(*) from ab_user") == before


def test_two_sign_ups_with_one_address_make_one_account(make, db_session):
    users.create_user(db_session, "twice@signup.test", "Correct-Horse-9", "A")
    with pytest.raises(users.DomainError, match="EMAIL_TAKEN"):
        users.create_user(db_session, "TWICE@signup.test", "Correct-Horse-9", "B")
