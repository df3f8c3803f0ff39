"""Verification and status (chapter 1, 1.2, "Status"), and what each status permits."""

from __future__ import annotations

from typing import Any

import pytest

from app.models import OrgStatus, PlatformRole
from tests.factories import unique
from tests.organizations.test_creation import race

API = "/api/organizations"


def decide(client: Any, make: Any, org: Any, action: str, reason: str | None = None, who: Any = None) -> Any:
    admin = who or make.user(platform_role=PlatformRole.ADMIN)
    return client.post(
        f"/api/admin/organizations/{org.public_id}/verify",
        json={"action": action, "reason": reason},
        headers=make.bearer(admin),
    )


def status_of(make: Any, org: Any) -> str:
    return str(make.one("SELECT status FROM organization WHERE id = :o", o=org.id))


@pytest.mark.scenario("P-7")
def test_reject_resubmit_verify(client: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.PENDING_VERIFICATION)
    owner, maintainer, support = make.member(org), make.member(org, "MAINTAINER"), make.member(org, "SUPPORT")
    answer = decide(client, make, org, "REJECT", "GSTIN typo")
    assert answer.status_code == 200 and status_of(make, org) == "PENDING_VERIFICATION"
    seen = client.get(f"{API}/{org.slug}", headers=make.bearer(owner)).json["organization"]
    assert seen["verification_reason"] == "GSTIN typo" and seen["verification_rejected_at"]
    assert (
        make.one(
            "SELECT count(*) FROM outbox_message WHERE organization_id = :o AND payload->>'template' = "
            "'org_rejected'",
            o=org.id,
        )
        == 2
    )
    path = f"{API}/{org.slug}/verification/resubmit"
    assert client.post(path, headers=make.bearer(support)).json["code"] == "INSUFFICIENT_ROLE"
    assert client.post(path, headers=make.bearer(maintainer)).status_code == 200
    again = client.post(path, headers=make.bearer(maintainer))
    assert (again.status_code, again.json["code"]) == (409, "NOTHING_TO_RESUBMIT")
    assert decide(client, make, org, "VERIFY").status_code == 200 and status_of(make, org) == "ACTIVE"
    rows = make.rows(
        "SELECT action, actor_type, actor_membership_id FROM org_audit_log WHERE organization_id = :o "
        "ORDER BY id",
        o=org.id,
    )
    assert [r[0] for r in rows] == ["VERIFICATION_REJECTED", "VERIFICATION_RESUBMITTED", "VERIFIED"]
    assert rows[0][1:] == ("ADMIN", None) and rows[1][1] == "MEMBER" and rows[2][1] == "ADMIN"


@pytest.mark.scenario("P-8")
def test_deactivated_is_the_end(client: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.DEACTIVATED)
    owner = make.member(org)
    for action in ("REACTIVATE", "VERIFY", "SUSPEND", "DEACTIVATE"):
        answer = decide(client, make, org, action, "because")
        assert (answer.status_code, answer.json["code"]) == (409, "ILLEGAL_TRANSITION")
    answer = client.get(f"{API}/{org.slug}", headers=make.bearer(owner))
    assert (answer.status_code, answer.json["code"]) == (403, "ORG_DEACTIVATED")
    admin = make.user(platform_role=PlatformRole.ADMIN)
    assert client.get(f"{API}/{org.slug}", headers=make.bearer(admin)).status_code == 200


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [
        ("PENDING_VERIFICATION", "VERIFY", "ACTIVE"),
        ("PENDING_VERIFICATION", "REJECT", "PENDING_VERIFICATION"),
        ("PENDING_VERIFICATION", "DEACTIVATE", "DEACTIVATED"),
        ("PENDING_VERIFICATION", "SUSPEND", None),
        ("PENDING_VERIFICATION", "REACTIVATE", None),
        ("ACTIVE", "SUSPEND", "SUSPENDED"),
        ("ACTIVE", "DEACTIVATE", "DEACTIVATED"),
        ("ACTIVE", "VERIFY", None),
        ("ACTIVE", "REJECT", None),
        ("ACTIVE", "REACTIVATE", None),
        ("SUSPENDED", "REACTIVATE", "ACTIVE"),
        ("SUSPENDED", "DEACTIVATE", "DEACTIVATED"),
        ("SUSPENDED", "VERIFY", None),
        ("SUSPENDED", "REJECT", None),
    ],
)
def test_the_transition_table(client: Any, make: Any, start: str, action: str, end: str | None) -> None:
    org = make.org(status=OrgStatus(start))
    answer = decide(client, make, org, action, "a reason")
    assert (answer.status_code, status_of(make, org)) == ((200, end) if end else (409, start))


