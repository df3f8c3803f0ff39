"""A learner's profile is made at the first booking (chapter 1, 1.1)."""

from __future__ import annotations

import datetime as dt

from .conftest import slot


def test_the_first_booking_makes_the_profile_and_the_second_keeps_it(world):
    learner = world.learner()

    def profiles():
        return world.make.rows("select id from consultee_profile where user_id = :u", u=learner.user_id)

    at = slot()
    refused = world.book(learner, dt.datetime(2001, 1, 1, tzinfo=dt.UTC))
    assert refused.status_code == 409 and profiles() == []
    assert world.book(learner, at).status_code == 201
    first = profiles()
    assert len(first) == 1
    assert world.book(learner, at + dt.timedelta(days=1)).status_code == 201
    assert profiles() == first
