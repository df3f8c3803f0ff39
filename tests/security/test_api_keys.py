"""API keys: one organisation, the maker's present role, narrowed, and no door beside."""

from __future__ import annotations

import datetime as dt
import logging

import pytest
from sqlalchemy import text

from app import clock
from app.models import MembershipStatus, OrgStatus, PlatformRole
from app.security import doors, matrix
from app.security.requests import ANONYMOUS
from tests.factories import unique
from tests.tenancy.test_every_route import path_of, rules


def mint(client, org, who, make, **body):
    return client.post(
        f"/api/organizations/{org.slug}/api-keys",
        headers=make.bearer(who),
        json={"name": "HR nightly", **body},
    )


def key_of(client, org, who, make, **body):
    made = mint(client, org, who, make, **body)
    assert made.status_code == 201, made.json
    return {"Authorization": f"Bearer {made.json['secret']}"}, made.json


def test_a_key_works_like_its_maker_and_is_stored_hashed(client, make):
    org = make.org()
    owner = make.member(org)
    make.fund(org, 250_000)
    headers, made = key_of(client, org, owner, make, access="WRITE")
    secret = made["secret"]
    base = f"/api/organizations/{org.slug}"
    assert secret.startswith(doors_prefix()) and made["api_key"]["prefix"] == secret[:10]
    assert client.get(f"{base}/members", headers=headers).status_code == 200
    wallet = client.get(f"{base}/billing-account/wallet", headers=headers)
    assert wallet.status_code == 200 and "250000" in wallet.text
    invited = client.post(
        f"{base}/invitations",
        headers=headers,
        json={"email": f"{unique('new')}@people.test", "role": "LEARNER"},
    )
    assert invited.status_code == 201
    rows = client.get("/api/v1/members/", headers=headers)
    assert rows.status_code == 200 and rows.json["result"]
    assert [o["slug"] for o in client.get("/api/organizations", headers=headers).json["organizations"]] == [
        org.slug
    ]
    stored = make.rows("select row_to_json(k)::text from ab_api_key k where user_id = :u", u=owner.user_id)
    stored += make.rows("select row_to_json(k)::text from org_api_key k where user_id = :u", u=owner.user_id)
    assert len(stored) == 2 and all(secret not in r[0] and secret[10:] not in r[0] for r in stored)
    actor = make.one(
        "select actor_membership_id from org_audit_log where organization_id = :o and action = 'INVITE_SENT'",
        o=org.id,
    )
    assert actor == owner.id


def doors_prefix():
    from app.security.sessions import KEY_PREFIX

    return KEY_PREFIX


def test_a_key_books_for_its_organisation_and_never_for_its_maker(app, client, make):
    org, other = make.org(), make.org()
    owner = make.member(org)
    make.member(other, "OWNER", owner.user)
    headers, _ = key_of(client, org, owner, make, access="WRITE")
    start = (clock.now() + dt.timedelta(days=3)).replace(hour=10, minute=0, second=0, microsecond=0)
    plan = make.plan(make.expert())

    def book(reference):
        return client.post(
            "/api/checkout",
            headers={**headers, "Idempotency-Key": unique("book")},
            json={
                "plan_id": str(plan.public_id),
                "starts_at": start.isoformat(),
                "organization_id": reference,
            },
        )

    for reference in (None, other.slug, str(other.public_id), "no-such-organisation"):
        assert book(reference).json["code"] == "NOT_A_MEMBER", reference
    assert make.one("select count(*) from appointment where learner_user_id = :u", u=owner.user_id) == 0
    reached = book(org.slug)  # through the gate: what follows is the booking's own rule
    assert reached.json["code"] not in ("NOT_A_MEMBER", "API_KEY_NOT_ALLOWED", "API_KEY_READ_ONLY")


