"""The marketplace's pages, as learners, experts, hosts and staff click through them."""

from __future__ import annotations

import datetime as dt
import html
import re

import pytest

from app import clock
from app.models import ExpertStatus, OrgRole, PlatformRole, Visibility

from .conftest import slot
from .test_events import expert, run_job, schedule, seat
from .test_offers import code, credit


@pytest.fixture
def browser(world):
    def open_for(who):
        return world.make.sign_in(world.client.application.test_client(), who)

    return open_for


def page(client, path, status=200):
    r = client.get(path)
    assert r.status_code == status, (path, r.status_code, r.data[:300])
    return html.unescape(r.get_data(as_text=True))


def test_an_expert_sets_hours_offers_a_class_and_sees_who_comes(world, browser):
    owner = expert(world)
    client = browser(owner)
    week = {"zone": "Europe/Berlin"}
    for day in range(7):
        week |= {f"from{day}_0": "08:00", f"to{day}_0": "20:00"}
    bad = client.form("/dashboard/offering/hours", {**week, "from1_1": "10:00", "to1_1": "11:00"})
    assert bad.status_code == 422 and b"overlap" in bad.data
    assert client.form("/dashboard/offering/hours", week).status_code == 302
    rows = world.make.rows(
        "SELECT count(*), min(zone) FROM availability_window WHERE expert_id = :e", e=world.expert.id
    )
    assert list(rows[0]) == [7, "Europe/Berlin"]
    day = (clock.now() + dt.timedelta(days=3)).date().isoformat()
    client.form("/dashboard/offering/hours/dates", {"first": day, "zone": "Europe/Berlin"})
    assert "Closed" in page(client, "/dashboard/offering/hours")
    client.form("/dashboard/offering/hours/dates", {"clear": day})
    form = {
        "type": "CLASS",
        "title": "Two evenings",
        "category": "Strategy",
        "price_paise": "3,000",
        "tax_bps": "1800",
        "duration_minutes": "60",
        "visibility": "PUBLIC",
        "total_sessions": "2",
        "max_participants": "1",
    }
    assert client.form("/dashboard/offering/plans/new", {**form, "max_participants": ""}).status_code == 422
    made = client.form("/dashboard/offering/plans/new", form)
    assert made.status_code == 302
    show = made.location
    starts = [(clock.now() + dt.timedelta(days=n)).strftime("%Y-%m-%dT15:00") for n in (10, 11)]
    short = client.form(f"{show}/schedule", {"start0": starts[0], "start1": "", "capacity": "1"})
    assert short.status_code == 422
    done = client.form(f"{show}/schedule", {"start0": starts[0], "start1": starts[1], "capacity": "1"})
    assert done.status_code == 302
    event = done.location.rsplit("/", 1)[1]
    learner = world.learner()
    reader = browser(learner)
    shown = page(reader, f"/explore/events/{event}")
    assert "Book a seat" in shown
    plan_id = show.rsplit("/", 1)[1]
    confirm = page(reader, f"/explore/plans/{plan_id}/book?event={event}")
    fields = dict(re.findall(r'name="(event|key)" value="([^"]+)"', confirm))
    booked = reader.form(f"/explore/plans/{plan_id}/book", {**fields, "payer": str(world.org.public_id)})
    assert "booked=1" in booked.location
    mine = page(reader, booked.location)
    assert "Sessions" in mine and "Booked and paid." in mine
    ics = reader.get(booked.location.split("?")[0] + "/calendar.ics").data
    assert ics.count(b"BEGIN:VEVENT") == 2
    assert "You have a seat" in page(reader, f"/explore/events/{event}")
    other = browser(world.learner())
    assert "Join the waitlist" in page(other, f"/explore/events/{event}")
    other.form(f"/explore/events/{event}/waitlist")
    assert "number 1 in line" in page(other, f"/explore/events/{event}")
    assert "Two evenings" in page(other, "/dashboard/waitlist")
    who = page(client, f"/dashboard/offering/events/{event}")
    assert "Learner Person" in who and "Waiting for a seat" in who
    page(reader, f"/dashboard/offering/events/{event}", 404)
    client.form(f"/dashboard/offering/events/{event}/cancel", {"reason": "Ill"})
    run_job(world, "deliver_outbox")
    assert "Cancelled" in page(reader, booked.location)


def test_codes_and_credit_are_priced_before_anybody_pays(world, browser):
    person = world.make.user()
    credit(world, person, 50_000)
    letters = code(world)
    plan = world.make.plan(world.expert, 300_000)
    client, at = browser(person), slot()
    path = f"/explore/plans/{plan.public_id}/book"
    text = page(client, f"{path}?at={at.isoformat().replace('+', '%2B')}")
    assert "Use my credit of ₹500.00" in text
    form = {
        "at": at.isoformat(),
        "payer": "me",
        "key": "k1",
        "discount_code": letters,
        "use_referral_credits": "y",
    }
    seen = html.unescape(client.form(path, {**form, "preview": "1"}).get_data(as_text=True))
    assert "If you pay yourself" in seen and "₹2,200.00" in seen  # 3000 less 10 % less 500
    wrong = client.form(path, {**form, "preview": "1", "discount_code": "NOPE"}).get_data(as_text=True)
    assert "unknown" in wrong
    on = client.form(path, form)
    assert "/sandbox/checkout/" in on.location
    assert world.make.one("SELECT amount_paise FROM payment WHERE user_id = :u", u=person.id) == 270_000


