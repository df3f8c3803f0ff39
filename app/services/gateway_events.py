"""Webhooks of gateways: stored once, acknowledged, processed by a job (chapter 2, 2.7).

An event that fails is driven again every six minutes, the least tried first so that none starves the others, and given
up with an alert after seven days.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import Interval, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock
from app.gateways import (
    DisputeChanged,
    Event,
    MandateChanged,
    PaymentFailed,
    RefundChanged,
    complete,
    open_gateway,
)
from app.logs import log
from app.models import EventStatus, GatewayEvent, Severity, SystemEvent
from app.services import (
    auto_topup,
    disputes,
    external_refunds,
    invoice_receipts,
    settlement,
    side_payments,
    topups,
)
from app.services.disputes import NotYet
from config import Settings

# Who applies a capture, by the ``type`` in its order's notes (2.7). A new kind of order adds its line: a function of
# (session, event, gateway name) that wants job scope, is safe to repeat, commits, and returns what happened in a word
# ("confirmed", "repeated", "unapplied" …). It compares the notes with its own row and hands what does not fit to
# ``unapplied.receive``. ``settlement.captured`` is the model.
CAPTURED: dict[str, Callable[[Session, Event, str], str]] = {
    "booking": settlement.captured,
    "credit_purchase": topups.captured,
    "invoice_payment": invoice_receipts.captured,
    "overage_member": side_payments.captured,
}
# Who applies every other event, by its class: (session, event, gateway name, settings), under the same terms.
HANDLERS: dict[type[Event], Callable[[Session, Any, str, Settings], str]] = {
    RefundChanged: external_refunds.changed,
    DisputeChanged: disputes.changed,
    MandateChanged: auto_topup.mandate_changed,
    PaymentFailed: auto_topup.payment_failed,
}
STALE_AFTER, ABANDON_AFTER = dt.timedelta(minutes=6), dt.timedelta(days=7)
CAPTURES = ("payment.captured", "order.paid")  # providers send one or both for one payment


def store(session: Session, gateway: str, event: Event, body: bytes) -> bool:
    """Keep a verified event; False for a duplicate. Wants job scope."""
    stored = session.execute(
        insert(GatewayEvent)
        .values(
            gateway=gateway,
            event_key=event.key,
            type=event.type,
            payload=json.loads(body),
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["event_key"])
        .returning(GatewayEvent.id)
    ).scalar()
    return stored is not None


def process(session: Session, settings: Settings) -> dict[str, int]:
    """Apply every stored event that waits; what came before its capture follows it. Wants job scope; commits each."""
    done = {"processed": 0, "ignored": 0, "deferred": 0, "failed": 0}
    again = GatewayEvent.created_at + GatewayEvent.attempts * literal(STALE_AFTER, Interval) <= clock.now()
    waiting = GatewayEvent.status.in_((EventStatus.RECEIVED, EventStatus.DEFERRED))
    captured = False
    for event_id in _ids(session, waiting, or_(GatewayEvent.attempts == 0, again)):
        captured = _one(session, event_id, settings, done) or captured
    if captured:  # an early refund or dispute finds its payment now
        for event_id in _ids(session, GatewayEvent.status == EventStatus.DEFERRED):
            _one(session, event_id, settings, done)
    return done


def _ids(session: Session, *where: Any) -> list[int]:
    ids = session.scalars(
        select(GatewayEvent.id).where(*where).order_by(GatewayEvent.attempts, GatewayEvent.id).limit(500)
    ).all()
    session.commit()
    return list(ids)


def _one(session: Session, event_id: int, settings: Settings, done: dict[str, int]) -> bool:
    """Apply one event; whether it was a capture."""
    try:
        outcome = _apply(session, event_id, settings)
        row = session.get_one(GatewayEvent, event_id)
        row.status = EventStatus.IGNORED if outcome == "ignored" else EventStatus.PROCESSED
        row.processed_at, row.attempts, row.last_error = clock.now(), row.attempts + 1, None
        capture = row.type in CAPTURES
        session.commit()
        done["ignored" if outcome == "ignored" else "processed"] += 1
        return capture
    except NotYet as early:
        session.rollback()
        _failed(session, event_id, f"Waits for {early}", EventStatus.DEFERRED)
        done["deferred"] += 1
    except Exception as error:
        session.rollback()
        log.warning("gateway_event_failed", event_id=event_id, error=type(error).__name__)
        _failed(session, event_id, f"{type(error).__name__}: {error}"[:500])
        done["failed"] += 1
    return False


def _failed(
    session: Session, event_id: int, problem: str, status: EventStatus = EventStatus.RECEIVED
) -> None:
    row = session.get_one(GatewayEvent, event_id)
    row.status = status
    row.attempts, row.last_error = row.attempts + 1, problem
    if clock.now() - row.created_at >= ABANDON_AFTER:
        row.status = EventStatus.ABANDONED
        session.add(
            SystemEvent(
                category="gateway",
                severity=Severity.ERROR,
                message=f"Gateway event {row.event_key} was given up after seven days",
                context={"gateway": row.gateway, "attempts": row.attempts, "error": problem},
            )
        )
    session.commit()


def _apply(session: Session, event_id: int, settings: Settings) -> str:
    row = session.get_one(GatewayEvent, event_id)
    gateway = open_gateway(settings, session, row.gateway)
    event = gateway.parse_event(json.dumps(row.payload).encode())
    if event.type in CAPTURES:
        event = complete(gateway, event)
        settle = CAPTURED.get(
            event.notes.get("type", ""), topups.captured
        )  # unknown money is kept apart there
        return settle(session, event, row.gateway)
    handler = HANDLERS.get(type(event))
    return handler(session, event, row.gateway, settings) if handler else "ignored"
