"""The marketplace in a browser: found, booked by card, moved, called off; a line for a seat; an expert's hours."""

from __future__ import annotations

import datetime as dt
import re
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from app import clock
from app.models import ConsultantProfile, ExpertStatus
from tests.factories import unique

pytestmark = pytest.mark.browser

IST = ZoneInfo("Asia/Kolkata")


@pytest.fixture
def settle(run_job):
    """Let the sandbox's signed webhooks and what follows them arrive, as the worker does."""

    def run():
        for job in ("deliver_sandbox_webhooks", "process_gateway_events", "deliver_outbox"):
            run_job(job)

    return run


@pytest.fixture
def host(make):
    """An expert, free around the clock: (user, profile)."""
    user = make.user(name="Meera Menon")
    return user, make.expert(user)


def pay(page, amount):
    """At the provider's page."""
    page.wait_for_url("**/sandbox/checkout/**")
    expect(page.get_by_role("heading", level=1)).to_have_text(amount)
    page.get_by_role("button", name=f"Pay {amount}").click()
    page.wait_for_url("**/dashboard/appointments/**")


def schedule(page, title, days, seats):
    """The expert puts a webinar into the calendar."""
    page.goto("/dashboard/offering/")
    page.get_by_role("link", name=title).click()
    page.get_by_role("link", name="Schedule").first.click()
    start = (clock.now().astimezone(IST) + dt.timedelta(days=days)).strftime("%Y-%m-%dT18:00")
    page.locator("input[type=datetime-local]").fill(start)
    page.get_by_label("Seats").fill(str(seats))
    page.locator("main form button.primary").click()
    page.wait_for_url("**/dashboard/offering/events/**")
    expect(page.get_by_text("It is in the calendar")).to_be_visible()
    return urlsplit(page.url).path.rsplit("/", 1)[1]


def mail_of(page, server, address, subject):
    """The newest mail to *address* whose subject holds *subject*."""
    found = page.request.get(f"{server.url}/api/test/outbox?to={address}").json()["mail"]
    return next(m for m in found if subject in m["subject"])


