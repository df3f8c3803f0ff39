"""Support access: ADMIN and STAFF look at one organisation for at most an hour, and change nothing (every route)."""

from __future__ import annotations

import datetime as dt
import threading
import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import OrgStatus, PlatformRole, SupportAccess
from app.security import context
from app.services import support_access
from tests.tenancy.test_every_route import org_rules, path_of

ADMIN_API = "/api/admin/support-access"


def look(client, org, headers, reason="Ticket 4711", minutes=60):
    return client.post(
        ADMIN_API,
        headers=headers,
        json={"organization_id": str(org.public_id), "reason": reason, "minutes": minutes},
    )


@pytest.fixture(params=[PlatformRole.STAFF, PlatformRole.ADMIN])
def helper(request, make):
    return make.user(platform_role=request.param, name="Sam Helper")


@pytest.fixture
def staff(make):
    return make.user(platform_role=PlatformRole.STAFF, name="Sam Helper")


def everything(make, org):
    """A fingerprint of every row of an organisation, whatever the table."""
    tables = [
        r[0]
        for r in make.rows(
            "select c.table_name from information_schema.columns c join information_schema.tables t using"
            " (table_schema, table_name) where c.column_name = 'organization_id' and table_schema = 'public'"
            " and t.table_type = 'BASE TABLE' order by 1"
        )
    ]
    digest = "select md5(coalesce(string_agg(x::text, ',' order by x::text), '')) from {} x where {} = :o"
    return {
        **{t: make.one(digest.format(t, "organization_id"), o=org.id) for t in tables},
        "organization": make.one(digest.format("organization", "id"), o=org.id),
    }


@pytest.mark.scenario("P-13")
def test_staff_reads_only_while_the_access_is_open(app, client, make, staff):
    org, other = make.org(), make.org()
    make.member(org)
    headers, url = make.bearer(staff), f"/api/organizations/{org.slug}"
    assert client.get(url, headers=headers).json["code"] == "NOT_A_MEMBER"
    opened = look(client, org, headers)
    assert opened.status_code == 201
    assert client.get(url, headers=headers).status_code == 200
    assert client.get(f"/api/organizations/{org.public_id}/members", headers=headers).status_code == 200
    assert (
        client.get(f"/api/organizations/{org.slug}/billing-account/wallet", headers=headers).status_code
        == 200
    )
    assert client.get(f"/api/organizations/{other.slug}", headers=headers).json["code"] == "NOT_A_MEMBER"
    another = make.bearer(make.user(platform_role=PlatformRole.STAFF))
    assert client.get(url, headers=another).json["code"] == "NOT_A_MEMBER"  # it is one person's
    ended = client.post(f"{ADMIN_API}/{opened.json['id']}/end", headers=headers)
    assert ended.status_code == 200
    assert client.get(url, headers=headers).json["code"] == "NOT_A_MEMBER"
    again = client.post(f"{ADMIN_API}/{opened.json['id']}/end", headers=headers)
    assert (again.status_code, again.json["code"]) == (409, "ILLEGAL_TRANSITION")


def test_the_clock_ends_it_without_any_job(app, client, make, staff):
    org = make.org()
    headers = make.bearer(staff)
    assert look(client, org, headers, minutes=15).status_code == 201
    store, url = app.extensions["redis"], f"/api/organizations/{org.slug}"
    store.set("test:clock", 15 * 60 - 2)
    assert client.get(url, headers=headers).status_code == 200
    store.set("test:clock", 15 * 60 + 1)
    assert client.get(url, headers=headers).json["code"] == "NOT_A_MEMBER"


def test_whoever_loses_the_platform_role_loses_the_look(client, make, staff):
    org = make.org()
    headers = make.bearer(staff)
    assert look(client, org, headers).status_code == 201
    with make.session() as s:
        s.execute(text("update ab_user set platform_role = 'CONSULTEE' where id = :i"), {"i": staff.id})
    assert client.get(f"/api/organizations/{org.slug}", headers=headers).json["code"] == "NOT_A_MEMBER"


