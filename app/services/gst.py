"""GST of documents: place of supply, heads, zero rates, credit notes by parts (chapter 4, 4.2). Pure, integer paise.

Half-up to the paisa, per line and per head. What a state levies and what a service is taxed at comes from the dated
tables (``tax_tables``) and is passed in.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from app import clock
from app.models import DocumentNature, SupplyType, TaxTreatment
from app.services.tax import BPS, tax

ABROAD = "96"
ENDORSEMENTS = {
    SupplyType.SEZWOP: "SUPPLY MEANT FOR EXPORT/SUPPLY TO SEZ UNIT OR SEZ DEVELOPER FOR AUTHORISED OPERATIONS UNDER BOND "
    "OR LETTER OF UNDERTAKING WITHOUT PAYMENT OF INTEGRATED TAX",
    SupplyType.SEZWP: "SUPPLY MEANT FOR EXPORT/SUPPLY TO SEZ UNIT OR SEZ DEVELOPER FOR AUTHORISED OPERATIONS ON PAYMENT "
    "OF INTEGRATED TAX",
}
ENDORSEMENTS[SupplyType.EXPWOP] = ENDORSEMENTS[SupplyType.SEZWOP]
ENDORSEMENTS[SupplyType.EXPWP] = ENDORSEMENTS[SupplyType.SEZWP]
REVERSE_CHARGE = "Tax is payable by the recipient under reverse charge."
ZERO_RATED = frozenset({SupplyType.SEZWOP, SupplyType.EXPWOP})
_OUTSIDE = frozenset({SupplyType.SEZWOP, SupplyType.SEZWP, SupplyType.EXPWOP, SupplyType.EXPWP})


@dataclass(frozen=True)
class Recipient:
    """Who a document is made out to, as far as tax is concerned. *state* is the state on record (96: abroad)."""

    gstin: str | None = None
    state: str | None = None
    sez: bool = False
    authorised_operations: bool = True

    @property
    def overseas(self) -> bool:
        return self.gstin is None and self.state == ABROAD


@dataclass(frozen=True)
class Heads:
    """Tax of a line or a document by head, paise."""

    cgst: int = 0
    sgst: int = 0
    utgst: int = 0
    igst: int = 0

    @property
    def total(self) -> int:
        return self.cgst + self.sgst + self.utgst + self.igst

    def __add__(self, other: Heads) -> Heads:
        return Heads(
            self.cgst + other.cgst, self.sgst + other.sgst, self.utgst + other.utgst, self.igst + other.igst
        )

    def __sub__(self, other: Heads) -> Heads:
        return Heads(
            self.cgst - other.cgst, self.sgst - other.sgst, self.utgst - other.utgst, self.igst - other.igst
        )


@dataclass(frozen=True)
class Regime:
    """How a document is taxed: the place, the kind of supply, and whether central and local tax or IGST are charged."""

    supply_type: SupplyType
    place: str
    inter_state: bool
    union_territory: bool = False
    charged: bool = True  # False: zero-rated under a LUT, or reverse charge

    def heads(self, taxable: int, bps: int) -> Heads:
        """Tax on *taxable* paise at *bps*; each head rounded for itself, half-up. Raises ValueError below zero."""
        if taxable < 0:
            raise ValueError("tax of a negative amount: take absolutes first")
        if not self.charged or bps == 0:
            return Heads()
        if self.inter_state:
            return Heads(igst=tax(taxable, bps))
        half = (taxable * bps + BPS) // (2 * BPS)
        return Heads(half, 0, half) if self.union_territory else Heads(half, half)


def place_of_supply(supplier_state: str, recipient: Recipient, venue_state: str | None = None) -> str:
    """The two-digit code (96: abroad). Registered: the registered state. Unregistered: the venue of an event in person,
    else the state on record, else the supplier's. Overseas: 96."""
    if recipient.gstin:
        return recipient.gstin[:2]
    if recipient.overseas:
        return ABROAD
    return venue_state or recipient.state or supplier_state


