"""``ledger verify``: what it prints and how it exits."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from app.cli import cli
from app.security import context


@pytest.fixture
def verify(app, monkeypatch):
    """The command, on the application of the tests."""
    monkeypatch.setattr("app.create_app", lambda: app)

    def run():
        before = context.ctx()
        try:
            return CliRunner().invoke(cli, ["ledger", "verify"])
        finally:
            context._current.set(before)

    return run


@pytest.mark.scenario("M-10")
def test_differences_are_printed_and_end_with_an_error(make, verify, owner_engine):
    org = make.org()
    make.fund(org, 30_000)

    def skew(paise):
        with owner_engine.begin() as c:
            c.execute(
                text(
                    "update billing_account set wallet_balance_paise = wallet_balance_paise + :p, "
                    "wallet_frozen_at = null where organization_id = :o"
                ),
                {"p": paise, "o": org.id},
            )

    account = make.one("select public_id from billing_account where organization_id = :o", o=org.id)
    line = f"WALLET_BALANCE_DRIFT: expected 30000, found 30001 (delta 1) {account}"
    assert line not in verify().output
    skew(1)
    found = verify()
    assert found.exit_code == 1 and line in found.output and "Checked " in found.output
    frozen = make.one(
        "select wallet_frozen_at is not null from billing_account where organization_id = :o", o=org.id
    )
    assert frozen
    skew(-1)
    assert line not in verify().output
    reports = make.one("select count(*) from ledger_reconciliation_report")
    assert reports >= 3
