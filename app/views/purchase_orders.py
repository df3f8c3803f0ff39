"""Purchase orders: what purchasing released, what invoices drew (chapter 2, 2.5, "Page")."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import abort, flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app import clock
from app.api.http import check_gate, find
from app.api.images import store
from app.api.purchase_orders import EXPORT, document_response, po_csv, posted_document
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Currency, PurchaseOrder, PurchaseOrderStatus
from app.security import matrix, uploads
from app.services import org_status, po_documents, purchase_orders
from app.services.text import amount_in
from app.views import format as f
from app.views.base import page as page_entry

from .forms import parse_rupees
from .pages import OrgPage, page


def needs_po(org: Any) -> bool:
    """Whether the organisation works with purchase orders at all."""
    return bool(org and org["can_sponsor"] and org["requires_po"])


def typed() -> dict[str, Any]:
    """The dialog's values. Raises Invalid."""
    form, problems = request.form, {}
    values: dict[str, Any] = {
        "po_number": form.get("po_number", "")[:200],
        "description": form.get("description", "")[:4000],
        "currency": form.get("currency", "INR")[:3],
        "valid_until": None,
    }
    try:
        values["total_paise"] = parse_rupees(form.get("total", "")[:40])
    except ValueError:
        problems["total"] = ["Enter an amount, such as 1,18,000.00."]
    day = form.get("valid_until", "").strip()
    if day:
        try:
            values["valid_until"] = dt.date.fromisoformat(day[:20])
        except ValueError:
            problems["valid_until"] = ["Enter a date."]
    if problems:
        raise Invalid(problems)
    return values


class PurchaseOrdersPage(OrgPage):
    """Tiles, search, and a dialog for each thing one may do."""

    route_base = "/dashboard/organization/<org_id>/purchase-orders"
    resource = "purchase-orders"

    def _open(self) -> None:
        if not g.org["requires_po"]:
            abort(404)

    @expose("/")
    @page("purchase-orders", sponsor=True)
    def index(self) -> Any:
        self._open()
        q = request.args.get("q", "").strip()[:100]
        status = request.args.get("status", "")
        status = status if status in PurchaseOrderStatus.__members__ else ""
        rows = purchase_orders.search(db.session(), q, status)
        today = clock.today_ist()
        return self.render(
            "billing/purchase_orders.html",
            title="Purchase orders",
            rows=rows,
            q=q,
            status=status,
            statuses=[(s.value, f.words(s)) for s in PurchaseOrderStatus],
            sums=purchase_orders.summary(db.session()),
            today=today,
            soon=today + dt.timedelta(days=30),
            currencies=[(c.value, c.value) for c in Currency],
            amount=amount_in,
            plain=lambda v: f"{v // 100}.{v % 100:02d}",
            writes=matrix.can("write", "purchase-orders")
            and org_status.refusal(g.org["status"], "purchase-orders", active=True) is None,
            exports=matrix.can("export", "purchase-orders"),
        )

    @expose("/export/csv")
    @page("purchase-orders", "export", sponsor=True)
    def export(self) -> Any:
        self._open()
        return po_csv(purchase_orders.search(db.session(), limit=EXPORT))

    def _do(self, work: Any, says: str) -> Any:
        """Run *work* for a dialog: what is refused comes back as a message above the list."""
        self._open()
        check_gate("purchase-orders", "write", active=True, sponsor=True)
        try:
            with db.session.begin_nested():
                work()
        except Invalid as error:
            names = {"total_paise": "Total", "po_number": "Number"}
            flash(
                " ".join(
                    f"{names.get(n) or n.replace('_', ' ').capitalize()}: {' '.join(p)}"
                    for n, p in error.fields.items()
                ),
                "danger",
            )
        except DomainError as error:
            if error.status >= 500 or error.status == 404:
                raise
            flash(error.message, "danger")
        else:
            flash(says, "success")
        return redirect(url_for("PurchaseOrdersPage.index"))

    @expose("/new", methods=["POST"])
    @page("purchase-orders", "write", active=True, sponsor=True)
    def new(self) -> Any:
        return self._do(lambda: purchase_orders.create(db.session(), typed()), "Purchase order entered.")

    @expose("/<public_id>/edit", methods=["POST"])
    @page("purchase-orders", "write", active=True, sponsor=True)
    def edit(self, public_id: str) -> Any:
        return self._do(
            lambda: purchase_orders.change(db.session(), find(PurchaseOrder, public_id), typed()),
            "Purchase order changed.",
        )

    @expose("/<public_id>/document", methods=["POST"])
    @uploads.limited(po_documents.MAX_BYTES, "UPLOAD_TOO_LARGE")
    @page("purchase-orders", "write", active=True, sponsor=True)
    def attach(self, public_id: str) -> Any:
        def work() -> None:
            data, name = posted_document()
            po_documents.attach(db.session(), store(), find(PurchaseOrder, public_id), data, name)

        return self._do(work, "Document attached.")

    @expose("/<public_id>/document", methods=["GET"])
    @page("purchase-orders", sponsor=True)
    def document(self, public_id: str) -> Any:
        self._open()
        return document_response(find(PurchaseOrder, public_id))

    @expose("/<public_id>/document/remove", methods=["POST"])
    @page("purchase-orders", "write", active=True, sponsor=True)
    def detach(self, public_id: str) -> Any:
        return self._do(
            lambda: po_documents.detach(db.session(), find(PurchaseOrder, public_id)), "Document removed."
        )

    @expose("/<public_id>/cancel", methods=["POST"])
    @page("purchase-orders", "write", active=True, sponsor=True)
    def cancel(self, public_id: str) -> Any:
        return self._do(
            lambda: purchase_orders.cancel(db.session(), find(PurchaseOrder, public_id)),
            "Purchase order cancelled.",
        )

    @expose("/<public_id>/delete", methods=["POST"])
    @page("purchase-orders", "write", active=True, sponsor=True)
    def delete(self, public_id: str) -> Any:
        return self._do(
            lambda: purchase_orders.remove(db.session(), find(PurchaseOrder, public_id)),
            "Purchase order deleted.",
        )


def register(appbuilder: Any) -> None:
    """Put the page into the sidebar where the organisation requires purchase orders."""
    page_entry(
        appbuilder,
        PurchaseOrdersPage(),
        group="Commerce",
        label="Purchase orders",
        resource="purchase-orders",
        icon="file-text",
        when=needs_po,
        keywords="po procurement purchasing",
    )
