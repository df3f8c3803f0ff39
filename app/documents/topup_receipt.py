"""The receipt of a top-up: one A4 page made on demand from the row's frozen facts (chapter 4, 4.2 "Advances").

Credits that buy several kinds of service are a voucher: this is a receipt for money, and says that tax is charged when they
are spent. The receipt voucher of an advance, with its tax, is a document of its own series.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from flask import Response
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import SimpleDocTemplate, Spacer, Table

from app import clock
from app.errors import DomainError
from app.models import GstMode, TopUpKind, TopUpStatus, WalletTopUp

from .receipt import INK, MARGIN, MUTED, _block, _flat, _foot, _p, _register, _tight
from .words import rupees_in_words

TAX = {
    GstMode.VOUCHER: "Credits are a voucher: GST is charged when they are spent, not on this payment.",
    GstMode.ADVANCE: "This is an advance: GST on it stands on the receipt voucher.",
}


def render(row: WalletTopUp, money: Callable[[int], str]) -> bytes:
    """The PDF of a confirmed top-up. *money* formats paise."""
    _register()
    assert row.confirmed_at is not None and row.receipt_number is not None
    supplier, buyer = row.snapshot["supplier"], row.snapshot["recipient"]
    day, width = row.confirmed_at.astimezone(clock.IST), A4[0] - 2 * MARGIN
    half = [width * 0.5, width * 0.5]
    top = [("VALIGN", (0, 0), (-1, -1), "TOP"), *_flat()]
    lines = [("Credits bought", row.amount_paise)]
    if row.refunded_paise:
        lines.append(("Given back since", -row.refunded_paise))
    story: list[Any] = [
        Table(
            [
                [
                    _p("Receipt", size=22, bold=True, lead=1.2),
                    _p(f"{row.receipt_number}\n{day.day} {day:%B %Y}", size=10, right=True),
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
                        "From",
                        supplier["name"],
                        supplier["address"],
                        supplier["gstin"],
                        supplier["gstin"][:2],
                    ),
                    _block("For", buyer["name"], "", buyer["gstin"], buyer["state"]),
                ]
            ],
            half,
            style=top,
        ),
        Spacer(1, 8 * mm),
        Table(
            [[_p(label), _p(money(paise), right=True)] for label, paise in lines]
            + [
                [
                    _p("Received", size=11, bold=True),
                    _p(money(row.amount_paise), size=11, bold=True, right=True),
                ]
            ],
            [width * 0.7, width * 0.3],
            style=[("LINEABOVE", (0, -1), (-1, -1), 0.75, INK), *_flat(), *_tight()],
        ),
        Spacer(1, 6 * mm),
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
            [
                [_p("Received on", size=8, color=MUTED), _p(f"{day.day} {day:%b %Y, %H:%M} IST")],
                [
                    _p("Paid", size=8, color=MUTED),
                    _p("By the mandate" if row.kind == TopUpKind.AUTO else f"Through {row.gateway}"),
                ],
                [_p("Tax", size=8, color=MUTED), _p(TAX[row.gst_mode])],
                [_p("Top-up", size=8, color=MUTED), _p(row.public_id, size=8)],
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
        title=f"Receipt {row.receipt_number}",
        author=supplier["name"],
        subject="Credits bought",
        lang="en-IN",
        invariant=1,
    ).build(story, onFirstPage=_foot, onLaterPages=_foot)
    return out.getvalue()


def response(row: WalletTopUp, money: Callable[[int], str]) -> Response:
    """The PDF as an answer. Raises NOT_FOUND before the top-up is credited."""
    if row.status != TopUpStatus.CONFIRMED or row.receipt_number is None or not row.snapshot:
        raise DomainError("NOT_FOUND")
    return Response(
        render(row, money),
        mimetype="application/pdf",
        headers={
            "Content-Disposition": f'inline; filename="{row.receipt_number}.pdf"',
            "Cache-Control": "private, no-store",
        },
    )
