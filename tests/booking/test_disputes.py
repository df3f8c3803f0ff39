"""Disputes: earnings held, answered by ADMIN, lost once; what comes before its capture follows it (chapter 2, 2.7, 2.8)."""

from __future__ import annotations

import pytest

from app.gateways import provider
from app.models import PlatformRole
from app.services import disputes

from .test_cards import till as till
from .test_refunds import ask, paid_by_card, rows, send

DAY = 24 * 3600


@pytest.fixture
def admin(world):
    return world.make.user(platform_role=PlatformRole.ADMIN)


@pytest.fixture
def bank(world, till, admin):
    """The payer's bank: opens and moves disputes at the provider, and its webhooks reach us."""

    class Bank:
        def provider_id(self, payment):
            return world.make.one("SELECT provider_payment_id FROM payment WHERE public_id = :p", p=payment)

        def open(self, payment, **options):
            till.act()
            made = provider.open_dispute(till.session, self.provider_id(payment), **options)
            till.session.commit()
            till.webhooks()
            return made.dispute_id

        def move(self, dispute_id, status):
            till.act()
            provider.settle_dispute(till.session, dispute_id, status)
            till.session.commit()
            till.webhooks()

        def row(self, dispute_id):
            return world.make.rows("SELECT * FROM dispute WHERE provider_dispute_id = :d", d=dispute_id)[0]

        def answer(self, dispute_id, verb, who=None, **body):
            return world.client.post(
                f"/api/admin/disputes/{self.row(dispute_id).public_id}/{verb}",
                json=body,
                headers=world.auth(who or admin),
            )

    return Bank()


def hosted(world):
    """A host with an expert; its plan pays both."""
    from app.models import OrgRole

    host = world.make.org(can_host=True, can_sponsor=False, funding=None)
    expert = world.make.expert()
    from app.models import User

    with world.make.session() as s:
        user = s.get(User, expert.user_id)
    world.make.member(host, OrgRole.EXPERT, user)
    return host, world.make.plan(expert, 500_000, organization_id=host.id)


def earnings(world, payment):
    return sorted(
        tuple(r)
        for r in world.make.rows(
            "SELECT 'consultant', e.status, e.refunded_paise FROM consultant_earnings e JOIN payment p ON p.id = "
            "e.payment_id WHERE p.public_id = :p UNION ALL SELECT 'host', e.status, e.refunded_paise FROM "
            "organization_earnings e JOIN payment p ON p.id = e.payment_id WHERE p.public_id = :p",
            p=payment,
        )
    )


@pytest.mark.scenario("M-44")
def test_both_earnings_are_held_and_a_loss_after_a_refund_takes_the_rest_once(world, till, bank, admin):
    _, plan = hosted(world)
    person = world.make.user()
    body = world.book(person, plan=plan, org=None).json
    till.settle(body)
    payment = body["payment"]["id"]
    assert earnings(world, payment) == [("consultant", "PENDING", 0), ("host", "PENDING", 0)]
    dispute = bank.open(payment)
    assert bank.row(dispute).status == "NEEDS_RESPONSE" and bank.row(dispute).due_by is not None
    assert earnings(world, payment) == [("consultant", "HELD", 0), ("host", "HELD", 0)]
    ask(world, admin, payment, 200_000)
    assert send(till, rows(world, payment)[0][2]) == "SUCCEEDED"
    bank.move(dispute, "lost")
    key = f"chargeback:{bank.row(dispute).public_id}"
    expected = [
        ("CASH", "C", 300_000),
        ("CONSULTANT_PAYABLE", "D", 240_000),
        ("ORG_PAYABLE", "D", 30_000),
        ("PLATFORM_FEE", "D", 30_000),
    ]
    assert till.legs(key) == expected
    assert (bank.row(dispute).status, bank.row(dispute).posted_paise) == ("LOST", 300_000)
    assert earnings(world, payment) == [("consultant", "REFUNDED", 400_000), ("host", "REFUNDED", 50_000)]
    till.act()
    assert disputes.watch(till.session, till.settings)["moved"] == 0
    till.act()
    till.webhooks()
    assert till.legs(key) == expected
    more = ask(world, admin, payment, 1, key="more")
    assert (more.status_code, more.json["details"]) == (409, {"refundable_paise": 0})
    report = world.client.post("/api/admin/reconcile", json={}, headers=world.auth(admin)).json
    assert not [f for f in report["findings"] if str(payment) in f["ids"]]


