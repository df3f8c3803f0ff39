"""Deletion's three ways, and giving up a capability (chapter 1, 1.2)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app import clock
from app.models import (
    Appointment,
    AppointmentStatus,
    Assignment,
    ConsultantEarning,
    Contract,
    ContractStatus,
    EarningStatus,
    FundingSource,
    Invitation,
    LegSource,
    OrgStatus,
    Payment,
    PaymentLeg,
    PaymentStatus,
    PlatformRole,
    Program,
    ProgramType,
    PurchaseOrder,
    RateCard,
    StaffNote,
    TopUpStatus,
    VerificationMessage,
    WalletTopUp,
)
from app.schema.base import Model
from app.services import deletion
from tests.factories import unique
from tests.organizations.test_creation import race
from tests.organizations.test_status_everywhere import fingerprint

API = "/api/organizations"


def account_of(make: Any, org: Any) -> int:
    return int(make.one("SELECT id FROM billing_account WHERE organization_id = :o", o=org.id))


def booking(
    make: Any,
    org: Any,
    member: Any,
    status: EarningStatus = EarningStatus.PAID,
    host: Any = None,
    **leg: Any,
) -> Payment:
    """A booking that was paid and took place, with the expert's earning of it; *host* offers the plan."""
    expert = make.expert()
    plan = make.plan(expert, 100_000, organization_id=host.id if host else None)
    now = clock.now()
    done = make.add(
        Appointment(
            organization_id=org.id,
            plan_id=plan.id,
            learner_user_id=member.user_id,
            expert_id=expert.id,
            expert_user_id=expert.user_id,
            starts_at=now - dt.timedelta(days=9, hours=1),
            ends_at=now - dt.timedelta(days=9),
            status=AppointmentStatus.COMPLETED,
            title="Strategy session",
        )
    )
    payment = make.add(
        Payment(
            organization_id=org.id,
            user_id=member.user_id,
            billing_account_id=account_of(make, org),
            appointment_id=done.id,
            plan_id=plan.id,
            status=PaymentStatus.SUCCEEDED,
            method="INVOICE",
            price_paise=100_000,
            tax_paise=0,
            tax_bps=0,
            amount_paise=100_000,
        )
    )
    make.add(
        ConsultantEarning(
            organization_id=org.id,
            payment_id=payment.id,
            consultant_user_id=expert.user_id,
            gross_paise=100_000,
            platform_bps=2000,
            org_bps=0,
            consultant_bps=8000,
            share_paise=80_000,
            status=status,
            hold_until=now,
        )
    )
    if leg:
        make.add(PaymentLeg(organization_id=org.id, payment_id=payment.id, amount_paise=100_000, **leg))
    return payment


def remove(client: Any, make: Any, org: Any, who: Any) -> Any:
    return client.delete(f"{API}/{org.slug}", headers=make.bearer(who))


