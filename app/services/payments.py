"""A person's own payments with their receipts (chapter 1, 1.6)."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, joinedload

from app.models import Payment
from app.services import scopes
from app.services.scopes import OrgScope


def listed(
    session: Session, scope: OrgScope, *, limit: int = 25, after: tuple[dt.datetime, int] | None = None
) -> list[Payment]:
    """The caller's payments in a scope, latest first; *after* is (created_at, id) of the last one seen.

    What hangs on a payment without a tag of its own is limited by ``scopes.payment_ids``, as this list is.
    """
    statement = (
        select(Payment)
        .options(joinedload(Payment.appointment), joinedload(Payment.user))
        .where(Payment.id.in_(scopes.payment_ids(scope)))
        .order_by(Payment.created_at.desc(), Payment.id.desc())
    )
    if after is not None:
        statement = statement.where(tuple_(Payment.created_at, Payment.id) < after)
    return scopes.rows(session, statement.limit(limit), scope)
