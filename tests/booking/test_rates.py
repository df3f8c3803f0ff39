"""Rate cards: which one a booking uses, what it leaves in the books, and who may change one (chapter 2, 2.10)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.models import OrgRole, PayoutRecipient, PlatformRole
from app.services import rates

from .test_cards import till as till

SHARES = {"platform_bps": 1500, "org_bps": 1000, "consultant_bps": 7500}


@pytest.fixture(autouse=True)
def hosting(app):
    """ENABLE_HOST_ORGS on for one test."""
    before = app.config["SETTINGS"]
    app.config["SETTINGS"] = replace(before, enable_host_orgs=True)
    yield
    app.config["SETTINGS"] = before


@pytest.fixture
def hybrid(world):
    """Acme hosts as well: its own expert, whom its own learners book."""
    with world.make.session() as s:
        org = s.get(type(world.org), world.org.id)
        org.can_host = True
    user = world.make.user()
    world.host = world.make.member(world.org, OrgRole.EXPERT, user=user)
    world.expert = world.make.expert(user)
    world.plan = world.make.plan(world.expert, 500_000, organization_id=world.org.id)
    return world


def legs(world, payment):
    return {
        code.split("|")[0]: paise
        for code, paise in world.make.rows(
            "SELECT a.code, e.amount_paise FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id "
            "JOIN ledger_transaction t ON t.id = e.transaction_id WHERE t.key = :k",
            k=f"booking:{payment}",
        )
    }


def earned(world, payment):
    return world.make.rows(
        "SELECT e.organization_id, e.share_paise, e.refunded_paise, e.status FROM organization_earnings e "
        "JOIN payment p ON p.id = e.payment_id WHERE p.public_id = :p",
        p=payment,
    )


def put(world, who, status=201, org=None, **body):
    r = world.client.post(
        f"/api/organizations/{(org or world.org).slug}/rate-cards",
        json={**SHARES, **body},
        headers=world.auth(who),
    )
    assert r.status_code == status, r.json
    return r.json


@pytest.mark.scenario("M-9")
def test_an_own_hosts_booking_is_shared_by_the_standard(hybrid):
    payment = hybrid.book(hybrid.learner()).json["payment"]["id"]
    assert legs(hybrid, payment) == {
        "WALLET": 500_000,
        "PLATFORM_FEE": 50_000,
        "ORG_PAYABLE": 50_000,
        "CONSULTANT_PAYABLE": 400_000,
    }
    assert earned(hybrid, payment) == [(hybrid.org.id, 50_000, 0, "PENDING")]


@pytest.mark.scenario("M-41")
def test_shares_add_up_and_a_new_card_leaves_old_bookings_alone(hybrid):
    billing = hybrid.make.member(hybrid.org, OrgRole.BILLING_ADMIN)
    wrong = put(hybrid, billing, 400, platform_bps=1000, org_bps=1000, consultant_bps=7999)
    assert wrong["code"] == "RATE_CARD_BPS_SUM"
    low = put(hybrid, billing, 400, platform_bps=999, org_bps=1001, consultant_bps=8000)
    assert low["code"] == "RATE_CARD_PLATFORM_MINIMUM"
    before = hybrid.book(hybrid.learner()).json["payment"]["id"]
    put(hybrid, billing)
    after = hybrid.book(hybrid.learner()).json["payment"]["id"]
    bps = [
        hybrid.make.one(
            "SELECT e.consultant_bps FROM consultant_earnings e JOIN payment p ON p.id = e.payment_id WHERE p.public_id = :p",
            p=p,
        )
        for p in (before, after)
    ]
    assert bps == [8000, 7500]
    assert legs(hybrid, after) == {
        "WALLET": 500_000,
        "PLATFORM_FEE": 75_000,
        "ORG_PAYABLE": 50_000,
        "CONSULTANT_PAYABLE": 375_000,
    }
    audit = hybrid.make.one(
        "SELECT count(*) FROM org_audit_log WHERE organization_id = :o AND action = 'RATE_CARD_BUMPED'",
        o=hybrid.org.id,
    )
    assert audit == 1


def test_the_narrowest_card_wins(hybrid):
    owner = hybrid.make.member(hybrid.org, OrgRole.OWNER)
    learner = hybrid.learner()

    def fee():
        return legs(hybrid, hybrid.book(learner).json["payment"]["id"])["PLATFORM_FEE"]

    put(hybrid, owner, platform_bps=1100, org_bps=900, consultant_bps=8000)
    assert fee() == 55_000
    put(hybrid, owner, platform_bps=1200, org_bps=800, consultant_bps=8000, plan_type="CONSULTATION")
    assert fee() == 60_000
    put(
        hybrid, owner, platform_bps=1300, org_bps=700, consultant_bps=8000, plan_id=str(hybrid.plan.public_id)
    )
    assert fee() == 65_000
    put(hybrid, owner, platform_bps=2000, org_bps=0, consultant_bps=8000, plan_type="WEBINAR")
    assert fee() == 65_000
    with hybrid.make.session() as s:  # a card named in the expert's membership comes before all
        s.get(type(hybrid.host), hybrid.host.id).rate_card_override_id = hybrid.make.one(
            "SELECT id FROM rate_card WHERE organization_id = :o AND platform_bps = 1100", o=hybrid.org.id
        )
    assert fee() == 55_000


def test_routing_to_the_organisation_joins_its_share(hybrid):
    with hybrid.make.session() as s:
        s.get(type(hybrid.host), hybrid.host.id).payout_recipient = PayoutRecipient.ORGANIZATION
    payment = hybrid.book(hybrid.learner()).json["payment"]["id"]
    assert legs(hybrid, payment) == {"WALLET": 500_000, "PLATFORM_FEE": 50_000, "ORG_PAYABLE": 450_000}
    assert earned(hybrid, payment)[0][1] == 450_000
    none = hybrid.make.one(
        "SELECT count(*) FROM consultant_earnings e JOIN payment p ON p.id = e.payment_id WHERE p.public_id = :p",
        p=payment,
    )
    assert none == 0


def test_a_marketplace_plan_of_a_hosts_expert_pays_the_host(world, till):
    host = world.make.org(can_sponsor=False, can_host=True, funding=None)
    user = world.make.user()
    world.make.member(host, OrgRole.EXPERT, user=user)
    plan = world.make.plan(world.make.expert(user), 800_100)
    payment = world.book(world.learner(), plan=plan).json["payment"]["id"]
    assert legs(world, payment) == {
        "WALLET": 800_100,
        "PLATFORM_FEE": 80_010,
        "ORG_PAYABLE": 80_010,
        "CONSULTANT_PAYABLE": 640_080,
    }
    assert earned(world, payment) == [(host.id, 80_010, 0, "PENDING")]
    card = world.book(world.make.user(), plan=plan, org=None).json
    till.settle(card)
    assert earned(world, card["payment"]["id"]) == [(host.id, 80_010, 0, "PENDING")]


def test_refunds_take_the_hosts_share_back(hybrid):
    admin = hybrid.make.user(platform_role=PlatformRole.ADMIN)
    payment = hybrid.book(hybrid.learner()).json["payment"]["id"]

    def refund(key, **body):
        return hybrid.client.post(
            f"/api/payments/{payment}/refunds",
            json={"reason": "x", **body},
            headers={**hybrid.auth(admin), "Idempotency-Key": key},
        )

    assert refund("a", amount_paise=100_001).status_code == 201
    assert earned(hybrid, payment) == [(hybrid.org.id, 50_000, 10_000, "PENDING")]
    assert refund("b").status_code == 201
    assert earned(hybrid, payment) == [(hybrid.org.id, 50_000, 50_000, "REFUNDED")]
    payable = hybrid.make.one(
        "SELECT b.balance_paise FROM ledger_balance b JOIN ledger_account a ON a.id = b.account_id WHERE a.code = :c",
        c=f"ORG_PAYABLE|org:{hybrid.org.id}|INR",
    )
    assert payable == 0


def test_who_may_change_a_card(hybrid):
    for role, status, code in (
        (OrgRole.MAINTAINER, 403, "BILLING_ADMIN_OR_OWNER_REQUIRED"),
        (OrgRole.MANAGER, 403, "BILLING_ADMIN_OR_OWNER_REQUIRED"),
        (OrgRole.SUPPORT, 403, "BILLING_ADMIN_OR_OWNER_REQUIRED"),
    ):
        assert put(hybrid, hybrid.make.member(hybrid.org, role), status)["code"] == code
    stranger = hybrid.make.member(hybrid.make.org(), OrgRole.OWNER)
    assert put(hybrid, stranger, 403)["code"] == "NOT_A_MEMBER"
    sponsor = hybrid.make.org()
    assert (
        put(hybrid, hybrid.make.member(sponsor, OrgRole.OWNER), 409, org=sponsor)["code"]
        == "HOST_CAPABILITY_REQUIRED"
    )
    foreign = hybrid.make.plan(hybrid.make.expert(), 100_000)
    owner = hybrid.make.member(hybrid.org, OrgRole.OWNER)
    assert put(hybrid, owner, 400, plan_id=str(foreign.public_id))["code"] == "VALIDATION_FAILED"
    assert hybrid.make.one("SELECT count(*) FROM rate_card WHERE organization_id = :o", o=hybrid.org.id) == 0


def test_two_cards_of_one_scope_never_overlap(hybrid, owner_engine):
    put(hybrid, hybrid.make.member(hybrid.org, OrgRole.OWNER))
    with pytest.raises(IntegrityError, match="ex_rate_card"), owner_engine.begin() as c:
        c.execute(
            text(
                "INSERT INTO rate_card (organization_id, platform_bps, org_bps, consultant_bps, effective_from) "
                "VALUES (:o, 1000, 1000, 8000, now())"
            ),
            {"o": hybrid.org.id},
        )


def test_admin_may_go_below_the_minimum(hybrid):
    admin = hybrid.make.user(platform_role=PlatformRole.ADMIN)
    made = put(hybrid, admin, platform_bps=500, org_bps=1500, consultant_bps=8000)
    assert made["rate_card"]["platform_bps"] == 500
    listed = hybrid.client.get(
        f"/api/organizations/{hybrid.org.slug}/rate-cards", headers=hybrid.auth(admin)
    ).json
    assert [c["platform_bps"] for c in listed["result"]] == [500]
    assert rates.DEFAULT.platform_bps == 1000