def test_every_route_that_writes_is_refused_and_changes_nothing(app, client, make, helper):
    """Every mutating route of an organisation, REST and pages, as STAFF and as ADMIN, without naming one."""
    org = make.org(can_host=True, requires_po=True)
    owner, learner = make.member(org), make.member(org, "LEARNER")
    make.fund(org, 100_000)
    headers = make.bearer(helper)
    assert look(client, org, headers).status_code == 201
    browser = make.sign_in(app.test_client(), helper)
    before, attacked = everything(make, org), 0
    for rule, method in org_rules(app):
        if method in ("GET", "HEAD", "OPTIONS"):
            continue
        path = path_of(app, rule, org.slug)
        for target in (path, path.replace(str(uuid.UUID(int=7)), str(learner.public_id))):
            if rule.rule.startswith("/api/"):
                body = {"name": "EVIL", "role": "OWNER", "email": "evil@people.test", "status": "REMOVED"}
                answer = client.open(target, method=method, headers=headers, json=body)
            else:
                answer = browser.form(target, {"name": "EVIL", "confirm_word": org.slug})
            assert answer.status_code == 403, f"{method} {target} answers {answer.status_code}"
            if rule.rule.startswith("/api/"):
                assert answer.json["code"] == "SUPPORT_ACCESS_READ_ONLY", f"{method} {target} {answer.json}"
            attacked += 1
    assert attacked > 60
    assert everything(make, org) == before
    # the same through the header, on routes that name no organisation
    for method, path in (
        ("POST", "/api/organizations"),
        ("POST", "/api/checkout"),
        ("POST", "/api/onboarding"),
        ("DELETE", "/api/v1/members/x"),
    ):
        answer = client.open(path, method=method, headers={**headers, "X-Organization": org.slug}, json={})
        assert answer.status_code in (403, 404, 405), f"{method} {path}"
    booked = client.post("/api/checkout", headers=headers, json={"organization_id": org.slug})
    assert booked.status_code in (400, 403)
    assert everything(make, org) == before
    assert make.one("select count(*) from membership where user_id = :u", u=owner.user_id) == 1


def test_every_page_opens_or_refuses_and_none_breaks(app, client, make, helper):
    org = make.org(can_host=True, requires_po=True)
    owner = make.member(org)
    make.member(org, "LEARNER")
    headers = make.bearer(helper)
    assert look(client, org, headers).status_code == 201
    browser, opened = make.sign_in(app.test_client(), helper), 0
    before = everything(make, org)
    for rule, method in org_rules(app):
        if method != "GET":
            continue
        path = path_of(app, rule, org.slug)
        for target in (path, path.replace(str(uuid.UUID(int=7)), str(owner.public_id))):
            api = rule.rule.startswith("/api/")
            answer = client.get(target, headers=headers) if api else browser.get(target)
            assert answer.status_code not in (500, 503), f"{target} answers {answer.status_code}"
            opened += answer.status_code == 200
            if "/export/" in target or "format=csv" in target:
                assert answer.status_code == 403, target
    assert opened > 25
    assert everything(make, org) == before


def test_exports_are_refused(app, client, make, helper):
    org = make.org()
    make.member(org)
    headers = make.bearer(helper)
    assert look(client, org, headers).status_code == 201
    browser, exports = make.sign_in(app.test_client(), helper), 0
    for view in app.extensions["console"].views:
        if view.scope != "org":
            continue
        base = view.route_base.replace("<org_id>", org.slug)
        if browser.get(f"{base}/").status_code != 200:
            continue
        for kind in ("csv", "xlsx"):
            answer = browser.get(f"{base}/export/{kind}")
            assert answer.status_code == 403 and owner_free(answer.text, make, org), base
            exports += 1
        csv = client.get(
            f"/api/v1/{view.path or view.resource}/?format=csv",
            headers={**headers, "X-Organization": org.slug},
        )
        if csv.status_code != 404:
            assert (csv.status_code, csv.json["code"]) == (403, "SUPPORT_ACCESS_READ_ONLY"), base
    assert exports > 10
    ledger = f"/api/organizations/{org.slug}/billing-account/wallet"
    assert client.get(ledger, headers=headers).status_code == 200
    for kind in ("csv", "xlsx", "CSV"):
        taken = client.get(f"{ledger}?format={kind}", headers=headers)
        assert (taken.status_code, taken.json["code"]) == (403, "SUPPORT_ACCESS_READ_ONLY")


def test_no_file_leaves_whatever_its_route_calls_itself(app, make, staff):
    from flask import Response

    from app.security import doors

    context._current.set(context.Ctx(org_id=1, user_id=staff.id, viewing=True))
    with app.test_request_context():
        assert doors.carries_away(Response("a,b", mimetype="text/csv"))
        assert doors.carries_away(Response(b"%PDF", mimetype="application/pdf"))
        assert doors.carries_away(Response("x", headers={"Content-Disposition": "attachment; filename=x"}))
        assert not doors.carries_away(Response("{}", mimetype="application/json"))
        context.reset()
        assert not doors.carries_away(Response("a,b", mimetype="text/csv"))


