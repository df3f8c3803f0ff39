"""CSV and XLSX of a list, row by row, without holding it in memory, and without handing formulas to a spreadsheet."""

from __future__ import annotations

import csv
import datetime as dt
import enum
import io
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any
from xml.sax.saxutils import escape

from app import clock
from app.views import format as f

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def plain(value: Any, kind: str | None) -> Any:
    """A value for a file: money as decimal rupees, shares as per cent, times as ISO 8601, names for references."""
    if value is None:
        return ""
    if kind in ("money", "signed_money", "short_money") and isinstance(value, int):
        return Number(f.rupees(value))
    if kind == "bps" and isinstance(value, int):
        return Number(f.rupees(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return Number(str(value))
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, dt.datetime):
        return f.local(value, clock.IST).isoformat(timespec="seconds")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return ", ".join(str(v) for v in value)
    return str(value)


class Number(str):
    """Digits that stay a number in a spreadsheet: the formula guard leaves them alone."""


def guard(value: Any) -> str:
    """Text that a spreadsheet would run as a formula gets an apostrophe; numbers of ours pass."""
    text = str(value)
    return text if isinstance(value, Number) or not text.startswith(FORMULA) else "'" + text


def csv_lines(head: list[str], rows: Iterable[list[Any]]) -> Iterator[str]:
    """The file in pieces: a byte-order mark (Excel), the heading, then each row."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    yield "\ufeff"
    writer.writerow([guard(h) for h in head])
    for row in rows:
        writer.writerow([guard(v) for v in row])
        if buffer.tell() > 32_000:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


_PARTS = {
    "[Content_Types].xml": '<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/'
    'package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
    'relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/'
    'worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
    '<Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.'
    'styles+xml"/></Types>',
    "_rels/.rels": '<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.openxmlformats.org/'
    'package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    'relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": '<?xml version="1.0" encoding="UTF-8"?><workbook xmlns="http://schemas.openxmlformats.org/'
    'spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
    '<sheet name="Data" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.'
    'openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/'
    'officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="http://'
    'schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>',
    # style 1: bold heading; 2: two decimals; 3: text with Excel's own quote prefix, so it never becomes a formula
    "xl/styles.xml": '<?xml version="1.0" encoding="UTF-8"?><styleSheet xmlns="http://schemas.openxmlformats.org/'
    'spreadsheetml/2006/main"><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/>'
    '<name val="Calibri"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill>'
    '<patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders><cellStyleXfs count="1">'
    '<xf/></cellStyleXfs><cellXfs count="4"><xf/><xf fontId="1" applyFont="1"/><xf numFmtId="4" applyNumberFormat="1"/>'
    '<xf quotePrefix="1"/></cellXfs></styleSheet>',
}
_ILLEGAL = dict.fromkeys(n for n in range(32) if n not in (9, 10, 13))


def _cell(value: Any, heading: bool = False) -> str:
    if isinstance(value, Number) and len(value) < 16:
        return f"<c{' s=' + chr(34) + '2' + chr(34) if '.' in value else ''}><v>{value}</v></c>"
    text = str(value)
    if not text:
        return "<c/>"
    style = ' s="1"' if heading else ' s="3"' if text.startswith(FORMULA) else ""
    return (
        f'<c t="inlineStr"{style}><is><t xml:space="preserve">{escape(text.translate(_ILLEGAL))}</t></is></c>'
    )


def xlsx_file(head: list[str], rows: Iterable[list[Any]]) -> Any:
    """A workbook with one sheet as an open temporary file at position 0 (memory below 4 MB, else disk)."""
    out = tempfile.SpooledTemporaryFile(max_size=4_000_000)  # noqa: SIM115 - handed to the response, which closes it
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book:
        for name, body in _PARTS.items():
            book.writestr(name, body)
        with book.open("xl/worksheets/sheet1.xml", "w") as sheet:
            sheet.write(
                b'<?xml version="1.0" encoding="UTF-8"?><worksheet xmlns="http://schemas.openxmlformats.org/'
                b'spreadsheetml/2006/main"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" '
                b'topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>'
            )
            sheet.write(f"<row>{''.join(_cell(h, True) for h in head)}</row>".encode())
            for row in rows:
                sheet.write(f"<row>{''.join(_cell(v) for v in row)}</row>".encode())
            sheet.write(b"</sheetData></worksheet>")
    out.seek(0)
    return out
