"""Headers, correlation, CSRF, health, the CSP sink and error shapes of every response."""

from __future__ import annotations

import base64
import dataclasses
import io
import json

import pytest

from app import faults
from app.jobs import heartbeats
from app.models import PlatformRole
from app.security import headers, requests


@pytest.mark.scenario("I-36")
def test_security_headers_stand_on_every_response(app, client):
    for path in (
        "/",
        "/login",
        "/healthz",
        "/no-such-page",
        "/api/v1/security/me",
        "/static/console/app.css",
    ):
        response = client.get(path)
        assert response.headers["Strict-Transport-Security"].startswith("max-age=63072000; includeSubDomains")
        assert (
            response.headers["X-Frame-Options"] == "DENY"
            and response.headers["X-Content-Type-Options"] == "nosniff"
        )
        policy = response.headers["Content-Security-Policy-Report-Only"]
        assert "unsafe" not in policy and "script-src 'self'" in policy and "style-src 'self'" in policy
        assert "Content-Security-Policy" not in response.headers
        assert (
            response.headers["Permissions-Policy"]
            == "camera=(self), microphone=(self), geolocation=(), payment=()"
        )


@pytest.mark.scenario("I-36")
def test_the_flag_enforces_the_policy(settings):
    from flask import Flask

    probe = Flask("probe")
    probe.config["SETTINGS"] = dataclasses.replace(settings, enable_csp_enforce=True)
    headers.install(probe)
    response = probe.test_client().get("/")
    assert "Content-Security-Policy-Report-Only" not in response.headers
    assert "unsafe" not in response.headers["Content-Security-Policy"]


@pytest.mark.scenario("I-36")
def test_csp_reports_are_taken_and_bounded(client):
    report = json.dumps({"csp-report": {"violated-directive": "script-src", "document-uri": "http://x/"}})
    assert (
        client.post("/api/csp-report", data=report, content_type="application/csp-report").status_code == 204
    )
    assert (
        client.post("/api/csp-report", data=b"\xff\xfe", content_type="application/csp-report").status_code
        == 204
    )
    assert client.post("/api/csp-report", data=b"x" * (64 * 1024 + 1)).status_code == 413


def test_correlation_ids_are_taken_over_or_made(client):
    assert (
        client.get("/healthz", headers={"X-Correlation-Id": "abc-12345"}).headers["X-Correlation-Id"]
        == "abc-12345"
    )
    for bad in ("short", "x" * 65, "has space 123", "<script>alert(1)"):
        made = client.get("/healthz", headers={"X-Correlation-Id": bad}).headers["X-Correlation-Id"]
        assert made != bad and len(made) == 36


def test_cookies_need_a_token_and_bearers_do_not(client, make):
    member = make.member(make.org())
    make.sign_in(client, member)
    refused = client.post("/logout")
    assert refused.status_code == 400
    assert client.get("/account/").status_code == 200  # still signed in
    assert client.post("/api/v1/security/logout", headers=make.bearer(member)).status_code == 204


def test_health_version_and_metrics(client, app):
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/version").json["name"] == "consilium"
    redis = app.extensions["redis"]
    redis.delete("heartbeat:worker", "heartbeat:scheduler")
    silent = client.get("/readyz")
    assert silent.status_code == 503 and silent.json["failing"] == ["worker", "scheduler"]
    heartbeats.stamp(redis, heartbeats.SCHEDULER)
    assert client.get("/readyz").json["failing"] == ["worker"]
    heartbeats.stamp(redis, heartbeats.WORKER)
    assert client.get("/readyz").json == {"status": "ok", "failing": []}
    assert 0 < redis.ttl("heartbeat:worker") <= 120 and 0 < redis.ttl("heartbeat:scheduler") <= 120
    assert b"consilium_request_seconds" in client.get("/metrics").data
    assert client.get("/metrics", headers={"X-Forwarded-For": "1.2.3.4"}).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("get", "/api/nothing-here", 404, "NOT_FOUND"),
        ("delete", "/api/v1/security/me", 405, "METHOD_NOT_ALLOWED"),
        ("get", "/api/v1/security/me", 401, "UNAUTHENTICATED"),
        ("post", "/api/v1/security/login", 400, "VALIDATION_FAILED"),
    ],
)
def test_errors_have_one_shape(client, method, path, status, code):
    response = getattr(client, method)(path)
    assert response.status_code == status and response.json["code"] == code
    assert set(response.json) == {"code", "message", "details"}
    assert "Traceback" not in response.text and "X-Correlation-Id" in response.headers


def test_a_page_that_is_missing_is_a_page(client, make):
    make.sign_in(client, make.member(make.org()))
    response = client.get("/no-such-page")
    assert response.status_code == 404 and response.mimetype == "text/html" and "<html" in response.text


def test_oversized_bodies_are_refused(client):
    response = client.post(
        "/api/v1/security/login", data=b"x" * (9 * 1024 * 1024), content_type="application/json"
    )
    assert response.status_code in (400, 413)


def test_test_endpoints_exist_in_test_only(settings, app):
    from app.api import testing

    class Probe:
        def __init__(self, s):
            self.config, self.routes, self.extensions = {"SETTINGS": s}, [], {"redis": None}

        def post(self, rule):
            self.routes.append(rule)
            return lambda f: f

        get = post

    for env, expected in (("development", 0), ("production", 0), ("test", 4)):
        probe = Probe(dataclasses.replace(settings, app_env=env))
        testing.register(probe, None)
        assert len(probe.routes) == expected
    faults.enable(app.extensions["redis"])


def test_the_test_clock_moves_and_flags_are_checked(client):
    moved = client.post("/api/test/clock", json={"offset_seconds": 3600}).json
    assert moved["offset_seconds"] == 3600
    assert client.post("/api/test/clock", json={"offset_seconds": "soon"}).status_code == 400
    assert client.post("/api/test/flags", json={"secret_key": True}).status_code == 400


