"""Paying, crediting, refunding, dunning, licences over HTTP (M-20, M-37, M-40)."""

from __future__ import annotations

import datetime as dt

import pytest

from app import clock
from app.models import (
    BillingSubscription,
    Cycle,
    FundingSource,
    InvoiceStatus,
    LicenseModel,
    SubscriptionStatus,
)
from tests.invoices.conftest import base


def test_paying_by_the_gateway_settles_the_exact_amount_once(customer, api, pay, make):
    c = customer()
    row = c.manual(1_000_000)
    status, first = api(c.billing, "POST", base(c, row.public_id, "pay"))
    assert (status, first["amount_paise"]) == (200, 1_180_000)
    _, second = api(c.owner, "POST", base(c, row.public_id, "pay"))
    assert second["order_id"] == first["order_id"]  # one reusable order
    pay(first["order_id"])
    row = c.again(row)
    assert (row.status, row.paid_paise) == (InvoiceStatus.PAID, 1_180_000) and c.balance(
        "ORG_RECEIVABLE"
    ) == 0
    assert api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["code"] == "INVOICE_NOT_PAYABLE"
    assert make.one(
        "select first_invoice_paid_at is not null from billing_account where organization_id = :o", o=c.org.id
    )
    assert c.findings() == []


def test_another_amount_is_unapplied_and_the_invoice_stays_open(customer, api, pay, make):
    c = customer()
    row = c.manual(1_000_000)
    order = api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["order_id"]
    pay(order, paise=1_179_999)
    assert c.again(row).status == InvoiceStatus.ISSUED and c.balance("ORG_RECEIVABLE") == 1_180_000
    found = make.rows(
        "select reason, amount_paise from unapplied_receipt where organization_id = :o", o=c.org.id
    )
    assert [(r.reason, r.amount_paise) for r in found] == [("AMOUNT_MISMATCH", 1_179_999)]
    assert c.findings() == []


def test_part_by_bank_then_the_rest_by_a_new_order(customer, api, pay, admin):
    c = customer()
    row = c.manual(1_000_000)
    old = api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["order_id"]
    body = {"amount_paise": 500_000, "utr": "hdfc 0001 2345", "received_on": str(clock.today_ist())}
    assert api(c.billing, "POST", base(c, row.public_id, "receipts"), body)[1]["code"] == "INSUFFICIENT_ROLE"
    status, answer = api(admin, "POST", base(c, row.public_id, "receipts"), body)
    assert status == 201 and (answer["status"], answer["due_paise"]) == ("ISSUED", 680_000)
    status, again = api(admin, "POST", base(c, row.public_id, "receipts"), body)
    assert (status, again["code"]) == (409, "UTR_ALREADY_RECORDED")
    too_much = {**body, "utr": "HDFC99999999", "amount_paise": 680_001}
    assert api(admin, "POST", base(c, row.public_id, "receipts"), too_much)[0] == 400
    new = api(c.billing, "POST", base(c, row.public_id, "pay"))[1]
    assert new["order_id"] != old and new["amount_paise"] == 680_000
    pay(new["order_id"])
    assert c.again(row).status == InvoiceStatus.PAID and c.findings() == []


@pytest.mark.parametrize("state", ["DRAFT", "VOID", "CANCELLED"])
def test_drafts_and_void_invoices_cannot_be_paid(customer, api, state):
    c = customer()
    row = c.manual(100_000, issue=state == "VOID")
    if state != "DRAFT":
        api(
            c.billing,
            "POST",
            base(c, row.public_id, "void" if state == "VOID" else "cancel"),
            {"reason": "A mistake"},
        )
    assert c.again(row).status.value == state
    assert api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["code"] == "INVOICE_NOT_PAYABLE"


