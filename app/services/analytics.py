"""Rollups of an organisation over whole months in India (chapter 1, 1.5 and 1.7): one statement a section."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Date, case, cast, func, or_, select
from sqlalchemy.orm import Session

from app import clock
from app.models import (
    Appointment,
    AppointmentStatus,
    Assignment,
    AssignmentStatus,
    BookingUtilization,
    ConsultantEarning,
    Membership,
    MembershipStatus,
    Organization,
    Payment,
    PaymentStatus,
    PoolScope,
    Program,
    User,
)
from app.services import booking_figures
from app.services.booking_figures import Month
from app.services.metering import CREDIT_PAISE

MOST, ROWS = 24, 12  # months; lines of a breakdown
HELD = (AppointmentStatus.CONFIRMED, AppointmentStatus.COMPLETED, AppointmentStatus.TENTATIVE)
LOST = (AppointmentStatus.CANCELLED, AppointmentStatus.NO_SHOW, AppointmentStatus.EXPIRED)
PRESENT = (MembershipStatus.ACTIVE, MembershipStatus.SUSPENDED)


@dataclass(frozen=True)
class Section:
    """One rollup. *series* hold (name, values by label); *kind* is money (paise) or number."""

    key: str
    title: str
    labels: list[str]
    series: list[tuple[str, list[int]]]
    kind: str = "number"
    shape: str = "bar"
    heading: str = "Month"
    note: str = ""
    kinds: tuple[str, ...] = ()  # by series, where they differ

    @property
    def empty(self) -> bool:
        return not any(v for _, values in self.series for v in values)

    def kind_of(self, index: int) -> str:
        return self.kinds[index] if self.kinds else self.kind


@dataclass(frozen=True)
class Report:
    """What a reader may see: sections, and the seats at this moment (None: not theirs, or no sponsor)."""

    months: int
    since: dt.date
    sections: list[Section] = field(default_factory=list)
    seats_used: int | None = None
    seats_total: int | None = None
    month: Month | None = None  # of a sponsor, for who sees money


def first_month(months: int, today: dt.date) -> dt.date:
    """The first day of the earliest of *months* whole months that end with the current one."""
    n = today.year * 12 + today.month - months
    return dt.date(n // 12, n % 12 + 1, 1)


def _calendar(since: dt.date, months: int) -> list[dt.date]:
    start = since.year * 12 + since.month - 1
    return [dt.date(n // 12, n % 12 + 1, 1) for n in range(start, start + months)]


def _month(column: Any) -> Any:
    return cast(func.date_trunc("month", func.timezone("Asia/Kolkata", column)), Date)


def _start(since: dt.date) -> dt.datetime:
    return dt.datetime.combine(since, dt.time(), clock.IST)


def report(session: Session, organization: Organization, *, months: int, people: bool, money: bool) -> Report:
    """The rollups of the organisation acted for. *people*: members, seats, use, sessions; *money*: amounts.

    A manager has both, support people without money, a billing administrator money alone. A sponsor has seats and
    spending, a host earnings. As many statements as sections, whatever the size.
    """
    months = max(1, min(months, MOST))
    since = first_month(months, clock.today_ist())
    span = _calendar(since, months)
    parts: list[Callable[[], Section]] = []
    if people:
        parts.append(lambda: _members(session, since, span))
        parts.append(lambda: _bookings(session, since, span))
    if money and organization.can_sponsor:
        parts.append(lambda: _spend_by_month(session, since, span))
        parts.append(lambda: _spend_by_department(session, since))
        parts.append(lambda: _spend_by_program(session, since))
    if money and organization.can_host:
        parts.append(lambda: _earnings(session, since, span))
    if people:
        parts.append(lambda: _experts(session, since, money=money))
    if people and organization.can_sponsor:
        parts.append(lambda: _utilisation(session, money=money))
    seats = people and organization.can_sponsor
    return Report(
        months,
        since,
        [part() for part in parts],
        organization.seats_used if seats else None,
        organization.seats_total if seats else None,
        booking_figures.month(session) if money and organization.can_sponsor else None,
    )


def _by_month(rows: Sequence[Any], span: list[dt.date], index: int = 1) -> list[int]:
    found = {r[0]: int(r[index] or 0) for r in rows}
    return [found.get(m, 0) for m in span]


def _names(span: list[dt.date]) -> list[str]:
    return [f"{m:%b %Y}" for m in span]


def _members(session: Session, since: dt.date, span: list[dt.date]) -> Section:
    month = _month(func.coalesce(Membership.joined_at, Membership.created_at))
    rows = session.execute(
        select(func.greatest(month, since - dt.timedelta(days=1)).label("m"), func.count())
        .where(Membership.status.in_(PRESENT))
        .group_by("m")
    ).all()
    joined = _by_month(rows, span)
    total = sum(int(r[1]) for r in rows if r[0] < since)
    members = []
    for n in joined:
        total += n
        members.append(total)
    return Section(
        "members",
        "Members over time",
        _names(span),
        [("Members", members), ("Joined", joined)],
        shape="line",
        note="People who are members today, by when they joined.",
    )


def _bookings(session: Session, since: dt.date, span: list[dt.date]) -> Section:
    month = _month(Appointment.starts_at)
    rows = session.execute(
        select(
            month.label("m"),
            func.count().filter(Appointment.status.in_(HELD)),
            func.count().filter(Appointment.status.in_(LOST)),
        )
        .where(Appointment.starts_at >= _start(since), Appointment.starts_at < _after(span))
        .group_by("m")
    ).all()
    return Section(
        "bookings",
        "Sessions by month",
        _names(span),
        [("Held or booked", _by_month(rows, span)), ("Cancelled or missed", _by_month(rows, span, 2))],
    )


def _after(span: list[dt.date]) -> dt.datetime:
    last = span[-1]
    return _start(dt.date(last.year + last.month // 12, last.month % 12 + 1, 1))


def _paid(since: dt.date) -> Any:
    return booking_figures.settled(_start(since))


def _spend_by_month(session: Session, since: dt.date, span: list[dt.date]) -> Section:
    rows = session.execute(
        select(_month(Payment.captured_at).label("m"), booking_figures.gross(), booking_figures.net())
        .where(_paid(since))
        .group_by("m")
    ).all()
    return Section(
        "spend",
        "Spend by month",
        _names(span),
        [("Gross", _by_month(rows, span)), ("Net of refunds", _by_month(rows, span, 2))],
        "money",
        note="What was paid for bookings, by the month of the payment.",
    )


def _spend_by_department(session: Session, since: dt.date) -> Section:
    name = func.coalesce(func.nullif(Membership.department_label, ""), "No department")
    rows = session.execute(
        select(name.label("n"), booking_figures.net().label("a"), func.count().filter(booking_figures.kept()))
        .select_from(Payment)
        .outerjoin(
            Membership,
            (Membership.user_id == Payment.user_id) & (Membership.organization_id == Payment.organization_id),
        )
        .where(_paid(since))
        .group_by("n")
        .order_by(booking_figures.net().desc(), "n")
        .limit(ROWS)
    ).all()
    return _breakdown("departments", "Spend by department", "Department", rows)


def _spend_by_program(session: Session, since: dt.date) -> Section:
    name = func.coalesce(Program.name, "Outside programs")
    rows = session.execute(
        select(name.label("n"), booking_figures.net().label("a"), func.count().filter(booking_figures.kept()))
        .select_from(Payment)
        .outerjoin(BookingUtilization, BookingUtilization.payment_id == Payment.id)
        .outerjoin(Assignment, Assignment.id == BookingUtilization.assignment_id)
        .outerjoin(Program, Program.id == Assignment.program_id)
        .where(_paid(since))
        .group_by("n")
        .order_by(booking_figures.net().desc(), "n")
        .limit(ROWS)
    ).all()
    return _breakdown("programs", "Spend by program", "Program", rows)


def _breakdown(key: str, title: str, heading: str, rows: Sequence[Any]) -> Section:
    return Section(
        key,
        title,
        [str(r[0]) for r in rows],
        [("Net spend", [int(r[1] or 0) for r in rows]), ("Bookings", [int(r[2]) for r in rows])],
        shape="table",
        heading=heading,
        kinds=("money", "number"),
    )


def _earnings(session: Session, since: dt.date, span: list[dt.date]) -> Section:
    net = ConsultantEarning.share_paise - ConsultantEarning.refunded_paise
    hosted = ConsultantEarning.gross_paise * ConsultantEarning.org_bps / 10_000
    rows = session.execute(
        select(_month(ConsultantEarning.created_at).label("m"), func.sum(net), func.sum(hosted))
        .where(ConsultantEarning.created_at >= _start(since))
        .group_by("m")
    ).all()
    return Section(
        "earnings",
        "Earnings by month",
        _names(span),
        [("Experts", _by_month(rows, span)), ("Organisation", _by_month(rows, span, 2))],
        "money",
    )


def _utilisation(session: Session, *, money: bool) -> Section:
    """Live places by program: how much of the allowance is used, in per cent; amounts with *money* only."""
    live = (Assignment.status == AssignmentStatus.ACTIVE) & (Assignment.period_end >= clock.today_ist())
    places = case((Program.pool_scope == PoolScope.SHARED, 1), else_=func.count(Assignment.id))
    used = func.sum(Assignment.consumed_paise)
    rows = session.execute(
        select(
            Program.name,
            func.count(Assignment.id),
            func.sum(Assignment.engagements_used),
            used,
            Program.credits_per_cycle * CREDIT_PAISE * places,
        )
        .join(Assignment, Assignment.program_id == Program.id)
        .where(live)
        .group_by(Program.id)
        .order_by(used.desc(), Program.id)
        .limit(ROWS)
    ).all()
    series: list[tuple[str, list[int]]] = [
        ("Places", [int(r[1]) for r in rows]),
        ("Sessions", [int(r[2] or 0) for r in rows]),
        ("Used, in basis points", [int(r[3] or 0) * 10_000 // int(r[4]) if r[4] else 0 for r in rows]),
    ]
    kinds = ["number", "number", "bps"]
    if money:
        series += [("Used", [int(r[3] or 0) for r in rows]), ("Allowance", [int(r[4] or 0) for r in rows])]
        kinds += ["money", "money"]
    return Section(
        "utilisation",
        "Use of programs",
        [str(r[0]) for r in rows],
        series,
        shape="table",
        heading="Program",
        note="Places that are live today.",
        kinds=tuple(kinds),
    )


def _experts(session: Session, since: dt.date, *, money: bool) -> Section:
    paid = booking_figures.net()
    sessions = func.count(func.distinct(Appointment.id))
    rows = session.execute(
        select(User, sessions, paid)
        .select_from(Appointment)
        .join(User, User.id == Appointment.expert_user_id)
        .outerjoin(
            Payment, (Payment.appointment_id == Appointment.id) & (Payment.status == PaymentStatus.SUCCEEDED)
        )
        .where(
            Appointment.starts_at >= _start(since),
            or_(
                Appointment.status == AppointmentStatus.COMPLETED,
                Appointment.status == AppointmentStatus.CONFIRMED,
            ),
        )
        .group_by(User.id)
        .order_by(sessions.desc(), User.id)
        .limit(ROWS)
    ).all()
    series: list[tuple[str, list[int]]] = [("Sessions", [int(r[1]) for r in rows])]
    if money:
        series.append(("Net spend", [int(r[2]) for r in rows]))
    return Section(
        "experts",
        "Top experts",
        [r[0].name for r in rows],
        series,
        shape="table",
        heading="Expert",
        kinds=("number", "money") if money else ("number",),
    )
