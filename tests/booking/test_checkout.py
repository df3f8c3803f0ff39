"""POST /api/checkout on a wallet: what it writes, and everything that refuses it (chapter 2, 2.6)."""

from __future__ import annotations

import datetime as dt
import io

import pytest
from pypdf import PdfReader

from app import clock
from app.models import (
    Assignment,
    AssignmentStatus,
    Contract,
    ContractStatus,
    ExpertStatus,
    FundingSource,
    MembershipStatus,
    OrgRole,
    OrgStatus,
    Plan,
    PoolScope,
    Program,
    ProgramStatus,
    SupplyModel,
    Visibility,
)

from .conftest import slot


def refused(world, response, status, code):
    assert response.status_code == status, response.json
    assert response.json["code"] == code
    return response.json


def legs(world, key):
    return {
        (code.split("|")[0], side): amount
        for code, side, amount in world.make.rows(
            "SELECT a.code, e.side, e.amount_paise FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id "
            "JOIN ledger_transaction t ON t.id = e.transaction_id WHERE t.key = :k",
            k=key,
        )
    }


@pytest.mark.scenario("M-8")
def test_booking_on_a_wallet(world):
    """Tax is added at booking, the posting splits price and tax, and one transaction writes it all."""
    learner = world.learner()
    plan = world.make.plan(world.expert, 500_000, tax_bps=1800)
    at = slot()
    r = world.book(learner, at, plan=plan)
    assert r.status_code == 201
    body = r.json
    assert body["status"] == body["appointment"]["status"] == "CONFIRMED"
    pay = body["payment"]
    assert (pay["price_paise"], pay["tax_paise"], pay["amount_paise"]) == (500_000, 90_000, 590_000)
    assert pay["legs"] == [{"source": "WALLET", "amount_paise": 590_000, "covered_paise": 500_000}]
    assert legs(world, f"booking:{pay['id']}") == {
        ("WALLET", "D"): 590_000,
        ("GST_PAYABLE", "C"): 90_000,
        ("PLATFORM_FEE", "C"): 100_000,
        ("CONSULTANT_PAYABLE", "C"): 400_000,
    }
    assert world.make.balance(world.org) == 5_000_000 - 590_000
    assert world.written() == {
        "appointment": 1,
        "payment": 1,
        "payment_leg": 1,
        "booking_utilization": 1,
        "usage_ledger_entry": 1,
        "consultant_earnings": 1,
        "org_audit_log": 2,
        "outbox_message": 2,
        "notification": 2,
        "ledger_transaction": 2,
        "ledger_entry": 2,
    }
    used = world.make.rows(
        "SELECT consumed_paise, engagements_used FROM assignment WHERE membership_id = :m", m=learner.id
    )
    assert [tuple(u) for u in used] == [(500_000, 1)]
    share, status, hold = world.make.rows(
        "SELECT share_paise, status, hold_until FROM consultant_earnings WHERE organization_id = :o",
        o=world.org.id,
    )[0]
    assert (share, status) == (400_000, "PENDING") and hold == at + dt.timedelta(hours=25)
    claims = world.make.rows(
        "SELECT user_id, role FROM calendar_claim c JOIN appointment a ON a.id = c.appointment_id "
        "WHERE a.public_id = :a",
        a=body["id"],
    )
    assert {tuple(c) for c in claims} == {(learner.user_id, "LEARNER"), (world.expert.user_id, "EXPERT")}
    mails = world.make.rows(
        "SELECT payload->>'to', payload->>'template' FROM outbox_message WHERE organization_id = :o",
        o=world.org.id,
    )
    expert_email = world.make.one("SELECT email FROM ab_user WHERE id = :u", u=world.expert.user_id)
    assert {tuple(m) for m in mails} == {
        (learner.user.email, "booking_confirmed_learner"),
        (expert_email, "booking_confirmed_expert"),
    }
    audit = world.make.rows(
        "SELECT category, action, actor_user_id, actor_membership_id, correlation_id FROM org_audit_log "
        "WHERE organization_id = :o ORDER BY category",
        o=world.org.id,
    )
    assert [(a[0], a[1]) for a in audit] == [("PROGRAM", "BOOKING_CONFIRMED"), ("WALLET", "WALLET_DEBITED")]
    assert (
        all(a[2:4] == (learner.user_id, learner.id) for a in audit)
        and audit[0][4] == r.headers["X-Correlation-Id"]
    )