@pytest.mark.scenario("M-37")
@pytest.mark.parametrize("by", ["gateway", "bank"])
def test_refunds_of_a_paid_invoice(customer, api, pay, admin, app, by):
    c = customer()
    payment = c.booking(200_000)[0]
    status, made = api(c.billing, "POST", base(c, "roll-up"))
    assert (status, made["total_paise"]) == (201, 236_000)
    row = made["id"]
    if by == "gateway":
        pay(api(c.billing, "POST", base(c, row, "pay"))[1]["order_id"])
    else:
        body = {
            "amount_paise": 236_000,
            "utr": f"UTR{made['number'].replace('-', '')}",
            "received_on": str(clock.today_ist()),
        }
        assert api(admin, "POST", base(c, row, "receipts"), body)[0] == 201

    def refund(body):
        status, answer = api(
            admin, "POST", f"/api/payments/{payment.public_id}/refunds", {"reason": "Cancelled", **body}
        )
        assert status == 201, answer
        with app.app_context():
            from app.jobs import runner

            runner.execute("deliver_outbox", trigger="manual")
        return answer["refund"]

    first = refund({"amount_paise": 100_000})
    shown = api(c.billing, "GET", base(c, row))[1]
    (note,) = shown["credit_notes"]
    assert (note["subtotal_paise"], note["tax_paise"], note["cgst_paise"]) == (100_000, 18_000, 9_000)
    assert note["number"].split("-")[1] == "CN" and shown["status"] == "PAID"
    assert c.posted(f"invoice-refund:{first['id']}") == {
        ("ORG_RECEIVABLE", "D"): 118_000,
        ("CASH", "C"): 118_000,
    }
    assert c.posted(f"refund:{first['id']}")["ORG_RECEIVABLE", "C"] == 118_000
    assert c.posted(f"refund:{first['id']}")["GST_PAYABLE", "D"] == 18_000
    refund({})
    shown = api(c.billing, "GET", base(c, row))[1]
    assert (shown["status"], shown["credited_paise"], shown["refunded_paise"]) == (
        "REFUNDED",
        236_000,
        236_000,
    )
    assert sum(n["total_paise"] for n in shown["credit_notes"]) == 236_000
    assert c.balance("ORG_RECEIVABLE") == 0 and c.findings() == []


def test_a_refund_before_payment_lowers_what_is_due(customer, api, admin):
    c = customer(state="27")
    payment = c.booking(333_339)[0]
    made = api(c.billing, "POST", base(c, "roll-up"))[1]
    for n in (111_113, 111_113, 111_113):
        assert (
            api(
                admin,
                "POST",
                f"/api/payments/{payment.public_id}/refunds",
                {"amount_paise": n, "reason": "Partly"},
            )[0]
            == 201
        )
    shown = api(c.billing, "GET", base(c, made["id"]))[1]
    assert [(n["igst_paise"], n["total_paise"]) for n in shown["credit_notes"]] == [
        (20_000, 131_113),
        (20_001, 131_114),
        (20_000, 131_113),
    ]
    assert (shown["credited_paise"], shown["due_paise"], shown["status"]) == (393_340, 0, "PAID")
    assert c.findings() == []


def test_after_the_last_day_a_note_is_commercial(customer, admin, api, at):
    at(2026, 5, 10)
    c = customer()
    payment = c.booking(200_000)[0]
    made = api(c.billing, "POST", base(c, "roll-up"))[1]
    at(2027, 12, 1)
    refund = api(
        admin,
        "POST",
        f"/api/payments/{payment.public_id}/refunds",
        {"amount_paise": 50_000, "reason": "Late"},
    )[1]["refund"]
    (note,) = api(c.billing, "GET", base(c, made["id"]))[1]["credit_notes"]
    assert (note["kind"], note["tax_paise"], note["total_paise"]) == ("COMMERCIAL", 0, 50_000)
    assert "GST_PAYABLE" not in {k for k, _ in c.posted(f"refund:{refund['id']}")}
    assert c.findings() == []


def test_a_credit_note_by_hand_is_the_platforms_and_posts_itself(customer, api, admin):
    c = customer()
    row = c.manual(100_000, 50_001)
    body = {"reason": "Two hours fewer", "items": [{"line": 2, "amount_paise": 20_001}]}
    assert (
        api(c.owner, "POST", base(c, row.public_id, "credit-notes"), body)[1]["code"] == "INSUFFICIENT_ROLE"
    )
    status, note = api(admin, "POST", base(c, row.public_id, "credit-notes"), body)
    assert (status, note["subtotal_paise"], note["total_paise"]) == (201, 20_001, 23_601)
    assert c.posted(f"creditnote:{note['id']}") == {
        ("PLATFORM_FEE", "D"): 20_001,
        ("GST_PAYABLE", "D"): 3_600,
        ("ORG_RECEIVABLE", "C"): 23_601,
    }
    too_much = {"reason": "Too much", "items": [{"line": 2, "amount_paise": 30_001}]}
    assert api(admin, "POST", base(c, row.public_id, "credit-notes"), too_much)[0] == 400
    status, _ = api(admin, "POST", base(c, row.public_id, "credit-notes"), {"reason": "All of it"})
    assert status == 201
    shown = api(c.billing, "GET", base(c, row.public_id))[1]
    assert (shown["status"], shown["due_paise"], shown["credited_paise"]) == ("PAID", 0, row.total_paise)
    assert note["itc_reversal_status"] == "PENDING"
    path = f"/api/organizations/{c.org.slug}/billing-account/credit-notes/{note['id']}"
    assert api(c.billing, "POST", f"{path}/confirm-itc")[1]["itc_reversal_status"] == "CONFIRMED"
    assert api(c.billing, "POST", f"{path}/confirm-itc")[1]["code"] == "ILLEGAL_TRANSITION"
    assert c.findings() == []


