"""The sidebar, role by role and kind by kind, against chapter 1, 1.7 written out a second time here."""

from __future__ import annotations

import re

import pytest

from app.models import FundingSource, OrgRole, PlatformRole
from app.security import matrix

O, M, B, G, E, S, L = matrix.ORG_ROLES  # noqa: E741  (the chapter's letters)
OPS, OPS_READ, FIN_READ = {O, M, G}, {O, M, G, S}, {O, M, B, G}
ORGS = {
    "wallet": {"funding": FundingSource.WALLET},
    "invoice": {"funding": FundingSource.INVOICE, "requires_po": True},
    "personal": {"funding": FundingSource.PERSONAL},
    "host": {"can_sponsor": False, "can_host": True},
    "hybrid": {"funding": FundingSource.WALLET, "can_host": True},
}
SPONSOR, HOST = {"wallet", "invoice", "personal", "hybrid"}, {"host", "hybrid"}
# last part of the address: (roles, kinds of organisation)
SPEC: dict[str, tuple[set[str], set[str]]] = {
    "home": (set(matrix.ORG_ROLES), set(ORGS)),
    "my-program": ({L}, SPONSOR),
    "my-arrangement": ({E}, HOST),
    "members": (OPS_READ, set(ORGS)),
    "invitations": ({O, M}, set(ORGS)),
    "learners": (OPS, SPONSOR),
    "experts": (OPS, HOST),
    "contracts": ({O, M, B}, SPONSOR),
    "purchase-orders": (FIN_READ, {"invoice"}),
    "programs": (OPS, SPONSOR),
    "plans": (OPS, set(ORGS)),
    "billing": (FIN_READ, SPONSOR),
    "invoices": (FIN_READ, SPONSOR),
    "wallet": (FIN_READ, {"wallet", "hybrid"}),
    "earnings": (FIN_READ, HOST),
    "payouts": (FIN_READ, HOST),
    "reimbursements": (FIN_READ, {"personal"}),
    "appointments": (OPS_READ, set(ORGS)),
    "disputes": (FIN_READ, set(ORGS)),
    "analytics": (OPS_READ | {B}, set(ORGS)),
    "activity": (OPS, set(ORGS)),
    "audit": (OPS_READ, set(ORGS)),
    "consent": (OPS, set(ORGS)),
    "settings": ({O, M}, set(ORGS)),
}


def entries(page):
    """Addresses of the sidebar by their last part, and whether Operations stands open (None: no such group)."""
    sidebar = page.split('<nav aria-label="Main">')[1].split("</nav>")[0]
    found = re.findall(r'class="nav-a" href="([^"?]+)', sidebar)
    group = re.search(r'<details class="grp" data-group="Operations"( open)?', sidebar)
    return {u.rstrip("/").split("/")[-1]: u for u in found}, bool(group[1]) if group else None


@pytest.mark.parametrize("kind", ORGS)
def test_every_role_finds_its_pages_and_no_others(app, make, kind):
    org = make.org(**ORGS[kind])
    base = "/dashboard/organization/<org_id>/"
    pages = {
        r.rule.removeprefix(base).strip("/") for r in app.url_map.iter_rules() if r.rule.startswith(base)
    }
    for role in matrix.ORG_ROLES:
        if (role == L and kind == "host") or (role == E and kind not in HOST):
            continue
        browser = make.sign_in(app.test_client(), make.member(org, role))
        found, opened = entries(browser.get(f"/dashboard/organization/{org.slug}/home/").text)
        for name, (roles, kinds) in SPEC.items():
            if name in pages:
                assert (name in found) == (role in roles and kind in kinds), f"{role} of {kind}: {name}"
        if opened is not None:
            assert opened == (role in (G, S)), role
        for url in found.values():  # what stands there opens, so it follows the matrix too
            answer = browser.get(url, follow_redirects=True)
            assert answer.status_code == 200, f"{role} of {kind}: {url}"


def test_the_platform_sees_the_owners_sidebar_and_staff_none(app, make):
    org = make.org()
    admin = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.ADMIN))
    owner = make.sign_in(app.test_client(), make.member(org))
    home = f"/dashboard/organization/{org.slug}/home/"
    assert set(entries(admin.get(home).text)[0]) == set(entries(owner.get(home).text)[0])
    staff = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.STAFF))
    assert staff.get(home).status_code == 403


@pytest.mark.scenario("P-40")
def test_the_switcher(app, make):
    """Hidden without a membership, except for an ORG_ADMIN; ordered by rank, then by short name."""
    words = "Create or manage organisations"
    for role in (PlatformRole.CONSULTEE, PlatformRole.CONSULTANT, PlatformRole.STAFF, PlatformRole.ADMIN):
        page = make.sign_in(app.test_client(), make.user(platform_role=role)).get("/dashboard").text
        assert 'aria-label="Switch organisation' not in page and words not in page, role
    founder = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.ORG_ADMIN))
    page = founder.get("/dashboard").text
    assert 'aria-label="Switch organisation' in page and words in page
    user = make.user()
    for slug, role in (("zz", "OWNER"), ("bb", "SUPPORT"), ("aa", "SUPPORT"), ("mm", "MANAGER")):
        make.member(make.org(name=f"Switch {slug}"), OrgRole(role), user)
    page = make.sign_in(app.test_client(), user).get("/dashboard").text
    rows = re.findall(r'class="pop-a" href="/dashboard/organization/[^"]+".*?<b[^>]*>(Switch \w+)</b>', page)
    assert rows[:2] == ["Switch zz", "Switch mm"] and set(rows[2:]) == {"Switch bb", "Switch aa"}
    assert page.count('<span class="tag">Support</span>') >= 2 and '<span class="tag">Sponsor</span>' in page


def test_the_switcher_stands_in_every_header(app, make):
    admin = make.user(platform_role=PlatformRole.ADMIN)
    org = make.org()
    make.member(org, "OWNER", admin)
    browser = make.sign_in(app.test_client(), admin)
    for path in (
        "/dashboard",
        "/admin",
        "/admin/data/",
        f"/dashboard/organization/{org.slug}/home/",
        "/dashboard/org-workspace/create",
    ):
        page = browser.get(path, follow_redirects=True).text
        assert "Switch organisation" in page and org.name in page, path


def test_the_frame_says_where_and_for_whom(app, make):
    name = "Extraordinarily long name of an organisation " * 4
    org = make.org(name=name[:200].strip(), status="PENDING_VERIFICATION")
    browser = make.sign_in(app.test_client(), make.member(org))
    page = browser.get(f"/dashboard/organization/{org.slug}/members/").text
    bar = page.split('<div class="context"')[1].split("</div>")[0]
    assert org.name in bar and "Sponsor" in bar and "Wallet" in bar and "/dashboard/personal" in bar
    assert "Verification is pending" in page and 'aria-label="Breadcrumb"' in page
    with make.session() as s:
        s.get(type(org), org.id).status = "ACTIVE"
    page = browser.get(f"/dashboard/organization/{org.slug}/members/").text
    assert "Verification is pending" not in page
