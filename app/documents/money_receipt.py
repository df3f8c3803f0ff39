"""The receipt for money that arrived for an invoice: one A4 page from the receipt's row and the invoice's frozen facts.

It says what it settles and what is left to pay. Tax stands on the invoice, so it carries none.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import SimpleDocTemplate, Spacer, Table

from app import clock
from app.models import Invoice, InvoiceReceipt, ReceiptMethod

from .receipt import INK, LINE, MARGIN, MUTED, _block, _flat, _foot, _p, _register, _tight
from .words import rupees_in_words


def render(row: InvoiceReceipt, invoice: Invoice, money: Callable[[int], str]) -> bytes:
    """The PDF of *row*, which was received for *invoice*. *money* formats paise."""
    _register()
    facts = invoice.facts
    supplier, buyer = facts["supplier"], facts["recipient"]
    day, width = row.created_at.astimezone(clock.IST), A4[0] - 2 * MARGIN
    half = [width * 0.5, width * 0.5]
    top = [("VALIGN", (0, 0), (-1, -1), "TOP"), *_flat()]
    town = " ".join(str(v) for v in (buyer.get("city"), buyer.get("pin")) if v)
    address = "\n".join(v for v in (buyer.get("line1"), buyer.get("line2"), town) if v)
    story: list[Any] = [
        Table(
            [
                [
                    _p("Receipt", size=22, bold=True, lead=1.2),
                    _p(f"{row.number}\n{day.day} {day:%B %Y}", size=10, right=True),
                ]
            ],
            half,
            style=top,
        ),
        Spacer(1, 8 * mm),
        Table(
            [
                [
                    _block(
                        "Received by",
                        supplier["name"],
                        supplier["address"],
                        supplier["gstin"],
                        supplier["state"],
                    ),
                    _block("Received from", buyer["name"], address, buyer["gstin"], buyer["state"]),
                ]
            ],
            half,
            style=top,
        ),
        Spacer(1, 9 * mm),
        _settles(row, invoice, money, width),
        Spacer(1, 7 * mm),
        Table(
            [
                [_p("Amount in words", size=8, color=MUTED)],
                [_p(rupees_in_words(row.amount_paise), size=10, bold=True)],
            ],
            [width],
            style=[*_flat(), *_tight()],
        ),
        Spacer(1, 6 * mm),
        Table(
            [[_p(label, size=8, color=MUTED), _p(value)] for label, value in _how(row)],
            [32 * mm, width - 32 * mm],
            style=[("VALIGN", (0, 0), (-1, -1), "MIDDLE"), *_flat(), *_tight()],
        ),
    ]
    out = io.BytesIO()
    SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN,
        title=f"Receipt {row.number}",
        author=supplier["name"],
        subject=f"Payment of invoice {invoice.number}",
        lang="en-IN",
        invariant=1,
    ).build(story, onFirstPage=_foot, onLaterPages=_foot)
    return out.getvalue()


def _settles(row: InvoiceReceipt, invoice: Invoice, money: Callable[[int], str], width: float) -> Table:
    """The invoice, what was settled of it before, this receipt, and what was left to pay then."""
    issued = invoice.issue_date
    name = f"Invoice {invoice.number}" + (f" of {issued.day} {issued:%B %Y}" if issued else "")
    before = invoice.total_paise - row.due_after_paise - row.amount_paise
    rows = [[_p(name), _p(money(invoice.total_paise), right=True)]]
    if before:
        rows.append([_p("Settled before, by receipts and credit notes"), _p(money(-before), right=True)])
    rows.append(
        [
            _p("Received with this receipt", size=11, bold=True),
            _p(money(row.amount_paise), size=11, bold=True, right=True),
        ]
    )
    total = len(rows) - 1
    left = row.due_after_paise
    rows.append(
        [_p("Left to pay") if left else _p("The invoice is paid in full"), _p(money(left), right=True)]
    )
    if row.refunded_paise:
        rows.append([_p("Returned since"), _p(money(-row.refunded_paise), right=True)])
    return Table(
        rows,
        [width * 0.7, width * 0.3],
        style=[
            ("LINEABOVE", (0, 0), (-1, 0), 0.75, LINE),
            ("LINEABOVE", (0, total), (-1, total), 0.75, INK),
            ("LINEBELOW", (0, total), (-1, total), 0.5, LINE),
            ("TOPPADDING", (0, 0), (-1, -1), 4),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
            *_flat(),
        ],
    )


def _how(row: InvoiceReceipt) -> list[tuple[str, str]]:
    bank = row.method == ReceiptMethod.BANK
    shown = [
        ("Received on", f"{row.received_on.day} {row.received_on:%B %Y}"),
        ("Paid", "By bank transfer" if bank else "Online"),
        ("UTR" if bank else "Payment", row.utr or row.provider_payment_id or ""),
    ]
    if row.note:
        shown.append(("Note", row.note))
    return [*shown, ("Tax", "Tax stands on the invoice; this receipt carries none.")]
