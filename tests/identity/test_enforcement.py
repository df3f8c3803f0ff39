"""Enforcement, break-glass, joining and what a suspension does (chapter 3, 3.1)."""

from __future__ import annotations

import pytest

from app.models import OrgStatus, PlatformRole
from tests.factories import PASSWORD, unique
from tests.identity.company import (
    HTML,
    Company,
    error_of,
    go_through,
    me,
    sign_in_with_password,
)
from tests.identity.peers.saml_idp import key_pair


@pytest.fixture
def browser(app):
    return app.test_client()


def login(provider):
    return f"/sso/{provider['protocol'].lower()}/{provider['provider_id']}/login"


def person(idp):
    def sit(email):
        idp.person.email = email

    return sit


@pytest.fixture
def ready(company, idp, browser):
    """A company whose owner proved its provider."""
    provider = company.saml(idp)
    company.prove(provider, browser, person(idp))
    return company, provider


@pytest.fixture
def enforced(ready):
    company, provider = ready
    company.enforce()
    return company, provider


def colleague(company, role="LEARNER", name="a"):
    return company.make.member(
        company.org, role, user=company.make.user(f"{unique(name)}@{company.domain}", name="Asha Rao")
    )


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("I-1")
def test_joiners_become_learners_and_only_owners_decide(company):
    refused = company.patch(default_role_for_auto_join="OWNER")
    assert (refused.status_code, refused.json["code"]) == (400, "INVALID_DEFAULT_ROLE")
    other = company.make.member(company.org, "MAINTAINER")
    answer = company.api("PATCH", "/sso", {"expected_version": 1}, headers=company.make.bearer(other))
    assert (answer.status_code, answer.json["code"]) == (403, "OWNER_REQUIRED")
    assert company.api("GET", "/sso", headers=company.make.bearer(other)).status_code == 200
    assert company.api("GET", "/sso").json["version"] == 1


def test_a_stale_version_loses(company):
    assert company.patch(allowed_email_domains=[company.domain]).status_code == 200
    stale = company.api("PATCH", "/sso", {"expected_version": 1, "allowed_email_domains": []})
    assert (stale.status_code, stale.json["code"]) == (409, "VERSION_CONFLICT")
    assert company.api("PATCH", "/sso", {"allowed_email_domains": []}).status_code == 400


def test_allowed_domains_are_ones_own_and_verified(company):
    assert company.patch(allowed_email_domains=["gmail.com"]).json["code"] == "DOMAIN_NOT_OWNED"
    company.api("POST", "/domain-claims", {"domain": f"{unique('p')}.test"})
    pending = company.api("GET", "/domain-claims").json["domain_claims"][-1]["domain"]
    assert company.patch(allowed_email_domains=[pending]).json["code"] == "DOMAIN_NOT_VERIFIED"


