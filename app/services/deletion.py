"""Deleting an organisation, three ways (chapter 1, "Images, settings, deletion, directory"; docs/decisions/0006).

Obligations refuse it; a settled history keeps it, deactivated and without the contacts' data; an untouched one is
removed with everything it set up. The audit log outlives it: it is append-only, for this too.

Every table with a reference to ``organization`` stands on exactly one of the lists below; a test fails on one that is
missing. Whoever adds a table of money adds its open state to ``_obligations`` and the table to ``HISTORY``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask_appbuilder.security.sqla.models import ApiKey
from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError
from app.models import (
    Appointment,
    Assignment,
    AuditCategory,
    BillingAccount,
    BillingProfile,
    BillingSubscription,
    BookingUtilization,
    CancellationPolicy,
    ChatChannel,
    ConsultantEarning,
    Contract,
    ContractStatus,
    CreditNote,
    CreditNoteLine,
    DiscountCode,
    Dispute,
    DocumentCounter,
    DocumentFile,
    DomainClaim,
    EInvoice,
    ErasedIdentity,
    Event,
    EventSession,
    IdempotencyKey,
    ImportBatch,
    ImportRow,
    Invitation,
    InvitationStatus,
    Invoice,
    InvoiceLine,
    InvoiceReceipt,
    InvoiceRefund,
    LedgerAccount,
    LedgerBalance,
    LedgerEntry,
    LedgerReconciliationReport,
    LedgerTransaction,
    LegSource,
    MailMessage,
    ManualPosting,
    MemberRequest,
    Membership,
    MembershipStatus,
    Notification,
    Organization,
    OrganizationEarning,
    OrgApiKey,
    OrgRole,
    OrgStatus,
    OutboxMessage,
    OverageEvent,
    Payment,
    PaymentLeg,
    PaymentStatus,
    Plan,
    PlanCollaborator,
    Program,
    PurchaseOrder,
    PurchaseOrderStatus,
    RateCard,
    Refund,
    RequestStatus,
    SavedView,
    ScimEmail,
    ScimEvent,
    ScimGroup,
    ScimGroupMapping,
    ScimGroupMember,
    ScimProfile,
    ScimToken,
    ScimTotal,
    SsoAttempt,
    SsoCertificate,
    SsoIdentity,
    SsoProvider,
    SsoRecoveryCode,
    SsoSeen,
    SsoSettings,
    SsoSetupLink,
    StaffNote,
    SupportAccess,
    SystemEvent,
    TaxVoucher,
    TopUpRefund,
    TopUpStatus,
    Trial,
    UnappliedReceipt,
    UsageLedgerEntry,
    VerificationMessage,
    WaitlistEntry,
    WalletTopUp,
)
from app.security.context import acting, ctx
from app.services import accruals, audit, org_notices, org_status, outbox, wind_down
from app.services.member_rules import recompute_independence
from app.services.wind_down import amount

# a row in one of these is history: the organisation is kept, deactivated
HISTORY: dict[str, Any] = {
    "bookings": Appointment,
    "payments": Payment,
    "payment_legs": PaymentLeg,
    "top_ups": WalletTopUp,
    "contracts": Contract,
    "licences": BillingSubscription,
    "programs": Program,
    "assignments": Assignment,
    "usage": UsageLedgerEntry,
    "overages": OverageEvent,
    "utilizations": BookingUtilization,
    "plans": Plan,
    "earnings": ConsultantEarning,
    "host_earnings": OrganizationEarning,
    "refunds": Refund,
    "top_up_refunds": TopUpRefund,
    "disputes": Dispute,
    "manual_postings": ManualPosting,
    "collaborators": PlanCollaborator,
    "events": Event,
    "event_sessions": EventSession,
    "waitlist": WaitlistEntry,
    "trials": Trial,
    "discount_codes": DiscountCode,
    "purchase_orders": PurchaseOrder,
    "invoices": Invoice,
    "invoice_lines": InvoiceLine,
    "invoice_receipts": InvoiceReceipt,
    "invoice_refunds": InvoiceRefund,
    "credit_notes": CreditNote,
    "credit_note_lines": CreditNoteLine,
    "tax_vouchers": TaxVoucher,
    "einvoices": EInvoice,
    "document_files": DocumentFile,
    "document_counters": DocumentCounter,
    "ledger_accounts": LedgerAccount,
    "ledger_transactions": LedgerTransaction,
    "ledger_entries": LedgerEntry,
    "ledger_balances": LedgerBalance,
    "unapplied_receipts": UnappliedReceipt,
}
# what an untouched organisation set up: removed with it, in this order
SET_UP: tuple[Any, ...] = (
    ImportRow,
    ImportBatch,
    MemberRequest,
    OrgApiKey,
    ScimEvent,
    ScimGroupMember,
    ScimGroupMapping,
    ScimGroup,
    ScimEmail,
    ScimProfile,
    ScimToken,
    ErasedIdentity,
    SupportAccess,
    VerificationMessage,
    ChatChannel,
    RateCard,
    CancellationPolicy,
    Invitation,
    SsoAttempt,
    SsoSeen,
    SsoIdentity,
    SsoCertificate,
    SsoSetupLink,
    SsoRecoveryCode,
    SsoProvider,
    SsoSettings,
    DomainClaim,
    BillingProfile,
    BillingAccount,
    Membership,
    ScimTotal,  # after the memberships, whose triggers count in it
    IdempotencyKey,
)
# rows of the machinery that only mention it: they stay and forget it
MENTIONS: tuple[Any, ...] = (OutboxMessage, MailMessage, SystemEvent, LedgerReconciliationReport)
# personal labels and staff's own: removed, outside the organisation's scope
LABELS: tuple[Any, ...] = (Notification, SavedView)
ACCRUALS = (LegSource.INVOICE_ACCRUAL,)
OVERAGES = (LegSource.OVERAGE_INVOICE_ACCRUAL,)


@dataclass(frozen=True)
class Preview:
    """What a deletion would do now. *outcome*: REFUSED, DEACTIVATED or DELETED; counts are never zero."""

    outcome: str
    obligations: dict[str, Any]
    history: dict[str, Any]
    members: int
    invitations: int
    children: int  # organisations right below it


def _obligations(session: Session) -> dict[str, Any]:
    """What is still open, counts by kind; amounts in paise end in _paise."""
    succeeded = select(Payment.id).where(
        Payment.status == PaymentStatus.SUCCEEDED, Payment.invoice_id.is_(None)
    )
    active_po = PurchaseOrder.status == PurchaseOrderStatus.ACTIVE

    def legs(sources: tuple[LegSource, ...]) -> Any:
        return amount(PaymentLeg, PaymentLeg.source.in_(sources), PaymentLeg.payment_id.in_(succeeded))

    unsettled = wind_down.unsettled_earnings(session, paid=True)
    found = wind_down.counted(
        session,
        {
            "open_contracts": amount(Contract, Contract.status == ContractStatus.ACTIVE),
            "purchase_order_balance_paise": select(func.coalesce(func.sum(PurchaseOrder.remaining_paise), 0))
            .where(active_po)
            .scalar_subquery(),
            "wallet_balance_paise": select(
                func.coalesce(func.sum(BillingAccount.wallet_balance_paise), 0)
            ).scalar_subquery(),
            "pending_top_ups": amount(WalletTopUp, WalletTopUp.status == TopUpStatus.PENDING),
            "pending_payments": amount(Payment, Payment.status == PaymentStatus.PENDING),
            "unpaid_invoices": amount(Invoice, accruals.unpaid()),
            "unbilled_accruals": legs(ACCRUALS),
            "open_overages": legs(OVERAGES),
            "upcoming_sessions": wind_down.upcoming_sessions(),
            "open_balances": select(func.count())
            .select_from(LedgerBalance)
            .join(LedgerAccount, LedgerAccount.id == LedgerBalance.account_id)
            .where(
                LedgerBalance.organization_id == ctx().org_id,
                LedgerBalance.balance_paise != 0,
                LedgerAccount.kind != "WALLET",
            )
            .scalar_subquery(),
        },
    )
    return {**found, **({"unsettled_earnings": unsettled} if unsettled else {})}


def _history(session: Session) -> dict[str, Any]:
    """Which kinds of history the organisation acted for has, 1 a kind; also those it does not see itself."""
    org = ctx().org_id
    with acting(session, scope="platform"):
        return wind_down.counted(
            session,
            {
                name: select(func.count())
                .where(exists().where(model.organization_id == org))
                .scalar_subquery()
                for name, model in HISTORY.items()
            },
        )


def preview(session: Session) -> Preview:
    """What deleting the organisation acted for would do now; nothing is locked."""
    open_now, past = _obligations(session), _history(session)
    members, invited = session.execute(
        select(
            amount(Membership, Membership.status == MembershipStatus.ACTIVE),
            amount(Invitation, Invitation.status == InvitationStatus.PENDING),
        )
    ).one()
    below = Organization.parent_id == ctx().org_id
    with acting(session, scope="platform"):
        children = session.scalar(select(func.count(Organization.id)).where(below)) or 0
    outcome = "REFUSED" if open_now else "DEACTIVATED" if past else "DELETED"
    return Preview(outcome, open_now, past, members, invited, children)


def delete_organization(session: Session) -> Preview:
    """Delete the organisation acted for, as far as its past allows; members are told and their sessions bumped.

    Returns what was done. Raises OWNER_REQUIRED, NOT_FOUND, ORG_NOT_ACTIVE, WIND_DOWN_REQUIRED with counts.
    """
    if ctx().role != OrgRole.OWNER and not ctx().is_admin:
        raise DomainError("OWNER_REQUIRED")
    from app.services import hierarchy  # late: it imports services that may import this one

    hierarchy.lock(session)  # before the organisation's row, as a move takes them
    row = wind_down.lock(session)
    org_status.require(row.status, "organization", "delete")
    found = preview(session)
    if found.obligations:
        raise DomainError("WIND_DOWN_REQUIRED", **found.obligations)
    hierarchy.orphan_children(session, row.id)  # they become roots (chapter 1, "Beyond the original" 1)
    people = org_notices.people(session)
    experts = session.scalars(
        select(Membership.user_id).where(
            Membership.role == OrgRole.EXPERT, Membership.status == MembershipStatus.ACTIVE
        )
    ).all()
    org_notices.bump_members(session)
    if found.outcome == "DEACTIVATED":
        _deactivate(session, row)
    else:
        _remove(session, row)
        for user_id in experts:
            recompute_independence(session, user_id)
    _tell(session, people, row.name, kept=found.outcome == "DEACTIVATED")
    return found


def _deactivate(session: Session, row: Organization) -> None:
    """Keep the books and the tax identity; take away contacts, open offers, keys and domains."""
    now = clock.now()
    done = session.execute(
        update(Organization)
        .where(Organization.id == row.id, Organization.status == row.status)
        .values(
            status=OrgStatus.DEACTIVATED,
            deleted_at=now,
            billing_email=None,
            contacts={},
            is_public=False,
            parent_id=None,
            root_id=row.id,
            depth=0,
            verification_rejected_at=None,
            verification_info_requested_at=None,
            version=Organization.version + 1,
        )
        .returning(Organization.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    if done is None:
        raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
    plain = {"synchronize_session": False}
    session.execute(
        update(Invitation)
        .where(Invitation.status == InvitationStatus.PENDING)
        .values(status=InvitationStatus.CANCELED)
        .execution_options(**plain)
    )
    for uploaded in (ImportRow, ImportBatch):  # names and addresses of people who may never have joined
        session.execute(delete(uploaded).execution_options(**plain))
    session.execute(
        update(MemberRequest)
        .where(MemberRequest.status == RequestStatus.PENDING)
        .values(status=RequestStatus.CANCELED)
        .execution_options(**plain)
    )
    keys = session.scalars(
        update(OrgApiKey)
        .where(OrgApiKey.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(OrgApiKey.api_key_id)
        .execution_options(**plain)
    ).all()
    session.execute(
        update(ApiKey)
        .where(ApiKey.id.in_(keys))
        .values(active=False, revoked_on=now.replace(tzinfo=None))
        .execution_options(**plain)
    )
    session.execute(
        update(SupportAccess)
        .where(SupportAccess.ended_at.is_(None))
        .values(ended_at=now)
        .execution_options(**plain)
    )
    session.execute(
        update(DomainClaim)
        .where(DomainClaim.lapsed_at.is_(None))
        .values(lapsed_at=now)
        .execution_options(**plain)
    )
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "ORG_SOFT_DELETED",
        f"{row.name} was deleted; its books are kept.",
        target_type="organization",
        target_id=row.public_id,
    )
    session.flush()
    session.refresh(row)


def _remove(session: Session, row: Organization) -> None:
    """Everything it set up, then the row itself. A table nobody listed refuses by its foreign key."""
    audit.record(
        session,
        AuditCategory.SYSTEM,
        "ORG_DELETED",
        f"{row.name} ({row.slug}) was deleted; it had no history.",
        target_type="organization",
        target_id=row.public_id,
        name=row.name,
        slug=row.slug,
    )
    session.flush()
    key, plain = row.id, {"synchronize_session": False}
    with acting(session, scope="platform"):
        session.execute(
            delete(StaffNote).where(StaffNote.about_organization_id == key).execution_options(**plain)
        )
    with acting(session, scope="job"):
        for model in LABELS:
            session.execute(delete(model).where(model.organization_id == key).execution_options(**plain))
        for model in MENTIONS:
            session.execute(
                update(model)
                .where(model.organization_id == key)
                .values(organization_id=None)
                .execution_options(**plain)
            )
    keys = session.scalars(select(OrgApiKey.api_key_id)).all()
    for model in SET_UP:
        session.execute(delete(model).where(model.organization_id == key).execution_options(**plain))
    session.execute(delete(ApiKey).where(ApiKey.id.in_(keys)).execution_options(**plain))
    session.expunge(row)
    session.execute(delete(Organization).where(Organization.id == key).execution_options(**plain))


def _tell(session: Session, people: Any, name: str, *, kept: bool) -> None:
    """A mail and a bell entry for everybody who was a member, outside the organisation's scope: it may be gone."""
    with acting(session, org_id=None, membership_id=None, role=None):
        for person in people:
            outbox.mail(
                session, person.email, "org_deleted", name=person.first_name, organization=name, kept=kept
            )
            outbox.notify(session, person.id, "org_deleted", f"{name} was deleted", url="/dashboard")
