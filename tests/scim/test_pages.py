"""Provisioning as pages: one-time reveal, previews, the log, the guides."""

from __future__ import annotations

import re

import pytest

from .conftest import refused


def where(directory, path=""):
    return f"/dashboard/organization/{directory.org.slug}/integrations/scim{path}"


@pytest.fixture
def browser(app, directory, make):
    return make.sign_in(app.test_client(), directory.owner)


def test_a_token_is_shown_once(browser, directory, make):
    page = browser.form(
        where(directory), {"label": "Okta", "days": "90", "duplicate_policy": "CONFLICT", "rate": "1500"}
    )
    assert page.status_code == 201
    raw = re.search(r"scim_[A-Za-z0-9_-]{60,}", page.text).group(0)
    directory.raw = raw
    assert directory.get("/Users?count=0").status_code == 200
    again = browser.get(where(directory))
    assert raw not in again.text and "Okta" in again.text and "http://console.test/scim/v2" in again.text
    row = make.rows(
        "select * from scim_token where organization_id = :o and label = 'Okta'", o=directory.org.id
    )[0]
    assert row.rate_limit_per_minute == 1500 and row.duplicate_policy == "CONFLICT"
    wrong = browser.form(where(directory), {"label": "", "days": "0", "duplicate_policy": "x", "rate": ""})
    assert wrong.status_code == 400
    assert browser.form(where(directory, f"/tokens/{row.public_id}/rate"), {"rate": "300"}).status_code == 302
    assert browser.form(where(directory, f"/tokens/{row.public_id}/revoke")).status_code == 302
    refused(directory.get("/Users"), 401)
    assert "is still being used" in browser.get(where(directory)).text


def test_readers_read_and_do_not_write(app, directory, make):
    reader = make.sign_in(app.test_client(), make.member(directory.org, "BILLING_ADMIN"))
    for path in ("", "/groups", "/requests", "/guide", "/guide/entra"):
        page = reader.get(where(directory, path))
        assert page.status_code == 200 and "New token" not in page.text and "Revoke" not in page.text
    assert (
        reader.form(
            where(directory), {"label": "x", "days": "90", "duplicate_policy": "UPSERT", "rate": "60"}
        ).status_code
        == 403
    )
    learner = make.sign_in(app.test_client(), make.member(directory.org, "LEARNER"))
    assert learner.get(where(directory)).status_code == 403


def test_a_mapping_is_previewed_before_it_is_made(browser, directory):
    person = directory.user(displayName="Seen First")
    directory.group("Leads", person["id"])
    assert "Leads" in browser.get(where(directory, "/groups")).text
    body = {"scim_group_name": "leads", "role": "MANAGER"}
    preview = browser.form(where(directory, "/groups"), body)
    assert (
        preview.status_code == 200
        and "1 member changes" in preview.text
        and person["userName"] in preview.text
    )
    assert directory.member(person["id"]).role == "LEARNER"
    done = browser.form(where(directory, "/groups"), {**body, "sure": "1"})
    assert done.status_code == 302 and directory.member(person["id"]).role == "MANAGER"
    twice = browser.form(where(directory, "/groups"), {**body, "sure": "1"})
    assert twice.status_code == 409 and "mapped already" in twice.text
    key = directory.make.one(
        "select public_id from scim_group_mapping where organization_id = :o", o=directory.org.id
    )
    assert "1 member changes" in browser.form(where(directory, f"/groups/{key}"), {"role": "SUPPORT"}).text
    browser.form(where(directory, f"/groups/{key}"), {"role": "SUPPORT", "sure": "1"})
    assert directory.member(person["id"]).role == "SUPPORT"
    assert "gives no role any more" in browser.form(where(directory, f"/groups/{key}"), {"remove": "1"}).text
    browser.form(where(directory, f"/groups/{key}"), {"remove": "1", "sure": "1"})
    assert directory.member(person["id"]).role == "LEARNER"


def test_the_log_filters(browser, directory):
    made = directory.user()
    refused(directory.post("/Users", directory.body("x@gmail.com")), 400, "invalidValue")
    page = browser.get(where(directory, "/requests?outcome=failed"))
    assert "x@gmail.com" in page.text and made["userName"] not in page.text
    assert made["userName"] in browser.get(where(directory, f"/requests?q={made['userName']}")).text
    assert "Nothing found" in browser.get(where(directory, "/requests?q=nobody")).text
    assert browser.get(where(directory, "/requests?before=x~y&token=none")).status_code == 200


@pytest.mark.parametrize("key", ["okta", "entra", "onelogin", "jumpcloud", "other", "unknown"])
def test_every_directory_has_its_guide(browser, directory, key):
    page = browser.get(where(directory, f"/guide/{key}"))
    assert (
        page.status_code == 200
        and "http://console.test/scim/v2" in page.text
        and page.text.count("<li>") >= 4
    )
