"""Signing in through a SAML provider that pysaml2 plays."""

from __future__ import annotations

import pytest

from tests.identity.company import HTML, form_of, go_through, me, to_provider


def login(provider):
    return f"/sso/saml/{provider['provider_id']}/login"


@pytest.fixture
def provider(company, idp):
    return company.saml(idp)


@pytest.fixture
def browser(app):
    return app.test_client()


def test_a_new_person_signs_in_and_joins(company, idp, provider, browser, make):
    idp.person.email = f"ada@{company.domain}"
    answer = go_through(browser, login(provider) + "?next=/dashboard")
    assert (answer.status_code, answer.location) == (302, "/dashboard")
    found = me(browser)
    assert (found["email"], found["name"]) == (idp.person.email, "Ada Lovelace")
    assert [(m["slug"], m["role"], m["status"]) for m in found["memberships"]] == [
        (company.slug, "LEARNER", "ACTIVE")
    ]
    event = make.one(
        "SELECT payload FROM outbox_message WHERE topic = 'event' AND organization_id = :o ORDER BY id DESC",
        o=company.org.id,
    )
    assert event["event"] == "member.added" and event["data"]["source"] == "sso_jit"
    trace = company.attempts(provider)[0]
    assert (trace["outcome"], trace["email"], trace["kind"]) == ("OK", idp.person.email, "sign_in")


@pytest.mark.scenario("I-9")
def test_a_response_works_once(company, idp, provider, browser):
    idp.person.email = f"ada@{company.domain}"
    path, fields = form_of(to_provider(browser, login(provider)))
    assert browser.post(path, data=fields, headers=HTML).location == "/"
    again = browser.post(path, data=fields)
    assert (again.status_code, again.json["code"]) == (403, "SAML_REPLAY")
    unsolicited = idp.answer(provider["urls"]["acs"], provider["urls"]["entity_id"], None)
    refused = browser.post(path, data={"SAMLResponse": unsolicited})
    assert (refused.status_code, refused.json["code"]) == (403, "IDP_INITIATED_DISABLED")
