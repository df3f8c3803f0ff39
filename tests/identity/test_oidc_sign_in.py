"""Signing in through an OpenID provider that idpyoidc plays."""

from __future__ import annotations

import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.identity.company import HTML, error_of, go_through, landing, me, to_provider


def login(provider, query=""):
    return f"/sso/oidc/{provider['provider_id']}/login{query}"


@pytest.fixture
def provider(company, op):
    return company.oidc(op)


@pytest.fixture
def browser(app):
    return app.test_client()


@pytest.mark.scenario("I-8")
def test_a_new_person_signs_in_once(company, op, provider, browser, make, app):
    email = f"b@{company.domain}"
    op.somebody(email)
    answer = go_through(browser, login(provider, "?next=/dashboard"))
    assert (error_of(answer), answer.location) == (None, "/dashboard"), company.attempts(provider)
    found = me(browser)
    assert found["email"] == email and [m["role"] for m in found["memberships"]] == ["LEARNER"]
    events = make.rows(
        "SELECT payload FROM outbox_message WHERE topic = 'event' AND organization_id = :o", o=company.org.id
    )
    assert [(e.payload["event"], e.payload["data"]["source"]) for e in events] == [
        ("member.added", "sso_jit")
    ]
    op.somebody(email, email_verified=False)
    other = app.test_client()
    refused = go_through(other, login(provider))
    assert error_of(refused) == "SSO_EMAIL_NOT_VERIFIED" and me(other) is None
    op.somebody("c@other.test")
    refused = go_through(other, login(provider), headers={"Accept": "application/json"})
    assert (refused.status_code, refused.json["code"]) == (403, "SSO_EMAIL_DOMAIN_MISMATCH")
    assert make.one("SELECT count(*) FROM ab_user WHERE email = 'c@other.test'") == 0


def test_two_callbacks_at_once_make_one_membership(company, op, provider, app, make):
    """Two browsers finish the first sign-in of one person at the same moment."""
    email = f"twin@{company.domain}"
    op.somebody(email)
    browsers = [app.test_client() for _ in range(2)]
    landings = [landing(to_provider(browser, login(provider))) for browser in browsers]
    answers, gate = [], threading.Barrier(2)

    def finish(i):
        gate.wait()
        answers.append(browsers[i].get(landings[i], headers=HTML))

    threads = [threading.Thread(target=finish, args=(i,)) for i in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert [error_of(a) for a in answers] == [None, None]
    assert [me(b)["email"] for b in browsers] == [email, email]
    user = make.one("SELECT id FROM ab_user WHERE email = :e", e=email)
    assert make.one("SELECT count(*) FROM membership WHERE user_id = :u", u=user) == 1
    assert make.one("SELECT count(*) FROM sso_identity WHERE user_id = :u", u=user) == 1
    assert make.one("SELECT seats_used FROM organization WHERE id = :o", o=company.org.id) == 1


def refused(company, provider, browser, code="OIDC_RESPONSE_INVALID"):
    answer = go_through(browser, login(provider))
    trace = company.attempts(provider)
    assert error_of(answer) == code, (error_of(answer), trace[:1])
    assert me(browser) is None
    return trace[0]["checks"][-1]["message"]


def unsigned(claims, header):
    import base64
    import json

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}."


def hmac_with_the_public_key(op):
    """The oldest trick: sign with the public key as if it were a shared secret."""
    from cryptojwt.jwk.hmac import SYMKey

    def tamper(claims, header):
        return claims, {"alg": "HS256"}, SYMKey(key=str(op.keys()[0].serialize()["n"]))

    return tamper


