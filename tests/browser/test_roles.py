"""Each role walks every page of its sidebar in an organisation with something to show, and in its personal rooms.

``ROLE_SCREENS=1`` writes docs/screens/roles; without it nothing outside the browser is touched.
"""

from __future__ import annotations

import datetime as dt
import io
import os
from pathlib import Path
from typing import Any

import pytest

from app import clock
from app.models import (
    Appointment,
    AppointmentStatus,
    Assignment,
    AuditCategory,
    AuditLog,
    ChannelKind,
    ChatChannel,
    ChatMessage,
    Contract,
    ContractStatus,
    Membership,
    Payment,
    PaymentStatus,
    PlatformRole,
    Program,
    ProgramType,
)
from tests.factories import Factory, unique

pytestmark = pytest.mark.browser

SCREENS = Path(__file__).resolve().parents[2] / "docs" / "screens" / "roles"
ROLES = ("OWNER", "MAINTAINER", "BILLING_ADMIN", "MANAGER", "EXPERT", "SUPPORT", "LEARNER")
PEOPLE = {
    "OWNER": "Asha Menon",
    "MAINTAINER": "Rohan Das",
    "BILLING_ADMIN": "Farah Khan",
    "MANAGER": "Vikram Shah",
    "EXPERT": "Padma Iyer",
    "SUPPORT": "Neha Joshi",
    "LEARNER": "Arjun Nair",
}


@pytest.fixture(scope="module")
def company(app: Any, owner_engine: Any, web_engine: Any) -> Any:
    """A hybrid organisation with every role, a program, two sessions, a conversation and a history."""
    make = Factory(app, owner_engine, web_engine)
    org = make.org(unique("meridian"), name="Meridian Learning", seats_total=10, can_host=True)
    people: dict[str, Membership] = {
        role: make.member(org, role, make.user(name=name), department_label="Design")
        for role, name in PEOPLE.items()
    }
    make.fund(org, 25_000_000)
    now, today = clock.now(), clock.today_ist()
    contract = make.add(
        Contract(
            organization_id=org.id,
            billing_account_id=make.one(
                "SELECT id FROM billing_account WHERE organization_id = :i", i=org.id
            ),
            title="Framework agreement",
            status=ContractStatus.ACTIVE,
            effective_from=today,
        )
    )
    program = make.add(
        Program(
            organization_id=org.id,
            contract_id=contract.id,
            name="Coaching",
            type=ProgramType.CREDIT_POOL,
            credits_per_cycle=20_000,
        )
    )
    learner, expert = people["LEARNER"], people["EXPERT"]
    make.add(
        Assignment(
            organization_id=org.id,
            program_id=program.id,
            membership_id=learner.id,
            period_start=today,
            period_end=today + dt.timedelta(days=29),
            consumed_paise=1_180_000,
            engagements_used=2,
        )
    )
    profile = make.expert(expert.user)
    plan = make.plan(profile, 500_000, organization_id=org.id)
    for n, title in enumerate(("Growth strategy review", "Pricing clinic")):
        starts = now + dt.timedelta(days=2 + n)
        session = make.add(
            Appointment(
                organization_id=org.id,
                plan_id=plan.id,
                expert_id=profile.id,
                expert_user_id=expert.user_id,
                learner_user_id=learner.user_id,
                status=AppointmentStatus.CONFIRMED,
                title=title,
                starts_at=starts,
                ends_at=starts + dt.timedelta(hours=1),
            )
        )
        make.add(
            Payment(
                organization_id=org.id,
                user_id=learner.user_id,
                appointment_id=session.id,
                plan_id=plan.id,
                status=PaymentStatus.SUCCEEDED,
                method="WALLET",
                price_paise=500_000,
                tax_paise=90_000,
                tax_bps=1800,
                amount_paise=590_000,
                captured_at=now,
            )
        )
        make.add(
            AuditLog(
                organization_id=org.id,
                category=AuditCategory.PROGRAM,
                action="BOOKING_CONFIRMED",
                description=f"Booked “{title}”",
                actor_type="MEMBER",
                actor_user_id=learner.user_id,
                actor_membership_id=learner.id,
            )
        )
    channel = make.add(
        ChatChannel(
            kind=ChannelKind.APPOINTMENT,
            title="Pricing clinic",
            organization_id=org.id,
            appointment_id=session.id,
            created_by_user_id=learner.user_id,
            member_user_ids=[learner.user_id, expert.user_id],
        )
    )
    for author, text in (
        (learner, "Shall I send the price list before we meet?"),
        (expert, "Please do, and last quarter's discounts if you have them."),
        (learner, "Both attached to the booking. See you on Thursday."),
    ):
        make.add(ChatMessage(channel_id=channel.id, author_user_id=author.user_id, body=text))
    return make, org, people, channel


