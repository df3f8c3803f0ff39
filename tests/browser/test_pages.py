"""Every page of every sidebar, wide and light, narrow and dark; and the frame by keyboard."""

from __future__ import annotations

import datetime as dt

import pytest

from app import clock
from app.models import (
    Assignment,
    AssignmentStatus,
    Contract,
    ContractStatus,
    Cycle,
    Invitation,
    InvitationStatus,
    OrgRole,
    PlatformRole,
    PoolScope,
    Program,
    ProgramStatus,
    ProgramType,
)
from tests.factories import Factory, unique

pytestmark = pytest.mark.browser

ROLES = ("OWNER", "LEARNER", "MANAGER", "BILLING_ADMIN", "SUPPORT", "STAFF", "ADMIN")
SCREENS = ((1440, 900, False), (390, 844, True))


@pytest.fixture(scope="module")
def world(app, owner_engine, web_engine):
    """An organisation with something on most pages, and somebody in every role."""
    make = Factory(app, owner_engine, web_engine)
    org = make.org(name=unique("Page Walk Works"), seats_total=10)
    people = {role: make.member(org, role) for role in ROLES if role in set(OrgRole)}
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
            payment_terms_days=30,
            signed_at=now,
            signed_by_user_id=people["OWNER"].user_id,
        )
    )
    program = make.add(
        Program(
            organization_id=org.id,
            contract_id=contract.id,
            name="Coaching",
            type=ProgramType.CREDIT_POOL,
            status=ProgramStatus.ACTIVE,
            credits_per_cycle=20_000,
            cycle=Cycle.MONTHLY,
            pool_scope=PoolScope.PER_MEMBER,
        )
    )
    make.add(
        Assignment(
            organization_id=org.id,
            program_id=program.id,
            membership_id=people["LEARNER"].id,
            period_start=today,
            period_end=today + dt.timedelta(days=29),
            status=AssignmentStatus.ACTIVE,
            consumed_paise=1_250_000,
            engagements_used=2,
        )
    )
    make.add(
        Invitation(
            organization_id=org.id,
            email=f"{unique('waiting')}@people.test",
            role=OrgRole.LEARNER,
            status=InvitationStatus.PENDING,
            token_hash=unique("hash"),
            sent_at=now,
            expires_at=now + dt.timedelta(days=14),
            invited_by_user_id=people["OWNER"].user_id,
        )
    )
    plan = make.plan(make.expert(), 500_000, tax_bps=1800)
    users = {role: member.user for role, member in people.items()}
    for role in ("STAFF", "ADMIN"):
        users[role] = make.user(platform_role=PlatformRole(role), name=f"{role.title()} Person")
    return make, org, users, plan


@pytest.fixture
def enter(browse, world, server):
    """A window signed in by its cookie: ``enter("OWNER", 390, 844, True)``."""
    make, _, users, _ = world

    def window(role, *screen):
        page = browse(*screen)
        flask = server.app.session_interface.get_signing_serializer(server.app)
        value = flask.dumps({"sid": make.token(users[role])})
        page.context.add_cookies(
            [{"name": server.app.config["SESSION_COOKIE_NAME"], "value": value, "url": server.url}]
        )
        return page

    return window


def sidebar(page, start):
    """Addresses of the sidebar's entries at *start*."""
    page.goto(start)
    return page.eval_on_selector_all("#sidebar nav a", "all => all.map(a => a.getAttribute('href'))")


@pytest.mark.parametrize("role", ROLES)
def test_every_page_of_the_sidebar(enter, axe, world, role):
    _, org, _, plan = world
    platform = role in ("STAFF", "ADMIN")
    starts = ["/admin" if platform else f"/dashboard/organization/{org.slug}", "/dashboard"]
    paths: list[str] = []
    bad: list[str] = []
    for screen in SCREENS:
        page = enter(role, *screen)
        paths = paths or list(dict.fromkeys(p for start in starts for p in sidebar(page, start)))
        assert len(paths) >= (8 if platform else 5)
        for path in [*paths, f"/explore/plans/{plan.public_id}"]:
            status = page.goto(path).status
            if status >= 400:
                bad.append(f"{path}: {status}")
            if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                bad.append(f"{path} scrolls sideways at {screen[0]}")
            if page.locator("h1").count() != 1:
                bad.append(f"{path} has {page.locator('h1').count()} main headings")
            bad += axe(page)
    assert bad == []


def test_palette_by_keyboard(enter, world):
    org = world[1]
    page = enter("OWNER")
    page.goto(f"/dashboard/organization/{org.slug}/home/")
    palette = page.locator("#palette")
    page.keyboard.press("Control+k")
    assert palette.is_visible()
    page.keyboard.type("con")
    page.keyboard.press("Escape")  # once is enough, also after typing
    assert palette.is_hidden()
    for typed, found, address in (
        ("contracts", "Contracts", "**/contracts/"),
        ("Framework", "Framework agreement", "**/contracts/show/*"),
    ):
        page.keyboard.press("Control+k")
        page.keyboard.type(typed)
        palette.get_by_role("option", name=found, selected=True).wait_for()
        page.keyboard.press("Enter")
        page.wait_for_url(address)


def test_skip_link_and_theme(enter, world):
    page = enter("LEARNER")
    page.goto(f"/dashboard/organization/{world[1].slug}/home/")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_label("Account:").click()
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.mode") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.mode") == "dark"


def test_switching_the_organisation(enter, world):
    make, org, users, _ = world
    other = make.org(name=unique("Second Home"))
    make.member(other, "MANAGER", users["MANAGER"])
    page = enter("MANAGER")
    page.goto(f"/dashboard/organization/{org.slug}/home/")
    page.get_by_label("Switch organisation").click()
    page.locator("#sidebar").get_by_role("link", name=other.name).click()
    page.wait_for_url(f"**/{other.slug}/home**")
    assert page.get_by_role("region", name="Organisation").get_by_text(other.name).is_visible()


def test_typed_confirmation(enter):
    page = enter("ADMIN")
    page.goto("/admin/style-guide/")
    page.get_by_role("main").get_by_role("button", name="Deactivate").first.click()
    dialog = page.get_by_role("dialog")
    go, word = dialog.get_by_role("button", name="Deactivate"), dialog.get_by_role("textbox")
    assert go.is_disabled()
    word.fill("acm")
    assert go.is_disabled()
    word.fill("acme")
    with page.expect_response(lambda r: r.request.method == "POST") as answer:
        go.click()
    assert answer.value.status == 302


def test_a_phone_has_a_drawer(enter, world):
    page = enter("OWNER", 390, 844, True)
    page.goto(f"/dashboard/organization/{world[1].slug}/home/")
    assert not page.locator("#sidebar").get_by_role("link", name="Members").is_visible() or page.evaluate(
        "document.getElementById('sidebar').getBoundingClientRect().right <= 0"
    )
    page.get_by_role("button", name="Open menu").click()
    page.locator("#sidebar").get_by_role("link", name="Members").click()
    page.wait_for_url("**/members/")
