"""What one booking writes: payment, posting, documents' facts, audit, mail and bells, computed before the first write."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb
from psycopg.types.numeric import Int8

from app import clock
from app.models import ChargeTo, LegSource, OverageStatus
from app.schema.base import new_public_id
from app.services import booking_mail, metering, tax
from app.services.booking_mail import Facts, Party
from app.services.offers import Occurrence
from app.services.tax import Card, Split

# Refund by notice before the start (chapter 2, 2.8); frozen into each appointment.
CANCELLATION_TIERS = [
    {"hours": 24, "refund_bps": 10_000},
    {"hours": 2, "refund_bps": 5_000},
    {"hours": 0, "refund_bps": 0},
]
HOLD_UNPAID = dt.timedelta(minutes=30)  # of a card (2.3, payment)
SIDE_PAYMENT = dt.timedelta(days=14)  # of a member's overage (2.5)
COVERED_BY_LICENSE = "Session value covered by enterprise license"
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class Supplier:
    """The platform as documents print it; the first two digits of its GSTIN are its state."""

    name: str
    address: str
    gstin: str


@dataclass(frozen=True)
class TrialTerms:
    """A trial that was granted: its price in paise and its length, instead of the plan's."""

    price: int
    minutes: int

    def onto(self, row: dict[str, Any]) -> None:
        """Put the terms onto checkout's reading."""
        row.update(price_paise=self.price, minutes=self.minutes, title=f"Trial: {row['title']}"[:200])


@dataclass(frozen=True)
class Order:
    """What a person asks for. *organization_id* is the inner id of the payer, None for oneself."""

    plan: uuid.UUID
    starts_at: dt.datetime | None
    organization_id: int | None
    key: str
    body: dict[str, Any] = field(compare=False)  # the request as sent: what the key is bound to
    event: uuid.UUID | None = None
    discount_code: str = ""
    use_credits: bool = False
    trial: TrialTerms | None = None


@dataclass(frozen=True)
class Share:
    """What a collaborator earns of a price: the expert's inner user id, their part of it and their share, paise."""

    user_id: int
    gross: int
    share: int
    bps: int = 0  # of the price


@dataclass(frozen=True)
class Quote:
    """A price with what becomes of it, paise. The shares add up to ``gross``, price and surcharge.

    *license* is what a licence covers, *member* what the member owes apart (with *member_tax*); neither is in ``amount``.
    """

    price: int
    tax_bps: int
    tax: int
    card: Card
    shares: Split
    discount: int = 0
    others: tuple[Share, ...] = ()
    surcharge: int = 0
    license: int = 0
    member: int = 0
    member_tax: int = 0

    @property
    def gross(self) -> int:
        return self.price + self.surcharge

    @property
    def amount(self) -> int:
        return self.gross - self.discount - self.license - self.member + self.tax


def price(
    price_paise: int,
    tax_bps: int,
    card: Card = tax.NO_HOST,
    *,
    hosted: bool = False,
    to_organization: bool = False,
    discount: int = 0,
    others: Sequence[tuple[int, int]] = (),
) -> Quote:
    """Price a booking: tax is added at booking on what a discount leaves (2.3), the split is of the list price (2.10).

    *to_organization*: the expert's routing at the host sends the expert's share there too. *others* are collaborators as
    (user id, bps): the price is divided among the experts first, floors, the owner takes the remainder; then each part is
    split by the card.
    """
    shares, shared = division(
        price_paise, card, hosted=hosted, to_organization=to_organization, others=others
    )
    return Quote(
        price_paise, tax_bps, tax.tax(price_paise - discount, tax_bps), card, shares, discount, shared
    )


def division(
    gross_paise: int,
    card: Card,
    *,
    hosted: bool,
    to_organization: bool,
    others: Sequence[tuple[int, int]] = (),
) -> tuple[Split, tuple[Share, ...]]:
    """What becomes of a gross amount: the owner's and the platform's shares, and the collaborators' (see ``price``)."""
    left, shared, platform, org = gross_paise, [], 0, 0
    for user_id, bps in others:
        gross = gross_paise * bps // tax.BPS
        part = tax.split(gross, card, hosted=hosted)
        shared.append(Share(user_id, gross, part.consultant, bps))
        left, platform, org = left - gross, platform + part.platform, org + part.org
    own = tax.split(left, card, hosted=hosted, to_organization=hosted and to_organization)
    return Split(own.platform + platform, own.org + org, own.consultant), tuple(shared)


@dataclass(frozen=True)
class Part:
    """One source of a payment, paise; *covered* is what a program pays of the price."""

    source: LegSource
    amount: int
    covered: int = 0


