"""The booking pages, as people click through them, and the organisation's generated views."""

from __future__ import annotations

import datetime as dt
import html
import re

import pytest

from app import clock
from app.models import ContractStatus, OrgRole, OrgStatus, Visibility

from .conftest import slot


@pytest.fixture
def browser(world):
    """A signed-in browser of a member."""

    def open_for(who):
        return world.make.sign_in(world.client.application.test_client(), who)

    return open_for


def page(client, path, status=200):
    r = client.get(path)
    assert r.status_code == status, (path, r.status_code, r.data[:300])
    return html.unescape(r.get_data(as_text=True))


def chosen(confirm):
    """What the confirmation form sends when nothing is changed."""
    fields = dict(re.findall(r'name="(at|key)" value="([^"]+)"', confirm))
    return {**fields, "payer": re.search(r'name="payer" value="([^"]+)" checked', confirm)[1]}


def test_find_pick_confirm_and_keep(world, browser):
    """The whole way of a learner: search, plan, time, payer, booking, receipt, calendar file."""
    learner = world.learner()
    plan = world.make.plan(world.make.expert(world.make.user(name="Zelda Quartz")), 500_000, tax_bps=1800)
    client = browser(learner)
    found = page(client, "/explore/experts?q=Zelda+Qu")
    assert "Zelda Quartz" in found and f"/explore/plans/{plan.public_id}" in found
    picker = page(client, f"/explore/plans/{plan.public_id}")
    assert "₹5,900.00" in picker and "Asia/Kolkata" in picker
    link = re.search(rf'href="(/explore/plans/{plan.public_id}/book\?at=[^"]+)"', picker)[1]
    confirm = page(client, link)
    assert (
        world.org.name in confirm and "Book and pay ₹5,900.00" in confirm and "₹1,00,000.00 left" in confirm
    )
    fields = chosen(confirm)
    done = client.form(f"/explore/plans/{plan.public_id}/book", fields)
    assert done.status_code == 302
    booked = page(client, done.location)
    assert "Booked and paid." in booked and "₹5,900.00" in booked
    again = client.form(f"/explore/plans/{plan.public_id}/book", fields)
    assert again.location == done.location and world.written()["payment"] == 1
    receipt = re.search(r'href="(/api/payments/[^"]+/receipt.pdf)"', booked)[1]
    assert client.get(receipt).mimetype == "application/pdf"
    ics = client.get(done.location.split("?")[0] + "/calendar.ics")
    assert (
        ics.mimetype == "text/calendar"
        and b"BEGIN:VEVENT\r\n" in ics.data
        and b"SUMMARY:Strategy session" in ics.data
    )
    assert all(len(line) <= 75 for line in ics.data.split(b"\r\n"))
    mine = page(client, "/dashboard/appointments/")
    assert "Zelda Quartz" in mine and "Receipt" in mine and world.org.name in mine
    assert "Zelda" not in page(client, "/dashboard/appointments/?when=past")
    assert "Zelda" not in page(client, "/dashboard/appointments/?org_scope=personal")
    usage = page(client, f"/dashboard/organization/{world.org.slug}/my-program/")
    assert "₹95,000.00" in usage and "Coaching" in usage


def test_expert_sees_the_booking_without_the_payment(world, browser):
    learner = world.learner()
    booking = world.book(learner).json["id"]
    with world.make.session() as s:
        from app.models import User

        expert = s.get(User, world.expert.user_id)
    client = browser(expert)
    assert learner.user.name in page(client, "/dashboard/appointments/")
    shown = page(client, f"/dashboard/appointments/{booking}")
    assert learner.user.name in shown and "receipt.pdf" not in shown
    assert client.get(f"/dashboard/appointments/{booking}/calendar.ics").status_code == 200


def test_strangers_find_no_booking(world, browser):
    booking = world.book(world.learner()).json["id"]
    for who in (
        world.make.user(),
        world.make.member(world.org, OrgRole.OWNER),
        world.make.member(world.make.org()),
    ):
        client = browser(who)
        page(client, f"/dashboard/appointments/{booking}", 404)
        page(client, f"/dashboard/appointments/{booking}/calendar.ics", 404)
    page(browser(world.make.user()), "/dashboard/appointments/zzz", 404)


