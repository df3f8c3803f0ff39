"""What a booking says to its two people: mails and bell entries, from one set of facts."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.models import Appointment, Organization, Payment
from app.services import outbox


@dataclass(frozen=True)
class Party:
    """One of the two: inner id, name, address and zone."""

    user_id: int
    name: str
    email: str
    zone: str


@dataclass(frozen=True)
class Facts:
    """A booking as mails and bells tell it; amounts in paise."""

    payment: str
    appointment: str
    title: str
    starts: dt.datetime
    ends: dt.datetime
    expert: Party
    learner: Party
    organization: str | None
    price: int
    tax: int
    amount: int
    share: int
    receipt_number: str | None
    surcharge: int = 0
    license: int = 0
    member: int = 0  # with its tax
    side_payment: str | None = None
    due: dt.datetime | None = None
    said: str = ""  # instead of a time that nobody chose yet

    @property
    def minutes(self) -> int:
        return int((self.ends - self.starts).total_seconds() // 60)

    def shared(self) -> dict[str, Any]:
        """What every mail about the booking may say."""
        return {
            "plan": self.title,
            "minutes": self.minutes,
            "appointment_id": self.appointment,
            "expert": self.expert.name,
            "learner": self.learner.name,
            "organization": self.organization,
        }

    def beyond(self) -> dict[str, Any]:
        """What a program's licence covered, what was added, and what the learner owes apart."""
        day = self.due.astimezone(clock.IST) if self.due else None
        return {
            "surcharge_paise": self.surcharge,
            "license_paise": self.license,
            "member_paise": self.member,
            "pay_path": f"/dashboard/payments/{self.side_payment}/pay" if self.side_payment else "",
            "due": f"{day.day} {day:%B %Y}" if day else "",
        }

    def when(self, party: Party) -> str:
        return self.said or local_time(self.starts, self.ends, party.zone)


def local_time(start: dt.datetime, end: dt.datetime, zone: str) -> str:
    """``Mon 7 Dec 2026, 10:00 to 11:00 (Asia/Kolkata)``, for mails and bells."""
    try:
        tz = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        zone, tz = "Asia/Kolkata", clock.IST
    a, b = start.astimezone(tz), end.astimezone(tz)
    return f"{a:%a} {a.day} {a:%b %Y}, {a:%H:%M} to {b:%H:%M} ({zone})"


def mails(f: Facts) -> list[dict[str, Any]]:
    """The confirmations as outbox messages: {dedupe_key, payload}."""
    return [
        _mail(
            f"booking:{f.payment}:learner",
            f.learner.email,
            "booking_confirmed_learner",
            {
                **f.shared(),
                "when": f.when(f.learner),
                "price_paise": f.price,
                "tax_paise": f.tax,
                "amount_paise": f.amount,
                "receipt_number": f.receipt_number,
                "receipt_path": f"/api/payments/{f.payment}/receipt.pdf",
                **f.beyond(),
            },
        ),
        _mail(
            f"booking:{f.payment}:expert",
            f.expert.email,
            "booking_confirmed_expert",
            {**f.shared(), "when": f.when(f.expert), "share_paise": f.share},
        ),
    ]


def bells(f: Facts) -> list[dict[str, Any]]:
    """The bell entries of a confirmation."""
    return [
        {
            "user_id": f.learner.user_id,
            "title": f"Booked: {f.title}"[:200],
            "url": "/dashboard/appointments",
            "body": f"{f.expert.name}, {f.when(f.learner)}"[:500],
        },
        {
            "user_id": f.expert.user_id,
            "title": f"New booking: {f.title}"[:200],
            "url": "/dashboard/appointments",
            "body": f"{f.learner.name}, {f.when(f.expert)}"[:500],
        },
    ]


def _mail(key: str, to: str, template: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"dedupe_key": key, "payload": {"to": to, "template": template, "values": values}}


def facts_of(session: Session, payment: Payment, appointment: Appointment) -> Facts:
    """The facts of stored rows; *appointment* with its people loaded."""
    expert, learner = (
        Party(u.id, u.name, u.email, u.timezone) for u in (appointment.expert_user, appointment.learner)
    )
    name = None
    if payment.organization_id is not None:
        name = session.scalar(select(Organization.name).where(Organization.id == payment.organization_id))
    return Facts(
        str(payment.public_id),
        str(appointment.public_id),
        appointment.title,
        appointment.starts_at,
        appointment.ends_at,
        expert,
        learner,
        name,
        payment.price_paise,
        payment.tax_paise,
        payment.amount_paise,
        payment.snapshot["split"]["consultant"],
        payment.receipt_number,
        surcharge=payment.surcharge_paise,
        license=payment.license_paise,
    )


def confirmed(session: Session, payment: Payment, appointment: Appointment) -> None:
    """Queue the confirmations of a booking whose card was charged."""
    f = facts_of(session, payment, appointment)
    for message in mails(f):
        outbox.put(session, "mail", message["payload"], dedupe_key=message["dedupe_key"])
    for bell in bells(f):
        outbox.notify(session, bell["user_id"], "booking.confirmed", bell["title"], bell["body"], bell["url"])


def cancelled(
    session: Session,
    payment: Payment,
    appointment: Appointment,
    *,
    by: str,
    reason: str,
    refund_paise: int,
    back_to: str,
) -> None:
    """Queue what a cancellation says to both; *by* is a name, *back_to* where the money goes, in words."""
    f = facts_of(session, payment, appointment)
    for party, other in ((f.learner, f.expert), (f.expert, f.learner)):
        outbox.mail(
            session,
            party.email,
            "booking_cancelled",
            dedupe_key=f"cancelled:{f.appointment}:{party.user_id}",
            **f.shared(),
            name=party.name,
            other=other.name,
            when=f.when(party),
            by=by,
            reason=reason,
            refund_paise=refund_paise if party is f.learner else None,
            back_to=back_to,
        )
        outbox.notify(
            session,
            party.user_id,
            "booking.cancelled",
            f"Cancelled: {f.title}",
            f"With {other.name}, {f.when(party)}",
            f"/dashboard/appointments/{f.appointment}",
        )
