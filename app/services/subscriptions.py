"""Licences as they are billed: in advance, cycle by cycle (chapter 2, 2.5 "Licence fee", 2.9).

The invoices' job asks ``due`` and calls ``claim`` for each: it answers what one cycle costs and moves the subscription on,
once, whoever else runs. Amounts are paise without tax.

Seats added in mid-cycle are billed with the next invoice, by the days that were left; a seat that only fills an empty
paid one costs nothing. A cycle that the contract's end cuts short costs its days. What a contract still owes when another
takes its place, or when it ends, is kept in ``owed_lines`` at its own rates and stands on the next invoice. A contract renewed
ahead of time bills the rest of its term as before.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.models import (
    Assignment,
    AssignmentStatus,
    BillingSubscription,
    Contract,
    ContractStatus,
    LicenseModel,
    Organization,
    OrgRole,
    Program,
    ProgramType,
    SubscriptionStatus,
)
from app.security.context import ctx
from app.services import periods, terms_notices

NOTICE = dt.timedelta(days=7)  # before a renewal is invoiced
_ENDED = (AssignmentStatus.CLOSED, AssignmentStatus.CANCELLED)


@dataclass(frozen=True)
class Line:
    """One line of a licence invoice; *amount* may be less than quantity × unit where days are billed, or negative (a credit)."""

    description: str
    quantity: int
    unit_paise: int
    amount_paise: int


@dataclass(frozen=True)
class Bill:
    """What one claim owes. *period* is the cycle billed in advance; a bill of added seats alone has the cycle before."""

    contract_id: int
    purchase_order_id: int | None
    period_start: dt.date
    period_end: dt.date
    lines: tuple[Line, ...]

    @property
    def total_paise(self) -> int:
        return sum(line.amount_paise for line in self.lines)


@dataclass(frozen=True)
class Stay:
    """A member's seat from one day to another, both included."""

    member: int
    start: dt.date
    end: dt.date


# ---- pure ------------------------------------------------------------------------------------------------------------


def seats_on(stays: Iterable[Stay], day: dt.date) -> int:
    """How many members hold a seat on *day*."""
    return len({s.member for s in stays if s.start <= day <= s.end})


def added(
    stays: Sequence[Stay], billed: int, start: dt.date, end: dt.date, until: dt.date | None = None
) -> list[tuple[dt.date, int]]:
    """Seats beyond those *billed*, each with the day it was first needed in the cycle *start* to *end*.

    *until* ends the look early (a licence that ended within the cycle).
    """
    out: list[tuple[dt.date, int]] = []
    for day in sorted({max(s.start, start) for s in stays if s.start <= end and s.end >= start}):
        if until is not None and day > until:
            break
        now = seats_on(stays, day)
        if now > billed:
            out.append((day, now - billed))
            billed = now
    return out


# ---- the subscription of a contract ----------------------------------------------------------------------------------


def begin(session: Session, contract: Contract) -> BillingSubscription | None:
    """The subscription of a contract with a licence fee, due from its first day; None without a fee."""
    if contract.license_model is None or contract.license_cycle is None:
        return None
    start = contract.effective_from
    row = BillingSubscription(
        billing_account_id=contract.billing_account_id,
        contract_id=contract.id,
        status=SubscriptionStatus.ACTIVE,
        model=contract.license_model,
        cycle=contract.license_cycle,
        anchor_day=start.day,
        current_cycle_start=start,
        current_cycle_end=periods.last_day(start, contract.license_cycle, start.day, contract.effective_to)[
            0
        ],
        next_invoice_date=start,
        credit_paise=0,
        billed_seats=0,
    )
    session.add(row)
    session.flush()
    return row


def of_contract(session: Session, contract: Contract) -> BillingSubscription | None:
    """The live subscription of a contract."""
    return session.scalars(
        select(BillingSubscription)
        .where(
            BillingSubscription.contract_id == contract.id,
            BillingSubscription.status == SubscriptionStatus.ACTIVE,
        )
        .options(joinedload(BillingSubscription.contract, innerjoin=True))
    ).one_or_none()


def due(session: Session, today: dt.date | None = None) -> list[tuple[int, int]]:
    """(organisation, subscription) inner ids with something to bill today, for the job; wants job scope."""
    return [
        (r.organization_id, r.id)
        for r in session.execute(
            select(BillingSubscription.organization_id, BillingSubscription.id)
            .where(BillingSubscription.next_invoice_date <= (today or clock.today_ist()))
            .order_by(BillingSubscription.next_invoice_date, BillingSubscription.id)
        )
    ]


