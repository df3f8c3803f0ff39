"""Billing accounts and the credit ledger: a read-only view over the journal (chapter 2, 2.4)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    BillingAccount,
    FundingSource,
    LedgerEntry,
    LedgerTransaction,
    MandateStatus,
    OrgStatus,
    TopUpStatus,
    WalletTopUp,
)
from app.security.context import ctx
from app.services import audit, ledger

MAX_PAGE = 100
MOST, MOST_OF_KIND = 10_001, 1_001  # what is counted; one more than is shown
_WALLET_FIELDS = frozenset(
    {
        "min_balance_paise",
        "allow_member_top_up",
        "auto_top_up_enabled",
        "auto_top_up_amount_paise",
        "wallet_gst_mode",
    }
)
_INVOICE_FIELDS = frozenset({"credit_limit_paise"})
KINDS = {
    "TOPUP": "Top-up",
    "BOOKING": "Booking",
    "TOPUP_REFUND": "Top-up refund",
    "REFUND": "Refund",
    "GRANT": "Grant",
    "WALLET_HOLD": "Hold",
    "WALLET_RELEASE": "Release",
    "ADJUSTMENT": "Adjustment",
    "CHARGEBACK": "Chargeback",
}


def account(session: Session) -> BillingAccount:
    """The billing account of the organisation acted for. Raises SPONSOR_CAPABILITY_REQUIRED where there is none."""
    row = session.scalars(select(BillingAccount)).one_or_none()
    if row is None:
        raise DomainError("SPONSOR_CAPABILITY_REQUIRED")
    return row


def wallet_of(session: Session) -> BillingAccount:
    """The billing account if it is a wallet. Raises FUNDING_SOURCE_MISMATCH."""
    row = account(session)
    if row.funding_source != FundingSource.WALLET:
        raise DomainError("FUNDING_SOURCE_MISMATCH", funding_source=row.funding_source.value)
    return row


def change(session: Session, values: dict[str, Any]) -> BillingAccount:
    """PATCH of the billing account: fields of another source are refused, raising the credit limit is ADMIN's.

    Raises FUNDING_SOURCE_MISMATCH, INSUFFICIENT_ROLE, Invalid.
    """
    row = account(session)
    others = {
        FundingSource.WALLET: _INVOICE_FIELDS,
        FundingSource.INVOICE: _WALLET_FIELDS,
    }.get(row.funding_source, _WALLET_FIELDS | _INVOICE_FIELDS)
    foreign = set(values) & others
    if foreign:
        raise DomainError("FUNDING_SOURCE_MISMATCH", fields=sorted(foreign))
    if "credit_limit_paise" in values:
        new, old = values["credit_limit_paise"], row.credit_limit_paise
        raised = old is not None and (new is None or new > old)
        if raised and not ctx().is_admin:
            raise DomainError("INSUFFICIENT_ROLE", fields=["credit_limit_paise"])
    _check_auto_top_up(row, values)
    if not values:
        raise Invalid({"body": ["Send at least one field."]})
    details = audit.changes(row, values)
    if details["after"]:
        session.execute(update(BillingAccount).where(BillingAccount.id == row.id).values(**values))
        session.refresh(row)
        audit.record(
            session,
            AuditCategory.INVOICE,
            "BILLING_ACCOUNT_UPDATED",
            "Billing settings were changed",
            target_type="billing_account",
            target_id=row.public_id,
            before=details["before"],
            after=details["after"],
        )
    return row


def _check_auto_top_up(row: BillingAccount, values: dict[str, Any]) -> None:
    """Raises AUTO_TOP_UP_INCOMPLETE, MANDATE_REQUIRED (2.4); the amount is what a top-up may be."""
    amount = values.get("auto_top_up_amount_paise", row.auto_top_up_amount_paise)
    if amount is not None and not 10_000 <= amount <= 10_000_000_000:
        raise Invalid({"auto_top_up_amount_paise": ["Choose an amount from ₹100 to ₹10,00,00,000."]})
    if not values.get("auto_top_up_enabled", row.auto_top_up_enabled):
        return
    if values.get("min_balance_paise", row.min_balance_paise) is None or amount is None:
        raise DomainError("AUTO_TOP_UP_INCOMPLETE")
    if values.get("auto_top_up_enabled") and not row.auto_top_up_enabled:
        if row.mandate_status != MandateStatus.CONFIRMED:
            raise DomainError("MANDATE_REQUIRED")
        values["auto_top_up_failures"] = 0


def view(row: BillingAccount, status: OrgStatus | str = OrgStatus.ACTIVE) -> dict[str, Any]:
    """A billing account as the API shows it."""
    return {
        "id": str(row.public_id),
        "funding_source": row.funding_source.value,
        "pending_funding_source": row.pending_funding_source.value if row.pending_funding_source else None,
        "funding_changes_on": row.funding_changes_on.isoformat() if row.funding_changes_on else None,
        "wallet_balance_paise": row.wallet_balance_paise,
        "credit_limit_paise": row.credit_limit_paise,
        "min_balance_paise": row.min_balance_paise,
        "allow_member_top_up": row.allow_member_top_up,
        "auto_top_up_enabled": row.auto_top_up_enabled,
        "auto_top_up_amount_paise": row.auto_top_up_amount_paise,
        "auto_top_up_last_fired_at": row.auto_top_up_last_fired_at.isoformat()
        if row.auto_top_up_last_fired_at
        else None,
        "mandate_status": row.mandate_status.value if row.mandate_status else None,
        "mandate_max_paise": row.mandate_max_paise,
        "shortfall_paise": row.shortfall_paise,
        "wallet_gst_mode": row.wallet_gst_mode.value,
        "wallet_frozen": row.wallet_frozen_at is not None,
        "spendable": row.wallet_frozen_at is None and status == OrgStatus.ACTIVE,
    }


@dataclass(frozen=True)
class Filter:
    """What of the credit ledger is wanted: a kind, and days in India, both ends included."""

    kind: str | None = None
    first: dt.date | None = None
    last: dt.date | None = None

    @classmethod
    def of(cls, args: Mapping[str, str]) -> Filter:
        """From a query string. Raises Invalid naming what is wrong."""
        problems: dict[str, list[str]] = {}
        days: dict[str, dt.date | None] = {}
        for name in ("from", "to"):
            raw = args.get(name, "").strip()
            try:
                days[name] = dt.date.fromisoformat(raw) if raw else None
            except ValueError:
                problems[name] = ["A date such as 2026-11-26."]
        kind = args.get("kind", "").strip() or None
        if kind is not None and kind not in KINDS:
            problems["kind"] = [f"One of {', '.join(KINDS)}."]
        if problems:
            raise Invalid(problems)
        return cls(kind, days["from"], days["to"])

    @property
    def empty(self) -> bool:
        return self == Filter()

    def clauses(self) -> list[Any]:
        """Conditions on LedgerEntry and LedgerTransaction."""
        out: list[Any] = []
        if self.kind:
            out.append(LedgerTransaction.kind == self.kind)
        if self.first:
            out.append(LedgerEntry.posted_at >= dt.datetime.combine(self.first, dt.time(), clock.IST))
        if self.last:
            end = dt.datetime.combine(self.last, dt.time(), clock.IST) + dt.timedelta(days=1)
            out.append(LedgerEntry.posted_at < end)
        return out


def entries(
    session: Session,
    *,
    page: int = 1,
    per_page: int = 25,
    chosen: Filter = Filter(),
    before_id: int | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """A page of the credit ledger, newest first, and how many entries there are (counted to 10,001 at most, of one
    kind to 1,001: kinds stand in no index of an account).

    Each row has delta_paise (positive: credits came in) and the running balance_paise after it. The order is the
    journal's own and never changes; *before_id* continues from an inner id for exports. A page's entries are found in
    the account's index alone before their postings are read, so that a late page costs no more than its own rows.
    """
    found = ledger.wallet_account(session)
    if found is None:
        return [], 0
    where = [LedgerEntry.account_id == found.id, *chosen.clauses()]
    keys = select(LedgerEntry.id).where(*where).order_by(LedgerEntry.id.desc())
    if chosen.kind:
        keys = keys.join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
    if before_id is not None:
        keys = keys.where(LedgerEntry.id < before_id).limit(per_page)
    else:
        keys = keys.limit(per_page).offset((page - 1) * per_page)
    statement = (
        select(
            LedgerEntry.id,
            LedgerEntry.side,
            LedgerEntry.amount_paise,
            LedgerEntry.balance_after_paise,
            LedgerEntry.posted_at,
            LedgerTransaction.kind,
            LedgerTransaction.key,
            LedgerTransaction.details,
            LedgerTransaction.public_id,
        )
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .where(LedgerEntry.id.in_(session.scalars(keys).all()))
        .order_by(LedgerEntry.id.desc())
    )
    rows = [
        {
            "row": r.id,
            "id": str(r.public_id),
            "kind": r.kind,
            "label": KINDS.get(r.kind, r.kind.replace("_", " ").capitalize()),
            "description": (r.details or {}).get("description", ""),
            "payment_id": (r.details or {}).get("payment_id"),
            "reference": r.key.partition(":")[2],
            "delta_paise": r.amount_paise if r.side == "C" else -r.amount_paise,
            "balance_paise": -int(r.balance_after_paise or 0),
            "posted_at": r.posted_at,
        }
        for r in session.execute(statement)
    ]
    if before_id is not None:
        return rows, 0
    counted = select(LedgerEntry.id).where(*where)
    if chosen.kind:
        counted = counted.join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
    total = (
        session.scalar(
            select(func.count()).select_from(counted.limit(MOST_OF_KIND if chosen.kind else MOST).subquery())
        )
        or 0
    )
    return rows, int(total)


def movements(session: Session, since: dt.datetime) -> dict[str, int]:
    """Paise in (positive) and out (negative) by kind since an instant."""
    found = ledger.wallet_account(session)
    if found is None:
        return {}
    rows = session.execute(
        text(
            "SELECT t.kind, sum(CASE e.side WHEN 'C' THEN e.amount_paise ELSE -e.amount_paise END) AS paise "
            "FROM ledger_entry e JOIN ledger_transaction t ON t.id = e.transaction_id "
            "WHERE e.account_id = :a AND e.posted_at >= :since GROUP BY 1"
        ),
        {"a": found.id, "since": since},
    )
    return {r.kind: int(r.paise) for r in rows}


def pending_top_ups(session: Session) -> list[WalletTopUp]:
    """Top-ups that wait for their money, newest first."""
    return list(
        session.scalars(
            select(WalletTopUp)
            .where(WalletTopUp.status == TopUpStatus.PENDING)
            .order_by(WalletTopUp.created_at.desc(), WalletTopUp.id.desc())
            .limit(20)
        )
    )
