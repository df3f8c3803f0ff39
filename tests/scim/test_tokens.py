"""Tokens: made once, revoked for good, limited each by its own; OAuth as a second way in (chapter 3, 3.2 "Tokens")."""

from __future__ import annotations

import base64
import datetime as dt

import pytest

from app import clock
from app.jobs import runner
from app.services import scim_tokens

from .conftest import refused


def api(directory, method, path, who=None, **kw):
    return directory.app.test_client().open(
        f"/api/organizations/{directory.org.slug}/scim{path}",
        method=method,
        headers=directory.make.bearer(who or directory.owner),
        **kw,
    )


def run(directory, job):
    with directory.app.app_context():
        runner.execute(job)


def audits(directory, action):
    return directory.audits(action)


@pytest.mark.scenario("I-12")
def test_only_owners_make_tokens_and_nobody_reads_them_again(directory, make):
    billing = make.member(directory.org, "BILLING_ADMIN")
    refusal = api(directory, "POST", "/tokens", billing, json={"label": "x"})
    assert refusal.status_code == 403 and refusal.json["code"] == "OWNER_REQUIRED"
    made = api(directory, "POST", "/tokens", json={"label": "Entra ID"})
    assert made.status_code == 201
    raw = made.json["raw_token"]
    assert raw.startswith("scim_") and len(base64.urlsafe_b64decode(raw[5:])) == 48
    assert made.json["rate_limit_per_minute"] == 60 and made.json["duplicate_policy"] == "UPSERT"
    stored = make.rows("select * from scim_token where public_id = cast(:i as uuid)", i=made.json["id"])[0]
    assert stored.token_hash == scim_tokens.digest(raw) and raw not in str(stored)
    assert abs(stored.expires_at - clock.now() - dt.timedelta(days=365)) < dt.timedelta(minutes=1)
    listed = api(directory, "GET", "/tokens", billing)
    assert listed.status_code == 200 and raw not in listed.text and "raw_token" not in listed.text
    assert listed.json["base_url"] == "http://console.test/scim/v2"
    assert audits(directory, "SCIM_TOKEN_CREATED") == 1
    assert (
        make.one(
            "select count(*) from org_audit_log where organization_id = :o and details::text like :t",
            o=directory.org.id,
            t=f"%{raw}%",
        )
        == 0
    )
    learner = make.member(directory.org, "LEARNER")
    assert api(directory, "GET", "/tokens", learner).status_code == 403
    directory.raw = raw
    assert directory.get("/Users?count=1").status_code == 200
    assert api(directory, "GET", "/tokens").json["tokens"][0]["last_used_at"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"label": ""},
        {"label": "x", "expires_in_days": 0},
        {"label": "x", "expires_in_days": 731},
        {"label": "x", "rate_limit_per_minute": 0},
        {"label": "x", "rate_limit_per_minute": 3001},
        {"label": "x", "duplicate_policy": "MERGE"},
        {"label": "x", "more": 1},
    ],
)
def test_bad_tokens_are_refused(directory, body):
    response = api(directory, "POST", "/tokens", json=body)
    assert response.status_code == 400 and response.json["code"] == "VALIDATION_FAILED"
    assert len(api(directory, "GET", "/tokens").json["tokens"]) == 1


def test_five_are_active_at_most(directory):
    for n in range(4):
        assert api(directory, "POST", "/tokens", json={"label": f"t{n}"}).status_code == 201
    sixth = api(directory, "POST", "/tokens", json={"label": "t5"})
    assert sixth.status_code == 409 and sixth.json["code"] == "TOKEN_LIMIT_REACHED"
    key = api(directory, "GET", "/tokens").json["tokens"][0]["id"]
    assert api(directory, "DELETE", f"/tokens/{key}").json["status"] == "REVOKED"
    assert api(directory, "DELETE", f"/tokens/{key}").status_code == 409
    assert api(directory, "POST", "/tokens", json={"label": "t5"}).status_code == 201