def test_mail_reaches_both(world):
    learner = world.learner()
    world.book(learner, plan=world.make.plan(world.expert, 500_000, tax_bps=1800))
    sent = world.client.get(f"/api/test/outbox?to={learner.user.email}").json["mail"]
    assert len(sent) == 1 and "₹5,900.00" in sent[0]["text"] and "Strategy session" in sent[0]["subject"]
    expert_email = world.make.one("SELECT email FROM ab_user WHERE id = :u", u=world.expert.user_id)
    to_expert = world.client.get(f"/api/test/outbox?to={expert_email}").json["mail"]
    assert (
        len(to_expert) == 1
        and "₹4,000.00" in to_expert[0]["text"]
        and learner.user.name in to_expert[0]["html"]
    )


def test_hosted_plan_pays_the_host(world):
    """A host's own plan: the default card, the organisation takes its share (2.10; M-9's figures)."""
    host = world.make.org(can_host=True, can_sponsor=False, funding=None)
    plan = world.make.plan(world.expert, 500_000, organization_id=host.id)
    r = world.book(world.learner(), plan=plan)
    assert r.status_code == 201
    assert legs(world, f"booking:{r.json['payment']['id']}") == {
        ("WALLET", "D"): 500_000,
        ("PLATFORM_FEE", "C"): 50_000,
        ("ORG_PAYABLE", "C"): 50_000,
        ("CONSULTANT_PAYABLE", "C"): 400_000,
    }


def test_a_sponsors_own_plan_has_no_host(world):
    """An organisation that cannot host takes no host's share of its internal plans (2.3)."""
    plan = world.make.plan(world.expert, 500_000, organization_id=world.org.id)
    r = world.book(world.learner(), plan=plan)
    assert legs(world, f"booking:{r.json['payment']['id']}") == {
        ("WALLET", "D"): 500_000,
        ("PLATFORM_FEE", "C"): 100_000,
        ("CONSULTANT_PAYABLE", "C"): 400_000,
    }


def test_free_plan_posts_nothing(world):
    r = world.book(world.learner(), plan=world.make.plan(world.expert, 0))
    assert r.status_code == 201 and r.json["payment"]["amount_paise"] == 0
    assert world.written()["ledger_transaction"] == 1 and world.written()["payment_leg"] == 1


@pytest.mark.parametrize("role", [r for r in OrgRole if r != OrgRole.EXPERT])
def test_any_role_may_spend(world, role):
    member = world.make.member(world.org, role)
    world.assign(member)
    assert world.book(member).status_code == 201


def test_slug_names_the_payer_too(world):
    assert world.book(world.learner(), org=world.org.slug).status_code == 201


# ---- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("M-12")
def test_same_key_same_answer(world):
    learner, at = world.learner(), slot()
    first = world.book(learner, at, key="once")
    again = world.book(learner, at, key="once")
    assert (first.status_code, again.status_code) == (201, 200) and first.json == again.json
    refused(world, world.book(learner, slot(), key="once"), 409, "IDEMPOTENCY_KEY_REUSED")
    assert world.written()["payment"] == 1


def test_keys_are_personal(world):
    at, other = slot(), slot()
    assert world.book(world.learner(), at, key="shared").status_code == 201
    assert world.book(world.learner(), other, key="shared").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_key_is_required(world, key):
    r = world.client.post(
        "/api/checkout",
        json={"plan_id": str(world.plan.public_id), "starts_at": slot().isoformat()},
        headers={**world.auth(world.learner()), "Idempotency-Key": key},
    )
    refused(world, r, 400, "IDEMPOTENCY_KEY_REQUIRED")


def test_a_refusal_leaves_its_key_free(world):
    learner, at = world.learner(assigned=False), slot()
    refused(world, world.book(learner, at, key="later"), 409, "PROGRAM_ASSIGNMENT_INACTIVE")
    world.assign(learner)
    assert world.book(learner, at, key="later").status_code == 201


# ---- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("M-13")
def test_outsiders_and_suspended_members(world):
    before = world.written()
    refused(world, world.book(world.make.user()), 403, "NOT_A_MEMBER")
    refused(
        world, world.book(world.make.user(), org="0190aaaa-0000-7000-8000-000000000000"), 403, "NOT_A_MEMBER"
    )
    for status, code in (
        (MembershipStatus.SUSPENDED, "MEMBERSHIP_SUSPENDED"),
        (MembershipStatus.REMOVED, "NOT_A_MEMBER"),
        (MembershipStatus.PENDING, "NOT_A_MEMBER"),
    ):
        refused(world, world.book(world.learner(status=status)), 403, code)
    assert world.written() == before


