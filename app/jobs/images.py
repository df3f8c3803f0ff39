"""Removes stored files that nothing points at any more."""

from __future__ import annotations

from typing import Any

from flask import current_app
from sqlalchemy.orm import Session

from app.models import OutboxMessage
from app.services.storage import TOPIC, Storage


def _delete(session: Session, message: OutboxMessage) -> None:
    """One file, after the change that dropped it has committed; gone already is fine."""
    Storage(current_app.config["SETTINGS"].files_url).delete(str(message.payload["key"]))


TOPICS = {TOPIC: _delete}
JOBS: list[Any] = []
