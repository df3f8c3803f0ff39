"""The pages of single sign-on without a browser: who sees what, and where a refusal leads."""

from __future__ import annotations

import pytest

from app.errors import REGISTRY
from tests.factories import PASSWORD, unique
from tests.identity.company import HTML, go_through, me


@pytest.fixture
def page(company, make, app):
    browser = app.test_client()
    make.sign_in(browser, company.owner)

    def get(path="", who=browser):
        return who.get(f"/dashboard/organization/{company.slug}/sso{path}", headers=HTML)

    get.browser = browser
    return get


@pytest.mark.parametrize(
    "code", [c for c, (status, _) in REGISTRY.items() if c.startswith(("SSO", "SAML", "OIDC", "IDP"))]
)
def test_every_refusal_has_copy_on_the_sign_in_page(client, code):
    page = client.get(f"/login?error={code}")
    assert (
        page.status_code == 200
        and 'role="alert"' in page.text
        and code not in page.text.replace(f"error={code}", "")
    )


def test_an_unknown_code_shows_none_of_itself(client):
    page = client.get("/login?error=<script>alert(1)</script>")
    assert page.status_code == 200 and "alert(1)" not in page.text and 'role="alert"' in page.text


def test_managers_read_and_owners_act(company, page, make, app):
    assert page().status_code == 200 and "Send to IT" in page().text
    manager = app.test_client()
    make.sign_in(manager, make.member(company.org, "MANAGER"))
    seen = page(who=manager)
    assert seen.status_code == 200 and "Send to IT" not in seen.text and "Enforce single" not in seen.text
    refused = manager.form(f"/dashboard/organization/{company.slug}/sso/settings", {"enforce_sso": "1"})
    assert refused.status_code == 403
    learner = app.test_client()
    make.sign_in(learner, make.member(company.org, "LEARNER"))
    assert page(who=learner).status_code == 403


def test_a_provider_by_form_and_its_buttons(company, page, idp):
    base = f"/dashboard/organization/{company.slug}/sso/providers"
    form = {"protocol": "SAML", "provider_id": f"{company.slug}-x", "domain": company.domain}
    draft = page("/providers/new?" + "&".join(f"{k}={v}" for k, v in form.items()))
    assert f"/sso/saml/{company.slug}-x/acs" in draft.text
    bad = page.browser.form(f"{base}/new", {**form, "metadata_xml": "<a/>"})
    assert bad.status_code == 400 and "no SAML metadata" in bad.text
    saved = page.browser.form(f"{base}/new", {**form, "metadata_xml": idp.metadata()})
    assert saved.status_code == 302
    one = f"{base}/{company.slug}-x"
    assert page.browser.get(one).status_code == 200
    for what, data in (("off", {}), ("on", {}), ("check", {})):
        assert page.browser.form(f"{one}/{what}", data).status_code == 302
    wrong = page.browser.form(f"{one}/add-certificate", {"certificate": "abc"})
    assert wrong.status_code == 400 and "not a certificate" in wrong.text
    assert (
        page.browser.form(f"{one}", {"version": "99", "name": "X"}).status_code == 302
    )  # told why, changed nothing
    assert company.api("GET", f"/sso/providers/{company.slug}-x").json["name"] == ""
    assert page.browser.form(f"{one}/remove", {"confirm_word": "no"}).status_code == 302
    assert company.api("GET", f"/sso/providers/{company.slug}-x").status_code == 200
    assert page.browser.form(f"{one}/remove", {"confirm_word": f"{company.slug}-x"}).status_code == 302
    assert company.api("GET", f"/sso/providers/{company.slug}-x").status_code == 404


def test_start_finds_the_provider(company, idp, app):
    provider = company.saml(idp)
    browser = app.test_client()
    found = browser.get("/sso/start", query_string={"email": f"x@{company.domain}", "next": "/dashboard"})
    assert f"/sso/saml/{provider['provider_id']}/login" in found.text and "This takes longer" in found.text
    nobody = browser.get("/sso/start", query_string={"email": "x@nobody.test"})
    assert nobody.status_code == 200 and "No organisation signs in" in nobody.text


def test_a_session_that_enforcement_overtakes_is_led_to_the_sign_in_page(company, idp, app, make, travel):
    provider = company.saml(idp)
    idp.person.email = company.owner.user.email
    company.prove(provider, app.test_client())
    company.enforce()
    company.api("POST", "/sso/break-glass", {"hours": 1, "reason": "IdP down"})
    email = f"{unique('a')}@{company.domain}"
    make.user(email)
    browser = app.test_client()
    browser.get("/login")
    assert browser.form("/login", {"email": email, "password": PASSWORD}).status_code == 302
    assert me(browser)["email"] == email
    travel(seconds=3700)
    led = browser.get("/dashboard", headers=HTML)
    assert led.status_code == 302 and "error=SSO_REQUIRED" in led.location
    idp.person.email = email
    assert go_through(browser, f"/sso/saml/{provider['provider_id']}/login").status_code == 302


def test_recovery_by_page(company, idp, app):
    provider = company.saml(idp)
    idp.person.email = company.owner.user.email
    company.prove(provider, app.test_client())
    codes = company.enforce().json["recovery_codes"]
    browser = app.test_client()
    browser.get("/sso/recovery")
    form = {"email": company.owner.user.email, "recovery_code": "AAAA-AAAA-AAAA-AAAA", "reason": "It is down"}
    assert browser.form("/sso/recovery", form).status_code == 401
    assert browser.form("/sso/recovery", {**form, "recovery_code": codes[3]}).location == "/login/"
    assert company.api("GET", "/sso").json["break_glass"]["open"] is True