def test_signed_out_goes_to_sign_in(world, client):
    for path in ("/explore/experts", f"/explore/plans/{world.plan.public_id}", "/dashboard/appointments/"):
        r = client.get(path)
        assert r.status_code == 302 and "/login" in r.location


def test_who_cannot_pay_is_explained_and_ones_own_card_is_offered(world, browser):
    at = slot().isoformat().replace("+", "%2B")
    client = browser(world.learner(assigned=False))
    path = f"/explore/plans/{world.plan.public_id}/book?at={at}"
    text = page(client, path)
    assert "Cannot pay for this session" in text and "You have no active program" in text
    fields = chosen(text)
    assert fields["payer"] == "me"
    nobody = client.form(f"/explore/plans/{world.plan.public_id}/book", {**fields, "payer": ""})
    assert "/book?at=" in nobody.location and world.written()["payment"] == 0
    on = client.form(f"/explore/plans/{world.plan.public_id}/book", fields)
    assert on.status_code == 302 and "/sandbox/checkout/order_" in on.location


def test_a_hold_is_paid_or_cancelled_from_its_page(world, browser):
    person = world.make.user()
    client = browser(person)
    body = world.book(person, org=None).json
    show = f"/dashboard/appointments/{body['id']}"
    text = page(client, show)
    assert "Waiting for your payment." in text and "Nothing was paid yet" in text
    assert client.form(f"{show}/pay").location == body["payment"]["checkout_url"]
    assert client.form(f"{show}/cancel", {"reason": "<b>Ill</b>"}).location.endswith(show)
    after = page(client, show)
    assert "Cancelled" in after and "Waiting for your payment" not in after and "Cancel booking" not in after


def test_a_booking_says_what_a_cancellation_gives_back(world, browser):
    learner = world.learner()
    body = world.book(learner).json
    client = browser(learner)
    show = f"/dashboard/appointments/{body['id']}"
    text = page(client, show)
    assert f"₹5,000.00 (100%) goes back to the wallet of {world.org.name}" in text.replace(" %", "%")
    client.form(f"{show}/cancel", {"reason": "Ill"})
    after = page(client, show)
    assert "Refunds" in after and "₹5,000.00" in after and world.make.balance(world.org) == 5_000_000


def test_a_taken_slot_leads_back_to_the_times(world, browser):
    at, learner = slot(), world.learner()
    client = browser(learner)
    confirm = page(
        client, f"/explore/plans/{world.plan.public_id}/book?at={at.isoformat().replace('+', '%2B')}"
    )
    fields = chosen(confirm)
    assert world.book(world.learner(), at).status_code == 201
    r = client.form(f"/explore/plans/{world.plan.public_id}/book", fields)
    assert r.status_code == 302 and r.location == f"/explore/plans/{world.plan.public_id}"
    assert "Someone else has just booked this time" in page(client, r.location)
    r = client.get(f"/explore/plans/{world.plan.public_id}/book?at={at.isoformat().replace('+', '%2B')}")
    assert r.status_code == 302


@pytest.mark.parametrize(
    "query", ["at=", "at=zzz", "at=2026-12-07T10:00:00", "at=9999-12-31T23:59:59%2B00:00", ""]
)
def test_odd_moments_lead_back(world, browser, query):
    r = browser(world.learner()).get(f"/explore/plans/{world.plan.public_id}/book?{query}")
    assert r.status_code in (302, 404)


@pytest.mark.parametrize(
    "query",
    [
        "week=zzz",
        "week=0001-01-01",
        "week=9999-12-31",
        "tz=Mars/Phobos",
        "tz=../etc/passwd",
        "tz=America/New_York",
    ],
)
def test_odd_weeks_and_zones(world, browser, query):
    page(browser(world.learner()), f"/explore/plans/{world.plan.public_id}?{query}")


@pytest.mark.parametrize(
    "query",
    ["max=abc", "max=1,00,000", "minutes=7", "before=zz_9", "before=_", "q=%25_%5C", "category=" + "x" * 300],
)
def test_odd_searches(world, browser, query):
    page(browser(world.learner()), f"/explore/experts?{query}")


