"""What lost disputes take: beside refunds under way, in parts, twice, and after crashes (chapter 2, 2.2 CHARGEBACK, 2.8)."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.gateways import provider
from app.models import CreditKind, ReferralCredit
from app.security import context
from app.security.context import acting
from app.services import disputes, reconcile, refunds, topup_refunds

from .test_cards import till as till
from .test_disputes import admin as admin
from .test_disputes import bank as bank
from .test_disputes import earnings
from .test_refunds import ask, paid_by_card, rows, send


@pytest.fixture
def silent(world):
    """Asserts that the reconciler has nothing to say about these ids, nor about the organisation."""

    def check(*ids):
        with world.make.session() as s, acting(s, scope="job"):
            report = reconcile.run(s)
            named = {str(i) for i in (*ids, world.org.public_id)} | {"UNAPPLIED_RECEIPT|platform|INR"}
            assert not [f for f in report.findings if set(f["ids"]) & named]
            assert reconcile.run(s, world.org.id).findings == []
            s.rollback()

    return check


def pending_at_provider(till):
    """The next refund is taken in and decided later."""
    till.act()
    provider.arm(till.session, "refund", "pending")
    till.session.commit()


def decide(till, world, refund, status):
    """The provider decides a refund of ours and tells us."""
    theirs = world.make.one("SELECT provider_refund_id FROM refund WHERE public_id = :r", r=refund)
    till.act()
    provider.settle_refund(till.session, theirs, status)
    till.session.commit()
    till.webhooks()


def out(world, payment):
    """(what left CASH for a booking, what the provider's books say left), paise."""
    ours = world.make.one(
        "SELECT coalesce(sum(e.amount_paise), 0) FROM ledger_transaction t JOIN ledger_entry e ON e.transaction_id = t.id "
        "JOIN ledger_account a ON a.id = e.account_id WHERE a.kind = 'CASH' AND e.side = 'C' "
        "AND t.kind IN ('REFUND', 'CHARGEBACK') AND t.details->>'payment_id' = :p",
        p=str(payment),
    )
    theirs = world.make.one(
        "SELECT coalesce(-sum(s.amount_paise), 0) FROM sandbox_entry s LEFT JOIN sandbox_dispute d ON d.dispute_id = s.entity_id "
        "JOIN payment p ON p.provider_payment_id = coalesce(d.payment_id, s.payment_id) "
        "WHERE p.public_id = :p AND s.kind IN ('refund', 'dispute')",
        p=payment,
    )
    return int(ours), int(theirs)


# ---- a refund under way ------------------------------------------------------------------------------------------------


def test_a_refund_that_fails_after_a_loss_adds_what_it_had_counted(world, till, bank, admin, silent):
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    ask(world, admin, payment, 200_000)
    refund = rows(world, payment)[0][2]
    pending_at_provider(till)
    assert send(till, refund) == "PENDING"
    dispute = bank.open(payment)
    bank.move(dispute, "lost")
    assert bank.row(dispute).posted_paise == 300_000
    decide(till, world, refund, "processed")  # a chargeback left nothing to send: it fails
    assert rows(world, payment)[0][0] == "FAILED"
    assert bank.row(dispute).posted_paise == 500_000
    key = f"chargeback:{bank.row(dispute).public_id}"
    assert till.legs(f"{key}:{refund}") == [
        ("CASH", "C", 200_000),
        ("CONSULTANT_PAYABLE", "D", 160_000),
        ("PLATFORM_FEE", "D", 40_000),
    ]
    assert earnings(world, payment) == [("consultant", "REFUNDED", 400_000)]
    assert out(world, payment) == (500_000, 500_000)
    silent(payment, bank.row(dispute).public_id)
    till.act()
    refunds.sweep(till.session, till.settings)
    till.act()
    assert disputes.watch(till.session, till.settings)["moved"] == 0
    assert send(till, refund) == "FAILED" and out(world, payment) == (500_000, 500_000)
    more = ask(world, admin, payment, 1, key="more")
    assert (more.status_code, more.json["details"]) == (409, {"refundable_paise": 0})


def test_a_refund_that_is_refused_because_the_bank_was_first_adds_it_too(world, till, bank, admin, silent):
    """Reserved here, not yet asked of the provider, when the dispute is lost."""
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    ask(world, admin, payment, 200_000)
    dispute = bank.open(payment)
    bank.move(dispute, "lost")
    assert bank.row(dispute).posted_paise == 300_000
    assert send(till, rows(world, payment)[0][2]) == "FAILED"
    assert bank.row(dispute).posted_paise == 500_000 and out(world, payment) == (500_000, 500_000)
    silent(payment, bank.row(dispute).public_id)


def test_a_refund_that_arrives_after_a_part_was_lost_adds_nothing(world, till, bank, admin, silent):
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    ask(world, admin, payment, 200_000)
    refund = rows(world, payment)[0][2]
    pending_at_provider(till)
    send(till, refund)
    dispute = bank.open(payment, amount_paise=100_000)
    bank.move(dispute, "lost")
    decide(till, world, refund, "processed")
    assert rows(world, payment)[0][0] == "SUCCEEDED" and bank.row(dispute).posted_paise == 100_000
    assert out(world, payment) == (300_000, 300_000)
    assert earnings(world, payment) == [("consultant", "PENDING", 240_000)]
    silent(payment, bank.row(dispute).public_id)


def test_a_part_that_was_lost_whole_is_not_raised_by_a_failed_refund(world, till, bank, admin, silent):
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    ask(world, admin, payment, 400_000)
    refund = rows(world, payment)[0][2]
    pending_at_provider(till)
    send(till, refund)
    first, second = bank.open(payment, amount_paise=100_000), bank.open(payment, amount_paise=150_000)
    bank.move(first, "lost")
    bank.move(second, "lost")
    assert [bank.row(d).posted_paise for d in (first, second)] == [100_000, 0]
    decide(till, world, refund, "failed")
    assert [bank.row(d).posted_paise for d in (first, second)] == [100_000, 150_000]
    assert out(world, payment) == (250_000, 250_000)
    silent(payment, bank.row(first).public_id, bank.row(second).public_id)


@pytest.mark.parametrize("times", [1, 2])
def test_a_crash_while_the_rest_is_posted_leaves_the_refund_to_be_asked_again(
    world, till, bank, admin, silent, times
):
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    ask(world, admin, payment, 200_000)
    refund = rows(world, payment)[0][2]
    dispute = bank.open(payment)
    bank.move(dispute, "lost")
    for _ in range(times):
        world.client.post("/api/test/fault", json={"point": "dispute_lost"})
        with pytest.raises(RuntimeError):
            send(till, refund)
        till.session.rollback()
        assert rows(world, payment)[0][0] == "PENDING" and bank.row(dispute).posted_paise == 300_000
    till.later(3700)
    till.act()
    assert refunds.sweep(till.session, till.settings)["settled"] >= 1
    assert rows(world, payment)[0][0] == "FAILED" and bank.row(dispute).posted_paise == 500_000
    assert out(world, payment) == (500_000, 500_000)
    silent(payment, bank.row(dispute).public_id)


def test_a_crash_while_a_loss_is_posted_leaves_it_to_the_next_delivery(world, till, bank, silent):
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    dispute = bank.open(payment)
    world.client.post("/api/test/fault", json={"point": "dispute_lost"})
    bank.move(dispute, "lost")
    assert (bank.row(dispute).status, bank.row(dispute).posted_paise) == ("NEEDS_RESPONSE", None)
    till.act()
    disputes.watch(till.session, till.settings)
    assert (bank.row(dispute).status, bank.row(dispute).posted_paise) == ("LOST", 500_000)
    till.later(7 * 60)
    till.webhooks()
    assert out(world, payment) == (500_000, 500_000)
    silent(payment, bank.row(dispute).public_id)


def test_a_discounted_booking_loses_its_discount_beside_the_money(world, till, bank, silent):
    """Credit of the payer and a dispute: only CASH is what the bank took."""
    person = world.make.user()
    world.make.add(
        ReferralCredit(
            user_id=person.id, kind=CreditKind.PROMOTION, amount_paise=50_000, remaining_paise=50_000
        )
    )
    body = world.book(
        person,
        plan=world.make.plan(world.make.expert(), 300_000),
        org=None,
        use_referral_credits=True,
    ).json
    till.settle(body)
    payment = body["payment"]["id"]
    dispute = bank.open(payment)
    bank.move(dispute, "lost")
    assert bank.row(dispute).posted_paise == 250_000 and out(world, payment) == (250_000, 250_000)
    silent(payment, bank.row(dispute).public_id)


# ---- credits -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def credits(world, till):
    """Credits bought for so much: (top-up's id, provider's payment id)."""

    def buy(paise):
        billing = world.make.member(world.org, "BILLING_ADMIN")
        path = f"/api/organizations/{world.org.slug}/billing-account/wallet/top-ups"
        bought = world.client.post(
            path,
            json={"amount_paise": paise},
            headers={**world.auth(billing), "Idempotency-Key": uuid.uuid4().hex},
        ).json
        till.pay(bought["order_id"])
        till.webhooks()
        payment = world.make.one(
            "SELECT payment_id FROM sandbox_order WHERE order_id = :o", o=bought["order_id"]
        )

        def back(part):
            return world.client.post(
                f"{path}/{bought['top_up_id']}/refund",
                json={"amount_paise": part},
                headers={**world.auth(billing), "Idempotency-Key": uuid.uuid4().hex},
            ).json["refund_id"]

        return payment, back

    return buy


def disputed(till, payment_id, **options):
    till.act()
    made = provider.open_dispute(till.session, payment_id, **options).dispute_id
    till.session.commit()
    till.webhooks()
    return made


def test_credits_refunded_in_vain_are_lost_in_full(world, till, bank, credits, silent):
    balance = world.make.balance(world.org)
    payment, back = credits(1_000_000)
    pending_at_provider(till)
    refund = back(400_000)
    till.act()
    assert topup_refunds.send(till.session, uuid.UUID(refund), till.settings) == "PENDING"
    dispute = disputed(till, payment)
    bank.move(dispute, "lost")
    assert bank.row(dispute).posted_paise == 600_000
    assert world.make.balance(world.org) == balance + 400_000
    theirs = world.make.one(
        "SELECT provider_refund_id FROM wallet_top_up_refund WHERE public_id = :r", r=refund
    )
    till.act()
    provider.settle_refund(till.session, theirs, "failed")
    till.session.commit()
    till.webhooks()
    till.act()
    till.webhooks()
    assert bank.row(dispute).posted_paise == 1_000_000 and world.make.balance(world.org) == balance
    assert till.legs(f"chargeback:{bank.row(dispute).public_id}:{refund}") == [
        ("CASH", "C", 400_000),
        ("WALLET", "D", 400_000),
    ]
    silent(bank.row(dispute).public_id)


def test_a_closed_dispute_about_refunded_credits_is_charge_refunded(world, till, bank, credits):
    payment, back = credits(1_000_000)
    dispute, other = disputed(till, payment), None
    bank.move(dispute, "closed")
    assert bank.row(dispute).status == "WON"
    refund = back(100_000)
    till.act()
    topup_refunds.send(till.session, uuid.UUID(refund), till.settings)
    other = disputed(till, payment, amount_paise=100_000)
    bank.move(other, "closed")
    assert bank.row(other).status == "CHARGE_REFUNDED"


def hand(till, payment, paise):
    """Somebody refunds at the provider; its webhook waits."""
    till.act()
    made = provider.refund(
        till.session, payment_id=payment, amount_paise=paise, key=uuid.uuid4().hex
    ).refund_id
    till.session.commit()
    return made


def test_credits_returned_by_hand_are_taken_told_and_audited(world, till, bank, credits, silent):
    balance = world.make.balance(world.org)
    payment, _ = credits(1_000_000)
    refund = hand(till, payment, 300_000)
    till.webhooks()
    till.webhooks()
    assert world.make.balance(world.org) == balance + 700_000
    assert till.legs(f"topup-refund:{refund}") == [("CASH", "C", 300_000), ("WALLET", "D", 300_000)]
    said = world.make.one(
        "SELECT count(*) FROM org_audit_log WHERE organization_id = :o AND action = 'WALLET_REFUND'",
        o=world.org.id,
    )
    bells = world.make.one(
        "SELECT count(*) FROM notification WHERE organization_id = :o AND kind = 'wallet.refunded'",
        o=world.org.id,
    )
    assert said == 1 and bells >= 1
    dispute = disputed(till, payment)
    bank.move(dispute, "lost")
    assert bank.row(dispute).posted_paise == 700_000 and world.make.balance(world.org) == balance
    silent(bank.row(dispute).public_id)


# ---- at once -------------------------------------------------------------------------------------------------------------


def together(app, engine, *works):
    """Run *works* at the same time, each with a session of its own in job scope; what each returned or raised."""
    from threading import Barrier

    gate = Barrier(len(works))

    def run(work):
        with app.app_context(), Session(engine, expire_on_commit=False) as session:
            context.use(session, context.Ctx(scope="job"))
            gate.wait()
            try:
                return work(session)
            except Exception as error:  # a test looks at what it was
                return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


@pytest.mark.parametrize("turn", range(3))
def test_a_loss_and_a_refund_that_fails_at_once_add_up(
    world, till, bank, admin, silent, app, web_engine, turn
):
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    ask(world, admin, payment, 200_000)
    refund = rows(world, payment)[0][2]
    pending_at_provider(till)
    send(till, refund)
    dispute = bank.open(payment)
    theirs = world.make.one("SELECT provider_refund_id FROM refund WHERE public_id = :r", r=refund)
    till.act()
    provider.settle_dispute(till.session, dispute, "lost")
    provider.settle_refund(till.session, theirs, "failed")
    till.session.commit()
    told = provider.find_dispute(till.session, dispute)
    from app.gateways import DisputeChanged

    event = DisputeChanged(
        key=f"race-{dispute}-{turn}",
        type="payment.dispute.lost",
        dispute_id=dispute,
        payment_id=told.payment_id,
        amount_paise=told.amount_paise,
        phase=told.phase,
        status="lost",
    )
    answers = together(
        app,
        web_engine,
        lambda s: disputes.changed(s, event, "sandbox", till.settings),
        lambda s: refunds.send(s, refund, till.settings),
        lambda s: disputes.changed(s, event, "sandbox", till.settings),
    )
    assert sorted(map(str, answers)) == ["FAILED", "moved", "repeated"]
    assert bank.row(dispute).posted_paise == 500_000 and out(world, payment) == (500_000, 500_000)
    silent(payment, bank.row(dispute).public_id)


def test_two_workers_open_one_dispute(world, till, bank, app, web_engine, silent):
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    till.act()
    made = provider.open_dispute(till.session, bank.provider_id(payment))
    provider.settle_dispute(till.session, made.dispute_id, "lost")
    with world.make.owner.begin() as c:  # its webhooks stay away
        c.execute(
            text("UPDATE sandbox_webhook SET next_at = NULL WHERE entity_id = :d"), {"d": made.dispute_id}
        )
    till.session.commit()
    from app.gateways import open_gateway

    def work(session):
        told = open_gateway(till.settings, session, "sandbox").fetch_dispute(made.dispute_id)
        outcome = disputes.apply(session, told, "sandbox")
        session.commit()
        return outcome

    assert sorted(together(app, web_engine, work, work, work)) == ["opened", "repeated", "repeated"]
    assert bank.row(made.dispute_id).posted_paise == 500_000 and out(world, payment) == (500_000, 500_000)
    silent(payment, bank.row(made.dispute_id).public_id)


def heard(till, refund, payment):
    from app.gateways import RefundChanged
    from app.services import external_refunds

    def work(session):
        event = RefundChanged(
            key=uuid.uuid4().hex,
            type="refund.processed",
            refund_id=refund,
            payment_id=payment,
            status="processed",
        )
        outcome = external_refunds.changed(session, event, "sandbox", till.settings)
        session.commit()
        return outcome

    return work


def test_two_workers_hear_of_one_refund_by_hand(world, till, bank, credits, silent, app, web_engine):
    _, booking, _ = paid_by_card(world, till, tax_bps=0)
    balance = world.make.balance(world.org)
    bought, _ = credits(1_000_000)
    for payment, paise in ((bank.provider_id(booking), 200_000), (bought, 300_000)):
        refund = hand(till, payment, paise)
        answers = together(app, web_engine, *[heard(till, refund, payment)] * 3)
        assert sorted(map(str, answers)) == ["by_hand", "repeated", "repeated"]
    assert out(world, booking) == (200_000, 200_000)
    assert world.make.balance(world.org) == balance + 700_000
    silent(booking)


def test_credits_lost_while_a_refund_of_them_is_asked_for(
    world, till, bank, credits, silent, app, web_engine
):
    """The provider has decided both; whoever tells us first, all of it was taken once."""
    balance = world.make.balance(world.org)
    payment, back = credits(1_000_000)
    pending_at_provider(till)
    refund = uuid.UUID(back(400_000))
    theirs = world.make.one(
        "SELECT provider_refund_id FROM wallet_top_up_refund WHERE public_id = :r", r=refund
    )
    dispute = disputed(till, payment)
    till.act()
    provider.settle_dispute(till.session, dispute, "lost")
    assert provider.settle_refund(till.session, theirs, "processed").status == "failed"
    till.session.commit()
    from app.gateways import open_gateway

    def lose(session):
        told = open_gateway(till.settings, session, "sandbox").fetch_dispute(dispute)
        outcome = disputes.apply(session, told, "sandbox")
        session.commit()
        return outcome

    answers = together(
        app,
        web_engine,
        lose,
        lambda s: topup_refunds.send(s, refund, till.settings),
        lose,
        lambda s: topup_refunds.send(s, refund, till.settings),
    )
    assert not [a for a in answers if isinstance(a, Exception)], answers
    assert bank.row(dispute).posted_paise == 1_000_000 and world.make.balance(world.org) == balance
    silent(bank.row(dispute).public_id)


def test_a_refund_asked_for_while_the_dispute_is_lost(world, till, bank, admin, silent, app, web_engine):
    """Whoever is first: what both take is what was paid, once the refund has its answer."""
    _, payment, _ = paid_by_card(world, till, tax_bps=0)
    dispute = bank.open(payment)
    till.act()
    provider.settle_dispute(till.session, dispute, "lost")
    till.session.commit()
    from app.gateways import open_gateway

    def lose(session):
        told = open_gateway(till.settings, session, "sandbox").fetch_dispute(dispute)
        outcome = disputes.apply(session, told, "sandbox")
        session.commit()
        return outcome

    world.auth(admin)

    def refund(_):
        client = app.test_client()
        return ask(world, admin, payment, 200_000, client=client).status_code

    answers = together(app, web_engine, lose, refund, lose)
    assert set(map(str, answers)) <= {"moved", "repeated", "201", "409"}, answers
    for row in rows(world, payment):
        send(till, row[2])
    assert bank.row(dispute).posted_paise == 500_000 and out(world, payment) == (500_000, 500_000)
    silent(payment, bank.row(dispute).public_id)
