"""The roll-up: what is billed, once, with the tax of its lines (M-34)."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from app.errors import DomainError
from app.models import DocumentNature, FundingSource, Invoice, InvoiceStatus, OrgStatus
from app.security.context import acting
from app.services import invoice_rollup, tax_statements
from tests.invoices.conftest import SUPPLIER

pytestmark = pytest.mark.usefixtures("app")


@pytest.mark.scenario("M-34")
def test_the_scenario_of_the_roll_up(customer, make, audits):
    c = customer()
    whole, part, gone = c.booking(200_000)[0], c.booking(300_000)[0], c.booking(150_000)[0]
    waiting = c.booking(500_000, status="PENDING")[0]
    c.refund(part, 100_000)
    c.refund(gone)
    assert c.balance("ORG_RECEIVABLE") == 400_000

    results, start = [], threading.Barrier(2)

    def work():
        start.wait()
        try:
            results.append([r.public_id for r in c.roll_up()])
        except DomainError as error:
            results.append(error.code)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (
        sorted(str(type(r)) for r in results) == ["<class 'list'>", "<class 'str'>"]
        and "NOTHING_TO_BILL" in results
    )
    with make.acting(c.billing) as s:
        (row,) = s.query(Invoice).all()
    assert (row.status, row.line_count) == (InvoiceStatus.ISSUED, 2)
    assert (row.subtotal_paise, row.cgst_paise, row.sgst_paise, row.igst_paise) == (
        400_000,
        36_000,
        36_000,
        0,
    )
    assert row.total_paise == 472_000
    assert {c.again(p).invoice_id for p in (whole, part, gone)} == {
        row.id
    }  # refunded ones are stamped, not billed
    assert c.again(waiting).invoice_id is None
    assert c.posted(f"invoice:{row.public_id}") == {
        ("ORG_RECEIVABLE", "D"): 72_000,
        ("GST_PAYABLE", "C"): 72_000,
    }
    assert c.balance("ORG_RECEIVABLE") == 472_000 and c.findings() == []

    with make.acting(c.billing) as s:
        from app.models import InvoiceReceipt, ReceiptMethod
        from app.services import invoice_receipts, invoices

        locked = invoices.fresh(s, row.id, lock=True)
        invoice_receipts.settle(
            s,
            locked,
            InvoiceReceipt(
                method=ReceiptMethod.GATEWAY,
                amount_paise=472_000,
                provider_payment_id=f"pay_{row.public_id}",
                received_on=row.issue_date,
            ),
        )
        s.commit()
    assert c.again(row).status == InvoiceStatus.PAID and c.balance("ORG_RECEIVABLE") == 0
    events = make.rows(
        "select payload->>'event' as name from outbox_message where organization_id = :o and topic = 'event'",
        o=c.org.id,
    )
    assert {"invoice.issued", "invoice.paid"} <= {e.name for e in events}
    assert {"INVOICE_ROLLED_UP", "INVOICE_ISSUED", "INVOICE_PAID"} <= set(audits(c.org))
    assert c.findings() == []


def test_nothing_to_bill_changes_nothing(customer, make):
    c = customer()
    gone = c.booking(100_000)[0]
    c.refund(gone)
    before = make.one("select count(*) from document_counter")
    for _ in range(2):
        with pytest.raises(DomainError) as error:
            c.roll_up()
        assert error.value.code == "NOTHING_TO_BILL"
    assert make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == 0
    assert make.one("select count(*) from document_counter") == before
    assert c.again(gone).invoice_id is None


def test_a_wallet_does_not_accrue(customer):
    c = customer(funding=FundingSource.WALLET)
    with pytest.raises(DomainError) as error:
        c.roll_up()
    assert error.value.code == "FUNDING_SOURCE_MISMATCH"


def test_another_state_is_charged_integrated_tax(customer):
    c = customer(state="27")
    c.booking(100_003)
    (row,) = c.roll_up()
    assert (row.igst_paise, row.cgst_paise, row.total_paise, row.place_of_supply) == (
        18_001,
        0,
        118_004,
        "27",
    )


def test_base_and_overage_of_a_booking_are_one_line(customer):
    c = customer()
    c.booking(540_000, overage=440_000)
    (row,) = c.roll_up()
    assert (row.line_count, row.subtotal_paise) == (1, 540_000)


def test_exempt_and_taxable_bookings_of_the_registered_go_on_two_documents(customer):
    c = customer()
    c.booking(100_000)
    c.booking(50_000, bps=0)
    rows = c.roll_up()
    assert [(r.nature, r.subtotal_paise, r.tax_paise) for r in rows] == [
        (DocumentNature.TAX_INVOICE, 100_000, 18_000),
        (DocumentNature.BILL_OF_SUPPLY, 50_000, 0),
    ]
    assert [r.sequence for r in rows] == [1, 2] and c.findings() == []


def test_exempt_and_taxable_bookings_of_the_unregistered_share_one(customer):
    c = customer(registered=False)
    c.booking(100_000)
    c.booking(50_000, bps=0)
    (row,) = c.roll_up()
    assert (row.nature, row.exempt_paise, row.tax_paise) == (DocumentNature.INVOICE_CUM_BILL, 50_000, 18_000)


def test_the_oldest_order_that_covers_it_is_drawn(customer):
    c = customer()
    small, first, second = c.order(100_000), c.order(300_000), c.order(900_000)
    c.booking(200_000)
    (row,) = c.roll_up()
    assert row.purchase_order_id == first.id and row.facts["po_number"] == first.po_number
    assert [c.again(o).remaining_paise for o in (small, first, second)] == [100_000, 64_000, 900_000]


def test_without_an_order_it_is_issued_all_the_same_and_finance_hears_of_it(customer, make):
    c = customer(requires_po=True)
    c.booking(200_000)
    (row,) = c.roll_up()
    assert row.status == InvoiceStatus.ISSUED and row.purchase_order_id is None
    mails = make.rows(
        "select payload->>'to' as who from outbox_message where organization_id = :o and topic = 'mail' "
        "and payload->>'template' = 'invoice_po_missing'",
        o=c.org.id,
    )
    assert {m.who for m in mails} == {c.owner.user.email, c.billing.user.email}


def test_a_crash_before_the_end_bills_nothing_and_the_next_run_everything(customer, app, run_job, make):
    c = customer()
    c.booking(200_000)
    app.extensions["redis"].set("test:fault:rolled_up", "1")
    with app.app_context():
        from app import faults

        faults.enable(app.extensions["redis"])
        with pytest.raises(faults.FaultInjected):
            c.roll_up()
        assert make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == 0
        run_job("roll_up_invoices")
        run_job("roll_up_invoices")
    assert (
        make.rows("select number, status from invoice where organization_id = :o", o=c.org.id)[0].status
        == "ISSUED"
    )
    assert make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == 1


def test_a_refund_that_races_the_roll_up_is_on_one_side_of_it(customer):
    """Whoever comes first: the line is smaller, or a credit note takes the part back. Never both, never neither."""
    for _ in range(4):
        c = customer()
        payment = c.booking(200_000)[0]
        start = threading.Barrier(2)

        def refund(c=c, payment=payment, start=start):
            start.wait()
            c.refund(payment, 50_000)

        def roll(c=c, start=start):
            start.wait()
            c.roll_up()

        threads = [threading.Thread(target=refund), threading.Thread(target=roll)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        with c.make.acting(c.billing) as s:
            (row,) = s.query(Invoice).all()
        assert row.subtotal_paise - (row.credited_paise * 100 // 118) == 150_000
        assert c.balance("ORG_RECEIVABLE") == 177_000 and c.findings() == []


def test_the_job_bills_every_organisation_once(customer, run_job, make):
    some = [customer() for _ in range(3)]
    closed = customer(status=OrgStatus.DEACTIVATED)
    for c in (*some, closed):
        c.booking(100_000)
    run_job("roll_up_invoices")
    run_job("roll_up_invoices")
    for c in some:
        assert make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == 1
    assert make.one("select count(*) from invoice where organization_id = :o", o=closed.org.id) == 0


def test_the_schedule_runs_on_the_first_of_the_month_in_india_only(app, at):
    from app.jobs import registry

    job = registry.jobs()["roll_up_invoices"]
    at(2026, 11, 30, 23, 59)
    assert job.due is not None and not job.due()
    at(2026, 12, 1, 0, 30)
    assert job.due()


def test_lines_say_what_was_booked(customer):
    c = customer()
    c.booking(100_000)
    (row,) = c.roll_up()
    line = c.line(row)
    assert (line.description, line.detail, line.sac, line.rate_bps) == (
        "Strategy session",
        "Nikhil Pawar, with Asha Rao",
        "999293",
        1800,
    )


def test_the_preview_writes_nothing_and_says_what_comes(customer, make):
    c = customer(state="27")
    c.booking(100_003)
    with make.acting(c.billing) as s:
        assert invoice_rollup.preview(s, SUPPLIER) == {
            "bookings": 1,
            "commitments": 0,
            "subtotal_paise": 100_003,
            "tax_paise": 18_001,
            "total_paise": 118_004,
        }
    assert make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == 0


def test_a_run_costs_a_constant_number_of_statements(customer, make):
    """Tables of tax are read once a run; an invoice costs the same few statements whatever it holds and whoever is told."""
    few, many, warm = customer(), customer(), customer()
    for _ in range(3):
        make.member(many.org, "BILLING_ADMIN")
    few.booking(100_000)
    many.booking(100_000, n=40)
    warm.booking(100_000)

    def statements(*some):
        seen = []

        def note(*args):
            seen.append(args[2])

        event.listen(Engine, "before_cursor_execute", note)
        try:
            with make.session() as s, acting(s, scope="job", org_id=None):
                done = invoice_rollup.monthly(
                    s, SUPPLIER, tax_statements.write, only=[c.org.id for c in some]
                )
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        assert done == {"invoices": len(some), "statements": 0, "failed": 0}
        return len(seen)

    first, second = statements(few), statements(many)
    assert first == second  # lines and readers cost nothing
    for c in (few, many, warm):
        c.booking(100_000, n=2)
    of_tax_tables = 4  # states, the letter of undertaking in two rows, the rate
    assert statements(few, many, warm) - first == 2 * (first - 2 - of_tax_tables)
    assert first <= 36
