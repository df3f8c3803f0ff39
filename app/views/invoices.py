"""Invoices and credit notes of an organisation: list, detail with timeline, writing one, paying (chapter 2, 2.9)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, current_app, flash, g, redirect, request, stream_with_context, url_for
from flask_appbuilder import expose
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.api.http import check_gate, find
from app.api.invoice_answers import exported, filters, pdf, receipt_of, require_admin, supplier
from app.errors import DomainError, Invalid
from app.extensions import db
from app.gateways.irp import open_irp
from app.models import (
    Contract,
    ContractStatus,
    CreditNote,
    Currency,
    Invoice,
    InvoiceKind,
    InvoiceRefund,
    InvoiceStatus,
    PurchaseOrder,
    PurchaseOrderStatus,
    TaxRate,
)
from app.security import context, matrix
from app.security.context import ctx
from app.services import (
    accruals,
    credit_notes,
    einvoices,
    invoice_drafts,
    invoice_facts,
    invoice_issue,
    invoice_reads,
    invoice_receipts,
    invoice_rollup,
    invoice_void,
    invoices,
    org_status,
    tax_tables,
    wallets,
)
from app.services.text import amount_in, money
from app.views import format as f
from app.views.base import event
from app.views.base import page as page_entry
from app.views.base.export import csv_lines

from .forms import parse_rupees
from .pages import OrgPage, page

PER_PAGE, SHOWN_LINES = 25, 100
KINDS = {"ROLL_UP": "Bookings", "MANUAL": "Manual", "LICENSE": "Licence", "STATEMENT": "Tax statement"}
OPEN = (InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE)


def may(verb: str, resource: str = "invoices") -> bool:
    """Whether the reader may *verb* here and now: the matrix and the organisation's status."""
    active = verb == "write"
    return (
        matrix.can(verb, resource)
        and org_status.refusal(g.org["status"], resource, verb, active=active) is None
    )


def page_number() -> int:
    """``?page=``, 1 for anything else."""
    raw = request.args.get("page", "1")
    return int(raw) if raw.isascii() and raw.isdigit() and 0 < len(raw) < 6 and int(raw) else 1


def bills(org: Any) -> bool:
    """Whether the organisation has invoices at all."""
    return bool(org and org["can_sponsor"])


