"""Every registered route, now and later, is attacked without anyone adding it.

A route that takes an organisation refuses the signed-out, the outsider and the unknown organisation alike; a route of
the platform refuses members; a route without a guard is on the list below, with its reason, or the test fails.
"""

from __future__ import annotations

import uuid

import pytest

from app.models import PlatformRole

UNGUARDED = {  # endpoint prefix: why nobody needs to be signed in
    "static": "files",
    "appbuilder.static": "files",
    "healthz": "probe",
    "readyz": "probe",
    "version": "probe",
    "metrics": "scraped inside the network",
    "csp_report": "sent by browsers without a session",
    "set_clock": "test only",
    "set_flags": "test only",
    "outbox": "test only",
    "set_fault": "test only",
    "AuthView.": "the doors themselves",
    "SandboxPage.": "the provider's page: whoever holds the order's address may pay it",
    "SandboxMandatePage.": "the provider's page: whoever holds the mandate's address may give it",
    "RazorpayPage.": "before the provider's page: whoever holds the order's address may pay it",
    "RazorpayReturn.": "the provider's form; its signature is the identity, and it only redirects",
    "SessionApi.login": "the door for scripts",
    "SsoDoorApi.": "before signing in: how an address signs in, and an owner's recovery code",
    "SsoStart.": "before signing in: from an address to its identity provider",
    "SsoSetupPage.": "the link's secret is the identity; tests/identity/test_setup_link.py attacks it",
    "ConsoleIndexView.index": "redirects",
    "HostsApi.": "the public directory (chapter 1, 1.2): hosts that chose to be listed, safe columns only",
    "HostsPage.": "the public directory, as pages",
}


def rules(app, method=None):
    for rule in app.url_map.iter_rules():
        if method is None or method in rule.methods:
            yield rule


def path_of(app, rule, org):
    """A concrete path: the organisation's slug, and values that fit the converters but name nothing."""
    values = {}
    for name in rule.arguments:
        kind = type(rule._converters[name]).__name__
        values[name] = (
            org
            if name == "org_id"
            else uuid.UUID(int=7)
            if kind == "UUIDConverter"
            else 7
            if kind == "IntegerConverter"
            else sorted(rule._converters[name].items)[0]
            if kind == "AnyConverter"
            else str(uuid.UUID(int=7))
        )
    with app.test_request_context():
        return app.url_map.bind("console.test").build(rule.endpoint, values, method=sorted(rule.methods)[0])


def org_rules(app):
    return [
        (r, m) for r in rules(app) if "org_id" in r.arguments for m in sorted(r.methods - {"HEAD", "OPTIONS"})
    ]


def admin_rules(app):
    return [
        (r, m)
        for r in rules(app)
        if r.rule.startswith(("/admin", "/api/admin"))
        for m in sorted(r.methods - {"HEAD", "OPTIONS"})
    ]


def test_there_is_something_to_attack(app):
    assert len(org_rules(app)) > 30 and len(admin_rules(app)) > 10


def test_outsiders_and_unknown_organisations_are_refused_on_every_route(app, make):
    org = make.org(name="Zebra Confidential")
    make.member(org)
    outsider = make.sign_in(app.test_client(), make.member(make.org()))
    headers = make.bearer(make.member(make.org()))
    api = app.test_client()
    for rule, method in org_rules(app):
        for target in (org.slug, str(org.public_id), "no-such-organisation"):
            path = path_of(app, rule, target)
            if rule.rule.startswith("/api/"):
                response = api.open(path, method=method, headers=headers, json={})
                assert response.status_code == 403 and response.json["code"] == "NOT_A_MEMBER", (
                    f"{method} {path}"
                )
            elif method == "POST":
                response = outsider.form(path)
                assert response.status_code == 403, f"{method} {path} answers {response.status_code}"
            else:
                response = outsider.open(path, method=method)
                assert response.status_code in (403, 404), f"{method} {path} answers {response.status_code}"
            assert "Zebra Confidential" not in response.text


def test_the_signed_out_are_sent_away_from_every_organisation_route(app, make):
    org = make.org(name="Zebra Confidential")
    client = app.test_client()
    for rule, method in org_rules(app):
        path = path_of(app, rule, org.slug)
        if rule.rule.startswith("/api/"):
            assert client.open(path, method=method, json={}).status_code == 401, f"{method} {path}"
        else:
            response = client.form(path) if method == "POST" else client.open(path, method=method)
            assert response.status_code in (302, 401, 403, 404), (
                f"{method} {path} answers {response.status_code}"
            )
            assert "Zebra" not in response.text


def test_removed_members_lose_every_route_at_once(app, make):
    org = make.org()
    member = make.member(org, "OWNER")
    make.member(org, "OWNER")
    headers, client = make.bearer(member), app.test_client()
    assert client.get(f"/api/organizations/{org.slug}", headers=headers).status_code == 200
    with make.session() as s:
        s.get(type(member), member.id).status = "REMOVED"
    for rule, method in org_rules(app):
        if rule.rule.startswith("/api/"):
            assert (
                client.open(path_of(app, rule, org.slug), method=method, headers=headers, json={}).status_code
                == 403
            )


def test_members_never_reach_the_platform_rooms(app, make):
    member = make.member(make.org())
    headers, client = make.bearer(member), make.sign_in(app.test_client(), member)
    api = app.test_client()
    for rule, method in admin_rules(app):
        path = path_of(app, rule, "x")
        if rule.rule.startswith("/api/"):
            assert api.open(path, method=method, headers=headers, json={}).status_code == 403, (
                f"{method} {path}"
            )
        else:
            response = client.form(path) if method == "POST" else client.open(path, method=method)
            assert response.status_code in (302, 403, 404), f"{method} {path} answers {response.status_code}"
            if response.status_code == 302:
                assert "/admin" not in response.location


@pytest.mark.scenario("P-13")
def test_staff_has_no_bypass_and_admin_does(app, make):
    org = make.org()
    staff, admin = (make.bearer(make.user(platform_role=r)) for r in (PlatformRole.STAFF, PlatformRole.ADMIN))
    client = app.test_client()
    refused = client.get(f"/api/organizations/{org.public_id}", headers=staff)
    assert refused.status_code == 403 and refused.json["code"] == "NOT_A_MEMBER"
    assert client.get(f"/api/organizations/{org.public_id}", headers=admin).status_code == 200


def test_nobody_signed_out_gets_an_answer_that_is_not_on_the_list(app):
    """Whatever guards a route, the anonymous get a redirect or a refusal, never a page."""
    client, open_to_all = app.test_client(), []
    for rule in rules(app):
        if any(rule.endpoint == e or (e.endswith(".") and rule.endpoint.startswith(e)) for e in UNGUARDED):
            continue
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            path = path_of(app, rule, "anything")
            api = rule.rule.startswith(("/api/", "/webhooks/"))
            response = (
                client.open(path, method=method, json={}) if api or method != "POST" else client.form(path)
            )
            if response.status_code < 300 or response.status_code >= 500:
                open_to_all.append(f"{method} {rule.rule} ({rule.endpoint}): {response.status_code}")
    assert open_to_all == [], "guard these routes or say in UNGUARDED why they are open"
