"""Large imports: worked through in the background, resumed after a crash, stopped, and seen in the console."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.faults import FaultInjected
from app.models import MembershipStatus
from app.security import context
from app.services import imports
from tests.factories import unique

from .test_imports import path, sent, upload

MANY = 230


@pytest.fixture
def big(client: Any, make: Any) -> Any:
    """A verified organisation whose owner confirmed a file of 230 people."""
    org = make.org()
    owner = make.member(org)
    file = "email,name\n" + "".join(f"{unique('p')}@x.com,P {n}\n" for n in range(MANY))
    key = upload(client, make, org, owner, file).json["import"]["id"]
    answer = client.post(path(org, f"/{key}/confirm"), headers=make.bearer(owner))
    assert answer.json["import"]["status"] == "QUEUED" and sent(make, org) == 0
    return org, owner, key


@pytest.fixture
def work(app: Any, web_engine: Any) -> Any:
    def run(key: str) -> None:
        with app.app_context(), Session(web_engine) as s:
            context.use(s, context.Ctx(scope="job"))
            imports.work(s, key)  # type: ignore[arg-type]

    return run


def state(make: Any, key: str) -> tuple[Any, ...]:
    return tuple(
        make.rows("SELECT status, done, sent, failed FROM import_batch WHERE public_id = :k", k=key)[0]
    )


def mails(make: Any, org: Any) -> int:
    return int(
        make.one(
            "SELECT count(*) FROM outbox_message WHERE organization_id = :o AND payload->>'template' = 'invitation'",
            o=org.id,
        )
    )


def test_a_large_file_is_worked_through_and_a_second_run_sends_nothing(
    make: Any, big: Any, work: Any
) -> None:
    org, _, key = big
    work(key)
    assert state(make, key) == ("DONE", MANY, MANY, 0) and sent(make, org) == MANY
    work(key)
    assert sent(make, org) == mails(make, org) == MANY


def test_a_crash_loses_one_chunk_and_the_next_run_goes_on(
    client: Any, make: Any, big: Any, work: Any
) -> None:
    org, _, key = big
    client.post("/api/test/fault", json={"point": "import_chunk"})
    with pytest.raises(FaultInjected):
        work(key)
    assert sent(make, org) == 0 and state(make, key)[0] == "QUEUED"
    work(key)
    assert state(make, key) == ("DONE", MANY, MANY, 0)
    assert sent(make, org) == mails(make, org) == MANY


def test_stopping_keeps_what_was_sent(client: Any, make: Any, big: Any, work: Any) -> None:
    org, owner, key = big
    assert client.post(path(org, f"/{key}/cancel"), headers=make.bearer(owner)).status_code == 200
    work(key)
    assert state(make, key)[0] == "CANCELED" and sent(make, org) == 0


def test_who_may_no_longer_invite_stops_the_rest_until_somebody_confirms_again(
    client: Any, make: Any, big: Any, work: Any
) -> None:
    org, owner, key = big
    other = make.member(org)
    with make.session() as s:
        s.get(type(owner), owner.id).status = MembershipStatus.SUSPENDED
    work(key)
    assert state(make, key)[0] == "FAILED" and sent(make, org) == 0
    shown = client.get(path(org, f"/{key}"), headers=make.bearer(other)).json
    assert shown["import"]["problem"] == "INSUFFICIENT_ROLE" and shown["counts"] == {"READY": MANY}
    assert client.post(path(org, f"/{key}/confirm"), headers=make.bearer(other)).status_code == 200
    work(key)  # still in the name of whoever confirmed last
    assert state(make, key) == ("DONE", MANY, MANY, 0) and sent(make, org) == MANY


def test_a_suspended_organisation_sends_nothing_and_goes_on_when_reactivated(
    client: Any, make: Any, big: Any, work: Any, owner_engine: Any
) -> None:
    org, owner, key = big
    for status in ("SUSPENDED", "ACTIVE"):
        with owner_engine.begin() as c:
            c.execute(text("UPDATE organization SET status = :s WHERE id = :o"), {"s": status, "o": org.id})
        if status == "SUSPENDED":
            work(key)
            assert sent(make, org) == 0 and state(make, key) == ("FAILED", 0, 0, 0)
    assert client.post(path(org, f"/{key}/confirm"), headers=make.bearer(owner)).status_code == 200
    work(key)
    assert state(make, key) == ("DONE", MANY, MANY, 0) and sent(make, org) == MANY


def test_two_workers_at_once_send_each_row_once(make: Any, big: Any, work: Any) -> None:
    org, _, key = big
    together = threading.Barrier(2)

    def run() -> None:
        together.wait(30)
        work(key)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run) for _ in range(2)]:
            done.result(120)
    assert state(make, key) == ("DONE", MANY, MANY, 0)
    assert sent(make, org) == mails(make, org) == MANY


def test_a_killed_worker_is_followed_by_one_that_goes_on(
    app: Any, make: Any, big: Any, work: Any, web_engine: Any
) -> None:
    """A process of its own, killed for good in the middle of its second chunk."""
    org, _, key = big
    script = (
        "import os, sys\n"
        "from sqlalchemy import create_engine\n"
        "from sqlalchemy.orm import Session\n"
        "from app import create_app\n"
        "from app.security import context\n"
        "from app.services import imports\n"
        "from config import load\n"
        "seen, trip = [], imports.faults.trip\n"
        "def last(point):\n"
        "    seen.append(point)\n"
        "    if len(seen) == 2: os.kill(os.getpid(), 9)\n"
        "imports.faults.trip = last\n"
        "app = create_app(load(dict(os.environ)))\n"
        "from app.extensions import db\n"
        "with app.app_context():\n"
        "    context.use(db.session(), context.Ctx(scope='job'))\n"
        "    imports.work(db.session(), sys.argv[1])\n"
    )
    url = web_engine.url.render_as_string(hide_password=False)
    settings = app.config["SETTINGS"]
    environment = {
        **os.environ,
        "APP_ENV": "development",
        "DATABASE_URL": url,
        "REDIS_URL": settings.redis_url,
        "SECRET_KEY": "x" * 40,
        "DATA_DIR": str(settings.data_dir),
    }
    done = subprocess.run(
        [sys.executable, "-c", script, key], env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert state(make, key) == ("RUNNING", imports.CHUNK, imports.CHUNK, 0)
    assert sent(make, org) == mails(make, org) == imports.CHUNK
    work(key)
    assert state(make, key) == ("DONE", MANY, MANY, 0)
    assert sent(make, org) == mails(make, org) == MANY


def test_the_page_checks_sends_and_lists_what_to_mend(app: Any, make: Any) -> None:
    org = make.org()
    client = make.sign_in(app.test_client(), make.member(org))
    base = f"/dashboard/organization/{org.slug}/invitations/import"
    assert "No imports yet" in client.get(f"{base}/").text
    assert client.get(f"{base}/template.csv").text.lstrip("\ufeff").startswith("email,name,department")
    good = f"{unique('g')}@x.com"
    up = client.form(f"{base}/", {"file": (io.BytesIO(f"{good},A\n=cmd@,<b>B</b>\n".encode()), "people.csv")})
    shown = client.get(up.location).text
    assert (
        good in shown and "Send 1 invitation<" in shown and "<b>B</b>" not in shown and sent(make, org) == 0
    )
    done = client.get(client.form(f"{up.location}/confirm").location).text
    assert "1 invitation sent. 1 of 2 rows" in done and sent(make, org) == 1
    mend = client.get(f"{up.location}/failures.csv").text
    assert mend.lstrip("\ufeff").splitlines()[0] == "email,name,department,problem" and "\n=cmd" not in mend
    assert client.get(f"{up.location}/progress").json["done"] is True
    assert "people.csv" in client.get(f"{base}/").text
    nothing = client.form(f"{base}/", {"file": (io.BytesIO(b""), "empty.csv")})
    assert "Send 1 to 10,000 rows" in client.get(nothing.location).text


def test_roles_and_other_organisations_stay_outside(app: Any, make: Any, big: Any) -> None:
    org, _, key = big
    base = f"/dashboard/organization/{org.slug}/invitations/import"
    for role in ("MANAGER", "BILLING_ADMIN", "SUPPORT", "LEARNER"):
        client = make.sign_in(app.test_client(), make.member(org, role))
        assert client.get(f"{base}/").status_code in (403, 404), role
        assert client.form(f"{base}/{key}/confirm").status_code in (403, 404), role
    other = make.org()
    stranger = make.sign_in(app.test_client(), make.member(other))
    assert stranger.get(f"/dashboard/organization/{other.slug}/invitations/import/{key}").status_code == 404
    assert stranger.get(f"{base}/{key}").status_code in (403, 404)


def test_a_large_import_takes_turns_with_other_messages(
    app: Any, make: Any, web_engine: Any, big: Any
) -> None:
    """Delivered by the outbox turn by turn, and its mails leave one after another, so that others are not kept waiting."""
    org, _, key = big
    with app.app_context(), Session(web_engine) as s:
        context.use(s, context.Ctx(scope="job"))
        assert imports.work(s, key, 2) is True
        assert state(make, key)[:3] == ("RUNNING", 2 * imports.CHUNK, 2 * imports.CHUNK)
        assert imports.work(s, key, 100) is False
    assert state(make, key)[0] == "DONE" and sent(make, org) == MANY
    spread = make.one(
        "SELECT max(m.available_at) - b.started_at FROM import_batch b JOIN outbox_message m USING (organization_id)"
        " WHERE b.public_id = :k AND m.payload->>'template' = 'invitation' GROUP BY b.started_at",
        k=key,
    )
    assert spread.total_seconds() >= (MANY - 1) / imports.MAILS_A_SECOND
