"""Crossing 80 % and 100 % of a place or a shared pool: told once a cycle (chapter 2, "Metering"; chapter 3, notices)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.models import OrgRole
from app.security.context import acting, ctx
from app.services import metering, outbox, terms_notices
from app.services.booking_record import Funding
from app.services.text import money

WARN_BPS = 8_000

# Of a shared pool one place carries the stamp; its program's row is locked by the booking.
_STAMP = """
UPDATE assignment a SET {column} = :now WHERE a.id = :assignment AND a.{column} IS NULL
   AND NOT (:shared AND EXISTS (SELECT FROM assignment o WHERE o.program_id = a.program_id AND o.status = 'ACTIVE'
            AND o.{column} IS NOT NULL AND :today BETWEEN o.period_start AND o.period_end)) RETURNING a.id"""
_WARNED, _EXHAUSTED = text(_STAMP.format(column="warned_at")), text(_STAMP.format(column="exhausted_at"))


def after_booking(
    session: Session, row: Mapping[str, Any], funding: Funding, now: dt.datetime, today: dt.date
) -> None:
    """Tell the member, owners and maintainers when this booking crossed a threshold; costs nothing when it did not.

    *row* is what the checkout read before the booking.
    """
    if row["assignment_id"] is None:
        return
    terms, usage = metering.of_row(row)
    whole = terms.budget if terms.budget is not None else terms.cap
    if not whole:
        return
    used = (
        usage.consumed + funding.covered
        if terms.budget is not None
        else usage.engagements + funding.engagements
    )
    over = used >= whole and row["exhausted_at"] is None
    warned = used * 10_000 >= whole * WARN_BPS and row["warned_at"] is None
    if not (over or warned):
        return
    with acting(session, org_id=row["org_id"], membership_id=row["membership_id"], role=None):
        values = {
            "now": now,
            "assignment": row["assignment_id"],
            "shared": row["pool_scope"] == "SHARED",
            "today": today,
        }
        warned = warned and session.execute(_WARNED, values).scalar() is not None
        over = over and session.execute(_EXHAUSTED, values).scalar() is not None
        if over or warned:
            _tell(session, row, used, whole, terms.budget is not None, over)


def _tell(session: Session, row: Mapping[str, Any], used: int, whole: int, pool: bool, over: bool) -> None:
    program, shared = row["program_name"], row["pool_scope"] == "SHARED"
    amount = f"{money(used)} of {money(whole)}" if pool else f"{used} of {whole} sessions"
    until = f"{row['period_end'].day} {row['period_end']:%B %Y}"
    whose = "all members together" if shared else row["learner_name"]
    title = f"“{program}” is used up" if over else f"“{program}” is {used * 100 // whole} % used"
    beyond = {
        "BLOCK": "Further bookings are refused until the next cycle.",
        "CHARGE_ORG": "Further bookings are charged to the organisation, up to its ceiling.",
        "CHARGE_MEMBER": "Further bookings are charged to the member, up to the ceiling.",
    }[row["overage_behavior"]]
    if over:
        outbox.event(
            session,
            "program.exhausted",
            program_id=str(row["program_public_id"]),
            assignment_id=str(row["assignment_public_id"]),
            period_start=row["period_start"].isoformat(),
            period_end=row["period_end"].isoformat(),
        )
    slug = row["org_slug"]
    terms_notices.tell(
        session,
        (OrgRole.OWNER, OrgRole.MAINTAINER),
        "program.usage",
        title,
        [f"{whose} used {amount} in the cycle that ends on {until}.", beyond],
        path=f"/dashboard/organization/{slug}/programs/",
        button="Open programs",
    )
    own = SimpleNamespace(id=ctx().user_id, email=row["learner_email"], first_name=row["learner_name"])
    mine = {
        "BLOCK": "Until the next cycle begins you can book with your own card, or ask for more.",
        "CHARGE_ORG": "You can go on booking; your organisation pays for what lies beyond.",
        "CHARGE_MEMBER": "You can go on booking; what lies beyond the program you pay yourself.",
    }[row["overage_behavior"]]
    terms_notices.tell_one(
        session,
        own,
        "program.usage",
        title,
        [f"{'all members used' if shared else 'you used'} {amount} in the cycle that ends on {until}.", mine],
        path=f"/dashboard/organization/{slug}/my-program",
        button="Open my program",
        routed=True,
    )