# ---- providers ------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("I-4")
def test_providers_need_a_verified_domain_and_a_certificate(company, idp):
    def make(**values):
        return company.api(
            "POST",
            "/sso/providers",
            {
                "provider_id": unique("p"),
                "protocol": "SAML",
                "domain": company.domain,
                "idp_entity_id": "https://idp.test",
                "sso_url": "https://idp.test/sso",
                "certificates": [idp.certificate],
                **values,
            },
        )

    unclaimed = make(domain=f"{unique('no')}.test")
    assert (unclaimed.status_code, unclaimed.json["code"]) == (422, "DOMAIN_NOT_OWNED")
    pending = f"{unique('pend')}.test"
    company.api("POST", "/domain-claims", {"domain": pending})
    answer = make(domain=pending)
    assert (answer.status_code, answer.json["code"]) == (422, "DOMAIN_NOT_VERIFIED")
    answer = make(certificates=["abc"])
    assert (answer.status_code, answer.json["code"]) == (400, "INVALID_X509_CERT")
    for bad in (key_pair("old", days=-1)[1], key_pair("short", size=1024)[1]):
        assert make(certificates=[bad]).json["code"] == "INVALID_X509_CERT"
    assert make(provider_id="google").json["code"] == "PROVIDERID_RESERVED"
    assert make(provider_id="Not_Fine").json["code"] == "VALIDATION_FAILED"
    first = make()
    assert first.status_code == 201 and first.json["urls"]["acs"].endswith(
        f"/{first.json['provider_id']}/acs"
    )
    second = make()
    assert (second.status_code, second.json["code"]) == (409, "DOMAIN_ALREADY_REGISTERED")
    other = Company(company.make, company.client)
    taken = other.api(
        "POST",
        "/sso/providers",
        {
            "provider_id": first.json["provider_id"],
            "protocol": "SAML",
            "domain": other.domain,
            "metadata_xml": idp.metadata(),
        },
    )
    assert (taken.status_code, taken.json["code"]) == (409, "PROVIDERID_TAKEN")
    assert len(company.api("GET", "/sso/providers").json["providers"]) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<a/>", "no SAML metadata"),
        ("<!DOCTYPE a><a/>", "document type"),
        ("rubbish", "well-formed"),
        ("x" * 530_000, "larger"),
    ],
)
def test_metadata_that_cannot_be_read(company, text, why):
    answer = company.api(
        "POST",
        "/sso/providers",
        {"provider_id": unique("p"), "protocol": "SAML", "domain": company.domain, "metadata_xml": text},
    )
    assert (answer.status_code, answer.json["code"]) == (400, "SAML_METADATA_INVALID")
    assert why in answer.json["message"]


def test_metadata_by_address_is_read_again_every_day(company, idp, run):
    provider = company.saml(idp, metadata_xml="", metadata_url=f"{idp.url}/metadata")
    assert provider["idp_entity_id"] == idp.entity_id and len(provider["certificates"]) == 1
    with company.make.owner.begin() as connection:
        from sqlalchemy import text

        connection.execute(
            text("UPDATE sso_provider SET sso_url = 'https://old.test' WHERE provider_id = :p"),
            {"p": provider["provider_id"]},
        )
    assert run("refresh_sso_metadata")["read"] >= 1
    assert company.provider_row(provider).sso_url == f"{idp.url}/sso"
    blocked = company.api(
        "PATCH",
        f"/sso/providers/{provider['provider_id']}",
        {"metadata_url": "https://169.254.169.254/latest"},
    )
    assert (blocked.status_code, blocked.json["code"]) == (400, "SAML_METADATA_INVALID")


def test_certificates_overlap(company, idp, app):
    provider = company.saml(idp)
    path = f"/sso/providers/{provider['provider_id']}"
    _, second = key_pair("next")
    both = company.api("PATCH", path, {"add_certificate": second}).json["certificates"]
    assert len(both) == 2
    idp.person.email = f"ada@{company.domain}"
    assert error_of(go_through(app.test_client(), login(provider))) is None
    old = provider["certificates"][0]["fingerprint"]
    assert len(company.api("PATCH", path, {"remove_certificate": old}).json["certificates"]) == 1
    assert error_of(go_through(app.test_client(), login(provider))) == "SAML_ASSERTION_INVALID"


def test_without_a_key_nothing_is_written(company, op, app):
    import dataclasses

    before = app.config["SETTINGS"]
    app.config["SETTINGS"] = dataclasses.replace(before, auth_config_encryption_key="")
    try:
        answer = company.api(
            "POST",
            "/sso/providers",
            {
                "provider_id": unique("p"),
                "protocol": "OIDC",
                "domain": company.domain,
                "issuer": op.issuer,
                "client_id": "c",
                "client_secret": "s",
            },
        )
    finally:
        app.config["SETTINGS"] = before
    assert (answer.status_code, answer.json["code"]) == (500, "SSO_ENCRYPTION_KEY_MISSING")
    assert company.api("GET", "/sso/providers").json["providers"] == []