def test_signed_out(world):
    r = world.client.post("/api/checkout", json={}, headers={"Idempotency-Key": "k"})
    assert r.status_code == 401


@pytest.mark.scenario("M-15")
def test_own_plan_and_unassigned_member(world):
    before = world.written()
    expert = world.make.member(world.org, OrgRole.MANAGER, user=world.make.user())
    world.assign(expert)
    own = world.make.plan(world.make.expert(expert.user), 100_000)
    refused(world, world.book(expert, plan=own), 409, "SELF_BOOKING_FORBIDDEN")
    refused(world, world.book(world.learner(assigned=False)), 409, "PROGRAM_ASSIGNMENT_INACTIVE")
    assert world.written() == before


@pytest.mark.parametrize(
    ("status", "http", "code"),
    [
        (OrgStatus.PENDING_VERIFICATION, 409, "ORG_NOT_VERIFIED"),
        (OrgStatus.SUSPENDED, 409, "ORG_NOT_ACTIVE"),
        (OrgStatus.DEACTIVATED, 403, "ORG_DEACTIVATED"),
    ],
)
def test_organisation_must_be_active(world, status, http, code):
    learner = world.learner()
    with world.make.session() as s:
        s.get(type(world.org), world.org.id).status = status
    refused(world, world.book(learner), http, code)


@pytest.mark.parametrize("funding", [FundingSource.INVOICE, FundingSource.LICENSE])
def test_every_sponsor_wants_a_place(world, funding):
    org = world.make.org(funding=funding)
    member = world.make.member(org, OrgRole.LEARNER)
    refused(world, world.book(member, org=org.public_id), 409, "PROGRAM_ASSIGNMENT_INACTIVE")


def test_host_without_sponsorship(world):
    org = world.make.org(can_sponsor=False, can_host=True, funding=None)
    refused(
        world,
        world.book(world.make.member(org, OrgRole.MANAGER), org=org.public_id),
        409,
        "SPONSOR_CAPABILITY_REQUIRED",
    )


def test_dunning_blocks(world):
    learner = world.learner()
    with world.make.session() as s:
        from sqlalchemy import text

        s.execute(
            text("UPDATE billing_account SET dunning_suspended_at = now() WHERE organization_id = :o"),
            {"o": world.org.id},
        )
    refused(world, world.book(learner), 402, "BILLING_SUSPENDED_DUNNING")


# ---- what may be booked ------------------------------------------------------------------------------------------------


def test_expert_must_be_verified(world):
    plan = world.make.plan(world.make.expert(status=ExpertStatus.UNVERIFIED))
    refused(world, world.book(world.learner(), plan=plan), 409, "EXPERT_NOT_BOOKABLE")


@pytest.mark.parametrize(
    "at",
    [
        lambda: clock.now() - dt.timedelta(hours=3),
        lambda: slot().replace(second=30),
        lambda: slot().replace(hour=23, minute=30),
    ],
)
def test_time_must_lie_in_the_windows(world, at):
    refused(world, world.book(world.learner(), at()), 409, "SLOT_UNAVAILABLE")


def test_hidden_and_unknown_plans_answer_alike(world):
    learner, other = world.learner(), world.make.org(can_host=True)
    hidden = world.make.plan(world.expert, organization_id=other.id, visibility=Visibility.ORG_ONLY)
    off = world.make.plan(world.expert, active=False)
    for plan in (hidden, off, Plan(public_id="0190aaaa-0000-7000-8000-000000000001")):
        refused(world, world.book(learner, plan=plan), 404, "NOT_FOUND")
    mine = world.make.plan(world.expert, organization_id=world.org.id, visibility=Visibility.ORG_ONLY)
    assert world.book(learner, plan=mine).status_code == 201


def test_wallet_cannot_pay_an_operator_supply(world):
    plan = world.make.plan(world.expert, supply_model=SupplyModel.ECO)
    refused(world, world.book(world.learner(), plan=plan), 409, "WALLET_NOT_ALLOWED_FOR_ECO")