def test_a_reading_key_reads_and_never_writes(app, client, make):
    org = make.org(can_host=True, requires_po=True)
    owner = make.member(org)
    headers, _ = key_of(client, org, owner, make)
    before = make.rows(
        "select id, action from org_audit_log where organization_id = :o order by id", o=org.id
    )
    attacked = 0
    for rule in rules(app):
        if "org_id" not in rule.arguments or not rule.rule.startswith("/api/"):
            continue
        for method in sorted(rule.methods - {"GET", "HEAD", "OPTIONS"}):
            answer = client.open(
                path_of(app, rule, org.slug), method=method, headers=headers, json={"name": "EVIL"}
            )
            gate = getattr(app.view_functions[rule.endpoint], "_gate", (None, None))
            if gate[1] == "read":  # a preview: a POST that changes nothing
                assert answer.status_code != 500
                continue
            assert answer.status_code == 403, f"{method} {rule.rule} {answer.status_code}"
            assert answer.json["code"] in ("API_KEY_READ_ONLY", "API_KEY_NOT_ALLOWED"), answer.json
            attacked += 1
    assert attacked > 25
    assert (
        client.post("/api/checkout", headers=headers, json={"organization_id": org.slug}).json["code"]
        == "API_KEY_READ_ONLY"
    )
    after = make.rows("select id, action from org_audit_log where organization_id = :o order by id", o=org.id)
    assert after == before


def test_no_key_opens_anything_that_is_not_its_organisations_rest(app, client, make, monkeypatch):
    """Every route: pages, the platform's rooms, personal ones, doors, keys themselves: refused, whatever the method."""
    from app.security import limits

    monkeypatch.setitem(limits.LIMITS, "api-key", limits.Limit(100_000, 60))
    org = make.org(can_host=True)
    owner = make.member(org, user=make.user(platform_role=PlatformRole.ADMIN))
    headers, _ = key_of(client, org, owner, make, access="WRITE")
    probed = 0
    for rule in rules(app):
        endpoint = rule.endpoint
        if endpoint in ANONYMOUS or endpoint == "appbuilder.static":
            continue
        if endpoint.startswith("SandboxPage."):
            continue  # the provider's page, which knows no identity at all
        gate = getattr(app.view_functions[endpoint], "_gate", (None, None))
        view = getattr(app.view_functions[endpoint], "__self__", None)
        generated = rule.rule.startswith("/api/v1/") and hasattr(view, "datamodel")
        own = (
            gate not in doors.NOT_BY_KEY
            and rule.rule.startswith("/api/")
            and (gate[0] in doors.KEY_RESOURCES or endpoint in doors.KEY_ROUTES)
        )
        if own or generated or rule.rule.startswith("/scim/"):
            continue
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            answer = client.open(path_of(app, rule, org.slug), method=method, headers=headers, json={})
            refused = f"{method} {rule.rule} ({endpoint}) answers {answer.status_code}"
            assert answer.status_code == 403, refused
            if answer.is_json:
                assert answer.json["code"] == "API_KEY_NOT_ALLOWED", refused
            probed += 1
    assert probed > 150
    assert make.one("select count(*) from org_api_key where organization_id = :o", o=org.id) == 1


def test_flask_appbuilders_own_key_rest_is_no_side_door(app, client, make):
    org = make.org()
    owner = make.member(org)
    headers, made = key_of(client, org, owner, make)
    assert not [r.rule for r in rules(app) if "api_key" in r.rule and not r.rule.startswith("/admin/data/")]
    for who, status in ((headers, 403), (make.bearer(owner), 404)):
        for method in ("GET", "POST"):
            answer = client.open("/api/v1/security/api_keys/", method=method, headers=who)
            assert answer.status_code == status
    with app.test_request_context(headers=headers):
        assert app.appbuilder.sm.validate_api_key(made["secret"]) is None  # nobody is let in beside the gate
        assert app.appbuilder.sm.revoke_api_key("x") is False


def test_a_key_names_its_organisation_and_no_other(client, make):
    org, other = make.org(), make.org()
    owner = make.member(org)
    make.member(other, "OWNER", owner.user)
    headers, _ = key_of(client, org, owner, make, access="WRITE")
    for target in (other.slug, str(other.public_id), "no-such-organisation"):
        assert client.get(f"/api/organizations/{target}", headers=headers).json["code"] == "NOT_A_MEMBER"
        answer = client.get("/api/v1/members/", headers={**headers, "X-Organization": target})
        assert answer.json["code"] == "NOT_A_MEMBER"
    assert client.get(f"/api/organizations/{org.public_id}", headers=headers).status_code == 200
    listed = client.get(f"/api/organizations/{other.slug}/api-keys", headers=make.bearer(owner)).json
    assert listed["api_keys"] == []