def test_a_credited_invoice_is_not_voided(customer, api, admin):
    c = customer()
    row = c.manual(100_000)
    api(
        admin,
        "POST",
        base(c, row.public_id, "credit-notes"),
        {"reason": "A part", "items": [{"line": 1, "amount_paise": 1}]},
    )
    assert (
        api(c.billing, "POST", base(c, row.public_id, "void"), {"reason": "Too late"})[1]["code"]
        == "ILLEGAL_TRANSITION"
    )


@pytest.fixture
def suspending(app):
    import dataclasses

    before = app.config["SETTINGS"]
    app.config["SETTINGS"] = dataclasses.replace(before, enable_dunning_suspend=True)
    yield
    app.config["SETTINGS"] = before


@pytest.mark.scenario("M-40")
@pytest.mark.usefixtures("suspending")
def test_dunning_from_overdue_to_open_again(customer, api, pay, run_job, after, make):
    c = customer(billing_email="accounts@customer.test")
    row = c.manual(1_000_000, due_date=clock.today_ist())

    def closed():
        return make.one(
            "select dunning_suspended_at is not null from billing_account where organization_id = :o",
            o=c.org.id,
        )

    def mails(template):
        return make.one(
            "select count(*) from outbox_message where organization_id = :o and payload->>'template' = :t "
            "and payload->>'to' = 'accounts@customer.test'",
            o=c.org.id,
            t=template,
        )

    run_job("dunning")
    assert c.again(row).status == InvoiceStatus.ISSUED
    after(1)
    run_job("dunning")
    run_job("dunning")
    assert c.again(row).status == InvoiceStatus.OVERDUE and mails("invoice_overdue") == 1
    for n in (1, 2, 3):
        after(7)
        run_job("dunning")
        run_job("dunning")
        assert (c.again(row).reminders_sent, mails("invoice_reminder"), closed()) == (n, n, False)
    after(6)
    run_job("dunning")
    assert not closed()
    after(1)
    run_job("dunning")
    assert closed() and mails("billing_suspended") == 1

    learner_plan = c.plan
    booking = {
        "plan_id": str(learner_plan.public_id),
        "starts_at": (clock.now() + dt.timedelta(days=2))
        .replace(minute=0, second=0, microsecond=0)
        .isoformat(),
        "organization_id": str(c.org.public_id),
    }
    status, answer = api(c.learner, "POST", "/api/checkout", booking, **{"Idempotency-Key": "dunning-1"})
    assert (status, answer["code"]) == (402, "BILLING_SUSPENDED_DUNNING")
    pay(api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["order_id"])
    assert not closed() and c.again(row).status == InvoiceStatus.PAID
    status, answer = api(c.learner, "POST", "/api/checkout", booking, **{"Idempotency-Key": "dunning-2"})
    assert answer.get("code") != "BILLING_SUSPENDED_DUNNING"
    assert (
        make.one(
            "select count(*) from org_audit_log where organization_id = :o and action = 'INVOICE_DUNNING_SUSPENDED'",
            o=c.org.id,
        )
        == 1
    )


def test_without_the_flag_dunning_suspends_nobody(customer, run_job, after, make):
    c = customer()
    c.manual(1_000_000, due_date=clock.today_ist())
    for _ in range(6):
        after(8)
        run_job("dunning")
    assert (
        make.one("select dunning_suspended_at from billing_account where organization_id = :o", o=c.org.id)
        is None
    )
    assert make.one("select reminders_sent from invoice where organization_id = :o", o=c.org.id) == 3