def test_a_win_restores_what_was_and_the_last_open_one_decides(world, till, bank):
    _, payment, _ = paid_by_card(world, till)
    with world.make.owner.begin() as c:
        from sqlalchemy import text

        c.execute(
            text(
                "UPDATE consultant_earnings SET status = 'READY' WHERE payment_id = "
                "(SELECT id FROM payment WHERE public_id = :p)"
            ),
            {"p": payment},
        )
    first, second = bank.open(payment, amount_paise=100_000), bank.open(payment, amount_paise=200_000)
    assert earnings(world, payment) == [("consultant", "HELD", 0)]
    bank.move(first, "won")
    assert earnings(world, payment) == [("consultant", "HELD", 0)]
    bank.move(second, "closed")
    assert bank.row(second).status == "WON"  # nothing was refunded meanwhile
    assert earnings(world, payment) == [("consultant", "READY", 0)]


def test_closed_after_a_refund_is_charge_refunded(world, till, bank, admin):
    _, payment, _ = paid_by_card(world, till)
    dispute = bank.open(payment)
    ask(world, admin, payment, 590_000)
    send(till, rows(world, payment)[0][2])
    bank.move(dispute, "closed")
    assert (bank.row(dispute).status, bank.row(dispute).posted_paise) == ("CHARGE_REFUNDED", None)
    assert earnings(world, payment) == [("consultant", "REFUNDED", 400_000)]


def test_a_warning_asks_first_and_may_become_a_dispute(world, till, bank):
    _, payment, _ = paid_by_card(world, till)
    dispute = bank.open(payment, phase="retrieval")
    assert bank.row(dispute).status == "WARNING_NEEDS_RESPONSE"
    bank.move(dispute, "under_review")
    assert bank.row(dispute).status == "WARNING_UNDER_REVIEW"
    bank.move(dispute, "closed")
    assert bank.row(dispute).status == "WARNING_CLOSED"
    assert earnings(world, payment) == [("consultant", "PENDING", 0)]


def test_admin_accepts_and_others_do_not(world, till, bank, admin):
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    dispute = bank.open(payment)
    staff = world.make.user(platform_role=PlatformRole.STAFF)
    for who in (staff, world.learner()):
        refused = bank.answer(dispute, "accept", who)
        assert (refused.status_code, refused.json["code"]) == (403, "INSUFFICIENT_ROLE")
    assert bank.row(dispute).status == "NEEDS_RESPONSE"
    done = bank.answer(dispute, "accept")
    assert (done.status_code, done.json["status"], done.json["posted_paise"]) == (200, "LOST", 500_000)
    again = bank.answer(dispute, "accept")
    assert (again.status_code, again.json["code"]) == (409, "ILLEGAL_TRANSITION")
    till.webhooks()
    assert bank.row(dispute).posted_paise == 500_000


def test_admin_contests_with_evidence(world, till, bank):
    _, payment, _ = paid_by_card(world, till)
    dispute = bank.open(payment)
    short = bank.answer(dispute, "contest", summary="No", evidence={"horoscope": "x"})
    assert short.status_code == 400 and set(short.json["details"]["fields"]) == {"summary", "horoscope"}
    assert bank.row(dispute).answered_at is None
    done = bank.answer(
        dispute,
        "contest",
        summary="The session took place as booked.",
        evidence={"proof_of_service": "Both were in the call for 58 minutes."},
    )
    assert (done.status_code, done.json["status"]) == (200, "UNDER_REVIEW")
    assert bank.row(dispute).evidence["proof_of_service"].startswith("Both were")
    assert bank.answer(dispute, "accept").json["code"] == "ILLEGAL_TRANSITION"
    bank.move(dispute, "won")
    assert bank.row(dispute).status == "WON"


