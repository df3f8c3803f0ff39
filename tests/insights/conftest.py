"""An organisation in which something happened."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pytest

from app import clock
from app.models import (
    Appointment,
    AppointmentStatus,
    Assignment,
    AuditCategory,
    AuditLog,
    BookingUtilization,
    Contract,
    ContractStatus,
    Payment,
    PaymentStatus,
    Program,
    ProgramType,
)

ROLES = ("OWNER", "MAINTAINER", "BILLING_ADMIN", "MANAGER", "SUPPORT", "LEARNER")


@dataclass
class Busy:
    """*org* with somebody in every role, a booking of 590000 paise, and audit rows of every category."""

    make: Any
    client: Any
    org: Any
    people: dict[str, Any]

    def get(self, role: str, path: str, **args: str) -> Any:
        return self.client.get(
            f"/api/organizations/{self.org.slug}/{path}",
            query_string=args,
            headers=self.make.bearer(self.people[role]),
        )


@pytest.fixture
def busy(make: Any, client: Any) -> Busy:
    org = make.org(seats_total=10)
    people = {r: make.member(org, r) for r in ROLES if r != "LEARNER"}
    people["LEARNER"] = make.member(org, "LEARNER", department_label="Design")
    today, now = clock.today_ist(), clock.now()
    contract = make.add(
        Contract(
            organization_id=org.id,
            billing_account_id=make.one(
                "SELECT id FROM billing_account WHERE organization_id = :o", o=org.id
            ),
            title="Learning",
            status=ContractStatus.ACTIVE,
            effective_from=today - dt.timedelta(days=300),
        )
    )
    program = make.add(
        Program(
            organization_id=org.id,
            contract_id=contract.id,
            name="Coaching",
            type=ProgramType.CREDIT_POOL,
            credits_per_cycle=10_000,
        )
    )
    place = make.add(
        Assignment(
            organization_id=org.id,
            program_id=program.id,
            membership_id=people["LEARNER"].id,
            period_start=today,
            period_end=today + dt.timedelta(days=30),
            consumed_paise=500_000,
            engagements_used=1,
        )
    )
    expert = make.expert(make.user(name="Wanda Wombat"))
    plan = make.plan(expert)
    session = make.add(
        Appointment(
            organization_id=org.id,
            plan_id=plan.id,
            expert_id=expert.id,
            expert_user_id=expert.user_id,
            learner_user_id=people["LEARNER"].user_id,
            status=AppointmentStatus.CONFIRMED,
            title="Pricing clinic",
            starts_at=now,
            ends_at=now + dt.timedelta(hours=1),
        )
    )
    payment = make.add(
        Payment(
            organization_id=org.id,
            user_id=people["LEARNER"].user_id,
            appointment_id=session.id,
            plan_id=plan.id,
            status=PaymentStatus.SUCCEEDED,
            method="WALLET",
            price_paise=500_000,
            tax_paise=90_000,
            tax_bps=1800,
            amount_paise=590_000,
            captured_at=now,
        )
    )
    make.add(
        BookingUtilization(
            organization_id=org.id,
            payment_id=payment.id,
            assignment_id=place.id,
            engagements=1,
            covered_paise=500_000,
        )
    )
    owner = people["OWNER"]

    def entry(category: AuditCategory, action: str, text: str, **details: Any) -> AuditLog:
        return AuditLog(
            organization_id=org.id,
            category=category,
            action=action,
            description=text,
            details=details,
            actor_type="MEMBER",
            actor_user_id=owner.user_id,
            actor_membership_id=owner.id,
        )

    make.add(
        *[entry(c, f"DID_{c.value}", f"Kiwi {c.value.lower()}") for c in AuditCategory],
        entry(AuditCategory.PROGRAM, "BOOKING_CONFIRMED", "Booked “Pricing clinic”"),
        entry(AuditCategory.WALLET, "WALLET_DEBITED", "Paid for “Pricing clinic”", amount_paise=590_000),
        entry(
            AuditCategory.MEMBER,
            "SPEND_LIMIT_CHANGED",
            "Spend limit changed",
            before={"spend_limit_paise": 700_100},
            after={"spend_limit_paise": 900_100},
        ),
    )
    return Busy(make, client, org, people)
