"""Money of invoices that goes back without a credit note: chargebacks and refunds by hand; how it is paid again; money that
matched nothing (chapter 2, 2.2 CHARGEBACK and INVOICE_REFUND, 2.8, decision 0069)."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import clock
from app.gateways import Event, RefundChanged, provider
from app.models import InvoiceStatus
from app.security import context
from app.security.context import acting
from app.services import (
    credit_notes,
    disputes,
    external_refunds,
    gateway_events,
    invoice_receipts,
    reconcile,
    unapplied,
)
from tests.booking.test_dispute_losses import together
from tests.factories import unique
from tests.invoices.conftest import base


class House:
    """The provider and the payers' banks, in job scope; their webhooks come into the test client."""

    def __init__(self, make, client, app, session, settings):
        self.make, self.client, self.app, self.session, self.settings = make, client, app, session, settings

    def act(self):
        context.use(self.session, context.Ctx(scope="job"))

    def does(self, work):
        self.act()
        answer = work(self.session)
        self.session.commit()
        self.webhooks()
        return answer

    def webhooks(self):
        self.act()

        def post(url, body, headers):
            return self.client.post("/webhooks/gateway/sandbox", data=body, headers=headers).status_code

        provider.deliver(self.session, "http://ignored", self.settings.sandbox_webhook_secret, post=post)
        self.act()
        return gateway_events.process(self.session, self.settings)

    def payment(self, order_id):
        return self.make.one("SELECT payment_id FROM sandbox_order WHERE order_id = :o", o=order_id)

    def open(self, payment_id, **options):
        return self.does(lambda s: provider.open_dispute(s, payment_id, **options).dispute_id)

    def move(self, dispute, status):
        self.does(lambda s: provider.settle_dispute(s, dispute, status))
        return self.row(dispute)

    def lose(self, payment_id, **options):
        return self.move(self.open(payment_id, **options), "lost")

    def row(self, dispute):
        return self.make.rows("SELECT * FROM dispute WHERE provider_dispute_id = :d", d=dispute)[0]

    def by_hand(self, payment_id, paise):
        """Somebody refunds at the provider's own console."""
        return self.does(
            lambda s: (
                provider.refund(
                    s, payment_id=payment_id, amount_paise=paise, key=uuid.uuid4().hex, outcome="processed"
                ).refund_id
            )
        )

    def arm(self, call, outcome):
        self.act()
        provider.arm(self.session, call, outcome)
        self.session.commit()

    def receipt(self, payment_id):
        return self.make.rows("SELECT * FROM unapplied_receipt WHERE provider_payment_id = :p", p=payment_id)[
            0
        ]

    def send_apart(self, payment_id):
        self.act()
        unapplied.refund(self.session, payment_id, self.settings)
        self.session.commit()

    def send_invoice_refunds(self, c):
        for row in self.make.rows(
            "SELECT public_id FROM invoice_refund WHERE organization_id = :o AND status = 'PENDING'",
            o=c.org.id,
        ):
            self.act()
            credit_notes.send(self.session, row.public_id, self.settings)

    def findings(self):
        """What the reconciler says about money that matched nothing."""
        with self.make.session() as s, acting(s, scope="job"):
            found = reconcile.run(s).findings
            s.rollback()
        return [f for f in found if f["kind"] in ("UNAPPLIED_RECEIPT_DRIFT", "CHARGEBACK_WITHOUT_LEDGER_TXN")]


@pytest.fixture
def house(make, client, app, web_engine, owner_engine, settings):
    with owner_engine.begin() as c:  # what other tests left waiting is not this one's
        c.execute(text("UPDATE sandbox_webhook SET next_at = NULL WHERE delivered_at IS NULL"))
        c.execute(
            text("UPDATE gateway_event SET status = 'IGNORED' WHERE status IN ('RECEIVED', 'DEFERRED')")
        )
    with app.app_context(), Session(web_engine, expire_on_commit=False) as session:
        yield House(make, client, app, session, settings)


