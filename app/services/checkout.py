"""Checkout (chapter 2, 2.6): rules in Python, writes in few statements.

The order of the checks is the specification's. Nothing is written before all of them pass; what concurrent requests
could still break is held by the constraints and guarded updates of ``checkout_sql``.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import psycopg
from psycopg.rows import dict_row
from psycopg.types.numeric import Int8
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app import clock
from app.errors import REGISTRY, DomainError
from app.models import LegSource
from app.security.context import ctx
from app.services import checkout_sql as sql
from app.services import idempotency, offers, org_status, outbox, price_cuts, sponsored, usage_notices
from app.services.booking_record import Booking, Funding, Order, Part, Quote, Supplier, price
from app.services.statement import Statement
from app.services.tax import Card

_ENTER, _READ_ALL, _SWEEP, _POST = (Statement(s) for s in (sql.ENTER, sql.READ, sql.SWEEP, sql.POST))
_SEAT, _LOCK_POOL = Statement(sql.SEAT), Statement(sql.LOCK_POOL)
_WITHIN_LIMIT, _HOST_SHARE = Statement(sql.WITHIN_LIMIT), Statement(sql.HOST_SHARE)
_WRITES = {
    (beyond, first): Statement(sql.write(beyond=beyond, first=first))
    for beyond in (False, True)
    for first in (False, True)
}
_CLASHING_USER = re.compile(r"\(\[(\d+),")


@dataclass(frozen=True)
class Result:
    """The answer as REST gives it; *replayed* when an earlier request under the key made it."""

    answer: dict[str, Any]
    replayed: bool

    @property
    def waits(self) -> bool:
        """Whether the answer is a hold, to be paid by card."""
        return bool(self.answer["status"] == "TENTATIVE")


def book(session: Session, order: Order, supplier: Supplier, gateway: str) -> Result:
    """Book a consultation: CONFIRMED where an organisation pays, TENTATIVE where a card has to pay; or a DomainError
    and nothing changed.

    Two round trips: one reads everything the rules look at, one writes and posts. After it the transaction acts for the
    paying organisation; the caller commits. Raises the codes of chapter 2, 2.6 in their order.
    """
    now = clock.now()
    c = ctx()
    if c.user_id is None:
        raise DomainError("UNAUTHENTICATED")
    if not order.key or len(order.key) > idempotency.MAX_KEY:
        raise DomainError("IDEMPOTENCY_KEY_REQUIRED")
    session.flush()
    raw = driver(session)
    scope, digest = idempotency.checkout_scope(c.user_id), idempotency.fingerprint(order.body)
    today = now.astimezone(clock.IST).date()
    row = read(
        raw,
        {
            "org": str(order.organization_id or ""),
            "user": Int8(c.user_id),
            "plan": order.plan,
            "scope": scope,
            "key": order.key,
            "today": today,
            "now": now,
            "starts": order.starts_at or now,
        },
    )
    if row is None:
        raise DomainError("NOT_FOUND")
    if row["request_hash"] is not None:
        return _replay(row["request_hash"], row["stored_status"], row["stored_response"], digest)
    _check_plan(row, c.user_id)
    if order.trial is not None:
        order.trial.onto(row)
    what = offers.occurrence(raw, row, order.starts_at, order.event, c.user_id, now)
    cuts = price_cuts.NOTHING
    if order.discount_code or order.use_credits:
        cuts = price_cuts.find(
            session,
            row,
            row["price_paise"],
            order.discount_code,
            order.use_credits,
            sponsored=row["org_id"] is not None,
        )
    quote = price(
        row["price_paise"],
        row["tax_bps"],
        Card(row["platform_bps"], row["org_bps"], row["consultant_bps"]),
        hosted=row["host_id"] is not None,
        to_organization=row["to_organization"],
        discount=cuts.discount,
        others=offers.collaborators(raw, row),
    )
    funding = cuts.spend(_funding(row, quote, what), quote)
    quote = funding.quote or quote
    if row["org_id"] is not None and funding.organization:
        check_spend_limit(raw, row, c.user_id, funding.organization, now)
    limit = sponsored.within_limit(row, funding)
    booking = Booking(row, order, quote, funding, supplier, now, today, c.user_id, gateway, what)
    counts = write(
        raw,
        {
            **booking.values(),
            "scope": scope,
            "key": order.key,
            "hash": digest,
            "ip": c.ip,
            "correlation": c.correlation_id,
            "limit": None if limit is None else Int8(limit),
        },
        row,
    )
    if not counts["keyed"]:
        with raw.cursor(row_factory=dict_row) as cursor:
            stored = cursor.execute(
                "SELECT request_hash, status, response FROM idempotency_key WHERE scope = %s AND key = %s",
                (scope, order.key),
            ).fetchone()
        if stored is None:
            raise DomainError("CHECKOUT_CONTENTION")
        return _replay(stored["request_hash"], stored["status"], stored["response"], digest)
    if not counts["metered"]:
        lost_place(row)
    if cuts is not price_cuts.NOTHING:
        price_cuts.take(raw, cuts, funding, booking.payment, c.user_id, now)
    if quote.others and not funding.waits:
        offers.share_earnings(raw, booking.payment, booking.values())
    outbox.announce(session)
    usage_notices.after_booking(session, row, funding, now, today)
    return Result(booking.answer, replayed=False)


# ---- rules -----------------------------------------------------------------------------------------------------------


def _check_plan(row: dict[str, Any], user_id: int) -> None:
    """Step 2: the plan is offered, the expert bookable and somebody else."""
    if not row["active"]:
        raise DomainError("NOT_FOUND")
    if row["expert_user_id"] == user_id:
        raise DomainError("SELF_BOOKING_FORBIDDEN")
    if row["verification_status"] != "VERIFIED":
        raise DomainError("EXPERT_NOT_BOOKABLE")


def _funding(row: dict[str, Any], quote: Quote, what: offers.Occurrence) -> Funding:
    """Steps 3, 4 and 9: who pays, from what. A person's own bookings and those of PERSONAL organisations go to the card."""
    if row["org_id"] is not None:
        check_payer(row)
    if row["supply_model"] == "ECO":
        raise DomainError(
            "WALLET_NOT_ALLOWED_FOR_ECO" if row["funding_source"] == "WALLET" else "PAYER_NOT_AVAILABLE"
        )
    if row["org_id"] is None or row["funding_source"] == "PERSONAL":
        _without_program(row)
        return Funding("CARD", (Part(LegSource.CARD, quote.amount),))
    return sponsored.fund(row, quote, sponsored.engagements(row, len(what.claims)))