@pytest.mark.scenario("P-31")
def test_a_settled_history_is_kept_without_the_contacts(client: Any, make: Any) -> None:
    org = make.org(
        funding=FundingSource.INVOICE,
        billing_email="pay@x.in",
        contacts={"billing": {"name": "Asha", "email": "a@x.in", "phone": "1"}},
        gstin="29AAZCE4321Q1ZO",
        is_public=True,
    )
    owner, manager = make.member(org), make.member(org, "MANAGER")
    booking(make, org, manager, source=LegSource.CARD)
    make.add(
        Invitation(
            organization_id=org.id,
            email="new@x.in",
            role="SUPPORT",
            token_hash=unique("hash"),
            expires_at=clock.now() + dt.timedelta(days=9),
            sent_at=clock.now(),
        )
    )
    preview = client.get(f"{API}/{org.slug}/wind-down", headers=make.bearer(owner)).json["deletion"]
    assert preview["outcome"] == "DEACTIVATED" and "payments" in preview["history"]
    assert (preview["members"], preview["invitations"], preview["obligations"]) == (2, 1, {})
    before = {
        u: make.one("SELECT session_generation FROM ab_user WHERE id = :u", u=u)
        for u in (owner.user_id, manager.user_id)
    }
    answer = remove(client, make, org, owner)
    assert answer.status_code == 200 and answer.json["organization"]["status"] == "DEACTIVATED"
    row = make.rows(
        "SELECT status, deleted_at IS NOT NULL, billing_email, contacts, gstin, gst_state_code, is_public "
        "FROM organization WHERE id = :o",
        o=org.id,
    )[0]
    assert tuple(row) == ("DEACTIVATED", True, None, {}, "29AAZCE4321Q1ZO", "29", False)
    assert make.one("SELECT status FROM invitation WHERE organization_id = :o", o=org.id) == "CANCELED"
    assert make.one("SELECT lapsed_at FROM domain_claim WHERE organization_id = :o", o=org.id) is not None
    logged = make.rows(
        "SELECT action, category, actor_user_id FROM org_audit_log WHERE organization_id = :o", o=org.id
    )
    assert [tuple(r) for r in logged] == [("ORG_SOFT_DELETED", "SETTINGS", owner.user_id)]
    for user, generation in before.items():
        assert make.one("SELECT session_generation FROM ab_user WHERE id = :u", u=user) == generation + 1
    mails = make.rows(
        "SELECT payload->>'to' FROM outbox_message WHERE payload->>'template' = 'org_deleted' "
        "AND payload->'values'->>'organization' = :n",
        n=org.name,
    )
    assert {r[0] for r in mails} == {owner.user.email, manager.user.email}
    answer = client.get(f"{API}/{org.slug}", headers=make.bearer(owner))
    assert (answer.status_code, answer.json["code"]) == (403, "ORG_DEACTIVATED")
    again = remove(client, make, org, owner)
    assert again.json["code"] == "ORG_DEACTIVATED"


@pytest.mark.scenario("P-31")
@pytest.mark.parametrize("status", [OrgStatus.ACTIVE, OrgStatus.PENDING_VERIFICATION])
def test_an_untouched_organisation_is_removed_whole(client: Any, make: Any, status: OrgStatus) -> None:
    person = make.user()
    made = client.post(
        API,
        json={
            "name": unique("Short Lived"),
            "can_sponsor": True,
            "funding_source": "WALLET",
            "gst_state_code": "29",
            "invitations": [{"email": f"{unique('inv')}@x.in", "role": "SUPPORT"}],
        },
        headers=make.bearer(person),
    )
    assert made.status_code == 201
    slug = made.json["organization"]["slug"]
    org = make.one("SELECT id FROM organization WHERE slug = :s", s=slug)
    with make.session() as s:
        s.execute(text("UPDATE organization SET status = :t WHERE id = :o"), {"t": status, "o": org})
    make.add(
        StaffNote(about_organization_id=org, body="hm"),
        VerificationMessage(organization_id=org, kind="INFO_REQUESTED", body="Who?"),
        RateCard(
            organization_id=org, platform_bps=2000, org_bps=0, consultant_bps=8000, effective_from=clock.now()
        ),
    )
    history = make.one("SELECT count(*) FROM org_audit_log WHERE organization_id = :o", o=org)
    assert history >= 2
    answer = client.delete(f"{API}/{slug}", headers=make.bearer(person))
    assert answer.status_code == 204 and answer.data == b""
    assert make.one("SELECT count(*) FROM organization WHERE id = :o", o=org) == 0
    for table in (
        "membership",
        "invitation",
        "billing_account",
        "verification_message",
        "rate_card",
        "notification",
        "outbox_message",
    ):
        assert make.one(f"SELECT count(*) FROM {table} WHERE organization_id = :o", o=org) == 0, table
    assert make.one("SELECT count(*) FROM staff_note WHERE about_organization_id = :o", o=org) == 0
    logged = make.rows(
        "SELECT action, details->>'slug' FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=org
    )
    assert len(logged) == history + 1 and tuple(logged[-1]) == ("ORG_DELETED", slug)
    gone = client.get(f"{API}/{slug}", headers=make.bearer(person))
    assert (gone.status_code, gone.json["code"]) == (403, "NOT_A_MEMBER")
    assert slug not in client.get(API, headers=make.bearer(person)).text
    assert (
        client.post(  # the name is free again
            API, json={"name": "Again", "slug": slug, "gst_state_code": "29"}, headers=make.bearer(person)
        ).status_code
        == 201
    )