class InvoicesPage(OrgPage):
    """What the organisation is billed."""

    route_base = "/dashboard/organization/<org_id>/invoices"
    resource = "invoices"

    @expose("/")
    @page("invoices", sponsor=True)
    def index(self) -> Any:
        session, chosen = db.session(), filters()
        account = wallets.account(session)
        current = page_number()
        rows = list(
            session.scalars(
                invoice_reads.selection(chosen)
                .order_by(Invoice.created_at.desc(), Invoice.id.desc())
                .offset((current - 1) * PER_PAGE)
                .limit(PER_PAGE + 1)
            )
        )
        totals = invoice_reads.counts(session)
        tabs = [("", "All")] + [(k, label) for k, (label, _) in invoice_reads.TABS.items()]
        if totals["statements"]:
            tabs.append(("statements", "Tax statements"))
        accrues = account.funding_source in ("INVOICE", "LICENSE")
        return self.render(
            "invoices/list.html",
            title="Invoices",
            rows=rows[:PER_PAGE],
            owed=accruals.owed,
            more=len(rows) > PER_PAGE,
            page_number=current,
            chosen={**chosen, "from": chosen["from"] or "", "to": chosen["to"] or ""},
            filtered=any(chosen[k] for k in ("q", "kind", "from", "to")),
            tabs=[
                {
                    "label": label,
                    "url": url_for("InvoicesPage.index", tab=key or None),
                    "here": chosen["tab"] == key,
                    "count": totals[key] or None,
                }
                for key, label in tabs
            ],
            summary=invoice_reads.summary(session, account),
            preview=invoice_rollup.preview(session, supplier()) if accrues and may("write") else None,
            kinds=KINDS,
            writes=may("write"),
            exports=matrix.can("export", "invoices"),
            years=invoice_reads.fiscal_years(session),
            today=clock.today_ist(),
            args={k: v for k, v in request.args.items() if k in ("tab", "q", "kind", "from", "to") and v},
        )

    @expose("/export/<what>")
    @page("invoices", "export", sponsor=True)
    def export(self, what: str) -> Any:
        if what not in ("csv", "gst", "hsn"):
            raise DomainError("NOT_FOUND")
        return exported(what)

    @expose("/roll-up", methods=["POST"])
    @page("invoices", "write", active=True, sponsor=True)
    def roll_up(self) -> Any:
        rows = invoice_rollup.roll_up(db.session(), supplier())
        flash(
            f"Invoice {rows[0].number} of {money(rows[0].total_paise)} was issued."
            if len(rows) == 1
            else f"{len(rows)} documents were issued: exempt and taxable bookings stand apart.",
            "success",
        )
        return redirect(url_for("InvoicesPage.show", public_id=rows[0].public_id))

    # ---- writing one -----------------------------------------------------------------------------------------------
    @expose("/new", methods=["GET", "POST"])
    @page("invoices", "write", active=True, sponsor=True)
    def new(self) -> Any:
        errors: dict[str, list[str]] = {}
        if request.method == "POST" and "more" not in request.form:
            try:
                with db.session.begin_nested():
                    row = invoice_drafts.create(db.session(), typed(), supplier())
                flash("The draft stands. Look at it, then issue it.", "success")
                return redirect(url_for("InvoicesPage.show", public_id=row.public_id))
            except Invalid as error:
                errors = error.fields
            except DomainError as error:
                if error.status >= 500:
                    raise
                errors = {"": [error.message]}
        return self._form("New invoice", None, errors)

    @expose("/<uuid:public_id>/edit", methods=["GET", "POST"])
    @page("invoices", "write", active=True, sponsor=True)
    def edit(self, public_id: Any) -> Any:
        row = find(Invoice, public_id)
        if row.status != InvoiceStatus.DRAFT or row.kind != InvoiceKind.MANUAL:
            raise DomainError("ILLEGAL_TRANSITION")
        errors: dict[str, list[str]] = {}
        if request.method == "POST" and "more" not in request.form:
            try:
                with db.session.begin_nested():
                    invoice_drafts.change(db.session(), row, typed(), supplier())
                flash("The draft was changed.", "success")
                return redirect(url_for("InvoicesPage.show", public_id=public_id))
            except Invalid as error:
                errors = error.fields
            except DomainError as error:
                if error.status >= 500:
                    raise
                errors = {"": [error.message]}
        return self._form("Edit draft", row, errors)

    def _form(self, title: str, row: Invoice | None, errors: dict[str, list[str]]) -> Any:
        session, today = db.session(), clock.today_ist()
        orders = session.scalars(
            select(PurchaseOrder)
            .where(PurchaseOrder.status == PurchaseOrderStatus.ACTIVE)
            .order_by(PurchaseOrder.created_at)
            .limit(200)
        ).all()
        contracts = session.scalars(
            select(Contract)
            .where(Contract.status.in_([ContractStatus.ACTIVE, ContractStatus.EXPIRED]))
            .order_by(Contract.id.desc())
            .limit(100)
        ).all()
        rates = session.scalars(
            select(TaxRate)
            .where(TaxRate.valid_from <= today, (TaxRate.valid_to.is_(None)) | (TaxRate.valid_to > today))
            .order_by(TaxRate.sac)
        ).all()
        raw = request.form.get("more") or "5"
        lines = _typed_lines() if request.method == "POST" else _lines_of(row)
        count = max(len(lines) + 1, int(raw) if raw in ("5", "10", "25", "50") else 5)
        how = invoice_facts.assess(session, supplier(), today)
        return self.render(
            "invoices/form.html",
            title=title,
            row=row,
            errors=errors,
            problems=[f"{_where(name)}{' '.join(says)}" for name, says in errors.items()],
            lines=lines + [{}] * (count - len(lines)),
            count=count,
            orders=[("", "None")]
            + [
                (str(o.public_id), f"{o.po_number}, {amount_in(o.currency.value, o.remaining_paise)} left")
                for o in orders
            ],
            contracts=[("", "None")] + [(str(c.public_id), c.title) for c in contracts],
            order=next((str(o.public_id) for o in orders if row and o.id == row.purchase_order_id), ""),
            contract=next((str(c.public_id) for c in contracts if row and c.id == row.contract_id), ""),
            sacs=[
                (r.sac, f"{r.sac}, {'exempt' if r.exempt else f'{r.rate_bps / 100:g} %'}, {r.description}")
                for r in rates
            ],
            default_sac=tax_tables.parameter(session, "DEFAULT_SAC", today),
            currencies=[(c.value, c.value) for c in Currency],
            how=how,
            form=request.form,
        )

    # ---- one invoice ------------------------------------------------------------------------------------------------
    @expose("/<uuid:public_id>")
    @page("invoices", sponsor=True)
    def show(self, public_id: Any) -> Any:
        session, row = db.session(), find(Invoice, public_id)
        raw = request.args.get("after", "0")
        after = int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 9 else 0
        lines = invoices.lines_of(session, row, limit=SHOWN_LINES + 1, after=after)
        order = session.get(PurchaseOrder, row.purchase_order_id) if row.purchase_order_id else None
        contract = session.get(Contract, row.contract_id) if row.contract_id else None
        how = invoice_facts.assess(session, supplier(), clock.today_ist()) if row.status == "DRAFT" else None
        admin = ctx().is_admin and not ctx().viewing
        overdue = row.status == InvoiceStatus.OVERDUE
        owed, refunds = accruals.owed(row), invoice_reads.refunds_of(session, row)
        again = invoice_void.again(session, row) if row.status == InvoiceStatus.VOID else None
        untouched = not row.paid_paise and not row.credited_paise
        arriving = may("pay") and invoice_receipts.arriving(session, row, current_app.config["SETTINGS"])
        return self.render(
            "invoices/show.html",
            title=row.number or "Draft invoice",
            row=row,
            kinds=KINDS,
            lines=lines[:SHOWN_LINES],
            more=lines[SHOWN_LINES - 1].position if len(lines) > SHOWN_LINES else None,
            after=after,
            order=order,
            contract=contract,
            how=how,
            place=(row.facts.get("place") or (how.facts["place"] if how else {})),
            recipient=(row.facts.get("recipient") or (how.facts["recipient"] if how else {})),
            receipts=invoice_reads.receipts_of(session, row),
            notes=invoice_reads.notes_of(session, row),
            refunds=refunds,
            transfers={r.id: credit_notes.by_transfer(session, row, r) for r in refunds} if admin else {},
            chargebacks=invoice_reads.chargebacks_of(session, row),
            matches=invoice_reads.match(session, row, order, contract),
            registration=invoice_reads.einvoice_of(session, row),
            timeline=[event(e) for e in invoice_reads.history(session, row)],
            owed=owed,
            taken_back=owed if row.status not in OPEN else 0,
            arriving=arriving,
            pays=owed > 0 and may("pay") and not arriving,
            issues=row.status == InvoiceStatus.DRAFT and may("write"),
            edits=row.status == InvoiceStatus.DRAFT and row.kind == InvoiceKind.MANUAL and may("write"),
            voids=row.status in OPEN
            and untouched
            and may("write")
            and (admin or not (overdue or invoice_void.by_contract(session, row))),
            again=again,
            rebills=row.status == InvoiceStatus.VOID
            and again is None
            and may("write")
            and any(n.kind != "BOOKING" for n in lines[:SHOWN_LINES]),
            admin=admin,
            receives=admin and owed > 0,
            credits=admin
            and row.status in (*OPEN, InvoiceStatus.PAID)
            and row.kind != InvoiceKind.STATEMENT
            and any(n.kind != "BOOKING" and n.credited_paise < n.taxable_paise for n in lines[:SHOWN_LINES]),
            today=clock.today_ist(),
            amount=amount_in,
        )

    def _act(self, public_id: Any, work: Callable[[Invoice], Any], says: str) -> Any:
        work(find(Invoice, public_id))
        flash(says, "success")
        return redirect(url_for("InvoicesPage.show", public_id=public_id))

    @expose("/<uuid:public_id>/issue", methods=["POST"])
    @page("invoices", "write", active=True, sponsor=True)
    def issue(self, public_id: Any) -> Any:
        return self._act(
            public_id,
            lambda row: invoice_issue.issue(db.session(), row, supplier()),
            "The invoice is issued and on its way.",
        )

    @expose("/<uuid:public_id>/cancel", methods=["POST"])
    @page("invoices", "write", active=True, sponsor=True)
    def cancel(self, public_id: Any) -> Any:
        return self._act(
            public_id, lambda row: invoice_drafts.cancel(db.session(), row), "The draft was cancelled."
        )

    @expose("/<uuid:public_id>/void", methods=["POST"])
    @page("invoices", "write", active=True, sponsor=True)
    def void(self, public_id: Any) -> Any:
        reason = request.form.get("reason", "")[:400]

        def work(row: Invoice) -> None:
            einvoices.cancel(db.session(), row, reason, open_irp(current_app.config["SETTINGS"]))
            invoice_void.void(db.session(), row, reason)

        return self._act(public_id, work, "The invoice is void. What it billed can be billed again.")

    @expose("/<uuid:public_id>/rebill", methods=["POST"])
    @page("invoices", "write", active=True, sponsor=True)
    def rebill(self, public_id: Any) -> Any:
        made = invoice_void.rebill(db.session(), find(Invoice, public_id), supplier())
        flash("A draft with the same lines stands. Put it right, then issue it.", "success")
        return redirect(url_for("InvoicesPage.show", public_id=made.public_id))

    @expose("/<uuid:public_id>/pay", methods=["POST"])
    @page("invoices", "pay", sponsor=True)
    def pay(self, public_id: Any) -> Any:
        row = invoice_receipts.pay(db.session(), find(Invoice, public_id), current_app.config["SETTINGS"])
        return redirect(row.checkout_url or url_for("InvoicesPage.show", public_id=public_id))

    @expose("/<uuid:public_id>/receipts", methods=["POST"])
    @page("invoices", "pay", sponsor=True)
    def receipt(self, public_id: Any) -> Any:
        require_admin()
        try:
            amount = parse_rupees(request.form.get("amount", "")[:40])
            received = dt.date.fromisoformat(request.form.get("received_on", "")[:10])
        except ValueError:
            raise Invalid({"amount": ["Enter an amount in rupees and the day it arrived."]}) from None
        return self._act(
            public_id,
            lambda row: invoice_receipts.record_bank(
                db.session(),
                row,
                amount,
                request.form.get("utr", "")[:60],
                received,
                request.form.get("note", "")[:300],
            ),
            "The transfer was recorded.",
        )

    @expose("/<uuid:public_id>/credit", methods=["POST"])
    @page("credit-notes", "write", active=True, sponsor=True)
    def credit(self, public_id: Any) -> Any:
        require_admin()
        items = []
        for name, value in request.form.items():
            if name.startswith("line-") and value.strip():
                try:
                    items.append({"line": int(name[5:][:9]), "amount_paise": parse_rupees(value[:40])})
                except ValueError:
                    raise Invalid({"amount": ["Enter amounts in rupees."]}) from None
        reason = request.form.get("reason", "")[:400]
        return self._act(
            public_id,
            lambda row: credit_notes.create(
                db.session(), row, [i for i in items if i["amount_paise"]] or None, reason
            ),
            "The credit note is written.",
        )

    @expose("/<uuid:public_id>/refunds/<uuid:refund_id>/transfer", methods=["POST"])
    @page("invoices", "pay", sponsor=True)
    def transfer(self, public_id: Any, refund_id: Any) -> Any:
        require_admin()

        def work(row: Invoice) -> None:
            made = find(InvoiceRefund, refund_id)
            if made.invoice_id != row.id:
                raise DomainError("NOT_FOUND")
            credit_notes.by_bank(db.session(), made, request.form.get("utr", "")[:60])

        return self._act(public_id, work, "The transfer's reference was recorded.")

    @expose("/<uuid:public_id>/pdf")
    @page("invoices", sponsor=True)
    def document(self, public_id: Any) -> Any:
        return pdf(find(Invoice, public_id))

    @expose("/<uuid:public_id>/receipts/<uuid:receipt_id>/pdf")
    @page("invoices", sponsor=True)
    def receipt_document(self, public_id: Any, receipt_id: Any) -> Any:
        return pdf(receipt_of(public_id, receipt_id))

    @expose("/<uuid:public_id>/lines.csv")
    @page("invoices", "export", sponsor=True)
    def lines(self, public_id: Any) -> Any:
        row = find(Invoice, public_id)
        names = list(
            invoice_reads.line_json(invoices.lines_of(db.session(), row, limit=1)[0])
            if row.line_count
            else {}
        )
        key, identity, label = row.id, ctx(), row.number or "draft"

        def cells() -> Iterator[list[Any]]:
            with Session(db.engine) as own:
                before = context.ctx()
                context.use(own, identity)
                try:
                    subject, last = own.get_one(Invoice, key), 0
                    while batch := invoices.lines_of(own, subject, limit=2000, after=last):
                        for line in batch:
                            shown = invoice_reads.line_json(line)
                            yield [
                                f.rupees(v) if n.endswith("_paise") else ("" if v is None else v)
                                for n, v in shown.items()
                            ]
                        last = batch[-1].position
                        own.expunge_all()
                        subject = own.get_one(Invoice, key)
                finally:
                    context._current.set(before)

        heads = [n.removesuffix("_paise") for n in names]
        return Response(
            stream_with_context(csv_lines(heads, cells())),
            mimetype="text/csv",
            headers={"Content-Disposition": f'attachment; filename="{label}-lines.csv"'},
        )


