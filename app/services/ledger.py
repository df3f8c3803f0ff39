"""The journal: balanced postings under unique keys (chapter 2, 2.2). Only ``post`` moves money.

The database function ``ledger_post`` does the writing; the web role may not write ledger tables at all.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Text

from app import clock
from app.errors import REGISTRY, DomainError
from app.models import LedgerAccount, LedgerEntry, LedgerTransaction
from app.security.context import ctx

CASH = "CASH|platform|INR"
GST_PAYABLE = "GST_PAYABLE|platform|INR"
PLATFORM_FEE = "PLATFORM_FEE|platform|INR"
UNAPPLIED_RECEIPT = "UNAPPLIED_RECEIPT|platform|INR"

_POST = text("SELECT ledger_post(:key, :kind, :org, :codes, :sides, :amounts, :details, :at)").bindparams(
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("sides", type_=ARRAY(Text)),
    bindparam("amounts", type_=ARRAY(BigInteger)),
    bindparam("details", type_=JSONB),
)


@dataclass(frozen=True)
class Leg:
    """One side of a posting: account code, 'D' or 'C', paise > 0."""

    code: str
    side: str
    paise: int


def org_account(kind: str, organization_id: int) -> str:
    """Code of an organisation's account, such as WALLET or ORG_RECEIVABLE."""
    return f"{kind}|org:{organization_id}|INR"


def consultant_account(kind: str, user_id: int) -> str:
    """Code of an expert's account: CONSULTANT_PAYABLE or CONSULTANT_RECEIVABLE."""
    return f"{kind}|consultant:{user_id}|INR"


def debit(code: str, paise: int) -> Leg:
    """Debit *code* by *paise*."""
    return Leg(code, "D", paise)


def credit(code: str, paise: int) -> Leg:
    """Credit *code* by *paise*."""
    return Leg(code, "C", paise)


def post(
    session: Session,
    key: str,
    kind: str,
    legs: Sequence[Leg],
    *,
    organization_id: int | None = None,
    **details: Any,
) -> int | None:
    """Post *legs* (paise) under *key*; returns the transaction's inner id, or None for a repeated key.

    Raises LEDGER_KEY_REUSED (same key, other legs), WALLET_INSUFFICIENT_FUNDS and WALLET_FROZEN (a debit of the wallet),
    and the codes of malformed legs, which are defects. The enclosing savepoint or transaction is lost on an error.
    """
    values = {
        "key": key,
        "kind": kind,
        "org": organization_id,
        "codes": [leg.code for leg in legs],
        "sides": [leg.side for leg in legs],
        "amounts": [leg.paise for leg in legs],
        "details": details,
        "at": clock.now(),
    }
    session.flush()
    try:
        found: int | None = session.execute(_POST, values).scalar()
    except DBAPIError as error:
        raise refusal(error) from None
    return found


def refusal(error: DBAPIError) -> Exception:
    """The DomainError behind a refusal of ``ledger_post``, or *error* itself when it is something else."""
    diag = getattr(error.orig, "diag", None)
    if (
        getattr(error.orig, "sqlstate", None) == "CL001"
        and diag is not None
        and diag.message_primary in REGISTRY
    ):
        return DomainError(diag.message_primary)
    return error


def balance(session: Session, code: str) -> int:
    """Balance of an account on its normal side, paise, summed from its entries. 0 for an account never used."""
    row = session.execute(
        text(
            "SELECT a.normal_side, coalesce(sum(CASE e.side WHEN a.normal_side THEN e.amount_paise "
            "ELSE -e.amount_paise END), 0) AS paise FROM ledger_account a LEFT JOIN ledger_entry e "
            "ON e.account_id = a.id WHERE a.code = :code GROUP BY a.id"
        ),
        {"code": code},
    ).one_or_none()
    return int(row.paise) if row else 0


_ACCOUNT = (
    "SELECT a.id, a.code, a.kind, a.scope, a.normal_side, a.organization_id, "
    "coalesce(o.name, nullif(trim(u.first_name || ' ' || u.last_name), ''), '') AS owner, coalesce(b.balance_paise, "
    "(SELECT coalesce(sum(CASE e.side WHEN 'D' THEN e.amount_paise ELSE -e.amount_paise END), 0) "
    "FROM ledger_entry e WHERE e.account_id = a.id)) AS debit_paise "
    "FROM ledger_account a LEFT JOIN ledger_balance b ON b.account_id = a.id "
    "LEFT JOIN organization o ON o.id = a.organization_id "
    "LEFT JOIN ab_user u ON a.scope IN ('consultant', 'user') AND u.id = a.scope_id "
)


