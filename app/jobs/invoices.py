"""Jobs of invoices (chapter 2, 2.12)."""

from __future__ import annotations

import uuid
from typing import Any

from flask import current_app
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.gateways.irp import open_irp
from app.models import OutboxMessage, WalletTopUp
from app.security.context import acting
from app.services import (
    credit_notes,
    dunning,
    einvoices,
    invoice_facts,
    invoice_rollup,
    licence_invoices,
    tax_statements,
    tax_vouchers,
)


def _settings() -> Any:
    return current_app.config["SETTINGS"]


def first_of_month() -> bool:
    """Whether it is the first of a month in India: by the clock in London that is the evening before."""
    return clock.today_ist().day == 1


def roll_up_invoices(session: Session) -> dict[str, Any]:
    """Invoice what accrued, one invoice an organisation, and write the tax statements of wallets."""
    return dict(invoice_rollup.monthly(session, invoice_facts.supplier(_settings()), tax_statements.write))


def generate_subscription_invoices(session: Session) -> dict[str, Any]:
    """Invoice licences in advance and announce renewals seven days before."""
    return dict(licence_invoices.run(session, invoice_facts.supplier(_settings())))


def run_dunning(session: Session) -> dict[str, Any]:
    """Mark invoices overdue, remind three times, and suspend bookings on account a week later."""
    return dict(dunning.run(session, suspends=_settings().enable_dunning_suspend))


def irp_upload(session: Session) -> dict[str, Any]:
    """Register e-invoices at the portal, fifty a run."""
    settings = _settings()
    if not settings.enable_irp_uploader:
        return {}
    return dict(einvoices.run(session, open_irp(settings), settings.irp_environment))


def reconcile_invoice_refunds(session: Session) -> dict[str, Any]:
    """Ask the gateway after refunds of invoices nobody answered for."""
    return dict(credit_notes.sweep(session, _settings()))


def refund_invoice(session: Session, message: OutboxMessage) -> None:
    """Give money of a credited invoice back."""
    credit_notes.send(session, uuid.UUID(message.payload["refund_id"]), _settings())


def write_voucher(session: Session, message: OutboxMessage) -> None:
    """Write the receipt or refund voucher of an advance."""
    row = session.scalars(
        select(WalletTopUp).where(WalletTopUp.public_id == uuid.UUID(message.payload["top_up"]))
    ).one()
    with acting(session, scope="org", org_id=row.organization_id, user_id=None, role=None):
        tax_vouchers.deliver(session, row, message.payload, invoice_facts.supplier(_settings()))


TOPICS = {credit_notes.TOPIC: refund_invoice, tax_vouchers.TOPIC: write_voucher}
JOBS = [
    ("generate_subscription_invoices", "30 19 * * *", generate_subscription_invoices),
    ("roll_up_invoices", "0 19 28-31 * *", roll_up_invoices, first_of_month),  # 00:30 in India
    ("dunning", "30 23 * * *", run_dunning),
    ("irp_upload", "50 2 * * *", irp_upload),
    ("reconcile_invoice_refunds", 900, reconcile_invoice_refunds),
]