def foreign_key(claims, header):
    from cryptojwt.jwk.rsa import new_rsa_key

    return claims, header, new_rsa_key(kid=header["kid"], use="sig")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": "+/"}, "issuer"),
        ({"aud": "another client"}, "aud"),
        ({"aud": ["another client", "+client"]}, "azp"),
        ({"azp": "another client"}, "azp"),
        ({"nonce": "stale"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"exp": 1}, "not valid any more"),
        ({"exp": None}, "how long"),
        ({"exp": "soon"}, "exp"),
        ({"iat": None}, "how long"),
        ({"iat": 9_999_999_999}, "not valid yet"),
        ({"nbf": 9_999_999_999}, "not valid yet"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 17}, "sub"),
        ({"email": ["a@b.test"]}, "text"),
        ({"hd": 5}, "text"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "claims"),
    ],
    ids=str,
)
def test_each_claim_of_the_id_token(company, op, provider, browser, change, why):
    op.somebody(f"b@{company.domain}")

    def tamper(claims, header):
        for name, value in change.items():
            if value is None:
                claims.pop(name, None)
            elif value == "+/":
                claims[name] = claims[name] + "/"
            elif isinstance(value, list) and "+client" in value:
                claims[name] = [op.client_id if v == "+client" else v for v in value]
            else:
                claims[name] = value
        return claims, header, None

    op.tamper = tamper
    assert why in refused(company, provider, browser)


@pytest.mark.parametrize("how", ["none", "hmac", "foreign key", "no token"])
def test_signatures(company, op, provider, browser, how):
    op.somebody(f"b@{company.domain}")
    op.tamper = {
        "none": unsigned,
        "hmac": hmac_with_the_public_key(op),
        "foreign key": foreign_key,
        "no token": lambda claims, header: "rubbish",
    }[how]
    refused(company, provider, browser)


def test_keys_that_roll_over_are_found_at_once(company, op, provider, app):
    op.somebody(f"b@{company.domain}")
    assert error_of(go_through(app.test_client(), login(provider))) is None
    op.roll()
    assert error_of(go_through(app.test_client(), login(provider))) is None, company.attempts(provider)[0]
    before = op.calls.count("/jwks.json")
    op.tamper = foreign_key
    for _ in range(3):
        refused(company, provider, app.test_client())
    assert op.calls.count("/jwks.json") == before  # forged tokens do not make us hammer the provider


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"email_verified": False}, "SSO_EMAIL_NOT_VERIFIED"),
        ({"email_verified": "false"}, "SSO_EMAIL_NOT_VERIFIED"),
        ({"email_verified": None}, "SSO_EMAIL_NOT_VERIFIED"),
        ({"email_verified": "true"}, None),
        ({"email_verified": None, "xms_edov": True}, None),
        ({"email_verified": None, "xms_edov": "1"}, None),
        ({"email_verified": None, "xms_edov": 0}, "SSO_EMAIL_NOT_VERIFIED"),
        ({"hd": "other.test"}, "SSO_HOSTED_DOMAIN_MISMATCH"),
        ({"hd": "+domain"}, None),
        ({"email": None}, "SSO_EMAIL_DOMAIN_MISMATCH"),
        ({"email": "b@sub.+domain"}, "SSO_EMAIL_DOMAIN_MISMATCH"),
        ({"email": "b@+domain.evil.test"}, "SSO_EMAIL_DOMAIN_MISMATCH"),
    ],
    ids=str,
)
def test_trust_in_the_address(company, op, provider, browser, claims, code):
    op.somebody(f"b@{company.domain}")
    for name, value in claims.items():
        value = value.replace("+domain", company.domain) if isinstance(value, str) else value
        op.person = {k: v for k, v in {**op.person, name: value}.items() if v is not None}
    op.server.context.userinfo.db = {"somebody": {k: v for k, v in op.person.items() if k != "sub"}}
    assert error_of(go_through(browser, login(provider))) == code, company.attempts(provider)[0]


def test_an_organisation_may_trust_its_domain_instead(company, op, provider, browser, app):
    op.somebody(f"b@{company.domain}", email_verified=False)
    company.api("PATCH", f"/sso/providers/{provider['provider_id']}", {"trust_email": True})
    assert error_of(go_through(browser, login(provider))) is None
    op.somebody("b@other.test", email_verified=False)
    assert error_of(go_through(app.test_client(), login(provider))) == "SSO_EMAIL_DOMAIN_MISMATCH"


