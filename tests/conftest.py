"""Fixtures: a migrated database a worker, the application on it, sessions and clients.

``bin/test`` starts private servers and names them in TEST_OWNER_DATABASE_URL (an administrator's URL) and
TEST_REDIS_URL. Nothing is truncated between tests: every test makes organisations and people of its own.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.orm import Session

from app.cli.database import alembic_config
from app.runtime.provision import provision
from app.security import context
from config import load, normalise_database_url
from tests.identity.peers.dns_server import DnsServer, Zone

# A busy machine makes nothing wrong: how long an example takes is no property of the code under test.
hypothesis_settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("any-machine")


def _worker() -> tuple[str, int]:
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return name, int(name.removeprefix("gw") or 0)


@pytest.fixture(scope="session")
def owner_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh, migrated database of this worker; the URL belongs to its owner."""
    admin = os.environ.get("TEST_OWNER_DATABASE_URL")
    if not admin:
        pytest.exit("TEST_OWNER_DATABASE_URL is not set; run the tests with bin/test", 2)
    url = make_url(normalise_database_url(admin))
    name = f"consilium_test_{_worker()[0]}_{os.getpid()}"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"DROP ROLE IF EXISTS consilium_app_{name}"))
    server.dispose()


@pytest.fixture(scope="session")
def web_url(owner_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same database as the web role sees it, migrated."""
    url = provision(owner_url, tmp_path_factory.mktemp("data"))
    command.upgrade(alembic_config(owner_url), "head")
    return url


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis database of this worker, emptied."""
    import redis

    base = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
    head, _, number = base.rpartition("/")
    url = f"{head}/{int(number) + _worker()[1]}" if number.isdigit() else base
    redis.Redis.from_url(url).flushdb()
    return url


@pytest.fixture(scope="session")
def dns_server() -> Iterator[DnsServer]:
    """The DNS server that DNS_RESOLVER names."""
    server = DnsServer()
    yield server
    server.close()


@pytest.fixture
def zone(dns_server: DnsServer) -> Zone:
    """What the DNS says: nothing yet."""
    fresh = dns_server.zone
    fresh.txt.clear()
    fresh.aliases.clear()
    fresh.broken.clear()
    fresh.asked.clear()
    return fresh


@pytest.fixture(scope="session")
def settings(
    web_url: str,
    owner_url: str,
    redis_url: str,
    dns_server: DnsServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """Settings of the tests."""
    return load(
        {},
        app_env="test",
        database_url=web_url,
        database_owner_url=owner_url,
        redis_url=redis_url,
        secret_key="test-secret-key-of-at-least-32-characters",
        base_url="http://console.test",
        data_dir=str(tmp_path_factory.mktemp("files")),
        auth_config_encryption_key=f"k2:{base64.b64encode(b'2' * 32).decode()},k1:{base64.b64encode(b'1' * 32).decode()}",
        dns_resolver=f"127.0.0.1:{dns_server.port}",
        egress_test_allowlist="127.0.0.0/8,::1/128",
        database_pool_size=20,
    )


class ConsoleClient(FlaskClient):
    """A browser: knows how to send a form with its CSRF token."""

    def csrf(self) -> str:
        """A valid token for this client's cookie."""
        with self.session_transaction() as cookie:
            raw = cookie.setdefault("csrf_token", os.urandom(20).hex())
        return str(URLSafeTimedSerializer(self.application.secret_key, salt="wtf-csrf-token").dumps(raw))

    def form(self, path: str, data: dict[str, Any] | None = None, **kw: Any) -> Any:
        """POST *data* as the page's form would."""
        return self.post(path, data={"csrf_token": self.csrf(), **(data or {})}, **kw)


@pytest.fixture(scope="session")
def app(settings: Any) -> Flask:
    """The application, one a worker."""
    from app import create_app

    application = create_app(settings)
    application.config["RAISE_CRASHES"] = True
    application.test_client_class = ConsoleClient
    return application


@pytest.fixture(scope="session")
def owner_engine(owner_url: str, web_url: str) -> Iterator[Engine]:
    """The owner's connection: sees everything, for set-up and verification."""
    engine = create_engine(normalise_database_url(owner_url))
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def web_engine(app: Flask) -> Engine:
    """The web role's connections."""
    from app.extensions import db

    with app.app_context():
        return db.engine


@pytest.fixture(autouse=True)
def _isolation(request: pytest.FixtureRequest) -> Iterator[None]:
    """No identity and no rate-limit window leaks from one test into the next."""
    context.reset()
    yield
    context.reset()
    if "app" in request.fixturenames:
        store = request.getfixturevalue("app").extensions["redis"]
        for key in (*store.scan_iter("rl:*"), *store.scan_iter("test:*")):
            store.delete(key)
        from app import clock

        clock.set_offset(0)


@pytest.fixture
def db_session(app: Flask, web_engine: Engine) -> Iterator[Session]:
    """A session of the web role inside an application context; rolled back at the end."""
    with app.app_context(), Session(web_engine, expire_on_commit=False) as session:
        yield session
        session.rollback()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser that is signed out."""
    return app.test_client()


@pytest.fixture
def make(app: Flask, owner_engine: Engine, web_engine: Engine) -> Any:
    """The factories of tests/factories.py."""
    from tests.factories import Factory

    return Factory(app, owner_engine, web_engine)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parents[1]
