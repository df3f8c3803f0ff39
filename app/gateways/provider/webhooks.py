"""Webhooks the provider owes: rows written with the change, delivered, signed, until they are answered."""

from __future__ import annotations

import datetime as dt
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.gateways.signing import sign
from app.models import SandboxOrder, SandboxWebhook

from .books import new_id

BACKOFF = (5, 15, 60, 300, 1800, 7200, 14_400, 28_800, 28_800)  # seconds; about a day in all
TIMEOUT = 5  # seconds
Post = Callable[[str, bytes, dict[str, str]], int]


def owe(
    session: Session,
    name: str,
    entity: str,
    values: dict[str, Any],
    *,
    order: SandboxOrder | None = None,
    delay: int = 0,
    times: int = 1,
) -> None:
    """Owe a webhook, sent after *delay* seconds; *times* > 1 sends the same bytes again, as providers do."""
    now = clock.now()
    event_id = new_id("evt")
    body = json.dumps(
        {"id": event_id, "event": name, "created_at": int(now.timestamp()), entity: values}, sort_keys=True
    )
    session.add_all(
        SandboxWebhook(
            event_id=f"{event_id}-{n}" if n else event_id,
            event=name,
            entity_id=str(values.get("id") or values.get("order_id") or "")[:80],
            body=body,
            next_at=now + dt.timedelta(seconds=delay),
            order_row_id=order.id if order else None,
            created_at=now,
        )
        for n in range(times)
    )


def _again(row: SandboxWebhook | None) -> None:
    if row is None:
        raise DomainError("NOT_FOUND")
    row.delivered_at, row.next_at, row.attempts = None, clock.now(), 0


def resend(session: Session, order_id: str) -> None:
    """Send the order's last webhook again, byte for byte, as real providers do. Raises NOT_FOUND."""
    _again(
        session.scalars(
            select(SandboxWebhook)
            .join(SandboxOrder, SandboxOrder.id == SandboxWebhook.order_row_id)
            .where(SandboxOrder.order_id == order_id[:80])
            .order_by(SandboxWebhook.id.desc())
            .limit(1)
        ).one_or_none()
    )
    session.flush()


def resend_event(session: Session, event_id: str) -> None:
    """Send one webhook again, byte for byte. Raises NOT_FOUND."""
    _again(
        session.scalars(select(SandboxWebhook).where(SandboxWebhook.event_id == event_id[:80])).one_or_none()
    )
    session.flush()


def _waiting(session: Session, entity_id: str | None) -> list[SandboxWebhook]:
    query = select(SandboxWebhook).where(
        SandboxWebhook.delivered_at.is_(None), SandboxWebhook.next_at.is_not(None)
    )
    if entity_id:
        order = select(SandboxOrder.id).where(
            or_(SandboxOrder.order_id == entity_id, SandboxOrder.payment_id == entity_id)
        )
        query = query.where(
            or_(SandboxWebhook.entity_id == entity_id, SandboxWebhook.order_row_id.in_(order))
        )
    return list(session.scalars(query.order_by(SandboxWebhook.id)))


def reverse_due(session: Session, entity_id: str | None = None) -> int:
    """Deliver what waits in reverse order, at once; narrowed to one order, payment or other entity. The count."""
    rows = _waiting(session, entity_id)
    now = clock.now()
    for n, row in enumerate(reversed(rows)):
        row.next_at = now - dt.timedelta(seconds=len(rows) - n)
    session.flush()
    return len(rows)


def now_due(session: Session, entity_id: str | None = None) -> int:
    """Send at once what was delayed or waits for its next attempt. The count."""
    rows = _waiting(session, entity_id)
    for row in rows:
        row.next_at = clock.now()
    session.flush()
    return len(rows)


def http_post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """POST over HTTP; the status, or 0 when nothing answered."""
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310  (our own address)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except (OSError, ValueError):
        return 0


def deliver(
    session: Session, url: str, secret: str, post: Post = http_post, most: int = 100
) -> dict[str, int]:
    """Send every webhook that is due to *url*; what is not answered with 2xx comes again. Commits row by row."""
    sent = failed = 0
    signing = secret.split(",")[0].strip()
    for _ in range(most):
        row = session.scalars(
            select(SandboxWebhook)
            .where(SandboxWebhook.delivered_at.is_(None), SandboxWebhook.next_at <= clock.now())
            .order_by(SandboxWebhook.next_at, SandboxWebhook.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            break
        body = row.body.encode()
        headers = {
            "Content-Type": "application/json",
            "X-Sandbox-Signature": sign(signing, body),
            "X-Sandbox-Event-Id": row.event_id,
        }
        status = post(url, body, headers)
        row.attempts += 1
        row.last_status = str(status) if status else "no answer"
        if 200 <= status < 300:
            row.delivered_at, row.next_at = clock.now(), None
            sent += 1
        else:
            more = row.attempts <= len(BACKOFF)
            row.next_at = clock.now() + dt.timedelta(seconds=BACKOFF[row.attempts - 1]) if more else None
            failed += 1
        session.commit()
    return {"sent": sent, "failed": failed}
