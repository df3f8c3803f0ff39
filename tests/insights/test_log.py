"""Activity and audit: who reads what, filters, export, before and after (chapter 1, 1.5 and 1.7)."""

from __future__ import annotations

import re

import pytest

from app.models import AuditLog, PlatformRole
from tests.insights.conftest import ROLES

MONEY = {"WALLET", "INVOICE", "PAYOUT", "CONTRACT"}
OPS, OPS_READ = {"OWNER", "MAINTAINER", "MANAGER"}, {"OWNER", "MAINTAINER", "MANAGER", "SUPPORT"}


@pytest.mark.scenario("P-12")
def test_support_reads_operations_and_no_money(busy, make):
    for path in ("members", "appointments", "audit", "analytics"):
        assert busy.get("SUPPORT", path).status_code == 200, path
    refused = busy.get("SUPPORT", "invoices")
    assert refused.status_code == 403 and refused.json["code"] == "INSUFFICIENT_ROLE"
    learner = busy.people["LEARNER"]
    patched = busy.client.patch(
        f"/api/organizations/{busy.org.slug}/members/{learner.public_id}",
        json={"department_label": "Sales"},
        headers=make.bearer(busy.people["SUPPORT"]),
    )
    assert patched.status_code == 403
    assert make.one("SELECT department_label FROM membership WHERE id = :i", i=learner.id) == "Design"


@pytest.mark.scenario("P-11")
def test_a_billing_administrator_sees_money_and_no_people(busy, app, make):
    refused = busy.get("BILLING_ADMIN", "members")
    assert refused.status_code == 403 and refused.json["code"] == "INSUFFICIENT_ROLE"
    for path in ("audit", "activity", "appointments"):
        assert busy.get("BILLING_ADMIN", path).json["code"] == "INSUFFICIENT_ROLE", path
    assert busy.get("BILLING_ADMIN", "invoices").json["result"] == []
    browser = make.sign_in(app.test_client(), busy.people["BILLING_ADMIN"])
    base = f"/dashboard/organization/{busy.org.slug}"
    assert browser.get(f"{base}/members/").status_code == 403
    page = browser.get(f"{base}/home/").text
    assert 'id="finance"' in page and "Finance lead" in page
    sidebar = page.split('id="sidebar"')[1].split("</aside>")[0]
    assert 'data-group="People"' not in sidebar and "/audit" not in sidebar and "/members" not in sidebar


@pytest.mark.parametrize("role", ROLES)
def test_who_reads_the_log(busy, role):
    for path, allowed in (("activity", OPS), ("audit", OPS_READ)):
        answer = busy.get(role, path)
        assert answer.status_code == (200 if role in allowed else 403), path
        if role in allowed:
            seen = {r["category"] for r in answer.json["result"]}
            assert not (seen & MONEY) if role == "SUPPORT" else seen >= MONEY


def test_a_booking_is_one_event_in_feeds_and_two_entries_in_the_log(busy, app, make):
    def actions(path):
        return [r["action"] for r in busy.get("OWNER", path).json["result"]]

    assert "WALLET_DEBITED" in actions("audit") and "WALLET_DEBITED" not in actions("activity")
    assert actions("activity").count("BOOKING_CONFIRMED") == 1
    browser = make.sign_in(app.test_client(), busy.people["OWNER"])
    base = f"/dashboard/organization/{busy.org.slug}"
    for page in (f"{base}/activity/", f"{base}/home/"):
        text = browser.get(page).text
        assert "Paid for “Pricing clinic”" not in text, page
    assert "Booked “Pricing clinic”" in browser.get(f"{base}/activity/").text


def test_filters(busy):
    def texts(**args):
        answer = busy.get("OWNER", "audit", **args)
        assert answer.status_code == 200, answer.text
        return [r["description"] for r in answer.json["result"]]

    assert texts(category="SETTINGS") == ["Kiwi settings"]
    assert texts(action="did_member") == ["Kiwi member"]
    assert texts(q="pricing", category="WALLET") == ["Paid for “Pricing clinic”"]
    assert texts(q="%") == [] == texts(actor="Nobody at all")
    assert len(texts(actor="owner per")) == len(texts()) == len(texts(actor=busy.people["OWNER"].user.email))
    day = busy.get("OWNER", "audit").json["result"][0]["created_at"][:10]
    assert texts(**{"from": "2001-01-01", "to": "2001-12-31"}) == []
    assert len(texts(**{"from": "2001-01-01", "to": "2200-01-01"})) == len(texts()), day
    for bad in ({"category": "X"}, {"from": "x"}, {"to": "9999-12-31"}, {"format": "pdf"}, {"q": "x" * 101}):
        assert busy.get("OWNER", "audit", **bad).status_code == 400, bad