@pytest.fixture
def paid(customer, api, pay, house):
    """An invoice of ₹11,800 paid by card: (customer, invoice, provider's payment id)."""

    def build(*amounts):
        c = customer()
        row = c.manual(*(amounts or (1_000_000,)))
        order = api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["order_id"]
        pay(order)
        assert c.again(row).status == InvoiceStatus.PAID
        return c, row, house.payment(order)

    return build


def capture_again(house, payment):
    """The capture of *payment*, told once more under another key."""
    found = house.make.rows("SELECT * FROM sandbox_order WHERE payment_id = :p", p=payment)[0]
    house.act()
    return Event(
        key=uuid.uuid4().hex,
        type="order.paid",
        order_id=found.order_id,
        payment_id=payment,
        amount_paise=found.captured_paise,
        notes=found.notes,
    )


def returned(refund, payment, paise):
    """A refund that the provider tells us of, under another key each time."""
    return RefundChanged(
        key=uuid.uuid4().hex,
        type="refund.processed",
        refund_id=refund,
        payment_id=payment,
        amount_paise=paise,
        status="processed",
    )


def state(c, row):
    row = c.again(row)
    return row.status.value, row.paid_paise, row.refunded_paise, row.due_paise, c.balance("ORG_RECEIVABLE")


def shown(c, api, row):
    body = api(c.billing, "GET", base(c, row.public_id))[1]
    return body["status"], body["due_paise"], [d["amount_paise"] for d in body["chargebacks"]]


# ---- chargebacks of invoices ---------------------------------------------------------------------------------------------


def test_a_chargeback_of_a_paid_invoice_is_owed_again_and_said(paid, house, api, audits, make):
    c, row, payment = paid()
    dispute = house.lose(payment)
    assert (dispute.subject, dispute.posted_paise) == ("invoice", 1_180_000)
    assert c.posted(f"chargeback:{dispute.public_id}") == {
        ("ORG_RECEIVABLE", "D"): 1_180_000,
        ("CASH", "C"): 1_180_000,
    }
    assert state(c, row) == ("PAID", 1_180_000, 1_180_000, 1_180_000, 1_180_000)
    assert shown(c, api, row) == ("PAID", 1_180_000, [1_180_000]) and c.findings() == []
    assert audits(c.org)[-3:].count("INVOICE_CHARGED_BACK") == 1
    told = make.one(
        "SELECT count(*) FROM outbox_message WHERE organization_id = :o AND payload->>'template' = 'invoice_went_back'",
        o=c.org.id,
    )
    assert told == 2  # owner and billing administrator
    bill = api(c.billing, "GET", f"/api/organizations/{c.org.slug}/billing")[1]
    assert (bill["outstanding_paise"], bill["exposure_paise"]) == (1_180_000, 1_180_000)
    listed = api(c.billing, "GET", base(c) + "?tab=open")[1]
    assert [i["id"] for i in listed["result"]] == [str(row.public_id)]
    house.webhooks()
    house.act()
    disputes.watch(house.session, house.settings)
    assert state(c, row)[2] == 1_180_000 and house.findings() == []


def test_what_was_taken_back_is_paid_again_by_card(paid, house, api, pay, audits, make):
    c, row, payment = paid()
    house.lose(payment)
    status, body = api(c.billing, "POST", base(c, row.public_id, "pay"))
    assert (status, body["amount_paise"]) == (200, 1_180_000)
    replay = capture_again(house, payment)
    assert invoice_receipts.captured(house.session, replay, "sandbox") == "repeated"
    assert make.one("SELECT count(*) FROM unapplied_receipt WHERE provider_payment_id = :p", p=payment) == 0
    assert api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["order_id"] == body["order_id"]
    pay(body["order_id"])
    assert state(c, row) == ("PAID", 2_360_000, 1_180_000, 0, 0)
    assert shown(c, api, row) == ("PAID", 0, [1_180_000]) and c.findings() == []
    assert audits(c.org).count("INVOICE_PAID") == 2
    assert api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["code"] == "INVOICE_NOT_PAYABLE"
    again = house.lose(house.payment(body["order_id"]))  # and taken back once more
    assert again.posted_paise == 1_180_000
    assert state(c, row) == ("PAID", 2_360_000, 2_360_000, 1_180_000, 1_180_000) and c.findings() == []