def test_an_issuer_must_be_exact(company, op):
    answer = company.api(
        "POST",
        "/sso/providers",
        {
            "provider_id": unique("p"),
            "protocol": "OIDC",
            "domain": company.domain,
            "issuer": op.issuer + "/",
            "client_id": "c",
            "client_secret": "s",
        },
    )
    assert (answer.status_code, answer.json["code"]) == (422, "OIDC_DISCOVERY_FAILED")


def test_checks_without_a_person(company, idp):
    provider = company.saml(idp)
    path = f"/sso/providers/{provider['provider_id']}/test"
    found = company.api("POST", path).json
    assert found["ok"] is True and {"Certificate", "Domain"} <= {c["name"] for c in found["checks"]}
    statuses = [company.api("POST", path).status_code for _ in range(10)]
    assert statuses == [200] * 9 + [429]


# ---- enforcement ----------------------------------------------------------------------------------------------------


@pytest.mark.scenario("I-5")
def test_prove_before_enforce_and_passwords_end(company, idp, app, browser, make):
    provider = company.saml(idp)
    a = colleague(company)
    refused = company.patch(enforce_sso=True)
    assert (refused.status_code, refused.json["code"]) == (409, "SSO_NOT_PROVEN")
    idp.person.email = a.user.email
    linked = app.test_client()
    assert error_of(go_through(linked, login(provider))) is None
    assert (
        company.patch(enforce_sso=True).json["code"] == "SSO_NOT_PROVEN"
    )  # a sign-in proves nothing; an owner's test does
    landed = company.prove(provider, browser, person(idp))
    assert landed.location.endswith(f"/sso/providers/{provider['provider_id']}") and me(browser) is None
    done = company.enforce()
    assert len(done.json["recovery_codes"]) == 10
    answer = sign_in_with_password(app.test_client(), a.user.email)
    assert (answer.status_code, answer.json["code"]) == (403, "SSO_REQUIRED")
    assert answer.json["details"]["sign_in_url"] == login(provider)
    assert "Set-Cookie" not in answer.headers
    page = app.test_client()
    page.get("/login")
    shown = page.form("/login", {"email": a.user.email, "password": PASSWORD})
    assert shown.status_code == 403 and login(provider) in shown.text and me(page) is None
    assert me(linked) is not None  # this session came through the provider


def test_switching_on_ends_other_sessions_but_not_the_owners(ready, make):
    company, _ = ready
    a, guest = colleague(company), make.member(company.org, "MANAGER")  # the guest's domain is not covered
    tokens = [make.bearer(a), make.bearer(guest), make.bearer(make.user(f"x@{company.domain}"))]
    done = company.enforce()
    assert done.json["sessions_ended"] >= 2
    statuses = [company.client.get("/api/v1/security/me", headers=t).status_code for t in tokens]
    assert statuses == [401, 200, 401]
    assert company.api("GET", "/sso").status_code == 200


@pytest.mark.parametrize("door", ["sign-up", "reset", "bearer"])
def test_no_other_door_is_open(enforced, app, make, door):
    company, _ = enforced
    browser = app.test_client()
    if door == "bearer":
        answer = sign_in_with_password(browser, colleague(company).user.email)
        assert answer.status_code == 403
        return
    if door == "sign-up":
        email = f"{unique('new')}@{company.domain}"
        browser.get("/signup")
        answer = browser.form("/signup", {"email": email, "password": PASSWORD, "name": "New Person"})
        assert answer.status_code == 403
        assert make.one("SELECT count(*) FROM ab_user WHERE email = :e", e=email) == 0
    else:
        a = colleague(company)
        from app.services import users

        with make.session() as session:
            users.request_reset(session, a.user.email)
        path = make.one(
            "SELECT payload->'values'->>'path' FROM outbox_message WHERE payload->>'to' = :e ORDER BY id DESC",
            e=a.user.email,
        )
        answer = browser.form(path, {"password": "Another-Horse-10"})
        assert answer.status_code == 403 and "Continue with single sign-on" in answer.text
    assert me(browser) is None