def _account(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "code": row.code,
        "kind": row.kind,
        "scope": row.scope,
        "owner": row.owner or "Platform",
        "side": row.normal_side,
        "balance_paise": int(row.debit_paise) * (1 if row.normal_side == "D" else -1),
    }


def accounts(session: Session, search: str = "", most: int = 200) -> list[dict[str, Any]]:
    """Accounts with their balance on the normal side, the platform's first, narrowed by code or owner's name.

    Platform accounts are summed, others read their snapshot. Wants platform scope.
    """
    rows = session.execute(
        text(
            _ACCOUNT + "WHERE CAST(:like AS text) IS NULL OR a.code ILIKE :like OR o.name ILIKE :like "
            "OR u.first_name || ' ' || u.last_name ILIKE :like "
            "ORDER BY a.scope = 'platform' DESC, a.kind, a.id LIMIT :most"
        ),
        {"like": _like(search), "most": most},
    )
    return [_account(row) for row in rows]


def _like(search: str) -> str | None:
    words = search.strip()[:80].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{words}%" if words else None


def statement(
    session: Session, code: str, before_id: int | None = None, most: int = 50
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An account and its entries, newest first. Wants platform scope. Raises NOT_FOUND.

    Entries carry delta_paise and, where the account has a snapshot, balance_paise after them, both on the normal side.
    """
    found = session.execute(text(_ACCOUNT + "WHERE a.code = :code"), {"code": code}).one_or_none()
    if found is None:
        raise DomainError("NOT_FOUND")
    rows = session.execute(
        text(
            "SELECT e.id, e.side, e.amount_paise, e.balance_after_paise, e.posted_at, t.kind, t.key, t.public_id "
            "FROM ledger_entry e JOIN ledger_transaction t ON t.id = e.transaction_id "
            "WHERE e.account_id = :account AND (CAST(:before AS bigint) IS NULL OR e.id < :before) "
            "ORDER BY e.id DESC LIMIT :most"
        ),
        {"account": found.id, "before": before_id, "most": most},
    )
    sign = 1 if found.normal_side == "D" else -1
    return _account(found), [
        {
            "row": r.id,
            "id": str(r.public_id),
            "kind": r.kind,
            "key": r.key,
            "posted_at": r.posted_at,
            "delta_paise": r.amount_paise * (1 if r.side == found.normal_side else -1),
            "balance_paise": None if r.balance_after_paise is None else int(r.balance_after_paise) * sign,
        }
        for r in rows
    ]


def transaction(session: Session, public_id: uuid.UUID) -> tuple[LedgerTransaction, list[dict[str, Any]]]:
    """A posting and its legs, debits first. Wants platform scope. Raises NOT_FOUND."""
    found = session.scalars(
        select(LedgerTransaction).where(LedgerTransaction.public_id == public_id)
    ).one_or_none()
    if found is None:
        raise DomainError("NOT_FOUND")
    legs = session.execute(
        select(LedgerAccount.code, LedgerEntry.side, LedgerEntry.amount_paise)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .where(LedgerEntry.transaction_id == found.id)
        .order_by(LedgerEntry.side.desc(), LedgerEntry.id)
    )
    return found, [{"code": leg.code, "side": leg.side, "paise": leg.amount_paise} for leg in legs]


def known(session: Session, codes: Sequence[str]) -> list[tuple[str, int | None]]:
    """Which of these accounts exist, each with its organisation's inner id. Wants platform scope."""
    rows = session.execute(
        select(LedgerAccount.code, LedgerAccount.organization_id).where(LedgerAccount.code.in_(codes))
    )
    return [(r.code, r.organization_id) for r in rows]


def wallet_account(session: Session) -> LedgerAccount | None:
    """The wallet's account of the organisation acted for, if anything was ever posted to it."""
    org = ctx().org_id
    return session.scalars(
        select(LedgerAccount).where(LedgerAccount.code == org_account("WALLET", org or -1))
    ).one_or_none()