def test_a_subscription_is_bought_and_planned_on_pages(world, browser):
    plan = world.make.plan(
        world.expert,
        200_000,
        type="SUBSCRIPTION",
        total_sessions=3,
        sessions_per_week=3,
        title="Three sessions",
    )
    reader = browser(world.learner())
    assert "Subscribe" in page(reader, f"/explore/plans/{plan.public_id}")
    confirm = page(reader, f"/explore/plans/{plan.public_id}/book")
    key = re.search(r'name="key" value="([^"]+)"', confirm)[1]
    done = reader.form(
        f"/explore/plans/{plan.public_id}/book", {"key": key, "payer": str(world.org.public_id)}
    )
    show = done.location.split("?")[0]
    assert "0 planned, 0 held, 3 left of 3" in page(reader, show)
    client = browser(expert(world))
    picker = page(client, f"{show}/sessions")
    at = re.findall(r'name="at" value="([^"]+)"', picker)[-1]
    client.form(f"{show}/sessions", {"at": at})
    after = page(reader, show)
    assert "1 planned, 0 held, 2 left of 3" in after
    child = re.search(
        r'href="(/dashboard/appointments/[^"]+)">', after.split("Sessions of this subscription")[1]
    )[1]
    page(reader, f"{show}/sessions", 404)
    moved = page(reader, f"{child}/move")
    assert "Another time" in moved
    reader.form(f"{child}/cancel", {"reason": "Ill"})
    assert "0 planned" in page(reader, show)


def test_trials_on_pages(world, browser):
    plan = world.make.plan(world.expert, 200_000, trial_price_paise=0, trial_minutes=30)
    person = world.make.user(name="Tara Try")
    reader = browser(person)
    picker = page(reader, f"/explore/plans/{plan.public_id}/trial")
    at = re.findall(r'name="at" value="([^"]+)"', picker)[-1]
    reader.form(f"/explore/plans/{plan.public_id}/trial", {"at": at, "note": "Hello <b>"})
    client = browser(expert(world))
    listed = client.get("/dashboard/trials").get_data(as_text=True)
    assert "Tara Try" in listed and "Hello &lt;b&gt;" in listed and "Grant" in listed
    step = re.search(r'action="(/dashboard/trials/[^"]+/accept)"', listed)[1]
    client.form(step)
    mine = page(reader, "/dashboard/trials")
    assert "Confirm" in mine
    paid = reader.form(step.replace("accept", "pay"), {"key": "x"})
    assert "booked=1" in paid.location
    assert "Scheduled" in page(reader, "/dashboard/trials")


def test_the_finder_filters_and_counts(world, browser):
    who = world.make.user(name="Quillon Zephyr")
    profile = world.make.expert(who)
    word = f"Quasar{world.org.id}x"
    world.make.plan(profile, 100_000, title=f"{word} talk", category="Design")
    world.make.plan(
        profile, 300_000, title=f"{word} webinar", category="Design", type="WEBINAR", max_participants=5
    )
    client = browser(world.learner())
    text = page(client, f"/explore/experts?q={word.lower()[:6]}")
    assert f"{word} talk" in text and f"{word} webinar" in text
    text = page(client, f"/explore/experts?q={word}&type=WEBINAR")
    assert f"{word} talk" not in text and f"{word} webinar" in text
    text = page(client, f"/explore/experts?q={word}&max=2000")
    assert f"{word} webinar" not in text
    assert "Quillon Zephyr" in page(client, "/explore/experts?q=zephyr+quil")
    day = (clock.now() + dt.timedelta(days=2)).date().isoformat()
    on = page(client, f"/explore/experts?q={word}&on={day}")
    assert f"{word} talk" in on and f"{word} webinar" not in on
    cheap = page(client, f"/explore/experts?q={word}&order=price")
    assert cheap.index(f"{word} talk") < cheap.index(f"{word} webinar")
    page(client, "/explore/experts?q=%3A%2A%26%7C%21&on=zzz&order=zzz&type=zzz&host=zzz&cursor=zzz")
    assert "Quillon Zephyr" in page(client, f"/explore/experts/{profile.public_id}")
    hidden = world.make.expert(status=ExpertStatus.UNVERIFIED)
    page(client, f"/explore/experts/{hidden.public_id}", 404)


