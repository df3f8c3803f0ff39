"""What lowers a personal booking: discount codes and referral credits (chapter 2, 2.3).

Both are judged before the first write and taken in the booking's own transaction, under the row of the code and the rows
of the credits. A hold that ends gives them back; so does a refund, to the credits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.numeric import Int8
from sqlalchemy import func, or_, select, text, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import (
    DiscountCode,
    DiscountKind,
    DiscountUse,
    LegSource,
    Payment,
    ReferralCredit,
    ReferralCreditUse,
    Refund,
)
from app.security.context import acting, ctx
from app.services import ledger
from app.services.booking_record import Funding, Part, Quote

CREDIT_ORDER_MINIMUM = 50_000  # paise of an order that credits may help to pay
_CODE = re.compile(r"^[A-Z0-9][A-Z0-9-]{2,31}$")
WHOLE = 10_000  # bps


@dataclass(frozen=True)
class Cuts:
    """The code that is used and what it takes off; the credit of the person that may be spent. Paise."""

    code_id: int | None = None
    discount: int = 0
    credit: int = 0

    def spend(self, funding: Funding, quote: Quote) -> Funding:
        """*funding* of one's own card, with the credit in front where the order is large enough."""
        if not self.credit or quote.amount < CREDIT_ORDER_MINIMUM:
            return funding
        used = min(self.credit, quote.amount)
        parts = [Part(LegSource.REFERRAL_CREDIT, used)]
        if quote.amount > used:
            parts.append(Part(LegSource.CARD, quote.amount - used))
        return replace(funding, method="CARD" if quote.amount > used else "CREDITS", parts=tuple(parts))


NOTHING = Cuts()


def find(
    session: Session, plan: dict[str, Any], price_paise: int, code: str, credits: bool, *, sponsored: bool
) -> Cuts:
    """The cuts somebody asks for, as they stand now; *plan* has ``plan_id`` and the owner's ``plan_org_id``.

    Raises DISCOUNT_INVALID: unknown, over, used up, for another plan, below its minimum, or an organisation pays.
    Credits of a sponsored booking are ignored.
    """
    found: DiscountCode | None = None
    cut = 0
    if code.strip():
        if sponsored:
            raise DomainError("DISCOUNT_INVALID", reason="sponsored")
        found = _usable(session, code, plan, price_paise)
        cut = cut_of(found, price_paise)
    credit = available(session) if credits and not sponsored else 0
    return Cuts(found.id if found else None, cut, credit)


