"""Who could pay a booking, and what each choice would mean, in words (chapter 2, 2.6 "payer selector")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import g

from app.errors import REGISTRY, DomainError
from app.extensions import db
from app.models import Plan
from app.security.context import acting
from app.services import cover as covers
from app.services import org_status, sponsored
from app.services.booking_record import COVERED_BY_LICENSE, Quote
from app.services.cover import Cover
from app.services.text import money

SELF = "me"  # the payer's choice of one's own card


@dataclass(frozen=True)
class Payer:
    """Who could pay: an organisation, or oneself (id ``me``); what it means (*says*), or why it cannot (*refusal*).

    *card_paise* is one's own part now, *later_paise* what one owes apart within fourteen days.
    """

    id: str
    name: str
    cover: Cover | None = None
    refusal: str = ""
    says: str = ""
    card_paise: int = 0
    later_paise: int = 0
    pays_now: bool = True  # the whole of it, by wallet or card


def payers(plan: Plan, quote: Quote, sessions: int = 1) -> list[Payer]:
    """Every sponsoring organisation of the reader, with its cover of *plan* and the reason where it cannot pay; and
    the reader's own card. *sessions* are those of a class."""
    own = Payer(
        SELF,
        "Myself",
        card_paise=quote.amount,
        says="By card. Nobody but you and the expert sees the booking.",
    )
    found = [_payer(m, plan, quote, sessions) for m in g.memberships if m["can_sponsor"]]
    return [*sorted(found, key=lambda p: (bool(p.refusal), p.name.lower())), own]


def _payer(m: dict[str, Any], plan: Plan, quote: Quote, sessions: int) -> Payer:
    def refused(code: str, **known: Any) -> Payer:
        return Payer(m["public_id"], m["name"], refusal=REGISTRY[code][1], **known)

    if m["membership_status"] != "ACTIVE":
        return refused("MEMBERSHIP_SUSPENDED")
    if m["status"] != "ACTIVE":
        return refused(org_status.spending_refusal(m["status"]) or "ORG_NOT_ACTIVE")
    if m["funding_source"] == "PERSONAL":
        return Payer(
            m["public_id"],
            m["name"],
            card_paise=quote.amount,
            says=f"By your card; {m['name']} sees the booking and may reimburse you.",
        )
    with acting(db.session(), org_id=m["organization_id"], role=m["role"], membership_id=m["membership_id"]):
        account, cover = covers.covering(db.session(), m["membership_id"], plan, sessions=sessions)
    if account is not None and account["dunning_suspended_at"] is not None:
        return refused("BILLING_SUSPENDED_DUNNING")
    if account is not None and account["overage_unpaid"]:
        return refused("MEMBER_OVERAGE_UNPAID")
    if cover is None:
        return refused("PROGRAM_ASSIGNMENT_INACTIVE")
    if cover.refusal is not None:
        return refused(cover.refusal, cover=cover)
    try:
        funding = covers.funding(cover, quote)
        sponsored.within_limit(cover.row, funding)
    except DomainError as error:
        return refused(error.code, cover=cover)
    balance = cover.row["wallet_balance_paise"] or 0
    if funding.wallet and cover.row["wallet_frozen_at"] is not None:
        return refused("WALLET_FROZEN", cover=cover)
    if funding.wallet > balance:
        return refused("WALLET_INSUFFICIENT_FUNDS", cover=cover)
    priced = funding.quote or quote
    later = priced.member + priced.member_tax
    return Payer(
        m["public_id"],
        m["name"],
        cover=cover,
        card_paise=funding.card,
        later_paise=later,
        pays_now=priced.amount == quote.amount and not funding.accrued,
        says=" ".join(_sentences(cover, funding.card, later)),
    )


def _sentences(cover: Cover, card: int, later: int) -> list[str]:
    row, metered = cover.row, cover.metered
    until = f"{cover.period_end.day} {cover.period_end:%b %Y}"
    out = []
    if cover.left is not None:
        shared = ", shared with others" if cover.shared else ""
        out.append(f"Program {cover.program}: {money(cover.left)} left until {until}{shared}.")
    elif cover.sessions is None:
        out.append(f"Program {cover.program}: unlimited until {until}.")
    else:
        out.append(
            f"Program {cover.program}: {cover.sessions} session{'' if cover.sessions == 1 else 's'} left until {until}."
        )
    if cover.budget is None and metered.covered:
        out.append(f"{COVERED_BY_LICENSE}.")
    elif row["funding_source"] == "WALLET":
        out.append(f"Wallet {money(row['wallet_balance_paise'] or 0)}.")
    if sponsored.by_session(row):
        out.append("Each session counts when the expert plans it.")
        if metered.marginal:
            who = "you pay yourself" if cover.member_pays else "is charged to the organisation"
            out.append(f"The next one lies beyond the program by {money(metered.marginal)}, which {who}.")
    elif later:
        what = f", a surcharge of {money(metered.surcharge)} included" if metered.surcharge else ""
        out.append(
            f"The program does not cover all of it: {money(later)} is yours to pay by card within fourteen days{what}."
        )
    elif metered.marginal:
        out.append(
            f"{money(metered.marginal)} lies beyond the program and is charged to the organisation"
            + (f", a surcharge of {money(metered.surcharge)} included." if metered.surcharge else ".")
        )
    if card:
        out.append(f"Your card pays {money(card)}, the wallet the rest.")
    return out
