"""Discount codes as those see them who give them out: the platform, or a host for its own plans (chapter 2, 2.3)."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, true, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import AuditCategory, DiscountCode, DiscountKind, Plan
from app.security.context import acting, ctx
from app.services import audit
from app.services.text import money

MAX_PAISE = 10**9
_CODE = re.compile(r"^[A-Z0-9][A-Z0-9-]{2,31}$")


def create(
    session: Session,
    *,
    code: str,
    kind: DiscountKind,
    value: int,
    most_paise: int | None = None,
    minimum_paise: int = 0,
    max_uses: int | None = None,
    per_person: int | None = None,
    plan_id: uuid.UUID | None = None,
    expires_at: dt.datetime | None = None,
) -> DiscountCode:
    """A code of the organisation acted for, or of the platform where nobody acts for one (ADMIN).

    *value* is bps (PERCENTAGE) or paise (FLAT). Raises Invalid, INSUFFICIENT_ROLE.
    """
    org = ctx().org_id
    if org is None and not ctx().is_admin:
        raise DomainError("INSUFFICIENT_ROLE")
    letters = code.strip().upper()
    problems: dict[str, list[str]] = {}
    if not _CODE.match(letters):
        problems["code"] = ["3 to 32 capital letters, digits and hyphens."]
    if kind == DiscountKind.PERCENTAGE and not 1 <= value <= 10_000:
        problems["value"] = ["More than 0, at most 100 %."]
    if kind == DiscountKind.FLAT and not 1 <= value <= MAX_PAISE:
        problems["value"] = ["More than nothing, at most one crore rupees."]
    problems |= _limits(most_paise, minimum_paise, max_uses, per_person)
    if expires_at is not None and expires_at <= clock.now():
        problems["expires_at"] = ["Choose a moment that lies ahead."]
    plan = None
    if plan_id is not None:
        plan = session.scalars(select(Plan).where(Plan.public_id == plan_id)).one_or_none()
        if plan is None:
            problems["plan_id"] = ["Choose one of your plans."]
    if problems:
        raise Invalid(problems)
    row = DiscountCode(
        organization_id=org,
        code=letters,
        kind=kind,
        value=value,
        most_paise=most_paise,
        minimum_paise=minimum_paise,
        max_uses=max_uses,
        per_person=per_person,
        plan_id=plan.id if plan else None,
        expires_at=expires_at,
    )
    with _side(session):
        try:
            with session.begin_nested():
                session.add(row)
                session.flush()
        except IntegrityError:
            raise Invalid({"code": ["This code is taken."]}) from None
    if org is not None:
        audit.record(
            session,
            AuditCategory.CATALOG,
            "CATALOG_DISCOUNT_CREATED",
            f"Created the discount code {letters}: {said(row)}.",
            target_type="discount_code",
            target_id=row.public_id,
        )
    return row


def _limits(
    most_paise: int | None, minimum_paise: int, max_uses: int | None, per_person: int | None
) -> dict[str, list[str]]:
    """What is wrong with a code's limits."""
    problems: dict[str, list[str]] = {}
    for name, number, most in (
        ("most_paise", most_paise, MAX_PAISE),
        ("max_uses", max_uses, 1_000_000),
        ("per_person", per_person, 1_000),
    ):
        if number is not None and not 1 <= number <= most:
            problems[name] = [f"From 1 to {most}."]
    if not 0 <= minimum_paise <= MAX_PAISE:
        problems["minimum_paise"] = ["Not negative, at most one crore rupees."]
    return problems


def change(
    session: Session,
    row: DiscountCode,
    *,
    most_paise: int | None,
    minimum_paise: int,
    max_uses: int | None,
    per_person: int | None,
    expires_at: dt.datetime | None,
) -> DiscountCode:
    """Change a code's limits; what it takes off stays as people were told. Bookings made keep their price.

    Raises Invalid (also for fewer uses than were made), ILLEGAL_TRANSITION (the code was ended).
    """
    problems = _limits(most_paise, minimum_paise, max_uses, per_person)
    if expires_at is not None and expires_at != row.expires_at and expires_at <= clock.now():
        problems["expires_at"] = ["Choose a moment that lies ahead."]
    if problems:
        raise Invalid(problems)
    if not row.active:
        raise DomainError("ILLEGAL_TRANSITION")
    limits = {
        "most_paise": most_paise,
        "minimum_paise": minimum_paise,
        "max_uses": max_uses,
        "per_person": per_person,
        "expires_at": expires_at,
    }
    enough = DiscountCode.used_count <= max_uses if max_uses is not None else true()
    with _side(session):
        done = session.execute(
            update(DiscountCode)
            .where(DiscountCode.id == row.id, DiscountCode.active, enough)  # a use may come in meanwhile
            .values(**limits)
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
        session.refresh(row)
    if not done:
        if not row.active:
            raise DomainError("ILLEGAL_TRANSITION")
        raise Invalid({"max_uses": [f"It was used {row.used_count} times already."]})
    if row.organization_id is not None:
        audit.record(
            session,
            AuditCategory.CATALOG,
            "CATALOG_DISCOUNT_CHANGED",
            f"Changed the limits of the discount code {row.code}.",
            target_type="discount_code",
            target_id=row.public_id,
        )
    return row


def _side(session: Session) -> Any:
    """The platform's codes belong to no organisation: the platform's own scope writes them."""
    return acting(session) if ctx().org_id is not None else acting(session, scope="job")


def said(row: DiscountCode) -> str:
    """What a code takes off, in words."""
    if row.kind == DiscountKind.FLAT:
        return f"{money(row.value)} off"
    share = f"{row.value / 100:g} % off"
    return f"{share}, at most {money(row.most_paise)}" if row.most_paise else share


def switch(session: Session, row: DiscountCode, active: bool) -> None:
    """End a code or let it be used again. Raises ILLEGAL_TRANSITION on repetition."""
    with _side(session):
        done = session.execute(
            update(DiscountCode)
            .where(DiscountCode.id == row.id, DiscountCode.active.is_(not active))
            .values(active=active)
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
    if not done:
        raise DomainError("ILLEGAL_TRANSITION")
    session.refresh(row)
    if row.organization_id is not None:
        audit.record(
            session,
            AuditCategory.CATALOG,
            "CATALOG_DISCOUNT_RESTORED" if active else "CATALOG_DISCOUNT_ENDED",
            f"{'Restored' if active else 'Ended'} the discount code {row.code}.",
            target_type="discount_code",
            target_id=row.public_id,
        )


def listed(session: Session, limit: int = 200) -> Sequence[DiscountCode]:
    """The codes of the organisation acted for, or of the platform (ADMIN), newest first."""
    org = ctx().org_id
    statement = (
        select(DiscountCode)
        .options(joinedload(DiscountCode.plan))
        .order_by(DiscountCode.created_at.desc(), DiscountCode.id.desc())
        .limit(limit)
    )
    if org is not None:
        return session.scalars(statement.where(DiscountCode.organization_id == org)).all()
    with acting(session, scope="platform"):
        return session.scalars(statement.where(DiscountCode.organization_id.is_(None))).all()


def view(row: DiscountCode) -> dict[str, Any]:
    """A code as the API shows it to its owner."""
    return {
        "id": str(row.public_id),
        "code": row.code,
        "kind": row.kind.value,
        "value": row.value,
        "most_paise": row.most_paise,
        "minimum_paise": row.minimum_paise,
        "max_uses": row.max_uses,
        "used_count": row.used_count,
        "per_person": row.per_person,
        "active": row.active,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
    }
