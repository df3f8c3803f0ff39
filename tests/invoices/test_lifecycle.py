"""Manual invoices, purchase orders, numbers, states (M-21, M-36)."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    Currency,
    DocumentNature,
    FxRate,
    Invoice,
    InvoiceStatus,
    PurchaseOrderStatus,
    SupplyType,
)
from app.services import invoice_drafts, invoice_issue, invoice_void, numbering
from tests.invoices.conftest import SUPPLIER

pytestmark = pytest.mark.usefixtures("app")


def code(work):
    with pytest.raises(DomainError) as error:
        work()
    return error.value.code


@pytest.mark.scenario("M-21")
def test_two_invoices_never_share_what_an_order_has_left(customer):
    c = customer(registered=False)
    order = c.order(10_000_000)
    outcomes, start = [], threading.Barrier(2)

    def work():
        start.wait()
        try:
            outcomes.append(c.manual(6_000_000, bps=0, purchase_order_id=str(order.public_id)))
        except DomainError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    made = [o for o in outcomes if isinstance(o, Invoice)]
    assert len(made) == 1 and "PO_BALANCE_EXCEEDED" in outcomes
    assert c.again(order).remaining_paise == 4_000_000
    assert c.make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == 1

    with c.make.acting(c.billing) as s:
        invoice_void.void(s, s.get(Invoice, made[0].id), "Wrong department")
        s.commit()
    assert c.again(order).remaining_paise == 10_000_000
    c.manual(10_000_000, bps=0, purchase_order_id=str(order.public_id))
    assert c.again(order).status == PurchaseOrderStatus.CLOSED
    with c.make.acting(c.billing) as s:
        from app.services import purchase_orders

        assert code(lambda: purchase_orders.remove(s, s.get(type(order), order.id))) == "PO_REFERENCED"
    assert c.findings() == []


@pytest.mark.scenario("M-21")
def test_an_invoice_in_dollars_does_not_draw_from_an_order_in_rupees(customer, make):
    c = customer(registered=False)
    order = c.order(10_000_000)
    make.add(
        FxRate(currency=Currency.USD, on_date=clock.today_ist(), rate_micros=84_500_000)
    ) if not make.one(
        "select count(*) from fx_rate where currency = 'USD' and on_date = :d", d=clock.today_ist()
    ) else None
    assert (
        code(lambda: c.manual(1000, currency="USD", purchase_order_id=str(order.public_id)))
        == "PO_CURRENCY_MISMATCH"
    )
    assert c.again(order).remaining_paise == 10_000_000
    assert make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == 0


def test_a_void_invoice_gives_everything_back(customer):
    c = customer()
    payment = c.booking(200_000, overage=50_000)[0]
    (row,) = c.roll_up()
    with c.make.acting(c.billing) as s:
        invoice_void.void(s, s.get(Invoice, row.id), "The cost centre is missing")
        s.commit()
    row = c.again(row)
    assert (row.status, row.close_reason) == (InvoiceStatus.VOID, "The cost centre is missing")
    assert c.posted(f"invoice-void:{row.public_id}") == {
        ("ORG_RECEIVABLE", "C"): 36_000,
        ("GST_PAYABLE", "D"): 36_000,
    }
    assert (
        c.again(payment).invoice_id is None and c.balance("ORG_RECEIVABLE") == 200_000 and c.findings() == []
    )
    (again,) = c.roll_up()
    assert (again.sequence, again.total_paise) == (2, row.total_paise) and c.findings() == []
    with c.make.acting(c.billing) as s:
        assert code(lambda: invoice_void.void(s, s.get(Invoice, row.id), "Once more")) == "ILLEGAL_TRANSITION"


def test_an_order_that_lost_its_balance_is_found(customer):
    """Silent after a draw, a void, a cancelled draft and a cancelled order; a rupee that nobody drew is a finding."""
    c = customer()
    order = c.order(10_000_000)
    reference = str(order.public_id)
    voided, standing = (c.manual(1_000_000, bps=0, purchase_order_id=reference) for _ in range(2))
    draft = c.manual(500_000, bps=0, issue=False, purchase_order_id=reference)
    assert c.again(order).remaining_paise == 7_500_000 and c.findings() == []
    with c.make.acting(c.billing) as s:
        invoice_void.void(s, s.get(Invoice, voided.id), "Wrong department")
        invoice_drafts.cancel(s, s.get(Invoice, draft.id), "Agreed otherwise")
        s.commit()
    assert c.again(order).remaining_paise == 9_000_000 and c.findings() == []
    with c.make.acting(c.billing) as s:
        from app.services import purchase_orders

        purchase_orders.cancel(s, s.get(type(order), order.id))
        s.commit()
    assert c.again(standing).drawn_hundredths == 1_000_000 and c.findings() == []
    with c.make.session() as s:
        s.execute(
            text("UPDATE purchase_order SET remaining_paise = remaining_paise - 100 WHERE id = :i"),
            {"i": order.id},
        )
    assert [f["kind"] for f in c.findings()] == ["PO_BALANCE_DRIFT"]


def test_a_draft_draws_and_a_cancelled_draft_restores(customer):
    c = customer()
    order = c.order(10_000_000)
    row = c.manual(1_000_000, issue=False, purchase_order_id=str(order.public_id))
    assert (row.status, row.number, row.total_paise) == (InvoiceStatus.DRAFT, None, 1_180_000)
    assert c.again(order).remaining_paise == 8_820_000
    with c.make.acting(c.billing) as s:
        draft = s.get(Invoice, row.id)
        invoice_drafts.change(
            s,
            draft,
            {
                "items": [{"description": "Two days of workshops", "quantity": 2, "unit_paise": 1_000_000}],
                "purchase_order_id": str(order.public_id),
            },
            SUPPLIER,
        )
        s.commit()
        assert (draft.total_paise, draft.line_count) == (2_360_000, 1)
    assert c.again(order).remaining_paise == 7_640_000
    with c.make.acting(c.billing) as s:
        invoice_drafts.cancel(s, s.get(Invoice, row.id), "Agreed otherwise")
        s.commit()
    assert c.again(order).remaining_paise == 10_000_000 and c.again(row).status == InvoiceStatus.CANCELLED
    with c.make.acting(c.billing) as s:
        assert code(lambda: invoice_issue.issue(s, s.get(Invoice, row.id), SUPPLIER)) == "ILLEGAL_TRANSITION"
    assert c.make.one("select count(*) from document_counter where organization_id = :o", o=c.org.id) == 0


def test_drafts_burn_no_number(customer):
    c = customer()
    draft = c.manual(100_000, issue=False)
    first, second = c.manual(100_000), c.manual(100_000)
    assert [first.sequence, second.sequence] == [1, 2] and c.again(draft).sequence is None


def test_a_manual_invoice_needs_an_order_where_the_customer_says_so(customer):
    c = customer(requires_po=True)
    assert code(lambda: c.manual(100_000)) == "PO_REQUIRED"
    order = c.order(1_000_000)
    assert c.manual(100_000, purchase_order_id=str(order.public_id)).facts["po_number"] == order.po_number


def test_a_manual_invoice_is_posted_as_revenue_and_tax(customer):
    c = customer(state="27")
    row = c.manual(1_000_000)
    assert c.posted(f"invoice:{row.public_id}") == {
        ("ORG_RECEIVABLE", "D"): 1_180_000,
        ("GST_PAYABLE", "C"): 180_000,
        ("PLATFORM_FEE", "C"): 1_000_000,
    }
    assert c.findings() == []


@pytest.mark.scenario("M-36")
def test_numbers_follow_the_indian_financial_year(customer, at):
    c = customer()
    prefix = c.org.invoice_number_prefix
    at(2027, 3, 31, 23, 59)
    first = c.manual(100_000)
    at(2027, 4, 1, 0, 0)
    second = c.manual(100_000)
    assert (first.number, second.number) == (f"{prefix}-2026-0001", f"{prefix}-2027-0001")
    assert (str(first.issue_date), str(second.issue_date)) == ("2027-03-31", "2027-04-01")


@pytest.mark.scenario("M-36")
def test_twenty_concurrent_issues_leave_no_gap(customer):
    c = customer()
    drafts = [c.manual(100_000 + n, issue=False) for n in range(20)]
    start, failed = threading.Barrier(20), []

    def issue(draft, rolls_back):
        with c.make.acting(c.billing) as s:
            start.wait()
            try:
                invoice_issue.issue(s, s.get(Invoice, draft.id), SUPPLIER)
                if rolls_back:
                    raise RuntimeError("a crash after the number was taken")
                s.commit()
            except RuntimeError:
                s.rollback()
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=issue, args=(d, n % 7 == 3)) for n, d in enumerate(drafts)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failed == []
    crashed = [d for d in drafts if c.again(d).number is None]
    assert len(crashed) == 3
    for d in crashed:
        with c.make.acting(c.billing) as s:
            invoice_issue.issue(s, s.get(Invoice, d.id), SUPPLIER)
            s.commit()
    assert sorted(c.again(d).sequence for d in drafts) == list(range(1, 21))
    assert c.findings() == []


@pytest.mark.parametrize(
    ("prefix", "series", "sequence", "number"),
    [
        ("ACME", "INV", 42, "ACME-2026-0042"),
        ("ACME", "CN", 42, "ACME-CN-26-0042"),
        ("ACMEX", "INV", 99_999, "ACMEX-2026-99999"),
        ("ACMEX", "CN", 10_000, "ACMEX-CN26-10000"),
    ],
)
def test_numbers_fit_into_sixteen_characters(prefix, series, sequence, number):
    assert numbering.compose(prefix, series, 2026, sequence) == number and len(number) <= 16


def test_a_full_series_says_so():
    with pytest.raises(ValueError, match="full"):
        numbering.compose("ACMEX", "CN", 2026, 100_000)


def test_an_organisation_without_a_prefix_gets_one_of_its_own(customer, make):
    a = customer(slug=f"zz-globex-{make.one('select count(*) from organization')}")
    with make.session() as s:
        s.execute(text("update organization set invoice_number_prefix = null where id = :i"), {"i": a.org.id})
    row = a.manual(100_000)
    prefix = make.one("select invoice_number_prefix from organization where id = :i", i=a.org.id)
    assert 2 <= len(prefix) <= 5 and row.number.startswith(f"{prefix}-")


def test_foreign_documents_carry_both_amounts(customer, make, after):
    c = customer(registered=False, state="96")
    assert code(lambda: c.manual(10_000, currency="EUR")) == "FX_RATE_MISSING"
    make.add(FxRate(currency=Currency.EUR, on_date=clock.today_ist(), rate_micros=91_234_567))
    row = c.manual(10_000, 333, currency="EUR")
    assert (row.fc_total, row.fx_rate_micros) == (10_333, 91_234_567)
    assert row.total_paise == 912_346 + 30_381
    assert (row.supply_type, row.lut_number, row.tax_paise, row.place_of_supply) == (
        SupplyType.EXPWOP,
        "AD290426000001X",
        0,
        "96",
    )
    after(8)
    assert code(lambda: c.manual(10_000, currency="EUR")) == "FX_RATE_MISSING"


def test_reverse_charge_and_rounding_to_the_rupee(customer):
    c = customer()
    row = c.manual(100_049, reverse_charge=True, round_total=True)
    assert (row.tax_paise, row.round_off_paise, row.total_paise) == (0, -49, 100_000)
    assert row.facts["reverse_charge"].startswith("Tax is payable by the recipient")
    assert c.posted(f"invoice:{row.public_id}") == {
        ("ORG_RECEIVABLE", "D"): 100_000,
        ("PLATFORM_FEE", "C"): 100_049,
        ("PLATFORM_FEE", "D"): 49,
    }
    assert c.findings() == []


def test_exempt_lines_of_a_registered_customer_make_a_bill_of_supply_or_nothing(customer):
    c = customer()
    assert c.manual(100_000, bps=0).nature == DocumentNature.BILL_OF_SUPPLY
    with pytest.raises(Invalid), c.make.acting(c.billing) as s:
        invoice_drafts.create(
            s,
            {
                "items": [
                    {"description": "Taxable part", "unit_paise": 1000},
                    {"description": "Exempt part", "unit_paise": 1000, "tax_bps": 0},
                ]
            },
            SUPPLIER,
        )


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"items": []}, "items"),
        ({"items": [{"description": "x", "unit_paise": 1}]}, "items.0.description"),
        ({"items": [{"description": "Line", "unit_paise": -1}]}, "items.0.unit_paise"),
        ({"items": [{"description": "Line", "unit_paise": 5, "quantity": 0}]}, "items.0.quantity"),
        (
            {"items": [{"description": "Line", "unit_paise": 5, "discount_paise": 6}]},
            "items.0.discount_paise",
        ),
        ({"items": [{"description": "Line", "unit_paise": 5, "sac": "123456"}]}, "items.0.sac"),
        ({"items": [{"description": "Line", "unit_paise": 5, "tax_bps": 900}]}, "items.0.tax_bps"),
        ({"items": [{"description": "Line", "unit_paise": 0}]}, "items"),
        ({"items": [{"description": "Line", "unit_paise": 10**14}]}, "items.0.unit_paise"),
        ({"items": [{"description": "Line", "unit_paise": 5}], "currency": "JPY"}, "currency"),
        ({"items": [{"description": "Line", "unit_paise": 5}], "contract_id": "nope"}, "contract_id"),
        ({"items": [{"description": "Line", "unit_paise": 5}], "note": "x" * 2001}, "note"),
    ],
)
def test_bad_drafts_are_refused_whole(customer, values, field):
    c = customer()
    with pytest.raises(Invalid) as error, c.make.acting(c.billing) as s:
        invoice_drafts.create(s, values, SUPPLIER)
    assert field in error.value.fields
    assert c.make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == 0


def test_terms_come_from_the_contract_then_from_the_organisation(customer):
    c = customer(payment_terms_days=45)
    assert (c.manual(1000).due_date - clock.today_ist()).days == 45
    contract = c.contract(payment_terms_days=10)
    row = c.manual(1000, contract_id=str(contract.public_id))
    assert (row.due_date - clock.today_ist()).days == 10 and row.facts["contract"] == contract.title


def test_what_was_issued_is_frozen_by_the_database(customer, owner_engine):
    c = customer()
    row = c.manual(100_000)
    for statement in (
        "update invoice set total_paise = 1, subtotal_paise = 1, tax_paise = 0, cgst_paise = 0, sgst_paise = 0 where id = :i",
        "update invoice set facts = '{}' where id = :i",
        "update invoice set status = 'DRAFT' where id = :i",
        "delete from invoice where id = :i",
        "update invoice_line set description = 'x' where invoice_id = :i",
        "update invoice_line set credited_paise = -1 where invoice_id = :i",
        "delete from invoice_line where invoice_id = :i",
    ):
        with pytest.raises(DBAPIError), owner_engine.begin() as conn:
            conn.execute(text(statement), {"i": row.id})
    with pytest.raises(DBAPIError, match="up by one"), owner_engine.begin() as conn:
        conn.execute(
            text("update document_counter set last_number = 7 where organization_id = :o"), {"o": c.org.id}
        )
    again = c.again(row)
    assert (again.total_paise, again.status) == (118_000, InvoiceStatus.ISSUED)


def test_totals_that_differ_from_the_lines_never_commit(customer):
    c = customer()
    draft = c.manual(100_000, issue=False)
    with pytest.raises(DBAPIError, match="differ from its lines"), c.make.acting(c.billing) as s:
        row = s.get(Invoice, draft.id)
        invoice_issue.issue(s, row, SUPPLIER)
        s.rollback()
        s.execute(
            text(
                "update invoice set subtotal_paise = 5, total_paise = 5 + tax_paise, number = 'X-1', sequence = 99, "
                "fiscal_year = 2026, issued_at = now(), issue_date = current_date, status = 'ISSUED' where id = :i"
            ),
            {"i": draft.id},
        )
        s.commit()
    assert c.again(draft).status == InvoiceStatus.DRAFT


def test_an_issued_invoice_tells_finance_and_the_billing_address(customer, make):
    c = customer(billing_email="accounts@customer.test")
    row = c.manual(100_000)
    mails = make.rows(
        "select payload->>'to' as who, payload->'attach'->>'id' as file from outbox_message where organization_id = :o "
        "and payload->>'template' = 'invoice_issued'",
        o=c.org.id,
    )
    assert {m.who for m in mails} == {c.owner.user.email, c.billing.user.email, "accounts@customer.test"}
    assert {m.file for m in mails} == {str(row.public_id)}
    bells = make.rows(
        "select user_id from notification where organization_id = :o and kind = 'invoice.issued'", o=c.org.id
    )
    assert {b.user_id for b in bells} == {c.owner.user_id, c.billing.user_id}