def test_the_audit_log_of_a_removed_organisation_cannot_be_touched(
    client: Any, make: Any, owner_engine: Any, app: Any
) -> None:
    org = make.org(domain=False)
    owner = make.member(org)
    assert remove(client, make, org, owner).status_code == 204
    for statement in (
        "DELETE FROM org_audit_log WHERE organization_id = :o",
        "UPDATE org_audit_log SET description = '' WHERE organization_id = :o",
    ):
        with pytest.raises(DBAPIError, match="append-only"), owner_engine.begin() as c:
            c.execute(text(statement), {"o": org.id})
    admin = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.ADMIN))
    page = admin.get("/admin/data/org_audit_log/")
    assert page.status_code == 200


def make_contract(make: Any, org: Any, member: Any) -> None:
    make.add(
        Contract(
            organization_id=org.id,
            billing_account_id=account_of(make, org),
            title="Frame",
            status=ContractStatus.ACTIVE,
            effective_from=clock.today_ist(),
        )
    )


def make_order(make: Any, org: Any, member: Any) -> None:
    make.add(
        PurchaseOrder(
            organization_id=org.id,
            billing_account_id=account_of(make, org),
            po_number=unique("PO"),
            total_paise=500,
            remaining_paise=300,
        )
    )


def make_top_up(make: Any, org: Any, member: Any) -> None:
    make.add(
        WalletTopUp(
            organization_id=org.id,
            billing_account_id=account_of(make, org),
            amount_paise=10_000,
            gateway="sandbox",
            status=TopUpStatus.PENDING,
        )
    )


def make_session(make: Any, org: Any, member: Any) -> None:
    expert = make.expert()
    soon = clock.now() + dt.timedelta(days=2)
    make.add(
        Appointment(
            organization_id=org.id,
            plan_id=make.plan(expert).id,
            learner_user_id=member.user_id,
            expert_id=expert.id,
            expert_user_id=expert.user_id,
            starts_at=soon,
            ends_at=soon + dt.timedelta(hours=1),
            status=AppointmentStatus.CONFIRMED,
            title="Soon",
        )
    )


OPEN = {
    "open_contracts": (make_contract, 1),
    "purchase_order_balance_paise": (make_order, 300),
    "pending_top_ups": (make_top_up, 1),
    "upcoming_sessions": (make_session, 1),
    "unsettled_earnings": (lambda make, org, m: booking(make, org, m, EarningStatus.HELD), 1),
    "unbilled_accruals": (
        lambda make, org, m: booking(make, org, m, source=LegSource.INVOICE_ACCRUAL),
        1,
    ),
    "open_overages": (
        lambda make, org, m: booking(make, org, m, source=LegSource.OVERAGE_INVOICE_ACCRUAL),
        1,
    ),
    "wallet_balance_paise": (lambda make, org, m: make.fund(org, 1), 1),
}


@pytest.mark.parametrize("kind", sorted(OPEN))
def test_what_is_open_refuses_with_counts_and_changes_nothing(client: Any, make: Any, kind: str) -> None:
    org = make.org()
    owner = make.member(org)
    prepare, count = OPEN[kind]
    prepare(make, org, owner)
    before = fingerprint(make, org)
    answer = remove(client, make, org, owner)
    assert (answer.status_code, answer.json["code"]) == (409, "WIND_DOWN_REQUIRED"), answer.text
    assert answer.json["details"][kind] == count
    preview = client.get(f"{API}/{org.slug}/wind-down", headers=make.bearer(owner)).json["deletion"]
    assert preview["outcome"] == "REFUSED" and preview["obligations"] == answer.json["details"]
    assert fingerprint(make, org) == before


