"""An organisation as the tests of single sign-on need it, and browsers that go through a provider."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from tests.factories import PASSWORD, unique

HTML = {"Accept": "text/html"}


class Company:
    """``slug``, ``domain`` and an ``owner``; ``api`` speaks REST as the owner."""

    def __init__(self, make: Any, client: Any, **values: Any) -> None:
        self.make, self.client = make, client
        self.org = make.org(slug=unique("co"), **values)
        self.slug, self.domain = self.org.slug, f"{self.org.slug}.test"
        self.owner = make.member(self.org, "OWNER", user=make.user(f"owner@{self.domain}", name="Olga Owner"))
        self.token = make.bearer(self.owner)

    def api(self, method: str, path: str, body: Any = None, *, headers: Any = None) -> Any:
        return self.client.open(
            f"/api/organizations/{self.slug}{path}", method=method, json=body, headers=headers or self.token
        )

    # ---- providers ------------------------------------------------------------------------------------------------
    def saml(self, idp: Any, **more: Any) -> dict[str, Any]:
        """A SAML provider of *idp*."""
        answer = self.api(
            "POST",
            "/sso/providers",
            {
                "provider_id": unique("p"),
                "protocol": "SAML",
                "domain": self.domain,
                "metadata_xml": idp.metadata(),
                **more,
            },
        )
        assert answer.status_code == 201, answer.json
        idp.trust(self.client.get(urlsplit(answer.json["urls"]["metadata"]).path).text)
        return dict(answer.json)

    def oidc(self, op: Any, **more: Any) -> dict[str, Any]:
        """An OIDC provider of *op*."""
        answer = self.api(
            "POST",
            "/sso/providers",
            {
                "provider_id": unique("p"),
                "protocol": "OIDC",
                "domain": self.domain,
                "issuer": op.issuer,
                "client_id": op.client_id,
                "client_secret": op.client_secret,
                **more,
            },
        )
        assert answer.status_code == 201, answer.json
        op.register(answer.json["urls"])
        return dict(answer.json)

    def patch(self, **values: Any) -> Any:
        """PATCH the settings with the version they have now."""
        version = self.api("GET", "/sso").json["version"]
        return self.api("PATCH", "/sso", {"expected_version": version, **values})

    def prove(self, provider: dict[str, Any], browser: Any, person: Any = None) -> Any:
        """The owner completes an interactive test."""
        started = self.api("POST", f"/sso/providers/{provider['provider_id']}/test?interactive=1")
        assert started.status_code == 200, started.json
        if person is not None:
            person(f"owner@{self.domain}")
        return go_through(browser, started.json["sign_in_url"])

    def enforce(self) -> Any:
        answer = self.patch(enforce_sso=True)
        assert answer.status_code == 200, answer.json
        return answer

    def provider_row(self, provider: dict[str, Any]) -> Any:
        return self.make.rows("SELECT * FROM sso_provider WHERE provider_id = :p", p=provider["provider_id"])[
            0
        ]

    def attempts(self, provider: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self.api("GET", f"/sso/providers/{provider['provider_id']}/attempts").json["attempts"])


def sign_in_with_password(client: Any, email: str) -> Any:
    return client.post("/api/v1/security/login", json={"username": email, "password": PASSWORD})


def to_provider(browser: Any, path: str) -> str:
    """Begin a sign-in; where the browser is sent."""
    answer = browser.get(path, headers=HTML)
    assert answer.status_code == 302, (answer.status_code, answer.text[:300])
    return str(answer.location)


def form_of(address: str) -> tuple[str, dict[str, str]]:
    """What the identity provider's page posts: (path of ours, fields)."""
    page = requests.get(address, timeout=10)
    assert page.status_code == 200, page.text
    action = re.search(r'action="([^"]+)"', page.text)
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page.text))
    assert action, page.text
    return urlsplit(unescape(action.group(1))).path, {k: unescape(v) for k, v in fields.items()}


def go_through(browser: Any, path: str, *, headers: Any = None) -> Any:
    """A whole sign-in: to the provider and back; the last answer of ours (not followed)."""
    address = to_provider(browser, path)
    if "SAMLRequest=" in address:
        target, fields = form_of(address)
        return browser.post(target, data=fields, headers=headers or HTML)
    return browser.get(landing(address), headers=headers or HTML)


def landing(address: str) -> str:
    """Where an OpenID provider sends the browser back to: a path of ours."""
    answer = requests.get(address, timeout=10, allow_redirects=False)
    assert answer.status_code == 302, answer.text
    landed = urlsplit(answer.headers["Location"])
    return f"{landed.path}?{landed.query}"


def error_of(answer: Any) -> str | None:
    """The code that a refused browser is led to the sign-in page with, or that a program is answered."""
    if answer.status_code == 302:
        return parse_qs(urlsplit(answer.location).query).get("error", [None])[0]
    return answer.json.get("code") if answer.is_json else None


def me(browser: Any) -> Any:
    """Whom the browser's cookie stands for."""
    answer = browser.get("/api/v1/security/me")
    return answer.json if answer.status_code == 200 else None
