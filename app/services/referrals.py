"""Who brings whom, and the credit they earn (chapter 2, 2.3): personal, never in an organisation's scope (1.6).

Both get their bonus at the first paid booking of the person brought. Credit is spent at checkout, earliest expiry first.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, text
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
    """Say who brought the person acting: once, before their first paid booking, never oneself.

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
        paid = session.scalar(
            select(func.count())
            .select_from(Payment)
            .where(
                Payment.user_id == user, Payment.status == PaymentStatus.SUCCEEDED, Payment.amount_paise > 0
            )
        )
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


def reward(session: Session) -> dict[str, int]:
    """Give both their bonus where a person brought has paid for a first booking. Wants job scope, commits one by one."""
    done = {"rewarded": 0, "failed": 0}
    ids = session.scalars(
        select(Referral.id)
        .where(
            Referral.rewarded_at.is_(None),
            select(Payment.id)
            .where(
                Payment.user_id == Referral.referee_user_id,
                Payment.status == PaymentStatus.SUCCEEDED,
                Payment.amount_paise > 0,
            )
            .exists(),
        )
        .order_by(Referral.id)
        .limit(500)
    ).all()
    session.commit()
    for key in ids:
        try:
            done["rewarded"] += _reward(session, key)
            session.commit()
        except Exception as error:
            session.rollback()
            log.warning("referral_reward_failed", referral=key, error=type(error).__name__)
            done["failed"] += 1
    return done


def _reward(session: Session, key: int) -> int:
    now = clock.now()
    row = session.scalars(
        select(Referral).where(Referral.id == key, Referral.rewarded_at.is_(None)).with_for_update()
    ).one_or_none()
    if row is None:
        return 0
    row.rewarded_at = now
    for user, kind, paise in (
        (row.referrer_user_id, CreditKind.REFERRAL_BONUS, REFERRER_BONUS),
        (row.referee_user_id, CreditKind.REFEREE_BONUS, REFEREE_BONUS),
    ):
        session.add(
            ReferralCredit(
                user_id=user,
                kind=kind,
                amount_paise=paise,
                remaining_paise=paise,
                expires_at=now + VALID,
                referral_id=row.id,
            )
        )
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
            key=f"referral:{row.public_id}:{user}",
        )
    return 1


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
            {"name": r.referee.first_name or "Somebody", "rewarded": r.rewarded_at is not None}
            for r in brought(session)
        ],
    }
