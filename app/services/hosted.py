"""Sessions an organisation's experts deliver to people who do not book through it (chapter 2, 2.3: the host).

The rows belong to whoever pays; the host reads them through one function that tells the time, the plan, the expert and
the learner's first name, and nothing of the payer.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from app import clock
from app.security.context import current_org_id


@dataclass(frozen=True)
class Hosted:
    """One session; *id* only leads to the next page."""

    id: int
    starts_at: dt.datetime
    ends_at: dt.datetime
    plan: str
    expert: str
    learner: str


_LIST = text(
    "SELECT id, starts_at, ends_at, plan, expert, learner FROM hosted_sessions(:org, :past, :now, :at, :id, :limit)"
)


def listed(
    session: Session, *, past: bool, limit: int, after: tuple[dt.datetime, int] | None = None
) -> list[Hosted]:
    """Sessions hosted by the organisation acted for: upcoming soonest first, or past latest first.

    *after* is (starts_at, id) of the last one seen.
    """
    at, key = after or (None, None)
    values = {
        "org": current_org_id(),
        "past": past,
        "now": clock.now(),
        "at": at,
        "id": key,
        "limit": limit,
    }
    return [Hosted(*row) for row in session.execute(_LIST, values)]
