"""A sponsor with a wallet, a program and people who may book."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest

from app import clock
from app.models import (
    Assignment,
    ConsultantProfile,
    Contract,
    ContractStatus,
    Membership,
    Organization,
    OrgRole,
    Plan,
    Program,
    ProgramType,
)

_hours = itertools.count(1)


@dataclass
class World:
    """One organisation ready to book; every test has its own."""

    make: Any
    client: Any
    org: Organization
    contract: Contract
    program: Program
    expert: ConsultantProfile
    plan: Plan
    headers: dict[int, dict[str, str]] = field(default_factory=dict)

    def learner(self, *, assigned: bool = True, **values: Any) -> Membership:
        member = self.make.member(self.org, OrgRole.LEARNER, **values)
        if assigned:
            self.assign(member)
        return member

    def assign(self, member: Membership) -> Assignment:
        today = clock.today_ist()
        return self.make.add(
            Assignment(
                organization_id=self.org.id,
                program_id=self.program.id,
                membership_id=member.id,
                period_start=today - dt.timedelta(days=2),
                period_end=today + dt.timedelta(days=90),
            )
        )

    def auth(self, who: Any) -> dict[str, str]:
        user = getattr(who, "user", None) or who
        if user.id not in self.headers:
            self.headers[user.id] = self.make.bearer(user)
        return self.headers[user.id]

    def book(
        self,
        who: Any,
        at: dt.datetime | None = None,
        *,
        plan: Plan | None = None,
        key: str | None = None,
        org: Any = "own",
        client: Any = None,
        **extra: Any,
    ) -> Any:
        body = {
            "plan_id": str((plan or self.plan).public_id),
            "starts_at": (at or slot()).isoformat(),
            **extra,
        }
        if org == "own":
            body["organization_id"] = str(self.org.public_id)
        elif org is not None:
            body["organization_id"] = str(org)
        return (client or self.client).post(
            "/api/checkout", json=body, headers={**self.auth(who), "Idempotency-Key": key or uuid.uuid4().hex}
        )

    def written(self) -> dict[str, int]:
        """How many rows of each kind the organisation has."""
        tables = (
            "appointment",
            "payment",
            "payment_leg",
            "booking_utilization",
            "usage_ledger_entry",
            "consultant_earnings",
            "org_audit_log",
            "outbox_message",
            "notification",
            "ledger_transaction",
            "ledger_entry",
        )
        return {
            t: self.make.one(f"SELECT count(*) FROM {t} WHERE organization_id = :o", o=self.org.id)
            for t in tables
        }


def slot(days: int = 3) -> dt.datetime:
    """A free full hour some days ahead; each call another one."""
    day, hour = divmod(next(_hours), 22)
    base = (clock.now() + dt.timedelta(days=days + day)).replace(minute=0, second=0, microsecond=0)
    return base.replace(hour=hour)


def build(make: Any, client: Any, paise: int = 5_000_000) -> World:
    """Acme with credits (*paise*) and a pool of 100,000 credits a member."""
    org = make.org()
    account_id = make.one("SELECT id FROM billing_account WHERE organization_id = :o", o=org.id)
    contract = make.add(
        Contract(
            organization_id=org.id,
            billing_account_id=account_id,
            title="Learning",
            status=ContractStatus.ACTIVE,
            effective_from=clock.today_ist() - dt.timedelta(days=30),
        )
    )
    program = make.add(
        Program(
            organization_id=org.id,
            contract_id=contract.id,
            name="Coaching",
            type=ProgramType.CREDIT_POOL,
            credits_per_cycle=100_000,
        )
    )
    expert = make.expert()
    plan = make.plan(expert, 500_000)
    if paise:
        make.fund(org, paise)
    return World(make, client, org, contract, program, expert, plan)


@pytest.fixture
def world(make: Any, client: Any) -> World:
    """Acme with credits for ten sessions."""
    return build(make, client)