def test_the_log_pages_by_cursor_without_gaps(busy):
    whole = [r["id"] for r in busy.get("OWNER", "audit", limit="100").json["result"]]
    seen, cursor = [], {}
    for _ in range(9):
        page = busy.get("OWNER", "audit", limit="4", **cursor).json
        seen += [r["id"] for r in page["result"]]
        if not page["next_cursor"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == whole
    assert busy.get("OWNER", "activity", cursor="x").status_code == 400


def test_the_file_is_for_those_who_govern(busy, make):
    make.add(
        AuditLog(
            organization_id=busy.org.id,
            category="MEMBER",
            action="X",
            description="=HYPERLINK(1)",
            actor_type="SYSTEM",
        )
    )
    for role in ROLES:
        answer = busy.get(role, "audit", format="csv")
        assert answer.status_code == (200 if role in ("OWNER", "MAINTAINER") else 403), role
    text = busy.get("OWNER", "audit", format="csv").text
    assert "'=HYPERLINK(1)" in text and "Kiwi settings" in text and text.startswith("\ufeffWhen,")


def test_the_page_shows_before_and_after_and_hides_amounts_from_support(busy, app, make):
    row = make.one(
        "SELECT public_id FROM org_audit_log WHERE organization_id = :o AND action = 'SPEND_LIMIT_CHANGED'",
        o=busy.org.id,
    )
    path = f"/dashboard/organization/{busy.org.slug}/audit"
    owner = make.sign_in(app.test_client(), busy.people["OWNER"])
    page = owner.get(f"{path}/show/{row}")
    assert page.status_code == 200 and "₹7,001.00" in page.text and "₹9,001.00" in page.text
    support = make.sign_in(app.test_client(), busy.people["SUPPORT"])
    page = support.get(f"{path}/show/{row}")
    assert page.status_code == 200 and "7,001" not in page.text and "700100" not in page.text
    assert "700100" not in busy.get("SUPPORT", "audit").text
    wallet = make.one(
        "SELECT public_id FROM org_audit_log WHERE organization_id = :o AND action = 'WALLET_DEBITED'",
        o=busy.org.id,
    )
    assert owner.get(f"{path}/show/{wallet}").status_code == 200
    assert support.get(f"{path}/show/{wallet}").status_code == 404
    listed = support.get(f"{path}/").text
    assert "Kiwi member" in listed and "Kiwi wallet" not in listed and "/export/csv" not in listed
    assert support.get(f"{path}/export/csv").status_code == 403
    assert "Kiwi wallet" in owner.get(f"{path}/export/csv").text
    actor = busy.people["OWNER"].user.public_id
    assert "Kiwi member" in owner.get(f"{path}/?_flt_0_actor_user_id={actor}&rows=100").text
    other = busy.people["MANAGER"].user.public_id
    assert "Kiwi member" not in owner.get(f"{path}/?_flt_0_actor_user_id={other}").text


def test_activity_page_filters_and_pages(busy, app, make):
    browser = make.sign_in(app.test_client(), busy.people["MANAGER"])
    path = f"/dashboard/organization/{busy.org.slug}/activity/"
    page = browser.get(f"{path}?category=SETTINGS").text
    assert "Kiwi settings" in page and "Kiwi member" not in page
    assert "Nobody did anything" in browser.get(f"{path}?actor=zzz").text
    assert browser.get(f"{path}?category=nonsense&cursor=").status_code == 200
    assert browser.get(f"{path}?cursor=x").status_code == 400
    make.add(
        *[
            AuditLog(
                organization_id=busy.org.id,
                category="MEMBER",
                action="X",
                description=f"Line {n}.",
                actor_type="SYSTEM",
            )
            for n in range(60)
        ]
    )
    first = browser.get(path).text
    more = re.search(r'href="([^"]+cursor=[^"]+)"', first)
    assert more and "Kiwi settings" not in first
    assert "Kiwi settings" in browser.get(more[1].replace("&amp;", "&")).text


def test_another_organisations_log_stays_its_own(busy, make):
    other = make.member(make.org())
    for path in ("audit", "activity", "analytics", "appointments", "invoices"):
        answer = busy.client.get(f"/api/organizations/{busy.org.slug}/{path}", headers=make.bearer(other))
        assert answer.status_code == 403 and answer.json["code"] == "NOT_A_MEMBER"
        own = busy.client.get(
            f"/api/organizations/{make.org().slug}/{path}",
            headers=make.bearer(make.user(platform_role=PlatformRole.ADMIN)),
        )
        assert own.status_code == 200 and "Kiwi" not in own.text and "Wombat" not in own.text
