"""Every registered route is thrown odd input, now and later: whatever it answers, it does not fall over."""

from __future__ import annotations

import json
import uuid

import pytest

from app.models import PlatformRole
from tests.tenancy.test_every_route import path_of, rules

MARKUP = "<script>odd()"
TEXT = "a\x00b'\"><script>odd()𐀀\u202e"
FIELDS = (
    "name",
    "email",
    "amount",
    "amount_paise",
    "plan_id",
    "title",
    "role",
    "token",
    "password",
    "reason",
    "body",
    "action",
    "rowid",
    "_back",
    "file",
    "step",
)
BODIES = {
    "deep": "[" * 20_000,
    "deep objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "an array": "[1, 2, 3]",
    "null": "null",
    "no json": "{",
    "not utf-8": b'{"name": "\xff\xfe"}',
    "surrogates": '{"name": "\\ud800", "email": "\\udfff@x.test", "title": "\\ud800", "reason": "\\ud800"}',
    "no numbers": '{"amount_paise": Infinity, "limit": NaN, "name": 1e400}',
    "objects for texts": json.dumps({field: {"x": [1]} for field in FIELDS}),
    "nul and markup": json.dumps(dict.fromkeys(FIELDS, TEXT)),
}
QUERIES = (
    "limit=abc&cursor=%00",
    "limit=99999999999999999999&cursor=e30",
    "cursor=AAAA&q=%00&page=-1&per_page=1000000",
    "from=9999-99-99&to=0000-00-00&format=xml&org_scope=org:%00",
    "since=9999-12-31T23:59:59Z&months=9e9&status=%27&category=%F0%9F%A6%84",
    "_flt_0_id=%00&sort=zzz&rows=-1&page_x=1&view=%00&before=%C2%B2",
)
SKIPPED = ("logout", "readyz")  # ends the test's own session; answers 503 without a worker, as it should


@pytest.fixture
def people(app, make):
    """An owner, and an ADMIN for the platform's own rooms: together they reach every handler."""
    org = make.org(can_host=True)
    owner, admin = make.member(org), make.user(platform_role=PlatformRole.ADMIN)
    return org, lambda rule: admin if rule.startswith(("/admin", "/api/admin", "/sandbox")) else owner


def fallen(answer):
    return answer.status_code >= 500 and answer.status_code != 501


def test_no_endpoint_falls_over_odd_bodies_and_queries(app, make, people):
    org, who = people
    client, fell, bearers = app.test_client(), [], {}
    for rule in rules(app):
        if not rule.rule.startswith("/api/") or rule.endpoint.endswith(SKIPPED):
            continue
        path, person = path_of(app, rule, org.slug), who(rule.rule)
        headers = bearers.setdefault(id(person), make.bearer(person, **{"X-Organization": org.slug}))
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            if method == "GET":
                calls = [(f"{path}?{query}", {}) for query in QUERIES]
            else:
                calls = [
                    (path, {"data": body, "content_type": "application/json"}) for body in BODIES.values()
                ]
            for address, extra in calls:
                keyed = {**headers, "Idempotency-Key": uuid.uuid4().hex}
                answer = client.open(address, method=method, headers=keyed, **extra)
                if fallen(answer):
                    fell.append(f"{method} {address}: {answer.status_code} {answer.text[:80]}")
                answer.close()
    assert fell == []


def test_no_page_falls_over_odd_forms_and_queries(app, make, people):
    org, who = people
    fell, browsers = [], {}
    fields = dict.fromkeys(FIELDS, TEXT)
    for rule in rules(app):
        if rule.rule.startswith("/api/") or rule.endpoint.endswith(SKIPPED):
            continue
        path, person = path_of(app, rule, org.slug), who(rule.rule)
        if id(person) not in browsers:
            browsers[id(person)] = make.sign_in(app.test_client(), person)
        client = browsers[id(person)]
        if "POST" in rule.methods:
            calls = [(client.form, path, fields), (client.form, path, {**fields, "amount": "9" * 500})]
        else:
            calls = [(client.get, f"{path}?{query}") for query in QUERIES[::2]]
        for call, *arguments in calls:
            answer = call(*arguments)
            body = answer.text  # read to its end before the next: some answers are streams
            if fallen(answer):
                fell.append(f"{rule.rule} ({rule.endpoint}): {answer.status_code}")
            assert MARKUP not in body, f"{rule.rule} reflects"
    assert fell == []
