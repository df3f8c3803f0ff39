"""Jobs of people (chapter 1, 1.4)."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy.orm import Session

from app.models import OutboxMessage
from app.services import imports, invitation_expiry, outbox

TURN = 10  # chunks


def expire_invitations(session: Session) -> dict[str, Any]:
    """Expire invitations whose date has passed; an acceptance that races wins."""
    return dict(invitation_expiry.expire_due(session))


def import_people(session: Session, message: OutboxMessage) -> None:
    """Send the invitations of a large import, some hundreds at a time: other messages have their turn in between."""
    if imports.work(session, uuid.UUID(message.payload["batch_id"]), TURN):
        outbox.put(session, message.topic, message.payload, organization_id=message.organization_id)


TOPICS = {"import_people": import_people}
JOBS = [("expire_invitations", "30 2 * * *", expire_invitations)]
