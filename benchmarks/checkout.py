"""POST /api/checkout against pgbench running the same statements: bin/bench checkout [--seconds 15] [--rounds 3].

Two shapes: every learner in an organisation of their own (many wallets), all in one (one hot wallet). Eight keep-alive
clients each; runs alternate so that both sides meet the same weather. Prints ratios, not verdicts.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import socket
import statistics
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import ground as g
from benchmarks.checkout_seed import PAIRS, plan_id, seed, token
from benchmarks.checkout_statements import inserted, rows_each, script

CLIENTS = 8
PER_CLIENT = PAIRS // CLIENTS
HOURS = 22  # bookable hours a day; the windows end at 23:59
DAYS_PER_RUN = 12
SHAPES = ("many", "hot")


@dataclass
class Tally:
    """One client's answers: milliseconds of the good ones, and the codes of the others."""

    times: list[float]
    refused: dict[str, int]


def pgbench() -> str:
    """Path of pgbench. Exits with a sentence where there is none."""
    found = shutil.which("pgbench")
    if not found and shutil.which("pg_config"):
        bindir = subprocess.run(
            ["pg_config", "--bindir"], capture_output=True, text=True, check=True
        ).stdout.strip()
        found = shutil.which("pgbench", path=bindir)
    if not found:
        raise SystemExit(
            "pgbench is missing: it comes with PostgreSQL's contrib tools (Debian: postgresql-contrib)."
        )
    return found


def moment(base: dt.datetime, run: int, n: int) -> dt.datetime:
    """The n-th free hour of run *run*; runs never share a day."""
    days, hour = divmod(n, HOURS)
    return base + dt.timedelta(days=run * DAYS_PER_RUN + days, hours=hour)