class CreditNotesPage(OrgPage):
    """What was taken back."""

    route_base = "/dashboard/organization/<org_id>/credit-notes"
    resource = "credit-notes"

    @expose("/")
    @page("credit-notes", sponsor=True)
    def index(self) -> Any:
        current = page_number()
        rows = list(
            db.session.scalars(
                invoice_reads.notes_page()
                .order_by(CreditNote.created_at.desc(), CreditNote.id.desc())
                .offset((current - 1) * PER_PAGE)
                .limit(PER_PAGE + 1)
            )
        )
        return self.render(
            "invoices/credit_notes.html",
            title="Credit notes",
            rows=rows[:PER_PAGE],
            more=len(rows) > PER_PAGE,
            page_number=current,
            writes=may("write", "credit-notes"),
        )

    @expose("/<uuid:public_id>/pdf")
    @page("credit-notes", sponsor=True)
    def document(self, public_id: Any) -> Any:
        return pdf(find(CreditNote, public_id))

    @expose("/<uuid:public_id>/confirm", methods=["POST"])
    @page("credit-notes", "write", sponsor=True)
    def confirm(self, public_id: Any) -> Any:
        credit_notes.confirm_itc(db.session(), find(CreditNote, public_id))
        flash("Noted: the input tax credit was reversed.", "success")
        return redirect(url_for("CreditNotesPage.index"))


