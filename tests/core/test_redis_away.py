"""Redis away: the product serves; authentication still counts in the process, everything else is open (chapter 3, 3.7)."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from app import create_app
from app.errors import DomainError
from app.security import limits
from tests.factories import PASSWORD, unique


@pytest.fixture
def alone(settings):
    """An application whose Redis nobody runs. In development, because the test clock itself lives in Redis."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return create_app(
        dataclasses.replace(
            settings, app_env="development", redis_url=f"redis://127.0.0.1:{port}/0", rate_limits=True
        )
    )


def sign_in(client, email, password=PASSWORD):
    return client.post(
        "/api/v1/security/login", json={"username": email, "password": password, "provider": "db"}
    )


def test_sign_in_is_still_limited_by_address(alone, make):
    user = make.user()
    client = alone.test_client()
    answers = [sign_in(client, user.email).status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]
    refused = sign_in(client, user.email)
    assert 0 < int(refused.headers["Retry-After"]) <= 900 and refused.headers["X-RateLimit-Remaining"] == "0"
    other = client.post(
        "/api/v1/security/login",
        json={"username": user.email, "password": PASSWORD, "provider": "db"},
        environ_base={"REMOTE_ADDR": "10.9.8.7"},
    )
    assert other.status_code == 200


def test_everything_else_is_open_and_changes_arrive(alone, make):
    org = make.org()
    owner = make.member(org)
    client = alone.test_client()
    for _ in range(25):  # more than the twenty an hour
        answer = client.post(
            f"/api/organizations/{org.slug}/invitations",
            json={"email": f"{unique('away')}@people.test", "role": "LEARNER"},
            headers=make.bearer(owner),
        )
        assert answer.status_code in (201, 403), answer.text  # 403: the growth cap, not the limit
    browser = make.sign_in(alone.test_client(), owner)
    assert browser.get(f"/dashboard/organization/{org.slug}/home/").status_code == 200
    waiting = make.one(
        "select count(*) from outbox_message where organization_id = :o and topic = 'mail' and done_at is null",
        o=org.id,
    )
    assert waiting >= 1  # the schedule delivers it once Redis is back


def test_readiness_names_redis(alone):
    answer = alone.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json["failing"] == ["redis", "worker", "scheduler"]


def test_the_window_in_the_process_slides_and_is_bounded(alone):
    with alone.app_context():
        rule = limits.Limit(2, 60, guard=True)
        limiter = alone.extensions["limits"]
        assert [limiter.hit("probe", "a", rule), limiter.hit("probe", "a", rule)] == [1, 0]
        with pytest.raises(DomainError, match="RATE_LIMITED"):
            limiter.hit("probe", "a", rule)
        assert limiter.hit("probe", "b", rule) == 1
        assert (
            limiter.hit("open", "a", limits.Limit(1, 60)) == 1
            and limiter.hit("open", "a", limits.Limit(1, 60)) == 1
        )