def test_the_makers_present_role_counts(client, make):
    org = make.org()
    make.member(org)
    maker = make.member(org, "MAINTAINER")
    headers, _ = key_of(client, org, maker, make, access="WRITE")
    base = f"/api/organizations/{org.slug}"
    assert client.get(f"{base}/invitations", headers=headers).status_code == 200
    refused = client.post(
        f"{base}/billing-account/wallet/top-ups", headers={**headers, "Idempotency-Key": "k"}, json={}
    )
    assert refused.json["code"] == "BILLING_ADMIN_OR_OWNER_REQUIRED"  # never more than the maker
    with make.session() as s:
        s.execute(text("update membership set role = 'SUPPORT' where id = :i"), {"i": maker.id})
    assert client.get(f"{base}/invitations", headers=headers).json["code"] == "INSUFFICIENT_ROLE"
    assert client.get(f"{base}/members", headers=headers).status_code == 200


def test_an_administrators_key_is_no_more_than_their_membership(client, make):
    org, other = make.org(), make.org()
    admin = make.user(platform_role=PlatformRole.ADMIN)
    assert mint(client, org, admin, make).status_code == 403  # acts as owner, but is no member
    maker = make.member(org, "MAINTAINER", admin)
    headers, _ = key_of(client, org, maker, make, access="WRITE")
    assert client.get(f"/api/organizations/{other.slug}", headers=headers).json["code"] == "NOT_A_MEMBER"
    assert client.get("/api/admin/jobs", headers=headers).json["code"] == "API_KEY_NOT_ALLOWED"
    assert (
        client.post(f"/api/organizations/{org.slug}/contracts", headers=headers, json={}).json["code"]
        == "OWNER_REQUIRED"
    )


def test_resources_narrow_a_key(client, make):
    org = make.org()
    owner = make.member(org)
    headers, _ = key_of(client, org, owner, make, access="WRITE", resources=["wallet", "members"])
    base = f"/api/organizations/{org.slug}"
    assert client.get(f"{base}/members", headers=headers).status_code == 200
    assert client.get(f"{base}/billing-account/wallet", headers=headers).status_code == 200
    for path in (f"{base}/invitations", f"{base}/contracts", base, "/api/v1/audit/", "/api/organizations"):
        assert client.get(path, headers=headers).json["code"] == "API_KEY_NOT_ALLOWED", path
    assert client.post("/api/checkout", headers=headers, json={}).json["code"] == "API_KEY_NOT_ALLOWED"


@pytest.mark.parametrize("end", ["suspended", "removed", "inactive", "erased", "left", "revoked", "expired"])
def test_when_a_key_dies(app, client, make, end):
    org = make.org()
    owner, maker = make.member(org), make.member(org, "MAINTAINER")
    headers, made = key_of(client, org, maker, make, days=30)
    base = f"/api/organizations/{org.slug}"
    assert client.get(f"{base}/members", headers=headers).status_code == 200
    by_owner = make.bearer(owner)
    if end == "suspended":
        client.patch(f"{base}/members/{maker.public_id}", headers=by_owner, json={"status": "SUSPENDED"})
    elif end == "removed":
        client.delete(f"{base}/members/{maker.public_id}", headers=by_owner)
    elif end == "left":
        assert client.post(f"{base}/members/leave", headers=make.bearer(maker)).status_code < 300
    elif end == "revoked":
        gone = client.delete(f"{base}/api-keys/{made['api_key']['id']}", headers=by_owner)
        assert gone.json["api_key"]["state"] == "REVOKED"
    elif end == "expired":
        app.extensions["redis"].set("test:clock", 30 * 86400 + 1)
    else:
        column = "active = false" if end == "inactive" else "erased_at = now()"
        with make.session() as s:
            s.execute(text(f"update ab_user set {column} where id = :u"), {"u": maker.user_id})
    refused = client.get(f"{base}/members", headers=headers)
    assert (refused.status_code, refused.json["code"]) == (401, "API_KEY_INVALID")
    if end in ("removed", "left"):  # for good: a membership that comes back does not bring its keys
        with make.session() as s:
            s.execute(text("update membership set status = 'ACTIVE' where id = :i"), {"i": maker.id})
        assert client.get(f"{base}/members", headers=headers).json["code"] == "API_KEY_INVALID"
        assert make.one(
            "select count(*) from org_audit_log where organization_id = :o and action = 'API_KEY_REVOKED'",
            o=org.id,
        )