class ProfilePage(OrgPage):
    """Who documents are made out to."""

    route_base = "/dashboard/organization/<org_id>/billing-profile"
    resource = "billing-account"

    @expose("/", methods=["GET", "POST"])
    @page("billing-account", sponsor=True)
    def index(self) -> Any:
        session = db.session()
        if request.method == "POST":
            check_gate("billing-account", "write")
            values: dict[str, Any] = {
                n: request.form.get(n, "")[:200]
                for n in ("legal_name", "address_line1", "address_line2", "city", "pin_code", "country_code")
            }
            values["round_totals"] = "round_totals" in request.form
            invoice_facts.save_profile(session, values)
            flash("Saved. Coming documents are made out this way.", "success")
            return redirect(url_for("ProfilePage.index"))
        return self.render(
            "invoices/profile.html",
            title="Invoice address",
            profile=invoice_facts.profile_of(session),
            how=invoice_facts.assess(session, supplier(), clock.today_ist()),
            writes=matrix.can("write", "billing-account") and org_status.writable(g.org["status"]),
        )


def _where(name: str) -> str:
    """Where a field's problem stands, in words."""
    parts = name.split(".")
    if parts[0] == "items" and len(parts) > 1 and parts[1].isdigit():
        return f"Line {int(parts[1]) + 1}: "
    return f"{f.label(name)}: " if name and name != "items" else ""


