"""What a booking would cost, before anybody pays: the same functions as checkout, no writes (chapter 2, 2.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.models import LegSource, Plan
from app.services import booking_record, price_cuts
from app.services.booking_record import Funding, Part, Quote


@dataclass(frozen=True)
class Priced:
    """A quote and what one's own credit and card pay of it, paise."""

    quote: Quote
    credit: int
    card: int

    def view(self) -> dict[str, Any]:
        """As the API shows it."""
        q = self.quote
        return {
            "price_paise": q.price,
            "discount_paise": q.discount,
            "tax_bps": q.tax_bps,
            "tax_paise": q.tax,
            "amount_paise": q.amount,
            "credit_paise": self.credit,
            "card_paise": self.card,
        }


def of(session: Session, plan: Plan, code: str, credits: bool, *, sponsored: bool) -> Priced:
    """Price *plan* for the person acting. Raises DISCOUNT_INVALID."""
    cuts = price_cuts.NOTHING
    if code or credits:
        known = {"plan_id": plan.id, "plan_org_id": plan.organization_id}
        cuts = price_cuts.find(session, known, plan.price_paise, code, credits, sponsored=sponsored)
    quote = booking_record.price(plan.price_paise, plan.tax_bps, discount=cuts.discount)
    funding = cuts.spend(Funding("CARD", (Part(LegSource.CARD, quote.amount),)), quote)
    credit = sum(p.amount for p in funding.parts if p.source == LegSource.REFERRAL_CREDIT)
    return Priced(quote, credit, 0 if sponsored else quote.amount - credit)