def test_members_only_plans_stay_hidden_everywhere(world, browser):
    host = world.make.org(can_host=True)
    world.make.member(host, OrgRole.EXPERT, expert(world))
    word = f"Secretive{host.id}"
    plan = world.make.plan(
        world.expert,
        100_000,
        title=word,
        organization_id=host.id,
        visibility=Visibility.ORG_ONLY,
        type="WEBINAR",
        max_participants=3,
    )
    made = schedule(world, plan, [slot(9)])
    assert made.status_code == 201, made.text
    stranger = world.learner()
    nothing = page(browser(stranger), f"/explore/experts?q={word}")
    assert "Nobody matches" in nothing and str(plan.public_id) not in nothing
    headers = world.auth(stranger)
    for path in (
        f"/api/plans/{plan.public_id}",
        f"/api/events/{made.json['id']}",
        f"/explore/events/{made.json['id']}",
    ):
        assert world.client.get(path, headers=headers).status_code in (404, 302), path
    assert seat(world, stranger, plan, made.json["id"]).status_code == 404
    member = world.make.member(host, OrgRole.LEARNER)
    assert str(plan.public_id) in page(browser(member), f"/explore/experts?q={word}")


def test_hosts_edit_plans_and_publish_terms(world, browser):
    host = world.make.org(can_host=True, can_sponsor=False)
    owner = world.make.member(host, OrgRole.OWNER)
    member = world.make.member(host, OrgRole.EXPERT)
    profile = world.make.expert(member.user)
    client, base = browser(owner), f"/dashboard/organization/{host.slug}"
    form = {
        "type": "SUBSCRIPTION",
        "expert_id": str(profile.public_id),
        "title": "Hosted sessions",
        "category": "Strategy",
        "price_paise": "5,000",
        "tax_bps": "1800",
        "duration_minutes": "45",
        "visibility": "PUBLIC",
        "total_sessions": "5",
        "sessions_per_week": "2",
        "collaborators": "nobody@nowhere.test 20 %",
    }
    assert b"names no expert" in client.form(f"{base}/plans/add", form).data
    with world.make.session() as s:
        from app.models import User

        friend = s.get(User, world.expert.user_id).email
    made = client.form(f"{base}/plans/add", {**form, "collaborators": f"{friend} 25 %"})
    assert made.status_code == 302, made.get_data(as_text=True)[:1500]
    shown = page(client, made.location)
    assert "Shared with" in shown and "75" in shown and "25" in shown
    edit = page(client, made.location.replace("/show/", "/edit/"))
    assert f"{friend} 25 %" in edit
    changed = client.form(
        made.location.replace("/show/", "/edit/"), {**form, "collaborators": "", "title": "Hosted, better"}
    )
    assert changed.status_code == 302 and "Hosted, better" in page(client, made.location)
    assert not world.make.one(
        "SELECT count(*) FROM plan_collaborator c JOIN plan p ON p.id = c.plan_id WHERE p.organization_id = :o",
        o=host.id,
    )
    terms = {"hours0": "48", "share0": "100", "hours1": "0", "share1": "10"}
    assert client.form(f"{base}/cancellation-terms/publish", {**terms, "hours1": "1"}).status_code == 422
    assert client.form(f"{base}/cancellation-terms/publish", terms).status_code == 302
    assert "In force" in page(client, f"{base}/cancellation-terms/")


def test_the_platform_verifies_gives_codes_and_credit(world, browser):
    waiting = world.make.expert(world.make.user(name="Wanda Waits"), status=ExpertStatus.UNVERIFIED)
    staff = browser(world.make.user(platform_role=PlatformRole.STAFF))
    admin = browser(world.make.user(platform_role=PlatformRole.ADMIN))
    page(browser(world.learner()), "/admin/marketplace/", 404)
    assert "New code" not in page(staff, "/admin/marketplace/")
    path = f"/admin/marketplace/experts/{waiting.public_id}/verify"
    assert staff.form(path).status_code == 403
    admin.form(path)
    assert (
        world.make.one("SELECT verification_status FROM consultant_profile WHERE id = :i", i=waiting.id)
        == "VERIFIED"
    )
    letters = f"PAGE-{world.org.id}"
    made = admin.form("/admin/marketplace/codes", {"code": letters, "kind": "PERCENTAGE", "value": "12.5"})
    assert made.status_code == 302 and "12.5 % off" in page(admin, "/admin/marketplace/")
    person = world.make.user()
    admin.form(
        "/admin/marketplace/credit",
        {"email": person.email, "kind": "COMPENSATION", "amount": "250", "reason": "Late start"},
    )
    assert "₹250.00" in page(browser(person), "/dashboard/referrals")


def test_somebody_becomes_an_expert_and_a_link_brings_them(world, browser):
    person = world.make.user()
    client = browser(person)
    assert client.get("/dashboard/offering/").status_code == 302
    assert client.form("/dashboard/offering/profile", {"headline": "x"}).status_code == 200
    done = client.form(
        "/dashboard/offering/profile",
        {"headline": "Woodworking for beginners", "domain": "Craft", "bio": "Hello"},
    )
    assert done.status_code == 302 and "Our team verifies your profile" in page(
        client, "/dashboard/offering/"
    )
    bringer = browser(world.make.user())
    letters = re.search(r"/refer/([A-Z2-9]{8})", page(bringer, "/dashboard/referrals"))[1]
    assert client.get(f"/refer/{letters}").location == "/dashboard/referrals"
    assert f'value="{letters}"' in page(client, "/dashboard/referrals")
    client.form("/dashboard/referrals", {"code": letters})
    assert "People you brought" in page(bringer, "/dashboard/referrals")
