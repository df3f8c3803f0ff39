"""The demo's cards: a refund, a dispute that is open and one that was lost, and postings by hand; through the services."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select

from app import clock
from app.cli.demo_books import Books
from app.cli.demo_data import PASSWORD
from app.gateways import provider
from app.models import (
    ConsultantProfile,
    Dispute,
    GatewayReport,
    ManualPosting,
    Payment,
    Plan,
    PlatformRole,
    Refund,
)
from app.security.context import acting
from app.services import (
    catalogue,
    checkout,
    disputes,
    gateway_books,
    ledger,
    manual_postings,
    refunds,
    settlement,
    users,
)
from app.services.booking_record import Order, Supplier

SECOND_ADMIN = "treasury@consilium.test"
# who pays with a card of their own, whom, which plan, days ago, and what becomes of the money
PAID: tuple[tuple[str, str, str, int, str], ...] = (
    ("learner@initech.test", "dev.patel@experts.test", "Architecture second opinion", 30, "LOST"),
    ("learner@initech.test", "asha.rao@experts.test", "Cash flow planning", 16, "REFUNDED"),
    ("learner@globex.test", "dev.patel@experts.test", "Architecture second opinion", 12, "DISPUTED"),
)
PART = 100_000  # paise: what is given back of the second one, and of a booking on acme's wallet
TO_WALLET = "Lean operations"
GOODWILL = 250_000  # paise


def seed(books: Books) -> None:
    """Make what is missing."""
    for who, expert, title, ago, fate in PAID:
        _paid(books, who, expert, title, ago, fate)
    _in_part(books)
    _by_hand(books)
    with acting(books.session, scope="job"):
        if books.session.scalar(select(func.count(GatewayReport.id))) == 0:
            gateway_books.run(books.session, books.settings)
            books.done("the books are compared with the provider's")


@contextmanager
def _days_ago(days: int) -> Iterator[None]:
    """What happens inside happened *days* ago."""
    before = clock.offset_seconds()
    clock.set_offset(before - days * 86_400)
    try:
        yield
    finally:
        clock.set_offset(before)


def _paid(books: Books, who: str, expert: str, title: str, ago: int, fate: str) -> None:
    """A session that was held, paid at the provider's page, and what came after."""
    session, key = books.session, f"demo-card-{who}-{title}"
    learner = books.person(who).id
    with _days_ago(ago), acting(session, user_id=learner, org_id=None, membership_id=None, role=None):
        if books.booked(key):
            return
        payment_id, order_id = _book(books, expert, title, key)
    with _days_ago(ago):
        provider.pay(session, order_id)
        session.commit()
        books.answered()
    with acting(session, scope="job"):
        paid = session.scalars(select(Payment).where(Payment.public_id == payment_id)).one()
        provider_id = str(paid.provider_payment_id)
    if fate == "REFUNDED":
        with _days_ago(ago - 5):
            _give_back(books, payment_id)
    elif fate == "DISPUTED":
        with _days_ago(2):
            provider.open_dispute(session, provider_id, reason="service_not_received")
            session.commit()
            books.answered()
    else:
        with _days_ago(ago - 8):
            provider.open_dispute(session, provider_id, reason="not_as_described")
            session.commit()
            books.answered()
        with _days_ago(ago - 12):
            _give_in(books, payment_id)
    books.done(f"{who} paid “{title}” by card: {fate.lower()}")


def _book(books: Books, expert: str, title: str, key: str) -> tuple[uuid.UUID, str]:
    """The hold and the provider's order of it, committed."""
    session, s = books.session, books.settings
    with acting(session, scope="platform"):
        plan_id = session.scalars(
            select(Plan.public_id)
            .join(ConsultantProfile, ConsultantProfile.id == Plan.expert_id)
            .where(ConsultantProfile.user_id == books.person(expert).id, Plan.title == title)
        ).one()
    plan = catalogue.detail(session, plan_id)
    begin = clock.now() + dt.timedelta(days=2)
    start = catalogue.offered_slots(session, plan, begin, begin + dt.timedelta(days=7))[0].starts_at
    body = {"plan_id": str(plan_id), "starts_at": start.isoformat(), "organization_id": None}
    result = checkout.book(
        session,
        Order(plan_id, start, None, key, body),
        Supplier(s.supplier_name, s.supplier_address, s.supplier_gstin),
        s.gateway,
    )
    session.commit()
    payment = settlement.order(session, uuid.UUID(result.answer["payment"]["id"]), s)
    session.commit()
    return payment.public_id, str(payment.gateway_order_id)


