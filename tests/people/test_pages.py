"""Roster and invitations in the console, and the way from a mail's link into the organisation."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from app.models import OrgStatus
from tests.factories import PASSWORD, unique


def base(org: Any) -> str:
    return f"/dashboard/organization/{org.slug}"


def role_of(make: Any, member: Any) -> tuple[str, str]:
    return tuple(make.rows("SELECT role, status FROM membership WHERE id = :i", i=member.id)[0])


def test_the_roster_acts_through_the_guard(client: Any, make: Any) -> None:
    org = make.org()
    owner, manager, learner = make.member(org), make.member(org, "MANAGER"), make.member(org, "LEARNER")
    browser = make.sign_in(client, owner)
    roster = browser.get(f"{base(org)}/members/")
    assert roster.status_code == 200 and manager.user.email in roster.text and "Add member" in roster.text
    detail = browser.get(f"{base(org)}/members/show/{manager.public_id}")
    assert detail.status_code == 200 and "Before a removal" in detail.text and "members/edit/" in detail.text
    own = browser.get(f"{base(org)}/members/show/{owner.public_id}").text
    assert "members/edit/" not in own and "action/suspend" not in own
    act = f"{base(org)}/members/action"
    browser.form(f"{act}/role/{manager.public_id}", {"role": "SUPPORT"})
    assert role_of(make, manager) == ("SUPPORT", "ACTIVE")
    browser.form(f"{act}/role/{manager.public_id}", {"role": "KING"})
    assert role_of(make, manager) == ("SUPPORT", "ACTIVE")
    browser.form(f"{act}/suspend/{learner.public_id}")
    assert role_of(make, learner) == ("LEARNER", "SUSPENDED")
    browser.form(f"{act}/reactivate/{learner.public_id}")
    browser.form(f"{act}/department/{learner.public_id}", {"department": "Sales"})
    browser.form(f"{act}/limit/{learner.public_id}", {"amount": "500"})
    assert make.rows(
        "SELECT department_label, spend_limit_paise FROM membership WHERE id = :i", i=learner.id
    ) == [("Sales", 50_000)]
    browser.form(f"{act}/remove/{learner.public_id}", {"confirm_word": "no"})
    assert role_of(make, learner) == ("LEARNER", "ACTIVE")
    browser.form(f"{act}/remove/{learner.public_id}", {"confirm_word": learner.user.email})
    assert role_of(make, learner) == ("LEARNER", "REMOVED")


def test_the_roster_is_searched_by_name_and_address(client: Any, make: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org))
    wanted = make.member(org, "SUPPORT", make.user(name="Zubeida O'Hara"), department_label="Desk 100%")
    other = make.member(org, "LEARNER")
    for text in ("zubeida", "o'hara", wanted.user.email[:12].upper(), "100%"):
        page = browser.get(f"{base(org)}/members/", query_string={"q": text}).text
        assert wanted.user.email in page, text
        if text != wanted.user.email[:12].upper():
            assert other.user.email not in page, text
    assert wanted.user.email not in browser.get(f"{base(org)}/members/?q=nobody").text
    assert wanted.user.email in browser.get(f"{base(org)}/members/export/csv?q=zubeida").text


def test_a_maintainer_is_offered_only_what_works(client: Any, make: Any) -> None:
    org = make.org()
    owner, maintainer = make.member(org), make.member(org, "MAINTAINER")
    browser = make.sign_in(client, maintainer)
    assert "members/edit/" not in browser.get(f"{base(org)}/members/show/{owner.public_id}").text
    browser.form(f"{base(org)}/members/action/suspend/{owner.public_id}")
    assert role_of(make, owner) == ("OWNER", "ACTIVE")
    page = browser.get(f"{base(org)}/invitations/").text
    assert '<option value="MANAGER"' in page and '<option value="OWNER"' not in page
    support = make.sign_in(client, make.member(org, "SUPPORT"))
    page = support.get(f"{base(org)}/members/")
    assert page.status_code == 200 and "Add member" not in page.text


def test_people_of_owners_only_show_maintainers_no_buttons(client: Any, make: Any) -> None:
    org = make.org(people_owner_only=True)
    member = make.member(org, "MANAGER")
    browser = make.sign_in(client, make.member(org, "MAINTAINER"))
    assert "Add member" not in browser.get(f"{base(org)}/members/").text
    assert "members/edit/" not in browser.get(f"{base(org)}/members/show/{member.public_id}").text
    assert 'data-open="invite"' not in browser.get(f"{base(org)}/invitations/").text


def test_adding_from_the_roster(client: Any, make: Any) -> None:
    org, person = make.org(), make.user()
    browser = make.sign_in(client, make.member(org))
    answer = browser.form(
        f"{base(org)}/members/add", {"email": person.email, "role": "MANAGER", "department": "Ops"}
    )
    assert answer.location == f"{base(org)}/members/"
    assert make.one("SELECT department_label FROM membership WHERE user_id = :u", u=person.id) == "Ops"
    page = browser.form(
        f"{base(org)}/members/add", {"email": "nobody@x.test", "role": "MANAGER"}, follow_redirects=True
    )
    assert "Nobody with this address" in page.text


def test_inviting_from_the_console_shows_links_once(client: Any, make: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org))
    name = unique("i")
    page = browser.form(
        f"{base(org)}/invitations/send",
        {"emails": f"{name}@x.test\nbad; {name}@X.test", "role": "SUPPORT", "days": "7"},
    )
    assert page.status_code == 200 and f"{name}@x.test" in page.text and "Entered twice" in page.text
    link = re.search(r"http://console\.test(/organizations/invite/[\w-]+)", page.text)
    assert link
    listed = browser.get(f"{base(org)}/invitations/").text
    assert f"{name}@x.test" in listed and link.group(1) not in listed
    key = make.one("SELECT public_id FROM invitation WHERE email = :e", e=f"{name}@x.test")
    again = browser.form(f"{base(org)}/invitations/action/resend/{key}")
    assert (
        again.status_code == 200
        and link.group(1) not in again.text
        and "/organizations/invite/" in again.text
    )
    browser.form(f"{base(org)}/invitations/action/revoke/{key}")
    assert make.one("SELECT status FROM invitation WHERE email = :e", e=f"{name}@x.test") == "CANCELED"


def invite(browser: Any, org: Any, email: str, role: str = "LEARNER") -> str:
    page = browser.form(f"{base(org)}/invitations/send", {"emails": email, "role": role})
    found = re.search(r"/organizations/invite/[\w-]+", page.text)
    assert found, page.text
    return html.unescape(found.group(0))


@pytest.mark.scenario("P-27")
def test_a_new_person_comes_in_by_the_link(client: Any, app: Any, make: Any) -> None:
    org = make.org()
    link = invite(make.sign_in(client, make.member(org)), org, email := f"{unique('new')}@x.test")
    guest = app.test_client()
    answer = guest.get(link)
    assert answer.location == "/organizations/invite"
    with guest.session_transaction() as cookie:
        assert link.rpartition("/")[2] not in str(dict(cookie))  # only the hash travels
    page = guest.get(answer.location)
    assert page.status_code == 200 and org.name in page.text and "learner" in page.text and email in page.text
    bad = guest.form("/organizations/invite/join", {"name": "New Learner", "password": "short"})
    assert bad.status_code == 400 and "8 to 200" in bad.text
    assert make.one("SELECT count(*) FROM ab_user WHERE email = :e", e=email) == 0
    joined = guest.form("/organizations/invite/join", {"name": "New Learner", "password": "Quite-Long-9"})
    assert joined.location == base(org)
    assert guest.get(joined.location, follow_redirects=True).status_code == 200
    row = make.rows(
        "SELECT m.role, m.status, u.email_verified_at IS NOT NULL FROM membership m JOIN ab_user u ON "
        "u.id = m.user_id WHERE u.email = :e",
        e=email,
    )
    assert row == [("LEARNER", "ACTIVE", True)]
    assert app.test_client().get(link, follow_redirects=True).status_code == 409


def test_the_ordinary_sign_up_keeps_the_invitation(client: Any, app: Any, make: Any) -> None:
    org = make.org()
    link = invite(make.sign_in(client, make.member(org)), org, email := f"{unique('new')}@x.test")
    guest = app.test_client()
    guest.get(link)
    guest.get("/organizations/invite")
    page = guest.get("/signup")
    assert email in page.text
    answer = guest.form(
        "/signup?next=/organizations/invite", {"name": "N P", "email": email, "password": "Quite-Long-9"}
    )
    assert answer.location == "/organizations/invite"
    assert org.name in guest.get("/dashboard").text
    assert "Accept and join" in guest.get(answer.location).text
    assert guest.form("/organizations/invite/accept").location == base(org)
    assert (
        make.one(
            "SELECT count(*) FROM membership m JOIN ab_user u ON u.id = m.user_id WHERE u.email = :e", e=email
        )
        == 1
    )


def test_a_known_person_signs_in_and_accepts(client: Any, app: Any, make: Any) -> None:
    org, person = make.org(), make.user()
    link = invite(make.sign_in(client, make.member(org)), org, person.email)
    guest = app.test_client()
    guest.get(link)
    page = guest.get("/organizations/invite").text
    assert "Sign in to accept" in page and "Choose a password" not in page
    taken = guest.form("/organizations/invite/join", {"name": "Im Poster", "password": "Quite-Long-9"})
    assert taken.status_code == 409
    answer = guest.form("/login?next=/organizations/invite", {"email": person.email, "password": PASSWORD})
    assert answer.location == "/organizations/invite"
    assert guest.form("/organizations/invite/accept").location == base(org)


def test_the_wrong_person_is_told(client: Any, app: Any, make: Any) -> None:
    org = make.org()
    link = invite(make.sign_in(client, make.member(org)), org, f"{unique('a')}@x.test")
    other = make.sign_in(app.test_client(), make.user())
    other.get(link)
    page = other.get("/organizations/invite").text
    assert "Sign out" in page and "Accept and join" not in page
    refused = other.form("/organizations/invite/accept")
    assert refused.status_code == 403 and "another address" in refused.text
    assert make.one("SELECT count(*) FROM membership WHERE organization_id = :o", o=org.id) == 1


def test_dead_links_say_so(client: Any, app: Any, make: Any) -> None:
    guest = app.test_client()
    assert guest.get("/organizations/invite").status_code == 404
    guest.get("/organizations/invite/none-such")
    assert guest.get("/organizations/invite").status_code == 404
    org = make.org()
    link = invite(make.sign_in(client, make.member(org)), org, f"{unique('a')}@x.test")
    from sqlalchemy import text

    with make.owner.begin() as connection:
        connection.execute(
            text("UPDATE organization SET status = :s WHERE id = :o"),
            {"s": OrgStatus.SUSPENDED.value, "o": org.id},
        )
    guest.get(link)
    assert guest.get("/organizations/invite").status_code == 403


def test_declining_on_the_page(client: Any, app: Any, make: Any) -> None:
    org, person = make.org(), make.user()
    link = invite(make.sign_in(client, make.member(org)), org, person.email)
    browser = make.sign_in(app.test_client(), person)
    browser.get(link)
    assert browser.form("/organizations/invite/decline").location == "/dashboard"
    assert make.one("SELECT status FROM invitation WHERE email = :e", e=person.email) == "DECLINED"


def test_mails_are_written_for_people(app: Any) -> None:
    from app.services.mailer import render

    values = {
        "organization": "Acme & Co",
        "inviter": "Maya Rao",
        "role": "learner",
        "path": "/p",
        "expires": "7 December",
        "member": "A B",
        "email": "a@x.in",
        "name": "Maya",
        "reason": "A <b> reason",
        "leave_path": "/dashboard#leave",
    }
    for name in (
        "invitation",
        "invitation_accepted",
        "org_verified",
        "org_rejected",
        "org_suspended",
        "org_reactivated",
        "org_deactivated",
        "member_added",
        "member_removed",
        "welcome",
    ):
        subject, text, page = render(name, values, "http://console.test")
        assert subject and "{" not in subject + text + page and "<b> reason" not in page
        if name != "welcome":
            assert "Acme & Co" in text and "Acme &amp; Co" in page