@pytest.mark.usefixtures("suspending")
def test_two_overdue_invoices_open_only_when_both_are_paid(customer, run_job, after, api, pay, make):
    c = customer()
    rows = [c.manual(100_000, due_date=clock.today_ist()) for _ in range(2)]
    after(1)
    run_job("dunning")
    for _ in range(4):
        after(7)
        run_job("dunning")

    def closed():
        return make.one(
            "select dunning_suspended_at is not null from billing_account where organization_id = :o",
            o=c.org.id,
        )

    for row, still in zip(rows, (True, False), strict=True):
        assert closed()
        pay(api(c.billing, "POST", base(c, row.public_id, "pay"))[1]["order_id"])
        assert closed() == still


def test_an_overdue_invoice_is_not_the_customers_to_void(customer, api, admin, run_job, after):
    c = customer()
    row = c.manual(100_000, due_date=clock.today_ist())
    after(1)
    run_job("dunning")
    assert (
        api(c.owner, "POST", base(c, row.public_id, "void"), {"reason": "Please"})[1]["code"]
        == "INSUFFICIENT_ROLE"
    )
    assert c.again(row).status == InvoiceStatus.OVERDUE
    assert (
        api(admin, "POST", base(c, row.public_id, "void"), {"reason": "Agreed with the customer"})[1][
            "status"
        ]
        == "VOID"
    )


def licence(c, make, *, fee=12_000_000, start=None, **values):
    contract = c.contract(
        license_model=LicenseModel.FLAT_FEE,
        license_fee_paise=fee,
        license_cycle=values.pop("cycle", Cycle.ANNUAL),
        payment_terms_days=30,
        **values,
    )
    start = start or clock.today_ist()
    return make.add(
        BillingSubscription(
            organization_id=c.org.id,
            billing_account_id=contract.billing_account_id,
            contract_id=contract.id,
            status=SubscriptionStatus.ACTIVE,
            model=LicenseModel.FLAT_FEE,
            cycle=contract.license_cycle,
            anchor_day=start.day,
            current_cycle_start=start,
            current_cycle_end=start + dt.timedelta(days=364),
            next_invoice_date=start,
        )
    )


def test_a_licence_is_not_the_customers_to_void(customer, run_job, make, api, admin):
    c = customer(funding=FundingSource.LICENSE)
    licence(c, make)
    run_job("generate_subscription_invoices")
    (row,) = api(c.billing, "GET", base(c))[1]["result"]
    path, why = base(c, row["id"], "void"), {"reason": "We would rather not"}
    assert api(c.owner, "POST", path, why)[1]["code"] == "INSUFFICIENT_ROLE"
    assert api(c.billing, "GET", base(c))[1]["result"][0]["status"] == "ISSUED"
    assert api(admin, "POST", path, why)[1]["status"] == "VOID"


@pytest.mark.scenario("M-20")
def test_a_licence_is_invoiced_once_in_advance(customer, run_job, make, api):
    c = customer(funding=FundingSource.LICENSE, state="07")
    sub = licence(c, make)
    run_job("generate_subscription_invoices")
    run_job("generate_subscription_invoices")
    (shown,) = api(c.billing, "GET", base(c))[1]["result"]
    assert (shown["kind"], shown["status"], shown["subtotal_paise"]) == ("LICENSE", "ISSUED", 12_000_000)
    assert (shown["igst_paise"], shown["cgst_paise"], shown["total_paise"]) == (2_160_000, 0, 14_160_000)
    assert c.posted(f"invoice:{shown['id']}") == {
        ("ORG_RECEIVABLE", "D"): 14_160_000,
        ("GST_PAYABLE", "C"): 2_160_000,
        ("LICENSE_REVENUE", "C"): 12_000_000,
    }
    assert c.again(sub).next_invoice_date > clock.today_ist() and c.findings() == []


def test_a_licence_draws_its_contracts_order(customer, run_job, make):
    c = customer(funding=FundingSource.LICENSE)
    older, order = c.order(90_000_000), c.order(20_000_000)
    licence(c, make, purchase_order_id=order.id)
    run_job("generate_subscription_invoices")
    assert c.again(order).remaining_paise == 20_000_000 - 14_160_000
    assert c.again(older).remaining_paise == 90_000_000


