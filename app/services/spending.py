"""What members spent this month of the organisation's money: the figure the checkout's limit is held against (1.3)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from app import clock
from app.models import Payment, PaymentStatus
from app.security.context import current_org_id

BY_THE_ORGANIZATION = ("WALLET", "INVOICE", "LICENSE")  # methods; the same as checkout_sql.SPENT_THIS_MONTH


def month_start(now: dt.datetime | None = None) -> dt.datetime:
    """The first moment of the Indian calendar month."""
    return (
        (now or clock.now()).astimezone(clock.IST).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    )


def counted() -> ColumnElement[bool]:
    """The payments a month's spending consists of."""
    return (
        (Payment.organization_id == current_org_id())
        & (Payment.status == PaymentStatus.SUCCEEDED)
        & Payment.method.in_(BY_THE_ORGANIZATION)
        & (Payment.captured_at >= month_start())
    )


def this_month(session: Session, user_ids: Iterable[int]) -> dict[int, int]:
    """Paise spent this month by each of *user_ids* in the organisation acted for; who spent nothing is absent."""
    ids = list(user_ids)
    if not ids:
        return {}
    rows = session.execute(
        select(Payment.user_id, func.sum(Payment.amount_paise))
        .where(counted(), Payment.user_id.in_(ids))
        .group_by(Payment.user_id)
    )
    return {user: int(paise) for user, paise in rows}
