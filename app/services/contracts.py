"""Contracts (chapter 2, 2.5): drafted, changed, signed. One is active per billing account.

What follows a signature stands in ``supersede`` (amend, renew) and ``contract_ends`` (terminate, expire).
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import delete, exists, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    BillingAccount,
    Contract,
    ContractStatus,
    Cycle,
    FundingSource,
    LicenseModel,
    Organization,
    Program,
    PurchaseOrder,
    PurchaseOrderStatus,
    RateCard,
)
from app.security.context import ctx
from app.services import audit, outbox, subscriptions
from app.services.text import one_line

LICENSED = frozenset({FundingSource.LICENSE, FundingSource.INVOICE})
MAX_PAISE = 10**12
LICENSE_FIELDS = ("license_model", "license_fee_paise", "license_rate_per_seat_paise", "license_cycle")
FIELDS = frozenset(
    {
        "title",
        "effective_from",
        "effective_to",
        "payment_terms_days",
        "auto_renew",
        "purchase_order_id",
        "rate_card_id",
        *LICENSE_FIELDS,
    }
)
ALWAYS_EDITABLE = frozenset({"auto_renew"})
_PLAIN: dict[str, Any] = {"synchronize_session": False}


def account(session: Session) -> BillingAccount:
    """The billing account of the organisation acted for. Raises SPONSOR_CAPABILITY_REQUIRED."""
    row = session.scalars(
        select(BillingAccount).where(BillingAccount.organization_id == ctx().org_id)
    ).one_or_none()
    if row is None:
        raise DomainError("SPONSOR_CAPABILITY_REQUIRED")
    return row


# ---- terms -----------------------------------------------------------------------------------------------------------


def checked(session: Session, billing: BillingAccount, values: dict[str, Any]) -> dict[str, Any]:
    """*values* (all of FIELDS) as a contract of *billing* holds them.

    Raises Invalid naming every field, FUNDING_SOURCE_MISMATCH (a licence fee on another source),
    LICENSE_ECONOMICS_REQUIRED. Payment terms of a licence account are not looked at: its fee is due in advance.
    """
    out = dict(values)
    problems: dict[str, list[str]] = {}
    start, end = out["effective_from"], out["effective_to"]
    out["title"] = one_line(out["title"] or "") or f"Agreement from {start.day} {start:%B %Y}"
    if not 3 <= len(out["title"]) <= 200:
        problems["title"] = ["Between 3 and 200 characters."]
    for name, day in (("effective_from", start), ("effective_to", end)):
        if day is not None and not 2000 <= day.year <= 2200:
            problems[name] = ["Enter a date between 2000 and 2200."]
    if end is not None and end <= start:
        problems["effective_to"] = ["Must lie after the first day."]
    if billing.funding_source == FundingSource.LICENSE:
        out["payment_terms_days"] = 30
    elif not 1 <= out["payment_terms_days"] <= 120:
        problems["payment_terms_days"] = ["Between 1 and 120 days."]
    for name in ("license_fee_paise", "license_rate_per_seat_paise"):
        if out[name] is not None and not 0 < out[name] <= MAX_PAISE:
            problems[name] = ["Enter an amount above zero."]
    for name, kind in (("license_model", LicenseModel), ("license_cycle", Cycle)):
        try:
            out[name] = kind(out[name]) if out[name] else None
        except ValueError:
            problems[name] = [f"Choose one of {', '.join(kind)}."]
    problems |= _links(session, out)
    if problems:
        raise Invalid(problems)
    _economics(billing, out)
    return out


def _links(session: Session, out: dict[str, Any]) -> dict[str, list[str]]:
    problems: dict[str, list[str]] = {}
    if out["purchase_order_id"] is not None and usable_po(session, out["purchase_order_id"]) is None:
        problems["purchase_order_id"] = ["Choose an active purchase order that has not expired."]
    if out["rate_card_id"] is not None and session.get(RateCard, out["rate_card_id"]) is None:
        problems["rate_card_id"] = ["There is no such rate card."]
    return problems


def _economics(billing: BillingAccount, out: dict[str, Any]) -> None:
    model = out["license_model"]
    if model is None:
        if billing.funding_source == FundingSource.LICENSE or any(out[n] for n in LICENSE_FIELDS):
            raise DomainError("LICENSE_ECONOMICS_REQUIRED")
        return
    if billing.funding_source not in LICENSED:
        raise DomainError("FUNDING_SOURCE_MISMATCH", funding_source=billing.funding_source.value)
    flat = model == LicenseModel.FLAT_FEE
    price, other = (
        ("license_fee_paise", "license_rate_per_seat_paise")
        if flat
        else ("license_rate_per_seat_paise", "license_fee_paise")
    )
    if out[price] is None or out["license_cycle"] is None:
        raise DomainError(
            "LICENSE_ECONOMICS_REQUIRED", missing=price if out[price] is None else "license_cycle"
        )
    out[other] = None


def usable_po(session: Session, po_id: int | None = None) -> PurchaseOrder | None:
    """An ACTIVE purchase order whose date has not passed: the one named, else the oldest."""
    statement = select(PurchaseOrder).where(
        PurchaseOrder.status == PurchaseOrderStatus.ACTIVE,
        or_(PurchaseOrder.valid_until.is_(None), PurchaseOrder.valid_until >= clock.today_ist()),
    )
    if po_id is not None:
        statement = statement.where(PurchaseOrder.id == po_id)
    return session.scalars(statement.order_by(PurchaseOrder.id).limit(1)).one_or_none()


def terms_of(contract: Contract) -> dict[str, Any]:
    """The fields of a contract as ``checked`` takes them."""
    return {name: getattr(contract, name) for name in FIELDS}


def shown(values: dict[str, Any]) -> dict[str, Any]:
    """Terms for an audit row: without inner keys."""
    return {
        k: (v if isinstance(v, str | int | bool | None) else str(v))
        for k, v in values.items()
        if not k.endswith("_id")
    }


# ---- drafts ----------------------------------------------------------------------------------------------------------


def create_contract(
    session: Session,
    *,
    title: str = "",
    effective_from: dt.date,
    effective_to: dt.date | None = None,
    payment_terms_days: int = 30,
    auto_renew: bool = True,
    purchase_order_id: int | None = None,
    rate_card_id: int | None = None,
    license_model: str | None = None,
    license_fee_paise: int | None = None,
    license_rate_per_seat_paise: int | None = None,
    license_cycle: str | None = None,
) -> Contract:
    """A DRAFT contract; references are inner ids of the organisation's own rows. Raises what ``checked`` raises."""
    billing = account(session)
    values = checked(
        session,
        billing,
        {
            "title": title,
            "effective_from": effective_from,
            "effective_to": effective_to,
            "payment_terms_days": payment_terms_days,
            "auto_renew": auto_renew,
            "purchase_order_id": purchase_order_id,
            "rate_card_id": rate_card_id,
            "license_model": license_model,
            "license_fee_paise": license_fee_paise,
            "license_rate_per_seat_paise": license_rate_per_seat_paise,
            "license_cycle": license_cycle,
        },
    )
    contract = Contract(billing_account_id=billing.id, status=ContractStatus.DRAFT, **values)
    session.add(contract)
    session.flush()
    record(session, contract, "CONTRACT_CREATED", f"Drafted contract “{contract.title}”", after=shown(values))
    return contract


