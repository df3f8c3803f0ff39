"""An expert's public face, as they write it; the platform's team verifies it (chapter 2, 2.3 "expert")."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import ConsultantProfile, ExpertStatus
from app.security.context import acting, ctx
from app.services import market_notes
from app.services.text import one_line, paragraphs


def describe(session: Session, *, headline: str, domain: str, bio: str) -> ConsultantProfile:
    """Make or change the profile of the person acting; a new one waits for verification. Raises Invalid."""
    head, field, words = one_line(headline), one_line(domain) or "General", paragraphs(bio)
    problems: dict[str, list[str]] = {}
    if not 5 <= len(head) <= 200:
        problems["headline"] = ["Between 5 and 200 characters."]
    if len(field) > 120:
        problems["domain"] = ["At most 120 characters."]
    if len(words) > 5000:
        problems["bio"] = ["At most 5,000 characters."]
    if problems:
        raise Invalid(problems)
    row = session.scalars(
        select(ConsultantProfile).where(ConsultantProfile.user_id == ctx().user_id)
    ).one_or_none()
    if row is None:
        row = ConsultantProfile(user_id=ctx().user_id, verification_status=ExpertStatus.UNVERIFIED)  # type: ignore[arg-type]
        session.add(row)
    row.headline, row.domain, row.bio = head, field, words
    session.flush()
    return row


def decide(session: Session, public_id: uuid.UUID, verified: bool) -> ConsultantProfile:
    """ADMIN verifies an expert or takes it back; bookings made stay. Raises INSUFFICIENT_ROLE, NOT_FOUND,
    ILLEGAL_TRANSITION on repetition."""
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    row = session.scalars(
        select(ConsultantProfile)
        .where(ConsultantProfile.public_id == public_id)
        .options(joinedload(ConsultantProfile.user))
        .with_for_update(of=ConsultantProfile)
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    wanted = ExpertStatus.VERIFIED if verified else ExpertStatus.UNVERIFIED
    if row.verification_status == wanted:
        raise DomainError("ILLEGAL_TRANSITION", state=wanted.value)
    row.verification_status = wanted
    session.flush()
    with acting(session, scope="job", org_id=None):
        market_notes.tell(
            session,
            row.user_id,
            "expert.decided",
            "You are verified" if verified else "Your verification was taken back",
            [
                "Your profile and plans are shown, and people can book you."
                if verified
                else "Your plans are not shown at the moment. Bookings made stay. Write to us if you have questions."
            ],
            path="/dashboard/offering/",
            button="Open your plans",
            key=f"expert:{row.public_id}:{verified}:{clock.now().isoformat()}",
        )
    return row