def test_decisions_are_an_admins_and_need_reasons(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    for who in (make.user(platform_role=PlatformRole.STAFF), owner.user, make.user()):
        answer = decide(client, make, org, "SUSPEND", "x", who)
        assert (answer.status_code, answer.json["code"]) == (403, "INSUFFICIENT_ROLE")
    for action, reason in (("SUSPEND", None), ("SUSPEND", "  "), ("EXPLODE", "x")):
        assert decide(client, make, org, action, reason).json["code"] == "VALIDATION_FAILED"
    assert status_of(make, org) == "ACTIVE"
    admin = make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    for key in ("nonsense", "0198c0de-0000-7000-8000-000000000000"):
        answer = client.post(
            f"/api/admin/organizations/{key}/verify", json={"action": "VERIFY"}, headers=admin
        )
        assert (answer.status_code, answer.json["code"]) == (404, "NOT_FOUND")


def test_two_admins_decide_once(app: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.PENDING_VERIFICATION)
    statuses = race(app, [lambda c, a=a: decide(c, make, org, a).status_code for a in ("VERIFY", "VERIFY")])
    assert sorted(statuses) == [200, 409]
    assert make.one("SELECT count(*) FROM org_audit_log WHERE organization_id = :o", o=org.id) == 1


def test_pending_permits_the_profile_and_no_more(client: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.PENDING_VERIFICATION)
    owner = make.bearer(make.member(org))
    for fine in (
        {"name": "New Name"},
        {"primary_color": "#112233"},
        {"gstin": "29AAZCE4321Q1ZO"},
        {"website": "acme.in"},
    ):
        assert client.patch(f"{API}/{org.slug}", json=fine, headers=owner).status_code == 200
    for early in (
        {"slug": unique("s")},
        {"is_public": True},
        {"requires_po": True},
        {"payment_terms_days": 60},
        {"default_refund_policy": "No."},
        {"can_host": True},
    ):
        answer = client.patch(f"{API}/{org.slug}", json=early, headers=owner)
        assert (answer.status_code, answer.json["code"]) == (409, "ORG_NOT_VERIFIED")


def test_suspended_is_read_only(client: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.SUSPENDED)
    owner, learner = make.bearer(make.member(org)), make.member(org, "LEARNER")
    assert client.get(f"{API}/{org.slug}", headers=owner).status_code == 200
    for call in (
        lambda: client.patch(f"{API}/{org.slug}", json={"name": "Other"}, headers=owner),
        lambda: client.post(
            f"{API}/{org.slug}/invitations", json={"email": "a@x.in", "role": "SUPPORT"}, headers=owner
        ),
        lambda: client.delete(f"{API}/{org.slug}/members/{learner.public_id}", headers=owner),
    ):
        assert call().json["code"] == "ORG_NOT_ACTIVE"


@pytest.mark.scenario("P-13")
def test_staff_has_no_bypass_and_admin_has(client: Any, make: Any) -> None:
    org, staff = make.org(), make.bearer(make.user(platform_role=PlatformRole.STAFF))
    for path in (f"{API}/{org.slug}", f"{API}/{org.slug}/members", f"{API}/no-such-organisation"):
        answer = client.get(path, headers=staff)
        assert (answer.status_code, answer.json["code"]) == (403, "NOT_A_MEMBER")
    admin = make.user(platform_role=PlatformRole.ADMIN)
    answer = client.get(f"{API}/{org.slug}", headers=make.bearer(admin))
    assert answer.status_code == 200 and answer.json["role"] is None
    assert (
        client.patch(
            f"{API}/{org.slug}", json={"name": "By platform"}, headers=make.bearer(admin)
        ).status_code
        == 200
    )
    assert make.rows(
        "SELECT actor_type, actor_membership_id, actor_user_id FROM org_audit_log WHERE organization_id = :o",
        o=org.id,
    ) == [("ADMIN", None, admin.id)]


@pytest.mark.scenario("I-37")
def test_isolation_is_proven(client: Any, make: Any) -> None:
    make.member(make.org())
    answer = client.get(
        "/api/admin/isolation-check", headers=make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    )
    assert answer.status_code == 200
    assert answer.json["missing_policies"] == [] and answer.json["unset_context_rows"] == 0
    assert {"organization", "membership", "invitation", "ledger_entry", "payment"} <= set(
        answer.json["tables"]
    )
    staff = client.get(
        "/api/admin/isolation-check", headers=make.bearer(make.user(platform_role=PlatformRole.STAFF))
    )
    assert staff.status_code == 403


def test_isolation_check_notices_a_table_without_policy(
    app: Any, make: Any, owner_engine: Any, db_session: Any
) -> None:
    from sqlalchemy import text

    from app.services import isolation

    name = unique("leak").replace("-", "_")
    with owner_engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {name} (organization_id bigint)"))
        connection.execute(text(f"INSERT INTO {name} VALUES (1)"))
        connection.execute(text(f"GRANT SELECT ON {name} TO consilium_web"))
    try:
        found = isolation.check(db_session)
        assert name in found["missing_policies"] and found["unset_context_rows"] >= 1
    finally:
        db_session.rollback()
        with owner_engine.begin() as connection:
            connection.execute(text(f"DROP TABLE {name}"))