@dataclass(frozen=True)
class Overage:
    """What lies beyond the program, paise, and who owes it."""

    charge_to: ChargeTo
    status: OverageStatus
    base: int
    surcharge: int

    @property
    def marginal(self) -> int:
        return self.base + self.surcharge


@dataclass(frozen=True)
class Funding:
    """Where a booking's money comes from. With a card part it waits for the capture; else it is booked at once.

    *quote* is the price as this funding makes it; *engagements* and *covered* (paise) count against a program;
    *earnings* are the state of the shares at first and once nothing holds them.
    """

    method: str  # of the payment: WALLET, INVOICE, LICENSE or CARD
    parts: tuple[Part, ...]
    quote: Quote | None = None
    overage: Overage | None = None
    engagements: int = 1
    covered: int = 0
    earnings: tuple[str, str] = ("PENDING", "PENDING")
    per_session: int | None = (
        None  # a subscription's price, paise, that its sessions are paid from one by one
    )

    def _of(self, *sources: LegSource) -> int:
        return sum(p.amount for p in self.parts if p.source in sources)

    @property
    def card(self) -> int:
        """What the payer's own card owes, paise."""
        return self._of(LegSource.CARD)

    @property
    def wallet(self) -> int:
        """What the organisation's wallet pays, paise."""
        return self._of(LegSource.WALLET)

    @property
    def accrued(self) -> int:
        """What the organisation will find on an invoice, paise before tax."""
        return self._of(LegSource.INVOICE_ACCRUAL, LegSource.OVERAGE_INVOICE_ACCRUAL)

    @property
    def organization(self) -> int:
        """What the organisation pays, now or later, paise."""
        return self.wallet + self.accrued

    @property
    def waits(self) -> bool:
        return self.card > 0


def receipt_number(payment: uuid.UUID, now: dt.datetime) -> str:
    """``RC26-`` and eleven signs: financial year and the payment's own random bits.

    A wallet receipt is no tax document (that is the monthly statement), so no law asks for a series without gaps, and
    a counter row would make every booking of the platform queue. At most 16 characters of [A-Z0-9-].
    """
    day = now.astimezone(clock.IST).date()
    year = day.year if day.month >= 4 else day.year - 1
    n, signs = payment.int & ((1 << 55) - 1), ""
    for _ in range(11):
        n, digit = divmod(n, 32)
        signs = _CROCKFORD[digit] + signs
    return f"RC{year % 100:02d}-{signs}"