def _typed_lines() -> list[dict[str, str]]:
    names = ("description", "sac", "quantity", "unit", "discount")
    columns = [request.form.getlist(n)[:500] for n in names]
    rows = [dict(zip(names, (v[:300] for v in cells), strict=True)) for cells in zip(*columns, strict=False)]
    return [r for r in rows if r["description"].strip() or r["unit"].strip()]


def _lines_of(row: Invoice | None) -> list[dict[str, str]]:
    if row is None:
        return []
    return [
        {
            "description": n.description,
            "sac": n.sac,
            "quantity": str(n.quantity if row.currency == "INR" else 1),
            "unit": f.rupees(n.unit_paise if row.currency == "INR" else n.fc_amount or 0),
            "discount": f.rupees(n.discount_paise) if n.discount_paise and row.currency == "INR" else "",
        }
        for n in invoices.lines_of(db.session(), row, limit=500)
    ]


def typed() -> dict[str, Any]:
    """The form's values. Raises Invalid."""
    form, problems = request.form, {}
    items = []
    for n, line in enumerate(_typed_lines()):
        item: dict[str, Any] = {"description": line["description"], "sac": line["sac"] or None}
        for name, field, default in (
            ("quantity", "quantity", "1"),
            ("unit", "unit_paise", ""),
            ("discount", "discount_paise", "0"),
        ):
            raw = line[name].strip() or default
            try:
                item[field] = int(raw) if name == "quantity" else parse_rupees(raw)
            except ValueError:
                problems[f"items.{n}.{field}"] = [
                    "Enter a number." if name == "quantity" else "Enter an amount."
                ]
        items.append(item)
    values: dict[str, Any] = {
        "items": items,
        "currency": form.get("currency", "INR")[:3],
        "purchase_order_id": form.get("purchase_order_id", "")[:40] or None,
        "contract_id": form.get("contract_id", "")[:40] or None,
        "note": form.get("note", "")[:2100],
        "reverse_charge": "reverse_charge" in form,
        "round_total": "round_total" in form,
    }
    day = form.get("due_date", "").strip()
    if day:
        try:
            values["due_date"] = dt.date.fromisoformat(day[:10])
        except ValueError:
            problems["due_date"] = ["Enter a date."]
    if problems:
        raise Invalid(problems)
    return values


def register(appbuilder: Any) -> None:
    """Put the pages into the sidebar."""
    page_entry(
        appbuilder,
        InvoicesPage(),
        group="Commerce",
        label="Invoices",
        resource="invoices",
        icon="receipt-indian-rupee",
        when=bills,
        keywords="bill gst tax pay due",
    )
    page_entry(
        appbuilder,
        CreditNotesPage(),
        group="Commerce",
        label="Credit notes",
        resource="credit-notes",
        icon="receipt-text",
        when=bills,
        keywords="refund gst",
    )
    appbuilder.add_view_no_menu(ProfilePage())