def cut_of(code: DiscountCode, price_paise: int) -> int:
    """What *code* takes off a price, paise: a share rounded half-up, or a fixed amount; never more than its most or the
    price."""
    cut = code.value
    if code.kind == DiscountKind.PERCENTAGE:
        cut = (price_paise * code.value + WHOLE // 2) // WHOLE
    return min(cut, price_paise, code.most_paise or price_paise)


def _usable(session: Session, raw: str, plan: dict[str, Any], price_paise: int) -> DiscountCode:
    letters, now, user = raw.strip().upper(), clock.now(), ctx().user_id
    if not _CODE.match(letters):
        raise DomainError("DISCOUNT_INVALID", reason="unknown")
    with acting(session, scope="job", org_id=None):  # a code is known by its letters, whoever made it
        code = session.scalars(select(DiscountCode).where(DiscountCode.code == letters)).one_or_none()
        mine = 0
        if code is not None and code.per_person is not None:
            mine = _uses(session, code.id, user)
    if code is None or not code.active:
        raise DomainError("DISCOUNT_INVALID", reason="unknown")
    if (code.starts_at and code.starts_at > now) or (code.expires_at and code.expires_at <= now):
        raise DomainError("DISCOUNT_INVALID", reason="expired")
    if (code.max_uses is not None and code.used_count >= code.max_uses) or (
        code.per_person is not None and mine >= code.per_person
    ):
        raise DomainError("DISCOUNT_INVALID", reason="used up")
    foreign = code.organization_id is not None and code.organization_id != plan["plan_org_id"]
    if foreign or (code.plan_id is not None and code.plan_id != plan["plan_id"]):
        raise DomainError("DISCOUNT_INVALID", reason="not for this plan")
    if price_paise < code.minimum_paise:
        raise DomainError("DISCOUNT_INVALID", reason="below its minimum", minimum_paise=code.minimum_paise)
    return code


def _uses(session: Session, code_id: int, user: int | None) -> int:
    return int(
        session.scalar(
            select(func.count())
            .select_from(DiscountUse)
            .where(
                DiscountUse.code_id == code_id, DiscountUse.user_id == user, DiscountUse.returned_at.is_(None)
            )
        )
        or 0
    )


def available(session: Session) -> int:
    """The credit of the person acting that can be spent now, paise."""
    return int(
        session.scalar(
            select(func.coalesce(func.sum(ReferralCredit.remaining_paise), 0)).where(
                ReferralCredit.user_id == ctx().user_id,
                or_(ReferralCredit.expires_at.is_(None), ReferralCredit.expires_at > clock.now()),
            )
        )
        or 0
    )


# ---- taking them, in the booking's transaction -----------------------------------------------------------------------

_TAKE_CODE = """
UPDATE discount_code SET used_count = used_count + 1 WHERE id = %(code)s::bigint AND active
   AND (max_uses IS NULL OR used_count < max_uses) AND (expires_at IS NULL OR expires_at > %(now)s) RETURNING per_person"""
_USE_CODE = """
INSERT INTO discount_use (code_id, payment_id, user_id, amount_paise, created_at)
SELECT %(code)s::bigint, p.id, %(user)s::int, %(discount)s::bigint, %(now)s FROM payment p
 WHERE p.public_id = %(payment)s::uuid"""
_MINE = "SELECT count(*) FROM discount_use WHERE code_id = %(code)s::bigint AND user_id = %(user)s::int AND returned_at IS NULL"
_CREDITS = """
SELECT id, remaining_paise FROM referral_credit WHERE user_id = %(user)s::int AND remaining_paise > 0
   AND (expires_at IS NULL OR expires_at > %(now)s) ORDER BY expires_at NULLS LAST, id FOR NO KEY UPDATE"""
_SPEND = """
WITH c AS (UPDATE referral_credit SET remaining_paise = remaining_paise - %(paise)s::bigint WHERE id = %(credit)s::bigint RETURNING id)
INSERT INTO referral_credit_use (credit_id, payment_id, user_id, amount_paise, created_at)
SELECT c.id, p.id, %(user)s::int, %(paise)s::bigint, %(now)s FROM c, payment p WHERE p.public_id = %(payment)s::uuid"""


def take(
    raw: psycopg.Connection[Any], cuts: Cuts, funding: Funding, payment: Any, user_id: int, now: Any
) -> None:
    """Use the code and spend the credit of a booking that was just written.

    Raises DISCOUNT_INVALID (somebody else used the last one), CHECKOUT_CONTENTION (the credit went elsewhere).
    """
    values: dict[str, Any] = {
        "payment": payment,
        "user": user_id,
        "now": now,
        "discount": Int8(cuts.discount),
    }
    if cuts.code_id is not None:
        values["code"] = Int8(cuts.code_id)
        raw.execute("SELECT set_config('app.scope', 'job', true)")
        taken = raw.execute(_TAKE_CODE, values).fetchone()
        mine = raw.execute(_MINE, values).fetchone()
        if taken is None or mine is None or (taken[0] is not None and mine[0] >= taken[0]):
            raise DomainError("DISCOUNT_INVALID", reason="used up")
        raw.execute(_USE_CODE, values)
        raw.execute("SELECT set_config('app.scope', 'org', true)")
    left = sum(p.amount for p in funding.parts if p.source == LegSource.REFERRAL_CREDIT)
    if not left:
        return
    with raw.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_CREDITS, values).fetchall()
    for row in rows:
        part = min(left, row["remaining_paise"])
        if part:
            raw.execute(_SPEND, {**values, "credit": Int8(row["id"]), "paise": Int8(part)})
            left -= part
    if left:
        raise DomainError("CHECKOUT_CONTENTION")