def drive(
    port: int, shape: str, run: int, client: int, base: dt.datetime, until: float, tally: Tally
) -> None:
    """One keep-alive client with raw sockets: it must cost less than what it measures."""
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    n = 0
    while time.perf_counter() < until:
        pair = client * PER_CLIENT + n % PER_CLIENT
        org = pair if shape == "many" else PAIRS
        body = json.dumps(
            {
                "plan_id": plan_id(pair),
                "starts_at": moment(base, run, n // PER_CLIENT).isoformat(),
                "organization_id": f"bench-{org}",
            }
        ).encode()
        head = (
            f"POST /api/checkout HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token(shape, pair)}\r\n"
            f"Idempotency-Key: {uuid.uuid4().hex}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        started = time.perf_counter()
        stream.sendall(head + body)
        status, answer = read(stream)
        if status == 201:
            tally.times.append((time.perf_counter() - started) * 1000)
        else:
            code = json.loads(answer or b"{}").get("code", str(status))
            tally.refused[code] = tally.refused.get(code, 0) + 1
        n += 1
    stream.close()


def read(stream: socket.socket) -> tuple[int, bytes]:
    """Status and body of one answer with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = stream.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += stream.recv(65536)
    return int(head.split(b" ", 2)[1]), body


def http(port: int, shape: str, run: int, base: dt.datetime, seconds: float) -> dict[str, Any]:
    """Bookings per second over HTTP, and the latency of the good answers."""
    tallies = [Tally([], {}) for _ in range(CLIENTS)]
    started = time.perf_counter()
    threads = [
        threading.Thread(target=drive, args=(port, shape, run, c, base, started + seconds, tallies[c]))
        for c in range(CLIENTS)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    elapsed = time.perf_counter() - started
    times = sorted(t for tally in tallies for t in tally.times)
    refused: dict[str, int] = {}
    for tally in tallies:
        for code, count in tally.refused.items():
            refused[code] = refused.get(code, 0) + count
    return {
        "per_second": len(times) / elapsed,
        "p50_ms": times[len(times) // 2],
        "p95_ms": times[len(times) * 95 // 100],
        "p99_ms": times[len(times) * 99 // 100],
        "bookings": len(times),
        "refused": refused,
    }


def database(base: g.Ground, path: str, seconds: int) -> dict[str, Any]:
    """The same statements by pgbench, prepared, with as many clients."""
    url = g.make_url(base.web_url)
    command = [
        pgbench(),
        "-n",
        "-M",
        "prepared",
        "-c",
        str(CLIENTS),
        "-j",
        "2",
        "-T",
        str(seconds),
        "-r",
        "-D",
        "n=0",
        "-f",
        path,
        "-h",
        str(url.host or url.query.get("host", "127.0.0.1")),  # the embedded server's socket folder
        "-p",
        str(url.port or url.query.get("port", 5432)),
        "-U",
        str(url.username),
        str(url.database),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**base.environment(), "PGPASSWORD": url.password or ""},
    )
    if done.returncode or "tps = " not in done.stdout:
        raise SystemExit(f"pgbench failed:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    tps = float(done.stdout.split("tps = ")[1].split()[0])
    failed = "ABORTED" in done.stderr or "aborted" in done.stderr
    if failed:
        raise SystemExit(f"A pgbench client was refused:\n{done.stderr[-1500:]}")
    steps = [
        float(line.split()[0])
        for line in done.stdout.split("statement latencies")[1].splitlines()[1:]
        if line.strip()
    ]
    bookings = int(done.stdout.split("actually processed: ")[1].split()[0])
    return {"per_second": tps, "bookings": bookings, "steps_ms": steps}


def processor(base: g.Ground) -> float:
    """Seconds of processor time of everything this benchmark runs on this machine, its own clients left out; Linux."""
    own, times, children = os.getpid(), {}, {}  # type: int, dict[int, list[float]], dict[int, list[int]]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # no process, or it ended meanwhile
        times[int(entry.name)] = [int(f) / os.sysconf("SC_CLK_TCK") for f in fields[11:15]]
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    with base.owner() as c:
        backend = c.info.backend_pid
        local = next((parent for parent, its in children.items() if backend in its), None)
    todo, seen = [*children.get(own, []), *([local] if local else [])], set()
    while todo:
        pid = todo.pop()
        if pid not in seen:
            seen.add(pid)
            todo += children.get(pid, [])
    ended = sum(times[own][2:])  # pgbench, by now
    return ended + sum(sum(times[pid]) for pid in seen if pid in times)


def spending(base: g.Ground, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What *run* found, with the processor time of one booking, server and clients of the database together."""
    before = processor(base)
    found = run()
    return {**found, "cpu_ms": (processor(base) - before) / found["bookings"] * 1000}


def live_in(base: g.Ground, scripts: dict[str, Any]) -> None:
    """Some history, analysed: plans made for empty tables would be kept and mislead both sides."""
    for n, shape in enumerate(SHAPES):
        path = base.folder / f"{shape}-history.sql"
        path.write_text(scripts[shape]((26 + n) * DAYS_PER_RUN), encoding="utf-8")
        database(base, str(path), 3)
    with base.owner(autocommit=True) as c:
        c.execute("VACUUM ANALYZE")
        c.execute("CHECKPOINT")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bin/bench checkout", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--profile", type=int, default=400, help="requests of the single-client profile; 0 for none"
    )
    options = parser.parse_args()
    pgbench()
    with g.ground("checkout") as base:
        about = g.machine(base)
        first = (dt.datetime.now(dt.UTC) + dt.timedelta(days=2)).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        print("seeding", flush=True)
        seed(base)
        scripts = {}
        for shape in SHAPES:
            scripts[shape] = script(base, shape, first, CLIENTS)
        live_in(base, scripts)
        run = 0
        found: dict[str, list[dict[str, Any]]] = {
            f"{kind}-{shape}": [] for kind in ("http", "pgbench") for shape in SHAPES
        }
        with g.web(base) as port:
            http(port, "many", 28, first, 2)  # warm: imports, pools, prepared statements
            same_rows(base, port, scripts["many"], first)
            for _ in range(options.rounds):
                for shape in SHAPES:
                    path = base.folder / f"{shape}-{run}.sql"
                    path.write_text(scripts[shape](run * DAYS_PER_RUN), encoding="utf-8")
                    found[f"pgbench-{shape}"].append(
                        spending(base, partial(database, base, str(path), options.seconds))
                    )
                    found[f"http-{shape}"].append(
                        spending(base, partial(http, port, shape, run + 1, first, options.seconds))
                    )
                    run += 2
                    print(
                        f"  {shape:5} pgbench {found[f'pgbench-{shape}'][-1]['per_second']:7.0f}/s   "
                        f"http {found[f'http-{shape}'][-1]['per_second']:6.0f}/s   "
                        f"p50 {found[f'http-{shape}'][-1]['p50_ms']:.1f} p99 {found[f'http-{shape}'][-1]['p99_ms']:.1f} ms  refused {found[f'http-{shape}'][-1]['refused']}",
                        flush=True,
                    )
        profile = None
        if options.profile:
            from benchmarks.checkout_profile import profile as measure

            profile = measure(base, options.profile, first + dt.timedelta(days=340))
        with base.owner() as c:
            drift = c.execute(
                "SELECT count(*) FROM billing_account b JOIN ledger_account a ON a.code = 'WALLET|org:' || b.organization_id "
                "|| '|INR' JOIN ledger_balance l ON l.account_id = a.id WHERE -l.balance_paise <> b.wallet_balance_paise"
            ).fetchone()
    report(found, about, profile, drift[0] if drift else None)


def same_rows(base: g.Ground, port: int, make: Callable[[int], str], first: dt.datetime) -> None:
    """Both sides do the same work, or there is nothing to compare: as many rows a booking in every table. Exits if not."""
    path = base.folder / "rows.sql"
    path.write_text(make(30 * DAYS_PER_RUN), encoding="utf-8")
    counted = [inserted(base)]
    database(base, str(path), 1)
    counted.append(inserted(base))
    http(port, "many", 29, first, 1)
    counted.append(inserted(base))
    ours, theirs = rows_each(counted[1], counted[2]), rows_each(counted[0], counted[1])
    if ours != theirs:
        raise SystemExit(
            f"pgbench does other work than the application: {theirs} against {ours} rows a booking."
        )


def report(
    found: dict[str, list[dict[str, Any]]], about: dict[str, Any], profile: Any, drift: int | None
) -> None:
    """Medians, ratios, and where the time goes."""
    rate = {name: statistics.median(r["per_second"] for r in runs) for name, runs in found.items()}
    cpu = {name: statistics.median(r["cpu_ms"] for r in runs) for name, runs in found.items()}
    result = {
        "machine": about,
        "load_after": round(os.getloadavg()[0], 2),
        "clients": CLIENTS,
        "median_per_second": {k: round(v, 1) for k, v in rate.items()},
        "http_of_pgbench_many": round(rate["http-many"] / rate["pgbench-many"], 3),
        "http_of_pgbench_hot": round(rate["http-hot"] / rate["pgbench-hot"], 3),
        "cpu_ms_a_booking": {k: round(v, 2) for k, v in cpu.items()},
        "cpu_pgbench_of_http_many": round(cpu["pgbench-many"] / cpu["http-many"], 3),
        "hot_of_many_http": round(rate["http-hot"] / rate["http-many"], 3),
        "hot_of_many_pgbench": round(rate["pgbench-hot"] / rate["pgbench-many"], 3),
        "pgbench_steps_ms": {shape: found[f"pgbench-{shape}"][-1]["steps_ms"] for shape in SHAPES},
        "profile_us": profile,
        "wallets_that_drifted": drift,
        "runs": found,
    }
    print(f"\nhttp/pgbench many wallets  {result['http_of_pgbench_many']}")
    print(f"http/pgbench hot wallet    {result['http_of_pgbench_hot']}")
    print(
        f"hot/many over http         {result['hot_of_many_http']}   (pgbench {result['hot_of_many_pgbench']})"
    )
    print(
        f"processor, ms a booking    {result['cpu_ms_a_booking']}   pgbench's of http's, many: {result['cpu_pgbench_of_http_many']}"
    )
    if profile:
        print("single client, microseconds per request:")
        for name, value in profile.items():
            print(f"  {name:34} {value:7.0f}")
    print(f"wallets that drifted: {drift}\nwritten to {g.write('checkout', result).relative_to(g.REPO)}")


if __name__ == "__main__":
    main()