def test_an_answer_that_got_lost_is_found_by_the_watch(world, till, bank):
    _, payment, _ = paid_by_card(world, till)
    dispute = bank.open(payment)
    till.act()
    provider.arm(till.session, "accept_dispute", "lose_answer")
    till.session.commit()
    lost = bank.answer(dispute, "accept")
    assert (lost.status_code, lost.json["code"]) == (503, "GATEWAY_UNAVAILABLE")
    assert bank.row(dispute).status == "NEEDS_RESPONSE"
    till.act()
    assert disputes.watch(till.session, till.settings)["moved"] >= 1
    assert (bank.row(dispute).status, bank.row(dispute).posted_paise) == ("LOST", 590_000)


def test_administrators_are_told_at_48_and_12_hours_once(world, till, bank, admin):
    _, payment, _ = paid_by_card(world, till)
    dispute = bank.open(payment)

    def told():
        return world.make.one(
            "SELECT count(*) FROM notification WHERE user_id = :u AND kind = 'dispute.due' AND url LIKE :d",
            u=admin.id,
            d=f"%{bank.row(dispute).public_id}",
        )

    for seconds, expected in ((5 * DAY - 60, 0), (5 * DAY + 60, 1), (6 * DAY, 1), (7 * DAY - 11 * 3600, 2)):
        till.later(seconds)
        till.act()
        disputes.watch(till.session, till.settings)
        till.act()
        disputes.watch(till.session, till.settings)
        assert told() == expected, seconds


@pytest.mark.scenario("M-45")
def test_a_refund_and_a_dispute_before_the_capture_apply_after_it(world, till, bank):
    """Made at the provider by hand, and told in the wrong order."""
    person = world.make.user()
    body = world.book(person, plan=world.make.plan(world.make.expert(), 500_000), org=None).json
    till.pay(body["payment"]["order_id"])
    payment_id = world.make.one(
        "SELECT payment_id FROM sandbox_order WHERE order_id = :o", o=body["payment"]["order_id"]
    )
    till.act()
    provider.refund(
        till.session, payment_id=payment_id, amount_paise=200_000, key="by-hand", outcome="processed"
    )
    dispute = provider.open_dispute(till.session, payment_id).dispute_id
    till.session.commit()
    with world.make.owner.begin() as c:  # the capture's webhook is late
        from sqlalchemy import text

        c.execute(
            text(
                "UPDATE sandbox_webhook SET next_at = NULL WHERE event = 'payment.captured' AND entity_id = :p"
            ),
            {"p": payment_id},
        )
    assert till.webhooks()["deferred"] == 2
    assert rows(world, body["payment"]["id"]) == [] and till.state(body)[0] == "PENDING"
    with world.make.owner.begin() as c:
        c.execute(
            text(
                "UPDATE sandbox_webhook SET next_at = now() WHERE event = 'payment.captured' AND entity_id = :p"
            ),
            {"p": payment_id},
        )
    till.webhooks()
    assert till.state(body)[0] == "SUCCEEDED"
    assert [(r[0], r[1]) for r in rows(world, body["payment"]["id"])] == [("SUCCEEDED", 200_000)]
    assert earnings(world, body["payment"]["id"]) == [("consultant", "HELD", 160_000)]
    assert bank.row(dispute).status == "NEEDS_RESPONSE"