def regime(
    supplier_state: str,
    recipient: Recipient,
    *,
    under_lut: bool,
    union_territory: bool,
    reverse_charge: bool = False,
    venue_state: str | None = None,
) -> Regime:
    """How a supply to *recipient* is taxed. *union_territory* is whether the place's local head is UTGST."""
    place = place_of_supply(supplier_state, recipient, venue_state)
    if recipient.sez and recipient.authorised_operations:
        kind = SupplyType.SEZWOP if under_lut else SupplyType.SEZWP
    elif place == ABROAD:
        kind = SupplyType.EXPWOP if under_lut else SupplyType.EXPWP
    else:
        kind = SupplyType.B2B if recipient.gstin else SupplyType.B2C
    outside = kind in _OUTSIDE or recipient.sez  # a SEZ is inter-state even in the same state
    inter = outside or place != supplier_state
    return Regime(
        kind,
        place,
        inter,
        union_territory and not inter,
        charged=kind not in ZERO_RATED and not reverse_charge,
    )


def nature(treatments: Iterable[TaxTreatment], *, registered: bool) -> DocumentNature | None:
    """What the document is; None where exempt and taxable must not share one (a registered recipient)."""
    kinds = set(treatments)
    if kinds == {TaxTreatment.EXEMPT}:
        return DocumentNature.BILL_OF_SUPPLY
    if TaxTreatment.EXEMPT in kinds:
        return None if registered else DocumentNature.INVOICE_CUM_BILL
    return DocumentNature.TAX_INVOICE


def part(whole: Heads, rate: Regime, bps: int, taxable: int, before: int, amount: int) -> Heads:
    """Tax of the next credit note for *amount* of a line of *taxable* whose *before* paise were credited already.

    The cumulative amount is rounded and what was credited before subtracted; what completes the line takes the line's own
    heads (*whole*), so that all notes together equal the line to the paisa. Amounts are absolute.
    """
    after = before + amount
    if not 0 <= before < after <= taxable:
        raise ValueError("a credit note lies within its line")

    def until(n: int) -> Heads:
        return whole if n == taxable else rate.heads(n, bps)

    return until(after) - until(before)


def inclusive(gross: int, bps: int) -> int:
    """The taxable value inside a price that includes tax, half-up; what heads leave over is ``round_off``."""
    return (2 * gross * BPS + (BPS + bps)) // (2 * (BPS + bps))


def to_rupee(total: int) -> int:
    """What rounds *total* paise to the rupee, half-up: −50 < … ≤ 50."""
    return (total + 50) // 100 * 100 - total


def fiscal_year(day: dt.date | dt.datetime) -> int:
    """The year in which the Indian financial year of *day* begins; an instant counts by its date in India."""
    local = day.astimezone(clock.IST).date() if isinstance(day, dt.datetime) else day
    return local.year if local.month >= 4 else local.year - 1


def fiscal_label(year: int) -> str:
    """2026 → 2026-27."""
    return f"{year}-{(year + 1) % 100:02d}"


def credit_deadline(issued: dt.date, last_day: str) -> dt.date:
    """The last day for a credit note with GST: *last_day* (month-day, 11-30) after the end of the document's year."""
    month, day = (int(v) for v in last_day.split("-"))
    return dt.date(fiscal_year(issued) + 1, month, day)


def sql_heads(taxable: str, bps: str, rate: Regime) -> tuple[str, str, str, str]:
    """SQL of (cgst, sgst, utgst, igst) for the columns *taxable* and *bps*: the same integers as ``Regime.heads``."""
    if not rate.charged:
        return ("0", "0", "0", "0")
    if rate.inter_state:
        return ("0", "0", "0", f"(({taxable}) * ({bps}) + {BPS // 2}) / {BPS}")
    half = f"(({taxable}) * ({bps}) + {BPS}) / {2 * BPS}"
    return (half, "0", half, "0") if rate.union_territory else (half, half, "0", "0")
