"""The nightly expiry of invitations (chapter 1, 1.4)."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import clock
from app.models import Invitation
from app.security import context
from app.services import invitation_expiry
from tests.factories import unique


def stale(make, org, days=1):
    return make.add(
        Invitation(
            organization_id=org.id,
            email=f"{unique('late')}@people.test",
            role="MANAGER",
            token_hash=hashlib.sha256(unique("token").encode()).hexdigest(),
            sent_at=clock.now() - dt.timedelta(days=15),
            expires_at=clock.now() - dt.timedelta(days=days),
        )
    )


@pytest.mark.scenario("P-25")
def test_a_racing_acceptance_wins_and_real_flips_are_counted(make, app, web_engine, monkeypatch):
    org = make.org()
    rows = [stale(make, org) for _ in range(3)]
    fresh = stale(make, org, days=-1)
    with app.app_context(), Session(web_engine) as session:
        context._current.set(context.Ctx(scope="job"))
        found = session.execute

        def accept_in_between(statement, *args, **kw):
            result = found(statement, *args, **kw)
            monkeypatch.undo()  # once: right after the job has read what is due
            with make.session() as other:
                other.execute(
                    text("update invitation set status = 'ACCEPTED' where id = :i"), {"i": rows[1].id}
                )
            return result

        monkeypatch.setattr(session, "execute", accept_in_between)
        before = make.one("select count(*) from invitation where status = 'EXPIRED'")
        summary = invitation_expiry.expire_due(session)
    assert summary["failed"] == 0
    assert make.one("select count(*) from invitation where status = 'EXPIRED'") - before == summary["expired"]
    states = {
        r.id: r.status
        for r in make.rows("select id, status from invitation where organization_id = :o", o=org.id)
    }
    assert [states[r.id] for r in rows] == ["EXPIRED", "ACCEPTED", "EXPIRED"] and states[
        fresh.id
    ] == "PENDING"
    audit = make.rows(
        "select actor_user_id, actor_type from org_audit_log where organization_id = :o and action = "
        "'INVITE_EXPIRED'",
        o=org.id,
    )
    assert [tuple(a) for a in audit] == [(None, "SYSTEM"), (None, "SYSTEM")]
