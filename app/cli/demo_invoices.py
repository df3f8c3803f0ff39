"""The demo's invoices: every state of one, for northwind (on account) and globex (licence), posted through the services."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, select

from app import clock
from app.cli.demo_books import Books
from app.errors import DomainError
from app.models import Currency, FxRate, Invoice, PurchaseOrder
from app.security.context import acting
from app.services import (
    credit_notes,
    dunning,
    invoice_drafts,
    invoice_facts,
    invoice_receipts,
    invoice_rollup,
    invoice_void,
    invoices,
    tax_tables,
)

ADDRESSES = {
    "northwind": (
        "Northwind Logistics Private Limited",
        "4th floor, Harbour House",
        "Dr Ambedkar Road",
        "Mumbai",
        "400001",
    ),
    "globex": ("Globex Health Private Limited", "12 Barakhamba Road", "", "New Delhi", "110001"),
    "acme": (
        "Acme Manufacturing Limited",
        "Plot 7, Peenya Industrial Area",
        "Phase II",
        "Bengaluru",
        "560058",
    ),
}
# (organisation, days ago, days to pay, lines of (text, quantity, rupees for one), what becomes of it)
WRITTEN: tuple[tuple[str, int, int, tuple[tuple[str, int, int], ...], str], ...] = (
    (
        "northwind",
        75,
        30,
        (("Leadership workshop, Mumbai", 2, 85_000), ("Facilitator's travel", 1, 12_500)),
        "PAID",
    ),
    ("northwind", 58, 30, (("Coaching circle for depot managers", 6, 18_000),), "OVERDUE"),
    ("northwind", 40, 45, (("Negotiation clinic, half a day", 1, 64_000),), "VOID"),
    ("northwind", 12, 45, (("Leadership workshop, Pune", 1, 85_000), ("Workbooks", 24, 450)), "ISSUED"),
    ("northwind", 2, 45, (("Route planning masterclass", 3, 42_000),), "DRAFT"),
    ("globex", 100, 30, (("Clinical communication training", 4, 55_000),), "PAID"),
    ("globex", 20, 60, (("Train the trainer, two days", 1, 1_40_000),), "CREDITED"),
)


def seed(books: Books) -> None:
    """Make what is missing."""
    _rates(books)
    by = invoice_facts.supplier(books.settings)
    for slug, (name, first, second, city, pin) in ADDRESSES.items():
        with books.as_member(slug, f"billing@{slug}.test"):
            if invoice_facts.profile_of(books.session) is None:
                invoice_facts.save_profile(
                    books.session,
                    {
                        "legal_name": name,
                        "address_line1": first,
                        "address_line2": second,
                        "city": city,
                        "pin_code": pin,
                    },
                )
                books.done(f"{slug} has an invoice address")
    for slug in ("northwind", "globex"):
        with books.as_member(slug, f"billing@{slug}.test"):
            some = books.session.scalar(select(func.count(Invoice.id)).where(Invoice.kind == "MANUAL"))
        for n, (whose, ago, terms, lines, fate) in enumerate(WRITTEN):
            if whose == slug and not some:
                _write(books, slug, n, ago, terms, lines, fate, by)
    _roll_up(books, by)


def _rates(books: Books) -> None:
    """The day's exchange rates, so that an invoice abroad can be written."""
    admin = books.person("admin@consilium.test").id
    with acting(books.session, user_id=admin, platform_role="ADMIN", org_id=None, role=None):
        if books.session.scalar(select(FxRate.id).limit(1)) is None:
            for currency, micros in (
                (Currency.USD, 84_500_000),
                (Currency.EUR, 91_200_000),
                (Currency.GBP, 107_350_000),
            ):
                tax_tables.add_fx(
                    books.session,
                    {"currency": currency.value, "rate_micros": micros, "source": "Demonstration"},
                    "Rates of the demonstration",
                )
            books.done("exchange rates of the day")


@contextmanager
def _days_ago(days: int) -> Iterator[None]:
    """What happens inside happened *days* ago."""
    before = clock.offset_seconds()
    clock.set_offset(before - days * 86_400)
    try:
        yield
    finally:
        clock.set_offset(before)


def _write(
    books: Books,
    slug: str,
    n: int,
    ago: int,
    terms: int,
    lines: tuple[tuple[str, int, int], ...],
    fate: str,
    by: invoice_facts.Supplier,
) -> None:
    session = books.session
    with _days_ago(ago), books.as_member(slug, f"billing@{slug}.test"):
        order = session.scalar(
            select(PurchaseOrder.public_id)
            .where(PurchaseOrder.currency == Currency.INR, PurchaseOrder.status == "ACTIVE")
            .order_by(PurchaseOrder.id)
            .limit(1)
        )
        row = invoice_drafts.create(
            session,
            {
                "items": [
                    {"description": text, "quantity": many, "unit_paise": rupees * 100}
                    for text, many, rupees in lines
                ],
                "due_date": clock.today_ist() + dt.timedelta(days=terms),
                "purchase_order_id": str(order) if order else None,
                "issue_immediately": fate != "DRAFT",
            },
            by,
        )
        if fate == "VOID":
            invoice_void.void(
                session, row, "The cost centre was missing; billed again with the workshop in Pune"
            )
        key = row.id
        session.commit()
    _as_admin(books, slug, lambda: _fate(books, key, n, ago, fate))
    books.done(f"{slug}: an invoice that is {fate.lower()}")


def _fate(books: Books, key: int, n: int, ago: int, fate: str) -> None:
    session = books.session
    row = invoices.fresh(session, key)
    if fate == "PAID":
        with _days_ago(ago - 20):
            invoice_receipts.record_bank(
                session, row, row.due_paise, f"HDFCN520{n:02d}{row.sequence:06d}", clock.today_ist(), "NEFT"
            )
    elif fate == "CREDITED":
        with _days_ago(ago - 5):
            credit_notes.create(
                session,
                row,
                [{"line": 1, "amount_paise": 4_000_000}],
                "One trainer instead of two on the second day",
            )
    elif fate == "OVERDUE":
        with acting(session, user_id=None, platform_role=None):  # as the job does: the system is the actor
            dunning._overdue(session, invoices.fresh(session, key, lock=True))
            for _ in range(2):
                locked = invoices.fresh(session, key, lock=True)
                with _days_ago(7 * (1 - locked.reminders_sent)):
                    dunning._remind(session, locked, False)


def _as_admin(books: Books, slug: str, work: Any) -> None:
    """Act as the platform's ADMIN inside the organisation: money is entered by the platform."""
    organization, admin = books.find_org(slug), books.person("admin@consilium.test").id
    assert organization is not None
    with acting(
        books.session,
        org_id=organization.id,
        user_id=admin,
        platform_role="ADMIN",
        role=None,
        membership_id=None,
    ):
        work()
        books.session.commit()


def _roll_up(books: Books, by: invoice_facts.Supplier) -> None:
    """What northwind's people booked on account so far, once."""
    with books.as_member("northwind", "billing@northwind.test"):
        if books.session.scalar(select(Invoice.id).where(Invoice.kind == "ROLL_UP").limit(1)) is not None:
            return
        try:
            invoice_rollup.roll_up(books.session, by)
        except DomainError as error:
            if error.code not in ("NOTHING_TO_BILL", "FUNDING_SOURCE_MISMATCH"):
                raise
            books.session.rollback()
            return
        books.done("northwind's bookings are rolled up")