# ---- giving them back ------------------------------------------------------------------------------------------------


def give_back(session: Session, payment: Payment) -> None:
    """A hold that was never paid returns its code's use and its credits. Acts for the payer; repeats safely."""
    if payment.organization_id is not None:
        return
    if payment.discount_paise:
        with acting(session, scope="job", org_id=None):
            session.execute(
                text(
                    "WITH u AS (UPDATE discount_use SET returned_at = :now WHERE payment_id = :p AND returned_at IS NULL "
                    "RETURNING code_id) UPDATE discount_code c SET used_count = used_count - 1 FROM u WHERE c.id = u.code_id"
                ),
                {"p": payment.id, "now": clock.now()},
            )
    restore(session, payment, None)


def take_again(session: Session, payment: Payment) -> None:
    """A hold that was over is paid after all: its code is used and its credits are spent once more. Acts for the payer.

    Raises DISCOUNT_INVALID: the code is used up, or the credit went elsewhere or expired since.
    """
    if payment.organization_id is not None:
        return
    now = clock.now()
    if payment.discount_paise:
        with acting(session, scope="job", org_id=None):
            values = {"p": payment.id, "now": now}
            returned = session.execute(
                text(
                    "UPDATE discount_use SET returned_at = NULL WHERE payment_id = :p AND returned_at IS NOT NULL "
                    "RETURNING code_id"
                ),
                values,
            ).scalar()
            if returned is not None:
                taken = session.execute(
                    text(
                        "UPDATE discount_code SET used_count = used_count + 1 WHERE id = :c "
                        "AND (max_uses IS NULL OR used_count < max_uses) RETURNING per_person"
                    ),
                    {"c": returned},
                ).one_or_none()
                if taken is None or (
                    taken.per_person is not None
                    and _uses(session, returned, payment.user_id) > taken.per_person
                ):
                    raise DomainError("DISCOUNT_INVALID", reason="used up")
    uses = session.scalars(
        select(ReferralCreditUse)
        .where(ReferralCreditUse.payment_id == payment.id, ReferralCreditUse.restored_paise > 0)
        .order_by(ReferralCreditUse.credit_id)
        .with_for_update()
    ).all()
    for use in uses:
        spent = session.execute(
            update(ReferralCredit)
            .where(
                ReferralCredit.id == use.credit_id,
                ReferralCredit.remaining_paise >= use.restored_paise,
                or_(ReferralCredit.expires_at.is_(None), ReferralCredit.expires_at > now),
            )
            .values(remaining_paise=ReferralCredit.remaining_paise - use.restored_paise)
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
        if not spent:
            raise DomainError("DISCOUNT_INVALID", reason="the credit was spent")
        use.restored_paise = 0
    session.flush()


def restore(session: Session, payment: Payment, paise: int | None) -> None:
    """Return *paise* (None: everything left) of what *payment* took of its payer's credits, latest expiry first."""
    rows = session.scalars(
        select(ReferralCreditUse)
        .join(ReferralCredit, ReferralCredit.id == ReferralCreditUse.credit_id)
        .where(ReferralCreditUse.payment_id == payment.id)
        .order_by(ReferralCredit.expires_at.desc().nulls_first(), ReferralCreditUse.id.desc())
        .with_for_update(of=ReferralCreditUse)
    ).all()
    for row in rows:
        part = row.amount_paise - row.restored_paise
        if paise is not None:
            part = min(part, paise)
            paise -= part
        if part:
            row.restored_paise += part
            session.execute(
                update(ReferralCredit)
                .where(ReferralCredit.id == row.credit_id)
                .values(remaining_paise=ReferralCredit.remaining_paise + part)
                .execution_options(synchronize_session=False)
            )
    session.flush()


def refunded(session: Session, refund: Refund, payment: Payment, paise: int) -> list[ledger.Leg]:
    """The effect of a refund on the credits that helped to pay: they are there again (2.8)."""
    restore(session, payment, paise)
    return []