def _without_program(row: dict[str, Any]) -> None:
    """A card pays the whole price: no place in a program is used."""
    row.update(
        dict.fromkeys(
            (
                "assignment_id",
                "program_id",
                "program_name",
                "pool_scope",
                "credits_per_cycle",
                "consumed_paise",
            )
        )
    )


def check_payer(row: dict[str, Any]) -> None:
    """Step 3: an ACTIVE member of an ACTIVE, sponsoring organisation that is not behind with its invoices."""
    check_membership(row["membership_status"])
    refused = org_status.spending_refusal(row["org_status"])
    if refused is not None:
        raise DomainError(refused)
    if not row["can_sponsor"] or row["billing_account_id"] is None:
        raise DomainError("SPONSOR_CAPABILITY_REQUIRED")
    if row["dunning_suspended_at"] is not None:
        raise DomainError("BILLING_SUSPENDED_DUNNING")
    if row["overage_unpaid"]:
        raise DomainError("MEMBER_OVERAGE_UNPAID")


def check_membership(status: str | None) -> None:
    """Only an ACTIVE member spends; whoever never was one learns nothing. Raises NOT_A_MEMBER, MEMBERSHIP_SUSPENDED."""
    if status == "SUSPENDED":
        raise DomainError("MEMBERSHIP_SUSPENDED")
    if status != "ACTIVE":
        raise DomainError("NOT_A_MEMBER")


def lost_place(row: dict[str, Any]) -> NoReturn:
    """Somebody used the place between reading and writing. A program that blocks has no room; one that charges is
    metered again from the start, as after any lost race."""
    if row["overage_behavior"] == "BLOCK":
        raise DomainError("PROGRAM_SESSION_CAP_REACHED", program=row["program_name"])
    raise OperationalError(
        "checkout", {}, psycopg.errors.SerializationFailure("the program's place was used")
    )