def test_a_refund_by_hand_is_written_down_once_and_ours_is_not_doubled(world, till, admin):
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    provider_payment = world.make.one(
        "SELECT provider_payment_id FROM payment WHERE public_id = :p", p=payment
    )
    till.act()
    provider.refund(
        till.session, payment_id=provider_payment, amount_paise=100_000, key="hand", outcome="processed"
    )
    till.session.commit()
    till.webhooks()
    assert [(r[0], r[1]) for r in rows(world, payment)] == [("SUCCEEDED", 100_000)]
    ask(world, admin, payment, 50_000, key="ours")
    till.act()
    provider.arm(till.session, "refund", "lose_answer")
    till.session.commit()
    with pytest.raises(Exception, match="GATEWAY_UNAVAILABLE"):
        send(till, rows(world, payment)[1][2])
    till.session.rollback()
    till.webhooks()  # its event names a refund that we do not know by its id
    assert [(r[0], r[1]) for r in rows(world, payment)] == [("SUCCEEDED", 100_000), ("SUCCEEDED", 50_000)]


def test_a_disputed_top_up_takes_the_credits_and_what_is_spent_is_owed(world, till, bank):
    make, client = world.make, world.client
    billing = make.member(world.org, "BILLING_ADMIN")
    path = f"/api/organizations/{world.org.slug}/billing-account/wallet/top-ups"
    bought = client.post(
        path,
        json={"amount_paise": 7_000_000},
        headers={**world.auth(billing), "Idempotency-Key": "top-up"},
    ).json
    till.pay(bought["order_id"])
    till.webhooks()
    balance = make.balance(world.org)
    assert balance == 12_000_000
    payment_id = make.one("SELECT payment_id FROM sandbox_order WHERE order_id = :o", o=bought["order_id"])
    till.act()
    dispute = provider.open_dispute(till.session, payment_id).dispute_id
    till.session.commit()
    till.webhooks()
    with make.acting(billing) as s:
        from app.services import ledger

        ledger.post(
            s,
            "booking:spent-meanwhile",
            "BOOKING",
            [
                ledger.debit(ledger.org_account("WALLET", world.org.id), 6_000_000),
                ledger.credit(ledger.PLATFORM_FEE, 6_000_000),
            ],
            organization_id=world.org.id,
        )
        s.commit()
    bank.move(dispute, "lost")
    assert make.balance(world.org) == 0
    assert (
        make.one("SELECT shortfall_paise FROM billing_account WHERE organization_id = :o", o=world.org.id)
        == 1_000_000
    )
    assert till.legs(f"chargeback:{bank.row(dispute).public_id}") == [
        ("CASH", "C", 7_000_000),
        ("ORG_RECEIVABLE", "D", 1_000_000),
        ("WALLET", "D", 6_000_000),
    ]
    listed = client.get(f"/api/organizations/{world.org.slug}/disputes", headers=world.auth(billing)).json
    assert [d["status"] for d in listed["disputes"]] == ["LOST"]
    learner = world.learner()
    assert (
        client.get(f"/api/organizations/{world.org.slug}/disputes", headers=world.auth(learner)).status_code
        == 403
    )
    other = make.member(make.org(), "OWNER")
    shown = client.get(
        f"/api/organizations/{other.organization_id}/disputes/{bank.row(dispute).public_id}",
        headers=world.auth(other),
    )
    assert shown.status_code in (403, 404)


def test_the_desk_shows_answers_and_hides_from_members(world, till, bank, admin, app):
    _, payment, _ = paid_by_card(world, till)
    dispute = bank.open(payment)
    row = bank.row(dispute)
    browser = world.make.sign_in(app.test_client(), admin)
    assert dispute in browser.get("/admin/disputes/?status=answer").text
    page = browser.get(f"/admin/disputes/{row.public_id}").text
    assert "Contest" in page and "Accept" in page
    browser.form(
        f"/admin/disputes/{row.public_id}/contest",
        {"summary": "It took place as it was booked.", "others": "See call"},
    )
    assert bank.row(dispute).status == "UNDER_REVIEW"
    assert "See call" in browser.get(f"/admin/disputes/{row.public_id}").text
    member = world.make.sign_in(app.test_client(), world.learner())
    assert member.get("/admin/disputes/").status_code == 404