def test_administrators_record_a_transfer_for_what_was_taken_back(paid, house, api, admin):
    c, row, payment = paid()
    house.lose(payment)
    body = {"utr": unique("UTR").replace("-", ""), "received_on": str(clock.today_ist())}
    over = api(admin, "POST", base(c, row.public_id, "receipts"), {**body, "amount_paise": 1_180_001})
    assert over[0] == 400 and state(c, row)[3] == 1_180_000
    for paise, left in ((500_000, 680_000), (680_000, 0)):
        body["utr"] = unique("UTR").replace("-", "")
        made = api(admin, "POST", base(c, row.public_id, "receipts"), {**body, "amount_paise": paise})
        assert made[0] == 201 and state(c, row)[3] == left
    refused = api(
        admin,
        "POST",
        base(c, row.public_id, "receipts"),
        {**body, "utr": unique("UTR").replace("-", ""), "amount_paise": 1},
    )
    assert refused[1]["code"] == "INVOICE_NOT_PAYABLE" and c.findings() == []


def test_the_page_says_what_is_owed_again_and_offers_to_pay(paid, house, app, make, admin):
    c, row, payment = paid()
    dispute = house.lose(payment)
    path = f"/dashboard/organization/{c.org.slug}/invoices/{row.public_id}"
    page = make.sign_in(app.test_client(), c.billing).get(path).text
    assert "₹11,800.00 is owed again." in page and "Pay ₹11,800.00" in page
    assert dispute.provider_dispute_id in page and "Record a transfer" not in page
    desk = make.sign_in(app.test_client(), admin)
    assert "Record a transfer" in desk.get(path).text
    assert f'href="{path}"' in desk.get(f"/admin/disputes/{dispute.public_id}").text
    learner = make.sign_in(app.test_client(), c.learner).get(path)
    assert learner.status_code in (403, 404)


def test_a_credit_note_settles_what_was_taken_back(paid, house, api, admin):
    """The customer was right: nothing is owed and nothing goes back twice."""
    c, row, payment = paid()
    house.lose(payment)
    made = api(admin, "POST", base(c, row.public_id, "credit-notes"), {"reason": "It never took place"})
    assert made[0] == 201
    assert state(c, row) == ("REFUNDED", 1_180_000, 1_180_000, 0, 0)
    assert c.findings() == []
    assert api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["code"] == "INVOICE_NOT_PAYABLE"


def test_a_part_is_taken_back_and_a_second_dispute_takes_the_rest(paid, house, api):
    c, row, payment = paid()
    first = house.lose(payment, amount_paise=180_000)
    second = house.lose(payment)
    assert (first.posted_paise, second.posted_paise) == (180_000, 1_000_000)
    assert state(c, row) == ("PAID", 1_180_000, 1_180_000, 1_180_000, 1_180_000)
    assert shown(c, api, row)[2] == [180_000, 1_000_000] and c.findings() == []


def test_won_and_closed_disputes_of_an_invoice_take_nothing(paid, house, api, admin):
    c, row, payment = paid(500_000, 500_000)
    assert house.move(house.open(payment), "won").status == "WON"
    assert house.move(house.open(payment), "closed").status == "WON"
    api(
        admin,
        "POST",
        base(c, row.public_id, "credit-notes"),
        {"items": [{"line": 1, "amount_paise": 500_000}], "reason": "One workshop fell out"},
    )
    house.send_invoice_refunds(c)
    assert house.move(house.open(payment), "closed").status == "CHARGE_REFUNDED"
    assert state(c, row)[2:4] == (590_000, 0) and c.findings() == []


def test_a_loss_after_a_refund_takes_the_rest(paid, house, api, admin):
    c, row, payment = paid(500_000, 500_000)
    api(
        admin,
        "POST",
        base(c, row.public_id, "credit-notes"),
        {"items": [{"line": 1, "amount_paise": 500_000}], "reason": "One workshop fell out"},
    )
    house.send_invoice_refunds(c)
    assert house.lose(payment).posted_paise == 590_000
    assert state(c, row) == ("PAID", 1_180_000, 1_180_000, 590_000, 590_000) and c.findings() == []


