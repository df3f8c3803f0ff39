"""The receipt of a booking: one A4 page made on demand from the payment's frozen facts (chapter 4, 4.2).

Nothing is stored: the row decides every byte, so the same payment gives the same file for ever.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from app import clock
from app.models import Payment
from app.services import tax

from .words import rupees_in_words

FONTS = Path(__file__).parent / "fonts"
INK, MUTED, LINE = colors.HexColor("#18181b"), colors.HexColor("#63636b"), colors.HexColor("#d4d4d8")
METHODS = {"WALLET": "Organisation's wallet", "CARD": "Card", "INVOICE": "On invoice", "LICENSE": "Licence"}
MARGIN = 18 * mm


def _register() -> None:
    for name in ("Regular", "SemiBold"):
        if f"Inter-{name}" not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(f"Inter-{name}", str(FONTS / f"Inter-{name}.ttf")))


def _style(
    size: float = 9, *, bold: bool = False, color: Any = INK, right: bool = False, lead: float = 1.4
) -> ParagraphStyle:
    return ParagraphStyle(
        f"s{size}{bold}{right}{color}",
        fontName="Inter-SemiBold" if bold else "Inter-Regular",
        fontSize=size,
        leading=size * lead,
        textColor=color,
        alignment=TA_RIGHT if right else 0,
    )


def _p(text: Any, **style: Any) -> Paragraph:
    return Paragraph(escape(str(text)).replace("\n", "<br/>"), _style(**style))


def _state(code: str | None) -> str:
    return f"{tax.STATES.get(code, 'Unknown')} ({code})" if code else "Not on record"


def _when(starts: str, ends: str) -> str:
    a, b = (dt.datetime.fromisoformat(v).astimezone(clock.IST) for v in (starts, ends))
    return f"{a.day} {a:%b %Y}, {a:%H:%M} to {b:%H:%M} IST"


def taxable(payment: Payment) -> int:
    """What the payment is for before tax, paise: without what a licence covers and a member pays apart."""
    return payment.amount_paise - payment.tax_paise


def tax_lines(payment: Payment) -> list[tuple[str, int]]:
    """The tax charged, per head by place of supply: (label, paise), adding up to what was charged.

    Heads are rounded each for itself (4.2), the charge was rounded once (2.3): where the two differ by a paisa, a
    rounding line says so.
    """
    if not payment.tax_paise:
        return []  # exempt, or taxed on the organisation's invoice
    facts = payment.snapshot
    supplier = facts["supplier"]["gstin"][:2]
    recipient = (
        facts["recipient"]["state"] or supplier
    )  # unknown state: the supplier's (4.2, place of supply)
    heads = tax.heads(taxable(payment), payment.tax_bps, supplier, recipient)
    lines = [(f"{h.name} {h.rate}", h.paise) for h in heads]
    rounding = payment.tax_paise - sum(h.paise for h in heads)
    return [*lines, ("Rounding", rounding)] if rounding else lines


def render(payment: Payment, money: Callable[[int], str]) -> bytes:
    """The PDF of *payment*, which must be SUCCEEDED and carry its snapshot. *money* formats paise (₹1,18,000.00)."""
    _register()
    facts = payment.snapshot
    supplier, recipient = facts["supplier"], facts["recipient"]
    assert payment.captured_at is not None and payment.receipt_number is not None
    day = payment.captured_at.astimezone(clock.IST)
    width = A4[0] - 2 * MARGIN
    story: list[Any] = [
        Table(
            [
                [
                    _p("Receipt", size=22, bold=True, lead=1.2),
                    _p(f"{payment.receipt_number}\n{day.day} {day:%B %Y}", size=10, right=True),
                ]
            ],
            [width * 0.5, width * 0.5],
            style=[("VALIGN", (0, 0), (-1, -1), "TOP"), *_flat()],
        ),
        Spacer(1, 8 * mm),
        Table(
            [
                [
                    _block(
                        "From",
                        supplier["name"],
                        supplier["address"],
                        supplier["gstin"],
                        supplier["gstin"][:2],
                    ),
                    _block("For", recipient["name"], "", recipient["gstin"], recipient["state"]),
                ]
            ],
            [width * 0.5, width * 0.5],
            style=[("VALIGN", (0, 0), (-1, -1), "TOP"), *_flat()],
        ),
        Spacer(1, 8 * mm),
        _lines(payment, facts, money, width),
        Spacer(1, 3 * mm),
        _totals(payment, money, width),
        Spacer(1, 6 * mm),
        Table(
            [
                [_p("Amount in words", size=8, color=MUTED)],
                [_p(rupees_in_words(payment.amount_paise), size=10, bold=True)],
            ],
            [width],
            style=[*_flat(), *_tight()],
        ),
        Spacer(1, 6 * mm),
        Table(
            [
                [_p("Paid from", size=8, color=MUTED), _p(METHODS.get(payment.method, payment.method))],
                [_p("Received on", size=8, color=MUTED), _p(f"{day.day} {day:%b %Y, %H:%M} IST")],
                [_p("Booked by", size=8, color=MUTED), _p(facts["learner"])],
                [
                    _p("Place of supply", size=8, color=MUTED),
                    _p(_state(recipient["state"] or supplier["gstin"][:2])),
                ],
                [_p("Payment", size=8, color=MUTED), _p(payment.public_id, size=8)],
            ],
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
        title=f"Receipt {payment.receipt_number}",
        author=supplier["name"],
        subject=payment.description,
        lang="en-IN",
        invariant=1,
    ).build(story, onFirstPage=_foot, onLaterPages=_foot)
    return out.getvalue()


def _block(title: str, name: str, address: str, gstin: str | None, state: str | None) -> list[Any]:
    body = [_p(title, size=8, color=MUTED), _p(name, size=11, bold=True)]
    if address:
        body.append(_p(address))
    body += [_p(f"GSTIN {gstin}" if gstin else "GSTIN not registered"), _p(f"State {_state(state)}")]
    return body


def _lines(payment: Payment, facts: dict[str, Any], money: Callable[[int], str], width: float) -> Table:
    what = [
        _p(payment.description, bold=True),
        _p(f"{facts['expert']}, {_when(facts['starts_at'], facts['ends_at'])}", size=8, color=MUTED),
    ]
    rows: list[list[Any]] = [
        [
            _p("Description", size=8, color=MUTED),
            _p("SAC", size=8, color=MUTED),
            _p("Taxable value", size=8, color=MUTED, right=True),
        ],
        [what, _p(facts["sac"]), _p(money(taxable(payment)), right=True)],
    ]
    return Table(
        rows,
        [width * 0.62, width * 0.14, width * 0.24],
        style=TableStyle(
            [
                ("LINEABOVE", (0, 0), (-1, 0), 0.75, LINE),
                ("LINEBELOW", (0, 0), (-1, 0), 0.5, LINE),
                ("LINEBELOW", (0, 1), (-1, 1), 0.75, LINE),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (0, -1), 0),
                ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
            ]
        ),
    )


def _totals(payment: Payment, money: Callable[[int], str], width: float) -> Table:
    rows = [("Taxable value", taxable(payment)), *tax_lines(payment)]
    if not payment.tax_paise:
        later = payment.method in ("INVOICE", "LICENSE")
        rows.append(("GST (on the organisation's invoice)" if later else "GST (exempt)", 0))
    if payment.license_paise:
        rows.insert(0, ("Value covered by enterprise license", payment.license_paise))
    table = [["", _p(label, color=MUTED), _p(money(paise), right=True)] for label, paise in rows]
    table.append(
        [
            "",
            _p("Total paid", size=11, bold=True),
            _p(money(payment.amount_paise), size=11, bold=True, right=True),
        ]
    )
    return Table(
        table,
        [width * 0.5, width * 0.24, width * 0.26],
        style=TableStyle(
            [("LINEABOVE", (1, -1), (-1, -1), 0.75, INK), ("RIGHTPADDING", (-1, 0), (-1, -1), 0), *_tight()]
        ),
    )


def _flat() -> list[Any]:
    return [("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 0)]


def _tight() -> list[Any]:
    return [("TOPPADDING", (0, 0), (-1, -1), 1.5), ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5)]


def _foot(canvas: Canvas, doc: Any) -> None:
    canvas.setFont("Inter-Regular", 8)
    canvas.setFillColor(MUTED)
    canvas.drawString(MARGIN, 12 * mm, "This receipt was made by a computer and needs no signature.")
    canvas.drawRightString(A4[0] - MARGIN, 12 * mm, f"Page {doc.page}")
