"""The demo's events, subscriptions, trials, codes and terms."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

from sqlalchemy import select

from app import clock
from app.models import (
    CancellationPolicy,
    ConsultantProfile,
    CreditKind,
    DiscountCode,
    DiscountKind,
    Event,
    Plan,
    PlanType,
    Referral,
    ReferralCode,
    Trial,
    Visibility,
)
from app.security.context import acting
from app.services import (
    cancellation_policies,
    catalogue,
    checkout,
    discounts,
    events,
    owners,
    plans,
    referrals,
    sessions,
    trials,
    waitlist,
)
from app.services.booking_record import Order, Supplier
from app.services.seat_sessions import Desk

if TYPE_CHECKING:
    from .demo_books import Books

WELCOME = "WELCOME10"
# whose, host, the plan, what is scheduled (days ahead of next Monday, hour in India)
PLANS = (
    (
        "expert@learnpro.test",
        "learnpro",
        plans.Draft(
            "Pricing in a flat market",
            150_000,
            "Ninety minutes for founders and sales leads: what to raise, what to bundle, what to leave alone.",
            "Strategy",
            duration_minutes=90,
            visibility=Visibility.PUBLIC,
            type=PlanType.WEBINAR,
            max_participants=2,
        ),
        ((9, 16),),
    ),
    (
        "maya@consilium.test",
        "learnpro",
        plans.Draft(
            "First ninety days as a manager",
            900_000,
            "Four evenings in a small group, with homework you will actually do.",
            "Leadership",
            duration_minutes=120,
            visibility=Visibility.PUBLIC,
            type=PlanType.CLASS,
            total_sessions=4,
            sessions_per_week=2,
            max_participants=12,
        ),
        ((8, 18), (10, 18), (15, 18), (17, 18)),
    ),
    (
        "maya@consilium.test",
        "learnpro",
        plans.Draft(
            "Manager's sparring partner",
            1_200_000,
            "Six sessions, at your pace. Bring what is on your desk.",
            "Leadership",
            duration_minutes=45,
            visibility=Visibility.PUBLIC,
            type=PlanType.SUBSCRIPTION,
            total_sessions=6,
            sessions_per_week=2,
            trial_price_paise=0,
            trial_minutes=20,
        ),
        (),
    ),
    (
        "asha.rao@experts.test",
        None,
        plans.Draft(
            "GST returns without tears",
            80_000,
            "An open webinar on the new return forms, with time for your questions.",
            "Finance",
            duration_minutes=60,
            visibility=Visibility.PUBLIC,
            type=PlanType.WEBINAR,
            max_participants=100,
        ),
        ((11, 17),),
    ),
    (
        "dev.patel@experts.test",
        None,
        plans.Draft(
            "Cloud bill review, monthly",
            2_000_000,
            "Four reviews of your bill and the architecture behind it.",
            "Technology",
            duration_minutes=60,
            visibility=Visibility.PUBLIC,
            type=PlanType.SUBSCRIPTION,
            total_sessions=4,
            sessions_per_week=1,
            trial_price_paise=50_000,
            trial_minutes=30,
        ),
        (),
    ),
)


def seed(books: Books) -> None:
    """Everything of the marketplace beyond consultations."""
    for email, host, draft, times in PLANS:
        _plan(books, email, host, draft, times)
    _seats(books)
    _subscription(books)
    _trial(books)
    _promotions(books)


def _plan(
    books: Books, email: str, host: str | None, draft: plans.Draft, times: tuple[tuple[int, int], ...]
) -> None:
    session = books.session
    user = books.person(email)
    profile = session.scalars(select(ConsultantProfile).where(ConsultantProfile.user_id == user.id)).one()
    key, user_id = profile.public_id, user.id
    with acting(session, scope="platform"):
        if session.scalar(select(Plan.id).where(Plan.expert_id == profile.id, Plan.title == draft.title)):
            return
    if host:
        with books.as_member(host, f"owner@{host}.test"):
            made = plans.create(session, draft, key).public_id
    else:
        with acting(session, user_id=user_id, org_id=None, role=None, membership_id=None):
            made = plans.create(session, draft).public_id
    with acting(session, user_id=user_id, org_id=None, role=None, membership_id=None):
        row = owners.plan(session, made)
        if times:
            events.schedule(session, row, [_at(days, hour) for days, hour in times])
    books.done(f"plan “{draft.title}”")


def _at(days: int, hour: int) -> dt.datetime:
    today = clock.today_ist()
    monday = today + dt.timedelta(days=-today.weekday() + days)
    return dt.datetime.combine(monday, dt.time(hour), clock.IST).astimezone(dt.UTC)


def _find(books: Books, title: str) -> tuple[uuid.UUID, uuid.UUID | None]:
    """The public ids of a plan and of its event."""
    with acting(books.session, scope="platform"):
        plan = books.session.scalars(select(Plan).where(Plan.title == title)).one()
        event = books.session.scalar(select(Event.public_id).where(Event.plan_id == plan.id).limit(1))
    return plan.public_id, event


def _book(books: Books, email: str, title: str) -> str | None:
    """Acme books a seat or a subscription for one of its people; None where that was done before."""
    session = books.session
    plan, event = _find(books, title)
    organization = books.find_org("acme")
    assert organization is not None
    org_id, org_ref = organization.id, str(organization.public_id)
    key = f"demo-{email}-{title}"
    s = books.settings
    with acting(session, user_id=books.person(email).id, org_id=None, membership_id=None, role=None):
        if books.booked(key):
            return None
        body = {"plan_id": str(plan), "starts_at": None, "organization_id": org_ref}
        body |= {"event_id": str(event)} if event else {}
        order = Order(plan, None, org_id, key, body, event=event)
        result = checkout.book(
            session, order, Supplier(s.supplier_name, s.supplier_address, s.supplier_gstin), s.gateway
        )
        session.commit()
    books.done(f"{email} booked “{title}”")
    return str(result.answer["id"])


def _seats(books: Books) -> None:
    title = "Pricing in a flat market"
    for email in ("learner@acme.test", "maya@consilium.test"):
        _book(books, email, title)
    _, event_id = _find(books, title)
    assert event_id is not None
    who = books.person("learner@iitm.test").id
    with acting(books.session, user_id=who, org_id=None, membership_id=None, role=None):
        event = events.one(books.session, event_id)
        if waitlist.mine(books.session, event) is None and not events.seats_left(books.session, event):
            waitlist.join(books.session, event)
            books.done("somebody waits for a seat")


def _subscription(books: Books) -> None:
    made = _book(books, "learner@acme.test", "Manager's sparring partner")
    if made is None:
        return
    expert = books.person("maya@consilium.test").id
    with acting(books.session, user_id=expert, org_id=None, membership_id=None, role=None):
        from app.services import appointments

        row = appointments.one(books.session, uuid.UUID(made))
        s = books.settings
        supplier = Supplier(s.supplier_name, s.supplier_address, s.supplier_gstin)
        sessions.allocate(books.session, row, _at(9, 11), Desk(supplier, s.gateway))
        books.done("a session of a subscription is planned")


def _trial(books: Books) -> None:
    session, who = books.session, books.person("learner@initech.test").id
    plan_id, _ = _find(books, "Cloud bill review, monthly")
    with acting(session, user_id=who, org_id=None, membership_id=None, role=None):
        if session.scalar(
            select(Trial.id).where(Trial.learner_user_id == who), execution_options=owners.EVERYWHERE
        ):
            return
        plan = catalogue.detail(session, plan_id)
        begin = clock.now() + dt.timedelta(days=4)
        slot = catalogue.offered_slots(
            session, plan, begin, begin + dt.timedelta(days=7), plan.trial_minutes
        )[0]
        trials.request(session, plan, slot.starts_at, "Our bill doubled in a year.")
    books.done("a trial is asked for")


def _promotions(books: Books) -> None:
    session = books.session
    admin = books.person("admin@consilium.test").id
    learner = books.person("learner@initech.test")
    public = learner.public_id
    with acting(session, user_id=admin, platform_role="ADMIN", org_id=None, membership_id=None, role=None):
        with acting(session, scope="platform"):
            there = session.scalar(select(DiscountCode.id).where(DiscountCode.code == WELCOME))
        if not there:
            discounts.create(
                session,
                code=WELCOME,
                kind=DiscountKind.PERCENTAGE,
                value=1_000,
                most_paise=100_000,
                per_person=1,
            )
            referrals.grant(
                session, public, CreditKind.COMPENSATION, 50_000, "For the session that began late."
            )
            books.done("code WELCOME10, and credit for somebody")
    with books.as_member("learnpro", "owner@learnpro.test"):
        if not session.scalar(select(CancellationPolicy.id).limit(1)):
            cancellation_policies.publish(
                session,
                [
                    {"hours": 48, "refund_bps": 10_000},
                    {"hours": 12, "refund_bps": 5_000},
                    {"hours": 0, "refund_bps": 0},
                ],
                "We prepare each session two days ahead.",
            )
            books.done("cancellation terms of LearnPro")
    brought = books.person("learner@globex.test").id
    with acting(session, user_id=learner.id, org_id=None, membership_id=None, role=None):
        letters = referrals.code(session)
    with acting(session, scope="job"):
        done = session.scalar(select(Referral.id).where(Referral.referee_user_id == brought))
    if not done and session.scalar(select(ReferralCode.user_id).where(ReferralCode.code == letters)):
        with acting(session, user_id=brought, org_id=None, membership_id=None, role=None):
            referrals.redeem(session, letters)
        books.done("somebody was brought")
