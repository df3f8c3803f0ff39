"""What the marketplace tells people outside a booking's own confirmation: a bell entry and a mail from one set of words."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import User
from app.services import outbox


def tell(
    session: Session,
    user_id: int,
    kind: str,
    title: str,
    lines: Sequence[str],
    *,
    path: str,
    button: str,
    key: str,
    quote: str = "",
) -> None:
    """Ring and write to a person. *key* is unique for ever: told again, nothing is sent again.

    *path* is below the site's address, *quote* words of somebody else.
    """
    person = session.scalars(select(User).where(User.id == user_id)).one()
    outbox.notify(session, user_id, kind, title, " ".join(lines)[:500], path)
    outbox.mail(
        session,
        person.email,
        "market_note",
        dedupe_key=f"note:{key}",
        subject_line=title,
        name=person.name,
        lines=list(lines),
        quote=quote,
        path=path,
        button=button,
    )
