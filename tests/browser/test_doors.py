"""Signing up, in and out in a browser; the doors are accessible on a phone and in the dark."""

from __future__ import annotations

import re

import pytest

from tests.factories import unique

pytestmark = pytest.mark.browser


def test_sign_up_and_out_and_in(browse, sign_in):
    page, email = browse(), f"{unique('door')}@browser.test"
    page.goto("/signup")
    page.get_by_label("Full name").fill("Nila Rao")
    page.get_by_label("Work e-mail").fill(email)
    page.get_by_label("Password").fill("Correct-Horse-9")
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url("**/dashboard**")
    page.get_by_label("Account:").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile("/login/?$"))
    sign_in(page, email)
    assert "/dashboard" in page.url


@pytest.mark.parametrize(("width", "height", "dark"), [(1440, 900, False), (390, 844, True)])
def test_doors_are_accessible(browse, axe, width, height, dark):
    page, findings = browse(width, height, dark), []
    for path in ("/login", "/signup", "/forgot-password", "/reset-password/unknown"):
        page.goto(path)
        findings += axe(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"
    assert findings == []