def claim(session: Session, subscription_id: int, today: dt.date | None = None) -> Bill | None:
    """Bill what is due next and move the subscription on; None when nothing is due (any more).

    Acts for the organisation; the caller makes the invoice in the same transaction and commits. Missed cycles come one a
    call. A bill may total zero (all of it credited): then no invoice is needed.
    """
    today = today or clock.today_ist()
    row = session.scalars(
        select(BillingSubscription)
        .where(BillingSubscription.id == subscription_id)
        .options(joinedload(BillingSubscription.contract, innerjoin=True))
        .with_for_update(of=BillingSubscription)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None or row.next_invoice_date is None or row.next_invoice_date > today:
        return None
    lines = _owed(session, row)
    terms = _next_terms(session, row)
    if terms is None:
        row.next_invoice_date = None
        if row.contract.license_model is None:
            row.status, row.ended_at = SubscriptionStatus.ENDED, clock.now()
        terms = row.contract
    else:
        lines += _advance(session, row, terms)
        credit = min(row.credit_paise, sum(line.amount_paise for line in lines))
        if credit:
            lines.append(
                Line("Credit for days of an earlier contract that were not used", 1, -credit, -credit)
            )
            row.credit_paise -= credit
    row.renewal_reminder_sent_at = None
    session.flush()
    return Bill(
        terms.id, terms.purchase_order_id, row.current_cycle_start, row.current_cycle_end, tuple(lines)
    )


def _terms_on(session: Session, row: BillingSubscription, day: dt.date) -> Contract:
    """The contract whose terms hold on *day*: one renewed ahead of time still has those of the term that runs."""
    contract = row.contract
    while day < contract.effective_from and contract.supersedes_contract_id is not None:
        contract = session.get_one(Contract, contract.supersedes_contract_id)
    return contract


def _next_terms(session: Session, row: BillingSubscription) -> Contract | None:
    """The terms of the cycle that follows the one billed last; None when none follows."""
    start = row.next_invoice_date
    if row.status != SubscriptionStatus.ACTIVE or start is None:
        return None
    terms = _terms_on(session, row, start)
    over = terms.effective_to is not None and start > terms.effective_to
    return None if over or terms.license_model is None else terms


def _advance(session: Session, row: BillingSubscription, terms: Contract) -> list[Line]:
    """The next cycle's lines by *terms*; the row stands in that cycle afterwards, billed."""
    start = row.next_invoice_date
    assert start is not None and terms.license_model is not None and terms.license_cycle is not None
    if (row.model, row.cycle) != (terms.license_model, terms.license_cycle):
        row.model, row.cycle, row.anchor_day = terms.license_model, terms.license_cycle, start.day
    full = periods.next_start(start, row.cycle, row.anchor_day) - dt.timedelta(days=1)
    end = min(full, terms.effective_to) if terms.effective_to else full
    lines = _cycle_lines(session, row, terms, start, end, periods.days(start, full))
    row.cycle_paise = sum(line.amount_paise for line in lines)
    row.current_cycle_start, row.current_cycle_end, row.billed_through = start, end, end
    row.next_invoice_date = end + dt.timedelta(days=1)
    return lines


def _owed(session: Session, row: BillingSubscription) -> list[Line]:
    """What is owed beside the next cycle; it is answered once."""
    lines = [Line(*kept) for kept in row.owed_lines]
    row.owed_lines = []
    if row.status == SubscriptionStatus.ACTIVE:
        lines += _added_lines(session, row)
    return lines


def _keep(session: Session, row: BillingSubscription, last: dt.date | None = None) -> None:
    """Keep what *row* owes by now at the terms it has: cycles before today that nobody has billed yet, and the seats
    added since, for their days up to *last* (none: to the end of their cycle)."""
    today = clock.today_ist()
    lines = [Line(*kept) for kept in row.owed_lines]
    while (terms := _next_terms(session, row)) is not None and (row.next_invoice_date or today) < today:
        lines += [*_added_lines(session, row), *_advance(session, row, terms)]
    lines += _added_lines(session, row, last, until=today)
    row.owed_lines = [list(astuple(line)) for line in lines]


def _cycle_lines(
    session: Session, row: BillingSubscription, terms: Contract, start: dt.date, end: dt.date, whole: int
) -> list[Line]:
    part = periods.days(start, end)
    term = f"{start:%d %b %Y} to {end:%d %b %Y}"
    if row.model == LicenseModel.FLAT_FEE:
        fee = int(terms.license_fee_paise or 0)
        return [Line(f"Licence fee, {term}", 1, fee, periods.by_days(fee, part, whole))]
    lines, billed = [], {}
    for program, rate in _priced(session, row, terms):
        seats = program.active_seat_count
        billed[str(program.id)] = seats
        if seats:
            amount = periods.by_days(seats * rate, part, whole)
            lines.append(Line(f"{program.name}: seats, {term}", seats, rate, amount))
    row.seats_billed, row.billed_seats = billed, sum(billed.values())
    return lines


def _added_lines(
    session: Session, row: BillingSubscription, last: dt.date | None = None, until: dt.date | None = None
) -> list[Line]:
    """Seats that were added in the cycle billed last and by *until*, for their days up to *last*; the row counts them as
    billed."""
    start, end = row.current_cycle_start, row.current_cycle_end
    last = min(last or end, end)
    if row.model != LicenseModel.PER_SEAT or row.billed_through is None or last < start:
        return []
    full = periods.next_start(start, row.cycle, row.anchor_day) - dt.timedelta(days=1)
    terms = _terms_on(session, row, start)
    whole, lines, seats = periods.days(start, full), [], dict(row.seats_billed)
    for program, rate in _priced(session, row, terms):
        billed = int(seats.get(str(program.id), 0))
        for day, more in added(stays(session, program, start, end), billed, start, last, until):
            left = periods.days(day, last)
            seats[str(program.id)] = billed = billed + more
            lines.append(
                Line(
                    f"{program.name}: {more} {'seat' if more == 1 else 'seats'} added on {day:%d %b %Y}, "
                    f"{left} of {whole} days",
                    more,
                    rate,
                    periods.by_days(more * rate, left, whole),
                )
            )
    row.seats_billed, row.billed_seats = seats, sum(seats.values())
    return [line for line in lines if line.amount_paise]


def _priced(session: Session, row: BillingSubscription, terms: Contract) -> list[tuple[Program, int]]:
    """The seat programs of a licence with what a seat costs a cycle: the program's rate, else that of *terms*."""
    rows = session.scalars(
        select(Program)
        .where(
            Program.contract_id == row.contract_id,
            Program.type
            == ProgramType.LICENSED_SEAT,  # an archived one has no seats, but may owe those it had
        )
        .order_by(Program.id)
    )
    return [(p, int(p.rate_per_seat_paise or terms.license_rate_per_seat_paise or 0)) for p in rows]


def stays(session: Session, program: Program, start: dt.date, end: dt.date) -> list[Stay]:
    """Who held a seat of *program* between two days, from the places themselves."""
    rows = session.scalars(
        select(Assignment).where(
            Assignment.program_id == program.id,
            Assignment.period_start <= end,
            Assignment.period_end >= start,
        )
    )
    out = []
    for a in rows:
        last = a.period_end
        if a.status in _ENDED:
            last = min(last, a.closed_at.astimezone(clock.IST).date()) if a.closed_at else a.period_start
        out.append(Stay(a.membership_id, a.period_start, last))
    return out


# ---- the life of a contract ------------------------------------------------------------------------------------------


def unused(row: BillingSubscription, today: dt.date) -> int:
    """What the days from *today* on of the cycle billed last are worth, paise."""
    if row.billed_through is None or today > row.current_cycle_end:
        return 0
    whole = periods.days(row.current_cycle_start, row.current_cycle_end)
    left = min(whole, periods.days(today, row.current_cycle_end))
    return periods.by_days(row.cycle_paise, left, whole)


def move(session: Session, old: Contract, new: Contract, *, now: bool) -> None:
    """The licence goes on under *new*: *now* (an amendment) begins a cycle today and credits the days paid twice.

    Wants the programs still under *old*. A renewal continues where the term was billed to, at the old terms until the new
    ones begin. A new contract without a fee ends it; one with a fee where *old* had none begins it.
    """
    row = of_contract(session, old)
    if row is None:
        begin(session, new)
        return
    today = new.effective_from
    if not now or today > clock.today_ist():
        row.contract_id = new.id
        row.next_invoice_date = row.next_invoice_date or today
        session.flush()
        return
    if new.license_model is None or new.license_cycle is None:
        end(session, old)
        return
    _keep(session, row, today - dt.timedelta(days=1))
    row.contract_id, row.model, row.cycle = new.id, new.license_model, new.license_cycle
    row.credit_paise += unused(row, today)
    row.anchor_day = today.day
    row.current_cycle_start = today
    row.current_cycle_end = periods.last_day(today, row.cycle, row.anchor_day, new.effective_to)[0]
    row.billed_through, row.cycle_paise, row.billed_seats, row.seats_billed = None, 0, 0, {}
    row.next_invoice_date = today
    session.flush()


def end(session: Session, contract: Contract) -> None:
    """The licence of *contract* is over. Seats added since the last invoice are still owed: they are billed today."""
    row = of_contract(session, contract)
    if row is None:
        return
    _keep(session, row)
    row.status, row.ended_at = SubscriptionStatus.ENDED, clock.now()
    row.next_invoice_date = clock.today_ist() if row.owed_lines else None
    session.flush()


def remind(session: Session, subscription_id: int, today: dt.date | None = None) -> bool:
    """Tell owners and billing administrators seven days before the next cycle is invoiced, once a cycle.

    Acts for the organisation. Returns whether somebody was told.
    """
    today = today or clock.today_ist()
    done = session.execute(
        update(BillingSubscription)
        .where(
            BillingSubscription.id == subscription_id,
            BillingSubscription.status == SubscriptionStatus.ACTIVE,
            BillingSubscription.renewal_reminder_sent_at.is_(None),
            BillingSubscription.billed_through.is_not(None),
            BillingSubscription.next_invoice_date > today,
            BillingSubscription.next_invoice_date <= today + NOTICE,
        )
        .values(renewal_reminder_sent_at=clock.now())
        .returning(BillingSubscription.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    if done is None:
        return False
    row = session.scalars(
        select(BillingSubscription)
        .where(BillingSubscription.id == subscription_id)
        .options(joinedload(BillingSubscription.contract, innerjoin=True))
        .execution_options(populate_existing=True)
    ).one()
    if row.contract.effective_to is not None and (row.next_invoice_date or today) > row.contract.effective_to:
        return False  # the term ends first: nothing is invoiced then
    organization = session.get_one(Organization, ctx().org_id)
    path = f"/dashboard/organization/{organization.slug}/contracts/show/{row.contract.public_id}"
    day = row.next_invoice_date or today
    terms_notices.tell(
        session,
        (OrgRole.OWNER, OrgRole.BILLING_ADMIN),
        "license_renewal",
        f"The licence of {organization.name} is invoiced on {day.day} {day:%B %Y}",
        [
            f"the next {row.cycle.value.lower()} cycle of “{row.contract.title}” begins on {day.day} {day:%B %Y}. "
            "Its invoice is issued on that day, in advance.",
            "Nothing needs to be done if the licence is to go on. To change it, amend the contract before that day.",
        ],
        path=path,
        button="Open the contract",
    )
    return True


def reminders(session: Session, today: dt.date | None = None) -> list[tuple[int, int]]:
    """(organisation, subscription) inner ids that ``remind`` would tell about, for the job; wants job scope."""
    today = today or clock.today_ist()
    return [
        (r.organization_id, r.id)
        for r in session.execute(
            select(BillingSubscription.organization_id, BillingSubscription.id).where(
                BillingSubscription.status == SubscriptionStatus.ACTIVE,
                BillingSubscription.renewal_reminder_sent_at.is_(None),
                BillingSubscription.billed_through.is_not(None),
                BillingSubscription.next_invoice_date > today,
                BillingSubscription.next_invoice_date <= today + NOTICE,
            )
        )
    ]


def live(session: Session) -> list[BillingSubscription]:
    """The live licences of the organisation acted for, with their contracts."""
    return list(
        session.scalars(
            select(BillingSubscription)
            .join(Contract, Contract.id == BillingSubscription.contract_id)
            .where(
                BillingSubscription.status == SubscriptionStatus.ACTIVE,
                Contract.status == ContractStatus.ACTIVE,
            )
            .options(joinedload(BillingSubscription.contract, innerjoin=True))
            .order_by(BillingSubscription.id)
        )
    )
