"""Delivers the outbox: claims due messages, hands each to its topic, one transaction a message."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import clock, metrics
from app.extensions import db
from app.logs import log
from app.models import OutboxMessage
from app.security import context
from app.services import mailer, system_events

BATCH, LEASE, MAX_ATTEMPTS = 100, dt.timedelta(minutes=5), 8
BACKOFF = (10, 60, 300, 1800, 7200, 14_400, 28_800)  # seconds
Handler = Callable[[Session, OutboxMessage], None]


def handlers() -> dict[str, Handler]:
    """Topic -> what delivers it. A handler may run twice for one message and must not mind."""
    from app.jobs import chats, images, invoices, marketplace, money, people, terms

    return {
        "mail": mailer.deliver,
        "event": _event,
        **money.TOPICS,
        **marketplace.TOPICS,
        **invoices.TOPICS,
        **chats.TOPICS,
        **images.TOPICS,
        **people.TOPICS,
        **terms.TOPICS,
    }


def _event(session: Session, message: OutboxMessage) -> None:
    """An organisation's event. Nobody subscribes yet, so it is done when it is seen."""


def deliver_outbox(session: Session) -> dict[str, Any]:
    """Send what waits in the outbox: mail, gateway calls, webhooks."""
    sent = failed = 0
    while ids := _claim(session):
        for message_id in ids:
            if _deliver(session, message_id):
                sent += 1
            else:
                failed += 1
    return {"sent": sent, "failed": failed}


def _claim(session: Session) -> list[int]:
    now = clock.now()
    due = (
        select(OutboxMessage.id)
        .where(
            OutboxMessage.done_at.is_(None),
            OutboxMessage.failed_at.is_(None),
            OutboxMessage.available_at <= now,
            (OutboxMessage.leased_until.is_(None)) | (OutboxMessage.leased_until < now),
        )
        .order_by(OutboxMessage.available_at, OutboxMessage.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    ids = list(
        session.scalars(
            update(OutboxMessage)
            .where(OutboxMessage.id.in_(due.scalar_subquery()))
            .values(leased_until=now + LEASE, attempts=OutboxMessage.attempts + 1)
            .returning(OutboxMessage.id)
        )
    )
    session.commit()
    return sorted(ids)


def _deliver(session: Session, message_id: int) -> bool:
    message = session.get(OutboxMessage, message_id)
    if message is None or message.done_at is not None:
        return True
    topic, before = message.topic, context.ctx()
    # what follows from a request carries its correlation id: audit rows, events, log lines
    context._current.set(replace(before, correlation_id=message.correlation_id or before.correlation_id))
    structlog.contextvars.bind_contextvars(correlation_id=context.ctx().correlation_id)
    try:
        handlers()[topic](session, message)
        message.done_at, message.last_error = clock.now(), None
        session.commit()
        metrics.OUTBOX.labels(topic, "sent").inc()
        return True
    except Exception as error:
        session.rollback()
        log.warning("outbox_delivery_failed", topic=topic, message=message_id, error=type(error).__name__)
        message = session.get(OutboxMessage, message_id)
        if message is not None:
            message.last_error, message.leased_until = f"{type(error).__name__}: {error}"[:500], None
            given_up = message.attempts >= MAX_ATTEMPTS
            if given_up:
                message.failed_at = clock.now()
            else:
                message.available_at = clock.now() + dt.timedelta(
                    seconds=BACKOFF[min(message.attempts, len(BACKOFF)) - 1]
                )
            session.commit()
            if given_up:
                system_events.record_crash(
                    db.engine,
                    "outbox",
                    f"{topic} given up after {MAX_ATTEMPTS} attempts",
                    error,
                    correlation_id=context.ctx().correlation_id,
                    message=str(message.public_id),
                )
        metrics.OUTBOX.labels(topic, "failed").inc()
        return False
    finally:
        context._current.set(before)
        structlog.contextvars.unbind_contextvars("correlation_id")


JOBS = [("deliver_outbox", 30, deliver_outbox)]
