"""An invoice or credit note as the Invoice Registration Portal wants it: schema INV-01 1.1 (chapter 4, 4.3). Pure.

Rupees as decimals of two places, PIN codes as numbers, UTGST in SgstAmt, exports to URP at place 96. More than a thousand
lines become one item a service and rate.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from app.models import CreditNote, CreditNoteLine, Invoice, InvoiceLine, SupplyType
from app.services import gst

VERSION = "1.1"
MAX_ITEMS = 1000
_EXPORT = (SupplyType.EXPWP, SupplyType.EXPWOP)
Line = InvoiceLine | CreditNoteLine


class Unmappable(Exception):
    """The document cannot be registered as it stands; the message says what is missing."""


def rupees(paise: int) -> float:
    """Paise as the portal's number: two decimals, exact for every amount on a document."""
    return float(Decimal(paise) / 100)


def document(
    row: Invoice,
    lines: Iterable[Line],
    note: CreditNote | None = None,
    address: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The request for *row*, or for *note* on it; *address* fills what the recipient had not said at issue.

    Raises Unmappable.
    """
    facts = dict(note.facts if note is not None else row.facts)
    said = {k: v for k, v in facts["recipient"].items() if v}
    facts["recipient"] = {**facts["recipient"], **(address or {}), **said}
    kind = SupplyType(row.supply_type)
    items = _items(list(lines))
    heads = note if note is not None else row
    body: dict[str, Any] = {
        "Version": VERSION,
        "TranDtls": {"TaxSch": "GST", "SupTyp": kind.value, "RegRev": "Y" if row.reverse_charge else "N"},
        "DocDtls": {
            "Typ": "CRN" if note is not None else "INV",
            "No": note.number if note is not None else row.number,
            "Dt": _day(note.issue_date if note is not None else row.issue_date),
        },
        "SellerDtls": _seller(facts["supplier"]),
        "BuyerDtls": _buyer(facts["recipient"], row.place_of_supply or "", kind),
        "ItemList": items,
        "ValDtls": {
            "AssVal": rupees(heads.subtotal_paise),
            "CgstVal": rupees(heads.cgst_paise),
            "SgstVal": rupees(heads.sgst_paise + heads.utgst_paise),
            "IgstVal": rupees(heads.igst_paise),
            "RndOffAmt": rupees(0 if note is not None else _rounding(row)),
            "TotInvVal": rupees(heads.total_paise),
        },
    }
    if note is not None:
        body["RefDtls"] = {
            "PrecDocDtls": [{"InvNo": row.number, "InvDt": _day(row.issue_date)}],
        }
        remark = _text(note.reason, 100)
        if len(remark) >= 3:
            body["RefDtls"]["InvRm"] = remark
    elif row.facts.get("po_number"):
        body["RefDtls"] = {"ContrDtls": [{"PORefr": _text(str(row.facts["po_number"]), 16)}]}
    if kind in _EXPORT and facts["recipient"].get("country", "IN") != "IN":
        body["ExpDtls"] = {"CntCode": facts["recipient"]["country"]}
    return body


def parties(row: Invoice) -> None:
    """Raises Unmappable where the parties of an issued invoice lack what the portal wants."""
    _seller(row.facts["supplier"])
    _buyer(row.facts["recipient"], row.place_of_supply or "", SupplyType(row.supply_type))


def _rounding(row: Invoice) -> int:
    """What the portal takes as a rounding: below a hundred rupees either way. Raises Unmappable."""
    if abs(row.round_off_paise) > 9999:
        raise Unmappable("The rounding of the document is larger than the portal accepts.")
    return row.round_off_paise


def _items(lines: list[Line]) -> list[dict[str, Any]]:
    if not lines:
        raise Unmappable("The document has no lines.")
    if len(lines) > MAX_ITEMS:
        return _grouped(lines)
    return [
        _item(
            n,
            line.description,
            line.sac,
            line.rate_bps,
            quantity=getattr(line, "quantity", 1),
            gross=line.taxable_paise + getattr(line, "discount_paise", 0),
            discount=getattr(line, "discount_paise", 0),
            heads=gst.Heads(line.cgst_paise, line.sgst_paise, line.utgst_paise, line.igst_paise),
        )
        for n, line in enumerate(lines, 1)
    ]


def _grouped(lines: list[Line]) -> list[dict[str, Any]]:
    """One item a service and rate."""
    sums: dict[tuple[str, int], tuple[int, int, gst.Heads]] = {}
    for line in lines:
        count, taxable, heads = sums.get((line.sac, line.rate_bps), (0, 0, gst.Heads()))
        sums[line.sac, line.rate_bps] = (
            count + 1,
            taxable + line.taxable_paise,
            heads + gst.Heads(line.cgst_paise, line.sgst_paise, line.utgst_paise, line.igst_paise),
        )
    return [
        _item(n, f"{count} services", sac, bps, quantity=1, gross=taxable, discount=0, heads=heads)
        for n, ((sac, bps), (count, taxable, heads)) in enumerate(sorted(sums.items()), 1)
    ]


def _item(
    n: int,
    description: str,
    sac: str,
    bps: int,
    *,
    quantity: int,
    gross: int,
    discount: int,
    heads: gst.Heads,
) -> dict[str, Any]:
    if len(sac) not in (4, 6, 8) or not sac.isdigit() or not int(sac):
        raise Unmappable(f"Line {n} has no valid SAC.")
    taxable = gross - discount
    item = {
        "SlNo": str(n),
        "PrdDesc": _text(description, 300).ljust(3, "."),
        "IsServc": "Y",
        "HsnCd": sac,
        "Qty": quantity,
        "UnitPrice": rupees(gross // quantity),
        "TotAmt": rupees(gross),
        "AssAmt": rupees(taxable),
        "GstRt": bps / 100,
        "CgstAmt": rupees(heads.cgst),
        "SgstAmt": rupees(heads.sgst + heads.utgst),
        "IgstAmt": rupees(heads.igst),
        "TotItemVal": rupees(taxable + heads.total),
    }
    if discount:
        item["Discount"] = rupees(discount)
    return item


def _seller(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "Gstin": facts["gstin"],
        "LglNm": _named(facts["name"], "supplier's name"),
        "Addr1": _named(facts["address"], "supplier's address", 1),
        "Loc": _named(facts.get("city"), "supplier's city", 3, 50),
        "Pin": _pin(facts.get("pin"), "supplier"),
        "Stcd": facts["state"],
    }


def _buyer(facts: dict[str, Any], place: str, kind: SupplyType) -> dict[str, Any]:
    abroad = kind in _EXPORT
    if not abroad and not facts.get("gstin"):
        raise Unmappable("The recipient has no GSTIN.")
    out = {
        "Gstin": "URP" if abroad else facts["gstin"],
        "LglNm": _named(facts["name"], "recipient's name"),
        "Pos": gst.ABROAD if abroad else place,
        "Addr1": _named(facts.get("line1"), "recipient's address", 1),
        "Loc": _named(facts.get("city"), "recipient's city"),
        "Pin": 999999 if abroad else _pin(facts.get("pin"), "recipient"),
        "Stcd": gst.ABROAD if abroad else facts["gstin"][:2],
    }
    second = _text(facts.get("line2") or "", 100)
    if len(second) >= 3:
        out["Addr2"] = second
    return out


def _text(value: str, longest: int) -> str:
    return " ".join(value.replace('"', "'").split())[:longest].strip()


def _named(value: Any, what: str, shortest: int = 3, longest: int = 100) -> str:
    text = _text(str(value or ""), longest)
    if len(text) < shortest:
        raise Unmappable(f"The {what} is missing.")
    return text


def _pin(value: Any, whose: str) -> int:
    text = str(value or "")
    if not text.isascii() or not text.isdigit() or len(text) != 6 or text[0] == "0":
        raise Unmappable(f"The {whose}'s PIN code is missing.")
    return int(text)


def _day(day: dt.date | None) -> str:
    assert day is not None
    return f"{day:%d/%m/%Y}"
