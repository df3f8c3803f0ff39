"""One's own account: profile, password, and the browsers one is signed in with."""

from __future__ import annotations

import pytest

from tests.factories import PASSWORD

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36"


def sign_in(app, user, agent=CHROME):
    browser = app.test_client()
    form = {"email": user.email, "password": PASSWORD}
    assert browser.form("/login", form, headers={"User-Agent": agent}).status_code == 302
    return browser


def open_sessions(make, user):
    return make.one("select count(*) from user_session where user_id = :u and revoked_at is null", u=user.id)


def test_a_person_sees_and_ends_their_browsers(app, make):
    user = make.user()
    here, phone = sign_in(app, user), sign_in(app, user, "Mozilla/5.0 (iPhone) Version/17 Safari/604")
    page = here.get("/account/").text
    assert "Chrome on Windows" in page and "Safari on iPhone" in page and page.count("This one") == 1
    end = page.split('action="/account/sessions/')[2].split("/end")[0]
    assert end != "others" and len(end) == 24
    assert here.form(f"/account/sessions/{end}/end").status_code == 302
    assert phone.get("/account/").status_code == 302 and here.get("/account/").status_code == 200
    assert here.form(f"/account/sessions/{end}/end").status_code in (302, 404)
    assert open_sessions(make, user) == 1


def test_all_others_end_and_this_one_stays(app, make):
    user = make.user()
    here, there = sign_in(app, user), sign_in(app, user)
    script = make.token(user)
    assert here.form("/account/sessions/others/end").status_code == 302
    assert there.get("/account/").status_code == 302 and here.get("/account/").status_code == 200
    assert (
        app.test_client()
        .get("/api/v1/security/me", headers={"Authorization": f"Bearer {script}"})
        .status_code
        == 401
    )
    assert open_sessions(make, user) == 1


def test_nobody_ends_somebody_elses_session(app, make):
    from app.models import UserSession
    from app.services.browsers import outer_key

    mine, theirs = make.user(), make.user()
    here = sign_in(app, mine)
    sign_in(app, theirs)
    with make.session() as s:
        row = s.query(UserSession).filter_by(user_id=theirs.id).one()
        keys = [outer_key(row), str(row.id), row.key_hash, "x"]
    for key in keys:
        here.form(f"/account/sessions/{key}/end")
    here.form("/account/sessions/others/end")
    assert open_sessions(make, theirs) == 1


def test_the_profile_changes_and_says_what_is_wrong(app, make):
    user = make.user()
    here = sign_in(app, user)
    good = {"name": "Nila <b>Rao</b>", "phone": "+91 98765 43210", "timezone": "Europe/Berlin"}
    assert here.form("/account/profile", good).status_code == 302
    page = here.get("/account/").text
    assert "Nila &lt;b&gt;Rao&lt;/b&gt;" in page and "<b>Rao</b>" not in page
    for bad in ({"name": ""}, {"name": "x" * 101}, {"phone": "drop table"}, {"timezone": "Mars/Olympus"}):
        refused = here.form("/account/profile", {**good, **bad})
        assert refused.status_code == 400 and 'class="err"' in refused.text, bad
    row = make.rows("select first_name, phone, timezone from ab_user where id = :u", u=user.id)[0]
    assert tuple(row) == ("Nila", "+91 98765 43210", "Europe/Berlin")


@pytest.mark.parametrize(
    ("current", "new", "status"),
    [("wrong", "A-new-password-7", 400), (PASSWORD, "short", 400), (PASSWORD, "A-new-password-7", 302)],
)
def test_the_password_changes_with_the_current_one(app, make, current, new, status):
    user = make.user()
    here, there = sign_in(app, user), sign_in(app, user)
    assert here.form("/account/", {"current": current, "password": new}).status_code == status
    assert here.get("/account/").status_code == 200
    assert there.get("/account/").status_code == (302 if status == 302 else 200)