def test_times_follow_the_viewer(world, browser):
    client = browser(world.learner())
    a = page(client, f"/explore/plans/{world.plan.public_id}?tz=America/New_York")
    assert "Times in America/New_York" in a


def test_members_only_plans(world, browser):
    host = world.make.org(can_host=True)
    plan = world.make.plan(world.expert, 100_000, organization_id=host.id, visibility=Visibility.ORG_ONLY)
    page(browser(world.learner()), f"/explore/plans/{plan.public_id}", 404)
    page(browser(world.make.member(host, OrgRole.LEARNER)), f"/explore/plans/{plan.public_id}")


# ---- the organisation's views ------------------------------------------------------------------------------------------


def test_owner_drafts_signs_and_assigns(world, browser):
    """Contract, program and assignment through the forms, on a fresh organisation; then the learner books."""
    make = world.make
    org = make.org()
    owner, learner = make.member(org, OrgRole.OWNER), make.member(org, OrgRole.LEARNER)
    make.fund(org, 1_000_000)
    client, base = browser(owner), f"/dashboard/organization/{org.slug}"
    assert "No contract yet" in page(client, f"{base}/contracts/")
    page(client, f"{base}/contracts/add")
    bad = client.form(
        f"{base}/contracts/add", {"title": "x", "effective_from": "2026-01-01", "payment_terms_days": "121"}
    )
    assert bad.status_code == 422
    today = clock.today_ist()
    made = client.form(
        f"{base}/contracts/add",
        {
            "title": "Learning 2026",
            "effective_from": today.isoformat(),
            "payment_terms_days": "30",
            "auto_renew": "y",
        },
    )
    assert made.status_code == 302, made.get_data(as_text=True)[:2000]
    contract = make.rows("SELECT id, public_id FROM contract WHERE organization_id = :o", o=org.id)[0]
    assert client.form(f"{base}/contracts/action/sign/{contract[1]}").status_code == 302
    assert make.one("SELECT status FROM contract WHERE id = :i", i=contract[0]) == "ACTIVE"
    assert "Learning 2026 (active)" in page(client, f"{base}/programs/add")
    made = client.form(
        f"{base}/programs/add",
        {
            "contract_id": contract[0],
            "name": "Coaching",
            "credits_per_cycle": "5000",
            "cycle": "MONTHLY",
            "pool_scope": "PER_MEMBER",
            "allowed_categories": "",
        },
    )
    assert made.status_code == 302, made.get_data(as_text=True)
    program = make.one("SELECT id FROM program WHERE organization_id = :o", o=org.id)
    page(client, f"{base}/assignments/add")
    made = client.form(
        f"{base}/assignments/add",
        {"program_id": program, "membership_id": str(learner.public_id), "period_start": ""},
    )
    assert made.status_code == 302, made.get_data(as_text=True)
    world.org = org
    assert world.book(learner).status_code == 201
    assert "₹5,000.00" in page(client, f"{base}/assignments/") and "Strategy session" in page(
        client, f"{base}/appointments/"
    )
    place = make.one("SELECT public_id FROM assignment WHERE organization_id = :o", o=org.id)
    assert client.form(f"{base}/assignments/action/cancel/{place}").status_code == 302
    assert world.book(learner).json["code"] == "PROGRAM_ASSIGNMENT_INACTIVE"
    actions = [
        r[0]
        for r in make.rows(
            "SELECT action FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=org.id
        )
    ]
    assert [a for a in actions if not a.startswith(("BOOKING", "WALLET"))] == [
        "CONTRACT_CREATED",
        "CONTRACT_SIGNED",
        "PROGRAM_CREATED",
        "PROGRAM_ASSIGNED",
        "PROGRAM_UNASSIGNED",
    ]


def test_maintainer_reads_contracts_but_offers_no_new_one(world, browser):
    client = browser(world.make.member(world.org, OrgRole.MAINTAINER))
    base = f"/dashboard/organization/{world.org.slug}"
    assert "/contracts/add" not in page(client, f"{base}/contracts/")
    assert (
        client.form(
            f"{base}/contracts/add",
            {"title": "Mine", "effective_from": "2026-01-01", "payment_terms_days": "30"},
        ).status_code
        == 403
    )
    assert "/programs/add" in page(client, f"{base}/programs/")
    assert world.make.one("SELECT count(*) FROM contract WHERE organization_id = :o", o=world.org.id) == 1


