"""The transactional outbox: what must leave the database is written with the change and delivered after commit.

Delivery is at least once; consumers are keyed by the message id. ``app/jobs/outbox.py`` delivers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import event as hooks
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from app import clock
from app.models import Notification, NotificationRouting, OutboxMessage
from app.security.context import ctx

_QUEUE: Any = OutboxMessage.__table__
_BELL: Any = Notification.__table__
BY_MAIL = frozenset({NotificationRouting.BELL_AND_EMAIL, NotificationRouting.EMAIL_ONLY})
BY_BELL = frozenset({NotificationRouting.BELL_AND_EMAIL, NotificationRouting.BELL_ONLY})


def put(
    session: Session,
    topic: str,
    payload: dict[str, Any],
    *,
    dedupe_key: str | None = None,
    after: dt.timedelta = dt.timedelta(0),
    organization_id: int | None = None,
) -> None:
    """Queue *payload* under *topic*. A *dedupe_key* must be unique for ever; *after* delays delivery."""
    c = ctx()
    _write(
        session,
        OutboxMessage,
        topic=topic,
        payload=payload,
        dedupe_key=dedupe_key,
        available_at=clock.now() + after,
        organization_id=organization_id or c.org_id,
        correlation_id=c.correlation_id,
    )
    announce(session)


def event(session: Session, name: str, **data: Any) -> None:
    """Queue the organisation event *name* (``member.added``) with JSON *data*: public ids, never inner keys.

    Delivery hands it to whoever subscribes; until somebody does, the message is simply done.
    """
    put(session, "event", {"event": name, "data": data})


def events(session: Session, name: str, each: Sequence[dict[str, Any]]) -> None:
    """``event`` for many: one message for each of *each*, written together."""
    if not each:
        return
    c, now = ctx(), clock.now()
    session.flush()  # the rows they point at
    session.execute(
        insert(OutboxMessage.__table__).inline(),  # type: ignore[arg-type]
        [
            {
                "topic": "event",
                "payload": {"event": name, "data": data},
                "available_at": now,
                "organization_id": c.org_id,
                "correlation_id": c.correlation_id,
            }
            for data in each
        ],
    )
    announce(session)


def routing(session: Session, user_id: int) -> str:
    """How *user_id* wants to hear of organisation events: a value of NotificationRouting (chapter 1, 1.1)."""
    return str(session.scalar(text("SELECT notification_routing(:u)"), {"u": user_id}))


def mail(
    session: Session,
    to: str,
    template: str,
    *,
    dedupe_key: str | None = None,
    routed_for: int | None = None,
    attach: dict[str, str] | None = None,
    **values: Any,
) -> None:
    """Queue the mail *template* (``app/templates/mail/<template>.txt`` and ``.html``) to one address.

    *values* must be JSON: they are rendered at delivery, so that a mail waits for no request. An organisation's event
    names its reader in *routed_for* (inner user id): who wants no mail of those gets none. *attach* names a document of the
    organisation ({"type": "invoice", "id": its public id}), rendered at delivery.
    """
    if routed_for is not None and routing(session, routed_for) not in BY_MAIL:
        return
    payload: dict[str, Any] = {"to": to, "template": template, "values": values}
    if attach is not None:
        payload["attach"] = attach
    put(session, "mail", payload, dedupe_key=dedupe_key)


def mails(
    session: Session,
    template: str,
    to: Mapping[str, Mapping[str, Any]],
    *,
    after: dt.timedelta = dt.timedelta(0),
    pace: dt.timedelta = dt.timedelta(0),
    attach: dict[str, str] | None = None,
    **shared: Any,
) -> None:
    """Queue the mail *template* to many addresses in one statement, each with values of its own beside the *shared* ones.

    The first leaves *after* that time, the others *pace* apart. *attach* is ``mail``'s.
    """
    if not to:
        return
    c, now = ctx(), clock.now()
    more = {"attach": attach} if attach is not None else {}
    session.flush()
    session.execute(
        insert(_QUEUE).inline(),
        [
            {
                "topic": "mail",
                "payload": {"to": address, "template": template, "values": {**shared, **values}, **more},
                "available_at": now + after + n * pace,
                "organization_id": c.org_id,
                "correlation_id": c.correlation_id,
            }
            for n, (address, values) in enumerate(to.items())
        ],
    )
    announce(session)


def notify(
    session: Session,
    user_id: int,
    kind: str,
    title: str,
    body: str = "",
    url: str | None = None,
    *,
    routed: bool = False,
) -> None:
    """Add a bell entry for *user_id* in the same transaction; of an organisation's event (*routed*) if they want it."""
    if routed and routing(session, user_id) not in BY_BELL:
        return
    _write(
        session,
        Notification,
        user_id=user_id,
        kind=kind,
        title=title[:200],
        body=body[:500],
        url=url,
        organization_id=ctx().org_id,
    )


def notify_all(
    session: Session, user_ids: Sequence[int], kind: str, title: str, body: str = "", url: str | None = None
) -> None:
    """Add a bell entry for each of *user_ids*, who want it, in one statement."""
    if not user_ids:
        return
    session.flush()
    session.execute(
        insert(_BELL).inline(),
        [
            {
                "user_id": user_id,
                "kind": kind,
                "title": title[:200],
                "body": body[:500],
                "url": url,
                "organization_id": ctx().org_id,
            }
            for user_id in user_ids
        ],
    )


def _write(session: Session, model: type[Any], **values: Any) -> None:
    """Insert a row that its writer may not read back: a queue's, or another person's. Hence no RETURNING."""
    session.flush()  # the rows it points at
    session.execute(insert(model.__table__).values(**values).inline())


def announce(session: Session) -> None:
    """Remember that this transaction queued something; after commit the worker is told at once."""
    session.info["outbox_pending"] = True


@hooks.listens_for(Session, "after_commit")
def _dispatch(session: Session) -> None:
    if session.info.pop("outbox_pending", False):
        from app.jobs.queue import kick_outbox  # late: jobs import services

        kick_outbox()


@hooks.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop("outbox_pending", None)