def test_a_refund_that_fails_after_a_loss_was_taken_by_the_bank(paid, house, api, admin, make, app):
    c, row, payment = paid(500_000, 500_000)
    api(
        admin,
        "POST",
        base(c, row.public_id, "credit-notes"),
        {"items": [{"line": 1, "amount_paise": 500_000}], "reason": "One workshop fell out"},
    )
    dispute = house.lose(payment)  # the refund is reserved, and not sent yet
    assert dispute.posted_paise == 590_000
    house.send_invoice_refunds(c)  # the provider has nothing left to send
    assert house.row(dispute.provider_dispute_id).posted_paise == 1_180_000
    assert state(c, row) == ("PAID", 1_180_000, 1_180_000, 590_000, 590_000) and c.findings() == []
    (refund,) = make.rows("SELECT * FROM invoice_refund WHERE organization_id = :o", o=c.org.id)
    assert refund.status == "FAILED"
    twice = api(
        admin,
        "POST",
        base(c, row.public_id, "refunds", refund.public_id, "transfer"),
        {"utr": unique("UTR").replace("-", "")},
    )
    assert twice[1]["code"] == "ILLEGAL_TRANSITION"  # it went back already
    page = f"/dashboard/organization/{c.org.slug}/invoices/{row.public_id}"
    assert "Enter reference" not in make.sign_in(app.test_client(), admin).get(page).text
    assert house.findings() == []


def test_a_rejected_refund_waits_for_a_transfer_and_is_not_sent_again_by_the_next_note(
    paid, house, api, admin, make
):
    c, row, _ = paid(500_000, 500_000)
    path = base(c, row.public_id, "credit-notes")
    api(admin, "POST", path, {"items": [{"line": 1, "amount_paise": 500_000}], "reason": "The first"})
    house.arm("refund", "failed")
    house.send_invoice_refunds(c)
    api(admin, "POST", path, {"items": [{"line": 2, "amount_paise": 100_000}], "reason": "The second"})
    house.send_invoice_refunds(c)
    refunds = make.rows(
        "SELECT public_id, status, amount_paise FROM invoice_refund WHERE organization_id = :o ORDER BY id",
        o=c.org.id,
    )
    assert [(r.status, r.amount_paise) for r in refunds] == [("FAILED", 590_000), ("SUCCEEDED", 118_000)]
    done = api(
        admin,
        "POST",
        base(c, row.public_id, "refunds", refunds[0].public_id, "transfer"),
        {"utr": unique("UTR").replace("-", "")},
    )
    assert done[0] == 200 and state(c, row)[2:4] == (708_000, 0) and c.findings() == []


def test_a_transfer_back_and_a_chargeback_beside_it_are_owed(paid, house, api, admin, make):
    """The refund was rejected, our bank returned it, and then the payer's bank takes the whole charge."""
    c, row, payment = paid(500_000, 500_000)
    api(
        admin,
        "POST",
        base(c, row.public_id, "credit-notes"),
        {"items": [{"line": 1, "amount_paise": 500_000}], "reason": "One workshop fell out"},
    )
    house.arm("refund", "failed")
    house.send_invoice_refunds(c)
    refund = make.one("SELECT public_id FROM invoice_refund WHERE organization_id = :o", o=c.org.id)
    api(
        admin,
        "POST",
        base(c, row.public_id, "refunds", refund, "transfer"),
        {"utr": unique("UTR").replace("-", "")},
    )
    assert state(c, row)[2:4] == (590_000, 0)
    assert house.lose(payment).posted_paise == 1_180_000
    assert state(c, row) == ("PAID", 1_180_000, 1_770_000, 1_180_000, 1_180_000) and c.findings() == []


