"""Purchase orders: who may, what a total may become, and invoices that draw at once (chapter 2, 2.5)."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import Currency, FundingSource, OrgStatus
from app.security import context
from app.services import purchase_orders
from tests.factories import unique


def company(make: Any, **values: Any) -> Any:
    return make.org(funding=FundingSource.INVOICE, **{"requires_po": True, **values})


def path(org: Any, tail: str = "") -> str:
    return f"/api/organizations/{org.slug}/purchase-orders{tail}"


def enter(make: Any, client: Any, member: Any, org: Any, **values: Any) -> Any:
    body = {"po_number": unique("PO"), "total_paise": 1_000_000, **values}
    return client.post(path(org), json=body, headers=make.bearer(member))


def stored(make: Any, org: Any) -> list[Any]:
    return make.rows(
        "select id, po_number, status, total_paise, remaining_paise, currency from purchase_order"
        " where organization_id = :o order by id",
        o=org.id,
    )


@pytest.mark.scenario("P-10")
def test_finance_writes_operators_read(make, client):
    org = company(make)
    refused = enter(make, client, make.member(org, "MAINTAINER"), org)
    assert (refused.status_code, refused.json["code"]) == (403, "BILLING_ADMIN_OR_OWNER_REQUIRED")
    assert stored(make, org) == []
    made = enter(make, client, make.member(org, "BILLING_ADMIN"), org)
    assert made.status_code == 201
    assert made.json["remaining_paise"] == made.json["total_paise"] == 1_000_000
    seen = client.get(path(org), headers=make.bearer(make.member(org, "MANAGER")))
    assert seen.status_code == 200
    assert [row["id"] for row in seen.json["result"]] == [made.json["id"]]
    for role in ("SUPPORT", "LEARNER"):
        assert client.get(path(org), headers=make.bearer(make.member(org, role))).status_code == 403
    actions = make.rows("select action from org_audit_log where organization_id = :o", o=org.id)
    assert ("PURCHASE_ORDER_CREATED",) in [tuple(r) for r in actions]


@pytest.mark.scenario("P-33")
def test_without_the_requirement_the_sidebar_lacks_it_and_the_api_stays(app, make, client):
    for required in (True, False):
        org = company(make, requires_po=required)
        billing = make.member(org, "BILLING_ADMIN")
        assert enter(make, client, billing, org).status_code == 201
        assert client.get(path(org), headers=make.bearer(billing)).status_code == 200
        browser = make.sign_in(app.test_client(), billing)
        home = browser.get(f"/dashboard/organization/{org.slug}/billing").text
        assert (f"/dashboard/organization/{org.slug}/purchase-orders" in home) is required
        page = browser.get(f"/dashboard/organization/{org.slug}/purchase-orders/")
        assert page.status_code == (200 if required else 404)


def test_what_an_order_may_hold(make, client):
    org = company(make)
    owner = make.member(org, "OWNER")
    yesterday = (clock.today_ist() - dt.timedelta(days=1)).isoformat()
    for values, field in (
        ({"po_number": "  "}, "po_number"),
        ({"po_number": "x" * 61}, "po_number"),
        ({"total_paise": 0}, "total_paise"),
        ({"total_paise": 10**14}, "total_paise"),
        ({"total_paise": 2**80}, "total_paise"),
        ({"currency": "JPY"}, "currency"),
        ({"valid_until": yesterday}, "valid_until"),
        ({"remaining_paise": 5}, "remaining_paise"),
    ):
        refused = enter(make, client, owner, org, **values)
        assert refused.status_code == 400, values
        assert field in refused.json["details"]["fields"]
    assert stored(make, org) == []
    assert enter(make, client, owner, org, po_number="PO-1").status_code == 201
    again = enter(make, client, owner, org, po_number="PO-1")
    assert (again.status_code, again.json["code"]) == (409, "PO_NUMBER_TAKEN")
    other = company(make)
    assert enter(make, client, make.member(other, "OWNER"), other, po_number="PO-1").status_code == 201
    assert len(stored(make, org)) == 1


def test_the_total_never_falls_below_what_was_drawn(make, client):
    org = company(make)
    owner = make.member(org, "OWNER")
    made = enter(make, client, owner, org).json
    key = stored(make, org)[0].id
    with make.acting(owner) as session:
        purchase_orders.draw(session, key, 400_000, Currency.INR)
        session.commit()

    def patch(**values: Any) -> Any:
        return client.patch(path(org, f"/{made['id']}"), json=values, headers=make.bearer(owner))

    refused = patch(total_paise=399_999)
    assert (refused.status_code, refused.json["code"]) == (409, "PO_BELOW_DRAWN")
    assert refused.json["details"]["drawn_paise"] == 400_000
    assert patch(currency="USD").status_code == 400
    assert patch(remaining_paise=1_000_000).status_code == 400
    assert (stored(make, org)[0].total_paise, stored(make, org)[0].remaining_paise) == (1_000_000, 600_000)
    assert patch(total_paise=1_500_000).json["remaining_paise"] == 1_100_000
    kept = client.delete(path(org, f"/{made['id']}"), headers=make.bearer(owner))
    assert (kept.status_code, kept.json["code"]) == (409, "PO_REFERENCED")
    assert patch(total_paise=400_000).json["status"] == "CLOSED"
    closed = patch(description="late")
    assert (closed.status_code, closed.json["code"]) == (409, "PO_NOT_ACTIVE")


def test_cancel_and_delete(make, client):
    org = company(make)
    owner = make.member(org, "OWNER")
    first, second = (enter(make, client, owner, org).json for _ in range(2))
    headers = make.bearer(owner)
    assert client.post(path(org, f"/{first['id']}/cancel"), headers=headers).json["status"] == "CANCELLED"
    assert client.post(path(org, f"/{first['id']}/cancel"), headers=headers).json["code"] == "PO_NOT_ACTIVE"
    assert client.delete(path(org, f"/{second['id']}"), headers=headers).status_code == 204
    assert [r.po_number for r in stored(make, org)] == [first["po_number"]]
    foreign = company(make)
    stranger = make.bearer(make.member(foreign, "OWNER"))
    assert client.get(path(foreign, f"/{first['id']}"), headers=stranger).status_code == 404
    assert client.delete(path(foreign, f"/{first['id']}"), headers=stranger).status_code == 404


def test_status_and_capability(make, client):
    for values, code in (
        ({"status": OrgStatus.PENDING_VERIFICATION}, "ORG_NOT_VERIFIED"),
        ({"status": OrgStatus.SUSPENDED}, "ORG_NOT_ACTIVE"),
        ({"can_sponsor": False, "can_host": True, "funding": None}, "SPONSOR_CAPABILITY_REQUIRED"),
    ):
        org = make.org(**{"funding": FundingSource.INVOICE, **values})
        refused = enter(make, client, make.member(org, "OWNER"), org)
        assert (refused.status_code, refused.json["code"]) == (409, code)
        assert stored(make, org) == []


def test_a_file_without_formulas(make, client):
    org = company(make)
    owner = make.member(org, "OWNER")
    enter(make, client, owner, org, po_number="=1+1", currency="USD", total_paise=123_456)
    answer = client.get(path(org, "?format=csv"), headers=make.bearer(owner))
    assert answer.mimetype == "text/csv"
    assert "'=1+1,ACTIVE,USD,1234.56,0.00,1234.56" in answer.text


def one(make: Any, org: Any, owner: Any, **values: Any) -> int:
    with make.acting(owner) as session:
        row = purchase_orders.create(session, {"po_number": unique("PO"), "total_paise": 100_000, **values})
        session.commit()
        return int(row.id)


def test_draws_and_what_refuses_them(make):
    org = company(make)
    owner = make.member(org, "OWNER")
    key = one(make, org, owner, valid_until=clock.today_ist())

    def refused(code: str, *args: Any, **kw: Any) -> None:
        with make.acting(owner) as session, pytest.raises(DomainError) as caught:
            purchase_orders.draw(session, key, *args, **kw)
        assert caught.value.code == code

    refused("PO_BALANCE_EXCEEDED", 100_001, Currency.INR)
    refused("PO_CURRENCY_MISMATCH", 1, Currency.USD)
    refused("PO_NOT_ACTIVE", 1, Currency.INR, on=clock.today_ist() + dt.timedelta(days=1))
    with make.acting(owner) as session:
        assert purchase_orders.draw(session, key, 100_000, Currency.INR).status == "CLOSED"
        session.commit()
    refused("PO_NOT_ACTIVE", 1, Currency.INR)
    with make.acting(owner) as session:
        assert purchase_orders.restore(session, key, 40_000).status == "ACTIVE"
        with pytest.raises(DomainError):
            purchase_orders.restore(session, key, 60_001)
        session.commit()
    assert stored(make, org)[0].remaining_paise == 40_000


def test_concurrent_draws_never_overdraw(make, web_engine):
    org = company(make)
    owner = make.member(org, "OWNER")
    key = one(make, org, owner)
    barrier, results = threading.Barrier(8), []

    def invoice() -> None:
        context._current.set(make.ctx(owner))
        with Session(web_engine) as session:
            barrier.wait(10)
            try:
                purchase_orders.draw(session, key, 30_000, Currency.INR)
                session.commit()
                results.append("drawn")
            except DomainError as error:
                session.rollback()
                results.append(error.code)

    threads = [threading.Thread(target=invoice) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == ["PO_BALANCE_EXCEEDED"] * 5 + ["drawn"] * 3
    assert stored(make, org)[0].remaining_paise == 10_000


def test_a_total_lowered_while_an_invoice_draws(make, web_engine):
    for _ in range(4):
        org = company(make)
        owner = make.member(org, "OWNER")
        key = one(make, org, owner)
        barrier, results = threading.Barrier(2), []

        def work(step: Any, owner: Any = owner, barrier: Any = barrier, results: Any = results) -> None:
            context._current.set(make.ctx(owner))
            with Session(web_engine) as session:
                barrier.wait(10)
                try:
                    step(session)
                    session.commit()
                    results.append("done")
                except DomainError as error:
                    session.rollback()
                    results.append(error.code)

        def lower(session: Session, key: int = key) -> None:
            row = session.get_one(purchase_orders.PurchaseOrder, key)
            purchase_orders.change(session, row, {"total_paise": 50_000})

        def take(session: Session, key: int = key) -> None:
            purchase_orders.draw(session, key, 80_000, Currency.INR)

        threads = [threading.Thread(target=work, args=(step,)) for step in (lower, take)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert results.count("done") == 1
        assert set(results) - {"done"} <= {"PO_BELOW_DRAWN", "PO_BALANCE_EXCEEDED"}


def test_the_page_creates_edits_cancels_and_deletes(make, client):
    org = company(make)
    billing = make.member(org, "BILLING_ADMIN")
    make.sign_in(client, billing)
    base = f"/dashboard/organization/{org.slug}/purchase-orders/"
    assert "No purchase orders yet" in client.get(base).text
    made = client.form(
        f"{base}new", {"po_number": "PO-77", "total": "1,18,000", "currency": "INR", "valid_until": ""}
    )
    assert made.status_code == 302
    client.form(f"{base}new", {"po_number": "EU-5", "total": "2500.5", "currency": "EUR"})
    text = client.get(base).text
    for shown in ("PO-77", "₹1,18,000", "€2,500.50"):
        assert shown in text
    assert "EU-5" not in client.get(f"{base}?q=po-7").text
    assert "Nothing matches" in client.get(f"{base}?q=zzz").text
    key = make.one(
        "select public_id from purchase_order where organization_id = :o and po_number = 'PO-77'", o=org.id
    )
    client.form(f"{base}{key}/edit", {"po_number": "PO-78", "total": "2,00,000", "currency": "INR"})
    assert "PO-78" in client.get(base).text
    client.form(f"{base}{key}/cancel")
    assert "Cancelled" in client.get(base).text
    client.form(f"{base}{key}/delete")
    assert "PO-78" not in [r.po_number for r in stored(make, org)]
    assert client.get(f"{base}export/csv").mimetype == "text/csv"
    reader = make.sign_in(client, make.member(org, "MANAGER"))
    seen = reader.get(base).text
    assert "EU-5" in seen
    assert "New purchase order" not in seen
    assert client.form(f"{base}new", {"po_number": "X", "total": "1", "currency": "INR"}).status_code == 403
    assert len(stored(make, org)) == 1