@pytest.mark.scenario("I-19")
def test_dead_tokens_are_noted_once_and_limits_answer_in_the_envelope(directory, make, client):
    raw, row = directory.new_token()
    live = directory.raw
    api(directory, "DELETE", f"/tokens/{row.public_id}")
    directory.raw = raw
    for _ in range(5):
        refused(directory.get("/Users"), 401)
    assert audits(directory, "SCIM_TOKEN_USED_AFTER_REVOKE") == 1
    assert make.one("select count(*) from scim_event where organization_id = :o", o=directory.org.id) == 1
    client.post("/api/test/clock", json={"offset_seconds": 3700})
    refused(directory.get("/Users"), 401)
    assert audits(directory, "SCIM_TOKEN_USED_AFTER_REVOKE") == 2
    client.post("/api/test/clock", json={"offset_seconds": 0})
    directory.raw, _ = directory.new_token(days=-1)
    for _ in range(2):
        refused(directory.get("/Users"), 401)
    assert audits(directory, "SCIM_TOKEN_EXPIRED_USE") == 1
    mail = make.rows(
        "select payload from outbox_message where organization_id = :o and payload->>'template' = 'scim_token_misused'",
        o=directory.org.id,
    )
    assert {m.payload["to"] for m in mail} == {directory.owner.user.email} and all(
        raw not in str(m) for m in mail
    )
    directory.raw, _ = directory.new_token(rate=60)
    for _ in range(60):
        assert directory.get("/Users?count=0").status_code == 200
    limited = directory.get("/Users?count=0")
    refused(limited, 429)
    assert 1 <= int(limited.headers["Retry-After"]) <= 60
    directory.raw = live
    assert directory.get("/Users?count=0").status_code == 200


def test_a_tokens_limit_can_be_raised(directory):
    directory.raw, row = directory.new_token(rate=1)
    assert directory.get("/Users?count=0").status_code == 200
    refused(directory.get("/Users?count=0"), 429)
    raised = api(directory, "PATCH", f"/tokens/{row.public_id}", json={"rate_limit_per_minute": 3000})
    assert raised.json["rate_limit_per_minute"] == 3000
    assert directory.get("/Users?count=0").status_code == 200
    assert (
        api(directory, "PATCH", f"/tokens/{row.public_id}", json={"rate_limit_per_minute": 3001}).status_code
        == 400
    )


def test_client_credentials_give_a_short_lived_token(directory, client):
    key = str(directory.token.public_id)
    body = {"grant_type": "client_credentials", "client_id": key, "client_secret": directory.raw}
    answer = client.post("/scim/oauth/token", data=body)
    assert (
        answer.status_code == 200
        and answer.json["token_type"] == "Bearer"
        and answer.json["expires_in"] == 3600
    )
    assert answer.headers["Cache-Control"] == "no-store"
    basic = base64.b64encode(f"{key}:{directory.raw}".encode()).decode()
    assert (
        client.post(
            "/scim/oauth/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {basic}"},
        ).status_code
        == 200
    )
    for wrong, status, code in (
        ({**body, "client_secret": directory.raw + "x"}, 401, "invalid_client"),
        ({**body, "client_id": "none"}, 401, "invalid_client"),
        ({**body, "grant_type": "password"}, 400, "unsupported_grant_type"),
        ({}, 400, "unsupported_grant_type"),
    ):
        refusal = client.post("/scim/oauth/token", data=wrong)
        assert (refusal.status_code, refusal.json) == (status, {"error": code})
    secret, directory.raw = directory.raw, answer.json["access_token"]
    assert directory.get("/Users").status_code == 200
    directory.raw += "x"
    refused(directory.get("/Users"), 401)
    directory.raw = answer.json["access_token"]
    client.post("/api/test/clock", json={"offset_seconds": 3601})
    refused(directory.get("/Users"), 401)
    client.post("/api/test/clock", json={"offset_seconds": 0})
    api(directory, "DELETE", f"/tokens/{key}")
    refused(directory.get("/Users"), 401)
    assert client.post("/scim/oauth/token", data={**body, "client_secret": secret}).status_code == 401


def test_owners_hear_of_an_end_once_for_each_threshold(directory, make):
    def told():
        return make.one(
            "select count(*) from outbox_message where organization_id = :o and payload->>'template' = 'scim_token_expiring'",
            o=directory.org.id,
        )

    with make.session() as s:
        s.get(type(directory.token), directory.token.id).created_at = clock.now() - dt.timedelta(days=100)
    for days, expected in ((40, 0), (29, 1), (29, 1), (6, 2), (0.5, 3), (0.4, 3)):
        with make.session() as s:
            s.get(type(directory.token), directory.token.id).expires_at = clock.now() + dt.timedelta(
                days=days
            )
        run(directory, "scim_token_expiry")
        assert told() == expected, days