def test_a_refund_that_the_provider_rejects_later_is_returned_by_bank_from_the_page(
    paid, house, api, admin, make, app, settings
):
    """Taken in, given an id, and rejected afterwards."""
    c, row, _ = paid(500_000, 500_000)
    api(
        admin,
        "POST",
        base(c, row.public_id, "credit-notes"),
        {"items": [{"line": 1, "amount_paise": 500_000}], "reason": "One workshop fell out"},
    )
    house.arm("refund", "pending")
    house.send_invoice_refunds(c)
    refund = make.rows("SELECT * FROM invoice_refund WHERE organization_id = :o", o=c.org.id)[0]
    house.does(lambda s: provider.settle_refund(s, refund.provider_refund_id, "failed"))
    path = f"/dashboard/organization/{c.org.slug}/invoices/{row.public_id}"
    browser = make.sign_in(app.test_client(), admin)
    assert "Enter reference" in browser.get(path).text
    done = browser.form(
        f"{path}/refunds/{refund.public_id}/transfer", {"utr": unique("UTR").replace("-", "")}
    )
    assert done.status_code == 302 and "Enter reference" not in browser.get(path).text
    assert state(c, row)[2:4] == (590_000, 0) and c.findings() == []
    house.act()
    from app.services import gateway_books

    report = gateway_books.compare(house.session, "sandbox", settings)
    assert not [f for f in report.findings if refund.provider_refund_id in f["ids"]]
    house.session.rollback()


# ---- refunds by hand -------------------------------------------------------------------------------------------------------


def test_a_refund_by_hand_of_an_invoice_is_written_down_once_and_owed_again(paid, house, api, make, audits):
    c, row, payment = paid()
    refund = house.by_hand(payment, 200_000)
    assert c.posted(f"invoice-refund:{refund}") == {
        ("ORG_RECEIVABLE", "D"): 200_000,
        ("CASH", "C"): 200_000,
    }
    assert state(c, row) == ("PAID", 1_180_000, 200_000, 200_000, 200_000) and c.findings() == []
    body = api(c.billing, "GET", base(c, row.public_id))[1]
    assert [(r["status"], r["amount_paise"]) for r in body["refunds"]] == [("SUCCEEDED", 200_000)]
    assert "INVOICE_RETURNED" in audits(c.org)
    noted = make.one("SELECT count(*) FROM system_event WHERE message LIKE :m", m=f"%{refund}%")
    assert noted == 1
    house.act()
    event = returned(refund, payment, 200_000)
    assert external_refunds.changed(house.session, event, "sandbox", house.settings) == "repeated"
    assert state(c, row)[2] == 200_000
    rest = house.lose(payment)
    assert rest.posted_paise == 980_000 and c.findings() == []


def test_our_refund_of_an_invoice_whose_answer_was_lost_is_not_taken_for_one_by_hand(
    paid, house, api, admin, make
):
    c, row, _ = paid(500_000, 500_000)
    api(
        admin,
        "POST",
        base(c, row.public_id, "credit-notes"),
        {"items": [{"line": 1, "amount_paise": 500_000}], "reason": "One workshop fell out"},
    )
    house.arm("refund", "lose_answer")
    with pytest.raises(Exception, match="GATEWAY_UNAVAILABLE"):
        house.send_invoice_refunds(c)
    house.session.rollback()
    house.webhooks()
    refunds = make.rows(
        "SELECT status, amount_paise, credit_note_id IS NOT NULL AS ours FROM invoice_refund "
        "WHERE organization_id = :o",
        o=c.org.id,
    )
    assert [tuple(r) for r in refunds] == [("SUCCEEDED", 590_000, True)]
    assert state(c, row)[2:4] == (590_000, 0) and c.findings() == []


# ---- money that matched nothing --------------------------------------------------------------------------------------------


@pytest.fixture
def apart(customer, api, pay, house):
    """Money that matched nothing: (customer, provider's payment id); what it was sent back by waits."""

    def build(paise=1_000_000):
        c = customer()
        row = c.manual(2_000_000)
        order = api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["order_id"]
        pay(order, paise=paise)
        payment = house.payment(order)
        assert house.receipt(payment).amount_paise == paise
        return c, payment

    return build


