"""Invitations: an offer of a role to an address, redeemed by the holder of its link (chapter 1, 1.4)."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, literal, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    AuditLog,
    Invitation,
    InvitationStatus,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    User,
)
from app.security.context import ctx
from app.services import audit, colours, images, outbox
from app.services.member_rules import (
    a_role,
    check_authority,
    check_growth,
    check_role,
    growth,
    lock_organization,
    words,
)
from app.services.text import one_line
from app.services.users import normalise_email

# written out in the statement, not bound: only so a kept plan may use the partial index of open invitations
_PENDING = Invitation.status == literal(
    InvitationStatus.PENDING, Invitation.status.type, literal_execute=True
)
AT_ONCE = dt.timedelta(0)
DEFAULT_DAYS, MAX_BULK, RESENDS_A_DAY = 14, 200, 3


class NewInvitation(NamedTuple):
    """Whom to invite to what."""

    email: str
    role: OrgRole
    department_label: str | None = None
    name: str | None = None  # greets in the mail and fills in the sign-up form


class Sent(NamedTuple):
    """An invitation with its link's secret, which is stored nowhere; *created* is False where one was refreshed."""

    invitation: Invitation
    token: str
    created: bool

    @property
    def path(self) -> str:
        """The link's path on this site."""
        return f"/organizations/invite/{self.token}"


class BulkResult(NamedTuple):
    """What became of one address: sent, refreshed, invalid, duplicate or refused (with the code)."""

    email: str
    result: str
    code: str | None = None
    message: str | None = None
    sent: Sent | None = None


def token_hash(raw: str) -> str:
    """SHA-256 of a link's secret, as stored."""
    return hashlib.sha256(raw.encode("utf-8", "replace")).hexdigest()


def _new_token(row: Invitation, days: int) -> str:
    raw = secrets.token_urlsafe(32)
    row.token_hash, row.sent_at = token_hash(raw), clock.now()
    row.expires_at = row.sent_at + dt.timedelta(days=days)
    return raw


def send(
    session: Session,
    email: str,
    role: OrgRole,
    department_label: str | None = None,
    *,
    name: str | None = None,
    days: int = DEFAULT_DAYS,
) -> Sent:
    """Invite an address to *role*; an open invitation of that address is refreshed with a new link.

    *days* (1 to 30) until it expires. Raises Invalid, OWNER_REQUIRED, ROLE_REQUIRES_OWNER, ALREADY_MEMBER,
    LEARNER_REQUIRES_CANSPONSOR, EXPERT_REQUIRES_CANHOST, DOMAIN_VERIFICATION_REQUIRED.
    """
    (answer,) = send_each(session, [NewInvitation(email, role, department_label, name)], days=days)
    if isinstance(answer, DomainError):
        raise answer
    return answer


class _Ground:
    """What deciding on a number of invitations needs to know, read in four statements however many they are."""

    def __init__(self, session: Session, organization: Organization, addresses: Sequence[str]) -> None:
        self.organization = organization
        found = session.execute(
            select(User.email, Membership.status)
            .join(Membership, Membership.user_id == User.id)
            .where(
                User.email.in_(addresses),
                Membership.status.in_([MembershipStatus.ACTIVE, MembershipStatus.SUSPENDED]),
            )
        )
        self.members: dict[str, MembershipStatus] = {row.email: row.status for row in found}
        self.open = {
            row.email: row
            for row in session.scalars(
                select(Invitation).where(Invitation.email.in_(addresses), _PENDING).with_for_update()
            )
        }
        self.growth = growth(session, organization)


