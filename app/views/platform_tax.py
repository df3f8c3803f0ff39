"""Staff pages: e-invoices that failed, and the dated tax tables (chapter 4)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import current_app, flash, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import func, select

from app import clock
from app.api.platform_tax import BODIES, retry
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Currency, EInvoice, Invoice, IrpStatus, Organization, TaxParameter, TaxTable
from app.security import matrix
from app.security.context import acting
from app.services import tax_tables
from app.services.text import money
from app.views.base import page as page_entry

from .format import words
from .forms import parse_rupees
from .pages import Page, platform_page

MOST = 100
PARAMETERS = {
    "CREDIT_NOTE_LAST_DAY": "Last day for credit notes",
    "DEFAULT_SAC": "Usual SAC",
    "EINVOICE_CANCEL_HOURS": "E-invoice can be cancelled within",
    "EINVOICE_REPORTING_DAYS": "E-invoice must be reported within",
    "EINVOICE_REPORTING_TURNOVER_PAISE": "Turnover that makes reporting binding",
    "EINVOICE_TURNOVER_PAISE": "Turnover that makes e-invoices binding",
    "EXPORT_UNDER_LUT": "Exports under letter of undertaking",
    "INVOICE_WITHIN_DAYS": "Invoice must be issued within",
    "LICENSE_SAC": "SAC of licence fees",
    "LUT_ARN": "Letter of undertaking, ARN",
    "SUPPLIER_TURNOVER_PAISE": "The platform's turnover",
}


def shown(row: TaxParameter) -> str:
    """A parameter's value as people say it: rupees, days, 30 November for 11-30, Yes for a flag."""
    if row.unit == "paise":
        return money(int(row.value))
    if row.unit in ("days", "hours"):
        return f"{row.value} {row.unit if row.value != '1' else row.unit[:-1]}"
    if row.unit == "month-day":
        month, day = row.value.split("-")
        return f"{int(day)} {dt.date(2000, int(month), 1):%B}"
    if row.unit == "flag":
        return "Yes" if row.value == "1" else "No"
    return row.value


class EInvoicesPage(Page):
    """What the portal has not taken, and why."""

    route_base = "/admin/einvoices"
    resource = "einvoices"

    @expose("/")
    @platform_page("einvoices")
    def index(self) -> Any:
        status = request.args.get("status", "")
        status = status if status in IrpStatus.__members__ else "FAILED_PERMANENT"
        with acting(db.session(), scope="platform"):
            counts = {
                str(s): n
                for s, n in db.session.execute(
                    select(EInvoice.irp_status, func.count()).group_by(EInvoice.irp_status)
                )
            }
            rows = db.session.execute(
                select(EInvoice, Invoice, Organization)
                .join(Organization, Organization.id == EInvoice.organization_id)
                .outerjoin(Invoice, Invoice.id == EInvoice.invoice_id)
                .where(EInvoice.irp_status == IrpStatus(status))
                .order_by(EInvoice.id.desc())
                .limit(MOST)
            ).all()
        shown = [
            IrpStatus.FAILED_PERMANENT,
            IrpStatus.RETRY,
            IrpStatus.PENDING,
            IrpStatus.SUBMITTED,
            IrpStatus.REGISTERED,
        ]
        return self.render(
            "invoices/einvoices.html",
            title="E-invoices",
            rows=rows,
            status=status,
            tabs=[
                {
                    "label": "Failed" if s == IrpStatus.FAILED_PERMANENT else words(s),
                    "url": url_for("EInvoicesPage.index", status=s.value),
                    "here": status == s.value,
                    "count": counts.get(s.value),
                }
                for s in [*shown, IrpStatus.CANCELLED]
            ],
            writes=matrix.can("write", "einvoices"),
            today=clock.today_ist(),
            off=not current_app.config["SETTINGS"].enable_irp_uploader,
        )

    @expose("/<uuid:public_id>/retry", methods=["POST"])
    @platform_page("einvoices", "write")
    def again(self, public_id: Any) -> Any:
        retry(str(public_id))
        flash("Queued: it is submitted with the next run.", "success")
        return redirect(url_for("EInvoicesPage.index"))


class TaxTablesPage(Page):
    """Rates, parameters, states and exchange rates, each from a day on."""

    route_base = "/admin/tax-tables"
    resource = "tax-tables"

    @expose("/")
    @platform_page("tax-tables")
    def index(self) -> Any:
        tables = tax_tables.listed(db.session())
        return self.render(
            "invoices/tax_tables.html",
            title="Tax tables",
            t=tables,
            today=clock.today_ist(),
            writes=matrix.can("write", "tax-tables"),
            currencies=[(c.value, c.value) for c in Currency if c != Currency.INR],
            keys=[(k, PARAMETERS.get(k, words(k))) for k in sorted({p.key for p in tables["parameters"]})],
            names=PARAMETERS,
            shown=shown,
        )

    @expose("/<table>", methods=["POST"])
    @platform_page("tax-tables", "write")
    def change(self, table: str) -> Any:
        if table not in TaxTable.__members__:
            raise DomainError("NOT_FOUND")
        _, work = BODIES[TaxTable(table)]
        values, reason = self._typed(TaxTable(table))
        work(db.session(), values, reason)
        flash("Changed. Documents issued already keep what they used.", "success")
        return redirect(url_for("TaxTablesPage.index"))

    def _typed(self, table: TaxTable) -> tuple[dict[str, Any], str]:
        form = request.form
        values: dict[str, Any] = {k: v[:300] for k, v in form.items() if k not in ("csrf_token", "reason")}
        for name in ("valid_from", "on_date"):
            if name in values:
                try:
                    values[name] = dt.date.fromisoformat(values[name][:10]) if values[name].strip() else None
                except ValueError:
                    raise Invalid({name: ["Enter a date."]}) from None
        try:
            if table == TaxTable.RATE:
                values["rate_bps"] = parse_rupees(values.pop("percent", ""))
                values["exempt"] = "exempt" in form
                values["input_credit"] = "input_credit" in form
            elif table == TaxTable.STATE:
                values["union_territory"] = "union_territory" in form
            elif table == TaxTable.FX:
                whole, _, rest = values.pop("rate", "").strip().partition(".")
                values["rate_micros"] = int(whole) * 1_000_000 + int((rest + "000000")[:6])
        except ValueError:
            raise Invalid({"rate": ["Enter a number, such as 18 or 84.5."]}) from None
        return values, form.get("reason", "")


def register(appbuilder: Any) -> None:
    """Put the pages into the staff console."""
    page_entry(
        appbuilder,
        EInvoicesPage(),
        group="Commerce",
        label="E-invoices",
        resource="einvoices",
        icon="qr-code",
        scope="platform",
        keywords="irp irn gst portal",
    )
    page_entry(
        appbuilder,
        TaxTablesPage(),
        group="Commerce",
        label="Tax tables",
        resource="tax-tables",
        icon="percent",
        scope="platform",
        keywords="gst sac rate state lut exchange",
    )
