"""Freezing a wallet's spending and opening it again (chapter 2, "Integrity"): the reconciler freezes, ADMIN unfreezes."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import AuditCategory, BillingAccount, FundingSource
from app.security.context import acting, ctx
from app.services import audit, wallet_notices
from app.services.text import paragraphs


def switch(session: Session, organization_id: int, frozen: bool, reason: str) -> BillingAccount:
    """Freeze or unfreeze the wallet of an organisation (inner id), ADMIN. Top-ups arrive either way.

    Raises INSUFFICIENT_ROLE, Invalid, FUNDING_SOURCE_MISMATCH (no wallet), ILLEGAL_TRANSITION (it is so already).
    """
    if not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    why = paragraphs(reason or "")
    if not 10 <= len(why) <= 300:
        raise Invalid({"reason": ["Say why, in 10 to 300 characters."]})
    with acting(session, scope="org", org_id=organization_id):
        account = session.scalars(select(BillingAccount)).one_or_none()
        if account is None or account.funding_source != FundingSource.WALLET:
            raise DomainError("FUNDING_SOURCE_MISMATCH")
        done = session.execute(
            update(BillingAccount)
            .where(
                BillingAccount.id == account.id,
                BillingAccount.wallet_frozen_at.is_(None)
                if frozen
                else BillingAccount.wallet_frozen_at.is_not(None),
            )
            .values(wallet_frozen_at=clock.now() if frozen else None)
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
        if not done:
            raise DomainError("ILLEGAL_TRANSITION", frozen=not frozen)
        session.refresh(account)
        audit.record(
            session,
            AuditCategory.WALLET,
            "WALLET_FROZEN" if frozen else "WALLET_UNFROZEN",
            "Spending from the wallet was frozen" if frozen else "The wallet may be spent again",
            target_type="billing_account",
            target_id=account.public_id,
            reason=why,
        )
        title = "Spending from the wallet is frozen" if frozen else "The wallet may be spent again"
        wallet_notices.tell(session, organization_id, "wallet.frozen", title, why)
    return account
