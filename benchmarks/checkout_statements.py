"""The application's own checkout statements as a pgbench script: same SQL, computed keys, values of a real booking.

``sample`` also sees which parts of WRITE that booking took, and ``rows_each`` lets the benchmark prove that a run of the script leaves as many
rows in every table as bookings over HTTP do.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from app.services import checkout
from app.services import checkout_sql as sql
from app.services.booking_record import Order, Supplier
from benchmarks.checkout_seed import BASE, EXPERTS, HOT, PAIRS, plan_id
from benchmarks.ground import Ground

PLACEHOLDER = re.compile(r"%\((\w+)\)s")


def literal(value: str) -> str:
    """An SQL string without a colon, which pgbench would read as a variable."""
    text = value.replace("\\", "\\\\").replace("'", "''").replace(":", "\\x3a")
    return f"E'{text}'"


def sample(base: Ground, first: dt.datetime) -> dict[str, Any]:
    """The parameters of one real booking (pair 0), as the application computes them."""
    import dataclasses

    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    from app.security import context
    from config import normalise_database_url

    class Stop(Exception):
        """The values are known: nothing is written."""

    seen: dict[str, Any] = {}

    def catch(raw: Any, values: dict[str, Any], row: dict[str, Any]) -> Any:
        seen.update(values, write=checkout.parts(values, row))
        raise Stop

    written, checkout.write = checkout.write, catch
    engine = create_engine(normalise_database_url(base.web_url))
    before = context.ctx()
    context._current.set(dataclasses.replace(context.NOBODY, user_id=BASE, org_id=BASE))
    try:
        with Session(engine) as session, contextlib.suppress(Stop):
            order = Order(uuid.UUID(plan_id(0)), first, BASE, "k", {})
            supplier = Supplier(
                "Consilium Experts Private Limited", "14 Residency Road, Bengaluru", "29AAZCE4321Q1ZO"
            )
            checkout.book(session, order, supplier, "sandbox")
    finally:
        checkout.write = written
        context._current.set(before)
        engine.dispose()
    assert seen["assignment"] is not None and seen["limit"] is None and not seen["host_share"]
    return {**seen, "ip": "127.0.0.1", "correlation": "bench"}


def script(base: Ground, shape: str, first: dt.datetime, clients: int) -> Callable[[int], str]:
    """A function from the first day's offset to the script of one run."""
    values = sample(base, first)
    beyond, first_time = values.pop("write")
    payment = str(values["payment"])
    per = PAIRS // clients
    learner = BASE if shape == "many" else BASE + HOT
    starts = f"('{first.date().isoformat()}'::date + %(day)s + (:n / {per}) / 22 + make_interval(hours => (:n / {per}) % 22)) AT TIME ZONE 'UTC'"
    unique = f"md5('{shape}-%(day)s-' || :client_id || '-' || :n)::uuid"
    org = f"({BASE} + :i)" if shape == "many" else str(BASE + PAIRS)
    user = f"({learner} + :i)"

    def expression(day: int) -> dict[str, str]:
        at, payment_id = starts.replace("%(day)s", str(day)), unique.replace("%(day)s", str(day))
        out = {name: as_sql(value) for name, value in values.items()}
        out |= {
            "user": user,
            "membership": user,
            "assignment": user,
            "org": org,
            "account": org,
            "program": org,
            "shared_pool": "NULL",
            "plan_id": f"({BASE} + :i)",
            "plan": f"('00000000-0000-7000-8000-' || lpad(({BASE} + :i)::text, 12, '0'))",
            "expert": f"({EXPERTS} + :i)",
            "expert_user": f"({EXPERTS} + :i)",
            "payment": payment_id,
            "provider_payment": f"('w-' || {payment_id}::text)",
            "posting_key": f"(E'booking\\x3a' || {payment_id}::text)",
            "claims": f"jsonb_build_array(jsonb_build_object('u', {EXPERTS} + :i, 'role', 'EXPERT', 'starts', {at}, "
            f"'ends', ({at}) + interval '1 hour'), jsonb_build_object('u', {user}, 'role', 'LEARNER', 'starts', {at}, "
            f"'ends', ({at}) + interval '1 hour'))",
            "captured": "now()",
            "appointment": f"md5('a-{shape}-{day}-' || :client_id || '-' || :n)",
            "receipt": f"left(md5('r-{shape}-{day}-' || :client_id || '-' || :n), 16)",
            "key": f"('{shape}-{day}-' || :client_id || '-' || :n)",
            "starts": f"({at})",
            "ends": f"(({at}) + interval '1 hour')",
            "now": "now()",
            "today": "current_date",
            "hold_until": f"(({at}) + interval '25 hours')",
            "codes": f"ARRAY['WALLET|org\\x3a'::text || {org}".replace(
                "'WALLET|org\\x3a'", "E'WALLET|org\\x3a'"
            )
            + " || '|INR', 'PLATFORM_FEE|platform|INR', E'CONSULTANT_PAYABLE|consultant\\x3a' || "
            + f"({EXPERTS} + :i) || '|INR', 'GST_PAYABLE|platform|INR']",
            "mails": f"replace({literal(json.dumps(values['mails'].obj))}, '{payment}', {payment_id}::text)",
        }
        return out

    def make(day: int) -> str:
        known = expression(day)

        def fill(statement: str) -> str:
            text = re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", statement)).strip()
            return (
                PLACEHOLDER.sub(lambda m: known[m[1]], text)
                .replace("%%", "%")
                .replace("'booking:'", "E'booking\\x3a'")
                + ";"
            )

        return "\n".join(
            [
                f"\\set i :client_id * {per} + :n % {per}",
                "BEGIN;",
                fill(
                    "SELECT set_config('app.user_id', %(user)s::text, true), set_config('app.scope', 'org', true)"
                ),
                fill(sql.ENTER),
                fill(sql.READ),
                fill(sql.SWEEP),
                fill(sql.write(beyond=beyond, first=first_time)),
                fill(sql.POST),
                "COMMIT;",
                "\\set n :n + 1",
                "",
            ]
        )

    return make


def as_sql(value: Any) -> str:
    """A Python parameter as an SQL expression."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Jsonb):
        return literal(json.dumps(value.obj))
    if isinstance(value, list):
        return "ARRAY[" + ", ".join(as_sql(v) for v in value) + "]"
    if isinstance(value, int):
        return str(int(value))
    return literal(str(value))


# Written by either side besides a booking's own rows: sessions are touched once a minute, profiles made once a person.
_NOT_OF_A_BOOKING = frozenset({"user_session", "consultee_profile", "ledger_account", "ledger_balance"})


def inserted(base: Ground) -> Counter[str]:
    """Rows in every table that a booking writes to."""
    with base.owner() as c:
        tables = [r[0] for r in c.execute("SELECT relname FROM pg_stat_user_tables ORDER BY 1").fetchall()]
        return Counter(
            {
                t: c.execute(SQL("SELECT count(*) FROM {}").format(Identifier(t))).fetchone()[0]  # type: ignore[index]
                for t in tables
                if t not in _NOT_OF_A_BOOKING
            }
        )


def rows_each(before: Counter[str], after: Counter[str]) -> dict[str, float]:
    """Rows a booking, by table; a booking has one appointment."""
    bookings = after["appointment"] - before["appointment"]
    grown = {t: after[t] - before[t] for t in after if after[t] != before[t]}
    return {t: n / bookings for t, n in sorted(grown.items())}
