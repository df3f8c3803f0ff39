"""Tax documents as PDF: invoices, bills of supply, credit notes, statements, vouchers (chapter 4, 4.2 "Invoice fields").

Drawn straight onto the canvas: rows are measured first, so that pages, carried totals and "page 2 of 9" are known before
anything is drawn, and a thousand lines take a second. The model holds text and paise and nothing of the database.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from reportlab.graphics import renderPDF
from reportlab.graphics.barcode.qr import QrCodeWidget
from reportlab.graphics.shapes import Drawing
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from app.services.text import group

FONTS = Path(__file__).parent / "fonts"
PLAIN, BOLD = "Inter-Regular", "Inter-SemiBold"
INK, MUTED, LINE, WASH = HexColor("#18181b"), HexColor("#63636b"), HexColor("#d4d4d8"), HexColor("#f6f6f7")
ACCENT = "#3d4fd6"
WIDTH, HEIGHT = A4
LEFT, RIGHT = 16 * mm, WIDTH - 16 * mm
TOP, BOTTOM = HEIGHT - 16 * mm, 20 * mm
WATERMARKS = {
    "DRAFT": "#71717a",
    "VOID": "#b3261e",
    "CANCELLED": "#b3261e",
    "PAID": "#15803d",
    "REFUNDED": "#71717a",
}


@dataclass(frozen=True)
class Line:
    """A row of the table; amounts in paise, heads as (cgst, sgst or utgst, igst)."""

    description: str
    detail: str
    sac: str
    quantity: int
    unit: int
    discount: int
    taxable: int
    bps: int
    heads: tuple[int, int, int]
    total: int
    exempt: bool = False


@dataclass(frozen=True)
class Party:
    """A block of a name and lines."""

    title: str
    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Registration:
    """What the portal acknowledged: printed, with its QR code."""

    irn: str
    ack_number: str
    ack_date: str
    qr: str


@dataclass(frozen=True)
class Document:
    """Everything a tax document prints."""

    title: str
    number: str
    copy: str  # "Original for recipient"
    supplier: Party
    recipient: Party
    facts: tuple[tuple[str, str], ...]  # up to eight labelled values
    lines: Sequence[Line]
    intra_state: bool
    local_head: str  # SGST or UTGST
    subtotal: int
    heads: tuple[int, int, int]
    round_off: int
    total: int
    total_label: str
    words: str
    after: tuple[tuple[str, int, bool], ...] = ()  # label, paise, bold: paid, credited, to pay
    notes: tuple[tuple[str, str], ...] = ()  # heading and text: endorsement, bank, note
    watermark: str = ""
    color: str | None = None
    logo: bytes | None = None
    registration: Registration | None = None
    signatory: str = ""
    signer: str = ""
    subject: str = ""
    bill_of_supply: bool = False
    keywords: tuple[str, ...] = field(default=())


def register_fonts() -> None:
    """Both weights of Inter, embedded as subsets; it has the rupee sign."""
    for name, file in ((PLAIN, "Inter-Regular.ttf"), (BOLD, "Inter-SemiBold.ttf")):
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, str(FONTS / file)))


def rupees(paise: int) -> str:
    """1180050 → 11,800.50 in Indian grouping, without a sign: columns say ₹ once."""
    whole, rest = divmod(abs(paise), 100)
    return f"{'−' if paise < 0 else ''}{group(whole)}.{rest:02d}"


def percent(bps: int) -> str:
    """1800 → 18 %; half of an odd rate keeps its decimals."""
    return f"{bps / 100:g} %"


@lru_cache(maxsize=20_000)
def _wrap(text: str, font: str, size: float, width: float) -> tuple[str, ...]:
    """*text* in lines no wider than *width*; a word that is longer is cut."""
    out: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            while pdfmetrics.stringWidth(word, font, size) > width:
                cut = next(
                    n
                    for n in range(len(word), 0, -1)
                    if n == 1 or pdfmetrics.stringWidth(word[:n], font, size) <= width
                )
                if line:
                    out.append(line)
                    line = ""
                out.append(word[:cut])
                word = word[cut:]
            tried = f"{line} {word}" if line else word
            if pdfmetrics.stringWidth(tried, font, size) <= width:
                line = tried
            else:
                out.append(line)
                line = word
        out.append(line)
    return tuple(out)


@dataclass(frozen=True)
class Column:
    """A column of the table: heading, left edge, width, right-aligned or not."""

    head: str
    x: float
    width: float
    right: bool


class Sheet:
    """One rendering: measures, breaks pages, draws."""

    def __init__(self, doc: Document) -> None:
        register_fonts()
        self.doc = doc
        self.out = io.BytesIO()
        self.c = Canvas(self.out, pagesize=A4, invariant=1, lang="en-IN", pageCompression=1)
        self.accent = _readable(doc.color)
        self.columns = self._columns()
        self.page = 0
        self.pages = 0

    # ---- measuring -------------------------------------------------------------------------------------------------
    def _columns(self) -> list[Column]:
        doc = self.doc
        priced = any(n.quantity != 1 or n.discount for n in doc.lines)
        spec: list[tuple[str, float, bool]] = [
            ("#", 8 * mm, False),
            ("Description", 0, False),
            ("SAC", 14 * mm, False),
        ]
        if priced:
            spec += [("Qty", 11 * mm, True), ("Rate ₹", 21 * mm, True)]
            if any(n.discount for n in doc.lines):
                spec.append(("Discount ₹", 20 * mm, True))
        if doc.bill_of_supply:
            spec.append(("Value ₹", 28 * mm, True))
        else:
            spec.append(("Taxable ₹", 24 * mm, True))
            if doc.intra_state:
                spec += [("CGST ₹", 19 * mm, True), (f"{doc.local_head} ₹", 19 * mm, True)]
            else:
                spec.append(("IGST ₹", 22 * mm, True))
            spec.append(("Total ₹", 25 * mm, True))
        rest = (RIGHT - LEFT) - sum(w for _, w, _ in spec)
        x, out = LEFT, []
        for head, width, right in spec:
            width = width or rest
            out.append(Column(head, x, width, right))
            x += width
        return out

    def _row(self, n: int, line: Line) -> tuple[list[tuple[str, ...]], tuple[str, ...], float]:
        """(cells by column, the detail's lines, height)."""
        wide = self.columns[1].width - 3 * mm
        what = _wrap(line.description, PLAIN, 8.5, wide)
        detail = _wrap(line.detail, PLAIN, 7, wide) if line.detail else ()
        values: list[tuple[str, ...]] = []
        for column in self.columns:
            head = column.head.removesuffix(" ₹")
            values.append(
                {
                    "#": lambda: (str(n),),
                    "Description": lambda: what,
                    "SAC": lambda: (line.sac,),
                    "Qty": lambda: (group(line.quantity),),
                    "Rate": lambda: (rupees(line.unit),),
                    "Discount": lambda: (rupees(line.discount),),
                    "Taxable": lambda: (rupees(line.taxable),),
                    "Value": lambda: (rupees(line.taxable),),
                    "CGST": lambda: self._tax(line, line.heads[0], 2),
                    "SGST": lambda: self._tax(line, line.heads[1], 2),
                    "UTGST": lambda: self._tax(line, line.heads[1], 2),
                    "IGST": lambda: self._tax(line, line.heads[2], 1),
                    "Total": lambda: (rupees(line.total),),
                }[head]()
            )
        height = 4.2 * mm + len(what) * 10.5 + len(detail) * 9
        return values, detail, max(height, 4.2 * mm + (20 if any(len(v) > 1 for v in values[2:]) else 10.5))

    def _tax(self, line: Line, paise: int, halves: int) -> tuple[str, ...]:
        if line.exempt:
            return ("Exempt",)
        return (
            rupees(paise),
            percent(line.bps // halves) if line.bps % halves == 0 else f"{line.bps / halves / 100:g} %",
        )

    # ---- drawing ---------------------------------------------------------------------------------------------------
    def text(
        self,
        x: float,
        y: float,
        value: str,
        size: float = 8.5,
        *,
        bold: bool = False,
        color: Any = INK,
        right: bool = False,
    ) -> None:
        self.c.setFont(BOLD if bold else PLAIN, size)
        self.c.setFillColor(color)
        (self.c.drawRightString if right else self.c.drawString)(x, y, value)

    def rule(
        self, y: float, color: Any = LINE, width: float = 0.6, left: float = LEFT, right: float = RIGHT
    ) -> None:
        self.c.setStrokeColor(color)
        self.c.setLineWidth(width)
        self.c.line(left, y, right, y)

    def render(self) -> bytes:
        """The file's bytes; the same document gives the same bytes."""
        doc, c = self.doc, self.c
        c.setTitle(f"{doc.title} {doc.number}")
        c.setAuthor(doc.supplier.name)
        c.setSubject(doc.subject or doc.title)
        c.setKeywords(", ".join(doc.keywords))
        c.setCreator("Consilium")
        c.setViewerPreference("DisplayDocTitle", "true")
        rows = [self._row(n, line) for n, line in enumerate(doc.lines, 1)]
        plan = self._plan([r[2] for r in rows])
        closing = self._closing()
        last_space = plan[-1][2]
        extra = closing[-1] > last_space
        self.pages = len(plan) + (1 if extra else 0)
        carried = self._zero()
        for number, (start, stop, _) in enumerate(plan):
            y = self._begin(first=number == 0)
            y = self._head(y)
            if number:
                y = self._carry(y, "Brought forward", carried)
            for n in range(start, stop):
                y = self._line(y, *rows[n])
                carried = self._add(carried, doc.lines[n])
            if stop < len(rows):
                self._carry(y, "Carried forward", carried)
                self._end()
        if extra:
            self._end()
            y = self._begin(first=False)
        self._close(y)
        self._end()
        c.save()
        return self.out.getvalue()

    def _zero(self) -> dict[str, int]:
        return dict.fromkeys(("Taxable", "Value", "CGST", "SGST", "UTGST", "IGST", "Total"), 0)

    def _add(self, sums: dict[str, int], line: Line) -> dict[str, int]:
        return {
            "Taxable": sums["Taxable"] + line.taxable,
            "Value": sums["Value"] + line.taxable,
            "CGST": sums["CGST"] + line.heads[0],
            "SGST": sums["SGST"] + line.heads[1],
            "UTGST": sums["UTGST"] + line.heads[1],
            "IGST": sums["IGST"] + line.heads[2],
            "Total": sums["Total"] + line.total,
        }

    def _plan(self, heights: list[float]) -> list[tuple[int, int, float]]:
        """Rows of each page: (first, after the last, room left below)."""
        head, carry = 8 * mm, 8 * mm
        out: list[tuple[int, int, float]] = []
        start = 0
        room = self._first_room() - head
        while True:
            stop, left = start, room - (carry if out else 0)
            while stop < len(heights) and heights[stop] <= left - (carry if stop + 1 < len(heights) else 0):
                left -= heights[stop]
                stop += 1
            if stop == start and stop < len(heights):  # a row taller than what is left of this page
                stop += 1
            out.append((start, stop, left))
            if stop >= len(heights):
                return out
            start, room = stop, TOP - 12 * mm - BOTTOM - head

    def _first_room(self) -> float:
        return self._top_of_lines() - BOTTOM

    def _blocks(self) -> tuple[list[str], list[str]]:
        return (self._party_lines(self.doc.supplier), self._party_lines(self.doc.recipient))

    def _party_lines(self, party: Party) -> list[str]:
        half = (RIGHT - LEFT) / 2 - 6 * mm
        return [one for line in party.lines for one in _wrap(line, PLAIN, 8.5, half)]

    def _top_of_lines(self) -> float:
        """Where the table begins on the first page: below title, facts, parties and registration."""
        y = TOP - 22 * mm
        y -= 11.5 * mm * ((len(self.doc.facts) + 3) // 4) + 3 * mm
        names = max(
            len(_wrap(p.name, BOLD, 10, (RIGHT - LEFT) / 2 - 6 * mm))
            for p in (self.doc.supplier, self.doc.recipient)
        )
        y -= 6 * mm + names * 13 + max(map(len, self._blocks())) * 11 + 6 * mm
        if self.doc.registration is not None:
            y -= 34 * mm
        return y

    def _begin(self, *, first: bool) -> float:
        self.page += 1
        self._mark()
        c = self.c
        c.setFillColor(self.accent)
        c.rect(0, HEIGHT - 3 * mm, WIDTH, 3 * mm, stroke=0, fill=1)
        if first:
            return self._front()
        self.text(LEFT, TOP - 3 * mm, f"{self.doc.title} {self.doc.number}", 8.5, bold=True)
        self.text(RIGHT, TOP - 3 * mm, self.doc.supplier.name, 8, color=MUTED, right=True)
        return TOP - 9 * mm

    def _mark(self) -> None:
        word = self.doc.watermark
        if not word:
            return
        c = self.c
        c.saveState()
        base = HexColor(WATERMARKS.get(word, "#71717a"))
        c.setFillColor(Color(base.red, base.green, base.blue, alpha=0.07))
        c.translate(WIDTH / 2, HEIGHT / 2)
        c.rotate(52)
        size = min(170, 1000 / max(len(word), 1))
        c.setFont(BOLD, size)
        c.drawCentredString(0, -size / 3, word)
        c.restoreState()

    def _front(self) -> float:
        doc, c = self.doc, self.c
        c.bookmarkPage("document")
        c.addOutlineEntry(f"{doc.title} {doc.number}", "document")
        self.text(LEFT, TOP - 6 * mm, doc.title, 20, bold=True)
        self.text(LEFT, TOP - 12.5 * mm, doc.number, 11, color=MUTED)
        if doc.copy:
            self.text(LEFT, TOP - 17 * mm, doc.copy, 7.5, color=MUTED)
        self._logo()
        y = TOP - 22 * mm
        self.rule(y + 2.5 * mm)
        quarter = (RIGHT - LEFT) / 4
        for n, (label, value) in enumerate(doc.facts):
            x, at = LEFT + quarter * (n % 4), y - 11.5 * mm * (n // 4)
            self.text(x, at - 2.5 * mm, label, 7, color=MUTED)
            shown = _wrap(value, BOLD, 8.5, quarter - 3 * mm)
            self.text(x, at - 6.6 * mm, shown[0] + ("…" if len(shown) > 1 else ""), 8.5, bold=True)
        y -= 11.5 * mm * ((len(doc.facts) + 3) // 4) + 3 * mm
        self.rule(y + 4 * mm)
        bottom = min(
            self._party(LEFT, y, doc.supplier), self._party(LEFT + (RIGHT - LEFT) / 2, y, doc.recipient)
        )
        y = self._top_of_lines() + (34 * mm if doc.registration else 0)
        if doc.registration is not None:
            self._registered(min(y, bottom), doc.registration)
            y -= 34 * mm
        return y

    def _logo(self) -> None:
        if self.doc.logo:
            try:
                image = ImageReader(io.BytesIO(self.doc.logo))
                w, h = image.getSize()
                scale = min(44 * mm / w, 15 * mm / h)
                self.c.drawImage(
                    image, RIGHT - w * scale, TOP - 1 * mm - h * scale, w * scale, h * scale, mask="auto"
                )
                return
            except Exception:  # noqa: S110 - a picture that cannot be read leaves its place to the name
                pass
        lines = _wrap(self.doc.supplier.name, BOLD, 10.5, 70 * mm)
        for n, one in enumerate(lines[:2]):
            self.text(RIGHT, TOP - 5.5 * mm - n * 13, one, 10.5, bold=True, color=self.accent, right=True)

    def _party(self, x: float, y: float, party: Party) -> float:
        half = (RIGHT - LEFT) / 2 - 6 * mm
        self.text(x, y - 2 * mm, party.title, 7, color=MUTED)
        at = y - 7 * mm
        for one in _wrap(party.name, BOLD, 10, half):
            self.text(x, at, one, 10, bold=True)
            at -= 13
        for one in self._party_lines(party):
            self.text(x, at, one, 8.5)
            at -= 11
        return at

    def _registered(self, y: float, made: Registration) -> None:
        c, size = self.c, 30 * mm
        c.setFillColor(WASH)
        c.roundRect(LEFT, y - 32 * mm, RIGHT - LEFT, 32 * mm, 4, stroke=0, fill=1)
        code = QrCodeWidget(made.qr, barLevel="L")
        a, b, right, top = code.getBounds()
        drawing = Drawing(size, size, transform=[size / (right - a), 0, 0, size / (top - b), 0, 0])
        drawing.add(code)
        renderPDF.draw(drawing, c, RIGHT - size - 1 * mm, y - 31 * mm)
        self.text(
            LEFT + 4 * mm,
            y - 6 * mm,
            "e-Invoice, registered at the Invoice Registration Portal",
            8.5,
            bold=True,
        )
        for n, (label, value) in enumerate(
            (
                ("IRN", made.irn[:32]),
                ("", made.irn[32:]),
                ("Acknowledgement", made.ack_number),
                ("Acknowledged", made.ack_date),
            )
        ):
            self.text(LEFT + 4 * mm, y - 12.5 * mm - n * 11, label, 7.5, color=MUTED)
            self.text(LEFT + 32 * mm, y - 12.5 * mm - n * 11, value, 8)

    def _head(self, y: float) -> float:
        c = self.c
        c.setFillColor(WASH)
        c.rect(LEFT, y - 7 * mm, RIGHT - LEFT, 7 * mm, stroke=0, fill=1)
        for column in self.columns:
            x = column.x + column.width - 1.5 * mm if column.right else column.x + 1.5 * mm
            self.text(x, y - 4.7 * mm, column.head, 7.2, bold=True, color=MUTED, right=column.right)
        return y - 8 * mm

    def _line(self, y: float, values: list[tuple[str, ...]], detail: tuple[str, ...], height: float) -> float:
        top = y - 4.6 * mm
        for column, cell in zip(self.columns, values, strict=True):
            x = column.x + column.width - 1.5 * mm if column.right else column.x + 1.5 * mm
            at = top
            for n, one in enumerate(cell):
                small = n and column.head != "Description"
                self.text(
                    x,
                    at,
                    one,
                    7 if small else 8.5,
                    color=MUTED if small or column.head == "#" else INK,
                    right=column.right,
                )
                at -= 9 if small else 10.5
            if column.head == "Description":
                for one in detail:
                    self.text(x, at, one, 7, color=MUTED)
                    at -= 9
        self.rule(y - height, width=0.35)
        return y - height

    def _carry(self, y: float, label: str, sums: dict[str, int]) -> float:
        self.text(self.columns[1].x + 1.5 * mm, y - 5 * mm, label, 8, bold=True)
        for column in self.columns:
            name = column.head.removesuffix(" ₹")
            if name in sums:
                self.text(
                    column.x + column.width - 1.5 * mm,
                    y - 5 * mm,
                    rupees(sums[name]),
                    8,
                    bold=True,
                    right=True,
                )
        self.rule(y - 7.4 * mm, INK, 0.6)
        return y - 8 * mm

    # ---- after the lines -------------------------------------------------------------------------------------------
    def _summary(self) -> list[tuple[str, int, int, tuple[int, int, int]]]:
        """By SAC and rate: (sac, bps, taxable, heads)."""
        sums: dict[tuple[str, int], list[int]] = {}
        for line in self.doc.lines:
            row = sums.setdefault((line.sac, line.bps), [0, 0, 0, 0])
            for n, value in enumerate((line.taxable, *line.heads)):
                row[n] += value
        return [(sac, bps, v[0], (v[1], v[2], v[3])) for (sac, bps), v in sorted(sums.items())]

    def _totals(self) -> list[tuple[str, int, bool]]:
        doc = self.doc
        rows = [("Value" if doc.bill_of_supply else "Taxable value", doc.subtotal, False)]
        if not doc.bill_of_supply:
            if doc.intra_state:
                rows += [("CGST", doc.heads[0], False), (doc.local_head, doc.heads[1], False)]
            else:
                rows.append(("IGST", doc.heads[2], False))
        if doc.round_off:
            rows.append(("Rounding", doc.round_off, False))
        rows.append((doc.total_label, doc.total, True))
        return [*rows, *doc.after]

    def _closing(self) -> tuple[float, float, list[tuple[str, tuple[str, ...]]], float]:
        """(height of the totals, of the summary, wrapped notes, the whole height)."""
        totals = sum(7.2 * mm if bold else 5.4 * mm for _, _, bold in self._totals())
        summary = 0 if self.doc.bill_of_supply else 8 * mm + 5 * mm * len(self._summary())
        notes = [(h, _wrap(t, PLAIN, 8, RIGHT - LEFT - 62 * mm)) for h, t in self.doc.notes if t]
        words = len(_wrap(self.doc.words, BOLD, 9, RIGHT - LEFT - 4 * mm))
        below = sum(10 + 10.5 * len(t) + 5 for _, t in notes)
        height = 5 * mm + max(totals, summary) + 5 * mm + 10 + 12 * words + 4 * mm + max(below, 30 * mm)
        return totals, summary, notes, height

    def _close(self, y: float) -> None:
        doc = self.doc
        totals, summary, notes, _ = self._closing()
        y -= 5 * mm
        at = y
        for label, paise, bold in self._totals():
            at -= 7.2 * mm if bold else 5.4 * mm
            if bold:
                self.rule(at + 5.2 * mm, INK, 0.8, left=RIGHT - 72 * mm)
            self.text(
                RIGHT - 72 * mm, at, label, 10 if bold else 8.5, bold=bold, color=INK if bold else MUTED
            )
            shown = ("₹" if bold else "") + rupees(paise)
            self.text(RIGHT - 1.5 * mm, at, shown, 10 if bold else 8.5, bold=bold, right=True)
        if summary:
            self._hsn(y)
        y -= max(totals, summary) + 5 * mm
        self.text(LEFT, y, "Amount in words", 7, color=MUTED)
        y -= 12
        for one in _wrap(doc.words, BOLD, 9, RIGHT - LEFT - 4 * mm):
            self.text(LEFT, y, one, 9, bold=True)
            y -= 12
        y -= 4 * mm
        self.rule(y + 3 * mm)
        sign = y
        for heading, lines in notes:
            self.text(LEFT, y - 6, heading, 7, color=MUTED)
            y -= 16
            for one in lines:
                self.text(LEFT, y, one, 8)
                y -= 10.5
            y -= 5
        if doc.signer:
            self.text(RIGHT, sign - 6, f"For {doc.signer}"[:60], 8, right=True)
            self.rule(sign - 21 * mm, left=RIGHT - 52 * mm)
            self.text(RIGHT, sign - 25 * mm, doc.signatory, 7.5, color=MUTED, right=True)

    def _hsn(self, y: float) -> None:
        heads = ["SAC", "Rate", "Taxable ₹"] + (
            ["CGST ₹", f"{self.doc.local_head} ₹"] if self.doc.intra_state else ["IGST ₹"]
        )
        edges = [0, 15 * mm, 46 * mm, 70 * mm, 94 * mm][: len(heads)]
        self.text(LEFT, y - 3 * mm, "Tax summary", 7, color=MUTED)
        at = y - 7.5 * mm
        for n, name in enumerate(heads):
            self.text(LEFT + edges[n], at, name, 7, bold=True, color=MUTED, right=n >= 2)
        for sac, bps, taxable, (cgst, local, igst) in self._summary():
            at -= 5 * mm
            cells = [sac, percent(bps) if bps else "Exempt", rupees(taxable)]
            cells += [rupees(cgst), rupees(local)] if self.doc.intra_state else [rupees(igst)]
            for n, value in enumerate(cells):
                self.text(LEFT + edges[n], at, value, 7.8, right=n >= 2)

    def _end(self) -> None:
        self.rule(BOTTOM - 4 * mm)
        self.text(LEFT, 11.5 * mm, f"{self.doc.title} {self.doc.number}", 7, color=MUTED)
        self.text(WIDTH / 2, 11.5 * mm, "", 7)
        self.text(RIGHT, 11.5 * mm, f"Page {self.page} of {self.pages}", 7, color=MUTED, right=True)
        self.c.showPage()


def _readable(color: str | None) -> Any:
    """The organisation's colour, darkened until text in it can be read on white."""
    try:
        found = HexColor(color or ACCENT)
    except ValueError:
        found = HexColor(ACCENT)
    for _ in range(12):
        if 0.2126 * found.red + 0.7152 * found.green + 0.0722 * found.blue <= 0.45:
            break
        found = Color(found.red * 0.85, found.green * 0.85, found.blue * 0.85)
    return found


def render(doc: Document) -> tuple[bytes, int]:
    """(the PDF, its pages)."""
    sheet = Sheet(doc)
    data = sheet.render()
    return data, sheet.pages


Renderer = Callable[[Document], tuple[bytes, int]]
