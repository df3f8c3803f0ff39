"""Jobs of the marketplace (chapter 2, 2.12): offers to who waits, sessions that ended, trials, bonuses."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy.orm import Session

from app.models import OutboxMessage
from app.services import events, referrals, sessions, trials, waitlist


def waitlist_offers(session: Session) -> dict[str, Any]:
    """End offers of seats that nobody took within two hours, and offer what is free to the next."""
    return dict(waitlist.sweep(session))


def complete_appointments(session: Session) -> dict[str, Any]:
    """Mark sessions, events and trials that took place as done."""
    return dict(sessions.complete(session))


def expire_trials(session: Session) -> dict[str, Any]:
    """End granted trials that were not paid in time; the kept time is free again."""
    return dict(trials.expire(session))


def reward_referrals(session: Session) -> dict[str, Any]:
    """Give both their credit where somebody who was brought has paid for a first booking."""
    return dict(referrals.reward(session))


def event_called_off(session: Session, message: OutboxMessage) -> None:
    """Refund everybody who had a seat at an event that was called off."""
    data = message.payload
    events.give_seats_back(session, uuid.UUID(data["event_id"]), data.get("reason", ""))


TOPICS = {"event_called_off": event_called_off}
JOBS = [
    ("waitlist_offers", 60, waitlist_offers),
    ("expire_trials", 60, expire_trials),
    ("reward_referrals", 60, reward_referrals),
    ("complete_appointments", 3600, complete_appointments),
]
