"""Rollups by role and capability (chapter 1, 1.5: S without money, B finance only)."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import event

from app import clock
from app.services import analytics

PEOPLE = {"members", "bookings", "utilisation", "experts"}
MONEY = {"spend", "departments", "programs"}


def sections(busy, role, **args):
    answer = busy.get(role, "analytics", **args)
    assert answer.status_code == 200, answer.text
    return {s["key"]: s for s in answer.json["sections"]}


@pytest.mark.parametrize(
    ("role", "keys"),
    [
        ("OWNER", PEOPLE | MONEY),
        ("MAINTAINER", PEOPLE | MONEY),
        ("MANAGER", PEOPLE | MONEY),
        ("SUPPORT", PEOPLE),
        ("BILLING_ADMIN", MONEY),
    ],
)
def test_who_sees_what(busy, app, make, role, keys):
    found = sections(busy, role)
    assert set(found) == keys
    kinds = {series["kind"] for s in found.values() for series in s["series"]}
    assert ("money" in kinds) == (role != "SUPPORT")
    seats = busy.get(role, "analytics").json["seats"]
    assert seats == (None if role == "BILLING_ADMIN" else {"used": 1, "total": 10})
    page = make.sign_in(app.test_client(), busy.people[role]).get(
        f"/dashboard/organization/{busy.org.slug}/analytics/"
    )
    assert page.status_code == 200
    assert ("Spend by month" in page.text) == (role != "SUPPORT")
    assert ("Members over time" in page.text) == (role != "BILLING_ADMIN")
    if role == "SUPPORT":
        assert "5,900" not in page.text and "590000" not in page.text
    if role == "BILLING_ADMIN":
        assert "Wombat" not in page.text


def test_learners_and_experts_see_none(busy):
    assert busy.get("LEARNER", "analytics").json["code"] == "INSUFFICIENT_ROLE"


def values(section, name):
    return next(s["values"] for s in section["series"] if s["name"] == name)


def test_figures(busy):
    found = sections(busy, "OWNER", months="3")
    assert found["members"]["labels"][-1] == f"{clock.today_ist():%b %Y}"
    assert values(found["members"], "Members")[-1] == 6
    assert sum(values(found["bookings"], "Held or booked")) == 1
    for name in ("Gross", "Net of refunds"):
        assert values(found["spend"], name)[-1] == 590_000 and sum(values(found["spend"], name)) == 590_000
    assert found["departments"]["labels"] == ["Design"] and values(found["departments"], "Net spend") == [
        590_000
    ]
    assert found["programs"]["labels"] == ["Coaching"] and values(found["programs"], "Bookings") == [1]
    use = found["utilisation"]
    assert use["labels"] == ["Coaching"] and values(use, "Used, in basis points") == [5000]
    assert values(use, "Used") == [500_000] and values(use, "Allowance") == [1_000_000]
    assert found["experts"]["labels"] == ["Wanda Wombat"] and values(found["experts"], "Sessions") == [1]


def test_a_host_sees_earnings_and_no_seats(busy, make):
    host = make.org(can_sponsor=False, can_host=True)
    owner = make.member(host)
    answer = busy.client.get(f"/api/organizations/{host.slug}/analytics", headers=make.bearer(owner))
    assert {s["key"] for s in answer.json["sections"]} == {"members", "bookings", "earnings", "experts"}
    assert answer.json["seats"] is None


def test_files(busy, app, make):
    answer = busy.get("OWNER", "analytics", format="csv", section="departments")
    assert answer.mimetype == "text/csv"
    assert answer.text.replace("\ufeff", "").splitlines() == [
        "Department,Net spend,Bookings",
        "Design,5900.00,1",
    ]
    assert busy.get("SUPPORT", "analytics", format="csv", section="departments").status_code == 404
    assert busy.get("OWNER", "analytics", format="csv").status_code == 400
    for bad in ("0", "25", "x", "1e9"):
        assert busy.get("OWNER", "analytics", months=bad).status_code == 400
    base = f"/dashboard/organization/{busy.org.slug}/analytics"
    owner = make.sign_in(app.test_client(), busy.people["OWNER"])
    assert "5900.00" in owner.get(f"{base}/spend.csv?months=3").text
    assert owner.get(f"{base}/nonsense.csv").status_code == 404
    support = make.sign_in(app.test_client(), busy.people["SUPPORT"])
    assert support.get(f"{base}/spend.csv").status_code == 404


def test_months_are_indias(make, busy):
    assert analytics.first_month(1, dt.date(2026, 11, 23)) == dt.date(2026, 11, 1)
    assert analytics.first_month(12, dt.date(2026, 11, 23)) == dt.date(2025, 12, 1)
    assert analytics.first_month(24, dt.date(2026, 1, 1)) == dt.date(2024, 2, 1)


def test_as_many_statements_whatever_the_size(busy, make, web_engine):
    """Constant queries (design rule 7)."""

    def statements():
        seen: list[str] = []

        def note(conn, cursor, statement, *rest):
            seen.append(statement)

        event.listen(web_engine, "before_cursor_execute", note)
        try:
            assert busy.get("OWNER", "analytics").status_code == 200
        finally:
            event.remove(web_engine, "before_cursor_execute", note)
        return len(seen)

    busy.get("OWNER", "analytics")
    before = statements()
    for _ in range(5):
        make.member(busy.org, "LEARNER", department_label="Sales")
    assert statements() == before
