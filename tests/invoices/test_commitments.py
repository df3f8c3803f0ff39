"""Minimum commitments (chapter 2, 2.5 minimum_credits_per_period): what ended pools left unused is billed once."""

from __future__ import annotations

import datetime as dt

import pytest

from app import clock
from app.errors import DomainError
from app.models import (
    Assignment,
    AssignmentStatus,
    Cycle,
    Invoice,
    InvoiceLineKind,
    PoolScope,
    Program,
    ProgramType,
    UsageLedgerEntry,
)
from app.services import invoice_rollup, invoices
from tests.invoices.conftest import SUPPLIER, base


def pool(c, make, minimum, scope=PoolScope.PER_MEMBER, **values):
    """A pool of 10,000 credits a month whose minimum is *minimum* credits."""
    return make.add(
        Program(
            organization_id=c.org.id,
            contract_id=c.contract().id,
            name="Leadership pool",
            type=ProgramType.CREDIT_POOL,
            cycle=Cycle.MONTHLY,
            credits_per_cycle=10_000,
            minimum_credits_per_period=minimum,
            pool_scope=scope,
            **values,
        )
    )


def place(c, make, program, consumed, *, ended=1):
    """A member's place whose period ended *ended* days ago, with *consumed* paise used."""
    end = clock.today_ist() - dt.timedelta(days=ended)
    row = make.add(
        Assignment(
            organization_id=c.org.id,
            program_id=program.id,
            membership_id=make.member(c.org, "LEARNER").id,
            period_start=end - dt.timedelta(days=29),
            period_end=end,
            status=AssignmentStatus.ACTIVE,
            consumed_paise=consumed,
        )
    )
    make.add(
        UsageLedgerEntry(
            organization_id=c.org.id,
            assignment_id=row.id,
            engagements=0,
            consumed_paise=consumed,
            recorded_at=clock.now(),
        )
    )
    return row


def lines(c, row):
    with c.make.acting(c.billing) as s:
        return invoices.lines_of(s, s.get(Invoice, row.id))


def test_what_a_member_left_of_the_minimum_is_billed_once(customer, make):
    c = customer(state="27")
    program = pool(c, make, 5_000)
    short = place(c, make, program, 120_050)
    kept = place(c, make, program, 500_000)
    more = place(c, make, program, 700_000)
    running = place(c, make, program, 0, ended=0)
    (row,) = c.roll_up()
    (line,) = lines(c, row)
    assert (line.kind, line.taxable_paise, line.igst_paise) == (InvoiceLineKind.COMMITMENT, 379_950, 68_391)
    assert "Leadership pool" in line.description and line.sac == "999293"
    assert line.supplied_on == short.period_end and f"{short.period_start:%d %b %Y}" in line.detail
    assert (row.subtotal_paise, row.tax_paise, row.total_paise) == (379_950, 68_391, 448_341)
    assert c.posted(f"invoice:{row.public_id}") == {
        ("ORG_RECEIVABLE", "D"): 448_341,
        ("GST_PAYABLE", "C"): 68_391,
        ("PLATFORM_FEE", "C"): 379_950,
    }
    assert [c.again(a).minimum_invoiced_at is not None for a in (short, kept, more, running)] == [
        True,
        True,
        True,
        False,
    ]
    with pytest.raises(DomainError) as error:
        c.roll_up()
    assert error.value.code == "NOTHING_TO_BILL" and c.findings() == []


def test_a_shared_pool_is_measured_together(customer, make):
    c = customer()
    program = pool(c, make, 5_000, PoolScope.SHARED)
    for consumed in (100_000, 150_000, 0):
        place(c, make, program, consumed)
    (row,) = c.roll_up()
    assert [(n.kind, n.taxable_paise, n.cgst_paise, n.sgst_paise) for n in lines(c, row)] == [
        (InvoiceLineKind.COMMITMENT, 250_000, 22_500, 22_500)
    ]
    assert c.findings() == []


def test_a_commitment_stands_beside_the_bookings_of_the_month(customer, make, run_job):
    c = customer()
    c.booking(200_000)
    place(c, make, pool(c, make, 5_000), 400_000)
    run_job("roll_up_invoices")
    run_job("roll_up_invoices")
    with make.acting(c.billing) as s:
        (row,) = s.query(Invoice).all()
    assert [(n.kind, n.taxable_paise) for n in lines(c, row)] == [
        (InvoiceLineKind.BOOKING, 200_000),
        (InvoiceLineKind.COMMITMENT, 100_000),
    ]
    assert row.total_paise == 354_000 and c.balance("ORG_RECEIVABLE") == 354_000 and c.findings() == []


def test_a_minimum_that_was_used_bills_nothing_and_a_cancelled_place_owes_nothing(customer, make, run_job):
    c = customer()
    program = pool(c, make, 5_000)
    place(c, make, program, 500_000)
    cancelled = place(c, make, program, 0)
    with make.session() as s:
        s.query(Assignment).filter_by(id=cancelled.id).update(
            {"status": AssignmentStatus.CANCELLED, "closed_at": clock.now()}
        )
    run_job("roll_up_invoices")
    assert make.one("select count(*) from invoice where organization_id = :o", o=c.org.id) == 0
    assert make.one("select count(*) from document_counter where organization_id = :o", o=c.org.id) == 0


def test_the_preview_counts_commitments(customer, make):
    c = customer(state="27")
    c.booking(200_000)
    place(c, make, pool(c, make, 5_000), 400_000)
    with make.acting(c.billing) as s:
        shown = invoice_rollup.preview(s, SUPPLIER)
    (row,) = c.roll_up()
    assert (shown["bookings"], shown["commitments"]) == (1, 1)
    assert (shown["subtotal_paise"], shown["tax_paise"], shown["total_paise"]) == (
        row.subtotal_paise,
        row.tax_paise,
        row.total_paise,
    )


def test_a_void_invoice_gives_its_commitment_to_a_draft(customer, make, api, admin):
    c = customer()
    place(c, make, pool(c, make, 5_000), 400_000)
    (row,) = c.roll_up()
    owed, why = c.balance("ORG_RECEIVABLE"), {"reason": "Wrong address"}
    assert api(c.billing, "POST", base(c, row.public_id, "void"), why)[0] == 403  # nobody frees itself of one
    assert c.balance("ORG_RECEIVABLE") == owed
    assert api(admin, "POST", base(c, row.public_id, "void"), why)[0] == 200
    assert c.balance("ORG_RECEIVABLE") == 0
    status, draft = api(c.billing, "POST", base(c, row.public_id, "rebill"))
    assert (status, draft["subtotal_paise"], draft["total_paise"]) == (201, 100_000, 118_000)
    assert api(c.billing, "POST", base(c, draft["id"], "issue"))[1]["status"] == "ISSUED"
    assert c.balance("ORG_RECEIVABLE") == 118_000 and c.findings() == []