def test_google_must_name_the_workspace(company, op, provider, browser, make):
    """Google's issuer without hd: a private account whose address is of the domain."""
    from app.identity import oidc

    op.somebody(f"b@{company.domain}")
    oidc_google = oidc.GOOGLE
    try:
        oidc.GOOGLE = frozenset({op.issuer})
        assert error_of(go_through(browser, login(provider))) == "SSO_HOSTED_DOMAIN_MISMATCH"
    finally:
        oidc.GOOGLE = oidc_google


def test_userinfo_completes_the_id_token(company, op, provider, app):
    op.in_token = False
    op.somebody(f"b@{company.domain}")
    browser = app.test_client()
    assert error_of(go_through(browser, login(provider))) is None, company.attempts(provider)[0]
    assert "/userinfo" in op.calls and me(browser)["email"] == f"b@{company.domain}"
    op.userinfo = lambda found: {**found, "sub": "somebody else"}
    assert "sub" in refused(company, provider, app.test_client())


def test_userinfo_cannot_verify_another_address(company, op, provider, app):
    op.somebody(f"ceo@{company.domain}")
    op.person.pop("email_verified")
    op.server.context.userinfo.db["somebody"].pop("email_verified")
    op.userinfo = lambda found: {**found, "email": f"b@{company.domain}", "email_verified": True}
    refused(company, provider, app.test_client(), "SSO_EMAIL_NOT_VERIFIED")


def test_the_answer_names_its_issuer(company, op, provider, app):
    """RFC 9207: a mixed-up or missing iss; missing is fine only where the provider never promised one."""
    op.somebody(f"b@{company.domain}")
    op.answer = lambda address: address.replace("iss=", "iss=https%3A%2F%2Fevil.example&was=")
    assert "iss" in refused(company, provider, app.test_client())
    op.answer = lambda address: address.replace("iss=", "was=")
    browser = app.test_client()
    assert error_of(go_through(browser, login(provider))) is None
    op.config = lambda found: {**found, "authorization_response_iss_parameter_supported": True}
    company.api(
        "PATCH",
        f"/sso/providers/{provider['provider_id']}",
        {"discovery_url": f"{op.issuer}/.well-known/openid-configuration"},
    )
    assert "iss" in refused(company, provider, app.test_client())


def test_state_is_of_one_browser_and_one_use(company, op, provider, app):
    op.somebody(f"b@{company.domain}")
    browser, stranger = app.test_client(), app.test_client()
    path = landing(to_provider(browser, login(provider)))
    assert error_of(stranger.get(path, headers=HTML)) == "SSO_STATE_EXPIRED" and me(stranger) is None
    assert error_of(browser.get(path, headers=HTML)) == "SSO_STATE_EXPIRED"  # the attempt used it up
    path = landing(to_provider(browser, login(provider)))
    assert error_of(browser.get(path, headers=HTML)) is None
    assert error_of(browser.get(path, headers=HTML)) == "SSO_STATE_EXPIRED"
    assert (
        error_of(browser.get("/sso/oidc/" + provider["provider_id"] + "/callback?code=x", headers=HTML))
        == "SSO_STATE_EXPIRED"
    )


def test_a_refusal_of_the_provider_has_copy(company, op, provider, browser):
    address = to_provider(browser, login(provider))
    state = parse_qs(urlsplit(address).query)["state"][0]
    answer = browser.get(
        f"/sso/oidc/{provider['provider_id']}/callback?state={state}&error=access_denied&error_description=<b>",
        headers=HTML,
    )
    assert error_of(answer) == "SSO_IDP_REFUSED"
    page = browser.get(answer.location)
    assert "did not sign you in" in page.text and "&lt;b&gt;" not in page.text
    assert "access_denied" in company.attempts(provider)[0]["checks"][-1]["message"]


