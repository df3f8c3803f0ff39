"""Ownership, API keys, support access, account and onboarding in a browser: the journeys, axe, and both screens."""

from __future__ import annotations

import pytest

from app.models import PlatformRole
from tests.factories import PASSWORD, unique

SCREENS = ((1440, 900, False), (390, 844, True))


@pytest.fixture
def looks(axe):
    """What is wrong with the page shown now."""

    def check(page):
        sideways = not page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        headings = page.locator("h1").count()
        return (
            axe(page)
            + ([f"{page.url} scrolls sideways"] if sideways else [])
            + ([f"{page.url} has {headings} main headings"] if headings != 1 else [])
        )

    return check


@pytest.mark.parametrize("screen", SCREENS)
def test_an_owner_makes_a_key_and_hands_the_organisation_over(browse, make, sign_in, looks, screen):
    org = make.org(name="Handover Works")
    owner, heir = make.member(org), make.member(org, "MANAGER", make.user(name="Hema Heir"))
    base = f"/dashboard/organization/{org.slug}/settings"
    page = browse(*screen)
    sign_in(page, owner.user.email)
    page.goto("/account/")
    bad = looks(page)
    page.goto(f"{base}/api-keys")
    page.get_by_role("button", name="New key").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("HR nightly sync")
    dialog.get_by_text("Narrow it to some resources").click()
    bad += looks(page)
    dialog.get_by_label("Members", exact=True).check()
    dialog.get_by_role("button", name="Make the key").click()
    secret = page.locator(".once code").inner_text()
    assert secret.startswith("csk_") and page.get_by_text("it will not be shown again").is_visible()
    bad += looks(page)
    page.goto(f"{base}/api-keys")
    assert secret not in page.content() and page.get_by_text("HR nightly sync").count()
    page.goto(base)
    page.get_by_role("link", name="Transfer ownership").click()
    page.wait_for_url("**/confirm?next=**")
    bad += looks(page)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url("**/settings/ownership")
    bad += looks(page)
    page.get_by_label("Member", exact=False).first.select_option(str(heir.public_id))
    page.get_by_label(f"Type “{org.slug}”").fill(org.slug)
    page.get_by_role("button", name="Transfer ownership").click()
    page.wait_for_url("**/home")
    assert page.get_by_text("Hema Heir is now an owner.").is_visible()
    roles = dict(make.rows("select user_id, role from membership where organization_id = :o", o=org.id))
    assert roles == {owner.user_id: "MAINTAINER", heir.user_id: "OWNER"}
    assert bad == []


@pytest.mark.parametrize("screen", SCREENS)
def test_staff_looks_in_and_the_owner_sends_them_out(browse, make, sign_in, looks, screen):
    org = make.org(name="Glass House")
    owner, staff = make.member(org), make.user(platform_role=PlatformRole.STAFF, name="Sam Helper")
    desk, door = browse(*screen), browse(*screen)
    sign_in(desk, staff.email)
    desk.goto(f"/admin/support-access?organization={org.slug}")
    bad = looks(desk)
    desk.get_by_label("Reason").fill("Ticket 4711")
    desk.get_by_role("button", name="Start looking").click()
    desk.wait_for_url("**/home")
    shown = desk.get_by_role("region", name="Support access")
    assert "Sam Helper looks at Glass House." in shown.inner_text() and "min left" in shown.inner_text()
    for name in ("home", "members/", "settings", "settings/api-keys", "audit/"):
        desk.goto(f"/dashboard/organization/{org.slug}/{name}")
        assert shown.is_visible()
        writes = desk.locator("main form[method=post] button:visible, main [data-open]:visible")
        assert writes.count() == 0, f"{name} shows {writes.first.inner_text()}"
        bad += looks(desk)
    sign_in(door, owner.user.email)
    door.goto(f"/dashboard/organization/{org.slug}/settings/support-access")
    bad += looks(door)
    door.get_by_role("button", name="End now").click()
    door.locator("#confirm").get_by_role("button", name="End now").click()
    door.get_by_text("The support access has ended.").wait_for()
    assert desk.goto(f"/dashboard/organization/{org.slug}/home").status == 403
    assert bad == []


@pytest.mark.scenario("P-28")
@pytest.mark.parametrize("screen", SCREENS)
def test_from_sign_up_to_the_organisations_home(browse, make, looks, screen):
    slug = unique("founders")
    page = browse(*screen)
    page.goto("/signup")
    page.get_by_role("link", name="Start here").click()
    page.get_by_label("Full name").fill("Fay Founder")
    page.get_by_label("Work e-mail").fill(f"{slug}@founders.test")
    page.get_by_label("Password").fill(PASSWORD)
    bad = looks(page)
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url("**/onboarding/personal")
    bad += looks(page)
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/onboarding/organisation")
    bad += looks(page)
    page.get_by_label("Name", exact=False).first.fill(f"Founders {slug}")
    page.get_by_label("Short name").fill(slug)
    page.locator("#gst_state_code").select_option("29", force=True)
    page.get_by_label("Addresses").fill(f"{slug}-a@people.test")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/onboarding/review")
    bad += looks(page)
    assert page.get_by_text(f"{slug}-a@people.test").is_visible()
    page.get_by_role("link", name="Edit Personal").click()
    page.get_by_label("Phone").fill("+91 98765 43210")
    page.get_by_role("button", name="Save and review").click()
    page.wait_for_url("**/onboarding/review")
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url(f"**/{slug}/home")
    made = make.rows(
        "select u.platform_role, u.phone from ab_user u join organization o on o.created_by_user_id = u.id"
        " where o.slug = :s",
        s=slug,
    )
    assert [tuple(r) for r in made] == [("ORG_ADMIN", "+91 98765 43210")]
    assert bad == []
