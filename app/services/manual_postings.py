"""Postings by hand: grants, adjustments by two administrators, tax handed to the state (chapter 2, 2.2).

ADMIN only. A grant and a remittance are posted when they are made; an adjustment is proposed by one administrator and
posted by another. Each is kept with its reason, and posted under its own id or challan, once.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    BillingAccount,
    FundingSource,
    ManualKind,
    ManualPosting,
    ManualStatus,
    Organization,
)
from app.security.context import acting, ctx
from app.services import audit, ledger, wallet_notices
from app.services.text import money, paragraphs

MAX_PAISE, MAX_REASON, MAX_LEGS = 10_000_000_000, 300, 20
TAXES = {"TDS": "TDS_PAYABLE|platform|INR", "GST": "GST_PAYABLE|platform|INR"}
PLATFORM_PROMO = "PLATFORM_PROMO|platform|INR"
_CODE = re.compile(r"[A-Z_]{3,30}\|(platform|(org|consultant|user):[0-9]{1,18})\|INR")
_CHALLAN = re.compile(r"[A-Z0-9][A-Z0-9/-]{2,59}")


def _admin() -> int:
    if not ctx().is_admin or ctx().user_id is None:
        raise DomainError("INSUFFICIENT_ROLE")
    return int(ctx().user_id or 0)


def _said(reason: str) -> str:
    why = paragraphs(reason or "")
    if not 10 <= len(why) <= MAX_REASON:
        raise Invalid({"reason": [f"Say why, in 10 to {MAX_REASON} characters: it is kept for ever."]})
    return why


def _amount(paise: int, name: str = "amount_paise") -> int:
    if not 1 <= paise <= MAX_PAISE:
        raise Invalid({name: ["Choose an amount up to ₹10,00,00,000."]})
    return paise


def grant(session: Session, organization_id: int, amount_paise: int, reason: str) -> ManualPosting:
    """Give an organisation credits: ``grant:<id>``, Dr PLATFORM_PROMO, Cr WALLET; posted at once.

    *organization_id* is the inner id. Raises INSUFFICIENT_ROLE, Invalid, FUNDING_SOURCE_MISMATCH (no wallet).
    """
    who, why, paise = _admin(), _said(reason), _amount(amount_paise)
    with acting(session, scope="platform"):
        source = session.scalar(
            select(BillingAccount.funding_source).where(BillingAccount.organization_id == organization_id)
        )
    if source != FundingSource.WALLET:
        raise DomainError("FUNDING_SOURCE_MISMATCH", funding_source=source.value if source else None)
    legs = [
        ledger.debit(PLATFORM_PROMO, paise),
        ledger.credit(ledger.org_account("WALLET", organization_id), paise),
    ]
    row = _keep(session, ManualKind.GRANT, legs, why, who, organization_id)
    _post(session, row, f"grant:{row.public_id}", "GRANT", "Granted by the platform")
    with acting(session, scope="org", org_id=organization_id):
        audit.record(
            session,
            AuditCategory.WALLET,
            "WALLET_GRANTED",
            f"The platform granted {money(paise)}",
            target_type="manual_posting",
            target_id=row.public_id,
            amount_paise=paise,
            reason=why,
        )
        wallet_notices.tell(session, organization_id, "wallet.granted", f"{money(paise)} were granted", why)
    return _decide(session, row, who, ManualStatus.POSTED)


def remit(session: Session, tax: str, amount_paise: int, challan: str, reason: str) -> ManualPosting:
    """Tax was handed to the state: ``remit:<challan>``, Dr TDS_ or GST_PAYABLE, Cr CASH; posted at once.

    Raises INSUFFICIENT_ROLE, Invalid (challan used before, or more than is payable).
    """
    who, why, paise = _admin(), _said(reason), _amount(amount_paise)
    number = (challan or "").strip().upper()
    if tax not in TAXES:
        raise Invalid({"tax": [f"One of {', '.join(TAXES)}."]})
    if not _CHALLAN.fullmatch(number):
        raise Invalid({"challan": ["3 to 60 letters, digits, dashes and slashes, as on the challan."]})
    # one remittance at a time: two of them would each find the whole balance
    session.execute(text("SELECT pg_advisory_xact_lock(20263, hashtext('remit'))"))
    with acting(session, scope="platform"):
        if session.scalar(select(ManualPosting.id).where(ManualPosting.reference == number)) is not None:
            raise Invalid({"challan": ["This challan was booked already."]})
        payable = ledger.balance(session, TAXES[tax])
    if paise > payable:
        raise Invalid({"amount_paise": [f"Only {money(payable)} are payable."]})
    legs = [ledger.debit(TAXES[tax], paise), ledger.credit(ledger.CASH, paise)]
    row = _keep(session, ManualKind.TAX_REMITTED, legs, why, who, None, number)
    _post(session, row, f"remit:{number}", "TAX_REMITTED", f"{tax} handed over, challan {number}")
    return _decide(session, row, who, ManualStatus.POSTED)


def propose(session: Session, legs: Sequence[dict[str, Any]], reason: str) -> ManualPosting:
    """Propose an adjustment of any accounts: {code, side, amount_paise}; another administrator posts it.

    Raises INSUFFICIENT_ROLE, Invalid (malformed or unbalanced legs, an account that does not exist).
    """
    who, why = _admin(), _said(reason)
    wanted = _checked(legs)
    with acting(session, scope="platform"):
        owners = _owners(session, wanted)
    if len(owners) > 1:
        raise Invalid({"legs": ["One organisation at a time: make one adjustment for each."]})
    return _keep(session, ManualKind.ADJUSTMENT, wanted, why, who, next(iter(owners), None))


def _checked(legs: Sequence[dict[str, Any]]) -> list[ledger.Leg]:
    problems: list[str] = []
    if not 2 <= len(legs) <= MAX_LEGS:
        problems.append(f"2 to {MAX_LEGS} legs.")
    out: list[ledger.Leg] = []
    for leg in legs[:MAX_LEGS]:
        code, side, paise = str(leg.get("code", "")), leg.get("side"), leg.get("amount_paise")
        if not _CODE.fullmatch(code) or side not in ("D", "C"):
            problems.append(f"{code[:60] or 'A leg'}: name an account of the journal and D or C.")
        elif not isinstance(paise, int) or isinstance(paise, bool) or not 1 <= paise <= MAX_PAISE:
            problems.append(f"{code}: choose an amount up to ₹10,00,00,000.")
        else:
            out.append(ledger.Leg(code, side, paise))
    if not problems and sum(x.paise if x.side == "D" else -x.paise for x in out) != 0:
        problems.append("Debits and credits are not equal.")
    if problems:
        raise Invalid({"legs": problems})
    return out


def _owners(session: Session, legs: Sequence[ledger.Leg]) -> set[int]:
    """Organisations whose accounts are touched. Raises Invalid for an account nothing was ever posted to."""
    found = dict(ledger.known(session, [leg.code for leg in legs]))
    missing = [leg.code for leg in legs if leg.code not in found]
    if missing:
        raise Invalid({"legs": [f"{code}: no such account yet." for code in missing]})
    return {org for org in found.values() if org is not None}


def approve(session: Session, public_id: uuid.UUID) -> ManualPosting:
    """Post a proposed adjustment as another administrator: ``adjust:<id>``.

    Raises INSUFFICIENT_ROLE, NOT_FOUND, ILLEGAL_TRANSITION, SECOND_ADMIN_REQUIRED, WALLET_INSUFFICIENT_FUNDS.
    """
    who = _admin()
    row = find(session, public_id)
    if row.status != ManualStatus.PROPOSED:
        raise DomainError("ILLEGAL_TRANSITION", state=row.status.value)
    if row.proposed_by_user_id == who:
        raise DomainError("SECOND_ADMIN_REQUIRED")
    _decide(session, row, who, ManualStatus.POSTED)
    _post(session, row, f"adjust:{row.public_id}", "ADJUSTMENT", row.reason)
    if row.organization_id is not None:
        with acting(session, scope="org", org_id=row.organization_id):
            audit.record(
                session,
                AuditCategory.WALLET,
                "LEDGER_ADJUSTED",
                "The platform adjusted the books",
                target_type="manual_posting",
                target_id=row.public_id,
                legs=row.legs,
                reason=row.reason,
            )
    return row


def reject(session: Session, public_id: uuid.UUID) -> ManualPosting:
    """Turn a proposed adjustment down; whoever proposed it may too. Raises INSUFFICIENT_ROLE, NOT_FOUND, ILLEGAL_TRANSITION."""
    return _decide(session, find(session, public_id), _admin(), ManualStatus.REJECTED)


def find(session: Session, public_id: uuid.UUID) -> ManualPosting:
    """A posting by hand. Raises NOT_FOUND."""
    with acting(session, scope="platform"):
        row = session.scalars(select(ManualPosting).where(ManualPosting.public_id == public_id)).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def _keep(
    session: Session,
    kind: ManualKind,
    legs: Sequence[ledger.Leg],
    reason: str,
    who: int,
    organization_id: int | None,
    reference: str | None = None,
) -> ManualPosting:
    row = ManualPosting(
        kind=kind,
        organization_id=organization_id,
        amount_paise=sum(leg.paise for leg in legs if leg.side == "D"),
        legs=[[leg.code, leg.side, leg.paise] for leg in legs],
        reason=reason,
        reference=reference,
        proposed_by_user_id=who,
    )
    try:
        with acting(session, scope="platform"), session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        raise Invalid({"challan": ["This challan was booked already."]}) from None
    return row


def _post(session: Session, row: ManualPosting, key: str, kind: str, description: str) -> None:
    with acting(session, scope="org", org_id=row.organization_id):
        ledger.post(
            session,
            key,
            kind,
            [ledger.Leg(*leg) for leg in row.legs],
            organization_id=row.organization_id,
            description=description,
            reason=row.reason,
            posting=str(row.public_id),
        )


def _decide(session: Session, row: ManualPosting, who: int, status: ManualStatus) -> ManualPosting:
    with acting(session, scope="platform"):
        done = session.execute(
            update(ManualPosting)
            .where(ManualPosting.id == row.id, ManualPosting.status == ManualStatus.PROPOSED)
            .values(status=status, decided_by_user_id=who, decided_at=clock.now())
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
        if not done:
            raise DomainError("ILLEGAL_TRANSITION")
        session.refresh(row)
    return row


def listed(session: Session, most: int = 100) -> list[ManualPosting]:
    """The newest postings by hand. Wants platform scope."""
    return list(session.scalars(select(ManualPosting).order_by(ManualPosting.id.desc()).limit(most)))


def view(row: ManualPosting, organization: Organization | None = None) -> dict[str, Any]:
    """As the API shows it."""
    return {
        "id": str(row.public_id),
        "kind": row.kind.value,
        "status": row.status.value,
        "amount_paise": row.amount_paise,
        "legs": [{"code": c, "side": s, "amount_paise": p} for c, s, p in row.legs],
        "reason": row.reason,
        "reference": row.reference,
        "organization_id": str(organization.public_id) if organization else None,
        "created_at": row.created_at.isoformat(),
        "decided_at": row.decided_at.isoformat() if row.decided_at else None,
    }