CURSORS = (
    {"id": "abc"},
    {"id": None},
    {"id": [1]},
    {"id": True},
    {"id": 10**30},
    {"id": "\x00"},
    {},
    {"at": "2026-01-01", "n": 1},
    {"at": "2026-01-01T00:00:00+00:00", "n": [1]},
    {"at": "2026-01-01T00:00:00+00:00", "n": 10**30},
    {"at": "0001-01-01T00:00:00+14:00", "n": 1},
)


@pytest.mark.parametrize(
    "path",
    [
        "/api/organizations/{slug}/members",
        "/api/organizations/{slug}/members/directory",
        "/api/organizations/{slug}/invitations",
        "/api/organizations/{slug}/contracts",
        "/api/plans",
        "/api/appointments",
        "/api/admin/organizations",
        "/api/admin/system-events",
        "/api/v1/members/",
    ],
)
def test_cursors_and_limits_nobody_gave_out_are_refused(client, make, path):
    org, admin = make.org(), make.user(platform_role=PlatformRole.ADMIN)
    headers = {**make.bearer(admin), "X-Organization": org.slug}
    path = path.format(slug=org.slug)
    assert client.get(path, headers=headers).status_code == 200
    raw = [json.dumps(c).encode() for c in CURSORS] + [b"[" * 9000, b"null", b"\xff", b'{"id": 1e999}']
    for cursor in [base64.urlsafe_b64encode(r).decode() for r in raw] + ["%", "\u00e9"]:
        answer = client.get(path, headers=headers, query_string={"cursor": cursor})
        assert (answer.status_code, answer.json["code"]) == (400, "VALIDATION_FAILED"), cursor
    for limit in ("\u00b2", "\u0661", "0", "-1", "9" * 5000, "1e3"):
        answer = client.get(path, headers=headers, query_string={"limit": limit})
        assert (answer.status_code, answer.json["code"]) == (400, "VALIDATION_FAILED"), limit


@pytest.mark.parametrize(
    "body",
    [
        '{"name": ' + "[" * 900 + "]" * 900 + "}",
        "[" * 100_000,
        '{"contacts": ' + '{"a":' * 100_000,
        '{"name": "\\ud800"}',
        '{"name": "a\\u0000b"}',
        '{"contacts": {"a\\u0000": "b"}}',
        '{"contacts": {"a": ["\\udfff"]}}',
        b'{"name": "\xff\xfe"}',
    ],
    ids=["deep", "deep-open", "deep-objects", "surrogate", "nul", "nul-key", "nested-surrogate", "not-utf-8"],
)
def test_json_that_no_row_can_hold_is_refused(client, make, body):
    org = make.org()
    headers = {**make.bearer(make.member(org, "OWNER")), "Content-Type": "application/json"}
    answer = client.patch(f"/api/organizations/{org.slug}", data=body, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (400, "VALIDATION_FAILED")
    assert (
        client.get(f"/api/organizations/{org.slug}", headers=headers).json["organization"]["name"] == org.name
    )


def test_logs_keep_no_secret_of_a_link(client, monkeypatch):
    raw, lines = "x" * 43, []
    monkeypatch.setattr(requests.log, "info", lambda event, **values: lines.append(values), raising=False)
    for path in (f"/reset-password/{raw}", "/reset-password/short", f"/organizations/invite/{raw}"):
        client.get(path)
    client.get(f"/organizations/invite/{raw}/")  # no route: masked all the same
    client.get("/api/plans/01a2068a-b0e5-7571-a062-c4051cadb29c")
    assert [line["path"] for line in lines] == [
        "/reset-password/[redacted]",
        "/reset-password/[redacted]",
        "/organizations/invite/[redacted]",
        "/organizations/invite/[redacted]/",
        "/api/plans/01a2068a-b0e5-7571-a062-c4051cadb29c",
    ]
    assert raw not in repr(lines)


def test_a_cookie_needs_a_token_at_the_sandbox_too(client, make):
    make.sign_in(client, make.user(platform_role=PlatformRole.ADMIN))
    refused = client.post("/sandbox/api/orders/order_none/capture")
    assert (refused.status_code, refused.json["code"]) == (400, "CSRF_FAILED")


def test_a_report_is_cut_off_at_64_kilobytes_whatever_it_says_of_its_length(client):
    report = json.dumps({"csp-report": {"blocked-uri": "x" * 70_000}}).encode()
    assert client.post("/api/csp-report", data=report).status_code == 413
    unsaid = client.post(
        "/api/csp-report", input_stream=io.BytesIO(report), environ_overrides={"wsgi.input_terminated": True}
    )
    assert unsaid.status_code == 413
    assert client.post("/api/csp-report", data=report[:60_000]).status_code == 204  # unreadable, but small


def test_a_crash_is_an_event_for_administrators_and_one_sentence_for_everybody(app, make):
    """A route that breaks: the answer says nothing of it, the system event everything."""
    broken = dataclasses.replace(app.config["SETTINGS"])
    from app import create_app

    application = create_app(broken)

    @application.get("/api/broken")
    def break_down():
        raise ZeroDivisionError("inner detail \x00")

    answer = application.test_client().get("/api/broken", headers={"X-Correlation-Id": "crash-123456"})
    assert answer.status_code == 500 and answer.json["code"] == "INTERNAL_ERROR"
    assert "inner detail" not in answer.text and "Traceback" not in answer.text
    events = make.rows("select * from system_event where correlation_id = 'crash-123456'")
    assert [e.category for e in events] == ["request"]
    assert "inner detail" in events[0].message and "break_down" in events[0].context["traceback"]
