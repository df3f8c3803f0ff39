"""Documents: what they say, how many pages, what is carried, watermarks, fonts, the cache."""

from __future__ import annotations

import io

import pytest
from pypdf import PdfReader

from app.documents import store
from app.documents.tax_document import Document, Line, Party, Registration, render
from app.models import Invoice
from app.services import invoice_drafts, invoice_void
from tests.invoices.conftest import SUPPLIER


def text_of(data: bytes, *, layout: bool = False) -> str:
    """The words of a PDF, page after page (form feeds between); *layout* keeps what stands on one line together."""
    mode = "layout" if layout else "plain"
    return "\f".join(p.extract_text(extraction_mode=mode) for p in PdfReader(io.BytesIO(data)).pages)


def made(n: int, *, intra: bool = True, **values) -> Document:
    lines = [
        Line(
            "Strategy session",
            "Nikhil Pawar",
            "999293",
            1,
            100_000 + k,
            0,
            100_000 + k,
            1800,
            (9_000, 9_000, 0) if intra else (0, 0, 18_000),
            118_000 + k,
        )
        for k in range(n)
    ]
    heads = tuple(sum(line.heads[k] for line in lines) for k in range(3))
    subtotal = sum(line.taxable for line in lines)
    return Document(
        **{
            "title": "Tax invoice",
            "number": "ACME-2026-0042",
            "copy": "Original for recipient",
            "supplier": Party(
                "From", "Consilium Experts Private Limited", ("14 Residency Road", "GSTIN 29AAZCE4321Q1ZO")
            ),
            "recipient": Party("Billed to", "Acme Limited", ("1 MG Road", "Pune 411001")),
            "facts": (("Date", "26 Nov 2026"), ("Due", "26 Dec 2026")),
            "lines": lines,
            "intra_state": intra,
            "local_head": "SGST",
            "subtotal": subtotal,
            "heads": heads,
            "round_off": 0,
            "total": subtotal + sum(heads),
            "total_label": "Total",
            "words": "Rupees One Only",
            **values,
        }
    )


def test_three_hundred_lines_carry_their_totals_from_page_to_page():
    data, pages = render(made(300))
    said = text_of(data, layout=True).split("\f")
    assert len(said) == pages > 10
    carried = [p for p in said if "Carried forward" in p]
    brought = [p for p in said if "Brought forward" in p]
    assert len(carried) == len(brought) == pages - 1 or len(carried) == len(brought) == pages - 2
    for before, after in zip(carried, brought, strict=True):
        total = before.split("Carried forward")[1].split("\n")[0].split()[-1]
        assert after.split("Brought forward")[1].split("\n")[0].split()[-1] == total
    assert f"Page {pages} of {pages}" in said[-1] and "ACME-2026-0042" in said[-1]


def test_every_field_the_law_wants_is_printed(customer, app, make):
    c = customer(state="27")
    with make.acting(c.billing) as s:
        from app.services import invoice_facts

        invoice_facts.save_profile(
            s,
            {
                "legal_name": "Customer Private Limited",
                "address_line1": "1 MG Road",
                "city": "Pune",
                "pin_code": "411001",
            },
        )
        row = invoice_drafts.create(
            s,
            {
                "items": [{"description": "Growth workshop", "unit_paise": 10_000_000}],
                "issue_immediately": True,
                "note": "Thank you.",
            },
            SUPPLIER,
        )
        s.commit()
        said = text_of(store.fetch(s, row, app.config["SETTINGS"]).data)
    for word in (
        "Tax invoice",
        row.number,
        "Original for recipient",
        "Consilium Experts Private Limited",
        "14 Residency Road, Bengaluru, Karnataka 560025",
        "GSTIN 29AAZCE4321Q1ZO",
        "Customer Private Limited",
        "1 MG Road",
        "Pune 411001",
        f"GSTIN {c.org.gstin}",
        "Maharashtra (27)",
        "Reverse charge",
        "999293",
        "Growth workshop",
        "1,00,000.00",
        "IGST",
        "18,000.00",
        "₹1,18,000.00",
        "Rupees One Lakh Eighteen Thousand Only",
        "Tax summary",
        "Thank you.",
    ):
        assert word in said, word


@pytest.mark.parametrize(("state", "mark"), [("DRAFT", "DRAFT"), ("ISSUED", ""), ("VOID", "VOID")])
def test_watermarks(customer, app, make, state, mark):
    c = customer()
    row = c.manual(1000, issue=state != "DRAFT")
    with make.acting(c.billing) as s:
        subject = s.get(Invoice, row.id)
        if state == "VOID":
            invoice_void.void(s, subject, "A mistake")
        model = store.model(s, subject, app.config["SETTINGS"])
        s.rollback()
    assert model.watermark == mark


def test_a_draft_names_the_order_it_draws(customer, app, make):
    c = customer()
    order = c.order(100_000)
    row = c.manual(1000, issue=False, purchase_order_id=str(order.public_id))
    with make.acting(c.billing) as s:
        said = text_of(store.fetch(s, s.get(Invoice, row.id), app.config["SETTINGS"]).data)
    assert order.po_number in said and "Not issued, not a tax document" in said


