"""Verification and the life of an organisation, decided by ADMIN (chapter 1, 1.2, "Status")."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import AuditCategory, MessageKind, Organization, OrgStatus
from app.security.context import acting, ctx
from app.services import assignments, audit, org_notices, verification
from app.services.text import paragraphs

MAX_REASON = 2000


class Action(NamedTuple):
    """One decision: from which states, to which, how it is called in the log and in mails."""

    allowed: tuple[OrgStatus, ...]
    to: OrgStatus
    logged: str
    template: str
    needs_reason: bool = False


_P, _A, _S, _D = (
    OrgStatus.PENDING_VERIFICATION,
    OrgStatus.ACTIVE,
    OrgStatus.SUSPENDED,
    OrgStatus.DEACTIVATED,
)
ACTIONS = {
    "VERIFY": Action((_P,), _A, "VERIFIED", "org_verified"),
    "REJECT": Action((_P,), _P, "VERIFICATION_REJECTED", "org_rejected", True),
    "SUSPEND": Action((_A,), _S, "SUSPENDED", "org_suspended", True),
    "REACTIVATE": Action((_S,), _A, "REACTIVATED", "org_reactivated"),
    "DEACTIVATE": Action((_P, _A, _S), _D, "DEACTIVATED", "org_deactivated"),
}


def decide(session: Session, organization_id: int, action: str, reason: str = "") -> Organization:
    """Apply ADMIN's *action* to an organisation by compare-and-set; owners and maintainers are told.

    Raises INSUFFICIENT_ROLE, Invalid (unknown action, missing reason), NOT_FOUND, ILLEGAL_TRANSITION.
    """
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    rule = ACTIONS.get(action)
    if rule is None:
        raise Invalid({"action": [f"Choose one of {', '.join(ACTIONS)}."]})
    text = paragraphs(reason or "")
    if len(text) > MAX_REASON:
        raise Invalid({"reason": [f"At most {MAX_REASON} characters."]})
    if rule.needs_reason and not text:
        raise Invalid({"reason": ["Give a reason: the organisation's owners read it."]})
    with acting(session, org_id=organization_id, membership_id=None, role=None):
        row = session.get(Organization, organization_id)
        if row is None:
            raise DomainError("NOT_FOUND")
        given: dict[str, Any] = {"reason": text} if text else {}
        _compare_and_set(session, row, rule, {"status": rule.to, **_stamps(action, text)})
        audit.record(
            session,
            AuditCategory.SYSTEM,
            rule.logged,
            _sentence(row, rule),
            target_type="organization",
            target_id=row.public_id,
            **given,
        )
        if action in _SAID:
            verification.say(session, _SAID[action], text or "Verified.")
        org_notices.tell_operators(
            session,
            row,
            rule.template,
            _TITLES[rule.template].format(row.name),
            text,
            page=_PAGES.get(action, "home"),
        )
        org_notices.bump_members(session)
        if action == "SUSPEND":
            assignments.pause_all(session)
        elif action == "REACTIVATE":
            assignments.resume_all(session)
    return row


def _stamps(action: str, reason: str) -> dict[str, Any]:
    """verification_reason keeps ADMIN's last refusal, for the banner; a kinder decision clears it."""
    if action == "SUSPEND":
        return {"verification_reason": reason}
    rejected = action == "REJECT"
    return {
        "verification_reason": reason if rejected else None,
        "verification_rejected_at": clock.now() if rejected else None,
        "verification_info_requested_at": None,
    }


def _compare_and_set(session: Session, row: Organization, rule: Action, values: dict[str, Any]) -> None:
    done = session.execute(
        update(Organization)
        .where(Organization.id == row.id, Organization.status.in_(rule.allowed))
        .values(**values)
        .returning(Organization.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    session.refresh(row)
    if done is None:
        raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)


def _sentence(row: Organization, rule: Action) -> str:
    return f"{row.name}: {rule.logged.replace('_', ' ').lower()} by the platform."


_TITLES = {
    "org_verified": "{} is verified",
    "org_rejected": "{} could not be verified yet",
    "org_suspended": "{} is suspended",
    "org_reactivated": "{} is active again",
    "org_deactivated": "{} has been deactivated",
}
_PAGES = {"REJECT": "settings/verification"}
_SAID = {"VERIFY": MessageKind.VERIFIED, "REJECT": MessageKind.REJECTED}


def resubmit(session: Session, message: str = "") -> Organization:
    """Ask for verification again after a rejection, saying in *message* what changed. Raises Invalid, NOTHING_TO_RESUBMIT."""
    said = verification.words(message) if message.strip() else "Asked for verification again."
    row = session.get(Organization, ctx().org_id or -1)
    if row is None:
        raise DomainError("NOT_FOUND")
    done = session.execute(
        update(Organization)
        .where(
            Organization.id == row.id,
            Organization.status == OrgStatus.PENDING_VERIFICATION,
            Organization.verification_rejected_at.is_not(None),
        )
        .values(
            verification_submitted_at=clock.now(),
            verification_reason=None,
            verification_rejected_at=None,
            verification_info_requested_at=None,
        )
        .returning(Organization.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    session.refresh(row)
    if done is None:
        raise DomainError("NOTHING_TO_RESUBMIT")
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "VERIFICATION_RESUBMITTED",
        f"{row.name} asked for verification again.",
        target_type="organization",
        target_id=row.public_id,
    )
    verification.say(session, MessageKind.RESUBMITTED, said)
    org_notices.tell_staff(
        session, f"{row.name} waits for verification again", said, url=verification.staff_page(row)
    )
    return row


def locate(session: Session, public_id: Any) -> int:
    """Inner id of an organisation anywhere on the platform, for ADMIN and STAFF. Raises NOT_FOUND."""
    with acting(session, scope="platform"):
        found = session.scalar(select(Organization.id).where(Organization.public_id == public_id))
    if found is None:
        raise DomainError("NOT_FOUND")
    return found