def test_webinars_have_no_event_yet(world):
    refused(
        world,
        world.book(world.learner(), plan=world.make.plan(world.expert, type="WEBINAR", max_participants=10)),
        409,
        "EVENT_NOT_OPEN",
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"plan_id": "x"},
        {"starts_at": "tomorrow"},
        {"starts_at": "2026-12-07T10:00:00"},
        {"organization_id": "y" * 81},
        {"surprise": 1},
        {"plan_id": None},
        {"starts_at": 5},
        {"plan_id": ["a"]},
        {"organization_id": {"a": 1}},
    ],
)
def test_wrong_bodies_name_their_fields(world, body):
    full = {
        "plan_id": str(world.plan.public_id),
        "starts_at": slot().isoformat(),
        "organization_id": world.org.slug,
        **body,
    }
    if not body:
        full = {}
    before = world.written()
    r = world.client.post(
        "/api/checkout", json=full, headers={**world.auth(world.learner()), "Idempotency-Key": "k"}
    )
    answer = refused(world, r, 400, "VALIDATION_FAILED")
    assert set(answer["details"]["fields"]) == (set(body) or {"plan_id"})
    assert world.written() == before


def test_odd_moments(world):
    for text in (
        "9999-12-31T23:59:59+00:00",
        "0001-01-01T00:00:00+05:30",
        "2199-12-31T23:59:59Z",
        "2026-12-07T10:00:00+99:00",
    ):
        r = world.client.post(
            "/api/checkout",
            headers={**world.auth(world.learner()), "Idempotency-Key": "odd"},
            json={"plan_id": str(world.plan.public_id), "starts_at": text, "organization_id": world.org.slug},
        )
        assert r.status_code in (400, 409), (text, r.json)


# ---- metering --------------------------------------------------------------------------------------------------------


def _pool(world, **values):
    with world.make.session() as s:
        program = s.get(Program, world.program.id)
        for name, value in values.items():
            setattr(program, name, value)


@pytest.mark.scenario("M-26")
def test_pool_blocks_what_it_cannot_cover(world):
    learner = world.learner(assigned=False)
    _pool(world, credits_per_cycle=10_000)
    place = world.assign(learner)
    with world.make.session() as s:
        s.get(Assignment, place.id).consumed_paise = 900_000
    before = world.written()
    body = refused(
        world,
        world.book(learner, plan=world.make.plan(world.expert, 300_000)),
        402,
        "PROGRAM_SESSION_CAP_REACHED",
    )
    assert body["details"]["covered_paise"] == 100_000 and body["details"]["missing_paise"] == 200_000
    assert (
        world.make.one("SELECT consumed_paise FROM assignment WHERE id = :a", a=place.id) == 900_000
        and world.written() == before
    )
    assert world.book(learner, plan=world.make.plan(world.expert, 100_000)).status_code == 201


def test_shared_pool_counts_everybody(world):
    _pool(world, credits_per_cycle=10_000, pool_scope=PoolScope.SHARED)
    a, b = world.learner(), world.learner()
    assert world.book(a, plan=world.make.plan(world.expert, 600_000)).status_code == 201
    refused(
        world, world.book(b, plan=world.make.plan(world.expert, 500_000)), 402, "PROGRAM_SESSION_CAP_REACHED"
    )
    assert world.book(b, plan=world.make.plan(world.expert, 400_000)).status_code == 201


def test_only_live_covering_places_count(world):
    today = clock.today_ist()
    cases = [
        lambda: _pool(world, covered_plan_types=["WEBINAR"]),
        lambda: _pool(world, allowed_categories=["Law"]),
        lambda: _pool(world, status=ProgramStatus.PAUSED),
    ]
    for change in cases:
        learner = world.learner()
        change()
        refused(world, world.book(learner), 409, "PROGRAM_ASSIGNMENT_INACTIVE")
        _pool(world, covered_plan_types=[], allowed_categories=[], status=ProgramStatus.ACTIVE)
    for values in (
        {"period_end": today - dt.timedelta(days=1), "period_start": today - dt.timedelta(days=9)},
        {"period_start": today + dt.timedelta(days=1)},
        {"status": AssignmentStatus.CANCELLED},
    ):
        learner = world.learner(assigned=False)
        place = world.assign(learner)
        with world.make.session() as s:
            for name, value in values.items():
                setattr(s.get(Assignment, place.id), name, value)
        refused(world, world.book(learner), 409, "PROGRAM_ASSIGNMENT_INACTIVE")
    with world.make.session() as s:
        s.get(Contract, world.contract.id).status = ContractStatus.TERMINATED
    refused(world, world.book(world.learner()), 409, "PROGRAM_ASSIGNMENT_INACTIVE")


