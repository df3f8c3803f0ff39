"""The audit log's chain: sealed in batches, proof against what even the owner of the database changes (chapter 3, 3.4)."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.jobs import runner
from app.models import AuditLog


@pytest.fixture
def logged(make):
    """An organisation with an owner and three entries."""
    org = make.org()
    owner = make.member(org)
    for n in range(3):
        make.add(
            AuditLog(
                organization_id=org.id,
                category="SETTINGS",
                action="SETTINGS_CHANGED",
                description=f"Änderung “{n}” ₹",
                details={"before": {"name": None}, "after": {"name": "ø", "n": n}},
                actor_type="MEMBER",
                actor_user_id=owner.user_id,
                ip="10.1.2.3",
            )
        )
    return org, owner


def seal(app):
    with app.app_context():
        return runner.execute("seal_audit_log", trigger="manual")["sealed"]


def verdict(client, make, who, org):
    answer = client.get(f"/api/organizations/{org.slug}/audit/verify", headers=make.bearer(who))
    assert answer.status_code == 200, answer.json
    return answer.json


def tamper(owner_engine, statement, **values):
    """Change the log as somebody with the database in their hands would: past its triggers."""
    with owner_engine.begin() as c:
        c.execute(text("ALTER TABLE org_audit_log DISABLE TRIGGER USER"))
        c.execute(text(statement), values)
        c.execute(text("ALTER TABLE org_audit_log ENABLE TRIGGER USER"))


def test_entries_are_sealed_in_order_and_intact(app, client, make, logged):
    org, owner = logged
    before = verdict(client, make, owner, org)
    assert before == {"intact": True, "checked": 0, "first_bad_seq": None, "unsealed": 3}
    assert seal(app) >= 3 and seal(app) == 0
    assert verdict(client, make, owner, org) == {
        "intact": True,
        "checked": 3,
        "first_bad_seq": None,
        "unsealed": 0,
    }
    rows = make.rows("select * from org_audit_log where organization_id = :o order by id", o=org.id)
    assert [r.seq for r in rows] == [1, 2, 3]
    assert rows[0].prev_hash == "0" * 64 and rows[1].prev_hash == rows[0].row_hash


def test_anybody_can_compute_the_hash_again(app, make, logged):
    org, _ = logged
    seal(app)
    row = make.rows(
        "select *, audit_canonical(l) as canonical, extract(epoch from created_at) as at from org_audit_log l "
        "where organization_id = :o and seq = 2",
        o=org.id,
    )[0]
    kept = json.loads(row.canonical)
    assert kept[0] == 2 and kept[4] == row.action and kept[6] == row.details and kept[13] == "10.1.2.3"
    assert row.row_hash == hashlib.sha256((row.prev_hash + row.canonical).encode()).hexdigest()


@pytest.mark.parametrize(
    ("statement", "bad"),
    [
        ("update org_audit_log set description = 'y' where organization_id = :o and seq = 2", 2),
        ("update org_audit_log set actor_user_id = null where organization_id = :o and seq = 3", 3),
        ("delete from org_audit_log where organization_id = :o and seq = 2", 3),
        ("delete from org_audit_log where organization_id = :o and seq = 3", 3),
        ("delete from org_audit_log where organization_id = :o", 1),
        ("update org_audit_log set seq = seq + 10 where organization_id = :o and seq > 1", 12),
        (
            "update org_audit_log l set description = 'y', row_hash = audit_hash(l.prev_hash, l) "
            "where organization_id = :o and seq = 1",
            1,
        ),
    ],
)
def test_what_was_changed_or_removed_is_found(app, client, make, owner_engine, logged, statement, bad):
    org, owner = logged
    seal(app)
    tamper(owner_engine, statement, o=org.id)
    assert verdict(client, make, owner, org)["first_bad_seq"] == bad
    with app.app_context():
        assert runner.execute("verify_audit_chain", trigger="manual")["broken"] >= 1
    assert (
        make.one(
            "select count(*) from system_event where category = 'audit' and severity = 'ERROR' "
            "and organization_id = :o",
            o=org.id,
        )
        == 1
    )
    tamper(owner_engine, "delete from org_audit_log where organization_id = :o", o=org.id)
    with owner_engine.begin() as c:
        c.execute(text("delete from audit_chain where organization_id = :o"), {"o": org.id})


def test_a_seal_is_given_once_and_takes_nothing_with_it(app, make, owner_engine, web_engine, logged):
    org, _ = logged
    for engine, match in ((web_engine, "permission denied"), (owner_engine, "append-only")):
        for change in ("description = 'y', seq = 9, prev_hash = '', row_hash = ''", "description = 'y'"):
            with pytest.raises(DBAPIError, match=match), engine.begin() as c:
                c.execute(text("select set_config('app.org_id', :o, true)"), {"o": str(org.id)})
                c.execute(
                    text(f"update org_audit_log set {change} where organization_id = :o"), {"o": org.id}
                )
    seal(app)
    with pytest.raises(DBAPIError, match="append-only"), owner_engine.begin() as c:
        c.execute(text("update org_audit_log set seq = seq + 100 where organization_id = :o"), {"o": org.id})
    with pytest.raises(DBAPIError, match="permission denied"), web_engine.begin() as c:
        c.execute(text("update audit_chain set seq = 0"))


def test_two_workers_at_once_give_no_number_twice(app, make, logged, web_engine):
    org, _ = logged
    for _ in range(40):
        make.add(
            AuditLog(
                organization_id=org.id, category="MEMBER", action="X", description="x", actor_type="SYSTEM"
            )
        )
    ready, failed = threading.Barrier(4), []

    def work():
        try:
            with web_engine.connect() as c:
                ready.wait()
                for _ in range(3):
                    c.execute(text("select audit_seal(10, now())"))
                    c.commit()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert failed == []
    seal(app)
    seqs = make.rows("select seq from org_audit_log where organization_id = :o order by id", o=org.id)
    assert sorted(r.seq for r in seqs) == list(range(1, 44))


def test_who_may_check(app, client, make, logged):
    org, _ = logged
    seal(app)
    for role, status in (("MAINTAINER", 200), ("MANAGER", 403), ("BILLING_ADMIN", 403), ("SUPPORT", 403)):
        answer = client.get(
            f"/api/organizations/{org.slug}/audit/verify", headers=make.bearer(make.member(org, role))
        )
        assert answer.status_code == status, role
    outsider = make.member(make.org())
    answer = client.get(f"/api/organizations/{org.slug}/audit/verify", headers=make.bearer(outsider))
    assert answer.status_code == 403 and answer.json["code"] == "NOT_A_MEMBER"


def test_the_page_says_it_in_words(app, make, logged):
    org, owner = logged
    seal(app)
    browser = make.sign_in(app.test_client(), owner)
    base = f"/dashboard/organization/{org.slug}/audit"
    assert "Check the chain" in browser.get(f"{base}/").text
    assert browser.form(f"{base}/verify/").status_code == 302
    assert "3 sealed entries, all as they were written." in browser.get(f"{base}/").text