def test_old_requests_are_forgotten(directory, make):
    directory.get("/Users")
    with make.session() as s:
        from sqlalchemy import text

        s.execute(
            text("update scim_event set created_at = now() - interval '31 days' where organization_id = :o"),
            {"o": directory.org.id},
        )
    directory.get("/Groups")
    run(directory, "prune_scim_events")
    rows = make.rows("select path from scim_event where organization_id = :o", o=directory.org.id)
    assert [r.path for r in rows] == ["/Groups"]


@pytest.mark.scenario("I-14")
def test_mappings_refuse_owner_and_duplicates(directory, make):
    refusal = directory.map("Admins", "OWNER")
    assert refusal.status_code == 400 and refusal.json["code"] == "SCIM_ROLE_NOT_ALLOWED"
    assert directory.map("IT-Admins", "MAINTAINER").status_code == 201
    twice = directory.map("it-admins", "MANAGER")
    assert twice.status_code == 409 and twice.json["code"] == "SCIM_GROUP_DUPLICATE"
    assert [m["role"] for m in api(directory, "GET", "/group-mappings").json["group_mappings"]] == [
        "MAINTAINER"
    ]
    for who in ("MAINTAINER", "BILLING_ADMIN"):
        assert (
            api(
                directory,
                "POST",
                "/group-mappings",
                make.member(directory.org, who),
                json={"scim_group_name": "x", "role": "MANAGER"},
            ).status_code
            == 403
        )
    assert audits(directory, "SCIM_GROUP_MAPPED") == 1


def test_a_mapping_says_first_whom_it_changes_and_then_does(directory):
    a, b = directory.user(), directory.user()
    directory.group("Support", a["id"], b["id"])
    wanted = {"scim_group_name": "SUPPORT", "role": "SUPPORT"}
    preview = api(directory, "POST", "/group-mappings/preview", json=wanted).json["changes"]
    assert {(c["membership_id"], c["before"], c["after"], c["problem"]) for c in preview} == {
        (p["id"], "LEARNER", "SUPPORT", None) for p in (a, b)
    }
    assert directory.member(a["id"]).role == "LEARNER"
    seats = directory.seats()
    made = api(directory, "POST", "/group-mappings", json=wanted)
    assert len(made.json["changes"]) == 2 and directory.member(a["id"]).role == "SUPPORT"
    assert directory.seats() == seats - 2
    changed = api(directory, "PATCH", f"/group-mappings/{made.json['id']}", json={"role": "MANAGER"})
    assert changed.status_code == 200 and directory.member(b["id"]).role == "MANAGER"
    assert (
        api(directory, "PATCH", f"/group-mappings/{made.json['id']}", json={"role": "OWNER"}).status_code
        == 400
    )
    gone = api(directory, "DELETE", f"/group-mappings/{made.json['id']}")
    assert gone.status_code == 200 and len(gone.json["changes"]) == 2
    assert directory.member(a["id"]).role == "LEARNER" and directory.seats() == seats
    assert audits(directory, "SCIM_GROUP_UNMAPPED") == 1


def test_mappings_and_tokens_of_others_do_not_exist(new_directory):
    mine, theirs = new_directory(), new_directory()
    key = theirs.map("Theirs", "MANAGER").json["id"]
    assert api(mine, "DELETE", f"/group-mappings/{key}").status_code == 404
    assert api(mine, "DELETE", f"/tokens/{theirs.token.public_id}").status_code == 404
    assert api(theirs, "GET", "/group-mappings").json["group_mappings"][0]["id"] == key


def test_the_log_over_rest(directory):
    directory.user()
    refused(directory.post("/Users", directory.body("x@gmail.com")), 400, "invalidValue")
    directory.get("/Groups")
    failed = api(directory, "GET", "/events?outcome=failed").json["events"]
    assert [(e["method"], e["status"], e["subject"]) for e in failed] == [("POST", 400, "x@gmail.com")]
    assert len(api(directory, "GET", "/events?kind=writes").json["events"]) == 2
    assert [e["path"] for e in api(directory, "GET", "/events?kind=Groups").json["events"]] == ["/Groups"]
    first = api(directory, "GET", "/events?limit=2").json
    second = api(directory, "GET", f"/events?limit=2&cursor={first['next_cursor']}").json
    assert len(first["events"]) == 2 and len(second["events"]) == 1 and second["next_cursor"] is None
    assert len(api(directory, "GET", f"/events?token={directory.token.public_id}").json["events"]) == 3