def test_a_part_of_unapplied_money_is_lost_and_the_rest_still_goes_back(apart, house):
    c, payment = apart()
    dispute = house.lose(payment, amount_paise=300_000)
    assert (dispute.subject, dispute.posted_paise) == ("unapplied", 300_000)
    assert c.posted(f"chargeback:{dispute.public_id}") == {
        ("UNAPPLIED_RECEIPT", "D"): 300_000,
        ("CASH", "C"): 300_000,
    }
    row = house.receipt(payment)
    assert (row.charged_back_paise, row.refunded_paise, row.refunded_at) == (300_000, 0, None)
    house.send_apart(payment)
    house.send_apart(payment)
    house.webhooks()
    row = house.receipt(payment)
    assert (row.charged_back_paise, row.refunded_paise) == (300_000, 700_000) and row.refunded_at
    assert c.posted(f"unapplied-refund:{row.public_id}") == {
        ("UNAPPLIED_RECEIPT", "D"): 700_000,
        ("CASH", "C"): 700_000,
    }
    assert house.findings() == [] and c.findings() == []


def test_unapplied_money_lost_whole_leaves_nothing_to_send(apart, house, make):
    _, payment = apart()
    dispute = house.lose(payment)
    assert dispute.posted_paise == 1_000_000 and house.receipt(payment).refunded_at is not None
    house.send_apart(payment)
    assert house.receipt(payment).refunded_paise == 0
    assert house.lose(payment, amount_paise=1).posted_paise == 0 and house.findings() == []


def test_unapplied_money_that_went_back_is_not_lost_again(apart, house):
    _, payment = apart()
    house.send_apart(payment)
    dispute = house.open(payment)
    assert house.move(dispute, "closed").status == "CHARGE_REFUNDED"
    assert house.lose(payment).posted_paise == 0 and house.findings() == []


def test_a_dispute_that_is_won_sends_unapplied_money_back_after_all(apart, house, make):
    _, payment = apart()
    dispute = house.open(payment)
    house.move(dispute, "won")
    waiting = make.one(
        "SELECT count(*) FROM outbox_message WHERE topic = 'refund_unapplied' AND payload->>'payment_id' = :p",
        p=payment,
    )
    assert waiting == 2 and house.row(dispute).posted_paise is None


def test_unapplied_money_returned_by_hand_is_left_out_of_what_we_send(apart, house, make):
    c, payment = apart()
    first = house.by_hand(payment, 400_000)
    row = house.receipt(payment)
    assert (row.refunded_paise, row.refunded_at) == (400_000, None)
    assert c.posted(f"unapplied-refund:{row.public_id}:{first}") == {
        ("UNAPPLIED_RECEIPT", "D"): 400_000,
        ("CASH", "C"): 400_000,
    }
    second = house.by_hand(payment, 500_000)
    for refund, paise in ((first, 400_000), (second, 500_000)):  # told once more, when less is left
        house.act()
        assert (
            external_refunds.changed(
                house.session, returned(refund, payment, paise), "sandbox", house.settings
            )
            == "repeated"
        )
        house.session.commit()
    assert house.receipt(payment).refunded_paise == 900_000
    house.send_apart(payment)
    house.webhooks()
    row = house.receipt(payment)
    assert row.refunded_paise == 1_000_000 and row.refunded_at and house.findings() == []


def test_unapplied_money_whose_refund_was_answered_by_nobody_is_told_by_its_event(apart, house):
    _, payment = apart()
    house.arm("refund", "lose_answer")
    with pytest.raises(Exception, match="GATEWAY_UNAVAILABLE"):
        house.send_apart(payment)
    house.session.rollback()
    house.webhooks()
    assert house.receipt(payment).refunded_paise == 1_000_000
    house.send_apart(payment)
    assert house.receipt(payment).refunded_paise == 1_000_000 and house.findings() == []


# ---- at once -----------------------------------------------------------------------------------------------------------------


