"""Onboarding of somebody who represents an organisation: person, organisation and invitations at once (chapter 1, 1.4).

One transaction writes the user, the organisation's bundle and the invitations, or none of them; only mail follows.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import DomainError, Invalid
from app.models import PlatformRole, User
from app.security import sessions
from app.security.context import ctx
from app.services import organizations
from app.services.invitations import NewInvitation
from app.services.text import one_line
from app.services.users import MAX_NAME, split_name

_PHONE = re.compile(r"^\+?[0-9][0-9 ()-]{5,30}$")


def clean_person(values: dict[str, Any]) -> dict[str, Any]:
    """*values* (``name``, ``phone``, ``timezone``) checked and normalised. Raises Invalid naming every field."""
    problems: dict[str, list[str]] = {}
    out: dict[str, Any] = {}
    if "name" in values:
        out["name"] = one_line(str(values["name"] or ""))
        if not 1 <= len(out["name"]) <= MAX_NAME:
            problems["name"] = [f"Enter your name, at most {MAX_NAME} characters."]
    if "phone" in values:
        out["phone"] = one_line(str(values["phone"] or "")) or None
        if out["phone"] and not _PHONE.match(out["phone"]):
            problems["phone"] = ["Enter a phone number, such as +91 98765 43210."]
    if "timezone" in values:
        out["timezone"] = str(values["timezone"] or "")
        if out["timezone"] not in zoneinfo.available_timezones():
            problems["timezone"] = ["Choose a time zone."]
    unknown = set(values) - {"name", "phone", "timezone"}
    problems.update({name: ["There is no such field."] for name in unknown})
    if problems:
        raise Invalid(problems)
    return out


def update_person(session: Session, values: dict[str, Any]) -> User:
    """Change the acting person's name, phone or time zone; what is absent stays. Raises UNAUTHENTICATED, Invalid."""
    fields = clean_person(values)
    user = session.scalars(
        select(User)
        .where(User.id == (ctx().user_id or -1))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if user is None:
        raise DomainError("UNAUTHENTICATED")
    if "name" in fields:
        user.first_name, user.last_name = split_name(fields["name"])
    if "phone" in fields:
        user.phone = fields["phone"]
    if "timezone" in fields:
        user.timezone = fields["timezone"]
    session.flush()
    return user


def complete(
    session: Session,
    personal: dict[str, Any],
    organization: dict[str, Any],
    *,
    funding_source: str | None = None,
    invite: Sequence[NewInvitation] = (),
    allow_host: bool = False,
) -> organizations.Created:
    """Onboard the acting person as ORG_ADMIN with their first organisation; all of it or nothing.

    A learner's account becomes ORG_ADMIN; consultants and the platform's own people keep their role. Raises
    UNAUTHENTICATED, Invalid (every personal field at once) and what ``organizations.create_organization`` raises.
    """
    user = update_person(session, personal)
    user.onboarding_completed = True
    if user.platform_role == PlatformRole.CONSULTEE:
        user.platform_role = PlatformRole.ORG_ADMIN
    session.flush()
    sessions.bump_generation(session, user.id)
    return organizations.create_organization(
        session, organization, funding_source=funding_source, invite=invite, allow_host=allow_host
    )
