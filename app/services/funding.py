"""Changing how an organisation pays (chapter 2, 2.4): at once when nothing is open, else as soon as nothing is.

What is open is said with the request. The daily job looks again and applies the change the first night that everything
under the old source is settled. Nothing is converted, lost or moved.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.logs import log
from app.models import (
    AuditCategory,
    BillingAccount,
    DomainClaim,
    FundingSource,
    Invoice,
    LegSource,
    Organization,
    OrgRole,
    OrgStatus,
    Payment,
    PaymentLeg,
    PaymentStatus,
    Program,
    ProgramStatus,
    ProgramType,
    RefundStatus,
    TopUpRefund,
    TopUpStatus,
    WalletTopUp,
)
from app.security.context import acting, ctx
from app.services import accruals, audit, org_notices, outbox, wallets, wind_down
from app.services.programs import POOL_FUNDING, SEAT_FUNDING
from app.services.wind_down import amount, counted

ACCRUALS = (LegSource.INVOICE_ACCRUAL, LegSource.OVERAGE_INVOICE_ACCRUAL)
WORDS = {
    "wallet_balance_paise": "credits in the wallet",
    "pending_top_ups": "top-ups under way",
    "pending_payments": "payments under way",
    "pending_top_up_refunds": "refunds of credits under way",
    "shortfall_paise": "an amount owed from earlier refunds",
    "unbilled_accruals": "bookings not invoiced yet",
    "unpaid_invoices": "unpaid invoices",
    "incompatible_programs": "programs that need the present way of paying",
    "organization_not_active": "the organisation is not active",
    "domain_not_verified": "no verified domain, which invoices need",
}
_PLAIN: dict[str, Any] = {"synchronize_session": False}


def blockers(session: Session, account: BillingAccount, to: FundingSource) -> dict[str, int]:
    """What keeps the organisation acted for from paying by *to*: counts, the wallet in paise. Empty: nothing."""
    fits = [
        kind
        for kind, sources in (
            (ProgramType.CREDIT_POOL, POOL_FUNDING),
            (ProgramType.LICENSED_SEAT, SEAT_FUNDING),
        )
        if to in sources
    ]
    succeeded = select(Payment.id).where(
        Payment.status == PaymentStatus.SUCCEEDED, Payment.invoice_id.is_(None)
    )
    parts: dict[str, Any] = {
        "wallet_balance_paise": select(
            func.coalesce(func.sum(BillingAccount.wallet_balance_paise), 0)
        ).scalar_subquery(),
        "pending_top_ups": amount(WalletTopUp, WalletTopUp.status == TopUpStatus.PENDING),
        "pending_top_up_refunds": amount(TopUpRefund, TopUpRefund.status == RefundStatus.PENDING),
        "shortfall_paise": select(
            func.coalesce(func.sum(BillingAccount.shortfall_paise), 0)
        ).scalar_subquery(),
        "pending_payments": amount(Payment, Payment.status == PaymentStatus.PENDING),
        "unbilled_accruals": amount(
            PaymentLeg, PaymentLeg.source.in_(ACCRUALS), PaymentLeg.payment_id.in_(succeeded)
        ),
        "unpaid_invoices": amount(Invoice, accruals.unpaid()),
        "incompatible_programs": amount(
            Program, Program.status == ProgramStatus.ACTIVE, Program.type.not_in(fits)
        ),
    }
    found = counted(session, parts)
    if to == FundingSource.INVOICE and not _domain(session):
        found["domain_not_verified"] = 1
    return found


def _domain(session: Session) -> bool:
    return bool(
        session.scalar(
            select(exists().where(DomainClaim.verified_at.is_not(None), DomainClaim.lapsed_at.is_(None)))
        )
    )


def request(session: Session, to: str) -> tuple[BillingAccount, dict[str, int]]:
    """Pay by *to*: at once if nothing is open, else scheduled; returns the account and what is open. A second request
    replaces the first.

    Raises Invalid, SPONSOR_CAPABILITY_REQUIRED, DOMAIN_VERIFICATION_REQUIRED (INVOICE).
    """
    try:
        source = FundingSource(to)
    except ValueError:
        raise Invalid({"to": [f"Choose one of {', '.join(FundingSource)}."]}) from None
    wind_down.lock(session)
    account = _fresh(session)
    if source == account.funding_source:
        raise Invalid({"to": ["The organisation pays this way already."]})
    if source == FundingSource.INVOICE and not _domain(session):
        raise DomainError("DOMAIN_VERIFICATION_REQUIRED", message="Verify a domain first: invoices need one.")
    open_now = blockers(session, account, source)
    if not open_now:
        _apply(session, account, source)
        return account, {}
    if account.pending_funding_source == source:
        return account, open_now
    before = account.pending_funding_source
    account.pending_funding_source, account.funding_changes_on = source, clock.today_ist()
    session.flush()
    _record(
        session,
        account,
        "FUNDING_CHANGE_SCHEDULED",
        f"Payment by {_name(source)} was scheduled: it begins as soon as everything is settled.",
        before={"pending_funding_source": before.value if before else None},
        after={"pending_funding_source": source.value},
        open=open_now,
    )
    _tell(session, "scheduled", source, open_now)
    return account, open_now


def cancel(session: Session) -> BillingAccount:
    """Take a scheduled change back. Raises FUNDING_CHANGE_NOT_PENDING."""
    wind_down.lock(session)
    account = _fresh(session)
    source = account.pending_funding_source
    if source is None:
        raise DomainError("FUNDING_CHANGE_NOT_PENDING")
    account.pending_funding_source = account.funding_changes_on = None
    session.flush()
    _record(
        session,
        account,
        "FUNDING_CHANGE_CANCELLED",
        f"The scheduled change to {_name(source)} was taken back.",
        before={"pending_funding_source": source.value},
        after={"pending_funding_source": None},
    )
    return account


def apply_due(session: Session) -> dict[str, int]:
    """Apply every change that waits and has nothing open any more, one transaction each; wants job scope and commits."""
    done = {"applied": 0, "waiting": 0, "failed": 0}
    due = session.scalars(
        select(BillingAccount.organization_id)
        .where(BillingAccount.pending_funding_source.is_not(None))
        .order_by(BillingAccount.id)
    ).all()
    session.commit()
    for organization_id in due:
        try:
            with acting(session, scope="org", org_id=organization_id, user_id=None):
                outcome = _settle(session)
            session.commit()
            if outcome:
                done[outcome] += 1
        except SQLAlchemyError as error:
            session.rollback()
            log.warning("funding_change_failed", organization=organization_id, error=type(error).__name__)
            done["failed"] += 1
    return done


def _settle(session: Session) -> str:
    """Apply the change of the organisation acted for, or leave it waiting; "" where there is none any more."""
    organization = wind_down.lock(session)  # nothing new refers to it until this commits
    account = _fresh(session)
    source = account.pending_funding_source
    if source is None:
        return ""
    if organization.status != OrgStatus.ACTIVE or blockers(session, account, source):
        return "waiting"
    _apply(session, account, source)
    return "applied"


def _apply(session: Session, account: BillingAccount, source: FundingSource) -> None:
    before = account.funding_source
    session.execute(
        update(BillingAccount)
        .where(BillingAccount.id == account.id, BillingAccount.funding_source == before)
        .values(
            funding_source=source,
            pending_funding_source=None,
            funding_changes_on=None,
            wallet_balance_paise=0 if source == FundingSource.WALLET else None,
            credit_limit_paise=None,
            min_balance_paise=None,
            auto_top_up_enabled=False,
            auto_top_up_amount_paise=None,
            allow_member_top_up=False,
            mandate_id=None,
            mandate_gateway=None,
            mandate_status=None,
            mandate_max_paise=None,
        )
        .execution_options(**_PLAIN)
    )
    session.refresh(account)
    _record(
        session,
        account,
        "FUNDING_CHANGED",
        f"The organisation pays by {_name(source)} from today.",
        before={"funding_source": before.value},
        after={"funding_source": source.value},
    )
    org_notices.bump_members(session)
    _tell(session, "applied", source, {})


def _fresh(session: Session) -> BillingAccount:
    account = wallets.account(session)
    session.refresh(account, with_for_update=True)
    return account


def _name(source: FundingSource) -> str:
    return {"PERSONAL": "personal payment", "LICENSE": "licence"}.get(source.value, source.value.lower())


def open_words(left: dict[str, int]) -> list[str]:
    """What is open, as people read it."""
    return [WORDS[name] for name in left]


def _record(session: Session, account: BillingAccount, action: str, says: str, **details: Any) -> None:
    audit.record(
        session,
        AuditCategory.INVOICE,
        action,
        says,
        target_type="billing_account",
        target_id=account.public_id,
        **details,
    )


def _tell(session: Session, what: str, source: FundingSource, left: dict[str, int]) -> None:
    """Mail and bell for owners and billing administrators."""
    row = session.get_one(Organization, ctx().org_id)
    path = f"/dashboard/organization/{row.slug}/billing"
    titles = {
        "scheduled": f"{row.name} will pay by {_name(source)} once everything is settled",
        "applied": f"{row.name} now pays by {_name(source)}",
    }
    for person in org_notices.people(session, OrgRole.OWNER, OrgRole.BILLING_ADMIN):
        outbox.mail(
            session,
            person.email,
            "funding_change",
            name=person.first_name,
            organization=row.name,
            what=what,
            title=titles[what],
            source=_name(source),
            left=open_words(left),
            path=path,
        )
        outbox.notify(session, person.id, "funding_change", titles[what], url=path)