def test_pkce_and_nonce_are_always_there(provider, browser):
    sent = {k: v[0] for k, v in parse_qs(urlsplit(to_provider(browser, login(provider))).query).items()}
    assert sent["code_challenge_method"] == "S256" and len(sent["code_challenge"]) == 43
    assert len(sent["nonce"]) >= 40 and len(sent["state"]) >= 40 and sent["response_type"] == "code"


def test_secrets_rotate_with_both_valid(company, op, provider, app, make):
    op.somebody(f"b@{company.domain}")
    path = f"/sso/providers/{provider['provider_id']}"
    added = company.api("PATCH", path, {"client_secret": "the-next-secret-not-known-yet"}).json[
        "client_secrets"
    ]
    assert len(added) == 2 and "sealed" not in added[0]
    assert error_of(go_through(app.test_client(), login(provider))) is None  # the old one still works
    assert (
        len(company.api("PATCH", path, {"remove_client_secret": added[1]["id"]}).json["client_secrets"]) == 1
    )
    last = company.api("PATCH", path, {"remove_client_secret": added[0]["id"]})
    assert (last.status_code, last.json["code"]) == (409, "LAST_PROVIDER_GUARD")
    kept = make.one(
        "SELECT client_secrets::text FROM sso_provider WHERE provider_id = :p", p=provider["provider_id"]
    )
    assert op.client_secret not in kept and '"sealed": "v1.k2.' in kept


def test_third_party_initiation(company, op, provider, browser):
    path = f"/sso/oidc/{provider['provider_id']}/initiate"
    assert error_of(browser.get(f"{path}?iss={op.issuer}", headers=HTML)) == "IDP_INITIATED_DISABLED"
    company.api("PATCH", f"/sso/providers/{provider['provider_id']}", {"allow_idp_initiated": True})
    assert error_of(browser.get(f"{path}?iss=https://evil.example", headers=HTML)) == "OIDC_RESPONSE_INVALID"
    op.somebody(f"b@{company.domain}")
    answer = go_through(browser, f"{path}?iss={op.issuer}&target_link_uri=http://console.test/dashboard")
    assert answer.location == "/dashboard" and me(browser)["email"] == f"b@{company.domain}"
    answer = go_through(browser, f"{path}?iss={op.issuer}&target_link_uri=https://evil.example/x")
    assert answer.location == "/"


# ---- logout ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def signed_in(company, op, provider, browser):
    op.somebody(f"b@{company.domain}", sid="session-1")
    assert error_of(go_through(browser, login(provider))) is None
    assert me(browser)
    return browser


def post_logout(client, provider, token):
    return client.post(
        f"/sso/oidc/{provider['provider_id']}/backchannel-logout", data={"logout_token": token}
    )


@pytest.mark.parametrize("by", ["sid", "sub"])
def test_back_channel_logout(company, op, provider, client, signed_in, by):
    who = {"sid": "session-1"} if by == "sid" else {"sub": op.person["sub"]}
    token = op.logout_token(**who)
    answer = post_logout(client, provider, token)
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    assert me(signed_in) is None
    assert post_logout(client, provider, token).status_code == 400  # the same token again


@pytest.mark.parametrize(
    "change",
    [
        {"events": {}},
        {"events": None},
        {"nonce": "x"},
        {"aud": "another"},
        {"iss": "https://evil.example"},
        {"iat": 1000},
        {"jti": None},
        {"sub": None, "sid": None},
        {"exp": 1000},
        {"sid": "another session"},
    ],
    ids=str,
)
def test_back_channel_logout_that_ends_nothing(op, provider, client, signed_in, change):
    answer = post_logout(client, provider, op.logout_token(**{"sub": op.person["sub"], **change}))
    assert answer.status_code == (200 if change == {"sid": "another session"} else 400)
    assert me(signed_in) is not None


def test_signing_out_leads_on_to_the_provider(op, provider, signed_in):
    page = signed_in.form("/logout")
    assert page.status_code == 200 and f"{op.issuer}/end?" in page.text and "id_token_hint=" in page.text
    assert "post_logout_redirect_uri=http%3A%2F%2Fconsole.test%2Flogin" in page.text
    assert me(signed_in) is None
