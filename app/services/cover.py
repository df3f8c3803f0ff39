"""What a member's program would cover of a booking, before anybody books: the checkout's own statement and functions (2.6)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import ChargeTo, Plan, PlanType
from app.services import sponsored
from app.services.booking_record import Funding, Quote
from app.services.checkout_sql import COVERING
from app.services.metering import Metered, Outcome, of_row

_SQL = f"""
SELECT f.*, b.funding_source, b.wallet_balance_paise, b.wallet_frozen_at, b.allow_member_top_up, b.credit_limit_paise,
       coalesce(b.trusted_at, b.first_invoice_paid_at) IS NOT NULL AS trusted, b.dunning_suspended_at,
       (SELECT d.balance_paise FROM ledger_account i JOIN ledger_balance d ON d.account_id = i.id
         WHERE i.code = 'ORG_RECEIVABLE|org:' || b.organization_id || '|INR') AS owed_paise,
       EXISTS (SELECT FROM overage_event v WHERE v.membership_id = m.id AND v.charge_to = 'MEMBER'
                  AND v.charge_status = 'FAILED') AS overage_unpaid,
       NULL::bigint AS host_id, false AS to_organization
  FROM membership m JOIN plan p ON p.id = :plan JOIN billing_account b ON b.organization_id = m.organization_id
  LEFT JOIN LATERAL ({COVERING.replace("%(today)s::date", "CAST(:today AS date)")}) f ON true
 WHERE m.id = :membership"""  # noqa: S608 - put together from constants
_COVERING = text(_SQL.replace("::", "\\:\\:"))


@dataclass(frozen=True)
class Cover:
    """The place that would pay, and how far. *budget* and *left* are paise of a pool, *sessions* those left of a seat
    (None: unlimited); *refusal* is the code that checkout would answer."""

    row: Mapping[str, Any]
    outcome: Outcome
    refusal: str | None
    budget: int | None
    left: int | None
    sessions: int | None

    @property
    def program(self) -> str:
        return str(self.row["program_name"])

    @property
    def period_end(self) -> dt.date:
        return self.row["period_end"]  # type: ignore[no-any-return]

    @property
    def shared(self) -> bool:
        return bool(self.row["pool_scope"] == "SHARED" and self.budget is not None)

    @property
    def metered(self) -> Metered:
        return self.outcome.metered

    @property
    def member_pays(self) -> bool:
        """Whether what lies beyond is the member's own to pay."""
        return self.metered.marginal > 0 and self.outcome.charge_to == ChargeTo.MEMBER


def covering(
    session: Session, membership_id: int, plan: Plan, *, repeats: int = 1, sessions: int = 1
) -> tuple[Mapping[str, Any] | None, Cover | None]:
    """(the payer's account, what the checkout would find for this member and plan now); None without a place.

    *repeats*: so many bookings of the plan, or planned sessions of a subscription on a seat; *sessions*: of a class.
    Acts for the organisation.
    """
    found = session.execute(
        _COVERING, {"plan": plan.id, "membership": membership_id, "today": clock.today_ist()}
    ).first()
    row: dict[str, Any] | None = dict(found._mapping) if found is not None else None
    if row is None or row["assignment_id"] is None:
        return row, None
    known = {**row, "type": plan.type.value, "total_sessions": plan.total_sessions}
    price = plan.price_paise
    engagements = sponsored.engagements(known, sessions)
    if sponsored.by_session(known):
        price, engagements = sponsored.session_price(known, price) * repeats, repeats
    elif plan.type in (PlanType.CONSULTATION, PlanType.WEBINAR):
        price, engagements = price * repeats, repeats
    refusal = None
    try:
        outcome = sponsored.meter(known, price, engagements)
    except sponsored.CapExhausted as error:
        outcome, refusal = error.outcome, error.code
    except DomainError as error:
        if error.code == "PROGRAM_ASSIGNMENT_INACTIVE":
            return row, None
        refusal = error.code
        outcome = sponsored.decided(known, price, engagements)
    terms, usage = of_row(row)
    return row, Cover(
        known,
        outcome,
        refusal,
        terms.budget,
        None if terms.budget is None else max(0, terms.budget - usage.consumed),
        None if terms.cap is None else max(0, terms.cap - usage.engagements),
    )


def funding(cover: Cover, quote: Quote) -> Funding:
    """The parts of a booking at *quote* under *cover*, as checkout would make them. Raises what checkout raises."""
    return sponsored.fund(cover.row, quote, max(1, cover.outcome.metered.engagements))


def preview(session: Session, membership_id: int | None, plan: Plan, engagements: int = 1) -> dict[str, Any]:
    """``overage-preview``: what the checkout's metering would say, writing nothing (2.6)."""
    cover = (
        covering(session, membership_id, plan, repeats=engagements, sessions=engagements)[1]
        if membership_id
        else None
    )
    if cover is None:
        return {
            "applicable": False,
            "covered_paise": 0,
            "base_paise": 0,
            "surcharge_paise": 0,
            "marginal_paise": 0,
            "will_exceed_cap": False,
            "will_block": False,
            "charge_to": None,
            "reason": "PROGRAM_ASSIGNMENT_INACTIVE",
        }
    m = cover.metered
    return {
        "applicable": True,
        "covered_paise": m.covered,
        "base_paise": m.base,
        "surcharge_paise": m.surcharge,
        "marginal_paise": m.marginal,
        "will_exceed_cap": m.marginal > 0,
        "will_block": cover.refusal is not None,
        "charge_to": cover.outcome.charge_to.value if cover.outcome.charge_to else None,
        "reason": cover.refusal,
    }
