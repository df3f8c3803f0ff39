"""Numbers of documents: consecutive, without gaps, by Indian financial year (chapter 2, 2.9; chapter 4, "Numbers").

A number is taken inside the transaction that inserts its document, from a locked counter row: whoever rolls back leaves no
gap, and twenty concurrent issues wait for one another. Drafts have none.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.models import DocumentCounter, Organization
from app.security.context import ctx
from app.services.gst import fiscal_year

INVOICE, CREDIT_NOTE, RECEIPT, RECEIPT_VOUCHER, REFUND_VOUCHER = "INV", "CN", "RC", "RV", "RF"
LONGEST = 16


@dataclass(frozen=True)
class Number:
    """A document's number with what it was made of, and its day in India."""

    text: str
    fiscal_year: int
    sequence: int
    day: dt.date


def compose(prefix: str, series: str, year: int, sequence: int) -> str:
    """``ACME-2026-0042``, ``ACME-CN-26-0042``; a long prefix with a five-digit number drops a hyphen to stay within 16.

    Raises ValueError beyond that: 99,999 documents of a series a year.
    """
    text_ = (
        f"{prefix}-{year}-{sequence:04d}"
        if series == INVOICE
        else f"{prefix}-{series}-{year % 100:02d}-{sequence:04d}"
    )
    if len(text_) > LONGEST:
        text_ = text_.replace(f"-{series}-", f"-{series}", 1) if series != INVOICE else text_
    if len(text_) > LONGEST:
        raise ValueError("the series is full")
    return text_


def prefix(session: Session) -> str:
    """The organisation's prefix, made from its short name and kept when it has none. Unique on the platform."""
    known = session.get(Organization, ctx().org_id)  # a document's parties were read before
    if known is not None and known.invoice_number_prefix:
        return known.invoice_number_prefix
    row = session.scalars(
        select(Organization)
        .where(Organization.id == ctx().org_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if row.invoice_number_prefix:
        return row.invoice_number_prefix
    stem = re.sub(r"[^A-Z0-9]", "", row.slug.upper()).lstrip("0") or "ORG"
    for candidate in _candidates(stem, row.id):
        try:
            with session.begin_nested():
                row.invoice_number_prefix = candidate
                session.flush()
            return candidate
        except IntegrityError:
            session.refresh(row, with_for_update=True)
    raise RuntimeError("no prefix is free")


def _candidates(stem: str, key: int) -> list[str]:
    """Four letters of the name, then shorter ones with a number from the row's key in base 36."""
    digits, n = "", key
    while n:
        n, rest = divmod(n, 36)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest] + digits
    base = stem[:4] if len(stem) >= 2 else (stem + "X")[:2]
    tail = digits[-4:].rjust(2, "0")
    return [
        base,
        stem[:5] if len(stem) > 4 else base + "1",
        (stem[:1] + tail)[:5],
        "X" + digits[-4:].rjust(4, "0"),
    ]


def take(session: Session, series: str, now: dt.datetime | None = None) -> Number:
    """The next number of *series* for the organisation acted for; its counter stays locked until the commit."""
    moment = now or clock.now()
    year, head = fiscal_year(moment), prefix(session)
    sequence = session.execute(
        insert(DocumentCounter)
        .values(organization_id=ctx().org_id, series=series, fiscal_year=year, last_number=1)
        .on_conflict_do_update(
            index_elements=["organization_id", "series", "fiscal_year"],
            set_={"last_number": DocumentCounter.last_number + 1},
        )
        .returning(text("last_number"))
    ).scalar_one()
    return Number(compose(head, series, year, sequence), year, sequence, moment.astimezone(clock.IST).date())
