"""SCIM at 100,000 people against 1,000, against scim2-server, and under an initial cycle: bin/bench scim.

bin/bench scim [--people 100000] [--requests 30] [--peer 1000] [--seconds 60] [--rate 25]

1. The same lists, filters and pages of two organisations in one database, in turn, over the real application.
2. The same requests to scim2-server (PyPI; it keeps its people in memory), in the same process, in turn.
3. gunicorn under an open-loop client: a look and a POST in turn, at --rate requests a second, as a first cycle does.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import statistics
import threading
import time
from typing import Any
from urllib.parse import quote

from benchmarks import ground as g

SMALL, BIG, PERSON = 1_000_001, 1_000_002, 1_000_000
FEW = 1_000
USER = "urn:ietf:params:scim:schemas:core:2.0:User"


def requests_of(domain: str, people: int) -> dict[str, str]:
    """What directories ask: by name, where in the list, how."""

    def by(text: str) -> str:
        return f"/Users?filter={quote(text)}"

    return {
        "list, first 100": "/Users?count=100",
        "page in the middle": f"/Users?startIndex={people // 2 // 100 * 100 + 1}&count=100",
        "last page": f"/Users?startIndex={people - 99}&count=100",
        "userName eq": by(f'userName eq "m777@{domain}"'),
        "userName eq, nobody": by(f'userName eq "none@{domain}"'),
        "externalId eq": by('externalId eq "ext-777"'),
        "displayName eq": by('displayName eq "rare person"'),
        "emails.value eq": by(f'emails.value eq "m777@{domain}"'),
        "emails[type].value eq": by(f'emails[type eq "work"].value eq "m777@{domain}"'),
        "userName eq and active": by(f'userName eq "m777@{domain}" and active eq true'),
        "groups, without members": "/Groups?excludedAttributes=members",
    }


def seed(base: g.Ground, many: int) -> None:
    """Two organisations with a token each: FEW and *many* people, one in two in a group, 20 groups."""
    with base.owner(autocommit=True) as c:
        first = PERSON
        for org, slug, count in ((SMALL, "small", FEW), (BIG, "big", many)):
            c.execute(
                "INSERT INTO organization (id, name, slug, status, gst_state_code, can_sponsor) OVERRIDING SYSTEM VALUE"
                " VALUES (%s, %s, %s, 'ACTIVE', '29', true)",
                [org, slug.title(), slug],
            )
            c.execute(
                "INSERT INTO domain_claim (organization_id, domain, verification_token, claimed_at, verified_at)"
                " VALUES (%s, %s, 't', now(), now())",
                [org, f"{slug}.test"],
            )
            c.execute(
                "INSERT INTO scim_token (organization_id, label, token_hash, token_prefix, status, duplicate_policy,"
                " rate_limit_per_minute, expires_at, last_used_at)"
                " VALUES (%s, 'Bench', %s, 'scim_', 'ACTIVE', 'UPSERT', 3000, now() + interval '1 day', now())",
                [org, hashlib.sha256(f"scim_{slug}".encode()).hexdigest()],
            )
            c.execute(
                "INSERT INTO ab_user (id, first_name, last_name, username, email, password, active, onboarding_completed,"
                " session_generation) SELECT %s + n, CASE WHEN n = 77 THEN 'Rare' ELSE 'Given' || n %% 500 END,"
                " CASE WHEN n = 77 THEN 'Person' ELSE 'Family' || n %% 700 END, 'm' || n || '@' || %s || '.test',"
                " 'm' || n || '@' || %s || '.test', 'x', true, true, 0 FROM generate_series(1, %s) AS n",
                [first, slug, slug, count],
            )
            c.execute("ANALYZE ab_user")  # else the checks of foreign keys are planned for an empty table
            c.execute(
                "INSERT INTO membership (organization_id, user_id, role, status, external_scim_id, department_label, joined_at)"
                " SELECT %s, %s + n, 'LEARNER', 'ACTIVE', 'ext-' || n, 'Department ' || n %% 20, now()"
                " FROM generate_series(1, %s) AS n",
                [org, first, count],
            )
            c.execute(
                "INSERT INTO scim_group (organization_id, display_name, display_key)"
                " SELECT %s, 'Group ' || n, 'group ' || n FROM generate_series(1, 20) AS n",
                [org],
            )
            c.execute("ANALYZE membership, scim_group")
            c.execute(
                "INSERT INTO scim_group_member (organization_id, group_id, membership_id)"
                " SELECT %s, g.id, m.id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM membership"
                " WHERE organization_id = %s) m JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM scim_group"
                " WHERE organization_id = %s) g ON g.n = 1 + m.n / 2 %% 20 WHERE m.n %% 2 = 0",
                [org, org, org],
            )
            c.execute("UPDATE organization SET seats_used = %s WHERE id = %s", [count, org])
            first += count
    with base.owner(autocommit=True) as c:
        c.execute("VACUUM ANALYZE")


def peer(count: int) -> Any:
    """A test client of scim2-server holding *count* people."""
    from scim2_models import ScimProvider
    from scim2_server.memory import InMemoryStorage
    from scim2_server.service import ScimService
    from scim2_server.testserver.application import BearerTokenApplication
    from scim2_server.utils import (
        load_default_resource_types,
        load_default_schemas,
        load_default_service_provider_config,
    )
    from werkzeug.test import Client

    provider = ScimProvider.from_discovery(
        load_default_schemas().values(),
        load_default_resource_types().values(),
        config=load_default_service_provider_config(),
    )
    application = BearerTokenApplication(
        InMemoryStorage(), provider, service=ScimService(provider, secret="x" * 32), bearer_tokens=["t"]
    )
    client = Client(application)
    for n in range(1, count + 1):
        body = {
            "schemas": [USER],
            "userName": f"m{n}@peer.test",
            "externalId": f"ext-{n}",
            "displayName": "Rare Person" if n == 77 else f"Given{n % 500} Family{n % 700}",
            "name": {"givenName": f"Given{n % 500}", "familyName": f"Family{n % 700}"},
            "active": True,
            "emails": [{"value": f"m{n}@peer.test", "type": "work", "primary": True}],
        }
        answer = client.post(
            "/v2/Users",
            data=json.dumps(body),
            headers={"Authorization": "Bearer t", "Content-Type": "application/scim+json"},
        )
        if answer.status_code != 201:
            raise SystemExit(f"scim2-server answered {answer.status_code}: {answer.text[:300]}")
    return client


def timed(ask: Any, path: str) -> float:
    started = time.perf_counter()
    answer = ask(path)
    taken = (time.perf_counter() - started) * 1000
    if answer.status_code != 200:
        raise SystemExit(f"{path} answered {answer.status_code}: {answer.data[:400]!r}")
    return taken


def measure(base: g.Ground, many: int, requests: int, at_peer: int) -> dict[str, Any]:
    """Median milliseconds of every request: few, many and the peer, in turn."""
    from app import create_app
    from config import load

    client = create_app(load(base.environment())).test_client()
    other = peer(at_peer)

    def ours(slug: str) -> Any:
        return lambda path: client.get(f"/scim/v2{path}", headers={"Authorization": f"Bearer scim_{slug}"})

    def theirs(path: str) -> Any:
        return other.get(f"/v2{path}", headers={"Authorization": "Bearer t"})

    sides = {
        "small": (ours("small"), requests_of("small.test", FEW)),
        "big": (ours("big"), requests_of("big.test", many)),
        "peer": (theirs, requests_of("peer.test", at_peer)),
    }
    out: dict[str, Any] = {}
    for label in sides["small"][1]:
        times: dict[str, list[float]] = {side: [] for side in sides}
        for n in range(requests + 3):
            for side, (ask, paths) in sides.items():
                taken = timed(ask, paths[label])
                if n >= 3:
                    times[side].append(taken)
        median = {side: statistics.median(values) for side, values in times.items()}
        out[label] = {
            **{f"{side}_ms": round(value, 2) for side, value in median.items()},
            "big_of_small": round(median["big"] / median["small"], 2),
            "small_of_peer": round(median["small"] / median["peer"], 2),
        }
    return out


def cycle(base: g.Ground, seconds: int, rate: int, clients: int = 12) -> dict[str, Any]:
    """A first cycle at *rate* requests a second for *seconds*: look for a person, post them; latencies from when due."""
    due = [n / rate for n in range(seconds * rate)]
    lock, position, latencies, statuses = threading.Lock(), iter(range(len(due))), [], []
    with g.web(base) as port:
        begin = time.monotonic() + 0.5

        def work() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            while True:
                with lock:
                    n = next(position, None)
                if n is None:
                    return
                time.sleep(max(0.0, begin + due[n] - time.monotonic()))
                email = f"new{n // 2}@big.test"
                headers = {"Authorization": "Bearer scim_big", "Content-Type": "application/scim+json"}
                if n % 2 == 0:
                    query = quote(f'userName eq "{email}"')
                    connection.request("GET", f"/scim/v2/Users?filter={query}", headers=headers)
                else:
                    body = {
                        "schemas": [USER],
                        "userName": email,
                        "externalId": f"new-{n}",
                        "name": {"givenName": "New", "familyName": f"Person{n}"},
                        "active": True,
                        "emails": [{"value": email, "type": "work", "primary": True}],
                    }
                    connection.request("POST", "/scim/v2/Users", json.dumps(body), headers)
                response = connection.getresponse()
                response.read()
                with lock:
                    latencies.append((time.monotonic() - begin - due[n]) * 1000)
                    statuses.append(response.status)

        threads = [threading.Thread(target=work) for _ in range(clients)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        took = time.monotonic() - begin
    ordered = sorted(latencies)
    return {
        "requests": len(ordered),
        "seconds": round(took, 1),
        "a_second": round(len(ordered) / took, 1),
        "failed": sum(s not in (200, 201) for s in statuses),
        "p50_ms": round(ordered[len(ordered) // 2], 1),
        "p95_ms": round(ordered[int(len(ordered) * 0.95)], 1),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)], 1),
        "most_ms": round(ordered[-1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bin/bench scim", description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=30)
    parser.add_argument("--peer", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=25)
    options = parser.parse_args()
    with g.ground("scim") as base:
        about = g.machine(base)
        print(f"seeding {options.people} people", flush=True)
        seed(base, options.people)
        reads = measure(base, options.people, options.requests, options.peer)
        for label, row in reads.items():
            print(
                f"{label:26} {row['small_ms']:8.2f} ms {row['big_ms']:8.2f} ms  x {row['big_of_small']:.2f}"
                f"   scim2-server {row['peer_ms']:8.2f} ms  x {row['small_of_peer']:.2f}",
                flush=True,
            )
        held = cycle(base, options.seconds, options.rate)
        print(held)
    path = g.write(
        "scim",
        {
            "machine": about,
            "people": [FEW, options.people],
            "peer": options.peer,
            "reads": reads,
            "cycle": held,
        },
    )
    print(f"written to {path.relative_to(g.REPO)}")


if __name__ == "__main__":
    main()
