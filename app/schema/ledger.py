"""The journal: accounts, transactions, entries, balances (chapter 2, 2.2).

Rows are written by the database function ``ledger_post`` only (migrations/sql/ledger.sql); the web role can read what
row-level security lets it see and write nothing here.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import BigId, Instant, MaybeTenant, Model, Paise, Row


class LedgerAccount(Model):
    """``<KIND>|<scope>:<id>|INR``; scope platform, org, consultant or user."""

    __tablename__ = "ledger_account"

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(String(80), unique=True)
    kind: Mapped[str] = mapped_column(String(30))
    scope: Mapped[str] = mapped_column(String(12))
    scope_id: Mapped[int | None] = mapped_column(BigInteger)
    organization_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("organization.id"))
    currency: Mapped[str] = mapped_column(String(3), default="INR", server_default="INR")
    normal_side: Mapped[str] = mapped_column(String(1))

    __table_args__ = (
        CheckConstraint("currency = 'INR'", name="ck_ledger_account_inr"),
        CheckConstraint("normal_side IN ('D','C')", name="ck_ledger_account_side"),
        CheckConstraint("(scope = 'org') = (organization_id IS NOT NULL)", name="ck_ledger_account_org"),
        Index("ix_ledger_account_org", "organization_id"),
    )

    def __repr__(self) -> str:
        return self.code


class LedgerTransaction(MaybeTenant, Model):
    """One balanced posting under a unique key; repeating the key is a no-op."""

    __tablename__ = "ledger_transaction"

    key: Mapped[str] = mapped_column(String(120), unique=True)
    kind: Mapped[str] = mapped_column(String(30))
    legs_hash: Mapped[str] = mapped_column(String(64))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    posted_at: Mapped[Instant]

    __table_args__ = (
        Index("ix_ledger_transaction_list", "organization_id", "posted_at", "id"),
        Index("ix_ledger_transaction_posted", "posted_at", "id"),
    )

    def __repr__(self) -> str:
        return self.key


class LedgerEntry(Model):
    """One leg: a positive amount on one side of one account. Never updated, never deleted."""

    __tablename__ = "ledger_entry"

    id: Mapped[BigId]
    transaction_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("ledger_transaction.id"))
    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("ledger_account.id"))
    organization_id: Mapped[int | None] = mapped_column(BigInteger)  # the account's, whose own key is checked
    side: Mapped[str] = mapped_column(String(1))
    amount_paise: Mapped[Paise]
    balance_after_paise: Mapped[int | None] = mapped_column(BigInteger)
    posted_at: Mapped[Instant]

    transaction: Mapped[LedgerTransaction] = relationship(lazy="raise")
    account: Mapped[LedgerAccount] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("side IN ('D','C')", name="ck_ledger_entry_side"),
        CheckConstraint("amount_paise > 0", name="ck_ledger_entry_positive"),
        Index("ix_ledger_entry_account", "account_id", "id"),
        Index("ix_ledger_entry_transaction", "transaction_id"),
    )


class LedgerBalance(Model):
    """Snapshot of debits minus credits, for organisation, consultant and user accounts only (design rule 6)."""

    __tablename__ = "ledger_balance"

    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("ledger_account.id"), primary_key=True)
    organization_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("organization.id"))
    balance_paise: Mapped[Paise]
    updated_at: Mapped[Instant]


class LedgerReconciliationReport(Row, Model):
    """What one run of the reconciler found."""

    __tablename__ = "ledger_reconciliation_report"

    organization_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("organization.id"))
    ok: Mapped[bool] = mapped_column(Boolean)
    findings: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    checked: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    finished_at: Mapped[Instant]
