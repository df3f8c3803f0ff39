"""E-invoices: the mapper against the schema, the submission against a portal of its own process (chapter 4, 4.3)."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import jsonschema
import pytest
from sqlalchemy import select

from app import clock
from app.errors import DomainError
from app.gateways.irp import open_irp
from app.models import EInvoice, Invoice, InvoiceStatus, IrpStatus, PlatformRole
from app.security.context import acting
from app.services import (
    einvoice_map,
    einvoice_rules,
    einvoices,
    invoice_drafts,
    invoice_facts,
    invoice_void,
    invoices,
    tax_tables,
)
from tests.invoices.conftest import SUPPLIER

DATA = Path(__file__).parents[1] / "data"
SCHEMA = jsonschema.Draft7Validator(json.loads((DATA / "einvoice_schema.json").read_text()))
VECTORS = json.loads((DATA / "gst_vectors.json").read_text())
ON = dataclasses.replace(SUPPLIER, irp_environment="sandbox")


@pytest.fixture(scope="module")
def portal():
    process = subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).parent / "peers" / "irp_peer.py"),
            str(DATA / "einvoice_schema.json"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    address = f"http://127.0.0.1:{int(process.stdout.readline())}"

    def lever(path, body):
        request = urllib.request.Request(f"{address}{path}", data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "{}")

    lever.address = address
    yield lever
    process.terminate()
    process.wait(10)


@pytest.fixture
def irp(settings, portal):
    return open_irp(
        dataclasses.replace(
            settings,
            irp_url=portal.address,
            irp_client_id="peer-client",
            irp_client_secret="peer-secret",
            irp_username="peer-user",
            irp_password="peer-password",
            irp_timeout_seconds=2,
        )
    )


@pytest.fixture
def registered(customer, make):
    """A customer with an address and an issued invoice that waits for the portal."""

    def build(address=True, state="27", amounts=(100_000, 50_001), **values):
        c = customer(state=state, billing_email="accounts@customer.test", **values)
        with make.acting(c.billing) as s:
            if address:
                invoice_facts.save_profile(
                    s,
                    {
                        "legal_name": "Customer Limited",
                        "address_line1": "1 MG Road",
                        "city": "Pune",
                        "pin_code": "411001",
                    },
                )
            row = invoice_drafts.create(
                s,
                {
                    "items": [
                        {"description": "Workshop", "unit_paise": a, "quantity": 2, "discount_paise": 1}
                        for a in amounts
                    ],
                    "issue_immediately": True,
                },
                ON,
            )
            s.commit()
        return c, row

    return build


def queued(c, row):
    with c.make.acting(c.billing) as s:
        return s.scalars(select(EInvoice).where(EInvoice.invoice_id == row.id)).one_or_none()


def submit(c, made, irp):
    with c.make.acting(c.billing) as s, acting(s, scope="job", org_id=None):
        return einvoices.submit(s, c.org.id, made.id, irp)


def sent(c):
    return c.make.one(
        "select count(*) from outbox_message where organization_id = :o and payload->>'template' = 'invoice_issued'",
        o=c.org.id,
    )


@pytest.mark.parametrize("vector", VECTORS["irn"], ids=lambda v: v["no"])
def test_the_vector_of_the_reference_number(vector):
    year = int(vector["fy"][:4])
    assert einvoice_rules.irn(vector["seller"], year, vector["typ"], vector["no"]) == vector["irn"]
    assert einvoice_rules.irn(vector["seller"], year, vector["typ"], vector["no"].lower()) == vector["irn"]


@pytest.mark.parametrize("state", ["29", "27", "04"])
def test_the_mapper_satisfies_the_schema(registered, state):
    c, row = registered(state=state)
    with c.make.acting(c.billing) as s:
        body = einvoice_map.document(row, invoices.lines_of(s, row))
    assert sorted(e.message for e in SCHEMA.iter_errors(body)) == []
    assert body["DocDtls"] == {"Typ": "INV", "No": row.number, "Dt": f"{row.issue_date:%d/%m/%Y}"}
    assert body["ValDtls"]["TotInvVal"] == row.total_paise / 100
    assert body["BuyerDtls"]["Pos"] == state and body["BuyerDtls"]["Pin"] == 411001
    item = body["ItemList"][0]
    assert (item["IsServc"], item["HsnCd"], item["GstRt"], item["Qty"], item["Discount"]) == (
        "Y",
        "999293",
        18.0,
        2,
        0.01,
    )
    if state == "29":
        assert item["CgstAmt"] == item["SgstAmt"] and item["IgstAmt"] == 0
    else:
        assert item["IgstAmt"] > 0 and item["CgstAmt"] == 0


def test_exports_go_to_nobody_registered_at_ninety_six(customer, make):
    c = customer(registered=False, state="96")
    with make.acting(c.billing) as s:
        invoice_facts.save_profile(
            s,
            {
                "legal_name": "Buyer Inc",
                "address_line1": "1 Main St",
                "city": "Austin",
                "country_code": "US",
                "pin_code": "73301",
            },
        )
        row = invoice_drafts.create(
            s, {"items": [{"description": "Advice", "unit_paise": 100_000}], "issue_immediately": True}, ON
        )
        body = einvoice_map.document(row, invoices.lines_of(s, row))
        s.commit()
    assert list(SCHEMA.iter_errors(body)) == []
    assert (
        body["TranDtls"]["SupTyp"],
        body["BuyerDtls"]["Gstin"],
        body["BuyerDtls"]["Pos"],
        body["BuyerDtls"]["Stcd"],
    ) == (
        "EXPWOP",
        "URP",
        "96",
        "96",
    )
    assert body["ExpDtls"] == {"CntCode": "US"} and body["ItemList"][0]["GstRt"] == 18.0


def test_more_than_a_thousand_lines_are_summed_by_service(registered, make):
    c, row = registered()
    with make.acting(c.billing) as s:
        (line, *_) = invoices.lines_of(s, row)
        body = einvoice_map.document(row, [line] * 1001)
    assert len(body["ItemList"]) == 1 and body["ItemList"][0]["AssAmt"] == 1001 * line.taxable_paise / 100
    assert list(SCHEMA.iter_errors(body)) == []


def test_a_registered_invoice_goes_out_with_its_number_and_not_before(registered, irp, portal, make):
    c, row = registered()
    made = queued(c, row)
    assert (made.irp_status, made.report_by) == (
        IrpStatus.PENDING,
        row.issue_date + dt.timedelta(days=29),
    )
    assert sent(c) == 0
    assert submit(c, made, irp) == "registered"
    made = queued(c, row)
    assert made.irp_status == IrpStatus.REGISTERED and made.irn == made.expected_irn == einvoice_rules.irn(
        row.supplier_gstin, row.fiscal_year, "INV", row.number
    )
    assert (
        made.ack_number and made.signed_qr_payload and made.request_hash and made.cancel_until > clock.now()
    )
    assert sent(c) == 3  # owner, billing administrator, billing address
    assert submit(c, made, irp) == "skipped"
    assert (
        make.one(
            "select count(*) from org_audit_log where organization_id = :o and action = 'INVOICE_IRN_GENERATED'",
            o=c.org.id,
        )
        == 1
    )


@pytest.mark.parametrize("how", ["500", "hang", "garbage"])
def test_an_answer_that_never_came_is_asked_again_and_adopted(registered, irp, portal, after, how):
    c, row = registered()
    portal("/_peer/next", {"do": [how]})
    assert submit(c, queued(c, row), irp) == "retry"
    made = queued(c, row)
    assert (made.irp_status, made.attempts, made.last_error_code) == (IrpStatus.RETRY, 1, "UNAVAILABLE")
    assert submit(c, made, irp) == "skipped"  # its time has not come
    after(0.1)
    assert submit(c, queued(c, row), irp) == "registered"  # after "hang" by way of 2150
    assert queued(c, row).attempts == 2


def test_another_document_under_our_number_is_not_adopted(registered, irp, portal):
    c, row = registered()
    made = queued(c, row)
    other = {
        "BuyerDtls": {"Gstin": "29AAZCB1234R1ZR"},
        "ValDtls": {"TotInvVal": 1},
        "SellerDtls": {"Gstin": "x"},
    }
    portal("/_peer/forge", {"irn": made.expected_irn, "doc": other})
    assert submit(c, made, irp) == "failed"
    assert (queued(c, row).irp_status, queued(c, row).last_error_code) == (IrpStatus.FAILED_PERMANENT, "2150")
    assert sent(c) == 0


def test_a_rejection_is_final_until_staff_mend_it(registered, irp, portal, client, make):
    c, row = registered()
    portal("/_peer/next", {"do": ["reject"]})
    assert submit(c, queued(c, row), irp) == "failed"
    made = queued(c, row)
    assert (made.irp_status, made.last_error_code) == (IrpStatus.FAILED_PERMANENT, "3075")
    admin, staff = make.user(platform_role=PlatformRole.ADMIN), make.user(platform_role=PlatformRole.STAFF)
    listed = client.get("/api/admin/einvoices?status=FAILED_PERMANENT", headers=make.bearer(staff)).get_json()
    assert str(made.public_id) in {r["id"] for r in listed["result"]}
    path = f"/api/admin/einvoices/{made.public_id}/retry"
    assert client.post(path, headers=make.bearer(staff)).status_code == 403
    assert client.post(path, headers=make.bearer(admin)).get_json()["irp_status"] == "PENDING"
    assert client.post(path, headers=make.bearer(admin)).status_code == 409
    assert submit(c, queued(c, row), irp) == "registered"


def test_without_an_address_it_fails_at_once_and_takes_a_later_one(registered, irp, make, client):
    c, row = registered(address=False)
    made = queued(c, row)
    assert (made.irp_status, made.last_error_code) == (IrpStatus.FAILED_PERMANENT, "UNMAPPABLE")
    with make.acting(c.billing) as s:
        invoice_facts.save_profile(s, {"address_line1": "1 MG Road", "city": "Pune", "pin_code": "411001"})
        s.commit()
    admin = make.user(platform_role=PlatformRole.ADMIN)
    client.post(f"/api/admin/einvoices/{made.public_id}/retry", headers=make.bearer(admin))
    assert submit(c, queued(c, row), irp) == "registered"


def test_twelve_attempts_and_thirty_days_are_the_end(registered, irp, portal, make, after):
    c, row = registered()
    made = queued(c, row)
    with make.session() as s:
        s.get(EInvoice, made.id).attempts = 11
    portal("/_peer/next", {"do": ["500"]})
    assert submit(c, made, irp) == "failed" and queued(c, row).last_error_code == "ATTEMPTS"
    c, row = registered()
    after(31)
    assert submit(c, queued(c, row), irp) == "failed" and queued(c, row).last_error_code == "DEADLINE"


def test_cancelling_within_a_day_then_void_and_later_not(registered, irp, portal, make, after):
    c, row = registered()
    submit(c, queued(c, row), irp)
    with make.acting(c.billing) as s:
        subject = s.get(Invoice, row.id)
        with pytest.raises(DomainError) as error:
            invoice_void.void(s, subject, "Not without the portal")
        assert error.value.code == "IRP_CANCEL_FIRST"
        einvoices.cancel(s, subject, "Wrong recipient", irp)
        invoice_void.void(s, subject, "Wrong recipient")
        s.commit()
    assert queued(c, row).irp_status == IrpStatus.CANCELLED and c.again(row).status == InvoiceStatus.VOID
    assert c.findings() == []

    c, row = registered()
    submit(c, queued(c, row), irp)
    portal("/_peer/age", {"hours": 25})
    with make.acting(c.billing) as s:
        with pytest.raises(DomainError) as error:
            einvoices.cancel(s, s.get(Invoice, row.id), "Wrong recipient", irp)
        assert (error.value.code, error.value.details["portal_code"]) == ("IRP_REJECTED", "2270")
        s.rollback()
    after(1.1)
    with make.acting(c.billing) as s:
        with pytest.raises(DomainError) as error:
            einvoices.cancel(s, s.get(Invoice, row.id), "Wrong recipient", irp)
        assert error.value.code == "IRP_CANCEL_WINDOW_CLOSED"
    assert c.again(row).status == InvoiceStatus.ISSUED


@pytest.mark.parametrize("state", ["PAID", "OVERDUE"])
def test_what_may_not_be_voided_stays_registered_at_the_portal(registered, irp, make, state):
    c, row = registered()
    submit(c, queued(c, row), irp)
    with make.session() as s:
        subject = s.get(Invoice, row.id)
        subject.status = InvoiceStatus(state)
        if state == "PAID":
            subject.paid_paise = subject.total_paise
    with make.acting(c.billing) as s:
        with pytest.raises(DomainError) as error:
            einvoices.cancel(s, s.get(Invoice, row.id), "Wrong recipient", irp)
        s.rollback()
    assert error.value.code == ("ILLEGAL_TRANSITION" if state == "PAID" else "INSUFFICIENT_ROLE")
    assert irp.cancel(queued(c, row).irn, "It was not cancelled before")


def test_a_credit_note_is_registered_with_reference_to_its_invoice(registered, irp, make, portal):
    from app.services import credit_notes

    c, row = registered()
    submit(c, queued(c, row), irp)
    with make.acting(c.billing) as s:
        note = credit_notes.create(
            s, s.get(Invoice, row.id), [{"line": 1, "amount_paise": 50_000}], "Half a day"
        )
        s.commit()
        made = s.scalars(select(EInvoice).where(EInvoice.credit_note_id == note.id)).one()
        body = einvoices._body(s, made)
    assert list(SCHEMA.iter_errors(body)) == []
    assert body["DocDtls"]["Typ"] == "CRN"
    assert body["RefDtls"]["PrecDocDtls"] == [{"InvNo": row.number, "InvDt": f"{row.issue_date:%d/%m/%Y}"}]
    assert submit(c, made, irp) == "registered"


def test_consumers_exempt_supplies_and_small_suppliers_are_out_of_scope(customer, make):
    for c, bps in ((customer(registered=False), None), (customer(), 0)):
        with make.acting(c.billing) as s:
            item = {"description": "Workshop", "unit_paise": 1000, **({"tax_bps": 0} if bps == 0 else {})}
            row = invoice_drafts.create(s, {"items": [item], "issue_immediately": True}, ON)
            s.commit()
        assert queued(c, row) is None and sent(c) == 2
    with make.session() as s:
        row = s.get(Invoice, row.id)
        assert tax_tables.number(s, "EINVOICE_TURNOVER_PAISE") == 5_000_000_000


def test_with_the_flag_off_nothing_is_queued_and_the_job_does_nothing(customer, run_job, make):
    c = customer()
    c.manual(1000)
    assert run_job("irp_upload") == {}
    assert make.one("select count(*) from einvoice where organization_id = :o", o=c.org.id) == 0


def test_the_job_without_credentials_skips_and_with_them_takes_up_what_waits(
    customer, app, irp, portal, make
):
    c = customer()
    with make.acting(c.billing) as s:
        invoice_facts.save_profile(
            s,
            {
                "legal_name": "Customer Limited",
                "address_line1": "1 MG Road",
                "city": "Pune",
                "pin_code": "411001",
            },
        )
        s.commit()
    row = c.manual(1000)  # issued while the flag was off
    with make.acting(c.billing) as s, acting(s, scope="job", org_id=None):
        assert einvoices.run(s, None, "sandbox")["skipped"] == 1
        for _ in range(20):
            einvoices.run(s, irp, "sandbox")
            s.expire_all()
            if make.one(
                "select count(*) from einvoice where invoice_id = :i and irp_status = 'REGISTERED'", i=row.id
            ):
                break
    assert queued(c, row).irp_status == IrpStatus.REGISTERED


def test_a_crash_between_asking_and_keeping_registers_once(registered, irp, app, portal, after):
    from app import faults

    c, row = registered()
    app.extensions["redis"].set("test:fault:irp_answered", "1")
    faults.enable(app.extensions["redis"])
    with pytest.raises(faults.FaultInjected):
        submit(c, queued(c, row), irp)
    assert queued(c, row).irp_status == IrpStatus.SUBMITTED
    after(0.1)
    assert submit(c, queued(c, row), irp) == "registered"
