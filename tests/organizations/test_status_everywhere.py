"""What a status allows, proven on every route there is: a new one is tested without anyone adding it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.models import OrgStatus, PlatformRole
from app.services import org_status
from tests.factories import unique

WRITES = ("POST", "PUT", "PATCH", "DELETE")
READ_ONLY_BUT_OPEN = {  # what a suspended organisation's people may still send, and why
    "/api/organizations/<org_id>/members/leave": "nobody is kept against their will",
    "/api/organizations/<org_id>/members/bulk": "405 for everybody: members are removed one by one",
    "/api/organizations/<org_id>/checkout/overage-preview": "reads: it computes what a booking would cost",
    "/api/organizations/<org_id>/scim/group-mappings/preview": "reads: it names whose role would change",
}


def rules(app: Any, prefix: str, *, reads: bool = False) -> list[tuple[Any, str]]:
    return [
        (rule, method)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(prefix) and "org_id" in rule.arguments
        for method in sorted(rule.methods or ())
        if (method in WRITES) != reads and method not in ("HEAD", "OPTIONS")
    ]


def address(app: Any, rule: Any, method: str, org: str) -> str:
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
            else str(uuid.UUID(int=7))
        )
    with app.test_request_context():
        return str(app.url_map.bind("console.test").build(rule.endpoint, values, method=method))


def fingerprint(make: Any, org: Any) -> dict[str, str]:
    """Every row of the organisation, in every table, its own included."""
    tables = [
        r[0]
        for r in make.rows(
            "SELECT table_name FROM information_schema.columns WHERE column_name = 'organization_id' "
            "AND table_schema = 'public' ORDER BY 1"
        )
    ]
    found = {
        t: make.one(
            f"SELECT md5(coalesce(string_agg(x::text, ',' ORDER BY x::text), '')) FROM {t} x "
            "WHERE organization_id = :o",
            o=org.id,
        )
        for t in tables
    }
    found["organization"] = make.one("SELECT md5(x::text) FROM organization x WHERE id = :o", o=org.id)
    return found


def test_a_suspended_organisation_is_read_only_on_every_rest_route(app: Any, make: Any, hosting: Any) -> None:
    org = make.org(status=OrgStatus.SUSPENDED, can_host=True, requires_po=True)
    owner, _ = make.member(org), make.member(org)
    headers, client, before = make.bearer(owner), app.test_client(), fingerprint(make, org)
    attacked = 0
    for rule, method in rules(app, "/api/"):
        if rule.rule.rstrip("/") in READ_ONLY_BUT_OPEN:
            continue
        path = address(app, rule, method, org.slug)
        answer = client.open(
            path, method=method, headers={**headers, "Idempotency-Key": unique("k")}, json={}
        )
        assert (answer.status_code, (answer.json or {}).get("code")) == (409, "ORG_NOT_ACTIVE"), (
            f"{method} {rule.rule}: {answer.status_code} {answer.text[:200]}"
        )
        attacked += 1
    assert attacked >= 25
    assert fingerprint(make, org) == before


def test_a_suspended_organisation_is_read_only_on_every_page(app: Any, make: Any, hosting: Any) -> None:
    org = make.org(status=OrgStatus.SUSPENDED, can_host=True, requires_po=True)
    browser = make.sign_in(app.test_client(), make.member(org))
    make.member(org)
    before, attacked = fingerprint(make, org), 0
    for rule, method in rules(app, "/dashboard/organization/"):
        if method != "POST" or rule.rule.endswith("/leave"):
            continue
        path = address(app, rule, method, org.slug)
        answer = browser.form(
            path, {"confirm_word": org.slug, "reason": "x", "message": "x", "name": "Other"}
        )
        assert answer.status_code < 500, path
        attacked += 1
    assert attacked >= 15
    after = fingerprint(make, org)
    assert {t for t in after if after[t] != before[t]} <= {"saved_view"}  # a person's own list settings


def test_leaving_stays_possible(client: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.SUSPENDED)
    make.member(org)
    me = make.member(org, "MANAGER")
    answer = client.post(f"/api/organizations/{org.slug}/members/leave", headers=make.bearer(me))
    assert answer.status_code == 200
    assert make.one("SELECT status FROM membership WHERE id = :i", i=me.id) == "REMOVED"


def test_a_suspended_organisation_is_read_and_takes_nobody_in(client: Any, app: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.SUSPENDED)
    owner = make.bearer(make.member(org))
    for path in ("", "/members", "/invitations", "/billing-account", "/verification"):
        assert client.get(f"/api/organizations/{org.slug}{path}", headers=owner).status_code == 200, path
    browser = make.sign_in(app.test_client(), make.member(org))
    page = browser.get(f"/dashboard/organization/{org.slug}/settings").text
    assert (
        "This organisation is suspended." in page
        and "read-only" in page
        and "Delete organisation" not in page
    )


@pytest.mark.scenario("P-8")
def test_a_deactivated_organisation_is_closed_but_for_admin(app: Any, make: Any, hosting: Any) -> None:
    org = make.org(status=OrgStatus.DEACTIVATED, can_host=True)
    owner = make.bearer(make.member(org))
    admin = make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    client, before = app.test_client(), fingerprint(make, org)
    for rule, method in rules(app, "/api/"):
        path = address(app, rule, method, org.slug)
        answer = client.open(path, method=method, headers=owner, json={})
        assert answer.status_code == 403 and answer.json["code"] == "ORG_DEACTIVATED", path
        answer = client.open(path, method=method, headers={**admin, "Idempotency-Key": unique("k")}, json={})
        reads = rule.rule in READ_ONLY_BUT_OPEN and "reads" in READ_ONLY_BUT_OPEN[rule.rule]
        assert reads or answer.status_code in (403, 404, 405, 409), f"{method} {path} {answer.status_code}"
    for rule, method in rules(app, "/api/", reads=True):
        answer = client.open(address(app, rule, method, org.slug), method=method, headers=owner)
        assert answer.status_code == 403 and answer.json["code"] == "ORG_DEACTIVATED"
    assert client.get(f"/api/organizations/{org.slug}", headers=admin).status_code == 200
    assert fingerprint(make, org) == before


def test_contracts_and_money_wait_for_verification(app: Any, make: Any, hosting: Any) -> None:
    org = make.org(status=OrgStatus.PENDING_VERIFICATION, can_host=True)
    headers, client, before = make.bearer(make.member(org)), app.test_client(), fingerprint(make, org)
    attacked = 0
    for rule, method in rules(app, "/api/"):
        gate = getattr(app.view_functions[rule.endpoint], "_gate", None)
        gate = gate or getattr(getattr(app.view_functions[rule.endpoint], "__wrapped__", None), "_gate", None)
        if gate is None or gate[0] not in org_status.AFTER_VERIFICATION:
            continue
        path = address(app, rule, method, org.slug)
        answer = client.open(
            path, method=method, headers={**headers, "Idempotency-Key": unique("k")}, json={}
        )
        assert (answer.status_code, answer.json["code"]) == (409, "ORG_NOT_VERIFIED"), path
        attacked += 1
    assert attacked >= 5
    assert fingerprint(make, org) == before


@pytest.mark.parametrize(
    ("status", "resource", "verb", "code"),
    [
        ("ACTIVE", "contracts", "write", None),
        ("PENDING_VERIFICATION", "members", "write", None),
        ("PENDING_VERIFICATION", "contracts", "write", "ORG_NOT_VERIFIED"),
        ("PENDING_VERIFICATION", "contracts", "read", None),
        ("SUSPENDED", "members", "read", None),
        ("SUSPENDED", "audit", "export", None),
        ("SUSPENDED", "members", "write", "ORG_NOT_ACTIVE"),
        ("SUSPENDED", "leave", "write", None),
        ("DEACTIVATED", "leave", "write", "ORG_NOT_ACTIVE"),
        ("DEACTIVATED", "members", "read", None),
    ],
)
def test_the_table(status: str, resource: str, verb: str, code: str | None) -> None:
    assert org_status.refusal(status, resource, verb) == code


# ---- hosting's flag --------------------------------------------------------------------------------------------------


def test_host_resources_name_the_flag_over_rest_and_only_to_those_who_may(app: Any, make: Any) -> None:
    from app.security import matrix

    org, sponsor = make.org(can_host=True), make.org()
    owner, learner = make.member(org), make.member(org, "LEARNER")
    client, seen = app.test_client(), 0
    for resource in ("experts",):
        path = f"/api/v1/{resource}/"
        answer = client.get(path, headers=make.bearer(owner, **{"X-Organization": org.slug}))
        if answer.status_code == 404:
            continue
        assert (answer.status_code, answer.json["code"]) == (501, "HOST_ORGS_GATED")
        assert answer.json["details"] == {"flag": "ENABLE_HOST_ORGS"}
        assert "ENABLE_HOST_ORGS" not in answer.json["message"]
        answer = client.get(path, headers=make.bearer(learner, **{"X-Organization": org.slug}))
        assert (answer.status_code, answer.json["code"]) == (403, "INSUFFICIENT_ROLE")
        answer = client.get(
            path, headers=make.bearer(make.member(sponsor), **{"X-Organization": sponsor.slug})
        )
        assert (answer.status_code, answer.json["code"]) == (409, "HOST_CAPABILITY_REQUIRED")
        seen += 1
    with app.test_request_context(), pytest.raises(Exception) as refused:
        from app.api.http import require_hosting

        require_hosting()
    assert refused.value.status == 501 and "experts" in matrix.NEEDS_HOST


def test_pages_show_a_locked_card_that_names_no_variable(app: Any, make: Any) -> None:
    org = make.org(can_host=True)
    browser = make.sign_in(app.test_client(), make.member(org))
    expert = make.sign_in(app.test_client(), make.member(org, "EXPERT"))
    base = f"/dashboard/organization/{org.slug}"
    for rule, _ in rules(app, "/dashboard/organization/<org_id>/", reads=True):
        if rule.rule.rstrip("/").endswith(("/experts", "/my-arrangement", "/earnings", "/payouts")):
            who = expert if "my-arrangement" in rule.rule else browser
            page = who.get(address(app, rule, "GET", org.slug))
            assert page.status_code == 200 and "Hosting is not enabled on this platform yet" in page.text, (
                rule
            )
            assert "ENABLE_HOST_ORGS" not in page.text
    settings = browser.get(f"{base}/settings").text
    assert "Hosting is not enabled on this platform yet" in settings and "ENABLE_HOST_ORGS" not in settings