def test_platform_people_and_other_domains_are_free(enforced, make, app):
    company, _ = enforced
    staff = make.user(f"{unique('staff')}@{company.domain}", platform_role=PlatformRole.STAFF)
    guest = make.member(company.org, "MANAGER")
    for who in (staff, guest.user):
        assert sign_in_with_password(app.test_client(), who.email).status_code == 200


def test_platform_people_never_link(company, idp, browser, make):
    provider = company.saml(idp)
    staff = make.user(f"{unique('staff')}@{company.domain}", platform_role=PlatformRole.ADMIN)
    idp.person.email = staff.email
    assert error_of(go_through(browser, login(provider))) == "SSO_PLATFORM_ACCOUNT" and me(browser) is None


def test_without_a_usable_provider_it_fails_open(enforced, app, travel, make):
    company, _ = enforced
    a = colleague(company)
    assert sign_in_with_password(app.test_client(), a.user.email).status_code == 403
    travel(days=366)  # the only certificate has expired
    assert sign_in_with_password(app.test_client(), a.user.email).status_code == 200


def test_guards_of_the_last_way_in(enforced):
    company, provider = enforced
    path = f"/sso/providers/{provider['provider_id']}"
    print_ = provider["certificates"][0]["fingerprint"]
    for answer in (
        company.api("DELETE", path),
        company.api("PATCH", path, {"enabled": False}),
        company.api("PATCH", path, {"remove_certificate": print_}),
    ):
        assert (answer.status_code, answer.json["code"]) == (409, "LAST_PROVIDER_GUARD")
    answer = company.api("DELETE", f"/domain-claims/{company.domain}")
    assert (answer.status_code, answer.json["code"]) == (409, "LAST_DOMAIN_GUARD")
    found = company.api("GET", path).json
    assert found["enabled"] and len(found["certificates"]) == 1
    assert company.patch(enforce_sso=False).status_code == 200
    assert company.api("DELETE", path).status_code == 204


def test_enforced_sessions_last_a_day(enforced, idp, app, travel):
    company, provider = enforced
    browser = app.test_client()
    idp.person.email = f"ada@{company.domain}"
    assert error_of(go_through(browser, login(provider))) is None
    travel(seconds=23.9 * 3600)
    assert me(browser) is not None
    travel(seconds=24.1 * 3600)
    assert me(browser) is None


# ---- break-glass ----------------------------------------------------------------------------------------------------


@pytest.mark.scenario("I-6")
@pytest.mark.scenario("I-40")
def test_break_glass(ready, app, travel, make):
    company, _ = ready
    a = colleague(company)
    early = company.api("POST", "/sso/break-glass", {"hours": 1, "reason": "IdP down"})
    assert (early.status_code, early.json["code"]) == (404, "SSO_NOT_ENFORCED")
    company.enforce()
    too_long = company.api("POST", "/sso/break-glass", {"hours": 73, "reason": "IdP down"})
    assert too_long.status_code == 400
    assert company.api("POST", "/sso/break-glass", {"hours": 1, "reason": "no"}).status_code == 400
    assert sign_in_with_password(app.test_client(), a.user.email).status_code == 403
    opened = company.api("POST", "/sso/break-glass", {"hours": 1, "reason": "IdP down"})
    assert opened.status_code == 200 and opened.json["break_glass"]["open"] is True
    inside = sign_in_with_password(app.test_client(), a.user.email)
    assert inside.status_code == 200
    token = {"Authorization": f"Bearer {inside.json['access_token']}"}
    assert company.client.get("/api/v1/security/me", headers=token).status_code == 200
    mailed = make.rows(
        "SELECT payload->>'to' AS address FROM outbox_message WHERE organization_id = :o"
        " AND payload->>'template' = 'sso_break_glass_opened'",
        o=company.org.id,
    )
    assert [m.address for m in mailed] == [company.owner.user.email]
    travel(seconds=3601)
    assert sign_in_with_password(app.test_client(), a.user.email).status_code == 403
    late = company.client.get("/api/v1/security/me", headers=token)
    assert (late.status_code, late.json["code"]) == (403, "SSO_REQUIRED")


