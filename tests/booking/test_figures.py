"""What a month came to, through every door that says so (chapter 2, 2.11)."""

from __future__ import annotations

import csv
import io

import pytest
from sqlalchemy import text

from app.models import BillingAccount, OrgRole, PlatformRole
from app.services import booking_figures

from .conftest import build, slot


def month_of(world, reader):
    path = f"/api/organizations/{world.org.slug}/analytics"
    answer = world.client.get(path, headers=world.auth(reader))
    assert answer.status_code == 200, answer.text
    return answer.json


def series(report, key, name):
    section = next(s for s in report["sections"] if s["key"] == key)
    return next(s["values"] for s in section["series"] if s["name"] == name)


@pytest.mark.scenario("M-48")
def test_gross_and_net_of_a_month(make, client):
    """SUCCEEDED 500000 (refunded 100000), PENDING 200000 → gross 500000, net 400000."""
    world = build(make, client, 500_000)
    learner, owner = world.learner(), make.member(world.org, OrgRole.OWNER)
    admin = make.user(platform_role=PlatformRole.ADMIN)
    with make.session() as s:
        s.query(BillingAccount).filter_by(organization_id=world.org.id).one().allow_member_top_up = True
        s.commit()
    paid = world.book(learner, slot(), plan=make.plan(world.expert, 500_000)).json["payment"]
    refund = client.post(
        f"/api/payments/{paid['id']}/refunds",
        json={"amount_paise": 100_000, "reason": "A fifth of it"},
        headers={**world.auth(admin), "Idempotency-Key": "m48"},
    )
    assert (refund.status_code, refund.json["refund"]["status"]) == (201, "SUCCEEDED"), refund.text
    waits = world.book(learner, slot(), plan=make.plan(world.expert, 200_000)).json["payment"]
    assert (waits["status"], waits["amount_paise"]) == ("PENDING", 200_000)

    report = month_of(world, owner)
    assert report["month"] == {"gross": 500_000, "net": 400_000, "bookings": 1, "bookings_before": 0}
    assert series(report, "spend", "Gross")[-1] == sum(series(report, "spend", "Gross")) == 500_000
    assert series(report, "spend", "Net of refunds")[-1] == 400_000
    assert series(report, "programs", "Net spend") == [400_000] and series(
        report, "programs", "Bookings"
    ) == [1]
    assert series(report, "departments", "Net spend") == [400_000]
    path = f"/api/organizations/{world.org.slug}/analytics?section=spend&format=csv"
    lines = list(csv.reader(io.StringIO(client.get(path, headers=world.auth(owner)).text.lstrip("\ufeff"))))
    assert lines[0] == ["Month", "Gross", "Net of refunds"] and lines[-1][1:] == ["5000.00", "4000.00"]

    browser = make.sign_in(client.application.test_client(), owner)
    page = browser.get(f"/dashboard/organization/{world.org.slug}/analytics/").text
    assert "Gross this month" in page and "₹5,000.00" in page and "₹4,000.00" in page
    assert "₹4,000" in browser.get(f"/dashboard/organization/{world.org.slug}/home").text
    with make.acting(learner) as s:
        assert booking_figures.month(s) == booking_figures.Month(500_000, 400_000, 1, 0)


def test_a_booking_wholly_given_back_is_none_and_another_month_is_another(make, client):
    world = build(make, client)
    learner, owner = world.learner(), make.member(world.org, OrgRole.OWNER)
    back, kept = (world.book(learner, slot()).json for _ in range(2))
    assert (
        client.post(
            f"/api/appointments/{back['id']}/cancel", json={}, headers=world.auth(learner)
        ).status_code
        == 200
    )
    assert month_of(world, owner)["month"] == {
        "gross": 1_000_000,
        "net": 500_000,
        "bookings": 1,
        "bookings_before": 0,
    }
    with make.session() as s:
        s.execute(
            text(
                "UPDATE payment SET captured_at = date_trunc('month', captured_at AT TIME ZONE 'Asia/Kolkata') "
                "AT TIME ZONE 'Asia/Kolkata' - interval '1 second' WHERE public_id = :p"
            ),
            {"p": kept["payment"]["id"]},
        )
        s.commit()
    assert month_of(world, owner)["month"] == {
        "gross": 500_000,
        "net": 0,
        "bookings": 0,
        "bookings_before": 1,
    }
    # a finance role reads it, support does not
    assert month_of(world, make.member(world.org, OrgRole.BILLING_ADMIN))["month"]["bookings_before"] == 1
    assert month_of(world, make.member(world.org, OrgRole.SUPPORT))["month"] is None
