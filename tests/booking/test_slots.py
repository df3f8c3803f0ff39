"""Bookable times: windows in the expert's zone, daylight saving, claims, the REST answer."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import clock
from app.services.slots import Window, bookable, open_spans, slots

from .conftest import slot

NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)


def utc(*a):
    return dt.datetime(*a, tzinfo=dt.UTC)


def test_windows_are_local_and_follow_daylight_saving():
    """09:00 in New York is 14:00 UTC in winter and 13:00 UTC in summer."""
    monday = [Window(0, dt.time(9), dt.time(11), "America/New_York")]
    winter = slots(monday, [], utc(2026, 11, 23), utc(2026, 11, 24), 60, NOW)
    assert winter[0][0] == utc(2026, 11, 23, 14) and len(winter) == 2
    summer = slots(monday, [], utc(2027, 7, 5), utc(2027, 7, 6), 60, NOW)
    assert summer[0][0] == utc(2027, 7, 5, 13)


def test_evening_window_reaches_the_viewers_next_day():
    friday = [Window(4, dt.time(22), dt.time(23, 30), "America/Los_Angeles")]
    assert slots(friday, [], utc(2026, 11, 28), utc(2026, 11, 29), 30, NOW)[0][0] == utc(2026, 11, 28, 6)


def test_touching_windows_join():
    day = [Window(0, dt.time(9), dt.time(10), "UTC"), Window(0, dt.time(10), dt.time(12), "UTC")]
    assert open_spans(day, utc(2026, 11, 23), utc(2026, 11, 24)) == [
        (utc(2026, 11, 23, 9), utc(2026, 11, 23, 12))
    ]
    assert bookable(day, utc(2026, 11, 23, 9, 30), 60, NOW)


def test_claims_take_the_sessions_they_touch_and_keep_the_grid():
    day = [Window(0, dt.time(9), dt.time(13), "UTC")]
    busy = [(utc(2026, 11, 23, 10, 15), utc(2026, 11, 23, 10, 45))]
    starts = [a.hour for a, _ in slots(day, busy, utc(2026, 11, 23), utc(2026, 11, 24), 60, NOW)]
    assert starts == [9, 11, 12]


@pytest.mark.parametrize(
    ("start", "ok"),
    [
        (utc(2026, 11, 23, 9), True),
        (utc(2026, 11, 23, 11), True),
        (utc(2026, 11, 23, 11, 1), False),
        (utc(2026, 11, 23, 8, 59), False),
        (utc(2026, 11, 24, 9), False),
        (utc(2026, 11, 23, 9, 0, 1), False),
        (utc(2026, 11, 16, 9), False),
        (utc(2028, 11, 20, 9), False),
    ],
)
def test_bookable_inside_the_window_only(start, ok):
    assert bookable([Window(0, dt.time(9), dt.time(12), "UTC")], start, 60, NOW) is ok


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 22), st.integers(1, 23)), max_size=6),
    st.lists(st.tuples(st.integers(0, 13 * 24 * 4), st.integers(1, 12)), max_size=8),
    st.sampled_from([15, 30, 45, 60, 90]),
)
def test_offered_slots_are_bookable_free_and_apart(raw, claims, minutes):
    windows = [Window(d, dt.time(a), dt.time(b), "Asia/Kolkata") for d, a, b in raw if a < b]
    start, end = utc(2026, 11, 22), utc(2026, 12, 6)
    busy = [
        (start + dt.timedelta(minutes=15 * at), start + dt.timedelta(minutes=15 * (at + n)))
        for at, n in claims
    ]
    found = slots(windows, busy, start, end, minutes, NOW)
    for a, b in found:
        assert bookable(windows, a, minutes, NOW) and not any(x < b and y > a for x, y in busy)
    assert all(x[1] <= y[0] for x, y in itertools.pairwise(found))


def test_rest_lists_local_times_and_drops_booked_ones(world):
    learner = world.learner()
    at = slot()
    url = f"/api/plans/{world.plan.public_id}/slots?from={at.date()}&to={at.date() + dt.timedelta(days=1)}&tz=UTC"

    def starts(who):
        return {s["starts_at"]: s for s in world.client.get(url, headers=world.auth(who)).json["slots"]}

    key = at.isoformat().replace("+00:00", "Z")
    assert key in starts(learner)
    assert world.book(learner, at).status_code == 201
    assert key not in starts(learner)
    other = world.make.plan(world.make.expert(), 100_000)
    url = url.replace(str(world.plan.public_id), str(other.public_id))
    assert starts(learner)[key]["clash"] is True and starts(world.learner())[key]["clash"] is False


@pytest.mark.parametrize(
    "query",
    [
        "tz=Mars",
        "from=zzz",
        "from=2026-01-01&to=2026-03-01",
        "from=2026-02-01&to=2026-01-01",
        "from=9999-12-31",
    ],
)
def test_rest_refuses_odd_periods(world, query):
    r = world.client.get(
        f"/api/plans/{world.plan.public_id}/slots?{query}", headers=world.auth(world.make.user())
    )
    assert r.status_code == 400 and r.json["code"] == "VALIDATION_FAILED"


def test_rest_search_pages_and_filters(world):
    expert = world.make.expert(world.make.user(name="Quirin Unusualname"))
    plans = [world.make.plan(expert, 100_000 + n) for n in range(3)]
    auth = world.auth(world.make.user())
    first = world.client.get("/api/plans?q=Quirin%20Unusual&limit=2", headers=auth).json
    rest = world.client.get(
        f"/api/plans?q=Quirin%20Unusual&limit=2&cursor={first['next_cursor']}", headers=auth
    ).json
    ids = [p["id"] for p in first["result"] + rest["result"]]
    assert ids == [str(p.public_id) for p in reversed(plans)] and rest["next_cursor"] is None
    assert (
        len(
            world.client.get("/api/plans?q=Quirin%20Unusual&max_price_paise=100000", headers=auth).json[
                "result"
            ]
        )
        == 1
    )
    assert (
        world.client.get(f"/api/plans/{plans[0].public_id}", headers=auth).json["expert"]["name"]
        == "Quirin Unusualname"
    )
    for bad in ("cursor=zz", "limit=101", "max_price_paise=-1", "max_minutes=1"):
        assert world.client.get(f"/api/plans?{bad}", headers=auth).status_code == 400
    assert world.client.get("/api/plans/zzz", headers=auth).status_code == 404
    assert world.client.get("/api/plans").status_code == 401


def test_clock_moves_the_past(world):
    at = slot()
    clock.set_offset((at - clock.now()).total_seconds() + 1)
    try:
        from app.services import slots as module

        assert not module.bookable(
            [Window(d, dt.time(0), dt.time(23, 59), "UTC") for d in range(7)], at, 60, clock.now()
        )
    finally:
        clock.set_offset(0)
