"""Jobs of wallets, gateways and the journal (chapter 2, 2.12)."""

from __future__ import annotations

import uuid
from typing import Any

from flask import current_app
from sqlalchemy.orm import Session

from app.gateways import provider
from app.jobs import queue
from app.models import OutboxMessage
from app.services import (
    auto_topup,
    disputes,
    funding,
    gateway_books,
    gateway_events,
    reconcile,
    refunds,
    settlement,
    topup_refunds,
    topups,
    unapplied,
)


def _settings() -> Any:
    return current_app.config["SETTINGS"]


def process_gateway_events(session: Session) -> dict[str, Any]:
    """Apply the gateway webhooks that were stored and not processed yet."""
    return dict(gateway_events.process(session, _settings()))


def deliver_sandbox_webhooks(session: Session) -> dict[str, Any]:
    """Let the sandbox gateway send the webhooks it owes."""
    settings = _settings()
    if settings.production:
        return {}
    return dict(provider.deliver(session, settings.sandbox_webhook, settings.sandbox_webhook_secret))


def sweep_top_ups(session: Session) -> dict[str, Any]:
    """Credit top-ups that were captured and never credited; end those unpaid for six hours."""
    return dict(topups.sweep(session, _settings()))


def expire_holds(session: Session) -> dict[str, Any]:
    """End bookings whose card was not charged in time; slot, wallet and program are free again."""
    return dict(settlement.expire_holds(session))


def reconcile_refunds(session: Session) -> dict[str, Any]:
    """Ask the gateway after refunds nobody answered for, and finish those a crash interrupted."""
    done = refunds.sweep(session, _settings())
    credits = topup_refunds.sweep(session, _settings())
    return {name: done[name] + credits[name] for name in done}


def auto_top_up(session: Session) -> dict[str, Any]:
    """Fill wallets that stay below their minimum from their mandates, once in 24 hours; tell finance."""
    return dict(auto_topup.sweep(session, _settings()))


def dispute_watch(session: Session) -> dict[str, Any]:
    """Ask how open disputes stand; say which must be answered within 48 and 12 hours."""
    return dict(disputes.watch(session, _settings()))


def reconcile_ledgers(session: Session) -> dict[str, Any]:
    """Compare every cached balance with the journal; freeze wallets that differ."""
    report = reconcile.run(session)
    return {"findings": len(report.findings), **report.checked}


def gateway_reconcile(session: Session) -> dict[str, Any]:
    """Compare three days with the books of every gateway, and post the fees it kept."""
    return dict(gateway_books.run(session, _settings()))


def apply_funding_changes(session: Session) -> dict[str, Any]:
    """Apply changes of the funding source that wait, where nothing is open any more."""
    return dict(funding.apply_due(session))


def refund_unapplied(session: Session, message: OutboxMessage) -> None:
    """Send money back that matched nothing."""
    unapplied.refund(session, message.payload["payment_id"], _settings())


def refund_payment(session: Session, message: OutboxMessage) -> None:
    """Give the card's part of a refund back."""
    refunds.send(session, uuid.UUID(message.payload["refund_id"]), _settings())


def refund_top_up(session: Session, message: OutboxMessage) -> None:
    """Give credits back as money."""
    topup_refunds.send(session, uuid.UUID(message.payload["refund_id"]), _settings())


def wallet_low(session: Session, message: OutboxMessage) -> None:
    """A debit took a wallet below its minimum."""
    assert message.organization_id is not None
    auto_topup.below(session, message.organization_id, _settings(), crossing=True)


def charge_mandate(session: Session, message: OutboxMessage) -> None:
    """Charge a mandate for an automatic top-up."""
    auto_topup.charge(session, uuid.UUID(message.payload["top_up_id"]), _settings())


def kick_gateway(session: Session) -> None:
    """Let the sandbox send its webhooks as soon as *session* commits rather than at the next tick."""
    queue.after_commit(session, "deliver_sandbox_webhooks")


TOPICS = {
    "refund_unapplied": refund_unapplied,
    "refund_payment": refund_payment,
    "refund_top_up": refund_top_up,
    "wallet_low": wallet_low,
    "charge_mandate": charge_mandate,
}
JOBS = [
    ("deliver_sandbox_webhooks", 15, deliver_sandbox_webhooks),
    ("process_gateway_events", 30, process_gateway_events),
    ("expire_holds", 60, expire_holds),
    ("reconcile_refunds", 900, reconcile_refunds),
    ("sweep_top_ups", 1800, sweep_top_ups),
    ("dispute_watch", 3600, dispute_watch),
    ("auto_top_up", "45 23 * * *", auto_top_up),
    ("apply_funding_changes", "30 2 * * *", apply_funding_changes),
    ("gateway_reconcile", "20 3 * * *", gateway_reconcile),
    ("reconcile_ledgers", "45 3 * * *", reconcile_ledgers),
]