def test_break_glass_mail_ignores_what_an_owner_wants_to_hear(enforced, make):
    company, _ = enforced
    from app.models import NotificationRouting, OrgWorkspaceProfile

    make.add(
        OrgWorkspaceProfile(
            user_id=company.owner.user_id, notification_routing_mode=NotificationRouting.NEITHER
        )
    )
    company.api("POST", "/sso/break-glass", {"reason": "IdP down"})
    assert make.one(
        "SELECT count(*) FROM outbox_message WHERE payload->>'to' = :e AND payload->>'template' = 'sso_break_glass_opened'",
        e=company.owner.user.email,
    )


def test_closing_ends_what_came_in(enforced, app):
    company, _ = enforced
    a = colleague(company)
    company.api("POST", "/sso/break-glass", {"reason": "IdP down"})
    token = sign_in_with_password(app.test_client(), a.user.email).json["access_token"]
    assert company.api("DELETE", "/sso/break-glass").status_code == 200
    answer = company.client.get("/api/v1/security/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (401, 403)
    assert company.api("DELETE", "/sso/break-glass").json["code"] == "SSO_NOT_ENFORCED"


def test_a_recovery_code_opens_it_signed_out_once(ready, app, make):
    company, _ = ready
    codes = company.enforce().json["recovery_codes"]
    client = app.test_client()

    def use(code, email=None, reason="The provider is down"):
        return client.post(
            "/api/auth/sso/break-glass",
            json={"email": email or company.owner.user.email, "recovery_code": code, "reason": reason},
        )

    assert use("AAAA-BBBB-CCCC-DDDD").status_code == 401
    assert use(codes[0], email=colleague(company).user.email).status_code == 401
    assert use(codes[0], reason="no").status_code == 400
    assert use(codes[0].lower().replace("-", " ")).status_code == 200
    assert use(codes[0]).status_code == 401
    assert sign_in_with_password(client, company.owner.user.email).status_code == 200
    kept = make.rows("SELECT code_hash FROM sso_recovery_code WHERE organization_id = :o", o=company.org.id)
    assert len(kept) == 10 and codes[1] not in {k.code_hash for k in kept}


def test_the_platform_opens_it(enforced, app, make):
    company, _ = enforced
    path = f"/api/admin/organizations/{company.org.public_id}/sso/break-glass"
    staff = make.bearer(make.user(platform_role=PlatformRole.STAFF))
    assert app.test_client().post(path, json={"reason": "asked by phone"}, headers=staff).status_code == 403
    admin = make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    answer = app.test_client().post(path, json={"hours": 2, "reason": "asked by phone"}, headers=admin)
    assert answer.status_code == 200 and answer.json["break_glass"]["open"]
    row = make.rows(
        "SELECT actor_type FROM org_audit_log WHERE organization_id = :o AND action = 'SSO_BREAK_GLASS_OPENED'",
        o=company.org.id,
    )[0]
    assert row.actor_type == "ADMIN"


# ---- before signing in ----------------------------------------------------------------------------------------------


@pytest.mark.scenario("I-7")
def test_domain_check(enforced, client, make):
    company, provider = enforced

    def ask(email):
        return client.get("/api/auth/sso/domain-check", query_string={"email": email})

    for email in ("x@nobody.test", "", "rubbish", "a@b@", "\x00@x.test", "x@gmail.com"):
        assert (ask(email).status_code, ask(email).json) == (200, {"enforce_sso": False})
    found = ask(f"A@{company.domain.upper()}").json
    assert found == {
        "enforce_sso": True,
        "sso_available": True,
        "organization_name": company.org.name,
        "provider_id": provider["provider_id"],
        "sign_in_url": login(provider),
    }
    from sqlalchemy import text

    with make.owner.begin() as connection:
        connection.execute(
            text("UPDATE sso_certificate SET pem = 'abc' WHERE organization_id = :o"), {"o": company.org.id}
        )
    broken = ask(f"a@{company.domain}")
    assert (broken.status_code, broken.json["code"]) == (422, "SSO_PROVIDER_MISCONFIGURED")
    statuses = [ask("x@nobody.test").status_code for _ in range(60)]
    assert statuses[-1] == 429 and 429 not in statuses[:46]


# ---- joining --------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("I-10")
def test_a_suspension_signs_out_and_single_sign_on_does_not_revive(company, idp, app):
    provider = company.saml(idp)
    browser = app.test_client()
    idp.person.email = f"b@{company.domain}"
    assert error_of(go_through(browser, login(provider))) is None
    member = next(m for m in company.api("GET", "/members").json["members"] if m["email"] == idp.person.email)
    done = company.api("PATCH", f"/members/{member['id']}", {"status": "SUSPENDED"})
    assert done.status_code == 200, done.json
    assert browser.get("/api/v1/security/me").status_code == 401
    assert error_of(go_through(browser, login(provider))) is None
    assert [m["status"] for m in me(browser)["memberships"]] == ["SUSPENDED"]


def test_an_invitation_waiting_is_accepted_with_its_role(company, idp, app, make):
    provider = company.saml(idp)
    email = f"boss@{company.domain}"
    sent = company.api("POST", "/invitations", {"email": email, "role": "MANAGER"})
    assert sent.status_code == 201, sent.json
    idp.person.email = email
    browser = app.test_client()
    go_through(browser, login(provider))
    assert [m["role"] for m in me(browser)["memberships"]] == ["MANAGER"]
    assert make.one("SELECT status FROM invitation WHERE email = :e", e=email) == "ACCEPTED"


@pytest.mark.parametrize("why", ["seats", "suspended", "outside scope"])
def test_who_cannot_join_is_signed_in_all_the_same(company, idp, app, make, why):
    provider = company.saml(idp)
    from sqlalchemy import text

    with make.owner.begin() as connection:
        if why == "seats":
            connection.execute(
                text("UPDATE organization SET seats_total = 0 WHERE id = :o"), {"o": company.org.id}
            )
        elif why == "suspended":
            connection.execute(
                text("UPDATE organization SET status = :s WHERE id = :o"),
                {"s": OrgStatus.SUSPENDED.value, "o": company.org.id},
            )
    if why == "outside scope":
        from app import clock
        from app.models import DomainClaim

        other = f"{unique('other')}.test"
        make.add(
            DomainClaim(
                organization_id=company.org.id,
                domain=other,
                verification_token="t",
                claimed_at=clock.now(),
                verified_at=clock.now(),
            )
        )
        assert company.patch(allowed_email_domains=[other]).status_code == 200
    idp.person.email = f"late@{company.domain}"
    browser = app.test_client()
    assert error_of(go_through(browser, login(provider))) is None
    assert me(browser)["memberships"] == []
    warned = make.one(
        "SELECT count(*) FROM system_event WHERE category = 'sso' AND severity = 'WARN' AND organization_id = :o",
        o=company.org.id,
    )
    assert warned == (0 if why == "outside scope" else 1)
    if why == "seats":
        with make.owner.begin() as connection:
            connection.execute(
                text("UPDATE organization SET seats_total = NULL WHERE id = :o"), {"o": company.org.id}
            )
        go_through(browser, login(provider))
        assert [m["role"] for m in me(browser)["memberships"]] == ["LEARNER"]


def test_one_subject_one_person(company, idp, app):
    provider = company.saml(idp)
    idp.person.email = idp.person.name_id = f"one@{company.domain}"
    assert error_of(go_through(app.test_client(), login(provider))) is None
    idp.person.name_id = f"other@{company.domain}"  # another subject claims the same address
    assert error_of(go_through(app.test_client(), login(provider))) == "SSO_ACCOUNT_ALREADY_LINKED"


def test_an_account_somebody_else_prepared_is_emptied(company, idp, app, make):
    """Somebody signed up with an address that is not theirs and waits for its owner to come."""
    from sqlalchemy import text

    provider = company.saml(idp)
    victim = make.user(f"victim@{company.domain}")
    with make.owner.begin() as connection:
        connection.execute(
            text("UPDATE ab_user SET email_verified_at = NULL WHERE id = :i"), {"i": victim.id}
        )
    attacker = make.bearer(victim)
    idp.person.email = victim.email
    browser = app.test_client()
    assert error_of(go_through(browser, login(provider))) is None and me(browser)["email"] == victim.email
    assert app.test_client().get("/api/v1/security/me", headers=attacker).status_code == 401
    assert sign_in_with_password(app.test_client(), victim.email).status_code == 401


# ---- lapse ----------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("I-11")
def test_a_lapsed_domain_lets_passwords_in(enforced, app, zone, run, travel, make):
    company, _ = enforced
    a = colleague(company)
    token = make.one("SELECT verification_token FROM domain_claim WHERE domain = :d", d=company.domain)
    zone.publish(f"_consilium-verify.{company.domain}", f"consilium-verify={token}")
    run("reverify_domains")
    zone.txt.clear()
    for day in range(1, 15):
        travel(days=day)
        run("reverify_domains")
        if day in (13, 14):
            answer = sign_in_with_password(app.test_client(), a.user.email)
            assert answer.status_code == (403 if day == 13 else 200)


# ---- expiry ---------------------------------------------------------------------------------------------------------


def test_certificates_about_to_end_are_told(company, idp, run, travel, make):
    provider = company.saml(idp)

    def told():
        rows = make.rows(
            "SELECT details->>'level' AS level FROM org_audit_log WHERE organization_id = :o"
            " AND action = 'SSO_CERT_EXPIRING' ORDER BY id",
            o=company.org.id,
        )
        return [r.level for r in rows]

    run("sso_cert_expiry")
    assert told() == []
    travel(days=336)
    run("sso_cert_expiry")
    run("sso_cert_expiry")
    assert told() == ["WARN"]
    travel(days=336, seconds=20 * 3600 + 60)
    run("sso_cert_expiry")
    assert told() == ["WARN", "WARN"]
    travel(days=359)
    run("sso_cert_expiry")
    travel(days=366)
    run("sso_cert_expiry")
    assert told() == ["WARN", "WARN", "CRITICAL", "EXPIRED"]
    assert (
        company.api(
            "GET", f"/sso/providers/{provider['provider_id']}", headers=make.bearer(company.owner)
        ).json["certificates"][0]["level"]
        == "EXPIRED"
    )
    mails = make.one(
        "SELECT count(*) FROM outbox_message WHERE organization_id = :o"
        " AND payload->>'template' = 'sso_certificate_expiring'",
        o=company.org.id,
    )
    assert mails == 3  # one for each threshold; the bell rings again
    bells = make.one(
        "SELECT count(*) FROM notification WHERE user_id = :u AND kind = 'sso_certificate_expiring'",
        u=company.owner.user_id,
    )
    assert bells == 4


def test_sso_limits(client, company, idp):
    provider = company.saml(idp)
    statuses = [client.get(login(provider), headers=HTML).status_code for _ in range(31)]
    assert statuses[:30] == [302] * 30
    limited = client.get(login(provider), headers=HTML)
    assert limited.status_code == 429 and int(limited.headers["Retry-After"]) > 0