def window_of(browse: Any, server: Any, make: Any, user: Any, *screen: Any) -> Any:
    """A window signed in by its cookie as *user*."""
    page = browse(*screen)
    value = server.app.session_interface.get_signing_serializer(server.app).dumps({"sid": make.token(user)})
    page.context.add_cookies(
        [{"name": server.app.config["SESSION_COOKIE_NAME"], "value": value, "url": server.url}]
    )
    return page


@pytest.fixture
def enter(browse: Any, company: Any, server: Any) -> Any:
    """A window signed in by its cookie as a role: ``enter("OWNER", 390, 844, True)``."""
    make, _, people, _ = company

    def window(role: str, *screen: Any) -> Any:
        return window_of(browse, server, make, people[role].user, *screen)

    return window


def keep(page: Any, name: str) -> None:
    """A small picture for the documentation, only when asked for."""
    if not os.environ.get("ROLE_SCREENS"):
        return
    from PIL import Image

    SCREENS.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(96).save(SCREENS / f"{name}.png", optimize=True)


def sidebar(page: Any, start: str) -> list[str]:
    page.goto(start)
    return list(page.eval_on_selector_all("#sidebar nav a", "all => all.map(a => a.getAttribute('href'))"))


@pytest.mark.parametrize("role", ROLES)
def test_the_walk(enter: Any, axe: Any, company: Any, role: str) -> None:
    """Every page answers 200, fits the window, has one main heading and nothing serious for axe."""
    _, org, _, channel = company
    home = f"/dashboard/organization/{org.slug}/home/"
    bad: list[str] = []
    page = enter(role)
    paths = sidebar(page, home)
    if role in ("LEARNER", "EXPERT"):  # the personal rooms are the same for everybody
        paths += sidebar(page, "/dashboard")
        paths.append(f"/dashboard/chats/{channel.public_id}")
    page.goto(home)
    keep(page, f"{role.lower()}-home")
    for path in dict.fromkeys(paths):
        answer = page.goto(path)
        if answer.status != 200:
            bad.append(f"{path}: {answer.status}")
        if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            bad.append(f"{path} scrolls sideways")
        if page.locator("h1").count() != 1:
            bad.append(f"{path} has {page.locator('h1').count()} main headings")
        bad += axe(page)
    phone = enter(role, 390, 844, True)
    phone.goto(home)
    if role in ("OWNER", "LEARNER"):
        keep(phone, f"{role.lower()}-home-phone")
    if not phone.evaluate("document.documentElement.scrollWidth <= innerWidth"):
        bad.append(f"{home} scrolls sideways on a phone")
    bad += axe(phone)
    assert bad == []


@pytest.mark.parametrize("role", [PlatformRole.ADMIN, PlatformRole.STAFF])
def test_the_walk_of_the_platform(
    browse: Any, server: Any, axe: Any, company: Any, role: PlatformRole
) -> None:
    """The same for the staff console, and the pages behind its lists: an organisation and a person."""
    make, org, people, _ = company
    me = make.user(platform_role=role, name="Indira Admin" if role == PlatformRole.ADMIN else "Samir Staff")
    page = window_of(browse, server, make, me)
    bad: list[str] = []
    paths = sidebar(page, "/admin/")
    assert {"/admin", "/admin/verification", "/admin/organizations", "/admin/users"} <= {
        path.rstrip("/") for path in paths
    }
    paths += [f"/admin/organizations/{org.public_id}", f"/admin/users/{people['LEARNER'].user.public_id}"]
    for path in dict.fromkeys(paths):
        answer = page.goto(path)
        if answer.status != 200:
            bad.append(f"{path}: {answer.status}")
        if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            bad.append(f"{path} scrolls sideways")
        if page.locator("h1").count() != 1:
            bad.append(f"{path} has {page.locator('h1').count()} main headings")
        bad += axe(page)
        if role == PlatformRole.ADMIN and "/admin/organizations/0" in path:
            keep(page, "admin-organization")
    assert bad == []
    offered = page.get_by_role("button", name="Save role").count()  # the last page: the learner's account
    assert offered == (1 if role == PlatformRole.ADMIN else 0)