def test_two_workers_bill_a_cycle_once(customer, app, make):
    import threading

    from app.services import licence_invoices
    from tests.invoices.conftest import SUPPLIER

    c = customer(funding=FundingSource.LICENSE)
    sub = licence(c, make)
    start = threading.Barrier(2)

    def work():
        with make.acting(c.owner) as s:
            from app.security.context import acting

            start.wait()
            with acting(s, scope="job", org_id=None):
                licence_invoices._cycle(s, c.org.id, sub.id, SUPPLIER)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == 1


def test_credits_of_a_licence_lower_its_lines_in_order():
    from app.services.licence_invoices import spread
    from app.services.subscriptions import Line

    lines = [
        Line("Licence", 1, 1000, 1000),
        Line("Seats by days", 2, 500, 300),
        Line("Unused days", 1, 0, -1100),
    ]
    assert [(line.description, off) for line, off in spread(lines)] == [("Seats by days", 800)]
    assert spread([Line("Licence", 1, 1000, 1000), Line("Unused", 1, 0, -1000)]) == []


def test_a_wallets_month_becomes_a_paid_statement_that_posts_nothing(customer, run_job, make, api):
    from app.models import LegSource, Payment, PaymentLeg, PaymentStatus

    c = customer(funding=FundingSource.WALLET)
    make.fund(c.org, 1_000_000)
    with make.acting(c.learner) as s:
        row = Payment(
            organization_id=c.org.id,
            user_id=c.learner.user_id,
            plan_id=c.plan.id,
            status=PaymentStatus.SUCCEEDED,
            method="WALLET",
            price_paise=10_050,
            tax_paise=1_809,
            tax_bps=1800,
            amount_paise=11_859,
            captured_at=clock.now(),
            snapshot={"sac": "999293"},
        )
        s.add(row)
        s.flush()
        s.add(
            PaymentLeg(
                organization_id=c.org.id, payment_id=row.id, source=LegSource.WALLET, amount_paise=11_859
            )
        )
        s.commit()
    posted = "select count(*) from ledger_transaction where organization_id = :o"
    before = make.one(posted, o=c.org.id)
    run_job("roll_up_invoices")
    run_job("roll_up_invoices")
    (shown,) = api(c.billing, "GET", base(c))[1]["result"]
    assert (shown["kind"], shown["status"], shown["total_paise"]) == ("STATEMENT", "PAID", 11_859)
    assert (shown["cgst_paise"], shown["sgst_paise"], shown["round_off_paise"]) == (905, 905, -1)
    assert make.one(posted, o=c.org.id) == before
    assert shown["due_paise"] == 0 and api(c.billing, "POST", base(c, shown["id"], "pay"))[0] == 409


@pytest.mark.parametrize(
    ("role", "read", "write"),
    [
        ("OWNER", 200, 201),
        ("BILLING_ADMIN", 200, 201),
        ("MAINTAINER", 200, 403),
        ("MANAGER", 200, 403),
        ("SUPPORT", 403, 403),
        ("LEARNER", 403, 403),
    ],
)
def test_who_reads_and_who_writes(customer, make, api, role, read, write):
    c = customer()
    who = make.member(c.org, role)
    assert api(who, "GET", base(c))[0] == read
    body = {"items": [{"description": "Workshop", "unit_paise": 1000}]}
    assert api(who, "POST", base(c), body)[0] == write
    assert make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == (write == 201)


def test_a_foreign_invoice_is_not_found_and_an_outsider_no_member(customer, api):
    mine, theirs = customer(), customer()
    row = theirs.manual(1000)
    assert api(mine.owner, "GET", base(mine, row.public_id))[0] == 404
    status, answer = api(mine.owner, "POST", base(theirs, row.public_id, "void"), {"reason": "Not mine"})
    assert (status, answer["code"]) == (403, "NOT_A_MEMBER")
    assert theirs.again(row).status == InvoiceStatus.ISSUED


def test_a_repeated_key_makes_one_invoice(customer, api, make):
    c = customer()
    body = {"items": [{"description": "Workshop", "unit_paise": 1000}], "issue_immediately": True}
    first = api(c.billing, "POST", base(c), body, **{"Idempotency-Key": "inv-1"})
    second = api(c.billing, "POST", base(c), body, **{"Idempotency-Key": "inv-1"})
    assert (first[0], second[0], first[1]["id"]) == (201, 200, second[1]["id"])
    other = api(c.billing, "POST", base(c), {**body, "note": "x"}, **{"Idempotency-Key": "inv-1"})
    assert other[1]["code"] == "IDEMPOTENCY_KEY_REUSED"