def test_the_specific_program_pays_first(world):
    learner = world.learner()
    narrow = world.make.add(
        Program(
            organization_id=world.org.id,
            contract_id=world.contract.id,
            name="Law only",
            type=world.program.type,
            credits_per_cycle=100_000,
            allowed_categories=["Law"],
        )
    )
    today = clock.today_ist()
    world.make.add(
        Assignment(
            organization_id=world.org.id,
            program_id=narrow.id,
            membership_id=learner.id,
            period_start=today,
            period_end=today + dt.timedelta(days=300),
        )
    )
    assert world.book(learner, plan=world.make.plan(world.expert, 500_000, category="Law")).status_code == 201
    assert world.book(learner, plan=world.make.plan(world.expert, 500_000)).status_code == 201
    used = {
        row[0]: row[1]
        for row in world.make.rows(
            "SELECT program_id, consumed_paise FROM assignment WHERE membership_id = :m", m=learner.id
        )
    }
    assert used == {narrow.id: 500_000, world.program.id: 500_000}


@pytest.mark.scenario("P-36")
def test_spend_limit_of_the_month(world):
    learner = world.learner(spend_limit_paise=50_000)
    assert world.book(learner, plan=world.make.plan(world.expert, 40_000)).status_code == 201
    body = refused(
        world,
        world.book(learner, plan=world.make.plan(world.expert, 15_000)),
        409,
        "MEMBER_SPEND_LIMIT_EXCEEDED",
    )
    assert body["details"] == {"limit_paise": 50_000, "spent_paise": 40_000, "amount_paise": 15_000}
    assert world.book(learner, plan=world.make.plan(world.expert, 10_000)).status_code == 201


def test_frozen_wallet(world):
    learner = world.learner()
    from sqlalchemy import text

    with world.make.session() as s:
        s.execute(
            text("UPDATE billing_account SET wallet_frozen_at = now() WHERE organization_id = :o"),
            {"o": world.org.id},
        )
    before = world.written()
    refused(world, world.book(learner), 409, "WALLET_FROZEN")
    assert world.written() == before


def test_poor_wallet(world):
    learner = world.learner()
    before = world.written()
    refused(
        world,
        world.book(learner, plan=world.make.plan(world.expert, 5_000_001)),
        402,
        "WALLET_INSUFFICIENT_FUNDS",
    )
    assert world.written() == before and world.make.balance(world.org) == 5_000_000


# ---- documents and lists -------------------------------------------------------------------------------------------------


def receipt_text(client, url, headers):
    r = client.get(url, headers=headers)
    assert r.status_code == 200 and r.mimetype == "application/pdf"
    return " ".join(PdfReader(io.BytesIO(r.data)).pages[0].extract_text().split())


def test_receipt_states_every_figure(world):
    learner = world.learner()
    r = world.book(
        learner,
        plan=world.make.add(
            Plan(expert_id=world.expert.id, price_paise=4_100_000, tax_bps=1800, title="Ångström & <Söhne>")
        ),
    )
    text = receipt_text(world.client, r.json["receipt_url"], world.auth(learner))
    for part in (
        r.json["payment"]["receipt_number"],
        world.org.name,
        "29AAZCE4321Q1ZO",
        "999293",
        "Ångström & <Söhne>",
        "₹41,000.00",
        "CGST 9 %",
        "₹3,690.00",
        "SGST 9 %",
        "₹48,380.00",
        "Organisation's wallet",
        "Karnataka (29)",
        "Rupees Forty-Eight Thousand Three Hundred Eighty Only",
        learner.user.name,
    ):
        assert part in text, part
    assert "IGST" not in text and len(r.json["payment"]["receipt_number"]) <= 16


def test_receipt_of_another_state_and_of_an_odd_paisa(world):
    org = world.make.org(gst_state_code="27")
    world.org = org
    account = world.make.one("SELECT id FROM billing_account WHERE organization_id = :o", o=org.id)
    world.contract = world.make.add(
        Contract(
            organization_id=org.id,
            billing_account_id=account,
            title="x",
            status=ContractStatus.ACTIVE,
            effective_from=clock.today_ist(),
        )
    )
    world.program = world.make.add(
        Program(
            organization_id=org.id,
            contract_id=world.contract.id,
            name="p",
            type=world.program.type,
            credits_per_cycle=100_000,
        )
    )
    world.make.fund(org, 1_000_000)
    learner = world.learner()
    r = world.book(learner, plan=world.make.plan(world.expert, 500_000, tax_bps=1800))
    text = receipt_text(world.client, r.json["receipt_url"], world.auth(learner))
    assert "IGST 18 %" in text and "Maharashtra (27)" in text and "CGST" not in text


