"""Notices about contracts, programs and places: one mail and one bell for each reader, with a dedupe where it must be once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.models import OrgRole
from app.services import org_notices, outbox


def tell(
    session: Session,
    roles: Sequence[OrgRole],
    kind: str,
    title: str,
    lines: Sequence[str],
    *,
    path: str,
    button: str,
    also: Sequence[org_notices.Person] = (),
) -> int:
    """Mail and bell to the ACTIVE members with one of *roles* in the organisation acted for, and to *also* (rows with id,
    email, first_name). Returns how many were told."""
    readers = {p.id: p for p in [*(org_notices.people(session, *roles) if roles else []), *also]}
    for person in readers.values():
        tell_one(session, person, kind, title, lines, path=path, button=button, routed=True)
    return len(readers)


def tell_one(
    session: Session,
    person: org_notices.Person,
    kind: str,
    title: str,
    lines: Sequence[str],
    *,
    path: str,
    button: str,
    routed: bool = False,
) -> None:
    """Mail and bell to one person; *routed* honours how they want to hear of organisations."""
    outbox.mail(
        session,
        person.email,
        "terms_notice",
        routed_for=person.id if routed else None,
        name=person.first_name,
        title=title,
        lines=list(lines),
        path=path,
        button=button,
    )
    outbox.notify(session, person.id, kind, title, lines[0][:500], url=path, routed=routed)
