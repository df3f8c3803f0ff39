"""Purchase orders (chapter 2, 2.5): what a customer's purchasing department released, and what invoices drew from it.

``remaining`` is nobody's to edit. It moves by ``draw`` and ``restore``, each one conditional UPDATE, and by a change of
the total that keeps what was drawn. Amounts are hundredths of the order's currency.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import AuditCategory, Currency, PurchaseOrder, PurchaseOrderStatus
from app.services import audit, storage, wallets
from app.services.text import amount_in, one_line, paragraphs

MAX_TOTAL = 10**13  # hundredths
EDITABLE = frozenset({"po_number", "total_paise", "currency", "valid_until", "description"})
_PLAIN: dict[str, Any] = {"synchronize_session": False}


@dataclass(frozen=True)
class Summary:
    """What the page's tiles say; amounts by currency in hundredths, of ACTIVE orders."""

    active: int
    expiring: int  # ACTIVE, valid for 30 days or less
    released: dict[str, int]
    remaining: dict[str, int]


def _clean(values: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    if "po_number" in values:
        out["po_number"] = one_line(str(values["po_number"] or ""))
        if not 1 <= len(out["po_number"]) <= 60:
            problems["po_number"] = ["Use 1 to 60 characters."]
    if "total_paise" in values:
        out["total_paise"] = values["total_paise"]
        if not isinstance(out["total_paise"], int) or not 0 < out["total_paise"] <= MAX_TOTAL:
            problems["total_paise"] = ["Enter an amount above zero."]
    if "currency" in values:
        try:
            out["currency"] = Currency(values["currency"])
        except ValueError:
            problems["currency"] = [f"Choose one of {', '.join(Currency)}."]
    if "valid_until" in values:
        out["valid_until"] = values["valid_until"]
        if out["valid_until"] is not None and not 2000 <= out["valid_until"].year <= 2200:
            problems["valid_until"] = ["Enter a date between 2000 and 2200."]
    if "description" in values:
        out["description"] = paragraphs(str(values["description"] or ""))
        if len(out["description"]) > 2000:
            problems["description"] = ["At most 2000 characters."]
    for name in sorted(set(values) - EDITABLE):
        problems[name] = [
            "This cannot be changed." if name == "remaining_paise" else "There is no such field."
        ]
    if problems:
        raise Invalid(problems)
    return out


def create(session: Session, values: dict[str, Any]) -> PurchaseOrder:
    """An ACTIVE purchase order, all of it remaining. Raises Invalid, PO_NUMBER_TAKEN, SPONSOR_CAPABILITY_REQUIRED."""
    fields = _clean({"po_number": "", "total_paise": None, "currency": Currency.INR, **values})
    if fields.get("valid_until") is not None and fields["valid_until"] < clock.today_ist():
        raise Invalid({"valid_until": ["This day has passed."]})
    row = PurchaseOrder(
        billing_account_id=wallets.account(session).id,
        status=PurchaseOrderStatus.ACTIVE,
        remaining_paise=fields["total_paise"],
        **fields,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        raise _taken(error, fields) from None
    record(
        session,
        row,
        "PURCHASE_ORDER_CREATED",
        f"Purchase order {row.po_number} was entered.",
        after=_shown(row),
    )
    return row


def _taken(error: IntegrityError, fields: dict[str, Any]) -> Exception:
    constraint = str(getattr(getattr(error.orig, "diag", None), "constraint_name", ""))
    if constraint == "uq_purchase_order_number":
        return DomainError("PO_NUMBER_TAKEN", po_number=fields.get("po_number"))
    return error


def change(session: Session, row: PurchaseOrder, values: dict[str, Any]) -> PurchaseOrder:
    """Change an ACTIVE order. A new total moves what remains; a total equal to what was drawn closes it.

    Raises Invalid (also for remaining_paise, and for a currency after a draw), PO_NUMBER_TAKEN, PO_BELOW_DRAWN with
    ``drawn_paise``, PO_NOT_ACTIVE.
    """
    fields = _clean(values)
    if row.status != PurchaseOrderStatus.ACTIVE:
        raise DomainError("PO_NOT_ACTIVE")
    details: dict[str, Any] = audit.changes(row, fields)
    if not details["after"]:
        return row
    changed = {name: fields[name] for name in details["after"]}
    drawn = PurchaseOrder.total_paise - PurchaseOrder.remaining_paise
    statement = update(PurchaseOrder).where(
        PurchaseOrder.id == row.id, PurchaseOrder.status == PurchaseOrderStatus.ACTIVE
    )
    moved: dict[str, Any] = {}
    if "total_paise" in changed:
        total = changed["total_paise"]
        statement = statement.where(drawn <= total)
        moved = {
            "remaining_paise": total - drawn,
            "status": case((drawn == total, PurchaseOrderStatus.CLOSED.value), else_=PurchaseOrder.status),
        }
    if "currency" in changed:
        statement = statement.where(drawn == 0)
    try:
        with session.begin_nested():
            done = session.execute(
                statement.values(**changed, **moved).returning(PurchaseOrder.id).execution_options(**_PLAIN)
            ).scalar()
    except IntegrityError as error:
        raise _taken(error, changed) from None
    session.refresh(row)
    if done is None:
        _refuse_change(row, changed)
    record(session, row, "PURCHASE_ORDER_UPDATED", f"Purchase order {row.po_number} was changed.", **details)
    return row


def _refuse_change(row: PurchaseOrder, changed: dict[str, Any]) -> None:
    drawn = row.total_paise - row.remaining_paise
    if row.status != PurchaseOrderStatus.ACTIVE:
        raise DomainError("PO_NOT_ACTIVE")
    if "currency" in changed and drawn:
        raise Invalid({"currency": ["Invoices have drawn in this currency already."]})
    raise DomainError("PO_BELOW_DRAWN", drawn_paise=drawn)


def cancel(session: Session, row: PurchaseOrder) -> PurchaseOrder:
    """ACTIVE to CANCELLED: nothing is drawn from it any more, what was drawn stays. Raises PO_NOT_ACTIVE."""
    done = session.execute(
        update(PurchaseOrder)
        .where(PurchaseOrder.id == row.id, PurchaseOrder.status == PurchaseOrderStatus.ACTIVE)
        .values(status=PurchaseOrderStatus.CANCELLED)
        .returning(PurchaseOrder.id)
        .execution_options(**_PLAIN)
    ).scalar()
    session.refresh(row)
    if done is None:
        raise DomainError("PO_NOT_ACTIVE")
    record(session, row, "PURCHASE_ORDER_CANCELLED", f"Purchase order {row.po_number} was cancelled.")
    return row


def remove(session: Session, row: PurchaseOrder) -> None:
    """Delete an order from which nothing was ever drawn. Raises PO_REFERENCED."""
    shown, number, key = _shown(row), row.po_number, row.public_id
    try:
        with session.begin_nested():
            done = session.execute(
                delete(PurchaseOrder)
                .where(PurchaseOrder.id == row.id, PurchaseOrder.remaining_paise == PurchaseOrder.total_paise)
                .returning(PurchaseOrder.id)
                .execution_options(**_PLAIN)
            ).scalar()
    except IntegrityError:  # a contract or an invoice names it
        raise DomainError("PO_REFERENCED") from None
    if done is None:
        raise DomainError("PO_REFERENCED")
    storage.delete_later(session, row.document)
    session.expunge(row)
    audit.record(
        session,
        AuditCategory.INVOICE,
        "PURCHASE_ORDER_DELETED",
        f"Purchase order {number} was deleted.",
        target_type="purchase_order",
        target_id=key,
        before=shown,
    )


def draw(
    session: Session, po_id: int, amount: int, currency: Currency, *, on: dt.date | None = None
) -> PurchaseOrder:
    """Take *amount* (hundredths, above zero) for an invoice dated *on* (today in India). At zero the order closes.

    One conditional UPDATE: two invoices never share what remains. Raises PO_CURRENCY_MISMATCH, PO_NOT_ACTIVE (closed,
    cancelled, expired), PO_BALANCE_EXCEEDED with ``remaining_paise``, NOT_FOUND. Nothing has moved then.
    """
    if amount <= 0:
        raise ValueError("a draw is above zero")
    day = on or clock.today_ist()
    left = PurchaseOrder.remaining_paise - amount
    done = session.execute(
        update(PurchaseOrder)
        .where(
            PurchaseOrder.id == po_id,
            PurchaseOrder.status == PurchaseOrderStatus.ACTIVE,
            or_(PurchaseOrder.valid_until.is_(None), PurchaseOrder.valid_until >= day),
            PurchaseOrder.currency == currency,
            PurchaseOrder.remaining_paise >= amount,
        )
        .values(
            remaining_paise=left,
            status=case((left == 0, PurchaseOrderStatus.CLOSED.value), else_=PurchaseOrder.status),
        )
        .returning(PurchaseOrder.id)
        .execution_options(**_PLAIN)
    ).scalar()
    row = _fresh(session, po_id)
    if done is None:
        if row.currency != currency:
            raise DomainError("PO_CURRENCY_MISMATCH", currency=row.currency.value)
        expired = row.valid_until is not None and row.valid_until < day
        if row.status != PurchaseOrderStatus.ACTIVE or expired:
            raise DomainError("PO_NOT_ACTIVE", status=row.status.value)
        raise DomainError("PO_BALANCE_EXCEEDED", remaining_paise=row.remaining_paise)
    record(
        session,
        row,
        "PURCHASE_ORDER_CLOSED" if row.status == PurchaseOrderStatus.CLOSED else "PURCHASE_ORDER_UPDATED",
        f"{amount_in(row.currency.value, amount)} were drawn from purchase order {row.po_number}.",
        amount_paise=amount,
    )
    return row


def restore(session: Session, po_id: int, amount: int) -> PurchaseOrder:
    """Give *amount* back when an invoice is voided or cancelled; an order that had closed itself opens again.

    Raises CONFLICT when more would remain than the total, NOT_FOUND.
    """
    if amount <= 0:
        raise ValueError("a restored amount is above zero")
    done = session.execute(
        update(PurchaseOrder)
        .where(
            PurchaseOrder.id == po_id,
            PurchaseOrder.remaining_paise + amount <= PurchaseOrder.total_paise,
        )
        .values(
            remaining_paise=PurchaseOrder.remaining_paise + amount,
            status=case(
                (
                    PurchaseOrder.status == PurchaseOrderStatus.CLOSED.value,
                    PurchaseOrderStatus.ACTIVE.value,
                ),
                else_=PurchaseOrder.status,
            ),
        )
        .returning(PurchaseOrder.id)
        .execution_options(**_PLAIN)
    ).scalar()
    row = _fresh(session, po_id)
    if done is None:
        raise DomainError("CONFLICT")
    record(
        session,
        row,
        "PURCHASE_ORDER_UPDATED",
        f"{amount_in(row.currency.value, amount)} went back to purchase order {row.po_number}.",
        amount_paise=amount,
    )
    return row


def _fresh(session: Session, po_id: int) -> PurchaseOrder:
    row = session.get(PurchaseOrder, po_id, populate_existing=True)
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def search(session: Session, text: str = "", status: str = "", *, limit: int = 200) -> list[PurchaseOrder]:
    """Orders of the organisation acted for whose number or description holds *text*, newest first."""
    statement = select(PurchaseOrder).order_by(PurchaseOrder.created_at.desc(), PurchaseOrder.id.desc())
    if text:
        plain = text.lower()
        statement = statement.where(
            (func.strpos(func.lower(PurchaseOrder.po_number), plain) > 0)
            | (func.strpos(func.lower(PurchaseOrder.description), plain) > 0)
        )
    if status in PurchaseOrderStatus.__members__:
        statement = statement.where(PurchaseOrder.status == PurchaseOrderStatus(status))
    return list(session.scalars(statement.limit(limit)))


def summary(session: Session) -> Summary:
    """The tiles of the organisation acted for, in one statement."""
    today = clock.today_ist()
    rows = session.execute(
        select(
            PurchaseOrder.currency,
            func.count(),
            func.count().filter(PurchaseOrder.valid_until.between(today, today + dt.timedelta(days=30))),
            func.sum(PurchaseOrder.total_paise),
            func.sum(PurchaseOrder.remaining_paise),
        )
        .where(PurchaseOrder.status == PurchaseOrderStatus.ACTIVE)
        .group_by(PurchaseOrder.currency)
        .order_by(PurchaseOrder.currency)
    ).all()
    return Summary(
        sum(r[1] for r in rows),
        sum(r[2] for r in rows),
        {r[0].value: int(r[3]) for r in rows},
        {r[0].value: int(r[4]) for r in rows},
    )


def _shown(row: PurchaseOrder) -> dict[str, Any]:
    return {
        "po_number": row.po_number,
        "total_paise": row.total_paise,
        "currency": row.currency.value,
        "valid_until": row.valid_until.isoformat() if row.valid_until else None,
    }


def record(session: Session, row: PurchaseOrder, action: str, says: str, **details: Any) -> None:
    """An audit row about *row*, by chapter 3's names."""
    audit.record(
        session,
        AuditCategory.INVOICE,
        action,
        says,
        target_type="purchase_order",
        target_id=row.public_id,
        **details,
    )