def test_the_register_and_the_list_as_files(customer, client, make, admin, api):
    c = customer(state="27", name="=cmd()")
    payment = c.booking(200_000)[0]
    made = api(c.billing, "POST", base(c, "roll-up"))[1]
    api(
        admin,
        "POST",
        f"/api/payments/{payment.public_id}/refunds",
        {"amount_paise": 100_000, "reason": "Half"},
    )

    def lines(what):
        answer = client.get(base(c) + f"?format={what}", headers=make.bearer(c.billing))
        assert answer.mimetype == "text/csv"
        return [line.split(",") for line in answer.get_data(as_text=True).lstrip("\ufeff").splitlines()]

    listed = lines("csv")
    assert listed[0][:8] == ["number", "status", "currency", "subtotal", "igst", "cgst", "sgst", "total"]
    assert listed[1][:8] == [made["number"], "ISSUED", "INR", "2000.00", "360.00", "0.00", "0.00", "2360.00"]
    register = [dict(zip(lines("gst")[0], row, strict=True)) for row in lines("gst")[1:]]
    assert [
        (r["section"], r["document_type"], r["taxable_value"], r["igst"], r["rate"]) for r in register
    ] == [
        ("B2B", "TAX_INVOICE", "2000.00", "360.00", "18"),
        ("CDNR", "CREDIT_NOTE", "1000.00", "180.00", "18"),
    ]
    assert (
        register[0]["place_of_supply"] == "27-Maharashtra"
        and register[1]["original_number"] == made["number"]
    )
    assert register[0]["recipient"] == "'=cmd()"
    assert lines("hsn")[1][:5] == ["999293", "OTH", "1", "18", "1000.00"]
    assert (
        make.one(
            "select count(*) from org_audit_log where organization_id = :o and action = 'INVOICE_EXPORTED'",
            o=c.org.id,
        )
        >= 3
    )


def test_the_billing_summary_and_the_profile(customer, api):
    c = customer(payment_terms_days=10)
    c.booking(150_000)
    c.manual(100_000)
    path = f"/api/organizations/{c.org.slug}/billing"
    status, shown = api(c.billing, "GET", path)
    assert status == 200
    assert (
        shown["pending_paise"],
        shown["pending_bookings"],
        shown["outstanding_paise"],
        shown["exposure_paise"],
    ) == (
        150_000,
        1,
        118_000,
        268_000,
    )
    status, profile = api(
        c.billing,
        "PATCH",
        f"{path}/profile",
        {"legal_name": "Customer Private Limited", "pin_code": "400 001", "city": "Mumbai"},
    )
    assert status == 200 and profile["pin_code"] == "400001"
    assert api(c.billing, "PATCH", f"{path}/profile", {"pin_code": "12"})[0] == 400
    row = c.manual(100_000)
    assert row.facts["recipient"]["name"] == "Customer Private Limited"


def test_billing_again_copies_what_is_no_booking(customer, api):
    c = customer()
    order = c.order(10_000_000)
    row = c.manual(100_000, 50_000, purchase_order_id=str(order.public_id))
    assert api(c.billing, "POST", base(c, row.public_id, "rebill"))[1]["code"] == "ILLEGAL_TRANSITION"
    api(c.billing, "POST", base(c, row.public_id, "void"), {"reason": "Wrong cost centre"})
    status, draft = api(c.billing, "POST", base(c, row.public_id, "rebill"))
    assert (status, draft["status"], draft["total_paise"], draft["line_count"]) == (
        201,
        "DRAFT",
        row.total_paise,
        2,
    )
    assert c.again(order).remaining_paise == 10_000_000 - row.total_paise
    assert api(c.billing, "POST", base(c, draft["id"], "issue"))[1]["number"].endswith("0002")
    assert c.findings() == []


def test_pdf_over_rest(customer, client, make):
    c = customer()
    row = c.manual(100_000)
    first = client.get(base(c, row.public_id, "pdf"), headers=make.bearer(c.billing))
    assert first.mimetype == "application/pdf" and first.data.startswith(b"%PDF")
    again = client.get(base(c, row.public_id, "pdf"), headers=make.bearer(c.billing))
    assert again.data == first.data and again.headers["X-Content-Hash"] == first.headers["X-Content-Hash"]
    assert make.one("select count(*) from document_file where organization_id = :o", o=c.org.id) == 1