def test_heads_and_charge_differ_by_a_stated_paisa(world):
    """2.3 rounds the tax once, 4.2 each head: 100003 at 18 % is 18001 charged, 9000 + 9000 in heads."""
    learner = world.learner()
    r = world.book(learner, plan=world.make.plan(world.expert, 100_003, tax_bps=1800))
    assert r.json["payment"]["tax_paise"] == 18_001
    text = receipt_text(world.client, r.json["receipt_url"], world.auth(learner))
    assert "CGST 9 % ₹90.00 SGST 9 % ₹90.00 Rounding ₹0.01" in text and "₹1,180.04" in text


def test_receipt_stays_when_the_organisation_moves(world):
    learner = world.learner()
    url = world.book(learner, plan=world.make.plan(world.expert, 500_000, tax_bps=1800)).json["receipt_url"]
    before = world.client.get(url, headers=world.auth(learner)).data
    with world.make.session() as s:
        org = s.get(type(world.org), world.org.id)
        org.name, org.gst_state_code = "Renamed", "27"
    assert world.client.get(url, headers=world.auth(learner)).data == before


@pytest.mark.parametrize(
    ("role", "status"),
    [(OrgRole.BILLING_ADMIN, 200), (OrgRole.MANAGER, 200), (OrgRole.SUPPORT, 404), (OrgRole.LEARNER, 404)],
)
def test_receipt_for_finance_readers_only(world, role, status):
    url = world.book(world.learner()).json["receipt_url"]
    assert world.client.get(url, headers=world.auth(world.make.member(world.org, role))).status_code == status


def test_receipt_is_hidden_from_others(world):
    url = world.book(world.learner()).json["receipt_url"]
    stranger = world.make.member(world.make.org(), OrgRole.OWNER)
    for who in (stranger, world.make.user(), _user(world, world.expert.user_id)):
        assert world.client.get(url, headers=world.auth(who)).status_code == 404
    assert world.client.get("/api/payments/zzz/receipt.pdf", headers=world.auth(stranger)).status_code == 404


def _user(world, user_id):
    from app.models import User

    with world.make.session() as s:
        return s.get(User, user_id)


def test_scopes_of_appointments(world):
    learner = world.learner()
    booked = world.book(learner).json["id"]
    expert = _user(world, world.expert.user_id)

    def ids(who, scope, status=200):
        r = world.client.get(f"/api/appointments?org_scope={scope}", headers=world.auth(who))
        assert r.status_code == status, r.json
        return [a["id"] for a in r.json["result"]] if status == 200 else r.json["code"]

    assert ids(learner, f"org:{world.org.slug}") == [booked] and ids(
        learner, f"org:{world.org.public_id}"
    ) == [booked]
    assert ids(learner, "personal") == []
    other = world.make.org()
    assert ids(learner, f"org:{other.slug}", 403) == "ORG_MEMBERSHIP_REQUIRED"
    assert ids(learner, "all", 403) == "ALL_REQUIRES_PRIVILEGED_ROLE"
    assert ids(learner, "acme", 400) == "INVALID_SCOPE"
    assert ids(expert, f"org:{world.org.slug}", 403) == "ORG_MEMBERSHIP_REQUIRED"
    admin = world.make.user(platform_role="ADMIN")
    assert booked in ids(admin, "all")
    staff = world.make.user(platform_role="STAFF")
    assert ids(staff, "all", 403) == "ALL_REQUIRES_PRIVILEGED_ROLE"


def test_preview_says_what_the_checkout_does(world):
    learner = world.learner()
    _pool(world, credits_per_cycle=4000)
    url = f"/api/organizations/{world.org.slug}/checkout/overage-preview"
    body = {"plan_id": str(world.plan.public_id)}
    before = world.written()
    r = world.client.post(url, json=body, headers=world.auth(learner)).json
    assert r == {
        "applicable": True,
        "covered_paise": 400_000,
        "base_paise": 100_000,
        "surcharge_paise": 0,
        "marginal_paise": 100_000,
        "will_exceed_cap": True,
        "will_block": True,
        "charge_to": None,
        "reason": "PROGRAM_SESSION_CAP_REACHED",
    }
    assert (
        world.client.post(url, json=body, headers=world.auth(world.learner(assigned=False))).json[
            "applicable"
        ]
        is False
    )
    assert world.client.post(url, json=body, headers=world.auth(world.make.user())).status_code == 403
    assert world.written() == before