def _in_part(books: Books) -> None:
    """A part of what an organisation's wallet paid comes back to it."""
    session, whose = books.session, books.person("maya@consilium.test").id
    theirs = select(Payment.id).where(
        Payment.user_id == whose, Payment.method == "WALLET", Payment.description.contains(TO_WALLET)
    )
    with acting(session, scope="job"):
        if session.scalar(select(Refund.id).where(Refund.payment_id.in_(theirs)).limit(1)) is not None:
            return
        payment_id = session.scalar(
            select(Payment.public_id).where(Payment.id.in_(theirs)).order_by(Payment.id).limit(1)
        )
    if payment_id is not None:
        _give_back(books, payment_id)
        books.done("a part of a booking came back to acme's wallet")


def _give_back(books: Books, payment_id: uuid.UUID) -> None:
    """Part of a payment goes back to where it came from."""
    session, admin = books.session, books.person("admin@consilium.test").id
    with acting(session, user_id=admin, platform_role="ADMIN", org_id=None, membership_id=None, role=None):
        payment = refunds.find(session, payment_id)
        row = refunds.reserve(session, payment, PART, "The session ended twenty minutes early.")
        session.commit()
    with acting(session, scope="job"):
        refunds.send(session, row.public_id, books.settings)
    books.answered()


def _give_in(books: Books, payment_id: uuid.UUID) -> None:
    """The platform accepts a dispute: the bank takes the money back."""
    session, admin = books.session, books.person("admin@consilium.test").id
    with acting(session, scope="job"):
        dispute = session.scalars(
            select(Dispute.public_id)
            .join(Payment, Payment.id == Dispute.payment_id)
            .where(Payment.public_id == payment_id)
        ).one()
    with acting(session, user_id=admin, platform_role="ADMIN", org_id=None, membership_id=None, role=None):
        disputes.accept(session, dispute, books.settings)
        session.commit()
    books.answered()


def _by_hand(books: Books) -> None:
    """Goodwill for an organisation, its correction by two administrators, and one that still waits for the second."""
    session = books.session
    with acting(session, scope="platform"):
        if session.scalar(select(func.count(ManualPosting.id))):
            return
    if users.find_by_email(session, SECOND_ADMIN) is None:
        users.create_user(
            session,
            SECOND_ADMIN,
            PASSWORD,
            "Tara Treasury",
            platform_role=PlatformRole.ADMIN,
            email_verified=True,
        )
        session.flush()
    first, second = books.person("admin@consilium.test").id, books.person(SECOND_ADMIN).id
    organization = books.find_org("iitm")
    assert organization is not None
    org_id = organization.id
    admin = {"platform_role": "ADMIN", "org_id": None, "membership_id": None, "role": None}

    def legs(paise: int) -> list[dict[str, object]]:
        fee, promo = ledger.PLATFORM_FEE, manual_postings.PLATFORM_PROMO
        return [
            {"code": fee, "side": "D", "amount_paise": paise},
            {"code": promo, "side": "C", "amount_paise": paise},
        ]

    with _days_ago(4), acting(session, user_id=first, **admin):
        manual_postings.grant(session, org_id, GOODWILL, "Goodwill: two workshops began late in October.")
        session.flush()
        wrong = manual_postings.propose(
            session, legs(GOODWILL), "The goodwill lowers our fee of those workshops; it is no promotion."
        ).public_id
    with _days_ago(3), acting(session, user_id=second, **admin):
        manual_postings.approve(session, wrong)
        manual_postings.propose(
            session, legs(50_000), "A part of the October campaign was a rebate on our fee."
        )
    books.done("postings by hand: a grant, an adjustment by two administrators, and one that waits")
