"""The demo's verification queue: one organisation that was asked for information, one that was rejected."""

from __future__ import annotations

from typing import NamedTuple

from app.cli.demo_books import Books
from app.cli.demo_data import PASSWORD
from app.models import FundingSource
from app.security.context import acting
from app.services import gstin, lifecycle, organizations, staff_notes, users, verification

QUESTION = (
    "The GSTIN names Brindavan Foods LLP, the website names Brindavan Organics. Which of the two will pay, and can you "
    "name somebody in finance we may call?"
)
REASON = "The GSTIN on file was cancelled in March. Please enter the present one, or say that you are not registered."


class Waiting(NamedTuple):
    """An organisation of the queue."""

    slug: str
    name: str
    founder: tuple[str, str]
    pan: str
    website: str


ASKED = Waiting(
    "brindavan", "Brindavan Foods", ("owner@brindavan.test", "Revathi Shenoy"), "AAEFB4402N", "brindavan.test"
)
REJECTED = Waiting(
    "sahyadri", "Sahyadri Tours", ("owner@sahyadri.test", "Omkar Gokhale"), "AAKCS8150D", "sahyadri.test"
)


def seed(books: Books) -> None:
    """Make both where they are missing."""
    for one, then in ((ASKED, _ask), (REJECTED, _reject)):
        if books.find_org(one.slug) is None:
            then(books, _create(books, one))
            books.done(f"organisation {one.name}, in the verification queue")


def _create(books: Books, one: Waiting) -> int:
    session = books.session
    email, name = one.founder
    founder = users.find_by_email(session, email) or users.create_user(
        session, email, PASSWORD, name, email_verified=True
    )
    session.flush()
    number = f"29{one.pan}1Z"
    values = {
        "name": one.name,
        "slug": one.slug,
        "website": one.website,
        "gstin": number + gstin.check_character(number),
        "gst_reg_status": "REGULAR",
    }
    with acting(session, user_id=founder.id):
        made = organizations.create_organization(session, values, funding_source=FundingSource.INVOICE)
        return made.organization.id


def _ask(books: Books, organization_id: int) -> None:
    session = books.session
    staff, admin = books.person("staff@consilium.test"), books.person("admin@consilium.test")
    with acting(session, user_id=staff.id, platform_role="STAFF"):
        verification.ask(session, organization_id, QUESTION)
        staff_notes.add(
            session, organization_id, "Called the number on the website: a shop answers, no office."
        )
    with acting(session, user_id=admin.id, platform_role="ADMIN"):
        staff_notes.add(
            session,
            organization_id,
            "Same PAN as a firm we refused last year. Do not verify before the bank letter is here.",
            pinned=True,
        )


def _reject(books: Books, organization_id: int) -> None:
    session, admin = books.session, books.person("admin@consilium.test")
    with acting(session, user_id=admin.id, platform_role="ADMIN"):
        lifecycle.decide(session, organization_id, "REJECT", REASON)
