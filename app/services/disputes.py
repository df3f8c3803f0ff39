"""Disputes: a payer's bank asks for the money back (chapter 2, 2.8).

What the provider says counts. Opening holds the earnings of the booking; the end of the last open dispute lets them go on;
a loss is posted once. ADMIN accepts or contests. Rows are written under job scope only: by events, by the hourly watch,
and by ADMIN through the functions below.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app import clock, faults
from app.errors import DomainError, Invalid
from app.gateways import DisputeChanged, open_gateway
from app.gateways.base import Dispute as Told
from app.logs import log
from app.models import (
    AuditCategory,
    Dispute,
    DisputeStatus,
    Payment,
    PlatformRole,
    User,
)
from app.security.context import acting, ctx
from app.services import audit, dispute_subjects, terms_notices, unapplied, wallet_notices
from app.services.text import money, paragraphs
from config import Settings

S = DisputeStatus
TERMINAL = (S.WON, S.LOST, S.CHARGE_REFUNDED)
OPEN = (S.WARNING_NEEDS_RESPONSE, S.WARNING_UNDER_REVIEW, S.NEEDS_RESPONSE, S.UNDER_REVIEW)
ANSWERABLE = (S.WARNING_NEEDS_RESPONSE, S.NEEDS_RESPONSE)
EARLY = ("fraud", "retrieval")  # phases in which a bank only asks
MAX_TEXT = 1_000
EVIDENCE = {  # what may be sent along: the provider's name for it, and ours
    "proof_of_service": "Proof that the session took place",
    "customer_communication": "Messages with the customer",
    "cancellation_policy": "The cancellation policy as agreed",
    "billing_proof": "Receipt or invoice",
    "others": "Anything else",
}


class NotYet(Exception):
    """The money this is about is not known here yet: its capture is still on the way."""


def status_of(phase: str, status: str, money_left: bool) -> DisputeStatus:
    """Our state of a provider's phase and status. *money_left*: some of the payment was refunded meanwhile."""
    if status == "lost":
        return S.LOST
    if phase in EARLY:
        early = {"open": S.WARNING_NEEDS_RESPONSE, "action_required": S.WARNING_NEEDS_RESPONSE}
        return early.get(status, S.WARNING_UNDER_REVIEW if status == "under_review" else S.WARNING_CLOSED)
    if status == "closed":
        return S.CHARGE_REFUNDED if money_left else S.WON
    known = {"under_review": S.UNDER_REVIEW, "won": S.WON}
    return known.get(status, S.NEEDS_RESPONSE)


# ---- what the provider says ------------------------------------------------------------------------------------------


def changed(session: Session, event: DisputeChanged, gateway: str, settings: Settings) -> str:
    """Apply a ``payment.dispute.*``: the dispute as the provider sees it now, so that the order of events is no matter.

    Wants job scope and commits. Raises NotYet while its payment is unknown, and the gateway's codes.
    """
    now = open_gateway(settings, session, gateway).fetch_dispute(event.dispute_id) or Told(
        event.dispute_id,
        event.payment_id or "",
        event.amount_paise or 0,
        event.phase,
        event.status,
        event.reason,
        event.due_by,
    )
    outcome = apply(session, now, gateway)
    session.commit()
    return outcome


def apply(session: Session, told: Told, gateway: str) -> str:
    """Bring our row to what the provider *told*; returns opened, moved or repeated. Wants job scope.

    The money's row is locked first, then the dispute's: whoever refunds that money waits, or is waited for.
    """
    known = session.execute(
        select(Dispute.subject, Dispute.provider_payment_id).where(
            Dispute.provider_dispute_id == told.dispute_id
        )
    ).one_or_none()
    found = None if known else dispute_subjects.find(session, told.payment_id)
    if known is None and found is None:
        raise NotYet(told.payment_id)
    if known is not None:
        subject, payment_id = known
    elif found is not None:
        subject, payment_id = found[0], told.payment_id
    dispute_subjects.SUBJECTS[subject].lock(session, payment_id)
    row = _row(session, told.dispute_id)
    outcome = "repeated"
    if row is None and found is not None:
        row, outcome = _open(session, told, gateway, *found), "opened"
    assert row is not None  # a dispute is never deleted
    moved = _move(session, row, told)
    return "moved" if moved and outcome == "repeated" else outcome