def check_spend_limit(
    raw: psycopg.Connection[Any], row: dict[str, Any], user_id: int, amount: int, now: dt.datetime
) -> None:
    """Step 7: the month's organisation-funded paise, tax included, plus this one stay within the limit (Indian month)."""
    if row["spend_limit_paise"] is None:
        return
    month = now.astimezone(clock.IST).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    with raw.pipeline():
        limit = raw.execute(sql.LOCK_MEMBER, {"membership": Int8(row["membership_id"])})
        spent = raw.execute(
            sql.SPENT_THIS_MONTH, {"org": Int8(row["org_id"]), "user": Int8(user_id), "month": month}
        )
    (limit_paise,), (spent_paise,) = limit.fetchone(), spent.fetchone()  # type: ignore[misc]
    if limit_paise is not None and spent_paise + amount > limit_paise:
        raise DomainError(
            "MEMBER_SPEND_LIMIT_EXCEEDED",
            limit_paise=limit_paise,
            spent_paise=spent_paise,
            amount_paise=amount,
        )


def _replay(stored_hash: str, status: int | None, response: dict[str, Any] | None, digest: str) -> Result:
    if stored_hash != digest:
        raise DomainError("IDEMPOTENCY_KEY_REUSED")
    if status is None or response is None:
        raise DomainError("IDEMPOTENT_REPLAY_TERMINAL")
    return Result(response, replayed=True)


# ---- the driver --------------------------------------------------------------------------------------------------------


def driver(session: Session) -> psycopg.Connection[Any]:
    """The session's own psycopg connection, inside its open transaction: pipelines save round trips."""
    raw: psycopg.Connection[Any] = session.connection().connection.driver_connection  # type: ignore[assignment]
    return raw


def read(raw: psycopg.Connection[Any], values: dict[str, Any]) -> dict[str, Any] | None:
    try:
        with raw.pipeline():
            _ENTER.run(raw, values)
            cursor = _READ_ALL.run(raw, values, dict_row)
        found: dict[str, Any] | None = cursor.fetchone()
        return found
    except psycopg.Error as error:
        _translate(error, None)


def parts(values: dict[str, Any], row: dict[str, Any]) -> tuple[bool, bool]:
    """Which parts of WRITE a booking needs: what lies beyond its program, and what only a first booking does."""
    return bool(values["marginal"] or values["member"]), row["in_trial"] or not row["has_profile"]


def write(raw: psycopg.Connection[Any], values: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    statement = _WRITES[parts(values, row)]
    try:
        with raw.pipeline():
            if values["event"] is not None:
                _SEAT.run(raw, values)
            if row["pool_scope"] == "SHARED":
                _LOCK_POOL.run(raw, values)
            _SWEEP.run(raw, values)
            cursor = statement.run(raw, values, dict_row)
            if values["codes"]:
                _POST.run(raw, values)
            if values["limit"] is not None:
                _WITHIN_LIMIT.run(raw, values)
            if values["host_share"]:
                _HOST_SHARE.run(raw, values)
        counts: dict[str, Any] | None = cursor.fetchone()
        assert counts is not None
        return counts
    except psycopg.Error as error:
        _translate(error, values["user"])


def _translate(error: psycopg.Error, learner: int | None) -> NoReturn:
    """The database's refusals as the specification's codes; lost races as SQLAlchemy's, which the caller retries."""
    if isinstance(error, psycopg.errors.ExclusionViolation):
        clash = _CLASHING_USER.search(error.diag.message_detail or "")
        mine = clash is not None and int(clash.group(1)) == learner
        raise DomainError("LEARNER_DOUBLE_BOOKED" if mine else "SLOT_TAKEN") from None
    if error.sqlstate == "CL001":
        code = error.diag.message_primary or ""
        raise DomainError(code if code in REGISTRY else "INTERNAL_ERROR") from None
    if isinstance(error, psycopg.OperationalError):
        raise OperationalError("checkout", {}, error) from error
    raise error
