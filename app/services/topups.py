"""Top-ups: money on its way into a wallet (chapter 2, 2.4). Only a gateway event or the sweep confirms one.

Two steps, so that a crash between them loses nothing: the capture is recorded and committed alone, then one transaction
claims the top-up, posts and credits.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app import clock, faults
from app.errors import DomainError, Invalid
from app.gateways import Event, open_gateway
from app.logs import log
from app.models import (
    AuditCategory,
    BillingAccount,
    FundingSource,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    TopUpKind,
    TopUpStatus,
    User,
    WalletTopUp,
)
from app.security.context import acting, ctx
from app.services import advances, audit, ledger, outbox, unapplied, wallets
from app.services import tax_vouchers as tax_vouchers  # registers the vouchers of advances
from app.services.booking_record import receipt_number
from app.services.text import money
from config import Settings

MIN_PAISE, MAX_PAISE = 10_000, 10_000_000_000  # ₹100 to ₹10 crore
REVIVED = ("UNPAID", "MANDATE_DECLINED")  # failures that a late capture undoes
UNPAID_AFTER, ASK_AFTER = dt.timedelta(hours=6), dt.timedelta(minutes=10)
FINANCE = (OrgRole.OWNER, OrgRole.BILLING_ADMIN)


def prepare(
    session: Session,
    account: BillingAccount,
    amount_paise: int,
    settings: Settings,
    kind: TopUpKind = TopUpKind.MANUAL,
    gateway: str | None = None,
) -> WalletTopUp:
    """The row of a top-up before its order, with its audit entry and what its receipt will print."""
    org = session.get_one(Organization, account.organization_id)
    row = WalletTopUp(
        billing_account_id=account.id,
        amount_paise=amount_paise,
        kind=kind,
        gst_mode=account.wallet_gst_mode,
        gateway=gateway or settings.gateway,
        requested_by_user_id=ctx().user_id if kind == TopUpKind.MANUAL else None,
        snapshot={
            "supplier": {
                "name": settings.supplier_name,
                "address": settings.supplier_address,
                "gstin": settings.supplier_gstin,
            },
            "recipient": {"name": org.name, "gstin": org.gstin, "state": org.gst_state_code},
        },
    )
    session.add(row)
    session.flush()
    by_itself = " by itself" if kind == TopUpKind.AUTO else ""
    audit.record(
        session,
        AuditCategory.WALLET,
        "WALLET_TOPUP",
        f"A top-up of {money(amount_paise)} was started{by_itself}",
        target_type="wallet_top_up",
        target_id=row.public_id,
        amount_paise=amount_paise,
    )
    session.flush()
    return row


def create(
    session: Session, amount_paise: int, settings: Settings, kind: TopUpKind = TopUpKind.MANUAL
) -> WalletTopUp:
    """Order a top-up of *amount_paise*; the row carries the hosted page's address.

    Raises FUNDING_SOURCE_MISMATCH (no wallet), Invalid (amount outside ₹100 to ₹10 crore), the gateway's codes.
    """
    if not MIN_PAISE <= amount_paise <= MAX_PAISE:
        raise Invalid({"amount_paise": ["Choose an amount from ₹100 to ₹10,00,00,000."]})
    account = wallets.wallet_of(session)
    org = session.get_one(Organization, account.organization_id)
    row = prepare(session, account, amount_paise, settings, kind)
    order = open_gateway(settings, session).create_order(
        receipt=str(row.public_id),
        amount_paise=amount_paise,
        notes=notes_of(session, row, org),
        description=f"Credits for {org.name}",
        return_url=f"{settings.base_url}/dashboard/organization/{org.slug}/wallet/top-ups/{row.public_id}",
    )
    row.gateway_order_id, row.checkout_url = order.order_id, order.checkout_url
    session.flush()
    return row


def notes_of(session: Session, row: WalletTopUp, org: Organization) -> dict[str, str]:
    """What the provider keeps beside the order of *row* (2.7): public ids only, compared when money arrives."""
    payer = session.scalar(select(User.public_id).where(User.id == row.requested_by_user_id))
    notes = {
        "type": "credit_purchase",
        "top_up_id": str(row.public_id),
        "organization_id": str(org.public_id),
        "user_id": str(payer or ""),
        "funding_source": FundingSource.WALLET.value,
    }
    return {name: value for name, value in notes.items() if value}


def view(row: WalletTopUp) -> dict[str, Any]:
    """A top-up as the API shows it."""
    return {
        "top_up_id": str(row.public_id),
        "order_id": row.gateway_order_id,
        "checkout_url": row.checkout_url,
        "amount_paise": row.amount_paise,
        "kind": row.kind.value,
        "refunded_paise": row.refunded_paise,
        "status": row.status.value,
        "failure_code": row.failure_code,
        "created_at": row.created_at.isoformat(),
        "confirmed_at": row.confirmed_at.isoformat() if row.confirmed_at else None,
        "receipt_number": row.receipt_number,
    }


def captured(session: Session, event: Event, gateway: str) -> str:
    """Apply a ``payment.captured`` of a top-up; returns what happened: confirmed, repeated, mismatch or unapplied.

    Wants job scope and commits. Money whose order or notes do not match goes to UNAPPLIED and back to the payer.
    """
    row = session.scalars(
        select(WalletTopUp).where(WalletTopUp.gateway_order_id == event.order_id)
    ).one_or_none() or _charged(session, event)
    if row is None or not event.payment_id or event.amount_paise is None:
        unapplied.receive(
            session, gateway, event.payment_id or "", event.amount_paise or 0, "UNKNOWN_ORDER", None
        )
        session.commit()
        return "unapplied"
    org = session.get_one(Organization, row.organization_id)
    expected = notes_of(session, row, org)
    differing = [name for name, value in expected.items() if event.notes.get(name) != value]
    if differing:
        reason = "ORG_MISMATCH" if "organization_id" in differing else "NOTES_MISMATCH"
        unapplied.receive(session, gateway, event.payment_id, event.amount_paise, reason, row.organization_id)
        session.commit()
        return "unapplied"
    if not _record_capture(session, row, event.payment_id, event.amount_paise):
        session.refresh(row)
        if row.gateway_payment_id != event.payment_id:
            unapplied.receive(
                session, gateway, event.payment_id, event.amount_paise, "PAID_TWICE", row.organization_id
            )
            session.commit()
            return "unapplied"
    faults.trip("topup_captured")
    return settle(session, row.id)


def _charged(session: Session, event: Event) -> WalletTopUp | None:
    """An AUTO top-up whose charge was told faster than it was answered: its order's id is not written down yet."""
    try:
        wanted = uuid.UUID(event.notes.get("top_up_id", ""))
    except ValueError:
        return None
    row = session.scalars(
        select(WalletTopUp).where(
            WalletTopUp.public_id == wanted,
            WalletTopUp.kind == TopUpKind.AUTO,
            WalletTopUp.gateway_order_id.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    with acting(session, scope="org", org_id=row.organization_id):
        session.execute(
            update(WalletTopUp)
            .where(WalletTopUp.id == row.id, WalletTopUp.gateway_order_id.is_(None))
            .values(gateway_order_id=event.order_id)
        )
        session.refresh(row)
    return row if row.gateway_order_id == event.order_id else None


def _record_capture(session: Session, row: WalletTopUp, payment_id: str, paise: int) -> bool:
    with acting(session, scope="org", org_id=row.organization_id):
        done = session.execute(
            update(WalletTopUp)
            .where(WalletTopUp.id == row.id, WalletTopUp.captured_at.is_(None))
            .values(captured_at=clock.now(), captured_paise=paise, gateway_payment_id=payment_id)
        ).rowcount  # type: ignore[attr-defined]
    session.commit()
    return bool(done)


def settle(session: Session, top_up_id: int) -> str:
    """Credit a captured top-up in one transaction, once. Wants job scope and commits."""
    session.expire_all()
    row = session.get_one(WalletTopUp, top_up_id)
    if row.captured_at is None or row.captured_paise is None or row.gateway_payment_id is None:
        raise DomainError("ILLEGAL_TRANSITION")
    with acting(session, scope="org", org_id=row.organization_id):
        funding = session.get_one(BillingAccount, row.billing_account_id).funding_source
        if row.captured_paise != row.amount_paise:
            outcome = _refuse(session, row, "AMOUNT_MISMATCH")
        elif funding != FundingSource.WALLET:  # changed while the payer took their time
            outcome = _refuse(session, row, "FUNDING_SOURCE_MISMATCH")
        else:
            outcome = _confirm(session, row)
    session.commit()
    return outcome


def _claim(session: Session, row: WalletTopUp, status: TopUpStatus, **values: Any) -> bool:
    return bool(
        session.execute(
            update(WalletTopUp)
            .where(
                WalletTopUp.id == row.id,
                WalletTopUp.confirmed_at.is_(None),
                (WalletTopUp.status == TopUpStatus.PENDING) | (WalletTopUp.failure_code.in_(REVIVED)),
            )
            .values(status=status, **values)
        ).rowcount  # type: ignore[attr-defined]
    )


def _confirm(session: Session, row: WalletTopUp) -> str:
    if not _claim(session, row, TopUpStatus.CONFIRMED, confirmed_at=clock.now(), failure_code=None):
        return "repeated"
    account = session.get_one(BillingAccount, row.billing_account_id)
    if account.shortfall_paise:  # only then two top-ups could pay the same debt
        session.refresh(account, with_for_update=True)
    legs = [ledger.debit(ledger.CASH, row.amount_paise)]
    owed = min(account.shortfall_paise, row.amount_paise)
    if owed:
        legs.append(ledger.credit(ledger.org_account("ORG_RECEIVABLE", row.organization_id), owed))
        account.shortfall_paise -= owed
    if row.amount_paise > owed:
        legs.append(ledger.credit(ledger.org_account("WALLET", row.organization_id), row.amount_paise - owed))
    ledger.post(
        session,
        f"topup:{row.gateway_order_id}",
        "TOPUP",
        legs,
        organization_id=row.organization_id,
        description="Credits bought",
        top_up=str(row.public_id),
    )
    if row.kind == TopUpKind.AUTO:
        account.auto_top_up_failures = 0
    session.refresh(row)
    row.receipt_number = receipt_number(row.public_id, clock.now())
    session.flush()
    advances.arrived(session, row)
    session.refresh(account)
    outbox.event(
        session,
        "wallet.topped_up",
        top_up_id=str(row.public_id),
        amount_paise=row.amount_paise,
        balance_paise=account.wallet_balance_paise,
        kind=row.kind.value,
    )
    rupees = money(row.amount_paise)
    audit.record(
        session,
        AuditCategory.WALLET,
        "WALLET_TOPUP_CONFIRMED",
        f"{rupees} arrived in the wallet",
        target_type="wallet_top_up",
        target_id=row.public_id,
        amount_paise=row.amount_paise,
    )
    _tell(session, row, "wallet.topped_up", f"{rupees} arrived in the wallet", "top_up_confirmed", rupees)
    return "confirmed"


def _refuse(session: Session, row: WalletTopUp, reason: str) -> str:
    if not _claim(session, row, TopUpStatus.FAILED, failure_code=reason):
        return "repeated"
    rupees = money(row.captured_paise or 0)
    audit.record(
        session,
        AuditCategory.WALLET,
        "WALLET_TOPUP",
        f"A top-up failed: {rupees} came instead of the amount ordered"
        if reason == "AMOUNT_MISMATCH"
        else f"A top-up failed: {rupees} came and there is no wallet any more",
        target_type="wallet_top_up",
        target_id=row.public_id,
        captured_paise=row.captured_paise,
    )
    _tell(
        session, row, "wallet.top_up_failed", "A top-up failed and is being refunded", "top_up_failed", rupees
    )
    with acting(session, scope="job", org_id=None):
        unapplied.receive(
            session,
            row.gateway,
            row.gateway_payment_id or "",
            row.captured_paise or 0,
            reason,
            row.organization_id,
        )
    return "mismatch"


def sweep(session: Session, settings: Settings) -> dict[str, int]:
    """Finish what a lost webhook or a crash left: captured but uncredited, unanswered, and unpaid for six hours.

    Wants job scope and commits row by row; one failing row does not stop the others.
    """
    done = {"confirmed": 0, "expired": 0, "failed": 0}
    now = clock.now()
    waiting = session.execute(
        select(
            WalletTopUp.id,
            WalletTopUp.organization_id,
            WalletTopUp.captured_at,
            WalletTopUp.gateway,
            WalletTopUp.gateway_order_id,
            WalletTopUp.created_at,
        )
        .where(
            or_(
                WalletTopUp.status == TopUpStatus.PENDING,
                # a late capture that a crash left uncredited
                WalletTopUp.failure_code.in_(REVIVED) & WalletTopUp.captured_at.is_not(None),
            )
        )
        .order_by(WalletTopUp.id)
        .limit(1000)
    ).all()
    session.commit()
    for item in waiting:
        try:
            if item.captured_at is None and item.gateway_order_id is None:
                continue  # a charge of a mandate that nobody answered: the outbox repeats it
            if item.captured_at is None and now - item.created_at >= ASK_AFTER:
                order = open_gateway(settings, session, item.gateway).fetch_order(item.gateway_order_id or "")
                if order is not None and order.status == "paid" and order.payment_id:
                    event = Event(
                        "",
                        "payment.captured",
                        order.order_id,
                        order.payment_id,
                        order.captured_paise,
                        order.notes,
                    )
                    done["confirmed"] += captured(session, event, item.gateway) == "confirmed"
                    continue
                if now - item.created_at >= UNPAID_AFTER:
                    with acting(session, scope="org", org_id=item.organization_id):
                        done["expired"] += session.execute(
                            update(WalletTopUp)
                            .where(
                                WalletTopUp.id == item.id,
                                WalletTopUp.status == TopUpStatus.PENDING,
                                WalletTopUp.captured_at.is_(None),
                            )
                            .values(status=TopUpStatus.FAILED, failure_code="UNPAID")
                        ).rowcount  # type: ignore[attr-defined]
                    session.commit()
            elif item.captured_at is not None:
                done["confirmed"] += settle(session, item.id) == "confirmed"
        except Exception as error:
            session.rollback()
            log.warning("top_up_sweep_failed", top_up=item.id, error=type(error).__name__)
            done["failed"] += 1
    return done


def _tell(session: Session, row: WalletTopUp, kind: str, title: str, template: str, rupees: str) -> None:
    """Bell and mail to owners and billing administrators (chapter 3, 3.9)."""
    org = session.get_one(Organization, row.organization_id)
    people = session.execute(
        select(User.id, User.email, User.first_name)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.organization_id == row.organization_id,
            Membership.status == MembershipStatus.ACTIVE,
            Membership.role.in_(FINANCE),
        )
    ).all()
    balance = session.scalar(
        select(BillingAccount.wallet_balance_paise).where(BillingAccount.id == row.billing_account_id)
    )
    for person in people:
        outbox.notify(
            session,
            person.id,
            kind,
            title,
            org.name,
            f"/dashboard/organization/{org.slug}/wallet",
            routed=True,
        )
        outbox.mail(
            session,
            person.email,
            template,
            routed_for=person.id,
            name=person.first_name,
            organization=org.name,
            amount=rupees,
            balance=money(balance or 0),
            path=f"/dashboard/organization/{org.slug}/wallet",
        )
