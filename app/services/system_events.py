"""Engineering detail of failures, for ADMIN alone (chapter 3, 3.4). Best effort: telling of a failure never fails."""

from __future__ import annotations

import traceback
from typing import Any

from sqlalchemy import Engine, insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.logs import log
from app.models import Severity, SystemEvent

MESSAGE, TRACE = 2000, 8000  # characters kept


def record_crash(
    engine: Engine,
    category: str,
    what: str,
    error: BaseException,
    *,
    correlation_id: str | None,
    **context: Any,
) -> None:
    """Write an ERROR event in a transaction of its own, since the one that crashed is gone."""
    trace = "".join(traceback.format_exception(error))[-TRACE:]
    try:
        with Session(engine) as session:
            # no RETURNING: who writes an event may not read it
            session.execute(
                insert(SystemEvent.__table__)  # type: ignore[arg-type]
                .values(
                    category=category,
                    severity=Severity.ERROR.value,
                    message=f"{what}: {type(error).__name__}: {error}"[:MESSAGE].replace("\x00", "\ufffd"),
                    context={**context, "traceback": trace.replace("\x00", "\ufffd")},
                    correlation_id=correlation_id,
                )
                .inline()
            )
            session.commit()
    except SQLAlchemyError as failure:
        log.error("system_event_lost", category=category, error=type(failure).__name__)
