"""Who is meant by a few letters: the one search of members, for pages and REST (docs/decisions/0010)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, union

from app.models import Membership
from app.security.context import current_org_id
from app.services.text import one_line

WINDOW = 200  # matches of each kind that a search looks at
_LAST = "\U0010ffff"


def matching(
    q: str, *, by_email: bool = True, departments: Sequence[str] = (), among: Sequence[Any] = ()
) -> Any:
    """Inner ids of members of the organisation acted for whose first or last name begins with *q*, or the whole name in
    either order, or (*by_email*) the address, or who are in one of *departments* (exact names, chosen by the caller);
    case aside. At most ``WINDOW`` matches of each kind, taken from those that meet the clauses of *among* (on
    ``Membership``), so that a filter never hides behind matches it excludes.
    """
    wanted = one_line(q)[:100]
    low = func.lower(wanted)
    keys = [Membership.name_key, Membership.family_key, *([Membership.email_key] if by_email else [])]
    hits: list[tuple[Any, Any]] = [((key >= low) & (key < low.concat(_LAST)), key) for key in keys]
    if departments:
        hits.append((Membership.department_label.in_(departments), Membership.department_label))
    here = Membership.organization_id == current_org_id()
    arms = [
        select(Membership.id.label("id"))
        .where(here, hit, *among)
        .order_by(key, Membership.id)
        .limit(WINDOW)
        .subquery()
        for hit, key in hits
    ]
    return select(union(*[select(arm.c.id) for arm in arms]).subquery().c.id)
