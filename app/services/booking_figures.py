"""Figures of an organisation's bookings, as every page, export and API counts them (chapter 2, 2.2 and 2.11).

Gross: what SUCCEEDED payments captured in the period came to. Net: that, less their SUCCEEDED refunds, whenever those were
made. A booking counts unless all of it went back. A payment that waits, failed or expired counts nowhere. Amounts in paise.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.models import Payment, PaymentStatus, Refund, RefundStatus
from app.security.context import current_org_id
from app.services.spending import month_start


@dataclass(frozen=True)
class Month:
    """The current Indian month in paise, its bookings and those of the month before."""

    gross: int
    net: int
    bookings: int
    bookings_before: int


def settled(since: dt.datetime) -> ColumnElement[bool]:
    """The payments that figures from *since* on consist of."""
    return (Payment.status == PaymentStatus.SUCCEEDED) & (Payment.captured_at >= since)


def returned() -> Any:
    """What went back of a payment, for a statement over payments."""
    return (
        select(func.coalesce(func.sum(Refund.amount_paise), 0))
        .where(Refund.payment_id == Payment.id, Refund.status == RefundStatus.SUCCEEDED)
        .correlate(Payment)
        .scalar_subquery()
    )


def gross(*among: ColumnElement[bool]) -> Any:
    """Sum of the payments' amounts, an aggregate; only of those *among*."""
    total = func.sum(Payment.amount_paise)
    return func.coalesce(total.filter(*among) if among else total, 0)


def net(*among: ColumnElement[bool]) -> Any:
    """As ``gross``, each payment less what went back of it and never below nothing."""
    total = func.sum(func.greatest(0, Payment.amount_paise - returned()))
    return func.coalesce(total.filter(*among) if among else total, 0)


def kept() -> ColumnElement[bool]:
    """Whether a payment was not wholly refunded; one of nothing (a licence's) stands."""
    stands: ColumnElement[bool] = (Payment.amount_paise == 0) | (returned() < Payment.amount_paise)
    return stands


def month(session: Session) -> Month:
    """The current month of the organisation acted for, and how many bookings the one before had. One statement."""
    start = month_start()
    before = month_start(start - dt.timedelta(days=1))
    this = Payment.captured_at >= start
    row = session.execute(
        select(
            gross(this),
            net(this),
            func.count().filter(this, kept()),
            func.count().filter(~this, kept()),
        ).where(Payment.organization_id == current_org_id(), settled(before))
    ).one()
    return Month(*(int(n) for n in row))
