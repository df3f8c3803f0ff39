"""``org_scope``: which of a person's rows a personal list shows (chapter 1, 1.6).

One parser for REST and pages. A scope narrows *within* what is the caller's own: it never adds a row that the person
could not read anyway. Double bookings are found per person, whatever the scope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, select, true
from sqlalchemy.orm import Session

from app.errors import DomainError
from app.models import Payment, PlatformRole
from app.security.context import acting, ctx

EVERYWHERE = {"skip_tenancy": True}  # own rows in every organisation; row-level security still stands
LENGTH = 80  # of a reference


@dataclass(frozen=True)
class OrgScope:
    """personal (no organisation), org (one of mine), all (ADMIN); mine: everything of mine, on pages before a choice."""

    kind: Literal["personal", "org", "all", "mine"] = "personal"
    organization_id: int | None = None
    public_id: str | None = None
    slug: str | None = None
    name: str | None = None

    @property
    def value(self) -> str:
        """As ``?org_scope=`` spells it; empty where none was chosen."""
        return f"org:{self.slug}" if self.kind == "org" else "" if self.kind == "mine" else self.kind

    @property
    def everybody(self) -> bool:
        """Whether rows of other people are meant."""
        return self.kind == "all"

    def clause(self, column: Any) -> ColumnElement[bool]:
        """The condition on a leaf table's organization_id."""
        if self.kind in ("all", "mine"):
            return true()
        clause: ColumnElement[bool] = (
            column.is_(None) if self.kind == "personal" else column == self.organization_id
        )
        return clause


PERSONAL, MINE = OrgScope(), OrgScope("mine")


def parse(raw: str | None, memberships: Sequence[dict[str, Any]]) -> OrgScope:
    """``personal`` (default), ``org:<public id or slug>`` of an ACTIVE membership, or ``all`` for an ADMIN.

    *memberships* are the caller's own (the session's). An organisation that does not exist and one of somebody else
    answer alike. Raises INVALID_SCOPE, ORG_MEMBERSHIP_REQUIRED, ALL_REQUIRES_PRIVILEGED_ROLE.
    """
    value = "personal" if raw is None else raw.strip()
    if value == "personal":
        return PERSONAL
    if value == "all":
        if ctx().platform_role != PlatformRole.ADMIN:
            raise DomainError("ALL_REQUIRES_PRIVILEGED_ROLE")
        return OrgScope("all")
    kind, _, reference = value.partition(":")
    if kind != "org" or not reference or len(reference) > LENGTH:
        raise DomainError("INVALID_SCOPE")
    for m in memberships:
        if reference in (m["slug"], m["public_id"]) and m["membership_status"] == "ACTIVE":
            return OrgScope("org", m["organization_id"], m["public_id"], m["slug"], m["name"])
    raise DomainError("ORG_MEMBERSHIP_REQUIRED")


def rows(session: Session, statement: Select[Any], scope: OrgScope) -> list[Any]:
    """The rows of *statement*, which must say whose they are itself; ``all`` reads under platform scope."""
    if scope.everybody:
        with acting(session, scope="platform"):
            return list(session.scalars(statement).unique())
    return list(session.scalars(statement, execution_options=EVERYWHERE).unique())


def payment_ids(scope: OrgScope) -> Select[Any]:
    """Ids of payments in *scope* as a subquery: what hangs on a payment and has no tag of its own (invoice lines,
    refunds, receipts) is limited by ``payment_id.in_(payment_ids(scope))``.
    """
    statement = select(Payment.id).where(scope.clause(Payment.organization_id))
    return statement if scope.everybody else statement.where(Payment.user_id == ctx().user_id)