def test_pending_organisation_offers_no_forms(world, browser):
    org = world.make.org(status=OrgStatus.PENDING_VERIFICATION)
    client = browser(world.make.member(org, OrgRole.OWNER))
    base = f"/dashboard/organization/{org.slug}"
    assert "/contracts/add" not in page(client, f"{base}/contracts/")
    r = client.form(
        f"{base}/contracts/add",
        {"title": "Too early", "effective_from": "2026-01-01", "payment_terms_days": "30"},
    )
    assert r.status_code in (302, 403, 409, 422)
    assert world.make.one("SELECT count(*) FROM contract WHERE organization_id = :o", o=org.id) == 0


def test_plan_of_an_organisation(world, browser):
    make = world.make
    owner = make.member(world.org, OrgRole.OWNER)
    profile = make.expert(owner.user)
    client, base = browser(owner), f"/dashboard/organization/{world.org.slug}/plans"
    form = page(client, f"{base}/add")
    assert owner.user.name in form and "Everybody" not in form
    made = client.form(
        f"{base}/add",
        {
            "title": "Inside track",
            "expert_id": str(profile.public_id),
            "category": "Strategy",
            "description": "",
            "price_paise": "1,500.50",
            "tax_bps": "1800",
            "duration_minutes": "45",
            "visibility": "ORG_ONLY",
        },
    )
    assert made.status_code == 302, made.get_data(as_text=True)
    key, price = make.rows(
        "SELECT public_id, price_paise FROM plan WHERE organization_id = :o", o=world.org.id
    )[0]
    assert price == 150_050
    learner = world.learner()
    assert "Inside track" in page(browser(learner), "/explore/experts?q=Inside+track")
    assert client.form(f"{base}/action/withdraw/{key}").status_code == 302
    assert "Nobody matches" in page(browser(learner), "/explore/experts?q=Inside+track")
    foreign = make.expert()
    bad = client.form(
        f"{base}/add",
        {
            "title": "Stolen",
            "expert_id": str(foreign.public_id),
            "price_paise": "10",
            "tax_bps": "1800",
            "duration_minutes": "45",
            "visibility": "ORG_ONLY",
        },
    )
    assert bad.status_code == 422 and make.one("SELECT count(*) FROM plan WHERE title = 'Stolen'") == 0


def test_views_open_by_role(world, browser):
    base = f"/dashboard/organization/{world.org.slug}"
    expect = {
        OrgRole.SUPPORT: {
            "appointments": 200,
            "contracts": 403,
            "programs": 403,
            "assignments": 403,
            "plans": 403,
            "my-program": 403,
        },
        OrgRole.BILLING_ADMIN: {"appointments": 403, "contracts": 200, "programs": 403},
        OrgRole.LEARNER: {"appointments": 403, "programs": 403, "assignments": 403, "my-program": 200},
        OrgRole.MANAGER: {
            "appointments": 200,
            "programs": 200,
            "assignments": 200,
            "plans": 200,
            "contracts": 403,
        },
    }
    for role, pages in expect.items():
        client = browser(world.make.member(world.org, role))
        for name, status in pages.items():
            page(client, f"{base}/{name}/", status)


def test_contract_over_is_not_signed(world, browser):
    from app.models import Contract

    make = world.make
    org = make.org()
    account = make.one("SELECT id FROM billing_account WHERE organization_id = :o", o=org.id)
    old = make.add(
        Contract(
            organization_id=org.id,
            billing_account_id=account,
            title="Old",
            status=ContractStatus.DRAFT,
            effective_from=clock.today_ist() - dt.timedelta(days=90),
            effective_to=clock.today_ist() - dt.timedelta(days=1),
        )
    )
    client = browser(make.member(org, OrgRole.OWNER))
    client.form(f"/dashboard/organization/{org.slug}/contracts/action/sign/{old.public_id}")
    assert make.one("SELECT status FROM contract WHERE id = :i", i=old.id) == "DRAFT"
