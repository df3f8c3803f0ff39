"""The demo's public directory, its one group, and northwind's purchase orders."""

from __future__ import annotations

import datetime as dt

from app import clock
from app.cli.demo_books import Books
from app.models import Currency
from app.security.context import acting
from app.services import hierarchy, organizations, purchase_orders

PUBLIC = ("learnpro", "iitm")
PARENT, CHILD = "iitm", "learnpro"
ORDERS = (
    ("NWL-PO-2291", 120_000_000, Currency.INR, 320, "Leadership programme, western region"),
    ("NWL-PO-2304", 2_500_000, Currency.USD, 21, "Experts abroad, paid in dollars"),
)  # number, total, currency, days it is valid, note


def seed(books: Books) -> None:
    """Make what is missing."""
    session = books.session
    for slug in PUBLIC:
        with books.as_member(slug, f"owner@{slug}.test"):
            if not organizations.current(session).is_public:
                organizations.update_organization(session, {"is_public": True})
                books.done(f"{slug} is listed in the public directory")
    child = books.find_org(CHILD)
    if child is not None and child.parent_id is None:
        admin = books.person("admin@consilium.test").id
        with acting(session, org_id=child.id, user_id=admin, platform_role="ADMIN"):
            hierarchy.set_parent(session, PARENT)
            books.done(f"{CHILD} belongs to the group of {PARENT}")
    with books.as_member("northwind", "billing@northwind.test"):
        if not purchase_orders.search(session):
            for number, total, currency, days, note in ORDERS:
                purchase_orders.create(
                    session,
                    {
                        "po_number": number,
                        "total_paise": total,
                        "currency": currency,
                        "valid_until": clock.today_ist() + dt.timedelta(days=days),
                        "description": note,
                    },
                )
            books.done("northwind has two purchase orders")