def test_unknown_keys_are_refused_alike_and_limited(client, make):
    from app.security.limits import LIMITS

    for wrong in ("csk_", "csk_" + "x" * 43, "csk_" + "x" * 300, "csk_\u00e9"):
        refused = client.get("/api/organizations", headers={"Authorization": f"Bearer {wrong}"})
        assert (refused.status_code, refused.json["code"]) == (401, "API_KEY_INVALID"), wrong
    for _ in range(LIMITS["api-key-wrong"].count):
        last = client.get("/api/organizations", headers={"Authorization": "Bearer csk_wrong"})
    assert last.status_code == 429


def test_requests_are_limited_by_key(client, make, app, monkeypatch):
    from app.security import limits

    org = make.org()
    owner = make.member(org)
    first, _ = key_of(client, org, owner, make)
    second, _ = key_of(client, org, owner, make)
    monkeypatch.setitem(limits.LIMITS, "api-key", limits.Limit(3, 60))
    url = f"/api/organizations/{org.slug}/members"
    for _ in range(3):
        assert client.get(url, headers=first).status_code == 200
    refused = client.get(url, headers=first)
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) <= 60
    assert client.get(url, headers=second).status_code == 200


def test_an_owner_sees_and_revokes_all_a_maintainer_their_own(client, make):
    org = make.org()
    owner, a, b = make.member(org), make.member(org, "MAINTAINER"), make.member(org, "MAINTAINER")
    _, of_a = key_of(client, org, a, make, name="Of A")
    _, of_b = key_of(client, org, b, make, name="Of B")
    url = f"/api/organizations/{org.slug}/api-keys"
    names = {
        who.id: [k["name"] for k in client.get(url, headers=make.bearer(who)).json["api_keys"]]
        for who in (owner, a, b)
    }
    assert names == {owner.id: ["Of B", "Of A"], a.id: ["Of A"], b.id: ["Of B"]}
    foreign = client.delete(f"{url}/{of_b['api_key']['id']}", headers=make.bearer(a))
    assert foreign.status_code == 404
    assert client.delete(f"{url}/{of_a['api_key']['id']}", headers=make.bearer(owner)).status_code == 200
    again = client.delete(f"{url}/{of_a['api_key']['id']}", headers=make.bearer(owner))
    assert (again.status_code, again.json["code"]) == (409, "ILLEGAL_TRANSITION")
    for role in ("BILLING_ADMIN", "MANAGER", "SUPPORT", "LEARNER"):
        member = make.bearer(make.member(org, role))
        assert client.get(url, headers=member).json["code"] == "INSUFFICIENT_ROLE"
        assert client.post(url, headers=member, json={"name": "x"}).json["code"] == "INSUFFICIENT_ROLE"
    outsider = make.bearer(make.member(make.org()))
    assert client.delete(f"{url}/{of_b['api_key']['id']}", headers=outsider).json["code"] == "NOT_A_MEMBER"
    assert (
        make.one(
            "select count(*) from org_api_key where organization_id = :o and revoked_at is null", o=org.id
        )
        == 1
    )


def test_what_a_key_may_be(client, make):
    org = make.org()
    owner = make.member(org)
    for bad in (
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 101},
        {"days": 0},
        {"days": 366},
        {"days": -1},
        {"days": 10**12},
        {"access": "ADMIN"},
        {"resources": ["jobs"]},
        {"resources": ["api-keys"]},
        {"resources": ["no-such"]},
        {"resources": ["wallet"] * 100},
        {"user_id": 1},
    ):
        assert mint(client, org, owner, make, **bad).json["code"] == "VALIDATION_FAILED", bad
    assert make.one("select count(*) from ab_api_key where user_id = :u", u=owner.user_id) == 0
    made = mint(client, org, owner, make).json["api_key"]
    days = dt.datetime.fromisoformat(made["expires_at"]) - clock.now()
    assert dt.timedelta(days=89) < days < dt.timedelta(days=91) and made["access"] == "READ"


def test_no_more_keys_than_an_organisation_may_have(client, make, monkeypatch):
    from app.services import api_keys

    org = make.org()
    owner = make.member(org)
    monkeypatch.setattr(api_keys, "MOST_KEYS", 2)
    for _ in range(2):
        assert mint(client, org, owner, make).status_code == 201
    assert mint(client, org, owner, make).json["code"] == "API_KEY_LIMIT_REACHED"


