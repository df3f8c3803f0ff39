"""The frame: switcher, sidebar, palette, bell, Data pages, templates without inline code, generated REST."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from app import models as m
from app.schema.base import Model
from app.views.base.registry import registry
from app.views.base.rows import is_secret

TEMPLATES = Path(__file__).resolve().parents[2] / "app/templates"


def url(org, tail):
    return f"/dashboard/organization/{org.slug}/{tail}"


@pytest.mark.parametrize(
    "template",
    sorted(str(p.relative_to(TEMPLATES)) for p in TEMPLATES.rglob("*.html") if "mail" not in p.parts),
)
def test_templates_carry_no_inline_code(template):
    text = (TEMPLATES / template).read_text()
    assert not re.search(r"\sstyle\s*=|<style|\son[a-z]+\s*=|javascript:", text), template
    assert not re.findall(r"<script(?![^>]*\ssrc=)", text), template
    assert "|safe" not in text.replace("| safe", "|safe"), template


def test_every_icon_named_in_templates_is_in_the_sprite():
    sprite = set(
        re.findall(r'<symbol id="([^"]+)"', (TEMPLATES.parent / "static/console/icons.svg").read_text())
    )
    used = set()
    for path in TEMPLATES.rglob("*.html"):
        used |= set(re.findall(r'(?:ui\.icon|_icon|\bicon)\("([a-z0-9-]+)"', path.read_text()))
    for path in (TEMPLATES.parent / "views").rglob("*.py"):
        used |= set(re.findall(r'\bicon="([a-z0-9-]+)"', path.read_text()))
    assert used and used <= sprite, used - sprite


def test_the_switcher_orders_by_rank_then_slug(make, signed_in):
    user = make.user(name="Maya Iyer")
    rows = [("b-org", "OWNER"), ("a-org", "OWNER"), ("c-org", "MAINTAINER"), ("0-org", "LEARNER")]
    orgs = {}
    for slug, role in rows:
        orgs[slug] = make.org(f"{slug}-{uuid.uuid4().hex[:6]}")
        make.member(orgs[slug], role, user)
    page = signed_in(user).get(url(orgs["a-org"], "sample-members/")).text
    links = re.findall(r'class="pop-a" href="/dashboard/organization/([a-z0-9-]+)"', page)
    assert links == [orgs[s].slug for s in ("a-org", "b-org", "c-org", "0-org")]
    assert "Create or manage organisations" in page and 'href="/dashboard/org-workspace/create"' in page


def test_the_status_banner_and_context_bar(make, signed_in):
    org = make.org(status=m.OrgStatus.PENDING_VERIFICATION, name="Quite New")
    page = signed_in(make.member(org)).get(url(org, "sample-members/")).text
    assert "Verification is pending." in page and "Quite New" in page and "Personal dashboard" in page
    active = make.org()
    assert (
        "Verification is pending."
        not in signed_in(make.member(active)).get(url(active, "sample-members/")).text
    )


def test_the_sidebar_shows_what_the_matrix_opens(make, signed_in):
    org = make.org()
    seen = {}
    for role in ("OWNER", "BILLING_ADMIN", "SUPPORT"):
        page = signed_in(make.member(org, role)).get(url(org, "_search?q=")).json["groups"]
        seen[role] = {i["label"] for g in page for i in g["items"]}
    assert {"Members", "Contracts"} <= seen["OWNER"]
    assert "Contracts" in seen["BILLING_ADMIN"] and "Members" not in seen["BILLING_ADMIN"]
    assert "Members" in seen["SUPPORT"] and "Contracts" not in seen["SUPPORT"]


def test_the_palette_finds_pages_and_own_records(make, signed_in, contract):
    mine, other = make.org(), make.org()
    contract(mine, "Quokka agreement")
    contract(other, "Quokka of others")
    client = signed_in(make.member(mine))
    labels = [
        i["label"] for g in client.get(url(mine, "_search?q=quokka")).json["groups"] for i in g["items"]
    ]
    assert labels == ["Quokka agreement"]
    assert client.get(url(other, "_search?q=quokka")).status_code == 403
    support = signed_in(make.member(mine, "SUPPORT"))
    assert not support.get(url(mine, "_search?q=quokka")).json["groups"]
    assert client.get(url(mine, "_search?q=%25%00" + "x" * 900)).status_code == 200
    outside = client.get("/console/search?q=quokka").json["groups"]
    assert "Quokka" not in str(outside)


def test_the_bell_is_private_and_never_redirects_away(make, signed_in):
    mine, other = make.user(), make.user()
    bad = make.add(m.Notification(user_id=mine.id, kind="x", title="Own <b>news</b>", url="//evil.example"))
    foreign = make.add(m.Notification(user_id=other.id, kind="x", title="Others' news", url="/x"))
    client = signed_in(mine)
    data = client.get("/console/notifications/list.json").json
    assert data["unread"] == 1 and [i["title"] for i in data["items"]] == ["Own <b>news</b>"]
    page = client.get("/console/notifications/").text
    assert "Own &lt;b&gt;news" in page and "Others" not in page
    assert client.form(f"/console/notifications/{foreign.public_id}/open").status_code == 404
    assert client.form("/console/notifications/nonsense/open").status_code == 404
    assert client.form(f"/console/notifications/{bad.public_id}/open").location == "/console/notifications/"
    assert client.get("/console/notifications/list.json").json["unread"] == 0
    with make.session() as s:
        assert s.get(m.Notification, foreign.id).read_at is None


def test_staff_see_every_table_and_members_none(app, make, signed_in, contract):
    staff = make.user(platform_role=m.PlatformRole.STAFF)
    admin = make.user(platform_role=m.PlatformRole.ADMIN)
    member = make.member(make.org())
    one, two = make.org(name="Numbat One"), make.org(name="Numbat Two")
    contract(one, "Numbat agreement 1")
    contract(two, "Numbat agreement 2")
    make.fund(one, 100_000)  # a balance: a table whose key is no "id"
    clients = {"staff": signed_in(staff), "admin": signed_in(admin), "member": signed_in(member)}
    with app.app_context():
        views = [v for v in registry().views if v.scope == "platform"]
        tables = {str(mapper.local_table) for mapper in Model.registry.mappers}
    assert {v.datamodel.obj.__tablename__ for v in views} == tables
    for view in views:
        path = f"/admin/data/{view.datamodel.obj.__tablename__}/"
        answer = clients["admin"].get(path)
        assert answer.status_code == 200, path
        assert clients["staff"].get(path).status_code == (403 if "system_event" in path else 200), path
        assert clients["member"].get(path).status_code in (403, 404), path
        assert app.test_client().get(path).status_code in (302, 401), path
        for rule in app.url_map.iter_rules():
            if rule.rule.startswith(path) and "POST" in rule.methods:
                assert "action" in rule.rule, f"{rule.rule} writes"
        shown = [c for c in (*view.list_columns, *view.show_columns) if is_secret(c)]
        assert not shown, f"{path} shows {shown}"
        first = re.search(r'class="row" href="([^"]+)"', answer.text)
        if first:
            assert clients["admin"].get(first[1]).status_code == 200, first[1]
    page = clients["staff"].get("/admin/data/contract/?q=Numbat").text
    assert "Numbat agreement 1" in page and "Numbat agreement 2" in page and "Numbat One" in page
    assert "Numbat agreement" in clients["staff"].get("/admin/data/contract/export/csv?q=Numbat").text
    assert clients["staff"].get("/admin/data/").status_code == 200
    assert clients["member"].get("/admin/data/").status_code == 404


def test_passwords_of_people_are_nowhere_in_data_pages(make, signed_in):
    staff = signed_in(make.user(platform_role=m.PlatformRole.STAFF))
    person = make.user(name="Secret Keeper")
    for path in (
        f"/admin/data/ab_user/show/{person.public_id}",
        "/admin/data/ab_user/",
        "/admin/data/ab_user/export/csv",
    ):
        answer = staff.get(path)
        assert answer.status_code == 200 and "pbkdf2" not in answer.text and "assword" not in answer.text, (
            path
        )
    assert staff.get("/admin/data/ab_user/?_flt_0_password=pbkdf2").status_code == 200


def test_the_style_guide_shows_itself_to_staff_only(make, signed_in):
    staff = signed_in(make.user(platform_role=m.PlatformRole.STAFF))
    page = staff.get("/admin/style-guide/")
    assert page.status_code == 200 and "₹1,18,000.00" in page.text and "₹1.18 Cr" in page.text
    assert "Please check the form" in staff.form("/admin/style-guide/", {"title": ""}).text
    assert staff.get("/admin/style-guide/state.json").json["max"] == 100
    assert signed_in(make.member(make.org())).get("/admin/style-guide/").status_code == 404


# ---- generated REST ----


@pytest.fixture
def rest(app, make):
    """A function: GET a generated resource as a member of an organisation."""

    def call(member, org, path, **kw):
        headers = {**make.bearer(member), "X-Organization": org.slug}
        return app.test_client().get(f"/api/v1/{path}", headers=headers, **kw)

    return call


def test_rest_speaks_public_ids_only(make, rest, contract):
    org = make.org()
    owner = make.member(org)
    row = contract(org, "REST agreement", signed_by_user_id=owner.user_id)
    listed = rest(owner, org, "sample-contracts/")
    assert listed.status_code == 200
    item = listed.json["result"][0]
    assert item["id"] == str(row.public_id) and item["signed_by_user_id"] == str(owner.user.public_id)
    uuid.UUID(item["billing_account_id"])
    assert item["effective_from"] == "2026-04-01" and item["created_at"].endswith("Z")
    one = rest(owner, org, f"sample-contracts/{row.public_id}")
    assert one.json["result"] == item
    for key in (str(row.id), "x", str(uuid.UUID(int=9)), "9" * 30):
        missing = rest(owner, org, f"sample-contracts/{key}")
        assert missing.status_code == 404 and missing.json["code"] == "NOT_FOUND"


def test_rest_is_scoped_gated_and_read_only(app, make, rest, contract):
    mine, other = make.org(), make.org()
    owner = make.member(mine)
    foreign = contract(other, "Foreign")
    assert rest(owner, mine, f"sample-contracts/{foreign.public_id}").status_code == 404
    assert rest(owner, mine, "sample-contracts/").json["result"] == []
    refused = rest(owner, other, "sample-contracts/")
    assert refused.status_code == 403 and refused.json["code"] == "NOT_A_MEMBER"
    assert rest(make.member(mine, "LEARNER"), mine, "sample-contracts/").status_code == 403
    assert app.test_client().get("/api/v1/sample-contracts/").status_code == 401
    nobody = app.test_client().get("/api/v1/sample-contracts/", headers=make.bearer(owner))
    assert nobody.status_code == 403
    headers = {**make.bearer(owner), "X-Organization": mine.slug}
    for method in ("post", "put", "delete", "patch"):
        assert (
            getattr(app.test_client(), method)(
                "/api/v1/sample-contracts/", headers=headers, json={}
            ).status_code
            == 405
        )


def test_rest_pages_by_cursor_without_gaps(make, rest, contract):
    org = make.org()
    owner = make.member(org)
    made = [str(contract(org, f"Page {n}").public_id) for n in range(7)]
    seen, cursor = [], ""
    for _ in range(9):
        page = rest(owner, org, f"sample-contracts/?limit=3&cursor={cursor}").json
        seen += [r["id"] for r in page["result"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == made[::-1]
    for bad in ("x", "e30", "eyJpZCI6IjcifQ"):
        assert rest(owner, org, f"sample-contracts/?cursor={bad}").status_code == 400
    assert rest(owner, org, "sample-contracts/?limit=101").status_code == 400


def test_rest_filters_and_refuses_unknown_ones(make, rest, contract):
    org = make.org()
    owner = make.member(org)
    contract(org, "Alpha")
    contract(org, "Beta", signed_by_user_id=owner.user_id)

    def titles(query):
        return [r["title"] for r in rest(owner, org, f"sample-contracts/?{query}").json["result"]]

    assert titles("title__contains=alp") == ["Alpha"] and titles("q=beta") == ["Beta"]
    assert titles("status=DRAFT") == ["Beta", "Alpha"] and titles("status=ACTIVE") == []
    assert titles(f"signed_by_user_id={owner.user.public_id}") == ["Beta"]
    for bad in ("nonsense=1", "organization_id=1", "status=WRONG", "title__regex=x", "password=x"):
        answer = rest(owner, org, f"sample-contracts/?{bad}")
        assert answer.status_code == 400 and answer.json["code"] == "VALIDATION_FAILED", bad
    csv = rest(owner, org, "sample-contracts/?format=csv&q=alpha")
    assert csv.status_code == 200 and "Alpha" in csv.text and "Beta" not in csv.text


def test_a_views_own_scope_holds_everywhere(make, rest, signed_in):
    """A role that may not see some rows of a table meets them nowhere: list, export, REST, palette, timeline."""
    org = make.org()
    support, target = make.member(org, "SUPPORT"), make.member(org, "LEARNER")
    for category, text in ((m.AuditCategory.WALLET, "Kiwi money"), (m.AuditCategory.MEMBER, "Kiwi person")):
        make.add(
            m.AuditLog(
                organization_id=org.id,
                category=category,
                action="X",
                description=text,
                actor_type="SYSTEM",
                target_type="membership",
                target_id=str(target.public_id),
            )
        )
    client = signed_in(support)
    places = [
        client.get(url(org, "sample-audit/")).text,
        client.get(url(org, "sample-audit/export/csv")).text,
        client.get(url(org, "_search?q=kiwi")).text,
        rest(support, org, "sample-audit/").text,
        client.get(url(org, f"sample-members/show/{target.public_id}")).text,
    ]
    for number, text in enumerate(places):
        assert "Kiwi money" not in text, number
    assert sum("Kiwi person" in text for text in places) >= 4
