"""GST and shares in integer paise: no floats, no Decimal, every rounding named (chapter 2, 2.3, 2.10; chapter 4, 4.2).

Pure functions. bps are basis points: 1800 is 18 %.
"""

from __future__ import annotations

from dataclasses import dataclass

BPS = 10_000

STATES = {
    "01": "Jammu and Kashmir",
    "02": "Himachal Pradesh",
    "03": "Punjab",
    "04": "Chandigarh",
    "05": "Uttarakhand",
    "06": "Haryana",
    "07": "Delhi",
    "08": "Rajasthan",
    "09": "Uttar Pradesh",
    "10": "Bihar",
    "11": "Sikkim",
    "12": "Arunachal Pradesh",
    "13": "Nagaland",
    "14": "Manipur",
    "15": "Mizoram",
    "16": "Tripura",
    "17": "Meghalaya",
    "18": "Assam",
    "19": "West Bengal",
    "20": "Jharkhand",
    "21": "Odisha",
    "22": "Chhattisgarh",
    "23": "Madhya Pradesh",
    "24": "Gujarat",
    "26": "Dadra and Nagar Haveli and Daman and Diu",
    "27": "Maharashtra",
    "29": "Karnataka",
    "30": "Goa",
    "31": "Lakshadweep",
    "32": "Kerala",
    "33": "Tamil Nadu",
    "34": "Puducherry",
    "35": "Andaman and Nicobar Islands",
    "36": "Telangana",
    "37": "Andhra Pradesh",
    "38": "Ladakh",
    "96": "Outside India",
    "97": "Other Territory",
}
UNION_TERRITORIES = frozenset({"04", "26", "31", "35", "38", "97"})  # UTGST; 01, 07 and 34 levy SGST


def tax(taxable_paise: int, bps: int) -> int:
    """*taxable_paise* × *bps*, half-up to the paisa. Raises ValueError for a negative amount: take absolutes first."""
    if taxable_paise < 0:
        raise ValueError("tax of a negative amount")
    return (taxable_paise * bps + BPS // 2) // BPS


@dataclass(frozen=True)
class Head:
    """One line of tax: CGST, SGST, UTGST or IGST; rate in bps, amount in paise."""

    name: str
    bps: int
    paise: int

    @property
    def rate(self) -> str:
        """The rate as documents print it: 9 %, 2.5 %."""
        whole, rest = divmod(self.bps, 100)
        return f"{whole}.{rest:02d}".rstrip("0").rstrip(".") + " %"


def heads(taxable_paise: int, bps: int, supplier_state: str, recipient_state: str) -> list[Head]:
    """Tax per head by place of supply, each rounded for itself (chapter 4, 4.2).

    The same state: central and state tax, each from half the rate; otherwise integrated tax. No tax, no heads.
    """
    if bps == 0:
        return []
    if supplier_state != recipient_state:
        return [Head("IGST", bps, tax(taxable_paise, bps))]
    local = "UTGST" if recipient_state in UNION_TERRITORIES else "SGST"
    # half of an odd rate is half a basis point: double the divisor instead of halving the rate
    half = (taxable_paise * bps + BPS) // (2 * BPS)
    return [Head("CGST", bps // 2, half), Head(local, bps // 2, half)]


@dataclass(frozen=True)
class Card:
    """Shares of a booking's gross in bps; they add up to 10000."""

    platform_bps: int
    org_bps: int
    consultant_bps: int


NO_HOST = Card(2000, 0, 8000)
HOSTED = Card(1000, 1000, 8000)


@dataclass(frozen=True)
class Split:
    """Who gets what of a gross amount, paise; the three add up to it."""

    platform: int
    org: int
    consultant: int


def split(gross_paise: int, card: Card, *, hosted: bool, to_organization: bool = False) -> Split:
    """Shares of *gross_paise* (chapter 2, 2.10): floors, and one named party takes the remainder.

    Hosted: platform and consultant floor, the organisation takes the rest; with *to_organization* (payout recipient
    ORGANIZATION) the consultant's share joins it. Without a host the consultant takes the rest.
    """
    if card.platform_bps + card.org_bps + card.consultant_bps != BPS:
        raise ValueError("shares must add up to 10000 bps")
    platform = gross_paise * card.platform_bps // BPS
    if not hosted:
        return Split(platform, 0, gross_paise - platform)
    consultant = gross_paise * card.consultant_bps // BPS
    org = gross_paise - platform - consultant
    return Split(platform, org + consultant, 0) if to_organization else Split(platform, org, consultant)