def test_the_file_is_kept_until_something_changes(customer, app, make):
    c = customer()
    row = c.manual(1000)
    with make.acting(c.billing) as s:
        first = store.fetch(s, s.get(Invoice, row.id), app.config["SETTINGS"])
        s.commit()
        same = store.fetch(s, s.get(Invoice, row.id), app.config["SETTINGS"])
        assert same == first
        invoice_void.void(s, s.get(Invoice, row.id), "A mistake")
        s.commit()
        other = store.fetch(s, s.get(Invoice, row.id), app.config["SETTINGS"])
        s.commit()
    assert other.content_hash != first.content_hash
    assert make.one("select count(*) from document_file where organization_id = :o", o=c.org.id) == 1


def test_fonts_are_embedded_and_the_document_names_itself():
    data, _ = render(made(1))
    assert data.count(b"/FontFile2") == 2 and b"/DisplayDocTitle true" in data and b"/Lang" in data
    says = PdfReader(io.BytesIO(data)).metadata
    assert (says.title, says.author) == ("Tax invoice ACME-2026-0042", "Consilium Experts Private Limited")
    assert render(made(1))[0] == data  # the same content, the same bytes


def test_a_registered_document_shows_its_code():
    data, pages = render(
        made(3, registration=Registration("a" * 64, "112010036563310", "26 Nov 2026, 10:15 IST", "x" * 900))
    )
    said = text_of(data)
    assert pages == 1 and "a" * 32 in said and "112010036563310" in said


def test_long_names_never_run_off_the_page():
    long = "Verylongnamewithoutanyspace" * 12
    data, _ = render(made(2, recipient=Party("Billed to", long, (long,))))
    assert data.startswith(b"%PDF")


def test_a_credit_note_names_its_invoice(customer, app, make):
    from app.services import credit_notes

    c = customer()
    row = c.manual(100_000)
    with make.acting(c.billing) as s:
        note = credit_notes.create(s, s.get(Invoice, row.id), None, "The workshop was called off")
        s.commit()
        said = text_of(store.fetch(s, note, app.config["SETTINGS"]).data)
    for word in ("Credit note", note.number, row.number, "The workshop was called off", "CGST", "1,180.00"):
        assert word in said, word


def test_vouchers_of_advances_add_up(customer, app, make):
    from app import clock
    from app.models import FundingSource, GstMode, TopUpStatus, WalletTopUp
    from app.services import tax_vouchers

    c = customer(funding=FundingSource.WALLET)
    with make.acting(c.billing) as s:
        from sqlalchemy import text

        top_up = WalletTopUp(
            organization_id=c.org.id,
            billing_account_id=s.scalar(text("select id from billing_account")),
            amount_paise=99_900,
            gst_mode=GstMode.ADVANCE,
            gateway="sandbox",
            status=TopUpStatus.CONFIRMED,
            confirmed_at=clock.now(),
        )
        s.add(top_up)
        s.flush()
        receipt = tax_vouchers.receipt(s, top_up, SUPPLIER)
        assert tax_vouchers.receipt(s, top_up, SUPPLIER) is receipt
        assert (receipt.taxable_paise, receipt.cgst_paise, receipt.sgst_paise, receipt.round_off_paise) == (
            84_661,
            7_619,
            7_619,
            1,
        )
        parts = [tax_vouchers.refund(s, top_up, n, f"r{n}", SUPPLIER) for n in (33_333, 66_567)]
        assert sum(p.taxable_paise for p in parts) == receipt.taxable_paise
        assert (
            sum(p.cgst_paise for p in parts) == receipt.cgst_paise
            and sum(p.total_paise for p in parts) == 99_900
        )
        said = text_of(store.fetch(s, parts[0], app.config["SETTINGS"]).data)
        s.commit()
    assert "Refund voucher" in said and receipt.number in said


def test_an_advance_that_arrives_gets_its_voucher_once(customer, app, make):
    from app import clock
    from app.jobs import runner
    from app.models import FundingSource, GstMode, TopUpStatus, WalletTopUp
    from app.services import advances

    c = customer(funding=FundingSource.WALLET)
    with make.acting(c.billing) as s:
        from sqlalchemy import text

        top_up = WalletTopUp(
            organization_id=c.org.id,
            billing_account_id=s.scalar(text("select id from billing_account")),
            amount_paise=118_000,
            gst_mode=GstMode.ADVANCE,
            gateway="sandbox",
            status=TopUpStatus.CONFIRMED,
            confirmed_at=clock.now(),
        )
        s.add(top_up)
        s.flush()
        advances.arrived(s, top_up)
        s.commit()
    with app.app_context():
        runner.execute("deliver_outbox", trigger="manual")
    rows = make.rows(
        "select number, taxable_paise, total_paise from tax_voucher where organization_id = :o", o=c.org.id
    )
    assert [(r.taxable_paise, r.total_paise) for r in rows] == [(100_000, 118_000)]
    assert rows[0].number.split("-")[1] == "RV"
