"""Single logout by SAML, both ways; confirming who one is by signing in again."""

from __future__ import annotations

import base64
import zlib
from urllib.parse import parse_qs, urlsplit

import pytest

from app import clock
from app.identity import saml_logout
from app.identity import saml_signature as sig
from app.identity.safe_xml import Refused
from tests.identity.company import HTML, error_of, go_through, me


@pytest.fixture
def provider(company, idp):
    return company.saml(idp)


@pytest.fixture
def signed_in(company, idp, provider, app):
    browser = app.test_client()
    idp.person.email = f"ada@{company.domain}"
    assert error_of(go_through(browser, f"/sso/saml/{provider['provider_id']}/login")) is None
    return browser


def sls(provider):
    return urlsplit(provider["urls"]["sls"]).path


def test_the_provider_ends_our_sessions(company, idp, provider, signed_in, client):
    query = idp.logout_query(provider["urls"]["sls"], idp.person.email)
    answer = client.get(f"{sls(provider)}?{query}", headers=HTML)
    assert answer.status_code == 302 and answer.location.startswith(f"{idp.url}/slo?SAMLResponse=")
    assert me(signed_in) is None
    sent = {k: v[0] for k, v in parse_qs(urlsplit(answer.location).query).items()}
    assert sent["RelayState"] == "there"
    sent = saml_logout.signed_query(urlsplit(answer.location).query)
    assert sent.field == "SAMLResponse"
    sig.check_query(sent.signed, sent.algorithm, sent.signature, [provider["sp_certificate"]])
    again = client.get(f"{sls(provider)}?{query}")
    assert (again.status_code, again.json["code"]) == (403, "SAML_REPLAY")


def test_by_post_with_an_xml_signature(idp, provider, signed_in, client):
    answer = client.post(
        sls(provider), data=idp.logout_form(provider["urls"]["sls"], idp.person.email), headers=HTML
    )
    assert answer.status_code == 302 and me(signed_in) is None


@pytest.mark.parametrize(
    "how", ["unsigned", "other destination", "tampered", "another person", "another session"]
)
def test_logout_requests_that_end_nothing(company, idp, provider, signed_in, client, how):
    address = provider["urls"]["sls"]
    if how == "unsigned":
        query = idp.logout_query(address, idp.person.email, sign=False)
    elif how == "other destination":
        query = idp.logout_query(address.replace("/sls", "/acs"), idp.person.email)
    elif how == "tampered":
        query = idp.logout_query(address, idp.person.email).replace("RelayState=there", "RelayState=else")
    elif how == "another person":
        query = idp.logout_query(address, f"bob@{company.domain}")
    else:
        query = idp.logout_query(address, idp.person.email, ["another"])
    answer = client.get(f"{sls(provider)}?{query}")
    assert answer.status_code == (302 if how.startswith("another") else 403)
    assert me(signed_in) is not None


@pytest.mark.parametrize("how", ["escaped name first", "escaped name last", "answer and request", "twice"])
def test_only_what_was_signed_is_read(company, idp, provider, signed_in, client, how):
    """A part whose name is spelt with escapes is the same to a form parser, but no signature covers it."""
    address = provider["urls"]["sls"]
    good = idp.logout_query(address, f"bob@{company.domain}")
    evil = idp.logout_query(address, idp.person.email, sign=False).split("&")[0]
    assert evil.startswith("SAMLRequest=")
    query = {
        "escaped name first": f"{evil.replace('Request', 'Re%71uest')}&{good}",
        "escaped name last": f"{good}&{evil.replace('Request', 'Re%71uest')}",
        "answer and request": f"{good}&SAMLResponse=x",
        "twice": f"{evil}&{good}",
    }[how]
    answer = client.get(f"{sls(provider)}?{query}")
    assert answer.status_code == (302 if how.startswith("escaped") else 403)
    assert me(signed_in) is not None


def test_a_bomb_in_a_query(idp, provider, client):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(b" " * 50_000_000) + packer.flush()
    with pytest.raises(Refused):
        saml_logout.inflate(base64.b64encode(bomb).decode())


def test_signing_out_here_goes_on_there(idp, provider, signed_in):
    page = signed_in.form("/logout")
    assert page.status_code == 200 and me(signed_in) is None
    import re
    from html import unescape

    address = unescape(re.search(r'url=([^"]+)"', page.text).group(1))
    assert address.startswith(f"{idp.url}/slo?SAMLRequest=")
    query = parse_qs(urlsplit(address).query)
    assert "Signature" in query
    found = idp.server.parse_logout_request(
        query["SAMLRequest"][0], "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
    )
    assert found.message.name_id.text == idp.person.email and found.message.session_index


def test_confirming_by_signing_in_again(company, idp, provider, make, app):
    """What cannot be undone asks for a fresh sign-in of the same person; the request forces it."""
    idp.person.email = company.owner.user.email
    browser = app.test_client()
    go_through(browser, f"/sso/saml/{provider['provider_id']}/login")
    page = browser.get("/confirm?next=/account/", headers=HTML)
    assert page.status_code == 200 and "Sign in again" in page.text
    started = browser.form("/confirm/sso?next=/account/")
    assert started.status_code == 200
    import re
    from html import unescape

    path = unescape(re.search(r'url=([^"]+)"', started.text).group(1))
    landed = go_through(browser, path)
    assert landed.location == "/account/", (landed.status_code, landed.location)
    assert idp.requests[-1][0].force_authn == "true"
    at = make.one(
        "SELECT confirmed_at FROM user_session WHERE user_id = :u ORDER BY id DESC LIMIT 1",
        u=company.owner.user_id,
    )
    assert at is not None and (clock.now() - at).total_seconds() < 60
    idp.person.email = f"eve@{company.domain}"
    started = browser.form("/confirm/sso?next=/account/")
    path = unescape(re.search(r'url=([^"]+)"', started.text).group(1))
    assert error_of(go_through(browser, path)) == "SSO_IDP_REFUSED"


def test_signed_requests(company, idp, app):
    provider = company.saml(idp, sign_requests=True)
    address = app.test_client().get(f"/sso/saml/{provider['provider_id']}/login", headers=HTML).location
    raw = urlsplit(address).query
    sent = saml_logout.signed_query(raw)
    assert sent.field == "SAMLRequest"
    sig.check_query(sent.signed, sent.algorithm, sent.signature, [provider["sp_certificate"]])


def test_our_metadata_says_what_we_want(provider, client):
    text = client.get(urlsplit(provider["urls"]["metadata"]).path).text
    assert 'WantAssertionsSigned="true"' in text and provider["urls"]["acs"] in text
    assert 'use="encryption"' in text and 'use="signing"' in text and "PRIVATE" not in text
    assert client.get("/sso/saml/no-such-provider/metadata").status_code == 404