def test_a_file_of_people(enter: Any, axe: Any, company: Any, tmp_path: Path) -> None:
    """From the list of invitations over the check to what was sent and what is to be mended."""
    org = company[1]
    file = tmp_path / "people.csv"
    file.write_text(
        "e-mail;Name;Department\n" + "".join(f"new{n}@{org.slug}.test;New {n};Sales\n" for n in range(3))
    )
    with file.open("a") as more:
        more.write("no-address;<b>Bold</b>;Sales\n")
    page = enter("OWNER")
    page.goto(f"/dashboard/organization/{org.slug}/invitations/")
    page.get_by_role("link", name="Import", exact=True).click()
    page.locator("#file").set_input_files(file)
    page.get_by_role("button", name="Check the file").click()
    page.get_by_role("button", name="Send 3 invitations").wait_for()
    assert axe(page) == []
    keep(page, "owner-import")
    page.get_by_role("button", name="Send 3 invitations").click()
    page.get_by_text("3 invitations sent.").wait_for()
    page.get_by_role("link", name="Invalid 1").click()
    page.get_by_text("<b>Bold</b>").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Rows to mend").click()
    assert "no-address" in Path(download.value.path()).read_text("utf-8-sig")


def test_inviting_from_the_home_page(enter: Any, company: Any) -> None:
    """The button leads to the open dialog, and a department is picked from those there are."""
    org = company[1]
    page = enter("MAINTAINER")
    page.goto(f"/dashboard/organization/{org.slug}/home/")
    page.get_by_role("link", name="Invite people").first.click()
    page.locator("dialog#invite[open]").wait_for()
    assert page.locator("#invite-department-l option[value=Design]").count() == 1
    page.get_by_label("E-mail addresses").fill(f"someone@{org.slug}.test; nobody")
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_role("heading", name="Not sent").wait_for()
    assert page.get_by_text(f"someone@{org.slug}.test").count() >= 1


def test_a_conversation_between_two_windows(enter: Any, axe: Any, company: Any) -> None:
    """What one sends the other sees without a reload; on a phone the list and the thread are two steps."""
    channel = company[3]
    path = f"/dashboard/chats/{channel.public_id}"
    learner, expert = enter("LEARNER"), enter("EXPERT", 390, 844, False)
    learner.goto(path)
    expert.goto("/dashboard/chats/")
    expert.locator(".chat-a").first.click()
    expert.wait_for_url(f"**{path}*")
    learner.get_by_label("Message", exact=True).fill("One more thing: <b>thank you</b>.")
    learner.get_by_role("button", name="Send").click()
    learner.locator(".msg.mine", has_text="<b>thank you</b>").wait_for()
    expert.locator(".msg", has_text="<b>thank you</b>").wait_for()
    assert learner.get_by_label("Message", exact=True).input_value() == ""
    expert.get_by_label("Message", exact=True).fill("With pleasure.")
    expert.get_by_label("Message", exact=True).press("Control+Enter")
    expert.locator(".msg.mine", has_text="With pleasure.").wait_for()
    learner.locator(".msg", has_text="With pleasure.").wait_for()
    learner.get_by_label("Message", exact=True).fill("See you then.")
    learner.get_by_role("button", name="Send").click()  # a second time: the button is free again
    expert.locator(".msg", has_text="See you then.").wait_for()
    keep(learner, "learner-chats")
    keep(expert, "expert-chats-phone")
    assert axe(learner) == [] == axe(expert)
    assert expert.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_scope_switch(enter: Any, company: Any) -> None:
    """Switching the scope asks again: the organisation's conversations, then the personal ones."""
    org = company[1]
    page = enter("LEARNER")
    page.goto("/dashboard/chats/")
    scopes = page.get_by_role("navigation", name="Organisation")
    scopes.get_by_role("link", name=org.name).click()
    page.wait_for_url(f"**org_scope=org%3A{org.slug}")
    assert page.locator(".chat-a").count() == 1
    scopes.get_by_role("link", name="Personal", exact=True).click()
    page.wait_for_url("**org_scope=personal")
    assert page.locator(".chat-a").count() == 0


def test_figures_of_the_manager(enter: Any, company: Any) -> None:
    """Charts draw themselves and keep a table beside them."""
    org = company[1]
    page = enter("MANAGER")
    page.goto(f"/dashboard/organization/{org.slug}/analytics/")
    page.locator(".chart svg").first.wait_for()
    assert page.locator(".chart details table").count() >= 3
    keep(page, "manager-analytics")
