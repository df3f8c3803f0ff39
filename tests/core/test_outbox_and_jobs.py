"""Outbox, mail over SMTP, job runner, idempotency store."""

from __future__ import annotations

import dataclasses
import socket
import threading
from email import message_from_bytes

import pytest
from aiosmtpd.controller import Controller
from flask import current_app
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.jobs import outbox as delivery
from app.jobs import registry, runner
from app.models import JobRun, MailMessage, OutboxMessage, PlatformRole, SystemEvent
from app.security import context
from app.services import idempotency, mailer, outbox


class Sink:
    """An SMTP server that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: list = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


@pytest.fixture
def job_session(app, web_engine):
    with app.app_context(), Session(web_engine, expire_on_commit=False) as session:
        context._current.set(context.Ctx(scope="job"))
        yield session
        session.rollback()


def test_a_rolled_back_change_leaves_no_mail(make, job_session):
    member = make.member(make.org())
    with make.acting(member) as s:
        outbox.mail(s, "rolled@back.test", "password_changed", name="X")
        s.flush()
        s.rollback()
    assert make.one("select count(*) from outbox_message where payload->>'to' = 'rolled@back.test'") == 0


def test_mail_is_sent_over_smtp_once_and_kept(make, job_session, settings):
    sink = Sink()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Controller(sink, hostname="127.0.0.1", port=port)
    server.start()
    try:
        before = current_app.config["SETTINGS"]
        current_app.config["SETTINGS"] = dataclasses.replace(before, mail_url=f"smtp://127.0.0.1:{port}")
        outbox.mail(job_session, "smtp@sink.test", "password_changed", name="Ravi <script>")
        job_session.commit()
        delivery.deliver_outbox(job_session)
        message = job_session.scalars(
            select(OutboxMessage).where(OutboxMessage.payload["to"].astext == "smtp@sink.test")
        ).one()
        mailer.deliver(job_session, message)  # a crash after sending makes the outbox deliver again
        current_app.config["SETTINGS"] = before
    finally:
        server.stop()
    mine = [
        m for m in sink.mails if m["To"] == "smtp@sink.test"
    ]  # other tests' mail waits in the same outbox
    assert len(mine) == 1
    html = mine[0].get_payload()[1].get_payload(decode=True).decode()
    assert "<script>" not in html and message.done_at is not None
    assert (
        job_session.scalars(select(MailMessage).where(MailMessage.to_address == "smtp@sink.test"))
        .one()
        .transport
        == "smtp"
    )


def test_a_mail_server_that_is_away_delays_and_loses_nothing(make, job_session):
    before = current_app.config["SETTINGS"]
    current_app.config["SETTINGS"] = dataclasses.replace(before, mail_url="smtp://127.0.0.1:1")
    try:
        outbox.mail(job_session, "away@sink.test", "password_changed", name="X")
        job_session.commit()
        assert delivery.deliver_outbox(job_session)["failed"] >= 1
    finally:
        current_app.config["SETTINGS"] = before
    row = make.rows(
        "select attempts, done_at, available_at > now() as later from outbox_message "
        "where payload->>'to' = 'away@sink.test'"
    )[0]
    assert (row.attempts, row.done_at, row.later) == (1, None, True)


def test_two_workers_deliver_each_message_once(make, app, web_engine):
    with app.app_context(), Session(web_engine) as s:
        context._current.set(context.Ctx(scope="job"))
        for n in range(20):
            outbox.mail(s, f"many{n}@workers.test", "password_changed", name="X")
        s.commit()

    def work():
        with app.app_context(), Session(web_engine) as s:
            context._current.set(context.Ctx(scope="job"))
            delivery.deliver_outbox(s)

    threads = [threading.Thread(target=work) for _ in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert make.one("select count(*) from mail_message where to_address like 'many%@workers.test'") == 20


def test_every_job_has_a_cadence_and_a_purpose(app):
    for job in registry.jobs().values():
        assert (job.interval is None) != (job.cron is None)
        assert job.purpose and job.cadence


def test_a_manual_run_is_recorded_and_an_unknown_job_is_not_found(app, make, client):
    admin, staff = make.user(platform_role=PlatformRole.ADMIN), make.user(platform_role=PlatformRole.STAFF)
    member = make.member(make.org())
    assert client.post("/api/admin/jobs/tidy/run", headers=make.bearer(member)).status_code == 403
    assert client.post("/api/admin/jobs/tidy/run", headers=make.bearer(staff)).status_code == 403
    done = client.post("/api/admin/jobs/tidy/run", headers=make.bearer(admin))
    assert done.status_code == 200 and "sessions" in done.json["summary"]
    assert (
        make.one("select count(*) from job_run where name = 'tidy' and actor_user_id = :u", u=admin.id) == 1
    )
    assert client.post("/api/admin/jobs/nothing/run", headers=make.bearer(admin)).status_code == 404
    listed = client.get("/api/admin/jobs", headers=make.bearer(staff)).json["jobs"]
    assert {j["name"] for j in listed} == set(registry.jobs())


def test_a_held_lock_refuses_a_manual_run_and_skips_a_scheduled_one(app):
    key = f"job:{app.config['SETTINGS'].database_url.rsplit('/', 1)[-1]}:tidy"
    app.extensions["redis"].set(key, "someone")
    try:
        with app.app_context():
            assert runner.execute("tidy") == {"skipped": True}
            with pytest.raises(DomainError, match="JOB_RUNNING"):
                runner.execute("tidy", trigger="manual")
    finally:
        app.extensions["redis"].delete(key)


def test_a_crash_is_a_failed_run_and_a_system_event(app, make, client):
    def broken(session):
        """Break."""
        raise ValueError("secret detail")

    registry.jobs()["broken"] = registry.Job("broken", broken, interval=60)
    try:
        with app.app_context(), pytest.raises(ValueError, match="secret detail"):
            runner.execute("broken")
    finally:
        del registry.jobs()["broken"]
    run = make.rows("select status, error from job_run where name = 'broken'")[0]
    assert run.status == "FAILED" and "secret" not in run.error
    correlation = run.error.split()[-1]
    admin = make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    events = client.get(f"/api/admin/system-events?correlation_id={correlation}", headers=admin).json[
        "events"
    ]
    assert "Traceback" in events[0]["context"]["traceback"]
    assert (
        client.get("/api/admin/system-events", headers=make.bearer(make.member(make.org()))).status_code
        == 403
    )


def test_events_are_filtered_and_a_wrong_filter_says_so(make, client):
    admin = make.bearer(make.user(platform_role=PlatformRole.ADMIN))
    org = make.org()
    make.add(
        SystemEvent(
            organization_id=org.id,
            category="probe",
            severity="WARN",
            message="x",
            correlation_id="corr-12345",
        )
    )

    def seen(**args):
        answer = client.get("/api/admin/system-events", query_string=args, headers=admin)
        return (
            [e["category"] for e in answer.json["events"]]
            if answer.status_code == 200
            else answer.json["code"]
        )

    assert seen(organization_id=str(org.public_id)) == ["probe"]
    assert seen(category="probe", severity="WARN", correlation_id="corr-12345") == ["probe"]
    assert seen(category="probe", severity="ERROR") == []
    assert seen(category="probe", since="2100-01-01T00:00:00Z") == []
    assert seen(category="probe", since="2020-01-01") == ["probe"]
    for bad in ({"severity": "LOUD"}, {"organization_id": "7"}, {"since": "yesterday"}):
        assert seen(**bad) == "VALIDATION_FAILED"


def test_what_the_outbox_gives_up_is_an_event_with_the_request_s_correlation_id(app, make):
    row = make.add(
        OutboxMessage(
            topic="mail",
            payload={},
            available_at=clock.now(),
            attempts=delivery.MAX_ATTEMPTS - 1,
            correlation_id="from-the-request",
        )
    )
    with app.app_context():
        runner.execute("deliver_outbox", trigger="manual")
    assert make.one("select failed_at is not null from outbox_message where id = :i", i=row.id)
    events = make.rows("select * from system_event where correlation_id = 'from-the-request'")
    assert [(e.category, e.context["message"]) for e in events] == [("outbox", str(row.public_id))]
    assert events[0].message.startswith("mail given up after 8 attempts: KeyError")


def test_job_runs_are_invisible_to_members(make):
    make.add(JobRun(name="x", started_at=clock.now()))
    with make.acting(make.member(make.org())) as s:
        assert s.scalars(select(JobRun)).all() == []


def test_idempotency_store(make):
    member = make.member(make.org())
    with make.acting(member) as s:
        scope = f"user:{member.user_id}"
        assert idempotency.claim(s, scope, "k1", {"a": 1}) is None
        idempotency.store(s, scope, "k1", 201, {"id": "x"})
        s.commit()
        assert idempotency.claim(s, scope, "k1", {"a": 1}) == (201, {"id": "x"})
        with pytest.raises(DomainError, match="IDEMPOTENCY_KEY_REUSED"):
            idempotency.claim(s, scope, "k1", {"a": 2})
        for bad in (None, "", "x" * 201):
            with pytest.raises(DomainError, match="IDEMPOTENCY_KEY_REQUIRED"):
                idempotency.claim(s, scope, bad, {})


def test_another_person_never_sees_a_stored_answer(make):
    one, two = make.member(make.org()), make.member(make.org())
    with make.acting(one) as s:
        idempotency.claim(s, "user:shared", "k", {"a": 1})
        idempotency.store(s, "user:shared", "k", 201, {"secret": True})
        s.commit()
    with make.acting(two) as s, pytest.raises(DomainError, match="IDEMPOTENCY_KEY_REUSED"):
        idempotency.claim(s, "user:shared", "k", {"a": 1})