def _row(session: Session, dispute_id: str) -> Dispute | None:
    return session.scalars(
        select(Dispute)
        .where(Dispute.provider_dispute_id == dispute_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def _open(session: Session, told: Told, gateway: str, subject: str, about: dispute_subjects.Found) -> Dispute:
    row = Dispute(
        organization_id=about.organization_id,
        subject=subject,
        subject_id=about.subject_id,
        payment_id=about.payment_id,
        user_id=about.user_id,
        gateway=gateway,
        provider_dispute_id=told.dispute_id,
        provider_payment_id=told.payment_id,
        amount_paise=told.amount_paise,
        phase=told.phase,
        status=S.WARNING_NEEDS_RESPONSE if told.phase in EARLY else S.NEEDS_RESPONSE,
        reason=told.reason,
        due_by=told.due_by,
        opened_at=clock.now(),
        synced_at=clock.now(),
    )
    session.add(row)
    session.flush()
    _hold(session, row)
    _tell_opened(session, row, about)
    return row


def _move(session: Session, row: Dispute, told: Told) -> bool:
    """The row's state after *told*; False when nothing changed. Terminal states stay."""
    subject = dispute_subjects.SUBJECTS[row.subject]
    to = status_of(told.phase, told.status, subject.returned(session, row))
    row.synced_at = clock.now()
    if row.status in TERMINAL:
        session.flush()
        return False
    if told.due_by is not None and told.due_by != row.due_by:
        row.due_by, row.alerted_48_at, row.alerted_12_at = told.due_by, None, None
    row.phase, row.amount_paise = told.phase, told.amount_paise or row.amount_paise
    session.flush()
    if to == row.status:
        return False
    was_open = row.status in OPEN
    moved = session.execute(
        update(Dispute)
        .where(Dispute.id == row.id, Dispute.status == row.status)
        .values(status=to, closed_at=None if to in OPEN else clock.now())
        .execution_options(synchronize_session=False)
    ).rowcount  # type: ignore[attr-defined]
    if not moved:
        raise DomainError("ILLEGAL_TRANSITION")
    session.refresh(row)
    if to == S.LOST:
        subject.lose(session, row, dispute_subjects.key_of(row))
        faults.trip("dispute_lost")
    if to in OPEN and not was_open:  # a warning became a chargeback
        _hold(session, row)
    elif to not in OPEN:
        _release(session, row)
        if row.subject == "unapplied":
            unapplied.try_again(session, row.provider_payment_id, after=row.provider_dispute_id)
    _record(session, row, f"DISPUTE_{to.value}", f"A dispute about {money(row.amount_paise)} is {_words(to)}")
    _tell_closed(session, row) if to not in OPEN else None
    return True


def refund_failed(session: Session, subject: str, provider_payment_id: str, refund_id: str) -> int:
    """A refund under way was rejected: post what disputes lost meanwhile left out because they counted it as gone, paise.

    Whoever calls holds the lock of the money's row; the key names the refund, so that a repetition posts nothing.
    """
    took = 0
    with acting(session, scope="job", org_id=None):
        rows = session.scalars(
            select(Dispute)
            .where(Dispute.provider_payment_id == provider_payment_id, Dispute.status == S.LOST)
            .order_by(Dispute.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).all()
        for row in rows:
            more = dispute_subjects.SUBJECTS[subject].lose(
                session, row, dispute_subjects.key_of(row, refund_id)
            )
            faults.trip("dispute_lost")
            if more:
                took += more
                _record(
                    session,
                    row,
                    "DISPUTE_LOST",
                    f"{money(more)} more went with a lost dispute: a refund under way was rejected",
                )
    return took


def _hold(session: Session, row: Dispute) -> None:
    if row.payment_id is not None:
        session.execute(text("SELECT earnings_hold(:p)"), {"p": row.payment_id})
        _record(session, row, "EARNINGS_HELD", "Earnings wait for a dispute", category=AuditCategory.PAYOUT)


def _release(session: Session, row: Dispute) -> None:
    """Earnings go on once no dispute about their payment is open."""
    if row.payment_id is None:
        return
    others = select(Dispute.id).where(
        Dispute.payment_id == row.payment_id, Dispute.id != row.id, Dispute.status.in_(OPEN)
    )
    if session.scalar(others.limit(1)) is None:
        session.execute(text("SELECT earnings_release(:p)"), {"p": row.payment_id})
        _record(session, row, "EARNINGS_RELEASED", "Earnings go on", category=AuditCategory.PAYOUT)


# ---- the platform's answer -------------------------------------------------------------------------------------------


def find(session: Session, public_id: uuid.UUID) -> Dispute:
    """A dispute anywhere. Wants platform or job scope. Raises NOT_FOUND."""
    row = session.scalars(select(Dispute).where(Dispute.public_id == public_id)).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def _answering(session: Session, public_id: uuid.UUID) -> Dispute:
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    row = find(session, public_id)
    dispute_subjects.SUBJECTS[row.subject].lock(session, row.provider_payment_id)
    session.refresh(row, with_for_update=True)
    if row.status not in ANSWERABLE:
        raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
    return row


def accept(session: Session, public_id: uuid.UUID, settings: Settings) -> Dispute:
    """Give in (ADMIN): the money goes back, and what the loss takes is posted.

    Raises INSUFFICIENT_ROLE, NOT_FOUND, ILLEGAL_TRANSITION (not waiting for an answer), the gateway's codes.
    """
    with acting(session, scope="job"):
        row = _answering(session, public_id)
        told = open_gateway(settings, session, row.gateway).accept_dispute(row.provider_dispute_id)
        row.answered_at, row.answered_by_user_id = clock.now(), ctx().user_id
        apply(session, told, row.gateway)
    return row


def contest(
    session: Session, public_id: uuid.UUID, summary: str, evidence: dict[str, str], settings: Settings
) -> Dispute:
    """Contest with a *summary* and *evidence* (kinds of ``EVIDENCE``: text or a document's id at the provider), ADMIN.

    Raises Invalid, INSUFFICIENT_ROLE, NOT_FOUND, ILLEGAL_TRANSITION, the gateway's codes.
    """
    said = paragraphs(summary or "")
    kept = {kind: paragraphs(value or "") for kind, value in evidence.items()}
    problems: dict[str, list[str]] = {}
    if not 10 <= len(said) <= MAX_TEXT:
        problems["summary"] = [f"Say in 10 to {MAX_TEXT} characters why the charge was right."]
    for kind, value in kept.items():
        if kind not in EVIDENCE:
            problems[kind] = [f"One of {', '.join(EVIDENCE)}."]
        elif len(value) > MAX_TEXT:
            problems[kind] = [f"At most {MAX_TEXT} characters."]
    if problems:
        raise Invalid(problems)
    kept = {kind: value for kind, value in kept.items() if value}
    with acting(session, scope="job"):
        row = _answering(session, public_id)
        told = open_gateway(settings, session, row.gateway).contest_dispute(
            row.provider_dispute_id, summary=said, evidence=kept
        )
        row.evidence = {"summary": said, **kept}
        row.answered_at, row.answered_by_user_id = clock.now(), ctx().user_id
        apply(session, told, row.gateway)
    return row


# ---- the watch -------------------------------------------------------------------------------------------------------


def watch(session: Session, settings: Settings) -> dict[str, int]:
    """Ask how open disputes stand, and say which must be answered within 48 and 12 hours. Wants job scope, commits."""
    done = {"checked": 0, "moved": 0, "alerted": 0, "failed": 0}
    rows = session.execute(
        select(Dispute.id, Dispute.provider_dispute_id, Dispute.gateway)
        .where(Dispute.status.not_in(TERMINAL))
        .order_by(Dispute.synced_at, Dispute.id)
        .limit(500)
    ).all()
    session.commit()
    for row in rows:
        try:
            told = open_gateway(settings, session, row.gateway).fetch_dispute(row.provider_dispute_id)
            if told is not None:
                done["moved"] += apply(session, told, row.gateway) == "moved"
            done["alerted"] += _alert(session, row.id)
            session.commit()
            done["checked"] += 1
        except Exception as error:
            session.rollback()
            log.warning("dispute_watch_failed", dispute=row.id, error=type(error).__name__)
            done["failed"] += 1
    return done


def _alert(session: Session, dispute_id: int) -> int:
    row = session.scalars(select(Dispute).where(Dispute.id == dispute_id).with_for_update()).one()
    if row.status not in ANSWERABLE or row.due_by is None:
        return 0
    left = row.due_by - clock.now()
    if left <= dt.timedelta(hours=12) and row.alerted_12_at is None:
        row.alerted_12_at = row.alerted_48_at = clock.now()
        hours = 12
    elif left <= dt.timedelta(hours=48) and row.alerted_48_at is None:
        row.alerted_48_at = clock.now()
        hours = 48
    else:
        return 0
    tell_admins(
        session,
        "dispute.due",
        f"Answer a dispute about {money(row.amount_paise)} within {hours} hours",
        [
            f"Dispute {row.provider_dispute_id} at {row.gateway} must be answered by "
            f"{row.due_by.astimezone(clock.IST):%d %B %Y, %H:%M} IST. Unanswered it is lost."
        ],
        row,
    )
    return 1


def tell_admins(session: Session, kind: str, title: str, lines: list[str], row: Dispute) -> None:
    """Bell and mail to every ADMIN."""
    people = session.execute(
        select(User.id, User.email, User.first_name).where(
            User.platform_role == PlatformRole.ADMIN, User.active
        )
    ).all()
    for person in people:
        terms_notices.tell_one(
            session,
            person,
            kind,
            title,
            lines,
            path=f"/admin/disputes/{row.public_id}",
            button="Open the dispute",
        )


# ---- telling and showing ---------------------------------------------------------------------------------------------


def _tell_opened(session: Session, row: Dispute, about: dispute_subjects.Found) -> None:
    amount = money(row.amount_paise)
    _record(session, row, "DISPUTE_OPENED", f"A dispute about {amount} was opened: {about.title}"[:300])
    tell_admins(
        session,
        "dispute.opened",
        f"A dispute about {amount} was opened",
        [f"{about.title}. The bank says: {row.reason or 'no reason'}."],
        row,
    )
    if row.organization_id is not None:
        with acting(session, scope="org", org_id=row.organization_id, user_id=None):
            wallet_notices.tell(
                session,
                row.organization_id,
                "dispute.opened",
                f"A payment of {amount} is disputed",
                f"{about.title}. The platform answers the bank; you see how it goes under Disputes.",
                page="disputes",
                button="See disputes",
            )


def _tell_closed(session: Session, row: Dispute) -> None:
    if row.organization_id is None:
        return
    with acting(session, scope="org", org_id=row.organization_id, user_id=None):
        wallet_notices.tell(
            session,
            row.organization_id,
            "dispute.closed",
            f"The dispute about {money(row.amount_paise)} is {_words(row.status)}",
            page="disputes",
            button="See disputes",
        )


def _words(status: DisputeStatus) -> str:
    return status.value.replace("_", " ").lower()


def _record(
    session: Session, row: Dispute, action: str, says: str, category: AuditCategory = AuditCategory.WALLET
) -> None:
    if row.organization_id is None:
        return
    with acting(session, scope="org", org_id=row.organization_id):
        audit.record(
            session,
            category,
            action,
            says,
            target_type="dispute",
            target_id=row.public_id,
            amount_paise=row.amount_paise,
            status=row.status.value,
        )


def title_of(session: Session, row: Dispute) -> str:
    """What the disputed money paid for."""
    if row.payment_id is not None:
        found = session.scalar(
            select(Payment.description).where(Payment.id == row.payment_id),
            execution_options={"skip_tenancy": True},
        )
        return found or "A booking"
    return {"top_up": "Credits bought", "invoice": "An invoice"}.get(
        row.subject, "Money that matched nothing"
    )


def view(row: Dispute) -> dict[str, Any]:
    """A dispute as the API shows it."""
    return {
        "id": str(row.public_id),
        "subject": row.subject,
        "subject_id": row.subject_id,
        "provider_dispute_id": row.provider_dispute_id,
        "amount_paise": row.amount_paise,
        "posted_paise": row.posted_paise,
        "phase": row.phase,
        "status": row.status.value,
        "reason": row.reason,
        "due_by": row.due_by.isoformat() if row.due_by else None,
        "opened_at": row.opened_at.isoformat(),
        "closed_at": row.closed_at.isoformat() if row.closed_at else None,
        "answered_at": row.answered_at.isoformat() if row.answered_at else None,
    }
