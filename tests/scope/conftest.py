"""One expert in two organisations, with a booking in each and one of their own (P-29)."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from app import clock
from app.models import Appointment, AppointmentStatus, Payment, PaymentStatus, Plan
from app.security import context

_hours = itertools.count(1)


@dataclass
class Both:
    """*expert* is EXPERT of acme and zeta and a stranger to *other*."""

    make: Any
    client: Any
    acme: Any
    zeta: Any
    other: Any
    expert: Any
    plan: Plan

    def get(self, path: str, who: Any = None, **args: str) -> Any:
        return self.client.get(path, query_string=args, headers=self.make.bearer(who or self.expert))

    def send(self, path: str, body: Any, who: Any = None) -> Any:
        return self.client.post(path, json=body, headers=self.make.bearer(who or self.expert))

    def appointment(self, org: Any, learner: Any = None, *, plan: Plan | None = None) -> Appointment:
        """A confirmed session of the expert with somebody, tagged with *org*, and its payment."""
        plan, starts = plan or self.plan, clock.now() + dt.timedelta(days=2, hours=next(_hours))
        row = self.make.add(
            Appointment(
                organization_id=org.id if org else None,
                plan_id=plan.id,
                expert_id=plan.expert_id,
                expert_user_id=self.expert.id,
                learner_user_id=(learner or self.make.user(name="Lena Learner")).id,
                status=AppointmentStatus.CONFIRMED,
                title=f"Session {org.slug if org else 'personal'}",
                starts_at=starts,
                ends_at=starts + dt.timedelta(hours=1),
            )
        )
        self.make.add(
            Payment(
                organization_id=row.organization_id,
                user_id=row.learner_user_id,
                appointment_id=row.id,
                plan_id=plan.id,
                status=PaymentStatus.SUCCEEDED,
                method="WALLET",
                price_paise=500_000,
                tax_paise=0,
                tax_bps=0,
                amount_paise=500_000,
            )
        )
        return row


@pytest.fixture
def both(make: Any, client: Any) -> Both:
    acme, zeta, other = (make.org(can_host=True) for _ in range(3))
    user = make.user(name="Esha Expert")
    profile = make.expert(user)
    for org in (acme, zeta):
        make.member(org, "EXPERT", user)
    make.member(other)
    return Both(make, client, acme, zeta, other, user, make.plan(profile))


@pytest.fixture
def bells(app: Any) -> Any:
    """Deliver the outbox as the worker would an hour later, when everything is due."""
    from app.jobs import runner

    def run() -> None:
        store = app.extensions["redis"]
        store.set("test:clock", 3600)
        with app.app_context():
            runner.execute("deliver_outbox")
        store.delete("test:clock")
        clock.set_offset(0)
        context.reset()

    return run
