"""The set-up link: one organisation, some days, nothing that works before an owner says so."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.factories import unique
from tests.identity.company import HTML, Company, error_of, to_provider


@pytest.fixture
def link(company):
    made = company.api("POST", "/sso/setup-links", {"label": "Service desk", "days": 7})
    assert made.status_code == 201, made.json
    return urlsplit(made.json["url"]).path


@pytest.fixture
def it(app):
    return app.test_client()


def saved(it, link, company, idp):
    answer = it.form(
        f"{link}/providers",
        {
            "protocol": "SAML",
            "provider_id": f"{company.slug}-saml",
            "domain": company.domain,
            "metadata_xml": idp.metadata(),
        },
    )
    assert answer.status_code == 302, answer.text[:500]
    return f"{company.slug}-saml"


def test_it_opens_the_set_up_and_no_more(company, idp, link, it, make):
    page = it.get(link)
    assert page.status_code == 200 and company.org.name in page.text and company.domain in page.text
    assert company.owner.user.email not in page.text and company.owner.user.name not in page.text
    for path in ("/sso", "/members", "/domain-claims"):
        assert it.get(f"/api/organizations/{company.slug}{path}").status_code in (401, 403)
    assert it.get(f"/dashboard/organization/{company.slug}/sso").status_code == 302


def test_what_it_saves_stays_off_until_an_owner_switches_it_on(company, idp, link, it, app):
    provider_id = saved(it, link, company, idp)
    row = company.api("GET", f"/sso/providers/{provider_id}").json
    assert row["enabled"] is False and row["proven_at"] is None
    refused = app.test_client().get(f"/sso/saml/{provider_id}/login", headers=HTML)
    assert error_of(refused) == "NOT_FOUND"  # nobody is signed in through it
    check = company.client.get(
        "/api/auth/sso/domain-check", query_string={"email": f"a@{company.domain}"}
    ).json
    assert check["sso_available"] is False
    started = it.form(f"{link}/providers/{provider_id}/test")
    assert started.status_code == 200 and "ticket=" in started.text
    company.api("PATCH", f"/sso/providers/{provider_id}", {"enabled": True})
    gone = it.form(f"{link}/providers/{provider_id}/remove", headers={"Referer": f"http://localhost{link}"})
    assert gone.status_code in (302, 404)
    assert company.api("GET", f"/sso/providers/{provider_id}").json["enabled"] is True


def test_its_test_proves_nothing(company, idp, link, it):
    import re
    from html import unescape

    from tests.identity.company import form_of

    provider_id = saved(it, link, company, idp)
    idp.trust(company.client.get(f"/sso/saml/{provider_id}/metadata").text)
    idp.person.email = company.owner.user.email
    started = it.form(f"{link}/providers/{provider_id}/test")
    path = unescape(re.search(r'url=([^"]+)"', started.text).group(1))
    target, fields = form_of(to_provider(it, path))
    landed = it.post(target, data=fields, headers=HTML)
    assert landed.location.startswith(f"{link}?provider=")
    row = company.api("GET", f"/sso/providers/{provider_id}").json
    assert row["last_test_result"]["ok"] is True and row["proven_at"] is None


def test_it_ends(company, link, it, travel):
    links = company.api("GET", "/sso/setup-links").json["setup_links"]
    assert links[0]["state"] == "OPEN" and "token" not in str(links).lower()
    company.api("DELETE", f"/sso/setup-links/{links[0]['id']}")
    assert it.get(link).status_code == 410
    made = company.api("POST", "/sso/setup-links", {"days": 1}).json
    path = urlsplit(made["url"]).path
    assert it.get(path).status_code == 200
    travel(days=1, seconds=1)
    assert it.get(path).status_code == 410
    assert it.get(f"/sso/setup/{'x' * 43}").status_code == 410
    assert it.form(f"{path}/domains", {"domain": f"{unique('late')}.test"}).status_code in (302, 410)


def test_links_keep_to_their_organisation(company, link, it, make, client, idp):
    other = Company(make, client)
    provider = other.saml(idp, enabled=False)
    for what in ("test", "check", "remove"):
        it.form(f"{link}/providers/{provider['provider_id']}/{what}")
    assert other.api("GET", f"/sso/providers/{provider['provider_id']}").json["last_test_at"] is None
    foreign = it.form(
        f"{link}/providers",
        {
            "protocol": "SAML",
            "provider_id": unique("p"),
            "domain": other.domain,
            "metadata_xml": idp.metadata(),
        },
    )
    assert foreign.status_code == 422


def test_limits_and_rights(company, make):
    for role in ("MAINTAINER", "MANAGER"):
        headers = make.bearer(make.member(company.org, role))
        assert company.api("POST", "/sso/setup-links", {}, headers=headers).status_code == 403
        assert company.api("GET", "/sso/setup-links", headers=headers).status_code == 403
    assert company.api("POST", "/sso/setup-links", {"days": 31}).status_code == 400
    statuses = [company.api("POST", "/sso/setup-links", {}).status_code for _ in range(11)]
    assert statuses == [201] * 10 + [409]
