"""Who may change which field, and the optimistic version (chapter 1, 1.2)."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import DomainError
from app.services import pan
from tests.factories import unique

API = "/api/organizations"


def name_of(make: Any, org: Any) -> str:
    return str(make.one("SELECT name FROM organization WHERE id = :o", o=org.id))


@pytest.mark.scenario("P-9")
def test_one_forbidden_field_rejects_the_request(client: Any, make: Any) -> None:
    org = make.org(name="Before")
    maintainer, billing = make.member(org, "MAINTAINER"), make.member(org, "BILLING_ADMIN")
    answer = client.patch(
        f"{API}/{org.slug}",
        json={"name": "After", "billing_email": "pay@x.in"},
        headers=make.bearer(maintainer),
    )
    assert (answer.status_code, answer.json["code"]) == (403, "FIELD_RBAC_FORBIDDEN")
    assert answer.json["details"]["fields"] == ["billing_email"] and name_of(make, org) == "Before"
    answer = client.patch(
        f"{API}/{org.slug}", json={"billing_email": "Pay@X.in"}, headers=make.bearer(billing)
    )
    assert answer.status_code == 200 and answer.json["organization"]["billing_email"] == "pay@x.in"
    audit = make.rows(
        "SELECT action, category, details FROM org_audit_log WHERE organization_id = :o", o=org.id
    )
    assert [(a, c) for a, c, _ in audit] == [("SETTINGS_CHANGED", "SETTINGS")]
    assert audit[0][2]["after"] == {"billing_email": "pay@x.in"}


@pytest.mark.parametrize("role", ["MANAGER", "SUPPORT", "LEARNER"])
def test_others_change_nothing(client: Any, make: Any, role: str) -> None:
    org = make.org(name="Before")
    answer = client.patch(
        f"{API}/{org.slug}", json={"name": "After"}, headers=make.bearer(make.member(org, role))
    )
    assert (answer.status_code, answer.json["code"]) == (403, "INSUFFICIENT_ROLE") and name_of(
        make, org
    ) == "Before"


@pytest.mark.parametrize("role", ["SUPPORT", "LEARNER"])
def test_some_see_a_trimmed_form(client: Any, make: Any, role: str) -> None:
    org = make.org(gstin="29AAZCE4321Q1ZO")
    answer = client.get(f"{API}/{org.slug}", headers=make.bearer(make.member(org, role)))
    assert answer.status_code == 200 and "29AAZCE4321Q1ZO" not in answer.text
    assert "billing_account" not in answer.json["organization"]
    full = client.get(f"{API}/{org.public_id}", headers=make.bearer(make.member(org, "MANAGER"))).json[
        "organization"
    ]
    assert full["gstin"] == "29AAZCE4321Q1ZO" and full["billing_account"]["wallet_balance_paise"] == 0


def test_every_problem_is_reported_and_nothing_changes(client: Any, make: Any) -> None:
    org = make.org(name="Before")
    answer = client.patch(
        f"{API}/{org.slug}",
        json={"name": "x", "website": "no address", "payment_terms_days": 999},
        headers=make.bearer(make.member(org)),
    )
    assert set(answer.json["details"]["fields"]) == {"name", "website", "payment_terms_days"}
    assert name_of(make, org) == "Before"


def test_seats_never_fall_below_their_use(client: Any, make: Any) -> None:
    org = make.org(seats_total=5)
    owner = make.bearer(make.member(org))
    [make.member(org, "LEARNER") for _ in range(2)]
    answer = client.patch(f"{API}/{org.slug}", json={"seats_total": 1}, headers=owner)
    assert (answer.status_code, answer.json["code"]) == (409, "SEATS_BELOW_USAGE")
    assert answer.json["details"]["seats_used"] == 2
    assert client.patch(f"{API}/{org.slug}", json={"seats_total": 2}, headers=owner).status_code == 200
    assert client.patch(f"{API}/{org.slug}", json={"seats_total": None}, headers=owner).status_code == 200


def test_the_state_follows_the_gstin(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.bearer(make.member(org))
    answer = client.patch(
        f"{API}/{org.slug}", json={"gstin": "27AAPFU0939F1ZV", "gst_state_code": "29"}, headers=owner
    )
    assert answer.json["organization"]["gst_state_code"] == "27"
    answer = client.patch(f"{API}/{org.slug}", json={"gst_state_code": "29"}, headers=owner)
    assert answer.json["organization"]["gst_state_code"] == "27"
    answer = client.patch(f"{API}/{org.slug}", json={"gstin": None, "gst_state_code": None}, headers=owner)
    assert (answer.status_code, answer.json["code"]) == (400, "GST_STATE_REQUIRED")


@pytest.mark.scenario("P-35")
def test_capabilities_name_the_version_they_saw(client: Any, app: Any, make: Any, hosting: Any) -> None:
    org = make.org()
    owner = make.bearer(make.member(org))
    for change, code in (
        ({"can_host": True, "expected_version": 7}, "VERSION_CONFLICT"),
        ({"can_host": True}, "VALIDATION_FAILED"),
    ):
        assert client.patch(f"{API}/{org.slug}", json=change, headers=owner).json["code"] == code
    answer = client.patch(f"{API}/{org.slug}", json={"can_host": True, "expected_version": 1}, headers=owner)
    assert answer.status_code == 200 and answer.json["organization"]["kind"] == "HYBRID"
    assert answer.json["organization"]["version"] == 2


@pytest.mark.scenario("P-39")
def test_sponsoring_ends_with_an_empty_wallet(client: Any, make: Any, hosting: Any) -> None:
    for can_host in (False, True):
        org = make.org(can_host=can_host)
        owner = make.bearer(make.member(org))
        make.fund(org, 1)
        answer = client.patch(
            f"{API}/{org.slug}", json={"can_sponsor": False, "expected_version": 1}, headers=owner
        )
        assert (answer.status_code, answer.json["code"]) == (409, "WALLET_NOT_EMPTY")


def test_hosting_stays_gated_in_changes(client: Any, make: Any) -> None:
    org = make.org()
    answer = client.patch(
        f"{API}/{org.slug}",
        json={"can_host": True, "expected_version": 1},
        headers=make.bearer(make.member(org)),
    )
    assert (answer.status_code, answer.json["code"]) == (400, "HOST_ORGS_GATED")


def test_a_foreign_organisation_cannot_be_told_from_none(client: Any, make: Any) -> None:
    stranger, org = make.bearer(make.member(make.org())), make.org()
    answers = [
        client.get(f"{API}/{ref}", headers=stranger)
        for ref in (org.slug, org.public_id, unique("none"), "%00")
    ]
    assert {(a.status_code, a.json["code"]) for a in answers} == {(403, "NOT_A_MEMBER")}
    assert len({a.json["message"] for a in answers}) == 1


def test_a_pan_is_kept_encrypted_and_shown_by_its_end(client: Any, app: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    api, head = f"/api/organizations/{org.slug}", make.bearer(owner)
    for bad in ("ABCDE1234F", "AAAP1234A", "AAAPA12345", "a" * 10, "AAAXA1234A"):
        answer = client.patch(api, json={"name": "Changed", "pan": bad}, headers=head)
        assert (answer.status_code, answer.json["code"]) == (400, "INVALID_PAN_FORMAT"), bad
    assert make.one("SELECT name FROM organization WHERE id = :o", o=org.id) == org.name
    answer = client.patch(api, json={"pan": " aaapa1234a "}, headers=head)
    assert answer.status_code == 200 and answer.json["organization"]["pan_last4"] == "234A"
    stored = make.one("SELECT pan_encrypted FROM organization WHERE id = :o", o=org.id)
    assert "AAAPA" not in answer.text and "AAAPA" not in stored
    assert pan.of(app.config["SETTINGS"], org.id, stored) == "AAAPA1234A"
    with pytest.raises(DomainError):
        pan.of(app.config["SETTINGS"], org.id + 1, stored)
    log = make.one(
        "SELECT details::text FROM org_audit_log WHERE organization_id = :o AND action = 'SETTINGS_CHANGED'",
        o=org.id,
    )
    assert "234A" in log and stored not in log
    other = client.patch(api, json={"gstin": "29AABCA4821K1ZN"}, headers=head)
    assert other.status_code == 400 and "gstin" in other.json["details"]["fields"]
    assert client.patch(api, json={"pan": None}, headers=head).json["organization"]["pan_last4"] is None
    assert client.patch(api, json={"gstin": "29AABCA4821K1ZN"}, headers=head).status_code == 200
    differs = client.patch(api, json={"pan": "AAAPA1234A"}, headers=head)
    assert differs.status_code == 400 and "pan" in differs.json["details"]["fields"]
    for role in ("MAINTAINER", "BILLING_ADMIN"):
        refused = client.patch(api, json={"pan": "AABCA4821K"}, headers=make.bearer(make.member(org, role)))
        assert refused.json["details"] == {"fields": ["pan"]}, role
    trimmed = client.get(api, headers=make.bearer(make.member(org, "LEARNER"))).json
    assert "pan_last4" not in trimmed["organization"]


def test_the_settings_page_keeps_the_pan_it_never_shows(app: Any, make: Any) -> None:
    org = make.org()
    client = make.sign_in(app.test_client(), make.member(org))
    base = f"/dashboard/organization/{org.slug}/settings"
    assert client.form(f"{base}/tax", {"pan": "nonsense"}).status_code == 400
    client.form(f"{base}/tax", {"pan": "AAAPA1234A"})
    shown = client.get(base).text
    assert "234A" in shown and "AAAPA1234A" not in shown.replace('placeholder="AAAPA1234A"', "")
    client.form(f"{base}/tax", {"pan": "", "hsn_default": "9992"})
    assert make.one("SELECT pan_last4 FROM organization WHERE id = :o", o=org.id) == "234A"
    client.form(f"{base}/tax", {"pan": "", "pan_remove": "y"})
    assert make.one("SELECT pan_last4 FROM organization WHERE id = :o", o=org.id) is None
