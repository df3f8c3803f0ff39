"""Published cancellation terms of an organisation: immutable versions, at most six steps, the last at the start (2.8)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.models import AuditCategory, CancellationPolicy
from app.security.context import ctx
from app.services import audit
from app.services.booking_record import CANCELLATION_TIERS
from app.services.text import paragraphs

MAX_TIERS = 6
MAX_HOURS = 24 * 60  # sixty days of notice
WHOLE = 10_000  # bps
STANDARD: Sequence[dict[str, int]] = CANCELLATION_TIERS


def versions(session: Session) -> list[CancellationPolicy]:
    """Every version of the organisation acted for, latest first."""
    return list(
        session.scalars(
            select(CancellationPolicy)
            .where(CancellationPolicy.organization_id == ctx().org_id)
            .order_by(CancellationPolicy.version.desc())
            .limit(200)
        )
    )


def check(tiers: Sequence[dict[str, Any]]) -> list[dict[str, int]]:
    """*tiers* as they are stored: hours of notice falling to 0, shares (bps) never rising as notice gets shorter.

    Raises Invalid.
    """
    if not 1 <= len(tiers) <= MAX_TIERS:
        raise Invalid({"tiers": [f"Between one and {MAX_TIERS} steps."]})
    out = [{"hours": int(t["hours"]), "refund_bps": int(t["refund_bps"])} for t in tiers]
    hours, shares = [t["hours"] for t in out], [t["refund_bps"] for t in out]
    problem = ""
    if any(not 0 <= h <= MAX_HOURS for h in hours) or any(not 0 <= s <= WHOLE for s in shares):
        problem = f"Notice is between 0 and {MAX_HOURS} hours, a refund between 0 and 100 %."
    elif any(a <= b for a, b in itertools.pairwise(hours)):
        problem = "Each step asks for less notice than the one before."
    elif any(a < b for a, b in itertools.pairwise(shares)):
        problem = "Less notice never gives back more."
    elif hours[-1] != 0:
        problem = "The last step is 0 hours: what is given back until the start."
    if problem:
        raise Invalid({"tiers": [problem]})
    return out


def publish(session: Session, tiers: Sequence[dict[str, Any]], note: str = "") -> CancellationPolicy:
    """Publish the next version for the organisation acted for. Bookings made keep theirs. Raises Invalid."""
    checked = check(tiers)
    words = paragraphs(note or "")
    if len(words) > 2000:
        raise Invalid({"note": ["At most 2,000 characters."]})
    session.execute(
        text("SELECT pg_advisory_xact_lock(20263, CAST(:o % 2147483647 AS int))"), {"o": ctx().org_id}
    )
    last = session.scalar(
        select(func.max(CancellationPolicy.version)).where(CancellationPolicy.organization_id == ctx().org_id)
    )
    row = CancellationPolicy(
        version=(last or 0) + 1, tiers=checked, note=words, published_by_user_id=ctx().user_id
    )
    session.add(row)
    session.flush()
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "CANCELLATION_POLICY_PUBLISHED",
        f"Published version {row.version} of the cancellation terms.",
        target_type="cancellation_policy",
        target_id=row.public_id,
        tiers=checked,
    )
    return row


def view(row: CancellationPolicy) -> dict[str, Any]:
    """A version as the API shows it."""
    return {
        "id": str(row.public_id),
        "version": row.version,
        "tiers": row.tiers,
        "note": row.note,
        "published_at": row.created_at.isoformat(),
    }
