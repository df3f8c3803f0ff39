"""Rate cards: how the price of a hosted booking is shared (chapter 2, 2.10).

A card is never changed: a new one for the same scope closes the old one and takes over, so that what a booking used
stays readable. Bookings keep the shares they were made with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import AuditCategory, PlanType, RateCard
from app.security.context import ctx
from app.services import audit

WHOLE = 10_000  # bps
PLATFORM_MINIMUM = 1_000  # bps, unless ADMIN agrees otherwise


@dataclass(frozen=True)
class Shares:
    """Shares of a price in bps."""

    platform_bps: int
    org_bps: int
    consultant_bps: int

    def check(self) -> None:
        """Raises Invalid (a share outside 0 to 10000), RATE_CARD_BPS_SUM, RATE_CARD_PLATFORM_MINIMUM."""
        wrong = {
            name: ["Between 0 and 10000 basis points."]
            for name, bps in vars(self).items()
            if not 0 <= bps <= WHOLE
        }
        if wrong:
            raise Invalid(wrong)
        total = self.platform_bps + self.org_bps + self.consultant_bps
        if total != WHOLE:
            raise DomainError("RATE_CARD_BPS_SUM", sum_bps=total)
        if self.platform_bps < PLATFORM_MINIMUM and not ctx().is_admin:
            raise DomainError("RATE_CARD_PLATFORM_MINIMUM", minimum_bps=PLATFORM_MINIMUM)


DEFAULT = Shares(1_000, 1_000, 8_000)


def current(session: Session) -> list[RateCard]:
    """The cards in force of the organisation acted for, the general one first."""
    now = clock.now()
    return list(
        session.scalars(
            select(RateCard)
            .where(
                RateCard.effective_from <= now,
                (RateCard.effective_to.is_(None)) | (RateCard.effective_to > now),
            )
            .order_by(
                RateCard.contract_id.nulls_first(),
                RateCard.plan_id.nulls_first(),
                RateCard.plan_type.nulls_first(),
                RateCard.id,
            )
        )
    )


def put(
    session: Session,
    shares: Shares,
    *,
    plan_type: PlanType | None = None,
    plan_id: int | None = None,
    contract_id: int | None = None,
) -> RateCard:
    """Put a card in force now for a scope of the organisation acted for; the card it replaces is closed.

    Raises what ``Shares.check`` raises, and Invalid for a scope that names both a plan and a kind of plan.
    """
    shares.check()
    if plan_id is not None and plan_type is not None:
        raise Invalid({"plan_type": ["A card is for one plan or for a kind of plan, not both."]})
    now = clock.now()
    scope = (
        RateCard.plan_type == plan_type if plan_type is not None else RateCard.plan_type.is_(None),
        RateCard.plan_id == plan_id if plan_id is not None else RateCard.plan_id.is_(None),
        RateCard.contract_id == contract_id if contract_id is not None else RateCard.contract_id.is_(None),
    )
    old = session.scalars(
        select(RateCard).where(*scope, RateCard.effective_to.is_(None)).with_for_update()
    ).one_or_none()
    before: dict[str, Any] | None = None
    if old is not None:
        before = _plain(old)
        if before == vars(shares):
            return old
        old.effective_to = max(now, old.effective_from)
        if old.effective_from >= now:  # replaced within the same moment: it never was in force
            session.delete(old)
        session.flush()
    row = RateCard(
        **vars(shares), plan_type=plan_type, plan_id=plan_id, contract_id=contract_id, effective_from=now
    )
    session.add(row)
    session.flush()
    audit.record(
        session,
        AuditCategory.PROGRAM,
        "RATE_CARD_BUMPED",
        f"Shares are now {row}: platform, organisation, expert.",
        target_type="rate_card",
        target_id=row.public_id,
        before=before,
        after=vars(shares),
    )
    return row


def _plain(row: RateCard) -> dict[str, int]:
    return {
        "platform_bps": row.platform_bps,
        "org_bps": row.org_bps,
        "consultant_bps": row.consultant_bps,
    }
