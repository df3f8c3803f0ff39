"""What REST and pages of invoices share: the supplier, filters, files, one invoice in full."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, current_app, g, request, stream_with_context
from sqlalchemy.orm import Session

from app.documents import store as documents
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Invoice, InvoiceReceipt
from app.security.context import ctx
from app.services import (
    idempotency,
    invoice_exports,
    invoice_facts,
    invoice_reads,
    invoices,
)
from app.views.base.export import Number, csv_lines
from app.views.format import rupees

from .http import find, idempotent, ok

LINES = 500


def supplier() -> invoice_facts.Supplier:
    """The platform as documents print it."""
    return invoice_facts.supplier(current_app.config["SETTINGS"])


def keyed(name: str, body: Any, work: Callable[[], tuple[int, dict[str, Any]]]) -> Response:
    """*work*, once per Idempotency-Key where the caller sends one."""
    if request.headers.get("Idempotency-Key"):
        return idempotent(f"org:{ctx().org_id}", {name: idempotency.fingerprint(body)}, work)
    status, answer = work()
    return ok(answer, status)


def date_arg(name: str) -> dt.date | None:
    """A date of the query string. Raises Invalid."""
    raw = request.args.get(name, "").strip()
    if not raw:
        return None
    try:
        return dt.date.fromisoformat(raw[:10])
    except ValueError:
        raise Invalid({name: ["Use a date such as 2026-11-26."]}) from None


def filters() -> dict[str, Any]:
    """The list's filters as REST and the page take them."""
    return {
        "tab": request.args.get("tab", "")[:20],
        "status": request.args.get("status", "")[:20],
        "kind": request.args.get("kind", "")[:20],
        "q": request.args.get("q", "")[:100],
        "from": date_arg("from"),
        "to": date_arg("to"),
    }


def exported(what: str) -> Response:
    """A file of invoices, streamed; what a spreadsheet would calculate is escaped."""
    names, rows = invoice_exports.FORMATS[what]
    since, until = date_arg("from"), date_arg("to")
    session = db.session()
    invoice_exports.recorded(session, what, since, until)
    session.commit()
    identity = ctx()

    def cells() -> Iterator[list[Any]]:
        from app.security import context

        with Session(db.engine) as own:
            before = context.ctx()
            context.use(own, identity)
            try:
                for row in rows(own, since, until):
                    yield [cell(name, row[name]) for name in names]
            finally:
                context._current.set(before)

    name = {"csv": "invoices", "gst": "gst-register", "hsn": "hsn-summary"}[what]
    return Response(
        stream_with_context(csv_lines(list(names), cells())),
        mimetype="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}-{g.org["slug"]}.csv"'},
    )


def cell(name: str, value: Any) -> Any:
    """A value as the file holds it: rupees with two decimals, rates in per cent."""
    if value is None:
        return ""
    if name in invoice_exports.MONEY:
        return Number(rupees(int(value)))
    if name == "rate":
        return Number(f"{int(value) / 100:g}")
    return Number(str(value)) if isinstance(value, int) else str(value)


def pdf(subject: Any) -> Response:
    """A document as a file."""
    made = documents.fetch(db.session(), subject, current_app.config["SETTINGS"])
    return Response(
        made.data,
        mimetype="application/pdf",
        headers={
            "Content-Disposition": f'inline; filename="{made.filename}"',
            "X-Content-Hash": made.content_hash,
            "Cache-Control": "private, no-cache",
        },
    )


def receipt_of(public_id: Any, receipt_id: Any) -> InvoiceReceipt:
    """A receipt of the invoice named, both public ids. Raises NOT_FOUND, for another invoice's too."""
    row, made = find(Invoice, public_id), find(InvoiceReceipt, receipt_id)
    if made.invoice_id != row.id:
        raise DomainError("NOT_FOUND")
    return made


def show(row: Invoice) -> dict[str, Any]:
    """One invoice in full."""
    return invoice_reads.full(db.session(), row, invoices.lines_of(db.session(), row, limit=LINES))


def require_admin() -> None:
    """Raises INSUFFICIENT_ROLE: money and notes of the supplier are entered by the platform."""
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
