"""Automatic top-up: a wallet that falls below its minimum is filled from a mandate (chapter 2, 2.4; chapter 4, 4.7).

``ledger_post`` leaves a ``wallet_low`` message when a debit crosses the minimum; the daily job looks at what stays below.
One claim in 24 hours. Above ₹15,000 each charge needs the customer's own authentication (Reserve Bank), so it becomes a
payment request. Three failures in a row switch it off.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app import clock, faults
from app.errors import DomainError, Invalid
from app.gateways import Event, MandateChanged, Payer, PaymentFailed, open_gateway
from app.gateways.base import Refused
from app.logs import log
from app.models import (
    AuditCategory,
    BillingAccount,
    FundingSource,
    MandateStatus,
    Organization,
    OrgStatus,
    TopUpKind,
    TopUpStatus,
    User,
    WalletTopUp,
)
from app.security.context import acting, ctx
from app.services import audit, outbox, topups, wallet_notices, wallets
from app.services.text import money
from config import Settings

AGAIN_AFTER = dt.timedelta(hours=24)
WITHOUT_AUTHENTICATION = 1_500_000  # ₹15,000 (chapter 4, 4.7)
MOST_FAILURES = 3


# ---- the mandate -----------------------------------------------------------------------------------------------------


def request_mandate(
    session: Session, max_paise: int | None, settings: Settings
) -> tuple[BillingAccount, str]:
    """Ask the payer's bank for a mandate of up to *max_paise* a charge; returns the account and the page that grants it.

    A new request replaces the mandate before it. Raises FUNDING_SOURCE_MISMATCH, Invalid, the gateway's codes.
    """
    most = WITHOUT_AUTHENTICATION if max_paise is None else max_paise
    if not topups.MIN_PAISE <= most <= WITHOUT_AUTHENTICATION:
        raise Invalid(
            {"max_paise": ["From ₹100 to ₹15,000: above that every charge needs your confirmation."]}
        )
    account = wallets.wallet_of(session)
    session.refresh(account, with_for_update=True)
    org = session.get_one(Organization, account.organization_id)
    person = session.get_one(User, ctx().user_id)
    made = open_gateway(settings, session).create_mandate(
        key=f"mandate-{uuid.uuid4()}",
        payer=Payer(org.name, org.billing_email or person.email),
        max_paise=most,
        notes={"type": "mandate", "organization_id": str(org.public_id)},
        description=f"Automatic top-ups of {org.name}",
        return_url=f"{settings.base_url}/dashboard/organization/{org.slug}/wallet/automatic",
    )
    account.mandate_id, account.mandate_gateway = made.mandate_id, settings.gateway
    account.mandate_status, account.mandate_max_paise = MandateStatus(made.status.upper()), most
    if account.auto_top_up_enabled:
        account.auto_top_up_enabled = False  # until the new one is granted
    session.flush()
    _record(session, account, "MANDATE_REQUESTED", f"A mandate of up to {money(most)} a charge was asked for")
    return account, made.authorization_url or ""


def forget_mandate(session: Session) -> BillingAccount:
    """Stop charging: the mandate is forgotten and automatic top-up is off. Raises MANDATE_REQUIRED (none)."""
    account = wallets.wallet_of(session)
    session.refresh(account, with_for_update=True)
    if account.mandate_id is None:
        raise DomainError("MANDATE_REQUIRED")
    account.mandate_id = account.mandate_gateway = account.mandate_status = account.mandate_max_paise = None
    account.auto_top_up_enabled = False
    session.flush()
    _record(session, account, "MANDATE_REMOVED", "The mandate was removed; automatic top-up is off")
    return account


def mandate_changed(session: Session, event: MandateChanged, gateway: str, settings: Settings) -> str:
    """Apply a ``token.*``: the mandate as the provider sees it now. Wants job scope and commits."""
    account = session.scalars(
        select(BillingAccount).where(BillingAccount.mandate_id == event.mandate_id)
    ).one_or_none()
    if account is None:
        return "ignored"
    now = open_gateway(settings, session, gateway).fetch_mandate(event.mandate_id)
    status = MandateStatus((now.status if now else event.status).upper())
    with acting(session, scope="org", org_id=account.organization_id, user_id=None):
        session.refresh(account, with_for_update=True)
        if account.mandate_id != event.mandate_id or account.mandate_status == status:
            return "repeated"
        account.mandate_status = status
        session.flush()
        _record(session, account, f"MANDATE_{status.value}", f"The mandate is {status.value.lower()}")
        if status != MandateStatus.CONFIRMED and account.auto_top_up_enabled:
            _switch_off(session, account, f"the bank says the mandate is {status.value.lower()}")
    session.commit()
    return status.value.lower()


# ---- a wallet below its minimum --------------------------------------------------------------------------------------


def below(session: Session, organization_id: int, settings: Settings, *, crossing: bool) -> str:
    """React to a wallet below its minimum: tell finance, and fill it once in 24 hours if they want that.

    *crossing*: a debit has just taken it below; otherwise it stays there, and finance is told once a day at most.
    Returns what was done: nothing, told, asked (a payment request) or charging. Wants job scope and commits.
    """
    with acting(session, scope="org", org_id=organization_id, user_id=None):
        account = session.scalars(select(BillingAccount).with_for_update()).one_or_none()
        org = session.get_one(Organization, organization_id)
        if (
            account is None
            or account.funding_source != FundingSource.WALLET
            or account.min_balance_paise is None
            or (account.wallet_balance_paise or 0) >= account.min_balance_paise
            or org.status != OrgStatus.ACTIVE
        ):
            session.commit()
            return "nothing"
        now = clock.now()
        fired = _claim(session, account, now)
        told = account.low_balance_told_at
        if not fired and not crossing and told is not None and now - told < AGAIN_AFTER:
            session.commit()
            return "nothing"
        account.low_balance_told_at = now
        outbox.event(
            session,
            "wallet.low_balance",
            balance_paise=account.wallet_balance_paise,
            min_balance_paise=account.min_balance_paise,
        )
        outcome, line, button = "told", "Buy credits so that members can go on booking.", "Buy credits"
        page = "wallet"
        if fired:
            outcome, row = _fill(session, account, settings)
            if outcome == "asked" and row is not None:
                line = f"A top-up of {money(row.amount_paise)} waits for your payment: above ₹15,000, or without a mandate, every automatic debit needs you."
                page, button = f"wallet/top-ups/{row.public_id}", "Pay now"
            else:
                line = f"{money(account.auto_top_up_amount_paise or 0)} are being charged to the mandate."
                button = "See the credit ledger"
        wallet_notices.tell(
            session,
            organization_id,
            "wallet.low_balance",
            f"The wallet of {org.name} is down to {money(account.wallet_balance_paise or 0)}",
            f"That is below the minimum of {money(account.min_balance_paise)}. {line}",
            page=page,
            button=button,
        )
    session.commit()
    return outcome


def _claim(session: Session, account: BillingAccount, now: dt.datetime) -> bool:
    done = session.execute(
        update(BillingAccount)
        .where(
            BillingAccount.id == account.id,
            BillingAccount.auto_top_up_enabled,
            or_(
                BillingAccount.auto_top_up_last_fired_at.is_(None),
                BillingAccount.auto_top_up_last_fired_at <= now - AGAIN_AFTER,
            ),
        )
        .values(auto_top_up_last_fired_at=now)
        .execution_options(synchronize_session=False)
    ).rowcount  # type: ignore[attr-defined]
    session.refresh(account)
    return bool(done)


def _fill(session: Session, account: BillingAccount, settings: Settings) -> tuple[str, WalletTopUp | None]:
    amount = account.auto_top_up_amount_paise or 0
    most = min(WITHOUT_AUTHENTICATION, account.mandate_max_paise or 0)
    if account.mandate_status != MandateStatus.CONFIRMED or amount > most:
        return "asked", topups.create(session, amount, settings, kind=TopUpKind.AUTO)
    row = topups.prepare(session, account, amount, settings, TopUpKind.AUTO, account.mandate_gateway)
    outbox.put(session, "charge_mandate", {"top_up_id": str(row.public_id)})
    return "charging", row


def charge(session: Session, public_id: uuid.UUID, settings: Settings) -> str:
    """Charge the mandate for an AUTO top-up, once per its receipt; safe to repeat. Wants job scope and commits.

    Returns paid, waiting or failed. Raises the gateway's codes when nobody knows, to be tried again.
    """
    row = session.scalars(select(WalletTopUp).where(WalletTopUp.public_id == public_id)).one()
    if row.status != TopUpStatus.PENDING or row.captured_at is not None:
        return "paid" if row.captured_at else "failed"
    organization_id = row.organization_id
    with acting(session, scope="org", org_id=organization_id, user_id=None):
        account = session.get_one(BillingAccount, row.billing_account_id)
        org = session.get_one(Organization, organization_id)
        notes = topups.notes_of(session, row, org)
        mandate = account.mandate_id
    try:
        if mandate is None:
            raise Refused("no_mandate")
        order = open_gateway(settings, session, row.gateway).charge_mandate(
            mandate_id=mandate,
            receipt=str(row.public_id),
            amount_paise=row.amount_paise,
            notes=notes,
            description=f"Credits for {org.name}",
        )
    except Refused as error:
        return failed(session, row.id, error.reason)
    faults.trip("mandate_charged")
    with acting(session, scope="org", org_id=organization_id, user_id=None):
        session.execute(
            update(WalletTopUp)
            .where(WalletTopUp.id == row.id)
            .values(gateway_order_id=order.order_id)
            .execution_options(synchronize_session=False)
        )
    session.commit()
    if order.status != "paid" or order.payment_id is None:
        return "waiting"
    event = Event("", "payment.captured", order.order_id, order.payment_id, order.captured_paise, order.notes)
    topups.captured(session, event, row.gateway)
    return "paid"


def payment_failed(session: Session, event: PaymentFailed, gateway: str, settings: Settings) -> str:
    """A declined charge of a mandate ends its top-up; of other orders it is only an attempt (2.7). Wants job scope."""
    row = session.scalars(
        select(WalletTopUp).where(
            WalletTopUp.gateway_order_id == event.order_id,
            WalletTopUp.kind == TopUpKind.AUTO,
            WalletTopUp.checkout_url.is_(None),
        )
    ).one_or_none()
    if row is None or not event.order_id:
        return "ignored"
    return failed(session, row.id, event.reason or "declined")


def failed(session: Session, top_up_id: int, reason: str) -> str:
    """The charge of an AUTO top-up failed: tell finance, and switch off after three in a row. Wants job scope, commits."""
    row = session.get_one(WalletTopUp, top_up_id)
    with acting(session, scope="org", org_id=row.organization_id, user_id=None):
        account = session.scalars(select(BillingAccount).with_for_update()).one()
        done = session.execute(
            update(WalletTopUp)
            .where(
                WalletTopUp.id == row.id,
                WalletTopUp.status == TopUpStatus.PENDING,
                WalletTopUp.captured_at.is_(None),
            )
            .values(status=TopUpStatus.FAILED, failure_code="MANDATE_DECLINED")
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
        if done:
            account.auto_top_up_failures += 1
            session.flush()
            _record(
                session,
                account,
                "WALLET_TOPUP_FAILED",
                f"An automatic top-up of {money(row.amount_paise)} was declined",
                reason=reason[:120],
            )
            if account.auto_top_up_failures >= MOST_FAILURES:
                _switch_off(session, account, "three charges in a row were declined")
            else:
                wallet_notices.tell(
                    session,
                    row.organization_id,
                    "wallet.auto_top_up_failed",
                    f"An automatic top-up of {money(row.amount_paise)} was declined",
                    "The bank did not allow the charge. Buy credits by hand, or look at the mandate.",
                    page="wallet/automatic",
                    button="Look at the mandate",
                )
    session.commit()
    return "failed"


def _switch_off(session: Session, account: BillingAccount, why: str) -> None:
    account.auto_top_up_enabled = False
    session.flush()
    _record(session, account, "AUTO_TOP_UP_DISABLED", f"Automatic top-up was switched off: {why}")
    wallet_notices.tell(
        session,
        account.organization_id,
        "wallet.auto_top_up_off",
        "Automatic top-up is off",
        f"It was switched off because {why}. The wallet is not filled by itself any more.",
        page="wallet/automatic",
        button="Look at the mandate",
    )


def sweep(session: Session, settings: Settings) -> dict[str, int]:
    """The daily look at wallets that stay below their minimum. Wants job scope and commits each."""
    done = {"charging": 0, "asked": 0, "told": 0, "failed": 0}
    ids = session.scalars(
        select(BillingAccount.organization_id)
        .where(
            BillingAccount.funding_source == FundingSource.WALLET,
            BillingAccount.wallet_balance_paise < BillingAccount.min_balance_paise,
        )
        .order_by(BillingAccount.id)
    ).all()
    session.commit()
    for organization_id in ids:
        try:
            outcome = below(session, organization_id, settings, crossing=False)
            if outcome in done:
                done[outcome] += 1
        except Exception as error:
            session.rollback()
            log.warning("auto_top_up_failed", organization=organization_id, error=type(error).__name__)
            done["failed"] += 1
    return done


def _record(session: Session, account: BillingAccount, action: str, says: str, **details: Any) -> None:
    audit.record(
        session,
        AuditCategory.WALLET,
        action,
        says,
        target_type="billing_account",
        target_id=account.public_id,
        **details,
    )