@pytest.mark.scenario("P-38")
@pytest.mark.parametrize("history", [False, True])
def test_children_of_a_deleted_organisation_become_roots(client: Any, make: Any, history: bool) -> None:
    top = make.org()
    owner = make.member(top)
    child = make.org(parent_id=top.id, depth=1)
    grandchild = make.org(parent_id=child.id, depth=2)
    with make.session() as s:
        s.execute(
            text("UPDATE organization SET root_id = :t WHERE id IN (:a, :b)"),
            {"t": top.id, "a": child.id, "b": grandchild.id},
        )
    if history:
        booking(make, top, owner, source=LegSource.CARD)
    assert remove(client, make, top, owner).status_code == (200 if history else 204)
    rows = make.rows(
        "SELECT parent_id, root_id, depth FROM organization WHERE id IN (:a, :b) ORDER BY depth",
        a=child.id,
        b=grandchild.id,
    )
    assert [tuple(r) for r in rows] == [(None, child.id, 0), (child.id, child.id, 1)]


def test_only_owners_delete(client: Any, make: Any) -> None:
    org = make.org()
    make.member(org)
    before = fingerprint(make, org)
    for role in ("MAINTAINER", "BILLING_ADMIN", "MANAGER", "SUPPORT", "LEARNER"):
        member = make.member(org, role)
        answer = remove(client, make, org, member)
        assert (answer.status_code, answer.json["code"]) == (403, "OWNER_REQUIRED")
        answer = client.get(f"{API}/{org.slug}/wind-down", headers=make.bearer(member))
        assert answer.json["code"] == "OWNER_REQUIRED"
    staff = make.user(platform_role=PlatformRole.STAFF)
    assert remove(client, make, org, staff).json["code"] == "NOT_A_MEMBER"
    assert before["billing_account"] == fingerprint(make, org)["billing_account"]
    assert make.one("SELECT status FROM organization WHERE id = :o", o=org.id) == "ACTIVE"


def test_two_deletions_at_once(app: Any, make: Any) -> None:
    org = make.org(domain=False)
    owners = [make.bearer(make.member(org)) for _ in range(2)]
    statuses = race(
        app, [lambda c, h=h: c.delete(f"{API}/{org.slug}", headers=h).status_code for h in owners]
    )
    assert sorted(statuses)[0] == 204 and sorted(statuses)[1] in (403, 404)
    assert (
        make.one(
            "SELECT count(*) FROM org_audit_log WHERE organization_id = :o AND action = 'ORG_DELETED'",
            o=org.id,
        )
        == 1
    )


def test_every_table_that_names_an_organisation_is_placed() -> None:
    """A new table must say what a deletion does with it, or nobody can be deleted any more."""
    placed = {
        m.__tablename__
        for m in (*deletion.HISTORY.values(), *deletion.SET_UP, *deletion.MENTIONS, *deletion.LABELS)
    } | {"organization", "staff_note"}
    referring = {
        table.name
        for table in Model.metadata.tables.values()
        for column in table.columns
        for key in column.foreign_keys
        if key.column.table.name == "organization"
    }
    assert referring <= placed


def test_the_danger_zone(app: Any, make: Any) -> None:
    org = make.org(domain=False)
    owner, maintainer = (
        make.sign_in(app.test_client(), make.member(org, r)) for r in ("OWNER", "MAINTAINER")
    )
    base = f"/dashboard/organization/{org.slug}"
    assert "Delete organisation" not in maintainer.get(f"{base}/settings").text
    maintainer.form(f"{base}/settings/delete", {"confirm_word": org.slug})
    page = owner.get(f"{base}/settings").text
    assert "Delete organisation" in page and "2 people lose access" in page
    make_order(make, org, None)
    page = owner.get(f"{base}/settings").text
    assert "Delete organisation" not in page and "₹3.00 left on purchase orders" in page
    with make.session() as s:
        s.execute(text("DELETE FROM purchase_order WHERE organization_id = :o"), {"o": org.id})
    owner.form(f"{base}/settings/delete", {"confirm_word": "nope"})
    assert make.one("SELECT count(*) FROM organization WHERE id = :o", o=org.id) == 1
    assert owner.form(f"{base}/settings/delete", {"confirm_word": org.slug}).location == "/dashboard/personal"
    assert make.one("SELECT count(*) FROM organization WHERE id = :o", o=org.id) == 0
    assert f"{org.name} is deleted" in owner.get("/dashboard/personal").text