def send_each(
    session: Session,
    people: Sequence[NewInvitation],
    *,
    days: int = DEFAULT_DAYS,
    after: dt.timedelta = AT_ONCE,
    pace: dt.timedelta = AT_ONCE,
) -> list[Sent | DomainError]:
    """Invite *people*, each for itself, in a constant number of statements: what was sent, or why not, in their order.

    *days* (1 to 30) until the links expire; the first mail leaves *after* that time, the others *pace* apart. Raises Invalid for *days*, ORG_NOT_ACTIVE, OWNER_REQUIRED.
    """
    if not 1 <= days <= 30:
        raise Invalid({"expires_in_days": ["From 1 to 30 days."]})
    clean: list[NewInvitation | DomainError] = []
    for one in people:
        try:
            name = one_line(one.name or "")[:100].strip() or None
            clean.append(
                NewInvitation(normalise_email(one.email), one.role, _label(one.department_label), name)
            )
        except Invalid as error:
            clean.append(error)
    addresses = [one.email for one in clean if isinstance(one, NewInvitation)]
    if not addresses:
        return [one for one in clean if isinstance(one, DomainError)]
    organization = lock_organization(session)
    check_authority(organization)
    ground = _Ground(session, organization, addresses)
    answers: list[Sent | DomainError] = []
    for item in clean:
        if isinstance(item, NewInvitation):
            try:
                answers.append(_offer(ground, item, days))
            except DomainError as error:
                answers.append(error)
        else:
            answers.append(item)
    sent = [answer for answer in answers if isinstance(answer, Sent)]
    try:
        with session.begin_nested():
            session.add_all([new.invitation for new in sent])
    except IntegrityError:  # only without the lock above: somebody invited the address from another door
        raise DomainError("CONFLICT") from None
    _deliver(session, organization, sent, after, pace)
    for new in sent:
        row = new.invitation
        audit.record(
            session,
            AuditCategory.MEMBER,
            "INVITE_SENT",
            f"Invited {row.email} as {words(row.role)}.",
            target_type="invitation",
            target_id=row.public_id,
            role=row.role.value,
            refreshed=not new.created,
        )
    session.flush()
    return answers


def _offer(ground: _Ground, one: NewInvitation, days: int) -> Sent:
    """The row of an invitation with its new link, not flushed; refusals come before anything changes."""
    check_authority(ground.organization, one.role)
    check_role(ground.organization, one.role)
    member = ground.members.get(one.email)
    if member is not None:
        raise DomainError("ALREADY_MEMBER", state=member.value)
    row = ground.open.get(one.email)
    counted = row is not None and row.expires_at > clock.now()
    if not counted:
        ground.growth.check()
    if row is not None:
        check_authority(ground.organization, row.role)
    created = row is None
    if row is None:
        row = Invitation(email=one.email, role=one.role, status=InvitationStatus.PENDING)
        ground.open[one.email] = row
    row.role, row.department_label, row.invited_by_user_id = one.role, one.department_label, ctx().user_id
    row.name = one.name or row.name
    raw = _new_token(row, days)
    if not counted:
        ground.growth.invited += 1
    return Sent(row, raw, created)


def _label(value: str | None) -> str | None:
    text = one_line(value or "")
    if len(text) > 100:
        raise Invalid({"department_label": ["At most 100 characters."]})
    return text or None


def _deliver(
    session: Session,
    organization: Organization,
    sent: Sequence[Sent],
    after: dt.timedelta = AT_ONCE,
    pace: dt.timedelta = AT_ONCE,
) -> None:
    """Queue the mails, and a bell entry for whoever has an account already."""
    inviter = session.get(User, ctx().user_id) if ctx().user_id else None
    outbox.mails(
        session,
        "invitation",
        {
            one.invitation.email: {
                "name": one.invitation.name,
                "role": a_role(one.invitation.role),
                "path": one.path,
                "expires": one.invitation.expires_at.astimezone(clock.IST).strftime("%-d %B %Y"),
            }
            for one in sent
        },
        after=after,
        pace=pace,
        organization=organization.name,
        inviter=inviter.name if inviter else None,
        colour=organization.primary_color,
        ink=colours.ink_on(organization.primary_color) if organization.primary_color else None,
        logo=images.address(organization.logo),
    )
    roles = {one.invitation.email: one.invitation.role for one in sent}
    known = session.execute(select(User.id, User.email).where(User.email.in_(list(roles)), User.active))
    for user_id, address in known:
        outbox.notify(
            session,
            user_id,
            "invitation",
            f"{organization.name} invited you as {a_role(roles[address])}",
            "The link is in your mail.",
        )


