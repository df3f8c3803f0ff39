"""The command line as an operator uses it: real processes on a database of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from sqlalchemy import create_engine, make_url, text

from app.models import AuditLog


@pytest.fixture
def run(repo, web_url, owner_url, redis_url):
    def call(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "app.py", *arguments],
            cwd=repo,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={
                **os.environ,
                "APP_ENV": "development",
                "DATABASE_URL": web_url,
                "DATABASE_OWNER_URL": owner_url,
                "REDIS_URL": redis_url,
                **environment,
            },
        )

    return call


def test_help_names_every_command(run):
    done = run("--help")
    for name in (
        "up",
        "web",
        "worker",
        "cron",
        "migrate",
        "seed-demo",
        "roles",
        "ledger",
        "audit",
        "backup",
        "restore",
        "outbox",
    ):
        assert f"\n  {name} " in done.stdout


def test_ledger_verify_agrees_and_differs(run, make, owner_engine, app):
    org = make.org()
    make.fund(org, 10_000)
    before = run("ledger", "verify")
    assert "Checked" in before.stdout
    with owner_engine.begin() as c:
        c.execute(
            text("update billing_account set wallet_balance_paise = 9999 where organization_id = :o"),
            {"o": org.id},
        )
    after = run("ledger", "verify")
    assert after.returncode == 1 and "WALLET_BALANCE_DRIFT: expected 10000, found 9999" in after.stdout
    with owner_engine.begin() as c:
        c.execute(
            text(
                "update billing_account set wallet_balance_paise = 10000, wallet_frozen_at = null "
                "where organization_id = :o"
            ),
            {"o": org.id},
        )


def test_audit_verify_agrees_and_differs(run, make, owner_engine, app):
    from app.jobs import runner

    org = make.org()
    for n in range(2):
        make.add(
            AuditLog(
                organization_id=org.id, category="MEMBER", action="X", description=str(n), actor_type="SYSTEM"
            )
        )
    waiting = run("audit", "verify", "--organization", org.slug)
    assert waiting.returncode == 0 and "0 sealed entries; 2 wait" in waiting.stdout
    with app.app_context():
        runner.execute("seal_audit_log", trigger="manual")
    assert f"{org.slug}: 2 entries, intact." in run("audit", "verify").stdout

    def tamper(text_now):
        with owner_engine.begin() as c:
            c.execute(text("ALTER TABLE org_audit_log DISABLE TRIGGER USER"))
            c.execute(
                text("update org_audit_log set description = :d where organization_id = :o and seq = 2"),
                {"d": text_now, "o": org.id},
            )
            c.execute(text("ALTER TABLE org_audit_log ENABLE TRIGGER USER"))

    tamper("y")
    broken = run("audit", "verify", "--organization", org.slug)
    assert broken.returncode == 1 and f"{org.slug}: BROKEN at number 2." in broken.stdout
    tamper("1")
    assert run("audit", "verify", "--organization", org.slug).returncode == 0
    unknown = run("audit", "verify", "--organization", "no-such")
    assert unknown.returncode == 1 and "Traceback" not in unknown.stderr


def test_roles_sync_and_check(run):
    assert run("roles", "sync").returncode == 0
    assert run("roles", "sync", "--check").stdout.strip() == "Roles match the matrix."


def test_outbox_drain(run, make, app):
    assert "failed" in run("outbox", "drain").stdout


def test_a_missing_setting_is_one_sentence(run):
    done = run("roles", "sync", DATABASE_URL="mysql://nowhere/x")
    assert done.returncode == 1 and "DATABASE_URL" in done.stderr and "Traceback" not in done.stderr


def test_backup_restores_into_an_empty_database_only(run, make, owner_url, tmp_path):
    member = make.member(make.org())
    make.add(
        AuditLog(
            organization_id=member.organization_id,
            category="MEMBER",
            action="X",
            description="x",
            actor_type="SYSTEM",
        )
    )
    file = tmp_path / "consilium.dump"
    assert run("backup", str(tmp_path / "no" / "such" / "folder.dump")).returncode == 1
    assert run("backup", str(file)).returncode == 0, "backup"
    kept = make.rows("select status, summary from job_run where name = 'backup' order by id")
    assert [r.status for r in kept] == ["FAILED", "SUCCEEDED"]
    assert kept[1].summary == {"bytes": file.stat().st_size}
    assert file.stat().st_mode & 0o077 == 0
    assert run("restore", str(file)).returncode == 1  # the database is not empty
    url = make_url(owner_url)
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    name = f"{url.database}_restored"
    with server.connect() as c:
        c.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
    try:
        target = url.set(database=name).render_as_string(hide_password=False)
        early = run("restore", str(file), DATABASE_OWNER_URL=target)
        assert early.returncode == 1 and "python app.py provision" in early.stderr
        made = run(
            "provision", DATABASE_URL=target, DATABASE_OWNER_URL="", DATA_DIR=str(tmp_path / "secrets")
        )
        assert made.returncode == 0, made.stderr
        cut = tmp_path / "cut.dump"
        cut.write_bytes(file.read_bytes()[:-40_000])
        broken = run("restore", str(cut), DATABASE_OWNER_URL=target)
        assert broken.returncode == 1 and "Traceback" not in broken.stderr
        done = run("restore", str(file), DATABASE_OWNER_URL=target)
        assert done.returncode == 0, done.stderr
        with create_engine(target).connect() as c:
            assert (
                c.execute(text("select count(*) from membership where id = :i"), {"i": member.id}).scalar()
                == 1
            )
            assert c.execute(
                text("select relforcerowsecurity from pg_class where relname = 'membership'")
            ).scalar()
    finally:
        with server.connect() as c:
            c.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()
