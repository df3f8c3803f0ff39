"""bin/bench kill: kill -9 of a web worker, of the RQ worker and of PostgreSQL during a load of bookings and top-ups.

A whole installation (``app.py up``) runs in a folder of its own. Clients book and buy credits under keys; whoever gets no
answer asks again under the same key until there is one. Meanwhile one process after the other is killed; the supervisor
starts them again. Afterwards:

- every key answers once more, with what it answered before, and nothing is written;
- as many payments and top-ups exist as keys that were answered with success, none twice;
- every order the provider was paid for is credited;
- the reconciler finds nothing.

Exit status 1 with a sentence for everything that does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import hashlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import checkout_seed
from benchmarks.ground import REPO, plain

FINANCE, ADMIN = 900_001, 900_002  # inner ids of two more people
VICTIMS = ("web", "worker", "postgres")
PATIENCE = 120.0  # seconds until an installation answers again


@dataclass
class Site:
    """The installation: its process, port, and what it has printed."""

    process: subprocess.Popen[str]
    port: int
    folder: Path
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def owner(self, **kw: Any) -> psycopg.Connection[Any]:
        """A connection of the database's owner."""
        from app.cli import local_environment_file

        values = json.loads(local_environment_file(self.folder).read_text())
        return psycopg.connect(plain(values["DATABASE_OWNER_URL"]), **kw)

    def call(self, method: str, path: str, token: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        """(status, JSON) of one request; 0 where nobody answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        try:
            connection.request(method, path, json.dumps(body or {}) if method == "POST" else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()


def _start(folder: Path) -> Site:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")}
    command = [sys.executable, "app.py", "up", "--port", str(port), "--data-dir", str(folder), "--no-demo"]
    process = subprocess.Popen(
        command,
        cwd=REPO,
        env={**kept, "RATE_LIMITS": "false", "WEB_THREADS": "4"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    site = Site(process, port, folder)
    threading.Thread(target=site.read, daemon=True).start()
    _until(
        lambda: any("ready after" in line for line in site.lines), site, "the installation to start", 300.0
    )
    return site


def _until(condition: Callable[[], bool], site: Site, what: str, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end or site.process.poll() is not None:
            raise SystemExit(f"kill: waited in vain for {what}\n" + "\n".join(site.lines[-25:]))
        time.sleep(0.05)


def _people(site: Site) -> None:
    """A billing administrator of the hot organisation and an administrator of the platform."""
    hot = checkout_seed.BASE + checkout_seed.PAIRS
    with site.owner() as c:
        for user, name, role in ((FINANCE, "finance", "CONSULTEE"), (ADMIN, "admin", "ADMIN")):
            c.execute(
                "INSERT INTO ab_user (id, first_name, last_name, username, email, password, active, "
                "onboarding_completed, session_generation, platform_role) "
                "VALUES (%s, %s, 'Bench', %s, %s, 'x', true, true, 0, %s)",
                (user, name, f"{name}@kill.test", f"{name}@kill.test", role),
            )
            c.execute(
                "INSERT INTO user_session (key_hash, user_id, method, generation, created_at, last_seen_at, expires_at) "
                "VALUES (%s, %s, 'bearer', 0, now(), now(), now() + interval '1 day')",
                (hashlib.sha256(name.encode()).hexdigest(), user),
            )
        c.execute(
            "INSERT INTO membership (organization_id, user_id, role, status) VALUES (%s, %s, 'BILLING_ADMIN', 'ACTIVE')",
            (hot, FINANCE),
        )


# ---- processes -------------------------------------------------------------------------------------------------------


def _processes() -> dict[int, tuple[int, str]]:
    """pid -> (parent, command line) of everything that runs."""
    found: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(entry.name)] = (int(stat[1]), line)
    return found


def _below(root: int) -> dict[int, tuple[int, str]]:
    """Descendants of *root*: nothing outside this installation is ever a victim."""
    every, inside = _processes(), {root}
    while True:
        more = {pid for pid, (parent, _) in every.items() if parent in inside} - inside
        if not more:
            return {pid: every[pid] for pid in inside if pid in every and pid != root}
        inside |= more


def _victim(site: Site, kind: str) -> int | None:
    inside = _below(site.process.pid)
    if kind == "web":
        masters = [
            p
            for p, (parent, line) in inside.items()
            if parent == site.process.pid and ("gunicorn" in line or "app.py web" in line)
        ]
        workers = [p for p, (parent, _) in inside.items() if parent in masters]
        return max(workers, default=None)
    wanted = "app.py worker" if kind == "worker" else "bin/postgres"
    mine = [p for p, (parent, line) in inside.items() if wanted in line and parent == site.process.pid]
    return max(mine, default=None)


def kill(site: Site, kind: str) -> bool:
    """kill -9 of one process of the installation; False if there is none at the moment."""
    pid = _victim(site, kind)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


# ---- the load --------------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    """One request under its key and the answer it finally got."""

    path: str
    token: str
    body: dict[str, Any]
    key: str
    status: int = 0
    answer: Any = None
    tries: int = 0


class Load:
    """Clients that book and buy until told to stop; each keeps asking under its key until it is answered."""

    def __init__(self, site: Site) -> None:
        self.site, self.stop = site, threading.Event()
        self.asked: list[Asked] = []
        self.paid: list[str] = []
        self.days = itertools.count(2)

    def _ask(self, item: Asked) -> Asked:
        self.asked.append(item)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            item.tries += 1
            item.status, item.answer = self.site.call("POST", item.path, item.token, item.body, item.key)
            if 200 <= item.status < 500 and item.status != 429:
                return item
            time.sleep(0.05)
        return item

    def book(self, client: int) -> None:
        """Bookings of one learner of the one organisation, one after the other."""
        start = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
        for n in range(100_000):
            if self.stop.is_set():
                return
            at = start.replace(hour=n % 22) + dt.timedelta(days=3 + n // 22)
            body = {
                "plan_id": checkout_seed.plan_id(client),
                "organization_id": self.org,
                "starts_at": at.isoformat(),
            }
            self._ask(Asked("/api/checkout", checkout_seed.token("hot", client), body, uuid.uuid4().hex))

    def buy(self) -> None:
        """Top-ups, each paid at the provider."""
        path = f"/api/organizations/bench-{checkout_seed.PAIRS}/billing-account/wallet/top-ups"
        while not self.stop.is_set():
            item = self._ask(Asked(path, "finance", {"amount_paise": 50_000}, uuid.uuid4().hex))
            if item.status not in (200, 201):
                continue
            order = item.answer["order_id"]
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                status, _ = self.site.call("POST", f"/sandbox/api/orders/{order}/capture", "admin", {})
                if status in (200, 201, 409):  # 409: an earlier try, whose answer was lost, paid it
                    self.paid.append(order)
                    break
                time.sleep(0.05)

    def run(self, clients: int, seconds: float, victims: tuple[str, ...]) -> list[str]:
        """The load with its kills, evenly spread; returns what was killed."""
        with self.site.owner() as c:
            found = c.execute(
                "SELECT public_id FROM organization WHERE id = %s",
                (checkout_seed.BASE + checkout_seed.PAIRS,),
            ).fetchone()
        assert found is not None
        self.org = str(found[0])
        threads = [threading.Thread(target=self.book, args=(n,)) for n in range(clients)]
        threads += [threading.Thread(target=self.buy) for _ in range(2)]
        for thread in threads:
            thread.start()
        killed: list[str] = []
        for kind in victims:
            time.sleep(seconds / (len(victims) + 1))
            if kill(self.site, kind):
                killed.append(kind)
        time.sleep(seconds / (len(victims) + 1))
        _until(lambda: self.site.call("GET", "/readyz", "")[0] == 200, self.site, "readiness after the kills")
        self.stop.set()
        for thread in threads:
            thread.join()
        return killed


# ---- what must hold --------------------------------------------------------------------------------------------------


def _settle(site: Site) -> None:
    """Let the jobs finish what was left."""
    for _ in range(3):
        for job in ("deliver_outbox", "deliver_sandbox_webhooks", "process_gateway_events", "sweep_top_ups"):
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:  # a job whose worker was killed keeps its lock for a while
                status, _ = site.call("POST", f"/api/admin/jobs/{job}/run", "admin")
                if status == 200:
                    break
                with site.owner() as c:
                    c.execute("SELECT 1")
                _unlock(site, job)
                time.sleep(0.1)


def _unlock(site: Site, job: str) -> None:
    """Drop the lock that a killed worker left (it ends by itself after half an hour)."""
    import redis

    from app.cli import local_environment_file

    values = json.loads(local_environment_file(site.folder).read_text())
    store = redis.Redis.from_url(values["REDIS_URL"])
    for name in store.scan_iter(f"job:*:{job}"):
        store.delete(name)


def problems(site: Site, load: Load) -> list[str]:
    """Everything that does not hold, a sentence each."""
    out: list[str] = []
    unanswered = [a for a in load.asked if not 200 <= a.status < 500]
    if unanswered:
        out.append(f"{len(unanswered)} keys were never answered: {unanswered[0].status}")
    _settle(site)
    done = [a for a in load.asked if a.status in (200, 201)]
    bookings = [a for a in done if a.path == "/api/checkout"]
    top_ups = [a for a in done if a.path != "/api/checkout"]
    count = (
        "SELECT (SELECT count(*) FROM payment), (SELECT count(*) FROM wallet_top_up), "
        "(SELECT count(*) FROM ledger_transaction), (SELECT count(*) FROM appointment)"
    )
    with site.owner() as c:
        before = c.execute(count).fetchone()
    for item in done:
        status, again = site.call("POST", item.path, item.token, item.body, item.key)
        name = "id" if item.path == "/api/checkout" else "top_up_id"
        if status != 200 or again[name] != item.answer[name]:
            out.append(f"key {item.key} answered {item.status} first and {status} later")
            break
    with site.owner() as c:
        if c.execute(count).fetchone() != before:
            out.append("repeating the keys wrote something")
        payments = {str(r[0]) for r in c.execute("SELECT public_id FROM payment")}
        wanted = {a.answer["payment"]["id"] for a in bookings}
        if payments != wanted:
            out.append(f"{len(payments)} payments for {len(wanted)} answered bookings")
        bought = {str(r[0]) for r in c.execute("SELECT public_id FROM wallet_top_up")}
        if not {a.answer["top_up_id"] for a in top_ups} <= bought:
            out.append("an answered top-up does not exist")
        lost = c.execute(
            "SELECT count(*) FROM sandbox_order o WHERE o.payment_id IS NOT NULL AND NOT EXISTS (SELECT FROM wallet_top_up t "
            "WHERE t.gateway_order_id = o.order_id AND t.status = 'CONFIRMED') AND NOT EXISTS (SELECT FROM unapplied_receipt u "
            "WHERE u.provider_payment_id = o.payment_id)"
        ).fetchone()
        if lost and lost[0]:
            out.append(f"{lost[0]} paid orders were neither credited nor sent back")
        twice = c.execute(
            "SELECT count(*) FROM (SELECT 1 FROM calendar_claim GROUP BY user_id, span HAVING count(*) > 1) x"
        ).fetchone()
        if twice and twice[0]:
            out.append("a time was booked twice")
    status, report = site.call("POST", "/api/admin/reconcile", "admin")
    if status != 200 or report["findings"]:
        kinds = sorted({f["kind"] for f in report["findings"]}) if status == 200 else report
        out.append(f"the reconciler answered {status}: {kinds}")
    return out


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--kills", default="web,worker,postgres,web,postgres,worker")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="consilium-kill-") as name:
        site = _start(Path(name) / "data")
        try:
            checkout_seed.seed(site)  # type: ignore[arg-type]
            _people(site)
            load = Load(site)
            killed = load.run(options.clients, options.seconds, tuple(options.kills.split(",")))
            found = problems(site, load)
        finally:
            site.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                site.process.wait(30)
            if site.process.poll() is None:
                site.process.kill()
    again = sum(a.tries > 1 for a in load.asked)
    print(
        f"killed {', '.join(killed)}; {len(load.asked)} keys, {again} asked more than once, {len(load.paid)} orders paid"
    )
    for problem in found:
        print(f"NOT HELD: {problem}")
    if len(killed) != len(options.kills.split(",")):
        print("NOT HELD: not every process was killed")
        return 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