def send_bulk(
    session: Session,
    emails: Sequence[str],
    role: OrgRole,
    department_label: str | None = None,
    *,
    days: int = DEFAULT_DAYS,
) -> list[BulkResult]:
    """Invite up to 200 addresses; each succeeds or fails by itself. Raises Invalid for more, or none."""
    if not 1 <= len(emails) <= MAX_BULK:
        raise Invalid({"emails": [f"Send 1 to {MAX_BULK} addresses at once."]})
    results: list[BulkResult] = []
    wanted: dict[str, int] = {}
    for raw in emails:
        shown = one_line(raw)[:320]
        try:
            address = normalise_email(raw)
        except Invalid as error:
            results.append(BulkResult(shown, "invalid", error.code, error.fields["email"][0]))
            continue
        if address not in wanted:
            wanted[address] = len(results)
        results.append(BulkResult(shown, "duplicate"))
    people = [NewInvitation(address, role, department_label) for address in wanted]
    for at, answer in zip(wanted.values(), send_each(session, people, days=days), strict=True):
        shown = results[at].email
        if isinstance(answer, Sent):
            results[at] = BulkResult(shown, "sent" if answer.created else "refreshed", sent=answer)
        else:
            results[at] = BulkResult(shown, "refused", answer.code, answer.message)
    return results


def _locked(session: Session, invitation: Invitation) -> Invitation:
    """The row as it is under the lock."""
    return session.scalars(
        select(Invitation)
        .where(Invitation.id == invitation.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def resend(session: Session, invitation: Invitation, *, days: int = DEFAULT_DAYS) -> Sent:
    """A new link for an open or expired invitation; the old link is dead. At most three a day.

    Raises INVITATION_NOT_PENDING, RATE_LIMITED and the refusals of ``send``.
    """
    organization = lock_organization(session)
    row = _locked(session, invitation)
    check_authority(organization, row.role)
    check_role(organization, row.role)
    if row.status not in (InvitationStatus.PENDING, InvitationStatus.EXPIRED):
        raise DomainError("INVITATION_NOT_PENDING", state=row.status.value)
    recent = (
        session.scalar(
            select(func.count(AuditLog.id)).where(
                AuditLog.target_type == "invitation",
                AuditLog.target_id == str(row.public_id),
                AuditLog.action == "INVITE_RESENT",
                AuditLog.created_at > clock.now() - dt.timedelta(days=1),
            )
        )
        or 0
    )
    if recent >= RESENDS_A_DAY:
        raise DomainError("RATE_LIMITED", limit=RESENDS_A_DAY)
    if row.status == InvitationStatus.EXPIRED or row.expires_at <= clock.now():
        check_growth(session, organization)
    row.status, row.resend_count = InvitationStatus.PENDING, row.resend_count + 1
    raw = _new_token(row, days)
    try:
        with session.begin_nested():
            session.flush()
    except IntegrityError:  # a newer open invitation of the same address stands
        raise DomainError("CONFLICT") from None
    sent = Sent(row, raw, False)
    _deliver(session, organization, [sent])
    audit.record(
        session,
        AuditCategory.MEMBER,
        "INVITE_RESENT",
        f"Sent {row.email} a new link.",
        target_type="invitation",
        target_id=row.public_id,
    )
    return sent


def revoke(session: Session, invitation: Invitation) -> Invitation:
    """Withdraw an open invitation. Raises INVITATION_NOT_PENDING and authority refusals."""
    organization = lock_organization(session)
    check_authority(organization, invitation.role)
    claim(session, invitation, InvitationStatus.CANCELED)
    audit.record(
        session,
        AuditCategory.MEMBER,
        "INVITE_REVOKED",
        f"Withdrew the invitation of {invitation.email}.",
        target_type="invitation",
        target_id=invitation.public_id,
    )
    return invitation


def claim(session: Session, row: Invitation, status: InvitationStatus, **values: Any) -> None:
    """Leave PENDING, once; whoever comes second is refused. Raises INVITATION_NOT_PENDING."""
    done = session.execute(
        update(Invitation)
        .where(Invitation.id == row.id, Invitation.status == InvitationStatus.PENDING)
        .values(status=status, **values)
        .returning(Invitation.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    session.refresh(row)
    if done is None:
        raise DomainError("INVITATION_NOT_PENDING", state=row.status.value)
