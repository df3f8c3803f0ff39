"""Peers of single sign-on, and an organisation that has what it needs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from app import clock
from app.identity import oidc
from app.jobs import runner
from tests.identity.company import Company
from tests.identity.peers.oidc_op import OidcOp
from tests.identity.peers.saml_idp import Person, SamlIdp


@pytest.fixture
def run(app: Any) -> Any:
    """Run a job by name, as the scheduler does."""

    def go(name: str) -> dict[str, Any]:
        with app.app_context():
            return runner.execute(name)

    return go


@pytest.fixture
def travel(app: Any) -> Any:
    """Move the clock to *days* and *seconds* from now."""

    def go(days: float = 0, seconds: float = 0) -> None:
        offset = dt.timedelta(days=days, seconds=seconds).total_seconds()
        app.extensions["redis"].set("test:clock", offset)
        clock.set_offset(offset)

    return go


@pytest.fixture(scope="session")
def saml_idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamlIdp]:
    """A SAML identity provider of this worker."""
    idp = SamlIdp(tmp_path_factory.mktemp("saml-idp"))
    yield idp
    idp.close()


@pytest.fixture
def idp(saml_idp: SamlIdp) -> SamlIdp:
    """The provider with nobody at its keyboard."""
    saml_idp.person = Person()
    saml_idp.requests.clear()
    return saml_idp


@pytest.fixture
def company(make: Any, client: Any) -> Company:
    """An ACTIVE organisation with a verified domain and an owner."""
    return Company(make, client)


@pytest.fixture(scope="session")
def oidc_op(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcOp]:
    """An OpenID provider of this worker."""
    op = OidcOp(tmp_path_factory.mktemp("oidc-op"))
    yield op
    op.close()


@pytest.fixture
def op(oidc_op: OidcOp) -> OidcOp:
    """The provider with nobody at its keyboard and nothing out of order."""
    oidc_op.fresh()
    oidc.forget_keys()
    return oidc_op