def owner_free(page, make, org):
    address = make.one(
        "select u.email from ab_user u join membership m on m.user_id = u.id where m.organization_id = :o"
        " and m.role = 'OWNER'",
        o=org.id,
    )
    return address not in page


def test_the_database_refuses_writes_too(app, make, staff):
    """Were the check before the handlers forgotten, the transaction itself is read-only; the next one as well."""
    org = make.org()
    look(app.test_client(), org, make.bearer(staff))
    context._current.set(
        context.Ctx(org_id=org.id, user_id=staff.id, role="OWNER", platform_role="STAFF", viewing=True)
    )
    with app.app_context(), Session(make.web) as s:
        for _ in range(2):
            with pytest.raises(DBAPIError) as refused:
                s.execute(text("update organization set name = 'EVIL' where id = :o"), {"o": org.id})
            assert refused.value.orig.sqlstate == "25006"
            s.rollback()
    assert make.one("select name from organization where id = :o", o=org.id) == org.name


def test_owners_are_told_and_see_it_in_their_log(client, make, staff):
    org = make.org()
    owner, second, manager = make.member(org), make.member(org), make.member(org, "MANAGER")
    opened = look(client, org, make.bearer(staff), reason="Invoice looks wrong").json
    client.post(f"{ADMIN_API}/{opened['id']}/end", headers=make.bearer(staff))
    rows = make.rows(
        "select action, actor_user_id, actor_membership_id, actor_type from org_audit_log"
        " where organization_id = :o order by id",
        o=org.id,
    )
    assert [tuple(r) for r in rows] == [
        ("SUPPORT_ACCESS_STARTED", staff.id, None, "ADMIN"),
        ("SUPPORT_ACCESS_ENDED", staff.id, None, "ADMIN"),
    ]
    for person in (owner, second):
        mail = client.get(f"/api/test/outbox?to={person.user.email}").json["mail"]
        assert any("Invoice looks wrong" in m["text"] and "Sam Helper" in m["text"] for m in mail)
        assert make.one(
            "select count(*) from notification where user_id = :u and kind = 'support_access'",
            u=person.user_id,
        )
    assert client.get(f"/api/test/outbox?to={manager.user.email}").json["mail"] == []
    seen = client.get(f"/api/organizations/{org.slug}/support-access", headers=make.bearer(owner)).json
    assert seen["support_accesses"][0]["reason"] == "Invoice looks wrong"
    log = client.get("/api/v1/audit/", headers=make.bearer(owner, **{"X-Organization": org.slug})).json[
        "result"
    ]
    assert {"SUPPORT_ACCESS_STARTED", "SUPPORT_ACCESS_ENDED"} <= {r["action"] for r in log}


def test_an_owner_sends_them_out_and_nobody_else_does(app, client, make, staff):
    org, foreign = make.org(), make.org()
    owner, maintainer = make.member(org), make.member(org, "MAINTAINER")
    headers = make.bearer(staff)
    key = look(client, org, headers).json["id"]
    end = f"/api/organizations/{org.slug}/support-access/{key}/end"
    refused = client.post(end, headers=make.bearer(maintainer))
    assert (refused.status_code, refused.json["code"]) == (403, "OWNER_REQUIRED")
    stranger = make.bearer(make.member(foreign))
    theirs = f"/api/organizations/{foreign.slug}/support-access/{key}/end"
    assert client.post(theirs, headers=stranger).json["code"] == "NOT_FOUND"
    colleague = make.bearer(make.user(platform_role=PlatformRole.STAFF))
    assert client.post(f"{ADMIN_API}/{key}/end", headers=colleague).json["code"] == "INSUFFICIENT_ROLE"
    assert client.get(f"/api/organizations/{org.slug}", headers=headers).status_code == 200
    browser = make.sign_in(app.test_client(), owner)
    page = f"/dashboard/organization/{org.slug}/settings/support-access"
    assert "Looking now" in browser.get(page).text
    assert browser.form(f"{page}/{key}/end").status_code == 302
    assert "Looking now" not in browser.get(page).text
    assert client.get(f"/api/organizations/{org.slug}", headers=headers).json["code"] == "NOT_A_MEMBER"
    ended_by = make.one("select ended_by_user_id from support_access where public_id = :k", k=key)
    assert ended_by == owner.user_id