def told(house, dispute):
    from app.gateways import open_gateway

    def work(session):
        now = open_gateway(house.settings, session, "sandbox").fetch_dispute(dispute)
        outcome = disputes.apply(session, now, "sandbox")
        session.commit()
        return outcome

    return work


def test_a_loss_and_a_refund_of_an_invoice_at_once_add_up(paid, house, api, admin, make, app, web_engine):
    c, row, payment = paid(500_000, 500_000)
    api(
        admin,
        "POST",
        base(c, row.public_id, "credit-notes"),
        {"items": [{"line": 1, "amount_paise": 500_000}], "reason": "One workshop fell out"},
    )
    refund = make.one("SELECT public_id FROM invoice_refund WHERE organization_id = :o", o=c.org.id)
    dispute = house.open(payment)
    house.act()
    provider.settle_dispute(house.session, dispute, "lost")
    house.session.commit()
    answers = together(
        app,
        web_engine,
        told(house, dispute),
        lambda s: credit_notes.send(s, refund, house.settings),
        told(house, dispute),
    )
    assert sorted(map(str, answers)) == ["FAILED", "moved", "repeated"]
    assert house.row(dispute).posted_paise == 1_180_000
    assert state(c, row) == ("PAID", 1_180_000, 1_180_000, 590_000, 590_000) and c.findings() == []


def test_a_loss_and_a_credit_note_at_once_add_up(paid, house, api, admin, app, web_engine, make):
    c, row, payment = paid()
    dispute = house.open(payment)
    house.act()
    provider.settle_dispute(house.session, dispute, "lost")
    house.session.commit()

    def credit(session):
        with make.acting(c.owner) as s:
            credit_notes.create(s, c_row(s), None, "It never took place")
            s.commit()
        return "credited"

    def c_row(s):
        return s.get(type(row), row.id)

    answers = together(app, web_engine, told(house, dispute), credit)
    assert sorted(map(str, answers)) == ["credited", "moved"]
    house.send_invoice_refunds(c)  # reserved before the loss, it finds nothing at the provider
    status, _, refunded, due, owed = state(c, row)
    assert (status, refunded, due, owed) == ("REFUNDED", 1_180_000, 0, 0)
    assert house.row(dispute).posted_paise == 1_180_000 and c.findings() == []


def quietly(house, payment, paise):
    """A refund by hand whose webhook is not delivered yet: its id."""
    house.act()
    refund = provider.refund(
        house.session, payment_id=payment, amount_paise=paise, key=uuid.uuid4().hex
    ).refund_id
    house.session.commit()
    return refund


def test_a_refund_by_hand_told_to_two_workers_while_a_dispute_is_lost(paid, house, app, web_engine):
    c, row, payment = paid()
    dispute = house.open(payment)
    refund = quietly(house, payment, 200_000)
    house.act()
    provider.settle_dispute(house.session, dispute, "lost")
    house.session.commit()

    def hear(session):
        return external_refunds.changed(
            session, returned(refund, payment, 200_000), "sandbox", house.settings
        )

    answers = together(app, web_engine, hear, told(house, dispute), hear)
    assert sorted(map(str, answers)) == ["by_hand", "moved", "repeated"] or answers.count("by_hand") == 2
    assert state(c, row) == ("PAID", 1_180_000, 1_180_000, 1_180_000, 1_180_000)
    assert c.findings() == [] and house.findings() == []


def test_our_refund_of_unapplied_money_and_a_lost_dispute_at_once(apart, house, app, web_engine):
    _, payment = apart()
    dispute = house.open(payment, amount_paise=300_000)
    house.act()
    provider.settle_dispute(house.session, dispute, "lost")
    house.session.commit()

    def send(session):
        unapplied.refund(session, payment, house.settings)
        session.commit()
        return "sent"

    answers = together(app, web_engine, send, told(house, dispute), send)
    assert "moved" in map(str, answers)
    for _ in range(2):  # who asked for the whole was refused, and asks for what is left
        house.send_apart(payment)
    row = house.receipt(payment)
    assert (row.refunded_paise, row.charged_back_paise) == (700_000, 300_000) and house.findings() == []
