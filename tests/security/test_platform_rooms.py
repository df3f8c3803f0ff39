"""The staff console: invisible to everybody else, and mail that lets people in is opened by an administrator only."""

from __future__ import annotations

import uuid

import pytest

from app import clock
from app.models import MailMessage, OutboxMessage, PlatformRole
from tests.tenancy.test_every_route import admin_rules, path_of

LINK = "https://console.test/organizations/invite/SECRETLINK"


@pytest.fixture
def mail(make):
    return make.add(
        MailMessage(
            to_address="invited@people.test",
            subject=f"Join us {uuid.uuid4().hex[:8]}",
            body_text=f"Open {LINK}",
            body_html=f"<a href='{LINK}'>Open</a>",
            sent_at=clock.now(),
            transport="log",
        )
    )


@pytest.fixture
def waiting(make):
    return make.add(
        OutboxMessage(
            topic="none",
            payload={"to": "x@people.test", "values": {"path": LINK}},
            available_at=clock.now(),
            done_at=clock.now(),
        )
    )


def test_only_an_administrator_opens_mail(app, make, mail):
    staff, admin = (
        make.sign_in(app.test_client(), make.user(platform_role=r))
        for r in (PlatformRole.STAFF, PlatformRole.ADMIN)
    )
    page = f"/admin/mailbox/{mail.public_id}"
    assert staff.get(page).status_code == 403
    listed = staff.get(f"/admin/mailbox/?q={mail.subject}").text
    assert mail.subject in listed and page not in listed and LINK not in listed
    assert LINK in admin.get(page).text
    assert page in admin.get(f"/admin/mailbox/?q={mail.subject}").text
    assert make.sign_in(app.test_client(), make.user()).get(page).status_code == 404


@pytest.mark.parametrize("role", [PlatformRole.STAFF, PlatformRole.ADMIN])
def test_data_pages_show_no_link_that_lets_people_in(app, make, mail, waiting, role):
    client = make.sign_in(app.test_client(), make.user(platform_role=role))
    for table, row in (("mail_message", mail), ("outbox_message", waiting)):
        shown = client.get(f"/admin/data/{table}/show/{row.public_id}")
        assert shown.status_code == 200 and "SECRETLINK" not in shown.text
        for path in (
            f"/admin/data/{table}/",
            f"/admin/data/{table}/export/csv",
            f"/admin/data/{table}/?q=SECRETLINK",
            f"/admin/data/{table}/?_flt_0_body_text=SECRETLINK",
        ):
            answer = client.get(path)
            assert answer.status_code in (200, 400) and LINK not in answer.text


def test_pages_of_the_console_do_not_exist_for_others(app, make):
    founder = make.user(platform_role=PlatformRole.ORG_ADMIN)
    client = make.sign_in(app.test_client(), make.member(make.org(), user=founder))
    seen = 0
    for rule, method in admin_rules(app):
        if rule.rule.startswith("/api/"):
            continue
        path = path_of(app, rule, "x")
        answer = client.form(path) if method == "POST" else client.open(path, method=method)
        assert answer.status_code == 404, f"{method} {path} answers {answer.status_code}"
        seen += 1
    assert seen > 100