def test_a_consultation_from_search_to_refund(browse, sign_in, settle, server, make, host, axe):
    title = unique("Pricing review")
    make.plan(host[1], 500_000, tax_bps=1800, title=title, category="Strategy")
    org = make.org()
    member = make.member(org, "LEARNER")  # no program: the organisation cannot pay, and the page says so
    page, findings = browse(), []
    sign_in(page, member.user.email)

    # found by words, narrowed by kind and category
    page.goto("/explore/experts")
    page.get_by_role("searchbox", name="Search").fill(title)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="1 plan")).to_be_visible()
    page.get_by_role("navigation", name="Kind of session").get_by_role("link", name="Consultations").click()
    page.get_by_role("link", name=title).click()
    expect(page.get_by_role("heading", name="Pick a time")).to_be_visible()
    findings += axe(page)

    # a slot, a week on, in the reader's zone
    page.get_by_role("link", name="Later").click()
    expect(page.get_by_role("link", name="Earlier")).to_be_visible()
    first = page.locator("a.slot").first
    at = dt.datetime.fromisoformat(first.locator("time").get_attribute("datetime"))
    assert first.inner_text() == at.astimezone(IST).strftime("%H:%M")
    first.click()

    # who pays, and what it costs, before anything is booked
    expect(page.get_by_role("heading", level=1, name="Confirm the booking")).to_be_visible()
    expect(page.get_by_role("radio", name="Myself")).to_be_checked()
    refused = page.locator(
        "section.card", has=page.get_by_role("heading", name="Cannot pay for this session")
    )
    expect(refused.get_by_text(org.name)).to_be_visible()
    expect(page.get_by_role("complementary", name="Summary").get_by_text("₹5,900.00")).to_be_visible()
    findings += axe(page)
    assert make.one("SELECT count(*) FROM payment WHERE user_id = :u", u=member.user_id) == 0
    page.get_by_role("button", name="Book and pay ₹5,900.00").click()

    # the provider's page: declined, then paid; the booking's page follows by itself
    page.wait_for_url("**/sandbox/checkout/**")
    page.get_by_role("button", name="Decline").click()
    expect(page.get_by_text("The bank declined the payment")).to_be_visible()
    pay(page, "₹5,900.00")
    expect(page.get_by_text("Waiting for your payment.")).to_be_visible()
    expect(page.get_by_role("button", name="Continue paying ₹5,900.00")).to_be_visible()
    findings += axe(page)
    settle()
    expect(page.get_by_text("Booked and paid.")).to_be_visible()
    booking = urlsplit(page.url).path
    findings += axe(page)
    assert make.one("SELECT status FROM payment WHERE user_id = :u", u=member.user_id) == "SUCCEEDED"
    assert mail_of(page, server, member.user.email, title)

    # receipt and calendar file
    receipt = page.request.get(
        server.url + page.get_by_role("link", name="Receipt", exact=True).get_attribute("href")
    )
    assert receipt.headers["content-type"] == "application/pdf" and receipt.body().startswith(b"%PDF")
    with page.expect_download() as download:
        page.get_by_role("link", name="Add to calendar").click()
    event = download.value.path().read_bytes()
    assert b"BEGIN:VEVENT" in event and at.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ").encode() in event

    # moved to another time
    page.get_by_role("link", name="Another time").click()
    page.get_by_role("link", name="Later").click()
    expect(page.get_by_role("link", name="Earlier")).to_be_visible()
    slot = page.locator("label.slot").nth(40)
    other = dt.datetime.fromisoformat(slot.locator("input").get_attribute("value"))
    slot.click()
    page.get_by_label("Why").fill("A board meeting came up")
    findings += axe(page)
    page.get_by_role("button", name="Move the session").click()
    expect(page.get_by_text("Moved. The other one hears of it now.")).to_be_visible()
    assert make.one("SELECT starts_at FROM appointment WHERE learner_user_id = :u", u=member.user_id) == other
    page.goto("/dashboard/appointments/")
    page.get_by_role("link", name=title, exact=True).click()
    page.wait_for_url(f"**{booking}")

    # called off: the page says first what goes back
    page.get_by_role("button", name="Cancel booking").click()
    dialog = page.get_by_role("dialog", name="Cancel this booking?")
    expect(dialog).to_contain_text("₹5,900.00 (100 %) goes back to")
    findings += axe(page)
    dialog.get_by_label(re.compile("^Reason")).fill("No longer needed")
    dialog.get_by_role("button", name="Cancel the booking").click()
    expect(page.get_by_text("Cancelled. ₹5,900.00 goes back")).to_be_visible()
    refunds = page.get_by_role("table", name="Refunds of this booking")
    expect(refunds.get_by_text("Pending")).to_be_visible()
    settle()
    settle()
    page.reload()
    expect(refunds.get_by_text("Succeeded")).to_be_visible()
    page.goto("/dashboard/appointments/?when=past")
    expect(page.get_by_role("row", name=title).get_by_text("Cancelled")).to_be_visible()
    assert make.rows(
        "SELECT a.status, r.status, r.amount_paise FROM appointment a JOIN payment p ON p.appointment_id = a.id "
        "JOIN refund r ON r.payment_id = p.id WHERE a.learner_user_id = :u",
        u=member.user_id,
    ) == [("CANCELLED", "SUCCEEDED", 590_000)]
    assert findings == []


@pytest.mark.scenario("M-50")
def test_a_full_event_has_a_line(browse, sign_in, settle, run_job, server, make, host, axe):
    title, findings = unique("Open evening"), []
    make.plan(host[1], 100_000, tax_bps=1800, title=title, type="WEBINAR", max_participants=5)
    desk = browse()
    sign_in(desk, host[0].email)
    event = schedule(desk, title, 9, 1)
    findings += axe(desk)

    # one seat, found in the catalogue and paid
    first = make.user(name="Farah First")
    early = browse()
    sign_in(early, first.email)
    early.goto("/explore/experts?type=WEBINAR")
    early.get_by_role("searchbox", name="Search").fill(title)
    early.get_by_role("button", name="Search", exact=True).click()
    early.get_by_role("link", name=title).click()
    expect(early.get_by_text("1 seat left")).to_be_visible()
    early.get_by_role("link", name="Book a seat").click()
    early.get_by_role("button", name="Book and pay ₹1,180.00").click()
    pay(early, "₹1,180.00")
    settle()
    expect(early.get_by_text("Booked and paid.")).to_be_visible()

    # the second one joins the line, on a phone
    second = make.user(name="Sara Second")
    late = browse(390, 844, True)
    sign_in(late, second.email)
    late.goto(f"/explore/events/{event}")
    expect(late.get_by_text("Every seat is taken.")).to_be_visible()
    late.get_by_role("button", name="Join the waitlist").click()
    expect(late.get_by_text("You are number 1 in line.").first).to_be_visible()
    findings += axe(late)
    late.goto("/dashboard/waitlist")
    expect(late.get_by_role("link", name=title)).to_be_visible()

    # the expert sees both
    desk.reload()
    expect(desk.get_by_text("Farah First", exact=True)).to_be_visible()
    expect(desk.get_by_text("Sara Second", exact=True)).to_be_visible()
    findings += axe(desk)

    # the seat is given back, and offered
    early.get_by_role("button", name="Cancel booking").click()
    early.get_by_role("dialog").get_by_role("button", name="Cancel the booking").click()
    expect(early.get_by_text("Cancelled. ₹1,180.00 goes back")).to_be_visible()
    run_job("waitlist_offers")
    settle()
    assert "kept for you until" in mail_of(late, server, second.email, "A seat is free")["text"]
    late.reload()
    late.get_by_role("link", name="Take the seat").click()
    expect(late.get_by_text("A seat is yours to take.")).to_be_visible()
    findings += axe(late)
    early.goto(f"/explore/events/{event}")  # kept for whom it was offered to
    expect(early.get_by_text("Every seat is taken.")).to_be_visible()
    late.get_by_role("link", name="Book a seat").click()
    late.get_by_role("button", name="Book and pay ₹1,180.00").click()
    pay(late, "₹1,180.00")
    settle()
    expect(late.get_by_text("Booked and paid.")).to_be_visible()
    assert make.rows(
        "SELECT a.learner_user_id, a.status FROM appointment a JOIN event e ON e.id = a.event_id "
        "WHERE e.public_id = :e ORDER BY a.id",
        e=event,
    ) == [(first.id, "CANCELLED"), (second.id, "CONFIRMED")]
    assert make.one("SELECT status FROM waitlist_entry WHERE user_id = :u", u=second.id) == "BOOKED"
    assert findings == []