def change(session: Session, contract: Contract, values: dict[str, Any]) -> Contract:
    """Change a DRAFT; of a signed contract only ``auto_renew``.

    Raises CONTRACT_TERMS_LOCKED (signed: supersede it instead) and what ``checked`` raises.
    """
    unknown = sorted(set(values) - FIELDS)
    if unknown:
        raise Invalid({name: ["There is no such field."] for name in unknown})
    contract = locked(session, contract)
    changed = {k: v for k, v in values.items() if getattr(contract, k) != v}
    if contract.status != ContractStatus.DRAFT:
        if set(changed) - ALWAYS_EDITABLE:
            raise DomainError("CONTRACT_TERMS_LOCKED", fields=sorted(set(changed) - ALWAYS_EDITABLE))
        if changed and contract.status != ContractStatus.ACTIVE:
            raise DomainError("CONTRACT_NOT_ACTIVE")
        good = changed
    else:
        good = checked(session, account(session), {**terms_of(contract), **values})
    details: dict[str, Any] = audit.changes(contract, good)
    if not details["after"]:
        return contract
    for name, value in good.items():
        setattr(contract, name, value)
    session.flush()
    record(
        session,
        contract,
        "CONTRACT_UPDATED",
        f"Changed contract “{contract.title}”",
        before=shown(details["before"]),
        after=shown(details["after"]),
    )
    return contract


def locked(session: Session, contract: Contract) -> Contract:
    """*contract* read again under its lock."""
    session.refresh(contract, with_for_update=True)
    return contract