def _iso(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _int8(value: int | None) -> Int8 | None:
    return None if value is None else Int8(value)


Legs = list[tuple[str, str, int]]  # (account code, side, paise)


def booking_legs(parts: Sequence[Part], split: dict[str, Any], org_id: int | None, *, held: bool) -> Legs:
    """The BOOKING posting: the sources pay the amount, the split and the tax receive it (2.2); nothing for a free plan.

    *split* is that of a payment's snapshot; *held*: the wallet's part was put aside when the booking waited for a card.
    """
    receivable = f"ORG_RECEIVABLE|org:{org_id}|INR"
    sources = {
        LegSource.CARD: "CASH|platform|INR",
        LegSource.WALLET: f"{'WALLET_HOLD' if held else 'WALLET'}|org:{org_id}|INR",
        LegSource.REFERRAL_CREDIT: "PLATFORM_PROMO|platform|INR",
        LegSource.INVOICE_ACCRUAL: receivable,
        LegSource.OVERAGE_INVOICE_ACCRUAL: receivable,
        LegSource.LICENSE: "LICENSE_COST|platform|INR",
    }
    legs = [
        *((sources[p.source], "D", p.covered if p.source == LegSource.LICENSE else p.amount) for p in parts),
        ("DISCOUNT|platform|INR", "D", split.get("discount", 0)),
        (f"MEMBER_RECEIVABLE|user:{split.get('member_user_id')}|INR", "D", split.get("member", 0)),
        ("PLATFORM_FEE|platform|INR", "C", split["platform"]),
        (f"ORG_PAYABLE|org:{split['host_id']}|INR", "C", split["org"]),
        (f"CONSULTANT_PAYABLE|consultant:{split['expert_user_id']}|INR", "C", split["consultant"]),
        *((f"CONSULTANT_PAYABLE|consultant:{u}|INR", "C", share) for u, _, share in split.get("others", ())),
        ("GST_PAYABLE|platform|INR", "C", split["tax"]),
    ]
    return [leg for leg in legs if leg[2]]


def hold_legs(org_id: int | None, paise: int) -> Legs:
    """What the wallet puts aside while the member's card is awaited; nothing without a wallet's part."""
    wallet, hold = f"WALLET|org:{org_id}|INR", f"WALLET_HOLD|org:{org_id}|INR"
    return [(wallet, "D", paise), (hold, "C", paise)] if paise else []


class Booking:
    """Everything one booking writes, computed before the first write."""

    def __init__(
        self,
        row: dict[str, Any],
        order: Order,
        quote: Quote,
        funding: Funding,
        supplier: Supplier,
        now: dt.datetime,
        today: dt.date,
        user_id: int,
        gateway: str,
        what: Occurrence,
    ) -> None:
        self.row, self.quote, self.funding, self.supplier = row, quote, funding, supplier
        self.gateway_name, self.gateway = gateway, gateway if funding.waits else None
        self.expires = now + HOLD_UNPAID if funding.waits else None
        self.now, self.today, self.user_id = now, today, user_id
        self.what, self.starts, self.ends = what, what.starts, what.ends
        self.for_trial = order.trial is not None
        self.appointment, self.payment = new_public_id(), new_public_id()
        self.receipt = receipt_number(self.payment, now)
        self.side = new_public_id() if quote.member else None
        self.due = now + SIDE_PAYMENT if quote.member else None
        self.answer = self._answer()

    def _answer(self) -> dict[str, Any]:
        row, q = self.row, self.quote
        return {
            "id": str(self.appointment),
            "status": self.status,
            "appointment": {
                "id": str(self.appointment),
                "status": self.status,
                "title": row["title"],
                "plan_id": str(row["plan_public_id"]),
                "expert": {"id": str(row["expert_public_id"]), "name": row["expert_name"]},
                "organization_id": str(row["org_public_id"]) if row["org_id"] else None,
                "starts_at": _iso(self.starts),
                "ends_at": _iso(self.ends),
            },
            "payment": {
                "id": str(self.payment),
                "status": "PENDING" if self.funding.waits else "SUCCEEDED",
                "method": self.funding.method,
                "currency": "INR",
                "price_paise": q.price,
                **({"surcharge_paise": q.surcharge} if q.surcharge else {}),
                **({"discount_paise": q.discount} if q.discount else {}),
                "tax_paise": q.tax,
                "amount_paise": q.amount,
                "receipt_number": self.receipt,
                "legs": self._parts(),
                **({"expires_at": _iso(self.expires)} if self.expires else {}),
            },
            "receipt_url": None if self.funding.waits else f"/api/payments/{self.payment}/receipt.pdf",
            **({"note": COVERED_BY_LICENSE} if q.license or self.funding.per_session else {}),
            **({"overage": self._overage_answer()} if self.funding.overage else {}),
        }

    def _overage_answer(self) -> dict[str, Any]:
        """What lies beyond the program, and where a member pays it."""
        over, q = self.funding.overage, self.quote
        assert over is not None
        view: dict[str, Any] = {
            "charge_to": over.charge_to.value,
            "base_paise": over.base,
            "surcharge_paise": over.surcharge,
            "marginal_paise": over.marginal,
        }
        if self.side is not None and self.due is not None:
            view |= {
                "payment_id": str(self.side),
                "tax_paise": q.member_tax,
                "amount_paise": q.member + q.member_tax,
                "due_at": _iso(self.due),
                "pay_url": f"/api/payments/{self.side}/pay",
            }
        return view

    @property
    def status(self) -> str:
        """Of the appointment: a booking that waits for a card only holds its time."""
        return "TENTATIVE" if self.funding.waits else "CONFIRMED"

    def _parts(self) -> list[dict[str, Any]]:
        return [
            {"source": p.source.value, "amount_paise": p.amount, "covered_paise": p.covered}
            for p in self.funding.parts
        ]

    def values(self) -> dict[str, Any]:
        """Parameters of WRITE and POST."""
        row, q = self.row, self.quote
        shared = row["pool_scope"] == "SHARED"
        legs = (
            hold_legs(row["org_id"], self.funding.wallet)
            if self.funding.waits
            else booking_legs(self.funding.parts, self._split(), row["org_id"], held=False)
        )
        codes, sides, amounts = [k[0] for k in legs], [k[1] for k in legs], [k[2] for k in legs]
        waits = self.funding.waits
        return {
            "posting_key": f"{'wallet-hold' if waits else 'booking'}:{self.payment}",
            "posting_kind": "WALLET_HOLD" if waits else "BOOKING",
            "appointment_status": self.status,
            "payment_status": "PENDING" if waits else "SUCCEEDED",
            "method": self.funding.method,
            "provider_payment": None if waits else f"{self._provider()}_{self.payment}",
            "captured": None if waits else self.now,
            "expires": self.expires,
            "gateway": self.gateway,
            "parts": Jsonb(self._parts()),
            "user": Int8(self.user_id),
            "org": _int8(row["org_id"]),
            "membership": _int8(row["membership_id"]),
            "account": _int8(row["billing_account_id"]),
            "plan_id": Int8(row["plan_id"]),
            "expert": Int8(row["expert_id"]),
            "expert_user": Int8(row["expert_user_id"]),
            "assignment": _int8(row["assignment_id"]),
            "shared_pool": Int8(row["program_id"]) if shared else None,
            "program": _int8(row["program_id"]),
            **self._metered(),
            "today": self.today,
            "now": self.now,
            "starts": self.starts,
            "ends": self.ends,
            "hold_until": max(self.now, self.ends) + self.what.hold_after,
            "event": _int8(self.what.event_id),
            "final": not waits,
            "for_trial": self.for_trial,
            "claims": Jsonb(self.what.claims),
            "discount": Int8(q.discount),
            "appointment": self.appointment,
            "payment": self.payment,
            "receipt": self.receipt,
            "title": row["title"],
            "price": Int8(q.price),
            "tax": Int8(q.tax),
            "tax_bps": Int8(q.tax_bps),
            "amount": Int8(q.amount),
            "platform_bps": Int8(q.card.platform_bps),
            "org_bps": Int8(q.card.org_bps),
            "consultant_bps": Int8(q.card.consultant_bps),
            "share": Int8(q.shares.consultant),
            "gross": Int8(q.gross),
            "earnings": self.funding.earnings[0],
            "host_share": 0 if waits else q.shares.org,
            "response": Jsonb(self.answer),
            "policy": Jsonb(self._policy()),
            "terms": Jsonb(self._terms()),
            "snapshot": Jsonb(self._snapshot()),
            "audit": Jsonb(self._audit()),
            "mails": Jsonb([] if waits else booking_mail.mails(self._facts())),
            "bells": Jsonb([] if waits else booking_mail.bells(self._facts())),
            "codes": codes,
            "sides": sides,
            "amounts": [Int8(a) for a in amounts],
            "details": Jsonb(
                {
                    "description": row["title"],
                    "payment_id": str(self.payment),
                    "appointment_id": str(self.appointment),
                }
            ),
        }

    def _provider(self) -> str:
        """The prefix of the payment's own id where no provider is asked (2.1)."""
        if self.funding.method in ("INVOICE", "LICENSE"):
            return f"org_{self.funding.method.lower()}"
        return "org_wallet" if self.funding.wallet else "free"

    def _metered(self) -> dict[str, Any]:
        """What the program's place is charged with, its guards, and the member's side payment."""
        row, q, over = self.row, self.quote, self.funding.overage
        placed = row["assignment_id"] is not None
        terms = metering.of_row(row)[0] if placed else metering.Terms()
        member, side = bool(q.member), self.side
        return {
            "budget": _int8(terms.budget),
            "cap": _int8(terms.cap),
            "ceiling": _int8(terms.ceiling if over else None),
            "covered": Int8(self.funding.covered),
            "engagements": Int8(self.funding.engagements if placed else 0),
            "base": Int8(over.base if over else 0),
            "surcharge": Int8(q.surcharge),
            "marginal": Int8(over.marginal if over else 0),
            "charge_to": over.charge_to.value if over else None,
            "charge_status": over.status.value if over else None,
            "license": Int8(q.license),
            "member": Int8(q.member),
            "member_tax": Int8(q.member_tax),
            "due": self.due,
            "side_payment": side,
            "side_receipt": receipt_number(side, self.now) if side else None,
            "side_gateway": self.gateway_name if member else None,
            "side_snapshot": Jsonb(self._side_snapshot() if member else {}),
        }

    def _side_snapshot(self) -> dict[str, Any]:
        """The facts of a member's overage: the same people and time, paid by the member."""
        own = {"name": self.row["learner_name"], "gstin": None, "state": None}
        return {**self._snapshot(), "recipient": own, "overage_of": str(self.payment)}

    def _split(self) -> dict[str, Any]:
        """What becomes of the price, as the payment's snapshot keeps it: a capture and a refund read it there."""
        row, q = self.row, self.quote
        return {
            "host_id": row["host_id"],
            "rate_card_id": row["rate_card_id"],
            "expert_user_id": row["expert_user_id"],
            "platform": q.shares.platform,
            "org": q.shares.org,
            "consultant": q.shares.consultant,
            **({"discount": q.discount} if q.discount else {}),
            **({"others": [[s.user_id, s.gross, s.share] for s in q.others]} if q.others else {}),
            "tax": q.tax + q.member_tax,
            "platform_bps": q.card.platform_bps,
            "org_bps": q.card.org_bps,
            "consultant_bps": q.card.consultant_bps,
            "earnings": self.funding.earnings[0],
            "earnings_after": self.funding.earnings[1],
            **({"member": q.member + q.member_tax, "member_user_id": self.user_id} if q.member else {}),
        }

    def _policy(self) -> dict[str, Any]:
        """The host's published terms, else the payer's, else the platform's (docs/decisions/0041)."""
        tiers = self.row["host_tiers"] or self.row["payer_tiers"] or CANCELLATION_TIERS
        return {"tiers": tiers, "text": self.row["default_cancellation_policy"]}

    def _terms(self) -> dict[str, Any]:
        row, q = self.row, self.quote
        return {
            "program": row["program_name"],
            "cycle": row["cycle"],
            "pool_scope": row["pool_scope"],
            "credits_per_cycle": row["credits_per_cycle"],
            "overage_behavior": row["overage_behavior"],
            "overage_surcharge_bps": row["overage_surcharge_bps"],
            "covered_engagements_per_cycle": row["covered_engagements_per_cycle"],
            "platform_bps": q.card.platform_bps,
            "org_bps": q.card.org_bps,
            "consultant_bps": q.card.consultant_bps,
        }

    def _snapshot(self) -> dict[str, Any]:
        row, s = self.row, self.supplier
        return {
            "supplier": {"name": s.name, "address": s.address, "gstin": s.gstin},
            "recipient": {"name": row["org_name"], "gstin": row["gstin"], "state": row["gst_state_code"]}
            if self.funding.organization or (row["org_id"] and not self.quote.amount)
            else {"name": row["learner_name"], "gstin": None, "state": None},
            "split": self._split(),
            **({} if self.funding.per_session is None else {"per_session_paise": self.funding.per_session}),
            "sac": row["sac_code"],
            "expert": row["expert_name"],
            "learner": row["learner_name"],
            "starts_at": _iso(self.starts),
            "ends_at": _iso(self.ends),
        }

    def _audit(self) -> list[dict[str, Any]]:
        """Rows of the paying organisation; a hold is no event yet, and a personal booking concerns nobody else."""
        row = self.row
        if row["org_id"] is None or self.funding.waits:
            return []
        return [
            {
                "category": "PROGRAM",
                "action": "BOOKING_CONFIRMED",
                "description": f"Booked “{row['title'][:200]}”",
                "details": {
                    "program": row["program_name"],
                    "starts_at": _iso(self.starts),
                    **self._beyond(),
                },
                "target_type": "appointment",
                "target_id": str(self.appointment),
            },
            *([self._debited()] if self.funding.method == "WALLET" else []),
        ]

    def _beyond(self) -> dict[str, Any]:
        """What the log says of the money where it is no wallet's, or lies beyond the program."""
        q, over = self.quote, self.funding.overage
        said = {"license_paise": q.license, "accrued_paise": self.funding.accrued, "member_paise": q.member}
        return {
            **{name: paise for name, paise in said.items() if paise},
            **({"overage_paise": over.marginal, "charge_to": over.charge_to.value} if over else {}),
        }

    def _debited(self) -> dict[str, Any]:
        row, q = self.row, self.quote
        return {
            "category": "WALLET",
            "action": "WALLET_DEBITED",
            "description": f"Paid from the wallet for “{row['title'][:200]}”",
            "details": {
                "amount_paise": q.amount,
                "price_paise": q.price,
                "tax_paise": q.tax,
                "program_consumed_before_paise": row["consumed_paise"],
            },
            "target_type": "payment",
            "target_id": str(self.payment),
        }

    def _facts(self) -> Facts:
        row, q = self.row, self.quote
        return Facts(
            str(self.payment),
            str(self.appointment),
            row["title"],
            self.starts,
            self.ends,
            Party(row["expert_user_id"], row["expert_name"], row["expert_email"], row["expert_zone"]),
            Party(self.user_id, row["learner_name"], row["learner_email"], row["learner_zone"]),
            row["org_name"],
            q.price,
            q.tax,
            q.amount,
            q.shares.consultant,
            self.receipt,
            surcharge=q.surcharge,
            license=q.license,
            member=q.member + q.member_tax,
            side_payment=str(self.side) if self.side else None,
            due=self.due,
            said=self.what.said,
        )