def test_an_expert_edits_their_hours(browse, sign_in, make, axe):
    person = make.user(name="Hari Hours")
    profile = make.add(
        ConsultantProfile(
            user_id=person.id,
            headline="Operations",
            domain="Operations",
            verification_status=ExpertStatus.VERIFIED,
        )
    )
    plan = make.plan(profile, 200_000, title=unique("Floor walk"))
    page = browse()
    sign_in(page, person.email)
    page.goto("/dashboard/offering/")
    page.get_by_role("navigation", name="Your rooms as an expert").get_by_role("link", name="Hours").click()

    # half a stretch is refused where it stands, and nothing typed is lost
    page.get_by_label("Monday, from").first.fill("09:00")
    page.get_by_role("button", name="Save the week").click()
    expect(page.get_by_text("Give both times").first).to_be_visible()
    expect(page.get_by_label("Monday, from").first).to_have_value("09:00")
    page.get_by_label("Monday, to").first.fill("11:00")
    page.get_by_role("button", name="Save the week").click()
    expect(page.get_by_text("Your hours hold from now on.")).to_be_visible()
    page.get_by_label("Monday, from").nth(1).fill("14:00")  # a second stretch appears once the first is there
    page.get_by_label("Monday, to").nth(1).fill("15:00")
    page.get_by_role("button", name="Save the week").click()
    expect(page.get_by_text("Your hours hold from now on.")).to_be_visible()
    assert axe(page) == []
    preview = page.get_by_role("complementary", name="Preview")
    expect(preview.get_by_text("09:00–11:00, 14:00–15:00").first).to_be_visible()

    # one Monday is closed
    today = clock.now().astimezone(IST).date()
    monday = today + dt.timedelta(days=7 - today.weekday())
    page.get_by_role("button", name="Add").click()
    dialog = page.get_by_role("dialog", name="Dates that differ")
    dialog.get_by_label(re.compile("^From")).fill(monday.isoformat())
    dialog.get_by_role("button", name="Change these dates").click()
    expect(page.get_by_text("1 date changed.")).to_be_visible()
    expect(page.get_by_role("table", name="Dates that differ").get_by_text("Closed")).to_be_visible()

    # and that is what a learner can pick from
    learner = browse()
    sign_in(learner, make.user(name="Lena Learner").email)
    learner.goto(f"/explore/plans/{plan.public_id}?week={monday.isoformat()}")
    expect(learner.get_by_text("No free time in these seven days")).to_be_visible()
    learner.get_by_role("link", name="Look later").click()
    expect(learner.locator("a.slot").first).to_be_visible()
    times = learner.locator("a.slot").all_inner_texts()
    assert times[0] == "09:00" and times[-1] == "14:00" and "11:00" not in times

    # the week holds again
    page.get_by_role("table", name="Dates that differ").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Every week is the same")).to_be_visible()
    learner.goto(f"/explore/plans/{plan.public_id}?week={monday.isoformat()}")
    expect(learner.locator("a.slot").first).to_be_visible()
