"""What anybody can send to the protocols' addresses: refused in words, whatever it is."""

from __future__ import annotations

import pytest

from tests.identity.company import HTML

SHA2 = "http://www.w3.org/2001/04/xmldsig-more%23rsa-sha256"


def calm(answer):
    """*answer* is a refusal or a redirect on our own site, and no crash."""
    assert answer.status_code < 500, answer.text[:300]
    return answer


@pytest.mark.parametrize(
    "path",
    [
        "/sso/saml/%00/login",
        "/sso/saml/%F0%9F%98%80/metadata",
        "/sso/saml/{}/login?ticket=%00",
        "/sso/saml/{}/login?next=/a%0Db",
        "/sso/saml/{}/login?next=%00",
        "/sso/saml/{}/finish?key=%00",
        "/sso/saml/{}/sls?SAMLRequest=x",
        "/sso/saml/{}/sls?SAMLRequest=%25&SigAlg=" + SHA2 + "&Signature=AAAA",
        "/sso/saml/{}/sls?SAMLRequest=x&SigAlg=" + SHA2.replace("rsa", "ecdsa") + "&Signature=%C3%A9",
        "/sso/saml/{}/sls?SAMLRequest=x&SigAlg=" + SHA2 + "&Signature=",
        "/sso/saml/{}/sls?SAMLResponse=%00&SigAlg=%00&Signature=%00",
        "/sso/oidc/{}/login",
        "/login?error=%00",
        "/api/auth/sso/domain-check?email=%00@x.test",
        "/api/auth/sso/domain-check?email=a@%ED%A0%80.test",
    ],
)
def test_saml_by_get(client, company, idp, path):
    provider = company.saml(idp)["provider_id"]
    for headers in (HTML, {}):
        calm(client.get(path.replace("{}", provider), headers=headers))


@pytest.mark.parametrize(
    ("door", "form"),
    [
        ("acs", {}),
        ("acs", {"SAMLResponse": "\x00"}),
        ("acs", {"SAMLResponse": "\u00e9", "RelayState": "\x00"}),
        ("acs", {"SAMLResponse": "PHg+" * 200_000}),
        ("sls", {"SAMLRequest": "\x00"}),
        ("sls", {"SAMLRequest": "PHg+" * 200_000}),
    ],
    ids=range(6),
)
def test_saml_by_post(client, company, idp, door, form):
    provider = company.saml(idp)["provider_id"]
    for headers in (HTML, {}):
        calm(client.post(f"/sso/saml/{provider}/{door}", data=form, headers=headers))


def test_oidc(client, company, op):
    provider = company.oidc(op)["provider_id"]
    for path in (
        "callback?state=%00&code=x",
        "callback?state=" + "x" * 5000,
        "callback?state=x&error=%00",
        "login?login_hint=%00%0D%0A",
        "login?next=/a%0Db",
        "initiate?iss=%00&target_link_uri=%00",
    ):
        calm(client.get(f"/sso/oidc/{provider}/{path}", headers=HTML))
    for token in ("", "a.b.c", "x" * 500_000, "\x00.\x00.\x00", "e30.e30.e30", "bnVsbA.e30.", "W10.W10.W10"):
        answer = client.post(f"/sso/oidc/{provider}/backchannel-logout", data={"logout_token": token})
        assert answer.status_code == 400, token[:20]
