"""Branding: the settings' section, what mails and the invitation page show of it, and readable text on any colour."""

from __future__ import annotations

import io
from typing import Any

import pytest

from app.services import colours
from tests.factories import unique
from tests.organizations.test_images import picture, stored


@pytest.mark.parametrize(
    ("colour", "ink"),
    [("#000000", "#ffffff"), ("#ffffff", "#18181b"), ("#3d4fd6", "#ffffff"), ("#ffd400", "#18181b")],
)
def test_text_is_chosen_by_contrast(colour: str, ink: str) -> None:
    assert colours.ink_on(colour) == ink
    assert colours.contrast(colour, ink) >= colours.ENOUGH


def test_contrast_is_the_standards() -> None:
    assert colours.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert colours.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert (
        colours.contrast("#808080", colours.ink_on("#808080")) < colours.ENOUGH
    )  # what the preview warns of


def test_the_settings_take_pictures_without_script(client: Any, make: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org, "MAINTAINER"))
    base = f"/dashboard/organization/{org.slug}/settings"
    page = browser.get(base).text
    assert "data-brand" in page and 'enctype="multipart/form-data"' in page
    answer = browser.form(f"{base}/images/logo", {"file": (io.BytesIO(picture()), "logo.png")})
    assert answer.status_code == 302 and stored(make, org)
    assert f"/media/{stored(make, org)}" in browser.get(base).text
    home = browser.get(f"/dashboard/organization/{org.slug}/members/").text
    assert f'src="/media/{stored(make, org)}"' in home  # the sidebar's tile
    browser.form(f"{base}/images/logo", {"file": (io.BytesIO(b"%PDF"), "logo.png")})
    assert stored(make, org)
    assert browser.form(f"{base}/images/logo/remove").status_code == 302 and stored(make, org) is None
    assert browser.form(f"{base}/images/face", {"file": (io.BytesIO(picture()), "x.png")}).status_code in (
        302,
        404,
    )
    browser.form(f"{base}/branding", {"primary_color": "#FFD400", "secondary_color": "#101010"})
    assert stored(make, org, "primary_color") == "#ffd400"
    assert 'data-color="#ffd400"' in browser.get(base).text
    browser.form(f"{base}/branding", {"primary_color": "", "secondary_color": ""})
    assert stored(make, org, "primary_color") is None


def test_finance_may_not_change_pictures(client: Any, make: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org, "BILLING_ADMIN"))
    url = f"/dashboard/organization/{org.slug}/settings/images/logo"
    assert browser.form(url, {"file": (io.BytesIO(picture()), "logo.png")}).status_code == 403
    assert stored(make, org) is None


def test_invitations_wear_the_brand(client: Any, app: Any, make: Any) -> None:
    from app.services import mailer

    org = make.org(primary_color="#ffd400")
    owner = make.member(org)
    headers = make.bearer(owner)
    for kind in ("logo", "banner"):
        client.post(
            f"/api/organizations/{org.slug}/images",
            data={"type": kind, "file": (io.BytesIO(picture()), "x.png")},
            headers=headers,
        )
    email = f"{unique('i')}@x.test"
    client.post(
        f"/api/organizations/{org.slug}/invitations",
        json={"email": email, "role": "LEARNER"},
        headers=headers,
    )
    values = make.one("SELECT payload->'values' FROM outbox_message WHERE payload->>'to' = :e", e=email)
    subject, text, html = mailer.render("invitation", values, "http://console.test")
    assert 'bgcolor="#ffd400"' in html and 'color="#18181b"' in html
    assert (
        f'src="http://console.test/media/{stored(make, org)}"' in html and "/media/" not in text and subject
    )
    visitor = app.test_client()
    visitor.get(values["path"])
    page = visitor.get("/organizations/invite").text
    assert f"/media/{stored(make, org)}" in page and f"/media/{stored(make, org, 'banner_image')}" in page
    assert 'data-color="#ffd400"' in page
    plain = {k: v for k, v in values.items() if k not in ("colour", "ink", "logo")}
    assert 'bgcolor="#1d1d21"' in mailer.render("invitation", plain, "http://console.test")[2]