def test_who_may_open_it_and_how(client, make, staff):
    org, gone = make.org(), make.org(status=OrgStatus.DEACTIVATED)
    headers = make.bearer(staff)
    member = make.bearer(make.member(org))
    assert look(client, org, member).json["code"] == "INSUFFICIENT_ROLE"
    assert look(client, org, {}).status_code == 401
    for bad in (
        {"reason": ""},
        {"reason": "  x  "},
        {"reason": "x" * 501},
        {"minutes": 61},
        {"minutes": 0},
        {"minutes": -5},
    ):
        assert look(client, org, headers, **bad).json["code"] == "VALIDATION_FAILED", bad
    assert look(client, gone, headers).json["code"] == "ORG_DEACTIVATED"
    gone.public_id = uuid.uuid4()
    assert look(client, gone, headers).status_code == 404
    assert make.one("select count(*) from support_access where user_id = :u", u=staff.id) == 0
    with pytest.raises(IntegrityError):
        make.add(
            SupportAccess(
                organization_id=org.id,
                user_id=staff.id,
                reason="longer than an hour",
                created_at=clock.now(),
                expires_at=clock.now() + dt.timedelta(minutes=61),
            )
        )


def test_one_at_a_time_even_at_once(app, client, make, staff):
    a, b = make.org(), make.org()
    barrier, out = threading.Barrier(2), []

    def go(org):
        context._current.set(context.Ctx(user_id=staff.id, platform_role="STAFF"))
        with app.app_context(), Session(make.web) as s:
            try:
                barrier.wait(timeout=10)
                support_access.open_access(s, org.id, "Race")
                s.commit()
                out.append(None)
            except DomainError as error:
                s.rollback()
                out.append(error.code)

    threads = [threading.Thread(target=go, args=(o,)) for o in (a, b)]
    [t.start() for t in threads]
    [t.join(20) for t in threads]
    assert sorted(out, key=str) == [None, "SUPPORT_ACCESS_OPEN"]
    assert look(client, a, make.bearer(staff)).json["code"] == "SUPPORT_ACCESS_OPEN"
    assert make.one("select count(*) from support_access where user_id = :u", u=staff.id) == 1


def test_an_administrator_who_looks_cannot_act_until_the_look_ends(client, make):
    admin, org = make.user(platform_role=PlatformRole.ADMIN), make.org()
    headers, url = make.bearer(admin), f"/api/organizations/{org.slug}"
    assert client.patch(url, headers=headers, json={"name": "By the platform"}).status_code == 200
    key = look(client, org, headers).json["id"]
    refused = client.patch(url, headers=headers, json={"name": "Not now"})
    assert refused.json["code"] == "SUPPORT_ACCESS_READ_ONLY"
    assert make.one("select name from organization where id = :o", o=org.id) == "By the platform"
    client.post(f"{ADMIN_API}/{key}/end", headers=headers)
    assert client.patch(url, headers=headers, json={"name": "Again"}).status_code == 200


def test_every_page_carries_the_banner_and_no_button_that_refuses(app, make, staff):
    org = make.org(name="Banner Works")
    make.member(org)
    browser = make.sign_in(app.test_client(), staff)
    opened = browser.form(
        "/admin/support-access",
        {"organization": org.slug, "reason": "Asked by phone", "minutes": "30"},
    )
    assert opened.status_code == 302 and opened.location == f"/dashboard/organization/{org.slug}/home"
    for name in ("home", "members/", "settings", "audit/", "wallet"):
        page = browser.get(f"/dashboard/organization/{org.slug}/{name}").text
        assert "Sam Helper looks at Banner Works." in page and "Asked by phone" in page, name
        assert 'data-left="' in page and 'class="shell viewing"' in page
        assert "/admin/support-access/" in page
    members = browser.get(f"/dashboard/organization/{org.slug}/members/").text
    assert "Add member" not in members and "export/csv" not in members
    desk = browser.get("/admin/support-access").text
    assert "Banner Works" in desk and "Start looking" not in desk
    key = make.one("select public_id from support_access where user_id = :u", u=staff.id)
    assert browser.form(f"/admin/support-access/{key}/end").status_code == 302
    assert "Start looking" in browser.get("/admin/support-access").text


def test_the_job_writes_down_what_the_clock_ended(app, client, make, staff):
    from app.jobs import runner

    org = make.org()
    look(client, org, make.bearer(staff))
    app.extensions["redis"].set("test:clock", 3601)
    with app.app_context():
        assert runner.execute("tidy_support_access")["ended"] >= 1
        runner.execute("tidy_support_access")
    rows = make.rows(
        "select action, actor_type from org_audit_log where organization_id = :o order by id", o=org.id
    )
    assert [tuple(r) for r in rows] == [
        ("SUPPORT_ACCESS_STARTED", "ADMIN"),
        ("SUPPORT_ACCESS_ENDED", "SYSTEM"),
    ]
    assert make.one("select ended_at = expires_at from support_access where organization_id = :o", o=org.id)
