"""The OpenAPI document describes every REST route, in valid shape, and shows no inner key."""

from __future__ import annotations

import re

import pytest

HIDDEN = (
    "/api/test/",
    "/api/csp-report",
    "/api/v1/menu/",
)  # test only, browsers only, Flask-AppBuilder's own menu


@pytest.fixture
def document(client, make):
    return client.get("/api/v1/_openapi", headers=make.bearer(make.user())).json


def test_the_document_is_for_the_signed_in(client):
    assert client.get("/api/v1/_openapi").status_code == 401


def test_every_rest_route_is_described(app, document):
    described = {re.sub(r"\{[^}]+\}", "{}", path) for path in document["paths"]}
    missing = []
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith(("/api/", "/webhooks/")) and not rule.rule.startswith(HIDDEN):
            path = re.sub(r"<[^>]+>", "{}", rule.rule)
            if path not in described and path.rstrip("/") not in described:
                missing.append(rule.rule)
    assert sorted(set(missing)) == []


def test_operations_say_what_they_do_and_answer(document):
    silent = [
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in ("get", "post", "put", "patch", "delete")
        and not ((operation.get("summary") or operation.get("description")) and operation.get("responses"))
    ]
    assert silent == []


def test_path_parameters_are_declared(document):
    for path, operations in document["paths"].items():
        for name in re.findall(r"\{([^}]+)\}", path):
            for method, operation in operations.items():
                if method in ("get", "post", "put", "patch", "delete"):
                    declared = {p.get("name") for p in operation.get("parameters", [])}
                    assert name in declared, f"{method} {path} does not declare {name}"