# ---- capabilities ----------------------------------------------------------------------------------------------------


@pytest.mark.scenario("P-39")
def test_sponsoring_ends_with_an_empty_wallet_and_nobody_in_a_program(
    client: Any, make: Any, hosting: Any
) -> None:
    org = make.org(can_host=True)
    owner, learner = make.member(org), make.member(org, "LEARNER")
    headers, path = make.bearer(owner), f"{API}/{org.slug}"
    body = {"can_sponsor": False, "expected_version": 1}
    make.fund(org, 1)
    answer = client.patch(path, json=body, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (409, "WALLET_NOT_EMPTY")
    assert answer.json["details"] == {"wallet_balance_paise": 1}
    with make.session() as s:
        s.execute(
            text("UPDATE billing_account SET wallet_balance_paise = 0 WHERE organization_id = :o"),
            {"o": org.id},
        )
    contract = make.add(
        Contract(
            organization_id=org.id,
            billing_account_id=account_of(make, org),
            title="Frame",
            effective_from=clock.today_ist(),
        )
    )
    program = make.add(
        Program(
            organization_id=org.id,
            contract_id=contract.id,
            name="Pool",
            type=ProgramType.CREDIT_POOL,
            credits_per_cycle=100,
        )
    )
    make.add(
        Assignment(
            organization_id=org.id,
            program_id=program.id,
            membership_id=learner.id,
            period_start=clock.today_ist(),
            period_end=clock.today_ist(),
        )
    )
    make_top_up(make, org, owner)
    answer = client.patch(path, json=body, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (409, "CANSPONSOR_WINDDOWN_REQUIRED")
    assert answer.json["details"] == {"live_assignments": 1, "pending_top_ups": 1}
    assert client.get(f"{path}/wind-down", headers=headers).json["sponsoring"] == answer.json["details"]
    browser = make.sign_in(client.application.test_client(), owner)
    page = browser.get(f"/dashboard/organization/{org.slug}/settings").text
    assert "1 member in a program" in page and "Stop sponsoring" not in page
    assert make.one("SELECT can_sponsor FROM organization WHERE id = :o", o=org.id) is True


@pytest.mark.scenario("P-35")
def test_hosting_ends_once_experts_left_and_stale_versions_lose(client: Any, make: Any, hosting: Any) -> None:
    org = make.org(can_host=True)
    owner = make.member(org)
    make.member(org, "EXPERT")
    headers, path = make.bearer(owner), f"{API}/{org.slug}"
    answer = client.patch(path, json={"can_host": False, "expected_version": 1}, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (409, "CANHOST_WINDDOWN_REQUIRED")
    assert answer.json["details"] == {"experts": 1}
    with make.session() as s:
        s.execute(
            text("UPDATE membership SET status = 'REMOVED' WHERE organization_id = :o AND role = 'EXPERT'"),
            {"o": org.id},
        )
    payer = make.org()  # a host's earnings carry the payer's organisation, and count all the same
    payment = booking(make, payer, make.member(payer, "LEARNER"), EarningStatus.HELD, host=org)
    answer = client.patch(path, json={"can_host": False, "expected_version": 1}, headers=headers)
    assert (answer.status_code, answer.json["details"]) == (409, {"unsettled_earnings": 1})
    assert remove(client, make, org, owner).json["details"]["unsettled_earnings"] == 1
    with make.session() as s:
        s.execute(
            text("UPDATE consultant_earnings SET status = 'PAID' WHERE payment_id = :p"), {"p": payment.id}
        )
    stale = client.patch(path, json={"can_host": False, "expected_version": 7}, headers=headers)
    assert (stale.status_code, stale.json["code"]) == (409, "VERSION_CONFLICT")
    assert make.one("SELECT can_host FROM organization WHERE id = :o", o=org.id) is True
    browser = make.sign_in(client.application.test_client(), owner)
    assert "Stop hosting" in browser.get(f"/dashboard/organization/{org.slug}/settings").text
    done = client.patch(path, json={"can_host": False, "expected_version": 1}, headers=headers)
    assert done.status_code == 200 and done.json["organization"]["version"] == 2
