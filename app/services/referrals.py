"""Who brings whom, and the credit they earn (chapter 2, 2.3): personal, never in an organisation's scope (1.6).

Both get their bonus at the first booking that the person brought pays with money of their own: what an organisation or
earlier credit pays does not count, nor what went back in full. When its money goes back later, what is left of the bonus goes
too, until another booking earns it. Credit is spent at checkout, earliest expiry first.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.logs import log
from app.models import CreditKind, Payment, PaymentStatus, Referral, ReferralCode, ReferralCredit, User
from app.security.context import acting, ctx
from app.services import market_notes
from app.services.text import money

REFERRER_BONUS = 25_000  # paise
REFEREE_BONUS = 25_000
VALID = dt.timedelta(days=180)
MAX_GRANT = 10_000_000
_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
_CODE = re.compile(r"^[A-Z2-9]{8}$")


def code(session: Session) -> str:
    """The code of the person acting, made when first asked for."""
    user = ctx().user_id
    for _ in range(5):
        found = session.scalar(select(ReferralCode.code).where(ReferralCode.user_id == user))
        if found is not None:
            return str(found)
        letters = "".join(secrets.choice(_ALPHABET) for _ in range(8))
        session.execute(
            text(
                "INSERT INTO referral_code (user_id, code, created_at) VALUES (:u, :c, :at) ON CONFLICT DO NOTHING"
            ),
            {"u": user, "c": letters, "at": clock.now()},
        )
    raise DomainError("CHECKOUT_CONTENTION")


def redeem(session: Session, letters: str) -> Referral:
    """Say who brought the person acting: once, before they first paid for a booking themselves, never oneself.

    Raises Invalid (an unknown or own code), REFERRAL_NOT_POSSIBLE.
    """
    user, wanted = ctx().user_id, letters.strip().upper()
    by = (
        session.scalar(select(ReferralCode.user_id).where(ReferralCode.code == wanted))
        if _CODE.match(wanted)
        else None
    )
    if by is None or by == user:
        raise Invalid({"code": ["This is no code of somebody else."]})
    with acting(session, scope="job", org_id=None):
        paid = _has_paid(session, user)
        back = session.scalar(
            select(Referral.id).where(Referral.referrer_user_id == user, Referral.referee_user_id == by)
        )
        if paid or back:
            raise DomainError("REFERRAL_NOT_POSSIBLE")
        row = Referral(referrer_user_id=by, referee_user_id=user)
        try:
            with session.begin_nested():
                session.add(row)
                session.flush()
        except IntegrityError:
            raise DomainError("REFERRAL_NOT_POSSIBLE") from None
    return row


def _has_paid(session: Session, user: int | None) -> bool:
    """Whether they ever paid for a booking of their own. Wants job scope."""
    one = select(Payment.id).where(
        Payment.user_id == user,
        Payment.organization_id.is_(None),
        Payment.status == PaymentStatus.SUCCEEDED,
        Payment.amount_paise > 0,
    )
    return session.scalar(one.limit(1)) is not None


def may_redeem(session: Session) -> bool:
    """Whether the person acting may still say who brought them: nobody was named, and nothing was paid yet."""
    user = ctx().user_id
    with acting(session, scope="job", org_id=None):
        named = session.scalar(select(Referral.id).where(Referral.referee_user_id == user))
        return named is None and not _has_paid(session, user)


# money of the person's own that a booking (p) kept: the card's, less what refunds and lost disputes sent back
_KEPT = (
    "p.organization_id IS NULL AND p.parent_payment_id IS NULL AND p.status = 'SUCCEEDED' AND "
    "(SELECT coalesce(sum(l.amount_paise), 0) FROM payment_leg l WHERE l.payment_id = p.id AND l.source = 'CARD') > "
    "(SELECT coalesce(sum(f.gateway_paise), 0) FROM refund f WHERE f.payment_id = p.id "
    "AND f.status IN ('PENDING', 'SUCCEEDED')) + "
    "(SELECT coalesce(sum(d.posted_paise), 0) FROM dispute d WHERE d.payment_id = p.id)"
)
_EARNED = f"EXISTS (SELECT 1 FROM payment p WHERE p.user_id = r.referee_user_id AND {_KEPT})"  # noqa: S608
_FIRST = text(
    f"SELECT p.id FROM payment p WHERE p.user_id = :user AND {_KEPT} ORDER BY p.captured_at, p.id LIMIT 1"  # noqa: S608
)
_DUE = text(
    "SELECT r.id FROM referral r WHERE CASE "  # noqa: S608  (constants)
    f"WHEN r.rewarded_at IS NULL THEN {_EARNED} "
    f"WHEN r.revoked_at IS NOT NULL THEN {_EARNED} OR EXISTS (SELECT 1 FROM referral_credit c "
    "WHERE c.referral_id = r.id AND c.remaining_paise > 0) "
    "WHEN r.payment_id IS NOT NULL AND r.rewarded_at > :since "
    f"THEN NOT EXISTS (SELECT 1 FROM payment p WHERE p.id = r.payment_id AND {_KEPT}) ELSE false END "
    "ORDER BY r.id LIMIT 500"
)
_EMPTY = text("UPDATE referral_credit SET remaining_paise = 0 WHERE referral_id = :r AND remaining_paise > 0")
_FILL = text(
    "UPDATE referral_credit c SET remaining_paise = c.amount_paise - coalesce((SELECT sum(u.amount_paise - u.restored_paise) "
    "FROM referral_credit_use u WHERE u.credit_id = c.id), 0) WHERE c.referral_id = :r"
)


def reward(session: Session) -> dict[str, int]:
    """Give both their bonus where a person brought has paid for a first booking, and take it back where that money went
    back. Wants job scope, commits one by one; safe to repeat."""
    done = {"rewarded": 0, "revoked": 0, "failed": 0}
    ids = session.scalars(_DUE, {"since": clock.now() - VALID}).all()
    session.commit()
    for key in ids:
        try:
            what = _decide(session, key)
            session.commit()
            if what:
                done[what] += 1
        except Exception as error:
            session.rollback()
            log.warning("referral_reward_failed", referral=key, error=type(error).__name__)
            done["failed"] += 1
    return done


def _decide(session: Session, key: int) -> str:
    """What becomes of one referral now: rewarded, revoked, or nothing."""
    row = session.scalars(
        select(Referral).where(Referral.id == key).with_for_update().execution_options(populate_existing=True)
    ).one()
    earned = session.scalar(_FIRST, {"user": row.referee_user_id})
    if earned is None:
        if row.rewarded_at is None:
            return ""
        session.execute(_EMPTY, {"r": row.id})
        if row.revoked_at is not None:
            return ""
        row.revoked_at = clock.now()
        _tell_revoked(session, row)
        return "revoked"
    again, row.payment_id = row.revoked_at is not None, earned
    if row.rewarded_at is not None and not again:
        return ""  # another booking earns it as well
    if again:
        row.revoked_at = None
        session.execute(_FILL, {"r": row.id})
    else:
        _give(session, row)
    _tell_rewarded(session, row)
    return "rewarded"


def _give(session: Session, row: Referral) -> None:
    row.rewarded_at = clock.now()
    for user, kind, paise in _bonuses(row):
        session.add(
            ReferralCredit(
                user_id=user,
                kind=kind,
                amount_paise=paise,
                remaining_paise=paise,
                expires_at=row.rewarded_at + VALID,
                referral_id=row.id,
            )
        )


def _bonuses(row: Referral) -> tuple[tuple[int, CreditKind, int], ...]:
    return (
        (row.referrer_user_id, CreditKind.REFERRAL_BONUS, REFERRER_BONUS),
        (row.referee_user_id, CreditKind.REFEREE_BONUS, REFEREE_BONUS),
    )


def _tell_rewarded(session: Session, row: Referral) -> None:
    for user, kind, paise in _bonuses(row):
        market_notes.tell(
            session,
            user,
            "referral.bonus",
            f"{money(paise)} of credit for you",
            [
                f"{money(paise)} of credit is yours: "
                + (
                    "somebody you brought has booked for the first time."
                    if kind == CreditKind.REFERRAL_BONUS
                    else "thank you for your first booking."
                ),
                "Use it when you book for yourself, on orders from ₹500.",
            ],
            path="/dashboard/referrals",
            button="See your credit",
            key=f"referral:{row.public_id}:{user}:{row.payment_id}",
        )


def _tell_revoked(session: Session, row: Referral) -> None:
    for user, _, _ in _bonuses(row):
        market_notes.tell(
            session,
            user,
            "referral.revoked",
            "Credit for a first booking was taken back",
            [
                "The booking that earned it was given back in full, and so what was left of the credit is gone.",
                "The next paid booking earns it again.",
            ],
            path="/dashboard/referrals",
            button="See your credit",
            key=f"referral-revoked:{row.public_id}:{user}:{row.payment_id}",
        )


def grant(
    session: Session, person: uuid.UUID, kind: CreditKind, paise: int, reason: str, days: int | None = 180
) -> ReferralCredit:
    """ADMIN gives somebody credit. Raises INSUFFICIENT_ROLE, USER_NOT_FOUND, Invalid."""
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    problems: dict[str, list[str]] = {}
    if kind not in (CreditKind.PROMOTION, CreditKind.COMPENSATION, CreditKind.MANUAL):
        problems["kind"] = ["Bonuses are earned, not granted."]
    if not 1 <= paise <= MAX_GRANT:
        problems["amount_paise"] = [f"At most {money(MAX_GRANT)}."]
    if not 1 <= len(reason.strip()) <= 300:
        problems["reason"] = ["Say why, in at most 300 characters."]
    if days is not None and not 1 <= days <= 1825:
        problems["days"] = ["Between one day and five years."]
    user = session.scalar(select(User.id).where(User.public_id == person))
    if user is None:
        raise DomainError("USER_NOT_FOUND")
    if problems:
        raise Invalid(problems)
    with acting(session, scope="job", org_id=None):
        row = ReferralCredit(
            user_id=user,
            kind=kind,
            amount_paise=paise,
            remaining_paise=paise,
            expires_at=clock.now() + dt.timedelta(days=days) if days else None,
            reason=reason.strip(),
            granted_by_user_id=ctx().user_id,
        )
        session.add(row)
        session.flush()
        market_notes.tell(
            session,
            user,
            "credit.granted",
            f"{money(paise)} of credit for you",
            [f"{money(paise)} of credit is yours. Use it when you book for yourself, on orders from ₹500."],
            path="/dashboard/referrals",
            button="See your credit",
            key=f"credit:{row.public_id}",
            quote=row.reason,
        )
    return row


def credits(session: Session) -> Sequence[ReferralCredit]:
    """The credits of the person acting, those that can be spent first, earliest expiry first."""
    now = clock.now()
    rows = session.scalars(
        select(ReferralCredit)
        .where(ReferralCredit.user_id == ctx().user_id)
        .order_by(ReferralCredit.id.desc())
        .limit(200)
    ).all()
    far = dt.datetime.max.replace(tzinfo=dt.UTC)

    def rank(c: ReferralCredit) -> tuple[bool, dt.datetime]:
        dead = c.remaining_paise == 0 or (c.expires_at is not None and c.expires_at <= now)
        return dead, c.expires_at or far

    return sorted(rows, key=rank)


def brought(session: Session) -> Sequence[Referral]:
    """People the person acting brought, latest first."""
    return session.scalars(
        select(Referral)
        .where(Referral.referrer_user_id == ctx().user_id)
        .options(joinedload(Referral.referee))
        .order_by(Referral.id.desc())
        .limit(200)
    ).all()


def view(session: Session, base_url: str) -> dict[str, Any]:
    """Code, credit and people brought, as the API shows them. Names of others stay short."""
    from app.services import price_cuts

    letters = code(session)
    return {
        "code": letters,
        "url": f"{base_url}/refer/{letters}",
        "available_paise": price_cuts.available(session),
        "minimum_order_paise": price_cuts.CREDIT_ORDER_MINIMUM,
        "bonus_paise": {"referrer": REFERRER_BONUS, "referee": REFEREE_BONUS},
        "credits": [
            {
                "id": str(c.public_id),
                "kind": c.kind.value,
                "amount_paise": c.amount_paise,
                "remaining_paise": c.remaining_paise,
                "expires_at": c.expires_at.isoformat() if c.expires_at else None,
                "reason": c.reason,
            }
            for c in credits(session)
        ],
        "referrals": [
            {
                "name": r.referee.first_name or "Somebody",
                "rewarded": r.rewarded_at is not None and r.revoked_at is None,
            }
            for r in brought(session)
        ],
    }
