"""Single sign-on in a real browser: set up, tested, enforced, used; by an owner and by an IT department with a link."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.factories import unique
from tests.identity.conftest import idp, saml_idp

__all__ = ["idp", "saml_idp"]
pytestmark = pytest.mark.browser
SHOTS = os.environ.get("SSO_SHOTS")


def shoot(page, name):
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def copied(page, label):
    return page.get_by_label(label, exact=True).first.inner_text()


def trust(idp, page, base):
    """The identity provider's administrator imports our metadata."""
    import requests

    entity = copied(page, "Entity ID")
    idp.trust(requests.get(entity, timeout=10).text)


@pytest.fixture
def owner(make):
    org = make.org(slug=unique("sso"), name="Acme Learning", domain=False)
    domain = f"{org.slug}.test"
    return make.member(org, "OWNER", user=make.user(f"owner@{domain}", name="Olga Owner")), org, domain


def test_an_owner_sets_it_up_and_people_use_it(browse, sign_in, axe, owner, zone, idp, make, server):
    member, org, domain = owner
    page = browse()
    sign_in(page, member.user.email)
    home = f"/dashboard/organization/{org.slug}/sso"
    page.goto(home)
    shoot(page, "1-empty")
    page.get_by_label("Domain").fill(domain)
    page.get_by_role("button", name="Claim").click()
    page.get_by_text("Publish the record").wait_for()
    name, value = copied(page, "Name of the record"), copied(page, "Value of the record")
    assert name == f"_consilium-verify.{domain}"
    shoot(page, "2-claimed")
    assert axe(page) == []
    zone.publish(name, value)
    page.get_by_role("button", name="Verify now").click()
    page.get_by_text(f"{domain} is verified.").wait_for()
    page.get_by_role("link", name="Add an identity provider").click()
    page.get_by_role("button", name="Show the values").wait_for()
    shoot(page, "3-protocol")
    assert axe(page) == []
    page.get_by_role("button", name="Show the values").click()
    page.get_by_label("or the metadata itself").fill(idp.metadata())
    page.get_by_label("Name people see").fill("Acme Okta")
    shoot(page, "4-paste")
    assert axe(page) == []
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Acme Okta").wait_for()
    trust(idp, page, server.url)
    idp.person.email = member.user.email
    page.get_by_role("button", name="Test sign-in").click()
    page.get_by_role("button", name="Continue").click()  # the identity provider's own page, on another site
    page.get_by_text("The sign-in worked.").wait_for()
    shoot(page, "5-tested")
    assert axe(page) == []
    page.goto(home)
    shoot(page, "6-proven")
    page.get_by_role("button", name="Enforce single sign-on").click()
    page.locator("#confirm [data-ok]").click()
    page.get_by_role("heading", name="Your recovery codes").wait_for()
    assert page.locator("ol.codes li").count() == 10
    shoot(page, "7-enforced")
    assert axe(page) == []
    page.goto(home)
    shoot(page, "8-running")

    idp.person.email = f"asha@{domain}"
    learner = browse()
    learner.goto("/login")
    learner.get_by_label("Work e-mail").fill(idp.person.email)
    learner.get_by_label("Work e-mail").blur()
    button = learner.get_by_role("link", name="Continue with Acme Learning")
    button.wait_for()
    assert not learner.get_by_label("Password", exact=False).first.is_visible()
    shoot(learner, "9-sign-in")
    assert axe(learner) == []
    button.click()
    learner.get_by_role("button", name="Continue").click()
    learner.wait_for_url(re.compile("/dashboard"))
    learner.get_by_text("Acme Learning").first.wait_for()
    page.goto(f"{home}/providers/{org.slug}-saml")
    page.locator(".trace summary").first.click()
    shoot(page, "10-trace")
    assert axe(page) == []
    learner.get_by_label(re.compile("^Account")).click()
    learner.get_by_role("button", name="Sign out").click()
    learner.wait_for_url(re.compile(r"^http://localhost:\d+/slo"))  # signed out there too
    learner.goto("/dashboard")
    assert "/login" in learner.url


def test_an_it_department_uses_the_link(browse, sign_in, axe, owner, zone, idp, server):
    member, org, domain = owner
    page = browse()
    sign_in(page, member.user.email)
    page.goto(f"/dashboard/organization/{org.slug}/sso")
    page.get_by_role("button", name="Send to IT").click()
    page.get_by_label("Who it is for").fill("Service desk")
    page.get_by_role("button", name="Make the link").click()
    page.get_by_role("heading", name="The set-up link").wait_for()
    link = copied(page, "Set-up link")
    shoot(page, "20-link")
    it = browse()
    it.goto(link)
    shoot(it, "21-setup")
    assert axe(it) == []
    it.get_by_label("Domain").fill(domain)
    it.get_by_role("button", name="Claim").click()
    it.get_by_label("Name of the record").wait_for()
    zone.publish(copied(it, "Name of the record"), copied(it, "Value of the record"))
    it.get_by_role("button", name="Verify now").click()
    it.get_by_role("button", name="Show the values").click()
    it.get_by_label("or the metadata itself").fill(idp.metadata())
    shoot(it, "22-setup-paste")
    assert axe(it) == []
    it.get_by_role("button", name="Save").click()
    it.get_by_role("button", name="Test sign-in").wait_for()
    trust(idp, it, server.url)
    idp.person.email = f"it@{domain}"
    it.get_by_role("button", name="Test sign-in").click()
    it.get_by_role("button", name="Continue").click()
    it.get_by_text("The sign-in worked.").wait_for()
    shoot(it, "23-setup-done")
    assert axe(it) == []
    phone = browse(width=390, height=844, dark=True)
    phone.goto(link)
    shoot(phone, "24-setup-phone")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"/dashboard/organization/{org.slug}/sso")
    page.get_by_role("link", name=f"{org.slug}-saml").click()
    page.get_by_text("Switched off.").wait_for()
    shoot(page, "25-off")
    small = browse(width=390, height=844, dark=True)
    sign_in(small, member.user.email)
    for name, path in (("30-phone", ""), ("31-phone-provider", f"/providers/{org.slug}-saml")):
        small.goto(f"/dashboard/organization/{org.slug}/sso{path}")
        shoot(small, name)
        assert small.evaluate("document.documentElement.scrollWidth") <= 390
        assert axe(small) == []
    page.goto(f"/dashboard/organization/{org.slug}/sso")
    page.get_by_role("button", name="Revoke").click()
    page.get_by_text("The link no longer works.").wait_for()
    assert it.goto(link).status == 410