def test_a_suspended_organisation_makes_none_and_its_keys_only_read(client, make):
    org = make.org()
    owner = make.member(org)
    headers, _ = key_of(client, org, owner, make, access="WRITE")
    with make.session() as s:
        s.execute(text("update organization set status = 'SUSPENDED' where id = :i"), {"i": org.id})
    assert mint(client, org, owner, make).json["code"] == "ORG_NOT_ACTIVE"
    base = f"/api/organizations/{org.slug}"
    assert client.get(f"{base}/members", headers=headers).status_code == 200
    body = {"email": "x@people.test", "role": "LEARNER"}
    assert client.post(f"{base}/invitations", headers=headers, json=body).json["code"] == "ORG_NOT_ACTIVE"
    with make.session() as s:
        s.execute(text("update organization set status = 'DEACTIVATED' where id = :i"), {"i": org.id})
    assert client.get(f"{base}/members", headers=headers).json["code"] == "ORG_DEACTIVATED"


def test_last_use_is_kept_coarsely(app, client, make):
    org = make.org()
    owner = make.member(org)
    headers, made = key_of(client, org, owner, make)
    store, url = app.extensions["redis"], f"/api/organizations/{org.slug}/members"

    def used():
        return make.one("select last_used_at from org_api_key where public_id = :k", k=made["api_key"]["id"])

    assert used() is None
    client.get(url, headers=headers)
    first = used()
    store.set("test:clock", 200)
    client.get(url, headers=headers)
    assert used() == first
    store.set("test:clock", 301)
    client.get(url, headers=headers)
    assert used() > first


def test_makers_are_warned_once_a_fortnight_and_once_three_days_before(app, client, make):
    from app.jobs import runner

    org = make.org()
    owner = make.member(org)
    key_of(client, org, owner, make, name="Long one", days=30)
    key_of(client, org, owner, make, name="Short one", days=2)
    store, seen = app.extensions["redis"], []
    for day in (0, 10, 17, 18, 25, 28, 29, 31):
        store.set("test:clock", day * 86400)
        with app.app_context():
            runner.execute("warn_expiring_api_keys")
        mail = client.get(f"/api/test/outbox?to={owner.user.email}").json["mail"]
        seen.append(sum("Long one" in m["subject"] for m in mail))
        assert not any("Short one" in m["subject"] for m in mail)  # made for two days: nobody is surprised
    assert seen == [0, 0, 1, 1, 1, 2, 2, 2]


def test_the_secret_is_neither_logged_nor_shown_again(app, client, make, caplog, capsys):
    org = make.org()
    owner = make.member(org)
    browser = make.sign_in(app.test_client(), owner)
    page = f"/dashboard/organization/{org.slug}/settings/api-keys"
    with caplog.at_level(logging.DEBUG):
        made = browser.form(page, {"name": "From the page", "access": "READ", "days": "90"})
        assert made.status_code == 201
        secret = made.text.split("csk_")[1].split("<")[0].split('"')[0]
        assert len(secret) > 40
        headers = {"Authorization": f"Bearer csk_{secret}"}
        assert client.get(f"/api/organizations/{org.slug}/members", headers=headers).status_code == 200
        client.get("/admin", headers=headers)
    out = capsys.readouterr()
    assert secret not in caplog.text + out.out + out.err
    listed = browser.get(page).text
    assert "From the page" in listed and secret not in listed
    assert secret not in "".join(
        str(r[0]) for r in make.rows("select row_to_json(a)::text from org_audit_log a")
    )
    assert browser.form(page, {"name": "", "access": "READ", "days": "90"}).status_code == 400
    key = make.one("select public_id from org_api_key where organization_id = :o", o=org.id)
    assert browser.form(f"{page}/{key}/revoke").status_code == 302
    assert "Revoked" in browser.get(page).text


def test_what_keys_may_name_is_the_organisations_own():
    assert not set(doors.KEY_RESOURCES) & (matrix.PLATFORM_RESOURCES | doors.NOT_FOR_KEYS)
    assert set(doors.KEY_RESOURCES) - {doors.CHECKOUT} <= set(matrix.MATRIX)
    assert MembershipStatus.ACTIVE and OrgStatus.ACTIVE
