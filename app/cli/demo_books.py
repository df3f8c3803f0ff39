"""The demo's plans, credits, programs and bookings, and what every piece of the seed needs."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.cli.demo_data import BOOKINGS, CREDITS, TOP_UP, Expert
from app.gateways import open_gateway, provider
from app.models import (
    ConsultantProfile,
    Contract,
    IdempotencyKey,
    Membership,
    MembershipStatus,
    Organization,
    Plan,
    Program,
    SandboxWebhook,
    TopUpStatus,
    User,
    Visibility,
    WalletTopUp,
)
from app.security.context import acting, ctx
from app.services import (
    assignments,
    catalogue,
    checkout,
    contracts,
    gateway_events,
    plans,
    programs,
    reconcile,
    topups,
)
from app.services.booking_record import Order, Supplier
from config import Settings


def _say(text: str) -> None:
    click.echo(f"demo: {text}", file=sys.stderr)


class Books:
    """The part of the seed that books and pays."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.session, self.settings, self.made = session, settings, 0

    def done(self, text: str) -> None:
        """A piece stands: commit it and say so."""
        self.session.commit()
        self.made += 1
        _say(text)

    # ---- looking around ----------------------------------------------------------------------------------------------
    def person(self, email: str) -> User:
        return self.session.scalars(select(User).where(User.email == email)).one()

    def find_org(self, slug: str) -> Organization | None:
        with acting(self.session, scope="platform"):
            return self.session.scalars(select(Organization).where(Organization.slug == slug)).one_or_none()

    @contextmanager
    def as_member(self, slug: str, email: str) -> Iterator[Membership]:
        """Act as this member of the organisation."""
        organization, user = self.find_org(slug), self.person(email)
        assert organization is not None
        org_id, user_id = organization.id, user.id
        with acting(self.session, org_id=org_id, user_id=user_id):
            row = self.session.scalars(select(Membership).where(Membership.user_id == user_id)).one()
            with acting(self.session, membership_id=row.id, role=str(row.role)):
                yield row

    # ---- what people book --------------------------------------------------------------------------------------------
    def plans(self, one: Expert) -> None:
        profile = self.session.scalars(
            select(ConsultantProfile).where(ConsultantProfile.user_id == self.person(one.email).id)
        ).one()
        if one.host:
            with self.as_member(one.host, f"owner@{one.host}.test"):
                if self._has_plans(profile.id):
                    return
                for title, category, price, minutes in one.plans:
                    plans.create(
                        self.session,
                        plans.Draft(
                            title=title,
                            category=category,
                            price_paise=price,
                            duration_minutes=minutes,
                            visibility=Visibility.PUBLIC,
                            description=f"{minutes} minutes with {one.name}: {one.headline.lower()}.",
                        ),
                        profile.public_id,
                    )
        else:
            with acting(self.session, scope="job"):  # the open marketplace belongs to nobody
                if self._has_plans(profile.id):
                    return
                for title, category, price, minutes in one.plans:
                    self.session.add(
                        Plan(
                            expert_id=profile.id,
                            title=title,
                            category=category,
                            price_paise=price,
                            duration_minutes=minutes,
                            visibility=Visibility.PUBLIC,
                            description=f"{minutes} minutes with {one.name}: {one.headline.lower()}.",
                        )
                    )
        self.done(f"plans of {one.name}")

    def _has_plans(self, profile_id: int) -> bool:
        return self.session.scalar(select(Plan.id).where(Plan.expert_id == profile_id).limit(1)) is not None

    # ---- money -------------------------------------------------------------------------------------------------------
    def top_up(self, slug: str) -> None:
        """Credits through the sandbox gateway: ordered, paid, reported by its signed webhook, confirmed."""
        with self.as_member(slug, f"owner@{slug}.test"):
            states = list(self.session.scalars(select(WalletTopUp.status)))
            if TopUpStatus.CONFIRMED in states:
                return
            order_id = str(topups.create(self.session, TOP_UP, self.settings).gateway_order_id)
        provider.pay(self.session, order_id)
        self.session.commit()
        self.answered()
        self.done(f"{slug} has bought credits through the sandbox gateway")

    def answered(self) -> None:
        """Take in what the sandbox provider owes us, as its signed webhooks would bring it."""
        gateway = open_gateway(self.settings, self.session, "sandbox")
        owed = self.session.scalars(
            select(SandboxWebhook).where(SandboxWebhook.delivered_at.is_(None)).order_by(SandboxWebhook.id)
        ).all()
        with acting(self.session, scope="job"):
            for webhook in owed:
                body = webhook.body.encode()
                gateway_events.store(self.session, "sandbox", gateway.parse_event(body), body)
                webhook.delivered_at, webhook.next_at, webhook.last_status = clock.now(), None, "200"
            self.session.commit()
            gateway_events.process(self.session, self.settings)

    def program(self, slug: str, who: tuple[str, ...]) -> None:
        with self.as_member(slug, f"owner@{slug}.test"):
            program = self.session.scalars(select(Program)).first()
            if program is None:
                contract = self.session.scalars(select(Contract)).first() or contracts.create_contract(
                    self.session, title="Consultations 2026-27", effective_from=clock.today_ist()
                )
                if contract.status != "ACTIVE":
                    contracts.sign_contract(self.session, contract)
                program = programs.create_program(
                    self.session, contract, name="Leadership credits", credits_per_cycle=CREDITS
                )
                for email in who:
                    user = self.person(email)
                    member = self.session.scalars(
                        select(Membership).where(
                            Membership.user_id == user.id, Membership.status == MembershipStatus.ACTIVE
                        )
                    ).one()
                    assignments.assign(self.session, program, member)
                self.done(f"{slug} has a program with {len(who)} places")

    def bookings(self) -> None:
        organization = self.find_org("acme")
        assert organization is not None
        org_id, org_ref = organization.id, str(organization.public_id)
        supplier = Supplier(
            self.settings.supplier_name, self.settings.supplier_address, self.settings.supplier_gstin
        )
        for who, whom, days in BOOKINGS:
            learner, expert = self.person(who), self.person(whom)
            self.book(learner.id, expert.id, org_id, org_ref, days, f"demo-{who}-{whom}", supplier)

    def booked(self, key: str) -> bool:
        """Whether the person acting has booked under *key*."""
        return _booked(self.session, ctx().user_id or -1, key)

    def book(
        self, learner: int, expert: int, org_id: int, org_ref: str, days: int, key: str, supplier: Supplier
    ) -> None:
        with acting(self.session, user_id=learner, org_id=None, membership_id=None, role=None):
            if _booked(self.session, learner, key):
                return
            plan_id = self.session.scalar(
                select(Plan.public_id)
                .join(ConsultantProfile, ConsultantProfile.id == Plan.expert_id)
                .where(ConsultantProfile.user_id == expert)
                .order_by(Plan.id)
                .limit(1),
                execution_options={"skip_tenancy": True},
            )
            assert plan_id is not None
            plan = catalogue.detail(self.session, plan_id)
            begin = clock.now() + dt.timedelta(days=days)
            slots = catalogue.offered_slots(self.session, plan, begin, begin + dt.timedelta(days=7))
            start = next(s.starts_at for s in slots)
            body = {"plan_id": str(plan_id), "starts_at": start.isoformat(), "organization_id": org_ref}
            title = plan.title
            checkout.book(
                self.session, Order(plan_id, start, org_id, key, body), supplier, self.settings.gateway
            )
            self.session.commit()
        self.made += 1
        _say(f"booked {title}")

    def reconcile(self) -> None:
        with acting(self.session, scope="job"):
            report = reconcile.run(self.session)
            ok, findings = report.ok, report.findings
            self.session.commit()
        if not ok:
            raise click.ClickException(f"The demo's books do not reconcile: {findings}")
        _say("the books reconcile")


def _booked(session: Session, user_id: int, key: str) -> bool:
    return (
        session.scalar(
            select(IdempotencyKey.id).where(IdempotencyKey.user_id == user_id, IdempotencyKey.key == key)
        )
        is not None
    )
