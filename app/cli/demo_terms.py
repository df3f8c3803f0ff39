"""The demo's agreements: northwind on account with a pool that may be overdrawn, globex under a licence without a cap."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app import clock
from app.cli.demo_books import Books
from app.models import Contract, Membership, MembershipStatus, OverageBehavior, Program, User
from app.services import assignments, contracts, programs
from app.services.booking_record import Supplier

AGREEMENTS: tuple[tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]], ...] = (
    (
        "northwind",
        {"title": "Coaching on account 2026-27", "payment_terms_days": 45},
        {
            "name": "Coaching credits",
            "type": "CREDIT_POOL",
            "credits_per_cycle": 6_000,
            "overage_behavior": OverageBehavior.CHARGE_ORG,
            "overage_surcharge_bps": 1_000,
            "max_overage_per_cycle_paise": 1_000_000,
        },
        ("learner@northwind.test", "maya@consilium.test"),
    ),
    (
        "globex",
        {
            "title": "Learning licence 2026-27",
            "license_model": "FLAT_FEE",
            "license_fee_paise": 12_000_000,
            "license_cycle": "ANNUAL",
        },
        {"name": "Unlimited sessions", "type": "LICENSED_SEAT", "auto_enroll": True},
        ("learner@globex.test",),
    ),
)
BOOKED = (
    ("northwind", "learner@northwind.test", "asha.rao@experts.test", 9),
    ("northwind", "maya@consilium.test", "dev.patel@experts.test", 11),
    ("northwind", "learner@northwind.test", "dev.patel@experts.test", 14),  # beyond its credits
    ("globex", "learner@globex.test", "asha.rao@experts.test", 12),
)


def seed(books: Books) -> None:
    """Make what is missing."""
    for slug, terms, figures, who in AGREEMENTS:
        _agree(books, slug, terms, figures, who)
    s = books.settings
    supplier = Supplier(s.supplier_name, s.supplier_address, s.supplier_gstin)
    for slug, learner, expert, days in BOOKED:
        organization = books.find_org(slug)
        assert organization is not None
        books.book(
            books.person(learner).id,
            books.person(expert).id,
            organization.id,
            str(organization.public_id),
            days,
            f"demo-{slug}-{learner}-{expert}",
            supplier,
        )


def _agree(
    books: Books, slug: str, terms: dict[str, Any], figures: dict[str, Any], who: tuple[str, ...]
) -> None:
    session = books.session
    with books.as_member(slug, f"owner@{slug}.test"):
        if session.scalar(select(Program.id).limit(1)) is not None:
            return
        contract = session.scalars(select(Contract)).first() or contracts.create_contract(
            session, effective_from=clock.today_ist(), **terms
        )
        if contract.status != "ACTIVE":
            contracts.sign_contract(session, contract)
        program = programs.create_program(session, contract, **figures)
        for email in who:
            member = session.scalars(
                select(Membership)
                .join(User, User.id == Membership.user_id)
                .where(User.email == email, Membership.status == MembershipStatus.ACTIVE)
            ).one()
            assignments.assign(session, program, member)
        books.done(f"{slug} has an agreement with {len(who)} places")
