"""Pages of people: the form and the removal of a member, departments, learners, experts, directory, one's own pages."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

from app import clock
from app.models import Appointment, Assignment, ConsultantEarning, MembershipStatus, Payment
from tests.organizations.conftest import hosting  # noqa: F401 - a fixture
from tests.people.test_member_requests import ask, program
from tests.people.test_members import book, state
from tests.people.test_pages import base


def place(make: Any, org: Any, member: Any, start: int, days: int = 30, **values: Any) -> Any:
    first = clock.today_ist() + dt.timedelta(days=start)
    p = values.pop("program", None) or program(make, org, **values)
    make.add(
        Assignment(
            organization_id=org.id,
            program_id=p.id,
            membership_id=member.id,
            period_start=first,
            period_end=first + dt.timedelta(days=days),
            consumed_paise=30_000,
        )
    )
    return p


def spend(make: Any, org: Any, member: Any, paise: int) -> None:
    plan = make.plan(make.expert())
    make.add(
        Payment(
            organization_id=org.id,
            user_id=member.user_id,
            plan_id=plan.id,
            price_paise=paise,
            tax_paise=0,
            tax_bps=0,
            amount_paise=paise,
            status="SUCCEEDED",
            method="WALLET",
            captured_at=clock.now(),
        )
    )


def test_one_form_edits_a_member(client: Any, make: Any) -> None:
    org = make.org(can_host=True)
    browser = make.sign_in(client, make.member(org))
    manager, learner = make.member(org, "MANAGER", department_label="Ops"), make.member(org, "LEARNER")
    expert = make.member(org, "EXPERT")
    edit = f"{base(org)}/members/edit"
    page = browser.get(f"{edit}/{manager.public_id}")
    assert (
        page.status_code == 200 and '<option value="Ops">' in page.text and "Limit a month" not in page.text
    )
    answer = browser.form(f"{edit}/{manager.public_id}", {"role": "SUPPORT", "department": " Field  Work "})
    assert answer.location.endswith(f"/members/show/{manager.public_id}")
    assert make.rows("SELECT role, department_label FROM membership WHERE id = :i", i=manager.id) == [
        ("SUPPORT", "Field Work")
    ]
    assert "Limit a month" in browser.get(f"{edit}/{learner.public_id}").text
    bad = browser.form(f"{edit}/{learner.public_id}", {"role": "LEARNER", "department": "X", "amount": "0.5"})
    assert bad.status_code == 422 and "At least ₹1" in bad.text
    assert make.one("SELECT department_label FROM membership WHERE id = :i", i=learner.id) is None
    assert (
        'value="EXPERT"' not in browser.get(f"{edit}/{learner.public_id}").text
    )  # never from learner to expert
    book(make, org, (booked := make.member(org, "LEARNER")).user, 1)
    kept = browser.get(f"{edit}/{booked.public_id}").text
    assert "Kept because of bookings" in kept and 'value="MANAGER"' not in kept
    refused = browser.form(f"{edit}/{learner.public_id}", {"role": "EXPERT", "department": "X", "amount": ""})
    assert refused.status_code == 422 and state(make, learner) == ("LEARNER", "ACTIVE")
    browser.form(f"{edit}/{learner.public_id}", {"role": "LEARNER", "department": "", "amount": "1,500"})
    assert make.one("SELECT spend_limit_paise FROM membership WHERE id = :i", i=learner.id) == 150_000
    browser.form(f"{edit}/{expert.public_id}", {"role": "EXPERT", "recipient": "ORGANIZATION"})
    assert make.one("SELECT payout_recipient FROM membership WHERE id = :i", i=expert.id) == "ORGANIZATION"
    other = make.sign_in(client.application.test_client(), make.member(org, "MAINTAINER"))
    owner = make.member(org)
    for key in (owner.public_id, make.member(make.org(), "LEARNER").public_id, "nonsense"):
        assert other.get(f"{edit}/{key}").status_code == 404
    support = make.sign_in(client.application.test_client(), make.member(org, "SUPPORT"))
    assert support.get(f"{edit}/{learner.public_id}").status_code == 403


@pytest.mark.scenario("P-19")
def test_a_removal_shows_what_is_open_before_anybody_confirms(client: Any, make: Any) -> None:
    org = make.org()
    learner = make.member(org, "LEARNER")
    book(make, org, learner.user, 1)
    book(make, org, learner.user, 2)
    maintainer = make.sign_in(client.application.test_client(), make.member(org, "MAINTAINER"))
    page = maintainer.get(f"{base(org)}/members/remove/{learner.public_id}").text
    assert "Upcoming sessions" in page and "<b>2</b>" in page and page.count('class="num"') >= 6
    assert "refused" in page and 'class="btn danger solid">Remove<' not in page
    owner = make.sign_in(client, make.member(org))
    detail = owner.get(f"{base(org)}/members/show/{learner.public_id}").text
    assert 'id="remove-member"' in detail and "Remove in spite of what is open" in detail
    act = f"{base(org)}/members/action/remove/{learner.public_id}"
    owner.form(act, {"confirm_word": learner.user.email})
    maintainer.form(act, {"confirm_word": learner.user.email, "force": "y"})
    assert state(make, learner) == ("LEARNER", "ACTIVE")
    owner.form(act, {"confirm_word": learner.user.email, "force": "y"})
    assert state(make, learner) == ("LEARNER", "REMOVED")
    assert (
        make.one("SELECT details->>'forced' FROM org_audit_log WHERE organization_id = :o", o=org.id)
        == "true"
    )
    assert owner.get(f"{base(org)}/members/remove/{learner.public_id}").status_code == 404
    assert "Add again" in owner.get(f"{base(org)}/members/show/{learner.public_id}").text
    owner.form(f"{base(org)}/members/action/readd/{learner.public_id}")
    assert state(make, learner) == ("LEARNER", "ACTIVE")


def test_nobody_is_removed_in_bulk(client: Any, make: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org))
    people = [make.member(org, "LEARNER", department_label="Sales") for _ in range(3)]
    listed = browser.get(f"{base(org)}/members/").text
    bulk = re.search(r'<form class="bulk".*?</form>', listed, re.S).group(0)
    assert set(re.findall(r'value="(\w+)" data-title', bulk)) == {
        "department",
        "suspend",
        "reactivate",
        "export",
    }
    keys = [str(p.public_id) for p in people]
    answer = browser.form(f"{base(org)}/members/action_post", {"action": "remove", "rowid": keys})
    assert answer.status_code == 404 and {state(make, p)[1] for p in people} == {"ACTIVE"}
    file = browser.form(f"{base(org)}/members/action_post", {"action": "export", "rowid": keys[:2]})
    assert file.mimetype == "text/csv" and len(file.text.strip().splitlines()) == 3
    assert people[2].user.email not in file.text and people[0].user.email in file.text
    browser.form(
        f"{base(org)}/members/action_post", {"action": "department", "rowid": keys, "department": "Ops"}
    )
    browser.form(f"{base(org)}/members/action_post", {"action": "suspend", "rowid": keys[:2]})
    assert [state(make, p)[1] for p in people] == ["SUSPENDED", "SUSPENDED", "ACTIVE"]
    assert {
        r[0]
        for r in make.rows("SELECT department_label FROM membership WHERE public_id::text = ANY(:k)", k=keys)
    } == {"Ops"}


def test_a_department_change_can_be_undone(client: Any, make: Any) -> None:
    org = make.org()
    browser, learner = (
        make.sign_in(client, make.member(org)),
        make.member(org, "LEARNER", department_label="R & D"),
    )
    page = browser.form(
        f"{base(org)}/members/action/department/{learner.public_id}",
        {"department": "Sales"},
        follow_redirects=True,
    )
    undo = re.search(r'action="([^"]*undo-department[^"]*)"', page.text).group(1).replace("&amp;", "&")
    assert make.one("SELECT department_label FROM membership WHERE id = :i", i=learner.id) == "Sales"
    browser.form(undo)
    assert make.one("SELECT department_label FROM membership WHERE id = :i", i=learner.id) == "R & D"


def test_a_members_page_has_tabs_for_those_who_may_see_them(client: Any, make: Any) -> None:
    org = make.org()
    learner = make.member(org, "LEARNER", spend_limit_paise=100_000)
    place(make, org, learner, -3, name="Growth")
    book(make, org, learner.user, 1)
    spend(make, org, learner, 25_000)
    owner = make.sign_in(client, make.member(org))
    show = f"{base(org)}/members/show/{learner.public_id}"
    owner.form(f"{base(org)}/members/action/department/{learner.public_id}", {"department": "Sales"})
    page = owner.get(show).text
    for text in ("Assignments", "Growth", "Bookings", "Activity", "moved to Sales", "₹250.00 of ₹1,000.00"):
        assert text in page, text
    support = make.sign_in(client.application.test_client(), make.member(org, "SUPPORT")).get(show).text
    assert "Bookings" in support and "₹250.00" not in support and "Growth" not in support
    assert "Before a removal" not in support


def test_departments_are_merged_over_a_preview(client: Any, make: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org))
    [make.member(org, "LEARNER", department_label=d) for d in ("Sales", "Sales", "sales ", "Ops")]
    page = browser.get(f"{base(org)}/departments/")
    assert (
        page.status_code == 200 and "differ only in spelling" in page.text and "Spent this month" in page.text
    )
    preview = browser.get(
        f"{base(org)}/departments/merge", query_string={"source": ["sales ", "Ops"], "target": "Sales"}
    )
    assert preview.status_code == 200 and "What moves" in preview.text
    assert (
        make.one(
            "SELECT count(*) FROM membership WHERE organization_id = :o AND department_label = 'Ops'",
            o=org.id,
        )
        == 1
    )
    answer = browser.form(f"{base(org)}/departments/merge", {"source": ["sales ", "Ops"], "target": "Sales"})
    assert answer.status_code == 302
    assert (
        make.one(
            "SELECT count(*) FROM membership WHERE organization_id = :o AND department_label = 'Sales'",
            o=org.id,
        )
        == 4
    )
    assert browser.get(f"{base(org)}/departments/merge").location == f"{base(org)}/departments/"
    listed = browser.get(f"{base(org)}/members/?_flt_1_department_label=Sales").text
    assert "4 of 4" in listed and "Department" in listed
    support = make.sign_in(client.application.test_client(), make.member(org, "SUPPORT"))
    page = support.get(f"{base(org)}/departments/").text
    assert "Rename or merge" not in page and "Spent this month" not in page
    assert support.get(f"{base(org)}/departments/merge?source=Sales").status_code == 403


def test_learners_with_seats_places_and_spending(client: Any, make: Any) -> None:
    org = make.org(seats_total=4)
    manager = make.member(org, "MANAGER")
    a = make.member(
        org, "LEARNER", make.user(name="Aarav Zed"), department_label="Sales", spend_limit_paise=50_000
    )
    make.member(org, "LEARNER", make.user(name="Bela Young"))
    p = place(make, org, a, -3, name="Growth")
    place(make, org, make.member(org, "LEARNER", make.user(name="Chitra X")), -3, program=p)
    spend(make, org, a, 12_300)
    browser = make.sign_in(client, manager)
    page = browser.get(f"{base(org)}/learners/")
    assert (
        page.status_code == 200 and "3 of 4" in page.text and "Growth" in page.text and "₹123.00" in page.text
    )
    assert page.text.index("Aarav Zed") < page.text.index("Bela Young") < page.text.index("Chitra X")
    found = browser.get(f"{base(org)}/learners/?q=aarav&department=Sales").text
    assert "Aarav Zed" in found and "Bela Young" not in found
    browser.form(
        f"{base(org)}/own-requests/ask",
        {"kind": "SEATS", "seats": "3", "note": "More", "_back": f"{base(org)}/learners/"},
    )
    assert make.rows(
        "SELECT kind, status, seats FROM member_request WHERE organization_id = :o", o=org.id
    ) == [("SEATS", "PENDING", 3)]
    assert "3 more seats" in browser.get(f"{base(org)}/learners/").text
    key = make.one("SELECT public_id FROM member_request WHERE organization_id = :o", o=org.id)
    queue = browser.get(f"{base(org)}/requests/")
    assert (
        queue.status_code == 200
        and "3 more seats" in queue.text
        and "requests/action/approve" not in queue.text
    )
    owner = make.sign_in(client.application.test_client(), make.member(org))
    shown = owner.get(f"{base(org)}/requests/show/{key}")
    assert shown.status_code == 200 and "Approve" in shown.text
    owner.form(f"{base(org)}/requests/action/approve/{key}", {"note": "Fine"})
    assert make.one("SELECT seats_total FROM organization WHERE id = :o", o=org.id) == 7
    host = make.org(can_sponsor=False, can_host=True)
    assert make.sign_in(client, make.member(host)).get(f"{base(host)}/learners/").status_code == 404


def test_learners_come_in_pages(client: Any, make: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org))
    for i in range(27):
        make.member(org, "LEARNER", make.user(name=f"Learner N{i:02d}"))
    first = browser.get(f"{base(org)}/learners/").text
    more = re.search(r'rel="next" href="([^"]+)"', first).group(1).replace("&amp;", "&")
    second = browser.get(more).text
    assert "Learner N24" in first and "Learner N25" not in first
    assert "Learner N26" in second and "Learner N24" not in second and 'rel="next"' not in second


@pytest.mark.usefixtures("hosting")
def test_experts_with_routing_and_what_is_coming(client: Any, make: Any) -> None:
    org = make.org(can_host=True)
    expert = make.member(org, "EXPERT", make.user(name="Ela Expert"), payout_recipient="ORGANIZATION")
    profile = make.expert(expert.user)
    ours, elsewhere, payer = make.plan(profile, organization_id=org.id), make.plan(profile), make.org()
    for days, plan, paid_by in (
        (3, ours, payer),
        (2, elsewhere, org),
        (1, elsewhere, payer),
        (-1, ours, payer),
    ):
        start = clock.now() + dt.timedelta(days=days)
        make.add(
            Appointment(
                organization_id=paid_by.id,
                plan_id=plan.id,
                expert_id=profile.id,
                expert_user_id=expert.user_id,
                learner_user_id=make.user().id,
                status="CONFIRMED",
                title="Session",
                starts_at=start,
                ends_at=start + dt.timedelta(hours=1),
            )
        )
    page = make.sign_in(client, make.member(org, "MANAGER")).get(f"{base(org)}/experts/")
    assert page.status_code == 200 and "Ela Expert" in page.text and "The organisation" in page.text
    assert "Verified" in page.text and '<span class="num">2</span>' in page.text
    sponsor = make.org()
    assert make.sign_in(client, make.member(sponsor)).get(f"{base(sponsor)}/experts/").status_code in (
        404,
        501,
    )


@pytest.mark.parametrize("role", ["LEARNER", "BILLING_ADMIN", "SUPPORT"])
def test_the_directory_is_for_everybody_and_shows_no_address(client: Any, make: Any, role: str) -> None:
    org = make.org()
    me = make.member(org, role, make.user(name="Me Here"))
    other = make.member(org, "MANAGER", make.user(name="Zara Manager"))
    make.member(org, "LEARNER", make.user(name="Gone Person"), status=MembershipStatus.SUSPENDED)
    browser = make.sign_in(client, me)
    page = browser.get(f"{base(org)}/directory/")
    assert page.status_code == 200 and "Zara Manager" in page.text and "Gone Person" not in page.text
    assert other.user.email not in page.text
    assert "Zara Manager" in browser.get(f"{base(org)}/directory/?q=zara&role=MANAGER").text
    assert "Nobody found" in browser.get(f"{base(org)}/directory/", query_string={"q": other.user.email}).text


def test_my_program_by_period_and_asking_for_a_place(client: Any, make: Any) -> None:
    org = make.org()
    learner = make.member(org, "LEARNER", spend_limit_paise=90_000)
    place(make, org, learner, -5, name="Now")
    place(make, org, learner, 40, name="Later")
    place(make, org, learner, -90, name="Before")
    wanted = program(make, org, "Leadership")
    browser = make.sign_in(client, learner)
    mine = f"{base(org)}/my-program/"
    page = browser.get(mine).text
    assert "Now" in page and "Later</h2>" not in page and "Before</h2>" not in page
    assert "₹0.00 of ₹900.00" in page and "300 of 1,000" in page
    assert "Later</h2>" in browser.get(mine + "?show=upcoming").text
    assert "Before</h2>" in browser.get(mine + "?show=expired").text
    assert str(wanted.public_id) in page and "Ask for a place" in page
    browser.form(
        f"{base(org)}/own-requests/ask",
        {"kind": "PROGRAM_PLACE", "program": str(wanted.public_id), "_back": mine},
    )
    page = browser.get(mine).text
    assert "A place in “Leadership”" in page and "Withdraw" in page
    key = make.one("SELECT public_id FROM member_request WHERE organization_id = :o", o=org.id)
    owner = make.sign_in(client.application.test_client(), make.member(org))
    owner.form(f"{base(org)}/requests/action/decline/{key}", {"note": ""})
    assert make.one("SELECT status FROM member_request WHERE organization_id = :o", o=org.id) == "PENDING"
    owner.form(f"{base(org)}/requests/action/decline/{key}", {"note": "Next year"})
    assert "“Next year”" in browser.get(mine).text


def test_a_program_without_a_cap_says_so(client: Any, make: Any) -> None:
    org = make.org()
    learner = make.member(org, "LEARNER")
    p = place(make, org, learner, -5, name="Open")
    with make.session() as session:
        row = session.get(type(p), p.id)
        row.credits_per_cycle, row.type = None, "LICENSED_SEAT"
    assert "Unlimited — no cap" in make.sign_in(client, learner).get(f"{base(org)}/my-program/").text


@pytest.mark.usefixtures("hosting")
def test_my_arrangement_finds_earnings_whoever_paid(client: Any, make: Any) -> None:
    host, payer = make.org(can_host=True), make.org()
    expert = make.member(host, "EXPERT")
    profile = make.expert(expert.user)
    ours = make.plan(profile, organization_id=host.id)
    own = make.plan(profile)
    for plan, paid_by, price in ((ours, payer, 400_000), (own, payer, 777_700), (ours, host, 100_000)):
        payment = make.add(
            Payment(
                organization_id=paid_by.id,
                user_id=make.user().id,
                plan_id=plan.id,
                status="SUCCEEDED",
                method="WALLET",
                price_paise=price,
                tax_paise=0,
                tax_bps=0,
                amount_paise=price,
            )
        )
        make.add(
            ConsultantEarning(
                organization_id=paid_by.id,
                payment_id=payment.id,
                consultant_user_id=expert.user_id,
                gross_paise=price,
                platform_bps=1000,
                org_bps=1000,
                consultant_bps=8000,
                share_paise=price * 8 // 10,
                status="PENDING",
                hold_until=clock.now(),
            )
        )
    for plan, paid_by, title in ((ours, payer, "Ours"), (own, payer, "Another place")):
        starts = clock.now() + dt.timedelta(days=2 if plan is ours else 3)
        make.add(
            Appointment(
                organization_id=paid_by.id,
                plan_id=plan.id,
                expert_id=profile.id,
                learner_user_id=make.user().id,
                expert_user_id=expert.user_id,
                title=title,
                starts_at=starts,
                ends_at=starts + dt.timedelta(minutes=30),
                status="CONFIRMED",
            )
        )
    browser = make.sign_in(client, expert)
    home = browser.get(f"{base(host)}/home").text
    assert "₹4,000.00" in home and "Ours" in home and "Another place" not in home
    mine = f"{base(host)}/my-arrangement/"
    page = browser.get(mine)
    assert page.status_code == 200 and "₹3,200.00" in page.text and "₹800.00" in page.text
    assert "6,221.60" not in page.text and "80 %" in page.text
    browser.form(
        f"{base(host)}/own-requests/ask",
        {"kind": "PAYOUT_ROUTING", "recipient": "ORGANIZATION", "_back": mine},
    )
    assert "Earnings to go to the organisation" in browser.get(mine).text
    stranger = make.sign_in(client.application.test_client(), make.member(host, "EXPERT"))
    assert "₹3,200.00" not in stranger.get(mine).text
    assert make.sign_in(client, make.member(host)).get(mine).status_code == 403


def test_lists_of_people_ask_a_constant_number_of_questions(client: Any, make: Any, app: Any) -> None:
    from sqlalchemy import event

    from app.extensions import db

    org = make.org()
    browser = make.sign_in(client, make.member(org))
    shared = program(make, org, "Pool", pool_scope="SHARED")

    def asked(path: str) -> int:
        seen: list[str] = []

        def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
            seen.append(statement)

        with app.app_context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            assert browser.get(path).status_code == 200
        finally:
            event.remove(engine, "before_cursor_execute", note)
        return len(seen)

    paths = [f"{base(org)}/{p}/" for p in ("members", "learners", "directory", "departments", "requests")]
    place(make, org, make.member(org, "LEARNER", department_label="A"), -2, program=shared)
    ask(
        client.application.test_client(), org, make.bearer(make.member(org, "MANAGER")), kind="SEATS", seats=1
    )
    before = {p: asked(p) for p in paths}
    for i in range(12):
        place(make, org, make.member(org, "LEARNER", department_label=f"D{i}"), -2, program=shared)
    assert {p: asked(p) for p in paths} == before


def test_limits_are_set_where_money_is_looked_after(client: Any, make: Any) -> None:
    org = make.org()
    learner = make.member(
        org, "LEARNER", make.user(name="Arya Learner"), department_label="Desk", spend_limit_paise=80_000
    )
    spend(make, org, learner, 20_000)
    browser = make.sign_in(client, make.member(org, "BILLING_ADMIN"))
    path = f"{base(org)}/spend-limits/"
    page = browser.get(path).text
    assert "Arya Learner" in page and "₹200.00 of ₹800.00" in page and "Desk" not in page
    assert (
        learner.user.email not in page
        and "Nobody found" in browser.get(path, query_string={"q": learner.user.email}).text
    )
    browser.form(path + str(learner.public_id), {"amount": "1,200"})
    assert make.one("SELECT spend_limit_paise FROM membership WHERE id = :i", i=learner.id) == 120_000
    browser.form(path + str(learner.public_id), {"amount": "0.50"})
    browser.form(path + str(make.member(make.org(), "LEARNER").public_id), {"amount": "5"})
    assert make.one("SELECT spend_limit_paise FROM membership WHERE id = :i", i=learner.id) == 120_000
    manager = make.sign_in(client.application.test_client(), make.member(org, "MANAGER"))
    assert "Save</button>" not in manager.get(path).text
    manager.form(path + str(learner.public_id), {"amount": "5"})
    assert make.one("SELECT spend_limit_paise FROM membership WHERE id = :i", i=learner.id) == 120_000
    assert make.sign_in(client, make.member(org, "SUPPORT")).get(path).status_code == 403


@pytest.mark.usefixtures("hosting")
def test_rosters_over_rest(client: Any, make: Any) -> None:
    org = make.org(can_host=True, seats_total=9)
    people = [make.member(org, "LEARNER", make.user(name=f"Learner N{i}")) for i in range(3)]
    place(make, org, people[0], -2, name="Growth")
    expert = make.member(org, "EXPERT")
    make.expert(expert.user)
    root, ops = f"/api/organizations/{org.slug}", make.bearer(make.member(org, "MANAGER"))
    first = client.get(f"{root}/learners?limit=2", headers=ops).json
    assert first["seats"] == {"used": 3, "total": 9} and [r["name"] for r in first["learners"]] == [
        "Learner N0",
        "Learner N1",
    ]
    assert first["learners"][0]["places"][0]["program"] == "Growth"
    rest = client.get(f"{root}/learners?limit=2&cursor={first['next_cursor']}", headers=ops).json
    assert [r["name"] for r in rest["learners"]] == ["Learner N2"] and rest["next_cursor"] is None
    (row,) = client.get(f"{root}/experts", headers=ops).json["experts"]
    assert row["verification_status"] == "VERIFIED" and row["payout_recipient"] == "SELF"
    mine = client.get(f"{root}/my-arrangement", headers=make.bearer(expert)).json
    assert mine == {
        "payout_recipient": "SELF",
        "split": {"platform_bps": 1000, "org_bps": 1000, "consultant_bps": 8000},
        "earnings": [],
    }
    for role in ("SUPPORT", "LEARNER", "EXPERT", "BILLING_ADMIN"):
        who = make.bearer(make.member(org, role))
        for path in ("learners", "experts"):
            answer = client.get(f"{root}/{path}", headers=who)
            assert (answer.status_code, answer.json["code"]) == (403, "INSUFFICIENT_ROLE")
    assert client.get(f"{root}/learners?cursor=e30", headers=ops).json["code"] == "VALIDATION_FAILED"