def remove(session: Session, contract: Contract) -> None:
    """Delete a DRAFT that no program stands under. Raises CONTRACT_NOT_DELETABLE."""
    title, key = contract.title, contract.public_id
    try:
        with session.begin_nested():
            done = session.execute(
                delete(Contract)
                .where(
                    Contract.id == contract.id,
                    Contract.status == ContractStatus.DRAFT,
                    ~exists().where(Program.contract_id == contract.id),
                )
                .returning(Contract.id)
                .execution_options(**_PLAIN)
            ).scalar()
    except IntegrityError:  # an invoice or a rate card names it
        raise DomainError("CONTRACT_NOT_DELETABLE") from None
    if done is None:
        raise DomainError("CONTRACT_NOT_DELETABLE")
    session.expunge(contract)
    audit.record(
        session,
        AuditCategory.CONTRACT,
        "CONTRACT_DELETED",
        f"Deleted the draft “{title}”",
        target_type="contract",
        target_id=key,
    )


# ---- the signature ---------------------------------------------------------------------------------------------------


def check_po(session: Session, contract: Contract) -> None:
    """An organisation that requires purchase orders signs on one that is ACTIVE and has not expired: the contract's, or
    any of its own where the contract names none. Raises PO_REQUIRED."""
    if (
        session.scalar(select(Organization.requires_po).where(Organization.id == ctx().org_id))
        and usable_po(session, contract.purchase_order_id) is None
    ):
        raise DomainError("PO_REQUIRED")


def sign_contract(session: Session, contract: Contract) -> Contract:
    """DRAFT → ACTIVE, one ACTIVE per billing account; its licence begins with it. Emits contract.signed.

    Raises ILLEGAL_TRANSITION, PO_REQUIRED, LICENSE_ECONOMICS_REQUIRED, CONTRACT_NOT_ACTIVE (its term is over),
    CONTRACT_ALREADY_ACTIVE.
    """
    if contract.status != ContractStatus.DRAFT:
        raise DomainError("ILLEGAL_TRANSITION", state=contract.status.value)
    check_po(session, contract)
    if contract.license_model is None and account(session).funding_source == FundingSource.LICENSE:
        raise DomainError("LICENSE_ECONOMICS_REQUIRED")
    if contract.effective_to is not None and contract.effective_to < clock.today_ist():
        raise DomainError("CONTRACT_NOT_ACTIVE", message="The contract's term is over. Draft a new one.")
    try:
        with session.begin_nested():
            done = session.execute(
                update(Contract)
                .where(Contract.id == contract.id, Contract.status == ContractStatus.DRAFT)
                .values(status=ContractStatus.ACTIVE, signed_at=clock.now(), signed_by_user_id=ctx().user_id)
                .execution_options(**_PLAIN)
            )
    except IntegrityError as error:
        raise already_active(error) from None
    if not done.rowcount:  # type: ignore[attr-defined]
        raise DomainError("ILLEGAL_TRANSITION")
    session.refresh(contract)
    subscriptions.begin(session, contract)
    record(session, contract, "CONTRACT_SIGNED", f"Signed contract “{contract.title}”")
    announce(session, contract)
    return contract


def already_active(error: IntegrityError) -> Exception:
    """CONTRACT_ALREADY_ACTIVE where the database refused a second one; *error* itself otherwise."""
    if getattr(getattr(error.orig, "diag", None), "constraint_name", "") == "uq_contract_active":
        return DomainError("CONTRACT_ALREADY_ACTIVE")
    return error


def announce(session: Session, contract: Contract) -> None:
    """contract.signed with the payload of chapter 3: the licence's fee for a cycle, nothing where there is none."""
    outbox.event(
        session,
        "contract.signed",
        contract_id=str(contract.public_id),
        status=contract.status.value,
        effective_from=contract.effective_from.isoformat(),
        total_amount_paise=contract.license_fee_paise or contract.license_rate_per_seat_paise or 0,
    )


def record(session: Session, contract: Contract, action: str, says: str, **details: Any) -> None:
    """An audit row about *contract*."""
    audit.record(
        session,
        AuditCategory.CONTRACT,
        action,
        says,
        target_type="contract",
        target_id=contract.public_id,
        **details,
    )


def chain(session: Session, contract: Contract) -> list[Contract]:
    """Every contract that *contract* came from and that came from it, the oldest first."""
    rows = {c.id: c for c in session.scalars(select(Contract))}
    after = {c.supersedes_contract_id: c for c in rows.values() if c.supersedes_contract_id is not None}
    first = contract
    while first.supersedes_contract_id in rows:
        first = rows[first.supersedes_contract_id]
    out = [first]
    while out[-1].id in after:
        out.append(after[out[-1].id])
    return out
