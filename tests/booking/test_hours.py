"""Hours through daylight-saving changes and dates that differ: pure functions, and the expert's editor (2.3)."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import clock
from app.services.slots import Override, Window, bookable, instant, open_spans

from .conftest import slot
from .test_events import expert

UTC = dt.UTC
BERLIN = "Europe/Berlin"


def utc(*parts):
    return dt.datetime(*parts, tzinfo=UTC)


def test_clock_hours_stay_when_clocks_change():
    window = [Window(day, dt.time(9), dt.time(17), BERLIN) for day in range(7)]
    spans = open_spans(window, utc(2027, 3, 27), utc(2027, 3, 30))
    assert [(a.hour, b.hour) for a, b in spans] == [(8, 16), (7, 15), (7, 15)]


def test_skipped_and_repeated_hours():
    spring, autumn, zone = dt.date(2027, 3, 28), dt.date(2027, 10, 31), ZoneInfo(BERLIN)
    assert instant(spring, dt.time(2, 30), zone) == utc(2027, 3, 28, 1)  # skipped: the moment clocks jump
    assert instant(autumn, dt.time(2, 30), zone) == utc(2027, 10, 31, 0, 30)  # twice: the first
    window = [Window(6, dt.time(2), dt.time(3), BERLIN)]
    assert open_spans(window, utc(2027, 3, 28), utc(2027, 3, 29)) == []


@given(
    st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca"]
    ),
    st.dates(dt.date(2026, 1, 1), dt.date(2030, 12, 31)),
    st.times().map(lambda t: t.replace(second=0, microsecond=0)),
)
def test_an_instant_shows_the_time_it_was_made_from_or_lies_after_a_gap(name, day, at):
    zone = ZoneInfo(name)
    shown = instant(day, at, zone).astimezone(zone).replace(tzinfo=None)
    wanted = dt.datetime.combine(day, at)
    assert shown == wanted or (shown > wanted and shown - wanted <= dt.timedelta(hours=1))


def test_a_date_that_differs_replaces_the_week():
    window = [Window(day, dt.time(9), dt.time(17), "UTC") for day in range(7)]
    day = dt.date(2027, 1, 6)
    closed = [Override(day, None, None, "UTC")]
    evening = [Override(day, dt.time(19), dt.time(21), "UTC"), Override(day, dt.time(7), dt.time(8), "UTC")]
    now = utc(2027, 1, 1)
    assert not bookable(window, utc(2027, 1, 6, 10), 60, now, closed)
    assert not bookable(window, utc(2027, 1, 6, 10), 60, now, evening)
    assert bookable(window, utc(2027, 1, 6, 19), 60, now, evening)
    assert bookable(window, utc(2027, 1, 7, 10), 60, now, closed)


def test_hours_over_rest_rule_what_can_be_booked(world):
    owner = expert(world)
    headers = world.auth(owner)
    at = slot(6)

    def put(path, body):
        return world.client.put(path, json=body, headers=headers)

    for bad in (
        {"zone": "Mars/Phobos", "windows": []},
        {"zone": "UTC", "windows": [{"weekday": 0, "starts": "10:00", "ends": "09:00"}]},
        {"zone": "UTC", "windows": [{"weekday": 7, "starts": "09:00", "ends": "10:00"}]},
        {
            "zone": "UTC",
            "windows": [
                {"weekday": 1, "starts": s, "ends": e} for s, e in (("09:00", "11:00"), ("10:00", "12:00"))
            ],
        },
    ):
        assert put("/api/availability", bad).status_code == 400, bad
    closed = put("/api/availability/dates", {"zone": "UTC", "first": at.date().isoformat()})
    assert closed.status_code == 200 and closed.json["dates"][0]["starts"] is None
    refused = world.book(world.learner(), at)
    assert refused.json["code"] == "SLOT_UNAVAILABLE" and world.written()["payment"] == 0
    slots = world.client.get(
        f"/api/plans/{world.plan.public_id}/slots",
        query_string={"from": at.date().isoformat(), "to": (at.date() + dt.timedelta(days=1)).isoformat()},
        headers=headers,
    ).json["slots"]
    assert slots == []
    assert world.client.delete(f"/api/availability/dates/{at.date()}", headers=headers).status_code == 204
    assert world.client.delete(f"/api/availability/dates/{at.date()}", headers=headers).status_code == 404
    assert world.book(world.learner(), at).status_code == 201
    nobody = world.client.get("/api/availability", headers=world.auth(world.make.user()))
    assert nobody.status_code == 404
    far = put(
        "/api/availability/dates",
        {"zone": "UTC", "first": (clock.now() + dt.timedelta(days=900)).date().isoformat()},
    )
    assert far.status_code == 400


@pytest.mark.parametrize("order", ["newest", "price"])
def test_the_catalogue_pages_without_gaps_in_constant_queries(world, order):
    from sqlalchemy import event as hooks

    word = f"Pagingword{world.org.id}{order}"
    profile = world.make.expert()
    wanted = {str(world.make.plan(profile, 100_000 + n % 3, title=f"{word} {n}").public_id) for n in range(7)}
    seen, cursor, counts = [], None, []
    headers = world.auth(world.make.user())
    engine = world.make.web
    statements = []
    hooks.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    while True:
        statements.clear()
        args = {"q": word, "limit": 3, "order": order, **({"cursor": cursor} if cursor else {})}
        body = world.client.get("/api/plans", query_string=args, headers=headers).json
        counts.append(len(statements))
        seen += [p["id"] for p in body["result"]]
        cursor = body["next_cursor"]
        if not cursor:
            break
    assert len(seen) == 7 and set(seen) == wanted and len(set(counts)) == 1
